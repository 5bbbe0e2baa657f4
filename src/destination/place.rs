//! Where a source folder goes: names for folder paths, as a Maildir++ or a server has them. What the
//! destination cannot carry (its delimiter, a control character, too long a name, two names that become one) is
//! changed, told, and the same on every run. It refuses any name that could leave the mailbox.

use std::collections::{BTreeMap, BTreeSet};

use ring::digest::{SHA256, digest};

use crate::imap::Layout;
use crate::message::FolderPath;
use crate::mutf7;

/// The longest directory name that is made, in octets; file systems stop at 255.
const LONGEST: usize = 240;

/// How the destination names folders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Naming {
    /// As directories of a Maildir++.
    Maildir,
    /// As a server has them.
    Server(Layout),
}

/// A folder's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// The directory below the mailbox, empty for the inbox; or a server's own name.
    pub directory: String,
    /// The same for people.
    pub path: FolderPath,
    /// What had to change, in words.
    pub note: Option<String>,
}

/// Gives each of `folders` (a stable key and its path) a directory. `taken` are the directories that
/// earlier runs gave; they are kept, and no other folder gets one of them.
pub fn place<K: Ord + Clone>(
    naming: &Naming,
    folders: &[(K, FolderPath)],
    taken: &BTreeMap<K, String>,
) -> BTreeMap<K, Placed> {
    let mut used: BTreeSet<String> = taken.values().cloned().collect();
    let mut places = BTreeMap::new();
    // Where the search for a free name goes on: a server may list ten thousand names that become one.
    let mut copies: BTreeMap<String, u32> = BTreeMap::new();
    // Names that need no change come first, so that they keep their own name in a clash.
    let (plain, changed): (Vec<_>, Vec<_>) =
        folders.iter().partition(|(_, path)| naming.safe(path).0 == path.0);
    for (key, path) in plain.into_iter().chain(changed) {
        let (levels, note) = naming.safe(path);
        let path_shown = FolderPath(levels.clone());
        if let Some(directory) = taken.get(key) {
            places.insert(key.clone(), Placed { directory: directory.clone(), path: path_shown, note });
            continue;
        }
        let (mut directory, mut note) = (naming.name(&levels), note);
        if used.contains(&directory) {
            let copy = copies.entry(directory).or_insert(2);
            let free = loop {
                let mut other = levels.clone();
                if let Some(last) = other.last_mut() {
                    last.push_str(&format!("_{copy}"));
                }
                let candidate = naming.name(&other);
                if !used.contains(&candidate) {
                    break candidate;
                }
                *copy += 1;
            };
            note = Some(format!("another folder has the name {path_shown} here: this one goes to {free}"));
            directory = free;
        }
        used.insert(directory.clone());
        places.insert(key.clone(), Placed { directory, path: path_shown, note });
    }
    places
}

impl Naming {
    /// The levels as the destination can carry them, and what was changed.
    fn safe(&self, path: &FolderPath) -> (Vec<String>, Option<String>) {
        if path.is_inbox() {
            return (vec!["INBOX".to_owned()], None);
        }
        let path = path.folded();
        let levels: Vec<String> = path.0.iter().map(|level| self.level(level)).collect();
        let carried = levels == path.0;
        let levels = match self {
            Naming::Maildir => levels,
            Naming::Server(layout) => layout.joined(levels),
        };
        let whole = levels.iter().map(|l| mutf7::encode(l)).collect::<Vec<_>>().join(".");
        let longest = match self {
            Naming::Maildir => LONGEST,
            Naming::Server(layout) => layout.longest(),
        };
        if whole.len() >= longest {
            let digest = digest(&SHA256, whole.as_bytes());
            let tail: String = digest.as_ref().iter().take(6).map(|b| format!("{b:02x}")).collect();
            let joined = levels.join(" ");
            let mut short = mutf7::prefix(&joined, longest.saturating_sub(48)).to_owned();
            short.push('_');
            short.push_str(&tail);
            let note = format!("the name is too long at the destination: it becomes {short}");
            return (vec![short], Some(note));
        }
        let note = (levels != path.0).then(|| {
            let why = match carried {
                true => "a folder there holds either messages or folders",
                false => "the name has characters that the destination cannot carry",
            };
            format!("{why}: it becomes {}", levels.join("/"))
        });
        (levels, note)
    }

    fn level(&self, level: &str) -> String {
        match self {
            Naming::Maildir => safe_level(level),
            Naming::Server(layout) => layout.level(level),
        }
    }

    fn name(&self, levels: &[String]) -> String {
        match self {
            Naming::Maildir => directory_of(levels),
            Naming::Server(layout) => String::from_utf8_lossy(&layout.name(levels)).into_owned(),
        }
    }
}

fn safe_level(level: &str) -> String {
    let mut out: String =
        level.chars().map(|c| if matches!(c, '.' | '/') || c.is_control() { '_' } else { c }).collect();
    if out.starts_with('~') {
        out.replace_range(..1, "_");
    }
    if out.is_empty() {
        out.push('_');
    }
    out
}

fn directory_of(levels: &[String]) -> String {
    match levels {
        [only] if only.eq_ignore_ascii_case("INBOX") => String::new(),
        levels => levels.iter().fold(String::new(), |sum, level| sum + "." + &mutf7::encode(level)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn paths(names: &[&[&str]]) -> Vec<(usize, FolderPath)> {
        names
            .iter()
            .enumerate()
            .map(|(i, n)| (i, FolderPath(n.iter().map(|&l| l.to_owned()).collect())))
            .collect()
    }

    #[test]
    fn ordinary_names() {
        let folders = paths(&[&["INBOX"], &["Archive", "2024"], &["Entwürfe"], &["INBOX", "Gmail"]]);
        let placed = place(&Naming::Maildir, &folders, &BTreeMap::new());
        let dirs: Vec<&str> = placed.values().map(|p| p.directory.as_str()).collect();
        assert_eq!(dirs, ["", ".Archive.2024", ".Entw&APw-rfe", ".INBOX.Gmail"]);
        assert!(placed.values().all(|p| p.note.is_none()));
    }

    #[test]
    fn what_cannot_be_carried_is_changed_and_told() {
        let folders = paths(&[&["v1.2"], &["v1_2"], &["..", "..", "etc"], &["a/b\0c"], &[""]]);
        let placed = place(&Naming::Maildir, &folders, &BTreeMap::new());
        assert_eq!(placed[&0].directory, ".v1_2_2", "the name that needs no change keeps it");
        assert_eq!(placed[&1].directory, ".v1_2");
        assert_eq!(placed[&2].directory, ".__.__.etc");
        assert_eq!(placed[&3].directory, ".a_b_c");
        for key in [0, 2, 3, 4] {
            assert!(placed[&key].note.is_some(), "{key}");
        }
    }

    #[test]
    fn what_is_below_the_inbox_is_below_the_inbox() {
        let folders =
            paths(&[&["Inbox", "Sub"], &["INBOX", "Sub"], &["inbox", "Other"], &["Old", "Inbox", "x"]]);
        for (naming, expected) in [
            (Naming::Maildir, [".INBOX.Sub_2", ".INBOX.Sub", ".INBOX.Other", ".Old.Inbox.x"]),
            (
                Naming::Server(Layout { delimiter: Some(b'/'), ..Layout::default() }),
                ["INBOX/Sub_2", "INBOX/Sub", "INBOX/Other", "Old/Inbox/x"],
            ),
        ] {
            let placed = place(&naming, &folders, &BTreeMap::new());
            let places: Vec<&str> = placed.values().map(|p| p.directory.as_str()).collect();
            assert_eq!(places, expected);
            let told: Vec<usize> =
                placed.iter().filter(|(_, p)| p.note.is_some()).map(|(key, _)| *key).collect();
            assert_eq!(told, [0]);
        }
    }

    #[test]
    fn an_earlier_place_is_kept() {
        let taken = BTreeMap::from([(1, ".v1_2_2".to_owned())]);
        let folders = paths(&[&["v1_2"], &["v1.2"]]);
        assert_eq!(place(&Naming::Maildir, &folders, &taken)[&1].directory, ".v1_2_2");
    }

    proptest! {
        #[test]
        fn no_name_leaves_the_mailbox_and_none_clash(
            names in prop::collection::vec(prop::collection::vec("[a./~\\x00é]{0,3}|\\PC{0,90}|(abc){100}", 1..6), 1..20),
        ) {
            let folders: Vec<_> = names.into_iter().enumerate().map(|(i, n)| (i, FolderPath(n))).collect();
            let placed = place(&Naming::Maildir, &folders, &BTreeMap::new());
            prop_assert_eq!(placed.len(), folders.len());
            let mut seen = BTreeSet::new();
            for p in placed.values() {
                prop_assert!(seen.insert(p.directory.clone()));
                prop_assert!(p.directory.len() < 255);
                prop_assert!(p.directory.is_empty() || p.directory.starts_with('.'));
                prop_assert!(!p.directory.contains(['/', '\0']));
                prop_assert!(!p.directory.split('.').skip(1).any(str::is_empty), "{}", p.directory);
            }
            prop_assert_eq!(place(&Naming::Maildir, &folders, &BTreeMap::new()), placed);
        }
    }
}
