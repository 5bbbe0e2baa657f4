//! Uploads whose caller goes, by a signal or by death: they end soon, the audit log has it, the next one may begin,
//! and brings the rest and nothing twice.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "this is a test")]

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::Duration;

use crate::helpers::corpus::Corpus;
use crate::helpers::daemon::{Daemon, eventually};
use crate::helpers::dovecot::Dovecot;
use crate::helpers::maildir::{Tree, count, same};
use crate::helpers::picky::whimsical;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const HOME: (&str, &str) = ("home-bob", "home secret");
const BOB: [&str; 5] = ["upload", "--member", "bob@example.com", "--destination", "there"];
/// With UIDPLUS, and without groups.
const ONE_BY_ONE: &str = "imap_capability = IMAP4rev1 SASL-IR LITERAL+ UIDPLUS ENABLE IDLE NAMESPACE\n";
const MESSAGES: usize = 1200;
const HELD: usize = 60;
const LIMIT: Duration = Duration::from_secs(120);

/// Alice's mailbox in files that are read in two ways.
fn files(daemon: &Daemon, corpus: &mut Corpus) -> [PathBuf; 2] {
    corpus.add("", MESSAGES);
    ["zip", "mbox"].map(|format| {
        let file = daemon.path().join(format!("all.{format}"));
        let words = ["backup", "--member", "alice@example.com", "--destination", "default"];
        let words = [&words[..], &["--format", format, "-o", file.to_str().unwrap()]].concat();
        daemon.ctl(&words).code(0);
        file
    })
}

fn ends(daemon: &Daemon) -> usize {
    let log = fs::read_to_string(daemon.path().join("state/audit.log")).unwrap();
    log.lines().filter(|line| line.contains("\"act\":\"upload\"") && line.contains("was broken off")).count()
}

#[test]
fn it_ends_with_its_caller() {
    let home = Dovecot::start_with(&[HOME], ONE_BY_ONE);
    // What may be taken before somebody goes; then the rest comes slowly.
    let (taken, held, slow) =
        (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(true)));
    let (takes, holds, is_slow) = (Arc::clone(&taken), Arc::clone(&held), Arc::clone(&slow));
    let port = whimsical(home.imap, move |said, _| {
        if said.starts_with("APPEND") {
            let enough = takes.fetch_add(1, Ordering::SeqCst) > HELD;
            while enough && holds.load(Ordering::SeqCst) {
                sleep(Duration::from_millis(5));
            }
            if is_slow.load(Ordering::SeqCst) {
                sleep(Duration::from_millis(15));
            }
        }
        None
    });
    let mut daemon = Daemon::homing(port, "login = \"home-{local}\"", HOME.1);
    let mut corpus = Corpus::at(&daemon.maildir("alice"));
    daemon.start();
    let files = files(&daemon, &mut corpus);
    let root = home.maildir(HOME.0);
    for (file, signal) in files.iter().zip([Signal::SIGTERM, Signal::SIGKILL]) {
        slow.store(true, Ordering::SeqCst);
        held.store(true, Ordering::SeqCst);
        taken.store(0, Ordering::SeqCst);
        let (before, ended) = (count(&root), ends(&daemon));
        let words = [&BOB[..], &[file.to_str().unwrap()]].concat();
        let mut client = daemon.client(&words).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        eventually("some have come", LIMIT, || (count(&root) > before + 50).then_some(()));
        let status = daemon.ctl(&["status"]).code(0).out;
        assert!(status.contains(", 1 upload\n"), "{status}");
        kill(Pid::from_raw(i32::try_from(client.id()).unwrap()), signal).unwrap();
        client.wait().unwrap();
        held.store(false, Ordering::SeqCst);
        eventually("the audit log has the end", LIMIT, || (ends(&daemon) > ended).then_some(()));
        let came = count(&root) - before;
        assert!(came < MESSAGES, "it went on to its end: {came}");
        let status = daemon.ctl(&["status"]).code(0).out;
        assert!(!status.contains("upload"), "{status}");
        // What came stays, and the rest comes.
        slow.store(false, Ordering::SeqCst);
        let words = [&["--json"], &words[..]].concat();
        let again = daemon.ctl(&words).code(0).json();
        assert_eq!(again["already_there"], came, "{again:#}");
        assert_eq!(again["imported"], MESSAGES - came, "{again:#}");
        let tree = Tree::read(&root);
        same("everything, once", &corpus.put, &tree.contents());
        fs::remove_dir_all(root.join("cur")).unwrap();
        fs::create_dir(root.join("cur")).unwrap();
        std::os::unix::fs::chown(root.join("cur"), Some(home.owner().0), Some(home.owner().1)).unwrap();
    }
    daemon.stop();
}

/// Whoever repeats it at once needs not know whether the first one has ended.
#[test]
fn the_next_one_may_begin_at_once() {
    let mut daemon = Daemon::new("");
    let mut corpus = Corpus::at(&daemon.maildir("alice"));
    daemon.start();
    let [zip, _] = files(&daemon, &mut corpus);
    let words = ["upload", "--member", "bob@example.com", zip.to_str().unwrap()];
    let root = daemon.maildir("bob");
    let mut client = daemon.client(&words).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    eventually("some have come", LIMIT, || (root.exists() && count(&root) > 0).then_some(()));
    client.kill().unwrap();
    client.wait().unwrap();
    daemon.ctl(&words).code(0);
    same("everything, once", &corpus.put, &Tree::read(&root).contents());
    daemon.stop();
}
