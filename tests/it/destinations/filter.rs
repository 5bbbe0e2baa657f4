//! A member's own rules for collected mail in a Maildir, through the real daemon: filed, flagged and marked once,
//! whatever happens on the way.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "this is a test")]

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use crate::helpers::daemon::{Daemon, eventually, pop3_poll};
use crate::helpers::dovecot::Dovecot;
use crate::helpers::maildir::{Tree, sha, wire};

const LOGIN: (&str, &str) = ("alice", "secret");
const NAME: &str = "alice-old";
const SELDOM: &str = "[polling]\ninterval = \"24h\"\n";

const RULES: &str = r#"
[[filter]]
member = "alice@example.com"
name = "what nobody wants to read"
match = "any"
when = [{ address = "From", domain = "casino.example" }, { header = "Subject", matches = "*win a * now*" }, { header = "Subject", contains = "입금" }]
then = { trash = true, flags = ["\\Seen"] }

[[filter]]
member = "alice@example.com"
when = [{ size_over = "20KB" }]
then = { keywords = ["large"] }
stop = false

[[filter]]
member = "alice@example.com"
when = [{ header = "List-Id", contains = "rust" }, { header = "Precedence", exists = true, not = true }]
then = { folder = "Lists/Rust", flags = ["\\Flagged"] }

[[filter]]
member = "bob@example.com"
when = [{ header = "From", exists = true }]
then = { folder = "Nobody's" }
"#;

/// A message of each kind, and the folder where it belongs.
fn mails() -> Vec<(Vec<u8>, &'static str)> {
    let mail = |n: usize, head: &str, lines: usize| {
        let body = "another line of this message, which says nothing\n".repeat(lines);
        format!("From: A <a{n}@example.org>\nMessage-ID: <{n}@x.example>\n{head}\n{body}").into_bytes()
    };
    let mut mails = Vec::new();
    for n in 0..60 {
        let (head, folder) = match n % 5 {
            0 => match n % 3 {
                0 => ("Subject: =?utf-8?q?Win_a_caf=C3=A9_now?=!\n", ".Trash"),
                1 => ("Subject: =?ks_c_5601-1987?B?wNSx3SC+yLO7?=\n", ".Trash"),
                _ => ("Subject: =?iso-2022-kr?B?GyQpQw5AVDFdDyAOPkgzOw8=?=\n", ".Trash"),
            },
            1 => ("Subject: news\nList-Id: News <news.rust.example>\n", ".Lists.Rust"),
            2 => ("Subject: news\nList-Id: News <news.rust.example>\nPrecedence: bulk\n", ""),
            3 => ("Subject: win a\nReply-To: x@casino.example\n", ""),
            _ => ("Subject: hello\n", ""),
        };
        let lines = if n % 10 < 5 { 3 } else { 700 };
        mails.push((mail(n, head, lines), folder));
    }
    mails
}

fn delivered() -> (Dovecot, BTreeMap<String, &'static str>) {
    let dovecot = Dovecot::start(&[LOGIN]);
    let mut expected = BTreeMap::new();
    for (mail, folder) in mails() {
        dovecot.deliver("alice", &mail);
        expected.insert(sha(&wire(&mail)), folder);
    }
    (dovecot, expected)
}

fn filed(daemon: &Daemon) -> Tree {
    Tree::read(&daemon.maildir("alice"))
}

#[track_caller]
fn each_is_where_it_belongs(tree: &Tree, expected: &BTreeMap<String, &str>) {
    assert_eq!(tree.count(), expected.len());
    for (folder, message) in tree.messages() {
        assert_eq!(expected.get(&message.sha), Some(&folder.as_str()), "{}", message.name);
    }
}

#[test]
fn mail_is_filed_by_rules_once() {
    for protocol in ["pop3", "imap"] {
        let (dovecot, expected) = delivered();
        let port = if protocol == "pop3" { dovecot.pop3 } else { dovecot.imap };
        let mut daemon = Daemon::new(SELDOM);
        let definition = pop3_poll(NAME, "alice", port, LOGIN, "apply_filter = true\nicon = \"old\"")
            .replace("protocol = \"pop3\"", &format!("protocol = {protocol:?}"));
        daemon.define("alice", &format!("{definition}{RULES}"));
        daemon.start();
        assert_eq!(daemon.poll(NAME)["imported"], 60, "{protocol}");
        let tree = filed(&daemon);
        each_is_where_it_belongs(&tree, &expected);
        for (folder, message) in tree.messages() {
            let flags = match folder.as_str() {
                ".Trash" => "S",
                ".Lists.Rust" => "F",
                _ => "",
            };
            assert_eq!(message.flags, flags, "{folder} {}", message.name);
            let large = fs::metadata(&message.path).unwrap().len() > 20 * 1024 && folder != ".Trash";
            assert_eq!(message.keywords.contains("large"), large, "{folder} {:?}", message.keywords);
            assert!(message.keywords.contains("icon-old"));
        }
        assert!(tree.subscriptions.contains(".Lists.Rust"), "{:?}", tree.subscriptions);
        assert_eq!(daemon.poll(NAME)["imported"], 0);
        // The daemon forgets everything, and the member has read what was filed.
        daemon.stop();
        fs::remove_dir_all(daemon.path().join("state")).unwrap();
        for (_, message) in tree.messages().filter(|(folder, _)| *folder == ".Lists.Rust") {
            let read = message.path.to_str().unwrap().replace(":2,F", ":2,FS");
            fs::rename(&message.path, read.replace("/new/", "/cur/")).unwrap();
        }
        daemon.start();
        let run = daemon.poll(NAME);
        assert_eq!((&run["imported"], &run["already_there"]), (&0.into(), &60.into()), "{protocol}: {run:#}");
        each_is_where_it_belongs(&filed(&daemon), &expected);
        daemon.stop();
    }
}

#[test]
fn a_daemon_that_is_killed_files_nothing_twice() {
    let (dovecot, expected) = delivered();
    for kill_at in [1, 20, 40, 59] {
        let mut daemon = Daemon::new(SELDOM);
        daemon.define(
            "alice",
            &format!("{}{RULES}", pop3_poll(NAME, "alice", dovecot.pop3, LOGIN, "apply_filter = true")),
        );
        daemon.start();
        daemon.ctl(&["poll", NAME, "--no-wait"]).code(0);
        eventually("some mail is there", Duration::from_secs(60), || {
            (daemon.maildir("alice").exists() && filed(&daemon).count() >= kill_at).then_some(())
        });
        daemon.kill();
        daemon.start();
        daemon.poll(NAME);
        each_is_where_it_belongs(&filed(&daemon), &expected);
        daemon.stop();
    }
}

#[test]
fn without_apply_filter_and_with_mistakes() {
    let (dovecot, _) = delivered();
    let mut daemon = Daemon::new(SELDOM);
    daemon.define("alice", &format!("{}{RULES}", pop3_poll(NAME, "alice", dovecot.pop3, LOGIN, "")));
    let wrong = [
        ("member = \"x\"\nwhen = [{ size_over = \"1KB\" }]\nthen = { trash = true }", "filter.member"),
        ("member = \"a@b.c\"\nwhen = []\nthen = { trash = true }", "has 0 conditions"),
        ("member = \"a@b.c\"\nwhen = [{ header = \"a:\", is = \"x\" }]\nthen = { trash = true }", "no colon"),
        ("member = \"a@b.c\"\nwhen = [{ header = \"a\" }]\nthen = { trash = true }", "must say what"),
        (
            "member = \"a@b.c\"\nwhen = [{ header = \"a\", domain = \"x\" }]\nthen = { trash = true }",
            "address alone",
        ),
        (
            "member = \"a@b.c\"\nwhen = [{ size_over = \"1KB\", size_under = \"2KB\" }]\nthen = { trash = true }",
            "one thing",
        ),
        ("member = \"a@b.c\"\nwhen = [{ size_over = \"1KB\" }]\nthen = { }", "does nothing"),
        (
            "member = \"a@b.c\"\nwhen = [{ size_over = \"1KB\" }]\nthen = { flags = [\"\\\\Deleted\"] }",
            "no flag that",
        ),
        (
            "member = \"a@b.c\"\nwhen = [{ size_over = \"1KB\" }]\nthen = { folder = \"../x\" }",
            "filter.then.folder",
        ),
        (
            "member = \"a@b.c\"\nwhen = [{ size_over = \"1KB\" }]\nthen = { keywords = [\"a b\"] }",
            "cannot be a keyword",
        ),
    ];
    let text: String = wrong.iter().map(|(rule, _)| format!("[[filter]]\n{rule}\n")).collect();
    daemon.define("wrong", &text);
    let answer = daemon.run(&["--check"]).code(78);
    let lines: Vec<&str> = answer.err.lines().collect();
    for (at, (_, words)) in wrong.iter().enumerate() {
        let words = words.replace("no colon", "is not a header field");
        let place = format!("wrong.toml:{}:", 4 * at + 2);
        let near = [0, 1, 2].map(|more| format!("wrong.toml:{}:", 4 * at + 2 + more));
        let found =
            lines.iter().any(|line| near.iter().any(|place| line.contains(place)) && line.contains(&words));
        assert!(found, "{place} {words}\n{}", answer.err);
    }
    // The account runs on, and its rules are not asked for.
    daemon.start();
    assert_eq!(daemon.poll(NAME)["imported"], 60);
    assert!(filed(&daemon).folders.iter().all(|(folder, messages)| folder.is_empty() || messages.is_empty()));
    daemon.stop();
}
