//! Names of folders that the destination's server refuses, as real Dovecots do, each by the way that it keeps mail:
//! they are changed, told before anything is made, and the same on every run. A folder that is refused all the same
//! is no fault of the account's, and asks for no fewer connections.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "this is a test")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::helpers::daemon::{Daemon, adds_up, imap_migrate, pop3_poll, there};
use crate::helpers::dovecot::Dovecot;
use crate::helpers::fake_imap::{FakeImap, Folder, honest};
use crate::helpers::picky::whimsical;
use crate::helpers::view::View;

const LOGIN: (&str, &str) = ("alice", "secret");
const HOME: (&str, &str) = ("home-alice", "home secret");
const CAPABILITY: &str = "IMAP4rev1 LIST-EXTENDED SPECIAL-USE SASL-IR AUTH=PLAIN UIDPLUS NAMESPACE";
const MDBOX: &str = "mail_location = mdbox:~/mdbox\n";
const FS: &str = "mail_location = maildir:~/Mail:LAYOUT=fs\n";

fn source(names: &[&str]) -> FakeImap {
    let folders = names.iter().map(|name| Folder::new(name, 2)).collect();
    FakeImap::with_capability(CAPABILITY, folders, honest)
}

fn homing(port: u16) -> Daemon {
    Daemon::homing(port, "login = \"home-{local}\"", HOME.1)
}

fn poll(name: &str, port: u16, mailbox: &str) -> String {
    let more = format!("[account.poll]\nmailbox = {mailbox:?}");
    there(&imap_migrate(name, "alice", port, LOGIN, "").replace("[account.migrate]", &more))
}

/// The folders with messages, and how many.
fn filled(view: &mut View) -> BTreeSet<String> {
    let mut folders = view.folders("LIST");
    folders.retain(|name| {
        let said = view.ask(&format!("STATUS \"{name}\" (MESSAGES)"));
        !said[0].text.contains("(MESSAGES 0)")
    });
    folders.into_iter().collect()
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn they_are_changed_where_they_must_be_and_told() {
    for (layout, expected, changed) in [
        ("", ["INBOX", "Work/v1_0_2", "Work/v1_0", "_~x", "cur"], ["Work/v1_0_2", "_~x"].as_slice()),
        (MDBOX, ["INBOX", "Work/v1.0", "Work/v1_0", "_~x", "cur"], &["_~x"]),
        (FS, ["INBOX", "Work/v1.0", "Work/v1_0", "_~x", "_cur"], &["_~x", "_cur"]),
        (
            "namespace inbox {\n  separator = .\n}\n",
            ["INBOX", "Work.v1_0_2", "Work.v1_0", "_~x", "cur"],
            &["Work.v1_0_2", "_~x"],
        ),
    ] {
        let source = source(&["INBOX", "Work/v1.0", "Work/v1_0", "~x", "cur"]);
        let home = Dovecot::start_with(&[HOME], layout);
        let mut daemon = homing(home.imap);
        daemon.define("alice", &there(&imap_migrate("old", "alice", source.port, LOGIN, "")));
        daemon.start();
        let checked = daemon.ctl(&["check", "old"]).code(0).out;
        let plan = daemon.ctl(&["start", "old", "--dry-run"]).code(0).out;
        let mut view = View::open(home.imap, "", HOME);
        assert_eq!(
            set(&["INBOX"]),
            view.folders("LIST").into_iter().collect(),
            "nothing is made to find out"
        );
        let done = daemon.migrate("old");
        adds_up(&done);
        assert_eq!((&done["messages_done"], &done["messages_failed"]), (&10.into(), &0.into()), "{done:#}");
        assert_eq!(filled(&mut view), set(&expected), "{layout}");
        let shown = daemon.ctl(&["show", "old"]).code(0).out;
        for (told, what) in [(&checked, "check"), (&plan, "the plan"), (&shown, "show")] {
            // A name that another one has already is told otherwise.
            let notes = told.matches("it becomes ").count() + told.matches("this one goes to ").count();
            assert_eq!(notes, changed.len(), "{what}: {told}");
            for name in changed {
                assert!(told.contains(name), "{what} does not tell {name}: {told}");
            }
        }
        let again = daemon.migrate("old");
        assert_eq!(daemon.show("old")["migration"]["ledger"]["imported"], 0, "{again:#}");
        assert_eq!(filled(&mut view), set(&expected), "{layout}");
        daemon.ctl(&["verify", "old"]).code(0);
        assert!(!daemon.log().contains("asks for less"), "{}", daemon.log());
        daemon.stop();
    }
}

#[test]
fn so_are_those_that_a_definition_has() {
    let (imap, home) = (source(&["INBOX"]), Dovecot::start(&[HOME]));
    let pop3 = Dovecot::start(&[LOGIN]);
    pop3.deliver(LOGIN.0, b"Subject: one\n\nOne.\n");
    let mut daemon = homing(home.imap);
    let definitions = [
        there(&pop3_poll("a", "alice", pop3.pop3, LOGIN, "mailbox = \"a/1.0\"")),
        poll("b", imap.port, "b.0"),
        there(&imap_migrate("c", "alice", imap.port, LOGIN, "into = \"c.d\"")),
        there(
            &imap_migrate("d", "alice", pop3.pop3, LOGIN, "into = \"d.e\"").replace("\"imap\"", "\"pop3\""),
        ),
    ];
    daemon.define("alice", &definitions.join("\n"));
    daemon.start();
    let expected = ["a/1_0", "b_0", "c_d", "d_e"];
    for (name, place) in ["a", "b", "c", "d"].into_iter().zip(expected) {
        let checked = daemon.ctl(&["check", name]).code(0).out;
        assert!(checked.contains(&format!("it becomes {place}")), "{checked}");
    }
    for (name, place) in ["a", "b"].into_iter().zip(expected) {
        assert!(daemon.poll(name)["imported"].as_u64() > Some(0));
        let shown = daemon.ctl(&["show", name]).code(0).out;
        assert!(shown.contains(&format!("it becomes {place}")), "{shown}");
    }
    for (name, place) in [("c", "c_d"), ("d", "d_e")] {
        let plan = daemon.ctl(&["start", name, "--dry-run"]).code(0).out;
        assert!(plan.contains(&format!("it becomes {place}")), "{plan}");
        daemon.migrate(name);
        let shown = daemon.ctl(&["show", name]).code(0).out;
        assert!(shown.contains(&format!("it becomes {place}")), "{shown}");
    }
    assert_eq!(filled(&mut View::open(home.imap, "", HOME)), set(&expected));
    daemon.stop();
}

#[test]
fn a_place_that_an_earlier_run_gave_is_kept() {
    let (source, home) = (source(&["INBOX", "v1.0"]), Dovecot::start_with(&[HOME], MDBOX));
    let strict = Arc::new(AtomicBool::new(false));
    let is_strict = Arc::clone(&strict);
    let port = whimsical(home.imap, move |said, _| {
        let refused = ["STATUS", "CREATE"].iter().any(|verb| said.starts_with(verb)) && said.contains('.');
        (refused && is_strict.load(Ordering::SeqCst)).then(|| "Invalid mailbox name".to_owned())
    });
    let mut daemon = homing(port);
    daemon.define("alice", &there(&imap_migrate("old", "alice", source.port, LOGIN, "")));
    daemon.start();
    daemon.migrate("old");
    strict.store(true, Ordering::SeqCst);
    source.change(|boxes| {
        boxes.push(Folder::new("w.1", 2));
        boxes[1] = Folder::new("v1.0", 3);
    });
    let done = daemon.migrate("old");
    assert_eq!((&done["messages_done"], &done["messages_failed"]), (&7.into(), &0.into()), "{done:#}");
    assert_eq!(filled(&mut View::open(home.imap, "", HOME)), set(&["INBOX", "v1.0", "w_1"]));
    daemon.stop();
}

/// A first level that is the inbox's has no case: its children share its name, and are where programs look for them.
#[test]
fn below_the_inbox_is_below_the_inbox_however_it_is_written() {
    let names = ["Inbox", "Inbox/Sub", "INBOX/Sub", "Inbox/Other", "Zz"];
    let member = ("alice@example.com", "secret of hers");
    for separator in ["/", "."] {
        let layout = format!("namespace inbox {{\n  separator = {separator}\n}}\n");
        let at = |name: &str| name.replace('/', separator);
        let expected = ["INBOX", "INBOX/Sub_2", "INBOX/Sub", "INBOX/Other", "Zz"].map(at);
        let expected: BTreeSet<String> = expected.into_iter().collect();
        let source = source(&names);
        let home = Dovecot::start_with(&[HOME, member], &layout);
        let mut daemon = homing(home.imap);
        daemon.destination(&home.maildir("{member}").display().to_string());
        let (uid, gid) = home.owner();
        daemon.run_as(uid, gid);
        let maildir = imap_migrate("m", "alice", source.port, LOGIN, "");
        let server = there(&imap_migrate("s", "alice", source.port, LOGIN, ""));
        daemon.define("alice", &format!("{maildir}\n{server}"));
        daemon.start();
        for (name, user) in [("m", member), ("s", HOME)] {
            let plan = daemon.ctl(&["start", name, "--dry-run"]).code(0).out;
            assert_eq!(plan.matches("this one goes to ").count(), 1, "{plan}");
            let done = daemon.migrate(name);
            adds_up(&done);
            assert_eq!(done["messages_done"], 10, "{done:#}");
            let shown = daemon.ctl(&["show", name]).code(0).out;
            assert_eq!(shown.matches("this one goes to ").count(), 1, "{shown}");
            daemon.ctl(&["verify", name]).code(0);
            assert_eq!(filled(&mut View::open(home.imap, "", user)), expected, "{name} {separator}");
        }
        daemon.stop();
    }
}

/// What the server says before it makes or opens a folder is not known.
#[test]
fn what_is_refused_all_the_same_is_no_fault_of_the_account() {
    let imap = source(&["INBOX", "Other"]);
    let (pop3, home) = (Dovecot::start(&[LOGIN]), Dovecot::start(&[HOME]));
    pop3.deliver(LOGIN.0, b"Subject: one\n\nOne.\n");
    let port = whimsical(home.imap, |said, _| {
        let refused = ["CREATE", "SELECT"].iter().any(|verb| said.starts_with(verb)) && said.contains("Work");
        refused.then(|| "[CANNOT] not here".to_owned())
    });
    let mut daemon = homing(port);
    daemon.more_settings("[polling]\nmax_failures = 1\n");
    let definitions = [
        there(&pop3_poll("a", "alice", pop3.pop3, LOGIN, "mailbox = \"Work\"")),
        poll("b", imap.port, "Work"),
    ];
    daemon.define("alice", &definitions.join("\n"));
    daemon.start();
    for name in ["a", "b"] {
        for _ in 0..4 {
            daemon.ctl(&["poll", name]).code(1).says("[CANNOT] not here");
        }
        let shown = daemon.account(name);
        let stands = (&shown["state"], &shown["consecutive_failures"]);
        assert_eq!(stands, (&"enabled".into(), &0.into()), "{shown:#}");
    }
    assert!(!daemon.log().contains("asks for less"), "{}", daemon.log());
    daemon.stop();
}
