//! Files with holes in pax archives, as GNU tar writes them: version 0.0 lists the parts in records of their own, 0.1 in
//! one record, 1.0 before the bytes of the file. It refuses a list that is out of order, does not fit the bytes that the
//! archive has, or is longer than holes of mail ever make it.

use std::collections::VecDeque;
use std::io::{self, Read};

use super::blocks::BLOCK;

/// Parts of one file.
const PARTS: usize = 100_000;
const PREFIX: &[u8] = b"GNU.sparse.";

/// What the records of one entry say.
#[derive(Debug, Default)]
pub(super) struct Facts {
    /// The file's own name; the entry's is made up.
    pub(super) name: Option<Vec<u8>>,
    size: Option<u64>,
    major: Option<u64>,
    numbers: Vec<u64>,
    told: bool,
    broken: bool,
}

impl Facts {
    /// One record.
    pub(super) fn record(&mut self, key: &[u8], value: &[u8]) {
        let Some(key) = key.strip_prefix(PREFIX) else { return };
        self.told = true;
        let number = || std::str::from_utf8(value).ok().and_then(|text| text.parse::<u64>().ok());
        match key {
            b"name" => self.name = Some(value.to_vec()),
            b"size" | b"realsize" => self.size = number(),
            b"major" => self.major = number(),
            b"offset" | b"numbytes" => self.add(number()),
            b"map" => value.split(|octet| *octet == b',').for_each(|piece| {
                self.add(std::str::from_utf8(piece).ok().and_then(|text| text.parse().ok()));
            }),
            _ => {}
        }
    }

    fn add(&mut self, number: Option<u64>) {
        match number.filter(|_| self.numbers.len() < 2 * PARTS) {
            Some(number) => self.numbers.push(number),
            None => self.broken = true,
        }
    }

    /// Whether the entry is such a file.
    pub(super) fn is_sparse(&self) -> bool {
        self.told
    }

    /// Bytes of the file with its holes.
    pub(super) fn size(&self) -> u64 {
        self.size.unwrap_or(0)
    }

    /// The file, of which `body` has `length` bytes and what version 1.0 puts before them; `None`: the list is no good.
    pub(super) fn open<'b>(mut self, body: &'b mut dyn Read, length: u64) -> io::Result<Option<Holes<'b>>> {
        let mut left = length;
        if self.major.is_some_and(|major| major > 0) {
            let Some(read) = self.list(body)? else { return Ok(None) };
            left = left.saturating_sub(read);
        }
        let Some(size) = self.size.filter(|_| !self.broken && self.numbers.len().is_multiple_of(2)) else {
            return Ok(None);
        };
        let mut parts = VecDeque::with_capacity(self.numbers.len() / 2);
        let (mut end, mut sum) = (0, 0u64);
        for pair in self.numbers.chunks_exact(2) {
            let [offset, length] = pair else { continue };
            let Some(next) = offset.checked_add(*length).filter(|next| *offset >= end && *next <= size)
            else {
                return Ok(None);
            };
            (end, sum) = (next, sum.saturating_add(*length));
            parts.push_back((*offset, next));
        }
        Ok((sum == left).then_some(Holes { body, parts, at: 0, size }))
    }

    /// Reads the list of version 1.0: how many parts there are, then their places and lengths, a number a line, up to the
    /// end of a block. Returns its bytes; `None`: it is no good.
    fn list(&mut self, body: &mut dyn Read) -> io::Result<Option<u64>> {
        let (mut block, mut at, mut read) = ([0; BLOCK], BLOCK, 0);
        let mut number = || -> io::Result<Option<u64>> {
            let mut value = None;
            loop {
                if at == BLOCK {
                    body.read_exact(&mut block)?;
                    (at, read) = (0, read + BLOCK as u64);
                }
                let octet = block.get(at).copied().unwrap_or_default();
                at += 1;
                match octet {
                    b'\n' => return Ok(value),
                    b'0'..=b'9' => {
                        let shifted = value.unwrap_or(0u64).checked_mul(10);
                        value = shifted.and_then(|value| value.checked_add(u64::from(octet - b'0')));
                        if value.is_none() {
                            return Ok(None);
                        }
                    }
                    _ => return Ok(None),
                }
            }
        };
        let Some(count) = number()?.filter(|count| *count <= PARTS as u64) else { return Ok(None) };
        self.numbers.clear();
        for _ in 0..count * 2 {
            let Some(next) = number()? else { return Ok(None) };
            self.numbers.push(next);
        }
        Ok(Some(read))
    }
}

/// A file with its holes, which are NULs.
pub(super) struct Holes<'b> {
    body: &'b mut dyn Read,
    /// What is there, from and to.
    parts: VecDeque<(u64, u64)>,
    at: u64,
    size: u64,
}

impl Read for Holes<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.parts.front().is_some_and(|(_, to)| *to <= self.at) {
            self.parts.pop_front();
        }
        let part = self.parts.front().copied();
        let (is_hole, to) = match part {
            Some((from, to)) if from <= self.at => (false, to),
            Some((from, _)) => (true, from),
            None => (true, self.size),
        };
        let most = usize::try_from(to.saturating_sub(self.at)).unwrap_or(usize::MAX).min(buffer.len());
        let piece = buffer.get_mut(..most).unwrap_or_default();
        if piece.is_empty() {
            return Ok(0);
        }
        let count = match is_hole {
            true => {
                piece.fill(0);
                most
            }
            false => self.body.read(piece)?,
        };
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.at += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(records: &[(&str, &str)]) -> Facts {
        let mut facts = Facts::default();
        records.iter().for_each(|(key, value)| {
            facts.record(format!("GNU.sparse.{key}").as_bytes(), value.as_bytes());
        });
        facts
    }

    fn read(facts: Facts, mut body: &[u8]) -> Option<Vec<u8>> {
        let length = body.len() as u64;
        let mut holes = facts.open(&mut body, length).unwrap()?;
        let mut read = Vec::new();
        holes.read_to_end(&mut read).unwrap();
        Some(read)
    }

    #[test]
    fn three_versions_make_one_file() {
        let pairs = [("size", "9"), ("offset", "2"), ("numbytes", "3"), ("offset", "7"), ("numbytes", "1")];
        let wanted = Some(b"\0\0abc\0\0d\0".to_vec());
        assert_eq!(read(facts(&pairs), b"abcd"), wanted);
        assert_eq!(read(facts(&[("size", "9"), ("map", "2,3,7,1"), ("name", "n")]), b"abcd"), wanted);
        let mut body = b"2\n2\n3\n7\n1\n".to_vec();
        body.resize(BLOCK, 0);
        body.extend(b"abcd");
        assert_eq!(read(facts(&[("major", "1"), ("minor", "0"), ("realsize", "9")]), &body), wanted);
    }

    #[test]
    fn lists_that_do_not_add_up() {
        for map in ["2,3,4,1", "2,3,9,1", "2,3,7", "2,3", "2,3,7,2", "a,3,7,1", "18446744073709551615,4"] {
            assert_eq!(read(facts(&[("size", "9"), ("map", map)]), b"abcd"), None, "{map}");
        }
        assert_eq!(read(facts(&[("map", "0,4")]), b"abcd"), None);
        for list in ["x", "99999999\n", "1\n\n4\n", "99999999999999999999999\n"] {
            let mut body = list.as_bytes().to_vec();
            body.resize(BLOCK, 0);
            body.extend(b"abcd");
            assert_eq!(read(facts(&[("major", "1"), ("realsize", "4")]), &body), None, "{list}");
        }
    }
}
