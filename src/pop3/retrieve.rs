//! Whole messages, many on their way at once. It refuses to hold them: each piece goes on as it comes, and
//! a slow receiver slows the server down. What was brought whole before a connection broke stays brought;
//! but of a server whose answers are out of step nothing is believed, since any message may be another's.

use ring::digest::{Context, SHA256};
use tokio::sync::mpsc::Sender;

use super::machine::Expect;
use super::refusal::{Scrub, Step, failure, kind};
use super::session::{Session, Window};
use super::wire::is_ok;
use crate::failure::{Failure, Kind};
use crate::message::Parcel;

/// RETR commands that may wait for their answers, if the server allows it (RFC 2449, 6.6).
const WINDOW: usize = 32;

/// What became of one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Retrieved {
    /// It was passed on in full.
    Whole {
        /// What it really had.
        octets: u64,
        /// The first 128 bits of SHA-256 over it.
        digest: u128,
    },
    /// The server refused; its words.
    Refused(String),
    /// It went on beyond the limit though the list had promised otherwise, and was abandoned there.
    TooLarge {
        /// What it had, or what of it was read before the session was given up.
        octets: u64,
    },
}

/// What became of the messages that were asked for. Without `broken`, `done` names all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retrieval {
    /// In the order asked for.
    pub done: Vec<(u32, Retrieved)>,
    /// What ended the session before the next message was done.
    pub broken: Option<Failure>,
}

impl Session {
    /// Fetches `numbers` by RETR and passes them to `sink` as parcels: `Begin` with the number, the octets,
    /// `End`, or `Abandon` if the rest will never come. A refused message makes no parcels. A message with
    /// more than `limit` octets is abandoned and read to its end, so that those behind it come; with more
    /// than twice the limit the session ends. Dropping the future ends the session in the middle, without
    /// `Abandon`.
    pub async fn retrieve<T: From<Parcel> + Send + 'static>(
        &mut self,
        numbers: &[u32],
        limit: Option<u64>,
        sink: &Sender<T>,
    ) -> Retrieval {
        let width = if self.capabilities.pipelining { WINDOW } else { 1 };
        let mut window = Window::new(numbers, width);
        let mut done = Vec::with_capacity(numbers.len());
        let mut limit = Limit { octets: limit.unwrap_or(u64::MAX), exceeded: 0 };
        loop {
            let number = match self.next(&mut window, "RETR", "", Expect::Lines).await {
                Ok(Some(number)) => number,
                Ok(None) => break,
                Err(failure) => return broken(done, failure),
            };
            match self.one(number, &mut limit, sink).await {
                Ok(retrieved) => done.push((number, retrieved)),
                Err(failure) if limit.exceeded > 0 => {
                    done.push((number, Retrieved::TooLarge { octets: limit.exceeded }));
                    return Retrieval { done, broken: Some(failure) };
                }
                Err(failure) => return broken(done, failure),
            }
        }
        if numbers.is_empty() {
            return Retrieval { done, broken: None };
        }
        // A line too many, and every answer since was another message's. Whatever the answer to this is, it
        // has to be the last thing that comes.
        match self.in_step().await {
            Ok(()) => Retrieval { done, broken: None },
            Err(failure) => broken(done, failure),
        }
    }

    async fn one<T: From<Parcel>>(
        &mut self,
        number: u32,
        limit: &mut Limit,
        sink: &Sender<T>,
    ) -> Result<Retrieved, Failure> {
        let reply = self.wire.status().await?;
        if !is_ok(&reply) {
            let (quote, step) = (Scrub::default().quote(&reply), Step::Work("RETR"));
            // What the server cannot do now it cannot do for the next one, either (RFC 3206, 4).
            let passes = match kind(step, &reply) {
                Kind::Unavailable | Kind::Throttled => true,
                // Of a message it may say anything without the code.
                Kind::InUse => reply.code.is_some(),
                _ => false,
            };
            return match passes {
                true => Err(failure(step, &reply, &quote, self.wire.host(), "", None)),
                false => Ok(Retrieved::Refused(quote)),
            };
        }
        self.pass(sink, Parcel::Begin(number.into())).await?;
        let body = self.body(number, limit, sink).await;
        if !matches!(body, Ok(Retrieved::Whole { .. })) {
            // If nobody receives any more, nobody has to be told.
            sink.send(Parcel::Abandon.into()).await.ok();
        }
        body
    }

    async fn body<T: From<Parcel>>(
        &mut self,
        number: u32,
        limit: &mut Limit,
        sink: &Sender<T>,
    ) -> Result<Retrieved, Failure> {
        let (mut octets, mut first, mut misplaced) = (0u64, true, false);
        let mut digest = Context::new(&SHA256);
        while let Some(data) = self.wire.data().await? {
            octets += data.len() as u64;
            if octets > limit.octets.saturating_mul(2) {
                limit.exceeded = octets;
                let host = self.wire.host();
                let words = format!(
                    "message {number} at {host} is larger than LIST said and goes on beyond twice the limit of \
                     {} octets",
                    limit.octets
                );
                return Err(self.wire.give_up(Failure::new(Kind::Protocol, words, "")));
            }
            // No header begins so (RFC 5322, 2.2): a line came that nobody asked for, and was taken for the reply.
            if first && (data.starts_with(b"+OK") || data.starts_with(b"-ERR")) {
                misplaced = true;
            }
            first = false;
            if octets <= limit.octets && !misplaced {
                digest.update(&data);
                self.pass(sink, Parcel::Data(data)).await?;
            }
        }
        if octets > limit.octets {
            return Ok(Retrieved::TooLarge { octets });
        }
        if misplaced {
            return Ok(Retrieved::Refused("another reply stood before the message".to_owned()));
        }
        self.pass(sink, Parcel::End).await?;
        let digest = digest.finish();
        let digest = digest.as_ref().iter().take(16).fold(0, |sum, octet| (sum << 8) | u128::from(*octet));
        Ok(Retrieved::Whole { octets, digest })
    }

    /// Whether commands and answers still belong together.
    async fn in_step(&mut self) -> Result<(), Failure> {
        self.wire.command("NOOP", Expect::Line).await?;
        self.wire.check_idle()
    }

    async fn pass<T: From<Parcel>>(&mut self, sink: &Sender<T>, parcel: Parcel) -> Result<(), Failure> {
        if sink.send(parcel.into()).await.is_ok() {
            return Ok(());
        }
        Err(self.wire.give_up(Failure::new(Kind::Destination, "delivery stopped", "")))
    }
}

struct Limit {
    octets: u64,
    /// What was read of the message that ended the session; 0 if none did.
    exceeded: u64,
}

/// A `-ERR` with nothing behind it but the end was said to the session ("autologout"), not to the message. If
/// the protocol was broken, nothing is believed.
fn broken(mut done: Vec<(u32, Retrieved)>, mut failure: Failure) -> Retrieval {
    if failure.kind == Kind::Protocol {
        done.clear();
    }
    if failure.kind == Kind::Disconnected
        && let Some((_, Retrieved::Refused(words))) = done.last()
    {
        failure.words = format!("{} after it said: {words}", failure.words);
        done.pop();
    }
    Retrieval { done, broken: Some(failure) }
}
