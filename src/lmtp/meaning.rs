//! What refusals of LMTP servers mean: enhanced codes (RFC 3463) and, since not every server sends one, the words that
//! servers are known to say. Data, each row with its source. Unknown words mean what their code says.

use super::reply::Reply;

/// Whose affair a refusal is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// The mailbox takes no more: never the message's fault.
    Full,
    /// The message is too large.
    Size,
    /// What is in the message is not taken.
    Content,
}

/// Subject and detail of an enhanced code; `None`: every detail.
const CODES: &[(u16, Option<u16>, Meaning, &str)] = &[
    (2, Some(2), Meaning::Full, "RFC 3463, 3.3: mailbox full"),
    (2, Some(3), Meaning::Size, "RFC 3463, 3.3: message length exceeds administrative limit"),
    (3, Some(4), Meaning::Size, "RFC 3463, 3.4: message too big for system"),
    (6, None, Meaning::Content, "RFC 3463, 3.7: message content or media"),
];

/// In lower case, for answers without an enhanced code, or with one that says nothing (X.0.0).
const WORDS: &[(&str, Meaning, &str)] = &[
    ("message size", Meaning::Size, "Postfix, Exchange: Message size exceeds fixed limit"),
    ("message too large", Meaning::Size, "Zimbra, hMailServer"),
    ("message file too big", Meaning::Size, "Postfix"),
    ("mail size is larger", Meaning::Size, "Dovecot, quota_max_mail_size"),
    ("quota exceeded", Meaning::Full, "Dovecot, Zimbra"),
    ("over quota", Meaning::Full, "Cyrus, Gmail"),
    ("overquota", Meaning::Full, "Yahoo"),
    ("exceeded quota", Meaning::Full, "Zimbra"),
    ("quota has been exceeded", Meaning::Full, "hMailServer"),
    ("mail quota", Meaning::Full, "Courier: You exceeded your mail quota"),
    ("mailbox full", Meaning::Full, "Exchange, Postfix"),
    ("mailbox is full", Meaning::Full, "Dovecot, hMailServer"),
    ("bare newlines", Meaning::Content, "Cyrus"),
    ("nul characters", Meaning::Content, "Cyrus"),
    ("invalid header", Meaning::Content, "Cyrus"),
];

/// What a refusal means. `None`: it is not known.
pub(super) fn meaning(reply: &Reply) -> Option<Meaning> {
    if let Some((subject, detail)) = reply.detail().filter(|code| *code != (0, 0)) {
        let fits = |row: &&(u16, Option<u16>, Meaning, &str)| {
            row.0 == subject && row.1.is_none_or(|wanted| wanted == detail)
        };
        return CODES.iter().find(fits).map(|row| row.2);
    }
    let words = reply.words().to_lowercase();
    let known = WORDS.iter().find(|(said, _, _)| words.contains(said)).map(|row| row.1);
    // RFC 5321, 4.2.3: a bare 552 speaks of the mailbox; before the message of its size (RFC 1870, 6.1).
    known.or((reply.code == 552).then_some(Meaning::Full))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> Option<Meaning> {
        meaning(&Reply::parse(format!("{text}\r\n").as_bytes()).unwrap().unwrap().0)
    }

    #[test]
    fn every_row_is_found_and_has_a_source() {
        for (words, meant, source) in WORDS {
            assert!(!source.is_empty());
            assert_eq!(said(&format!("550 {words}")), Some(*meant), "{words}");
        }
        for (subject, detail, meant, source) in CODES {
            assert!(!source.is_empty());
            assert_eq!(said(&format!("554 5.{subject}.{} x", detail.unwrap_or(9))), Some(*meant));
        }
    }

    #[test]
    fn codes_count_more_than_words() {
        assert_eq!(said("552 5.3.4 over quota"), Some(Meaning::Size));
        assert_eq!(said("552 5.7.1 no"), None);
        assert_eq!(said("552 no"), Some(Meaning::Full));
        assert_eq!(said("550 5.0.0 Mailbox full"), Some(Meaning::Full));
        assert_eq!(said("550 no"), None);
    }
}
