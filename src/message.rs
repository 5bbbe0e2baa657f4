//! What is known of a message besides its octets: where it is at the source, its flags, its date; and
//! sets of UIDs as ranges. It refuses I/O and never holds a subject or a body.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// A folder, level by level, in Unicode. `INBOX` alone is the inbox.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FolderPath(pub Vec<String>);

impl FolderPath {
    /// The inbox.
    pub fn inbox() -> Self {
        FolderPath(vec!["INBOX".to_owned()])
    }

    /// Whether this is the inbox (RFC 3501, 5.1: its name has no case).
    pub fn is_inbox(&self) -> bool {
        match self.0.as_slice() {
            [only] => only.eq_ignore_ascii_case("INBOX"),
            _ => self.0.is_empty(),
        }
    }

    /// The same folder with the one level written as everybody writes it that has no case: a first one that is the
    /// inbox's, whose children share its name (RFC 3501, 5.1).
    pub fn folded(&self) -> Self {
        let mut levels = self.0.clone();
        if let Some(first) = levels.first_mut().filter(|first| first.eq_ignore_ascii_case("INBOX")) {
            "INBOX".clone_into(first);
        }
        FolderPath(levels)
    }
}

impl fmt::Display for FolderPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_inbox() { f.write_str("INBOX") } else { f.write_str(&self.0.join("/")) }
    }
}

/// Where a message is at its source, stable over sessions. The same reference always gives the same
/// name at the destination, so that a repeated delivery meets itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MessageRef {
    /// RFC 3501, 2.3.1.1: unique within the folder for ever.
    Imap {
        /// The folder's UIDVALIDITY.
        uidvalidity: u32,
        /// The message's UID.
        uid: u32,
    },
    /// The first 128 bits of a hash over a POP3 UIDL, or over headers and size where there is none.
    Pop3(u128),
}

/// The flags that every mail store knows (RFC 3501, 2.3.2), and the keywords besides them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Flags {
    /// `\Seen`
    pub seen: bool,
    /// `\Answered`
    pub answered: bool,
    /// `\Flagged`
    pub flagged: bool,
    /// `\Deleted`
    pub deleted: bool,
    /// `\Draft`
    pub draft: bool,
    /// `\Recent`
    pub recent: bool,
    /// Keywords, as the server wrote them.
    pub keywords: Vec<String>,
}

/// One of the flags that every mail store keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mark {
    /// `\Draft`
    Draft,
    /// `\Flagged`
    Flagged,
    /// `\Answered`
    Answered,
    /// `\Seen`
    Seen,
    /// `\Deleted`
    Deleted,
}

impl Mark {
    /// All of them.
    pub const ALL: [Mark; 5] = [Mark::Draft, Mark::Flagged, Mark::Answered, Mark::Seen, Mark::Deleted];

    /// Its letter in the names of a Maildir's files.
    pub fn letter(self) -> char {
        match self {
            Mark::Draft => 'D',
            Mark::Flagged => 'F',
            Mark::Answered => 'R',
            Mark::Seen => 'S',
            Mark::Deleted => 'T',
        }
    }
}

/// A system flag or a keyword (RFC 9051, 2.3.2).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Flag {
    /// One that every mail store keeps.
    System(Mark),
    /// Any other.
    Keyword(Keyword),
}

/// A keyword. Capital and small letters are the same.
#[derive(Debug, Clone)]
pub struct Keyword(String);

impl Keyword {
    /// A longer one is not carried; octets.
    const LONGEST: usize = 128;

    /// `None`: no store takes it, since it is no atom (RFC 9051, 9: `flag-keyword`) or over 128 octets long.
    pub fn new(word: &str) -> Option<Keyword> {
        let fits = !word.is_empty()
            && word.len() <= Keyword::LONGEST
            && word.bytes().all(|b| b.is_ascii_graphic() && !b"(){%*\"\\]".contains(&b));
        fits.then(|| Keyword(word.to_owned()))
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Ord for Keyword {
    fn cmp(&self, other: &Keyword) -> std::cmp::Ordering {
        let small = |word: &'_ Keyword| word.0.to_ascii_lowercase();
        small(self).cmp(&small(other))
    }
}

impl PartialOrd for Keyword {
    fn partial_cmp(&self, other: &Keyword) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Keyword {
    fn eq(&self, other: &Keyword) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl Eq for Keyword {}

impl Flags {
    /// Those that are set and can be carried.
    pub fn each(&self) -> impl Iterator<Item = Flag> {
        let marks = Mark::ALL.into_iter().filter(|mark| self.has(*mark)).map(Flag::System);
        marks.chain(self.keywords.iter().filter_map(|word| Keyword::new(word)).map(Flag::Keyword))
    }

    /// Whether a flag or keyword is set.
    pub fn carries(&self, flag: &Flag) -> bool {
        match flag {
            Flag::System(mark) => self.has(*mark),
            Flag::Keyword(word) => self.keywords.iter().any(|w| w.eq_ignore_ascii_case(word.as_str())),
        }
    }

    /// Sets more of them.
    pub fn add(&mut self, marks: &BTreeSet<Mark>, keywords: Vec<String>) {
        for mark in marks {
            match mark {
                Mark::Draft => self.draft = true,
                Mark::Flagged => self.flagged = true,
                Mark::Answered => self.answered = true,
                Mark::Seen => self.seen = true,
                Mark::Deleted => self.deleted = true,
            }
        }
        for word in keywords {
            if !self.keywords.contains(&word) {
                self.keywords.push(word);
            }
        }
    }

    /// Whether a flag is set.
    pub fn has(&self, mark: Mark) -> bool {
        match mark {
            Mark::Draft => self.draft,
            Mark::Flagged => self.flagged,
            Mark::Answered => self.answered,
            Mark::Seen => self.seen,
            Mark::Deleted => self.deleted,
        }
    }
}

/// The room that a mailbox has; `None`: no limit is known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Room {
    /// Octets.
    pub octets: Option<u64>,
    /// Messages.
    pub messages: Option<u64>,
}

impl Room {
    /// What is wrong with `messages` of so many `octets` coming, in words.
    pub fn lacks(&self, messages: u64, octets: u64) -> Option<String> {
        if let Some(room) = self.octets.filter(|room| octets > *room) {
            return Some(format!(
                "the destination has room for {room} octets, and {octets} would come: it will be full before the end"
            ));
        }
        let room = self.messages.filter(|room| messages > *room)?;
        Some(format!(
            "the destination has room for {room} messages, and {messages} would come: it will be full before the end"
        ))
    }
}

/// Seconds since 1970 and where they came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReceivedAt(pub i64);

/// A message that was not brought, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// The source folder, for people.
    pub folder: String,
    /// UID or UIDL, made printable.
    pub id: String,
    /// Octets, where known.
    pub size: Option<u64>,
    /// In words.
    pub reason: String,
}

/// A message's octets on their way from a source, in pieces of at most 64 KiB; line ends are CRLF as they
/// came. Between `Begin` and its `End` or `Abandon` nothing of another message comes.
#[derive(Debug, PartialEq, Eq)]
pub enum Parcel {
    /// A message begins. The number is the source's own, to name the message by later.
    Begin(u64),
    /// The next octets.
    Data(Vec<u8>),
    /// It is complete.
    End,
    /// It will never be complete: forget it.
    Abandon,
}

/// A set of UIDs as ranges: a million messages in a few octets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UidSet(BTreeMap<u32, u32>);

impl UidSet {
    /// The empty set.
    pub fn new() -> Self {
        UidSet::default()
    }

    /// Adds one UID; `false` if it was there.
    pub fn insert(&mut self, uid: u32) -> bool {
        let (mut start, mut end) = (uid, uid);
        if let Some((&s, &e)) = self.0.range(..=uid).next_back() {
            if e >= uid {
                return false;
            }
            if e.checked_add(1) == Some(uid) {
                start = s;
            }
        }
        if let Some(next) = uid.checked_add(1)
            && let Some(e) = self.0.remove(&next)
        {
            end = e;
        }
        self.0.insert(start, end);
        true
    }

    /// Adds all of `other`.
    pub fn extend(&mut self, other: &UidSet) {
        for (start, end) in other.ranges() {
            self.insert_range(start, end);
        }
    }

    /// Adds `start..=end`.
    pub fn insert_range(&mut self, start: u32, end: u32) {
        if start > end {
            return;
        }
        let (mut low, mut high) = (start, end);
        // Whatever touches the new range is swallowed by it.
        let below = start.saturating_sub(1);
        let above = end.saturating_add(1);
        let touching: Vec<(u32, u32)> =
            self.0.range(..=above).rev().take_while(|(_, e)| **e >= below).map(|(s, e)| (*s, *e)).collect();
        for (s, e) in touching {
            self.0.remove(&s);
            low = low.min(s);
            high = high.max(e);
        }
        self.0.insert(low, high);
    }

    /// Takes one UID out.
    pub fn remove(&mut self, uid: u32) {
        let Some((&s, &e)) = self.0.range(..=uid).next_back() else { return };
        if e < uid {
            return;
        }
        self.0.remove(&s);
        if s < uid {
            self.0.insert(s, uid - 1);
        }
        if uid < e {
            self.0.insert(uid + 1, e);
        }
    }

    /// Takes all of `other` out.
    pub fn subtract(&mut self, other: &UidSet) {
        for (start, end) in other.ranges() {
            let below = self.0.range(..start).next_back().map(|(s, e)| (*s, *e)).filter(|(_, e)| *e >= start);
            let inside: Vec<(u32, u32)> = self.0.range(start..=end).map(|(s, e)| (*s, *e)).collect();
            for (s, e) in below.into_iter().chain(inside) {
                self.0.remove(&s);
                if s < start {
                    self.0.insert(s, start - 1);
                }
                if e > end {
                    self.0.insert(end + 1, e);
                }
            }
        }
    }

    /// Whether a UID is in the set.
    pub fn contains(&self, uid: u32) -> bool {
        self.0.range(..=uid).next_back().is_some_and(|(_, e)| *e >= uid)
    }

    /// How many UIDs.
    pub fn len(&self) -> u64 {
        self.0.iter().map(|(s, e)| u64::from(*e) - u64::from(*s) + 1).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The ranges, ascending, both ends included.
    pub fn ranges(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        self.0.iter().map(|(s, e)| (*s, *e))
    }

    /// Every UID, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.ranges().flat_map(|(s, e)| s..=e)
    }

    /// Reads what `Display` wrote. `None` if it is anything else.
    pub fn parse(text: &str) -> Option<UidSet> {
        let mut set = UidSet::new();
        if text.is_empty() {
            return Some(set);
        }
        for part in text.split(',') {
            let (start, end) = part.split_once(':').unwrap_or((part, part));
            let (start, end): (u32, u32) = (start.parse().ok()?, end.parse().ok()?);
            if start > end {
                return None;
            }
            set.insert_range(start, end);
        }
        Some(set)
    }
}

impl fmt::Display for UidSet {
    /// As IMAP writes a sequence set (RFC 3501, `sequence-set`), ascending.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (start, end)) in self.ranges().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            if start == end { write!(f, "{start}")? } else { write!(f, "{start}:{end}")? }
        }
        Ok(())
    }
}

impl FromIterator<u32> for UidSet {
    fn from_iter<I: IntoIterator<Item = u32>>(iter: I) -> Self {
        let mut set = UidSet::new();
        for uid in iter {
            set.insert(uid);
        }
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn a_uid_set_is_a_set(ops in prop::collection::vec((0u8..4, 0u32..60, 0u32..9), 0..80)) {
            let (mut set, mut model) = (UidSet::new(), BTreeSet::new());
            for (op, uid, more) in ops {
                match op {
                    0 => { prop_assert_eq!(set.insert(uid), model.insert(uid)); }
                    1 => { set.remove(uid); model.remove(&uid); }
                    2 => { set.insert_range(uid, uid + more); model.extend(uid..=uid + more); }
                    _ => {
                        let other: UidSet = (uid..=uid + more).filter(|u| u % 3 != 0).collect();
                        set.subtract(&other);
                        model.retain(|u| !other.contains(*u));
                    }
                }
            }
            prop_assert_eq!(set.iter().collect::<Vec<_>>(), model.iter().copied().collect::<Vec<_>>());
            prop_assert_eq!(set.len(), model.len() as u64);
            prop_assert_eq!(UidSet::parse(&set.to_string()), Some(set.clone()));
            let ranges: Vec<_> = set.ranges().collect();
            for pair in ranges.windows(2) {
                prop_assert!(pair[0].1 + 1 < pair[1].0, "ranges must not touch: {:?}", ranges);
            }
        }
    }

    #[test]
    fn the_ends_of_the_number_line_hold() {
        let mut set = UidSet::new();
        set.insert(u32::MAX);
        set.insert_range(0, 3);
        set.insert(u32::MAX - 1);
        assert_eq!(set.to_string(), "0:3,4294967294:4294967295");
        set.remove(u32::MAX);
        assert!(!set.contains(u32::MAX));
        assert_eq!(UidSet::parse("5:2"), None);
    }
}
