//! One folder of a migration: list, see what is here, fetch the rest, record what landed. The journal knows
//! of the folder before its first message becomes visible, so a crash leaves a question and never a guess.
//! It refuses to call a folder done while its numbers do not add up.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::at_server::{AtServer, beside, special_use};
use super::board::{Board, Part};
use super::budget::Budget;
use super::cares::Cares;
use super::carry::Looked;
use super::closing::ready;
use super::exceptions::too_large_for;
use super::gmail::Map;
use super::measured::Measured;
use super::meter::Meter;
use super::poll::sorting;
use super::proof::Proofs;
use super::recall::{hindrance, not_taken};
use super::settle::Arrivals;
use super::strays::Found;
use super::tally::{FolderNumbers, Tally};
use super::unsettled::unsettled;
use crate::account::{Member, Poll};
use crate::destination::Home;
use crate::destination::landing::{Landing, Opening, Order, Placement, Receipt};
use crate::destination::maildir::Origin;
use crate::failure::{Failure, Kind};
use crate::imap::{Care, Event, Fetch, Left, Session};
use crate::journal::{Changes, FolderRecord, FolderState, Journal, Side, SkippedRecord};
use crate::message::{MessageRef, UidSet};
use crate::migration::Ledger;

/// A batch is committed at so many messages, so many octets, or after so long.
pub(super) const BATCH: usize = 512;
const BATCH_OCTETS: u64 = 32 * 1024 * 1024;
const BATCH_TIME: Duration = Duration::from_secs(2);

/// Messages of a folder that did not come are listed one by one up to this number.
const MOST_LISTED: usize = 10_000;

/// What a folder's work needs besides its session.
pub(super) struct FolderWork<'w> {
    pub(super) journal: &'w Journal,
    pub(super) account: &'w str,
    /// See [`crate::account::Account::era`].
    pub(super) era: u64,
    pub(super) member: &'w Member,
    pub(super) landing: &'w Landing,
    pub(super) home: &'w Home,
    pub(super) meter: &'w Meter,
    pub(super) tally: &'w Arc<Tally>,
    /// The run: its beginning.
    pub(super) run: i64,
    pub(super) board: &'w Board,
    pub(super) cares: &'w Cares,
    /// It is polled, and not migrated.
    pub(super) poll: Option<&'w Poll>,
    /// Which messages of the folders are the same, at Gmail.
    pub(super) gmail: Option<&'w Map>,
    /// What may still be fetched today.
    pub(super) budget: Option<&'w Budget>,
    pub(super) proofs: &'w Proofs,
    /// Of a poll that deletes at the source: what came just now, by folder.
    pub(super) came: &'w Arrivals,
    /// What is larger is left out; octets.
    pub(super) limit: Option<u64>,
}

/// How much of a folder is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Listing {
    /// All of it.
    Whole,
    /// What came since, for a folder of which nothing has gone.
    Since {
        /// From this UID on.
        uidnext: u32,
        /// Messages that did not come before.
        again: UidSet,
    },
}

/// What became of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Brought {
    /// Everything that can be brought has been.
    Done,
    /// Messages were listed that are not there: the list is looked at once more.
    Again,
    /// It has new mail, and the other folders have to be listed first.
    Later,
    /// The destination neither opens nor makes the folder: in its words; and what that means for the messages.
    NoPlace(String, Ledger),
    /// The connection did not survive it; whether it is known now over which message, so that another one may go on.
    Broke(Failure, bool),
}

/// The state of a folder while it is being brought.
pub(super) struct Progress {
    pub(super) key: u64,
    pub(super) origin: Origin,
    pub(super) uidvalidity: u32,
    pub(super) record: FolderRecord,
    pub(super) done: UidSet,
    /// Of those, what was here under other names.
    pub(super) adopted: UidSet,
    /// The journal does not know that set yet.
    pub(super) adopted_new: bool,
    pub(super) bytes_done: u64,
    pub(super) sizes: BTreeMap<u32, u32>,
    pub(super) changes: Changes,
    pub(super) waiting: VecDeque<oneshot::Receiver<Vec<Receipt>>>,
    pub(super) lost_keywords: u64,
    /// Messages that the destination stored with other octets.
    pub(super) altered: u64,
    /// Messages that have another date at the destination.
    pub(super) redated: u64,
    /// Flags at the source, of a migration.
    pub(super) looked: Looked,
    /// Messages that may be here twice.
    pub(super) twice: u64,
    /// What came just now.
    pub(super) fresh: UidSet,
    /// Messages whose flags are not to be had: why.
    pub(super) bare: BTreeMap<u32, String>,
    pub(super) measured: Measured,
    /// What lands now was copied here, and not fetched.
    pub(super) copying: bool,
    there: AtServer,
    /// The journal does not know those sets yet.
    there_new: bool,
}

impl FolderWork<'_> {
    /// Brings a folder home.
    ///
    /// # Errors
    /// [`Kind::Folder`] for this folder alone; anything else ends the connection's work. What landed before is
    /// recorded.
    pub(super) async fn bring(&self, session: &mut Session<Order>, part: &Part) -> Result<Brought, Failure> {
        let folder = &part.folder;
        // An earlier go of this run may have brought some of it.
        let earlier =
            self.journal.folder(self.account, Origin::imap(self.account, &folder.wire, self.era).folder)?;
        let record = match earlier.filter(|record| record.run == self.run) {
            Some(record) => FolderRecord { note: part.record.note.clone(), ..record },
            None => part.record.clone(),
        };
        let origin = Origin::imap(self.account, &folder.wire, self.era);
        let key = origin.folder;
        let mut care = self.care(key)?;
        session.hurry(care.was_silent_at_first());
        let (examined, since, mut listed) = match part.list(session, record.uidvalidity, &mut care).await {
            Err(failure) if failure.broke() => return self.broke(key, care, (None, failure)).await,
            listed => listed?,
        };
        if let Some(map) = self.gmail {
            listed.messages.retain(|(uid, _)| map.shows(key, *uid));
        }
        let mut done = self.journal.uids(self.account, key, Side::Done)?;
        let mut adopted = self.journal.uids(self.account, key, Side::Adopted)?;
        let known = record.uidvalidity == examined.uidvalidity;
        let only_new = !known && matches!(part.listing, Listing::Since { .. });
        self.board.is_as_listed(key, examined.uidvalidity, !only_new)?;
        if !known {
            // Other UIDs than before: what the old ones say does not count.
            (done, adopted) = (UidSet::new(), UidSet::new());
        }
        let measured = self.measured((key, examined), &listed, &mut done)?;
        let mut there = self.there(key)?;
        let there_new = !known && there.loosen();
        let unsure = record.open || !known || there.is_loose();
        let mut progress = Progress {
            key,
            origin,
            uidvalidity: examined.uidvalidity,
            record: FolderRecord {
                uidvalidity: examined.uidvalidity,
                run: self.run,
                state: FolderState::Running,
                ledger: Ledger::default(),
                // Numbered anew, its modification sequence begins anew, too.
                modseq: if known { record.modseq } else { 0 },
                bytes_total: listed.messages.iter().map(|(_, size)| u64::from(*size)).sum(),
                ..record
            },
            done,
            adopted,
            adopted_new: !known,
            bytes_done: 0,
            sizes: listed.messages.iter().copied().collect(),
            changes: Changes::default(),
            waiting: VecDeque::new(),
            lost_keywords: 0,
            altered: 0,
            redated: 0,
            there,
            there_new,
            looked: match self.poll {
                None => Looked::read(self.journal, self.account, key, known)?,
                Some(_) => Looked::default(),
            },
            twice: 0,
            fresh: UidSet::new(),
            bare: BTreeMap::new(),
            measured,
            copying: false,
        };
        let seen = listed.messages.len() as u64 + u64::from(listed.unlisted);
        progress.record.ledger.seen = seen;

        let uids = listed.messages.iter().map(|(uid, _)| *uid).collect();
        let size_of = |(uid, size): &(u32, u32)| {
            (MessageRef::Imap { uidvalidity: examined.uidvalidity, uid: *uid }, u64::from(*size))
        };
        let adopted: Vec<(MessageRef, u64)> =
            listed.messages.iter().filter(|(uid, _)| progress.adopted.contains(*uid)).map(size_of).collect();
        if since.is_none() {
            // Numbered anew, each may be one of those that are here.
            let renumbered = !known && part.record.uidvalidity != 0;
            let here = listed.messages.iter().filter(|(uid, _)| renumbered || progress.done.contains(*uid));
            self.board.listed(
                key,
                (examined.uidvalidity, known, uids),
                adopted.iter().map(|(_, size)| *size),
                here.map(|(_, size)| u64::from(*size)),
            );
        }
        let Found { orphans, strays } = self.board.found();
        let mark = origin.account;
        let mut unsettled =
            unsettled(self.journal, &self.member.to_string(), mark, &progress.record.directory)?;
        unsettled.deleted = self.poll.is_some_and(|poll| !poll.keep_original);

        let missing = listed.messages.iter().any(|(uid, _)| !progress.done.contains(*uid));
        let look = (unsure && missing).then_some(adopted);
        let (mut there, special) = (progress.there.known(&progress.record.standing()), special_use(folder));
        if self.poll.is_some() {
            beside(self.journal, self.account, (key, &progress.record.directory), &mut there)?;
        }
        let sorting = self.poll.and_then(sorting);
        let usual = Opening::new(&progress.record.directory, origin);
        let shared = self.gmail.map(|map| map.shared(key)).unwrap_or_default();
        let opening = Opening {
            look,
            unsettled,
            orphans,
            strays,
            there,
            special,
            shared,
            sorting,
            subscribe: self.poll.is_some(),
            ..usual
        };
        let opened = match self.landing.open(opening).await {
            Err(refused) if refused.kind == Kind::Folder => {
                let here =
                    listed.messages.iter().filter(|(uid, _)| progress.done.contains(*uid)).count() as u64;
                let ledger = Ledger { seen, already_there: here, failed: seen - here, ..Ledger::default() };
                return Ok(Brought::NoPlace(refused.words, ledger));
            }
            opened => opened?,
        };
        if let Some(now) = opened.there {
            let mut standing = progress.record.standing();
            progress.there_new |= progress.there.opened(&mut standing, now);
            progress.record.stand(standing);
        }
        if missing {
            progress.record.letters.get_or_insert(opened.letters);
        }
        if unsure {
            let here = opened.holds.iter().filter_map(|held| match held {
                MessageRef::Imap { uidvalidity, uid } if *uidvalidity == examined.uidvalidity => Some(*uid),
                _ => None,
            });
            for uid in here.filter(|uid| !progress.measured.is_reused(*uid)) {
                progress.done.insert(uid);
            }
        }
        let refused = if known { self.refused(key)? } else { BTreeMap::new() };
        let (too_large, todo): (Vec<_>, Vec<_>) = listed
            .messages
            .iter()
            .copied()
            .filter(|(uid, _)| !progress.done.contains(*uid) && !refused.contains_key(uid))
            .partition(|(_, size)| self.limit.is_some_and(|limit| u64::from(*size) > limit));
        if !todo.is_empty() && self.board.is_surveying() {
            return Ok(Brought::Later);
        }
        // What earlier tries of this run brought was brought by this run.
        let same = progress.record.before == examined.uidvalidity;
        let before = match self.poll {
            // A poll begins anew each time.
            Some(_) => progress.done.clone(),
            None if same => self.journal.uids(self.account, key, Side::Before)?,
            None => UidSet::new(),
        };
        self.clear_skipped(&mut progress, since.map(|(_, again)| again))?;
        for (uid, _) in &listed.messages {
            if let Some(record) = refused.get(uid).filter(|_| !progress.done.contains(*uid)) {
                progress.record.ledger.skipped += 1;
                progress.changes.skipped(self.account, key, &uid.to_string(), record);
            }
        }
        for (uid, size) in too_large {
            progress.record.ledger.skipped += 1;
            let reason = too_large_for(self.limit.unwrap_or_default());
            self.except(&mut progress, &uid.to_string(), Some(size.into()), reason);
        }
        if self.poll.is_some() {
            self.meter.expect(todo.len() as u64);
            let all_read = listed.unread.is_none() && listed.unlisted == 0;
            progress.record.uidnext = examined.uidnext.filter(|_| all_read).unwrap_or(0);
            progress.record.exists = u64::from(examined.exists);
            progress.record.settled = false;
        }
        for (uid, size) in &listed.messages {
            if progress.done.contains(*uid) {
                progress.bytes_done += u64::from(*size);
                if before.contains(*uid) || progress.adopted.contains(*uid) {
                    progress.record.ledger.already_there += 1;
                } else {
                    progress.record.ledger.imported += 1;
                }
            }
        }
        if listed.unlisted > 0 {
            progress.record.ledger.failed += u64::from(listed.unlisted);
            let mut reason =
                format!("the server counts {} messages more in this folder than it lists", listed.unlisted);
            if let Some(line) = &listed.unread {
                reason.push_str(&format!("; this of it cannot be read: '{line}'"));
            }
            self.except(&mut progress, "unlisted", None, reason);
        } else {
            progress.changes.not_skipped(self.account, key, "unlisted");
        }
        progress.changes.not_skipped(self.account, key, "folder");
        self.tell(&progress, false);

        let home = |uid| self.gmail.and_then(|map| map.home(key, uid));
        let (copies, mut todo): (Vec<_>, Vec<_>) =
            todo.into_iter().partition(|(uid, _)| home(*uid).is_some());
        let later = !copies.is_empty() && self.board.is_gathering();
        if later && todo.is_empty() {
            return Ok(Brought::Later);
        }
        if !copies.is_empty() && !later {
            let homes = copies.iter().filter_map(|(uid, _)| Some((*uid, home(*uid)?))).collect();
            let left = self.copy(session, &mut progress, examined, homes).await?;
            todo.extend(copies.into_iter().filter(|(uid, _)| left.contains(*uid)));
            todo.sort_unstable();
        }
        if todo.is_empty() {
            return self.end(session, &mut progress, examined, care).await;
        }
        let granted = match self.budget {
            Some(budget) => budget.take(todo.iter().map(|(_, size)| u64::from(*size))),
            None => todo.len(),
        };
        let spent = self.budget.filter(|_| granted < todo.len());
        todo.truncate(granted);
        progress.record.open = true;
        self.save(&mut progress).await?;
        let before = progress.done.len();
        let fetched = self.fetch(session, &mut progress, &todo, &mut care).await;
        // Whatever happened, what was committed is recorded.
        while let Some(answer) = progress.waiting.pop_front() {
            let receipts = self.landing.settled(answer).await?;
            self.receive(&mut progress, receipts).await?;
        }
        if let Err(failure) = fetched {
            let brought = usize::try_from(progress.done.len() - before).unwrap_or(usize::MAX);
            return self.broke(key, care, (Some(brought), failure)).await;
        }
        self.keep_care(key, care.clone(), true).await?;
        if progress.record.ledger.vanished > 0 && !part.again {
            // They went, or the list was wrong: then it has left out others.
            return Ok(Brought::Again);
        }
        if let Some(budget) = spent {
            return Err(budget.enough());
        }
        if later {
            return Ok(Brought::Later);
        }
        self.end(session, &mut progress, examined, care).await
    }

    async fn fetch(
        &self,
        session: &mut Session<Order>,
        progress: &mut Progress,
        todo: &[(u32, u32)],
        care: &mut Care,
    ) -> Result<(), Failure> {
        let mut fetch = Fetch::start(session, todo, self.landing.orders().clone(), care);
        let (mut count, mut octets, mut since) = (0usize, 0u64, Instant::now());
        let result = loop {
            let event = match fetch.next().await {
                Ok(Some(event)) => event,
                Ok(None) => break Ok(()),
                Err(failure) => break Err(failure),
            };
            match event {
                Event::Stray(piece) => self.landing.discard(piece).await?,
                Event::Message(mut message) => {
                    if let Some(poll) = self.poll {
                        // New mail is new here, too, unless somebody has read it there.
                        message.flags.recent |= !message.flags.seen;
                        message.flags.keywords.extend(poll.icon.as_ref().map(|icon| format!("icon-{icon}")));
                    }
                    progress.lost_keywords += u64::from(message.flags_left);
                    progress.bare.extend(message.bare.take().map(|words| (message.uid, words)));
                    if self.poll.is_none() {
                        progress.looked.look(message.uid, &message.flags);
                        progress.fresh.insert(message.uid);
                    }
                    // 0 may stand for a size that the server does not tell.
                    let size = progress.sizes.get(&message.uid).copied().filter(|size| *size > 0);
                    if let Some(length) = self.beyond_limit(size, &message) {
                        self.landing.discard(message.piece).await?;
                        progress.record.ledger.skipped += 1;
                        let reason = too_large_for(self.limit.unwrap_or_default());
                        self.except(progress, &message.uid.to_string(), Some(length), reason);
                        continue;
                    }
                    if self.measure(progress, &message, size) {
                        self.landing.discard(message.piece).await?;
                        continue;
                    }
                    octets += u64::from(size.unwrap_or(0));
                    if self.poll.is_some_and(|poll| !poll.keep_original) {
                        self.came.add(progress.key, message.uid, size, message.look);
                    }
                    count += 1;
                    self.landing
                        .place(Placement {
                            piece: message.piece,
                            origin: progress.origin,
                            message: MessageRef::Imap { uidvalidity: progress.uidvalidity, uid: message.uid },
                            announced: size.map(u64::from),
                            flags: message.flags,
                            received: message.received,
                        })
                        .await?;
                }
            }
            if count >= BATCH || octets >= BATCH_OCTETS || since.elapsed() >= BATCH_TIME {
                progress.waiting.push_back(self.landing.commit().await?);
                (count, octets, since) = (0, 0, Instant::now());
            }
            while let Some(receipts) = ready(&mut progress.waiting)? {
                match receipts {
                    Some(receipts) => self.receive(progress, receipts).await?,
                    None => return Err(self.landing.failure().await),
                }
            }
        };
        if let Err(failure) = result {
            // The source broke off; what came whole is worth keeping.
            if failure.kind == Kind::Destination {
                return Err(self.landing.failure().await);
            }
            progress.waiting.push_back(self.landing.commit().await?);
            return Err(failure);
        }
        progress.waiting.push_back(self.landing.commit().await?);
        let mut more = 0u64;
        for (listed, (uid, left)) in fetch.left().into_iter().enumerate() {
            let reason = match left {
                Left::Vanished => {
                    progress.record.ledger.vanished += 1;
                    "it was gone from the source when it was asked for".to_owned()
                }
                Left::Refused(reason) => {
                    progress.record.ledger.failed += 1;
                    reason
                }
            };
            if listed < MOST_LISTED {
                let size = progress.sizes.get(&uid).copied().map(u64::from);
                self.except(progress, &uid.to_string(), size, reason);
            } else {
                more += 1;
            }
        }
        if more > 0 {
            // A server may list more than a journal should hold.
            let reason = format!("{more} messages more in this folder did not come; the numbers count them");
            self.except(progress, "more", None, reason);
        } else {
            progress.changes.not_skipped(self.account, progress.key, "more");
        }
        Ok(())
    }

    fn there(&self, key: u64) -> Result<AtServer, Failure> {
        AtServer::read(self.journal, self.account, key)
    }

    pub(super) async fn receive(
        &self,
        progress: &mut Progress,
        receipts: Vec<Receipt>,
    ) -> Result<(), Failure> {
        let (receipts, full) = Receipt::until_full(receipts);
        let (mut octets, mut announced) = (0, 0);
        self.tally.landed(receipts.iter().filter(|r| !r.adopted && r.refused.is_none()).count() as u64);
        for receipt in &receipts {
            self.meter.hear(receipt);
            progress.twice += u64::from(receipt.twice);
            if let (MessageRef::Imap { uid, .. }, Some(_)) = (receipt.message, &receipt.refused) {
                match receipt.is_left_out() {
                    true => progress.record.ledger.skipped += 1,
                    false => {
                        progress.record.ledger.failed += 1;
                        if !receipt.for_good {
                            self.tally.hindered(1, hindrance(receipt));
                        }
                        if receipt.later {
                            self.tally.unproven(progress.key, hindrance(receipt));
                        }
                    }
                }
                let record = SkippedRecord {
                    folder: progress.record.name.clone(),
                    id: uid.to_string(),
                    size: Some(receipt.octets),
                    reason: not_taken(self.account, receipt),
                    for_good: receipt.for_good,
                };
                progress.changes.skipped(self.account, progress.key, &uid.to_string(), &record);
                continue;
            }
            progress.there_new |= progress.there.landed(receipt);
            if let MessageRef::Imap { uid, .. } = receipt.message {
                progress.done.insert(uid);
                progress.measured.landed(uid, progress.sizes.get(&uid).copied());
                if receipt.adopted {
                    progress.adopted_new |= progress.adopted.insert(uid);
                }
                announced += u64::from(progress.sizes.get(&uid).copied().unwrap_or(0));
                progress.changes.not_skipped(self.account, progress.key, &uid.to_string());
                self.flags_refused(progress, uid, receipt);
            }
            octets += if receipt.adopted { 0 } else { receipt.octets };
            progress.lost_keywords += u64::from(!receipt.keywords_left.is_empty());
            progress.altered += u64::from(receipt.altered);
            progress.redated += u64::from(receipt.redated);
        }
        self.proofs.add(progress.key, &receipts);
        let adopted = receipts.iter().filter(|r| r.adopted).count() as u64;
        let count = receipts.iter().filter(|r| !r.adopted && r.refused.is_none()).count() as u64;
        progress.record.ledger.imported += count;
        progress.record.ledger.already_there += adopted;
        if let Some(budget) = self.budget.filter(|_| !progress.copying) {
            let octets = receipts.iter().map(|receipt| receipt.octets).sum();
            budget.spend(octets, announced, &mut progress.changes);
        }
        self.save(progress).await?;
        progress.bytes_done += announced;
        self.tell(progress, false);
        self.meter.add(count, octets);
        full.map_or(Ok(()), Err)
    }

    pub(super) fn tell(&self, progress: &Progress, done: bool) {
        let numbers = FolderNumbers {
            ledger: progress.record.ledger,
            bytes_total: progress.record.bytes_total,
            bytes_done: progress.bytes_done,
            done,
        };
        self.tally.set(progress.key, numbers);
    }

    pub(super) async fn save(&self, progress: &mut Progress) -> Result<(), Failure> {
        let mut changes = std::mem::take(&mut progress.changes);
        changes.folder(self.account, progress.key, &progress.record);
        changes.uids(self.account, progress.key, Side::Done, &progress.done);
        let at = (self.account, progress.key, progress.uidvalidity);
        changes.measures(self.journal, at, &progress.measured.take(), &UidSet::new())?;
        if std::mem::take(&mut progress.adopted_new) {
            changes.uids(self.account, progress.key, Side::Adopted, &progress.adopted);
        }
        if std::mem::take(&mut progress.there_new) {
            progress.there.save(self.account, progress.key, &mut changes);
        }
        self.journal.commit(changes).await
    }
}
