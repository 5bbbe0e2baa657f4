//! Polls: due by the timetable or by a wish, started as far as the limits allow, one at a time for an
//! account; and what a run's end means for the next. It refuses to switch an account off for a fault that
//! is not its own.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::task::TaskTracker;

use super::super::backoff::spread;
use super::super::meter::Meter;
use super::super::poll::{Outcome, poll};
use super::super::{cut, now};
use super::state::{Entry, Running, State, Work};
use super::{Manager, Refusal};
use crate::account::{Account, Job, Poll};
use crate::failure::{Failure, Kind};
use crate::journal::{Changes, RunRecord, SkippedRecord};
use crate::notice::About;

/// A wish to poll: what has to have ended for it to be granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The account.
    pub name: String,
    /// The number of the run that answers the wish.
    pub run: u64,
}

impl Manager {
    /// Polls now. Every name must be a polled account, or nothing is started.
    ///
    /// # Errors
    /// Which name it was.
    pub fn ask_polls(&self, names: &[String], all: bool) -> Result<Vec<Asked>, Refusal> {
        let mut state = self.lock();
        let names: Vec<String> = if all {
            let enabled = state.entries.iter().filter(|(_, e)| match &e.work {
                Work::Poll(poll) => e.denied.is_none() && State::is_enabled(&e.account, &poll.record),
                Work::Migration(_) => false,
            });
            enabled.map(|(name, _)| name.clone()).collect()
        } else {
            names.to_vec()
        };
        for name in &names {
            if let Some(refusal) = state.denied(name) {
                return Err(refusal);
            }
            match state.entries.get(name) {
                Some(Entry { work: Work::Poll(_), .. }) => {}
                Some(_) => {
                    return Err(Refusal::Refused(
                        name.clone(),
                        "it is a migration and is not polled".to_owned(),
                        format!("run 'mailhaulctl start {name}'"),
                    ));
                }
                None => return Err(state.unknown(name)),
            }
        }
        let mut asked = Vec::new();
        for name in names {
            let Some((_, entry)) = state.poll(&name) else { continue };
            let run = if entry.running.is_some() {
                entry.again = true;
                entry.ended + 2
            } else {
                entry.ended + 1
            };
            let waits = entry.running.is_some();
            if !waits && !state.ready.contains(&name) {
                state.timetable.remove(&name);
                state.ready.push_back(name.clone());
            }
            asked.push(Asked { name, run });
        }
        drop(state);
        self.wake.notify_one();
        Ok(asked)
    }

    /// Automatic import on, failures forgotten.
    ///
    /// # Errors
    /// The name, or the journal.
    pub async fn enable(&self, name: &str) -> Result<&'static str, Refusal> {
        self.switch(name, true).await
    }

    /// Automatic import off; a run in progress is broken off.
    ///
    /// # Errors
    /// The name, or the journal.
    pub async fn disable(&self, name: &str) -> Result<&'static str, Refusal> {
        self.switch(name, false).await
    }

    async fn switch(&self, name: &str, on: bool) -> Result<&'static str, Refusal> {
        let means = self.means();
        let written = {
            let mut state = self.lock();
            if let Some(refusal) = state.denied(name).filter(|_| on) {
                return Err(refusal);
            }
            let Some((_, entry)) = state.poll(name) else { return Err(state.not_polled(name)) };
            entry.record.disabled = !on;
            entry.record.enabled = on;
            if on {
                entry.record.failures = 0;
                entry.record.reason = None;
            } else {
                entry.record.reason = Some("switched off by an administrator".to_owned());
                if let Some(running) = &entry.running {
                    running.cancel.cancel();
                }
            }
            let mut changes = Changes::default();
            changes.poll(name, &entry.record);
            if on {
                // What the destination refused is asked for once more.
                for (folder, id, record) in means.journal.skipped(name)? {
                    if record.for_good {
                        changes.skipped(name, folder, &id, &SkippedRecord { for_good: false, ..record });
                    }
                }
            }
            let running = entry.running.is_some();
            if !on {
                state.timetable.remove(name);
                state.ready.retain(|other| other != name);
            } else if !running && !self.once {
                state.timetable.set(name, now());
            }
            means.journal.enqueue(changes)
        };
        written.await?;
        self.told();
        Ok(if on { "enabled" } else { "disabled" })
    }

    pub(super) fn start_polls(self: &Arc<Self>) {
        let means = self.means();
        let mut state = self.lock();
        let now = now();
        while let Some(name) = state.timetable.take(now) {
            state.ready.push_back(name);
        }
        let (most, per_host) = (means.settings.polling.concurrency, means.settings.polling.per_host);
        let mut waiting = std::mem::take(&mut state.ready);
        while let Some(name) = waiting.pop_front() {
            if state.polls_running >= most {
                state.ready.push_back(name);
                state.ready.append(&mut waiting);
                break;
            }
            if state.denied(&name).is_some() {
                continue;
            }
            let Some((account, entry)) = state.poll(&name) else { continue };
            if entry.running.is_some() {
                entry.again = true;
                continue;
            }
            let account = Arc::clone(account);
            let Job::Poll(work) = account.job.clone() else { continue };
            let host = account.source.host.clone();
            if !state.hosts.take(&host, per_host, now) {
                state.ready.push_back(name);
                continue;
            }
            state.polls_running += 1;
            let running = Running {
                cancel: self.stop.child_token(),
                meter: Arc::new(Meter::default()),
                started_at: now,
                cares: state.poll(&name).map(|(_, entry)| Arc::clone(&entry.cares)).unwrap_or_default(),
            };
            if let Some((_, entry)) = state.poll(&name) {
                entry.running = Some(running.clone());
            }
            let manager = Arc::clone(self);
            self.tasks.spawn(async move { manager.run_poll(account, work, running).await });
        }
        drop(state);
        self.changed.send_modify(|count| *count += 1);
    }

    async fn run_poll(self: Arc<Self>, account: Arc<Account>, work: Poll, running: Running) {
        let means = self.means();
        let landings = TaskTracker::new();
        let run = async {
            match means.provide(&account, |_| std::future::ready(Ok(()))).await {
                Ok(()) => poll(&means, &account, &work, &running.meter, &landings, &running.cares).await,
                Err(failure) => Outcome { failure: Some(failure), ..Outcome::default() },
            }
        };
        // A panic in a run is that run's failure and nobody else's.
        let run = std::panic::AssertUnwindSafe(run);
        let outcome = tokio::select! {
            outcome = futures_util::FutureExt::catch_unwind(run) => outcome.unwrap_or_else(|_| broken_off(
                Kind::Protocol, "the run ended unexpectedly; look at the log")),
            () = running.cancel.cancelled() => broken_off(Kind::Stopped, "it was stopped"),
        };
        landings.close();
        landings.wait().await;
        if outcome.failure.as_ref().is_some_and(|failure| failure.kind == Kind::Expired) {
            means.outlived(&account).await;
        }
        self.poll_ended(&account, &running, outcome).await;
    }

    async fn poll_ended(self: &Arc<Self>, account: &Account, running: &Running, outcome: Outcome) {
        let means = self.means();
        let name = account.name.as_str();
        let ended_at = now();
        let stopped = outcome.failure.as_ref().is_some_and(|f| f.kind == Kind::Stopped);
        log(account, &outcome, ended_at - running.started_at);
        self.total.add(outcome.ledger.imported, outcome.bytes);
        let mut news = None;
        let written = {
            let mut state = self.lock();
            state.polls_running = state.polls_running.saturating_sub(1);
            state.hosts.release(&account.source.host, ended_at);
            if outcome.failure.as_ref().is_some_and(Failure::asks_for_less) {
                state.hosts.halve(&account.source.host, ended_at);
            }
            let Some((account, entry)) = state.poll(name) else {
                drop(state);
                return self.told();
            };
            let account = Arc::clone(account);
            entry.running = None;
            entry.ended += 1;
            let before = entry.record.clone();
            if !stopped {
                judge(
                    &mut entry.record,
                    &outcome,
                    running.started_at,
                    ended_at,
                    means.settings.polling.max_failures,
                );
            }
            let again = std::mem::take(&mut entry.again);
            let record = entry.record.clone();
            let enabled = state.denied(name).is_none() && State::is_enabled(&account, &record);
            if again && !self.stop.is_cancelled() {
                state.ready.push_back(name.to_owned());
            } else if enabled && !self.once {
                let pause = next_pause(&account, &outcome, means.settings.polling.interval);
                let at = running.started_at + i64::try_from(pause.as_millis()).unwrap_or(i64::MAX / 2);
                state.timetable.set(name, at.max(ended_at));
            }
            if record.disabled && !before.disabled {
                news = Some((account, About::Disabled));
            } else if record.asked && !before.asked {
                news = Some((account, About::Consent));
            }
            // An idle poll writes nothing: the times of its run are kept in memory alone.
            let telling = outcome.ledger.imported + outcome.deleted > 0
                || before.failures != record.failures
                || before.disabled != record.disabled
                || before.asked != record.asked
                || before.last_run.as_ref().map(|r| &r.error) != record.last_run.as_ref().map(|r| &r.error)
                || before.last_run.as_ref().map(|r| &r.note) != record.last_run.as_ref().map(|r| &r.note)
                || before.last_run.as_ref().map(|r| r.ledger.skipped)
                    != record.last_run.as_ref().map(|r| r.ledger.skipped);
            telling.then(|| {
                let mut changes = Changes::default();
                changes.poll(name, &record);
                means.journal.enqueue(changes)
            })
        };
        if let Some(written) = written
            && let Err(failure) = written.await
        {
            tracing::error!(ACCOUNT = name, "{failure}");
        }
        self.told();
        if let Some((account, about)) = news {
            self.tell(&account, about).await;
        }
    }
}

fn broken_off(kind: Kind, words: &str) -> Outcome {
    Outcome { failure: Some(Failure::new(kind, words, "")), ..Outcome::default() }
}

/// Whether it is the connection that ended, and not the account that is at fault.
fn passes(failure: &Failure) -> bool {
    failure.broke() || failure.asks_for_less() || failure.kind == Kind::Expired
}

/// Whether that is a part of the work that was not done; else the server gave what it gives in one session.
fn lacks(failure: &Failure) -> bool {
    !matches!(failure.kind, Kind::Disconnected | Kind::Expired)
}

/// What the end of a run means for the account.
fn judge(
    record: &mut crate::journal::PollRecord,
    outcome: &Outcome,
    started_at: i64,
    finished_at: i64,
    max_failures: u32,
) {
    // A run that imported is no failed run, whatever its connection came to: the next one takes up the rest.
    let cut_short = outcome.failure.as_ref().filter(|failure| outcome.ledger.imported > 0 && passes(failure));
    let note = cut_short.map(|failure| format!("it ended early: {failure}"));
    let note = outcome.note.clone().into_iter().chain(note).collect::<Vec<_>>().join("; ");
    let failure = outcome.failure.as_ref().filter(|_| cut_short.is_none());
    record.last_run = Some(RunRecord {
        started_at,
        finished_at,
        error: failure.map(|f| cut(&f.to_string())),
        ledger: outcome.ledger,
        deleted: outcome.deleted,
        bytes: outcome.bytes,
        note: (!note.is_empty()).then(|| cut(&note)),
        unfinished: outcome.unfinished || cut_short.is_some_and(lacks),
    });
    match failure {
        None => {
            record.failures = 0;
            record.asked = false;
        }
        Some(failure) if failure.kind == Kind::Consent => record.asked = true,
        Some(failure) if failure.counts() => {
            record.failures = record.failures.saturating_add(1);
            if record.failures > max_failures && !record.disabled {
                record.disabled = true;
                record.enabled = false;
                record.reason = Some(cut(&format!(
                    "switched off after {} failed runs in a row; the last one: {}",
                    record.failures,
                    failure.last_words()
                )));
            }
        }
        Some(_) => {}
    }
}

/// From the start of the run to the start of the next.
fn next_pause(account: &Account, outcome: &Outcome, interval: Duration) -> Duration {
    // A server that lists some of its mail only is asked for the rest as soon as it allows that.
    let interval = if account.source.rounds && outcome.bytes > 0 { Duration::from_secs(1) } else { interval };
    let asked = outcome.failure.as_ref().and_then(|f| f.wait);
    spread(interval, rand::random())
        .max(account.source.min_interval.unwrap_or_default())
        .max(outcome.login_delay.unwrap_or_default())
        .max(asked.unwrap_or_default())
}

fn log(account: &Account, outcome: &Outcome, took: i64) {
    let (name, member) = (account.name.as_str(), account.member.to_string());
    let ledger = &outcome.ledger;
    match &outcome.failure {
        None if ledger.imported + ledger.failed + outcome.deleted == 0 => {
            tracing::debug!(ACCOUNT = name, MEMBER = member, "polled: nothing new, {took} ms");
        }
        None => tracing::info!(
            ACCOUNT = name,
            MEMBER = member,
            "polled: {} imported, {} already here, {} skipped, {} failed, {} deleted at the source, {took} ms{}",
            ledger.imported,
            ledger.already_there,
            ledger.skipped,
            ledger.failed,
            outcome.deleted,
            outcome.note.as_ref().map(|note| format!("; {note}")).unwrap_or_default()
        ),
        Some(failure) if failure.kind == Kind::Stopped => {
            tracing::debug!(ACCOUNT = name, MEMBER = member, "poll stopped");
        }
        Some(failure) if ledger.imported > 0 && passes(failure) => {
            tracing::warn!(
                ACCOUNT = name,
                MEMBER = member,
                "polled: {} imported, and the poll ended early: {failure}",
                ledger.imported
            );
        }
        Some(failure) => {
            tracing::warn!(
                ACCOUNT = name,
                MEMBER = member,
                "poll failed after {} messages: {failure}",
                ledger.imported
            );
        }
    }
}
