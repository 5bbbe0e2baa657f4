//! One answer of the server: a code and its lines (RFC 5321, 4.2). It refuses answers without end, lines
//! without end, and codes that are none.

use crate::failure::{Failure, Kind};

/// A line may have so many octets; RFC 5321, 4.5.3.1.5, wants 512.
const LONGEST: usize = 4096;
/// An answer may have so many lines.
const LINES: usize = 128;
/// So much of what a server says is quoted; characters.
const QUOTED: usize = 250;

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reply {
    /// From 200 to 599.
    pub(super) code: u16,
    /// What follows the codes, line by line, printable.
    pub(super) lines: Vec<String>,
}

impl Reply {
    /// The first answer in `input`, and how many octets it takes; `None`: it is not complete.
    ///
    /// # Errors
    /// It is no answer.
    pub(super) fn parse(input: &[u8]) -> Result<Option<(Reply, usize)>, Failure> {
        let (mut lines, mut used, mut code) = (Vec::new(), 0, None);
        loop {
            let rest = input.get(used..).unwrap_or_default();
            let end = memchr::memchr(b'\n', rest);
            if end.unwrap_or(rest.len()) > LONGEST {
                return Err(broken("it sent a line without end"));
            }
            let Some(end) = end else { return Ok(None) };
            used += end + 1;
            let line = rest.get(..end).unwrap_or_default();
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let (this, more, text) = parts(line).ok_or_else(|| broken("its answer has no code"))?;
            if code.is_some_and(|code| code != this) {
                return Err(broken("the lines of its answer have different codes"));
            }
            code = Some(this);
            lines.push(printable(text));
            if !more {
                return Ok(Some((Reply { code: this, lines }, used)));
            }
            if lines.len() >= LINES {
                return Err(broken("it sent an answer without end"));
            }
        }
    }

    /// The code and the words, for a person.
    pub(super) fn words(&self) -> String {
        let text = self.lines.join(" ");
        format!("{} {text}", self.code).trim_end().chars().take(QUOTED).collect()
    }

    /// The enhanced status code (RFC 3463), without its class.
    pub(super) fn detail(&self) -> Option<(u16, u16)> {
        let mut parts = self.lines.first()?.split(' ').next()?.split('.');
        let class: u16 = parts.next()?.parse().ok()?;
        let found = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        (parts.next().is_none() && class == self.code / 100).then_some(found)
    }
}

/// Code, whether another line follows, and the text.
fn parts(line: &[u8]) -> Option<(u16, bool, &[u8])> {
    let code = std::str::from_utf8(line.get(..3)?).ok()?;
    if !code.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let code = code.parse().ok().filter(|code| (200..600).contains(code))?;
    match line.get(3) {
        None => Some((code, false, b"")),
        Some(b' ') => Some((code, false, line.get(4..)?)),
        Some(b'-') => Some((code, true, line.get(4..)?)),
        Some(_) => None,
    }
}

fn printable(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    text.chars()
        .take(LONGEST)
        .map(|c| if c.is_control() { '?' } else { c })
        .collect::<String>()
        .trim()
        .to_owned()
}

fn broken(why: &str) -> Failure {
    Failure::new(Kind::Protocol, format!("the server broke the protocol: {why}"), "")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Reply {
        let (reply, used) = Reply::parse(text.as_bytes()).unwrap().unwrap();
        assert_eq!(used, text.len());
        reply
    }

    #[test]
    fn what_servers_say() {
        assert_eq!(parse("250\r\n"), Reply { code: 250, lines: vec![String::new()] });
        let lhlo = parse("250-mail.example\r\n250-PIPELINING\r\n250 SIZE 10\r\n");
        assert_eq!(lhlo.lines, ["mail.example", "PIPELINING", "SIZE 10"]);
        let full = parse("552 5.2.2 <alice@example.com> Quota exceeded\r\n");
        assert_eq!((full.code, full.detail()), (552, Some((2, 2))));
        assert_eq!(full.words(), "552 5.2.2 <alice@example.com> Quota exceeded");
        assert_eq!(parse("451 \0\x1b[2Jhm\n").words(), "451 ??[2Jhm");
        for none in ["250 4.2.2 x\r\n", "250 2.1\r\n", "250 2.1.0.0\r\n", "250 a.b.c\r\n"] {
            assert_eq!(parse(none).detail(), None, "{none}");
        }
        for bad in [
            "hello\r\n",
            "25\r\n",
            "\r\n",
            "999 x\r\n",
            "100 x\r\n",
            "250x\r\n",
            "250-a\r\n251 b\r\n",
            "-25 x\r\n",
        ] {
            assert!(Reply::parse(bad.as_bytes()).is_err(), "{bad:?}");
        }
        assert!(Reply::parse("250-a\r\n".repeat(LINES).as_bytes()).is_err());
        assert!(Reply::parse("2".repeat(LONGEST + 1).as_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn nothing_surprises(input in prop::collection::vec(any::<u8>(), 0..200), text in "([2-5][0-9]{2}[ -]\\PC{0,8}\r?\n){0,4}") {
            let _ = Reply::parse(&input);
            if let Ok(Some((reply, used))) = Reply::parse(text.as_bytes()) {
                prop_assert!(used <= text.len());
                let _ = (reply.words(), reply.detail());
                for short in 0..used {
                    prop_assert!(!matches!(Reply::parse(&text.as_bytes()[..short]), Ok(Some(_))));
                }
            }
        }
    }
}
