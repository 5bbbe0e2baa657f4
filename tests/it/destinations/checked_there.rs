//! A destination that fails at one thing: `check` says so before a run does, and an upload brings the rest.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "this is a test")]

use crate::helpers::corpus::Corpus;
use crate::helpers::daemon::{Daemon, imap_migrate, there};
use crate::helpers::dovecot::Dovecot;
use crate::helpers::maildir::Tree;
use crate::helpers::moody::{Mood, Moody};

const LOGIN: (&str, &str) = ("alice", "secret");
const HOME: (&str, &str) = ("home-alice", "home secret");
const NAME: &str = "alice-old";

/// What becomes of a command.
type Turn = fn() -> Mood;

fn read_only(line: String) -> String {
    line.replace("[READ-WRITE]", "[READ-ONLY]")
}

#[test]
fn an_inbox_that_cannot_be_written_is_told() {
    let moods: [(Turn, &str); 3] = [
        (|| Mood::Says("NO [SERVERBUG] broken index".to_owned()), "[SERVERBUG] broken index"),
        (|| Mood::Tells(read_only), "reading only"),
        (|| Mood::Reset, "closed the connection"),
    ];
    for (mood, told) in moods {
        let source = Dovecot::start(&[LOGIN]);
        Corpus::at(&source.maildir(LOGIN.0)).add("", 3);
        let home = Dovecot::start(&[HOME]);
        let wire = Moody::before(home.imap, usize::MAX, move |heard| {
            if heard.is("SELECT ") && heard.words.contains("INBOX") { mood() } else { Mood::Good }
        });
        let mut daemon = Daemon::homing(wire.port, "login = \"home-{local}\"", HOME.1);
        daemon.define("alice", &there(&imap_migrate(NAME, "alice", source.imap, LOGIN, "")));
        daemon.start();
        let said = daemon.ctl(&["check", NAME]).code(1);
        assert!(said.err.contains(told), "{said:?}");
        daemon.stop();
    }
}

#[test]
fn nobody_at_rspamd_is_told() {
    let source = Dovecot::start(&[LOGIN]);
    for (when_away, code) in [("delay", 1), ("pass", 0)] {
        let mut daemon = Daemon::new(&format!(
            "[spam]\nrspamd = {{ host = \"127.0.0.1\", port = 1 }}\nwhen_away = \"{when_away}\"\n"
        ));
        let account = imap_migrate(NAME, "alice", source.imap, LOGIN, "apply_spam = true\nenabled = false");
        daemon.define("alice", &account.replace("migrate", "poll"));
        daemon.start();
        let said = daemon.ctl(&["check", NAME]).code(code);
        assert!(format!("{}{}", said.out, said.err).contains("rspamd at 127.0.0.1:1"), "{said:?}");
        daemon.stop();
    }
}

/// Three folders, of which the middle one is not made, or not opened, or has no room.
#[test]
fn an_upload_goes_on_past_one_folder() {
    for (verb, words) in [
        ("CREATE ", "NO [CANNOT] not this name"),
        ("SELECT ", "NO [SERVERBUG] broken index"),
        ("APPEND ", "NO [OVERQUOTA] no room here"),
    ] {
        let home = Dovecot::start(&[HOME]);
        let wire = Moody::before(home.imap, usize::MAX, move |heard| {
            match heard.is(verb) && heard.words.contains("Mitte") {
                true => Mood::Says(words.to_owned()),
                false => Mood::Good,
            }
        });
        let mut daemon = Daemon::homing(wire.port, "login = \"home-{local}\"", HOME.1);
        daemon.start();
        let files = tempfile::tempdir().unwrap();
        let mut corpus = Corpus::at(&files.path().join("Maildir"));
        for folder in [".Anfang", ".Mitte", ".Zuletzt"] {
            corpus.directory(folder);
            corpus.add(folder, 2);
        }
        let words = ["upload", "--member", "alice@example.com", "--destination", "there"];
        let path = corpus.root().to_str().unwrap().to_owned();
        for imported in ["4 messages imported", "0 messages imported"] {
            if verb == "APPEND " && imported.starts_with('0') {
                // Nothing shows any more that the mailbox has room elsewhere.
                break;
            }
            let said = daemon.ctl(&[words.as_slice(), &[path.as_str()]].concat()).code(1);
            assert!(said.out.contains(imported) && said.out.contains("Mitte"), "{verb}: {said:?}");
            assert!(!said.err.contains("show alice"), "{said:?}");
        }
        assert_eq!(Tree::read(&home.maildir(HOME.0)).count(), 4, "{verb}");
        daemon.stop();
    }
}
