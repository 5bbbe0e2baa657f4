//! What members are told, through the real daemon: one message in their inbox, in their language, that no count, no
//! comparison and no rollback takes for mail.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stderr, reason = "this is a test")]

use crate::helpers::fake_imap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::helpers::corpus::Corpus;
use crate::helpers::daemon::{Daemon, eventually, imap_migrate, pop3_poll, there};
use crate::helpers::dovecot::Dovecot;
use crate::helpers::exim::Exim;
use crate::helpers::fake_imap::{FakeImap, Folder, honest};
use crate::helpers::fake_oauth::FakeOauth;
use crate::helpers::maildir::{Tree, same};
use crate::helpers::picky::whimsical;
use crate::helpers::view::View;
use mail_parser::MessageParser;

const LOGIN: (&str, &str) = ("alice", "secret");
const NAME: &str = "alice-old";

/// Subject, body and the names of those that are in the inbox and say that nobody wrote them.
fn notices(daemon: &Daemon) -> Vec<(String, String)> {
    let tree = Tree::read(&daemon.maildir("alice"));
    let inbox = tree.folders.get("").cloned().unwrap_or_default();
    inbox
        .iter()
        .filter_map(|message| {
            let octets = fs::read(&message.path).unwrap();
            let read = MessageParser::new().parse(&octets)?;
            read.header("Auto-Submitted")?;
            assert!(message.new, "nobody has looked at it: {}", message.name);
            Some((read.subject().unwrap().to_owned(), read.body_text(0).unwrap().into_owned()))
        })
        .collect()
}

fn told(daemon: &Daemon, count: usize) -> Vec<(String, String)> {
    eventually("the member is told", Duration::from_secs(30), || {
        Some(notices(daemon)).filter(|notices| notices.len() >= count)
    })
}

#[test]
fn a_migration_that_completed() {
    let dovecot = Dovecot::start(&[LOGIN]);
    let mut source = Corpus::at(&dovecot.maildir("alice"));
    source.fill(60);
    let mut daemon = Daemon::new("[notices]\nto_member = true\n");
    daemon.define("alice", &imap_migrate(NAME, "alice", dovecot.imap, LOGIN, ""));
    daemon.start();
    daemon.migrate(NAME);
    // The run itself made the mailbox, so nothing was told in it before the end.
    let told_then = told(&daemon, 1);
    let (subject, body) = &told_then[0];
    assert_eq!(subject, "Your mail from 127.0.0.1 is here");
    assert!(body.contains("Messages brought: 60") && body.contains("Messages left out: 0"), "{body}");
    // A second run finds nothing new, and counts no notice.
    let again = daemon.migrate(NAME);
    assert_eq!(again["messages_total"], 60, "{again:#}");
    let verified = daemon.ctl(&["--json", "verify", NAME]).json();
    assert_eq!((&verified["foreign"], &verified["alike"]), (&0.into(), &60.into()), "{verified:#}");
    daemon.stop();
}

#[test]
fn a_migration_that_was_put_back() {
    let dovecot = Dovecot::start(&[LOGIN]);
    Corpus::at(&dovecot.maildir("alice")).fill(30);
    let mut daemon = Daemon::new("[notices]\nto_member = true\n");
    let before = Corpus::at(&daemon.maildir("alice")).put;
    assert!(before.is_empty());
    let facts = Tree::read(&daemon.maildir("alice")).facts();
    let wrong = imap_migrate(NAME, "alice", dovecot.imap, (LOGIN.0, "wrong"), "");
    daemon.define("alice", &wrong);
    daemon.start();
    daemon.ctl(&["start", NAME, "--wait"]).code(1);
    let told_then = told(&daemon, 1);
    assert_eq!(told_then[0].0, "Your mail from 127.0.0.1 could not be brought");
    assert!(told_then[0].1.contains(NAME), "{}", told_then[0].1);
    let tree = Tree::read(&daemon.maildir("alice"));
    assert_eq!(tree.count(), facts.len() + 1);
    daemon.stop();
    // A mailbox that was not there is not made for a notice.
    let mut daemon = Daemon::new("[notices]\nto_member = true\n");
    daemon.define("alice", &wrong);
    daemon.start();
    daemon.ctl(&["start", NAME, "--wait"]).code(1);
    daemon.stop();
    assert!(!daemon.maildir("alice").exists());
}

#[test]
fn one_that_was_put_back_in_korean() {
    let server = FakeImap::start(vec![Folder::new("INBOX", 5), Folder::new("Work", 5)], |command, reply| {
        if command.wants_bodies() && command.is_in("Work") {
            reply.untagged = vec![b"* BYE [UNAVAILABLE] not now\r\n".to_vec()];
            reply.tagged.clear();
            reply.then = fake_imap::Then::Close;
        }
    });
    let mut daemon = Daemon::new("[migrations]\ngive_up_after = \"1s\"\n[notices]\nto_member = true\n");
    daemon.language("ko");
    Corpus::at(&daemon.maildir("alice"));
    daemon.define("alice", &imap_migrate(NAME, "alice", server.port, LOGIN, ""));
    daemon.start();
    daemon.ctl(&["start", NAME, "--wait"]).code(1);
    let (subject, body) =
        told(&daemon, 2).into_iter().find(|(_, body)| body.contains("상태로 되돌렸습니다")).unwrap();
    assert_eq!(subject, "127.0.0.1의 메일을 가져오지 못했습니다");
    assert!(!body.contains("removed") && !body.contains("tried again"), "{body}");
    let migration = daemon.migration(NAME);
    let error = migration["error"].as_str().unwrap();
    assert!(migration["state"] == "rolled-back" && error.contains("give_up_after"), "{migration:#}");
    assert!(!error.contains("tried again"), "{error}");
    daemon.stop();
}

#[test]
fn a_poll_that_was_switched_off_in_korean_and_silence() {
    let dovecot = Dovecot::start(&[LOGIN]);
    for to_member in [true, false] {
        let settings = format!("[polling]\nmax_failures = 1\n[notices]\nto_member = {to_member}\n");
        let mut daemon = Daemon::new(&settings);
        daemon.language("ko");
        Corpus::at(&daemon.maildir("alice"));
        daemon.define("alice", &pop3_poll(NAME, "alice", dovecot.pop3, (LOGIN.0, "wrong"), ""));
        daemon.start();
        eventually("it is switched off", Duration::from_secs(60), || {
            daemon.ctl(&["poll", NAME]);
            (daemon.account(NAME)["state"] == "disabled").then_some(())
        });
        if to_member {
            let told_then = told(&daemon, 1);
            assert_eq!(told_then[0].0, "127.0.0.1의 메일을 더 이상 가져오지 않습니다");
        }
        daemon.stop();
        same("nothing else", &[], &Tree::read(&daemon.maildir("alice")).only(&[".x"]).contents());
        assert_eq!(notices(&daemon).len(), usize::from(to_member));
    }
}

/// A message as a mail client threads it.
struct Threaded {
    subject: String,
    body: String,
    id: String,
    replies_to: Option<String>,
}

fn threaded(octets: &[u8]) -> Threaded {
    let read = MessageParser::new().parse(octets).unwrap();
    Threaded {
        subject: read.subject().unwrap().to_owned(),
        body: read.body_text(0).unwrap().into_owned(),
        id: read.message_id().unwrap().to_owned(),
        replies_to: read.in_reply_to().as_text().map(str::to_owned),
    }
}

/// Sixty messages come at once, the other forty when `go` says so.
fn in_two_halves(go: &Arc<AtomicBool>) -> FakeImap {
    let go = Arc::clone(go);
    FakeImap::start(vec![Folder::new("INBOX", 60), Folder::new("Work", 40)], move |command, _| {
        while command.wants_bodies() && command.is_in("Work") && !go.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(10));
        }
    })
}

#[test]
fn at_the_beginning_on_the_way_and_at_the_end() {
    let go = Arc::new(AtomicBool::new(false));
    let server = in_two_halves(&go);
    let admin = Exim::start(false);
    let settings = format!(
        "[notices]\nto_admin = [\"root@example.com\"]\nsmtp = {{ host = \"127.0.0.1\", port = {} }}\n",
        admin.port
    );
    let mut daemon = Daemon::new(&settings);
    // The mailbox is there before: its owner can read in it.
    Corpus::at(&daemon.maildir("alice"));
    daemon.define("alice", &imap_migrate(NAME, "alice", server.port, LOGIN, ""));
    daemon.start();
    daemon.ctl(&["start", NAME]).code(0);
    let on_the_way = told(&daemon, 2);
    let subjects: Vec<&str> = on_the_way.iter().map(|(subject, _)| subject.as_str()).collect();
    assert!(subjects.contains(&"Your mail from 127.0.0.1 is being brought"), "{subjects:?}");
    assert!(subjects.contains(&"Your mail from 127.0.0.1: 60 per cent is here"), "{subjects:?}");
    // Told once, also by a daemon that was killed meanwhile.
    daemon.kill();
    daemon.start();
    go.store(true, Ordering::SeqCst);
    daemon.migration_in(NAME, &["completed"], Duration::from_secs(60));
    assert_eq!(told(&daemon, 3).len(), 3);
    let tree = Tree::read(&daemon.maildir("alice"));
    let thread: Vec<Threaded> = tree.folders[""]
        .iter()
        .map(|message| fs::read(&message.path).unwrap())
        .filter(|octets| octets.windows(14).any(|octets| octets == b"Auto-Submitted"))
        .map(|octets| threaded(&octets))
        .collect();
    let first = thread.iter().find(|message| message.replies_to.is_none()).unwrap();
    assert!(first.subject.contains("is being brought"), "{}", first.subject);
    assert_eq!(thread.iter().filter(|message| message.replies_to.as_ref() == Some(&first.id)).count(), 2);
    // The administrator is told the same, a line each.
    let news = eventually("the administrator is told", Duration::from_secs(60), || {
        let news: Vec<Threaded> = admin.messages().iter().map(|octets| threaded(octets)).collect();
        let all: String = news.iter().map(|message| message.body.as_str()).collect();
        all.contains("is here\n").then_some(all)
    });
    assert!(news.contains("alice-old (alice@example.com): Your mail from 127.0.0.1 is here"), "{news}");
    daemon.stop();
}

#[test]
fn many_that_end_together_are_one_message_to_administrators() {
    let server = FakeImap::start(vec![Folder::new("INBOX", 5)], honest);
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    let mut admin = Exim::stopped(port, true);
    let settings = format!(
        "[migrations]\nconcurrency = 12\n[notices]\nto_member = false\n\
         to_admin = [\"root@example.com\", \"ops@example.com\"]\n[notices.smtp]\nhost = \"localhost\"\n\
         port = {port}\nsecurity = \"starttls\"\nca_file = {:?}\nusername = \"mailhaul\"\n\
         password = {{ command = [\"echo\", \"secret\"] }}\nfrom = \"mailhaul@mx.example\"\n",
        admin.certificate.authority()
    );
    let mut daemon = Daemon::new(&settings);
    for at in 0..12 {
        let (name, member) = (format!("old-{at}"), format!("member{at}"));
        daemon.define(&name, &imap_migrate(&name, &member, server.port, LOGIN, ""));
    }
    daemon.start();
    daemon.ctl(&["start", "--all", "--wait"]).code(0);
    // Nobody listens yet: it is told in the log, and nothing is lost.
    eventually("it could not be sent", Duration::from_secs(60), || {
        daemon.log().contains("notices to administrators could not be sent").then_some(())
    });
    admin.run();
    let messages = eventually("it is sent", Duration::from_secs(90), || {
        Some(admin.messages()).filter(|messages| messages.len() >= 2)
    });
    assert_eq!(messages.len(), 2, "one message, two recipients");
    let digest = threaded(&messages[0]);
    for at in 0..12 {
        assert!(digest.body.contains(&format!("old-{at} (member{at}@example.com): ")), "{}", digest.body);
    }
    assert!(digest.subject.contains("messages about accounts"), "{}", digest.subject);
    assert!(admin.log().contains("A=plain") && admin.log().contains("X=TLS"), "{}", admin.log());
    daemon.stop();
    assert!(!daemon.log().contains("secret"));
}

/// What each recipient was given. `ops` is refused for the moment, the first time.
fn greylisting(given: Arc<Mutex<Vec<(String, String)>>>) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let mut refused = false;
        for stream in listener.incoming().map_while(Result::ok) {
            let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
            let mut out = &stream;
            let mut say = |words: &str| out.write_all(format!("{words}\r\n").as_bytes()).unwrap();
            say("220 here");
            let mut to = String::new();
            while let Some(line) = lines.next() {
                match line.split(' ').next().unwrap() {
                    "RCPT" if line.contains("ops@") && !refused => {
                        refused = true;
                        say("451 4.7.1 come again");
                    }
                    "RCPT" => {
                        to = line.split(['<', '>']).nth(1).unwrap().to_owned();
                        say("250 good");
                    }
                    "DATA" => {
                        say("354 go on");
                        let text: Vec<String> = lines.by_ref().take_while(|line| line != ".").collect();
                        given.lock().unwrap().push((to.clone(), text.join("\r\n")));
                        say("250 taken");
                    }
                    "QUIT" => say("221 bye"),
                    _ => say("250 well"),
                }
            }
        }
    });
    port
}

#[test]
fn whom_it_is_refused_for_the_moment_gets_it_with_the_next() {
    let given = Arc::new(Mutex::new(Vec::new()));
    let port = greylisting(Arc::clone(&given));
    let server = FakeImap::start(vec![Folder::new("INBOX", 5)], honest);
    let mut daemon = Daemon::new(&format!(
        "[migrations]\nprogress_notice = 0\n[notices]\nto_member = false\n\
         to_admin = [\"ops@example.com\", \"root@example.com\"]\n\
         smtp = {{ host = \"127.0.0.1\", port = {port} }}\n"
    ));
    daemon.define("alice", &imap_migrate(NAME, "alice", server.port, LOGIN, ""));
    daemon.start();
    daemon.migrate(NAME);
    let given = eventually("both have it", Duration::from_secs(60), || {
        Some(given.lock().unwrap().clone()).filter(|given| given.len() >= 2)
    });
    let recipients: Vec<&str> = given.iter().map(|(to, _)| to.as_str()).collect();
    assert_eq!(recipients, ["root@example.com", "ops@example.com"]);
    assert!(
        given.iter().all(|(_, text)| text.contains("alice-old") && text.contains("is here")),
        "{given:?}"
    );
    assert!(daemon.log().contains("no notice goes to ops@example.com"), "{}", daemon.log());
    daemon.stop();
}

#[test]
fn consent_is_asked_for_once() {
    let (oauth, server) = (FakeOauth::start(), FakeImap::start(vec![Folder::new("INBOX", 5)], honest));
    server.take_tokens(&oauth.good);
    let mut daemon = Daemon::new("[notices]\nto_member = true\n");
    Corpus::at(&daemon.maildir("alice"));
    let password = "password = { value = \"secret\" }";
    let definition = imap_migrate(NAME, "alice", server.port, LOGIN, "")
        .replace(password, "auth = \"oauth2\"")
        .replace("security = \"none\" }", &format!("security = \"none\", {} }}", oauth.written("")));
    daemon.define("alice", &definition);
    daemon.start();
    daemon.ctl(&["start", NAME]).code(0);
    let asked = told(&daemon, 1);
    assert_eq!(asked[0].0, "Your mail from 127.0.0.1 waits for your consent");
    assert!(asked[0].1.contains("mailhaulctl authorize alice-old"), "{}", asked[0].1);
    // A further try in vain asks nobody again.
    daemon.ctl(&["pause", NAME]).code(0);
    daemon.ctl(&["resume", NAME]).code(0);
    daemon.migration_in(NAME, &["retrying"], Duration::from_secs(60));
    daemon.stop();
    assert_eq!(notices(&daemon).len(), 1);
}

fn is_notice(literals: &[Vec<u8>]) -> bool {
    literals.iter().any(|octets| octets.windows(15).any(|word| word == b"Auto-Submitted:"))
}

/// The flags of every notice at a server.
fn flags_of_notices(view: &mut View) -> Vec<String> {
    view.ask("EXAMINE INBOX");
    let said = view.ask("UID SEARCH HEADER Auto-Submitted \"\"");
    let uids: Vec<&str> = said[0].text.split(' ').skip(2).collect();
    uids.iter().map(|uid| view.ask(&format!("UID FETCH {uid} (FLAGS)"))[0].text.clone()).collect()
}

/// A server that takes mail and leaves notices without an answer: the queue goes on, and what was held comes once.
#[test]
fn no_run_waits_for_a_notice() {
    let home = ("home-alice", "home secret");
    let (source, dovecot) =
        (FakeImap::start(vec![Folder::new("INBOX", 20)], honest), Dovecot::start(&[home]));
    let held = Arc::new(AtomicBool::new(true));
    let is_held = Arc::clone(&held);
    let port = whimsical(dovecot.imap, move |_, literals| {
        while is_notice(literals) && is_held.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(20));
        }
        None
    });
    let mut daemon = Daemon::homing(port, "login = \"home-{local}\"", home.1);
    daemon.more_settings("[notices]\nto_member = true\n[migrations]\nconcurrency = 1\n");
    let definition = |name: &str| there(&imap_migrate(name, "alice", source.port, LOGIN, ""));
    let second = there(&imap_migrate("second", "alice", source.port, LOGIN, "into = \"Second\""));
    daemon.define("alice", &format!("{}\n{second}", definition("first")));
    daemon.start();
    daemon.ctl(&["start", "first", "second"]).code(0);
    for name in ["first", "second"] {
        daemon.migration_in(name, &["completed"], Duration::from_secs(30));
    }
    let mut view = View::open(dovecot.imap, "", home);
    assert!(flags_of_notices(&mut view).is_empty(), "they are held");
    held.store(false, Ordering::SeqCst);
    eventually("they come", Duration::from_secs(60), || {
        (flags_of_notices(&mut view).len() >= 4).then_some(())
    });
    daemon.stop();
    assert_eq!(flags_of_notices(&mut view).len(), 4, "that each began, and that each is here");
}

#[test]
fn a_notice_comes_without_its_keyword_where_that_is_refused() {
    let home = ("home-alice", "home secret");
    let (source, dovecot) = (FakeImap::start(vec![Folder::new("INBOX", 5)], honest), Dovecot::start(&[home]));
    let port = whimsical(dovecot.imap, |command, _| {
        let asked = command.lines().next().unwrap_or_default().to_lowercase();
        asked.contains("mailhaul-notice").then(|| "[LIMIT] Too many keywords in this mailbox".to_owned())
    });
    let mut daemon = Daemon::homing(port, "login = \"home-{local}\"", home.1);
    daemon.more_settings("[notices]\nto_member = true\n");
    daemon.define("alice", &there(&imap_migrate(NAME, "alice", source.port, LOGIN, "")));
    daemon.start();
    daemon.migrate(NAME);
    let mut view = View::open(dovecot.imap, "", home);
    eventually("they come", Duration::from_secs(30), || {
        (flags_of_notices(&mut view).len() == 2).then_some(())
    });
    assert!(!flags_of_notices(&mut view).concat().to_lowercase().contains("mailhaul"));
    daemon.stop();
}
