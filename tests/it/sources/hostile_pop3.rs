//! Polls from POP3 servers that break off, lie and send what nobody asked for. However one ends, it says so:
//! what came is what was there, what did not come is listed with a reason or the run has failed in words; a
//! second poll brings nothing twice; and the daemon stays small.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stderr, reason = "this is a test")]

use crate::helpers::fake_pop3;
use std::collections::BTreeMap;
use std::fs;

use crate::helpers::daemon::{Daemon, pop3_poll, tells_how_it_ended};
use crate::helpers::fake_pop3::{Command, FakePop3, Mail, Reply, Then, mails};
use crate::helpers::maildir::{Tree, same, sha};
use serde_json::Value;

const ALL: &str = "UIDL TOP USER RESP-CODES";
const SETTINGS: &str = "[polling]\ninterval = \"24h\"\nmax_message_size = \"1MB\"\n";
const LOGIN: (&str, &str) = ("alice", "Correct-Horse-77");
/// MiB of memory that the daemon may have had at most.
const SMALL: u64 = 200;

/// A daemon with one account at this server.
struct Bench {
    server: FakePop3,
    daemon: Daemon,
}

impl Bench {
    fn new(
        capabilities: &str,
        mails: Vec<Mail>,
        hook: impl Fn(&Command, &mut Reply) + Send + Sync + 'static,
    ) -> Bench {
        Bench::with("", capabilities, mails, hook)
    }

    fn with(
        poll: &str,
        capabilities: &str,
        mails: Vec<Mail>,
        hook: impl Fn(&Command, &mut Reply) + Send + Sync + 'static,
    ) -> Bench {
        let server = FakePop3::start(capabilities, mails, hook);
        let mut daemon = Daemon::new(SETTINGS);
        daemon.define("alice", &pop3_poll("alice-old", "alice", server.port, LOGIN, poll));
        daemon.start();
        Bench { server, daemon }
    }

    /// Two seconds of silence are enough.
    fn impatient(
        capabilities: &str,
        mails: Vec<Mail>,
        hook: impl Fn(&Command, &mut Reply) + Send + Sync + 'static,
    ) -> Bench {
        let server = FakePop3::start(capabilities, mails, hook);
        let mut daemon = Daemon::new(SETTINGS);
        let definition = pop3_poll("alice-old", "alice", server.port, LOGIN, "");
        let short = "security = \"none\", timeout = \"2s\" }";
        daemon.define("alice", &definition.replace("security = \"none\" }", short));
        daemon.start();
        Bench { server, daemon }
    }

    /// Polls, and holds the daemon to its word.
    #[track_caller]
    fn poll(&self) -> Ran {
        let there: Vec<String> = shas(&self.server.mails());
        self.poll_of(&there)
    }

    /// The same when these messages were at the source.
    #[track_caller]
    fn poll_of(&self, there: &[String]) -> Ran {
        let answer = self.daemon.ctl(&["poll", "alice-old"]);
        let shown = self.daemon.show("alice-old");
        let run = shown["account"]["last_run"].clone();
        let skipped = shown["skipped"].as_array().unwrap().clone();
        let here = Tree::read(&self.daemon.maildir("alice")).contents();
        let error = run["error"].as_str().unwrap_or_default().to_owned();
        let ran = Ran { here, skipped, error, run, shown };

        for (content, count) in count(&ran.here) {
            let most = there.iter().filter(|known| *known == content).count();
            assert!(count <= most, "{content} is here {count} times and was there {most} times: {ran:#?}");
        }
        for skipped in &ran.skipped {
            assert!(skipped["reason"].as_str().is_some_and(|why| why.len() > 10), "{ran:#?}");
            assert!(skipped["id"].as_str().is_some_and(|id| !id.is_empty()), "{ran:#?}");
        }
        if ran.is_ok() {
            tells_how_it_ended(&answer, "alice-old", &ran.run);
            let missing = there.len().saturating_sub(ran.here.len());
            assert!(
                missing <= ran.skipped.len() || ran.ended_early(),
                "{missing} are lost silently: {ran:#?}"
            );
        } else {
            assert_eq!(answer.code, 1, "{answer:?}");
            assert!(ran.error.len() > 15, "it does not say why: {ran:#?}\n{}", self.daemon.log_tail(20));
        }
        let words = [answer.out, answer.err, self.daemon.log(), ran.shown.to_string()].concat();
        assert!(!words.contains(LOGIN.1), "the password is shown");
        self.harmless();
        let peak = self.peak();
        let test = std::thread::current().name().unwrap_or_default().to_owned();
        eprintln!("{test}: {peak} MiB, {}", if ran.is_ok() { "ok" } else { &ran.error });
        assert!(peak < SMALL, "{peak} MiB");
        ran
    }

    /// Nothing that a server said moves the cursor.
    #[track_caller]
    fn harmless(&self) {
        let mut words = self.daemon.log();
        for verb in [&["show", "alice-old"][..], &["list"], &["status"], &["--json", "show", "alice-old"]] {
            let answer = self.daemon.ctl(verb).code(0);
            words.push_str(&(answer.out + &answer.err));
        }
        let raw = |c: &char| (c.is_control() && *c != '\n') || ('\u{202a}'..='\u{202e}').contains(c);
        assert_eq!(words.chars().find(raw), None, "a raw control character in {words}");
    }

    /// The most memory that the daemon had so far, in MiB.
    fn peak(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.daemon.pid().unwrap())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
    }
}

fn shas(mails: &[Mail]) -> Vec<String> {
    mails.iter().map(|mail| sha(&mail.body)).collect()
}

fn count(contents: &[String]) -> BTreeMap<&String, usize> {
    let mut counts = BTreeMap::new();
    contents.iter().for_each(|content| *counts.entry(content).or_default() += 1);
    counts
}

#[derive(Debug)]
struct Ran {
    here: Vec<String>,
    skipped: Vec<Value>,
    error: String,
    run: Value,
    shown: Value,
}

impl Ran {
    fn is_ok(&self) -> bool {
        self.run["result"] == "ok"
    }

    /// It imported something before its connection ended, and says so.
    fn ended_early(&self) -> bool {
        self.run["note"].as_str().is_some_and(|note| note.contains("it ended early: "))
    }

    fn number(&self, key: &str) -> u64 {
        self.run[key].as_u64().unwrap()
    }

    /// So many are here and so many are listed.
    #[track_caller]
    fn has(self, here: usize, skipped: usize) -> Ran {
        assert!(self.is_ok(), "{self:#?}");
        assert_eq!((self.here.len(), self.skipped.len()), (here, skipped), "{self:#?}");
        self
    }

    /// It failed and says this.
    #[track_caller]
    fn failed(self, words: &str) -> Ran {
        assert!(!self.is_ok() && self.error.contains(words), "nothing of {words:?} in {self:#?}");
        self
    }
}

/// A server with a habit that does no harm: all messages come, once.
#[track_caller]
fn all_come(capabilities: &str, hook: impl Fn(&Command, &mut Reply) + Send + Sync + 'static) {
    let bench = Bench::new(capabilities, mails(6), hook);
    bench.poll().has(6, 0);
    let again = bench.poll().has(6, 0);
    assert_eq!((again.number("imported"), again.number("already_there")), (0, 6), "{again:#?}");
    bench.server.change(|all| all.push(mails(7).remove(6)));
    assert_eq!(bench.poll().has(7, 0).number("imported"), 1);
}

/// A server that cannot be believed: the poll fails and says why, also the second time.
#[track_caller]
fn fails(words: &str, hook: impl Fn(&Command, &mut Reply) + Send + Sync + 'static) {
    let bench = Bench::new(ALL, mails(6), hook);
    bench.poll().failed(words);
    bench.poll().failed(words);
}

fn at(
    name: &'static str,
    what: impl Fn(&mut Reply) + Send + Sync + 'static,
) -> impl Fn(&Command, &mut Reply) + Send + Sync {
    move |command, reply| {
        // LIST and UIDL are the lists, and not what is said of one message.
        let alone = ["LIST", "UIDL"].contains(&name) && !command.rest.is_empty();
        if (command.name == name && !alone) || command.is(name) {
            what(reply);
        }
    }
}

fn text(body: &Option<Vec<u8>>) -> String {
    String::from_utf8(body.clone().unwrap()).unwrap()
}

/// Replaces what follows each number of a list, and of a line that is asked for alone; the number of the line counts from 1.
fn list(
    name: &'static str,
    what: impl Fn(usize) -> String + Send + Sync + 'static,
) -> impl Fn(&Command, &mut Reply) + Send + Sync {
    move |command, reply| {
        if command.name != name {
            return;
        }
        match command.rest.parse() {
            Ok(n) => reply.line = format!("+OK {n} {}", what(n)).into_bytes(),
            Err(_) => {
                let lines = text(&reply.body).lines().count();
                let all = (1..=lines).map(|n| format!("{n} {}\r\n", what(n)));
                reply.body = Some(all.collect::<String>().into());
            }
        }
    }
}

// ---- servers that are only odd

#[test]
fn an_honest_server() {
    all_come(ALL, |_, _| {});
    all_come("UIDL TOP PIPELINING", |_, _| {});
    all_come("", |_, _| {});
}

#[test]
fn names_that_are_too_long_or_hold_anything() {
    for length in [70, 71, 200, 8_200, 10_000] {
        all_come(ALL, list("UIDL", move |n| format!("{n}{}", "u".repeat(length))));
    }
    all_come(ALL, list("UIDL", |n| format!("\u{0}\u{1b}[2J\u{7f}é {n} \u{202e}")));
    all_come(ALL, list("UIDL", |n| format!("<{n}.message id with blanks@example.com>")));
}

#[test]
fn names_that_are_blank_or_repeat() {
    all_come(ALL, list("UIDL", |_| String::new()));
    all_come(ALL, list("UIDL", |_| "   ".to_owned()));
    all_come(ALL, list("UIDL", |_| "same".to_owned()));
    all_come(ALL, list("UIDL", |n| if n < 3 { "twice".to_owned() } else { format!("u{n}") }));
    // Without headers to tell them by, all of a message tells.
    all_come("UIDL USER", |command, reply| match command.name.as_str() {
        "UIDL" => list("UIDL", |_| "same".to_owned())(command, reply),
        "TOP" => reply.only("-ERR unknown command"),
        _ => {}
    });
}

#[test]
fn names_that_change_with_each_session() {
    all_come(ALL, |command, reply| {
        list("UIDL", {
            let c = command.connection;
            move |n| format!("{c}-{n}")
        })(command, reply)
    });
}

#[test]
fn names_that_change_when_the_mail_moves_to_another_server() {
    let bench = Bench::new(ALL, mails(30), |_, _| {});
    bench.poll().has(30, 0);
    bench.server.change(|all| all.iter_mut().for_each(|mail| mail.uidl.extend_from_slice(b".moved")));
    bench.server.change(|all| all.push(mails(31).remove(30)));
    let after = bench.poll().has(31, 0);
    assert_eq!((after.number("imported"), after.number("already_there")), (1, 30), "{after:#?}");
    bench.server.forget();
    bench.poll().has(31, 0);
    assert!(!bench.server.said().iter().any(|line| line.starts_with("RETR")), "{:?}", bench.server.said());
}

#[test]
fn neither_names_nor_headers() {
    let none = |command: &Command, reply: &mut Reply| {
        if ["UIDL", "TOP"].contains(&command.name.as_str()) {
            reply.only("-ERR unknown command");
        }
    };
    all_come("", none);
    all_come("USER", none);
    all_come("PIPELINING", none);
    // Two that are alike to the octet are two, and stay two.
    let mut alike = mails(3);
    alike[1] = alike[0].clone();
    let bench = Bench::new("", alike.clone(), none);
    bench.poll().has(3, 0);
    bench.poll().has(3, 0);
    bench.server.change(|all| all.push(alike[0].clone()));
    bench.poll().has(4, 0);
    bench.server.change(|all| drop(all.remove(0)));
    let ran = bench.poll_of(&bench_contents(&alike, &alike[0]));
    assert_eq!(ran.number("imported"), 0, "{ran:#?}");
}

fn bench_contents(mails: &[Mail], more: &Mail) -> Vec<String> {
    mails.iter().chain([more]).map(|mail| sha(&mail.body)).collect()
}

#[test]
fn no_names_but_headers() {
    all_come("TOP", at("UIDL", |reply| reply.only("-ERR unknown command")));
}

#[test]
fn names_that_are_announced_and_refused() {
    all_come(ALL, at("UIDL", |reply| reply.only("-ERR unknown command")));
    // Unless it does not know the command, it may know it another time.
    let bench = Bench::new(ALL, mails(6), at("UIDL", |reply| reply.only("-ERR I had rather not")));
    bench.poll().failed("refused UIDL, which it announces (CAPA): I had rather not; it is tried again");
}

#[test]
fn names_and_headers_that_go_away() {
    let gone = |command: &Command, reply: &mut Reply| {
        if command.connection > 0 && ["UIDL", "TOP"].contains(&command.name.as_str()) {
            reply.only("-ERR unknown command");
        }
    };
    all_come("", gone);
}

#[test]
fn sizes_that_are_no_sizes() {
    for size in ["18446744073709551616", "-5", "0", "1", "many", "", "3 and more"] {
        all_come(ALL, list("LIST", move |_| size.to_owned()));
    }
    all_come(ALL, at("STAT", |reply| reply.only("+OK 99999999999999999999 -1")));
}

#[test]
fn lists_in_any_order() {
    let backwards = |reply: &mut Reply| {
        let lines: Vec<String> = text(&reply.body).lines().rev().map(|line| format!("{line}\r\n")).collect();
        reply.body = Some(lines.concat().into_bytes());
    };
    all_come(ALL, at("LIST", backwards));
    all_come(ALL, at("UIDL", backwards));
    let twice = |reply: &mut Reply| reply.body = reply.body.as_ref().map(|body| [&body[..], body].concat());
    all_come(ALL, at("UIDL", twice));
    all_come(ALL, at("LIST", twice));
}

#[test]
fn bodies_with_anything_in_them() {
    let odd: Vec<Mail> = [
        &b"a: b\r\n\r\n\0\0\r\n"[..],
        b"\r\n",
        b"no header at all\r\n",
        b"x: y\r\n\r\n\xff\xfe\x1b[2J\r\n",
        b"a: b\r\n\r\nbare\nfeeds\n.\n\r\n",
    ]
    .iter()
    .enumerate()
    .map(|(n, body)| Mail { uidl: format!("u{n}").into_bytes(), body: body.to_vec() })
    .collect();
    let bench = Bench::new(ALL, odd, |_, _| {});
    bench.poll().has(5, 0);
    bench.poll().has(5, 0);
}

// ---- servers that lie about messages

#[test]
fn a_message_that_is_larger_than_it_was_listed() {
    let mut all = mails(6);
    all[2].body =
        [b"Subject: large\r\n\r\n".to_vec(), b"A line of thirty-five octets, or so.\r\n".repeat(38_000)]
            .concat();
    let bench = Bench::new(ALL, all, list("LIST", |_| "100".to_owned()));
    let first = bench.poll().has(5, 1);
    assert!(first.skipped[0]["size"].as_u64().unwrap() > 1_048_576, "{first:#?}");
    assert!(first.skipped[0]["reason"].as_str().unwrap().contains("max_message_size"), "{first:#?}");
    assert_eq!(first.skipped[0]["id"], "uidl-0003");
    let second = bench.poll().has(5, 1);
    assert_eq!(second.skipped, first.skipped);
    assert_eq!(bench.server.count("RETR 3"), 1, "it is not fetched again");
}

#[test]
fn a_message_that_never_ends() {
    let bench = Bench::new(
        ALL,
        mails(6),
        at("RETR 3", |reply| {
            reply.body = None;
            reply.then = Then::Endless(Box::new(|_| b"one more line of it\r\n".to_vec()));
        }),
    );
    // The session ends over it, and the next one of the same run leaves it out.
    bench.poll().has(5, 1);
    bench.poll().has(5, 1);
    assert_eq!(bench.server.count("RETR 3"), 1, "it is not fetched again");
}

#[test]
fn a_message_that_is_listed_as_too_large() {
    let bench = Bench::new(
        ALL,
        mails(6),
        list("LIST", |n| if n == 4 { "1048577".to_owned() } else { "9".to_owned() }),
    );
    bench.poll().has(5, 1);
    bench.poll().has(5, 1);
    assert_eq!(bench.server.count("RETR 4"), 0);
}

#[test]
fn a_message_that_is_refused() {
    let bench =
        Bench::new(ALL, mails(6), at("RETR 3", |reply| reply.only("-ERR \u{1b}]0;oh\u{7}it is damaged")));
    let ran = bench.poll().has(5, 1);
    assert!(ran.skipped[0]["reason"].as_str().unwrap().contains("it is damaged"), "{ran:#?}");
    assert_eq!(bench.poll().has(5, 1).number("imported"), 0);
}

/// Some take the Message-ID for it (RFC 1939 allows another message to have it once this one is gone), or tell none.
#[test]
fn a_uidl_that_is_used_again() {
    for capabilities in [ALL, "USER TOP"] {
        let source = FakePop3::start(capabilities, Vec::new(), |_, _| {});
        let mut daemon = Daemon::new("[polling]\ninterval = \"24h\"\n");
        let login = ("alice", "secret");
        daemon.define("alice", &pop3_poll("old", "alice", source.port, login, "keep_original = false"));
        daemon.start();
        let mut all = Vec::new();
        for turn in 0..6 {
            let head =
                "From: a@example.com\r\nDate: Mon, 1 Jan 2024 10:00:00 +0000\r\nMessage-ID: <one@x>\r\n";
            let body = format!("{head}\r\nturn {turn}\r\n").into_bytes();
            all.push(sha(&body));
            source.change(|there| {
                assert!(there.is_empty(), "the last one was collected");
                there.push(fake_pop3::Mail { uidl: b"<one@x>".to_vec(), body });
            });
            let run = daemon.poll("old");
            assert_eq!(
                (&run["imported"], &run["already_there"]),
                (&1.into(), &0.into()),
                "turn {turn}: {run:#}"
            );
        }
        same("all of them", &all, &Tree::read(&daemon.maildir("alice")).contents());
        daemon.stop();
    }
}

#[test]
fn a_server_that_has_no_time_in_the_middle() {
    for words in ["-ERR [SYS/TEMP] not now", "-ERR [IN-USE] wait", "-ERR please try again later"] {
        let bench = Bench::new(ALL, mails(6), move |command, reply| {
            if command.is("RETR 3") && command.connection < 1 {
                reply.only(words);
            }
        });
        let first = bench.poll();
        // The daemon may have tried again by itself.
        assert!(first.is_ok() || first.here.len() == 2, "{first:#?}");
        bench.poll().has(6, 0);
    }
    // Where it never has: the others come, and in the end that one is told.
    let bench = Bench::new(ALL, mails(6), at("RETR 3", |reply| reply.only("-ERR [SYS/TEMP] not now")));
    let ran = bench.poll().has(5, 1);
    assert!(ran.skipped[0]["reason"].as_str().unwrap().contains("not now"), "{ran:#?}");
}

#[test]
fn a_message_that_is_cut() {
    for octets in [0, 1, 5, 30, 70] {
        let bench = Bench::new(ALL, mails(6), move |command, reply| {
            if command.is("RETR 4") && command.connection < 1 {
                reply.cut(octets);
            }
        });
        let first = bench.poll();
        // The daemon may have tried again by itself.
        assert!(first.is_ok() || first.here.len() == 3, "{first:#?}");
        bench.poll().has(6, 0);
    }
    let bench = Bench::new(
        ALL,
        mails(6),
        at("RETR 4", |reply| {
            reply.unfinished();
            reply.then = Then::Close;
        }),
    );
    // What is behind it comes all the same, in the same run, and it is given up alone.
    let ran = bench.poll().has(5, 1);
    assert!(ran.skipped[0]["reason"].as_str().unwrap().contains("each session broke off"), "{ran:#?}");
    bench.poll().has(5, 1);
}

#[test]
fn numbers_that_nobody_asked_for() {
    let bench = Bench::new(
        ALL,
        mails(6),
        at("UIDL", |reply| {
            reply.body.as_mut().unwrap().extend_from_slice(b"77 not-listed\r\n4294967295 neither\r\n");
        }),
    );
    bench.poll().has(6, 2);
    bench.poll().has(6, 2);
}

// ---- servers that nobody can believe

#[test]
fn lists_that_contradict_themselves() {
    // What is said of the message alone counts, and STAT shows that a line stands for no message.
    all_come(ALL, at("UIDL", |reply| reply.body.as_mut().unwrap().extend_from_slice(b"1 another\r\n")));
    all_come(ALL, at("LIST", |reply| reply.body.as_mut().unwrap().extend_from_slice(b"1 77777\r\n")));
    for line in ["0 zero\r\n", "-1 x\r\n", "4294967296 x\r\n", "oh\r\n", "\u{0}\r\n"] {
        all_come(
            ALL,
            at("UIDL", move |reply| reply.body.as_mut().unwrap().extend_from_slice(line.as_bytes())),
        );
    }
    fails(
        "message number",
        at("UIDL", move |reply| reply.body = Some("words and words\r\n".repeat(11).into_bytes())),
    );
}

#[test]
fn lists_without_end() {
    let endless = |reply: &mut Reply| {
        reply.body = None;
        reply.then = Then::Endless(Box::new(|n| format!("{} {}\r\n", n + 1, n % 7).into_bytes()));
    };
    fails("500,000", at("UIDL", endless));
    // Sizes are asked for one by one then.
    all_come(ALL, at("LIST", endless));
    fails(
        "without end",
        at("UIDL", |reply| {
            reply.body = None;
            reply.then = Then::Endless(Box::new(|_| b"1 always-the-same\r\n".to_vec()));
        }),
    );
    fails(
        "without end",
        at("UIDL", |reply| {
            reply.body = None;
            reply.then =
                Then::Endless(Box::new(|n| format!("{} {}\r\n", n + 1, "u".repeat(5_000)).into_bytes()));
        }),
    );
}

#[test]
fn lines_without_end() {
    let endless = |reply: &mut Reply| {
        reply.as_it_stands("+OK ");
        reply.then = Then::Endless(Box::new(|_| vec![b'x'; 100]));
    };
    for name in ["GREETING", "PASS", "RETR"] {
        fails("without end", at(name, endless));
    }
    // What is not needed is left out.
    for name in ["CAPA", "LIST"] {
        all_come(ALL, at(name, endless));
    }
    fails(
        "without end",
        at("UIDL", |reply| {
            reply.as_it_stands("+OK\r\n1 ");
            reply.then = Then::Endless(Box::new(|_| vec![b'x'; 100]));
        }),
    );
    all_come(
        ALL,
        at("CAPA", |reply| {
            reply.as_it_stands("+OK\r\n");
            reply.then = Then::Endless(Box::new(|_| b"X-MORE\r\n".to_vec()));
        }),
    );
}

#[test]
fn what_nobody_asked_for() {
    for more in ["+OK by the way\r\n", "-ERR by the way\r\n", "by the way\r\n", "\r\n", "\0"] {
        for name in ["GREETING", "CAPA", "USER", "PASS", "LIST", "UIDL", "RETR 2", "RETR 6"] {
            let bench =
                Bench::new(ALL, mails(6), at(name, move |reply| reply.more = more.as_bytes().to_vec()));
            // Whatever the moment at which it is noticed, nothing false is here: that is looked at there.
            let ran = bench.poll();
            assert!(!ran.is_ok() || ran.here.len() + ran.skipped.len() == 6, "{name} {more:?}: {ran:#?}");
            bench.poll();
        }
    }
}

#[test]
fn words_after_the_last_one() {
    all_come(ALL, at("QUIT", |reply| reply.more = b"+OK\r\n-ERR\r\nwhatever\r\n".to_vec()));
    all_come(ALL, at("QUIT", |reply| reply.then = Then::Hang));
    all_come(ALL, at("QUIT", |reply| reply.as_it_stands("")));
    all_come(ALL, at("QUIT", |reply| reply.then = Then::Endless(Box::new(|_| b"+OK bye\r\n".to_vec()))));
}

/// Nobody needs sizes; names are needed.
#[test]
fn promises_without_what_was_promised() {
    for name in ["LIST", "UIDL"] {
        let bench = Bench::impatient(ALL, mails(6), move |command, reply| {
            if command.name == name {
                reply.only("+OK");
                reply.then = Then::Hang;
            }
        });
        match name {
            "LIST" => drop(bench.poll().has(6, 0)),
            _ => drop(bench.poll().failed("fell silent")),
        }
    }
}

/// Takes twice the stall limit, about two minutes.
#[test]
fn a_message_without_its_end() {
    let bench = Bench::new(
        ALL,
        mails(6),
        at("RETR 4", |reply| {
            reply.unfinished();
            reply.then = Then::Hang;
        }),
    );
    let ran = bench.poll().has(5, 1);
    assert!(ran.skipped[0]["reason"].as_str().unwrap().contains("each session broke off"), "{ran:#?}");
}

#[test]
fn greetings_that_are_none() {
    for greeting in [
        "220 mail.example.com ESMTP\r\n",
        "* OK IMAP4rev1\r\n",
        "HTTP/1.1 400 Bad Request\r\n\r\n",
        "\x16\x03\x01\x02\0\n",
        "\r\n",
    ] {
        fails("no reply", at("GREETING", move |reply| reply.as_it_stands(greeting)));
    }
    fails("turned us away: oh no", at("GREETING", |reply| reply.only("-ERR oh no")));
    fails("before it greeted", at("GREETING", |reply| reply.cut(0)));
}

#[test]
fn words_put_in_before_tls() {
    let server = FakePop3::start(
        "STLS UIDL TOP USER",
        mails(3),
        at("STLS", |reply| {
            reply.as_it_stands("+OK go on\r\n+OK and you are alice already\r\n");
        }),
    );
    let mut daemon = Daemon::new(SETTINGS);
    let definition = pop3_poll("alice-old", "alice", server.port, LOGIN, "");
    daemon.define("alice", &definition.replace("security = \"none\"", "security = \"starttls\""));
    daemon.start();
    let bench = Bench { server, daemon };
    bench.poll().failed("more in plain text after it agreed to STLS");
    assert!(!bench.server.said().iter().any(|line| line.starts_with("USER")), "{:?}", bench.server.said());
}

// ---- what servers say at the login, and what it counts for

#[test]
fn refusals_and_what_they_count_for() {
    for (step, words, counts) in [
        ("PASS", "-ERR [IN-USE] Do you have another POP session running?", false),
        ("PASS", "-ERR [LOGIN-DELAY] minimum time between mail checks violation", false),
        ("PASS", "-ERR [SYS/TEMP] Temporary system problem. Please try again later.", false),
        ("GREETING", "-ERR [SYS/TEMP] come back later", false),
        ("PASS", "-ERR maildrop already locked", false),
        ("PASS", "-ERR Server Unavailable. 15", false),
        ("PASS", "-ERR too many connections", false),
        ("UIDL", "-ERR [SYS/TEMP] not now", false),
        ("PASS", "-ERR Unable to log on", false),
        ("PASS", "-ERR [AUTH] Username and password not accepted.", true),
        (
            "PASS",
            "-ERR [AUTH] Application-specific password required: https://support.google.com/accounts/answer/185833",
            true,
        ),
        ("PASS", "-ERR [AUTH] Web login required: https://support.google.com/mail/answer/78754", true),
        ("PASS", "-ERR [SYS/PERM] Your account is not enabled for POP access.", true),
        ("PASS", "-ERR Protocol error. Connection is closed. 10", true),
        ("PASS", "-ERR Logon failure: unknown user name or bad password.", true),
    ] {
        let bench = Bench::new(ALL, mails(2), at(step, move |reply| reply.only(words)));
        let said = words.rsplit("] ").next().unwrap().trim_start_matches("-ERR ");
        let ran = bench.poll().failed(said);
        let failures = ran.shown["account"]["consecutive_failures"].as_u64().unwrap();
        assert_eq!(failures, u64::from(counts), "{words}: {ran:#?}");
    }
}

#[test]
fn a_server_that_wants_no_more_than_one_login_a_minute() {
    let bench = Bench::new(ALL, mails(2), |command, reply| {
        if command.name == "GREETING" && command.connection > 0 {
            reply.cut(0);
        }
    });
    bench.poll().has(2, 0);
    let ran = bench.poll().failed("before it greeted");
    assert_eq!(ran.shown["account"]["consecutive_failures"], 0, "{ran:#?}");
}

#[test]
fn two_thousand_octets_of_escape_sequences() {
    for name in ["GREETING", "CAPA", "USER", "PASS", "LIST", "UIDL", "RETR 1", "QUIT"] {
        let words =
            format!("-ERR {}\u{9b}2J\u{202e}\u{7f}\u{8}", "\u{1b}[31;5m\u{7}\u{1b}]0;owned\u{7}".repeat(90));
        let bench = Bench::new(ALL, mails(2), at(name, move |reply| reply.only(&words)));
        let ran = bench.poll();
        assert!(ran.error.len() < 1_000, "{ran:#?}");
    }
}

// ---- providers

/// The oldest 250 that were not fetched yet; what was fetched is gone after QUIT.
#[test]
fn gmail_gives_its_mail_in_rounds() {
    let all = mails(610);
    let contents: Vec<String> = shas(&all);
    let gmail = |command: &Command, reply: &mut Reply| {
        if matches!(command.name.as_str(), "LIST" | "UIDL") && command.rest.is_empty() {
            let first: String =
                text(&reply.body).lines().take(250).map(|line| format!("{line}\r\n")).collect();
            reply.body = Some(first.into_bytes());
        }
    };
    let capabilities = "USER RESP-CODES EXPIRE_0 LOGIN-DELAY_300 TOP UIDL X-GOOGLE-RICO";
    let bench = Bench::new(capabilities, all, gmail);
    for (round, here) in [250, 500, 610, 610].into_iter().enumerate() {
        let answer = bench.daemon.ctl(&["poll", "alice-old"]).code(0);
        let here_now = Tree::read(&bench.daemon.maildir("alice")).contents();
        assert_eq!(here_now.len(), here, "round {round}: {answer:?}");
        assert!(count(&here_now).values().all(|count| *count == 1));
        assert!(here_now.iter().all(|content| contents.contains(content)));
        bench.server.change(|all| drop(all.drain(..all.len().min(250))));
    }
}

#[test]
fn deleting_counts_when_the_server_says_so() {
    let delete = "keep_original = false";
    let bench = Bench::with(delete, ALL, mails(6), at("DELE 3", |reply| reply.only("-ERR not that one")));
    let there = bench.poll_of(&shas(&mails(6)));
    assert_eq!((there.number("imported"), there.number("deleted")), (6, 5), "{there:#?}");
    let note = "not everything was deleted at the source: not that one";
    assert_eq!(there.run["note"], note, "{there:#?}");
    // A farewell that fails: nothing was deleted for certain, and nothing comes twice.
    let bench = Bench::with(delete, ALL, mails(6), |command, reply| {
        if command.name == "QUIT" && command.connection == 0 {
            reply.only("-ERR some deleted messages not removed");
        }
    });
    let all: Vec<String> = shas(&mails(6));
    // Another session of the same run finds them gone.
    let first = bench.poll_of(&all).has(6, 0);
    assert_eq!((first.number("imported"), first.number("deleted")), (6, 0), "{first:#?}");
    bench.server.change(|now| *now = mails(6));
    let second = bench.poll_of(&all).has(6, 0);
    assert_eq!((second.number("imported"), second.number("deleted")), (0, 6), "{second:#?}");
}

/// As with "recent:" at Gmail: DELE and QUIT are answered well, and nothing goes.
#[test]
fn what_was_deleted_and_is_still_listed_stays_known() {
    let bench = Bench::with("keep_original = false", ALL, mails(6), |_, _| {});
    let all: Vec<String> = shas(&mails(6));
    let first = bench.poll_of(&all).has(6, 0);
    assert_eq!((first.number("imported"), first.number("deleted")), (6, 6), "{first:#?}");
    bench.server.change(|now| *now = mails(6));
    // Each is fetched once, since another message might have its name by now.
    let second = bench.poll_of(&all).has(6, 0);
    assert_eq!((second.number("imported"), second.number("already_there")), (0, 6), "{second:#?}");
    for (_, message) in Tree::read(&bench.daemon.maildir("alice")).messages() {
        fs::remove_file(&message.path).unwrap();
    }
    let all: Vec<String> = shas(&mails(7));
    for turn in 0..3 {
        bench.server.change(|now| *now = mails(6));
        bench.server.forget();
        // The member deleted them: they do not come back.
        let ran = bench.poll_of(&[]).has(0, 0);
        assert_eq!((ran.number("imported"), ran.number("deleted")), (0, 0), "{turn}: {ran:#?}");
        let said = bench.server.said();
        assert!(!said.iter().any(|line| line.starts_with("RETR") || line.starts_with("DELE")), "{said:?}");
    }
    // When a listing does not show them, they are forgotten, and their names are free.
    bench.server.change(Vec::clear);
    bench.poll_of(&[]).has(0, 0);
    bench.server.change(|now| *now = mails(7).split_off(6));
    bench.poll_of(&all[6..]).has(1, 0);
    bench.server.change(|now| *now = mails(2));
    bench.poll_of(&[&all[..2], &all[6..]].concat()).has(3, 0);
}

/// A message that comes shorter than it is listed is imported, and stays at the source.
#[test]
fn what_may_lack_something_is_not_deleted() {
    let bench = Bench::with("keep_original = false", ALL, mails(6), |command, reply| {
        if command.is("RETR 3") {
            let body = reply.body.as_mut().unwrap();
            body.truncate(body.len() - 41);
        }
    });
    let mut there: Vec<String> = shas(&mails(6));
    there.push(sha(&mails(3)[2].body[..mails(3)[2].body.len() - 41]));
    let first = bench.poll_of(&there).has(6, 1);
    assert_eq!((first.number("imported"), first.number("deleted")), (5, 5), "{first:#?}");
    let reason = first.skipped[0]["reason"].as_str().unwrap();
    assert!(reason.contains("never deleted at the source"), "{reason}");
    for _ in 0..2 {
        let again = bench.poll_of(&there).has(6, 1);
        assert_eq!((again.number("imported"), again.number("deleted")), (0, 0), "{again:#?}");
    }
    assert_eq!(bench.server.mails().len(), 1);
}

/// Every UIDL is its message's number: the one that comes when another has gone is not taken for it.
#[test]
fn names_that_are_numbers() {
    let numbers = |command: &Command, reply: &mut Reply| list("UIDL", |n| n.to_string())(command, reply);
    let bench = Bench::new(ALL, mails(6), numbers);
    bench.poll().has(6, 0);
    bench.server.change(|all| {
        all.remove(1);
        all.push(mails(7).remove(6));
    });
    let there: Vec<String> = shas(&mails(7));
    let second = bench.poll_of(&there).has(7, 0);
    assert_eq!((second.number("imported"), second.number("already_there")), (1, 5), "{second:#?}");
    bench.poll_of(&there).has(7, 0);
}

/// They looked like numbers until one of them went: from then on they are names, and nothing comes twice.
#[test]
fn names_that_looked_like_numbers() {
    let mut all = mails(6);
    all.iter_mut().enumerate().for_each(|(n, mail)| mail.uidl = format!("{}", n + 1).into_bytes());
    let bench = Bench::new(ALL, all, |_, _| {});
    bench.poll().has(6, 0);
    bench.server.change(|all| drop(all.remove(1)));
    let there: Vec<String> = shas(&mails(6));
    for tops in [5, 0] {
        bench.server.forget();
        let ran = bench.poll_of(&there).has(6, 0);
        assert_eq!((ran.number("imported"), ran.number("already_there")), (0, 5), "{ran:#?}");
        let said = bench.server.said();
        assert_eq!(said.iter().filter(|line| line.starts_with("TOP")).count(), tops, "{said:?}");
    }
}

// ---- one message that is not like the others

/// One bad one of forty: the others come in the same run, and it is named. `bad`: the answer to `RETR 1`.
#[track_caller]
fn one_of_forty(capabilities: &str, bad: impl Fn(&mut Reply) + Send + Sync + 'static) -> (Bench, Ran) {
    let bench = Bench::with("keep_original = false", capabilities, mails(40), at("RETR 1", bad));
    let all: Vec<String> = shas(&mails(40));
    let ran = bench.poll_of(&all).has(39, 1);
    assert_eq!((ran.number("imported"), ran.number("deleted")), (39, 39), "{ran:#?}");
    assert_eq!(ran.skipped[0]["id"], "uidl-0001", "{ran:#?}");
    let connects = bench.server.count("USER alice");
    assert!(connects <= 5, "{connects} connections");
    assert_eq!(bench.server.mails().len(), 1, "the one that did not come is still there");
    (bench, ran)
}

#[test]
fn one_message_costs_no_other() {
    for capabilities in [ALL, "UIDL TOP USER PIPELINING"] {
        // Not dot-stuffed, so that it ends in its middle.
        one_of_forty(capabilities, |reply| {
            let raw = [b"+OK\r\nSubject: x\r\n\r\n.\r\n..\r\n.\r\nmore\r\n.\r\n".as_slice()].concat();
            reply.as_it_stands(raw);
        });
        // Never answered: the next answer comes in its place.
        if capabilities != ALL {
            one_of_forty(capabilities, |reply| reply.as_it_stands(""));
        }
        // Nothing but the dot, though it is listed with a size.
        let (_, ran) = one_of_forty(capabilities, |reply| reply.body = Some(Vec::new()));
        assert!(ran.skipped[0]["reason"].as_str().unwrap().contains("gives nothing of it"), "{ran:#?}");
        // Words that nobody knows.
        one_of_forty(capabilities, |reply| reply.only("-ERR ZX-17 cannot"));
        one_of_forty(capabilities, |reply| reply.cut(30));
    }
}

#[test]
fn an_end_that_is_glued_to_the_text_costs_no_other() {
    one_of_forty("UIDL TOP USER PIPELINING", |reply| {
        let body = reply.body.take().unwrap();
        reply.as_it_stands([b"+OK\r\n", &body[..body.len() - 2], b".\r\n"].concat());
    });
}

/// PIPELINING is announced, and of several commands only the first is answered.
#[test]
fn a_server_that_hears_one_command_at_a_time() {
    let before = std::sync::Mutex::new(false);
    let deaf = move |command: &Command, reply: &mut Reply| {
        // What comes at once with the command before is not heard.
        if std::mem::replace(&mut *before.lock().unwrap(), command.more) {
            reply.as_it_stands("");
        }
    };
    let bench = Bench::new("UIDL TOP USER PIPELINING", mails(12), deaf);
    bench.poll().has(12, 0);
    bench.server.change(|all| all.push(mails(13).remove(12)));
    let before = bench.server.count("USER alice");
    bench.poll().has(13, 0);
    assert_eq!(bench.server.count("USER alice"), before + 1, "it is remembered");
    let log = bench.daemon.log();
    assert_eq!(log.matches("answers only the first of several commands; they").count(), 1, "{log}");
}

#[test]
fn a_server_that_hangs_up_over_capa() {
    let bench = Bench::new(ALL, mails(6), at("CAPA", |reply| reply.cut(0)));
    bench.poll().has(6, 0);
    bench.poll().has(6, 0);
    assert_eq!(bench.server.count("CAPA"), 1, "it is remembered");
    let log = bench.daemon.log();
    assert_eq!(log.matches("it fails at CAPA").count(), 1, "{log}");
}

/// The session breaks, and the next one is not let in: what the first one brought counts all the same.
#[test]
fn a_session_that_cannot_be_had_takes_no_number_back() {
    let bench = Bench::new(ALL, mails(6), |command, reply| {
        if command.is("RETR 4") && command.connection == 0 {
            reply.cut(30);
        }
        if command.name == "PASS" && command.connection == 1 {
            reply.only("-ERR [IN-USE] another session has it");
        }
    });
    let first = bench.poll();
    assert!(first.is_ok() && first.ended_early(), "{first:#?}");
    assert_eq!((first.number("imported"), first.here.len()), (3, 3), "{first:#?}");
    assert_eq!(first.shown["account"]["consecutive_failures"], 0, "{first:#?}");
    let second = bench.poll().has(6, 0);
    assert_eq!((second.number("imported"), second.number("already_there")), (3, 3), "{second:#?}");
}

// ---- one thing that a server cannot do

/// CAPA is refused and the connection ends, or it is never answered, or its list never ends: it is left out.
#[test]
fn whatever_fails_at_capa_is_not_asked_for_it() {
    let shapes: [fn(&mut Reply); 4] = [
        |reply| {
            reply.only("-ERR what?");
            reply.then = Then::Close;
        },
        |reply| reply.as_it_stands(""),
        Reply::unfinished,
        |reply| reply.only("+OK USER UIDL TOP"),
    ];
    for shape in shapes {
        let bench = Bench::impatient("UIDL TOP USER", mails(6), at("CAPA", shape));
        bench.poll().has(6, 0);
        bench.poll().has(6, 0);
        assert_eq!(bench.server.count("CAPA"), 1, "it is remembered");
    }
}

/// A command that does not wait for the answer to the one before is refused, and the connection ends.
#[test]
fn a_server_that_refuses_what_does_not_wait() {
    for ends in [true, false] {
        let before = std::sync::Mutex::new(false);
        let strict = move |command: &Command, reply: &mut Reply| {
            if std::mem::replace(&mut *before.lock().unwrap(), command.more) {
                reply.only("-ERR synchronization error: pipelining is not allowed");
                if ends {
                    reply.then = Then::Close;
                }
            }
        };
        let bench = Bench::with("keep_original = false", "UIDL TOP USER PIPELINING", mails(12), strict);
        let all: Vec<String> = shas(&mails(12));
        bench.poll_of(&all).has(12, 0);
        let before = bench.server.count("USER alice");
        bench.poll_of(&all).has(12, 0);
        assert_eq!(bench.server.count("USER alice"), before + 1, "it is remembered");
    }
}

/// One of the two lists breaks off, falls silent, or is refused: it is had message by message, and nothing comes twice.
#[test]
fn lists_that_are_not_to_be_had_as_a_whole() {
    let cut: fn(&mut Reply) = |reply| reply.cut(60);
    let silent: fn(&mut Reply) = |reply| reply.unfinished();
    let refused: fn(&mut Reply) = |reply| reply.only("-ERR cannot list");
    for (list, shape) in [("LIST", cut), ("LIST", silent), ("LIST", refused), ("UIDL", cut), ("UIDL", silent)]
    {
        for capabilities in ["UIDL TOP USER", "UIDL TOP USER PIPELINING"] {
            let bench = Bench::impatient(capabilities, mails(130), move |command, reply| {
                if command.is(list) {
                    shape(reply);
                }
            });
            bench.poll().has(130, 0);
            bench.server.change(|all| all.push(mails(131).remove(130)));
            let second = bench.poll().has(131, 0);
            assert_eq!((second.number("imported"), second.number("already_there")), (1, 130), "{second:#?}");
        }
    }
}

/// Not even LIST for one message is answered: sizes are hints.
#[test]
fn a_server_that_tells_no_size_at_all() {
    let bench = Bench::new(ALL, mails(12), |command, reply| {
        if command.name == "LIST" {
            reply.cut(20);
        }
    });
    bench.poll().has(12, 0);
    bench.poll().has(12, 0);
}

/// What came stays, and a wish that the server does not grant switches nothing off.
#[test]
fn a_server_that_deletes_nothing_is_no_failed_run() {
    for ends in [true, false] {
        let bench = Bench::with("keep_original = false", ALL, mails(6), move |command, reply| {
            if command.name == "QUIT" {
                match ends {
                    true => reply.cut(0),
                    false => reply.only("-ERR some deleted messages not removed"),
                }
                // Nothing goes.
                reply.then = Then::Close;
            }
        });
        let all: Vec<String> = shas(&mails(6));
        for _ in 0..2 {
            let ran = bench.poll_of(&all).has(6, 0);
            assert!(ran.is_ok() && !ran.ended_early(), "{ran:#?}");
            let note = ran.run["note"].as_str().unwrap_or_default();
            assert!(note.contains("not everything was deleted at the source"), "{ran:#?}");
            assert!(ran.run["unfinished"].as_bool().unwrap(), "{ran:#?}");
            assert_eq!(ran.shown["account"]["consecutive_failures"], 0);
            bench.server.change(|now| *now = mails(6));
        }
    }
}

/// A refusal that is said to the session, over one message: the others come in the same run, and it is named with the words.
#[test]
fn a_message_that_is_put_off_costs_no_other() {
    for (words, ends) in [
        ("-ERR [SYS/TEMP] disk trouble, try again later", false),
        ("-ERR internal server error, closing", true),
        ("-ERR [SYS/PERM] file is gone", true),
    ] {
        let bench = Bench::with("keep_original = false", ALL, mails(20), move |command, reply| {
            if command.is("RETR 5") {
                reply.only(words);
                if ends {
                    reply.then = Then::Close;
                }
            }
        });
        let all: Vec<String> = shas(&mails(20));
        let ran = bench.poll_of(&all).has(19, 1);
        assert_eq!((ran.number("imported"), ran.number("deleted")), (19, 19), "{ran:#?}");
        assert_eq!(ran.skipped[0]["id"], "uidl-0005");
        let reason = ran.skipped[0]["reason"].as_str().unwrap();
        assert!(reason.contains(&words[5..]), "{reason}");
        assert!(bench.server.count("USER alice") <= 8, "{}", bench.server.count("USER alice"));
    }
}

/// A line too many behind each message.
#[test]
fn an_answer_too_many_is_passed_over() {
    for extra in ["\r\n", "+OK\r\n", "+OK done\r\n"] {
        for capabilities in ["UIDL TOP USER", "UIDL TOP USER PIPELINING"] {
            let bench = Bench::with(
                "keep_original = false",
                capabilities,
                mails(20),
                at("RETR", move |reply| {
                    reply.more = extra.into();
                }),
            );
            let all: Vec<String> = shas(&mails(20));
            let ran = bench.poll_of(&all).has(20, 0);
            assert_eq!(ran.number("deleted"), 20, "{ran:#?}");
        }
    }
}

/// A mail may begin as a reply does: its size and its name prove it. One of blanks alone, where a size is listed, is none.
#[test]
fn bodies_that_look_like_something_else() {
    let mut all = mails(6);
    for (n, line) in [(1, "+OK looks like a reply\r\n"), (2, "-ERR so does this\r\n")] {
        all[n].body = [line.as_bytes(), &all[n].body].concat();
    }
    let bench = Bench::new(ALL, all, at("RETR 5", |reply| reply.body = Some(b"\r\n".to_vec())));
    let ran = bench.poll().has(5, 1);
    assert!(ran.skipped[0]["reason"].as_str().unwrap().contains("gives nothing of it"), "{ran:#?}");
}

/// One that is cut short in the same way each time is taken, told, and never deleted.
#[test]
fn a_size_that_never_fits_is_told_by_the_run() {
    let bench = Bench::with(
        "keep_original = false",
        ALL,
        mails(10),
        at("RETR 4", |reply| {
            let body = reply.body.as_mut().unwrap();
            body.truncate(40);
        }),
    );
    let mut all: Vec<String> = shas(&mails(10));
    all.push(sha(&[&mails(4)[3].body[..40], b"\r\n"].concat()));
    let answer = bench.daemon.ctl(&["poll", "alice-old"]).code(1);
    assert!(answer.out.contains("1 message came with another size than the server lists"), "{answer:?}");
    assert!(answer.out.contains("9 messages imported") && answer.out.contains("1 failed"), "{answer:?}");
    assert_eq!(bench.server.mails().len(), 1);
}

// ---- names that go over to other messages

/// Each UIDL is made of its message's number, or counts from the end: when one goes, the others get other names.
#[test]
fn names_that_follow_numbers() {
    let forms: [fn(u32, u32, usize) -> String; 5] = [
        |n, _, _| format!("msg{n}"),
        |n, _, _| format!("{n}@mail.example.com"),
        |n, _, _| format!("{:x}", n + 0x4000),
        |n, all, _| format!("{}", all - n + 1),
        |n, _, size| format!("{n}-{size}"),
    ];
    for form in forms {
        let all = std::sync::Arc::new(std::sync::Mutex::new(mails(30)));
        let now = std::sync::Arc::clone(&all);
        let bench = Bench::new(ALL, mails(30), move |command, reply| {
            let mails = now.lock().unwrap();
            let of = |n: u32| form(n, u32::try_from(mails.len()).unwrap(), mails[n as usize - 1].body.len());
            if command.is("UIDL") {
                let lines: Vec<String> =
                    (1..).take(mails.len()).map(|n| format!("{n} {}\r\n", of(n))).collect();
                reply.body = Some(lines.concat().into_bytes());
            } else if command.name == "UIDL" {
                reply.only(format!("+OK {} {}", command.rest, of(command.rest.parse().unwrap())));
            }
        });
        bench.poll().has(30, 0);
        for round in 1..3 {
            let mut mails_now = all.lock().unwrap();
            mails_now.remove(2);
            mails_now.extend(mails(100 + 2 * round).drain(98 + 2 * round..));
            let next = mails_now.clone();
            drop(mails_now);
            bench.server.change(|mails| *mails = next);
            let ever: Vec<String> = mails(104)
                .iter()
                .enumerate()
                .filter(|(n, _)| *n < 30 || (100..100 + 2 * round).contains(n))
                .map(|(_, m)| sha(&m.body))
                .collect();
            let ran = bench.poll_of(&ever);
            assert_eq!(ran.here.len(), 30 + 2 * round, "{ran:#?}");
        }
    }
}

/// A name is given out again: the message that has it now comes, and nothing is deleted that is not here.
#[test]
fn names_that_are_given_out_again() {
    for (same_size, headers) in [(false, true), (true, true), (true, false)] {
        let mut all = mails(12);
        all.iter_mut()
            .for_each(|mail| mail.body.extend_from_slice("x".repeat(600 - mail.body.len() % 600).as_bytes()));
        all.iter_mut().for_each(|mail| mail.body.extend_from_slice(b"\r\n"));
        // Without headers, all that goes is fetched once more.
        let mut bench = Bench::with("keep_original = true", ALL, all.clone(), move |command, reply| {
            if command.name == "TOP" && !headers {
                reply.cut(0);
            }
        });
        bench.poll().has(12, 0);
        let mut now = all.clone();
        for n in [3, 7, 8] {
            let filler = if same_size { "" } else { "longer\r\n" };
            let text = String::from_utf8(now[n].body.clone()).unwrap();
            now[n].body = text.replace("Subject: number", "Subject: nummer").into_bytes();
            now[n].body.extend_from_slice(filler.as_bytes());
        }
        bench.server.change(|mails| mails.clone_from(&now));
        let ever: Vec<String> =
            all.iter().chain([&now[3], &now[7], &now[8]]).map(|mail| sha(&mail.body)).collect();
        if !same_size {
            assert_eq!(bench.poll_of(&ever).here.len(), 15);
        }
        bench.daemon.define(
            "alice",
            &pop3_poll("alice-old", "alice", bench.server.port, LOGIN, "keep_original = false"),
        );
        bench.daemon.ctl(&["reload"]).code(0);
        let ran = bench.poll_of(&ever);
        assert_eq!((ran.here.len(), ran.number("deleted")), (15, 12), "{ran:#?}");
        assert!(bench.server.mails().is_empty());
        bench.daemon.stop();
    }
}

/// The greeting has a timestamp, and APOP is refused in words that sound as if the server had no time.
#[test]
fn a_digest_that_is_not_available() {
    let bench = Bench::new("UIDL TOP USER", mails(6), |command, reply| match command.name.as_str() {
        "GREETING" => reply.only("+OK ready <1896.697170952@mail.example.com>"),
        "APOP" => reply.only("-ERR APOP not available"),
        _ => {}
    });
    bench.poll().has(6, 0);
}

/// A listing that shows a part of the mailbox says nothing about the rest, however often; what comes in the meantime is brought.
#[test]
fn a_listing_of_a_part_is_no_news_of_the_rest() {
    for part in [0, 4, 9, 11] {
        let all = mails(12);
        let mut bench = Bench::new(ALL, all.clone(), |_, _| {});
        bench.poll().has(12, 0);
        for round in 0..2 {
            let new = mails(13 + round)[12 + round].clone();
            bench.server.change(|mails| *mails = [&all[..part], std::slice::from_ref(&new)].concat());
            bench.poll_of(&shas(&mails(13 + round)));
            bench.server.change(|mails| *mails = [all.clone(), vec![new.clone()]].concat());
            let ran = bench.poll_of(&shas(&mails(13 + round)));
            assert_eq!((ran.here.len(), ran.number("imported")), (13 + round, 0), "{part}: {ran:#?}");
        }
        bench.daemon.stop();
    }
}

/// A name that is missing for a while comes back with another message.
#[test]
fn a_name_that_comes_back_for_another() {
    let all = mails(12);
    let bench = Bench::new(ALL, all.clone(), |_, _| {});
    bench.poll().has(12, 0);
    bench.server.change(|mails| drop(mails.remove(4)));
    bench.poll_of(&shas(&all)).has(12, 0);
    let mut now = all.clone();
    let text = String::from_utf8(now[4].body.clone()).unwrap();
    now[4].body = text.replace("Subject: number", "Subject: nummer").into_bytes();
    assert_eq!(now[4].body.len(), all[4].body.len());
    bench.server.change(|mails| mails.clone_from(&now));
    let ran = bench.poll_of(&shas(&[all, vec![now[4].clone()]].concat()));
    assert_eq!((ran.here.len(), ran.number("imported")), (13, 1), "{ran:#?}");
}

/// A list that shows nothing, or a part, does not end the comparison with what is here: with other names, or at another host, all of
/// it comes to light later.
#[test]
fn a_list_of_a_part_ends_no_comparison() {
    for (part, host, state) in
        [(0, false, false), (3, false, false), (0, true, false), (3, true, false), (3, false, true)]
    {
        let all = mails(12);
        let mut bench = Bench::new(ALL, all.clone(), |_, _| {});
        bench.poll().has(12, 0);
        let named = |mail: &Mail| Mail { uidl: [b"anew-", &mail.uidl[..]].concat(), ..mail.clone() };
        let anew: Vec<Mail> = all.iter().map(named).collect();
        if host {
            let definition = pop3_poll("alice-old", "alice", bench.server.port, LOGIN, "");
            bench.daemon.define("alice", &definition.replace("127.0.0.1", "localhost"));
            bench.daemon.ctl(&["reload"]).code(0);
        }
        if state {
            bench.daemon.stop();
            fs::remove_dir_all(bench.daemon.path().join("state")).unwrap();
            bench.daemon.start();
        }
        for shown in [&anew[..part], &anew, &anew] {
            bench.server.change(|mails| *mails = shown.to_vec());
            let ran = bench.poll_of(&shas(&all));
            assert_eq!((ran.here.len(), ran.number("imported")), (12, 0), "{part} {host} {state}: {ran:#?}");
        }
        bench.daemon.stop();
    }
}

/// The member's program gave some of them names of its own, and the server gives all of them other UIDLs.
#[test]
fn names_that_change_on_both_sides() {
    let all = mails(12);
    let bench = Bench::new(ALL, all.clone(), |_, _| {});
    bench.poll().has(12, 0);
    let inbox = bench.daemon.maildir("alice");
    for (n, (_, message)) in Tree::read(&inbox).messages().take(5).enumerate() {
        let name = message.path.file_name().unwrap().to_str().unwrap();
        let sizes = &name[name.find(",S=").unwrap()..];
        fs::rename(&message.path, inbox.join(format!("cur/1795935031.M{n}P31231.host{sizes}:2,S"))).unwrap();
    }
    bench.server.change(|mails| mails.iter_mut().for_each(|mail| mail.uidl.extend_from_slice(b"-anew")));
    let ran = bench.poll_of(&shas(&all));
    assert_eq!((ran.here.len(), ran.number("imported")), (12, 0), "{ran:#?}");
}
