//! The power fails, again and again, on the same store and mailbox: what was acknowledged before is there
//! after, and in the end every message is there once. `MAILHAUL_CUTS` sets how often, `MAILHAUL_SEED` repeats
//! a run. Acknowledged is what is gone from a source that is deleted from, and what `show` counts as done.
//! It refuses a disk that keeps everything: of what nobody synced something must be gone.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stderr, reason = "this is a test")]

#[path = "power/disk.rs"]
mod disk;
#[path = "it/helpers/mod.rs"]
mod helpers;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use crate::helpers::corpus::{Corpus, FOLDERS};
use crate::helpers::daemon::{Daemon, eventually, imap_migrate, pop3_poll, seed, there};
use crate::helpers::dovecot::Dovecot;
use crate::helpers::maildir::picture::Picture;
use crate::helpers::maildir::{Tree, count, same};
use disk::Disk;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const LOGIN: (&str, &str) = ("alice", "secret");
const HOME: (&str, &str) = ("home-alice", "home secret");
const NAME: &str = "alice-old";
/// So many messages, or more, are still to come when the power is on again.
const PENDING: usize = 1500;

/// Octets of the file that nobody syncs.
const PROBE: usize = 256 * 1024;

#[derive(Debug, Default)]
struct Cuts {
    cuts: usize,
    /// With messages to come, and some brought since the last one.
    moved: usize,
    /// Blocks that had reached the medium though nobody had asked for it, and blocks that had not.
    kept: u64,
    gone: u64,
    acknowledged: usize,
    /// Files that were written just before, unsynced, and were not whole after.
    forgotten: usize,
    /// Acknowledged and not there.
    lost: usize,
    /// There and not what was sent.
    altered: usize,
    /// Stores that were set aside and rebuilt.
    rebuilt: usize,
    slowest: Duration,
}

/// How often the power is cut.
fn asked() -> usize {
    std::env::var("MAILHAUL_CUTS").map_or(50, |text| text.parse().unwrap())
}

struct Bench {
    dovecot: Dovecot,
    source: Corpus,
    disk: Disk,
    daemon: Daemon,
    /// The mailbox that mail comes into.
    home: PathBuf,
    random: StdRng,
}

impl Bench {
    fn new(what: &str) -> Bench {
        let dovecot = Dovecot::start(&[LOGIN]);
        let source = Corpus::at(&dovecot.maildir(LOGIN.0));
        let (disk, random) = (Disk::new(), StdRng::seed_from_u64(seed(what)));
        let mut bench =
            Bench { dovecot, source, disk, daemon: Daemon::new(""), home: PathBuf::new(), random };
        bench.bring(Daemon::new("[polling]\ninterval = \"24h\"\n"));
        bench.home = bench.daemon.maildir("alice");
        bench
    }

    /// Another daemon on this disk.
    fn bring(&mut self, mut daemon: Daemon) {
        daemon.state_directory(&self.disk.path().join("state"));
        daemon.destination(&format!("{}/mail/{{local}}/Maildir", self.disk.path().display()));
        self.daemon = daemon;
    }

    /// `go` sets to work; `acknowledged` says which messages the mailbox has to hold, or how many.
    fn cut(
        &mut self,
        refill: impl Fn(&mut Corpus, usize),
        go: impl Fn(&Daemon),
        counted: impl Fn(&Daemon) -> usize,
        gone: impl Fn(&Corpus) -> BTreeSet<String>,
    ) -> Cuts {
        let asked = asked();
        let mut cuts = Cuts::default();
        let home = self.home.clone();
        let (mut last, mut longest, mut done) = (0, 600, 0);
        self.disk.on(self.random.random());
        while cuts.cuts < asked {
            let pending = self.source.put.len() - count(&home).min(self.source.put.len());
            if pending < PENDING / 3 {
                refill(&mut self.source, PENDING - pending);
            }
            cuts.slowest = cuts.slowest.max(self.daemon.start());
            go(&self.daemon);
            sleep(Duration::from_millis(self.random.random_range(5..longest)));
            // What is said before the cut is said for good.
            done = counted(&self.daemon).max(done);
            let probe = self.disk.path().join(format!("probe-{}", cuts.cuts));
            fs::write(&probe, [0x5a; PROBE]).unwrap();
            self.disk.fail();
            self.daemon.kill();
            let (kept, lost) = self.disk.down();
            (cuts.cuts, cuts.kept, cuts.gone) = (cuts.cuts + 1, cuts.kept + kept, cuts.gone + lost);
            self.disk.on(self.random.random());
            cuts.forgotten += usize::from(fs::read(&probe).unwrap_or_default() != [0x5a; PROBE]);
            let _ = fs::remove_file(probe);

            let here = self.here(&home);
            let sent: BTreeSet<&String> = self.source.put.iter().collect();
            cuts.altered += here.iter().filter(|sha| !sent.contains(sha)).count();
            let owed = gone(&self.source);
            cuts.lost += owed.difference(&here).count() + done.saturating_sub(here.len());
            cuts.acknowledged = owed.len().max(done);
            cuts.moved += usize::from(here.len() > last && here.len() < self.source.put.len());
            longest = if here.len() > last { 600 } else { (longest * 2).min(6400) };
            last = here.len();
        }
        cuts.slowest = cuts.slowest.max(self.daemon.start());
        let log = self.daemon.log();
        cuts.rebuilt = log.lines().filter(|line| line.contains("the store was damaged")).count();
        cuts
    }

    fn here(&self, home: &Path) -> BTreeSet<String> {
        if home.exists() { Tree::read(home).contents().into_iter().collect() } else { BTreeSet::new() }
    }

    fn judge(&self, what: &str, cuts: &Cuts) {
        let here = Tree::read(&self.home).contents();
        eprintln!(
            "{what}: {} cuts, {} of them between two messages; {} unsynced files were gone; of the disk's cache {} \
             blocks had reached the medium and {} had not; {} messages, {} acknowledged before the last cut: {} lost, {} altered; {} stores \
             rebuilt; in the end {} of {}; slowest time to ready {:.2} s",
            cuts.cuts,
            cuts.moved,
            cuts.forgotten,
            cuts.kept,
            cuts.gone,
            self.source.put.len(),
            cuts.acknowledged,
            cuts.lost,
            cuts.altered,
            cuts.rebuilt,
            here.len(),
            self.source.put.len(),
            cuts.slowest.as_secs_f64()
        );
        same("every message once", &self.source.put, &here);
        assert_eq!((cuts.lost, cuts.altered), (0, 0), "{}", self.daemon.log_tail(60));
        assert!(cuts.forgotten > 0, "the disk kept everything");
        assert!(cuts.moved > 0, "no cut came in time");
    }
}

#[test]
#[ignore = "needs root and loop devices: make power-cuts"]
fn a_poll_that_deletes() {
    let what = "poll, originals deleted";
    let mut bench = Bench::new(what);
    let poll = "keep_original = false\nicon = \"old\"";
    bench.daemon.define("alice", &pop3_poll(NAME, "alice", bench.dovecot.pop3, LOGIN, poll));
    let cuts = bench.cut(
        |source, count| source.add("", count),
        |daemon| {
            daemon.ctl(&["poll", NAME, "--no-wait"]).code(0);
        },
        |_| 0,
        |source| {
            let left: BTreeSet<String> = Tree::read(source.root()).contents().into_iter().collect();
            source.put.iter().filter(|sha| !left.contains(*sha)).cloned().collect()
        },
    );
    bench.daemon.poll(NAME);
    bench.judge(what, &cuts);
    assert_eq!(Tree::read(bench.source.root()).count(), 0, "messages at the source");
    let before = Tree::files(&bench.daemon.maildir("alice"));
    assert_eq!(bench.daemon.poll(NAME)["imported"], 0);
    same("the files after a further poll", &before, &Tree::files(&bench.daemon.maildir("alice")));
    bench.daemon.stop();
}

#[test]
#[ignore = "needs root and loop devices: make power-cuts"]
fn a_migration() {
    let what = "migration";
    let bench = Bench::new(what);
    bench.daemon.define("alice", &imap_migrate(NAME, "alice", bench.dovecot.imap, LOGIN, ""));
    migrated(what, bench);
}

/// The other server has power all the time: what it was given is there, known or not.
#[test]
#[ignore = "needs root and loop devices: make power-cuts"]
fn a_migration_to_a_server() {
    let what = "migration to a server";
    let home = Dovecot::start(&[HOME]);
    let mut bench = Bench::new(what);
    bench.bring(Daemon::homing(home.imap, "login = \"home-{local}\"", HOME.1));
    bench.home = home.maildir(HOME.0);
    let definition = imap_migrate(NAME, "alice", bench.dovecot.imap, LOGIN, "");
    bench.daemon.define("alice", &there(&definition));
    migrated(what, bench);
}

fn migrated(what: &str, mut bench: Bench) {
    bench.source.fill(PENDING);
    let cuts = bench.cut(
        |source, count| {
            for folder in FOLDERS {
                source.add(folder, count.div_ceil(FOLDERS.len()));
            }
        },
        |daemon| {
            // One that was under way goes on by itself, and cannot be started.
            daemon.ctl(&["start", NAME]);
        },
        |daemon| {
            let done = &daemon.migration(NAME)["messages_done"];
            usize::try_from(done.as_u64().unwrap_or(0)).unwrap()
        },
        |_| BTreeSet::new(),
    );
    daemon_at_rest(&bench.daemon);
    // Once more, for what came while it ran.
    bench.daemon.migrate(NAME);
    bench.judge(what, &cuts);
    let (there, here) = (Tree::read(bench.source.root()), Tree::read(&bench.home));
    same("folders, octets, flags, keywords and dates", &there.facts(), &here.facts());
    assert_eq!(there.subscriptions, here.subscriptions);
    let before = Tree::files(&bench.home);
    bench.daemon.migrate(NAME);
    same("the files after a further run", &before, &Tree::files(&bench.home));
    bench.daemon.stop();
}

/// Cancelled on the way, and without power while the destination is put back: what was there before is
/// there, nothing else is, and what was promised to the person who cancelled goes on by itself.
#[test]
#[ignore = "needs root and loop devices: make power-cuts"]
fn a_rollback() {
    let what = "rollback";
    let mut bench = Bench::new(what);
    bench.source.fill(2 * PENDING);
    bench.daemon.define("alice", &imap_migrate(NAME, "alice", bench.dovecot.imap, LOGIN, ""));
    let home = bench.daemon.maildir("alice");
    bench.disk.on(bench.random.random());
    let mut own = Corpus::at(&home).from(50_000);
    for folder in ["", ".Sent", ".Archive.2024", ".Own"] {
        own.add(folder, 20);
    }
    own.subscribe(&[".Own", ".Sent"]);
    nix::unistd::syncfs(fs::File::open(&home).unwrap()).unwrap();
    let mut before = Picture::take(&home);
    let (mut cuts, mut moved, mut brought, mut longest) = (0, 0, 0, 40);
    bench.daemon.start();
    while cuts < asked() {
        bench.daemon.ctl(&["start", NAME]).code(0);
        let enough = before.files.len() + bench.random.random_range(1..600);
        eventually("some have arrived", Duration::from_secs(60), || (count(&home) > enough).then_some(()));
        if bench.daemon.ctl(&["cancel", NAME]).code != 0 {
            // It was faster: what it brought stays from now on.
            bench.daemon.migration_in(NAME, &["completed"], Duration::from_secs(60));
            before = Picture::take(&home);
            FOLDERS.iter().for_each(|folder| bench.source.add(folder, PENDING / 10));
            continue;
        }
        let last = count(&home);
        brought += last - before.files.len();
        sleep(Duration::from_millis(bench.random.random_range(0..longest)));
        bench.disk.fail();
        bench.daemon.kill();
        bench.disk.down();
        cuts += 1;
        bench.disk.on(bench.random.random());
        let here = count(&home);
        moved += usize::from(here > before.files.len() && here < last);
        // So that about every other cut comes in the middle.
        longest = if here > before.files.len() { longest * 5 / 4 } else { longest * 3 / 4 }.clamp(8, 400);
        let (lost, _, _) = before.harm(&Picture::take(&home));
        assert_eq!(lost, 0, "of what was there before");
        bench.daemon.start();
        bench.daemon.migration_in(NAME, &["cancelled"], Duration::from_secs(60));
        assert_eq!(Picture::take(&home), before, "cut {cuts}\n{}", bench.daemon.log_tail(60));
    }
    eprintln!(
        "{what}: {cuts} cuts, {moved} of them in the middle; {brought} messages brought and taken away; as it was each time"
    );
    assert!(moved > 0, "no cut came in the middle of putting back");
    bench.daemon.migrate(NAME);
    let all: Vec<String> = bench.source.put.iter().chain(&own.put).cloned().collect();
    same("octets", &all, &Tree::read(&home).contents());
    bench.daemon.stop();
}

fn daemon_at_rest(daemon: &Daemon) {
    daemon.ctl(&["start", NAME]);
    daemon.migration_in(NAME, &["completed"], Duration::from_secs(60));
}
