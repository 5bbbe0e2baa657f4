//! What was found out about servers: what they fail at though they offer it, so that the simpler way is taken from then on. It is
//! known by host and port for as long as the daemon runs, and forgotten then: a server may have been mended.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use super::silence::Slowest;

/// Servers that are remembered.
const MOST: usize = 100_000;

/// Something that was found out about a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Quirk {
    /// POP3: the connection ends or falls silent over CAPA (RFC 2449, 5).
    NoCapa,
    /// POP3: of several commands at once only the first is answered, whatever PIPELINING says (RFC 2449, 6.6).
    Lockstep,
    /// POP3: UIDL with a message number does not answer with that message's line (RFC 1939, 7).
    NoUidlOfOne,
    /// POP3: LIST with a message number does not answer with that message's line (RFC 1939, 5).
    NoListOfOne,
    /// POP3: LIST for all messages is refused (RFC 1939, 5).
    NoList,
    /// POP3: the sizes of LIST are not those of the messages (RFC 1939, 5).
    WrongSizes,
    /// AUTH or AUTHENTICATE PLAIN is offered and refused, whatever the credentials are.
    NoPlain,
    /// IMAP: CAPABILITY is refused, or the connection ends or falls silent over it (RFC 3501, 6.1.1).
    NoCapability,
    /// IMAP: the connection ends or falls silent over ID (RFC 2971).
    NoId,
    /// IMAP: the connection ends or falls silent over NAMESPACE (RFC 2342).
    NoNamespace,
    /// IMAP: the connection ends or falls silent over LSUB (RFC 3501, 6.3.9).
    NoLsub,
    /// IMAP: the connection ends or falls silent over LIST with RETURN (RFC 5258), which is announced.
    NoListReturn,
    /// IMAP: folders have no UIDVALIDITY, or 0 (RFC 3501, 2.3.1.1).
    NoUidValidity,
    /// IMAP: a connection ended over LSUB, once.
    LsubBroke,
    /// IMAP: MULTIAPPEND (RFC 3502) is announced and fails.
    NoMultiAppend,
    /// IMAP: LITERAL+ (RFC 7888) is announced and fails.
    NoLiteralPlus,
    /// POP3: UIDL with a message number answers for that message.
    UidlOfOne,
    /// POP3: LIST with a message number answers for that message.
    ListOfOne,
}

impl Quirk {
    /// What an administrator is told; `None`: nothing is wrong.
    fn words(self) -> Option<&'static str> {
        Some(match self {
            Quirk::NoCapa => "it fails at CAPA; it is not asked for its capabilities any more",
            Quirk::Lockstep => {
                "it answers only the first of several commands; they are sent one by one from now on"
            }
            Quirk::NoUidlOfOne => {
                "it does not answer UIDL for one message; LIST is used to tell its answers apart"
            }
            Quirk::NoListOfOne => "it does not answer LIST for one message; messages are fetched one by one",
            Quirk::NoList => "it refuses LIST for all messages; sizes are asked for one by one",
            Quirk::WrongSizes => {
                "the sizes that it lists are wrong; each message is fetched twice to be sure of it"
            }
            Quirk::NoPlain => "it offers PLAIN and refuses it; logins go another way from now on",
            Quirk::NoCapability => "it fails at CAPABILITY; what it can do besides the usual is not used",
            Quirk::NoId => "it fails at ID; it is not told any more who asks",
            Quirk::NoNamespace => "it fails at NAMESPACE; its folders are taken as they are listed",
            Quirk::NoLsub => "it fails at LSUB; nobody knows which folders are subscribed there",
            Quirk::NoListReturn => "it fails at LIST with RETURN; its folders are listed the plain way",
            Quirk::NoUidValidity => {
                "it gives no UIDVALIDITY; its messages are told apart by their contents from run to run"
            }
            Quirk::NoMultiAppend => "it announces MULTIAPPEND and fails at it; each message goes alone",
            Quirk::NoLiteralPlus => {
                "it announces LITERAL+ and fails at it; each message waits for its answer"
            }
            Quirk::UidlOfOne | Quirk::ListOfOne | Quirk::LsubBroke => return None,
        })
    }
}

/// A server: host and port.
type At = (String, u16);

/// What is known of which server.
#[derive(Debug, Default)]
pub struct Quirks(Mutex<BTreeMap<At, BTreeSet<Quirk>>>, Mutex<BTreeMap<At, Arc<Slowest>>>);

impl Quirks {
    /// Whether the server at `host` and `port` is known for `quirk`.
    pub fn has(&self, host: &str, port: u16, quirk: Quirk) -> bool {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&(host.to_owned(), port)).is_some_and(|quirks| quirks.contains(&quirk))
    }

    /// From now on it is; the log says so once, at INFO.
    pub fn learn(&self, host: &str, port: u16, quirk: Quirk) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = (host.to_owned(), port);
        if known.len() >= MOST && !known.contains_key(&at) {
            return;
        }
        if known.entry(at).or_default().insert(quirk)
            && let Some(words) = quirk.words()
        {
            tracing::info!("the server {host}:{port}: {words}");
        }
    }

    /// How long its ordinary answers take.
    pub(super) fn slowest(&self, host: &str, port: u16) -> Arc<Slowest> {
        let mut known = self.1.lock().unwrap_or_else(PoisonError::into_inner);
        let at = (host.to_owned(), port);
        if known.len() >= MOST && !known.contains_key(&at) {
            return Arc::default();
        }
        Arc::clone(known.entry(at).or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_server_has_its_own() {
        let quirks = Quirks::default();
        quirks.learn("pop.example", 995, Quirk::Lockstep);
        assert!(quirks.has("pop.example", 995, Quirk::Lockstep));
        assert!(!quirks.has("pop.example", 110, Quirk::Lockstep));
        assert!(!quirks.has("pop.example", 995, Quirk::NoCapa));
    }
}
