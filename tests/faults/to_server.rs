//! Into a mailbox at an IMAP server with UIDPLUS.

use crate::bench::{Bench, To, Work};
use crate::play::{ALL, Scenario, play, run_again};

#[test]
fn a_migration_to_a_server() {
    play(&Scenario {
        name: "migration to a server",
        work: Work::Migrate,
        to: To::Imap,
        before: |bench| {
            bench.folders();
            bench.foreign();
        },
        act: Bench::once,
        resume: run_again,
        hows: ALL,
    });
}

#[test]
fn a_second_migration_to_a_server() {
    play(&Scenario {
        name: "second migration to a server",
        work: Work::Migrate,
        to: To::Imap,
        before: |bench| {
            bench.source.add("", 3);
            bench.source.add(".Sent", 2);
            assert!(bench.once());
            for folder in ["", ".Sent", ".New"] {
                bench.source.add(folder, 2);
            }
        },
        act: Bench::once,
        resume: run_again,
        hows: ALL,
    });
}

#[test]
fn a_poll_to_a_server() {
    play(&Scenario {
        name: "poll to a server",
        work: Work::Poll { keep: false },
        to: To::Imap,
        before: |bench| {
            bench.source.add("", 6);
            bench.foreign();
        },
        act: Bench::once,
        resume: run_again,
        hows: ALL,
    });
}
