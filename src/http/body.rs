//! What a request carries: pieces that come when they are asked for, of a length that is known before. A piece is
//! zeroed when it is dropped.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Buf;
use futures_util::stream::{self, BoxStream, Stream, StreamExt};
use hyper::body::{Frame, SizeHint};
use zeroize::Zeroizing;

/// Bytes of a body, and how many of them are sent.
pub struct Piece {
    bytes: Zeroizing<Vec<u8>>,
    sent: usize,
}

impl From<Vec<u8>> for Piece {
    fn from(bytes: Vec<u8>) -> Piece {
        Piece { bytes: Zeroizing::new(bytes), sent: 0 }
    }
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.bytes.len() - self.sent
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.get(self.sent..).unwrap_or_default()
    }

    fn advance(&mut self, count: usize) {
        self.sent = (self.sent + count).min(self.bytes.len());
    }
}

/// The body of a request.
pub struct Body {
    left: u64,
    pieces: BoxStream<'static, io::Result<Piece>>,
}

impl Body {
    /// No body.
    pub fn none() -> Body {
        Body { left: 0, pieces: stream::empty().boxed() }
    }

    /// One that lies in memory.
    pub fn whole(bytes: Zeroizing<Vec<u8>>) -> Body {
        let piece = Piece { sent: 0, bytes };
        Body { left: piece.bytes.len() as u64, pieces: stream::iter([Ok(piece)]).boxed() }
    }

    /// `pieces` that make `length` bytes together. Fewer, or an error among them, break the connection off.
    pub fn of(length: u64, pieces: impl Stream<Item = io::Result<Piece>> + Send + 'static) -> Body {
        Body { left: length, pieces: pieces.boxed() }
    }
}

impl hyper::body::Body for Body {
    type Data = Piece;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Piece>, io::Error>>> {
        self.pieces.poll_next_unpin(context).map_ok(|piece| {
            self.left = self.left.saturating_sub(piece.remaining() as u64);
            Frame::data(piece)
        })
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body").field("left", &self.left).finish_non_exhaustive()
    }
}
