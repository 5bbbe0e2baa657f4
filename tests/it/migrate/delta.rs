//! Delta runs of a migration: what came since, and the flags that changed at the source, without undoing what
//! the member did here; by hand, by themselves, and finished.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "this is a test")]

use crate::helpers::maildir;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::helpers::corpus::Corpus;
use crate::helpers::daemon::{Daemon, eventually, imap_migrate};
use crate::helpers::dovecot::Dovecot;
use crate::helpers::fake_imap::{FakeImap, Folder, honest};
use crate::helpers::maildir::{Tree, count, same};

const LOGIN: (&str, &str) = ("alice", "secret");

fn file_of(root: &Path, folder: &str, sha: &str) -> PathBuf {
    let tree = Tree::read(root);
    tree.folders[folder].iter().find(|message| message.sha == sha).unwrap().path.clone()
}

fn flags_of(root: &Path, folder: &str, sha: &str) -> String {
    let tree = Tree::read(root);
    tree.folders[folder].iter().find(|message| message.sha == sha).unwrap().flags.clone()
}

/// Gives a file other flags, as a reader does.
fn flag(file: &Path, letters: &str) {
    let name = file.file_name().unwrap().to_str().unwrap();
    let base = name.split(":2,").next().unwrap();
    let keywords: String =
        name.split(":2,").nth(1).unwrap_or_default().chars().filter(char::is_ascii_lowercase).collect();
    let cur = file.parent().unwrap().parent().unwrap().join("cur");
    fs::rename(file, cur.join(format!("{base}:2,{letters}{keywords}"))).unwrap();
}

#[test]
fn flags_of_the_source_and_of_the_member() {
    let dovecot = Dovecot::start(&[LOGIN]);
    let mut source = Corpus::at(&dovecot.maildir("alice"));
    let shas: Vec<String> = (0..6).map(|_| source.deliver("")).collect();
    source.fill(100);
    let (there, mut daemon) = (source.root().to_owned(), Daemon::new(""));
    for sha in &shas {
        flag(&file_of(&there, "", sha), "S");
    }
    let home = daemon.maildir("alice");
    daemon.define("alice", &imap_migrate("old", "alice", dovecot.imap, LOGIN, ""));
    daemon.start();
    daemon.migrate("old");
    // At the source 0 is flagged, 1 is unread again, 2 is answered; here 2 is flagged, 3 unread again, 4 a draft.
    flag(&file_of(&there, "", &shas[0]), "FS");
    flag(&file_of(&there, "", &shas[1]), "");
    flag(&file_of(&there, "", &shas[2]), "RS");
    flag(&file_of(&home, "", &shas[2]), "FS");
    flag(&file_of(&home, "", &shas[3]), "");
    flag(&file_of(&home, "", &shas[4]), "DS");
    let new = source.deliver("");
    daemon.ctl(&["start", "old", "--delta", "--wait"]).code(0);
    let migration = daemon.migration("old");
    assert_eq!(migration["messages_imported"], 1, "{migration:#}");
    let flags: Vec<String> = shas.iter().map(|sha| flags_of(&home, "", sha)).collect();
    assert_eq!(flags, ["FS", "", "FRS", "", "DS", "S"]);
    assert!(!file_of(&home, "", &new).as_os_str().is_empty());
    let before = Tree::files(&home);
    daemon.migrate("old");
    same("the files after one more", &before, &Tree::files(&home));
    daemon.stop();
}

#[test]
fn keywords_of_the_source_and_of_the_member() {
    let server = FakeImap::start(vec![Folder::new("INBOX", 5)], honest);
    server.change(|boxes| boxes[0].mails.iter_mut().for_each(|mail| mail.flags = "$Work".to_owned()));
    let mut daemon = Daemon::new("");
    daemon.define("alice", &imap_migrate("old", "alice", server.port, LOGIN, ""));
    daemon.start();
    daemon.migrate("old");
    let home = daemon.maildir("alice");
    let of = || -> Vec<String> {
        let tree = Tree::read(&home);
        let bodies: Vec<String> = (0..5).map(|n| maildir::sha(&server.boxes()[0].mails[n].body)).collect();
        let find = |sha: &String| tree.folders[""].iter().find(|mail| mail.sha == *sha).unwrap();
        let words = |sha: &String| find(sha).keywords.iter().cloned().collect::<Vec<_>>().join(" ");
        bodies.iter().map(words).collect()
    };
    assert_eq!(of(), ["$Work"; 5]);
    // At the source 0 loses it, 1 gets another, 4 gets thirty; here the member took it from 2 and 3.
    let many: Vec<String> = (0..30).map(|n| format!("word{n:02}")).collect();
    server.change(|boxes| {
        boxes[0].mails[0].flags = String::new();
        boxes[0].mails[1].flags = "$work Later".to_owned();
        boxes[0].mails[2].flags = "$WORK a/b".to_owned();
        boxes[0].mails[4].flags = format!("$Work {}", many.join(" "));
    });
    for sha in [2, 3].map(|n| maildir::sha(&server.boxes()[0].mails[n].body)) {
        let file = file_of(&home, "", &sha);
        let name = file.file_name().unwrap().to_str().unwrap().to_owned();
        fs::rename(&file, file.with_file_name(name.strip_suffix('a').unwrap())).unwrap();
    }
    daemon.ctl(&["start", "old", "--delta", "--wait"]).code(0);
    let now = of();
    assert_eq!(now[..4], ["", "$Work Later", "a/b", ""]);
    assert_eq!(
        now[4].split(' ').count(),
        24,
        "a Maildir has letters for 26, two of which others have: {now:?}"
    );
    let shown = daemon.show("old");
    let note = "1 messages have flags or keywords that do not fit into this folder";
    assert!(shown.to_string().contains(note), "{shown:#}");
    daemon.migrate("old");
    assert_eq!(of(), now);
    daemon.stop();
}

#[test]
fn a_delta_that_fails_puts_flags_back_too() {
    let closed = Arc::new(AtomicBool::new(false));
    let is_closed = Arc::clone(&closed);
    let server =
        FakeImap::start(vec![Folder::new("INBOX", 8), Folder::new("Z", 3)], move |command, reply| {
            if !is_closed.load(Ordering::SeqCst) {
                return;
            }
            if command.is_in("Z") && command.wants_bodies() {
                reply.cut(0, "* BYE not now\r\n");
            }
            if command.connection > 1 && command.name == "AUTHENTICATE" {
                reply.tagged(command, "NO [AUTHENTICATIONFAILED] no more");
            }
        });
    let mut daemon = Daemon::new("[migrations]\nconnections = 1\n");
    daemon.define("alice", &imap_migrate("old", "alice", server.port, LOGIN, ""));
    daemon.start();
    daemon.migrate("old");
    let home = daemon.maildir("alice");
    let before = Tree::files(&home);
    server.change(|boxes| {
        boxes[0].mails[0].flags = "\\Seen \\Flagged".to_owned();
        boxes[0].mails[1].flags = "\\Answered".to_owned();
        boxes[0].mails[2].flags = "$Work later".to_owned();
        let mut more = boxes[1].mails[0].clone();
        (more.uid, more.body) = (9, b"Subject: new\r\n\r\nnew\r\n".to_vec());
        boxes[1].mails.push(more);
    });
    closed.store(true, Ordering::SeqCst);
    daemon.ctl(&["start", "old", "--delta"]).code(0);
    let migration = daemon.migration_in("old", &["rolled-back"], Duration::from_secs(120));
    assert!(server.connections() > 2, "{migration:#}");
    same("the files after the rollback", &before, &Tree::files(&home));
    closed.store(false, Ordering::SeqCst);
    let migration = daemon.migrate("old");
    assert_eq!(migration["messages_imported"], 1, "{migration:#}");
    let facts = Tree::read(&home).folders[""].iter().filter(|m| m.flags == "FS" || m.flags == "R").count();
    assert!(facts >= 2, "{:#?}", Tree::read(&home).folders[""]);
    daemon.ctl(&["verify", "old"]).code(0);
    daemon.stop();
}

#[test]
fn it_repeats_itself_until_it_is_finished() {
    let server = FakeImap::start(vec![Folder::new("INBOX", 5)], honest);
    let mut daemon = Daemon::new("");
    daemon.define("alice", &imap_migrate("old", "alice", server.port, LOGIN, "delta = \"1s\""));
    daemon.start();
    daemon.ctl(&["finish", "old"]).code(1).says("has not completed");
    daemon.ctl(&["start", "old", "--wait"]).code(0);
    let home = daemon.maildir("alice");
    let more = |uid: u32| {
        server.change(|boxes| {
            let mut mail = boxes[0].mails[0].clone();
            (mail.uid, mail.body) = (uid, format!("Subject: {uid}\r\n\r\nnew\r\n").into_bytes());
            boxes[0].mails.push(mail);
        });
    };
    let arrives = |messages| {
        eventually("it comes by itself", Duration::from_secs(60), || {
            (count(&home) == messages).then_some(())
        });
    };
    more(10);
    arrives(6);
    daemon.stop();
    more(11);
    daemon.start();
    arrives(7);
    eventually("the next run is announced", Duration::from_secs(60), || {
        let shown = daemon.show("old");
        let next = shown["account"]["next_run_at"].is_string();
        (shown["migration"]["state"] == "completed" && next).then_some(())
    });
    more(12);
    daemon.ctl(&["finish", "old", "--wait"]).code(0);
    assert_eq!(count(&home), 8);
    let account = daemon.account("old");
    assert!(account["next_run_at"].is_null(), "{account:#}");
    // A start after that is one run, and no repetition.
    more(13);
    daemon.migrate("old");
    assert_eq!(count(&home), 9);
    let account = daemon.account("old");
    assert!(account["next_run_at"].is_null(), "{account:#}");
    daemon.stop();
}

#[test]
fn between_two_rounds_it_can_be_paused_and_cancelled() {
    let server = FakeImap::start(vec![Folder::new("INBOX", 5)], honest);
    let mut daemon = Daemon::new("");
    daemon.define("alice", &imap_migrate("old", "alice", server.port, LOGIN, "delta = \"24h\""));
    daemon.start();
    let home = daemon.maildir("alice");
    let next = |daemon: &Daemon| daemon.account("old")["next_run_at"].clone();
    daemon.ctl(&["resume", "old"]).code(1).says("not paused");
    daemon.migrate("old");
    assert!(next(&daemon).is_string());
    assert_eq!(daemon.ctl(&["--json", "pause", "old"]).code(0).json()["state"], "paused");
    assert!(next(&daemon).is_null() && count(&home) == 5);
    daemon.ctl(&["pause", "old"]).code(1).says("paused already");
    daemon.ctl(&["start", "old"]).code(1).says("resume it");
    daemon.stop();
    daemon.start();
    assert_eq!(daemon.migration("old")["state"], "paused");
    let queue = daemon.ctl(&["--json", "queue"]).code(0).json();
    assert_eq!(queue["migrations"][0]["name"], "old", "{queue:#}");
    // It goes on with its next round, as a run of its own.
    server.change(|boxes| *boxes = vec![Folder::new("INBOX", 7)]);
    daemon.ctl(&["resume", "old"]).code(0);
    let migration = daemon.migration_in("old", &["completed"], Duration::from_secs(60));
    assert_eq!((&migration["messages_imported"], count(&home)), (&2.into(), 7), "{migration:#}");
    eventually("it waits again", Duration::from_secs(20), || next(&daemon).is_string().then_some(()));
    // What completed rounds brought stays: others may have taken it for theirs.
    let ends = |daemon: &Daemon| {
        let cancelled = daemon.ctl(&["--json", "cancel", "old"]).code(0).json();
        assert_eq!(cancelled["state"], "cancelled", "{cancelled:#}");
        let migration = daemon.migration("old");
        assert_eq!(migration["outcome"], "cancelled between two rounds; what came was left");
        assert!(next(daemon).is_null() && count(&home) == 7);
        daemon.ctl(&["cancel", "old"]).code(1).says("not in the queue");
    };
    ends(&daemon);
    daemon.migrate("old");
    daemon.ctl(&["pause", "old"]).code(0);
    ends(&daemon);
    daemon.stop();
    daemon.start();
    assert_eq!((&daemon.migration("old")["state"], count(&home)), (&"cancelled".into(), 7));
    daemon.migrate("old");
    daemon.ctl(&["verify", "old"]).code(0);
    daemon.stop();
}

#[test]
fn what_others_adopted_from_a_round_stays() {
    let server = FakeImap::start(vec![Folder::new("INBOX", 5)], honest);
    let mut daemon = Daemon::new("");
    let old = imap_migrate("old", "alice", server.port, LOGIN, "delta = \"24h\"");
    let new =
        imap_migrate("new", "alice", server.port, LOGIN, "enabled = false").replace(".migrate]", ".poll]");
    daemon.define("alice", &format!("{old}{new}"));
    daemon.start();
    daemon.migrate("old");
    let polled = daemon.ctl(&["poll", "new"]).code(0);
    assert!(polled.out.contains("5 already there"), "{polled:?}");
    daemon.ctl(&["cancel", "old"]).code(0);
    let migration = daemon.migration_in("old", &["cancelled"], Duration::from_secs(60));
    assert_eq!(count(&daemon.maildir("alice")), 5, "{migration:#}");
    daemon.stop();
}
