//! A folder of a mailbox: the root itself for the inbox, `.A.B` for `A/B`. It answers which messages of
//! an account it holds already, by their names. It refuses to read a message.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, fstatat};
use nix::unistd::fsync;

use super::mailbox::{DIRECTORY, Mailbox};
use super::name::{FileName, Origin};
use crate::failure::Failure;
use crate::message::MessageRef;

/// Courier's and Dovecot's mark of a folder that is not a mailbox of its own.
const MARK: &str = "maildirfolder";

/// An open folder.
#[derive(Debug)]
pub struct Folder {
    pub(crate) name: String,
    pub(crate) dir: OwnedFd,
    pub(crate) cur: OwnedFd,
    pub(crate) new: OwnedFd,
    made: bool,
}

impl Folder {
    /// Opens the folder with the directory `name` (empty for the inbox), and makes it if it is missing.
    ///
    /// # Errors
    /// As [`Mailbox::open`].
    pub fn open(mailbox: &Mailbox, name: &str) -> Result<Folder, Failure> {
        let made = if name.is_empty() { false } else { mailbox.make_directory(mailbox.root(), name)? };
        let own = if name.is_empty() { "." } else { name };
        let dir = mailbox.open_directory(mailbox.root(), own)?;
        // `cur` is made last: without it somebody was stopped on the way.
        let missing = |file| fstatat(&dir, file, AtFlags::AT_SYMLINK_NOFOLLOW) == Err(Errno::ENOENT);
        let mut fresh = made || missing("cur");
        if fresh && !name.is_empty() && missing(MARK) {
            drop(mailbox.create(dir.as_fd(), MARK)?);
        }
        for sub in ["tmp", "new", "cur"] {
            fresh |= mailbox.make_directory(dir.as_fd(), sub)?;
        }
        let (cur, new) =
            (mailbox.open_directory(dir.as_fd(), "cur")?, mailbox.open_directory(dir.as_fd(), "new")?);
        if fresh {
            fsync(&dir).and_then(|()| fsync(mailbox.root())).map_err(|e| mailbox.trouble(name, e))?;
        }
        Ok(Folder { name: name.to_owned(), dir, cur, new, made })
    }

    /// Opens the folder if it is there, and makes nothing.
    ///
    /// # Errors
    /// As [`Mailbox::open`].
    pub fn open_existing(mailbox: &Mailbox, name: &str) -> Result<Option<Folder>, Failure> {
        let own = if name.is_empty() { "." } else { name };
        for path in [own.to_owned(), format!("{own}/cur"), format!("{own}/new")] {
            match fstatat(mailbox.root(), path.as_str(), AtFlags::AT_SYMLINK_NOFOLLOW) {
                Ok(_) => {}
                Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(None),
                Err(e) => return Err(mailbox.trouble(name, e)),
            }
        }
        let dir = mailbox.open_directory(mailbox.root(), own)?;
        let cur = mailbox.open_directory(dir.as_fd(), "cur")?;
        let new = mailbox.open_directory(dir.as_fd(), "new")?;
        Ok(Some(Folder { name: name.to_owned(), dir, cur, new, made: false }))
    }

    /// Whether it was missing before.
    pub fn made(&self) -> bool {
        self.made
    }

    /// Whether a mailbox has a folder of that name.
    pub fn exists(mailbox: &Mailbox, name: &str) -> bool {
        name.is_empty() || fstatat(mailbox.root(), name, AtFlags::AT_SYMLINK_NOFOLLOW).is_ok()
    }

    /// The messages of `origin` that are here, in `cur` or `new`.
    ///
    /// # Errors
    /// As [`Mailbox::open`].
    pub fn holds(&self, mailbox: &Mailbox, origin: Origin) -> Result<BTreeSet<MessageRef>, Failure> {
        let mut found = BTreeSet::new();
        for directory in [&self.cur, &self.new] {
            for name in entries(directory.as_fd()).map_err(|e| mailbox.trouble(&self.name, e))? {
                if let Some(name) = FileName::parse(&name)
                    && name.origin == origin
                {
                    found.insert(name.message);
                }
            }
        }
        Ok(found)
    }
}

/// The names in a directory, without `.` and `..`.
pub(crate) fn entries(directory: BorrowedFd<'_>) -> Result<Vec<Vec<u8>>, Errno> {
    let mut dir = Dir::from_fd(openat(directory, ".", DIRECTORY | OFlag::O_NONBLOCK, Mode::empty())?)?;
    let mut names = Vec::new();
    for entry in dir.iter() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(name.to_vec());
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_was_begun_is_finished() {
        let dir = tempfile::tempdir().unwrap();
        let mailbox = Mailbox::open(&dir.path().join("m")).unwrap();
        std::fs::create_dir(dir.path().join("m/.A")).unwrap();
        assert!(!Folder::open(&mailbox, ".A").unwrap().made());
        for part in [MARK, "tmp", "new", "cur"] {
            assert!(dir.path().join("m/.A").join(part).exists(), "{part}");
        }
        std::fs::remove_file(dir.path().join("m/.A").join(MARK)).unwrap();
        Folder::open(&mailbox, ".A").unwrap();
        assert!(!dir.path().join("m/.A").join(MARK).exists(), "a folder of others stays as it is");
    }
}
