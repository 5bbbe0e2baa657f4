//! Compressed bytes of any kind: what comes of them is bounded in memory, and ends.

use std::io::{BufReader, Read};

use mailhaul::compressed::{Method, decoder, method};

/// What is read of one input; bytes.
const MOST: u64 = 1 << 20;

/// The first byte chooses how it is read, whatever the others say.
pub fn run(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else { return };
    let how = match first % 5 {
        0 => Method::Gzip,
        1 => Method::Bzip2,
        2 => Method::Xz,
        3 => Method::Zstd,
        _ => match method(rest) {
            Some(method) => method,
            None => return,
        },
    };
    let mut came = Vec::new();
    let done = decoder(how, BufReader::with_capacity(64, rest)).take(MOST).read_to_end(&mut came);
    let failed = done.is_err();
    if let Err(e) = done {
        assert!(!e.to_string().is_empty());
    }
    let mut again = Vec::new();
    let whole = decoder(how, rest).take(MOST).read_to_end(&mut again);
    // Of what is damaged, more or less comes before that is noticed: it may be more than is read.
    let is_cut = [&came, &again].iter().any(|read| read.len() as u64 == MOST);
    assert!(is_cut || failed == whole.is_err(), "how it is cut into reads makes no difference");
    let is_damaged = failed || whole.is_err();
    let common = if is_damaged { came.len().min(again.len()) } else { came.len().max(again.len()) };
    assert_eq!(came.get(..common), again.get(..common), "how it is cut into reads makes no difference");
}
