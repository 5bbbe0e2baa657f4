//! The accounts: from the definitions and the journal to entries, at the start and whenever the definitions
//! are read again. It refuses to disturb what runs on a definition that did not change.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::super::{Means, now};
use super::recount::recount;
use super::state::{Entry, MigrationEntry, PollEntry, State, Work};
use super::{Manager, Refusal};
use crate::account::{Account, Job};
use crate::config::Broken;
use crate::failure::Failure;
use crate::journal::Journal;
use crate::migration::State as Stage;

impl Manager {
    /// Takes over settings and definitions. An account that is gone or changed is stopped; the changed one
    /// goes on with its new definition and its progress.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub fn set_accounts(
        &self,
        means: Means,
        accounts: Vec<Account>,
        broken: Vec<Broken>,
    ) -> Result<(), Failure> {
        let (journal, interval) = (means.journal.clone(), means.settings.polling.interval);
        self.set_means(means);
        let mut state = self.lock();
        let kept: BTreeSet<String> = accounts.iter().map(|a| a.name.clone()).collect();
        let gone: Vec<String> = state.entries.keys().filter(|name| !kept.contains(*name)).cloned().collect();
        for name in gone {
            state.forget(&name);
        }
        state.order = accounts.iter().map(|account| account.name.clone()).collect();
        for account in accounts {
            let same_kind = state.entries.get(&account.name).is_some_and(|entry| {
                matches!(
                    (&entry.work, &account.job),
                    (Work::Poll(_), Job::Poll(_)) | (Work::Migration(_), Job::Migrate(_))
                )
            });
            if same_kind {
                state.change(account);
            } else {
                state.forget(&account.name);
                state.add(account, &journal)?;
            }
        }
        state.broken = broken.into_iter().map(Arc::new).collect();
        self.judge(&mut state);
        if !self.once {
            state.fill_timetable(interval);
        }
        drop(state);
        self.told();
        Ok(())
    }
}

impl State {
    fn add(&mut self, account: Account, journal: &Journal) -> Result<(), Failure> {
        let name = account.name.clone();
        let work = match &account.job {
            Job::Poll(_) => {
                let record = journal.poll(&name)?.unwrap_or_default();
                Work::Poll(Box::new(PollEntry { record, ..PollEntry::default() }))
            }
            Job::Migrate(_) => {
                let mut record = journal.migration(&name)?.unwrap_or_default();
                // What ran when the daemon ended goes on in its place.
                if matches!(record.state, Stage::Checking | Stage::Running | Stage::Retrying) {
                    record.state = Stage::Queued;
                    record.next_try_at = None;
                    recount(journal, &name, &mut record)?;
                }
                self.next_place = self.next_place.max(record.place);
                if record.state.is_open() {
                    self.queue.insert(record.place, name.clone());
                }
                Work::Migration(Box::new(MigrationEntry { record, ..MigrationEntry::default() }))
            }
        };
        let entry = Entry { account: Arc::new(account), denied: None, work };
        self.entries.insert(name.clone(), entry);
        self.plan_repeat(&name);
        Ok(())
    }

    fn change(&mut self, account: Account) {
        let Some(entry) = self.entries.get_mut(&account.name) else { return };
        let moved = entry.account.origin != account.origin;
        let before = Account { origin: account.origin.clone(), ..(*entry.account).clone() };
        if before == account {
            if moved {
                entry.account = Arc::new(account);
            }
            return;
        }
        let name = account.name.clone();
        entry.account = Arc::new(account);
        match &entry.work {
            Work::Poll(poll) => {
                if let Some(running) = &poll.running {
                    running.cancel.cancel();
                }
            }
            Work::Migration(migration) => {
                // It goes on from where it is, with the new definition.
                if let Some(job) = &migration.job {
                    job.cancel.cancel();
                }
            }
        }
        self.plan_repeat(&name);
    }

    fn forget(&mut self, name: &str) {
        let Some(entry) = self.entries.remove(name) else { return };
        self.timetable.remove(name);
        self.repeats.remove(name);
        self.ready.retain(|other| other != name);
        match entry.work {
            Work::Poll(poll) => {
                if let Some(running) = poll.running {
                    running.cancel.cancel();
                }
            }
            Work::Migration(migration) => {
                self.queue.remove(&migration.record.place);
                if let Some(job) = migration.job {
                    job.cancel.cancel();
                }
            }
        }
    }

    /// Everything that is enabled and neither due nor running gets its time: when its interval is over, and
    /// for what is late or never ran some time within one interval, so that no server is hit by all at once.
    fn fill_timetable(&mut self, interval: Duration) {
        let now = now();
        let millis = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX / 4);
        let mut due = Vec::new();
        let mut off = Vec::new();
        for (name, entry) in &self.entries {
            let Work::Poll(poll) = &entry.work else { continue };
            if entry.denied.is_some() || !State::is_enabled(&entry.account, &poll.record) {
                off.push(name.clone());
            } else if poll.running.is_none()
                && self.timetable.when(name).is_none()
                && !self.ready.contains(name)
            {
                let interval = interval.max(entry.account.source.min_interval.unwrap_or_default());
                let next = poll.record.last_run.as_ref().map_or(0, |run| run.started_at + millis(interval));
                let soon = now + millis(interval.mul_f64(rand::random_range(0.1..1.0)));
                // A clock that jumped must not put anybody off for longer than an interval.
                let at = if (now..now + millis(interval)).contains(&next) { next } else { soon };
                due.push((name.clone(), at));
            }
        }
        for name in off {
            self.timetable.remove(&name);
        }
        for (name, at) in due {
            self.timetable.set(&name, at);
        }
    }

    pub(super) fn unknown(&self, name: &str) -> Refusal {
        match self.broken.iter().find(|b| b.name.as_deref() == Some(name)) {
            Some(broken) => Refusal::Refused(
                name.to_owned(),
                format!(
                    "its definition is invalid: {}",
                    broken.complaints.first().map(ToString::to_string).unwrap_or_default()
                ),
                "mend the file, then run 'mailhaulctl reload'".to_owned(),
            ),
            None => Refusal::NoSuchAccount(name.to_owned()),
        }
    }

    pub(super) fn not_polled(&self, name: &str) -> Refusal {
        match self.entries.get(name) {
            Some(Entry { work: Work::Migration(_), .. }) => Refusal::Refused(
                name.to_owned(),
                "it is a migration and has no automatic import".to_owned(),
                "use start, pause, resume and cancel".to_owned(),
            ),
            _ => self.unknown(name),
        }
    }
}
