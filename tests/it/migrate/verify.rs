//! `verify` and `report`: what differs between a source and its destination is found, named and told by the
//! exit status, and what does not differ is not complained about.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stderr, reason = "this is a test")]

use std::fs;
use std::path::{Path, PathBuf};

use crate::helpers::corpus::{Corpus, EMPTY};
use crate::helpers::daemon::{Daemon, imap_migrate, pop3_poll};
use crate::helpers::dovecot::Dovecot;
use crate::helpers::maildir::{Message, Tree, count};
use serde_json::Value;

const ALICE: (&str, &str) = ("alice", "secret");

/// The answer of `verify NAME ...`, which must exit with `code`.
#[track_caller]
fn verify(daemon: &Daemon, code: i32, more: &[&str]) -> Value {
    let arguments = [&["--json", "verify", "alice-old"], more].concat();
    daemon.ctl(&arguments).code(code).json()
}

#[track_caller]
fn numbers(answer: &Value, expected: &[(&str, u64)]) {
    for key in ["lost", "duplicated", "altered", "foreign", "not_brought", "unread"] {
        let wanted = expected.iter().find(|(name, _)| *name == key).map_or(0, |(_, number)| *number);
        assert_eq!(answer[key], wanted, "{key}: {answer:#}");
    }
}

fn what(answer: &Value) -> Vec<String> {
    let findings = answer["findings"].as_array().unwrap();
    findings
        .iter()
        .map(|f| format!("{} {}", f["what"].as_str().unwrap(), f["reason"].as_str().unwrap()))
        .collect()
}

/// A message without flags in a folder of the destination.
fn some(home: &Path, folder: &str, at: usize) -> Message {
    let tree = Tree::read(home);
    let mut messages: Vec<Message> = tree.folders[folder].clone();
    messages.sort_by(|a, b| a.name.cmp(&b.name));
    messages.swap_remove(at)
}

fn rename(message: &Message, to: PathBuf) {
    fs::rename(&message.path, to).unwrap();
}

#[test]
fn a_migration_is_compared_message_by_message() {
    let dovecot = Dovecot::start(&[ALICE]);
    let mut source = Corpus::at(&dovecot.maildir("alice"));
    source.fill(200);
    let mut daemon = Daemon::new("");
    daemon.define("alice", &imap_migrate("alice-old", "alice", dovecot.imap, ALICE, ""));
    daemon.start();
    let home = daemon.maildir("alice");
    daemon.ctl(&["verify", "nobody"]).code(5);
    let before = verify(&daemon, 1, &[]);
    numbers(&before, &[("not_brought", 200)]);
    assert!(!home.exists(), "looking makes nothing");

    let migration = daemon.migrate("alice-old");
    assert_eq!(migration["arrived"]["here"], 200, "{migration:#}");
    assert_eq!(migration["arrived"]["lost"], 0, "{migration:#}");
    let good = verify(&daemon, 0, &[]);
    numbers(&good, &[]);
    assert_eq!((&good["source"], &good["alike"], &good["ok"]), (&200.into(), &200.into(), &true.into()));
    assert_eq!(good["findings"], Value::Array(Vec::new()));
    let whole = verify(&daemon, 0, &["--bodies"]);
    assert_eq!((&whole["read"], &whole["alike"]), (&200.into(), &200.into()), "{whole:#}");
    let said = daemon.ctl(&["verify", "alice-old"]).code(0);
    assert!(said.out.contains("200 alike"), "{said:?}");

    // One of each.
    let lost = some(&home, ".Lists.rust users", 0);
    fs::remove_file(&lost.path).unwrap();
    let twice = some(&home, ".Lists.rust users", 1);
    fs::copy(&twice.path, home.join(".Lists.rust users/cur/1.M1P1.twice:2,S")).unwrap();
    let copied = some(&home, ".Lists.rust users", 2);
    fs::copy(&copied.path, home.join("cur").join(&copied.name)).unwrap();
    let cut = some(&home, ".Lists.rust users", 3);
    let content = fs::read(&cut.path).unwrap();
    fs::write(&cut.path, &content[..content.len() - 1]).unwrap();
    filetime(&cut);
    let moved = some(&home, ".Lists.rust users", 4);
    rename(&moved, home.join(EMPTY).join("cur").join(&moved.name));
    fs::write(home.join(".Lists.rust users/new/2.M1P1.foreign"), "Subject: new here\n\n").unwrap();
    let sneaky = some(&home, "", 0);
    let mut content = fs::read(&sneaky.path).unwrap();
    let end = content.len() - 2;
    content[end] ^= 1;
    fs::write(&sneaky.path, &content).unwrap();
    filetime(&sneaky);
    source.add(".Lists.rust users", 1);

    let answer = verify(&daemon, 1, &[]);
    numbers(&answer, &[("lost", 1), ("duplicated", 2), ("altered", 2), ("foreign", 1), ("not_brought", 1)]);
    let words = what(&answer).join("\n");
    for part in ["octets here and had", "it is in", "not here any more", "once more", "same octets 2 times"] {
        assert!(words.contains(part), "{part}: {words}");
    }
    let answer = verify(&daemon, 1, &["--bodies"]);
    numbers(&answer, &[("lost", 1), ("duplicated", 2), ("altered", 3), ("foreign", 1), ("not_brought", 1)]);
    assert!(what(&answer).iter().any(|w| w.contains("its octets are not those")), "{answer:#}");
    daemon.ctl(&["verify", "alice-old"]).code(1).says("1 lost");

    // Flags and dates.
    fs::remove_dir_all(&home).unwrap();
    let answer = verify(&daemon, 1, &[]);
    numbers(&answer, &[("lost", 200), ("not_brought", 1)]);
    daemon.stop();
}

/// Gives a file its date back.
fn filetime(message: &Message) {
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(message.mtime as u64);
    fs::File::options().write(true).open(&message.path).unwrap().set_modified(time).unwrap();
}

#[test]
fn flags_dates_and_adopted_mail() {
    let dovecot = Dovecot::start(&[ALICE]);
    let mut source = Corpus::at(&dovecot.maildir("alice"));
    source.add("", 12);
    source.add(".Lists.rust users", 12);
    let mut daemon = Daemon::new("");
    daemon.define("alice", &imap_migrate("alice-old", "alice", dovecot.imap, ALICE, ""));
    daemon.start();
    let home = daemon.maildir("alice");
    // Another tool was here before, with names that say nothing.
    for part in
        ["cur", "new", "tmp", ".Lists.rust users/cur", ".Lists.rust users/new", ".Lists.rust users/tmp"]
    {
        fs::create_dir_all(home.join(part)).unwrap();
    }
    for (at, (folder, message)) in Tree::read(source.root()).messages().enumerate() {
        if at % 2 == 0 {
            fs::copy(&message.path, home.join(folder).join(format!("cur/{at}.M1P1.other:2,"))).unwrap();
        }
    }
    let there = count(&home);
    let migration = daemon.migrate("alice-old");
    assert_eq!(migration["messages_already_there"], there as u64, "{migration:#}");
    assert_eq!(count(&home), 24);
    numbers(&verify(&daemon, 0, &[]), &[]);
    assert_eq!(verify(&daemon, 0, &["--bodies"])["read"], 24);

    let ours: Vec<Message> = Tree::read(&home)
        .messages()
        .map(|(_, m)| m.clone())
        .filter(|m| m.name.contains(".mailhaul"))
        .collect();
    let seen = ours.iter().find(|m| !m.new && !m.flags.contains('S')).unwrap();
    let flagged =
        format!("{}S", seen.path.to_str().unwrap().trim_end_matches(|c: char| c.is_ascii_lowercase()));
    fs::rename(&seen.path, flagged).unwrap();
    let dated = ours.iter().find(|m| m.path != seen.path).unwrap();
    fs::File::options()
        .write(true)
        .open(&dated.path)
        .unwrap()
        .set_modified(std::time::SystemTime::now())
        .unwrap();
    let answer = verify(&daemon, 1, &[]);
    numbers(&answer, &[("altered", 2)]);
    let words = what(&answer).join("\n");
    assert!(words.contains("\\Seen is set here only") && words.contains("its date is"), "{words}");

    let text = daemon.ctl(&["report", "alice-old"]).code(0);
    assert!(text.out.contains("24 seen = 12 imported + 12 already there"), "{text:?}");
    let page = daemon.ctl(&["report", "alice-old", "--format", "html"]).code(0);
    assert!(page.out.starts_with("<!DOCTYPE html>") && page.out.ends_with("</html>\n"), "{page:?}");
    let json = daemon.ctl(&["report", "alice-old", "--format", "json"]).code(0).json();
    assert_eq!(json["migration"]["ledger"]["seen"], 24);
    assert_eq!(json["migration"]["ledger"]["adds_up"], true);
    assert_eq!(json["folders"][0]["ledger"]["adds_up"], true);
    daemon.ctl(&["report", "nobody"]).code(5);
    daemon.stop();
}

#[test]
fn a_polled_account_is_compared_too() {
    let dovecot = Dovecot::start(&[ALICE]);
    let mut source = Corpus::at(&dovecot.maildir("alice"));
    source.add("", 40);
    let mut daemon = Daemon::new("[polling]\ninterval = \"24h\"\n");
    daemon.define("alice", &pop3_poll("alice-old", "alice", dovecot.pop3, ALICE, "mailbox = \"Old\""));
    daemon.start();
    let home = daemon.maildir("alice");
    daemon.poll("alice-old");
    fs::write(home.join(".Old/new/2.M1P1.foreign"), "Subject: delivered here\n\n").unwrap();
    let good = verify(&daemon, 0, &["--bodies"]);
    numbers(&good, &[]);
    assert_eq!((&good["alike"], &good["read"]), (&40.into(), &40.into()), "{good:#}");
    fs::remove_file(some(&home, ".Old", 3).path).unwrap();
    let cut = some(&home, ".Old", 5);
    fs::write(&cut.path, "half").unwrap();
    source.add("", 1);
    let answer = verify(&daemon, 1, &[]);
    numbers(&answer, &[("lost", 1), ("altered", 1), ("not_brought", 1)]);
    daemon.stop();
}
