//! One message over which a server falls silent, for each thing that can be asked about it: the others come, it is named,
//! and all of it takes little more than the first silence. With the usual minute that is less than two.
//! A server that is slow and answers is never called silent.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stderr, reason = "this is a test")]

use crate::helpers::fake_pop3;
use std::time::{Duration, Instant};

use crate::helpers::corpus::{Corpus, Marks};
use crate::helpers::daemon::{Daemon, adds_up, imap_migrate, there};
use crate::helpers::dovecot::Dovecot;
use crate::helpers::fake_imap::{Command, FakeImap, Folder, Reply, Then};
use crate::helpers::fake_pop3::FakePop3;
use crate::helpers::moody::{Mood, Moody};

const ALICE: (&str, &str) = ("alice", "secret");
const HOME: (&str, &str) = ("home-alice", "home secret");
const NAME: &str = "alice-old";

/// How long the server may be silent; `MAILHAUL_TIMEOUT=60` tries the usual minute.
fn timeout() -> Duration {
    Duration::from_secs(std::env::var("MAILHAUL_TIMEOUT").map_or(6, |text| text.parse().unwrap()))
}

/// A first look and three more, and what the connections and the pauses between them take besides. With the usual
/// minute that is less than two.
fn limit() -> Duration {
    timeout() * 8 / 5 + Duration::from_secs(22)
}

const CONNECTIONS: usize = 20;
const MARK: &[u8] = b"X-Unwelcome: very\r\n";

fn impatient(definition: &str) -> String {
    let short = format!("security = \"none\", timeout = \"{}s\" }}", timeout().as_secs());
    definition.replace("security = \"none\" }", &short)
}

/// Nineteen have come, and message 7 is named.
#[track_caller]
fn nineteen(daemon: &Daemon, begun: Instant, connections: usize, what: &str) {
    let took = begun.elapsed();
    eprintln!("{what}: {took:?}, {connections} connections");
    let done = daemon.migration(NAME);
    adds_up(&done);
    assert_eq!(
        (&done["state"], &done["messages_done"], &done["messages_failed"]),
        (&"completed".into(), &19.into(), &1.into()),
        "{what}: {done:#}"
    );
    let skipped = daemon.show(NAME)["skipped"].clone();
    assert_eq!(skipped.as_array().unwrap().len(), 1, "{what}: {skipped:#}");
    assert!(skipped[0]["reason"].as_str().unwrap().contains("silent"), "{what}: {skipped:#}");
    assert!(took < limit(), "{what}: {took:?}");
    assert!(connections <= CONNECTIONS, "{what}: {connections}");
}

/// A source whose answer to some commands ends before message 7, if it is in there, and nothing follows.
fn silent_over(what: &str, says_some: bool, over: impl Fn(&Command) -> bool + Send + Sync + 'static) {
    let source =
        FakeImap::start(vec![Folder::new("INBOX", 20)], move |command: &Command, reply: &mut Reply| {
            let words = |line: &Vec<u8>| {
                let line = String::from_utf8_lossy(line);
                line.contains("(UID 7 ") || line.contains("(UID 7)")
            };
            if over(command)
                && let Some(at) = reply.untagged.iter().position(words)
            {
                reply.untagged.truncate(if says_some { at } else { 0 });
                reply.tagged.clear();
                reply.then = Then::Hang;
            }
        });
    let mut daemon = Daemon::new("");
    daemon.define("alice", &impatient(&imap_migrate(NAME, "alice", source.port, ALICE, "")));
    daemon.start();
    let begun = Instant::now();
    daemon.ctl(&["start", NAME, "--wait"]).code(1);
    nineteen(&daemon, begun, source.connections(), what);
    assert_eq!(daemon.show(NAME)["skipped"][0]["id"], "7", "{what}");
    daemon.stop();
}

#[test]
fn over_a_message_that_is_fetched() {
    std::thread::scope(|scope| {
        scope.spawn(|| silent_over("some of the answer came", true, Command::wants_bodies));
        scope.spawn(|| silent_over("nothing of the answer came", false, Command::wants_bodies));
    });
}

#[test]
fn over_a_message_that_is_listed() {
    let sizes = |command: &Command| {
        command.wants_bodies() || String::from_utf8_lossy(&command.rest).contains("RFC822.SIZE")
    };
    std::thread::scope(|scope| {
        scope.spawn(|| silent_over("some of the list came", true, sizes));
        scope.spawn(|| silent_over("nothing of the list came", false, sizes));
    });
}

#[test]
fn over_a_message_of_a_maildrop() {
    let source = FakePop3::start("UIDL TOP USER PIPELINING", fake_pop3::mails(20), |command, reply| {
        if command.is("RETR 7") {
            reply.as_it_stands("");
            reply.then = fake_pop3::Then::Hang;
        }
    });
    let mut daemon = Daemon::new("");
    let definition = imap_migrate(NAME, "alice", source.port, ALICE, "").replace("\"imap\"", "\"pop3\"");
    daemon.define("alice", &impatient(&definition));
    daemon.start();
    let begun = Instant::now();
    daemon.ctl(&["start", NAME, "--wait"]).code(1);
    let took = begun.elapsed();
    let done = daemon.migration(NAME);
    eprintln!("a maildrop: {took:?}");
    assert_eq!(
        (&done["state"], &done["messages_done"], &done["messages_failed"]),
        (&"completed".into(), &19.into(), &1.into()),
        "{done:#}"
    );
    assert!(took < limit(), "{took:?}");
    daemon.stop();
}

/// A destination that says nothing to one message.
fn not_answered((name, capability): (&str, &str)) {
    let source = Dovecot::start(&[ALICE]);
    let mut corpus = Corpus::at(&source.maildir(ALICE.0));
    corpus.add("", 10);
    let head = [b"Subject: x\n".as_slice(), &MARK[..MARK.len() - 2], b"\n\n"].concat();
    corpus.put("", 900, &[head, b"some text\n".repeat(9)].concat(), &Marks::default());
    corpus.add("", 9);
    let home = Dovecot::start_with(&[HOME], capability);
    let wire = Moody::before(home.imap, usize::MAX, |heard| {
        let bad = heard.is("APPEND ") && heard.holds(MARK);
        if bad { Mood::Hangs } else { Mood::Good }
    });
    let mut daemon = Daemon::homing(wire.port, "login = \"home-{local}\"", HOME.1);
    daemon.rewrite_settings(impatient);
    daemon.define("alice", &there(&imap_migrate(NAME, "alice", source.imap, ALICE, "")));
    daemon.start();
    let begun = Instant::now();
    daemon.ctl(&["start", NAME, "--wait"]).code(1);
    nineteen(&daemon, begun, wire.connections(), name);
    daemon.stop();
}

#[test]
fn over_a_message_that_is_appended() {
    std::thread::scope(|scope| {
        scope.spawn(|| not_answered(("groups", "")));
        let ahead = "imap_capability = IMAP4rev1 SASL-IR LITERAL+ UIDPLUS ENABLE IDLE NAMESPACE\n";
        scope.spawn(|| not_answered(("ahead", ahead)));
    });
}

/// Slow answers are answers: nothing is given up, and nothing is asked twice.
#[test]
fn a_slow_server_is_not_silent() {
    let source = FakeImap::start(vec![Folder::new("INBOX", 6)], |command: &Command, _: &mut Reply| {
        if command.wants_bodies() {
            std::thread::sleep(timeout() * 2 / 3);
        }
    });
    let mut daemon = Daemon::new("[migrations]\nconnections = 1\n");
    daemon.define("alice", &impatient(&imap_migrate(NAME, "alice", source.port, ALICE, "")));
    daemon.start();
    let done = daemon.migrate(NAME);
    assert_eq!((&done["messages_done"], &done["messages_failed"]), (&6.into(), &0.into()), "{done:#}");
    assert_eq!(source.connections(), 1);
    daemon.stop();
}

/// A folder that makes the server hang when it is opened; `verbs`: and when it is counted.
fn shut(what: &str, verbs: &'static [&'static str]) {
    let boxes = vec![Folder::new("INBOX", 9), Folder::new("Locked", 1), Folder::new("Work", 10)];
    let source = FakeImap::start(boxes, move |command: &Command, reply: &mut Reply| {
        let named = String::from_utf8_lossy(&command.rest).contains("Locked");
        if named && verbs.contains(&command.name.as_str()) {
            reply.untagged.clear();
            reply.tagged.clear();
            reply.then = Then::Hang;
        }
    });
    let mut daemon = Daemon::new("");
    daemon.define("alice", &imap_migrate(NAME, "alice", source.port, ALICE, ""));
    daemon.start();
    let begun = Instant::now();
    daemon.ctl(&["start", NAME, "--wait"]).code(1);
    let took = begun.elapsed();
    eprintln!("{what}: {took:?}, {} connections", source.connections());
    let done = daemon.migration(NAME);
    assert_eq!((&done["state"], &done["messages_done"]), (&"completed".into(), &19.into()), "{done:#}");
    let skipped = daemon.show(NAME)["skipped"].clone();
    assert_eq!(
        (&skipped[0]["folder"], &skipped[0]["id"]),
        (&"Locked".into(), &"(folder)".into()),
        "{skipped:#}"
    );
    assert!(took < Duration::from_secs(120), "{what}: {took:?}");
    assert!(source.connections() <= CONNECTIONS, "{what}");
    daemon.stop();
}

#[test]
#[ignore = "takes two minutes"]
fn over_a_folder_that_is_opened() {
    std::thread::scope(|scope| {
        scope.spawn(|| shut("opened", &["EXAMINE", "SELECT"]));
        scope.spawn(|| shut("counted and opened", &["STATUS", "EXAMINE", "SELECT"]));
    });
}
