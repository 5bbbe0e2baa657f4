//! Secrets as a type: read late, dropped early, zeroed when dropped, never shown.
//! It refuses `Display`, `Clone` and `Serialize`, so that a secret cannot wander off by accident.

use std::fmt;
use std::path::PathBuf;

use zeroize::Zeroizing;

/// A password or token. Its memory is zeroed when it is dropped.
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes over `bytes`.
    pub fn new(bytes: Vec<u8>) -> Self {
        Secret(Zeroizing::new(bytes))
    }

    /// The octets, for the one place that sends them.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_slice() == other.0.as_slice()
    }
}

impl Eq for Secret {}

/// Where an account's secret is found; an account never holds the secret itself unless the
/// administrator wrote it into the definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretPlace {
    /// The first line of a file, which only its owner may read.
    File(PathBuf),
    /// A systemd credential of that name, below `$CREDENTIALS_DIRECTORY`.
    Credential(String),
    /// The first line that a command prints; the command never gets a secret in its arguments.
    Command(Vec<String>),
    /// Sealed in the state directory, under the account's own name.
    Sealed,
    /// Written into the definition.
    Value(std::sync::Arc<Secret>),
    /// An access token, which an authorization server hands out.
    Token(std::sync::Arc<OAuth2>),
}

impl SecretPlace {
    /// The authorization server, if the secret is an access token.
    pub fn oauth2(&self) -> Option<&std::sync::Arc<OAuth2>> {
        match self {
            SecretPlace::Token(oauth2) => Some(oauth2),
            _ => None,
        }
    }
}

/// Who hands out access tokens for a server, and what for (RFC 6749).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OAuth2 {
    /// On whose word.
    pub grant: Grant,
    /// Where tokens are asked for; `https`, or `http` at this very machine.
    pub token_url: String,
    /// `token_url` is not written: what a service account's key file names takes its place.
    pub key_names_url: bool,
    /// Where a device code is asked for (RFC 8628).
    pub device_url: Option<String>,
    /// Where the owner's browser is sent (RFC 6749, 3.1).
    pub auth_url: Option<String>,
    /// What the provider calls us.
    pub client_id: String,
    /// Where the client's own secret is found, if it has one.
    pub client_secret: Option<SecretPlace>,
    /// The scopes that are asked for, with blanks between them.
    pub scope: String,
    /// A private CA for the addresses above, in addition to the system's.
    pub ca_file: Option<PathBuf>,
}

/// On whose word a token is handed out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Grant {
    /// The mailbox's owner, who consents once.
    Owner,
    /// The administrator of a whole tenant: client credentials (RFC 6749, 4.4).
    Tenant,
    /// A service account to which a domain delegated its members (RFC 7523): its key file, JSON as Google
    /// hands it out.
    ServiceAccount(PathBuf),
}

/// An address taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endpoint<'a> {
    /// Whether TLS is spoken.
    pub tls: bool,
    /// A name or an address, with its brackets if it is one of IPv6.
    pub host: &'a str,
    /// The port.
    pub port: u16,
    /// Path and query, from the first `/`.
    pub path: &'a str,
}

/// Takes an address apart; `None` if no secret may be sent there. Without TLS it must be this very machine.
pub fn endpoint(url: &str) -> Option<Endpoint<'_>> {
    let (tls, rest) = match url.strip_prefix("https://") {
        Some(rest) => (true, rest),
        None => (false, url.strip_prefix("http://")?),
    };
    let good = url.len() <= 2000 && url.bytes().all(|c| c.is_ascii_graphic() && c != b'#' && c != b'@');
    let (authority, path) = rest.split_at_checked(rest.find('/')?).filter(|_| good)?;
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok().filter(|port| *port > 0)?),
        _ => (authority, if tls { 443 } else { 80 }),
    };
    let here = matches!(host, "127.0.0.1" | "[::1]" | "localhost");
    (!host.is_empty() && (tls || here)).then_some(Endpoint { tls, host, port, path })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing() {
        let place = SecretPlace::Value(std::sync::Arc::new(Secret::new(b"hunter2".to_vec())));
        assert!(!format!("{place:?}").contains("hunter2"));
    }

    #[test]
    fn tokens_go_nowhere_else() {
        let good = endpoint("https://login.example:8443/a/b?c").unwrap();
        assert_eq!(good, Endpoint { tls: true, host: "login.example", port: 8443, path: "/a/b?c" });
        assert_eq!(endpoint("https://x.example/").unwrap().port, 443);
        assert_eq!(endpoint("http://[::1]/").unwrap().host, "[::1]");
        for bad in [
            "http://login.example/token",
            "http://localhost.example/token",
            "https://login.example",
            "https:///token",
            "https://user@login.example/",
            "https://login.example/ x",
            "https://login.example/\r\nX: y",
            "https://login.example:0/",
            "https://login.example:70000/",
            "ftp://login.example/",
        ] {
            assert_eq!(endpoint(bad), None, "{bad}");
        }
    }
}
