//! A message as Apple Mail keeps it: its length in the first line, then its bytes, then a property list with its flags
//! and its date. It refuses a message that does not end where the first line says: fewer bytes are there, or more
//! follow that are no list.

use std::io::{self, Read};

use super::damaged;
use super::letter::Letter;
use crate::message::Flags;

/// Bytes of the first line, and of the property list.
const LINE: usize = 64;
const LIST: u64 = 256 * 1024;
/// What a property list begins with.
const LISTS: [&[u8]; 4] = [b"<?xml", b"<!DOCTYPE plist", b"<plist", b"bplist"];

/// Reads the first line: the bytes of the message.
pub(super) fn length(source: &mut dyn Read) -> io::Result<u64> {
    let (mut line, mut octet) = (Vec::new(), [0; 1]);
    // Octet by octet: the message begins right behind it.
    while line.len() < LINE {
        source.read_exact(&mut octet)?;
        if octet == *b"\n" {
            break;
        }
        line.extend(octet);
    }
    let text = String::from_utf8_lossy(&line);
    text.trim().parse().map_err(|_| damaged("its first line does not say how long the message is"))
}

/// Reads what stands behind the message: a property list, or nothing. Anything else: the message does not end there.
pub(super) fn facts(source: &mut dyn Read, letter: &mut Letter) -> io::Result<()> {
    let mut list = Vec::new();
    source.take(LIST).read_to_end(&mut list)?;
    let begins = list.trim_ascii_start();
    if !begins.is_empty() && !LISTS.iter().any(|with| begins.starts_with(with)) {
        return Err(damaged("the message does not end where its first line says"));
    }
    let text = String::from_utf8_lossy(&list);
    if let Some(bits) = number(&text, "flags") {
        let bit = |at: u32| bits >> at & 1 != 0;
        letter.flags = Flags {
            seen: bit(0),
            deleted: bit(1),
            answered: bit(2),
            flagged: bit(4),
            draft: bit(6),
            recent: false,
            keywords: if bit(8) { vec!["$Forwarded".to_owned()] } else { Vec::new() },
        };
    }
    letter.received = number(&text, "date-received").or(letter.received);
    Ok(())
}

/// `<key>NAME</key> <integer>NUMBER</integer>`
fn number(list: &str, name: &str) -> Option<i64> {
    let (_, rest) = list.split_once(&format!("<key>{name}</key>"))?;
    let rest = rest.trim_start();
    let rest = rest.strip_prefix("<integer>").or_else(|| rest.strip_prefix("<real>"))?;
    let (number, _) = rest.split_once("</")?;
    number.trim().split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_flags_and_date() {
        let text = "18        \nSubject: a\n\nhello\n<?xml version=\"1.0\"?>\n<plist><dict>\n<key>date-received</key>\n\
                    <integer>1420070407</integer>\n<key>flags</key>\n<integer>8590195733</integer>\n</dict></plist>\n";
        let mut source = text.as_bytes();
        assert_eq!(length(&mut source).unwrap(), 18);
        let mut letter = Letter::default();
        let (message, mut source) = source.split_at(18);
        assert_eq!(message, b"Subject: a\n\nhello\n");
        facts(&mut source, &mut letter).unwrap();
        assert_eq!(letter.received, Some(1_420_070_407));
        // Its last byte is 0x15: read, answered, flagged. What is above says how many parts it has.
        assert!(letter.flags.seen && letter.flags.answered && letter.flags.flagged && !letter.flags.deleted);
        assert!(length(&mut &b"x\n"[..]).is_err());
        for (rest, ends) in
            [("", true), ("\n", true), ("bplist00", true), ("o\n<?xml", false), ("ine\n", false)]
        {
            assert_eq!(facts(&mut rest.as_bytes(), &mut letter).is_ok(), ends, "{rest:?}");
        }
    }
}
