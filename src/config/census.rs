//! All definitions over all files: which files there are, which names are taken, how many a member has.
//! A file that is not TOML keeps the definitions in it that are good beyond doubt.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::de::DeTable;

use crate::account::{Account, Job, Origin};
use crate::filter::Rule;

use super::Broken;
use super::accounts::{self, Against, Checked};
use super::complaint::Complaint;
use super::filters;
use super::text::{Text, reason};
use super::walk::Sheet;

/// The regular `*.toml` files in a directory, by name; a directory that is missing holds none.
pub(super) fn files(directory: &Path, complaints: &RefCell<Vec<Complaint>>) -> Vec<PathBuf> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) => {
            if error.kind() != std::io::ErrorKind::NotFound {
                complaints.borrow_mut().push(Complaint {
                    file: directory.to_path_buf(),
                    line: 1,
                    column: 1,
                    key: "(directory)".to_owned(),
                    what: format!("cannot be read: {}", reason(&error)),
                    mend: "let the daemon's user read it".to_owned(),
                });
            }
            return Vec::new();
        }
    };
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .filter(|path| path.file_name().is_some_and(|name| !name.as_encoded_bytes().starts_with(b".")))
        // A link that leads nowhere is kept: it is an administrator's mistake, to be told.
        .filter(|path| std::fs::metadata(path).map_or(true, |metadata| metadata.is_file()))
        .collect();
    files.sort();
    files
}

/// Complains about what is not TOML.
pub(super) fn syntax(sheet: Sheet<'_>, errors: &[toml::de::Error]) {
    for error in errors {
        let at = error.span().map_or(0, |span| span.start);
        let key = key_near(&sheet.text.text, sheet.shift + at);
        let what = error.message().replace('\n', ", ");
        sheet.complain(at, &key, what, "mend the TOML here: text stands in quotes, each key and table once");
    }
}

/// The key on the line at `at`, with the table that it stands in.
fn key_near(text: &str, at: usize) -> String {
    let start = text.as_bytes().get(..at).unwrap_or(text.as_bytes());
    let start = start.iter().rposition(|octet| *octet == b'\n').map_or(0, |newline| newline + 1);
    let line = text.get(start..).unwrap_or_default().lines().next().unwrap_or_default().trim();
    if line.starts_with('[') {
        return inside_brackets(line);
    }
    let key = line.split_once('=').map_or("", |(key, _)| key.trim());
    let before = text.get(..start).unwrap_or_default();
    let header = before.lines().rev().find(|line| line.trim_start().starts_with('['));
    let table = header.map(|line| inside_brackets(line.trim())).unwrap_or_default();
    match (table.is_empty(), key.is_empty() || key.len() > 64) {
        (false, false) => format!("{table}.{key}"),
        (true, false) => key.to_owned(),
        (false, true) => table,
        (true, true) => "(file)".to_owned(),
    }
}

fn inside_brackets(line: &str) -> String {
    let inside = line.trim_start_matches('[').split(']').next().unwrap_or_default().trim();
    if inside.is_empty() { "(file)".to_owned() } else { inside.to_owned() }
}

/// The pieces of a text that start with `[[account]]`, and before them what stands above the first.
fn pieces(text: &str) -> Vec<Range<usize>> {
    let mut starts = vec![0];
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let header: String = line.chars().filter(|c| !c.is_whitespace()).take(11).collect();
        if header == "[[account]]" && at > 0 {
            starts.push(at);
        }
        at += line.len();
    }
    let ends = starts.iter().skip(1).copied().chain([text.len()]);
    starts.iter().copied().zip(ends).map(|(start, end)| start..end).collect()
}

/// Everything that was found so far.
pub(super) struct Census {
    accounts: Vec<Account>,
    broken: Vec<Broken>,
    /// The rules of each member, by file and by place in it.
    rules: BTreeMap<String, Vec<Rule>>,
    most: usize,
    names: HashMap<String, Origin>,
    members: HashMap<String, usize>,
}

impl Census {
    /// Nothing yet; a member may have `most` definitions.
    pub(super) fn new(most: usize) -> Self {
        Census {
            accounts: Vec::new(),
            broken: Vec::new(),
            rules: BTreeMap::new(),
            most,
            names: HashMap::new(),
            members: HashMap::new(),
        }
    }

    /// Everything that was read: good definitions, each with its member's rules, and the others.
    pub(super) fn counted(self) -> (Vec<Account>, Vec<Broken>) {
        let rules: BTreeMap<String, Arc<[Rule]>> =
            self.rules.into_iter().map(|(member, rules)| (member, Arc::from(rules))).collect();
        let mut accounts = self.accounts;
        for account in &mut accounts {
            if let Job::Poll(poll) = &mut account.job
                && poll.apply_filter
                && let Some(rules) = rules.get(&account.member.to_string().to_lowercase())
            {
                poll.rules = Arc::clone(rules);
            }
        }
        (accounts, self.broken)
    }

    /// Reads a file of definitions.
    pub(super) fn take(&mut self, file: &Path, text: Result<Text, Complaint>, against: &Against<'_>) {
        let text = match text {
            Ok(text) => text,
            Err(complaint) => return self.whole(file, complaint.line, vec![complaint]),
        };
        let (root, errors) = DeTable::parse_recoverable(&text.text);
        if errors.is_empty() {
            return self.walk(&text, 0, root.get_ref(), against);
        }
        let complaints = RefCell::new(Vec::new());
        let sheet = Sheet { text: &text, shift: 0, complaints: &complaints };
        // What follows an unfinished text of several lines cannot be told from the text itself.
        if text.text.contains("\"\"\"") || text.text.contains("'''") {
            syntax(sheet, &errors);
            return self.whole(file, first_line(&complaints), complaints.into_inner());
        }
        let pieces = pieces(&text.text);
        // A mistake is where a piece is no TOML by itself: an error of the whole may show up much later.
        let parsed: Vec<_> = pieces
            .iter()
            .filter_map(|piece| {
                Some((piece.start, DeTable::parse_recoverable(text.text.get(piece.clone())?)))
            })
            .collect();
        if parsed.iter().all(|(_, (_, errors))| errors.is_empty()) {
            syntax(sheet, &errors);
            return self.whole(file, first_line(&complaints), complaints.into_inner());
        }
        for (start, (root, errors)) in &parsed {
            self.piece(&text, *start, root.get_ref(), errors, against);
        }
    }

    /// One piece of a file that is not TOML as a whole.
    fn piece(
        &mut self,
        text: &Text,
        start: usize,
        root: &DeTable<'_>,
        errors: &[toml::de::Error],
        against: &Against<'_>,
    ) {
        if errors.is_empty() {
            return self.walk(text, start, root, against);
        }
        let complaints = RefCell::new(Vec::new());
        syntax(Sheet { text, shift: start, complaints: &complaints }, errors);
        let complaints = complaints.into_inner();
        // A piece with an error: its definition is told as far as it goes, and never runs.
        let before = self.broken.len();
        let nowhere = RefCell::new(Vec::new());
        let sheet = Sheet { text, shift: start, complaints: &nowhere };
        let list = sheet.root(root).get("account").and_then(|value| value.list()).unwrap_or_default();
        for value in list.iter().take(1) {
            let checked = accounts::check(value, sheet, against);
            let broken = match checked.result {
                Err(broken) => Broken { complaints: complaints.clone(), ..broken },
                Ok(account) => refused(&account, complaints.clone()),
            };
            if let Some(name) = &broken.name {
                self.names.entry(name.clone()).or_insert_with(|| broken.origin.clone());
            }
            self.broken.push(broken);
        }
        if self.broken.len() == before {
            let line = text.place(start).0;
            self.whole(&text.file, line, complaints);
        }
    }

    fn whole(&mut self, file: &Path, line: usize, complaints: Vec<Complaint>) {
        let origin = Origin { file: file.to_path_buf(), line };
        self.broken.push(Broken { name: None, member: None, protocol: None, mode: None, origin, complaints });
    }

    fn walk(&mut self, text: &Text, shift: usize, map: &DeTable<'_>, against: &Against<'_>) {
        let complaints = RefCell::new(Vec::new());
        let sheet = Sheet { text, shift, complaints: &complaints };
        let root = sheet.root(map);
        root.only(&["account", "filter"]);
        if let Some(value) = root.get("filter") {
            for value in value.list().unwrap_or_default() {
                if let Some((member, rule)) = filters::read(&value) {
                    self.rules.entry(member.to_string().to_lowercase()).or_default().push(rule);
                }
            }
        }
        if let Some(value) = root.get("account") {
            if value.if_table().is_some() {
                value.complain("is one table", "write [[account]], in double brackets");
            } else {
                for value in value.list().unwrap_or_default() {
                    self.settle(accounts::check(&value, sheet, against));
                }
            }
        }
        if !complaints.borrow().is_empty() {
            self.whole(&text.file, first_line(&complaints), complaints.into_inner());
        }
    }

    /// Name and number over all files.
    fn settle(&mut self, checked: Checked) {
        let Checked { result, name_at, member_at } = checked;
        let (name, origin) = match &result {
            Ok(account) => (Some(account.name.clone()), account.origin.clone()),
            Err(broken) => (broken.name.clone(), broken.origin.clone()),
        };
        let complain = |(line, column), key: &str, what, mend: &str| {
            let (key, mend) = (key.to_owned(), mend.to_owned());
            Complaint { file: origin.file.clone(), line, column, key, what, mend }
        };
        let mut more = Vec::new();
        if let Some(name) = name {
            match self.names.get(&name) {
                Some(first) => {
                    let what = format!("{name:?} is taken by {}:{}", first.file.display(), first.line);
                    more.push(complain(name_at, "account.name", what, "give one of them another name"));
                }
                None => {
                    self.names.insert(name, origin.clone());
                }
            }
        }
        match result {
            Ok(account) if more.is_empty() => {
                let count = self.members.entry(account.member.to_string()).or_default();
                if *count < self.most {
                    *count += 1;
                    return self.accounts.push(account);
                }
                let what = format!("{} has {count} accounts already", account.member);
                let mend = "remove one, or raise polling.max_accounts_per_member in the settings";
                more.push(complain(member_at, "account.member", what, mend));
                self.broken.push(refused(&account, more));
            }
            Ok(account) => self.broken.push(refused(&account, more)),
            Err(mut broken) => {
                broken.complaints.extend(more);
                broken.complaints.sort_by_key(|complaint| (complaint.line, complaint.column));
                self.broken.push(broken);
            }
        }
    }
}

fn first_line(complaints: &RefCell<Vec<Complaint>>) -> usize {
    complaints.borrow().iter().map(|complaint| complaint.line).min().unwrap_or(1)
}

fn refused(account: &Account, complaints: Vec<Complaint>) -> Broken {
    Broken {
        name: Some(account.name.clone()),
        member: Some(account.member.to_string()),
        protocol: Some(account.source.protocol),
        mode: Some(account.job.mode()),
        origin: account.origin.clone(),
        complaints,
    }
}
