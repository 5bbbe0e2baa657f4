//! Maildir++ on a local file system. Every path is opened from the mailbox's own directory, one name at a
//! time and never through a symbolic link, so nothing is written outside the mailbox. It refuses to know
//! where a message came from: names are computed from what [`crate::message::MessageRef`] says.
//!
//! Modes are 0600 and 0700 (RFC-less, as Dovecot does); if we run as root, what we make belongs to the
//! owner of the mailbox.

mod folder;
mod ground;
mod inventory;
mod keywords;
mod links;
mod mailbox;
mod name;
mod quota;
mod reflag;
mod rollback;
mod room;
mod subscriptions;
mod twins;
mod uidlist;

pub use folder::Folder;
pub(crate) use folder::entries;
pub use ground::{clear_tmp, land};
pub use inventory::{Held, directories, inventory, told_size, wire_size};
pub use keywords::last_keywords;
pub use mailbox::{Mailbox, path_for, remove_made, topmost_missing};
pub use name::{FileName, Origin};
pub use reflag::{Reflag, reflag, to_reflag};
pub use rollback::{Undo, Undone, undo};
pub use room::room;
pub use subscriptions::{subscribe, unsubscribe, unsubscribed};
pub use twins::{Orphans, held};
