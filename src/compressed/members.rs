//! Members one behind the other: gzip, bzip2 and xz compress a file that is appended to member by member. NULs behind
//! one are padding, of tapes and disks. It refuses to end silently where something else stands behind one.

use std::fmt;
use std::io::{self, BufRead, Read};

use bzip2::bufread::BzDecoder;
use flate2::bufread::GzDecoder;
use lzma_rust2::XzReader;

use super::{HEAD, Method, WINDOW, method};

/// Something that is not compressed stands behind what is. All that was compressed came before this is said.
#[derive(Debug)]
pub(super) struct Behind;

impl fmt::Display for Behind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("something stands behind it that is not compressed, and is not read")
    }
}

impl std::error::Error for Behind {}

/// A reader whose next bytes can be looked at.
pub(super) struct Ahead<R> {
    seen: Vec<u8>,
    at: usize,
    input: R,
}

impl<R: BufRead> Ahead<R> {
    pub(super) fn new(input: R) -> Ahead<R> {
        Ahead { seen: Vec::with_capacity(HEAD), at: 0, input }
    }

    /// Up to `HEAD` bytes that come next; fewer: there are no more.
    fn look(&mut self) -> io::Result<&[u8]> {
        self.seen.drain(..self.at);
        self.at = 0;
        while self.seen.len() < HEAD {
            let there = match self.input.fill_buf() {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                there => there?,
            };
            let Some(piece) = there.get(..there.len().min(HEAD - self.seen.len())) else { break };
            if piece.is_empty() {
                break;
            }
            let count = piece.len();
            self.seen.extend_from_slice(piece);
            self.input.consume(count);
        }
        Ok(&self.seen)
    }

    /// Whether one more member begins, behind padding; `false`: there is no more.
    ///
    /// Fails with [`Behind`] if something else stands there.
    pub(super) fn begins(&mut self, is_one: impl Fn(&[u8]) -> bool) -> io::Result<bool> {
        loop {
            let there = match self.fill_buf() {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                there => there?,
            };
            let zeros = there.iter().take_while(|octet| **octet == 0).count();
            let (ended, over) = (there.is_empty(), zeros < there.len());
            self.consume(zeros);
            if ended || over {
                break;
            }
        }
        match self.look()? {
            [] => Ok(false),
            head if is_one(head) => Ok(true),
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, Behind)),
        }
    }
}

impl<R: BufRead> BufRead for Ahead<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at < self.seen.len() {
            return Ok(self.seen.get(self.at..).unwrap_or_default());
        }
        self.input.fill_buf()
    }

    fn consume(&mut self, count: usize) {
        let kept = count.min(self.seen.len() - self.at);
        self.at += kept;
        self.input.consume(count - kept);
    }
}

impl<R: BufRead> Read for Ahead<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let there = self.fill_buf()?;
        let count = there.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..count), there.get(..count)) {
            to.copy_from_slice(from);
        }
        self.consume(count);
        Ok(count)
    }
}

/// Reads all members of one method.
pub(super) struct Members<R: BufRead> {
    state: State<Ahead<R>>,
    method: Method,
    begun: bool,
}

enum State<R: BufRead> {
    Between(R),
    Gzip(GzDecoder<R>),
    Bzip2(BzDecoder<R>),
    Xz(Box<XzReader<R>>),
    Over,
    /// It was told why.
    Failed,
}

impl<R: BufRead> State<R> {
    /// Bytes of the member; none: it is over.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            State::Gzip(member) => member.read(buffer),
            State::Bzip2(member) => member.read(buffer),
            State::Xz(member) => member.read(buffer),
            State::Between(_) | State::Over => Ok(0),
            State::Failed => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// What stands behind the member.
    fn rest(self) -> Option<R> {
        match self {
            State::Between(input) => Some(input),
            State::Gzip(member) => Some(member.into_inner()),
            State::Bzip2(member) => Some(member.into_inner()),
            State::Xz(member) => Some(member.into_inner()),
            State::Over | State::Failed => None,
        }
    }
}

impl<R: BufRead> Members<R> {
    /// Reads from `input`, of which the first member was not yet read. `method` is not zstd, which has its own frames.
    pub(super) fn new(input: R, method: Method) -> Members<R> {
        Members { state: State::Between(Ahead::new(input)), method, begun: false }
    }

    fn next_member(&mut self, mut input: Ahead<R>) -> io::Result<State<Ahead<R>>> {
        let own = self.method;
        if std::mem::replace(&mut self.begun, true)
            && !input.begins(|head| {
                own == Method::Bzip2 && head.starts_with(b"BZh") || method(head) == Some(own)
            })?
        {
            return Ok(State::Over);
        }
        Ok(match own {
            Method::Gzip => State::Gzip(GzDecoder::new(input)),
            Method::Bzip2 => State::Bzip2(BzDecoder::new(input)),
            Method::Xz => {
                // Another filter before LZMA2 has no window of its own.
                let most = WINDOW / 1024 + 1024;
                State::Xz(Box::new(XzReader::new_mem_limit(input, false, most)))
            }
            Method::Zstd => State::Over,
        })
    }
}

impl<R: BufRead> Read for Members<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            let count = self.state.read(buffer)?;
            if count > 0 {
                return Ok(count);
            }
            match std::mem::replace(&mut self.state, State::Failed).rest() {
                Some(input) => self.state = self.next_member(input)?,
                None => {
                    self.state = State::Over;
                    return Ok(0);
                }
            }
        }
    }
}
