//! A destination whose answers cannot be believed as they are: it stores a message and refuses it all the same, says
//! OK and stores nothing, is full for one message only, or lists less than it counts. Nothing arrives twice, nothing
//! counts that is not there, and one message or folder costs itself only.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "this is a test")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::helpers::corpus::{Corpus, Marks};
use crate::helpers::daemon::{Daemon, adds_up, imap_migrate, there};
use crate::helpers::dovecot::Dovecot;
use crate::helpers::maildir::{Tree, same};
use crate::helpers::moody::{Heard, Mood, Moody};
use serde_json::Value;

const LOGIN: (&str, &str) = ("alice", "secret");
const HOME: (&str, &str) = ("home-alice", "home secret");
const NAME: &str = "alice-old";
const MARK: &[u8] = b"X-Doubtful: yes\r\n";
const LIMIT: Duration = Duration::from_secs(120);

/// What a server offers: groups, messages sent ahead, or one after the other without UIDs.
const SERVERS: [&str; 3] = [
    "",
    "imap_capability = IMAP4rev1 SASL-IR LITERAL+ UIDPLUS ENABLE IDLE NAMESPACE\n",
    "imap_capability = IMAP4rev1 SASL-IR ID ENABLE IDLE NAMESPACE\n",
];

/// A source with twenty messages, one of them marked; and the facts of all.
fn source() -> (Dovecot, Corpus, Vec<String>) {
    let dovecot = Dovecot::start(&[LOGIN]);
    let mut corpus = Corpus::at(&dovecot.maildir(LOGIN.0));
    corpus.add("", 10);
    let text = [b"Subject: x\n", &MARK[..MARK.len() - 2], b"\n\nbody\n"].concat();
    corpus.put("", 900, &text, &Marks { flags: "S", ..Marks::default() });
    corpus.add("", 9);
    let all = Tree::read(corpus.root()).facts();
    (dovecot, corpus, all)
}

fn homing(port: u16, source: &Dovecot) -> Daemon {
    let mut daemon = Daemon::homing(port, "login = \"home-{local}\"", HOME.1);
    daemon.more_settings("[migrations]\ngive_up_after = \"10min\"\n");
    daemon.define("alice", &there(&imap_migrate(NAME, "alice", source.imap, LOGIN, "")));
    daemon.start();
    daemon
}

fn is_marked(heard: &Heard<'_>) -> bool {
    heard.is("APPEND ") && heard.holds(MARK)
}

/// The migration is over with that exit status and these numbers of messages that are there, and that failed.
#[track_caller]
fn ended(daemon: &Daemon, code: i32, numbers: (u64, u64)) -> Value {
    let said = daemon.ctl_within(LIMIT, &["start", NAME, "--wait"]);
    assert_eq!(said.code, code, "{said:?}\n{}", daemon.log_tail(40));
    let done = daemon.migration(NAME);
    adds_up(&done);
    let (there, failed) = numbers;
    assert_eq!(
        (&done["state"], &done["messages_done"], &done["messages_failed"]),
        (&"completed".into(), &there.into(), &failed.into()),
        "{done:#}"
    );
    daemon.show(NAME)["skipped"].clone()
}

#[test]
fn it_is_stored_and_refused_all_the_same() {
    for capabilities in SERVERS {
        for words in ["NO [SERVERBUG] the index could not be written", "NO grmpf", "BAD grmpf"] {
            let (dovecot, _, all) = source();
            let home = Dovecot::start_with(&[HOME], capabilities);
            let wire = Moody::before(home.imap, usize::MAX, move |heard| match is_marked(heard) {
                true => Mood::Instead(words.to_owned()),
                false => Mood::Good,
            });
            let mut daemon = homing(wire.port, &dovecot);
            for _ in 0..2 {
                ended(&daemon, 0, (20, 0));
                same(words, &all, &Tree::read(&home.maildir(HOME.0)).facts());
            }
            daemon.ctl(&["verify", NAME]).code(0);
            daemon.stop();
        }
    }
}

/// An OK that is not true, for ever or once.
#[test]
fn nothing_is_stored_and_it_says_ok() {
    for (capabilities, times) in SERVERS.into_iter().flat_map(|server| [(server, usize::MAX), (server, 1)]) {
        let (dovecot, _, all) = source();
        let home = Dovecot::start_with(&[HOME], capabilities);
        let said = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&said);
        let wire = Moody::before(home.imap, usize::MAX, move |heard| match is_marked(heard) {
            true if heard.literals.len() > 1 => Mood::Says("NO not in a group".to_owned()),
            true if count.fetch_add(1, Ordering::SeqCst) < times => Mood::Says("OK stored".to_owned()),
            _ => Mood::Good,
        });
        let mut daemon = homing(wire.port, &dovecot);
        if times == 1 {
            ended(&daemon, 0, (20, 0));
        } else {
            let skipped = ended(&daemon, 1, (19, 1));
            let reason = skipped[0]["reason"].as_str().unwrap();
            assert!(reason.contains("says that it stored it, and it is not there"), "{skipped:#}");
            assert_eq!(skipped[0]["folder"], "INBOX");
        }
        let here = Tree::read(&home.maildir(HOME.0)).facts();
        let came: Vec<String> = here.iter().filter(|fact| all.contains(fact)).cloned().collect();
        assert_eq!((came.len(), here.len()), if times == 1 { (20, 20) } else { (19, 19) });
        assert!(said.load(Ordering::SeqCst) <= 4, "{} times", said.load(Ordering::SeqCst));
        daemon.stop();
    }
}

/// A folder that does not open, or costs the connection, or lists less than it counts: the backup has the rest.
#[test]
fn a_backup_names_a_folder_that_it_has_not() {
    for (command, mood, told) in [
        ("EXAMINE ", Some("NO [SERVERBUG] broken index"), "broken index"),
        ("EXAMINE ", Some("NO [NOPERM] not yours"), "not yours"),
        ("EXAMINE ", None, "closed the connection"),
        ("UID FETCH ", Some("OK done"), "counts 3 messages in it, and lists 0"),
    ] {
        let home = Dovecot::start(&[HOME]);
        let mut corpus = Corpus::at(&home.maildir(HOME.0));
        corpus.add("", 5);
        corpus.directory(".Work");
        corpus.add(".Work", 3);
        let wire = Moody::before(home.imap, usize::MAX, {
            let open = AtomicUsize::new(0);
            move |heard| {
                if heard.is("EXAMINE ") {
                    open.store(usize::from(heard.words.contains("Work")), Ordering::SeqCst);
                }
                match (heard.is(command) && open.load(Ordering::SeqCst) == 1, mood) {
                    (true, Some(words)) => Mood::Says(words.to_owned()),
                    (true, None) => Mood::Reset,
                    (false, _) => Mood::Good,
                }
            }
        });
        let mut daemon = Daemon::homing(wire.port, "login = \"home-{local}\"", HOME.1);
        daemon.start();
        let file = tempfile::tempdir().unwrap();
        let path = file.path().join("b.zip");
        let words = [
            "backup",
            "--member",
            "alice@example.com",
            "--destination",
            "there",
            "--format",
            "zip",
            "-o",
            path.to_str().unwrap(),
        ];
        let said = daemon.ctl(&words).code(1);
        assert!(said.out.contains("Work (folder)") && said.out.contains(told), "{said:?}");
        assert!(said.out.contains("5 messages"), "{said:?}");
        assert!(path.exists());
        daemon.stop();
    }
}

/// One message that the quota has no room for, among others that it takes: it is named, and the others are there.
#[test]
fn one_message_is_over_quota() {
    for capabilities in SERVERS {
        let (dovecot, _, all) = source();
        let home = Dovecot::start_with(&[HOME], capabilities);
        let wire = Moody::before(home.imap, usize::MAX, move |heard| match is_marked(heard) {
            true => Mood::Says("NO [OVERQUOTA] Quota exceeded (mailbox for user is full)".to_owned()),
            false => Mood::Good,
        });
        let mut daemon = homing(wire.port, &dovecot);
        let skipped = ended(&daemon, 1, (19, 1));
        let reason = skipped[0]["reason"].as_str().unwrap();
        assert!(reason.contains("[OVERQUOTA]"), "{skipped:#}");
        assert_eq!((skipped.as_array().unwrap().len(), &skipped[0]["folder"]), (1, &"INBOX".into()));
        let here = Tree::read(&home.maildir(HOME.0)).facts();
        assert_eq!((here.len(), here.iter().filter(|fact| all.contains(fact)).count()), (19, 19));
        assert!(wire.connections() <= 20, "{}", wire.connections());
        // A further run asks for it once more, and ends.
        ended(&daemon, 1, (19, 1));
        daemon.stop();
    }
}

/// The same by a real quota that one large message does not fit into, and by a folder that has no room at all.
#[test]
fn what_does_not_fit_is_named() {
    let more = "mail_plugins = quota\nprotocol imap {\n  mail_plugins = quota imap_quota\n}\nplugin {\n  \
                quota = count:User\n  quota_vsizes = yes\n  quota_rule = *:storage=200k\n  quota_grace = 0\n}\n";
    let (dovecot, mut corpus, _) = source();
    let text = [b"Subject: large\n\n".as_slice(), &b"0123456789abcdef\n".repeat(20_000)].concat();
    corpus.put("", 901, &text, &Marks { flags: "S", ..Marks::default() });
    corpus.directory(".Kein Platz");
    corpus.add(".Kein Platz", 3);
    let home = Dovecot::start_with(&[HOME], more);
    let wire = Moody::before(home.imap, usize::MAX, move |heard| {
        match heard.is("APPEND ") && heard.words.contains("Kein Platz") {
            true => Mood::Says("NO [OVERQUOTA] Quota exceeded".to_owned()),
            false => Mood::Good,
        }
    });
    let mut daemon = homing(wire.port, &dovecot);
    let skipped = ended(&daemon, 1, (20, 4));
    assert_eq!(skipped.as_array().unwrap().len(), 4, "{skipped:#}");
    assert_eq!(Tree::read(&home.maildir(HOME.0)).count(), 20);
    daemon.stop();
}
