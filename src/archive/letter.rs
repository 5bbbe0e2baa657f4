//! A message out of an archive on its way to whoever takes it: octets as they go over a wire, then what is known
//! besides them. It refuses messages that are too large.

use std::io;

use super::kinds::NoMail;
use crate::message::{Flags, FolderPath};

/// What is known of a message besides its octets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Letter {
    /// The folder that the archive has it in.
    pub folder: Option<FolderPath>,
    /// Its flags.
    pub flags: Flags,
    /// Its date, seconds since 1970.
    pub received: Option<i64>,
}

/// Whoever takes messages.
pub trait Take {
    /// There is a folder, which may have no messages.
    ///
    /// # Errors
    /// It cannot be made, and nothing else.
    fn folder(&mut self, folder: FolderPath, shown: &str) -> io::Result<()>;
    /// A message begins.
    ///
    /// # Errors
    /// It cannot be taken, and nothing else.
    fn begin(&mut self) -> io::Result<()>;
    /// The next octets, line ends as on a wire.
    ///
    /// # Errors
    /// As for `begin`.
    fn data(&mut self, octets: &[u8]) -> io::Result<()>;
    /// It is complete.
    ///
    /// # Errors
    /// As for `begin`.
    fn end(&mut self, letter: Letter, shown: &str) -> io::Result<()>;
    /// What has begun will never be complete.
    ///
    /// # Errors
    /// As for `begin`.
    fn abandon(&mut self) -> io::Result<()>;
    /// Something that may be mail is left out: what, its bytes where known, and why.
    fn skip(&mut self, shown: &str, size: Option<u64>, reason: &str);
    /// Something that is no mail is passed over.
    fn pass(&mut self, kind: NoMail);
    /// One of several files is over: what comes next may have the same messages again.
    fn next_file(&mut self) {}
}

/// Bytes that are handed over at once.
const CHUNK: usize = 64 * 1024;

/// One message being handed over.
pub(super) struct Pour<'p> {
    take: &'p mut dyn Take,
    limit: Option<u64>,
    state: State,
    size: u64,
    wire: Wire,
    /// What is to be handed over next.
    chunk: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Empty,
    Flowing,
    TooLarge,
}

impl<'p> Pour<'p> {
    /// A larger message than `limit` bytes is left out.
    pub(super) fn new(take: &'p mut dyn Take, limit: Option<u64>) -> Pour<'p> {
        Pour { take, limit, state: State::Empty, size: 0, wire: Wire::default(), chunk: Vec::new() }
    }

    /// Whether the rest is of no use.
    pub(super) fn is_over(&self) -> bool {
        self.state == State::TooLarge
    }

    /// Whether nothing came.
    pub(super) fn is_empty(&self) -> bool {
        self.size == 0
    }

    pub(super) fn push(&mut self, octets: &[u8]) -> io::Result<()> {
        if octets.is_empty() || self.is_over() {
            self.size += octets.len() as u64;
            return Ok(());
        }
        if self.state == State::Empty {
            self.state = State::Flowing;
            self.take.begin()?;
        }
        self.size += octets.len() as u64;
        if self.limit.is_some_and(|limit| self.size > limit) {
            self.state = State::TooLarge;
            return self.take.abandon();
        }
        self.wire.push(octets, &mut self.chunk);
        if self.chunk.len() >= CHUNK {
            self.take.data(&self.chunk)?;
            self.chunk.clear();
        }
        Ok(())
    }

    /// It is complete, or it is told why not.
    pub(super) fn finish(self, letter: Letter, shown: &str, size: Option<u64>) -> io::Result<()> {
        match self.state {
            State::Flowing => {
                if !self.chunk.is_empty() {
                    self.take.data(&self.chunk)?;
                }
                return self.take.end(letter, shown);
            }
            State::Empty => self.take.skip(shown, Some(0), "it is empty"),
            State::TooLarge => {
                let limit = self.limit.unwrap_or(0);
                let reason = format!("it is larger than max_message_size, {limit} octets");
                self.take.skip(shown, size.or(Some(self.size)), &reason);
            }
        }
        Ok(())
    }

    /// It cannot be read to its end.
    pub(super) fn give_up(self) -> io::Result<()> {
        if self.state == State::Flowing { self.take.abandon() } else { Ok(()) }
    }
}

/// A stored message with the line ends of the wire: of one that begins with bare line feeds, each gets its
/// carriage return.
#[derive(Debug, Default)]
pub(super) struct Wire {
    bare: Option<bool>,
    last: u8,
}

impl Wire {
    /// The next bytes of the message, behind what is in `out`.
    pub(super) fn push(&mut self, octets: &[u8], out: &mut Vec<u8>) {
        let mut rest = octets;
        while let Some(at) = memchr::memchr(b'\n', rest) {
            let (line, behind) = rest.split_at(at);
            out.extend_from_slice(line);
            let last = line.last().copied().unwrap_or(self.last);
            let bare = *self.bare.get_or_insert(last != b'\r');
            if bare && last != b'\r' {
                out.push(b'\r');
            }
            out.push(b'\n');
            self.last = b'\n';
            rest = behind.get(1..).unwrap_or_default();
        }
        out.extend_from_slice(rest);
        self.last = rest.last().copied().unwrap_or(self.last);
    }

    /// The same, by themselves.
    pub(super) fn of(&mut self, octets: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(octets.len() + octets.len() / 32 + 2);
        self.push(octets, &mut out);
        out
    }
}
