//! Modified UTF-7 (RFC 3501, 5.1.3): what is decoded is encoded to the same octets, and every text comes back.

use mailhaul::mutf7::{decode, encode};

/// A name on the wire, and the same octets as a text.
pub fn run(data: &[u8]) {
    if let Some(name) = decode(data) {
        assert_eq!(encode(&name).as_bytes(), data, "two spellings of one name");
    }
    let text = String::from_utf8_lossy(data);
    let wire = encode(&text);
    assert!(wire.bytes().all(|octet| (b' '..=b'~').contains(&octet)), "{wire:?}");
    assert_eq!(decode(wire.as_bytes()).as_deref(), Some(&*text));
}
