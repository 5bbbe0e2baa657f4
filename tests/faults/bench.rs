//! Where a scenario is played: a source, a daemon, a destination; all of it can be put back. It refuses to
//! leave anything out of the comparison that somebody could miss, or find too much.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::helpers::corpus::{Corpus, EMPTY};
use crate::helpers::daemon::{Daemon, eventually, imap_migrate, pop3_poll, there};
use crate::helpers::dovecot::Dovecot;
use crate::helpers::fake_lmtp::{ALL, FakeLmtp};
use crate::helpers::maildir::{Tree, difference, sha};
use crate::shim::{How, Shim, Watched};

pub const LOGIN: (&str, &str) = ("alice", "secret");
pub const NAME: &str = "alice-old";
const HOME: (&str, &str) = ("home-alice", "home secret");
/// So long may anything take that ends by itself.
pub const LIMIT: Duration = Duration::from_secs(60);

/// What is to be done.
#[derive(Clone, Copy, PartialEq)]
pub enum Work {
    Poll {
        keep: bool,
    },
    Migrate,
    /// Nothing is defined.
    Other,
}

/// Where mail goes.
#[derive(Clone, Copy, PartialEq)]
pub enum To {
    Maildir,
    Imap,
    Lmtp,
}

/// The server that is the destination.
enum There {
    No,
    Imap(Dovecot),
    Lmtp(FakeLmtp),
}

/// A further run, and what is shown then.
type Again = fn(&mut Bench) -> Value;

pub struct Bench {
    pub work: Work,
    pub to: To,
    pub dovecot: Dovecot,
    pub source: Corpus,
    there: There,
    pub daemon: Daemon,
    pub shim: Shim,
    template: tempfile::TempDir,
    begun: SystemTime,
    /// How it has to end, if not as a run without faults does.
    pub wanted: Option<Vec<String>>,
    again: Again,
    /// Messages that came twice, where that cannot be helped.
    pub twice: usize,
}

impl Bench {
    pub fn new(work: Work, to: To) -> Bench {
        let dovecot = Dovecot::start(&[LOGIN]);
        let source = Corpus::at(&dovecot.maildir(LOGIN.0));
        let (there, mut daemon) = match to {
            To::Maildir => (There::No, Daemon::new("")),
            To::Imap => {
                let home = Dovecot::start(&[HOME]);
                let daemon = Daemon::homing(home.imap, "login = \"home-{local}\"", HOME.1);
                (There::Imap(home), daemon)
            }
            To::Lmtp => {
                let lmtp = FakeLmtp::start(ALL, |_, _| {});
                let at = format!("host = \"127.0.0.1\"\nport = {}\n", lmtp.port);
                (There::Lmtp(lmtp), Daemon::new(&format!("[destination.there.lmtp]\n{at}")))
            }
        };
        daemon.more_settings("[polling]\ninterval = \"24h\"\n[migrations]\nconnections = 2\n");
        let template = tempfile::Builder::new().prefix("template-").tempdir().unwrap();
        let (shim, begun, wanted) = (Shim::build(), SystemTime::now(), None);
        let again = match work {
            Work::Poll { .. } => poll_again,
            _ => migrate_again,
        };
        let bench = Bench {
            work,
            to,
            dovecot,
            source,
            there,
            daemon,
            shim,
            template,
            begun,
            wanted,
            again,
            twice: 0,
        };
        bench.define(bench.port());
        bench
    }

    /// Another further run.
    pub fn again_by(&mut self, again: Again) {
        self.again = again;
    }

    fn port(&self) -> u16 {
        if matches!(self.work, Work::Poll { .. }) { self.dovecot.pop3 } else { self.dovecot.imap }
    }

    /// The account, with its source at that port.
    pub fn define(&self, port: u16) {
        let mut text = match self.work {
            Work::Poll { keep } => {
                let mut poll = format!("keep_original = {keep}");
                if !matches!(self.there, There::Lmtp(_)) {
                    poll += "\nmailbox = \"Old/Mail\"\nicon = \"old\"";
                }
                pop3_poll(NAME, "alice", port, LOGIN, &poll)
            }
            Work::Migrate => imap_migrate(NAME, "alice", port, LOGIN, ""),
            Work::Other => return,
        };
        if !matches!(self.there, There::No) {
            text = there(&text);
        }
        self.daemon.define("alice", &text);
    }

    pub fn state(&self) -> PathBuf {
        self.daemon.path().join("state")
    }

    pub fn mail(&self) -> PathBuf {
        self.daemon.path().join("mail")
    }

    /// The mailbox that mail comes into.
    pub fn home(&self) -> PathBuf {
        match &self.there {
            There::Imap(there) => there.maildir(HOME.0),
            _ => self.daemon.maildir("alice"),
        }
    }

    fn watched(&self) -> Watched {
        let there = match &self.there {
            There::No => 0,
            There::Imap(there) => there.imap,
            There::Lmtp(there) => there.port,
        };
        Watched { state: self.state(), mail: self.mail(), source: self.port(), there }
    }

    /// Every point is written down from the next start on.
    pub fn list_points(&mut self) {
        let variables = self.shim.listing(&self.watched());
        self.daemon.environment(variables);
    }

    /// At that point it happens, from the next start on.
    pub fn disturb(&mut self, how: How, number: usize) {
        let variables = self.shim.at(&self.watched(), how, number);
        self.daemon.environment(variables);
    }

    /// Nothing happens any more, from the next start on.
    pub fn leave_alone(&mut self) {
        self.daemon.environment(Vec::new());
    }

    /// Mail of others at the destination.
    pub fn foreign(&self) {
        let mut own = Corpus::at(&self.home()).from(50_000);
        for folder in ["", ".Sent", ".Own"] {
            own.add(folder, 3);
        }
        own.subscribe(&[".Own", ".Sent"]);
    }

    /// Thirteen messages in nested folders, an empty folder, subscriptions.
    pub fn folders(&mut self) {
        for (folder, count) in [("", 5), (".Sent", 3), (".Archive.2024", 3), (".1.2.3", 2)] {
            self.source.add(folder, count);
        }
        self.source.directory(EMPTY);
        self.source.subscribe(&["", ".Sent", ".1.2.3", EMPTY]);
    }

    pub fn once(&mut self) -> bool {
        let answer = self.daemon.run(&["--once", "--log", "stderr"]);
        let mut log = fs::OpenOptions::new().create(true).append(true).open(self.daemon.path().join("log"));
        std::io::Write::write_all(log.as_mut().unwrap(), answer.err.as_bytes()).unwrap();
        answer.code == 0
    }

    /// Starts the daemon, which may not outlive it; whether it did.
    pub fn spawn(&mut self) -> bool {
        self.daemon.spawn();
        eventually("the daemon is ready or gone", LIMIT, || {
            (self.daemon.has_ended() || self.daemon.ctl_within(LIMIT, &["status"]).code == 0).then_some(())
        });
        !self.daemon.has_ended()
    }

    /// Stops it, if it is there; whether it was, and went well.
    pub fn stop(&mut self) -> bool {
        !self.daemon.has_ended() && self.daemon.stop().success()
    }

    /// Keeps what is there now, for [`Bench::reset`].
    pub fn keep(&self) {
        self.settle();
        self.forget();
        for (name, path) in self.parts() {
            let kept = self.template.path().join(name);
            let _ = fs::remove_dir_all(&kept);
            copy(&path, &kept);
        }
    }

    pub fn reset(&mut self) {
        self.daemon.kill();
        self.leave_alone();
        self.define(self.port());
        let _ = fs::remove_file(self.daemon.path().join("log"));
        self.settle();
        for (name, path) in self.parts() {
            if path.exists() {
                fs::remove_dir_all(&path).unwrap();
            }
            copy(&self.template.path().join(name), &path);
        }
        self.forget();
    }

    /// What was handed over so far is no affair of what comes.
    fn forget(&self) {
        if let There::Lmtp(there) = &self.there {
            there.forget();
        }
    }

    /// No server is at work for a daemon that is gone.
    fn settle(&self) {
        self.dovecot.settle();
        match &self.there {
            There::No => {}
            There::Imap(there) => there.settle(),
            There::Lmtp(there) => eventually("nobody is served", LIMIT, || (there.open() == 0).then_some(())),
        }
    }

    /// What a run changes. A source that is only read stays.
    fn parts(&self) -> Vec<(&'static str, PathBuf)> {
        let mut parts = vec![("state", self.state()), ("mail", self.mail())];
        if self.work == (Work::Poll { keep: false }) {
            parts.push(("source", self.source.root().to_owned()));
        }
        if matches!(self.there, There::Imap(_)) {
            parts.push(("there", self.home()));
        }
        parts
    }

    /// Everything that can be seen at the end, a line each.
    pub fn seen(&self) -> Vec<String> {
        self.settle();
        let begun = self.begun.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() as i64;
        let here = Tree::read(&self.home());
        let mut lines: Vec<String> = here
            .facts()
            .into_iter()
            .map(|fact| {
                // A message without any date of its own arrived when it did.
                let (rest, date) = fact.rsplit_once(' ').unwrap();
                if date.parse::<i64>().unwrap() < begun { fact } else { format!("{rest} now") }
            })
            .collect();
        match &self.there {
            There::No => {}
            There::Imap(_) => {
                lines.extend(here.folders.keys().map(|folder| format!("folder {folder:?} there")));
                lines.extend(here.subscriptions.iter().map(|folder| format!("{folder:?} subscribed")));
            }
            // How often is judged elsewhere.
            There::Lmtp(there) => {
                let taken: BTreeSet<String> = there.bodies().iter().map(|body| sha(body)).collect();
                lines.extend(taken.iter().map(|sha| format!("{sha} handed over")));
            }
        }
        lines.extend(self.files());
        let source = Tree::read(self.source.root()).contents();
        lines.extend(source.iter().map(|sha| format!("{sha} at the source")));
        lines
    }

    /// Directories and files besides the messages, and what waits in the spool.
    fn files(&self) -> Vec<String> {
        let mut lines = Vec::new();
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
                lines.push(format!("file {shown}: {:?}", without_hashes(&text)));
            }
        });
        for place in ["accounts.d", "sealed", "spool"] {
            walk(&self.state().join(place), &mut |path| {
                let name = path.file_name().unwrap().to_string_lossy();
                // What was added is in a file that is named by the time.
                let name = name.split_once("Z-").map_or(&*name, |(_, name)| name);
                let text =
                    if place == "accounts.d" { fs::read_to_string(path).unwrap() } else { String::new() };
                lines.push(format!("{place}: {name} {text:?}"));
            });
        }
        lines
    }

    /// Stores that were set aside as damaged, for nobody damaged one.
    fn aside(&self) -> Vec<String> {
        let names =
            fs::read_dir(self.state()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with("db.damaged")).collect()
    }

    /// A further run, and what the client shows then.
    pub fn again(&mut self) -> Value {
        self.daemon.start();
        let mut shown = (self.again)(self);
        without_times(&mut shown);
        if self.wanted.is_some() {
            // How far it had come depends on where it was stopped.
            shown = Value::Null;
        }
        assert!(self.daemon.stop().success(), "{}", self.daemon.log_tail(20));
        shown
    }

    /// What differs after a fault, in words.
    pub fn judge(&mut self, expected: &(Vec<String>, Value), how: How) -> Result<(), String> {
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
        let before = self.every_one();
        let shown = self.again();
        if let Some(words) = difference(&before, &self.every_one()) {
            return Err(format!("a further run: {words}"));
        }
        if let Some(words) = difference(&expected.0, &self.seen()) {
            return Err(format!("after a further run: {words}"));
        }
        if shown != expected.1 {
            return Err(format!("show says {shown:#}\ninstead of {:#}", expected.1));
        }
        self.doubled(how)
    }

    /// Every message that came, as often as it did.
    fn every_one(&self) -> Vec<String> {
        self.settle();
        match &self.there {
            There::Lmtp(there) => there.bodies().iter().map(|body| sha(body)).collect(),
            _ => Tree::files(&self.home()),
        }
    }

    /// Nobody can ask whether a message came by LMTP: one whose answer was lost comes twice, and no other.
    fn doubled(&mut self, how: How) -> Result<(), String> {
        let There::Lmtp(there) = &self.there else { return Ok(()) };
        let bodies = there.bodies();
        let twice = bodies.len() - bodies.iter().collect::<BTreeSet<_>>().len();
        self.twice += twice;
        let lost = how != How::Error || self.shim.hit().is_some_and(|hit| hit == "receive there");
        if twice > usize::from(lost) { Err(format!("{twice} messages came twice")) } else { Ok(()) }
    }
}

fn poll_again(bench: &mut Bench) -> Value {
    bench.daemon.poll(NAME);
    bench.daemon.show(NAME)
}

fn migrate_again(bench: &mut Bench) -> Value {
    if bench.wanted.is_none() {
        bench.daemon.migrate(NAME);
    }
    bench.daemon.show(NAME)
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

/// A hash is never the same again.
fn without_hashes(text: &str) -> String {
    let hidden = |line: &str| match line.split_once(":{SHA512-CRYPT}") {
        Some((user, rest)) => format!("{user}:...:{}\n", rest.split_once(':').unwrap().1),
        None => format!("{line}\n"),
    };
    text.lines().map(hidden).collect()
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
