//! Octets that are compressed with gzip, bzip2, xz or zstd, read as what they were before: single files, archives, and
//! messages in a Maildir that Dovecot compresses. Their first octets say how, never a name. It refuses a window of more
//! than 128 MiB, so memory is bounded whatever a header claims.

mod members;
mod message;
mod zstd;

use std::io::{self, BufRead, Read};

use members::{Behind, Members};
pub use message::Message;

/// So many octets tell how something is compressed.
pub const HEAD: usize = 16;

/// A larger window is not made; octets. `xz -9` asks for 64 MiB, `zstd --ultra -22` for 128.
/// A fuzzer tries many headers, and clears a window for each.
const WINDOW: u32 = if cfg!(fuzzing) { 1 << 20 } else { 128 << 20 };

/// How octets are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// RFC 1952.
    Gzip,
    /// bzip2, by the magic number of its first block.
    Bzip2,
    /// The .xz format, 1.2.
    Xz,
    /// RFC 8878.
    Zstd,
}

/// What the first octets say; `None`: they are not compressed.
pub fn method(head: &[u8]) -> Option<Method> {
    const BZIP2: [&[u8]; 2] = [&[0x31, 0x41, 0x59, 0x26, 0x53, 0x59], &[0x17, 0x72, 0x45, 0x38, 0x50, 0x90]];
    if head.starts_with(&[0x1f, 0x8b, 8]) {
        return Some(Method::Gzip);
    }
    if head.starts_with(&[0xfd, b'7', b'z', b'X', b'Z', 0]) {
        return Some(Method::Xz);
    }
    if head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        return Some(Method::Zstd);
    }
    // A message may begin with the letters: what follows them does not occur in text.
    let digit = head.get(3).is_some_and(|digit| (b'1'..=b'9').contains(digit));
    let block = head.get(4..).is_some_and(|rest| BZIP2.iter().any(|magic| rest.starts_with(magic)));
    (head.starts_with(b"BZh") && digit && block).then_some(Method::Bzip2)
}

/// What `input` was before it was compressed, with all members one behind the other. NULs behind them are padding.
///
/// Reading fails with `InvalidData` or `UnexpectedEof` if the octets are damaged, cut off, or need more memory than is
/// given. What was read before is good. It fails where something else stands behind the last member, too: then
/// [`is_behind`] says so, and everything was read.
pub fn decoder<'r>(method: Method, input: impl BufRead + 'r) -> Box<dyn Read + 'r> {
    match method {
        Method::Gzip => Box::new(Told(Members::new(input, method), "gzip")),
        Method::Bzip2 => Box::new(Told(Members::new(input, method), "bzip2")),
        Method::Xz => Box::new(Told(Members::new(input, method), "xz")),
        Method::Zstd => Box::new(Told(zstd::Frames::new(input, u64::from(WINDOW)), "zstd")),
    }
}

/// Whether a decoder failed only for what stands behind all that was compressed.
pub fn is_behind(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<Behind>())
}

/// A decoder whose errors are of a kind that says: the octets are no good.
struct Told<R>(R, &'static str);

impl<R: Read> Read for Told<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer).map_err(|e| match e.kind() {
            io::ErrorKind::Interrupted => e,
            _ if is_behind(&e) => e,
            io::ErrorKind::UnexpectedEof => {
                io::Error::new(e.kind(), format!("what {} compressed is cut off", self.1))
            }
            io::ErrorKind::OutOfMemory => {
                let limit = WINDOW >> 20;
                let words = format!("{} compressed it with a window of more than {limit} MiB", self.1);
                io::Error::new(io::ErrorKind::InvalidData, words)
            }
            _ => {
                let words = format!("what {} compressed is damaged: {e}", self.1);
                io::Error::new(io::ErrorKind::InvalidData, words)
            }
        })
    }
}

#[cfg(test)]
mod tests;
