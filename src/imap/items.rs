//! A FETCH response with items that the parser below does not know: they are left out, and the rest is read. Servers
//! may tell more than they were asked (RFC 3501, 7.4.2), in extensions that come after every parser. It refuses what
//! has no end where it should.

/// What is asked for; other items are nobody's here.
const KNOWN: [&[u8]; 6] = [b"UID", b"FLAGS", b"INTERNALDATE", b"RFC822.SIZE", b"X-GM-MSGID", b"MODSEQ"];

/// The response reduced to what every parser reads, if it is a FETCH response.
pub(super) fn plain_fetch(response: &[u8]) -> Option<Vec<u8>> {
    let rest = response.strip_prefix(b"* ")?;
    let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
    let (number, rest) = rest.split_at_checked(digits)?;
    let (fetch, rest) = rest.split_at_checked(b" FETCH ".len())?;
    if number.is_empty() || !fetch.eq_ignore_ascii_case(b" FETCH ") {
        return None;
    }
    let mut rest = rest.trim_ascii_start().strip_prefix(b"(")?;
    let mut items: Vec<Vec<u8>> = Vec::new();
    loop {
        rest = rest.trim_ascii_start();
        if let Some(end) = rest.strip_prefix(b")") {
            // Nothing comes behind it.
            return end.trim_ascii().is_empty().then(|| {
                let head = [b"* ", number, b" FETCH ("].concat();
                [head, items.join(&b' '), b")\r\n".to_vec()].concat()
            });
        }
        let name_length = name(rest)?;
        let (name, after) = rest.split_at_checked(name_length)?;
        let value = after.trim_ascii_start();
        let value_length = value_length(value)?;
        let (value, after) = value.split_at_checked(value_length)?;
        let bare = name.split(|b| *b == b'[').next().unwrap_or_default();
        let is_known = KNOWN.iter().any(|known| name.eq_ignore_ascii_case(known))
            || (bare.len() < name.len() && bare.eq_ignore_ascii_case(b"BODY"));
        if is_known {
            items.push([name, b" ", value].concat());
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
            b' ' | b'(' | b')' | b'"' | b'{' if !inside => return (at > 0).then_some(at),
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
        at = match rest.first()? {
            b'(' => {
                depth += 1;
                at + 1
            }
            b')' if depth == 0 => return (at > 0).then_some(at),
            b')' => {
                depth -= 1;
                at + 1
            }
            b'"' => at + super::answers::quoted_length(rest),
            b'{' => at.checked_add(super::answers::literal_length(rest)?)?,
            b' ' if depth == 0 => return Some(at),
            _ => at + 1,
        };
        if depth == 0 && matches!(rest.first(), Some(b')' | b'"' | b'{')) {
            return (at <= text.len()).then_some(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn plain(text: &str) -> Option<String> {
        plain_fetch(text.as_bytes()).map(|plain| String::from_utf8(plain).unwrap())
    }

    #[test]
    fn what_nobody_knows_is_left_out() {
        for (text, expected) in [
            (
                "* 7 FETCH (UID 5 X-FOO (a \"b)\" (c NIL)) FLAGS (\\Seen a) EMAILID (M1) BODY[] \"x\" SAVEDATE NIL)\r\n",
                "* 7 FETCH (UID 5 FLAGS (\\Seen a) BODY[] \"x\")\r\n",
            ),
            (
                "* 7 fetch ( UID  5  X {3}\r\n) ( BODY[HEADER.FIELDS (A B)] NIL INTERNALDATE \"\\\"\" )\r\n",
                "* 7 FETCH (UID 5 BODY[HEADER.FIELDS (A B)] NIL INTERNALDATE \"\\\"\")\r\n",
            ),
            ("* 7 FETCH ()\r\n", "* 7 FETCH ()\r\n"),
        ] {
            assert_eq!(plain(text).as_deref(), Some(expected));
        }
        for text in [
            "* FETCH (UID 5)\r\n",
            "* 7 FETCH (UID 5\r\n",
            "* 7 FETCH (UID)\r\n",
            "* 7 FETCH (UID 5) x\r\n",
            "* 7 FETCH (X (a)\r\n",
            "* 7 FETCH (X \"a)\r\n",
            "* 7 FETCH (X {9}\r\na)\r\n",
            "* 7 EXPUNGE\r\n",
        ] {
            assert_eq!(plain(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn whatever_comes(text in "[\\* 7FETCHUID()\\[\\]\"\\\\{}\r\n1-3ab]{0,60}") {
            let whole = format!("* 7 FETCH ({text}");
            if let Some(plain) = plain_fetch(whole.as_bytes()) {
                prop_assert!(plain.len() <= whole.len() + 2);
                prop_assert_eq!(plain_fetch(&plain), Some(plain));
            }
        }
    }
}
