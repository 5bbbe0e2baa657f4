//! A message that makes the server hang up whenever it is asked for: `verify` and `backup` ask for it once more
//! alone, name it, and read all the others. A folder that does when it is opened: everything else comes.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "this is a test")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::helpers::daemon::{Daemon, imap_migrate};
use crate::helpers::fake_imap::{Command, FakeImap, Folder, Reply, Then};

const ALICE: (&str, &str) = ("alice", "secret");
const NAME: &str = "alice-old";

/// A server that hangs up over the messages 7 and 8 of INBOX while the switch is on.
fn server() -> (FakeImap, Arc<AtomicBool>) {
    let broken = Arc::new(AtomicBool::new(false));
    let is_broken = Arc::clone(&broken);
    let boxes = vec![Folder::new("INBOX", 30), Folder::new("Work", 20)];
    let server = FakeImap::start(boxes, move |command: &Command, reply: &mut Reply| {
        if !is_broken.load(Ordering::SeqCst) || !command.wants_bodies() || !command.is_in("INBOX") {
            return;
        }
        if let Some(at) = [7, 8].iter().filter_map(|uid| position(reply, *uid)).min() {
            reply.untagged.truncate(at);
            reply.tagged.clear();
            reply.then = Then::Close;
        }
    });
    (server, broken)
}

/// Where in an answer a message is.
fn position(reply: &Reply, uid: u32) -> Option<usize> {
    let words = format!("(UID {uid} ");
    reply.untagged.iter().position(|line| String::from_utf8_lossy(line).contains(&words))
}

#[test]
fn a_comparison_goes_on() {
    let (source, broken) = server();
    let mut daemon = Daemon::new("");
    daemon.define("alice", &imap_migrate(NAME, "alice", source.port, ALICE, ""));
    daemon.start();
    daemon.migrate(NAME);
    let answer = daemon.ctl(&["--json", "verify", NAME, "--bodies"]).code(0).json();
    assert_eq!((&answer["alike"], &answer["unread"]), (&50.into(), &0.into()), "{answer:#}");
    broken.store(true, Ordering::SeqCst);
    let answer = daemon.ctl(&["--json", "verify", NAME, "--bodies"]).code(1).json();
    assert_eq!((&answer["alike"], &answer["unread"]), (&48.into(), &2.into()), "{answer:#}");
    let mut named: Vec<(&str, &str)> = Vec::new();
    for finding in answer["findings"].as_array().unwrap() {
        assert!(finding["reason"].as_str().unwrap().contains("the source does not give it"), "{finding:#}");
        named.push((finding["folder"].as_str().unwrap(), finding["id"].as_str().unwrap()));
    }
    named.sort_unstable();
    assert_eq!(named, [("INBOX", "7"), ("INBOX", "8")]);
    daemon.stop();
}

#[test]
fn a_backup_goes_on() {
    let (home, broken) = server();
    let mut daemon = Daemon::homing(home.port, "login = \"alice\"", ALICE.1);
    daemon.start();
    let file = daemon.path().join("all.zip");
    let words = ["--json", "backup", "--member", "alice@example.com", "--destination", "there"];
    let words = [&words[..], &["--format", "zip", "-o", file.to_str().unwrap()]].concat();
    assert_eq!(daemon.ctl(&words).code(0).json()["messages"], 50);
    std::fs::remove_file(&file).unwrap();
    broken.store(true, Ordering::SeqCst);
    let lacking = daemon.ctl(&words).code(1).says("the server does not give 2 messages").json();
    let left_out = lacking["left_out"].as_array().unwrap();
    let mut named: Vec<&str> = left_out.iter().map(|out| out["what"].as_str().unwrap()).collect();
    named.sort_unstable();
    assert_eq!((&lacking["messages"], named), (&48.into(), vec!["INBOX 7", "INBOX 8"]), "{lacking:#}");
    // What it could read is in it, and is good.
    let uploaded = ["--json", "upload", "--member", "bob@example.com", file.to_str().unwrap()];
    let came = daemon.ctl(&uploaded).code(0).json();
    assert_eq!(came["imported"], 48, "{came:#}");
    daemon.stop();
}

/// A server that hangs up over one folder, whoever asks for it; with its STATUS, too, if `even_that`.
fn locked(even_that: bool) -> FakeImap {
    let boxes = ["Archive/Locked", "INBOX", "Sent", "Work"].map(|name| Folder::new(name, 12));
    FakeImap::start(boxes.to_vec(), move |command: &Command, reply: &mut Reply| {
        let verbs = ["EXAMINE", "SELECT", if even_that { "STATUS" } else { "SELECT" }];
        if verbs.contains(&command.name.as_str()) && String::from_utf8_lossy(&command.rest).contains("Locked")
        {
            reply.untagged = vec![b"* BYE terminating connection\r\n".to_vec()];
            reply.tagged.clear();
            reply.then = Then::Close;
        }
    })
}

#[test]
fn a_folder_that_cannot_be_opened_is_left_out_alone() {
    for (even_that, connections) in [(false, 1), (true, 4)] {
        let source = locked(even_that);
        let mut daemon = Daemon::new(&format!("[migrations]\nconnections = {connections}\n"));
        daemon.define("alice", &imap_migrate(NAME, "alice", source.port, ALICE, ""));
        daemon.start();
        daemon.ctl(&["start", NAME, "--wait"]).code(1);
        let migration = daemon.migration(NAME);
        assert_eq!(migration["state"], "completed", "{migration:#}");
        // The server counts its twelve messages, or tells nothing of it, and then it is a folder that failed.
        let failed = if even_that { 0 } else { 12 };
        let numbers = (&migration["messages_done"], &migration["messages_failed"]);
        assert_eq!(numbers, (&36.into(), &failed.into()), "{migration:#}");
        let skipped = &daemon.show(NAME)["skipped"][0];
        assert!(skipped["reason"].as_str().unwrap().contains("terminating connection"), "{skipped:#}");
        let verified = daemon.ctl(&["--json", "verify", NAME]).code(1).json();
        assert_eq!((&verified["alike"], &verified["unread"]), (&36.into(), &1.into()), "{verified:#}");
        daemon.stop();
    }
}

#[test]
fn a_poll_gets_past_it() {
    for even_that in [false, true] {
        let source = locked(even_that);
        let mut daemon = Daemon::new("[polling]\ninterval = \"24h\"\n");
        let definition = imap_migrate(NAME, "alice", source.port, ALICE, "folders = [\"*\"]");
        daemon.define("alice", &definition.replace("[account.migrate]", "[account.poll]"));
        daemon.start();
        assert_eq!(daemon.poll(NAME)["imported"], 36);
        for more in 1..4 {
            source.change(|boxes| {
                let mail = Folder::new("INBOX", 12 + more).mails.pop().unwrap();
                boxes[1].mails.push(mail);
            });
            assert_eq!(daemon.poll(NAME)["imported"], 1, "{even_that} {more}");
        }
        daemon.stop();
    }
}

/// What a list does not show once is no mail that was there before: it comes when it is shown.
#[test]
fn what_was_hidden_comes_when_it_is_shown() {
    for keep in [true, false] {
        let all = Folder::new("INBOX", 12);
        let mut some = all.clone();
        some.mails.retain(|mail| ![3, 5].contains(&mail.uid));
        let source = FakeImap::start(vec![some], |_, _| {});
        let mut daemon = Daemon::new("[polling]\ninterval = \"24h\"\n");
        let more = format!("folders = [\"*\"]\nkeep_original = {keep}");
        let definition = imap_migrate(NAME, "alice", source.port, ALICE, &more);
        daemon.define("alice", &definition.replace("[account.migrate]", "[account.poll]"));
        daemon.start();
        assert_eq!(daemon.poll(NAME)["imported"], 10);
        source.change(|boxes| {
            boxes[0].mails.extend(all.mails.iter().filter(|mail| [3, 5].contains(&mail.uid)).cloned());
            boxes[0].mails.sort_by_key(|mail| mail.uid);
        });
        assert_eq!(daemon.poll(NAME)["imported"], 2, "{keep}");
        assert_eq!(daemon.poll(NAME)["imported"], 0, "{keep}");
        daemon.stop();
    }
}
