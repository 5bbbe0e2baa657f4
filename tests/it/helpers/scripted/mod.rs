//! A server that plays a script, line by line, so that a test can make it lie. It speaks no protocol and
//! refuses to go on when the client says something else than the script has.
//!
//! In IMAP scripts `{tag}` in an [`expect`] takes the line's first word, and in a [`send`] repeats it.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "each test uses its part of the helper")]

use std::path::PathBuf;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::helpers::certificate::Certificate;

/// One step of a script.
pub enum Step {
    /// Sends these octets in one piece.
    Send(Vec<u8>),
    /// Reads a line and demands that it begins so; a prefix that ends in `\n` is the whole line.
    Expect(String),
    /// Reads so many octets, such as a literal, and forgets them.
    Take(usize),
    /// Becomes a TLS server.
    StartTls,
    /// Says nothing for so long.
    Wait(Duration),
    /// Closes the connection at once.
    Close,
    /// Says nothing any more, until the client has gone.
    Hang,
}

pub fn send(octets: impl AsRef<[u8]>) -> Step {
    Step::Send(octets.as_ref().to_vec())
}

pub fn expect(prefix: impl Into<String>) -> Step {
    Step::Expect(prefix.into())
}

/// The server. After its script, a connection waits for the client to close.
pub struct Scripted {
    pub port: u16,
    certificate: Certificate,
    task: JoinHandle<Result<(), String>>,
}

trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}

impl Scripted {
    /// One script for each connection, in the order in which they come.
    pub async fn play(scripts: Vec<Vec<Step>>) -> Scripted {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let certificate = Certificate::new();
        let acceptor = TlsAcceptor::from(certificate.server());
        let task = tokio::spawn(async move {
            for script in scripts {
                let (tcp, _) = listener.accept().await.map_err(|error| error.to_string())?;
                connection(tcp, &acceptor, script).await?;
            }
            Ok(())
        });
        Scripted { port, certificate, task }
    }

    /// For `ca_file`.
    pub fn authority(&self) -> PathBuf {
        self.certificate.authority()
    }

    /// Every script was played to its end, or the test fails with what came instead.
    pub async fn finish(self) {
        let played = tokio::time::timeout(Duration::from_secs(20), self.task).await;
        played.expect("the client never came to the end of the script").unwrap().unwrap();
    }
}

async fn connection(tcp: TcpStream, acceptor: &TlsAcceptor, script: Vec<Step>) -> Result<(), String> {
    let mut wire: Box<dyn Wire> = Box::new(tcp);
    let mut tag = String::new();
    let mut buffered = BufStream::new(wire);
    for step in script {
        match step {
            Step::Send(octets) => {
                let octets = match std::str::from_utf8(&octets) {
                    Ok(text) => text.replace("{tag}", &tag).into_bytes(),
                    Err(_) => octets,
                };
                // A client may have gone for good reason; what it says next, or not, is what counts.
                buffered.write_all(&octets).await.ok();
                buffered.flush().await.ok();
            }
            Step::Expect(prefix) => {
                let mut line = Vec::new();
                buffered.read_until(b'\n', &mut line).await.map_err(|error| format!("{prefix}: {error}"))?;
                let line = String::from_utf8_lossy(&line).into_owned();
                if prefix.starts_with("{tag}") {
                    tag = line.split_whitespace().next().unwrap_or_default().to_owned();
                }
                if !line.starts_with(&prefix.replace("{tag}", &tag)) {
                    return Err(format!("the script has {prefix:?}, the client said {line:?}"));
                }
            }
            Step::Take(octets) => {
                let mut taken = vec![0; octets];
                buffered.read_exact(&mut taken).await.map_err(|error| format!("a literal: {error}"))?;
            }
            Step::StartTls => {
                wire = buffered.into_inner();
                match acceptor.accept(wire).await {
                    Ok(tls) => buffered = BufStream::new(Box::new(tls)),
                    // A client that refuses to begin TLS is a test of its own.
                    Err(_) => return Ok(()),
                }
            }
            Step::Wait(silence) => tokio::time::sleep(silence).await,
            Step::Close => return Ok(()),
            Step::Hang => {
                buffered.read_to_end(&mut Vec::new()).await.ok();
                return Ok(());
            }
        }
    }
    let mut more = Vec::new();
    buffered.read_to_end(&mut more).await.ok();
    if more.is_empty() {
        return Ok(());
    }
    Err(format!("after the script the client said {:?}", String::from_utf8_lossy(&more)))
}
