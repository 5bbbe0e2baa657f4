//! Flags of messages that are here, changed by renaming their files as readers of Maildirs do. A copy that the
//! member moved to another folder, or deleted, is not looked for. It refuses to touch a file that does not carry
//! the account's mark, and any letter but those of the system flags.

use std::collections::BTreeMap;
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::fcntl::renameat;
use nix::unistd::fsync;

use super::folder::{Folder, entries};
use super::inventory::halves;
use super::mailbox::Mailbox;
use super::name::{FileName, Origin};
use crate::failure::Failure;
use crate::message::{Mark, MessageRef};

/// What is to change of one message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reflag {
    /// Flags that it gets.
    pub on: Vec<Mark>,
    /// Flags that it loses.
    pub off: Vec<Mark>,
}

/// A reader may rename a file while we look; so often we look again.
const LOOKS: usize = 3;

/// What of `wanted` is not so yet in a folder, by UID.
///
/// # Errors
/// The folder cannot be read; so for [`reflag`].
pub fn to_reflag(
    mailbox: &Mailbox,
    directory: &str,
    origin: Origin,
    uidvalidity: u32,
    wanted: &BTreeMap<u32, Reflag>,
) -> Result<BTreeMap<u32, Reflag>, Failure> {
    let Some(folder) = Folder::open_existing(mailbox, directory)? else { return Ok(BTreeMap::new()) };
    let files = files(mailbox, &folder, origin, uidvalidity, wanted)?;
    Ok(files.into_iter().map(|(uid, _, _, left)| (uid, left)).collect())
}

/// Changes the flags in a folder, durably.
///
/// # Errors
/// The folder cannot be written.
pub fn reflag(
    mailbox: &Mailbox,
    directory: &str,
    origin: Origin,
    uidvalidity: u32,
    wanted: &BTreeMap<u32, Reflag>,
) -> Result<(), Failure> {
    let Some(folder) = Folder::open_existing(mailbox, directory)? else { return Ok(()) };
    for _ in 0..LOOKS {
        let files = files(mailbox, &folder, origin, uidvalidity, wanted)?;
        if files.is_empty() {
            break;
        }
        for (_, in_new, file, left) in files {
            let (base, info) = halves(&file);
            let mut letters: Vec<u8> = info.to_vec();
            letters.retain(|letter| !left.off.iter().any(|mark| mark.letter() == char::from(*letter)));
            letters.extend(left.on.iter().map(|mark| mark.letter() as u8));
            letters.sort_unstable();
            letters.dedup();
            let name = [base, b":2,", letters.as_slice()].concat();
            let place = if in_new { &folder.new } else { &folder.cur };
            match renameat(place.as_fd(), file.as_slice(), folder.cur.as_fd(), name.as_slice()) {
                Ok(()) | Err(Errno::ENOENT) => {}
                Err(e) => return Err(mailbox.trouble(directory, e)),
            }
        }
    }
    for place in [&folder.cur, &folder.new] {
        fsync(place.as_fd()).map_err(|e| mailbox.trouble(directory, e))?;
    }
    Ok(())
}

/// UID, whether it is in `new`, file name, and what is not as it is wanted.
type Found = (u32, bool, Vec<u8>, Reflag);

fn files(
    mailbox: &Mailbox,
    folder: &Folder,
    origin: Origin,
    uidvalidity: u32,
    wanted: &BTreeMap<u32, Reflag>,
) -> Result<Vec<Found>, Failure> {
    let mut found = Vec::new();
    for (place, in_new) in [(&folder.cur, false), (&folder.new, true)] {
        for file in entries(place.as_fd()).map_err(|e| mailbox.trouble(&folder.name, e))? {
            let Some(FileName { origin: whose, message: MessageRef::Imap { uidvalidity: v, uid } }) =
                FileName::parse(&file)
            else {
                continue;
            };
            let Some(change) = wanted.get(&uid).filter(|_| whose == origin && v == uidvalidity) else {
                continue;
            };
            let (_, info) = halves(&file);
            let has = |mark: &&Mark| info.contains(&(mark.letter() as u8));
            let left = Reflag {
                on: change.on.iter().filter(|mark| !has(mark)).copied().collect(),
                off: change.off.iter().filter(has).copied().collect(),
            };
            if left != Reflag::default() {
                found.push((uid, in_new, file, left));
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Flags;

    #[test]
    fn only_what_is_asked_of_ours_changes() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("m");
        let mailbox = Mailbox::open(&root).unwrap();
        let folder = Folder::open(&mailbox, "").unwrap();
        let origin = Origin::imap("a", b"INBOX");
        let name = |uid, flags: &Flags| {
            FileName { origin, message: MessageRef::Imap { uidvalidity: 7, uid } }.full(5, 1, 1, flags, "c")
        };
        let base = name(1, &Flags::default());
        std::fs::write(root.join("cur").join(&base), "x").unwrap();
        std::fs::write(root.join("new/2.M1.host"), "foreign").unwrap();
        let change = Reflag { on: vec![Mark::Seen, Mark::Flagged], off: vec![Mark::Draft] };
        let wanted = BTreeMap::from([(1, change.clone()), (2, change)]);
        let left = to_reflag(&mailbox, "", origin, 7, &wanted).unwrap();
        let on = vec![Mark::Seen, Mark::Flagged];
        assert_eq!(left, BTreeMap::from([(1, Reflag { on, off: Vec::new() })]));
        assert!(to_reflag(&mailbox, "", origin, 8, &wanted).unwrap().is_empty(), "another UIDVALIDITY");
        reflag(&mailbox, "", origin, 7, &wanted).unwrap();
        let now = root.join("cur").join(base.replace(":2,c", ":2,FSc"));
        assert!(now.exists(), "{now:?}");
        assert!(to_reflag(&mailbox, "", origin, 7, &wanted).unwrap().is_empty());
        assert!(root.join("new/2.M1.host").exists());
        drop(folder);
    }
}
