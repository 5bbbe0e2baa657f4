//! What `Authorize` answers.

use serde::{Deserialize, Serialize};
use zlink::introspect::Type;

/// One reply of `Authorize`: the code, and then how it ended.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Type)]
pub struct Authorized {
    /// The account.
    pub name: String,
    /// What the owner opens.
    pub address: Option<String>,
    /// What the owner types there; null with a browser.
    pub code: Option<String>,
    /// Until when.
    pub expires_at: Option<String>,
    /// Whether the owner has consented; null until the end.
    pub ok: Option<bool>,
    /// Why not.
    pub error: Option<String>,
}
