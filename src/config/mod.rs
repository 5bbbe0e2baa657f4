//! From files to what is meant: settings, server templates and account definitions, every mistake with its
//! place. One bad definition never takes the good ones down. The room refuses to start on settings or
//! server files that cannot be used, to keep what it read, and to know what runs.

mod accounts;
mod census;
mod complaint;
mod destination;
mod draft;
mod filters;
mod names;
mod notices;
mod oauth2;
mod password;
mod policy;
mod provisioning;
mod servers;
mod settings_file;
mod source;
mod spam;
#[cfg(test)]
mod tests;
mod text;
mod units;
mod walk;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::de::DeTable;

use crate::account::{Account, Member, Origin, Protocol};
use crate::settings::Settings;

pub use complaint::Complaint;
pub use draft::{Draft, Drafts, NotAKey};
pub use password::read_secret;
pub use servers::Provider;

use text::Text;
use walk::Sheet;

/// The destination of a definition that names none.
pub const DEFAULT_DESTINATION: &str = "default";

/// A member's address as somebody typed it.
///
/// # Errors
/// What is wrong, and what would be right.
pub fn member(written: &str) -> Result<Member, (String, String)> {
    names::member(written)
}

/// A folder as somebody typed it, level by level.
///
/// # Errors
/// What is wrong, and what would be right.
pub fn folder(written: &str) -> Result<Vec<String>, (String, String)> {
    names::folder(written).map_err(|(what, mend)| (format!("the folder {what}"), mend))
}

/// What the service manager says about directories.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Environment {
    /// `$STATE_DIRECTORY`
    pub state_directory: Option<PathBuf>,
    /// `$RUNTIME_DIRECTORY`
    pub runtime_directory: Option<PathBuf>,
    /// `$CREDENTIALS_DIRECTORY`
    pub credentials_directory: Option<PathBuf>,
}

impl Environment {
    /// Reads the three variables; the first of several directories counts (systemd.exec(5)).
    pub fn from_env() -> Self {
        Environment {
            state_directory: first(std::env::var_os("STATE_DIRECTORY")),
            runtime_directory: first(std::env::var_os("RUNTIME_DIRECTORY")),
            credentials_directory: first(std::env::var_os("CREDENTIALS_DIRECTORY")),
        }
    }
}

fn first(variable: Option<OsString>) -> Option<PathBuf> {
    std::env::split_paths(&variable?).next().filter(|path| path.is_absolute())
}

/// A definition, or a whole file of them, that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// Its name, as far as it can be told.
    pub name: Option<String>,
    /// The member, as far as it can be told.
    pub member: Option<String>,
    /// The protocol, as far as it can be told.
    pub protocol: Option<Protocol>,
    /// `poll` or `migrate`, as far as it can be told.
    pub mode: Option<&'static str>,
    /// Where it stands.
    pub origin: Origin,
    /// Why it cannot be used; never empty.
    pub complaints: Vec<Complaint>,
}

/// Everything that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    /// Good definitions, by file and by place in it.
    pub accounts: Vec<Account>,
    /// The others.
    pub broken: Vec<Broken>,
    /// Every complaint about account and server files, those inside `broken` too.
    pub complaints: Vec<Complaint>,
    /// What is allowed and still should be known.
    pub warnings: Vec<String>,
    /// The names of all server templates.
    pub servers: BTreeSet<String>,
    /// Providers by the domains of their addresses.
    pub providers: Arc<BTreeMap<String, Provider>>,
}

/// A file of definitions as it is to become.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposed {
    /// Its place, below the state directory.
    pub file: PathBuf,
    /// What is to be in it; `None`: it goes.
    pub text: Option<String>,
}

/// Reads the settings, `servers.d` and `accounts.d` beside them and `accounts.d` below the state directory.
///
/// # Errors
/// Every complaint about every file, if the settings or a whole server file cannot be used. A single
/// template that is wrong takes only the accounts down that name it.
pub fn load(config_file: &Path, env: &Environment) -> Result<Loaded, Vec<Complaint>> {
    load_with(config_file, env, |_| Ok(None))
}

/// As [`load`], as if one file of definitions were already as it is to become. It is read last, so that the
/// complaints about a name that is taken, or about too many accounts of a member, are about it. What it
/// becomes may depend on the state directory and on the server templates.
///
/// # Errors
/// As [`load`], or what `propose` says.
pub fn load_with(
    config_file: &Path,
    env: &Environment,
    propose: impl FnOnce(&Surroundings<'_>) -> Result<Option<Proposed>, Vec<Complaint>>,
) -> Result<Loaded, Vec<Complaint>> {
    let complaints = RefCell::new(Vec::new());
    let read = read_settings(config_file, Text::read(config_file), env, &complaints);
    let mut fatal = !complaints.borrow().is_empty();

    let mut templates = servers::built_in(&complaints);
    for file in census::files(&settings_file::beside(config_file, "servers.d"), &complaints) {
        fatal |= !read_servers(Text::read(&file), &complaints, &mut templates);
    }
    let mut census = census::Census::new(read.settings.polling.max_accounts_per_member);
    let own = own_definitions(&read.settings);
    let surroundings =
        Surroundings { settings: &read.settings, servers: templates.keys().cloned().collect() };
    let proposed = if fatal { None } else { propose(&surroundings)? };
    let servers = surroundings.servers;
    let against = accounts::Against {
        settings: &read.settings,
        destinations: &read.destinations,
        templates: &templates,
        env,
        own,
    };
    for file in account_files(config_file, &read.settings, &complaints) {
        if proposed.as_ref().is_none_or(|proposed| proposed.file != file) {
            census.take(&file, Text::read(&file), &against);
        }
    }
    if let Some(Proposed { file, text: Some(text) }) = proposed {
        census.take(&file, Ok(Text::new(&file, text)), &against);
    }
    let own = against.own;
    let mut loaded =
        loaded(read.settings, census, complaints, (servers, servers::providers(&templates)), fatal)?;
    // Where it will stand when all files are read again.
    let place = |account: &Account| (account.origin.file.starts_with(&own), account.origin.clone());
    loaded.accounts.sort_by_cached_key(place);
    Ok(loaded)
}

/// What a new definition meets.
#[derive(Debug)]
pub struct Surroundings<'s> {
    /// The settings.
    pub settings: &'s Settings,
    /// The names of all server templates.
    pub servers: BTreeSet<String>,
}

/// Where the definitions are that `mailhaulctl` wrote.
pub fn own_definitions(settings: &Settings) -> PathBuf {
    settings.daemon.state_directory.join("accounts.d")
}

/// Reads files that are in memory: one of each kind, as they would lie in `/etc/mailhaul`.
#[derive(Debug)]
pub struct Reader {
    built_in: servers::Templates,
}

impl Default for Reader {
    fn default() -> Self {
        Reader { built_in: servers::built_in(&RefCell::new(Vec::new())) }
    }
}

impl Reader {
    /// The settings, a file of server templates and a file of definitions, in any octets.
    ///
    /// # Errors
    /// As [`load`].
    pub fn read(&self, settings: &[u8], servers: &[u8], accounts: &[u8]) -> Result<Loaded, Vec<Complaint>> {
        let complaints = RefCell::new(Vec::new());
        let env = Environment::default();
        let text = |name: &str, octets: &[u8]| Text::from_octets(Path::new(name), octets.to_vec());
        let file = Path::new("/etc/mailhaul/mailhaul.toml");
        let read = read_settings(file, Text::from_octets(file, settings.to_vec()), &env, &complaints);
        let mut fatal = !complaints.borrow().is_empty();
        let mut templates = self.built_in.clone();
        fatal |= !read_servers(text("/etc/mailhaul/servers.d/a.toml", servers), &complaints, &mut templates);
        let mut census = census::Census::new(read.settings.polling.max_accounts_per_member);
        let own = own_definitions(&read.settings);
        let against = accounts::Against {
            settings: &read.settings,
            destinations: &read.destinations,
            templates: &templates,
            env: &env,
            own,
        };
        let name = "/etc/mailhaul/accounts.d/a.toml";
        census.take(Path::new(name), text(name, accounts), &against);
        let servers = templates.keys().cloned().collect();
        loaded(read.settings, census, complaints, (servers, servers::providers(&templates)), fatal)
    }
}

fn loaded(
    settings: Settings,
    census: census::Census,
    complaints: RefCell<Vec<Complaint>>,
    (servers, providers): (BTreeSet<String>, BTreeMap<String, Provider>),
    fatal: bool,
) -> Result<Loaded, Vec<Complaint>> {
    let (accounts, broken) = census.counted();
    let mut complaints = complaints.into_inner();
    complaints.extend(broken.iter().flat_map(|broken| broken.complaints.iter().cloned()));
    if fatal {
        return Err(complaints);
    }
    let warnings = warnings(&accounts);
    let providers = Arc::new(providers);
    Ok(Loaded { settings, accounts, broken, complaints, warnings, servers, providers })
}

fn read_settings(
    file: &Path,
    text: Result<Text, Complaint>,
    env: &Environment,
    complaints: &RefCell<Vec<Complaint>>,
) -> settings_file::Read {
    let text = text.unwrap_or_else(|complaint| {
        complaints.borrow_mut().push(complaint);
        Text::new(file, String::new())
    });
    let (root, errors) = DeTable::parse_recoverable(&text.text);
    let sheet = Sheet { text: &text, shift: 0, complaints };
    census::syntax(sheet, &errors);
    let read = settings_file::read(&sheet.root(root.get_ref()), env);
    in_order(complaints, 0);
    read
}

/// Returns whether the file as a whole can be used.
fn read_servers(
    text: Result<Text, Complaint>,
    complaints: &RefCell<Vec<Complaint>>,
    templates: &mut servers::Templates,
) -> bool {
    let text = match text {
        Ok(text) => text,
        Err(complaint) => {
            complaints.borrow_mut().push(complaint);
            return false;
        }
    };
    let before = complaints.borrow().len();
    let (root, errors) = DeTable::parse_recoverable(&text.text);
    let sheet = Sheet { text: &text, shift: 0, complaints };
    census::syntax(sheet, &errors);
    servers::read(&sheet.root(root.get_ref()), templates);
    in_order(complaints, before);
    errors.is_empty()
}

fn in_order(complaints: &RefCell<Vec<Complaint>>, from: usize) {
    if let Some(new) = complaints.borrow_mut().get_mut(from..) {
        new.sort_by_key(|complaint| (complaint.line, complaint.column));
    }
}

fn account_files(
    config_file: &Path,
    settings: &Settings,
    complaints: &RefCell<Vec<Complaint>>,
) -> Vec<PathBuf> {
    let beside = settings_file::beside(config_file, "accounts.d");
    let own = own_definitions(settings);
    let same = matches!((beside.canonicalize(), own.canonicalize()), (Ok(a), Ok(b)) if a == b);
    let mut files = census::files(&beside, complaints);
    if !same {
        files.extend(census::files(&own, complaints));
    }
    files
}

/// One line however many accounts it concerns.
fn warnings(accounts: &[Account]) -> Vec<String> {
    let plain = accounts.iter().filter(|account| account.source.security == crate::account::Security::None);
    let plain: Vec<&str> = plain.map(|account| account.name.as_str()).collect();
    match plain.as_slice() {
        [] => Vec::new(),
        [one] => vec![format!("{one}: the password and the mail travel in plain text (security = \"none\")")],
        [first, ..] => vec![format!(
            "{} accounts, {first} among them: password and mail travel in plain text (security = \"none\")",
            plain.len()
        )],
    }
}
