//! APPEND (RFC 3501, 6.3.11): many messages in one command where the server can (MULTIAPPEND, RFC 3502),
//! several commands in flight where literals need not be waited for (LITERAL+ and LITERAL-, RFC 7888), one
//! after the other where nothing else is offered. Each message's own answer is told. It refuses to call a
//! message stored before the tagged OK, and to hold more of a message in memory than a piece.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use super::append_words::{Meaning, meaning};
use super::date;
use super::refusal::{quote, refusal};
use super::response::every;
use super::session::{Done, Session};
use super::shelf::{Permitted, is_missing, written};
use crate::failure::{Failure, Kind};
use crate::message::{Flags, Parcel};

/// One command has at most so many messages and octets.
const GROUP: usize = 256;
const GROUP_OCTETS: u64 = 8 * 1024 * 1024;
/// Commands in flight.
const WINDOW: usize = 16;
/// A longer message waits for the server to agree, if it would not have to: a refusal comes before the octets.
const SPONTANEOUS: u64 = 1024 * 1024;
/// Longer literals are never spontaneous with LITERAL- (RFC 7888, 5).
const LITERAL_MINUS: u64 = 4096;
/// After so many refusals in a row that may not be the messages' fault, the rest is not sent.
const IN_A_ROW: usize = 5;
/// Octets read from the file, and written to the server, at once.
const READ: usize = 1024 * 1024;
const WRITE: usize = 64 * 1024;

/// A message in a file that is to be appended.
#[derive(Debug, Clone)]
pub struct Letter {
    /// Its flags as [`written_flags`] has them.
    pub flags: String,
    /// INTERNALDATE, seconds since 1970; `None`: the server takes its own time.
    pub received: Option<i64>,
    /// The file that it is in.
    pub file: Arc<File>,
    /// Where in the file it begins.
    pub offset: u64,
    /// How long it is.
    pub octets: u64,
}

impl Letter {
    /// Its flags, or fewer of them.
    fn flags(&self, less: Option<Less>) -> String {
        match less {
            None => self.flags.clone(),
            Some(Less::Keywords) => {
                self.flags.split(' ').filter(|flag| flag.starts_with('\\')).collect::<Vec<_>>().join(" ")
            }
            Some(Less::Flags) => String::new(),
        }
    }

    /// The next simpler way to send it.
    fn simpler(&self, less: Option<Less>) -> Option<Less> {
        let now = self.flags(less);
        let ways = [Less::Keywords, Less::Flags].into_iter().filter(|way| Some(*way) > less);
        ways.into_iter().find(|way| self.flags(Some(*way)) != now)
    }
}

/// What is left out of an APPEND that was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Less {
    Keywords,
    Flags,
}

/// How messages are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Manner {
    /// Many in one command, where the server can (RFC 3502).
    pub groups: bool,
    /// Literals are not waited for, where the server allows that (RFC 7888).
    pub ahead: bool,
    /// Each is answered before the next is sent: then a connection that breaks has broken over that one.
    pub alone: bool,
}

impl Manner {
    /// As fast as can be.
    pub const FAST: Manner = Manner { groups: true, ahead: true, alone: false };
    /// As RFC 3501 has it, one after the other.
    pub const PLAIN: Manner = Manner { groups: false, ahead: false, alone: true };
}

/// What became of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Appended {
    /// The server has it; its UIDVALIDITY and UID, if the server says them (UIDPLUS).
    Stored(Option<(u32, u32)>),
    /// The same, but without its keywords or without any flags: with them the server did not take it.
    Bare(Option<(u32, u32)>),
    /// The server does not take this message, for what is in it: in words.
    Refused(String),
    /// Neither does it, and the reason is a limit that the server has: in words.
    TooMuch(String),
    /// The server refused it in words that may speak of the server, and not of the message.
    Doubtful(Failure),
    /// The same with others or with its flags, and something else has come meanwhile: it may be there all the same.
    Unsure(Failure),
    /// It was sent as a whole, and the connection ended before the answer.
    Unanswered,
    /// The connection ended while it was being sent: it cannot be there.
    CutOff,
}

/// What became of messages.
#[derive(Debug)]
pub struct Appends {
    /// Of each, in their order. `None`: it was not sent.
    pub results: Vec<Option<Appended>>,
    /// How it ended.
    pub ended: Result<(), Failure>,
    /// Commands with several messages that the server took.
    pub groups_stored: u32,
    /// Commands with several messages that it refused.
    pub groups_refused: u32,
}

/// The flags that a folder keeps, as APPEND has them, and the keywords that it does not keep. System flags are
/// written unless the folder has refused them: servers keep some that they do not name.
pub fn written_flags(flags: &Flags, folder: &Permitted) -> (String, Vec<String>) {
    let keeps = |name: &str| !folder.was_refused(name);
    let system = [
        (flags.seen, "\\Seen"),
        (flags.answered, "\\Answered"),
        (flags.flagged, "\\Flagged"),
        (flags.deleted, "\\Deleted"),
        (flags.draft, "\\Draft"),
    ];
    let system = system.iter().filter(|(set, _)| *set).map(|(_, name)| *name);
    let (mut words, left): (Vec<&str>, Vec<&str>) = system.partition(|name| keeps(name));
    let mut left: Vec<String> = left.into_iter().map(str::to_owned).collect();
    for keyword in &flags.keywords {
        if is_atom(keyword) && folder.keeps(keyword) {
            words.push(keyword);
        } else {
            left.push(keyword.clone());
        }
    }
    (words.join(" "), left)
}

/// RFC 3501, `flag-keyword`.
fn is_atom(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|b| matches!(b, b'!'..=b'~') && !b"(){%*\"\\]".contains(&b))
}

impl<T: From<Parcel> + Send + 'static> Session<T> {
    /// The longest message that the server says it takes (APPENDLIMIT, RFC 7889), octets.
    pub fn append_limit(&self) -> Option<u64> {
        self.capabilities().iter().find_map(|name| name.strip_prefix("APPENDLIMIT=")?.parse().ok())
    }

    /// Appends `letters` to the folder of that name. What was answered before a failure is told with it; what
    /// has no answer may be there or not. Where the server refuses one after the other for now, the rest is not
    /// sent, and has no result. The folder is open, and `next` is the lowest UID that the first of them may get: by
    /// that it shows whether something was stored and refused all the same, before anything is sent once more.
    pub async fn append(&mut self, folder: &[u8], letters: &[Letter], manner: Manner, next: u32) -> Appends {
        let results = vec![None; letters.len()];
        let name = match written(folder) {
            Ok(name) => name,
            Err(failure) => {
                return Appends { results, ended: Err(failure), groups_stored: 0, groups_refused: 0 };
            }
        };
        let mut work = Work {
            literals: if manner.ahead { Literals::of(self) } else { Literals::None },
            multiple: self.can("MULTIAPPEND") && manner.groups,
            window: if manner.alone { 1 } else { WINDOW },
            plain: manner.alone,
            in_a_row: 0,
            current: 0..0,
            limit: self.append_limit(),
            session: self,
            name,
            letters,
            octets: Octets::default(),
            out: Vec::new(),
            flights: VecDeque::new(),
            again: VecDeque::new(),
            said: BTreeMap::new(),
            next,
            less: BTreeMap::new(),
            results,
            groups: (0, 0),
        };
        let ended = work.run().await;
        if ended.is_err() {
            let current = work.current.clone();
            work.results.get_mut(current).unwrap_or_default().fill(Some(Appended::CutOff));
        }
        for flight in std::mem::take(&mut work.flights) {
            work.results.get_mut(flight.letters).unwrap_or_default().fill(Some(Appended::Unanswered));
        }
        let (groups_stored, groups_refused) = work.groups;
        Appends { results: work.results, ended, groups_stored, groups_refused }
    }
}

/// Which literals need not be waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Literals {
    All,
    Short,
    None,
}

impl Literals {
    fn of<T: From<Parcel> + Send + 'static>(session: &Session<T>) -> Literals {
        if session.can("LITERAL+") {
            Literals::All
        } else if session.can("LITERAL-") || session.can("IMAP4REV2") {
            Literals::Short
        } else {
            Literals::None
        }
    }

    fn spontaneous(self, octets: u64) -> bool {
        match self {
            Literals::All => octets <= SPONTANEOUS,
            Literals::Short => octets <= LITERAL_MINUS,
            Literals::None => false,
        }
    }
}

/// A command that was sent and not answered yet.
struct Flight {
    tag: String,
    letters: Range<usize>,
}

struct Work<'w, T: From<Parcel> + Send + 'static> {
    session: &'w mut Session<T>,
    literals: Literals,
    multiple: bool,
    limit: Option<u64>,
    name: Vec<u8>,
    letters: &'w [Letter],
    octets: Octets,
    out: Vec<u8>,
    flights: VecDeque<Flight>,
    /// Commands in flight at most.
    window: usize,
    /// Nothing is tried that can be done without.
    plain: bool,
    /// Refusals in a row that may not be the messages' fault.
    in_a_row: usize,
    /// Being sent.
    current: Range<usize>,
    /// Of groups that were refused as a whole, each alone; and what was refused with its flags.
    again: VecDeque<usize>,
    /// Why these are sent again.
    said: BTreeMap<usize, Failure>,
    /// No message of these has a lower UID.
    next: u32,
    /// What is sent with fewer flags than it has.
    less: BTreeMap<usize, Less>,
    results: Vec<Option<Appended>>,
    /// So many were stored, and refused.
    groups: (u32, u32),
}

impl<T: From<Parcel> + Send + 'static> Work<'_, T> {
    async fn run(&mut self) -> Result<(), Failure> {
        let mut sent = Ok(());
        for group in self.groups() {
            if self.in_a_row >= IN_A_ROW {
                break;
            }
            sent = self.send(group).await;
            if sent.is_err() {
                break;
            }
        }
        let settled = self.settle(0).await;
        sent.and(settled)?;
        while !self.again.is_empty() {
            if self.more_came().await? {
                // Whoever knows their octets looks whether it is they.
                for letter in std::mem::take(&mut self.again) {
                    let result = self.results.get_mut(letter).zip(self.said.remove(&letter));
                    if let Some((result, failure)) = result {
                        *result = Some(Appended::Unsure(failure));
                    }
                }
                return Ok(());
            }
            while let Some(letter) = self.again.pop_front().filter(|_| self.in_a_row < IN_A_ROW) {
                self.send(letter..letter + 1).await?;
            }
            // What is refused with some of its flags is sent once more without.
            self.settle(0).await?;
        }
        Ok(())
    }

    /// Whether the folder has more new messages than the server said that it stored.
    async fn more_came(&mut self) -> Result<bool, Failure> {
        // A folder that is open need not tell what came since.
        self.session.refresh().await?;
        let stored =
            |result: &&Option<Appended>| matches!(result, Some(Appended::Stored(_) | Appended::Bare(_)));
        let stored = self.results.iter().filter(stored).count();
        match self.session.sizes_from(self.next).await {
            Ok(there) => Ok(there.len() > stored),
            Err(failure) if failure.broke() => Err(failure),
            Err(_) => Ok(false),
        }
    }

    /// What goes into one command each, without what is above the server's limit.
    fn groups(&mut self) -> Vec<Range<usize>> {
        let mut groups: Vec<Range<usize>> = Vec::new();
        let mut octets = 0;
        for (at, (letter, result)) in self.letters.iter().zip(&mut self.results).enumerate() {
            if let Some(limit) = self.limit.filter(|limit| letter.octets > *limit) {
                let words = format!("it has {} octets, and the server takes {limit} at most", letter.octets);
                *result = Some(Appended::TooMuch(words));
                continue;
            }
            octets += letter.octets;
            match groups.last_mut() {
                Some(last)
                    if self.multiple
                        && last.end == at
                        && last.len() < GROUP
                        && octets <= GROUP_OCTETS
                        && letter.octets <= SPONTANEOUS =>
                {
                    last.end = at + 1;
                }
                _ => {
                    groups.push(at..at + 1);
                    octets = letter.octets;
                }
            }
        }
        groups
    }

    /// Sends one command, and waits while too many are in flight.
    async fn send(&mut self, group: Range<usize>) -> Result<(), Failure> {
        self.current = group.clone();
        let tag = self.session.next_tag();
        self.out.extend_from_slice(tag.as_bytes());
        self.out.extend_from_slice(b" APPEND ");
        self.out.extend_from_slice(&self.name);
        for (at, letter) in group.clone().zip(self.letters.get(group.clone()).unwrap_or_default()) {
            let flags = letter.flags(self.less.get(&at).copied());
            let date = letter.received.map(|at| format!(" \"{}\"", date::write(at))).unwrap_or_default();
            let spontaneous = self.literals.spontaneous(letter.octets);
            let plus = if spontaneous { "+" } else { "" };
            let head = format!(" ({flags}){date} {{{}{plus}}}\r\n", letter.octets);
            self.out.extend_from_slice(head.as_bytes());
            if !spontaneous {
                // Answers to earlier commands come before the one that is waited for.
                self.flush().await?;
                self.settle(0).await?;
                if let Some(done) = self.session.continuation(&tag).await? {
                    self.current = 0..0;
                    return self.judge(&done, group);
                }
            }
            self.body(letter).await?;
        }
        self.out.extend_from_slice(b"\r\n");
        self.current = 0..0;
        self.flights.push_back(Flight { tag, letters: group });
        if self.flights.len() >= self.window {
            self.flush().await?;
            self.settle(self.window / 2).await?;
        }
        Ok(())
    }

    async fn body(&mut self, letter: &Letter) -> Result<(), Failure> {
        let mut done = 0;
        while done < letter.octets {
            let most = usize::try_from(letter.octets - done).unwrap_or(WRITE).min(WRITE);
            let read = self.octets.read(&letter.file, letter.offset + done, most).await;
            let piece = read.map_err(|e| {
                Failure::new(Kind::Destination, format!("the spool cannot be read: {e}"), "it is tried again")
            })?;
            done += piece.len() as u64;
            self.out.extend_from_slice(piece);
            if self.out.len() >= WRITE {
                self.flush().await?;
            }
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), Failure> {
        let out = std::mem::take(&mut self.out);
        let written = self.session.write(&out).await;
        self.out = out;
        self.out.clear();
        written
    }

    /// Reads answers until no more than `left` commands are in flight.
    async fn settle(&mut self, left: usize) -> Result<(), Failure> {
        if self.flights.len() > left {
            self.flush().await?;
        }
        let mut ended = Ok(());
        while self.flights.len() > left {
            let Some(tag) = self.flights.front().map(|flight| flight.tag.clone()) else { break };
            let done = self.session.finish(&tag, |_| {}).await?;
            let Some(flight) = self.flights.pop_front() else { break };
            // The others are heard to the end: what they stored is stored.
            ended = ended.and(self.judge(&done, flight.letters));
        }
        ended
    }

    fn judge(&mut self, done: &Done, letters: Range<usize>) -> Result<(), Failure> {
        if done.ok {
            let uids: Vec<(u32, u32)> = match &done.said.appended {
                // A number of UIDs that does not fit says nothing.
                Some((validity, ranges)) => {
                    let all = every(ranges, letters.len() as u64).unwrap_or_default();
                    all.into_iter().map(|uid| (*validity, uid)).collect()
                }
                None => Vec::new(),
            };
            self.in_a_row = 0;
            self.groups.0 += u32::from(letters.len() > 1);
            let bare = self.less.contains_key(&letters.start);
            let results = self.results.get_mut(letters).unwrap_or_default();
            for (at, result) in results.iter_mut().enumerate() {
                let place = uids.get(at).copied();
                *result = Some(if bare { Appended::Bare(place) } else { Appended::Stored(place) });
            }
            return Ok(());
        }
        if is_missing(done) {
            let words = format!("the folder is not there any more: {}", quote(&done.text));
            return Err(Failure::new(Kind::Destination, words, "it is tried again"));
        }
        let meant = meaning(&done.text);
        if meant == Some(Meaning::Full) {
            let words = format!("the mailbox is full: {}", quote(&done.text));
            return Err(Failure::new(Kind::Full, words, "make space, or raise its quota"));
        }
        let failure = refusal("the server does not store it", &done.text, Kind::Message, "");
        if letters.len() > 1 {
            // One of them may be the reason; nothing was stored (RFC 3502, 4), if the server keeps to that.
            self.said.extend(letters.clone().map(|letter| (letter, failure.clone())));
            self.again.extend(letters);
            self.groups.1 += 1;
            return Ok(());
        }
        let at = letters.start;
        let about_flags = match meant {
            None | Some(Meaning::Limit) => true,
            Some(Meaning::Wait(_)) => self.plain,
            Some(_) => false,
        };
        let less = self.less.get(&at).copied();
        let simpler = self.letters.get(at).and_then(|letter| letter.simpler(less));
        if let Some(simpler) = simpler.filter(|_| about_flags) {
            // A flag that is not taken is no reason to leave the message out.
            self.less.insert(at, simpler);
            self.said.insert(at, failure);
            self.again.push_back(at);
            return Ok(());
        }
        let refused = match meant {
            Some(Meaning::Size | Meaning::Limit) => Appended::TooMuch(failure.words),
            Some(Meaning::Content) => Appended::Refused(failure.words),
            Some(Meaning::Wait(kind)) => Appended::Doubtful(Failure { kind, ..failure }),
            Some(Meaning::Full) | None => Appended::Doubtful(failure),
        };
        let doubtful = matches!(refused, Appended::Doubtful(_));
        self.in_a_row = if doubtful { self.in_a_row + 1 } else { 0 };
        if let Some(result) = self.results.get_mut(at) {
            *result = Some(refused);
        }
        Ok(())
    }
}

/// Reads files in large pieces.
#[derive(Default)]
struct Octets {
    file: Option<Arc<File>>,
    buffer: Vec<u8>,
    start: u64,
}

impl Octets {
    /// At least one octet from `offset` on and `most` at most; the end of the file is an error.
    async fn read(&mut self, file: &Arc<File>, offset: u64, most: usize) -> io::Result<&[u8]> {
        let end = self.start + self.buffer.len() as u64;
        let same = self.file.as_ref().is_some_and(|own| Arc::ptr_eq(own, file));
        if !same || !(self.start..end).contains(&offset) {
            self.file = Some(Arc::clone(file));
            let (file, mut buffer) = (Arc::clone(file), std::mem::take(&mut self.buffer));
            let read = tokio::task::spawn_blocking(move || {
                buffer.resize(READ, 0);
                let count = file.read_at(&mut buffer, offset)?;
                buffer.truncate(count);
                Ok::<_, io::Error>(buffer)
            });
            self.buffer = read.await.map_err(io::Error::other)??;
            self.start = offset;
        }
        let from = usize::try_from(offset - self.start).unwrap_or(usize::MAX);
        let rest = self.buffer.get(from..).unwrap_or_default();
        match rest.get(..most.min(rest.len())) {
            Some(piece) if !piece.is_empty() => Ok(piece),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_that_are_kept() {
        let flags = Flags {
            seen: true,
            recent: true,
            keywords: vec!["$Forwarded".to_owned(), "a b".to_owned(), "x)".to_owned()],
            ..Flags::default()
        };
        let (words, left) = written_flags(&flags, &Permitted::any());
        assert_eq!(words, "\\Seen $Forwarded");
        assert_eq!(left, ["a b", "x)"]);
        assert_eq!(written_flags(&flags, &Permitted::default()).0, "\\Seen");
    }
}
