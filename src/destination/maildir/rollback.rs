//! Putting a mailbox back: messages that one account brought are found by their names, wherever in the
//! mailbox a reader has moved or flagged them since; folders and subscriptions that it made go if nothing
//! else is in them. It refuses to touch a file that does not carry the account's mark.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use nix::fcntl::AtFlags;
use nix::sys::stat::fstatat;
use nix::unistd::{UnlinkatFlags, fsync, unlinkat};

use super::folder::{Folder, entries};
use super::inventory::{directories, halves};
use super::keywords::{give_back, tidy};
use super::mailbox::{Mailbox, remove_made};
use super::name::{FileName, Origin};
use super::quota;
use super::subscriptions::unsubscribe;
use super::uidlist::copies;
use crate::failure::Failure;
use crate::message::MessageRef;

/// What is to be undone.
pub struct Undo<'u> {
    /// The account whose messages go: [`Origin::account`].
    pub account: u64,
    /// Which of them stay, for they were here before.
    pub stays: &'u dyn Fn(Origin, MessageRef) -> bool,
    /// Directories, with the keyword letters that were taken in them before, bit by bit.
    pub letters: Vec<(String, u32)>,
    /// Directories that the account made.
    pub made: Vec<String>,
    /// Subscriptions that the account added.
    pub subscribed: Vec<String>,
    /// The topmost directory that had to be made for the mailbox itself.
    pub mailbox: Option<PathBuf>,
}

/// What was undone.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Undone {
    /// Messages removed.
    pub messages: u64,
    /// Folders removed.
    pub folders: u64,
    /// Messages that stay, for they are not as they were sent.
    pub left: u64,
}

/// Puts the mailbox back. It may be interrupted anywhere and run again.
///
/// # Errors
/// The mailbox cannot be written.
pub fn undo(mailbox: &Mailbox, work: &Undo<'_>) -> Result<Undone, Failure> {
    let mut undone = Undone::default();
    for name in directories(mailbox)? {
        let Some(folder) = Folder::open_existing(mailbox, &name)? else { continue };
        let copies = copies(mailbox, &folder)?;
        let mut removed = 0;
        for directory in [&folder.cur, &folder.new] {
            for entry in entries(directory.as_fd()).map_err(|e| mailbox.trouble(&name, e))? {
                let whose = FileName::parse(&entry).or_else(|| copies.get(halves(&entry).0).cloned());
                if let Some(file) = whose
                    && file.origin.account == work.account
                    && !(work.stays)(file.origin, file.message)
                {
                    unlinkat(directory.as_fd(), entry.as_slice(), UnlinkatFlags::NoRemoveDir)
                        .map_err(|e| mailbox.trouble(&name, e))?;
                    removed += 1;
                }
            }
            if removed > 0 {
                fsync(directory.as_fd()).map_err(|e| mailbox.trouble(&name, e))?;
            }
        }
        undone.messages += removed;
        if removed > 0 {
            quota::forget(mailbox);
        }
        tidy(mailbox, &folder)?;
    }
    for (name, before) in &work.letters {
        if let Some(folder) = Folder::open_existing(mailbox, name)? {
            give_back(mailbox, &folder, *before)?;
        }
    }
    unsubscribe(mailbox, &work.subscribed)?;
    let made: BTreeSet<&String> = work.made.iter().filter(|name| !name.is_empty()).collect();
    for name in made {
        if Folder::exists(mailbox, name) && remove_if_empty(mailbox, name)? {
            undone.folders += 1;
        }
    }
    fsync(mailbox.root()).map_err(|e| mailbox.trouble("", e))?;
    if let Some(topmost) = &work.mailbox
        && clear_if_empty(mailbox, "")?
    {
        remove_made(mailbox.path(), topmost)?;
    }
    Ok(undone)
}

/// Removes a folder that holds no message; indexes that a server made there do not count.
fn remove_if_empty(mailbox: &Mailbox, name: &str) -> Result<bool, Failure> {
    if !clear_if_empty(mailbox, name)? {
        return Ok(false);
    }
    unlinkat(mailbox.root(), name, UnlinkatFlags::RemoveDir).map_err(|e| mailbox.trouble(name, e))?;
    Ok(true)
}

/// Empties a folder's directory, the inbox's for an empty name, unless a message or a stranger's file is in it.
fn clear_if_empty(mailbox: &Mailbox, name: &str) -> Result<bool, Failure> {
    let folder = Folder::open(mailbox, name)?;
    for directory in [&folder.cur, &folder.new] {
        if !entries(directory.as_fd()).map_err(|e| mailbox.trouble(name, e))?.is_empty() {
            return Ok(false);
        }
    }
    let mut files = entries(folder.dir.as_fd()).map_err(|e| mailbox.trouble(name, e))?;
    let known = |file: &[u8]| {
        matches!(file, b"cur" | b"new" | b"tmp" | b"maildirfolder" | b"maildirsize" | b"subscriptions")
            || file.starts_with(b"dovecot")
            || file.starts_with(b"courier")
    };
    if !files.iter().all(|file| known(file)) {
        return Ok(false);
    }
    let dir = folder.dir.as_fd();
    let tmp = mailbox.open_directory(dir, "tmp")?;
    // Somebody else may be delivering this very moment; ours were removed before.
    let staged = entries(tmp.as_fd()).map_err(|e| mailbox.trouble(name, e))?;
    if staged.iter().any(|file| !is_forgotten(tmp.as_fd(), file)) {
        return Ok(false);
    }
    for file in staged {
        let _ = unlinkat(tmp.as_fd(), file.as_slice(), UnlinkatFlags::NoRemoveDir);
    }
    // `tmp` goes last: as long as it is there, whoever is stopped here begins again.
    files.sort_by_key(|file| file == b"tmp");
    for file in files {
        let flag = match file.as_slice() {
            b"cur" | b"new" | b"tmp" => UnlinkatFlags::RemoveDir,
            _ => UnlinkatFlags::NoRemoveDir,
        };
        unlinkat(dir, file.as_slice(), flag).map_err(|e| mailbox.trouble(name, e))?;
    }
    Ok(true)
}

/// Whether a file in `tmp` is so old that nobody delivers it any more: 36 hours, as the Maildir specification
/// has it.
fn is_forgotten(tmp: BorrowedFd<'_>, file: &[u8]) -> bool {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let status = fstatat(tmp, file, AtFlags::AT_SYMLINK_NOFOLLOW);
    status.is_ok_and(|s| u64::try_from(s.st_mtime).is_ok_and(|at| at + 36 * 3600 < now))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Flags;

    #[test]
    fn only_what_the_account_brought_goes() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("m");
        let mailbox = Mailbox::open(&root).unwrap();
        Folder::open(&mailbox, ".Made").unwrap();
        Folder::open(&mailbox, ".Own").unwrap();
        let name = |uid| {
            let message = MessageRef::Imap { uidvalidity: 1, uid };
            FileName { origin: Origin::imap("a", b"X", 0), message }.full(5, 1, 1, &Flags::default(), "")
        };
        std::fs::write(root.join(".Made/cur").join(name(1)), "x").unwrap();
        std::fs::write(root.join(".Own/cur").join(name(2)), "moved by the member").unwrap();
        std::fs::write(root.join(".Own/cur").join(name(3)), "here before").unwrap();
        std::fs::write(root.join(".Own/cur/1.M1P1.host:2,S"), "foreign").unwrap();
        std::fs::write(root.join(".Made/dovecot-uidlist"), "3").unwrap();
        let stays = |_: Origin, m: MessageRef| m == MessageRef::Imap { uidvalidity: 1, uid: 3 };
        let work = Undo {
            account: Origin::imap("a", b"X", 0).account,
            stays: &stays,
            letters: vec![(".Own".to_owned(), 0)],
            made: vec![".Made".to_owned(), ".Own".to_owned()],
            subscribed: Vec::new(),
            mailbox: Some(root.clone()),
        };
        std::fs::write(root.join(".Own/dovecot-keywords"), "0 brought\n").unwrap();
        let copied = format!("3 V1 N9\n7 G{} :9.M1P1.host,S=1\n", name(5).split(',').next().unwrap());
        std::fs::write(root.join(".Own/dovecot-uidlist"), copied).unwrap();
        std::fs::write(root.join(".Own/cur/9.M1P1.host,S=1:2,S"), "copied by the member").unwrap();
        assert_eq!(undo(&mailbox, &work).unwrap(), Undone { messages: 3, folders: 1, left: 0 });
        assert!(!root.join(".Own/dovecot-keywords").exists());
        assert!(!root.join(".Made").exists());
        assert!(root.join(".Own/cur/1.M1P1.host:2,S").exists());
        assert!(root.join(".Own/cur").join(name(3)).exists());
        assert_eq!(undo(&mailbox, &work).unwrap(), Undone::default());
        std::fs::remove_dir_all(root.join(".Own")).unwrap();
        let staged = root.join("tmp/1.M1P1.host");
        std::fs::write(&staged, "somebody delivers").unwrap();
        undo(&mailbox, &work).unwrap();
        assert!(staged.exists(), "that is not ours to stop");
        let long_ago = UNIX_EPOCH + std::time::Duration::from_secs(1);
        std::fs::File::options().write(true).open(&staged).unwrap().set_modified(long_ago).unwrap();
        undo(&mailbox, &work).unwrap();
        assert!(!root.exists() && dir.path().exists(), "the mailbox was made for it");
    }
}
