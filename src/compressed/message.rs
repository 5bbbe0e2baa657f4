//! A message's file in a Maildir: its octets as they were before Dovecot's zlib plugin compressed them, if it did. It
//! is read from its beginning again as often as it takes, and never as a whole in memory. It refuses to go anywhere
//! else in it than to its beginning and its end.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use super::{HEAD, Method, decoder, method};

/// An open message.
pub struct Message {
    file: Arc<File>,
    method: Option<Method>,
    plain: Box<dyn Read>,
    /// Octets, if somebody asked for them before.
    length: Option<u64>,
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Message")
            .field("file", &self.file)
            .field("method", &self.method)
            .finish_non_exhaustive()
    }
}

impl Message {
    /// Reads `file` from its beginning.
    ///
    /// # Errors
    /// It cannot be read, or is no regular file.
    pub fn open(file: File) -> io::Result<Message> {
        let mut head = [0; HEAD];
        let mut filled = 0;
        while let Some(rest) = head.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match file.read_at(rest, filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        let method = method(head.get(..filled).unwrap_or_default());
        let file = Arc::new(file);
        Ok(Message { plain: plain(&file, method), file, method, length: None })
    }

    /// Whether its file has other octets than it has.
    pub fn is_compressed(&self) -> bool {
        self.method.is_some()
    }

    /// Octets as they were before.
    ///
    /// # Errors
    /// It has to be read to its end for that, and cannot be.
    pub fn length(&mut self) -> io::Result<u64> {
        if let Some(length) = self.length {
            return Ok(length);
        }
        let length = match self.method {
            None => self.file.metadata()?.len(),
            Some(_) => io::copy(&mut plain(&self.file, self.method), &mut io::sink())?,
        };
        self.length = Some(length);
        Ok(length)
    }
}

fn plain(file: &Arc<File>, method: Option<Method>) -> Box<dyn Read> {
    let raw = At { file: Arc::clone(file), at: 0 };
    match method {
        None => Box::new(raw),
        Some(method) => decoder(method, BufReader::with_capacity(32 * 1024, raw)),
    }
}

impl Read for Message {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.plain.read(buffer)
    }
}

impl Seek for Message {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        match to {
            SeekFrom::Start(0) => {
                self.plain = plain(&self.file, self.method);
                Ok(0)
            }
            SeekFrom::End(0) => {
                let length = self.length()?;
                self.plain = Box::new(io::empty());
                Ok(length)
            }
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }
}

/// A file from a place on, whoever else reads it.
struct At {
    file: Arc<File>,
    at: u64,
}

impl Read for At {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}
