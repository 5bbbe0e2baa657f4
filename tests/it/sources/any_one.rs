//! Whatever an IMAP source fails at, and however: it costs the one folder or message over which it fails. Everything else
//! is here once, the culprit is named, nothing is deleted there that is not here, in bounded time and few connects; and
//! once the server is well again, the next run brings the rest. Plans are made by chance, from fixed seeds.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stderr, reason = "this is a test")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::helpers::daemon::{Answer, Daemon, imap_migrate};
use crate::helpers::fake_imap::{Command, FakeImap, Folder, Reply, Then};
use crate::helpers::maildir::{Tree, sha};
use crate::helpers::plans::{all_hold, demand};
use rand::Rng;
use rand::rngs::StdRng;
use serde_json::Value;

const CONNECTS: usize = 20;
const LIMIT: Duration = Duration::from_secs(120);
const UIDPLUS: &str = "IMAP4rev1 UIDPLUS ID NAMESPACE SPECIAL-USE LIST-EXTENDED SASL-IR AUTH=PLAIN";
const FOLDERS: [(&str, u32); 3] = [("INBOX", 10), ("Sent", 5), ("Work", 5)];

/// At what it fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// What nobody needs.
    Optional(&'static str),
    /// LIST with what RFC 5258 and RFC 6154 add.
    Extended,
    /// The line of one folder in a LIST.
    Line,
    /// STATUS of one folder.
    Status,
    Examine,
    /// UID FETCH of sizes, with this message.
    Sizes,
    /// UID FETCH of whatever is no body, with this message.
    Listing,
    /// UID FETCH of flags, with this message.
    Flags,
    Body,
    /// The folder is opened to delete.
    Select,
    Store,
    Expunge,
}

/// How.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Says(&'static str),
    Bye(&'static str),
    Close,
    Hang,
    /// A line that nobody can read, before the answer.
    Garbage,
    /// The same in place of what was to come.
    Instead,
    /// Half of it, and the end.
    Half,
    /// It lacks.
    Less,
    /// It comes twice, or something else comes, too.
    More,
}

const WORDS: [&str; 26] = [
    "NO",
    "NO not this one",
    "NO [LIMIT] enough of it",
    "NO [THROTTLED] slower",
    "NO [INUSE] somebody has it",
    "NO [OVERQUOTA] no",
    "NO [UNAVAILABLE] try again later",
    "NO [SERVERBUG] oops",
    "NO [AUTHENTICATIONFAILED] wrong password",
    "NO [CONTACTADMIN] ask somebody",
    "NO [ALERT] look at this",
    "NO [NOPERM] not yours",
    "NO [CORRUPTION] broken",
    "NO [PARSE] what a date",
    "NO [CANNOT] never",
    "NO [EXPIRED] your password is old",
    "NO [PRIVACYREQUIRED] not in the open",
    "NO [EXPUNGEISSUED] some are gone",
    "NO [NONEXISTENT] where",
    "NO Session expired, please login again.",
    "NO Web login required",
    "NO Lockdown in sector 4",
    "NO [X-UNKNOWN 5 \"a] b",
    "BAD",
    "BAD what",
    "BAD internal error",
];
const BYES: [&str; 9] = [
    "no more",
    "[UNAVAILABLE] gone for now",
    "[SERVERBUG] oops",
    "internal error",
    "[INUSE] busy",
    "too many of them",
    "[AUTHENTICATIONFAILED] who are you",
    "Session expired, please login again.",
    "[ALERT] Autologout; idle for too long",
];

#[derive(Debug, Clone)]
struct Plan {
    step: Step,
    way: Way,
    /// The culprit.
    folder: usize,
    uid: u32,
    /// It fails so often; `None`: each time.
    times: Option<usize>,
    polls: bool,
    deletes: bool,
    /// A further run while it fails.
    again: bool,
    restarts: bool,
}

impl Plan {
    fn new(random: &mut StdRng) -> Plan {
        let folder = random.random_range(0..FOLDERS.len());
        let uid = random.random_range(1..=FOLDERS[folder].1);
        let polls = random.random_range(0..2) == 0;
        let deletes = polls && random.random_range(0..2) == 0;
        let step = loop {
            break match random.random_range(0..17) {
                0 => Step::Optional(["ID", "NAMESPACE", "LSUB", "CAPABILITY"][random.random_range(0..4)]),
                1 => Step::Extended,
                2 => Step::Line,
                3 | 4 => Step::Status,
                5 | 6 => Step::Examine,
                7 | 8 => Step::Sizes,
                9 => Step::Listing,
                10 => Step::Flags,
                11..14 => Step::Body,
                14 if deletes => Step::Select,
                15 if deletes => Step::Store,
                16 if deletes => Step::Expunge,
                _ => continue,
            };
        };
        let way = loop {
            let way = match random.random_range(0..14) {
                0..5 => Way::Says(WORDS[random.random_range(0..WORDS.len())]),
                5 | 6 => Way::Bye(BYES[random.random_range(0..BYES.len())]),
                7 => Way::Close,
                8 => Way::Hang,
                9 => Way::Garbage,
                10 => Way::Instead,
                11 => Way::Half,
                12 => Way::Less,
                _ => Way::More,
            };
            if step.can(way) {
                break way;
            }
        };
        let times = [None, None, Some(1), Some(2)][random.random_range(0..4)];
        // Without its capabilities nobody knows that it expunges single messages.
        let deletes = deletes && step != Step::Optional("CAPABILITY");
        let (again, restarts) = (random.random_range(0..4) == 0, random.random_range(0..8) == 0);
        Plan { step, way, folder, uid, times, polls, deletes, again, restarts }
    }

    fn hits(&self, command: &Command) -> bool {
        let name = command.name.as_str();
        let folder = FOLDERS[self.folder].0;
        let rest = String::from_utf8_lossy(&command.rest).to_uppercase();
        let named = rest.contains(&folder.to_uppercase());
        let fetches = name == "UID FETCH" && command.is_in(folder) && asks_for(command, self.uid);
        match self.step {
            Step::Optional(which) => name == which,
            Step::Extended => name == "LIST" && rest.contains("RETURN"),
            Step::Line => name == "LIST",
            Step::Status => name == "STATUS" && named,
            Step::Examine => name == "EXAMINE" && named,
            Step::Sizes => fetches && rest.contains("RFC822.SIZE"),
            Step::Listing => fetches && !command.wants_bodies(),
            Step::Flags => fetches && !command.wants_bodies() && rest.contains("FLAGS"),
            Step::Body => fetches && command.wants_bodies(),
            Step::Select => name == "SELECT" && named,
            Step::Store => name == "UID STORE" && command.is_in(folder) && asks_for(command, self.uid),
            Step::Expunge => name == "UID EXPUNGE" && command.is_in(folder) && asks_for(command, self.uid),
        }
    }

    /// The line of an answer that is the culprit's.
    fn line<'r>(&self, reply: &'r mut Reply) -> Option<&'r mut Vec<u8>> {
        match self.step {
            Step::Line => {
                let name = format!("\"{}\"", FOLDERS[self.folder].0);
                reply.untagged.iter_mut().find(|line| String::from_utf8_lossy(line).contains(&name))
            }
            Step::Sizes | Step::Listing | Step::Flags | Step::Body => reply.of(self.uid),
            _ => reply.untagged.last_mut(),
        }
    }

    fn misbehaves(&self, command: &Command, reply: &mut Reply) {
        let at = self.line(reply).map(|line| line.clone());
        let at = at.and_then(|line| reply.untagged.iter().position(|other| *other == line)).unwrap_or(0);
        match self.way {
            Way::Says(words) => {
                reply.untagged.truncate(at);
                reply.tagged(command, words);
            }
            Way::Bye(words) => reply.cut(at, &format!("* BYE {words}\r\n")),
            Way::Close => reply.cut(at, ""),
            Way::Hang => {
                reply.untagged.truncate(at);
                reply.tagged.clear();
                reply.then = Then::Hang;
            }
            Way::Garbage => reply.untagged.insert(at, b"* 3 FETCH (X )(\r\n".to_vec()),
            Way::Instead => match self.step {
                Step::Line => *self.line(reply).unwrap() = b"* LIST (\\X \"/\" {\r\n".to_vec(),
                _ => {
                    if let Some(line) = self.line(reply) {
                        *line = b"* 4 FETCH (UID (\r\n".to_vec();
                    }
                }
            },
            Way::Half => {
                let half = reply.untagged.get(at).map(|line| line[..line.len() / 2].to_vec());
                reply.cut(at, "");
                reply.untagged.extend(half);
            }
            Way::Less => {
                if at < reply.untagged.len() {
                    reply.untagged.remove(at);
                }
            }
            Way::More => {
                let more = match self.step {
                    Step::Body => b"* 2 FETCH (UID 4711 FLAGS () BODY[] {4}\r\nnone)\r\n".to_vec(),
                    _ => b"* OK by the way\r\n".to_vec(),
                };
                let twice = reply.untagged.get(at).cloned();
                reply.untagged.extend(twice);
                reply.untagged.insert(at, more);
            }
        }
    }
}

impl Step {
    fn can(self, way: Way) -> bool {
        match (self, way) {
            // To open a folder or to list one it has minutes.
            (Step::Status | Step::Examine | Step::Sizes | Step::Listing | Step::Flags, Way::Hang) => false,
            (Step::Select | Step::Line, Way::Hang) => false,
            // A list without a folder is one without it; a list that is refused is none.
            (Step::Line, way) => matches!(way, Way::Garbage | Way::Instead | Way::More),
            (Step::Extended, way) => !matches!(way, Way::Less | Way::Instead),
            // Nobody could tell it from the truth.
            (Step::Examine, Way::Less | Way::Instead) => false,
            // Whether it deleted them nobody knows then.
            (Step::Expunge, Way::Less | Way::Instead) => false,
            (Step::Optional("CAPABILITY"), way) => !matches!(way, Way::Less | Way::Instead),
            _ => true,
        }
    }
}

fn asks_for(command: &Command, uid: u32) -> bool {
    let set = String::from_utf8_lossy(&command.rest).split(' ').next().unwrap_or_default().to_owned();
    let number = |text: &str| if text == "*" { u32::MAX } else { text.parse().unwrap_or(0) };
    set.split(',').any(|part| match part.split_once(':') {
        Some((from, to)) => (number(from)..=number(to)).contains(&uid),
        None => number(part) == uid,
    })
}

/// One source, one daemon, two runs.
struct Bench {
    server: FakeImap,
    daemon: Daemon,
    ever: Vec<Vec<String>>,
    well: Arc<AtomicBool>,
}

impl Bench {
    fn new(plan: &Plan) -> Bench {
        let folders = FOLDERS.map(|(name, count)| Folder::new(name, count)).to_vec();
        let well = Arc::new(AtomicBool::new(false));
        let (is_well, asked, bad) = (Arc::clone(&well), AtomicUsize::new(0), plan.clone());
        let server = FakeImap::with_capability(UIDPLUS, folders, move |command, reply| {
            let again = |times| asked.fetch_add(1, Ordering::SeqCst) < times;
            if !is_well.load(Ordering::SeqCst) && bad.hits(command) && bad.times.is_none_or(again) {
                bad.misbehaves(command, reply);
            }
        });
        let ever = server.boxes().iter().map(|b| b.mails.iter().map(|m| sha(&m.body)).collect()).collect();
        let mut daemon = Daemon::new("[migrations]\nconnections = 2\n[polling]\ninterval = \"24h\"\n");
        let more = match plan.polls {
            true => format!("folders = [\"*\"]\nkeep_original = {}", !plan.deletes),
            false => String::new(),
        };
        let mut source = imap_migrate("old", "alice", server.port, ("alice", "secret"), &more)
            .replace("security = \"none\"", "security = \"none\", timeout = \"5s\"");
        if plan.polls {
            source = source.replace("[account.migrate]", "[account.poll]\nenabled = false");
        }
        daemon.define("alice", &source);
        daemon.start();
        Bench { server, daemon, ever, well }
    }

    /// Runs once.
    fn run(&self, plan: &Plan) -> Result<Answer, String> {
        let (begun, before) = (Instant::now(), self.server.connections());
        let words: &[&str] = if plan.polls { &["poll", "old"] } else { &["start", "old", "--wait"] };
        let answer = self.daemon.ctl_within(LIMIT, words);
        let connects = self.server.connections() - before;
        demand(connects <= CONNECTS, || format!("{connects} connects"))?;
        demand(begun.elapsed() < LIMIT, || format!("{:?}", begun.elapsed()))?;
        if !plan.polls {
            let state = self.daemon.migration("old")["state"].clone();
            demand(state == "completed", || format!("{state}"))?;
        }
        Ok(answer)
    }

    /// What is here: nothing twice, nothing that is not of the source, and all that is not at the source any more.
    fn here(&self) -> Result<BTreeSet<String>, String> {
        let contents = Tree::read(&self.daemon.maildir("alice")).contents();
        let here: BTreeSet<String> = contents.iter().cloned().collect();
        demand(here.len() == contents.len(), || "something is here twice".to_owned())?;
        let ever: BTreeSet<&String> = self.ever.iter().flatten().collect();
        demand(here.iter().all(|one| ever.contains(one)), || {
            "something is here that never was there".to_owned()
        })?;
        let boxes = self.server.boxes();
        let there: BTreeSet<String> = boxes.iter().flat_map(|b| &b.mails).map(|m| sha(&m.body)).collect();
        let lost = ever.iter().filter(|one| !here.contains(**one) && !there.contains(**one)).count();
        demand(lost == 0, || format!("{lost} are neither here nor there"))?;
        Ok(here)
    }
}

/// The culprit is named: its folder, and its UID where it is a message.
fn is_named(plan: &Plan, shown: &Value) -> bool {
    let folder = FOLDERS[plan.folder].0;
    let skipped = shown["skipped"].as_array().cloned().unwrap_or_default();
    skipped.iter().any(|one| {
        let (id, of) = (one["id"].as_str().unwrap_or_default(), one["folder"].as_str().unwrap_or_default());
        (of == folder || plan.step == Step::Line)
            && (id == plan.uid.to_string() || id == "(folder)" || id == "unlisted")
    })
}

fn holds(plan: &Plan) -> Result<(), String> {
    let mut bench = Bench::new(plan);
    let checked = (|| {
        let answer = bench.run(plan)?;
        let here = bench.here()?;
        let shown = bench.daemon.show("old");
        // A folder or a message.
        for (number, mails) in bench.ever.iter().enumerate() {
            for (at, _) in mails.iter().enumerate().filter(|(_, mail)| !here.contains(*mail)) {
                let uid = at + 1;
                let whole = !matches!(plan.step, Step::Body | Step::Sizes | Step::Flags);
                let its = number == plan.folder && (whole || uid == plan.uid as usize);
                demand(its, || format!("{} {uid} is not here: {answer:?}", FOLDERS[number].0))?;
                demand(answer.code == 1, || format!("exit {} without {uid}: {answer:?}", answer.code))?;
                demand(is_named(plan, &shown), || format!("nobody is named: {:#}", shown["skipped"]))?;
            }
        }
        if plan.deletes {
            for (number, at) in bench.server.boxes().iter().enumerate().filter(|(n, _)| *n != plan.folder) {
                demand(at.mails.is_empty(), || format!("{} is not deleted: {answer:?}", FOLDERS[number].0))?;
            }
            let left = !bench.server.boxes()[plan.folder].mails.is_empty();
            demand(!left || answer.code == 1, || format!("nobody says that something stays: {answer:?}"))?;
        }
        // And nothing is said to have failed when all is well.
        let once =
            plan.times.is_none() || answer.code == 0 || !shown["skipped"].as_array().unwrap().is_empty();
        demand(once || plan.deletes, || format!("exit 1, and nothing is named: {answer:?}"))?;
        if plan.again {
            bench.run(plan)?;
            bench.here()?;
        }
        if plan.restarts {
            bench.daemon.stop();
            bench.daemon.start();
        }
        bench.well.store(true, Ordering::SeqCst);
        let answer = bench.run(plan)?;
        let here = bench.here()?;
        demand(here.len() == 20, || format!("well again, and {} are here: {answer:?}", here.len()))?;
        demand(answer.code == 0, || format!("well again, and {answer:?}"))?;
        let left: usize = bench.server.boxes().iter().map(|b| b.mails.len()).sum();
        demand(!plan.deletes || left == 0, || format!("well again, and {left} are not deleted: {answer:?}"))
    })();
    let checked = checked.map_err(|words: String| {
        format!("{words}\n{}\nlast commands: {:?}", bench.daemon.log_tail(12), last(&bench.server))
    });
    bench.daemon.stop();
    checked
}

fn last(server: &FakeImap) -> Vec<String> {
    let said = server.said();
    said[said.len().saturating_sub(14)..].to_vec()
}

#[test]
fn whatever_a_server_fails_at() {
    all_hold(Plan::new, holds);
}
