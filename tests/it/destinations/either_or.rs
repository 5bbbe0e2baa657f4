//! A destination where a folder holds either messages or folders: Dovecot with a file for each mailbox. Levels of
//! names become one, the dry run says so before, and every message arrives.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "this is a test")]

use std::fs;

use crate::helpers::corpus::Corpus;
use crate::helpers::daemon::{Daemon, imap_migrate, there};
use crate::helpers::dovecot::Dovecot;
use serde_json::Value;

const LOGIN: (&str, &str) = ("alice", "secret");
const HOME: (&str, &str) = ("home-alice", "home secret");
const NAME: &str = "alice-old";
const FILES: &str = "mail_location = mbox:~/files:INBOX=~/inbox\nmbox_write_locks = fcntl\n";
const FOLDERS: [&str; 6] = ["", ".Work", ".Work.2023", ".Work.2023.May", ".Private.Letters", ".Sent"];

/// Work, Work/2023 and Work/2023/May hold messages; nothing is in Private itself.
fn filled(source: &Dovecot) -> Corpus {
    let mut corpus = Corpus::at(&source.maildir(LOGIN.0));
    for folder in FOLDERS {
        corpus.directory(folder);
        corpus.add(folder, 7);
    }
    corpus
}

fn place<'p>(plan: &'p Value, source: &str) -> &'p Value {
    plan["folders"].as_array().unwrap().iter().find(|folder| folder["source"] == source).unwrap()
}

#[test]
fn levels_become_one() {
    // An empty mailbox says nothing of what it can hold; one with folders does.
    for made in [None, Some("Own")] {
        let (source, home) = (Dovecot::start(&[LOGIN]), Dovecot::start_with(&[HOME], FILES));
        let mut corpus = filled(&source);
        if let Some(made) = made {
            let files = home.home(HOME.0).join("files");
            fs::create_dir_all(&files).unwrap();
            fs::write(files.join(made), "").unwrap();
            // A directory without messages of its own.
            fs::create_dir_all(files.join("Work")).unwrap();
            fs::write(files.join("Work/Notes"), "").unwrap();
            let (uid, gid) = home.owner();
            for path in [
                home.home(HOME.0),
                files.clone(),
                files.join(made),
                files.join("Work"),
                files.join("Work/Notes"),
            ] {
                std::os::unix::fs::chown(path, Some(uid), Some(gid)).unwrap();
            }
        }
        let mut daemon = Daemon::homing(home.imap, "login = \"home-{local}\"", HOME.1);
        daemon.define("alice", &there(&imap_migrate(NAME, "alice", source.imap, LOGIN, "")));
        daemon.start();
        let plan = daemon.ctl(&["--json", "start", NAME, "--dry-run"]).code(0).json();
        let work = if made.is_some() { "_Work" } else { "Work" };
        assert_eq!(place(&plan, "Work")["destination"], work, "{plan:#}");
        let deep = place(&plan, "Work/2023/May");
        assert_eq!(deep["destination"], "Work.2023.May", "{plan:#}");
        assert!(deep["note"].as_str().unwrap().contains("either messages or folders"), "{plan:#}");
        assert!(plan["notes"].to_string().contains("either messages or folders"), "{plan:#}");
        let left: Vec<_> = fs::read_dir(home.home(HOME.0).join("files"))
            .map(|files| files.map(|file| file.unwrap().file_name()).collect())
            .unwrap_or_default();
        assert!(left.iter().all(|name| !name.to_string_lossy().contains("mailhaul")), "{left:?}");

        let done = daemon.migrate(NAME);
        assert_eq!((&done["messages_done"], &done["messages_failed"]), (&42.into(), &0.into()), "{done:#}");
        let verified = daemon.ctl(&["--json", "verify", NAME]).json();
        assert_eq!((&verified["lost"], &verified["not_brought"]), (&0.into(), &0.into()), "{verified:#}");
        // What comes later finds the same places.
        corpus.add(".Work.2023", 3);
        corpus.directory(".Private");
        corpus.add(".Private", 2);
        let done = daemon.migrate(NAME);
        assert_eq!((&done["messages_imported"], &done["messages_done"]), (&5.into(), &47.into()), "{done:#}");
        daemon.stop();
    }
}

#[test]
fn where_a_folder_holds_both_nothing_changes() {
    let (source, home) = (Dovecot::start(&[LOGIN]), Dovecot::start(&[HOME]));
    filled(&source);
    let mut daemon = Daemon::homing(home.imap, "login = \"home-{local}\"", HOME.1);
    daemon.define("alice", &there(&imap_migrate(NAME, "alice", source.imap, LOGIN, "")));
    daemon.start();
    let plan = daemon.ctl(&["--json", "start", NAME, "--dry-run"]).code(0).json();
    assert_eq!(place(&plan, "Work/2023/May")["destination"], "Work/2023/May", "{plan:#}");
    daemon.migrate(NAME);
    daemon.ctl(&["verify", NAME]).code(0);
    daemon.stop();
}
