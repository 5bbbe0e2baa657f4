//! Putting the destination back as it was before a run: the messages that the run brought, the folders and
//! subscriptions that it made. It may be stopped anywhere and begun again. It refuses to touch what was
//! there before, also what an earlier run of the same migration had brought.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::at_server::AtServer;
use super::{Means, Place, blocking, carry, carry_there, drain};
use crate::account::{Account, Protocol};
use crate::destination::Home;
use crate::destination::maildir::{
    Mailbox, Origin, Reflag, Undo, Undone, clear_tmp, reflag, remove_made, undo,
};
use crate::destination::server::Leave;
use crate::failure::Failure;
use crate::journal::{Changes, FolderRecord, Side};
use crate::message::{MessageRef, UidSet};

/// Whether the run brought or made anything, or may have: the journal knows, whatever the last try saw.
///
/// # Errors
/// The journal cannot be read.
pub(super) fn has_brought(means: &Means, account: &str) -> Result<bool, Failure> {
    if drain::has_brought(means, account)? {
        return Ok(true);
    }
    for (key, record) in means.journal.folders(account)? {
        let done = means.journal.uids(account, key, Side::Done)?;
        let before = means.journal.uids(account, key, Side::Before)?;
        let carried = !carry::carried(means, account, key)?.is_empty();
        if carried || record.made || record.subscribed || record.open || done != before {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What was here of a folder before the run.
#[derive(Debug, Clone, Default)]
struct Before {
    validity: u32,
    /// The UIDVALIDITY that this run met.
    now: u32,
    set: UidSet,
}

impl Before {
    fn holds(&self, uidvalidity: u32, uid: u32) -> bool {
        if uidvalidity == self.validity {
            self.set.contains(uid)
        } else {
            // Neither of this run nor of the last: still older, and not ours to remove.
            uidvalidity != self.now
        }
    }
}

/// Puts the destination back and the journal with it.
///
/// # Errors
/// The destination or the journal cannot be written: to be tried again.
pub(super) async fn roll_back(
    means: &Means,
    account: &Account,
    made_for: Option<PathBuf>,
) -> Result<Undone, Failure> {
    if let Place::Delivery(_) = means.place(account)? {
        // What LMTP delivered stays, and stays known.
        return Ok(Undone::default());
    }
    let records = means.journal.folders(&account.name)?;
    let mut before: BTreeMap<u64, Before> = BTreeMap::new();
    for (key, record) in &records {
        let set = means.journal.uids(&account.name, *key, Side::Before)?;
        before.insert(*key, Before { validity: record.before, now: record.uidvalidity, set });
    }
    let mut back = BTreeMap::new();
    for (key, record) in &records {
        let changed = carry::carried(means, &account.name, *key)?;
        back.insert(*key, (record.directory.clone(), record.uidvalidity, changed));
    }
    let (flags, mark) = (back, Origin::pop3(&account.name).account);
    let made = records.values().filter(|r| r.made).map(|r| r.directory.clone()).collect();
    let letters = records.values().filter_map(|r| Some((r.directory.clone(), r.letters?))).collect();
    let subscribed = records.values().filter(|r| r.subscribed).map(|r| r.directory.clone()).collect();
    let drop = match account.source.protocol {
        Protocol::Pop3 => drain::before(means, &account.name)?,
        Protocol::Imap => None,
    };
    let undone = match means.place(account)? {
        Place::Maildir(path) => {
            let stay = before;
            let folders = Folders { made, letters, subscribed, flags };
            blocking(move || undo_maildir(&path, mark, &stay, drop.as_ref(), folders, made_for)).await?
        }
        Place::Server(_) => undo_at_server(means, account, mark, &records).await?,
        Place::Delivery(_) => Undone::default(),
    };
    forget(means, account, After::Undone).await?;
    Ok(undone)
}

/// The mailbox itself is gone, and what the run brought with it.
///
/// # Errors
/// The journal cannot be read or written: to be tried again.
pub(super) async fn is_gone(means: &Means, account: &Account) -> Result<Undone, Failure> {
    forget(means, account, After::Undone).await?;
    Ok(Undone::default())
}

/// The destination stays as it is, half put back perhaps: the next run looks at what is there.
///
/// # Errors
/// The journal cannot be read or written: to be tried again.
pub(super) async fn leave(means: &Means, account: &Account) -> Result<(), Failure> {
    forget(means, account, After::Left).await
}

/// What became of a run's messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum After {
    Undone,
    Left,
}

/// The journal as it was before the run.
async fn forget(means: &Means, account: &Account, after: After) -> Result<(), Failure> {
    let mut changes = Changes::default();
    for (key, mut record) in means.journal.folders(&account.name)? {
        let (validity, set) = (record.before, means.journal.uids(&account.name, key, Side::Before)?);
        changes.uids(&account.name, key, Side::Done, &set);
        let adopted = means.journal.uids(&account.name, key, Side::Adopted)?;
        changes.uids(
            &account.name,
            key,
            Side::Adopted,
            &adopted.iter().filter(|u| set.contains(*u)).collect(),
        );
        let placed = means.journal.uids(&account.name, key, Side::PlacedBefore)?;
        changes.uids(&account.name, key, Side::Placed, &placed);
        changes.uids(&account.name, key, Side::Taken, &UidSet::new());
        changes.uids(&account.name, key, Side::Loose, &UidSet::new());
        let changed = carry::carried(means, &account.name, key)?;
        if !changed.is_empty() {
            carry::put_back(means, &account.name, key, &changed, &mut changes)?;
            record.modseq = 0;
        }
        record.made = false;
        record.above = 0;
        record.subscribed = false;
        record.letters = None;
        record.open = after == After::Left;
        if after == After::Left {
            // What is there counts as there before.
            record.floor = 0;
        }
        // If nothing of it was here before, the next run looks at the destination afresh.
        record.uidvalidity = if set.is_empty() { 0 } else { validity };
        changes.folder(&account.name, key, &record);
    }
    if account.source.protocol == Protocol::Pop3 {
        drain::forget(means, &account.name, &mut changes)?;
    }
    means.journal.commit(changes).await
}

/// What of folders is to be undone.
struct Folders {
    made: Vec<String>,
    letters: Vec<(String, u32)>,
    subscribed: Vec<String>,
    /// By folder: its directory, the UIDVALIDITY, and what changed.
    flags: BTreeMap<u64, (String, u32, BTreeMap<u32, Reflag>)>,
}

fn undo_maildir(
    path: &Path,
    mark: u64,
    stay: &BTreeMap<u64, Before>,
    drop: Option<&BTreeSet<u128>>,
    folders: Folders,
    made_for: Option<PathBuf>,
) -> Result<Undone, Failure> {
    let Some(mailbox) = Mailbox::open_existing(path)? else {
        // It was never made, or a rollback was stopped when it was all but gone.
        if let Some(topmost) = &made_for {
            remove_made(path, topmost)?;
        }
        return Ok(Undone::default());
    };
    clear_tmp(&mailbox, mark)?;
    let stays = |origin: Origin, message: MessageRef| match message {
        MessageRef::Imap { uidvalidity, uid } => {
            stay.get(&origin.folder).is_none_or(|before| before.holds(uidvalidity, uid))
        }
        MessageRef::Pop3(id) => drop.is_none_or(|before| before.contains(&id)),
    };
    let Folders { made, letters, subscribed, flags } = folders;
    for (folder, (directory, uidvalidity, changed)) in flags.iter().filter(|(_, flags)| !flags.2.is_empty()) {
        reflag(&mailbox, directory, Origin { account: mark, folder: *folder }, *uidvalidity, changed)?;
    }
    let work = Undo { account: mark, stays: &stays, letters, made, subscribed, mailbox: made_for };
    undo(&mailbox, &work)
}

async fn undo_at_server(
    means: &Means,
    account: &Account,
    mark: u64,
    records: &BTreeMap<u64, FolderRecord>,
) -> Result<Undone, Failure> {
    let home = means.open_home(account).await?;
    let Home::Server(server, spool) = &home else { return Ok(Undone::default()) };
    let source = means.journal.source(&account.name)?;
    let mut work = Vec::new();
    for (key, record) in records {
        let there = AtServer::read(&means.journal, &account.name, *key)?;
        let mut uids = there.placed.clone();
        // A maildrop's folder stands in its source's record.
        let standing = match (account.source.protocol, &source) {
            (Protocol::Pop3, Some(source)) => source.standing(),
            _ => record.standing(),
        };
        uids.subtract(&means.journal.uids(&account.name, *key, Side::PlacedBefore)?);
        work.push(Leave {
            name: record.directory.clone(),
            origin: Origin { account: mark, folder: *key },
            there: there.known(&standing),
            uids,
            flags: carry_there::to_put_back(&means.journal, &account.name, *key)?,
            made: record.made,
            above: record.above as usize,
            subscribed: record.subscribed,
        });
    }
    let undone = server.undo(spool, &work).await?;
    home.done(mark).await?;
    Ok(undone)
}
