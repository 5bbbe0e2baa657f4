//! Nineteen messages that a destination takes and one that it does not, for each way in which it may not: the
//! nineteen arrive, the one is named in the destination's words, the migration is completed and its exit status
//! is 1, within two minutes and twenty connections. What takes nothing at all is another matter: there it waits.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stderr, reason = "this is a test")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::helpers::corpus::{Corpus, Marks};
use crate::helpers::daemon::{Answer as Said, Daemon, adds_up, eventually, imap_migrate, seed, there};
use crate::helpers::dovecot::Dovecot;
use crate::helpers::fake_lmtp::{ALL, Answer, Command, FakeLmtp};
use crate::helpers::maildir::{Tree, same};
use crate::helpers::moody::{Heard, Mood, Moody};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;

const LOGIN: (&str, &str) = ("alice", "secret");
const HOME: (&str, &str) = ("home-alice", "home secret");
const NAME: &str = "alice-old";
const MARK: &[u8] = b"X-Unwelcome: very\r\n";
const LIMIT: Duration = Duration::from_secs(120);
const CONNECTIONS: usize = 20;
/// No literal is too long.
const ANY: usize = usize::MAX;

/// What a server offers: groups, messages sent ahead, or one after the other without UIDs.
const SERVERS: [(&str, &str); 3] = [
    ("groups", ""),
    ("ahead", "imap_capability = IMAP4rev1 SASL-IR LITERAL+ UIDPLUS ENABLE IDLE NAMESPACE\n"),
    ("plain", "imap_capability = IMAP4rev1 SASL-IR ID ENABLE IDLE NAMESPACE\n"),
];

/// A source with twenty messages, one of which is unwelcome; the facts of the others.
struct Source {
    dovecot: Dovecot,
    corpus: Corpus,
    good: Vec<String>,
}

impl Source {
    fn new(length: usize, marks: &Marks) -> Source {
        let dovecot = Dovecot::start(&[LOGIN]);
        let mut corpus = Corpus::at(&dovecot.maildir(LOGIN.0));
        corpus.add("", 10);
        let good = Tree::read(corpus.root()).facts();
        let before = good.len();
        unwelcome(&mut corpus, "", length, marks);
        let bad: Vec<String> =
            Tree::read(corpus.root()).facts().into_iter().filter(|fact| !good.contains(fact)).collect();
        corpus.add("", 9);
        let good: Vec<String> =
            Tree::read(corpus.root()).facts().into_iter().filter(|fact| !bad.contains(fact)).collect();
        assert_eq!((before, bad.len(), good.len()), (10, 1, 19));
        Source { dovecot, corpus, good }
    }
}

fn unwelcome(corpus: &mut Corpus, folder: &str, length: usize, marks: &Marks) {
    let line = b"0123456789abcdef\n";
    let head = [b"Subject: x\n".as_slice(), &MARK[..MARK.len() - 2], b"\n\n"].concat();
    corpus.put(folder, 900, &[head, line.repeat(length.div_ceil(line.len()))].concat(), marks);
}

fn homing(port: u16, source: &Dovecot) -> Daemon {
    let mut daemon = Daemon::homing(port, "login = \"home-{local}\"", HOME.1);
    daemon.more_settings("[migrations]\ngive_up_after = \"10min\"\n");
    daemon.define("alice", &there(&imap_migrate(NAME, "alice", source.imap, LOGIN, "")));
    daemon.start();
    daemon
}

fn is_bad(heard: &Heard<'_>) -> bool {
    heard.is("APPEND ") && heard.holds(MARK)
}

/// The migration is over, as it has to be.
#[track_caller]
fn nineteen_and_one(daemon: &Daemon, ended: Said, begun: Instant, words: &str) -> Value {
    let took = begun.elapsed();
    assert_eq!(ended.code, 1, "{ended:?}\n{}", daemon.log_tail(40));
    assert!(took < LIMIT, "{took:?}");
    let done = daemon.migration(NAME);
    adds_up(&done);
    assert_eq!(
        (&done["state"], &done["messages_done"], &done["messages_failed"]),
        (&"completed".into(), &19.into(), &1.into()),
        "{done:#}"
    );
    let skipped = daemon.show(NAME)["skipped"].clone();
    assert_eq!(skipped.as_array().unwrap().len(), 1, "{skipped:#}");
    assert_eq!(skipped[0]["folder"], "INBOX", "{skipped:#}");
    assert!(skipped[0]["id"].as_str().unwrap().parse::<u32>().is_ok(), "{skipped:#}");
    let reason = skipped[0]["reason"].as_str().unwrap();
    assert!(reason.contains(words), "{words}: {reason}");
    daemon.ctl(&["verify", NAME]).code(1);
    done
}

/// One way of not taking a message, at every kind of server.
fn one_is_not_taken(length: usize, longest: usize, words: &str, mood: fn() -> Mood) {
    std::thread::scope(|scope| {
        for server in SERVERS {
            scope.spawn(move || one_is_not_taken_by(server, (length, longest), words, mood));
        }
    });
}

fn one_is_not_taken_by(
    (name, capabilities): (&str, &str),
    (length, longest): (usize, usize),
    words: &str,
    mood: fn() -> Mood,
) {
    let source = Source::new(length, &Marks::default());
    let home = Dovecot::start_with(&[HOME], capabilities);
    let wire =
        Moody::before(home.imap, longest, move |heard| if is_bad(heard) { mood() } else { Mood::Good });
    let mut daemon = homing(wire.port, &source.dovecot);
    let begun = Instant::now();
    let ended = daemon.ctl_within(LIMIT, &["start", NAME, "--wait"]);
    let connections = wire.connections();
    nineteen_and_one(&daemon, ended, begun, words);
    eprintln!("{name}, {words:?}: {:?}, {connections} connections", begun.elapsed());
    assert!(connections <= CONNECTIONS, "{name}: {connections}");
    same("the others", &source.good, &Tree::read(&home.maildir(HOME.0)).facts());
    daemon.stop();
}

#[test]
fn refused_as_temporary_for_ever() {
    one_is_not_taken(2000, ANY, "Temporary unavailable", || {
        Mood::Says("NO Temporary unavailable".to_owned())
    });
}

#[test]
fn refused_as_a_bug_of_the_server() {
    one_is_not_taken(2000, ANY, "[SERVERBUG] Internal error", || {
        Mood::Says("NO [SERVERBUG] Internal error occurred".to_owned())
    });
}

#[test]
fn refused_in_words_that_nobody_knows() {
    one_is_not_taken(2000, ANY, "qwertz", || Mood::Says("BAD qwertz".to_owned()));
}

#[test]
fn the_connection_ends_over_it() {
    one_is_not_taken(2000, ANY, "the connection broke", || Mood::Reset);
}

#[test]
fn the_connection_ends_over_a_large_one() {
    one_is_not_taken(1_500_000, 1_000_000, "the connection broke", || Mood::Good);
}

/// Words, and what they are said to: a refusal of one message with flags that the others have, too.
#[test]
fn its_flags_are_refused() {
    let marks = Marks { flags: "FS", ..Marks::default() };
    for (name, capabilities) in SERVERS {
        let source = Source::new(2000, &marks);
        let home = Dovecot::start_with(&[HOME], capabilities);
        let bad = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&bad);
        // Its APPEND with flags is refused, and each STORE to it: it is known by its UID then.
        let wire = Moody::before(home.imap, ANY, move |heard| {
            let flagged = heard.words.contains("(\\") || heard.literals.len() > 1;
            if is_bad(heard) && flagged {
                return Mood::Says("NO not these flags".to_owned());
            }
            if is_bad(heard) {
                seen.store(1, Ordering::SeqCst);
            }
            let stores = heard.is("UID STORE ") && seen.load(Ordering::SeqCst) == 1;
            if stores { Mood::Says("NO [CANNOT] not these flags".to_owned()) } else { Mood::Good }
        });
        let mut daemon = homing(wire.port, &source.dovecot);
        let begun = Instant::now();
        let ended = daemon.ctl_within(LIMIT, &["start", NAME, "--wait"]);
        assert_eq!(ended.code, 1, "{name}: {ended:?}\n{}", daemon.log_tail(40));
        assert!(ended.err.contains("1 message came without flags"), "{name}: {ended:?}");
        let done = daemon.migration(NAME);
        assert_eq!((&done["state"], &done["messages_done"]), (&"completed".into(), &20.into()), "{done:#}");
        let skipped = daemon.show(NAME)["skipped"].clone();
        let reason = skipped[0]["reason"].as_str().unwrap_or_default();
        assert!(reason.contains("it came without") && reason.contains("not these flags"), "{skipped:#}");
        let here = Tree::read(&home.maildir(HOME.0)).facts();
        let others: Vec<String> = here.iter().filter(|fact| source.good.contains(fact)).cloned().collect();
        same("the others", &source.good, &others);
        assert_eq!(here.len(), 20, "{name}: it came, too");
        assert!(wire.connections() <= CONNECTIONS && begun.elapsed() < LIMIT, "{}", wire.connections());
        daemon.stop();
    }
}

/// A flag that the destination refuses for all: the messages come without, and that is told.
#[test]
fn a_system_flag_is_refused_for_all() {
    for (name, capabilities) in SERVERS {
        let dovecot = Dovecot::start(&[LOGIN]);
        let home = Dovecot::start_with(&[HOME], capabilities);
        let mut corpus = Corpus::at(&dovecot.maildir(LOGIN.0));
        corpus.add("", 40);
        let wire = Moody::before(home.imap, ANY, |heard| {
            let asks = heard.is("APPEND ") || heard.is("UID STORE ");
            let deletes = heard.words.contains("\\Deleted") || heard.literals.len() > 1;
            if asks && deletes { Mood::Says("NO [CANNOT] not here".to_owned()) } else { Mood::Good }
        });
        let mut daemon = homing(wire.port, &dovecot);
        let done = daemon.migrate(NAME);
        assert_eq!((&done["messages_done"], &done["messages_failed"]), (&40.into(), &0.into()), "{done:#}");
        let (from, to) = (Tree::read(corpus.root()), Tree::read(&home.maildir(HOME.0)));
        same(name, &from.contents(), &to.contents());
        let shown = daemon.show(NAME).to_string();
        assert!(shown.contains("flags or keywords that do not fit"), "{shown}");
        daemon.stop();
    }
}

/// A folder that never opens, or costs the connection each time, among others.
#[test]
fn a_folder_that_does_not_open() {
    for (words, told) in [
        (Some("NO [SERVERBUG] Internal error"), "[SERVERBUG] Internal error"),
        (Some("NO [UNAVAILABLE] not now"), "[UNAVAILABLE] not now"),
        (None, "closed the connection"),
    ] {
        let source = Source::new(2000, &Marks::default());
        let mut corpus = source.corpus;
        corpus.directory(".Work");
        unwelcome(&mut corpus, ".Work", 3000, &Marks::default());
        let home = Dovecot::start(&[HOME]);
        let wire = Moody::before(home.imap, ANY, move |heard| {
            let opens =
                ["SELECT ", "CREATE "].iter().any(|verb| heard.is(verb)) && heard.words.contains("Work");
            match words {
                Some(words) if opens => Mood::Says(words.to_owned()),
                None if opens => Mood::Reset,
                _ => Mood::Good,
            }
        });
        let mut daemon = homing(wire.port, &source.dovecot);
        let begun = Instant::now();
        let ended = daemon.ctl_within(LIMIT, &["start", NAME, "--wait"]);
        assert_eq!(ended.code, 1, "{ended:?}\n{}", daemon.log_tail(40));
        let done = daemon.migration(NAME);
        assert_eq!((&done["messages_done"], &done["messages_failed"]), (&20.into(), &1.into()), "{done:#}");
        let skipped = daemon.show(NAME)["skipped"].clone();
        assert_eq!(skipped[0]["folder"], "Work", "{skipped:#}");
        assert!(skipped[0]["reason"].as_str().unwrap().contains(told), "{skipped:#}");
        assert!(wire.connections() <= CONNECTIONS && begun.elapsed() < LIMIT, "{}", wire.connections());
        daemon.stop();
    }
}

/// Whoever refuses everything for a while is waited for, from the beginning or in the middle.
#[test]
fn what_takes_nothing_is_waited_for() {
    for first in [0, 9] {
        let source = Source::new(2000, &Marks::default());
        let home = Dovecot::start_with(&[HOME], SERVERS[1].1);
        let (stored, unwell) = (AtomicUsize::new(0), Arc::new(AtomicBool::new(true)));
        let is_unwell = Arc::clone(&unwell);
        let wire = Moody::before(home.imap, ANY, move |heard| {
            let unwell = is_unwell.load(Ordering::SeqCst) && heard.is("APPEND ");
            if unwell && stored.fetch_add(1, Ordering::SeqCst) >= first {
                return Mood::Says("NO Temporary unavailable".to_owned());
            }
            Mood::Good
        });
        let mut daemon = homing(wire.port, &source.dovecot);
        daemon.ctl(&["start", NAME]).code(0);
        let waiting = daemon.migration_in(NAME, &["retrying"], LIMIT);
        assert!(waiting["error"].as_str().unwrap().contains("Temporary unavailable"), "{waiting:#}");
        assert_eq!(waiting["messages_done"], first, "what is here is told: {waiting:#}");
        unwell.store(false, Ordering::SeqCst);
        let done = daemon.migration_in(NAME, &["completed"], LIMIT);
        assert_eq!((&done["messages_done"], &done["messages_failed"]), (&20.into(), &0.into()), "{done:#}");
        assert_eq!(daemon.show(NAME)["skipped"].as_array().unwrap().len(), 0, "nobody is to blame");
        daemon.stop();
    }
}

/// What was found out about a message outlives the daemon.
#[test]
fn a_restart_in_the_middle() {
    let source = Source::new(2000, &Marks::default());
    let home = Dovecot::start_with(&[HOME], SERVERS[1].1);
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let wire = Moody::before(home.imap, ANY, move |heard| {
        if is_bad(heard) {
            count.fetch_add(1, Ordering::SeqCst);
            return Mood::Says("NO Temporary unavailable".to_owned());
        }
        Mood::Good
    });
    let mut daemon = homing(wire.port, &source.dovecot);
    let begun = Instant::now();
    daemon.ctl(&["start", NAME]).code(0);
    for asks in 1..=3 {
        eventually("it is asked for", LIMIT, || (asked.load(Ordering::SeqCst) >= asks).then_some(()));
        if asks < 3 {
            daemon.kill();
            daemon.start();
        }
    }
    let done = daemon.migration_in(NAME, &["completed"], LIMIT);
    assert_eq!((&done["messages_done"], &done["messages_failed"]), (&19.into(), &1.into()), "{done:#}");
    let asked = asked.load(Ordering::SeqCst);
    assert!((3..=7).contains(&asked), "strikes are kept: asked for {asked} times");
    assert!(begun.elapsed() < LIMIT);
    same("the others, once", &source.good, &Tree::read(&home.maildir(HOME.0)).facts());
    daemon.stop();
}

/// What is announced and fails is done in the next simpler way, and told once.
#[test]
fn groups_that_fail_are_left_out_at_that_host() {
    let source = Source::new(2000, &Marks::default());
    let mut corpus = source.corpus;
    let home = Dovecot::start(&[HOME]);
    let groups = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&groups);
    let wire = Moody::before(home.imap, ANY, move |heard| {
        if heard.is("APPEND ") && heard.literals.len() > 1 {
            count.fetch_add(1, Ordering::SeqCst);
            return Mood::Says("BAD Invalid arguments".to_owned());
        }
        Mood::Good
    });
    let mut daemon = homing(wire.port, &source.dovecot);
    daemon.migrate(NAME);
    let once = groups.load(Ordering::SeqCst);
    assert!(once > 0);
    corpus.add("", 30);
    daemon.migrate(NAME);
    assert_eq!(groups.load(Ordering::SeqCst), once, "it is remembered");
    assert_eq!(daemon.log().matches("announces MULTIAPPEND and fails at it").count(), 1);
    same("everything", &Tree::read(corpus.root()).facts(), &Tree::read(&home.maildir(HOME.0)).facts());
    daemon.stop();
}

/// Literals that the server announces to take at once, and does not.
#[test]
fn literals_that_are_not_taken_at_once() {
    let source = Source::new(2000, &Marks::default());
    let home = Dovecot::start_with(&[HOME], SERVERS[1].1);
    let wire = Moody::before(home.imap, ANY, |heard| {
        let ahead = heard.is("APPEND ") && heard.words.ends_with("+}");
        if ahead { Mood::Says("BAD Missing literal".to_owned()) } else { Mood::Good }
    });
    let mut daemon = homing(wire.port, &source.dovecot);
    daemon.migrate(NAME);
    assert_eq!(daemon.log().matches("announces LITERAL+ and fails at it").count(), 1);
    same("all", &Tree::read(source.corpus.root()).facts(), &Tree::read(&home.maildir(HOME.0)).facts());
    daemon.stop();
}

/// Whatever a server refuses of a batch, and however: what it takes is there once, and the rest is named.
#[test]
fn random_refusals_over_a_batch() {
    let mut random = StdRng::seed_from_u64(seed("refusals"));
    let rounds = std::env::var("MAILHAUL_ROUNDS").map_or(6, |text| text.parse().unwrap());
    for round in 0..rounds {
        let dovecot = Dovecot::start(&[LOGIN]);
        let home = Dovecot::start_with(&[HOME], SERVERS[random.random_range(0..3)].1);
        let mut corpus = Corpus::at(&dovecot.maildir(LOGIN.0));
        let count = random.random_range(10..60);
        corpus.add("", count);
        let bad: Vec<String> = (0..count)
            .filter(|_| random.random_range(0..12) == 0)
            .map(|number| format!("X-Variant: {number}\r\n"))
            .take(4)
            .collect();
        let mood = random.random_range(0..4);
        // Some lose an answer of a good one, too.
        let lost = AtomicUsize::new(random.random_range(0..40));
        let refused = bad.clone();
        let wire = Moody::before(home.imap, ANY, move |heard| {
            if heard.is("APPEND ") && refused.iter().any(|line| heard.holds(line.as_bytes())) {
                return match mood {
                    0 => Mood::Says("NO Temporary unavailable".to_owned()),
                    1 => Mood::Says("NO [SERVERBUG] oops".to_owned()),
                    2 => Mood::Says("BAD whatever".to_owned()),
                    _ => Mood::Reset,
                };
            }
            let now = heard.is("APPEND ") && lost.fetch_sub(1, Ordering::SeqCst) == 1;
            if now { Mood::Forgets } else { Mood::Good }
        });
        let mut daemon = homing(wire.port, &dovecot);
        let ended = daemon.ctl_within(Duration::from_secs(300), &["start", NAME, "--wait"]);
        let what = format!("round {round}: {count} messages, mood {mood}, {bad:?}");
        let done = daemon.migration(NAME);
        assert_eq!(done["state"], "completed", "{what}: {ended:?}\n{}", daemon.log_tail(30));
        assert_eq!(ended.code, i32::from(!bad.is_empty()), "{what}: {ended:?}");
        assert_eq!(done["messages_failed"], bad.len(), "{what}: {done:#}");
        let here = Tree::read(&home.maildir(HOME.0)).facts();
        let mut there = Tree::read(corpus.root()).facts();
        assert_eq!(here.len() + bad.len(), there.len(), "{what}");
        there.retain(|fact| here.contains(fact));
        same(&what, &there, &here);
        assert_eq!(daemon.show(NAME)["skipped"].as_array().unwrap().len(), bad.len(), "{what}");
        daemon.stop();
    }
}

fn to_lmtp(source: &Dovecot, port: u16) -> Daemon {
    let mut daemon = Daemon::new(&format!(
        "[migrations]\non_failure = \"keep\"\n[destination.there.lmtp]\nhost = \"127.0.0.1\"\nport = {port}\n"
    ));
    daemon.define("alice", &there(&imap_migrate(NAME, "alice", source.imap, LOGIN, "")));
    daemon.start();
    daemon
}

/// By LMTP, each way in which a message may not be taken.
#[test]
fn by_lmtp() {
    type Habit = fn(&mut Answer);
    let habits: [(&str, Habit); 4] = [
        ("451 4.3.0 later", |answer| answer.only("451 4.3.0 later")),
        ("451 qwertz", |answer| answer.only("451 qwertz")),
        ("554 5.6.0 never", |answer| answer.only("554 5.6.0 never")),
        ("the connection to the LMTP server broke", |answer| answer.lose()),
    ];
    for (words, habit) in habits {
        let source = Source::new(2000, &Marks::default());
        let lmtp = FakeLmtp::start(ALL, move |command: &Command, answer: &mut Answer| {
            let bad = command.body.windows(MARK.len()).any(|part| part == MARK);
            if command.name == "MESSAGE" && bad {
                answer.taken = false;
                habit(answer);
                if answer.octets.is_empty() {
                    answer.taken = false;
                }
            }
        });
        let mut daemon = to_lmtp(&source.dovecot, lmtp.port);
        let begun = Instant::now();
        let ended = daemon.ctl_within(LIMIT, &["start", NAME, "--wait"]);
        assert_eq!(ended.code, 1, "{words}: {ended:?}\n{}", daemon.log_tail(40));
        let done = daemon.migration(NAME);
        assert_eq!(
            (&done["state"], &done["messages_done"], &done["messages_failed"]),
            (&"completed".into(), &19.into(), &1.into()),
            "{words}: {done:#}"
        );
        assert_eq!(lmtp.bodies().len(), 19, "{words}");
        let skipped = daemon.show(NAME)["skipped"].clone();
        assert!(skipped[0]["reason"].as_str().unwrap().contains(words), "{skipped:#}");
        assert!(lmtp.connections() <= CONNECTIONS && begun.elapsed() < LIMIT, "{}", lmtp.connections());
        daemon.stop();
    }
}

/// A folder that takes no message, while the others do, be it the first or the last one.
#[test]
fn a_folder_that_takes_nothing() {
    for folder in ["A", "Z"] {
        let dovecot = Dovecot::start(&[LOGIN]);
        let mut corpus = Corpus::at(&dovecot.maildir(LOGIN.0));
        corpus.add("", 20);
        corpus.directory(".M");
        corpus.add(".M", 20);
        let good = Tree::read(corpus.root()).facts();
        corpus.directory(&format!(".{folder}"));
        corpus.add(&format!(".{folder}"), 30);
        let home = Dovecot::start_with(&[HOME], SERVERS[1].1);
        let append = format!("APPEND \"{folder}\"");
        let wire = Moody::before(home.imap, ANY, move |heard| {
            let refused = heard.is(&append);
            if refused { Mood::Says("NO [SERVERBUG] not into this".to_owned()) } else { Mood::Good }
        });
        let mut daemon = homing(wire.port, &dovecot);
        let begun = Instant::now();
        let ended = daemon.ctl_within(LIMIT, &["start", NAME, "--wait"]);
        assert_eq!(ended.code, 1, "{folder}: {ended:?}\n{}", daemon.log_tail(40));
        let done = daemon.migration(NAME);
        assert_eq!(
            (&done["state"], &done["messages_done"], &done["messages_failed"]),
            (&"completed".into(), &40.into(), &30.into()),
            "{folder}: {done:#}"
        );
        assert!(daemon.show(NAME)["skipped"][0]["reason"].as_str().unwrap().contains("[SERVERBUG]"));
        eprintln!("folder {folder}: {:?}, {} connections", begun.elapsed(), wire.connections());
        same("the others", &good, &Tree::read(&home.maildir(HOME.0)).facts());
        daemon.stop();
    }
}

/// What refuses the rest for longer than anybody waits is given up, and what came stays.
#[test]
fn what_came_stays_where_the_rest_is_refused() {
    let source = Source::new(2000, &Marks::default());
    let home = Dovecot::start_with(&[HOME], SERVERS[1].1);
    let stored = AtomicUsize::new(0);
    let wire = Moody::before(home.imap, ANY, move |heard| {
        let refused = heard.is("APPEND ") && stored.fetch_add(1, Ordering::SeqCst) >= 9;
        if refused { Mood::Says("NO Temporary unavailable".to_owned()) } else { Mood::Good }
    });
    let mut daemon = Daemon::homing(wire.port, "login = \"home-{local}\"", HOME.1);
    daemon.more_settings("[migrations]\ngive_up_after = \"1s\"\n");
    daemon.define("alice", &there(&imap_migrate(NAME, "alice", source.dovecot.imap, LOGIN, "")));
    daemon.start();
    daemon.ctl(&["start", NAME]).code(0);
    let ended = daemon.migration_in(NAME, &["failed", "completed", "rolled-back"], LIMIT);
    assert_ne!(ended["state"], "rolled-back", "{ended:#}");
    assert_eq!(ended["messages_done"], 9, "{ended:#}");
    assert_eq!(Tree::read(&home.maildir(HOME.0)).count(), 9);
    daemon.stop();
}

/// More of them one after the other than anybody would try in a row: the good ones behind them arrive.
#[test]
fn many_in_a_row() {
    for (_, capabilities) in &SERVERS[..2] {
        let dovecot = Dovecot::start(&[LOGIN]);
        let mut corpus = Corpus::at(&dovecot.maildir(LOGIN.0));
        corpus.add("", 30);
        let home = Dovecot::start_with(&[HOME], capabilities);
        let bad: Vec<String> = (0..8).map(|number| format!("X-Variant: {number}\r\n")).collect();
        let wire = Moody::before(home.imap, ANY, move |heard| {
            let refused = heard.is("APPEND ") && bad.iter().any(|line| heard.holds(line.as_bytes()));
            if refused { Mood::Says("NO Temporary unavailable".to_owned()) } else { Mood::Good }
        });
        let mut daemon = homing(wire.port, &dovecot);
        let ended = daemon.ctl_within(LIMIT, &["start", NAME, "--wait"]);
        assert_eq!(ended.code, 1, "{ended:?}\n{}", daemon.log_tail(40));
        let done = daemon.migration(NAME);
        assert_eq!((&done["messages_done"], &done["messages_failed"]), (&22.into(), &8.into()), "{done:#}");
        assert_eq!(Tree::read(&home.maildir(HOME.0)).count(), 22);
        daemon.stop();
    }
}

/// The same by LMTP, where eight are refused for ever before the others.
#[test]
fn many_in_a_row_by_lmtp() {
    let dovecot = Dovecot::start(&[LOGIN]);
    let mut corpus = Corpus::at(&dovecot.maildir(LOGIN.0));
    corpus.add("", 30);
    let lmtp = FakeLmtp::start(ALL, |command: &Command, answer: &mut Answer| {
        let body = String::from_utf8_lossy(&command.body);
        let bad = (0..8).any(|number| body.contains(&format!("X-Variant: {number}\r\n")));
        if command.name == "MESSAGE" && bad {
            answer.only("451 4.3.0 not this one");
        }
    });
    let mut daemon = to_lmtp(&dovecot, lmtp.port);
    let ended = daemon.ctl_within(LIMIT, &["start", NAME, "--wait"]);
    assert_eq!(ended.code, 1, "{ended:?}\n{}", daemon.log_tail(40));
    let done = daemon.migration(NAME);
    assert_eq!((&done["messages_done"], &done["messages_failed"]), (&22.into(), &8.into()), "{done:#}");
    assert_eq!(lmtp.bodies().len(), 22);
    daemon.stop();
}
