//! Migrations whose source is POP3, from a real Dovecot and from a scripted server: one maildrop into one
//! folder; a second run brings only what is new, a failed one leaves everything as it was.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "this is a test")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::helpers::corpus::Corpus;
use crate::helpers::daemon::{Daemon, eventually, imap_migrate};
use crate::helpers::dovecot::Dovecot;
use crate::helpers::fake_pop3::{Command, FakePop3, Reply, mails};
use crate::helpers::maildir::{Tree, count, same};

const LOGIN: (&str, &str) = ("alice", "secret");

const ALL: &str = "UIDL TOP USER PIPELINING";

/// The definition of a POP3 migration.
fn pop3_migrate(name: &str, port: u16, more: &str) -> String {
    imap_migrate(name, "alice", port, LOGIN, more).replace("\"imap\"", "\"pop3\"")
}

#[test]
fn everything_then_only_what_is_new() {
    let dovecot = Dovecot::start(&[LOGIN]);
    let mut source = Corpus::at(&dovecot.maildir("alice"));
    source.add("", 900);
    let mut daemon = Daemon::new("");
    daemon.define("alice", &pop3_migrate("old", dovecot.pop3, "into = \"Old/Mail\""));
    daemon.start();
    assert_eq!(daemon.ctl(&["--json", "check", "old"]).code(0).json()["messages"], 900);
    assert_eq!(daemon.migration("old")["state"], "ready");
    let migration = daemon.migrate("old");
    assert_eq!((&migration["messages_total"], &migration["messages_done"]), (&900.into(), &900.into()));
    assert_eq!((&migration["folders_total"], &migration["folders_done"]), (&1.into(), &1.into()));
    assert_eq!(migration["arrived"]["here"], 900, "{migration:#}");
    let home = daemon.maildir("alice");
    let tree = Tree::read(&home);
    assert_eq!(tree.names(), BTreeSet::from(["", ".Old.Mail"]));
    assert!(tree.folders[""].is_empty());
    same("octets", &source.put, &tree.contents());
    assert_eq!(tree.subscriptions, BTreeSet::from([".Old.Mail".to_owned()]));
    let shown = daemon.show("old");
    assert_eq!(shown["folders"][0]["destination"], "Old/Mail", "{shown:#}");
    daemon.ctl(&["verify", "old", "--bodies"]).code(0);
    daemon.ctl(&["report", "old"]).code(0);
    // Nothing is deleted at the source.
    same("the source", &source.put, &Tree::read(source.root()).contents());

    let before = Tree::files(&home);
    let migration = daemon.migrate("old");
    assert_eq!(migration["messages_already_there"], 900, "{migration:#}");
    same("the files after a second run", &before, &Tree::files(&home));
    source.add("", 30);
    let migration = daemon.migrate("old");
    assert_eq!((&migration["messages_total"], &migration["messages_imported"]), (&930.into(), &30.into()));
    same("octets", &source.put, &Tree::read(&home).contents());

    // Without its progress it looks at what is here.
    daemon.stop();
    std::fs::remove_dir_all(daemon.path().join("state")).unwrap();
    daemon.start();
    let migration = daemon.migrate("old");
    assert_eq!(migration["messages_already_there"], 930, "{migration:#}");
    same("octets", &source.put, &Tree::read(&home).contents());
    daemon.stop();
}

/// A server that never gives the message with this number, but ends the session for ever.
fn broken_after(number: u32) -> impl Fn(&Command, &mut Reply) + Send + Sync + 'static {
    move |command, reply| {
        if command.connection > 0 && command.name == "PASS" {
            reply.only("-ERR [AUTH] it is closed");
        } else if command.name == "RETR" && command.rest.parse::<u32>().is_ok_and(|n| n >= number) {
            reply.cut(0);
        }
    }
}

#[test]
fn one_that_fails_leaves_everything_as_it_was_or_what_came() {
    for keep in [false, true] {
        let server = FakePop3::start(ALL, mails(700), broken_after(600));
        let mut daemon = Daemon::new(if keep { "[migrations]\non_failure = \"keep\"\n" } else { "" });
        let home = daemon.maildir("alice");
        let mut own = Corpus::at(&home).from(50_000);
        own.add("", 20);
        own.add(".Own", 5);
        let before = Tree::files(&home);
        daemon.define("alice", &pop3_migrate("old", server.port, "into = \"Old\""));
        daemon.start();
        daemon.ctl(&["start", "old", "--wait"]).code(1);
        let migration = daemon.migration("old");
        if keep {
            assert_eq!(migration["state"], "failed", "{migration:#}");
            assert_eq!(Tree::read(&home).folders[".Old"].len(), 599, "{migration:#}");
        } else {
            assert_eq!(migration["state"], "rolled-back", "{migration:#}");
            same("the destination", &before, &Tree::files(&home));
            assert!(!home.join(".Old").exists() && !home.join("subscriptions").exists());
        }
        drop(server);
        let server = FakePop3::start(ALL, mails(700), |_, _| {});
        daemon.define("alice", &pop3_migrate("old", server.port, "into = \"Old\""));
        daemon.ctl(&["reload"]).code(0);
        let migration = daemon.migrate("old");
        assert_eq!(migration["messages_done"], 700, "{migration:#}");
        assert_eq!(migration["messages_already_there"], if keep { 599 } else { 0 }, "{migration:#}");
        assert_eq!(Tree::read(&home).folders[".Old"].len(), 700);
        daemon.stop();
    }
}

#[test]
fn a_later_run_that_is_cancelled_leaves_what_earlier_ones_brought() {
    let dovecot = Dovecot::start(&[LOGIN]);
    let mut source = Corpus::at(&dovecot.maildir("alice"));
    source.add("", 50);
    let mut daemon = Daemon::new("");
    daemon.define("alice", &pop3_migrate("old", dovecot.pop3, ""));
    daemon.start();
    daemon.migrate("old");
    let home = daemon.maildir("alice");
    let before = Tree::files(&home);
    source.add("", 3000);
    daemon.ctl(&["start", "old"]).code(0);
    eventually("some have arrived", Duration::from_secs(60), || (count(&home) > 60).then_some(()));
    // Killed in the middle it goes on; paused it waits, and counts what came.
    daemon.kill();
    daemon.start();
    daemon.ctl(&["pause", "old"]);
    daemon.ctl(&["resume", "old"]);
    if daemon.ctl(&["cancel", "old"]).code == 0 {
        daemon.migration_in("old", &["cancelled"], Duration::from_secs(60));
        same("the destination", &before, &Tree::files(&home));
    }
    let migration = daemon.migrate("old");
    assert_eq!(migration["messages_total"], 3050, "{migration:#}");
    same("octets", &source.put, &Tree::read(&home).contents());
    daemon.stop();
}

#[test]
fn a_server_that_gives_its_mail_in_rounds_gives_all_of_it() {
    // As Gmail does: ten at a time, and the next ten after those were fetched.
    let server = FakePop3::start(ALL, mails(25), |command, reply| {
        let turn = 10 * command.connection + 1..10 * command.connection + 11;
        if matches!(command.name.as_str(), "LIST" | "UIDL")
            && let Some(body) = &mut reply.body
        {
            let lines: Vec<&str> = std::str::from_utf8(body).unwrap().lines().collect();
            let number =
                |line: &&&str| line.split(' ').next().unwrap().parse().is_ok_and(|n| turn.contains(&n));
            let listed: String = lines.iter().filter(number).map(|line| format!("{line}\r\n")).collect();
            *body = listed.into_bytes();
        }
    });
    let mut daemon = Daemon::new("");
    let with = "security = \"none\", pop3_rounds = true";
    daemon.define("alice", &pop3_migrate("old", server.port, "").replace("security = \"none\"", with));
    daemon.start();
    let migration = daemon.migrate("old");
    assert_eq!((&migration["messages_total"], &migration["messages_imported"]), (&25.into(), &25.into()));
    assert_eq!(Tree::read(&daemon.maildir("alice")).count(), 25);
    // STAT counts the others, too, so that a second round asks for some of them.
    assert!(server.said().iter().filter(|line| *line == "QUIT").count() >= 3, "{:?}", server.said());
    daemon.stop();
}

#[test]
fn a_refusal_that_says_nothing_of_the_password_ends_nothing() {
    let refusals = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&refusals);
    let server = FakePop3::start(ALL, mails(5), move |command, reply| {
        if command.name == "PASS" && count.load(Ordering::SeqCst) < 3 {
            count.fetch_add(1, Ordering::SeqCst);
            reply.only("-ERR Unable to log on");
        }
    });
    let mut daemon = Daemon::new("");
    daemon.define("alice", &pop3_migrate("old", server.port, ""));
    daemon.start();
    daemon.ctl(&["start", "old"]).code(0);
    eventually("it was refused three times", Duration::from_secs(60), || {
        (refusals.load(Ordering::SeqCst) == 3).then_some(())
    });
    let error = eventually("it waits for the next try", Duration::from_secs(20), || {
        let migration = daemon.migration("old");
        assert!(migration["state"] != "failed", "{migration:#}");
        (migration["state"] == "retrying").then(|| migration["error"].as_str().unwrap().to_owned())
    });
    assert!(error.contains("Unable to log on") && error.contains("password may be wrong"), "{error}");
    // A person who does not want to wait.
    daemon.ctl(&["pause", "old"]).code(0);
    daemon.ctl(&["resume", "old"]).code(0);
    daemon.migration_in("old", &["completed"], Duration::from_secs(60));
    daemon.stop();
}
