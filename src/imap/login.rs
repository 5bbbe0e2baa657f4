//! Proving who we are: by a password or by an access token (XOAUTH2, OAUTHBEARER). It refuses to
//! quote a token that a server sends back.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::command::quoted;
use super::refusal::refusal;
use super::response::Response;
use super::session::{Done, Session};
use super::ways::{self, Path};
use super::without::Ways;
use crate::account::{Auth, Source};
use crate::bearer;
use crate::failure::{Failure, Kind};
use crate::message::Parcel;
use crate::net::Quirk;
use crate::sasl::Mechanism;
use crate::secret::Secret;

/// A command line with a longer token than this is sent in two steps: some servers have no room for it.
const LINE: usize = 4096;

impl<T: From<Parcel> + Send + 'static> Session<T> {
    pub(super) async fn login(
        &mut self,
        source: &Source,
        secret: &Secret,
        known: &mut Ways,
    ) -> Result<(), Failure> {
        if source.password.oauth2().is_some() {
            return self.show_token(source, secret, known).await;
        }
        let password = secret.expose();
        if password.iter().any(|b| matches!(b, 0 | b'\r' | b'\n')) {
            return Err(Failure::new(Kind::Secret, "the password has a line end in it", "mend the secret"));
        }
        let before = std::mem::take(&mut self.capabilities);
        let mut ways = ways::paths(source, secret, &before, known.lacks(Quirk::NoPlain));
        if ways.is_empty() {
            // Nothing is left without it.
            ways = ways::paths(source, secret, &before, false);
        }
        let (mut closed, mut second) = (None, false);
        let mut ways = ways.into_iter().peekable();
        while let Some(path) = ways.next() {
            let plain = path == Path::Sasl(Mechanism::Plain);
            // A server may break over it, and take the password in another way.
            if plain && !second && ways.peek().is_some() {
                known.begin(Quirk::NoPlain);
            }
            let done = match path {
                Path::Sasl(mechanism) => {
                    self.authenticate(mechanism, source, secret, before.contains("SASL-IR")).await?
                }
                Path::Command => self.login_command(source.username.as_bytes(), password).await?,
            };
            if done.ok {
                known.end();
                if self.capabilities.is_empty() {
                    self.ask_capabilities(known).await?;
                }
                return Ok(());
            }
            let refused = self.login_refused(source, secret, &done);
            let scram = path == Path::Sasl(Mechanism::Scram) && source.auth != Auth::Scram;
            // A server may offer SCRAM and have no secret for it.
            // Words that nobody knows may be about the way: one second look, and no more.
            let unknown = plain && !second && ways::is_unknown(&done) && ways.peek().is_some();
            let goes_on = ways::is_closed(&done) || unknown || (scram && refused.kind == Kind::Credentials);
            if plain && goes_on {
                known.fails();
            }
            known.end();
            if !goes_on {
                return Err(refused);
            }
            second |= unknown;
            closed = Some(match unknown || (scram && refused.kind == Kind::Credentials) {
                true => refused,
                false => Failure { kind: Kind::Unsupported, mend: self.hint.clone(), ..refused },
            });
        }
        Err(closed.unwrap_or_else(|| self.no_way(source)))
    }

    fn login_refused(&self, source: &Source, secret: &Secret, done: &Done) -> Failure {
        let step = format!("{}:{} refuses the login of {}", self.host, self.port, source.username);
        let coded = STANDARD.encode(secret.expose());
        let text = bearer::without(&done.text, secret, &coded);
        refusal(&step, &text, Kind::Credentials, &self.hint)
    }

    /// The server offers no way that may be gone.
    fn no_way(&self, source: &Source) -> Failure {
        let (words, mend) = match source.authorize_as {
            Some(_) => (
                "offers no AUTH=PLAIN, so nobody can log in for another",
                "use security = \"tls\" or \"starttls\", or a login that names the member",
            ),
            None => {
                ("allows no login by password on this connection", "use security = \"tls\" or \"starttls\"")
            }
        };
        Failure::new(Kind::Unsupported, format!("{}:{} {words}", self.host, self.port), mend)
    }

    async fn login_command(&mut self, user: &[u8], password: &[u8]) -> Result<Done, Failure> {
        let plain = |text: &[u8]| text.iter().all(|b| matches!(b, b' '..=b'~'));
        if plain(user)
            && plain(password)
            && let (Some(user), Some(password)) = (quoted(user), quoted(password).map(Zeroizing::new))
        {
            let command = Zeroizing::new([b"LOGIN ", user.as_slice(), b" ", password.as_slice()].concat());
            let tag = self.send(&command).await?;
            return self.finish_login(&tag).await;
        }
        let tag = self.send(format!("LOGIN {{{}}}", user.len()).as_bytes()).await?;
        for (text, next) in [(user, Some(password.len())), (password, None)] {
            if let Some(done) = self.continuation(&tag).await? {
                return Ok(done);
            }
            let mut line = Zeroizing::new(text.to_vec());
            if let Some(next) = next {
                line.extend_from_slice(format!(" {{{next}}}").as_bytes());
            }
            line.extend_from_slice(b"\r\n");
            self.write(&line).await?;
        }
        self.finish_login(&tag).await
    }

    /// RFC 7628, and what Google made before it.
    async fn show_token(&mut self, source: &Source, token: &Secret, known: &mut Ways) -> Result<(), Failure> {
        let before = std::mem::take(&mut self.capabilities);
        let (mechanism, answer) = if before.contains("AUTH=XOAUTH2") {
            ("XOAUTH2", bearer::xoauth2(&source.username, token))
        } else if before.contains("AUTH=OAUTHBEARER") {
            ("OAUTHBEARER", bearer::oauthbearer(&source.username, &self.host, self.port, token))
        } else {
            return Err(Failure::new(
                Kind::Unsupported,
                format!("{}:{} takes no access tokens on this connection", self.host, self.port),
                "use security = \"tls\" or \"starttls\", or auth = \"password\"",
            ));
        };
        let coded = Zeroizing::new(STANDARD.encode(answer.as_slice()));
        self.challenge = None;
        let done = if before.contains("SASL-IR") && coded.len() < LINE - 64 {
            let command = Zeroizing::new(format!("AUTHENTICATE {mechanism} {}", coded.as_str()));
            let tag = self.send(command.as_bytes()).await?;
            self.finish_login(&tag).await?
        } else {
            let tag = self.send(format!("AUTHENTICATE {mechanism}").as_bytes()).await?;
            match self.continuation(&tag).await? {
                None => {
                    let line = Zeroizing::new(format!("{}\r\n", coded.as_str()));
                    self.write(line.as_bytes()).await?;
                    self.finish_login(&tag).await?
                }
                Some(done) => done,
            }
        };
        if !done.ok {
            let challenge = self.challenge.take();
            let text = bearer::without(&done.text, token, &coded);
            let step = match challenge.as_deref().and_then(bearer::status) {
                Some(status) => format!(
                    "{}:{} refuses the token of {} with status {status}",
                    self.host, self.port, source.username
                ),
                None => format!("{}:{} refuses the token of {}", self.host, self.port, source.username),
            };
            return Err(refusal(&step, &text, Kind::Credentials, &self.hint));
        }
        if self.capabilities.is_empty() {
            self.ask_capabilities(known).await?;
        }
        Ok(())
    }

    async fn finish_login(&mut self, tag: &str) -> Result<Done, Failure> {
        loop {
            match self.response().await? {
                Response::Capabilities(names) => self.capabilities = names,
                // A challenge after the last word of PLAIN: the server wants to tell an error.
                Response::Continue(challenge) => {
                    self.challenge = Some(challenge);
                    self.write(b"\r\n").await?;
                }
                Response::Done { tag: theirs, ok, said } if theirs == tag => {
                    if let Some(names) = &said.capabilities {
                        self.capabilities.clone_from(names);
                    }
                    return Ok(Done::new(ok, said));
                }
                _ => {}
            }
        }
    }
}
