//! Asks rspamd whether a message is spam (`/checkv2` over HTTP): the message goes out as it lies, piece by piece,
//! and one action comes back. It refuses to guess: what is no answer is a failure, and the caller decides.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use serde_json::Value;
use tokio::io::AsyncWriteExt;

use crate::account::Member;
use crate::failure::{Failure, Kind};
use crate::http;
use crate::net::{Connector, Stream, failure_at};
use crate::secret::Secret;
use crate::settings::{Action, Spam};

/// An answer lists every symbol; this is far more than that.
const LONGEST: usize = 1 << 20;
/// A message is read in pieces of this size.
const PIECE: usize = 64 << 10;

/// What a message is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judgement {
    /// It belongs into Junk.
    Spam,
    /// It does not, or is too large to be asked about.
    Ham,
    /// Nobody can say, today or another day: why.
    Unknown(String),
}

/// A message in a file.
#[derive(Debug, Clone)]
pub struct Letter {
    /// The file.
    pub file: Arc<File>,
    /// Where it begins.
    pub offset: u64,
    /// Its octets.
    pub octets: u64,
}

/// Who is asked, for one member.
#[derive(Debug)]
pub struct Judge {
    connector: Connector,
    settings: Spam,
    password: Option<Secret>,
    member: Member,
}

impl Judge {
    /// Asks as the settings say.
    pub fn new(connector: Connector, settings: Spam, password: Option<Secret>, member: Member) -> Judge {
        Judge { connector, settings, password, member }
    }

    /// The settings.
    pub fn settings(&self) -> &Spam {
        &self.settings
    }

    /// What rspamd says.
    ///
    /// # Errors
    /// It cannot be reached, does not answer in time, or does not say.
    pub async fn judge(&self, letter: Letter) -> Result<Judgement, Failure> {
        if self.settings.max_size.is_some_and(|most| letter.octets > most) {
            return Ok(Judgement::Ham);
        }
        let said = match tokio::time::timeout(self.settings.timeout, self.ask(letter)).await {
            Ok(said) => said,
            Err(_) => {
                let words = format!("no answer within {} s", self.settings.timeout.as_secs_f32());
                Err(Failure::new(Kind::Stalled, words, ""))
            }
        };
        said.map_err(|failure| {
            let words = format!("rspamd at {} cannot be asked: {}", self.settings.rspamd, failure.words);
            Failure::new(Kind::Destination, words, failure.mend)
        })
    }

    async fn ask(&self, letter: Letter) -> Result<Judgement, Failure> {
        let at = &self.settings.rspamd;
        let mut stream = self.connector.reach(at).await?;
        let broken = |error: std::io::Error| failure_at(at, &error);
        let mut head = format!(
            "POST /checkv2 HTTP/1.1\r\nHost: rspamd\r\nUser-Agent: mailhaul/{}\r\nContent-Length: {}\r\n\
             Connection: close\r\n",
            env!("CARGO_PKG_VERSION"),
            letter.octets
        );
        let member = self.member.to_string();
        if member.bytes().all(|octet| octet.is_ascii_graphic()) {
            head.push_str(&format!("Rcpt: {member}\r\nDeliver-To: {member}\r\n"));
        }
        stream.write_all(head.as_bytes()).await.map_err(broken)?;
        if let Some(password) = &self.password {
            if password.expose().iter().any(u8::is_ascii_control) {
                return Err(Failure::new(Kind::Secret, "its password holds a control character", ""));
            }
            for part in [b"Password: ".as_slice(), password.expose(), b"\r\n"] {
                stream.write_all(part).await.map_err(broken)?;
            }
        }
        // Whoever refuses early does not read to the end; its answer says why.
        let sent = send(&mut stream, letter).await;
        let answer = http::answer(&mut stream, LONGEST).await.map_err(broken)?;
        let answer = match (answer, sent) {
            (Some(answer), _) => answer,
            (None, Err(error)) => return Err(failure_at(at, &error)),
            (None, Ok(())) => return Err(Failure::new(Kind::Protocol, "its answer is none", "")),
        };
        if answer.status != 200 {
            let words = format!("it answers with status {}", answer.status);
            // The message is not to its liking (RFC 9110, 15.5), and will not be later.
            if matches!(answer.status, 400 | 411 | 413 | 415 | 422) {
                return Ok(Judgement::Unknown(words));
            }
            let mend = if matches!(answer.status, 401 | 403) { "check its password in [spam]" } else { "" };
            return Err(Failure::new(Kind::Unavailable, words, mend));
        }
        let said = serde_json::from_slice::<Value>(&answer.body).ok();
        let action = said.as_ref().and_then(|said| said.get("action")?.as_str()).and_then(action);
        match action {
            Some(action) => Ok(match action.is_some_and(|action| action >= self.settings.minimum) {
                true => Judgement::Spam,
                false => Judgement::Ham,
            }),
            None => Err(Failure::new(Kind::Protocol, "it names no action that is known", "")),
        }
    }
}

async fn send(stream: &mut Stream, letter: Letter) -> std::io::Result<()> {
    stream.write_all(b"\r\n").await?;
    let mut done = 0;
    while done < letter.octets {
        let (file, at) = (Arc::clone(&letter.file), letter.offset + done);
        let most = usize::try_from(letter.octets - done).unwrap_or(PIECE).min(PIECE);
        let read = tokio::task::spawn_blocking(move || {
            let mut piece = vec![0; most];
            file.read_exact_at(&mut piece, at).map(|()| piece)
        });
        let piece = read.await.map_err(std::io::Error::other)??;
        stream.write_all(&piece).await?;
        done += piece.len() as u64;
    }
    stream.flush().await
}

/// `Some(None)`: it advises nothing that makes a message spam. A message that is to be tried again later, or
/// was tried too often, is not spam for that.
fn action(written: &str) -> Option<Option<Action>> {
    match written {
        "no action" | "greylist" | "soft reject" | "accept" => Some(None),
        "add header" => Some(Some(Action::AddHeader)),
        "rewrite subject" => Some(Some(Action::RewriteSubject)),
        "reject" | "quarantine" | "discard" => Some(Some(Action::Reject)),
        _ => None,
    }
}
