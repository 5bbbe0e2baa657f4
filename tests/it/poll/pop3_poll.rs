//! Polls over POP3, from a real Dovecot into a Maildir++, through the real daemon: everything first, then
//! only what is new, and nothing is fetched or deleted that should not be.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "this is a test")]

use crate::helpers::daemon;
use std::collections::BTreeSet;
use std::time::Duration;

use crate::helpers::corpus::{Corpus, Marks};
use crate::helpers::daemon::{Daemon, eventually, pop3_poll};
use crate::helpers::dovecot::Dovecot;
use crate::helpers::maildir::{Tree, same, sha};

const SELDOM: &str = "[polling]\ninterval = \"24h\"\nmax_message_size = \"1MB\"\n";
const LOGIN: (&str, &str) = ("alice", "secret");

/// Messages and octets that POP3 sessions at this Dovecot have fetched so far, each session in its turn.
fn fetched(dovecot: &Dovecot) -> Vec<(u64, u64)> {
    let log = dovecot.log();
    log.lines()
        .filter_map(|line| line.split_once("retr=")?.1.split(',').next()?.split_once('/'))
        .map(|(messages, octets)| (messages.parse().unwrap(), octets.parse().unwrap()))
        .collect()
}

/// Waits until Dovecot has logged that many sessions.
fn sessions(dovecot: &Dovecot, count: usize) -> Vec<(u64, u64)> {
    eventually("the sessions are logged", Duration::from_secs(20), || {
        Some(fetched(dovecot)).filter(|all| all.len() >= count)
    })
}

fn large() -> Vec<u8> {
    let mut message = b"From: a@example.com\nSubject: large\n\n".to_vec();
    message.extend(b"seventy characters of a message that is larger than the limit allows\n".repeat(18_000));
    message
}

#[test]
fn everything_then_nothing_then_what_is_new() {
    let dovecot = Dovecot::start(&[LOGIN]);
    let mut source = Corpus::at(&dovecot.maildir("alice"));
    source.add("", 2000);
    let large = large();
    source.put("", 90_000, &large, &Marks::default());
    let too_large = source.put.pop().unwrap();

    let mut daemon = Daemon::new(SELDOM);
    daemon.define(
        "alice",
        &pop3_poll("alice-old", "alice", dovecot.pop3, LOGIN, "mailbox = \"INBOX/Gmail\"\nicon = \"gmail\""),
    );
    daemon.start();
    let run = daemon.poll("alice-old");
    assert_eq!((run["imported"].as_u64(), run["skipped"].as_u64()), (Some(2000), Some(1)), "{run}");

    let home = daemon.maildir("alice");
    let tree = Tree::read(&home);
    assert_eq!(tree.names(), BTreeSet::from(["", ".INBOX.Gmail"]));
    assert_eq!(tree.folders[""].len(), 0);
    same("what arrived", &source.put, &tree.contents());
    for message in &tree.folders[".INBOX.Gmail"] {
        assert_eq!(message.keywords, BTreeSet::from(["icon-gmail".to_owned()]), "{message:?}");
    }

    let shown = daemon.show("alice-old");
    let skipped = shown["skipped"].as_array().unwrap();
    assert_eq!(skipped.len(), 1, "{shown:#}");
    assert!(skipped[0]["id"].as_str().is_some_and(|id| !id.is_empty()), "{shown:#}");
    assert!(skipped[0]["size"].as_u64().is_some_and(|size| size >= large.len() as u64), "{shown:#}");
    assert!(skipped[0]["reason"].as_str().is_some_and(|why| why.len() > 10), "{shown:#}");
    let first = sessions(&dovecot, 1);
    let octets: u64 = first.iter().map(|(_, octets)| octets).sum();
    let here: u64 = 2000 * 20_000;
    assert!(octets < here, "the large message was not fetched");
    assert_eq!(first.iter().map(|(messages, _)| messages).sum::<u64>(), 2000, "each was fetched once");

    let before = Tree::files(&home);
    let run = daemon.poll("alice-old");
    assert_eq!(run["imported"], 0, "{run}");
    same("the files after a second poll", &before, &Tree::files(&home));
    let all = sessions(&dovecot, first.len() + 1);
    assert!(all[first.len()..].iter().all(|(messages, _)| *messages == 0), "{all:?}");
    assert_eq!(daemon.show("alice-old")["skipped"].as_array().unwrap().len(), 1, "it stays listed");

    let new = source.deliver("");
    let run = daemon.poll("alice-old");
    assert_eq!(run["imported"], 1, "{run}");
    let after = Tree::files(&home);
    let added: Vec<String> = after.iter().filter(|file| !before.contains(file)).cloned().collect();
    assert_eq!((added.len(), after.len()), (1, before.len() + 1), "{added:?}");
    let tree = Tree::read(&home);
    assert!(tree.folders[".INBOX.Gmail"].iter().any(|m| m.sha == new));
    assert!(tree.contents().iter().all(|content| *content != too_large));

    let mut all = source.put.clone();
    all.push(too_large);
    same("the source is as it was", &all, &Tree::read(source.root()).contents());
    daemon.stop();
}

#[test]
fn without_the_original_what_arrived_is_deleted_and_nothing_else() {
    let dovecot = Dovecot::start(&[LOGIN]);
    let mut source = Corpus::at(&dovecot.maildir("alice"));
    source.add("", 200);
    let expected = source.put.clone();
    source.add(".Other", 20);
    let large = large();
    source.put("", 90_000, &large, &Marks::default());

    let mut daemon = Daemon::new(SELDOM);
    daemon.define("alice", &pop3_poll("alice-old", "alice", dovecot.pop3, LOGIN, "keep_original = false"));
    daemon.start();
    let run = daemon.poll("alice-old");
    assert_eq!((run["imported"].as_u64(), run["deleted"].as_u64()), (Some(200), Some(200)), "{run}");
    same("what arrived", &expected, &Tree::read(&daemon.maildir("alice")).contents());
    let left = Tree::read(source.root());
    assert_eq!(left.folders[""].iter().map(|m| m.sha.as_str()).collect::<Vec<_>>(), [sha(&large)]);
    assert_eq!(left.folders[".Other"].len(), 20);

    let before = Tree::files(&daemon.maildir("alice"));
    assert_eq!(daemon.poll("alice-old")["imported"], 0);
    same("the files after a second poll", &before, &Tree::files(&daemon.maildir("alice")));
    daemon.stop();
}

#[test]
fn it_polls_by_itself_and_after_a_restart() {
    let dovecot = Dovecot::start(&[LOGIN]);
    let mut source = Corpus::at(&dovecot.maildir("alice"));
    source.add("", 10);
    let mut daemon = Daemon::new("[polling]\ninterval = \"1s\"\n");
    daemon.define("alice", &pop3_poll("alice-old", "alice", dovecot.pop3, LOGIN, ""));
    let home = daemon.maildir("alice");
    let arrived = |count: usize| {
        let what = format!("{count} messages arrived by themselves");
        eventually(&what, Duration::from_secs(60), || (Tree::read(&home).count() >= count).then_some(()));
    };
    daemon.start();
    arrived(10);
    source.deliver("");
    arrived(11);
    daemon.stop();
    source.deliver("");
    daemon.start();
    arrived(12);
    daemon.ctl(&["disable", "alice-old"]).code(0);
    assert_eq!(daemon.listed("alice-old")["state"], "disabled");
    daemon.stop();
    daemon.start();
    assert_eq!(daemon.listed("alice-old")["state"], "disabled", "it stays so");
    daemon.ctl(&["enable", "alice-old"]).code(0);
    source.deliver("");
    arrived(13);
    same("what arrived", &source.put, &Tree::read(&home).contents());
    daemon.stop();
}

#[test]
fn once_does_all_and_says_whether_it_worked() {
    let dovecot = Dovecot::start(&[LOGIN, ("bob", "secret")]);
    let mut source = Corpus::at(&dovecot.maildir("alice"));
    source.add("", 50);
    let mut tree = Corpus::at(&dovecot.maildir("bob")).from(1000);
    tree.fill(60);
    let daemon = Daemon::new("");
    daemon.define("alice", &pop3_poll("alice-old", "alice", dovecot.pop3, LOGIN, ""));
    let login = ("bob", "secret");
    daemon.define("bob", &daemon::imap_migrate("bob-old", "bob", dovecot.imap, login, ""));
    daemon.run(&["--once"]).code(0);
    same("what arrived by POP3", &source.put, &Tree::read(&daemon.maildir("alice")).contents());
    same("what arrived by IMAP", &tree.put, &Tree::read(&daemon.maildir("bob")).contents());
    source.deliver("");
    tree.deliver(".Sent");
    daemon.run(&["--once"]).code(0);
    same("what arrived by POP3", &source.put, &Tree::read(&daemon.maildir("alice")).contents());
    same("what arrived by IMAP", &tree.put, &Tree::read(&daemon.maildir("bob")).contents());
    let wrong = ("alice", "wrong");
    daemon.define("carol", &pop3_poll("carol-old", "carol", dovecot.pop3, wrong, ""));
    daemon.run(&["--once"]).code(1);
}
