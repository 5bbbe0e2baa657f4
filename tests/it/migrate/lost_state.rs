//! The state is lost, or an account was removed and added again: what it had brought is found by the names of its files,
//! wherever the member moved it since. It comes not again, and no rollback takes it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "this is a test")]

use crate::helpers::daemon;
use crate::helpers::fake_imap;
use crate::helpers::fake_pop3;
use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::helpers::daemon::{Daemon, imap_migrate, pop3_poll};
use crate::helpers::fake_imap::{FakeImap, Folder, Then};
use crate::helpers::fake_pop3::FakePop3;
use crate::helpers::maildir::{Tree, same};

const LOGIN: (&str, &str) = ("alice", "secret");
const LIMIT: Duration = Duration::from_secs(60);
const QUIET: &str = "[notices]\nto_member = false\n[polling]\ninterval = \"24h\"\n";

/// The member keeps some of the inbox elsewhere.
fn tidy(root: &Path) {
    let archive = root.join(".Archive");
    for below in ["cur", "new", "tmp"] {
        fs::create_dir_all(archive.join(below)).unwrap();
    }
    fs::write(archive.join("maildirfolder"), "").unwrap();
    for place in ["cur", "new"] {
        for (n, file) in fs::read_dir(root.join(place)).unwrap().enumerate() {
            let file = file.unwrap();
            if n % 2 == 0 {
                fs::rename(file.path(), archive.join("cur").join(file.file_name())).unwrap();
            }
        }
    }
}

fn lose(daemon: &mut Daemon) {
    daemon.stop();
    fs::remove_dir_all(daemon.path().join("state")).unwrap();
    daemon.start();
}

#[test]
fn a_migration_leaves_what_an_earlier_one_brought() {
    let boxes = vec![Folder::new("INBOX", 30), Folder::new("Z", 20)];
    let source = FakeImap::start(boxes, |command, reply| {
        // One more came that nobody gets.
        if command.wants_bodies() && reply.of(99).is_some() {
            reply.then = Then::Hang;
            (reply.untagged, reply.tagged) = (Vec::new(), Vec::new());
        }
    });
    let mut daemon = Daemon::new(QUIET);
    let root = daemon.maildir("alice");
    daemon.define("alice", &imap_migrate("old", "alice", source.port, LOGIN, ""));
    daemon.start();
    daemon.migrate("old");
    tidy(&root);
    let before = Tree::files(&root);

    lose(&mut daemon);
    let migration = daemon.migrate("old");
    let numbers = (&migration["messages_imported"], &migration["messages_already_there"]);
    assert_eq!(numbers, (&0.into(), &50.into()), "{migration:#}");
    same("the files, found again", &before, &Tree::files(&root));

    // Cancelled in the middle.
    lose(&mut daemon);
    source.change(|boxes| {
        let mail = Folder::new("INBOX", 99).mails.pop().unwrap();
        boxes[1].mails.push(mail);
    });
    daemon.ctl(&["start", "old"]).code(0);
    daemon::eventually("the rest is there", LIMIT, || {
        (daemon.migration("old")["messages_done"] == 50).then_some(())
    });
    daemon.ctl(&["cancel", "old"]).code(0);
    daemon.migration_in("old", &["cancelled"], LIMIT);
    same("the files, cancelled", &before, &Tree::files(&root));
    daemon.stop();
}

#[test]
fn polls_do_not_bring_again_what_was_moved() {
    let imap = FakeImap::start(vec![Folder::new("INBOX", 30)], fake_imap::honest);
    let pop3 = FakePop3::start("USER UIDL TOP", fake_pop3::mails(20), |_, _| {});
    let polled =
        imap_migrate("i", "bob", imap.port, LOGIN, "").replace("[account.migrate]", "[account.poll]");
    let mut daemon = Daemon::new(QUIET);
    daemon.define("alice", &pop3_poll("p", "alice", pop3.port, LOGIN, ""));
    daemon.define("bob", &polled);
    daemon.start();
    for (name, local, count) in [("p", "alice", 20), ("i", "bob", 30)] {
        let root = daemon.maildir(local);
        daemon.poll(name);
        tidy(&root);
        let before = Tree::files(&root);
        assert_eq!(before.len(), count);
        lose(&mut daemon);
        let run = daemon.poll(name);
        assert_eq!((&run["imported"], &run["already_there"]), (&0.into(), &count.into()), "{run}");
        same("the files", &before, &Tree::files(&root));
    }
    daemon.stop();
}
