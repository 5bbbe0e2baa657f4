//! IMAP as a server may speak it: cut into responses, parsed, read. It demands that it does not matter where
//! octets are split, that every body has the octets that were announced, and that nothing exceeds its cap.

use mailhaul::imap::{Heard, replay};

/// Octet 1: the size of pieces; then what the server sends.
pub fn run(data: &[u8]) {
    let [piece, wire @ ..] = data else { return };
    let whole = replay([wire]).map(join);
    let pieces = replay(wire.chunks(usize::from(*piece) + 1)).map(join);
    assert_eq!(pieces, whole, "it matters where octets are split");
    let Ok(heard) = whole else { return };
    let (mut bodies, mut inside, mut octets) = (0, false, 0);
    for one in heard {
        match one {
            Heard::Begin(number) => {
                assert!(!inside, "a body in a body");
                bodies += 1;
                assert_eq!(number, bodies);
                inside = true;
            }
            Heard::Data(data) => {
                assert!(inside);
                octets += data.len();
            }
            Heard::End => {
                assert!(inside);
                inside = false;
            }
            Heard::Response(words) => assert!(!inside && !words.is_empty()),
            Heard::Aside(line) => {
                assert!(!inside && line.ends_with(b"\r\n") && line.len() <= 1 << 20);
                octets += line.len();
            }
        }
    }
    // A bare line feed becomes two octets, a body a token of about forty, and a status that the parser cannot
    // read is put into words.
    let lines = wire.iter().filter(|octet| **octet == b'\n').count();
    assert!(octets <= 2 * wire.len() + 64 * bodies as usize + 16 * lines, "more came out than went in");
}

/// The data of one body put together.
fn join(heard: Vec<Heard>) -> Vec<Heard> {
    let mut joined: Vec<Heard> = Vec::new();
    for one in heard {
        match (joined.last_mut(), one) {
            (Some(Heard::Data(sum)), Heard::Data(more)) => {
                assert!(!more.is_empty() && more.len() <= 64 << 10);
                sum.extend(more);
            }
            (_, one) => joined.push(one),
        }
    }
    joined
}
