//! What goes wrong with servers, definitions and disks: the state, the message and the exit status that a
//! person needs, and that nobody else is slowed down by it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stderr, reason = "this is a test")]

use crate::helpers::daemon;
use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::helpers::corpus::Corpus;
use crate::helpers::daemon::{Daemon, eventually, imap_migrate, pop3_poll};
use crate::helpers::dovecot::Dovecot;
use crate::helpers::maildir::{Tree, same};
use crate::helpers::small_disk::Disk;
use serde_json::Value;

const SELDOM: &str = "[polling]\ninterval = \"24h\"\nmax_failures = 2\n";
const ALICE: (&str, &str) = ("alice", "secret");

fn words(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_lowercase()
}

/// A port where nobody listens.
fn closed_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// Another host, on the same machine.
const OTHER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// A server at [`OTHER`] that accepts and says nothing.
fn silent() -> (u16, Arc<Mutex<Vec<TcpStream>>>) {
    let listener = TcpListener::bind((OTHER, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let held = Arc::new(Mutex::new(Vec::new()));
    let streams = Arc::clone(&held);
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            streams.lock().unwrap().push(stream);
        }
    });
    (port, held)
}

#[test]
fn a_wrong_password_is_borne_for_a_while() {
    let dovecot = Dovecot::start(&[ALICE]);
    let mut source = Corpus::at(&dovecot.maildir("alice"));
    source.add("", 3);
    let mut daemon = Daemon::new(SELDOM);
    let definition = |password| pop3_poll("alice-old", "alice", dovecot.pop3, ("alice", password), "");
    daemon.define("alice", &definition("wrong"));
    daemon.start();
    loop {
        let answer = daemon.ctl(&["poll", "alice-old"]).code(1).says("alice-old");
        let account = daemon.account("alice-old");
        let failures = account["consecutive_failures"].as_u64().unwrap();
        let state = if failures > 2 { "disabled" } else { "enabled" };
        assert_eq!(account["state"], state, "after {failures} failures: {account:#}");
        assert_eq!(account["last_run"]["result"], "failed", "{account:#}");
        let error = words(&account["last_run"]["error"]);
        assert!(error.contains("login") && error.len() > 20, "{answer:?} {account:#}");
        assert!(
            !answer.err.contains("wrong\"") && !daemon.log().contains("\"wrong\""),
            "no password is shown"
        );
        if failures > 2 {
            break;
        }
    }
    let reason = words(&daemon.listed("alice-old")["reason"]);
    assert!(reason.len() > 20, "the reason is kept: {reason:?}");

    daemon.stop();
    daemon.define("alice", &definition("secret"));
    daemon.start();
    let account = daemon.listed("alice-old");
    assert_eq!(account["state"], "disabled", "{account:#}");
    assert_eq!(words(&account["reason"]), reason, "over a restart");
    daemon.ctl(&["enable", "alice-old"]).code(0);
    let account = daemon.listed("alice-old");
    assert_eq!(account["state"], "enabled", "{account:#}");
    assert!(account["reason"].is_null(), "{account:#}");
    assert_eq!(account["consecutive_failures"], 0, "{account:#}");
    daemon.poll("alice-old");
    same("what arrived", &source.put, &Tree::read(&daemon.maildir("alice")).contents());
    daemon.stop();
}

#[test]
fn a_migration_with_a_wrong_password_ends() {
    let dovecot = Dovecot::start(&[ALICE]);
    let mut daemon = Daemon::new("");
    daemon.define("alice", &imap_migrate("alice-old", "alice", dovecot.imap, ("alice", "wrong"), ""));
    daemon.start();
    daemon.ctl(&["check", "alice-old"]).code(1).says("alice");
    daemon.ctl(&["start", "alice-old", "--wait"]).code(1).says("alice-old");
    let migration = daemon.migration("alice-old");
    assert!(["failed", "rolled-back"].contains(&words(&migration["state"]).as_str()), "{migration:#}");
    assert!(words(&migration["error"]).contains("alice"), "{migration:#}");
    let history = daemon.ctl(&["--json", "history"]).code(0).json();
    assert_eq!(history["migrations"][0]["name"], "alice-old", "{history:#}");
    assert!(!daemon.log().contains("\"wrong\""), "no password is shown");
    daemon.stop();
}

#[test]
fn a_closed_port_is_named() {
    let port = closed_port();
    let mut daemon = Daemon::new("[polling]\ninterval = \"24h\"\n");
    daemon.define("alice", &pop3_poll("alice-old", "alice", port, ALICE, ""));
    daemon.define("bob", &imap_migrate("bob-old", "bob", port, ("bob", "secret"), ""));
    daemon.start();
    daemon.ctl(&["check", "alice-old"]).code(1).says(&port.to_string());
    daemon.ctl(&["poll", "alice-old"]).code(1).says(&port.to_string());
    eventually("the audit log says that it failed", Duration::from_secs(30), || {
        let log = std::fs::read_to_string(daemon.path().join("state/audit.log")).unwrap_or_default();
        let polled = log.lines().find(|line| line.contains("\"act\":\"poll\""))?;
        assert!(polled.contains("\"account\":\"alice-old\",\"result\":\"failed\""), "{polled}");
        Some(())
    });
    let account = daemon.account("alice-old");
    assert_eq!(account["state"], "enabled", "{account:#}");
    assert!(words(&account["last_run"]["error"]).contains(&port.to_string()), "{account:#}");

    daemon.ctl(&["start", "bob-old"]).code(0);
    let migration = daemon.migration_in("bob-old", &["retrying"], Duration::from_secs(30));
    assert!(words(&migration["error"]).contains(&port.to_string()), "{migration:#}");
    let next = eventually("the time of the next try", Duration::from_secs(30), || {
        daemon.migration("bob-old")["next_try_at"].as_str().map(str::to_owned)
    });
    assert!(next.ends_with('Z') && next.contains('T'), "{next}");
    daemon.ctl(&["cancel", "bob-old"]).code(0);
    daemon.migration_in("bob-old", &["cancelled"], Duration::from_secs(30));
    daemon.stop();
}

#[test]
fn a_silent_server_delays_nobody_else() {
    let dovecot = Dovecot::start(&[ALICE]);
    let mut source = Corpus::at(&dovecot.maildir("alice"));
    source.add("", 50);
    let (port, _held) = silent();
    let mut daemon = Daemon::new("[polling]\ninterval = \"24h\"\n");
    for at in 0..30 {
        let name = format!("stall-{at}");
        let local = format!("s{at}");
        let there = |text: String| text.replace("127.0.0.1", &OTHER.to_string());
        daemon.define(&name, &there(pop3_poll(&name, &local, port, ALICE, "")));
        let name = format!("m{at}");
        daemon.define(&name, &there(imap_migrate(&name, &local, port, ALICE, "")));
    }
    daemon.define("alice", &pop3_poll("alice-old", "alice", dovecot.pop3, ALICE, ""));
    daemon.start();
    for at in 0..30 {
        daemon.ctl(&["poll", &format!("stall-{at}"), "--no-wait"]).code(0);
    }
    daemon.ctl(&["start", "m0", "m1"]).code(0);
    let begun = Instant::now();
    daemon.poll("alice-old");
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(20), "{took:?}");
    same("what arrived", &source.put, &Tree::read(&daemon.maildir("alice")).contents());
    let begun = Instant::now();
    daemon.ctl(&["--json", "list"]).code(0);
    assert!(begun.elapsed() < Duration::from_secs(20), "the client waits for nobody");
    let running = (0..30).filter(|at| daemon.account(&format!("stall-{at}"))["running"] == true).count();
    assert!(running > 0, "they still wait");

    // The daemon stops in time though thirty connections hang.
    daemon.stop();
}

/// Takes as long as the stall limit, about a minute.
#[test]
fn a_silent_server_is_given_up() {
    let (port, _held) = silent();
    let mut daemon = Daemon::new("[polling]\ninterval = \"24h\"\n");
    let there = |text: String| text.replace("127.0.0.1", &OTHER.to_string());
    daemon.define("stall", &there(pop3_poll("stall", "s", port, ALICE, "")));
    daemon.define("hang", &there(imap_migrate("hang", "s", port, ALICE, "")));
    daemon.start();
    daemon.ctl(&["start", "hang"]).code(0);
    daemon.ctl(&["poll", "stall"]).code(1).says("stall");
    let account = daemon.account("stall");
    assert_eq!(account["consecutive_failures"], 1, "{account:#}");
    assert!(words(&account["last_run"]["error"]).len() > 20, "{account:#}");
    let migration = daemon.migration_in("hang", &["retrying"], Duration::from_secs(60));
    assert!(words(&migration["error"]).len() > 20, "{migration:#}");
    daemon.stop();
}

#[test]
fn a_bad_definition_takes_no_good_one_down() {
    let dovecot = Dovecot::start(&[ALICE]);
    let mut source = Corpus::at(&dovecot.maildir("alice"));
    source.add("", 5);
    let mut daemon = Daemon::new("[polling]\ninterval = \"24h\"\n");
    let good = pop3_poll("alice-old", "alice", dovecot.pop3, ALICE, "");
    daemon.define("a", &good);
    let bad = good
        .replace("alice-old", "bob-old")
        .replace("\"pop3\"", "\"pop4\"")
        .replace("[account.poll]", "[account.pole]");
    daemon.define("b", &bad);
    daemon.define("c", "[[account]\nname = 7\n");
    daemon.define("d", &good.replace("alice-old", "carol-old").replace("agreed = true", "agreed = false"));

    let check = daemon.run(&["--check"]).code(78);
    let line = 1 + bad.lines().position(|line| line.starts_with("protocol")).unwrap();
    let place = format!("b.toml:{line}:");
    assert!(check.err.contains(&place), "{place} in {check:?}");
    for file in ["b.toml:", "c.toml:1:", "d.toml:"] {
        assert!(check.err.contains(file), "{file} in {check:?}");
    }
    assert!(!check.err.contains("a.toml"), "{check:?}");

    daemon.start();
    daemon.poll("alice-old");
    same("what arrived", &source.put, &Tree::read(&daemon.maildir("alice")).contents());
    let listed = daemon.listed("bob-old");
    assert_eq!(listed["state"], "invalid", "{listed:#}");
    assert!(words(&listed["reason"]).contains(&place), "{listed:#}");
    assert_eq!(daemon.listed("carol-old")["state"], "invalid");
    let invalid = daemon.ctl(&["--json", "list", "--state", "invalid"]).code(0).json();
    assert_eq!(invalid["accounts"].as_array().map(Vec::len), Some(3), "{invalid:#}");
    daemon.ctl(&["poll", "bob-old"]).code(1).says("bob-old");

    // Mended, and read again.
    daemon.define("b", &good.replace("alice-old", "bob-old").replace("alice@", "bob@"));
    daemon.ctl(&["reload"]);
    assert_eq!(daemon.listed("bob-old")["state"], "enabled");
    daemon.poll("bob-old");
    same("what arrived", &source.put, &Tree::read(&daemon.maildir("bob")).contents());
    daemon.define("e", &good.replace("alice-old", "erin-old").replace("alice@", "erin@"));
    daemon.hang_up();
    eventually("SIGHUP reads the definitions again", Duration::from_secs(20), || {
        let list = daemon.ctl(&["--json", "list"]).code(0).json();
        list["accounts"].as_array().unwrap().iter().any(|a| a["name"] == "erin-old").then_some(())
    });
    daemon.stop();
}

#[test]
fn bad_settings_end_it_with_78() {
    let daemon = Daemon::new("[polling]\nintervall = \"10min\"\nper_host = \"many\"\n");
    for arguments in [["--check"].as_slice(), &[]] {
        let answer = daemon.run(arguments).code(78);
        assert!(answer.err.contains("mailhaul.toml:") && answer.err.contains("intervall"), "{answer:?}");
        assert!(answer.err.contains("per_host"), "all at once: {answer:?}");
    }
    let daemon = Daemon::new("");
    daemon.define("a", &pop3_poll("alice-old", "alice", 110, ALICE, ""));
    daemon.run(&["--check"]).code(0);
}

#[test]
fn who_is_not_there() {
    let mut daemon = Daemon::new("");
    daemon.ctl(&["status"]).code(3).says("mailhaulctl:");
    daemon.ctl(&["list"]).code(3);
    daemon.ctl(&["frobnicate"]).code(2);
    daemon.ctl(&["show"]).code(2);
    daemon.start();
    for verb in ["show", "poll", "enable", "disable", "start", "pause", "resume", "cancel", "check"] {
        daemon.ctl(&[verb, "nobody"]).code(5).says("nobody");
    }
    let answer = daemon.ctl(&["show", "nobody"]);
    assert!(answer.out.is_empty() && answer.err.starts_with("mailhaulctl: nobody: "), "{answer:?}");
    assert_eq!(answer.err.lines().count(), 1, "{answer:?}");
    daemon.stop();
    daemon.ctl(&["status"]).code(3);
}

#[test]
fn a_full_disk_waits_for_space() {
    let dovecot = Dovecot::start(&[ALICE, ("bob", "secret")]);
    let mut source = Corpus::at(&dovecot.maildir("alice"));
    source.add("", 600);
    let mut tree = Corpus::at(&dovecot.maildir("bob")).from(1000);
    tree.fill(600);
    let mut daemon = Daemon::new("[polling]\ninterval = \"1s\"\nmax_failures = 1\n");
    let Some(disk) = Disk::mount(daemon.path(), "size=1m") else { return };
    daemon.destination(&format!("{}/{{local}}/Maildir", disk.0.display()));
    daemon.define("alice", &pop3_poll("alice-old", "alice", dovecot.pop3, ALICE, ""));
    daemon.define("bob", &imap_migrate("bob-old", "bob", dovecot.imap, ("bob", "secret"), ""));
    daemon.start();
    daemon.ctl(&["poll", "alice-old"]).code(1).says("space");
    daemon.ctl(&["start", "bob-old"]).code(0);
    let migration = daemon.migration_in("bob-old", &["retrying"], Duration::from_secs(60));
    assert!(words(&migration["error"]).contains("space"), "{migration:#}");
    eventually("three polls failed", Duration::from_secs(60), || {
        let account = daemon.account("alice-old");
        assert_eq!(account["state"], "enabled", "the disk is not the account's fault: {account:#}");
        assert_eq!(account["consecutive_failures"], 0, "{account:#}");
        let error = words(&account["last_run"]["error"]);
        assert!(error.is_empty() || error.contains("space"), "{account:#}");
        (daemon.log().matches("no space").count() >= 3).then_some(())
    });
    disk.remount("size=200m");
    let (home, place) = (daemon.maildir("alice"), daemon.maildir("bob"));
    eventually("the poll goes on by itself", Duration::from_secs(60), || {
        (Tree::read(&home).count() >= 600).then_some(())
    });
    let migration = daemon.migration_in("bob-old", &["completed"], Duration::from_secs(120));
    daemon::adds_up(&migration);
    daemon.ctl(&["disable", "alice-old"]).code(0);
    same("what arrived by POP3", &source.put, &Tree::read(&home).contents());
    same("what arrived by IMAP", &Tree::read(tree.root()).facts(), &Tree::read(&place).facts());
    daemon.stop();
}

#[test]
fn a_full_disk_below_the_state_loses_nothing() {
    let dovecot = Dovecot::start(&[ALICE]);
    let mut source = Corpus::at(&dovecot.maildir("alice"));
    source.add("", 300);
    let mut daemon = Daemon::new("[polling]\ninterval = \"24h\"\n");
    let Some(disk) = Disk::mount(daemon.path(), "size=16m") else { return };
    daemon.state_directory(&disk.0.join("state"));
    daemon.define("alice", &pop3_poll("alice-old", "alice", dovecot.pop3, ALICE, "keep_original = false"));
    daemon.start();
    let ballast = disk.0.join("ballast");
    let _ = fs::write(&ballast, vec![1; 17 << 20]);
    let answer = daemon.ctl(&["poll", "alice-old"]);
    let kept = Tree::read(source.root()).contents();
    let mut anywhere = Tree::read(&daemon.maildir("alice")).contents();
    if answer.code != 0 {
        anywhere.extend(kept);
    }
    anywhere.sort();
    anywhere.dedup();
    let mut expected = source.put.clone();
    expected.sort();
    same("there, here or both", &expected, &anywhere);
    fs::remove_file(&ballast).unwrap();
    daemon.kill();
    daemon.start();
    daemon.poll("alice-old");
    same("what arrived", &source.put, &Tree::read(&daemon.maildir("alice")).contents());
    assert_eq!(Tree::read(source.root()).count(), 0);
    daemon.stop();
}

#[test]
fn a_destination_that_cannot_be_written() {
    let dovecot = Dovecot::start(&[ALICE]);
    let mut source = Corpus::at(&dovecot.maildir("alice"));
    source.add("", 5);
    let mut daemon = Daemon::new("[polling]\ninterval = \"24h\"\nmax_failures = 1\n");
    let Some(disk) = Disk::mount(daemon.path(), "size=10m") else { return };
    disk.remount("ro");
    daemon.destination(&format!("{}/{{local}}/Maildir", disk.0.display()));
    daemon.define("alice", &pop3_poll("alice-old", "alice", dovecot.pop3, ALICE, "keep_original = false"));
    daemon.start();
    for _ in 0..3 {
        daemon.ctl(&["poll", "alice-old"]).code(1).says(&disk.0.display().to_string());
    }
    let account = daemon.account("alice-old");
    assert_eq!((&account["state"], &account["consecutive_failures"]), (&"enabled".into(), &0.into()));
    same("the source", &source.put, &Tree::read(source.root()).contents());
    disk.remount("rw");
    daemon.poll("alice-old");
    same("what arrived", &source.put, &Tree::read(&daemon.maildir("alice")).contents());
    daemon.stop();
}

#[test]
fn a_mailbox_of_somebody_else() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("not tested: another user needs root");
        return;
    }
    let dovecot = Dovecot::start(&[ALICE]);
    let mut source = Corpus::at(&dovecot.maildir("alice"));
    source.add("", 5);
    let mut daemon = Daemon::new("[polling]\ninterval = \"24h\"\n");
    daemon.run_as(65534, 65534);
    daemon.define("alice", &pop3_poll("alice-old", "alice", dovecot.pop3, ALICE, ""));
    daemon.start();
    let mail = daemon.path().join("mail");
    let answer = daemon.ctl(&["poll", "alice-old"]).code(1).says(&mail.display().to_string());
    assert!(
        answer.err.contains("root") && answer.err.contains("nobody"),
        "whose, and who we are: {answer:?}"
    );
    nix::unistd::chown(&mail, Some(65534.into()), Some(65534.into())).unwrap();
    daemon.poll("alice-old");
    same("what arrived", &source.put, &Tree::read(&daemon.maildir("alice")).contents());
    daemon.stop();
}

/// Of a queue of many, only what cannot work as it is defined is held back.
#[test]
fn a_queue_is_checked_before_it_starts() {
    let dovecot = Dovecot::start(&[ALICE, ("bob", "other")]);
    let mut source = Corpus::at(&dovecot.maildir("alice"));
    source.add("", 7);
    let mut daemon = Daemon::new("[migrations]\nconcurrency = 4\n");
    daemon.define("good", &imap_migrate("good", "good", dovecot.imap, ALICE, ""));
    daemon.define("wrong", &imap_migrate("wrong", "wrong", dovecot.imap, ("bob", "secret"), ""));
    daemon.define("away", &imap_migrate("away", "away", closed_port(), ALICE, ""));
    daemon.start();
    let answer = daemon.ctl(&["start", "--all"]).code(1).says("wrong: ").says("AUTHENTICATIONFAILED");
    assert!(answer.out.contains("2 accounts to start; 1 wait for set or remove"), "{answer:?}");
    assert!(!answer.err.contains("away: "), "it is tried again by itself: {answer:?}");
    daemon.migration_in("good", &["completed"], Duration::from_secs(60));
    let away = daemon.migration_in("away", &["retrying"], Duration::from_secs(60));
    assert!(words(&away["error"]).contains("nobody listens"), "{away:#}");
    assert_eq!(daemon.ctl(&["--json", "show", "wrong"]).json()["migration"]["state"], "ready");
    // Mended, it goes.
    daemon.define("wrong", &imap_migrate("wrong", "wrong", dovecot.imap, ("bob", "other"), ""));
    daemon.ctl(&["reload"]).code(0);
    daemon.ctl(&["cancel", "away"]).code(0);
    fs::remove_file(daemon.path().join("etc/accounts.d/away.toml")).unwrap();
    daemon.ctl(&["reload"]).code(0);
    let answer = daemon.ctl(&["start", "--all", "--wait"]).code(0);
    assert!(answer.out.contains("wrong: completed"), "{answer:?}");
    daemon.ctl(&["start", "nobody", "good"]).code(5);
    daemon.stop();
}
