//! One session with a POP3 maildrop, for a poll as for a migration: what is new comes home, what was asked
//! for is deleted, and the journal knows. It refuses to delete anything that is not durable here, to fetch what
//! is too large to find out, and to write anything when there is nothing new.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio_util::task::TaskTracker;

use super::at_server::AtServer;
use super::budget::Budget;
use super::drain::{FOLDER, Moving};
use super::exceptions::too_large_for;
use super::identity::{self, Copies};
use super::listed::{Message, Verdict, judge, key_of, shown};
use super::meter::Meter;
use super::poll::Outcome;
use super::proof::Proofs;
use super::recall::{forget, hindrance, list_skipped, not_taken, remember};
use super::unsettled::unsettled;
use super::{Means, blocking, odd};
use crate::account::Account;
use crate::destination::Home;
use crate::destination::landing::{Landing, Opening, Placement, Receipt};
use crate::destination::maildir::{Mailbox, Origin, Orphans};
use crate::destination::place::{Naming, Placed, place};
use crate::destination::sorting::Sorting;
use crate::failure::{Failure, Kind};
use crate::journal::{Changes, Journal, SkippedRecord};
use crate::message::{Flags, FolderPath, MessageRef};
use crate::pop3::{Retrieved, Session};

/// One batch: so many messages, and by the listing so many octets.
const BATCH: usize = 400;
const BATCH_OCTETS: u64 = 32 * 1024 * 1024;
/// A farewell on which nothing depends is waited for as long as this.
const FAREWELL: std::time::Duration = std::time::Duration::from_secs(5);

/// What a session is to do.
#[derive(Debug, Clone)]
pub(super) struct Errand {
    /// The folder that mail is put into, level by level.
    pub(super) mailbox: Vec<String>,
    /// Its directory.
    pub(super) directory: String,
    /// What is larger is left out; octets.
    pub(super) limit: Option<u64>,
    /// The keyword on each message.
    pub(super) icon: Option<String>,
    /// Off: what is durable here is deleted at the source.
    pub(super) keep_original: bool,
    /// The member's rules.
    pub(super) sorting: Option<Arc<Sorting>>,
}

/// Runs one session; `outcome` says how far it came, whatever happens. `moving`: it is a migration's.
///
/// # Errors
/// What ended it early.
pub(super) async fn run(
    means: &Means,
    account: &Account,
    work: &Errand,
    meter: &Meter,
    landings: &TaskTracker,
    outcome: &mut Outcome,
    mut moving: Option<&mut Moving>,
) -> Result<(), Failure> {
    let journal = &means.journal;
    let name = account.name.as_str();
    let first = journal.source(name)?;
    let unsure = first.as_ref().is_none_or(|record| record.open);
    // What the journal has.
    let mut stored = first.clone();
    outcome.record = first.unwrap_or_default();

    let mut session = means.pop3(account).await?;
    outcome.login_delay = session.capabilities().login_delay;
    let listed = session.list().await?;
    let identities = identity::identify(&mut session, &listed, account.era).await?;

    let (mut known, chunks) = journal.identities(name)?;
    let mut chunks = chunks;
    let earlier: BTreeMap<String, SkippedRecord> =
        journal.skipped(name)?.into_iter().map(|(_, key, record)| (key, record)).collect();
    let limit = work.limit;
    let mut skipped = BTreeMap::new();
    let mut fresh = Vec::new();
    let mut here = Vec::new();
    let mut recorded = Vec::new();
    outcome.ledger.seen = listed.len() as u64;
    for (message, id) in listed.iter().zip(identities) {
        match judge(message, id, &known, &earlier, limit) {
            Verdict::Known(id) => {
                here.push((message.number, id));
                recorded.extend(message.size.map(|size| (MessageRef::Pop3(id), size)));
            }
            Verdict::New(new) => match new.id.and_then(|id| odd::given_up(&outcome.record.odd, id)) {
                Some(reason) => {
                    outcome.ledger.failed += 1;
                    let folder = FolderPath(work.mailbox.clone()).to_string();
                    let record =
                        SkippedRecord { folder, id: new.shown, size: new.size, reason, for_good: false };
                    skipped.insert(key_of(new.id, &record.id, new.number), record);
                }
                None => fresh.push(new),
            },
            Verdict::LeftOut(key, record) => {
                outcome.ledger.skipped += 1;
                skipped.insert(key, record);
            }
            Verdict::TooLarge { size, limit } => {
                outcome.ledger.skipped += 1;
                let folder = FolderPath(work.mailbox.clone()).to_string();
                let record = SkippedRecord {
                    folder,
                    id: shown(message),
                    size: Some(size),
                    reason: too_large_for(limit),
                    for_good: false,
                };
                skipped.insert(key_of(id, &record.id, message.number), record);
            }
        }
    }
    outcome.ledger.already_there = here.len() as u64;
    if let Some(moving) = moving.as_deref_mut() {
        let before = journal.first_identities(name, outcome.record.before)?;
        let ids: BTreeSet<u128> = here.iter().map(|(_, id)| *id).collect();
        let sizes = (
            listed.iter().filter_map(|message| message.size).sum(),
            recorded.iter().map(|(_, size)| size).sum(),
        );
        moving.listed(&mut outcome.ledger, &outcome.record, &known, &before, &ids, sizes);
    }
    fresh.sort_by_key(|message| message.id.is_some_and(|id| odd::is_last(&outcome.record.odd, id)));

    let (mut broken, mut recognised) = (None, 0);
    let proofs = Proofs::default();
    if !fresh.is_empty() {
        let origin = Origin::pop3(name);
        let home = means.open_home(account).await?;
        if let Some(moving) = moving.as_deref_mut() {
            moving.intend(journal, &home).await?;
        }
        let listed: BTreeSet<u128> =
            here.iter().map(|(_, id)| *id).chain(fresh.iter().filter_map(|m| m.id)).collect();
        // New messages where known ones are gone may be the same ones with other UIDLs.
        let renamed = known.iter().any(|id| !listed.contains(id));
        let orphans = match home.maildir().filter(|_| unsure || renamed) {
            Some(mailbox) => Some(orphans(mailbox, origin, listed).await?),
            None => None,
        };
        let landing = means.land(account, &home, landings).await?;
        let mut at_server = AtServer::read(journal, name, FOLDER)?;
        let mut there = at_server.known(&outcome.record.standing());
        let renamed_there = renamed && matches!(home, Home::Server(..));
        if renamed_there {
            let mut kept: BTreeMap<u64, usize> = BTreeMap::new();
            recorded.iter().for_each(|(_, size)| *kept.entry(*size).or_default() += 1);
            there.kept = Some(kept);
        }
        let mut unsettled = unsettled(journal, &account.member.to_string(), origin.account, &work.directory)?;
        unsettled.deleted = !work.keep_original;
        let opening = Opening {
            unsettled,
            look: (unsure || renamed_there).then_some(recorded),
            orphans: orphans.clone(),
            there,
            sorting: work.sorting.clone(),
            subscribe: moving.is_none(),
            ..Opening::new(&work.directory, origin)
        };
        let opened = landing.open(opening).await.map_err(no_place)?;
        if let Some(now) = opened.there {
            let mut standing = outcome.record.standing();
            at_server.opened(&mut standing, now);
            outcome.record.stand(standing);
        }
        let changed = stored.as_ref() != Some(&outcome.record);
        // A run that was killed may have brought some of them without telling.
        let (adopted, wanted): (Vec<_>, Vec<_>) = fresh
            .into_iter()
            .partition(|m| m.id.is_some_and(|id| opened.holds.contains(&MessageRef::Pop3(id))));
        match moving {
            // What a migration finds here at its beginning is recorded then: these are its own.
            Some(_) => outcome.ledger.imported += adopted.len() as u64,
            None => outcome.ledger.already_there += adopted.len() as u64,
        }
        let adopted: Vec<(u32, u128)> = adopted.iter().filter_map(|m| Some((m.number, m.id?))).collect();
        let adopted_ids: Vec<u128> = adopted.iter().map(|(_, id)| *id).collect();
        here.extend(adopted);
        if !outcome.record.open || changed {
            outcome.record.open = true;
            let mut changes = Changes::default();
            changes.source(name, &outcome.record);
            journal.commit(changes).await?;
            stored = Some(outcome.record.clone());
        }
        let mut carrier = Carrier {
            journal,
            name,
            known: &mut known,
            chunks: &mut chunks,
            outcome,
            meter,
            here: &mut here,
            holds: opened.holds,
            earlier: &earlier,
            orphans,
            copies: Copies::default(),
            recognised: 0,
            moving: moving.as_deref_mut(),
            at_server,
            budget: Budget::of(means, account)?,
            hindered: (0, None),
            proofs: &proofs,
        };
        carrier.landed(&adopted_ids, &[]).await?;
        meter.set_total(wanted.len() as u64);
        broken = carrier.bring(&mut session, &landing, origin, work, &wanted, limit, &mut skipped).await?;
        recognised = carrier.recognised;
        let (hindered, hindrance) = (carrier.hindered.0, carrier.hindered.1.take());
        let ledger = &outcome.ledger;
        let nothing = ledger.imported == 0 && (moving.is_none() || ledger.already_there == 0);
        if nothing && ledger.failed > 1 && hindered == ledger.failed {
            // One cause stands behind all of them.
            broken = broken.or(hindrance);
        }
    }

    if broken.is_none() {
        broken = settle(work, session, &here, &mut known, outcome).await.err();
    }
    let mut changes = Changes::default();
    if broken.is_none() {
        if moving.is_none() {
            let listed: BTreeSet<u128> = here.iter().map(|(_, id)| *id).collect();
            forget(&mut known, &listed, recognised, outcome);
        }
        outcome.record.open = false;
        if !outcome.ledger.adds_up() {
            broken = Some(Failure::new(
                Kind::Protocol,
                format!("the numbers of this run do not add up: {:?}", outcome.ledger),
                "it is tried again; tell the makers of Mailhaul if it stays",
            ));
        }
    }
    if stored.as_ref() != Some(&outcome.record) {
        changes.source(name, &outcome.record);
    }
    match moving {
        Some(moving) => moving.tell(&outcome.ledger, Some(&mut changes)),
        None => remember(journal, name, &known, chunks, &mut changes)?,
    }
    list_skipped(journal, name, &skipped, &mut changes)?;
    proofs.tell(name, &mut changes);
    journal.commit(changes).await?;
    match broken {
        Some(failure) => Err(failure),
        None => Ok(()),
    }
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

pub(super) fn directory_of(naming: &Naming, mailbox: &[String]) -> String {
    placed(naming, mailbox).directory
}

/// Where a folder goes that is the only one.
pub(super) fn placed(naming: &Naming, mailbox: &[String]) -> Placed {
    let path = FolderPath(mailbox.to_vec());
    let inbox = Placed { directory: String::new(), path: path.clone(), note: None };
    place(naming, &[((), path)], &BTreeMap::new()).remove(&()).unwrap_or(inbox)
}

/// A folder of our own that cannot be opened is no fault of the source.
fn no_place(failure: Failure) -> Failure {
    if failure.kind != Kind::Folder {
        return failure;
    }
    let words = format!("at the destination {}", failure.words);
    Failure::new(Kind::Destination, words, "look there, or choose another folder; it is tried again")
}

/// Numbers of messages in this session, and how they are shown, by identity.
type Numbers = BTreeMap<u128, (u32, String)>;

/// Brings messages batch by batch; the next batch is fetched while the last one is made durable.
struct Carrier<'c> {
    journal: &'c Journal,
    name: &'c str,
    proofs: &'c Proofs,
    known: &'c mut BTreeSet<u128>,
    chunks: &'c mut usize,
    outcome: &'c mut Outcome,
    meter: &'c Meter,
    /// What is durable here and still at the source: number and identity.
    here: &'c mut Vec<(u32, u128)>,
    /// What the folder held before, if somebody doubted it.
    holds: BTreeSet<MessageRef>,
    /// What earlier runs did not bring.
    earlier: &'c BTreeMap<String, SkippedRecord>,
    /// What is here and no longer listed under the name that it has here.
    orphans: Option<Arc<Orphans>>,
    copies: Copies,
    /// Messages that were here under another name.
    recognised: usize,
    moving: Option<&'c mut Moving>,
    at_server: AtServer,
    budget: Option<Budget>,
    /// Messages that the destination refused for now, and what was said first.
    hindered: (u64, Option<Failure>),
}

impl Carrier<'_> {
    /// `Ok(Some)`: the source broke off; what came before is safe. `Err`: our own side failed.
    #[expect(clippy::too_many_arguments, reason = "the parts of one transfer, used nowhere else")]
    async fn bring(
        &mut self,
        session: &mut Session,
        landing: &Landing,
        origin: Origin,
        work: &Errand,
        wanted: &[Message],
        limit: Option<u64>,
        skipped: &mut BTreeMap<String, SkippedRecord>,
    ) -> Result<Option<Failure>, Failure> {
        let mut flags = Flags { recent: true, ..Flags::default() };
        flags.keywords.extend(work.icon.as_ref().map(|icon| format!("icon-{icon}")));
        let mut numbers: Numbers =
            wanted.iter().filter_map(|m| Some((m.id?, (m.number, m.shown.clone())))).collect();
        let mut waiting = None;
        let (mut broken, mut enough) = (None, false);
        for batch in batches(wanted) {
            let granted = match &self.budget {
                Some(budget) => budget.take(batch.iter().map(|m| m.size.unwrap_or(0))),
                None => batch.len(),
            };
            enough = granted < batch.len();
            let batch = batch.get(..granted).unwrap_or(batch);
            if batch.is_empty() {
                break;
            }
            let asked: Vec<u32> = batch.iter().map(|m| m.number).collect();
            let retrieval = session.retrieve(&asked, limit, landing.orders()).await;
            for (message, (_, retrieved)) in batch.iter().zip(&retrieval.done) {
                match retrieved {
                    Retrieved::Whole { digest, .. } => {
                        let id = match message.id {
                            Some(id) => id,
                            None => {
                                let id = self.copies.identity(*digest);
                                if self.is_here(landing, message.number, id).await? {
                                    continue;
                                }
                                let key = key_of(Some(id), "", message.number);
                                if let Some(record) = self.earlier.get(&key).filter(|record| record.for_good)
                                {
                                    landing.discard(message.number.into()).await?;
                                    self.outcome.ledger.skipped += 1;
                                    skipped.insert(key, record.clone());
                                    continue;
                                }
                                numbers.insert(id, (message.number, message.shown.clone()));
                                id
                            }
                        };
                        odd::forget(&mut self.outcome.record.odd, id);
                        landing
                            .place(Placement {
                                piece: message.number.into(),
                                origin,
                                message: MessageRef::Pop3(id),
                                announced: message.size,
                                flags: flags.clone(),
                                received: None,
                            })
                            .await?;
                    }
                    Retrieved::Refused(words) => {
                        self.outcome.ledger.failed += 1;
                        let reason = format!("the server does not give it: {words}");
                        self.except(work, message, reason, skipped);
                    }
                    Retrieved::TooLarge { octets } => {
                        self.outcome.ledger.skipped += 1;
                        let message =
                            Message { size: Some(*octets), shown: message.shown.clone(), ..*message };
                        self.except(work, &message, too_large_for(limit.unwrap_or(0)), skipped);
                    }
                }
            }
            broken = retrieval.broken;
            if broken.as_ref().is_some_and(|f| f.kind == Kind::Destination) {
                return Err(landing.failure().await);
            }
            let over = matches!(&broken, Some(f) if matches!(f.kind, Kind::Disconnected | Kind::Stalled | Kind::Protocol));
            let busy = matches!(&broken, Some(f) if matches!(f.kind, Kind::Unavailable | Kind::Throttled | Kind::InUse));
            if let Some(id) = batch.get(retrieval.done.len()).and_then(|m| m.id) {
                match (over, busy) {
                    (true, _) => odd::broke(&mut self.outcome.record.odd, id),
                    (_, true) => odd::put_off(&mut self.outcome.record.odd, id),
                    _ => {}
                }
            }
            let answer = landing.commit().await?;
            if let Some(earlier) = waiting.replace(answer) {
                let receipts = landing.settled(earlier).await?;
                self.receive(work, receipts, &numbers, skipped).await?;
            }
            if broken.is_some() || enough {
                break;
            }
        }
        if let Some(last) = waiting {
            let receipts = landing.settled(last).await?;
            self.receive(work, receipts, &numbers, skipped).await?;
        }
        // Only now is it known how much was used, and so, how long it takes.
        Ok(broken.or_else(|| self.budget.as_ref().filter(|_| enough).map(Budget::enough)))
    }

    /// A message that had to be fetched to be known, and was known: it is dropped.
    async fn is_here(&mut self, landing: &Landing, number: u32, id: u128) -> Result<bool, Failure> {
        let held = self.holds.contains(&MessageRef::Pop3(id));
        let recorded = self.known.contains(&id);
        if !held && !recorded {
            return Ok(false);
        }
        landing.discard(number.into()).await?;
        if let Some(orphans) = &self.orphans {
            orphans.except(MessageRef::Pop3(id));
        }
        if held && !recorded {
            self.landed(&[id], &[]).await?;
        }
        match self.moving {
            Some(_) if held && !recorded => self.outcome.ledger.imported += 1,
            _ => self.outcome.ledger.already_there += 1,
        }
        self.here.push((number, id));
        Ok(true)
    }

    fn except(
        &self,
        work: &Errand,
        message: &Message,
        reason: String,
        skipped: &mut BTreeMap<String, SkippedRecord>,
    ) {
        let folder = FolderPath(work.mailbox.clone()).to_string();
        let (id, size) = (message.shown.clone(), message.size);
        let record = SkippedRecord { folder, id, size, reason, for_good: false };
        skipped.insert(key_of(message.id, &message.shown, message.number), record);
    }

    async fn receive(
        &mut self,
        work: &Errand,
        receipts: Vec<Receipt>,
        numbers: &Numbers,
        skipped: &mut BTreeMap<String, SkippedRecord>,
    ) -> Result<(), Failure> {
        let (refused, receipts): (Vec<_>, Vec<_>) = receipts.into_iter().partition(|r| r.refused.is_some());
        for receipt in refused {
            let MessageRef::Pop3(id) = receipt.message else { continue };
            self.meter.hear(&receipt);
            match receipt.is_left_out() {
                true => self.outcome.ledger.skipped += 1,
                false => {
                    self.outcome.ledger.failed += 1;
                    self.hindered.0 += 1;
                    self.hindered.1.get_or_insert_with(|| hindrance(&receipt));
                }
            }
            let (number, shown) = numbers.get(&id).cloned().unwrap_or_default();
            let record = SkippedRecord {
                folder: FolderPath(work.mailbox.clone()).to_string(),
                id: shown,
                size: Some(receipt.octets),
                reason: not_taken(self.name, &receipt),
                for_good: receipt.for_good,
            };
            skipped.insert(key_of(Some(id), "", number), record);
        }
        receipts.iter().for_each(|receipt| self.meter.hear(receipt));
        let ids: Vec<u128> = receipts
            .iter()
            .filter_map(|receipt| match receipt.message {
                MessageRef::Pop3(id) => Some(id),
                MessageRef::Imap { .. } => None,
            })
            .collect();
        self.landed(&ids, &receipts).await?;
        self.here.extend(ids.iter().filter_map(|id| numbers.get(id).map(|(number, _)| (*number, *id))));
        Ok(())
    }

    /// They are durable: record it.
    async fn landed(&mut self, ids: &[u128], receipts: &[Receipt]) -> Result<(), Failure> {
        if ids.is_empty() {
            return Ok(());
        }
        self.proofs.add(FOLDER, receipts);
        let brought = receipts.iter().filter(|r| !r.adopted);
        let octets: u64 = brought.clone().map(|r| r.octets).sum();
        let count = brought.count() as u64;
        let adopted = receipts.len() as u64 - count;
        self.outcome.ledger.imported += count;
        self.outcome.ledger.already_there += adopted;
        let mut changes = Changes::default();
        *self.chunks = changes.more_identities(self.name, ids, *self.chunks);
        let mut placed = false;
        for receipt in receipts {
            placed |= self.at_server.landed(receipt);
        }
        if placed {
            self.at_server.save(self.name, FOLDER, &mut changes);
        }
        if let Some(budget) = &self.budget {
            let all = receipts.iter().map(|receipt| receipt.octets).sum();
            budget.spend(all, all, &mut changes);
        }
        if let Some(moving) = &mut self.moving {
            if adopted > 0 {
                self.outcome.record.adopted += adopted;
                changes.source(self.name, &self.outcome.record);
            }
            moving.done += octets;
            moving.tell(&self.outcome.ledger, Some(&mut changes));
        }
        self.journal.commit(changes).await?;
        self.known.extend(ids);
        self.recognised += receipts.iter().filter(|r| r.adopted).count();
        self.outcome.bytes += octets;
        self.meter.add(count, octets);
        Ok(())
    }
}

fn batches(wanted: &[Message]) -> Vec<&[Message]> {
    let mut batches = Vec::new();
    let (mut start, mut octets) = (0, 0);
    for (at, message) in wanted.iter().enumerate() {
        let size = message.size.unwrap_or(0);
        if at > start && (at - start >= BATCH || octets + size > BATCH_OCTETS) {
            batches.extend(wanted.get(start..at));
            (start, octets) = (at, 0);
        }
        octets += size;
    }
    batches.extend(wanted.get(start..).filter(|rest| !rest.is_empty()));
    batches
}

/// Deletes what is durable here, if that was asked for, and ends the session. Deletions are real only when
/// QUIT was answered: until then the identities stay known, and the next run deletes again.
async fn settle(
    work: &Errand,
    mut session: Session,
    here: &[(u32, u128)],
    known: &mut BTreeSet<u128>,
    outcome: &mut Outcome,
) -> Result<(), Failure> {
    if work.keep_original || here.is_empty() {
        // Nothing depends on the answer to QUIT, except at servers that count a message as fetched by it.
        let _ = tokio::time::timeout(FAREWELL, session.quit()).await;
        return Ok(());
    }
    let numbers: Vec<u32> = here.iter().map(|(number, _)| *number).collect();
    let ids: BTreeMap<u32, u128> = here.iter().copied().collect();
    let answers = session.delete(&numbers).await?;
    session.quit().await?;
    for (number, answer) in answers {
        if answer.is_ok()
            && let Some(id) = ids.get(&number)
        {
            outcome.deleted += 1;
            known.remove(id);
        }
    }
    Ok(())
}
