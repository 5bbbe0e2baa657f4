//! One HTTPS request that sends a form and takes a JSON answer. It refuses redirects, answers above 256 KiB, and to
//! wait longer than a minute; addresses of our own network as [`Connector`] does.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use zeroize::Zeroizing;

use crate::failure::{Failure, Kind};
use crate::http::{self, Body, Request};
use crate::net::{Connector, io_failure};
use crate::secret::{Endpoint, endpoint};

/// For the whole exchange.
const PATIENCE: Duration = Duration::from_secs(60);
/// Bytes of an answer's body.
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
    let asked = endpoint(url).and_then(|to| Some((request(&to, form)?, to)));
    let Some((request, to)) = asked else {
        return Err(Failure::new(Kind::Unsupported, "a token cannot be asked for there", "check token_url"));
    };
    match tokio::time::timeout(PATIENCE, exchange(connector, &to, ca_file, request)).await {
        Ok(answer) => answer?.ok_or_else(|| {
            let words = format!("{}:{} does not answer as an authorization server", to.host, to.port);
            Failure::new(Kind::Unavailable, words, "check token_url; it is tried again")
        }),
        Err(_) => {
            let words = format!("{}:{} did not answer within {} s", to.host, to.port, PATIENCE.as_secs());
            Err(Failure::new(Kind::Stalled, words, "it is tried again"))
        }
    }
}

/// `None`: the address cannot stand in a request.
fn request(to: &Endpoint<'_>, form: &[(&str, &[u8])]) -> Option<Request> {
    let usual = to.port == if to.tls { 443 } else { 80 };
    let host = if usual { to.host.to_owned() } else { format!("{}:{}", to.host, to.port) };
    Request::post(&host, to.path, Body::whole(encode(form)))?
        .with("accept", b"application/json")?
        .with("content-type", b"application/x-www-form-urlencoded")
}

async fn exchange(
    connector: &Connector,
    to: &Endpoint<'_>,
    ca_file: Option<&Path>,
    request: Request,
) -> Result<Option<Answer>, Failure> {
    let mut stream = connector.connect(to.host, to.port).await?;
    if to.tls {
        stream = connector.secure(stream, to.host, ca_file).await?;
    }
    let answer = http::exchange(stream, request, LONGEST).await;
    let answer = answer.map_err(|error| io_failure(to.host, to.port, &error))?;
    Ok(answer.map(|answer| Answer {
        status: answer.status,
        body: serde_json::from_slice(&answer.body).unwrap_or(Value::Null),
        retry_after: answer.retry_after,
    }))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_coded() {
        assert_eq!(encode(&[("a", b"x y&"), ("b", "ü~".as_bytes())]).as_slice(), b"a=x%20y%26&b=%C3%BC~");
    }
}
