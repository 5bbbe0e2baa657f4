//! Into a Maildir: first starts, polls, migrations, adoption.

use std::fs;

use crate::bench::{Bench, To, Work};
use crate::helpers::corpus::{Marks, message};
use crate::helpers::maildir::wire;
use crate::play::{ALL, Scenario, play, run_again};

#[test]
fn a_first_start() {
    play(&Scenario {
        name: "first start",
        work: Work::Poll { keep: true },
        to: To::Maildir,
        before: |bench| {
            bench.source.add("", 1);
            fs::remove_dir(bench.mail()).unwrap();
        },
        act: Bench::once,
        resume: run_again,
        hows: ALL,
    });
}

#[test]
fn a_poll_that_keeps() {
    play(&Scenario {
        name: "poll that keeps",
        work: Work::Poll { keep: true },
        to: To::Maildir,
        // More than are synced one by one.
        before: |bench| bench.source.add("", 18),
        act: Bench::once,
        resume: run_again,
        hows: ALL,
    });
}

#[test]
fn a_poll_that_deletes() {
    play(&Scenario {
        name: "poll that deletes",
        work: Work::Poll { keep: false },
        to: To::Maildir,
        before: |bench| bench.source.add("", 10),
        act: Bench::once,
        resume: run_again,
        hows: ALL,
    });
}

#[test]
fn a_second_poll() {
    play(&Scenario {
        name: "second poll",
        work: Work::Poll { keep: true },
        to: To::Maildir,
        before: |bench| {
            bench.source.add("", 8);
            assert!(bench.once());
            bench.source.add("", 4);
        },
        act: Bench::once,
        resume: run_again,
        hows: ALL,
    });
}

#[test]
fn a_migration() {
    play(&Scenario {
        name: "migration",
        work: Work::Migrate,
        to: To::Maildir,
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
fn a_second_migration() {
    play(&Scenario {
        name: "second migration",
        work: Work::Migrate,
        to: To::Maildir,
        before: |bench| {
            bench.folders();
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

/// Another tool brought some of it before; two messages are alike, and one of them was brought.
#[test]
fn an_adoption() {
    play(&Scenario {
        name: "adoption",
        work: Work::Migrate,
        to: To::Maildir,
        before: |bench| {
            let twin = message(70_000);
            bench.folders();
            // By their dates one is the second of the folder and the other the last, and something long is
            // between them, in which the connection can break.
            let long = [message(70_001), b"a line\n".repeat(60_000)].concat();
            for (number, content) in [(6_945, &twin), (300, &long), (70_000, &twin)] {
                bench.source.put("", number, content, &Marks::default());
            }
            bench.foreign();
            for (at, content) in [message(1), message(2), message(6), twin].iter().enumerate() {
                let folder = if at == 2 { ".Sent" } else { "" };
                let (size, wide) = (content.len(), wire(content).len());
                let name = format!("cur/100000000{at}.M1P1.other,S={size},W={wide}:2,S");
                fs::write(bench.home().join(folder).join(name), content).unwrap();
            }
        },
        act: Bench::once,
        resume: run_again,
        hows: ALL,
    });
}
