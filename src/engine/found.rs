//! What a run that begins finds in its mailbox: messages of the account's own that the journal does not know any more,
//! or never did. They are not this run's to bring, or to take away. It refuses to read a message: names say it.

use std::collections::{BTreeMap, BTreeSet};

use super::{Means, Place, blocking};
use crate::account::{Account, Protocol};
use crate::destination::maildir::{Mailbox, Origin, held};
use crate::failure::Failure;
use crate::journal::{Changes, FolderRecord, Side};
use crate::message::{MessageRef, UidSet};

/// What a Maildir says; a server knows no names.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Of a maildrop.
    pub(super) ids: BTreeSet<u128>,
    /// By folder at the source, the highest UIDVALIDITY and what has it.
    uids: BTreeMap<u64, (u32, UidSet)>,
}

/// Looks, where the journal may not know everything.
///
/// # Errors
/// The mailbox or the journal cannot be read.
pub(super) async fn found(means: &Means, account: &Account) -> Result<Found, Failure> {
    let Place::Maildir(path) = means.place(account)? else { return Ok(Found::default()) };
    if account.source.protocol == Protocol::Imap {
        let records = means.journal.folders(&account.name)?;
        if !records.is_empty() && records.values().all(|record| !record.open && record.uidvalidity != 0) {
            return Ok(Found::default());
        }
    }
    let mark = Origin::pop3(&account.name).account;
    blocking(move || {
        let mut found = Found::default();
        let Some(mailbox) = Mailbox::open_existing(&path)? else { return Ok(found) };
        for name in held(&mailbox, mark)? {
            match name.message {
                MessageRef::Pop3(id) => drop(found.ids.insert(id)),
                MessageRef::Imap { uidvalidity, uid } => found.add(name.origin.folder, uidvalidity, uid),
            }
        }
        Ok(found)
    })
    .await
}

impl Found {
    /// UIDVALIDITY grows (RFC 9051, 2.3.1.1); what has a lower one is left alone anyway.
    fn add(&mut self, folder: u64, uidvalidity: u32, uid: u32) {
        let (highest, uids) = self.uids.entry(folder).or_default();
        if uidvalidity > *highest {
            (*highest, *uids) = (uidvalidity, UidSet::new());
        }
        if uidvalidity == *highest {
            uids.insert(uid);
        }
    }

    /// What of it the journal does not know counts as there before the run. `records`: the folders as they are when
    /// the run begins, each with what was there.
    pub(super) fn tell(
        &self,
        account: &str,
        records: &BTreeMap<u64, (FolderRecord, UidSet)>,
        changes: &mut Changes,
    ) {
        for (key, (uidvalidity, uids)) in &self.uids {
            let (mut record, mut before) = records.get(key).cloned().unwrap_or_default();
            if ![0, *uidvalidity].contains(&record.uidvalidity) {
                continue;
            }
            record.before = *uidvalidity;
            before.extend(uids);
            changes.uids(account, *key, Side::Before, &before);
            changes.folder(account, *key, &record);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_numberings_the_last_one_counts() {
        let mut found = Found::default();
        for (uidvalidity, uid) in [(5, 1), (7, 1), (6, 2), (7, 3)] {
            found.add(1, uidvalidity, uid);
        }
        assert_eq!(found.uids, BTreeMap::from([(1, (7, [1, 3].into_iter().collect()))]));
    }
}
