//! The replies of uploads and backups. It refuses to hold anything of a message but where it is, its size and a
//! reason.

use serde::{Deserialize, Serialize};
use zlink::introspect::{CustomType, Type};

/// One reply of `Upload`: the numbers so far; the last one has `ok`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Type)]
pub struct Uploaded {
    /// The member.
    pub member: String,
    /// Whether everything that may be mail came; null until the end.
    pub ok: Option<bool>,
    /// Why it was broken off.
    pub error: Option<String>,
    /// Messages brought.
    pub imported: u64,
    /// Messages that were there.
    pub already_there: u64,
    /// Messages and files that may be mail and were left out.
    pub skipped: u64,
    /// Folders that something came into, or that a file says are there.
    #[serde(default)]
    pub folders: u64,
    /// Octets of the messages brought.
    pub bytes: u64,
    /// What was left out; at most 1,000 are listed.
    #[serde(serialize_with = "crate::control::aside::list")]
    pub left_out: Vec<LeftOut>,
    /// What is no mail and was passed over, by kind.
    #[serde(default)]
    pub passed_over: Vec<PassedOver>,
}

/// Files and entries of one kind that are no mail.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, CustomType)]
pub struct PassedOver {
    /// Such as `contacts`.
    pub kind: String,
    /// How many.
    pub count: u64,
}

/// Something that was left out of an upload or a backup.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, CustomType)]
pub struct LeftOut {
    /// The file, and where in it; or the folder, and the UID.
    pub what: String,
    /// Octets, where known.
    pub size: Option<u64>,
    /// In words.
    pub reason: String,
}

/// One reply of `Backup`: the numbers so far; the last one has `ok`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Type)]
pub struct BackedUp {
    /// The member.
    pub member: String,
    /// Whether the file has every message; null until the end.
    pub ok: Option<bool>,
    /// Why there is no file that is good for anything.
    pub error: Option<String>,
    /// Folders.
    pub folders: u64,
    /// Messages.
    pub messages: u64,
    /// Their octets.
    pub bytes: u64,
    /// Messages that went while the backup ran.
    pub vanished: u64,
    /// Messages that the server has and does not give.
    pub unread: u64,
    /// Those; at most 1,000 are listed.
    #[serde(serialize_with = "crate::control::aside::list")]
    pub left_out: Vec<LeftOut>,
}
