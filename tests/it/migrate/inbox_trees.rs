//! Folders below the inbox whose first level is written in different ways, as many servers list them: only INBOX itself has no
//! case (RFC 3501 section 5.1). None is merged into another one, none is lost, and every message comes once.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "this is a test")]

use std::collections::BTreeSet;
use std::path::Path;

use crate::helpers::daemon::{Daemon, imap_migrate, there};
use crate::helpers::dovecot::Dovecot;
use crate::helpers::fake_imap::{FakeImap, Folder, honest};
use crate::helpers::maildir::Tree;

const ALICE: (&str, &str) = ("alice", "secret");
const HOME: (&str, &str) = ("home-alice", "home secret");
const NAME: &str = "alice-old";
const TREES: [(&str, u32); 7] = [
    ("INBOX", 3),
    ("INBOX/x", 4),
    ("Inbox/x", 5),
    ("inbox/X", 6),
    ("inbox/y", 2),
    ("x", 1),
    ("Inbox/x/z", 2),
];
const ALL: u64 = 23;

fn source() -> FakeImap {
    FakeImap::start(TREES.map(|(name, count)| Folder::new(name, count)).to_vec(), honest)
}

#[track_caller]
fn comes_once(daemon: &Daemon, home: &Path) {
    let done = daemon.migrate(NAME);
    assert_eq!((&done["messages_done"], &done["messages_failed"]), (&ALL.into(), &0.into()), "{done:#}");
    let facts = Tree::read(home).facts();
    let once: BTreeSet<&String> = facts.iter().collect();
    assert_eq!((facts.len() as u64, once.len() as u64), (ALL, ALL), "{facts:#?}");
    let answer = daemon.ctl(&["--json", "verify", NAME]).code(0).json();
    assert_eq!((&answer["alike"], &answer["folders"]), (&ALL.into(), &TREES.len().into()), "{answer:#}");
    // A second run brings nothing more, and gives every folder the place that it has.
    let again = daemon.migrate(NAME);
    assert_eq!(&again["messages_failed"], &0, "{again:#}");
    assert_eq!(Tree::read(home).facts(), facts);
}

#[test]
fn to_a_maildir() {
    let source = source();
    let mut daemon = Daemon::new("");
    daemon.define("alice", &imap_migrate(NAME, "alice", source.port, ALICE, ""));
    daemon.start();
    comes_once(&daemon, &daemon.maildir("alice"));
    daemon.stop();
}

#[test]
fn to_a_server() {
    let source = source();
    let home = Dovecot::start(&[HOME]);
    let mut daemon = Daemon::homing(home.imap, "login = \"home-{local}\"", HOME.1);
    daemon.define("alice", &there(&imap_migrate(NAME, "alice", source.port, ALICE, "")));
    daemon.start();
    comes_once(&daemon, &home.maildir(HOME.0));
    daemon.stop();
}

/// The inbox that is listed twice is one.
#[test]
fn the_inbox_itself_has_no_case() {
    for names in [["INBOX", "inbox"], ["inbox", "INBOX"], ["Inbox", "iNBOX"]] {
        let boxes = vec![Folder::new(names[0], 3), Folder::new(names[1], 3), Folder::new("INBOX/x", 2)];
        let source = FakeImap::start(boxes, honest);
        let mut daemon = Daemon::new("");
        daemon.define("alice", &imap_migrate(NAME, "alice", source.port, ALICE, ""));
        daemon.start();
        let done = daemon.migrate(NAME);
        assert_eq!(
            (&done["messages_done"], &done["messages_failed"]),
            (&5.into(), &0.into()),
            "{names:?} {done:#}"
        );
        daemon.stop();
    }
}
