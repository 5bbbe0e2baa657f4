//! Migrations: the queue in its order, so many at once, retried with pauses, ended by success, by failure
//! for good or by a person; and the destination put back where that is due. It refuses to lose a state:
//! each change is in the journal before it is told.

use std::sync::Arc;
use std::time::Instant;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::super::backoff::pause;
use super::super::belonging::{as_it_began, in_its_era, settle};
use super::super::found::{Found, found};
use super::super::migrate::{Try, begin, migrate};
use super::super::rollback::{is_gone, leave, roll_back};
use super::super::tally::{Sums, Tally};
use super::super::{Means, Place, blocking, cut, now};
use super::recount::{keep, paused};
use super::state::{Entry, Job, State, Work};
use super::verdict::{amiss, done_about, failed, log, millis, retry};
use super::{Manager, Refusal};
use crate::account::{Account, Job as AccountJob};
use crate::destination::maildir::topmost_missing;
use crate::failure::{Failure, Kind};
use crate::journal::{Changes, Finish};
use crate::migration::{State as Stage, Wish};
use crate::notice::About;
use crate::settings::OnFailure;

impl Manager {
    /// Puts migrations into the queue, in the order of the names; what waits or runs there already stays as it
    /// is. Every name must be one that can be started, or none is. `all`: every migration that is not in the queue.
    ///
    /// # Errors
    /// Which name it was and why.
    pub async fn start(&self, names: &[String], all: bool) -> Result<Vec<String>, Refusal> {
        let means = self.means();
        let (written, names) = {
            let mut state = self.lock();
            let names: Vec<String> = if all { state.startable() } else { names.to_vec() };
            for name in &names {
                if let Some(refusal) = state.denied(name) {
                    return Err(refusal);
                }
                let Some((account, entry)) = state.migration(name) else {
                    return Err(state.not_migrated(name));
                };
                if is_under_way(entry.record.state) {
                    continue;
                }
                let kept = cannot_be_undone(&means, account);
                kept.map_err(|f| Refusal::Refused(name.clone(), f.words, f.mend))?;
                entry.record.state.wish(Wish::Start).map_err(|why| {
                    Refusal::Refused(name.clone(), why.to_owned(), "see 'mailhaulctl queue'".to_owned())
                })?;
            }
            let mut changes = Changes::default();
            for name in &names {
                let Some((_, entry)) = state.migration(name) else { continue };
                if !is_under_way(entry.record.state) {
                    // Whoever finished it does not have it repeat itself again.
                    let finished = entry.record.finish == Finish::Over;
                    let finish = if finished { Finish::Asked } else { Finish::No };
                    state.enqueue(name, finish, false, &mut changes);
                }
            }
            (means.journal.enqueue(changes), names)
        };
        written.await?;
        self.told();
        Ok(names)
    }

    pub(super) fn start_migrations(self: &Arc<Self>) {
        let means = self.means();
        let now = now();
        self.start_repeats();
        let mut state = self.lock();
        let names: Vec<String> = state.queue.values().cloned().collect();
        let mut running = names
            .iter()
            .filter(|name| {
                state
                    .entries
                    .get(*name)
                    .is_some_and(|e| matches!(&e.work, Work::Migration(m) if m.job.is_some()))
            })
            .count();
        for name in names {
            let denied = state.denied(&name).is_some();
            let Some((account, entry)) = state.migration(&name) else { continue };
            if entry.job.is_some() || (denied && entry.record.state != Stage::RollingBack) {
                continue;
            }
            let due = entry.record.next_try_at.is_none_or(|at| at <= now);
            let may = match entry.record.state {
                // Nobody waits for a place to be put back.
                Stage::RollingBack => due,
                Stage::Queued | Stage::Retrying | Stage::Checking | Stage::Running => {
                    due && running < means.settings.migrations.concurrency
                }
                _ => false,
            };
            if !may {
                continue;
            }
            running += 1;
            let account = Arc::clone(account);
            let job = Job { cancel: self.stop.child_token() };
            entry.job = Some(job.clone());
            let manager = Arc::clone(self);
            self.tasks.spawn(async move { manager.work(account, job).await });
        }
        drop(state);
        self.changed.send_modify(|count| *count += 1);
    }

    /// One try, or one attempt to put the destination back.
    async fn work(self: Arc<Self>, account: Arc<Account>, job: Job) {
        let name = account.name.clone();
        let rolling_back = {
            let mut state = self.lock();
            state.migration(&name).is_some_and(|(_, entry)| entry.record.state == Stage::RollingBack)
        };
        let ended = if rolling_back {
            let result = self.put_back(&account, &job.cancel).await;
            self.put_back_ended(&account, result).await
        } else {
            let mut result = match self.come_over(&account, &job.cancel).await {
                Ok(()) => self.one_try(&account, &job.cancel).await,
                Err(failure) => Err(failure),
            };
            // A token lasts an hour: the next one is taken, and nobody has to know.
            while let Err(failure) = &result
                && self.has_moved(&name)
                && self.is_for_a_token(&account, failure).await
            {
                tracing::debug!(MIGRATION = name, "it goes on with another access token");
                result = self.one_try(&account, &job.cancel).await;
            }
            self.try_ended(&account, &job, result).await
        };
        {
            let mut state = self.lock();
            if let Some((_, entry)) = state.migration(&name) {
                entry.job = None;
            }
        }
        self.told();
        if ended {
            self.tell_end(&account).await;
        }
    }

    async fn one_try(
        self: &Arc<Self>,
        account: &Arc<Account>,
        cancel: &CancellationToken,
    ) -> Result<Sums, Failure> {
        let means = self.means();
        let AccountJob::Migrate(work) = account.job.clone() else {
            return Err(Failure::new(Kind::Unsupported, "it is not a migration", ""));
        };
        cannot_be_undone(&means, account)?;
        let account = &Arc::new(in_its_era(&means, account).await?);
        settle(&means, account).await?;
        let tally = Arc::new(Tally::default());
        let made = topmost(&means, account).await?;
        let found = self.found(&means, account).await?;
        let run = self.begin_try(&means, account, &tally, made, &found).await?;
        means.provide(account, |digest| self.will_provide(&means, &account.name, digest)).await?;
        let landings = TaskTracker::new();
        let attempt = migrate(
            Arc::clone(&means),
            Arc::clone(account),
            &work,
            self.a_try(&means, account, run, &tally, &landings),
        );
        let attempt = std::panic::AssertUnwindSafe(Box::pin(attempt));
        let over = CancellationToken::new();
        let attempt = async {
            let _over = over.clone().drop_guard();
            tokio::select! {
                result = futures_util::FutureExt::catch_unwind(attempt) => result.unwrap_or_else(|_| Err(
                    Failure::new(Kind::Protocol, "the try ended unexpectedly", "look at the log; it is tried again"))),
                () = cancel.cancelled() => Err(Failure::new(Kind::Stopped, "it was stopped", "")),
            }
        };
        let ((), result) = tokio::join!(self.tell_on_the_way(account, &tally, &over), attempt);
        // Only now is it certain that nothing is being written any more.
        landings.close();
        landings.wait().await;
        if result.as_ref().is_err_and(|failure| failure.kind == Kind::Expired) {
            means.outlived(account).await;
        }
        result.map(|()| tally.sums())
    }

    /// Whether a try ended because its access token did.
    async fn is_for_a_token(&self, account: &Account, failure: &Failure) -> bool {
        use Kind::{Disconnected, Expired, InUse, Protocol, Stalled, Throttled, Unavailable};
        match failure.kind {
            Expired => true,
            Disconnected | InUse | Protocol | Stalled | Throttled | Unavailable => {
                self.means().token_ran_out(account).await
            }
            _ => false,
        }
    }

    /// Whether the last try brought anything.
    fn has_moved(&self, name: &str) -> bool {
        let mut state = self.lock();
        let tally = state.migration(name).and_then(|(_, entry)| entry.tally.clone());
        tally.is_some_and(|tally| tally.sums().progress_at.is_some())
    }

    /// What a run that begins finds in its mailbox.
    async fn found(&self, means: &Means, account: &Account) -> Result<Found, Failure> {
        let begun = {
            let mut state = self.lock();
            state.migration(&account.name).is_none_or(|(_, entry)| entry.record.started_at.is_some())
        };
        if begun { Ok(Found::default()) } else { found(means, account).await }
    }

    /// A rollback has to know of a login before it is made.
    async fn will_provide(&self, means: &Means, name: &str, digest: Option<String>) -> Result<(), Failure> {
        let written = {
            let mut state = self.lock();
            let Some((_, entry)) = state.migration(name) else { return Ok(()) };
            entry.record.provisioned = digest;
            let mut changes = Changes::default();
            changes.migration(name, &entry.record);
            means.journal.enqueue(changes)
        };
        written.await
    }

    /// What a try is given.
    fn a_try(
        &self,
        means: &Means,
        account: &Account,
        run: i64,
        tally: &Arc<Tally>,
        landings: &TaskTracker,
    ) -> Try {
        let mut state = self.lock();
        let most = means.settings.migrations.connections;
        let connections = state.hosts.allowed(&account.source.host, most, now());
        let entry = state.migration(&account.name).map(|(_, entry)| entry);
        let (cares, in_vain) = entry.map(|entry| (Arc::clone(&entry.cares), entry.record.tries)).unzip();
        Try {
            run,
            connections,
            meter: Arc::clone(&self.total),
            tally: Arc::clone(tally),
            landings: landings.clone(),
            cares: cares.unwrap_or_default(),
            in_vain: in_vain.unwrap_or(0),
        }
    }

    /// The run begins with its first try; `made` is the topmost directory that its mailbox lacks.
    async fn begin_try(
        &self,
        means: &Means,
        account: &Account,
        tally: &Arc<Tally>,
        made: Option<String>,
        found: &Found,
    ) -> Result<i64, Failure> {
        let (written, run) = {
            let mut state = self.lock();
            let Some((_, entry)) = state.migration(&account.name) else {
                return Err(Failure::new(Kind::Stopped, "its definition is gone", ""));
            };
            if !is_under_way(entry.record.state) {
                // A wish that came since the job was given: it holds.
                return Err(Failure::new(Kind::Stopped, "it was stopped before it began", ""));
            }
            entry.tally = Some(Arc::clone(tally));
            entry.since.get_or_insert_with(Instant::now);
            let mut changes = Changes::default();
            let run = match entry.record.started_at {
                Some(run) => run,
                None => {
                    begin(means, account, found, &mut changes)?;
                    let run = now();
                    entry.record.started_at = Some(run);
                    if entry.record.finish == Finish::Asked {
                        entry.record.finish = Finish::Last;
                    }
                    entry.record.progress_at = Some(run);
                    entry.record.made = made;
                    tracing::info!(
                        MIGRATION = account.name,
                        MEMBER = account.member.to_string(),
                        "migration started"
                    );
                    run
                }
            };
            entry.record.state = Stage::Checking;
            entry.record.next_try_at = None;
            changes.migration(&account.name, &entry.record);
            (means.journal.enqueue(changes), run)
        };
        written.await?;
        self.changed.send_modify(|count| *count += 1);
        Ok(run)
    }

    /// Whether the migration has ended by that.
    async fn try_ended(
        self: &Arc<Self>,
        account: &Account,
        job: &Job,
        result: Result<Sums, Failure>,
    ) -> bool {
        let means = self.means();
        let name = account.name.as_str();
        let (written, ended, asks) = {
            let mut state = self.lock();
            let Some((_, entry)) = state.migration(name) else { return false };
            if job.cancel.is_cancelled() {
                // Paused or cancelled: the wish has set the state. Stopped with the daemon: it goes on then.
                if entry.record.state == Stage::Paused {
                    paused(&means, name, &mut entry.record);
                }
                return false;
            }
            let sums = entry.tally.as_deref().map(Tally::sums);
            let less = entry.tally.as_deref().is_some_and(Tally::was_refused);
            let since = entry.since.replace(Instant::now());
            let record = &mut entry.record;
            record.waited = record.waited.saturating_add(since.map_or(0, |since| millis(since.elapsed())));
            if let Some(at) = sums.as_ref().and_then(|s| s.progress_at) {
                record.progress_at = record.progress_at.max(Some(at));
                record.waited = 0;
                if result.is_err() {
                    record.tries = 0;
                }
            }
            if let Some(sums) = sums {
                keep(&means, name, record, sums, result.is_err());
            }
            let mut changes = Changes::default();
            let ended = match &result {
                Ok(_) if record.ledger.adds_up() => {
                    record.state = Stage::Completed;
                    let unread = entry.tally.as_deref().and_then(Tally::unread_folders);
                    record.error = amiss(&means, account, record).or(unread.map(|words| cut(&words)));
                    record.next_try_at = None;
                    record.finished_at = Some(now());
                    record.completed_at = record.finished_at;
                    true
                }
                Ok(_) => {
                    let failure = Failure::new(
                        Kind::Protocol,
                        format!("the numbers do not add up: {:?}", record.ledger),
                        "it is tried again",
                    );
                    retry(record, &failure);
                    false
                }
                Err(failure) => failed(name, record, failure, &means),
            };
            let mut asks = false;
            if let Err(failure) = &result
                && failure.kind == Kind::Consent
            {
                // A person takes the time that it takes.
                entry.since = None;
                record.waited = 0;
                asks = !std::mem::replace(&mut record.told.asked, true);
            } else {
                record.told.asked = false;
            }
            if let Err(failure) = &result
                && failure.kind == Kind::Enough
            {
                // Nobody waits in vain, and the pause counts for nothing.
                entry.since = None;
                record.waited = 0;
                record.tries = 0;
                record.error = Some(cut(&match done_about(account, record) {
                    Some(words) => format!("{failure}; {words}"),
                    None => failure.to_string(),
                }));
            }
            log(account, record, result.as_ref().err());
            let idle = record.automatic && record.state == Stage::Completed && record.ledger.imported == 0;
            if ended && !idle {
                changes.history(now(), name, record);
            }
            changes.migration(name, record);
            let place = record.place;
            if ended {
                state.queue.remove(&place);
                state.repeat(name, &mut changes);
            }
            if less || result.as_ref().err().is_some_and(Failure::asks_for_less) {
                state.hosts.halve(&account.source.host, now());
            }
            (means.journal.enqueue(changes), ended, asks)
        };
        if let Err(failure) = written.await {
            tracing::error!(MIGRATION = name, "{failure}");
        } else if result.is_ok() {
            self.unseal_if_over(name).await;
        }
        if asks {
            self.tell(account, About::Consent).await;
        }
        ended
    }

    /// The secrets of a migration that completed for good or was cancelled go. One that failed waits to be mended.
    async fn unseal_if_over(&self, name: &str) {
        let over = {
            let mut state = self.lock();
            state.migration(name).is_some_and(|(_, entry)| entry.record.is_over())
        };
        if over {
            self.unseal(name).await;
        }
    }

    pub(super) async fn put_back(
        &self,
        account: &Account,
        cancel: &CancellationToken,
    ) -> Result<String, Failure> {
        let means = self.means();
        let (made, provisioned, left) = {
            let mut state = self.lock();
            let record = state.migration(&account.name).map(|(_, entry)| &entry.record);
            record.map(|r| (r.made.clone(), r.provisioned.clone(), r.left)).unwrap_or_default()
        };
        if left {
            leave(&means, account).await?;
            return Ok("it was given up to put the destination back; what is there was left".to_owned());
        }
        let account = &as_it_began(&means, account)?;
        let gone = provisioned.is_some() && means.is_taken_back(account).await?;
        let undone = roll_back(&means, account, made.map(Into::into));
        let undone = match means.place(account) {
            _ if gone => is_gone(&means, account).await?,
            Ok(Place::Server(_)) => tokio::select! {
                undone = undone => undone?,
                () = cancel.cancelled() => return Err(Failure::new(Kind::Stopped, "it was stopped", "")),
            },
            // What goes on on a disk cannot be stopped, and does not take long.
            _ => undone.await?,
        };
        if let Some(digest) = provisioned.filter(|_| !gone) {
            means.take_back(account, digest).await?;
        }
        let removed = format!("{} messages and {} folders removed", undone.messages, undone.folders);
        Ok(match undone.left {
            0 => format!("the destination is as it was: {removed}"),
            left => format!(
                "{removed}; {left} messages stay, for the destination has not what was sent under their UIDs"
            ),
        })
    }

    /// Likewise.
    async fn put_back_ended(&self, account: &Account, result: Result<String, Failure>) -> bool {
        let means = self.means();
        let name = account.name.as_str();
        let (written, ended) = {
            let mut state = self.lock();
            let Some((_, entry)) = state.migration(name) else { return false };
            let record = &mut entry.record;
            let mut changes = Changes::default();
            let ended = match result {
                Ok(outcome) => {
                    record.state = if record.cancelled { Stage::Cancelled } else { Stage::RolledBack };
                    tracing::info!(MIGRATION = name, "{}: {outcome}", record.state.as_str());
                    record.outcome = Some(outcome);
                    record.finished_at = Some(now());
                    record.next_try_at = None;
                    entry.tally = None;
                    changes.history(now(), name, record);
                    true
                }
                // Stopped with the daemon, it goes on then; given up, it ends at once.
                Err(failure)
                    if failure.kind == Kind::Stopped || (record.left && failure.kind != Kind::Journal) =>
                {
                    record.next_try_at = None;
                    false
                }
                Err(failure) => {
                    tracing::error!(MIGRATION = name, "the destination cannot be put back yet: {failure}");
                    record.tries = record.tries.saturating_add(1);
                    let wait = pause(&failure, record.tries, rand::random());
                    record.next_try_at = Some(now() + millis(wait));
                    record.outcome = Some(cut(&format!("the destination cannot be put back yet: {failure}")));
                    false
                }
            };
            changes.migration(name, &entry.record);
            let place = entry.record.place;
            if ended {
                state.queue.remove(&place);
            }
            (means.journal.enqueue(changes), ended)
        };
        if let Err(failure) = written.await {
            tracing::error!(MIGRATION = name, "{failure}");
        } else {
            self.unseal_if_over(name).await;
        }
        ended
    }
}

/// Nothing goes by LMTP that may have to be put back.
fn cannot_be_undone(means: &Means, account: &Account) -> Result<(), Failure> {
    if means.settings.migrations.on_failure == OnFailure::Keep
        || !matches!(means.place(account), Ok(Place::Delivery(_)))
    {
        return Ok(());
    }
    Err(Failure::new(
        Kind::Unsupported,
        "the destination is LMTP, which carries no dates, flags and folders, and cannot take anything back",
        "use a destination with .maildir or .imap, or write on_failure = \"keep\" in [migrations]",
    ))
}

/// It waits for its turn or its next try, or runs.
pub(super) fn is_under_way(state: Stage) -> bool {
    matches!(state, Stage::Queued | Stage::Checking | Stage::Running | Stage::Retrying)
}

/// The topmost directory that the account's mailbox lacks. A path too long for a record counts as there: it
/// would stay after a rollback, empty.
async fn topmost(means: &Means, account: &Account) -> Result<Option<String>, Failure> {
    let Place::Maildir(path) = means.place(account)? else { return Ok(None) };
    let missing = blocking(move || Ok(topmost_missing(&path))).await?;
    Ok(missing.and_then(|path| path.into_os_string().into_string().ok()).filter(|path| path.len() < 400))
}

impl State {
    pub(super) fn startable(&self) -> Vec<String> {
        self.in_order()
            .filter(|(_, entry)| match &entry.work {
                Work::Migration(m) => entry.denied.is_none() && m.record.state.wish(Wish::Start).is_ok(),
                Work::Poll(_) => false,
            })
            .map(|(name, _)| name.clone())
            .collect()
    }

    pub(super) fn not_migrated(&self, name: &str) -> Refusal {
        match self.entries.get(name) {
            Some(Entry { work: Work::Poll(_), .. }) => Refusal::Refused(
                name.to_owned(),
                "it is polled and is not a migration".to_owned(),
                format!("run 'mailhaulctl poll {name}'"),
            ),
            _ => self.unknown(name),
        }
    }
}
