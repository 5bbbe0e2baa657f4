//! Whether a server is there: connect, TLS with a verified certificate, and a greeting. It refuses to say anything
//! but STARTTLS.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::Place;
use crate::account::{Protocol, Security};
use crate::failure::{Failure, Kind};
use crate::net::{Connector, Stream, io_failure};

/// For all of it.
const PATIENCE: Duration = Duration::from_secs(20);
/// Octets of a line.
const LINE: usize = 4096;
/// Lines before the one that is waited for.
const LINES: usize = 20;

/// # Errors
/// Why it is not the one.
pub(super) async fn knock(connector: &Connector, place: &Place) -> Result<(), Failure> {
    let Place { host, port, .. } = place;
    timeout(PATIENCE, greeted(connector, place)).await.unwrap_or_else(|_| {
        let words = format!("{host}:{port} did not answer within {} s", PATIENCE.as_secs());
        Err(Failure::new(Kind::Unreachable, words, ""))
    })
}

async fn greeted(connector: &Connector, place: &Place) -> Result<(), Failure> {
    let Place { protocol, host, port, security } = place;
    let (greeting, wish, agreed) = match protocol {
        Protocol::Imap => ("* ", "a STARTTLS\r\n", "A OK"),
        Protocol::Pop3 => ("+OK", "STLS\r\n", "+OK"),
    };
    let other = || {
        let words = format!("{host}:{port} does not speak {}", protocol.as_str().to_uppercase());
        Failure::new(Kind::Protocol, words, "")
    };
    let mut stream = connector.connect(host, *port).await?;
    if *security == Security::Tls {
        stream = connector.secure(stream, host, None).await?;
        let line = line(&mut stream, place).await?;
        return if line.starts_with(greeting) { Ok(()) } else { Err(other()) };
    }
    if !line(&mut stream, place).await?.starts_with(greeting) {
        return Err(other());
    }
    let broken = |e: std::io::Error| io_failure(host, *port, &e);
    stream.write_all(wish.as_bytes()).await.map_err(broken)?;
    stream.flush().await.map_err(broken)?;
    for _ in 0..LINES {
        let line = line(&mut stream, place).await?;
        if line.starts_with(agreed) {
            // What came in plain text behind the answer is not TLS, and the handshake fails over it.
            return connector.secure(stream, host, None).await.map(drop);
        }
        if !line.starts_with("* ") {
            break;
        }
    }
    Err(Failure::new(Kind::Tls, format!("{host}:{port} does not offer TLS"), ""))
}

/// One line, octet by octet, so that nothing of what follows it is read.
async fn line(stream: &mut Stream, place: &Place) -> Result<String, Failure> {
    let mut line = Vec::new();
    while line.len() < LINE {
        match stream.read_u8().await {
            Ok(b'\n') => return Ok(String::from_utf8_lossy(&line).to_uppercase()),
            Ok(octet) => line.push(octet),
            Err(e) => return Err(io_failure(&place.host, place.port, &e)),
        }
    }
    Err(Failure::new(Kind::Protocol, format!("{}:{} sends a line without end", place.host, place.port), ""))
}
