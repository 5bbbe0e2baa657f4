//! Whole messages, many on their way at once, each believed only by the rule of [`super::belief`]. What is doubtful is fetched
//! again: together with the other doubtful ones first, then alone. It refuses to hold more than a short message: the pieces of a
//! longer one go on as they come, a slow receiver slows the server down, and the receiver hears of the end of a message only when
//! it is believed.

use std::collections::BTreeMap;

use ring::digest::{Context, SHA256};
use tokio::sync::mpsc::Sender;

use super::belief::{Belief, Fit, Look, Named, Wanted};
use super::machine::{Expect, Reply};
use super::refusal::{Scrub, Step, failure, kind};
use super::session::{Session, Window};
use super::wire::is_ok;
use crate::failure::{Failure, Kind};
use crate::message::Parcel;
use crate::net::Quirk;

/// RETR commands that may wait for their answers, if the server allows it (RFC 2449, 6.6).
const WINDOW: usize = 32;
/// A message of at most so many bytes goes on in one piece once it is believed: the receiver wakes up once.
const SHORT: usize = 64 << 10;
/// Bytes of a header that anybody looks at.
pub const HEADER: usize = 32 << 10;
const WRITTEN_BY_SERVERS: [&str; 6] = ["status", "x-status", "x-uidl", "x-uid", "lines", "content-length"];
/// A doubtful message is asked for alone so often.
const ALONE: usize = 2;

/// What became of one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Retrieved {
    /// It was passed on in full.
    Whole {
        /// What it really had, in bytes.
        octets: u64,
        /// The first 128 bits of SHA-256 over it.
        digest: u128,
        /// See [`head_of`].
        head: u32,
        /// It has another size than LIST says, each time, at a server whose other sizes are right: the original may be another.
        odd: bool,
    },
    /// The server refused, or gave nothing that can be believed; in words.
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
    /// By message number.
    pub done: BTreeMap<u32, Retrieved>,
    /// What ended the session before all of them were done.
    pub broken: Option<Ended>,
}

/// How a session ended in the middle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Why.
    pub failure: Failure,
    /// The message that was asked for, as far as can be known.
    pub over: Option<u32>,
    /// Nothing else was on its way.
    pub alone: bool,
    /// Of several commands at once only the first had been answered.
    pub one_of_many: bool,
}

/// How a message came at one look.
enum Came {
    Own { look: Look, odd: bool },
    Doubtful(Look),
    Refused(String),
    TooLarge(u64),
}

/// One retrieval on its way.
struct Round<'r, T: From<Parcel>> {
    sink: &'r Sender<T>,
    limit: u64,
    done: BTreeMap<u32, Retrieved>,
    /// How doubtful messages came at their last look; `None`: they were refused.
    doubts: BTreeMap<u32, Option<Look>>,
    /// What the server said to those that it refused.
    words: BTreeMap<u32, String>,
    over: Option<u32>,
    alone: bool,
    /// Of the last body that came; see [`head_of`].
    head: u32,
    /// The bytes of a message that the receiver has not heard of yet.
    held: Option<Vec<u8>>,
    /// The last message that was believed, and its number. The receiver hears of its end when the next answer is no other's.
    last: Option<(u32, Retrieved)>,
}

impl Session {
    /// Fetches messages by RETR and passes them to `sink` as parcels: `Begin` with the number, the octets, and `End` if it is
    /// believed to be the message, `Abandon` if not; after `Abandon` it may begin anew. Of a short one that is not believed nothing is passed on. A message with more than `limit` octets is
    /// abandoned and read to its end, so that those behind it come; with more than twice the limit the session ends. Dropping the
    /// future ends the session in the middle, without `Abandon`.
    pub async fn retrieve<T: From<Parcel> + Send + 'static>(
        &mut self,
        wanted: &[Wanted],
        limit: Option<u64>,
        sink: &Sender<T>,
    ) -> Retrieval {
        let mut round = Round {
            sink,
            limit: limit.unwrap_or(u64::MAX),
            done: BTreeMap::new(),
            doubts: BTreeMap::new(),
            words: BTreeMap::new(),
            over: None,
            alone: false,
            head: 0,
            held: None,
            last: None,
        };
        self.seen.wrong_sizes = self.has(Quirk::WrongSizes);
        let ended = match self.rounds(wanted, &mut round).await {
            Err(failure) if failure.kind == Kind::Protocol => {
                // An answer was another's: that of the message before may have been, too.
                round.doubt_last().await;
                Err(failure)
            }
            Err(failure) => round.end_last(self).await.and(Err(failure)),
            Ok(()) => Ok(()),
        };
        if self.seen.shows_wrong_sizes() {
            self.quirk(Quirk::WrongSizes);
        }
        let broken = ended.err().map(|mut failure| {
            let one_of_many = self.learn(&failure);
            let over = round.over.take();
            // A `-ERR` with nothing behind it but the end was said to the session ("autologout"), not to the message.
            if failure.kind == Kind::Disconnected
                && let Some(words) = over.and_then(|number| round.words.get(&number))
            {
                failure.words = format!("{} after it said: {words}", failure.words);
            }
            let alone = round.alone || self.width() == 1 || wanted.len() == 1;
            Ended { failure, over, alone, one_of_many }
        });
        Retrieval { done: round.done, broken }
    }

    /// All at once, the doubtful ones at once, the doubtful ones one by one.
    async fn rounds<T: From<Parcel>>(
        &mut self,
        wanted: &[Wanted],
        round: &mut Round<'_, T>,
    ) -> Result<(), Failure> {
        let all: Vec<&Wanted> = wanted.iter().collect();
        self.pass(&all, round).await?;
        if self.width() > 1 && round.doubts.len() > 1 {
            let doubtful = still_doubtful(&all, round);
            self.pass(&doubtful, round).await?;
        }
        for attempt in 1..=ALONE {
            for one in still_doubtful(&all, round) {
                round.alone = true;
                self.pass(&[one], round).await?;
                // A refusal stands when it was said to this message alone.
                let refused = round.doubts.get(&one.number) == Some(&None);
                if refused || (attempt == ALONE && round.doubts.contains_key(&one.number)) {
                    round.done.insert(one.number, Retrieved::Refused(self.in_words(one, round)));
                }
            }
        }
        Ok(())
    }

    /// Asks for each once.
    async fn pass<T: From<Parcel>>(
        &mut self,
        wanted: &[&Wanted],
        round: &mut Round<'_, T>,
    ) -> Result<(), Failure> {
        let Some(first) = wanted.first() else { return Ok(()) };
        round.over = Some(first.number);
        self.prove_naming(wanted).await?;
        let width = if round.alone { 1 } else { self.width() };
        let numbers: Vec<u32> = wanted.iter().map(|one| one.number).collect();
        let mut window = Window::new(&numbers, width);
        let naming = self.naming();
        let names: BTreeMap<u32, String> =
            wanted.iter().map(|one| (one.number, naming.command(one))).collect();
        let mut suspect = None;
        for &one in wanted {
            let before = round.over.replace(one.number).filter(|number| *number != one.number);
            let asked = self.ask(&mut window, ("RETR", ""), Expect::Lines, Some(&names)).await;
            if asked.as_ref().is_err_and(|failure| failure.kind == Kind::Protocol) {
                // What came too much came behind the message before.
                round.over = before.or(Some(one.number));
            }
            asked?;
            let came = match self.one(one, round).await {
                Ok(came) => came,
                Err(failure) => {
                    // An answer that was not quite the last message's was the beginning of what went wrong.
                    round.over = suspect.filter(|_| failure.broke()).or(round.over);
                    return Err(failure);
                }
            };
            suspect = matches!(came, Came::Doubtful(_)).then_some(one.number);
            match came {
                Came::Own { look, odd } => {
                    round.doubts.remove(&one.number);
                    let whole =
                        Retrieved::Whole { octets: look.octets, digest: look.digest, head: round.head, odd };
                    round.last = Some((one.number, whole));
                }
                Came::Doubtful(look) => drop(round.doubts.insert(one.number, Some(look))),
                Came::Refused(words) => {
                    round.words.insert(one.number, words);
                    round.doubts.insert(one.number, None);
                }
                Came::TooLarge(octets) => {
                    round.doubts.remove(&one.number);
                    round.done.insert(one.number, Retrieved::TooLarge { octets });
                }
            }
        }
        round.over = None;
        round.end_last(self).await
    }

    /// How many RETR may be on their way.
    fn width(&self) -> usize {
        if self.is_pipelined() { WINDOW } else { 1 }
    }

    /// The answer to one RETR and to what names it.
    async fn one<T: From<Parcel>>(
        &mut self,
        wanted: &Wanted,
        round: &mut Round<'_, T>,
    ) -> Result<Came, Failure> {
        let reply = self.wire.status().await?;
        let is_name = is_ok(&reply) && !reply.text.is_empty();
        if is_name && self.naming().judge(wanted, &reply) == Named::Own {
            return Err(self.wire.protocol("it does not answer RETR"));
        }
        round.end_last(self).await?;
        if !is_ok(&reply) {
            let words = self.refused_one(&reply)?;
            // The connection may end now: then this is why.
            round.words.insert(wanted.number, words.clone());
            self.named_or_refused(wanted).await?;
            return Ok(Came::Refused(words));
        }
        if round.sink.is_closed() {
            return Err(self.wire.give_up(stopped()));
        }
        round.held = Some(Vec::new());
        let came = self.body(wanted, round).await;
        if let Ok(Some(look)) = &came {
            self.seen.came(wanted, look);
        }
        let came = match came {
            Ok(Some(look)) => self.named(wanted).await.map(|named| match named {
                true => {
                    let before = round.doubts.get(&wanted.number).and_then(Option::as_ref);
                    match self.seen.judge(wanted, &look, before) {
                        Belief::Own { odd } => Came::Own { look, odd },
                        Belief::Doubtful => Came::Doubtful(look),
                    }
                }
                false => Came::Doubtful(look),
            }),
            Ok(None) => {
                let octets = round.octets_over(wanted.number);
                self.named(wanted).await.map(|_| Came::TooLarge(octets))
            }
            Err(failure) => Err(failure),
        };
        match &came {
            Ok(Came::Own { .. }) => {}
            // Nobody has heard of it; or, if nobody receives any more, nobody has to be told.
            _ if round.held.take().is_some() => {}
            _ => drop(round.sink.send(Parcel::Abandon.into()).await),
        }
        came
    }

    /// A `-ERR` to RETR, in words; a failure if it was said to the session.
    fn refused_one(&mut self, reply: &Reply) -> Result<String, Failure> {
        let (quote, step) = (Scrub::default().quote(reply), Step::Work("RETR"));
        // What the server cannot do now it cannot do for the next one, either (RFC 3206, 4).
        let passes = match kind(step, reply) {
            Kind::Unavailable | Kind::Throttled => true,
            // Of a message it may say anything without the code.
            Kind::InUse => reply.code.is_some(),
            _ => false,
        };
        if passes { Err(failure(step, reply, &quote, self.wire.host(), "", None)) } else { Ok(quote) }
    }

    /// The body of a message; `None`: it is beyond the limit.
    async fn body<T: From<Parcel>>(
        &mut self,
        wanted: &Wanted,
        round: &mut Round<'_, T>,
    ) -> Result<Option<Look>, Failure> {
        let mut look = Look { octets: 0, lines: 0, digest: 0, blank: true, misplaced: false };
        let mut digest = Context::new(&SHA256);
        // The same without a first line that may be another reply.
        let mut behind = None;
        let mut header = Vec::new();
        while let Some(data) = self.wire.data().await? {
            if look.octets == 0 && (data.starts_with(b"+OK") || data.starts_with(b"-ERR")) {
                let line = memchr::memchr(b'\n', &data).map_or(data.len(), |end| end + 1);
                let mut rest = Context::new(&SHA256);
                rest.update(data.get(line..).unwrap_or_default());
                behind = Some(rest);
            } else if let Some(behind) = behind.as_mut().filter(|_| look.octets <= round.limit) {
                behind.update(&data);
            }
            look.octets += data.len() as u64;
            if !ends_header(&header) {
                let room = HEADER.saturating_sub(header.len());
                header.extend_from_slice(data.get(..room).unwrap_or(&data));
            }
            look.blank &= data.iter().all(u8::is_ascii_whitespace);
            look.lines += memchr::memchr_iter(b'\n', &data).count() as u64;
            if look.octets > round.limit.saturating_mul(2) {
                round.done.insert(wanted.number, Retrieved::TooLarge { octets: look.octets });
                round.over = None;
                let (host, number) = (self.wire.host(), wanted.number);
                let words = format!(
                    "message {number} at {host} is larger than LIST said and goes on beyond twice the limit of \
                     {} octets",
                    round.limit
                );
                return Err(self.wire.give_up(Failure::new(Kind::Protocol, words, "")));
            }
            if look.octets <= round.limit {
                digest.update(&data);
                round.data(self, wanted.number, data).await?;
            }
        }
        if look.octets > round.limit {
            round.done.insert(wanted.number, Retrieved::TooLarge { octets: look.octets });
            return Ok(None);
        }
        // No header begins so (RFC 5322, 2.2): a line came that nobody asked for, and was taken for the reply. What follows may be
        // the message: whoever gets that later has a copy.
        let digest = match behind {
            Some(behind) if wanted.size.is_none_or(|size| look.fit(size) != Fit::Exact) => {
                look.misplaced = true;
                behind.finish()
            }
            _ => digest.finish(),
        };
        round.head = head_of(&header);
        look.digest = digest.as_ref().iter().take(16).fold(0, |sum, octet| (sum << 8) | u128::from(*octet));
        Ok(Some(look))
    }

    /// Why a message is given up that was asked for alone.
    fn in_words<T: From<Parcel>>(&self, one: &Wanted, round: &Round<'_, T>) -> String {
        match (round.doubts.get(&one.number), round.words.get(&one.number)) {
            (Some(Some(look)), _) if look.misplaced => "another reply stands before the message".to_owned(),
            (Some(Some(look)), _) if look.blank => match one.size {
                Some(size) => format!("the server gives nothing of it, though it lists {size} bytes"),
                None => "the server gives nothing of it".to_owned(),
            },
            (Some(Some(look)), _) => {
                format!("the server gives it differently each time, the last time with {} bytes", look.octets)
            }
            (_, words) => words.cloned().unwrap_or_default(),
        }
    }
}

/// Nobody receives any more.
fn stopped() -> Failure {
    Failure::new(Kind::Destination, "delivery stopped", "")
}

/// Whether the header is complete, or as long as anybody looks at.
fn ends_header(header: &[u8]) -> bool {
    header.len() >= HEADER || memchr::memmem::find(header, b"\r\n\r\n").is_some()
}

/// 32 bits over the header of a message, the same for what RETR and what TOP give of it. Fields that servers write themselves, and
/// anew when a message was read, do not count.
pub fn head_of(header: &[u8]) -> u32 {
    let header = header.get(..HEADER).unwrap_or(header);
    let end = memchr::memmem::find(header, b"\r\n\r\n").unwrap_or(header.len());
    let mut digest = Context::new(&SHA256);
    let mut own = true;
    for line in header.get(..end).unwrap_or(header).split(|octet| *octet == b'\n') {
        let line = line.trim_ascii_end();
        if !line.first().is_some_and(u8::is_ascii_whitespace) {
            let name = line.split(|octet| *octet == b':').next().unwrap_or_default();
            own = !WRITTEN_BY_SERVERS.iter().any(|field| name.eq_ignore_ascii_case(field.as_bytes()));
        }
        if own && !line.is_empty() {
            digest.update(line);
            digest.update(b"\n");
        }
    }
    digest.finish().as_ref().iter().take(4).fold(0, |sum, octet| (sum << 8) | u32::from(*octet))
}

/// In the order asked for.
fn still_doubtful<'w, T: From<Parcel>>(all: &[&'w Wanted], round: &Round<'_, T>) -> Vec<&'w Wanted> {
    let doubtful =
        |one: &&&Wanted| round.doubts.contains_key(&one.number) && !round.done.contains_key(&one.number);
    all.iter().filter(doubtful).copied().collect()
}

impl<T: From<Parcel>> Round<'_, T> {
    async fn send(&self, session: &mut Session, parcel: Parcel) -> Result<(), Failure> {
        if self.sink.send(parcel.into()).await.is_ok() {
            return Ok(());
        }
        Err(session.wire.give_up(stopped()))
    }

    /// The next bytes of a message.
    async fn data(&mut self, session: &mut Session, number: u32, data: Vec<u8>) -> Result<(), Failure> {
        match &mut self.held {
            Some(held) if held.is_empty() => *held = data,
            Some(held) if held.len() + data.len() <= SHORT => held.extend_from_slice(&data),
            _ => {
                self.release(session, number).await?;
                self.send(session, Parcel::Data(data)).await?;
            }
        }
        Ok(())
    }

    /// Passes on what was held.
    async fn release(&mut self, session: &mut Session, number: u32) -> Result<(), Failure> {
        let Some(held) = self.held.take() else { return Ok(()) };
        self.send(session, Parcel::Begin(number.into())).await?;
        match held.is_empty() {
            true => Ok(()),
            false => self.send(session, Parcel::Data(held)).await,
        }
    }

    /// The last message that was believed is whole.
    async fn end_last(&mut self, session: &mut Session) -> Result<(), Failure> {
        let Some((number, whole)) = self.last.take() else { return Ok(()) };
        self.release(session, number).await?;
        self.send(session, Parcel::End).await?;
        self.done.insert(number, whole);
        Ok(())
    }

    /// It may be another: it comes again in the next session.
    async fn doubt_last(&mut self) {
        // If nobody receives any more, nobody has to be told.
        if self.last.take().is_some() && self.held.take().is_none() {
            drop(self.sink.send(Parcel::Abandon.into()).await);
        }
    }

    fn octets_over(&self, number: u32) -> u64 {
        match self.done.get(&number) {
            Some(Retrieved::TooLarge { octets }) => *octets,
            _ => 0,
        }
    }
}
