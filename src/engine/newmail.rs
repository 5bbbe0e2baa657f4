//! One poll of an IMAP account: what is new in the chosen folders comes home into one folder, and what is durable
//! here is deleted at the source if that was asked for. The folders are brought as a migration brings them. It
//! refuses to list a folder in which nothing changed, and to expunge what other programs marked as deleted.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use tokio_util::task::TaskTracker;

use super::board::{Board, Part};
use super::budget::Budget;
use super::cares::Cares;
use super::folder::Listing;
use super::maildrop::placed;
use super::meter::Meter;
use super::migrate::{Shared, chosen, none_fits, work_all};
use super::poll::Outcome;
use super::proof::Proofs;
use super::strays::Search;
use super::tally::Tally;
use super::{Means, cut, now};
use crate::account::{Account, Poll};
use crate::destination::landing::Order;
use crate::destination::maildir::Origin;
use crate::destination::place::Placed;
use crate::failure::{Failure, Kind};
use crate::imap::{SourceFolder, Standing};
use crate::journal::{Changes, FolderRecord, FolderState, Side, SkippedRecord};
use crate::message::UidSet;

/// Polls once.
///
/// # Errors
/// What ended it early; `outcome` says how far it came.
pub(super) async fn run(
    means: &Means,
    account: &Account,
    work: &Poll,
    meter: &Arc<Meter>,
    landings: &TaskTracker,
    cares: &Arc<Cares>,
    outcome: &mut Outcome,
) -> Result<(), Failure> {
    let (mut session, folders) = means.imap_folders::<Order>(account).await?;
    let at_source =
        folders.iter().map(|f| Origin::imap(&account.name, &f.wire, account.era).folder).collect();
    let all = folders.len();
    let folders = chosen(folders, &account.job);
    if folders.is_empty() {
        return Err(none_fits(all, &account.job));
    }
    let standings = match session.standings(&folders).await {
        // One of them is enough for that; whoever opens them finds out which.
        Err(failure) if failure.broke() => {
            session = means.imap(account).await?;
            vec![None; folders.len()]
        }
        standings => standings?,
    };
    let naming = means.naming(account).await?;
    let place = placed(&naming, &work.mailbox);
    outcome.note.clone_from(&place.note);
    let (parts, whole) = plan(means, account, work, &place, folders, &standings)?;
    if parts.is_empty() {
        session.close().await;
        return Ok(());
    }
    let home = means.open_home(account).await?;
    let means = Arc::new(means.clone());
    let search = Search { means: Arc::clone(&means), account: account.name.clone(), home: home.clone() };
    // What is listed anew may be here already: moved, or numbered anew by the source.
    let survey = whole && search.any().await?;
    let tally = Arc::new(Tally::default());
    let shared = Arc::new(Shared {
        means: Arc::clone(&means),
        account: Arc::new(account.clone()),
        home: home.clone(),
        meter: Arc::clone(meter),
        tally: Arc::clone(&tally),
        landings: landings.clone(),
        run: now(),
        board: Board::new(parts, survey, false, at_source, search),
        cares: Arc::clone(cares),
        poll: Some(work.clone()),
        gmail: None,
        budget: Budget::of(&means, account)?,
        deleted: AtomicU64::new(0),
        opened: Mutex::default(),
        proofs: Proofs::default(),
    });
    let result = work_all(&shared, session, 1).await.and_then(|()| tally.not_all_refused(0));
    let mut changes = Changes::default();
    shared.proofs.tell(&account.name, &mut changes);
    let kept = means.journal.commit(changes).await;
    let result = result.and(kept);
    let unread =
        tally.unread_folders().map(|words| Failure::new(Kind::Unavailable, words, "it is tried again"));
    let result = match (result, unread) {
        (Ok(()), Some(unread)) => Err(unread),
        // What the connection broke over is known.
        (Err(failure), Some(unread)) if failure.broke() => Err(unread),
        (result, _) => result,
    };
    outcome.ledger = tally.sums().ledger;
    outcome.bytes = meter.bytes.load(Relaxed);
    outcome.deleted = shared.deleted.load(Relaxed);
    result
}

/// The folders in which there may be something to do, and whether any of them has to be listed whole.
fn plan(
    means: &Means,
    account: &Account,
    work: &Poll,
    place: &Placed,
    folders: Vec<SourceFolder>,
    standings: &[Option<Standing>],
) -> Result<(VecDeque<Part>, bool), Failure> {
    let mut records = means.journal.folders(&account.name)?;
    let mut left: BTreeMap<u64, BTreeMap<u32, SkippedRecord>> = BTreeMap::new();
    for (key, id, record) in means.journal.skipped(&account.name)? {
        if let Ok(uid) = id.parse() {
            left.entry(key).or_default().insert(uid, record);
        }
    }
    let destination = place.path.to_string();
    let (mut parts, mut fewer) = (VecDeque::new(), Vec::new());
    for (folder, standing) in folders.into_iter().zip(standings) {
        let key = Origin::imap(&account.name, &folder.wire, account.era).folder;
        let old = records.remove(&key).unwrap_or_default();
        let left = left.remove(&key).unwrap_or_default();
        let need = need(means, account, work, key, &old, *standing, &left)?;
        let shrunk = standing.is_some_and(|standing| standing.messages < old.exists);
        let record = FolderRecord {
            name: folder.path.to_string().chars().take(200).collect(),
            directory: place.directory.clone(),
            destination: cut(&destination),
            note: folder.note.as_deref().map(cut),
            ..old
        };
        match need {
            Some(listing) => {
                // Of a folder that is known nobody counts what is new.
                let counted = standing.map(|standing| standing.messages).filter(|_| record.uidvalidity == 0);
                parts.push_back(Part {
                    folder,
                    record,
                    tries: 0,
                    listing,
                    counted,
                    silent: false,
                    again: false,
                });
            }
            None if shrunk => {
                // Of a folder that is known nobody counts what is new.
                let counted = standing.map(|standing| standing.messages).filter(|_| record.uidvalidity == 0);
                fewer.push(Part {
                    folder,
                    record,
                    tries: 0,
                    listing: Listing::Whole,
                    counted,
                    silent: false,
                    again: false,
                });
            }
            None => {}
        }
    }
    if !parts.is_empty() {
        // What has gone from one folder may be what is new in another.
        parts.extend(fewer);
    }
    let whole = parts.iter().any(|part| part.listing == Listing::Whole);
    Ok((parts, whole))
}

/// How a folder has to be listed; `None`: nothing has changed in it.
fn need(
    means: &Means,
    account: &Account,
    work: &Poll,
    key: u64,
    old: &FolderRecord,
    standing: Option<Standing>,
    left: &BTreeMap<u32, SkippedRecord>,
) -> Result<Option<Listing>, Failure> {
    let whole = Ok(Some(Listing::Whole));
    let Some(standing) = standing else { return whole };
    let same = old.state == FolderState::Done
        && !old.open
        && old.uidnext > 0
        && old.uidvalidity == standing.uidvalidity
        && standing.uidnext >= old.uidnext;
    if !same {
        return whole;
    }
    let came = u64::from(standing.uidnext - old.uidnext);
    if standing.messages > old.exists.saturating_add(came) {
        // One that the last list did not show is back.
        return whole;
    }
    let limit = means.settings.polling.max_message_size;
    // What was too large stays out until the limit is another one.
    let again: UidSet = left
        .iter()
        .filter(|(_, record)| !record.for_good)
        .filter(|(_, record)| record.size.zip(limit).is_none_or(|(size, limit)| size <= limit))
        .map(|(uid, _)| *uid)
        .collect();
    let settled =
        work.keep_original || old.settled || means.journal.uids(&account.name, key, Side::Done)?.is_empty();
    if standing.uidnext == old.uidnext && again.is_empty() && settled {
        return Ok(None);
    }
    if !settled {
        // Before anything is deleted there: whether it is still what came.
        return whole;
    }
    // Fewer than there were and came: some went, perhaps to another folder.
    let gone = standing.messages < old.exists || (standing.messages - old.exists) < came;
    if gone && standing.uidnext > old.uidnext {
        return whole;
    }
    Ok(Some(Listing::Since { uidnext: old.uidnext, again }))
}
