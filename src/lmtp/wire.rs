//! The thin driver: octets out, answers in. It refuses an answer that takes too long as a whole, whatever it
//! trickles, and to go on after anything went wrong.

use std::fmt;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::reply::Reply;
use crate::failure::{Failure, Kind};
use crate::net::{self, Stream};
use crate::settings::Listener;

/// Asked for at each read.
const READ: usize = 4096;
/// For an answer, and for sending a piece of at most 64 KiB (RFC 5321, 4.5.3.2).
const PATIENCE: Duration = Duration::from_secs(300);

/// One connection in use.
pub(super) struct Wire {
    stream: Stream,
    at: Listener,
    /// Read, not yet understood.
    buffer: Vec<u8>,
    broken: Option<Failure>,
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Wire({}, {:?}, broken: {:?})", self.at, self.stream, self.broken)
    }
}

impl Wire {
    pub(super) fn new(stream: Stream, at: &Listener) -> Wire {
        Wire { stream, at: at.clone(), buffer: Vec::new(), broken: None }
    }

    /// Gives the connection up for a TLS handshake. Octets that were sent ahead of it would be taken for the
    /// server's though nobody vouches for them (CVE-2011-0411 and its kin).
    pub(super) fn into_stream(self) -> Result<Stream, Failure> {
        if self.buffer.is_empty() {
            return Ok(self.stream);
        }
        let words = format!("{} sent more in plain text after it agreed to STARTTLS", self.at);
        Err(Failure::new(Kind::Protocol, words, "somebody may be tampering with the connection"))
    }

    /// A silence of so long ends the connection.
    pub(super) fn set_stall(&mut self, stall: Duration) {
        self.stream.set_stall(stall);
    }

    /// Sends octets, at most 64 KiB at once.
    pub(super) async fn send(&mut self, octets: &[u8]) -> Result<(), Failure> {
        self.broken.clone().map_or(Ok(()), Err)?;
        let sent = timeout(PATIENCE, async {
            self.stream.write_all(octets).await?;
            self.stream.flush().await
        });
        match sent.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                let failure = self.failure(&error);
                Err(self.give_up(failure))
            }
            Err(_) => {
                let failure = self.trickles();
                Err(self.give_up(failure))
            }
        }
    }

    /// The next answer.
    pub(super) async fn reply(&mut self) -> Result<Reply, Failure> {
        self.reply_within(PATIENCE).await
    }

    pub(super) async fn reply_within(&mut self, patience: Duration) -> Result<Reply, Failure> {
        self.broken.clone().map_or(Ok(()), Err)?;
        let read = match timeout(patience, self.read()).await {
            Ok(read) => read,
            Err(_) => Err(self.trickles()),
        };
        read.map_err(|failure| self.give_up(failure))
    }

    async fn read(&mut self) -> Result<Reply, Failure> {
        loop {
            if let Some((reply, used)) = Reply::parse(&self.buffer)? {
                self.buffer.drain(..used);
                return Ok(reply);
            }
            self.buffer.reserve(READ);
            match self.stream.read_buf(&mut self.buffer).await {
                Ok(0) => return Err(self.failure(&std::io::ErrorKind::UnexpectedEof.into())),
                Ok(_) => {}
                Err(error) => return Err(self.failure(&error)),
            }
        }
    }

    /// Nothing is sent or read any more.
    pub(super) fn give_up(&mut self, failure: Failure) -> Failure {
        self.broken.get_or_insert_with(|| failure.clone());
        failure
    }

    pub(super) fn is_broken(&self) -> bool {
        self.broken.is_some()
    }

    /// Says goodbye to the transport; the outcome does not matter any more.
    pub(super) async fn close(mut self) {
        if let Ok(Err(error)) = timeout(Duration::from_secs(1), self.stream.shutdown()).await {
            tracing::debug!(%error, "no orderly end of an LMTP connection");
        }
    }

    fn failure(&self, error: &std::io::Error) -> Failure {
        net::failure_at(&self.at, error)
    }

    fn trickles(&self) -> Failure {
        Failure::new(Kind::Stalled, format!("{} trickles instead of answering", self.at), "")
    }
}
