//! An IMAP source that fails at one thing: the next simpler way is gone, what it says of one folder or message costs no
//! more than that, and nothing is deleted there that is not here.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "this is a test")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::helpers::daemon::{Daemon, adds_up, imap_migrate};
use crate::helpers::fake_imap::{Command, FakeImap, Folder, Mail, Then, honest};
use crate::helpers::maildir::{Tree, sha};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(120);
/// The bad one.
const BAD: u32 = 7;

fn folders() -> Vec<Folder> {
    vec![Folder::new("INBOX", 20), Folder::new("Sent", 4), Folder::new("Work", 3)]
}

fn asks_for(command: &Command, uid: u32) -> bool {
    let set = String::from_utf8_lossy(&command.rest).split(' ').next().unwrap_or_default().to_owned();
    let number = |text: &str| if text == "*" { u32::MAX } else { text.parse().unwrap_or(0) };
    command.name == "UID FETCH"
        && set.split(',').any(|part| match part.split_once(':') {
            Some((from, to)) => (number(from)..=number(to)).contains(&uid),
            None => number(part) == uid,
        })
}

fn is_in_inbox(command: &Command) -> bool {
    command.folder.as_deref().is_some_and(|folder| folder.eq_ignore_ascii_case(b"INBOX"))
}

fn opens(command: &Command, folder: &str) -> bool {
    command.name == "EXAMINE" && String::from_utf8_lossy(&command.rest).contains(folder)
}

fn polls(server: &FakeImap, keep: bool) -> Daemon {
    let mut daemon = Daemon::new("[polling]\ninterval = \"24h\"\n");
    daemon.define("alice", &polled(server, keep));
    daemon.start();
    daemon
}

fn polled(server: &FakeImap, keep: bool) -> String {
    imap_migrate("old", "alice", server.port, ("alice", "secret"), &format!("keep_original = {keep}"))
        .replace("[account.migrate]", "[account.poll]")
}

/// Everything that was at the source ever is here.
#[track_caller]
fn is_here(daemon: &Daemon, mails: &[Mail]) {
    let here = Tree::read(&daemon.maildir("alice")).contents();
    for mail in mails {
        assert!(here.contains(&sha(&mail.body)), "UID {} is not here", mail.uid);
    }
}

fn another(uid: u32) -> Mail {
    let body =
        format!("From: b@example.com\r\nSubject: another {uid}\r\n\r\n{}", "long ".repeat(400)).into_bytes();
    Mail { uid, body, flags: String::new(), date: " 1-Feb-2021 10:00:00 +0000".to_owned() }
}

fn migrates(server: &FakeImap) -> Daemon {
    let mut daemon = Daemon::new("[migrations]\nconnections = 2\n");
    let source = imap_migrate("old", "alice", server.port, ("alice", "secret"), "");
    daemon.define("alice", &source.replace("security = \"none\"", "security = \"none\", timeout = \"5s\""));
    daemon.start();
    daemon
}

/// Migrates; returns what `show` says.
#[track_caller]
fn migrated(daemon: &Daemon, code: i32) -> Value {
    daemon.ctl_within(LIMIT, &["start", "old", "--wait"]).code(code);
    let shown = daemon.show("old");
    assert_eq!(shown["migration"]["state"], "completed", "{shown:#}");
    adds_up(&shown["migration"]);
    shown
}

fn stored(daemon: &Daemon) -> usize {
    Tree::read(&daemon.maildir("alice")).count()
}

/// What the server says about one folder is about that folder, since it opens the others.
#[test]
fn words_to_one_folder_are_about_it() {
    for words in [
        "NO [AUTHENTICATIONFAILED] wrong password",
        "NO [INUSE] another program has it",
        "NO [LIMIT] too many of something",
        "NO [OVERQUOTA] not today",
    ] {
        let server = FakeImap::start(folders(), move |command, reply| {
            if opens(command, "Sent") {
                reply.untagged.clear();
                reply.tagged(command, words);
            }
        });
        let mut daemon = migrates(&server);
        let shown = migrated(&daemon, 1);
        assert_eq!(stored(&daemon), 23, "{words}: {shown:#}");
        let skipped = &shown["skipped"][0];
        assert_eq!(skipped["folder"], "Sent", "{shown:#}");
        assert!(skipped["reason"].as_str().unwrap().contains(&words[4..]), "{shown:#}");
        assert!(!shown.to_string().contains("user name and password"), "{shown:#}");
        daemon.stop();
    }
}

/// The same about one message: the others come, and it is named.
#[test]
fn words_to_one_message_are_about_it() {
    for words in
        ["NO [LIMIT] enough", "NO [THROTTLED] slower", "NO [OVERQUOTA] no", "* BYE [UNAVAILABLE] over it"]
    {
        let server = FakeImap::start(folders(), move |command, reply| {
            if is_in_inbox(command) && command.wants_bodies() && asks_for(command, BAD) {
                match words.strip_prefix('*') {
                    Some(_) => reply.cut(0, &format!("{words}\r\n")),
                    None => {
                        reply.untagged.clear();
                        reply.tagged(command, words);
                    }
                }
            }
        });
        let mut daemon = migrates(&server);
        let shown = migrated(&daemon, 1);
        assert_eq!(stored(&daemon), 26, "{words}: {shown:#}");
        assert_eq!(shown["skipped"][0]["id"], BAD.to_string(), "{shown:#}");
        daemon.stop();
    }
}

/// Where every message is refused with such words, they are about the account: nothing is called a bad message.
#[test]
fn words_to_all_messages_are_about_the_account() {
    let server = FakeImap::start(vec![Folder::new("INBOX", 3)], |command, reply| {
        if command.wants_bodies() {
            reply.untagged.clear();
            reply.tagged(command, "NO [THROTTLED] slower");
        }
    });
    let mut daemon = migrates(&server);
    daemon.ctl(&["start", "old"]).code(0);
    daemon.migration_in("old", &["retrying"], LIMIT);
    let shown = daemon.show("old");
    assert!(shown["skipped"].as_array().is_none_or(Vec::is_empty), "{shown:#}");
    assert!(shown["migration"]["error"].as_str().unwrap().contains("slower"), "{shown:#}");
    daemon.stop();
}

/// A size is a hint: where the connection ends over some of them, all messages come.
#[test]
fn a_connection_that_ends_over_sizes_costs_no_message() {
    for polls_it in [false, true] {
        let server = FakeImap::start(folders(), |command, reply| {
            let sizes =
                command.name == "UID FETCH" && String::from_utf8_lossy(&command.rest).contains("RFC822.SIZE");
            if is_in_inbox(command) && sizes && [4, 11].iter().any(|uid| asks_for(command, *uid)) {
                reply.cut(2, "* BYE internal error\r\n");
            }
        });
        if polls_it {
            let mut daemon = polls(&server, true);
            daemon.ctl_within(LIMIT, &["poll", "old"]).code(0);
            assert_eq!(stored(&daemon), 20);
            daemon.stop();
        } else {
            let mut daemon = migrates(&server);
            let shown = migrated(&daemon, 0);
            assert_eq!(stored(&daemon), 27, "{shown:#}");
            daemon.stop();
        }
    }
}

/// What nobody needs is left out where the server fails at it.
#[test]
fn optional_commands_are_left_out() {
    for (name, how) in [
        ("ID", "bye"),
        ("ID", "hang"),
        ("NAMESPACE", "bye"),
        ("NAMESPACE", "hang"),
        ("LSUB", "bye"),
        ("LSUB", "hang"),
        ("CAPABILITY", "bad"),
        ("CAPABILITY", "bye"),
    ] {
        let server = FakeImap::start(folders(), move |command, reply| {
            if command.name != name {
                return;
            }
            match how {
                "bad" => {
                    reply.untagged.clear();
                    reply.tagged(command, "BAD what is that");
                }
                "bye" => reply.cut(0, "* BYE over it\r\n"),
                _ => {
                    (reply.untagged, reply.tagged) = (Vec::new(), Vec::new());
                    reply.then = Then::Hang;
                }
            }
        });
        let mut daemon = migrates(&server);
        daemon.ctl_within(LIMIT, &["check", "old"]).code(0);
        let shown = migrated(&daemon, 0);
        assert_eq!(stored(&daemon), 27, "{name} {how}: {shown:#}");
        let told = daemon.log().matches(&format!("it fails at {name}")).count();
        assert_eq!(told, 1, "{name} {how}: {}", daemon.log_tail(20));
        daemon.stop();
    }
}

/// AUTH=PLAIN is refused in words that nobody knows, or the connection ends over it: LOGIN is tried, once.
#[test]
fn login_is_the_second_look() {
    for how in ["NO", "NO AUTHENTICATE failed.", "* BYE no", ""] {
        let server = FakeImap::start(folders(), move |command, reply| {
            if command.name == "AUTHENTICATE" {
                match how.starts_with("NO") {
                    true => reply.tagged(command, how),
                    false if how.is_empty() => reply.cut(0, ""),
                    false => reply.cut(0, &format!("{how}\r\n")),
                }
            }
        });
        let mut daemon = migrates(&server);
        let shown = migrated(&daemon, 0);
        assert_eq!(stored(&daemon), 27, "{how}: {shown:#}");
        daemon.stop();
    }
}

/// A password that is refused in known words is tried once; in unknown words twice, and no more.
#[test]
fn a_wrong_password_is_tried_twice_at_most() {
    for (words, times) in [("NO [AUTHENTICATIONFAILED] no", 1), ("NO no", 2)] {
        let server = FakeImap::start(folders(), move |command, reply| {
            if matches!(command.name.as_str(), "AUTHENTICATE" | "LOGIN") {
                reply.tagged(command, words);
            }
        });
        let mut daemon = migrates(&server);
        let answer = daemon.ctl_within(LIMIT, &["check", "old"]).code(1);
        assert!(answer.says("user name and password").replies().len() < 100);
        let tries = server
            .said()
            .iter()
            .filter(|line| line.contains("AUTHENTICATE") || line.contains("LOGIN"))
            .count();
        assert_eq!(tries, times, "{:?}", server.said());
        daemon.stop();
    }
}

/// A message that comes shorter than it is listed, each time, is named, and its original stays.
#[test]
fn what_comes_cut_off_stays_at_the_source() {
    for cut in [30, 0] {
        let server = FakeImap::with_capability(UIDPLUS, folders(), move |command, reply| {
            if is_in_inbox(command)
                && command.wants_bodies()
                && let Some(line) = reply.of(BAD)
            {
                let text = String::from_utf8_lossy(line).into_owned();
                let at = text.find("BODY").unwrap();
                let item = text[at..].split(' ').next().unwrap();
                let start = text[at..].find("}\r\n").unwrap() + at + 3;
                let body = if cut == 0 { "\r\n" } else { &text[start..start + cut] };
                *line = format!("{}{item} {{{}}}\r\n{body})\r\n", &text[..at], body.len()).into_bytes();
            }
        });
        let mut daemon = polls(&server, false);
        daemon.ctl_within(LIMIT, &["poll", "old"]).code(1);
        let left: Vec<u32> = server.boxes()[0].mails.iter().map(|mail| mail.uid).collect();
        assert_eq!(left, [BAD], "{}", daemon.log_tail(20));
        let shown = daemon.show("old");
        assert_eq!(shown["skipped"][0]["id"], BAD.to_string(), "{shown:#}");
        assert_eq!(stored(&daemon), if cut == 0 { 19 } else { 20 }, "{shown:#}");
        // It stays, whatever run comes.
        daemon.ctl_within(LIMIT, &["poll", "old"]);
        assert_eq!(server.boxes()[0].mails.len(), 1);
        daemon.stop();
    }
}

const UIDPLUS: &str = "IMAP4rev1 UIDPLUS ID NAMESPACE SPECIAL-USE SASL-IR AUTH=PLAIN";

/// A UID that stands for another message now: nothing is deleted at the source that is not here, and all of it comes.
#[test]
fn a_uid_used_anew_is_another_message() {
    let server = FakeImap::with_capability(UIDPLUS, vec![Folder::new("INBOX", 20)], honest);
    let mut ever = server.boxes()[0].mails.clone();
    let mut daemon = polls(&server, true);
    daemon.ctl_within(LIMIT, &["poll", "old"]).code(0);
    for uid in [5, 10, 20] {
        ever.push(another(uid));
        server.change(|boxes| boxes[0].mails[uid as usize - 1] = another(uid));
    }
    daemon.ctl_within(LIMIT, &["poll", "old"]).code(0);
    daemon.stop();
    daemon.define("alice", &polled(&server, false));
    daemon.start();
    daemon.ctl_within(LIMIT, &["poll", "old"]).code(0);
    is_here(&daemon, &ever);
    assert_eq!((stored(&daemon), server.boxes()[0].mails.len()), (23, 0), "{}", daemon.log_tail(20));
    daemon.stop();
}

/// The same in a migration, which brings it; and a message that is only listed with another size does not come twice.
#[test]
fn a_further_run_sees_a_uid_used_anew() {
    let server = FakeImap::start(vec![Folder::new("INBOX", 20)], |command, reply| {
        // The listing of the further run.
        if command.connection > 2
            && command.name == "UID FETCH"
            && !command.wants_bodies()
            && let Some(line) = reply.of(BAD)
        {
            let text = String::from_utf8_lossy(line).into_owned();
            if let Some((before, _)) = text.split_once("RFC822.SIZE") {
                *line = format!("{before}RFC822.SIZE 9999)\r\n").into_bytes();
            }
        }
    });
    let mut ever = server.boxes()[0].mails.clone();
    let mut daemon = migrates(&server);
    migrated(&daemon, 0);
    ever.push(another(20));
    server.change(|boxes| boxes[0].mails[19] = another(20));
    while server.connections() < 4 {
        daemon.ctl_within(LIMIT, &["check", "old"]).code(0);
    }
    let shown = migrated(&daemon, 0);
    is_here(&daemon, &ever);
    assert_eq!(stored(&daemon), 21, "{shown:#}");
    daemon.stop();
}

/// A UIDVALIDITY that no number has room for is the same or not, as others are.
#[test]
fn a_uidvalidity_of_twenty_digits_is_compared() {
    let server = FakeImap::start(folders(), |command, reply| {
        for line in &mut reply.untagged {
            let text = String::from_utf8_lossy(line).into_owned();
            if command.name == "EXAMINE" && text.contains("[UIDVALIDITY") {
                *line = b"* OK [UIDVALIDITY 99999999999999999999] valid\r\n".to_vec();
            }
        }
    });
    let mut daemon = migrates(&server);
    migrated(&daemon, 0);
    assert_eq!(stored(&daemon), 27);
    let fetched = server.body_fetches();
    migrated(&daemon, 0);
    assert_eq!((stored(&daemon), server.body_fetches()), (27, fetched), "it is the same mailbox");
    daemon.stop();
}

/// A list with fewer messages than the server counts: nothing is called deleted, and the folder is told.
#[test]
fn verify_believes_no_short_list() {
    let short = Arc::new(AtomicBool::new(false));
    let is_short = Arc::clone(&short);
    let server = FakeImap::start(folders(), move |command, reply| {
        if is_short.load(Ordering::SeqCst) && is_in_inbox(command) && command.name == "UID FETCH" {
            reply.untagged.retain(|line| !String::from_utf8_lossy(line).contains(&format!("(UID {BAD} ")));
        }
    });
    let mut daemon = migrates(&server);
    migrated(&daemon, 0);
    daemon.ctl_within(LIMIT, &["verify", "old"]).code(0);
    short.store(true, Ordering::SeqCst);
    let answer = daemon.ctl_within(LIMIT, &["verify", "old"]).code(1);
    assert!(answer.out.contains("1 messages more in this folder"), "{answer:?}");
    assert!(!answer.out.contains("deleted at the source"), "{}", answer.out);
    daemon.stop();
}

/// Flags that nobody can read cost the flags, and not the message; and nobody blames the destination for it.
#[test]
fn odd_flags_cost_no_message() {
    for flags in ["NIL", "(\\Seen \"quoted\" a(b))"] {
        let server = FakeImap::start(folders(), move |command, reply| {
            if is_in_inbox(command)
                && String::from_utf8_lossy(&command.rest).contains("FLAGS")
                && let Some(line) = reply.of(BAD)
            {
                let at = line.windows(7).position(|part| part == b"FLAGS (").unwrap() + 6;
                let end = at + line[at..].iter().position(|byte| *byte == b')').unwrap();
                line.splice(at..=end, flags.bytes());
            }
        });
        let mut daemon = migrates(&server);
        let answer = daemon.ctl_within(LIMIT, &["start", "old", "--wait"]).code(1);
        let shown = daemon.show("old");
        assert_eq!(stored(&daemon), 27, "{flags}: {shown:#}");
        assert_eq!(shown["skipped"][0]["id"], BAD.to_string(), "{shown:#}");
        assert!(!format!("{}{}", answer.out, answer.err).contains("destination refused"), "{answer:?}");
        daemon.stop();
    }
}
