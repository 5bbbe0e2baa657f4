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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing() {
        let place = SecretPlace::Value(std::sync::Arc::new(Secret::new(b"hunter2".to_vec())));
        assert!(!format!("{place:?}").contains("hunter2"));
    }
}
