//! Copies at the destination whose message the source no longer has where it was: what comes and is the same as one of
//! them was moved, or its folder renamed. A Maildir's names tell which those are; at a server, numbers. It refuses to
//! look before every folder of the source has been listed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::at_server::AtServer;
use super::{Means, blocking};
use crate::destination::Home;
use crate::destination::maildir::{Mailbox, Origin, Orphans};
use crate::destination::server::{Recorded, Server, Strays};
use crate::failure::Failure;
use crate::journal::Side;
use crate::message::{MessageRef, UidSet};

/// What the folders of the source hold.
#[derive(Debug, Clone, Default)]
pub(super) struct Survey {
    /// Every folder there, whether it is migrated or not.
    at_source: BTreeSet<u64>,
    listed: BTreeMap<u64, (u32, UidSet)>,
    /// The sizes of messages that earlier tries found here.
    adopted: Vec<u64>,
    /// Messages that are known to be here, or may be; by folder and size.
    here: BTreeMap<u64, BTreeMap<u64, usize>>,
}

impl Survey {
    /// `at_source`: the keys of all folders there.
    pub(super) fn new(at_source: BTreeSet<u64>) -> Survey {
        Survey { at_source, ..Survey::default() }
    }

    /// A folder was listed. One that is listed once more says the same.
    pub(super) fn add(
        &mut self,
        folder: u64,
        listed: (u32, UidSet),
        adopted: impl Iterator<Item = u64>,
        here: impl Iterator<Item = u64>,
    ) {
        if self.listed.insert(folder, listed).is_none() {
            self.adopted.extend(adopted);
            let sizes = self.here.entry(folder).or_default();
            here.for_each(|size| *sizes.entry(size).or_default() += 1);
        }
    }

    fn is_there(&self, origin: Origin, message: MessageRef) -> bool {
        match (self.listed.get(&origin.folder), message) {
            (Some((validity, set)), MessageRef::Imap { uidvalidity, uid }) => {
                uidvalidity == *validity && set.contains(uid)
            }
            // Nobody could list it, or nobody wanted to: it may be there.
            (None, MessageRef::Imap { .. }) => self.at_source.contains(&origin.folder),
            // Polled under the same name before it became a migration.
            (_, MessageRef::Pop3(_)) => false,
        }
    }

    fn is_renumbered(&self, folder: u64, uidvalidity: u32) -> bool {
        self.listed.get(&folder).is_some_and(|(validity, _)| *validity != uidvalidity)
    }

    /// Whether any of these messages of a folder is there no more. `None`: nobody knows.
    fn misses(&self, folder: u64, uidvalidity: u32, done: &UidSet) -> Option<bool> {
        match self.listed.get(&folder) {
            Some((validity, _)) if *validity != uidvalidity => Some(!done.is_empty()),
            Some((_, there)) => {
                let mut gone = done.clone();
                gone.subtract(there);
                Some(!gone.is_empty())
            }
            None if self.at_source.contains(&folder) => None,
            None => Some(!done.is_empty()),
        }
    }
}

/// What was found, for all landings of a run.
#[derive(Debug, Clone, Default)]
pub(super) struct Found {
    /// In a Maildir.
    pub(super) orphans: Option<Arc<Orphans>>,
    /// At a server.
    pub(super) strays: Option<Arc<Strays>>,
}

/// Where one account's copies are looked for.
#[derive(Debug)]
pub(super) struct Search {
    pub(super) means: Arc<Means>,
    pub(super) account: String,
    pub(super) home: Home,
}

impl Search {
    /// Whether the destination can be looked at.
    pub(super) fn can(&self) -> bool {
        !matches!(self.home, Home::Delivery(..))
    }

    fn mark(&self) -> u64 {
        Origin::pop3(&self.account).account
    }

    /// Whether there is anything that the account brought. In a Maildir nobody needs to have recorded it.
    ///
    /// # Errors
    /// The mailbox or the journal cannot be read.
    pub(super) async fn any(&self) -> Result<bool, Failure> {
        match &self.home {
            Home::Maildir(mailbox) => {
                let (mailbox, mark) = (Arc::clone(mailbox), self.mark());
                blocking(move || Orphans::any(&mailbox, mark)).await
            }
            Home::Server(..) => {
                let folders = self.means.journal.folders(&self.account)?;
                Ok(folders.values().any(|record| record.uidvalidity != 0))
            }
            Home::Delivery(..) => Ok(false),
        }
    }

    /// The copies that nothing at the source is known to belong to.
    ///
    /// # Errors
    /// The destination or the journal cannot be read.
    pub(super) async fn among(&self, survey: Arc<Survey>) -> Result<Found, Failure> {
        match &self.home {
            Home::Maildir(mailbox) => self.in_maildir(mailbox, survey).await,
            Home::Server(server, _) => self.at_server(server, &survey).await,
            Home::Delivery(..) => Ok(Found::default()),
        }
    }

    async fn in_maildir(&self, mailbox: &Arc<Mailbox>, survey: Arc<Survey>) -> Result<Found, Failure> {
        let (mailbox, mark) = (Arc::clone(mailbox), self.mark());
        let orphans = blocking(move || {
            let is_there = |origin, message| survey.is_there(origin, message);
            Orphans::of(&mailbox, mark, is_there, survey.adopted.iter().copied())
        });
        Ok(Found { orphans: Some(Arc::new(orphans.await?)), strays: None })
    }

    async fn at_server(&self, server: &Server, survey: &Survey) -> Result<Found, Failure> {
        let journal = &self.means.journal;
        let mut recorded: BTreeMap<String, Recorded> = BTreeMap::new();
        let mut missing = false;
        for (key, record) in journal.folders(&self.account)? {
            let done = journal.uids(&self.account, key, Side::Done)?;
            // What nobody could list is where it was.
            let Some(misses) = survey.misses(key, record.uidvalidity, &done) else { continue };
            missing |= misses;
            let there = AtServer::read(journal, &self.account, key)?;
            let adopted = journal.uids(&self.account, key, Side::Adopted)?;
            let folder = recorded.entry(record.directory).or_insert_with(|| Recorded::new(record.there));
            // Its member numbered the folder anew, or made it again: which copies are whose, nobody knows.
            folder.known &= there.placed.len() + adopted.len() >= done.len();
            folder.known &= folder.uidvalidity == record.there || there == AtServer::default();
            folder.uids.extend(&there.placed);
            folder.uids.extend(&there.taken);
            let renumbered = survey.is_renumbered(key, record.uidvalidity);
            for (size, count) in survey.here.get(&key).into_iter().flatten() {
                let sizes = if renumbered { &mut folder.renumbered } else { &mut folder.at_source };
                *sizes.entry(*size).or_default() += count;
            }
        }
        // Without a gap at the source nothing can have moved.
        if !missing {
            return Ok(Found::default());
        }
        let strays = server.strays(&recorded).await?;
        Ok(Found { orphans: None, strays: Some(Arc::new(strays)) })
    }
}
