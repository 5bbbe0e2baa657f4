//! Files for uploads, made without the code under test: zip archives with any names and fields, and what an upload came
//! to.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "each test uses its part of the helper"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::helpers::daemon::{Answer, Daemon};
use crate::helpers::maildir::{Tree, sha};

/// Uploads files to `LOCAL@example.com`.
pub fn upload(daemon: &Daemon, local: &str, files: &[&Path]) -> Answer {
    let member = format!("{local}@example.com");
    let mut words = vec!["--json", "upload", "--member", &member];
    words.extend(files.iter().map(|file| file.to_str().unwrap()));
    daemon.ctl(&words)
}

/// Imported, already there, left out.
pub fn numbers(answer: &Answer) -> (u64, u64, u64) {
    let sum = answer.json();
    let number = |key: &str| sum[key].as_u64().unwrap_or_else(|| panic!("no {key}: {sum:#}"));
    (number("imported"), number("already_there"), number("skipped"))
}

/// What was left out, and why.
pub fn reasons(answer: &Answer) -> String {
    let sum = answer.json();
    let list = sum["left_out"].as_array().unwrap();
    list.iter().map(|out| format!("{}: {}\n", out["what"], out["reason"])).collect()
}

/// What was passed over: `2 contacts, 1 settings`.
pub fn passed(answer: &Answer) -> String {
    let sum = answer.json();
    let list = sum["passed_over"].as_array().unwrap();
    let one = |kind: &serde_json::Value| format!("{} {}", kind["count"], kind["kind"].as_str().unwrap());
    list.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// Writes a file, and the directories that it needs.
pub fn put(root: &Path, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
    let file = root.join(name);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, content).unwrap();
    file
}

/// A message that is like no other.
pub fn eml(n: usize) -> String {
    format!(
        "From: sender{n}@example.com\nDate: Thu, 1 Jan 2015 00:00:{:02} +0000\nSubject: {n}\n\nbody {n}\n",
        n % 60
    )
}

/// Folder by folder, its messages.
pub fn places(tree: &Tree) -> BTreeSet<String> {
    tree.messages().map(|(folder, message)| format!("{folder} {}", message.sha)).collect()
}

/// The same of what is expected: folders, and the messages in them.
pub fn expected<'e>(list: impl IntoIterator<Item = (&'e str, String)>) -> BTreeSet<String> {
    list.into_iter().map(|(folder, text)| format!("{folder} {}", sha(text.as_bytes()))).collect()
}

/// Runs a program, which has to succeed; what it wrote.
pub fn run(directory: &Path, program: &str, arguments: &[&str]) -> Vec<u8> {
    let done = Command::new(program).args(arguments).current_dir(directory).stdin(Stdio::null()).output();
    let done = done.unwrap_or_else(|e| panic!("{program}: {e}"));
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{program} {arguments:?}: {said}");
    done.stdout
}

/// One entry of a zip archive.
pub struct Entry {
    pub name: Vec<u8>,
    pub content: Vec<u8>,
    /// General purpose bits.
    pub flags: u16,
    pub extra: Vec<u8>,
}

impl Entry {
    /// Stored, with a name in any bytes and no word of their meaning.
    pub fn new(name: impl Into<Vec<u8>>, content: impl Into<Vec<u8>>) -> Entry {
        Entry { name: name.into(), content: content.into(), flags: 0, extra: Vec::new() }
    }
}

/// A zip archive.
pub fn zip(entries: &[Entry]) -> Vec<u8> {
    let (mut out, mut table) = (Vec::new(), Vec::new());
    let low = |number: usize| u16::try_from(number).unwrap().to_le_bytes();
    let wide = |number: usize| u32::try_from(number).unwrap().to_le_bytes();
    for Entry { name, content, flags, extra } in entries {
        let mut crc = flate2::Crc::new();
        crc.update(content);
        let mut common = [20, 0].to_vec();
        common.extend(flags.to_le_bytes());
        common.extend([0; 6]);
        common.extend(crc.sum().to_le_bytes());
        common.extend(wide(content.len()));
        common.extend(wide(content.len()));
        common.extend(low(name.len()));
        common.extend(low(extra.len()));
        table.extend(b"PK\x01\x02\x14\x00");
        table.extend(&common);
        table.extend([0; 10]);
        table.extend(wide(out.len()));
        table.extend(name);
        table.extend(extra);
        out.extend(b"PK\x03\x04");
        out.extend(&common);
        out.extend(name);
        out.extend(extra);
        out.extend(content);
    }
    let at = out.len();
    out.extend(&table);
    out.extend(b"PK\x05\x06\0\0\0\0");
    out.extend(low(entries.len()));
    out.extend(low(entries.len()));
    out.extend(wide(table.len()));
    out.extend(wide(at));
    out.extend([0, 0]);
    out
}

/// Info-ZIP's field with a name in UTF-8, for the name that the header has.
pub fn unicode_path(header: &[u8], name: &str) -> Vec<u8> {
    let mut crc = flate2::Crc::new();
    crc.update(header);
    let length = u16::try_from(name.len() + 5).unwrap();
    [&0x7075u16.to_le_bytes()[..], &length.to_le_bytes(), &[1], &crc.sum().to_le_bytes(), name.as_bytes()]
        .concat()
}
