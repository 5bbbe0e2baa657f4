//! `[destination.NAME]`: a Maildir, or a mailbox at an IMAP server, or the way to one by LMTP, beside which one of
//! the other two may stand. It refuses any other two, and a password that others can read.

use crate::account::Protocol;
use crate::settings::{Destination, ImapDestination, LmtpDestination};

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
    let key = &table.key;
    let mailboxes = ["maildir", "imap"].into_iter().filter(|kind| table.get(kind).is_some()).count();
    if mailboxes > 1 {
        let mend = format!("write [{key}.maildir] or [{key}.imap]; [{key}.lmtp] may stand beside either");
        table.complain("has more than one kind of mailbox", mend);
    }
    let Some(value) = table.get("lmtp") else {
        if mailboxes == 0 {
            table.complain("has no kind", format!("write [{key}.maildir], [{key}.imap] or [{key}.lmtp]"));
        }
        return mailbox(table, env);
    };
    let beside = mailbox(table, env);
    let mut lmtp = lmtp(&value.table()?)?;
    if mailboxes > 0 {
        lmtp.beside = Some(beside?);
    }
    Some(Destination::Lmtp(Box::new(lmtp)))
}

fn mailbox(table: &Table<'_>, env: &Environment) -> Option<Destination> {
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

fn lmtp(table: &Table<'_>) -> Option<LmtpDestination> {
    table.only(&["socket", "host", "port", "security", "ca_file", "max_connections"]);
    let max_connections = table.get("max_connections").map_or(Some(20), |value| value.count(1, 1000));
    let mend = "write socket = \"/run/dovecot/lmtp\", or host = \"...\" and port = 24";
    let address = servers::listener(table, 24, mend);
    Some(LmtpDestination { address: address?, max_connections: max_connections?, beside: None })
}

fn imap(table: &Table<'_>, env: &Environment) -> Option<ImapDestination> {
    table.only(&["server", "login", "authorize_as", "password"]);
    let server = table.require("server", "write server = { host = \"localhost\", port = 143 }");
    let server = server.and_then(|value| value.table()).and_then(|table| {
        table.only(&[
            "host",
            "port",
            "security",
            "ca_file",
            "fingerprint",
            "max_connections",
            "timeout",
            "login_timeout",
        ]);
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
        fingerprint: manner.fingerprint,
        patience: manner.patience,
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
