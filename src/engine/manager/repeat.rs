//! Migrations that repeat themselves after they completed, until somebody ends that with one last run. It
//! refuses to repeat what failed or was cancelled: a person has to look first.

use std::sync::Arc;

use super::super::now;
use super::migrations::is_under_way;
use super::state::{State, Work};
use super::verdict::millis;
use super::{Manager, Refusal};
use crate::account::Job;
use crate::journal::{Changes, Finish, MigrationRecord};
use crate::migration::State as Stage;

impl Manager {
    /// One last run of each, and then they repeat themselves no more.
    ///
    /// # Errors
    /// Which name it was and why.
    pub async fn finish(&self, names: &[String]) -> Result<(), Refusal> {
        let written = {
            let mut state = self.lock();
            for name in names {
                if let Some(refusal) = state.denied(name) {
                    return Err(refusal);
                }
                let Some((_, entry)) = state.migration(name) else { return Err(state.not_migrated(name)) };
                let refuse =
                    |what: &str, mend: String| Err(Refusal::Refused(name.clone(), what.to_owned(), mend));
                match entry.record.state {
                    Stage::Completed => {}
                    stage if is_under_way(stage) => {}
                    Stage::Paused => {
                        return refuse("it is paused", format!("run 'mailhaulctl resume {name}'"));
                    }
                    Stage::RollingBack => {
                        return refuse("its destination is being put back", "wait for that".to_owned());
                    }
                    _ => {
                        let mend = format!("run 'mailhaulctl start {name}'");
                        return refuse("it has not completed, so there is nothing to finish", mend);
                    }
                }
            }
            let mut changes = Changes::default();
            for name in names {
                let Some((_, entry)) = state.migration(name) else { continue };
                if is_under_way(entry.record.state) {
                    // What runs may have listed its folders already: once more after it.
                    entry.record.finish = Finish::Asked;
                    changes.migration(name, &entry.record);
                } else {
                    state.enqueue(name, Finish::Asked, false, &mut changes);
                }
            }
            self.means().journal.enqueue(changes)
        };
        written.await?;
        self.told();
        Ok(())
    }

    /// Puts what is due into the queue.
    pub(super) fn start_repeats(&self) {
        if self.once {
            return;
        }
        let mut state = self.lock();
        let mut changes = Changes::default();
        while let Some(name) = state.repeats.take(now()) {
            let due = state.migration(&name).is_some_and(|(_, entry)| entry.record.state == Stage::Completed);
            if due {
                state.enqueue(&name, Finish::No, true, &mut changes);
            }
        }
        if !changes.is_empty() {
            // Lost with a crash, it is due again.
            drop(self.means().journal.enqueue(changes));
        }
    }
}

impl State {
    /// Puts a migration at the end of the queue, as a new run.
    pub(super) fn enqueue(&mut self, name: &str, finish: Finish, automatic: bool, changes: &mut Changes) {
        let place = self.next_place + 1;
        let Some((_, entry)) = self.migration(name) else { return };
        entry.tally = None;
        entry.cares = Arc::default();
        entry.since = None;
        entry.record = MigrationRecord {
            state: Stage::Queued,
            place,
            completed_at: entry.record.completed_at,
            finish,
            automatic,
            ..MigrationRecord::default()
        };
        changes.migration(name, &entry.record);
        self.next_place = place;
        self.queue.insert(place, name.to_owned());
        self.repeats.remove(name);
    }

    /// A run ended: what comes next.
    pub(super) fn repeat(&mut self, name: &str, changes: &mut Changes) {
        let Some((_, entry)) = self.migration(name) else { return };
        if entry.record.state != Stage::Completed {
            return;
        }
        match entry.record.finish {
            Finish::Asked => return self.enqueue(name, Finish::Asked, false, changes),
            Finish::Last => entry.record.finish = Finish::Over,
            Finish::No | Finish::Over => {}
        }
        self.plan_repeat(name);
        if let Some((_, entry)) = self.migration(name) {
            changes.migration(name, &entry.record);
        }
    }

    /// When a completed migration runs again, by its definition as it is now.
    pub(super) fn plan_repeat(&mut self, name: &str) {
        let Some(entry) = self.entries.get_mut(name) else { return };
        let (Job::Migrate(job), Work::Migration(migration)) = (&entry.account.job, &mut entry.work) else {
            return;
        };
        let record = &mut migration.record;
        if record.state != Stage::Completed {
            return;
        }
        let wanted = job.delta.filter(|_| record.finish != Finish::Over);
        // A run that ended later than now ended before the clock was set back.
        let ended = record.finished_at.unwrap_or_else(now).min(now());
        record.next_try_at = wanted.map(|delta| ended + millis(delta));
        match record.next_try_at {
            Some(at) => self.repeats.set(name, at),
            None => self.repeats.remove(name),
        }
    }
}
