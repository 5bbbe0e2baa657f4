//! Verbs against a daemon that answers from a script: what is asked, what is printed, the exit status.

use std::cell::RefCell;
use std::io::Write;
use std::path::Path;
use std::rc::Rc;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

#[derive(Clone, Default)]
struct Buffer(Rc<RefCell<Vec<u8>>>);

impl Buffer {
    fn text(&self) -> String {
        String::from_utf8(self.0.borrow().clone()).unwrap()
    }
}

impl Write for Buffer {
    fn write(&mut self, octets: &[u8]) -> std::io::Result<usize> {
        self.0.borrow_mut().extend_from_slice(octets);
        Ok(octets.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What a reader that went away looks like.
struct Gone;

impl Write for Gone {
    fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
        Err(std::io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

struct Seen {
    code: u8,
    out: String,
    err: String,
    calls: Vec<Value>,
}

/// Answers each call with the next list of replies; an empty list hangs up.
async fn serve(socket: &Path, script: Vec<Vec<Value>>) -> Vec<Value> {
    let listener = tokio::net::UnixListener::bind(socket).unwrap();
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut calls = Vec::new();
    for replies in script {
        let mut call = Vec::new();
        loop {
            match stream.read_u8().await {
                Ok(0) => break,
                Ok(octet) => call.push(octet),
                Err(_) => return calls,
            }
        }
        calls.push(serde_json::from_slice(&call).unwrap());
        if replies.is_empty() {
            return calls;
        }
        for reply in replies {
            let mut octets = serde_json::to_vec(&reply).unwrap();
            octets.push(0);
            stream.write_all(&octets).await.unwrap();
        }
    }
    calls
}

fn typed(socket: &Path, line: &[&str]) -> Args {
    let socket = socket.to_str().unwrap();
    Args::try_parse_from(["mailhaulctl", "--socket", socket].iter().chain(line)).unwrap()
}

fn play(script: Vec<Vec<Value>>, line: &[&str]) -> Seen {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("control");
    let args = typed(&socket, line);
    let (out, err) = (Buffer::default(), Buffer::default());
    let mut screen = Screen::onto(Box::new(out.clone()), Box::new(err.clone()), false, args.json);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (code, calls) = runtime.block_on(async {
        let daemon = serve(&socket, script);
        let client = async {
            while !socket.exists() {
                tokio::task::yield_now().await;
            }
            run(args, &mut screen).await
        };
        tokio::join!(client, daemon)
    });
    Seen { code, out: out.text(), err: err.text(), calls }
}

fn reply(parameters: &Value) -> Value {
    json!({ "parameters": parameters })
}

fn more(parameters: &Value) -> Value {
    json!({ "parameters": parameters, "continues": true })
}

fn error(name: &str, parameters: &Value) -> Value {
    json!({ "error": format!("io.mailhaul.Manager.{name}"), "parameters": parameters })
}

fn to_json(value: impl serde::Serialize) -> Value {
    serde_json::to_value(value).unwrap()
}

fn polled(name: &str, result: Option<&str>, words: Option<&str>) -> Value {
    use crate::control::api::{Polled, Run};
    let run = result.map(|result| Run {
        result: result.to_owned(),
        imported: 3,
        error: words.map(str::to_owned),
        ..Run::default()
    });
    to_json(Polled { name: name.to_owned(), run, ..Polled::default() })
}

fn progress(name: &str, state: &str, done: u64, skipped: u64) -> Value {
    use crate::control::api::{Migration, Progress};
    let migration = Migration {
        name: name.to_owned(),
        state: state.to_owned(),
        messages_total: Some(10),
        messages_done: done,
        messages_skipped: skipped,
        error: (state == "failed").then(|| "the server refused the password; set a new one".to_owned()),
        ..Migration::default()
    };
    to_json(Progress { migrations: vec![migration], polls: Vec::new() })
}

#[test]
fn errors_of_the_daemon_have_their_exit_status() {
    for (refusal, code, words) in [
        (
            error("NoSuchAccount", &json!({"name": "x"})),
            5,
            "mailhaulctl: x: no such account; see mailhaulctl list\n",
        ),
        (error("NotPermitted", &json!({"what": "no", "mend": "be root"})), 4, "mailhaulctl: no; be root\n"),
        (
            error("Refused", &json!({"name": "x", "what": "is a\nmigration", "mend": "start it"})),
            1,
            "mailhaulctl: x: is a\\nmigration; start it\n",
        ),
        (
            error("Failed", &json!({"what": "full", "mend": "make space"})),
            1,
            "mailhaulctl: full; make space\n",
        ),
    ] {
        for line in [["poll", "x"], ["enable", "x"], ["show", "x"], ["start", "x"], ["check", "x"]] {
            let seen = play(vec![vec![refusal.clone()]], &line);
            assert_eq!((seen.code, seen.err.as_str()), (code, words), "{line:?}");
            assert_eq!(seen.out, "");
        }
    }
}

#[test]
fn a_daemon_that_is_not_there_or_hangs_up_is_three() {
    let seen = play(vec![vec![]], &["status"]);
    assert_eq!(seen.code, 3);
    assert!(seen.err.contains("closed the connection") && seen.err.contains("; "), "{}", seen.err);
    let seen = play(
        vec![vec![json!({"error": "org.varlink.service.MethodNotFound", "parameters": {"method": "x"}})]],
        &["queue"],
    );
    assert_eq!(seen.code, 3, "{}", seen.err);

    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("none");
    let err = Buffer::default();
    let mut screen = Screen::onto(Box::new(Buffer::default()), Box::new(err.clone()), false, false);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    assert_eq!(runtime.block_on(run(typed(&socket, &["status"]), &mut screen)), 3);
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    assert_eq!(runtime.block_on(run(typed(&socket, &["status"]), &mut screen)), 3);
    assert_eq!(err.text().lines().count(), 2);
    assert!(err.text().contains("systemctl start mailhauld"));
}

#[test]
fn list_is_aligned_or_the_answer_itself() {
    use crate::control::api::{Account, Accounts};
    let account = |name: &str, reason: Option<&str>| Account {
        name: name.to_owned(),
        state: "enabled".to_owned(),
        reason: reason.map(str::to_owned),
        ..Account::default()
    };
    let accounts =
        Accounts { accounts: vec![account("a", None), account("long-name", Some("bad \x1b[31m"))] };
    let seen = play(vec![vec![reply(&to_json(&accounts))]], &["list", "--state", "enabled"]);
    assert_eq!(seen.code, 0);
    assert_eq!(seen.calls[0]["method"], "io.mailhaul.Manager.ListAccounts");
    assert_eq!(seen.calls[0]["parameters"]["state"], "enabled");
    let lines: Vec<&str> = seen.out.lines().collect();
    assert!(lines[0].starts_with("NAME       MEMBER  MODE  STATE "), "{}", seen.out);
    assert!(lines[2].ends_with("bad \\u{1b}[31m"), "{}", seen.out);
    let seen = play(vec![vec![reply(&to_json(&accounts))]], &["--json", "list"]);
    assert_eq!(serde_json::from_str::<Value>(&seen.out).unwrap(), to_json(&accounts));
    assert_eq!(seen.out.lines().count(), 1);
}

#[test]
fn show_and_queue_answer_in_json_with_the_fixed_fields() {
    use crate::control::api::{Migrations, Shown, Skipped};
    let shown = Shown { skipped: vec![Skipped::default()], ..Shown::default() };
    let seen = play(vec![vec![reply(&to_json(&shown))]], &["show", "x", "--json"]);
    let value: Value = serde_json::from_str(&seen.out).unwrap();
    for key in ["account", "migration", "folders", "skipped"] {
        assert!(value.get(key).is_some(), "{key}");
    }
    for verb in ["queue", "history"] {
        let seen = play(vec![vec![reply(&to_json(Migrations::default()))]], &[verb, "--json"]);
        assert_eq!((seen.code, seen.out.as_str()), (0, "{\"migrations\":[]}\n"));
    }
}

#[test]
fn poll_tells_each_result() {
    let script = || {
        vec![vec![
            more(&polled("a", None, None)),
            more(&polled("a", Some("ok"), None)),
            reply(&polled("b", Some("failed"), Some("wrong password; set a new one"))),
        ]]
    };
    let seen = play(script(), &["poll", "a", "b"]);
    assert_eq!(seen.code, 1);
    assert_eq!(seen.calls[0]["parameters"], json!({"names": ["a", "b"], "all": false, "wait": true}));
    assert!(seen.out.contains("a: 3 messages imported (0 B)\n"), "{}", seen.out);
    assert_eq!(seen.err, "mailhaulctl: b: wrong password; set a new one\n");
    let seen = play(script(), &["poll", "a", "b", "--json"]);
    assert_eq!((seen.code, seen.out.lines().count()), (1, 3));
    assert!(seen.out.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()));
    let seen = play(vec![vec![reply(&polled("a", None, None))]], &["poll", "a"]);
    assert_eq!(seen.code, 1, "no result came");
    let seen = play(vec![vec![reply(&polled("a", None, None))]], &["poll", "a", "--no-wait"]);
    assert_eq!(seen.code, 0);
    let seen = play(vec![vec![reply(&polled("a", Some("ok"), None))]], &["poll", "--all"]);
    assert_eq!(seen.code, 0);
}

#[test]
fn start_waits_for_the_end_and_counts_what_was_skipped() {
    for (state, skipped, code) in [
        ("completed", 0, 0),
        ("completed", 2, 0),
        ("failed", 0, 1),
        ("rolled-back", 0, 1),
        ("cancelled", 0, 1),
        ("paused", 0, 1),
    ] {
        let script = vec![vec![
            more(&progress("m", "running", 4, 0)),
            reply(&progress("m", state, 10 - skipped, skipped)),
        ]];
        let seen = play(script, &["start", "m", "--wait"]);
        assert_eq!(seen.code, code, "{state}");
        assert!(seen.out.contains("m running, 4/10 messages"), "{}", seen.out);
        assert_eq!(seen.out.contains("2 skipped"), skipped == 2, "{}", seen.out);
        assert_eq!(seen.err.is_empty(), code == 0, "{}", seen.err);
    }
    let seen = play(vec![vec![reply(&progress("m", "queued", 0, 0))]], &["start", "m", "--delta"]);
    assert_eq!((seen.code, seen.out.as_str()), (0, "m: queued\n"));
}

#[test]
fn check_fails_if_one_fails_or_is_forgotten() {
    use crate::control::api::Checked;
    let checked = |name: &str, ok| {
        to_json(Checked {
            name: name.to_owned(),
            ok,
            error: (!ok).then(|| "no such host".to_owned()),
            messages: Some(1),
            ..Checked::default()
        })
    };
    let seen = play(vec![vec![more(&checked("a", true)), reply(&checked("b", false))]], &["check"]);
    assert_eq!((seen.code, seen.out.as_str()), (1, "a: ready, 1 message\n"));
    assert_eq!(seen.err, "mailhaulctl: b: no such host; try again later\n");
    let seen = play(vec![vec![reply(&checked("a", true))]], &["check", "a"]);
    assert_eq!(seen.code, 0);
    let seen = play(vec![vec![reply(&checked("a", true))]], &["check", "a", "z"]);
    assert_eq!(seen.code, 1);
}

#[test]
fn switches_go_on_after_a_refusal() {
    let done = reply(&json!({"name": "b", "state": "cancelled"}));
    let script = vec![vec![error("NoSuchAccount", &json!({"name": "a"}))], vec![done]];
    let seen = play(script, &["cancel", "a", "b", "--keep"]);
    assert_eq!((seen.code, seen.out.as_str()), (5, "b: cancelled\n"));
    assert_eq!(seen.calls[1]["parameters"], json!({"name": "b", "keep": true}));
}

#[test]
fn reload_passes_complaints_on() {
    let answer = json!({"accounts": 2, "invalid": 1, "errors": ["a.toml:1:2: k: bad; good"]});
    let seen = play(vec![vec![reply(&answer)]], &["reload"]);
    assert_eq!((seen.code, seen.out.as_str()), (1, "2 good definitions, 1 invalid\n"));
    assert_eq!(seen.err, "mailhaulctl: a.toml:1:2: k: bad; good\n");
}

#[test]
fn watch_writes_a_line_for_each_change() {
    let same = progress("m", "running", 4, 0);
    let script = vec![vec![more(&same), more(&same), reply(&progress("m", "completed", 10, 0))]];
    let seen = play(script, &["watch"]);
    assert_eq!((seen.code, seen.out.lines().count()), (0, 2), "{}", seen.out);
}

#[test]
fn a_reader_that_goes_away_ends_nothing_loudly() {
    let mut screen = Screen::onto(Box::new(Gone), Box::new(Gone), false, false);
    screen.line("one");
    assert!(screen.closed());
    screen.line("two");
    screen.failed("x", None);
}

#[test]
fn completions_for_every_shell() {
    for shell in ["bash", "zsh", "fish"] {
        let out = Buffer::default();
        let mut screen = Screen::onto(Box::new(out.clone()), Box::new(Buffer::default()), false, false);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        assert_eq!(runtime.block_on(run(typed(Path::new("/x"), &["completions", shell]), &mut screen)), 0);
        assert!(out.text().contains("mailhaulctl"));
    }
}
