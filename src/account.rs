//! An account as it is meant: checked, complete, with its server resolved. Only `config` builds one.
//! It holds no secret, only where the secret is found, and nothing about progress.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::filter::Rule;
use crate::secret::SecretPlace;

/// One `[[account]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Unique, `[a-z0-9._-]{1,64}`; progress belongs to this name.
    pub name: String,
    /// Whose mailbox the mail comes home to.
    pub member: Member,
    /// The name of a destination in the settings.
    pub destination: String,
    /// Where the mail is.
    pub source: Source,
    /// Which mailbox at a source the progress belongs to: numbers and names of messages mean something there alone. 0
    /// as long as nobody looked; a definition does not say it.
    pub era: u64,
    /// What is to be done.
    pub job: Job,
    /// What a mailbox is made with, should it be missing.
    pub new_mailbox: NewMailbox,
    /// Where the definition stands.
    pub origin: Origin,
}

/// `[account.new_mailbox]`: what a missing mailbox is made with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewMailbox {
    /// The owner's first name.
    pub first_name: String,
    /// The owner's last name.
    pub last_name: String,
    /// Its password; without one the source's own, if that meets the rules.
    pub password: Option<SecretPlace>,
}

/// A member's address, safe to be a part of a path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Member {
    /// Before the last `@`.
    pub local: String,
    /// After it.
    pub domain: String,
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.local, self.domain)
    }
}

impl Member {
    /// A template with `{member}`, `{local}` and `{domain}` filled in.
    pub fn fill(&self, template: &str) -> String {
        let mut filled = String::with_capacity(template.len() + 32);
        let mut rest = template;
        while let Some(at) = rest.find('{') {
            let (before, tail) = rest.split_at(at);
            filled.push_str(before);
            let value = [
                ("{member}", self.to_string()),
                ("{local}", self.local.clone()),
                ("{domain}", self.domain.clone()),
            ]
            .into_iter()
            .find(|(key, _)| tail.starts_with(key));
            match value {
                Some((key, value)) => {
                    filled.push_str(&value);
                    rest = tail.get(key.len()..).unwrap_or_default();
                }
                None => {
                    filled.push('{');
                    rest = tail.get(1..).unwrap_or_default();
                }
            }
        }
        filled.push_str(rest);
        filled
    }
}

/// `FILE:LINE` of a definition.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    /// The file.
    pub file: PathBuf,
    /// Counted from 1.
    pub line: usize,
}

/// `[account.source]`, with its server entry resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The language to speak.
    pub protocol: Protocol,
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
    /// The login, after the server entry's `login` rule was applied.
    pub username: String,
    /// Whose mailbox it is, if the login is another one's: the authorization identity (RFC 4616).
    pub authorize_as: Option<String>,
    /// Where the password is found.
    pub password: SecretPlace,
    /// How it is proved.
    pub auth: Auth,
    /// Connections to this server that one account may hold.
    pub max_connections: Option<usize>,
    /// The server does not want to be polled more often.
    pub min_interval: Option<Duration>,
    /// Octets that one account may fetch by this protocol in 24 hours.
    pub daily: Option<u64>,
    /// By POP3 the server lists only so much at a time, and the next after that was fetched.
    pub rounds: bool,
    /// What helps when the login is refused, from the server entry; may be empty.
    pub login_hint: String,
}

/// How a password is proved; a token has ways of its own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Auth {
    /// By what the server offers, one way after the other where it fails at one.
    #[default]
    Auto,
    /// The same, and never by a token.
    Password,
    /// SASL PLAIN
    Plain,
    /// SASL LOGIN; without it LOGIN, or USER and PASS.
    Login,
    /// SASL CRAM-MD5
    CramMd5,
    /// SASL SCRAM-SHA-256
    Scram,
    /// APOP, at POP3 servers.
    Apop,
}

/// SHA-256 of a server's certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub [u8; 32]);

impl Fingerprint {
    /// `sha256:` and 64 hexadecimal digits, which may have colons between them, as other programs show it.
    pub fn read(written: &str) -> Option<Fingerprint> {
        let digits: String = written.strip_prefix("sha256:")?.chars().filter(|c| *c != ':').collect();
        if digits.len() != 64 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        let mut octets = [0; 32];
        for (at, octet) in octets.iter_mut().enumerate() {
            *octet = u8::from_str_radix(digits.get(2 * at..2 * at + 2)?, 16).ok()?;
        }
        Some(Fingerprint(octets))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

/// How long a server may be silent before the connection is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// In the middle of the work.
    pub work: Duration,
    /// Before it greets, and until it is known what it can.
    pub greeting: Duration,
    /// When it looks at a login: servers make whoever tries wait, and some ask others first.
    pub login: Duration,
}

impl Patience {
    /// What a server entry says: `work` is 60 s without a word, `login` 3 min, and never less than `work`. A greeting is
    /// waited for like anything else, unless `login` is written.
    pub fn new(work: Option<Duration>, login: Option<Duration>) -> Patience {
        let written = work.unwrap_or(Duration::from_secs(60));
        let usual = Duration::from_secs(180).max(written);
        Patience { work: written, greeting: login.unwrap_or(written), login: login.unwrap_or(usual) }
    }
}

impl Default for Patience {
    fn default() -> Patience {
        Patience::new(None, None)
    }
}

/// The language of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// RFC 1939
    Pop3,
    /// RFC 3501 / RFC 9051
    Imap,
}

impl Protocol {
    /// As it is written in a definition.
    pub fn as_str(self) -> &'static str {
        match self {
            Protocol::Pop3 => "pop3",
            Protocol::Imap => "imap",
        }
    }
}

/// How a connection is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    /// TLS from the first octet (RFC 8314).
    Tls,
    /// STARTTLS or STLS before anything else (RFC 2595).
    StartTls,
    /// Plain text.
    None,
}

impl Source {
    /// As whom and where the login is, and how the connection is protected, for people.
    pub fn login(&self) -> String {
        let protection = match self.security {
            Security::Tls => "with TLS",
            Security::StartTls => "with STARTTLS",
            Security::None => "in plain text",
        };
        format!("{} at {}:{} {protection}", self.username, self.host, self.port)
    }
}

/// What is to be done with an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Job {
    /// New mail, again and again.
    Poll(Poll),
    /// The whole mailbox, once.
    Migrate(Migrate),
}

impl Job {
    /// As `list` shows it.
    pub fn mode(&self) -> &'static str {
        match self {
            Job::Poll(_) => "poll",
            Job::Migrate(_) => "migrate",
        }
    }
}

/// `[account.poll]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Poll {
    /// The folder that mail is delivered into, level by level; `["INBOX"]` alone is the inbox.
    pub mailbox: Vec<String>,
    /// Patterns on source folder names, for IMAP, as in [`Migrate::include`].
    pub folders: Vec<String>,
    /// Automatic import, as the definition has it; `disable` overrides it.
    pub enabled: bool,
    /// Off: deleted at the source after it is durable here.
    pub keep_original: bool,
    /// It goes where the member's own rules file it.
    pub apply_filter: bool,
    /// Those rules, where the destination has none of its own; in their order.
    pub rules: Arc<[Rule]>,
    /// Spam is put into its own folder.
    pub apply_spam: bool,
    /// The keyword on each message, `icon-NAME`.
    pub icon: Option<String>,
}

/// `[account.migrate]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migrate {
    /// The folder that the whole tree is put under, level by level; empty for none.
    pub into: Vec<String>,
    /// Patterns on source folder names; `\Name` stands for a special use (RFC 6154).
    pub include: Vec<String>,
    /// Patterns that win over `include`.
    pub exclude: Vec<String>,
    /// After it completed it is run again by itself, so long after each end, until it is finished.
    pub delta: Option<Duration>,
}
