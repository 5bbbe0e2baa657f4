//! A server that plays Gmail (X-GM-EXT-1): labels are folders, each body is fetched once, All Mail adds only
//! what no other folder had, and what only shows messages is not moved.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "this is a test")]

use crate::helpers::daemon;
use crate::helpers::fake_imap;
use crate::helpers::maildir;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::helpers::daemon::{Daemon, imap_migrate, there};
use crate::helpers::dovecot::Dovecot;
use crate::helpers::fake_imap::{Command, FakeImap, Folder, Mail, Reply};
use crate::helpers::leaky::Leaky;
use crate::helpers::maildir::{Tree, same};

const LOGIN: (&str, &str) = ("alice", "secret");
const GMAIL: &str = "IMAP4rev1 ID NAMESPACE SPECIAL-USE SASL-IR AUTH=PLAIN UIDPLUS X-GM-EXT-1";

/// The same messages under another label, with UIDs of their own.
fn label(name: &str, attributes: &str, mails: &[Mail]) -> Folder {
    let mut folder = Folder::new(name, 0);
    folder.attributes = attributes.to_owned();
    folder.mails = mails.to_vec();
    for (mail, uid) in folder.mails.iter_mut().zip(1..) {
        mail.uid = uid;
    }
    folder
}

fn mailbox() -> Vec<Folder> {
    let (inbox, work, archived) = (Folder::new("INBOX", 9), Folder::new("Work", 5), Folder::new("x", 4));
    let trash = Folder::new("t", 2);
    let work_and_inbox: Vec<Mail> = work.mails.iter().chain(&inbox.mails[2..6]).cloned().collect();
    let all: Vec<Mail> = inbox.mails.iter().chain(&work.mails).chain(&archived.mails).cloned().collect();
    vec![
        label("[Gmail]/Alle Nachrichten", "\\All", &all),
        label("[Gmail]/Chats", "", &all[..2]),
        label("[Gmail]/Markiert", "\\Flagged", &inbox.mails[..3]),
        label("[Gmail]/Papierkorb", "\\Trash", &trash.mails),
        label("[Gmail]/Wichtig", "\\Important", &all[..5]),
        inbox,
        label("Work", "", &work_and_inbox),
    ]
}

/// Counts the bodies that go out.
fn counting(bodies: &Arc<AtomicUsize>) -> impl Fn(&Command, &mut Reply) + Send + Sync + 'static {
    let bodies = Arc::clone(bodies);
    move |command, reply| {
        if command.wants_bodies() {
            bodies.fetch_add(reply.untagged.len(), Ordering::SeqCst);
        }
    }
}

#[test]
fn each_body_is_fetched_once() {
    let bodies = Arc::new(AtomicUsize::new(0));
    let server = FakeImap::with_capability(GMAIL, mailbox(), counting(&bodies));
    let mut daemon = Daemon::new("");
    daemon.define("alice", &imap_migrate("old", "alice", server.port, LOGIN, ""));
    daemon.start();
    let notes = daemon.ctl(&["--json", "check", "old"]).code(0).json()["notes"].to_string();
    for told in ["Chats", "Wichtig", "Markiert", "Archive"] {
        assert!(notes.contains(told), "{told}: {notes}");
    }
    let migration = daemon.migrate("old");
    // 9 in INBOX, 5 and 4 of those in Work, 2 in the trash, 4 in no other folder.
    assert_eq!(migration["messages_imported"], 24, "{migration:#}");
    assert_eq!(bodies.load(Ordering::SeqCst), 20, "each body was fetched once");
    let home = daemon.maildir("alice");
    let tree = Tree::read(&home);
    let of = |folder: &str| tree.folders.get(folder).map_or(0, Vec::len);
    let names: BTreeSet<&str> = tree.names();
    assert_eq!(names, BTreeSet::from(["", ".Work", ".[Gmail].Papierkorb", ".Archive"]));
    assert_eq!((of(""), of(".Work"), of(".[Gmail].Papierkorb"), of(".Archive")), (9, 9, 2, 4));
    let there = server.boxes();
    let work: Vec<String> = there[6].mails.iter().map(|m| maildir::sha(&m.body)).collect();
    let here: Vec<String> = tree.folders[".Work"].iter().map(|m| m.sha.clone()).collect();
    same("the octets of a label", &work, &here);
    daemon.ctl(&["verify", "old", "--bodies"]).code(0);

    let before = Tree::files(&home);
    bodies.store(0, Ordering::SeqCst);
    daemon.migrate("old");
    same("the files after a second run", &before, &Tree::files(&home));
    // One more label, and one more message with a label.
    server.change(|boxes| {
        let mut labelled = boxes[5].mails[8].clone();
        labelled.uid = 40;
        boxes[6].mails.push(labelled);
        let new =
            Mail { uid: 41, body: b"Subject: new\r\n\r\nnew\r\n".to_vec(), ..boxes[5].mails[0].clone() };
        boxes[6].mails.push(new.clone());
        boxes[0].mails.push(Mail { uid: 60, ..new });
    });
    let migration = daemon.migrate("old");
    assert_eq!(migration["messages_imported"], 2, "{migration:#}");
    assert_eq!(bodies.load(Ordering::SeqCst), 1, "only the new one was fetched");
    daemon.ctl(&["verify", "old", "--bodies"]).code(0);
    daemon.stop();
}

const HOME: (&str, &str) = ("home-alice", "home secret");

/// What is at the source, folder by folder as it is named at the destination.
fn wanted(server: &FakeImap) -> Vec<String> {
    let boxes = server.boxes();
    let of = |at: usize| boxes[at].mails.iter().map(|mail| maildir::sha(&mail.body));
    let elsewhere: BTreeSet<String> = [3, 5, 6].into_iter().flat_map(of).collect();
    let in_folder =
        |name: &str, at: usize| -> Vec<String> { of(at).map(|sha| format!("{name} {sha}")).collect() };
    let mut all = [in_folder("", 5), in_folder(".Work", 6), in_folder(".[Gmail].Papierkorb", 3)].concat();
    all.extend(of(0).filter(|sha| !elsewhere.contains(sha)).map(|sha| format!(".Archive {sha}")));
    all.sort();
    all
}

fn found(root: &std::path::Path) -> Vec<String> {
    let tree = Tree::read(root);
    let mut all: Vec<String> =
        tree.messages().map(|(folder, message)| format!("{folder} {}", message.sha)).collect();
    all.sort();
    all
}

#[test]
fn each_body_is_sent_to_a_server_once() {
    let bodies = Arc::new(AtomicUsize::new(0));
    let server = FakeImap::with_capability(GMAIL, mailbox(), counting(&bodies));
    let home = Dovecot::start(&[HOME]);
    let mut daemon = Daemon::homing(home.imap, "login = \"home-{local}\"", HOME.1);
    daemon.more_settings("[notices]\nto_member = false\n");
    daemon.define("alice", &there(&imap_migrate("old", "alice", server.port, LOGIN, "")));
    daemon.start();
    let migration = daemon.migrate("old");
    assert_eq!(migration["messages_imported"], 24, "{:#}", daemon.show("old"));
    assert_eq!(bodies.load(Ordering::SeqCst), 20, "each body was fetched once");
    let root = home.maildir(HOME.0);
    same("what is there", &wanted(&server), &found(&root));
    let tree = Tree::read(&root);
    for message in &tree.folders[".Work"] {
        let same = tree.folders[""].iter().find(|other| other.sha == message.sha);
        if let Some(inbox) = same {
            assert_eq!((&message.flags, message.mtime), (&inbox.flags, inbox.mtime));
        }
    }
    daemon.ctl(&["verify", "old", "--bodies"]).code(0);
    let before = Tree::files(&root);
    daemon.migrate("old");
    same("the files after a second run", &before, &Tree::files(&root));
    // One more label: where it is at the server is not remembered from run to run.
    server.change(|boxes| {
        let mut labelled = boxes[5].mails[8].clone();
        labelled.uid = 40;
        boxes[6].mails.push(labelled);
    });
    let migration = daemon.migrate("old");
    assert_eq!(migration["messages_imported"], 1, "{migration:#}");
    same("what is there then", &wanted(&server), &found(&root));
    daemon.stop();
}

#[test]
fn copies_at_a_server_survive_kills_and_lost_answers() {
    let mut boxes = mailbox();
    let (inbox, rest) = (Folder::new("INBOX", 300).mails, Folder::new("Work", 60).mails);
    let work: Vec<Mail> = inbox[50..250].iter().chain(&rest).cloned().collect();
    let all: Vec<Mail> = inbox.iter().chain(&rest).cloned().collect();
    boxes[0] = label("[Gmail]/Alle Nachrichten", "\\All", &all);
    boxes[5] = label("INBOX", "", &inbox);
    boxes[6] = label("Work", "", &work);
    let server = FakeImap::with_capability(GMAIL, boxes, fake_imap::honest);
    let home = Dovecot::start(&[HOME]);
    let leaky = Leaky::start(home.imap, 3);
    let mut daemon = Daemon::homing(leaky.port, "login = \"home-{local}\"", HOME.1);
    daemon.more_settings("[migrations]\nconnections = 2\n[notices]\nto_member = false\n");
    daemon.define("alice", &there(&imap_migrate("old", "alice", server.port, LOGIN, "")));
    daemon.start();
    let root = home.maildir(HOME.0);
    let here = || maildir::count(&root);
    let more_than = |count: usize| {
        daemon::eventually("more has come", Duration::from_secs(120), || (here() > count).then_some(()));
    };
    daemon.ctl(&["start", "old"]);
    more_than(320);
    daemon.ctl(&["cancel", "old"]).code(0);
    daemon.migration_in("old", &["cancelled"], Duration::from_secs(120));
    assert_eq!(here(), 0, "everything is as it was");
    daemon.ctl(&["start", "old"]);
    for some in [10, 310, 400] {
        more_than(some);
        daemon.kill();
        daemon.start();
    }
    daemon.migration_in("old", &["completed"], Duration::from_secs(120));
    assert!(leaky.lost() > 0, "no answer was lost");
    same("what is there", &wanted(&server), &found(&root));
    let before = Tree::files(&root);
    daemon.migrate("old");
    same("the files after a further run", &before, &Tree::files(&root));
    daemon.stop();
}

#[test]
fn it_is_put_back_and_goes_on_after_a_kill() {
    let bodies = Arc::new(AtomicUsize::new(0));
    let count = counting(&bodies);
    let hangs = Arc::new(AtomicUsize::new(0));
    let hung = Arc::clone(&hangs);
    let server = FakeImap::with_capability(GMAIL, mailbox(), move |command, reply| {
        count(command, reply);
        let all = command.folder.as_deref().is_some_and(|name| name.starts_with(b"[Gmail]/Alle"));
        if all && command.wants_bodies() && hung.fetch_add(1, Ordering::SeqCst) < 2 {
            reply.untagged.clear();
            reply.tagged.clear();
            reply.then = fake_imap::Then::Hang;
        }
    });
    let mut daemon = Daemon::new("[migrations]\nconnections = 1\n");
    daemon.define("alice", &imap_migrate("old", "alice", server.port, LOGIN, ""));
    daemon.start();
    let home = daemon.maildir("alice");
    for last in [false, true] {
        let until = if last { 2 } else { 1 };
        daemon.ctl(&["start", "old"]);
        daemon::eventually("All Mail is asked for", Duration::from_secs(60), || {
            (hangs.load(Ordering::SeqCst) >= until).then_some(())
        });
        if last {
            daemon.kill();
            daemon.start();
        } else {
            daemon.ctl(&["cancel", "old"]).code(0);
            daemon.migration_in("old", &["cancelled"], Duration::from_secs(60));
            assert!(!home.exists(), "everything is as it was");
        }
    }
    let migration = daemon.migration_in("old", &["completed"], Duration::from_secs(60));
    assert_eq!(migration["messages_total"], 24, "{migration:#}");
    assert_eq!(Tree::read(&home).count(), 24);
    daemon.ctl(&["verify", "old", "--bodies"]).code(0);
    daemon.stop();
}

#[test]
fn a_daily_budget_is_kept_over_restarts() {
    let bodies = Arc::new(AtomicUsize::new(0));
    let mut inbox = Folder::new("INBOX", 40);
    for mail in &mut inbox.mails {
        mail.body =
            [mail.body.as_slice(), "forty octets of a message that is large\r\n".repeat(1000).as_bytes()]
                .concat();
    }
    let server = FakeImap::start(vec![inbox], counting(&bodies));
    let define = |daemon: &Daemon, budget: &str| {
        let account = imap_migrate("old", "alice", server.port, LOGIN, "");
        let with = format!("security = \"none\", imap_daily = \"{budget}\"");
        daemon.define("alice", &account.replace("security = \"none\"", &with));
    };
    let mut daemon = Daemon::new("");
    define(&daemon, "1MB");
    daemon.start();
    daemon.ctl(&["start", "old"]).code(0);
    let limit = Duration::from_secs(60);
    let migration = daemon.migration_in("old", &["retrying"], limit);
    let came = bodies.load(Ordering::SeqCst);
    assert!((20..25).contains(&came), "{came} of 40 messages of 41 KB: {migration:#}");
    assert_eq!(migration["messages_imported"], came, "{migration:#}");
    let error = migration["error"].as_str().unwrap();
    assert!(error.contains("1 MB in 24 hours") && error.contains("all will be here about"), "{error}");
    assert!(migration["next_try_at"].is_string(), "{migration:#}");
    daemon.kill();
    daemon.start();
    let migration = daemon.migration_in("old", &["retrying"], limit);
    assert_eq!(migration["messages_done"], came, "{migration:#}");
    assert_eq!(bodies.load(Ordering::SeqCst), came, "the budget was forgotten");
    define(&daemon, "10MB");
    daemon.ctl(&["reload"]).code(0);
    daemon.ctl(&["pause", "old"]).code(0);
    daemon.ctl(&["resume", "old"]).code(0);
    let migration = daemon.migration_in("old", &["completed"], limit);
    assert_eq!((&migration["messages_done"], bodies.load(Ordering::SeqCst)), (&40.into(), 40));
    daemon.stop();
}
