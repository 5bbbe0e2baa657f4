//! What stands before the mail in a file: empty lines, a byte order mark, a banner, the rest of something, a hole that a
//! file system left. A mailbox begins at its first From line, whatever stands before it. It refuses a front that is
//! neither text nor a hole, and a banner where nothing says that the file is one message: it may be a mailbox of a kind
//! that is not known, and would become one message.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::from_line::{Style, is_dated};
use super::kinds::{by_ending, ending};
use super::sort::{HEAD, Header, Sort};

/// Lines that may stand before a header, and their bytes.
const BANNER: usize = 3;
const BANNER_OCTETS: usize = 1024;

/// The bytes that say nothing: a byte order mark and empty lines.
pub(super) fn blank(head: &[u8]) -> usize {
    let mut start = if head.starts_with(b"\xEF\xBB\xBF") { 3 } else { 0 };
    while let Some(b"\n" | b"\r") = head.get(start..start + 1) {
        start += 1;
    }
    start
}

/// A From line has a date, or a header behind it.
pub(super) fn is_mailbox(text: &[u8]) -> bool {
    let Some(end) = memchr::memchr(b'\n', text) else { return false };
    let (line, rest) = text.split_at(end + 1);
    line.starts_with(b"From ") && (is_dated(line) || Header::of(rest).is_some())
}

/// A From line that begins a message, though nothing of a mailbox was seen before: mail's header stands behind it.
fn begins_mailbox(text: &[u8]) -> bool {
    let Some(end) = memchr::memchr(b'\n', text) else { return false };
    let (line, rest) = text.split_at(end + 1);
    Style::default().begins(line, true, rest) && Header::of(rest).is_some_and(|header| header.known)
}

/// What has something before it; `mail`: it is called as messages are called; `from`: what is known to be blank.
pub(super) fn behind(head: &[u8], from: usize, name: &str, mail: bool) -> Option<Sort> {
    let hole = head.get(from..)?.iter().take_while(|octet| **octet == 0).count();
    let start = from + hole;
    if hole > 0 {
        let start = start + blank(head.get(start..)?);
        return is_mailbox(head.get(start..)?).then_some(Sort::Mbox(start));
    }
    let (single, mailbox) = (is_single(name), mail || by_ending(name).is_none());
    let mut at = start;
    for number in 1usize.. {
        let rest = head.get(at..)?;
        let line = rest.get(..=memchr::memchr(b'\n', rest)?)?;
        if !line.iter().all(|octet| *octet >= b' ' || matches!(octet, b'\t' | b'\r' | b'\n')) {
            return None;
        }
        at += line.len();
        let rest = head.get(at..)?;
        if mailbox && begins_mailbox(rest) {
            return Some(Sort::Mbox(at));
        }
        let banner = single && number <= BANNER && at - start <= BANNER_OCTETS;
        if banner && Header::of(rest).is_some_and(|header| header.known && (mail || header.fields > 1)) {
            return Some(Sort::Message(at));
        }
    }
    None
}

/// Whether a name is that of one message, or says nothing: files have an ending for it, or a number in MH and Cyrus.
fn is_single(name: &str) -> bool {
    matches!(ending(name).as_str(), "eml" | "emlx" | "mail" | "msg")
        || name.trim_end_matches('.').bytes().all(|octet| octet.is_ascii_digit())
}

/// Why what stands before the first From line of a mailbox is to be told; `None`: it says nothing.
pub(super) fn left_out(file: &File, start: usize) -> io::Result<Option<&'static str>> {
    let mut front = vec![0; start.min(HEAD)];
    file.read_exact_at(&mut front, 0)?;
    let rest = front.get(blank(&front)..).unwrap_or_default();
    Ok(match rest.first() {
        None => None,
        Some(0) => Some("it begins with a hole of NULs, in which a message may have been"),
        Some(_) => Some("the text before its first From line belongs to no message"),
    })
}
