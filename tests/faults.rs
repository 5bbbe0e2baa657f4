//! Stop it everywhere: each call that changes the store or the mailbox, and each that speaks with the source
//! or with the server that is the destination, fails once, and is once the last before a kill. After that the
//! work is taken up again, and must end as if nothing had been; a further run must change nothing. It refuses
//! what a run without faults did not say first: mailbox, source and numbers are compared with that.
//!
//! `MAILHAUL_FAULTS=all` takes every point, a number takes so many of each scenario, spread from an offset
//! that `MAILHAUL_SEED` repeats; `MAILHAUL_FAULT=kill:123,error:7` takes these.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    unreachable_pub,
    reason = "this is a test"
)]

#[path = "it/helpers/mod.rs"]
mod helpers;

#[path = "faults/shim.rs"]
mod shim;

#[path = "faults/bench.rs"]
mod bench;
#[path = "faults/changes.rs"]
mod changes;
#[path = "faults/play.rs"]
mod play;
#[path = "faults/putting_back.rs"]
mod putting_back;
#[path = "faults/to_lmtp.rs"]
mod to_lmtp;
#[path = "faults/to_maildir.rs"]
mod to_maildir;
#[path = "faults/to_server.rs"]
mod to_server;
#[path = "faults/uploads.rs"]
mod uploads;
