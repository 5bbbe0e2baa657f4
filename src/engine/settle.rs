//! The end of a polled folder: what is durable here is deleted at the source, if that was asked for. It refuses
//! to delete what the journal does not know as landed, and what is not at the source as it came.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::Ordering::Relaxed;

use super::board::Part;
use super::cares::flags_key;
use super::folder::FolderWork;
use super::measured::short_key;
use super::migrate::Shared;
use super::reconnect::its_own;
use crate::destination::landing::Order;
use crate::destination::maildir::Origin;
use crate::failure::{Failure, Reach};
use crate::imap::{Deleted, Look, Session};
use crate::journal::{Changes, Side, SkippedRecord};
use crate::message::UidSet;

/// A longer message is no sample; bytes. And so many are enough.
const LONGEST: u64 = 64 * 1024;
const SAMPLES: usize = 4;

/// What came in a poll, by folder: the sizes that were announced, and how some of the messages look.
#[derive(Debug, Default)]
pub(super) struct Arrivals(Mutex<BTreeMap<u64, Arrival>>);

#[derive(Debug, Clone, Default)]
struct Arrival {
    sizes: BTreeMap<u32, u32>,
    samples: BTreeMap<u32, Look>,
}

impl Arrivals {
    /// A message came.
    pub(super) fn add(&self, folder: u64, uid: u32, size: Option<u32>, look: Option<Look>) {
        let Ok(mut arrivals) = self.0.lock() else { return };
        let arrival = arrivals.entry(folder).or_default();
        // 0 may stand for a size that nobody tells.
        arrival.sizes.extend(size.filter(|size| *size > 0).map(|size| (uid, size)));
        if let Some(look) = look.filter(|look| look.length <= LONGEST) {
            arrival.samples.insert(uid, look);
            if arrival.samples.len() > SAMPLES {
                arrival.samples.pop_first();
            }
        }
    }

    fn of(&self, folder: u64) -> Arrival {
        self.0.lock().ok().and_then(|arrivals| arrivals.get(&folder).cloned()).unwrap_or_default()
    }

    fn forget(&self, folder: u64) {
        if let Ok(mut arrivals) = self.0.lock() {
            arrivals.remove(&folder);
        }
    }
}

impl Shared {
    /// The same for a folder of a run: what the server fails at over one folder costs no other one. Two looks, and then it
    /// is told; the next poll goes on with it. Returns the session, or another one.
    ///
    /// # Errors
    /// The account has no use of going on, or the journal cannot be written.
    pub(super) async fn settle(
        &self,
        work: &FolderWork<'_>,
        mut session: Session<Order>,
        part: &Part,
    ) -> Result<Session<Order>, Failure> {
        let wire = part.folder.wire.as_slice();
        for last in [false, true] {
            let failure = match work.settle(&mut session, part).await.map_err(its_own) {
                Ok(deleted) => {
                    self.deleted.fetch_add(deleted, Relaxed);
                    return Ok(session);
                }
                Err(failure) => failure,
            };
            let another = match failure.broke() {
                true => Some(self.another(wire, failure.clone()).await),
                false => None,
            };
            if last || matches!(another, Some(Err(_))) {
                let words =
                    format!("{}: nothing is deleted at the source: {}", part.folder.path, failure.words);
                tracing::warn!(ACCOUNT = self.account.name, "{words}");
                self.tally.unread(&words);
            }
            match another {
                Some(another) => session = another?,
                None if failure.reach() == Reach::Folder => {}
                None if self.opens_another(&mut session, wire, &failure).await => {}
                None => return Err(failure),
            }
        }
        Ok(session)
    }
}

impl FolderWork<'_> {
    /// Deletes at the source what is durable here, if that was asked for; returns how many messages.
    ///
    /// # Errors
    /// The server refuses, or the connection failed: the next poll goes on with it.
    pub(super) async fn settle(&self, session: &mut Session<Order>, part: &Part) -> Result<u64, Failure> {
        let key = Origin::imap(self.account, &part.folder.wire, self.era).folder;
        if self.poll.is_none_or(|poll| poll.keep_original) {
            return Ok(0);
        }
        let mut done = self.journal.uids(self.account, key, Side::Done)?;
        let Some(mut record) = self.journal.folders(self.account)?.remove(&key) else { return Ok(0) };
        let mut changes = Changes::default();
        let mut deleted = 0;
        let Arrival { sizes: came, samples } = self.came.of(key);
        // Whatever run brought them.
        let known = self.journal.measures(self.account, key, record.uidvalidity)?;
        let mut sizes: BTreeMap<u32, u32> = known.iter().map(|(uid, measure)| (*uid, measure.size)).collect();
        sizes.extend(came);
        sizes.retain(|uid, size| *size > 0 && done.contains(*uid));
        let sizes: Vec<(u32, u32)> = sizes.into_iter().collect();
        if !sizes.is_empty() {
            // The copies are durable and recorded. Are they of these messages?
            let differing =
                session.differing(&part.folder.wire, record.uidvalidity, &sizes, &samples).await?;
            if !differing.is_empty() {
                done.subtract(&differing);
                changes.uids(self.account, key, Side::Done, &done);
                // The next poll lists the folder whole.
                record.uidnext = 0;
                record.note = Some(format!(
                    "{} messages at the source are not those that came: they are not deleted, and come again",
                    differing.len()
                ));
            }
        }
        let bare: UidSet = self.bare(key)?.iter().filter(|uid| done.contains(*uid)).collect();
        done.subtract(&bare);
        if !done.is_empty() {
            match session.delete(&part.folder.wire, record.uidvalidity, &done).await? {
                Deleted::Gone(count) => {
                    deleted = count;
                    record.exists = record.exists.saturating_sub(count);
                    let mut adopted = self.journal.uids(self.account, key, Side::Adopted)?;
                    adopted.subtract(&done);
                    let at = (self.account, key, record.uidvalidity);
                    changes.measures(self.journal, at, &BTreeMap::new(), &done)?;
                    done = bare;
                    changes.uids(self.account, key, Side::Done, &done);
                    changes.uids(self.account, key, Side::Adopted, &adopted);
                }
                Deleted::Marked => {
                    let words = "the server has no UIDPLUS: what is here is marked as deleted there, and \
                                 stays until a program of the owner expunges it";
                    record.note = Some(words.to_owned());
                }
            }
        }
        self.came.forget(key);
        record.settled = true;
        changes.folder(self.account, key, &record);
        self.journal.commit(changes).await?;
        Ok(deleted)
    }

    /// Messages that are here without their flags, or not whole: the originals stay.
    fn bare(&self, folder: u64) -> Result<UidSet, Failure> {
        let skipped = self.journal.skipped(self.account)?.into_iter().filter(|(key, ..)| *key == folder);
        let uid = |(_, id, record): (u64, String, SkippedRecord)| {
            let uid: u32 = record.id.parse().ok()?;
            (id == flags_key(uid) || id == short_key(uid)).then_some(uid)
        };
        Ok(skipped.filter_map(uid).collect())
    }
}
