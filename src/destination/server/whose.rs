//! Whose a message at a server is. UIDs that a server tells of what it stored are believed together, or none of them; and a
//! message is taken out only if it is proven to be one that was sent. It refuses to take a UID alone for a message.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::before::Before;
use super::carrier::on_disk;
use super::home::Leave;
use super::intent::Intent;
use super::prints::{forgiving, prints};
use crate::destination::fingerprint::Print;
use crate::failure::Failure;
use crate::imap::{Appended, Session};
use crate::message::{Parcel, UidSet};

/// A longer message is known by its size, bytes: it is not read once more.
const LONG: u32 = 256 * 1024;

/// Whether UIDs that a server told, each with its UIDVALIDITY, can all be of messages that it stored just now: none is below
/// `lowest`, none is `known`, and none is told twice.
pub(super) fn can_be_new(
    told: impl Iterator<Item = (u32, u32)>,
    (uidvalidity, lowest): (u32, u32),
    known: &UidSet,
) -> bool {
    let mut seen = UidSet::new();
    for (validity, uid) in told {
        if validity != uidvalidity || uid < lowest || known.contains(uid) || !seen.insert(uid) {
            return false;
        }
    }
    true
}

/// What an answer to an APPEND tells of its message.
pub(super) fn told(result: Option<&Appended>) -> Option<(u32, u32)> {
    match result {
        Some(Appended::Stored(place) | Appended::Bare(place)) => *place,
        _ => None,
    }
}

/// What is known of the open folder before a run is taken back.
pub(super) struct Ground<'w> {
    pub(super) spool: &'w Path,
    /// Everything that is recorded of this folder, by whatever folder of the source it came from.
    pub(super) recorded: &'w UidSet,
    /// UIDs from here on were not there before the run. `None`: nobody knows.
    pub(super) first: Option<u32>,
}

impl<'w> Ground<'w> {
    /// Of a folder with that UIDVALIDITY.
    pub(super) fn of(
        (spool, before): (&'w Path, &Before),
        (name, uidvalidity): (&str, u32),
        recorded: &'w UidSet,
    ) -> Ground<'w> {
        Ground { spool, recorded, first: before.first_new(name, uidvalidity) }
    }

    /// Of `claimed`, recorded messages of `folder` that are in the open folder, those that are proven to be of the run.
    /// `listed`: UIDs and sizes from the lowest on that may be new.
    ///
    /// What was there before the run is none of them. Where everything that is new is recorded, nothing else can be meant.
    /// Else the bytes under each UID have to be those of a message that was sent.
    ///
    /// # Errors
    /// The server does not give the messages, or the spool cannot be read.
    pub(super) async fn proven(
        &self,
        session: &mut Session<Parcel>,
        folder: &Leave,
        claimed: &UidSet,
        listed: &[(u32, u32)],
    ) -> Result<UidSet, Failure> {
        let mut claimed: UidSet =
            claimed.iter().filter(|uid| self.first.is_none_or(|first| *uid >= first)).collect();
        let is_strange =
            |uid: u32| self.first.is_some_and(|first| uid >= first) && !self.recorded.contains(uid);
        if self.first.is_some() && !listed.iter().any(|(uid, _)| is_strange(*uid)) {
            return Ok(claimed);
        }
        let asked: Vec<(u32, u32)> =
            listed.iter().filter(|(uid, _)| claimed.contains(*uid)).copied().collect();
        let (long, short): (Vec<_>, Vec<_>) = asked.into_iter().partition(|(_, size)| *size > LONG);
        let read = prints(session, &short, forgiving(session)).await?;
        let long: BTreeMap<u32, u64> = long.into_iter().map(|(uid, size)| (uid, u64::from(size))).collect();
        let sizes: BTreeSet<u64> =
            read.values().map(|print| print.octets).chain(long.values().copied()).collect();
        let (spool, origin) = (self.spool.to_owned(), folder.origin);
        let mut sent = on_disk(move || Intent::of(&spool, origin).of_sizes(&sizes)).await?;
        let mut others = UidSet::new();
        for uid in claimed.iter() {
            let print = match long.get(&uid) {
                Some(size) => {
                    sent.iter().find(|(print, count)| print.octets == *size && **count > 0).map(|(p, _)| *p)
                }
                None => read.get(&u64::from(uid)).copied(),
            };
            match print.and_then(|print: Print| sent.get_mut(&print)).filter(|count| **count > 0) {
                Some(count) => *count -= 1,
                None => {
                    others.insert(uid);
                }
            }
        }
        if !others.is_empty() {
            tracing::warn!(
                FOLDER = folder.name,
                "the destination told UIDs of {} messages, and other messages are there under those: they stay",
                others.len()
            );
        }
        claimed.subtract(&others);
        Ok(claimed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_believed_as_a_whole() {
        let known: UidSet = [34].into_iter().collect();
        let believed = |told: &[(u32, u32)]| can_be_new(told.iter().copied(), (7, 31), &known);
        assert!(believed(&[]) && believed(&[(7, 31), (7, 33), (7, 32)]));
        for lie in [
            [(7, 30), (7, 31)],
            [(7, 31), (7, 31)],
            [(8, 31), (7, 32)],
            [(7, 33), (7, 34)],
            [(7, 0), (7, 40)],
        ] {
            assert!(!believed(&lie), "{lie:?}");
        }
    }
}
