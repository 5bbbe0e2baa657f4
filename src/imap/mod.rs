//! IMAP as a language: connections, commands, answers. Only the tagged OK of our own command counts as
//! success; a connection that ends is an error, whatever came before. Message bodies never pass through
//! memory as a whole: the transport below the parser diverts them, octet for octet, into a channel.
//! The room refuses to know where messages go, and to change at the source what it was not told to.
//!
//! `async_imap` owns the connection and parses the responses. Its ready-made methods are not used: they call
//! a FETCH or LIST that ended in NO, or in a closed socket, a complete one.

mod answers;
mod append;
mod append_words;
mod belief;
mod care;
mod command;
mod date;
mod delete;
mod fetch;
mod folders;
mod framer;
mod greeting;
mod holding;
mod items;
mod layout;
mod list;
mod login;
mod looks;
mod open;
mod parts;
mod patience;
mod probe;
mod prove;
mod quota;
mod refusal;
mod replay;
mod response;
#[cfg(test)]
mod schedules;
mod session;
mod shelf;
mod spoken;
mod transport;
mod ways;
mod without;

pub use append::{Appended, Appends, Letter, Manner, written_flags};
pub use belief::Look;
pub use care::{Care, Strikes};
pub use date::parse as internal_date;
pub use delete::Deleted;
pub use fetch::{Event, Fetch, Fetched, Left};
pub use folders::{SourceFolder, Standing, matches, sum};
pub use holding::Holding;
pub use layout::{Layout, Software};
pub use list::ListedFlags;
pub use replay::{Heard, folder, replay};
pub use session::{Detail, Examined, Listed, Session};
pub use shelf::{Permitted, Selected, flag_name};
