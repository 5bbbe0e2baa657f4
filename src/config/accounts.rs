//! `[[account]]`: one definition becomes an [`Account`], or a [`Broken`] with every complaint about it.
//! It refuses to let one definition see another; names and counts over all files are `census`'s.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use crate::account::{Account, Job, Member, Migrate, NewMailbox, Origin, Poll, Protocol};

use crate::settings::{Destination, Settings};

use super::complaint::Complaint;
use super::names::{self, Wrong};
use super::servers::Templates;
use super::settings_file::unknown_destination;
use super::source;
use super::walk::{Sheet, Table, Value};
use super::{Broken, Environment};

/// What definitions are checked against.
pub(super) struct Against<'c> {
    pub(super) settings: &'c Settings,
    pub(super) destinations: &'c BTreeSet<String>,
    pub(super) templates: &'c Templates,
    pub(super) env: &'c Environment,
    /// Where the definitions are that `mailhaulctl` wrote.
    pub(super) own: PathBuf,
}

/// A definition after its check; the places of name and member serve later complaints.
pub(super) struct Checked {
    pub(super) result: Result<Account, Broken>,
    pub(super) name_at: (usize, usize),
    pub(super) member_at: (usize, usize),
}

/// Checks one definition.
pub(super) fn check(value: &Value<'_>, sheet: Sheet<'_>, against: &Against<'_>) -> Checked {
    let complaints = RefCell::new(Vec::new());
    let value = value.clone().complaining_to(&complaints);
    let (line, column) = value.place();
    let origin = Origin { file: sheet.text.file.clone(), line };
    let mut found = Found::default();
    let account = value.table().and_then(|table| read(&table, against, &mut found, &origin));
    let at = |place: Option<(usize, usize)>| place.unwrap_or((line, column));
    let (name_at, member_at) = (at(found.name_at), at(found.member_at));
    let complaints = complaints.into_inner();
    let result = match account.filter(|_| complaints.is_empty()) {
        Some(account) => Ok(account),
        None => Err(broken(found, origin, complaints)),
    };
    Checked { result, name_at, member_at }
}

fn broken(found: Found, origin: Origin, complaints: Vec<Complaint>) -> Broken {
    Broken {
        name: found.name,
        member: found.member.map(|member| member.to_string()),
        protocol: found.protocol,
        mode: found.mode,
        origin,
        complaints,
    }
}

/// What can be told about a definition however bad it is.
#[derive(Default)]
struct Found {
    name: Option<String>,
    name_at: Option<(usize, usize)>,
    member: Option<Member>,
    member_at: Option<(usize, usize)>,
    protocol: Option<Protocol>,
    mode: Option<&'static str>,
}

/// Complains about a name that is wrong.
pub(super) fn good<T>(value: &Value<'_>, result: Result<T, Wrong>) -> Option<T> {
    match result {
        Ok(good) => Some(good),
        Err((what, mend)) => {
            value.complain(what, mend);
            None
        }
    }
}

fn read(table: &Table<'_>, against: &Against<'_>, found: &mut Found, origin: &Origin) -> Option<Account> {
    table.only(&["name", "member", "agreed", "destination", "source", "poll", "migrate", "new_mailbox"]);
    if let Some(value) = table.require("name", "write name = \"...\", unique, of a-z, 0-9, '.', '_' and '-'")
    {
        found.name_at = Some(value.place());
        found.name = value
            .string()
            .filter(|written| good(&value, names::account(written)).is_some())
            .map(str::to_owned);
    }
    if let Some(value) = table.require("member", "write member = \"alice@example.com\", whose mailbox it is")
    {
        found.member_at = Some(value.place());
        found.member = value.string().and_then(|written| good(&value, names::member(written)));
    }
    agreed(table);
    let destination = match table.get("destination") {
        None => Some(super::DEFAULT_DESTINATION.to_owned()),
        Some(value) => destination(&value, against),
    };
    let source = table.require("source", "write [account.source]").and_then(|value| value.table());
    let source = source.and_then(|table| source::read(&table, against, &mut found.protocol));
    let to = destination.as_ref().and_then(|name| against.settings.destinations.get(name));
    let job = job(table, found, to);
    let new_mailbox = match table.get("new_mailbox") {
        None => Some(NewMailbox::default()),
        Some(value) => value.table().map(|table| read_new_mailbox(&table, against)),
    };
    Some(Account {
        name: found.name.clone()?,
        member: found.member.clone()?,
        destination: destination?,
        source: source?,
        era: 0,
        job: job?,
        new_mailbox: new_mailbox?,
        origin: origin.clone(),
    })
}

fn agreed(table: &Table<'_>) {
    const MEND: &str = "ask the owner of the mailbox, then write agreed = true";
    let Some(value) = table.require("agreed", MEND) else { return };
    if value.boolean() == Some(false) {
        value.complain("without the owner's consent nothing is imported", MEND);
    }
}

fn destination(value: &Value<'_>, against: &Against<'_>) -> Option<String> {
    let name = value.string()?;
    if !against.destinations.contains(name) {
        let (what, mend) = unknown_destination(name, against.destinations);
        value.complain(what, mend);
        return None;
    }
    Some(name.to_owned())
}

fn job(table: &Table<'_>, found: &mut Found, to: Option<&Destination>) -> Option<Job> {
    const MEND: &str = "write either [account.poll] or [account.migrate]";
    let protocol = found.protocol;
    let (poll, migrate) = (table.get("poll"), table.get("migrate"));
    found.mode = match (&poll, &migrate) {
        (Some(_), None) => Some("poll"),
        (None, Some(_)) => Some("migrate"),
        _ => None,
    };
    match (&poll, &migrate) {
        (Some(_), Some(_)) => table.complain("has both [account.poll] and [account.migrate]", MEND),
        (None, None) => table.complain("does not say what to do", MEND),
        _ => {}
    }
    let poll = poll.and_then(|value| value.table());
    let poll = poll.and_then(|table| read_poll(&table, protocol, to)).map(Job::Poll);
    let migrate = migrate.and_then(|value| value.table()).and_then(|table| read_migrate(&table));
    poll.or(migrate.map(Job::Migrate))
}

fn read_poll(table: &Table<'_>, protocol: Option<Protocol>, to: Option<&Destination>) -> Option<Poll> {
    table.only(&["mailbox", "folders", "enabled", "keep_original", "apply_filter", "apply_spam", "icon"]);
    let mailbox = match table.get("mailbox") {
        None => Some(vec!["INBOX".to_owned()]),
        Some(value) => value.string().and_then(|written| good(&value, names::folder(written))),
    };
    let folders = match table.get("folders") {
        None => Some(vec!["INBOX".to_owned()]),
        Some(value) => {
            let patterns = some_patterns(&value, "[\"INBOX\"]");
            if protocol == Some(Protocol::Pop3) && patterns.as_ref().is_some_and(|p| *p != ["INBOX"]) {
                value.complain("POP3 has one folder only", "leave it out, or write protocol = \"imap\"");
            }
            patterns
        }
    };
    let switch = |name| table.get(name).map_or(Some(true), |value| value.boolean());
    let (enabled, keep_original) = (switch("enabled"), switch("keep_original"));
    let apply_spam = table.get("apply_spam").map_or(Some(false), |value| value.boolean());
    if let Some(value) = table.get("apply_spam").filter(|_| apply_spam == Some(true))
        && to.is_some_and(|to| to.mailbox().is_none())
    {
        value.complain(
            "the destination has LMTP alone, which cannot put spam into a folder",
            "set .maildir or .imap beside .lmtp in the destination, or write apply_spam = false",
        );
    }
    let apply_filter = filtered(table, to);
    let icon = match table.get("icon") {
        None => Some(None),
        Some(value) => value
            .string()
            .and_then(|written| good(&value, names::icon(written)).map(|()| Some(written.to_owned()))),
    };
    Some(Poll {
        mailbox: mailbox?,
        folders: folders?,
        enabled: enabled?,
        keep_original: keep_original?,
        apply_filter: apply_filter?,
        rules: Arc::from([]),
        apply_spam: apply_spam?,
        icon: icon?,
    })
}

/// Whether the member's own rules file the mail. Where there is LMTP alone, they do.
fn filtered(table: &Table<'_>, to: Option<&Destination>) -> Option<bool> {
    let value = table.get("apply_filter");
    let written = match &value {
        Some(value) => Some(value.boolean()?),
        None => None,
    };
    let Some(lmtp) = to.and_then(Destination::lmtp) else {
        if let (Some(value), Some(true), Some(Destination::Imap(_))) = (&value, written, to) {
            value.complain(
                "the member's filter at a server runs for mail that comes by LMTP",
                "write apply_filter = false, or set .lmtp beside .imap in the destination",
            );
        }
        return Some(written.unwrap_or(false));
    };
    let filtered = written.unwrap_or(lmtp.beside.is_none());
    if let Some(value) = value.filter(|_| !filtered && lmtp.beside.is_none()) {
        value.complain(
            "the destination has LMTP alone, and there the member's filter always runs",
            "write apply_filter = true, or set .maildir or .imap beside .lmtp in the destination",
        );
    }
    if filtered {
        for (name, usual) in [("mailbox", "INBOX"), ("icon", "")] {
            let written = table.get(name).filter(|value| value.string().is_some_and(|word| word != usual));
            if let Some(value) = written {
                value.complain(
                    format!("LMTP has no {name}: the member's filter files the mail"),
                    format!(
                        "leave {name} out, or set .maildir or .imap beside .lmtp and apply_filter = false"
                    ),
                );
            }
        }
    }
    Some(filtered)
}

fn read_new_mailbox(table: &Table<'_>, against: &Against<'_>) -> NewMailbox {
    table.only(&["first_name", "last_name", "password"]);
    let name = |key| {
        let value: Value<'_> = table.get(key)?;
        let written = value.string()?;
        good(&value, names::person(written)).map(|()| written.to_owned())
    };
    let password = table.get("password").and_then(|value| value.table());
    NewMailbox {
        first_name: name("first_name").unwrap_or_default(),
        last_name: name("last_name").unwrap_or_default(),
        password: password.and_then(|table| source::password(&table, &source::For::Account(against))),
    }
}

fn read_migrate(table: &Table<'_>) -> Option<Migrate> {
    table.only(&["into", "include", "exclude", "delta"]);
    let into = match table.get("into") {
        None => Some(Vec::new()),
        Some(value) => match value.string() {
            Some("") => Some(Vec::new()),
            Some(written) => good(&value, names::folder(written)),
            None => None,
        },
    };
    let include = match table.get("include") {
        None => Some(vec!["*".to_owned()]),
        Some(value) => some_patterns(&value, "[\"*\"]"),
    };
    let exclude = table.get("exclude").map_or(Some(Vec::new()), |value| patterns(&value));
    let delta = table.get("delta").map_or(Some(None), |value| value.duration().map(Some));
    Some(Migrate { into: into?, include: include?, exclude: exclude?, delta: delta? })
}

fn some_patterns(value: &Value<'_>, usual: &str) -> Option<Vec<String>> {
    let patterns = patterns(value);
    if patterns.as_ref().is_some_and(Vec::is_empty) {
        value.complain("names no folder at all", format!("write {usual}"));
    }
    patterns
}

fn patterns(value: &Value<'_>) -> Option<Vec<String>> {
    let items = value.strings()?;
    Some(items.into_iter().filter_map(|(written, item)| good(&item, names::pattern(written))).collect())
}
