//! `[account.source]`: the protocol, the server (a template or written in), the login and where its
//! password is found. It refuses to look into the password's file.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::account::{Auth, Protocol, Source};
use crate::secret::{Secret, SecretPlace};

use super::Environment;
use super::accounts::{Against, good};
use super::complaint::nearest;
use super::names;
use super::oauth2::Tokens;
use super::servers::{self, Endpoint, Manner};
use super::text::reason;
use super::walk::{Table, Value};

/// Reads the table; the protocol is told even if the rest is wrong.
pub(super) fn read(
    table: &Table<'_>,
    against: &Against<'_>,
    protocol: &mut Option<Protocol>,
) -> Option<Source> {
    table.only(&["protocol", "server", "username", "password", "auth"]);
    let value = table.require("protocol", "write protocol = \"pop3\" or \"imap\"");
    *protocol = match value.and_then(|value| value.choice(&["pop3", "imap"])) {
        Some("pop3") => Some(Protocol::Pop3),
        Some(_) => Some(Protocol::Imap),
        None => None,
    };
    let value = table.require("server", "write server = \"gmail\", or server = { host = \"...\" }");
    let server = value.and_then(|value| match value.if_table() {
        Some(table) => written_in(&table, *protocol),
        None => by_name(&value, *protocol, against),
    });
    let value = table.require("username", "write the login that the server expects");
    let username = value.and_then(|value| {
        let written = value.string()?;
        good(&value, names::username(written)).map(|()| written)
    });
    let oauth2 = server.as_ref().and_then(|(_, manner)| manner.oauth2.as_ref());
    let auth = auth(table, *protocol);
    let password = proof(table, against, *protocol, oauth2, server.is_some());
    let (endpoint, manner) = server?;
    let username = match username?.rsplit_once('@') {
        Some((local, _)) if manner.local_part && !local.is_empty() => local,
        _ => username?,
    };
    Some(Source {
        protocol: (*protocol)?,
        host: endpoint.host,
        port: endpoint.port,
        security: endpoint.security,
        ca_file: manner.ca_file,
        fingerprint: manner.fingerprint,
        patience: manner.patience,
        username: username.to_owned(),
        authorize_as: None,
        password: password?,
        auth: auth?,
        max_connections: manner.max_connections,
        min_interval: manner.min_interval,
        daily: match (*protocol)? {
            Protocol::Pop3 => manner.pop3_daily,
            Protocol::Imap => manner.imap_daily,
        },
        rounds: manner.pop3_rounds,
        login_hint: manner.login_hint,
    })
}

fn written_in(table: &Table<'_>, protocol: Option<Protocol>) -> Option<(Endpoint, Manner)> {
    table.only(&[
        "host",
        "port",
        "security",
        "ca_file",
        "max_connections",
        "min_interval",
        "login",
        "imap_daily",
        "pop3_daily",
        "pop3_rounds",
        "oauth2",
        "fingerprint",
        "timeout",
        "login_timeout",
    ]);
    // Without a protocol the port's default does not matter: the definition is refused anyway.
    let endpoint = servers::endpoint(table, protocol.unwrap_or(Protocol::Imap));
    let manner = servers::manner(table);
    Some((endpoint?, manner))
}

fn by_name(
    value: &Value<'_>,
    protocol: Option<Protocol>,
    against: &Against<'_>,
) -> Option<(Endpoint, Manner)> {
    let Some(name) = value.if_string() else {
        value.complain(
            "is neither a template's name nor a table",
            "write \"gmail\", or { host = \"mail.example.com\" }",
        );
        return None;
    };
    let Some(template) = against.templates.get(name) else {
        let mend = match nearest(name, against.templates.keys().map(String::as_str)) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => {
                let known: Vec<&str> = against.templates.keys().map(String::as_str).collect();
                format!("write {{ host = \"...\" }}, or one of: {}", known.join(", "))
            }
        };
        value.complain(format!("no server template is named {name:?}"), mend);
        return None;
    };
    if let Some(place) = &template.broken {
        value.complain(format!("the server template {name:?} is wrong"), format!("mend it at {place}"));
        return None;
    }
    let (endpoint, other) = match protocol? {
        Protocol::Pop3 => (&template.pop3, "imap"),
        Protocol::Imap => (&template.imap, "pop3"),
    };
    let Some(endpoint) = endpoint else {
        let protocol = protocol?.as_str();
        value.complain(
            format!("the server {name:?} has {other} only, not {protocol}"),
            format!("write protocol = \"{other}\""),
        );
        return None;
    };
    Some((endpoint.clone(), template.manner.clone()))
}

/// In the order of [`WAYS`].
const AUTHS: [Auth; 8] = [
    Auth::Auto,
    Auth::Password,
    Auth::Plain,
    Auth::Login,
    Auth::CramMd5,
    Auth::Scram,
    Auth::Apop,
    // A token has its own ways.
    Auth::Auto,
];
const WAYS: [&str; 8] = ["auto", "password", "plain", "login", "cram-md5", "scram", "apop", "oauth2"];

/// How a password is proved.
fn auth(table: &Table<'_>, protocol: Option<Protocol>) -> Option<Auth> {
    let Some(value) = table.get("auth") else { return Some(Auth::Auto) };
    let written = value.choice(&WAYS)?;
    let auth = AUTHS.into_iter().zip(WAYS).find(|(_, way)| *way == written).map(|(auth, _)| auth)?;
    if auth == Auth::Apop && protocol == Some(Protocol::Imap) {
        value.complain("\"apop\" is a way of POP3", "write \"cram-md5\", \"scram\" or \"auto\"");
        return None;
    }
    Some(auth)
}

/// How the login is proved: by a token if that is asked for, or if the server hands them out and no password
/// is written.
fn proof(
    table: &Table<'_>,
    against: &Against<'_>,
    protocol: Option<Protocol>,
    oauth2: Option<&Tokens>,
    known: bool,
) -> Option<SecretPlace> {
    let auth = match table.get("auth") {
        // What it cannot be is complained about elsewhere.
        Some(value) => value.if_string().filter(|written| WAYS.contains(written))?,
        None => "auto",
    };
    let written = table.get("password").map(|value| password(&value.table()?, &For::Account(against)));
    match (auth, oauth2) {
        ("oauth2", None) => {
            if known && let Some(value) = table.get("auth") {
                value.complain(
                    "the server has no oauth2",
                    "write oauth2 = { provider = \"microsoft\", client_id = \"...\" } in its template",
                );
            }
            None
        }
        ("oauth2", Some(tokens)) => match tokens.resolve(protocol?) {
            Ok(oauth2) => Some(SecretPlace::Token(Arc::new(oauth2))),
            Err((what, mend)) => {
                if let Some(value) = table.get("auth") {
                    value.complain(what, mend);
                }
                None
            }
        },
        ("auto", Some(tokens)) if written.is_none() && tokens.resolve(protocol?).is_ok() => {
            tokens.resolve(protocol?).ok().map(|oauth2| SecretPlace::Token(Arc::new(oauth2)))
        }
        _ => match written {
            Some(place) => place,
            None => {
                table.require("password", "write password = { file = \"NAME.secret\" }");
                None
            }
        },
    }
}

/// Whose a secret is.
pub(super) enum For<'c> {
    /// An account's: it may be sealed.
    Account(&'c Against<'c>),
    /// Every member's: a file's name and a command's arguments may have placeholders.
    Members(&'c Environment),
    /// A server's.
    Server,
}

/// Where a secret is found.
pub(super) fn password(table: &Table<'_>, whose: &For<'_>) -> Option<SecretPlace> {
    const KINDS: [&str; 5] = ["file", "credential", "command", "value", "sealed"];
    table.only(if matches!(whose, For::Members(_)) { &KINDS[..4] } else { &KINDS });
    if KINDS.iter().filter(|kind| table.get(kind).is_some()).count() != 1 {
        table.complain(
            "must say exactly one place",
            "write one of { file = \"...\" }, { credential = \"...\" }, { command = [\"...\"] }, { value = \"...\" }",
        );
        return None;
    }
    let (against, env) = match whose {
        For::Account(against) => (Some(*against), Some(against.env)),
        For::Members(env) => (None, Some(*env)),
        For::Server => (None, None),
    };
    let templates = matches!(whose, For::Members(_));
    if let Some(value) = table.get("file") {
        let written = value.string()?;
        if templates {
            good(&value, names::placeholders(written))?;
        }
        // Each member's own file is looked at when it is needed.
        let path = if templates && written.contains('{') { value.path() } else { file(&value) };
        return path.map(SecretPlace::File);
    }
    if let Some(value) = table.get("credential") {
        return credential(&value, env).map(SecretPlace::Credential);
    }
    if let Some(value) = table.get("command") {
        if templates {
            value.strings()?.iter().try_for_each(|(word, value)| good(value, names::placeholders(word)))?;
        }
        return command(&value, table).map(SecretPlace::Command);
    }
    if let Some(value) = table.get("sealed") {
        return sealed(&value, table, against);
    }
    let value = table.get("value")?;
    let written = value.string()?;
    if table.sheet.text.open_to_others {
        let name = table.sheet.text.file.display();
        value.complain("stands in a file that others than its owner can read", format!("chmod 600 {name}"));
        return None;
    }
    if written.is_empty() || written.contains(['\r', '\n', '\0']) {
        value.complain("is empty or has more than one line", "write the password on one line");
        return None;
    }
    Some(SecretPlace::Value(Arc::new(Secret::new(written.as_bytes().to_vec()))))
}

/// Only what `mailhaulctl` brought is sealed: elsewhere nobody would have put a secret under that name.
fn sealed(value: &Value<'_>, table: &Table<'_>, against: Option<&Against<'_>>) -> Option<SecretPlace> {
    const MEND: &str = "write { file = \"NAME.secret\" }";
    match value.boolean()? {
        true if against.is_some_and(|against| table.sheet.text.file.starts_with(&against.own)) => {
            Some(SecretPlace::Sealed)
        }
        true => {
            value.complain("is only for definitions that mailhaulctl wrote", MEND);
            None
        }
        false => {
            value.complain("false says nothing", MEND);
            None
        }
    }
}

pub(super) fn file(value: &Value<'_>) -> Option<PathBuf> {
    let path = value.path()?;
    let shown = path.display();
    match std::fs::metadata(&path) {
        Err(error) => {
            let mend = "put the password on the first line of that file, chmod 600";
            value.complain(format!("{shown} cannot be read: {}", reason(&error)), mend);
            None
        }
        Ok(metadata) if !metadata.is_file() => {
            value.complain(format!("{shown} is not a regular file"), "name a file");
            None
        }
        Ok(metadata) if metadata.permissions().mode() & 0o077 != 0 => {
            value.complain(format!("{shown} is open to others than its owner"), format!("chmod 600 {shown}"));
            None
        }
        Ok(_) => Some(path),
    }
}

fn credential(value: &Value<'_>, env: Option<&Environment>) -> Option<String> {
    let name = value.string()?;
    if name.is_empty() || name.contains(['/', '\0']) || name == "." || name == ".." {
        value.complain(format!("{name:?} is not the name of a credential"), "write its name without a path");
        return None;
    }
    if let Some(directory) = env.and_then(|env| env.credentials_directory.as_ref())
        && !directory.join(name).is_file()
    {
        let mend = format!("add LoadCredential={name}:PATH to the service");
        value.complain(format!("the service has no credential {name:?}"), mend);
        return None;
    }
    Some(name.to_owned())
}

fn command(value: &Value<'_>, table: &Table<'_>) -> Option<Vec<String>> {
    let words = value.strings()?;
    if words.iter().any(|(word, _)| word.contains('\0'))
        || words.first().is_none_or(|(word, _)| word.is_empty())
    {
        value.complain(
            "is not a command",
            "write the program and its arguments, [\"/usr/bin/pass\", \"alice\"]",
        );
        return None;
    }
    let mut words: Vec<String> = words.into_iter().map(|(word, _)| word.to_owned()).collect();
    if let Some(program) = words.first_mut().filter(|program| program.contains('/')) {
        let path = table.sheet.text.directory.join(&*program);
        *program = path.into_os_string().into_string().ok()?;
    }
    Some(words)
}
