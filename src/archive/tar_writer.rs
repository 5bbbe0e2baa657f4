//! A backup as a tar of a Maildir++ (POSIX.1-2001 pax), and what `mailhaulctl` packs for the daemon. It refuses to write
//! anything else of a file than its name, its size, its time and its bytes.

use std::io::{self, Read, SeekFrom, Write};

use super::letter::Letter;
use super::tar::{KEYWORDS_FILE, PACKED};
use super::{Pack, Stored, names};
use crate::message::FolderPath;

/// Types of entries (POSIX.1-2001, pax): a directory, a symbolic link, and what is neither.
pub(super) const DIRECTORY: u8 = b'5';
pub(super) const LINK: u8 = b'2';
pub(super) const FIFO: u8 = b'6';
const BLOCK: usize = 512;

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
    pub(super) fn without_content(&mut self, path: &str, sort: u8) -> io::Result<()> {
        self.entry(path, sort, 0, 0, String::new())
    }

    /// Says, before anything else, what was packed.
    pub(super) fn mark(&mut self, what: &str) -> io::Result<()> {
        let text = record(PACKED, what);
        self.header("packed", b'g', text.len() as u64, 0)?;
        self.out.write_all(text.as_bytes())?;
        self.pad(text.len() as u64)
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
