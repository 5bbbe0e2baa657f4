//! A definition gets another login or another server, and its name and progress stay. Where that is another mailbox, the
//! same numbers and names are other messages: they are brought, and only then deleted at the source. Where it is the same
//! one under another name, nothing comes twice.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "this is a test")]

use crate::helpers::fake_pop3;
use std::path::{Path, PathBuf};

use crate::helpers::daemon::{Daemon, imap_migrate, pop3_poll, there};
use crate::helpers::dovecot::Dovecot;
use crate::helpers::fake_imap::{FakeImap, Folder, honest};
use crate::helpers::fake_pop3::FakePop3;
use crate::helpers::maildir::{Tree, same, sha};

const LOGIN: (&str, &str) = ("alice", "secret");
const HOME: (&str, &str) = ("home-alice", "home secret");
const QUIET: &str = "[notices]\nto_member = false\n[polling]\ninterval = \"24h\"\n";

/// Mailboxes of one server with the same numbers, or names, of other messages: whichever is asked for.
enum Source {
    Pop3([FakePop3; 2]),
    Imap([FakeImap; 2]),
}

impl Source {
    fn pop3() -> Source {
        let one = fake_pop3::mails(5);
        let other = one.iter().map(|mail| {
            let body = [b"X-Other: yes\r\n", mail.body.as_slice()].concat();
            fake_pop3::Mail { body, ..mail.clone() }
        });
        let other = other.collect();
        Source::Pop3([one, other].map(|mails| FakePop3::start("USER UIDL TOP", mails, |_, _| {})))
    }

    fn imap() -> Source {
        let other = Folder { name: b"INBOX".to_vec(), ..Folder::new("Other", 5) };
        Source::Imap(
            [Folder::new("INBOX", 5), other]
                .map(|folder| FakeImap::with_capability("IMAP4rev1 UIDPLUS", vec![folder], honest)),
        )
    }

    /// `which` of them; `host`: what it is called.
    fn definition(&self, which: usize, host: &str, more: &str) -> String {
        let text = match self {
            Source::Pop3(drops) => pop3_poll("p", "alice", drops[which].port, LOGIN, more),
            Source::Imap(boxes) => imap_migrate("p", "alice", boxes[which].port, LOGIN, more),
        };
        text.replace("127.0.0.1", host)
    }

    fn polled(&self, which: usize, host: &str, more: &str) -> String {
        self.definition(which, host, more).replace("[account.migrate]", "[account.poll]")
    }

    fn all(&self, which: usize) -> Vec<String> {
        match self {
            Source::Pop3(drops) => drops[which].mails().iter().map(|mail| sha(&mail.body)).collect(),
            Source::Imap(boxes) => boxes[which].boxes()[0].mails.iter().map(|mail| sha(&mail.body)).collect(),
        }
    }
}

fn again(daemon: &Daemon, definition: &str) {
    daemon.define("p", definition);
    daemon.ctl(&["reload"]).code(0);
}

fn a_poll(mut daemon: Daemon, root: &Path, place: impl Fn(&str) -> String, source: &Source) {
    let (one, other) = (source.all(0), source.all(1));
    daemon.define("p", &place(&source.polled(0, "127.0.0.1", "")));
    daemon.more_settings(QUIET);
    daemon.start();
    daemon.poll("p");
    let files = Tree::files(root);

    // The same mailbox at a server of another name.
    again(&daemon, &place(&source.polled(0, "localhost", "")));
    let run = daemon.poll("p");
    assert_eq!(run["imported"], 0, "{run}");
    same("the files", &files, &Tree::files(root));
    assert_eq!(daemon.poll("p")["imported"], 0);

    again(&daemon, &place(&source.polled(1, "localhost", "keep_original = false")));
    let run = daemon.poll("p");
    assert_eq!((&run["imported"], &run["deleted"]), (&5.into(), &5.into()), "{run}");
    same("what is here", &[one.clone(), other.clone()].concat(), &Tree::read(root).contents());
    assert!(source.all(1).is_empty() && source.all(0) == one, "only the other one's were deleted");

    // And back, when nobody knows its numbers any more.
    again(&daemon, &place(&source.polled(0, "127.0.0.1", "")));
    let run = daemon.poll("p");
    assert_eq!(run["imported"], 0, "{run}");
    daemon.kill();
    daemon.start();
    daemon.poll("p");
    same("what is here at the end", &[one, other].concat(), &Tree::read(root).contents());
    daemon.stop();
}

fn a_migration(mut daemon: Daemon, root: &Path, place: impl Fn(&str) -> String, source: &Source) {
    let (one, other) = (source.all(0), source.all(1));
    daemon.define("p", &place(&source.definition(0, "127.0.0.1", "")));
    daemon.more_settings(QUIET);
    daemon.start();
    assert_eq!(daemon.migrate("p")["messages_imported"], 5);
    for (which, host, new) in
        [(1, "127.0.0.1", 5), (0, "127.0.0.1", 0), (0, "localhost", 0), (1, "localhost", 0)]
    {
        again(&daemon, &place(&source.definition(which, host, "")));
        let migration = daemon.migrate("p");
        assert_eq!(migration["messages_imported"], new, "{which} at {host}: {migration:#}");
    }
    let tree = Tree::read(root);
    same("what is here", &[one, other].concat(), &tree.contents());
    assert_eq!(tree.names().len(), 1, "all in one folder: {:?}", tree.names());
    let folders = daemon.show("p")["folders"].as_array().unwrap().len();
    assert_eq!(folders, 1, "{:#}", daemon.show("p"));
    daemon.ctl(&["verify", "p"]).code(0);
    daemon.stop();
}

fn in_a_maildir() -> (Daemon, PathBuf) {
    let daemon = Daemon::new("");
    let root = daemon.maildir("alice");
    (daemon, root)
}

fn at_a_server(home: &Dovecot) -> (Daemon, PathBuf) {
    let daemon = Daemon::homing(home.imap, "login = \"home-{local}\"", HOME.1);
    (daemon, home.maildir(HOME.0))
}

#[test]
fn polls_into_a_maildir() {
    for source in [Source::pop3(), Source::imap()] {
        let (daemon, root) = in_a_maildir();
        a_poll(daemon, &root, str::to_owned, &source);
    }
}

#[test]
fn polls_to_a_server() {
    for source in [Source::pop3(), Source::imap()] {
        let home = Dovecot::start(&[HOME]);
        let (daemon, root) = at_a_server(&home);
        a_poll(daemon, &root, there, &source);
    }
}

#[test]
fn migrations() {
    let (daemon, root) = in_a_maildir();
    a_migration(daemon, &root, str::to_owned, &Source::imap());
    let home = Dovecot::start(&[HOME]);
    let (daemon, root) = at_a_server(&home);
    a_migration(daemon, &root, there, &Source::imap());
}

/// Names of files say the source, too: nobody else knows any more what came from where.
#[test]
fn without_a_state_to_know_it_by() {
    for source in [Source::pop3(), Source::imap()] {
        let (mut daemon, root) = in_a_maildir();
        let (one, other) = (source.all(0), source.all(1));
        daemon.define("p", &source.polled(0, "127.0.0.1", ""));
        daemon.more_settings(QUIET);
        daemon.start();
        daemon.poll("p");
        daemon.stop();
        std::fs::remove_dir_all(daemon.path().join("state")).unwrap();
        daemon.define("p", &source.polled(1, "127.0.0.1", "keep_original = false"));
        daemon.start();
        // That may have been the poll of the start.
        daemon.poll("p");
        assert!(source.all(1).is_empty(), "they were deleted");
        same("what is here", &[one, other].concat(), &Tree::read(&root).contents());
        daemon.stop();
    }
}
