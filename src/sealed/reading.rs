//! Secrets from files and pipes, read so that no copy stays behind. It refuses to grow memory.

use std::io::{self, Read};

use zeroize::Zeroizing;

/// Reads at most so many octets into one piece of memory that is zeroed. What the standard library reads to an end
/// leaves copies behind: in memory that was too small, and on the stack.
///
/// # Errors
/// Those of the reader.
pub fn read(mut from: impl Read, most: u64) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut octets = Zeroizing::new(vec![0; usize::try_from(most).unwrap_or(usize::MAX)]);
    let mut filled = 0;
    while let Some(free) = octets.get_mut(filled..).filter(|free| !free.is_empty()) {
        match from.read(free) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    octets.truncate(filled);
    Ok(octets)
}
