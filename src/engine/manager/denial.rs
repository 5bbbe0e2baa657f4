//! What policy denies, and what is being removed: nothing of it runs, its migration is put back, and then its
//! secrets and its progress are wiped. It refuses to wipe anything while something of the account still runs.

use std::sync::Arc;

use super::super::{blocking, now};
use super::state::{Entry, State, Work};
use super::wishes::is_paused_between_rounds;
use super::{Manager, Refusal};
use crate::audit::{Act, Who};
use crate::failure::{Failure, Kind};
use crate::journal::{Changes, MigrationRecord, PollRecord};
use crate::migration::State as Stage;

/// Why nothing of an account may run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Denial {
    pub(super) reason: String,
    wiping: Wiping,
}

/// ```text
/// Never        Waiting ──► Running ──► Done
///                             └──────► Failed
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wiping {
    /// Secrets and progress stay.
    Never,
    /// For what still runs to end, and for the destination to be put back.
    Waiting,
    Running,
    Done,
    /// Told in the log; the next reload tries again.
    Failed,
}

const REMOVED: &str = "it is being removed";
const MEND: &str = "see [policy] in mailhaul.toml";

impl Manager {
    /// Asks the policy about every account.
    pub(super) fn judge(&self, state: &mut State) {
        let means = self.means();
        let mut acts = Vec::new();
        let names: Vec<String> = state.entries.keys().cloned().collect();
        for name in names {
            let Some(entry) = state.entries.get_mut(&name) else { continue };
            let domain = &entry.account.member.domain;
            let rules = means.settings.policy.of(domain);
            let denial = if !rules.external_import {
                let reason = format!("external import is denied for {domain} by policy");
                Some(Denial { reason, wiping: Wiping::Waiting })
            } else if rules.designated_ips {
                let reason = format!(
                    "import is refused while access of {domain} is limited to designated IP addresses"
                );
                Some(Denial { reason, wiping: Wiping::Never })
            } else {
                None
            };
            let same = |old: &Denial| {
                denial.as_ref().is_some_and(|new| new.reason == old.reason) && old.wiping != Wiping::Failed
            };
            if entry.denied.as_ref().is_some_and(same) {
                continue;
            }
            if let Some(denial) = denial {
                let act = if denial.wiping == Wiping::Never { "designated-ips" } else { "deny" };
                acts.push(Act {
                    act,
                    account: Some(name.clone()),
                    detail: Some(denial.reason.clone()),
                    ..Act::default()
                });
                self.deny(state, &name, denial);
            } else if entry.denied.take().is_some() {
                acts.push(Act { act: "allow", account: Some(name.clone()), ..Act::default() });
            }
        }
        if !acts.is_empty() {
            means.audit.record(&Who::what("policy"), &acts);
        }
    }

    fn deny(&self, state: &mut State, name: &str, denial: Denial) {
        state.timetable.remove(name);
        state.ready.retain(|other| other != name);
        let Some(entry) = state.entries.get_mut(name) else { return };
        let wipes = denial.wiping != Wiping::Never;
        let reason = denial.reason.clone();
        entry.denied = Some(denial);
        if !wipes {
            // What runs may end; nothing new begins.
            return;
        }
        match &mut entry.work {
            Work::Poll(poll) => {
                poll.again = false;
                if let Some(running) = &poll.running {
                    running.cancel.cancel();
                }
            }
            Work::Migration(migration) => {
                let record = &mut migration.record;
                if !record.state.is_open() {
                    return;
                }
                let between = is_paused_between_rounds(record);
                let began = record.started_at.is_some() && !between;
                record.state = if began { Stage::RollingBack } else { Stage::Cancelled };
                record.cancelled = true;
                record.next_try_at = None;
                record.error = Some(reason);
                if let Some(job) = &migration.job {
                    job.cancel.cancel();
                }
                let mut changes = Changes::default();
                let place = record.place;
                if !began {
                    record.finished_at = Some(now());
                    let what = if between { "what came was left" } else { "nothing had come" };
                    record.outcome = Some(format!("denied; {what}"));
                    changes.history(now(), name, record);
                }
                changes.migration(name, record);
                if !began {
                    state.queue.remove(&place);
                }
                // Whoever reads the journal after a crash finds the policy as well.
                drop(self.means().journal.enqueue(changes));
            }
        }
    }

    /// Wipes what is denied and quiet.
    pub(super) fn wipe(self: &Arc<Self>) {
        let mut state = self.lock();
        let mut names = Vec::new();
        for (name, entry) in &mut state.entries {
            let Some(denial) = entry.denied.as_mut().filter(|denial| denial.wiping == Wiping::Waiting) else {
                continue;
            };
            let quiet = match &entry.work {
                Work::Poll(poll) => poll.running.is_none(),
                Work::Migration(migration) => migration.job.is_none() && !migration.record.state.is_open(),
            };
            if quiet {
                denial.wiping = Wiping::Running;
                names.push(name.clone());
            }
        }
        drop(state);
        if !names.is_empty() {
            let manager = Arc::clone(self);
            self.tasks.spawn(async move { manager.wipe_all(names).await });
        }
    }

    async fn wipe_all(&self, names: Vec<String>) {
        let means = self.means();
        let (vault, journal, wiped) = (means.vault.clone(), means.journal.clone(), names.clone());
        let forgotten = blocking(move || {
            vault.remove_all(wiped.iter().map(String::as_str))?;
            let mut changes = Changes::default();
            for name in &wiped {
                changes.merge(journal.forget(name)?);
            }
            Ok(changes)
        })
        .await;
        let result = match forgotten {
            Ok(mut changes) => {
                self.start_over(&names, &mut changes);
                means.journal.commit(changes).await
            }
            Err(failure) => Err(failure),
        };
        let end = if result.is_ok() { Wiping::Done } else { Wiping::Failed };
        if let Err(failure) = &result {
            tracing::error!("secrets and progress of {} accounts are not wiped yet: {failure}", names.len());
        }
        let mut state = self.lock();
        for name in &names {
            let denial = state.entries.get_mut(name).and_then(|entry| entry.denied.as_mut());
            if let Some(denial) = denial.filter(|denial| denial.wiping == Wiping::Running) {
                denial.wiping = end;
            }
        }
        drop(state);
        let error = result.err().map(|failure| failure.to_string());
        let act = |name: &String| Act {
            act: "wipe",
            account: Some(name.clone()),
            error: error.clone(),
            ..Act::default()
        };
        means.audit.record(&Who::what("mailhauld"), &names.iter().map(act).collect::<Vec<_>>());
        self.told();
    }

    /// What remains is how a migration ended, in words.
    fn start_over(&self, names: &[String], changes: &mut Changes) {
        let mut state = self.lock();
        for name in names {
            match state.entries.get_mut(name).map(|entry| &mut entry.work) {
                Some(Work::Poll(poll)) => poll.record = PollRecord::default(),
                Some(Work::Migration(migration)) => {
                    let old = std::mem::take(&mut migration.record);
                    migration.tally = None;
                    migration.record = MigrationRecord {
                        state: old.state,
                        outcome: old.outcome,
                        error: old.error,
                        finished_at: old.finished_at,
                        ..MigrationRecord::default()
                    };
                    if old.state != Stage::Ready {
                        changes.migration(name, &migration.record);
                    }
                }
                None => {}
            }
        }
    }

    /// Lets nothing new of an account begin: it is about to be removed.
    ///
    /// # Errors
    /// It is in the queue.
    pub fn halt(&self, name: &str) -> Result<(), Refusal> {
        let mut state = self.lock();
        if let Some((_, entry)) = state.migration(name)
            && entry.record.state.is_open()
        {
            return Err(Refusal::Refused(
                name.to_owned(),
                format!("its migration is {}", entry.record.state.as_str()),
                format!("run 'mailhaulctl cancel {name}' first"),
            ));
        }
        self.deny(&mut state, name, Denial { reason: REMOVED.to_owned(), wiping: Wiping::Never });
        Ok(())
    }

    /// Stops an account for good that was halted, and wipes its secrets and its progress. What came stays.
    ///
    /// # Errors
    /// Its secrets could not be wiped.
    pub async fn retire(self: &Arc<Self>, name: &str) -> Result<(), Refusal> {
        let mut changes = self.changes();
        let is_there = self.lock().entries.contains_key(name);
        if !is_there {
            // An invalid definition does nothing, and may have done something when it was good.
            let journal = self.means().journal.clone();
            let forgotten = journal.forget(name)?;
            return Ok(journal.commit(forgotten).await?);
        }
        self.deny(&mut self.lock(), name, Denial { reason: REMOVED.to_owned(), wiping: Wiping::Waiting });
        loop {
            self.wipe();
            let wiping = {
                let state = self.lock();
                state.entries.get(name).and_then(|entry| entry.denied.as_ref()).map(|denial| denial.wiping)
            };
            match wiping {
                None | Some(Wiping::Done | Wiping::Never) => return Ok(()),
                Some(Wiping::Failed) => {
                    let what = "its secrets and its progress could not be wiped";
                    return Err(Failure::new(Kind::Journal, what, "look at the log").into());
                }
                Some(Wiping::Waiting | Wiping::Running) => {}
            }
            if changes.changed().await.is_err() {
                return Ok(());
            }
        }
    }

    /// Forgets the secrets of a migration that has ended.
    pub(super) async fn unseal(&self, name: &str) {
        let (vault, account) = (self.means().vault.clone(), name.to_owned());
        if let Err(failure) = blocking(move || vault.remove_all([account.as_str()])).await {
            tracing::error!(MIGRATION = name, "its password is still kept: {failure}");
        }
    }

    /// The same at the start, for all that ended when we were stopped. What was given since stays.
    pub async fn unseal_ended(&self) {
        let ended: Vec<(String, i64)> = {
            let state = self.lock();
            let end = |(name, entry): (&String, &Entry)| match &entry.work {
                Work::Migration(migration) if migration.record.is_over() => {
                    Some((name.clone(), migration.record.finished_at?))
                }
                _ => None,
            };
            state.entries.iter().filter_map(end).collect()
        };
        let vault = self.means().vault.clone();
        let unseal = move || ended.iter().try_for_each(|(name, end)| vault.remove_before(name, *end));
        if let Err(failure) = blocking(unseal).await {
            tracing::error!("passwords of migrations that ended are still kept: {failure}");
        }
    }
}

impl State {
    /// Why the account must not run.
    pub(super) fn denied(&self, name: &str) -> Option<Refusal> {
        let denial = self.entries.get(name)?.denied.as_ref()?;
        Some(Refusal::Refused(name.to_owned(), denial.reason.clone(), MEND.to_owned()))
    }
}
