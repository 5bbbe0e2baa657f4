//! Where one message of an mbox ends and the next begins. A From line has a date in it (mutt, Dovecot), or it has none,
//! as some exports write them: then the header behind it tells. It refuses to take a sentence for a From line that has
//! neither.

use super::asctime::moment;
use super::sort::{Header, field_name};

/// What is known of a file's From lines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Style {
    /// Its first one has no date.
    pub(super) undated: bool,
}

impl Style {
    /// Of a file that begins with `line`.
    pub(super) fn of(line: &[u8]) -> Style {
        Style { undated: !is_dated(line) }
    }

    /// Whether a line that begins no message resembles one that does: a header that mail has follows it.
    pub(super) fn is_doubtful(line: &[u8], behind: &[u8]) -> bool {
        line.starts_with(b"From ") && Header::of(behind).is_some_and(|header| header.known)
    }

    /// Whether a message begins with `line`: `empty`: an empty line stands before it; `behind`: what follows it.
    pub(super) fn begins(self, line: &[u8], empty: bool, behind: &[u8]) -> bool {
        if !line.starts_with(b"From ") {
            return false;
        }
        let header = Header::of(behind);
        let known = header.as_ref().is_some_and(|header| header.known);
        if moment(line).is_some() {
            return empty || header.is_some();
        }
        if has_clock(line) {
            return known || (empty && !self.undated && header.is_some());
        }
        match form(line) {
            Form::Bare if self.undated => empty || known,
            Form::Bare => known,
            Form::Sender(_) if self.undated => known || empty && header.is_some(),
            Form::Sender(is_address) => known && (empty || is_address),
            Form::Day => known,
            Form::Sentence(has_address) => empty && known && (self.undated || has_address),
        }
    }
}

/// Whether a line has a date, or the time of one.
pub(super) fn is_dated(line: &[u8]) -> bool {
    moment(line).is_some() || has_clock(line)
}

fn has_clock(line: &[u8]) -> bool {
    let is_clock = |three: &[u8]| matches!(three, [a, b':', b] if a.is_ascii_digit() && b.is_ascii_digit());
    line.windows(3).any(is_clock)
}

/// From lines without a time.
enum Form {
    /// `From `, `From -`.
    Bare,
    /// One word: `From alice@example.com`, `From -83`; whether it is an address or a number.
    Sender(bool),
    /// Words with a day of the month in them: `From alice Thu Jan 1 2015`.
    Day,
    /// Anything else; whether one of its words is an address.
    Sentence(bool),
}

fn form(line: &[u8]) -> Form {
    let text = String::from_utf8_lossy(line.get(5..line.len().min(1000)).unwrap_or_default());
    let words: Vec<&str> = text.split_whitespace().collect();
    match words.as_slice() {
        [] | ["-"] => Form::Bare,
        // A word with a colon is a header that lost its own.
        [word] if field_name(word.as_bytes()).is_none() => {
            let number = word.trim_start_matches('-');
            let is_number = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
            Form::Sender(is_number || word.contains('@'))
        }
        words if super::asctime::has_day(words) => Form::Day,
        words => Form::Sentence(words.iter().any(|word| word.contains('@'))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAIL: &[u8] = b"Subject: x\n\nbody";
    const OWN: &[u8] = b"Tel: 5\n\nbody";
    const TEXT: &[u8] = b"and so on\n";

    #[test]
    fn where_messages_begin() {
        let dated = Style { undated: false };
        let undated = Style { undated: true };
        for (style, line, empty, behind, expected) in [
            (dated, "From a@b Thu Jan  1 00:00:07 2015\n", true, TEXT, true),
            (dated, "From a@b Thu Jan  1 00:00:07 2015\n", false, OWN, true),
            (dated, "From a@b Thu Jan  1 00:00:07 2015\n", false, TEXT, false),
            (dated, "From - Thu Jan 01 00:00:07 2015\r\n", false, MAIL, true),
            (dated, "From 10:30 to 11:30 we meet\n", true, TEXT, false),
            (dated, "From \n", true, MAIL, true),
            (dated, "From \n", false, MAIL, true),
            (dated, "From a@b\n", true, MAIL, true),
            (dated, "From a@b\n", false, MAIL, true),
            (dated, "From home\n", false, MAIL, false),
            (dated, "From home\n", true, OWN, false),
            (dated, "From here on\n", true, MAIL, false),
            (dated, "From: a@b\n", true, MAIL, false),
            (undated, "From \n", true, TEXT, true),
            (undated, "From -\n", false, MAIL, true),
            (undated, "From - \r\n", false, MAIL, true),
            (undated, "From user@host\n", true, OWN, true),
            (undated, "From user@host\n", false, MAIL, true),
            (undated, "From -8349\n", true, MAIL, true),
            (undated, "From home\n", true, TEXT, false),
            (undated, "From a@b Thu Jan 1 2015\n", true, MAIL, true),
            (undated, "From Alice Smith\n", true, MAIL, true),
            (undated, "From here to there\n", true, TEXT, false),
            (dated, "From Alice <a@b>\n", true, MAIL, true),
            (dated, "From a@b 2015-01-01 10:00:00\n", false, MAIL, true),
        ] {
            assert_eq!(style.begins(line.as_bytes(), empty, behind), expected, "{style:?} {line:?} {empty}");
        }
    }
}
