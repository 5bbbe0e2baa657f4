//! Copies at a server whose message the source no longer has where it was: it was moved, or its folder renamed. Which
//! they are, only numbers tell: of a size, more copies are recorded than the source has messages that were brought.
//! It refuses to take a copy for a message before their octets are the same, and to use it up twice.

use std::collections::{BTreeMap, BTreeSet};

use tokio::sync::Mutex;

use super::carrier::{Open, lost, print};
use super::home::{Server, at_home};
use super::prints::{forgiving, prints};
use crate::destination::fingerprint::Print;
use crate::destination::landing::Receipt;
use crate::destination::spool::Waiting;
use crate::failure::{Failure, Kind};
use crate::imap::Session;
use crate::message::{MessageRef, Parcel, UidSet};

/// The copies of one account, shared by all landings of a run.
#[derive(Debug, Default)]
pub struct Strays {
    /// The sizes that any of them has.
    sizes: BTreeSet<u64>,
    pool: Mutex<Pool>,
}

/// What is recorded of a folder here.
#[derive(Debug)]
pub struct Recorded {
    /// Its UIDVALIDITY.
    pub uidvalidity: u32,
    /// The copies in it.
    pub uids: UidSet,
    /// Messages that the source has of it, by size: as many of the copies are in their place.
    pub at_source: BTreeMap<u64, usize>,
    /// Messages that the source numbered anew, by size: they may be those that were imported, or others.
    pub renumbered: BTreeMap<u64, usize>,
    /// Nothing is known to be in it that is not among `uids`.
    pub known: bool,
}

impl Recorded {
    /// Nothing yet.
    pub fn new(uidvalidity: u32) -> Recorded {
        let (at_source, renumbered) = (BTreeMap::new(), BTreeMap::new());
        Recorded { uidvalidity, uids: UidSet::new(), at_source, renumbered, known: true }
    }

    /// How many copies are in their place, or may be, by size; `copies`: those that are in the folder. Messages with new numbers
    /// are compared with these first: no more of them can be in their place.
    fn in_place(&self, copies: &BTreeMap<u64, usize>) -> BTreeMap<u64, usize> {
        let mut sizes = self.at_source.clone();
        for (size, count) in &self.renumbered {
            *sizes.entry(*size).or_default() += (*count).min(copies.get(size).copied().unwrap_or(0));
        }
        sizes
    }
}

#[derive(Debug, Default)]
struct Pool {
    /// By size; with those that are still where they belong, for nobody knows which these are.
    copies: BTreeMap<u64, Vec<Copy>>,
    /// How many may be taken, by size.
    spare: BTreeMap<u64, usize>,
    /// Messages that were recognised, by the hash of their folder's name at the source: a second try is told the same.
    given: BTreeSet<(u64, MessageRef)>,
}

#[derive(Debug)]
struct Copy {
    /// Its folder, and the UIDVALIDITY.
    folder: (String, u32),
    uid: u32,
    print: Option<Print>,
}

impl Server {
    /// What is recorded, by folder, against how many messages of each size the source has of it. Where the copies
    /// cannot be looked at, neither counts: they say nothing of the other folders.
    ///
    /// # Errors
    /// The server does not list them.
    pub async fn strays(&self, recorded: &BTreeMap<String, Recorded>) -> Result<Strays, Failure> {
        let mut session: Session<Parcel> = self.connect().await?;
        let mut found: BTreeMap<u64, Vec<Copy>> = BTreeMap::new();
        let mut at_source: BTreeMap<u64, usize> = BTreeMap::new();
        for (name, folder) in recorded.iter().filter(|(_, folder)| folder.known) {
            let examined = match folder.uids.is_empty() {
                true => None,
                false => Some(session.examine(name.as_bytes()).await),
            };
            let listed = match examined.transpose() {
                Ok(None) => Vec::new(),
                Ok(Some(examined)) if examined.uidvalidity != folder.uidvalidity => continue,
                Ok(Some(examined)) if examined.exists == 0 => Vec::new(),
                Ok(Some(_)) => session.sizes_from(1).await.map_err(at_home)?,
                Err(failure) if failure.kind == Kind::Folder => continue,
                Err(failure) => return Err(at_home(failure)),
            };
            let mut copies: BTreeMap<u64, usize> = BTreeMap::new();
            for (uid, size) in listed.into_iter().filter(|(uid, _)| folder.uids.contains(*uid)) {
                *copies.entry(size.into()).or_default() += 1;
                let copy = Copy { folder: (name.clone(), folder.uidvalidity), uid, print: None };
                found.entry(size.into()).or_default().push(copy);
            }
            for (size, count) in folder.in_place(&copies) {
                *at_source.entry(size).or_default() += count;
            }
        }
        session.close().await;
        Ok(Strays::of(found, &at_source))
    }
}

impl Strays {
    fn of(mut copies: BTreeMap<u64, Vec<Copy>>, at_source: &BTreeMap<u64, usize>) -> Strays {
        let mut spare = BTreeMap::new();
        copies.retain(|size, copies| {
            let left = copies.len().saturating_sub(at_source.get(size).copied().unwrap_or(0));
            spare.insert(*size, left);
            left > 0
        });
        let sizes = copies.keys().copied().collect();
        Strays { sizes, pool: Mutex::new(Pool { copies, spare, given: BTreeSet::new() }) }
    }

    /// Whether a message may be one of them. Sizes are all that is known of what the source has: where it announced
    /// another one, or the server stores another one, nothing is known.
    fn may_hold(&self, waiting: &Waiting) -> bool {
        let octets = waiting.body.octets;
        waiting.placement.announced == Some(octets)
            && waiting.body.kept == octets
            && self.sizes.contains(&octets)
    }
}

impl Pool {
    /// Reads what has not been read of these sizes. Another folder is open then.
    async fn read(&mut self, session: &mut Session<Parcel>, sizes: &BTreeSet<u64>) -> Result<(), Failure> {
        let mut wanted: BTreeMap<(String, u32), Vec<(u32, u32)>> = BTreeMap::new();
        for size in sizes.iter().filter(|size| self.spare.get(size).is_some_and(|left| *left > 0)) {
            for copy in self.copies.get(size).into_iter().flatten().filter(|copy| copy.print.is_none()) {
                let octets = u32::try_from(*size).unwrap_or(u32::MAX);
                wanted.entry(copy.folder.clone()).or_default().push((copy.uid, octets));
            }
        }
        for (folder, mut messages) in wanted {
            let examined = session.examine(folder.0.as_bytes()).await?;
            if examined.uidvalidity != folder.1 {
                continue;
            }
            messages.sort_unstable();
            let read = prints(session, &messages, forgiving(session)).await?;
            for size in sizes {
                let copies = self.copies.get_mut(size).into_iter().flatten();
                for copy in copies.filter(|copy| copy.folder == folder) {
                    copy.print = read.get(&u64::from(copy.uid)).copied().or(copy.print);
                }
            }
        }
        Ok(())
    }

    /// Whether there is a copy of the message; it is used up by that.
    fn take(&mut self, message: (u64, MessageRef), octets: u64, print: Print) -> bool {
        if self.given.contains(&message) {
            return true;
        }
        let Some(left) = self.spare.get_mut(&octets).filter(|left| **left > 0) else { return false };
        let Some(copies) = self.copies.get_mut(&octets) else { return false };
        let Some(at) = copies.iter().position(|copy| copy.print == Some(print)) else { return false };
        copies.swap_remove(at);
        *left -= 1;
        self.given.insert(message)
    }
}

impl Open {
    /// What is there in another folder needs not be sent, either.
    pub(super) async fn stray(
        &mut self,
        session: &mut Session<Parcel>,
        batch: Vec<Waiting>,
    ) -> Result<(Vec<Waiting>, Vec<Receipt>), Failure> {
        let Some(strays) = self.strays.clone() else { return Ok((batch, Vec::new())) };
        let sizes: BTreeSet<u64> =
            batch.iter().filter(|w| strays.may_hold(w)).map(|waiting| waiting.body.octets).collect();
        if sizes.is_empty() {
            return Ok((batch, Vec::new()));
        }
        let mut pool = strays.pool.lock().await;
        pool.read(session, &sizes).await?;
        let (mut rest, mut receipts) = (Vec::new(), Vec::new());
        for waiting in batch {
            let message = (waiting.placement.origin.folder, waiting.placement.message);
            let octets = waiting.body.octets;
            let found = match strays.may_hold(&waiting) {
                true => pool.take(message, octets, print(&waiting, forgiving(session)).await?),
                false => false,
            };
            match found {
                true => receipts.push(Receipt {
                    adopted: true,
                    ..Receipt::landed(waiting.placement.message, waiting.body.octets)
                }),
                false => rest.push(waiting),
            }
        }
        drop(pool);
        match session.select(&self.name).await? {
            Some(now) if now.uidvalidity == self.selected.uidvalidity => Ok((rest, receipts)),
            _ => Err(lost()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::destination::fingerprint::Fingerprint;

    #[test]
    fn of_a_size_as_many_as_the_source_has_no_more() {
        let print = |text: &str| Fingerprint::of(text.as_bytes()).unwrap();
        let copy = |uid, text: &str| Copy { folder: ("A".to_owned(), 1), uid, print: Some(print(text)) };
        let copies = BTreeMap::from([
            (3, vec![copy(1, "abc"), copy(2, "abc"), copy(3, "xyz")]),
            (4, vec![copy(4, "abcd")]),
        ]);
        let strays = Strays::of(copies, &BTreeMap::from([(3, 1), (4, 1)]));
        assert_eq!(strays.sizes, BTreeSet::from([3]), "the only one of four octets is where it was");
        let mut pool = strays.pool.into_inner();
        let message = |uid| (9, MessageRef::Imap { uidvalidity: 1, uid });
        let mut take = |uid, text: &str| pool.take(message(uid), text.len() as u64, print(text));
        assert!(!take(5, "abd") && !take(5, "abcd"));
        assert!(take(5, "xyz"));
        assert!(take(5, "xyz"), "asked once more");
        assert!(!take(6, "xyz"), "used up");
        assert!(take(6, "abc"));
        assert!(!take(7, "abc"), "one of three is still in its place");
    }
}
