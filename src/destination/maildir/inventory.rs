//! What a mailbox holds, folder by folder and file by file, by names and the file system's word. It refuses
//! to make, change or read a message; [`Held::open`] is for whoever must.

use std::fs::File;
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, SFlag, fstatat};

use super::folder::{Folder, entries};
use super::keywords::words;
use super::mailbox::Mailbox;
use super::name::FileName;
use super::uidlist::copies;
use crate::compressed::Message;
use crate::failure::Failure;
use crate::message::Flags;

/// A message in a folder.
#[derive(Debug, Clone)]
pub struct Held {
    /// Its file name.
    pub file: Vec<u8>,
    /// It is in `new`, not in `cur`.
    pub in_new: bool,
    /// What its name, or the name it was copied from, says of its source.
    pub name: Option<FileName>,
    /// Octets of the file, as it is stored: fewer than the message has if it is compressed.
    pub size: u64,
    /// `,S=` of its name: the octets that it had when it came.
    pub told: Option<u64>,
    /// `,W=` of its name: the octets that it had on the wire.
    pub wire: Option<u64>,
    /// Its modification time, seconds since 1970: its date.
    pub modified: i64,
    /// Its flags and keywords.
    pub flags: Flags,
}

impl Held {
    /// Opens it for reading, as it was before Dovecot compressed it.
    ///
    /// # Errors
    /// It is gone, or cannot be read.
    pub fn open(&self, folder: &Folder) -> std::io::Result<Message> {
        open(folder, self.in_new, &self.file)
    }
}

/// Opens a message's file for reading: the one way to a message's octets, whether Dovecot compressed them or not.
///
/// # Errors
/// It is gone, or cannot be read.
pub(super) fn open(folder: &Folder, in_new: bool, file: &[u8]) -> std::io::Result<Message> {
    let directory = if in_new { &folder.new } else { &folder.cur };
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    Message::open(File::from(openat(directory.as_fd(), file, flags, Mode::empty())?))
}

/// The directories of a mailbox's folders, the inbox (empty) first.
///
/// # Errors
/// The mailbox cannot be read.
pub fn directories(mailbox: &Mailbox) -> Result<Vec<String>, Failure> {
    let mut names: Vec<String> = entries(mailbox.root())
        .map_err(|e| mailbox.trouble("", e))?
        .into_iter()
        .filter_map(|name| String::from_utf8(name).ok())
        .filter(|name| name.len() > 1 && name.starts_with('.') && name != "..")
        .filter(|name| {
            mailbox.path().join(name).join("cur").is_dir() && !mailbox.path().join(name).is_symlink()
        })
        .collect();
    names.sort();
    names.insert(0, String::new());
    Ok(names)
}

/// What a folder holds. A file that goes while it is looked at is left out.
///
/// # Errors
/// The folder cannot be read.
pub fn inventory(mailbox: &Mailbox, folder: &Folder) -> Result<Vec<Held>, Failure> {
    let trouble = |e| mailbox.trouble(&folder.name, e);
    let copies = copies(mailbox, folder)?;
    let letters = words(mailbox, folder)?;
    let mut found = Vec::new();
    for (directory, in_new) in [(&folder.cur, false), (&folder.new, true)] {
        for file in entries(directory.as_fd()).map_err(trouble)? {
            let status = match fstatat(directory.as_fd(), file.as_slice(), AtFlags::AT_SYMLINK_NOFOLLOW) {
                Ok(status) => status,
                Err(Errno::ENOENT) => continue,
                Err(e) => return Err(trouble(e)),
            };
            if file.starts_with(b".")
                || SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT != SFlag::S_IFREG
            {
                continue;
            }
            let (base, info) = halves(&file);
            found.push(Held {
                name: FileName::parse(&file).or_else(|| copies.get(base).cloned()),
                told: field(base, ",S="),
                wire: field(base, ",W="),
                flags: flags(info, &letters),
                size: u64::try_from(status.st_size).unwrap_or(0),
                modified: status.st_mtime,
                in_new,
                file,
            });
        }
    }
    Ok(found)
}

/// A name before and after `:2,`.
pub(super) fn halves(file: &[u8]) -> (&[u8], &[u8]) {
    match memchr::memmem::find(file, b":2,") {
        Some(at) => (file.get(..at).unwrap_or_default(), file.get(at + 3..).unwrap_or_default()),
        None => (file, b""),
    }
}

/// `,S=` of a file's name: the octets that it had when it came.
pub fn told_size(file: &[u8]) -> Option<u64> {
    field(halves(file).0, ",S=")
}

/// `,W=` of a file's name: the octets that it had on the wire.
pub fn wire_size(file: &[u8]) -> Option<u64> {
    field(halves(file).0, ",W=")
}

/// A number in a name, such as `,S=10`.
pub(super) fn field(base: &[u8], key: &str) -> Option<u64> {
    let at = memchr::memmem::find(base, key.as_bytes())?;
    let rest = base.get(at + key.len()..)?;
    let digits = rest.split(|b| !b.is_ascii_digit()).next()?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn flags(info: &[u8], letters: &[String]) -> Flags {
    let mut flags = Flags::default();
    for letter in info {
        match letter {
            b'D' => flags.draft = true,
            b'F' => flags.flagged = true,
            b'R' => flags.answered = true,
            b'S' => flags.seen = true,
            b'T' => flags.deleted = true,
            b'a'..=b'z' => {
                let word = letters.get(usize::from(letter - b'a')).filter(|word| !word.is_empty());
                flags.keywords.extend(word.cloned());
            }
            _ => {}
        }
    }
    flags
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_the_file_system_are_asked() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("m");
        let mailbox = Mailbox::open(&root).unwrap();
        let folder = Folder::open(&mailbox, ".A").unwrap();
        std::fs::write(root.join(".A/dovecot-keywords"), "0 work\n").unwrap();
        std::fs::write(root.join(".A/cur/1.x.host,S=7,W=9:2,FSab"), "1234567").unwrap();
        std::fs::write(root.join(".A/new/2.x.host"), "1").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", root.join(".A/cur/link")).unwrap();
        let mut found = inventory(&mailbox, &folder).unwrap();
        found.sort_by(|a, b| a.file.cmp(&b.file));
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].size, found[0].told, found[0].wire), (7, Some(7), Some(9)));
        assert!(found[0].flags.flagged && found[0].flags.seen && !found[0].flags.draft);
        assert_eq!(found[0].flags.keywords, ["work"]);
        assert!(found[1].in_new && found[1].wire.is_none() && found[1].name.is_none());
        assert_eq!(directories(&mailbox).unwrap(), ["", ".A"]);
        assert_eq!(field(b"1.x,W=12,S=3", ",S="), Some(3));
        assert_eq!(field(b"1.x,S=", ",S="), None);
    }
}
