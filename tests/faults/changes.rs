//! Definitions that come in through the client, with their secrets, and mailboxes that are made for them: all of
//! a change is there, or nothing of it, and the passwd-file is whole at every moment.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use crate::bench::{Bench, LIMIT, LOGIN, NAME, To, Work};
use crate::helpers::daemon::{Answer, eventually};
use crate::helpers::maildir::Tree;
use crate::play::{ALL, Scenario, play};
use crate::putting_back::{NOWHERE, cancel_again};
use crate::shim::How;

const NEW: &str = "Neu8-Haus_Tuer.17";
/// Lines of the passwd-file that nobody may touch.
const BEFORE: &str =
    "# users\neve@example.com:{PLAIN}x::::::\nfay@example.com:{PLAIN}y:1:2:Fay:/home/fay::\n";
const CAROL: &str = "carol-old";
const BULK: [&str; 3] = ["b0-example.com", "b1-example.com", "b2-example.com"];

fn users(bench: &Bench) -> PathBuf {
    bench.mail().join("users")
}

fn server(bench: &Bench, port: u16) {
    let at = format!("{{ host = \"127.0.0.1\", port = {port}, security = \"none\" }}");
    bench.daemon.define_server("old", &format!("[server.old]\nimap = {at}\n"));
}

/// A server template, a passwd-file, and an account that stays.
fn before(bench: &mut Bench) {
    server(bench, bench.dovecot.imap);
    fs::write(users(bench), BEFORE).unwrap();
    let path = users(bench);
    bench.daemon.more_settings(&format!(
        "[provisioning.passwd_file]\npath = {path:?}\nscheme = \"SHA512-CRYPT\"\nhome = \"/home/{{local}}\"\n"
    ));
    bench.again_by(|bench| {
        let mut list = bench.daemon.ctl(&["--json", "list"]).code(0).json();
        for account in list["accounts"].as_array_mut().unwrap() {
            // A list's file is named by the time.
            account["defined_in"].take();
        }
        list
    });
    bench.daemon.start();
    add(bench, CAROL).code(0);
    bench.daemon.stop();
}

fn add(bench: &Bench, name: &str) -> Answer {
    let member = format!("member={}@example.com", name.split('-').next().unwrap());
    let username = format!("username={}", LOGIN.0);
    let words = [
        "add",
        name,
        &member,
        "agreed=true",
        "protocol=imap",
        "server=old",
        &username,
        "migrate",
        "password=-",
    ];
    let words = [&words[..], &["new_mailbox.password=-"]].concat();
    bench.daemon.ctl_told(&format!("{}\n{NEW}\n", LOGIN.1), &words)
}

fn bulk(bench: &Bench) -> Answer {
    let row = |n: usize| format!("old;{};{};b{n}@example.com;{NEW}\n", LOGIN.0, LOGIN.1);
    let rows: String = (0..BULK.len()).map(row).collect();
    bench.daemon.ctl_told(&rows, &["bulk", "add", "-", "--format", "konsoleh"])
}

fn sealed(bench: &Bench) -> BTreeSet<String> {
    let names = fs::read_dir(bench.state().join("sealed")).unwrap();
    names.map(|name| name.unwrap().file_name().into_string().unwrap()).collect()
}

/// Which accounts there are; each has its secrets, and nobody else has any.
fn whole(bench: &Bench) -> BTreeSet<String> {
    let list = bench.daemon.ctl(&["--json", "list"]).code(0).json();
    let accounts = list["accounts"].as_array().unwrap();
    assert!(accounts.iter().all(|account| account["state"] == "enabled"), "{list:#}");
    let names: BTreeSet<String> =
        accounts.iter().map(|account| account["name"].as_str().unwrap().to_owned()).collect();
    let both = |name: &String| [format!("{name}=password"), format!("{name}=mailbox-password")];
    assert_eq!(sealed(bench), names.iter().flat_map(both).collect(), "secrets of {names:?}");
    assert!(names.contains(CAROL), "{names:?}");
    assert_eq!(fs::read_to_string(users(bench)).unwrap(), BEFORE);
    names
}

/// A change is asked for. If it failed, and the daemon is still there, it left nothing.
fn act_by(bench: &mut Bench, ask: fn(&Bench) -> Answer) -> bool {
    let well = bench.spawn() && {
        let well = ask(bench).code == 0;
        if !well && bench.daemon.ctl(&["status"]).code == 0 {
            whole(bench);
        }
        well
    };
    // What could not be cleared up is, at the next start.
    bench.stop() && well && !bench.state().join("accounts.d/.unfinished").exists()
}

/// Starts again: all of `names` are there, or none; then the change is made if it was not.
fn resume_by(bench: &mut Bench, names: &[&str], wanted: bool, ask: fn(&Bench) -> Answer) -> bool {
    bench.daemon.start();
    let there = whole(bench);
    let count = names.iter().filter(|name| there.contains(**name)).count();
    assert!(count == 0 || count == names.len(), "{count} of {names:?}");
    if (count > 0) != wanted {
        ask(bench).code(0);
    }
    assert!(bench.stop());
    true
}

#[test]
fn an_account_is_added() {
    play(&Scenario {
        name: "add",
        work: Work::Other,
        to: To::Maildir,
        before,
        act: |bench| act_by(bench, |bench| add(bench, NAME)),
        resume: |bench| resume_by(bench, &[NAME], true, |bench| add(bench, NAME)),
        hows: ALL,
    });
}

#[test]
fn a_list_is_added() {
    play(&Scenario {
        name: "bulk add",
        work: Work::Other,
        to: To::Maildir,
        before,
        act: |bench| act_by(bench, bulk),
        resume: |bench| resume_by(bench, &BULK, true, bulk),
        hows: ALL,
    });
}

#[test]
fn an_account_is_removed() {
    fn remove(bench: &Bench) -> Answer {
        bench.daemon.ctl(&["remove", NAME])
    }
    play(&Scenario {
        name: "remove",
        work: Work::Other,
        to: To::Maildir,
        before: |bench| {
            before(bench);
            bench.daemon.start();
            add(bench, NAME).code(0);
            bench.daemon.stop();
        },
        act: |bench| act_by(bench, remove),
        resume: |bench| resume_by(bench, &[NAME], false, remove),
        hows: ALL,
    });
}

/// The passwd-file has every line that it had, and no user twice.
fn is_whole(bench: &Bench) {
    let text = fs::read_to_string(users(bench)).unwrap();
    assert!(text.starts_with(BEFORE) && text.ends_with('\n'), "{text}");
    let more: Vec<&str> = text.strip_prefix(BEFORE).unwrap().lines().collect();
    assert!(more.len() <= 1 && more.iter().all(|line| line.split(':').count() == 8), "{text}");
}

/// An account of ours, with mail at its source and without a mailbox.
fn with_mail(bench: &mut Bench) {
    before(bench);
    bench.source.add("", 2);
    bench.daemon.start();
    add(bench, NAME).code(0);
    bench.daemon.stop();
    bench.again_by(|bench| bench.daemon.show(NAME));
}

fn migrate(bench: &mut Bench) -> bool {
    server(bench, bench.dovecot.imap);
    let well = bench.spawn() && {
        // What could not be forgotten is, at the next start.
        let kept = |bench: &Bench| bench.daemon.log().contains("its password is still kept");
        let well = bench.daemon.ctl_within(LIMIT, &["start", NAME, "--wait"]).code == 0;
        eventually("its secrets are forgotten, or the daemon is gone", LIMIT, || {
            (!well || bench.daemon.has_ended() || kept(bench) || sealed(bench).len() == 2).then_some(())
        });
        well && !kept(bench)
    };
    is_whole(bench);
    bench.stop() && well
}

fn migrate_again(bench: &mut Bench) -> bool {
    bench.daemon.start();
    // What was under way goes on by itself.
    let rests = ["ready", "completed", "failed", "rolled-back"];
    if bench.daemon.migration_in(NAME, &rests, LIMIT)["state"] != "completed" {
        bench.daemon.ctl(&["start", NAME]).code(0);
        bench.daemon.migration_in(NAME, &["completed"], LIMIT);
    }
    eventually("its secrets are forgotten", LIMIT, || (sealed(bench).len() == 2).then_some(()));
    is_whole(bench);
    assert!(bench.stop());
    true
}

#[test]
fn a_mailbox_is_made() {
    play(&Scenario {
        name: "a mailbox is made",
        work: Work::Other,
        to: To::Maildir,
        before: with_mail,
        act: migrate,
        resume: migrate_again,
        hows: ALL,
    });
}

/// Stopped anywhere, and then not wanted any more: neither mailbox nor login.
#[test]
fn a_mailbox_is_made_and_taken_back() {
    play(&Scenario {
        name: "a mailbox is made and taken back",
        work: Work::Other,
        to: To::Maildir,
        before: |bench| {
            with_mail(bench);
            bench.wanted = Some(bench.seen());
        },
        act: migrate,
        resume: |bench| {
            server(bench, NOWHERE);
            let cancelled = cancel_again(bench);
            is_whole(bench);
            if cancelled {
                assert_eq!(fs::read_to_string(users(bench)).unwrap(), BEFORE);
                assert_eq!(Tree::read(&bench.home()).count(), 0);
                assert!(!bench.home().exists());
            }
            false
        },
        hows: &[How::Kill, How::Torn],
    });
}
