//! Which ways lead into a maildrop, in which order, and the one by SASL (RFC 5034). It refuses to try a second way after
//! the credentials themselves were refused, unless a server may not have what the first way needs.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use zeroize::Zeroizing;

use super::login::{Login, Way};
use super::machine::{Expect, Status};
use crate::account::{Auth, Security, Source};
use crate::failure::{Failure, Kind};
use crate::sasl::{Exchange, Mechanism};
use crate::secret::Secret;

/// Questions that a server may ask in one login.
const QUESTIONS: usize = 6;

/// One way in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Path {
    Sasl(Mechanism),
    /// RFC 1939, 7
    Apop,
    /// USER and PASS
    User,
}

/// The ways in order; `offered` are the mechanisms that the server lists, `digest` is whether APOP can be tried, `plain`
/// whether PLAIN is known to fail there.
pub(super) fn paths(
    source: &Source,
    secret: &Secret,
    offered: &[String],
    digest: bool,
    no_plain: bool,
) -> Vec<Path> {
    use Mechanism::{CramMd5, Login, Plain, Scram};
    let offers = |mechanism: Mechanism| offered.iter().any(|name| name == mechanism.name());
    match source.auth {
        Auth::Apop => return vec![Path::Apop],
        Auth::Login if !offers(Login) => return vec![Path::User],
        Auth::Login => return vec![Path::Sasl(Login), Path::User],
        asked => {
            if let Some(mechanism) = Mechanism::asked(asked) {
                return vec![Path::Sasl(mechanism)];
            }
        }
    }
    let open = source.security == Security::None;
    // What is not ASCII would have to be normalized, and servers differ in that.
    let scram = offers(Scram) && source.username.is_ascii() && secret.expose().is_ascii();
    let plain = offers(Plain);
    let ways = [
        // Under TLS it protects nothing, and a server needs the password in a special form for it.
        (Path::Sasl(Scram), scram && open),
        (Path::Sasl(Plain), plain && !no_plain),
        (Path::Sasl(Login), plain && offers(Login)),
        (Path::Apop, digest && open),
        (Path::User, true),
        (Path::Sasl(Login), !plain && offers(Login)),
        (Path::Sasl(CramMd5), offers(CramMd5)),
        (Path::Sasl(Scram), scram && !open),
    ];
    ways.into_iter().filter(|(_, goes)| *goes).map(|(path, _)| path).collect()
}

impl Login<'_> {
    /// In two steps at least: an initial response would save a round trip, but not every server that lists SASL takes one
    /// (RFC 5034 came later).
    pub(super) async fn sasl(&mut self, mechanism: Mechanism, secret: &Secret) -> Result<Way, Failure> {
        let source = self.source;
        let whom = source.authorize_as.as_deref();
        let mut exchange = Exchange::new(mechanism, &source.username, whom, secret)
            .map_err(|why| Failure::new(Kind::Secret, why, "write it anew"))?;
        let mut reply = self.wire.command(&format!("AUTH {}", mechanism.name()), Expect::Line).await?;
        if reply.status == Status::Ok {
            return Err(self.wire.protocol("it did not ask for the credentials"));
        }
        for _ in 0..QUESTIONS {
            match reply.status {
                Status::More => self.exchanged = true,
                Status::Err => return self.refused(reply),
                Status::Ok if exchange.is_proved() => return Ok(Way::Done),
                Status::Ok => return Err(self.wire.protocol("it does not prove that it knows the password")),
            }
            // Whoever asks first may write anything where nothing is needed.
            let question = BASE64.decode(reply.text.trim_ascii()).unwrap_or_default();
            let answer = exchange.answer(&question).map_err(|why| self.wire.protocol(why))?;
            let coded = Zeroizing::new(BASE64.encode(answer.as_slice()));
            self.scrub.add(coded.as_bytes());
            reply = self.wire.command_with("", coded.as_bytes()).await?;
        }
        Err(self.wire.protocol("it asks without end"))
    }
}
