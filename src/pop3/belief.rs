//! The one rule by which an answer is taken for a message's own (RFC 1939 gives answers no name). Behind each RETR and TOP a
//! command is sent that names the message: `UIDL n` or `LIST n`. Its answer proves that commands and answers are in step there.
//! The size of LIST is the cross-check, and a body that came before under another number counts as a copy of that answer until
//! it is fetched a second time.
//!
//! ```text
//! named? ──no──► the session is out of step: nothing since the last proof is believed
//!   │yes
//! empty, though LIST has a size? ──yes──► asked again; never believed
//!   │no
//! size as listed, no twin in this session? ──yes──► believed
//!   │no
//! the same octets as at an earlier look? ──yes──► believed   ──no──► asked again, alone at last
//! ```

use std::collections::BTreeSet;

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
    fn of(self, wanted: &Wanted) -> Naming {
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
    /// It begins like a reply.
    pub(super) misplaced: bool,
}

impl Look {
    /// Whether LIST meant this body. Servers count line ends as one byte or as two, and may leave out the one at the end that
    /// POP3 needs.
    fn has_size(&self, size: u64) -> bool {
        [0, 2, self.lines, self.lines + 1].iter().any(|more| size.checked_add(*more) == Some(self.octets))
    }
}

/// What a body is taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Belief {
    /// The message. `short`: it came twice with fewer bytes than listed, at a server whose other sizes are right.
    Own { short: bool },
    /// It is asked for once more.
    Doubtful,
}

/// What a session has shown so far.
#[derive(Debug, Default)]
pub(super) struct Seen {
    bodies: BTreeSet<u128>,
    /// Sizes of LIST that were right, and that were not.
    right: u64,
    wrong: u64,
}

impl Seen {
    /// Judges a body whose answer was named; `before`: the same message at an earlier look.
    pub(super) fn judge(&mut self, wanted: &Wanted, look: &Look, before: Option<&Look>) -> Belief {
        if look.misplaced || (look.octets == 0 && wanted.size != Some(0)) {
            return Belief::Doubtful;
        }
        let sized = wanted.size.is_some_and(|size| look.has_size(size));
        if before.is_none() {
            *(if sized { &mut self.right } else { &mut self.wrong }) += 1;
        }
        let again = before.is_some_and(|before| before == look);
        let twin = self.bodies.contains(&look.digest);
        if !again && (!sized || twin) {
            return Belief::Doubtful;
        }
        self.bodies.insert(look.digest);
        let short = !sized && wanted.size.is_some_and(|size| look.octets < size) && self.right > self.wrong;
        Belief::Own { short }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(size: Option<u64>, uidl: Option<&str>) -> Wanted {
        Wanted { number: 5, size, uidl: uidl.map(|uidl| uidl.as_bytes().to_vec()) }
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
        let look = |octets, lines, digest| Look { octets, lines, digest, misplaced: false };
        let own = Belief::Own { short: false };
        let mut seen = Seen::default();
        for (listed, octets, lines) in [(100, 100, 4), (96, 100, 4), (98, 100, 4), (95, 100, 4), (0, 0, 0)] {
            let digest = u128::from(listed);
            assert_eq!(seen.judge(&wanted(Some(listed), None), &look(octets, lines, digest), None), own);
        }
        let message = wanted(Some(2000), None);
        // Shortened, then whole.
        assert_eq!(seen.judge(&message, &look(1500, 9, 1), None), Belief::Doubtful);
        assert_eq!(seen.judge(&message, &look(2000, 9, 2), Some(&look(1500, 9, 1))), own);
        // Shortened in two ways, then twice in the same way.
        assert_eq!(seen.judge(&message, &look(1400, 9, 3), Some(&look(1500, 9, 1))), Belief::Doubtful);
        let short = Belief::Own { short: true };
        assert_eq!(seen.judge(&message, &look(1400, 9, 3), Some(&look(1400, 9, 3))), short);
        // The answer of another message, and a real copy of it.
        assert_eq!(seen.judge(&message, &look(2000, 9, 2), None), Belief::Doubtful);
        assert_eq!(seen.judge(&message, &look(2000, 9, 2), Some(&look(2000, 9, 2))), own);
        // Nothing, however often.
        let nothing = look(0, 0, 9);
        assert_eq!(seen.judge(&message, &nothing, Some(&nothing)), Belief::Doubtful);
        assert_eq!(seen.judge(&wanted(None, None), &nothing, None), Belief::Doubtful);
    }

    #[test]
    fn at_a_server_whose_sizes_are_wrong_less_is_not_missed() {
        let look = |digest| Look { octets: 90, lines: 4, digest, misplaced: false };
        let mut seen = Seen::default();
        for digest in 0..3 {
            let message = wanted(Some(100), None);
            assert_eq!(seen.judge(&message, &look(digest), None), Belief::Doubtful);
            assert_eq!(
                seen.judge(&message, &look(digest), Some(&look(digest))),
                Belief::Own { short: false }
            );
        }
    }
}
