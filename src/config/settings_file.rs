//! `mailhaul.toml`: the whole documented schema, with its defaults. What comes later is accepted where it
//! asks for nothing and refused where it asks for something. It refuses to read any other file.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::settings::{
    Daemon, Destination, Discovery, Language, Migrations, Notices, OnFailure, Policy, Polling, Provisioning,
    Settings, Smtp, Spam,
};

use super::Environment;
use super::complaint::nearest;
use super::destination;
use super::notices;
use super::policy;
use super::provisioning;
use super::spam;
use super::walk::{Table, Value};

const MANY: u64 = 1_000_000;
const HOUR: Duration = Duration::from_secs(60 * 60);

/// The settings as far as they are good, and every destination that was named.
pub(super) struct Read {
    pub(super) settings: Settings,
    pub(super) destinations: BTreeSet<String>,
}

/// The settings of an empty file.
pub(super) fn defaults(env: &Environment) -> Settings {
    let state = env.state_directory.clone().unwrap_or_else(|| PathBuf::from("/var/lib/mailhaul"));
    let runtime = env.runtime_directory.clone().unwrap_or_else(|| PathBuf::from("/run/mailhaul"));
    let maildir = Destination::Maildir { path: "/var/vmail/{domain}/{local}/Maildir".to_owned() };
    Settings {
        daemon: Daemon {
            state_directory: state,
            control_socket: runtime.join("control"),
            control_group: "mailhaul".to_owned(),
            language: Language::English,
            allow_private_hosts: false,
        },
        polling: Polling {
            interval: Duration::from_secs(10 * 60),
            concurrency: 256,
            per_host: 16,
            max_accounts_per_member: 10,
            max_message_size: Some(50 << 20),
            max_failures: 10,
        },
        migrations: Migrations {
            concurrency: 2,
            connections: 4,
            on_failure: OnFailure::Rollback,
            give_up_after: 24 * HOUR,
            progress_notice: 50,
        },
        destinations: BTreeMap::from([("default".to_owned(), maildir)]),
        spam: Spam::default(),
        provisioning: Provisioning::default(),
        notices: Notices { to_member: true, to_admin: Vec::new(), smtp: Smtp::default() },
        policy: Policy::default(),
        discovery: Discovery::default(),
    }
}

/// Walks through the whole file.
pub(super) fn read(root: &Table<'_>, env: &Environment) -> Read {
    root.only(&[
        "daemon",
        "polling",
        "migrations",
        "destination",
        "spam",
        "provisioning",
        "notices",
        "policy",
        "discovery",
    ]);
    let mut settings = defaults(env);
    let table = |name| root.get(name).and_then(|value| value.table());
    if let Some(table) = table("daemon") {
        daemon(&table, &mut settings.daemon);
    }
    if let Some(table) = table("polling") {
        polling(&table, &mut settings.polling);
    }
    if let Some(table) = table("migrations") {
        migrations(&table, &mut settings.migrations);
    }
    let mut destinations: BTreeSet<String> = settings.destinations.keys().cloned().collect();
    if let Some(table) = table("destination") {
        for (name, value) in table.entries() {
            destinations.insert(name.to_owned());
            if let Some(found) = value.table().and_then(|table| destination::read(&table, env)) {
                settings.destinations.insert(name.to_owned(), found);
            }
        }
    }
    if let Some(table) = table("spam") {
        settings.spam = spam::read(&table);
    }
    if let Some(table) = table("provisioning") {
        settings.provisioning = provisioning::read(&table);
    }
    if let Some(table) = table("notices") {
        notices::read(&table, &mut settings.notices);
    }
    if let Some(table) = table("policy") {
        settings.policy = policy::read(&table);
    }
    if let Some(table) = table("discovery") {
        discovery(&table, &mut settings.discovery);
    }
    Read { settings, destinations }
}

/// Puts what was found into its place; what was wrong has been complained about.
fn put<T>(place: &mut T, found: Option<T>) {
    if let Some(found) = found {
        *place = found;
    }
}

fn daemon(table: &Table<'_>, daemon: &mut Daemon) {
    table.only(&["state_directory", "control_socket", "control_group", "language", "allow_private_hosts"]);
    put(&mut daemon.state_directory, table.get("state_directory").and_then(|value| value.path()));
    put(&mut daemon.control_socket, table.get("control_socket").and_then(|value| socket(&value)));
    put(&mut daemon.control_group, table.get("control_group").and_then(|value| filled(&value)));
    let language = table.get("language").and_then(|value| value.choice(&["en", "ko", "ja"]));
    let language = language.map(|word| match word {
        "ko" => Language::Korean,
        "ja" => Language::Japanese,
        _ => Language::English,
    });
    put(&mut daemon.language, language);
    put(&mut daemon.allow_private_hosts, table.get("allow_private_hosts").and_then(|value| value.boolean()));
}

fn socket(value: &Value<'_>) -> Option<PathBuf> {
    let path = value.path()?;
    // sun_path has 108 octets with its NUL (unix(7)).
    if path.as_os_str().len() > 107 {
        value.complain("is too long for a socket", "write a path of at most 107 octets");
        return None;
    }
    Some(path)
}

fn filled(value: &Value<'_>) -> Option<String> {
    let written = value.string()?;
    if written.is_empty() || written.chars().any(char::is_control) {
        value.complain("is not a name", "write a name");
        return None;
    }
    Some(written.to_owned())
}

fn polling(table: &Table<'_>, polling: &mut Polling) {
    table.only(&[
        "interval",
        "concurrency",
        "per_host",
        "max_accounts_per_member",
        "max_message_size",
        "max_failures",
    ]);
    let count = |name| table.get(name).and_then(|value| value.count(1, MANY));
    put(&mut polling.interval, table.get("interval").and_then(|value| value.duration()));
    put(&mut polling.concurrency, count("concurrency"));
    put(&mut polling.per_host, count("per_host"));
    put(&mut polling.max_accounts_per_member, count("max_accounts_per_member"));
    put(&mut polling.max_message_size, table.get("max_message_size").and_then(|value| value.size()));
    let failures = table.get("max_failures").and_then(|value| value.integer(0, MANY));
    put(&mut polling.max_failures, failures.and_then(|number| u32::try_from(number).ok()));
}

fn migrations(table: &Table<'_>, migrations: &mut Migrations) {
    table.only(&["concurrency", "connections", "on_failure", "give_up_after", "progress_notice"]);
    put(&mut migrations.concurrency, table.get("concurrency").and_then(|value| value.count(1, 10_000)));
    put(&mut migrations.connections, table.get("connections").and_then(|value| value.count(1, 1000)));
    match table.get("on_failure").and_then(|value| value.choice(&["rollback", "keep"])) {
        Some("keep") => migrations.on_failure = OnFailure::Keep,
        Some(_) => migrations.on_failure = OnFailure::Rollback,
        None => {}
    }
    put(&mut migrations.give_up_after, table.get("give_up_after").and_then(|value| value.duration()));
    let percent = table.get("progress_notice").and_then(|value| value.integer(0, 100));
    put(&mut migrations.progress_notice, percent);
}

fn discovery(table: &Table<'_>, discovery: &mut Discovery) {
    table.only(&["name_servers"]);
    let Some(list) = table.get("name_servers").and_then(|value| value.strings()) else { return };
    for (written, value) in list {
        let bare = written.parse().map(|address: IpAddr| SocketAddr::new(address, 53));
        match written.parse::<SocketAddr>().or(bare) {
            Ok(address) => discovery.name_servers.push(address),
            Err(_) => value.complain(
                format!("{written:?} is no address"),
                "write \"192.0.2.53\", or \"192.0.2.53:5353\" with a port",
            ),
        }
    }
}

/// What to say about a destination that does not exist.
pub(super) fn unknown_destination(name: &str, known: &BTreeSet<String>) -> (String, String) {
    let mend = match nearest(name, known.iter().map(String::as_str)) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None => format!("write [destination.{name}.maildir] into the settings, or one of those there"),
    };
    (format!("no destination is named {name:?}"), mend)
}

/// Where the settings file's neighbours are.
pub(super) fn beside(config_file: &Path, name: &str) -> PathBuf {
    config_file.parent().unwrap_or(Path::new("")).join(name)
}
