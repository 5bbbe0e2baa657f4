//! The functions that are fuzzed: each takes any octets and demands what must hold for all of them. They
//! refuse files and the network, so that they run many thousand times a second; `tests/fuzz_corpora.rs` runs
//! the same functions over the stored corpora.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    unreachable_pub,
    reason = "a panic is what is looked for"
)]

pub mod archive;
pub mod compressed;
#[allow(dead_code, reason = "tests/control_socket.rs asks it, too")]
pub mod control;
pub mod csv;
pub mod dates;
pub mod folders;
pub mod http;
pub mod imap;
pub mod lines;
pub mod lmtp;
pub mod mbox;
pub mod mutf7;
pub mod pop3;
pub mod toml;
pub mod uidset;
