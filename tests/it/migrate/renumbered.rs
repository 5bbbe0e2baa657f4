//! Sources that give other names to what they have, and a mailbox at an IMAP server: nothing is brought twice, and
//! what a run brought goes when it is cancelled.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "this is a test")]

use crate::helpers::daemon;
use crate::helpers::fake_imap;
use crate::helpers::fake_pop3;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::helpers::daemon::{Daemon, imap_migrate, pop3_poll, there};
use crate::helpers::dovecot::Dovecot;
use crate::helpers::fake_imap::{FakeImap, Folder, Then, honest};
use crate::helpers::fake_pop3::{FakePop3, mails};
use crate::helpers::maildir::{Tree, count, same};

const LOGIN: (&str, &str) = ("alice", "secret");
const HOME: (&str, &str) = ("home-alice", "home secret");

/// Without UIDPLUS.
const OLD: &str = "protocol imap {\n  imap_capability = IMAP4rev1 SASL-IR LITERAL+ NAMESPACE\n}\n";

fn homing(home: &Dovecot, definition: &str) -> Daemon {
    let mut daemon = Daemon::homing(home.imap, "login = \"home-{local}\"", HOME.1);
    daemon.more_settings("[notices]\nto_member = false\n");
    daemon.define("alice", &there(definition));
    daemon.start();
    daemon
}

fn renumber(source: &FakeImap, by: u32) {
    source.change(|boxes| {
        for folder in boxes {
            folder.uidvalidity += 1;
            folder.mails.iter_mut().for_each(|mail| mail.uid += by);
        }
    });
}

fn migrated(more: &str) {
    let source = FakeImap::start(vec![Folder::new("INBOX", 30), Folder::new("Work", 20)], honest);
    let home = Dovecot::start_with(&[HOME], more);
    let mut daemon = homing(&home, &imap_migrate("old", "alice", source.port, LOGIN, ""));
    let root = home.maildir(HOME.0);
    daemon.migrate("old");
    let before = Tree::files(&root);
    // Other UIDs, and the same under another UIDVALIDITY.
    for by in [7, 0] {
        renumber(&source, by);
        let migration = daemon.migrate("old");
        assert_eq!(
            (&migration["messages_imported"], &migration["messages_already_there"]),
            (&0.into(), &50.into())
        );
        same("the files with other UIDs", &before, &Tree::files(&root));
        let verified = daemon.ctl(&["verify", "old", "--bodies"]).code(0);
        assert!(verified.out.contains("50 alike"), "{verified:?}");
    }
    // Two with the same octets, one of them new: each has its own.
    renumber(&source, 100);
    source.change(|boxes| {
        let twin = boxes[0].mails[3].clone();
        boxes[0].mails.push(fake_imap::Mail { uid: 900, ..twin });
    });
    let migration = daemon.migrate("old");
    assert_eq!(migration["messages_imported"], 1, "{migration:#}");
    assert_eq!(count(&root), 51);
    daemon.ctl(&["verify", "old", "--bodies"]).code(0);
    daemon.stop();
}

#[test]
fn other_uids_bring_nothing_twice() {
    migrated("");
}

#[test]
fn other_uids_bring_nothing_twice_without_uidplus() {
    migrated(OLD);
}

#[test]
fn other_uids_in_the_middle_of_a_run_that_is_cancelled() {
    let stuck = Arc::new(AtomicBool::new(true));
    let is_stuck = Arc::clone(&stuck);
    let folders = || vec![Folder::new("INBOX", 30), Folder::new("Work", 20)];
    let source = FakeImap::start(folders(), move |command, reply| {
        if is_stuck.load(Ordering::SeqCst) && command.is_in("Work") && command.wants_bodies() {
            (reply.untagged, reply.then) = (Vec::new(), Then::Hang);
            reply.tagged.clear();
        }
    });
    let home = Dovecot::start(&[HOME]);
    let definition = imap_migrate("old", "alice", source.port, LOGIN, "");
    let mut daemon = homing(&home, &definition);
    let root = home.maildir(HOME.0);
    let came = |daemon: &Daemon, number: usize| {
        daemon::eventually("the inbox has come", Duration::from_secs(60), || {
            let done = daemon.migration("old")["messages_done"] == number;
            (count(&root) >= number && done).then_some(())
        });
    };
    daemon.ctl(&["start", "old"]);
    came(&daemon, 30);
    daemon.kill();
    renumber(&source, 7);
    daemon.start();
    came(&daemon, 30);
    assert_eq!(count(&root), 30, "nothing came twice");
    daemon.ctl(&["cancel", "old"]).code(0);
    daemon.migration_in("old", &["cancelled"], Duration::from_secs(60));
    assert_eq!(count(&root), 0, "everything is as it was");
    stuck.store(false, Ordering::SeqCst);
    daemon.migrate("old");
    assert_eq!(count(&root), 50);
    daemon.ctl(&["verify", "old", "--bodies"]).code(0);
    daemon.stop();
}

#[test]
fn other_uidls_bring_nothing_twice() {
    let source = FakePop3::start("USER UIDL TOP SASL PLAIN", mails(20), |_, _| {});
    let home = Dovecot::start(&[HOME]);
    let mut daemon = homing(&home, &pop3_poll("old", "alice", source.port, LOGIN, ""));
    let root = home.maildir(HOME.0);
    daemon.poll("old");
    assert_eq!(count(&root), 20);
    let before = Tree::files(&root);
    source.change(|mails| {
        mails.iter_mut().for_each(|mail| mail.uidl.insert(0, b'n'));
        // One more with the octets of another one, which is still there.
        let twin = fake_pop3::Mail { uidl: b"twin".to_vec(), ..mails[4].clone() };
        mails.push(twin);
    });
    let run = daemon.poll("old");
    assert_eq!((count(&root), &run["imported"]), (21, &1.into()), "{run:#}");
    let after = Tree::files(&root);
    assert!(before.iter().all(|file| after.contains(file)), "nothing is touched");
    // Some are gone, and another twin comes: of that size none is to spare.
    source.change(|mails| {
        mails.remove(0);
        let twin = fake_pop3::Mail { uidl: b"another twin".to_vec(), ..mails[7].clone() };
        mails.push(twin);
    });
    daemon.poll("old");
    assert_eq!(count(&root), 22);
    daemon.poll("old");
    assert_eq!(count(&root), 22);
    daemon.stop();
}
