//! Asks rspamd whether a message is spam (`/checkv2` over HTTP): the message goes out as it lies, piece by piece,
//! and one action comes back. It refuses to guess: what is no answer is a failure, and the caller decides.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::stream;
use serde_json::Value;

use crate::account::Member;
use crate::failure::{Failure, Kind};
use crate::http::{Answer, Body, Line, Piece, Request};
use crate::net::{Connector, failure_at};
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
    /// Connections that wait for the next question: as many as questions were asked at once.
    kept: Mutex<Vec<Line>>,
}

impl Judge {
    /// Asks as the settings say.
    pub fn new(connector: Connector, settings: Spam, password: Option<Secret>, member: Member) -> Judge {
        Judge { connector, settings, password, member, kept: Mutex::default() }
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
        // A server closes a kept connection when it likes: the question is then asked again over a new one.
        if let Some(mut line) = self.kept()
            && line.is_open().await
            && let Ok(Some(answer)) = line.ask(self.question(&letter)?, LONGEST).await
        {
            return self.understand(answer, line);
        }
        let at = &self.settings.rspamd;
        let broken = |error: std::io::Error| failure_at(at, &error);
        let mut line = Line::open(self.connector.reach(at).await?).await.map_err(broken)?;
        match line.ask(self.question(&letter)?, LONGEST).await.map_err(broken)? {
            Some(answer) => self.understand(answer, line),
            None => Err(Failure::new(Kind::Protocol, "its answer is none", "")),
        }
    }

    fn kept(&self) -> Option<Line> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    fn question(&self, letter: &Letter) -> Result<Request, Failure> {
        let ours = || Failure::new(Kind::Protocol, "the question cannot be written", "");
        let body = Body::of(letter.octets, pieces(letter.clone()));
        let mut request = Request::post("rspamd", "/checkv2", body).ok_or_else(ours)?;
        let member = self.member.to_string();
        if member.bytes().all(|octet| octet.is_ascii_graphic()) {
            for name in ["rcpt", "deliver-to"] {
                request = request.with(name, member.as_bytes()).ok_or_else(ours)?;
            }
        }
        match &self.password {
            Some(password) => request
                .with("password", password.expose())
                .ok_or_else(|| Failure::new(Kind::Secret, "its password holds a control character", "")),
            None => Ok(request),
        }
    }

    fn understand(&self, answer: Answer, line: Line) -> Result<Judgement, Failure> {
        if answer.status != 200 {
            let words = format!("it answers with status {}", answer.status);
            // The message is not to its liking (RFC 9110, 15.5), and will not be later.
            if matches!(answer.status, 400 | 411 | 413 | 415 | 422) {
                return Ok(Judgement::Unknown(words));
            }
            let mend = if matches!(answer.status, 401 | 403) { "check its password in [spam]" } else { "" };
            return Err(Failure::new(Kind::Unavailable, words, mend));
        }
        // Whoever judged has read the message whole: the connection is free for the next one.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).push(line);
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

/// The message, read piece by piece as the connection takes it.
fn pieces(letter: Letter) -> impl stream::Stream<Item = std::io::Result<Piece>> + Send + 'static {
    stream::try_unfold((letter, 0), |(letter, done)| async move {
        let left = letter.octets - done;
        if left == 0 {
            return Ok(None);
        }
        let (file, at) = (Arc::clone(&letter.file), letter.offset + done);
        let most = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
        let read = tokio::task::spawn_blocking(move || {
            let mut piece = vec![0; most];
            file.read_exact_at(&mut piece, at).map(|()| piece)
        });
        let piece = read.await.map_err(std::io::Error::other)??;
        let done = done + piece.len() as u64;
        Ok(Some((Piece::from(piece), (letter, done))))
    })
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
