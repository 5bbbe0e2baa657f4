//! Flags that changed at the source since they were looked at last, carried over to the copies here. What is
//! remembered is the source's side, a set of UIDs for each flag, so a change of the member's here is never taken
//! for one of the source's, and is not undone. It refuses to change a flag before the journal knows how to
//! change it back, and to watch more keywords in a folder than any reader makes.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Means, blocking};
use crate::destination::maildir::{Mailbox, Origin, Reflag, reflag, to_reflag};
use crate::destination::server::Reflags;
use crate::failure::Failure;
use crate::journal::{Changes, Journal, Side, Turn};
use crate::message::{Flag, Flags, UidSet};

/// So many keywords of a folder are watched. Readers make a handful; a Maildir has letters for 26.
const MOST_KEYWORDS: usize = 64;

/// The flags of a folder as the source had them when they were looked at last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Looked {
    /// The messages that were looked at.
    pub(super) at: UidSet,
    /// By flag. A set that became empty stays, to be written.
    set: BTreeMap<Flag, UidSet>,
    /// There are more keywords than are watched.
    pub(super) beyond: bool,
}

impl Looked {
    /// What the journal has of a folder; only the names of the sets, if it is not `known` any more what their
    /// UIDs stand for.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub(super) fn read(
        journal: &Journal,
        account: &str,
        folder: u64,
        known: bool,
    ) -> Result<Looked, Failure> {
        let mut set = journal.flags(account, folder, Turn::Was)?;
        if !known {
            set.values_mut().for_each(|set| *set = UidSet::new());
            return Ok(Looked { set, ..Looked::default() });
        }
        Ok(Looked { at: journal.uids(account, folder, Side::Looked)?, set, beyond: false })
    }

    /// Writes it.
    pub(super) fn write(&self, account: &str, folder: u64, changes: &mut Changes) {
        changes.uids(account, folder, Side::Looked, &self.at);
        for (flag, set) in &self.set {
            changes.uids(account, folder, Side::Flag(Turn::Was, flag.clone()), set);
        }
    }

    /// A message has these flags at the source; returns what that changes.
    pub(super) fn look(&mut self, uid: u32, flags: &Flags) -> Reflag {
        let known = !self.at.insert(uid);
        let mut change = Reflag::default();
        for (flag, set) in &mut self.set {
            if set.contains(uid) && !flags.carries(flag) {
                set.remove(uid);
                change.off.push(flag.clone());
            }
        }
        for flag in flags.each() {
            if !self.set.contains_key(&flag) && self.keywords() >= MOST_KEYWORDS {
                self.beyond = true;
                continue;
            }
            if self.set.entry(flag.clone()).or_default().insert(uid) {
                change.on.push(flag);
            }
        }
        if known { change } else { Reflag::default() }
    }

    fn keywords(&self) -> usize {
        self.set.keys().filter(|flag| matches!(flag, Flag::Keyword(_))).count()
    }
}

/// What became of changes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Carried {
    /// Messages that got them.
    pub(super) done: u64,
    /// Messages that have size and date in common with another one, so that nobody knows whose the flags are.
    pub(super) doubtful: u64,
    /// Messages that got a keyword for which there is no room.
    pub(super) without: u64,
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
) -> Result<Carried, Failure> {
    if wanted.is_empty() {
        return Ok(Carried::default());
    }
    let (place, name) = (Arc::clone(mailbox), directory.to_owned());
    let (left, without) = blocking(move || to_reflag(&place, &name, origin, uidvalidity, &wanted)).await?;
    let mut changed = Reflags::new();
    for (uid, change) in &left {
        for (flags, on) in [(&change.on, true), (&change.off, false)] {
            for flag in flags {
                changed.entry((flag.clone(), on)).or_default().insert(*uid);
            }
        }
    }
    let mut changes = Changes::default();
    remember(journal, (account, origin.folder), (Turn::On, Turn::Off), &changed, &mut changes)?;
    journal.commit(changes).await?;
    let (place, name, done) = (Arc::clone(mailbox), directory.to_owned(), left.len() as u64);
    blocking(move || reflag(&place, &name, origin, uidvalidity, &left)).await?;
    Ok(Carried { done, without, ..Carried::default() })
}

/// Writes down what is about to change, so that it can go back. What changes a second time in a run is known
/// already, from when it was as before the run.
///
/// # Errors
/// The journal cannot be read.
pub(super) fn remember(
    journal: &Journal,
    (account, folder): (&str, u64),
    (on, off): (Turn, Turn),
    changed: &Reflags,
    changes: &mut Changes,
) -> Result<(), Failure> {
    let (gained, lost) = (journal.flags(account, folder, on)?, journal.flags(account, folder, off)?);
    for ((flag, is_on), uids) in changed {
        let (turn, mine, other) = if *is_on { (on, &gained, &lost) } else { (off, &lost, &gained) };
        let mut set = mine.get(flag).cloned().unwrap_or_default();
        let known = other.get(flag).cloned().unwrap_or_default();
        set.extend(&uids.iter().filter(|uid| !known.contains(*uid)).collect());
        changes.uids(account, folder, Side::Flag(turn, flag.clone()), &set);
    }
    Ok(())
}

/// What a run that is rolled back has to change back in a folder, by UID.
///
/// # Errors
/// The journal cannot be read.
pub(super) fn carried(means: &Means, account: &str, folder: u64) -> Result<BTreeMap<u32, Reflag>, Failure> {
    let mut back: BTreeMap<u32, Reflag> = BTreeMap::new();
    for (flag, uids) in means.journal.flags(account, folder, Turn::On)? {
        uids.iter().for_each(|uid| back.entry(uid).or_default().off.push(flag.clone()));
    }
    for (flag, uids) in means.journal.flags(account, folder, Turn::Off)? {
        uids.iter().for_each(|uid| back.entry(uid).or_default().on.push(flag.clone()));
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
    let mut looked = Looked::read(&means.journal, account, folder, true)?;
    for (uid, change) in back {
        for flag in &change.off {
            looked.set.entry(flag.clone()).or_default().remove(*uid);
        }
        for flag in &change.on {
            looked.set.entry(flag.clone()).or_default().insert(*uid);
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
    for turn in [Turn::On, Turn::Off, Turn::OnThere, Turn::OffThere] {
        for flag in means.journal.flags(account, folder, turn)?.into_keys() {
            changes.uids(account, folder, Side::Flag(turn, flag), &UidSet::new());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Keyword, Mark};

    #[test]
    fn the_first_look_changes_nothing() {
        let mut looked = Looked::default();
        let seen = Flags { seen: true, ..Flags::default() };
        assert_eq!(looked.look(7, &seen), Reflag::default());
        assert_eq!(looked.look(7, &seen), Reflag::default());
        let flagged = Flags { flagged: true, ..Flags::default() };
        let change = Reflag { on: vec![Flag::System(Mark::Flagged)], off: vec![Flag::System(Mark::Seen)] };
        assert_eq!(looked.look(7, &flagged), change);
        assert_eq!(looked.look(7, &flagged), Reflag::default());
    }

    #[tokio::test]
    async fn uids_of_another_time_are_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::open(dir.path()).unwrap().journal;
        let old = Flags { seen: true, keywords: vec!["$Work".to_owned()], ..Flags::default() };
        let mut looked = Looked::default();
        looked.look(7, &old);
        let mut changes = Changes::default();
        looked.write("a", 5, &mut changes);
        journal.commit(changes).await.unwrap();
        assert_eq!(Looked::read(&journal, "a", 5, true).unwrap(), looked);
        let mut anew = Looked::read(&journal, "a", 5, false).unwrap();
        anew.look(8, &Flags::default());
        let mut changes = Changes::default();
        anew.write("a", 5, &mut changes);
        journal.commit(changes).await.unwrap();
        let read = Looked::read(&journal, "a", 5, true).unwrap();
        assert!(read.set.is_empty() && read.at.contains(8) && !read.at.contains(7), "{read:?}");
    }

    #[test]
    fn keywords_are_watched_up_to_a_number() {
        let mut looked = Looked::default();
        let word = |word: &str| Flag::Keyword(Keyword::new(word).unwrap());
        let with = |words: &[&str]| Flags {
            keywords: words.iter().map(|word| (*word).to_owned()).collect(),
            ..Flags::default()
        };
        looked.look(7, &with(&["$Work"]));
        let change = Reflag { on: vec![word("Later")], off: vec![word("$work")] };
        assert_eq!(looked.look(7, &with(&["Later"])), change);
        assert_eq!(looked.look(7, &with(&["LATER"])), Reflag::default());
        let many: Vec<String> = (0..200).map(|n| format!("k{n}")).collect();
        let many = Flags { keywords: many, ..Flags::default() };
        assert!(looked.look(7, &many).on.len() < MOST_KEYWORDS);
        assert!(looked.beyond);
    }
}
