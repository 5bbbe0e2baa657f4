//! Messages on their way from a session to the destination, batch by batch. It refuses to record what is not durable there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Run;
use super::session::At;
use super::triage::{Fact, Known, Sorted, body, slot_of};
use crate::destination::landing::{Landing, Placement, Receipt};
use crate::destination::maildir::{Origin, Orphans};
use crate::engine::at_server::AtServer;
use crate::engine::budget::Budget;
use crate::engine::drain::{FOLDER, Moving};
use crate::engine::exceptions::too_large_for;
use crate::engine::identity::Copies;
use crate::engine::listed::{Message, key_of};
use crate::engine::odd;
use crate::engine::poll::Outcome;
use crate::engine::proof::Proofs;
use crate::engine::recall::{hindrance, not_taken};
use crate::failure::{Failure, Kind};
use crate::journal::{Changes, SkippedRecord};
use crate::message::{Flags, FolderPath, MessageRef};
use crate::pop3::{Ended, Retrieval, Retrieved, Session, Wanted};

/// One batch: so many messages, and by the listing so many bytes.
const BATCH: usize = 400;
const BATCH_OCTETS: u64 = 32 * 1024 * 1024;

/// How to ask for a message in this session, and how it is shown, by identity.
type Names = BTreeMap<u128, (Wanted, String)>;

/// Imports messages batch by batch; the next batch is fetched while the last one is made durable.
pub(super) struct Carrier<'c> {
    pub(super) at: &'c At<'c>,
    pub(super) proofs: &'c Proofs,
    pub(super) known: &'c mut Known,
    pub(super) outcome: &'c mut Outcome,
    pub(super) sorted: &'c mut Sorted,
    pub(super) this: &'c mut Run,
    /// What the folder held before, if somebody doubted it.
    pub(super) holds: BTreeSet<MessageRef>,
    /// What is at the destination and no longer listed under the name that it has there.
    pub(super) orphans: Option<Arc<Orphans>>,
    pub(super) copies: Copies,
    pub(super) moving: Option<&'c mut Moving>,
    pub(super) at_server: AtServer,
    pub(super) budget: Option<Budget>,
    /// Messages that the destination refused for now, and what was said first.
    pub(super) hindered: (u64, Option<Failure>),
}

impl Carrier<'_> {
    /// `Ok(Some)`: the source broke off; what came before is safe. `Err`: our own side failed.
    pub(super) async fn bring(
        &mut self,
        session: &mut Session,
        landing: &Landing,
        origin: Origin,
        wanted: &[Message],
    ) -> Result<Option<Failure>, Failure> {
        let mut names: Names =
            wanted.iter().filter_map(|m| Some((m.id?, (m.wanted(), m.shown.clone())))).collect();
        let mut waiting = None;
        let (mut broken, mut enough) = (None, false);
        let odd = |message: &Message| odd::is_last(&self.outcome.record.odd, slot_of(message));
        let (usual, last) = wanted.split_at(wanted.partition_point(|message| !odd(message)));
        let hurried = batches(usual).len();
        for (n, batch) in batches(usual).into_iter().chain(batches(last)).enumerate() {
            if n == hurried {
                session.hurry();
            }
            let granted = match &self.budget {
                Some(budget) => budget.take(batch.iter().map(|m| m.size.unwrap_or(0))),
                None => batch.len(),
            };
            enough = granted < batch.len();
            let batch = batch.get(..granted).unwrap_or(batch);
            if batch.is_empty() {
                break;
            }
            let asked: Vec<Wanted> = batch.iter().map(Message::wanted).collect();
            let Retrieval { done, broken: ended } =
                session.retrieve(&asked, self.at.work.limit, landing.orders()).await;
            self.this.given += done.values().filter(|one| matches!(one, Retrieved::Whole { .. })).count();
            for message in batch {
                if let Some(retrieved) = done.get(&message.number) {
                    self.came(message, retrieved, landing, origin, &mut names).await?;
                }
            }
            if let Some(ended) = ended {
                if ended.failure.kind == Kind::Destination {
                    return Err(landing.failure().await);
                }
                self.blame(batch, &ended, wanted.len());
                // The next session leaves out what went on and on.
                self.this.learned |= done.values().any(|one| matches!(one, Retrieved::TooLarge { .. }));
                broken = Some(ended.failure);
            }
            let answer = landing.commit().await?;
            if let Some(earlier) = waiting.replace(answer) {
                let receipts = landing.settled(earlier).await?;
                self.receive(receipts, &names).await?;
            }
            if broken.is_some() || enough {
                break;
            }
        }
        if let Some(last) = waiting {
            let receipts = landing.settled(last).await?;
            self.receive(receipts, &names).await?;
        }
        // Only now is it known how much was used, and so, how long it takes.
        Ok(broken.or_else(|| self.budget.as_ref().filter(|_| enough).map(Budget::enough)))
    }

    /// The session ended over a message: the next one asks for it after all others, or otherwise. Only where the server gave others
    /// is it known to be the message.
    fn blame(&mut self, batch: &[Message], ended: &Ended, wanted: usize) {
        if ended.one_of_many && !self.this.one_by_one {
            (self.this.one_by_one, self.this.learned) = (true, true);
            if ended.failure.kind == Kind::Stalled {
                return;
            }
        }
        let Some(message) = batch.iter().find(|message| Some(message.number) == ended.over) else { return };
        let record = &mut self.outcome.record;
        let what = if ended.failure.broke() {
            "each session broke off when it was asked for"
        } else {
            "the server puts it off each time"
        };
        odd::remember(&mut record.odd_words, slot_of(message), format!("{what}: {}", ended.failure.words));
        let odd = &mut record.odd;
        if ended.failure.broke() {
            let slot = slot_of(message);
            if self.this.given > 0 {
                odd::broke(odd, slot, ended.alone);
            } else {
                let only = wanted == 1 && !std::mem::replace(&mut self.this.struck, true);
                if !odd::broke_first(odd, slot, only) {
                    odd::put_last(odd, slot);
                }
            }
            self.this.learned = true;
        } else if ended.failure.asks_for_less() {
            odd::put_off(odd, slot_of(message));
            self.this.learned = true;
        }
    }

    /// What became of one message.
    async fn came(
        &mut self,
        message: &Message,
        retrieved: &Retrieved,
        landing: &Landing,
        origin: Origin,
        names: &mut Names,
    ) -> Result<(), Failure> {
        let (octets, digest, head, odd) = match retrieved {
            Retrieved::Whole { octets, digest, head, odd } => (*octets, *digest, *head, *odd),
            Retrieved::Refused(words) => {
                self.outcome.ledger.failed += 1;
                self.except(message, message.size, format!("the server does not give it: {words}"));
                return Ok(());
            }
            Retrieved::TooLarge { octets } => {
                self.outcome.ledger.skipped += 1;
                let reason = too_large_for(self.at.work.limit.unwrap_or(0));
                self.except(message, Some(*octets), reason);
                return Ok(());
            }
        };
        odd::forget(&mut self.outcome.record, slot_of(message));
        let id = match message.id {
            Some(id) if self.is_the_same(landing, message, id, head).await? => return Ok(()),
            Some(id) if self.is_deleted_one(landing, message, id, digest).await? => return Ok(()),
            Some(id) => id,
            None => {
                let id = self.copies.identity(digest);
                if self.is_here(landing, message, id).await? {
                    return Ok(());
                }
                let key = key_of(Some(id), "", message.number);
                if let Some(record) = self.known.earlier.get(&key).filter(|record| record.for_good) {
                    landing.discard(message.number.into()).await?;
                    self.outcome.ledger.skipped += 1;
                    self.sorted.skipped.insert(key, record.clone());
                    return Ok(());
                }
                names.insert(id, (message.wanted(), message.shown.clone()));
                id
            }
        };
        self.sorted.digests.insert(id, digest);
        self.sorted.facts.insert(id, Fact::new(message.size, head));
        if odd {
            self.this.odd += 1;
            self.known.marks.kept.insert(id);
            let listed = message.size.unwrap_or(0);
            let reason = format!(
                "imported with {octets} bytes, and again with as many, though the server lists {listed}: it is never deleted at \
                 the source"
            );
            let folder = FolderPath(self.at.work.mailbox.clone()).to_string();
            let shown = message.shown.clone();
            let record = SkippedRecord { folder, id: shown, size: Some(listed), reason, for_good: false };
            self.sorted.skipped.insert(key_of(Some(id), "", 0), record);
        }
        let mut flags = Flags { recent: true, ..Flags::default() };
        flags.keywords.extend(self.at.work.icon.as_ref().map(|icon| format!("icon-{icon}")));
        landing
            .place(Placement {
                piece: message.number.into(),
                origin,
                message: MessageRef::Pop3(id),
                announced: message.size,
                flags,
                received: None,
            })
            .await
    }

    /// A message that had to be fetched to be known, and was known: it is dropped.
    async fn is_here(&mut self, landing: &Landing, message: &Message, id: u128) -> Result<bool, Failure> {
        let held = self.holds.contains(&MessageRef::Pop3(id));
        let recorded = self.known.ids.contains(&id);
        if !held && !recorded {
            return Ok(false);
        }
        landing.discard(message.number.into()).await?;
        if let Some(orphans) = &self.orphans {
            orphans.except(MessageRef::Pop3(id));
        }
        if held && !recorded {
            self.landed(&[id], &[]).await?;
        }
        match self.moving {
            Some(_) if held && !recorded => self.outcome.ledger.imported += 1,
            None if self.this.imported.contains(&id) => self.outcome.ledger.imported += 1,
            _ => self.outcome.ledger.already_there += 1,
        }
        self.sorted.here.push((message.wanted(), id));
        Ok(true)
    }

    /// A message that has the name of one that is here: the same, or another?
    async fn is_the_same(
        &mut self,
        landing: &Landing,
        message: &Message,
        id: u128,
        head: u32,
    ) -> Result<bool, Failure> {
        let doubted = self.sorted.doubted.contains(&id);
        if !doubted && self.sorted.contents.is_empty() {
            return Ok(false);
        }
        let (marks, now) = (&mut self.known.marks, Fact::new(message.size, head));
        // Where names follow numbers, it is one that is here and had another name.
        let same = marks.fact(id).is_some_and(|fact| fact.head == head)
            || self.sorted.contents.contains(&now.content());
        if !same {
            if doubted {
                marks.forget(id);
                self.known.ids.remove(&id);
            }
            return Ok(false);
        }
        marks.learn(id, now);
        if !self.known.ids.contains(&id) {
            self.landed(&[id], &[]).await?;
        }
        landing.discard(message.number.into()).await?;
        self.outcome.ledger.already_there += 1;
        self.sorted.here.push((message.wanted(), id));
        Ok(true)
    }

    /// A message that has the name of one that was deleted: the same, which is listed still, or another?
    async fn is_deleted_one(
        &mut self,
        landing: &Landing,
        message: &Message,
        id: u128,
        digest: u128,
    ) -> Result<bool, Failure> {
        let marks = &mut self.known.marks;
        if !marks.is_doubtful(id) {
            return Ok(false);
        }
        if !marks.bodies.contains(&body(id, digest)) {
            marks.forget(id);
            self.known.ids.remove(&id);
            return Ok(false);
        }
        marks.lingering.insert(id);
        landing.discard(message.number.into()).await?;
        self.outcome.ledger.already_there += 1;
        self.sorted.here.push((message.wanted(), id));
        Ok(true)
    }

    fn except(&mut self, message: &Message, size: Option<u64>, reason: String) {
        let folder = FolderPath(self.at.work.mailbox.clone()).to_string();
        let record = SkippedRecord { folder, id: message.shown.clone(), size, reason, for_good: false };
        self.sorted.skipped.insert(key_of(message.id, &message.shown, message.number), record);
    }

    async fn receive(&mut self, receipts: Vec<Receipt>, names: &Names) -> Result<(), Failure> {
        let (receipts, full) = Receipt::until_full(receipts);
        let (refused, receipts): (Vec<_>, Vec<_>) = receipts.into_iter().partition(|r| r.refused.is_some());
        for receipt in refused {
            let MessageRef::Pop3(id) = receipt.message else { continue };
            self.at.meter.hear(&receipt);
            match receipt.is_left_out() {
                true => self.outcome.ledger.skipped += 1,
                false => {
                    self.outcome.ledger.failed += 1;
                    if !receipt.for_good {
                        self.hindered.0 += 1;
                        self.hindered.1.get_or_insert_with(|| hindrance(&receipt));
                    }
                }
            }
            let Some((_, shown)) = names.get(&id) else { continue };
            let record = SkippedRecord {
                folder: FolderPath(self.at.work.mailbox.clone()).to_string(),
                id: shown.clone(),
                size: Some(receipt.octets),
                reason: not_taken(&self.at.account.name, &receipt),
                for_good: receipt.for_good,
            };
            self.known.marks.kept.remove(&id);
            self.sorted.skipped.insert(key_of(Some(id), "", 0), record);
        }
        receipts.iter().for_each(|receipt| self.at.meter.hear(receipt));
        let ids: Vec<u128> = receipts.iter().filter_map(|receipt| id_of(receipt.message)).collect();
        self.landed(&ids, &receipts).await?;
        let imported = ids.iter().filter_map(|id| names.get(id).map(|(wanted, _)| (wanted.clone(), *id)));
        self.sorted.here.extend(imported);
        full.map_or(Ok(()), Err)
    }

    /// They are durable: record it.
    pub(super) async fn landed(&mut self, ids: &[u128], receipts: &[Receipt]) -> Result<(), Failure> {
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
        let name = self.at.account.name.as_str();
        self.known.chunks = changes.more_identities(name, ids, self.known.chunks);
        let facts = ids.iter().filter_map(|id| Some((*id, *self.sorted.facts.get(id)?))).collect::<Vec<_>>();
        self.known.learn(name, &facts, &mut changes);
        let mut placed = false;
        for receipt in receipts {
            placed |= self.at_server.landed(receipt);
        }
        if placed {
            self.at_server.save(name, FOLDER, &mut changes);
        }
        if let Some(budget) = &self.budget {
            let all = receipts.iter().map(|receipt| receipt.octets).sum();
            budget.spend(all, all, &mut changes);
        }
        if let Some(moving) = &mut self.moving {
            if adopted > 0 {
                self.outcome.record.adopted += adopted;
                changes.source(name, &self.outcome.record);
            }
            moving.done += octets;
            moving.tell(&self.outcome.ledger, Some(&mut changes));
        }
        self.at.means.journal.commit(changes).await?;
        self.known.ids.extend(ids);
        let fresh = receipts.iter().filter(|receipt| !receipt.adopted);
        self.this.imported.extend(fresh.filter_map(|receipt| id_of(receipt.message)));
        self.outcome.bytes += octets;
        self.at.meter.add(count, octets);
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

fn id_of(message: MessageRef) -> Option<u128> {
    match message {
        MessageRef::Pop3(id) => Some(id),
        MessageRef::Imap { .. } => None,
    }
}
