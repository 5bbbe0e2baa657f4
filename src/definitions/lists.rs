//! Whole lists: each row becomes a definition, all of them one file. Every mistake is told at its place in
//! the list, and never with what stands there. It refuses the list as a whole if one row is wrong.

use std::collections::{BTreeSet, HashMap, HashSet};

use ring::digest::{SHA256, digest};

use super::single::{apply, written};
use super::unfinished::Aim;
use super::{Bulk, Change, Definitions, Item, Known, Makers, Wrong};
use crate::account::Account;
use crate::bulk::{self, Row};
use crate::config::{Draft, Drafts, Loaded, Proposed, Surroundings, own_definitions};

/// A definition's key in a complaint, without what stands before it in the file.
fn bare(key: &str) -> &str {
    key.strip_prefix("account.").unwrap_or(key)
}

impl Definitions {
    pub(super) fn list(&self, wanted: Bulk, known: &[Known]) -> Result<Change, Vec<Wrong>> {
        let Bulk { file: shown, octets, format, server, domain, poll, keys } = wanted;
        let at = |place: (usize, usize)| format!("{shown}:{}:{}", place.0, place.1);
        let rows = bulk::read(octets.expose(), format, domain.as_deref()).map_err(|mistakes| {
            mistakes.into_iter().map(|m| Wrong::new(at(m.at), m.what, m.mend)).collect::<Vec<_>>()
        })?;
        drop(octets);
        let names = names(&rows, known);
        let (loaded, file) = self.load(|around| {
            let common = Common { shown: &shown, server: server.as_deref(), poll, keys: &keys };
            let drafts = common.drafts(&rows, &names, around)?;
            let stamp = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%S%3fZ").to_string();
            let file = own_definitions(around.settings).join(format!("bulk-{stamp}.toml"));
            Ok(Proposed { file, text: Some(written(&shown, drafts)?) })
        })?;
        let lines = Drafts::lines(file.text.as_deref().unwrap_or_default());
        let row_of = |line: usize| rows.get(lines.partition_point(|start| *start <= line).saturating_sub(1));
        let mut wrong: Vec<((usize, usize), String, String)> = Vec::new();
        for broken in loaded.broken.iter().filter(|broken| broken.origin.file == file.file) {
            for complaint in &broken.complaints {
                // A definition's own complaints are about lines of the file that is to be.
                let Some(row) = row_of(complaint.line) else { continue };
                let key = bare(&complaint.key);
                let what = format!("{key}: {}", without(row, &complaint.what));
                wrong.push((row.place(key), what, without(row, &complaint.mend)));
            }
        }
        let accounts: Vec<(&Account, &Row)> = loaded
            .accounts
            .iter()
            .filter(|account| account.origin.file == file.file)
            .filter_map(|account| Some((account, row_of(account.origin.line)?)))
            .collect();
        twice(&loaded, &accounts, &mut wrong);
        let makers = Makers::new(&loaded.settings)
            .map_err(|failure| vec![Wrong::new(&shown, failure.words, failure.mend)])?;
        for (account, row) in &accounts {
            let given = row.password.as_ref().map(|(secret, _)| secret);
            let mailbox = row.mailbox_password.as_ref().map(|(secret, _)| secret);
            if let Some((key, what)) = makers.wrong(account, given, mailbox) {
                wrong.push((row.place(key), what, "write another password for the new mailbox".to_owned()));
            }
        }
        if !wrong.is_empty() {
            wrong.sort();
            let told: Vec<Wrong> =
                wrong.into_iter().map(|(place, what, mend)| Wrong::new(at(place), what, mend)).collect();
            return Err(told);
        }
        let mut secrets = Vec::with_capacity(rows.len());
        for (row, name) in rows.into_iter().zip(&names) {
            secrets.extend(row.password.map(|(secret, _)| (name.clone(), Item::Password, secret)));
            let mailbox = row.mailbox_password;
            secrets.extend(mailbox.map(|(secret, _)| (name.clone(), Item::MailboxPassword, secret)));
        }
        Ok(Change { names, loaded, file, secrets, forgotten: Vec::new(), aim: Aim::Stay })
    }
}

/// What holds for every row.
struct Common<'c> {
    shown: &'c str,
    server: Option<&'c str>,
    poll: bool,
    keys: &'c [String],
}

impl Common<'_> {
    fn drafts(
        &self,
        rows: &[Row],
        names: &[String],
        around: &Surroundings<'_>,
    ) -> Result<Drafts, Vec<Wrong>> {
        // Once for all rows: what is wrong here is wrong everywhere.
        let mut common = Draft::default();
        let wrong = apply(&mut common, self.shown, self.keys, &[], around);
        if !wrong.is_empty() {
            return Err(wrong);
        }
        let mut wrong = Vec::new();
        let mut drafts = Vec::with_capacity(rows.len());
        for (row, name) in rows.iter().zip(names) {
            let mut draft = Draft::default();
            let mut set = |key: &str, value: &str, at| {
                if let Err(not) = draft.set(key, value, &around.servers) {
                    let place = format!("{}:{}:{}", self.shown, row.line, at);
                    wrong.push(Wrong::new(place, format!("{}: {}", not.key, not.what), not.mend));
                }
            };
            set("name", name, 1);
            set("agreed", "true", 1);
            set("protocol", if self.poll { "pop3" } else { "imap" }, 1);
            for cell in row.cells.iter().filter(|cell| cell.key != "name") {
                set(&cell.key, &cell.value, cell.at.1);
            }
            if let Some(server) = self.server {
                set("server", server, 1);
            }
            for (key, value) in self.keys.iter().filter_map(|key| key.split_once('=')) {
                set(key, value, 1);
            }
            let place = || format!("{}:{}:1", self.shown, row.line);
            if !draft.has("source.server") {
                wrong.push(Wrong::new(place(), "no server is named", "name it with --server"));
            }
            if !draft.has("poll") && !draft.has("migrate") {
                let _ = draft.table(if self.poll { "poll" } else { "migrate" });
            }
            for (key, secret) in
                [("source.password", &row.password), ("new_mailbox.password", &row.mailbox_password)]
            {
                if secret.is_some() {
                    let _ = draft.seal(key);
                }
            }
            drafts.push(draft);
        }
        if wrong.is_empty() { Ok(Drafts(drafts)) } else { Err(wrong) }
    }
}

/// The same mailbox at the same server for the same member: in the list, or there already.
fn twice(loaded: &Loaded, accounts: &[(&Account, &Row)], wrong: &mut Vec<((usize, usize), String, String)>) {
    let key = |account: &Account| {
        let source = &account.source;
        (account.member.to_string(), source.host.to_lowercase(), source.port, source.username.clone())
    };
    let new: HashSet<&str> = accounts.iter().map(|(account, _)| account.name.as_str()).collect();
    let old = loaded.accounts.iter().filter(|account| !new.contains(account.name.as_str()));
    let there: HashMap<_, &str> = old.map(|account| (key(account), account.name.as_str())).collect();
    let mut seen: HashMap<_, usize> = HashMap::new();
    for (account, row) in accounts {
        let place = row.place("source.username");
        let mend = || "take the row out".to_owned();
        if let Some(name) = there.get(&key(account)) {
            wrong.push((place, format!("is the account {name} already"), mend()));
        } else if let Some(line) = seen.insert(key(account), row.line) {
            wrong.push((place, format!("is the same as line {line}"), mend()));
        }
    }
}

/// A name for each row: what the list says, or the member's address as far as a name can hold it, and where
/// that is taken with a part that follows from the source: the same list gives the same names again.
fn names(rows: &[Row], known: &[Known]) -> Vec<String> {
    let mut taken: BTreeSet<String> = known.iter().map(|known| known.name.clone()).collect();
    // What the list says itself is nobody else's.
    taken.extend(rows.iter().filter_map(|row| row.value("name").map(str::to_owned)));
    let name = |row: &Row| {
        if let Some(name) = row.value("name") {
            return name.to_owned();
        }
        let member = row.value("member").unwrap_or_default();
        let base: String = member
            .to_lowercase()
            .chars()
            .map(|c| match c {
                'a'..='z' | '0'..='9' | '.' | '_' | '-' => c,
                '@' => '-',
                _ => '_',
            })
            .take(55)
            .collect();
        if taken.insert(base.clone()) {
            return base;
        }
        let part = |key| row.value(key).unwrap_or_default();
        let source = format!("{member}\0{}\0{}", part("source.server"), part("source.username"));
        let hash = digest(&SHA256, source.as_bytes());
        let tail: String = hash.as_ref().iter().take(4).map(|octet| format!("{octet:02x}")).collect();
        let name = format!("{base}-{tail}");
        taken.insert(name.clone());
        name
    };
    rows.iter().map(name).collect()
}

/// Words without anything that stands in the row: with a separator too many, part of a password may stand
/// where an address should be.
fn without(row: &Row, words: &str) -> String {
    let mut words = words.to_owned();
    for cell in &row.cells {
        for value in [cell.value.as_str(), &cell.value.to_lowercase()] {
            words = words.replace(&format!("{value:?}"), "it");
            if value.len() > 3 {
                words = words.replace(value, "it");
            }
        }
    }
    words
}
