//! What `Plan` answers: a part of the interface in `control::api`.

use serde::{Deserialize, Serialize};
use zlink::introspect::Type;

/// One reply of `Plan`: what one migration would do.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Type)]
pub struct Planned {
    /// The account.
    pub name: String,
    /// Whether it could be looked at.
    pub ok: bool,
    /// The cause, if not.
    pub error: Option<String>,
    /// As whom and where the login succeeded.
    pub login: Option<String>,
    /// What the source says that it can do, as far as it matters here.
    pub capabilities: Vec<String>,
    /// Folder by folder.
    #[serde(serialize_with = "super::aside::list")]
    pub folders: Vec<PlannedFolder>,
    /// Messages at the source.
    pub messages: u64,
    /// Octets, as the source tells them.
    pub bytes: u64,
    /// Messages that would be brought now.
    pub new_messages: u64,
    /// Octets of those.
    pub new_bytes: u64,
    /// What cannot be carried, and what else should be known.
    pub notes: Vec<String>,
    /// Days that the source's daily limit makes of it, at least.
    pub days: Option<u64>,
    /// Octets that the destination has room for.
    pub room: Option<u64>,
}

/// One folder of a plan.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Type)]
pub struct PlannedFolder {
    /// Its name at the source.
    pub source: String,
    /// Its place at the destination.
    pub destination: String,
    /// It would be made.
    pub made: bool,
    /// Messages at the source.
    pub messages: u64,
    /// Octets.
    pub bytes: u64,
    /// Messages that would be brought now.
    pub new_messages: u64,
    /// What must change on the way.
    pub note: Option<String>,
}
