//! Encoded words (RFC 2047) in a header's value. Words that stand side by side are one: a letter may be divided between
//! them. It refuses to guess: what is no encoded word stays as it is.

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use encoding_rs::{Encoding, UTF_8};

/// The value in Unicode.
pub(super) fn decode(value: &[u8]) -> String {
    let text = String::from_utf8_lossy(value);
    let text = text.replace(['\r', '\n'], "");
    let (mut out, mut rest) = (String::new(), text.as_str());
    // What encoded words side by side came to, not yet read.
    let mut open: Option<(&'static Encoding, Vec<u8>)> = None;
    while let Some(at) = rest.find("=?") {
        let (before, from) = rest.split_at(at);
        let between = !(open.is_some() && before.trim().is_empty());
        let Some((charset, octets, behind)) = word(from) else {
            close(&mut open, &mut out);
            out.push_str(before);
            out.push_str("=?");
            rest = from.get(2..).unwrap_or_default();
            continue;
        };
        if between {
            close(&mut open, &mut out);
            out.push_str(before);
        }
        match &mut open {
            Some((same, sum)) if *same == charset => sum.extend(octets),
            _ => {
                close(&mut open, &mut out);
                open = Some((charset, octets));
            }
        }
        rest = behind;
    }
    close(&mut open, &mut out);
    out.push_str(rest);
    out
}

fn close(open: &mut Option<(&'static Encoding, Vec<u8>)>, out: &mut String) {
    if let Some((charset, octets)) = open.take() {
        out.push_str(&charset.decode_without_bom_handling(&octets).0);
    }
}

/// One encoded word at the beginning of `text`: its charset and bytes, and what follows it.
fn word(text: &str) -> Option<(&'static Encoding, Vec<u8>, &str)> {
    let (charset, rest) = text.strip_prefix("=?")?.split_once('?')?;
    let (how, rest) = rest.split_once('?')?;
    let (content, behind) = rest.split_once("?=")?;
    // A language may follow the charset (RFC 2231, 5).
    let charset = charset.split('*').next().unwrap_or_default();
    let charset = Encoding::for_label(charset.as_bytes()).unwrap_or(UTF_8);
    let octets = match how {
        "B" | "b" => STANDARD_NO_PAD.decode(content.trim_end_matches('=')).ok()?,
        "Q" | "q" => quoted(content),
        _ => return None,
    };
    Some((charset, octets, behind))
}

fn quoted(content: &str) -> Vec<u8> {
    let mut octets = Vec::with_capacity(content.len());
    let mut rest = content.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        let code = tail.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        let code = code.filter(|_| *first == b'=').and_then(|two| u8::from_str_radix(two, 16).ok());
        match (code, first) {
            (Some(octet), _) => {
                octets.push(octet);
                rest = tail.get(2..).unwrap_or_default();
            }
            (None, b'_') => octets.push(b' '),
            (None, other) => octets.push(*other),
        }
    }
    octets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_side_by_side_are_one() {
        for (value, expected) in [
            ("plain, text", "plain, text"),
            ("=?UTF-8?Q?a_=C3?=\r\n =?UTF-8?Q?=A9b?=", "a éb"),
            ("x =?utf-8?B?w6k?= y", "x é y"),
            ("=?iso-8859-1?Q?=E9?= =?utf-8?q?=C3=A9?=", "éé"),
            ("=?x?Z?no?= end", "=?x?Z?no?= end"),
            ("=?utf-8?Q?open", "=?utf-8?Q?open"),
        ] {
            assert_eq!(decode(value.as_bytes()), expected);
        }
    }
}
