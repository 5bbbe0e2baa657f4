//! What is known of the progress: which messages have landed, which migrations wait, what went wrong. It is
//! small (ranges of UIDs, hashes of UIDLs), durable when a commit returns, and can be rebuilt: from its
//! plain export and from the destinations. It refuses to guess: a store that opened with less than it had
//! is set aside and never taken for "everything is new".
//!
//! Keys are text, values are JSON or text of less than about a kilobyte, all in one tree, so that one batch
//! changes everything that belongs together.

mod database;
mod export;
mod identities;
mod measures;
mod member;
mod records;
mod sets;
mod side;
mod standing;
mod store;
mod strikes;

pub use identities::{IdMark, Uidls};
pub use measures::Measure;
pub use member::{Belonging, Proof};
pub use records::{
    Arrived, Changes, Finish, FolderRecord, FolderState, MigrationRecord, PollRecord, RunRecord,
    SkippedRecord, SourceRecord,
};
pub use side::{Side, Turn};
pub use standing::Standing;
pub use store::{Journal, Opened};
pub use strikes::StrikeRecord;
