//! A password is seen by nobody: after a poll and a migration with a peculiar one, it stands in no file that we
//! wrote, in no line of the log, in no answer, and in nothing that other processes may read of the daemon.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "this is a test")]

use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use crate::helpers::corpus::Corpus;
use crate::helpers::daemon::{Daemon, imap_migrate, pop3_poll};
use crate::helpers::dovecot::Dovecot;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

const PASSWORD: &str = "Zq7-Kirsch_Lampe.91-tuX";
const USERS: [&str; 2] = ["alice", "bob"];

/// The password in every form in which it is sent or written.
fn forms() -> Vec<Vec<u8>> {
    let mut forms = vec![PASSWORD.as_bytes().to_vec(), STANDARD.encode(PASSWORD).into_bytes()];
    let hex = |octets: &[u8]| octets.iter().map(|octet| format!("{octet:02x}")).collect::<String>();
    forms.push(hex(PASSWORD.as_bytes()).into_bytes());
    forms.extend(USERS.map(|user| STANDARD.encode(format!("\0{user}\0{PASSWORD}")).into_bytes()));
    forms
}

#[track_caller]
fn silent(place: &str, octets: &[u8]) {
    for form in forms() {
        let first = form[0].to_ascii_lowercase();
        let found = octets
            .windows(form.len())
            .any(|window| window[0].to_ascii_lowercase() == first && window.eq_ignore_ascii_case(&form));
        assert!(!found, "{place} has the password as {}", String::from_utf8_lossy(&form));
    }
}

/// Every file below; returns how many there were.
fn below(path: &Path) -> usize {
    if path.is_dir() {
        return fs::read_dir(path).unwrap().map(|entry| below(&entry.unwrap().path())).sum();
    }
    if path.is_file() {
        silent(&path.display().to_string(), &fs::read(path).unwrap());
        return 1;
    }
    0
}

/// The password comes from a file of its own.
fn secretly(daemon: &Daemon, name: &str, definition: &str, password: &str) {
    let file = daemon.path().join("etc/accounts.d").join(format!("{name}.secret"));
    fs::write(&file, format!("{password}\n")).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    daemon.define(name, &definition.replace("{ value = \"\" }", &format!("{{ file = \"{name}.secret\" }}")));
}

fn everything_is_silent(daemon: &Daemon) {
    for verb in [
        &["--json", "list"][..],
        &["--json", "show", "alice-old"],
        &["--json", "show", "bob-old"],
        &["--json", "status"],
        &["--json", "queue"],
        &["--json", "history"],
        &["--json", "check"],
        &["show", "bob-old"],
    ] {
        let answer = daemon.ctl(verb);
        silent(&answer.command, (answer.out + &answer.err).as_bytes());
    }
    assert!(below(&daemon.path().join("state")) > 0);
    assert!(below(&daemon.path().join("log")) == 1 && !daemon.log().is_empty());
    for file in ["cmdline", "environ", "comm", "status", "maps", "limits"] {
        let octets = fs::read(format!("/proc/{}/{file}", daemon.pid().unwrap()));
        // What cannot be read shows nothing.
        silent(file, &octets.unwrap_or_default());
    }
}

#[test]
fn a_password_is_seen_by_nobody() {
    let dovecot = Dovecot::start(&USERS.map(|user| (user, PASSWORD)));
    let mut polled = Corpus::at(&dovecot.maildir("alice"));
    polled.add("", 5);
    let mut migrated = Corpus::at(&dovecot.maildir("bob")).from(1000);
    migrated.fill(20);
    let mut daemon = Daemon::new("[polling]\ninterval = \"24h\"\n");
    let pop3 = pop3_poll("alice-old", "alice", dovecot.pop3, ("alice", ""), "");
    let imap = imap_migrate("bob-old", "bob", dovecot.imap, ("bob", ""), "");
    secretly(&daemon, "alice", &pop3, PASSWORD);
    secretly(&daemon, "bob", &imap, PASSWORD);
    daemon.start();
    assert_eq!(daemon.poll("alice-old")["imported"], 5);
    daemon.migrate("bob-old");
    everything_is_silent(&daemon);
    assert!(below(&daemon.path().join("mail")) >= 25);
    forgotten(&daemon);

    // A server that refuses it hears it, and may say it again.
    let wrong = format!("{PASSWORD}-and-more");
    secretly(&daemon, "alice", &pop3, &wrong);
    secretly(&daemon, "bob", &imap, &wrong);
    daemon.hang_up();
    daemon.ctl(&["poll", "alice-old"]).code(1);
    daemon.ctl(&["start", "bob-old", "--wait"]).code(1);
    everything_is_silent(&daemon);
    daemon.stop();
    everything_written_is_silent(&daemon);
}

/// What a core dump that somebody forced would hold: every octet that the daemon's memory has. Only root can look.
fn forgotten(daemon: &Daemon) {
    let pid = daemon.pid().unwrap();
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let mut memory = fs::File::open(format!("/proc/{pid}/mem")).unwrap();
    let mut known = 0;
    for line in fs::read_to_string(format!("/proc/{pid}/maps")).unwrap().lines() {
        let mut words = line.split_whitespace();
        let (range, mode) = (words.next().unwrap(), words.next().unwrap());
        if !mode.starts_with("rw") {
            continue;
        }
        let (start, end) = range.split_once('-').unwrap();
        let [start, end] = [start, end].map(|text| u64::from_str_radix(text, 16).unwrap());
        let mut octets = vec![0; usize::try_from(end - start).unwrap()];
        memory.seek(SeekFrom::Start(start)).unwrap();
        // A part that is not there any more holds nothing.
        if memory.read_exact(&mut octets).is_ok() {
            silent(line, &octets);
            known += octets.windows(9).filter(|window| window == b"alice-old").count();
        }
    }
    assert!(known > 0, "its memory was not read: what is no secret is in it");
}

fn everything_written_is_silent(daemon: &Daemon) {
    assert!(below(&daemon.path().join("state")) > 0);
    let answer = daemon.run(&["--once"]);
    silent(&answer.command, (answer.out + &answer.err).as_bytes());
    let answer = daemon.run(&["--check"]);
    silent(&answer.command, (answer.out + &answer.err).as_bytes());
}

#[test]
fn a_definition_that_holds_its_password_is_complained_of_without_it() {
    let daemon = Daemon::new("");
    let definition = pop3_poll("alice-old", "alice", 995, ("alice", PASSWORD), "colour = 1");
    daemon.define("alice", &definition.replace("agreed = true", "agreed = maybe"));
    let answer = daemon.run(&["--check"]).code(78);
    silent("the complaint", (answer.out + &answer.err).as_bytes());
    // The mistake is on the very line of the password.
    for broken in
        ["{ value = \"PW\" x }", "{ value = \"PW }", "\"PW\"", "{ value = [\"PW\"] }", "{ valu = \"PW\" }"]
    {
        let good = format!("{{ value = {PASSWORD:?} }}");
        assert!(definition.contains(&good));
        daemon.define("alice", &definition.replace(&good, &broken.replace("PW", PASSWORD)));
        let answer = daemon.run(&["--check"]).code(78);
        silent(broken, (answer.out + &answer.err).as_bytes());
    }
}

/// Neither a core file nor another process of the same user.
#[test]
fn nobody_looks_into_the_memory() {
    let mut daemon = Daemon::new("");
    let root = nix::unistd::geteuid().is_root();
    if root {
        daemon.run_as(65_534, 65_534);
    }
    daemon.start();
    let pid = daemon.pid().unwrap();
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"], "{core}");
    // proc(5): what a process that cannot be dumped shows of its memory belongs to root.
    let own = if root { 65_534 } else { nix::unistd::geteuid().as_raw() };
    let owner = fs::metadata(format!("/proc/{pid}/environ")).unwrap().uid();
    assert_ne!(owner, own, "its memory is open to its own user");
    daemon.stop();
}
