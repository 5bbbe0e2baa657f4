//! Notices: to members, into the inbox where their mail comes home, under a name of their own, so that no count and
//! no rollback takes them for mail of the source; and to administrators, through [`super::post`]. It refuses to let
//! a run fail for a notice or wait for one, and to make a mailbox for one.

use std::collections::BTreeMap;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use ring::digest::{SHA256, digest};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::super::tally::Tally;
use super::super::{Means, Place, blocking, now};
use super::Manager;
use super::state::Work;
use super::verdict::NOTHING;
use crate::account::Account;
use crate::destination::landing::{Opening, Order, Placement};
use crate::destination::maildir::{Mailbox, Origin};
use crate::failure::{Failure, Kind};
use crate::journal::{Changes, MigrationRecord};
use crate::message::{Flags, MessageRef, Parcel};
use crate::migration::State as Stage;
use crate::notice::{About, Became, KEYWORD, NAME, Notice, percent};

/// How often a run is looked at for how far it has come.
const LOOK: Duration = Duration::from_millis(250);
/// A run waits so long for a notice to its member, and whoever stops the daemon, too; the notice goes on by itself.
const PATIENCE: Duration = Duration::from_secs(3);

/// Whose notice is on its way, by account.
pub(super) type Turns = BTreeMap<String, Arc<tokio::sync::Mutex<()>>>;

impl Manager {
    /// Tells how the last run ended, if there is something to tell.
    pub(super) async fn tell_end(self: &Arc<Self>, account: &Account) {
        if let Some(about) = self.end(account) {
            self.tell(account, about).await;
        }
    }

    /// Tells member and administrators.
    pub(super) async fn tell(self: &Arc<Self>, account: &Account, about: About) {
        let means = self.means();
        let Some(notice) = self.notice(&means, account, about) else { return };
        if !means.settings.notices.to_admin.is_empty() {
            self.post(notice.clone());
        }
        if means.settings.notices.to_member {
            let (manager, account) = (Arc::clone(self), account.clone());
            let told = self.tasks.spawn(async move { manager.carry_notice(&means, &account, &notice).await });
            let _ = tokio::time::timeout(PATIENCE, told).await;
        }
    }

    /// One after the other: two notices of one account at once would clear up each other.
    async fn carry_notice(&self, means: &Means, account: &Account, notice: &Notice) {
        let turn = Arc::clone(self.turns().entry(account.name.clone()).or_default());
        let told = {
            let _turn = turn.lock().await;
            let stopped = async {
                self.stop.cancelled().await;
                tokio::time::sleep(PATIENCE).await;
            };
            tokio::select! {
                told = deliver(means, account, notice) => told,
                () = stopped => Err(Failure::new(Kind::Stopped, "it was stopped", "")),
            }
        };
        drop(turn);
        self.turns().retain(|_, turn| Arc::strong_count(turn) > 1);
        if let Err(failure) = told {
            tracing::warn!(ACCOUNT = account.name, "its member could not be told: {failure}");
        }
    }

    fn turns(&self) -> MutexGuard<'_, Turns> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells that a migration began, and once how far it has come; until `over`, and then what is still due.
    /// A mailbox that the run itself had to make gets neither: a rollback has to find it empty.
    pub(super) async fn tell_on_the_way(
        self: &Arc<Self>,
        account: &Account,
        tally: &Tally,
        over: &CancellationToken,
    ) {
        let wanted = self.means().settings.migrations.progress_notice;
        loop {
            let ending = over.is_cancelled();
            let sums = tally.sums();
            let done = sums.ledger.decided();
            let told = {
                let mut state = self.lock();
                let Some((_, entry)) = state.migration(&account.name) else { return };
                let MigrationRecord { told, automatic, completed_at, made, provisioned, .. } = &entry.record;
                if *automatic || completed_at.is_some() || made.is_some() || provisioned.is_some() {
                    return;
                }
                *told
            };
            if sums.checked && !told.began {
                self.tell_once(account, About::Began).await;
            } else if sums.checked && !told.progress && wanted > 0 && !ending {
                if percent(done, sums.messages_total) >= wanted {
                    self.tell_once(account, About::Progress).await;
                }
            } else if told.began && (told.progress || wanted == 0) {
                return;
            }
            if ending {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = over.cancelled() => {}
            }
        }
    }

    async fn tell_once(self: &Arc<Self>, account: &Account, about: About) {
        let written = {
            let mut state = self.lock();
            let Some((_, entry)) = state.migration(&account.name) else { return };
            match about {
                About::Progress => entry.record.told.progress = true,
                _ => entry.record.told.began = true,
            }
            let mut changes = Changes::default();
            changes.migration(&account.name, &entry.record);
            self.means().journal.enqueue(changes)
        };
        // First written, then told: at most once, also over a crash.
        if written.await.is_ok() {
            self.tell(account, about).await;
        }
    }

    /// What the end of the last run is, if it is to be told.
    fn end(&self, account: &Account) -> Option<About> {
        let mut state = self.lock();
        let (_, migration) = state.migration(&account.name)?;
        let (record, ledger) = (&migration.record, &migration.record.ledger);
        match record.state {
            // A further run that found nothing new is nothing to tell.
            Stage::Completed if ledger.decided() == ledger.already_there || record.automatic => None,
            Stage::Completed => Some(About::Completed),
            Stage::Failed | Stage::RolledBack => Some(About::Failed),
            _ => None,
        }
    }

    fn notice(&self, means: &Means, account: &Account, about: About) -> Option<Notice> {
        let state = self.lock();
        let entry = state.entries.get(&account.name)?;
        let mut notice = Notice {
            about,
            name: account.name.clone(),
            member: account.member.clone(),
            source: account.source.host.clone(),
            run: 0,
            numbers: (0, 0, 0),
            total: None,
            left_out: Vec::new(),
            error: String::new(),
            outcome: None,
        };
        match &entry.work {
            Work::Poll(poll) => {
                let run = poll.record.last_run.as_ref();
                let error = run.and_then(|run| run.error.clone());
                notice.error = poll.record.reason.clone().or(error)?;
                notice.run = run.map_or(0, |run| run.finished_at);
            }
            Work::Migration(migration) => {
                let record = &migration.record;
                let now = migration.tally.as_deref().map(Tally::sums).unwrap_or_default();
                let under_way = matches!(about, About::Began | About::Progress);
                let ledger = if under_way { &now.ledger } else { &record.ledger };
                let left_out = ledger.skipped + ledger.failed + ledger.vanished;
                notice.run = record.started_at?;
                notice.numbers = (ledger.imported, ledger.already_there, left_out);
                notice.total = now.messages_total.or(record.messages_total);
                if !under_way {
                    notice.error = record.error.clone().unwrap_or_default();
                    notice.outcome = match record.state {
                        Stage::RolledBack => Some(Became::PutBack),
                        Stage::Failed if record.outcome.as_deref() == Some(NOTHING) => Some(Became::Nothing),
                        Stage::Failed => Some(Became::Left),
                        _ => None,
                    };
                }
            }
        }
        drop(state);
        if about == About::Completed {
            let skipped = means.journal.skipped(&account.name).unwrap_or_default();
            notice.left_out =
                skipped.into_iter().map(|(_, _, r)| (r.folder, r.id, r.size, r.reason)).collect();
        }
        Some(notice)
    }
}

async fn deliver(means: &Means, account: &Account, notice: &Notice) -> Result<(), Failure> {
    if let Place::Maildir(path) = means.place(account)?
        && blocking(move || Mailbox::open_existing(&path)).await?.is_none()
    {
        // It was not there before the run, and is not there again.
        return Ok(());
    }
    let message = notice
        .message(means.settings.daemon.language, now() / 1000)
        .map_err(|e| Failure::new(Kind::Destination, format!("the notice cannot be written: {e}"), ""))?;
    // Each account's notices come from a place of their own, so that two at once do not clear up each other.
    let own = Origin::pop3(&format!("{NAME}{}", account.name));
    let mark = own.account;
    let home = means.open_home_of(&account.member, &account.destination, mark).await?;
    // In a Maildir the name of its file says what it is.
    let origin = if home.maildir().is_some() { Origin::pop3(NAME) } else { own };
    let inbox = super::super::maildrop::directory_of(&home.naming().await?, &["INBOX".to_owned()]);
    let id = format!("{} {} {:?}", notice.name, notice.run, notice.about);
    let id =
        digest(&SHA256, id.as_bytes()).as_ref().iter().take(16).fold(0, |s, b| (s << 8) | u128::from(*b));
    let landings = TaskTracker::new();
    let landing = home.land(mark, &landings);
    landing.open(Opening::new(&inbox, origin)).await?;
    for parcel in [Parcel::Begin(1), Parcel::Data(message), Parcel::End] {
        if landing.orders().send(Order::Parcel(parcel)).await.is_err() {
            return Err(landing.failure().await);
        }
    }
    let keywords = if home.maildir().is_none() { vec![KEYWORD.to_owned()] } else { Vec::new() };
    let flags = Flags { recent: true, keywords, ..Flags::default() };
    let received = Some(now() / 1000);
    landing
        .place(Placement {
            piece: 1,
            origin,
            message: MessageRef::Pop3(id),
            announced: None,
            flags,
            received,
        })
        .await?;
    let receipts = landing.settled(landing.commit().await?).await?;
    drop(landing);
    landings.close();
    landings.wait().await;
    home.done(origin.account).await?;
    match receipts.into_iter().find_map(|receipt| receipt.refused) {
        Some(words) => Err(Failure::new(Kind::Destination, words, "")),
        None => Ok(()),
    }
}
