//! What the journal knows of our messages in a folder of a server: their UIDs there. It refuses to take a UID
//! of a folder that is no longer the same.

use std::collections::BTreeMap;

use crate::destination::landing::{Receipt, There};
use crate::failure::Failure;
use crate::imap::SourceFolder;
use crate::journal::{Changes, Journal, Side, Standing};
use crate::message::{FolderPath, UidSet};

/// UIDs in one folder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct AtServer {
    /// Of what was brought.
    pub(super) placed: UidSet,
    /// Of what was there and found to be what came.
    pub(super) taken: UidSet,
    /// Of both, those that the source knew by other UIDs, and that have not been found again.
    loose: UidSet,
}

impl AtServer {
    /// As recorded.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub(super) fn read(journal: &Journal, account: &str, folder: u64) -> Result<AtServer, Failure> {
        Ok(AtServer {
            placed: journal.uids(account, folder, Side::Placed)?,
            taken: journal.uids(account, folder, Side::Taken)?,
            loose: journal.uids(account, folder, Side::Loose)?,
        })
    }

    /// The source has numbered its messages anew. Says whether the sets changed.
    pub(super) fn loosen(&mut self) -> bool {
        let before = self.loose.len();
        self.loose.extend(&self.placed);
        self.loose.extend(&self.taken);
        self.loose.len() != before
    }

    /// Whether any of them has not been found again: a source that has numbered its messages anew may list a part of them at first.
    pub(super) fn is_loose(&self) -> bool {
        !self.loose.is_empty()
    }

    /// What a landing has to know.
    pub(super) fn known(&self, record: &Standing) -> There {
        let mut recorded = self.placed.clone();
        recorded.extend(&self.taken);
        recorded.subtract(&self.loose);
        let floor = if record.open { record.floor } else { 0 };
        There { uidvalidity: record.there, floor, recorded, kept: None }
    }

    /// The folder was opened: UIDVALIDITY, and the UID that comes next. Says whether the sets changed.
    pub(super) fn opened(&mut self, record: &mut Standing, (uidvalidity, next): (u32, u32)) -> bool {
        let same = record.there == uidvalidity;
        // As long as something is in doubt, so is all that came since.
        if !same || !record.open || record.floor == 0 {
            record.floor = next;
        }
        record.there = uidvalidity;
        let forgotten = !same && *self != AtServer::default();
        if forgotten {
            *self = AtServer::default();
        }
        forgotten
    }

    /// A message landed. Says whether the sets changed.
    pub(super) fn landed(&mut self, receipt: &Receipt) -> bool {
        let Some(uid) = receipt.uid else { return false };
        let found = self.loose.contains(uid);
        self.loose.remove(uid);
        let new = if receipt.adopted { self.taken.insert(uid) } else { self.placed.insert(uid) };
        found || new
    }

    /// To be recorded.
    pub(super) fn save(&self, account: &str, folder: u64, changes: &mut Changes) {
        changes.uids(account, folder, Side::Placed, &self.placed);
        changes.uids(account, folder, Side::Taken, &self.taken);
        changes.uids(account, folder, Side::Loose, &self.loose);
    }
}

/// Folders of a source that go to the same folder of a server: what is recorded of the others is theirs.
///
/// # Errors
/// The journal cannot be read.
pub(super) fn beside(
    journal: &Journal,
    account: &str,
    (folder, directory): (u64, &str),
    there: &mut There,
) -> Result<(), Failure> {
    for (key, record) in journal.folders(account)? {
        let same = there.uidvalidity == 0 || record.there == there.uidvalidity;
        if key != folder && record.directory == directory && record.there != 0 && same {
            there.uidvalidity = record.there;
            let known = AtServer::read(journal, account, key)?.known(&record.standing());
            there.recorded.extend(&known.recorded);
        }
    }
    Ok(())
}

/// The special use that a folder is made for at the destination (RFC 6154).
pub(super) fn special_use(folder: &SourceFolder) -> Option<String> {
    let special = USES.iter().find(|special| folder.uses.contains(&special.to_ascii_lowercase()));
    special.map(|special| (*special).to_owned())
}

const USES: [&str; 5] = ["Sent", "Drafts", "Trash", "Junk", "Archive"];

/// Folders of a special use that go where the destination has its own for that, by their names on the wire: one
/// each, and none where another folder goes by its name.
pub(super) fn special_places(
    folders: &[SourceFolder],
    there: &BTreeMap<String, Vec<FolderPath>>,
) -> BTreeMap<Vec<u8>, FolderPath> {
    let mut used: Vec<&FolderPath> = folders.iter().map(|folder| &folder.path).collect();
    let mut places = BTreeMap::new();
    for folder in folders {
        let special = special_use(folder).and_then(|special| there.get(&special.to_ascii_lowercase()));
        let Some(theirs) = special.filter(|theirs| !theirs.contains(&folder.path)) else { continue };
        if let Some(path) = theirs.iter().find(|path| !used.contains(path)) {
            places.insert(folder.wire.clone(), path.clone());
            used.push(path);
        }
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_uses_meet() {
        let path = |name: &str| FolderPath(name.split('/').map(str::to_owned).collect());
        let folder = |name: &str, uses: &[&str]| SourceFolder {
            wire: name.as_bytes().to_vec(),
            path: path(name),
            uses: uses.iter().map(|name| (*name).to_owned()).collect(),
            subscribed: true,
            note: None,
            broken: None,
        };
        let folders = [
            folder("Gesendet", &["sent"]),
            folder("Gesendete Objekte", &["sent"]),
            folder("Papierkorb", &["trash"]),
            folder("Trash", &[]),
            folder("Drafts", &["drafts"]),
            folder("Ablage", &["archive"]),
        ];
        let there = [
            ("sent", vec![path("INBOX/Sent")]),
            ("trash", vec![path("Trash")]),
            ("drafts", vec![path("Entwurf"), path("Drafts")]),
        ];
        let there = there.into_iter().map(|(name, paths)| (name.to_owned(), paths)).collect();
        let places = special_places(&folders, &there);
        assert_eq!(places, BTreeMap::from([(b"Gesendet".to_vec(), path("INBOX/Sent"))]));
    }
}
