//! Line ends as a Maildir keeps them. Mail comes with CRLF; a Maildir holds LF, and a server that reads it
//! gives CRLF again. That is octet for octet the same only if the message has no line feed without its
//! carriage return and no second carriage return before one: such a message is kept exactly as it came.

/// Turns CRLF into LF as octets pass, and notices when that could not be undone.
#[derive(Debug, Default)]
pub struct Lines {
    /// Carriage returns at the end of the last chunk, not written yet.
    held: usize,
    /// Line feeds so far, to know the size that a server will report.
    line_feeds: u64,
    /// Line feeds without a carriage return, met after the conversion was given up.
    bare: u64,
    raw: bool,
    last: u8,
}

impl Lines {
    /// Appends what is to be stored of `data` to `out`. `Err` at the first octet that makes the conversion
    /// irreversible: what was stored so far must be [`expand`]ed in place, then the rest given to
    /// [`Lines::push`] again, which keeps it as it is.
    pub fn push<'d>(&mut self, data: &'d [u8], out: &mut Vec<u8>) -> Result<(), &'d [u8]> {
        if self.raw {
            self.push_raw(data, out);
            return Ok(());
        }
        let mut rest = data;
        while !rest.is_empty() {
            let Some(at) = memchr::memchr(b'\n', rest) else {
                let keep = rest.len() - trailing_returns(rest);
                if keep > 0 {
                    self.release(out);
                }
                let (body, returns) = rest.split_at(keep);
                out.extend_from_slice(body);
                self.held += returns.len();
                return Ok(());
            };
            let (line, _) = rest.split_at(at);
            let own = trailing_returns(line);
            let returns = if own == line.len() { own + self.held } else { own };
            if returns != 1 {
                self.raw = true;
                return Err(rest);
            }
            if own < line.len() {
                self.release(out);
            }
            self.held = 0;
            out.extend_from_slice(line.get(..line.len() - own).unwrap_or_default());
            out.push(b'\n');
            self.line_feeds += 1;
            rest = rest.get(at + 1..).unwrap_or_default();
        }
        Ok(())
    }

    /// Writes what was held back at the end of the message.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        self.release(out);
    }

    /// The size with CRLF line ends, as a server reports it, of a message stored in `stored` octets.
    pub fn wire_size(&self, stored: u64) -> u64 {
        stored + if self.raw { self.bare } else { self.line_feeds }
    }

    fn release(&mut self, out: &mut Vec<u8>) {
        out.extend(std::iter::repeat_n(b'\r', std::mem::take(&mut self.held)));
    }

    fn push_raw(&mut self, data: &[u8], out: &mut Vec<u8>) {
        let mut before = if self.held > 0 { b'\r' } else { self.last };
        self.release(out);
        for &byte in data {
            if byte == b'\n' && before != b'\r' {
                self.bare += 1;
            }
            before = byte;
        }
        self.last = before;
        out.extend_from_slice(data);
    }
}

fn trailing_returns(data: &[u8]) -> usize {
    data.iter().rev().take_while(|&&b| b == b'\r').count()
}

/// Undoes the conversion of `stored`.
pub fn expand(stored: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(stored.len() + stored.len() / 32);
    let mut rest = stored;
    while let Some(at) = memchr::memchr(b'\n', rest) {
        out.extend_from_slice(rest.get(..at).unwrap_or_default());
        out.extend_from_slice(b"\r\n");
        rest = rest.get(at + 1..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn store(chunks: &[Vec<u8>]) -> (Vec<u8>, Lines) {
        let (mut lines, mut out) = (Lines::default(), Vec::new());
        for chunk in chunks {
            if let Err(rest) = lines.push(chunk, &mut out) {
                let rest = rest.to_vec();
                out = expand(&out);
                lines.push(&rest, &mut out).expect("raw takes everything");
            }
        }
        lines.finish(&mut out);
        (out, lines)
    }

    /// What a server makes of a stored message: every LF gets its CR.
    fn serve(stored: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        for (i, &b) in stored.iter().enumerate() {
            if b == b'\n' && (i == 0 || stored[i - 1] != b'\r') {
                out.push(b'\r');
            }
            out.push(b);
        }
        out
    }

    proptest! {
        #[test]
        fn a_server_gives_back_what_came(
            parts in prop::collection::vec(prop::collection::vec(
                prop::sample::select(b"ab\r\n".to_vec()), 0..12), 0..8),
        ) {
            let whole: Vec<u8> = parts.concat();
            let (stored, lines) = store(&parts);
            let (at_once, _) = store(std::slice::from_ref(&whole));
            prop_assert_eq!(&stored, &at_once, "chunks must not matter");
            prop_assert_eq!(lines.wire_size(stored.len() as u64), serve(&stored).len() as u64);
            let bare = whole.iter().enumerate().any(|(i, &b)| b == b'\n' && (i == 0 || whole[i - 1] != b'\r'));
            if bare {
                prop_assert_eq!(stored, whole, "kept exactly as it came");
            } else {
                prop_assert_eq!(serve(&stored), whole);
            }
        }
    }

    #[test]
    fn a_return_long_ago_does_not_hide_a_bare_line_feed() {
        let (stored, lines) = store(&[b"\r".to_vec(), b"a\r\n\n".to_vec()]);
        assert_eq!((stored.as_slice(), lines.wire_size(5)), (&b"\ra\r\n\n"[..], 6));
    }

    #[test]
    fn ordinary_mail_is_kept_with_line_feeds() {
        let (stored, lines) = store(&[b"a: b\r".to_vec(), b"\n\r\nx\r\n".to_vec()]);
        assert_eq!(stored, b"a: b\n\nx\n");
        assert_eq!(lines.wire_size(8), 11);
    }
}
