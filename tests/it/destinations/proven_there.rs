//! What a destination says of UIDs is proven before mail is removed by it: a run that is taken back leaves the member's own
//! mail, whatever UIDs the server told; and a folder that says nothing of itself costs nothing.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "this is a test")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::helpers::corpus::Corpus;
use crate::helpers::daemon::{Daemon, adds_up, eventually, imap_migrate, there};
use crate::helpers::dovecot::Dovecot;
use crate::helpers::maildir::{Tree, same};
use crate::helpers::moody::{Heard, Mood, Moody};

const LOGIN: (&str, &str) = ("alice", "secret");
const HOME: (&str, &str) = ("home-alice", "home secret");
const NAME: &str = "alice-old";
const LIMIT: Duration = Duration::from_secs(60);
/// Messages of the member, and of a run.
const OWN: usize = 12;
const COME: usize = 20;

/// What a server offers: groups, or messages sent ahead.
const SERVERS: [&str; 2] =
    ["", "imap_capability = IMAP4rev1 SASL-IR LITERAL+ UIDPLUS ENABLE IDLE NAMESPACE UNSELECT\n"];

fn homing(port: u16, source: &Dovecot) -> Daemon {
    let mut daemon = Daemon::homing(port, "login = \"home-{local}\"", HOME.1);
    daemon.more_settings("[migrations]\nconnections = 2\n");
    daemon.define("alice", &there(&imap_migrate(NAME, "alice", source.imap, LOGIN, "")));
    daemon.start();
    daemon
}

/// Every number behind that word is so much lower, and 1 at least.
fn lowered(line: &str, word: &str, by: u64) -> String {
    let Some((front, rest)) = line.split_once(word) else { return line.to_owned() };
    let (inside, behind) = rest.split_once(']').unwrap();
    let (validity, uids) = inside.trim().split_once(' ').unwrap();
    let uid = |text: &str| text.parse::<u64>().unwrap().saturating_sub(by).max(1).to_string();
    let uids = uids.split(':').map(uid).collect::<Vec<_>>().join(":");
    format!("{front}{word} {validity} {uids}]{behind}")
}

/// UIDs that older mail has.
fn of_older(line: String) -> String {
    lowered(&line, "APPENDUID", 12)
}

/// Each has the UID of the message before.
fn one_too_low(line: String) -> String {
    lowered(&line, "APPENDUID", 1)
}

/// All that comes has a UID of its own, and it is no message's.
fn far_too_high(line: String) -> String {
    let Some((front, rest)) = line.split_once("APPENDUID ") else { return line };
    let (inside, behind) = rest.split_once(']').unwrap();
    let (validity, uids) = inside.split_once(' ').unwrap();
    let uid = |text: &str| (text.parse::<u64>().unwrap() + 1000).to_string();
    let uids = uids.split(':').map(uid).collect::<Vec<_>>().join(":");
    format!("{front}APPENDUID {validity} {uids}]{behind}")
}

fn without_uidnext(line: String) -> String {
    if line.contains("[UIDNEXT") { "* OK nothing is told\r\n".to_owned() } else { line }
}

/// UIDNEXT is 1 wherever it is told.
fn begins_at_one(line: String) -> String {
    let Some((front, rest)) = line.split_once("UIDNEXT ") else { return line };
    format!("{front}UIDNEXT 1{}", rest.trim_start_matches(|c: char| c.is_ascii_digit()))
}

/// UIDNEXT is far above what comes.
fn begins_far_above(line: String) -> String {
    let Some((front, rest)) = line.split_once("UIDNEXT ") else { return line };
    format!("{front}UIDNEXT 9000{}", rest.trim_start_matches(|c: char| c.is_ascii_digit()))
}

fn as_it_is(line: String) -> String {
    line
}

type Lie = fn(String) -> String;

/// A run brings an inbox and cannot bring what follows; it is cancelled then. `arrives`: the member gets mail meanwhile.
fn taken_back(what: &str, server: &str, (uids, next): (Lie, Lie), arrives: bool) {
    let source = Dovecot::start(&[LOGIN]);
    let mut corpus = Corpus::at(&source.maildir(LOGIN.0));
    corpus.add("", COME);
    corpus.directory(".Zuletzt");
    corpus.add(".Zuletzt", 2);
    let home = Arc::new(Dovecot::start_with(&[HOME], server));
    Corpus::at(&home.maildir(HOME.0)).from(500).add("", OWN);
    home.settle();
    let hangs = Arc::new(AtomicBool::new(true));
    let (post, still, has_come) = (Arc::clone(&home), Arc::clone(&hangs), AtomicBool::new(!arrives));
    let wire = Moody::before(home.imap, usize::MAX, move |heard: &Heard<'_>| {
        while heard.is("SELECT ") && heard.words.contains("Zuletzt") && still.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(20));
        }
        if heard.is("APPEND ") && !has_come.swap(true, Ordering::SeqCst) {
            post.deliver(HOME.0, b"From: friend@example.org\r\nSubject: lunch\r\n\r\nToday?\r\n");
        }
        match heard.words.split(' ').next() {
            Some("APPEND") => Mood::Tells(uids),
            Some("SELECT" | "STATUS") => Mood::Tells(next),
            _ => Mood::Good,
        }
    });
    let mut daemon = homing(wire.port, &source);
    daemon.ctl(&["start", NAME]).code(0);
    let inbox = || Tree::read(&home.maildir(HOME.0)).folders.get("").map_or(0, Vec::len);
    let all = OWN + COME + usize::from(arrives);
    eventually("the inbox comes", LIMIT, || (inbox() == all).then_some(()));
    eventually("it is recorded", LIMIT, || (daemon.migration(NAME)["messages_done"] == COME).then_some(()));
    assert_eq!(inbox(), all, "{what}: nothing comes twice");
    hangs.store(false, Ordering::SeqCst);
    daemon.ctl_within(LIMIT, &["cancel", NAME]).code(0);
    let ended = daemon.migration_in(NAME, &["cancelled"], LIMIT);
    let tree = Tree::read(&home.maildir(HOME.0));
    let here: Vec<&String> = tree.folders[""].iter().map(|message| &message.sha).collect();
    let come = Tree::read(corpus.root());
    let of_the_run = come.folders[""].iter().filter(|message| here.contains(&&message.sha)).count();
    assert_eq!(
        (here.len(), of_the_run),
        (OWN + usize::from(arrives), 0),
        "{what}, {server}: {ended:#}\n{}",
        daemon.log_tail(20)
    );
    daemon.stop();
}

#[test]
fn the_members_own_mail_stays_whatever_uids_are_told() {
    for server in SERVERS {
        taken_back("older UIDs", server, (of_older, as_it_is), false);
        taken_back("older UIDs, no UIDNEXT", server, (of_older, without_uidnext), false);
        taken_back("older UIDs, UIDNEXT 1", server, (of_older, begins_at_one), false);
        taken_back("UIDs of nobody", server, (far_too_high, as_it_is), false);
    }
}

#[test]
fn mail_that_arrives_meanwhile_stays() {
    for server in SERVERS {
        taken_back("the UID before", server, (one_too_low, as_it_is), true);
        taken_back("the UID before, UIDNEXT 1", server, (one_too_low, begins_at_one), true);
        taken_back("true UIDs", server, (as_it_is, as_it_is), true);
    }
}

/// A UIDNEXT that is too high is no reason to send anything twice.
#[test]
fn what_comes_below_uidnext_is_found() {
    for server in SERVERS {
        let source = Dovecot::start(&[LOGIN]);
        Corpus::at(&source.maildir(LOGIN.0)).add("", COME);
        let home = Dovecot::start_with(&[HOME], server);
        Corpus::at(&home.maildir(HOME.0)).from(500).add("", OWN);
        let wire = Moody::before(home.imap, usize::MAX, |heard| match heard.words.split(' ').next() {
            Some("SELECT" | "STATUS") => Mood::Tells(begins_far_above),
            _ => Mood::Good,
        });
        let mut daemon = homing(wire.port, &source);
        let said = daemon.ctl_within(LIMIT, &["start", NAME, "--wait"]).code(0);
        assert_eq!(Tree::read(&home.maildir(HOME.0)).count(), OWN + COME, "{said:?}");
        daemon.stop();
    }
}

/// One folder of the destination costs the connection, or says nothing, when it is asked how it stands.
#[test]
fn a_folder_that_does_not_say_how_it_stands_costs_nothing() {
    for silent in [false, true] {
        let source = Dovecot::start(&[LOGIN]);
        let mut corpus = Corpus::at(&source.maildir(LOGIN.0));
        let home = Dovecot::start(&[HOME]);
        corpus.add("", 9);
        for name in [".Auto", ".Kaputt", ".Zug"] {
            corpus.directory(name);
            corpus.add(name, 3);
            Corpus::at(&home.maildir(HOME.0)).directory(name);
        }
        let all = Tree::read(corpus.root()).facts();
        let wire = Moody::before(home.imap, usize::MAX, move |heard| {
            match heard.is("STATUS ") && heard.words.contains("Kaputt") {
                true if silent => Mood::Hangs,
                true => Mood::Reset,
                false => Mood::Good,
            }
        });
        let mut daemon = homing(wire.port, &source);
        let began = Instant::now();
        let said = daemon.ctl_within(2 * LIMIT, &["start", NAME, "--wait"]).code(0);
        let done = daemon.migration(NAME);
        adds_up(&done);
        assert_eq!((&done["state"], &done["messages_done"]), (&"completed".into(), &18.into()), "{said:?}");
        same("all is there", &all, &Tree::read(&home.maildir(HOME.0)).facts());
        assert!(wire.connections() <= 20 && began.elapsed() < 2 * LIMIT, "{}", wire.connections());
        daemon.stop();
    }
}
