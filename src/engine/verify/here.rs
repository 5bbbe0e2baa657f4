//! The destination's side of a comparison: every copy of the account's messages, wherever in the mailbox it
//! is now, and what else lies in the account's folders. It reads a message only where its name does not tell its
//! size, or another one than its file has; memory grows by about 300 octets a message. It refuses to make anything.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use super::compare::There;
use crate::destination::fingerprint::{Fingerprint, Print};
use crate::destination::maildir::{Folder, Held, Mailbox, Origin, directories, inventory, wire_size};
use crate::failure::Failure;
use crate::message::MessageRef;

/// One file, and where it is.
#[derive(Debug, Clone)]
pub(super) struct Copy {
    /// The directory below the mailbox; empty for the inbox.
    pub(super) directory: Arc<str>,
    pub(super) held: Held,
}

/// What is here.
#[derive(Debug, Default)]
pub(super) struct Here {
    /// The account's messages by source folder and reference.
    pub(super) ours: BTreeMap<(u64, MessageRef), Vec<Copy>>,
    /// Other messages in the account's folders.
    pub(super) others: BTreeMap<Arc<str>, Vec<Copy>>,
    /// The account's messages that their folder at the source does not have any more, by size on the wire.
    pub(super) orphans: BTreeMap<u64, Vec<Copy>>,
    /// Messages that were recognised here when they came, and not found in their own folder.
    pub(super) elsewhere: Vec<(String, There)>,
}

impl Here {
    /// Looks at the mailbox at `path`; `folders` are the account's directories.
    ///
    /// # Errors
    /// The mailbox cannot be read.
    pub(super) fn look(path: &Path, account: u64, folders: &BTreeSet<String>) -> Result<Here, Failure> {
        let mut here = Here::default();
        let notices = Origin::pop3(crate::notice::NAME).account;
        let Some(mailbox) = Mailbox::open_existing(path)? else { return Ok(here) };
        for name in directories(&mailbox)? {
            let Some(folder) = Folder::open_existing(&mailbox, &name)? else { continue };
            let directory: Arc<str> = name.as_str().into();
            for mut held in inventory(&mailbox, &folder)? {
                let directory = Arc::clone(&directory);
                // What Dovecot compressed is as long as its octets are; what cannot be read stays in doubt.
                if held.told.is_some_and(|told| told != held.size)
                    && let Ok(mut message) = held.open(&folder)
                    && message.is_compressed()
                {
                    held.size = message.length().unwrap_or(held.size);
                }
                match held.name.as_ref().filter(|n| n.origin.account == account) {
                    Some(whose) => {
                        let key = (whose.origin.folder, whose.message);
                        here.ours.entry(key).or_default().push(Copy { directory, held });
                    }
                    // What we told the member is no mail of the source.
                    None if held.name.as_ref().is_some_and(|n| n.origin.account == notices) => {}
                    None if folders.contains(&name) => {
                        // Names of other tools do not tell the size on the wire.
                        held.wire = held.wire.or_else(|| {
                            held.open(&folder).and_then(Fingerprint::of).ok().map(|print| print.octets)
                        });
                        here.others.entry(Arc::clone(&directory)).or_default().push(Copy { directory, held });
                    }
                    None => {}
                }
            }
        }
        Ok(here)
    }

    /// Copies of ours that are of no message in their folder at the source, if all of that was listed.
    pub(super) fn belong_to_none(&mut self, copies: Vec<Copy>, complete: bool) {
        for copy in copies.into_iter().filter(|_| complete) {
            self.orphans.entry(copy.held.wire.unwrap_or(copy.held.size)).or_default().push(copy);
        }
    }
}

/// Reads copies and says what they are made of; `None`: it is gone or cannot be read.
///
/// # Errors
/// The mailbox cannot be opened.
pub(super) fn prints(path: &Path, copies: &[Copy]) -> Result<Vec<Option<Print>>, Failure> {
    let Some(mailbox) = Mailbox::open_existing(path)? else { return Ok(vec![None; copies.len()]) };
    let mut folders: BTreeMap<&str, Option<Folder>> = BTreeMap::new();
    let mut found = Vec::with_capacity(copies.len());
    for copy in copies {
        if !folders.contains_key(&*copy.directory) {
            folders.insert(&copy.directory, Folder::open_existing(&mailbox, &copy.directory)?);
        }
        let folder = folders.get(&*copy.directory).and_then(Option::as_ref);
        found.push(folder.and_then(|f| copy.held.open(f).and_then(Fingerprint::of).ok()));
    }
    Ok(found)
}

/// How often the folder `directory` holds the octets of each of `copies`, which are in it: 1 if it is alone.
/// Only files of the same size are read.
///
/// # Errors
/// The mailbox cannot be opened.
pub(super) fn alike(path: &Path, directory: &str, copies: &[Copy]) -> Result<Vec<u64>, Failure> {
    let alone = vec![1; copies.len()];
    let Some(mailbox) = Mailbox::open_existing(path)? else { return Ok(alone) };
    let Some(folder) = Folder::open_existing(&mailbox, directory)? else { return Ok(alone) };
    let size = |held: &Held| held.wire.unwrap_or(held.size);
    let mut by_size: BTreeMap<u64, Vec<Held>> = BTreeMap::new();
    // Those whose names do not tell their size are told by `copies`, which knows it.
    let named = inventory(&mailbox, &folder)?.into_iter().filter(|held| held.wire.is_some());
    let read = copies.iter().map(|copy| copy.held.clone()).filter(|held| wire_size(&held.file).is_none());
    for held in named.chain(read) {
        by_size.entry(size(&held)).or_default().push(held);
    }
    let mut prints: BTreeMap<u64, Vec<Print>> = BTreeMap::new();
    let mut counts = Vec::with_capacity(copies.len());
    for copy in copies {
        let size = size(&copy.held);
        let there = by_size.get(&size).map_or(&[][..], Vec::as_slice);
        if there.len() < 2 {
            counts.push(1);
            continue;
        }
        let prints = prints.entry(size).or_insert_with(|| {
            there.iter().filter_map(|held| held.open(&folder).and_then(Fingerprint::of).ok()).collect()
        });
        let own = copy.held.open(&folder).and_then(Fingerprint::of).ok();
        counts.push(prints.iter().filter(|print| Some(**print) == own).count() as u64);
    }
    Ok(counts)
}
