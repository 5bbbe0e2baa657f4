//! The real `mailhauld` in a temporary directory, spoken to with the real `mailhaulctl`. Nothing here waits
//! for a fixed time: every wait has a condition and a deadline. `MAILHAUL_KEEP=1` keeps the directory.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "each test uses its part of the helper"
)]

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Gid, Group, Pid, Uid, chown, getgid};
use serde_json::Value;

/// The daemon must answer within this.
const READY: Duration = Duration::from_secs(30);
/// The daemon must be out this long after SIGTERM.
const OUT: Duration = Duration::from_secs(10);
/// No command of the client may take longer.
const COMMAND: Duration = Duration::from_secs(300);

/// Asks `probe` until it has an answer.
pub fn eventually<T>(what: &str, limit: Duration, mut probe: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + limit;
    loop {
        if let Some(answer) = probe() {
            return answer;
        }
        assert!(Instant::now() < until, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Where a test's random numbers begin: the same for everybody, or what `MAILHAUL_SEED` says.
pub fn seed(what: &str) -> u64 {
    let seed = std::env::var("MAILHAUL_SEED").map_or(20_261_128, |text| text.parse().unwrap());
    eprintln!("{what}: MAILHAUL_SEED={seed}");
    seed
}

/// What a command said.
#[derive(Debug, Clone)]
pub struct Answer {
    pub command: String,
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Answer {
    /// Every JSON value on standard output, in order.
    pub fn replies(&self) -> Vec<Value> {
        serde_json::Deserializer::from_str(&self.out)
            .into_iter::<Value>()
            .map(|reply| reply.unwrap_or_else(|e| panic!("not JSON ({e}): {self:?}")))
            .collect()
    }

    /// The last JSON value on standard output.
    pub fn json(&self) -> Value {
        self.replies().pop().unwrap_or_else(|| panic!("no JSON at all: {self:?}"))
    }

    /// Demands an exit status.
    #[track_caller]
    pub fn code(self, code: i32) -> Self {
        assert_eq!(self.code, code, "exit status of: {self:?}");
        self
    }

    /// Demands words on standard error.
    #[track_caller]
    pub fn says(self, words: &str) -> Self {
        let heard = self.err.to_lowercase().contains(&words.to_lowercase());
        assert!(heard, "nothing of {words:?} on standard error of: {self:?}");
        self
    }
}

/// A daemon with its own settings, definitions, state and mailboxes.
pub struct Daemon {
    dir: Option<tempfile::TempDir>,
    path: PathBuf,
    settings: String,
    language: String,
    destination: String,
    state: PathBuf,
    user: Option<(u32, u32)>,
    environment: Vec<(String, String)>,
    child: Option<Child>,
}

impl Daemon {
    /// Settings besides `[daemon]` and `[destination.default]`; nothing is started yet.
    pub fn new(settings: &str) -> Daemon {
        let dir = tempfile::Builder::new().prefix("mailhaul-").tempdir().unwrap();
        let path = dir.path().to_owned();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        for below in ["etc/accounts.d", "etc/servers.d", "mail"] {
            fs::create_dir_all(path.join(below)).unwrap();
        }
        Daemon {
            destination: format!("{}/mail/{{local}}/Maildir", path.display()),
            state: path.join("state"),
            dir: Some(dir),
            path,
            settings: settings.to_owned(),
            language: "en".to_owned(),
            user: None,
            environment: Vec::new(),
            child: None,
        }
    }

    /// A daemon with one more destination, `there`: the server at `port`; `login` is how it logs in.
    pub fn homing(port: u16, login: &str, password: &str) -> Daemon {
        let daemon = Daemon::new(&format!(
            "[destination.there.imap]\nserver = {{ host = \"127.0.0.1\", port = {port}, security = \"none\" }}\n\
             {login}\npassword = {{ file = \"there.secret\" }}\n"
        ));
        write_private(&daemon.path.join("etc/there.secret"), &format!("{password}\n"));
        daemon
    }

    /// More settings, from the next start on.
    pub fn more_settings(&mut self, settings: &str) {
        self.settings.insert_str(0, settings);
    }

    /// The language of notices.
    pub fn language(&mut self, language: &str) {
        language.clone_into(&mut self.language);
    }

    /// Another place for mailboxes.
    pub fn destination(&mut self, template: &str) {
        template.clone_into(&mut self.destination);
    }

    /// Another state directory.
    pub fn state_directory(&mut self, path: &Path) {
        path.clone_into(&mut self.state);
    }

    /// Other settings, from the next start on.
    pub fn settings(&mut self, settings: &str) {
        settings.clone_into(&mut self.settings);
    }

    /// The settings as they are, changed, from the next start on.
    pub fn rewrite_settings(&mut self, change: impl FnOnce(&str) -> String) {
        self.settings = change(&self.settings);
    }

    /// Another user, from the next start on; only root can.
    pub fn run_as(&mut self, uid: u32, gid: u32) {
        self.user = Some((uid, gid));
    }

    /// Variables of its environment, from the next start on, instead of those given before.
    pub fn environment(&mut self, variables: Vec<(String, String)>) {
        self.environment = variables;
    }

    /// The temporary directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The mailbox of `local@example.com`.
    pub fn maildir(&self, local: &str) -> PathBuf {
        PathBuf::from(self.destination.replace("{local}", local))
    }

    /// Writes `accounts.d/NAME.toml`.
    pub fn define(&self, name: &str, text: &str) {
        write_private(&self.path.join("etc/accounts.d").join(format!("{name}.toml")), text);
    }

    /// Writes `servers.d/NAME.toml`.
    pub fn define_server(&self, name: &str, text: &str) {
        write_private(&self.path.join("etc/servers.d").join(format!("{name}.toml")), text);
    }

    fn write_settings(&self) -> PathBuf {
        let group = Group::from_gid(getgid()).unwrap().map_or("root".to_owned(), |g| g.name);
        // Most tests count what came from the source.
        let notices = if self.settings.contains("[notices]") { "" } else { "[notices]\nto_member = false\n" };
        let text = format!(
            "[daemon]\nstate_directory = {:?}\ncontrol_socket = {:?}\ncontrol_group = {group:?}\n\
             language = {:?}\nallow_private_hosts = true\n\n[destination.default.maildir]\npath = {:?}\n\n{}\n{notices}",
            self.state,
            self.socket(),
            self.language,
            self.destination,
            self.settings
        );
        let file = self.path.join("etc/mailhaul.toml");
        fs::write(&file, text).unwrap();
        if let Some((uid, gid)) = self.user {
            own(&self.path, uid, gid);
        }
        file
    }

    fn socket(&self) -> PathBuf {
        self.path.join("control")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let settings = self.write_settings();
        let mut command = Command::new(self.binary(env!("CARGO_BIN_EXE_mailhauld")));
        command.arg("--config").arg(settings).args(arguments).current_dir("/");
        for variable in ["NOTIFY_SOCKET", "LISTEN_FDS", "STATE_DIRECTORY", "RUNTIME_DIRECTORY"] {
            command.env_remove(variable);
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        if let Some((uid, gid)) = self.user {
            command.uid(uid).gid(gid);
        }
        command
    }

    /// Another user may not be able to reach the build directory.
    fn binary(&self, built: &str) -> PathBuf {
        if self.user.is_none() {
            return PathBuf::from(built);
        }
        let copy = self.path.join(Path::new(built).file_name().unwrap());
        if !copy.exists() {
            install(Path::new(built), &copy);
        }
        copy
    }

    /// Starts the daemon without waiting for it.
    pub fn spawn(&mut self) {
        self.spawn_with(&["--log", "stderr"]);
    }

    /// Starts `mailhauld` with these arguments; what it says goes into the log.
    pub fn spawn_with(&mut self, arguments: &[&str]) {
        assert!(self.child.is_none(), "it runs already");
        let mut command = self.command(arguments);
        let log = OpenOptions::new().create(true).append(true).open(self.path.join("log")).unwrap();
        command.stdout(log.try_clone().unwrap()).stderr(log);
        self.child = Some(command.spawn().unwrap());
    }

    /// Starts the daemon and waits until it answers; how long that took.
    pub fn start(&mut self) -> Duration {
        let begun = Instant::now();
        self.spawn();
        self.ready();
        begun.elapsed()
    }

    /// Waits until the daemon answers.
    pub fn ready(&mut self) {
        let until = Instant::now() + READY;
        loop {
            if let Some(status) = self.child.as_mut().and_then(|child| child.try_wait().unwrap()) {
                self.child = None;
                panic!("mailhauld ended with {status} instead of starting\n{}", self.log_tail(60));
            }
            let answer = self.ctl_within(READY, &["status", "--json"]);
            if answer.code == 0 {
                return;
            }
            assert!(Instant::now() < until, "no answer within {READY:?}: {answer:?}\n{}", self.log_tail(60));
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Whether the daemon has ended by itself, or was never started.
    pub fn has_ended(&mut self) -> bool {
        let ended = self.child.as_mut().is_none_or(|child| child.try_wait().unwrap().is_some());
        if ended {
            self.child = None;
        }
        ended
    }

    /// The daemon's process, if it runs.
    pub fn pid(&self) -> Option<Pid> {
        self.child.as_ref().map(|child| Pid::from_raw(i32::try_from(child.id()).unwrap()))
    }

    /// SIGTERM, and out within ten seconds.
    pub fn stop(&mut self) -> ExitStatus {
        kill(self.pid().expect("it runs"), Signal::SIGTERM).unwrap();
        let mut child = self.child.take().unwrap();
        let begun = Instant::now();
        loop {
            if let Some(status) = child.try_wait().unwrap() {
                return status;
            }
            if begun.elapsed() > OUT {
                child.kill().unwrap();
                child.wait().unwrap();
                panic!("still there {OUT:?} after SIGTERM\n{}", self.log_tail(60));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// `kill -9`
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            child.wait().unwrap();
        }
    }

    /// SIGHUP
    pub fn hang_up(&self) {
        kill(self.pid().expect("it runs"), Signal::SIGHUP).unwrap();
    }

    /// Runs the client.
    pub fn ctl(&self, arguments: &[&str]) -> Answer {
        self.ctl_within(COMMAND, arguments)
    }

    /// Runs the client, which must not take longer.
    pub fn ctl_within(&self, limit: Duration, arguments: &[&str]) -> Answer {
        run(self.client(arguments), limit)
    }

    /// Runs the client with something on its standard input.
    pub fn ctl_told(&self, input: &str, arguments: &[&str]) -> Answer {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(input.as_bytes()).unwrap();
        file.rewind().unwrap();
        run_told(self.client(arguments), file.into(), COMMAND)
    }

    /// The client, not started yet.
    pub fn client(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mailhaulctl"));
        command.env_remove("MAILHAUL_SOCKET").arg("--socket").arg(self.socket()).args(arguments);
        command
    }

    /// Runs `mailhauld` with these arguments until it ends by itself: `--check`, `--once`.
    pub fn run(&self, arguments: &[&str]) -> Answer {
        run(self.command(arguments), COMMAND)
    }

    /// `show NAME`, whole.
    #[track_caller]
    pub fn show(&self, name: &str) -> Value {
        self.ctl(&["--json", "show", name]).code(0).json()
    }

    /// The account as `show` has it.
    #[track_caller]
    pub fn account(&self, name: &str) -> Value {
        self.show(name)["account"].clone()
    }

    /// The account as `list` has it.
    #[track_caller]
    pub fn listed(&self, name: &str) -> Value {
        let list = self.ctl(&["--json", "list"]).code(0).json();
        let accounts = list["accounts"].as_array().expect("accounts").clone();
        accounts.into_iter().find(|a| a["name"] == name).unwrap_or_else(|| panic!("no {name} in {list}"))
    }

    /// The migration as `show` has it.
    #[track_caller]
    pub fn migration(&self, name: &str) -> Value {
        self.show(name)["migration"].clone()
    }

    /// Waits until the migration is in one of these states.
    #[track_caller]
    pub fn migration_in(&self, name: &str, states: &[&str], limit: Duration) -> Value {
        let until = Instant::now() + limit;
        loop {
            let migration = self.migration(name);
            if migration["state"].as_str().is_some_and(|state| states.contains(&state)) {
                return migration;
            }
            let log = || self.log_tail(40);
            assert!(Instant::now() < until, "not in {states:?} within {limit:?}: {migration:#}\n{}", log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Polls, waits, demands success, and that single messages that failed are told; returns the run.
    #[track_caller]
    pub fn poll(&self, name: &str) -> Value {
        let answer = self.ctl(&["poll", name]);
        let run = self.account(name)["last_run"].clone();
        assert_eq!(run["result"], "ok", "{run}\n{answer:?}\n{}", self.log_tail(40));
        tells_how_it_ended(&answer, name, &run);
        run
    }

    /// Starts a migration, waits, demands completion, numbers that add up, and that single messages that failed
    /// are told; returns it.
    #[track_caller]
    pub fn migrate(&self, name: &str) -> Value {
        let answer = self.ctl(&["start", name, "--wait"]);
        let migration = self.migration(name);
        assert_eq!(migration["state"], "completed", "{answer:?}\n{migration:#}\n{}", self.log_tail(40));
        adds_up(&migration);
        tells_what_failed(&answer, name, &migration["messages_failed"]);
        migration
    }

    /// The daemon's log.
    pub fn log(&self) -> String {
        fs::read(self.path.join("log"))
            .map_or_else(|_| String::new(), |text| String::from_utf8_lossy(&text).into_owned())
    }

    /// Its last lines.
    pub fn log_tail(&self, lines: usize) -> String {
        let log = self.log();
        let all: Vec<&str> = log.lines().collect();
        let tail = all.iter().skip(all.len().saturating_sub(lines));
        tail.fold("--- the daemon's log\n".to_owned(), |sum, line| sum + line + "\n")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("{}", self.log_tail(60));
        }
        if std::env::var_os("MAILHAUL_KEEP").is_some()
            && let Some(dir) = self.dir.take()
        {
            eprintln!("kept: {}", dir.keep().display());
        }
    }
}

/// Exit status 0 and silence, or 1 and one line that counts them.
#[track_caller]
pub fn tells_what_failed(answer: &Answer, name: &str, failed: &Value) {
    let line = match failed.as_u64().expect("a number") {
        0 => String::new(),
        1 => format!("mailhaulctl: {name}: 1 message failed; 'mailhaulctl show {name}' lists them, "),
        many => {
            format!("mailhaulctl: {name}: {many} messages failed; 'mailhaulctl show {name}' lists them, ")
        }
    };
    assert_eq!(answer.code, i32::from(!line.is_empty()), "{answer:?}");
    assert!(
        answer.err.starts_with(&line) && answer.err.lines().count() <= 1,
        "{line:?} is not in {answer:?}"
    );
    assert_eq!(line.is_empty(), answer.err.is_empty(), "{answer:?}");
}

/// The same of a run that may have left a part of its work for the next one.
#[track_caller]
pub fn tells_how_it_ended(answer: &Answer, name: &str, run: &Value) {
    if run["unfinished"] == false {
        return tells_what_failed(answer, name, &run["ledger"]["failed"]);
    }
    let note = run["note"].as_str().expect("it says why");
    assert!(answer.code == 1 && answer.err.contains(note), "{answer:?}");
}

/// `messages_total = messages_done + messages_skipped + messages_failed`
#[track_caller]
pub fn adds_up(migration: &Value) {
    let number = |key: &str| migration[key].as_u64().unwrap_or_else(|| panic!("no {key}: {migration:#}"));
    assert_eq!(
        number("messages_total"),
        number("messages_done") + number("messages_skipped") + number("messages_failed"),
        "the numbers do not add up: {migration:#}"
    );
}

/// A POP3 account that is polled; `more` goes into `[account.poll]`.
pub fn pop3_poll(name: &str, local: &str, port: u16, login: (&str, &str), more: &str) -> String {
    format!("{}\n[account.poll]\n{more}\n", account(name, local, "pop3", port, login))
}

/// An IMAP account that is migrated; `more` goes into `[account.migrate]`.
pub fn imap_migrate(name: &str, local: &str, port: u16, login: (&str, &str), more: &str) -> String {
    format!("{}\n[account.migrate]\n{more}\n", account(name, local, "imap", port, login))
}

/// The same account, brought to the destination `there`.
pub fn there(definition: &str) -> String {
    definition.replace("agreed = true", "agreed = true\ndestination = \"there\"")
}

fn account(name: &str, local: &str, protocol: &str, port: u16, (user, password): (&str, &str)) -> String {
    format!(
        "[[account]]\nname = {name:?}\nmember = \"{local}@example.com\"\nagreed = true\n\n\
         [account.source]\nprotocol = {protocol:?}\n\
         server = {{ host = \"127.0.0.1\", port = {port}, security = \"none\" }}\n\
         username = {user:?}\npassword = {{ value = {password:?} }}\n"
    )
}

/// Puts a program where a test runs it. A process of its own writes it: what this one has open for writing
/// goes to whatever another test starts in that moment, and a program that anybody writes to does not run.
#[track_caller]
pub fn install(from: &Path, to: &Path) {
    let said = Command::new("install").args(["-m", "755", "--"]).args([from, to]).output().unwrap();
    assert!(said.status.success(), "{to:?}: {said:?}");
}

/// The same for a script with these lines.
#[track_caller]
pub fn install_script(lines: &str, to: &Path) {
    let mut text = tempfile::NamedTempFile::new().unwrap();
    text.write_all(format!("#!/bin/sh\n{lines}").as_bytes()).unwrap();
    install(text.path(), to);
}

/// Runs a command with a deadline.
pub fn run(command: Command, limit: Duration) -> Answer {
    run_told(command, Stdio::null(), limit)
}

fn run_told(mut command: Command, input: Stdio, limit: Duration) -> Answer {
    let words = command.get_args().map(|a| a.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ");
    let (mut out, mut err) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
    command.stdin(input);
    command.stdout(out.try_clone().unwrap()).stderr(err.try_clone().unwrap());
    let mut child = command.spawn().unwrap();
    let until = Instant::now() + limit;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if Instant::now() > until {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("still running after {limit:?}: {words}\n{}{}", text(&mut out), text(&mut err));
        }
        std::thread::sleep(Duration::from_millis(4));
    };
    Answer { command: words, code: status.code().unwrap_or(-1), out: text(&mut out), err: text(&mut err) }
}

fn text(file: &mut File) -> String {
    let mut all = Vec::new();
    file.rewind().unwrap();
    file.read_to_end(&mut all).unwrap();
    String::from_utf8_lossy(&all).into_owned()
}

fn write_private(path: &Path, text: &str) {
    let mut file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

/// Gives everything to a user, but not the place for mailboxes.
fn own(path: &Path, uid: u32, gid: u32) {
    if path.ends_with("mail") {
        return;
    }
    chown(path, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))).unwrap();
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            own(&entry.unwrap().path(), uid, gid);
        }
    }
}
