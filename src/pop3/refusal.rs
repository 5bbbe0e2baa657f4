//! What a `-ERR` means (RFC 2449, 8 and RFC 3206, or the words where there is no code), and how it is
//! quoted. Where a login's words hint at something that passes, it passes: a wrong guess at "wrong
//! password" would switch an account off. It refuses to quote what was sent: a server may echo a password.

use std::time::Duration;

use zeroize::Zeroizing;

use super::machine::Reply;
use crate::failure::{Failure, Kind};

/// A quote has at most so many characters.
const QUOTE_LIMIT: usize = 200;

/// When the server refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// In place of a greeting.
    Greeting,
    /// During the login.
    Login,
    /// Later; what was asked for.
    Work(&'static str),
}

/// What is cut out of quotes: each way in which the password was sent.
#[derive(Default)]
pub(super) struct Scrub(Vec<Zeroizing<Vec<u8>>>);

impl Scrub {
    pub(super) fn add(&mut self, secret: &[u8]) {
        if !secret.is_empty() {
            self.0.push(Zeroizing::new(secret.to_vec()));
        }
    }

    /// A server's words, fit to be shown: printable, without secrets, 200 characters at most.
    pub(super) fn quote(&self, reply: &Reply) -> String {
        let mut text = Zeroizing::new(reply.text.clone());
        for secret in &self.0 {
            // Whatever its capitals are: some servers shout back.
            let mut from = 0;
            while let Some(at) = find_ignoring_case(text.get(from..).unwrap_or_default(), secret) {
                text.splice(from + at..from + at + secret.len(), [b'*']);
                from += at + 1;
            }
        }
        let printable: String = String::from_utf8_lossy(&text)
            .chars()
            .map(|c| if c.is_control() { '?' } else { c })
            .take(QUOTE_LIMIT)
            .collect();
        match &reply.code {
            Some(code) => format!("[{code}] {printable}").trim_end().to_owned(),
            None => printable,
        }
    }
}

fn find_ignoring_case(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|window| window.eq_ignore_ascii_case(wanted))
}

/// What a refusal means; `quote` is the server's line, fit to be shown.
pub(super) fn kind(step: Step, reply: &Reply) -> Kind {
    let words = String::from_utf8_lossy(&reply.text).to_ascii_lowercase();
    let has = |list: &[&str]| list.iter().any(|word| words.contains(word));
    match reply.code.as_deref() {
        Some("AUTH") if wants_tls(reply) => return Kind::Unsupported,
        Some("AUTH") => return Kind::Credentials,
        Some("IN-USE") => return Kind::InUse,
        Some("LOGIN-DELAY") => return Kind::Throttled,
        Some("SYS/TEMP") => return Kind::Unavailable,
        // RFC 3206, 4: somebody has to act. Gmail says so of accounts whose POP access is off.
        Some("SYS/PERM") => return Kind::Unsupported,
        _ => {}
    }
    if has(TEMPORARY) {
        Kind::Unavailable
    } else if has(THROTTLED) {
        Kind::Throttled
    } else if has(IN_USE) {
        Kind::InUse
    } else if step == Step::Login && (wants_tls(reply) || has(SWITCHED_OFF)) {
        Kind::Unsupported
    } else if step == Step::Login && has(CREDENTIALS) {
        Kind::Credentials
    } else if has(&["try again", "try later", "delay"]) {
        Kind::Throttled
    } else if has(&["lock", "already"]) && !has(&["block"]) {
        Kind::InUse
    } else {
        match step {
            Step::Greeting => Kind::Unavailable,
            // Whoever has no known word may mean anything.
            Step::Login => Kind::Refused,
            Step::Work(_) => Kind::Protocol,
        }
    }
}

const TEMPORARY: &[&str] = &[
    "temporar",
    "unavailable",
    "not available",
    "try again later",
    "try later",
    "internal error",
    "internal server",
    "server error",
    "system error",
    "database",
    "timeout",
    "timed out",
    "shutting down",
    "maintenance",
    "overload",
    "backend",
];

const THROTTLED: &[&str] = &[
    "too many",
    "too frequent",
    "too often",
    "too fast",
    "login limit",
    "login delay",
    "rate limit",
    "connection limit",
    "limit reached",
    "limit exceeded",
    "throttl",
    "minimum time",
    "slow down",
];

const IN_USE: &[&str] = &[
    "in use",
    "in-use",
    "maildrop lock",
    "mailbox lock",
    "already locked",
    "is locked by",
    "unable to lock",
    "cannot lock",
    "can't lock",
    "could not lock",
    "lock busy",
    "another session",
    "another pop",
    "already logged",
    "already connected",
    "already open",
    "concurrent",
];

/// The account has no POP3: Gmail, GMX and Exchange say so, some of them without a code.
const SWITCHED_OFF: &[&str] = &[
    "pop3 access is disabled",
    "pop access is disabled",
    "pop3 is disabled",
    "pop is disabled",
    "not enabled for pop",
    "pop3 not enabled",
    "enable pop",
];

const CREDENTIALS: &[&str] = &[
    "invalid",
    "incorrect",
    "authentication fail",
    "authorization fail",
    "login fail",
    "logon fail",
    "password",
    "login denied",
    "logon denied",
    "bad ",
    "wrong",
    "unknown user",
    "user unknown",
    "no such user",
    "no such mailbox",
    "no mailbox",
    "never heard of",
    "not accepted",
    "rejected",
    "account is locked",
    "account locked",
    "disabled",
    "suspended",
];

/// Whether the server refuses passwords on a connection without TLS.
pub(super) fn wants_tls(reply: &Reply) -> bool {
    let words = String::from_utf8_lossy(&reply.text).to_ascii_lowercase();
    ["plaintext", "plain text", "non-secure", "stls", "starttls", "use ssl", "use tls", "encryption required"]
        .iter()
        .any(|word| words.contains(word))
}

/// Whether the server does not know the command, by its words.
pub(super) fn is_unknown(reply: &Reply) -> bool {
    let words = String::from_utf8_lossy(&reply.text).to_ascii_lowercase();
    UNKNOWN.iter().any(|word| words.contains(word))
}

const UNKNOWN: &[&str] = &[
    "unknown command",
    "unrecognized",
    "unrecognised",
    "unsupported",
    "not supported",
    "not implemented",
    "unimplemented",
    "invalid command",
    "bad command",
];

/// Whether a refusal speaks of the mechanism rather than of the credentials.
pub(super) fn of_mechanism(reply: &Reply) -> bool {
    let words = String::from_utf8_lossy(&reply.text).to_ascii_lowercase();
    let speaks = ["syntax", "protocol error", "mechanism", "unknown auth"];
    wants_tls(reply)
        || (!matches!(reply.code.as_deref(), Some("AUTH" | "IN-USE" | "LOGIN-DELAY" | "SYS/TEMP"))
            && (is_unknown(reply) || speaks.iter().any(|word| words.contains(word))))
}

/// A refusal as a failure. `hint` helps people whose login, as `user`, is refused; `delay` is the pause that
/// the server's capabilities ask for.
pub(super) fn login_failure(
    reply: &Reply,
    quote: &str,
    host: &str,
    user: &str,
    hint: &str,
    delay: Option<Duration>,
) -> Failure {
    let failure = failure(Step::Login, reply, quote, host, hint, delay);
    Failure { words: format!("{host} refused the login of {user}: {quote}"), ..failure }
}

/// A refusal as a failure, as [`login_failure`], at any step.
pub(super) fn failure(
    step: Step,
    reply: &Reply,
    quote: &str,
    host: &str,
    hint: &str,
    delay: Option<Duration>,
) -> Failure {
    let kind = kind(step, reply);
    let what = match step {
        Step::Greeting => "turned us away",
        Step::Login => "refused the login",
        Step::Work(what) => what,
    };
    let words = match step {
        Step::Work(_) => format!("{host} refused {what}: {quote}"),
        _ => format!("{host} {what}: {quote}"),
    };
    let mend = match kind {
        Kind::Credentials if hint.is_empty() => "check username and password".to_owned(),
        Kind::Credentials => format!("check username and password; {hint}"),
        Kind::Refused => {
            let both = "it does not say why: the password may be wrong, or logins may be refused for now or \
                        switched off there; it is tried again";
            if hint.is_empty() { both.to_owned() } else { format!("{both}; {hint}") }
        }
        Kind::Unsupported if wants_tls(reply) => "set security to \"tls\" or \"starttls\"".to_owned(),
        Kind::Unsupported if hint.is_empty() => "the account must be put right at the server".to_owned(),
        Kind::Unsupported => format!("the account must be put right at the server; {hint}"),
        _ => String::new(),
    };
    Failure::new(kind, words, mend).waiting(delay.filter(|_| kind == Kind::Throttled))
}

/// What stands in place of a greeting and is no reply: nothing was sent yet, so that it can be quoted. Some that want fewer
/// connections answer as a mail server of another kind does (RFC 5321, 4.2.1).
pub(super) fn no_greeting(failure: Failure, line: Vec<u8>, host: &str) -> Failure {
    let reply = Reply { status: super::Status::Err, code: None, text: line };
    let quote = Scrub::default().quote(&reply);
    let passes = |kind: Kind| matches!(kind, Kind::Throttled | Kind::InUse | Kind::Unavailable);
    let kind = match kind(Step::Work(""), &reply) {
        kind if passes(kind) => kind,
        _ if reply.text.starts_with(b"421") => Kind::Unavailable,
        _ => Kind::Protocol,
    };
    match kind {
        Kind::Protocol if quote.is_empty() => failure,
        Kind::Protocol => Failure { words: format!("{}: {quote}", failure.words), ..failure },
        kind => Failure::new(kind, format!("{host} turned us away: {quote}"), "it is tried again later"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pop3::Status;

    fn reply(code: Option<&str>, text: &str) -> Reply {
        Reply { status: Status::Err, code: code.map(str::to_owned), text: text.into() }
    }

    #[test]
    fn what_is_no_greeting() {
        let failure = |line: &str| {
            no_greeting(Failure::new(Kind::Protocol, "it is no reply", ""), line.into(), "pop.example")
        };
        assert_eq!(failure("421 too many connections from your address").kind, Kind::Throttled);
        assert_eq!(failure("421 not now").kind, Kind::Unavailable);
        let other = failure("220 mail.example ESMTP");
        assert_eq!(
            (other.kind, other.words.as_str()),
            (Kind::Protocol, "it is no reply: 220 mail.example ESMTP")
        );
        assert_eq!(failure("").words, "it is no reply");
    }

    #[test]
    fn what_servers_say_at_the_login() {
        let cases = [
            (Some("AUTH"), "Username and password not accepted.", Kind::Credentials),
            (
                Some("AUTH"),
                "Plaintext authentication disallowed on non-secure connections.",
                Kind::Unsupported,
            ),
            (Some("SYS/TEMP"), "Temporary authentication failure.", Kind::Unavailable),
            (Some("SYS/PERM"), "Your account is not enabled for POP access.", Kind::Unsupported),
            (Some("IN-USE"), "password", Kind::InUse),
            (Some("LOGIN-DELAY"), "wrong password", Kind::Throttled),
            (None, "Temporary authentication failure.", Kind::Unavailable),
            (None, "Logon failure: unknown user name or bad password.", Kind::Credentials),
            (None, "Password incorrect, try again", Kind::Credentials),
            (None, "Server Unavailable. 15", Kind::Unavailable),
            (None, "Maximum connection limit reached from 192.0.2.1", Kind::Throttled),
            (None, "too many bad passwords", Kind::Throttled),
            (None, "maildrop already locked", Kind::InUse),
            (None, "/var/mail/.alice.pop lock busy!  Is another session active?", Kind::InUse),
            (None, "Your account is locked", Kind::Credentials),
            (None, "please wait, login delay", Kind::Throttled),
            (None, "POP3 access is disabled for this account", Kind::Unsupported),
        ];
        for (code, text, kind_) in cases {
            assert_eq!(kind(Step::Login, &reply(code, text)), kind_, "{text}");
        }
        assert_eq!(kind(Step::Greeting, &reply(None, "go away")), Kind::Unavailable);
        assert_eq!(kind(Step::Work("LIST"), &reply(None, "no")), Kind::Protocol);
    }

    #[test]
    fn a_wrong_password_is_one() {
        for (code, text) in [
            // Dovecot
            (Some("AUTH"), "Authentication failed."),
            // Courier
            (None, "Login failed."),
            // Cyrus
            (Some("AUTH"), "Invalid login"),
            (None, "authentication failure"),
            // qmail, vpopmail
            (None, "authorization failed"),
            // Exchange
            (None, "Logon failure: unknown user name or bad password."),
            // Gmail, NAVER; Yahoo
            (Some("AUTH"), "Username and password not accepted."),
            (Some("AUTH"), "(#MBR1212) Incorrect username or password."),
            // GMX, Zimbra, hMailServer, Domino
            (None, "invalid username or password"),
            (None, "invalid username/password"),
            (None, "Invalid user name or password."),
            // Qpopper, popa3d, UW
            (None, "[AUTH] Password supplied for \"al\" is incorrect."),
            (None, "Authentication failed (bad password?)"),
            (None, "Bad login"),
            // RFC 1939, 7
            (None, "sorry, no mailbox for al here"),
            (None, "never heard of mailbox al"),
            (None, "invalid password"),
        ] {
            assert_eq!(kind(Step::Login, &reply(code, text)), Kind::Credentials, "{text}");
        }
    }

    #[test]
    fn doubt_is_no_wrong_password() {
        for text in ["Unable to log on", "", "Access denied", "Your IP address is blocked", "login refused"] {
            let failure = login_failure(&reply(None, text), text, "pop.example", "al", "see x", None);
            assert_eq!(failure.kind, Kind::Refused, "{text}");
            assert!(!failure.counts() && failure.again() == crate::failure::Again::Later);
            for words in ["password may be wrong", "refused for now", "see x"] {
                assert!(failure.mend.contains(words), "{failure}");
            }
        }
    }

    #[test]
    fn the_mechanism_is_told_from_the_credentials() {
        for text in ["Unknown command", "AUTH mechanism not supported", "Syntax error"] {
            assert!(of_mechanism(&reply(None, text)), "{text}");
        }
        for text in ["authentication failed", "invalid password"] {
            assert!(!of_mechanism(&reply(None, text)), "{text}");
        }
        assert!(!of_mechanism(&reply(Some("AUTH"), "unsupported")));
    }

    #[test]
    fn quotes_hold_no_secrets_and_no_control_characters() {
        let mut scrub = Scrub::default();
        scrub.add(b"hunter2");
        scrub.add(b"");
        let long = format!("PASS HUNTER2 is not hunter2\x1b[31m {}", "x".repeat(400));
        let quote = scrub.quote(&reply(Some("AUTH"), &long));
        assert!(quote.starts_with("[AUTH] PASS * is not *?[31m xx"), "{quote}");
        assert!(quote.chars().count() <= 210);
    }

    #[test]
    fn hints_and_pauses_are_passed_on() {
        let hint = "make an app password";
        let wrong = login_failure(&reply(Some("AUTH"), "no"), "[AUTH] no", "pop.example", "al", hint, None);
        assert_eq!(wrong.words, "pop.example refused the login of al: [AUTH] no");
        assert!(wrong.mend.contains(hint));
        let delay = Some(Duration::from_secs(300));
        let early = failure(Step::Login, &reply(Some("LOGIN-DELAY"), ""), "", "pop.example", "", delay);
        assert_eq!(early.wait, delay);
        let full = failure(Step::Work("LIST"), &reply(None, "no"), "no", "pop.example", "", None);
        assert_eq!(full.words, "pop.example refused LIST: no");
    }
}
