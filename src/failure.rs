//! What went wrong, in the two questions that every error answers: *again when* and *how far does it
//! reach*. Rooms translate their own errors into a [`Failure`]; the engine acts on nothing else.
//! It refuses to hold secrets, subjects or bodies: `words` may quote a server's status line only.

use std::fmt;
use std::time::Duration;

/// When the same work may be tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// At once, on a new connection: nothing suggests that the next try fails too.
    Now,
    /// After a pause.
    Later,
    /// Not before a person changed something.
    Never,
}

/// How far a failure reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// This message alone.
    Message,
    /// This folder alone.
    Folder,
    /// This account.
    Account,
    /// Every account at the same host.
    Host,
    /// Us: the destination, the disk, our own network.
    Us,
}

/// The kind of a failure; the two answers follow from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The server refused the credentials (`[AUTH]`, `[AUTHENTICATIONFAILED]`).
    Credentials,
    /// The server refused the login, and its words do not say whether for the credentials.
    Refused,
    /// The mailbox's owner, or who speaks for it, has to consent at the provider.
    Consent,
    /// The access token ran out in the middle: the next one is asked for, and the work goes on.
    Expired,
    /// The secret could not be read here (a missing file, a failing command).
    Secret,
    /// The server asks for fewer or later requests (`[LOGIN-DELAY]`, `[THROTTLED]`, `[LIMIT]`).
    Throttled,
    /// Enough for now, by what is known of the server: it goes on by itself at a known time.
    Enough,
    /// Another session holds the mailbox (`[IN-USE]`).
    InUse,
    /// The server says that it is unwell (`[SYS/TEMP]`, `[UNAVAILABLE]`).
    Unavailable,
    /// Nobody listens at that host and port, or its name does not exist.
    Unreachable,
    /// The fault is in our own network: no route, no name service.
    OurNetwork,
    /// The TLS handshake or the certificate failed.
    Tls,
    /// The connection broke.
    Disconnected,
    /// No byte came for the stall limit.
    Stalled,
    /// The server broke the protocol or a limit of ours.
    Protocol,
    /// The server cannot do what is needed.
    Unsupported,
    /// The host is on a private address and that is not allowed.
    PrivateHost,
    /// One message cannot be fetched.
    Message,
    /// One folder cannot be read.
    Folder,
    /// The destination cannot be written: whose it is and who we are is in the words.
    Destination,
    /// The destination refuses one message after the other, while everything else goes well.
    Refuses,
    /// The destination has no mailbox for the member.
    Recipient,
    /// The destination has no space.
    Full,
    /// The journal cannot be written.
    Journal,
    /// The work was stopped on purpose.
    Stopped,
}

/// One failure, ready to be acted on, kept and shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Its kind.
    pub kind: Kind,
    /// What happened, in words for a person; no final stop.
    pub words: String,
    /// What to do, in words for a person; empty if there is nothing to do but wait.
    pub mend: String,
    /// How long the other side asked us to wait.
    pub wait: Option<Duration>,
    /// The other side ended the connection with these words.
    pub ended: bool,
}

impl Failure {
    /// A failure of `kind` with what happened and what to do.
    pub fn new(kind: Kind, words: impl Into<String>, mend: impl Into<String>) -> Self {
        Failure { kind, words: words.into(), mend: mend.into(), wait: None, ended: false }
    }

    /// The same, with the pause that the other side asked for.
    #[must_use]
    pub fn waiting(mut self, wait: Option<Duration>) -> Self {
        self.wait = wait;
        self
    }

    /// The failure in words for somebody for whom nothing is tried again by itself.
    pub fn last_words(&self) -> String {
        let lasts = |part: &&str| !part.starts_with("it is tried again") && !part.is_empty();
        let mend: Vec<&str> = self.mend.split("; ").filter(lasts).collect();
        Failure { mend: mend.join("; "), ..self.clone() }.to_string()
    }

    /// Again when?
    pub fn again(&self) -> Again {
        match self.kind {
            Kind::Disconnected | Kind::Expired => Again::Now,
            Kind::Credentials | Kind::Secret | Kind::Unsupported | Kind::PrivateHost | Kind::Recipient => {
                Again::Never
            }
            _ => Again::Later,
        }
    }

    /// How far does it reach?
    pub fn reach(&self) -> Reach {
        match self.kind {
            Kind::Message => Reach::Message,
            Kind::Folder => Reach::Folder,
            Kind::Unreachable | Kind::Tls => Reach::Host,
            Kind::OurNetwork
            | Kind::Destination
            | Kind::Refuses
            | Kind::Full
            | Kind::Journal
            | Kind::Stopped => Reach::Us,
            _ => Reach::Account,
        }
    }

    /// Whether the connection is of no use any more.
    pub fn broke(&self) -> bool {
        self.ended || matches!(self.kind, Kind::Disconnected | Kind::Stalled | Kind::Protocol)
    }

    /// Whether the other side asks for fewer connections or requests.
    pub fn asks_for_less(&self) -> bool {
        matches!(self.kind, Kind::Throttled | Kind::InUse | Kind::Unavailable)
    }

    /// Whether a poll that ended with this counts towards `max_failures`: the account's own causes do,
    /// throttling, a refusal that may pass, a missing consent, our own network and our own destination do not.
    pub fn counts(&self) -> bool {
        !matches!(
            self.kind,
            Kind::Refused
                | Kind::Consent
                | Kind::Expired
                | Kind::Throttled
                | Kind::Enough
                | Kind::InUse
                | Kind::Unavailable
                | Kind::OurNetwork
                | Kind::Destination
                | Kind::Refuses
                | Kind::Full
                | Kind::Journal
                | Kind::Stopped
        )
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)?;
        if !self.mend.is_empty() {
            write!(f, "; {}", self.mend)?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_faults_never_count() {
        for kind in
            [Kind::Refused, Kind::OurNetwork, Kind::Full, Kind::Destination, Kind::Journal, Kind::Consent]
        {
            assert!(!Failure::new(kind, "x", "").counts(), "{kind:?}");
        }
        for kind in [Kind::Credentials, Kind::Unreachable, Kind::Protocol, Kind::Tls, Kind::Stalled] {
            assert!(Failure::new(kind, "x", "").counts(), "{kind:?}");
        }
    }

    #[test]
    fn shows_what_and_how_to_mend() {
        let failure = Failure::new(Kind::Full, "the disk is full", "make space");
        assert_eq!(failure.to_string(), "the disk is full; make space");
        assert_eq!(failure.last_words(), "the disk is full; make space");
        for (mend, last) in [
            ("it is tried again", "x"),
            ("look; it is tried again later; see y", "x; look; see y"),
            ("", "x"),
        ] {
            assert_eq!(Failure::new(Kind::Protocol, "x", mend).last_words(), last);
        }
    }
}
