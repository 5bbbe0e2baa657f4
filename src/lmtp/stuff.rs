//! A message as it travels (RFC 5321, 4.5.2): a line that begins with a dot gets another one. Lone line feeds
//! become line ends, since some servers take them for line ends and others do not, and a dot between two of
//! them would end the message for the former. A last line without an end gets one. Everything else stays as it
//! is, however long a line may be.

/// Turns a message's octets into what is sent.
#[derive(Debug)]
pub(super) struct Stuffer {
    /// At the beginning of a line.
    fresh: bool,
    /// The last octet was a carriage return.
    returned: bool,
}

impl Default for Stuffer {
    fn default() -> Self {
        Stuffer { fresh: true, returned: false }
    }
}

impl Stuffer {
    /// Appends what is to be sent of `data` to `out`.
    pub(super) fn push(&mut self, data: &[u8], out: &mut Vec<u8>) {
        let mut rest = data;
        while let Some(first) = rest.first() {
            if self.fresh && *first == b'.' {
                out.push(b'.');
            }
            let end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
            let (line, tail) = rest.split_at(end);
            if let Some(last) = line.last() {
                out.extend_from_slice(line);
                self.fresh = false;
                self.returned = *last == b'\r';
            }
            rest = tail;
            if let Some(after) = tail.get(1..) {
                if !self.returned {
                    out.push(b'\r');
                }
                out.push(b'\n');
                (self.fresh, self.returned) = (true, false);
                rest = after;
            }
        }
    }

    /// The end of the message.
    pub(super) fn finish(self, out: &mut Vec<u8>) {
        if !self.fresh {
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b".\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stuffed(parts: &[&[u8]]) -> Vec<u8> {
        let (mut stuffer, mut out) = (Stuffer::default(), Vec::new());
        for part in parts {
            stuffer.push(part, &mut out);
        }
        stuffer.finish(&mut out);
        out
    }

    #[test]
    fn dots_and_line_ends() {
        for (message, sent) in [
            (&b""[..], &b".\r\n"[..]),
            (b"a\r\n", b"a\r\n.\r\n"),
            (b"a", b"a\r\n.\r\n"),
            (b".", b"..\r\n.\r\n"),
            (b"a\n.\nb\n", b"a\r\n..\r\nb\r\n.\r\n"),
            (b"a\r\n..b\r\n", b"a\r\n...b\r\n.\r\n"),
            (b"\r.\r", b"\r.\r\r\n.\r\n"),
            (b"a\0\xff\r\r\n", b"a\0\xff\r\r\n.\r\n"),
        ] {
            assert_eq!(stuffed(&[message]), sent, "{message:?}");
        }
    }

    proptest! {
        #[test]
        fn no_message_ends_before_its_end(parts in prop::collection::vec("[.a\r\n]{0,9}", 0..6)) {
            let parts: Vec<&[u8]> = parts.iter().map(|part| part.as_bytes()).collect();
            let sent = stuffed(&parts);
            prop_assert_eq!(&sent, &stuffed(&[&parts.concat()]), "chunks must not matter");
            // However a server reads line feeds, only the last three octets end the message.
            let body = sent.strip_suffix(b".\r\n").unwrap();
            for line in body.split(|octet| *octet == b'\n') {
                prop_assert!(!matches!(line, b"." | b".\r"));
            }
            // What a server makes of it.
            let text = String::from_utf8(body.to_vec()).unwrap();
            let back: String = text.split_inclusive("\r\n").map(|l| l.strip_prefix('.').unwrap_or(l)).collect();
            let mut expected = String::from_utf8(parts.concat()).unwrap().replace("\r\n", "\n").replace('\n', "\r\n");
            if !expected.is_empty() && !expected.ends_with('\n') {
                expected.push_str("\r\n");
            }
            prop_assert_eq!(back, expected);
        }
    }
}
