//! What is shown is true: numbers of a migration that is paused, waits for its next try or was killed, an error only
//! as long as nothing goes on, and what is waited for. A poll that imported is no failed run.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "this is a test")]

use crate::helpers::fake_imap;
use crate::helpers::fake_pop3;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::helpers::corpus::Corpus;
use crate::helpers::daemon::{Daemon, eventually, imap_migrate, pop3_poll, there};
use crate::helpers::dovecot::Dovecot;
use crate::helpers::fake_imap::{FakeImap, Folder};
use crate::helpers::fake_pop3::{FakePop3, mails};
use crate::helpers::moody::{Mood, Moody};

const LOGIN: (&str, &str) = ("alice", "secret");
const HOME: (&str, &str) = ("home-alice", "home secret");
const NAME: &str = "alice-old";
const LIMIT: Duration = Duration::from_secs(90);
const SELDOM: &str = "[polling]\ninterval = \"24h\"\nmax_failures = 2\n";

/// The source closes the connection at each time after some messages.
#[test]
fn a_poll_that_imported_is_no_failed_run() {
    let retrieved: Mutex<BTreeMap<usize, usize>> = Mutex::default();
    let pop3 = FakePop3::start("UIDL TOP USER", mails(200), move |command, reply| {
        let mut retrieved = retrieved.lock().unwrap();
        let count = retrieved.entry(command.connection).or_default();
        if command.name == "RETR" {
            *count += 1;
            if *count > 6 {
                reply.as_it_stands("");
                reply.then = fake_pop3::Then::Close;
            }
        }
    });
    let mut daemon = Daemon::new(SELDOM);
    daemon.define("alice", &pop3_poll(NAME, "alice", pop3.port, LOGIN, ""));
    daemon.start();
    // A run has some sessions, and each of them brings six.
    for run in 1..=4 {
        daemon.ctl(&["poll", NAME]).code(0);
        let account = daemon.account(NAME);
        let last = &account["last_run"];
        assert_eq!(
            (&last["result"], &account["consecutive_failures"]),
            (&"ok".into(), &0.into()),
            "{account:#}"
        );
        assert!(last["imported"].as_u64().unwrap() >= 1, "{account:#}");
        let early = last["note"].as_str().unwrap_or_default().contains("ended early");
        assert!(early || run > 2, "{account:#}");
        assert_eq!(account["state"], "enabled", "{account:#}");
        if !early {
            break;
        }
    }
    // None of them is to blame for it.
    let shown = daemon.show(NAME);
    assert_eq!(shown["skipped"].as_array().map(Vec::len), Some(0), "{shown:#}");
    daemon.stop();
}

/// The numbers of what is here, while nothing moves.
#[test]
fn numbers_stay_true_while_it_waits() {
    let hangs = Arc::new(AtomicBool::new(true));
    let it_hangs = Arc::clone(&hangs);
    let source =
        FakeImap::start(vec![Folder::new("INBOX", 20), Folder::new("Z", 5)], move |command, reply| {
            if it_hangs.load(Ordering::SeqCst) && command.is_in("Z") && command.wants_bodies() {
                reply.untagged.clear();
                reply.tagged.clear();
                reply.then = fake_imap::Then::Hang;
            }
        });
    let mut daemon = Daemon::new("[migrations]\nconnections = 1\n");
    daemon.define("alice", &imap_migrate(NAME, "alice", source.port, LOGIN, ""));
    daemon.start();
    daemon.ctl(&["start", NAME]).code(0);
    let done = |daemon: &Daemon| daemon.migration(NAME)["messages_done"].as_u64().unwrap();
    eventually("the inbox is here", LIMIT, || (done(&daemon) == 20).then_some(()));
    let silent = eventually("it says what it waits for", LIMIT, || {
        daemon.migration(NAME)["waits_for"].as_str().map(str::to_owned)
    });
    assert!(silent.contains("folder Z"), "{silent}");
    daemon.ctl(&["pause", NAME]).code(0);
    let paused = daemon.migration_in(NAME, &["paused"], LIMIT);
    assert_eq!(
        (&paused["messages_done"], &paused["messages_imported"]),
        (&20.into(), &20.into()),
        "{paused:#}"
    );
    let shown = daemon.ctl(&["show", NAME]).code(0).out;
    assert!(shown.contains("waits for") && shown.contains(&format!("resume {NAME}")), "{shown}");
    daemon.ctl(&["resume", NAME]).code(0);
    eventually("it goes on", LIMIT, || (daemon.migration(NAME)["state"] == "running").then_some(()));
    assert_eq!(done(&daemon), 20);
    // Killed, and the source is silent: what is here is told all the same.
    daemon.kill();
    daemon.start();
    assert_eq!(done(&daemon), 20, "{:#}", daemon.migration(NAME));
    hangs.store(false, Ordering::SeqCst);
    // What was asked for before is waited for a minute, and tried again after a pause.
    let ended = daemon.migration_in(NAME, &["completed"], LIMIT * 4);
    assert_eq!(
        (&ended["messages_done"], &ended["waits_for"]),
        (&25.into(), &serde_json::Value::Null),
        "{ended:#}"
    );
    daemon.stop();
}

/// What stopped it is told while it waits, and not once work goes on.
#[test]
fn an_error_ends_when_work_goes_on() {
    let (dovecot, home) = (
        Dovecot::start(&[LOGIN]),
        Dovecot::start_with(
            &[HOME],
            "imap_capability = IMAP4rev1 SASL-IR LITERAL+ UIDPLUS ENABLE IDLE NAMESPACE\n",
        ),
    );
    let mut corpus = Corpus::at(&dovecot.maildir(LOGIN.0));
    corpus.add("", 30);
    corpus.directory(".Work");
    corpus.add(".Work", 30);
    let (unwell, slow) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(true)));
    let (is_unwell, is_slow) = (Arc::clone(&unwell), Arc::clone(&slow));
    let stored = AtomicUsize::new(0);
    let wire = Moody::before(home.imap, usize::MAX, move |heard| {
        if !heard.is("APPEND ") {
            return Mood::Good;
        }
        if is_unwell.load(Ordering::SeqCst) {
            return Mood::Says("NO [UNAVAILABLE] come back later".to_owned());
        }
        // The first folder comes, and the next waits to be looked at.
        while stored.fetch_add(1, Ordering::SeqCst) >= 30 && is_slow.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(10));
        }
        Mood::Good
    });
    let mut daemon = Daemon::homing(wire.port, "login = \"home-{local}\"", HOME.1);
    daemon.more_settings("[migrations]\nconnections = 1\n");
    daemon.define("alice", &there(&imap_migrate(NAME, "alice", dovecot.imap, LOGIN, "")));
    daemon.start();
    daemon.ctl(&["start", NAME]).code(0);
    let waiting = daemon.migration_in(NAME, &["retrying"], LIMIT);
    assert!(waiting["error"].as_str().unwrap().contains("come back later"), "{waiting:#}");
    assert_eq!(waiting["waits_for"], "the time of the next try", "{waiting:#}");
    unwell.store(false, Ordering::SeqCst);
    let running = eventually("work goes on", LIMIT, || {
        let now = daemon.migration(NAME);
        (now["messages_done"].as_u64().unwrap() > 0).then_some(now)
    });
    assert_eq!(
        (&running["state"], &running["error"]),
        (&"running".into(), &serde_json::Value::Null),
        "{running:#}"
    );
    slow.store(false, Ordering::SeqCst);
    let done = daemon.migration_in(NAME, &["completed"], LIMIT);
    assert_eq!((&done["messages_done"], &done["messages_failed"]), (&60.into(), &0.into()), "{done:#}");
    daemon.stop();
}
