//! What `start --dry-run` says before anything moves, and that nothing does: against a real Dovecot, with a
//! Maildir and a server as the destination.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "this is a test")]

use crate::helpers::maildir;
use std::fs;

use crate::helpers::corpus::Corpus;
use crate::helpers::daemon::{Daemon, imap_migrate, pop3_poll};
use crate::helpers::dovecot::Dovecot;
use crate::helpers::maildir::Tree;
use serde_json::Value;

const LOGIN: (&str, &str) = ("alice", "secret");

fn plan(daemon: &Daemon, name: &str) -> Value {
    let mut replies = daemon.ctl(&["--json", "start", name, "--dry-run"]).code(0).replies();
    assert_eq!(replies.len(), 1, "{replies:#?}");
    replies.remove(0)
}

fn folder<'p>(plan: &'p Value, source: &str) -> &'p Value {
    let folders = plan["folders"].as_array().unwrap();
    folders
        .iter()
        .find(|folder| folder["source"] == source)
        .unwrap_or_else(|| panic!("no {source}: {plan:#}"))
}

#[test]
fn everything_is_told_and_nothing_is_done() {
    let dovecot = Dovecot::start(&[LOGIN]);
    let mut source = Corpus::at(&dovecot.maildir("alice"));
    source.fill(100);
    let wire = |message: &maildir::Message| maildir::wire(&fs::read(&message.path).unwrap()).len();
    let octets: usize = Tree::read(source.root()).messages().map(|(_, message)| wire(message)).sum();
    let mut daemon = Daemon::new("");
    daemon.define("alice", &imap_migrate("alice-old", "alice", dovecot.imap, LOGIN, "into = \"Old\""));
    daemon.define("polled", &pop3_poll("polled", "bob", dovecot.pop3, LOGIN, ""));
    daemon.start();
    let first = plan(&daemon, "alice-old");
    assert_eq!((&first["messages"], &first["new_messages"]), (&100.into(), &100.into()), "{first:#}");
    assert_eq!(first["bytes"], octets, "{first:#}");
    let deep = folder(&first, "Archive/2024/Q1");
    assert_eq!(deep["destination"], "Old/Archive/2024/Q1");
    assert_eq!((&deep["made"], &deep["messages"]), (&true.into(), &5.into()), "{deep:#}");
    let login = format!("alice at 127.0.0.1:{} in plain text", dovecot.imap);
    let offers = |reply: &Value, what: &str| {
        reply["capabilities"].as_array().unwrap().iter().any(|name| *name == what) && reply["login"] == login
    };
    assert!(offers(&first, "UIDPLUS"), "{first:#}");
    let checked = daemon.ctl(&["--json", "check", "alice-old"]).code(0).json();
    assert!(offers(&checked, "CONDSTORE"), "{checked:#}");
    let checked = daemon.ctl(&["check", "alice-old"]).code(0);
    assert!(checked.out.contains(&format!("alice-old: login as {login}; CONDSTORE")), "{checked:?}");
    assert!(!daemon.maildir("alice").exists(), "nothing is made");
    assert_eq!(daemon.migration("alice-old")["state"], "ready");
    let shown = daemon.ctl(&["start", "alice-old", "--dry-run"]).code(0);
    assert!(shown.out.contains("100 messages") && shown.out.contains("Old/Archive/2024/Q1"), "{}", shown.out);

    daemon.migrate("alice-old");
    source.add(".Sent", 3);
    let second = plan(&daemon, "alice-old");
    assert_eq!((&second["messages"], &second["new_messages"]), (&103.into(), &3.into()), "{second:#}");
    assert_eq!(folder(&second, "Sent")["new_messages"], 3);
    assert_eq!(folder(&second, "Sent")["made"], false);

    daemon.ctl(&["start", "polled", "--dry-run"]).code(1).says("is polled");
    daemon.ctl(&["start", "nobody", "--dry-run"]).code(5);
    daemon.stop();
}

#[test]
fn what_cannot_be_carried_is_said() {
    let dovecot = Dovecot::start(&[LOGIN, ("home-alice", "home")]);
    let mut source = Corpus::at(&dovecot.maildir("alice"));
    source.add("", 20);
    let mut daemon = Daemon::new("");
    let port = dovecot.imap;
    daemon.settings(&format!(
        "[destination.there.imap]\nserver = {{ host = \"127.0.0.1\", port = {port}, security = \"none\" }}\n\
         login = \"home-{{local}}\"\npassword = {{ command = [\"/bin/echo\", \"home\"] }}\n"
    ));
    let pop3 = pop3_poll("alice-pop", "alice", dovecot.pop3, LOGIN, "")
        .replace("[account.poll]", "[account.migrate]\ninto = \"From POP/Box\"")
        .replace("agreed = true", "agreed = true\ndestination = \"there\"");
    daemon.define("alice", &pop3);
    daemon.start();
    let plan = plan(&daemon, "alice-pop");
    assert_eq!(plan["new_messages"], 20, "{plan:#}");
    assert_eq!(folder(&plan, "INBOX")["destination"], "From POP/Box");
    let notes = plan["notes"].to_string();
    assert!(
        notes.contains("POP3 tells no folders") && notes.contains("the destination is a server"),
        "{notes}"
    );
    assert!(!dovecot.maildir("home-alice").join(".From POP.Box").exists());
    // A login that is refused is told, and the exit status says so.
    fs::write(daemon.path().join("etc/accounts.d/alice.toml"), pop3.replace("\"secret\"", "\"wrong\""))
        .unwrap();
    daemon.ctl(&["reload"]).code(0);
    daemon.ctl(&["start", "alice-pop", "--dry-run"]).code(1).says("refused the login");
    daemon.stop();
}
