//! What a file is. Its first bytes say it, and its name where they leave it open. It refuses to take for a message what
//! merely has a colon in its first line: a header with a field that mail has makes one, or the name of a message.

use super::kinds::{NoMail, by_content, by_ending, ending};
use super::{foreign, front, tar};
use crate::compressed::{Method, method};

/// Bytes that tell what a file is.
pub(super) const HEAD: usize = 8192;
/// A field's name may be so long; bytes.
const LONGEST_NAME: usize = 200;

const NEITHER: &str = "it is neither a message nor an archive that is known";

/// What a file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Sort {
    Empty,
    Zip,
    Tar,
    Compressed(Method),
    /// Behind so many bytes.
    Mbox(usize),
    /// A message behind so many bytes that are none of it.
    Message(usize),
    /// A message with its length before it, as Apple Mail keeps it.
    Emlx,
    /// No mail.
    NoMail(NoMail),
    /// It may be mail, and cannot be read: why.
    Unreadable(&'static str),
}

/// What is called as a message is called.
fn is_called_mail(name: &str) -> bool {
    matches!(ending(name).as_str(), "eml" | "emlx" | "mbox" | "mbx" | "mail" | "msg")
}

/// What the first bytes and the name say; the name may be empty.
pub(super) fn sort(head: &[u8], name: &str) -> Sort {
    let mail = is_called_mail(name);
    if head.is_empty() {
        return if mail && !matches!(ending(name).as_str(), "mbox" | "mbx") {
            Sort::Unreadable("it is empty")
        } else {
            Sort::Empty
        };
    }
    if head.starts_with(b"PK\x03\x04") || head.starts_with(b"PK\x05\x06") || head.starts_with(b"PK\x07\x08") {
        // Office files are zip archives, too.
        return match by_ending(name) {
            Some(kind @ NoMail::Documents) => Sort::NoMail(kind),
            _ => Sort::Zip,
        };
    }
    if let Some(method) = method(head) {
        return Sort::Compressed(method);
    }
    if tar::is_header(head) {
        return Sort::Tar;
    }
    if let Some(why) = foreign::form(head) {
        return Sort::Unreadable(why);
    }
    if let Some(sort) = of_text(head, name, mail) {
        return sort;
    }
    if let Some(kind) = by_content(head) {
        return if mail { Sort::Unreadable(NEITHER) } else { Sort::NoMail(kind) };
    }
    if let Some(why) = of_others(head, name) {
        return Sort::Unreadable(why);
    }
    match by_ending(name) {
        Some(kind) => Sort::NoMail(kind),
        None => Sort::Unreadable(NEITHER),
    }
}

/// What may have mail in it by its name, and is not read here.
fn of_others(head: &[u8], name: &str) -> Option<&'static str> {
    let office = head.starts_with(&[0xd0, 0xcf, 0x11, 0xe0, 0xa1, 0xb1, 0x1a, 0xe1]);
    if office && by_ending(name).is_none() {
        return Some("it is a message as Outlook saves it: save it as .eml");
    }
    is_utf_16(head, name).then_some("it is in UTF-16, which mail never is: save it as UTF-8")
}

/// UTF-16 that is a message by its name or its first line.
fn is_utf_16(head: &[u8], name: &str) -> bool {
    let (start, odd) = match head {
        [0xff, 0xfe, ..] => (2, 0),
        [0xfe, 0xff, ..] => (2, 1),
        [a, 0, b, 0, ..] if *a > 0 && *b > 0 => (0, 0),
        [0, a, 0, b, ..] if *a > 0 && *b > 0 => (0, 1),
        _ => return false,
    };
    let narrow: Vec<u8> = head.iter().skip(start + odd).step_by(2).copied().collect();
    by_ending(name).is_none() || Header::of(&narrow).is_some_and(|header| header.known)
}

/// A message, a mailbox, or what has a text before it.
fn of_text(head: &[u8], name: &str, mail: bool) -> Option<Sort> {
    let start = front::blank(head);
    let text = head.get(start..).unwrap_or_default();
    if front::is_mailbox(text) {
        return Some(Sort::Mbox(start));
    }
    if by_content(head).is_some() && !mail {
        return None;
    }
    if ending(name) == "emlx" || is_counted(text) {
        return is_counted(text).then_some(Sort::Emlx);
    }
    // Saved pages have the form of a message.
    if by_ending(name) == Some(NoMail::WebPages) {
        return None;
    }
    if let Some(header) = Header::of(text)
        && (mail || header.known)
    {
        // Of many messages one behind the other, it would make one.
        let is_mailbox = matches!(ending(name).as_str(), "mbox" | "mbx");
        let why = "it is called a mailbox, and does not begin with a From line";
        return Some(if is_mailbox { Sort::Unreadable(why) } else { Sort::Message(start) });
    }
    front::behind(head, start, name, mail)
}

/// Digits alone in the first line, and a header behind it: see `emlx`.
fn is_counted(text: &[u8]) -> bool {
    let Some(end) = memchr::memchr(b'\n', text.get(..text.len().min(64)).unwrap_or_default()) else {
        return false;
    };
    let (line, rest) = text.split_at(end + 1);
    let digits = line.trim_ascii();
    !digits.is_empty() && digits.iter().all(u8::is_ascii_digit) && Header::of(rest).is_some()
}

/// The beginning of a header (RFC 5322, 2.2).
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Its fields, as far as they were seen.
    pub(super) fields: usize,
    /// Mail has one of them.
    pub(super) known: bool,
}

impl Header {
    /// `None`: the first line is no field, and no quoted From line before one.
    pub(super) fn of(text: &[u8]) -> Option<Header> {
        let mut header = Header { fields: 0, known: false };
        let mut rest = text;
        while !rest.is_empty() {
            let end = memchr::memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
            let (line, behind) = rest.split_at(end);
            rest = behind;
            if line.starts_with(b">From ") {
                header.known |= header.fields == 0;
                header.fields += 1;
            } else if header.fields > 0 && matches!(line.first(), Some(b' ' | b'\t')) {
            } else if let Some(name) = field_name(line) {
                header.fields += 1;
                header.known |= is_known(name);
            } else {
                break;
            }
        }
        (header.fields > 0).then_some(header)
    }
}

/// The name of a header field, if the line has one.
pub(super) fn field_name(line: &[u8]) -> Option<&[u8]> {
    let colon = memchr::memchr(b':', line.get(..line.len().min(LONGEST_NAME)).unwrap_or_default())?;
    let name = line.get(..colon)?.trim_ascii_end();
    (!name.is_empty() && name.iter().all(u8::is_ascii_graphic)).then_some(name)
}

/// Fields that mail has and little else; small letters.
const KNOWN: [&str; 34] = [
    "from",
    "to",
    "cc",
    "bcc",
    "subject",
    "date",
    "received",
    "return-path",
    "message-id",
    "mime-version",
    "content-type",
    "content-transfer-encoding",
    "delivered-to",
    "reply-to",
    "sender",
    "in-reply-to",
    "references",
    "envelope-to",
    "delivery-date",
    "x-original-to",
    "x-mailer",
    "x-mozilla-status",
    "x-account-key",
    "x-gmail-labels",
    "x-gm-thrid",
    "status",
    "x-status",
    "x-uidl",
    "dkim-signature",
    "authentication-results",
    "newsgroups",
    "apparently-to",
    "x-unsent",
    "received-spf",
];

fn is_known(name: &[u8]) -> bool {
    let known = |word: &&str| name.eq_ignore_ascii_case(word.as_bytes());
    KNOWN.iter().any(known)
        || ["resent-", "list-", "arc-", "x-mailhaul-"].iter().any(|with| {
            name.get(..with.len()).is_some_and(|start| start.eq_ignore_ascii_case(with.as_bytes()))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_told_from_what_resembles_them() {
        for (head, name, expected) in [
            (&b"Subject: a\n\nb"[..], "", Sort::Message(0)),
            (b"X-Own: a\n\nb", "1.eml", Sort::Message(0)),
            (b"\xEF\xBB\xBFDate: a\n\nb", "", Sort::Message(3)),
            (b"\r\n\n\nDate: a\n\nb", "", Sort::Message(4)),
            (b"== saved by a tool ==\nFrom: a@b\nTo: c@d\n\nb", "", Sort::Message(22)),
            (b"one\ntwo\nFrom: a@b\n\nb", "x.eml", Sort::Message(8)),
            (b">From a b\nX: y\n\nb", "", Sort::Message(0)),
            (b"From a@b Thu Jan  1 00:00:07 2015\n\nb", "", Sort::Mbox(0)),
            (b"\n\nFrom \nSubject: x\n\nb", "", Sort::Mbox(2)),
            (b"From now on\nall is well\n", "a.txt", Sort::NoMail(NoMail::Texts)),
            (b"BEGIN:VCARD\nVERSION:3.0\n", "all", Sort::NoMail(NoMail::Contacts)),
            (b"{\"subject\": \"x\"}", "", Sort::NoMail(NoMail::Settings)),
            (b"http://a.example/", "a.url", Sort::NoMail(NoMail::WebPages)),
            (b"Date: x\nMIME-Version: 1.0\n\n<html>", "p.mht", Sort::NoMail(NoMail::WebPages)),
            (b"Subject: in a text\n\nx", "a.txt", Sort::Message(0)),
            (b"PK\x03\x04", "a.docx", Sort::NoMail(NoMail::Documents)),
            (b"PK\x03\x04", "a.zip", Sort::Zip),
            (b"9         \nSubject: a\n\nb", "", Sort::Emlx),
            (b"", "Trash", Sort::Empty),
            (b"a line\nFrom a@b Thu Jan  1 00:00:07 2015\nDate: a\n\nb", "a", Sort::Mbox(7)),
            (b"1\n2\n3\n4\n5\nFrom - \nDate: a\n\nb", "a.mbox", Sort::Mbox(10)),
            (b"\0\0\0\nFrom - \nDate: a\n\nb", "a.mbox", Sort::Mbox(4)),
            (b"one\nFrom: a@b\nTo: c@d\n\nb", "17.", Sort::Message(4)),
            (b"a text\nFrom a@b Thu Jan  1 00:00:07 2015\nDate: a\n", "a.txt", Sort::NoMail(NoMail::Texts)),
        ] {
            assert_eq!(sort(head, name), expected, "{name}: {}", String::from_utf8_lossy(head));
        }
    }

    #[test]
    fn nuls_are_no_text() {
        for name in ["a.eml", "a"] {
            assert_eq!(sort(&[0; 100], name), Sort::Unreadable(NEITHER), "{name}");
        }
    }

    #[test]
    fn what_may_be_mail_is_never_passed_over() {
        let wide: Vec<u8> = "\u{feff}Subject: a\r\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
        for (head, name) in [
            (&b"\x89PNG\r\n\x1a\n"[..], "a.eml"),
            (b"", "a.eml"),
            (b"hello\n", "a.eml"),
            (b"hello\n", "unknown"),
            (b"!BDN", "a.pst"),
            (b"Subject: a\n\nb", "a.mbox"),
            (b"7z\xbc\xaf\x27\x1c", "a"),
            // Something before a message that is no banner, and files of many messages in other forms.
            (b"\0\0\0\nDate: a\nTo: b\n\nb", "a.eml"),
            (b"one\n\x01\nDate: a\nTo: b\n\nb", "a.eml"),
            (b"one\nDate: a\nTo: b\n\nb", "Sent"),
            (b"one\nDate: a\nTo: b\n\nb", "Sent.mbox"),
            (b"\x01\x01\x01\x01\nDate: a\nTo: b\n\nb\n\x01\x01\x01\x01\n", "Sent"),
            (b" 7-Jan-2015 00:00:07 +0000,19;000000000001\r\nDate: a\r\nTo: b\r\n\r\nb", "1.eml"),
            (b"!<arch>\n1.eml/  7  0  0  644  12  `\nDate: a\nTo: b\n\nb", "a.eml"),
            (&wide, "a.txt"),
            (&wide, "a.eml"),
        ] {
            assert!(matches!(sort(head, name), Sort::Unreadable(_)), "{name}: {:?}", sort(head, name));
        }
    }
}
