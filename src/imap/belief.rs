//! When the answer to a FETCH of whole messages is believed: as a whole or not at all. Each message that was asked for
//! comes once, in an answer without a fault, as long as RFC822.SIZE says, and the command ends in OK. Anything else is
//! a second look's affair. It refuses to know how the second look is taken.
//!
//! Why as a whole: bytes that are lost or added in one answer move the next ones. A body under the name of another
//! message shows in the message that is missing then, and not in its own answer.

use std::collections::BTreeMap;

use super::transport::Came;
use crate::message::{Flags, UidSet};

/// A message that is asked for alone so often without an answer that adds up is given up.
pub(super) const LOOKS: u8 = 4;

/// What one look at a message saw: how many bytes, and their checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// Bytes.
    pub length: u64,
    /// CRC-32.
    pub sum: u32,
}

impl Look {
    /// Whether it is nothing but blanks of one kind, or empty lines; up to 4 KiB.
    pub(super) fn is_blank(&self) -> bool {
        let of = |unit: &[u8]| {
            let times = usize::try_from(self.length).unwrap_or(usize::MAX) / unit.len();
            self.length == (times * unit.len()) as u64 && crc32fast::hash(&unit.repeat(times)) == self.sum
        };
        self.length <= 4096 && [&b"\r\n"[..], b"\n", b" ", b" \r\n"].into_iter().any(of)
    }
}

impl From<Came> for Look {
    fn from(came: Came) -> Look {
        Look { length: came.length, sum: came.sum }
    }
}

/// A body that came, and what came with it.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    /// The number of the body.
    pub(super) piece: u64,
    pub(super) look: Look,
    pub(super) flags: Option<Flags>,
    pub(super) received: Option<i64>,
    /// It has an item that is there twice, or two answers differ: it is never believed.
    pub(super) twice: bool,
    /// It has an item that nobody knows: only a second look tells.
    pub(super) unknown: bool,
    /// Some of its flags cannot be kept.
    pub(super) flags_left: bool,
}

impl Answer {
    /// It has what no answer should have.
    pub(super) fn is_odd(&self) -> bool {
        self.twice || self.unknown
    }
}

/// What an answered command comes to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Everything came, as it was announced.
    Whole,
    /// What came is as it was announced, but these did not come.
    Without(UidSet),
    /// Everything came, but these have another length than was announced.
    Differs(UidSet),
    /// It does not add up; these are the ones that show it.
    Doubtful(UidSet),
}

/// A command that was sent, and what came for it so far.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) tag: String,
    pub(super) want: UidSet,
    answers: BTreeMap<u32, Answer>,
    /// Flags and dates that came without a body (RFC 3501, 7.4.2).
    ahead: BTreeMap<u32, (Option<Flags>, Option<i64>)>,
    /// In which order the answers came.
    order: Vec<u32>,
}

impl Asked {
    pub(super) fn new(tag: String, want: UidSet) -> Asked {
        Asked { tag, want, answers: BTreeMap::new(), ahead: BTreeMap::new(), order: Vec::new() }
    }

    /// The message, if it is asked for alone.
    pub(super) fn single(&self) -> Option<u32> {
        self.want.iter().next().filter(|_| self.want.len() == 1)
    }

    /// A body came; returns the number of the one to be dropped, if it came twice.
    pub(super) fn hear(&mut self, uid: u32, answer: Answer) -> Option<u64> {
        if let Some(known) = self.answers.get_mut(&uid) {
            // Two answers with the same bytes are one.
            known.twice |= answer.twice || known.look != answer.look;
            known.unknown |= answer.unknown;
            known.flags = known.flags.take().or(answer.flags);
            return Some(answer.piece);
        }
        self.order.push(uid);
        self.answers.insert(uid, answer);
        None
    }

    /// Flags or a date came without a body.
    pub(super) fn hear_ahead(&mut self, uid: u32, flags: Option<Flags>, received: Option<i64>) {
        let ahead = self.ahead.entry(uid).or_default();
        *ahead = (flags.or(ahead.0.take()), received.or(ahead.1));
    }

    /// Puts together what came in two answers.
    fn join(&mut self) {
        for (uid, (flags, received)) in std::mem::take(&mut self.ahead) {
            if let Some(answer) = self.answers.get_mut(&uid) {
                answer.flags = answer.flags.take().or(flags);
                answer.received = answer.received.or(received);
            }
        }
    }

    /// What it comes to, once it has ended in OK. `sizes`: RFC822.SIZE as it was listed; `unread`: something came
    /// meanwhile that nobody can read.
    pub(super) fn verdict(&mut self, sizes: impl Fn(u32) -> Option<u32>, unread: bool) -> Verdict {
        self.join();
        let (mut missing, mut faulty, mut differ) = (UidSet::new(), UidSet::new(), UidSet::new());
        for uid in self.want.iter() {
            match self.answers.get(&uid) {
                None => drop(missing.insert(uid)),
                // Flags may come with it when it is asked for alone.
                Some(answer) if answer.is_odd() || answer.flags.is_none() => drop(faulty.insert(uid)),
                Some(answer) if !fits(answer, sizes(uid)) => drop(differ.insert(uid)),
                Some(_) => {}
            }
        }
        match (missing.is_empty(), faulty.is_empty(), differ.is_empty()) {
            (true, true, true) => Verdict::Whole,
            (false, true, true) if !unread => Verdict::Without(missing),
            (true, true, false) if !unread => Verdict::Differs(differ),
            _ => {
                missing.extend(&faulty);
                missing.extend(&differ);
                Verdict::Doubtful(missing)
            }
        }
    }

    /// Takes the answer for a message out.
    pub(super) fn take(&mut self, uid: u32) -> Option<Answer> {
        self.answers.remove(&uid)
    }

    /// All answers that are left.
    pub(super) fn into_answers(self) -> BTreeMap<u32, Answer> {
        self.answers
    }

    /// Whether nothing of it has come.
    pub(super) fn is_unheard(&self) -> bool {
        self.missing().len() == self.want.len()
    }

    /// Messages that did not come.
    pub(super) fn missing(&self) -> UidSet {
        self.want.iter().filter(|uid| !self.answers.contains_key(uid)).collect()
    }

    /// Of a command whose connection broke: the messages that came one after another as they were asked for, as long
    /// as announced, each with another one behind it. The last one has no witness, unless it was asked for alone.
    pub(super) fn proven(&mut self, sizes: impl Fn(u32) -> Option<u32>) -> UidSet {
        self.join();
        let in_order = self.want.iter().zip(&self.order).take_while(|(asked, came)| {
            let answer = self.answers.get(came);
            asked == *came
                && answer.is_some_and(|a| !a.is_odd() && a.flags.is_some() && fits(a, sizes(**came)))
        });
        let mut proven: Vec<u32> = in_order.map(|(uid, _)| uid).collect();
        if self.want.len() > 1 {
            proven.pop();
        }
        proven.into_iter().collect()
    }

    /// The first message, in the order of asking, that did not come.
    pub(super) fn first_missing(&self) -> Option<u32> {
        self.want.iter().find(|uid| !self.answers.contains_key(uid))
    }
}

/// Whether a body is as long as it was announced. Where nothing was announced, only a second look tells.
fn fits(answer: &Answer, size: Option<u32>) -> bool {
    size.is_some_and(|size| u64::from(size) == answer.look.length)
}

/// Why a message is not believed, in words.
pub(super) fn why_not(look: Option<Look>, size: Option<u32>) -> String {
    match (look, size) {
        (Some(Look { length: 0, .. }), Some(size)) => {
            format!("the server says that it has {size} bytes and gives none of them")
        }
        (Some(look), Some(size)) if look.is_blank() => {
            format!("the server says that it has {size} bytes and gives an empty line")
        }
        (Some(Look { length: 0, .. }), None) => "the server gives a message without a byte".to_owned(),
        (Some(Look { length, .. }), Some(size)) if u64::from(size) != length => format!(
            "the server's answers for it do not add up: it says that the message has {size} bytes, gives {length}, \
             and gives something else each time"
        ),
        (Some(_), _) => "the server's answers for it do not add up: they differ each time".to_owned(),
        (None, _) => "the server lists it, but gives no answer for it that can be read".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(piece: u64, length: u64) -> Answer {
        let look = Look { length, sum: u32::try_from(length).unwrap() };
        let flags = Some(Flags::default());
        Answer { piece, look, flags, received: None, twice: false, unknown: false, flags_left: false }
    }

    fn asked(lengths: &[(u32, u64)]) -> Asked {
        let mut asked = Asked::new("A1".to_owned(), (1..=4).collect());
        for (at, (uid, length)) in lengths.iter().enumerate() {
            assert_eq!(asked.hear(*uid, answer(at as u64, *length)), None);
        }
        asked
    }

    fn ten(_: u32) -> Option<u32> {
        Some(10)
    }

    #[test]
    fn a_command_is_believed_as_a_whole() {
        let all = [(1, 10), (2, 10), (3, 10), (4, 10)];
        assert_eq!(asked(&all).verdict(ten, true), Verdict::Whole, "whatever else came");
        assert_eq!(asked(&all[..3]).verdict(ten, false), Verdict::Without([4].into_iter().collect()));
        assert_eq!(asked(&all[..3]).verdict(ten, true), Verdict::Doubtful([4].into_iter().collect()));
        let differs = [(1, 10), (2, 12), (3, 0), (4, 10)];
        assert_eq!(asked(&differs).verdict(ten, false), Verdict::Differs([2, 3].into_iter().collect()));
        assert_eq!(asked(&differs[..3]).verdict(ten, false), Verdict::Doubtful((2..=4).collect()));
        let mut without = asked(&all);
        without.answers.get_mut(&3).unwrap().flags = None;
        assert_eq!(without.verdict(ten, false), Verdict::Doubtful([3].into_iter().collect()));
        without.hear_ahead(3, Some(Flags::default()), None);
        assert_eq!(without.verdict(ten, false), Verdict::Whole);
        assert_eq!(asked(&all).verdict(|_| None, true), Verdict::Doubtful((1..=4).collect()));
        assert_eq!(asked(&all).verdict(|_| None, false), Verdict::Differs((1..=4).collect()));
    }

    #[test]
    fn what_comes_twice_must_agree() {
        let mut twice = asked(&[(1, 10), (2, 10), (3, 10), (4, 10)]);
        assert_eq!(twice.hear(2, answer(9, 10)), Some(9));
        assert_eq!(twice.verdict(ten, false), Verdict::Whole);
        assert_eq!(twice.hear(2, answer(10, 11)), Some(10));
        assert_eq!(twice.verdict(ten, false), Verdict::Doubtful([2].into_iter().collect()));
    }

    #[test]
    fn of_a_broken_command_the_last_one_is_not_proven() {
        let proven = |lengths: &[(u32, u64)]| asked(lengths).proven(ten).iter().collect::<Vec<_>>();
        assert_eq!(proven(&[(1, 10), (2, 10), (3, 10)]), [1, 2]);
        assert_eq!(proven(&[(1, 10), (3, 10), (4, 10)]), [] as [u32; 0], "the second one is missing");
        assert_eq!(proven(&[(1, 10), (2, 10), (3, 11), (4, 10)]), [1]);
        assert_eq!(proven(&[(2, 10), (1, 10), (3, 10)]), [] as [u32; 0]);
        assert_eq!(asked(&[(1, 10), (3, 10)]).first_missing(), Some(2));
    }
}
