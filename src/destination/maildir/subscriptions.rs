//! The list of subscribed folders: Dovecot's `subscriptions` in the mailbox's root, in its second format
//! (levels divided by tabs) or, where an old file is there, in its first. It refuses to reorder or drop what
//! others wrote.

use std::collections::BTreeSet;
use std::io::{Read, Write};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, renameat};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::mailbox::Mailbox;
use crate::failure::Failure;

const FILE: &str = "subscriptions";
const NEW: &str = "subscriptions.mailhaul";
const VERSION_2: &str = "V\t2";
const LARGEST_FILE: u64 = 16 * 1024 * 1024;

/// Those of these directories that are not subscribed: what [`subscribe`] would add.
///
/// # Errors
/// The list cannot be read.
pub fn unsubscribed(mailbox: &Mailbox, directories: &[String]) -> Result<Vec<String>, Failure> {
    let lines = read(mailbox)?;
    let second = lines.is_empty() || lines.first().is_some_and(|l| l == VERSION_2);
    Ok(directories.iter().filter(|d| !lines.contains(&entry(d, second))).cloned().collect())
}

/// Subscribes the folders with these directories (`.A.B`; empty for the inbox) and returns those that were
/// not subscribed before.
///
/// # Errors
/// The mailbox cannot be written.
pub fn subscribe(mailbox: &Mailbox, directories: &[String]) -> Result<Vec<String>, Failure> {
    if directories.is_empty() {
        return Ok(Vec::new());
    }
    let mut lines = read(mailbox)?;
    if lines.is_empty() {
        lines = vec![VERSION_2.to_owned(), String::new()];
    }
    let second = lines.first().is_some_and(|l| l == VERSION_2);
    let there: BTreeSet<String> = lines.iter().cloned().collect();
    let added: Vec<String> =
        directories.iter().filter(|d| !there.contains(&entry(d, second))).cloned().collect();
    if !added.is_empty() {
        lines.extend(added.iter().map(|d| entry(d, second)));
        write(mailbox, &lines)?;
    }
    Ok(added)
}

/// Takes subscriptions back that [`subscribe`] had added.
///
/// # Errors
/// The mailbox cannot be written.
pub fn unsubscribe(mailbox: &Mailbox, directories: &[String]) -> Result<(), Failure> {
    clear(mailbox)?;
    if directories.is_empty() {
        return Ok(());
    }
    let mut lines = read(mailbox)?;
    let second = lines.first().is_some_and(|l| l == VERSION_2);
    let gone: BTreeSet<String> = directories.iter().map(|d| entry(d, second)).collect();
    let before = lines.len();
    lines.retain(|line| !gone.contains(line));
    if lines.len() == before {
        return Ok(());
    }
    if lines.iter().all(|l| l.is_empty() || l == VERSION_2) {
        return unlinkat(mailbox.root(), FILE, UnlinkatFlags::NoRemoveDir)
            .map_err(|e| mailbox.trouble(FILE, e));
    }
    write(mailbox, &lines)
}

fn entry(directory: &str, second: bool) -> String {
    match directory.strip_prefix('.') {
        None => "INBOX".to_owned(),
        Some(name) if second => name.replace('.', "\t"),
        Some(name) => name.to_owned(),
    }
}

fn read(mailbox: &Mailbox) -> Result<Vec<String>, Failure> {
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let file = match openat(mailbox.root(), FILE, flags, Mode::empty()) {
        Ok(file) => std::fs::File::from(file),
        Err(Errno::ENOENT) => return Ok(Vec::new()),
        Err(e) => return Err(mailbox.trouble(FILE, e)),
    };
    let mut text = Vec::new();
    file.take(LARGEST_FILE)
        .read_to_end(&mut text)
        .map_err(|e| mailbox.trouble(FILE, e.raw_os_error().map_or(Errno::EIO, Errno::from_raw)))?;
    Ok(String::from_utf8_lossy(&text).lines().map(str::to_owned).collect())
}

/// Somebody who was killed may have left a list that never became the list. One that cannot be removed is
/// told: whoever puts the mailbox back must come again.
fn clear(mailbox: &Mailbox) -> Result<(), Failure> {
    match unlinkat(mailbox.root(), NEW, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => Ok(()),
        Err(e) => Err(mailbox.trouble(NEW, e)),
    }
}

fn write(mailbox: &Mailbox, lines: &[String]) -> Result<(), Failure> {
    clear(mailbox)?;
    let mut file = mailbox.create(mailbox.root(), NEW)?;
    let text: String = lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect();
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(|e| mailbox.trouble(FILE, e.raw_os_error().map_or(Errno::EIO, Errno::from_raw)))?;
    renameat(mailbox.root(), NEW, mailbox.root(), FILE)
        .and_then(|()| nix::unistd::fsync(mailbox.root()))
        .map_err(|e| mailbox.trouble(FILE, e))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(names: &[&str]) -> Vec<String> {
        names.iter().map(|&n| n.to_owned()).collect()
    }

    #[test]
    fn both_formats_are_kept_and_put_back() {
        let dir = tempfile::tempdir().unwrap();
        let mailbox = Mailbox::open(&dir.path().join("m")).unwrap();
        let file = dir.path().join("m/subscriptions");
        let ours = list(&["", ".A.B", ".Entw&APw-rfe"]);
        assert_eq!(unsubscribed(&mailbox, &ours).unwrap(), ours);
        assert_eq!(subscribe(&mailbox, &ours).unwrap(), ours);
        assert!(unsubscribed(&mailbox, &ours).unwrap().is_empty());
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "V\t2\n\nINBOX\nA\tB\nEntw&APw-rfe\n");
        assert!(subscribe(&mailbox, &ours).unwrap().is_empty());
        unsubscribe(&mailbox, &ours).unwrap();
        assert!(!file.exists());

        std::fs::write(&file, "Work\nA.B\n").unwrap();
        assert_eq!(subscribe(&mailbox, &list(&[".A.B", ".X.Y"])).unwrap(), list(&[".X.Y"]));
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "Work\nA.B\nX.Y\n");
        unsubscribe(&mailbox, &list(&[".X.Y"])).unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "Work\nA.B\n");
    }
}
