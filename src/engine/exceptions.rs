//! Messages of a folder that did not come, in the journal: what is told, what is told no more, and what is not asked for
//! again. It refuses to forget a message that the destination refused for good.

use std::collections::BTreeMap;

use super::cut;
use super::folder::{FolderWork, Progress};
use crate::destination::landing::Receipt;
use crate::failure::Failure;
use crate::imap::Fetched;
use crate::journal::{Journal, SkippedRecord};
use crate::message::UidSet;

/// Before the UID, in the key of a message that came without its flags.
const WITHOUT_FLAGS: &str = "unkept-";

/// How many messages of a migration came without flags that the destination gave to others.
///
/// # Errors
/// The journal cannot be read.
pub(super) fn without_flags(journal: &Journal, account: &str) -> Result<usize, Failure> {
    let skipped = journal.skipped(account)?;
    Ok(skipped.iter().filter(|(_, id, _)| id.starts_with(WITHOUT_FLAGS)).count())
}

impl FolderWork<'_> {
    /// A poll keeps the exceptions of earlier ones, but of what it listed `again`, or of a folder that it listed
    /// whole, it tells them anew.
    pub(super) fn clear_skipped(
        &self,
        progress: &mut Progress,
        again: Option<&UidSet>,
    ) -> Result<(), Failure> {
        if self.poll.is_none() {
            return Ok(());
        }
        for (key, id, _) in self.journal.skipped(self.account)? {
            let listed = id.parse().is_ok_and(|uid| again.is_none_or(|again| again.contains(uid)));
            if key == progress.key && listed {
                progress.changes.not_skipped(self.account, key, &id);
            }
        }
        Ok(())
    }

    /// What the destination refused for good.
    pub(super) fn refused(&self, folder: u64) -> Result<BTreeMap<u32, SkippedRecord>, Failure> {
        let skipped = self.journal.skipped(self.account)?.into_iter();
        let refused = skipped.filter(|(key, _, record)| *key == folder && record.for_good);
        Ok(refused.filter_map(|(_, id, record)| Some((id.parse().ok()?, record))).collect())
    }

    /// The length of a message that came without an announced size, if it is too large for a poll.
    pub(super) fn beyond_limit(&self, announced: Option<u32>, message: &Fetched) -> Option<u64> {
        let length = message.look.filter(|_| announced.is_none())?.length;
        self.limit.filter(|limit| length > *limit).map(|_| length)
    }

    /// A message of a migration that came, and the destination did not give it its flags.
    pub(super) fn flags_refused(&self, progress: &mut Progress, uid: u32, receipt: &Receipt) {
        let Some(words) = receipt.flags_refused.as_ref().filter(|_| self.poll.is_none()) else { return };
        let flags = receipt.keywords_left.join(" ");
        let record = SkippedRecord {
            folder: progress.record.name.clone(),
            id: uid.to_string(),
            size: Some(receipt.octets),
            reason: cut(&format!("it came without {flags}: {words}")),
            for_good: false,
        };
        progress.changes.skipped(self.account, progress.key, &format!("{WITHOUT_FLAGS}{uid}"), &record);
    }

    /// A message that did not come.
    pub(super) fn except(&self, progress: &mut Progress, id: &str, size: Option<u64>, reason: String) {
        self.except_as(progress, id, (id, size), reason);
    }

    /// The same under another key than the name that people see.
    pub(super) fn except_as(
        &self,
        progress: &mut Progress,
        key: &str,
        (id, size): (&str, Option<u64>),
        reason: String,
    ) {
        let folder = progress.record.name.clone();
        let record = SkippedRecord { folder, id: id.to_owned(), size, reason: cut(&reason), for_good: false };
        progress.changes.skipped(self.account, progress.key, key, &record);
    }
}

/// Why a message that is too large stays where it is.
pub(super) fn too_large_for(limit: u64) -> String {
    format!(
        "it is larger than max_message_size ({limit} octets), so it was not brought; it stays at the source"
    )
}
