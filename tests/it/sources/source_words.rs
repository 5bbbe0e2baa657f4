//! An IMAP source that has no UIDVALIDITY, or a new one each time; that fails at LIST with RETURN, or when messages are
//! deleted in one folder; that greets in words of its own. What comes comes once, and what is said is true.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "this is a test")]

use crate::helpers::daemon;
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use crate::helpers::daemon::{Daemon, imap_migrate, pop3_poll};
use crate::helpers::fake_imap::{Command, FakeImap, Folder, Mail, Reply, Then};
use crate::helpers::maildir::Tree;

const LIMIT: Duration = Duration::from_secs(120);
const LOGIN: (&str, &str) = ("alice", "secret");
const ALL: &str = "IMAP4rev1 UIDPLUS ID NAMESPACE SPECIAL-USE LIST-EXTENDED SASL-IR AUTH=PLAIN";

fn folders() -> Vec<Folder> {
    vec![Folder::new("INBOX", 20), Folder::new("Sent", 4), Folder::new("Work", 3)]
}

fn started(definition: &str) -> Daemon {
    let mut daemon = Daemon::new("[migrations]\nconnections = 2\n[polling]\ninterval = \"24h\"\n");
    daemon
        .define("alice", &definition.replace("security = \"none\"", "security = \"none\", timeout = \"5s\""));
    daemon.start();
    daemon
}

fn migrates(server: &FakeImap) -> Daemon {
    started(&imap_migrate("old", "alice", server.port, LOGIN, ""))
}

fn polls(server: &FakeImap, keep: bool) -> Daemon {
    let more = format!("folders = [\"*\"]\nkeep_original = {keep}");
    let definition = imap_migrate("old", "alice", server.port, LOGIN, &more);
    started(&definition.replace("[account.migrate]", "[account.poll]\nenabled = false"))
}

fn runs(daemon: &Daemon, polled: bool, code: i32) -> daemon::Answer {
    let words: &[&str] = if polled { &["poll", "old"] } else { &["start", "old", "--wait"] };
    daemon.ctl_within(LIMIT, words).code(code)
}

/// So many files, and none of them twice.
#[track_caller]
fn stored(daemon: &Daemon, count: usize) {
    let contents = Tree::read(&daemon.maildir("alice")).contents();
    assert_eq!(contents.len(), count, "{}", daemon.log_tail(20));
    let mut once = contents.clone();
    once.sort();
    once.dedup();
    assert_eq!(once.len(), count, "something is here twice");
}

fn more(server: &FakeImap, folder: usize, uid: u32) {
    let body = format!("From: b@example.com\r\nSubject: more {uid}\r\n\r\nnew\r\n").into_bytes();
    let date = " 1-Feb-2021 10:00:00 +0000".to_owned();
    server.change(|boxes| boxes[folder].mails.push(Mail { uid, body, flags: String::new(), date }));
}

/// Each time a folder is opened it has another UIDVALIDITY, 0, or none.
fn numbers(how: &'static str) -> impl Fn(&Command, &mut Reply) + Send + Sync {
    let next = AtomicU32::new(1000);
    move |command, reply| {
        let says = |line: &Vec<u8>| String::from_utf8_lossy(line).contains("[UIDVALIDITY");
        if !matches!(command.name.as_str(), "EXAMINE" | "SELECT") {
            return;
        }
        match how {
            "none" => reply.untagged.retain(|line| !says(line)),
            "zero" => {
                let line = reply.untagged.iter_mut().find(|line| says(line)).unwrap();
                *line = b"* OK [UIDVALIDITY 0] as ever\r\n".to_vec();
            }
            _ => {
                let line = reply.untagged.iter_mut().find(|line| says(line)).unwrap();
                let next = next.fetch_add(1, Ordering::SeqCst);
                *line = format!("* OK [UIDVALIDITY {next}] for now\r\n").into_bytes();
            }
        }
    }
}

#[test]
fn without_a_uidvalidity_contents_tell() {
    for how in ["none", "zero", "new"] {
        for polled in [false, true] {
            let server = FakeImap::with_capability(ALL, folders(), numbers(how));
            let mut daemon = if polled { polls(&server, true) } else { migrates(&server) };
            runs(&daemon, polled, 0);
            stored(&daemon, 27);
            more(&server, 0, 21);
            more(&server, 1, 5);
            for _ in 0..2 {
                runs(&daemon, polled, 0);
                stored(&daemon, 29);
            }
            if !polled {
                daemon.ctl_within(LIMIT, &["verify", "old"]).code(0);
            }
            let told = daemon.log().matches("it gives no UIDVALIDITY").count();
            assert_eq!(told, usize::from(how != "new"), "{how}: {}", daemon.log_tail(20));
            daemon.stop();
        }
    }
}

/// Nothing is deleted by UIDs that may be of other messages by now.
#[test]
fn numbers_that_change_delete_nothing() {
    let server = FakeImap::with_capability(ALL, folders(), numbers("new"));
    let mut daemon = polls(&server, false);
    let answer = runs(&daemon, true, 1).says("nothing is deleted at the source");
    stored(&daemon, 27);
    let left: usize = server.boxes().iter().map(|b| b.mails.len()).sum();
    assert_eq!(left, 27, "{answer:?}");
    let account = daemon.account("old");
    assert_eq!(account["consecutive_failures"], 0, "{account:#}");
    daemon.stop();
}

#[test]
fn list_with_return_that_fails_is_a_plain_list() {
    for how in ["bad", "bye", "close", "hang", "empty"] {
        let server = FakeImap::with_capability(ALL, folders(), move |command, reply| {
            if command.name != "LIST" || !String::from_utf8_lossy(&command.rest).contains("RETURN") {
                return;
            }
            match how {
                "bad" => {
                    reply.untagged.clear();
                    reply.tagged(command, "BAD too many words");
                }
                "bye" => reply.cut(1, "* BYE over it\r\n"),
                "close" => reply.cut(0, ""),
                "hang" => {
                    reply.tagged.clear();
                    reply.then = Then::Hang;
                }
                _ => reply.untagged.clear(),
            }
        });
        let mut daemon = migrates(&server);
        daemon.ctl_within(LIMIT, &["check", "old"]).code(0);
        runs(&daemon, false, 0);
        stored(&daemon, 27);
        let told = daemon.log().matches("it fails at LIST with RETURN").count();
        assert_eq!(told, usize::from(how != "empty"), "{how}: {}", daemon.log_tail(20));
        daemon.stop();
    }
}

/// What cannot be deleted in one folder costs no other one, whatever the server says; and it goes when that is over.
#[test]
fn one_folder_that_does_not_delete() {
    for words in
        ["NO [THROTTLED] slower", "NO [AUTHENTICATIONFAILED] no", "NO no", "* BYE [INUSE] busy", "garbage"]
    {
        let well = Arc::new(AtomicBool::new(false));
        let is_well = Arc::clone(&well);
        let server = FakeImap::with_capability(ALL, folders(), move |command, reply| {
            let deletes = command.is_in("Sent") && command.name == "UID STORE";
            let checks = command.is_in("Sent") && command.name == "UID FETCH" && !command.wants_bodies();
            if is_well.load(Ordering::SeqCst) {
                return;
            }
            match words {
                "garbage" if checks => reply.untagged.insert(0, b"* 7 FETCH (X )(\r\n".to_vec()),
                "garbage" => {}
                _ if !deletes => {}
                _ if words.starts_with('*') => reply.cut(0, &format!("{words}\r\n")),
                _ => reply.tagged(command, words),
            }
        });
        let mut daemon = polls(&server, false);
        runs(&daemon, true, 1).says("Sent: nothing is deleted at the source");
        stored(&daemon, 27);
        let left = |server: &FakeImap| server.boxes().iter().map(|b| b.mails.len()).collect::<Vec<_>>();
        assert_eq!(left(&server), [0, 4, 0], "{words}: {}", daemon.log_tail(20));
        well.store(true, Ordering::SeqCst);
        runs(&daemon, true, 0);
        assert_eq!(left(&server), [0, 0, 0], "{words}: {}", daemon.log_tail(20));
        stored(&daemon, 27);
        daemon.stop();
    }
}

/// Words with which a connection ends over one message are about that, be they of limits or not.
#[test]
fn last_words_over_one_message() {
    for words in ["too many of them", "[AUTHENTICATIONFAILED] no"] {
        let server = FakeImap::with_capability(ALL, folders(), move |command, reply| {
            if command.is_in("INBOX") && command.wants_bodies() && reply.of(7).is_some() {
                reply.cut(0, &format!("* BYE {words}\r\n"));
            }
        });
        let mut daemon = migrates(&server);
        runs(&daemon, false, 1);
        stored(&daemon, 26);
        let shown = daemon.show("old");
        assert_eq!(shown["migration"]["state"], "completed", "{shown:#}");
        assert_eq!(shown["skipped"][0]["id"], "7", "{words}: {shown:#}");
        assert!(server.connections() <= 20, "{}", server.connections());
        daemon.stop();
    }
}

/// Whoever greets as a mail server of another kind does is quoted; the advice of `check` is of use.
#[test]
fn a_greeting_in_other_words() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let _ = stream.write_all(b"421 too many connections from your address\r\n");
        }
    });
    for definition in [
        pop3_poll("old", "alice", port, LOGIN, "enabled = false"),
        imap_migrate("old", "alice", port, LOGIN, ""),
    ] {
        let mut daemon = started(&definition);
        let answer = daemon.ctl_within(LIMIT, &["check", "old"]).code(1);
        let answer = answer.says("421 too many connections from your address").says("tr");
        assert!(!answer.err.contains("mailhaulctl show"), "{answer:?}");
        daemon.stop();
    }
}
