//! What lies in the maildrop, and what is to be done about each message. It refuses to take a message for a known one by a name
//! that says nothing.

use std::collections::{BTreeMap, BTreeSet};

use super::{Errand, Run};
use crate::engine::exceptions::too_large_for;
use crate::engine::identity::{hash, identify, slot, wanted};
use crate::engine::listed::{Message, Verdict, judge, key_of, shown};
use crate::engine::odd;
use crate::engine::poll::Outcome;
use crate::failure::{Failure, Kind};
use crate::journal::{Changes, IdMark, Journal, SkippedRecord, SourceRecord};
use crate::message::{FolderPath, MessageRef};
use crate::pop3::{Listed, Maildrop, Session, Wanted};

/// What the journal has of the account, and what changes.
#[derive(Default)]
pub(super) struct Known {
    /// Identities of what is at the destination.
    pub(super) ids: BTreeSet<u128>,
    pub(super) chunks: usize,
    /// Of those, what is known besides.
    pub(super) marks: Marks,
    /// What earlier runs did not import, by key.
    pub(super) earlier: BTreeMap<String, SkippedRecord>,
    /// The marks as the journal has them, and in how many chunks they lie there.
    pub(super) stored: (Marks, [usize; IdMark::ALL.len()]),
}

/// Some of the known identities.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Marks {
    /// The server said that it deleted them.
    pub(super) deleted: BTreeSet<u128>,
    /// What they were, by [`body`].
    pub(super) bodies: BTreeSet<u128>,
    /// They are listed still, and are the same.
    pub(super) lingering: BTreeSet<u128>,
    /// They are never deleted at the source.
    pub(super) kept: BTreeSet<u128>,
    /// What they were when they came; see [`Fact`].
    pub(super) facts: BTreeSet<u128>,
    /// They were not in the last listing.
    pub(super) missing: BTreeSet<u128>,
    /// Nor in one of a day ago.
    pub(super) overdue: BTreeSet<u128>,
}

/// What a message was when it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fact {
    /// By LIST; 0: it was not known.
    pub(super) size: u32,
    /// See [`crate::pop3::head_of`].
    pub(super) head: u32,
}

impl Fact {
    pub(super) fn new(size: Option<u64>, head: u32) -> Fact {
        Fact { size: u32::try_from(size.unwrap_or(0)).unwrap_or(u32::MAX), head }
    }

    /// Without the identity.
    pub(super) fn content(self) -> u64 {
        (u64::from(self.size) << 32) | u64::from(self.head)
    }

    /// As it is kept, with half of the identity.
    pub(super) fn of(self, id: u128) -> u128 {
        (id >> 64 << 64) | u128::from(self.content())
    }
}

/// All that have the same first half.
fn half(id: u128) -> std::ops::RangeInclusive<u128> {
    (id >> 64 << 64)..=(id | u128::from(u64::MAX))
}

impl Marks {
    /// What is known of a message that came.
    pub(super) fn fact(&self, id: u128) -> Option<Fact> {
        let known = *self.facts.range(half(id)).next()?;
        let part = |shift: u32| u32::try_from((known >> shift) & u128::from(u32::MAX)).unwrap_or(0);
        Some(Fact { size: part(32), head: part(0) })
    }

    /// From now on this is known of it.
    pub(super) fn learn(&mut self, id: u128, fact: Fact) {
        let old: Vec<u128> = self.facts.range(half(id)).copied().collect();
        for old in &old {
            self.facts.remove(old);
        }
        self.facts.insert(fact.of(id));
    }

    fn each(&self) -> [(IdMark, &BTreeSet<u128>); IdMark::ALL.len()] {
        [
            (IdMark::Deleted, &self.deleted),
            (IdMark::Bodies, &self.bodies),
            (IdMark::Lingering, &self.lingering),
            (IdMark::Kept, &self.kept),
            (IdMark::Facts, &self.facts),
            (IdMark::Missing, &self.missing),
            (IdMark::Overdue, &self.overdue),
        ]
    }

    /// The server said that it deleted a message, whose digest was known or not.
    pub(super) fn delete(&mut self, id: u128, digest: Option<u128>) {
        self.deleted.insert(id);
        match digest {
            Some(digest) => self.bodies.insert(body(id, digest)),
            None => self.lingering.insert(id),
        };
    }

    /// Whether this was deleted, and is listed: is it another message by now?
    pub(super) fn is_doubtful(&self, id: u128) -> bool {
        self.deleted.contains(&id) && !self.lingering.contains(&id)
    }

    /// The name belongs to another message now.
    pub(super) fn forget(&mut self, id: u128) {
        for set in [&mut self.deleted, &mut self.lingering, &mut self.kept] {
            set.remove(&id);
        }
        self.facts.retain(|fact| !half(id).contains(fact));
    }
}

impl Known {
    pub(super) fn read(journal: &Journal, name: &str) -> Result<Known, Failure> {
        let (ids, chunks) = journal.identities(name)?;
        let (deleted, a) = journal.marked(name, IdMark::Deleted)?;
        let (bodies, b) = journal.marked(name, IdMark::Bodies)?;
        let (lingering, c) = journal.marked(name, IdMark::Lingering)?;
        let (kept, d) = journal.marked(name, IdMark::Kept)?;
        let (facts, e) = journal.marked(name, IdMark::Facts)?;
        let (missing, f) = journal.marked(name, IdMark::Missing)?;
        let (overdue, g) = journal.marked(name, IdMark::Overdue)?;
        let marks = Marks { deleted, bodies, lingering, kept, facts, missing, overdue };
        let stored = (marks.clone(), [a, b, c, d, e, f, g]);
        let earlier = journal.skipped(name)?.into_iter().map(|(_, key, record)| (key, record)).collect();
        Ok(Known { ids, chunks, marks, earlier, stored })
    }

    /// What is known of messages that came just now, behind what is known of others.
    pub(super) fn learn(&mut self, name: &str, facts: &[(u128, Fact)], changes: &mut Changes) {
        let more: Vec<u128> = facts.iter().map(|(id, fact)| fact.of(*id)).collect();
        let (stored, [_, _, _, _, chunks, ..]) = &mut self.stored;
        *chunks = changes.more_marked(name, IdMark::Facts, &more, *chunks);
        for (id, fact) in facts {
            self.marks.learn(*id, *fact);
            stored.facts.insert(fact.of(*id));
        }
    }

    /// Writes the marks, if they are not what the journal has. Only what is known has any.
    pub(super) fn remember_marks(&mut self, name: &str, changes: &mut Changes) {
        let marks = &mut self.marks;
        let Marks { deleted, lingering, kept, missing, overdue, .. } = marks;
        for set in [deleted, lingering, kept, missing, overdue] {
            set.retain(|id| self.ids.contains(id));
        }
        marks.facts.retain(|fact| self.ids.range(half(*fact)).next().is_some());
        // A hash does not say whose it is: they go together.
        if marks.deleted.difference(&marks.lingering).next().is_none() {
            marks.bodies.clear();
        }
        let (stored, chunks) = &self.stored;
        for (((mark, now), (_, before)), chunks) in marks.each().into_iter().zip(stored.each()).zip(chunks) {
            if now != before {
                changes.marked(name, mark, now, *chunks);
            }
        }
    }
}

/// A listing, sorted by what is to be done.
#[derive(Default)]
pub(super) struct Sorted {
    pub(super) complete: bool,
    pub(super) listed: Vec<Listed>,
    /// At the destination and at the source: how to ask for it, and its identity.
    pub(super) here: Vec<(Wanted, u128)>,
    /// At the source alone, as far as is known.
    pub(super) fresh: Vec<Message>,
    /// Not imported, and why.
    pub(super) skipped: BTreeMap<String, SkippedRecord>,
    /// What this session fetched, by identity.
    pub(super) digests: BTreeMap<u128, u128>,
    pub(super) facts: BTreeMap<u128, Fact>,
    /// Known by their names, and perhaps others by now.
    pub(super) doubted: BTreeSet<u128>,
    /// Where there are such: what all known messages were, without their names.
    pub(super) contents: BTreeSet<u64>,
    /// Sizes of what is here.
    pub(super) recorded: Vec<(MessageRef, u64)>,
}

/// Lists the maildrop and finds out which message is which.
///
/// # Errors
/// The session broke; a message over which it did is asked for otherwise from then on.
pub(super) async fn identified(
    session: &mut Session,
    era: u64,
    outcome: &mut Outcome,
    known: &mut Known,
    this: &mut Run,
) -> Result<(Maildrop, Vec<Option<u128>>), Failure> {
    let listed = match session.list().await {
        Ok(listed) => listed,
        Err(failure) => {
            // One by one it may be answered.
            let one_by_one = session.answered_one_of_many() && !this.one_by_one;
            // An answer that makes no sense may make some the next time.
            let again = failure.kind == Kind::Protocol && !std::mem::replace(&mut this.listed_again, true);
            this.one_by_one |= one_by_one;
            this.seen = session.seen();
            let again = again || one_by_one || this.seen.has_news();
            (this.listed, this.learned) = (again, again);
            return Err(failure);
        }
    };
    this.listed = true;
    let odd = &outcome.record.odd;
    let is_odd = |message: &Listed| odd::is_last(odd, slot(None, message.number, message.size));
    let found = identify(session, &listed.messages, era, outcome.record.uidls, is_odd).await;
    let found = match found {
        Ok(found) => found,
        Err((over, failure)) => {
            let message = listed.messages.iter().find(|message| message.number == over);
            if let Some(message) = message.filter(|_| failure.broke()) {
                odd::put_last(&mut outcome.record.odd, slot(None, over, message.size));
                this.learned = true;
            }
            return Err(failure);
        }
    };
    outcome.record.uidls = found.uidls;
    for (before, now) in found.renamed {
        let Known { ids, marks, .. } = &mut *known;
        if let Some(fact) = marks.fact(before).filter(|_| ids.contains(&before)) {
            marks.learn(now, fact);
        }
        for set in [ids, &mut marks.deleted, &mut marks.lingering, &mut marks.kept] {
            if set.contains(&before) {
                set.insert(now);
            }
        }
    }
    Ok((listed, found.ids))
}

/// Decides about each message, and counts it.
pub(super) fn sort(
    work: &Errand,
    maildrop: Maildrop,
    ids: Vec<Option<u128>>,
    known: &Known,
    doubted: BTreeSet<u128>,
    outcome: &mut Outcome,
    this: &Run,
) -> Sorted {
    let contents = match doubted.is_empty() {
        true => BTreeSet::new(),
        false => known
            .marks
            .facts
            .iter()
            .map(|fact| u64::try_from(fact & u128::from(u64::MAX)).unwrap_or(0))
            .collect(),
    };
    let mut sorted = Sorted { complete: maildrop.complete, doubted, contents, ..Sorted::default() };
    let folder = FolderPath(work.mailbox.clone()).to_string();
    let (record, ledger) = (&outcome.record, &mut outcome.ledger);
    ledger.seen = maildrop.messages.len() as u64;
    let none = BTreeSet::new();
    for (message, id) in maildrop.messages.iter().zip(ids) {
        let again = id.filter(|id| known.marks.is_doubtful(*id) || sorted.doubted.contains(id));
        let ids = if again.is_some() { &none } else { &known.ids };
        match judge(message, id, ids, &known.earlier, work.limit) {
            Verdict::Known(id) => {
                match this.imported.contains(&id) {
                    true => ledger.imported += 1,
                    false => ledger.already_there += 1,
                }
                let key = key_of(Some(id), "", message.number);
                if let Some(record) = known.earlier.get(&key).filter(|_| known.marks.kept.contains(&id)) {
                    sorted.skipped.insert(key, record.clone());
                }
                sorted.here.push((wanted(message), id));
                sorted.recorded.extend(message.size.map(|size| (MessageRef::Pop3(id), size)));
            }
            Verdict::New(new) => match given_up(record, &new) {
                Some(reason) => {
                    ledger.failed += 1;
                    let record = SkippedRecord {
                        folder: folder.clone(),
                        id: new.shown,
                        size: new.size,
                        reason,
                        for_good: false,
                    };
                    sorted.skipped.insert(key_of(new.id, &record.id, new.number), record);
                }
                None => sorted.fresh.push(new),
            },
            Verdict::LeftOut(key, record) => {
                ledger.skipped += 1;
                sorted.skipped.insert(key, record);
            }
            Verdict::TooLarge { size, limit } => {
                ledger.skipped += 1;
                let record = SkippedRecord {
                    folder: folder.clone(),
                    id: shown(message),
                    size: Some(size),
                    reason: too_large_for(limit),
                    for_good: false,
                };
                sorted.skipped.insert(key_of(id, &record.id, message.number), record);
            }
        }
    }
    sorted.fresh.sort_by_key(|message| odd::is_last(&record.odd, slot_of(message)));
    sorted.listed = maildrop.messages;
    sorted
}

/// What a message was that is deleted: another one may get its name (RFC 1939, 7).
pub(super) fn body(id: u128, digest: u128) -> u128 {
    hash(&[b"body", &id.to_be_bytes(), &digest.to_be_bytes()])
}

pub(super) fn slot_of(message: &Message) -> u128 {
    slot(message.id, message.number, message.size)
}

fn given_up(record: &SourceRecord, message: &Message) -> Option<String> {
    odd::given_up(record, slot_of(message))
}

/// What this run imported and the listing does not show any more counts all the same.
pub(super) fn count_gone(sorted: &Sorted, outcome: &mut Outcome, this: &Run) {
    let listed: BTreeSet<u128> = sorted.here.iter().map(|(_, id)| *id).collect();
    let gone = this.imported.difference(&listed).count() as u64;
    outcome.ledger.seen += gone;
    outcome.ledger.imported += gone;
}
