//! A destination without room: told before anything starts, and when it is full in the middle of the work: that
//! stops, says why, and goes on by itself when there is room again. Messages that are too large are told one by one.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stderr, reason = "this is a test")]

use crate::helpers::corpus;
use crate::helpers::daemon;
use crate::helpers::maildir;
use crate::helpers::view;
use std::fs;
use std::time::Duration;

use crate::helpers::corpus::Corpus;
use crate::helpers::cyrus::{ADMIN, Cyrus, MIGRATOR, UNIX};
use crate::helpers::daemon::{Daemon, adds_up, imap_migrate, pop3_poll, there};
use crate::helpers::dovecot::Dovecot;
use crate::helpers::maildir::{Tree, same};
use crate::helpers::small_disk::Disk;
use crate::helpers::view::View;
use serde_json::Value;

const LOGIN: (&str, &str) = ("alice", "secret");
const HOME: (&str, &str) = ("home-alice", "home secret");
const NAME: &str = "alice-old";
const ACTING: &str = "login = \"migrator\"\nauthorize_as = \"home-{local}\"";
const LIMIT: Duration = Duration::from_secs(180);

fn plan(daemon: &Daemon) -> Value {
    daemon.ctl(&["--json", "start", NAME, "--dry-run"]).code(0).json()
}

fn quota(cyrus: &Cyrus, limits: &str) {
    View::open(cyrus.port, "", ADMIN).ask(&format!("SETQUOTA user/{} ({limits})", HOME.0));
}

#[test]
fn cyrus_with_a_quota() {
    let dovecot = Dovecot::start(&[LOGIN]);
    let cyrus = Cyrus::start(&[HOME], &format!("{UNIX}munge8bit: no\n"));
    View::open(cyrus.port, "", HOME).ask("SELECT INBOX");
    let mut source = Corpus::at(&dovecot.maildir("alice"));
    // One folder has few but large messages: the mailbox is full in the middle of a batch.
    source.add("", 200);
    source.add(".Sent", 100);
    let total: u64 = Tree::read(source.root())
        .messages()
        .map(|(_, message)| maildir::wire(&fs::read(&message.path).unwrap()).len() as u64)
        .sum();
    quota(&cyrus, &format!("STORAGE {}", total / 1024 / 2));
    let mut daemon = Daemon::homing(cyrus.port, ACTING, MIGRATOR.1);
    // Another connection would be stopped between what the server has stored and its record.
    daemon.more_settings("[migrations]\nconnections = 1\n");
    daemon.define("alice", &there(&imap_migrate(NAME, "alice", dovecot.imap, LOGIN, "")));
    daemon.start();
    let planned = plan(&daemon);
    let room = planned["room"].as_u64().unwrap();
    assert!(room > total / 3 && room < total, "{planned:#}");
    assert!(planned["notes"].to_string().contains("it will be full before the end"), "{planned:#}");
    assert!(planned["notes"].to_string().contains("the destination is Cyrus"), "{planned:#}");
    let checked = daemon.ctl(&["check", NAME]).code(0);
    assert!(checked.out.contains("room for"), "{checked:?}");
    daemon.ctl(&["start", NAME]).code(0);
    let waiting = daemon.migration_in(NAME, &["retrying"], LIMIT);
    assert!(waiting["error"].as_str().unwrap().contains("the mailbox is full"), "{waiting:#}");
    let mut view = View::open(cyrus.port, "", HOME);
    let half = view.tree();
    assert!(half.count() > 0 && half.count() < 300, "{}", half.count());
    assert_eq!(waiting["messages_done"], half.count(), "what is there is counted: {waiting:#}");
    quota(&cyrus, "STORAGE 1000000");
    let done = daemon.migration_in(NAME, &["completed"], LIMIT);
    adds_up(&done);
    same("everything, once", &Tree::read(source.root()).facts(), &view.tree().facts());
    assert!(plan(&daemon)["notes"].as_array().unwrap().iter().all(|n| !n.to_string().contains("full")));
    daemon.stop();
}

#[test]
fn dovecot_with_a_quota_that_is_cancelled() {
    let dovecot = Dovecot::start(&[LOGIN]);
    let more = "mail_plugins = quota\nprotocol imap {\n  mail_plugins = quota imap_quota\n}\nplugin {\n  \
                quota = count:User\n  quota_vsizes = yes\n  quota_rule = *:storage=300k\n  quota_grace = 0\n}\n";
    let small = Dovecot::start_with(&[HOME], more);
    let mut source = Corpus::at(&dovecot.maildir("alice"));
    source.add("", 300);
    let mut daemon = Daemon::homing(small.imap, "login = \"home-{local}\"", HOME.1);
    daemon.define("alice", &there(&imap_migrate(NAME, "alice", dovecot.imap, LOGIN, "")));
    daemon.start();
    assert!(plan(&daemon)["room"].as_u64().unwrap() <= 300 * 1024);
    let mut view = View::open(small.imap, "", HOME);
    view.append("INBOX", "\\Seen", b"Subject: mine\r\n\r\nfrom before\r\n");
    let before = view.tree();
    daemon.ctl(&["start", NAME]).code(0);
    let waiting = daemon.migration_in(NAME, &["retrying"], LIMIT);
    assert!(waiting["error"].as_str().unwrap().contains("the mailbox is full"), "{waiting:#}");
    assert!(view.tree().count() > 1);
    daemon.ctl(&["cancel", NAME]).code(0);
    daemon.migration_in(NAME, &["cancelled"], LIMIT);
    same("as it was", &view::places(&before), &view::places(&view.tree()));
    daemon.stop();
}

#[test]
fn a_maildir_with_a_quota() {
    let dovecot = Dovecot::start(&[LOGIN]);
    let mut source = Corpus::at(&dovecot.maildir("alice"));
    source.add("", 40);
    let mut daemon = Daemon::new("");
    daemon.define("alice", &imap_migrate(NAME, "alice", dovecot.imap, LOGIN, ""));
    daemon.start();
    assert!(plan(&daemon)["room"].as_u64().unwrap() > 0, "the file system's");
    let home = daemon.maildir("alice");
    for part in ["cur", "new", "tmp"] {
        fs::create_dir_all(home.join(part)).unwrap();
    }
    fs::write(home.join("maildirsize"), "9000S,100C\n2000 7\n").unwrap();
    let planned = plan(&daemon);
    assert_eq!(planned["room"], 7000, "{planned:#}");
    assert!(planned["notes"].to_string().contains("room for 7000 octets"), "{planned:#}");
    fs::write(home.join("maildirsize"), "0S,20C\n2000 7\n").unwrap();
    assert!(plan(&daemon)["notes"].to_string().contains("room for 13 messages, and 40 would come"));
    // What comes is counted there; whoever puts it back lets the server count anew.
    fs::write(home.join("maildirsize"), "90000000S\n0 0\n").unwrap();
    daemon.migrate(NAME);
    let text = fs::read_to_string(home.join("maildirsize")).unwrap();
    let sum = text.lines().skip(1).fold((0, 0), |(octets, messages), line| {
        let (size, count) = line.split_once(' ').unwrap();
        (octets + size.parse::<u64>().unwrap(), messages + count.parse::<u64>().unwrap())
    });
    let octets = Tree::read(&home).messages().map(|(_, m)| fs::metadata(&m.path).unwrap().len()).sum();
    assert_eq!(sum, (octets, 40), "{text}");
    daemon.stop();
}

#[test]
fn messages_that_are_too_large() {
    let dovecot = Dovecot::start(&[LOGIN]);
    let cyrus = Cyrus::start(&[HOME], &format!("{UNIX}munge8bit: no\nmaxmessagesize: 20480\n"));
    let mut source = Corpus::at(&dovecot.maildir("alice"));
    source.add("", 60);
    let large = [b"Subject: x\r\n\r\n".as_slice(), &b"0123456789abcdef\r\n".repeat(2000)].concat();
    source.put("", 900, &large, &corpus::Marks::default());
    let limit = 20 * 1024;
    let fit = Tree::read(source.root())
        .messages()
        .filter(|(_, m)| maildir::wire(&fs::read(&m.path).unwrap()).len() <= limit)
        .count();
    let mut daemon = Daemon::homing(cyrus.port, ACTING, MIGRATOR.1);
    daemon.define("alice", &there(&imap_migrate(NAME, "alice", dovecot.imap, LOGIN, "")));
    daemon.start();
    let done = daemon.migrate(NAME);
    assert_eq!(done["messages_skipped"], 61 - fit, "{done:#}");
    let skipped = &daemon.show(NAME)["skipped"];
    assert!(skipped[0]["reason"].as_str().unwrap().contains("the server takes 20480 at most"), "{skipped:#}");
    assert_eq!(View::open(cyrus.port, "", HOME).tree().count(), fit);
    daemon.stop();
}

#[test]
fn a_full_spool() {
    let dovecot = Dovecot::start(&[LOGIN, ("bob", "secret"), HOME, ("home-bob", HOME.1)]);
    let mut source = Corpus::at(&dovecot.maildir("alice"));
    source.fill(700);
    let mut drop = Corpus::at(&dovecot.maildir("bob")).from(5000);
    drop.add("", 300);
    let mut daemon = Daemon::homing(dovecot.imap, "login = \"home-{local}\"", HOME.1);
    daemon.more_settings("[polling]\ninterval = \"1s\"\nmax_failures = 1\n");
    let Some(disk) = Disk::mount(daemon.path(), "size=64k") else { return };
    fs::create_dir_all(daemon.path().join("state")).unwrap();
    std::os::unix::fs::symlink(&disk.0, daemon.path().join("state/spool")).unwrap();
    daemon.define("alice", &there(&imap_migrate(NAME, "alice", dovecot.imap, LOGIN, "")));
    daemon.define(
        "bob",
        &there(&pop3_poll("bob-old", "bob", dovecot.pop3, ("bob", "secret"), "keep_original = false")),
    );
    daemon.start();
    daemon.ctl(&["poll", "bob-old"]).code(1).says("messages cannot wait in");
    daemon.ctl(&["start", NAME]).code(0);
    let waiting = daemon.migration_in(NAME, &["retrying"], LIMIT);
    assert!(waiting["error"].as_str().unwrap().contains("messages cannot wait in"), "{waiting:#}");
    let account = daemon.account("bob-old");
    assert_eq!(
        (&account["state"], &account["consecutive_failures"]),
        (&"enabled".into(), &0.into()),
        "{account:#}"
    );
    disk.remount("size=200m");
    let home = dovecot.maildir("home-bob");
    daemon::eventually("the poll goes on by itself", LIMIT, || {
        (Tree::read(&home).count() >= 300).then_some(())
    });
    adds_up(&daemon.migration_in(NAME, &["completed"], LIMIT));
    daemon.ctl(&["disable", "bob-old"]).code(0);
    same("by IMAP", &Tree::read(source.root()).facts(), &Tree::read(&dovecot.maildir(HOME.0)).facts());
    same("by POP3", &drop.put, &Tree::read(&home).contents());
    daemon.stop();
}
