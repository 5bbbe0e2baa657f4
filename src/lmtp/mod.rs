//! The language that mail is handed over in (RFC 2033): to one recipient at a time, each message answered for
//! by itself. The next envelope travels with a message's end where the server allows that (RFC 2920). It
//! refuses to call a message taken before the server has said so, and to send a line end that a server might
//! take for another one.

mod address;
mod meaning;
mod replay;
mod reply;
mod session;
mod stuff;
mod verdict;
mod wire;

pub use address::recipient;
pub use replay::{Said, replay, stuffed};
pub use session::{Begun, DELIVERY, Envelope, Session};
pub use verdict::Verdict;
