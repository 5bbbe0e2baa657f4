//! What known providers and servers do, played back: each row of their quirks is a few lines of a habit, and
//! the migration copes with it or says what to do.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "this is a test")]

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use crate::helpers::daemon::{Daemon, adds_up, imap_migrate};
use crate::helpers::fake_imap::{Command, FakeImap, Folder, Then, at_first, honest};
use crate::helpers::maildir::{Tree, same, sha};
use serde_json::Value;

const LONG: Duration = Duration::from_secs(90);

fn boxes() -> Vec<Folder> {
    vec![Folder::new("INBOX", 40), Folder::new("Work", 300), Folder::new("Empty", 0)]
}

fn start(server: &FakeImap) -> Daemon {
    let mut daemon = Daemon::new("[migrations]\nconnections = 4\n");
    daemon.define("alice", &imap_migrate("alice-old", "alice", server.port, ("alice", "secret"), ""));
    daemon.start();
    daemon.ctl(&["start", "alice-old"]).code(0);
    daemon
}

fn bodies(server: &FakeImap) -> Vec<String> {
    server.boxes().iter().flat_map(|folder| folder.mails.iter().map(|mail| sha(&mail.body))).collect()
}

/// Everything comes in the end, whatever happens on the way.
#[track_caller]
fn copes(server: &FakeImap) -> Value {
    let mut daemon = start(server);
    let migration = daemon.migration_in("alice-old", &["completed", "failed", "rolled-back"], LONG);
    assert_eq!(migration["state"], "completed", "{migration:#}");
    adds_up(&migration);
    same("what arrived", &bodies(server), &Tree::read(&daemon.maildir("alice")).contents());
    daemon.ctl(&["verify", "alice-old"]).code(0);
    daemon.stop();
    migration
}

/// It waits, and says these words.
#[track_caller]
fn waits(server: &FakeImap, words: &[&str]) {
    let mut daemon = start(server);
    let migration = daemon.migration_in("alice-old", &["retrying"], LONG);
    let error = migration["error"].as_str().unwrap();
    for word in words {
        assert!(error.contains(word), "{word}: {error}");
    }
    assert!(migration["next_try_at"].is_string(), "{migration:#}");
    daemon.stop();
}

/// It ends, and says what the owner has to do.
#[track_caller]
fn ends(server: &FakeImap, words: &[&str]) {
    let mut daemon = start(server);
    let migration = daemon.migration_in("alice-old", &["failed", "rolled-back"], LONG);
    let error = migration["error"].as_str().unwrap();
    for word in words {
        assert!(error.contains(word), "{word}: {error}");
    }
    assert!(Tree::read(&daemon.maildir("alice")).contents().is_empty());
    daemon.stop();
}

fn is_login(command: &Command) -> bool {
    matches!(command.name.as_str(), "LOGIN" | "AUTHENTICATE")
}

/// Refuses the login with these words.
fn login_says(words: &'static str) -> FakeImap {
    FakeImap::start(boxes(), move |command, reply| {
        if is_login(command) {
            reply.untagged.clear();
            reply.tagged(command, words);
        }
    })
}

/// Ends a connection in the middle of bodies, once.
fn bye_once(words: &'static str) -> FakeImap {
    let when = |command: &Command| command.is_in("Work") && command.wants_bodies();
    FakeImap::start(
        boxes(),
        at_first(1, when, move |_, reply| {
            reply.untagged.truncate(20);
            reply.untagged.push(format!("* BYE {words}\r\n").into_bytes());
            reply.tagged.clear();
            reply.then = Then::Close;
        }),
    )
}

#[test]
fn gmail_over_its_limits() {
    waits(
        &login_says("NO [OVERQUOTA] Account exceeded command or bandwidth limits. x1"),
        &["bandwidth limits", "later"],
    );
    copes(&bye_once("Session expired, please login again."));
}

#[test]
fn gmail_wants_its_owner() {
    ends(
        &login_says("NO [ALERT] Application-specific password required: 185833 (Failure)"),
        &["application password"],
    );
    ends(&login_says("NO [WEBALERT https://x.example/] Web login required."), &["owner has to act"]);
}

#[test]
fn gmail_counts_connections() {
    let open = Mutex::new(BTreeMap::new());
    let server = FakeImap::start(boxes(), move |command, reply| {
        let mut open = open.lock().unwrap();
        match command.name.as_str() {
            "LOGOUT" => {
                open.remove(&command.connection);
            }
            name if is_login(command) && open.len() >= 2 => {
                let _ = name;
                reply.untagged.clear();
                reply.tagged(command, "NO [ALERT] Too many simultaneous connections. (Failure)");
            }
            _ if is_login(command) => {
                open.insert(command.connection, ());
            }
            _ => {}
        }
    });
    copes(&server);
}

#[test]
fn microsoft_throttles_in_milliseconds() {
    let when = |command: &Command| command.wants_bodies();
    let server = FakeImap::start(
        boxes(),
        at_first(1, when, |command, reply| {
            reply.untagged.clear();
            reply.tagged(command, "BAD Request is throttled. Suggested Backoff Time: 1200 milliseconds");
        }),
    );
    copes(&server);
}

#[test]
fn microsoft_is_authenticated_and_not_connected() {
    let server = FakeImap::start(boxes(), |command, reply| {
        if !is_login(command) && !matches!(command.name.as_str(), "CAPABILITY" | "LOGOUT") {
            reply.untagged.clear();
            reply.tagged(command, "BAD User is authenticated but not connected.");
        }
    });
    waits(&server, &["authenticated but not connected", "permission", "consent"]);
}

/// Somebody is logged in who has no mailbox there: that is found out before anything starts.
#[test]
fn a_check_finds_out_that_nothing_can_be_opened() {
    const BAD: &str = "BAD User is authenticated but not connected.";
    const NO: &str = "NO You have no mailbox here";
    for (verbs, words) in [
        (&["STATUS", "EXAMINE", "SELECT"][..], BAD),
        (&["STATUS", "EXAMINE", "SELECT"], NO),
        (&["STATUS"], NO),
        (&["CAPABILITY"], BAD),
        (&["CAPABILITY"], NO),
    ] {
        let server = FakeImap::start(boxes(), move |command, reply| {
            if verbs.contains(&command.name.as_str()) {
                reply.untagged.clear();
                reply.tagged(command, words);
            }
        });
        let mut daemon = Daemon::new("");
        daemon.define("alice", &imap_migrate("alice-old", "alice", server.port, ("alice", "secret"), ""));
        daemon.start();
        let checked = daemon.ctl(&["check", "alice-old"]);
        // Who only does not count, or does not say what it can do, can still be read.
        match verbs {
            ["STATUS"] | ["CAPABILITY"] => assert!(checked.code(0).out.contains("alice-old: ready")),
            _ => drop(checked.code(1).says(words.split_once(' ').unwrap().1)),
        }
        daemon.stop();
    }
}

#[test]
fn microsoft_forgets_a_token_in_the_middle() {
    copes(&bye_once("Connection is closed. 13 AccessTokenExpired"));
}

#[test]
fn exchange_closes_after_ten_errors() {
    let errors = Mutex::new(BTreeMap::<usize, usize>::new());
    let server = FakeImap::start(boxes(), move |command, reply| {
        if command.is_in("Work") && command.wants_bodies() && reply.of(77).is_some() {
            let mut errors = errors.lock().unwrap();
            let count = errors.entry(command.connection).or_default();
            *count += 1;
            reply.untagged.clear();
            reply.tagged(command, "NO the message is damaged");
            if *count > 10 {
                reply.tagged.clear();
                reply.then = Then::Close;
            }
        }
    });
    let mut daemon = start(&server);
    let migration = daemon.migration_in("alice-old", &["completed", "failed", "rolled-back"], LONG);
    assert_eq!(
        (&migration["state"], &migration["messages_failed"]),
        (&"completed".into(), &1.into()),
        "{migration:#}"
    );
    assert_eq!(daemon.show("alice-old")["skipped"][0]["id"], "77");
    daemon.stop();
}

#[test]
fn yahoo_cannot_give_one_message() {
    let server = FakeImap::start(boxes(), |command, reply| {
        if command.is_in("Work") && command.wants_bodies() && reply.of(5).is_some() {
            reply.untagged.clear();
            reply.tagged(command, "NO [SERVERBUG] UID FETCH Server error - Please try again later");
        }
    });
    let mut daemon = start(&server);
    let migration = daemon.migration_in("alice-old", &["completed", "failed", "rolled-back"], LONG);
    assert_eq!(
        (&migration["state"], &migration["messages_done"]),
        (&"completed".into(), &339.into()),
        "{migration:#}"
    );
    let shown = daemon.show("alice-old");
    assert!(shown["skipped"][0]["reason"].as_str().unwrap().contains("Server error"), "{shown:#}");
    daemon.stop();
}

#[test]
fn yahoo_is_unavailable_for_a_moment() {
    let when = |command: &Command| command.name == "EXAMINE" && command.rest.starts_with(b"\"Work");
    let server = FakeImap::start(
        boxes(),
        at_first(1, when, |command, reply| {
            reply.untagged.clear();
            reply.tagged(command, "NO [UNAVAILABLE] EXAMINE temporarily not available");
        }),
    );
    copes(&server);
}

#[test]
fn netease_wants_to_know_who_we_are() {
    let known = Mutex::new(std::collections::BTreeSet::new());
    let server = FakeImap::start(boxes(), move |command, reply| {
        let mut known = known.lock().unwrap();
        if command.name == "ID" && String::from_utf8_lossy(&command.rest).contains("\"name\" \"") {
            known.insert(command.connection);
        }
        if matches!(command.name.as_str(), "SELECT" | "EXAMINE") && !known.contains(&command.connection) {
            reply.untagged.clear();
            reply.tagged(command, "NO EXAMINE Unsafe Login. Please contact kefu@188.com for help");
        }
    });
    copes(&server);
}

#[test]
fn qq_wants_plain_ascending_sets() {
    let server = FakeImap::start(boxes(), |command, reply| {
        if command.name == "UID FETCH" {
            let rest = String::from_utf8_lossy(&command.rest).into_owned();
            let set = rest.split(' ').next().unwrap();
            let numbers: Vec<u32> =
                set.split([':', ',']).map(|n| if n == "*" { u32::MAX } else { n.parse().unwrap() }).collect();
            if !numbers.is_sorted() || set.len() > 1000 {
                reply.untagged.clear();
                reply.tagged(command, "BAD UID parameters");
            }
        }
    });
    copes(&server);
}

#[test]
fn zoho_has_no_folders_for_a_moment() {
    let server = FakeImap::start(
        boxes(),
        at_first(
            1,
            |command| command.name == "LIST",
            |_, reply| {
                reply.untagged.clear();
            },
        ),
    );
    copes(&server);
}

#[test]
fn courier_counts_connections_without_a_word() {
    let server = FakeImap::start(boxes(), move |command, reply| {
        // The second and third connection are closed as soon as they speak.
        if (1..3).contains(&command.connection) {
            reply.untagged.clear();
            reply.tagged.clear();
            reply.then = Then::Close;
        }
    });
    copes(&server);
}

#[test]
fn exists_comes_late_and_dates_are_missing() {
    let server = FakeImap::start(boxes(), |command, reply| {
        if command.wants_bodies() {
            let date = b" INTERNALDATE";
            for (number, line) in reply.untagged.iter_mut().enumerate() {
                if let Some(at) = line.windows(date.len()).position(|w| w == date) {
                    let end = at + date.len() + " \"01-Jan-2020 10:00:00 +0000\"".len();
                    // Left out, or said to be none.
                    let none: &[u8] = if number % 2 == 0 { b"" } else { b" INTERNALDATE NIL" };
                    line.splice(at..end, none.iter().copied());
                }
            }
            reply.untagged.push(b"* 40 EXISTS\r\n".to_vec());
        }
    });
    let mut daemon = start(&server);
    let migration = daemon.migration_in("alice-old", &["completed"], LONG);
    adds_up(&migration);
    same("what arrived", &bodies(&server), &Tree::read(&daemon.maildir("alice")).contents());
    daemon.stop();
}

#[test]
fn an_ordinary_one() {
    let server = FakeImap::start(boxes(), honest);
    let migration = copes(&server);
    assert_eq!(migration["arrived"]["here"], 340, "{migration:#}");
}
