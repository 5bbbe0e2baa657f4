//! A session that is logged in: what lies in the maildrop, its headers, deleting, and the goodbye that makes
//! the deleting real. It refuses lists that contradict themselves, and to reconnect by itself: message
//! numbers live only as long as the session.

use super::capability::Capabilities;
use super::listing::{Listed, Listing};
use super::login;
use super::machine::{Expect, Reply};
use super::refusal::{self, Scrub, Step};
use super::wire::{Wire, is_ok};
use crate::account::Source;
use crate::failure::{Failure, Kind};
use crate::net::Connector;
use crate::secret::Secret;

/// LIST or UIDL may have so many octets.
const LISTING_OCTETS: u64 = 48 << 20;
/// One line of them; some servers put a whole Message-ID and more into a UIDL.
const LISTING_LINE: usize = 64 << 10;
/// Short commands that may wait for their answers, if the server allows it (RFC 2449, 6.6). They and their
/// answers fit into the smallest socket buffers, so that both sides never wait for each other.
const WINDOW: usize = 100;

/// One login. Dropping it without [`Session::quit`] deletes nothing (RFC 1939, 6).
#[derive(Debug)]
pub struct Session {
    pub(super) wire: Wire,
    pub(super) capabilities: Capabilities,
}

impl Session {
    /// Connects to `source` and logs in with `secret`. With [`crate::account::Security::StartTls`] a server
    /// without STLS is refused. After a failure nothing is left open.
    pub async fn open(connector: &Connector, source: &Source, secret: &Secret) -> Result<Session, Failure> {
        let (wire, capabilities) = Box::pin(login::open(connector, source, secret)).await?;
        Ok(Session { wire, capabilities })
    }

    /// What the server says it can.
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// All messages, by LIST and UIDL, ascending by number. A server without UIDL gives `None` for each;
    /// one that has it and cannot answer now is a failure, since every message would look new. What only
    /// one of both lists names is kept with what is known.
    pub async fn list(&mut self) -> Result<Vec<Listed>, Failure> {
        self.wire.check_idle()?;
        let mut listing = Listing::default();
        self.wire.expect(Expect::Lines);
        if self.capabilities.pipelining {
            self.wire.expect(Expect::Lines);
            self.wire.send(b"LIST\r\nUIDL\r\n").await?;
        } else {
            self.wire.send(b"LIST\r\n").await?;
        }
        let reply = self.wire.status().await?;
        if !is_ok(&reply) {
            return Err(self.refused("LIST", &reply));
        }
        self.wire.lines(LISTING_OCTETS, LISTING_LINE, |line| listing.size_line(line)).await?;
        if !self.capabilities.pipelining {
            self.wire.check_quiet()?;
            self.wire.expect(Expect::Lines);
            self.wire.send(b"UIDL\r\n").await?;
        }
        let reply = self.wire.status().await?;
        if is_ok(&reply) {
            self.wire.lines(LISTING_OCTETS, LISTING_LINE, |line| listing.uidl_line(line)).await?;
        } else if refusal::kind(Step::Work("UIDL"), &reply) != Kind::Protocol {
            return Err(self.refused("UIDL", &reply));
        } else if self.capabilities.uidl && !refusal::is_unknown(&reply) {
            // It may have them another time, and with them other names for what is here.
            let failure = self.refused("UIDL, which it announces (CAPA)", &reply);
            return Err(Failure {
                mend: "it is tried again; if it stays, tell the server's administrator".to_owned(),
                ..failure
            });
        }
        Ok(listing.into_messages())
    }

    /// The header of each message, by TOP (RFC 1939, 7), up to `max_octets` of it; what is longer is cut
    /// there. `None` where the server refused.
    pub async fn top(
        &mut self,
        numbers: &[u32],
        max_octets: usize,
    ) -> Result<Vec<(u32, Option<Vec<u8>>)>, Failure> {
        let mut window = Window::new(numbers, self.short_window());
        let mut headers = Vec::with_capacity(numbers.len());
        while let Some(number) = self.next(&mut window, "TOP", " 0", Expect::Lines).await? {
            if !is_ok(&self.wire.status().await?) {
                headers.push((number, None));
                continue;
            }
            let mut header = Vec::new();
            while let Some(data) = self.wire.data().await? {
                let room = max_octets.saturating_sub(header.len());
                header.extend_from_slice(data.get(..room).unwrap_or(&data));
            }
            headers.push((number, Some(header)));
        }
        Ok(headers)
    }

    /// Marks messages as deleted; [`Session::quit`] deletes them. For each, the server's words if it
    /// refused. After a failure none is deleted.
    pub async fn delete(&mut self, numbers: &[u32]) -> Result<Vec<(u32, Result<(), String>)>, Failure> {
        let mut window = Window::new(numbers, self.short_window());
        let mut done = Vec::with_capacity(numbers.len());
        while let Some(number) = self.next(&mut window, "DELE", "", Expect::Line).await? {
            let reply = self.wire.status().await?;
            let outcome = if is_ok(&reply) { Ok(()) } else { Err(Scrub::default().quote(&reply)) };
            done.push((number, outcome));
        }
        Ok(done)
    }

    /// Ends the session. `Ok` is the server's word that everything marked is deleted; after an error any
    /// part of it may be, and the next listing tells.
    pub async fn quit(mut self) -> Result<(), Failure> {
        self.wire.check_idle()?;
        let reply = self.wire.command("QUIT", Expect::Line).await?;
        if !is_ok(&reply) {
            return Err(self.refused("QUIT, so not everything was deleted", &reply));
        }
        self.wire.close().await;
        Ok(())
    }

    /// Keeps the commands flowing and says whose answer comes next; `None` after the last.
    pub(super) async fn next(
        &mut self,
        window: &mut Window<'_>,
        word: &str,
        tail: &str,
        expect: Expect,
    ) -> Result<Option<u32>, Failure> {
        if window.untouched() {
            self.wire.check_idle()?;
        }
        let more = window.refill();
        if !more.is_empty() {
            self.wire.check_quiet()?;
            let mut lines = String::new();
            for number in more {
                self.wire.expect(expect);
                lines.push_str(&format!("{word} {number}{tail}\r\n"));
            }
            self.wire.send(lines.as_bytes()).await?;
        }
        Ok(window.answered())
    }

    fn short_window(&self) -> usize {
        if self.capabilities.pipelining { WINDOW } else { 1 }
    }

    fn refused(&mut self, what: &'static str, reply: &Reply) -> Failure {
        let quote = Scrub::default().quote(reply);
        let delay = self.capabilities.login_delay;
        let failure = refusal::failure(Step::Work(what), reply, &quote, self.wire.host(), "", delay);
        self.wire.give_up(failure)
    }
}

/// Which commands were sent and answered.
pub(super) struct Window<'a> {
    unsent: &'a [u32],
    unanswered: &'a [u32],
    width: usize,
    begun: bool,
}

impl<'a> Window<'a> {
    pub(super) fn new(numbers: &'a [u32], width: usize) -> Window<'a> {
        Window { unsent: numbers, unanswered: numbers, width, begun: false }
    }

    fn untouched(&self) -> bool {
        !self.begun
    }

    /// What to send now: nothing while more than half of the window is on its way, else what fills it.
    fn refill(&mut self) -> &'a [u32] {
        self.begun = true;
        let waiting = self.unanswered.len() - self.unsent.len();
        if waiting > self.width / 2 {
            return &[];
        }
        let room = (self.width - waiting).min(self.unsent.len());
        let (now, later) = self.unsent.split_at_checked(room).unwrap_or((&[], self.unsent));
        self.unsent = later;
        now
    }

    fn answered(&mut self) -> Option<u32> {
        let (&number, rest) = self.unanswered.split_first()?;
        self.unanswered = rest;
        Some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_is_refilled_when_half_of_it_is_answered() {
        let numbers: Vec<u32> = (1..=10).collect();
        let mut window = Window::new(&numbers, 4);
        let mut sent = Vec::new();
        let mut batches = Vec::new();
        loop {
            let now = window.refill();
            sent.extend_from_slice(now);
            batches.push(now.len());
            let Some(number) = window.answered() else { break };
            assert!(sent.contains(&number));
            assert!(sent.len() - (number as usize - 1) <= 4);
        }
        assert_eq!(sent, numbers);
        assert_eq!(batches, [4, 0, 2, 0, 2, 0, 2, 0, 0, 0, 0]);
        let mut alone = Window::new(&numbers, 1);
        assert_eq!((alone.refill(), alone.answered(), alone.refill()), (&[1][..], Some(1), &[2][..]));
    }
}
