//! Encoded words (RFC 2047) in charsets that the parser does not know, or not by that name: they are written so that it
//! reads them. It refuses to touch anything else, and changes nothing that is stored.

use std::borrow::Cow;

use base64::alphabet::STANDARD;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, PAD};
use base64::engine::{DecodePaddingMode, Engine as _};

/// Names, and those that the parser knows.
const NAMES: [(&str, &[&str]); 3] = [
    ("euc-kr", &["cp949", "ms949", "uhc", "x-windows-949", "windows949", "ks_c_5601"]),
    ("shift_jis", &["cp932", "windows-932", "cp943", "cp943c", "x-ms-cp932"]),
    ("iso-2022-jp", &["iso-2022-jp-1", "iso-2022-jp-2", "iso-2022-jp-ms", "cp50220", "cp50221", "cp50222"]),
];
/// RFC 1557: what follows it can be had as EUC-KR.
const SEVEN_BIT_KOREAN: [&str; 2] = ["iso-2022-kr", "csiso2022kr"];
const DESIGNATOR: &[u8] = b"\x1b$)C";

/// The header section as the parser can read it.
pub(super) fn readable(head: &[u8]) -> Cow<'_, [u8]> {
    let mut out = Vec::new();
    let (mut copied, mut at) = (0, 0);
    while let Some(found) = head.get(at..).and_then(|rest| memchr::memmem::find(rest, b"=?")) {
        at += found + 2;
        let Some((word, length)) = head.get(at..).and_then(word) else { continue };
        if let Some(other) = word.other() {
            out.extend_from_slice(head.get(copied..at).unwrap_or_default());
            out.extend_from_slice(&other);
            copied = at + length;
        }
        at += length;
    }
    if copied == 0 {
        return Cow::Borrowed(head);
    }
    out.extend_from_slice(head.get(copied..).unwrap_or_default());
    Cow::Owned(out)
}

/// An encoded word without its first two characters.
struct Word<'w> {
    charset: &'w [u8],
    coding: &'w [u8],
    text: &'w [u8],
}

/// With its length, without the `?=` at its end.
fn word(rest: &[u8]) -> Option<(Word<'_>, usize)> {
    let mut parts = rest.splitn(4, |octet| *octet == b'?');
    let (charset, coding, text, tail) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let whole = coding.len() == 1 && charset.len() < 100 && tail.first() == Some(&b'=');
    whole.then(|| (Word { charset, coding, text }, charset.len() + coding.len() + text.len() + 2))
}

impl Word<'_> {
    /// The same as the parser can read it. `None`: it can already, or nobody can.
    fn other(&self) -> Option<Vec<u8>> {
        // RFC 2231, 5: a language may follow.
        let name = self.charset.split(|octet| *octet == b'*').next()?;
        let is = |names: &[&str]| names.iter().any(|other| other.as_bytes().eq_ignore_ascii_case(name));
        if is(&SEVEN_BIT_KOREAN) {
            let korean = eight_bit(&self.octets()?);
            return Some(
                format!("euc-kr?B?{}", base64::prelude::BASE64_STANDARD.encode(korean)).into_bytes(),
            );
        }
        let (known, _) = NAMES.iter().find(|(_, names)| is(names))?;
        Some([known.as_bytes(), b"?", self.coding, b"?", self.text].concat())
    }

    fn octets(&self) -> Option<Vec<u8>> {
        if self.coding.eq_ignore_ascii_case(b"B") {
            let lenient = PAD.with_decode_padding_mode(DecodePaddingMode::Indifferent);
            let lenient: GeneralPurposeConfig = lenient.with_decode_allow_trailing_bits(true);
            return GeneralPurpose::new(&STANDARD, lenient).decode(self.text).ok();
        }
        let mut octets = Vec::with_capacity(self.text.len());
        let mut text = self.text.iter();
        while let Some(octet) = text.next() {
            octets.push(match octet {
                b'_' => b' ',
                b'=' => {
                    let digits = [*text.next()?, *text.next()?];
                    u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
                }
                other => *other,
            });
        }
        Some(octets)
    }
}

/// ISO-2022-KR as EUC-KR: the same codes, with the highest bit set between shift out and shift in.
fn eight_bit(octets: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(octets.len());
    let (mut rest, mut shifted) = (octets, false);
    while let Some((first, more)) = rest.split_first() {
        rest = match rest.strip_prefix(DESIGNATOR) {
            Some(after) => after,
            None => {
                match first {
                    0x0e => shifted = true,
                    0x0f => shifted = false,
                    0x21..=0x7e if shifted => out.push(first | 0x80),
                    other => out.push(*other),
                }
                more
            }
        };
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_what_is_not_known_is_changed() {
        for (written, read) in [
            ("Subject: =?utf-8?q?x?= =?CP949*ko?b?wNQ=?= y", "Subject: =?utf-8?q?x?= =?euc-kr?b?wNQ=?= y"),
            ("=?iso-2022-kr?B?GyQpQw5AVDFdDyAOPkgzOw8=?=", "=?euc-kr?B?wNSx3SC+yLO7?="),
            ("=?ISO-2022-KR?Q?=1B$)C=0E@T=0F_x?=", "=?euc-kr?B?wNQgeA==?="),
        ] {
            assert_eq!(readable(written.as_bytes()), read.as_bytes());
        }
        for same in [
            "",
            "=?",
            "=?cp949?",
            "=?cp949?B?x",
            "=?cp949?B?x?",
            "=?iso-2022-kr?B?!?=",
            "=?iso-2022-kr?Q?=4?=",
        ] {
            assert!(matches!(readable(same.as_bytes()), Cow::Borrowed(_)), "{same}");
        }
    }

    proptest! {
        #[test]
        fn nothing_breaks_it(head in "(=\\?(cp949|iso-2022-kr)\\?[bqBQx]\\?[A-Za-z=\x0e\x1b$)C]{0,9}\\??=?|[=?a\n]){0,9}") {
            readable(head.as_bytes());
        }
    }
}
