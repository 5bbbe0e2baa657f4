//! The grammar of a FETCH response (RFC 3501, 7.4.2), read before the parser below sees it: that one takes anything for
//! an item. An answer is believed as a whole or not at all, so this tells three kinds apart: broken ones, of which nothing
//! counts; odd ones, with an item that nobody knows or that is there twice; and plain ones. It refuses what does not
//! end where it should.

use std::collections::BTreeSet;

/// What is kept of a response, beside the parts of a body.
const KEPT: [&[u8]; 7] =
    [b"UID", b"FLAGS", b"INTERNALDATE", b"RFC822.SIZE", b"X-GM-MSGID", b"MODSEQ", b"RFC822"];
/// What a server may tell without being asked (RFC 3501, 7.4.2): items of the standards and of Gmail. They are left out.
const HARMLESS: [&[u8]; 15] = [
    b"ENVELOPE",
    b"BODYSTRUCTURE",
    b"BODY",
    b"RFC822.HEADER",
    b"RFC822.TEXT",
    b"EMAILID",
    b"THREADID",
    b"SAVEDATE",
    b"PREVIEW",
    b"SNIPPET",
    b"ANNOTATION",
    b"X-GM-THRID",
    b"X-GM-LABELS",
    b"X-SAVEDATE",
    b"X-GUID",
];

/// What a response is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// Not a FETCH response.
    Other,
    /// A FETCH response whose grammar is broken: nothing of it is believed.
    Broken,
    /// A FETCH response.
    Fetch {
        /// The items that somebody here reads, as every parser reads them.
        plain: Vec<u8>,
        /// What is to be known of it.
        marks: Marks,
    },
}

/// What the plain form of a response does not show.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Marks {
    /// It has an item that is there twice, or two bodies.
    pub(super) twice: bool,
    /// It has an item that nobody knows.
    pub(super) unknown: bool,
    /// It has flags that are no atoms (RFC 3501, 9: `flag`); they are left out.
    pub(super) flags_left: bool,
}

/// Reads a response.
pub(super) fn read(response: &[u8]) -> Reading {
    let Some((number, list)) = head(response) else { return Reading::Other };
    match items(list) {
        Some((items, marks)) => {
            let head = [b"* ", number, b" FETCH ("].concat();
            Reading::Fetch { plain: [head, items.join(&b' '), b")\r\n".to_vec()].concat(), marks }
        }
        None => Reading::Broken,
    }
}

/// The number, and what comes behind the word FETCH.
fn head(response: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = blanks(response.strip_prefix(b"*")?)?;
    let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
    let (number, rest) = rest.split_at_checked(digits)?;
    let rest = blanks(rest)?;
    let (fetch, rest) = rest.split_at_checked(b"FETCH".len())?;
    let ends = rest.first().is_none_or(|b| b" \t(\r".contains(b));
    (!number.is_empty() && fetch.eq_ignore_ascii_case(b"FETCH") && ends).then_some((number, rest))
}

/// What comes behind at least one blank.
fn blanks(text: &[u8]) -> Option<&[u8]> {
    let rest = skip(text);
    (rest.len() < text.len()).then_some(rest)
}

fn skip(text: &[u8]) -> &[u8] {
    let count = text.iter().take_while(|b| matches!(b, b' ' | b'\t')).count();
    text.get(count..).unwrap_or_default()
}

/// The list of items to the end of the response.
fn items(text: &[u8]) -> Option<(Vec<Vec<u8>>, Marks)> {
    let mut rest = skip(text).strip_prefix(b"(")?;
    let (mut kept, mut marks, mut seen) = (Vec::new(), Marks::default(), BTreeSet::new());
    let mut bodies = 0;
    loop {
        rest = skip(rest);
        if let Some(end) = rest.strip_prefix(b")") {
            // Nothing comes behind it.
            marks.twice |= bodies > 1;
            return (skip(end) == b"\r\n").then_some((kept, marks));
        }
        let (name, after) = rest.split_at_checked(name(rest)?)?;
        let value = blanks(after)?;
        let (value, after) = value.split_at_checked(value_length(value)?)?;
        // What comes behind a value is divided from it.
        matches!(after.first(), Some(b' ' | b'\t' | b')')).then_some(())?;
        rest = after;
        let upper = name.to_ascii_uppercase();
        let bare = upper.split(|b| *b == b'[').next().unwrap_or_default();
        let section = bare.len() < upper.len();
        let is_body = (section && [&b"BODY"[..], b"BINARY"].contains(&bare)) || upper == b"RFC822";
        bodies += usize::from(is_body && (upper == b"RFC822" || upper.starts_with(b"BODY[]")));
        let known = is_body
            || (section && bare == b"BINARY.SIZE")
            || KEPT.contains(&upper.as_slice())
            || HARMLESS.contains(&upper.as_slice());
        marks.unknown |= !known;
        let value = match upper.as_slice() {
            b"FLAGS" => {
                let (flags, all) = flags(value)?;
                marks.flags_left |= !all;
                flags
            }
            // No date is no trouble (imapsync#94), and one in other words neither.
            b"INTERNALDATE" if value.first() != Some(&b'"') => b"\"-\"".to_vec(),
            _ => value.to_vec(),
        };
        if (KEPT.contains(&upper.as_slice()) || is_body) && bare != b"BINARY" {
            kept.push([name, b" ", &value].concat());
        }
        marks.twice |= !seen.insert(upper);
    }
}

/// A list of flags with those that are flags, and whether all are.
fn flags(list: &[u8]) -> Option<(Vec<u8>, bool)> {
    let inside = list.strip_prefix(b"(")?.strip_suffix(b")")?;
    let words = inside.split(|b| matches!(b, b' ' | b'\t')).filter(|word| !word.is_empty());
    let (flags, others): (Vec<&[u8]>, Vec<&[u8]>) = words.partition(|word| is_flag(word));
    let nested = others.iter().any(|word| word.iter().any(|b| b"(){".contains(b)));
    (!nested).then(|| ([b"(", flags.join(&b' ').as_slice(), b")"].concat(), others.is_empty()))
}

fn is_flag(word: &[u8]) -> bool {
    let atom = word.strip_prefix(b"\\").unwrap_or(word);
    !atom.is_empty() && atom.iter().all(|b| b.is_ascii_graphic() && !b"(){%*\"\\]".contains(b))
}

/// Whether a response has the form of untagged data, whatever it says: words, strings and lists to the end of a line.
pub(super) fn is_data(response: &[u8]) -> bool {
    let Some(mut rest) = response.strip_prefix(b"* ") else { return false };
    let Some(word) = rest.first() else { return false };
    if !word.is_ascii_alphanumeric() {
        return false;
    }
    loop {
        rest = skip(rest);
        if rest == b"\r\n" {
            return true;
        }
        let Some(length) = value_length(rest) else { return false };
        let Some(after) = rest.get(length..) else { return false };
        if !matches!(after.first(), Some(b' ' | b'\t' | b'\r')) {
            return false;
        }
        rest = after;
    }
}

/// Octets of the name at the front. Within brackets it may have spaces and lists.
fn name(text: &[u8]) -> Option<usize> {
    let mut inside = false;
    for (at, byte) in text.iter().enumerate() {
        match byte {
            b'[' => inside = true,
            b']' => inside = false,
            b' ' | b'\t' if !inside => return (at > 0).then_some(at),
            b'(' | b')' | b'"' | b'{' if !inside => return None,
            b'\r' | b'\n' => return None,
            _ => {}
        }
    }
    None
}

/// Octets of the value at the front: a string, a list with all that is in it, or a word.
fn value_length(text: &[u8]) -> Option<usize> {
    let (mut depth, mut at) = (0usize, 0usize);
    loop {
        let rest = text.get(at..).filter(|rest| !rest.is_empty())?;
        let first = *rest.first()?;
        match first {
            b'(' if depth > 0 || at == 0 => depth += 1,
            b')' if depth > 0 => depth -= 1,
            b'"' if depth > 0 || at == 0 => at += super::answers::quoted_length(rest).checked_sub(1)?,
            b'{' if depth > 0 || at == 0 => {
                at = at.checked_add(super::answers::literal_length(rest)?)?.checked_sub(1)?;
            }
            // The end of a word.
            b' ' | b'\t' | b')' | b'\r' if depth == 0 => return (at > 0).then_some(at),
            b'(' | b'"' | b'\r' | b'\n' => return None,
            _ => {}
        }
        at += 1;
        if depth == 0 && matches!(first, b')' | b'"' | b'{') {
            return (at <= text.len()).then_some(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn plain(text: &str) -> Option<(String, bool)> {
        match read(text.as_bytes()) {
            Reading::Fetch { plain, marks } => {
                Some((String::from_utf8(plain).unwrap(), marks.unknown || marks.twice))
            }
            Reading::Broken => None,
            Reading::Other => panic!("{text} is a FETCH response"),
        }
    }

    #[test]
    fn what_nobody_knows_is_left_out_and_marked() {
        for (text, expected, odd) in [
            (
                "* 7 FETCH (UID 5 X-FOO (a \"b)\" (c NIL)) FLAGS (\\Seen a) EMAILID (M1) BODY[] \"x\" SAVEDATE NIL)\r\n",
                "* 7 FETCH (UID 5 FLAGS (\\Seen a) BODY[] \"x\")\r\n",
                true,
            ),
            (
                "* 7 fetch ( UID  5  X {3}\r\n) ( BODY[HEADER.FIELDS (A B)] NIL INTERNALDATE \"\\\"\" )\r\n",
                "* 7 FETCH (UID 5 BODY[HEADER.FIELDS (A B)] NIL INTERNALDATE \"\\\"\")\r\n",
                true,
            ),
            (
                "* 7 FETCH (UID 5 EMAILID (M1) RFC822.SIZE 3 THREADID NIL)\r\n",
                "* 7 FETCH (UID 5 RFC822.SIZE 3)\r\n",
                false,
            ),
            (
                "* 7 FETCH (UID 5 INTERNALDATE NIL BODY[]<0> \"\")\r\n",
                "* 7 FETCH (UID 5 INTERNALDATE \"-\" BODY[]<0> \"\")\r\n",
                false,
            ),
            ("* 7 FETCH (UID 5 UID 6)\r\n", "* 7 FETCH (UID 5 UID 6)\r\n", true),
            ("* 7 FETCH (BODY[] \"a\" RFC822 \"a\")\r\n", "* 7 FETCH (BODY[] \"a\" RFC822 \"a\")\r\n", true),
            (
                "* 7 FETCH (BODY[]<0> \"a\" BODY[] \"a\")\r\n",
                "* 7 FETCH (BODY[]<0> \"a\" BODY[] \"a\")\r\n",
                true,
            ),
            ("* 7 FETCH ()\r\n", "* 7 FETCH ()\r\n", false),
            (
                "* 7 FETCH (FLAGS (\\Seen a]b \\* gr\u{fc}n \"x\" $ok))\r\n",
                "* 7 FETCH (FLAGS (\\Seen $ok))\r\n",
                false,
            ),
        ] {
            assert_eq!(plain(text), Some((expected.to_owned(), odd)), "{text}");
        }
    }

    #[test]
    fn nothing_counts_of_what_is_broken() {
        for text in [
            "* 7 FETCH (UID 5\r\n",
            "* 7 FETCH (UID)\r\n",
            "* 7 FETCH (UID 5) x\r\n",
            "* 7 FETCH (X (a)\r\n",
            "* 7 FETCH (X \"a)\r\n",
            "* 7 FETCH (X {9}\r\na)\r\n",
            "* 7 FETCH (BODY[] \"a\"x FLAGS (\\Seen))\r\n",
            "* 7 FETCH (BODY[] \"a\"\" BODY[] \"b\")\r\n",
            "* 7 FETCH (X {5}\r\n* 1 FETCH (UID 1 BODY[] \"a\")\r\n",
            "* 7 FETCH (FLAGS (((((\r\n",
            "* 7 FETCH (FLAGS ((\\Seen)))\r\n",
            "* 7 FETCH\r\n",
        ] {
            assert_eq!(plain(text), None, "{text}");
        }
        for text in
            ["* FETCH (UID 5)\r\n", "* 7 EXPUNGE\r\n", "* 7 FETCHED (UID 5)\r\n", "x 7 FETCH (UID 5)\r\n"]
        {
            assert_eq!(read(text.as_bytes()), Reading::Other, "{text}");
        }
    }

    #[test]
    fn data_of_any_kind_has_a_form() {
        for (text, is) in [
            ("* 7 WHATEVER (x \"y\")\r\n", true),
            ("* VANISHED (EARLIER) 41,43:116\r\n", true),
            ("* XLIST () {3}\r\na\r\n\r\n", true),
            ("* a (b\r\n", false),
            ("* \r\n", false),
            ("* of a list\" that was in a mail\r\n", false),
            ("and so on\r\n", false),
            ("* ) x\r\n", false),
        ] {
            assert_eq!(is_data(text.as_bytes()), is, "{text}");
        }
    }

    proptest! {
        #[test]
        fn whatever_comes(text in "[\\* 7FETCHUID()\\[\\]\"\\\\{}\r\n1-3ab]{0,60}") {
            let whole = format!("* 7 FETCH ({text}");
            let _ = is_data(whole.as_bytes());
            if let Reading::Fetch { plain, .. } = read(whole.as_bytes()) {
                prop_assert!(plain.len() <= whole.len() + 4);
                let again = read(&plain);
                prop_assert!(matches!(&again, Reading::Fetch { plain: again, .. } if *again == plain), "{again:?}");
            }
        }
    }
}
