//! Consent in a browser on this machine: authorization code with PKCE, which comes back over loopback
//! (RFC 8252, RFC 7636). It refuses answers without the state that it gave out, and listens on loopback only.

use std::net::Ipv4Addr;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::{SecureRandom, SystemRandom};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::{Client, Tokens, http};
use crate::failure::{Failure, Kind};
use crate::secret::Secret;

/// The owner has so long.
pub const PATIENCE: Duration = Duration::from_secs(900);
/// Whoever connects has so long to ask.
const ASKING: Duration = Duration::from_secs(10);
/// A request's head.
const LONGEST: usize = 16 << 10;

/// A consent that is waited for.
#[derive(Debug)]
pub struct Browser {
    /// What the owner opens.
    pub address: String,
    listener: TcpListener,
    redirect: String,
    state: String,
    verifier: Secret,
}

/// What a browser brought back.
enum Brought {
    Code(Secret),
    Refused(String),
}

impl Client<'_> {
    /// Makes the address that the owner opens, and listens for what comes back.
    ///
    /// # Errors
    /// The template has no `auth_url`, or no port is free.
    pub async fn browser(&self, username: &str) -> Result<Browser, Failure> {
        let Some(url) = &self.oauth2.auth_url else {
            let mend = "write auth_url in its template, or leave --browser out";
            return Err(Failure::new(Kind::Unsupported, "the server's oauth2 has no auth_url", mend));
        };
        let ours = |e: &dyn std::fmt::Display| {
            Failure::new(Kind::OurNetwork, format!("nothing can come back from a browser: {e}"), "")
        };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(|e| ours(&e))?;
        let port = listener.local_addr().map_err(|e| ours(&e))?.port();
        // Microsoft and Google let any port pass with this name.
        let redirect = format!("http://localhost:{port}/");
        let (state, verifier) = (random()?, random()?);
        let digest = ring::digest::digest(&ring::digest::SHA256, verifier.as_bytes());
        let challenge = URL_SAFE_NO_PAD.encode(digest);
        let form: [(&str, &[u8]); 10] = [
            ("response_type", b"code"),
            ("client_id", self.oauth2.client_id.as_bytes()),
            ("redirect_uri", redirect.as_bytes()),
            ("scope", self.oauth2.scope.as_bytes()),
            ("state", state.as_bytes()),
            ("code_challenge", challenge.as_bytes()),
            ("code_challenge_method", b"S256"),
            ("login_hint", username.as_bytes()),
            // Google gives out a refresh token for these only; others take no notice.
            ("access_type", b"offline"),
            ("prompt", b"consent"),
        ];
        let query = String::from_utf8_lossy(&http::encode(&form)).into_owned();
        let joint = if url.contains('?') { '&' } else { '?' };
        let address = format!("{url}{joint}{query}");
        Ok(Browser { address, listener, redirect, state, verifier: Secret::new(verifier.into_bytes()) })
    }

    /// Waits until the browser comes back, 15 minutes at most, and takes the tokens.
    ///
    /// # Errors
    /// [`Kind::Consent`]: the owner said no, or did not say yes in time.
    pub async fn returned(&self, browser: &Browser) -> Result<Tokens, Failure> {
        let waited = timeout(PATIENCE, async {
            loop {
                if let Ok((stream, _)) = browser.listener.accept().await
                    && let Ok(Some(brought)) = timeout(ASKING, take(stream, &browser.state)).await
                {
                    return brought;
                }
            }
        });
        match waited.await {
            Ok(Brought::Code(code)) => {
                self.tokens(&[
                    ("grant_type", b"authorization_code"),
                    ("code", code.expose()),
                    ("redirect_uri", browser.redirect.as_bytes()),
                    ("code_verifier", browser.verifier.expose()),
                ])
                .await
            }
            Ok(Brought::Refused(why)) => Err(Failure::new(
                Kind::Consent,
                format!("{} says '{why}'", self.host()),
                "consent was refused",
            )),
            Err(_) => {
                Err(Failure::new(Kind::Consent, "the browser did not come back", "open the address in time"))
            }
        }
    }
}

fn random() -> Result<String, Failure> {
    let mut octets = [0; 32];
    SystemRandom::new()
        .fill(&mut octets)
        .map_err(|_| Failure::new(Kind::Secret, "the system gives no random numbers", ""))?;
    Ok(URL_SAFE_NO_PAD.encode(octets))
}

/// Reads one request and answers it; `None`: it is not the one that is waited for.
async fn take(mut stream: TcpStream, state: &str) -> Option<Brought> {
    let mut head = Vec::with_capacity(LONGEST);
    while !head.windows(4).any(|four| four == b"\r\n\r\n") {
        if head.len() >= LONGEST || stream.read_buf(&mut head).await.ok()? == 0 {
            return None;
        }
    }
    let text = String::from_utf8_lossy(&head);
    let brought = read(text.lines().next().unwrap_or_default(), state);
    let (status, words) = match &brought {
        Some(Brought::Code(_)) => ("200 OK", "Thank you. You may close this window."),
        Some(Brought::Refused(_)) => ("200 OK", "Consent was not given. You may close this window."),
        None => ("404 Not Found", "There is nothing here."),
    };
    let answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\
         Referrer-Policy: no-referrer\r\nConnection: close\r\n\r\n{words}",
        words.len()
    );
    let _ = stream.write_all(answer.as_bytes()).await;
    let _ = stream.shutdown().await;
    brought
}

/// `GET /?code=...&state=... HTTP/1.1`
fn read(line: &str, state: &str) -> Option<Brought> {
    let target = line.strip_prefix("GET /?")?.split(' ').next()?;
    let field = |name: &str| {
        let found = target.split('&').filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name);
        found.and_then(|(_, value)| http::decode(value))
    };
    if field("state")? != state.as_bytes() {
        return None;
    }
    if let Some(code) = field("code") {
        return Some(Brought::Code(Secret::new(code)));
    }
    let why = String::from_utf8_lossy(&field("error")?).into_owned();
    Some(Brought::Refused(why.chars().filter(|c| !c.is_control()).take(60).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_answer_counts() {
        match read("GET /?code=4%2F0A&state=s1 HTTP/1.1", "s1") {
            Some(Brought::Code(code)) => assert_eq!(code.expose(), b"4/0A"),
            _ => panic!("a code"),
        }
        assert!(matches!(
            read("GET /?error=access_denied&state=s1 HTTP/1.1", "s1"),
            Some(Brought::Refused(_))
        ));
        for line in [
            "GET /?code=x&state=s2 HTTP/1.1",
            "GET /?code=x HTTP/1.1",
            "GET /favicon.ico HTTP/1.1",
            "POST /?code=x&state=s1 HTTP/1.1",
            "GET /?code=%zz&state=s1 HTTP/1.1",
            "",
        ] {
            assert!(read(line, "s1").is_none(), "{line}");
        }
    }
}
