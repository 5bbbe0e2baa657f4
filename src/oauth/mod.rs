//! OAuth2 (RFC 6749): asks an authorization server for access tokens, on the word of the mailbox's owner, who
//! consents once with a device code (RFC 8628) or in a browser, of a tenant's administrator, or of a service account. It
//! refuses to keep tokens, and to call anything a lost consent that may pass.

mod browser;
mod claims;
mod http;
mod service;

use std::time::Duration;

use serde_json::Value;

use crate::failure::{Failure, Kind};
use crate::net::Connector;
use crate::secret::{Grant, OAuth2, Secret, endpoint};

pub use browser::{Browser, PATIENCE};
pub use claims::diagnosis;

/// A token whose end the server does not tell is used for so long.
const USUAL: u64 = 3600;
/// Longer than this nothing is believed.
const LONGEST: u64 = 90 * 86_400;

/// What the server handed out.
#[derive(Debug)]
pub struct Tokens {
    /// What the mail server is shown.
    pub access: Secret,
    /// What the next access token is asked for with; `None`: as before, or there is none.
    pub refresh: Option<Secret>,
    /// How long the access token is good for.
    pub good_for: Duration,
}

/// A device code, while the owner has not consented yet.
#[derive(Debug)]
pub struct Device {
    /// What the owner types.
    pub user_code: String,
    /// Where.
    pub address: String,
    /// How long both are good for.
    pub good_for: Duration,
    /// The pause between two questions.
    pub pause: Duration,
    code: Secret,
}

/// An authorization server as a client of it sees it.
#[derive(Debug)]
pub struct Client<'a> {
    /// The way out.
    pub connector: &'a Connector,
    /// Who and what for.
    pub oauth2: &'a OAuth2,
    /// The client's own secret.
    pub secret: Option<Secret>,
}

impl Client<'_> {
    /// A new access token for the owner's refresh token (RFC 6749, 6).
    ///
    /// # Errors
    /// [`Kind::Consent`]: the owner has to consent again.
    pub async fn refresh(&self, refresh: &Secret) -> Result<Tokens, Failure> {
        let scope = self.oauth2.scope.as_bytes();
        self.tokens(&[
            ("grant_type", b"refresh_token"),
            ("refresh_token", refresh.expose()),
            ("scope", scope),
        ])
        .await
    }

    /// An access token without any owner: `username` is whose mailbox a service account acts for.
    ///
    /// # Errors
    /// [`Kind::Consent`]: an administrator has to grant it.
    pub async fn grant(&self, username: &str) -> Result<Tokens, Failure> {
        match &self.oauth2.grant {
            Grant::Tenant => {
                let scope = self.oauth2.scope.as_bytes();
                self.tokens(&[("grant_type", b"client_credentials"), ("scope", scope)]).await
            }
            Grant::ServiceAccount(key) => {
                let service::Assertion { token, url } =
                    service::assertion(key, self.oauth2, username).await?;
                let oauth2 = OAuth2 { token_url: url, ..self.oauth2.clone() };
                let secret = self.secret.as_ref();
                let there = Client {
                    connector: self.connector,
                    oauth2: &oauth2,
                    secret: secret.map(|secret| Secret::new(secret.expose().to_vec())),
                };
                let form: [(&str, &[u8]); 2] = [
                    ("grant_type", b"urn:ietf:params:oauth:grant-type:jwt-bearer"),
                    ("assertion", token.expose()),
                ];
                there.tokens(&form).await
            }
            Grant::Owner => Err(Failure::new(Kind::Consent, "its owner has not consented yet", "")),
        }
    }

    /// Asks for a device code (RFC 8628, 3.1).
    ///
    /// # Errors
    /// The server gives none.
    pub async fn device(&self) -> Result<Device, Failure> {
        let Some(url) = &self.oauth2.device_url else {
            return Err(Failure::new(
                Kind::Unsupported,
                "the server's oauth2 has no device_url",
                "write device_url in its template",
            ));
        };
        let answer = self.ask(url, &[("scope", self.oauth2.scope.as_bytes())]).await?;
        let text = |name: &str| answer.get(name).and_then(Value::as_str).filter(|text| text.len() <= 4096);
        // Google writes verification_url.
        let address = text("verification_uri").or_else(|| text("verification_url"));
        let (Some(code), Some(user_code), Some(address)) = (text("device_code"), text("user_code"), address)
        else {
            return Err(self.nonsense("a device code"));
        };
        let seconds = |name: &str, usual| answer.get(name).and_then(Value::as_u64).unwrap_or(usual);
        Ok(Device {
            user_code: user_code.chars().filter(|c| !c.is_control()).take(64).collect(),
            address: address.chars().filter(|c| !c.is_control()).take(300).collect(),
            good_for: Duration::from_secs(seconds("expires_in", 900).min(3600)),
            pause: Duration::from_secs(seconds("interval", 5).clamp(1, 60)),
            code: Secret::new(code.as_bytes().to_vec()),
        })
    }

    /// Waits until the owner has consented (RFC 8628, 3.4 and 3.5).
    ///
    /// # Errors
    /// [`Kind::Consent`]: the owner said no, or did not say yes in time.
    pub async fn wait(&self, device: &Device) -> Result<Tokens, Failure> {
        let until = tokio::time::Instant::now() + device.good_for;
        let mut pause = device.pause;
        loop {
            if tokio::time::Instant::now() + pause >= until {
                return Err(Failure::new(
                    Kind::Consent,
                    "the code ran out before it was used",
                    "ask for another one",
                ));
            }
            tokio::time::sleep(pause).await;
            let form: [(&str, &[u8]); 2] = [
                ("grant_type", b"urn:ietf:params:oauth:grant-type:device_code"),
                ("device_code", device.code.expose()),
            ];
            let answer = match self.post(&self.oauth2.token_url, &form).await {
                Ok(answer) => answer,
                // The owner is reading: the network may come back before the code has run out.
                Err(failure) if failure.again() != crate::failure::Again::Never => {
                    tracing::debug!("a device code is asked for again: {failure}");
                    continue;
                }
                Err(failure) => return Err(failure),
            };
            match answer.body.get("error").and_then(Value::as_str) {
                Some("authorization_pending") => {}
                Some("slow_down") => pause += Duration::from_secs(5),
                _ if answer.status >= 500 => {}
                Some(_) => return Err(self.refused(&answer)),
                None => return self.read(&answer),
            }
        }
    }

    async fn tokens(&self, form: &[(&str, &[u8])]) -> Result<Tokens, Failure> {
        let answer = self.post(&self.oauth2.token_url, form).await?;
        self.read(&answer)
    }

    fn read(&self, answer: &http::Answer) -> Result<Tokens, Failure> {
        if answer.status != 200 {
            return Err(self.refused(answer));
        }
        let text = |name: &str| answer.body.get(name).and_then(Value::as_str);
        let token = |name: &str| {
            let good = |token: &&str| {
                !token.is_empty() && token.len() <= 64 << 10 && token.bytes().all(|c| c.is_ascii_graphic())
            };
            text(name).filter(good).map(|token| Secret::new(token.as_bytes().to_vec()))
        };
        let Some(access) = token("access_token") else { return Err(self.nonsense("a token")) };
        // None is named where all were granted (RFC 6749, 5.1); some name none with a string of nothing.
        let granted = text("scope").filter(|granted| !granted.trim().is_empty());
        if let Some(missing) = granted.and_then(|granted| missing(&self.oauth2.scope, granted)) {
            return Err(Failure::new(
                Kind::Consent,
                format!("the scope {missing} was not granted"),
                "consent again and allow everything that is asked for",
            ));
        }
        let seconds = answer.body.get("expires_in").and_then(|v| {
            // Microsoft's older answers have it as text.
            v.as_u64().or_else(|| v.as_str()?.parse().ok())
        });
        Ok(Tokens {
            access,
            refresh: token("refresh_token"),
            good_for: Duration::from_secs(seconds.unwrap_or(USUAL).min(LONGEST)),
        })
    }

    async fn ask(&self, url: &str, form: &[(&str, &[u8])]) -> Result<Value, Failure> {
        let answer = self.post(url, form).await?;
        if answer.status == 200 { Ok(answer.body) } else { Err(self.refused(&answer)) }
    }

    async fn post(&self, url: &str, form: &[(&str, &[u8])]) -> Result<http::Answer, Failure> {
        let mut form = form.to_vec();
        if !self.oauth2.client_id.is_empty() {
            form.push(("client_id", self.oauth2.client_id.as_bytes()));
        }
        if let Some(secret) = &self.secret {
            form.push(("client_secret", secret.expose()));
        }
        http::post(self.connector, url, self.oauth2.ca_file.as_deref(), &form).await
    }

    fn host(&self) -> &str {
        endpoint(&self.oauth2.token_url).map_or("the authorization server", |to| to.host)
    }

    fn nonsense(&self, what: &str) -> Failure {
        let words = format!("{} answered without {what}", self.host());
        Failure::new(Kind::Unavailable, words, "check token_url and device_url; it is tried again")
    }

    /// An error answer (RFC 6749, 5.2), by its code; what it says is quoted.
    fn refused(&self, answer: &http::Answer) -> Failure {
        let text = |name: &str| answer.body.get(name).and_then(Value::as_str).unwrap_or_default();
        let (code, said) = (text("error"), text("error_description"));
        let said: String =
            said.lines().next().unwrap_or_default().chars().filter(|c| !c.is_control()).take(200).collect();
        let words = match (code, said.as_str()) {
            ("", _) => format!("{} answered with status {}", self.host(), answer.status),
            (code, "") => format!("{} says '{}'", self.host(), code.chars().take(60).collect::<String>()),
            (code, said) => {
                format!("{} says '{}: {said}'", self.host(), code.chars().take(60).collect::<String>())
            }
        };
        let wait = answer.retry_after.map(|seconds| Duration::from_secs(seconds.min(86_400)));
        let owner = self.oauth2.grant == Grant::Owner;
        let (kind, mend) = match code {
            _ if answer.status == 429 => (Kind::Throttled, "it is tried again later"),
            "temporarily_unavailable" | "server_error" | "" => (Kind::Unavailable, "it is tried again later"),
            "invalid_client" | "unauthorized_client" => (
                Kind::Consent,
                "the administrator has to look: client_id, client_secret, and what the provider allows that \
                 client",
            ),
            "invalid_scope" => (Kind::Consent, "the provider does not know the scopes: mend scopes"),
            "access_denied" => (Kind::Consent, "consent was refused"),
            "expired_token" => (Kind::Consent, "the code ran out before it was used: ask for another one"),
            // The rest of RFC 6749 and OpenID Connect: invalid_grant, interaction_required, consent_required.
            _ if owner => (Kind::Consent, ""),
            _ => (Kind::Consent, "the tenant's administrator has to grant it to that client"),
        };
        Failure::new(kind, words, mend).waiting(wait)
    }
}

/// The first scope of `asked` that is not in `granted`. Scopes that stand for no access of their own are
/// not listed by every server.
fn missing<'a>(asked: &'a str, granted: &str) -> Option<&'a str> {
    let aside = |scope: &str| {
        matches!(scope, "offline_access" | "openid" | "email" | "profile") || scope.ends_with("/.default")
    };
    asked
        .split(' ')
        .filter(|scope| !scope.is_empty() && !aside(scope))
        .find(|scope| !granted.split(' ').any(|other| other.eq_ignore_ascii_case(scope)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_that_was_left_out_is_named() {
        assert_eq!(missing("https://mail.google.com/ openid", "https://mail.google.com/"), None);
        assert_eq!(missing("a b", "B"), Some("a"));
        assert_eq!(missing("https://outlook.office365.com/.default", "x"), None);
    }
}
