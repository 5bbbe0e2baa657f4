//! A connection, plain or TLS, that gives up when nothing moves for a while. The clock lies below TLS, so
//! it counts octets on the wire, and it runs only while somebody waits. It refuses to know a protocol: a
//! peer that sends one octet a minute has to be caught by what reads it.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, Sleep};
use tokio_rustls::client::TlsStream;

use super::silence::Slowest;

/// How long a read or a write may wait without an octet moving, unless the stream was told otherwise.
pub const STALL: Duration = Duration::from_secs(60);

/// An open connection.
pub struct Stream(Inner);

enum Inner {
    Plain(Watched),
    Tls(Box<TlsStream<Watched>>),
}

impl Stream {
    pub(super) fn plain(tcp: TcpStream) -> Stream {
        Stream(Inner::Plain(Watched::new(Wire::Tcp(tcp))))
    }

    pub(crate) fn local(socket: UnixStream) -> Stream {
        Stream(Inner::Plain(Watched::new(Wire::Local(socket))))
    }

    /// A connection to a peer in memory.
    #[cfg(test)]
    pub(crate) fn memory(peer: tokio::io::DuplexStream) -> Stream {
        Stream(Inner::Plain(Watched::new(Wire::Memory(peer))))
    }

    pub(super) fn tls(tls: TlsStream<Watched>) -> Stream {
        Stream(Inner::Tls(Box::new(tls)))
    }

    /// The wire, if nothing lies over it yet.
    pub(super) fn into_plain(self) -> Option<Watched> {
        match self.0 {
            Inner::Plain(watched) => Some(watched),
            Inner::Tls(_) => None,
        }
    }

    /// Whether TLS protects this connection.
    pub fn is_secure(&self) -> bool {
        matches!(self.0, Inner::Tls(_))
    }

    fn watched(&mut self) -> &mut Watched {
        match &mut self.0 {
            Inner::Plain(watched) => watched,
            Inner::Tls(tls) => tls.get_mut().0,
        }
    }

    /// How long a read or write may wait.
    pub fn stall(&self) -> Duration {
        match &self.0 {
            Inner::Plain(watched) => watched.stall,
            Inner::Tls(tls) => tls.get_ref().0.stall,
        }
    }

    /// From now on, a read or write fails with [`io::ErrorKind::TimedOut`] after waiting so long.
    pub fn set_stall(&mut self, stall: Duration) {
        self.watched().stall = stall;
    }

    /// The login is over: the same, and from now on answers are ordinary ones, by which it is known how slow the server is.
    pub fn begin_work(&mut self, stall: Duration) {
        let watched = self.watched();
        (watched.stall, watched.works) = (stall, Some(stall));
    }

    /// Whether what is asked for next is looked at once more, because the server fell silent over it: then it has less
    /// time, but as much as its ordinary answers take. `false`: as long again as [`Stream::begin_work`] said.
    pub fn hurry(&mut self, hurry: bool) {
        let watched = self.watched();
        let Some(full) = watched.works else { return };
        watched.stall = if hurry { watched.slowest.further(full) } else { full };
    }

    /// Whose answers they are.
    pub(super) fn is_of(&mut self, slowest: Arc<Slowest>) {
        self.watched().slowest = slowest;
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_secure() { "Stream(tls)" } else { "Stream(plain)" })
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().0 {
            Inner::Plain(watched) => Pin::new(watched).poll_read(cx, buf),
            Inner::Tls(tls) => Pin::new(tls).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().0 {
            Inner::Plain(watched) => Pin::new(watched).poll_write(cx, buf),
            Inner::Tls(tls) => Pin::new(tls).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().0 {
            Inner::Plain(watched) => Pin::new(watched).poll_flush(cx),
            Inner::Tls(tls) => Pin::new(tls).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().0 {
            Inner::Plain(watched) => Pin::new(watched).poll_shutdown(cx),
            Inner::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
        }
    }
}

/// What carries the octets.
enum Wire {
    Tcp(TcpStream),
    Local(UnixStream),
    /// A peer in memory, for tests of what speaks over a stream.
    #[cfg(test)]
    Memory(tokio::io::DuplexStream),
}

/// The wire with its clocks: one for the reader, one for the writer.
pub(super) struct Watched {
    wire: Wire,
    stall: Duration,
    /// How long is waited for an ordinary answer, once there are any.
    works: Option<Duration>,
    /// How long the server's ordinary answers take.
    slowest: Arc<Slowest>,
    reading: Clock,
    writing: Clock,
}

impl Watched {
    fn new(wire: Wire) -> Watched {
        let (reading, writing) = (Clock::default(), Clock::default());
        Watched { wire, stall: STALL, works: None, slowest: Arc::default(), reading, writing }
    }

    /// An octet moved, whichever way: a long upload is no silence, even if somebody waits for the answer.
    fn alive(&mut self) {
        self.reading.since = None;
        self.writing.since = None;
    }
}

/// When the wait began, and the timer, which is kept because making one costs an allocation.
#[derive(Default)]
struct Clock {
    since: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Clock {
    /// Somebody waits: starts the clock, or says that the wait was too long.
    fn wait<T>(&mut self, cx: &mut Context<'_>, stall: Duration) -> Poll<io::Result<T>> {
        let since = *self.since.get_or_insert_with(Instant::now);
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(stall)));
        let end = since + stall;
        if timer.deadline() != end {
            timer.as_mut().reset(end);
        }
        match timer.as_mut().poll(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(()) => {
                self.since = None;
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Wire::Tcp(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Wire::Local(socket) => Pin::new(socket).poll_read(cx, buf),
            #[cfg(test)]
            Wire::Memory(memory) => Pin::new(memory).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Wire::Tcp(tcp) => Pin::new(tcp).poll_write(cx, buf),
            Wire::Local(socket) => Pin::new(socket).poll_write(cx, buf),
            #[cfg(test)]
            Wire::Memory(memory) => Pin::new(memory).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Neither kind holds anything back.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Wire::Tcp(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Wire::Local(socket) => Pin::new(socket).poll_shutdown(cx),
            #[cfg(test)]
            Wire::Memory(memory) => Pin::new(memory).poll_shutdown(cx),
        }
    }
}

impl AsyncRead for Watched {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        match Pin::new(&mut this.wire).poll_read(cx, buf) {
            Poll::Pending => this.reading.wait(cx, this.stall),
            ready => {
                // The end of a connection is no answer.
                if let Some(since) = this.reading.since.filter(|_| buf.filled().len() > before)
                    && this.works.is_some()
                {
                    this.slowest.answered_after(since.elapsed());
                }
                this.alive();
                ready
            }
        }
    }
}

impl AsyncWrite for Watched {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        match Pin::new(&mut this.wire).poll_write(cx, buf) {
            Poll::Pending => this.writing.wait(cx, this.stall),
            ready => {
                this.alive();
                ready
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().wire).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().wire).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    async fn pair(stall_ms: u64) -> (Stream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let mut stream = Stream::plain(client);
        stream.set_stall(Duration::from_millis(stall_ms));
        (stream, listener.accept().await.unwrap().0)
    }

    #[tokio::test]
    async fn silence_ends_a_read_and_only_a_waiting_one() {
        let (mut stream, mut peer) = pair(100).await;
        // Nobody waits: the clock stands still.
        tokio::time::sleep(Duration::from_millis(250)).await;
        peer.write_all(b"x").await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), b'x');
        let before = Instant::now();
        assert_eq!(stream.read_u8().await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(before.elapsed() >= Duration::from_millis(95));
    }

    #[tokio::test]
    async fn each_octet_winds_the_clock_up() {
        let (mut stream, mut peer) = pair(400).await;
        let sender = tokio::spawn(async move {
            for _ in 0..8 {
                tokio::time::sleep(Duration::from_millis(100)).await;
                peer.write_all(b"x").await.unwrap();
            }
            peer
        });
        let mut got = [0; 8];
        stream.read_exact(&mut got).await.unwrap();
        drop(sender.await.unwrap());
    }

    #[tokio::test]
    async fn a_further_look_waits_less() {
        let (mut stream, mut peer) = pair(60_000).await;
        stream.hurry(true);
        assert_eq!(stream.stall().as_secs(), 60, "a login is not hurried");
        stream.begin_work(Duration::from_secs(60));
        stream.hurry(true);
        assert_eq!(stream.stall().as_secs(), 12);
        tokio::time::pause();
        let sender = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(9)).await;
            peer.write_all(b"x").await.unwrap();
            peer
        });
        assert_eq!(stream.read_u8().await.unwrap(), b'x');
        stream.hurry(true);
        assert!(stream.stall().as_secs() >= 18, "{:?}", stream.stall());
        stream.hurry(false);
        assert_eq!(stream.stall().as_secs(), 60);
        drop(sender.await.unwrap());
    }

    #[tokio::test]
    async fn a_peer_that_does_not_read_ends_a_write() {
        let (mut stream, _peer) = pair(100).await;
        let block = vec![0u8; 1 << 20];
        let error = loop {
            if let Err(error) = stream.write_all(&block).await {
                break error;
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
