//! One message that an LMTP server takes badly: it is named and left alone, the others come, and nobody waits for long.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "this is a test")]

use std::time::{Duration, Instant};

use crate::helpers::corpus::{Corpus, Marks};
use crate::helpers::daemon::{Daemon, adds_up, imap_migrate, there};
use crate::helpers::dovecot::Dovecot;
use crate::helpers::fake_lmtp::{Answer, Command, FakeLmtp, Then};

const LOGIN: (&str, &str) = ("alice", "secret");
const NAME: &str = "old";
const MARK: &str = "X-Slow: yes";
const LIMIT: Duration = Duration::from_secs(150);

/// A source of twenty messages with a marked one at that place, and a daemon that brings them by LMTP.
fn bench(
    at: usize,
    mode: &str,
    hook: impl Fn(&Command, &mut Answer) + Send + Sync + 'static,
) -> (Dovecot, FakeLmtp, Daemon) {
    let source = Dovecot::start(&[LOGIN]);
    let mut corpus = Corpus::at(&source.maildir(LOGIN.0));
    corpus.add("", at);
    corpus.put("", 900, format!("Subject: x\n{MARK}\n\nbody\n").as_bytes(), &Marks::default());
    corpus.add("", 19 - at);
    let lmtp = FakeLmtp::start("PIPELINING", hook);
    let mut daemon = Daemon::new(&format!(
        "[polling]\ninterval = \"24h\"\n[migrations]\non_failure = \"keep\"\n[destination.there.lmtp]\nhost = \"127.0.0.1\"\nport = {}\n",
        lmtp.port
    ));
    daemon.define(
        "alice",
        &there(&imap_migrate(NAME, "alice", source.imap, LOGIN, "")).replace("migrate", mode),
    );
    daemon.start();
    (source, lmtp, daemon)
}

fn is_marked(command: &Command) -> bool {
    command.name == "MESSAGE" && command.body.windows(MARK.len()).any(|part| part == MARK.as_bytes())
}

/// It is kept or not, and nothing is said: about a minute each.
fn falls_silent(at: usize) {
    let (_source, lmtp, mut daemon) = bench(at, "migrate", |command, answer| {
        if is_marked(command) {
            answer.octets.clear();
            answer.then = Then::Hang;
        }
    });
    let began = Instant::now();
    let said = daemon.ctl_within(LIMIT, &["start", NAME, "--wait"]).code(1);
    assert!(began.elapsed() < Duration::from_secs(120), "{:?}", began.elapsed());
    let done = daemon.migration(NAME);
    adds_up(&done);
    let numbers = (&done["state"], &done["messages_done"], &done["messages_failed"]);
    assert_eq!(numbers, (&"completed".into(), &19.into(), &1.into()), "{said:?} {done:#}");
    let skipped = daemon.show(NAME)["skipped"].clone();
    assert!(skipped[0]["reason"].as_str().unwrap().contains("it may be there"), "{skipped:#}");
    assert!(lmtp.connections() <= 20, "{}", lmtp.connections());
    // It is left alone: nobody knows whether it is there.
    let sent = || lmtp.said().iter().filter(|line| line.starts_with("DATA")).count();
    let before = sent();
    daemon.ctl_within(LIMIT, &["start", NAME, "--wait"]).code(1);
    assert_eq!(sent(), before);
    daemon.stop();
}

#[test]
fn one_in_the_middle_is_never_answered() {
    falls_silent(6);
}

#[test]
fn the_first_one_is_never_answered() {
    falls_silent(0);
}

#[test]
fn the_last_one_is_never_answered() {
    falls_silent(19);
}

#[test]
fn a_poll_tells_what_was_refused() {
    let (_source, lmtp, mut daemon) = bench(6, "poll", |command, answer| {
        if is_marked(command) {
            answer.only("550 5.6.0 not this one");
        }
    });
    let said = daemon.ctl_within(LIMIT, &["poll", NAME]).code(1);
    assert!(said.err.contains("1 message failed"), "{said:?}");
    assert_eq!(lmtp.bodies().len(), 19);
    let skipped = daemon.show(NAME)["skipped"].clone();
    let reason = skipped[0]["reason"].as_str().unwrap();
    assert!(reason.contains("550 5.6.0 not this one") && reason.contains("enable"), "{reason}");
    // What is left alone is no news.
    daemon.ctl_within(LIMIT, &["poll", NAME]).code(0);
    assert_eq!(lmtp.bodies().len(), 19);
    daemon.stop();
}
