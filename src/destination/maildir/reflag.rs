//! Flags of messages that are here, changed by renaming their files as readers of Maildirs do. A copy that the
//! member moved to another folder, or deleted, is not looked for. It refuses to touch a file that does not carry
//! the account's mark.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::fcntl::renameat;
use nix::unistd::fsync;

use super::folder::{Folder, entries};
use super::inventory::halves;
use super::keywords::{Keywords, words};
use super::mailbox::Mailbox;
use super::name::{FileName, Origin};
use crate::failure::Failure;
use crate::message::{Flag, MessageRef};

/// What is to change of one message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reflag {
    /// Flags that it gets.
    pub on: Vec<Flag>,
    /// Flags that it loses.
    pub off: Vec<Flag>,
}

/// A reader may rename a file while we look; so often we look again.
const LOOKS: usize = 3;

/// What of `wanted` is not so yet in a folder, by UID. Keywords that are new here get their letters; also says
/// how many messages were to get one for which there is no letter left.
///
/// # Errors
/// The folder cannot be read; so for [`reflag`].
pub fn to_reflag(
    mailbox: &Mailbox,
    directory: &str,
    origin: Origin,
    uidvalidity: u32,
    wanted: &BTreeMap<u32, Reflag>,
) -> Result<(BTreeMap<u32, Reflag>, u64), Failure> {
    let Some(folder) = Folder::open_existing(mailbox, directory)? else { return Ok((BTreeMap::new(), 0)) };
    let letters = Letters::read(mailbox, &folder)?;
    let files = files(mailbox, &folder, (origin, uidvalidity), wanted, &letters)?;
    let mut left: BTreeMap<u32, Reflag> = files.into_iter().map(|(uid, _, _, left)| (uid, left)).collect();
    let new: BTreeSet<&Flag> = left.values().flat_map(|change| &change.on).collect();
    let new: Vec<String> = new
        .into_iter()
        .filter_map(|flag| if let Flag::Keyword(word) = flag { Some(word.as_str().to_owned()) } else { None })
        .collect();
    Keywords::default().letters(mailbox, &folder, &new)?;
    let letters = Letters::read(mailbox, &folder)?;
    let mut without = 0;
    for change in left.values_mut() {
        let wanted = change.on.len();
        change.on.retain(|flag| letters.of(flag).is_some());
        without += u64::from(change.on.len() < wanted);
    }
    left.retain(|_, change| *change != Reflag::default());
    Ok((left, without))
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
    let known = Letters::read(mailbox, &folder)?;
    for _ in 0..LOOKS {
        let files = files(mailbox, &folder, (origin, uidvalidity), wanted, &known)?;
        if files.is_empty() {
            break;
        }
        for (_, in_new, file, left) in files {
            let (base, info) = halves(&file);
            let mut letters: Vec<u8> = info.to_vec();
            letters.retain(|letter| !left.off.iter().any(|flag| known.of(flag) == Some(*letter)));
            letters.extend(left.on.iter().filter_map(|flag| known.of(flag)));
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

/// The letters of a folder's keywords.
struct Letters(Vec<String>);

impl Letters {
    fn read(mailbox: &Mailbox, folder: &Folder) -> Result<Letters, Failure> {
        words(mailbox, folder).map(Letters)
    }

    /// `None`: no letter stands for it here.
    fn of(&self, flag: &Flag) -> Option<u8> {
        match flag {
            Flag::System(mark) => Some(mark.letter() as u8),
            Flag::Keyword(word) => {
                let at = self.0.iter().position(|known| known.eq_ignore_ascii_case(word.as_str()))?;
                u8::try_from(at).ok().filter(|at| *at < 26).map(|at| b'a' + at)
            }
        }
    }
}

/// UID, whether it is in `new`, file name, and what is not as it is wanted.
type Found = (u32, bool, Vec<u8>, Reflag);

fn files(
    mailbox: &Mailbox,
    folder: &Folder,
    (origin, uidvalidity): (Origin, u32),
    wanted: &BTreeMap<u32, Reflag>,
    letters: &Letters,
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
            let has = |flag: &&Flag| letters.of(flag).is_some_and(|letter| info.contains(&letter));
            let left = Reflag {
                on: change.on.iter().filter(|flag| !has(flag)).cloned().collect(),
                off: change.off.iter().filter(has).cloned().collect(),
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
    use crate::message::{Flags, Keyword, Mark};

    #[test]
    fn only_what_is_asked_of_ours_changes() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("m");
        let mailbox = Mailbox::open(&root).unwrap();
        let folder = Folder::open(&mailbox, "").unwrap();
        let origin = Origin::imap("a", b"INBOX", 0);
        let name = |uid, flags: &Flags| {
            FileName { origin, message: MessageRef::Imap { uidvalidity: 7, uid } }.full(5, 1, 1, flags, "c")
        };
        let base = name(1, &Flags::default());
        std::fs::write(root.join("cur").join(&base), "x").unwrap();
        std::fs::write(root.join("new/2.M1.host"), "foreign").unwrap();
        std::fs::write(root.join("dovecot-keywords"), "1 $Work\n2 $Later\n").unwrap();
        let word = |word: &str| Flag::Keyword(Keyword::new(word).unwrap());
        let [seen, flagged, draft] = [Mark::Seen, Mark::Flagged, Mark::Draft].map(Flag::System);
        let on = vec![seen, flagged, word("$work"), word("New")];
        let change = Reflag { on: on.clone(), off: vec![draft, word("$later"), word("none")] };
        let wanted = BTreeMap::from([(1, change.clone()), (2, change)]);
        assert!(to_reflag(&mailbox, "", origin, 8, &wanted).unwrap().0.is_empty(), "another UIDVALIDITY");
        let (left, without) = to_reflag(&mailbox, "", origin, 7, &wanted).unwrap();
        assert_eq!((left, without), (BTreeMap::from([(1, Reflag { on, off: vec![word("$later")] })]), 0));
        let words = std::fs::read_to_string(root.join("dovecot-keywords")).unwrap();
        assert_eq!(words, "1 $Work\n2 $Later\n3 New\n");
        reflag(&mailbox, "", origin, 7, &wanted).unwrap();
        let now = root.join("cur").join(base.replace(":2,c", ":2,FSbd"));
        assert!(now.exists(), "{now:?}");
        assert!(to_reflag(&mailbox, "", origin, 7, &wanted).unwrap().0.is_empty());
        let many = (0..26).map(|n| word(["A", "B"][n % 2].repeat(n + 1).as_str())).collect();
        let wanted = BTreeMap::from([(1, Reflag { on: many, off: Vec::new() })]);
        let (left, without) = to_reflag(&mailbox, "", origin, 7, &wanted).unwrap();
        assert_eq!((left[&1].on.len(), without), (22, 1));
        assert!(root.join("new/2.M1.host").exists());
        drop(folder);
    }
}
