//! Messages in a folder of a server that may be the ones that come: brought by a run that did not live to
//! record it, or there before. A server knows no names, so size and content decide. It refuses to fetch a body
//! before its size fits, and uses up each message once.

use std::collections::BTreeMap;

use super::super::fingerprint::Print;
use super::super::landing::There;
use super::prints::{forgiving, prints};
use crate::failure::Failure;
use crate::imap::{Detail, Session};
use crate::message::{Flag, Mark, Parcel, UidSet};

/// A message that may be one of those that come.
#[derive(Debug)]
struct Candidate {
    uid: u32,
    /// It is known as another message, whose name at the source may be gone.
    recorded: bool,
    print: Option<Print>,
}

/// The candidates of the open folder, by size.
#[derive(Debug, Default)]
pub(super) struct Likenesses {
    by_size: BTreeMap<u64, Vec<Candidate>>,
    /// How many of those that are recorded may be taken, by size.
    spare: BTreeMap<u64, usize>,
    floor: u32,
}

/// A message that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) uid: u32,
    /// It was there before we came.
    pub(super) before: bool,
}

impl Likenesses {
    /// Of `listed`, UIDs and sizes, those that nobody has recorded, or that may be found once more. Below the
    /// `floor` nothing is ours.
    pub(super) fn of(listed: Vec<(u32, u32)>, there: &There) -> Likenesses {
        let mut spare: BTreeMap<u64, usize> = BTreeMap::new();
        if let Some(kept) = &there.kept {
            for (_, size) in listed.iter().filter(|(uid, _)| there.recorded.contains(*uid)) {
                *spare.entry((*size).into()).or_default() += 1;
            }
            for (size, count) in &mut spare {
                *count = count.saturating_sub(kept.get(size).copied().unwrap_or(0));
            }
            spare.retain(|_, count| *count > 0);
        }
        let mut by_size: BTreeMap<u64, Vec<Candidate>> = BTreeMap::new();
        for (uid, size) in listed {
            let (recorded, size) = (there.recorded.contains(uid), u64::from(size));
            if !recorded || spare.contains_key(&size) {
                by_size.entry(size).or_default().push(Candidate { uid, recorded, print: None });
            }
        }
        Likenesses { by_size, spare, floor: there.floor }
    }

    /// Whether a message of this size may be there.
    pub(super) fn may_hold(&self, octets: u64) -> bool {
        self.by_size.contains_key(&octets)
    }

    /// Reads the candidates of these sizes, so that they can be compared.
    pub(super) async fn read(
        &mut self,
        session: &mut Session<Parcel>,
        sizes: impl Iterator<Item = u64>,
    ) -> Result<(), Failure> {
        let mut wanted: Vec<(u32, u32)> = Vec::new();
        for size in sizes {
            let unread = self.by_size.get(&size).into_iter().flatten().filter(|c| c.print.is_none());
            wanted.extend(unread.map(|c| (c.uid, u32::try_from(size).unwrap_or(u32::MAX))));
        }
        if wanted.is_empty() {
            return Ok(());
        }
        wanted.sort_unstable();
        wanted.dedup();
        let mut read = prints(session, &wanted, forgiving(session)).await?;
        for candidates in self.by_size.values_mut() {
            for candidate in candidates.iter_mut() {
                if let Some(print) = read.remove(&u64::from(candidate.uid)) {
                    candidate.print = Some(print);
                }
            }
        }
        Ok(())
    }

    /// The message of that content, which is used up by that. Ours come first: they were brought for this.
    pub(super) fn take(&mut self, octets: u64, print: Print) -> Option<Found> {
        let (floor, spare) = (self.floor, self.spare.get_mut(&octets));
        let some_left = spare.as_ref().is_some_and(|left| **left > 0);
        let candidates = self.by_size.get_mut(&octets)?;
        let same = |c: &&Candidate| c.print == Some(print) && (!c.recorded || some_left);
        let mut alike = candidates.iter().filter(same);
        let ours = alike.clone().find(|c| !c.recorded && floor > 0 && c.uid >= floor);
        let known = || alike.clone().find(|c| c.recorded);
        let found = ours.or_else(known).or_else(|| alike.next())?;
        let (uid, recorded, before) = (found.uid, found.recorded, ours.is_none());
        candidates.retain(|candidate| candidate.uid != uid);
        if let Some(left) = spare.filter(|_| recorded) {
            *left -= 1;
        }
        Some(Found { uid, before })
    }
}

/// Those of `uids` that go with the next EXPUNGE.
pub(super) async fn deleted(session: &mut Session<Parcel>, uids: &UidSet) -> Result<UidSet, Failure> {
    let mark = Flag::System(Mark::Deleted);
    let is_marked = |detail: &Detail| detail.flags.as_ref().is_some_and(|flags| flags.carries(&mark));
    let details = session.look_at(uids).await?;
    Ok(details.iter().filter(|detail| is_marked(detail)).map(|detail| detail.uid).collect())
}

#[cfg(test)]
mod tests {
    use super::super::super::fingerprint::Fingerprint;
    use super::*;

    #[test]
    fn each_is_used_once_and_ours_first() {
        let there =
            There { uidvalidity: 1, floor: 5, recorded: [7].into_iter().collect(), ..There::default() };
        let mut likes = Likenesses::of(vec![(2, 3), (5, 3), (6, 9), (7, 3)], &there);
        assert!(likes.may_hold(3) && !likes.may_hold(4));
        let print = Fingerprint::of(&b"abc"[..]).unwrap();
        assert_eq!(likes.take(3, print), None, "nothing is known of them yet");
        for candidate in likes.by_size.get_mut(&3).unwrap() {
            candidate.print = Some(print);
        }
        assert_eq!(likes.take(3, print), Some(Found { uid: 5, before: false }));
        assert_eq!(likes.take(3, print), Some(Found { uid: 2, before: true }));
        assert_eq!(likes.take(3, print), None);
    }

    #[test]
    fn what_is_recorded_is_found_again_if_it_has_lost_its_name() {
        let recorded = [1, 2, 3].into_iter().collect();
        // Of two that are as long as the new one, one is still known by its name.
        let kept = Some(BTreeMap::from([(3, 1)]));
        let there = There { uidvalidity: 1, recorded, kept, ..There::default() };
        let mut likes = Likenesses::of(vec![(1, 3), (2, 3), (3, 4), (4, 3)], &there);
        let print = Fingerprint::of(&b"abc"[..]).unwrap();
        for candidate in likes.by_size.get_mut(&3).unwrap() {
            candidate.print = Some(print);
        }
        assert_eq!(likes.take(3, print), Some(Found { uid: 1, before: true }));
        assert_eq!(likes.take(3, print), Some(Found { uid: 4, before: true }), "the other one is taken");
        assert_eq!(likes.take(3, print), None);
    }
}
