//! A comparison goes on past a folder that one of the two servers refuses, hangs up over, or falls silent over: the folder is
//! named, the others are compared, and the exit status says that something is missing.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stderr, reason = "this is a test")]

use crate::helpers::fake_imap;
use crate::helpers::fake_pop3;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::helpers::daemon::{Daemon, imap_migrate, pop3_poll, there};
use crate::helpers::dovecot::Dovecot;
use crate::helpers::fake_imap::{Command, FakeImap, Folder, Reply, Then};
use crate::helpers::fake_pop3::FakePop3;
use crate::helpers::maildir::Tree;
use crate::helpers::moody::{Mood, Moody};

const ALICE: (&str, &str) = ("alice", "secret");
const HOME: (&str, &str) = ("home-alice", "home secret");
const NAME: &str = "alice-old";
/// Nothing is wrong yet.
const WELL: usize = 0;
/// Each fault, and a word that it is told with.
const FAULTS: [&str; 3] = ["out of order", "closed the connection", "silent"];

fn boxes() -> Vec<Folder> {
    [("INBOX", 5), ("Archive", 7), ("Work", 9)].map(|(name, count)| Folder::new(name, count)).to_vec()
}

fn impatient(text: &str) -> String {
    text.replace("security = \"none\" }", "security = \"none\", timeout = \"3s\" }")
}

/// All but the folder `Archive` is alike, and that is told once, with each fault.
#[track_caller]
fn goes_on(daemon: &Daemon, fault: &AtomicUsize, side: &str) {
    for (number, words) in FAULTS.iter().enumerate() {
        fault.store(number + 1, Ordering::SeqCst);
        let begun = Instant::now();
        let answer = daemon.ctl(&["--json", "verify", NAME]).code(1).json();
        eprintln!("{side}, {words}: {:?}", begun.elapsed());
        assert!(begun.elapsed() < Duration::from_secs(30));
        assert_eq!(
            (&answer["alike"], &answer["unread"], &answer["lost"], &answer["gone"]),
            (&14.into(), &1.into(), &0.into(), &0.into()),
            "{answer:#}"
        );
        let finding = &answer["findings"][0];
        assert_eq!(
            (&finding["folder"], &finding["id"]),
            (&"Archive".into(), &"(folder)".into()),
            "{finding:#}"
        );
        assert!(finding["reason"].as_str().unwrap().contains(words), "{finding:#}");
    }
    fault.store(WELL, Ordering::SeqCst);
    let answer = daemon.ctl(&["--json", "verify", NAME]).code(0).json();
    assert_eq!(&answer["alike"], &21, "{answer:#}");
}

#[test]
fn past_a_folder_of_the_source() {
    for verb in ["EXAMINE", "UID FETCH"] {
        let fault = Arc::new(AtomicUsize::new(WELL));
        let now = Arc::clone(&fault);
        let source = FakeImap::start(boxes(), move |command: &Command, reply: &mut Reply| {
            let in_it = match verb {
                "EXAMINE" => String::from_utf8_lossy(&command.rest).contains("Archive"),
                _ => command.is_in("Archive"),
            };
            if command.name != verb || !in_it || now.load(Ordering::SeqCst) == WELL {
                return;
            }
            reply.untagged.clear();
            match now.load(Ordering::SeqCst) {
                1 => reply.tagged(command, "NO [UNAVAILABLE] out of order"),
                2 => reply.cut(0, ""),
                _ => {
                    reply.tagged.clear();
                    reply.then = Then::Hang;
                }
            }
        });
        let mut daemon = Daemon::new("");
        daemon.define("alice", &impatient(&imap_migrate(NAME, "alice", source.port, ALICE, "")));
        daemon.start();
        daemon.migrate(NAME);
        if verb == "EXAMINE" {
            // To open a folder takes a server longer: silence there is `hangs`' affair.
            now_without_silence(&daemon, &fault);
        } else {
            goes_on(&daemon, &fault, verb);
        }
        daemon.stop();
    }
}

fn now_without_silence(daemon: &Daemon, fault: &AtomicUsize) {
    for number in [1, 2] {
        fault.store(number, Ordering::SeqCst);
        let answer = daemon.ctl(&["--json", "verify", NAME]).code(1).json();
        assert_eq!((&answer["alike"], &answer["unread"]), (&14.into(), &1.into()), "{answer:#}");
        assert_eq!((&answer["lost"], &answer["gone"]), (&0.into(), &0.into()), "{answer:#}");
    }
}

#[test]
fn past_a_folder_of_the_destination() {
    for verb in ["UID FETCH", "EXAMINE"] {
        let source = FakeImap::start(boxes(), fake_imap::honest);
        let home = Dovecot::start(&[HOME]);
        let (fault, open) = (Arc::new(AtomicUsize::new(WELL)), Arc::new(AtomicUsize::new(0)));
        let now = Arc::clone(&fault);
        let wire = Moody::before(home.imap, usize::MAX, move |heard| {
            // One connection at a time looks.
            if heard.is("EXAMINE") || heard.is("SELECT") {
                open.store(usize::from(heard.words.contains("Archive")), Ordering::SeqCst);
            }
            if !heard.is(verb) || open.load(Ordering::SeqCst) == 0 {
                return Mood::Good;
            }
            match (now.load(Ordering::SeqCst), verb) {
                (1, _) => Mood::Says("NO [UNAVAILABLE] out of order".to_owned()),
                (2, _) | (3, "EXAMINE") => Mood::Reset,
                (3, _) => Mood::Hangs,
                _ => Mood::Good,
            }
        });
        let mut daemon = Daemon::homing(wire.port, "login = \"home-{local}\"", HOME.1);
        daemon.rewrite_settings(impatient);
        daemon.define("alice", &there(&imap_migrate(NAME, "alice", source.port, ALICE, "")));
        daemon.start();
        daemon.migrate(NAME);
        if verb == "EXAMINE" {
            now_without_silence(&daemon, &fault);
        } else {
            goes_on(&daemon, &fault, verb);
        }
        daemon.stop();
    }
}

/// Of messages with one size and date each is told from the others: one that is lost here is no other that went at the source.
#[test]
fn what_is_lost_is_no_other_of_its_size() {
    let body = |n: u32| format!("Subject: notice {n}\r\n\r\nIt is done.\r\n").into_bytes();
    for pop3 in [true, false] {
        let mut boxes = Folder::new("INBOX", 4);
        boxes.mails.iter_mut().for_each(|mail| {
            (mail.body, mail.flags, mail.date) =
                (body(mail.uid), String::new(), " 1-Jan-2020 10:00:00 +0000".to_owned());
        });
        let mails: Vec<fake_pop3::Mail> = (1..5)
            .map(|n| fake_pop3::Mail { uidl: format!("name-{n}").into_bytes(), body: body(n) })
            .collect();
        let (source, drop) =
            (FakeImap::start(vec![boxes], |_, _| {}), FakePop3::start("UIDL TOP USER", mails, |_, _| {}));
        let mut daemon = Daemon::new("");
        daemon.define(
            "alice",
            &match pop3 {
                true => pop3_poll(NAME, "alice", drop.port, ALICE, ""),
                false => imap_migrate(NAME, "alice", source.port, ALICE, ""),
            },
        );
        daemon.start();
        match pop3 {
            true => daemon.poll(NAME),
            false => daemon.migrate(NAME),
        };
        // The member deletes one here, and the owner another one there.
        for (_, message) in Tree::read(&daemon.maildir("alice")).messages() {
            if std::fs::read_to_string(&message.path).unwrap().contains("notice 2") {
                std::fs::remove_file(&message.path).unwrap();
            }
        }
        source.change(|boxes| drop_third(&mut boxes[0].mails));
        drop.change(drop_third);
        for more in [&["--json", "verify", NAME][..], &["--json", "verify", NAME, "--bodies"]] {
            let answer = daemon.ctl(more).code(1).json();
            let numbers =
                ["source", "alike", "lost", "altered", "gone"].map(|key| answer[key].as_u64().unwrap());
            assert_eq!(numbers, [3, 2, 1, 0, 1], "{pop3} {more:?}: {answer:#}");
        }
        daemon.stop();
    }
}

fn drop_third<T>(mails: &mut Vec<T>) {
    mails.remove(2);
}
