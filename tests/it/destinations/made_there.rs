//! A mailbox that was made for a migration at a server goes with its rollback if it is empty again, login and all; one
//! that somebody used meanwhile stays.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stderr, reason = "this is a test")]

use crate::helpers::daemon;
use crate::helpers::maildir;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::helpers::daemon::{Daemon, imap_migrate, there};
use crate::helpers::dovecot::Dovecot;
use crate::helpers::fake_imap::{FakeImap, Folder, Then};

const LOGIN: (&str, &str) = ("alice", "secret");
const NEW: &str = "Neu8-Haus_Tuer.17";
const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn what_is_empty_again_goes() {
    let hangs = Arc::new(AtomicBool::new(true));
    let it_hangs = Arc::clone(&hangs);
    let source =
        FakeImap::start(vec![Folder::new("INBOX", 20), Folder::new("Z", 5)], move |command, reply| {
            if command.is_in("Z") && command.wants_bodies() && it_hangs.load(Ordering::SeqCst) {
                reply.untagged.clear();
                reply.tagged.clear();
                reply.then = Then::Hang;
            }
        });
    let new = Dovecot::start(&[("eve@example.com", "secret")]);
    let before = fs::read_to_string(new.users()).unwrap();
    let mut daemon = Daemon::homing(new.imap, "login = \"{member}\"", NEW);
    let (path, (uid, gid)) = (new.users(), new.owner());
    daemon.more_settings(&format!(
        "[migrations]\nconnections = 1\n[provisioning.passwd_file]\npath = {path:?}\nscheme = \"SHA512-CRYPT\"\n\
         uid = {uid}\ngid = {gid}\n"
    ));
    let password = format!("[account.new_mailbox]\npassword = {{ value = {NEW:?} }}\n");
    let one = |name: &str| there(&imap_migrate(name, name, source.port, LOGIN, &password));
    daemon.define("all", &(one("anna") + &one("berta")));
    daemon.start();
    daemon.ctl(&["start", "anna", "berta"]).code(0);
    let here = |user: &str| maildir::count(&new.maildir(&format!("{user}@example.com")));
    daemon::eventually("both have their inbox", LIMIT, || {
        (here("anna") >= 20 && here("berta") >= 20).then_some(())
    });
    new.deliver("berta@example.com", b"Subject: hers\r\n\r\nWelcome.\r\n");
    for name in ["anna", "berta"] {
        daemon.ctl(&["cancel", name]).code(0);
        daemon.migration_in(name, &["cancelled"], LIMIT);
    }
    let users = fs::read_to_string(new.users()).unwrap();
    assert!(users.starts_with(&before) && !users.contains("anna@"), "{users}");
    assert!(users.contains("berta@example.com:{SHA512-CRYPT}"), "{users}");
    assert_eq!(here("berta"), 1, "her own");
    // It is made anew.
    hangs.store(false, Ordering::SeqCst);
    daemon.migrate("anna");
    assert_eq!(here("anna"), 25);
    assert!(fs::read_to_string(new.users()).unwrap().contains("anna@example.com:"));
    daemon.stop();
}
