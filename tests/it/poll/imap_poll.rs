//! Polls over IMAP, from a real Dovecot and from a scripted server: what is new in the chosen folders, once;
//! nothing is listed where nothing changed, and deleted at the source only what is durable here.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "this is a test")]

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::helpers::corpus::{Corpus, Marks};
use crate::helpers::daemon::{Daemon, eventually, imap_migrate};
use crate::helpers::dovecot::Dovecot;
use crate::helpers::fake_imap::{FakeImap, Folder, Mail, honest};
use crate::helpers::maildir::{Tree, same, sha};

const LOGIN: (&str, &str) = ("alice", "secret");
const SELDOM: &str = "[polling]\ninterval = \"24h\"\nmax_message_size = \"1MB\"\n";

/// The definition of an IMAP account that is polled.
fn imap_poll(name: &str, port: u16, more: &str) -> String {
    imap_migrate(name, "alice", port, LOGIN, more).replace("[account.migrate]", "[account.poll]")
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
    source.add("", 400);
    source.directory(".Work");
    source.add(".Work", 100);
    let mut other = Corpus::at(&dovecot.maildir("alice")).from(70_000);
    other.directory(".Other");
    other.add(".Other", 10);
    source.put("", 90_000, &large(), &Marks::default());
    source.put.pop().unwrap();
    let mut daemon = Daemon::new(SELDOM);
    let poll = "mailbox = \"INBOX/Old\"\nfolders = [\"INBOX\", \"Wo*\"]\nicon = \"old\"";
    daemon.define("alice", &imap_poll("old", dovecot.imap, poll));
    daemon.start();
    daemon.ctl(&["check", "old"]).code(0);
    let run = daemon.poll("old");
    assert_eq!((&run["imported"], &run["skipped"]), (&500.into(), &1.into()), "{run}");
    let home = daemon.maildir("alice");
    let tree = Tree::read(&home);
    assert_eq!(tree.names(), BTreeSet::from(["", ".INBOX.Old"]));
    same("octets", &source.put, &tree.contents());
    for message in &tree.folders[".INBOX.Old"] {
        assert!(message.keywords.contains("icon-old"), "{message:?}");
    }
    let seen = |tree: &Tree| tree.messages().filter(|(_, m)| m.flags.contains('S')).count();
    let there = Tree::read(source.root());
    assert_eq!(seen(&tree), seen(&there.without(&[".Other"])), "what was read there is read here");
    assert_eq!(daemon.show("old")["skipped"][0]["folder"], "INBOX");
    // One was too large: it is not here, whatever the reason.
    daemon.ctl(&["verify", "old", "--bodies"]).code(1).says("1 left out");

    let before = Tree::files(&home);
    let run = daemon.poll("old");
    assert_eq!((&run["imported"], &run["already_there"]), (&0.into(), &0.into()), "nothing is listed: {run}");
    same("the files after a further poll", &before, &Tree::files(&home));
    let new = source.deliver(".Work");
    let run = daemon.poll("old");
    assert_eq!((&run["imported"], &run["ledger"]["seen"]), (&1.into(), &1.into()), "{run}");
    assert!(Tree::read(&home).folders[".INBOX.Old"].iter().any(|m| m.sha == new));
    assert_eq!(daemon.show("old")["skipped"].as_array().map(Vec::len), Some(1), "still told");

    // The member moves one from here to there at the source: it is here already.
    let one = Tree::read(source.root()).folders[".Work"][0].path.clone();
    fs::rename(&one, source.root().join("cur/1999999999.moved:2,S")).unwrap();
    let before = Tree::files(&home);
    let run = daemon.poll("old");
    assert_eq!(run["imported"], 0, "{run}");
    same("the files after a message was moved", &before, &Tree::files(&home));

    // Without its progress it looks at what is here.
    daemon.stop();
    fs::remove_dir_all(daemon.path().join("state")).unwrap();
    daemon.start();
    assert_eq!(daemon.poll("old")["imported"], 0);
    same("the files without the progress", &before, &Tree::files(&home));
    daemon.stop();
}

#[test]
fn what_is_listed_in_unreadable_words_is_told_and_comes_later() {
    let odd = Arc::new(AtomicBool::new(false));
    let is_odd = Arc::clone(&odd);
    let server = FakeImap::start(vec![Folder::new("INBOX", 5)], move |command, reply| {
        if is_odd.load(Ordering::SeqCst)
            && !command.wants_bodies()
            && let Some(line) = reply.of(7)
        {
            *line = b"* 7 FETCH (UID 7 FLAGS ((( X \"hush hush\"\r\n".to_vec();
        }
    });
    let mut daemon = Daemon::new(SELDOM);
    daemon.define("alice", &imap_poll("old", server.port, ""));
    daemon.start();
    assert_eq!(daemon.poll("old")["imported"], 5);
    server.change(|boxes| boxes[0] = Folder::new("INBOX", 8));
    odd.store(true, Ordering::SeqCst);
    // The others come at once.
    let run = daemon.poll("old");
    assert_eq!(
        (&run["ledger"]["failed"], &run["imported"]),
        (&1.into(), &2.into()),
        "{:#}",
        daemon.show("old")
    );
    let shown = daemon.show("old").to_string();
    assert!(
        shown.contains("cannot be read: '* 7 FETCH (UID 7 FLAGS (((") && !shown.contains("hush"),
        "{shown}"
    );
    odd.store(false, Ordering::SeqCst);
    assert_eq!(daemon.poll("old")["imported"], 1);
    assert_eq!(Tree::read(&daemon.maildir("alice")).count(), 8);
    daemon.stop();
}

#[test]
fn originals_go_and_what_is_not_here_stays() {
    let dovecot = Dovecot::start(&[LOGIN]);
    let mut source = Corpus::at(&dovecot.maildir("alice"));
    source.add("", 300);
    let large = large();
    // Marked as deleted by the owner, and too large to be brought.
    source.put("", 90_000, &large, &Marks { flags: "ST", keywords: &[], new: false });
    source.put.pop().unwrap();
    let mut daemon = Daemon::new(SELDOM);
    daemon.define("alice", &imap_poll("old", dovecot.imap, "keep_original = false"));
    daemon.start();
    let run = daemon.poll("old");
    assert_eq!((&run["imported"], &run["deleted"]), (&300.into(), &300.into()), "{run}");
    let home = daemon.maildir("alice");
    same("octets", &source.put, &Tree::read(&home).contents());
    let left = Tree::read(source.root()).contents();
    assert_eq!(left, [sha(&large)], "only what is not here is there");
    let run = daemon.poll("old");
    assert_eq!((&run["imported"], &run["deleted"]), (&0.into(), &0.into()), "{run}");
    source.add("", 5);
    let run = daemon.poll("old");
    assert_eq!((&run["imported"], &run["deleted"]), (&5.into(), &5.into()), "{run}");
    same("octets", &source.put, &Tree::read(&home).contents());
    daemon.stop();
}

#[test]
fn the_inbox_has_no_case_and_patterns_that_fit_nothing_fail() {
    let boxes = || vec![Folder::new("INBOX", 3), Folder::new("INBOX/Sub", 2), Folder::new("Other", 5)];
    let server = FakeImap::start(boxes(), honest);
    let mut daemon = Daemon::new(SELDOM);
    let named = |name: &str, folders: &str| imap_poll(name, server.port, folders);
    let all =
        [named("a", "folders = [\"inbox\", \"inbox/*\"]"), named("b", "folders = [\"Nothing\", \"in/*\"]")];
    daemon.define("alice", &all.concat());
    daemon.start();
    assert_eq!(daemon.poll("a")["imported"], 5);
    let words = "none of the 3 folders of the source fits folders";
    daemon.ctl(&["poll", "b"]).code(1).says(words);
    eventually("it counts", Duration::from_secs(20), || {
        let account = daemon.account("b");
        (account["consecutive_failures"].as_u64() > Some(0)).then_some(())
    });
    daemon.stop();
}

const PLAIN: &str = "IMAP4rev1 NAMESPACE SASL-IR AUTH=PLAIN";

#[test]
fn without_uidplus_nothing_is_expunged() {
    for uidplus in [false, true] {
        let capability = if uidplus { format!("{PLAIN} UIDPLUS") } else { PLAIN.to_owned() };
        let server = FakeImap::with_capability(&capability, vec![Folder::new("INBOX", 20)], honest);
        let mut daemon = Daemon::new(SELDOM);
        daemon.define("alice", &imap_poll("old", server.port, "keep_original = false"));
        daemon.start();
        let run = daemon.poll("old");
        let deleted = if uidplus { 20 } else { 0 };
        assert_eq!((&run["imported"], &run["deleted"]), (&20.into(), &deleted.into()), "{run}");
        assert!(!server.said().iter().any(|line| line.starts_with("[INBOX] EXPUNGE")), "{:?}", server.said());
        if !uidplus {
            assert!(server.boxes()[0].mails.iter().all(|mail| mail.flags.contains("\\Deleted")));
            let note = daemon.show("old")["folders"][0]["note"].clone();
            assert!(note.as_str().is_some_and(|note| note.contains("UIDPLUS")), "{note}");
            // Our own mark is no difference, and another one is.
            daemon.ctl(&["verify", "old"]).code(0);
            server.change(|boxes| boxes[0].mails[0].flags.push_str(" \\Flagged"));
            daemon.ctl(&["verify", "old"]).code(1).says("1 altered");
            server.change(|boxes| boxes[0].mails[0].flags = "\\Deleted".to_owned());
        }
        server.forget();
        assert_eq!(daemon.poll("old")["imported"], 0);
        // The scripted server counts its UIDs anew when it is empty.
        let listed = server.said().iter().any(|line| line.contains("EXAMINE"));
        assert_eq!(listed, uidplus, "{:?}", server.said());
        daemon.stop();
    }
}

#[test]
fn other_uids_and_another_name_are_the_same_mail() {
    let server =
        FakeImap::with_capability(PLAIN, vec![Folder::new("INBOX", 30), Folder::new("Lists/a", 12)], honest);
    let mut daemon = Daemon::new(SELDOM);
    daemon.define("alice", &imap_poll("old", server.port, "folders = [\"*\"]"));
    daemon.start();
    assert_eq!(daemon.poll("old")["imported"], 42);
    let home = daemon.maildir("alice");
    let before = Tree::files(&home);
    server.change(|boxes| {
        boxes[0].uidvalidity = 78;
        for mail in &mut boxes[0].mails {
            mail.uid += 100;
        }
        boxes[1].name = b"Lists/renamed".to_vec();
    });
    let run = daemon.poll("old");
    assert_eq!((&run["imported"], &run["already_there"]), (&0.into(), &42.into()), "{run}");
    same("the files", &before, &Tree::files(&home));
    server.forget();
    server.change(|boxes| {
        boxes[1].mails.push(Mail {
            uid: 13,
            body: b"Subject: new\r\n\r\nnew\r\n".to_vec(),
            flags: String::new(),
            date: " 5-Jan-2021 10:00:00 +0000".to_owned(),
        });
    });
    assert_eq!(daemon.poll("old")["imported"], 1);
    assert_eq!(server.body_fetches(), 1);
    assert!(server.said().iter().any(|line| line.contains("UID FETCH 13:*")), "{:?}", server.said());
    daemon.stop();
}
