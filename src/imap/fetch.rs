//! Whole messages of the open folder, many in flight: ranges of UIDs in several commands at once, so that
//! no message costs a round trip. What a command did not bring is asked for again alone; then it is known
//! whether it vanished or cannot be had. It refuses what was not asked for.

use std::collections::{BTreeMap, VecDeque};

use tokio::sync::mpsc;

use super::answers::{quote, refusal};
use super::command::fetch_bodies;
use super::response::{Item, Response};
use super::session::Session;
use crate::failure::{Failure, Kind};
use crate::message::{Flags, Parcel, UidSet};

/// One command asks for at most so many messages, and by their announced sizes for at most so many octets.
const MESSAGES: usize = 200;
const OCTETS: u64 = 4 * 1024 * 1024;
/// Commands in flight, and the same while messages are asked for one by one.
const WINDOW: usize = 4;
const WINDOW_SINGLE: usize = 16;
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

struct Command {
    tag: String,
    want: UidSet,
}

/// A running fetch.
pub struct Fetch<'s, T: From<Parcel> + Send + 'static> {
    session: &'s mut Session<T>,
    sink: mpsc::Sender<T>,
    todo: VecDeque<UidSet>,
    flying: Vec<Command>,
    /// Not brought by their first command, with what the server said.
    missing: BTreeMap<u32, Option<String>>,
    left: Vec<(u32, Left)>,
    alone: bool,
    /// Did not come alone either: gone, or there and not to be had? The server is asked.
    doubtful: UidSet,
    inline: u64,
}

impl<'s, T: From<Parcel> + Send + 'static> Fetch<'s, T> {
    /// Fetches `messages` (UID and announced size, ascending) of the open folder; bodies go to `sink`.
    pub fn start(session: &'s mut Session<T>, messages: &[(u32, u32)], sink: mpsc::Sender<T>) -> Self {
        session.transport().set_sink(Some(sink.clone()));
        let mut todo = VecDeque::new();
        let (mut set, mut octets) = (UidSet::new(), 0);
        let mut count = 0;
        for (uid, size) in messages {
            if count > 0 && (count >= MESSAGES || octets + u64::from(*size) > OCTETS) {
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
            todo,
            flying: Vec::new(),
            missing: BTreeMap::new(),
            left: Vec::new(),
            alone: false,
            doubtful: UidSet::new(),
            inline: INLINE,
        }
    }

    /// The next message; `None` when all that can be had has come.
    ///
    /// # Errors
    /// The connection failed; what came before stays good.
    pub async fn next(&mut self) -> Result<Option<Event>, Failure> {
        loop {
            let window = if self.alone { WINDOW_SINGLE } else { WINDOW };
            while self.flying.len() < window
                && let Some(want) = self.todo.pop_front()
            {
                let tag = self.session.send(fetch_bodies(&want).as_bytes()).await?;
                self.flying.push(Command { tag, want });
            }
            if self.flying.is_empty() {
                if self.alone || self.missing.is_empty() {
                    self.resolve().await?;
                    return Ok(None);
                }
                // What was missing is asked for again, message by message.
                self.alone = true;
                self.todo = self.missing.keys().map(|uid| UidSet::from_iter([*uid])).collect();
                continue;
            }
            match self.session.response().await? {
                Response::Fetch(item) => {
                    if let Some(event) = self.message(*item).await? {
                        return Ok(Some(event));
                    }
                }
                Response::Done { tag, ok, said } => self.done(&tag, ok, &said.text)?,
                _ => {}
            }
            while self.session.side_line().is_some() {}
        }
    }

    /// What did not come, and why; complete once [`Fetch::next`] said `None`.
    pub fn left(self) -> Vec<(u32, Left)> {
        self.session.transport().set_sink(None);
        self.left
    }

    /// Tells the vanished from those that the server lists and does not give.
    async fn resolve(&mut self) -> Result<(), Failure> {
        let doubtful = std::mem::take(&mut self.doubtful);
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
        for uid in doubtful.iter() {
            let left = if !done.ok || there.contains(uid) {
                Left::Refused("the server lists it, but gives no answer for it that can be read".to_owned())
            } else {
                Left::Vanished
            };
            self.left.push((uid, left));
        }
        Ok(())
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
                self.missing.insert(uid, Some("the server answered without the message".to_owned()));
            }
            return Ok(piece.map(Event::Stray));
        };
        if flags.is_none() && !self.alone {
            self.missing.insert(uid, Some("the server answered without the flags".to_owned()));
            return Ok(Some(Event::Stray(piece)));
        }
        for command in &mut self.flying {
            command.want.remove(uid);
        }
        self.missing.remove(&uid);
        let flags = flags.unwrap_or_default();
        Ok(Some(Event::Message(Fetched { uid, flags, received, piece })))
    }

    /// A short body may come as a quoted string: it takes the same way as the others.
    async fn deliver(&mut self, data: Vec<u8>) -> Result<u64, Failure> {
        self.inline += 1;
        for parcel in [Parcel::Begin(self.inline), Parcel::Data(data), Parcel::End] {
            self.sink
                .send(parcel.into())
                .await
                .map_err(|_| Failure::new(Kind::Destination, "the delivery stopped", ""))?;
        }
        Ok(self.inline)
    }

    fn done(&mut self, tag: &str, ok: bool, text: &str) -> Result<(), Failure> {
        let Some(at) = self.flying.iter().position(|c| c.tag == tag) else { return Ok(()) };
        let command = self.flying.swap_remove(at);
        let words = if ok {
            None
        } else {
            let failure = refusal("the server does not give it", text, Kind::Message, "");
            if matches!(failure.kind, Kind::Throttled | Kind::InUse) {
                return Err(failure);
            }
            Some(format!("the server does not give it: {}", quote(text)))
        };
        for uid in command.want.iter() {
            let said = self.missing.get(&uid).cloned().flatten();
            if self.alone {
                match words.clone().or(said) {
                    Some(words) => self.left.push((uid, Left::Refused(words))),
                    None => {
                        self.doubtful.insert(uid);
                    }
                }
            } else {
                self.missing.insert(uid, words.clone().or(said));
            }
        }
        Ok(())
    }
}
