//! What a person wishes of one migration: to pause, to go on, to be cancelled. It refuses what cannot be granted, in
//! words, and holds back from taking away what an earlier run brought.

use std::time::Duration;

use super::super::{Place, now};
use super::{Manager, Refusal};
use crate::journal::{Changes, Finish, MigrationRecord};
use crate::migration::{State as Stage, Wish};

/// How a migration ended that had completed and was to run again.
const BETWEEN_ROUNDS: &str = "cancelled between two rounds; what came was left";

/// An attempt to put a destination back is waited for as long as this.
const FAREWELL: Duration = Duration::from_secs(10);

impl Manager {
    /// Pauses, resumes or cancels a migration and says its state then.
    ///
    /// # Errors
    /// The name, why the wish cannot be granted, or the journal.
    pub async fn wish(&self, name: &str, wish: Wish) -> Result<Stage, Refusal> {
        let means = self.means();
        let (written, stage) = 'granted: {
            let mut state = self.lock();
            if let Some(refusal) = state.denied(name).filter(|_| wish == Wish::Resume) {
                return Err(refusal);
            }
            let Some((account, entry)) = state.migration(name) else { return Err(state.not_migrated(name)) };
            let between = is_between_rounds(&entry.record);
            // What a round brought that completed is the member's, and others may have taken it for theirs since.
            let wish = match wish {
                Wish::Cancel { .. } if between || is_paused_between_rounds(&entry.record) => {
                    Wish::Cancel { keep: true }
                }
                wish => wish,
            };
            if wish == (Wish::Cancel { keep: false }) && entry.record.started_at.is_some() {
                let gone = matches!(means.place(account), Ok(Place::Delivery(_)));
                if gone {
                    return Err(Refusal::Refused(
                        name.to_owned(),
                        "what LMTP delivered cannot be taken back".to_owned(),
                        format!("run 'mailhaulctl cancel {name} --keep'"),
                    ));
                }
            }
            // Between two rounds it waits for its time, like one that is tried again.
            let before = if between { Stage::Retrying } else { entry.record.state };
            let stage = before.wish(wish).map_err(|why| {
                Refusal::Refused(name.to_owned(), why.to_owned(), "see 'mailhaulctl show'".to_owned())
            })?;
            // What never began brought nothing; what an earlier run brought is not this one's to remove.
            let stage = match stage {
                // The attempt that runs has to end first, and the journal to forget the run.
                Stage::Cancelled if entry.record.state == Stage::RollingBack => {
                    entry.record.left = true;
                    Stage::RollingBack
                }
                Stage::RollingBack if entry.record.started_at.is_none() => Stage::Cancelled,
                stage => stage,
            };
            let place = entry.record.place;
            if wish == Wish::Resume && entry.record.finished_at.is_some() {
                // The last round is over, and the next begins.
                let mut changes = Changes::default();
                state.queue.remove(&place);
                state.enqueue(name, Finish::No, false, &mut changes);
                break 'granted (means.journal.enqueue(changes), stage);
            }
            entry.record.state = stage;
            entry.record.next_try_at = None;
            match wish {
                Wish::Resume => {
                    entry.record.tries = 0;
                    entry.record.error = None;
                    entry.since = None;
                }
                Wish::Cancel { .. } => {
                    entry.record.cancelled = true;
                    entry.record.error = None;
                }
                Wish::Pause | Wish::Start => {}
            }
            if let Some(job) = &entry.job {
                job.cancel.cancel();
            }
            let mut changes = Changes::default();
            if matches!(stage, Stage::Cancelled | Stage::Paused)
                && let Some(tally) = &entry.tally
            {
                tally.sums().keep(&mut entry.record);
            }
            if stage == Stage::Cancelled {
                let outcome = if entry.record.finished_at.is_some() {
                    BETWEEN_ROUNDS
                } else if entry.record.started_at.is_some() {
                    "cancelled; what came was left"
                } else {
                    "cancelled; nothing had come"
                };
                entry.record.outcome = Some(outcome.to_owned());
                entry.record.finished_at = Some(now());
                changes.history(now(), name, &entry.record);
            }
            changes.migration(name, &entry.record);
            if stage.has_ended() {
                state.queue.remove(&place);
            } else {
                // Between two rounds it had none.
                state.queue.insert(place, name.to_owned());
            }
            if between {
                state.repeats.remove(name);
            }
            (means.journal.enqueue(changes), stage)
        };
        written.await?;
        if stage == Stage::Cancelled {
            self.unseal(name).await;
        }
        self.told();
        if wish == (Wish::Cancel { keep: true }) && stage == Stage::RollingBack {
            return Ok(self.left(name).await);
        }
        Ok(stage)
    }

    /// Waits a while for the end of a rollback that was given up; says the state then.
    async fn left(&self, name: &str) -> Stage {
        let mut changes = self.changes();
        let stage = || {
            let mut state = self.lock();
            state.migration(name).map_or(Stage::Cancelled, |(_, entry)| entry.record.state)
        };
        let over = async { while stage() == Stage::RollingBack && changes.changed().await.is_ok() {} };
        let _ = tokio::time::timeout(FAREWELL, over).await;
        stage()
    }
}

/// It completed, and runs again by itself at its time.
fn is_between_rounds(record: &MigrationRecord) -> bool {
    record.state == Stage::Completed && record.next_try_at.is_some()
}

/// It completed, and a person stopped it before it ran again.
pub(super) fn is_paused_between_rounds(record: &MigrationRecord) -> bool {
    record.state == Stage::Paused && record.finished_at.is_some()
}
