//! Line ends as a Maildir keeps them: whatever comes, in whatever pieces, a server that reads the file gives
//! it back, octet for octet, or it was kept as it came.

use mailhaul::destination::lines::{Lines, expand};

/// Octet 1: the size of pieces; then the message.
pub fn run(data: &[u8]) {
    let [piece, message @ ..] = data else { return };
    let (stored, size) = store(message, message.len().max(1));
    assert_eq!(store(message, usize::from(*piece) + 1), (stored.clone(), size), "pieces must not matter");
    let served = serve(&stored);
    assert_eq!(size, served.len() as u64, "the size that a server reports");
    let bare = message
        .iter()
        .enumerate()
        .any(|(at, &octet)| octet == b'\n' && (at == 0 || message[at - 1] != b'\r'));
    if bare {
        assert_eq!(stored, message, "kept as it came");
    } else {
        assert_eq!(served, message, "given back as it came");
    }
}

fn store(message: &[u8], piece: usize) -> (Vec<u8>, u64) {
    let (mut lines, mut out) = (Lines::default(), Vec::new());
    for chunk in message.chunks(piece) {
        if let Err(rest) = lines.push(chunk, &mut out) {
            let rest = rest.to_vec();
            out = expand(&out);
            assert!(lines.push(&rest, &mut out).is_ok(), "once given up, everything is taken");
        }
    }
    lines.finish(&mut out);
    let size = lines.wire_size(out.len() as u64);
    (out, size)
}

/// What a server makes of a stored message: every LF gets its CR.
fn serve(stored: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut before = 0;
    for &octet in stored {
        if octet == b'\n' && before != b'\r' {
            out.push(b'\r');
        }
        out.push(octet);
        before = octet;
    }
    out
}
