//! `verify` where the destination is an IMAP server: what differs is found and named, with and without reading
//! octets, for migrations and for polled accounts; our own notices are not called foreign.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stderr, reason = "this is a test")]

use crate::helpers::daemon;
use std::fs;

use crate::helpers::corpus::Corpus;
use crate::helpers::cyrus::{Cyrus, MIGRATOR, UNIX};
use crate::helpers::daemon::{Daemon, imap_migrate, pop3_poll, there};
use crate::helpers::dovecot::Dovecot;
use crate::helpers::maildir::Tree;
use crate::helpers::view::View;
use serde_json::Value;

const LOGIN: (&str, &str) = ("alice", "secret");
const HOME: (&str, &str) = ("home-alice", "home secret");
const NAME: &str = "alice-old";

#[track_caller]
fn verify(daemon: &Daemon, code: i32, more: &[&str]) -> Value {
    daemon.ctl(&[&["--json", "verify", NAME], more].concat()).code(code).json()
}

#[track_caller]
fn numbers(answer: &Value, expected: &[(&str, u64)]) {
    for key in ["lost", "duplicated", "altered", "foreign", "not_brought", "unread"] {
        let wanted = expected.iter().find(|(name, _)| *name == key).map_or(0, |(_, number)| *number);
        assert_eq!(answer[key], wanted, "{key}: {answer:#}");
    }
}

fn words(answer: &Value) -> String {
    let findings = answer["findings"].as_array().unwrap().iter();
    findings.map(|f| format!("{} {}\n", f["what"].as_str().unwrap(), f["reason"].as_str().unwrap())).collect()
}

#[test]
fn a_migration() {
    let dovecot = Dovecot::start(&[LOGIN]);
    let there_server = Dovecot::start(&[HOME]);
    let mut source = Corpus::at(&dovecot.maildir("alice"));
    source.fill(400);
    let mut daemon = Daemon::homing(there_server.imap, "login = \"home-{local}\"", HOME.1);
    daemon.more_settings("[migrations]\nprogress_notice = 0\n[notices]\nto_member = true\n");
    daemon.define("alice", &there(&imap_migrate(NAME, "alice", dovecot.imap, LOGIN, "")));
    daemon.start();
    numbers(&verify(&daemon, 1, &[]), &[("not_brought", 400)]);
    daemon.migrate(NAME);
    let mut view = View::open(there_server.imap, "", HOME);
    // At the beginning and at the end.
    daemon::eventually("the notices have come", std::time::Duration::from_secs(30), || {
        (view.tree().count() == 402).then_some(())
    });
    let good = verify(&daemon, 0, &[]);
    numbers(&good, &[]);
    assert_eq!((&good["source"], &good["alike"]), (&400.into(), &400.into()), "{good:#}");
    let whole = verify(&daemon, 0, &["--bodies"]);
    assert_eq!((&whole["read"], &whole["alike"]), (&400.into(), &400.into()), "{whole:#}");

    // One of each.
    view.ask("SELECT \"Lists/rust users\"");
    view.ask("UID STORE 1 +FLAGS (\\Deleted)");
    view.ask("UID EXPUNGE 1");
    view.ask("UID MOVE 2 Empty");
    view.ask("UID COPY 3 \"Lists/rust users\"");
    view.ask("UID STORE 4 +FLAGS (\\Flagged \\Seen \\Answered \\Draft \\Deleted)");
    view.append("Lists/rust users", "", b"Subject: mine\r\n\r\nnew here\r\n");
    let home = there_server.maildir(HOME.0);
    let tree = Tree::read(&home);
    let sneaky = &tree.folders[".Archive.2023"][0];
    let mut octets = fs::read(&sneaky.path).unwrap();
    // A line end would change its size, over which Dovecot gives up.
    let last = octets.iter().rposition(u8::is_ascii_alphabetic).unwrap();
    octets[last] ^= 0x20;
    fs::write(&sneaky.path, octets).unwrap();
    source.add(".Lists.rust users", 1);
    let expected = [("lost", 1), ("duplicated", 1), ("foreign", 1), ("not_brought", 1)];
    let answer = verify(&daemon, 1, &[]);
    numbers(&answer, &[&expected[..], &[("altered", 2)]].concat());
    let said = words(&answer);
    for part in
        ["altered it is in Empty here", "is set here only", "same octets 2 times", "not here any more"]
    {
        assert!(said.contains(part), "{part}: {said}");
    }
    let answer = verify(&daemon, 1, &["--bodies"]);
    numbers(&answer, &[&expected[..], &[("altered", 3)]].concat());
    assert!(words(&answer).contains("its octets are not those of the source"), "{answer:#}");
    daemon.stop();
}

#[test]
fn what_cyrus_replaced_is_told() {
    let dovecot = Dovecot::start(&[LOGIN]);
    let cyrus = Cyrus::start(&[HOME], UNIX);
    let mut source = Corpus::at(&dovecot.maildir("alice"));
    source.add("", 100);
    let mut daemon =
        Daemon::homing(cyrus.port, "login = \"migrator\"\nauthorize_as = \"home-{local}\"", MIGRATOR.1);
    daemon.define("alice", &there(&imap_migrate(NAME, "alice", dovecot.imap, LOGIN, "")));
    daemon.start();
    daemon.migrate(NAME);
    numbers(&verify(&daemon, 0, &[]), &[]);
    let sent = Tree::read(source.root()).contents();
    let came = View::open(cyrus.port, "", HOME).tree().contents();
    let changed = came.iter().filter(|sha| !sent.contains(sha)).count() as u64;
    assert!(changed > 0, "nothing to be told");
    numbers(&verify(&daemon, 1, &["--bodies"]), &[("altered", changed)]);
    daemon.stop();
}

#[test]
fn a_polled_account() {
    let dovecot = Dovecot::start(&[LOGIN, HOME]);
    let mut source = Corpus::at(&dovecot.maildir("alice"));
    source.add("", 40);
    let mut daemon = Daemon::homing(dovecot.imap, "login = \"home-{local}\"", HOME.1);
    daemon.define("alice", &there(&pop3_poll(NAME, "alice", dovecot.pop3, LOGIN, "mailbox = \"Old\"")));
    daemon.start();
    daemon.poll(NAME);
    let mut view = View::open(dovecot.imap, "", HOME);
    view.append("Old", "", b"Subject: mine\r\n\r\nnew here\r\n");
    let good = verify(&daemon, 0, &["--bodies"]);
    numbers(&good, &[]);
    assert_eq!((&good["alike"], &good["read"]), (&40.into(), &40.into()), "{good:#}");
    view.ask("SELECT Old");
    view.ask("UID STORE 7 +FLAGS (\\Deleted)");
    view.ask("UID EXPUNGE 7");
    source.add("", 1);
    numbers(&verify(&daemon, 1, &[]), &[("lost", 1), ("not_brought", 1)]);
    daemon.stop();
}
