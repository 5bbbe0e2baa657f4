//! The thin driver: sends command lines, reads what comes, feeds the machine. It refuses arguments that
//! hold a line end, a peer that trickles, and to go on after anything went wrong.

use std::fmt;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use zeroize::Zeroizing;

use super::machine::{BLANKS, Event, Expect, Machine, Reply, Status, blank_lines};
use crate::failure::{Failure, Kind};
use crate::net::{self, Stream};

/// Asked for at each read.
const READ: usize = 64 << 10;
/// Within so much time spent waiting ...
const PACE_TIME: Duration = Duration::from_secs(300);
/// ... so many octets must come, or the peer only pretends to be alive.
const PACE_OCTETS: usize = 512;
/// The second of several commands that were sent at once is waited for as long as this: a server that has thrown it away never
/// answers it.
const SECOND: Duration = Duration::from_secs(10);

/// One connection in use.
pub(super) struct Wire {
    stream: Stream,
    machine: Machine,
    host: String,
    port: u16,
    /// Read, not yet understood; from `start` on.
    buffer: Vec<u8>,
    start: usize,
    pace: Pace,
    burst: Burst,
    /// What ended this connection.
    broken: Option<Failure>,
}

/// The commands that were sent at once last.
#[derive(Debug, Clone, Copy, Default)]
struct Burst {
    sent: usize,
    answered: usize,
}

impl Burst {
    /// The first was answered, and nothing since.
    fn has_one(self) -> bool {
        self.sent > 1 && self.answered == 1
    }
}

impl fmt::Debug for Wire {
    /// Without the buffer: it holds mail.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Wire({}:{}, {:?}, broken: {:?})", self.host, self.port, self.stream, self.broken)
    }
}

impl Wire {
    pub(super) fn new(stream: Stream, host: &str, port: u16) -> Wire {
        Wire {
            stream,
            machine: Machine::new(),
            host: host.to_owned(),
            port,
            buffer: Vec::new(),
            start: 0,
            pace: Pace::default(),
            burst: Burst::default(),
            broken: None,
        }
    }

    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// From now on, so much silence ends the connection.
    pub(super) fn set_stall(&mut self, stall: Duration) {
        self.stream.set_stall(stall);
    }

    /// See [`Stream::begin_work`].
    pub(super) fn begin_work(&mut self, stall: Duration) {
        self.stream.begin_work(stall);
    }

    /// See [`Stream::hurry`].
    pub(super) fn hurry(&mut self) {
        self.stream.hurry(true);
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Whether the connection ended when of several commands at once only the first had been answered.
    pub(super) fn answered_one_of_many(&self) -> bool {
        let gone = |failure: &Failure| matches!(failure.kind, Kind::Stalled | Kind::Disconnected);
        self.broken.as_ref().is_some_and(gone) && self.burst.has_one()
    }

    /// Sends `count` commands at once, as [`Wire::send`]; 0: others wait for their answers still.
    pub(super) async fn send_burst(&mut self, lines: &[u8], count: usize) -> Result<(), Failure> {
        self.burst = Burst { sent: count, answered: 0 };
        self.send(lines).await
    }

    /// Gives the connection up for a TLS handshake. Octets that were sent ahead of it would be taken for
    /// the server's though nobody vouches for them (RFC 2595, 8; CVE-2011-0411 and its kin).
    pub(super) fn into_stream(self) -> Result<Stream, Failure> {
        if self.buffer.len() > self.start || !self.machine.is_idle() {
            let words = format!("{} sent more in plain text after it agreed to STLS", self.host);
            return Err(Failure::new(Kind::Protocol, words, "somebody may be tampering with the connection"));
        }
        Ok(self.stream)
    }

    /// An answer will come: to the connection itself (the greeting) or to what is sent next.
    pub(super) fn expect(&mut self, expect: Expect) {
        self.machine.expect(expect);
    }

    /// Sends lines that are complete already. Call [`Wire::expect`] once for each.
    pub(super) async fn send(&mut self, lines: &[u8]) -> Result<(), Failure> {
        self.check()?;
        let sent = async {
            self.stream.write_all(lines).await?;
            self.stream.flush().await
        };
        if let Err(error) = sent.await {
            let failure = net::io_failure(&self.host, self.port, &error);
            return Err(self.give_up(failure));
        }
        Ok(())
    }

    /// Sends one command and reads its status line.
    pub(super) async fn command(&mut self, line: &str, expect: Expect) -> Result<Reply, Failure> {
        self.check_quiet()?;
        self.expect(expect);
        self.burst = Burst::default();
        self.send(format!("{line}\r\n").as_bytes()).await?;
        self.status().await
    }

    /// Sends a word and octets that a person wrote, perhaps a secret. `expect` is one line.
    pub(super) async fn command_with(&mut self, word: &str, argument: &[u8]) -> Result<Reply, Failure> {
        if argument.iter().any(|octet| matches!(octet, b'\r' | b'\n' | 0)) {
            let words = "the username or password holds a line end or NUL";
            return Err(Failure::new(Kind::Secret, words, "write it anew, on one line"));
        }
        // Its size is known, so that it never moves and leaves a copy behind.
        let mut line = Zeroizing::new(Vec::with_capacity(word.len() + argument.len() + 3));
        line.extend_from_slice(word.as_bytes());
        if !word.is_empty() {
            line.push(b' ');
        }
        line.extend_from_slice(argument);
        line.extend_from_slice(b"\r\n");
        self.check_quiet()?;
        self.expect(Expect::Line);
        self.send(&line).await?;
        self.status().await
    }

    /// The next event; a read is waited for if there is none yet.
    pub(super) async fn event(&mut self) -> Result<Event, Failure> {
        self.check()?;
        loop {
            let input = self.buffer.get(self.start..).unwrap_or_default();
            match self.machine.step(input) {
                Ok((used, event)) => {
                    self.start += used;
                    if let Some(event) = event {
                        return Ok(event);
                    }
                }
                Err(broken) => {
                    let words = format!("{} broke the protocol: {broken}", self.host);
                    return Err(self.give_up(Failure::new(Kind::Protocol, words, "")));
                }
            }
            self.fill().await?;
        }
    }

    /// The first line that has come and was not read.
    pub(super) fn unread_line(&self) -> Vec<u8> {
        let unread = self.buffer.get(self.start..).unwrap_or_default();
        unread.split(|byte| *byte == b'\n').next().unwrap_or_default().trim_ascii().to_vec()
    }

    /// The next status line.
    pub(super) async fn status(&mut self) -> Result<Reply, Failure> {
        let event = match self.burst.has_one() {
            false => self.event().await?,
            true => match tokio::time::timeout(SECOND, self.event()).await {
                Ok(event) => event?,
                Err(_) => {
                    let words =
                        format!("{}:{} answers only the first of several commands", self.host, self.port);
                    return Err(self.give_up(Failure::new(Kind::Stalled, words, "")));
                }
            },
        };
        match event {
            Event::Reply(reply) => {
                self.burst.answered += 1;
                Ok(reply)
            }
            Event::Data(_) | Event::End => Err(self.out_of_step()),
        }
    }

    /// The next piece of a body, `None` at its end.
    pub(super) async fn data(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        match self.event().await? {
            Event::Data(data) => Ok(Some(data)),
            Event::End => Ok(None),
            Event::Reply(_) => Err(self.out_of_step()),
        }
    }

    /// Reads a body line by line, without line ends. A line may have `longest` octets, all lines `limit`.
    pub(super) async fn lines(
        &mut self,
        limit: u64,
        longest: usize,
        mut take: impl FnMut(&[u8]) -> Result<(), &'static str>,
    ) -> Result<(), Failure> {
        let (mut rest, mut total) = (Vec::new(), 0u64);
        while let Some(data) = self.data().await? {
            total += data.len() as u64;
            if total > limit {
                return Err(self.protocol("it sent a list without end"));
            }
            rest.extend_from_slice(&data);
            let complete = memchr::memrchr(b'\n', &rest).map_or(0, |lf| lf + 1);
            for line in rest.get(..complete).unwrap_or_default().split_inclusive(|octet| *octet == b'\n') {
                take(line.trim_ascii()).map_err(|why| self.protocol(why))?;
            }
            rest.drain(..complete);
            if rest.len() > longest {
                return Err(self.protocol("it sent a line without end"));
            }
        }
        if rest.is_empty() { Ok(()) } else { take(rest.trim_ascii()).map_err(|why| self.protocol(why)) }
    }

    /// Ends the connection for a breach of the protocol.
    pub(super) fn protocol(&mut self, why: &str) -> Failure {
        let words = format!("{} broke the protocol: {why}", self.host);
        self.give_up(Failure::new(Kind::Protocol, words, ""))
    }

    /// Ends the connection: nothing is sent or read any more.
    pub(super) fn give_up(&mut self, failure: Failure) -> Failure {
        self.broken.get_or_insert_with(|| failure.clone());
        failure
    }

    /// Before new work: nothing of earlier work is left. It is, if a caller dropped that halfway.
    pub(super) fn check_idle(&mut self) -> Result<(), Failure> {
        self.check_quiet()?;
        if self.machine.is_idle() {
            return Ok(());
        }
        let words = format!("the session with {} was interrupted", self.host);
        Err(self.give_up(Failure::new(Kind::Disconnected, words, "")))
    }

    /// Says goodbye to the transport; the outcome does not matter any more.
    pub(super) async fn close(mut self) {
        if let Ok(Err(error)) = tokio::time::timeout(Duration::from_secs(1), self.stream.shutdown()).await {
            tracing::debug!(%error, host = self.host, "no orderly end of the connection");
        }
    }

    /// One more status line, though no more commands are to be answered: the last one was not asked for.
    pub(super) async fn status_instead(&mut self) -> Result<Reply, Failure> {
        self.machine.expect_first();
        match tokio::time::timeout(SECOND, self.status()).await {
            Ok(reply) => reply,
            Err(_) => Err(self.out_of_step()),
        }
    }

    /// Whether a status line has come that nobody asked for, where nothing else has: it is read over.
    pub(super) fn pass_over(&mut self) {
        let unread = self.buffer.get(self.start..).unwrap_or_default();
        if self.machine.is_idle() && unread.starts_with(b"+OK") {
            let line = memchr::memchr(b'\n', unread).map(|end| end + 1);
            self.start += line.filter(|line| *line == unread.len()).unwrap_or(0);
        }
    }

    /// Before a command: what came since the last answer would be taken for the answer to this one.
    pub(super) fn check_quiet(&mut self) -> Result<(), Failure> {
        self.check()?;
        if self.machine.is_idle() {
            self.start += blank_lines(self.buffer.get(self.start..).unwrap_or_default(), BLANKS);
        }
        if self.buffer.len() > self.start && self.machine.is_idle() {
            return Err(self.protocol("it sent something that nobody asked for"));
        }
        Ok(())
    }

    fn check(&self) -> Result<(), Failure> {
        self.broken.clone().map_or(Ok(()), Err)
    }

    fn out_of_step(&mut self) -> Failure {
        self.protocol("its answers are out of step")
    }

    async fn fill(&mut self) -> Result<(), Failure> {
        self.buffer.drain(..self.start);
        self.start = 0;
        self.buffer.reserve(READ);
        let before = Instant::now();
        let read = self.stream.read_buf(&mut self.buffer).await;
        let failure = match read {
            Ok(0) => net::io_failure(&self.host, self.port, &std::io::ErrorKind::UnexpectedEof.into()),
            Ok(octets) if self.pace.keeps(before.elapsed(), octets) => return Ok(()),
            Ok(_) => {
                let words = format!("{}:{} trickles instead of answering", self.host, self.port);
                Failure::new(Kind::Stalled, words, "")
            }
            Err(error) => net::io_failure(&self.host, self.port, &error),
        };
        Err(self.give_up(failure))
    }
}

/// Whether a status is `+OK`.
pub(super) fn is_ok(reply: &Reply) -> bool {
    reply.status == Status::Ok
}

/// How much came in how much waiting. Time in which nobody read does not count.
#[derive(Debug, Default)]
struct Pace {
    waited: Duration,
    octets: usize,
}

impl Pace {
    fn keeps(&mut self, waited: Duration, octets: usize) -> bool {
        // One long wait is for the stall limit to judge.
        self.waited += waited.min(PACE_TIME / 5);
        self.octets = self.octets.saturating_add(octets);
        if self.waited < PACE_TIME {
            return true;
        }
        let kept = self.octets >= PACE_OCTETS;
        *self = Pace::default();
        kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trickle_is_no_answer() {
        let mut pace = Pace::default();
        let drip = Duration::from_secs(50);
        assert!((0..5).all(|_| pace.keeps(drip, 1)));
        assert!(!pace.keeps(drip, 1));
        assert!((0..60).all(|_| pace.keeps(drip, 200)));
    }
}
