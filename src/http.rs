//! What an HTTP server answers (RFC 9112), read to its end. It refuses an answer above a limit, one that breaks
//! off, and one that is none; what the answer means is for whoever asked.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};
use zeroize::Zeroizing;

/// A status and what came with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The body: it may hold a secret.
    pub body: Zeroizing<Vec<u8>>,
    /// `Retry-After`, in seconds.
    pub retry_after: Option<u64>,
}

/// Reads an answer of at most `longest` octets, its head among them. `None`: it is none.
///
/// # Errors
/// The connection's.
pub async fn answer(mut stream: impl AsyncRead + Unpin, longest: usize) -> io::Result<Option<Answer>> {
    // Memory that never moves, and is zeroed.
    let mut octets = Zeroizing::new(Vec::with_capacity(longest));
    while octets.len() < longest && !is_whole(&octets) {
        match (&mut stream).take((longest - octets.len()) as u64).read_buf(&mut *octets).await {
            Ok(0) => break,
            Ok(_) => {}
            // Many servers end TLS without a goodbye; what is missing is seen by its length.
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => break,
            Err(e) => return Err(e),
        }
    }
    Ok(parse(&octets))
}

/// The head of an answer, as far as it matters.
struct Head<'a> {
    status: u16,
    length: Option<usize>,
    chunked: bool,
    retry_after: Option<u64>,
    body: &'a [u8],
}

fn head(octets: &[u8]) -> Option<Head<'_>> {
    let end = octets.windows(4).position(|four| four == b"\r\n\r\n")?;
    let text = std::str::from_utf8(octets.get(..end)?).ok()?;
    let mut lines = text.split("\r\n");
    let mut status = lines.next()?.split(' ');
    if !status.next()?.starts_with("HTTP/1.") {
        return None;
    }
    let status = status.next()?.parse().ok()?;
    let (mut length, mut chunked, mut retry_after) = (None, false, None);
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = Some(value.parse().ok()?),
            "transfer-encoding" => chunked = value.eq_ignore_ascii_case("chunked"),
            "retry-after" => retry_after = value.parse().ok(),
            _ => {}
        }
    }
    Some(Head { status, length, chunked, retry_after, body: octets.get(end + 4..)? })
}

/// Whether nothing more has to come.
fn is_whole(octets: &[u8]) -> bool {
    head(octets).is_some_and(|head| match (head.chunked, head.length) {
        (true, _) => unchunk(head.body).is_some(),
        (false, Some(length)) => head.body.len() >= length,
        (false, None) => false,
    })
}

fn parse(octets: &[u8]) -> Option<Answer> {
    let head = head(octets)?;
    let body = match (head.chunked, head.length) {
        (true, _) => unchunk(head.body)?,
        (false, length) => Zeroizing::new(head.body.get(..length.unwrap_or(head.body.len()))?.to_vec()),
    };
    Some(Answer { status: head.status, body, retry_after: head.retry_after })
}

/// RFC 9112, 7.1; `None`: it is not complete, or not right.
fn unchunk(mut rest: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let mut out = Zeroizing::new(Vec::with_capacity(rest.len()));
    loop {
        let end = rest.windows(2).position(|two| two == b"\r\n")?;
        let size = std::str::from_utf8(rest.get(..end)?).ok()?.split(';').next()?.trim();
        let size = usize::from_str_radix(size, 16).ok().filter(|size| *size <= rest.len())?;
        rest = rest.get(end + 2..)?;
        if size == 0 {
            return Some(out);
        }
        out.extend_from_slice(rest.get(..size)?);
        rest = rest.get(size..)?.strip_prefix(b"\r\n")?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_in_either_form() {
        let plain = b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n{\"a\":1}trailing";
        assert_eq!(parse(plain).unwrap().body.as_slice(), b"{\"a\":1}");
        let chunked =
            b"HTTP/1.1 400 Bad\r\nTransfer-Encoding: chunked\r\nRetry-After: 9\r\n\r\n3\r\n{\"a\r\n4;x\r\n\":2}\r\n0\r\n\r\n";
        let answer = parse(chunked).unwrap();
        assert_eq!(
            (answer.status, answer.body.as_slice(), answer.retry_after),
            (400, &b"{\"a\":2}"[..], Some(9))
        );
        assert_eq!(parse(b"HTTP/1.1 502 Bad\r\n\r\n<html>").unwrap().body.as_slice(), b"<html>");
        for bad in [
            &b""[..],
            b"HTTP/1.1 200 OK\r\n",
            b"SMTP/1.1 200 OK\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 70\r\n\r\n{}",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFF\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab\r\n0\r\n\r\n",
        ] {
            assert!(parse(bad).is_none(), "{}", String::from_utf8_lossy(bad));
        }
    }
}
