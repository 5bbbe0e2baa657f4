//! Mailboxes at an IMAP server as the destination: a real Dovecot, through the real daemon. Every folder, flag,
//! keyword, date and octet; nothing twice after kills and lost answers, with UIDPLUS and without; everything as
//! it was after a migration was cancelled.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stderr, reason = "this is a test")]

use crate::helpers::corpus;
use std::fs;
use std::thread::sleep;
use std::time::Duration;

use crate::helpers::corpus::{Corpus, FOLDERS};
use crate::helpers::daemon::{Daemon, adds_up, eventually, imap_migrate, pop3_poll, seed, there};
use crate::helpers::dovecot::Dovecot;
use crate::helpers::leaky::Leaky;
use crate::helpers::maildir::{Tree, count, same};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const LOGIN: (&str, &str) = ("alice", "secret");
const HOME: (&str, &str) = ("home-alice", "home secret");
const NAME: &str = "alice-old";
/// Capabilities of a server that knows little.
const OLD: &str =
    "imap_capability = IMAP4rev1 SASL-IR LOGIN-REFERRALS ID ENABLE IDLE NAMESPACE LIST-EXTENDED\n";
const MASTER: &str = "auth_master_user_separator = *
passdb {
  driver = static
  master = yes
  args = user=migrator password=of-all
  result_success = continue
}
";

fn migration(dovecot: &Dovecot) -> String {
    there(&imap_migrate(NAME, "alice", dovecot.imap, LOGIN, ""))
}

#[test]
fn everything_then_nothing_then_what_is_new() {
    let dovecot = Dovecot::start(&[LOGIN, HOME]);
    let mut source = Corpus::at(&dovecot.maildir("alice"));
    source.fill(1200);
    let mut daemon = Daemon::homing(dovecot.imap, "login = \"home-{local}\"", HOME.1);
    daemon.define("alice", &migration(&dovecot));
    daemon.start();
    let done = daemon.migrate(NAME);
    adds_up(&done);
    assert_eq!(done["messages_done"], source.put.len(), "{done:#}");
    let home = dovecot.maildir(HOME.0);
    let (from, to) = (Tree::read(source.root()), Tree::read(&home));
    same("folders, octets, flags, keywords and dates", &from.facts(), &to.facts());
    assert_eq!(from.subscriptions, to.subscriptions);
    assert_eq!(done["arrived"]["here"], source.put.len(), "{done:#}");
    assert_eq!(count(&daemon.maildir("alice")), 0, "nothing came to the Maildir");
    let files = Tree::files(&home);
    let again = daemon.migrate(NAME);
    assert_eq!(again["messages_done"], source.put.len(), "{again:#}");
    same("the files after a further run", &files, &Tree::files(&home));
    source.add("", 3);
    source.add(".Sent", 2);
    daemon.migrate(NAME);
    same("with what is new", &Tree::read(source.root()).facts(), &Tree::read(&home).facts());
    daemon.stop();
}

#[test]
fn uploads_go_there_as_well() {
    let dovecot = Dovecot::start(&[LOGIN, HOME]);
    let mut source = Corpus::at(&dovecot.maildir("alice"));
    source.fill(200);
    let mut daemon = Daemon::homing(dovecot.imap, "login = \"home-{local}\"", HOME.1);
    daemon.start();
    let from = dovecot.maildir("alice");
    let words = ["--json", "upload", "--member", "alice@example.com", "--destination", "there"];
    let words: Vec<&str> = words.into_iter().chain([from.to_str().unwrap()]).collect();
    let came = daemon.ctl(&words).code(0).json();
    assert_eq!(came["imported"], source.put.len(), "{came:#}");
    let home = dovecot.maildir(HOME.0);
    let files = Tree::files(&home);
    same("what was uploaded", &Tree::read(source.root()).facts(), &Tree::read(&home).facts());
    let again = daemon.ctl(&words).code(0).json();
    assert_eq!(
        (&again["imported"], &again["already_there"]),
        (&0.into(), &source.put.len().into()),
        "{again:#}"
    );
    same("after a second upload", &files, &Tree::files(&home));
    daemon.stop();
}

/// Each ends for itself: what waits for another one stays.
#[test]
fn uploads_of_many_at_once() {
    let homes: Vec<String> = (0..6).map(|n| format!("home-u{n}")).collect();
    let logins: Vec<(&str, &str)> = homes.iter().map(|home| (home.as_str(), HOME.1)).chain([LOGIN]).collect();
    let dovecot = Dovecot::start(&logins);
    let mut source = Corpus::at(&dovecot.maildir("alice"));
    source.fill(60);
    let mut daemon = Daemon::homing(dovecot.imap, "login = \"home-{local}\"", HOME.1);
    daemon.start();
    let (from, daemon) = (dovecot.maildir("alice"), &daemon);
    std::thread::scope(|scope| {
        for n in 0..homes.len() {
            let from = from.to_str().unwrap();
            scope.spawn(move || {
                let member = format!("u{n}@example.com");
                daemon.ctl(&["upload", "--member", &member, "--destination", "there", from]).code(0);
            });
        }
    });
    let facts = Tree::read(source.root()).facts();
    homes.iter().for_each(|home| same(home, &facts, &Tree::read(&dovecot.maildir(home)).facts()));
}

#[test]
fn backups_from_there() {
    let dovecot = Dovecot::start(&[HOME]);
    let mut there = Corpus::at(&dovecot.maildir(HOME.0));
    there.fill(400);
    let long = [b"Subject: long\n\nFrom here\n".as_slice(), &b"0123456789abcdef\n".repeat(200_000)].concat();
    there.put(".Archive.2023", 900, &long, &corpus::Marks::default());
    let mut daemon = Daemon::homing(dovecot.imap, "login = \"home-{local}\"", HOME.1);
    daemon.start();
    let root = dovecot.maildir(HOME.0);
    let tree = Tree::read(&root);
    let backup = |format: &str, more: &[&str]| {
        let file = daemon.path().join(format);
        let words = ["--json", "backup", "--member", "alice@example.com", "--destination", "there"];
        let words = [&words, more, &["--format", format, "-o", file.to_str().unwrap()]].concat();
        (daemon.ctl(&words), file)
    };
    let upload = |member: &str, file: &std::path::Path| {
        let member = format!("{member}@example.com");
        daemon.ctl(&["upload", "--member", &member, file.to_str().unwrap()]).code(0);
    };
    for format in ["zip", "mbox", "maildir"] {
        let (answer, file) = backup(format, &[]);
        assert_eq!(answer.code(0).json()["messages"], tree.count());
        upload(format, &file);
        same(format, &tree.facts(), &Tree::read(&daemon.maildir(format)).facts());
    }
    let (answer, file) = backup("zip", &["--mailbox", "Archive/2023"]);
    assert_eq!(answer.code(0).json()["messages"], tree.folders[".Archive.2023"].len());
    upload("one", &file);
    let one = tree.clone().only(&[".Archive.2023"]);
    same("one folder", &one.facts(), &Tree::read(&daemon.maildir("one")).facts());
    backup("zip", &["--mailbox", "Nothing"]).0.code(1).says("there is no folder Nothing");
    same("nothing changed there", &tree.facts(), &Tree::read(&root).facts());
    daemon.stop();
}

#[test]
fn whoever_logs_in() {
    let dovecot = Dovecot::start_with(&[LOGIN, HOME], MASTER);
    let mut source = Corpus::at(&dovecot.maildir("alice"));
    source.fill(40);
    for login in
        ["login = \"home-{local}*migrator\"", "login = \"migrator\"\nauthorize_as = \"home-{local}\""]
    {
        let mut daemon = Daemon::homing(dovecot.imap, login, "of-all");
        daemon.define("alice", &migration(&dovecot));
        daemon.start();
        daemon.migrate(NAME);
        same(login, &source.put, &Tree::read(&dovecot.maildir(HOME.0)).contents());
        daemon.stop();
    }
    let mut daemon = Daemon::homing(dovecot.imap, "login = \"home-{local}*migrator\"", "wrong");
    daemon.define("alice", &migration(&dovecot));
    daemon.start();
    let checked = daemon.ctl(&["check", NAME]);
    assert_eq!(checked.code, 1);
    assert!(checked.err.contains("at the destination"), "{}", checked.err);
    daemon.stop();
}

#[test]
fn what_others_brought_is_not_brought_again() {
    let dovecot = Dovecot::start(&[LOGIN, HOME]);
    let mut source = Corpus::at(&dovecot.maildir("alice"));
    source.fill(300);
    let mut daemon = Daemon::homing(dovecot.imap, "login = \"home-{local}\"", HOME.1);
    daemon.define("alice", &migration(&dovecot));
    daemon.start();
    daemon.migrate(NAME);
    daemon.stop();
    let home = dovecot.maildir(HOME.0);
    let files = Tree::files(&home);
    // A daemon that knows nothing.
    fs::remove_dir_all(daemon.path().join("state")).unwrap();
    daemon.start();
    let done = daemon.migrate(NAME);
    adds_up(&done);
    assert_eq!(daemon.show(NAME)["migration"]["ledger"]["imported"], 0);
    same("the files", &files, &Tree::files(&home));
    daemon.stop();
}

#[test]
fn a_polled_account() {
    let dovecot = Dovecot::start(&[LOGIN, HOME]);
    let mut source = Corpus::at(&dovecot.maildir("alice"));
    source.add("", 120);
    let mut daemon = Daemon::homing(dovecot.imap, "login = \"home-{local}\"", HOME.1);
    let poll = "keep_original = false\nmailbox = \"INBOX/Old\"\nicon = \"old\"";
    daemon.define("alice", &there(&pop3_poll(NAME, "alice", dovecot.pop3, LOGIN, poll)));
    daemon.start();
    assert_eq!(daemon.poll(NAME)["imported"], 120);
    let home = Tree::read(&dovecot.maildir(HOME.0));
    same("octets", &source.put, &home.contents());
    assert!(home.folders[".INBOX.Old"].iter().all(|m| m.keywords.contains("icon-old")));
    assert_eq!(count(source.root()), 0);
    source.add("", 5);
    assert_eq!(daemon.poll(NAME)["imported"], 5);
    assert_eq!(Tree::read(&dovecot.maildir(HOME.0)).count(), 125);
    daemon.stop();
}

#[test]
fn what_the_server_does_not_take() {
    let more = "protocol imap {\n  mail_plugins = quota\n}\nplugin {\n  quota = count:User\n  quota_vsizes = yes\n  quota_max_mail_size = 20k\n}\n";
    let dovecot = Dovecot::start(&[LOGIN]);
    let small = Dovecot::start_with(&[HOME], more);
    let mut source = Corpus::at(&dovecot.maildir("alice"));
    source.add("", 30);
    let large = [b"Subject: x\r\n\r\n".as_slice(), &b"0123456789abcdef\r\n".repeat(2000)].concat();
    source.put("", 900, &large, &corpus::Marks::default());
    let taken: Vec<String> = source.put.clone();
    let mut daemon = Daemon::homing(small.imap, "login = \"home-{local}\"", HOME.1);
    daemon.define("alice", &migration(&dovecot));
    daemon.start();
    let done = daemon.migrate(NAME);
    adds_up(&done);
    let here = Tree::read(&small.maildir(HOME.0)).contents();
    assert_eq!(done["messages_skipped"].as_u64().unwrap() as usize, taken.len() - here.len(), "{done:#}");
    assert!(done["messages_skipped"].as_u64().unwrap() >= 1);
    let skipped = &daemon.show(NAME)["skipped"];
    assert!(skipped[0]["reason"].as_str().unwrap().contains("does not take it"), "{skipped:#}");
    daemon.stop();
}

/// Cancelled on the way: as it was, whatever was in doubt.
#[test]
fn a_rollback() {
    let dovecot = Dovecot::start(&[LOGIN]);
    let home = Dovecot::start(&[HOME]);
    let mut source = Corpus::at(&dovecot.maildir("alice"));
    source.fill(2500);
    let mut own = Corpus::at(&home.maildir(HOME.0)).from(50_000);
    for folder in ["", ".Sent", ".Own"] {
        own.add(folder, 20);
    }
    own.subscribe(&[".Own", ".Sent"]);
    let root = home.maildir(HOME.0);
    let leaky = Leaky::start(home.imap, 9);
    let mut daemon = Daemon::homing(leaky.port, "login = \"home-{local}\"", HOME.1);
    daemon.define("alice", &migration(&dovecot));
    let before = Tree::read(&root);
    daemon.start();
    let mut random = StdRng::seed_from_u64(7);
    for round in 0..6 {
        daemon.ctl(&["start", NAME]).code(0);
        let enough = before.count() + random.random_range(1..1500);
        eventually("some have arrived", Duration::from_secs(120), || (count(&root) > enough).then_some(()));
        if round % 2 == 0 {
            daemon.kill();
            daemon.start();
        }
        daemon.ctl(&["cancel", NAME]).code(0);
        if round % 3 == 0 {
            sleep(Duration::from_millis(random.random_range(0..60)));
            daemon.kill();
            daemon.start();
        }
        daemon.migration_in(NAME, &["cancelled"], Duration::from_secs(120));
        let after = Tree::read(&root);
        same("what is there", &before.facts(), &after.facts());
        assert_eq!(before.folders.keys().collect::<Vec<_>>(), after.folders.keys().collect::<Vec<_>>());
        assert_eq!(before.subscriptions, after.subscriptions);
    }
    daemon.stop();
}

fn kills() -> usize {
    std::env::var("MAILHAUL_KILLS").map_or(6, |text| text.parse().unwrap())
}

/// Kills at random moments, and every ninth answer to APPEND is lost.
fn killed(what: &str, more: &str) {
    let dovecot = Dovecot::start(&[LOGIN]);
    let home = Dovecot::start_with(&[HOME], more);
    let mut source = Corpus::at(&dovecot.maildir("alice"));
    source.fill(1500);
    let root = home.maildir(HOME.0);
    let leaky = Leaky::start(home.imap, 9);
    let mut daemon = Daemon::homing(leaky.port, "login = \"home-{local}\"", HOME.1);
    daemon.define("alice", &migration(&dovecot));
    let mut random = StdRng::seed_from_u64(seed(what));
    let (mut moved, mut last, mut round) = (0, 0, 0);
    // More of them until one came in time: when that is, the machine decides.
    while round < kills() || ((moved == 0 || leaky.lost() == 0) && round < 20 * kills()) {
        if source.put.len() < last + 500 {
            FOLDERS.iter().for_each(|folder| source.add(folder, 1000 / FOLDERS.len()));
        }
        daemon.start();
        daemon.ctl(&["start", NAME]);
        // What was in doubt at the last kill is waited for: half of the kills come after that.
        if round % 2 == 0 {
            eventually("some have come", Duration::from_secs(120), || (count(&root) > last).then_some(()));
            sleep(Duration::from_millis(random.random_range(0..400)));
        } else {
            sleep(Duration::from_millis(random.random_range(50..1500)));
        }
        daemon.kill();
        let here = count(&root);
        moved += usize::from(here > last && here < source.put.len());
        last = here;
        round += 1;
    }
    daemon.start();
    daemon.ctl(&["start", NAME]);
    daemon.migration_in(NAME, &["completed"], Duration::from_secs(300));
    daemon.migrate(NAME);
    eprintln!("{what}: {round} kills, {moved} on the way, {} answers lost, {} messages", leaky.lost(), last);
    assert!(moved > 0, "no kill came in time");
    assert!(leaky.lost() > 0, "no answer was lost");
    same(
        "folders, octets, flags, keywords and dates",
        &Tree::read(source.root()).facts(),
        &Tree::read(&root).facts(),
    );
    let files = Tree::files(&root);
    daemon.migrate(NAME);
    same("the files after a further run", &files, &Tree::files(&root));
    daemon.stop();
}

#[test]
fn kills_with_uidplus() {
    killed("to IMAP with UIDPLUS", "");
}

#[test]
fn kills_without_uidplus() {
    killed("to IMAP without UIDPLUS", OLD);
}
