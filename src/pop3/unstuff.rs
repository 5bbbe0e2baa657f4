//! The body of a multi-line response (RFC 1939, 3), octet by octet from wherever it is split: the doubled
//! dots are undone, the dot that ends it is taken away, everything else is kept as it came.
//!
//! It refuses to see a line end in a bare LF, unless the response's first line ended in one too. Else a
//! message holding LF "." CRLF could end itself early on a server that passes it through, and write the
//! server's next replies.

use memchr::memmem;

/// Where in a line the next octet stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// At the beginning.
    Start,
    /// After a dot at the beginning, which is not passed on.
    Dot,
    /// After such a dot and CR, neither of which is passed on yet.
    DotCr,
    /// After a CR.
    Cr,
    /// Anywhere else.
    Middle,
}

/// One body.
#[derive(Debug)]
pub(super) struct Unstuff {
    at: At,
    bare_lf: bool,
}

impl Unstuff {
    /// `bare_lf`: this response's first line ended in LF alone.
    pub(super) fn new(bare_lf: bool) -> Unstuff {
        Unstuff { at: At::Start, bare_lf }
    }

    /// Appends to `out` what belongs to the message; at most one octet more than `input` has. Returns how
    /// much of `input` was used, and whether the body has ended; if it has not, all was used.
    pub(super) fn feed(&mut self, input: &[u8], out: &mut Vec<u8>) -> (usize, bool) {
        let mut rest = input;
        while let Some((&next, tail)) = rest.split_first() {
            match (self.at, next) {
                (At::Start, b'.') => {
                    self.at = At::Dot;
                    rest = tail;
                }
                (At::Dot, b'\r') => {
                    self.at = At::DotCr;
                    rest = tail;
                }
                (At::DotCr, b'\n') => return (input.len() - tail.len(), true),
                (At::Dot, b'\n') if self.bare_lf => return (input.len() - tail.len(), true),
                (At::DotCr, _) => {
                    out.push(b'\r');
                    self.at = At::Cr;
                }
                (At::Cr, b'\n') => {
                    out.push(b'\n');
                    self.at = At::Start;
                    rest = tail;
                }
                (At::Start | At::Dot | At::Cr | At::Middle, _) => rest = self.pass(rest, out),
            }
        }
        (input.len(), false)
    }

    /// Passes on everything before the next dot that could begin a line; the octet before `rest` is no CR.
    fn pass<'a>(&mut self, rest: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
        let end = memmem::find(rest, b"\n.").map_or(rest.len(), |lf| lf + 1);
        let (passed, tail) = rest.split_at_checked(end).unwrap_or((rest, &[]));
        out.extend_from_slice(passed);
        self.at = match passed {
            [.., b'\r', b'\n'] => At::Start,
            [.., b'\n'] if self.bare_lf => At::Start,
            [.., b'\r'] => At::Cr,
            _ => At::Middle,
        };
        tail
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stuff(message: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut start = true;
        let mut before = 0;
        for &octet in message {
            if start && octet == b'.' {
                out.push(b'.');
            }
            out.push(octet);
            start = before == b'\r' && octet == b'\n';
            before = octet;
        }
        if !start {
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b".\r\n");
        out
    }

    fn undo(bare_lf: bool, pieces: &[&[u8]]) -> (Vec<u8>, usize, bool) {
        let (mut unstuff, mut out, mut used) = (Unstuff::new(bare_lf), Vec::new(), 0);
        for piece in pieces {
            let (more, ended) = unstuff.feed(piece, &mut out);
            used += more;
            if ended {
                return (out, used, true);
            }
        }
        (out, used, false)
    }

    fn message() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(prop::sample::select(b".\r\nab\0\xff".to_vec()), 0..60)
    }

    proptest! {
        #[test]
        fn unstuffing_undoes_stuffing(message in message(), cut in 0usize..100) {
            let mut wire = stuff(&message);
            let end = wire.len();
            wire.extend_from_slice(b"+OK next");
            let (a, b) = wire.split_at(cut.min(end));
            let (got, used, ended) = undo(false, &[a, b]);
            prop_assert!(ended);
            prop_assert_eq!(used, end);
            let mut want = message;
            if !want.ends_with(b"\r\n") && !want.is_empty() {
                want.extend_from_slice(b"\r\n");
            }
            prop_assert_eq!(got, want);
        }

        #[test]
        fn it_does_not_matter_where_octets_are_split(wire in message(), bare_lf in any::<bool>()) {
            let whole = undo(bare_lf, &[&wire]);
            let pieces: Vec<&[u8]> = wire.chunks(1).collect();
            prop_assert_eq!(undo(bare_lf, &pieces), whole);
        }
    }

    #[test]
    fn ends_and_dots() {
        let whole = |bare_lf, wire: &[u8]| undo(bare_lf, &[wire]);
        assert_eq!(whole(false, b".\r\n"), (b"".to_vec(), 3, true));
        assert_eq!(whole(false, b"a\r\n..b\r\n.\r\n").0, b"a\r\n.b\r\n");
        assert_eq!(whole(true, b"a\n..b\n.\n").0, b"a\n.b\n");
        assert!(whole(true, b"a\n.\r\n").2);
        // A message that tries to end itself on a server with proper line ends.
        assert_eq!(whole(false, b"a\n.\r\n.\n\r\n.\r\n").0, b"a\n.\r\n\n\r\n");
        assert_eq!(whole(false, b".\r.\r\n.\r\n").0, b"\r.\r\n");
    }
}
