//! What lies in the maildrop: LIST and UIDL, and where they say too little, or two things, each such message alone (RFC 1939, 5
//! and 7). It refuses to call a list complete that STAT does not bear out.

use super::listing::{Listed, Listing, digits, of_one};
use super::machine::{Expect, Reply};
use super::refusal::{self, Step};
use super::session::Session;
use super::wire::is_ok;
use crate::failure::{Failure, Kind};
use crate::net::Quirk;

/// LIST or UIDL may have so many bytes.
const LISTING_OCTETS: u64 = 48 << 20;
/// One line of them; some servers put a whole Message-ID and more into a UIDL.
const LISTING_LINE: usize = 64 << 10;
/// So many messages are asked for alone when the lists are odd.
const ALONE: usize = 100;

/// All that a maildrop lists.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Maildrop {
    /// Ascending by number.
    pub messages: Vec<Listed>,
    /// Every message of the maildrop is among them, as far as the lists tell: what is missing is gone.
    pub complete: bool,
}

impl Session {
    /// All messages, by LIST and UIDL, ascending by number. A server without UIDL gives `None` for each;
    /// one that has it and cannot answer now is a failure, since every message would look new. What only
    /// one of both lists names, or both name in two ways, is asked for alone.
    pub async fn list(&mut self) -> Result<Maildrop, Failure> {
        let listed = self.complete_list().await;
        if let Err(failure) = &listed {
            self.learn(failure);
        }
        listed
    }

    async fn complete_list(&mut self) -> Result<Maildrop, Failure> {
        let (mut listing, named) = self.both_lists().await?;
        if listing.unread() > 10 && listing.unread() > listing.len() as u64 {
            return Err(self.wire.protocol("its list has lines without a message number"));
        }
        if let Some(Listed { number, uidl, .. }) = listing.oddly_named().cloned()
            && named
            && self.capabilities.uidl
            && !self.has(Quirk::NoUidlOfOne)
        {
            let reply = self.wire.command(&format!("UIDL {number}"), Expect::Line).await?;
            if is_ok(&reply) && of_one(number, &reply.text) != uidl.as_deref() {
                return Err(self.wire.protocol("its UIDL says nothing of the messages that it lists"));
            }
        }
        if listing.is_empty() && self.count().await?.is_some_and(|count| count > 0) {
            return Err(self.wire.protocol("it lists nothing, and counts messages"));
        }
        let mut complete = listing.unread() == 0 && listing.doubtful(0).is_empty();
        if !complete {
            let count = self.count().await?;
            let doubtful = listing.doubtful(count.unwrap_or(0));
            for number in doubtful.iter().take(ALONE) {
                if !self.look_at(*number, &mut listing).await? {
                    break;
                }
            }
            complete = count == Some(listing.len() as u64) && listing.doubtful(0).is_empty();
        }
        Ok(Maildrop { messages: listing.into_messages(), complete })
    }

    /// How many messages there are, by STAT; `None`: the answer cannot be read.
    ///
    /// # Errors
    /// The connection failed.
    pub async fn count(&mut self) -> Result<Option<u64>, Failure> {
        self.wire.check_idle()?;
        let reply = self.wire.command("STAT", Expect::Line).await?;
        let mut words = reply.text.split(u8::is_ascii_whitespace);
        Ok(words.next().filter(|_| is_ok(&reply)).and_then(digits))
    }

    /// LIST and UIDL; and whether UIDL was answered with a list.
    async fn both_lists(&mut self) -> Result<(Listing, bool), Failure> {
        self.wire.check_idle()?;
        let mut listing = Listing::default();
        let together = self.is_pipelined();
        self.wire.expect(Expect::Lines);
        if together {
            self.wire.expect(Expect::Lines);
            self.wire.send_burst(b"LIST\r\nUIDL\r\n", 2).await?;
        } else {
            self.wire.send_burst(b"LIST\r\n", 1).await?;
        }
        let reply = self.wire.status().await?;
        if !is_ok(&reply) {
            return Err(self.refused("LIST", &reply));
        }
        self.wire.lines(LISTING_OCTETS, LISTING_LINE, |line| listing.size_line(line)).await?;
        if !together {
            self.wire.check_quiet()?;
            self.wire.expect(Expect::Lines);
            self.wire.send_burst(b"UIDL\r\n", 1).await?;
        }
        let reply = self.wire.status().await?;
        if is_ok(&reply) {
            let mut lines = 0;
            let take = |line: &[u8]| {
                lines += 1;
                listing.uidl_line(line)
            };
            self.wire.lines(LISTING_OCTETS, LISTING_LINE, take).await?;
            if lines == 0 && !listing.is_empty() && self.capabilities.uidl {
                // Every message would look new.
                return Err(self.wire.protocol("its UIDL names none of the messages that it lists"));
            }
        } else {
            self.without_uidl(&reply)?;
        }
        Ok((listing, is_ok(&reply)))
    }

    /// UIDL was refused: is there none, or none now?
    fn without_uidl(&mut self, reply: &Reply) -> Result<(), Failure> {
        if refusal::kind(Step::Work("UIDL"), reply) != Kind::Protocol {
            return Err(self.refused("UIDL", reply));
        }
        if self.capabilities.uidl && !refusal::is_unknown(reply) {
            // It may have them another time, and with them other names for what is here.
            let failure = self.refused("UIDL, which it announces (CAPA)", reply);
            return Err(Failure {
                mend: "it is tried again; if it stays, tell the server's administrator".to_owned(),
                ..failure
            });
        }
        Ok(())
    }

    /// Asks for one message alone; `false`: the server does not answer such questions.
    async fn look_at(&mut self, number: u32, listing: &mut Listing) -> Result<bool, Failure> {
        if self.has(Quirk::NoListOfOne) {
            return Ok(false);
        }
        let reply = self.wire.command(&format!("LIST {number}"), Expect::Line).await?;
        let size = of_one(number, &reply.text).filter(|_| is_ok(&reply)).and_then(digits);
        if is_ok(&reply) && size.is_none() {
            return Ok(false);
        }
        let mut uidl = None;
        if size.is_some() && !self.has(Quirk::NoUidlOfOne) {
            let reply = self.wire.command(&format!("UIDL {number}"), Expect::Line).await?;
            uidl = of_one(number, &reply.text).filter(|_| is_ok(&reply)).map(<[u8]>::to_vec);
            if is_ok(&reply) && uidl.is_none() {
                return Ok(false);
            }
        }
        listing.settle(number, size, uidl);
        Ok(true)
    }
}
