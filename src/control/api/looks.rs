//! What `Check` and `Find` answer.

use serde::{Deserialize, Serialize};
use zlink::introspect::Type;

/// One reply of `Check`: an account is done.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Type)]
pub struct Checked {
    /// The account.
    pub name: String,
    /// Whether it is ready.
    pub ok: bool,
    /// The cause, if it is not.
    pub error: Option<String>,
    /// As whom and where the login succeeded.
    pub login: Option<String>,
    /// What the source says that it can do, as far as it matters here.
    pub capabilities: Vec<String>,
    /// The cause may pass by itself.
    pub passing: bool,
    /// Folders at the source.
    pub folders: Option<u64>,
    /// Messages at the source.
    pub messages: Option<u64>,
    /// Octets at the source.
    pub bytes: Option<u64>,
    /// Octets that the destination has room for.
    pub room: Option<u64>,
    /// What should be known before a start.
    pub notes: Vec<String>,
    /// Folders at the source that do not open, each in words.
    pub not_opened: Vec<String>,
}

/// One reply of `Find`: a server was looked at. The last one has no host.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Type)]
pub struct Looked {
    /// `pop3` or `imap`.
    pub protocol: String,
    /// Its name.
    pub host: Option<String>,
    /// Its port.
    pub port: u64,
    /// `tls` or `starttls`.
    pub security: String,
    /// The server template that stands for it, if one does.
    pub template: Option<String>,
    /// Who named it, in words.
    pub origin: String,
    /// It answered with a certificate that verifies, and nobody named one before it.
    pub ok: bool,
    /// Why it is not the one.
    pub error: Option<String>,
}
