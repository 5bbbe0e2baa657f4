//! What a NO, BAD or BYE means: by its response code (RFC 5530) or, since many servers send none, by the
//! words that providers are known to use. It refuses to call anything a wrong password that may pass: doubt
//! is what the caller says it is.

use std::time::Duration;

use crate::failure::{Failure, Kind};

/// A pause that a server asks for is obeyed up to a day, the longest that a provider is known to lock out.
const LONGEST_WAIT: u64 = 86_400_000;

/// A row: any of these words, what they mean, and what to do (empty: what goes with the kind).
type Row = (&'static [&'static str], Kind, &'static str);

/// In the order in which they are looked for; in lower case.
const ROWS: &[Row] = &[
    // Microsoft's tokens last an hour.
    (&["accesstokenexpired"], Kind::Expired, "the next token is asked for"),
    // Microsoft says that the login was good and the mailbox is not to be had: four causes, one message.
    (
        &["authenticated but not connected"],
        Kind::Unavailable,
        "if it stays, the owner has to look: the right mailbox, the permission, the consent, or too many connections",
    ),
    (
        &[
            "log in via your web browser",
            "[webalert",
            "application-specific password",
            "app password",
            "185833",
            "authorization code",
        ],
        Kind::Credentials,
        "the owner has to act: make an application password (or authorization code) in the provider's \
         settings, or confirm the login there",
    ),
    (
        &[
            "unsafe login",
            "imap access is disabled",
            "imap is disabled",
            "not enabled for imap",
            "enable imap",
        ],
        Kind::Unsupported,
        "the owner has to allow IMAP in the provider's settings",
    ),
    (&["[privacyrequired]"], Kind::Unsupported, "use security = \"tls\" or \"starttls\""),
    (
        &[
            "[throttled]",
            "[limit]",
            "[overquota]",
            "throttl",
            "too many",
            "bandwidth limits",
            "rate limit",
            "backoff",
            // Gmail's other way of saying it.
            "session expired, please login again",
        ],
        Kind::Throttled,
        "",
    ),
    (&["[inuse]", "[in-use]", "locked by", "mailbox is locked"], Kind::InUse, ""),
    (
        &[
            "[unavailable]",
            "[serverbug]",
            "temporarily",
            "try again",
            "temporary",
            "internal error",
            "server error",
            "backend error",
            "server unavailable",
            "service unavailable",
        ],
        Kind::Unavailable,
        "",
    ),
    (
        &[
            "[authenticationfailed]",
            "[authorizationfailed]",
            "[expired]",
            "invalid credentials",
            "login failed",
            "authentication failed",
        ],
        Kind::Credentials,
        "",
    ),
];

/// A refusal in a server's words, as a failure. `step` says what was asked; `default` is what unknown words
/// mean there, `hint` what to do about refused credentials at this provider.
pub(super) fn refusal(step: &str, text: &str, default: Kind, hint: &str) -> Failure {
    let lower = text.to_ascii_lowercase();
    let row = ROWS.iter().find(|(words, _, _)| words.iter().any(|word| lower.contains(word)));
    let (kind, mend) = row.map_or((default, ""), |(_, kind, mend)| (*kind, *mend));
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
            // NetEase, QQ
            ("EXAMINE Unsafe Login. Please contact kefu@188.com for help", Kind::Unsupported),
            ("LOGIN fail. Please using authorization code to login", Kind::Credentials),
            // Dovecot, Cyrus, Courier
            ("[LIMIT] Maximum number of connections from user+IP exceeded", Kind::Throttled),
            ("[UNAVAILABLE] Temporary authentication failure.", Kind::Unavailable),
            ("[INUSE] Mailbox is locked", Kind::InUse),
            ("[PRIVACYREQUIRED] Plaintext authentication disallowed", Kind::Unsupported),
            ("Unknown thing", Kind::Folder),
        ] {
            assert_eq!(refusal("x", text, Kind::Folder, "").kind, kind, "{text}");
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
