//! The folders of one try: who takes which, and what is put off. After an earlier run, folders with new mail
//! are put off until every folder has been listed: only then is it known which copies here belong to a
//! message that the source no longer has where it was, so that a moved message or a renamed folder is
//! recognised. It refuses to lose a folder: one that is taken and not finished goes back.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::folder::Listing;
use super::reconnect::its_own;
use super::strays::{Found, Search, Survey};
use crate::destination::landing::Order;
use crate::failure::{Failure, Kind};
use crate::imap::{Care, Examined, Listed, Session, SourceFolder};
use crate::journal::FolderRecord;
use crate::message::UidSet;

/// A folder's part of the plan.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) folder: SourceFolder,
    pub(super) record: FolderRecord,
    pub(super) tries: u32,
    pub(super) listing: Listing,
    /// Messages in it, as STATUS counts them.
    pub(super) counted: Option<u64>,
    /// The server fell silent when it was to be counted.
    pub(super) silent: bool,
    /// It is listed once more, for something in its list was not there.
    pub(super) again: bool,
}

impl Part {
    /// Opens the folder and lists what has to be listed; `known`: the UIDVALIDITY that its messages are known by. With
    /// what came since, from which UID on and which others.
    ///
    /// # Errors
    /// The folder cannot be read, or the connection failed.
    pub(super) async fn list(
        &self,
        session: &mut Session<Order>,
        known: u32,
        care: &mut Care,
    ) -> Result<(Examined, Option<(u32, &UidSet)>, Listed), Failure> {
        let examined = match self.silent {
            true => session.examine_after_silence(&self.folder.wire).await,
            false => session.examine_counted(&self.folder.wire, self.counted).await,
        };
        let examined = examined.map_err(its_own)?;
        let since = match &self.listing {
            Listing::Since { uidnext, again } if known == examined.uidvalidity => Some((*uidnext, again)),
            _ => None,
        };
        let listed = match since {
            Some((uidnext, again)) => session.list_since(uidnext, again, care).await.map_err(its_own)?,
            None => session.list_messages(examined, care).await.map_err(its_own)?,
        };
        Ok((examined, since, listed))
    }
}

/// The board.
#[derive(Debug)]
pub(super) struct Board {
    inner: Mutex<Inner>,
    moved: Notify,
    /// Looks for copies whose message moved.
    search: Search,
}

#[derive(Debug, Default)]
struct Inner {
    parts: VecDeque<Part>,
    later: VecDeque<Part>,
    busy: usize,
    surveying: bool,
    /// Copies are put off until every body has been fetched.
    gathering: bool,
    survey: Arc<Survey>,
    /// The UIDVALIDITY of every folder that was listed; and whether what is here is of another one anyway.
    numbering: BTreeMap<u64, (u32, bool)>,
    found: Found,
}

/// A folder that somebody works on.
#[derive(Debug)]
pub(super) struct Claim {
    board: Arc<Board>,
    part: Option<Part>,
}

impl Board {
    /// `survey`: an earlier run may have brought mail; `gather`: folders share messages; `at_source`: the keys of all folders there.
    pub(super) fn new(
        parts: VecDeque<Part>,
        survey: bool,
        gather: bool,
        at_source: BTreeSet<u64>,
        search: Search,
    ) -> Arc<Board> {
        let surveying = survey && search.can();
        let survey = Arc::new(Survey::new(at_source));
        let inner = Inner { parts, surveying, gathering: gather, survey, ..Inner::default() };
        Arc::new(Board { inner: Mutex::new(inner), moved: Notify::new(), search })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next folder; `None`: there is nothing left to do.
    ///
    /// # Errors
    /// The destination cannot be read.
    pub(super) async fn next(self: &Arc<Self>) -> Result<Option<Claim>, Failure> {
        loop {
            let moved = self.moved.notified();
            tokio::pin!(moved);
            moved.as_mut().enable();
            let look = {
                let mut inner = self.lock();
                if let Some(part) = inner.parts.pop_front() {
                    inner.busy += 1;
                    return Ok(Some(Claim { board: Arc::clone(self), part: Some(part) }));
                }
                if inner.busy > 0 {
                    None
                } else if inner.later.is_empty() {
                    return Ok(None);
                } else if !inner.surveying {
                    inner.gathering = false;
                    inner.parts = std::mem::take(&mut inner.later);
                    continue;
                } else {
                    inner.busy += 1;
                    Some(Arc::clone(&inner.survey))
                }
            };
            match look {
                None => moved.await,
                Some(survey) => {
                    let claim = Claim { board: Arc::clone(self), part: None };
                    let found = self.search.among(survey).await?;
                    let mut inner = self.lock();
                    (inner.found, inner.survey) = (found, Arc::default());
                    inner.surveying = false;
                    inner.parts = std::mem::take(&mut inner.later);
                    drop(inner);
                    drop(claim);
                }
            }
        }
    }

    /// Whether folders with new mail are put off for now.
    pub(super) fn is_surveying(&self) -> bool {
        self.lock().surveying
    }

    /// Whether copies of what other folders fetch are put off for now.
    pub(super) fn is_gathering(&self) -> bool {
        self.lock().gathering
    }

    /// The copies here whose message the source no longer has where it was, once that is known.
    pub(super) fn found(&self) -> Found {
        self.lock().found.clone()
    }

    /// What a folder holds at the source, and whether what is here is known by that UIDVALIDITY; the sizes of those messages
    /// that an earlier try found here; and of those that are known to be here, or may be.
    pub(super) fn listed(
        &self,
        folder: u64,
        (uidvalidity, known, uids): (u32, bool, UidSet),
        adopted: impl Iterator<Item = u64>,
        here: impl Iterator<Item = u64>,
    ) {
        let mut inner = self.lock();
        let anew = inner.surveying && !known;
        inner.numbering.insert(folder, (uidvalidity, anew));
        if inner.surveying {
            Arc::make_mut(&mut inner.survey).add(folder, (uidvalidity, uids), adopted, here);
        }
    }

    /// Demands that a folder has the UIDVALIDITY that it was listed with in this try; `otherwise`: whether one that
    /// was not listed may have it.
    ///
    /// # Errors
    /// Numbered anew: nobody knows which of the copies here are of its messages before it is listed again. Where all of
    /// them are of another UIDVALIDITY anyway, their contents decide, and it may have changed once more.
    pub(super) fn is_as_listed(&self, folder: u64, uidvalidity: u32, otherwise: bool) -> Result<(), Failure> {
        let inner = self.lock();
        let same = inner.numbering.get(&folder).map_or(otherwise, |(was, anew)| *was == uidvalidity || *anew);
        if same || inner.surveying || !self.search.can() {
            return Ok(());
        }
        let what = "the server has just numbered the messages of a folder anew";
        Err(Failure::new(Kind::Unavailable, what, "it is tried again"))
    }

    /// Another folder than this, whoever has it: where it opens, a connection that broke over this one was not at fault.
    pub(super) fn other_than(&self, wire: &[u8]) -> Option<Vec<u8>> {
        let inner = self.lock();
        let mut parts = inner.parts.iter().chain(&inner.later).filter(|part| part.folder.broken.is_none());
        parts.find(|part| part.folder.wire != wire).map(|part| part.folder.wire.clone())
    }

    /// Folders that nobody finished.
    pub(super) fn left(&self) -> usize {
        let inner = self.lock();
        inner.parts.len() + inner.later.len() + inner.busy
    }
}

impl Claim {
    /// The folder.
    pub(super) fn part(&mut self) -> Option<&mut Part> {
        self.part.as_mut()
    }

    /// It is finished, or given up.
    pub(super) fn finish(mut self) {
        self.part = None;
    }

    /// It is put off until every folder has been listed.
    pub(super) fn put_off(mut self) {
        if let Some(part) = self.part.take() {
            self.board.lock().later.push_back(part);
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut inner = self.board.lock();
        inner.parts.extend(self.part.take());
        inner.busy -= 1;
        drop(inner);
        self.board.moved.notify_waiters();
    }
}
