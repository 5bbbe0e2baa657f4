//! Octets in, events out: replies (RFC 1939, 3) with response codes (RFC 2449, 8), and the bodies that
//! follow some of them. It knows no socket and no clock, and refuses lines without end and octets that
//! nobody asked for.
//!
//! ```text
//!            status line, Expect::Line, or refused
//!          ┌──────────────────────────────────────┐
//!          ▼                                      │
//!   waiting for a status line ────────────────────┘
//!          │  ▲
//!     +OK, │  │ the line "."
//!    Lines ▼  │
//!       inside a body
//! ```

use std::collections::VecDeque;

use memchr::memchr;

use super::unstuff::Unstuff;

/// A status line may have so many octets, with its end. RFC 2449, 4 allows 512; some servers tell stories.
pub const LINE_LIMIT: usize = 8 << 10;
/// So many blank lines between two answers say nothing.
pub(super) const BLANKS: usize = 4;
/// [`Event::Data`] carries at most so many octets.
const DATA_LIMIT: usize = 64 << 10;

/// What a command is answered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// One line.
    Line,
    /// One line, and a body if that is `+OK`.
    Lines,
}

/// How a reply begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// `+OK`
    Ok,
    /// `-ERR`
    Err,
    /// `+`, which asks for more (RFC 5034, 4).
    More,
}

/// A status line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// How it begins.
    pub status: Status,
    /// Its response code, without brackets, in capitals (`SYS/TEMP`).
    pub code: Option<String>,
    /// What follows, as it came, without the line's end.
    pub text: Vec<u8>,
}

/// What the octets said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A reply. `+OK` to [`Expect::Lines`] is followed by `Data` and one `End`.
    Reply(Reply),
    /// Octets of a body, 64 KiB at most, never none.
    Data(Vec<u8>),
    /// The body is complete.
    End,
}

/// The server broke the protocol; there is no way to find back into step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// A status line exceeds [`LINE_LIMIT`].
    #[error("it sent a reply without end")]
    LineTooLong,
    /// A line is neither `+OK` nor `-ERR`. It is not quoted: it may be a piece of a message.
    #[error("it sent something that is no reply")]
    NotAReply,
    /// Octets came that nobody asked for.
    #[error("it sent something that nobody asked for")]
    Unasked,
}

/// One connection's worth of replies.
#[derive(Debug, Default)]
pub struct Machine {
    /// So many blank lines may come before the next status line; none before the greeting.
    blanks: usize,
    expected: VecDeque<Expect>,
    state: State,
}

#[derive(Debug, Default)]
enum State {
    /// Waiting for a status line.
    #[default]
    Status,
    /// Inside a body.
    Body(Unstuff),
    /// The body's last octets were handed out, its `End` was not.
    Ended,
}

impl Machine {
    /// Nothing is expected yet, not even the greeting.
    pub fn new() -> Machine {
        Machine::default()
    }

    /// A command was sent that is answered with `expect`. Answers come in the order of the commands.
    pub fn expect(&mut self, expect: Expect) {
        self.expected.push_back(expect);
    }

    /// An answer came that nobody asked for, and was taken for the next one, which is one line: that comes still.
    pub fn expect_first(&mut self) {
        self.expected.push_front(Expect::Line);
    }

    /// Whether every command was answered in full.
    pub fn is_idle(&self) -> bool {
        self.expected.is_empty() && matches!(self.state, State::Status)
    }

    /// Reads the next event from the beginning of `input`; says how many octets to take off it. Without an
    /// event, more octets are needed behind those that are left.
    pub fn step(&mut self, input: &[u8]) -> Result<(usize, Option<Event>), Broken> {
        let body = match &mut self.state {
            State::Status => return self.status_line(input),
            State::Body(body) => body,
            State::Ended => {
                self.state = State::Status;
                return Ok((0, Some(Event::End)));
            }
        };
        // One octet less: a CR may have been held back.
        let piece = input.get(..DATA_LIMIT - 1).unwrap_or(input);
        let mut data = Vec::with_capacity(piece.len() + 1);
        let (used, ended) = body.feed(piece, &mut data);
        if ended {
            self.state = if data.is_empty() { State::Status } else { State::Ended };
        }
        let event = match (data.is_empty(), ended) {
            (false, _) => Some(Event::Data(data)),
            (true, true) => Some(Event::End),
            (true, false) => None,
        };
        Ok((used, event))
    }

    fn status_line(&mut self, input: &[u8]) -> Result<(usize, Option<Event>), Broken> {
        if input.is_empty() {
            return Ok((0, None));
        }
        let Some(&expect) = self.expected.front() else { return Err(Broken::Unasked) };
        // A blank line between two answers says nothing.
        let blank = blank_lines(input, self.blanks);
        self.blanks -= memchr::memchr_iter(b'\n', input.get(..blank).unwrap_or_default()).count();
        let input = input.get(blank..).unwrap_or_default();
        let Some(lf) = memchr(b'\n', input) else {
            return if input.len() < LINE_LIMIT { Ok((blank, None)) } else { Err(Broken::LineTooLong) };
        };
        if lf >= LINE_LIMIT {
            return Err(Broken::LineTooLong);
        }
        let line = input.get(..lf).unwrap_or_default();
        let bare_lf = !line.ends_with(b"\r");
        let reply = Reply::parse(line.strip_suffix(b"\r").unwrap_or(line)).ok_or(Broken::NotAReply)?;
        self.expected.pop_front();
        self.blanks = BLANKS;
        if reply.status == Status::Ok && expect == Expect::Lines {
            self.state = State::Body(Unstuff::new(bare_lf));
        }
        Ok((blank + lf + 1, Some(Event::Reply(reply))))
    }
}

/// How many bytes the blank lines take that `input` begins with, `most` lines at most.
pub(super) fn blank_lines(input: &[u8], most: usize) -> usize {
    let mut used = 0;
    for _ in 0..most {
        match input.get(used..) {
            Some([b'\r', b'\n', ..]) => used += 2,
            Some([b'\n', ..]) => used += 1,
            _ => break,
        }
    }
    used
}

impl Reply {
    /// Reads a line without its end. Small letters are accepted, as some servers write them.
    fn parse(line: &[u8]) -> Option<Reply> {
        let starts = |word: &[u8]| {
            let (head, rest) = line.split_at_checked(word.len())?;
            (head.eq_ignore_ascii_case(word) && !rest.first().is_some_and(u8::is_ascii_alphanumeric))
                .then_some(rest)
        };
        let (status, rest) = if let Some(rest) = starts(b"+OK") {
            (Status::Ok, rest)
        } else if let Some(rest) = starts(b"-ERR") {
            (Status::Err, rest)
        } else {
            match line {
                [b'+'] => (Status::More, line.get(1..)?),
                [b'+', b' ', ..] => (Status::More, line.get(2..)?),
                _ => return None,
            }
        };
        let text = rest.trim_ascii();
        let (code, text) = split_code(text).map_or((None, text), |(code, text)| (Some(code), text));
        Some(Reply { status, code, text: text.to_vec() })
    }
}

fn split_code(text: &[u8]) -> Option<(String, &[u8])> {
    let inside = text.strip_prefix(b"[")?;
    let end = memchr(b']', inside).filter(|end| (1..=64).contains(end))?;
    let (code, rest) = inside.split_at_checked(end)?;
    let code = std::str::from_utf8(code).ok()?;
    // RFC 2449, 3: any printable character but the brackets; a blank makes it prose.
    code.chars()
        .all(|c| c.is_ascii_graphic())
        .then(|| (code.to_ascii_uppercase(), rest.strip_prefix(b"]").unwrap_or(rest).trim_ascii_start()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// All events, with the data of one body put together; pieces of `piece` octets.
    fn run(expect: &[Expect], wire: &[u8], piece: usize) -> (Vec<Event>, Option<Broken>) {
        let (mut machine, mut events, mut buffer) = (Machine::new(), Vec::new(), Vec::new());
        expect.iter().for_each(|e| machine.expect(*e));
        for part in wire.chunks(piece.max(1)) {
            buffer.extend_from_slice(part);
            loop {
                let (used, event) = match machine.step(&buffer) {
                    Ok(step) => step,
                    Err(broken) => return (events, Some(broken)),
                };
                buffer.drain(..used);
                match (event, events.last_mut()) {
                    (Some(Event::Data(more)), Some(Event::Data(data))) => data.extend(more),
                    (Some(event), _) => events.push(event),
                    (None, _) => break,
                }
            }
        }
        (events, None)
    }

    fn reply(status: Status, code: Option<&str>, text: &str) -> Event {
        Event::Reply(Reply { status, code: code.map(str::to_owned), text: text.into() })
    }

    proptest! {
        #[test]
        fn octets_may_be_split_anywhere(
            parts in prop::collection::vec(prop::sample::select(vec![
                "+OK", "-ERR", " ", "[IN-USE]", "\r\n", "\n", ".", "..", "x", "+ ", "\r",
            ]), 0..40),
            lines in prop::collection::vec(prop::sample::select(vec![Expect::Line, Expect::Lines]), 0..9),
            piece in 1usize..9,
        ) {
            let wire = parts.concat();
            let whole = run(&lines, wire.as_bytes(), usize::MAX);
            prop_assert_eq!(run(&lines, wire.as_bytes(), piece), whole);
        }
    }

    #[test]
    fn replies_bodies_and_refusals_in_order() {
        let wire = b"+OK\r\nTo: a\r\n..\r\n.\r\n-ERR [sys/temp] later\r\n+OK\r\n.\r\n+ \r\n+OK bye\n";
        let lines = [Expect::Lines, Expect::Lines, Expect::Lines, Expect::Line, Expect::Line];
        let want = vec![
            reply(Status::Ok, None, ""),
            Event::Data(b"To: a\r\n.\r\n".to_vec()),
            Event::End,
            reply(Status::Err, Some("SYS/TEMP"), "later"),
            reply(Status::Ok, None, ""),
            Event::End,
            reply(Status::More, None, ""),
            reply(Status::Ok, None, "bye"),
        ];
        assert_eq!(run(&lines, wire, 7), (want, None));
    }

    #[test]
    fn what_is_refused() {
        let broken = |wire: &[u8]| run(&[Expect::Line], wire, 1000).1;
        assert_eq!(broken(b"Subject: secret\r\n"), Some(Broken::NotAReply));
        assert_eq!(broken(b"+OKAY\r\n"), Some(Broken::NotAReply));
        assert_eq!(broken(b"+OK\r\n+OK\r\n"), Some(Broken::Unasked));
        assert_eq!(broken(&vec![b'+'; LINE_LIMIT]), Some(Broken::LineTooLong));
        let long = [b"+OK ".as_slice(), &vec![b'x'; LINE_LIMIT], b"\r\n"].concat();
        assert_eq!(broken(&long), Some(Broken::LineTooLong));
    }

    #[test]
    fn data_comes_in_pieces_of_64_kib_at_most() {
        let mut wire = b"+OK\r\n".to_vec();
        wire.extend(std::iter::repeat_n(b"0123456789abcdef\r\n", 20_000).flatten());
        wire.extend(b".\r\n");
        let mut machine = Machine::new();
        machine.expect(Expect::Lines);
        let (mut rest, mut total) = (wire.as_slice(), 0);
        loop {
            let (used, event) = machine.step(rest).unwrap();
            rest = &rest[used..];
            match event.unwrap() {
                Event::Data(data) => {
                    assert!(data.len() <= 64 << 10);
                    total += data.len();
                }
                Event::End => break,
                Event::Reply(_) => {}
            }
        }
        assert_eq!(total, 18 * 20_000);
        assert!(machine.is_idle());
    }
}
