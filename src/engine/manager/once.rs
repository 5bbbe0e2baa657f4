//! Everything once, for cron, containers and benchmarks: each enabled account is polled, each migration
//! runs. It refuses to wait for a source that is away: what cannot be done now is told and left resumable, and so is what
//! a signal ends.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::super::now;
use super::state::{Entry, State, Work};
use super::{Manager, Refusal, View};
use crate::failure::{Failure, Kind};
use crate::migration::{Ledger, State as Stage, Wish};

/// How often a migration that broke off is tried.
const TRIES: u32 = 3;

/// A pause that is longer is not waited for; milliseconds.
const LONG: i64 = 600_000;

const SWITCHED_OFF: &str = "the definition says enabled = false";

/// What became of everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// Accounts polled.
    pub polled: u64,
    /// Migrations that completed.
    pub migrated: u64,
    /// Messages brought.
    pub imported: u64,
    /// Messages that were here before.
    pub already_there: u64,
    /// Messages left out.
    pub skipped: u64,
    /// Octets brought.
    pub bytes: u64,
    /// What failed, whole or in part: name and why.
    pub failed: Vec<(String, String)>,
    /// What was not to run: name and why.
    pub left_out: Vec<(String, String)>,
    /// It was ended before all was done.
    pub stopped: bool,
}

impl Summary {
    /// Adds what became of a run's messages.
    fn count(&mut self, ledger: &Ledger) {
        self.already_there += ledger.already_there;
        self.skipped += ledger.skipped + ledger.vanished;
    }

    /// A run went well: single messages may have failed all the same.
    fn went_well(&mut self, name: &str, ledger: &Ledger) {
        if ledger.failed > 0 {
            let messages = if ledger.failed == 1 { "message" } else { "messages" };
            let words = format!("{} {messages} failed; the next run tries again", ledger.failed);
            self.failed.push((name.to_owned(), words));
        }
    }
}

impl Manager {
    /// Runs everything once and says what became of it. With `stop` it ends as soon as that is safe, at most `limit`
    /// after it.
    ///
    /// # Errors
    /// The journal cannot be written.
    pub async fn run_once(
        self: &Arc<Self>,
        stop: &CancellationToken,
        limit: Duration,
    ) -> Result<Summary, Refusal> {
        let (migrations, left_out) = {
            let state = self.lock();
            (state.all_migrations(), state.left_out())
        };
        let mut summary = Summary { left_out, ..Summary::default() };
        let mut refused = BTreeMap::new();
        for name in &migrations {
            match self.start(std::slice::from_ref(name), false).await {
                Ok(_) => {}
                Err(Refusal::Refused(_, what, mend)) => {
                    refused.insert(name.clone(), format!("{what}; {mend}"));
                }
                Err(refusal) => return Err(refusal),
            }
        }
        let asked = self.ask_polls(&[], true)?;
        let mut changes = self.changes();
        loop {
            self.step();
            changes.mark_unchanged();
            let polls_done = asked.iter().all(|asked| self.is_answered(asked));
            let migrations_done = migrations.iter().all(|name| self.is_over(name));
            if polls_done && migrations_done {
                break;
            }
            if self.means().journal.has_failed() {
                // Nothing can be recorded any more: to wait for the next try would be in vain.
                return Err(Refusal::Failed(Failure::new(
                    Kind::Journal,
                    "the journal cannot be written any more",
                    "check the disk of the state directory and its space; run it again",
                )));
            }
            // The pauses between tries end without a change: look once a second, too.
            let look = tokio::time::timeout(Duration::from_secs(1), changes.changed());
            tokio::select! {
                _ = look => {}
                () = stop.cancelled() => {
                    summary.stopped = true;
                    break;
                }
            }
        }
        let polled: Vec<_> = asked.iter().filter(|asked| self.is_answered(asked)).collect();
        let migrated: Vec<&String> = migrations.iter().filter(|name| self.is_over(name)).collect();
        if summary.stopped {
            self.shut_down(limit).await;
        }
        for asked in polled {
            if let Ok(View::Poll(view)) = self.view(&asked.name) {
                summary.polled += 1;
                let Some(run) = view.record.last_run else { continue };
                summary.count(&run.ledger);
                match run.error.or(run.note.filter(|_| run.unfinished)) {
                    Some(error) => summary.failed.push((asked.name.clone(), error)),
                    None => summary.went_well(&asked.name, &run.ledger),
                }
            }
        }
        let left_out: BTreeSet<String> = summary.left_out.iter().map(|(name, _)| name.clone()).collect();
        for name in migrated.into_iter().filter(|name| !left_out.contains(*name)) {
            let Ok(View::Migration(view)) = self.view(name) else { continue };
            if let Some(why) = refused.remove(name) {
                summary.failed.push((name.clone(), why));
                continue;
            }
            let record = view.record;
            summary.count(&record.ledger);
            if record.state == Stage::Completed {
                summary.migrated += 1;
                match record.error {
                    Some(error) => summary.failed.push((name.clone(), error)),
                    None => summary.went_well(name, &record.ledger),
                }
            } else {
                let why = record.error.unwrap_or_else(|| record.state.as_str().to_owned());
                summary.failed.push((name.clone(), why));
            }
        }
        summary.imported = self.total.messages.load(Relaxed);
        summary.bytes = self.total.bytes.load(Relaxed);
        Ok(summary)
    }

    fn is_over(&self, name: &str) -> bool {
        let mut state = self.lock();
        let denied = state.denied(name).is_some();
        let Some((_, entry)) = state.migration(name) else { return true };
        let record = &entry.record;
        entry.job.is_none()
            && match record.state {
                // The one was stopped by a person, the other was refused.
                Stage::Paused | Stage::Ready => true,
                // Its turn does not come.
                Stage::Queued | Stage::Checking | Stage::Running | Stage::Retrying if denied => true,
                Stage::Retrying => {
                    record.tries >= TRIES || record.next_try_at.is_some_and(|at| at > now() + LONG)
                }
                state => state.has_ended(),
            }
    }
}

impl State {
    fn all_migrations(&self) -> Vec<String> {
        let all = self.in_order().filter_map(|(name, entry)| match &entry.work {
            Work::Migration(m) => {
                (m.record.state.wish(Wish::Start).is_ok() || m.record.state.is_open()).then(|| name.clone())
            }
            Work::Poll(_) => None,
        });
        all.collect()
    }

    /// What is not to run, and why.
    fn left_out(&self) -> Vec<(String, String)> {
        let why = |entry: &Entry| match (&entry.denied, &entry.work) {
            (Some(denial), _) => Some(denial.reason.clone()),
            (None, Work::Poll(poll)) if !State::is_enabled(&entry.account, &poll.record) => {
                Some(poll.record.reason.clone().unwrap_or_else(|| SWITCHED_OFF.to_owned()))
            }
            (None, Work::Migration(migration)) if migration.record.state == Stage::Paused => {
                Some("it is paused".to_owned())
            }
            _ => None,
        };
        self.entries.iter().filter_map(|(name, entry)| Some((name.clone(), why(entry)?))).collect()
    }
}
