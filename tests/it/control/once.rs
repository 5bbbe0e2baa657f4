//! `mailhauld --once`: what it tells at its end, what it leaves out, and how a signal ends it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "this is a test")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::helpers::daemon::{Daemon, imap_migrate};
use crate::helpers::fake_imap::{FakeImap, Folder, Then, honest};
use crate::helpers::maildir::count;

const LOGIN: (&str, &str) = ("alice", "secret");

fn imap_poll(name: &str, local: &str, port: u16, more: &str) -> String {
    imap_migrate(name, local, port, LOGIN, more).replace("[account.migrate]", "[account.poll]")
}

#[test]
fn the_summary_tells_what_came_and_what_was_left_out() {
    let server = FakeImap::start(vec![Folder::new("INBOX", 7)], honest);
    let mut daemon = Daemon::new("[policy.domain.\"denied.org\"]\nexternal_import = \"deny\"\n");
    daemon.define("alice", &imap_migrate("moves", "alice", server.port, LOGIN, ""));
    let once = daemon.run(&["--once"]).code(0);
    let octets: usize = server.boxes()[0].mails.iter().map(|mail| mail.body.len()).sum();
    let told = format!("1 migration completed, 0 with failures; 7 messages imported ({octets} octets)");
    assert!(once.out.contains(&told), "{once:?}");
    let once = daemon.run(&["--once"]).code(0);
    assert!(once.out.contains("0 messages imported (0 octets), 7 already here"), "{once:?}");

    let others = [
        imap_poll("polls", "bob", server.port, ""),
        imap_poll("off", "carol", server.port, "enabled = false"),
        imap_migrate("denied", "dave", server.port, LOGIN, "").replace("example.com", "denied.org"),
        imap_migrate("waits", "eve", server.port, LOGIN, "delta = \"24h\""),
    ];
    daemon.define("others", &others.concat());
    daemon.define("broken", "[[account]]\nname = \"broken\"\n");
    daemon.start();
    daemon.migrate("waits");
    daemon.ctl(&["pause", "waits"]).code(0);
    daemon.stop();
    let once = daemon.run(&["--once"]).code(1);
    for words in [
        "off: left out: the definition says enabled = false",
        "denied: left out: external import is denied for denied.org by policy",
        "waits: left out: it is paused",
        "1 definition is invalid",
        "1 account polled, 1 migration completed, 0 with failures, 3 left out; 7 messages imported",
    ] {
        assert!(once.out.contains(words), "{words}: {once:?}");
    }
    assert_eq!((count(&daemon.maildir("bob")), count(&daemon.maildir("eve"))), (7, 7));

    // Nothing to poll is no failure, and the client says why.
    daemon.start();
    daemon.ctl(&["disable", "polls"]).code(0);
    let all = daemon.ctl(&["poll", "--all"]).code(0);
    assert!(all.out.contains("nothing to poll\n2 accounts: switched off"), "{all:?}");
    assert_eq!((all.err.as_str(), daemon.ctl(&["--json", "poll", "--all"]).code(0).replies().len()), ("", 1));
    daemon.more_settings("[policy]\nnetwork_access = \"designated-ips\"\n");
    daemon.run(&["--check"]).code(78);
    daemon.ctl(&["reload"]);
    let all = daemon.ctl(&["poll", "--all"]).code(0);
    assert!(all.out.contains("nothing to poll\n2 accounts: import is refused while access of"), "{all:?}");
    daemon.ctl(&["finish", "waits", "--wait"]).code(1).says("designated IP addresses");
    daemon.stop();
}

#[test]
fn a_signal_ends_it_and_the_next_goes_on() {
    let hangs = Arc::new(AtomicBool::new(true));
    let it_hangs = Arc::clone(&hangs);
    let server =
        FakeImap::start(vec![Folder::new("INBOX", 40), Folder::new("Z", 5)], move |command, reply| {
            if command.is_in("Z") && command.wants_bodies() && it_hangs.load(Ordering::SeqCst) {
                reply.untagged.clear();
                reply.tagged.clear();
                reply.then = Then::Hang;
            }
        });
    let mut daemon = Daemon::new("[migrations]\nconnections = 1\n");
    daemon.define("alice", &imap_migrate("moves", "alice", server.port, LOGIN, ""));
    daemon.spawn_with(&["--once", "--log", "stderr"]);
    let limit = Duration::from_secs(60);
    server.heard("a FETCH in Z", limit, |line| line.starts_with("[Z]") && line.contains("BODY"));
    let status = daemon.stop();
    assert_eq!(status.code(), Some(1), "{}", daemon.log());
    let log = daemon.log();
    assert!(log.contains("stopped before all was done; the next run goes on with the rest"), "{log}");
    assert!(log.contains("0 migrations completed, 0 with failures; 40 messages imported"), "{log}");
    assert_eq!(count(&daemon.maildir("alice")), 40);
    hangs.store(false, Ordering::SeqCst);
    let once = daemon.run(&["--once"]).code(0);
    assert!(once.out.contains("1 migration completed, 0 with failures; 5 messages imported"), "{once:?}");
    assert_eq!(count(&daemon.maildir("alice")), 45);
}
