//! HTTP as a server may speak it, and what may come to the port that waits for a browser. It demands that it does
//! not matter where bytes are split, that nothing is larger than promised, and that an answer with two lengths is
//! none.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use mailhaul::http::{Answer, Request, exchange, serve_one};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime::{Builder, Runtime};

/// Bytes of a body that is taken.
const LONGEST: usize = 200;

/// Byte 1: the size of pieces; byte 2: odd for an answer, even for a request; then what comes.
pub fn run(data: &[u8]) {
    thread_local! {
        static RUNTIME: Runtime = Builder::new_current_thread().build().unwrap();
    }
    let [piece, side, wire @ ..] = data else { return };
    let piece = usize::from(*piece) + 1;
    RUNTIME.with(|runtime| {
        runtime.block_on(async {
            match side % 2 {
                1 => answers(wire, piece).await,
                _ => requests(wire, piece).await,
            }
        });
    });
}

async fn answers(wire: &[u8], piece: usize) {
    let whole = answer(wire, wire.len().max(1)).await;
    assert_eq!(answer(wire, piece).await, whole, "it matters where bytes are split");
    if let Some(answer) = whole {
        assert!((100..1000).contains(&answer.status) && answer.body.len() <= LONGEST);
        assert!(answer.status >= 200 || answer.status == 101, "what only comes before an answer is none");
        assert!(!two_lengths(wire), "two lengths, and one was believed");
    }
}

async fn answer(wire: &[u8], piece: usize) -> Option<Answer> {
    let request = Request::get("h.example", "/x").unwrap();
    exchange(Pieces::of(wire, piece), request, LONGEST).await.expect("nothing breaks here")
}

/// The plainest case of it: the first head has two different numbers, and no other encoding.
fn two_lengths(wire: &[u8]) -> bool {
    let Some(end) = wire.windows(4).position(|four| four == b"\r\n\r\n") else { return false };
    let head = String::from_utf8_lossy(&wire[..end]).to_lowercase();
    if !head.starts_with("http/1.1 200") || head.contains("transfer-encoding") {
        return false;
    }
    let lines = head.split("\r\n").filter_map(|line| line.strip_prefix("content-length: "));
    let mut lengths: Vec<u64> = lines.filter_map(|value| value.parse().ok()).collect();
    lengths.dedup();
    lengths.len() > 1
}

async fn requests(wire: &[u8], piece: usize) {
    let whole = asked(wire, wire.len().max(1)).await;
    assert_eq!(asked(wire, piece).await, whole, "it matters where bytes are split");
    assert!(whole.len() <= 1, "one connection asks once");
}

/// The targets that were asked for.
async fn asked(wire: &[u8], piece: usize) -> Vec<Option<String>> {
    let seen = std::cell::RefCell::new(Vec::new());
    serve_one(Pieces::of(wire, piece), |target| {
        seen.borrow_mut().push(target.map(str::to_owned));
        (true, "seen")
    })
    .await;
    seen.into_inner()
}

/// A connection from which these pieces come, and which takes everything.
struct Pieces(VecDeque<Vec<u8>>);

impl Pieces {
    fn of(wire: &[u8], piece: usize) -> Pieces {
        Pieces(wire.chunks(piece).map(<[u8]>::to_vec).collect())
    }
}

impl AsyncRead for Pieces {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(mut piece) = self.0.pop_front() {
            let rest = piece.split_off(piece.len().min(into.remaining()));
            into.put_slice(&piece);
            if !rest.is_empty() {
                self.0.push_front(rest);
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pieces {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
