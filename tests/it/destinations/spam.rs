//! `apply_spam`: what rspamd calls spam lands in Junk with its keyword, everything else where it belongs, octet
//! for octet; and rspamd being away, slow or mad delays mail or lets it pass, and never loses it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stderr, reason = "this is a test")]

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use crate::helpers::corpus::Corpus;
use crate::helpers::daemon::{Daemon, eventually, imap_migrate, pop3_poll};
use crate::helpers::dovecot::Dovecot;
use crate::helpers::fake_lmtp::{ALL, FakeLmtp};
use crate::helpers::fake_pop3::{FakePop3, Mail, mails};
use crate::helpers::maildir::{Tree, sha};
use crate::helpers::rspamd::{Asked, FakeRspamd, GTUBE, Hook, Rspamd, Say, action, json};
use serde_json::Value;

const NAME: &str = "alice-old";
const LOGIN: (&str, &str) = ("alice", "secret");
const KNOWS: &str = "UIDL TOP USER PIPELINING";

fn settings(port: u16, more: &str) -> String {
    format!(
        "[polling]\ninterval = \"24h\"\n[spam]\nrspamd = {{ host = \"127.0.0.1\", port = {port} }}\n{more}\n"
    )
}

/// Messages of which every fifth is what everybody calls spam.
fn mixed(count: usize) -> Vec<Mail> {
    let mut all = mails(count);
    for mail in all.iter_mut().skip(4).step_by(5) {
        mail.body.extend_from_slice(format!("{GTUBE}\r\n").as_bytes());
    }
    all
}

fn is_spam(octets: &[u8]) -> bool {
    String::from_utf8_lossy(octets).contains(GTUBE)
}

fn honest(asked: &Asked) -> Say {
    action(if is_spam(&asked.body) { "add header" } else { "no action" })
}

fn shas<'m>(mails: impl Iterator<Item = &'m Mail>) -> BTreeSet<String> {
    mails.map(|mail| sha(&mail.body)).collect()
}

fn folder(tree: &Tree, name: &str) -> BTreeSet<String> {
    tree.folders.get(name).into_iter().flatten().map(|message| message.sha.clone()).collect()
}

/// A maildrop, an rspamd, and a daemon between them.
struct Bench {
    pop3: FakePop3,
    rspamd: FakeRspamd,
    daemon: Daemon,
}

impl Bench {
    fn new(more: &str, mails: Vec<Mail>, hook: impl Fn(&Asked) -> Say + Send + Sync + 'static) -> Bench {
        let pop3 = FakePop3::start(KNOWS, mails, |_, _| {});
        let rspamd = FakeRspamd::start(hook);
        let mut daemon = Daemon::new(&settings(rspamd.port, more));
        let poll = "apply_spam = true\nicon = \"old\"\nkeep_original = false";
        daemon.define("alice", &pop3_poll(NAME, "alice", pop3.port, LOGIN, poll));
        daemon.start();
        Bench { pop3, rspamd, daemon }
    }

    fn poll(&self) -> Value {
        self.daemon.ctl(&["poll", NAME]);
        self.daemon.account(NAME)["last_run"].clone()
    }

    fn tree(&self) -> Tree {
        let root = self.daemon.maildir("alice");
        if root.exists() { Tree::read(&root) } else { Tree::default() }
    }
}

#[test]
fn a_real_rspamd_judges_into_a_maildir() {
    let rspamd = Rspamd::start();
    let all = mixed(50);
    let pop3 = FakePop3::start(KNOWS, all.clone(), |_, _| {});
    let mut daemon = Daemon::new(&settings(rspamd.port, ""));
    daemon.define("alice", &pop3_poll(NAME, "alice", pop3.port, LOGIN, "apply_spam = true\nicon = \"old\""));
    daemon.start();
    let run = daemon.poll(NAME);
    assert_eq!(run["imported"], 50, "{run}");
    assert!(
        run["note"].as_str().is_some_and(|note| note.contains("10 of them went to the folder for spam")),
        "{run}"
    );
    let tree = Tree::read(&daemon.maildir("alice"));
    assert_eq!(folder(&tree, ""), shas(all.iter().filter(|mail| !is_spam(&mail.body))));
    assert_eq!(folder(&tree, ".Junk"), shas(all.iter().filter(|mail| is_spam(&mail.body))));
    let keywords =
        |name: &str| tree.folders[name].iter().map(|m| m.keywords.clone()).collect::<BTreeSet<_>>();
    let both = BTreeSet::from(["icon-old".to_owned(), "$Junk".to_owned()]);
    assert_eq!(keywords(".Junk"), BTreeSet::from([both]));
    assert_eq!(keywords(""), BTreeSet::from([BTreeSet::from(["icon-old".to_owned()])]));
    assert_eq!(daemon.poll(NAME)["imported"], 0);
    assert_eq!(Tree::read(&daemon.maildir("alice")).count(), 50);
    daemon.stop();
}

#[test]
fn the_same_at_a_server_by_its_special_use() {
    let more =
        "namespace inbox {\n  mailbox Rubbish {\n    special_use = \\Junk\n    auto = create\n  }\n}\n";
    let dovecot = Dovecot::start_with(&[LOGIN, ("home-alice", "home secret")], more);
    let rspamd = FakeRspamd::start(honest);
    let mut source = Corpus::at(&dovecot.maildir("alice"));
    source.add("", 20);
    for mail in mixed(10) {
        dovecot.deliver("alice", &mail.body);
    }
    let mut daemon = Daemon::new("");
    let secret = daemon.path().join("etc/there.secret");
    fs::write(&secret, "home secret\n").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    daemon.settings(&format!(
        "{}[destination.there.imap]\nserver = {{ host = \"127.0.0.1\", port = {}, security = \"none\" }}\n\
         login = \"home-{{local}}\"\npassword = {{ file = \"there.secret\" }}\n",
        settings(rspamd.port, ""),
        dovecot.imap
    ));
    let account =
        imap_migrate(NAME, "alice", dovecot.imap, LOGIN, "").replace("migrate]", "poll]\napply_spam = true");
    daemon.define("alice", &account.replace("agreed = true", "agreed = true\ndestination = \"there\""));
    daemon.start();
    assert_eq!(daemon.poll(NAME)["imported"], 30);
    let tree = Tree::read(&dovecot.maildir("home-alice"));
    assert_eq!(folder(&tree, ".Rubbish"), shas(mixed(10).iter().filter(|mail| is_spam(&mail.body))));
    assert!(tree.folders[".Rubbish"].iter().all(|message| message.keywords.contains("$Junk")));
    assert_eq!(tree.folders[""].len(), 28);
    assert!(!tree.folders.contains_key(".Junk"));
    for mail in mixed(15).into_iter().skip(10) {
        dovecot.deliver("alice", &mail.body);
    }
    assert_eq!(daemon.poll(NAME)["imported"], 5);
    assert_eq!(Tree::read(&dovecot.maildir("home-alice")).folders[".Rubbish"].len(), 3);
    assert_eq!(daemon.poll(NAME)["imported"], 0);
    daemon.stop();
}

#[test]
fn spam_goes_past_the_filter() {
    let lmtp = FakeLmtp::start(ALL, |_, _| {});
    let rspamd = FakeRspamd::start(honest);
    let pop3 = FakePop3::start(KNOWS, mixed(20), |_, _| {});
    let mut daemon = Daemon::new("");
    let path = daemon.path().join("mail/{local}/Beside");
    daemon.settings(&format!(
        "{}[destination.there.lmtp]\nhost = \"127.0.0.1\"\nport = {}\n[destination.there.maildir]\npath = {path:?}\n\
         [destination.alone.lmtp]\nhost = \"127.0.0.1\"\nport = {}\n",
        settings(rspamd.port, ""),
        lmtp.port,
        lmtp.port
    ));
    let account = |name: &str, to: &str| {
        pop3_poll(name, "alice", pop3.port, LOGIN, "apply_filter = true\napply_spam = true")
            .replace("agreed = true", &format!("agreed = true\ndestination = {to:?}"))
    };
    daemon.define("alice", &account(NAME, "there"));
    daemon.define("alone", &account("alone", "alone"));
    daemon.start();
    assert_eq!(daemon.poll(NAME)["imported"], 20);
    assert_eq!(lmtp.bodies().len(), 16);
    assert!(lmtp.bodies().iter().all(|body| !is_spam(body)));
    let tree = Tree::read(&daemon.path().join("mail/alice/Beside"));
    assert_eq!((tree.folders[".Junk"].len(), tree.count()), (4, 4));
    assert_eq!(daemon.listed("alone")["state"], "invalid");
    daemon.stop();
}

#[test]
fn a_large_message_is_judged_and_handed_over_in_little_memory() {
    let lmtp = FakeLmtp::start("PIPELINING 8BITMIME", |_, _| {});
    let rspamd = FakeRspamd::start(honest);
    let line = "From the middle of a long message, again and again and again.\r\n";
    let large =
        Mail { uidl: b"large".to_vec(), body: line.repeat(40 * 1024 * 1024 / line.len()).into_bytes() };
    let body = large.body.clone();
    let pop3 = FakePop3::start(KNOWS, vec![large], |_, _| {});
    let mut daemon = Daemon::new("");
    let path = daemon.path().join("mail/{local}/Beside");
    daemon.settings(&format!(
        "{}[destination.there.lmtp]\nhost = \"127.0.0.1\"\nport = {}\n[destination.there.maildir]\npath = {path:?}\n",
        settings(rspamd.port, "max_size = \"none\""),
        lmtp.port
    ));
    let account = pop3_poll(NAME, "alice", pop3.port, LOGIN, "apply_filter = true\napply_spam = true");
    daemon.define("alice", &account.replace("agreed = true", "agreed = true\ndestination = \"there\""));
    daemon.start();
    assert_eq!(daemon.poll(NAME)["imported"], 1);
    assert!(lmtp.bodies() == [body.clone()] && rspamd.asked()[0].body == body, "octet for octet");
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid().unwrap())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak = peak.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024;
    eprintln!("{peak} MiB at most");
    assert!(peak < 100, "{peak} MiB");
    daemon.stop();
}

/// What an rspamd may do instead of judging, and words of what is made of it.
fn habits() -> Vec<(&'static str, Box<Hook>)> {
    let raw = |octets: &'static [u8]| move |_: &Asked| Some(octets.to_vec());
    vec![
        ("status 500", Box::new(raw(b"HTTP/1.1 500 Internal\r\nContent-Length: 0\r\n\r\n"))),
        ("status 403", Box::new(raw(b"HTTP/1.1 403 Unauthorized\r\nContent-Length: 2\r\n\r\n{}"))),
        ("its answer is none", Box::new(raw(b"+OK POP3 ready\r\n"))),
        ("its answer is none", Box::new(raw(b""))),
        ("its answer is none", Box::new(raw(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{\"action\":"))),
        (
            "its answer is none",
            Box::new(raw(
                b"HTTP/1.1 200 OK\r\nContent-Length: 22\r\nContent-Length: 21\r\n\r\n{\"action\":\"no action\"}",
            )),
        ),
        ("its answer is none", Box::new(raw(b"HTTP/1.1 100 Continue\r\n\r\n"))),
        ("names no action", Box::new(|_: &Asked| json("not json at all"))),
        ("names no action", Box::new(|_: &Asked| json("{\"action\":7}"))),
        ("names no action", Box::new(|_: &Asked| action("make coffee"))),
        ("its answer is none", Box::new(|_: &Asked| json(&"x".repeat(3 << 20)))),
        ("no answer within", Box::new(|_: &Asked| None)),
    ]
}

#[test]
fn what_cannot_be_judged_waits_at_the_source() {
    for (words, habit) in habits() {
        let bench = Bench::new("timeout = \"1s\"", mixed(12), habit);
        let run = bench.poll();
        assert_eq!(run["result"], "failed", "{words}: {run}");
        assert!(run["error"].as_str().is_some_and(|error| error.contains(words)), "{words}: {run}");
        let account = bench.daemon.account(NAME);
        assert_eq!((&account["state"], &account["consecutive_failures"]), (&"enabled".into(), &0.into()));
        assert_eq!(
            (bench.tree().count(), bench.pop3.mails().len()),
            (0, 12),
            "nothing came, nothing is gone"
        );
        assert!(bench.rspamd.asked().len() <= 12, "nobody is asked for ever");
        bench.rspamd.habit(honest);
        let run = bench.poll();
        assert_eq!((&run["imported"], &run["deleted"]), (&12.into(), &12.into()), "{words}: {run}");
        let tree = bench.tree();
        assert_eq!((tree.folders[""].len(), tree.folders[".Junk"].len()), (10, 2), "{words}");
    }
}

#[test]
fn or_it_passes_and_is_told() {
    let all = mixed(12);
    for (words, habit) in habits() {
        let bench = Bench::new("timeout = \"1s\"\nwhen_away = \"pass\"", all.clone(), habit);
        let run = bench.poll();
        assert_eq!(
            (&run["result"], &run["imported"], &run["deleted"]),
            (&"ok".into(), &12.into(), &12.into()),
            "{words}: {run}"
        );
        let note = run["note"].as_str().unwrap();
        assert!(
            note.contains("12 messages came without being judged") && note.contains(words),
            "{words}: {note}"
        );
        let tree = bench.tree();
        assert_eq!(folder(&tree, ""), shas(all.iter()));
        assert!(!tree.folders.contains_key(".Junk"), "no folder is made for nothing");
    }
}

/// One connection after the other, each for 25 questions: whichever is closed while it waits costs nothing.
#[test]
fn connections_are_kept_for_as_long_as_they_live() {
    let bench = Bench::new("", mixed(400), |asked| {
        // What comes first is no answer yet.
        Some([b"HTTP/1.1 100 Continue\r\n\r\n".to_vec(), honest(asked)?].concat())
    });
    bench.rspamd.keeps(25);
    let run = bench.poll();
    assert_eq!((&run["result"], &run["imported"]), (&"ok".into(), &400.into()), "{run}");
    let tree = bench.tree();
    assert_eq!((tree.folders[""].len(), tree.folders[".Junk"].len()), (320, 80));
    let connections = bench.rspamd.connections();
    assert!((16..=60).contains(&connections), "{connections} connections for 400 questions");
}

#[test]
fn what_nobody_can_judge_does_not_wait_for_ever() {
    let bench = Bench::new("", mixed(6), |asked| match is_spam(&asked.body) {
        true => Some(b"HTTP/1.1 413 Too large\r\nContent-Length: 0\r\n\r\n".to_vec()),
        false => honest(asked),
    });
    let run = bench.poll();
    assert_eq!((&run["result"], &run["imported"]), (&"ok".into(), &6.into()), "{run}");
    assert!(
        run["note"].as_str().is_some_and(|note| note.contains("1 message came without being judged")),
        "{run}"
    );
    assert_eq!(bench.tree().folders[""].len(), 6);
}

#[test]
fn the_source_need_not_give_what_nobody_judges() {
    let bench =
        Bench::new("", mails(2500), |_| Some(b"HTTP/1.1 500 Internal\r\nContent-Length: 0\r\n\r\n".to_vec()));
    let run = bench.poll();
    assert!(run["error"].as_str().is_some_and(|error| error.contains("status 500")), "{run}");
    let given = bench.pop3.said().iter().filter(|line| line.starts_with("RETR")).count();
    assert!(given <= 2000 && bench.rspamd.asked().len() < 20, "{given} were fetched");
    bench.rspamd.habit(honest);
    assert_eq!(bench.poll()["imported"], 2500);
}

#[test]
fn nobody_listens() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let pop3 = FakePop3::start(KNOWS, mails(5), |_, _| {});
    let mut daemon = Daemon::new(&settings(port, ""));
    daemon.define("alice", &pop3_poll(NAME, "alice", pop3.port, LOGIN, "apply_spam = true"));
    daemon.start();
    daemon.ctl(&["poll", NAME]).code(1).says("nobody listens");
    let skipped = daemon.show(NAME)["skipped"].as_array().unwrap().clone();
    assert_eq!(skipped.len(), 5);
    assert!(skipped[0]["reason"].as_str().unwrap().contains("the next run tries again"), "{skipped:?}");
    let rspamd = FakeRspamd::start(honest);
    daemon.stop();
    daemon.settings(&settings(rspamd.port, ""));
    daemon.start();
    assert_eq!(daemon.poll(NAME)["imported"], 5);
    daemon.stop();
}

#[test]
fn what_is_asked_and_what_counts() {
    let large = Mail { uidl: b"large".to_vec(), body: [vec![b'x'; 200_000], b"\r\n".to_vec()].concat() };
    let all: Vec<Mail> = mails(6).into_iter().chain([large]).collect();
    let bench = Bench::new("minimum = \"reject\"\nmax_size = \"100KB\"", all.clone(), |asked| {
        let text = String::from_utf8_lossy(&asked.body).into_owned();
        let actions = ["no action", "greylist", "add header", "rewrite subject", "reject", "soft reject"];
        let number = (1..=6).find(|n| text.contains(&format!("number {n}\r\n"))).unwrap();
        action(actions[number - 1])
    });
    assert_eq!(bench.poll()["imported"], 7);
    let tree = bench.tree();
    assert_eq!(folder(&tree, ".Junk"), BTreeSet::from([sha(&all[4].body)]));
    let asked = bench.rspamd.asked();
    assert_eq!(asked.len(), 6, "what is too large is not asked about");
    for asked in &asked {
        assert!(asked.head.starts_with("POST /checkv2 HTTP/1.1\r\n"), "{}", asked.head);
        assert!(asked.head.contains("\r\nRcpt: alice@example.com\r\n"), "{}", asked.head);
        assert!(all.iter().any(|mail| mail.body == asked.body), "octet for octet");
    }
}

#[test]
fn a_password_is_sent_and_not_told() {
    let rspamd = FakeRspamd::start(|asked| {
        if asked.head.contains("\r\nPassword: very secret indeed\r\n") {
            return honest(asked);
        }
        Some(b"HTTP/1.1 403 Unauthorized\r\nContent-Length: 0\r\n\r\n".to_vec())
    });
    let pop3 = FakePop3::start(KNOWS, mails(3), |_, _| {});
    let mut daemon = Daemon::new("");
    let secret = daemon.path().join("etc/rspamd.secret");
    fs::write(&secret, "very secret indeed\n").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    daemon.settings(&format!(
        "[spam]\nrspamd = {{ host = \"127.0.0.1\", port = {}, password = {{ file = \"rspamd.secret\" }} }}\n",
        rspamd.port
    ));
    daemon.define("alice", &pop3_poll(NAME, "alice", pop3.port, LOGIN, "apply_spam = true"));
    daemon.start();
    assert_eq!(daemon.poll(NAME)["imported"], 3);
    daemon.stop();
    assert!(!daemon.log().contains("very secret"), "{}", daemon.log());
}

#[test]
fn kill_after_kill_nothing_is_lost_or_doubled() {
    let all = mixed(200);
    let mut bench = Bench::new("", all.clone(), |asked| {
        std::thread::sleep(Duration::from_millis(2));
        honest(asked)
    });
    for _ in 0..12 {
        let before = bench.rspamd.asked().len();
        bench.daemon.ctl(&["poll", NAME, "--no-wait"]);
        eventually("some were judged", Duration::from_secs(60), || {
            Some(()).filter(|()| {
                bench.rspamd.asked().len() > before + 15 || bench.daemon.account(NAME)["running"] == false
            })
        });
        bench.daemon.kill();
        bench.daemon.start();
    }
    assert_eq!(bench.poll()["result"], "ok");
    let tree = bench.tree();
    assert_eq!(tree.count(), 200);
    assert_eq!(folder(&tree, ".Junk"), shas(all.iter().filter(|mail| is_spam(&mail.body))));
    assert_eq!(folder(&tree, ""), shas(all.iter().filter(|mail| !is_spam(&mail.body))));
}
