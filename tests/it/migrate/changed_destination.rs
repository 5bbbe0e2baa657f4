//! A definition gets another member or another destination. What came to the old mailbox has not come to the new one:
//! it is brought there, and only then deleted at the source; and a run in the middle is put back where it came.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "this is a test")]

use crate::helpers::daemon;
use crate::helpers::fake_pop3;
use crate::helpers::maildir;
use std::path::PathBuf;
use std::time::Duration;

use crate::helpers::daemon::{Daemon, imap_migrate, pop3_poll, there};
use crate::helpers::dovecot::Dovecot;
use crate::helpers::fake_imap::{FakeImap, Folder, Then, honest};
use crate::helpers::fake_pop3::FakePop3;
use crate::helpers::maildir::{Tree, same, sha};

const LOGIN: (&str, &str) = ("alice", "secret");
const HOMES: [(&str, &str); 2] = [("home-bbo", "home secret"), ("home-bob", "home secret")];
const LIMIT: Duration = Duration::from_secs(60);
const QUIET: &str = "[notices]\nto_member = false\n[polling]\ninterval = \"24h\"\n";

/// A source that is polled.
enum Drop {
    Pop3(FakePop3),
    Imap(FakeImap),
}

impl Drop {
    fn both() -> [Drop; 2] {
        let folders = vec![Folder::new("INBOX", 5)];
        let imap = FakeImap::with_capability("IMAP4rev1 UIDPLUS", folders, honest);
        [Drop::Pop3(FakePop3::start("USER UIDL TOP", fake_pop3::mails(4), |_, _| {})), Drop::Imap(imap)]
    }

    fn definition(&self, local: &str, more: &str) -> String {
        match self {
            Drop::Pop3(drop) => pop3_poll("p", local, drop.port, LOGIN, more),
            Drop::Imap(drop) => imap_migrate("p", local, drop.port, LOGIN, more)
                .replace("[account.migrate]", "[account.poll]"),
        }
    }

    fn left(&self) -> usize {
        match self {
            Drop::Pop3(drop) => drop.mails().len(),
            Drop::Imap(drop) => drop.boxes()[0].mails.len(),
        }
    }
}

/// A typo in the member is mended, and the originals are to go now.
fn a_poll(mut daemon: Daemon, root: impl Fn(&str) -> PathBuf, place: impl Fn(String) -> String, drop: &Drop) {
    let define = |daemon: &Daemon, local: &str, more: &str| {
        daemon.define("p", &place(drop.definition(local, more)));
    };
    define(&daemon, "bbo", "");
    daemon.more_settings(QUIET);
    daemon.start();
    daemon.poll("p");
    let came = Tree::read(&root("bbo")).contents();
    assert_eq!(came.len(), drop.left(), "all came");

    define(&daemon, "bob", "keep_original = false");
    daemon.ctl(&["reload"]).code(0);
    daemon.ctl(&["verify", "p"]).code(1).says("went to bbo@example.com");
    let polled = daemon.poll("p");
    let note = polled["note"].as_str().unwrap_or_default();
    assert!(note.contains("bbo@example.com") && note.contains("bob@example.com"), "{polled:#}");
    same("what bob has", &came, &Tree::read(&root("bob")).contents());
    same("what bbo has", &came, &Tree::read(&root("bbo")).contents());
    assert_eq!(drop.left(), 0, "now it is deleted at the source");
    daemon.ctl(&["verify", "p"]).code(0);
    daemon.stop();
}

#[test]
fn a_poll_in_a_maildir() {
    for drop in Drop::both() {
        let daemon = Daemon::new("");
        let mail = daemon.path().join("mail");
        a_poll(daemon, |local| mail.join(local).join("Maildir"), |definition| definition, &drop);
    }
}

#[test]
fn a_poll_at_a_server() {
    for drop in Drop::both() {
        let home = Dovecot::start(&HOMES);
        let daemon = Daemon::homing(home.imap, "login = \"home-{local}\"", HOMES[0].1);
        a_poll(daemon, |local| home.maildir(&format!("home-{local}")), |text| there(&text), &drop);
    }
}

/// Another destination for the same member, there and back: what is there already is recognised.
#[test]
fn another_destination() {
    let home = Dovecot::start(&HOMES);
    let mut daemon = Daemon::homing(home.imap, "login = \"home-{local}\"", HOMES[0].1);
    let [drop, _] = Drop::both();
    daemon.define("p", &drop.definition("bob", ""));
    daemon.more_settings(QUIET);
    daemon.start();
    daemon.poll("p");
    let came = Tree::read(&daemon.maildir("bob")).contents();
    let files = Tree::files(&daemon.maildir("bob"));
    let again = |definition: &str| {
        daemon.define("p", definition);
        daemon.ctl(&["reload"]).code(0);
        let run = daemon.poll("p");
        (run["imported"].clone(), run["already_there"].clone(), run["deleted"].clone())
    };
    let four = |a: u64, b: u64, c: u64| (a.into(), b.into(), c.into());
    assert_eq!(again(&there(&drop.definition("bob", ""))), four(4, 0, 0));
    assert_eq!(again(&drop.definition("bob", "")), four(0, 4, 0));
    assert_eq!(again(&there(&drop.definition("bob", "keep_original = false"))), four(0, 4, 4));
    same("what came", &came, &Tree::read(&home.maildir("home-bob")).contents());
    same("the files", &files, &Tree::files(&daemon.maildir("bob")));
    assert_eq!(drop.left(), 0);
    daemon.stop();
}

/// A source whose folder `Stuck` gives nothing before it is told to.
fn source() -> (FakeImap, std::sync::Arc<std::sync::atomic::AtomicBool>) {
    use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
    let gives = std::sync::Arc::new(AtomicBool::new(false));
    let asked = std::sync::Arc::clone(&gives);
    let boxes = vec![Folder::new("INBOX", 20), Folder::new("Stuck", 3)];
    let source = FakeImap::start(boxes, move |command, reply| {
        if command.is_in("Stuck") && command.wants_bodies() && !asked.load(SeqCst) {
            (reply.untagged, reply.then) = (Vec::new(), Then::Hang);
            reply.tagged.clear();
        }
    });
    (source, gives)
}

fn all_of(source: &FakeImap) -> Vec<String> {
    source.boxes().iter().flat_map(|folder| &folder.mails).map(|mail| sha(&mail.body)).collect()
}

fn a_migration(mut daemon: Daemon, root: impl Fn(&str) -> PathBuf, place: impl Fn(&str) -> String) {
    let (source, gives) = source();
    let define = |daemon: &Daemon, local: &str| {
        daemon.define("m", &place(&imap_migrate("m", local, source.port, LOGIN, "")));
    };
    let before = Tree::files(&root("bbo"));
    define(&daemon, "bbo");
    daemon.more_settings(QUIET);
    daemon.start();
    let in_the_middle = |daemon: &Daemon| {
        daemon.ctl(&["start", "m"]).code(0);
        daemon::eventually("the inbox is there", LIMIT, || {
            (daemon.migration("m")["messages_done"] == 20).then_some(())
        });
    };
    // Cancelled after the change: it is put back where it came.
    in_the_middle(&daemon);
    daemon.ctl(&["pause", "m"]).code(0);
    assert_eq!(maildir::count(&root("bbo")), 20);
    define(&daemon, "bob");
    daemon.ctl(&["reload"]).code(0);
    daemon.ctl(&["cancel", "m"]).code(0);
    daemon.migration_in("m", &["cancelled"], LIMIT);
    assert_eq!(maildir::count(&root("bbo")), 0, "nothing is left");
    same("bbo's files, cancelled", &before, &Tree::files(&root("bbo")));

    // In mid-run, and the daemon is killed: it begins anew for the other.
    define(&daemon, "bbo");
    daemon.ctl(&["reload"]).code(0);
    in_the_middle(&daemon);
    daemon.kill();
    gives.store(true, std::sync::atomic::Ordering::SeqCst);
    define(&daemon, "bob");
    daemon.start();
    let migration = daemon.migration_in("m", &["completed"], LIMIT);
    daemon::adds_up(&migration);
    assert_eq!(migration["messages_done"], 23, "{migration:#}");
    same("what bob has", &all_of(&source), &Tree::read(&root("bob")).contents());
    same("bbo's files, changed", &before, &Tree::files(&root("bbo")));

    // After the end: what came stays, and everything comes to the other one, too.
    define(&daemon, "bbo");
    daemon.ctl(&["reload"]).code(0);
    daemon.ctl(&["verify", "m"]).code(1).says("went to bob@example.com");
    let plan = daemon.ctl(&["--json", "start", "m", "--dry-run"]).code(0).json();
    assert!(plan.to_string().contains("\"new_messages\":23"), "{plan:#}");
    daemon.migrate("m");
    same("what bbo has", &all_of(&source), &Tree::read(&root("bbo")).contents());
    same("what bob has at the end", &all_of(&source), &Tree::read(&root("bob")).contents());
    daemon.ctl(&["verify", "m"]).code(0);
    daemon.stop();
}

#[test]
fn a_migration_in_a_maildir() {
    let daemon = Daemon::new("");
    let mail = daemon.path().join("mail");
    a_migration(daemon, |local| mail.join(local).join("Maildir"), str::to_owned);
}

#[test]
fn a_migration_at_a_server() {
    let home = Dovecot::start(&HOMES);
    let daemon = Daemon::homing(home.imap, "login = \"home-{local}\"", HOMES[0].1);
    a_migration(daemon, |local| home.maildir(&format!("home-{local}")), there);
}
