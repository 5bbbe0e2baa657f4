//! Polled mail handed over by LMTP, to a server that plays every bad habit: what is taken once is recorded
//! once, what is not taken now comes later, what is refused is told and left alone, and whatever breaks, nothing
//! is lost, and at most one message of a run arrives twice.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stderr, reason = "this is a test")]

use crate::helpers::corpus;
use crate::helpers::maildir;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::helpers::corpus::Corpus;
use crate::helpers::daemon::{Daemon, eventually, imap_migrate, pop3_poll};
use crate::helpers::dovecot::Dovecot;
use crate::helpers::fake_lmtp::{ALL, Answer, Command, FakeLmtp, Then};
use crate::helpers::fake_pop3::{FakePop3, Mail, mails};
use crate::helpers::maildir::wire;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;

const NAME: &str = "alice-old";
const LOGIN: (&str, &str) = ("alice", "secret");
const KNOWS: &str = "UIDL TOP USER PIPELINING";

/// A maildrop, an LMTP server, and a daemon between them.
struct Bench {
    pop3: FakePop3,
    lmtp: FakeLmtp,
    daemon: Daemon,
}

impl Bench {
    fn new(
        mails: Vec<Mail>,
        offers: &str,
        hook: impl Fn(&Command, &mut Answer) + Send + Sync + 'static,
    ) -> Bench {
        Bench::with("", mails, offers, hook)
    }

    fn with(
        poll: &str,
        mails: Vec<Mail>,
        offers: &str,
        hook: impl Fn(&Command, &mut Answer) + Send + Sync + 'static,
    ) -> Bench {
        let pop3 = FakePop3::start(KNOWS, mails, |_, _| {});
        let lmtp = FakeLmtp::start(offers, hook);
        let mut daemon = Daemon::new(&settings(lmtp.port));
        daemon.define("alice", &there(&pop3_poll(NAME, "alice", pop3.port, LOGIN, poll)));
        daemon.start();
        Bench { pop3, lmtp, daemon }
    }

    /// Polls; the run, whatever became of it.
    fn poll(&self) -> Value {
        self.daemon.ctl(&["poll", NAME]);
        self.daemon.account(NAME)["last_run"].clone()
    }

    fn skipped(&self) -> Vec<Value> {
        self.daemon.show(NAME)["skipped"].as_array().unwrap().clone()
    }

    /// Everything that is at the source was taken, so often at most.
    #[track_caller]
    fn nothing_lost(&self, most: usize) -> usize {
        let (mut wanted, mut came) = (BTreeMap::new(), BTreeMap::new());
        for mail in self.pop3.mails() {
            *wanted.entry(mail.body).or_insert(0) += 1;
        }
        for body in self.lmtp.bodies() {
            *came.entry(body).or_insert(0) += 1;
        }
        assert!(wanted.keys().eq(came.keys()), "{} there, {} here", wanted.len(), came.len());
        let twice = self.lmtp.bodies().len() - self.pop3.mails().len();
        assert!(twice <= most, "{twice} came twice");
        twice
    }
}

fn settings(port: u16) -> String {
    format!("[polling]\ninterval = \"24h\"\n[destination.there.lmtp]\nhost = \"127.0.0.1\"\nport = {port}\n")
}

fn there(definition: &str) -> String {
    definition.replace("agreed = true", "agreed = true\ndestination = \"there\"")
}

fn honest(_: &Command, _: &mut Answer) {}

fn mail(uidl: &str, body: impl Into<Vec<u8>>) -> Mail {
    Mail { uidl: uidl.into(), body: body.into() }
}

/// Whether this is the end of a message with these words in it.
fn ends(command: &Command, words: &str) -> bool {
    command.name == "MESSAGE" && String::from_utf8_lossy(&command.body).contains(words)
}

#[test]
fn everything_once_and_deleted_only_then() {
    for offers in [ALL, "SIZE 8BITMIME", ""] {
        let bench = Bench::with("keep_original = false", mails(60), offers, honest);
        let before: Vec<Vec<u8>> = bench.pop3.mails().into_iter().map(|mail| mail.body).collect();
        let run = bench.poll();
        assert_eq!(
            (&run["result"], &run["imported"], &run["deleted"]),
            (&"ok".into(), &60.into(), &60.into()),
            "{run}"
        );
        assert_eq!(bench.lmtp.bodies(), before, "{offers}");
        for taken in bench.lmtp.taken() {
            assert!(taken.mail.starts_with("MAIL FROM:<>"), "{}", taken.mail);
            assert_eq!(taken.mail.contains("BODY=8BITMIME"), offers.contains("8BITMIME"));
            assert_eq!(taken.mail.contains("SIZE="), offers.contains("SIZE"));
            assert_eq!(taken.recipient, "TO:<alice@example.com>");
        }
        let said = bench.lmtp.said();
        assert!(
            !said.contains(&"AHEAD".to_owned()) && !said.contains(&"BARE LINE FEED".to_owned()),
            "{said:?}"
        );
        assert_eq!(bench.lmtp.connections(), 1);
        assert_eq!(bench.poll()["imported"], 0);
        assert_eq!(bench.lmtp.bodies().len(), 60);
        assert!(bench.pop3.mails().is_empty(), "deleted at the source");
    }
}

#[test]
fn octets_of_every_kind() {
    let long = format!("From: a\r\n\r\n{}\r\n.\r\n", "x".repeat(70_000));
    let odd: Vec<Mail> = vec![
        mail("a", "From: a\r\nSubject: \u{fc}ber\r\n\r\n8 bits: \u{e4}\u{2603}\r\n"),
        mail("b", b"From: a\r\n\r\nNUL \0 and \xff\xfe\r\n".to_vec()),
        mail("c", "From: a\r\n\r\n.\r\n..\r\n.a\r\n\r\n.\r\n"),
        mail("d", "From: a\n\nbare line feeds\n.\nQUIT\n\r\n"),
        mail("e", "From: a\r\n\r\nreturns \r alone\r.\r\r\n"),
        mail("f", long),
        mail("g", ""),
        mail("h", "no header at all\r\n"),
        mail("i", "\r\n\r\n"),
    ];
    for offers in [ALL, ""] {
        let bench = Bench::new(odd.clone(), offers, honest);
        let run = bench.poll();
        assert_eq!((&run["result"], &run["imported"]), (&"ok".into(), &odd.len().into()), "{run}");
        let sent: Vec<Vec<u8>> = odd.iter().map(|mail| wire(&mail.body)).collect();
        let came = bench.lmtp.bodies();
        for (sent, came) in sent.iter().zip(&came) {
            assert_eq!(String::from_utf8_lossy(came), String::from_utf8_lossy(sent));
        }
        assert_eq!(came, sent);
        let utf8: Vec<bool> =
            bench.lmtp.taken().iter().map(|taken| taken.mail.contains("SMTPUTF8")).collect();
        assert_eq!(
            utf8.iter().filter(|needed| **needed).count(),
            usize::from(!offers.is_empty()),
            "{utf8:?}"
        );
    }
}

#[test]
fn what_is_not_taken_now_comes_later() {
    let tries = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&tries);
    let bench = Bench::with("keep_original = false", mails(12), ALL, move |command, answer| {
        if ends(command, "number 3\r\n") && counted.fetch_add(1, Ordering::SeqCst) == 0 {
            answer.only("451 4.3.0 later, please");
        }
        if command.name == "RCPT" && command.connection == 0 && counted.load(Ordering::SeqCst) == 1 {
            counted.store(2, Ordering::SeqCst);
            answer.only("452 4.2.1 one moment");
        }
    });
    let run = bench.poll();
    assert_eq!(
        (&run["result"], &run["imported"], &run["deleted"]),
        (&"ok".into(), &10.into(), &10.into()),
        "{run}"
    );
    assert!(
        run["note"].as_str().is_some_and(|note| note.contains("2 messages") && note.contains("451")),
        "{run}"
    );
    let skipped = bench.skipped();
    let reasons: Vec<&str> = skipped.iter().map(|one| one["reason"].as_str().unwrap()).collect();
    assert!(
        reasons.len() == 2 && reasons.iter().all(|why| why.contains("the next run tries again")),
        "{reasons:?}"
    );
    assert!(reasons.iter().any(|why| why.contains("452 4.2.1 one moment")), "{reasons:?}");
    assert_eq!(bench.pop3.mails().len(), 2, "what is not there stays at the source");
    let run = bench.poll();
    assert_eq!((&run["imported"], &run["note"]), (&2.into(), &Value::Null), "{run}");
    assert!(bench.skipped().is_empty() && bench.pop3.mails().is_empty());
    assert_eq!(bench.lmtp.bodies().len(), 12);
}

#[test]
fn what_is_refused_is_told_and_left_alone() {
    for step in ["MESSAGE", "DATA", "MAIL"] {
        let bench = Bench::with("keep_original = false", mails(9), ALL, move |command, answer| {
            let marked = match step {
                "MESSAGE" => ends(command, "number 5\r\n"),
                // The fifth of those that came, in order.
                _ => command.name == step && COUNT.with(|count| count.replace(count.get() + 1)) == 4,
            };
            if marked {
                answer.only("554 5.6.0 no such thing in this house");
            }
        });
        let run = bench.poll();
        assert_eq!(
            (&run["result"], &run["imported"], &run["deleted"]),
            (&"ok".into(), &8.into(), &8.into()),
            "{step}: {run}"
        );
        let skipped = bench.skipped();
        assert_eq!(skipped.len(), 1, "{skipped:?}");
        let why = skipped[0]["reason"].as_str().unwrap();
        assert!(why.contains("554 5.6.0 no such thing in this house") && why.contains("enable"), "{why}");
        assert_eq!(skipped[0]["id"], "uidl-0005");
        bench.lmtp.habit(honest);
        let run = bench.poll();
        assert_eq!((&run["imported"], &run["skipped"]), (&0.into(), &1.into()), "{run}");
        assert_eq!(bench.skipped().len(), 1, "it is still told");
        assert_eq!(bench.pop3.count("RETR 1"), 1, "and not fetched again: {:?}", bench.pop3.said());
        bench.daemon.ctl(&["enable", NAME]).code(0);
        let came = eventually("it is tried once more", Duration::from_secs(30), || {
            bench.daemon.ctl(&["poll", NAME]);
            Some(bench.lmtp.bodies().len()).filter(|count| *count == 9)
        });
        assert_eq!(came, 9);
        assert!(bench.skipped().is_empty() && bench.pop3.mails().is_empty());
    }
}

thread_local! {
    /// Of one connection: each has its own thread.
    static COUNT: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

#[test]
fn a_full_mailbox_is_not_the_messages_fault() {
    for words in ["452 4.2.2 mailbox full", "552 5.2.2 mailbox full", "552 mailbox full"] {
        for step in ["MESSAGE", "RCPT"] {
            let bench = Bench::new(mails(30), ALL, move |command, answer| {
                if command.name == step {
                    answer.only(words);
                }
            });
            let run = bench.poll();
            assert_eq!(run["result"], "failed", "{run}");
            assert!(run["error"].as_str().is_some_and(|error| error.contains(words)), "{run}");
            let asked = bench.lmtp.said().iter().filter(|line| line.starts_with("MAIL")).count();
            assert!(asked <= 4, "{asked} were tried at a full mailbox");
            let account = bench.daemon.account(NAME);
            assert_eq!((&account["state"], &account["consecutive_failures"]), (&"enabled".into(), &0.into()));
            bench.lmtp.habit(honest);
            assert_eq!(bench.poll()["imported"], 30);
            assert_eq!(bench.nothing_lost(0), 0);
        }
    }
}

#[test]
fn the_source_need_not_give_what_nobody_takes() {
    let bench = Bench::new(mails(2500), ALL, |command, answer| {
        if command.name == "MESSAGE" {
            answer.only("452 4.2.2 mailbox full");
        }
    });
    let run = bench.poll();
    assert!(run["error"].as_str().is_some_and(|error| error.contains("452 4.2.2 mailbox full")), "{run}");
    let given = bench.pop3.said().iter().filter(|line| line.starts_with("RETR")).count();
    assert!(given <= 2000, "{given} were fetched");
    bench.lmtp.habit(honest);
    assert_eq!(bench.poll()["imported"], 2500);
    assert_eq!(bench.nothing_lost(0), 0);
}

#[test]
fn a_member_who_is_not_there_is_the_accounts_failure() {
    let bench = Bench::new(mails(3), ALL, |command, answer| {
        if command.name == "RCPT" {
            answer.only("550 5.1.1 <alice@example.com> User doesn't exist");
        }
    });
    let checked = bench.daemon.ctl(&["check", NAME]).code(1);
    assert!(checked.err.contains("no mailbox for alice@example.com"), "{}", checked.err);
    let run = bench.poll();
    assert_eq!(run["result"], "failed");
    assert!(run["error"].as_str().is_some_and(|error| error.contains("User doesn't exist")), "{run}");
    let account = bench.daemon.account(NAME);
    assert_eq!(account["consecutive_failures"], 1, "{account}");
    assert!(bench.skipped().is_empty(), "no message is to blame");
    bench.lmtp.habit(honest);
    bench.daemon.ctl(&["check", NAME]).code(0);
    assert!(bench.lmtp.bodies().is_empty(), "a check delivers nothing");
    assert_eq!(bench.poll()["imported"], 3);
}

#[test]
fn an_answer_that_is_lost_is_told() {
    let lost = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&lost);
    let bench = Bench::with("keep_original = false", mails(20), ALL, move |command, answer| {
        // The server has it; nobody hears of it.
        if ends(command, "number 7\r\n") && count.fetch_add(1, Ordering::SeqCst) == 0 {
            answer.lose();
        }
    });
    let run = bench.poll();
    assert_eq!(
        (&run["result"], &run["imported"], &run["deleted"]),
        (&"ok".into(), &20.into(), &20.into()),
        "{run}"
    );
    assert!(
        run["note"].as_str().is_some_and(|note| note.starts_with("1 message may be here twice")),
        "{run}"
    );
    assert_eq!(bench.lmtp.bodies().len(), 21);
    assert_eq!(
        bench.lmtp.bodies().iter().filter(|body| body.windows(10).any(|w| w == b"number 7\r\n")).count(),
        2
    );
    assert_eq!(bench.poll()["note"], Value::Null);
    assert_eq!(bench.lmtp.bodies().len(), 21);
}

#[test]
fn a_message_that_ends_every_connection_is_given_up() {
    let bench = Bench::new(mails(10), ALL, |command, answer| {
        if ends(command, "number 4\r\n") {
            answer.taken = false;
            answer.lose();
        }
    });
    let run = bench.poll();
    assert_eq!((&run["result"], &run["imported"]), (&"ok".into(), &9.into()), "{run}");
    let skipped = bench.skipped();
    assert_eq!(skipped.len(), 1);
    let why = skipped[0]["reason"].as_str().unwrap();
    assert!(why.contains("broke 3 times") && why.contains("it may be there"), "{why}");
    let before = bench.lmtp.connections();
    bench.poll();
    assert_eq!((bench.lmtp.connections(), bench.lmtp.bodies().len()), (before, 9), "it is left alone");
    bench.lmtp.habit(honest);
    bench.daemon.ctl(&["enable", NAME]).code(0);
    eventually("it is tried once more", Duration::from_secs(30), || {
        bench.daemon.ctl(&["poll", NAME]);
        Some(()).filter(|()| bench.lmtp.bodies().len() == 10)
    });
    assert_eq!(bench.nothing_lost(0), 0);
}

/// What a server may say instead of an answer, where, and words of what is made of it.
const HABITS: [(&str, &str, &str); 14] = [
    ("GREETING", "554 5.3.2 not today", "not today"),
    ("GREETING", "421 4.3.2 too busy", "too busy"),
    ("GREETING", "* OK IMAP here", "no code"),
    ("LHLO", "500 5.5.1 what is that?", "does not speak LMTP"),
    ("LHLO", "25", "no code"),
    ("MAIL", "530 5.7.0 log in first", "log in first"),
    ("MAIL", "\0\0\0\0", "no code"),
    ("MAIL", "999 what", "no code"),
    ("RCPT", "250-a\r\n251 b", "different codes"),
    ("RCPT", "354 go on", "354 go on"),
    ("DATA", "250 ok", "250 ok"),
    ("DATA", "421 4.3.2 shutting down", "shutting down"),
    ("MESSAGE", "354 and?", "354 and?"),
    ("MESSAGE", "hello", "no code"),
];

#[test]
fn answers_that_are_none_end_the_run_in_words() {
    for (step, said, words) in HABITS {
        let bench = Bench::new(mails(2), ALL, move |command, answer| {
            if command.name == step {
                answer.only(said);
            }
        });
        let run = bench.poll();
        let told = format!("{run} {:?}", bench.skipped());
        assert!(run["result"] == "failed" && told.contains(words), "{step} {said:?}: {told}");
        assert_eq!(bench.daemon.account(NAME)["consecutive_failures"], 0, "{told}");
        bench.lmtp.habit(honest);
        bench.daemon.ctl(&["enable", NAME]).code(0);
        eventually("all is well again", Duration::from_secs(30), || {
            bench.daemon.ctl(&["poll", NAME]);
            Some(()).filter(|()| bench.lmtp.bodies().len() >= 2)
        });
        bench.nothing_lost(0);
    }
}

#[test]
fn answers_without_end_do_not_fill_the_memory() {
    for (step, said) in [("LHLO", "250-X"), ("MAIL", "250-again"), ("MESSAGE", "250-")] {
        let bench = Bench::new(mails(2), ALL, move |command, answer| {
            if command.name == step {
                answer.only(said);
                answer.taken = false;
                answer.then = Then::Endless;
            }
        });
        let run = bench.poll();
        let told = format!("{run} {:?}", bench.skipped());
        assert!(run["result"] == "failed" && told.contains("without end"), "{told}");
        bench.lmtp.habit(honest);
        bench.daemon.ctl(&["enable", NAME]).code(0);
        eventually("all is well again", Duration::from_secs(30), || {
            bench.daemon.ctl(&["poll", NAME]);
            Some(()).filter(|()| bench.lmtp.bodies().len() >= 2)
        });
        bench.nothing_lost(0);
    }
}

#[test]
fn a_message_that_is_too_large_for_the_server_is_not_sent() {
    let large = mail("large", format!("From: a\r\n\r\n{}", "0123456789\r\n".repeat(1000)));
    let mut all = mails(3);
    all.push(large);
    let bench = Bench::new(all, "PIPELINING SIZE_5000", honest);
    assert_eq!(bench.poll()["imported"], 3);
    let why = bench.skipped()[0]["reason"].as_str().unwrap().to_owned();
    assert!(why.contains("takes 5000 at most"), "{why}");
    assert_eq!(bench.lmtp.said().iter().filter(|line| line.starts_with("MAIL")).count(), 3);
}

/// Takes as long as the stall limit, about a minute.
#[test]
fn a_server_that_falls_silent_is_given_up() {
    let bench = Bench::new(mails(3), ALL, |command, answer| {
        if command.name == "DATA" {
            answer.octets.clear();
            answer.then = Then::Hang;
        }
    });
    let run = bench.poll();
    assert_eq!(run["result"], "failed");
    assert!(run["error"].as_str().is_some_and(|error| error.contains("fell silent")), "{run}");
    assert_eq!(bench.daemon.account(NAME)["consecutive_failures"], 0, "not the source's fault");
    bench.lmtp.habit(honest);
    assert_eq!(bench.poll()["imported"], 3);
    assert_eq!(bench.nothing_lost(0), 0);
}

#[test]
fn kill_after_kill_nothing_is_lost() {
    let kills = std::env::var("MAILHAUL_KILLS").map_or(25, |kills| kills.parse().unwrap());
    let all = 12 * kills;
    let mut bench = Bench::new(mails(all), ALL, |command, _| {
        if command.name == "MESSAGE" {
            std::thread::sleep(Duration::from_millis(3));
        }
    });
    let mut random = StdRng::seed_from_u64(4);
    for _ in 0..kills {
        let before = bench.lmtp.bodies().len();
        bench.daemon.ctl(&["poll", NAME, "--no-wait"]);
        let more = random.random_range(1..10);
        eventually("some came", Duration::from_secs(60), || {
            let now = bench.lmtp.bodies().len();
            Some(()).filter(|()| now >= before + more || now >= all)
        });
        bench.daemon.kill();
        bench.daemon.start();
    }
    assert_eq!(bench.poll()["result"], "ok");
    let twice = bench.nothing_lost(kills);
    eprintln!("{kills} kills, {twice} messages twice");
    let spool = bench.daemon.path().join("state/spool");
    let text =
        std::fs::read_dir(spool).unwrap().map(|file| file.unwrap().metadata().unwrap().len()).sum::<u64>();
    assert!(text < 100 * all as u64, "{text} octets are left in the spool");
}

#[test]
fn stopping_in_the_middle_doubles_nothing() {
    let mut bench = Bench::new(mails(100), ALL, |command, _| {
        if command.name == "MESSAGE" {
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    for _ in 0..5 {
        let before = bench.lmtp.bodies().len();
        bench.daemon.ctl(&["poll", NAME, "--no-wait"]);
        eventually("some came", Duration::from_secs(60), || {
            Some(()).filter(|()| bench.lmtp.bodies().len() > before + 3)
        });
        bench.daemon.stop();
        bench.daemon.start();
    }
    assert_eq!(bench.poll()["result"], "ok");
    assert_eq!(bench.nothing_lost(0), 0);
}

#[test]
fn an_imap_account_is_polled_the_same_way() {
    let dovecot = Dovecot::start(&[LOGIN]);
    let mut source = Corpus::at(&dovecot.maildir("alice"));
    source.add("", 30);
    let number = AtomicUsize::new(0);
    let lmtp = FakeLmtp::start(ALL, move |command, answer| {
        if command.name == "MESSAGE" {
            match number.fetch_add(1, Ordering::SeqCst) {
                4 => answer.only("554 5.7.1 never"),
                9 => answer.only("451 4.2.0 later"),
                14 => answer.lose(),
                _ => {}
            }
        }
    });
    let mut daemon = Daemon::new(&settings(lmtp.port));
    let account = imap_migrate(NAME, "alice", dovecot.imap, LOGIN, "").replace("migrate", "poll");
    daemon.define("alice", &there(&account));
    daemon.start();
    let run = daemon.poll(NAME);
    assert_eq!((&run["imported"], &run["skipped"]), (&28.into(), &2.into()), "{run}");
    let note = run["note"].as_str().unwrap();
    assert!(
        note.contains("1 message did not come") && note.contains("1 message may be here twice"),
        "{note}"
    );
    assert_eq!(lmtp.bodies().len(), 29);
    let run = daemon.poll(NAME);
    assert_eq!(run["imported"], 1, "{run}");
    source.add("", 2);
    assert_eq!(daemon.poll(NAME)["imported"], 2);
    let skipped = daemon.show(NAME)["skipped"].as_array().unwrap().clone();
    assert!(
        skipped.len() == 1 && skipped[0]["reason"].as_str().unwrap().contains("554 5.7.1 never"),
        "{skipped:?}"
    );
    daemon.ctl(&["enable", NAME]).code(0);
    eventually("it is tried once more", Duration::from_secs(30), || {
        daemon.ctl(&["poll", NAME]);
        Some(()).filter(|()| lmtp.bodies().len() == 33)
    });
    let mut there: Vec<String> = source.put.clone();
    let mut came: Vec<String> = lmtp.bodies().iter().map(|body| maildir::sha(body)).collect();
    there.sort();
    came.sort();
    came.dedup();
    there.dedup();
    assert_eq!(there, came);
    daemon.stop();
}

/// Where there is LMTP alone, nothing can go past the member's filter: it is said, with what to do.
#[test]
fn what_cannot_go_past_the_filter() {
    let lmtp = FakeLmtp::start(ALL, honest);
    let mut daemon = Daemon::new(&settings(lmtp.port));
    daemon.define("past", &there(&pop3_poll("past", "alice", 1, LOGIN, "apply_filter = false")));
    daemon.start();
    let listed = daemon.listed("past");
    assert_eq!(listed["state"], "invalid", "{listed:#}");
    let reason = listed["reason"].as_str().unwrap();
    for words in [
        "past.toml:",
        "account.poll.apply_filter: the destination has LMTP alone",
        "write apply_filter = true, or set .maildir or .imap beside .lmtp",
    ] {
        assert!(reason.contains(words), "{words}: {reason}");
    }
    let letter = daemon.path().join("letter.eml");
    std::fs::write(&letter, corpus::message(1)).unwrap();
    let words =
        ["upload", "--member", "alice@example.com", "--destination", "there", letter.to_str().unwrap()];
    let refused = daemon.ctl(&words).code(1).says("the destination is LMTP, which has no folders");
    assert!(refused.err.contains("set .maildir or .imap beside .lmtp"), "{refused:?}");
    assert_eq!(lmtp.bodies().len(), 0, "nothing was handed over");
    daemon.stop();
}
