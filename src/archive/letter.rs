//! A message out of an archive on its way to whoever takes it: octets as they go over a wire, then what is known
//! besides them. It refuses messages that are too large or do not begin as one.

use std::io;

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
    /// Something is left out: what, its octets where known, and why.
    fn skip(&mut self, shown: &str, size: Option<u64>, reason: &str);
}

/// A header's name may be so long; octets.
const LONGEST_NAME: usize = 200;

/// One message being handed over.
pub(super) struct Pour<'p> {
    take: &'p mut dyn Take,
    limit: Option<u64>,
    sure: bool,
    /// The first octets, until they say that this is a message.
    head: Vec<u8>,
    state: State,
    size: u64,
    wire: Wire,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Sniffing,
    Flowing,
    NoMessage,
    TooLarge,
}

impl<'p> Pour<'p> {
    /// `sure`: it is a message, however it begins.
    pub(super) fn new(take: &'p mut dyn Take, limit: Option<u64>, sure: bool) -> Pour<'p> {
        Pour { take, limit, sure, head: Vec::new(), state: State::Sniffing, size: 0, wire: Wire::default() }
    }

    /// Whether the rest is of no use.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.state, State::NoMessage | State::TooLarge)
    }

    pub(super) fn push(&mut self, octets: &[u8]) -> io::Result<()> {
        self.size += octets.len() as u64;
        match self.state {
            State::Sniffing => {
                self.head.extend_from_slice(octets);
                if self.head.len() > LONGEST_NAME || self.head.contains(&b'\n') {
                    self.judge()?;
                }
                Ok(())
            }
            State::Flowing => self.flow(octets),
            State::NoMessage | State::TooLarge => Ok(()),
        }
    }

    fn judge(&mut self) -> io::Result<()> {
        let head = std::mem::take(&mut self.head);
        if !self.sure && !begins_as_a_message(&head) {
            self.state = State::NoMessage;
            return Ok(());
        }
        self.state = State::Flowing;
        self.take.begin()?;
        self.flow(&head)
    }

    fn flow(&mut self, octets: &[u8]) -> io::Result<()> {
        if self.limit.is_some_and(|limit| self.size > limit) {
            self.state = State::TooLarge;
            return self.take.abandon();
        }
        let wire = self.wire.of(octets);
        self.take.data(&wire)
    }

    /// It is complete, or it is told why not.
    pub(super) fn finish(mut self, letter: Letter, shown: &str, size: Option<u64>) -> io::Result<()> {
        if self.state == State::Sniffing && self.size > 0 {
            self.judge()?;
        }
        match self.state {
            State::Flowing => return self.take.end(letter, shown),
            State::Sniffing => self.take.skip(shown, Some(0), "it is empty"),
            State::NoMessage => self.take.skip(shown, size.or(Some(self.size)), "it is no message"),
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
    pub(super) fn of(&mut self, octets: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(octets.len() + octets.len() / 32 + 2);
        for &octet in octets {
            if octet == b'\n' {
                let bare = *self.bare.get_or_insert(self.last != b'\r');
                if bare && self.last != b'\r' {
                    out.push(b'\r');
                }
            }
            out.push(octet);
            self.last = octet;
        }
        out
    }
}

/// A header field (RFC 5322, 2.2), or the quoted From line that old mailboxes have before it.
pub(super) fn begins_as_a_message(head: &[u8]) -> bool {
    if head.starts_with(b">From ") {
        return true;
    }
    let Some(colon) = head.iter().take(LONGEST_NAME).position(|octet| *octet == b':') else { return false };
    let name = head.get(..colon).unwrap_or_default().trim_ascii_end();
    !name.is_empty() && name.iter().all(u8::is_ascii_graphic)
}
