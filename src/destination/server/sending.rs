//! A batch on its way to a server: what was sent, what the server said to each message, and what it has without
//! having said so. It refuses to take a message for stored, or for lost, before the server was asked.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::carrier::{Open, lost, print};
use super::home::Server;
use super::late::Late;
use super::likeness::Likenesses;
use super::prints::forgiving;
use super::whose::{can_be_new, told};
use crate::destination::landing::{Receipt, There};
use crate::destination::spool::Waiting;
use crate::failure::{Failure, Kind};
use crate::imap::{Appended, Letter, Manner, Session, written_flags};
use crate::message::{MessageRef, Parcel, UidSet};

/// Of a message that an OK speaks of.
const NOT_THERE: &str = "the server says that it stored it, and it is not there";

/// A batch on its way.
pub(super) struct Sending {
    /// The UID that its first message may have.
    first: u32,
    /// Nothing of it can be there under a lower UID, also where UIDNEXT and UIDs that were told are not true.
    lowest: u32,
    /// What came before it.
    before: UidSet,
    /// Without an answer, and not suspected of anything.
    pub(super) waiting: Vec<Waiting>,
    /// Of those, what was sent over the last connection, in part or whole.
    sent: BTreeSet<MessageRef>,
    /// The sizes of those that may come all the same.
    late: Vec<u64>,
    /// Stored, and the server has not said under which UID.
    nameless: Vec<(usize, Waiting)>,
    pub(super) receipts: Vec<Receipt>,
    /// Something was refused, and may be there all the same.
    doubted: bool,
    /// Something of what waits was refused, and not for itself.
    pub(super) unsure: bool,
    /// Stored without some of their flags.
    pub(super) bare: BTreeSet<MessageRef>,
    /// What did not get through.
    pub(super) suspects: Vec<Suspect>,
    /// Messages that the server stored.
    pub(super) landed: u64,
    /// Of those, what did not wait for the server.
    pub(super) ahead: u64,
    /// The server fell silent over this batch: what is sent of it once more has less time.
    pub(super) silent: bool,
    /// Commands with several messages that the server took, and those that it refused.
    pub(super) groups: (u32, u32),
}

/// A message that did not get through.
pub(super) struct Suspect {
    pub(super) waiting: Waiting,
    /// Messages that the server had stored when it did not get through for the first time.
    pub(super) since: u64,
    /// The bytes of those.
    pub(super) volume: u64,
    /// Why it did not, the last time.
    pub(super) failure: Failure,
}

impl Suspect {
    /// It did not get through just now.
    pub(super) fn new(server: &Server, waiting: Waiting, failure: Failure) -> Suspect {
        Suspect { waiting, since: server.stored(), volume: server.volume(), failure }
    }
}

impl Sending {
    /// For the `open` folder; `receipts`: of what need not be sent.
    pub(super) fn new(open: &Open, waiting: Vec<Waiting>, receipts: Vec<Receipt>) -> Sending {
        Sending {
            first: open.next,
            lowest: open.highest.saturating_add(1),
            before: open.came.clone(),
            waiting,
            sent: BTreeSet::new(),
            late: Vec::new(),
            nameless: Vec::new(),
            receipts,
            doubted: false,
            unsure: false,
            bare: BTreeSet::new(),
            suspects: Vec::new(),
            landed: 0,
            ahead: 0,
            silent: false,
            groups: (0, 0),
        }
    }

    /// Sends what waits. What the server refuses in words that may speak of itself is among the suspects then.
    /// What still waits was not sent, for the server refused one after the other.
    pub(super) async fn send(
        &mut self,
        server: &Server,
        session: &mut Session<Parcel>,
        open: &mut Open,
        manner: Manner,
    ) -> Result<(), Failure> {
        let mut letters = Vec::with_capacity(self.waiting.len());
        let mut left = Vec::with_capacity(self.waiting.len());
        for Waiting { placement, body } in &self.waiting {
            let (flags, flags_left) = written_flags(&placement.flags, &open.selected.keywords);
            let received = placement.received.or(body.arrival);
            let (file, offset, octets) = (Arc::clone(&body.file), body.offset, body.octets);
            letters.push(Letter { flags, received, file, offset, octets });
            left.push(flags_left);
        }
        let last = self.receipts.iter().filter_map(|receipt| receipt.uid).max().unwrap_or(0);
        let next = self.first.max(last.saturating_add(1));
        session.hurry(self.silent);
        let appends = session.append(&open.name, &letters, manner, next).await;
        session.hurry(false);
        self.silent |= appends.ended.as_ref().is_err_and(|failure| failure.kind == Kind::Stalled);
        self.groups.0 += appends.groups_stored;
        self.groups.1 += appends.groups_refused;
        self.sent.clear();
        let sent = std::mem::take(&mut self.waiting);
        let told = appends.results.iter().filter_map(|result| told(result.as_ref()));
        let honest = can_be_new(told, (open.selected.uidvalidity, self.first), &self.known());
        for ((waiting, result), flags_left) in sent.into_iter().zip(appends.results).zip(left) {
            match result {
                None => self.waiting.push(waiting),
                Some(result) => self.heard(server, (waiting, result), flags_left, manner, honest),
            }
        }
        appends.ended?;
        if !self.nameless.is_empty() || std::mem::take(&mut self.doubted) {
            // A folder that is open need not tell what came since.
            session.refresh().await?;
            self.look_up(server, session, &open.name).await?;
        }
        let last = self.receipts.iter().filter_map(|receipt| receipt.uid).max().unwrap_or(0);
        open.next = open.next.max(last.saturating_add(1));
        Ok(())
    }

    fn heard(
        &mut self,
        server: &Server,
        (waiting, result): (Waiting, Appended),
        keywords_left: Vec<String>,
        manner: Manner,
        honest: bool,
    ) {
        let message = waiting.placement.message;
        let landed = Receipt::landed(message, waiting.body.octets);
        let mut receipt = Receipt { head: Some(waiting.body.head), ..landed };
        match result {
            Appended::Stored(place) | Appended::Bare(place) => {
                if let Appended::Bare(_) = result {
                    self.bare.insert(message);
                }
                self.landed += 1;
                self.ahead += u64::from(manner.ahead);
                server.stores(waiting.body.octets);
                receipt.keywords_left = keywords_left;
                // UIDs that do not add up are none, and what is there tells.
                receipt.uid = place.filter(|_| honest).map(|(_, uid)| uid);
                if receipt.uid.is_none() {
                    self.nameless.push((self.receipts.len(), waiting));
                }
            }
            Appended::Refused(words) => receipt.refused = Some(words),
            Appended::TooMuch(words) => {
                receipt.refused = Some(words);
                receipt.over_limit = true;
            }
            Appended::Unsure(_) if !manner.alone => {
                (self.doubted, self.unsure) = (true, true);
                self.waiting.push(waiting);
                return;
            }
            Appended::Doubtful(failure) | Appended::Unsure(failure) => {
                self.doubted = true;
                self.suspects.push(Suspect::new(server, waiting, failure));
                return;
            }
            Appended::Unanswered | Appended::CutOff => {
                if result == Appended::Unanswered {
                    self.late.push(waiting.body.kept);
                }
                self.sent.insert(message);
                self.waiting.push(waiting);
                return;
            }
        }
        self.receipts.push(receipt);
    }

    /// The connection broke: looks over a new one at what has come, late or not.
    pub(super) async fn look_again(
        &mut self,
        server: &Server,
        session: &mut Session<Parcel>,
        name: &[u8],
    ) -> Result<(), Failure> {
        let late = Late::now(std::mem::take(&mut self.late));
        let known = self.known();
        late.wait(session, name, self.first, &known).await?;
        self.look_up(server, session, name).await
    }

    /// Suspects the first message that was sent and has not come: servers take one after the other.
    pub(super) fn blame(&mut self, server: &Server, failure: &Failure) {
        let is_first = |waiting: &Waiting| self.sent.contains(&waiting.placement.message);
        let Some(at) = self.waiting.iter().position(is_first) else { return };
        let waiting = self.waiting.remove(at);
        self.suspects.push(Suspect::new(server, waiting, failure.clone()));
    }

    /// Suspects the first message that waits: it was sent alone, and there is no room for it.
    pub(super) fn blame_first(&mut self, server: &Server, failure: &Failure) {
        if !self.waiting.is_empty() {
            let waiting = self.waiting.remove(0);
            self.suspects.push(Suspect::new(server, waiting, failure.clone()));
        }
    }

    /// The mailbox takes nothing more: what landed is told, and the rest has not come.
    pub(super) fn ends_full(&mut self, failure: &Failure) {
        let suspects = std::mem::take(&mut self.suspects).into_iter().map(|suspect| suspect.waiting);
        for waiting in suspects.chain(std::mem::take(&mut self.waiting)) {
            let landed = Receipt::landed(waiting.placement.message, waiting.body.octets);
            let refused = Some(failure.words.clone());
            self.receipts.push(Receipt { refused, later: true, full: true, ..landed });
        }
    }

    /// What the server has of this batch without having said so, and what it says it has and has not.
    async fn look_up(
        &mut self,
        server: &Server,
        session: &mut Session<Parcel>,
        name: &[u8],
    ) -> Result<(), Failure> {
        self.match_up(server, session, self.first).await?;
        if self.adds_up(session, name).await? {
            self.nameless.clear();
            return Ok(());
        }
        self.match_up(server, session, self.lowest).await?;
        // Some servers show a message some seconds later.
        let late = Late::now(self.nameless.iter().map(|(_, waiting)| waiting.body.kept).collect());
        let known = self.known();
        late.wait(session, name, self.lowest, &known).await?;
        self.match_up(server, session, self.lowest).await?;
        if self.adds_up(session, name).await? {
            self.nameless.clear();
        } else {
            self.disbelieve(server);
        }
        Ok(())
    }

    fn known(&self) -> UidSet {
        let mut known = self.before.clone();
        known.extend(&self.receipts.iter().filter_map(|receipt| receipt.uid).collect());
        known
    }

    /// Whether the server has given so many new UIDs that everything may be there that it says it stored: somebody who
    /// filters there may have moved it, or the server has changed its octets.
    async fn adds_up(&self, session: &mut Session<Parcel>, name: &[u8]) -> Result<bool, Failure> {
        if self.nameless.is_empty() {
            return Ok(true);
        }
        let now = session.select(name).await?.ok_or_else(lost)?;
        let known = self.known().iter().filter(|uid| *uid >= self.first).count();
        let given = usize::try_from(now.uidnext.saturating_sub(self.first)).unwrap_or(usize::MAX);
        Ok(given >= known + self.nameless.len())
    }

    /// What the server says it stored, and is not there, has not come.
    fn disbelieve(&mut self, server: &Server) {
        let failure = Failure::new(Kind::Message, NOT_THERE, "");
        let nameless: BTreeMap<usize, Waiting> = std::mem::take(&mut self.nameless).into_iter().collect();
        self.landed = self.landed.saturating_sub(nameless.len() as u64);
        let mut at = 0..;
        self.receipts.retain(|_| at.next().is_none_or(|at| !nameless.contains_key(&at)));
        let suspect = |waiting| Suspect::new(server, waiting, failure.clone());
        self.suspects.extend(nameless.into_values().map(suspect));
    }

    /// Without UIDPLUS those are the new messages in their order, if every size fits; else the content tells.
    /// What is there is listed from `first` on.
    async fn match_up(
        &mut self,
        server: &Server,
        session: &mut Session<Parcel>,
        first: u32,
    ) -> Result<(), Failure> {
        let known = self.known();
        let listed = session.sizes_from(first).await?;
        let listed: Vec<(u32, u32)> = listed.into_iter().filter(|(uid, _)| !known.contains(*uid)).collect();
        let nameless = std::mem::take(&mut self.nameless);
        let sizes = nameless.iter().map(|(_, waiting)| waiting.body.kept);
        if self.waiting.is_empty() && listed.iter().map(|(_, size)| u64::from(*size)).eq(sizes) {
            for ((at, _), (uid, _)) in nameless.iter().zip(&listed) {
                self.found(*at, *uid);
            }
            return Ok(());
        }
        let mut likes = Likenesses::of(listed, &There::default());
        let suspects = self.suspects.iter().map(|suspect| &suspect.waiting);
        let all = nameless.iter().map(|(_, waiting)| waiting).chain(&self.waiting).chain(suspects);
        likes.read(session, all.map(|waiting| waiting.body.kept)).await?;
        for (at, waiting) in nameless {
            match like(session, &mut likes, &waiting).await? {
                Some(uid) => self.found(at, uid),
                None => self.nameless.push((at, waiting)),
            }
        }
        for waiting in std::mem::take(&mut self.waiting) {
            match like(session, &mut likes, &waiting).await? {
                Some(uid) => self.arrived(server, &waiting, uid),
                None => self.waiting.push(waiting),
            }
        }
        for suspect in std::mem::take(&mut self.suspects) {
            match like(session, &mut likes, &suspect.waiting).await? {
                Some(uid) => self.arrived(server, &suspect.waiting, uid),
                None => self.suspects.push(suspect),
            }
        }
        Ok(())
    }

    fn arrived(&mut self, server: &Server, waiting: &Waiting, uid: u32) {
        let landed = Receipt::landed(waiting.placement.message, waiting.body.octets);
        self.receipts.push(Receipt { uid: Some(uid), ..landed });
        self.landed += 1;
        server.stores(waiting.body.octets);
    }

    fn found(&mut self, at: usize, uid: u32) {
        if let Some(receipt) = self.receipts.get_mut(at) {
            receipt.uid = Some(uid);
        }
    }
}

/// The UID of a message that is there, which is used up by that.
async fn like(
    session: &Session<Parcel>,
    likes: &mut Likenesses,
    waiting: &Waiting,
) -> Result<Option<u32>, Failure> {
    let octets = waiting.body.kept;
    if !likes.may_hold(octets) {
        return Ok(None);
    }
    Ok(likes.take(octets, print(waiting, forgiving(session)).await?).map(|found| found.uid))
}

/// Whether another connection may do better.
pub(super) fn may_pass(failure: &Failure) -> bool {
    use Kind::{Disconnected, InUse, Protocol, Stalled, Throttled, Unavailable};
    matches!(failure.kind, Disconnected | Stalled | Protocol | InUse | Throttled | Unavailable)
}
