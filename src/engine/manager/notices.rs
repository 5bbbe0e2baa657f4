//! Notices to members: into the inbox where their mail comes home, under a name of their own, so that no count and
//! no rollback takes them for mail of the source. It refuses to let a run fail for a notice, and to make a
//! mailbox for one.

use ring::digest::{SHA256, digest};
use tokio_util::task::TaskTracker;

use super::super::{Means, Place, blocking, now};
use super::Manager;
use super::state::Work;
use crate::account::Account;
use crate::destination::landing::{Opening, Order, Placement};
use crate::destination::maildir::{Mailbox, Origin};
use crate::failure::{Failure, Kind};
use crate::message::{Flags, MessageRef, Parcel};
use crate::migration::State as Stage;
use crate::notice::{About, KEYWORD, NAME, Notice};

impl Manager {
    /// Tells the member how the last run ended, if there is something to tell.
    pub(super) async fn tell_member(&self, account: &Account) {
        let means = self.means();
        if !means.settings.notices.to_member {
            return;
        }
        let Some(notice) = self.notice(&means, account) else { return };
        if let Err(failure) = deliver(&means, account, &notice).await {
            tracing::warn!(ACCOUNT = account.name, "its member could not be told: {failure}");
        }
    }

    fn notice(&self, means: &Means, account: &Account) -> Option<Notice> {
        let state = self.lock();
        let entry = state.entries.get(&account.name)?;
        let mut notice = Notice {
            about: About::Completed,
            name: account.name.clone(),
            member: account.member.clone(),
            source: account.source.host.clone(),
            run: 0,
            numbers: (0, 0, 0),
            left_out: Vec::new(),
            error: String::new(),
            outcome: String::new(),
        };
        match &entry.work {
            Work::Poll(poll) => {
                notice.about = About::Disabled;
                notice.error = poll.record.reason.clone()?;
                notice.run = poll.record.last_run.as_ref().map_or(0, |run| run.finished_at);
            }
            Work::Migration(migration) => {
                let record = &migration.record;
                let ledger = &record.ledger;
                let left_out = ledger.skipped + ledger.failed + ledger.vanished;
                notice.run = record.started_at?;
                notice.numbers = (ledger.imported, ledger.already_there, left_out);
                notice.error = record.error.clone().unwrap_or_default();
                notice.outcome = record.outcome.clone().unwrap_or_default();
                match record.state {
                    // A further run that found nothing new is nothing to tell.
                    Stage::Completed if ledger.imported + left_out == 0 || record.automatic => return None,
                    Stage::Completed => {}
                    Stage::Failed | Stage::RolledBack => notice.about = About::Failed,
                    _ => return None,
                }
            }
        }
        drop(state);
        if notice.about == About::Completed {
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
    let mark = Origin::pop3(&format!("{NAME}{}", account.name)).account;
    let origin = Origin::pop3(NAME);
    let home = means.open_home_of(&account.member, &account.destination, mark).await?;
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
    landing.place(Placement { piece: 1, origin, message: MessageRef::Pop3(id), flags, received }).await?;
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
