//! The one rule by which an answer is taken for a message's own (RFC 1939 gives answers no name). Behind each RETR and TOP a
//! command is sent that names the message: `UIDL n` or `LIST n`. Its answer proves that commands and answers are in step there.
//! The size of LIST is the cross-check, and a body that came before under another number counts as a copy of that answer until
//! it is fetched a second time.
//!
//! ```text
//! named? ──no──► the session is out of step: nothing since the last proof is believed
//!   │yes
//! nothing in it, though LIST has a size? ──yes──► asked again; never believed
//!   │no
//! size as listed, no twin in this session, or the same octets as at an earlier look? ──no──► asked again, alone at last
//!   │yes
//! the next answer is another's? ──yes──► asked again in the next session   ──no──► believed
//! ```

use std::collections::{BTreeMap, BTreeSet};

use super::list::Lists;
use super::machine::{Reply, Status};

/// A message that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Its number in this session.
    pub number: u32,
    /// Its size by LIST, in bytes.
    pub size: Option<u64>,
    /// Its name by UIDL.
    pub uidl: Option<Vec<u8>>,
}

/// How answers are given a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Naming {
    /// By `UIDL n` where the message has a UIDL, else by `LIST n`.
    Uidl,
    /// By `LIST n`.
    List,
    /// The server has neither: NOOP shows only that nothing else is on its way.
    Nothing,
}

/// What the answer to a naming command says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Named {
    /// It is this message's.
    Own,
    /// It has this message's number and another name or size.
    Otherwise,
    /// It is something else.
    Not,
}

/// A longer UIDL does not fit into a status line (RFC 1939, 7 allows 70 characters).
const LONGEST_UIDL: usize = 500;

impl Naming {
    /// How this message is named.
    pub(super) fn of(self, wanted: &Wanted) -> Naming {
        let short = wanted.uidl.as_ref().is_some_and(|uidl| uidl.len() <= LONGEST_UIDL);
        if self == Naming::Uidl && !short { Naming::List } else { self }
    }

    /// The command that names the message.
    pub(super) fn command(self, wanted: &Wanted) -> String {
        match self.of(wanted) {
            Naming::Uidl => format!("UIDL {}", wanted.number),
            Naming::List => format!("LIST {}", wanted.number),
            Naming::Nothing => "NOOP".to_owned(),
        }
    }

    /// Judges the answer to that command.
    pub(super) fn judge(self, wanted: &Wanted, reply: &Reply) -> Named {
        if self == Naming::Nothing {
            // NOOP may be refused: what counts is that it is answered.
            return if reply.status == Status::More { Named::Not } else { Named::Own };
        }
        let text = reply.text.trim_ascii();
        let end = text.iter().position(u8::is_ascii_whitespace).unwrap_or(text.len());
        let (number, rest) = text.split_at_checked(end).unwrap_or((text, &[]));
        let rest = rest.trim_ascii();
        if reply.status != Status::Ok || number != wanted.number.to_string().as_bytes() || rest.is_empty() {
            return Named::Not;
        }
        let own = match (self.of(wanted), &wanted.uidl, wanted.size) {
            (Naming::Uidl, Some(uidl), _) => begins_with(rest, uidl),
            (_, _, Some(size)) => begins_with(rest, size.to_string().as_bytes()),
            (_, _, None) => true,
        };
        if own { Named::Own } else { Named::Otherwise }
    }
}

/// Whether `text` is `word`, or has it in front of a blank.
fn begins_with(text: &[u8], word: &[u8]) -> bool {
    text.strip_prefix(word).is_some_and(|rest| rest.first().is_none_or(u8::is_ascii_whitespace))
}

/// A body as it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Look {
    pub(super) octets: u64,
    /// Line feeds in it.
    pub(super) lines: u64,
    /// The first 128 bits of SHA-256 over it.
    pub(super) digest: u128,
    /// It has nothing but blanks and line ends.
    pub(super) blank: bool,
    /// It begins like a reply, and has not the size of a message that does.
    pub(super) misplaced: bool,
}

impl Look {
    /// How LIST may have meant this body. The line end that POP3 needs at the end may not be counted.
    pub(super) fn fit(&self, size: u64) -> Fit {
        let is = |more: u64| size.checked_add(more) == Some(self.octets);
        if is(0) || is(2) {
            Fit::Exact
        } else if is(self.lines) || is(self.lines + 1) {
            Fit::ShortLineEnds
        } else {
            Fit::None
        }
    }
}

/// So many messages show something.
const SEVERAL: usize = 3;

/// How a body and its size by LIST fit together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fit {
    Exact,
    /// If line ends count as one byte, as they do at some servers; it may be chance.
    ShortLineEnds,
    None,
}

/// What a body is taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Belief {
    /// The message. `odd`: it came twice with another size than listed, and the server's other sizes are right, or nothing is known
    /// of them.
    Own { odd: bool },
    /// It is asked for once more.
    Doubtful,
}

/// What the sessions of a run have shown so far.
#[derive(Debug, Default)]
pub struct Seen {
    /// Under which number each body came first.
    bodies: BTreeMap<u128, u32>,
    /// The server is known for wrong sizes.
    pub(super) wrong_sizes: bool,
    /// Messages whose size by LIST was right, would be with short line ends, and was wrong; by number.
    right: BTreeSet<u32>,
    short: BTreeSet<u32>,
    wrong: BTreeSet<u32>,
    /// How the lists are had.
    pub(super) lists: Lists,
    /// A command was refused that did not wait for the answer to the one before.
    pub(super) hasty: bool,
    /// The session that broke has shown how the next one gets further.
    pub(super) news: bool,
}

/// How many of a set are not this message.
fn but_for(number: u32, set: &BTreeSet<u32>) -> usize {
    set.len() - usize::from(set.contains(&number))
}

impl Seen {
    /// Whether the session that broke has shown how the next one gets further; said once.
    pub fn has_news(&mut self) -> bool {
        std::mem::take(&mut self.news)
    }

    /// Whether sizes are right at this server, as far as the other messages show: `None`: there are none.
    fn is_exact_but_for(&self, number: u32) -> Option<bool> {
        let (right, wrong) =
            (but_for(number, &self.right), but_for(number, &self.wrong) + but_for(number, &self.short));
        (right + wrong > 0).then_some(right >= wrong)
    }

    /// Whether sizes count line ends as one byte at this server, as far as the other messages show. Where there are none, a message
    /// shows it that came twice alike.
    fn counts_short(&self, number: u32, before: Option<&Look>) -> bool {
        match (but_for(number, &self.short), but_for(number, &self.right)) {
            (0, 0) => before.is_some(),
            (short, right) => short > right,
        }
    }

    /// Whether several messages show that sizes are wrong at this server.
    pub(super) fn shows_wrong_sizes(&self) -> bool {
        self.wrong.len() >= SEVERAL && self.wrong.len() > self.right.len()
    }

    /// A body came, proven or not. Returns whether it came under another number before.
    pub(super) fn came(&mut self, wanted: &Wanted, look: &Look) -> bool {
        *self.bodies.entry(look.digest).or_insert(wanted.number) != wanted.number
    }

    /// Judges a body whose answer was named; `before`: the same message at an earlier look.
    pub(super) fn judge(&mut self, wanted: &Wanted, look: &Look, before: Option<&Look>) -> Belief {
        let fit = wanted.size.map_or(Fit::None, |size| look.fit(size));
        if look.misplaced || (look.blank && fit != Fit::Exact) {
            return Belief::Doubtful;
        }
        let sized =
            fit == Fit::Exact || (fit == Fit::ShortLineEnds && self.counts_short(wanted.number, before));
        if before.is_none() {
            let set = match fit {
                Fit::Exact => &mut self.right,
                Fit::ShortLineEnds => &mut self.short,
                Fit::None => &mut self.wrong,
            };
            set.insert(wanted.number);
        }
        let again = before.is_some_and(|before| before == look);
        let twin = self.came(wanted, look);
        if !again && (!sized || twin) {
            return Belief::Doubtful;
        }
        let exact = self.is_exact_but_for(wanted.number).unwrap_or(!self.wrong_sizes);
        let odd = !sized && wanted.size.is_some() && exact;
        Belief::Own { odd }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(size: Option<u64>, uidl: Option<&str>) -> Wanted {
        Wanted { number: 5, size, uidl: uidl.map(|uidl| uidl.as_bytes().to_vec()) }
    }

    fn numbered(number: u32, size: u64) -> Wanted {
        Wanted { number, size: Some(size), uidl: None }
    }

    fn ok(text: &str) -> Reply {
        Reply { status: Status::Ok, code: None, text: text.as_bytes().to_vec() }
    }

    #[test]
    fn a_name_is_a_number_and_what_was_listed() {
        let message = wanted(Some(120), Some("abc"));
        for (naming, text, named) in [
            (Naming::Uidl, "5 abc", Named::Own),
            (Naming::Uidl, "5 abc extra", Named::Own),
            (Naming::Uidl, "5 abcd", Named::Otherwise),
            (Naming::Uidl, "6 abc", Named::Not),
            (Naming::Uidl, "5", Named::Not),
            (Naming::Uidl, "120 octets", Named::Not),
            (Naming::List, "5 120", Named::Own),
            (Naming::List, "5 1200", Named::Otherwise),
            (Naming::List, "55 120", Named::Not),
            (Naming::Nothing, "", Named::Own),
        ] {
            assert_eq!(naming.judge(&message, &ok(text)), named, "{naming:?} {text}");
        }
        let refused = Reply { status: Status::Err, ..ok("5 abc") };
        assert_eq!(Naming::Uidl.judge(&message, &refused), Named::Not);
        assert_eq!(Naming::Uidl.command(&wanted(None, None)), "LIST 5");
    }

    #[test]
    fn what_is_believed() {
        let look =
            |octets, lines, digest| Look { octets, lines, digest, blank: octets == 0, misplaced: false };
        let own = Belief::Own { odd: false };
        let mut seen = Seen::default();
        for (listed, octets, lines) in [(100, 100, 4), (98, 100, 4), (99, 99, 4), (0, 0, 0)] {
            let digest = u128::from(listed);
            let number = u32::try_from(listed).unwrap() + 100;
            assert_eq!(seen.judge(&numbered(number, listed), &look(octets, lines, digest), None), own);
        }
        // As long as its line ends: that may be chance here.
        assert_eq!(seen.judge(&wanted(Some(96), None), &look(100, 4, 50), None), Belief::Doubtful);
        let message = wanted(Some(2000), None);
        // Shortened, then whole.
        assert_eq!(seen.judge(&message, &look(1500, 9, 1), None), Belief::Doubtful);
        assert_eq!(seen.judge(&message, &look(2000, 9, 2), Some(&look(1500, 9, 1))), own);
        // Shortened in two ways, then twice in the same way.
        assert_eq!(seen.judge(&message, &look(1400, 9, 3), Some(&look(1500, 9, 1))), Belief::Doubtful);
        let odd = Belief::Own { odd: true };
        assert_eq!(seen.judge(&message, &look(1400, 9, 3), Some(&look(1400, 9, 3))), odd);
        // The answer of another message, and a real copy of it.
        let other = numbered(6, 2000);
        assert_eq!(seen.judge(&other, &look(2000, 9, 2), None), Belief::Doubtful);
        assert_eq!(seen.judge(&other, &look(2000, 9, 2), Some(&look(2000, 9, 2))), own);
        // Nothing, however often.
        let nothing = look(0, 0, 9);
        assert_eq!(seen.judge(&message, &nothing, Some(&nothing)), Belief::Doubtful);
        assert_eq!(seen.judge(&wanted(None, None), &nothing, None), Belief::Doubtful);
        // One line end, where it is announced and where it is not.
        let line = Look { blank: true, ..look(2, 1, 10) };
        assert_eq!(seen.judge(&wanted(Some(2), None), &line, None), own);
        assert_eq!(seen.judge(&message, &line, Some(&line)), Belief::Doubtful);
    }

    #[test]
    fn a_size_that_fits_by_chance_does_not_prove_itself() {
        let look = Look { octets: 100, lines: 4, digest: 1, blank: false, misplaced: false };
        let (mut seen, message) = (Seen::default(), wanted(Some(96), None));
        // Session after session: it was seen once in each.
        assert_eq!(seen.judge(&message, &look, None), Belief::Doubtful);
        assert_eq!(seen.judge(&message, &look, None), Belief::Doubtful);
        for number in 6..9 {
            let other = Look { octets: 200, digest: number.into(), ..look };
            assert_eq!(seen.judge(&numbered(number, 200), &other, None), Belief::Own { odd: false });
        }
        assert_eq!(seen.judge(&message, &look, Some(&look)), Belief::Own { odd: true });
    }

    #[test]
    fn line_ends_of_one_byte_are_the_server_s() {
        let look = |digest| Look { octets: 100, lines: 4, digest, blank: false, misplaced: false };
        let (mut seen, message) = (Seen { wrong_sizes: true, ..Seen::default() }, wanted(Some(96), None));
        assert_eq!(seen.judge(&message, &look(1), None), Belief::Doubtful);
        assert_eq!(seen.judge(&message, &look(1), Some(&look(1))), Belief::Own { odd: false });
        assert_eq!(seen.judge(&numbered(6, 96), &look(2), None), Belief::Own { odd: false });
    }

    #[test]
    fn at_a_server_whose_sizes_are_wrong_less_is_not_missed() {
        let look = |digest| Look { octets: 90, lines: 4, digest, blank: false, misplaced: false };
        let mut seen = Seen::default();
        for digest in 0..4 {
            let message = numbered(u32::try_from(digest).unwrap(), 100);
            assert_eq!(seen.judge(&message, &look(digest), None), Belief::Doubtful);
            // Of the first one nobody knows.
            let own = Belief::Own { odd: digest == 0 };
            assert_eq!(seen.judge(&message, &look(digest), Some(&look(digest))), own);
        }
        assert!(seen.shows_wrong_sizes());
    }
}
