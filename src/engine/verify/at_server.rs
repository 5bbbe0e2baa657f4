//! The destination's side where it is a server. Nothing there says where a message came from: what was brought is
//! known by its UID, and which of it a message is, by size and date. It refuses to read octets that nobody asked
//! for; memory grows by about 100 octets a message.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::compare::{Known, There};
use super::here::{Copy, Here};
use super::reopened;
use crate::account::{Account, Protocol};
use crate::destination::fingerprint::{Fingerprint, Print};
use crate::destination::maildir::Held;
use crate::destination::server::{Server, all_prints};
use crate::engine::Means;
use crate::engine::at_server::AtServer as Recorded;
use crate::engine::reconnect::{its_own, leaves_others};
use crate::failure::{Failure, Kind};
use crate::imap::{Detail, Session};
use crate::journal::FolderRecord;
use crate::message::{Flags, MessageRef, Parcel, UidSet};

/// What is in the mailbox.
pub(super) struct AtServer {
    server: Arc<Server>,
    session: Session<Parcel>,
    folders: BTreeMap<String, Folder>,
    /// What cannot be read, and why.
    unread: BTreeMap<String, String>,
    /// What the account brought or found, by its folder at the source.
    recorded: BTreeMap<u64, UidSet>,
    /// The directories of those folders.
    directories: BTreeMap<u64, String>,
}

/// What is in one folder.
#[derive(Default)]
struct Folder {
    uidvalidity: u32,
    /// By UID; UID and size of everything.
    sizes: Vec<(u32, u32)>,
    /// What belongs to no message of the source yet.
    rest: BTreeMap<u32, Detail>,
    /// What is recorded of any of the account's messages.
    known: UidSet,
    keywords: BTreeSet<String>,
}

impl AtServer {
    /// Lists every folder.
    ///
    /// # Errors
    /// The server cannot be asked, or the journal be read.
    pub(super) async fn look(
        means: &Means,
        account: &Account,
        server: Arc<Server>,
        records: &BTreeMap<u64, FolderRecord>,
    ) -> Result<AtServer, Failure> {
        let mut session = server.connect().await?;
        let (mut folders, mut unread) = (BTreeMap::new(), BTreeMap::new());
        for folder in session.folders().await? {
            let name = String::from_utf8_lossy(&folder.wire).into_owned();
            if folder.broken.is_some() {
                continue;
            }
            let mut found = listed(&mut session, &folder.wire).await;
            if let Err(failure) = &found
                && failure.broke()
            {
                // Whether it is the folder's fault shows when it is asked for once more.
                session = server.connect().await?;
                session.hurry(failure.kind == Kind::Stalled);
                found = listed(&mut session, &folder.wire).await;
                session.hurry(false);
            }
            let (uidvalidity, details) = match found {
                Ok(found) => found,
                Err(failure) if leaves_others(&failure) => {
                    if failure.broke() {
                        session = server.connect().await?;
                    }
                    let words = format!("at the destination {name} cannot be read: {}", failure.words);
                    unread.insert(name, words);
                    continue;
                }
                Err(failure) => return Err(failure),
            };
            let keywords = details.iter().filter_map(|detail| detail.flags.as_ref());
            let keywords = keywords.flat_map(|flags| flags.keywords.iter().map(|k| k.to_ascii_lowercase()));
            let found = Folder {
                uidvalidity,
                sizes: details.iter().map(|detail| (detail.uid, detail.size.unwrap_or(0))).collect(),
                keywords: keywords.collect(),
                rest: details.into_iter().map(|detail| (detail.uid, detail)).collect(),
                known: UidSet::new(),
            };
            folders.insert(name, found);
        }
        let source = means.journal.source(&account.name)?.unwrap_or_default();
        let (mut known, mut directories) = (BTreeMap::new(), BTreeMap::new());
        for (key, record) in records {
            let standing = match account.source.protocol {
                Protocol::Pop3 => source.standing(),
                Protocol::Imap => record.standing(),
            };
            let Some(folder) = folders.get_mut(&record.directory) else { continue };
            if folder.uidvalidity != standing.there {
                continue;
            }
            let mut recorded = Recorded::read(&means.journal, &account.name, *key)?;
            recorded.placed.extend(&recorded.taken);
            folder.known.extend(&recorded.placed);
            known.insert(*key, recorded.placed);
            directories.insert(*key, record.directory.clone());
        }
        Ok(AtServer { server, session, folders, unread, recorded: known, directories })
    }

    /// Why a folder cannot be read.
    pub(super) fn unread(&self, directory: &str) -> Option<&str> {
        self.unread.get(directory).map(String::as_str)
    }

    /// See [`super::mail::Mail::leaves_out`].
    pub(super) fn leaves_out(&mut self, key: u64) {
        self.recorded.remove(&key);
        self.directories.remove(&key);
    }

    /// The keywords of a folder.
    pub(super) fn keeps(&self, directory: &str) -> BTreeSet<String> {
        self.folders.get(directory).map(|folder| folder.keywords.clone()).unwrap_or_default()
    }

    /// Finds the messages of a folder of the source. First of all with size and date in their own folder; then what
    /// we brought there, by either; then what the member moved elsewhere.
    pub(super) fn fill(
        &mut self,
        here: &mut Here,
        (key, directory): (u64, &str),
        messages: &[There],
        mirror: bool,
    ) {
        let expected = |there: &&There| matches!(there.known, Known::Done | Known::Adopted);
        let mut left: Vec<&There> = messages.iter().filter(expected).collect();
        let dated = left.iter().any(|there| there.received.is_some());
        let brought = |folder: &Folder, uid: u32| folder.known.contains(uid);
        let elsewhere: Vec<String> = self.folders.keys().filter(|name| *name != directory).cloned().collect();
        let like = How { size: true, date: true, flags: true };
        // Of several with one size and date, first those whose flags are the same.
        let passes = [
            (like, false),
            (How { flags: false, ..like }, false),
            (How { flags: false, date: false, ..like }, true),
            (How { flags: false, size: false, ..like }, true),
        ];
        for (how, ours) in passes {
            // A maildrop tells no dates and no flags.
            if !dated && (!how.size || how.flags) {
                continue;
            }
            let how = How { date: how.date && dated, ..how };
            if let Some(folder) = self.folders.get_mut(directory) {
                left = folder.claim(here, (key, directory), left, how, |f, uid| !ours || brought(f, uid));
            }
        }
        for name in elsewhere.iter().filter(|_| dated) {
            if left.is_empty() {
                break;
            }
            if let Some(folder) = self.folders.get_mut(name) {
                let how = How { flags: false, ..like };
                left = folder.claim(here, (key, name), left, how, |f, uid| !brought(f, uid));
            }
        }
        self.gone(here, (key, directory));
        let Some(folder) = self.folders.get_mut(directory).filter(|_| mirror) else { return };
        let shared: Arc<str> = directory.into();
        for (uid, detail) in std::mem::take(&mut folder.rest) {
            if is_notice(&detail) || folder.known.contains(uid) {
                folder.rest.insert(uid, detail);
            } else {
                here.others.entry(Arc::clone(&shared)).or_default().push(copy(&shared, detail));
            }
        }
    }

    /// What was brought from a folder of the source, or found for it, and the source has there no more.
    fn gone(&mut self, here: &mut Here, (key, directory): (u64, &str)) {
        let recorded = self.recorded.remove(&key).unwrap_or_default();
        let Some(folder) = self.folders.get_mut(directory) else { return };
        let shared: Arc<str> = directory.into();
        for uid in recorded.iter() {
            if let Some(detail) = folder.rest.remove(&uid) {
                let message = MessageRef::Imap { uidvalidity: 0, uid };
                here.ours.entry((key, message)).or_default().push(copy(&shared, detail));
            }
        }
    }

    /// The same of folders that the source does not have any more.
    pub(super) fn rest(&mut self, here: &mut Here) {
        for (key, directory) in std::mem::take(&mut self.directories) {
            self.gone(here, (key, &directory));
        }
    }

    /// See [`super::mail::Mail::prints`].
    ///
    /// # Errors
    /// The connection failed.
    pub(super) async fn prints(&mut self, copies: &[Copy]) -> Result<Vec<Option<Print>>, Failure> {
        let mut by_folder: BTreeMap<&str, Vec<(u32, u32)>> = BTreeMap::new();
        for copy in copies {
            by_folder.entry(&copy.directory).or_default().extend(uid_and_size(copy));
        }
        let mut read: BTreeMap<(&str, u64), Print> = BTreeMap::new();
        for (name, mut wanted) in by_folder {
            wanted.sort_unstable();
            wanted.dedup();
            let found = self.read(name, &wanted).await?;
            read.extend(found.into_iter().map(|(uid, print)| ((name, uid), print)));
        }
        let print = |copy: &Copy| {
            let (uid, _) = uid_and_size(copy)?;
            read.get(&(&*copy.directory, u64::from(uid))).copied()
        };
        Ok(copies.iter().map(print).collect())
    }

    /// See [`super::mail::Mail::alike`].
    ///
    /// # Errors
    /// The connection failed.
    pub(super) async fn alike(&mut self, directory: &str, copies: &[Copy]) -> Result<Vec<u64>, Failure> {
        let Some(folder) = self.folders.get(directory) else { return Ok(vec![1; copies.len()]) };
        let asked: BTreeSet<u32> = copies.iter().filter_map(uid_and_size).map(|(_, size)| size).collect();
        let mut by_size: BTreeMap<u32, Vec<(u32, u32)>> = BTreeMap::new();
        for (uid, size) in folder.sizes.iter().filter(|(_, size)| asked.contains(size)) {
            by_size.entry(*size).or_default().push((*uid, *size));
        }
        let mut wanted: Vec<(u32, u32)> =
            by_size.into_values().filter(|same| same.len() > 1).flatten().collect();
        wanted.sort_unstable();
        let read = self.read(directory, &wanted).await?;
        let count = |copy: &Copy| {
            let own = uid_and_size(copy).and_then(|(uid, _)| read.get(&u64::from(uid)));
            own.map_or(1, |own| read.values().filter(|print| *print == own).count() as u64)
        };
        Ok(copies.iter().map(count).collect())
    }

    async fn read(&mut self, name: &str, wanted: &[(u32, u32)]) -> Result<BTreeMap<u64, Print>, Failure> {
        match self.read_open(name, wanted).await {
            // What is not read is told, message by message.
            Err(failure) if leaves_others(&failure) => {
                self.session = self.server.connect().await?;
                Ok(BTreeMap::new())
            }
            read => read,
        }
    }

    async fn read_open(
        &mut self,
        name: &str,
        wanted: &[(u32, u32)],
    ) -> Result<BTreeMap<u64, Print>, Failure> {
        let examined = self.session.examine(name.as_bytes()).await.map_err(its_own)?;
        let server = &self.server;
        let again = async || reopened(server.connect().await?, name.as_bytes(), examined.uidvalidity).await;
        all_prints(&mut self.session, wanted, Fingerprint::default, again).await
    }

    /// Says goodbye.
    pub(super) async fn close(self) {
        self.session.close().await;
    }
}

/// A folder's UIDVALIDITY, and what is in it.
async fn listed(session: &mut Session<Parcel>, wire: &[u8]) -> Result<(u32, Vec<Detail>), Failure> {
    let examined = session.examine(wire).await.map_err(its_own)?;
    Ok((examined.uidvalidity, session.list_details(examined).await.map_err(its_own)?))
}

/// What has to be the same.
#[derive(Clone, Copy)]
struct How {
    size: bool,
    date: bool,
    flags: bool,
}

impl Folder {
    /// Takes what fits out of the rest, in the order of UIDs; returns the messages that nothing fits.
    fn claim<'m>(
        &mut self,
        here: &mut Here,
        (key, directory): (u64, &str),
        messages: Vec<&'m There>,
        how: How,
        may: impl Fn(&Folder, u32) -> bool,
    ) -> Vec<&'m There> {
        let kind = |size: Option<u64>, date: Option<i64>, flags: Option<&Flags>| {
            let flags = flags.filter(|_| how.flags);
            (
                size.filter(|_| how.size),
                date.map(|date| date.max(0)).filter(|_| how.date),
                flags.map(|flags| (flags.seen, flags.answered, flags.flagged, flags.draft)),
            )
        };
        let mut offered: BTreeMap<_, VecDeque<u32>> = BTreeMap::new();
        for detail in self.rest.values().filter(|detail| may(self, detail.uid)) {
            let kind = kind(detail.size.map(u64::from), detail.received, detail.flags.as_ref());
            offered.entry(kind).or_default().push_back(detail.uid);
        }
        let shared: Arc<str> = directory.into();
        let mut left = Vec::new();
        for message in messages {
            let fits = offered.get_mut(&kind(message.size, message.received, message.flags.as_ref()));
            let found = fits.and_then(VecDeque::pop_front).and_then(|uid| self.rest.remove(&uid));
            match found {
                Some(detail) => {
                    here.ours.entry((key, message.message)).or_default().push(copy(&shared, detail));
                }
                None => left.push(message),
            }
        }
        left
    }
}

fn copy(directory: &Arc<str>, detail: Detail) -> Copy {
    let size = u64::from(detail.size.unwrap_or(0));
    let held = Held {
        file: detail.uid.to_string().into_bytes(),
        in_new: false,
        name: None,
        size,
        told: None,
        wire: Some(size),
        modified: detail.received.unwrap_or(0).max(0),
        flags: detail.flags.unwrap_or_default(),
    };
    Copy { directory: Arc::clone(directory), held }
}

fn uid_and_size(copy: &Copy) -> Option<(u32, u32)> {
    let uid = std::str::from_utf8(&copy.held.file).ok()?.parse().ok()?;
    Some((uid, u32::try_from(copy.held.size).ok()?))
}

/// What we told the member is no mail of the source.
fn is_notice(detail: &Detail) -> bool {
    let marked =
        |flags: &Flags| flags.keywords.iter().any(|k| k.eq_ignore_ascii_case(crate::notice::KEYWORD));
    detail.flags.as_ref().is_some_and(marked)
}
