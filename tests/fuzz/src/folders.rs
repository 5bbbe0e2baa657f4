//! Names of folders as servers list them, and where they go in a Maildir++: one directory each, directly
//! below the mailbox, the same on every run.

use std::collections::{BTreeMap, BTreeSet};

use mailhaul::destination::place::{Naming, place};
use mailhaul::imap::folder;
use mailhaul::message::FolderPath;

/// Lines of LIST; a line that is none is put in as the name.
pub fn run(data: &[u8]) {
    let mut folders: Vec<(usize, FolderPath)> = Vec::new();
    for (at, line) in data.split(|octet| *octet == b'\n').take(8).enumerate() {
        let path = folder(line).or_else(|| {
            let literal = format!("* LIST () \"/\" {{{}}}\r\n", line.len());
            folder(&[literal.as_bytes(), line].concat())
        });
        if let Some(path) = path {
            assert!(path.0.len() <= 100, "too deep: {path:?}");
            folders.push((at, path));
        }
    }
    let placed = place(&Naming::Maildir, &folders, &BTreeMap::new());
    assert_eq!(placed.len(), folders.len(), "every folder has its place");
    let mut seen = BTreeSet::new();
    for place in placed.values() {
        let directory = &place.directory;
        assert!(seen.insert(directory), "two folders in {directory:?}");
        assert!(directory.len() < 255, "{directory:?}");
        assert!(directory.is_empty() || directory.starts_with('.'), "{directory:?}");
        assert!(
            !directory.bytes().any(|octet| octet == b'/' || !(b' '..=b'~').contains(&octet)),
            "{directory:?}"
        );
        assert!(directory.split('.').skip(1).all(|level| !level.is_empty()), "{directory:?}");
    }
    assert_eq!(place(&Naming::Maildir, &folders, &BTreeMap::new()), placed, "the same on every run");
    let taken: BTreeMap<usize, String> = placed.iter().map(|(at, p)| (*at, p.directory.clone())).collect();
    let again = place(&Naming::Maildir, &folders, &taken);
    assert!(again.iter().all(|(at, p)| taken[at] == p.directory), "an earlier place is kept");
}
