//! Whether a UID still stands for the message that came under it, and whether what came is all of it: by the sizes that
//! the source lists, and by what is recorded of those that came. It refuses to take a UID alone for a message.

use std::collections::BTreeMap;

use super::folder::{FolderWork, Progress};
use crate::failure::Failure;
use crate::imap::{Examined, Fetched, Listed};
use crate::journal::Measure;
use crate::message::UidSet;

/// What is known of the sizes of a folder's messages while it is brought.
#[derive(Debug, Default)]
pub(super) struct Measured {
    /// Messages whose UID another one may have had: what came then.
    reused: BTreeMap<u32, Measure>,
    /// What comes now, and has not landed.
    coming: BTreeMap<u32, Measure>,
    /// What landed, and is not recorded.
    landed: BTreeMap<u32, Measure>,
    /// Messages that came shorter than they are listed: by how many bytes they are so.
    short: BTreeMap<u32, (u32, u64)>,
}

impl Measured {
    /// Whether a UID stands for another message than before.
    pub(super) fn is_reused(&self, uid: u32) -> bool {
        self.reused.contains_key(&uid)
    }

    /// A message landed.
    pub(super) fn landed(&mut self, uid: u32, listed: Option<u32>) {
        let usual = Measure { size: listed.unwrap_or(0), ..Measure::default() };
        self.reused.remove(&uid);
        let measure = self.coming.remove(&uid).unwrap_or(usual);
        self.landed.insert(uid, measure);
    }

    /// What is to be recorded.
    pub(super) fn take(&mut self) -> BTreeMap<u32, Measure> {
        std::mem::take(&mut self.landed)
    }
}

/// The key under which it is told that a message came shorter than it is listed.
pub(super) fn short_key(uid: u32) -> String {
    format!("size-{uid}")
}

impl FolderWork<'_> {
    /// Of a folder that was listed whole: messages that are known by a UID and have another size than they had when they
    /// came are not among those that are here (`done`) any more.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub(super) fn measured(
        &self,
        (key, examined): (u64, Examined),
        listed: &Listed,
        done: &mut UidSet,
    ) -> Result<Measured, Failure> {
        let mut measured = Measured::default();
        if done.is_empty() {
            return Ok(measured);
        }
        let known = self.journal.measures(self.account, key, examined.uidvalidity)?;
        for (uid, size) in listed.messages.iter().filter(|(uid, size)| *size > 0 && done.contains(*uid)) {
            let before = known.get(uid).filter(|before| before.size > 0 && !before.odd);
            if let Some(before) = before.filter(|before| before.size != *size) {
                measured.reused.insert(*uid, *before);
            }
        }
        measured.reused.keys().for_each(|uid| done.remove(*uid));
        Ok(measured)
    }

    /// A message comes that is listed with this size. `true`: its bytes are those of the one that came under its UID
    /// before, so it is here.
    pub(super) fn measure(&self, progress: &mut Progress, message: &Fetched, size: Option<u32>) -> bool {
        let uid = message.uid;
        let odd = message.look.zip(size).filter(|(look, size)| look.length != u64::from(*size));
        let sum = message.look.map(|look| look.sum);
        let measure = Measure { size: size.unwrap_or(0), sum, odd: odd.is_some() };
        let measured = &mut progress.measured;
        if sum.is_some() && measured.reused.get(&uid).is_some_and(|before| before.sum == sum) {
            measured.reused.remove(&uid);
            measured.landed.insert(uid, measure);
            progress.done.insert(uid);
            progress.record.ledger.already_there += 1;
            return true;
        }
        measured.coming.insert(uid, measure);
        if let Some((look, size)) = odd.filter(|(look, size)| look.length < u64::from(*size)) {
            measured.short.insert(uid, (size, look.length));
        }
        false
    }

    /// Messages that came shorter than they are listed, each time, while the other sizes of the folder are right: each is
    /// told, and counts as failed. Its original stays.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub(super) fn tell_short(&self, progress: &mut Progress) -> Result<(), Failure> {
        let mut short = std::mem::take(&mut progress.measured.short);
        short.retain(|uid, _| progress.done.contains(*uid));
        if short.is_empty() {
            return Ok(());
        }
        let mut known = self.journal.measures(self.account, progress.key, progress.uidvalidity)?;
        known.retain(|_, measure| measure.size > 0);
        let odd = known.values().filter(|measure| measure.odd).count();
        if known.len() > 1 && known.len() - odd < 4 * odd {
            // Its sizes are wrong altogether.
            return Ok(());
        }
        short.retain(|uid, _| !progress.bare.contains_key(uid));
        for (uid, (size, length)) in short {
            let reason = format!(
                "it is listed with {size} bytes and comes with {length}, each time, and the other sizes are right: \
                 what came is here, and the original is not deleted"
            );
            self.partly(progress, uid, &short_key(uid), reason);
        }
        Ok(())
    }

    /// A message is here, and part of it is missing: it counts as failed, and is told.
    pub(super) fn partly(&self, progress: &mut Progress, uid: u32, key: &str, reason: String) {
        let ledger = &mut progress.record.ledger;
        let from = match (ledger.imported, ledger.already_there) {
            (0, 0) => return,
            (0, _) => &mut ledger.already_there,
            (_, 0) => &mut ledger.imported,
            _ if self.poll.is_some() || progress.fresh.contains(uid) => &mut ledger.imported,
            _ => &mut ledger.already_there,
        };
        *from -= 1;
        ledger.failed += 1;
        self.except_as(progress, key, (&uid.to_string(), None), reason);
    }
}
