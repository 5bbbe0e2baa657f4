//! The caller's file, read where it may be a pipe that nobody writes to: reading ends when the work is broken
//! off. It counts what came.

use std::borrow::Borrow;
use std::cell::Cell;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::rc::Rc;

use nix::poll::{PollFd, PollFlags, poll};
use tokio_util::sync::CancellationToken;

/// So long a pipe is waited for before somebody looks whether the work was broken off; milliseconds.
const LOOK: u16 = 200;

/// The caller's file.
#[derive(Debug)]
pub struct Input {
    file: File,
    regular: bool,
    cancel: CancellationToken,
    read: Rc<Cell<u64>>,
}

impl Input {
    /// Reads `file` from where it stands.
    ///
    /// # Errors
    /// It is a directory, or cannot be looked at.
    pub fn new(file: File, cancel: CancellationToken) -> io::Result<Input> {
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        Ok(Input { regular: metadata.is_file(), file, cancel, read: Rc::default() })
    }

    /// The file itself, if it can be read anywhere.
    pub(super) fn regular(&self) -> Option<&File> {
        self.regular.then_some(&self.file)
    }

    /// Octets of the whole file, or as many as came until now.
    pub(super) fn length(&self) -> Length {
        let whole = self.file.metadata().map_or(0, |metadata| metadata.len());
        Length { whole: if self.regular { whole } else { 0 }, read: Rc::clone(&self.read) }
    }
}

/// How long a file is, as far as is known.
#[derive(Debug, Clone)]
pub(super) struct Length {
    whole: u64,
    read: Rc<Cell<u64>>,
}

impl Length {
    pub(super) fn octets(&self) -> u64 {
        self.whole.max(self.read.get())
    }
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.cancel.is_cancelled() {
                return Err(io::Error::other("the work was broken off"));
            }
            if !self.regular {
                let mut asked = [PollFd::new(self.file.as_fd(), PollFlags::POLLIN)];
                if poll(&mut asked, LOOK)? == 0 {
                    continue;
                }
            }
            let count = self.file.read(buffer)?;
            self.read.set(self.read.get() + count as u64);
            return Ok(count);
        }
    }
}

/// A file from a place on, wherever it stands itself.
pub(super) struct At<F> {
    file: F,
    at: u64,
}

impl<F: Borrow<File>> At<F> {
    /// From the byte `at` on.
    pub(super) fn new(file: F, at: u64) -> At<F> {
        At { file, at }
    }
}

impl<F: Borrow<File>> Read for At<F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.borrow().read_at(buffer, self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}
