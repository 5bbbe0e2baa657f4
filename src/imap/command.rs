//! Commands as octets. Names that servers gave are written back only as quoted strings; what cannot stand
//! in one is refused, so no name ever breaks out of its command.

use crate::message::UidSet;

/// A quoted string (RFC 3501, `quoted`; 8-bit octets as RFC 6855 servers send them). `None`: it holds what
/// cannot stand in one: NUL, a carriage return or a line feed.
pub(super) fn quoted(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() + 2);
    out.push(b'"');
    for &byte in text {
        match byte {
            0 | b'\r' | b'\n' => return None,
            b'"' | b'\\' => out.extend([b'\\', byte]),
            byte => out.push(byte),
        }
    }
    out.push(b'"');
    Some(out)
}

/// A set in sets that are short enough for a command line.
pub(super) fn pieces(set: &UidSet) -> Vec<UidSet> {
    let ranges: Vec<(u32, u32)> = set.ranges().collect();
    let piece = |ranges: &[(u32, u32)]| {
        let mut piece = UidSet::new();
        ranges.iter().for_each(|(start, end)| piece.insert_range(*start, *end));
        piece
    };
    ranges.chunks(200).map(piece).collect()
}

/// Two halves of a set, the second one empty if there is only one message; none of an empty set.
pub(super) fn halves(set: &UidSet) -> Vec<UidSet> {
    let half = usize::try_from(set.len().div_ceil(2)).unwrap_or(usize::MAX);
    let (one, other): (UidSet, UidSet) = (set.iter().take(half).collect(), set.iter().skip(half).collect());
    [one, other].into_iter().filter(|half| !half.is_empty()).collect()
}

/// `UID FETCH` of whole messages without setting `\Seen`.
pub(super) fn fetch_bodies(uids: &UidSet) -> String {
    format!("UID FETCH {uids} (UID FLAGS INTERNALDATE BODY.PEEK[])")
}

/// The same for one message without its flags and date.
pub(super) fn fetch_bare(uid: u32) -> String {
    format!("UID FETCH {uid} (UID BODY.PEEK[])")
}

/// The same for a part of one message: `length` octets from `offset` on.
pub(super) fn fetch_part(uid: u32, offset: u64, length: u64) -> String {
    format!("UID FETCH {uid} (UID FLAGS INTERNALDATE BODY.PEEK[]<{offset}.{length}>)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_breaks_out_of_a_quoted_string() {
        assert_eq!(quoted(b"a \"b\" \\c").unwrap(), b"\"a \\\"b\\\" \\\\c\"");
        for bad in [&b"a\r\nA2 DELETE x"[..], b"\0", b"a\nb"] {
            assert_eq!(quoted(bad), None);
        }
    }

    #[test]
    fn halves_end_with_single_messages() {
        let mut todo = vec![(1..=200).collect::<UidSet>()];
        let mut singles = UidSet::new();
        let mut commands = 0;
        while let Some(set) = todo.pop() {
            commands += 1;
            if set.len() == 1 {
                singles.extend(&set);
            } else {
                todo.extend(halves(&set));
            }
        }
        assert_eq!((singles.len(), commands), (200, 399));
        assert!(halves(&UidSet::new()).is_empty());
    }
}
