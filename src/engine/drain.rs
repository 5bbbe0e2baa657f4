//! A migration whose source is POP3: one maildrop into one folder. The session is the one that a poll has;
//! here is what makes it a migration: what was here before the run, the folder's record, the numbers. It refuses
//! to delete anything at the source.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::maildrop::{self, Errand, placed};
use super::migrate::{Try, look_again, subscribe_all};
use super::poll::Outcome;
use super::tally::{FolderNumbers, Tally};
use super::{Means, cut};
use crate::account::{Account, Migrate};
use crate::destination::Home;
use crate::destination::maildir::Origin;
use crate::destination::place::Placed;
use crate::failure::{Failure, Kind};
use crate::journal::{Changes, FolderRecord, FolderState, Journal, SourceRecord};
use crate::message::FolderPath;
use crate::migration::Ledger;

/// A maildrop has one folder: the key of its record.
pub(super) const FOLDER: u64 = 0;

/// The record and the numbers of a maildrop on its way.
#[derive(Debug)]
pub(super) struct Moving {
    account: String,
    record: FolderRecord,
    tally: Arc<Tally>,
    /// Octets done.
    pub(super) done: u64,
}

impl Moving {
    /// What is listed, and what of it earlier runs and earlier tries of this one brought. `here`: what is
    /// known and listed; `sizes`: octets of all that is listed, and of what is known.
    pub(super) fn listed(
        &mut self,
        ledger: &mut Ledger,
        source: &SourceRecord,
        known: &BTreeSet<u128>,
        before: &BTreeSet<u128>,
        here: &BTreeSet<u128>,
        sizes: (u64, u64),
    ) {
        // What this run brought counts, though a server that gives its mail in rounds lists it no more.
        let brought = known.difference(before).count() as u64;
        let gone = known.difference(before).filter(|id| !here.contains(id)).count() as u64;
        let adopted = source.adopted.min(brought);
        ledger.seen += gone;
        ledger.imported = brought - adopted;
        ledger.already_there = here.intersection(before).count() as u64 + adopted;
        (self.record.bytes_total, self.done) = sizes;
        self.tally.checked(1);
        self.tell(ledger, None);
    }

    /// The folder is recorded as made before it is.
    pub(super) async fn intend(&mut self, journal: &Journal, home: &Home) -> Result<(), Failure> {
        let missing = home.missing([self.record.directory.clone()].into()).await?;
        if !missing.is_empty() && !self.record.made {
            self.record.above = home.missing_above(&missing).await?.into_values().max().unwrap_or(0);
            self.record.made = true;
            let mut changes = Changes::default();
            changes.folder(&self.account, FOLDER, &self.record);
            journal.commit(changes).await?;
        }
        Ok(())
    }

    /// The numbers changed.
    pub(super) fn tell(&mut self, ledger: &Ledger, changes: Option<&mut Changes>) {
        self.record.ledger = *ledger;
        if let Some(changes) = changes {
            changes.folder(&self.account, FOLDER, &self.record);
        }
        self.tally.set(
            FOLDER,
            FolderNumbers {
                ledger: *ledger,
                bytes_total: self.record.bytes_total.max(self.done),
                bytes_done: self.done,
                done: self.record.state == FolderState::Done,
            },
        );
    }
}

/// One try.
///
/// # Errors
/// What ended it; what landed before is recorded.
pub(super) async fn drain(
    means: &Means,
    account: &Account,
    work: &Migrate,
    this: Try,
) -> Result<(), Failure> {
    let levels = if work.into.is_empty() { FolderPath::inbox().0 } else { work.into.clone() };
    let naming = means.naming(account).await?;
    let Placed { directory, path, note } = placed(&naming, &levels);
    let old = means.journal.folders(&account.name)?.remove(&FOLDER).unwrap_or_default();
    let record = FolderRecord {
        name: "INBOX".to_owned(),
        directory: directory.clone(),
        destination: cut(&path.to_string()),
        note: note.map(|note| cut(&note)),
        run: this.run,
        state: FolderState::Running,
        ledger: Ledger::default(),
        ..old
    };
    let tally = Arc::clone(&this.tally);
    tally.waits_for("the source: its login, and the list of its messages");
    let mut moving = Moving { account: account.name.clone(), record, tally, done: 0 };
    let errand = Errand {
        mailbox: levels,
        directory: directory.clone(),
        limit: None,
        icon: None,
        keep_original: true,
        sorting: None,
    };
    means.open_home(account).await?.remember(Origin::pop3(&account.name).account, this.run).await?;
    let mut outcome = Outcome::default();
    let ran =
        maildrop::run(means, account, &errand, &this.meter, &this.landings, &mut outcome, Some(&mut moving));
    ran.await?;
    if account.source.rounds && outcome.bytes > 0 {
        let pause =
            outcome.login_delay.unwrap_or_default().max(account.source.min_interval.unwrap_or_default());
        let words = "the server gives its mail in rounds, and this one is here";
        return Err(Failure::new(Kind::Enough, words, "the next one follows by itself").waiting(Some(pause)));
    }
    moving.record.state = FolderState::Done;
    let mut changes = Changes::default();
    moving.tell(&outcome.ledger, Some(&mut changes));
    means.journal.commit(changes).await?;
    let home = means.open_home(account).await?;
    if outcome.ledger.imported > 0 {
        look_again(means, account, &home, &this.tally).await?;
    }
    let inbox = FolderPath(errand.mailbox.clone()).is_inbox();
    let subscribed = if inbox { Vec::new() } else { vec![(FOLDER, directory)] };
    subscribe_all(means, account, &home, subscribed).await?;
    home.done(Origin::pop3(&account.name).account).await
}

/// A new run begins: what is recorded now, and what was `found` in the mailbox, is what a rollback goes back to.
///
/// # Errors
/// The journal cannot be read.
pub(super) fn begin(
    means: &Means,
    account: &str,
    found: &BTreeSet<u128>,
    changes: &mut Changes,
) -> Result<(), Failure> {
    let (mut known, chunks) = means.journal.identities(account)?;
    known.extend(found);
    let before = changes.identities(account, &known, chunks);
    // Open: other tools may have brought some of it.
    let uidls = means.journal.source(account)?.map(|source| source.uidls).unwrap_or_default();
    changes.source(account, &SourceRecord { open: true, before, uidls, ..SourceRecord::default() });
    Ok(())
}

/// What a rollback leaves: the identities from before the run; `None`: there was no run.
///
/// # Errors
/// The journal cannot be read.
pub(super) fn before(means: &Means, account: &str) -> Result<Option<BTreeSet<u128>>, Failure> {
    match means.journal.source(account)? {
        Some(source) => means.journal.first_identities(account, source.before).map(Some),
        None => Ok(None),
    }
}

/// Whether the run brought anything, or may have.
///
/// # Errors
/// The journal cannot be read.
pub(super) fn has_brought(means: &Means, account: &str) -> Result<bool, Failure> {
    let (_, chunks) = means.journal.identities(account)?;
    Ok(means.journal.source(account)?.is_some_and(|source| chunks > source.before))
}

/// The journal as it was before the run.
///
/// # Errors
/// The journal cannot be read.
pub(super) fn forget(means: &Means, account: &str, changes: &mut Changes) -> Result<(), Failure> {
    let Some(source) = means.journal.source(account)? else { return Ok(()) };
    let (_, chunks) = means.journal.identities(account)?;
    changes.fewer_identities(account, source.before, chunks);
    changes.source(account, &SourceRecord { open: true, adopted: 0, ..source });
    Ok(())
}
