//! Delta runs to a mailbox at an IMAP server: flags that changed at the source, without undoing what the member
//! did there; and back again when the run fails.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "this is a test")]

use crate::helpers::corpus;
use crate::helpers::fake_imap;
use crate::helpers::maildir;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::helpers::corpus::Corpus;
use crate::helpers::daemon::{Daemon, imap_migrate, there};
use crate::helpers::dovecot::Dovecot;
use crate::helpers::fake_imap::{FakeImap, Folder};
use crate::helpers::maildir::{Tree, same};
use crate::helpers::view::View;

const LOGIN: (&str, &str) = ("alice", "secret");
const HOME: (&str, &str) = ("home-alice", "home secret");

fn find<'t>(tree: &'t Tree, sha: &str) -> &'t maildir::Message {
    tree.folders[""].iter().find(|message| message.sha == sha).unwrap()
}

fn file_of(root: &Path, sha: &str) -> PathBuf {
    find(&Tree::read(root), sha).path.clone()
}

/// Gives a file other flags, as a reader does.
fn flag(file: &Path, letters: &str) {
    let name = file.file_name().unwrap().to_str().unwrap();
    let base = name.split(":2,").next().unwrap();
    let cur = file.parent().unwrap().parent().unwrap().join("cur");
    fs::rename(file, cur.join(format!("{base}:2,{letters}"))).unwrap();
}

fn uid(tree: &Tree, sha: &str) -> String {
    find(tree, sha).name.split('.').nth(1).unwrap().to_owned()
}

#[test]
fn flags_of_the_source_and_of_the_member() {
    let dovecot = Dovecot::start(&[LOGIN, HOME]);
    let mut source = Corpus::at(&dovecot.maildir("alice"));
    let shas: Vec<String> = (0..6).map(|_| source.deliver("")).collect();
    source.fill(100);
    // Two that have size and date in common, and only one of them will change.
    let twins: Vec<String> = [b"one", b"two"]
        .map(|word| {
            let text = [b"Subject: ", word.as_slice(), b"\n\nx\n"].concat();
            let file = source.put("", 5000, &text, &corpus::Marks::default());
            fs::rename(&file, file.with_file_name(format!("1000.{}", source.put.len()))).unwrap();
            source.put.last().unwrap().clone()
        })
        .to_vec();
    let from = source.root().to_owned();
    for sha in &shas {
        flag(&file_of(&from, sha), "S");
    }
    let mut daemon = Daemon::homing(dovecot.imap, "login = \"home-{local}\"", HOME.1);
    daemon.define("alice", &there(&imap_migrate("old", "alice", dovecot.imap, LOGIN, "")));
    daemon.start();
    daemon.migrate("old");
    let mut view = View::open(dovecot.imap, "", HOME);
    let tree = view.tree();
    // At the source 0 is flagged, 1 is unread again, 2 is answered; there 2 is flagged, 3 unread again, 4 a draft,
    // and 5 is gone.
    flag(&file_of(&from, &shas[0]), "FS");
    flag(&file_of(&from, &shas[1]), "");
    flag(&file_of(&from, &shas[2]), "RS");
    flag(&file_of(&from, &shas[5]), "FS");
    flag(&file_of(&from, &twins[0]), "F");
    view.ask("SELECT INBOX");
    view.ask(&format!("UID STORE {} +FLAGS (\\Flagged)", uid(&tree, &shas[2])));
    view.ask(&format!("UID STORE {} -FLAGS (\\Seen)", uid(&tree, &shas[3])));
    view.ask(&format!("UID STORE {} +FLAGS (\\Draft)", uid(&tree, &shas[4])));
    view.ask(&format!("UID STORE {} +FLAGS (\\Deleted)", uid(&tree, &shas[5])));
    view.ask(&format!("UID EXPUNGE {}", uid(&tree, &shas[5])));
    let new = source.deliver("");
    daemon.ctl(&["start", "old", "--delta", "--wait"]).code(0);
    let migration = daemon.migration("old");
    assert_eq!(migration["messages_imported"], 1, "{migration:#}");
    let after = view.tree();
    let flags: Vec<&str> = shas[..5].iter().map(|sha| find(&after, sha).flags.as_str()).collect();
    assert_eq!(flags, ["FS", "", "FRS", "", "DS"]);
    let _ = find(&after, &new);
    assert_eq!(find(&after, &twins[0]).flags, "", "nobody knows which of them it is");
    assert!(daemon.log().contains("the flags of 1 messages changed at the source and not here"));
    daemon.migrate("old");
    same("after one more", &after.facts(), &view.tree().facts());
    daemon.stop();
}

#[test]
fn keywords_of_the_source_and_of_the_member() {
    let server = FakeImap::start(vec![Folder::new("INBOX", 4)], fake_imap::honest);
    server.change(|boxes| {
        for (n, mail) in boxes[0].mails.iter_mut().enumerate() {
            mail.body = format!("Subject: {}\r\n\r\nx\r\n", "y".repeat(n + 1)).into_bytes();
            mail.flags = "$Work".to_owned();
        }
    });
    let dovecot = Dovecot::start(&[HOME]);
    let mut daemon = Daemon::homing(dovecot.imap, "login = \"home-{local}\"", HOME.1);
    daemon.define("alice", &there(&imap_migrate("old", "alice", server.port, LOGIN, "")));
    daemon.start();
    daemon.migrate("old");
    let mut view = View::open(dovecot.imap, "", HOME);
    let of = |view: &mut View| -> Vec<String> {
        let mut mails = view.tree().folders.remove("").unwrap();
        mails.retain(|mail| mail.keywords.iter().all(|word| !word.contains("mailhaul")));
        mails.sort_by_key(|mail| mail.name.split('.').nth(1).unwrap().parse::<u32>().unwrap());
        mails.iter().map(|mail| mail.keywords.iter().cloned().collect::<Vec<_>>().join(" ")).collect()
    };
    assert_eq!(of(&mut view), ["$Work"; 4]);
    // At the source 0 loses it, 1 gets another, 3 changes nothing; there the member took it from 2 and 3, and gave
    // 0 one of her own.
    server.change(|boxes| {
        boxes[0].mails[0].flags = String::new();
        boxes[0].mails[1].flags = "$Work Later".to_owned();
        boxes[0].mails[2].flags = "$WORK a/b".to_owned();
    });
    view.ask("SELECT INBOX");
    view.ask("UID STORE 3:4 -FLAGS ($Work)");
    view.ask("UID STORE 1 +FLAGS (mine)");
    daemon.ctl(&["start", "old", "--delta", "--wait"]).code(0);
    assert_eq!(of(&mut view), ["mine", "$Work Later", "a/b", ""]);
    daemon.migrate("old");
    assert_eq!(of(&mut view), ["mine", "$Work Later", "a/b", ""]);
    daemon.stop();
}

#[test]
fn a_delta_that_fails_puts_flags_back_too() {
    let closed = Arc::new(AtomicBool::new(false));
    let is_closed = Arc::clone(&closed);
    let server =
        FakeImap::start(vec![Folder::new("INBOX", 8), Folder::new("Z", 3)], move |command, reply| {
            if !is_closed.load(Ordering::SeqCst) {
                return;
            }
            if command.is_in("Z") && command.wants_bodies() {
                reply.cut(0, "* BYE not now\r\n");
            }
            if command.connection > 1 && command.name == "AUTHENTICATE" {
                reply.tagged(command, "NO [AUTHENTICATIONFAILED] no more");
            }
        });
    server.change(|boxes| {
        for (n, mail) in boxes[0].mails.iter_mut().enumerate() {
            mail.body = format!("Subject: {}\r\n\r\nx\r\n", "y".repeat(n + 1)).into_bytes();
        }
    });
    let dovecot = Dovecot::start(&[HOME]);
    let mut daemon = Daemon::homing(dovecot.imap, "login = \"home-{local}\"", HOME.1);
    daemon.more_settings("[migrations]\nconnections = 1\n");
    daemon.define("alice", &there(&imap_migrate("old", "alice", server.port, LOGIN, "")));
    daemon.start();
    daemon.migrate("old");
    let mut view = View::open(dovecot.imap, "", HOME);
    let before = view.tree();
    server.change(|boxes| {
        boxes[0].mails[0].flags = "\\Seen \\Flagged".to_owned();
        boxes[0].mails[1].flags = "\\Answered".to_owned();
        boxes[0].mails[2].flags = "$Work later".to_owned();
        let mut more = boxes[1].mails[0].clone();
        (more.uid, more.body) = (9, b"Subject: new\r\n\r\nnew\r\n".to_vec());
        boxes[1].mails.push(more);
    });
    closed.store(true, Ordering::SeqCst);
    daemon.ctl(&["start", "old", "--delta"]).code(0);
    daemon.migration_in("old", &["rolled-back"], Duration::from_secs(120));
    assert!(daemon.log().contains("3 messages got the flags"), "flags were carried before it failed");
    same("after the rollback", &before.facts(), &view.tree().facts());
    closed.store(false, Ordering::SeqCst);
    let migration = daemon.migrate("old");
    assert_eq!(migration["messages_imported"], 1, "{migration:#}");
    let after = view.tree();
    let flagged = after.folders[""].iter().filter(|m| m.flags == "FS" || m.flags == "R").count();
    assert!(flagged >= 2, "{:#?}", after.folders[""]);
    daemon.ctl(&["verify", "old"]).code(0);
    daemon.stop();
}

#[test]
fn a_round_that_is_over_is_left() {
    let dovecot = Dovecot::start(&[LOGIN, HOME]);
    let mut source = Corpus::at(&dovecot.maildir("alice"));
    source.fill(40);
    let mut own = Corpus::at(&dovecot.maildir(HOME.0)).from(70_000);
    own.add("", 10);
    own.add(".Own", 5);
    let facts = || Tree::read(&dovecot.maildir(HOME.0)).facts();
    let mut daemon = Daemon::homing(dovecot.imap, "login = \"home-{local}\"", HOME.1);
    daemon.define("alice", &there(&imap_migrate("old", "alice", dovecot.imap, LOGIN, "delta = \"24h\"")));
    daemon.start();
    let cancelled = |daemon: &Daemon| {
        daemon.ctl(&["cancel", "old"]).code(0);
        daemon.migration_in("old", &["cancelled"], Duration::from_secs(60))
    };
    daemon.migrate("old");
    cancelled(&daemon);
    let first = facts();
    assert_eq!(first.len(), 55);
    daemon.migrate("old");
    same("after one more round", &first, &facts());
    source.deliver("");
    daemon.migrate("old");
    let second = facts();
    assert_eq!(second.len(), first.len() + 1);
    let migration = cancelled(&daemon);
    assert_eq!(migration["outcome"], "cancelled between two rounds; what came was left");
    same("after the repetition was ended", &second, &facts());
    daemon.stop();
}
