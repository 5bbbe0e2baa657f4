//! Nineteen good messages and a bad one, or a bad folder, at an IMAP source: whatever the server does about the bad
//! one, the good ones come, the bad one is named with the server's words, the migration completes and says so by its
//! exit status, in bounded time and few connections.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "this is a test")]

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::helpers::daemon::{Daemon, adds_up, eventually, imap_migrate};
use crate::helpers::fake_imap::{Command, FakeImap, Folder, Reply, Then, honest};
use crate::helpers::maildir::{Tree, sha};
use serde_json::Value;

/// The bad one.
const BAD: u32 = 7;
const CONNECTS: usize = 20;
const LIMIT: Duration = Duration::from_secs(120);

fn twenty() -> Vec<Folder> {
    vec![Folder::new("INBOX", 20)]
}

/// Whether a command asks for this message by its UID.
fn asks_for(command: &Command, uid: u32) -> bool {
    let set = String::from_utf8_lossy(&command.rest).split(' ').next().unwrap_or_default().to_owned();
    let number = |text: &str| if text == "*" { u32::MAX } else { text.parse().unwrap_or(0) };
    command.name == "UID FETCH"
        && set.split(',').any(|part| match part.split_once(':') {
            Some((from, to)) => (number(from)..=number(to)).contains(&uid),
            None => number(part) == uid,
        })
}

fn wants(command: &Command, uid: u32, item: &str) -> bool {
    asks_for(command, uid) && String::from_utf8_lossy(&command.rest).to_uppercase().contains(item)
}

/// The answers before the bad one's stay; then come these words, and the connection closes.
fn breaks(command: &Command, reply: &mut Reply, words: &str) {
    let before = reply.untagged.iter().position(|line| is_of(line, BAD)).unwrap_or(0);
    reply.cut(before, words);
    if words.is_empty() {
        reply.then = Then::Close;
    }
    assert!(command.name.contains("FETCH"));
}

fn is_of(line: &[u8], uid: u32) -> bool {
    let head = String::from_utf8_lossy(&line[..line.len().min(60)]).into_owned();
    head.contains(&format!("(UID {uid} ")) || head.contains(&format!("(UID {uid})"))
}

fn daemon(server: &FakeImap) -> Daemon {
    let mut daemon = Daemon::new("[migrations]\nconnections = 2\n");
    daemon.define("alice", &imap_migrate("old", "alice", server.port, ("alice", "secret"), ""));
    daemon.start();
    daemon
}

/// Migrates; returns what `show` says.
#[track_caller]
fn migrated(daemon: &Daemon, server: &FakeImap, code: i32) -> Value {
    let (begun, before) = (Instant::now(), server.connections());
    daemon.ctl_within(LIMIT, &["start", "old", "--wait"]).code(code);
    let connects = server.connections() - before;
    assert!(connects <= CONNECTS, "{connects} connects");
    assert!(begun.elapsed() < LIMIT, "{:?}", begun.elapsed());
    let shown = daemon.show("old");
    assert_eq!(shown["migration"]["state"], "completed", "{shown:#}");
    adds_up(&shown["migration"]);
    shown
}

/// The others are here as they are there; `bad` is named, with these words.
#[track_caller]
fn the_others_came(hook: impl Fn(&Command, &mut Reply) + Send + Sync + 'static, words: &str) {
    let server = FakeImap::start(twenty(), hook);
    let mut daemon = daemon(&server);
    let shown = migrated(&daemon, &server, 1);
    let tree = Tree::read(&daemon.maildir("alice"));
    let here: BTreeSet<String> = tree.contents().into_iter().collect();
    let there: BTreeSet<String> =
        server.boxes()[0].mails.iter().filter(|mail| mail.uid != BAD).map(|mail| sha(&mail.body)).collect();
    assert_eq!(here, there, "{shown:#}\n{}", daemon.log_tail(20));
    let skipped = shown["skipped"].as_array().unwrap();
    assert_eq!(skipped.len(), 1, "{shown:#}");
    assert_eq!(
        (&skipped[0]["folder"], &skipped[0]["id"]),
        (&"INBOX".into(), &BAD.to_string().into()),
        "{shown:#}"
    );
    let reason = skipped[0]["reason"].as_str().unwrap();
    assert!(reason.contains(words), "{reason}");
    assert_eq!(shown["migration"]["messages_failed"], 1, "{shown:#}");
    daemon.stop();
}

#[test]
fn its_size_and_its_body_end_the_session() {
    the_others_came(
        |command, reply| {
            if wants(command, BAD, "RFC822.SIZE") || wants(command, BAD, "BODY") {
                breaks(command, reply, "* BYE cannot read it: no such file\r\n");
            }
        },
        "no such file",
    );
}

#[test]
fn its_body_ends_the_session() {
    the_others_came(
        |command, reply| {
            if wants(command, BAD, "BODY") {
                breaks(command, reply, "* BYE internal trouble over it\r\n");
            }
        },
        "internal trouble over it",
    );
}

#[test]
fn its_body_closes_the_connection_without_a_word() {
    the_others_came(
        |command, reply| {
            if wants(command, BAD, "BODY") {
                breaks(command, reply, "");
            }
        },
        "closed the connection",
    );
}

#[test]
fn its_body_is_refused() {
    the_others_came(
        |command, reply| {
            if wants(command, BAD, "BODY") {
                reply.untagged.retain(|line| !is_of(line, BAD));
                reply.tagged(command, "NO [SERVERBUG] it is broken");
            }
        },
        "it is broken",
    );
}

#[test]
fn everything_about_it_is_refused() {
    the_others_came(
        |command, reply| {
            if wants(command, BAD, "BODY") || wants(command, BAD, "RFC822.SIZE") {
                reply.untagged.clear();
                reply.tagged(command, "BAD no");
            }
        },
        "'no'",
    );
}

#[test]
fn its_body_has_no_byte() {
    the_others_came(
        |command, reply| {
            if wants(command, BAD, "BODY")
                && let Some(line) = reply.untagged.iter_mut().find(|line| is_of(line, BAD))
            {
                let at = line.windows(4).position(|part| part == b"BODY").unwrap();
                let item = String::from_utf8_lossy(&line[at..]).split(' ').next().unwrap().to_owned();
                line.truncate(at);
                line.extend(format!("{item} \"\")\r\n").into_bytes());
            }
        },
        "gives none of them",
    );
}

/// It swallows what comes behind it, be it the next message or the end of the answer.
fn announced_too_long(by: usize) {
    the_others_came(
        move |command, reply| {
            if wants(command, BAD, "BODY")
                && let Some(line) = reply.untagged.iter_mut().find(|line| is_of(line, BAD))
            {
                let text = String::from_utf8_lossy(line).into_owned();
                let at = text.find("] {").or(text.find("> {")).unwrap() + 2;
                let end = at + text[at..].find('}').unwrap();
                let length: usize = text[at + 1..end].parse().unwrap();
                line.splice(at + 1..end, (length + by).to_string().into_bytes());
            }
        },
        "answer",
    );
}

#[test]
fn its_literal_is_announced_fifty_bytes_too_long() {
    announced_too_long(50);
}

#[test]
fn its_literal_is_announced_seventy_four_bytes_too_long() {
    announced_too_long(74);
}

#[test]
fn its_literal_is_announced_seventy_seven_bytes_too_long() {
    announced_too_long(77);
}

#[test]
fn its_answer_cannot_be_read() {
    the_others_came(
        |command, reply| {
            if wants(command, BAD, "BODY")
                && let Some(line) = reply.untagged.iter_mut().find(|line| is_of(line, BAD))
            {
                *line = format!("* 7 FETCH (UID {BAD} FLAGS ((( BODY[] oh\r\n").into_bytes();
            }
        },
        "no answer for it that can be read",
    );
}

/// The size of a message is a hint: without it, it comes all the same.
#[test]
fn only_its_size_is_trouble() {
    for closes in [false, true] {
        let server = FakeImap::start(twenty(), move |command, reply| {
            if wants(command, BAD, "RFC822.SIZE") {
                match closes {
                    true => breaks(command, reply, "* BYE no size\r\n"),
                    false => {
                        reply.untagged.clear();
                        reply.tagged(command, "NO [SERVERBUG] no size");
                    }
                }
            }
        });
        let mut daemon = daemon(&server);
        let shown = migrated(&daemon, &server, 0);
        assert_eq!(shown["migration"]["messages_done"], 20, "{shown:#}");
        daemon.stop();
    }
}

/// A message whose flags are not to be had is here, and named.
#[test]
fn its_flags_are_trouble() {
    for closes in [false, true] {
        let bad = std::sync::Arc::new(AtomicBool::new(false));
        let is_bad = std::sync::Arc::clone(&bad);
        let server = FakeImap::start(twenty(), move |command, reply| {
            if is_bad.load(Ordering::SeqCst) && wants(command, BAD, "FLAGS") && !wants(command, BAD, "BODY") {
                match closes {
                    true => breaks(command, reply, "* BYE no flags\r\n"),
                    false => {
                        reply.untagged.clear();
                        reply.tagged(command, "NO no flags");
                    }
                }
            }
        });
        let mut daemon = daemon(&server);
        migrated(&daemon, &server, 0);
        bad.store(true, Ordering::SeqCst);
        server.change(|boxes| {
            boxes[0].mails.iter_mut().for_each(|mail| mail.flags = "\\Answered \\Draft".to_owned())
        });
        let shown = migrated(&daemon, &server, 1);
        assert_eq!(shown["skipped"][0]["id"], BAD.to_string(), "{shown:#}");
        assert!(shown["skipped"][0]["reason"].as_str().unwrap().contains("no flags"), "{shown:#}");
        let tree = Tree::read(&daemon.maildir("alice"));
        assert_eq!(tree.count(), 20);
        let flagged =
            Tree::files(&daemon.maildir("alice")).iter().filter(|name| name.contains(":2,DR")).count();
        assert_eq!(flagged, 19, "the others got theirs");
        bad.store(false, Ordering::SeqCst);
        migrated(&daemon, &server, 0);
        let flagged =
            Tree::files(&daemon.maildir("alice")).iter().filter(|name| name.contains(":2,DR")).count();
        assert_eq!(flagged, 20, "a later run makes up for it");
        daemon.stop();
    }
}

/// Asked for with its flags, it is refused; without them it comes.
#[test]
fn its_flags_are_never_to_be_had() {
    let server = FakeImap::start(twenty(), |command, reply| {
        if wants(command, BAD, "FLAGS") {
            reply.untagged.clear();
            reply.tagged(command, "NO no flags here");
        }
    });
    let mut daemon = daemon(&server);
    let shown = migrated(&daemon, &server, 1);
    assert_eq!(Tree::read(&daemon.maildir("alice")).count(), 20, "{shown:#}");
    assert_eq!(shown["migration"]["messages_failed"], 1, "{shown:#}");
    assert_eq!(shown["skipped"][0]["id"], BAD.to_string(), "{shown:#}");
    daemon.stop();
}

/// One of several folders does not open: its messages are counted as messages where the server counts them.
#[test]
fn a_folder_does_not_open() {
    for (words, counted) in [
        ("NO [SERVERBUG] Internal error occurred", true),
        ("NO [UNAVAILABLE] not now", false),
        ("BAD what", true),
        ("* BYE over it", true),
        ("", false),
    ] {
        let boxes = vec![Folder::new("Broken", 300), Folder::new("INBOX", 12), Folder::new("Work", 7)];
        let server = FakeImap::start(boxes, move |command, reply| {
            let broken = command.rest.windows(6).any(|part| part == b"Broken");
            if broken && command.name == "EXAMINE" {
                match words.starts_with(['N', 'B']) {
                    true => {
                        reply.untagged.clear();
                        reply.tagged(command, words);
                    }
                    false if words.is_empty() => reply.cut(0, ""),
                    false => reply.cut(0, &format!("{words}\r\n")),
                }
            }
            if broken && command.name == "STATUS" && !counted {
                reply.untagged.clear();
                reply.tagged(command, "NO not known");
            }
        });
        let mut daemon = daemon(&server);
        let shown = migrated(&daemon, &server, 1);
        let migration = &shown["migration"];
        let failed = if counted { 300 } else { 0 };
        assert_eq!(
            (&migration["messages_done"], &migration["messages_failed"]),
            (&19.into(), &failed.into()),
            "{words}: {shown:#}"
        );
        let skipped = shown["skipped"].as_array().unwrap();
        assert_eq!((skipped.len(), &skipped[0]["folder"]), (1, &"Broken".into()), "{shown:#}");
        let error = migration["error"].as_str().unwrap_or_default();
        assert_eq!(error.starts_with("1 folder failed"), !counted, "{words}: {error}");
        assert_eq!(Tree::read(&daemon.maildir("alice")).count(), 19);
        daemon.stop();
    }
}

/// What is held against a message outlives the daemon: it is not killed for ever by the same one.
#[test]
fn strikes_outlive_the_daemon() {
    let asked = std::sync::Arc::new(AtomicUsize::new(0));
    let counter = std::sync::Arc::clone(&asked);
    let server = FakeImap::start(twenty(), move |command, reply| {
        if wants(command, BAD, "BODY") {
            counter.fetch_add(1, Ordering::SeqCst);
            breaks(command, reply, "* BYE killed by it\r\n");
        }
    });
    let mut daemon = daemon(&server);
    daemon.ctl(&["start", "old"]).code(0);
    for times in 1.. {
        eventually("it is asked for, or given up", LIMIT, || {
            let over = daemon.show("old")["migration"]["state"] == "completed";
            (over || asked.load(Ordering::SeqCst) >= times).then_some(())
        });
        if daemon.show("old")["migration"]["state"] == "completed" {
            break;
        }
        // What it broke over is written down before the next connection is made.
        eventually("the next connection", LIMIT, || {
            let over = daemon.show("old")["migration"]["state"] == "completed";
            (over || server.connections() > times + 1).then_some(())
        });
        daemon.kill();
        daemon.start();
    }
    let asked = asked.load(Ordering::SeqCst);
    assert!(asked <= 8, "it was asked for {asked} times");
    let shown = daemon.show("old");
    assert_eq!(shown["skipped"][0]["id"], BAD.to_string(), "{shown:#}");
    assert_eq!(Tree::read(&daemon.maildir("alice")).count(), 19);
    daemon.stop();
}

/// Twenty thousand bytes of each part are no end.
#[test]
fn short_parts_go_on_to_the_end() {
    let mut boxes = twenty();
    boxes[0].mails[6].body =
        b"A line that is repeated so often that it takes a while to come.\r\n".repeat(3_200);
    let broken = AtomicUsize::new(0);
    let server = FakeImap::start(boxes, move |command, reply| {
        let in_parts = wants(command, BAD, "]<");
        if wants(command, BAD, "BODY") && !in_parts && broken.fetch_add(1, Ordering::SeqCst) < 2 {
            breaks(command, reply, "");
        }
        if in_parts && let Some(line) = reply.untagged.iter_mut().find(|line| is_of(line, BAD)) {
            let text = String::from_utf8_lossy(line).into_owned();
            let (head, rest) = text.split_once("> {").unwrap();
            let (_, body) = rest.split_once("}\r\n").unwrap();
            let body = &body[..(body.len() - 3).min(20_000)];
            *line = format!("{head}> {{{}}}\r\n{body})\r\n", body.len()).into_bytes();
        }
    });
    let mut daemon = daemon(&server);
    migrated(&daemon, &server, 0);
    let there: BTreeSet<String> = server.boxes()[0].mails.iter().map(|mail| sha(&mail.body)).collect();
    let here: BTreeSet<String> = Tree::read(&daemon.maildir("alice")).contents().into_iter().collect();
    assert_eq!(here, there);
    daemon.stop();
}

/// Lines that nobody can read on the first connections: nothing is gone, and another connection brings all.
#[test]
fn what_cannot_be_read_is_not_gone() {
    for bodies_only in [false, true] {
        let server = FakeImap::start(twenty(), move |command, reply| {
            let concerned =
                if bodies_only { command.wants_bodies() } else { command.name.ends_with("FETCH") };
            if command.connection < 2 && concerned {
                let garbage = || b"* 7 FETCH (X {5}\r\n".to_vec();
                reply.untagged = reply.untagged.drain(..).flat_map(|line| [garbage(), line]).collect();
            }
        });
        let mut daemon = daemon(&server);
        let shown = migrated(&daemon, &server, 0);
        assert_eq!(shown["migration"]["messages_vanished"], 0, "{shown:#}");
        assert_eq!(Tree::read(&daemon.maildir("alice")).count(), 20, "{shown:#}");
        daemon.stop();
    }
}

/// INBOX is one, however it is written, and a folder without a name is none.
#[test]
fn names_that_are_the_same_or_none() {
    let server = FakeImap::start(twenty(), |command, reply| {
        if command.name == "LIST" && command.rest.ends_with(b"\"*\"") {
            reply.untagged.push(b"* LIST () \"/\" inbox\r\n".to_vec());
            reply.untagged.push(b"* LIST () \"/\" \"\"\r\n".to_vec());
            reply.untagged.push(b"* LIST () \"/\" \"/\"\r\n".to_vec());
        }
    });
    let mut daemon = daemon(&server);
    let shown = migrated(&daemon, &server, 0);
    assert_eq!(shown["folders"].as_array().unwrap().len(), 1, "{shown:#}");
    assert_eq!(shown["migration"]["messages_total"], 20);
    daemon.stop();
}

/// Folders of others are named, and stay where they are; a view of everything is told.
#[test]
fn what_is_not_moved_is_named() {
    let mut all = Folder::new("Everything", 3);
    all.attributes = "\\All".to_owned();
    let boxes = vec![Folder::new("INBOX", 2), Folder::new("Other Users/bob", 4), all];
    let server = FakeImap::start(boxes, |command, reply| {
        if command.name == "NAMESPACE" {
            reply.untagged = vec![b"* NAMESPACE ((\"\" \"/\")) ((\"Other Users/\" \"/\")) NIL\r\n".to_vec()];
        }
    });
    let mut daemon = daemon(&server);
    let plan = daemon.ctl(&["start", "old", "--dry-run"]).code(0);
    assert!(plan.out.contains("Other Users/bob: not moved"), "{plan:?}");
    assert!(plan.out.contains("Everything may only show messages of the other folders"), "{plan:?}");
    let check = daemon.ctl(&["check", "old"]).code(0);
    assert!(check.out.contains("Other Users/bob: not moved"), "{check:?}");
    let shown = migrated(&daemon, &server, 0);
    assert_eq!(shown["migration"]["messages_total"], 5, "{shown:#}");
    daemon.stop();
}

/// A message that is another one when it is looked at before the deletion stays.
#[test]
fn what_is_not_what_came_is_not_deleted() {
    let changed = AtomicUsize::new(0);
    let server =
        FakeImap::with_capability("IMAP4rev1 UIDPLUS AUTH=PLAIN", twenty(), move |command, reply| {
            let lists = wants(command, BAD, "RFC822.SIZE");
            // The second time that it is listed it has another size.
            if lists && changed.fetch_add(1, Ordering::SeqCst) == 1 {
                for line in reply.untagged.iter_mut().filter(|line| is_of(line, BAD)) {
                    *line = format!("* 7 FETCH (UID {BAD} RFC822.SIZE 99999)\r\n").into_bytes();
                }
            }
        });
    let mut daemon = Daemon::new("[polling]\ninterval = \"24h\"\n");
    let poll = imap_migrate("old", "alice", server.port, ("alice", "secret"), "keep_original = false");
    daemon.define("alice", &poll.replace("[account.migrate]", "[account.poll]"));
    daemon.start();
    daemon.ctl(&["poll", "old"]).code(0);
    assert_eq!(Tree::read(&daemon.maildir("alice")).count(), 20);
    let left: Vec<u32> = server.boxes()[0].mails.iter().map(|mail| mail.uid).collect();
    assert_eq!(left, [BAD], "the others are deleted");
    daemon.stop();
}

#[test]
fn an_honest_server_is_not_bothered() {
    let server = FakeImap::start(twenty(), honest);
    let mut daemon = daemon(&server);
    migrated(&daemon, &server, 0);
    assert_eq!(server.body_fetches(), 1, "{:?}", server.said());
    assert!(!server.said().iter().any(|line| line.contains("NOOP")), "{:?}", server.said());
    daemon.stop();
}

/// A UIDVALIDITY that does not fit into its 32 bits is compared with itself, and changes as others do.
#[test]
fn a_uidvalidity_beyond_its_bits() {
    let more = std::sync::Arc::new(AtomicUsize::new(0));
    let now = std::sync::Arc::clone(&more);
    let server = FakeImap::start(twenty(), move |_, reply| {
        let long = format!("UIDVALIDITY {}7294967", 430 + now.load(Ordering::SeqCst));
        for line in &mut reply.untagged {
            let text = String::from_utf8_lossy(line).into_owned();
            if let Some((before, after)) = text.split_once("UIDVALIDITY ") {
                let rest = after.trim_start_matches(|c: char| c.is_ascii_digit());
                *line = format!("{before}{long}{rest}").into_bytes();
            }
        }
    });
    let mut daemon = daemon(&server);
    let imported = |shown: &Value| shown["migration"]["ledger"]["imported"].as_u64();
    let shown = migrated(&daemon, &server, 0);
    assert_eq!(Tree::read(&daemon.maildir("alice")).count(), 20, "{shown:#}");
    for turn in 0..2 {
        let again = migrated(&daemon, &server, 0);
        assert_eq!(imported(&again), Some(0), "{again:#}");
        assert_eq!(Tree::read(&daemon.maildir("alice")).count(), 20, "{turn}");
        more.fetch_add(1, Ordering::SeqCst);
    }
    daemon.stop();
}
