//! The daemon's settings as they are meant: checked, absolute, with defaults filled in.
//! Only `config` builds them from a file; nothing here reads one.

use std::collections::BTreeMap;
use std::fmt;
// Of `core`: an address, and no network behind it.
use core::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::account::{Auth, Fingerprint, Member, Patience, Protocol, Security, Source};
use crate::secret::SecretPlace;

/// Everything in `mailhaul.toml`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// `[daemon]`
    pub daemon: Daemon,
    /// `[polling]`
    pub polling: Polling,
    /// `[migrations]`
    pub migrations: Migrations,
    /// `[destination.NAME]`; never empty.
    pub destinations: BTreeMap<String, Destination>,
    /// `[spam]`
    pub spam: Spam,
    /// `[provisioning]`
    pub provisioning: Provisioning,
    /// `[notices]`
    pub notices: Notices,
    /// `[policy]`
    pub policy: Policy,
    /// `[discovery]`
    pub discovery: Discovery,
}

/// `[discovery]`
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Discovery {
    /// Who is asked for SRV records; none: this machine's name servers.
    pub name_servers: Vec<SocketAddr>,
}

/// `[notices]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notices {
    /// Into the member's inbox.
    pub to_member: bool,
    /// Administrators' addresses.
    pub to_admin: Vec<String>,
    /// Who takes messages to administrators.
    pub smtp: Smtp,
}

/// A submission or relay server (RFC 5321, RFC 6409).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Smtp {
    /// Its name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection is protected.
    pub security: Security,
    /// A private CA, in addition to the system's.
    pub ca_file: Option<PathBuf>,
    /// Login and password, where it wants them.
    pub login: Option<(String, SecretPlace)>,
    /// The sender's address; `None`: `mailhaul` at this machine.
    pub from: Option<String>,
}

impl Default for Smtp {
    fn default() -> Self {
        Smtp {
            host: "localhost".to_owned(),
            port: 25,
            security: Security::None,
            ca_file: None,
            login: None,
            from: None,
        }
    }
}

/// The language of notices.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Language {
    /// `en`
    #[default]
    English,
    /// `ko`
    Korean,
    /// `ja`
    Japanese,
}

/// `[spam]`: who judges mail for `apply_spam`, and what follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spam {
    /// Where rspamd listens.
    pub rspamd: Listener,
    /// Where its password is found, if it wants one.
    pub password: Option<SecretPlace>,
    /// What becomes of a message that rspamd cannot judge now.
    pub when_away: WhenAway,
    /// The mildest of rspamd's actions that makes a message spam.
    pub minimum: Action,
    /// Octets; a larger message is not judged. `None`: no limit.
    pub max_size: Option<u64>,
    /// For one judgement.
    pub timeout: Duration,
    /// The folder for spam, where none has that special use; level by level.
    pub folder: Vec<String>,
}

impl Default for Spam {
    fn default() -> Self {
        Spam {
            rspamd: Listener::Host {
                host: "localhost".to_owned(),
                port: 11333,
                security: Security::None,
                ca_file: None,
            },
            password: None,
            when_away: WhenAway::Delay,
            minimum: Action::AddHeader,
            max_size: Some(20 << 20),
            timeout: Duration::from_secs(30),
            folder: vec!["Junk".to_owned()],
        }
    }
}

/// What becomes of a message that cannot be judged now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenAway {
    /// It stays at the source until the next run.
    Delay,
    /// It comes without a judgement.
    Pass,
}

/// What rspamd advises, from the mildest on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// `add header`
    AddHeader,
    /// `rewrite subject`
    RewriteSubject,
    /// `reject`
    Reject,
}

/// `[provisioning]`
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Provisioning {
    /// What a new mailbox's password has to be like.
    pub password_rules: PasswordRules,
    /// What makes a mailbox; `None`: nothing but the directories of its Maildir.
    pub way: Option<Way>,
}

/// `password_rules`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PasswordRules {
    /// Characters at least.
    pub min_length: usize,
    /// A small letter.
    pub lower: bool,
    /// A capital letter.
    pub upper: bool,
    /// A digit or a special character.
    pub digit_or_special: bool,
}

impl Default for PasswordRules {
    fn default() -> Self {
        PasswordRules { min_length: 12, lower: true, upper: true, digit_or_special: true }
    }
}

/// What makes a missing mailbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// A line in a passwd-file of Dovecot.
    PasswdFile(PasswdFile),
    /// A program and its arguments.
    Command(Vec<String>),
}

/// `passwd_file`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PasswdFile {
    /// The file, absolute.
    pub path: PathBuf,
    /// How passwords are hashed in it.
    pub scheme: Scheme,
    /// The login, with `{member}`, `{local}` and `{domain}` still in it.
    pub user: String,
    /// Whom the mailbox belongs to; `None`: the field stays empty.
    pub uid: Option<u32>,
    /// Its group.
    pub gid: Option<u32>,
    /// The home, likewise with placeholders; empty: the field stays empty.
    pub home: String,
}

/// A password scheme, as `doveadm pw` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// `{ARGON2ID}` (RFC 9106)
    Argon2id,
    /// `{SHA512-CRYPT}`
    Sha512Crypt,
    /// `{BLF-CRYPT}`
    BlfCrypt,
}

/// `[policy]`
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// For every domain that says nothing else.
    pub all: Rules,
    /// `[policy.domain."x"]`, filled up from the former; in small letters.
    pub domains: BTreeMap<String, Rules>,
}

/// What is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Import from outside; without it secrets and progress are wiped.
    pub external_import: bool,
    /// Access is limited to designated addresses: nothing new is begun.
    pub designated_ips: bool,
    /// Uploads.
    pub upload: bool,
    /// Backups.
    pub backup: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Rules { external_import: true, designated_ips: false, upload: true, backup: true }
    }
}

impl Policy {
    /// What is allowed to the members of a domain.
    pub fn of(&self, domain: &str) -> Rules {
        self.domains.get(&domain.to_lowercase()).copied().unwrap_or(self.all)
    }
}

/// `[daemon]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Daemon {
    /// Where the store and the daemon's own definitions live.
    pub state_directory: PathBuf,
    /// The control socket.
    pub control_socket: PathBuf,
    /// The group whose members may control the daemon.
    pub control_group: String,
    /// The language of notices.
    pub language: Language,
    /// Whether sources may be on loopback and private addresses.
    pub allow_private_hosts: bool,
}

/// `[polling]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Polling {
    /// From the start of one poll to the start of the next; at least one second.
    pub interval: Duration,
    /// Polls at once, over all hosts; at least 1.
    pub concurrency: usize,
    /// Connections to one host at once; at least 1.
    pub per_host: usize,
    /// Definitions that one member may have; at least 1.
    pub max_accounts_per_member: usize,
    /// Octets; a larger message is skipped and reported. `None`: no limit.
    pub max_message_size: Option<u64>,
    /// Failed runs in a row that are still borne; one more switches the account off.
    pub max_failures: u32,
}

/// `[migrations]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migrations {
    /// Migrations at once; at least 1.
    pub concurrency: usize,
    /// Connections to one source for one migration; at least 1.
    pub connections: usize,
    /// What happens to the destination when a migration fails for good.
    pub on_failure: OnFailure,
    /// Without progress for so long, a migration fails for good.
    pub give_up_after: Duration,
    /// At so many of a hundred messages its member is told; 0: not.
    pub progress_notice: u64,
}

/// What happens to the destination when a migration fails for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFailure {
    /// It is put back as it was.
    Rollback,
    /// What came stays.
    Keep,
}

/// `[destination.NAME]`: one kind each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// `[destination.NAME.maildir]`
    Maildir {
        /// The Maildir++ root, absolute, with `{member}`, `{local}` and `{domain}` still in it.
        path: String,
    },
    /// Another server, or ours, by IMAP.
    Imap(Box<ImapDestination>),
    /// A server that files mail by each member's own rules.
    Lmtp(Box<LmtpDestination>),
}

impl Destination {
    /// Where mail goes by the member's own rules.
    pub fn lmtp(&self) -> Option<&LmtpDestination> {
        match self {
            Destination::Lmtp(lmtp) => Some(lmtp),
            _ => None,
        }
    }

    /// Where mail goes past those rules; `None`: nowhere.
    pub fn mailbox(&self) -> Option<&Destination> {
        match self {
            Destination::Lmtp(lmtp) => lmtp.beside.as_ref(),
            other => Some(other),
        }
    }
}

/// `[destination.NAME.lmtp]`, and what stands beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LmtpDestination {
    /// Where the server listens.
    pub address: Listener,
    /// Connections to it at once, for all accounts together; at least 1.
    pub max_connections: usize,
    /// The same mailboxes past the members' rules: a Maildir, or by IMAP.
    pub beside: Option<Destination>,
}

/// Where a server of the house listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listener {
    /// A socket of this machine, absolute.
    Socket(PathBuf),
    /// A port.
    Host {
        /// The server's name or address.
        host: String,
        /// Its port.
        port: u16,
        /// How the connection is protected.
        security: Security,
        /// A private CA, in addition to the system's.
        ca_file: Option<PathBuf>,
    },
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Listener::Socket(path) => write!(f, "{}", path.display()),
            Listener::Host { host, port, .. } => write!(f, "{host}:{port}"),
        }
    }
}

/// `[destination.NAME.imap]`. In `login`, `authorize_as` and the password's place `{member}`, `{local}` and
/// `{domain}` stand for the member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImapDestination {
    /// The server's name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection is protected.
    pub security: Security,
    /// A private CA, in addition to the system's.
    pub ca_file: Option<PathBuf>,
    /// The very certificate of the server; no other counts then.
    pub fingerprint: Option<Fingerprint>,
    /// How long the server may be silent.
    pub patience: Patience,
    /// Connections that one account may have there.
    pub max_connections: Option<usize>,
    /// The login: the member's, or one that may act for all members.
    pub login: String,
    /// Whose mailbox it is, if the login does not say so (RFC 4616).
    pub authorize_as: Option<String>,
    /// Where the login's password is found.
    pub password: SecretPlace,
}

impl ImapDestination {
    /// The login for one member.
    pub fn source(&self, member: &Member) -> Source {
        let place = match &self.password {
            SecretPlace::File(path) => SecretPlace::File(member.fill(&path.to_string_lossy()).into()),
            SecretPlace::Command(words) => {
                SecretPlace::Command(words.iter().map(|word| member.fill(word)).collect())
            }
            other => other.clone(),
        };
        Source {
            protocol: Protocol::Imap,
            host: self.host.clone(),
            port: self.port,
            security: self.security,
            ca_file: self.ca_file.clone(),
            fingerprint: self.fingerprint,
            patience: self.patience,
            username: member.fill(&self.login),
            authorize_as: self.authorize_as.as_ref().map(|whom| member.fill(whom)),
            password: place,
            auth: Auth::Auto,
            max_connections: self.max_connections,
            min_interval: None,
            daily: None,
            rounds: false,
            login_hint: "look at [destination] in mailhaul.toml".to_owned(),
        }
    }
}
