//! Migrations from IMAP servers that break off, lie and send what nobody asked for. However one ends, it says
//! so: a message that was there and did not come is listed, or the migration is not completed; and no file
//! is ever made outside the mailbox.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stderr, reason = "this is a test")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::helpers::daemon::{Daemon, adds_up, imap_migrate};
use crate::helpers::fake_imap::{Command, FakeImap, Folder, Reply, Then, at_first, honest};
use crate::helpers::maildir::{Tree, same, sha};
use serde_json::Value;

/// MiB of memory that the daemon may have had at most, whatever comes.
const SMALL: u64 = 200;
const ENDED: [&str; 4] = ["completed", "failed", "rolled-back", "retrying"];
/// Long enough for a stall, its pause and another try.
const LONG: Duration = Duration::from_secs(150);

/// Two folders, thirteen messages.
fn ordinary() -> Vec<Folder> {
    vec![Folder::new("INBOX", 10), Folder::new("Work", 3)]
}

fn daemon(server: &FakeImap) -> Daemon {
    let mut daemon = Daemon::new("[migrations]\nconnections = 2\non_failure = \"keep\"\n");
    daemon.define("alice", &imap_migrate("alice-old", "alice", server.port, ("alice", "secret"), ""));
    daemon.start();
    daemon
}

/// A server with a habit that it never drops: the migration ends somehow, and honestly.
#[track_caller]
fn always(boxes: Vec<Folder>, hook: impl Fn(&Command, &mut Reply) + Send + Sync + 'static) -> (Value, Tree) {
    let server = FakeImap::start(boxes, hook);
    let mut daemon = daemon(&server);
    daemon.ctl(&["start", "alice-old"]).code(0);
    let migration = daemon.migration_in("alice-old", &ENDED, LONG);
    let shown = daemon.show("alice-old");
    let tree = told(&daemon, &server, &shown);
    daemon.ctl(&["status"]).code(0);
    daemon.stop();
    assert_ne!(migration["state"], "running");
    (shown, tree)
}

/// A server that misbehaves and then does not: everything arrives, once.
#[track_caller]
fn in_the_end(boxes: Vec<Folder>, hook: impl Fn(&Command, &mut Reply) + Send + Sync + 'static) {
    let server = FakeImap::start(boxes, hook);
    let mut daemon = daemon(&server);
    daemon.ctl(&["start", "alice-old"]).code(0);
    let migration = daemon.migration_in("alice-old", &["completed", "failed", "rolled-back"], LONG);
    assert_eq!(migration["state"], "completed", "{migration:#}");
    let shown = daemon.show("alice-old");
    let tree = told(&daemon, &server, &shown);
    let expected: Vec<String> = bodies(&server).into_iter().map(|(_, _, sha)| sha).collect();
    same("what arrived", &expected, &tree.contents());
    assert_eq!(shown["skipped"].as_array().map(Vec::len), Some(0), "{shown:#}");
    let before = Tree::files(&daemon.maildir("alice"));
    server.forget();
    daemon.migrate("alice-old");
    same("the files after a second run", &before, &Tree::files(&daemon.maildir("alice")));
    assert_eq!(server.body_fetches(), 0, "{:?}", server.said());
    daemon.stop();
}

fn bodies(server: &FakeImap) -> Vec<(String, u32, String)> {
    let mut all = Vec::new();
    for folder in server.boxes() {
        let name = String::from_utf8_lossy(&folder.name).into_owned();
        for mail in folder.mails {
            all.push((name.clone(), mail.uid, sha(&mail.body)));
        }
    }
    all
}

/// Every message is here, or listed with a reason, or the migration does not claim to be complete; what is
/// here was there; and nothing lies where it does not belong.
#[track_caller]
fn told(daemon: &Daemon, server: &FakeImap, shown: &Value) -> Tree {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid().unwrap())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak = peak.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024;
    let test = std::thread::current().name().unwrap_or_default().to_owned();
    eprintln!("{test}: {peak} MiB, {}", shown["migration"]["state"].as_str().unwrap_or_default());
    assert!(peak < SMALL, "{peak} MiB");
    let tree = Tree::read(&daemon.maildir("alice"));
    let mut here: BTreeMap<String, usize> = BTreeMap::new();
    for content in tree.contents() {
        *here.entry(content).or_default() += 1;
    }
    let there = bodies(server);
    let known: BTreeSet<&str> = there.iter().map(|(_, _, sha)| sha.as_str()).collect();
    for (folder, message) in tree.messages() {
        assert!(known.contains(message.sha.as_str()), "was never there: {folder:?} {message:?}");
    }
    assert!(here.values().all(|count| *count == 1), "something arrived twice: {here:?}");
    let migration = &shown["migration"];
    if migration["state"] == "completed" {
        adds_up(migration);
        let listed: Vec<(&str, &str)> = shown["skipped"]
            .as_array()
            .unwrap()
            .iter()
            .map(|s| {
                assert!(s["reason"].as_str().is_some_and(|why| why.len() > 5), "{shown:#}");
                (s["folder"].as_str().unwrap(), s["id"].as_str().unwrap())
            })
            .collect();
        for (folder, uid, sha) in &there {
            let told = listed
                .iter()
                .any(|(f, id)| shown_as(f, folder) && (*id == uid.to_string() || *id == "(folder)"));
            assert!(here.contains_key(sha) || told, "{uid} in {folder:?} is lost silently: {shown:#}");
        }
    } else {
        let error = migration["error"].as_str().unwrap_or_default();
        assert!(error.len() > 10, "it does not say why: {migration:#}\n{}", daemon.log_tail(30));
    }
    nothing_outside(daemon);
    tree
}

/// Whether a folder's name for people may stand for this one: control characters are not shown.
fn shown_as(shown: &str, folder: &str) -> bool {
    let plain = |text: &str| -> String { text.chars().filter(|c| !c.is_control()).collect() };
    plain(folder) == plain(shown)
}

/// What lies in the daemon's directory, and nowhere else, is known by name.
#[track_caller]
fn nothing_outside(daemon: &Daemon) {
    let names = |path: &Path| -> BTreeSet<String> {
        let entries = fs::read_dir(path).into_iter().flatten();
        entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
    };
    let expected = ["control", "etc", "log", "mail", "state"].map(str::to_owned);
    assert_eq!(names(daemon.path()), BTreeSet::from(expected));
    assert_eq!(names(&daemon.path().join("etc")).len(), 3);
    let Some(home) = names(&daemon.path().join("mail")).pop_first() else { return };
    assert_eq!(names(&daemon.path().join("mail")).len(), 1);
    assert_eq!(names(&daemon.path().join("mail").join(home)), BTreeSet::from(["Maildir".to_owned()]));
    let maildir = daemon.maildir("alice");
    for name in names(&maildir) {
        let folder = name.starts_with('.');
        assert!(
            folder || ["cur", "new", "tmp", "subscriptions", "dovecot-keywords"].contains(&name.as_str()),
            "{name}"
        );
        assert!(!name.contains(".."), "{name}");
        if folder {
            for inner in names(&maildir.join(&name)) {
                let ours = ["cur", "new", "tmp", "maildirfolder", "dovecot-keywords"];
                assert!(ours.contains(&inner.as_str()), "{inner} in {name}");
            }
        }
    }
}

fn in_inbox(command: &Command) -> bool {
    command.wants_bodies() && command.is_in("INBOX")
}

#[test]
fn an_honest_server() {
    in_the_end(ordinary(), honest);
}

#[test]
fn a_login_without_the_comfort_of_extensions() {
    let server = FakeImap::with_capability("IMAP4rev1", ordinary(), honest);
    let mut daemon = daemon(&server);
    daemon.migrate("alice-old");
    told(&daemon, &server, &daemon.show("alice-old"));
    daemon.stop();
}

#[test]
fn fetch_ends_in_no() {
    let no = |command: &Command, reply: &mut Reply| {
        reply.untagged.truncate(reply.untagged.len() / 2);
        reply.tagged(command, "NO [UNAVAILABLE] Server error - Please try again later");
    };
    in_the_end(ordinary(), at_first(1, in_inbox, no));
    let (shown, _) = always(ordinary(), at_first(usize::MAX, in_inbox, no));
    assert!(
        shown["migration"]["state"] != "completed" || !shown["skipped"].as_array().unwrap().is_empty(),
        "{shown:#}"
    );
}

#[test]
fn fetch_ends_in_bad() {
    let bad = |command: &Command, reply: &mut Reply| {
        reply.untagged.clear();
        reply.tagged(command, "BAD UID parameters");
    };
    always(ordinary(), at_first(usize::MAX, in_inbox, bad));
}

#[test]
fn bye_in_the_middle() {
    let bye = |_: &Command, reply: &mut Reply| reply.cut(4, "* BYE Session expired, please login again.\r\n");
    in_the_end(ordinary(), at_first(2, in_inbox, bye));
    let (shown, _) = always(ordinary(), |command, reply| {
        if command.wants_bodies() {
            reply.cut(0, "* BYE Session expired, please login again.\r\n");
        }
    });
    assert_ne!(shown["migration"]["state"], "completed");
    assert!(
        shown["migration"]["error"].as_str().unwrap().contains("Session expired"),
        "its own words: {shown:#}"
    );
}

#[test]
fn the_connection_closes() {
    let closed = |_: &Command, reply: &mut Reply| reply.cut(3, "");
    in_the_end(ordinary(), at_first(2, in_inbox, closed));
}

#[test]
fn the_connection_closes_in_a_body() {
    let half = |_: &Command, reply: &mut Reply| {
        if let Some(last) = reply.untagged.pop() {
            let most = last.len() / 2;
            reply.cut(usize::MAX, "");
            reply.untagged.push(last[..most].to_vec());
        }
    };
    in_the_end(ordinary(), at_first(2, in_inbox, half));
}

/// Takes as long as the stall limit, about a minute.
#[test]
fn a_body_that_never_ends() {
    let half = |_: &Command, reply: &mut Reply| {
        if let Some(last) = reply.untagged.last_mut() {
            last.truncate(last.len() - 20);
        }
        reply.tagged.clear();
        reply.then = Then::Hang;
    };
    in_the_end(ordinary(), at_first(1, in_inbox, half));
}

#[test]
fn list_ends_in_no() {
    let listing = |command: &Command| command.name == "LIST";
    let no = |command: &Command, reply: &mut Reply| {
        reply.untagged.clear();
        reply.tagged(command, "NO [SERVERBUG] Internal error occurred");
    };
    let (shown, tree) = always(ordinary(), at_first(usize::MAX, listing, no));
    assert_ne!(shown["migration"]["state"], "completed", "{shown:#}");
    assert_eq!(tree.count(), 0);
    in_the_end(ordinary(), at_first(1, listing, no));
}

#[test]
fn list_is_empty() {
    let (shown, _) = always(ordinary(), |command, reply| {
        if command.name == "LIST" {
            reply.untagged.clear();
        }
    });
    assert_ne!(shown["migration"]["state"], "completed", "{shown:#}");
}

#[test]
fn list_breaks_off_and_is_called_complete() {
    let (shown, _) = always(ordinary(), |command, reply| {
        if command.name == "LIST" {
            reply.untagged.truncate(1);
            reply.tagged.clear();
            reply.then = Then::Close;
        }
    });
    assert_ne!(shown["migration"]["state"], "completed", "{shown:#}");
}

#[test]
fn a_folder_that_cannot_be_opened() {
    let (shown, tree) = always(ordinary(), |command, reply| {
        if matches!(command.name.as_str(), "EXAMINE" | "SELECT") && command.rest.ends_with(b"Work\"") {
            reply.untagged.clear();
            reply.tagged(command, "NO [SERVERBUG] corrupt");
        }
    });
    if shown["migration"]["state"] == "completed" {
        assert_eq!(tree.folders[""].len(), 10, "one folder's trouble is not another's");
    }
}

#[test]
fn a_body_is_nil() {
    let (shown, _) = always(ordinary(), |command, reply| {
        if in_inbox(command)
            && let Some(response) = reply.of(3)
        {
            let start = response.windows(6).position(|w| w == b"BODY[]").unwrap();
            response.truncate(start);
            response.extend_from_slice(b"BODY[] NIL)\r\n");
        }
    });
    if shown["migration"]["state"] == "completed" {
        assert_eq!(shown["skipped"][0]["id"], "3", "{shown:#}");
    }
}

#[test]
fn a_message_never_comes() {
    let (shown, tree) = always(ordinary(), |command, reply| {
        if in_inbox(command) {
            reply.untagged.retain(|line| !String::from_utf8_lossy(line).contains("(UID 5 "));
        }
    });
    if shown["migration"]["state"] == "completed" {
        assert_eq!(shown["skipped"][0]["id"], "5", "{shown:#}");
        assert_eq!(tree.count(), 12);
    }
}

#[test]
fn what_nobody_asked_for() {
    in_the_end(ordinary(), |command, reply| {
        if command.wants_bodies() {
            let strange = b"Subject: strange\r\n\r\nnobody asked\r\n";
            let mut line =
                format!("* 11 FETCH (UID 4000 FLAGS () BODY[] {{{}}}\r\n", strange.len()).into_bytes();
            line.extend_from_slice(strange);
            line.extend_from_slice(b")\r\n");
            reply.untagged.insert(0, line);
            reply.untagged.insert(0, b"* 2 FETCH (FLAGS (\\Seen \\Deleted))\r\n".to_vec());
            reply.untagged.push(b"* 12 EXISTS\r\n* 1 RECENT\r\n* OK [ALERT] be well\r\n".to_vec());
            reply
                .untagged
                .push(b"* CAPABILITY IMAP4rev1 LOGINDISABLED\r\n* 7 WHATEVER (x \"y\")\r\n".to_vec());
        }
    });
}

#[test]
fn each_uid_twice() {
    in_the_end(ordinary(), |command, reply| {
        if command.name.ends_with("FETCH") {
            reply.untagged = reply.untagged.iter().flat_map(|line| [line.clone(), line.clone()]).collect();
        }
    });
}

#[test]
fn one_uid_with_two_bodies() {
    let server = FakeImap::start(ordinary(), |command, reply| {
        if in_inbox(command)
            && let Some(line) = reply.of(3).cloned()
        {
            let text = String::from_utf8_lossy(&line).replace("Subject: 3", "Subject: X");
            reply.untagged.push(text.into_bytes());
        }
    });
    let mut daemon = daemon(&server);
    daemon.ctl(&["start", "alice-old"]).code(0);
    daemon.migration_in("alice-old", &ENDED, LONG);
    let tree = Tree::read(&daemon.maildir("alice"));
    assert!(tree.folders.get("").map_or(0, Vec::len) <= 10, "one message for each UID");
    daemon.stop();
}

#[test]
fn literals_beyond_all_measure() {
    for length in ["9223372036854775808", "18446744073709551616", "4294967295", "-1", "x"] {
        let announced = format!("BODY[] {{{length}}}\r\n");
        let (shown, _) = always(vec![Folder::new("INBOX", 4)], move |command, reply| {
            if in_inbox(command)
                && let Some(response) = reply.of(3)
            {
                let start = response.windows(6).position(|w| w == b"BODY[]").unwrap();
                response.truncate(start);
                response.extend_from_slice(announced.as_bytes());
                response.extend_from_slice(&[b'x'; 4096]);
                reply.cut(3, "");
            }
        });
        assert!(
            shown["migration"]["state"] != "completed" || shown["skipped"][0]["id"] == "3",
            "{length}: {shown:#}"
        );
    }
}

#[test]
fn a_line_without_an_end_does_not_grow_us() {
    let server = FakeImap::start(ordinary(), |command, reply| {
        if command.name == "LIST" {
            reply.untagged = vec![b"* LIST (\\".to_vec(), vec![b'x'; 300 << 20]];
            reply.tagged.clear();
            reply.then = Then::Close;
        }
    });
    let mut daemon = daemon(&server);
    daemon.ctl(&["start", "alice-old"]).code(0);
    daemon.migration_in("alice-old", &["failed", "rolled-back", "retrying"], LONG);
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid().unwrap())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(peak < 150 * 1024, "{peak} kB at the peak");
    daemon.stop();
}

#[test]
fn names_that_try_to_escape() {
    let names: [&[u8]; 26] = [
        b"INBOX",
        b"../../../escape",
        b"..",
        b".",
        b"/etc/cron.d",
        b"a/../../b",
        b"a//b",
        b"a/",
        b"nul\0inside",
        b"line\r\nfeed",
        b"bell\x07",
        b"esc\x1b[31m",
        b"&AAA-",
        b"&",
        b"&2D0-",
        b"&ANA",
        b"&AC4ALgAv-",
        b"\xff\xfe",
        "Entw\u{fc}rfe".as_bytes(),
        b"~root",
        b".hidden",
        b"cur",
        b"tmp",
        b"inbox/cur",
        b"dots.in.it",
        b"back\\slash\"quote",
    ];
    let mut boxes: Vec<Folder> = names.iter().map(|name| Folder::new(name, 2)).collect();
    boxes.push(Folder::new(vec![b'x'; 600], 2));
    boxes.push(Folder::new(vec!["d"; 150].join("/"), 2));
    let (shown, tree) = always(boxes, honest);
    assert_eq!(shown["migration"]["state"], "completed", "{shown:#}");
    assert!(tree.count() >= 2 * 20, "most of them can be carried: {shown:#}");
    for name in tree.names() {
        assert!(!name.bytes().any(|b| b < 0x20 || b == 0x7f), "{name:?}");
    }
}

#[test]
fn a_hundred_thousand_folders() {
    let (shown, tree) = always(ordinary(), |command, reply| {
        if command.name == "LIST" && command.rest.ends_with(b"\"*\"") {
            for n in 0..100_000 {
                let deep = "level/".repeat(n % 7);
                reply.untagged.push(format!("* LIST () \"/\" \"{deep}folder-{n:06}\"\r\n").into_bytes());
            }
        }
    });
    let error = shown["migration"]["error"].as_str().unwrap();
    assert!(error.contains("more lines than a mailbox can have folders"), "{shown:#}");
    assert_eq!(tree.count(), 0, "nothing is begun that cannot be ended");
}

#[test]
fn five_hundred_levels() {
    let mut boxes = ordinary();
    boxes.push(Folder::new(vec!["d"; 500].join("/"), 2));
    boxes.push(Folder::new(vec!["longer-name"; 500].join("/"), 2));
    let (shown, tree) = always(boxes, honest);
    assert_eq!(shown["migration"]["state"], "completed", "{shown:#}");
    assert_eq!(tree.count(), 17, "{shown:#}");
    let notes: Vec<&str> =
        shown["folders"].as_array().unwrap().iter().filter_map(|folder| folder["note"].as_str()).collect();
    assert_eq!(notes.len(), 2, "both had to change, and it is told: {notes:?}");
}

#[test]
fn a_folder_of_millions() {
    // It counts more than it has, and lists each message a hundred times over.
    let (shown, _) = always(ordinary(), |command, reply| {
        if command.is_in("INBOX") && String::from_utf8_lossy(&command.rest).contains("RFC822.SIZE") {
            let lines: Vec<u8> = (1..=60_000u32)
                .flat_map(|n| format!("* {n} FETCH (UID {n} RFC822.SIZE 1000)\r\n").into_bytes())
                .collect();
            for _ in 0..2 {
                reply.untagged.push(lines.clone());
            }
        }
    });
    let vanished = shown["migration"]["messages_vanished"].as_u64().unwrap();
    assert!(vanished >= 59_990, "they were listed, and were not there: {shown:#}");
}

#[test]
fn blanks_where_none_should_be() {
    in_the_end(ordinary(), |_, reply| {
        for line in &mut reply.untagged {
            let end = line.windows(2).position(|pair| pair == b"\r\n").unwrap_or(line.len());
            let head = String::from_utf8_lossy(&line[..end]).into_owned();
            let odd = ["FETCH", "EXISTS"].iter().any(|word| head.contains(word));
            if let Some(rest) = head.strip_prefix("* ").filter(|_| odd) {
                let slips =
                    [(" FETCH (UID", "  FETCH ( UID"), (" FLAGS", "  FLAGS"), (" EXISTS", "\tEXISTS ")];
                let head = slips.iter().fold(rest.to_owned(), |head, (good, slip)| head.replace(good, slip));
                line.splice(..end, format!("*  {head}").into_bytes());
            }
        }
    });
}

#[test]
fn a_folder_without_a_count_is_not_empty() {
    let (shown, _) = always(ordinary(), |command, reply| {
        if command.name == "EXAMINE" && command.rest.windows(4).any(|part| part == b"Work") {
            reply.untagged.retain(|line| !line.ends_with(b"EXISTS\r\n"));
        }
    });
    let reason = shown["skipped"][0]["reason"].as_str().unwrap();
    assert!(reason.contains("does not say how many messages it holds"), "{shown:#}");
}

#[test]
fn lines_of_the_folder_list_that_cannot_be_read() {
    let (shown, tree) = always(ordinary(), |command, reply| {
        if command.name == "LIST" && command.rest.ends_with(b"\"*\"") {
            reply.untagged.push(b"* LIST (\\A \"/\" broken\r\n".to_vec());
            reply.untagged.push(format!("* LIST () \"/\" \"{}\"\r\n", "n".repeat(70_000)).into_bytes());
        }
    });
    assert_eq!(shown["migration"]["state"], "completed", "{shown:#}");
    // Nobody knows how many messages they have: they are told as folders.
    assert_eq!((tree.count(), &shown["migration"]["messages_failed"]), (13, &0.into()), "{shown:#}");
    assert!(shown["migration"]["error"].as_str().unwrap().starts_with("2 folders failed"), "{shown:#}");
    let reasons: Vec<&str> =
        shown["skipped"].as_array().unwrap().iter().filter_map(|s| s["reason"].as_str()).collect();
    assert!(reasons.iter().any(|why| why.contains("cannot be read")), "{reasons:?}");
    assert!(reasons.iter().any(|why| why.contains("70000 octets")), "{reasons:?}");
}

#[test]
fn flags_without_number() {
    in_the_end(ordinary(), |command, reply| {
        if command.wants_bodies() {
            let flags: String = (0..40_000).map(|n| format!(" keyword-{n}")).collect();
            reply.untagged.push(format!("* 3 FETCH (UID 3 FLAGS (\\Seen{flags}))\r\n").into_bytes());
            reply.untagged.push(b"* 3 FETCH (UID 3 FLAGS ((((((((((\r\n".to_vec());
        }
    });
}

#[test]
fn two_folders_that_become_one_name() {
    let names = ["INBOX", "a.b", "a_b", "A_B", "a/b", "~x", "_x", "&AGE-"];
    in_the_end(names.iter().map(|name| Folder::new(name, 2)).collect(), honest);
}

#[test]
fn exists_is_too_high() {
    let (shown, _) = always(ordinary(), |command, reply| {
        if matches!(command.name.as_str(), "EXAMINE" | "SELECT") && command.rest.ends_with(b"INBOX\"") {
            for line in &mut reply.untagged {
                if line.ends_with(b" EXISTS\r\n") {
                    *line = b"* 100 EXISTS\r\n".to_vec();
                }
            }
        }
    });
    assert!(
        shown["migration"]["state"] != "completed" || !shown["skipped"].as_array().unwrap().is_empty(),
        "ninety messages that the server counts and does not list: {shown:#}"
    );
}

#[test]
fn exists_is_too_low() {
    always(ordinary(), |command, reply| {
        if matches!(command.name.as_str(), "EXAMINE" | "SELECT") {
            for line in &mut reply.untagged {
                if line.ends_with(b" EXISTS\r\n") {
                    *line = b"* 1 EXISTS\r\n".to_vec();
                }
            }
        }
    });
}

#[test]
fn sizes_and_dates_are_hints() {
    in_the_end(ordinary(), |command, reply| {
        if command.name.ends_with("FETCH") {
            for line in &mut reply.untagged {
                let head = line.windows(6).position(|w| w == b"BODY[]").unwrap_or(line.len());
                let text = String::from_utf8_lossy(&line[..head]).into_owned();
                let mut words: Vec<String> = text.split(' ').map(str::to_owned).collect();
                if let Some(at) = words.iter().position(|word| word == "RFC822.SIZE") {
                    words[at + 1] = if at % 2 == 0 { "0" } else { "4294967295" }.to_owned()
                        + if words[at + 1].contains(')') { ")\r\n" } else { "" };
                }
                let text = words.join(" ").replace("Jan-2020", "Foo-2020");
                *line = [text.as_bytes(), &line[head..]].concat();
            }
        }
    });
}

#[test]
fn one_answer_is_garbage() {
    always(ordinary(), |command, reply| {
        if in_inbox(command)
            && let Some(response) = reply.of(4)
        {
            *response = b"* 4 FETCH (UID 4 FLAGS ((((( BODY[] \x80\xff \"\r\n".to_vec();
        }
    });
}

#[test]
fn an_inbox_that_is_not_listed() {
    for line in ["", "* LIST (\\Noselect) \"/\" INBOX\r\n"] {
        in_the_end(ordinary(), move |command, reply| {
            if command.name == "LIST" {
                reply.untagged.retain(|line| !String::from_utf8_lossy(line).contains("INBOX"));
                reply.untagged.push(line.as_bytes().to_vec());
            }
        });
    }
}

#[test]
fn lines_of_the_folder_list_that_say_more() {
    in_the_end(ordinary(), |command, reply| {
        if command.name == "LIST" {
            reply.untagged = vec![
                b"* LIST () \"/\" INBOX (\"CHILDINFO\" (\"SUBSCRIBED\"))\r\n".to_vec(),
                b"* LIST () \"/\" \"Work\" (\"CHILDINFO\" (\"SUBSCRIBED\"))\r\n".to_vec(),
            ];
        }
    });
}

#[test]
fn something_else_greets() {
    for greeting in ["SSH-2.0-OpenSSH_9.2", "220 mail.example.com ESMTP", "HTTP/1.1 400 Bad Request"] {
        let server = FakeImap::start(ordinary(), move |command, reply| {
            if command.name == "GREETING" {
                (reply.tagged, reply.then) = (format!("{greeting}\r\n").into_bytes(), Then::Hang);
            }
        });
        let mut daemon = daemon(&server);
        daemon.ctl(&["check", "alice-old"]).code(1).says("does not greet as an IMAP server: ");
        daemon.stop();
    }
}

#[test]
fn the_greeting_turns_us_away() {
    let server = FakeImap::start(ordinary(), |command, reply| {
        if command.name == "GREETING" {
            reply.tagged = b"* BYE [UNAVAILABLE] closed for today\r\n".to_vec();
            reply.then = Then::Close;
        }
    });
    let mut daemon = daemon(&server);
    daemon.ctl(&["start", "alice-old"]).code(0);
    let migration = daemon.migration_in("alice-old", &["retrying"], LONG);
    assert!(migration["error"].as_str().unwrap().contains("closed for today"), "{migration:#}");
    daemon.stop();
}

#[test]
fn a_throttle_is_obeyed_in_its_own_words() {
    let throttled = |command: &Command, reply: &mut Reply| {
        reply.untagged.clear();
        reply.tagged(command, "NO Request is throttled. Suggested Backoff Time: 2000 milliseconds");
    };
    in_the_end(ordinary(), at_first(1, in_inbox, throttled));
}

#[test]
fn a_new_uidvalidity_brings_nothing_twice() {
    let server = FakeImap::start(ordinary(), honest);
    let mut daemon = daemon(&server);
    daemon.migrate("alice-old");
    let before = Tree::files(&daemon.maildir("alice"));
    server.change(|boxes| {
        for folder in boxes {
            folder.uidvalidity += 1;
            for mail in &mut folder.mails {
                mail.uid += 1000;
            }
        }
    });
    daemon.migrate("alice-old");
    same("the files afterwards", &before, &Tree::files(&daemon.maildir("alice")));
    daemon.stop();
}

#[test]
fn messages_that_vanish_and_come_meanwhile() {
    let server = FakeImap::start(ordinary(), honest);
    let mut daemon = daemon(&server);
    daemon.migrate("alice-old");
    server.change(|boxes| {
        boxes[0].mails.retain(|mail| mail.uid > 3);
        let mut new = Folder::new("new", 12).mails.pop().unwrap();
        new.uid = 11;
        boxes[0].mails.push(new);
    });
    let migration = daemon.migrate("alice-old");
    assert_eq!(migration["messages_total"], 11, "{migration:#}");
    let tree = Tree::read(&daemon.maildir("alice"));
    assert_eq!(tree.count(), 14, "what vanished there stays here");
    daemon.stop();
}

#[test]
fn a_password_that_dies_on_the_way_puts_everything_back() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let dead = AtomicBool::new(false);
    let server = FakeImap::start(ordinary(), move |command, reply| {
        // The second folder never opens: by then the first one has come, and the password is refused.
        if command.name == "EXAMINE" && command.rest.ends_with(b"\"Work\"") {
            dead.store(true, Ordering::SeqCst);
            reply.untagged.clear();
            reply.tagged.clear();
            reply.then = Then::Close;
        }
        if dead.load(Ordering::SeqCst) && matches!(command.name.as_str(), "LOGIN" | "AUTHENTICATE") {
            reply.untagged.clear();
            reply.tagged(command, "NO [AUTHENTICATIONFAILED] no more");
        }
    });
    let mut daemon = Daemon::new("[migrations]\nconnections = 1\n");
    daemon.define("alice", &imap_migrate("alice-old", "alice", server.port, ("alice", "secret"), ""));
    daemon.start();
    daemon.ctl(&["start", "alice-old"]).code(0);
    let interrupted = daemon.migration_in("alice-old", &["retrying"], LONG);
    assert_eq!(interrupted["messages_done"], 10, "what came is not forgotten: {interrupted:#}");
    let migration = daemon.migration_in("alice-old", &["rolled-back", "failed", "completed"], LONG);
    assert_eq!(migration["state"], "rolled-back", "{migration:#}");
    assert!(migration["error"].as_str().unwrap().contains("alice"), "{migration:#}");
    assert_eq!(Tree::read(&daemon.maildir("alice")).count(), 0);
    assert!(!daemon.maildir("alice").join(".Work").exists());
    daemon.stop();
}
