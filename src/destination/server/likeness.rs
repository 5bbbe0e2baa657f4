//! Messages in a folder of a server that may be the ones that come: brought by a run that did not live to
//! record it, or there before. A server knows no names, so size and content decide. It refuses to fetch a body
//! before its size fits, and uses up each message once.

use std::collections::BTreeMap;

use super::super::fingerprint::Print;
use super::super::landing::There;
use super::prints::{forgiving, prints};
use crate::failure::Failure;
use crate::imap::Session;
use crate::message::Parcel;

/// A message that may be one of those that come.
#[derive(Debug)]
struct Candidate {
    uid: u32,
    print: Option<Print>,
}

/// The candidates of the open folder, by size.
#[derive(Debug, Default)]
pub(super) struct Likenesses {
    by_size: BTreeMap<u64, Vec<Candidate>>,
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
    /// Of `listed`, UIDs and sizes, those that nobody has recorded. Below the `floor` nothing is ours.
    pub(super) fn of(listed: Vec<(u32, u32)>, there: &There) -> Likenesses {
        let mut by_size: BTreeMap<u64, Vec<Candidate>> = BTreeMap::new();
        for (uid, size) in listed.into_iter().filter(|(uid, _)| !there.recorded.contains(*uid)) {
            by_size.entry(size.into()).or_default().push(Candidate { uid, print: None });
        }
        Likenesses { by_size, floor: there.floor }
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
        let floor = self.floor;
        let candidates = self.by_size.get_mut(&octets)?;
        let same = |candidate: &&Candidate| candidate.print == Some(print);
        let ours = candidates.iter().filter(same).map(|c| c.uid).find(|uid| floor > 0 && *uid >= floor);
        let uid = ours.or_else(|| candidates.iter().find(same).map(|c| c.uid))?;
        candidates.retain(|candidate| candidate.uid != uid);
        Some(Found { uid, before: ours.is_none() })
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::fingerprint::Fingerprint;
    use super::*;

    #[test]
    fn each_is_used_once_and_ours_first() {
        let there = There { uidvalidity: 1, floor: 5, recorded: [7].into_iter().collect() };
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
}
