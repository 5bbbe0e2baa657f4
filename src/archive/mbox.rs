//! Mailboxes in one file (RFC 4155), in their dialects. A message ends where its Content-Length says, if a From line or
//! the end of the file stands there (mboxcl, mboxcl2); else at the next From line (see `from_line`). Where no message of
//! known length holds a bare From line, lines were quoted, and one `>` is taken off; where one does, the whole file is
//! mboxcl2 and nothing was. mboxo and mboxrd cannot be told apart: both are read as mboxrd, which differs for lines that
//! already had a `>`.
//!
//! A file is read twice: first where its messages are and in which folders, then folder by folder, so that each folder
//! is opened once. Status lines that [`super::MboxWriter`] put before a message are taken off again; those of others are
//! read and stay, for they are bytes of the message as it came. It refuses to keep more than 16 bytes a message.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::asctime::moment;
use super::from_line::Style;
use super::kinds::NoMail;
use super::letter::Letter;
use super::lines::Lines;
use super::names;
use super::status::Status;
use super::unpack::Unpacking;
use crate::message::FolderPath;

pub(super) use super::status::WHOLE;

/// The line that ends the block of our own lines.
pub(super) const FOLDER: &str = "X-Mailhaul-Folder:";
/// Bytes of our own lines before a message.
const BLOCK: usize = 64 * 1024;
/// Bytes behind a From line that are looked at.
const BEHIND: usize = 4096;
/// Messages whose places are known at once: 16 bytes each.
const SEGMENT: usize = 1_000_000;
/// Doubtful messages of one segment that are told.
const DOUBTS: usize = 1000;
/// Folders of one file whose names are kept; further ones are as the first.
const FOLDERS: usize = 5_000;

/// Reads every message of `file` from the byte `start` on; `folder` is where they are if they do not say. `complete`: its
/// end is that of the mailbox; else the last message is cut off, and left out.
pub(super) fn read(
    file: &File,
    (start, complete): (usize, bool),
    shown: &str,
    folder: Option<&FolderPath>,
    work: &mut Unpacking<'_>,
) -> io::Result<()> {
    let mut walk = Walk::new(file, start as u64)?;
    let mut from = Some((start as u64, 0));
    let mut first = true;
    while let Some(at) = from {
        let mut plan = Plan { one: work.one_folder(), cut: !complete, ..Plan::default() };
        from = plan.look(&mut walk, at, folder, first)?;
        if first {
            walk.unquoted = walk.bare;
            first = false;
        }
        for (kind, count) in std::mem::take(&mut plan.passed) {
            (0..count).for_each(|_| work.pass(kind));
        }
        for number in std::mem::take(&mut plan.doubts) {
            let why = "it is taken as one message, and a From line in it may begin another one";
            work.skip(&format!("{shown}: message {number}"), None, why);
        }
        deliver(&mut walk, plan, shown, work)?;
    }
    Ok(())
}

/// Hands the planned messages over, folder by folder.
fn deliver(walk: &mut Walk<'_>, mut plan: Plan, shown: &str, work: &mut Unpacking<'_>) -> io::Result<()> {
    plan.places.sort_by_key(|place| place.folder);
    for Place { folder, number, at } in plan.places {
        walk.lines.seek(at)?;
        let Some(from_line) = walk.next_message()? else { continue };
        let mut pour = work.pour();
        let found = walk.message(&from_line, &mut |octets| pour.push(octets))?;
        if pour.is_empty() {
            work.pass(NoMail::Empty);
            continue;
        }
        let (flags, _) = found.status.finish();
        let folder = usize::try_from(folder).ok().and_then(|at| plan.folders.get(at)).cloned().flatten();
        let letter = Letter { folder, flags, received: moment(&from_line) };
        pour.finish(letter, &format!("{shown}: message {number}"), None)?;
    }
    Ok(())
}

/// Where one message goes.
#[derive(Debug, Clone, Copy)]
struct Place {
    /// Its folder's number.
    folder: u32,
    /// Its own number in the file, from 1.
    number: u32,
    /// Where its From line is.
    at: u64,
}

/// Which messages of a file go where.
#[derive(Debug, Default)]
struct Plan {
    folders: Vec<Option<FolderPath>>,
    numbers: BTreeMap<Option<FolderPath>, u32>,
    places: Vec<Place>,
    passed: BTreeMap<NoMail, u64>,
    /// Messages that may be two, by their numbers.
    doubts: Vec<u32>,
    /// All of them go into one folder, whatever they say.
    one: bool,
    /// The file ends in the middle of a message.
    cut: bool,
}

impl Plan {
    /// Looks at messages from one on; `whole`: to the end of the file. Returns where the next segment begins, and how many
    /// messages are before it.
    fn look(
        &mut self,
        walk: &mut Walk<'_>,
        (from, before): (u64, u32),
        folder: Option<&FolderPath>,
        whole: bool,
    ) -> io::Result<Option<(u64, u32)>> {
        walk.lines.seek(from)?;
        let (mut number, mut next) = (before, None);
        while let Some(from_line) = walk.next_message()? {
            let at = walk.lines.at() - from_line.len() as u64;
            if self.places.len() >= SEGMENT && next.is_none() {
                next = Some((at, number));
            }
            if next.is_some() && !whole {
                break;
            }
            number = number.saturating_add(1);
            let found = walk.message(&from_line, &mut |_| Ok(()))?;
            if self.cut && walk.lines.at() >= walk.length {
                break;
            }
            if next.is_none() {
                self.add(found, at, number, folder);
            }
        }
        Ok(next)
    }

    fn add(&mut self, found: Found, at: u64, number: u32, folder: Option<&FolderPath>) {
        if found.doubtful && self.doubts.len() < DOUBTS {
            self.doubts.push(number);
        }
        if found.status.is_pseudo() {
            *self.passed.entry(NoMail::PseudoMessages).or_default() += 1;
            return;
        }
        let own = found.folder;
        let (_, labels) = found.status.finish();
        if labels.as_ref().is_some_and(|labels| labels.chat) {
            *self.passed.entry(NoMail::Chats).or_default() += 1;
            return;
        }
        let folders = match (own, labels) {
            (Some(own), _) => vec![Some(own)],
            (None, Some(labels)) if !self.one => labels.places().into_iter().map(Some).collect(),
            _ => vec![folder.cloned()],
        };
        for folder in folders {
            let folder = self.number(folder);
            self.places.push(Place { folder, number, at });
        }
    }

    fn number(&mut self, folder: Option<FolderPath>) -> u32 {
        if let Some(number) = self.numbers.get(&folder) {
            return *number;
        }
        let number = u32::try_from(self.folders.len()).unwrap_or(u32::MAX);
        if self.folders.len() < FOLDERS + 1 {
            self.folders.push(folder.clone());
            self.numbers.insert(folder, number);
        }
        number
    }
}

/// What one message's own lines say.
#[derive(Debug, Default)]
struct Found {
    status: Status,
    folder: Option<FolderPath>,
    /// A line in it resembles the beginning of another message.
    doubtful: bool,
}

type Sink<'s> = &'s mut dyn FnMut(&[u8]) -> io::Result<()>;

struct Walk<'f> {
    file: &'f File,
    lines: Lines<'f>,
    length: u64,
    style: Style,
    /// A message with a length that is right has a bare From line in it.
    bare: bool,
    /// Nothing was quoted where lengths are right.
    unquoted: bool,
}

impl<'f> Walk<'f> {
    fn new(file: &'f File, start: u64) -> io::Result<Walk<'f>> {
        let mut lines = Lines::new(file, start);
        let style = lines.next()?.map_or(Style::default(), Style::of);
        Ok(Walk { file, lines, length: file.metadata()?.len(), style, bare: false, unquoted: false })
    }

    /// The next From line: the first one, or one that a message has ended at.
    fn next_message(&mut self) -> io::Result<Option<Vec<u8>>> {
        while let Some(line) = self.lines.next()? {
            if line.starts_with(b"From ") {
                return Ok(Some(line.to_vec()));
            }
        }
        Ok(None)
    }

    /// One message, up to the next From line.
    fn message(&mut self, from_line: &[u8], sink: Sink<'_>) -> io::Result<Found> {
        let mut found = Found::default();
        if !from_line.ends_with(b"\n") {
            self.rest_of_line()?;
        }
        let ours = self.block(&mut found, sink)?;
        if let Some(length) = found.status.whole.filter(|length| ours && self.fits(*length, true)) {
            self.body(length, ours, sink)?;
            return Ok(found);
        }
        let (mut starts, mut header) = (true, true);
        // An empty line before a From line is the file's.
        let mut held: Option<&'static [u8]> = None;
        while let Some(line) = self.lines.next()? {
            if starts && line.starts_with(b"From ") {
                let (line, empty) = (line.to_vec(), held.is_some());
                let behind = self.behind(self.lines.at());
                if self.style.begins(&line, empty, &behind) {
                    self.lines.back(line.len());
                    return Ok(found);
                }
                found.doubtful |= Style::is_doubtful(&line, &behind);
                if let Some(held) = held.take() {
                    sink(held)?;
                }
                sink(&line)?;
                starts = line.ends_with(b"\n");
                continue;
            }
            if let Some(held) = held.take() {
                sink(held)?;
            }
            if starts && is_empty(line) {
                let line: &'static [u8] = if line.len() > 1 { b"\r\n" } else { b"\n" };
                if header {
                    header = false;
                    if let Some(length) = found.status.length.filter(|length| self.fits(*length, ours)) {
                        sink(line)?;
                        self.body(length, ours, sink)?;
                        return Ok(found);
                    }
                }
                held = Some(line);
                continue;
            }
            if header && starts && !ours {
                found.status.line(line);
            }
            sink(if starts && (ours || !header) { unquote(line) } else { line })?;
            starts = line.ends_with(b"\n");
        }
        Ok(found)
    }

    /// What is left of a From line that came in pieces.
    fn rest_of_line(&mut self) -> io::Result<()> {
        while let Some(piece) = self.lines.next()? {
            if piece.ends_with(b"\n") {
                break;
            }
        }
        Ok(())
    }

    /// Lines of our own before the message; `false`: there are none, and what was read was handed on.
    fn block(&mut self, found: &mut Found, sink: Sink<'_>) -> io::Result<bool> {
        let mut own = Status::default();
        let mut read = Vec::new();
        while let Some(line) = self.lines.next()? {
            if let Some(name) = line.strip_prefix(FOLDER.as_bytes()) {
                let name = String::from_utf8_lossy(name);
                let name = name.trim_end_matches(['\r', '\n']);
                found.folder = names::read(name.strip_prefix(' ').unwrap_or(name));
                found.status = own;
                return Ok(true);
            }
            if !Status::knows(line) || !line.ends_with(b"\n") || read.len() + line.len() > BLOCK {
                let length = line.len();
                self.lines.back(length);
                break;
            }
            own.line(line);
            read.extend_from_slice(line);
        }
        found.status = own;
        sink(&read)?;
        Ok(false)
    }

    /// A body of that many bytes; the empty lines behind it are passed over by whoever looks for the next message.
    fn body(&mut self, length: u64, ours: bool, sink: Sink<'_>) -> io::Result<()> {
        let (mut left, mut starts) = (length, true);
        while left > 0 {
            let Some(line) = self.lines.next_of(left)? else { break };
            left = left.saturating_sub(line.len() as u64);
            self.bare |= starts && line.starts_with(b"From ");
            let as_it_is = !starts || (self.unquoted && !ours);
            sink(if as_it_is { line } else { unquote(line) })?;
            starts = line.ends_with(b"\n");
        }
        Ok(())
    }

    /// What stands in the file from a place on.
    fn behind(&self, at: u64) -> Vec<u8> {
        let mut behind = vec![0; BEHIND];
        let count = self.file.read_at(&mut behind, at).unwrap_or(0);
        behind.truncate(count);
        behind
    }

    /// Whether a body of that length ends at a From line or at the end of the file. Of one that others wrote, the length
    /// may have been counted before its line ends became CRLF: then it is too short, and says nothing.
    fn fits(&self, length: u64, ours: bool) -> bool {
        let Some(end) = self.lines.at().checked_add(length).filter(|end| *end <= self.length) else {
            return false;
        };
        let mut next = [0; 16];
        let Ok(count) = self.file.read_at(&mut next, end) else { return false };
        let next = next.get(..count).unwrap_or_default();
        let rest = next.trim_ascii_start();
        if !ours && self.is_short(length, end, next) {
            return false;
        }
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

    /// Whether a body that ends before `next` ends before its own last line end, in a file with CRLF.
    fn is_short(&self, length: u64, end: u64, next: &[u8]) -> bool {
        let mut last = [b'\n'; 1];
        if length > 0 && self.file.read_exact_at(&mut last, end - 1).is_err() {
            return true;
        }
        last.first().is_some_and(|last| divides(*last, next))
    }
}

/// Whether what stands before and behind a place is a message's own line end, or more than the one empty line of the file.
fn divides(last: u8, next: &[u8]) -> bool {
    match last {
        b'\n' => next.starts_with(b"\r\n\r\n"),
        b'\r' => next.starts_with(b"\n"),
        _ => next.starts_with(b"\r\n"),
    }
}

fn is_empty(line: &[u8]) -> bool {
    line == b"\n" || line == b"\r\n"
}

/// One `>` off a quoted From line.
fn unquote(line: &[u8]) -> &[u8] {
    if line.first() != Some(&b'>') {
        return line;
    }
    let marks = line.iter().take_while(|octet| **octet == b'>').count();
    let quoted = line.get(marks..).is_some_and(|rest| rest.starts_with(b"From "));
    if quoted { line.get(1..).unwrap_or_default() } else { line }
}
