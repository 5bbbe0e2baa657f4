//! Whole messages, many on their way at once. It refuses to hold them: each piece goes on as it comes, and
//! a slow receiver slows the server down. What was brought whole before a connection broke stays brought.

use tokio::sync::mpsc::Sender;

use super::machine::Expect;
use super::refusal::Scrub;
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
    },
    /// The server refused; its words.
    Refused(String),
    /// It went on beyond the limit though the list had promised otherwise, and was abandoned there.
    TooLarge,
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
    /// more than `limit` octets is abandoned, and the session with it. Dropping the future ends the session
    /// in the middle, without `Abandon`.
    pub async fn retrieve<T: From<Parcel> + Send + 'static>(
        &mut self,
        numbers: &[u32],
        limit: Option<u64>,
        sink: &Sender<T>,
    ) -> Retrieval {
        let width = if self.capabilities.pipelining { WINDOW } else { 1 };
        let mut window = Window::new(numbers, width);
        let mut done = Vec::with_capacity(numbers.len());
        let mut limit = Limit { octets: limit.unwrap_or(u64::MAX), exceeded: false };
        loop {
            let number = match self.next(&mut window, "RETR", "", Expect::Lines).await {
                Ok(Some(number)) => number,
                Ok(None) => return Retrieval { done, broken: None },
                Err(failure) => return broken(done, failure),
            };
            match self.one(number, &mut limit, sink).await {
                Ok(retrieved) => done.push((number, retrieved)),
                Err(failure) if limit.exceeded => {
                    done.push((number, Retrieved::TooLarge));
                    return Retrieval { done, broken: Some(failure) };
                }
                Err(failure) => return broken(done, failure),
            }
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
            return Ok(Retrieved::Refused(Scrub::default().quote(&reply)));
        }
        self.pass(sink, Parcel::Begin(number.into())).await?;
        let body = self.body(number, limit, sink).await;
        if body.is_err() {
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
        let mut octets = 0u64;
        while let Some(data) = self.wire.data().await? {
            octets += data.len() as u64;
            if octets > limit.octets {
                limit.exceeded = true;
                let host = self.wire.host();
                let words = format!(
                    "message {number} at {host} is larger than LIST said and than the limit of {} octets",
                    limit.octets
                );
                return Err(self.wire.give_up(Failure::new(Kind::Protocol, words, "")));
            }
            self.pass(sink, Parcel::Data(data)).await?;
        }
        self.pass(sink, Parcel::End).await?;
        Ok(Retrieved::Whole { octets })
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
    exceeded: bool,
}

/// A `-ERR` with nothing behind it but the end was said to the session ("autologout"), not to the message.
fn broken(mut done: Vec<(u32, Retrieved)>, mut failure: Failure) -> Retrieval {
    if failure.kind == Kind::Disconnected
        && let Some((_, Retrieved::Refused(words))) = done.last()
    {
        failure.words = format!("{} after it said: {words}", failure.words);
        done.pop();
    }
    Retrieval { done, broken: Some(failure) }
}
