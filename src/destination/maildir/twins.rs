//! Messages that are here already under names that say nothing of where the source has them now: brought by
//! another tool, or by us before the source moved them, renamed their folder or changed its UIDVALIDITY. What
//! comes and is the same, octet for octet, is not brought again. It refuses to compare what has another size,
//! and counts every file once.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufReader, Read};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError};

use nix::fcntl::AtFlags;
use nix::sys::stat::fstatat;

use super::folder::{Folder, entries};
use super::inventory::{directories, open, told_size, wire_size};
use super::mailbox::Mailbox;
use super::name::{FileName, Origin};
use crate::compressed::Message;
use crate::destination::landing::Unsettled;
use crate::failure::Failure;
use crate::message::MessageRef;

/// A file that may be a twin.
#[derive(Debug)]
struct Twin {
    in_new: bool,
    file: Vec<u8>,
}

/// A message that has come and waits for its place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Staged<'s> {
    /// Its octets as they are stored.
    pub(crate) file: &'s File,
    /// How many those are.
    pub(crate) stored: u64,
    /// How many it had on the wire.
    pub(crate) wire: u64,
}

/// Possible twins in one folder.
#[derive(Debug, Default)]
pub(crate) struct Twins {
    /// By the size on the wire.
    by_wire: BTreeMap<u64, Vec<Twin>>,
    /// Those whose name does not tell it, by the size of the file.
    by_file: BTreeMap<u64, Vec<Twin>>,
    used: Used,
}

/// How many of each size on the wire an earlier try may have used up; which, nobody wrote down.
#[derive(Debug, Default)]
struct Used(BTreeMap<u64, usize>);

impl Used {
    fn of(adopted: impl Iterator<Item = u64>) -> Used {
        let mut used = BTreeMap::new();
        for size in adopted {
            *used.entry(size).or_default() += 1;
        }
        Used(used)
    }

    fn count(&self, size: u64) -> usize {
        self.0.get(&size).copied().unwrap_or(0)
    }
}

impl Twins {
    /// What is in `folder` besides the messages that `origin` numbers as it does now, and what is `unsettled`. `adopted` are the sizes
    /// of those messages that earlier tries may have found here.
    pub(crate) fn of(
        mailbox: &Mailbox,
        folder: &Folder,
        (origin, unsettled): (Origin, &Unsettled),
        adopted: impl Iterator<Item = u64>,
    ) -> Result<Twins, Failure> {
        let mut twins = Twins { used: Used::of(adopted), ..Twins::default() };
        for (directory, in_new) in [(&folder.cur, false), (&folder.new, true)] {
            for file in entries(directory.as_fd()).map_err(|e| mailbox.trouble(&folder.name, e))? {
                // What is marked as deleted goes with the next expunge.
                if unsettled.deleted && is_deleted(&file) {
                    continue;
                }
                // Ours are known by their names, or are orphans: see there.
                if FileName::parse(&file)
                    .map(|name| name.origin.account)
                    .is_some_and(|account| account == origin.account || unsettled.accounts.contains(&account))
                {
                    continue;
                }
                if let Some(size) = wire_size(&file) {
                    twins.by_wire.entry(size).or_default().push(Twin { in_new, file });
                    continue;
                }
                let size = told_size(&file).or_else(|| {
                    let status = fstatat(directory.as_fd(), file.as_slice(), AtFlags::AT_SYMLINK_NOFOLLOW);
                    status.ok().and_then(|status| u64::try_from(status.st_size).ok())
                });
                // Dovecot tells the size of what it compresses; what it does not tell, its octets do.
                let told = told_size(&file).is_some();
                let size = match size.filter(|_| !told).and_then(|_| unpacked(folder, in_new, &file)) {
                    Some(unpacked) => Some(unpacked),
                    None => size,
                };
                if let Some(size) = size {
                    twins.by_file.entry(size).or_default().push(Twin { in_new, file });
                }
            }
        }
        Ok(twins)
    }

    /// Whether `staged` is here already; its twin is used up by that. If an earlier try may have used it up,
    /// it is not: two messages alike at the source are two here.
    pub(crate) fn take(&mut self, folder: &Folder, staged: Staged<'_>) -> bool {
        let same = |twin: &Twin| is_same(folder, twin, staged.file).unwrap_or(false);
        let used = self.used.count(staged.wire);
        // A file may have the line ends of the wire or those of a store.
        take(&mut self.by_wire, staged.wire, used, same)
            || take(&mut self.by_file, staged.stored, used, same)
            || take(&mut self.by_file, staged.wire, used, same)
    }
}

/// The octets of a compressed message whose name does not tell them; `None`: it is not compressed.
fn unpacked(folder: &Folder, in_new: bool, file: &[u8]) -> Option<u64> {
    let mut message = open(folder, in_new, file).ok().filter(Message::is_compressed)?;
    message.length().ok()
}

/// Whether a file's flags say that it is deleted.
fn is_deleted(file: &[u8]) -> bool {
    let flags = file.windows(3).rposition(|mark| mark == b":2,").and_then(|at| file.get(at + 3..));
    flags.is_some_and(|flags| flags.contains(&b'T'))
}

/// The first of `size` that is the `same`, behind as many as may be `used` up.
fn take<T>(pool: &mut BTreeMap<u64, Vec<T>>, size: u64, used: usize, same: impl Fn(&T) -> bool) -> bool {
    let Some(candidates) = pool.get_mut(&size) else { return false };
    let found = if used == 0 {
        candidates.iter().position(same)
    } else {
        let (mut alike, mut unlike) = (Vec::new(), 0);
        for (at, candidate) in candidates.iter().enumerate() {
            if same(candidate) {
                alike.push(at);
            } else {
                unlike += 1;
            }
        }
        alike.get(used.saturating_sub(unlike)).copied()
    };
    found.map(|at| candidates.swap_remove(at)).is_some()
}

/// Copies that an account brought, anywhere in the mailbox, whose message the source no longer has where it
/// was: by their size on the wire. Shared by all landings of a run, so that each is found once.
#[derive(Debug, Default)]
pub struct Orphans {
    pool: Mutex<BySize>,
    used: Used,
    /// They turned out to be where they were.
    except: Mutex<BTreeSet<MessageRef>>,
}

/// A file and the directory that it is in, by the size on the wire.
type BySize = BTreeMap<u64, Vec<(Arc<str>, Twin)>>;

impl Orphans {
    /// Those of `account` in `mailbox` that the source does not have any more. `adopted` are the sizes of those
    /// messages that earlier tries may have found among them.
    ///
    /// # Errors
    /// The mailbox cannot be read.
    pub fn of(
        mailbox: &Mailbox,
        account: u64,
        is_there: impl Fn(Origin, MessageRef) -> bool,
        adopted: impl Iterator<Item = u64>,
    ) -> Result<Orphans, Failure> {
        let mut found = BySize::new();
        each(mailbox, account, |directory, name, file, in_new| {
            if !is_there(name.origin, name.message)
                && let Some(size) = wire_size(&file)
            {
                found.entry(size).or_default().push((Arc::clone(directory), Twin { in_new, file }));
            }
            true
        })?;
        Ok(Orphans { pool: Mutex::new(found), used: Used::of(adopted), except: Mutex::default() })
    }

    /// Whether the mailbox holds anything that `account` brought.
    ///
    /// # Errors
    /// The mailbox cannot be read.
    pub fn any(mailbox: &Mailbox, account: u64) -> Result<bool, Failure> {
        let mut any = false;
        each(mailbox, account, |_, _, _, _| {
            any = true;
            false
        })?;
        Ok(any)
    }

    /// A message is at the source after all, under the name that it has here.
    pub fn except(&self, message: MessageRef) {
        self.except.lock().unwrap_or_else(PoisonError::into_inner).insert(message);
    }

    /// Whether `staged` is here already; the orphan is used up by that.
    pub(crate) fn take(&self, mailbox: &Mailbox, staged: Staged<'_>) -> bool {
        let mut pool = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
        let except = self.except.lock().unwrap_or_else(PoisonError::into_inner);
        take(&mut pool, staged.wire, self.used.count(staged.wire), |(directory, twin)| {
            if FileName::parse(&twin.file).is_some_and(|name| except.contains(&name.message)) {
                return false;
            }
            let folder = Folder::open_existing(mailbox, directory).ok().flatten();
            folder.is_some_and(|folder| is_same(&folder, twin, staged.file).unwrap_or(false))
        })
    }
}

/// What `account` brought and is anywhere in the mailbox, by the names of its files.
///
/// # Errors
/// The mailbox cannot be read.
pub fn held(mailbox: &Mailbox, account: u64) -> Result<Vec<FileName>, Failure> {
    let mut names = Vec::new();
    each(mailbox, account, |_, name, _, _| {
        names.push(name);
        true
    })?;
    Ok(names)
}

/// The same, by the hash of the folder at the source.
///
/// # Errors
/// The mailbox cannot be read.
pub(super) fn held_by_folder(
    mailbox: &Mailbox,
    account: u64,
) -> Result<BTreeMap<u64, BTreeSet<MessageRef>>, Failure> {
    let mut found: BTreeMap<u64, BTreeSet<MessageRef>> = BTreeMap::new();
    for name in held(mailbox, account)? {
        found.entry(name.origin.folder).or_default().insert(name.message);
    }
    Ok(found)
}

/// Every file of `account`, until `told` has enough.
fn each(
    mailbox: &Mailbox,
    account: u64,
    mut told: impl FnMut(&Arc<str>, FileName, Vec<u8>, bool) -> bool,
) -> Result<(), Failure> {
    for name in directories(mailbox)? {
        let Some(folder) = Folder::open_existing(mailbox, &name)? else { continue };
        let directory: Arc<str> = name.as_str().into();
        for (place, in_new) in [(&folder.cur, false), (&folder.new, true)] {
            for file in entries(place.as_fd()).map_err(|e| mailbox.trouble(&name, e))? {
                if let Some(whose) = FileName::parse(&file).filter(|n| n.origin.account == account)
                    && !told(&directory, whose, file, in_new)
                {
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}

fn is_same(folder: &Folder, twin: &Twin, staged: &File) -> std::io::Result<bool> {
    let file = open(folder, twin.in_new, &twin.file)?;
    let staged = Message::open(staged.try_clone()?)?;
    let (mut one, mut other) = (Octets::new(file), Octets::new(staged));
    loop {
        match (one.next()?, other.next()?) {
            (None, None) => return Ok(true),
            (a, b) if a == b => {}
            _ => return Ok(false),
        }
    }
}

/// The octets of a stored message with every line end reduced to a line feed, as two stores may differ there.
struct Octets<R> {
    bytes: std::io::Bytes<BufReader<R>>,
    held: Option<u8>,
}

impl<R: Read> Octets<R> {
    fn new(file: R) -> Self {
        Octets { bytes: BufReader::with_capacity(64 * 1024, file).bytes(), held: None }
    }

    fn next(&mut self) -> std::io::Result<Option<u8>> {
        let byte = match self.held.take() {
            Some(byte) => Some(byte),
            None => self.bytes.next().transpose()?,
        };
        if byte == Some(b'\r') {
            self.held = self.bytes.next().transpose()?;
            if self.held == Some(b'\n') {
                self.held = None;
                return Ok(Some(b'\n'));
            }
        }
        Ok(byte)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Flags;

    #[test]
    fn a_twin_is_found_once_whatever_its_line_ends() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("m");
        let mailbox = Mailbox::open(&root).unwrap();
        let folder = Folder::open(&mailbox, "").unwrap();
        let path = root.join("tmp/s");
        std::fs::write(&path, "a\r\nb\rc\r\n").unwrap();
        let file = File::open(&path).unwrap();
        let origin = Origin::imap("a", b"f", 0);
        let staged = |wire| Staged { file: &file, stored: 6, wire };
        let of = |adopted: &[u64]| {
            Twins::of(&mailbox, &folder, (origin, &Unsettled::default()), adopted.iter().copied()).unwrap()
        };
        for (name, content) in
            [("1.x.h,S=6,W=8:2,", "a\nb\rc\n"), ("2.x.h:2,", "a\nb\rc\n"), ("3.x.h", "a\r\nb\rc\r\n")]
        {
            let place = root.join("cur").join(name);
            std::fs::write(&place, content).unwrap();
            let mut twins = of(&[5]);
            let other = Staged { file: &file, stored: 7, wire: 9 };
            assert!(!twins.take(&folder, other), "{name}: another size");
            assert!(twins.take(&folder, staged(8)), "{name}");
            assert!(!twins.take(&folder, staged(8)), "{name}: used up");
            assert!(!of(&[8]).take(&folder, staged(8)), "{name}: used up by an earlier try");
            std::fs::remove_file(place).unwrap();
        }
        std::fs::write(root.join("cur/4.x.h,S=6,W=8:2,ST"), "a\nb\rc\n").unwrap();
        let deleted = Unsettled { deleted: true, ..Unsettled::default() };
        let mut twins = Twins::of(&mailbox, &folder, (origin, &deleted), std::iter::empty()).unwrap();
        assert!(!twins.take(&folder, staged(8)), "it is marked as deleted");
        assert!(of(&[]).take(&folder, staged(8)), "the original stays");
        std::fs::remove_file(root.join("cur/4.x.h,S=6,W=8:2,ST")).unwrap();
        std::fs::write(root.join("cur/1.x.h,S=6,W=8:2,"), "a\nb\rc\n").unwrap();
        std::fs::write(root.join("cur/2.x.h,S=6,W=8:2,"), "another").unwrap();
        assert!(of(&[8]).take(&folder, staged(8)), "the other one was used up");
        assert!(!of(&[8, 8]).take(&folder, staged(8)), "both were");
    }

    #[test]
    fn an_orphan_is_found_wherever_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("m");
        let mailbox = Mailbox::open(&root).unwrap();
        Folder::open(&mailbox, ".Old").unwrap();
        let origin = Origin::imap("a", b"Old", 0);
        assert!(!Orphans::any(&mailbox, origin.account).unwrap());
        for uid in [1, 2] {
            let message = MessageRef::Imap { uidvalidity: 1, uid };
            let name = FileName { origin, message }.full(9, 2, 3, &Flags::default(), "");
            std::fs::write(root.join(".Old/cur").join(name), "x\n").unwrap();
        }
        let path = root.join("tmp/s");
        std::fs::write(&path, "x\n").unwrap();
        let file = File::open(&path).unwrap();
        let staged = Staged { file: &file, stored: 2, wire: 3 };
        let there = |_: Origin, m: MessageRef| m == MessageRef::Imap { uidvalidity: 1, uid: 2 };
        let of =
            |adopted: &[u64]| Orphans::of(&mailbox, origin.account, there, adopted.iter().copied()).unwrap();
        let orphans = of(&[]);
        assert!(Orphans::any(&mailbox, origin.account).unwrap());
        assert!(orphans.take(&mailbox, staged));
        assert!(!orphans.take(&mailbox, staged), "the other one is where it was");
        assert!(!of(&[3]).take(&mailbox, staged), "used up by an earlier try");
    }
}
