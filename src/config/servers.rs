//! Server templates: those compiled in and those of `servers.d`, which win. A template with a mistake in it
//! stays known, so that an account that names it is refused instead of meeting another server.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::de::DeTable;

use crate::account::{Fingerprint, Patience, Protocol, Security};
use crate::settings::Listener;

use super::accounts::good;
use super::complaint::Complaint;
use super::names;
use super::oauth2::{self, Tokens};
use super::text::Text;
use super::walk::{Sheet, Table, Value};

/// What is compiled in, one file a provider.
const BUILT_IN: [(&str, &str); 13] = [
    ("aol", include_str!("servers/aol.toml")),
    ("fastmail", include_str!("servers/fastmail.toml")),
    ("gmail", include_str!("servers/gmail.toml")),
    ("gmx", include_str!("servers/gmx.toml")),
    ("icloud", include_str!("servers/icloud.toml")),
    ("mailru", include_str!("servers/mailru.toml")),
    ("outlook", include_str!("servers/outlook.toml")),
    ("webde", include_str!("servers/webde.toml")),
    ("worksmobile", include_str!("servers/worksmobile.toml")),
    ("yahoo", include_str!("servers/yahoo.toml")),
    ("yahoo-jp", include_str!("servers/yahoo-jp.toml")),
    ("yandex", include_str!("servers/yandex.toml")),
    ("zoho", include_str!("servers/zoho.toml")),
];

/// A host, its port, and how the connection is protected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Endpoint {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) security: Security,
}

/// What a template and a server written into an account have in common.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Manner {
    pub(super) local_part: bool,
    pub(super) ca_file: Option<PathBuf>,
    pub(super) fingerprint: Option<Fingerprint>,
    pub(super) patience: Patience,
    pub(super) max_connections: Option<usize>,
    pub(super) min_interval: Option<Duration>,
    pub(super) imap_daily: Option<u64>,
    pub(super) pop3_daily: Option<u64>,
    pub(super) pop3_rounds: bool,
    pub(super) login_hint: String,
    pub(super) oauth2: Option<Tokens>,
}

/// `[server.NAME]`
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Template {
    pub(super) title: String,
    /// Whose addresses are at it.
    pub(super) domains: Vec<String>,
    pub(super) pop3: Option<Endpoint>,
    pub(super) imap: Option<Endpoint>,
    pub(super) manner: Manner,
    /// `FILE:LINE` of a template that cannot be used.
    pub(super) broken: Option<String>,
}

/// Templates by name.
pub(super) type Templates = BTreeMap<String, Template>;

/// What is known of an e-mail provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provider {
    /// The name of its server template.
    pub template: String,
    /// What people call it.
    pub title: String,
    /// Host, port and protection of its IMAP server.
    pub imap: Option<(String, u16, Security)>,
    /// The same of its POP3 server.
    pub pop3: Option<(String, u16, Security)>,
}

/// Providers by the domains of their addresses; the first template by name has a domain that two of them claim.
pub(super) fn providers(templates: &Templates) -> BTreeMap<String, Provider> {
    let mut providers = BTreeMap::new();
    for (name, template) in templates.iter().filter(|(_, template)| template.broken.is_none()) {
        let place = |at: &Option<Endpoint>| at.as_ref().map(|at| (at.host.clone(), at.port, at.security));
        for domain in &template.domains {
            let (imap, pop3) = (place(&template.imap), place(&template.pop3));
            let title = if template.title.is_empty() { name } else { &template.title };
            let (template, title) = (name.clone(), title.clone());
            providers.entry(domain.clone()).or_insert(Provider { template, title, imap, pop3 });
        }
    }
    providers
}

/// The templates that are compiled in.
pub(super) fn built_in(complaints: &RefCell<Vec<Complaint>>) -> Templates {
    let mut templates = Templates::new();
    for (name, content) in BUILT_IN {
        let text = Text::new(Path::new(&format!("/built-in/{name}.toml")), content.to_owned());
        let (root, _) = DeTable::parse_recoverable(content);
        read(&Sheet { text: &text, shift: 0, complaints }.root(root.get_ref()), &mut templates);
    }
    templates
}

/// Walks through a file of templates.
pub(super) fn read(root: &Table<'_>, templates: &mut Templates) {
    root.only(&["server"]);
    let Some(servers) = root.get("server").and_then(|value| value.table()) else { return };
    for (name, value) in servers.entries() {
        let complaints = root.sheet.complaints;
        let before = complaints.borrow().len();
        let mut read = value.table().map(|table| template(&table)).unwrap_or_default();
        if let Some(first) = complaints.borrow().get(before) {
            read.broken = Some(format!("{}:{}", first.file.display(), first.line));
        }
        templates.insert(name.to_owned(), read);
    }
}

fn template(table: &Table<'_>) -> Template {
    table.only(&[
        "title",
        "domains",
        "pop3",
        "imap",
        "login",
        "ca_file",
        "max_connections",
        "min_interval",
        "imap_daily",
        "pop3_daily",
        "pop3_rounds",
        "oauth2",
        "fingerprint",
        "timeout",
        "login_timeout",
        "login_hint",
        "checked",
    ]);
    table.get("checked").and_then(|value| value.string());
    let title = table.get("title").and_then(|value| value.string()).unwrap_or_default().to_owned();
    let domains = table.get("domains").and_then(|value| value.strings()).unwrap_or_default();
    let domains = domains.into_iter().filter_map(|(word, value)| {
        good(&value, names::host(word))?;
        Some(word.to_lowercase())
    });
    let domains = domains.collect();
    let at = |name, protocol| {
        let table = table.get(name).and_then(|value| value.table())?;
        table.only(&["host", "port", "security"]);
        endpoint(&table, protocol)
    };
    let (pop3, imap) = (at("pop3", Protocol::Pop3), at("imap", Protocol::Imap));
    if table.get("pop3").is_none() && table.get("imap").is_none() {
        table.complain("has no server", "write imap = { host = \"...\" } or pop3 = { host = \"...\" }");
    }
    Template { title, domains, pop3, imap, manner: manner(table), broken: None }
}

/// Host, port and security of a table; the defaults follow from the protocol.
pub(super) fn endpoint(table: &Table<'_>, protocol: Protocol) -> Option<Endpoint> {
    at(table, Security::Tls, |security| usual_port(protocol, security))
}

/// Where a server of the house listens: at a socket, or at a port, in plain text unless that is written otherwise.
pub(super) fn listener(table: &Table<'_>, port: u16, mend: &str) -> Option<Listener> {
    match (table.get("socket"), table.get("host")) {
        (Some(value), None) => {
            for name in ["port", "security", "ca_file"] {
                if let Some(value) = table.get(name) {
                    value.complain("is for a host, and a socket has none", "remove it");
                }
            }
            let path = value.path()?;
            // sun_path has 108 octets with its NUL (unix(7)).
            if path.as_os_str().len() > 107 || path.as_os_str().is_empty() {
                value.complain("is not a path for a socket", "write a path of at most 107 octets");
                return None;
            }
            Some(Listener::Socket(path))
        }
        (None, Some(_)) => {
            let ca_file = table.get("ca_file").and_then(|value| ca_file(&value));
            let Endpoint { host, port, security } = at(table, Security::None, |_| port)?;
            Some(Listener::Host { host, port, security, ca_file })
        }
        (None, None) => {
            table.complain("does not say where the server listens", mend);
            None
        }
        (Some(_), Some(_)) => {
            table.complain("has both socket and host", mend);
            None
        }
    }
}

fn at(table: &Table<'_>, usual: Security, port: impl Fn(Security) -> u16) -> Option<Endpoint> {
    let host = table.require("host", "write host = \"mail.example.com\"").and_then(|value| host(&value));
    let security = match table.get("security") {
        None => Some(usual),
        Some(value) => match value.choice(&["tls", "starttls", "none"]) {
            Some("tls") => Some(Security::Tls),
            Some("starttls") => Some(Security::StartTls),
            Some(_) => Some(Security::None),
            None => None,
        },
    };
    let port = match table.get("port") {
        None => security.map(port),
        Some(value) => value.integer(1, 65535).and_then(|port| u16::try_from(port).ok()),
    };
    Some(Endpoint { host: host?, port: port?, security: security? })
}

fn host(value: &Value<'_>) -> Option<String> {
    let written = value.string()?;
    match names::host(written) {
        Ok(()) => Some(written.to_owned()),
        Err((what, mend)) => {
            value.complain(what, mend);
            None
        }
    }
}

fn usual_port(protocol: Protocol, security: Security) -> u16 {
    match (protocol, security) {
        (Protocol::Pop3, Security::Tls) => 995,
        (Protocol::Pop3, _) => 110,
        (Protocol::Imap, Security::Tls) => 993,
        (Protocol::Imap, _) => 143,
    }
}

/// The keys beside the endpoint.
pub(super) fn manner(table: &Table<'_>) -> Manner {
    let login = table.get("login").and_then(|value| value.choice(&["address", "local-part"]));
    let hint = table.get("login_hint").and_then(|value| value.string());
    Manner {
        local_part: login == Some("local-part"),
        ca_file: table.get("ca_file").and_then(|value| ca_file(&value)),
        fingerprint: table.get("fingerprint").and_then(|value| fingerprint(&value)),
        patience: Patience::new(silence(table, "timeout"), silence(table, "login_timeout")),
        max_connections: table.get("max_connections").and_then(|value| value.count(1, 1000)),
        min_interval: table.get("min_interval").and_then(|value| value.duration()),
        imap_daily: table.get("imap_daily").and_then(|value| value.size()).flatten(),
        pop3_daily: table.get("pop3_daily").and_then(|value| value.size()).flatten(),
        pop3_rounds: table.get("pop3_rounds").and_then(|value| value.boolean()).unwrap_or(false),
        login_hint: hint.unwrap_or_default().to_owned(),
        oauth2: table.get("oauth2").and_then(|value| oauth2::read(&value)),
    }
}

fn fingerprint(value: &Value<'_>) -> Option<Fingerprint> {
    let read = Fingerprint::read(value.string()?);
    if read.is_none() {
        value.complain(
            "is not the SHA-256 fingerprint of a certificate",
            "write \"sha256:\" and 64 hexadecimal digits, as openssl x509 -noout -fingerprint -sha256 shows them",
        );
    }
    read
}

/// How long a server may be silent.
fn silence(table: &Table<'_>, name: &str) -> Option<Duration> {
    const LONGEST: Duration = Duration::from_secs(60 * 60);
    let value = table.get(name)?;
    let duration = value.duration()?;
    if duration > LONGEST {
        value.complain("is longer than anybody should wait for a server", "write at most \"1h\"");
        return None;
    }
    Some(duration)
}

pub(super) fn ca_file(value: &Value<'_>) -> Option<PathBuf> {
    let path = value.path()?;
    match std::fs::metadata(&path) {
        Ok(metadata) if metadata.is_file() => Some(path),
        Ok(_) => {
            value.complain(
                format!("{} is not a file", path.display()),
                "name a file with certificates in PEM",
            );
            None
        }
        Err(error) => {
            let what = format!("{} cannot be read: {}", path.display(), super::text::reason(&error));
            value.complain(what, "name a file with certificates in PEM");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_compiled_in_is_good() {
        let complaints = RefCell::new(Vec::new());
        let templates = built_in(&complaints);
        assert_eq!(complaints.into_inner(), []);
        for name in [
            "lineworks",
            "naverworks",
            "gmail",
            "googleworkspace",
            "outlook",
            "hotmail",
            "microsoft365",
            "yahoo",
            "yahoo-jp",
            "yandex",
            "mailru",
            "icloud",
            "aol",
            "gmx",
            "webde",
            "zoho",
            "fastmail",
        ] {
            let template = templates.get(name).unwrap_or_else(|| panic!("{name}"));
            assert!(template.imap.is_some(), "{name}");
            assert_eq!(template.pop3.is_none(), name == "icloud", "{name}");
            assert!(!template.manner.login_hint.is_empty(), "{name}");
        }
        for (name, content) in BUILT_IN {
            assert!(DeTable::parse(content).is_ok(), "{name}");
        }
    }
}
