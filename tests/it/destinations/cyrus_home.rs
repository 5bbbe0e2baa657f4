//! A real Cyrus as the destination, and as a source: separators, namespaces, names that it refuses, special use,
//! flags, keywords, dates and octets; nothing twice, kills, and everything as it was after a rollback.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stderr, reason = "this is a test")]

use crate::helpers::maildir;
use std::thread::sleep;
use std::time::Duration;

use crate::helpers::corpus::Corpus;
use crate::helpers::cyrus::{Cyrus, MIGRATOR, NETNEWS, UNIX};
use crate::helpers::daemon::{Daemon, adds_up, eventually, imap_migrate, seed, there};
use crate::helpers::dovecot::Dovecot;
use crate::helpers::leaky::Leaky;
use crate::helpers::maildir::{Tree, same};
use crate::helpers::view::{View, places};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const LOGIN: (&str, &str) = ("alice", "secret");
const HOME: (&str, &str) = ("home-alice", "home secret");
const NAME: &str = "alice-old";
const ACTING: &str = "login = \"migrator\"\nauthorize_as = \"home-{local}\"";

/// Facts with the one name of the corpus that Cyrus refuses as it is there.
fn at_cyrus(facts: &[String]) -> Vec<String> {
    facts.iter().map(|fact| fact.replace("(c){d}%e*f", "(c)_d__e*f")).collect()
}

/// Octets are kept; what Cyrus does without this, [`octets_that_it_replaces`] shows.
fn keeping(namespace: &str) -> String {
    format!("{namespace}munge8bit: no\n")
}

fn home(cyrus: &Cyrus) -> View {
    View::open(cyrus.port, "", HOME)
}

/// Everything, then nothing, then what is new; and cancelled on the way.
fn both_ways(namespace: &str) {
    let dovecot = Dovecot::start(&[LOGIN]);
    let cyrus = Cyrus::start(&[HOME], &keeping(namespace));
    let mut source = Corpus::at(&dovecot.maildir("alice"));
    source.fill(600);
    let mut daemon = Daemon::homing(cyrus.port, ACTING, MIGRATOR.1);
    daemon.define("alice", &there(&imap_migrate(NAME, "alice", dovecot.imap, LOGIN, "")));
    daemon.start();
    let done = daemon.migrate(NAME);
    let from = Tree::read(source.root());
    let shown = daemon.show(NAME);
    assert_eq!(done["messages_done"], source.put.len(), "{done:#}\n{:#}", shown["skipped"]);
    let mut view = home(&cyrus);
    let to = view.tree();
    same("folders, octets, flags, keywords and dates", &at_cyrus(&from.facts()), &to.facts());
    let names = |tree: &Tree| tree.subscriptions.iter().cloned().collect::<Vec<_>>();
    // Cyrus has an inbox and subscribes it by itself.
    let mut subscribed = at_cyrus(&names(&from));
    subscribed.extend((!from.subscriptions.contains("")).then(String::new));
    same("subscriptions", &subscribed, &names(&to));
    let special = view.ask("LIST \"\" \"*\" RETURN (SPECIAL-USE)");
    for special_use in ["\\Sent", "\\Trash", "\\Junk", "\\Drafts"] {
        let with = special.iter().filter(|line| line.text.contains(special_use)).count();
        assert_eq!(with, 1, "{special_use}");
    }
    let again = daemon.migrate(NAME);
    assert_eq!(again["messages_done"], source.put.len(), "{again:#}");
    same("after a further run", &places(&to), &places(&view.tree()));
    source.add("", 3);
    source.add(".Sent", 2);
    daemon.migrate(NAME);
    let delta = view.tree();
    same("with what is new", &at_cyrus(&Tree::read(source.root()).facts()), &delta.facts());
    daemon.stop();
}

#[test]
fn dots_and_everything_below_the_inbox() {
    both_ways(NETNEWS);
}

#[test]
fn slashes_and_everything_beside_the_inbox() {
    both_ways(UNIX);
}

#[test]
fn dots_beside_the_inbox() {
    both_ways("altnamespace: yes\nunixhierarchysep: no\n");
}

#[test]
fn as_a_source() {
    for namespace in [NETNEWS, UNIX] {
        let cyrus = Cyrus::start(&[HOME], &keeping(namespace));
        let dovecot = Dovecot::start(&[LOGIN]);
        let mut source = Corpus::at(&dovecot.maildir("alice"));
        source.fill(200);
        let mut daemon = Daemon::homing(cyrus.port, ACTING, MIGRATOR.1);
        daemon.define("there", &there(&imap_migrate(NAME, "alice", dovecot.imap, LOGIN, "")));
        daemon.define("back", &imap_migrate("back", "alice", cyrus.port, HOME, ""));
        daemon.start();
        daemon.migrate(NAME);
        let done = daemon.migrate("back");
        assert_eq!(done["messages_done"], source.put.len(), "{done:#}");
        let back = Tree::read(&daemon.maildir("alice"));
        same("there and back", &at_cyrus(&Tree::read(source.root()).facts()), &back.facts());
        daemon.stop();
    }
}

/// Cancelled on the way: as it was, also what the member had there before.
#[test]
fn a_rollback() {
    let dovecot = Dovecot::start(&[LOGIN]);
    let cyrus = Cyrus::start(&[HOME], &keeping(UNIX));
    let mut source = Corpus::at(&dovecot.maildir("alice"));
    source.fill(1500);
    let mut view = home(&cyrus);
    for folder in ["Sent", "Own"] {
        view.ask(&format!("CREATE {folder}"));
    }
    for (folder, n) in [("INBOX", 90_001), ("Sent", 90_002), ("Own", 90_003), ("Own", 90_004)] {
        let text = maildir::wire(format!("Subject: {n}\n\nmine\n").as_bytes());
        view.append(folder, "\\Seen", &text);
    }
    view.ask("SUBSCRIBE Own");
    let before = view.tree();
    let mut daemon = Daemon::homing(cyrus.port, ACTING, MIGRATOR.1);
    daemon.define("alice", &there(&imap_migrate(NAME, "alice", dovecot.imap, LOGIN, "")));
    daemon.start();
    let mut random = StdRng::seed_from_u64(11);
    for round in 0..3 {
        daemon.ctl(&["start", NAME]).code(0);
        let enough = random.random_range(1..1000);
        eventually("some have arrived", Duration::from_secs(120), || {
            daemon.migration(NAME)["messages_done"].as_u64().filter(|done| *done > enough)
        });
        if round == 1 {
            daemon.kill();
            daemon.start();
        }
        daemon.ctl(&["cancel", NAME]).code(0);
        daemon.migration_in(NAME, &["cancelled"], Duration::from_secs(120));
        let after = view.tree();
        same("what is there", &places(&before), &places(&after));
        assert_eq!(before.names(), after.names());
        assert_eq!(before.subscriptions, after.subscriptions);
    }
    daemon.stop();
}

#[test]
fn kills() {
    let dovecot = Dovecot::start(&[LOGIN]);
    let cyrus = Cyrus::start(&[HOME], NETNEWS);
    let mut source = Corpus::at(&dovecot.maildir("alice"));
    source.fill(1500);
    let leaky = Leaky::start(cyrus.port, 9);
    let mut daemon = Daemon::homing(leaky.port, ACTING, MIGRATOR.1);
    daemon.define("alice", &there(&imap_migrate(NAME, "alice", dovecot.imap, LOGIN, "")));
    let mut random = StdRng::seed_from_u64(seed("to Cyrus"));
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
    eprintln!("to Cyrus: {kills} kills, {} answers lost, {} messages", leaky.lost(), source.put.len());
    assert!(leaky.lost() > 0, "no answer was lost");
    let there = home(&cyrus).tree();
    same("nothing lost, nothing twice", &at_cyrus(&expected(&source)), &there.facts());
    daemon.stop();
}

/// What Cyrus makes of the corpus: an X for every octet above 127 in a header.
fn expected(source: &Corpus) -> Vec<String> {
    let tree = Tree::read(source.root());
    let replaced = |message: &maildir::Message| {
        let mut octets = maildir::wire(&std::fs::read(&message.path).unwrap());
        let end = octets.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
        octets[..end].iter_mut().filter(|octet| !octet.is_ascii()).for_each(|octet| *octet = b'X');
        maildir::sha(&octets)
    };
    let facts = tree.messages().zip(tree.facts());
    facts.map(|((_, message), fact)| fact.replace(&message.sha, &replaced(message))).collect()
}

#[test]
fn octets_that_it_replaces() {
    let dovecot = Dovecot::start(&[LOGIN]);
    let cyrus = Cyrus::start(&[HOME], UNIX);
    let mut source = Corpus::at(&dovecot.maildir("alice"));
    source.add("", 300);
    let mut daemon = Daemon::homing(cyrus.port, ACTING, MIGRATOR.1);
    daemon.define("alice", &there(&imap_migrate(NAME, "alice", dovecot.imap, LOGIN, "")));
    daemon.start();
    daemon.migrate(NAME);
    let there = home(&cyrus).tree();
    same("what Cyrus makes of it", &expected(&source), &there.facts());
    let asked = Tree::read(source.root()).contents();
    let changed =
        expected(&source).iter().filter(|fact| !asked.iter().any(|sha| fact.starts_with(sha))).count();
    let told = format!("{changed} messages were changed by the destination");
    let shown = daemon.ctl(&["show", NAME]).code(0).out;
    assert!(changed > 5 && shown.contains(&told), "{told}: {shown}");
    // A daemon that knows nothing recognises them all the same.
    daemon.stop();
    std::fs::remove_dir_all(daemon.path().join("state")).unwrap();
    daemon.start();
    daemon.migrate(NAME);
    same("not again", &places(&there), &places(&home(&cyrus).tree()));
    daemon.stop();
}
