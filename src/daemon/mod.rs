//! `mailhauld`: wires the rooms, minds the signals, and stops in the right order. It refuses to run on
//! settings that cannot be used, and tells every mistake in them at once.

mod once;
mod orders;
mod serve;
mod signals;

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use crate::audit::Audit;
use crate::config::{Complaint, Environment, Loaded, Provider, own_definitions};
use crate::definitions::settle;
use crate::engine::{Means, Slots, Tokens};
use crate::failure::Failure;
use crate::journal::Journal;
use crate::net::{Connector, Quirks};
use crate::sealed::Vault;
use crate::settings::Settings;
use crate::telemetry::{self, Log};

/// sysexits.h: something was found in an unconfigured or misconfigured state.
const EX_CONFIG: u8 = 78;

/// The command line, as typed.
#[derive(Debug, Clone)]
pub struct Options {
    /// The settings file.
    pub config: PathBuf,
    /// What to do.
    pub task: Task,
    /// Where the log goes.
    pub log: Log,
}

/// What a `mailhauld` is started for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// To stay.
    Serve,
    /// To say what is wrong with the files.
    Check,
    /// To poll and migrate everything once.
    Once,
}

/// The whole program.
pub fn run(options: &Options) -> ExitCode {
    // First of all, while there is one thread: it forgets the variables that told of the socket.
    let listener = crate::systemd::control_listener();
    let handed = listener.as_ref().and_then(|listener| listener.try_clone().ok());
    let code = run_with(options, listener);
    if let Some(listener) = handed.filter(|_| code != ExitCode::SUCCESS) {
        turn_away(&listener);
    }
    code
}

/// Whoever waits at the socket unit would have us started again at once, and again, until systemd gives it up.
fn turn_away(listener: &UnixListener) {
    while listener.accept().is_ok() {}
}

fn run_with(options: &Options, listener: Option<UnixListener>) -> ExitCode {
    keep_secrets();
    let environment = Environment::from_env();
    let loaded = match crate::config::load(&options.config, &environment) {
        Ok(loaded) => loaded,
        Err(complaints) => {
            tell(&complaints);
            say("mailhauld: the configuration cannot be used; 'mailhauld --check' says the same again");
            return ExitCode::from(EX_CONFIG);
        }
    };
    if options.task == Task::Check {
        return check(&loaded);
    }
    if let Err(words) = telemetry::start(options.log) {
        say(&format!("mailhauld: the log cannot be started: {words}"));
    }
    // Mail and progress are nobody else's business.
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o077));
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => {
            say(&format!("mailhauld: cannot start: {e}"));
            return ExitCode::FAILURE;
        }
    };
    let result = match options.task {
        Task::Once => runtime.block_on(once::once(loaded, environment)),
        _ => runtime.block_on(serve::serve(&options.config, loaded, environment, listener)),
    };
    runtime.shutdown_timeout(std::time::Duration::from_millis(500));
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            tracing::error!("{failure}");
            say(&format!("mailhauld: {failure}"));
            ExitCode::FAILURE
        }
    }
}

/// Passwords are in our memory while they are used: it goes into no core file, and no other process of the
/// same user may look into it. Neither is asked for by anything that we do ourselves (prctl(2), proc(5)).
fn keep_secrets() {
    use nix::sys::prctl::set_dumpable;
    use nix::sys::resource::{Resource, setrlimit};
    let done = set_dumpable(false).and_then(|()| setrlimit(Resource::RLIMIT_CORE, 0, 0));
    if let Err(e) = done {
        say(&format!("mailhauld: warning: our memory is not kept from others: {}", e.desc()));
    }
}

fn check(loaded: &Loaded) -> ExitCode {
    tell(&loaded.complaints);
    for warning in &loaded.warnings {
        say(&format!("mailhauld: warning: {warning}"));
    }
    let bad = loaded.complaints.len();
    if bad > 0 {
        say(&format!(
            "mailhauld: {} definitions are good, {bad} mistakes are in the others",
            loaded.accounts.len()
        ));
        return ExitCode::from(EX_CONFIG);
    }
    let _ = writeln!(std::io::stdout(), "{} definitions, no mistakes", loaded.accounts.len());
    ExitCode::SUCCESS
}

fn tell(complaints: &[Complaint]) {
    for complaint in complaints {
        say(&complaint.to_string());
    }
}

/// Before there is a log, and where a person waits for an answer.
fn say(words: &str) {
    let _ = writeln!(std::io::stderr(), "{words}");
}

/// Opens the store below the state directory.
fn open_journal(settings: &Settings) -> Result<(Journal, Option<String>), Failure> {
    let opened = Journal::open(&settings.daemon.state_directory.join("state"))?;
    if let Some(words) = &opened.rebuilt {
        tracing::error!("{words}");
    }
    Ok((opened.journal, opened.rebuilt))
}

/// What stays for the life of the daemon.
#[derive(Debug, Clone)]
struct Kept {
    environment: Environment,
    journal: Journal,
    vault: Vault,
    tokens: Arc<Tokens>,
    quirks: Arc<Quirks>,
    audit: Audit,
    /// Where definitions that come in are kept.
    definitions: PathBuf,
}

impl Kept {
    /// Opens everything below the state directory; also says whether the store had to be rebuilt.
    fn open(settings: &Settings, environment: Environment) -> Result<(Kept, Option<String>), Failure> {
        let (journal, rebuilt) = open_journal(settings)?;
        let state = &settings.daemon.state_directory;
        let vault = Vault::open(state, environment.credentials_directory.as_deref())?;
        let (tokens, quirks, audit) = (Arc::default(), Arc::default(), Audit::new(state));
        let definitions = own_definitions(settings);
        Ok((Kept { environment, journal, vault, tokens, quirks, audit, definitions }, rebuilt))
    }

    /// Ends a change of definitions that was broken off; what cannot be ended now is told, and tried again.
    async fn settle(&self, loaded: &Loaded) -> Result<(), Failure> {
        let broken = loaded.broken.iter().filter_map(|broken| broken.name.clone());
        let defined = loaded.accounts.iter().map(|account| account.name.clone()).chain(broken).collect();
        settle(&self.definitions, &self.vault, &self.journal, &defined).await
    }

    fn means(
        &self,
        settings: Settings,
        providers: Arc<BTreeMap<String, Provider>>,
    ) -> Result<Means, Failure> {
        let connector = Connector::new(settings.daemon.allow_private_hosts)?.with_quirks(&self.quirks);
        let Kept { environment, journal, vault, tokens, audit, .. } = self.clone();
        let slots = Slots::of(&settings);
        Ok(Means { settings, providers, environment, connector, journal, vault, tokens, audit, slots })
    }
}

/// Complaints about definitions, for the log; the good ones run on.
fn log_complaints(complaints: &[Complaint], warnings: &[String]) {
    for complaint in complaints {
        tracing::error!("{complaint}");
    }
    for warning in warnings {
        tracing::warn!("{warning}");
    }
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}
