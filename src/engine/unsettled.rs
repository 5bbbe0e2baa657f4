//! What other accounts of a member brought in runs that may still be undone: it may go again, so it is no reason to
//! leave out, or to delete at its source, what is the same. It refuses to count what earlier runs brought.

use std::collections::BTreeSet;

use super::at_server::AtServer;
use crate::destination::landing::{Theirs, Unsettled};
use crate::failure::Failure;
use crate::journal::{Journal, Side};

/// For the folder `directory` of `member`; `mark` is the hash of the own account's name.
///
/// # Errors
/// The journal cannot be read.
pub(super) fn unsettled(
    journal: &Journal,
    member: &str,
    mark: u64,
    directory: &str,
) -> Result<Unsettled, Failure> {
    let mut others = journal.unsettled(member)?;
    others.remove(&mark);
    let mut there = Vec::new();
    for account in others.values() {
        let of_a_maildrop = journal.source(account)?.unwrap_or_default();
        for (key, record) in journal.folders(account)?.iter().filter(|(_, r)| r.directory == directory) {
            let mut uids = AtServer::read(journal, account, *key)?.placed;
            uids.subtract(&journal.uids(account, *key, Side::PlacedBefore)?);
            let standing = match record.there {
                0 => of_a_maildrop.standing(),
                _ => record.standing(),
            };
            let floor = if standing.open { standing.floor } else { 0 };
            there.push(Theirs { uidvalidity: standing.there, uids, floor });
        }
    }
    let accounts: BTreeSet<u64> = others.into_keys().collect();
    Ok(Unsettled { accounts, there, deleted: false })
}
