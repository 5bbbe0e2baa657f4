//! POP3 (RFC 1939, with 2449, 2595, 3206 and 5034) as a client speaks it. [`Machine`] turns octets into
//! events and knows no socket; [`Session`] carries them over a connection. The room refuses to know what a
//! message is for: it does not decide what is fetched or deleted, remembers nothing between sessions, and
//! deletes only what it is told to.

mod belief;
mod capability;
mod list;
mod listing;
mod login;
mod machine;
#[cfg(test)]
mod misbehaving;
mod refusal;
mod retrieve;
mod session;
mod unstuff;
mod ways;
mod wire;

pub use belief::{Seen, Wanted};
pub use capability::Capabilities;
pub use list::Maildrop;
pub use listing::{LISTING_LIMIT, Listed, Listing};
pub use machine::{Broken, Event, Expect, LINE_LIMIT, Machine, Reply, Status};
pub use retrieve::{Ended, HEADER, Retrieval, Retrieved, head_of};
pub use session::{Headers, Session};
