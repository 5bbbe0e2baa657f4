//! A connection over which one request after the other is asked.

use std::error::Error;
use std::io;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper::header::RETRY_AFTER;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::task::AbortOnDropHandle;
use zeroize::Zeroizing;

use super::wire::{Wire, Wrong};
use super::{Answer, Body, Request};

/// Bytes of an answer that wait to be read, its head among them; one read may go beyond.
const HEAD: usize = 64 << 10;

/// An open connection.
#[derive(Debug)]
pub struct Line {
    sender: SendRequest<Body>,
    wrong: Wrong,
    _driver: AbortOnDropHandle<()>,
}

/// One request over a connection of its own. `None`: what came is no answer, or one of more than `longest` bytes.
///
/// # Errors
/// The connection's.
pub async fn exchange<S>(stream: S, request: Request, longest: usize) -> io::Result<Option<Answer>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Some(request) = request.with("connection", b"close") else { return Ok(None) };
    Line::open(stream).await?.ask(request, longest).await
}

impl Line {
    /// Takes a connection that is ready.
    ///
    /// # Errors
    /// The connection's.
    pub async fn open<S>(stream: S) -> io::Result<Line>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (wire, wrong) = Wire::new(stream);
        // Some servers and relays know a field by its usual spelling alone. Pieces go out as they are: hyper makes
        // no copy of them that nobody zeroes.
        let (sender, connection) = Builder::new()
            .title_case_headers(true)
            .writev(true)
            .max_buf_size(HEAD)
            .handshake(TokioIo::new(wire))
            .await
            .map_err(io::Error::other)?;
        let driver = tokio::spawn(async {
            // What ended it is told to whoever asked.
            let _ = connection.await;
        });
        Ok(Line { sender, wrong, _driver: AbortOnDropHandle::new(driver) })
    }

    /// Whether the server has not closed it since, and takes one more request. It waits until that is known.
    pub async fn is_open(&mut self) -> bool {
        self.sender.ready().await.is_ok()
    }

    /// The answer, of at most `longest` bytes. `None`: what came is none. Whoever refuses early does not read to
    /// the end, and still its answer is what counts.
    ///
    /// # Errors
    /// The connection's, and the body's.
    pub async fn ask(&mut self, request: Request, longest: usize) -> io::Result<Option<Answer>> {
        match self.sender.send_request(request.0).await {
            Ok(answer) => self.read(answer, longest).await,
            Err(error) => self.ended(&error),
        }
    }

    async fn read(&self, answer: hyper::Response<Incoming>, longest: usize) -> io::Result<Option<Answer>> {
        let (head, mut incoming) = answer.into_parts();
        let retry_after = head.headers.get(RETRY_AFTER);
        let retry_after = retry_after.and_then(|value| value.to_str().ok()?.trim().parse().ok());
        // Memory that never moves, and is zeroed.
        let mut body = Zeroizing::new(Vec::with_capacity(longest));
        while let Some(frame) = incoming.frame().await {
            match frame {
                Ok(frame) => {
                    let piece = frame.into_data().unwrap_or_default();
                    if piece.len() > longest - body.len() {
                        return Ok(None);
                    }
                    body.extend_from_slice(&piece);
                }
                Err(error) => return self.ended(&error),
            }
        }
        Ok(Some(Answer { status: head.status.as_u16(), body, retry_after }))
    }

    /// What an exchange that broke off is: an error of the connection, of the body, or no HTTP.
    fn ended(&self, error: &hyper::Error) -> io::Result<Option<Answer>> {
        let body = || {
            let error = error.source()?.downcast_ref::<io::Error>().filter(|_| error.is_user())?;
            Some(io::Error::new(error.kind(), error.to_string()))
        };
        self.wrong.take().or_else(body).map_or(Ok(None), Err)
    }
}
