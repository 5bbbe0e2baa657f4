//! `[notices]`: who is told how runs went, and by which SMTP server administrators are. It refuses an address that
//! is none, and a password that would go over a network unencrypted.

use crate::account::Security;
use crate::settings::{Notices, Smtp};

use super::accounts::good;
use super::names;
use super::servers;
use super::source;
use super::walk::{Table, Value};

/// Administrators that can be told.
const MOST: usize = 100;

/// Walks through the table.
pub(super) fn read(table: &Table<'_>, notices: &mut Notices) {
    table.only(&["to_member", "to_admin", "smtp"]);
    if let Some(value) = table.get("to_member").and_then(|value| value.boolean()) {
        notices.to_member = value;
    }
    if let Some(value) = table.get("to_admin")
        && let Some(list) = value.strings()
    {
        if list.len() > MOST {
            value.complain(format!("has more than {MOST} addresses"), "write the address of a list");
        }
        let addresses = list.into_iter().filter_map(|(written, value)| {
            good(&value, names::member(written))?;
            Some(written.to_owned())
        });
        notices.to_admin = addresses.collect();
    }
    if let Some(found) = table.get("smtp").and_then(|value| value.table()).and_then(|table| smtp(&table)) {
        notices.smtp = found;
    }
}

fn smtp(table: &Table<'_>) -> Option<Smtp> {
    table.only(&["host", "port", "security", "ca_file", "username", "password", "from"]);
    let mut smtp = Smtp::default();
    if let Some(value) = table.get("host") {
        let written = value.string()?;
        good(&value, names::host(written))?;
        written.clone_into(&mut smtp.host);
    }
    if let Some(value) = table.get("security") {
        (smtp.security, smtp.port) = match value.choice(&["tls", "starttls", "none"])? {
            "tls" => (Security::Tls, 465),
            "starttls" => (Security::StartTls, 587),
            _ => (Security::None, 25),
        };
    }
    if let Some(value) = table.get("port") {
        smtp.port = value.integer(1, 65535).and_then(|port| u16::try_from(port).ok())?;
    }
    smtp.ca_file = table.get("ca_file").and_then(|value| servers::ca_file(&value));
    if let Some(value) = table.get("from") {
        let written = value.string()?;
        good(&value, names::member(written))?;
        smtp.from = Some(written.to_owned());
    }
    smtp.login = login(table, &smtp)?;
    Some(smtp)
}

/// `Some(None)`: there is none, and none is needed.
fn login(table: &Table<'_>, smtp: &Smtp) -> Option<Option<Login>> {
    let (username, password) = (table.get("username"), table.get("password"));
    let (Some(username), Some(password)) = (&username, &password) else {
        return match username.or(password) {
            None => Some(None),
            Some(value) => {
                value.complain("username and password belong together", "write both, or none of them");
                None
            }
        };
    };
    if smtp.security == Security::None && !is_here(&smtp.host) {
        username.complain(
            format!("the password would go to {} unencrypted", smtp.host),
            "write security = \"starttls\" or \"tls\"",
        );
        return None;
    }
    let written = written(username)?;
    Some(Some((written, source::password(&password.table()?, &source::For::Server)?)))
}

type Login = (String, crate::secret::SecretPlace);

fn written(value: &Value<'_>) -> Option<String> {
    let written = value.string()?;
    good(value, names::username(written))?;
    Some(written.to_owned())
}

fn is_here(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}
