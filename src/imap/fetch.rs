//! Whole messages of the open folder, many in flight: ranges of UIDs in several commands at once, so that
//! no message costs a round trip. What a command did not bring is asked for again in halves, down to the single
//! message; what does not come alone either, in parts; then it is known whether it vanished or cannot be had.
//! It refuses what was not asked for.

use std::collections::{BTreeMap, VecDeque};

use tokio::sync::mpsc;

use super::care::{Care, STRIKES};
use super::command::{fetch_bodies, fetch_part};
use super::refusal::{quote, refusal};
use super::response::{Item, Response};
use super::session::Session;
use crate::failure::{Failure, Kind};
use crate::message::{Flags, Parcel, UidSet};

/// One command asks for at most so many messages, and by their announced sizes for at most so many octets.
const MESSAGES: usize = 200;
const OCTETS: u64 = 4 * 1024 * 1024;
/// Commands in flight.
const WINDOW: usize = 4;
/// A message that does not come whole is asked for in parts of so many octets, up to the limit of RFC822.SIZE.
const PART: u64 = 64 * 1024;
const LONGEST: u64 = u32::MAX as u64;
/// Bodies that came as quoted strings are numbered from here.
const INLINE: u64 = 1 << 63;

/// A message whose octets are with the receiver of bodies.
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
    /// A body that nobody asked for, to be dropped.
    Stray(u64),
}

impl Event {
    fn piece(&self) -> u64 {
        match self {
            Event::Message(message) => message.piece,
            Event::Stray(piece) => *piece,
        }
    }
}

struct Command {
    tag: String,
    want: UidSet,
    asked: u64,
}

/// A running fetch.
pub struct Fetch<'s, T: From<Parcel> + Send + 'static> {
    session: &'s mut Session<T>,
    sink: mpsc::Sender<T>,
    care: &'s mut Care,
    todo: VecDeque<UidSet>,
    flying: VecDeque<Command>,
    /// To be asked for alone when everything else has come: connections broke over them.
    last: VecDeque<u32>,
    /// Commands are single messages of `last`.
    cautious: bool,
    /// Refused, with what the server said: to be asked for in parts.
    refused: BTreeMap<u32, String>,
    /// Did not come, though nothing was refused: gone, or there and not to be had? The server is asked.
    doubtful: UidSet,
    /// The same of messages that were not asked for alone, by command.
    doubtful_many: Vec<UidSet>,
    /// Flags and dates that came without a body, of messages that are being asked for.
    ahead: BTreeMap<u32, (Option<Flags>, Option<i64>)>,
    /// Bodies that came in answers that nobody can read.
    strays: VecDeque<u64>,
    left: Vec<(u32, Left)>,
    inline: u64,
}

impl<'s, T: From<Parcel> + Send + 'static> Fetch<'s, T> {
    /// Fetches `messages` (UID and announced size, ascending) of the open folder; bodies go to `sink`. What
    /// connections broke over before is in `care`, and what this one breaks over goes into it.
    pub fn start(
        session: &'s mut Session<T>,
        messages: &[(u32, u32)],
        sink: mpsc::Sender<T>,
        care: &'s mut Care,
    ) -> Self {
        session.transport().set_sink(Some(sink.clone()));
        let most = (MESSAGES >> care.halvings.min(16)).max(1);
        let mut todo = VecDeque::new();
        let (mut set, mut octets) = (UidSet::new(), 0);
        let mut count = 0;
        let (mut last, mut left) = (VecDeque::new(), Vec::new());
        for (uid, size) in messages {
            match care.alone.get(uid) {
                Some(strikes) if *strikes >= STRIKES => {
                    let words = format!("the connection broke {strikes} times when it was asked for");
                    left.push((*uid, Left::Refused(words)));
                    continue;
                }
                Some(_) => {
                    last.push_back(*uid);
                    continue;
                }
                None => {}
            }
            if count > 0 && (count >= most || octets + u64::from(*size) > OCTETS) {
                todo.push_back(std::mem::take(&mut set));
                (count, octets) = (0, 0);
            }
            set.insert(*uid);
            count += 1;
            octets += u64::from(*size);
        }
        if !set.is_empty() {
            todo.push_back(set);
        }
        Fetch {
            session,
            sink,
            care,
            todo,
            flying: VecDeque::new(),
            last,
            cautious: false,
            refused: BTreeMap::new(),
            doubtful: UidSet::new(),
            doubtful_many: Vec::new(),
            ahead: BTreeMap::new(),
            strays: VecDeque::new(),
            left,
            inline: INLINE,
        }
    }

    /// The next message; `None` when all that can be had has come.
    ///
    /// # Errors
    /// The connection failed; what came before stays good.
    pub async fn next(&mut self) -> Result<Option<Event>, Failure> {
        match self.advance().await {
            Ok(event) => Ok(event),
            Err(failure) => {
                if matches!(failure.kind, Kind::Disconnected | Kind::Stalled | Kind::Protocol) {
                    let oldest = self.flying.front();
                    let first = oldest.and_then(|command| command.want.iter().next());
                    self.care.broke(first, oldest.is_some_and(|command| command.asked == 1));
                }
                Err(failure)
            }
        }
    }

    async fn advance(&mut self) -> Result<Option<Event>, Failure> {
        loop {
            if let Some(piece) = self.strays.pop_front() {
                return Ok(Some(Event::Stray(piece)));
            }
            let window = if self.cautious { 1 } else { WINDOW };
            while self.flying.len() < window
                && let Some(want) = self.todo.pop_front()
            {
                let tag = self.session.send(fetch_bodies(&want).as_bytes()).await?;
                self.flying.push_back(Command { tag, asked: want.len(), want });
            }
            if self.flying.is_empty() {
                match self.later().await? {
                    Later::Asked => continue,
                    Later::Came(event) => return Ok(Some(event)),
                    Later::Nothing => return Ok(None),
                }
            }
            let mut event = None;
            match self.session.response().await? {
                Response::Fetch(item) => event = self.message(*item).await?,
                Response::Done { tag, ok, said } => self.done(&tag, ok, &said.text)?,
                _ => {}
            }
            while self.session.side_line().is_some() {}
            let known = event.as_ref().map(Event::piece);
            let came = self.session.transport().came().into_iter();
            self.strays.extend(came.filter(|piece| Some(*piece) != known));
            if event.is_some() {
                return Ok(event);
            }
        }
    }

    /// Everything ordinary has been answered: what is left goes one by one.
    async fn later(&mut self) -> Result<Later, Failure> {
        self.resolve().await?;
        if !self.todo.is_empty() {
            return Ok(Later::Asked);
        }
        if let Some((uid, words)) = self.refused.pop_first() {
            return Ok(match self.in_parts(uid).await? {
                Some(event) => Later::Came(event),
                None => {
                    self.left.push((uid, Left::Refused(words)));
                    Later::Asked
                }
            });
        }
        let Some(uid) = self.last.pop_front() else { return Ok(Later::Nothing) };
        self.cautious = true;
        if self.care.alone.get(&uid).is_some_and(|strikes| *strikes > 0) {
            // Whole, it broke a connection: in parts.
            return Ok(match self.in_parts(uid).await? {
                Some(event) => Later::Came(event),
                None => {
                    self.doubtful.insert(uid);
                    Later::Asked
                }
            });
        }
        self.todo.push_back(UidSet::from_iter([uid]));
        Ok(Later::Asked)
    }

    /// What did not come, and why; complete once [`Fetch::next`] said `None`.
    pub fn left(self) -> Vec<(u32, Left)> {
        self.session.transport().set_sink(None);
        self.left
    }

    /// Tells the vanished from those that the server lists and does not give.
    async fn resolve(&mut self) -> Result<(), Failure> {
        let commands = std::mem::take(&mut self.doubtful_many);
        let mut doubtful = std::mem::take(&mut self.doubtful);
        let mut many = UidSet::new();
        commands.iter().for_each(|command| many.extend(command));
        doubtful.extend(&many);
        if doubtful.is_empty() {
            return Ok(());
        }
        let tag = self.session.send(format!("UID FETCH {doubtful} (UID)").as_bytes()).await?;
        let mut there = UidSet::new();
        let done = self
            .session
            .finish(&tag, |response| {
                if let Response::Fetch(item) = response
                    && let Some(uid) = item.uid
                {
                    there.insert(uid);
                }
            })
            .await?;
        while self.session.side_line().is_some() {}
        // One that cannot be read may have taken its neighbours with it. What two commands left is not put together:
        // it would be asked for as before, for ever.
        for command in commands {
            let left = command.iter().filter(|uid| !done.ok || there.contains(*uid)).collect();
            self.todo.extend(halves(&left));
        }
        for uid in doubtful.iter() {
            if !done.ok || there.contains(uid) {
                if many.contains(uid) {
                    continue;
                }
                let words = "the server lists it, but gives no answer for it that can be read".to_owned();
                if self.cautious {
                    self.left.push((uid, Left::Refused(words)));
                } else {
                    self.refused.insert(uid, words);
                }
            } else {
                self.left.push((uid, Left::Vanished));
            }
        }
        Ok(())
    }

    /// One message part by part: servers that fail over a whole message may give it so. `None`: not so either.
    async fn in_parts(&mut self, uid: u32) -> Result<Option<Event>, Failure> {
        self.flying.push_back(Command { tag: String::new(), want: UidSet::from_iter([uid]), asked: 1 });
        self.inline += 1;
        let piece = self.inline;
        self.parcel(Parcel::Begin(piece)).await?;
        self.session.transport().join_bodies(true);
        let parts = self.parts(uid).await;
        self.session.transport().join_bodies(false);
        let whole = match parts {
            Ok(whole) => whole,
            Err(failure) => {
                let _ = self.parcel(Parcel::Abandon).await;
                return Err(failure);
            }
        };
        self.flying.clear();
        let Some((flags, received)) = whole else {
            self.parcel(Parcel::Abandon).await?;
            return Ok(None);
        };
        self.parcel(Parcel::End).await?;
        Ok(Some(Event::Message(Fetched { uid, flags, received, piece })))
    }

    async fn parts(&mut self, uid: u32) -> Result<Option<(Flags, Option<i64>)>, Failure> {
        let (mut flags, mut received) = (Flags::default(), None);
        let mut offset = 0;
        loop {
            let tag = self.session.send(fetch_part(uid, offset, PART).as_bytes()).await?;
            let (mut came, mut inline) = (false, None);
            let done = self
                .session
                .finish(&tag, |response| {
                    if let Response::Fetch(item) = response
                        && item.uid == Some(uid)
                    {
                        flags = item.flags.unwrap_or(std::mem::take(&mut flags));
                        received = item.received.or(received);
                        came |= item.body.is_some();
                        inline = item.body;
                    }
                })
                .await?;
            while self.session.side_line().is_some() {}
            if !done.ok || !came {
                return Ok(None);
            }
            let mut length = self.session.transport().joined() - offset;
            if let Some(data) = inline
                && self.session.transport().body_of(&data).is_none()
            {
                // A short part may come as a quoted string.
                length = data.len() as u64;
                self.session.transport().count_joined(length);
                self.parcel(Parcel::Data(data)).await?;
            }
            offset += length;
            if length != PART || offset > LONGEST {
                // Less is the end; more is a server that knows no parts and gave all of it at once.
                let whole = offset > 0 && offset <= LONGEST && (length < PART || offset == length);
                return Ok(whole.then_some((flags, received)));
            }
        }
    }

    async fn parcel(&mut self, parcel: Parcel) -> Result<(), Failure> {
        self.sink
            .send(parcel.into())
            .await
            .map_err(|_| Failure::new(Kind::Destination, "the delivery stopped", ""))
    }

    async fn message(&mut self, item: Item) -> Result<Option<Event>, Failure> {
        let Item { uid, flags, received, body, .. } = item;
        let had_body = body.is_some();
        let piece = match body {
            None => None,
            Some(data) => match self.session.transport().body_of(&data) {
                Some(piece) => Some(piece),
                None => Some(self.deliver(data).await?),
            },
        };
        let wanted = uid.filter(|uid| self.flying.iter().any(|c| c.want.contains(*uid)));
        let (Some(uid), Some(piece)) = (wanted, piece) else {
            if let (Some(uid), false) = (wanted, had_body) {
                // A server may tell them apart from the body (RFC 3501, 7.4.2).
                let ahead = self.ahead.entry(uid).or_default();
                *ahead = (flags.or(ahead.0.take()), received.or(ahead.1));
                self.refuse(uid, "the server answered without the message");
            }
            return Ok(piece.map(Event::Stray));
        };
        let ahead = self.ahead.remove(&uid).unwrap_or_default();
        let (flags, received) = (flags.or(ahead.0), received.or(ahead.1));
        let alone = self.flying.iter().any(|c| c.asked == 1 && c.want.contains(uid));
        if flags.is_none() && !alone {
            // It may come with them when it is asked for alone.
            return Ok(Some(Event::Stray(piece)));
        }
        for command in &mut self.flying {
            command.want.remove(uid);
        }
        self.refused.remove(&uid);
        let flags = flags.unwrap_or_default();
        Ok(Some(Event::Message(Fetched { uid, flags, received, piece })))
    }

    /// Only of a message that was asked for alone is the answer its own.
    fn refuse(&mut self, uid: u32, words: &str) {
        if self.flying.iter().any(|c| c.asked == 1 && c.want.contains(uid)) {
            self.refused.insert(uid, words.to_owned());
        }
    }

    /// A short body may come as a quoted string: it takes the same way as the others.
    async fn deliver(&mut self, data: Vec<u8>) -> Result<u64, Failure> {
        self.inline += 1;
        for parcel in [Parcel::Begin(self.inline), Parcel::Data(data), Parcel::End] {
            self.parcel(parcel).await?;
        }
        Ok(self.inline)
    }

    fn done(&mut self, tag: &str, ok: bool, text: &str) -> Result<(), Failure> {
        let Some(at) = self.flying.iter().position(|c| c.tag == tag) else { return Ok(()) };
        let Some(command) = self.flying.remove(at) else { return Ok(()) };
        self.ahead.retain(|uid, _| !command.want.contains(*uid));
        let words = if ok {
            None
        } else {
            let failure = refusal("the server does not give it", text, Kind::Message, "");
            if matches!(failure.kind, Kind::Throttled | Kind::InUse) {
                return Err(failure);
            }
            Some(format!("the server does not give it: {}", quote(text)))
        };
        if command.asked > 1 && ok {
            self.doubtful_many.push(command.want);
            return Ok(());
        }
        if command.asked > 1 {
            let mut halves = halves(&command.want);
            while let Some(half) = halves.pop() {
                self.todo.push_front(half);
            }
            return Ok(());
        }
        for uid in command.want.iter() {
            match words.clone() {
                Some(words) if self.cautious => self.left.push((uid, Left::Refused(words))),
                Some(words) => {
                    self.refused.insert(uid, words);
                }
                None if self.refused.contains_key(&uid) => {}
                None => {
                    self.doubtful.insert(uid);
                }
            }
        }
        Ok(())
    }
}

/// What remains to be done when everything ordinary is.
enum Later {
    /// Something was asked for, or settled: go on.
    Asked,
    /// A message came.
    Came(Event),
    /// Nothing.
    Nothing,
}

/// Two halves of a set, the second one empty if there is only one message; none of an empty set.
fn halves(set: &UidSet) -> Vec<UidSet> {
    let half = usize::try_from(set.len().div_ceil(2)).unwrap_or(usize::MAX);
    let (one, other): (UidSet, UidSet) = (set.iter().take(half).collect(), set.iter().skip(half).collect());
    [one, other].into_iter().filter(|half| !half.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_end_with_single_messages() {
        let mut todo = vec![(1..=200).collect::<UidSet>()];
        let mut singles = UidSet::new();
        let mut commands = 0;
        while let Some(set) = todo.pop() {
            commands += 1;
            if set.len() == 1 {
                singles.extend(&set);
            } else {
                todo.extend(halves(&set));
            }
        }
        assert_eq!((singles.len(), commands), (200, 399));
        assert!(halves(&UidSet::new()).is_empty());
    }
}
