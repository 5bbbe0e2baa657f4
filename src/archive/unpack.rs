//! Taking files apart. What a file is, its first octets say. It refuses archives within archives, and stops at
//! one that unpacks to more than mail ever would.

use std::fs::File;
use std::io::{self, Read, Write};

use super::input::{Input, Length};
use super::letter::{Letter, Pour, Take, begins_as_a_message};
use super::{damaged, mbox, names, tar, zip};
use crate::message::{Flags, FolderPath};

/// Entries of one archive.
const ENTRIES: u64 = 2_000_000;
/// What is unpacked may be so many times as large as what is packed,
const RATIO: u64 = 200;
/// from this on; octets.
const RATIO_FROM: u64 = 64 << 20;
/// What one file may unpack to at all; octets.
const MOST: u64 = 256 << 30;
/// Octets that tell what a file is.
const HEAD: usize = 512;
const CHUNK: usize = 64 * 1024;

/// What is borne.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Octets of one message.
    pub message: Option<u64>,
}

/// What the first octets say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sort {
    Empty,
    Zip,
    Gzip,
    Tar,
    Mbox,
    Message,
    Other,
}

fn sort(head: &[u8]) -> Sort {
    if head.is_empty() {
        return Sort::Empty;
    }
    if head.starts_with(b"PK\x03\x04") || head.starts_with(b"PK\x05\x06") {
        return Sort::Zip;
    }
    if head.starts_with(&[0x1f, 0x8b]) {
        return Sort::Gzip;
    }
    if tar::is_header(head) {
        return Sort::Tar;
    }
    if head.starts_with(b"From ") {
        return Sort::Mbox;
    }
    if begins_as_a_message(head) { Sort::Message } else { Sort::Other }
}

/// Takes one file apart; `shown` is its name for people, `spool` makes a file without a name for what has to be
/// read twice.
///
/// # Errors
/// `InvalidData` or `UnexpectedEof`: the file is damaged, and what came before is good. Else it cannot be read,
/// or `take` failed.
pub fn unpack(
    input: Input,
    shown: &str,
    bounds: Bounds,
    spool: &dyn Fn() -> io::Result<File>,
    take: &mut dyn Take,
) -> io::Result<()> {
    let length = input.length();
    let regular = input.regular().map(File::try_clone).transpose()?;
    let measure = Measure { packed: length, unpacked: 0, entries: 0, over: false };
    let mut work = Unpacking { take, bounds, spool, measure };
    let (head, input) = peek(input)?;
    match (sort(&head), regular) {
        (Sort::Zip, Some(file)) => zip::read(&file, shown, &mut work),
        (Sort::Zip, None) => {
            let file = work.spooled(&mut io::Cursor::new(head).chain(input))?;
            zip::read(&file, shown, &mut work)
        }
        (Sort::Mbox, Some(file)) => mbox::read(&file, shown, None, &mut work),
        (Sort::Gzip, _) => {
            let (head, rest) = peek(flate2::read::MultiGzDecoder::new(io::Cursor::new(head).chain(input)))?;
            work.plain(shown, head, rest)
        }
        _ => work.plain(shown, head, input),
    }
}

/// The first octets, which are not in the reader any more.
fn peek<R: Read>(mut reader: R) -> io::Result<(Vec<u8>, R)> {
    let mut head = Vec::with_capacity(HEAD);
    reader.by_ref().take(HEAD as u64).read_to_end(&mut head)?;
    Ok((head, reader))
}

/// One file that is being taken apart.
pub(super) struct Unpacking<'u> {
    take: &'u mut dyn Take,
    bounds: Bounds,
    spool: &'u dyn Fn() -> io::Result<File>,
    measure: Measure,
}

/// How much one file came to so far.
struct Measure {
    packed: Length,
    unpacked: u64,
    entries: u64,
    over: bool,
}

impl Measure {
    fn spend(&mut self, octets: usize) -> io::Result<()> {
        self.unpacked += octets as u64;
        if self.unpacked > RATIO_FROM && self.unpacked / RATIO > self.packed.octets() {
            return Err(self.exceeded(format!("it unpacks to more than {RATIO} times its size")));
        }
        if self.unpacked > MOST {
            return Err(self.exceeded(format!("it unpacks to more than {MOST} octets")));
        }
        Ok(())
    }

    fn exceeded(&mut self, words: String) -> io::Error {
        self.over = true;
        damaged(words)
    }
}

/// What an archive says of an entry.
#[derive(Debug, Default)]
pub(super) struct Facts<'f> {
    pub(super) path: &'f str,
    pub(super) size: Option<u64>,
    pub(super) modified: Option<i64>,
    pub(super) flags: Option<Flags>,
    /// The keywords that a Maildir's letters stand for.
    pub(super) keywords: &'f [String],
}

impl Unpacking<'_> {
    fn plain(&mut self, shown: &str, head: Vec<u8>, rest: impl Read) -> io::Result<()> {
        let sort = sort(&head);
        let mut whole = io::Cursor::new(head).chain(rest);
        match sort {
            Sort::Tar => tar::read(&mut whole, shown, self),
            _ => self.content(sort, shown, fresh(), None, None, &mut whole),
        }
    }

    /// What is no archive, or is told to be left out.
    fn content(
        &mut self,
        sort: Sort,
        shown: &str,
        letter: Letter,
        folder: Option<FolderPath>,
        size: Option<u64>,
        whole: &mut dyn Read,
    ) -> io::Result<()> {
        match sort {
            Sort::Zip | Sort::Gzip | Sort::Tar => {
                self.take.skip(shown, size, "an archive within an archive is not opened");
                Ok(())
            }
            Sort::Mbox => {
                let file = self.spooled(whole)?;
                mbox::read(&file, shown, folder.as_ref(), self)
            }
            Sort::Empty => {
                self.take.skip(shown, Some(0), "it is empty");
                Ok(())
            }
            Sort::Other => {
                self.take.skip(shown, size, "it is neither a message nor an archive that is known");
                Ok(())
            }
            Sort::Message => self.message(shown, letter, size, false, whole),
        }
    }

    /// An entry of an archive.
    pub(super) fn entry(&mut self, archive: &str, facts: &Facts<'_>, body: &mut dyn Read) -> io::Result<()> {
        self.count()?;
        let shown = format!("{archive}: {}", facts.path);
        let (head, rest) = peek(body)?;
        if let Some(flags) = &facts.flags {
            // One of our own backups, which may have folders called cur and new: its times are those of the
            // messages.
            let folder = names::read(names::divided(facts.path).0);
            let letter = Letter { folder, flags: flags.clone(), received: facts.modified.filter(is_date) };
            return self.message(&shown, letter, facts.size, true, &mut io::Cursor::new(head).chain(rest));
        }
        if let Some(place) = names::in_maildir(facts.path) {
            let mut flags = names::flags(place.info, facts.keywords);
            flags.recent = place.is_new;
            let received = facts.modified.filter(|time| *time > 0).or(place.time).filter(is_date);
            let letter = Letter { folder: Some(place.folder), flags, received };
            return self.message(&shown, letter, facts.size, true, &mut io::Cursor::new(head).chain(rest));
        }
        let folder = names::read(names::divided(facts.path).0);
        let letter = Letter { folder: folder.clone(), ..fresh() };
        let sort = sort(&head);
        self.content(sort, &shown, letter, folder, facts.size, &mut io::Cursor::new(head).chain(rest))
    }

    /// A folder that an archive says is there, with or without messages.
    pub(super) fn folder(&mut self, archive: &str, path: &str, folder: FolderPath) -> io::Result<()> {
        self.count()?;
        self.take.folder(folder, &format!("{archive}: {path}"))
    }

    /// One more entry.
    pub(super) fn count(&mut self) -> io::Result<()> {
        self.measure.entries += 1;
        if self.measure.entries > ENTRIES {
            return Err(self.measure.exceeded(format!("it has more than {ENTRIES} entries")));
        }
        Ok(())
    }

    /// So many octets were unpacked.
    pub(super) fn spend(&mut self, octets: usize) -> io::Result<()> {
        self.measure.spend(octets)
    }

    /// Whether a limit of the whole file was passed.
    pub(super) fn is_over(&self) -> bool {
        self.measure.over
    }

    pub(super) fn skip(&mut self, shown: &str, size: Option<u64>, reason: &str) {
        self.take.skip(shown, size, reason);
    }

    /// A message whose octets are all there is to come. What is too large is not read to its end.
    fn message(
        &mut self,
        shown: &str,
        letter: Letter,
        size: Option<u64>,
        sure: bool,
        body: &mut dyn Read,
    ) -> io::Result<()> {
        let mut buffer = vec![0; CHUNK];
        let mut pour = Pour::new(&mut *self.take, self.bounds.message, sure);
        while !pour.is_over() {
            let read = match body.read(&mut buffer) {
                Ok(0) => break,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                read => read.and_then(|count| self.measure.spend(count).map(|()| count)),
            };
            match read {
                Ok(count) => pour.push(buffer.get(..count).unwrap_or_default())?,
                Err(e) => {
                    pour.give_up()?;
                    return Err(e);
                }
            }
        }
        pour.finish(letter, shown, size)
    }

    /// A message of an mbox; its octets are pushed.
    pub(super) fn pour(&mut self) -> Pour<'_> {
        Pour::new(self.take, self.bounds.message, true)
    }

    /// Everything in a file without a name.
    fn spooled(&mut self, whole: &mut dyn Read) -> io::Result<File> {
        let mut file = (self.spool)()?;
        let mut buffer = vec![0; CHUNK];
        loop {
            let count = match whole.read(&mut buffer) {
                Ok(0) => return Ok(file),
                Ok(count) => count,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(e),
            };
            self.spend(count)?;
            file.write_all(buffer.get(..count).unwrap_or_default())?;
        }
    }
}

/// Whether a calendar has that time.
fn is_date(seconds: &i64) -> bool {
    jiff::Timestamp::from_second(*seconds).is_ok()
}

/// Nobody has looked at it.
pub(super) fn fresh() -> Letter {
    Letter { flags: Flags { recent: true, ..Flags::default() }, ..Letter::default() }
}
