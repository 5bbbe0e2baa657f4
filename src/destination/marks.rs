//! A message in a line of a small file of the spool: a mark, and which message. It refuses a line that was cut short.

use crate::message::MessageRef;

/// The line, with its end.
pub(super) fn written(mark: &str, message: MessageRef) -> String {
    match message {
        MessageRef::Imap { uidvalidity, uid } => format!("{mark} i {uidvalidity} {uid}\n"),
        MessageRef::Pop3(id) => format!("{mark} p {id:032x}\n"),
    }
}

/// The mark and the message. `None`: a power cut left a part of a line.
pub(super) fn parse(line: &str) -> Option<(&str, MessageRef)> {
    let words: Vec<&str> = line.split(' ').collect();
    match *words.as_slice() {
        [mark, "i", validity, uid] => {
            Some((mark, MessageRef::Imap { uidvalidity: validity.parse().ok()?, uid: uid.parse().ok()? }))
        }
        [mark, "p", id] if id.len() == 32 => {
            Some((mark, MessageRef::Pop3(u128::from_str_radix(id, 16).ok()?)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_was_cut_short_is_none() {
        for line in ["", "?", "+ i 3", "+ p 12", "+ i 3 x", "+ q 3 4", "+ p 0000000000000000000000000000000g"]
        {
            assert_eq!(parse(line), None, "{line}");
        }
        for message in [MessageRef::Imap { uidvalidity: 3, uid: 7 }, MessageRef::Pop3(9)] {
            assert_eq!(parse(written("!", message).trim_end()), Some(("!", message)));
        }
    }
}
