//! What the source moves between two runs, and a mailbox at an IMAP server: the copy is known by its octets wherever it
//! is, comes not again, and stays when the run is undone. What was copied is a message of its own.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "this is a test")]

use crate::helpers::daemon;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::helpers::daemon::{Daemon, imap_migrate, there};
use crate::helpers::dovecot::Dovecot;
use crate::helpers::fake_imap::{FakeImap, Folder, Mail, Then, honest};
use crate::helpers::maildir::{Tree, count, same};
use crate::helpers::view::View;
use serde_json::Value;

const LOGIN: (&str, &str) = ("alice", "secret");
const HOME: (&str, &str) = ("home-alice", "home secret");

/// Without UIDPLUS.
const OLD: &str = "protocol imap {\n  imap_capability = IMAP4rev1 SASL-IR LITERAL+ NAMESPACE\n}\n";

fn folders() -> Vec<Folder> {
    vec![Folder::new("INBOX", 30), Folder::new("Work", 40), Folder::new("Trash", 5)]
}

fn homing(home: &Dovecot, definition: &str) -> Daemon {
    let mut daemon = Daemon::homing(home.imap, "login = \"home-{local}\"", HOME.1);
    daemon.more_settings("[notices]\nto_member = false\n");
    daemon.define("alice", &there(definition));
    daemon.start();
    daemon
}

fn find<'f>(boxes: &'f mut [Folder], name: &str) -> &'f mut Folder {
    boxes.iter_mut().find(|folder| folder.name == name.as_bytes()).unwrap()
}

fn shift(boxes: &mut [Folder], from: &str, at: usize, to: &str, uid: u32) {
    let mail = find(boxes, from).mails.remove(at);
    find(boxes, to).mails.push(Mail { uid, ..mail });
}

fn renumber(boxes: &mut [Folder]) {
    for folder in boxes {
        folder.uidvalidity += 9;
        folder.mails.iter_mut().for_each(|mail| mail.uid += 100);
    }
}

fn numbers(migration: &Value) -> (u64, u64) {
    let of = |field: &str| migration[field].as_u64().unwrap();
    (of("messages_imported"), of("messages_already_there"))
}

fn moved(more: &str) {
    let source = FakeImap::start(folders(), honest);
    let home = Dovecot::start_with(&[HOME], more);
    let mut daemon = homing(&home, &imap_migrate("old", "alice", source.port, LOGIN, ""));
    let root = home.maildir(HOME.0);
    daemon.migrate("old");
    let before = Tree::files(&root);
    assert_eq!(count(&root), 75);

    source.change(|boxes| {
        find(boxes, "Work").name = b"Projects".to_vec();
        shift(boxes, "INBOX", 3, "Trash", 900);
        // A copy is another message: its original is still where it was.
        let copied = find(boxes, "INBOX").mails[7].clone();
        find(boxes, "Trash").mails.push(Mail { uid: 901, ..copied });
    });
    assert_eq!(numbers(&daemon.migrate("old")), (1, 75), "only the copy comes");
    let after = Tree::files(&root);
    assert!(before.iter().all(|file| after.contains(file)), "nothing is touched");
    assert_eq!(count(&root), 76);
    assert_eq!(numbers(&daemon.migrate("old")), (0, 76));
    same("the files after one more run", &after, &Tree::files(&root));
    for how in [&["verify", "old"][..], &["verify", "old", "--bodies"]] {
        let verified = daemon.ctl(how).code(0);
        assert!(verified.out.contains("76 alike"), "{verified:?}");
    }

    // On to another folder and back again; and the one that was copied, and of which two are there, goes for good.
    source.change(|boxes| {
        let at = find(boxes, "Trash").mails.iter().position(|mail| mail.uid == 900).unwrap();
        shift(boxes, "Trash", at, "Projects", 950);
        shift(boxes, "Projects", 2, "INBOX", 951);
        find(boxes, "INBOX").mails.retain(|mail| mail.uid != 9);
    });
    let left: usize = source.boxes().iter().map(|folder| folder.mails.len()).sum();
    assert_eq!(numbers(&daemon.migrate("old")), (0, left as u64));
    source.change(|boxes| {
        let at = find(boxes, "Projects").mails.iter().position(|mail| mail.uid == 950).unwrap();
        shift(boxes, "Projects", at, "INBOX", 960);
    });
    assert_eq!(numbers(&daemon.migrate("old")), (0, left as u64));
    same("the files after more moves", &after, &Tree::files(&root));
    daemon.ctl(&["verify", "old", "--bodies"]).code(0);
    daemon.stop();
}

#[test]
fn a_renamed_folder_and_a_moved_message_are_recognised() {
    moved("");
}

#[test]
fn a_renamed_folder_and_a_moved_message_are_recognised_without_uidplus() {
    moved(OLD);
}

/// What the member does with one folder here says nothing of the copies in the others.
#[test]
fn so_it_is_whatever_becomes_of_another_folder_here() {
    let source = FakeImap::start(folders(), honest);
    let users: Vec<String> = (0..4).map(|n| format!("home-user{n}")).collect();
    let pairs: Vec<(&str, &str)> = users.iter().map(|user| (user.as_str(), HOME.1)).collect();
    let home = Dovecot::start(&pairs);
    let names: Vec<String> = (0..4).map(|n| format!("user{n}")).collect();
    let definitions = names.iter().map(|name| imap_migrate(name, name, source.port, LOGIN, ""));
    let mut daemon = homing(&home, &definitions.collect::<Vec<_>>().join("\n"));
    let again = ["DELETE Trash", "CREATE Between", "DELETE Between", "CREATE Trash"];
    let deeds: [&[&str]; 4] = [&["RENAME Trash Older"], &["DELETE Trash"], &again, &["RENAME Work Works"]];
    for ((name, user), deeds) in names.iter().zip(&users).zip(deeds) {
        daemon.migrate(name);
        let mut view = View::open(home.imap, "", (user, HOME.1));
        deeds.iter().for_each(|deed| drop(view.ask(deed)));
    }
    source.change(|boxes| shift(boxes, "INBOX", 3, "Work", 900));
    for name in &names {
        for _ in 0..2 {
            assert_eq!(numbers(&daemon.migrate(name)), (0, 75), "{name}");
        }
    }
    daemon.stop();
}

/// A source that was restored from a backup numbers everything anew, and its owner moved mail meanwhile: into a folder that was
/// empty, and into one that was not.
#[test]
fn what_moved_is_recognised_though_everything_has_other_numbers() {
    let mut boxes = folders();
    boxes.push(Folder::new("Empty", 0));
    let source = FakeImap::start(boxes, honest);
    let home = Dovecot::start(&[HOME]);
    let mut daemon = homing(&home, &imap_migrate("old", "alice", source.port, LOGIN, ""));
    let root = home.maildir(HOME.0);
    daemon.migrate("old");
    let before = Tree::files(&root);
    source.change(|boxes| {
        for n in 0..4 {
            shift(boxes, "INBOX", 2 * n, "Empty", 900 + u32::try_from(n).unwrap());
        }
        shift(boxes, "Work", 3, "Trash", 950);
        renumber(boxes);
    });
    for _ in 0..2 {
        assert_eq!(numbers(&daemon.migrate("old")), (0, 75));
    }
    // Once more, and what had moved before is still where it was here; some of it moves on.
    source.change(|boxes| renumber(boxes));
    assert_eq!(numbers(&daemon.migrate("old")), (0, 75));
    source.change(|boxes| {
        shift(boxes, "Empty", 1, "Trash", 2000);
        renumber(boxes);
    });
    for _ in 0..2 {
        assert_eq!(numbers(&daemon.migrate("old")), (0, 75));
    }
    same("the files after that", &before, &Tree::files(&root));
    daemon.ctl(&["verify", "old", "--bodies"]).code(0);
    daemon.stop();
}

/// A source that numbers everything anew and lists a part of it at first: what it lists later is not new.
#[test]
fn what_is_listed_later_under_other_numbers_is_recognised() {
    let source = FakeImap::start(folders(), honest);
    let home = Dovecot::start(&[HOME]);
    let mut daemon = homing(&home, &imap_migrate("old", "alice", source.port, LOGIN, ""));
    let root = home.maildir(HOME.0);
    daemon.migrate("old");
    let before = Tree::files(&root);
    let mut hidden = Vec::new();
    source.change(|boxes| {
        renumber(boxes);
        hidden = find(boxes, "Work").mails.split_off(12);
    });
    assert_eq!(numbers(&daemon.migrate("old")), (0, 47));
    source.change(|boxes| find(boxes, "Work").mails.append(&mut hidden));
    for _ in 0..2 {
        assert_eq!(numbers(&daemon.migrate("old")), (0, 75));
    }
    same("the files after that", &before, &Tree::files(&root));
    daemon.ctl(&["verify", "old", "--bodies"]).code(0);
    daemon.stop();
}

/// A source that keeps the bodies of one folder to itself for as long as it is `stuck`.
fn stuck_in(folder: &'static str, boxes: Vec<Folder>) -> (FakeImap, Arc<AtomicBool>) {
    let stuck = Arc::new(AtomicBool::new(false));
    let is_stuck = Arc::clone(&stuck);
    let source = FakeImap::start(boxes, move |command, reply| {
        if is_stuck.load(Ordering::SeqCst) && command.is_in(folder) && command.wants_bodies() {
            (reply.untagged, reply.then) = (Vec::new(), Then::Hang);
            reply.tagged.clear();
        }
    });
    (source, stuck)
}

#[test]
fn what_moved_stays_when_the_run_is_killed_and_cancelled() {
    let boxes = vec![Folder::new("INBOX", 30), Folder::new("Stuck", 2), Folder::new("Work", 20)];
    let (source, stuck) = stuck_in("Stuck", boxes);
    let home = Dovecot::start(&[HOME]);
    let mut daemon = homing(&home, &imap_migrate("old", "alice", source.port, LOGIN, ""));
    let root = home.maildir(HOME.0);
    daemon.migrate("old");
    let before = Tree::files(&root);
    let mut new = Folder::new("new", 8).mails;
    source.change(|boxes| {
        let work = std::mem::take(&mut find(boxes, "Work").mails);
        let inbox = find(boxes, "INBOX");
        inbox.mails.extend(work.into_iter().map(|mail| Mail { uid: mail.uid + 100, ..mail }));
        inbox.mails.extend(new.drain(..6).map(|mail| Mail { uid: mail.uid + 200, ..mail }));
        find(boxes, "Stuck").mails.extend(new.drain(..).map(|mail| Mail { uid: mail.uid + 200, ..mail }));
    });
    stuck.store(true, Ordering::SeqCst);
    let came = |daemon: &Daemon| {
        daemon::eventually("all but the folder that is stuck", Duration::from_secs(60), || {
            (daemon.migration("old")["messages_done"] == 58).then_some(())
        });
    };
    daemon.ctl(&["start", "old"]).code(0);
    came(&daemon);
    assert_eq!(count(&root), 58);
    daemon.kill();
    daemon.start();
    came(&daemon);
    assert_eq!(count(&root), 58, "nothing came twice");
    daemon.ctl(&["cancel", "old"]).code(0);
    daemon.migration_in("old", &["cancelled"], Duration::from_secs(60));
    same("the files as before the run", &before, &Tree::files(&root));
    stuck.store(false, Ordering::SeqCst);
    assert_eq!(numbers(&daemon.migrate("old")), (8, 52));
    assert_eq!(count(&root), 60);
    daemon.ctl(&["verify", "old", "--bodies"]).code(0);
    daemon.stop();
}

/// The daemon is killed while it recognises; what it had recognised is counted once.
#[test]
fn kills_in_the_middle_lose_nothing_and_bring_nothing_twice() {
    let source = FakeImap::start(vec![Folder::new("INBOX", 600), Folder::new("Other", 3)], honest);
    // A comparison knows by size and date which is which.
    source.change(|boxes| {
        find(boxes, "Other").mails.iter_mut().for_each(|mail| mail.date = mail.date.replace("2020", "2021"));
    });
    let home = Dovecot::start(&[HOME]);
    let mut daemon = homing(&home, &imap_migrate("old", "alice", source.port, LOGIN, ""));
    let root = home.maildir(HOME.0);
    daemon.migrate("old");
    let before = Tree::files(&root);
    for round in 0..6 {
        let (from, to) = if round % 2 == 0 { ("INBOX", "Other") } else { ("Other", "INBOX") };
        source.change(|boxes| {
            let mails = std::mem::take(&mut find(boxes, from).mails);
            let to = find(boxes, to);
            let next = to.mails.iter().map(|mail| mail.uid).max().unwrap_or(0) + 1000 * (round + 1);
            to.mails.extend(mails.into_iter().zip(next..).map(|(mail, uid)| Mail { uid, ..mail }));
        });
        source.forget();
        daemon.ctl(&["start", "old"]).code(0);
        if round < 4 {
            source.heard("a fetch", Duration::from_secs(60), |said| said.contains("BODY.PEEK"));
            daemon.kill();
            daemon.start();
        }
        daemon.migration_in("old", &["completed"], Duration::from_secs(60));
        same("the files", &before, &Tree::files(&root));
    }
    daemon.ctl(&["verify", "old", "--bodies"]).code(0);
    daemon.stop();
}

#[test]
fn polled_folders_share_a_folder_there() {
    let source = FakeImap::start(vec![Folder::new("INBOX", 6), Folder::new("Lists", 4)], honest);
    // The same octets in both folders are two messages.
    source.change(|boxes| {
        let twin = find(boxes, "INBOX").mails[2].clone();
        find(boxes, "Lists").mails.push(Mail { uid: 70, ..twin });
    });
    let home = Dovecot::start(&[HOME]);
    let (user, password) = LOGIN;
    let definition = format!(
        "[[account]]\nname = \"old\"\nmember = \"alice@example.com\"\nagreed = true\n[account.source]\n\
         protocol = \"imap\"\nserver = {{ host = \"127.0.0.1\", port = {}, security = \"none\" }}\n\
         username = \"{user}\"\npassword = {{ value = \"{password}\" }}\n[account.poll]\nmailbox = \"Old\"\n\
         folders = [\"*\"]\n",
        source.port
    );
    let mut daemon = homing(&home, &definition);
    let root = home.maildir(HOME.0);
    daemon.poll("old");
    assert_eq!(count(&root), 11);
    let before = Tree::files(&root);
    source.change(|boxes| {
        shift(boxes, "INBOX", 4, "Lists", 80);
        shift(boxes, "Lists", 0, "INBOX", 80);
    });
    let run = daemon.poll("old");
    assert_eq!((&run["imported"], count(&root)), (&0.into(), 11), "{run:#}");
    same("the files", &before, &Tree::files(&root));
    daemon.stop();
}

#[test]
fn what_is_gone_at_the_end_is_told() {
    let (source, stuck) = stuck_in("Stuck", vec![Folder::new("INBOX", 9), Folder::new("Stuck", 2)]);
    stuck.store(true, Ordering::SeqCst);
    let home = Dovecot::start(&[HOME]);
    let mut daemon = homing(&home, &imap_migrate("old", "alice", source.port, LOGIN, ""));
    let root = home.maildir(HOME.0);
    daemon.ctl(&["start", "old"]).code(0);
    daemon::eventually("the inbox is there", Duration::from_secs(60), || {
        (daemon.migration("old")["messages_done"] == 9).then_some(())
    });
    let tree = Tree::read(&root);
    tree.folders[""][..2].iter().for_each(|mail| std::fs::remove_file(&mail.path).unwrap());
    daemon.ctl(&["pause", "old"]).code(0);
    stuck.store(false, Ordering::SeqCst);
    daemon.ctl(&["resume", "old"]).code(0);
    let waited = daemon.ctl(&["start", "old", "--wait"]).code(1);
    assert!(
        waited.err.contains("2 of the messages that this run brought are not at the destination any more")
    );
    assert_eq!(daemon.migration("old")["state"], "completed");
    daemon.ctl(&["verify", "old"]).code(1);
    daemon.stop();
}
