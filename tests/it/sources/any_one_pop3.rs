//! Whatever a POP3 source fails at, and however: it costs the one message over which it fails. Everything else is here
//! once, the culprit is named, nothing is deleted there that is not here, in bounded time and few connects; and once the
//! server is well again, the next run brings the rest. Plans are made by chance, from fixed seeds.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stderr, reason = "this is a test")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::helpers::daemon::{Answer, Daemon, pop3_poll};
use crate::helpers::fake_pop3::{Command, FakePop3, Reply, Then, mails};
use crate::helpers::maildir::{Tree, sha};
use crate::helpers::plans::{all_hold, demand};
use rand::Rng;
use rand::rngs::StdRng;
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(120);
const CONNECTS: usize = 20;
const COUNT: usize = 20;
const SERVERS: [&str; 3] = ["USER UIDL TOP PIPELINING RESP-CODES", "USER UIDL TOP", ""];

/// What it fails at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// A command without a message.
    All(&'static str),
    /// One with the number of the culprit.
    One(&'static str),
}

/// How.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Says(&'static str),
    /// The same, and the connection ends.
    Ends(&'static str),
    Close,
    Hang,
    /// Something that is no answer comes before it.
    Garbage,
    /// So many bytes of it, and the end.
    Half(usize),
    /// The line of the culprit lacks, or the body is none.
    Less,
    /// Another answer comes behind it.
    More,
}

const WORDS: [&str; 12] = [
    "-ERR",
    "-ERR no",
    "-ERR [SYS/TEMP] later",
    "-ERR [SYS/PERM] never",
    "-ERR [IN-USE] somebody has it",
    "-ERR [LOGIN-DELAY] wait",
    "-ERR [AUTH] wrong password",
    "-ERR internal server error",
    "-ERR unknown command",
    "-ERR message is corrupt",
    "-ERR too many of them",
    "-ERR [X-ODD/THING] what",
];

#[derive(Debug, Clone)]
struct Plan {
    server: usize,
    step: Step,
    way: Way,
    number: usize,
    times: Option<usize>,
    migrates: bool,
    deletes: bool,
    again: bool,
}

impl Plan {
    fn new(random: &mut StdRng) -> Plan {
        let migrates = random.random_range(0..3) == 0;
        let deletes = !migrates && random.random_range(0..2) == 0;
        let step = loop {
            break match random.random_range(0..17) {
                0 => Step::All("CAPA"),
                1 => Step::All("STAT"),
                2 | 3 => Step::All("LIST"),
                4 | 5 => Step::All("UIDL"),
                6 => Step::All("QUIT"),
                7 => Step::One("LIST"),
                8 | 9 => Step::One("UIDL"),
                10 => Step::One("TOP"),
                11..15 => Step::One("RETR"),
                15 if deletes => Step::One("DELE"),
                _ => continue,
            };
        };
        let words = WORDS[random.random_range(0..WORDS.len())];
        let way = loop {
            let way = match random.random_range(0..12) {
                0..3 => Way::Says(words),
                3 | 4 => Way::Ends(words),
                5 => Way::Close,
                6 => Way::Hang,
                7 | 8 => Way::Garbage,
                9 => Way::Half(random.random_range(1..120)),
                10 => Way::Less,
                _ => Way::More,
            };
            if step.can(way) {
                break way;
            }
        };
        let times = [None, None, Some(1), Some(2)][random.random_range(0..4)];
        let (server, number) = (random.random_range(0..SERVERS.len()), random.random_range(1..=COUNT));
        Plan { server, step, way, number, times, migrates, deletes, again: random.random_range(0..4) == 0 }
    }

    fn hits(&self, command: &Command) -> bool {
        match self.step {
            Step::All(name) => command.name == name && command.rest.is_empty(),
            Step::One(name) => {
                let number = command.rest.split(' ').next().unwrap_or_default();
                command.name == name && number == self.number.to_string()
            }
        }
    }

    fn misbehaves(&self, reply: &mut Reply) {
        match self.way {
            Way::Says(words) => reply.only(words),
            Way::Ends(words) => {
                reply.only(words);
                reply.then = Then::Close;
            }
            Way::Close => reply.cut(0),
            Way::Hang => {
                reply.as_it_stands("");
                reply.then = Then::Hang;
            }
            Way::Garbage => {
                let line = std::mem::take(&mut reply.line);
                reply.line = [b"what is this\r\n", line.as_slice()].concat();
            }
            Way::Half(bytes) => reply.cut(bytes),
            Way::Less => match (&mut reply.body, self.step) {
                (Some(body), Step::All(_)) => {
                    let own = format!("{} ", self.number);
                    let lines = String::from_utf8_lossy(body).into_owned();
                    let left = lines.split_inclusive('\n').filter(|line| !line.starts_with(&own));
                    *body = left.collect::<String>().into_bytes();
                }
                (Some(body), Step::One(_)) => body.clear(),
                (None, _) => reply.line = b"+OK".to_vec(),
            },
            Way::More => reply.more = b"+OK once more\r\n".to_vec(),
        }
    }
}

impl Step {
    fn can(self, way: Way) -> bool {
        match (self, way) {
            // Nobody listens any more, or nothing else is left to do.
            (Step::All("QUIT"), Way::Garbage | Way::Half(_) | Way::Less | Way::More) => false,
            // Whether it deletes nobody knows then.
            (Step::One("DELE"), Way::Less | Way::Half(_)) => false,
            // To login commands no answer may be cut behind its end; and one too many is proven behind a body only.
            (Step::All("CAPA" | "STAT"), Way::Half(bytes)) => bytes < 20,
            (step, Way::More) => matches!(step, Step::One("RETR") | Step::All("CAPA")),
            // Without names nobody knows what is here already: a server that has them and does not give them is waited for.
            (Step::All("UIDL"), Way::Says(_) | Way::Ends(_) | Way::Garbage) => false,
            _ => true,
        }
    }
}

struct Bench {
    server: FakePop3,
    daemon: Daemon,
    ever: Vec<String>,
    well: Arc<AtomicBool>,
    connections: Arc<AtomicUsize>,
}

impl Bench {
    fn new(plan: &Plan) -> Bench {
        let (well, connections) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (is_well, count, asked, bad) =
            (Arc::clone(&well), Arc::clone(&connections), AtomicUsize::new(0), plan.clone());
        let server = FakePop3::start(SERVERS[plan.server], mails(COUNT), move |command, reply| {
            count.fetch_max(command.connection + 1, Ordering::SeqCst);
            let again = |times| asked.fetch_add(1, Ordering::SeqCst) < times;
            if !is_well.load(Ordering::SeqCst) && bad.hits(command) && bad.times.is_none_or(again) {
                bad.misbehaves(reply);
            }
        });
        let ever = mails(COUNT).iter().map(|mail| sha(&mail.body)).collect();
        let mut daemon = Daemon::new("[polling]\ninterval = \"24h\"\n");
        let more = format!("enabled = false\nkeep_original = {}", !plan.deletes);
        let mut source = pop3_poll("old", "alice", server.port, ("alice", "secret"), &more)
            .replace("security = \"none\"", "security = \"none\", timeout = \"3s\"");
        if plan.migrates {
            source = source.replace(&format!("[account.poll]\n{more}"), "[account.migrate]");
        }
        daemon.define("alice", &source);
        daemon.start();
        Bench { server, daemon, ever, well, connections }
    }

    fn run(&self, plan: &Plan) -> Result<Answer, String> {
        let (begun, before) = (Instant::now(), self.connections.load(Ordering::SeqCst));
        let words: &[&str] = if plan.migrates { &["start", "old", "--wait"] } else { &["poll", "old"] };
        let answer = self.daemon.ctl_within(LIMIT, words);
        let connects = self.connections.load(Ordering::SeqCst) - before;
        demand(connects <= CONNECTS, || format!("{connects} connects"))?;
        demand(begun.elapsed() < LIMIT, || format!("{:?}", begun.elapsed()))?;
        if plan.migrates {
            let state = self.daemon.migration("old")["state"].clone();
            demand(state == "completed", || format!("{state}: {answer:?}"))?;
        }
        Ok(answer)
    }

    /// Nothing twice, nothing that was never there, nothing that is neither here nor there.
    fn here(&self) -> Result<BTreeSet<String>, String> {
        let contents = Tree::read(&self.daemon.maildir("alice")).contents();
        let here: BTreeSet<String> = contents.iter().cloned().collect();
        demand(here.len() == contents.len(), || "something is here twice".to_owned())?;
        demand(here.iter().all(|one| self.ever.contains(one)), || "something never was there".to_owned())?;
        let there: Vec<String> = self.server.mails().iter().map(|mail| sha(&mail.body)).collect();
        let lost = self.ever.iter().filter(|one| !here.contains(*one) && !there.contains(one)).count();
        demand(lost == 0, || format!("{lost} are neither here nor there"))?;
        Ok(here)
    }
}

fn is_named(number: usize, shown: &Value) -> bool {
    let skipped = shown["skipped"].as_array().cloned().unwrap_or_default();
    let names = [format!("uidl-{number:04}"), format!("message {number}")];
    skipped.iter().any(|one| names.iter().any(|name| one["id"] == *name))
}

fn holds(plan: &Plan) -> Result<(), String> {
    let mut bench = Bench::new(plan);
    let checked = (|| {
        let answer = bench.run(plan)?;
        let here = bench.here()?;
        let shown = bench.daemon.show("old");
        for (at, _) in bench.ever.iter().enumerate().filter(|(_, mail)| !here.contains(*mail)) {
            let number = at + 1;
            let its = number == plan.number && matches!(plan.step, Step::One(_));
            demand(its, || format!("{number} is not here: {answer:?}"))?;
            demand(answer.code == 1, || format!("exit {} without {number}: {answer:?}", answer.code))?;
            // Words of limits are quoted, and the run ends early.
            let limits = answer.err.contains("too many of them") || answer.err.contains("[LOGIN-DELAY]");
            let named = is_named(number, &shown) || limits;
            demand(named, || format!("nobody is named: {answer:?} {:#}", shown["skipped"]))?;
        }
        if plan.again {
            bench.run(plan)?;
            bench.here()?;
        }
        bench.well.store(true, Ordering::SeqCst);
        let answer = bench.run(plan)?;
        let here = bench.here()?;
        demand(here.len() == COUNT, || format!("well again, and {} are here: {answer:?}", here.len()))?;
        demand(answer.code == 0, || format!("well again, and {answer:?}"))?;
        let left = bench.server.mails().len();
        demand(!plan.deletes || left == 0, || format!("well again, and {left} are not deleted: {answer:?}"))
    })();
    let checked = checked.map_err(|words: String| {
        let said = bench.server.said();
        let last = &said[said.len().saturating_sub(14)..];
        format!("{words}\n{}\nlast commands: {last:?}", bench.daemon.log_tail(12))
    });
    bench.daemon.stop();
    checked
}

#[test]
fn whatever_a_maildrop_fails_at() {
    all_hold(Plan::new, holds);
}
