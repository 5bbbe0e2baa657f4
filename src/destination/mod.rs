//! Where mail arrives. A destination stages messages where no reader sees them, makes a whole batch durable
//! at once, publishes it and returns receipts. It refuses to record progress: that is the journal's.
//!
//! [`maildir`] is Maildir++ on a local file system; [`landing`] is the thread that carries a stream of
//! [`crate::message::Parcel`]s into it.

pub mod fingerprint;
pub mod landing;
pub mod lines;
pub mod maildir;
pub mod received;
