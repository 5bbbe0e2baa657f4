//! APPEND (RFC 3501, 6.3.11): many messages in one command where the server can (MULTIAPPEND, RFC 3502),
//! several commands in flight where literals need not be waited for (LITERAL+ and LITERAL-, RFC 7888), one
//! after the other where nothing else is offered. Each message's own answer is told. It refuses to call a
//! message stored before the tagged OK, and to hold more of a message in memory than a piece.

use std::collections::{BTreeSet, VecDeque};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use super::date;
use super::refusal::{quote, refusal};
use super::response::every;
use super::session::{Done, Session};
use super::shelf::{Permitted, is_missing, says, written};
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
    fn has_keywords(&self) -> bool {
        self.flags.split(' ').any(|flag| !flag.is_empty() && !flag.starts_with('\\'))
    }

    fn without_keywords(&self) -> String {
        self.flags.split(' ').filter(|flag| flag.starts_with('\\')).collect::<Vec<_>>().join(" ")
    }
}

/// What became of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Appended {
    /// The server has it; its UIDVALIDITY and UID, if the server says them (UIDPLUS).
    Stored(Option<(u32, u32)>),
    /// The same, but without its keywords: with them the server did not take it.
    Bare(Option<(u32, u32)>),
    /// The server does not take this message: in words.
    Refused(String),
    /// Neither does it, and the reason is a limit that the server has: in words.
    TooMuch(String),
    /// It was sent as a whole, and the connection ended before the answer.
    Unanswered,
}

/// The flags that a folder keeps, as APPEND has them, and the keywords that it does not keep.
pub fn written_flags(flags: &Flags, folder: &Permitted) -> (String, Vec<String>) {
    let system = [
        (flags.seen, "\\Seen"),
        (flags.answered, "\\Answered"),
        (flags.flagged, "\\Flagged"),
        (flags.deleted, "\\Deleted"),
        (flags.draft, "\\Draft"),
    ];
    let mut words: Vec<&str> = system.iter().filter(|(set, _)| *set).map(|(_, name)| *name).collect();
    let mut left = Vec::new();
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
    /// has no answer may be there or not.
    pub async fn append(
        &mut self,
        folder: &[u8],
        letters: &[Letter],
    ) -> (Vec<Option<Appended>>, Result<(), Failure>) {
        let name = match written(folder) {
            Ok(name) => name,
            Err(failure) => return (vec![None; letters.len()], Err(failure)),
        };
        let mut work = Work {
            literals: Literals::of(self),
            multiple: self.can("MULTIAPPEND"),
            limit: self.append_limit(),
            session: self,
            name,
            letters,
            octets: Octets::default(),
            out: Vec::new(),
            flights: VecDeque::new(),
            alone: Vec::new(),
            bare: BTreeSet::new(),
            results: vec![None; letters.len()],
        };
        let ended = work.run().await;
        for flight in std::mem::take(&mut work.flights) {
            work.results.get_mut(flight.letters).unwrap_or_default().fill(Some(Appended::Unanswered));
        }
        (work.results, ended)
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
    /// Of a group that was refused as a whole: each of them is tried alone.
    alone: Vec<usize>,
    /// Refused with keywords, so that each is tried without.
    bare: BTreeSet<usize>,
    results: Vec<Option<Appended>>,
}

impl<T: From<Parcel> + Send + 'static> Work<'_, T> {
    async fn run(&mut self) -> Result<(), Failure> {
        let mut sent = Ok(());
        for group in self.groups() {
            sent = self.send(group).await;
            if sent.is_err() {
                break;
            }
        }
        let settled = self.settle(0).await;
        sent.and(settled)?;
        for letter in std::mem::take(&mut self.alone) {
            self.send(letter..letter + 1).await?;
        }
        self.settle(0).await?;
        for letter in self.bare.clone() {
            self.send(letter..letter + 1).await?;
        }
        self.settle(0).await
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
        let tag = self.session.next_tag();
        self.out.extend_from_slice(tag.as_bytes());
        self.out.extend_from_slice(b" APPEND ");
        self.out.extend_from_slice(&self.name);
        for (at, letter) in group.clone().zip(self.letters.get(group.clone()).unwrap_or_default()) {
            let flags =
                if self.bare.contains(&at) { letter.without_keywords() } else { letter.flags.clone() };
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
                    return self.judge(&done, group);
                }
            }
            self.body(letter).await?;
        }
        self.out.extend_from_slice(b"\r\n");
        self.flights.push_back(Flight { tag, letters: group });
        if self.flights.len() >= WINDOW {
            self.flush().await?;
            self.settle(WINDOW / 2).await?;
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
            let bare = self.bare.contains(&letters.start);
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
        let full = ["[OVERQUOTA]", "over quota", "quota exceeded", "not enough disk quota"];
        if full.iter().any(|words| says(done, words)) {
            let words = format!("the mailbox is full: {}", quote(&done.text));
            return Err(Failure::new(Kind::Full, words, "make space, or raise its quota"));
        }
        let failure = refusal("the server does not store it", &done.text, Kind::Message, "");
        let (too_big, limit) = (says(done, "[TOOBIG]"), says(done, "[LIMIT]"));
        if letters.len() > 1 {
            // One of them may be the reason; nothing was stored (RFC 3502, 4).
            self.alone.extend(letters);
            return Ok(());
        }
        let with_keywords = self.letters.get(letters.start).is_some_and(Letter::has_keywords);
        if !too_big
            && (limit || failure.kind == Kind::Message)
            && with_keywords
            && self.bare.insert(letters.start)
        {
            // Too many of them for the folder, or one that is too long, is no reason to leave it out.
            return Ok(());
        }
        let refused = match failure.kind {
            _ if limit || too_big => Appended::TooMuch(failure.words),
            Kind::Message => Appended::Refused(failure.words),
            _ => return Err(failure),
        };
        let results = self.results.get_mut(letters).unwrap_or_default();
        results.fill(Some(refused));
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
