//! What is held against messages of a source, by folder: kept in memory from connection to connection, and in the
//! journal from daemon to daemon, so that a message that breaks connections is given up at last. It refuses to keep
//! what a run that ended well held against anybody.

use std::collections::BTreeMap;
use std::sync::Mutex;

use super::folder::{Brought, FolderWork, Progress};
use crate::destination::landing::Order;
use crate::failure::Failure;
use crate::imap::{Care, Examined, Session, Strikes};
use crate::journal::{Changes, Side, StrikeRecord};

/// What connections broke over, by folder.
pub(super) type Cares = Mutex<BTreeMap<u64, Care>>;

impl FolderWork<'_> {
    /// What is known of a folder's messages.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub(super) fn care(&self, folder: u64) -> Result<Care, Failure> {
        if let Some(care) = self.cares.lock().ok().and_then(|cares| cares.get(&folder).cloned()) {
            return Ok(care);
        }
        let kept = self.journal.strikes(self.account, folder)?.into_iter();
        let mut care = Care::of(
            kept.map(|(uid, StrikeRecord { count, words })| (uid, Strikes { count, words })).collect(),
        );
        if !self.journal.uids(self.account, folder, Side::Done)?.is_empty() {
            care.has_given();
        }
        Ok(care)
    }

    /// Keeps it; `done`: everything that can be had has come.
    ///
    /// # Errors
    /// The journal cannot be written.
    pub(super) async fn keep_care(&self, folder: u64, care: Care, done: bool) -> Result<(), Failure> {
        let strikes = match done {
            true => BTreeMap::new(),
            false => care.kept().clone(),
        };
        let record = |Strikes { count, words }: Strikes| StrikeRecord { count, words };
        let strikes = strikes.into_iter().map(|(uid, strikes)| (uid, record(strikes))).collect();
        let mut changes = Changes::default();
        changes.strikes(self.account, folder, &self.journal.strikes(self.account, folder)?, &strikes);
        if let Ok(mut cares) = self.cares.lock() {
            if care.is_needed() && !done {
                cares.insert(folder, care);
            } else {
                cares.remove(&folder);
            }
        }
        self.journal.commit(changes).await
    }

    /// A connection broke, after it had brought so many messages; `None`: before it was asked for any. What is known now
    /// is kept.
    ///
    /// # Errors
    /// The failure, where another connection would not bring more; or the journal cannot be written.
    pub(super) async fn broke(
        &self,
        folder: u64,
        mut care: Care,
        (brought, failure): (Option<usize>, Failure),
    ) -> Result<Brought, Failure> {
        let known = care.differs_from(&self.care(folder)?);
        if brought.is_none() {
            care.broke_at_first(&failure);
        }
        let again = care.again(brought.unwrap_or_default(), failure.clone());
        self.keep_care(folder, care, false).await?;
        match (known, brought) {
            (true, _) if again.is_ok() => Ok(Brought::Broke(failure, true)),
            (false, None) if failure.broke() => Ok(Brought::Broke(failure, false)),
            _ => Err(failure),
        }
    }

    /// Everything has come that comes: the flags that changed, and the end.
    ///
    /// # Errors
    /// As [`FolderWork::bring`].
    pub(super) async fn end(
        &self,
        session: &mut Session<Order>,
        progress: &mut Progress,
        examined: Examined,
        mut care: Care,
    ) -> Result<Brought, Failure> {
        match self.carry(session, progress, examined, &mut care).await {
            Err(failure) if failure.broke() => {
                return self.broke(progress.key, care, (Some(0), failure)).await;
            }
            carried => carried?,
        }
        self.keep_care(progress.key, care, true).await?;
        self.tell_short(progress)?;
        self.tell_bare(progress);
        self.finish(progress).await?;
        Ok(Brought::Done)
    }

    /// Messages that are here without their flags: each is told, and counts as failed, for part of it is missing.
    pub(super) fn tell_bare(&self, progress: &mut Progress) {
        for (uid, words) in std::mem::take(&mut progress.bare) {
            if !progress.done.contains(uid) {
                continue;
            }
            let reason = format!("the message is here, but its flags are not to be had: {words}");
            self.partly(progress, uid, &flags_key(uid), reason);
        }
    }
}

/// The key under which it is told that a message's flags were not to be had.
pub(super) fn flags_key(uid: u32) -> String {
    format!("flags-{uid}")
}
