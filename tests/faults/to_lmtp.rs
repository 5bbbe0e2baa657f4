//! Handed over by LMTP, where nobody can ask afterwards what came.

use crate::bench::{Bench, To, Work};
use crate::play::{ALL, Scenario, play, run_again};

/// A run that tells of messages that did not come has not failed.
fn act(bench: &mut Bench) -> bool {
    bench.once() && !bench.daemon.log().contains("the next run tries again")
}

#[test]
fn a_poll_to_lmtp() {
    play(&Scenario {
        name: "poll to LMTP",
        work: Work::Poll { keep: false },
        to: To::Lmtp,
        before: |bench| bench.source.add("", 8),
        act,
        resume: run_again,
        hows: ALL,
    });
}

#[test]
fn a_second_poll_to_lmtp() {
    play(&Scenario {
        name: "second poll to LMTP",
        work: Work::Poll { keep: true },
        to: To::Lmtp,
        before: |bench| {
            bench.source.add("", 5);
            assert!(bench.once());
            bench.source.add("", 4);
        },
        act,
        resume: run_again,
        hows: ALL,
    });
}
