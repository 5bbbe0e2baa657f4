//! Putting back a mailbox at a server that does not let it be put back: a folder that was never made holds nothing
//! up, and where something is, a person can end it; the next run finds what was left.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "this is a test")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::helpers::daemon::{Daemon, adds_up, eventually, imap_migrate, there};
use crate::helpers::dovecot::Dovecot;
use crate::helpers::fake_imap::{FakeImap, Folder, honest};
use crate::helpers::maildir::Tree;
use crate::helpers::picky::whimsical;

const LOGIN: (&str, &str) = ("alice", "secret");
const HOME: (&str, &str) = ("home-alice", "home secret");
const CAPABILITY: &str = "IMAP4rev1 LIST-EXTENDED SPECIAL-USE SASL-IR AUTH=PLAIN UIDPLUS NAMESPACE";
const LIMIT: Duration = Duration::from_secs(60);

fn source(names: &[&str]) -> FakeImap {
    let folders = names.iter().map(|name| Folder::new(name, 5)).collect();
    FakeImap::with_capability(CAPABILITY, folders, honest)
}

fn homing(port: u16, source: &FakeImap, settings: &str, more: &str) -> Daemon {
    let mut daemon = Daemon::homing(port, "login = \"home-{local}\"", HOME.1);
    daemon.more_settings(settings);
    daemon.define("alice", &there(&imap_migrate("old", "alice", source.port, LOGIN, more)));
    daemon.start();
    daemon
}

#[test]
fn a_folder_that_was_never_made_holds_nothing_up() {
    for words in ["[CANNOT] Character not allowed in mailbox name", "that is not for you"] {
        let (source, home) = (source(&["INBOX", "Other"]), Dovecot::start(&[HOME]));
        let port = whimsical(home.imap, move |said, _| {
            let refused =
                ["CREATE", "SELECT"].iter().any(|verb| said.starts_with(verb)) && said.contains("Work");
            refused.then(|| words.to_owned())
        });
        let mut daemon = homing(port, &source, "[migrations]\ngive_up_after = \"2s\"\n", "into = \"Work\"");
        let ended = daemon.ctl_within(LIMIT, &["start", "old", "--wait"]).code(1);
        let shown = daemon.migration("old");
        assert_eq!(shown["state"], "rolled-back", "{ended:?} {shown:#}");
        assert_eq!(Tree::read(&home.maildir(HOME.0)).count(), 0);
        daemon.stop();
    }
}

/// The server refuses to open a folder in which something is, or says nothing at all.
#[test]
fn it_can_be_given_up() {
    for silent in [false, true] {
        let (source, home) = (source(&["INBOX", "Work", "Other"]), Dovecot::start(&[HOME]));
        let (full, closed) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(false)));
        let (is_full, is_closed) = (Arc::clone(&full), Arc::clone(&closed));
        let port = whimsical(home.imap, move |said, _| {
            if said.starts_with("APPEND \"Other") && is_full.load(Ordering::SeqCst) {
                return Some("[TRYCREATE] it is gone".to_owned());
            }
            if !said.starts_with("SELECT \"Work") {
                return None;
            }
            while silent && is_closed.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(20));
            }
            is_closed.load(Ordering::SeqCst).then(|| "[NOPERM] closed".to_owned())
        });
        let mut daemon = homing(port, &source, "", "");
        daemon.ctl(&["start", "old"]).code(0);
        let came = || Tree::read(&home.maildir(HOME.0)).folders.get(".Work").is_some_and(|m| m.len() == 5);
        eventually("the folder comes", LIMIT, || came().then_some(()));
        daemon.migration_in("old", &["retrying"], LIMIT);
        closed.store(true, Ordering::SeqCst);
        daemon.ctl(&["cancel", "old"]).code(0);
        if !silent {
            eventually("the rollback does not succeed", LIMIT, || {
                let shown = daemon.migration("old");
                shown["outcome"].as_str().is_some_and(|told| told.contains("[NOPERM]")).then_some(())
            });
        }
        assert_eq!(daemon.migration("old")["state"], "rolling-back");
        daemon.ctl(&["cancel", "old"]).code(1).says("--keep");
        let ended = daemon.ctl_within(LIMIT, &["cancel", "old", "--keep"]).code(0);
        assert_eq!(ended.out.trim(), "old: cancelled");
        let shown = daemon.migration("old");
        assert!(shown["outcome"].as_str().unwrap().contains("given up"), "{shown:#}");
        // What was left is found, and nothing comes twice.
        full.store(false, Ordering::SeqCst);
        closed.store(false, Ordering::SeqCst);
        let done = daemon.migrate("old");
        adds_up(&done);
        let ledger = &daemon.show("old")["migration"]["ledger"];
        assert!(ledger["already_there"].as_u64() >= Some(5), "{ledger:#}");
        let tree = Tree::read(&home.maildir(HOME.0));
        let mails: Vec<usize> = ["", ".Work", ".Other"].iter().map(|f| tree.folders[*f].len()).collect();
        assert_eq!(mails, [5, 5, 5]);
        daemon.stop();
    }
}
