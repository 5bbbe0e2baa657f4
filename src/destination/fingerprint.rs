//! What two copies of a message have in common if they are the same: their octets, with every line end
//! reduced to a line feed, as two stores may differ there. Where it is asked for, octets above 127 in the header
//! count as X, as Cyrus stores them (`munge8bit`); or a carriage return without its line feed does not count, and the
//! last line has an end, as with Courier. It refuses to keep the octets.

use std::io::Read;

use std::fmt;

use ring::digest::{Context, SHA256};

/// Takes a message's octets as they come.
pub struct Fingerprint {
    context: Context,
    /// The last octet was a carriage return that waits for what follows.
    held: bool,
    octets: u64,
    /// In the header, whose octets above 127 do not count; how many line ends came last.
    lenient: Option<u8>,
    /// As Courier stores it. The last octet was not a line feed.
    lines: Option<bool>,
}

/// The beginning of a message as it came, by which it is known again.
#[derive(Debug, Clone, Default)]
pub struct Head(Vec<u8>);

impl Head {
    /// Octets; a message that has fewer is known by all of them.
    const OCTETS: usize = 512;

    /// The next octets.
    pub fn push(&mut self, data: &[u8]) {
        let lacks = Head::OCTETS - self.0.len().min(Head::OCTETS);
        self.0.extend_from_slice(data.get(..lacks.min(data.len())).unwrap_or_default());
    }

    /// 64 bits of it.
    pub fn finish(&self) -> u64 {
        let digest = ring::digest::digest(&SHA256, &self.0);
        digest.as_ref().iter().take(8).fold(0, |sum, byte| (sum << 8) | u64::from(*byte))
    }
}

/// The result: alike for alike messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Print {
    /// SHA-256 of the reduced octets.
    digest: [u8; 32],
    /// Octets with CRLF line ends, as a server reports them.
    pub octets: u64,
}

impl fmt::Display for Print {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.octets)?;
        self.digest.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Print {
    /// Reads what `Display` wrote. `None` if it is anything else.
    pub fn parse(text: &str) -> Option<Print> {
        let (octets, hexadecimal) = text.split_once(' ')?;
        let mut digest = [0; 32];
        if hexadecimal.len() != 64 || !hexadecimal.is_ascii() {
            return None;
        }
        for (at, byte) in digest.iter_mut().enumerate() {
            *byte = u8::from_str_radix(hexadecimal.get(2 * at..2 * at + 2)?, 16).ok()?;
        }
        Some(Print { digest, octets: octets.parse().ok()? })
    }
}

impl Default for Fingerprint {
    fn default() -> Self {
        Fingerprint { context: Context::new(&SHA256), held: false, octets: 0, lenient: None, lines: None }
    }
}

impl Fingerprint {
    /// The same for what servers make of a message: octets above 127 in its header count as X.
    pub fn lenient() -> Fingerprint {
        Fingerprint { lenient: Some(1), ..Fingerprint::default() }
    }

    /// The same for what Courier makes of a message: carriage returns stay only before line feeds, and a last line
    /// without an end gets one.
    pub fn of_lines() -> Fingerprint {
        Fingerprint { lines: Some(false), ..Fingerprint::default() }
    }

    /// The next octets.
    pub fn push(&mut self, data: &[u8]) {
        let mut rest = data;
        if self.held && !rest.is_empty() {
            self.held = false;
            if rest.first() != Some(&b'\n') {
                self.bare();
            }
        }
        while let Some(at) = memchr::memchr(b'\r', rest) {
            let (line, end) = rest.split_at(at);
            self.add(line);
            rest = end.get(1..).unwrap_or_default();
            match rest.first() {
                None => self.held = true,
                Some(b'\n') => {}
                Some(_) => self.bare(),
            }
        }
        self.add(rest);
    }

    /// A carriage return without a line feed.
    fn bare(&mut self) {
        if self.lines.is_none() {
            self.add(b"\r");
        }
    }

    fn add(&mut self, reduced: &[u8]) {
        let mut rest = reduced;
        if let (Some(open), Some(last)) = (&mut self.lines, reduced.last()) {
            *open = *last != b'\n';
        }
        while let Some(ends) = self.lenient.filter(|_| !rest.is_empty()) {
            // Line by line: the first empty one ends the header.
            let line = memchr::memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
            let (line, after) = rest.split_at(line);
            let plain: Vec<u8> = line.iter().map(|b| if b.is_ascii() { *b } else { b'X' }).collect();
            self.context.update(&plain);
            self.lenient = match line {
                b"\n" if ends > 0 => None,
                line => Some(u8::from(line.ends_with(b"\n"))),
            };
            rest = after;
        }
        self.context.update(rest);
        self.octets += reduced.len() as u64 + memchr::memchr_iter(b'\n', reduced).count() as u64;
    }

    /// The end of the message.
    pub fn finish(mut self) -> Print {
        if std::mem::take(&mut self.held) {
            self.bare();
        }
        if self.lines == Some(true) {
            self.add(b"\n");
        }
        let mut digest = [0; 32];
        digest.copy_from_slice(self.context.finish().as_ref());
        Print { digest, octets: self.octets }
    }

    /// Of everything that is left to read.
    ///
    /// # Errors
    /// The reader's.
    pub fn of(reader: impl Read) -> std::io::Result<Print> {
        Fingerprint::default().read(reader)
    }

    /// The same, as this one takes them.
    ///
    /// # Errors
    /// The reader's.
    pub fn read(self, mut reader: impl Read) -> std::io::Result<Print> {
        let mut print = self;
        let mut chunk = vec![0; 64 * 1024];
        loop {
            match reader.read(&mut chunk) {
                Ok(0) => return Ok(print.finish()),
                Ok(count) => print.push(chunk.get(..count).unwrap_or_default()),
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn print(parts: &[&[u8]]) -> Print {
        let mut print = Fingerprint::default();
        for part in parts {
            print.push(part);
        }
        print.finish()
    }

    proptest! {
        #[test]
        fn neither_chunks_nor_line_ends_matter(text in "[ab\r\n]{0,40}", at in 0usize..40) {
            let text = text.as_bytes();
            let (one, other) = text.split_at(at.min(text.len()));
            prop_assert_eq!(print(&[text]), print(&[one, other]));
            prop_assert_eq!(print(&[text]), Fingerprint::of(text).unwrap());
        }

        #[test]
        fn two_stores_agree(text in "[ab\n]{0,40}") {
            let wide = text.replace('\n', "\r\n");
            prop_assert_eq!(print(&[text.as_bytes()]), print(&[wide.as_bytes()]));
            prop_assert_eq!(print(&[text.as_bytes()]).octets, wide.len() as u64);
        }
    }

    proptest! {
        #[test]
        fn only_the_header_is_read_leniently(text in "[aé\r\n]{0,40}", at in 0usize..60) {
            let text = text.as_bytes();
            let (one, other) = text.split_at(at.min(text.len()));
            let lenient = |parts: &[&[u8]]| {
                let mut print = Fingerprint::lenient();
                parts.iter().for_each(|part| print.push(part));
                print.finish()
            };
            let end = text.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or(text.len());
            let end = if text.starts_with(b"\r\n") { 0 } else { end };
            let simple = !String::from_utf8_lossy(text).replace("\r\n", "").contains(['\r', '\n']);
            let mut plain = text.to_vec();
            plain.iter_mut().take(end).filter(|b| !b.is_ascii()).for_each(|b| *b = b'X');
            prop_assert_eq!(lenient(&[text]), lenient(&[one, other]));
            if simple {
                prop_assert_eq!(lenient(&[text]), print(&[&plain]));
            }
        }
    }

    proptest! {
        #[test]
        fn lines_are_as_courier_keeps_them(text in "[ab\r\n]{0,40}", at in 0usize..40) {
            let text = text.as_bytes();
            let (one, other) = text.split_at(at.min(text.len()));
            let of_lines = |parts: &[&[u8]]| {
                let mut print = Fingerprint::of_lines();
                parts.iter().for_each(|part| print.push(part));
                print.finish()
            };
            let mut kept: Vec<u8> = text.iter().copied().filter(|octet| *octet != b'\r').collect();
            if !kept.is_empty() && !kept.ends_with(b"\n") {
                kept.push(b'\n');
            }
            prop_assert_eq!(of_lines(&[text]), of_lines(&[one, other]));
            prop_assert_eq!(of_lines(&[text]), print(&[&kept]));
        }
    }

    #[test]
    fn it_is_read_as_it_was_written() {
        let one = print(&[b"a\r\nb"]);
        assert_eq!(Print::parse(&one.to_string()), Some(one));
        for bad in ["", "1", "1 00", "x 00"] {
            assert_eq!(Print::parse(bad), None);
        }
    }

    #[test]
    fn what_differs_differs() {
        assert_ne!(print(&[b"a\r\n"]), print(&[b"a\r\r"]));
        assert_eq!(print(&[b"a\n\rb"]).octets, 5);
        assert_eq!(print(&[b"a\r\nb\r"]).octets, 5);
    }
}
