//! Which message is which, beyond UIDs: what moved, was renamed, renumbered, or was brought by somebody else
//! is recognised by its octets; and what a rollback leaves is what was there before.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stderr, reason = "this is a test")]

use crate::helpers::daemon;
use crate::helpers::maildir;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::helpers::corpus::Corpus;
use crate::helpers::daemon::{Daemon, imap_migrate, pop3_poll};
use crate::helpers::dovecot::Dovecot;
use crate::helpers::fake_imap::{Command, FakeImap, Folder, Reply, Then, honest};
use crate::helpers::maildir::{Tree, count, same};

const ALICE: (&str, &str) = ("alice", "secret");

fn folders() -> Vec<Folder> {
    vec![Folder::new("INBOX", 30), Folder::new("Work", 40), Folder::new("Trash", 5)]
}

/// A daemon with one migration from `source`.
fn daemon(source: &FakeImap, settings: &str) -> Daemon {
    let daemon = Daemon::new(settings);
    daemon.define("alice", &imap_migrate("alice-old", "alice", source.port, ALICE, ""));
    daemon
}

fn find<'f>(boxes: &'f mut [Folder], name: &str) -> &'f mut Folder {
    boxes.iter_mut().find(|folder| folder.name == name.as_bytes()).unwrap()
}

#[test]
fn a_renamed_folder_and_a_moved_message_are_recognised() {
    let source = FakeImap::start(folders(), honest);
    let mut daemon = daemon(&source, "");
    daemon.start();
    let home = daemon.maildir("alice");
    daemon.migrate("alice-old");
    let before = Tree::files(&home);
    assert_eq!(count(&home), 75);

    source.change(|boxes| {
        find(boxes, "Work").name = b"Projects".to_vec();
        let mut moved = find(boxes, "INBOX").mails.remove(3);
        moved.uid = 900;
        find(boxes, "Trash").mails.push(moved);
        // A copy is another message: its original is still where it was.
        let mut copied = find(boxes, "INBOX").mails[7].clone();
        copied.uid = 901;
        find(boxes, "Trash").mails.push(copied);
    });
    let migration = daemon.migrate("alice-old");
    assert_eq!(migration["messages_imported"], 1, "only the copy: {migration:#}");
    assert_eq!(migration["messages_already_there"], 75, "{migration:#}");
    let after = Tree::files(&home);
    assert!(before.iter().all(|file| after.contains(file)), "nothing is touched");
    assert_eq!(count(&home), 76);
    let again = daemon.migrate("alice-old");
    assert_eq!((&again["messages_imported"], count(&home)), (&0.into(), 76), "{again:#}");
    let verified = daemon.ctl(&["verify", "alice-old"]).code(0);
    assert!(verified.out.contains("76 alike"), "{verified:?}");
    daemon.stop();
}

/// Courier does so: between the look at all folders and the fetching from one of them.
#[test]
fn a_folder_that_is_numbered_anew_meanwhile_brings_nothing_twice() {
    let looks = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&looks);
    let source = FakeImap::start(folders(), move |command: &Command, reply: &mut Reply| {
        let opens = command.name == "EXAMINE" && command.rest.windows(4).any(|word| word == b"Work");
        if opens && seen.fetch_add(1, Ordering::SeqCst) >= 2 {
            for line in &mut reply.untagged {
                *line = String::from_utf8_lossy(line)
                    .replace("[UIDVALIDITY 77]", "[UIDVALIDITY 78]")
                    .into_bytes();
            }
        }
    });
    let mut daemon = daemon(&source, "");
    daemon.start();
    let home = daemon.maildir("alice");
    daemon.migrate("alice-old");
    assert_eq!(looks.load(Ordering::SeqCst), 1);
    let before = Tree::files(&home);
    source.change(|boxes| {
        let mut new = Folder::new("new", 1).mails.remove(0);
        new.uid = 900;
        find(boxes, "Work").mails.push(new);
    });
    daemon.migrate("alice-old");
    assert!(looks.load(Ordering::SeqCst) >= 4, "it was numbered anew between two looks");
    let after = Tree::files(&home);
    assert!(before.iter().all(|file| after.contains(file)), "nothing is touched");
    assert_eq!(after.len(), before.len() + 1);
    daemon.stop();
}

#[test]
fn other_uids_and_an_empty_store_bring_nothing_twice() {
    let source = FakeImap::start(folders(), honest);
    let mut daemon = daemon(&source, "");
    daemon.start();
    let home = daemon.maildir("alice");
    daemon.migrate("alice-old");
    let before = Tree::files(&home);
    let renumber = |by: u32| {
        source.change(|boxes| {
            for folder in boxes {
                folder.uidvalidity += by;
                for mail in &mut folder.mails {
                    mail.uid += by;
                }
            }
        });
    };
    renumber(7);
    let migration = daemon.migrate("alice-old");
    assert_eq!(migration["messages_imported"], 0, "{migration:#}");
    same("the files with other UIDs", &before, &Tree::files(&home));
    let verified = daemon.ctl(&["verify", "alice-old", "--bodies"]).code(0);
    assert!(verified.out.contains("75 alike"), "{verified:?}");

    // Reinstalled, and the source has moved to yet another server.
    daemon.stop();
    fs::remove_dir_all(daemon.path().join("state")).unwrap();
    renumber(1);
    source.change(|boxes| find(boxes, "Work").name = b"Arbeit".to_vec());
    daemon.start();
    let migration = daemon.migrate("alice-old");
    assert_eq!(migration["messages_imported"], 0, "{migration:#}");
    same(
        "the files without a store",
        &before.iter().filter(|f| f.contains("mailhaul")).cloned().collect::<Vec<_>>(),
        &Tree::files(&home).iter().filter(|f| f.contains("mailhaul")).cloned().collect::<Vec<_>>(),
    );
    daemon.stop();
}

#[test]
fn another_host_and_another_user_name_keep_the_progress() {
    let source = FakeImap::start(folders(), honest);
    let mut daemon = daemon(&source, "");
    daemon.start();
    let home = daemon.maildir("alice");
    daemon.migrate("alice-old");
    let before = Tree::files(&home);
    // The same mailbox behind another port; the user name with its domain.
    let moved = FakeImap::start(source.boxes(), honest);
    daemon.define(
        "alice",
        &imap_migrate("alice-old", "alice", moved.port, ALICE, "").replace("127.0.0.1", "localhost"),
    );
    daemon.ctl(&["reload"]).code(0);
    let migration = daemon.migrate("alice-old");
    assert_eq!(migration["messages_imported"], 0, "{migration:#}");
    // In each of the three folders at most.
    assert!(moved.body_fetches() <= 3, "a few prove that it is the same mailbox");
    same("the files", &before, &Tree::files(&home));
    daemon.stop();
}

#[test]
fn a_pop3_server_that_was_replaced_brings_nothing_twice() {
    let dovecot = Dovecot::start_with(&[ALICE], "");
    let mut source = Corpus::at(&dovecot.maildir("alice"));
    source.add("", 60);
    let mut daemon = Daemon::new("[polling]\ninterval = \"24h\"\n");
    let define = |daemon: &Daemon, port| {
        daemon.define("alice", &pop3_poll("alice-old", "alice", port, ALICE, "mailbox = \"Old\""));
    };
    define(&daemon, dovecot.pop3);
    daemon.start();
    let home = daemon.maildir("alice");
    daemon.poll("alice-old");
    let before = Tree::files(&home);
    // The same mail at another server, which numbers it anew.
    let other = Dovecot::start_with(&[ALICE], "pop3_uidl_format = new-%v-%u\n");
    let mut there = Corpus::at(&other.maildir("alice"));
    there.add("", 61);
    define(&daemon, other.pop3);
    daemon.ctl(&["reload"]).code(0);
    let run = daemon.poll("alice-old");
    assert_eq!((&run["imported"], &run["already_there"]), (&1.into(), &60.into()), "{run:#}");
    let after = Tree::files(&home);
    assert!(before.iter().all(|file| after.contains(file)) && after.len() == before.len() + 1);
    daemon.stop();
}

/// Every file below `root` with its octets, mode and time, and every directory.
fn everything(root: &Path) -> BTreeMap<PathBuf, (u32, i64, Vec<u8>)> {
    let mut found = BTreeMap::new();
    let mut todo = vec![root.to_owned()];
    while let Some(directory) = todo.pop() {
        for entry in fs::read_dir(&directory).unwrap().flatten() {
            let path = entry.path();
            let metadata = entry.metadata().unwrap();
            if metadata.is_dir() {
                // A directory's time changes with what comes and goes in it.
                found.insert(path.clone(), (metadata.mode(), 0, Vec::new()));
                todo.push(path);
            } else {
                // What a mail server rewrites has another time; its octets are the same.
                let name = path.file_name().unwrap().to_string_lossy().into_owned();
                let time =
                    if name.starts_with("dovecot") || name == "subscriptions" { 0 } else { metadata.mtime() };
                found.insert(path.clone(), (metadata.mode(), time, fs::read(&path).unwrap()));
            }
        }
    }
    found
}

/// A throttle of a hook: bodies of one folder never come, so that a person can act in the middle.
fn no_bodies_of(folder: &'static str) -> impl Fn(&Command, &mut Reply) + Send + Sync + 'static {
    move |command, reply| {
        if command.is_in(folder) && command.wants_bodies() {
            reply.untagged.clear();
            reply.tagged.clear();
            reply.then = Then::Hang;
        }
    }
}

#[test]
fn a_rollback_leaves_what_was_there_before() {
    let mut boxes = folders();
    boxes.push(Folder::new("New/Deep", 6));
    boxes.push(Folder::new("Stuck", 3));
    let source = FakeImap::start(boxes, no_bodies_of("Stuck"));
    let mut daemon = daemon(&source, "[migrations]\nconnections = 1\n");
    let home = daemon.maildir("alice");
    let mut there = Corpus::at(&home);
    there.add("", 10);
    there.add(".Work", 10);
    there.add(".Own", 4);
    there.subscribe(&[".Own"]);
    fs::write(home.join(".Work/dovecot-uidlist"), "3 V7 N11 Gabc\n1 :1.M1P1.old\n").unwrap();
    let before = everything(&home);
    daemon.start();
    daemon.ctl(&["start", "alice-old"]).code(0);
    daemon::eventually("everything but the last folder is here", Duration::from_secs(30), || {
        (count(&home) == 24 + 81).then_some(())
    });
    // The member moves, flags and copies what has come.
    let tree = Tree::read(&home);
    let ours: Vec<&maildir::Message> = tree.folders[".Trash"].iter().collect();
    fs::rename(&ours[0].path, home.join(".Own/cur").join(&ours[0].name)).unwrap();
    let flagged = ours[1].path.to_str().unwrap().replace(":2,", ":2,F");
    let flagged = if flagged.contains(":2,") { flagged } else { format!("{flagged}:2,F") };
    fs::rename(&ours[1].path, flagged.replace("/new/", "/cur/")).unwrap();
    let base = ours[2].name.split(":2,").next().unwrap();
    fs::hard_link(&ours[2].path, home.join(".Own/cur/1795343676.M9P9.vm,S=1,W=1:2,S")).unwrap();
    fs::write(
        home.join(".Own/dovecot-uidlist"),
        format!("3 V8 N3 Gdef\n2 G{base} :1795343676.M9P9.vm,S=1,W=1\n"),
    )
    .unwrap();
    let uidlist = fs::read(home.join(".Own/dovecot-uidlist")).unwrap();

    daemon.ctl(&["cancel", "alice-old"]).code(0);
    let migration = daemon.migration_in("alice-old", &["cancelled"], Duration::from_secs(30));
    assert!(migration["outcome"].as_str().unwrap().contains("as it was"), "{migration:#}");
    let mut after = everything(&home);
    assert_eq!(
        after.remove(&home.join(".Own/dovecot-uidlist")).unwrap().2,
        uidlist,
        "a server's file is its own"
    );
    for (path, what) in &before {
        let now = after.remove(path);
        assert!(now.as_ref() == Some(what), "{} changed", path.display());
    }
    assert!(after.is_empty(), "these are new: {:?}", after.keys());

    // And with --keep it stays, and a later start goes on from there.
    source.forget();
    daemon.ctl(&["start", "alice-old"]).code(0);
    daemon::eventually("it is here again", Duration::from_secs(30), || {
        (count(&home) == 24 + 81).then_some(())
    });
    daemon.ctl(&["cancel", "alice-old", "--keep"]).code(0);
    let migration = daemon.migration_in("alice-old", &["cancelled"], Duration::from_secs(30));
    assert!(migration["outcome"].as_str().unwrap().contains("left"), "{migration:#}");
    assert_eq!(count(&home), 24 + 81);
    daemon.stop();
}
