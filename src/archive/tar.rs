//! tar (POSIX.1-2001 pax, ustar and GNU's long names), as a stream. It refuses links and everything else that is
//! no file, each told; a name in it is only ever a name.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::fcntl::OFlag;

use super::letter::Letter;
use super::unpack::{Facts, Unpacking};
use super::{Pack, Stored, damaged, names};
use crate::message::FolderPath;

/// Types of entries (POSIX.1-2001, pax): a directory, a symbolic link, and what is neither.
const DIRECTORY: u8 = b'5';
const LINK: u8 = b'2';
const FIFO: u8 = b'6';
const BLOCK: usize = 512;
/// Octets of long names and pax records.
const LONGEST: u64 = 1 << 20;
/// Octets of a file that names keywords.
const KEYWORDS: u64 = 64 * 1024;
/// Folders whose keywords are kept.
const FOLDERS: usize = 10_000;
/// Where Dovecot has the names of keywords.
const KEYWORDS_FILE: &str = "dovecot-keywords";

/// Whether `head` begins with an entry's header.
pub(super) fn is_header(head: &[u8]) -> bool {
    head.get(..BLOCK).is_some_and(|block| block.first() != Some(&0) && Header(block).is_whole())
}

struct Header<'h>(&'h [u8]);

impl Header<'_> {
    fn field(&self, from: usize, length: usize) -> &[u8] {
        self.0.get(from..from + length).unwrap_or_default()
    }

    fn text(&self, from: usize, length: usize) -> String {
        let field = self.field(from, length);
        let end = memchr::memchr(0, field).unwrap_or(field.len());
        String::from_utf8_lossy(field.get(..end).unwrap_or_default()).into_owned()
    }

    /// Octal, or GNU's base 256.
    fn number(&self, from: usize, length: usize) -> Option<u64> {
        let field = self.field(from, length);
        if let [first, rest @ ..] = field
            && first & 0x80 != 0
        {
            let low = rest.iter().rev().take(8).rev();
            return Some(low.fold(0, |sum, octet| (sum << 8) | u64::from(*octet)));
        }
        let text = self.text(from, length);
        let text = text.trim();
        if text.is_empty() { Some(0) } else { u64::from_str_radix(text, 8).ok() }
    }

    fn is_whole(&self) -> bool {
        let told = self.number(148, 8);
        let sum: u64 = self
            .0
            .iter()
            .enumerate()
            .map(|(at, octet)| if (148..156).contains(&at) { 32 } else { u64::from(*octet) })
            .sum();
        told == Some(sum)
    }

    fn path(&self) -> String {
        let name = self.text(0, 100);
        let prefix = if self.field(257, 6) == b"ustar\0" { self.text(345, 155) } else { String::new() };
        if prefix.is_empty() { name } else { format!("{prefix}/{name}") }
    }
}

/// Reads every entry.
pub(super) fn read(source: &mut dyn Read, shown: &str, work: &mut Unpacking<'_>) -> io::Result<()> {
    let (mut long, mut pax) = (None, BTreeMap::new());
    let mut keywords: BTreeMap<String, Vec<String>> = BTreeMap::new();
    loop {
        let mut block = [0; BLOCK];
        if !whole(source, &mut block)? || block.iter().all(|octet| *octet == 0) {
            return Ok(());
        }
        let header = Header(&block);
        if !header.is_whole() {
            return Err(damaged("the tar archive is damaged: a header does not add up"));
        }
        let size = match pax.get("size").map(|size: &String| size.parse().ok()) {
            Some(size) => size,
            None => header.number(124, 12),
        };
        let size = size.ok_or_else(|| damaged("the tar archive is damaged: a size is no number"))?;
        let sort = header.field(156, 1).first().copied().unwrap_or(0);
        let mut body = Whole { source: &mut *source, left: size };
        match sort {
            b'x' | b'L' => {
                if size > LONGEST {
                    return Err(damaged("the tar archive has a name that is too long"));
                }
                let mut text = Vec::new();
                body.read_to_end(&mut text)?;
                if sort == b'x' {
                    pax = records(&text);
                } else {
                    long = Some(String::from_utf8_lossy(&text).trim_end_matches('\0').to_owned());
                }
            }
            b'g' | b'K' => {}
            _ => {
                let pax = std::mem::take(&mut pax);
                let path = pax.get("path").cloned().or_else(|| long.take()).unwrap_or_else(|| header.path());
                long = None;
                let modified = pax
                    .get("mtime")
                    .and_then(|time| time.split('.').next()?.parse().ok())
                    .or_else(|| i64::try_from(header.number(136, 12)?).ok());
                let (above, name) = names::divided(&path);
                match sort {
                    b'0' | 0 | b'7' if name == KEYWORDS_FILE => {
                        let mut text = String::new();
                        body.by_ref().take(KEYWORDS).read_to_string(&mut text)?;
                        if keywords.len() < FOLDERS {
                            keywords.insert(above.to_owned(), words(&text));
                        }
                    }
                    b'0' | 0 | b'7' => {
                        let directory = names::in_maildir(&path).map_or("", |place| place.directory);
                        let known = keywords.get(directory).map_or(&[][..], Vec::as_slice);
                        let facts =
                            Facts { path: &path, size: Some(size), modified, flags: None, keywords: known };
                        work.entry(shown, &facts, &mut body)?;
                    }
                    DIRECTORY => {
                        if let Some(folder) = names::of_maildir(&path) {
                            work.folder(shown, &path, folder)?;
                        }
                    }
                    b'1' | b'2' => {
                        work.count()?;
                        work.skip(&format!("{shown}: {path}"), None, "it is a link, which is not followed");
                    }
                    _ => {
                        work.count()?;
                        work.skip(&format!("{shown}: {path}"), None, "it is no file");
                    }
                }
            }
        }
        // What was not wanted, and the rest of the last block.
        let left = body.left;
        let padding = (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64;
        pass(source, left + padding, work)?;
    }
}

/// An entry's octets: it is an error if fewer come.
struct Whole<'s> {
    source: &'s mut dyn Read,
    left: u64,
}

impl Read for Whole<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        let count = self.source.read(buffer.get_mut(..most).unwrap_or_default())?;
        if count == 0 {
            return Err(truncated());
        }
        self.left -= count as u64;
        Ok(count)
    }
}

/// Fills the block; `false`: nothing comes any more.
fn whole(source: &mut dyn Read, block: &mut [u8]) -> io::Result<bool> {
    let mut got = Vec::with_capacity(block.len());
    source.take(block.len() as u64).read_to_end(&mut got)?;
    if got.is_empty() {
        return Ok(false);
    }
    if got.len() < block.len() {
        return Err(truncated());
    }
    block.copy_from_slice(&got);
    Ok(true)
}

fn truncated() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the tar archive ends in the middle of an entry")
}

fn pass(source: &mut dyn Read, octets: u64, work: &mut Unpacking<'_>) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    let mut left = octets;
    while left > 0 {
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let count = source.read(buffer.get_mut(..most).unwrap_or_default())?;
        if count == 0 {
            return Err(truncated());
        }
        work.spend(count)?;
        left -= count as u64;
    }
    Ok(())
}

/// `LENGTH KEY=VALUE\n`, again and again.
fn records(text: &[u8]) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut rest = text;
    while let Some(space) = memchr::memchr(b' ', rest) {
        let length = std::str::from_utf8(rest.get(..space).unwrap_or_default()).ok();
        let Some(length) = length.and_then(|length| length.parse::<usize>().ok()) else { break };
        let Some(record) = rest.get(space + 1..length) else { break };
        let record = String::from_utf8_lossy(record);
        if let Some((key, value)) = record.trim_end_matches('\n').split_once('=') {
            found.insert(key.to_owned(), value.to_owned());
        }
        rest = rest.get(length..).unwrap_or_default();
    }
    found
}

/// Keywords letter by letter, as Dovecot writes them.
fn words(text: &str) -> Vec<String> {
    let mut words = vec![String::new(); 26];
    for (number, word) in text.lines().filter_map(|line| line.split_once(' ')) {
        let place = number.parse::<usize>().ok().and_then(|at| words.get_mut(at));
        if let Some(place) = place {
            word.clone_into(place);
        }
    }
    words
}

/// Writes a tar archive, a Maildir++ for a backup.
#[derive(Debug)]
pub struct TarWriter<W> {
    out: W,
    directory: String,
    keywords: Vec<String>,
    number: u64,
    /// It has a folder.
    begun: bool,
}

impl<W: Write> TarWriter<W> {
    /// Writes to `out`.
    pub fn new(out: W) -> TarWriter<W> {
        TarWriter { out, directory: String::new(), keywords: Vec::new(), number: 0, begun: false }
    }

    /// One file; `modified` in seconds since 1970.
    ///
    /// # Errors
    /// It cannot be read or written, or has another size than it had.
    pub fn file(&mut self, path: &str, size: u64, modified: i64, body: &mut dyn Read) -> io::Result<()> {
        let mut pax = String::new();
        if size >= 1 << 33 {
            pax.push_str(&record("size", &size.to_string()));
        }
        if !(0..1 << 33).contains(&modified) {
            pax.push_str(&record("mtime", &modified.to_string()));
        }
        self.entry(path, b'0', size, modified, pax)?;
        let written = io::copy(&mut body.take(size), &mut self.out)?;
        if written < size {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it became shorter while it was read"));
        }
        self.pad(size)
    }

    /// The directories of a folder, which is `""` or ends with a `/`.
    fn places(&mut self, folder: &str) -> io::Result<()> {
        if !folder.is_empty() {
            self.without_content(folder, DIRECTORY)?;
        }
        ["cur/", "new/", "tmp/"]
            .iter()
            .try_for_each(|part| self.without_content(&format!("{folder}{part}"), DIRECTORY))
    }

    /// Says that there is something whose content is not taken along, so that whoever reads can tell.
    fn without_content(&mut self, path: &str, sort: u8) -> io::Result<()> {
        self.entry(path, sort, 0, 0, String::new())
    }

    fn entry(&mut self, path: &str, sort: u8, size: u64, modified: i64, mut pax: String) -> io::Result<()> {
        if path.len() > 100 || !path.is_ascii() {
            pax.push_str(&record("path", path));
        }
        if !pax.is_empty() {
            self.header("pax", b'x', pax.len() as u64, 0)?;
            self.out.write_all(pax.as_bytes())?;
            self.pad(pax.len() as u64)?;
        }
        self.header(path, sort, size, modified)
    }

    fn header(&mut self, path: &str, sort: u8, size: u64, modified: i64) -> io::Result<()> {
        let mut block = [0; BLOCK];
        let mut put = |at: usize, octets: &[u8], most: usize| {
            let octets = octets.get(..octets.len().min(most)).unwrap_or_default();
            if let Some(place) = block.get_mut(at..at + octets.len()) {
                place.copy_from_slice(octets);
            }
        };
        let octal = |value: u64| format!("{value:011o}").into_bytes();
        put(0, path.as_bytes(), 100);
        put(100, if sort == DIRECTORY { b"0000700\0" } else { b"0000600\0" }, 8);
        put(108, b"0000000\0", 8);
        put(116, b"0000000\0", 8);
        put(124, &octal(if size < 1 << 33 { size } else { 0 }), 11);
        put(136, &octal(u64::try_from(modified).ok().filter(|time| *time < 1 << 33).unwrap_or(0)), 11);
        put(148, b"        ", 8);
        put(156, &[sort], 1);
        put(257, b"ustar\x0000", 8);
        let sum: u64 = block.iter().map(|octet| u64::from(*octet)).sum();
        let sum = format!("{sum:06o}\0 ");
        if let Some(place) = block.get_mut(148..156) {
            place.copy_from_slice(sum.as_bytes().get(..8).unwrap_or(b"        "));
        }
        self.out.write_all(&block)
    }

    fn pad(&mut self, size: u64) -> io::Result<()> {
        let padding = (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64;
        io::copy(&mut io::repeat(0).take(padding), &mut self.out).map(drop)
    }

    /// The archive's end: two empty blocks.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn end(&mut self) -> io::Result<()> {
        self.out.write_all(&[0; 2 * BLOCK])?;
        self.out.flush()
    }
}

fn record(key: &str, value: &str) -> String {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + rest.to_string().len();
    if length.to_string().len() + rest != length {
        length += 1;
    }
    format!("{length} {key}={value}\n")
}

impl<W: Write> Pack for TarWriter<W> {
    fn folder(&mut self, folder: &FolderPath, keywords: &[String]) -> io::Result<()> {
        let directory = names::directory(folder);
        self.directory = if directory.is_empty() { String::new() } else { directory + "/" };
        // A Maildir has these three whether there is something in them or not, and the inbox is always there.
        if !self.begun && !self.directory.is_empty() {
            self.places("")?;
        }
        self.begun = true;
        self.places(&self.directory.clone())?;
        self.keywords = keywords.iter().take(26).cloned().collect();
        if self.keywords.is_empty() {
            return Ok(());
        }
        let lines: Vec<String> =
            self.keywords.iter().enumerate().map(|(at, word)| format!("{at} {word}\n")).collect();
        let text = lines.concat();
        let path = format!("{}{KEYWORDS_FILE}", self.directory);
        self.file(&path, text.len() as u64, 0, &mut text.as_bytes())
    }

    fn message(&mut self, letter: &Letter, body: &mut dyn Stored) -> io::Result<()> {
        let size = body.seek(SeekFrom::End(0))?;
        body.seek(SeekFrom::Start(0))?;
        self.number += 1;
        let flags = &letter.flags;
        let known = [
            (flags.draft, 'D'),
            (flags.flagged, 'F'),
            (flags.answered, 'R'),
            (flags.seen, 'S'),
            (flags.deleted, 'T'),
        ];
        let mut info: String = known.iter().filter(|(set, _)| *set).map(|(_, letter)| *letter).collect();
        info.extend(
            ('a'..='z').zip(&self.keywords).filter(|(_, word)| flags.keywords.contains(word)).map(|(l, _)| l),
        );
        let time = letter.received.unwrap_or(0);
        let is_new = flags.recent && info.is_empty();
        let (part, info) = if is_new { ("new", String::new()) } else { ("cur", format!(":2,{info}")) };
        let path = format!("{}{part}/{time}.N{}.backup,S={size}{info}", self.directory, self.number);
        self.file(&path, size, time, body)
    }

    fn finish(&mut self) -> io::Result<()> {
        self.end()
    }
}

/// Packs the messages and keywords of the Maildir at `root`, for the daemon to take apart. Links are not
/// followed.
///
/// # Errors
/// It is no Maildir, or cannot be read or written.
pub fn pack_maildir(root: &Path, out: impl Write) -> io::Result<()> {
    if !root.join("cur").is_dir() && !root.join("new").is_dir() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no Maildir: there is no cur in it"));
    }
    let mut tar = TarWriter::new(io::BufWriter::with_capacity(256 * 1024, out));
    let mut folders = vec![String::new()];
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let sort = entry.file_type()?;
        if name.starts_with('.') && sort.is_dir() {
            folders.push(format!("{name}/"));
        } else if name.starts_with('.') && sort.is_symlink() {
            tar.without_content(&name, LINK)?;
        }
    }
    folders.sort();
    for folder in folders {
        let directory = root.join(&folder);
        pack_file(&mut tar, &directory.join(KEYWORDS_FILE), &format!("{folder}{KEYWORDS_FILE}"))?;
        if directory.join("cur").is_dir() {
            tar.without_content(&format!("{folder}cur/"), DIRECTORY)?;
        }
        for part in ["cur", "new"] {
            let entries = match fs::read_dir(directory.join(part)) {
                Ok(entries) => entries,
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                Err(e) => return Err(e),
            };
            for entry in entries {
                let name = entry?.file_name().to_string_lossy().into_owned();
                let path = directory.join(part).join(&name);
                pack_file(&mut tar, &path, &format!("{folder}{part}/{name}"))?;
            }
        }
    }
    tar.end()
}

/// One file, if it is still there; of what is no file its name.
fn pack_file(tar: &mut TarWriter<impl Write>, path: &Path, name: &str) -> io::Result<()> {
    match fs::symlink_metadata(path).map(|metadata| metadata.file_type()) {
        Ok(sort) if sort.is_file() => {}
        Ok(sort) => return tar.without_content(name, if sort.is_symlink() { LINK } else { FIFO }),
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e),
    }
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let mut file = match File::options().read(true).custom_flags(flags.bits()).open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound || e.raw_os_error() == Some(nix::libc::ELOOP) => {
            return Ok(());
        }
        Err(e) => return Err(e),
    };
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Ok(());
    }
    let modified = std::os::unix::fs::MetadataExt::mtime(&metadata);
    tar.file(name, metadata.len(), modified, &mut file)
}
