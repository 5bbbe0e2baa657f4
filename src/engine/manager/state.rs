//! The manager's data: an entry for each account, the timetable, the queue. It refuses to start anything.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use tokio_util::sync::CancellationToken;

use super::super::cares::Cares;
use super::super::meter::Meter;
use super::super::tally::Tally;
use super::denial::Denial;
use super::hosts::Hosts;
use crate::account::Account;
use crate::config::Broken;
use crate::journal::{Changes, MigrationRecord, PollRecord};
use crate::schedule::Timetable;

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) entries: BTreeMap<String, Entry>,
    /// Their names in the order of the definitions: by file, and by place in it.
    pub(super) order: Vec<String>,
    pub(super) broken: Vec<Arc<Broken>>,
    pub(super) timetable: Timetable,
    /// Due, and not started for want of a free place, in the order of their turn.
    pub(super) ready: VecDeque<String>,
    pub(super) polls_running: usize,
    /// Connections to each host, by polls.
    pub(super) hosts: Hosts,
    /// The queue: places and names of migrations that are open.
    pub(super) queue: BTreeMap<u64, String>,
    pub(super) next_place: u64,
    /// Completed migrations that repeat themselves, and when.
    pub(super) repeats: Timetable,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) account: Arc<Account>,
    /// Why nothing of it may run.
    pub(super) denied: Option<Denial>,
    pub(super) work: Work,
}

#[derive(Debug)]
pub(super) enum Work {
    Poll(Box<PollEntry>),
    Migration(Box<MigrationEntry>),
}

#[derive(Debug, Default)]
pub(super) struct PollEntry {
    pub(super) record: PollRecord,
    pub(super) running: Option<Running>,
    /// Asked for while it ran: once more.
    pub(super) again: bool,
    /// Runs that ended since the daemon started.
    pub(super) ended: u64,
    /// What connections broke over.
    pub(super) cares: Arc<Cares>,
}

#[derive(Debug, Default)]
pub(super) struct MigrationEntry {
    pub(super) record: MigrationRecord,
    pub(super) job: Option<Job>,
    /// The numbers of the last try, after its end.
    pub(super) tally: Option<Arc<Tally>>,
    /// What connections broke over in this run.
    pub(super) cares: Arc<Cares>,
    /// Time without progress is counted from here.
    pub(super) since: Option<Instant>,
}

#[derive(Debug, Clone)]
pub(super) struct Running {
    pub(super) cancel: CancellationToken,
    pub(super) meter: Arc<Meter>,
    pub(super) started_at: i64,
    pub(super) cares: Arc<Cares>,
}

#[derive(Debug, Clone)]
pub(super) struct Job {
    pub(super) cancel: CancellationToken,
}

impl State {
    pub(super) fn poll(&mut self, name: &str) -> Option<(&Arc<Account>, &mut PollEntry)> {
        match self.entries.get_mut(name) {
            Some(Entry { account, work: Work::Poll(poll), .. }) => Some((account, poll)),
            _ => None,
        }
    }

    pub(super) fn migration(&mut self, name: &str) -> Option<(&Arc<Account>, &mut MigrationEntry)> {
        match self.entries.get_mut(name) {
            Some(Entry { account, work: Work::Migration(migration), .. }) => Some((account, migration)),
            _ => None,
        }
    }

    /// The accounts in the order of their definitions.
    pub(super) fn in_order(&self) -> impl Iterator<Item = (&String, &Entry)> {
        self.order.iter().filter_map(|name| self.entries.get_key_value(name))
    }

    pub(super) fn cancel_all(&mut self) {
        for entry in self.entries.values() {
            match &entry.work {
                Work::Poll(poll) => {
                    if let Some(running) = &poll.running {
                        running.cancel.cancel();
                    }
                }
                Work::Migration(migration) => {
                    if let Some(job) = &migration.job {
                        job.cancel.cancel();
                    }
                }
            }
        }
    }

    /// The records of all polls that ever ran.
    pub(super) fn last_runs(&self) -> Changes {
        let mut changes = Changes::default();
        for (name, entry) in &self.entries {
            if let Work::Poll(poll) = &entry.work
                && poll.record.last_run.is_some()
            {
                changes.poll(name, &poll.record);
            }
        }
        changes
    }

    /// Whether automatic import is on: the definition says so, and nobody and nothing switched it off since.
    pub(super) fn is_enabled(account: &Account, record: &PollRecord) -> bool {
        match &account.job {
            crate::account::Job::Poll(poll) => !record.disabled && (poll.enabled || record.enabled),
            crate::account::Job::Migrate(_) => true,
        }
    }
}
