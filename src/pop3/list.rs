//! What lies in the maildrop: LIST and UIDL, and where they say too little, or two things, each such message alone (RFC 1939, 5
//! and 7). It refuses to call a list complete that STAT does not bear out.

use std::collections::BTreeMap;

use super::listing::{LISTING_LIMIT, Listed, Listing, digits, of_one};
use super::machine::{Expect, Reply};
use super::refusal::{self, Step};
use super::session::{Session, Window};
use super::wire::is_ok;
use crate::failure::{Failure, Kind};
use crate::net::Quirk;

/// LIST or UIDL may have so many bytes.
const LISTING_OCTETS: u64 = 48 << 20;
/// One line of them; some servers put a whole Message-ID and more into a UIDL.
const LISTING_LINE: usize = 64 << 10;
/// So many messages are asked for alone when the lists are odd.
const ALONE: usize = 100;
/// So many show whether the server answers such questions at all.
const TRIAL: usize = 5;

/// Whether this is the answer to another one of these questions.
fn names_another(numbers: &[u32], text: &[u8]) -> bool {
    let first = text.split(u8::is_ascii_whitespace).next().and_then(digits);
    let first = first.and_then(|number| u32::try_from(number).ok());
    first.is_some_and(|number| numbers.binary_search(&number).is_ok())
}

/// How one of the two lists is had.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum By {
    /// As a whole.
    #[default]
    Whole,
    /// As a whole it breaks off, or is refused: message by message.
    Each,
    /// Not even so.
    Not,
}

/// How the two lists are had.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Lists {
    /// LIST. Sizes are hints: without them each message is fetched twice.
    pub(super) sizes: By,
    /// UIDL.
    pub(super) names: By,
}

impl Lists {
    /// What is known of a server from two sides.
    pub(super) fn worse(self, other: Lists) -> Lists {
        Lists { sizes: self.sizes.max(other.sizes), names: self.names.max(other.names) }
    }

    /// Which messages a listing says too little of; see [`Listing::doubtful`].
    fn doubtful(self, listing: &Listing, count: u64) -> Vec<u32> {
        listing.doubtful(count, self.sizes != By::Not, self.names != By::Whole)
    }
}

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
        let (lists, hasty) = (self.seen.lists, self.seen.hasty);
        let listed = self.complete_list().await;
        if let Err(failure) = &listed {
            self.learn(failure);
            self.seen.news |= self.seen.lists != lists || (self.seen.hasty != hasty && failure.broke());
        }
        listed
    }

    async fn complete_list(&mut self) -> Result<Maildrop, Failure> {
        let (mut listing, named, mut refused) = self.both_lists().await?;
        let list_refused = refused.is_some();
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
        let lists = self.seen.lists;
        let whole = lists == Lists::default();
        let mut complete = whole && listing.unread() == 0 && lists.doubtful(&listing, 0).is_empty();
        if !complete || listing.is_empty() {
            let count = self.count().await?;
            let mut doubtful = lists.doubtful(&listing, count.unwrap_or(0));
            doubtful.truncate(if whole { ALONE } else { LISTING_LIMIT });
            self.each_alone(&doubtful, &mut listing).await?;
            if listing.is_empty() && count.is_some_and(|count| count > 0) {
                let failure = refused.take();
                return Err(
                    failure.unwrap_or_else(|| self.wire.protocol("it lists nothing, and counts messages"))
                );
            }
            if lists.names != By::Whole && listing.has_no_names() && !listing.is_empty() {
                return Err(self.wire.protocol("its UIDL names none of the messages that it lists"));
            }
            complete = count == Some(listing.len() as u64) && lists.doubtful(&listing, 0).is_empty();
        }
        self.remember(list_refused);
        Ok(Maildrop { messages: listing.into_messages(), complete })
    }

    /// The list came in another way than as a whole. The server is known for what it refused; a connection that broke may break
    /// at any server, and counts for this run alone.
    fn remember(&mut self, list_refused: bool) {
        if list_refused {
            self.quirk(Quirk::NoList);
        }
        if self.seen.hasty {
            self.quirk(Quirk::Lockstep);
        }
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

    /// LIST and UIDL, as far as they are had as a whole; whether UIDL was answered with a list; and why LIST was refused.
    async fn both_lists(&mut self) -> Result<(Listing, bool, Option<Failure>), Failure> {
        self.wire.check_idle()?;
        let mut listing = Listing::default();
        let Lists { sizes, names } = self.seen.lists;
        let (sizes, names) = (sizes == By::Whole, names == By::Whole);
        let together = sizes && names && self.is_pipelined();
        if together {
            self.wire.expect(Expect::Lines);
            self.wire.expect(Expect::Lines);
            self.wire.send_burst(b"LIST\r\nUIDL\r\n", 2).await?;
        }
        let mut refused = None;
        if sizes {
            if !together {
                self.send_list(b"LIST\r\n").await?;
            }
            refused = match self.sizes(&mut listing).await {
                Err(failure) if failure.broke() => {
                    self.seen.lists.sizes = By::Each;
                    return Err(failure);
                }
                read => read?,
            };
        }
        let mut named = names;
        if names {
            if !together {
                self.send_list(b"UIDL\r\n").await?;
            }
            named = match self.names(&mut listing, together).await {
                Err(failure) if failure.broke() && failure.kind != Kind::Protocol => {
                    if !self.seen.hasty {
                        self.seen.lists.names = By::Each;
                    }
                    return Err(failure);
                }
                named => named?,
            };
        }
        Ok((listing, named, refused))
    }

    async fn send_list(&mut self, command: &[u8]) -> Result<(), Failure> {
        self.wire.check_quiet()?;
        self.wire.expect(Expect::Lines);
        self.wire.send_burst(command, 1).await
    }

    /// The answer to LIST. `Some`: it was refused, which concerns the sizes alone.
    async fn sizes(&mut self, listing: &mut Listing) -> Result<Option<Failure>, Failure> {
        let reply = self.wire.status().await?;
        if is_ok(&reply) {
            self.wire.lines(LISTING_OCTETS, LISTING_LINE, |line| listing.size_line(line)).await?;
            return Ok(None);
        }
        // Whatever it says: where it is about the maildrop, it says so to UIDL, too.
        self.seen.lists.sizes = By::Each;
        Ok(Some(self.refusal("LIST", &reply)))
    }

    /// The answer to UIDL; whether it was a list. One that was refused because it did not wait for LIST is asked for again.
    async fn names(&mut self, listing: &mut Listing, together: bool) -> Result<bool, Failure> {
        let mut reply = self.wire.status().await?;
        if together && !is_ok(&reply) {
            self.seen.hasty = true;
            self.send_list(b"UIDL\r\n").await?;
            reply = self.wire.status().await?;
            self.seen.hasty = is_ok(&reply);
            self.one_by_one |= is_ok(&reply);
        }
        if !is_ok(&reply) {
            self.without_uidl(&reply)?;
            return Ok(false);
        }
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
        Ok(true)
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

    /// Asks for the size and the name of each of these messages.
    async fn each_alone(&mut self, numbers: &[u32], listing: &mut Listing) -> Result<(), Failure> {
        let by_size = self.seen.lists.sizes != By::Not && !self.has(Quirk::NoListOfOne);
        let mut sizes = BTreeMap::new();
        if by_size {
            sizes = match self.each("LIST", numbers).await {
                Err(failure) if failure.broke() => {
                    self.seen.lists.sizes = By::Not;
                    return Err(failure);
                }
                sizes => sizes?,
            };
        }
        // What LIST does not know when it is asked for it alone is not there.
        let there = |number: &&u32| self.seen.lists.sizes != By::Whole || sizes.contains_key(number);
        let rest: Vec<u32> = numbers.iter().filter(there).copied().collect();
        let mut names = match self.has(Quirk::NoUidlOfOne) {
            true => BTreeMap::new(),
            false => self.each("UIDL", &rest).await?,
        };
        for number in numbers {
            let size = sizes.get(number).and_then(|size| digits(size));
            listing.settle(*number, size, names.remove(number));
        }
        Ok(())
    }

    /// What the server says to `word` of each of these messages. It is asked no further if the first answers say nothing of them.
    async fn each(&mut self, word: &'static str, numbers: &[u32]) -> Result<BTreeMap<u32, Vec<u8>>, Failure> {
        let mut found = BTreeMap::new();
        let (first, rest) = numbers.split_at(numbers.len().min(TRIAL));
        for part in [first, rest] {
            let mut window = Window::new(part, self.short_window());
            let mut others = 0;
            for number in part {
                self.ask(&mut window, (word, ""), Expect::Line, None).await?;
                let reply = self.wire.status().await?;
                if !is_ok(&reply) {
                    continue;
                }
                match of_one(*number, &reply.text) {
                    Some(text) => drop(found.insert(*number, text.to_vec())),
                    None if names_another(numbers, &reply.text) => {
                        return Err(self.wire.protocol("its answers are out of step"));
                    }
                    None => others += 1,
                }
            }
            if others > 0 || found.is_empty() {
                break;
            }
        }
        Ok(found)
    }
}
