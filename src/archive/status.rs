//! What the header of a stored message says of its state: Status lines of mutt, Dovecot and others, Thunderbird's
//! X-Mozilla lines, Gmail's labels, and the lines of our own backups. It reads them and leaves them in the message, for
//! they are bytes of it as it came. It refuses to keep more of a header than a few labels.

use super::labels::Labels;
use super::sort::field_name;
use crate::message::Flags;

/// The line with the bytes of all of a message, of one without an empty line.
pub(super) const WHOLE: &str = "X-Mailhaul-Length:";
/// Bytes of labels.
const LONGEST: usize = 64 * 1024;
/// Forwarded, in the words of RFC 5788.
const FORWARDED: &str = "$Forwarded";
/// The subject of what c-client and its heirs keep in a mailbox for themselves.
const PSEUDO: &str = "DON'T DELETE THIS MESSAGE -- FOLDER INTERNAL DATA";

/// What header lines say of a message's state.
#[derive(Debug, Default)]
pub(super) struct Status {
    flags: Flags,
    old: bool,
    /// Bytes behind the empty line.
    pub(super) length: Option<u64>,
    /// Bytes of the message.
    pub(super) whole: Option<u64>,
    labels: Vec<u8>,
    /// The line before was one of labels.
    in_labels: bool,
    /// The subject of a pseudo-message, and the other mark of one.
    pseudo: (bool, bool),
}

impl Status {
    const OURS: [&'static str; 6] =
        ["status", "x-status", "x-keywords", "content-length", "x-mozilla-status", "x-mailhaul-length"];

    /// Whether a line may stand in a block of our own.
    pub(super) fn knows(line: &[u8]) -> bool {
        field_name(line)
            .is_some_and(|name| Status::OURS.iter().any(|known| name.eq_ignore_ascii_case(known.as_bytes())))
    }

    /// Reads a header line.
    pub(super) fn line(&mut self, line: &[u8]) {
        match line.first() {
            Some(b' ' | b'\t') => {
                if self.in_labels && self.labels.len() < LONGEST {
                    self.labels.extend_from_slice(line);
                }
                return;
            }
            Some(b'S' | b's' | b'X' | b'x' | b'C' | b'c' | b'F' | b'f') => {}
            _ => {
                self.in_labels = false;
                return;
            }
        }
        self.in_labels = false;
        let Some(name) = field_name(line) else { return };
        let name = String::from_utf8_lossy(name).to_ascii_lowercase();
        let Some(value) = memchr::memchr(b':', line).and_then(|at| line.get(at + 1..)) else { return };
        if name == "x-gmail-labels" {
            self.in_labels = true;
            if !self.labels.is_empty() {
                self.labels.push(b',');
            }
            self.labels.extend_from_slice(value.get(..value.len().min(LONGEST)).unwrap_or_default());
            return;
        }
        self.field(&name, String::from_utf8_lossy(value).trim());
    }

    fn field(&mut self, name: &str, value: &str) {
        match name {
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
            "x-keywords" | "x-mozilla-keys" => value.split_whitespace().for_each(|word| self.keyword(word)),
            "x-mozilla-status" => {
                let bits = u16::from_str_radix(value, 16).unwrap_or(0);
                self.old = true;
                self.flags.seen |= bits & 1 != 0;
                self.flags.answered |= bits & 2 != 0;
                self.flags.flagged |= bits & 4 != 0;
                self.flags.deleted |= bits & 8 != 0;
                if bits & 0x1000 != 0 {
                    self.keyword(FORWARDED);
                }
            }
            // Old ones have their label as a number.
            "x-mozilla-status2" => {
                let bits = u32::from_str_radix(value, 16).unwrap_or(0);
                let label = (bits >> 25) & 7;
                if (1..=5).contains(&label) {
                    self.keyword(&format!("$label{label}"));
                }
            }
            "content-length" => self.length = value.parse().ok(),
            "x-mailhaul-length" => self.whole = value.parse().ok(),
            "subject" => self.pseudo.0 |= value == PSEUDO,
            "x-imap" => self.pseudo.1 = true,
            "from" => {
                self.pseudo.1 |=
                    value.contains("MAILER-DAEMON") || value.contains("Mail System Internal Data");
            }
            _ => {}
        }
    }

    fn keyword(&mut self, word: &str) {
        let is_new = !self.flags.keywords.iter().any(|known| known.eq_ignore_ascii_case(word));
        if is_new && self.flags.keywords.len() < 64 {
            self.flags.keywords.push(word.to_owned());
        }
    }

    /// It is a note of a program, not a message.
    pub(super) fn is_pseudo(&self) -> bool {
        self.pseudo == (true, true)
    }

    /// The flags, and the labels if there are any.
    pub(super) fn finish(mut self) -> (Flags, Option<Labels>) {
        let labels = (!self.labels.is_empty()).then(|| Labels::read(&self.labels));
        if let Some(labels) = &labels {
            self.flags.seen |= !labels.unread;
            self.flags.flagged |= labels.starred;
            self.flags.draft |= labels.draft;
            labels.keywords.iter().for_each(|word| self.keyword(word));
        }
        let recent = labels.is_none() && !self.old && !self.flags.seen;
        (Flags { recent, ..self.flags }, labels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(header: &str) -> (Flags, Option<Labels>) {
        let mut status = Status::default();
        header.split_inclusive('\n').for_each(|line| status.line(line.as_bytes()));
        status.finish()
    }

    #[test]
    fn what_many_programs_write() {
        let (flags, _) = read("Status: RO\nX-Status: AF\nX-Keywords: work  $Label1\n");
        assert!(flags.seen && flags.answered && flags.flagged && !flags.recent);
        assert_eq!(flags.keywords, ["work", "$Label1"]);
        let (flags, _) =
            read("X-Mozilla-Status: 1005\nX-Mozilla-Status2: 04000000\nX-Mozilla-Keys: $label2 todo    \n");
        assert!(flags.seen && flags.flagged && !flags.answered && !flags.deleted && !flags.recent);
        assert_eq!(flags.keywords, ["$Forwarded", "$label2", "todo"]);
        assert!(read("Subject: x\n").0.recent && !read("Status: O\n").0.recent);
        let (flags, labels) = read("X-Gmail-Labels: Inbox,\n Starred,Unread\nX-Gmail-Labels: Work\n");
        assert!(flags.flagged && !flags.seen && !flags.recent);
        assert_eq!(labels.unwrap().folders.len(), 2);
    }

    #[test]
    fn notes_of_programs() {
        let mut status = Status::default();
        status.line(b"From: Mail System Internal Data <MAILER-DAEMON@x>\n");
        assert!(!status.is_pseudo());
        status.line(b"Subject: DON'T DELETE THIS MESSAGE -- FOLDER INTERNAL DATA\n");
        assert!(status.is_pseudo());
    }
}
