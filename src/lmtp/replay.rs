//! A server's octets read as a session reads them, without a connection, and a message as it would be sent: for
//! tools that study what a server said. It refuses to hold a session's state: each answer stands alone.

use super::reply::Reply;
use super::session::offers;
use super::stuff::Stuffer;
use super::verdict::{Step, Verdict, after, before};

/// One answer, and what it means wherever it may come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// From 200 to 599.
    pub code: u16,
    /// The lines without their codes, printable.
    pub lines: Vec<String>,
    /// As a person is told of it.
    pub words: String,
    /// The enhanced status code (RFC 3463), without its class.
    pub detail: Option<(u16, u16)>,
    /// As the answer to LHLO: what the server can, as a programmer sees it.
    pub offers: String,
    /// As the answer to MAIL, RCPT and DATA: whether the message goes on.
    pub goes_on: [bool; 3],
    /// As the answer to a message: whether it is taken.
    pub taken: bool,
}

/// Reads octets that came in these pieces, until they end or are no answer any more; then with why.
pub fn replay<'p>(pieces: impl IntoIterator<Item = &'p [u8]>) -> (Vec<Said>, Option<String>) {
    let (mut heard, mut buffer) = (Vec::new(), Vec::new());
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            match Reply::parse(&buffer) {
                Ok(Some((reply, used))) => {
                    buffer.drain(..used);
                    heard.push(said(reply));
                }
                Ok(None) => break,
                Err(failure) => return (heard, Some(failure.words)),
            }
        }
    }
    (heard, None)
}

fn said(reply: Reply) -> Said {
    let goes_on = |step| before(step, &reply, "") == Ok(None);
    Said {
        words: reply.words(),
        detail: reply.detail(),
        offers: format!("{:?}", offers(&reply.lines)),
        goes_on: [Step::Mail, Step::Rcpt, Step::Data].map(goes_on),
        taken: after(&reply) == Ok(Verdict::Taken),
        code: reply.code,
        lines: reply.lines,
    }
}

/// A message as it is sent, from DATA's answer to its end.
pub fn stuffed<'p>(pieces: impl IntoIterator<Item = &'p [u8]>) -> Vec<u8> {
    let (mut stuffer, mut out) = (Stuffer::default(), Vec::new());
    pieces.into_iter().for_each(|piece| stuffer.push(piece, &mut out));
    stuffer.finish(&mut out);
    out
}
