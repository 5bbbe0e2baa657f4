//! Which ways lead into a mailbox by a password, in which order, and the one by SASL (RFC 3501, 6.2.2; RFC 4959). It refuses
//! to try a second way after the credentials themselves were refused, unless a server may not have what the first needs.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::refusal::refusal;
use super::response::Response;
use super::session::{Done, Session};
use crate::account::{Auth, Security, Source};
use crate::failure::{Failure, Kind};
use crate::message::Parcel;
use crate::sasl::{Exchange, Mechanism};
use crate::secret::Secret;

/// One way in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Path {
    Sasl(Mechanism),
    /// LOGIN (RFC 3501, 6.2.3)
    Command,
}

/// The ways in order, by what the server lists; `no_plain`: PLAIN is known to fail there.
pub(super) fn paths(
    source: &Source,
    secret: &Secret,
    listed: &BTreeSet<String>,
    no_plain: bool,
) -> Vec<Path> {
    use Mechanism::{CramMd5, Login, Plain, Scram};
    let offers = |mechanism: Mechanism| listed.contains(&format!("AUTH={}", mechanism.name()));
    let command = !listed.contains("LOGINDISABLED") && source.authorize_as.is_none();
    let open = source.security == Security::None;
    // What is not ASCII would have to be normalized, and servers differ in that.
    let scram = offers(Scram) && source.username.is_ascii() && secret.expose().is_ascii();
    let plain = offers(Plain);
    let ways: &[(Path, bool)] = match (source.auth, Mechanism::asked(source.auth)) {
        (Auth::Login, _) => &[(Path::Sasl(Login), offers(Login)), (Path::Command, command)],
        (_, Some(mechanism)) => &[(Path::Sasl(mechanism), true)],
        _ => &[
            // Under TLS it protects nothing, and a server needs the password in a special form for it.
            (Path::Sasl(Scram), scram && open),
            (Path::Sasl(Plain), plain && !no_plain),
            (Path::Sasl(Login), plain && offers(Login)),
            (Path::Command, command),
            (Path::Sasl(Login), !plain && offers(Login)),
            (Path::Sasl(CramMd5), offers(CramMd5)),
            (Path::Sasl(Scram), scram && !open),
        ],
    };
    let names = |path: Path| match path {
        Path::Sasl(mechanism) => source.authorize_as.is_none() || mechanism.names_another(),
        Path::Command => true,
    };
    ways.iter().filter(|(path, goes)| *goes && names(*path)).map(|(path, _)| *path).collect()
}

/// Whether a refusal speaks of the way and not of the credentials: words about a mechanism, or BAD without words that are
/// known to mean something else.
pub(super) fn is_closed(done: &Done) -> bool {
    const WAY: [&str; 10] = [
        "mechanism",
        "not supported",
        "unsupported",
        "unknown command",
        "unrecognized",
        "unrecognised",
        "not implemented",
        "invalid command",
        "syntax",
        "[cannot]",
    ];
    let lower = done.text.to_ascii_lowercase();
    let other = refusal("", &done.text, Kind::Unsupported, "").kind != Kind::Unsupported;
    !other && (done.said.bad || WAY.iter().any(|word| lower.contains(word)))
}

/// Whether nobody knows whether a refusal speaks of the way or of the credentials.
pub(super) fn is_unknown(done: &Done) -> bool {
    !is_closed(done) && refusal("", &done.text, Kind::Unsupported, "").kind == Kind::Unsupported
}

impl<T: From<Parcel> + Send + 'static> Session<T> {
    /// AUTHENTICATE; `first`: the first answer may stand in the command (SASL-IR).
    pub(super) async fn authenticate(
        &mut self,
        mechanism: Mechanism,
        source: &Source,
        secret: &Secret,
        first: bool,
    ) -> Result<Done, Failure> {
        let whom = source.authorize_as.as_deref();
        let mut exchange = Exchange::new(mechanism, &source.username, whom, secret)
            .map_err(|why| Failure::new(Kind::Secret, why, "write it anew"))?;
        let mut command = Zeroizing::new(format!("AUTHENTICATE {}", mechanism.name()));
        if first && mechanism.is_client_first() {
            let answer = exchange.answer(b"").map_err(|why| self.odd(why))?;
            let coded = Zeroizing::new(STANDARD.encode(answer.as_slice()));
            // Its size is known, so that it never moves and leaves a copy behind.
            command.reserve_exact(coded.len() + 1);
            command.push(' ');
            command.push_str(&coded);
        }
        let tag = self.send(command.as_bytes()).await?;
        let mut broken = None;
        loop {
            match self.response().await? {
                Response::Capabilities(names) => self.capabilities = names,
                Response::Continue(question) => {
                    // Whoever asks first may write anything where nothing is needed.
                    let question = STANDARD.decode(question.trim()).unwrap_or_default();
                    let line = match exchange.answer(&question) {
                        Ok(answer) => {
                            let coded = Zeroizing::new(STANDARD.encode(answer.as_slice()));
                            Zeroizing::new(format!("{}\r\n", coded.as_str()))
                        }
                        // A question after the last word of PLAIN: the server wants to tell an error.
                        Err(_) if mechanism != Mechanism::Scram => Zeroizing::new("\r\n".to_owned()),
                        Err(why) => {
                            broken = Some(why);
                            Zeroizing::new("*\r\n".to_owned())
                        }
                    };
                    self.write(line.as_bytes()).await?;
                }
                Response::Done { tag: theirs, ok, said } if theirs == tag => {
                    if let Some(names) = &said.capabilities {
                        self.capabilities.clone_from(names);
                    }
                    if let Some(why) = broken {
                        return Err(self.odd(why));
                    }
                    if ok && !exchange.is_proved() {
                        return Err(self.odd("it does not prove that it knows the password"));
                    }
                    return Ok(Done::new(ok, said));
                }
                _ => {}
            }
        }
    }

    fn odd(&self, why: &str) -> Failure {
        let words = format!("{}:{} breaks the rules of its login: {why}", self.host, self.port);
        Failure::new(Kind::Protocol, words, "")
    }
}
