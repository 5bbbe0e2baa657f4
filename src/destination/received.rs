//! When a message arrived, for sources that do not say: the date of the topmost Received line, else of the
//! Date line (RFC 5322, 3.6.7 and 3.6.1). It refuses a date before 1970 or after tomorrow.

use mail_parser::DateTime;

/// Headers beyond this are not looked at; octets.
pub const LONGEST_HEAD: usize = 64 * 1024;

/// The arrival in seconds since 1970, from the octets that a message begins with. `now` likewise.
pub fn arrival(head: &[u8], now: i64) -> Option<i64> {
    let mut date = None;
    for (name, value) in Headers(head) {
        if name.eq_ignore_ascii_case(b"received") {
            let after = value.rsplit(|b| *b == b';').next().unwrap_or_default();
            if let Some(time) = sane(after, now) {
                return Some(time);
            }
        } else if name.eq_ignore_ascii_case(b"date") && date.is_none() {
            date = sane(&value, now);
        }
    }
    date
}

fn sane(text: &[u8], now: i64) -> Option<i64> {
    let text = String::from_utf8_lossy(text);
    let time = DateTime::parse_rfc822(text.trim())?;
    let plausible = (1..=12).contains(&time.month)
        && (1..=31).contains(&time.day)
        && time.hour < 24
        && time.minute < 60
        && time.second <= 60;
    let seconds = plausible.then(|| time.to_timestamp())?;
    (0..=now.saturating_add(86_400)).contains(&seconds).then_some(seconds)
}

/// Header lines, unfolded, until the empty line or the end.
struct Headers<'h>(&'h [u8]);

impl<'h> Iterator for Headers<'h> {
    type Item = (&'h [u8], Vec<u8>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return None;
            }
            let mut value = Vec::new();
            let colon = memchr::memchr(b':', line);
            if let Some(colon) = colon {
                value.extend_from_slice(line.get(colon + 1..).unwrap_or_default());
            }
            while matches!(self.0.first(), Some(b' ' | b'\t')) {
                value.extend_from_slice(self.line()?);
            }
            if let Some(colon) = colon {
                return Some((line.get(..colon).unwrap_or_default().trim_ascii_end(), value));
            }
        }
    }
}

impl<'h> Headers<'h> {
    fn line(&mut self) -> Option<&'h [u8]> {
        if self.0.is_empty() {
            return None;
        }
        let end = memchr::memchr(b'\n', self.0).unwrap_or(self.0.len());
        let (line, rest) = self.0.split_at(end);
        self.0 = rest.get(1..).unwrap_or_default();
        Some(line.strip_suffix(b"\r").unwrap_or(line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_795_000_000;

    #[test]
    fn the_topmost_sane_received_line_wins() {
        let head = b"Received: from a by b; nonsense\r\nReceived: from c by d\r\n\t; Tue, 22 Jan 2002 10:20:30 +0100\r\nDate: Mon, 21 Jan 2002 00:00:00 +0000\r\n\r\nReceived: x; Tue, 22 Jan 2008 10:20:30 +0000\r\n";
        assert_eq!(arrival(head, NOW), Some(1_011_691_230));
    }

    #[test]
    fn else_the_date_line_else_nothing() {
        assert_eq!(arrival(b"Date: Mon, 21 Jan 2002 00:00:00 +0000\n\n", NOW), Some(1_011_571_200));
        for head in [
            &b"Subject: x\n\n"[..],
            b"Date: Mon, 21 Jan 2099 00:00:00 +0000\n\n",
            b"Date: Mon, 21 Jan 1960 00:00:00 +0000\n\n",
            b"Date: Mon, 99 Foo 2002 77:00:00 +0000\n\n",
            b"",
            b":\n :\n",
        ] {
            assert_eq!(arrival(head, NOW), None, "{}", String::from_utf8_lossy(head));
        }
    }
}
