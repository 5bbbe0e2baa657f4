//! A member's mailbox: the Maildir++ root. It is made when it is missing, and opened once; everything
//! below is reached from its descriptor. It refuses to follow a symbolic link below the root.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{Gid, Uid, User, fchownat, geteuid};

use crate::account::Member;
use crate::failure::{Failure, Kind};

/// The path of a member's Maildir after a template's placeholders are filled in. The parts of a
/// [`Member`] hold no `/`.
pub fn path_for(template: &str, member: &Member) -> PathBuf {
    PathBuf::from(member.fill(template))
}

/// An open mailbox.
#[derive(Debug)]
pub struct Mailbox {
    path: PathBuf,
    root: OwnedFd,
    tmp: OwnedFd,
    owner: Option<(Uid, Gid)>,
}

pub(super) const DIRECTORY: OFlag =
    OFlag::O_DIRECTORY.union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC).union(OFlag::O_RDONLY);

impl Mailbox {
    /// Opens the Maildir at `path`, and makes it, with the directories above it, if it is missing.
    ///
    /// # Errors
    /// [`Kind::Destination`] or [`Kind::Full`], with whose the place is and who we are.
    pub fn open(path: &Path) -> Result<Mailbox, Failure> {
        let owner = inherited_owner(path);
        make_all(path, owner)?;
        let root: OwnedFd = std::fs::File::open(path).map_err(|e| trouble(path, &e))?.into();
        let mut mailbox = Mailbox {
            path: path.to_owned(),
            tmp: root.try_clone().map_err(|e| trouble(path, &e))?,
            root,
            owner,
        };
        let mut fresh = false;
        // `tmp` says that somebody was here, `cur` that all of it is: they are made first and last.
        for name in ["tmp", "new", "cur"] {
            fresh |= mailbox.make_directory(mailbox.root.as_fd(), name)?;
        }
        if fresh {
            nix::unistd::fsync(&mailbox.root).map_err(|e| mailbox.trouble("", e))?;
        }
        mailbox.tmp = mailbox.open_directory(mailbox.root.as_fd(), "tmp")?;
        Ok(mailbox)
    }

    /// Opens the Maildir at `path` if there is one.
    ///
    /// # Errors
    /// As [`Mailbox::open`], for everything but its absence.
    pub fn open_existing(path: &Path) -> Result<Option<Mailbox>, Failure> {
        match std::fs::symlink_metadata(path.join("tmp")) {
            Ok(_) => Mailbox::open(path).map(Some),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(trouble(path, &e)),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// Where messages are staged: no reader looks there.
    pub(crate) fn tmp(&self) -> BorrowedFd<'_> {
        self.tmp.as_fd()
    }

    /// Makes a directory below one of ours; `true` if it was not there.
    pub(super) fn make_directory(&self, parent: BorrowedFd<'_>, name: &str) -> Result<bool, Failure> {
        match mkdirat(parent, name, Mode::S_IRWXU) {
            Ok(()) => {
                self.give_away(parent, name)?;
                Ok(true)
            }
            Err(Errno::EEXIST) => Ok(false),
            Err(e) => Err(self.trouble(name, e)),
        }
    }

    /// Opens a directory below one of ours, unless it is a symbolic link.
    pub(super) fn open_directory(&self, parent: BorrowedFd<'_>, name: &str) -> Result<OwnedFd, Failure> {
        openat(parent, name, DIRECTORY, Mode::empty()).map_err(|e| match e {
            Errno::ENOTDIR | Errno::ELOOP => Failure::new(
                Kind::Destination,
                format!("{} is not a directory", self.path.join(name).display()),
                "a mailbox must not hold symbolic links or files where folders belong: move it away",
            ),
            e => self.trouble(name, e),
        })
    }

    /// Makes a new file in `directory`; it must not be there.
    pub(crate) fn create(&self, directory: BorrowedFd<'_>, name: &str) -> Result<std::fs::File, Failure> {
        let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_RDWR | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
        let file = openat(directory, name, flags, Mode::S_IRUSR | Mode::S_IWUSR)
            .map_err(|e| self.trouble(name, e))?;
        self.give_away(directory, name)?;
        Ok(file.into())
    }

    /// Gives what we made to the mailbox's owner, if we are root.
    pub(super) fn give_away(&self, parent: BorrowedFd<'_>, name: &str) -> Result<(), Failure> {
        let Some((uid, gid)) = self.owner else { return Ok(()) };
        fchownat(parent, name, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW)
            .map_err(|e| self.trouble(name, e))
    }

    /// An error of the file system in words: where, whose it is, who we are.
    pub(crate) fn trouble(&self, name: impl AsRef<OsStr>, errno: Errno) -> Failure {
        trouble(&self.path.join(name.as_ref()), &errno.into())
    }
}

/// The owner that new files get when we are root: that of the nearest directory that exists.
fn inherited_owner(path: &Path) -> Option<(Uid, Gid)> {
    if !geteuid().is_root() {
        return None;
    }
    let found = path.ancestors().find_map(|p| std::fs::metadata(p).ok())?;
    (found.uid() != 0).then(|| (Uid::from_raw(found.uid()), Gid::from_raw(found.gid())))
}

fn make_all(path: &Path, owner: Option<(Uid, Gid)>) -> Result<(), Failure> {
    let missing: Vec<&Path> = path.ancestors().take_while(|p| !p.exists()).collect();
    for directory in missing.into_iter().rev() {
        match nix::unistd::mkdir(directory, Mode::S_IRWXU) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(e) => return Err(trouble(directory, &e.into())),
        }
        if let Some((uid, gid)) = owner {
            nix::unistd::chown(directory, Some(uid), Some(gid)).map_err(|e| trouble(directory, &e.into()))?;
        }
        // The new entry must outlive a power cut as surely as the mail in it.
        if let Some(parent) = directory.parent()
            && let Ok(parent) = std::fs::File::open(parent)
        {
            parent.sync_all().map_err(|e| trouble(directory, &e))?;
        }
    }
    Ok(())
}

/// The topmost directory that [`Mailbox::open`] would have to make for `path`; `None`: the mailbox is there.
pub fn topmost_missing(path: &Path) -> Option<PathBuf> {
    path.ancestors().take_while(|p| !p.as_os_str().is_empty() && !p.exists()).last().map(Path::to_owned)
}

/// Removes the directories from `path` up to `topmost`, as far as they are empty.
///
/// # Errors
/// One of them cannot be removed though it is empty.
pub fn remove_made(path: &Path, topmost: &Path) -> Result<(), Failure> {
    for directory in path.ancestors().take_while(|p| p.starts_with(topmost)) {
        match std::fs::remove_dir(directory) {
            Ok(()) => {}
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) if e.kind() == std::io::ErrorKind::DirectoryNotEmpty => break,
            Err(e) => return Err(trouble(directory, &e)),
        }
    }
    Ok(())
}

fn trouble(path: &Path, error: &std::io::Error) -> Failure {
    let path_shown = path.display();
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ENOSPC | Errno::EDQUOT) => Failure::new(
            Kind::Full,
            format!("no space to write {path_shown}: {error}"),
            "make space or raise the quota; it goes on by itself",
        ),
        Some(Errno::EACCES | Errno::EPERM) => {
            let whose = path
                .ancestors()
                .find_map(|p| std::fs::metadata(p).ok().map(|m| (p, m)))
                .map(|(p, m)| {
                    format!(
                        "{} belongs to {} with mode {:04o}",
                        p.display(),
                        user_name(m.uid()),
                        m.mode() & 0o7777
                    )
                })
                .unwrap_or_default();
            Failure::new(
                Kind::Destination,
                format!(
                    "cannot write {path_shown}: {whose}, and mailhauld runs as {}",
                    user_name(geteuid().as_raw())
                ),
                "run mailhauld as the owner of the mailboxes (systemd/vmail.conf is a drop-in for that)",
            )
        }
        Some(Errno::EROFS) => Failure::new(
            Kind::Destination,
            format!("cannot write {path_shown}: {error}"),
            "mount it writable, or add it to ReadWritePaths= of the unit",
        ),
        _ => Failure::new(
            Kind::Destination,
            format!("cannot write {path_shown}: {error}"),
            "look at the disk and the system's log",
        ),
    }
}

fn user_name(uid: u32) -> String {
    match User::from_uid(Uid::from_raw(uid)) {
        Ok(Some(user)) => user.name,
        _ => format!("uid {uid}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_filled_once() {
        let member = Member { local: "{domain}".to_owned(), domain: "b.example".to_owned() };
        assert_eq!(
            path_for("/v/{domain}/{local}/{member}/{x}", &member),
            PathBuf::from("/v/b.example/{domain}/{domain}@b.example/{x}")
        );
    }

    #[test]
    fn a_missing_mailbox_is_made_and_a_link_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b/Maildir");
        Mailbox::open(&path).unwrap();
        for name in ["cur", "new", "tmp"] {
            assert!(path.join(name).is_dir());
        }
        std::fs::remove_dir(path.join("tmp")).unwrap();
        std::os::unix::fs::symlink("/", path.join("tmp")).unwrap();
        let failure = Mailbox::open(&path).unwrap_err();
        assert_eq!(failure.kind, Kind::Destination);
        assert!(failure.to_string().contains("symbolic links"), "{failure}");
    }
}
