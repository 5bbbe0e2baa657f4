//! The end of a folder: what landed last is recorded, and what is to be known of it is written down. It refuses to
//! end well while the numbers do not add up.

use std::collections::VecDeque;

use tokio::sync::oneshot;

use super::folder::{FolderWork, Progress};
use crate::destination::landing::Receipt;
use crate::failure::{Failure, Kind};
use crate::journal::FolderState;

impl FolderWork<'_> {
    /// Everything that can be brought has been: the numbers are told, if they add up.
    ///
    /// # Errors
    /// They do not, or the journal cannot be written.
    pub(super) async fn finish(&self, progress: &mut Progress) -> Result<(), Failure> {
        while let Some(answer) = progress.waiting.pop_front() {
            let receipts = self.landing.settled(answer).await?;
            self.receive(progress, receipts).await?;
        }
        if !progress.record.ledger.adds_up() {
            return Err(Failure::new(
                Kind::Protocol,
                format!(
                    "the numbers of folder {} do not add up: {:?}",
                    progress.record.name, progress.record.ledger
                ),
                "it is tried again; tell the makers of Mailhaul if it stays",
            ));
        }
        progress.record.open = false;
        progress.record.state = FolderState::Done;
        let told = [
            (progress.lost_keywords, "messages have flags or keywords that do not fit into this folder"),
            (progress.twice, "messages may be here twice: an answer was lost, and nobody can ask again"),
            (progress.altered, "messages were changed by the destination: 8-bit headers, or line ends"),
            (progress.redated, "messages have another date there: the destination does not keep it"),
        ];
        for (count, what) in told.into_iter().filter(|(count, _)| *count > 0) {
            let words = format!("{count} {what}");
            let note = progress.record.note.take();
            progress.record.note = Some(note.map_or(words.clone(), |note| format!("{note}; {words}")));
        }
        self.save(progress).await?;
        let ledger = &progress.record.ledger;
        tracing::debug!(
            MIGRATION = self.account,
            FOLDER = progress.record.name,
            "folder done: {} seen, {} imported, {} already here, {} failed, {} vanished",
            ledger.seen,
            ledger.imported,
            ledger.already_there,
            ledger.failed,
            ledger.vanished
        );
        self.tell(progress, true);
        Ok(())
    }
}

/// The oldest commit, if it has settled: `Some(None)` when the landing stopped.
pub(super) fn ready(
    waiting: &mut VecDeque<oneshot::Receiver<Vec<Receipt>>>,
) -> Result<Option<Option<Vec<Receipt>>>, Failure> {
    let Some(first) = waiting.front_mut() else { return Ok(None) };
    let settled = match first.try_recv() {
        Ok(receipts) => Some(receipts),
        Err(oneshot::error::TryRecvError::Empty) => return Ok(None),
        Err(oneshot::error::TryRecvError::Closed) => None,
    };
    waiting.pop_front();
    Ok(Some(settled))
}
