//! From a connection to a session that is logged in: greeting, capabilities, STLS, and the ways to prove
//! who we are, from the one that says most when it fails to the one that every server knows.
//!
//! ```text
//! connected ─► (TLS) ─► greeted ─► CAPA ─► STLS, TLS, CAPA ─► PLAIN ─► APOP ─► USER/PASS ─► logged in
//!                                         └── starttls only     └ next only if the way is refused ┘
//! ```
//!
//! It refuses to send a password before TLS where TLS was asked for, and to try the next way after the
//! credentials themselves were refused: that would count as two wrong passwords.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use md5::{Digest, Md5};
use zeroize::Zeroizing;

use super::capability::Capabilities;
use super::machine::{Expect, Reply, Status};
use super::refusal::{self, Scrub, Step};
use super::ways::{self, Path};
use super::wire::{Wire, is_ok};
use crate::account::{Auth, Security, Source};
use crate::bearer;
use crate::failure::{Failure, Kind};
use crate::net::{Connector, Quirk, Quirks, no_word};
use crate::sasl::Mechanism;
use crate::secret::Secret;

/// A list of capabilities may have so many octets.
const CAPABILITIES: u64 = 64 << 10;

/// Connects and logs in. A server may greet with a timestamp and still have no secret for APOP: when it refuses
/// the digest, the password is tried on a new connection, as the account allows plain text.
pub(super) async fn open(
    connector: &Connector,
    source: &Source,
    secret: &Secret,
) -> Result<(Wire, Capabilities), Failure> {
    let connector = &connector.toward(source);
    let known = connector.quirks().has(&source.host, source.port, Quirk::NoCapa);
    let mut how = How { digest: true, capa: !known };
    // Each way that is closed is tried once: first without CAPA, then without the digest, or the other way round.
    loop {
        match attempt(connector, source, secret, how).await? {
            Attempt::In(wire, capabilities) => {
                if !how.capa {
                    connector.quirks().learn(&source.host, source.port, Quirk::NoCapa);
                }
                return Ok((*wire, *capabilities));
            }
            Attempt::DigestRefused(_) if how.digest => how.digest = false,
            Attempt::CapaFailed(_) if how.capa => how.capa = false,
            Attempt::DigestRefused(failure) | Attempt::CapaFailed(failure) => return Err(failure),
        }
    }
}

/// What a login tries of what not every server can do.
#[derive(Debug, Clone, Copy)]
struct How {
    digest: bool,
    capa: bool,
}

/// How a connection began.
enum Attempt {
    In(Box<Wire>, Box<Capabilities>),
    DigestRefused(Failure),
    /// The connection ended, or fell silent, over CAPA or behind its refusal.
    CapaFailed(Failure),
}

async fn attempt(
    connector: &Connector,
    source: &Source,
    secret: &Secret,
    how: How,
) -> Result<Attempt, Failure> {
    let ca_file = source.ca_file.as_deref();
    let mut stream = connector.connect(&source.host, source.port).await?;
    if source.security == Security::Tls {
        stream = connector.secure(stream, &source.host, ca_file).await?;
    }
    let mut wire = Wire::new(stream, &source.host, source.port);
    wire.expect(Expect::Line);
    let greeting = match wire.status().await {
        Err(failure) if failure.kind == Kind::Protocol => {
            return Err(refusal::no_greeting(failure, wire.unread_line(), &source.host));
        }
        greeting => greeting.map_err(|failure| turned_away(failure, source))?,
    };
    if !is_ok(&greeting) {
        let quote = Scrub::default().quote(&greeting);
        return Err(refusal::failure(Step::Greeting, &greeting, &quote, &source.host, "", None));
    }
    let mut capabilities = match ask(&mut wire, how.capa).await {
        Err(failure) if failure.broke() => return Ok(Attempt::CapaFailed(failure)),
        asked => asked?,
    };
    if source.security == Security::StartTls {
        match start_tls(&mut wire, &capabilities).await {
            Err(failure) if ends_over_capa(&failure, how, &capabilities) => {
                return Ok(Attempt::CapaFailed(failure));
            }
            started => started?,
        }
        let stream = connector.secure(wire.into_stream()?, &source.host, ca_file).await?;
        wire = Wire::new(stream, &source.host, source.port);
        // What was said in plain text counts for nothing (RFC 2595, 4).
        capabilities = match ask(&mut wire, how.capa).await {
            Err(failure) if failure.broke() => return Ok(Attempt::CapaFailed(failure)),
            asked => asked?,
        };
    }
    if capabilities.utf8 {
        // Without it a server may send a stand-in for a message with 8-bit headers (RFC 6856, 2). A refusal
        // changes nothing.
        wire.command("UTF8", Expect::Line).await?;
    }
    wire.set_stall(source.patience.login);
    let scrub = Scrub::default();
    let mut login = Login {
        wire: &mut wire,
        source,
        capabilities: &capabilities,
        scrub,
        quirks: connector.quirks(),
        digest: how.digest,
        digest_refused: false,
        digest_unknown: false,
        exchanged: false,
    };
    if let Err(failure) = login.run(&greeting, secret).await {
        let again = login.digest_refused
            && source.auth != Auth::Apop
            && (login.digest_unknown || matches!(failure.kind, Kind::Credentials | Kind::Refused));
        return match again {
            true => Ok(Attempt::DigestRefused(failure)),
            // Whoever does not prove that it knows the password does not get it in another way.
            false if !login.exchanged && ends_over_capa(&failure, how, &capabilities) => {
                Ok(Attempt::CapaFailed(failure))
            }
            false => Err(failure),
        };
    }
    wire.begin_work(source.patience.work);
    if capabilities.by_user {
        capabilities = match ask(&mut wire, how.capa).await {
            Err(failure) if failure.broke() => return Ok(Attempt::CapaFailed(failure)),
            asked => asked?,
        };
    }
    Ok(Attempt::In(Box::new(wire), Box::new(capabilities)))
}

/// Some servers refuse CAPA, as a command that they do not know, and end the connection for it, or say more than was asked.
fn ends_over_capa(failure: &Failure, how: How, capabilities: &Capabilities) -> bool {
    how.capa
        && ((!capabilities.known && failure.kind == Kind::Disconnected) || failure.kind == Kind::Protocol)
}

/// A connection that ends before the greeting: servers that count connections do so without a word.
fn turned_away(failure: Failure, source: &Source) -> Failure {
    match failure.kind {
        Kind::Disconnected => Failure::new(
            Kind::Throttled,
            format!("{}:{} closed the connection before it greeted", source.host, source.port),
            "it is tried again; if it stays, there may be too many connections from here: lower per_host",
        ),
        Kind::Stalled => no_word(&source.host, source.port, source.security == Security::Tls),
        _ => failure,
    }
}

/// CAPA; a server that does not know it, or is not asked, has the capabilities of RFC 1939.
async fn ask(wire: &mut Wire, asks: bool) -> Result<Capabilities, Failure> {
    let mut capabilities = Capabilities::default();
    if asks && is_ok(&wire.command("CAPA", Expect::Lines).await?) {
        capabilities.known = true;
        wire.lines(CAPABILITIES, super::LINE_LIMIT, |line| {
            capabilities.line(line);
            Ok(())
        })
        .await?;
    }
    Ok(capabilities)
}

async fn start_tls(wire: &mut Wire, capabilities: &Capabilities) -> Result<(), Failure> {
    let offered = if capabilities.known && !capabilities.stls {
        false
    } else {
        is_ok(&wire.command("STLS", Expect::Line).await?)
    };
    if offered {
        return Ok(());
    }
    let words = format!("{} offers no STLS", wire.host());
    Err(wire.give_up(Failure::new(Kind::Tls, words, "set security to \"tls\" (usually with port 995)")))
}

/// How one way of logging in ended, unless in a failure.
pub(super) enum Way {
    Done,
    /// The server does not go this way; what it said.
    Closed(Reply),
}

pub(super) struct Login<'a> {
    pub(super) wire: &'a mut Wire,
    pub(super) source: &'a Source,
    capabilities: &'a Capabilities,
    pub(super) scrub: Scrub,
    quirks: &'a Quirks,
    /// APOP may be tried.
    digest: bool,
    /// APOP was tried and refused.
    digest_refused: bool,
    /// In words that have no code.
    digest_unknown: bool,
    /// The server took up an exchange of SASL.
    pub(super) exchanged: bool,
}

impl Login<'_> {
    async fn run(&mut self, greeting: &Reply, secret: &Secret) -> Result<(), Failure> {
        self.scrub.add(secret.expose());
        let source = self.source;
        if source.password.oauth2().is_some() {
            return self.token(secret).await;
        }
        let (host, port) = (source.host.as_str(), source.port);
        let digest = self.digest && timestamp(&greeting.text).is_some() && !source.username.contains(' ');
        let no_plain = self.quirks.has(host, port, Quirk::NoPlain);
        let ways = ways::paths(source, secret, &self.capabilities.sasl, digest, no_plain);
        let (mut closed, mut plain_closed) = (None, false);
        for path in ways {
            let way = match path {
                Path::Sasl(mechanism) => self.sasl(mechanism, secret).await,
                Path::Apop => match timestamp(&greeting.text) {
                    Some(timestamp) => self.apop(timestamp, secret).await,
                    None => return Err(self.no_digest()),
                },
                Path::User => self.user(secret).await,
            };
            match way {
                Ok(Way::Done) => {
                    if plain_closed {
                        self.quirks.learn(host, port, Quirk::NoPlain);
                    }
                    return Ok(());
                }
                Ok(Way::Closed(reply)) => {
                    plain_closed |= path == Path::Sasl(Mechanism::Plain);
                    closed = Some(self.no_way(&reply));
                }
                // A server may offer it and have no secret for it.
                Err(failure)
                    if path == Path::Sasl(Mechanism::Scram)
                        && source.auth != Auth::Scram
                        && matches!(failure.kind, Kind::Credentials | Kind::Refused) =>
                {
                    closed = Some(failure);
                }
                Err(failure) => return Err(failure),
            }
        }
        Err(closed.unwrap_or_else(|| self.no_digest()))
    }

    fn no_digest(&self) -> Failure {
        let words = format!("{} greets without a timestamp, so there is no APOP", self.source.host);
        Failure::new(Kind::Unsupported, words, "write auth = \"auto\"")
    }

    /// An access token in two steps: Microsoft takes it in no other way.
    async fn token(&mut self, token: &Secret) -> Result<(), Failure> {
        let offers = |name: &str| self.capabilities.sasl.iter().any(|mechanism| mechanism == name);
        let source = self.source;
        let (mechanism, answer) = if offers("OAUTHBEARER") && !offers("XOAUTH2") {
            let written = bearer::oauthbearer(&source.username, &source.host, source.port, token);
            ("AUTH OAUTHBEARER", written)
        } else {
            // Not every server that takes it lists it.
            ("AUTH XOAUTH2", bearer::xoauth2(&source.username, token))
        };
        let coded = Zeroizing::new(BASE64.encode(&*answer));
        self.scrub.add(coded.as_bytes());
        let mut reply = self.wire.command(mechanism, Expect::Line).await?;
        if reply.status == Status::More {
            reply = self.wire.command_with("", coded.as_bytes()).await?;
        } else if reply.status == Status::Err && refusal::of_mechanism(&reply) {
            return Err(self.no_way(&reply));
        }
        let mut status = None;
        if reply.status == Status::More {
            status = bearer::status(&String::from_utf8_lossy(&reply.text));
            reply = self.wire.command_with("", b"").await?;
        }
        match reply.status {
            Status::Ok => Ok(()),
            Status::More => Err(self.wire.protocol("it asked for more than was agreed")),
            Status::Err => {
                let mut failure = self.failure(&reply);
                if let Some(status) = status {
                    failure.words.push_str(&format!(" (status {status})"));
                }
                Err(failure)
            }
        }
    }

    /// RFC 1939, 7.
    async fn apop(&mut self, timestamp: &[u8], secret: &Secret) -> Result<Way, Failure> {
        let mut hash = Md5::new();
        hash.update(timestamp);
        hash.update(secret.expose());
        let mut argument = self.source.username.clone().into_bytes();
        argument.push(b' ');
        for octet in hash.finalize() {
            argument.extend_from_slice(format!("{octet:02x}").as_bytes());
        }
        let reply = self.wire.command_with("APOP", &argument).await?;
        self.digest_refused = reply.status == Status::Err;
        // "Not available" is said of the way, and not of the server, unless a code says so (RFC 3206).
        self.digest_unknown = self.digest_refused && reply.code.is_none();
        self.outcome(reply)
    }

    async fn user(&mut self, secret: &Secret) -> Result<Way, Failure> {
        let reply = self.wire.command_with("USER", self.source.username.as_bytes()).await?;
        match reply.status {
            Status::Ok => {}
            Status::Err => return self.refused(reply),
            Status::More => return Err(self.wire.protocol("it asked for more than a name")),
        }
        // A password may hold blanks, at its ends too: all that follows the first one is the password.
        let reply = self.wire.command_with("PASS", secret.expose()).await?;
        self.outcome(reply)
    }

    pub(super) fn outcome(&mut self, reply: Reply) -> Result<Way, Failure> {
        match reply.status {
            Status::Ok => Ok(Way::Done),
            Status::Err => self.refused(reply),
            Status::More => Err(self.wire.protocol("it asked for more than was agreed")),
        }
    }

    pub(super) fn refused(&self, reply: Reply) -> Result<Way, Failure> {
        if refusal::of_mechanism(&reply) { Ok(Way::Closed(reply)) } else { Err(self.failure(&reply)) }
    }

    /// Every way is closed: that says nothing about the credentials.
    fn no_way(&self, reply: &Reply) -> Failure {
        let mut failure = self.failure(reply);
        if matches!(failure.kind, Kind::Credentials | Kind::Refused) {
            failure.kind = Kind::Unsupported;
            failure.mend = self.source.login_hint.clone();
        }
        failure
    }

    fn failure(&self, reply: &Reply) -> Failure {
        let quote = self.scrub.quote(reply);
        let source = self.source;
        let delay = self.capabilities.login_delay;
        refusal::login_failure(reply, &quote, &source.host, &source.username, &source.login_hint, delay)
    }
}

/// The timestamp in a greeting: a message id (RFC 1939, 7). One that is none could be made up by somebody
/// in between to guess at passwords (CVE-2007-1558).
fn timestamp(greeting: &[u8]) -> Option<&[u8]> {
    let start = memchr::memchr(b'<', greeting)?;
    let rest = greeting.get(start..)?;
    let end = memchr::memchr(b'>', rest)?;
    let id = rest.get(..=end)?;
    (id.contains(&b'@') && id.iter().all(u8::is_ascii_graphic)).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_and_what_is_none() {
        assert_eq!(timestamp(b"ready <1896.697@db.mtview>"), Some(b"<1896.697@db.mtview>".as_slice()));
        for greeting in ["ready", "<no at>", "<a@b", "<a @b>", "<a\x01@b>"] {
            assert_eq!(timestamp(greeting.as_bytes()), None, "{greeting}");
        }
    }
}
