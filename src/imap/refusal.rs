//! What a NO, BAD or BYE means: by its response code (RFC 5530) or, since many servers send none, by the
//! words that providers are known to use. It refuses to call anything a wrong password that may pass: doubt
//! is what the caller says it is.

use std::time::Duration;

use crate::failure::{Failure, Kind};

/// A pause that a server asks for is obeyed up to a day, the longest that a provider is known to lock out.
const LONGEST_WAIT: u64 = 86_400_000;

/// What is known of some words.
struct Row {
    /// Any of these, in lower case.
    words: &'static [&'static str],
    /// What they mean.
    kind: Kind,
    /// What to do; empty: what goes with the kind.
    mend: &'static str,
    /// Who says so, and where that was seen: a public thread (`owner/name#N`), a help page, an RFC, a server's source.
    #[cfg_attr(not(test), expect(dead_code, reason = "it is for whoever reads the table, and for its test"))]
    source: &'static str,
}

/// In the order in which they are looked for. What stands in nobody's source is not here: unknown words are what the
/// caller says they are, and no wrong password.
const ROWS: &[Row] = &[
    Row {
        words: &["accesstokenexpired"],
        kind: Kind::Expired,
        mend: "the next token is asked for",
        source: "Exchange Online: tokens last an hour (imapsync#250)",
    },
    Row {
        words: &["authenticated but not connected"],
        kind: Kind::Unavailable,
        mend: "if it stays, the owner has to look: the right mailbox, the permission, the consent, or too many connections",
        source: "Exchange: the login was good, four causes, one message (getmail6#139, #214, php-imap#464)",
    },
    Row {
        words: &[
            "log in via your web browser",
            "web login required",
            "[webalert",
            "application-specific password",
            "app password",
            "185833",
            "authorization code",
        ],
        kind: Kind::Credentials,
        mend: "the owner has to act: make an application password (or authorization code) in the provider's \
               settings, or confirm the login there",
        source: "Gmail (support.google.com/mail 185833), Yahoo (help SLN15241), QQ (bichon#25)",
    },
    Row {
        words: &[
            "unsafe login",
            "imap access is disabled",
            "imap is disabled",
            "not enabled for imap",
            "enable imap",
        ],
        kind: Kind::Unsupported,
        mend: "the owner has to allow IMAP in the provider's settings",
        source: "NetEase (node-imap#908), GMX (newsroom.gmx.net 2019-09-30), Gmail",
    },
    Row {
        words: &["[contactadmin]"],
        kind: Kind::Unsupported,
        mend: "the server's administrator has to put the account right",
        source: "RFC 5530 section 3: the user should contact the system administrator or support desk",
    },
    Row {
        words: &["[privacyrequired]", "cleartext logins disabled", "login only available under a layer"],
        kind: Kind::Unsupported,
        mend: "use security = \"tls\" or \"starttls\"",
        source: "RFC 5530 section 3; Zimbra and Cyrus in their own words",
    },
    Row {
        words: &[
            "[throttled]",
            "[limit]",
            "[overquota] account exceeded",
            "throttl",
            "too many",
            "command or bandwidth limits",
            "bandwidth limits",
            "rate limit",
            "backoff",
            "session expired, please login again",
            "lockdown in sector",
            "maximum number of connections",
            "maximum connection limit",
        ],
        kind: Kind::Throttled,
        mend: "",
        source: "Gmail (imapsync FAQ.Gmail, ha-email-sensor#16), Exchange (imapsync#272), Yahoo, Dovecot \
                 (mail_max_userip_connections), Zimbra, hMailServer (too many invalid logon attempts)",
    },
    Row {
        words: &["[overquota]"],
        kind: Kind::Throttled,
        mend: "",
        source: "RFC 5530 section 3: where something is read, what is over a quota is what may be read",
    },
    Row {
        words: &["[inuse]", "[in-use]", "locked by", "mailbox is locked", "timeout while waiting for lock"],
        kind: Kind::InUse,
        mend: "",
        source: "RFC 5530 section 3; Cyrus (locked by POP server), Dovecot (lib-storage)",
    },
    Row {
        words: &[
            "[unavailable]",
            "[serverbug]",
            "temporarily",
            "try again",
            "temporary",
            "internal error",
            "server error",
            "system error",
            "system i/o error",
            "backend error",
            "server unavailable",
            "service unavailable",
            "server busy",
            "unavailable to complete",
            "maintenance",
        ],
        kind: Kind::Unavailable,
        mend: "",
        source: "RFC 5530 section 3; Yahoo (mutt-wizard#764, imap-backup#218), Yandex (webmail-lite-8#74), Exchange \
                 (imapsync FAQ.Exchange), Gmail, Cyrus (imap_err.et), Zimbra (account in maintenance)",
    },
    Row {
        words: &[
            "[authenticationfailed]",
            "[authorizationfailed]",
            "[expired]",
            "invalid credentials",
            "login failed",
            "authentication failed",
            "authentication failure",
            "invalid user name or password",
            "invalid username or password",
        ],
        kind: Kind::Credentials,
        mend: "",
        source: "RFC 5530 section 3; Dovecot, Cyrus, Courier, Gmail, hMailServer in their own words",
    },
];

/// A refusal in a server's words, as a failure. `step` says what was asked; `default` is what unknown words
/// mean there, `hint` what to do about refused credentials at this provider.
pub(super) fn refusal(step: &str, text: &str, default: Kind, hint: &str) -> Failure {
    let lower = text.to_ascii_lowercase();
    let row = ROWS.iter().find(|row| row.words.iter().any(|word| lower.contains(word)));
    let (kind, mend) = row.map_or((default, ""), |row| (row.kind, row.mend));
    let mend = match kind {
        _ if !mend.is_empty() => mend,
        Kind::Credentials if !hint.is_empty() => hint,
        Kind::Credentials => "check user name and password",
        Kind::Throttled | Kind::InUse | Kind::Unavailable => "it is tried again later",
        _ => "",
    };
    Failure::new(kind, format!("{step}: {}", quote(text)), mend).waiting(backoff(&lower))
}

/// `Suggested Backoff Time: N milliseconds`, as Microsoft writes it.
fn backoff(lower: &str) -> Option<Duration> {
    let rest = lower.split("backoff time:").nth(1)?.trim_start();
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    // More digits than a number has ask for longer than anybody waits.
    let milliseconds: u64 = if digits.is_empty() { return None } else { digits.parse().unwrap_or(u64::MAX) };
    Some(Duration::from_millis(milliseconds.min(LONGEST_WAIT)))
}

/// A server's words, printable and not too many.
pub(super) fn quote(text: &str) -> String {
    let shown: String = text.chars().filter(|c| !c.is_control()).take(200).collect();
    if shown.is_empty() { "(no reason given)".to_owned() } else { format!("'{}'", shown.trim()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_providers_say_is_understood() {
        for (text, kind) in [
            // Gmail
            ("[OVERQUOTA] Account exceeded command or bandwidth limits. abc123", Kind::Throttled),
            ("Session expired, please login again.", Kind::Throttled),
            ("Too many simultaneous connections. (Failure)", Kind::Throttled),
            ("[ALERT] Please log in via your web browser: https://support.google.com/...", Kind::Credentials),
            ("[ALERT] Application-specific password required: 185833 (Failure)", Kind::Credentials),
            ("[AUTHENTICATIONFAILED] Invalid credentials (Failure)", Kind::Credentials),
            // Microsoft
            ("User is authenticated but not connected.", Kind::Unavailable),
            ("Request is throttled. Suggested Backoff Time: 1500 milliseconds", Kind::Throttled),
            ("AUTHENTICATE failed.", Kind::Folder),
            ("Connection closed. AccessTokenExpired", Kind::Expired),
            ("Server Unavailable. 15", Kind::Unavailable),
            // Yahoo, Yandex
            ("[UNAVAILABLE] UID FETCH temporarily not available", Kind::Unavailable),
            ("[SERVERBUG] FETCH Server error - Please try again later", Kind::Unavailable),
            ("[UNAVAILABLE] UID SEARCH Backend error. sc=abc", Kind::Unavailable),
            ("[CONTACTADMIN] account locked", Kind::Unsupported),
            // NetEase, QQ
            ("EXAMINE Unsafe Login. Please contact kefu@188.com for help", Kind::Unsupported),
            ("LOGIN fail. Please using authorization code to login", Kind::Credentials),
            // Dovecot, Cyrus, Courier
            ("[LIMIT] Maximum number of connections from user+IP exceeded", Kind::Throttled),
            ("[UNAVAILABLE] Temporary authentication failure.", Kind::Unavailable),
            ("[INUSE] Mailbox is locked", Kind::InUse),
            ("[PRIVACYREQUIRED] Plaintext authentication disallowed", Kind::Unsupported),
            ("Timeout while waiting for lock", Kind::InUse),
            ("Mailbox is locked by POP server", Kind::InUse),
            ("System I/O error", Kind::Unavailable),
            ("Login only available under a layer", Kind::Unsupported),
            ("Login failed: authentication failure", Kind::Credentials),
            // Zimbra, hMailServer
            ("cleartext logins disabled", Kind::Unsupported),
            ("LOGIN failed: account is in maintenance mode", Kind::Unavailable),
            ("Invalid user name or password.", Kind::Credentials),
            ("Too many invalid logon attempts.", Kind::Throttled),
            ("Unknown thing", Kind::Folder),
        ] {
            assert_eq!(refusal("x", text, Kind::Folder, "").kind, kind, "{text}");
        }
    }

    #[test]
    fn every_row_can_be_found_and_says_where_it_is_from() {
        for row in ROWS {
            assert!(row.source.len() > 20, "{:?}", row.words);
            for word in row.words {
                assert_eq!(*word, word.to_lowercase());
                let before = ROWS.iter().take_while(|other| other.words != row.words);
                let hidden = before.flat_map(|other| other.words).find(|other| word.contains(*other));
                assert_eq!(hidden, None, "{word} is never looked for");
            }
        }
    }

    #[test]
    fn a_pause_is_obeyed_within_reason() {
        let wait = |text: &str| refusal("x", text, Kind::Protocol, "").wait;
        assert_eq!(wait("Backoff Time: 1500 milliseconds"), Some(Duration::from_millis(1500)));
        assert_eq!(
            wait("Suggested Backoff Time: 99999999999999999999999 milliseconds"),
            Some(Duration::from_secs(86_400))
        );
        assert_eq!(wait("Backoff Time: soon"), None);
    }
}
