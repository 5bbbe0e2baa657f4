//! `kill -9` at random moments, again and again, on the same state: the daemon starts every time, and in
//! the end every message is here once, or, where a migration was cancelled, everything is as it was before.
//! `MAILHAUL_KILLS` sets how often, `MAILHAUL_SEED` repeats a run. It refuses kills that came too late for all.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stderr, reason = "this is a test")]

#[path = "it/helpers/mod.rs"]
mod helpers;

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::helpers::corpus::{Corpus, FOLDERS};
use crate::helpers::daemon::{Daemon, eventually, imap_migrate, pop3_poll, seed};
use crate::helpers::dovecot::Dovecot;
use crate::helpers::maildir::picture::Picture;
use crate::helpers::maildir::{Tree, count, same};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const LOGIN: (&str, &str) = ("alice", "secret");
/// So many messages, or more, are still to come when a round begins.
const PENDING: usize = 1500;

fn kills() -> usize {
    std::env::var("MAILHAUL_KILLS").map_or(10, |text| text.parse().unwrap())
}

fn random(what: &str) -> StdRng {
    StdRng::seed_from_u64(seed(what))
}

/// What the rounds showed.
#[derive(Debug, Default)]
struct Rounds {
    kills: usize,
    /// Kills that came before everything had arrived.
    in_time: usize,
    /// Kills between the first and the last message of a round.
    moved: usize,
    slowest: Duration,
}

impl Rounds {
    /// There are as many kills as were wanted, and more until one of them came at the moment that the test is about: when that is,
    /// the machine decides.
    fn go_on(&self, hit: impl Fn(&Rounds) -> bool) -> bool {
        self.kills < kills() || (!hit(self) && self.kills < 20 * kills())
    }
}

/// Starts, sets to work with `go`, kills; `refill` adds so many messages at the source.
fn rounds(
    what: &str,
    daemon: &mut Daemon,
    source: &mut Corpus,
    refill: impl Fn(&mut Corpus, usize),
    go: impl Fn(&Daemon),
) -> Rounds {
    let mut random = random(what);
    let mut rounds = Rounds::default();
    let home = daemon.maildir("alice");
    let (mut before, mut longest) = (0, 400);
    while rounds.go_on(|rounds| rounds.in_time > 0) {
        let pending = source.put.len() - count(&home).min(source.put.len());
        if pending < PENDING / 3 {
            refill(source, PENDING - pending);
        }
        if random.random_bool(0.15) {
            // So early that it may not even be up.
            daemon.spawn();
            sleep(Duration::from_millis(random.random_range(0..150)));
        } else {
            rounds.slowest = rounds.slowest.max(daemon.start());
            go(daemon);
            sleep(Duration::from_millis(random.random_range(5..longest)));
        }
        daemon.kill();
        rounds.kills += 1;
        let here = count(&home);
        rounds.in_time += usize::from(here < source.put.len());
        rounds.moved += usize::from(here > before && here < source.put.len());
        // A slow machine gets further in longer rounds.
        longest = if here > before { 400 } else { (longest * 2).min(6400) };
        before = here;
    }
    rounds.slowest = rounds.slowest.max(daemon.start());
    rounds
}

/// Nothing lost, nothing twice, nothing altered.
fn judge(what: &str, rounds: &Rounds, source: &Corpus, daemon: &Daemon) {
    let mut counts: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for sha in &source.put {
        counts.entry(sha.clone()).or_default().0 += 1;
    }
    for sha in Tree::read(&daemon.maildir("alice")).contents() {
        counts.entry(sha).or_default().1 += 1;
    }
    let of = |which: fn(&(usize, usize)) -> bool| counts.values().filter(|both| which(both)).count();
    let lost = of(|(there, here)| *there > 0 && here < there);
    let duplicated = of(|(there, here)| *there > 0 && here > there);
    let altered = of(|(there, _)| *there == 0);
    report(what, rounds, source.put.len(), (lost, duplicated, altered));
    assert_eq!((lost, duplicated, altered), (0, 0, 0), "{what}\n{}", daemon.log_tail(60));
    assert!(rounds.in_time > 0, "no kill came in time to disturb anything");
}

fn report(what: &str, rounds: &Rounds, messages: usize, harm: (usize, usize, usize)) {
    let (lost, duplicated, altered) = harm;
    eprintln!(
        "{what}: {} kills, {} in time, {} of them between two messages; {messages} messages: {lost} lost, \
         {duplicated} duplicated, {altered} altered; slowest time to ready {:.2} s",
        rounds.kills,
        rounds.in_time,
        rounds.moved,
        rounds.slowest.as_secs_f64()
    );
}

fn poll(what: &str, keep: bool, imap: bool) {
    let dovecot = Dovecot::start(&[LOGIN]);
    let mut source = Corpus::at(&dovecot.maildir("alice"));
    let mut daemon = Daemon::new("[polling]\ninterval = \"24h\"\n");
    let poll = format!("keep_original = {keep}\nicon = \"old\"");
    let definition = if imap {
        imap_migrate("alice-old", "alice", dovecot.imap, LOGIN, &poll)
            .replace("account.migrate", "account.poll")
    } else {
        pop3_poll("alice-old", "alice", dovecot.pop3, LOGIN, &poll)
    };
    daemon.define("alice", &definition);
    let refill = |source: &mut Corpus, count| source.add("", count);
    let rounds = rounds(what, &mut daemon, &mut source, refill, |daemon| {
        daemon.ctl(&["poll", "alice-old", "--no-wait"]).code(0);
    });
    daemon.poll("alice-old");
    judge(what, &rounds, &source, &daemon);
    let left = Tree::read(source.root()).count();
    assert_eq!(left, if keep { source.put.len() } else { 0 }, "messages at the source");
    let before = Tree::files(&daemon.maildir("alice"));
    assert_eq!(daemon.poll("alice-old")["imported"], 0);
    same("the files after a further poll", &before, &Tree::files(&daemon.maildir("alice")));
    daemon.stop();
}

#[test]
fn a_poll_that_keeps_the_originals() {
    poll("poll, originals kept", true, false);
}

#[test]
fn a_poll_that_deletes_the_originals() {
    poll("poll, originals deleted", false, false);
}

#[test]
fn an_imap_poll_that_deletes_the_originals() {
    poll("IMAP poll, originals deleted", false, true);
}

#[test]
fn a_pop3_migration() {
    let what = "POP3 migration";
    let dovecot = Dovecot::start(&[LOGIN]);
    let mut source = Corpus::at(&dovecot.maildir("alice"));
    let mut daemon = Daemon::new("");
    let definition =
        imap_migrate("alice-old", "alice", dovecot.pop3, LOGIN, "").replace("\"imap\"", "\"pop3\"");
    daemon.define("alice", &definition);
    let refill = |source: &mut Corpus, count| source.add("", count);
    let rounds = rounds(what, &mut daemon, &mut source, refill, |daemon| {
        daemon.ctl(&["start", "alice-old"]);
    });
    daemon.ctl(&["start", "alice-old"]);
    daemon.migration_in("alice-old", &["completed"], Duration::from_secs(60));
    daemon.migrate("alice-old");
    judge(what, &rounds, &source, &daemon);
    assert_eq!(Tree::read(source.root()).count(), source.put.len(), "messages at the source");
    let before = Tree::files(&daemon.maildir("alice"));
    daemon.migrate("alice-old");
    same("the files after a further run", &before, &Tree::files(&daemon.maildir("alice")));
    daemon.stop();
}

#[test]
fn a_migration() {
    let what = "migration";
    let dovecot = Dovecot::start(&[LOGIN]);
    let mut source = Corpus::at(&dovecot.maildir("alice"));
    source.fill(PENDING);
    let mut daemon = Daemon::new("");
    daemon.define("alice", &imap_migrate("alice-old", "alice", dovecot.imap, LOGIN, ""));
    let refill = |source: &mut Corpus, count: usize| {
        for folder in FOLDERS {
            source.add(folder, count.div_ceil(FOLDERS.len()));
        }
    };
    let rounds = rounds(what, &mut daemon, &mut source, refill, |daemon| {
        // One that was under way goes on by itself, and cannot be started.
        daemon.ctl(&["start", "alice-old"]);
    });
    daemon.ctl(&["start", "alice-old"]);
    let begun = Instant::now();
    daemon.migration_in("alice-old", &["completed"], Duration::from_secs(60));
    eprintln!("{what}: at rest {:.1} s after the last kill", begun.elapsed().as_secs_f64());
    // Once more, for what came while it ran.
    daemon.migrate("alice-old");
    judge(what, &rounds, &source, &daemon);
    let (there, here) = (Tree::read(source.root()), Tree::read(&daemon.maildir("alice")));
    same("folders, octets, flags, keywords and dates", &there.facts(), &here.facts());
    let before = Tree::files(&daemon.maildir("alice"));
    daemon.migrate("alice-old");
    same("the files after a further run", &before, &Tree::files(&daemon.maildir("alice")));
    daemon.stop();
}

/// Cancelled on the way, and killed while it puts the destination back, until it has done so.
#[test]
fn a_rollback() {
    let what = "rollback";
    let dovecot = Dovecot::start(&[LOGIN]);
    let mut source = Corpus::at(&dovecot.maildir("alice"));
    source.fill(2 * PENDING);
    let mut daemon = Daemon::new("");
    daemon.define("alice", &imap_migrate("alice-old", "alice", dovecot.imap, LOGIN, ""));
    let home = daemon.maildir("alice");
    let mut own = Corpus::at(&home).from(50_000);
    for folder in ["", ".Sent", ".Archive.2024", ".Own"] {
        own.add(folder, 20);
    }
    own.subscribe(&[".Own", ".Sent"]);
    let mut before = Picture::take(&home);
    let mut random = random(what);
    let mut rounds = Rounds::default();
    let (mut brought, mut harm, mut longest) = (0, (0, 0, 0), 40);
    rounds.slowest = daemon.start();
    while rounds.go_on(|rounds| rounds.moved > 0) {
        daemon.ctl(&["start", "alice-old"]).code(0);
        let enough = before.files.len() + random.random_range(1..600);
        eventually("some have arrived", Duration::from_secs(60), || (count(&home) > enough).then_some(()));
        if daemon.ctl(&["cancel", "alice-old"]).code != 0 {
            // It was faster: what an earlier run brought stays from now on.
            daemon.migration_in("alice-old", &["completed"], Duration::from_secs(60));
            before = Picture::take(&home);
            FOLDERS.iter().for_each(|folder| source.add(folder, PENDING / 10));
            continue;
        }
        let mut last = count(&home);
        brought += last - before.files.len();
        loop {
            sleep(Duration::from_millis(random.random_range(0..longest)));
            daemon.kill();
            rounds.kills += 1;
            let here = count(&home);
            rounds.in_time += usize::from(here > before.files.len());
            rounds.moved += usize::from(here > before.files.len() && here < last);
            // So that about every other kill comes in the middle.
            longest = if here > before.files.len() { longest * 5 / 4 } else { longest * 3 / 4 }.clamp(8, 400);
            last = here;
            if random.random_bool(0.5) {
                // It goes on by itself, before anybody can ask it anything.
                daemon.spawn();
                continue;
            }
            rounds.slowest = rounds.slowest.max(daemon.start());
            if daemon.migration("alice-old")["state"] == "cancelled" || here == before.files.len() {
                break;
            }
        }
        daemon.migration_in("alice-old", &["cancelled"], Duration::from_secs(60));
        let after = Picture::take(&home);
        let (lost, left, altered) = before.harm(&after);
        harm = (harm.0 + lost, harm.1 + left, harm.2 + altered);
        if after != before {
            report(what, &rounds, brought, harm);
            assert_eq!(after, before, "the destination is as it was\n{}", daemon.log_tail(60));
        }
    }
    report(what, &rounds, brought, harm);
    assert!(rounds.moved > 0, "no kill came in the middle of putting back");
    // And the source can still be brought, whole.
    daemon.migrate("alice-old");
    let all: Vec<String> = source.put.iter().chain(&own.put).cloned().collect();
    same("octets", &all, &Tree::read(&home).contents());
    daemon.stop();
}
