//! Several ways for the same mail to the same member: what a run has brought that is still going on, and may be put
//! back, is no reason for another account to leave it out, or to delete it at its source; nor is a copy that goes
//! with the next EXPUNGE.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "this is a test")]

use crate::helpers::daemon;
use crate::helpers::fake_imap;
use crate::helpers::fake_pop3;
use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::helpers::daemon::{Daemon, imap_migrate, pop3_poll, there};
use crate::helpers::dovecot::Dovecot;
use crate::helpers::fake_imap::{FakeImap, Folder, Then, honest};
use crate::helpers::fake_pop3::FakePop3;
use crate::helpers::maildir::{Tree, same, sha};
use crate::helpers::view::View;

const LOGIN: (&str, &str) = ("alice", "secret");
const HOME: (&str, &str) = ("home-alice", "home secret");

/// All of the same mail: by a migration that stops in the middle, by another one, by a poll that deletes what it
/// has brought, and from a file.
fn shared(daemon: &mut Daemon, root: &Path, place: impl Fn(&str) -> String) {
    let mails = Folder::new("INBOX", 20).mails;
    let all: Vec<String> = mails.iter().map(|mail| sha(&mail.body)).collect();
    let boxes = vec![Folder::new("INBOX", 20), Folder::new("Stuck", 1)];
    let stuck = FakeImap::start(boxes, |command, reply| {
        if command.is_in("Stuck") && command.wants_bodies() {
            (reply.untagged, reply.then) = (Vec::new(), Then::Hang);
            reply.tagged.clear();
        }
    });
    let other = FakeImap::start(vec![Folder::new("INBOX", 20)], honest);
    let drop: Vec<fake_pop3::Mail> = fake_pop3::mails(20)
        .into_iter()
        .zip(&mails)
        .map(|(drop, mail)| fake_pop3::Mail { body: mail.body.clone(), ..drop })
        .collect();
    let drop = FakePop3::start("USER UIDL TOP", drop, |_, _| {});
    daemon.define("one", &place(&imap_migrate("one", "alice", stuck.port, LOGIN, "")));
    daemon.define("two", &place(&imap_migrate("two", "alice", other.port, LOGIN, "")));
    daemon.define("drop", &place(&pop3_poll("drop", "alice", drop.port, LOGIN, "keep_original = false")));
    daemon.more_settings("[notices]\nto_member = false\n[polling]\ninterval = \"24h\"\n");
    daemon.start();
    daemon.poll("drop");
    // That was the poll of the start. The mail comes to the drop once more.
    let first = Tree::read(root).contents();
    same("what the poll brought", &all, &first);
    daemon.ctl(&["disable", "drop"]).code(0);
    let polled = Tree::files(root);

    daemon.ctl(&["start", "one"]).code(0);
    daemon::eventually("the inbox is there", Duration::from_secs(60), || {
        (daemon.migration("one")["messages_done"] == 20).then_some(())
    });
    // What the poll brought stays whatever happens: it was recognised.
    same("the files, recognised", &polled, &Tree::files(root));
    let more = Folder::new("More", 7).mails;
    let new: Vec<String> = more.iter().map(|mail| sha(&mail.body)).collect();
    stuck.change(|boxes| {
        boxes[0].mails.extend(more.iter().map(|m| fake_imap::Mail { uid: m.uid + 50, ..m.clone() }))
    });
    other.change(|boxes| {
        boxes[0].mails.extend(more.iter().map(|m| fake_imap::Mail { uid: m.uid + 50, ..m.clone() }))
    });
    daemon.ctl(&["pause", "one"]).code(0);
    daemon.ctl(&["resume", "one"]).code(0);
    daemon::eventually("the new ones are there", Duration::from_secs(60), || {
        (daemon.migration("one")["messages_done"] == 27).then_some(())
    });
    let two = daemon.migrate("two");
    assert_eq!(
        (&two["messages_imported"], &two["messages_already_there"]),
        (&7.into(), &20.into()),
        "{two:#}"
    );
    drop.change(|mails| {
        mails.extend(fake_pop3::mails(7).into_iter().zip(&more).map(|(drop, mail)| fake_pop3::Mail {
            uidl: [b"new", drop.uidl.as_slice()].concat(),
            body: mail.body.clone(),
        }));
    });
    daemon.ctl(&["enable", "drop"]).code(0);
    daemon.poll("drop");
    let file = daemon.path().join("new.eml");
    fs::write(&file, &more[0].body).unwrap();
    daemon.ctl(&["upload", "--member", "alice@example.com", file.to_str().unwrap()]).code(0);
    daemon.ctl(&["cancel", "one"]).code(0);
    daemon.migration_in("one", &["cancelled"], Duration::from_secs(60));
    let left = Tree::read(root).contents();
    assert!(all.iter().chain(&new).all(|sha| left.contains(sha)), "nothing is lost");
    let verified = daemon.ctl(&["--json", "verify", "two"]).json();
    assert_eq!(verified["lost"], 0, "{verified:#}");
    daemon.stop();
}

/// A drop whose first message the member has already, marked as deleted, and the second as well, which stays.
fn deleted(daemon: &mut Daemon, root: &Path, place: impl Fn(&str) -> String, put: impl Fn(&str, &[u8])) {
    let mails = fake_pop3::mails(3);
    let drop = FakePop3::start("USER UIDL TOP", mails.clone(), |_, _| {});
    put("\\Deleted", &mails[0].body);
    put("", &mails[1].body);
    daemon.define("alice", &place(&pop3_poll("drop", "alice", drop.port, LOGIN, "keep_original = false")));
    daemon.more_settings("[notices]\nto_member = false\n[polling]\ninterval = \"24h\"\n");
    daemon.start();
    daemon.poll("drop");
    daemon.stop();
    assert_eq!(drop.mails().len(), 0, "all are deleted at the source");
    let mut expected: Vec<String> = mails.iter().map(|mail| sha(&mail.body)).collect();
    expected.push(sha(&mails[0].body));
    same("one came besides the deleted one", &expected, &Tree::read(root).contents());
}

#[test]
fn deleted_in_a_maildir() {
    let mut daemon = Daemon::new("");
    let root = daemon.maildir("alice");
    for directory in ["cur", "new", "tmp"] {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    let cur = root.join("cur");
    deleted(&mut daemon, &root, str::to_owned, |flags, message| {
        let letters = if flags.is_empty() { "S" } else { "ST" };
        let lines = String::from_utf8(message.to_vec()).unwrap().replace("\r\n", "\n");
        fs::write(cur.join(format!("1.M{}P1.here:2,{letters}", lines.len())), lines).unwrap();
    });
}

#[test]
fn deleted_at_a_server() {
    let home = Dovecot::start(&[HOME]);
    let mut daemon = Daemon::homing(home.imap, "login = \"home-{local}\"", HOME.1);
    deleted(&mut daemon, &home.maildir(HOME.0), there, |flags, message| {
        View::open(home.imap, "", HOME).append("INBOX", flags, message);
    });
}

#[test]
fn in_a_maildir() {
    let mut daemon = Daemon::new("");
    let root = daemon.maildir("alice");
    shared(&mut daemon, &root, str::to_owned);
}

#[test]
fn at_a_server() {
    let home = Dovecot::start(&[HOME]);
    let mut daemon = Daemon::homing(home.imap, "login = \"home-{local}\"", HOME.1);
    shared(&mut daemon, &home.maildir(HOME.0), there);
}
