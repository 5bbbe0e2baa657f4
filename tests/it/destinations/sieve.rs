//! A member's own Sieve script, at a real Dovecot with Pigeonhole: `apply_filter = true` goes by LMTP, so that
//! the script files the mail, and its vacation answer is sent to nobody; `apply_filter = false` goes past it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "this is a test")]

use crate::helpers::daemon;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use crate::helpers::daemon::{Daemon, eventually, imap_migrate, pop3_poll};
use crate::helpers::dovecot::Dovecot;
use crate::helpers::maildir::{Tree, sha};

const LOGIN: (&str, &str) = ("alice", "secret");
const HOME: &str = "alice@example.com";
const SCRIPT: &str = "require [\"fileinto\", \"vacation\", \"mailbox\", \"imap4flags\"];
vacation :days 1 :addresses [\"alice@example.com\"] \"I am away.\";
if header :contains \"subject\" \"invoice\" {
  addflag \"\\\\Flagged\";
  fileinto :create \"Invoices\";
}
";

/// A Dovecot that delivers by LMTP, with alice's script; and what its vacation answers are recorded in.
struct House {
    dovecot: Dovecot,
    answers: tempfile::TempDir,
    lmtp: u16,
    lmtps: u16,
}

impl House {
    fn start() -> House {
        let answers = tempfile::Builder::new().prefix("answers").tempdir().unwrap();
        fs::set_permissions(answers.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let program = answers.path().join("sendmail");
        daemon::install_script(&format!("cat > {}/answer.$$\n", answers.path().display()), &program);
        let ports = [(); 2].map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
        let [lmtp, lmtps] = ports.map(|listener| listener.local_addr().unwrap().port());
        let more = format!(
            "protocols = imap pop3 lmtp
sendmail_path = {}
service lmtp {{
  unix_listener lmtp {{
    mode = 0666
  }}
  inet_listener lmtp {{
    port = {lmtp}
  }}
  inet_listener lmtps {{
    port = {lmtps}
    ssl = yes
  }}
}}
protocol lmtp {{
  mail_plugins = sieve
  postmaster_address = postmaster@example.com
}}
plugin {{
  sieve = file:~/sieve;active=~/.dovecot.sieve
}}
",
            program.display()
        );
        let dovecot = Dovecot::start_with(&[LOGIN], &more);
        let home = dovecot.home(HOME);
        fs::create_dir_all(&home).unwrap();
        fs::write(home.join(".dovecot.sieve"), SCRIPT).unwrap();
        let (uid, gid) = dovecot.owner();
        for path in [home.clone(), home.join(".dovecot.sieve")] {
            chown(path, Some(uid), Some(gid)).unwrap();
        }
        eventually("the socket is there", Duration::from_secs(20), || {
            UnixStream::connect(dovecot.socket("lmtp")).ok()
        });
        House { dovecot, answers, lmtp, lmtps }
    }

    fn socket(&self) -> PathBuf {
        self.dovecot.socket("lmtp")
    }

    fn tree(&self) -> Tree {
        let root = self.dovecot.maildir(HOME);
        if root.exists() { Tree::read(&root) } else { Tree::default() }
    }

    fn answers(&self) -> usize {
        fs::read_dir(self.answers.path()).unwrap().count() - 1
    }
}

fn letter(number: usize, subject: &str) -> Vec<u8> {
    format!(
        "From: Bob <bob@example.org>\r\nTo: alice@example.com\r\nSubject: {subject} {number}\r\n\
         Message-ID: <{number}@example.org>\r\nDate: Thu, 1 Jan 2026 00:00:00 +0000\r\n\r\n\
         Number {number}\r\n.\r\n"
    )
    .into_bytes()
}

fn there(definition: &str) -> String {
    definition.replace("agreed = true", "agreed = true\ndestination = \"there\"")
}

/// What is below the lines that the server put on top.
fn contents(tree: &Tree, folder: &str) -> Vec<String> {
    let messages = tree.folders.get(folder).into_iter().flatten();
    let below = messages.map(|message| {
        let text = fs::read_to_string(&message.path).unwrap();
        sha(text.split_once("From: Bob").map(|(_, rest)| format!("From: Bob{rest}")).unwrap().as_bytes())
    });
    let mut all: Vec<String> = below.collect();
    all.sort();
    all
}

#[test]
fn the_script_files_and_nobody_gets_an_answer() {
    let house = House::start();
    let (mut plain, mut filed) = (Vec::new(), Vec::new());
    for number in 0..40 {
        let subject = if number % 4 == 0 { "invoice" } else { "hello" };
        let letter = letter(number, subject);
        house.dovecot.deliver("alice", &letter);
        if number % 4 == 0 { &mut filed } else { &mut plain }.push(sha(&letter));
    }
    plain.sort();
    filed.sort();
    let mut daemon = Daemon::new(&format!("[destination.there.lmtp]\nsocket = {:?}\n", house.socket()));
    let poll = "apply_filter = true\nkeep_original = false";
    daemon.define("alice", &there(&pop3_poll("alice-old", "alice", house.dovecot.pop3, LOGIN, poll)));
    daemon.start();
    let checked = daemon.ctl(&["check", "alice-old"]).code(0);
    assert!(checked.out.contains("40"), "{checked:?}");
    assert_eq!(house.tree().count(), 0, "a check delivers nothing");
    let run = daemon.poll("alice-old");
    assert_eq!((&run["imported"], &run["deleted"]), (&40.into(), &40.into()), "{run}");
    let tree = house.tree();
    assert_eq!(contents(&tree, ""), plain, "octet for octet, below the lines of the server");
    assert_eq!(contents(&tree, ".Invoices"), filed);
    assert!(tree.folders[".Invoices"].iter().all(|message| message.flags.contains('F')));
    assert_eq!(house.answers(), 0, "no vacation answer to imported mail");
    assert_eq!(daemon.poll("alice-old")["imported"], 0);
    assert_eq!(house.tree().count(), 40);
    daemon.stop();
    // The script does answer whoever writes himself.
    let mut stream = UnixStream::connect(house.socket()).unwrap();
    let letter = String::from_utf8(letter(99, "hello")).unwrap().replace("\r\n.\r\n", "\r\n");
    let said = format!(
        "LHLO test\r\nMAIL FROM:<bob@example.org>\r\nRCPT TO:<{HOME}>\r\nDATA\r\n{letter}.\r\nQUIT\r\n"
    );
    stream.write_all(said.as_bytes()).unwrap();
    let mut heard = String::new();
    stream.read_to_string(&mut heard).unwrap();
    eventually("the answer", Duration::from_secs(20), || Some(()).filter(|()| house.answers() == 1));
}

#[test]
fn past_the_script_by_maildir_or_imap() {
    let house = House::start();
    for number in 0..8 {
        house.dovecot.deliver("alice", &letter(number, "invoice"));
    }
    let (path, port) = (house.dovecot.maildir(HOME), house.dovecot.imap);
    let mut daemon = Daemon::new("");
    let secret = daemon.path().join("etc/there.secret");
    fs::write(&secret, "secret\n").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    daemon.settings(&format!(
        "[destination.there.lmtp]\nsocket = {:?}\n[destination.there.maildir]\npath = {path:?}\n\
         [destination.far.lmtp]\nsocket = {:?}\n[destination.far.imap]\nserver = {{ host = \"127.0.0.1\", \
         port = {port}, security = \"none\" }}\nlogin = \"other\"\npassword = {{ file = \"there.secret\" }}\n",
        house.socket(),
        house.socket()
    ));
    fs::write(house.dovecot.users(), "alice:{PLAIN}secret\nother:{PLAIN}secret\n").unwrap();
    let account = |name: &str, poll: &str| there(&pop3_poll(name, "alice", house.dovecot.pop3, LOGIN, poll));
    daemon.define("past", &account("past", "mailbox = \"Old\"\nicon = \"old\""));
    daemon.define("through", &account("through", "apply_filter = true"));
    daemon.define("far", &account("far", "apply_filter = false").replace("\"there\"", "\"far\""));
    daemon.start();
    assert_eq!(daemon.poll("past")["imported"], 8);
    let tree = house.tree();
    assert_eq!(tree.folders[".Old"].len(), 8, "as the definition says");
    assert!(tree.folders[".Old"].iter().all(|message| message.keywords.contains("icon-old")));
    assert_eq!(daemon.poll("through")["imported"], 8);
    let tree = house.tree();
    assert_eq!((tree.folders[".Old"].len(), tree.folders[".Invoices"].len()), (8, 8), "as the script says");
    assert_eq!(daemon.poll("far")["imported"], 8);
    assert_eq!(Tree::read(&house.dovecot.maildir("other")).folders[""].len(), 8);
    assert_eq!(house.answers(), 0);
    daemon.stop();
}

#[test]
fn over_tls() {
    let house = House::start();
    let authority = house.dovecot.authority();
    let mut daemon = Daemon::new("");
    let at = |name: &str, port: u16, more: &str| {
        format!("[destination.{name}.lmtp]\nhost = \"localhost\"\nport = {port}\n{more}\n")
    };
    let trusted = format!("ca_file = {authority:?}");
    daemon.settings(
        &[
            at("plain", house.lmtp, ""),
            at("starttls", house.lmtp, &format!("security = \"starttls\"\n{trusted}")),
            at("tls", house.lmtps, &format!("security = \"tls\"\n{trusted}")),
            at("unknown", house.lmtps, "security = \"tls\""),
        ]
        .concat(),
    );
    house.dovecot.deliver("alice", &letter(1, "hello"));
    for name in ["plain", "starttls", "tls", "unknown"] {
        let account = pop3_poll(name, "alice", house.dovecot.pop3, LOGIN, "");
        daemon.define(
            name,
            &account.replace("agreed = true", &format!("agreed = true\ndestination = \"{name}\"")),
        );
    }
    daemon.start();
    for (number, name) in ["plain", "starttls", "tls"].into_iter().enumerate() {
        daemon.ctl(&["check", name]).code(0);
        assert_eq!(daemon.poll(name)["imported"], 1, "{name}");
        assert_eq!(house.tree().count(), number + 1);
    }
    daemon.ctl(&["check", "unknown"]).code(1).says("certificate");
    daemon.ctl(&["poll", "unknown"]).code(1);
    assert_eq!(house.tree().count(), 3, "nothing goes to a server that nobody vouches for");
    daemon.stop();
}

#[test]
fn a_migration_by_lmtp_has_to_be_meant() {
    let house = House::start();
    for number in 0..12 {
        house.dovecot.deliver("alice", &letter(number, if number < 3 { "invoice" } else { "hello" }));
    }
    let settings = format!("[destination.there.lmtp]\nsocket = {:?}\n", house.socket());
    let mut daemon = Daemon::new(&settings);
    daemon.define("alice", &there(&imap_migrate("alice-old", "alice", house.dovecot.imap, LOGIN, "")));
    daemon.start();
    let planned = daemon.ctl(&["start", "alice-old", "--dry-run"]).code(0);
    for words in ["dates, flags, keywords and folders are lost", "no rollback", "on_failure = \"keep\""] {
        assert!(planned.out.contains(words), "{words}: {}", planned.out);
    }
    daemon.ctl(&["start", "alice-old", "--wait"]).code(1).says("on_failure = \"keep\"");
    assert_eq!(daemon.migration("alice-old")["state"], "ready");
    assert_eq!(house.tree().count(), 0);
    daemon.stop();
    let once = daemon.run(&["--once"]).code(1);
    assert!(once.out.contains("on_failure = \"keep\""), "{once:?}");
    daemon.settings(&format!("{settings}[migrations]\non_failure = \"keep\"\n"));
    daemon.start();
    let done = daemon.migrate("alice-old");
    assert_eq!(done["messages_done"], 12, "{done:#}");
    let tree = house.tree();
    assert_eq!((tree.folders[""].len(), tree.folders[".Invoices"].len()), (9, 3));
    daemon.migrate("alice-old");
    assert_eq!(house.tree().count(), 12, "nothing twice");
    assert_eq!(house.answers(), 0);
    daemon.ctl(&["verify", "alice-old"]).code(1).says("LMTP");
    daemon
        .ctl(&["backup", "--member", HOME, "--destination", "there", "--format", "zip", "-o", "/dev/null"])
        .code(1);
    daemon.stop();
}
