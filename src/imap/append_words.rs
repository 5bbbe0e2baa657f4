//! What servers say to an APPEND that they refuse: data, each row with its source. Words that are not here are
//! unknown: they stand neither against the message nor for the server before a second look.

use crate::failure::Kind;

/// What a refusal says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// The mailbox as a whole takes no more.
    Full,
    /// This message is above a limit of size.
    Size,
    /// Some other limit: of keywords for example.
    Limit,
    /// What is in the message is not taken.
    Content,
    /// The server takes nothing now, or no more than so much at a time.
    Wait(Kind),
}

/// A row: these words, what they mean, who says them.
type Row = (&'static str, Meaning, &'static str);

/// In the order in which they are looked for; in lower case.
const ROWS: &[Row] = &[
    (
        "bandwidth limits",
        Meaning::Wait(Kind::Throttled),
        "Gmail: [OVERQUOTA] Account exceeded command or bandwidth limits",
    ),
    ("[toobig]", Meaning::Size, "RFC 4469; Gmail (OfflineIMAP#724), maddy#470"),
    ("mail size is larger than the maximum size", Meaning::Size, "Dovecot, quota_max_mail_size"),
    ("message size exceed", Meaning::Size, "maddy#470, Exchange"),
    ("message too large", Meaning::Size, "Gmail, Cyrus"),
    ("message too big", Meaning::Size, "Zimbra, hMailServer"),
    ("maximum message size", Meaning::Size, "hMailServer, Exchange"),
    ("[overquota]", Meaning::Full, "RFC 5530; Dovecot, Cyrus, Zimbra, Yahoo"),
    ("too many messages in the mailbox", Meaning::Full, "Dovecot, quota_mailbox_message_count"),
    ("over quota", Meaning::Full, "Cyrus before 2.4"),
    ("overquota", Meaning::Full, "Yahoo"),
    ("quota exceeded", Meaning::Full, "Dovecot, Zimbra"),
    ("exceeded quota", Meaning::Full, "Zimbra"),
    ("quota has been exceeded", Meaning::Full, "hMailServer"),
    ("not enough disk quota", Meaning::Full, "Dovecot 1"),
    ("exceeded your mail quota", Meaning::Full, "Courier"),
    ("mailbox is full", Meaning::Full, "Dovecot quota_exceeded_message, hMailServer"),
    ("mailbox full", Meaning::Full, "Exchange, Zimbra"),
    ("[limit]", Meaning::Limit, "RFC 5530; Dovecot, Cyrus"),
    ("bare newlines", Meaning::Content, "Cyrus: Message contains bare newlines"),
    ("contains nul", Meaning::Content, "Cyrus: Message contains NUL characters"),
    ("invalid header", Meaning::Content, "Cyrus: Message contains invalid header"),
    ("non-ascii characters in headers", Meaning::Content, "Cyrus, reject8bit"),
    ("no blank line", Meaning::Content, "Cyrus: Message has no header/body separator"),
    ("command argument error", Meaning::Content, "Exchange: BAD Command Argument Error. 11 (imapsync#161)"),
    ("[serverbug]", Meaning::Wait(Kind::Unavailable), "RFC 5530; Dovecot, Yahoo, Onet (imapsync#118)"),
    ("[unavailable]", Meaning::Wait(Kind::Unavailable), "RFC 5530; Dovecot, Yahoo, Yandex"),
    ("[inuse]", Meaning::Wait(Kind::InUse), "RFC 5530; Dovecot"),
    ("server unavailable", Meaning::Wait(Kind::Unavailable), "Exchange: Server Unavailable. 15"),
    ("throttl", Meaning::Wait(Kind::Throttled), "Exchange: Request is throttled (imapsync#272)"),
    ("try again", Meaning::Wait(Kind::Unavailable), "Yahoo, Courier"),
    ("system i/o error", Meaning::Wait(Kind::Unavailable), "Cyrus: System I/O error"),
    ("temporar", Meaning::Wait(Kind::Unavailable), "Gmail, imapsync#338"),
];

/// What the words of a refusal mean. `None`: they are not known.
pub(super) fn meaning(text: &str) -> Option<Meaning> {
    let lower = text.to_lowercase();
    ROWS.iter().find(|(words, _, _)| lower.contains(words)).map(|(_, meaning, _)| *meaning)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_found_and_none_hides_another() {
        for (words, meant, source) in ROWS {
            assert!(!source.is_empty() && *words == words.to_lowercase(), "{words}");
            assert_eq!(meaning(words), Some(*meant), "{words}");
        }
    }

    #[test]
    fn what_servers_say() {
        for (text, meant) in [
            ("[OVERQUOTA] Quota exceeded (mailbox for user is full)", Some(Meaning::Full)),
            ("Over quota", Some(Meaning::Full)),
            ("[ALERT] You exceeded your mail quota.", Some(Meaning::Full)),
            (
                "[OVERQUOTA] Account exceeded command or bandwidth limits. abc",
                Some(Meaning::Wait(Kind::Throttled)),
            ),
            ("[TOOBIG] Message too large. https://support.google.com/x", Some(Meaning::Size)),
            ("Message contains NUL characters", Some(Meaning::Content)),
            (
                "[SERVERBUG] Internal error occurred. Refer to server log",
                Some(Meaning::Wait(Kind::Unavailable)),
            ),
            ("Temporary unavailable", Some(Meaning::Wait(Kind::Unavailable))),
            ("APPEND failed", None),
            ("", None),
        ] {
            assert_eq!(meaning(text), meant, "{text}");
        }
    }
}
