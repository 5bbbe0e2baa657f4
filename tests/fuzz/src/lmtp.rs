//! LMTP as a server may speak it: its answers, and what is made of them; and a message as it is sent to it. It
//! demands that it does not matter where octets are split, that nothing is larger than promised, that no message
//! is called taken before the server has said so, and that a message ends where it ends.

use mailhaul::lmtp::{replay, stuffed};

/// Octet 1: the size of pieces; then what the server sends, or the message.
pub fn run(data: &[u8]) {
    let [piece, wire @ ..] = data else { return };
    let piece = usize::from(*piece) + 1;
    let whole = replay([wire]);
    assert_eq!(replay(wire.chunks(piece)), whole, "it matters where octets are split");
    let mut lines = 0;
    for said in &whole.0 {
        assert!((200..600).contains(&said.code) && (1..=128).contains(&said.lines.len()), "{said:?}");
        for line in &said.lines {
            assert!(line.len() <= 3 * 4096 && !line.chars().any(char::is_control), "{line:?}");
        }
        assert!(said.words.starts_with(&said.code.to_string()) && said.words.chars().count() <= 250);
        let (good, asks) = (said.code / 100 == 2, said.code == 354);
        assert_eq!((said.taken, said.goes_on), (good, [good, good, asks]), "{said:?}");
        lines += said.lines.len();
    }
    assert!(lines <= wire.iter().filter(|octet| **octet == b'\n').count(), "more came out than went in");
    arrives(wire, piece);
}

/// A server that takes line feeds for line ends, and one that takes only CRLF, find the same end.
fn arrives(message: &[u8], piece: usize) {
    let sent = stuffed([message]);
    assert_eq!(stuffed(message.chunks(piece)), sent, "it matters where octets are split");
    let body = sent.strip_suffix(b".\r\n").unwrap();
    assert!(body.is_empty() || body.ends_with(b"\r\n"));
    let mut back = Vec::new();
    for line in body.split_inclusive(|octet| *octet == b'\n') {
        assert!(line.ends_with(b"\r\n") && line != b".\r\n" && line != b".\n", "it ends too early");
        back.extend_from_slice(line.strip_prefix(b".").unwrap_or(line));
    }
    let mut want = Vec::new();
    for &octet in message {
        if octet == b'\n' && want.last() != Some(&b'\r') {
            want.push(b'\r');
        }
        want.push(octet);
    }
    if !want.is_empty() && !want.ends_with(b"\n") {
        want.extend_from_slice(b"\r\n");
    }
    assert_eq!(back, want, "a message arrives otherwise");
}
