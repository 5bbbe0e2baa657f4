//! Migrations over IMAP, from a real Dovecot into a Maildir++, through the real daemon: every folder, flag,
//! keyword, date and octet; a second run moves nothing, a later one only what is new.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "this is a test")]

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use crate::helpers::corpus::{Corpus, EMPTY, FOLDERS, Marks};
use crate::helpers::daemon::{Daemon, eventually, imap_migrate};
use crate::helpers::dovecot::Dovecot;
use crate::helpers::maildir::{Tree, count, same};

const LOGIN: (&str, &str) = ("bob", "secret");
const SPECIAL: &str = "namespace inbox {
  mailbox Sent {
    special_use = \\Sent
  }
  mailbox Junk {
    special_use = \\Junk
  }
  mailbox Trash {
    special_use = \\Trash
  }
}
";

fn source(count: usize) -> (Dovecot, Corpus) {
    let dovecot = Dovecot::start_with(&[LOGIN], SPECIAL);
    let mut source = Corpus::at(&dovecot.maildir("bob"));
    source.fill(count);
    (dovecot, source)
}

fn daemon(dovecot: &Dovecot, migrate: &str) -> Daemon {
    let mut daemon = Daemon::new("");
    daemon.define("bob", &imap_migrate("bob-old", "bob", dovecot.imap, LOGIN, migrate));
    daemon.start();
    daemon
}

/// Sessions that have ended at this Dovecot, and the bodies that they fetched.
fn bodies(dovecot: &Dovecot) -> (usize, u64) {
    let log = dovecot.log();
    let counts: Vec<u64> = log
        .lines()
        .filter_map(|line| line.split_once("body_count=")?.1.split(' ').next()?.parse().ok())
        .collect();
    (counts.len(), counts.iter().sum())
}

fn inodes(files: &[String]) -> BTreeSet<&str> {
    files.iter().map(|file| file.split(" inode ").nth(1).unwrap().split(' ').next().unwrap()).collect()
}

#[test]
fn everything_then_nothing_then_what_is_new() {
    let (dovecot, mut source) = source(2000);
    let mut daemon = daemon(&dovecot, "");
    assert_eq!(daemon.migration("bob-old")["state"], "ready");
    let migration = daemon.migrate("bob-old");
    assert_eq!(migration["messages_total"], 2000, "{migration:#}");
    assert_eq!(migration["messages_done"], 2000, "{migration:#}");
    assert_eq!(migration["folders_total"], migration["folders_done"], "{migration:#}");

    let (there, home) = (Tree::read(source.root()), daemon.maildir("bob"));
    let here = Tree::read(&home);
    same("octets", &source.put, &here.contents());
    same("folders, octets, flags, keywords and dates", &there.facts(), &here.facts());
    assert_eq!(here.names(), there.names());
    assert_eq!(here.subscriptions, there.subscriptions);
    assert!(here.folders[EMPTY].is_empty());
    for (folder, message) in here.messages() {
        assert!(!message.new || message.flags.is_empty(), "flags in new of {folder:?}: {message:?}");
    }
    let shown = daemon.show("bob-old");
    assert_eq!(shown["skipped"].as_array().map(Vec::len), Some(0), "{shown:#}");

    // A session is logged when it has ended.
    let (sessions, fetched) = eventually("the sessions are logged", Duration::from_secs(20), || {
        Some(bodies(&dovecot)).filter(|(_, bodies)| *bodies >= 2000)
    });
    assert_eq!(fetched, 2000, "each body was fetched once");
    let before = Tree::files(&home);
    let migration = daemon.migrate("bob-old");
    assert_eq!(migration["messages_total"], 2000, "{migration:#}");
    assert_eq!(migration["messages_done"], 2000, "{migration:#}");
    same("the files after a second run", &before, &Tree::files(&home));
    let (_, fetched) = eventually("the sessions are logged", Duration::from_secs(20), || {
        Some(bodies(&dovecot)).filter(|(ended, _)| *ended > sessions)
    });
    assert_eq!(fetched, 2000, "the second run fetched bodies");

    // One message is read meanwhile, one is new, and one is new in a new folder.
    let unread = &there.folders[".Sent"].iter().find(|m| m.name.ends_with(":2,")).unwrap().path;
    fs::rename(unread, format!("{}S", unread.display())).unwrap();
    let new = [source.deliver(".Archive.2024.Q1"), {
        source.directory(".New");
        source.deliver(".New")
    }];
    let migration = daemon.migrate("bob-old");
    assert_eq!(migration["messages_total"], 2002, "{migration:#}");
    let after = Tree::files(&home);
    assert_eq!(after.len(), before.len() + 2);
    assert!(inodes(&before).is_subset(&inodes(&after)), "nothing was written again");
    let here = Tree::read(&home);
    same("octets", &source.put, &here.contents());
    assert!(here.folders[".Archive.2024.Q1"].iter().any(|m| m.sha == new[0]));
    assert!(here.folders[".New"].iter().any(|m| m.sha == new[1]));
    daemon.stop();
}

#[test]
fn some_folders_under_another() {
    let (dovecot, source) = source(200);
    let mut daemon =
        daemon(&dovecot, "into = \"Old/Mail\"\nexclude = [\"\\\\Trash\", \"\\\\Junk\", \"Lists/*\", \"1\"]");
    daemon.migrate("bob-old");
    let there = Tree::read(source.root()).without(&[
        ".Trash",
        ".Junk",
        ".Lists.rust users",
        ".Lists.a'b(c){d}%e*f",
        ".1",
    ]);
    let there = there.below(".Old.Mail", ".Old.Mail");
    let here = Tree::read(&daemon.maildir("bob"));
    same("folders, octets, flags, keywords and dates", &there.facts(), &here.facts());
    daemon.stop();
}

#[test]
fn only_what_is_included() {
    let (dovecot, source) = source(200);
    let mut daemon =
        daemon(&dovecot, "include = [\"\\\\Sent\", \"Archive/2024/*\", \"Entwürfe\"]\nexclude = [\"*/Q2\"]");
    daemon.migrate("bob-old");
    let there = Tree::read(source.root()).only(&[".Sent", ".Archive.2024.Q1", ".Entw&APw-rfe"]);
    let here = Tree::read(&daemon.maildir("bob"));
    same("folders, octets, flags, keywords and dates", &there.facts(), &here.facts());
    daemon.stop();
}

#[test]
fn what_was_there_before_stays() {
    let (dovecot, _source) = source(200);
    let mut daemon = daemon(&dovecot, "");
    let home = daemon.maildir("bob");
    let mut own = Corpus::at(&home).from(5000);
    own.add("", 20);
    own.add(".Sent", 20);
    own.add(".Own", 20);
    own.subscribe(&[".Own"]);
    let (before, facts) = (Tree::files(&home), Tree::read(&home).facts());
    daemon.migrate("bob-old");
    let after = Tree::files(&home);
    assert!(before.iter().all(|file| after.contains(file)), "what was there is as it was");
    assert_eq!(after.len(), 260);
    let here = Tree::read(&home).facts();
    assert!(facts.iter().all(|fact| here.contains(fact)), "its keywords mean the same");
    daemon.stop();
}

#[test]
fn a_pause_and_a_cancel() {
    let (dovecot, mut source) = source(0);
    source.add(".Sent", 3000);
    let mut daemon = daemon(&dovecot, "");
    let home = daemon.maildir("bob");
    let mut own = Corpus::at(&home).from(50_000);
    own.add("", 5);
    own.subscribe(&[""]);
    let before = (Tree::files(&home), fs::read(home.join("subscriptions")).unwrap());

    daemon.ctl(&["start", "bob-old"]).code(0);
    eventually("some have arrived", Duration::from_secs(60), || (count(&home) > 5).then_some(()));
    daemon.ctl(&["pause", "bob-old"]).code(0);
    daemon.migration_in("bob-old", &["paused"], Duration::from_secs(20));
    let arrived = count(&home);
    assert!(arrived < 3000, "it was stopped on the way");
    daemon.stop();
    daemon.start();
    assert_eq!(daemon.migration("bob-old")["state"], "paused", "it stays so over a restart");
    assert_eq!(count(&home), arrived, "nothing moves while it is paused");
    daemon.ctl(&["cancel", "bob-old"]).code(0);
    daemon.migration_in("bob-old", &["cancelled"], Duration::from_secs(60));
    same("the mailbox is as it was", &before.0, &Tree::files(&home));
    assert_eq!(fs::read(home.join("subscriptions")).unwrap(), before.1);
    assert_eq!(Tree::read(&home).names(), BTreeSet::from([""]), "no folder of ours is left");

    daemon.ctl(&["start", "bob-old"]).code(0);
    eventually("some have arrived", Duration::from_secs(60), || (count(&home) > 5).then_some(()));
    daemon.ctl(&["pause", "bob-old"]).code(0);
    daemon.ctl(&["resume", "bob-old"]).code(0);
    daemon.migration_in("bob-old", &["completed"], Duration::from_secs(120));
    daemon.migrate("bob-old");
    let there = Tree::read(source.root());
    let here = Tree::read(&home);
    assert_eq!(here.folders[".Sent"].len(), there.folders[".Sent"].len());
    daemon.stop();
}

#[test]
fn the_queue_keeps_its_order() {
    let users = ["u1", "u2", "u3", "u4"];
    let logins: Vec<(&str, &str)> = users.iter().map(|user| (*user, "secret")).collect();
    let dovecot = Dovecot::start(&logins);
    let mut daemon = Daemon::new("[migrations]\nconcurrency = 1\n");
    let mut sources = Vec::new();
    for (at, login) in logins.iter().enumerate() {
        let mut source = Corpus::at(&dovecot.maildir(login.0)).from(at * 1000);
        source.add("", 100);
        source.put("", 900_000 + at, b"Subject: a\n\nb\n", &Marks::default());
        daemon.define(login.0, &imap_migrate(login.0, login.0, dovecot.imap, *login, ""));
        sources.push(source);
    }
    daemon.start();
    for user in users {
        daemon.ctl(&["start", user]).code(0);
    }
    let queue = daemon.ctl(&["--json", "queue"]).code(0).json();
    let waiting = queue["migrations"].as_array().unwrap();
    let names: Vec<&str> = waiting.iter().map(|m| m["name"].as_str().unwrap()).collect();
    assert!(users.ends_with(&names), "the queue is in the order of adding: {queue:#}");
    let positions: Vec<u64> = waiting.iter().filter_map(|m| m["position"].as_u64()).collect();
    assert!(positions.is_sorted_by(|a, b| a < b), "{queue:#}");
    for user in users {
        daemon.migration_in(user, &["completed"], Duration::from_secs(120));
    }
    let history = daemon.ctl(&["--json", "history"]).code(0).json();
    let ended: Vec<&str> =
        history["migrations"].as_array().unwrap().iter().map(|m| m["name"].as_str().unwrap()).collect();
    assert_eq!(ended, ["u4", "u3", "u2", "u1"], "newest first: {history:#}");
    for (user, source) in users.iter().zip(&sources) {
        same(user, &source.put, &Tree::read(&daemon.maildir(user)).contents());
    }
    daemon.stop();
}

#[test]
fn the_corpus_is_what_it_says() {
    assert_eq!(FOLDERS.len(), 20);
    assert_eq!(FOLDERS[19].matches('.').count(), 20);
}
