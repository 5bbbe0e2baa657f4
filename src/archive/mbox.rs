//! Mailboxes in one file (RFC 4155), in their four dialects. A message ends where its Content-Length says, if a
//! From line or the end of the file stands there (mboxcl, mboxcl2); else at the next From line behind an empty
//! line that has a time in it (mboxo, mboxrd). Where no message of that length holds a bare From line, lines were
//! quoted, and one `>` is taken off; where one does, the whole file is mboxcl2 and nothing was. mboxo and mboxrd
//! cannot be told apart: both are read as mboxrd, which differs for lines that already had a `>`.
//!
//! Status lines that [`super::MboxWriter`] put before a message are taken off again; those of others are read
//! and stay, for they are octets of the message as it came.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek};
use std::os::unix::fs::FileExt;

use super::asctime::moment;
use super::letter::{Letter, Pour, Take};
use super::names;
use super::unpack::Unpacking;
use crate::message::{Flags, FolderPath};

/// The line with the octets of all of a message, of one without an empty line.
pub(super) const WHOLE: &str = "X-Mailhaul-Length:";
/// The line that ends the block of our own lines.
pub(super) const FOLDER: &str = "X-Mailhaul-Folder:";
/// Longer lines come in pieces; octets.
const PIECE: u64 = 32 * 1024;
/// Octets of our own lines before a message.
const BLOCK: usize = 64 * 1024;

/// Reads every message of `file`; `folder` is where they are if they do not say.
pub(super) fn read(
    file: &File,
    shown: &str,
    folder: Option<&FolderPath>,
    work: &mut Unpacking<'_>,
) -> io::Result<()> {
    let mut looked = Walk::new(file)?;
    while let Some(line) = looked.next_message()? {
        looked.message(&line, &mut Pour::new(&mut Nobody, None, true))?;
    }
    let mut walk = Walk::new(file)?;
    walk.unquoted = looked.bare;
    let mut number: u64 = 0;
    while let Some(line) = walk.next_message()? {
        number += 1;
        let mut pour = work.pour();
        let mut letter = walk.message(&line, &mut pour)?;
        letter.folder = letter.folder.or_else(|| folder.cloned());
        pour.finish(letter, &format!("{shown}: message {number}"), None)?;
    }
    Ok(())
}

/// Takes nothing: the file is only looked at.
struct Nobody;

impl Take for Nobody {
    fn begin(&mut self) -> io::Result<()> {
        Ok(())
    }
    fn data(&mut self, _: &[u8]) -> io::Result<()> {
        Ok(())
    }
    fn end(&mut self, _: Letter, _: &str) -> io::Result<()> {
        Ok(())
    }
    fn abandon(&mut self) -> io::Result<()> {
        Ok(())
    }
    fn skip(&mut self, _: &str, _: Option<u64>, _: &str) {}
    fn folder(&mut self, _: FolderPath, _: &str) -> io::Result<()> {
        Ok(())
    }
}

struct Walk<'f> {
    file: &'f File,
    reader: BufReader<File>,
    /// Octets before what the reader gives next.
    at: u64,
    length: u64,
    /// A piece that was looked at and not used.
    ahead: Option<Vec<u8>>,
    /// A message with a length that is right has a bare From line in it.
    bare: bool,
    /// Nothing was quoted where lengths are right.
    unquoted: bool,
}

impl<'f> Walk<'f> {
    fn new(file: &'f File) -> io::Result<Walk<'f>> {
        let mut own = file.try_clone()?;
        own.rewind()?;
        let length = file.metadata()?.len();
        let reader = BufReader::with_capacity(256 * 1024, own);
        Ok(Walk { file, reader, at: 0, length, ahead: None, bare: false, unquoted: false })
    }

    /// A line, or as much of it as a piece holds; empty at the end.
    fn piece(&mut self, most: u64) -> io::Result<Vec<u8>> {
        if let Some(piece) = self.ahead.take() {
            return Ok(piece);
        }
        let mut piece = Vec::new();
        self.reader.by_ref().take(most.min(PIECE)).read_until(b'\n', &mut piece)?;
        self.at += piece.len() as u64;
        Ok(piece)
    }

    /// The next From line.
    fn next_message(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            let piece = self.piece(PIECE)?;
            if piece.is_empty() || piece.starts_with(b"From ") {
                return Ok((!piece.is_empty()).then_some(piece));
            }
        }
    }

    /// One message, up to the next From line.
    fn message(&mut self, from_line: &[u8], pour: &mut Pour<'_>) -> io::Result<Letter> {
        let mut letter = Letter { received: moment(from_line), ..Letter::default() };
        let mut status = Status::default();
        let ours = self.block(&mut status, &mut letter, pour)?;
        if let Some(length) = status.whole.filter(|length| ours && self.fits(*length)) {
            self.body(length, ours, pour)?;
            letter.flags = status.flags();
            return Ok(letter);
        }
        let (mut starts, mut held): (bool, Vec<u8>) = (true, Vec::new());
        // The header, to the empty line, which is part of the next From line if one follows at once.
        loop {
            let piece = self.piece(PIECE)?;
            if piece.is_empty() {
                break;
            }
            if starts && is_separator(&piece) && !held.is_empty() {
                self.ahead = Some(piece);
                letter.flags = status.flags();
                return Ok(letter);
            }
            if !held.is_empty() {
                // The header has ended with that empty line.
                pour.push(&held)?;
                held.clear();
                self.ahead = Some(piece);
                break;
            }
            if starts && is_empty(&piece) {
                if let Some(length) = status.length.filter(|length| self.fits(*length)) {
                    pour.push(&piece)?;
                    self.body(length, ours, pour)?;
                    letter.flags = status.flags();
                    return Ok(letter);
                }
                held = piece;
                continue;
            }
            if starts && !ours {
                status.line(&piece);
            }
            pour.push(if starts && ours { unquote(&piece) } else { &piece })?;
            starts = piece.ends_with(b"\n");
        }
        self.until_from(pour)?;
        letter.flags = status.flags();
        Ok(letter)
    }

    /// Lines of our own before the message; `false`: there are none, and what was read was handed on.
    fn block(&mut self, status: &mut Status, letter: &mut Letter, pour: &mut Pour<'_>) -> io::Result<bool> {
        let mut own = Status::default();
        let mut read = Vec::new();
        loop {
            let piece = self.piece(PIECE)?;
            if let Some(name) = piece.strip_prefix(FOLDER.as_bytes()) {
                let name = String::from_utf8_lossy(name);
                let name = name.trim_end_matches(['\r', '\n']);
                letter.folder = names::read(name.strip_prefix(' ').unwrap_or(name));
                *status = own;
                return Ok(true);
            }
            let known = Status::knows(&piece) && piece.ends_with(b"\n");
            if !known || read.len() + piece.len() > BLOCK {
                self.ahead = (!piece.is_empty()).then_some(piece);
                break;
            }
            own.line(&piece);
            read.extend_from_slice(&piece);
        }
        *status = own;
        pour.push(&read)?;
        Ok(false)
    }

    /// A body of that many octets, then the empty lines behind it.
    fn body(&mut self, length: u64, ours: bool, pour: &mut Pour<'_>) -> io::Result<()> {
        let (mut left, mut starts) = (length, true);
        while left > 0 {
            let piece = self.piece(left)?;
            if piece.is_empty() {
                break;
            }
            left = left.saturating_sub(piece.len() as u64);
            self.bare |= starts && piece.starts_with(b"From ");
            let as_it_is = !starts || (self.unquoted && !ours);
            pour.push(if as_it_is { &piece } else { unquote(&piece) })?;
            starts = piece.ends_with(b"\n");
        }
        Ok(())
    }

    /// What comes until the next From line behind an empty one.
    fn until_from(&mut self, pour: &mut Pour<'_>) -> io::Result<()> {
        let (mut starts, mut held) = (true, Vec::new());
        loop {
            let piece = self.piece(PIECE)?;
            if piece.is_empty() {
                // The empty line at the end is the file's.
                return Ok(());
            }
            if starts && !held.is_empty() && is_separator(&piece) {
                self.ahead = Some(piece);
                return Ok(());
            }
            if !held.is_empty() {
                pour.push(&held)?;
                held.clear();
            }
            if starts && is_empty(&piece) {
                held = piece;
                continue;
            }
            pour.push(if starts { unquote(&piece) } else { &piece })?;
            starts = piece.ends_with(b"\n");
        }
    }

    /// Whether a body of that length ends at a From line or at the end of the file.
    fn fits(&self, length: u64) -> bool {
        // What was looked at ahead is behind the reader.
        let ahead = self.ahead.as_ref().map_or(0, |piece| piece.len() as u64);
        let Some(end) = (self.at - ahead).checked_add(length).filter(|end| *end <= self.length) else {
            return false;
        };
        let mut next = [0; 16];
        let Ok(count) = self.file.read_at(&mut next, end) else { return false };
        let next = next.get(..count).unwrap_or_default();
        let rest = next.trim_ascii_start();
        if rest.is_empty() {
            return end + count as u64 == self.length;
        }
        let lines = next.len() - rest.len();
        // A body ends with a line end of its own, or one stands between.
        let ended = lines > 0 || length == 0 || {
            let mut last = [0; 1];
            self.file.read_at(&mut last, end - 1).is_ok() && last == *b"\n"
        };
        ended && rest.starts_with(b"From ")
    }
}

fn is_empty(piece: &[u8]) -> bool {
    piece == b"\n" || piece == b"\r\n"
}

/// A From line has a time in it.
fn is_separator(piece: &[u8]) -> bool {
    piece.starts_with(b"From ")
        && piece
            .windows(3)
            .any(|three| matches!(three, [a, b':', b] if a.is_ascii_digit() && b.is_ascii_digit()))
}

/// One `>` off a quoted From line.
fn unquote(piece: &[u8]) -> &[u8] {
    let marks = piece.iter().take_while(|octet| **octet == b'>').count();
    let quoted = marks > 0 && piece.get(marks..).is_some_and(|rest| rest.starts_with(b"From "));
    if quoted { piece.get(1..).unwrap_or_default() } else { piece }
}

/// What header lines say of a message's state.
#[derive(Debug, Default)]
struct Status {
    flags: Flags,
    old: bool,
    /// Octets behind the empty line.
    length: Option<u64>,
    /// Octets of the message.
    whole: Option<u64>,
}

impl Status {
    const NAMES: [&'static str; 6] =
        ["status", "x-status", "x-keywords", "content-length", "x-mozilla-status", "x-mailhaul-length"];

    fn knows(piece: &[u8]) -> bool {
        let Some(colon) = memchr::memchr(b':', piece) else { return false };
        let name = String::from_utf8_lossy(piece.get(..colon).unwrap_or_default()).to_ascii_lowercase();
        Status::NAMES.contains(&name.as_str())
    }

    /// Reads a header line.
    fn line(&mut self, piece: &[u8]) {
        if !Status::knows(piece) {
            return;
        }
        let text = String::from_utf8_lossy(piece);
        let Some((name, value)) = text.split_once(':') else { return };
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "status" => {
                self.flags.seen |= value.contains('R');
                self.old |= value.contains('O');
            }
            "x-status" => {
                self.flags.answered |= value.contains('A');
                self.flags.flagged |= value.contains('F');
                self.flags.deleted |= value.contains('D');
                self.flags.draft |= value.contains('T');
            }
            "x-keywords" => self.flags.keywords.extend(value.split_whitespace().map(str::to_owned)),
            "x-mozilla-status" => {
                let bits = u16::from_str_radix(value, 16).unwrap_or(0);
                self.old = true;
                self.flags.seen |= bits & 1 != 0;
                self.flags.answered |= bits & 2 != 0;
                self.flags.flagged |= bits & 4 != 0;
                self.flags.deleted |= bits & 8 != 0;
            }
            "content-length" => self.length = value.parse().ok(),
            _ => self.whole = value.parse().ok(),
        }
    }

    fn flags(self) -> Flags {
        Flags { recent: !self.old && !self.flags.seen, ..self.flags }
    }
}
