//! Folders that do not open: a check tries every folder that a run would open, names those that do not, in the server's words,
//! and says that something is wrong. A folder that costs the connection, or makes the server hang, costs only itself.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stderr, reason = "this is a test")]

use std::time::{Duration, Instant};

use crate::helpers::daemon::{Daemon, imap_migrate};
use crate::helpers::fake_imap::{Command, FakeImap, Folder, Reply, Then};

const ALICE: (&str, &str) = ("alice", "secret");
const NAME: &str = "alice-old";

/// What a command over a folder comes to.
#[derive(Clone, Copy)]
enum Fault {
    No(&'static str),
    Bye(&'static str),
    Hang,
}

/// A server with these faults, by the folder's name and by the commands that have them.
fn source(count: u32, faults: &'static [(&'static str, &'static [&'static str], Fault)]) -> FakeImap {
    let mut boxes: Vec<Folder> = (0..count).map(|n| Folder::new(format!("Folder {n}"), 2)).collect();
    boxes.insert(0, Folder::new("INBOX", 2));
    boxes.extend(faults.iter().map(|(name, ..)| Folder::new(name, 2)));
    FakeImap::start(boxes, move |command: &Command, reply: &mut Reply| {
        let rest = String::from_utf8_lossy(&command.rest);
        let fault = faults
            .iter()
            .find(|(name, verbs, _)| rest.contains(name) && verbs.contains(&command.name.as_str()));
        match fault.map(|(.., fault)| *fault) {
            None => {}
            Some(Fault::No(words)) => {
                reply.untagged.clear();
                reply.tagged(command, words);
            }
            Some(Fault::Bye(words)) => reply.cut(0, &format!("* BYE {words}\r\n")),
            Some(Fault::Hang) => {
                reply.untagged.clear();
                reply.tagged.clear();
                reply.then = Then::Hang;
            }
        }
    })
}

fn daemon_for(source: &FakeImap) -> Daemon {
    let mut daemon = Daemon::new("");
    let definition = imap_migrate(NAME, "alice", source.port, ALICE, "");
    daemon.define(
        "alice",
        &definition.replace("security = \"none\" }", "security = \"none\", timeout = \"3s\" }"),
    );
    daemon.start();
    daemon
}

const OPEN: &[&str] = &["EXAMINE", "SELECT"];
const EVEN_STATUS: &[&str] = &["EXAMINE", "SELECT", "STATUS"];

#[test]
fn a_check_names_the_folders_that_do_not_open() {
    let source = source(
        40,
        &[
            ("Refused", OPEN, Fault::No("NO [SERVERBUG] index is damaged")),
            ("Thrown", OPEN, Fault::Bye("internal trouble")),
            ("Lost", EVEN_STATUS, Fault::Bye("no such luck")),
            ("Mute", EVEN_STATUS, Fault::Hang),
        ],
    );
    let mut daemon = daemon_for(&source);
    let before = source.connections();
    let seen = daemon.ctl(&["check", NAME]).code(1);
    let connections = source.connections() - before;
    eprintln!("{connections} connections: {seen:?}");
    assert!(connections <= 20, "{connections}");
    for (folder, words) in [
        ("Refused", "index is damaged"),
        ("Thrown", "internal trouble"),
        ("Lost", "no such luck"),
        ("Mute", "silent"),
    ] {
        let named = |line: &&str| {
            line.contains(&format!("the folder {folder} does not open")) && line.contains(words)
        };
        assert_eq!(seen.err.lines().filter(named).count(), 1, "{folder}: {seen:?}");
    }
    assert_eq!(seen.err.lines().count(), 4, "{seen:?}");
    assert!(seen.out.contains("ready, 45 folders"), "{seen:?}");
    // Each of the others was opened.
    let said = source.said();
    for n in 0..40 {
        let opened = |line: &&String| line.contains("EXAMINE") && line.contains(&format!("Folder {n}\""));
        assert!(said.iter().any(|line| opened(&line)), "Folder {n}");
    }
    let seen = daemon.ctl(&["--json", "check", NAME]).code(1).json();
    assert_eq!((seen["not_opened"].as_array().unwrap().len(), &seen["ok"]), (4, &true.into()), "{seen:#}");
    daemon.stop();
}

#[test]
fn a_check_of_folders_that_all_break_the_connection_ends() {
    const FAULTS: &[(&str, &[&str], Fault)] = &[("Folder", OPEN, Fault::Bye("full of trouble"))];
    let source = source(60, FAULTS);
    let mut daemon = daemon_for(&source);
    let begun = Instant::now();
    let seen = daemon.ctl(&["check", NAME]).code(1).says("were not tried");
    assert!(source.connections() <= 20, "{}: {seen:?}", source.connections());
    assert!(begun.elapsed() < Duration::from_secs(60));
    daemon.stop();
}

#[test]
fn everything_opens() {
    let source = source(3, &[]);
    let mut daemon = daemon_for(&source);
    let seen = daemon.ctl(&["--json", "check", NAME]).code(0).json();
    assert_eq!(
        (&seen["not_opened"], &seen["folders"]),
        (&Vec::<String>::new().into(), &4.into()),
        "{seen:#}"
    );
    assert_eq!(source.connections(), 1);
    assert_eq!(source.said().iter().filter(|line| line.contains("EXAMINE")).count(), 4);
    daemon.stop();
}
