//! Gmail by IMAP (X-GM-EXT-1): labels are folders, and one message may be in many of them. Its body is fetched
//! in the first and copied here for the others. All Mail, told by its special use and never by its name, comes
//! last and adds only what no other folder had: that is the archive. It refuses to bring what only shows
//! messages that are elsewhere (Starred, Important), and chats, which are no mail.

use std::collections::BTreeMap;

use crate::failure::{Failure, Reach};
use crate::imap::{Session, SourceFolder};
use crate::message::{FolderPath, Parcel, UidSet};

/// The server's capability.
pub(super) const CAPABILITY: &str = "X-GM-EXT-1";

/// Where a message's body is fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Home {
    /// The hash of the folder's name.
    pub(super) folder: u64,
    pub(super) uidvalidity: u32,
    pub(super) uid: u32,
}

/// Which messages of which folders are the same.
#[derive(Debug, Default)]
pub(super) struct Map {
    /// Folder by folder, those whose body is another folder's to fetch.
    homes: BTreeMap<u64, BTreeMap<u32, Home>>,
    /// Of All Mail, those that no other folder has.
    archived: BTreeMap<u64, UidSet>,
}

/// The folders of a Gmail account that are moved, All Mail last; and why the others are not.
pub(super) fn arrange(
    all: &[SourceFolder],
    chosen: Vec<SourceFolder>,
) -> (Vec<SourceFolder>, Vec<(FolderPath, &'static str)>) {
    // The provider's own folders are beside All Mail, whatever they are called.
    let place = all.iter().find(|folder| is_all(folder)).map(|folder| parent(&folder.path).to_vec());
    let (mut folders, mut last, mut aside) = (Vec::new(), Vec::new(), Vec::new());
    for mut folder in chosen {
        let beside = place.as_deref().is_some_and(|place| !place.is_empty() && place == parent(&folder.path));
        if folder.uses.contains("flagged") || folder.uses.contains("important") {
            aside.push((folder.path, "it only shows messages that are in other folders"));
        } else if is_all(&folder) {
            let note = "All Mail: what no other folder has is put into Archive";
            folder.note = Some(folder.note.map_or_else(|| note.to_owned(), |old| format!("{old}; {note}")));
            folder.path = FolderPath(vec!["Archive".to_owned()]);
            folder.uses.insert("archive".to_owned());
            last.push(folder);
        } else if beside && folder.uses.is_empty() {
            aside.push((folder.path, "Gmail keeps its chats there, which are no mail"));
        } else {
            folders.push(folder);
        }
    }
    folders.extend(last);
    (folders, aside)
}

fn is_all(folder: &SourceFolder) -> bool {
    folder.uses.contains("all")
}

fn parent(path: &FolderPath) -> &[String] {
    path.0.split_last().map_or(&[], |(_, parent)| parent)
}

impl Map {
    /// Asks the server. `folders` are arranged, with the hashes of their names.
    ///
    /// # Errors
    /// The connection failed.
    pub(super) async fn of<T: From<Parcel> + Send + 'static>(
        session: &mut Session<T>,
        folders: impl Iterator<Item = (u64, &SourceFolder)>,
    ) -> Result<Map, Failure> {
        let mut map = Map::default();
        let mut seen: BTreeMap<u64, Home> = BTreeMap::new();
        for (key, folder) in folders.filter(|(_, folder)| folder.broken.is_none()) {
            let listed = async {
                let examined = session.examine(&folder.wire).await?;
                Ok((examined.uidvalidity, session.list_gmail(examined).await?))
            };
            let (uidvalidity, ids) = match listed.await {
                Ok(listed) => listed,
                // Its own turn will tell.
                Err(failure) if Failure::reach(&failure) == Reach::Folder => continue,
                Err(failure) => return Err(failure),
            };
            for (uid, id) in ids {
                match seen.get(&id) {
                    None => {
                        seen.insert(id, Home { folder: key, uidvalidity, uid });
                        if is_all(folder) {
                            map.archived.entry(key).or_default().insert(uid);
                        }
                    }
                    Some(_) if is_all(folder) => {
                        map.archived.entry(key).or_default();
                    }
                    Some(home) => {
                        map.homes.entry(key).or_default().insert(uid, *home);
                    }
                }
            }
        }
        Ok(map)
    }

    /// Whether a message of a folder is there in the sense of a migration: of All Mail only what no other has.
    pub(super) fn shows(&self, folder: u64, uid: u32) -> bool {
        self.archived.get(&folder).is_none_or(|own| own.contains(uid))
    }

    /// The messages of a folder whose bodies go to others, too.
    pub(super) fn shared(&self, folder: u64) -> UidSet {
        let homes = self.homes.values().flat_map(BTreeMap::values);
        homes.filter(|home| home.folder == folder).map(|home| home.uid).collect()
    }

    /// Where the body of a message is fetched, if not in this folder.
    pub(super) fn home(&self, folder: u64, uid: u32) -> Option<Home> {
        self.homes.get(&folder)?.get(&uid).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_moved_is_told_by_use_and_place() {
        let folder = |name: &str, uses: &[&str]| SourceFolder {
            wire: name.as_bytes().to_vec(),
            path: FolderPath(name.split('/').map(str::to_owned).collect()),
            uses: uses.iter().map(|&u| u.to_owned()).collect(),
            subscribed: true,
            note: None,
            broken: None,
        };
        let all = vec![
            folder("[Gmail]/Alles", &["all"]),
            folder("INBOX", &[]),
            folder("[Gmail]/Chats", &[]),
            folder("[Gmail]/Wichtig", &["important"]),
            folder("[Gmail]/Markiert", &["flagged"]),
            folder("[Gmail]/Papierkorb", &["trash"]),
            folder("Work/Chats", &[]),
        ];
        let (folders, aside) = arrange(&all, all.clone());
        let names: Vec<String> = folders.iter().map(|folder| folder.path.to_string()).collect();
        assert_eq!(names, ["INBOX", "[Gmail]/Papierkorb", "Work/Chats", "Archive"]);
        assert_eq!(aside.len(), 3, "{aside:?}");
    }
}
