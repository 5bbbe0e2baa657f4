//! The words of a status response: for people, in whatever language the server speaks. It refuses octets that are no
//! UTF-8, and control characters; each becomes a question mark.

/// A status response as the parser can take it.
pub(super) fn spoken(response: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(response.len());
    // The parser cuts one octet off behind a code: that must be a whole character.
    let mut behind_code = false;
    for chunk in response.utf8_chunks() {
        for c in chunk.valid().chars() {
            let plain = matches!(c, ' '..='~' | '\r' | '\n');
            let word = plain || (!c.is_ascii() && !c.is_control() && !behind_code);
            let c = if word { c } else { '?' };
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            behind_code = c == ']';
        }
        if !chunk.invalid().is_empty() {
            out.extend(chunk.invalid().iter().map(|_| b'?'));
            behind_code = false;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use async_imap::imap_proto::Response;
    use proptest::prelude::*;

    #[test]
    fn words_stay_words() {
        for (said, heard) in [
            ("A1 NO [CANNOT] Schlüssel für 受信箱\r\n", "A1 NO [CANNOT] Schlüssel für 受信箱\r\n"),
            ("A1 NO [X]ü\r\n", "A1 NO [X]?\r\n"),
            ("* BYE a\u{7}b\u{85}\r\n", "* BYE a?b?\r\n"),
        ] {
            assert_eq!(String::from_utf8(spoken(said.as_bytes())).unwrap(), heard);
        }
        assert_eq!(spoken(b"A1 NO f\xfcr\r\n"), b"A1 NO f?r\r\n");
    }

    proptest! {
        #[test]
        fn the_parser_survives_it(
            code in "\\[[A-Z]{0,8}\\]{0,2}",
            text in proptest::collection::vec(any::<u8>(), 0..40),
        ) {
            let line = [format!("A1 NO {code}").as_bytes(), &text, b"\r\n"].concat();
            let heard = spoken(&line);
            prop_assert!(std::str::from_utf8(&heard).is_ok());
            let _ = Response::parse(&heard);
        }
    }
}
