//! A program of the administrator's that makes a mailbox: one JSON object on its standard input, success or
//! failure by its exit status. It refuses to wait longer than a minute, and puts nothing into its arguments.

use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;
use serde::Serialize;
use zeroize::Zeroizing;

use super::Wanted;
use crate::failure::{Failure, Kind};
use crate::secret::Secret;

const PATIENCE: Duration = Duration::from_secs(60);
/// Octets that are kept of what it says.
const SAID: u64 = 64 << 10;

#[derive(Serialize)]
struct Order<'o> {
    member: String,
    local: &'o str,
    domain: &'o str,
    password: &'o str,
    first_name: &'o str,
    last_name: &'o str,
}

pub(super) fn run(words: &[String], wanted: &Wanted, password: &Secret) -> Result<(), Failure> {
    run_for(words, wanted, password, PATIENCE)
}

fn run_for(words: &[String], wanted: &Wanted, password: &Secret, patience: Duration) -> Result<(), Failure> {
    let (program, arguments) = words.split_first().ok_or_else(|| failure("the command is empty"))?;
    let failed = |what: String| failure(&format!("{program} {what}"));
    let order = Order {
        member: wanted.member.to_string(),
        local: &wanted.member.local,
        domain: &wanted.member.domain,
        password: std::str::from_utf8(password.expose()).unwrap_or_default(),
        first_name: &wanted.first_name,
        last_name: &wanted.last_name,
    };
    let mut input = Zeroizing::new(Vec::with_capacity(4096));
    serde_json::to_writer(&mut *input, &order).map_err(|e| failed(format!("cannot be told: {e}")))?;
    input.push(b'\n');
    let mut child = Command::new(program)
        .args(arguments)
        .env_remove("NOTIFY_SOCKET")
        .env_remove("WATCHDOG_USEC")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // A group of its own, so that what it started ends with it.
        .process_group(0)
        .spawn()
        .map_err(|e| failed(format!("cannot be started: {e}")))?;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let deadline = Instant::now() + patience;
    let (status, out, err) = std::thread::scope(|scope| {
        // One that does not read its input or talks without end must not hold us up.
        scope.spawn(|| stdin.map(|mut stdin| stdin.write_all(&input)));
        let out = scope.spawn(|| said(stdout));
        let err = scope.spawn(|| said(stderr));
        let status = wait(&mut child, deadline);
        (status, out.join().unwrap_or_default(), err.join().unwrap_or_default())
    });
    let last =
        |text: &str| text.lines().rev().map(str::trim).find(|line| !line.is_empty()).map(str::to_owned);
    let words = last(&err).or_else(|| last(&out)).unwrap_or_default();
    // What it repeats of its input goes into the log of nobody.
    let words = if order.password.is_empty() { words } else { words.replace(order.password, "***") };
    let words: String = words.chars().filter(|c| !c.is_control()).take(300).collect();
    let words = if words.is_empty() { " and says nothing".to_owned() } else { format!(": {words}") };
    match status {
        Some(status) if status.success() => Ok(()),
        Some(status) => Err(failed(format!("failed ({status}){words}"))),
        None => Err(failed(format!("took longer than {} seconds{words}", patience.as_secs()))),
    }
}

fn failure(words: &str) -> Failure {
    Failure::new(
        Kind::Destination,
        format!("the mailbox was not made: {words}"),
        "run it by hand as the daemon's user",
    )
}

/// The first octets of what it says; the rest is read and forgotten.
fn said(from: Option<impl Read>) -> String {
    let Some(mut from) = from else { return String::new() };
    let mut octets = Vec::new();
    let _ = from.by_ref().take(SAID).read_to_end(&mut octets);
    let _ = std::io::copy(&mut from, &mut std::io::sink());
    String::from_utf8_lossy(&octets).into_owned()
}

/// Waits for it and then ends whatever it left behind in its group, which would hold our pipes open.
/// `None`: it took too long.
fn wait(child: &mut Child, deadline: Instant) -> Option<std::process::ExitStatus> {
    let pid = Pid::from_raw(i32::try_from(child.id()).ok()?);
    // As long as it is not waited for, its number is nobody else's.
    let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    let in_time = loop {
        match waitid(Id::Pid(pid), look) {
            Ok(WaitStatus::StillAlive) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Ok(WaitStatus::StillAlive) => break false,
            _ => break true,
        }
    };
    let _ = killpg(pid, Signal::SIGKILL);
    let status = child.wait().ok()?;
    in_time.then_some(status)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::account::Member;

    fn sh(script: &str, patience: u64) -> Result<(), Failure> {
        let member = Member { local: "bob".to_owned(), domain: "example.com".to_owned() };
        let (first_name, last_name) = ("Bob".to_owned(), "B".to_owned());
        let path = Some(PathBuf::from("/nowhere"));
        let wanted = Wanted { member, first_name, last_name, path };
        let words = ["/bin/sh", "-c", script].map(str::to_owned);
        run_for(&words, &wanted, &Secret::new(b"hunter2".to_vec()), Duration::from_millis(patience))
    }

    #[test]
    fn it_gets_one_object_and_its_last_line_is_shown() {
        let expected = r#"{"member":"bob@example.com","local":"bob","domain":"example.com","password":"hunter2","first_name":"Bob","last_name":"B"}"#;
        sh(&format!("read line; test \"$line\" = '{expected}'"), 20_000).unwrap();
        let failure =
            sh("cat >&2; echo one >&2; echo 'quota of hunter2 reached' >&2; exit 3", 20_000).unwrap_err();
        assert!(failure.words.contains("quota of *** reached") && failure.words.contains("3"), "{failure}");
        assert!(!failure.to_string().contains("hunter2"), "{failure}");
        let failure = sh("sleep 60 & echo waiting; sleep 60", 200).unwrap_err();
        assert!(failure.words.contains("took longer") && failure.words.contains("waiting"), "{failure}");
        sh("exec <&-; yes | head -c 300000; exit 0", 20_000).unwrap();
    }
}
