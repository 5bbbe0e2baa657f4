//! A file line by line, from any place on, without a copy of each line. It refuses to keep a long line as a whole: that
//! comes in pieces.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Longer lines come in pieces; bytes.
const PIECE: usize = 32 * 1024;
/// Bytes that are read at once.
const BUFFER: usize = 256 * 1024;

/// Lines of a file.
pub(super) struct Lines<'f> {
    file: &'f File,
    buffer: Vec<u8>,
    /// What of the buffer is not yet given.
    start: usize,
    end: usize,
    /// Where in the file the buffer begins.
    base: u64,
}

impl<'f> Lines<'f> {
    /// Lines from the byte `at` on.
    pub(super) fn new(file: &'f File, at: u64) -> Lines<'f> {
        Lines { file, buffer: vec![0; BUFFER], start: 0, end: 0, base: at }
    }

    /// Where in the file the next line begins.
    pub(super) fn at(&self) -> u64 {
        self.base + self.start as u64
    }

    /// Goes on at another place.
    pub(super) fn seek(&mut self, at: u64) -> io::Result<()> {
        let inside = at.checked_sub(self.base).and_then(|way| usize::try_from(way).ok());
        match inside.filter(|way| *way <= self.end) {
            Some(way) => self.start = way,
            None => (self.base, self.start, self.end) = (at, 0, 0),
        }
        Ok(())
    }

    /// The last line comes once more; it has `length` bytes.
    pub(super) fn back(&mut self, length: usize) {
        self.start = self.start.saturating_sub(length);
    }

    /// The next line with its end, or as much of it as a piece holds; `None`: there is no more.
    pub(super) fn next(&mut self) -> io::Result<Option<&[u8]>> {
        self.next_of(PIECE as u64)
    }

    /// The same, and never more than `most` bytes.
    pub(super) fn next_of(&mut self, most: u64) -> io::Result<Option<&[u8]>> {
        let most = usize::try_from(most).unwrap_or(PIECE).min(PIECE);
        let mut seen = 0;
        let length = loop {
            let there = self.buffer.get(self.start..self.end).unwrap_or_default();
            let there = there.get(..there.len().min(most)).unwrap_or_default();
            if let Some(at) = memchr::memchr(b'\n', there.get(seen..).unwrap_or_default()) {
                break seen + at + 1;
            }
            if there.len() >= most {
                break most;
            }
            seen = there.len();
            if !self.fill()? {
                break seen;
            }
        };
        let from = self.start;
        self.start += length;
        Ok(self.buffer.get(from..self.start).filter(|line| !line.is_empty()))
    }

    /// More into the buffer; `false`: there is no more.
    fn fill(&mut self) -> io::Result<bool> {
        self.buffer.copy_within(self.start..self.end, 0);
        self.base += self.start as u64;
        (self.start, self.end) = (0, self.end - self.start);
        let place = self.buffer.get_mut(self.end..).unwrap_or_default();
        let count = loop {
            match self.file.read_at(place, self.base + self.end as u64) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        self.end += count;
        Ok(count > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn lines_and_pieces() {
        let mut file = tempfile::tempfile().unwrap();
        let long = vec![b'x'; PIECE + 5];
        let text = [&b"a\n\nb\r\n"[..], &long, b"\nend"].concat();
        file.write_all(&text).unwrap();
        let mut lines = Lines::new(&file, 0);
        let mut found = Vec::new();
        while let Some(line) = lines.next().unwrap() {
            found.push(line.to_vec());
        }
        assert_eq!(found.concat(), text);
        let lengths: Vec<usize> = found.iter().map(Vec::len).collect();
        assert_eq!(lengths, [2, 1, 3, PIECE, 6, 3]);
        lines.seek(3).unwrap();
        assert_eq!(lines.next().unwrap(), Some(&b"b\r\n"[..]));
        lines.back(3);
        assert_eq!((lines.at(), lines.next_of(2).unwrap()), (3, Some(&b"b\r"[..])));
    }
}
