//! Whole messages of the open folder, many in flight: ranges of UIDs in several commands at once, so that no message
//! costs a round trip. An answer is believed by [`super::belief`]; what is not is asked for again, in smaller groups
//! and in step with the server, down to the single message; what does not come alone either, in parts; then it is
//! known whether it vanished or cannot be had. It refuses what was not asked for.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use tokio::sync::mpsc;

use super::belief::{Answer, Asked, LOOKS, Look, Verdict, why_not};
use super::care::{Care, STRIKES};
use super::command::{fetch_bodies, pieces};
use super::looks::Looks;
use super::response::{Item, Response};
use super::session::Session;
use super::transport::Came;
use crate::failure::{Failure, Kind};
use crate::message::{Flags, Parcel, UidSet};

/// One command asks for at most so many messages, and by their announced sizes for at most so many bytes.
const MESSAGES: usize = 200;
const BYTES: u64 = 4 * 1024 * 1024;
/// Commands in flight, and single messages in flight.
const WINDOW: usize = 4;
const SINGLES: usize = 16;
/// Bodies that came as quoted strings are numbered from here.
const INLINE: u64 = 1 << 63;
/// A server that is silent so long within an answer, or before one, is given something to answer.
const SILENCE: Duration = if cfg!(test) { Duration::from_millis(2) } else { Duration::from_secs(3) };
const PATIENCE: Duration = SILENCE.saturating_mul(5);
/// That often at most, if it says nothing to that either.
const NUDGES: u8 = 2;
/// Answers to one question that are looked at.
const MOST_ITEMS: usize = 1000;

/// A message whose bytes are with the receiver of bodies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// Its UID.
    pub uid: u32,
    /// Its flags and keywords.
    pub flags: Flags,
    /// INTERNALDATE in seconds since 1970, if there was a valid one.
    pub received: Option<i64>,
    /// The number of its [`Parcel::Begin`].
    pub piece: u64,
    /// It has keywords that are no keywords (RFC 3501, 9), which are left out.
    pub flags_left: bool,
    /// Its flags and date were not to be had: why.
    pub bare: Option<String>,
    /// How many bytes came, and their checksum; `None`: it came in parts.
    pub look: Option<Look>,
}

/// Why a message that was asked for did not come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Left {
    /// It is no longer in the folder.
    Vanished,
    /// The server does not give it: in words.
    Refused(String),
}

/// What [`Fetch::next`] brings.
#[derive(Debug)]
pub enum Event {
    /// A message that was asked for.
    Message(Fetched),
    /// A body that is not believed, or that nobody asked for, to be dropped.
    Stray(u64),
}

/// A running fetch.
pub struct Fetch<'s, T: From<Parcel> + Send + 'static> {
    pub(super) session: &'s mut Session<T>,
    pub(super) sink: mpsc::Sender<T>,
    pub(super) care: &'s mut Care,
    /// UIDs with what RFC822.SIZE says, ascending.
    sizes: &'s [(u32, u32)],
    pub(super) todo: VecDeque<UidSet>,
    /// What was in doubt: asked for one command after another.
    pub(super) again: VecDeque<UidSet>,
    pub(super) flying: VecDeque<Asked>,
    /// Answered to the end, but some messages did not come: the server is asked whether they are there.
    waiting: Vec<Asked>,
    /// Of those, the ones that the server gives nothing of.
    absent: UidSet,
    /// To be asked for alone when everything else has come: connections broke over them.
    last: VecDeque<u32>,
    /// Refused, with what the server said: to be asked for in parts.
    pub(super) refused: BTreeMap<u32, String>,
    /// Of messages that are not believed yet: what was seen of them, and how often they were asked for alone.
    pub(super) looks: BTreeMap<u32, Looks>,
    /// Something came that nobody can read, and the session is not proven to be in step since.
    pub(super) doubt: bool,
    /// How often that was so on this connection.
    doubts: u8,
    /// The tag of a NOOP: when it is answered, so is everything before it.
    probe: Option<String>,
    nudges: u8,
    /// How often in a row the server said that it has no time.
    pub(super) strained: u8,
    /// How long nothing has come, to whatever was asked.
    quiet: Duration,
    pub(super) out: VecDeque<Event>,
    broken: Option<Failure>,
    pub(super) left: Vec<(u32, Left)>,
    pub(super) inline: u64,
}

impl<'s, T: From<Parcel> + Send + 'static> Fetch<'s, T> {
    /// Fetches `messages` (UID and announced size, ascending) of the open folder; bodies go to `sink`. What
    /// connections broke over before is in `care`, and what this one breaks over goes into it.
    pub fn start(
        session: &'s mut Session<T>,
        messages: &'s [(u32, u32)],
        sink: mpsc::Sender<T>,
        care: &'s mut Care,
    ) -> Self {
        session.transport().set_sink(Some(sink.clone()));
        session.take_unread();
        // Which one it was is not known yet.
        session.hurry(care.was_silent());
        let most = (MESSAGES >> care.halvings.min(16)).max(1);
        let mut todo = VecDeque::new();
        let (mut set, mut bytes) = (UidSet::new(), 0);
        let mut count = 0;
        let (mut last, mut left) = (VecDeque::new(), Vec::new());
        for (uid, size) in messages {
            match care.alone.get(uid) {
                Some(strikes) if strikes.count >= STRIKES => {
                    left.push((*uid, Left::Refused(strikes.given_up())));
                    continue;
                }
                Some(_) => {
                    last.push_back(*uid);
                    continue;
                }
                None => {}
            }
            if count > 0 && (count >= most || bytes + u64::from(*size) > BYTES) {
                todo.push_back(std::mem::take(&mut set));
                (count, bytes) = (0, 0);
            }
            set.insert(*uid);
            count += 1;
            bytes += u64::from(*size);
        }
        if !set.is_empty() {
            todo.push_back(set);
        }
        // Where the server fell silent over many, one of them is to blame: the others come first.
        let strikes = |uid: &u32| care.alone.get(uid).map_or(0, |strikes| strikes.count);
        last.make_contiguous().sort_by_key(strikes);
        Fetch {
            session,
            sink,
            care,
            sizes: messages,
            todo,
            again: VecDeque::new(),
            flying: VecDeque::new(),
            waiting: Vec::new(),
            absent: UidSet::new(),
            last,
            refused: BTreeMap::new(),
            looks: BTreeMap::new(),
            doubt: false,
            doubts: 0,
            probe: None,
            nudges: 0,
            strained: 0,
            quiet: Duration::ZERO,
            out: VecDeque::new(),
            broken: None,
            left,
            inline: INLINE,
        }
    }

    /// The next message; `None` when all that can be had has come.
    ///
    /// # Errors
    /// The connection failed; what came before stays good.
    pub async fn next(&mut self) -> Result<Option<Event>, Failure> {
        loop {
            if let Some(event) = self.out.pop_front() {
                return Ok(Some(event));
            }
            if let Some(failure) = self.broken.take() {
                return Err(failure);
            }
            match self.advance().await {
                Ok(true) => {}
                Ok(false) => return Ok(None),
                Err(failure) if failure.kind == Kind::Destination => return Err(failure),
                Err(failure) => {
                    self.broke(&failure);
                    // What was coming in does not come to its end.
                    let _ = self.parcel(Parcel::Abandon).await;
                    self.broken = Some(failure);
                }
            }
        }
    }

    /// What did not come, and why; complete once [`Fetch::next`] said `None`.
    pub fn left(self) -> Vec<(u32, Left)> {
        self.session.transport().set_sink(None);
        self.session.hurry(false);
        self.left
    }

    /// RFC822.SIZE of a message as it was listed; `None`: the server does not tell.
    pub(super) fn size(&self, uid: u32) -> Option<u32> {
        if self.care.unsized_of(uid) {
            return None;
        }
        let at = self.sizes.binary_search_by_key(&uid, |(uid, _)| *uid).ok()?;
        self.sizes.get(at).map(|(_, size)| *size)
    }

    /// One step. `false`: there is nothing left to do.
    async fn advance(&mut self) -> Result<bool, Failure> {
        if self.flying.is_empty() && self.probe.is_none() {
            if self.doubt {
                self.regain().await?;
            }
            if !self.waiting.is_empty() {
                self.resolve().await?;
                return Ok(true);
            }
        }
        if !self.doubt && self.probe.is_none() && self.waiting.is_empty() {
            self.send().await?;
        }
        if self.flying.is_empty() && self.probe.is_none() {
            if !self.waiting.is_empty() || self.doubt {
                return Ok(true);
            }
            return self.later().await;
        }
        let Some(response) = self.heard().await? else { return Ok(true) };
        self.doubt |= self.session.take_unread();
        match response {
            Response::Fetch(item) => self.message(*item).await?,
            Response::Done { tag, ok, said } => self.done(&tag, ok, &said.text).await?,
            _ => {}
        }
        self.drop_strays();
        while self.session.side_line().is_some() {}
        if self.doubt && !self.flying.is_empty() && self.probe.is_none() {
            self.probe = Some(self.session.send(b"NOOP").await?);
        }
        Ok(true)
    }

    /// Fills the window. What was in doubt goes alone.
    async fn send(&mut self) -> Result<(), Failure> {
        loop {
            let singles = self.flying.iter().all(|asked| asked.want.len() == 1);
            let window =
                if singles && self.todo.front().is_some_and(|set| set.len() == 1) { SINGLES } else { WINDOW };
            if self.flying.len() >= window {
                return Ok(());
            }
            let want = match self.todo.pop_front() {
                Some(want) => want,
                None if self.flying.is_empty() => match self.again.pop_front() {
                    Some(want) => want,
                    None => return Ok(()),
                },
                None => return Ok(()),
            };
            let tag = self.session.send(fetch_bodies(&want).as_bytes()).await?;
            self.flying.push_back(Asked::new(tag, want));
        }
    }

    /// The next response; `None`: the server was silent, and was asked whether it is still there. A literal that is
    /// announced too long ends with the answers to that.
    async fn heard(&mut self) -> Result<Option<Response>, Failure> {
        let mut waited = Duration::ZERO;
        loop {
            let before = self.session.transport().moved();
            if let Ok(response) = tokio::time::timeout(SILENCE, self.session.response()).await {
                self.quiet = Duration::ZERO;
                return response.map(Some);
            }
            waited += SILENCE;
            let now = self.session.transport().moved();
            let moves = now.bytes != before.bytes || now.held;
            self.quiet = if moves { Duration::ZERO } else { self.quiet + SILENCE };
            // What is said to it meanwhile winds up the clock of the connection.
            if self.quiet >= self.session.transport().stream().stall() {
                return Err(self.session.fell_silent());
            }
            if now.bytes != before.bytes || now.held || self.nudges >= NUDGES {
                waited = Duration::ZERO;
            } else if now.begun || waited >= PATIENCE {
                self.nudges += 1;
                for _ in 0..6 {
                    self.probe = Some(self.session.send(b"NOOP").await?);
                }
                return Ok(None);
            }
        }
    }

    /// Asks, and waits for the end of the answer. `false`: it was refused, or never came.
    pub(super) async fn ask(&mut self, command: &str) -> Result<(bool, Vec<Item>), Failure> {
        let tag = self.session.send(command.as_bytes()).await?;
        let (mut items, mut ended) = (Vec::new(), None);
        loop {
            match self.heard().await? {
                Some(Response::Fetch(item)) if items.len() < MOST_ITEMS => items.push(*item),
                Some(Response::Done { tag: theirs, ok, .. }) if theirs == tag => ended = Some(ok),
                Some(Response::Done { tag: theirs, .. }) if self.probe.as_deref() == Some(&theirs) => {
                    (self.probe, self.nudges) = (None, 0);
                    self.doubt |= ended.is_none();
                    ended = ended.or(Some(false));
                    self.doubt |= self.session.take_unread();
                    break;
                }
                _ => {}
            }
            while self.session.side_line().is_some() {}
            self.doubt |= self.session.take_unread();
            if ended.is_some() && self.probe.is_none() {
                break;
            }
        }
        while self.session.side_line().is_some() {}
        Ok((ended.unwrap_or(false), items))
    }

    /// Everything ordinary has been answered: what is left goes one by one.
    async fn later(&mut self) -> Result<bool, Failure> {
        if let Some((uid, words)) = self.refused.pop_first() {
            if self.in_parts(uid).await? {
                return Ok(true);
            }
            // Nothing else is asked for now: flags that nobody can read make no later answer doubtful.
            if self.doubt && self.session.is_in_step().await? {
                self.drop_strays();
                self.doubt = false;
            }
            if !self.bare(uid, &words).await? {
                self.left.push((uid, Left::Refused(words)));
            }
            return Ok(true);
        }
        let Some(uid) = self.last.pop_front() else {
            if self.absent.is_empty() {
                return Ok(false);
            }
            self.conclude().await?;
            return Ok(true);
        };
        let broke = self.care.alone.get(&uid).filter(|strikes| strikes.count > 0).map(|s| s.words.clone());
        match broke {
            // Whole, it broke a connection: in parts.
            Some(words) => {
                if !self.in_parts(uid).await? {
                    self.unanswered(uid, words);
                }
            }
            None => self.again.push_back(UidSet::from_iter([uid])),
        }
        Ok(true)
    }

    /// A message did not come alone and in parts: gone, or not to be had?
    fn unanswered(&mut self, uid: u32, words: String) {
        if !words.is_empty() {
            self.care.says(uid, words);
        }
        let one = UidSet::from_iter([uid]);
        if self.care.alone.get(&uid).is_some_and(|strikes| strikes.count + 1 < STRIKES) {
            // Once more as a whole: a size that lies makes every part doubtful.
            self.looks.entry(uid).or_default().alone = LOOKS.saturating_sub(2);
            self.again.push_back(one);
        } else {
            self.looks.entry(uid).or_default().alone = LOOKS;
            self.waiting.push(Asked::new(String::new(), one));
        }
    }

    /// Proves that the session is in step again.
    async fn regain(&mut self) -> Result<(), Failure> {
        self.doubts = self.doubts.saturating_add(1);
        let in_step = self.session.is_in_step().await?;
        self.drop_strays();
        if in_step && (self.doubts < 2 || !self.care.wants_another_connection()) {
            self.doubt = false;
            return Ok(());
        }
        // Whoever is in doubt now is asked for last on the next connection.
        let suspects: Vec<u32> =
            self.again.iter().filter(|set| set.len() == 1).flat_map(UidSet::iter).collect();
        suspects.into_iter().for_each(|uid| self.care.suspects(uid));
        Err(self.session.broken("gives answers that cannot be read"))
    }

    /// Tells those that the server lists and does not give from those of which it gives nothing.
    async fn resolve(&mut self) -> Result<(), Failure> {
        let commands = std::mem::take(&mut self.waiting);
        let mut asked = UidSet::new();
        commands.iter().for_each(|command| asked.extend(&command.missing()));
        let (mut there, mut complete) = (UidSet::new(), !self.doubt);
        for set in pieces(&asked) {
            let (ok, items) = self.ask(&format!("UID FETCH {set} (UID)")).await?;
            self.drop_strays();
            complete &= ok && !self.doubt && items.len() < MOST_ITEMS;
            complete &= !items.iter().any(|item| item.marks.twice);
            there.extend(&items.iter().filter_map(|item| item.uid).collect());
        }
        for mut command in commands {
            let mut suspects = command.missing();
            let absent: UidSet = suspects.iter().filter(|uid| complete && !there.contains(*uid)).collect();
            suspects.subtract(&absent);
            absent.iter().for_each(|uid| command.want.remove(uid));
            self.absent.extend(&absent);
            self.doubted(command, &suspects);
        }
        Ok(())
    }

    /// Messages did not come, and the server gives nothing of them at all. They are gone if a list says so that has as
    /// many messages as the server counts.
    async fn conclude(&mut self) -> Result<(), Failure> {
        let absent = std::mem::take(&mut self.absent);
        let mut every = self.session.every_uid().await?;
        if every.is_none() {
            // One answer may have been lost.
            every = self.session.every_uid().await?;
        }
        self.drop_strays();
        for uid in absent.iter() {
            match &every {
                None => self.left.push((uid, Left::Refused(why_not(None, None)))),
                Some(every) if !every.contains(uid) => self.left.push((uid, Left::Vanished)),
                Some(_) => {
                    self.looks.entry(uid).or_default().alone = LOOKS.saturating_sub(1);
                    self.again.push_back(UidSet::from_iter([uid]));
                }
            }
        }
        Ok(())
    }

    /// A FETCH response.
    pub(super) async fn message(&mut self, item: Item) -> Result<(), Failure> {
        let Item { uid, flags, received, body, offset, marks, .. } = item;
        let came = match body {
            None => None,
            Some(data) => match self.session.transport().body_of(&data) {
                Some(piece) => self.session.transport().came().into_iter().fold(None, |found, came| {
                    let (found, other) =
                        if came.piece == piece { (Some(came), found) } else { (found, Some(came)) };
                    self.out.extend(other.map(|came| Event::Stray(came.piece)));
                    found
                }),
                None => Some(self.deliver(data).await?),
            },
        };
        let wanted = uid.and_then(|uid| {
            let asked = self.flying.iter_mut().find(|asked| asked.want.contains(uid));
            asked.map(|asked| (uid, asked))
        });
        let (Some((uid, asked)), Some(came)) = (wanted, came) else {
            if let (Some(uid), None) = (uid, came)
                && let Some(asked) = self.flying.iter_mut().find(|asked| asked.want.contains(uid))
            {
                asked.hear_ahead(uid, flags, received);
            }
            self.out.extend(came.map(|came| Event::Stray(came.piece)));
            return Ok(());
        };
        let (piece, look, flags_left) = (came.piece, Look::from(came), marks.flags_left);
        let (twice, unknown) = (marks.twice || offset.is_some(), marks.unknown);
        let second = asked.hear(uid, Answer { piece, look, flags, received, twice, unknown, flags_left });
        self.out.extend(second.map(Event::Stray));
        Ok(())
    }

    /// Something came that nobody can read, and nothing was proven since.
    pub(super) fn is_in_doubt(&self) -> bool {
        self.doubt
    }

    /// Bodies in answers that nobody can read, or that no one asked for.
    pub(super) fn drop_strays(&mut self) {
        let strays = self.session.transport().came().into_iter();
        self.out.extend(strays.map(|came| Event::Stray(came.piece)));
    }

    /// A short body may come as a quoted string: it takes the same way as the others.
    async fn deliver(&mut self, data: Vec<u8>) -> Result<Came, Failure> {
        self.inline += 1;
        let came = Came { piece: self.inline, length: data.len() as u64, sum: crc32fast::hash(&data) };
        for parcel in [Parcel::Begin(self.inline), Parcel::Data(data), Parcel::End] {
            self.parcel(parcel).await?;
        }
        Ok(came)
    }

    pub(super) async fn parcel(&mut self, parcel: Parcel) -> Result<(), Failure> {
        self.sink
            .send(parcel.into())
            .await
            .map_err(|_| Failure::new(Kind::Destination, "the delivery stopped", ""))
    }

    /// A tagged answer.
    async fn done(&mut self, tag: &str, ok: bool, text: &str) -> Result<(), Failure> {
        if self.probe.as_deref() == Some(tag) {
            (self.probe, self.nudges) = (None, 0);
            // What was asked before and is not answered now never is.
            for lost in std::mem::take(&mut self.flying) {
                self.doubt = true;
                let missing = lost.missing();
                let suspects = if missing.is_empty() { lost.want.clone() } else { missing };
                self.doubted(lost, &suspects);
            }
            return Ok(());
        }
        let Some(at) = self.flying.iter().position(|asked| asked.tag == tag) else { return Ok(()) };
        let Some(mut asked) = self.flying.remove(at) else { return Ok(()) };
        if !ok {
            return self.refuse(asked, text).await;
        }
        let unread = self.doubt;
        let sizes: BTreeMap<u32, Option<u32>> = asked.want.iter().map(|uid| (uid, self.size(uid))).collect();
        let verdict = asked.verdict(|uid| sizes.get(&uid).copied().flatten(), unread);
        match (verdict, asked.single()) {
            (Verdict::Whole, _) => self.believe(asked),
            (Verdict::Without(_), _) => self.waiting.push(asked),
            (Verdict::Differs(suspects) | Verdict::Doubtful(suspects), None) => {
                self.differs(asked, suspects);
            }
            (Verdict::Differs(_) | Verdict::Doubtful(_), Some(uid)) => self.looked(uid, asked),
        }
        Ok(())
    }

    /// The connection is of no use any more: what is proven stays, and the message that it broke over is remembered.
    fn broke(&mut self, failure: &Failure) {
        let sizes = self.sizes;
        let mut flying = std::mem::take(&mut self.flying);
        if failure.broke() {
            let oldest = flying.front();
            let first = oldest.and_then(Asked::first_missing);
            match oldest.filter(|asked| failure.kind == Kind::Stalled && asked.is_unheard()) {
                // Silence over many does not tell which one it is: each is asked for alone.
                Some(many) if many.want.len() > 1 => many.want.iter().for_each(|uid| self.care.suspects(uid)),
                _ => {
                    let counts = failure.kind != Kind::Throttled || self.care.gives();
                    let alone = counts && oldest.is_some_and(|asked| asked.want.len() == 1);
                    self.care.broke(first, alone, &failure.words);
                }
            }
        }
        if let Some(mut oldest) = flying.pop_front() {
            let size = |uid: u32| {
                let at = sizes.binary_search_by_key(&uid, |(uid, _)| *uid).ok()?;
                sizes.get(at).map(|(_, size)| *size).filter(|_| !self.care.unsized_of(uid))
            };
            let proven = if self.doubt { UidSet::new() } else { oldest.proven(size) };
            oldest.want = proven;
            self.believe(oldest);
        }
        flying.into_iter().for_each(|asked| self.forget(asked));
        std::mem::take(&mut self.waiting).into_iter().for_each(|asked| self.forget(asked));
        self.drop_strays();
    }
}
