//! Consent in a browser on this machine: authorization code with PKCE, which comes back over loopback
//! (RFC 8252, RFC 7636). It refuses answers without the state that it gave out, and listens on loopback only.

use std::net::Ipv4Addr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::{SecureRandom, SystemRandom};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::{Client, Tokens, http};
use crate::failure::{Failure, Kind};
use crate::http::serve_one;
use crate::secret::Secret;

/// The owner has so long.
pub const PATIENCE: Duration = Duration::from_secs(900);
/// Whoever connects has so long to ask.
const ASKING: Duration = Duration::from_secs(10);

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

/// Serves one request; `None`: it is not the one that is waited for.
async fn take(stream: TcpStream, state: &str) -> Option<Brought> {
    let taken = Mutex::new(None);
    serve_one(stream, |target| {
        let brought = target.and_then(|target| read(target, state));
        let answer = match &brought {
            Some(Brought::Code(_)) => (true, "Thank you. You may close this window."),
            Some(Brought::Refused(_)) => (true, "Consent was not given. You may close this window."),
            None => (false, "There is nothing here."),
        };
        *taken.lock().unwrap_or_else(PoisonError::into_inner) = brought;
        answer
    })
    .await;
    taken.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// `/?code=...&state=...`
fn read(target: &str, state: &str) -> Option<Brought> {
    let query = target.strip_prefix("/?")?;
    let field = |name: &str| {
        let found = query.split('&').filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name);
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
        match read("/?code=4%2F0A&state=s1", "s1") {
            Some(Brought::Code(code)) => assert_eq!(code.expose(), b"4/0A"),
            _ => panic!("a code"),
        }
        assert!(matches!(read("/?error=access_denied&state=s1", "s1"), Some(Brought::Refused(_))));
        for target in
            ["/?code=x&state=s2", "/?code=x", "/favicon.ico", "/a?code=x&state=s1", "/?code=%zz&state=s1", ""]
        {
            assert!(read(target, "s1").is_none(), "{target}");
        }
    }
}
