//! Mail for a source: the real messages of `tests/data`, each made unlike all others by one header line, put
//! into a Maildir++ as if they had come there over the years, with flags, keywords, dates and subscriptions.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "each test uses its part of the helper"
)]

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use crate::helpers::maildir::sha;

/// Twenty folders with mail, by their directories; the last is twenty levels deep.
pub const FOLDERS: [&str; 20] = [
    "",
    ".Sent",
    ".Drafts",
    ".Junk",
    ".Trash",
    ".Entw&APw-rfe",
    ".&vPSwuNO4ycDVaA-",
    ".&ZeVnLIqe-",
    ".&2D3c7A-",
    ".R&-D",
    ".Archive.2023",
    ".Archive.2024.Q1",
    ".Archive.2024.Q2",
    ".Kunden.Gr&APYA3w-e &- Co",
    ".Lists.rust users",
    ".Lists.a'b(c){d}%e*f",
    ".1",
    ".1.2.3.4.5",
    ".1.2.3.4.5.6.7.8.9.10.11.12",
    ".1.2.3.4.5.6.7.8.9.10.11.12.13.14.15.16.17.18.19.20",
];

/// A folder with nothing in it.
pub const EMPTY: &str = ".Empty";

/// What a message of the corpus has besides its octets.
#[derive(Debug, Clone, Default)]
pub struct Marks {
    /// In ASCII order, of `D`, `F`, `R`, `S`, `T`.
    pub flags: &'static str,
    /// Numbers of [`KEYWORDS`].
    pub keywords: &'static [usize],
    /// In `new`: nobody has looked at it.
    pub new: bool,
}

/// The keywords of every folder.
pub const KEYWORDS: [&str; 4] = ["$Forwarded", "NonJunk", "Projekt-A", "receipt-handled"];

const MARKS: [Marks; 10] = [
    Marks { flags: "", keywords: &[], new: false },
    Marks { flags: "S", keywords: &[], new: false },
    Marks { flags: "RS", keywords: &[0], new: false },
    Marks { flags: "FS", keywords: &[1, 2], new: false },
    Marks { flags: "", keywords: &[], new: true },
    Marks { flags: "DS", keywords: &[], new: false },
    Marks { flags: "FRS", keywords: &[0, 1, 2, 3], new: false },
    Marks { flags: "ST", keywords: &[], new: false },
    Marks { flags: "F", keywords: &[], new: false },
    Marks { flags: "S", keywords: &[3], new: false },
];

/// The `n`th message, unlike all others; its line ends are as a Maildir has them.
pub fn message(n: usize) -> Vec<u8> {
    static MESSAGES: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    let messages = MESSAGES.get_or_init(|| {
        let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/messages");
        let mut files: Vec<PathBuf> = fs::read_dir(data).unwrap().map(|e| e.unwrap().path()).collect();
        files.retain(|file| file.extension().is_some_and(|e| e == "eml"));
        files.sort();
        files.iter().map(|file| fs::read(file).unwrap()).collect()
    });
    let real = &messages[n % messages.len()];
    let header = real.windows(2).position(|two| two == b"\n\n").map_or(0, |at| at + 1);
    let mut message = real[..header].to_vec();
    message.extend_from_slice(format!("X-Variant: {n}\n").as_bytes());
    message.extend_from_slice(&real[header..]);
    // POP3 has no way to say that the last line has no end.
    if !message.ends_with(b"\n") {
        message.push(b'\n');
    }
    message
}

/// A mailbox at a source.
pub struct Corpus {
    root: PathBuf,
    owner: (u32, u32),
    next: usize,
    /// SHA-256 of every message that was ever put in.
    pub put: Vec<String>,
}

impl Corpus {
    /// A mailbox at `root`, which Dovecot serves as the user that owns the nearest directory there is.
    pub fn at(root: &Path) -> Corpus {
        let there = root.ancestors().find_map(|path| fs::metadata(path).ok()).unwrap();
        let corpus =
            Corpus { root: root.to_owned(), owner: (there.uid(), there.gid()), next: 0, put: Vec::new() };
        corpus.directory("");
        corpus
    }

    /// The same, with messages numbered from `next` on.
    pub fn from(mut self, next: usize) -> Corpus {
        self.next = next;
        self
    }

    /// The mailbox.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Makes a folder.
    pub fn directory(&self, folder: &str) -> PathBuf {
        let path = self.root.join(folder);
        for part in ["cur", "new", "tmp"] {
            fs::create_dir_all(path.join(part)).unwrap();
            self.own(&path.join(part));
        }
        let mut above = path.clone();
        while above.starts_with(self.root.parent().unwrap()) {
            self.own(&above);
            above.pop();
        }
        if !folder.is_empty() {
            self.write(&path.join("maildirfolder"), b"");
        }
        path
    }

    /// Adds the next `count` messages to a folder, with marks and dates of all kinds.
    pub fn add(&mut self, folder: &str, count: usize) {
        self.directory(folder);
        for _ in 0..count {
            let n = self.next;
            self.next += 1;
            let mut message = message(n);
            // The one thing that IMAP can carry and POP3 cannot.
            if n % 37 == 5 && !folder.is_empty() {
                message.pop();
            }
            self.put(folder, n, &message, &MARKS[n % MARKS.len()]);
        }
    }

    /// Adds the next message, as an agent delivers it.
    pub fn deliver(&mut self, folder: &str) -> String {
        let n = self.next;
        self.next += 1;
        self.put(folder, n, &message(n), &Marks { new: true, ..Marks::default() });
        self.put.last().unwrap().clone()
    }

    /// Adds a message of your own.
    pub fn put(&mut self, folder: &str, n: usize, message: &[u8], marks: &Marks) -> PathBuf {
        let path = self.root.join(folder);
        // From 2001 to 2020: what comes after 2106 Dovecot cannot tell by IMAP.
        let time = 1_000_000_000 + (n as u64) * 86_399 % 600_000_000;
        let mut name = format!("{time}.M{n}P1.old");
        if !marks.new {
            let letters: String = marks.keywords.iter().map(|at| char::from(b'a' + *at as u8)).collect();
            name.push_str(&format!(":2,{}{letters}", marks.flags));
        }
        if !marks.keywords.is_empty() && !path.join("dovecot-keywords").exists() {
            let lines: String =
                KEYWORDS.iter().enumerate().map(|(at, word)| format!("{at} {word}\n")).collect();
            self.write(&path.join("dovecot-keywords"), lines.as_bytes());
        }
        let staged = path.join("tmp").join(format!("{n}"));
        let mut file = File::create(&staged).unwrap();
        file.write_all(message).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(time)).unwrap();
        drop(file);
        self.own(&staged);
        let place = path.join(if marks.new { "new" } else { "cur" }).join(name);
        fs::rename(staged, &place).unwrap();
        self.put.push(sha(message));
        place
    }

    /// `count` messages over all of [`FOLDERS`], an empty folder, and subscriptions to half of them.
    pub fn fill(&mut self, count: usize) {
        for (at, folder) in FOLDERS.iter().enumerate() {
            let share = count / FOLDERS.len() + usize::from(at < count % FOLDERS.len());
            self.add(folder, share);
        }
        self.directory(EMPTY);
        let half: Vec<&str> = FOLDERS.iter().copied().step_by(2).chain([EMPTY]).collect();
        self.subscribe(&half);
    }

    /// Writes the list of subscriptions.
    pub fn subscribe(&self, folders: &[&str]) {
        let mut text = "V\t2\n\n".to_owned();
        for folder in folders {
            let name = folder.strip_prefix('.').map_or("INBOX".to_owned(), |name| name.replace('.', "\t"));
            text.push_str(&name);
            text.push('\n');
        }
        self.write(&self.root.join("subscriptions"), text.as_bytes());
    }

    fn write(&self, path: &Path, content: &[u8]) {
        fs::write(path, content).unwrap();
        self.own(path);
    }

    fn own(&self, path: &Path) {
        chown(path, Some(self.owner.0), Some(self.owner.1)).unwrap();
    }
}
