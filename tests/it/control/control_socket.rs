//! Callers at the control socket who send too much, too little, too often or never listen: they are dropped
//! with a line in the log, the daemon stays small, and everybody else is answered at once. And whoever may not
//! control the daemon is refused by every call.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "this is a test")]

#[path = "../../fuzz/src/control.rs"]
#[expect(dead_code, unreachable_pub, reason = "the fuzz target's own door is not used here")]
mod conversation;

use crate::helpers::daemon;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::helpers::daemon::{Daemon, eventually};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::Value;

const INFO: &[u8] = b"{\"method\":\"org.varlink.service.GetInfo\"}\0";
const DESCRIPTION: &[u8] = b"{\"method\":\"org.varlink.service.GetInterfaceDescription\",\
    \"parameters\":{\"interface\":\"io.mailhaul.Manager\"}}\0";
const WATCH: &[u8] =
    b"{\"method\":\"io.mailhaul.Manager.Watch\",\"more\":true,\"parameters\":{\"name\":null}}\0";
/// What a client may have to wait for its answer while others misbehave.
const AT_ONCE: Duration = Duration::from_secs(20);
/// MiB.
const SMALL: u64 = 100;

fn started() -> Daemon {
    let mut daemon = Daemon::new("");
    daemon.start();
    daemon
}

fn connect(daemon: &Daemon) -> UnixStream {
    UnixStream::connect(daemon.path().join("control")).unwrap()
}

/// Another client has its answer, and the daemon is small.
#[track_caller]
fn well(daemon: &Daemon) {
    let before = Instant::now();
    daemon.ctl_within(AT_ONCE, &["status"]).code(0);
    assert!(before.elapsed() < AT_ONCE);
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid().unwrap())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak = line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024;
    assert!(peak < SMALL, "{peak} MiB");
}

/// The log says why a caller of ours was dropped.
#[track_caller]
fn told(daemon: &Daemon, why: &str) {
    let uid = format!("uid {},", nix::unistd::getuid());
    eventually(why, Duration::from_secs(60), || {
        daemon.log().lines().any(|line| line.contains(why) && line.contains(&uid)).then_some(())
    });
}

/// Whether the daemon has closed this line; what it said before is taken.
fn closed(stream: &mut UnixStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let mut taken = [0; 4096];
    loop {
        match stream.read(&mut taken) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(e) => return e.kind() != ErrorKind::WouldBlock,
        }
    }
}

#[test]
fn two_hundred_mib_without_an_end() {
    let daemon = started();
    let mut stream = connect(&daemon);
    let block = vec![b'x'; 1 << 20];
    let mut sent = 0u64;
    for _ in 0..200 {
        if stream.write_all(&block).is_err() {
            break;
        }
        sent += 1;
        well(&daemon);
    }
    assert!(sent < 8, "{sent} MiB were taken");
    told(&daemon, "its request is too long");
    // A long request that has an end is answered; nobody has so many accounts.
    let names = vec!["\"no-such-account\""; 40_000].join(",");
    let call = format!(
        "{{\"method\":\"io.mailhaul.Manager.Check\",\"more\":true,\"parameters\":{{\"names\":[{names}]}}}}\0"
    );
    let mut stream = connect(&daemon);
    stream.write_all(call.as_bytes()).unwrap();
    let mut answer = vec![0; 400];
    let octets = stream.read(&mut answer).unwrap();
    assert!(String::from_utf8_lossy(&answer[..octets]).contains("NoSuchAccount"), "{answer:?}");
    well(&daemon);
}

#[test]
fn ten_thousand_connections() {
    let daemon = started();
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard.min(12_000), hard).unwrap();
    // As many as this process may hold open, the others one after the other.
    let hold = usize::try_from(hard.min(12_000)).unwrap() - 500;
    let mut held = Vec::new();
    for n in 0..10_000 {
        let stream = connect(&daemon);
        if held.len() < hold {
            held.push(stream);
        }
        if n % 1_000 == 0 {
            well(&daemon);
        }
    }
    well(&daemon);
    told(&daemon, "another one needed its place");
    let open = held.iter_mut().filter_map(|stream| (!closed(stream)).then_some(())).count();
    assert!(open <= 64, "{open} are open");
    let lines = daemon.log().lines().filter(|line| line.contains("was dropped")).count();
    assert!(lines < 100, "{lines} lines in the log");
}

#[test]
fn whoever_is_busy_keeps_its_place_and_the_next_one_has_none() {
    let daemon = started();
    let mut watchers: Vec<UnixStream> = (0..64).map(|_| connect(&daemon)).collect();
    for stream in &mut watchers {
        stream.write_all(WATCH).unwrap();
        let mut first = [0; 1];
        stream.read_exact(&mut first).unwrap();
    }
    let mut one_more = connect(&daemon);
    assert!(
        one_more.write_all(INFO).is_err() || one_more.read(&mut [0; 100]).map_or(true, |octets| octets == 0)
    );
    told(&daemon, "too many are connected already");
    assert!(!watchers.iter_mut().any(closed));
    drop(watchers);
    // Their places are free as soon as they have gone.
    eventually("a place", Duration::from_secs(20), || (daemon.ctl(&["status"]).code == 0).then_some(()));
}

/// Takes half a minute: so long is an answer held for a caller that does not take it.
#[test]
fn half_a_request_and_an_answer_that_nobody_takes() {
    let daemon = started();
    let mut watcher = connect(&daemon);
    watcher.write_all(WATCH).unwrap();
    let mut halves: Vec<UnixStream> = (0..20).map(|_| connect(&daemon)).collect();
    for stream in &mut halves {
        stream.write_all(b"{\"method\":").unwrap();
    }
    let mut deaf = connect(&daemon);
    deaf.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    // Answers of some thousand octets each, until neither side takes any more.
    while deaf.write_all(&DESCRIPTION.repeat(20)).is_ok() {}
    well(&daemon);
    // A little now and then is not a request either.
    let begun = Instant::now();
    while !halves.iter_mut().all(closed) {
        assert!(begun.elapsed() < Duration::from_secs(60), "half a request is waited for");
        halves.iter_mut().for_each(|stream| drop(stream.write_all(b" ")));
        well(&daemon);
    }
    told(&daemon, "half a request");
    told(&daemon, "did not take its answer");
    well(&daemon);
    assert!(!closed(&mut watcher), "whoever waits for news may wait");
}

/// Every method of the interface, with parameters that it accepts.
fn methods() -> Vec<String> {
    let answer = conversation::answers(DESCRIPTION, false);
    let text = answer[0]["parameters"]["description"].as_str().unwrap().to_owned();
    let parameters = |head: &str| {
        let inside = head.split_once('(').unwrap().1.split(')').next().unwrap();
        let value = |kind: &str| match kind {
            "bool" => "true",
            "string" => "\"alice-old\"",
            kind if kind.starts_with('?') => "null",
            kind if kind.starts_with("[]") => "[]",
            kind => panic!("a parameter of the kind {kind}"),
        };
        let pairs = inside.split(',').filter_map(|part| part.split_once(':'));
        pairs
            .map(|(name, kind)| format!("\"{}\":{}", name.trim(), value(kind.trim())))
            .collect::<Vec<_>>()
            .join(",")
    };
    let heads = text.lines().filter_map(|line| line.trim().strip_prefix("method "));
    heads
        .map(|head| {
            let name = head.split('(').next().unwrap().trim();
            format!(
                "{{\"method\":\"io.mailhaul.Manager.{name}\",\"more\":true,\"parameters\":{{{}}}}}\0",
                parameters(head)
            )
        })
        .collect()
}

#[test]
fn every_method_asks_who_calls() {
    let methods = methods();
    assert!(methods.len() >= 15, "{methods:?}");
    for call in &methods {
        let answers = conversation::answers(call.as_bytes(), false);
        assert_eq!(answers.len(), 1, "{call}: {answers:?}");
        assert_eq!(answers[0]["error"], "io.mailhaul.Manager.NotPermitted", "{call}: {answers:?}");
        // And it is not for something else that it is refused.
        let answers = conversation::answers(call.as_bytes(), true);
        assert!(answers.iter().all(|answer| answer["error"] != "io.mailhaul.Manager.NotPermitted"), "{call}");
        let known =
            |answer: &Value| !answer["error"].as_str().is_some_and(|e| e.starts_with("org.varlink.service"));
        assert!(answers.iter().all(known), "{call}: {answers:?}");
    }
    assert_eq!(conversation::answers(INFO, false)[0]["parameters"]["product"], "mailhauld");
}

/// What is said, and the error and its parameters that are answered; the line stays open.
#[test]
fn a_call_that_does_not_fit_has_an_error_for_its_answer() {
    let daemon = started();
    let mut stream = connect(&daemon);
    let mut ask = |calls: &str| -> Value {
        stream.write_all(calls.as_bytes()).unwrap();
        let (mut answer, mut octet) = (Vec::new(), [0]);
        loop {
            stream.read_exact(&mut octet).unwrap_or_else(|e| panic!("{calls}: {e}"));
            if octet == [0] {
                return serde_json::from_slice(&answer).unwrap();
            }
            answer.extend(octet);
        }
    };
    for (call, error, parameter) in [
        (r#""Manager.Nope","parameters":{}"#, "MethodNotFound", r#"{"method":"io.mailhaul.Manager.Nope"}"#),
        (r#""Manager.Nope""#, "MethodNotFound", r#"{"method":"io.mailhaul.Manager.Nope"}"#),
        (r#""Other.X","parameters":{}"#, "InterfaceNotFound", r#"{"interface":"io.mailhaul.Other"}"#),
        (r#""Manager.ShowAccount","parameters":{}"#, "InvalidParameter", r#"{"parameter":"name"}"#),
        (r#""Manager.ShowAccount""#, "InvalidParameter", r#"{"parameter":"name"}"#),
        (r#""Manager.ShowAccount","parameters":{"name":5}"#, "InvalidParameter", r#"{"parameter":"name"}"#),
        (
            r#""Manager.ListAccounts","parameters":{"state":5}"#,
            "InvalidParameter",
            r#"{"parameter":"state"}"#,
        ),
        (r#""Manager.Pause","parameters":[]"#, "InvalidParameter", r#"{"parameter":"parameters"}"#),
        (
            r#""Manager.Check","parameters":{"names":["a",1]},"more":true"#,
            "InvalidParameter",
            r#"{"parameter":"names"}"#,
        ),
        (r#""Manager.Check","parameters":{"names":[]}"#, "ExpectedMore", "{}"),
        (r#""Manager.Watch","parameters":{"name":null},"more":false"#, "ExpectedMore", "{}"),
    ] {
        let answer = ask(&format!("{{\"method\":\"io.mailhaul.{}}}\0", &call[1..]));
        assert_eq!(answer["error"], format!("org.varlink.service.{error}"), "{call}: {answer}");
        assert_eq!(answer["parameters"], serde_json::from_str::<Value>(parameter).unwrap(), "{call}");
    }
    let answer = ask("{\"method\":\"org.varlink.service.GetInterfaceDescription\",\"parameters\":{}}\0");
    assert_eq!(answer["parameters"]["parameter"], "interface", "{answer}");
    // Several at once have their answers in order, and one that wants none has none.
    let both = "{\"method\":\"a.B\",\"oneway\":true}\0{\"method\":\"org.varlink.service.GetInfo\"}\0\
                {\"method\":\"a.B\"}\0{\"method\":\"io.mailhaul.Manager.Queue\"}\0";
    assert_eq!(ask(both)["parameters"]["product"], "mailhauld");
    assert_eq!(ask("")["error"], "org.varlink.service.InterfaceNotFound");
    assert!(ask("")["parameters"]["migrations"].is_array());
}

/// Only root can become somebody else; in all other cases the socket itself is closed to others, and
/// `every_method_asks_who_calls` has looked behind it.
#[test]
fn somebody_else_is_refused_even_where_the_socket_is_open() {
    let daemon = started();
    let socket = daemon.path().join("control");
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o007, 0, "closed to others");
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o666)).unwrap();
    let client = daemon.path().join("mailhaulctl");
    daemon::install(Path::new(env!("CARGO_BIN_EXE_mailhaulctl")), &client);
    for verb in ["status", "list", "queue", "history", "reload"] {
        let mut command = Command::new(&client);
        command.arg("--socket").arg(&socket).arg(verb).uid(65_534).gid(65_534);
        let answer = daemon::run(command, AT_ONCE);
        assert_ne!(answer.code, 0, "{answer:?}");
        assert!(answer.err.contains("may not control"), "{answer:?}");
    }
}

/// What the daemon runs and reads it does with its own rights: the control group does not have these.
#[test]
fn the_control_group_names_no_command_and_no_file() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let daemon = started();
    let root = daemon.path();
    let (client, mark, secret) = (root.join("mailhaulctl"), root.join("mark"), root.join("secret"));
    daemon::install(Path::new(env!("CARGO_BIN_EXE_mailhaulctl")), &client);
    fs::write(&secret, "hunter2\n").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    let own = ["command", "file", "ca_file"].map(|key| match key {
        "command" => format!("password.command=/usr/bin/touch,{}", mark.display()),
        "file" => format!("source.password.file={}", secret.display()),
        _ => format!("server.ca_file={}", secret.display()),
    });
    let others =
        ["password.credential=x", "new_mailbox.password.command=/bin/true", "server.oauth2.key_file=/x"];
    let list = |name: &str, text: String| {
        let file = root.join(name);
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        file.display().to_string()
    };
    let columns = "member,server,username,\"password.file\"\n";
    let bad = list("bad.csv", format!("{columns}c@example.com,127.0.0.1:1,c,{}\n", secret.display()));
    let good =
        list("good.csv", "member,server,username,password\nd@example.com,127.0.0.1:1,d,hunter3\n".to_owned());
    let ask = |uid: u32, words: &[&str]| {
        let mut command = Command::new(&client);
        command.arg("--socket").arg(root.join("control")).args(words).uid(uid);
        if uid != 0 {
            command.gid(nix::unistd::getgid().as_raw());
        }
        daemon::run(command, AT_ONCE)
    };
    let account = ["member=a@example.com", "agreed=true", "protocol=imap", "username=a", "migrate"];
    let server = "server=127.0.0.1:1";
    let add = |uid: u32, name: &str, more: &[&str]| {
        ask(uid, &[&["add", name], &account[..], &[server], more].concat())
    };
    let bulk = |uid: u32, file: &str, more: &[&str]| {
        ask(uid, &[&["bulk", "add", file, "--format", "mailhaul"], more].concat())
    };
    const WORDS: &str = "only root and the daemon's user may name a command, a file or a credential; give the \
                         password itself (password=- reads it from standard input)";
    add(0, "theirs", &[&own[1]]).code(0);
    for key in own.iter().map(String::as_str).chain(others) {
        add(65_534, "a", &[key]).code(4).says(WORDS);
        ask(65_534, &["set", "theirs", key]).code(4).says(WORDS);
        bulk(65_534, &good, &["--set", key]).code(4).says(WORDS);
    }
    bulk(65_534, &bad, &[]).code(4).says(WORDS);
    // What they do not know goes to no server of theirs.
    for key in ["server=127.0.0.1:2", "source.server.host=localhost", "server.security=none"] {
        ask(65_534, &["set", "theirs", key]).code(4).says("only from who knows it");
    }
    // All else they may, and to take such a key away.
    ask(65_534, &["set", "theirs", "migrate.into=Old", "server.ca_file="]).code(0);
    bulk(65_534, &good, &[]).code(0);
    assert_eq!(daemon.ctl(&["--json", "list"]).json()["accounts"].as_array().unwrap().len(), 2);
    add(0, "own", &[&own[0]]).code(0);
    bulk(0, &bad, &[]).code(0);
    assert!(!mark.exists(), "nothing was run");
    let log = fs::read_to_string(root.join("state/audit.log")).unwrap();
    for act in ["add", "set", "bulk-add"] {
        let refused =
            |line: &&str| line.contains(&format!("\"act\":\"{act}\"")) && line.contains("only root");
        assert!(log.lines().filter(refused).count() >= 6, "{act}: {log}");
    }
}
