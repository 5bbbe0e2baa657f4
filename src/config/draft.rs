//! Definitions as they are being written: keys with dots become tables, words become what the key wants, and
//! all of them a file. It refuses to judge a value: what is written is checked like any other file. And it
//! refuses a password in plain words: those are sealed.

use std::collections::BTreeSet;
use std::path::Path;

use toml::{Table, Value};

use super::complaint::Complaint;
use super::text::Text;

/// Keys that are `true` or `false`.
const SWITCHES: [&str; 5] =
    ["agreed", "poll.enabled", "poll.keep_original", "poll.apply_filter", "poll.apply_spam"];
/// Keys that are numbers.
const NUMBERS: [&str; 2] = ["source.server.port", "source.server.max_connections"];
/// Keys that are lists, with commas between their words, or written as in a file.
const LISTS: [&str; 5] = [
    "poll.folders",
    "migrate.include",
    "migrate.exclude",
    "source.password.command",
    "new_mailbox.password.command",
];
/// Keys of a source that may be written without `source.`.
const SOURCE: [&str; 5] = ["protocol", "server", "username", "password", "auth"];
/// The places of secrets.
const SECRETS: [&str; 2] = ["source.password", "new_mailbox.password"];

/// A list of strings as a file has it.
fn listed(written: &str) -> Option<Vec<Value>> {
    let table: Table = format!("list = {written}").parse().ok()?;
    let list = table.get("list")?.as_array()?;
    list.iter().all(Value::is_str).then(|| list.clone())
}

/// Why a key cannot be set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotAKey {
    /// The key.
    pub key: String,
    /// What is wrong.
    pub what: String,
    /// What would be right.
    pub mend: String,
}

/// One definition.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Draft(Table);

impl Draft {
    /// The key in full: `server` is `source.server`.
    pub fn key(written: &str) -> String {
        let first = written.split('.').next().unwrap_or_default();
        if SOURCE.contains(&first) { format!("source.{written}") } else { written.to_owned() }
    }

    /// Whether a key names what the daemon runs or reads: a command, a file or a credential.
    pub fn reaches_out(key: &str) -> bool {
        let reaches =
            |part: &str| matches!(part, "command" | "file" | "credential") || part.ends_with("_file");
        key.split('.').any(reaches)
    }

    /// Whether a key says which server gets the password, or how well the way there is protected.
    pub fn leads(key: &str) -> bool {
        Self::key(key).starts_with("source.server")
    }

    /// Sets a key to a value as a person types it; an empty one takes the key away. `servers` are the names
    /// of the templates: another word with a dot or a colon in it is a host, with its port if there is one.
    ///
    /// # Errors
    /// It is no key, or it would hold a password.
    pub fn set(&mut self, key: &str, written: &str, servers: &BTreeSet<String>) -> Result<(), NotAKey> {
        let key = Self::key(key);
        if SECRETS.contains(&key.as_str()) || SECRETS.iter().any(|place| key == format!("{place}.value")) {
            let place = key.trim_end_matches(".value");
            return Err(NotAKey {
                what: "a password does not belong into the arguments, where every user can see it".to_owned(),
                mend: format!("write {place}=- and type it, or {place}.file=PATH"),
                key,
            });
        }
        if written.is_empty() {
            self.clear(&key);
            return Ok(());
        }
        for place in SECRETS {
            if key.starts_with(place) {
                // One kind takes the place of another.
                self.clear(place);
            }
        }
        if key == "source.server" && !servers.contains(written) && written.contains(['.', ':']) {
            return self.host(written);
        }
        let words = || match listed(written) {
            Some(list) => list,
            None => written.split(',').map(|word| Value::String(word.trim().to_owned())).collect(),
        };
        let value = match (key.as_str(), written) {
            (key, "true" | "false") if SWITCHES.contains(&key) => Value::Boolean(written == "true"),
            (key, _) if NUMBERS.contains(&key) => match written.parse() {
                Ok(number) => Value::Integer(number),
                Err(_) => Value::String(written.to_owned()),
            },
            (key, _) if LISTS.contains(&key) => Value::Array(words()),
            _ => Value::String(written.to_owned()),
        };
        self.put(&key, value)
    }

    /// `HOST`, `HOST:PORT` or `[ADDRESS]:PORT`.
    fn host(&mut self, written: &str) -> Result<(), NotAKey> {
        let (host, port) = match written.rsplit_once(':') {
            Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, Some(port)),
            _ => (written, None),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        self.clear("source.server");
        self.put("source.server.host", Value::String(host.to_owned()))?;
        match port.map(|port| port.parse().map_or(Value::String(port.to_owned()), Value::Integer)) {
            Some(port) => self.put("source.server.port", port),
            None => Ok(()),
        }
    }

    /// Makes an empty table, `migrate` or `poll`, unless it is there.
    ///
    /// # Errors
    /// The key is no table.
    pub fn table(&mut self, key: &str) -> Result<(), NotAKey> {
        if matches!(key, "poll" | "migrate") {
            if !self.0.contains_key(key) {
                self.0.insert(key.to_owned(), Value::Table(Table::new()));
            }
            return Ok(());
        }
        Err(NotAKey {
            key: key.to_owned(),
            what: "has no value".to_owned(),
            mend: format!("write {key}=VALUE, or one of the words poll and migrate"),
        })
    }

    /// Says that a secret is sealed.
    ///
    /// # Errors
    /// The key is not the place of a secret.
    pub fn seal(&mut self, key: &str) -> Result<(), NotAKey> {
        let key = Self::key(key);
        if !SECRETS.contains(&key.as_str()) {
            let (what, mend) =
                ("is not a password".to_owned(), format!("write {}=-", SECRETS.join("=- or ")));
            return Err(NotAKey { key, what, mend });
        }
        self.clear(&key);
        self.put(&format!("{key}.sealed"), Value::Boolean(true))
    }

    /// Whether anything is written under the key.
    pub fn has(&self, key: &str) -> bool {
        let mut parts = key.split('.');
        let first = parts.next().and_then(|part| self.0.get(part));
        parts.fold(first, |value, part| value?.get(part)).is_some()
    }

    /// Its name.
    pub fn name(&self) -> Option<&str> {
        self.0.get("name")?.as_str()
    }

    fn clear(&mut self, key: &str) {
        let Some((path, last)) = key.rsplit_once('.') else {
            self.0.remove(key);
            return;
        };
        let mut table = &mut self.0;
        for part in path.split('.') {
            let Some(Value::Table(next)) = table.get_mut(part) else { return };
            table = next;
        }
        table.remove(last);
    }

    fn put(&mut self, key: &str, value: Value) -> Result<(), NotAKey> {
        let good = |part: &str| !part.is_empty() && part.len() <= 64 && !part.chars().any(char::is_control);
        if !key.split('.').all(good) || key.matches('.').count() > 4 {
            let mend = "write keys as in mailhaul.toml(5), such as source.server or migrate.into".to_owned();
            return Err(NotAKey { key: key.to_owned(), what: "is not a key".to_owned(), mend });
        }
        let mut table = &mut self.0;
        let mut parts = key.split('.').peekable();
        while let Some(part) = parts.next() {
            if parts.peek().is_none() {
                table.insert(part.to_owned(), value);
                return Ok(());
            }
            let next = table.entry(part.to_owned()).or_insert_with(|| Value::Table(Table::new()));
            if !next.is_table() {
                *next = Value::Table(Table::new());
            }
            let Value::Table(next) = next else { return Ok(()) };
            table = next;
        }
        Ok(())
    }
}

/// The definitions of one file.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Drafts(pub Vec<Draft>);

impl Drafts {
    /// Reads a file that `mailhaulctl` wrote.
    ///
    /// # Errors
    /// Somebody else wrote into it what is no definition.
    pub fn read(file: &Path) -> Result<Drafts, Complaint> {
        let text = Text::read(file)?;
        let complain = |at: usize, what: String| {
            let (line, column) = text.place(at);
            Complaint {
                file: file.to_owned(),
                line,
                column,
                key: "(file)".to_owned(),
                what,
                mend: "mend it by hand, then run 'mailhaulctl reload'".to_owned(),
            }
        };
        let mut table: Table = text.text.parse().map_err(|error: toml::de::Error| {
            complain(error.span().map_or(0, |span| span.start), error.message().replace('\n', ", "))
        })?;
        let Some(Value::Array(accounts)) = table.remove("account") else {
            return Err(complain(0, "holds no [[account]]".to_owned()));
        };
        let drafts = accounts.into_iter().filter_map(|account| match account {
            Value::Table(table) => Some(Draft(table)),
            _ => None,
        });
        Ok(Drafts(drafts.collect()))
    }

    /// The text of a file; `None`: it cannot be written as one.
    pub fn write(self) -> Option<String> {
        let accounts = self.0.into_iter().map(|draft| Value::Table(draft.0)).collect();
        let table = Table::from_iter([("account".to_owned(), Value::Array(accounts))]);
        let text = toml::to_string(&table).ok()?;
        Some(format!("# Written by mailhaulctl: change it with 'mailhaulctl set NAME KEY=VALUE'.\n\n{text}"))
    }

    /// The line of each definition in a text that [`Drafts::write`] made.
    pub fn lines(text: &str) -> Vec<usize> {
        let lines = text.lines().zip(1..);
        lines.filter(|(line, _)| *line == "[[account]]").map(|(_, number)| number).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_name_what_the_daemon_runs_and_reads() {
        for key in [
            "password.command",
            "source.password.file",
            "password.credential",
            "new_mailbox.password.command",
            "server.ca_file",
            "source.server.oauth2.key_file",
            "source.server.oauth2.ca_file",
            "server.oauth2.client_secret.file",
            "server.oauth2.client_secret.command",
        ] {
            assert!(Draft::reaches_out(key), "{key}");
        }
        for key in ["member", "destination", "migrate.into", "server.host", "server.oauth2.client_id"] {
            assert!(!Draft::reaches_out(key), "{key}");
        }
    }

    #[test]
    fn keys_become_tables_and_words_what_the_key_wants() {
        let servers = BTreeSet::from(["gmail".to_owned(), "old.example".to_owned()]);
        let mut draft = Draft::default();
        for (key, value) in [
            ("name", "a"),
            ("agreed", "true"),
            ("protocol", "imap"),
            ("source.server", "mail.example.com:1143"),
            ("server.security", "none"),
            ("migrate.exclude", "\\Trash, Spam"),
            ("new_mailbox.first_name", "A \"b\""),
        ] {
            draft.set(key, value, &servers).unwrap();
        }
        draft.seal("password").unwrap();
        let text = Drafts(vec![draft.clone()]).write().unwrap();
        let expected = [
            "[[account]]\nagreed = true\n",
            "exclude = ['\\Trash', \"Spam\"]",
            "port = 1143",
            "host = \"mail.example.com\"",
            "sealed = true",
        ];
        for words in expected {
            assert!(text.contains(words), "{words}\n{text}");
        }
        assert_eq!(Drafts::lines(&text), [3]);
        draft.set("server", "old.example", &servers).unwrap();
        draft.set("password.file", "x.secret", &servers).unwrap();
        draft.set("migrate.exclude", "", &servers).unwrap();
        let text = Drafts(vec![draft.clone()]).write().unwrap();
        assert!(text.contains("server = \"old.example\"") && !text.contains("sealed"), "{text}");
        assert!(!text.contains("exclude") && draft.has("source.password.file"), "{text}");
        assert!(draft.set("password", "hunter2", &servers).is_err());
        assert!(draft.set("a..b", "x", &servers).is_err());
        assert!(draft.table("colour").is_err());
    }
}
