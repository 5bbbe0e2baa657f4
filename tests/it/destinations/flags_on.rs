//! Flags that changed at the source, and a destination that fails over one folder when they are carried over: the other folders
//! get theirs, the messages of that one are named, and the next run brings what is missing.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "this is a test")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::helpers::daemon::{Daemon, imap_migrate, there};
use crate::helpers::dovecot::Dovecot;
use crate::helpers::fake_imap::{FakeImap, Folder, honest};
use crate::helpers::moody::{Mood, Moody};

const ALICE: (&str, &str) = ("alice", "secret");
const HOME: (&str, &str) = ("home-alice", "home secret");
const NAME: &str = "alice-old";

/// A fault of the destination over the folder `Archive`, with a word that it is told with.
fn goes_on(verb: &'static str, words: &str, mood: fn() -> Mood) {
    let boxes = ["INBOX", "Archive", "Work"].map(|name| Folder::new(name, 4)).to_vec();
    let source = FakeImap::start(boxes, honest);
    let home = Dovecot::start(&[HOME]);
    let (fault, open) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let now = Arc::clone(&fault);
    let wire = Moody::before(home.imap, usize::MAX, move |heard| {
        if heard.is("EXAMINE") || heard.is("SELECT") {
            open.store(usize::from(heard.words.contains("Archive")), Ordering::SeqCst);
        }
        let bad = heard.is(verb) && open.load(Ordering::SeqCst) == 1 && now.load(Ordering::SeqCst) == 1;
        if bad { mood() } else { Mood::Good }
    });
    let mut daemon = Daemon::homing(wire.port, "login = \"home-{local}\"", HOME.1);
    daemon.more_settings("[migrations]\nconnections = 1\n");
    daemon.rewrite_settings(|text| {
        text.replace("security = \"none\" }", "security = \"none\", timeout = \"3s\" }")
    });
    daemon.define("alice", &there(&imap_migrate(NAME, "alice", source.port, ALICE, "")));
    daemon.start();
    daemon.migrate(NAME);
    source.change(|boxes| {
        for mail in boxes.iter_mut().flat_map(|folder| &mut folder.mails) {
            mail.flags = "\\Seen \\Draft".to_owned();
        }
    });
    fault.store(1, Ordering::SeqCst);
    daemon.ctl(&["start", NAME, "--wait"]).code(1);
    let done = daemon.migration(NAME);
    assert_eq!(
        (&done["state"], &done["messages_failed"]),
        (&"completed".into(), &4.into()),
        "{verb}: {done:#}"
    );
    let skipped = daemon.show(NAME)["skipped"].clone();
    let named = skipped.as_array().unwrap();
    assert_eq!(named.len(), 4, "{verb}: {skipped:#}");
    assert!(named.iter().all(|one| one["folder"] == "Archive"), "{verb}: {skipped:#}");
    assert!(named.iter().all(|one| one["reason"].as_str().unwrap().contains(words)), "{verb}: {skipped:#}");
    fault.store(0, Ordering::SeqCst);
    let answer = daemon.ctl(&["--json", "verify", NAME]).code(1).json();
    assert_eq!((&answer["alike"], &answer["altered"]), (&8.into(), &4.into()), "{verb}: {answer:#}");
    assert_eq!(&daemon.migrate(NAME)["messages_failed"], &0);
    let answer = daemon.ctl(&["--json", "verify", NAME]).code(0).json();
    assert_eq!(&answer["alike"], &12, "{verb}: {answer:#}");
    daemon.stop();
}

#[test]
fn past_a_folder_that_is_not_opened() {
    goes_on("EXAMINE", "out of order", || Mood::Says("NO [SERVERBUG] out of order".to_owned()));
    goes_on("EXAMINE", "closed the connection", || Mood::Reset);
}
