//! Backups of a mailbox at a server whose folders have names that a Maildir++ cannot carry: they come back, each as a
//! folder of its own.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "this is a test")]

use std::collections::BTreeSet;

use crate::helpers::daemon::Daemon;
use crate::helpers::fake_imap::{FakeImap, Folder, honest};
use crate::helpers::maildir::{Tree, sha};

#[test]
fn names_with_dots_come_back_from_a_maildir() {
    let names = ["INBOX", "x.y", "x_y", "a.b/c", ".lead", "end."];
    let counts = [1, 2, 3, 4, 5, 6];
    let boxes = || names.iter().zip(counts).map(|(name, count)| Folder::new(name, count)).collect();
    let server = FakeImap::start(boxes(), honest);
    let mut daemon = Daemon::homing(server.port, "login = \"alice\"", "secret");
    daemon.start();
    let file = daemon.path().join("all");
    let file = file.to_str().unwrap();
    let words = ["backup", "--member", "alice@example.com", "--destination", "there", "--format", "maildir"];
    daemon.ctl(&[&words[..], &["-o", file]].concat()).code(0);
    daemon.ctl(&["upload", "--member", "all@example.com", file]).code(0);
    let tree = Tree::read(&daemon.maildir("all"));
    let mut found = BTreeSet::new();
    for (name, mails) in &tree.folders {
        let bodies: BTreeSet<String> = mails.iter().map(|mail| mail.sha.clone()).collect();
        let source = server.boxes().into_iter().find(|folder| {
            let sent: BTreeSet<String> = folder.mails.iter().map(|mail| sha(&mail.body)).collect();
            sent == bodies
        });
        let source = source.unwrap_or_else(|| panic!("{name} mixes folders: {:?}", tree.names()));
        found.insert(String::from_utf8(source.name).unwrap());
    }
    assert_eq!(found, names.map(str::to_owned).into(), "{:?}", tree.names());
    // A name that is one level there is found as it is shown.
    let one = daemon.path().join("one");
    let words = ["backup", "--member", "alice@example.com", "--destination", "there", "--mailbox", "a.b/c"];
    daemon.ctl(&[&words[..], &["--format", "maildir", "-o", one.to_str().unwrap()]].concat()).code(0);
    daemon.ctl(&["upload", "--member", "one@example.com", one.to_str().unwrap()]).code(0);
    assert_eq!(Tree::read(&daemon.maildir("one")).folders[".a_b.c"].len(), 4);
    daemon.stop();
}
