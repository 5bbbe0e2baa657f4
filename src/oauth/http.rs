//! One HTTPS request that sends a form and takes a JSON answer (RFC 9112). It refuses redirects, answers above
//! 256 KiB, and to wait longer than a minute; addresses of our own network as [`Connector`] does.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use zeroize::Zeroizing;

use crate::failure::{Failure, Kind};
use crate::net::{Connector, io_failure};
use crate::secret::{Endpoint, endpoint};

/// For the whole exchange.
const PATIENCE: Duration = Duration::from_secs(60);
/// Head and body together.
const LONGEST: usize = 256 << 10;

/// A status and what came with it.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// `Value::Null` if it is no JSON.
    pub(super) body: Value,
    /// `Retry-After`, in seconds.
    pub(super) retry_after: Option<u64>,
}

/// Sends `form` to `url`.
///
/// # Errors
/// The server cannot be reached, or does not speak HTTP.
pub(super) async fn post(
    connector: &Connector,
    url: &str,
    ca_file: Option<&Path>,
    form: &[(&str, &[u8])],
) -> Result<Answer, Failure> {
    let Some(to) = endpoint(url) else {
        return Err(Failure::new(Kind::Unsupported, "a token cannot be asked for there", "check token_url"));
    };
    match tokio::time::timeout(PATIENCE, exchange(connector, to, ca_file, form)).await {
        Ok(octets) => parse(&octets?).ok_or_else(|| {
            let words = format!("{}:{} does not answer as an authorization server", to.host, to.port);
            Failure::new(Kind::Unavailable, words, "check token_url; it is tried again")
        }),
        Err(_) => {
            let words = format!("{}:{} did not answer within {} s", to.host, to.port, PATIENCE.as_secs());
            Err(Failure::new(Kind::Stalled, words, "it is tried again"))
        }
    }
}

async fn exchange(
    connector: &Connector,
    to: Endpoint<'_>,
    ca_file: Option<&Path>,
    form: &[(&str, &[u8])],
) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let mut stream = connector.connect(to.host, to.port).await?;
    if to.tls {
        stream = connector.secure(stream, to.host, ca_file).await?;
    }
    let body = encode(form);
    let usual = to.port == if to.tls { 443 } else { 80 };
    let host = if usual { to.host.to_owned() } else { format!("{}:{}", to.host, to.port) };
    let head = format!(
        "POST {} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: mailhaul/{}\r\nAccept: application/json\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        to.path,
        env!("CARGO_PKG_VERSION"),
        body.len()
    );
    let broken = |e: std::io::Error| io_failure(to.host, to.port, &e);
    let mut octets = Zeroizing::new(Vec::with_capacity(LONGEST));
    stream.write_all(head.as_bytes()).await.map_err(broken)?;
    stream.write_all(&body).await.map_err(broken)?;
    stream.flush().await.map_err(broken)?;
    while octets.len() < LONGEST && !is_whole(&octets) {
        match (&mut stream).take((LONGEST - octets.len()) as u64).read_buf(&mut *octets).await {
            Ok(0) => break,
            Ok(_) => {}
            // Many servers end TLS without a goodbye; what is missing is seen by its length.
            Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => break,
            Err(e) => return Err(broken(e)),
        }
    }
    Ok(octets)
}

/// `application/x-www-form-urlencoded`, in memory that never moves and is zeroed.
pub(super) fn encode(form: &[(&str, &[u8])]) -> Zeroizing<Vec<u8>> {
    let room = form.iter().map(|(name, value)| name.len() + 3 * value.len() + 2).sum();
    let mut out = Zeroizing::new(Vec::with_capacity(room));
    for (name, value) in form {
        if !out.is_empty() {
            out.push(b'&');
        }
        out.extend_from_slice(name.as_bytes());
        out.push(b'=');
        for &octet in *value {
            if octet.is_ascii_alphanumeric() || b"-._~".contains(&octet) {
                out.push(octet);
            } else {
                const HEX: &[u8; 16] = b"0123456789ABCDEF";
                let digit = |at: u8| HEX.get(usize::from(at)).copied().unwrap_or(b'0');
                out.extend_from_slice(&[b'%', digit(octet >> 4), digit(octet & 15)]);
            }
        }
    }
    out
}

/// One value of a form; `None` if it is not coded right.
pub(super) fn decode(value: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(value.len());
    let mut octets = value.bytes();
    while let Some(octet) = octets.next() {
        out.push(match octet {
            b'+' => b' ',
            b'%' => {
                let digit = |octet: u8| char::from(octet).to_digit(16);
                let (high, low) = (digit(octets.next()?)?, digit(octets.next()?)?);
                u8::try_from(high * 16 + low).ok()?
            }
            other => other,
        });
    }
    Some(out)
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
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    Some(Answer { status: head.status, body, retry_after: head.retry_after })
}

/// RFC 9112, 7.1; `None`: it is not complete, or not right.
fn unchunk(mut rest: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let mut out = Zeroizing::new(Vec::with_capacity(rest.len()));
    loop {
        let end = rest.windows(2).position(|two| two == b"\r\n")?;
        let size = std::str::from_utf8(rest.get(..end)?).ok()?.split(';').next()?.trim();
        let size = usize::from_str_radix(size, 16).ok().filter(|size| *size <= LONGEST)?;
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
        assert_eq!(parse(plain).unwrap().body["a"], 1);
        let chunked =
            b"HTTP/1.1 400 Bad\r\nTransfer-Encoding: chunked\r\nRetry-After: 9\r\n\r\n3\r\n{\"a\r\n4;x\r\n\":2}\r\n0\r\n\r\n";
        let answer = parse(chunked).unwrap();
        assert_eq!((answer.status, answer.body["a"].as_u64(), answer.retry_after), (400, Some(2), Some(9)));
        assert_eq!(parse(b"HTTP/1.1 502 Bad\r\n\r\n<html>").unwrap().body, Value::Null);
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

    #[test]
    fn forms_are_coded() {
        assert_eq!(encode(&[("a", b"x y&"), ("b", "ü~".as_bytes())]).as_slice(), b"a=x%20y%26&b=%C3%BC~");
    }
}
