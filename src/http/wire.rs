//! The connection as hyper sees it. Two habits of servers are made harmless here: one refuses a request before it
//! has read it whole, and one ends TLS without a goodbye. The error that ended a connection is kept for whoever asks.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What went wrong on a connection, if anything did.
#[derive(Debug, Clone, Default)]
pub(super) struct Wrong(Arc<Mutex<Option<io::Error>>>);

impl Wrong {
    /// The error, which is given out once.
    pub(super) fn take(&self) -> Option<io::Error> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Keeps the first one; what is given on has its kind.
    fn keep(&self, error: io::Error) -> io::Error {
        let kind = error.kind();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        kind.into()
    }
}

/// A connection below hyper.
#[derive(Debug)]
pub(super) struct Wire<S> {
    stream: S,
    wrong: Wrong,
    /// The server takes nothing any more: its answer may still come.
    deaf: bool,
}

impl<S> Wire<S> {
    pub(super) fn new(stream: S) -> (Wire<S>, Wrong) {
        let wrong = Wrong::default();
        (Wire { stream, wrong: wrong.clone(), deaf: false }, wrong)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Wire<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.stream).poll_read(context, into) {
            // What is missing then is seen by its length.
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => Poll::Ready(Ok(())),
            Poll::Ready(Err(error)) => Poll::Ready(Err(self.wrong.keep(error))),
            other => other,
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if !self.deaf {
            match Pin::new(&mut self.stream).poll_write(context, bytes) {
                Poll::Ready(Err(error)) => {
                    self.wrong.keep(error);
                    self.deaf = true;
                }
                other => return other,
            }
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.deaf {
            match Pin::new(&mut self.stream).poll_flush(context) {
                Poll::Ready(Err(error)) => {
                    self.wrong.keep(error);
                    self.deaf = true;
                }
                other => return other,
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.deaf {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
