//! Which folder a path in an archive or a directory means. Maildirs come in two layouts: with `.A.B` beside `cur`
//! (Maildir++), and with directories as folders (`A/B/cur`); mailboxes in files come with `A.sbd/B` (Thunderbird) and
//! `A.mbox/mbox` (Apple Mail); else directories are levels, and a mailbox's own name is its last level. It refuses to
//! make one folder of two.

use std::collections::{BTreeMap, BTreeSet};

use super::names::{decoded, divided, dotted, foreign, levels};
use crate::message::FolderPath;

/// Directories of Maildirs that are kept, and folders that are told apart.
const DIRECTORIES: usize = 20_000;
/// What a directory is called that is a whole Maildir; small letters.
const ROOTS: [&str; 4] = ["maildir", ".maildir", "mail", "inbox"];
/// Ends of names that a compressed or exported mailbox has.
const ENDS: [&str; 10] =
    [".gz", ".bz2", ".xz", ".zst", ".zstd", ".mbox", ".mbx", ".mail", ".mboxrd", ".mboxcl2"];

/// The Maildirs of an archive, by the paths of their directories.
#[derive(Debug, Default, Clone)]
pub(super) struct Maildirs {
    directories: BTreeSet<String>,
}

impl Maildirs {
    /// One more path of the archive, of a file or of a directory.
    pub(super) fn add(&mut self, path: &str) {
        let (above, name) = divided(path);
        // `A/cur/` and `A/cur/1.x` say the same.
        let directory = match name {
            "cur" | "new" if path.ends_with('/') => above,
            _ => match divided(above) {
                (directory, "cur" | "new") => directory,
                _ => return,
            },
        };
        if self.directories.len() < DIRECTORIES {
            self.directories.insert(levels(directory).join("/"));
        }
    }

    /// Whether a directory is that of a Maildir's folder.
    pub(super) fn has(&self, directory: &str) -> bool {
        self.directories.contains(&levels(directory).join("/"))
    }

    /// How many levels lead to the mailbox itself, whose own messages are the inbox; and whether it has some.
    fn root(&self) -> usize {
        // A folder `.A` stands in its mailbox.
        let mut beside = self.directories.len() > 1;
        let plain: BTreeSet<Vec<&str>> = self
            .directories
            .iter()
            .map(|directory| {
                let mut path = levels(directory);
                if path.last().is_some_and(|last| dotted(last).is_some() && !is_root(last)) {
                    path.pop();
                    beside = true;
                }
                path
            })
            .collect();
        let Some(shortest) = plain.iter().min_by_key(|path| path.len()) else { return 0 };
        if plain.iter().all(|path| path.starts_with(shortest)) {
            let last = shortest.last().copied().unwrap_or_default();
            return if beside || is_root(last) { shortest.len() } else { shortest.len().saturating_sub(1) };
        }
        // Several mailboxes or folders side by side: what leads to all of them says nothing.
        let shared = |length: &usize| plain.iter().all(|path| path.get(..*length) == shortest.get(..*length));
        (0..shortest.len()).rev().find(shared).unwrap_or(0)
    }

    /// The folder that a directory of a Maildir is.
    pub(super) fn folder(&self, directory: &str) -> FolderPath {
        let path = levels(directory);
        let own = path.get(self.root().min(path.len())..).unwrap_or_default();
        let mut folder = Vec::new();
        for (at, level) in own.iter().enumerate() {
            match dotted(level).filter(|_| at + 1 == own.len()) {
                Some(dotted) => folder.extend(dotted),
                // Thunderbird has what is below a folder beside it: NAME.sbd.
                None if at + 1 < own.len() => folder.push(decoded(stripped(level, ".sbd").unwrap_or(level))),
                None => folder.push(decoded(level)),
            }
        }
        if folder.is_empty() { FolderPath::inbox() } else { FolderPath(folder) }
    }
}

fn is_root(name: &str) -> bool {
    let small = name.to_lowercase();
    ROOTS.contains(&small.as_str()) || small.starts_with("maildir") || small.ends_with("maildir")
}

/// Whether a directory needs no knowledge of the others: the mailbox itself, or a folder directly in it.
pub(super) fn is_plain(directory: &str) -> bool {
    match levels(directory).as_slice() {
        [] => true,
        [only] => dotted(only).is_some() && !is_root(only),
        _ => false,
    }
}

/// The folder of a message that lies in a directory; `None`: in none.
pub(super) fn of_message(path: &str) -> Option<FolderPath> {
    let (above, _) = divided(path);
    let folder = directories(above);
    (!folder.is_empty()).then_some(FolderPath(folder))
}

/// What tells the directory of a message from those that would become the same folder.
pub(super) fn of_directory(path: &str) -> String {
    let (above, _) = divided(path);
    let mut below = false;
    let mut own = Vec::new();
    for level in levels(above) {
        if !(below && is_division(level)) {
            own.push(level);
        }
        below |= level.to_ascii_lowercase().ends_with("mbox");
    }
    own.join("/")
}

/// The folder of a mailbox in a file; `None`: its name says nothing.
pub(super) fn of_mailbox(path: &str) -> Option<FolderPath> {
    let (above, name) = divided(path);
    let mut folder = directories(above);
    let name = stem(name);
    if !name.is_empty() && !(name.eq_ignore_ascii_case("mbox")) {
        folder.push(foreign(name));
    }
    (!folder.is_empty()).then_some(FolderPath(folder))
}

/// Directories as levels, without what programs add to them.
fn directories(path: &str) -> Vec<String> {
    let mut folder = Vec::new();
    // Below NAME.mbox, Apple Mail divides its messages: UUID/Data/3/Messages.
    let mut below = false;
    for level in levels(path) {
        if below && is_division(level) {
            continue;
        }
        let cut = |end: &str| stripped(level, end);
        let apple = cut(".mbox").or_else(|| cut(".imapmbox"));
        below |= apple.is_some();
        folder.push(foreign(apple.or_else(|| cut(".sbd")).unwrap_or(level)));
    }
    folder
}

/// A level without an end that programs add, in any letters; `None`: it has none, or is nothing else.
fn stripped<'l>(level: &'l str, end: &str) -> Option<&'l str> {
    let at = level.len().checked_sub(end.len())?;
    let tail = level.get(at..)?;
    (at > 0 && tail.eq_ignore_ascii_case(end)).then(|| level.get(..at)).flatten()
}

fn is_division(level: &str) -> bool {
    let is_uuid = level.len() == 36 && level.bytes().all(|b| b == b'-' || b.is_ascii_hexdigit());
    matches!(level, "Data" | "Messages")
        || is_uuid
        || (level.len() == 1 && level.bytes().all(|b| b.is_ascii_digit()))
}

/// A mailbox's name without the ends that say how it is written.
fn stem(name: &str) -> &str {
    let mut name = name;
    while let Some(shorter) = ENDS.iter().find_map(|end| {
        let at = name.len().checked_sub(end.len())?;
        let tail = name.get(at..)?;
        tail.eq_ignore_ascii_case(end).then(|| name.get(..at)).flatten()
    }) {
        name = shorter;
    }
    name
}

/// Keeps apart what different places of one archive are: a folder has one of them.
#[derive(Debug, Default)]
pub(super) struct Apart {
    owners: BTreeMap<FolderPath, String>,
}

impl Apart {
    /// The folder for what lies at `place`: the one that is wanted, unless that belongs to another place.
    pub(super) fn of(&mut self, wanted: FolderPath, place: &str) -> FolderPath {
        if wanted.is_inbox() {
            return wanted;
        }
        let mut folder = wanted;
        for copy in 2u32.. {
            match self.owners.get(&folder) {
                Some(owner) if owner == place => break,
                None => {
                    if self.owners.len() < DIRECTORIES {
                        self.owners.insert(folder.clone(), place.to_owned());
                    }
                    break;
                }
                Some(_) => {
                    let Some(last) = folder.0.last_mut() else { break };
                    if let Some(shorter) = last.strip_suffix(&format!(" ({})", copy - 1)) {
                        *last = shorter.to_owned();
                    }
                    last.push_str(&format!(" ({copy})"));
                }
            }
        }
        folder
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn maildirs(paths: &[&str]) -> Vec<String> {
        let mut known = Maildirs::default();
        paths.iter().for_each(|path| known.add(&format!("{path}/cur/1.x:2,S")));
        paths.iter().map(|path| known.folder(path).to_string()).collect()
    }

    #[test]
    fn both_layouts_of_a_maildir() {
        for (paths, expected) in [
            (&["", ".Sent", ".Work.2014"][..], &["INBOX", "Sent", "Work/2014"][..]),
            (&["", "Sent", "Work", "Work/2014"], &["INBOX", "Sent", "Work", "Work/2014"]),
            (&["./", "./Sent", "./Work/2014"], &["INBOX", "Sent", "Work/2014"]),
            (&["alice/Maildir", "alice/Maildir/.Sent"], &["INBOX", "Sent"]),
            (&["alice", "alice/Sent", "alice/Work/2014"], &["INBOX", "Sent", "Work/2014"]),
            (&["Sent", "Work/2014", "Work"], &["Sent", "Work/2014", "Work"]),
            (&["mail/Sent", "mail/Work/2014"], &["Sent", "Work/2014"]),
            (&["a/Maildir", "b/Maildir"], &["a/Maildir", "b/Maildir"]),
            (&["a/Maildir/.Sent", "b/Maildir/.Sent"], &["a/Maildir/Sent", "b/Maildir/Sent"]),
            (&["Maildir"], &["INBOX"]),
            (&[".maildir"], &["INBOX"]),
            (&["Sent"], &["Sent"]),
            (
                &["Inbox", "Inbox.sbd/Work", "Inbox.sbd/Work.sbd/2014"],
                &["INBOX", "Inbox/Work", "Inbox/Work/2014"],
            ),
            (&["p/Inbox", "p/Sent", "p/Sent.sbd/2014"], &["INBOX", "Sent", "Sent/2014"]),
            (&["INBOX", "Entw&APw-rfe"], &["INBOX", "Entwürfe"]),
        ] {
            assert_eq!(maildirs(paths), expected, "{paths:?}");
        }
    }

    #[test]
    fn mailboxes_in_files() {
        for (path, expected) in [
            ("Sent", Some("Sent")),
            ("Work.mbox", Some("Work")),
            ("Work.mbox.gz", Some("Work")),
            ("Archive.sbd/2019", Some("Archive/2019")),
            ("Archive.sbd/Old.sbd/2019", Some("Archive/Old/2019")),
            ("Work.mbox/mbox", Some("Work")),
            ("a/Work.mbox/2014.mbox/mbox", Some("a/Work/2014")),
            ("mbox", None),
            ("inbox.mbox", Some("INBOX")),
            ("INBOX", Some("INBOX")),
            ("../../x", Some("x")),
        ] {
            let found = of_mailbox(path).map(|folder| folder.to_string());
            assert_eq!(found.as_deref(), expected, "{path}");
        }
        let path = "V10/INBOX.mbox/6E5B4F4C-0A1B-4C2D-8E3F-001122334455/Data/3/Messages/17.emlx";
        assert_eq!(of_message(path).unwrap().0, ["V10", "INBOX"]);
        assert_eq!((of_message("1.eml"), of_message("a/1.eml").unwrap().0), (None, vec!["a".to_owned()]));
    }

    #[test]
    fn two_places_are_two_folders() {
        let mut apart = Apart::default();
        let folder = |name: &str| FolderPath(vec![name.to_owned()]);
        assert_eq!(apart.of(folder("A"), "A.mbox/mbox"), folder("A"));
        assert_eq!(apart.of(folder("A"), "A"), folder("A (2)"));
        assert_eq!(apart.of(folder("A"), "A.gz"), folder("A (3)"));
        assert_eq!(apart.of(folder("A"), "A"), folder("A (2)"));
        assert_eq!(apart.of(FolderPath::inbox(), "a"), apart.of(FolderPath::inbox(), "b"));
    }
}
