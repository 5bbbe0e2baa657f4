//! Stop it everywhere: each call that changes the store or the mailbox, and each that speaks with the source,
//! fails once, and is once the last before a kill. After that the work is taken up again, and must end as if
//! nothing had been; a further run must change nothing. It refuses what a run without faults did not say
//! first: mailbox, source and numbers are compared with that.
//!
//! `MAILHAUL_FAULTS=all` takes every point, a number takes so many of each scenario, spread from an offset
//! that `MAILHAUL_SEED` repeats; `MAILHAUL_FAULT=kill:123,error:7` takes these.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stderr, reason = "this is a test")]

mod certificate;
mod corpus;
mod daemon;
mod dovecot;
mod maildir;
mod shim;

use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use corpus::{Corpus, EMPTY, Marks, message};
use daemon::{Daemon, eventually, imap_migrate, pop3_poll};
use dovecot::Dovecot;
use maildir::{Tree, difference, wire};
use serde_json::Value;
use shim::{How, Shim, Turn};

const LOGIN: (&str, &str) = ("alice", "secret");
const NAME: &str = "alice-old";
/// So long may anything take that ends by itself.
const LIMIT: Duration = Duration::from_secs(60);
/// Points of each scenario that `make test` takes.
const FEW: usize = 4;
/// Resumed so often at most.
const TRIES: usize = 4;

/// A scenario: what was there, what is done to it, how it is taken up again.
struct Scenario {
    name: &'static str,
    /// What the account is to do.
    work: Work,
    /// What is at the source, at the destination and in the store before.
    before: fn(&mut Bench),
    /// The run that is disturbed; whether it says that it ended well.
    act: fn(&mut Bench) -> bool,
    /// Takes it up again; `false`: there is nothing to compare.
    resume: fn(&mut Bench) -> bool,
    hows: &'static [How],
}

#[derive(Clone, Copy, PartialEq)]
enum Work {
    Poll { keep: bool },
    Migrate,
}

/// Where a scenario is played.
struct Bench {
    work: Work,
    dovecot: Dovecot,
    source: Corpus,
    daemon: Daemon,
    shim: Shim,
    template: tempfile::TempDir,
    begun: SystemTime,
    /// How it has to end, if not as a run without faults does.
    wanted: Option<Vec<String>>,
}

impl Bench {
    fn new(work: Work) -> Bench {
        let dovecot = Dovecot::start(&[LOGIN]);
        let source = Corpus::at(&dovecot.maildir(LOGIN.0));
        let daemon = Daemon::new("[polling]\ninterval = \"24h\"\n[migrations]\nconnections = 2\n");
        let template = tempfile::Builder::new().prefix("template-").tempdir().unwrap();
        let (shim, begun) = (Shim::build(), SystemTime::now());
        let bench = Bench { work, dovecot, source, daemon, shim, template, begun, wanted: None };
        bench.define(bench.port());
        bench
    }

    fn port(&self) -> u16 {
        if self.work == Work::Migrate { self.dovecot.imap } else { self.dovecot.pop3 }
    }

    fn define(&self, port: u16) {
        let text = match self.work {
            Work::Poll { keep } => {
                let poll = format!("mailbox = \"Old/Mail\"\nkeep_original = {keep}\nicon = \"old\"");
                pop3_poll(NAME, "alice", port, LOGIN, &poll)
            }
            Work::Migrate => imap_migrate(NAME, "alice", port, LOGIN, ""),
        };
        self.daemon.define("alice", &text);
    }

    fn state(&self) -> PathBuf {
        self.daemon.path().join("state")
    }

    fn mail(&self) -> PathBuf {
        self.daemon.path().join("mail")
    }

    fn home(&self) -> PathBuf {
        self.daemon.maildir("alice")
    }

    /// Mail of others at the destination.
    fn foreign(&self) {
        let mut own = Corpus::at(&self.home()).from(50_000);
        for folder in ["", ".Sent", ".Own"] {
            own.add(folder, 3);
        }
        own.subscribe(&[".Own", ".Sent"]);
    }

    /// Thirteen messages in nested folders, an empty folder, subscriptions.
    fn folders(&mut self) {
        for (folder, count) in [("", 5), (".Sent", 3), (".Archive.2024", 3), (".1.2.3", 2)] {
            self.source.add(folder, count);
        }
        self.source.directory(EMPTY);
        self.source.subscribe(&["", ".Sent", ".1.2.3", EMPTY]);
    }

    fn once(&mut self) -> bool {
        let answer = self.daemon.run(&["--once", "--log", "stderr"]);
        let mut log = fs::OpenOptions::new().create(true).append(true).open(self.daemon.path().join("log"));
        std::io::Write::write_all(log.as_mut().unwrap(), answer.err.as_bytes()).unwrap();
        answer.code == 0
    }

    /// Keeps what is there now, for [`Bench::reset`].
    fn keep(&self) {
        for (name, path) in self.parts() {
            let kept = self.template.path().join(name);
            let _ = fs::remove_dir_all(&kept);
            copy(&path, &kept);
        }
    }

    fn reset(&mut self) {
        self.daemon.kill();
        self.daemon.environment(Vec::new());
        self.define(self.port());
        let _ = fs::remove_file(self.daemon.path().join("log"));
        for (name, path) in self.parts() {
            if path.exists() {
                fs::remove_dir_all(&path).unwrap();
            }
            copy(&self.template.path().join(name), &path);
        }
    }

    /// What a run changes. A source that is only read stays.
    fn parts(&self) -> Vec<(&'static str, PathBuf)> {
        let mut parts = vec![("state", self.state()), ("mail", self.mail())];
        if self.work == (Work::Poll { keep: false }) {
            parts.push(("source", self.source.root().to_owned()));
        }
        parts
    }

    /// Everything that can be seen at the end, a line each.
    fn seen(&self) -> Vec<String> {
        let here = Tree::read(&self.home());
        let begun = self.begun.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() as i64;
        let mut lines: Vec<String> = here
            .facts()
            .into_iter()
            .map(|fact| {
                // A message without any date of its own arrived when it did.
                let (rest, date) = fact.rsplit_once(' ').unwrap();
                if date.parse::<i64>().unwrap() < begun { fact } else { format!("{rest} now") }
            })
            .collect();
        walk(&self.mail(), &mut |path| {
            let shown = path.strip_prefix(self.mail()).unwrap().display().to_string();
            let within = |part: &str| path.parent().is_some_and(|parent| parent.ends_with(part));
            if path.is_dir() {
                lines.push(format!("directory {shown}"));
            } else if shown.ends_with("dovecot-keywords") {
                // Its order is that of coming; what it means stands with the messages.
                lines.push(format!("file {shown}"));
            } else if !within("cur") && !within("new") {
                let text = String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned();
                lines.push(format!("file {shown}: {text:?}"));
            }
        });
        lines.extend(
            Tree::read(self.source.root()).contents().iter().map(|sha| format!("{sha} at the source")),
        );
        lines
    }

    /// Stores that were set aside as damaged, for nobody damaged one.
    fn aside(&self) -> Vec<String> {
        let names =
            fs::read_dir(self.state()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with("db.damaged")).collect()
    }

    /// A further run, and what the client shows then.
    fn again(&mut self) -> Value {
        self.daemon.start();
        if self.work != Work::Migrate {
            self.daemon.poll(NAME);
        } else if self.wanted.is_none() {
            self.daemon.migrate(NAME);
        }
        let mut shown = self.daemon.show(NAME);
        without_times(&mut shown);
        if self.wanted.is_some() {
            // How far it had come depends on where it was stopped.
            shown = Value::Null;
        }
        assert!(self.daemon.stop().success(), "{}", self.daemon.log_tail(20));
        shown
    }

    /// What differs after a fault, in words.
    fn judge(&mut self, expected: &(Vec<String>, Value)) -> Result<(), String> {
        let aside = self.aside();
        if !aside.is_empty() {
            return Err(format!("a sound store was set aside: {aside:?}"));
        }
        // A staged file that could not be unlinked is no mail, and has to go with the further run.
        let mut seen = self.seen();
        seen.retain(|line| !(line.starts_with("file ") && line.contains("/tmp/")));
        if let Some(words) = difference(&expected.0, &seen) {
            return Err(words);
        }
        let before = Tree::files(&self.home());
        let shown = self.again();
        if let Some(words) = difference(&before, &Tree::files(&self.home())) {
            return Err(format!("a further run: {words}"));
        }
        if let Some(words) = difference(&expected.0, &self.seen()) {
            return Err(format!("after a further run: {words}"));
        }
        if shown != expected.1 {
            return Err(format!("show says {shown:#}\ninstead of {:#}", expected.1));
        }
        Ok(())
    }
}

fn copy(from: &Path, to: &Path) {
    if from.exists() {
        let done = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
        assert!(done.success(), "cp -a {} {}", from.display(), to.display());
    }
}

fn walk(path: &Path, each: &mut impl FnMut(&Path)) {
    let Ok(entries) = fs::read_dir(path) else { return };
    for entry in entries {
        let path = entry.unwrap().path();
        each(&path);
        if path.is_dir() {
            walk(&path, each);
        }
    }
}

fn without_times(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|key, _| !key.ends_with("_at"));
            map.values_mut().for_each(without_times);
        }
        Value::Array(list) => list.iter_mut().for_each(without_times),
        _ => {}
    }
}

/// Which points are taken: number and how.
fn chosen(scenario: &Scenario, list: &[String]) -> Vec<(usize, How)> {
    let both = |number: usize| scenario.hows.iter().map(move |how| (number, *how));
    if let Ok(named) = std::env::var("MAILHAUL_FAULT") {
        let one = |text: &str| {
            let (how, number) = text.split_once(':').expect("HOW:NUMBER");
            let how = [How::Error, How::Kill, How::Torn].into_iter().find(|h| h.word() == how).unwrap();
            (number.parse().unwrap(), how)
        };
        return named.split(',').map(one).collect();
    }
    let asked = std::env::var("MAILHAUL_FAULTS").unwrap_or_else(|_| FEW.to_string());
    let step = if asked == "all" { 1 } else { list.len().div_ceil(asked.parse().unwrap()).max(1) };
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().subsec_nanos();
    let seed = std::env::var("MAILHAUL_SEED").map_or(now as usize, |text| text.parse().unwrap());
    eprintln!("{}: {} points, every {step}., MAILHAUL_SEED={seed}", scenario.name, list.len());
    let all = (1 + seed % step..=list.len()).step_by(step).flat_map(both);
    all.filter(|(number, how)| *how != How::Torn || list[number - 1].starts_with("write")).collect()
}

fn play(scenario: &Scenario) {
    let _turn = Turn::wait();
    let mut bench = Bench::new(scenario.work);
    (scenario.before)(&mut bench);
    bench.keep();

    let (state, mail, port) = (bench.state(), bench.mail(), bench.port());
    let listing = bench.shim.listing(&state, &mail, port);
    bench.daemon.environment(listing);
    assert!((scenario.act)(&mut bench), "without a fault: {}", bench.daemon.log_tail(40));
    bench.daemon.environment(Vec::new());
    let list = bench.shim.list();
    assert!(list.len() > 20, "only {} points: {list:?}", list.len());
    let expected = match bench.wanted.clone() {
        Some(wanted) => (wanted, Value::Null),
        None => (bench.seen(), bench.again()),
    };
    if (scenario.resume)(&mut bench) {
        assert_eq!(difference(&expected.0, &bench.seen()), None, "without a fault");
    }

    let begun = Instant::now();
    let mut kinds: BTreeMap<(&str, String), usize> = BTreeMap::new();
    let (mut missed, mut idle, mut failures) = (0, 0, Vec::new());
    for (number, how) in chosen(scenario, &list) {
        let result = catch_unwind(AssertUnwindSafe(|| {
            bench.reset();
            let variables = bench.shim.at(&state, &mail, port, how, number);
            bench.daemon.environment(variables);
            let well = (scenario.act)(&mut bench);
            bench.daemon.environment(Vec::new());
            if well && how != How::Error && bench.shim.hit().is_some() {
                return Err("it outlived a kill".to_owned());
            }
            if (!well || bench.wanted.is_some()) && !(scenario.resume)(&mut bench) {
                idle += 1;
                return Ok(());
            }
            bench.judge(&expected)
        }));
        let hit = bench.shim.hit();
        match &hit {
            Some(hit) => {
                *kinds.entry((how.word(), hit.split(' ').next().unwrap().to_owned())).or_default() += 1
            }
            None => missed += 1,
        }
        let words = match result {
            Ok(Ok(())) => continue,
            Ok(Err(words)) => words,
            Err(panic) => match panic.downcast_ref::<String>() {
                Some(words) => words.clone(),
                None => "it panicked".to_owned(),
            },
        };
        let what = format!(
            "{}, MAILHAUL_FAULT={}:{number}, at {}: {words}\n{}",
            scenario.name,
            how.word(),
            hit.as_deref().unwrap_or("no point"),
            bench.daemon.log_tail(20)
        );
        eprintln!("{what}");
        failures.push(what);
    }
    let of = |how: &str| kinds.iter().filter(|((h, _), _)| *h == how).map(|(_, n)| n).sum::<usize>();
    let all: String = kinds.iter().map(|((how, kind), n)| format!(" {how} {kind} {n},")).collect();
    eprintln!(
        "{}: {} errors, {} kills, {} torn writes, {missed} not reached, {idle} over before; {} failures; {:.0} s;{}",
        scenario.name,
        of("error"),
        of("kill"),
        of("torn"),
        failures.len(),
        begun.elapsed().as_secs_f64(),
        all.trim_end_matches(',')
    );
    assert!(failures.is_empty(), "{} of {} points failed", failures.len(), list.len());
    assert!(of("error") + of("kill") > 0, "no point was reached");
}

const ALL: &[How] = &[How::Error, How::Kill, How::Torn];

/// Runs `--once` until it ends well.
fn run_again(bench: &mut Bench) -> bool {
    assert!((0..TRIES).any(|_| bench.once()), "not in {TRIES} runs: {}", bench.daemon.log_tail(40));
    true
}

#[test]
fn a_first_start() {
    play(&Scenario {
        name: "first start",
        work: Work::Poll { keep: true },
        before: |bench| {
            bench.source.add("", 1);
            fs::remove_dir(bench.mail()).unwrap();
        },
        act: Bench::once,
        resume: run_again,
        hows: ALL,
    });
}

#[test]
fn a_poll_that_keeps() {
    play(&Scenario {
        name: "poll that keeps",
        work: Work::Poll { keep: true },
        // More than are synced one by one.
        before: |bench| bench.source.add("", 18),
        act: Bench::once,
        resume: run_again,
        hows: ALL,
    });
}

#[test]
fn a_poll_that_deletes() {
    play(&Scenario {
        name: "poll that deletes",
        work: Work::Poll { keep: false },
        before: |bench| bench.source.add("", 10),
        act: Bench::once,
        resume: run_again,
        hows: ALL,
    });
}

#[test]
fn a_second_poll() {
    play(&Scenario {
        name: "second poll",
        work: Work::Poll { keep: true },
        before: |bench| {
            bench.source.add("", 8);
            assert!(bench.once());
            bench.source.add("", 4);
        },
        act: Bench::once,
        resume: run_again,
        hows: ALL,
    });
}

#[test]
fn a_migration() {
    play(&Scenario {
        name: "migration",
        work: Work::Migrate,
        before: |bench| {
            bench.folders();
            bench.foreign();
        },
        act: Bench::once,
        resume: run_again,
        hows: ALL,
    });
}

#[test]
fn a_second_migration() {
    play(&Scenario {
        name: "second migration",
        work: Work::Migrate,
        before: |bench| {
            bench.folders();
            assert!(bench.once());
            for folder in ["", ".Sent", ".New"] {
                bench.source.add(folder, 2);
            }
        },
        act: Bench::once,
        resume: run_again,
        hows: ALL,
    });
}

/// Another tool brought some of it before; two messages are alike, and one of them was brought.
#[test]
fn an_adoption() {
    play(&Scenario {
        name: "adoption",
        work: Work::Migrate,
        before: |bench| {
            let twin = message(70_000);
            bench.folders();
            // By their dates one is the second of the folder and the other the last, and something long is
            // between them, in which the connection can break.
            let long = [message(70_001), b"a line\n".repeat(60_000)].concat();
            for (number, content) in [(6_945, &twin), (300, &long), (70_000, &twin)] {
                bench.source.put("", number, content, &Marks::default());
            }
            bench.foreign();
            for (at, content) in [message(1), message(2), message(6), twin].iter().enumerate() {
                let folder = if at == 2 { ".Sent" } else { "" };
                let (size, wide) = (content.len(), wire(content).len());
                let name = format!("cur/100000000{at}.M1P1.other,S={size},W={wide}:2,S");
                fs::write(bench.home().join(folder).join(name), content).unwrap();
            }
        },
        act: Bench::once,
        resume: run_again,
        hows: ALL,
    });
}

/// A migration that was stopped on the way; its source is away.
fn half_brought(bench: &mut Bench) {
    bench.folders();
    bench.foreign();
    bench.wanted = Some(bench.seen());
    bench.keep();
    let (state, mail, port) = (bench.state(), bench.mail(), bench.port());
    let listing = bench.shim.listing(&state, &mail, port);
    bench.daemon.environment(listing);
    assert!(bench.once());
    let list = bench.shim.list();
    let last = list.iter().rposition(|what| what.starts_with("rename mail")).unwrap();
    bench.reset();
    let variables = bench.shim.at(&state, &mail, port, How::Kill, last);
    bench.daemon.environment(variables);
    assert!(!bench.once());
    bench.daemon.environment(Vec::new());
    assert!(Tree::read(&bench.home()).count() > 9, "something was brought");
}

/// A port where nobody listens.
const NOWHERE: u16 = 9;

fn cancel(bench: &mut Bench) -> bool {
    bench.define(NOWHERE);
    bench.daemon.spawn();
    eventually("the daemon is ready or gone", LIMIT, || {
        (bench.daemon.has_ended() || bench.daemon.ctl_within(LIMIT, &["status"]).code == 0).then_some(())
    });
    bench.daemon.ctl_within(LIMIT, &["cancel", NAME]);
    eventually("the daemon is done or gone", LIMIT, || {
        let shown = bench.daemon.ctl_within(LIMIT, &["--json", "show", NAME]);
        let done = shown.code == 0 && shown.json()["migration"]["state"] == "cancelled";
        (bench.daemon.has_ended() || done).then_some(())
    });
    !bench.daemon.has_ended() && bench.daemon.stop().success()
}

/// Whatever became of the daemon, it is started and cancelled; `false`: it had completed before.
fn cancel_again(bench: &mut Bench) -> bool {
    bench.define(NOWHERE);
    bench.daemon.start();
    let state = bench.daemon.migration(NAME)["state"].clone();
    if state != "completed" && state != "ready" {
        // It may be at it already, or be done with it.
        bench.daemon.ctl(&["cancel", NAME]);
        bench.daemon.migration_in(NAME, &["cancelled"], LIMIT);
    }
    bench.daemon.stop();
    state != "completed"
}

#[test]
fn a_rollback() {
    play(&Scenario {
        name: "rollback",
        work: Work::Migrate,
        before: half_brought,
        act: cancel,
        resume: cancel_again,
        hows: ALL,
    });
}

/// Stopped anywhere, and then not wanted any more.
#[test]
fn a_migration_cancelled_later() {
    play(&Scenario {
        name: "migration, cancelled later",
        work: Work::Migrate,
        before: |bench| {
            bench.folders();
            bench.foreign();
            bench.wanted = Some(bench.seen());
        },
        act: Bench::once,
        resume: cancel_again,
        hows: &[How::Kill, How::Torn],
    });
}
