//! Definitions through `mailhaulctl`: added, changed, removed and taken by the thousand from lists; mailboxes
//! that are made for them in a real Dovecot's passwd-file; policy that denies and wipes; and the audit log of
//! all that. `MAILHAUL_ROWS=1000` makes the lists as long.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stderr, reason = "this is a test")]

use crate::helpers::daemon;
use crate::helpers::maildir;
use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::helpers::corpus::Corpus;
use crate::helpers::daemon::{Answer, Daemon, eventually, imap_migrate};
use crate::helpers::dovecot::Dovecot;

const PASSWORD: &str = "Zq7-Kirsch_Lampe.91";
const NEW: &str = "Neu8-Haus_Tuer.17";

/// `mailhaulctl` with something on its standard input.
fn ctl(daemon: &Daemon, input: &str, arguments: &[&str]) -> Answer {
    daemon.ctl_told(input, arguments)
}

/// A server template for the source.
fn source(daemon: &Daemon, dovecot: &Dovecot) {
    let imap = format!("{{ host = \"127.0.0.1\", port = {}, security = \"none\" }}", dovecot.imap);
    let pop3 = format!("{{ host = \"127.0.0.1\", port = {}, security = \"none\" }}", dovecot.pop3);
    daemon.define_server("old", &format!("[server.old]\nimap = {imap}\npop3 = {pop3}\n"));
}

/// No file below holds one of the passwords.
#[track_caller]
fn silent(path: &Path, passwords: &[&str]) {
    if path.is_dir() {
        fs::read_dir(path).unwrap().for_each(|entry| silent(&entry.unwrap().path(), passwords));
    } else if path.is_file() {
        let octets = fs::read(path).unwrap();
        for password in passwords {
            let found = octets.windows(password.len()).any(|window| window == password.as_bytes());
            assert!(!found, "{} has a password", path.display());
        }
    }
}

fn sealed(daemon: &Daemon) -> Vec<String> {
    let names = fs::read_dir(daemon.path().join("state/sealed")).unwrap();
    let mut names: Vec<String> = names.map(|n| n.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn audit(daemon: &Daemon) -> Vec<serde_json::Value> {
    let text = fs::read_to_string(daemon.path().join("state/audit.log")).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn one_account_from_add_to_remove() {
    let dovecot = Dovecot::start(&[("bob", PASSWORD)]);
    Corpus::at(&dovecot.maildir("bob")).fill(20);
    let mut daemon = Daemon::new("");
    source(&daemon, &dovecot);
    daemon.define("etc", &imap_migrate("from-etc", "eve", dovecot.imap, ("eve", "x"), ""));
    daemon.start();
    let add = ["add", "bob-old", "member=bob@example.com", "agreed=true", "protocol=imap", "server=old"];
    let with = |more: &[&str]| -> Answer {
        let arguments: Vec<&str> = add.iter().chain(more).copied().collect();
        ctl(&daemon, &format!("{PASSWORD}\n"), &arguments)
    };
    // Nothing is written unless it is good.
    with(&["username=bob", "password=hunter2", "migrate"]).code(2).says("every user");
    with(&["username=bob", "password=-"]).code(1).says("bob-old: it does not say what to do");
    with(&["username=bob", "password=-", "migrate", "colour=red"]).code(1).says("colour: unknown key");
    with(&["password=-", "migrate"]).code(1).says("source.username: is missing");
    assert!(!daemon.path().join("state/accounts.d").exists() && sealed(&daemon).is_empty());

    with(&["username=bob", "password=-", "migrate", "migrate.into=Old"]).code(0);
    with(&["username=bob", "password=-", "migrate"]).code(1).says("is there already");
    let file = fs::read_dir(daemon.path().join("state/accounts.d")).unwrap().next().unwrap().unwrap().path();
    assert!(file.to_str().unwrap().ends_with("-account-bob-old.toml"), "{file:?}");
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(sealed(&daemon), ["bob-old=password"]);
    assert_eq!(daemon.account("bob-old")["state"], "enabled");
    // It outlives the daemon.
    daemon.kill();
    daemon.start();
    daemon.ctl(&["set", "bob-old", "migrate.into="]).code(0);
    // A list, with commas or as in a file.
    let written = || fs::read_to_string(&file).unwrap();
    daemon.ctl(&["set", "bob-old", "migrate.include=Nothing,Nobody"]).code(0);
    assert!(written().contains("include = [\"Nothing\", \"Nobody\"]"), "{}", written());
    daemon
        .ctl(&["start", "bob-old", "--wait"])
        .code(1)
        .says("folders of the source fits include and exclude");
    daemon.ctl(&["set", "bob-old", "migrate.include=[\"*\", \"A, b\"]"]).code(0);
    assert!(written().contains("include = [\"*\", \"A, b\"]"), "{}", written());
    daemon.ctl(&["set", "from-etc", "migrate.into=X"]).code(1).says("etc.toml:1");
    daemon.ctl(&["remove", "from-etc"]).code(1).says("change it there");
    daemon.ctl(&["set", "nobody", "migrate.into=X"]).code(5);
    daemon
        .ctl(&["set", "bob-old", "source.server=nowhere"])
        .code(1)
        .says("source.server: no server template");
    assert_eq!(daemon.migrate("bob-old")["messages_done"], 20);
    silent(&daemon.path().join("state"), &[PASSWORD]);

    // The migration has ended, and the password with it.
    eventually("the password is forgotten", Duration::from_secs(20), || {
        sealed(&daemon).is_empty().then_some(())
    });
    daemon.ctl(&["check", "bob-old"]).code(1).says("mailhaulctl set bob-old source.password=-");
    ctl(&daemon, &format!("{PASSWORD}\n"), &["set", "bob-old", "password=-"]).code(0);
    // It was given after the end: a start forgets only what should have been forgotten.
    daemon.kill();
    daemon.start();
    assert_eq!(daemon.migrate("bob-old")["messages_done"], 20);

    daemon.ctl(&["remove", "bob-old"]).code(0);
    daemon.ctl(&["show", "bob-old"]).code(5);
    assert!(!file.exists() && sealed(&daemon).is_empty());
    assert_eq!(maildir::Tree::read(&daemon.maildir("bob")).messages().count(), 20, "what came stays");
    let acts = audit(&daemon);
    let act = |act: &str, result: &str| {
        let found = acts.iter().find(|entry| entry["act"] == act && entry["result"] == result);
        found.unwrap_or_else(|| panic!("no {act} {result} in {acts:#?}")).clone()
    };
    let added = act("add", "done");
    assert_eq!(added["account"], "bob-old");
    assert_eq!(added["agreed"], true);
    assert_eq!(added["uid"], nix::unistd::getuid().as_raw());
    assert!(added["pid"].as_i64().is_some_and(|pid| pid > 0));
    for (name, result) in
        [("add", "refused"), ("set", "done"), ("remove", "refused"), ("remove", "done"), ("start", "done")]
    {
        act(name, result);
    }
    daemon.stop();
    silent(daemon.path(), &[PASSWORD]);
}

#[test]
fn a_list_with_mistakes_is_refused_with_every_place() {
    let mut daemon = Daemon::new("");
    daemon.define_server(
        "old",
        "[server.old]\nimap = { host = \"127.0.0.1\", port = 1, security = \"none\" }\n",
    );
    daemon.start();
    let list = daemon.path().join("list.csv");
    fs::write(
        &list,
        "old;a;hunter2-a;a@example.com;\r\nnowhere;b;hunter2-b;b@example.com;\r\nold;c;hunter2;c;c@example.com;x\r\n\
         old;d;;d@example.com;\r\nold;e;hunter2;nobody;\r\n\"old;f;hunter2\r\n",
    )
    .unwrap();
    let shown = list.to_str().unwrap();
    let answer = daemon.ctl(&["bulk", "add", shown, "--format", "konsoleh"]).code(1);
    for place in ["list.csv:3:31", "list.csv:4:7", "list.csv:5:15", "list.csv:6:1"] {
        assert!(answer.err.contains(place), "{place} in {answer:?}");
    }
    assert!(!answer.err.contains("hunter2"), "{answer:?}");
    let good: String = fs::read_to_string(&list).unwrap().lines().take(2).map(|l| format!("{l}\n")).collect();
    let twice = good.clone() + good.lines().next().unwrap();
    let answer = ctl(&daemon, &twice, &["bulk", "add", "-", "--format", "konsoleh"]).code(1);
    assert!(answer.err.contains("standard input:2:1: source.server: no server template"), "{answer:?}");
    assert!(answer.err.contains("standard input:3:5: is the same as line 1"), "{answer:?}");
    ctl(&daemon, "a@old.example,hunter2\n", &["bulk", "add", "-", "--format", "yandex"])
        .code(1)
        .says("--server");
    assert_eq!(daemon.ctl(&["--json", "list"]).json()["accounts"].as_array().unwrap().len(), 0);
    let own = "member,username,password,migrate.include\nz@example.com,z,hunter2,\"INBOX,Sent\"\n";
    let own_args = ["bulk", "add", "-", "--format", "mailhaul", "--server", "old"];
    ctl(&daemon, own, &own_args).code(0);
    ctl(&daemon, own, &own_args).code(1).says("is the account z-example.com already");
    silent(&daemon.path().join("state"), &["hunter2"]);
    daemon.stop();
}

fn rows() -> usize {
    std::env::var("MAILHAUL_ROWS").map_or(12, |rows| rows.parse().unwrap())
}

/// A source with `count` mailboxes, and the place where they go: Dovecots both.
fn two_servers(count: usize) -> (Dovecot, Dovecot, Daemon) {
    let users: Vec<String> = (0..count).map(|n| format!("user{n}")).collect();
    let pairs: Vec<(&str, &str)> = users.iter().map(|user| (user.as_str(), PASSWORD)).collect();
    let old = Dovecot::start(&pairs);
    for user in &users {
        old.deliver(user, b"Subject: one\r\n\r\nHello.\r\n");
        old.deliver(user, b"Subject: two\r\n\r\nHello again.\r\n");
    }
    let new = Dovecot::start(&[]);
    let mut daemon = Daemon::new("");
    daemon.settings(&provisioning(&new, "ARGON2ID", &format!("home = {:?}", new.home("{member}"))));
    daemon.destination(&new.maildir("{member}").display().to_string());
    source(&daemon, &old);
    (old, new, daemon)
}

fn provisioning(new: &Dovecot, scheme: &str, more: &str) -> String {
    let (path, (uid, gid)) = (new.users(), new.owner());
    format!(
        "[migrations]\nconcurrency = 8\n[provisioning.passwd_file]\npath = {path:?}\nscheme = {scheme:?}\n\
         uid = {uid}\ngid = {gid}\n{more}\n"
    )
}

fn arrived(new: &Dovecot, member: &str, password: &str) {
    // Dovecot looks at its file once a second.
    eventually("the login", Duration::from_secs(10), || new.can_log_in(member, password).then_some(()));
    let inbox = maildir::Tree::read(&new.maildir(member));
    assert_eq!(inbox.messages().count(), 2, "{member}");
}

#[test]
fn lists_are_taken_checked_provisioned_and_migrated() {
    let count = rows();
    let (_old, new, mut daemon) = two_servers(2 * count);
    daemon.start();
    let konsoleh: String =
        (0..count).map(|n| format!("old;user{n};{PASSWORD};k{n}@example.com;\"{NEW}\"\r\n")).collect();
    let yandex: String = (count..2 * count)
        .map(|n| format!("\"user{n}\",\"{PASSWORD}\",First{n},\"Last, {n}\",y{n},\r\n"))
        .collect();
    let list = daemon.path().join("konsoleh.csv");
    fs::write(&list, konsoleh).unwrap();
    let begun = Instant::now();
    let answer =
        daemon.ctl(&["bulk", "add", list.to_str().unwrap(), "--format", "konsoleh", "--start", "--wait"]);
    assert_eq!(answer.code, 0, "{answer:?}\n{}", daemon.log_tail(30));
    let first = begun.elapsed();
    let args = [
        "bulk",
        "add",
        "-",
        "--format",
        "yandex",
        "--server",
        "old",
        "--domain",
        "example.com",
        "--start",
        "--wait",
    ];
    let answer = ctl(&daemon, &yandex, &args);
    assert_eq!(answer.code, 0, "{answer:?}\n{}", daemon.log_tail(30));
    eprintln!("{count} rows each: konsoleH {first:?}, Yandex {:?}", begun.elapsed() - first);
    for n in [0, count - 1] {
        arrived(&new, &format!("k{n}@example.com"), NEW);
        // Without a password of its own it has the source's, which meets the rules.
        arrived(&new, &format!("y{}@example.com", count + n), PASSWORD);
    }
    let users = fs::read_to_string(new.users()).unwrap();
    assert_eq!(users.lines().count(), 2 * count);
    assert!(users.contains(&format!(":First{count} Last, {count}:")));
    eventually("all passwords are forgotten", Duration::from_secs(30), || {
        sealed(&daemon).is_empty().then_some(())
    });
    assert_eq!(
        audit(&daemon).iter().filter(|act| act["act"] == "bulk-add" && act["agreed"] == true).count(),
        2 * count
    );
    daemon.stop();
    fs::remove_file(&list).unwrap();
    silent(&daemon.path().join("state"), &[PASSWORD, NEW]);
    silent(&daemon.path().join("log"), &[PASSWORD, NEW]);
}

/// An access control list as the kernel has it (acl(5)): the owner writes, and this user reads.
fn readable_by(user: u32) -> Vec<u8> {
    let entries =
        [(0x01, 6, u32::MAX), (0x02, 4, user), (0x04, 4, u32::MAX), (0x10, 4, u32::MAX), (0x20, 0, u32::MAX)];
    let mut list = 2u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        list.extend(u16::to_le_bytes(tag));
        list.extend(u16::to_le_bytes(permissions));
        list.extend(u32::to_le_bytes(id));
    }
    list
}

/// The extended attributes of a file.
fn attributes(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut buffer = vec![0; 64 << 10];
    let length = rustix::fs::listxattr(path, buffer.as_mut_slice()).unwrap();
    let names = String::from_utf8(buffer[..length].to_vec()).unwrap();
    let value = |name: &str| {
        let length = rustix::fs::getxattr(path, name, buffer.as_mut_slice()).unwrap();
        (name.to_owned(), buffer[..length].to_vec())
    };
    names.split_terminator('\0').map(value).collect()
}

#[test]
fn whoever_reads_the_passwd_file_goes_on_reading_it() {
    let (_old, new, mut daemon) = two_servers(2);
    let users = new.users();
    fs::set_permissions(&users, fs::Permissions::from_mode(0o640)).unwrap();
    let set = |path: &Path, name: &str, value: &[u8]| {
        rustix::fs::setxattr(path, name, value, rustix::fs::XattrFlags::empty())
    };
    // Dovecot's own user reads it by that alone, where this is root's test.
    let dovecot = nix::unistd::User::from_name("dovecot").unwrap().map_or(65_534, |user| user.uid.as_raw());
    set(&users, "system.posix_acl_access", &readable_by(dovecot)).unwrap();
    // Not every file system has these.
    let _ = set(&users, "user.note", b"by hand");
    // What the directory gives to new files is nothing for this one.
    set(users.parent().unwrap(), "system.posix_acl_default", &readable_by(65_533)).unwrap();
    let (before, mode) = (attributes(&users), users.metadata().unwrap().permissions().mode());
    assert_eq!(before["system.posix_acl_access"], readable_by(dovecot));
    daemon.start();
    for n in 0..2 {
        let row = format!("old;user{n};{PASSWORD};k{n}@example.com;{NEW}\n");
        ctl(&daemon, &row, &["bulk", "add", "-", "--format", "konsoleh"]).code(0);
        daemon.migrate(&format!("k{n}-example.com"));
        assert_eq!(fs::read_to_string(&users).unwrap().lines().count(), n + 1);
        assert_eq!(attributes(&users), before);
        assert_eq!(users.metadata().unwrap().permissions().mode(), mode);
        arrived(&new, &format!("k{n}@example.com"), NEW);
    }
    daemon.stop();
}

#[test]
fn what_was_made_goes_with_a_rollback_and_weak_passwords_are_refused() {
    let (old, new, mut daemon) = two_servers(3);
    daemon.start();
    let row = |n: usize, new: &str| format!("old;user{n};{PASSWORD};k{n}@example.com;{new}\n");
    let bulk = ["bulk", "add", "-", "--format", "konsoleh"];
    let answer = ctl(&daemon, &(row(0, "short") + &row(1, NEW)), &bulk).code(1);
    assert!(answer.err.contains("standard input:1:46"), "{answer:?}");
    for rule in ["fewer than 12 characters", "no capital letter", "neither a digit nor a special character"] {
        assert!(answer.err.contains(rule), "{answer:?}");
    }
    for scheme in ["SHA512-CRYPT", "BLF-CRYPT"] {
        daemon.settings(&provisioning(&new, scheme, ""));
        daemon.ctl(&["status"]).code(0);
        let n = if scheme == "BLF-CRYPT" { 1 } else { 0 };
        daemon.run(&["--check"]).code(0);
        daemon.ctl(&["reload"]).code(0);
        ctl(&daemon, &row(n, NEW), &bulk).code(0);
        daemon.migrate(&format!("k{n}-example.com"));
        arrived(&new, &format!("k{n}@example.com"), NEW);
        assert!(fs::read_to_string(new.users()).unwrap().contains(&format!("k{n}@example.com:{{{scheme}}}")));
    }
    // What stands in a file of the administrator's is looked at before a start.
    let weak = "[account.new_mailbox]\npassword = { value = \"kurz\" }\n";
    daemon.define("weak", &imap_migrate("weak", "weak", old.imap, ("user2", PASSWORD), weak));
    daemon.ctl(&["reload"]).code(0);
    for words in [["check", "weak"].as_slice(), &["start", "weak", "--dry-run"]] {
        let answer = daemon.ctl(words).code(1);
        for rule in
            ["fewer than 12 characters", "no capital letter", "neither a digit nor a special character"]
        {
            assert!(format!("{}{}", answer.out, answer.err).contains(rule), "{answer:?}");
        }
    }
    // A source that refuses the login: the mailbox that was made goes again.
    let before = fs::read_to_string(new.users()).unwrap();
    ctl(&daemon, &row(2, NEW).replace(PASSWORD, "wrong"), &bulk).code(0);
    daemon.ctl(&["start", "k2-example.com", "--wait"]).code(1);
    daemon.migration_in("k2-example.com", &["rolled-back", "failed"], Duration::from_secs(60));
    assert_eq!(fs::read_to_string(new.users()).unwrap(), before);
    assert!(!new.maildir("k2@example.com").exists());
    daemon.stop();
}

#[test]
fn every_mistake_of_every_row_at_once() {
    let (_old, new, mut daemon) = two_servers(1);
    let policy = "[policy.domain.\"no.example\"]\nexternal_import = \"deny\"\n";
    daemon.settings(&provisioning(&new, "SHA512-CRYPT", policy));
    daemon.start();
    let first_words = |list: &str, arguments: &[&str]| -> Vec<String> {
        let all: Vec<&str> = ["bulk", "add", "-", "--format"].iter().chain(arguments).copied().collect();
        let answer = ctl(&daemon, list, &all).code(1);
        for password in [PASSWORD, NEW, "kurz"] {
            assert!(!answer.err.contains(password), "{answer:?}");
        }
        let lines = answer.err.lines().map(|line| line.trim_start_matches("mailhaulctl: standard input:"));
        lines.map(|line| line.split(';').next().unwrap().to_owned()).collect()
    };
    #[track_caller]
    fn are(found: &[String], expected: &[&str]) {
        assert_eq!(found.len(), expected.len(), "{found:#?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.starts_with(expected), "{expected} in {found}");
        }
    }
    let list = format!(
        "old;u;{PASSWORD};a@example.com;kurz\nhost name;u;{PASSWORD};b@example.com;kurz\n\
         old;u;{PASSWORD};c@no.example;{NEW}\nold;u;{PASSWORD};d@example.com;{NEW}\n\
         old;u;{PASSWORD};d@example.com;{NEW}\nold;u;{PASSWORD};nobody;kurz\nold;;{PASSWORD};e@example.com;kurz\n\
         only;two\n\"old;u\n"
    );
    are(
        &first_words(&list, &["konsoleh"]),
        &[
            "1:41: the mailbox is to be made, and its password cannot be used: it has fewer than 12 char",
            "2:1: source.server: no server template is named \"host name\"",
            "2:47: the mailbox is to be made",
            "3:27: external import is denied for no.example by policy",
            "5:5: is the same as line 4",
            "6:27: the mailbox is not an address",
            "6:34: the mailbox is to be made",
            "7:5: the login is empty",
            "7:40: the mailbox is to be made",
            "8:9: the row has 2 fields",
            "9:1: a quote is not closed",
        ],
    );
    let list = format!(
        "u,{PASSWORD},A,B,f@example.com,kurz\n,{PASSWORD}\nu,{PASSWORD},A,B,f@example.com,{NEW}\n\
         v,{PASSWORD},A\nw,{PASSWORD},A,B,x y,{NEW}\n"
    );
    are(
        &first_words(&list, &["yandex", "--server", "old"]),
        &[
            "1:41: the mailbox is to be made",
            "2:1: the login is empty",
            "2:1: the mailbox is not an address",
            "3:1: is the same as line 1",
            "4:24: the row has 3 fields",
            "5:27: the mailbox is not an address",
        ],
    );
    let list = format!(
        "name,member,username,password,server,protocol,new_mailbox.password,frob\n\
         A B,x,u,{PASSWORD},old,imap,kurz,1\nok,g@example.com,u,{PASSWORD},nowhere,smtp,kurz,\nno,h@example.com\n"
    );
    are(
        &first_words(&list, &["mailhaul"]),
        &[
            "2:1: name: ",
            "2:5: the mailbox is not an address",
            "2:38: the mailbox is to be made",
            "2:43: frob: unknown key",
            "3:40: source.server: no server template",
            "3:48: source.protocol: ",
            "3:53: the mailbox is to be made",
            "4:17: the row has 2 fields",
        ],
    );
    are(
        &first_words("name,member,frob\nA B,x,1\n", &["mailhaul", "--server", "old"]),
        &[
            "2:1: name: ",
            "2:1: source.password: is missing",
            "2:1: source.username: is missing",
            "2:5: the mailbox is not an address",
            "2:7: frob: unknown key",
        ],
    );
    // Without their keys values mean nothing.
    are(&first_words("name,\"member\na,b\n", &["mailhaul"]), &["1:6: a quote is not closed"]);
    assert_eq!(daemon.ctl(&["--json", "list"]).json()["accounts"].as_array().unwrap().len(), 0);
    assert!(sealed(&daemon).is_empty());
    daemon.stop();
}

/// A program of the administrator's: it gets the order, and its last words are shown.
#[test]
fn a_command_makes_the_mailbox() {
    let (_old, _new, mut daemon) = two_servers(2);
    let program = daemon.path().join("make-mailbox");
    let orders = daemon.path().join("orders");
    let lines = format!(
        "read order\ncase $order in *k1@*) echo trying; echo 'no licence is left' >&2; exit 7;; esac\n\
         echo \"$order\" >> {}\n",
        orders.display()
    );
    daemon::install_script(&lines, &program);
    daemon.destination(&daemon.path().join("mail/{local}/Maildir").display().to_string());
    daemon.settings(&format!("[provisioning]\ncommand = [{program:?}]\n"));
    daemon.start();
    let row = |n: usize| format!("old;user{n};{PASSWORD};k{n}@example.com;{NEW}\n");
    ctl(&daemon, &(row(0) + &row(1)), &["bulk", "add", "-", "--format", "konsoleh"]).code(0);
    daemon.migrate("k0-example.com");
    let order: serde_json::Value = serde_json::from_str(&fs::read_to_string(&orders).unwrap()).unwrap();
    assert_eq!((&order["member"], &order["password"]), (&"k0@example.com".into(), &NEW.into()));
    assert!(daemon.maildir("k0").join("cur").is_dir());
    daemon.ctl(&["start", "k1-example.com"]).code(0);
    let migration = daemon.migration_in("k1-example.com", &["retrying", "failed"], Duration::from_secs(60));
    let error = migration["error"].as_str().unwrap();
    assert!(error.contains("make-mailbox failed") && error.contains("no licence is left"), "{error}");
    daemon.ctl(&["cancel", "k1-example.com"]).code(0);
    assert!(!daemon.maildir("k1").exists());
    daemon.stop();
    silent(&daemon.path().join("log"), &[PASSWORD, NEW]);
}

#[test]
fn policy_denies_puts_back_and_wipes() {
    let (_old, _new, mut daemon) = two_servers(2);
    let settings = "[migrations]\nconcurrency = 1\n";
    daemon.destination(&daemon.path().join("mail/{local}/Maildir").display().to_string());
    daemon.settings(settings);
    daemon.start();
    let rows = format!("old;user0;{PASSWORD};k0@example.com;\nold;user1;{PASSWORD};k1@other.example;\n");
    ctl(&daemon, &rows, &["bulk", "add", "-", "--format", "konsoleh"]).code(0);
    let (one, other) = ("k0-example.com", "k1-other.example");

    daemon.settings(&format!("{settings}[policy]\nnetwork_access = \"designated-ips\"\n"));
    daemon.run(&["--check"]).code(0);
    daemon.ctl(&["reload"]).code(0);
    daemon.ctl(&["start", one]).code(1).says("designated IP addresses");
    daemon.ctl(&["verify", one]).code(1).says("designated IP addresses");
    let all = daemon.ctl(&["start", "--all", "--wait"]).code(0);
    let denied = all.out.contains("nothing to start") && all.out.contains("1 account: import is refused");
    assert!(denied, "{all:?}");
    assert_eq!(sealed(&daemon).len(), 2, "nothing is wiped");
    assert_eq!(daemon.listed(one)["state"], "denied");
    let acts = audit(&daemon);
    assert!(
        acts.iter().any(|entry| entry["act"] == "designated-ips" && entry["account"] == one),
        "{acts:#?}"
    );
    assert!(!acts.iter().any(|entry| entry["act"] == "deny"), "{acts:#?}");
    daemon.settings("[policy]\nexternal_import = 5\n");
    assert_ne!(daemon.run(&["--check"]).code, 0);
    let answer = daemon.ctl(&["reload"]).code(1);
    assert!(answer.out.contains("everything stays as it was: 2 good definitions, 0 invalid"), "{answer:?}");
    nix::sys::signal::kill(daemon.pid().unwrap(), nix::sys::signal::Signal::SIGHUP).unwrap();
    eventually("the audit log has both", Duration::from_secs(20), || {
        let acts = audit(&daemon);
        let refused = acts.iter().filter(|act| act["act"] == "reload" && act["result"] == "refused");
        (refused.count() == 2).then_some(())
    });

    daemon.settings(settings);
    daemon.run(&["--check"]).code(0);
    daemon.ctl(&["reload"]).code(0);
    assert_eq!(daemon.listed(one)["state"], "enabled");
    daemon.ctl(&["start", one]).code(0);
    daemon.migration_in(one, &["completed"], Duration::from_secs(60));

    daemon.settings(&format!("{settings}[policy.domain.\"Example.com\"]\nexternal_import = \"deny\"\n"));
    daemon.run(&["--check"]).code(0);
    ctl(&daemon, &format!("{PASSWORD}\n"), &["set", one, "password=-"]).code(0);
    eventually("its secrets are wiped", Duration::from_secs(30), || {
        (sealed(&daemon) == [format!("{other}=password")]).then_some(())
    });
    eventually("the audit log has it", Duration::from_secs(20), || {
        let acts = audit(&daemon);
        let has = |act: &str| acts.iter().any(|entry| entry["act"] == act && entry["account"] == one);
        (has("deny") && has("wipe")).then_some(())
    });
    let account = daemon.listed(one);
    assert_eq!(account["state"], "denied");
    assert!(account["reason"].as_str().unwrap().contains("denied for example.com by policy"), "{account}");
    assert_eq!(daemon.listed(other)["state"], "enabled");
    assert_eq!(daemon.ctl(&["--json", "status"]).json()["denied"], 1);
    for verb in ["start", "finish", "verify", "resume"] {
        daemon.ctl(&[verb, one]).code(1).says("by policy");
    }
    assert_eq!(daemon.show(one)["folders"].as_array().unwrap().len(), 0, "progress is wiped");
    assert_eq!(daemon.migrate(other)["messages_done"], 2);
    // Nothing new is defined there, one by one or by a list.
    let new = [
        "add",
        "new",
        "member=new@example.com",
        "agreed=true",
        "protocol=imap",
        "server=old",
        "username=user0",
        "password=-",
        "migrate",
    ];
    let refused = "external import is denied for example.com by policy";
    ctl(&daemon, &format!("{PASSWORD}\n"), &new).code(1).says(refused);
    let rows = format!("old;user0;{PASSWORD};new@example.com;\n");
    ctl(&daemon, &rows, &["bulk", "add", "-", "--format", "konsoleh"]).code(1).says(refused);
    daemon.ctl(&["show", "new"]).code(5);

    // Allowed again, its password is not there, and who took it is told.
    daemon.settings(settings);
    daemon.run(&["--check"]).code(0);
    daemon.ctl(&["reload"]).code(0);
    let why =
        format!("forgotten when policy denied external import; give it again: mailhaulctl set {one} source");
    daemon.ctl(&["check", one]).code(1).says(&why);
    ctl(&daemon, &format!("{PASSWORD}\n"), &["set", one, "password=-"]).code(0);
    daemon.ctl(&["check", one]).code(0);
    daemon.stop();
}

/// What is started together is queued in the order in which it was written or added. Nobody listens at the source, so
/// that everything stays in the queue.
#[test]
fn the_queue_has_the_order_of_the_definitions() {
    let closed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    let mut daemon = Daemon::new("");
    let imap = format!("{{ host = \"127.0.0.1\", port = {closed}, security = \"none\" }}");
    daemon.define_server("old", &format!("[server.old]\nimap = {imap}\n"));
    let definitions = |names: &[&str]| {
        let one = |name: &&str| imap_migrate(name, name, closed, (name, PASSWORD), "");
        names.iter().map(one).collect::<Vec<_>>().join("\n")
    };
    daemon.define("yet-another", &definitions(&["zeta", "m10", "alpha", "m9"]));
    daemon.define("another", &definitions(&["kappa"]));
    daemon.start();
    for name in ["carl", "ann"] {
        let (member, user) = (format!("member={name}@example.com"), format!("username={name}"));
        let add = [
            "add",
            name,
            &member,
            "agreed=true",
            "protocol=imap",
            "server=old",
            &user,
            "password=-",
            "migrate",
        ];
        ctl(&daemon, &format!("{PASSWORD}\n"), &add).code(0);
    }
    let queued = |daemon: &Daemon| -> Vec<String> {
        let queue = daemon.ctl(&["--json", "queue"]).code(0).json();
        let migrations = queue["migrations"].as_array().unwrap().iter();
        migrations.map(|one| one["name"].as_str().unwrap().to_owned()).collect()
    };
    let rows: String =
        ["zoe", "adam", "yan"].map(|name| format!("{name}@example.com,{name},{PASSWORD},{name}\n")).concat();
    let list = format!("member,username,password,name\n{rows}");
    ctl(&daemon, &list, &["bulk", "add", "-", "--format", "mailhaul", "--server", "old", "--start"]).code(0);
    assert_eq!(queued(&daemon), ["zoe", "adam", "yan"]);
    // Whoever is added later comes later, and who is changed stays where he was.
    daemon.ctl(&["set", "carl", "migrate.into=Old"]).code(0);
    let started = daemon.ctl(&["start", "--all"]).code(0).out;
    let all = ["zoe", "adam", "yan", "kappa", "zeta", "m10", "alpha", "m9", "carl", "ann"];
    assert_eq!(queued(&daemon), all, "{started}");
    assert!(started.find("kappa: ").unwrap() < started.find("alpha: ").unwrap(), "{started}");
    daemon.kill();
    daemon.start();
    assert_eq!(queued(&daemon), all);
    let listed = daemon.ctl(&["--json", "list"]).code(0).json();
    assert_eq!(listed["accounts"][0]["name"], "adam", "a list is by name");
    daemon.stop();
}
