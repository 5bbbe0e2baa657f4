//! Whole lists: each row becomes a definition, all of them one file. Every mistake is told at its place in
//! the list, and never with what stands there. It refuses the list as a whole if one row is wrong.

use std::collections::{BTreeSet, HashMap, HashSet};

use ring::digest::{SHA256, digest};

use super::single::{apply, written};
use super::unfinished::Aim;
use super::{Bulk, Change, Definitions, Item, Known, Makers, NewMailbox, Wrong, denied, new_file};
use crate::account::Account;
use crate::bulk::{self, Cell, Row};
use crate::config::{self, DEFAULT_DESTINATION, Draft, Drafts, Loaded, Proposed, Surroundings};
use crate::failure::Failure;
use crate::secret::Secret;

/// A definition's key in a complaint, without what stands before it in the file.
fn bare(key: &str) -> &str {
    key.strip_prefix("account.").unwrap_or(key)
}

impl Definitions {
    pub(super) fn list(&self, wanted: Bulk, known: &[Known]) -> Result<Change, Vec<Wrong>> {
        let Bulk { file: shown, octets, format, server, domain, poll, keys } = wanted;
        let at = |place: (usize, usize)| format!("{shown}:{}:{}", place.0, place.1);
        let (mut rows, mistakes) = bulk::read(octets.expose(), format, domain.as_deref());
        drop(octets);
        let mut wrong: Vec<_> = mistakes.into_iter().map(|m| (m.at, m.what, m.mend)).collect();
        // What is wrong with the list as a whole.
        let mut whole: Vec<Wrong> = Vec::new();
        if !rows.is_empty() {
            rows.iter_mut().flat_map(|row| &mut row.cells).for_each(|cell| cell.key = Draft::key(&cell.key));
            let names = names(&rows, known);
            let common = Common { shown: &shown, server: server.as_deref(), poll, keys: &keys };
            let loaded = self.load(|around| {
                let drafts = common.drafts(&rows, &names, around, &mut wrong, &mut whole);
                let file = new_file(around.settings, "bulk");
                Ok(Proposed { file, text: Some(written(&shown, drafts)?) })
            });
            match loaded {
                Ok((loaded, file)) => {
                    let judged = common.judge(&rows, &loaded, &file, &mut wrong);
                    whole.extend(judged.err().map(|failure| Wrong::new(&shown, failure.words, failure.mend)));
                    if wrong.is_empty() && whole.is_empty() {
                        let secrets = secrets(rows, &names);
                        return Ok(Change {
                            names,
                            loaded,
                            file,
                            secrets,
                            forgotten: Vec::new(),
                            aim: Aim::Stay,
                        });
                    }
                }
                Err(more) => whole.extend(more),
            }
        }
        wrong.sort();
        let rows = wrong.into_iter().map(|(place, what, mend)| Wrong::new(at(place), what, mend));
        Err(whole.into_iter().chain(rows).collect())
    }
}

/// A place in the list, what is wrong there, and what would be right.
type Found = ((usize, usize), String, String);

fn secrets(rows: Vec<Row>, names: &[String]) -> Vec<(String, Item, Secret)> {
    let of = |(row, name): (Row, &String)| {
        let password = row.password.map(|(secret, _)| (name.clone(), Item::Password, secret));
        let mailbox = row.mailbox_password.map(|(secret, _)| (name.clone(), Item::MailboxPassword, secret));
        [password, mailbox]
    };
    rows.into_iter().zip(names).flat_map(of).flatten().collect()
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
        wrong: &mut Vec<Found>,
        whole: &mut Vec<Wrong>,
    ) -> Drafts {
        // Once for all rows: what is wrong here is wrong everywhere.
        let mut good = Vec::new();
        for key in self.keys {
            let not = apply(&mut Draft::default(), self.shown, std::slice::from_ref(key), &[], around);
            if not.is_empty() {
                good.extend(key.split_once('='));
            }
            whole.extend(not);
        }
        let mut drafts = Vec::with_capacity(rows.len());
        for (row, name) in rows.iter().zip(names) {
            let mut draft = Draft::default();
            let mut set = |key: &str, value: &str, at| {
                if let Err(not) = draft.set(key, value, &around.servers) {
                    wrong.push((at, format!("{}: {}", not.key, not.what), not.mend));
                }
            };
            let start = (row.line, 1);
            set("name", name, start);
            set("agreed", "true", start);
            set("protocol", if self.poll { "pop3" } else { "imap" }, start);
            for cell in row.cells.iter().filter(|cell| cell.key != "name") {
                set(&cell.key, &cell.value, cell.at);
            }
            if let Some(server) = self.server {
                set("server", server, start);
            }
            for (key, value) in &good {
                set(key, value, start);
            }
            if !draft.has("source.server") && !row.has_told("source.server") {
                wrong.push((start, "no server is named".to_owned(), "name it with --server".to_owned()));
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
        Drafts(drafts)
    }

    /// What is wrong with the definitions that the rows became: each of them as far as it can be told.
    fn judge(
        &self,
        rows: &[Row],
        loaded: &Loaded,
        file: &Proposed,
        wrong: &mut Vec<Found>,
    ) -> Result<(), Failure> {
        let lines = Drafts::lines(file.text.as_deref().unwrap_or_default());
        let row_of = |line: usize| rows.get(lines.partition_point(|start| *start <= line).saturating_sub(1));
        for broken in loaded.broken.iter().filter(|broken| broken.origin.file == file.file) {
            for complaint in &broken.complaints {
                // A definition's own complaints are about lines of the file that is to be.
                let Some(row) = row_of(complaint.line) else { continue };
                let key = bare(&complaint.key);
                let missing = key == "source.server" && row.value(key).is_none() && self.server.is_none();
                if missing || row.has_told(key) {
                    continue;
                }
                let what = format!("{key}: {}", without(row, &complaint.what));
                wrong.push((row.place(key), what, without(row, &complaint.mend)));
            }
        }
        let ours = loaded.accounts.iter().filter(|account| account.origin.file == file.file);
        let accounts: HashMap<usize, &Account> =
            ours.filter_map(|account| Some((row_of(account.origin.line)?.line, account))).collect();
        twice(loaded, rows, &accounts, wrong);
        let makers = Makers::new(&loaded.settings)?;
        let everywhere = self.keys.iter().filter_map(|key| key.strip_prefix("destination=")).next_back();
        for row in rows {
            let account = accounts.get(&row.line).copied();
            let member = account.map(|account| account.member.clone());
            let member = member.or_else(|| config::member(row.value("member")?).ok());
            if let Some(what) = member.as_ref().and_then(|member| denied(loaded, member)) {
                let mend = "take the row out, or see [policy] in mailhaul.toml".to_owned();
                wrong.push((row.place("member"), what, mend));
            }
            let to = everywhere.or(row.value("destination")).unwrap_or(DEFAULT_DESTINATION);
            let wanted = NewMailbox {
                member: member.as_ref(),
                destination: account.map_or(to, |account| &account.destination),
                // What stands elsewhere than in the list cannot be judged here.
                password_elsewhere: account.is_some_and(|account| account.new_mailbox.password.is_some()),
            };
            let given = row.password.as_ref().map(|(secret, _)| secret);
            let mailbox = row.mailbox_password.as_ref().map(|(secret, _)| secret);
            if let Some((key, what)) = makers.wrong(&wanted, given, mailbox) {
                wrong.push((row.place(key), what, "write another password for the new mailbox".to_owned()));
            }
        }
        Ok(())
    }
}

/// The same mailbox at the same server for the same member: in the list, or there already. Rows whose
/// definitions cannot be used are compared as they are written.
fn twice(loaded: &Loaded, rows: &[Row], accounts: &HashMap<usize, &Account>, wrong: &mut Vec<Found>) {
    let key = |account: &Account| {
        let source = &account.source;
        (account.member.to_string(), source.host.to_lowercase(), Some(source.port), source.username.clone())
    };
    let new: HashSet<&str> = accounts.values().map(|account| account.name.as_str()).collect();
    let old = loaded.accounts.iter().filter(|account| !new.contains(account.name.as_str()));
    let there: HashMap<_, &str> = old.map(|account| (key(account), account.name.as_str())).collect();
    let mut seen: HashMap<_, usize> = HashMap::new();
    for row in rows {
        let written = || {
            let server = row.value("source.server").unwrap_or_default().to_lowercase();
            let (member, login) = (row.value("member")?, row.value("source.username")?);
            Some((member.to_owned(), server, None, login.to_owned()))
        };
        let Some(key) = accounts.get(&row.line).map(|account| key(account)).or_else(written) else {
            continue;
        };
        let place = row.place("source.username");
        let mend = || "take the row out".to_owned();
        if let Some(name) = there.get(&key) {
            wrong.push((place, format!("is the account {name} already"), mend()));
        } else if let Some(line) = seen.get(&key) {
            wrong.push((place, format!("is the same as line {line}"), mend()));
        } else {
            seen.insert(key, row.line);
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
        let line = || format!("line-{}", row.line);
        let member = row.value("member").map_or_else(line, str::to_owned);
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
/// where an address should be. A server that stands before the password is no part of it.
fn without(row: &Row, words: &str) -> String {
    let mut words = words.to_owned();
    let before = |at| row.password.as_ref().is_some_and(|(_, password)| at < *password);
    let is_server = |cell: &Cell| cell.key == "source.server" && before(cell.at);
    for cell in row.cells.iter().filter(|cell| !is_server(cell)) {
        for value in [cell.value.as_str(), &cell.value.to_lowercase()] {
            words = words.replace(&format!("{value:?}"), "it");
            if value.len() > 3 {
                words = words.replace(value, "it");
            }
        }
    }
    words
}
