//! tar (POSIX.1-2001 pax, ustar and GNU's long names), as a stream, by the crate `tar`. The crate reads names and pax
//! records as a whole into memory: here they come through a reader that gives only so much between two entries. Links
//! and what is no file are told. A name in it is only ever a name. It refuses an archive without its end: what was cut
//! off between two entries looks whole otherwise.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::{self, Read};
use std::rc::Rc;

use tar::{Archive, EntryType};

use super::blocks::{Blocks, checksum};
use super::damaged;
use super::input::At;
use super::names;
use super::places::{Maildirs, is_plain};
use super::sparse;
use super::unpack::{Facts, Unpacking, is_damage};

/// Headers, names and pax records between two entries; bytes.
const BETWEEN: u64 = 2 << 20;
/// Bytes of a file that names keywords.
pub(super) const KEYWORDS: u64 = 64 * 1024;
/// Folders whose keywords are kept.
pub(super) const FOLDERS: usize = 10_000;
/// Files that have second names.
const LINKS: usize = 100_000;
/// Bytes of a name that are believed.
const LONGEST_PATH: usize = 8 * 1024;
/// Where Dovecot has the names of keywords.
pub(super) const KEYWORDS_FILE: &str = "dovecot-keywords";
/// The record of a global header that `mailhaulctl` begins with, and its values: what it packs is a directory whose own
/// directories come first, or it is files that were named one by one.
pub(super) const PACKED: &str = "MAILHAUL.packed";
pub(super) const TREE: &str = "tree";
pub(super) const FILES: &str = "files";

/// Opens the same archive from its beginning.
pub(super) type Again<'a> = &'a dyn Fn() -> io::Result<Box<dyn Read + 'a>>;

/// Whether `head` begins with an entry's header.
pub(super) fn is_header(head: &[u8]) -> bool {
    checksum(head).is_some()
}

/// Whether `head` has the mark of a header whose checksum is wrong.
pub(super) fn resembles(head: &[u8]) -> bool {
    head.get(257..262) == Some(b"ustar") && head.first() != Some(&0) && !is_header(head)
}

/// Whether `head` is what `mailhaulctl` packs.
pub(super) fn is_packed(head: &[u8]) -> bool {
    let mark = [b" ", PACKED.as_bytes(), b"="].concat();
    is_header(head) && head.get(156) == Some(&b'g') && memchr::memmem::find(head, &mark).is_some()
}

/// What gives only so much at once.
struct Rationed<'s> {
    source: Box<dyn Read + 's>,
    ration: Rc<Ration>,
}

#[derive(Default)]
struct Ration {
    left: Cell<u64>,
    /// Nothing came any more.
    ended: Cell<bool>,
}

impl Read for Rationed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.ration.left.get();
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 && !buffer.is_empty() {
            return Err(damaged("the tar archive has a name that is too long"));
        }
        let count = self.source.read(buffer.get_mut(..most).unwrap_or_default())?;
        self.ration.left.set(left - count as u64);
        self.ration.ended.set(count == 0);
        Ok(count)
    }
}

/// One entry's facts, beside its bytes.
struct Known {
    path: String,
    sort: EntryType,
    size: u64,
    modified: Option<i64>,
    link: Option<String>,
    /// It has holes that are not in the archive.
    holes: bool,
    /// Why it cannot be read.
    unreadable: Option<&'static str>,
}

/// Calls `each` with every entry; what it leaves of one is passed over.
fn walk(
    source: Box<dyn Read + '_>,
    each: &mut dyn FnMut(Known, &mut dyn Read) -> io::Result<()>,
) -> io::Result<()> {
    let (ration, whole) = (Rc::new(Ration::default()), Rc::new(Cell::new(false)));
    let source = Box::new(Blocks::new(source, Rc::clone(&whole)));
    let mut archive = Archive::new(Rationed { source, ration: Rc::clone(&ration) });
    let mut entries = archive.entries().map_err(broken)?;
    loop {
        ration.left.set(BETWEEN);
        ration.ended.set(false);
        let Some(entry) = entries.next() else {
            if !whole.get() {
                let words = "the tar archive ends in the middle: its end is missing";
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, words));
            }
            return Ok(());
        };
        let mut entry = entry.map_err(|e| if ration.ended.get() { cut_off() } else { broken(e) })?;
        let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
        let mut modified = entry.header().mtime().ok().and_then(|time| i64::try_from(time).ok());
        let mut facts = sparse::Facts::default();
        // Of a global header, the crate would take its bytes for that.
        let global = entry.header().entry_type().is_pax_global_extensions();
        if !global && let Ok(Some(records)) = entry.pax_extensions() {
            let mut time = None;
            for record in records.flatten() {
                if record.key_bytes() == b"mtime" && time.is_none() {
                    time = record.value().ok().and_then(|value| value.split('.').next()?.parse().ok());
                }
                facts.record(record.key_bytes(), record.value_bytes());
            }
            modified = time.or(modified);
        }
        let known = Known {
            path: readable(&entry.path_bytes()),
            sort: entry.header().entry_type(),
            size: entry.size(),
            modified,
            link: entry.link_name_bytes().map(|name| text(&name)),
            holes: entry.header().entry_type().is_gnu_sparse(),
            unreadable: None,
        };
        ration.left.set(u64::MAX);
        let mut body = Whole { left: known.size, source: &mut entry };
        if facts.is_sparse() && known.sort.is_file() {
            expanded(facts, known, &mut body, each)?;
        } else {
            each(known, &mut body)?;
        }
        io::copy(&mut body, &mut io::sink())?;
    }
}

/// Calls `each` with a file that has holes, under its own name.
fn expanded(
    mut facts: sparse::Facts,
    mut known: Known,
    body: &mut dyn Read,
    each: &mut dyn FnMut(Known, &mut dyn Read) -> io::Result<()>,
) -> io::Result<()> {
    let length = std::mem::replace(&mut known.size, facts.size());
    if let Some(name) = facts.name.take() {
        known.path = readable(&name);
    }
    known.holes = true;
    match facts.open(body, length)? {
        Some(mut file) => each(known, &mut file),
        None => {
            known.unreadable = Some("the list of its holes is damaged");
            each(known, &mut io::empty())
        }
    }
}

fn cut_off() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the tar archive ends in the middle of an entry")
}

/// A name in Unicode. One that is written otherwise stays different from every other one.
fn readable(name: &[u8]) -> String {
    match std::str::from_utf8(name) {
        Ok(name) => name.to_owned(),
        Err(_) => {
            let mut judge = super::codepages::Judge::default();
            judge.add(name);
            super::codepages::read(name, judge.decide())
        }
    }
}

fn broken(e: io::Error) -> io::Error {
    match e.kind() {
        io::ErrorKind::Other | io::ErrorKind::InvalidInput | io::ErrorKind::UnexpectedEof => {
            // What the source itself said is told as it is.
            damaged(format!("the tar archive is damaged: {e}"))
        }
        _ => e,
    }
}

/// An entry's bytes: it is an error if fewer come.
struct Whole<'e> {
    source: &'e mut dyn Read,
    left: u64,
}

impl Read for Whole<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(buffer)?;
        if count == 0 && self.left > 0 && !buffer.is_empty() {
            return Err(cut_off());
        }
        self.left = self.left.saturating_sub(count as u64);
        Ok(count)
    }
}

/// Reads every entry. `again` reads the archive once more where what comes later has to be known first.
pub(super) fn read<'a>(
    source: Box<dyn Read + '_>,
    again: Option<Again<'a>>,
    shown: &'a str,
    work: &mut Unpacking<'_>,
) -> io::Result<()> {
    let mut reading = Reading {
        shown,
        again,
        keywords: BTreeMap::new(),
        surveyed: false,
        waiting: None,
        links: BTreeMap::new(),
        files: false,
    };
    let walked = walk(source, &mut |known, body| reading.entry(&known, body, work));
    if walked.as_ref().is_err_and(|e| !is_damage(e) || work.is_over()) {
        return walked;
    }
    // What came before a damaged place has its folders and its second names.
    reading.make_folders(work)?;
    let followed = reading.follow(work);
    walked.and(followed)
}

struct Reading<'r> {
    shown: &'r str,
    again: Option<Again<'r>>,
    /// By the directories of folders.
    keywords: BTreeMap<String, Vec<String>>,
    /// The directories of the archive are known.
    surveyed: bool,
    /// Directories that have come, where all of them come first.
    waiting: Option<Vec<String>>,
    /// Second names of files, by the first ones: Dovecot copies a message by making one.
    links: BTreeMap<String, Vec<String>>,
    /// Each entry is a file that somebody named.
    files: bool,
}

impl Reading<'_> {
    fn entry(&mut self, known: &Known, body: &mut dyn Read, work: &mut Unpacking<'_>) -> io::Result<()> {
        let Known { path, sort, size, modified, .. } = known;
        let what = if self.files { path.clone() } else { format!("{}: {path}", self.shown) };
        // Programs before POSIX had no sort of its own for directories.
        let sort = if path.ends_with('/') && sort.is_file() { &EntryType::Directory } else { sort };
        if *sort != EntryType::Directory {
            self.make_folders(work)?;
        }
        match sort {
            EntryType::XGlobalHeader => return self.global(body),
            _ if path.len() > LONGEST_PATH => {
                work.count()?;
                work.skip(&format!("{}: an entry", self.shown), Some(*size), "its name is too long");
            }
            EntryType::Directory => self.directory(path, work)?,
            _ if let Some(why) = known.unreadable => {
                work.count()?;
                work.leave(&what, path, Some(*size), why);
            }
            _ if known.holes => {
                let mut body = work.metered(body);
                self.file(&what, path, *size, *modified, &mut body, work)?;
            }
            EntryType::Regular | EntryType::Continuous => {
                self.file(&what, path, *size, *modified, body, work)?;
            }
            EntryType::Link if self.again.is_some() && self.links.len() < LINKS => {
                let first = names::levels(known.link.as_deref().unwrap_or_default()).join("/");
                self.links.entry(first).or_default().push(path.clone());
            }
            EntryType::Link | EntryType::Symlink => {
                work.count()?;
                let why = "it is a link, which is not followed";
                work.leave(&what, path, None, why);
            }
            // The name of a volume.
            sort if sort.as_byte() == b'V' => {}
            _ => {
                work.count()?;
                work.leave(&what, path, None, "it is no file");
            }
        }
        Ok(())
    }

    fn directory(&mut self, path: &str, work: &mut Unpacking<'_>) -> io::Result<()> {
        work.count()?;
        work.add(&format!("{}/", path.trim_end_matches('/')));
        if let Some(waiting) = self.waiting.as_mut().filter(|waiting| waiting.len() < FOLDERS) {
            waiting.push(path.to_owned());
            return Ok(());
        }
        let (above, name) = names::divided(path);
        if matches!(name, "cur" | "new") && !is_plain(above) {
            self.survey(work)?;
        }
        work.directory(self.shown, path)
    }

    /// The folders that wait, now that all directories are known.
    fn make_folders(&mut self, work: &mut Unpacking<'_>) -> io::Result<()> {
        let waiting = self.waiting.as_mut().map(std::mem::take).unwrap_or_default();
        waiting.iter().try_for_each(|path| work.directory(self.shown, path))
    }

    fn file(
        &mut self,
        what: &str,
        path: &str,
        size: u64,
        modified: Option<i64>,
        body: &mut dyn Read,
        work: &mut Unpacking<'_>,
    ) -> io::Result<()> {
        if self.files {
            return work.named(what, Some(size), body);
        }
        let (above, name) = names::divided(path);
        if name == KEYWORDS_FILE {
            work.count()?;
            let mut text = String::new();
            body.take(KEYWORDS).read_to_string(&mut text)?;
            if self.keywords.len() < FOLDERS {
                self.keywords.insert(names::levels(above).join("/"), words(&text));
            }
            work.pass(super::NoMail::Indexes);
            return Ok(());
        }
        let place = names::in_maildir(path);
        let unfinished = names::divided(above).1 == "tmp";
        let letters = place.as_ref().is_some_and(|place| place.info.bytes().any(|c| c.is_ascii_lowercase()));
        let directory = place.as_ref().map_or("", |place| place.directory);
        let unknown = letters && !self.keywords.contains_key(&names::levels(directory).join("/"));
        if unknown || unfinished || place.is_some() && !is_plain(directory) {
            self.survey(work)?;
        }
        let known = self.keywords.get(&names::levels(directory).join("/"));
        let known = known.map_or(&[][..], Vec::as_slice);
        let facts = Facts { path, size: Some(size), modified, flags: None, keywords: known };
        work.entry(self.shown, &facts, body)
    }

    /// Reads the archive once more for the files that have second names.
    fn follow(&mut self, work: &mut Unpacking<'_>) -> io::Result<()> {
        let mut links = std::mem::take(&mut self.links);
        let Some(again) = self.again.filter(|_| !links.is_empty()) else { return Ok(()) };
        let walked = walk(again()?, &mut |known, body| {
            let own = names::levels(&known.path).join("/");
            let is_file = (known.sort.is_file() || known.holes) && known.unreadable.is_none();
            let Some(paths) = links.remove(&own).filter(|_| is_file) else { return Ok(()) };
            let file = if known.holes { work.spooled(work.metered(body))? } else { work.spooled(body)? };
            for path in paths {
                let what = format!("{}: {path}", self.shown);
                self.file(&what, &path, known.size, known.modified, &mut At::new(&file, 0), work)?;
            }
            Ok(())
        });
        if walked.as_ref().is_err_and(|e| !is_damage(e) || work.is_over()) {
            return walked;
        }
        for path in links.into_values().flatten() {
            work.count()?;
            let why = "it is a link to what is not in the archive";
            work.leave(&format!("{}: {path}", self.shown), &path, None, why);
        }
        walked
    }

    /// Knows all directories and keywords of the archive from now on.
    fn survey(&mut self, work: &mut Unpacking<'_>) -> io::Result<()> {
        let Some(again) = self.again.filter(|_| !self.surveyed) else { return Ok(()) };
        self.surveyed = true;
        let mut maildirs = Maildirs::default();
        let mut count = 0;
        // Where it is damaged, whoever reads it will be told.
        let seen = walk(again()?, &mut |known, body| {
            count += 1;
            work.bear(count)?;
            let is_directory = known.sort == EntryType::Directory;
            let path =
                if is_directory { format!("{}/", known.path.trim_end_matches('/')) } else { known.path };
            maildirs.add(&path);
            let (above, name) = names::divided(&path);
            if name == KEYWORDS_FILE && !is_directory && self.keywords.len() < FOLDERS {
                let mut text = Vec::new();
                body.take(KEYWORDS).read_to_end(&mut text)?;
                let text = String::from_utf8_lossy(&text).into_owned();
                self.keywords.insert(names::levels(above).join("/"), words(&text));
            }
            Ok(())
        });
        work.knows(maildirs);
        match seen {
            Err(e) if work.is_over() => Err(e),
            _ => Ok(()),
        }
    }

    fn global(&mut self, body: &mut dyn Read) -> io::Result<()> {
        let mut text = Vec::new();
        body.take(BETWEEN).read_to_end(&mut text)?;
        let is = |value: &str| {
            let record = format!(" {PACKED}={value}\n");
            memchr::memmem::find(&text, record.as_bytes()).is_some()
        };
        if is(TREE) {
            (self.surveyed, self.waiting) = (true, Some(Vec::new()));
        }
        self.files |= is(FILES);
        self.surveyed |= self.files;
        Ok(())
    }
}

/// Keywords letter by letter, as Dovecot writes them.
pub(super) fn words(text: &str) -> Vec<String> {
    let mut words = vec![String::new(); 26];
    for (number, word) in text.lines().filter_map(|line| line.split_once(' ')) {
        let place = number.parse::<usize>().ok().and_then(|at| words.get_mut(at));
        if let Some(place) = place {
            word.clone_into(place);
        }
    }
    words
}
