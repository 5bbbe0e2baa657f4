//! What a Maildir++ tree holds, read without the code under test: folders, octets as a server would give
//! them, flags, keywords, dates; and comparisons that say what is missing, what is too much and where.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "each test uses its part of the helper"
)]

pub mod picture;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use ring::digest::{SHA256, digest};

/// One file in `new` or `cur`.
#[derive(Debug, Clone)]
pub struct Message {
    pub sha: String,
    /// The letters `D`, `F`, `R`, `S`, `T`, in that order.
    pub flags: String,
    pub keywords: BTreeSet<String>,
    /// Seconds since 1970.
    pub mtime: i64,
    pub name: String,
    /// In `new`, not in `cur`.
    pub new: bool,
    pub path: PathBuf,
}

/// A whole mailbox. A folder's key is its directory (`.A.B`); the inbox is empty.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    pub folders: BTreeMap<String, Vec<Message>>,
    /// Directories again.
    pub subscriptions: BTreeSet<String>,
}

/// The octets as they go over the wire: a line feed without its carriage return gets one. A Maildir may hold
/// either form, and it is the same message.
pub fn wire(content: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(content.len() + content.len() / 40);
    for &octet in content {
        if octet == b'\n' && out.last() != Some(&b'\r') {
            out.push(b'\r');
        }
        out.push(octet);
    }
    out
}

/// SHA-256 over [`wire`].
pub fn sha(content: &[u8]) -> String {
    digest(&SHA256, &wire(content)).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Tree {
    /// Reads the mailbox at `root`; one that does not exist is empty.
    pub fn read(root: &Path) -> Tree {
        let mut tree = Tree::default();
        if !root.exists() {
            return tree;
        }
        tree.folders.insert(String::new(), folder(root));
        for entry in fs::read_dir(root).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            if name.starts_with('.') && entry.path().join("cur").is_dir() {
                tree.folders.insert(name, folder(&entry.path()));
            }
        }
        tree.subscriptions = subscriptions(root);
        tree
    }

    /// Every message.
    pub fn messages(&self) -> impl Iterator<Item = (&String, &Message)> {
        self.folders.iter().flat_map(|(name, messages)| messages.iter().map(move |m| (name, m)))
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.messages().count()
    }

    /// Those folders that have messages, or all of them.
    pub fn names(&self) -> BTreeSet<&str> {
        self.folders.keys().map(String::as_str).collect()
    }

    /// The octets of every message, whatever the folder.
    pub fn contents(&self) -> Vec<String> {
        self.messages().map(|(_, m)| m.sha.clone()).collect()
    }

    /// Folder and octets of every message.
    pub fn places(&self) -> Vec<String> {
        self.messages().map(|(folder, m)| format!("{} in {}", m.sha, shown(folder))).collect()
    }

    /// Folder, octets, flags, keywords and date of every message.
    pub fn facts(&self) -> Vec<String> {
        self.messages()
            .map(|(folder, m)| {
                let keywords: Vec<&str> = m.keywords.iter().map(String::as_str).collect();
                format!("{} in {} [{}] {{{}}} {}", m.sha, shown(folder), m.flags, keywords.join(" "), m.mtime)
            })
            .collect()
    }

    /// Name, inode and date of every file: the same before and after if nothing was moved.
    pub fn files(root: &Path) -> Vec<String> {
        Tree::read(root)
            .messages()
            .map(|(_, m)| {
                let meta = fs::metadata(&m.path).unwrap();
                let path = m.path.strip_prefix(root).unwrap().display().to_string();
                format!("{path} inode {} mtime {}.{}", meta.ino(), meta.mtime(), meta.mtime_nsec())
            })
            .collect()
    }

    /// The messages that stay when a folder is left out.
    pub fn without(mut self, folders: &[&str]) -> Tree {
        self.folders.retain(|name, _| !folders.contains(&name.as_str()));
        self.subscriptions.retain(|name| !folders.contains(&name.as_str()));
        self
    }

    /// Only these folders.
    pub fn only(mut self, folders: &[&str]) -> Tree {
        self.folders.retain(|name, _| folders.contains(&name.as_str()));
        self.subscriptions.retain(|name| folders.contains(&name.as_str()));
        self
    }

    /// The same tree one level down, below the directory `parent`; the inbox becomes `inbox`.
    pub fn below(self, parent: &str, inbox: &str) -> Tree {
        let rename =
            |name: String| if name.is_empty() { inbox.to_owned() } else { format!("{parent}{name}") };
        Tree {
            folders: self.folders.into_iter().map(|(name, messages)| (rename(name), messages)).collect(),
            subscriptions: self.subscriptions.into_iter().map(rename).collect(),
        }
    }
}

/// How many messages there are, without reading them.
pub fn count(root: &Path) -> usize {
    let in_folder = |folder: &Path| -> usize {
        let parts = ["cur", "new"].map(|part| fs::read_dir(folder.join(part)).map_or(0, Iterator::count));
        parts.iter().sum()
    };
    let Ok(entries) = fs::read_dir(root) else { return 0 };
    let folders = entries.map(|e| e.unwrap().path());
    let folders = folders.filter(|path| path.file_name().unwrap().as_encoded_bytes().starts_with(b"."));
    in_folder(root) + folders.map(|folder| in_folder(&folder)).sum::<usize>()
}

fn shown(folder: &str) -> &str {
    if folder.is_empty() { "INBOX" } else { folder }
}

fn folder(path: &Path) -> Vec<Message> {
    let keywords = keywords(path);
    let mut messages = Vec::new();
    for part in ["cur", "new"] {
        let Ok(entries) = fs::read_dir(path.join(part)) else { continue };
        for entry in entries {
            let path = entry.unwrap().path();
            // A server may rename or remove a file while we read.
            let (Ok(content), Ok(meta)) = (fs::read(&path), fs::metadata(&path)) else { continue };
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let info = name.rsplit_once(":2,").map_or("", |(_, info)| info);
            let mut flags: Vec<char> = info.chars().filter(|c| "DFRST".contains(*c)).collect();
            flags.sort_unstable();
            let words = info.chars().filter(char::is_ascii_lowercase).map(|letter| {
                let at = usize::from(u8::try_from(letter).unwrap() - b'a');
                keywords.get(&at).cloned().unwrap_or_else(|| format!("?{letter}"))
            });
            messages.push(Message {
                sha: sha(&content),
                flags: flags.into_iter().collect(),
                keywords: words.collect(),
                mtime: meta.mtime(),
                new: part == "new",
                name,
                path,
            });
        }
    }
    messages
}

fn keywords(folder: &Path) -> BTreeMap<usize, String> {
    let text = fs::read_to_string(folder.join("dovecot-keywords")).unwrap_or_default();
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(at, word)| (at.parse().unwrap(), word.to_owned()))
        .collect()
}

fn subscriptions(root: &Path) -> BTreeSet<String> {
    let text = fs::read_to_string(root.join("subscriptions")).unwrap_or_default();
    text.lines()
        .filter(|line| !line.is_empty() && *line != "V\t2")
        .map(|line| if line == "INBOX" { String::new() } else { format!(".{}", line.replace('\t', ".")) })
        .collect()
}

/// How two multisets differ; `None` if they do not.
pub fn difference(expected: &[String], found: &[String]) -> Option<String> {
    let mut counts: BTreeMap<&str, i64> = BTreeMap::new();
    for key in expected {
        *counts.entry(key).or_default() += 1;
    }
    for key in found {
        *counts.entry(key).or_default() -= 1;
    }
    let missing: Vec<&str> = counts.iter().filter(|(_, n)| **n > 0).map(|(key, _)| *key).collect();
    let surplus: Vec<&str> = counts.iter().filter(|(_, n)| **n < 0).map(|(key, _)| *key).collect();
    if missing.is_empty() && surplus.is_empty() {
        return None;
    }
    let some = |list: &[&str]| list.iter().take(8).fold(String::new(), |sum, key| sum + "\n    " + key);
    Some(format!(
        "{} expected, {} found; {} missing:{}\n{} too many:{}",
        expected.len(),
        found.len(),
        missing.len(),
        some(&missing),
        surplus.len(),
        some(&surplus)
    ))
}

/// Demands that two multisets are the same.
#[track_caller]
pub fn same(what: &str, expected: &[String], found: &[String]) {
    if let Some(difference) = difference(expected, found) {
        panic!("{what}: {difference}");
    }
}
