//! One session of a run, from the login to the goodbye. It refuses to conclude anything from a session that broke.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio_util::task::TaskTracker;

use super::carrier::Carrier;
use super::doubt;
use super::missing::DAY;
use super::settle::settle;
use super::triage::{Known, Sorted, count_gone, identified, sort};
use super::{Errand, Run};
use crate::account::Account;
use crate::destination::Home;
use crate::destination::landing::{Landing, Opened, Opening};
use crate::destination::maildir::{Mailbox, Origin, Orphans};
use crate::engine::at_server::AtServer;
use crate::engine::budget::Budget;
use crate::engine::drain::{FOLDER, Moving};
use crate::engine::identity::Copies;
use crate::engine::meter::Meter;
use crate::engine::odd;
use crate::engine::poll::Outcome;
use crate::engine::proof::Proofs;
use crate::engine::recall::{list_skipped, remember};
use crate::engine::unsettled::unsettled;
use crate::engine::{Means, blocking, now};
use crate::failure::{Failure, Kind};
use crate::journal::{Changes, SourceRecord, Uidls};
use crate::message::MessageRef;
use crate::migration::Ledger;
use crate::pop3::Session;

/// Where a session works.
pub(super) struct At<'a> {
    pub(super) means: &'a Means,
    pub(super) account: &'a Account,
    pub(super) work: &'a Errand,
    pub(super) meter: &'a Meter,
    pub(super) landings: &'a TaskTracker,
}

/// Runs one session.
///
/// # Errors
/// What ended it early; what came before is recorded.
pub(super) async fn run(
    at: &At<'_>,
    outcome: &mut Outcome,
    mut moving: Option<&mut Moving>,
    this: &mut Run,
) -> Result<(), Failure> {
    let (journal, name) = (&at.means.journal, at.account.name.as_str());
    let first = journal.source(name)?;
    let unsure = first.as_ref().is_none_or(|record| record.open);
    let mut stored = first.clone();
    outcome.record =
        first.unwrap_or_else(|| SourceRecord { anew_at: Some(now()), ..SourceRecord::default() });
    if !std::mem::replace(&mut this.forgave, true) {
        odd::once_more(&mut outcome.record.odd);
    }

    let mut session = at.means.pop3(at.account).await?;
    if this.one_by_one {
        session.go_one_by_one();
    }
    session.recall(std::mem::take(&mut this.seen));
    outcome.login_delay = session.capabilities().login_delay;
    let mut known = Known::read(journal, name)?;
    let mut sorted = match look(at, &mut session, &mut known, outcome, this).await {
        Ok(sorted) => sorted,
        Err(failure) => {
            save(at, outcome, &stored, Changes::default()).await?;
            return Err(failure);
        }
    };
    match moving.as_deref_mut() {
        Some(moving) => count_moving(at, &sorted, &known, outcome, moving)?,
        None => count_gone(&sorted, outcome, this),
    }

    let proofs = Proofs::default();
    let mut broken = None;
    if !sorted.fresh.is_empty() {
        let mut fetching = Fetching {
            at,
            session: &mut session,
            known: &mut known,
            sorted: &mut sorted,
            this,
            proofs: &proofs,
        };
        broken = fetching.run(unsure, &mut stored, outcome, moving.as_deref_mut()).await?;
        if broken.is_some() {
            this.seen = session.seen();
        }
    }
    let mut gone = None;
    if broken.is_none() {
        let ended = settle(at, session, &sorted, &mut known, moving.is_none(), outcome).await;
        match ended {
            Ok(complete) => gone = Some(complete),
            Err(failure) => broken = Some(failure),
        }
    }
    if let Some(complete) = gone {
        if moving.is_none() && complete {
            let listed: BTreeSet<u128> = sorted.here.iter().map(|(_, id)| *id).collect();
            known.forget(&listed, &mut outcome.record.missing_since, now());
        }
        outcome.record.open = false;
        broken = unbalanced(&outcome.ledger);
    }
    let mut changes = Changes::default();
    known.remember_marks(name, &mut changes);
    match moving {
        Some(moving) => moving.tell(&outcome.ledger, Some(&mut changes)),
        None => remember(journal, name, &known.ids, known.chunks, &mut changes)?,
    }
    list_skipped(journal, name, &sorted.skipped, &mut changes)?;
    proofs.tell(name, &mut changes);
    save(at, outcome, &stored, changes).await?;
    broken.map_or(Ok(()), Err)
}

/// What lies in the maildrop, and what is to be done about it.
async fn look(
    at: &At<'_>,
    session: &mut Session,
    known: &mut Known,
    outcome: &mut Outcome,
    this: &mut Run,
) -> Result<Sorted, Failure> {
    let (name, uidls) = (at.account.name.as_str(), outcome.record.uidls);
    let (maildrop, ids) = identified(session, at.account.era, outcome, known, this).await?;
    if outcome.record.uidls == Uidls::Numbers && uidls != Uidls::Numbers {
        tracing::info!(
            ACCOUNT = name,
            "{name}: the UIDLs of its server are message numbers or sizes, which name nothing; headers do instead"
        );
    }
    let doubted = doubt::doubted(session, at.work, &maildrop, &ids, known, this).await?;
    // Only now: until here the numbers of the session before are what is known.
    outcome.ledger = Ledger::default();
    Ok(sort(at.work, maildrop, ids, known, doubted, outcome, this))
}

/// The record goes with the other changes, if it changed.
async fn save(
    at: &At<'_>,
    outcome: &Outcome,
    stored: &Option<SourceRecord>,
    mut changes: Changes,
) -> Result<(), Failure> {
    if stored.as_ref() != Some(&outcome.record) {
        changes.source(&at.account.name, &outcome.record);
    }
    at.means.journal.commit(changes).await
}

fn unbalanced(ledger: &Ledger) -> Option<Failure> {
    let words = format!("the numbers of this run do not add up: {ledger:?}");
    let mend = "it is tried again; tell the makers of Mailhaul if it stays";
    (!ledger.adds_up()).then(|| Failure::new(Kind::Protocol, words, mend))
}

fn count_moving(
    at: &At<'_>,
    sorted: &Sorted,
    known: &Known,
    outcome: &mut Outcome,
    moving: &mut Moving,
) -> Result<(), Failure> {
    let before = at.means.journal.first_identities(&at.account.name, outcome.record.before)?;
    let ids: BTreeSet<u128> = sorted.here.iter().map(|(_, id)| *id).collect();
    let sizes = (
        sorted.listed.iter().filter_map(|message| message.size).sum(),
        sorted.recorded.iter().map(|(_, size)| size).sum(),
    );
    moving.listed(&mut outcome.ledger, &outcome.record, &known.ids, &before, &ids, sizes);
    Ok(())
}

/// The part of a session that imports.
struct Fetching<'f> {
    at: &'f At<'f>,
    session: &'f mut Session,
    known: &'f mut Known,
    sorted: &'f mut Sorted,
    this: &'f mut Run,
    proofs: &'f Proofs,
}

impl Fetching<'_> {
    /// Imports what is new. Returns what broke the session.
    async fn run(
        &mut self,
        unsure: bool,
        stored: &mut Option<SourceRecord>,
        outcome: &mut Outcome,
        mut moving: Option<&mut Moving>,
    ) -> Result<Option<Failure>, Failure> {
        let at = self.at;
        let (journal, name) = (&at.means.journal, at.account.name.as_str());
        let origin = Origin::pop3(name);
        let home = at.means.open_home(at.account).await?;
        if let Some(moving) = moving.as_deref_mut() {
            moving.intend(journal, &home).await?;
        }
        let landing = at.means.land(at.account, &home, at.landings).await?;
        let mut at_server = AtServer::read(journal, name, FOLDER)?;
        let (opened, orphans) =
            self.open((&home, &landing), &at_server, unsure, outcome, moving.is_none()).await?;
        if let Some(now) = opened.there {
            let mut standing = outcome.record.standing();
            at_server.opened(&mut standing, now);
            outcome.record.stand(standing);
        }
        // A run that was killed may have imported some of them without recording it. Else a name alone says nothing.
        let (adopted, wanted): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.sorted.fresh).into_iter().partition(|m| {
                let held = |id: &u128| unsure && opened.holds.contains(&MessageRef::Pop3(*id));
                m.id.filter(|id| !self.sorted.doubted.contains(id)).is_some_and(|id| held(&id))
            });
        match moving {
            // What a migration finds here at its beginning is recorded then: these are its own.
            Some(_) => outcome.ledger.imported += adopted.len() as u64,
            None => outcome.ledger.already_there += adopted.len() as u64,
        }
        let adopted: Vec<_> = adopted.iter().filter_map(|m| Some((m.wanted(), m.id?))).collect();
        let adopted_ids: Vec<u128> = adopted.iter().map(|(_, id)| *id).collect();
        self.sorted.here.extend(adopted);
        if !outcome.record.open || stored.as_ref() != Some(&outcome.record) {
            outcome.record.open = true;
            let mut changes = Changes::default();
            changes.source(name, &outcome.record);
            journal.commit(changes).await?;
            *stored = Some(outcome.record.clone());
        }
        let mut carrier = Carrier {
            at,
            known: self.known,
            outcome,
            sorted: self.sorted,
            this: self.this,
            holds: opened.holds,
            orphans,
            copies: Copies::default(),
            moving: moving.as_deref_mut(),
            at_server,
            budget: Budget::of(at.means, at.account)?,
            hindered: (0, None),
            proofs: self.proofs,
        };
        carrier.landed(&adopted_ids, &[]).await?;
        at.meter.set_total(wanted.len() as u64);
        let broken = carrier.bring(self.session, &landing, origin, &wanted).await?;
        let (hindered, hindrance) = carrier.hindered;
        let ledger = &outcome.ledger;
        let nothing = ledger.imported == 0 && (moving.is_none() || ledger.already_there == 0);
        // One cause may stand behind all of them.
        let hindrance = hindrance.filter(|_| nothing && ledger.failed > 1 && hindered == ledger.failed);
        Ok(broken.or(hindrance))
    }

    /// Opens the folder at the destination, and looks into it where the journal may not know everything.
    async fn open(
        &self,
        (home, landing): (&Home, &Landing),
        at_server: &AtServer,
        unsure: bool,
        outcome: &Outcome,
        polled: bool,
    ) -> Result<(Opened, Option<Arc<Orphans>>), Failure> {
        let (at, sorted) = (self.at, &self.sorted);
        let origin = Origin::pop3(&at.account.name);
        let here: BTreeSet<u128> = sorted.here.iter().map(|(_, id)| *id).collect();
        let fresh = sorted.fresh.iter().filter_map(|m| m.id);
        let mut listed: BTreeSet<u128> = here.iter().copied().chain(fresh).collect();
        // New messages where known ones are gone may be the same ones with other UIDLs.
        let renamed = self.known.may_be_renamed(&listed);
        let anew = polled && !unsure && is_anew(&outcome.record);
        if anew {
            // What is here under the name of a new one may be that, or another: its octets tell.
            listed = here;
        }
        let compares = unsure || anew || renamed;
        let orphans = match home.maildir().filter(|_| compares) {
            Some(mailbox) => Some(orphans(mailbox, origin, listed).await?),
            None => None,
        };
        let mut there = at_server.known(&outcome.record.standing());
        if renamed && matches!(home, Home::Server(..)) {
            let mut kept: BTreeMap<u64, usize> = BTreeMap::new();
            sorted.recorded.iter().for_each(|(_, size)| *kept.entry(*size).or_default() += 1);
            there.kept = Some(kept);
        }
        let member = at.account.member.to_string();
        let mut unsettled = unsettled(&at.means.journal, &member, origin.account, &at.work.directory)?;
        unsettled.deleted = !at.work.keep_original;
        let opening = Opening {
            unsettled,
            look: compares.then(|| sorted.recorded.clone()),
            orphans: orphans.clone(),
            there,
            sorting: at.work.sorting.clone(),
            subscribe: polled,
            ..Opening::new(&at.work.directory, origin)
        };
        Ok((landing.open(opening).await.map_err(no_place)?, orphans))
    }
}

/// Whether what comes is compared with what is here as if nothing were known: a server that is unwell lists a part of a
/// mailbox at first.
fn is_anew(record: &SourceRecord) -> bool {
    record.anew_at.is_some_and(|at| now() - at < DAY)
}

/// The account's messages here that the source does not list any more.
async fn orphans(
    mailbox: &Arc<Mailbox>,
    origin: Origin,
    listed: BTreeSet<u128>,
) -> Result<Arc<Orphans>, Failure> {
    let mailbox = Arc::clone(mailbox);
    blocking(move || {
        let is_there =
            |_: Origin, message: MessageRef| matches!(message, MessageRef::Pop3(id) if listed.contains(&id));
        Orphans::of(&mailbox, origin.account, is_there, std::iter::empty()).map(Arc::new)
    })
    .await
}

/// A folder of our own that cannot be opened is no fault of the source.
fn no_place(failure: Failure) -> Failure {
    if failure.kind != Kind::Folder {
        return failure;
    }
    let words = format!("at the destination {}", failure.words);
    Failure::new(Kind::Destination, words, "look there, or choose another folder; it is tried again")
}
