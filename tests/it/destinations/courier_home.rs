//! A real Courier: everything below `INBOX.` with dots between levels, a name of its own for each message over POP3,
//! no literals without waiting, and a quota in the Maildir. As a source over IMAP and POP3, and as the destination.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stderr, reason = "this is a test")]

use crate::helpers::corpus;
use crate::helpers::maildir;
use std::fs;
use std::thread::sleep;
use std::time::Duration;

use crate::helpers::corpus::{Corpus, Marks};
use crate::helpers::courier::Courier;
use crate::helpers::daemon::{Daemon, adds_up, eventually, imap_migrate, pop3_poll, seed, there};
use crate::helpers::dovecot::Dovecot;
use crate::helpers::leaky::Leaky;
use crate::helpers::maildir::{Tree, count, same};
use crate::helpers::view::{View, places};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const LOGIN: (&str, &str) = ("alice", "secret");
const HOME: (&str, &str) = ("home-alice", "home secret");
const NAME: &str = "alice-old";
const OWN: &str = "login = \"home-{local}\"";

/// A message as Courier keeps it: carriage returns only before line feeds, and an end of the last line.
fn kept(message: &[u8]) -> Vec<u8> {
    let mut kept: Vec<u8> = message.iter().copied().filter(|octet| *octet != b'\r').collect();
    if !kept.ends_with(b"\n") {
        kept.push(b'\n');
    }
    kept
}

/// What Courier makes of a tree: other octets, and of the one name of the corpus that it cannot read. How many
/// messages it changes.
fn at_courier(tree: &Tree) -> (Vec<String>, usize) {
    let (mut facts, mut changed) = (Vec::new(), 0);
    for ((_, message), fact) in tree.messages().zip(tree.facts()) {
        let sha = maildir::sha(&kept(&fs::read(&message.path).unwrap()));
        changed += usize::from(sha != message.sha);
        facts.push(fact.replace(&message.sha, &sha).replace(".&2D3c7A-", "._"));
    }
    (facts, changed)
}

/// `verify` finds nothing.
#[track_caller]
fn verified(daemon: &Daemon, name: &str, messages: usize) {
    let answer = daemon.ctl(&["--json", "verify", name, "--bodies"]);
    assert_eq!(answer.code, 0, "{answer:?}");
    assert_eq!(answer.json()["alike"], messages, "{answer:?}");
}

#[test]
fn there_and_back() {
    let courier = Courier::start(&[HOME]);
    let dovecot = Dovecot::start(&[LOGIN]);
    let mut source = Corpus::at(&dovecot.maildir("alice"));
    source.fill(600);
    let mut daemon = Daemon::homing(courier.imap, OWN, HOME.1);
    daemon.define("there", &there(&imap_migrate(NAME, "alice", dovecot.imap, LOGIN, "")));
    daemon.define("back", &imap_migrate("back", "alice", courier.imap, HOME, ""));
    daemon.start();
    let done = daemon.migrate(NAME);
    let from = Tree::read(source.root());
    let shown = daemon.show(NAME);
    assert_eq!(done["messages_done"], source.put.len(), "{done:#}\n{:#}", shown["skipped"]);
    let mut view = View::open(courier.imap, "", HOME);
    let to = view.tree();
    let (expected, changed) = at_courier(&from);
    same("folders, octets, flags, keywords and dates", &expected, &to.facts());
    let names = |tree: &Tree| tree.subscriptions.iter().cloned().collect::<Vec<_>>();
    let subscribed: Vec<String> = names(&from).iter().map(|name| name.replace(".&2D3c7A-", "._")).collect();
    same("subscriptions", &subscribed, &names(&to));
    let shown = daemon.ctl(&["show", NAME]).code(0).out;
    let told = shown.lines().filter_map(|line| line.split_once(" messages were changed by the destination"));
    let told: usize = told.map(|(line, _)| line.rsplit(' ').next().unwrap().parse::<usize>().unwrap()).sum();
    assert!(changed > 5 && told == changed, "{told} of {changed}: {shown}");
    daemon.migrate(NAME);
    same("after a further run", &places(&to), &places(&view.tree()));

    let done = daemon.migrate("back");
    assert_eq!(done["messages_done"], source.put.len(), "{done:#}");
    same("there and back", &expected, &Tree::read(&daemon.maildir("alice")).facts());
    verified(&daemon, "back", source.put.len());
    daemon.stop();
    // A daemon that knows nothing recognises them all the same.
    fs::remove_dir_all(daemon.path().join("state")).unwrap();
    daemon.start();
    daemon.migrate(NAME);
    same("not again", &places(&to), &places(&view.tree()));
    daemon.stop();
}

#[test]
fn kills() {
    let dovecot = Dovecot::start(&[LOGIN]);
    let courier = Courier::start(&[HOME]);
    let mut source = Corpus::at(&dovecot.maildir("alice"));
    source.fill(900);
    let leaky = Leaky::start(courier.imap, 9);
    let mut daemon = Daemon::homing(leaky.port, OWN, HOME.1);
    daemon.define("alice", &there(&imap_migrate(NAME, "alice", dovecot.imap, LOGIN, "")));
    let mut random = StdRng::seed_from_u64(seed("to Courier"));
    let kills = std::env::var("MAILHAUL_KILLS").map_or(4, |text| text.parse().unwrap());
    for _ in 0..kills {
        source.add(".Sent", 60);
        daemon.start();
        daemon.ctl(&["start", NAME]);
        sleep(Duration::from_millis(random.random_range(50..1500)));
        daemon.kill();
    }
    daemon.start();
    daemon.ctl(&["start", NAME]);
    daemon.migration_in(NAME, &["completed"], Duration::from_secs(300));
    adds_up(&daemon.migrate(NAME));
    eprintln!("to Courier: {kills} kills, {} answers lost, {} messages", leaky.lost(), source.put.len());
    assert!(leaky.lost() > 0, "no answer was lost");
    let there = View::open(courier.imap, "", HOME).tree();
    same("nothing lost, nothing twice", &at_courier(&Tree::read(source.root())).0, &there.facts());
    daemon.stop();
}

/// A mailbox as it grew at Courier, with names on disk as Courier has them since 5.0.
#[test]
fn as_a_source() {
    let courier = Courier::start(&[LOGIN]);
    let mut source = Corpus::at(&courier.maildir("alice"));
    let folders =
        ["", ".Sent", ".Trash", ".Entwürfe", ".받은편지함", ".R&D", ".Kunden.Müller & Söhne.2024", ".a'b(c)"];
    let marks = ["", "S", "RS", "FS", "DS", "ST"];
    let mut put = 0;
    for n in 0..400 {
        let message = corpus::message(n);
        if message == kept(&message) {
            let folder = folders[n % folders.len()];
            source.directory(folder);
            let new = n % 7 == 3;
            let flags = if new { "" } else { marks[n % marks.len()] };
            source.put(folder, n, &message, &Marks { flags, keywords: &[], new });
            put += 1;
        }
    }
    let mut view = View::open(courier.imap, "", LOGIN);
    for folder in ["INBOX", "INBOX.Sent", "INBOX.&vBvHQNO4ycDVaA-"] {
        view.try_ask(&format!("SELECT \"{folder}\"")).unwrap_or_default();
        view.try_ask("STORE 1:5 +FLAGS (Projekt-A $Forwarded)").ok();
        view.ask(&format!("SUBSCRIBE \"{folder}\""));
    }
    let mut daemon = Daemon::new("");
    daemon.define("alice", &imap_migrate(NAME, "alice", courier.imap, LOGIN, ""));
    daemon.start();
    daemon.ctl(&["check", NAME]).code(0);
    let done = daemon.migrate(NAME);
    assert_eq!(done["messages_done"], put, "{done:#}\n{:#}", daemon.show(NAME)["skipped"]);
    let from = view.tree();
    assert!(from.messages().any(|(_, message)| message.keywords.len() == 2));
    let home = daemon.maildir("alice");
    let here = Tree::read(&home);
    same("octets", &source.put, &here.contents());
    same("folders, octets, flags, keywords and dates", &from.facts(), &here.facts());
    assert_eq!(from.names(), here.names());
    assert_eq!(from.subscriptions, here.subscriptions);
    verified(&daemon, NAME, put);
    let files = Tree::files(&home);
    daemon.migrate(NAME);
    same("after a further run", &files, &Tree::files(&home));

    // New mail, new flags and a new folder until the day of the move.
    source.put(".Entwürfe", 5000, &corpus::message(500), &Marks::default());
    source.directory(".Neu");
    source.put(".Neu", 5001, &corpus::message(501), &Marks { new: true, ..Marks::default() });
    view.ask("SELECT INBOX.Sent");
    view.ask("STORE 1:3 +FLAGS.SILENT (\\Flagged)");
    daemon.ctl(&["start", NAME, "--delta", "--wait"]).code(0);
    let done = daemon.migration(NAME);
    assert_eq!(done["messages_imported"], 2, "{done:#}");
    same("after a delta", &view.tree().facts(), &Tree::read(&home).facts());
    verified(&daemon, NAME, put + 2);
    daemon.stop();
}

/// Courier cannot list such a folder to who does not speak UTF8=ACCEPT, and hangs up.
#[test]
fn a_name_that_it_cannot_tell() {
    let courier = Courier::start(&[LOGIN]);
    let mut source = Corpus::at(&courier.maildir("alice"));
    source.add("", 3);
    source.directory(".📬");
    let mut daemon = Daemon::new("");
    daemon.define("alice", &imap_migrate(NAME, "alice", courier.imap, LOGIN, ""));
    daemon.start();
    daemon.ctl(&["check", NAME]).code(1).says("has a character above U+FFFF");
    fs::rename(source.root().join(".📬"), source.root().join(".Post")).unwrap();
    daemon.ctl(&["check", NAME]).code(0);
    assert_eq!(daemon.migrate(NAME)["messages_done"], 3);
    assert!(Tree::read(&daemon.maildir("alice")).names().contains(".Post"));
    daemon.stop();
}

#[test]
fn polled_and_kept_or_deleted() {
    for keep in [true, false] {
        let courier = Courier::start(&[LOGIN]);
        let mut source = Corpus::at(&courier.maildir("alice"));
        (0..120).for_each(|_| drop(source.deliver("")));
        let mut daemon = Daemon::new("[polling]\ninterval = \"24h\"\n");
        let poll = format!("keep_original = {keep}\nmailbox = \"INBOX/Old\"");
        daemon.define("alice", &pop3_poll(NAME, "alice", courier.pop3, LOGIN, &poll));
        daemon.start();
        assert_eq!(daemon.poll(NAME)["imported"], 120);
        // It deletes after it has said that it did.
        let left = |source: &Corpus, expected| {
            let there = || (count(source.root()) == expected).then_some(());
            eventually("what is kept is left", Duration::from_secs(20), there);
        };
        left(&source, if keep { 120 } else { 0 });
        assert_eq!(daemon.poll(NAME)["imported"], 0);
        source.deliver("");
        assert_eq!(daemon.poll(NAME)["imported"], 1);
        left(&source, if keep { 121 } else { 0 });
        same("octets", &source.put, &Tree::read(&daemon.maildir("alice")).contents());
        daemon.stop();
    }
}
