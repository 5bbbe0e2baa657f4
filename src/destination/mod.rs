//! Where mail arrives. A destination stages messages where no reader sees them, makes a whole batch durable
//! at once, publishes it and returns receipts. It refuses to record progress: that is the journal's.
//!
//! A [`Home`] is one member's mailbox: [`maildir`] is Maildir++ on a local file system, [`server`] is a mailbox
//! at an IMAP server, and [`delivery`] is the way to one by LMTP. A [`landing::Landing`] takes a stream of
//! [`crate::message::Parcel`]s into each of them.

mod charsets;
pub mod delivery;
pub mod fingerprint;
mod home;
pub mod landing;
pub mod lines;
pub mod maildir;
mod marks;
pub mod place;
pub mod received;
pub mod screen;
pub mod server;
pub mod sorting;
mod spool;

pub use home::Home;
pub(crate) use spool::nameless;
