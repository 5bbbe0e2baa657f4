//! Flags that changed at the source since they were looked at last, carried over to the copies here. What is
//! remembered is the source's side, a set of UIDs for each flag, so a change of the member's here is never taken
//! for one of the source's, and is not undone. It refuses to change a flag before the journal knows how to
//! change it back. Keywords stay as they came.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Means, blocking, carry_there};
use crate::destination::maildir::{Mailbox, Origin, Reflag, reflag, to_reflag};
use crate::failure::Failure;
use crate::journal::{Changes, Journal, Side};
use crate::message::{Flags, Mark, UidSet};

/// The flags of a folder as the source had them when they were looked at last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Looked {
    /// The messages that were looked at.
    pub(super) at: UidSet,
    set: BTreeMap<Mark, UidSet>,
}

impl Looked {
    /// What the journal has of a folder.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub(super) fn read(journal: &Journal, account: &str, folder: u64) -> Result<Looked, Failure> {
        let at = journal.uids(account, folder, Side::Looked)?;
        let mut set = BTreeMap::new();
        for mark in Mark::ALL {
            set.insert(mark, journal.uids(account, folder, Side::Was(mark))?);
        }
        Ok(Looked { at, set })
    }

    /// Writes it.
    pub(super) fn write(&self, account: &str, folder: u64, changes: &mut Changes) {
        changes.uids(account, folder, Side::Looked, &self.at);
        for mark in Mark::ALL {
            let empty = UidSet::new();
            changes.uids(account, folder, Side::Was(mark), self.set.get(&mark).unwrap_or(&empty));
        }
    }

    /// A message has these flags at the source; returns what that changes.
    pub(super) fn look(&mut self, uid: u32, flags: &Flags) -> Reflag {
        let known = !self.at.insert(uid);
        let mut change = Reflag::default();
        for mark in Mark::ALL {
            let set = self.set.entry(mark).or_default();
            match (set.contains(uid), flags.has(mark)) {
                (false, true) => {
                    set.insert(uid);
                    change.on.push(mark);
                }
                (true, false) => {
                    set.remove(uid);
                    change.off.push(mark);
                }
                _ => {}
            }
        }
        if known { change } else { Reflag::default() }
    }
}

/// Changes the flags of a folder's copies, so that it can be undone.
///
/// # Errors
/// The mailbox or the journal cannot be written.
pub(super) async fn carry(
    journal: &Journal,
    account: &str,
    mailbox: &Arc<Mailbox>,
    (directory, origin, uidvalidity): (&str, Origin, u32),
    wanted: BTreeMap<u32, Reflag>,
) -> Result<u64, Failure> {
    if wanted.is_empty() {
        return Ok(0);
    }
    let (place, name) = (Arc::clone(mailbox), directory.to_owned());
    let left = blocking(move || to_reflag(&place, &name, origin, uidvalidity, &wanted)).await?;
    let mut changes = Changes::default();
    for mark in Mark::ALL {
        for (side, on) in [(Side::On(mark), true), (Side::Off(mark), false)] {
            let mut set = journal.uids(account, origin.folder, side)?;
            let before = set.len();
            let which =
                |change: &Reflag| if on { change.on.contains(&mark) } else { change.off.contains(&mark) };
            set.extend(&left.iter().filter(|(_, change)| which(change)).map(|(uid, _)| *uid).collect());
            if set.len() != before {
                changes.uids(account, origin.folder, side, &set);
            }
        }
    }
    journal.commit(changes).await?;
    let (place, name, count) = (Arc::clone(mailbox), directory.to_owned(), left.len() as u64);
    blocking(move || reflag(&place, &name, origin, uidvalidity, &left)).await?;
    Ok(count)
}

/// What a run that is rolled back has to change back in a folder, by UID.
///
/// # Errors
/// The journal cannot be read.
pub(super) fn carried(means: &Means, account: &str, folder: u64) -> Result<BTreeMap<u32, Reflag>, Failure> {
    let mut back: BTreeMap<u32, Reflag> = BTreeMap::new();
    for mark in Mark::ALL {
        for uid in means.journal.uids(account, folder, Side::On(mark))?.iter() {
            back.entry(uid).or_default().off.push(mark);
        }
        for uid in means.journal.uids(account, folder, Side::Off(mark))?.iter() {
            back.entry(uid).or_default().on.push(mark);
        }
    }
    Ok(back)
}

/// The journal after that: the source's flags are to be compared again.
///
/// # Errors
/// The journal cannot be read.
pub(super) fn put_back(
    means: &Means,
    account: &str,
    folder: u64,
    back: &BTreeMap<u32, Reflag>,
    changes: &mut Changes,
) -> Result<(), Failure> {
    if back.is_empty() {
        return Ok(());
    }
    let mut looked = Looked::read(&means.journal, account, folder)?;
    for (uid, change) in back {
        for mark in &change.off {
            looked.set.entry(*mark).or_default().remove(*uid);
        }
        for mark in &change.on {
            looked.set.entry(*mark).or_default().insert(*uid);
        }
    }
    looked.write(account, folder, changes);
    forget(means, account, folder, changes)
}

/// What was carried over can no longer be undone: a new run begins.
///
/// # Errors
/// The journal cannot be read.
pub(super) fn forget(
    means: &Means,
    account: &str,
    folder: u64,
    changes: &mut Changes,
) -> Result<(), Failure> {
    carry_there::forget(&means.journal, account, folder, changes)?;
    for mark in Mark::ALL {
        for side in [Side::On(mark), Side::Off(mark)] {
            if !means.journal.uids(account, folder, side)?.is_empty() {
                changes.uids(account, folder, side, &UidSet::new());
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_look_changes_nothing() {
        let mut looked = Looked::default();
        let seen = Flags { seen: true, ..Flags::default() };
        assert_eq!(looked.look(7, &seen), Reflag::default());
        assert_eq!(looked.look(7, &seen), Reflag::default());
        let flagged = Flags { flagged: true, ..Flags::default() };
        let change = Reflag { on: vec![Mark::Flagged], off: vec![Mark::Seen] };
        assert_eq!(looked.look(7, &flagged), change);
        assert_eq!(looked.look(7, &flagged), Reflag::default());
    }
}
