//! Folders that are made at the destination: a special use meets the destination's own folder for it, whatever it
//! is called; and what is made is subscribed, so that every reader shows it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "this is a test")]

use crate::helpers::maildir;
use std::collections::BTreeSet;

use crate::helpers::daemon::{Daemon, imap_migrate, there};
use crate::helpers::dovecot::Dovecot;
use crate::helpers::fake_imap::{FakeImap, Folder, honest};
use crate::helpers::maildir::Tree;
use crate::helpers::view::View;

const LOGIN: (&str, &str) = ("alice", "secret");
const HOME: (&str, &str) = ("home-alice", "home secret");
const USES: &str = "namespace inbox {\n  inbox = yes\n  mailbox Sent {\n    special_use = \\Sent\n    auto = create\n  }\n  \
                    mailbox Bin {\n    special_use = \\Trash\n    auto = create\n  }\n}\n";

fn folder(name: &str, attributes: &str, subscribed: bool) -> Folder {
    let (attributes, new) = (attributes.to_owned(), Folder::new(name, 2));
    Folder { attributes, subscribed, ..new }
}

fn source(subscribed: bool) -> FakeImap {
    let folders = vec![
        folder("INBOX", "", subscribed),
        folder("Gesendet", "\\Sent", subscribed),
        folder("Papierkorb", "\\Trash", subscribed),
        folder("Entwurf", "\\Drafts", false),
        folder("Work/2024", "", subscribed),
    ];
    let capability = "IMAP4rev1 LIST-EXTENDED SPECIAL-USE SASL-IR AUTH=PLAIN UIDPLUS NAMESPACE";
    FakeImap::with_capability(capability, folders, honest)
}

fn homing(home: &Dovecot, settings: &str) -> Daemon {
    let mut daemon = Daemon::homing(home.imap, "login = \"home-{local}\"", HOME.1);
    daemon.more_settings(settings);
    daemon
}

#[test]
fn a_special_use_meets_the_folder_that_has_it() {
    let (source, home) = (source(true), Dovecot::start_with(&[HOME], USES));
    let mut daemon = homing(&home, "");
    daemon.define("alice", &there(&imap_migrate("old", "alice", source.port, LOGIN, "")));
    daemon.start();
    let plan = daemon.ctl(&["--json", "start", "old", "--dry-run"]).code(0).json().to_string();
    for told in ["\\\\Sent is Sent at the destination", "\\\\Trash is Bin at the destination"] {
        assert!(plan.contains(told), "{told}: {plan}");
    }
    daemon.migrate("old");
    let root = home.maildir(HOME.0);
    let tree = Tree::read(&root);
    let filled: BTreeSet<&str> =
        tree.folders.iter().filter(|(_, mails)| !mails.is_empty()).map(|(name, _)| name.as_str()).collect();
    assert_eq!(filled, BTreeSet::from(["", ".Sent", ".Bin", ".Entwurf", ".Work.2024"]));
    daemon.ctl(&["verify", "old", "--bodies"]).code(0);
    let shown = daemon.show("old").to_string();
    assert!(shown.contains("\"name\":\"Gesendet\""), "people know it by its own name: {shown}");
    let before = Tree::files(&root);
    daemon.migrate("old");
    maildir::same("the files after a further run", &before, &Tree::files(&root));
    daemon.stop();
}

#[test]
fn what_is_made_is_subscribed() {
    let home = Dovecot::start(&[HOME]);
    let (with, without) = (source(true), source(false));
    for (server, some) in [(&with, true), (&without, false)] {
        let mut daemon = homing(&home, "");
        let migration = imap_migrate("old", "alice", server.port, LOGIN, "");
        daemon.define("alice", &there(&migration));
        daemon.define("bob", &imap_migrate("to-maildir", "bob", server.port, LOGIN, ""));
        daemon.start();
        daemon.migrate("old");
        daemon.migrate("to-maildir");
        let made: BTreeSet<String> =
            ["Gesendet", "Papierkorb", "Work/2024", "Entwurf"].map(str::to_owned).into();
        // At a source that subscribes, what it does not show stays hidden.
        let wanted: BTreeSet<String> =
            made.iter().filter(|name| !some || *name != "Entwurf").cloned().collect();
        let mut view = View::open(home.imap, "", HOME);
        let seen: BTreeSet<String> =
            view.folders("LSUB").into_iter().filter(|name| made.contains(name)).collect();
        assert_eq!(seen, wanted, "at the server; subscriptions at the source: {some}");
        let list = Tree::read(&daemon.maildir("bob")).subscriptions;
        assert_eq!(
            list.iter().filter(|name| made.contains(&name[1.min(name.len())..].replace('.', "/"))).count(),
            wanted.len(),
            "{list:?}"
        );
        daemon.ctl(&["cancel", "old"]);
        daemon.stop();
        for name in &made {
            view.ask(&format!("UNSUBSCRIBE {name}"));
            view.ask(&format!("DELETE {name}"));
        }
    }
}

#[test]
fn the_folder_of_a_poll_is_subscribed() {
    let (source, home) = (source(false), Dovecot::start(&[HOME]));
    let mut daemon = homing(&home, "");
    let poll = |name: &str, member: &str| {
        imap_migrate(name, member, source.port, LOGIN, "")
            .replace("[account.migrate]", "[account.poll]\nmailbox = \"Coll/X\"")
    };
    daemon.define("alice", &there(&poll("old", "alice")));
    daemon.define("bob", &poll("to-maildir", "bob"));
    daemon.start();
    daemon.poll("old");
    daemon.poll("to-maildir");
    let mut view = View::open(home.imap, "", HOME);
    assert!(view.folders("LSUB").contains(&"Coll/X".to_owned()), "{:?}", view.folders("LSUB"));
    let list = Tree::read(&daemon.maildir("bob")).subscriptions;
    assert_eq!(list.len(), 1, "{list:?}");
    daemon.stop();
}
