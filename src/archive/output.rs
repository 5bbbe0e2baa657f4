//! The caller's file, written where it may be a pipe that nobody reads: writing ends when the work is broken off.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags, poll};
use tokio_util::sync::CancellationToken;

/// So long a pipe is waited for before somebody looks whether the work was broken off; milliseconds.
const LOOK: u16 = 200;
/// What a pipe that is ready takes without waiting (POSIX, PIPE_BUF on Linux); octets.
const PIECE: usize = 4096;

/// The caller's file.
#[derive(Debug)]
pub struct Output {
    file: File,
    regular: bool,
    cancel: CancellationToken,
}

impl Output {
    /// Writes to `file` from where it stands.
    ///
    /// # Errors
    /// It cannot be looked at.
    pub fn new(file: File, cancel: CancellationToken) -> io::Result<Output> {
        Ok(Output { regular: file.metadata()?.is_file(), file, cancel })
    }
}

impl Write for Output {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        loop {
            if self.cancel.is_cancelled() {
                return Err(io::Error::other("the work was broken off"));
            }
            if self.regular {
                return self.file.write(octets);
            }
            let mut asked = [PollFd::new(self.file.as_fd(), PollFlags::POLLOUT)];
            if poll(&mut asked, LOOK)? > 0 {
                return self.file.write(octets.get(..octets.len().min(PIECE)).unwrap_or_default());
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
