//! Taking files apart. What a file is, its first octets say. It refuses archives within archives, and stops at
//! one that unpacks to more than mail ever would.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};

use super::input::{At, Input};
use super::kinds::{self, NoMail};
use super::letter::{Letter, Pour, Take};
use super::meter::{Meter, Metered};
use super::places::{self, Apart, Maildirs};
use super::sort::{HEAD, Sort, sort};
use super::{emlx, front, mbox, names, tar, zip};
use crate::compressed::{self, Method};
use crate::message::{Flags, FolderPath};

const CHUNK: usize = 64 * 1024;
/// Something compressed within something compressed is opened so often: a message in a Maildir in a `.tar.gz`.
const DEEPEST: usize = 2;

/// What is borne.
#[derive(Debug, Clone, Copy, Default)]
pub struct Bounds {
    /// Octets of one message.
    pub message: Option<u64>,
    /// Everything goes into one folder: a message with many labels comes once.
    pub one_folder: bool,
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
    let meter = Meter::new(input.length());
    let named = input.regular().is_some();
    let mut work = Unpacking {
        take,
        bounds,
        spool,
        meter,
        maildirs: Maildirs::default(),
        apart: Apart::default(),
        last: None,
    };
    let name = if named { names::divided(shown).1 } else { "" };
    let file = match input.regular() {
        Some(file) => file.try_clone()?,
        None => {
            let (head, rest) = peek(input)?;
            let mut whole = io::Cursor::new(head.clone()).chain(rest);
            if tar::is_packed(&head) {
                return tar::read(Box::new(whole), None, shown, &mut work);
            }
            if let sort @ Sort::Message(_) = sort(&head, name) {
                return work.content(sort, &Item::named(shown, name, None), &mut whole);
            }
            // What is no single message may have to be read twice.
            work.spooled(whole)?
        }
    };
    work.whole(&file, shown, name)
}

/// The first octets, which are not in the reader any more. Where it is damaged behind them, the reader says so next.
fn peek<R: Read>(mut reader: R) -> io::Result<(Vec<u8>, Late<R>)> {
    let mut head = Vec::with_capacity(HEAD);
    let failed = match reader.by_ref().take(HEAD as u64).read_to_end(&mut head) {
        Err(e) if head.is_empty() || !is_damage(&e) => return Err(e),
        read => read.err(),
    };
    Ok((head, Late { failed, reader }))
}

/// A reader that may have failed already.
struct Late<R> {
    failed: Option<io::Error>,
    reader: R,
}

impl<R: Read> Read for Late<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.failed.take() {
            Some(e) => Err(e),
            None => self.reader.read(buffer),
        }
    }
}

/// Whether an error is one of the octets themselves, and what came before it is good.
pub(super) fn is_damage(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)
}

/// One file that is being taken apart.
pub(super) struct Unpacking<'u> {
    take: &'u mut dyn Take,
    bounds: Bounds,
    spool: &'u dyn Fn() -> io::Result<File>,
    meter: Meter,
    maildirs: Maildirs,
    apart: Apart,
    /// The folder of the Maildir that was asked for last.
    last: Option<(String, FolderPath)>,
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

/// Something that is looked at: a file that somebody named, or an entry of an archive.
#[derive(Debug)]
struct Item<'i> {
    shown: &'i str,
    /// Its path in the archive, or its name.
    path: &'i str,
    size: Option<u64>,
    /// Somebody named it: it lies in no folder.
    named: bool,
    /// It is a message of a Maildir, whatever it looks like.
    letter: Option<Letter>,
    depth: usize,
}

impl<'i> Item<'i> {
    fn named(shown: &'i str, path: &'i str, size: Option<u64>) -> Item<'i> {
        Item { shown, path, size, named: true, letter: None, depth: 0 }
    }

    /// Its name without the end that says how it is compressed.
    fn name(&self) -> &'i str {
        let name = names::divided(self.path).1;
        let ends = [".gz", ".bz2", ".xz", ".zst", ".zstd"];
        if self.depth == 0 {
            return name;
        }
        ends.iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name)
    }
}

impl Unpacking<'_> {
    /// A file on a disk.
    fn whole(&mut self, file: &File, shown: &str, name: &str) -> io::Result<()> {
        let (head, _) = peek(At::new(file, 0))?;
        let item = Item::named(shown, name, Some(file.metadata()?.len()));
        let found = sort(&head, name);
        match found {
            Sort::Zip => zip::read(file, shown, self),
            Sort::Tar => {
                let again =
                    || Ok(Box::new(BufReader::with_capacity(CHUNK, At::new(file, 0))) as Box<dyn Read + '_>);
                tar::read(again()?, Some(&again), shown, self)
            }
            Sort::Mbox(start) => self.mbox(file, start, &item, true),
            Sort::Compressed(method) => self.unpacked(file, method, &item),
            Sort::Message(_) if zip::is_appended(file, true)? => zip::read(file, shown, self),
            Sort::Unreadable(_) | Sort::NoMail(_) if zip::is_appended(file, false)? => {
                zip::read(file, shown, self)
            }
            found => self.content(found, &item, &mut At::new(file, 0)),
        }
    }

    /// What a compressed file was before.
    fn unpacked(&mut self, file: &File, method: Method, item: &Item<'_>) -> io::Result<()> {
        let meter = self.meter.clone();
        let again = || {
            let raw = BufReader::with_capacity(CHUNK, At::new(file, 0));
            Ok(Box::new(meter.of(compressed::decoder(method, raw))) as Box<dyn Read + '_>)
        };
        let item = Item { depth: 1, size: None, letter: None, ..*item };
        let (head, rest) = peek(again()?)?;
        let found = sort(&head, item.name());
        let mut whole = io::Cursor::new(head).chain(rest);
        match found {
            Sort::Tar => tar::read(Box::new(whole), Some(&again), item.shown, self),
            Sort::Zip => {
                let file = self.spooled(whole)?;
                zip::read(&file, item.shown, self)
            }
            found => self.content(found, &item, &mut whole),
        }
    }

    /// What is no archive, or is told to be left out.
    fn content(&mut self, sort: Sort, item: &Item<'_>, whole: &mut dyn Read) -> io::Result<()> {
        let shown = item.shown;
        match sort {
            Sort::Compressed(method) if item.depth < DEEPEST => self.decoded(method, item, whole),
            _ if item.letter.is_some() => {
                let letter = item.letter.clone().unwrap_or_default();
                self.message(shown, letter, item.size, whole)
            }
            Sort::Zip | Sort::Compressed(_) | Sort::Tar => {
                self.leave(shown, item.path, item.size, "an archive within an archive is not opened");
                Ok(())
            }
            Sort::Mbox(start) => {
                let mut file = (self.spool)()?;
                match self.spool_to(&mut file, whole) {
                    // What came before the damaged place is taken, without the message that it is in.
                    Err(e) if is_damage(&e) && !self.is_over() => {
                        self.mbox(&file, start, item, compressed::is_behind(&e))?;
                        Err(e)
                    }
                    Err(e) => Err(e),
                    Ok(()) => self.mbox(&file, start, item, true),
                }
            }
            Sort::Message(start) => {
                io::copy(&mut (&mut *whole).take(start as u64), &mut io::sink())?;
                let letter = Letter { folder: self.message_folder(item), ..fresh() };
                let size = item.size.map(|size| size.saturating_sub(start as u64));
                self.message(shown, letter, size, whole)
            }
            Sort::Emlx => self.emlx(item, whole),
            Sort::Empty => {
                self.take.pass(NoMail::Empty);
                Ok(())
            }
            Sort::NoMail(kind) => {
                // Where its first octets are damaged, they say nothing.
                io::copy(&mut (&mut *whole).take(HEAD as u64 + 1), &mut io::sink())?;
                self.take.pass(kind);
                Ok(())
            }
            Sort::Unreadable(why) => {
                self.take.skip(shown, item.size, why);
                Ok(())
            }
        }
    }

    /// What is compressed by itself, such as a message in a Maildir of Dovecot's. If it is damaged, that costs nothing
    /// but itself.
    fn decoded(&mut self, method: Method, item: &Item<'_>, whole: &mut dyn Read) -> io::Result<()> {
        let mut source = Watched { source: whole, failed: false };
        let meter = self.meter.clone();
        let done = {
            let plain = meter.of(compressed::decoder(method, BufReader::new(&mut source)));
            let item = Item { depth: item.depth + 1, size: None, letter: item.letter.clone(), ..*item };
            peek(plain).and_then(|(head, rest)| {
                let found = self::sort(&head, item.name());
                self.content(found, &item, &mut io::Cursor::new(head).chain(rest))
            })
        };
        match done {
            Err(e) if !source.failed => self.failed(item, e),
            done => done,
        }
    }

    fn emlx(&mut self, item: &Item<'_>, whole: &mut dyn Read) -> io::Result<()> {
        if item.path.ends_with(".partial.emlx") {
            let why = "Apple Mail keeps parts of it in other files: export its mailbox from there";
            self.take.skip(item.shown, item.size, why);
            return Ok(());
        }
        let length = match emlx::length(whole) {
            Ok(length) => length,
            Err(e) => return self.failed(item, e),
        };
        let mut letter = Letter { folder: self.message_folder(item), ..fresh() };
        let mut pour = Pour::new(&mut *self.take, self.bounds.message);
        let mut body = (&mut *whole).take(length);
        let poured = poured(&mut pour, &mut body).and_then(|()| match body.limit() {
            0 => Ok(()),
            _ if pour.is_over() => Ok(()),
            _ => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it is shorter than its first line says")),
        });
        if let Err(e) = poured {
            pour.give_up()?;
            return self.failed(item, e);
        }
        if !pour.is_over()
            && let Err(e) = emlx::facts(whole, &mut letter)
            && !compressed::is_behind(&e)
        {
            pour.give_up()?;
            return self.failed(item, e);
        }
        letter.received = letter.received.filter(is_date);
        pour.finish(letter, item.shown, Some(length))
    }

    /// A mailbox; `complete`: the file has all of it.
    fn mbox(&mut self, file: &File, start: usize, item: &Item<'_>, complete: bool) -> io::Result<()> {
        if let Some(why) = front::left_out(file, start)? {
            self.take.skip(&format!("{}: its beginning", item.shown), Some(start as u64), why);
        }
        let folder = self.mailbox(item);
        mbox::read(file, (start, complete), item.shown, folder.as_ref(), self)
    }

    /// A single file that cannot be read to its end.
    fn failed(&mut self, item: &Item<'_>, e: io::Error) -> io::Result<()> {
        if self.is_over() || !is_damage(&e) {
            return Err(e);
        }
        let what = if compressed::is_behind(&e) { "" } else { "it is damaged: " };
        self.take.skip(item.shown, item.size, &format!("{what}{e}"));
        Ok(())
    }

    /// A file that somebody named, one of many.
    pub(super) fn named(&mut self, shown: &str, size: Option<u64>, body: &mut dyn Read) -> io::Result<()> {
        self.count()?;
        let (head, rest) = peek(body)?;
        let item = Item::named(shown, names::divided(shown).1, size);
        let found = sort(&head, item.path);
        self.content(found, &item, &mut io::Cursor::new(head).chain(rest))?;
        self.take.next_file();
        Ok(())
    }

    /// An entry of an archive.
    pub(super) fn entry(&mut self, archive: &str, facts: &Facts<'_>, body: &mut dyn Read) -> io::Result<()> {
        self.count()?;
        let shown = format!("{archive}: {}", facts.path);
        let mut item =
            Item { shown: &shown, path: facts.path, size: facts.size, named: false, letter: None, depth: 0 };
        let (head, rest) = peek(body)?;
        let mut whole = io::Cursor::new(head.clone()).chain(rest);
        if let Some(flags) = &facts.flags {
            // One of our own backups, which may have folders called cur and new: its times are those of the
            // messages.
            let folder = names::read(names::divided(facts.path).0);
            let received = facts.modified.filter(is_date);
            let letter = Letter { folder, flags: flags.clone(), received };
            return self.message(&shown, letter, facts.size, &mut whole);
        }
        if let Some(kind) = kinds::by_path(facts.path) {
            self.take.pass(kind);
            return Ok(());
        }
        let (above, _) = names::divided(facts.path);
        if let (directory, "tmp") = names::divided(above)
            && self.maildirs.has(directory)
        {
            self.take.pass(NoMail::Unfinished);
            return Ok(());
        }
        if let Some(place) = names::in_maildir(facts.path) {
            let mut flags = names::flags(place.info, facts.keywords);
            flags.recent = place.is_new;
            let received = facts.modified.filter(|time| *time > 0).or(place.time).filter(is_date);
            let folder = Some(self.maildir_folder(place.directory));
            item.letter = Some(Letter { folder, flags, received });
        }
        let found = sort(&head, item.name());
        self.content(found, &item, &mut whole)
    }

    /// The folder of a Maildir's directory.
    fn maildir_folder(&mut self, directory: &str) -> FolderPath {
        if let Some((_, folder)) = self.last.as_ref().filter(|(known, _)| known == directory) {
            return folder.clone();
        }
        let folder = self.maildirs.folder(directory);
        let folder = self.apart.of(folder, &format!("{}/cur", names::levels(directory).join("/")));
        self.last = Some((directory.to_owned(), folder.clone()));
        folder
    }

    /// The folder of a mailbox in a file.
    fn mailbox(&mut self, item: &Item<'_>) -> Option<FolderPath> {
        // What is called a message and begins with a From line is one.
        if kinds::ending(item.path) == "eml" {
            return self.message_folder(item);
        }
        let wanted = places::of_mailbox(item.path)?;
        Some(self.apart.of(wanted, &format!("{}/", item.path)))
    }

    fn message_folder(&mut self, item: &Item<'_>) -> Option<FolderPath> {
        if item.named {
            return None;
        }
        let wanted = places::of_message(item.path)?;
        Some(self.apart.of(wanted, &places::of_directory(item.path)))
    }

    /// The directories of an archive, as far as they are known.
    pub(super) fn knows(&mut self, maildirs: Maildirs) {
        (self.maildirs, self.last) = (maildirs, None);
    }

    /// One more path of the archive.
    pub(super) fn add(&mut self, path: &str) {
        self.maildirs.add(path);
        self.last = None;
    }

    /// A folder that a backup says is there, with or without messages.
    pub(super) fn folder(&mut self, archive: &str, path: &str, folder: FolderPath) -> io::Result<()> {
        self.take.folder(folder, &format!("{archive}: {path}"))
    }

    /// A directory: `cur` of a Maildir is a folder, with or without messages.
    pub(super) fn directory(&mut self, archive: &str, path: &str) -> io::Result<()> {
        match names::divided(path) {
            (directory, "cur") => {
                let folder = self.maildir_folder(directory);
                self.take.folder(folder, &format!("{archive}: {path}"))
            }
            _ => Ok(()),
        }
    }

    /// One more entry.
    pub(super) fn count(&mut self) -> io::Result<()> {
        self.meter.count()
    }

    /// Counts what an entry comes to.
    pub(super) fn metered<R: Read>(&self, body: R) -> Metered<R> {
        self.meter.of(body)
    }

    /// Whether so many entries are borne.
    pub(super) fn bear(&self, entries: u64) -> io::Result<()> {
        self.meter.bear(entries)
    }

    /// Whether a limit of the whole file was passed.
    pub(super) fn is_over(&self) -> bool {
        self.meter.is_over()
    }

    /// Whether everything goes into one folder.
    pub(super) fn one_folder(&self) -> bool {
        self.bounds.one_folder
    }

    pub(super) fn skip(&mut self, shown: &str, size: Option<u64>, reason: &str) {
        self.take.skip(shown, size, reason);
    }

    pub(super) fn pass(&mut self, kind: NoMail) {
        self.take.pass(kind);
    }

    /// Something is not read: it may be mail, unless its name says that it is none.
    pub(super) fn leave(&mut self, shown: &str, path: &str, size: Option<u64>, reason: &str) {
        // A link to a folder of a Maildir begins with a dot, too.
        let by_path = kinds::by_path(path).filter(|kind| *kind != NoMail::Hidden);
        match by_path.or_else(|| kinds::by_ending(names::divided(path).1)) {
            Some(kind) => self.take.pass(kind),
            None => self.take.skip(shown, size, reason),
        }
    }

    /// A message whose octets are all there is to come. What is too large is not read to its end.
    fn message(
        &mut self,
        shown: &str,
        letter: Letter,
        size: Option<u64>,
        body: &mut dyn Read,
    ) -> io::Result<()> {
        let mut pour = Pour::new(&mut *self.take, self.bounds.message);
        match poured(&mut pour, body) {
            Ok(()) => pour.finish(letter, shown, size),
            Err(e) if compressed::is_behind(&e) => {
                pour.finish(letter, shown, size)?;
                Err(e)
            }
            Err(e) => {
                pour.give_up()?;
                Err(e)
            }
        }
    }

    /// A message of an mbox; its octets are pushed.
    pub(super) fn pour(&mut self) -> Pour<'_> {
        Pour::new(self.take, self.bounds.message)
    }

    /// Everything in a file without a name.
    pub(super) fn spooled(&mut self, whole: impl Read) -> io::Result<File> {
        let mut file = (self.spool)()?;
        self.spool_to(&mut file, whole)?;
        Ok(file)
    }

    /// Everything in a file; where it ends with an error, what came before.
    fn spool_to(&self, file: &mut File, mut whole: impl Read) -> io::Result<()> {
        let mut buffer = vec![0; CHUNK];
        loop {
            match whole.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => file.write_all(buffer.get(..count).unwrap_or_default())?,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }
}

/// Pours a body, to its end or until there is no use in it.
fn poured(pour: &mut Pour<'_>, body: &mut dyn Read) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    while !pour.is_over() {
        match body.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => pour.push(buffer.get(..count).unwrap_or_default())?,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// A reader, and whether it failed.
struct Watched<'w> {
    source: &'w mut dyn Read,
    failed: bool,
}

impl Read for Watched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read(buffer);
        self.failed |= read.as_ref().is_err_and(|e| e.kind() != io::ErrorKind::Interrupted);
        read
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
