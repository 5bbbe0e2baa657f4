//! The layer between the wire and the parser. It hands on one response at a time, diverts bodies into a
//! channel, and keeps from the parser what the parser does not know: a line that it cannot read would end the
//! session. Such lines wait in a side list for the readers of this room. It refuses to run ahead: a slow
//! receiver of bodies slows the reading of the wire.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use async_imap::imap_proto::Response;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;
use tokio_util::sync::PollSender;

use super::framer::{Frame, Framer};
use super::items::{self, Marks, Reading};
use crate::message::Parcel;
use crate::net::Stream;

/// Octets asked of the wire at once.
const READ: usize = 128 * 1024;
/// Side lines that may wait; a folder list is the longest thing in them. Lines and octets.
const SIDE_LINES: usize = 100_000;
const SIDE_OCTETS: usize = 32 * 1024 * 1024;

/// A response with more opening parentheses is not given to the parser, which goes one call deeper for each
/// and would overflow the stack. What is asked for has fewer than ten.
const LISTS: usize = 100;

/// The transport; `T` is what the receiver of bodies takes.
pub(super) struct Transport<T> {
    stream: Stream,
    framer: Framer,
    read: Vec<u8>,
    start: usize,
    end: usize,
    /// The response that the parser is being given.
    out: Vec<u8>,
    given: usize,
    side: VecDeque<Vec<u8>>,
    side_octets: usize,
    sink: Option<PollSender<T>>,
    pending: Option<Parcel>,
    /// The first line must be a greeting.
    greeted: bool,
    /// Bodies of the response that is coming in, and of those that are complete.
    coming: Vec<Came>,
    came: Vec<Came>,
    /// The checksum of the body that is coming in.
    sum: crc32fast::Hasher,
    /// Bodies are parts of one message: only their bytes are handed on.
    joined: bool,
    /// What is to be known of the response that the parser was given last.
    marks: Marks,
    /// Something came that nobody can read.
    unread: bool,
    /// Bytes that came since the connection was made, for whoever looks whether anything moves.
    moved: u64,
}

/// How far the reading is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moved {
    /// Bytes that came so far.
    pub(super) bytes: u64,
    /// A response has begun and not ended.
    pub(super) begun: bool,
    /// The receiver of bodies is what is waited for.
    pub(super) held: bool,
}

/// A body that was handed on: its number, how long it is, and its checksum (CRC-32).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Came {
    pub(super) piece: u64,
    pub(super) length: u64,
    pub(super) sum: u32,
}

impl<T> fmt::Debug for Transport<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport").field("stream", &self.stream).finish_non_exhaustive()
    }
}

impl<T: From<Parcel> + Send + 'static> Transport<T> {
    pub(super) fn new(stream: Stream) -> Self {
        Transport {
            stream,
            framer: Framer::new(rand::random()),
            read: vec![0; READ],
            start: 0,
            end: 0,
            out: Vec::new(),
            given: 0,
            side: VecDeque::new(),
            side_octets: 0,
            sink: None,
            pending: None,
            greeted: true,
            coming: Vec::new(),
            came: Vec::new(),
            sum: crc32fast::Hasher::new(),
            joined: false,
            marks: Marks::default(),
            unread: false,
            moved: 0,
        }
    }

    /// The next line must be a greeting: what cannot be read ends the session.
    pub(super) fn expect_greeting(&mut self) {
        self.greeted = false;
    }

    /// Bodies that came with the responses since this was asked last.
    pub(super) fn came(&mut self) -> Vec<Came> {
        std::mem::take(&mut self.came)
    }

    /// Bodies that come from now on are parts of one message that the caller begins and ends, or whole again.
    pub(super) fn join_bodies(&mut self, join: bool) {
        self.joined = join;
    }

    /// What is to be known of the response that was read last.
    pub(super) fn marks(&mut self) -> Marks {
        std::mem::take(&mut self.marks)
    }

    /// Whether anything came since this was asked last that nobody can read.
    pub(super) fn take_unread(&mut self) -> bool {
        std::mem::take(&mut self.unread)
    }

    /// Whether anything moves.
    pub(super) fn moved(&self) -> Moved {
        Moved { bytes: self.moved, begun: !self.framer.is_between(), held: self.pending.is_some() }
    }

    /// Whether nothing came that was not read.
    pub(super) fn is_drained(&self) -> bool {
        self.start == self.end && self.given == self.out.len() && self.framer.is_between()
    }

    /// How long a read or write may wait.
    pub(super) fn stream(&mut self) -> &mut Stream {
        &mut self.stream
    }

    /// Bodies go there from now on; without a receiver they are dropped.
    pub(super) fn set_sink(&mut self, sink: Option<mpsc::Sender<T>>) {
        self.sink = sink.map(PollSender::new);
    }

    /// Whether a line waits aside that begins so, in any case.
    pub(super) fn waits_aside(&self, start: &[u8]) -> bool {
        let begins =
            |line: &Vec<u8>| line.get(..start.len()).is_some_and(|head| head.eq_ignore_ascii_case(start));
        self.side.iter().any(begins)
    }

    /// A line that the parser was not given, if one waits.
    pub(super) fn side_line(&mut self) -> Option<Vec<u8>> {
        let line = self.side.pop_front()?;
        self.side_octets = self.side_octets.saturating_sub(line.len());
        Some(line)
    }

    /// The body that a token in a response stands for.
    pub(super) fn body_of(&self, token: &[u8]) -> Option<u64> {
        self.framer.body_of(token)
    }

    /// The stream, for TLS to be laid over it. `None` if octets came that nobody asked for: somebody put them
    /// in front of the handshake (RFC 3501, 6.2.1; CVE-2011-0411).
    pub(super) fn into_stream(self) -> Option<Stream> {
        let clean = self.is_drained() && self.side.is_empty();
        clean.then_some(self.stream)
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.pending.is_none() {
            return Poll::Ready(Ok(()));
        }
        if let Some(sink) = &mut self.sink {
            let gone = |_| io::Error::other(SinkGone);
            ready!(sink.poll_reserve(cx)).map_err(gone)?;
            if let Some(parcel) = self.pending.take() {
                sink.send_item(parcel.into()).map_err(gone)?;
            }
        }
        self.pending = None;
        Poll::Ready(Ok(()))
    }

    /// Sorts a response: to the parser, or aside.
    fn sort(&mut self, response: Vec<u8>) -> io::Result<()> {
        let greets = std::mem::replace(&mut self.greeted, true);
        let response = match sort(response) {
            Sorted::Side(line) | Sorted::Unread(line) if !greets => {
                return Err(io::Error::other(NoGreeting(String::from_utf8_lossy(&line).into_owned())));
            }
            Sorted::Parser(response, marks) => {
                self.out = response;
                self.given = 0;
                self.marks = marks;
                return Ok(());
            }
            Sorted::Side(response) => response,
            Sorted::Unread(response) => {
                self.unread = true;
                response
            }
        };
        self.side_octets += response.len();
        self.side.push_back(response);
        if self.side.len() > SIDE_LINES || self.side_octets > SIDE_OCTETS {
            return Err(io::Error::other(TooMuch));
        }
        Ok(())
    }
}

/// Where a response goes.
pub(super) enum Sorted {
    /// To the parser, which can read it.
    Parser(Vec<u8>, Marks),
    /// Aside, for the readers of this room.
    Side(Vec<u8>),
    /// Aside, and nobody can read it: whatever comes near it is in doubt.
    Unread(Vec<u8>),
}

pub(super) fn sort(mut response: Vec<u8>) -> Sorted {
    if super::answers::is_status(&response) {
        response = super::spoken::spoken(&response);
    }
    match items::read(&response) {
        Reading::Broken => return Sorted::Unread(response),
        Reading::Fetch { plain, marks } if is_readable(&plain) => return Sorted::Parser(plain, marks),
        Reading::Fetch { .. } => return Sorted::Unread(response),
        Reading::Other => {}
    }
    if is_readable(&response) {
        return Sorted::Parser(response, Marks::default());
    }
    if let Some(tidy) = super::answers::tidied(&response).filter(|tidy| is_readable(tidy)) {
        return Sorted::Parser(tidy, Marks::default());
    }
    if let Some(plain) = super::answers::plain_status(&response) {
        return Sorted::Parser(plain, Marks::default());
    }
    if super::answers::is_ours(&response) || items::is_data(&response) {
        return Sorted::Side(response);
    }
    Sorted::Unread(response)
}

/// Whether the parser reads it, and to its end.
fn is_readable(response: &[u8]) -> bool {
    !super::answers::is_ours(response)
        && memchr::memchr_iter(b'(', response).count() <= LISTS
        && matches!(Response::parse(response), Ok((rest, _)) if rest.is_empty())
}

/// The receiver of bodies has stopped; its own failure says why.
#[derive(Debug, thiserror::Error)]
#[error("the delivery stopped")]
pub(super) struct SinkGone;

/// Whatever that is: what it says.
#[derive(Debug, thiserror::Error)]
#[error("does not greet as an IMAP server")]
pub(super) struct NoGreeting(pub(super) String);

/// The server sent more lines than anybody asked for.
#[derive(Debug, thiserror::Error)]
#[error("sent more lines than a mailbox can have folders")]
struct TooMuch;

impl<T: From<Parcel> + Send + 'static> AsyncRead for Transport<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.given < this.out.len() {
                let rest = this.out.get(this.given..).unwrap_or_default();
                let count = rest.len().min(buf.remaining());
                buf.put_slice(rest.get(..count).unwrap_or_default());
                this.given += count;
                return Poll::Ready(Ok(()));
            }
            ready!(this.poll_send(cx))?;
            let mut data = this.read.get(this.start..this.end).unwrap_or_default();
            let before = data.len();
            let frame = this.framer.next(&mut data).map_err(io::Error::other)?;
            this.start += before - data.len();
            match frame {
                Some(Frame::Response(response)) => {
                    this.came.append(&mut this.coming);
                    this.sort(response)?;
                }
                Some(Frame::Begin(piece)) => {
                    if this.sink.is_some() {
                        this.coming.push(Came { piece, length: 0, sum: 0 });
                    }
                    this.sum = crc32fast::Hasher::new();
                    this.pending = (!this.joined).then_some(Parcel::Begin(piece));
                }
                Some(Frame::Data(data)) => {
                    if let Some(coming) = this.coming.last_mut() {
                        coming.length += data.len() as u64;
                        this.sum.update(&data);
                    }
                    this.pending = Some(Parcel::Data(data));
                }
                Some(Frame::End) => {
                    if let Some(coming) = this.coming.last_mut() {
                        coming.sum = this.sum.clone().finalize();
                    }
                    this.pending = (!this.joined).then_some(Parcel::End);
                }
                None => {
                    let mut space = ReadBuf::new(&mut this.read);
                    ready!(Pin::new(&mut this.stream).poll_read(cx, &mut space))?;
                    (this.start, this.end) = (0, space.filled().len());
                    this.moved += this.end as u64;
                    if this.end == 0 {
                        // The parser reads this as the end; what was begun is not complete.
                        if this.framer.is_in_body() {
                            this.pending = Some(Parcel::Abandon);
                        }
                        return Poll::Ready(Ok(()));
                    }
                }
            }
        }
    }
}

impl<T: From<Parcel> + Send + 'static> AsyncWrite for Transport<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

impl<T> Unpin for Transport<T> {}
