//! Modified UTF-7, the encoding of folder names in IMAP (RFC 3501, 5.1.3) and on disk in Maildir++.
//! Decoding is strict: a name that is not exactly what the encoder would write is refused, so that no two
//! wire names ever mean the same folder here. It never panics, whatever comes.

/// Decodes a wire name. `None`: it is not valid modified UTF-7.
pub fn decode(name: &[u8]) -> Option<String> {
    let mut out = String::with_capacity(name.len());
    let mut rest = name;
    while let Some((&byte, tail)) = rest.split_first() {
        match byte {
            b'&' => {
                let end = memchr::memchr(b'-', tail)?;
                let (run, after) = tail.split_at(end);
                if run.is_empty() {
                    out.push('&');
                } else {
                    decode_run(run, &mut out)?;
                }
                rest = after.get(1..)?;
            }
            0x20..=0x7e => {
                out.push(char::from(byte));
                rest = tail;
            }
            _ => return None,
        }
    }
    // Overlong or unjoined runs decode too; only the one canonical spelling is accepted.
    (encode(&out).as_bytes() == name).then_some(out)
}

/// Encodes a name for the wire.
pub fn encode(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut run: Vec<u16> = Vec::new();
    for c in name.chars() {
        if matches!(c, ' '..='~') {
            flush(&mut run, &mut out);
            out.push(c);
            if c == '&' {
                out.push('-');
            }
        } else {
            run.extend_from_slice(c.encode_utf16(&mut [0; 2]));
        }
    }
    flush(&mut run, &mut out);
    out
}

/// The longest beginning of `name` that has at most `longest` octets when it is encoded.
pub fn prefix(name: &str, longest: usize) -> &str {
    // A run of sixteen-bit units stands between `&` and `-`, six bits a digit.
    let octets = |units: usize| if units == 0 { 0 } else { 2 + (units * 16).div_ceil(6) };
    let (mut closed, mut units) = (0, 0);
    for (at, c) in name.char_indices() {
        if matches!(c, ' '..='~') {
            closed += octets(units) + if c == '&' { 2 } else { 1 };
            units = 0;
        } else {
            units += c.len_utf16();
        }
        if closed + octets(units) > longest {
            return name.get(..at).unwrap_or_default();
        }
    }
    name
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,";

fn flush(run: &mut Vec<u16>, out: &mut String) {
    if run.is_empty() {
        return;
    }
    out.push('&');
    let (mut bits, mut held) = (0u32, 0u32);
    for unit in run.drain(..) {
        bits = (bits << 16) | u32::from(unit);
        held += 16;
        while held >= 6 {
            held -= 6;
            push_digit(bits >> held, out);
        }
        bits &= (1 << held) - 1;
    }
    if held > 0 {
        push_digit(bits << (6 - held), out);
    }
    out.push('-');
}

fn push_digit(value: u32, out: &mut String) {
    let index = usize::try_from(value & 63).unwrap_or(0);
    out.push(char::from(ALPHABET.get(index).copied().unwrap_or(b'A')));
}

fn decode_run(run: &[u8], out: &mut String) -> Option<()> {
    let (mut bits, mut held) = (0u32, 0u32);
    let mut units = Vec::with_capacity(run.len() * 6 / 16 + 1);
    for &digit in run {
        let value = ALPHABET.iter().position(|&d| d == digit)?;
        bits = (bits << 6) | u32::try_from(value).ok()?;
        held += 6;
        if held >= 16 {
            held -= 16;
            units.push(u16::try_from((bits >> held) & 0xffff).ok()?);
            bits &= (1 << held) - 1;
        }
    }
    for c in char::decode_utf16(units) {
        out.push(c.ok()?);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_names() {
        for (wire, name) in [
            ("INBOX", "INBOX"),
            ("Entw&APw-rfe", "Entwürfe"),
            ("&-", "&"),
            ("~peter/mail/&U,BTFw-/&ZeVnLIqe-", "~peter/mail/台北/日本語"),
            ("&vPSwuNO4ycDVaA-", "보낸편지함"),
            ("&2D3eAA-", "😀"),
        ] {
            assert_eq!(decode(wire.as_bytes()).as_deref(), Some(name));
            assert_eq!(encode(name), wire);
        }
    }

    #[test]
    fn what_is_not_canonical_is_refused() {
        for wire in ["&", "&A", "&AGE-", "&!!!-", "a\x01b", "\u{fc}", "&2D0-", "&AOQ-&AOQ-", "&AA-"] {
            assert_eq!(decode(wire.as_bytes()), None, "{wire}");
        }
    }

    proptest! {
        #[test]
        fn every_name_comes_back(name in "\\PC*|[\\x00-\\x{2ff}&-]*") {
            let wire = encode(&name);
            prop_assert!(wire.bytes().all(|b| (0x20..=0x7e).contains(&b)));
            prop_assert_eq!(decode(wire.as_bytes()), Some(name));
        }

        #[test]
        fn a_prefix_is_as_long_as_may_be(name in "\\PC{0,40}|[a&é\u{1f4e7}]{0,40}", longest in 0usize..90) {
            let fits = |text: &str| encode(text).len() <= longest;
            let model = name.char_indices().map(|(at, c)| at + c.len_utf8()).rfind(|end| fits(&name[..*end]));
            prop_assert_eq!(prefix(&name, longest), &name[..model.unwrap_or(0)]);
        }

        #[test]
        fn no_octets_panic(wire in prop::collection::vec(any::<u8>(), 0..60)) {
            if let Some(name) = decode(&wire) {
                prop_assert_eq!(encode(&name).into_bytes(), wire);
            }
        }
    }
}
