//! One message that a server cannot give: it fails alone, told with its reason, and everything else comes.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "this is a test")]

use crate::helpers::fake_imap;
use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};

use crate::helpers::daemon::{Daemon, imap_migrate};
use crate::helpers::fake_imap::{Command, FakeImap, Folder, Reply, Then};
use crate::helpers::maildir::{Tree, same, sha};
use serde_json::Value;

const ODD: u32 = 137;

fn boxes() -> Vec<Folder> {
    let mut work = Folder::new("Work", 450);
    // Three parts, the last one full.
    let odd = &mut work.mails[ODD as usize - 1].body;
    odd.resize(3 * 65_536, b'x');
    let end = odd.len();
    odd[end - 2..].copy_from_slice(b"\r\n");
    vec![Folder::new("INBOX", 30), work]
}

/// Runs one migration to its end; returns its object, what was skipped, what is here, and the server.
fn run(hook: impl Fn(&Command, &mut Reply) + Send + Sync + 'static) -> (Value, Vec<Value>, Tree, FakeImap) {
    run_as(|_| {}, hook)
}

/// The same; `started` is told the daemon's process.
fn run_as(
    started: impl FnOnce(i32),
    hook: impl Fn(&Command, &mut Reply) + Send + Sync + 'static,
) -> (Value, Vec<Value>, Tree, FakeImap) {
    let server = FakeImap::start(boxes(), hook);
    let mut daemon = Daemon::new("[migrations]\nconnections = 2\n");
    daemon.define("alice", &imap_migrate("alice-old", "alice", server.port, ("alice", "secret"), ""));
    daemon.start();
    started(daemon.pid().unwrap().as_raw());
    let migration = daemon.migrate("alice-old");
    let shown = daemon.show("alice-old");
    let tree = Tree::read(&daemon.maildir("alice"));
    daemon.stop();
    (migration, shown["skipped"].as_array().unwrap().clone(), tree, server)
}

fn expected(server: &FakeImap, without: Option<u32>) -> Vec<String> {
    let boxes = server.boxes();
    let mails =
        boxes.iter().flat_map(|folder| folder.mails.iter().map(|mail| (folder.name == b"Work", mail)));
    mails.filter(|(work, mail)| !work || Some(mail.uid) != without).map(|(_, mail)| sha(&mail.body)).collect()
}

fn is_odd(command: &Command, reply: &mut Reply) -> bool {
    command.is_in("Work") && command.wants_bodies() && reply.of(ODD).is_some()
}

fn in_parts(command: &Command) -> bool {
    String::from_utf8_lossy(&command.rest).contains("]<")
}

/// What comes before the odd message comes; then the connection is gone.
fn break_off(reply: &mut Reply) {
    let start = format!("FETCH (UID {ODD} ");
    let at = reply.untagged.iter().position(|line| String::from_utf8_lossy(line).contains(&start)).unwrap();
    reply.untagged.truncate(at);
    reply.tagged.clear();
    reply.then = Then::Close;
}

#[track_caller]
fn failed_alone(outcome: (Value, Vec<Value>, Tree, FakeImap), words: &str) -> FakeImap {
    let (migration, skipped, tree, server) = outcome;
    assert_eq!((&migration["messages_imported"], &migration["messages_failed"]), (&479.into(), &1.into()));
    assert_eq!(skipped.len(), 1, "{skipped:#?}");
    assert_eq!((&skipped[0]["folder"], &skipped[0]["id"]), (&"Work".into(), &ODD.to_string().into()));
    assert_eq!(skipped[0]["size"], 3 * 65_536);
    assert!(skipped[0]["reason"].as_str().unwrap().contains(words), "{skipped:#?}");
    same("everything else", &expected(&server, Some(ODD)), &tree.contents());
    server
}

#[track_caller]
fn all_came(outcome: (Value, Vec<Value>, Tree, FakeImap)) {
    let (migration, skipped, tree, server) = outcome;
    assert_eq!(
        (&migration["messages_imported"], skipped.len()),
        (&480.into(), 0),
        "{migration:#} {skipped:#?}"
    );
    same("everything", &expected(&server, None), &tree.contents());
}

#[test]
fn a_message_that_breaks_every_connection() {
    let server = failed_alone(
        run(|command, reply| {
            if is_odd(command, reply) {
                break_off(reply);
            }
        }),
        "the connection broke 3 times",
    );
    assert!(server.connections() <= 12, "{} connections", server.connections());
}

#[test]
fn a_message_that_comes_in_parts_only() {
    all_came(run(|command, reply| {
        if is_odd(command, reply) && !in_parts(command) {
            break_off(reply);
        }
    }));
    all_came(run(|command, reply| {
        if is_odd(command, reply) && !in_parts(command) {
            reply.untagged.clear();
            reply.tagged(command, "NO [SERVERBUG] it is too long for me");
        }
    }));
}

#[test]
fn a_message_that_is_refused() {
    let server = failed_alone(
        run(|command, reply| {
            if is_odd(command, reply) {
                reply.untagged.clear();
                reply.tagged(command, "NO [SERVERBUG] that one is damaged");
            }
        }),
        "that one is damaged",
    );
    let fetches = server.body_fetches();
    assert!(fetches < 40, "halves, not singles: {fetches}");
}

#[test]
fn one_that_is_refused_is_no_success() {
    let server = FakeImap::start(boxes(), |command, reply| {
        if is_odd(command, reply) {
            reply.untagged.clear();
            reply.tagged(command, "NO [SERVERBUG] that one is damaged");
        }
    });
    let daemon = Daemon::new("");
    daemon.define("alice", &imap_migrate("alice-old", "alice", server.port, ("alice", "secret"), ""));
    let once = daemon.run(&["--once"]).code(1);
    assert!(once.out.contains("alice-old: 1 message failed; the next run tries again"), "{once:?}");
    assert!(once.out.contains("1 migration completed, 1 with failures; 479 messages"), "{once:?}");
}

#[test]
fn a_message_whose_answer_cannot_be_read() {
    let server = failed_alone(
        run(|command, reply| {
            if command.is_in("Work")
                && command.wants_bodies()
                && let Some(line) = reply.of(ODD)
            {
                *line = format!("* 9 FETCH (UID {ODD} FLAGS (((\r\n").into_bytes();
            }
        }),
        "no answer for it that can be read",
    );
    let fetches = server.body_fetches();
    assert!(fetches < 60, "halves, not singles: {fetches}");
}

/// Many side by side: each is told, the others come, and no file stays open for what came in vain.
#[track_caller]
fn neighbours(hide: impl Fn(&mut Vec<u8>) + Send + Sync + 'static) {
    const ODD: std::ops::Range<u32> = 100..300;
    let (process, open) = (Arc::new(AtomicI32::new(0)), Arc::new(AtomicUsize::new(0)));
    let (whose, most) = (Arc::clone(&process), Arc::clone(&open));
    let (migration, skipped, tree, server) = run_as(
        move |pid| process.store(pid, Ordering::SeqCst),
        move |command, reply| {
            if !command.is_in("Work") || !command.wants_bodies() {
                return;
            }
            let files = fs::read_dir(format!("/proc/{}/fd", whose.load(Ordering::SeqCst)));
            most.fetch_max(files.map_or(0, Iterator::count), Ordering::SeqCst);
            for uid in ODD {
                reply.of(uid).map(&hide);
            }
            reply.untagged.retain(|line| !line.is_empty());
        },
    );
    assert_eq!((&migration["messages_imported"], &migration["messages_failed"]), (&280.into(), &200.into()));
    let told: BTreeSet<u32> = skipped.iter().map(|s| s["id"].as_str().unwrap().parse().unwrap()).collect();
    assert_eq!(told, ODD.collect());
    assert_eq!(tree.count(), 280);
    assert!(server.body_fetches() < 1500, "{} fetches", server.body_fetches());
    let open = open.load(Ordering::SeqCst);
    assert!((1..400).contains(&open), "{open} files");
}

#[test]
fn neighbours_that_never_come() {
    neighbours(Vec::clear);
}

#[test]
fn neighbours_that_come_as_something_else() {
    neighbours(|line| {
        let text = String::from_utf8_lossy(line).replace("BODY[]", "BODY[TEXT]");
        *line = text.into_bytes();
    });
    neighbours(|line| {
        let text = String::from_utf8_lossy(line).replacen(" BODY[", " X-WHAT (a ( BODY[", 1);
        *line = text.into_bytes();
    });
}

#[test]
fn an_answer_with_what_nobody_asked_for() {
    all_came(run(|command, reply| {
        if command.is_in("Work") && command.wants_bodies() && !in_parts(command) {
            for line in &mut reply.untagged {
                let text = String::from_utf8_lossy(line);
                let text = text.replacen(" BODY[", "  EMAILID (M6d99) X-WHAT (a \"b)\" (c NIL)) BODY[", 1);
                *line = text.into_bytes();
            }
        }
    }));
}

#[test]
fn flags_and_bodies_in_answers_of_their_own() {
    let (migration, _, tree, server) = run(|command, reply| {
        if command.is_in("Work") && command.wants_bodies() {
            let apart = |line: &Vec<u8>| {
                let text = String::from_utf8_lossy(line);
                let Some(at) = text.find(" BODY[") else { return vec![line.clone()] };
                let head = text[..text.find(" FLAGS").unwrap()].to_owned();
                vec![
                    format!("{})\r\n", &text[..at]).into_bytes(),
                    format!("{head}{}", &text[at..]).into_bytes(),
                ]
            };
            reply.untagged = reply.untagged.iter().flat_map(apart).collect();
        }
    });
    assert_eq!(migration["messages_imported"], 480);
    assert!(server.body_fetches() < 20, "{} fetches", server.body_fetches());
    let work = &tree.folders[".Work"];
    for letters in ["", "S", "RS", "F"] {
        let there = work.iter().filter(|mail| mail.flags == letters).count();
        assert!((112..=113).contains(&there), "{there} with {letters:?}");
    }
}

/// A Maildir has letters for 26 of them: what does not fit is told, and nothing that `verify` would find.
#[test]
fn more_keywords_than_a_folder_has_letters() {
    let mut inbox = Folder::new("INBOX", 40);
    for mail in &mut inbox.mails {
        mail.flags = format!("\\Seen word{}", mail.uid);
    }
    let source = FakeImap::start(vec![inbox], fake_imap::honest);
    let mut daemon = Daemon::new("");
    daemon.define("alice", &imap_migrate("old", "alice", source.port, ("alice", "secret"), ""));
    daemon.start();
    assert_eq!(daemon.migrate("old")["messages_imported"], 40);
    let note = daemon.show("old")["folders"][0]["note"].clone();
    assert!(
        note.as_str().is_some_and(|note| note.starts_with("14 messages have flags or keywords")),
        "{note}"
    );
    let verified = daemon.ctl(&["--json", "verify", "old"]).code(0).json();
    assert_eq!((&verified["alike"], &verified["altered"]), (&40.into(), &0.into()), "{verified:#}");
    daemon.stop();
}
