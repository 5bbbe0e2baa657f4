//! A tar archive block by block, on its way to its reader, which believes less than GNU tar and Python do. Here a
//! checksum that was made of signed bytes, as old programs made it, becomes the usual one; a volume label, and what else
//! has no bytes, may have no size; a hard link has no bytes. Zero blocks are no end while an entry follows: archives one
//! behind the other are one. It refuses anything else behind the end.

use std::cell::Cell;
use std::io::{self, Read};
use std::rc::Rc;

use super::damaged;

/// Bytes of a block.
pub(super) const BLOCK: usize = 512;
const SIZE: std::ops::Range<usize> = 124..136;
const CHECKSUM: std::ops::Range<usize> = 148..156;
const SORT: usize = 156;
/// Where a sparse file's header, and one that goes on with it, say that one more follows.
const GOES_ON: usize = 482;
const GOES_ON_AGAIN: usize = 504;

/// What a header's checksum is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sum {
    Unsigned,
    /// Bytes count as -128 to 127.
    Signed,
}

/// How the checksum of a header is right; `None`: it is not, or this is no header.
pub(super) fn checksum(block: &[u8]) -> Option<Sum> {
    let block = block.get(..BLOCK).filter(|block| block.first() != Some(&0))?;
    let told = block.get(CHECKSUM).and_then(|field| std::str::from_utf8(field).ok())?;
    let told = i64::from_str_radix(told.trim_matches(['\0', ' ']), 8).ok()?;
    let sum = |value: fn(u8) -> i64| -> i64 {
        let octets = block.iter().enumerate();
        octets.map(|(at, octet)| if CHECKSUM.contains(&at) { 32 } else { value(*octet) }).sum()
    };
    if told == sum(i64::from) {
        return Some(Sum::Unsigned);
    }
    (told == sum(|octet| i64::from(octet.cast_signed()))).then_some(Sum::Signed)
}

/// The blocks of one archive.
pub(super) struct Blocks<R> {
    source: R,
    /// A block that was looked at, and what of it is not yet given.
    block: [u8; BLOCK],
    given: usize,
    state: State,
    /// The records of the next entry, while they come.
    records: Option<Vec<u8>>,
    /// The size that they tell.
    told: Option<u64>,
    zeros: bool,
    ended: Rc<Cell<bool>>,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Header,
    /// More of a sparse file's header, then so many bytes.
    Goes(u64),
    /// So many bytes, with what fills their last block.
    Data(u64),
}

impl<R: Read> Blocks<R> {
    /// `ended` says whether the archive had its end, once there are no more blocks.
    pub(super) fn new(source: R, ended: Rc<Cell<bool>>) -> Blocks<R> {
        Blocks {
            source,
            block: [0; BLOCK],
            given: BLOCK,
            state: State::Header,
            records: None,
            told: None,
            zeros: false,
            ended,
        }
    }

    /// The next block of the source; `false`: there is no more, or only NULs.
    fn fill(&mut self) -> io::Result<bool> {
        let mut filled = 0;
        while let Some(rest) = self.block.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.source.read(rest) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        let blank = self.block.iter().take(filled).all(|octet| *octet == 0);
        match filled {
            BLOCK => Ok(true),
            0 => Ok(false),
            _ if blank && self.zeros => Ok(false),
            _ if self.zeros => Err(behind()),
            _ => Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the tar archive ends in the middle of an entry",
            )),
        }
    }

    /// The header of the next entry into the block; `false`: there is none.
    fn header(&mut self) -> io::Result<bool> {
        loop {
            if !self.fill()? {
                self.ended.set(self.zeros);
                return Ok(false);
            }
            if self.block.iter().any(|octet| *octet != 0) {
                break;
            }
            self.zeros = true;
        }
        let Some(sum) = checksum(&self.block) else {
            return Err(if self.zeros {
                behind()
            } else {
                damaged("the tar archive is damaged: a header's checksum is wrong")
            });
        };
        self.zeros = false;
        let sort = self.block.get(SORT).copied().unwrap_or_default();
        let blank =
            self.block.get(SIZE).is_some_and(|field| field.iter().all(|octet| matches!(octet, 0 | b' ')));
        let bodiless = matches!(sort, b'1'..=b'6' | b'V');
        let mended = sort == b'1' || bodiless && blank;
        if mended && let Some(field) = self.block.get_mut(SIZE) {
            field.copy_from_slice(b"00000000000\0");
        }
        if mended || sum == Sum::Signed {
            self.sign();
        }
        self.state = self.behind_header(sort);
        Ok(true)
    }

    /// Gives the block the usual checksum.
    fn sign(&mut self) {
        let octets = self.block.iter().enumerate();
        let sum: u32 =
            octets.map(|(at, octet)| if CHECKSUM.contains(&at) { 32 } else { u32::from(*octet) }).sum();
        if let Some(field) = self.block.get_mut(CHECKSUM) {
            field.copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
    }

    /// What follows a header.
    fn behind_header(&mut self, sort: u8) -> State {
        // Its reader refuses a size that is no number.
        let Ok(size) = tar::Header::from_byte_slice(&self.block).entry_size() else { return State::Header };
        let header = tar::Header::from_byte_slice(&self.block);
        let known = header.as_ustar().is_some() || header.as_gnu().is_some();
        let sparse = header.as_gnu().is_some() && sort == b'S';
        if matches!(sort, b'x' | b'g' | b'L' | b'K') {
            if sort == b'x' && known && size > 0 {
                self.records = Some(Vec::new());
            }
            return whole(size);
        }
        let size = self.told.take().unwrap_or(size);
        match sparse && self.block.get(GOES_ON) == Some(&1) {
            true => State::Goes(size),
            false => whole(size),
        }
    }

    /// The records of an entry are complete.
    fn recorded(&mut self) {
        if let Some(records) = self.records.take() {
            let mut sizes =
                tar::PaxExtensions::new(&records).flatten().filter(|record| record.key_bytes() == b"size");
            self.told = sizes.next().and_then(|record| record.value().ok()?.parse().ok());
        }
    }
}

fn whole(size: u64) -> State {
    match size.checked_next_multiple_of(BLOCK as u64) {
        None | Some(0) => State::Header,
        Some(size) => State::Data(size),
    }
}

fn behind() -> io::Error {
    damaged("something that is no entry stands behind the end of the tar archive, and is not read")
}

impl<R: Read> Read for Blocks<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        if self.given >= BLOCK {
            match self.state {
                State::Data(left) => {
                    let most = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
                    let part = buffer.get_mut(..most).unwrap_or_default();
                    let count = self.source.read(part)?;
                    if let Some(records) = &mut self.records {
                        records.extend_from_slice(part.get(..count).unwrap_or_default());
                    }
                    let left = left.saturating_sub(count as u64);
                    self.state = if left == 0 { State::Header } else { State::Data(left) };
                    if left == 0 {
                        self.recorded();
                    }
                    return Ok(count);
                }
                State::Goes(size) => {
                    if !self.fill()? {
                        return Ok(0);
                    }
                    if self.block.get(GOES_ON_AGAIN) != Some(&1) {
                        self.state = whole(size);
                    }
                }
                State::Header => {
                    if !self.header()? {
                        return Ok(0);
                    }
                }
            }
            self.given = 0;
        }
        let rest = self.block.get(self.given..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..count), rest.get(..count)) {
            to.copy_from_slice(from);
        }
        self.given += count;
        Ok(count)
    }
}
