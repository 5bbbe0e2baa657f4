//! The end of a polled folder: what is durable here is deleted at the source, if that was asked for. It refuses
//! to delete what the journal does not know as landed.

use super::board::Part;
use super::folder::FolderWork;
use crate::destination::landing::Order;
use crate::destination::maildir::Origin;
use crate::failure::Failure;
use crate::imap::{Deleted, Session};
use crate::journal::{Changes, Side};
use crate::message::UidSet;

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
        if !done.is_empty() {
            match session.delete(&part.folder.wire, record.uidvalidity, &done).await? {
                Deleted::Gone(count) => {
                    deleted = count;
                    record.exists = record.exists.saturating_sub(count);
                    let mut adopted = self.journal.uids(self.account, key, Side::Adopted)?;
                    adopted.subtract(&done);
                    done = UidSet::new();
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
        record.settled = true;
        changes.folder(self.account, key, &record);
        self.journal.commit(changes).await?;
        Ok(deleted)
    }
}
