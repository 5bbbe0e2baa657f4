//! What members are told, through the real daemon: one message in their inbox, in their language, that no count, no
//! comparison and no rollback takes for mail.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stderr, reason = "this is a test")]

mod certificate;
mod corpus;
mod daemon;
mod dovecot;
mod maildir;

use std::fs;
use std::time::Duration;

use corpus::Corpus;
use daemon::{Daemon, eventually, imap_migrate, pop3_poll};
use dovecot::Dovecot;
use mail_parser::MessageParser;
use maildir::{Tree, same};

const LOGIN: (&str, &str) = ("alice", "secret");
const NAME: &str = "alice-old";

/// Subject, body and the names of those that are in the inbox and say that nobody wrote them.
fn notices(daemon: &Daemon) -> Vec<(String, String)> {
    let tree = Tree::read(&daemon.maildir("alice"));
    let inbox = tree.folders.get("").cloned().unwrap_or_default();
    inbox
        .iter()
        .filter_map(|message| {
            let octets = fs::read(&message.path).unwrap();
            let read = MessageParser::new().parse(&octets)?;
            read.header("Auto-Submitted")?;
            assert!(message.new, "nobody has looked at it: {}", message.name);
            Some((read.subject().unwrap().to_owned(), read.body_text(0).unwrap().into_owned()))
        })
        .collect()
}

fn told(daemon: &Daemon, count: usize) -> Vec<(String, String)> {
    eventually("the member is told", Duration::from_secs(30), || {
        Some(notices(daemon)).filter(|notices| notices.len() >= count)
    })
}

#[test]
fn a_migration_that_completed() {
    let dovecot = Dovecot::start(&[LOGIN]);
    let mut source = Corpus::at(&dovecot.maildir("alice"));
    source.fill(60);
    let mut daemon = Daemon::new("[notices]\nto_member = true\n");
    daemon.define("alice", &imap_migrate(NAME, "alice", dovecot.imap, LOGIN, ""));
    daemon.start();
    daemon.migrate(NAME);
    let told_then = told(&daemon, 1);
    let (subject, body) = &told_then[0];
    assert_eq!(subject, "Your mail from 127.0.0.1 is here");
    assert!(body.contains("Messages brought: 60") && body.contains("Messages left out: 0"), "{body}");
    // A second run finds nothing new, and counts no notice.
    let again = daemon.migrate(NAME);
    assert_eq!(again["messages_total"], 60, "{again:#}");
    let verified = daemon.ctl(&["--json", "verify", NAME]).json();
    assert_eq!((&verified["foreign"], &verified["alike"]), (&0.into(), &60.into()), "{verified:#}");
    daemon.stop();
}

#[test]
fn a_migration_that_was_put_back() {
    let dovecot = Dovecot::start(&[LOGIN]);
    Corpus::at(&dovecot.maildir("alice")).fill(30);
    let mut daemon = Daemon::new("[notices]\nto_member = true\n");
    let before = Corpus::at(&daemon.maildir("alice")).put;
    assert!(before.is_empty());
    let facts = Tree::read(&daemon.maildir("alice")).facts();
    let wrong = imap_migrate(NAME, "alice", dovecot.imap, (LOGIN.0, "wrong"), "");
    daemon.define("alice", &wrong);
    daemon.start();
    daemon.ctl(&["start", NAME, "--wait"]).code(1);
    let told_then = told(&daemon, 1);
    assert_eq!(told_then[0].0, "Your mail from 127.0.0.1 could not be brought");
    assert!(told_then[0].1.contains(NAME), "{}", told_then[0].1);
    let tree = Tree::read(&daemon.maildir("alice"));
    assert_eq!(tree.count(), facts.len() + 1);
    daemon.stop();
    // A mailbox that was not there is not made for a notice.
    let mut daemon = Daemon::new("[notices]\nto_member = true\n");
    daemon.define("alice", &wrong);
    daemon.start();
    daemon.ctl(&["start", NAME, "--wait"]).code(1);
    daemon.stop();
    assert!(!daemon.maildir("alice").exists());
}

#[test]
fn a_poll_that_was_switched_off_in_korean_and_silence() {
    let dovecot = Dovecot::start(&[LOGIN]);
    for to_member in [true, false] {
        let settings = format!("[polling]\nmax_failures = 1\n[notices]\nto_member = {to_member}\n");
        let mut daemon = Daemon::new(&settings);
        daemon.language("ko");
        Corpus::at(&daemon.maildir("alice"));
        daemon.define("alice", &pop3_poll(NAME, "alice", dovecot.pop3, (LOGIN.0, "wrong"), ""));
        daemon.start();
        eventually("it is switched off", Duration::from_secs(60), || {
            daemon.ctl(&["poll", NAME]);
            (daemon.account(NAME)["state"] == "disabled").then_some(())
        });
        if to_member {
            let told_then = told(&daemon, 1);
            assert_eq!(told_then[0].0, "127.0.0.1의 메일을 더 이상 가져오지 않습니다");
        }
        daemon.stop();
        same("nothing else", &[], &Tree::read(&daemon.maildir("alice")).only(&[".x"]).contents());
        assert_eq!(notices(&daemon).len(), usize::from(to_member));
    }
}
