//! `[destination.NAME]`: a Maildir, or a mailbox at an IMAP server. It refuses more than one kind, and a
//! password that others can read.

use crate::account::Protocol;
use crate::settings::{Destination, ImapDestination};

use super::Environment;
use super::accounts::good;
use super::names;
use super::servers;
use super::source;
use super::walk::{Table, Value};

const KINDS: [&str; 3] = ["maildir", "imap", "lmtp"];

/// Reads one destination.
pub(super) fn read(table: &Table<'_>, env: &Environment) -> Option<Destination> {
    table.only(&KINDS);
    if let Some(value) = table.get("lmtp") {
        value.later(&format!("write [{}.maildir]", table.key));
    }
    let kinds = KINDS.into_iter().filter(|kind| table.get(kind).is_some()).count();
    if kinds != 1 {
        let what = if kinds == 0 { "has no kind" } else { "has more than one kind" };
        table.complain(what, format!("write [{}.maildir] and no other kind", table.key));
    }
    if let Some(value) = table.get("imap") {
        return imap(&value.table()?, env).map(|imap| Destination::Imap(Box::new(imap)));
    }
    let maildir = table.get("maildir")?.table()?;
    maildir.only(&["path"]);
    let value = maildir.require("path", "write path = \"/var/vmail/{domain}/{local}/Maildir\"")?;
    good(&value, names::maildir(value.string()?))?;
    let path = value.path()?.into_os_string().into_string().ok()?;
    Some(Destination::Maildir { path })
}

fn imap(table: &Table<'_>, env: &Environment) -> Option<ImapDestination> {
    table.only(&["server", "login", "authorize_as", "password"]);
    let server = table.require("server", "write server = { host = \"localhost\", port = 143 }");
    let server = server.and_then(|value| value.table()).and_then(|table| {
        table.only(&["host", "port", "security", "ca_file", "max_connections"]);
        let manner = servers::manner(&table);
        servers::endpoint(&table, Protocol::Imap).map(|endpoint| (endpoint, manner))
    });
    let login = table.require("login", "write login = \"{member}*migrator\" for a master user");
    let login = login.and_then(|value| template(&value));
    let authorize_as = table.get("authorize_as");
    let authorize_as = match authorize_as {
        Some(value) => Some(template(&value)?),
        None => None,
    };
    let password = table.require("password", "write password = { file = \"master.secret\" }");
    let password = password.and_then(|value| source::password(&value.table()?, &source::For::Members(env)));
    let (endpoint, manner) = server?;
    Some(ImapDestination {
        host: endpoint.host,
        port: endpoint.port,
        security: endpoint.security,
        ca_file: manner.ca_file,
        max_connections: manner.max_connections,
        login: login?,
        authorize_as,
        password: password?,
    })
}

fn template(value: &Value<'_>) -> Option<String> {
    let written = value.string()?;
    good(value, names::username(written).and_then(|()| names::placeholders(written)))?;
    Some(written.to_owned())
}
