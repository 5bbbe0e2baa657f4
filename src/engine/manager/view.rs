//! What can be seen from outside: plain copies, made under the lock in one go. It refuses to hand out
//! anything that could be changed.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::super::tally::Tally;
use super::polls::Asked;
use super::recount::waits_for;
use super::state::{Entry, State, Work};
use super::{Manager, Refusal};
use crate::account::Account;
use crate::config::Broken;
use crate::failure::Failure;
use crate::journal::{FolderRecord, MigrationRecord, PollRecord, SkippedRecord};
use crate::migration::State as Stage;

/// An account.
#[derive(Debug, Clone)]
pub enum View {
    /// A definition that cannot be used.
    Broken(Arc<Broken>),
    /// A polled account.
    Poll(Box<PollView>),
    /// A migration.
    Migration(Box<MigrationView>),
}

/// A polled account.
#[derive(Debug, Clone)]
pub struct PollView {
    /// Its definition.
    pub account: Arc<Account>,
    /// What is known of it.
    pub record: PollRecord,
    /// Automatic import is on.
    pub enabled: bool,
    /// Why nothing of it may run.
    pub denied: Option<String>,
    /// When it is due; milliseconds since 1970.
    pub due_at: Option<i64>,
    /// The numbers of the run in progress.
    pub running: Option<Numbers>,
    /// Runs that ended since the daemon started.
    pub ended: u64,
}

/// The numbers of a poll in progress.
#[derive(Debug, Clone, Copy, Default)]
pub struct Numbers {
    /// Messages done.
    pub messages: u64,
    /// Messages to do, once known.
    pub total: Option<u64>,
    /// Octets done.
    pub bytes: u64,
}

/// A migration.
#[derive(Debug, Clone)]
pub struct MigrationView {
    /// Its definition.
    pub account: Arc<Account>,
    /// What is known of it, with the live numbers of a try in progress.
    pub record: MigrationRecord,
    /// Its place in the queue, from 1.
    pub position: Option<u64>,
    /// Why nothing of it may run.
    pub denied: Option<String>,
    /// What it waits for, in words.
    pub waits_for: Option<String>,
}

/// The daemon as a whole.
#[derive(Debug, Clone, Copy, Default)]
pub struct Overview {
    /// Accounts by state.
    pub enabled: u64,
    /// Switched off.
    pub disabled: u64,
    /// Definitions that cannot be used.
    pub invalid: u64,
    /// Accounts that policy denies.
    pub denied: u64,
    /// Polls that run.
    pub polls_running: u64,
    /// Migrations that run.
    pub migrations_running: u64,
    /// Migrations that wait.
    pub migrations_waiting: u64,
    /// Uploads that run.
    pub uploads_running: u64,
    /// Backups that run.
    pub backups_running: u64,
    /// Messages brought since the start.
    pub messages: u64,
    /// Octets brought since the start.
    pub bytes: u64,
}

/// A migration's details.
#[derive(Debug, Clone, Default)]
pub struct Details {
    /// Its folders, in the order of their names.
    pub folders: Vec<FolderRecord>,
    /// What was not brought.
    pub skipped: Vec<SkippedRecord>,
}

impl Manager {
    /// Every account, good ones in the order of their definitions, then invalid ones.
    pub fn views(&self) -> Vec<View> {
        let state = self.lock();
        let positions = state.positions();
        let good = state.in_order().map(|(name, entry)| state.view(name, entry, &positions));
        good.chain(state.broken.iter().cloned().map(View::Broken)).collect()
    }

    /// One account.
    ///
    /// # Errors
    /// No account has that name.
    pub fn view(&self, name: &str) -> Result<View, Refusal> {
        let state = self.lock();
        if let Some((name, entry)) = state.entries.get_key_value(name) {
            return Ok(state.view(name, entry, &state.positions()));
        }
        let broken = state.broken.iter().find(|b| b.name.as_deref() == Some(name));
        broken.cloned().map(View::Broken).ok_or_else(|| Refusal::NoSuchAccount(name.to_owned()))
    }

    /// The queue in its order.
    pub fn queue(&self) -> Vec<MigrationView> {
        let state = self.lock();
        let positions = state.positions();
        let names = state.queue.values();
        names
            .filter_map(|name| {
                let entry = state.entries.get(name)?;
                match state.view(name, entry, &positions) {
                    View::Migration(view) => Some(*view),
                    _ => None,
                }
            })
            .collect()
    }

    /// What ended, newest first.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub fn history(&self, most: usize) -> Result<Vec<(String, MigrationRecord)>, Failure> {
        self.means().journal.history(most)
    }

    /// The folders and exceptions of an account.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub fn details(&self, name: &str) -> Result<Details, Failure> {
        let journal = self.means().journal.clone();
        let mut folders: Vec<FolderRecord> = journal.folders(name)?.into_values().collect();
        folders.sort_by(|a, b| (&a.name, b.run).cmp(&(&b.name, a.run)));
        // What was found at the beginning, and of a folder that the source does not have any more.
        folders.retain(|folder| !folder.name.is_empty());
        // A folder of a mailbox that was the source before.
        let mut latest: Option<(String, i64)> = None;
        folders.retain(|folder| match &latest {
            Some((name, run)) if *name == folder.name => *run == folder.run,
            _ => {
                latest = Some((folder.name.clone(), folder.run));
                true
            }
        });
        let mut skipped: Vec<SkippedRecord> = journal.skipped(name)?.into_iter().map(|(_, _, r)| r).collect();
        skipped.sort_by(|a, b| (&a.folder, &a.id).cmp(&(&b.folder, &b.id)));
        Ok(Details { folders, skipped })
    }

    /// The daemon as a whole.
    pub fn overview(&self) -> Overview {
        let state = self.lock();
        let (uploads_running, backups_running) = self.transfers();
        let mut overview = Overview {
            uploads_running,
            backups_running,
            invalid: state.broken.len() as u64,
            messages: self.total.messages.load(Relaxed),
            bytes: self.total.bytes.load(Relaxed),
            ..Overview::default()
        };
        for entry in state.entries.values() {
            let denied = entry.denied.is_some();
            overview.denied += u64::from(denied);
            match &entry.work {
                Work::Poll(poll) => {
                    if denied {
                    } else if State::is_enabled(&entry.account, &poll.record) {
                        overview.enabled += 1;
                    } else {
                        overview.disabled += 1;
                    }
                    overview.polls_running += u64::from(poll.running.is_some());
                }
                Work::Migration(migration) => {
                    overview.enabled += u64::from(!denied);
                    let running = migration.job.is_some();
                    overview.migrations_running += u64::from(running);
                    overview.migrations_waiting += u64::from(!running && migration.record.state.is_open());
                }
            }
        }
        overview
    }

    /// Whether a wish to poll is granted: the run that answers it has ended, or the account is gone.
    pub fn is_answered(&self, asked: &Asked) -> bool {
        let mut state = self.lock();
        state.denied(&asked.name).is_some()
            || state.poll(&asked.name).is_none_or(|(_, entry)| entry.ended >= asked.run)
    }
}

impl State {
    fn positions(&self) -> std::collections::BTreeMap<&str, u64> {
        self.queue.values().zip(1..).map(|(name, position)| (name.as_str(), position)).collect()
    }

    fn view(&self, name: &str, entry: &Entry, positions: &std::collections::BTreeMap<&str, u64>) -> View {
        let account = Arc::clone(&entry.account);
        let denied = entry.denied.as_ref().map(|denial| denial.reason.clone());
        match &entry.work {
            Work::Poll(poll) => View::Poll(Box::new(PollView {
                enabled: State::is_enabled(&account, &poll.record),
                account,
                record: poll.record.clone(),
                due_at: self.timetable.when(name),
                denied: denied.clone(),
                running: poll.running.as_ref().map(|running| Numbers {
                    messages: running.meter.messages.load(Relaxed),
                    total: running.meter.total(),
                    bytes: running.meter.bytes.load(Relaxed),
                }),
                ended: poll.ended,
            })),
            Work::Migration(migration) => {
                let mut record = migration.record.clone();
                if migration.job.is_some() && matches!(record.state, Stage::Checking | Stage::Running) {
                    let sums = migration.tally.as_deref().map(Tally::sums).unwrap_or_default();
                    if sums.checked {
                        record.state = Stage::Running;
                    }
                    if sums.ledger.seen > 0 || sums.progress_at.is_some() {
                        // Work goes on, a folder was listed: what stopped it before is over.
                        record.error = None;
                    }
                    sums.keep(&mut record);
                }
                let position = positions.get(name).copied();
                let busy = migration.job.is_some();
                let waits_for = waits_for(name, &record, position, migration.tally.as_deref(), busy);
                View::Migration(Box::new(MigrationView { account, record, position, denied, waits_for }))
            }
        }
    }
}
