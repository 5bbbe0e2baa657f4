//! The end of a session: what is durable at the destination is deleted at the source, if that was asked for. It refuses to delete
//! what the journal does not have, and what the server does not name as it listed it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::session::At;
use super::triage::{Known, Sorted};
use crate::engine::poll::Outcome;
use crate::failure::Failure;
use crate::pop3::{Session, Wanted};

/// A farewell on which nothing depends is waited for as long as this.
const FAREWELL: Duration = Duration::from_secs(5);

/// Deletes, and ends the session. Deletions are real only when QUIT was answered, and certain only when a listing does not show the
/// message any more: until then its identity stays known. Returns whether the listing was complete, so that what it does not show
/// is gone.
///
/// # Errors
/// The session broke before anything was deleted.
pub(super) async fn settle(
    at: &At<'_>,
    mut session: Session,
    sorted: &Sorted,
    known: &mut Known,
    polled: bool,
    outcome: &mut Outcome,
) -> Result<bool, Failure> {
    let listed = sorted.here.iter().map(|(_, id)| id);
    let missing = known.ids.len() > listed.collect::<BTreeSet<_>>().len();
    let mut complete = sorted.complete;
    if polled && missing && complete {
        // Absence is concluded from a complete list alone.
        let count = session.count().await?;
        complete = count.is_none_or(|count| count == sorted.listed.len() as u64);
    }
    let wanted = deletable(at, sorted, known)?;
    if wanted.is_empty() {
        // Nothing depends on the answer to QUIT, except at servers that count a message as fetched by it.
        let _ = tokio::time::timeout(FAREWELL, session.quit()).await;
        return Ok(complete);
    }
    let ids: BTreeMap<u32, u128> = wanted.iter().map(|(message, id)| (message.number, *id)).collect();
    let messages: Vec<Wanted> = wanted.into_iter().map(|(message, _)| message).collect();
    let answers = match delete(session, &messages).await {
        Ok(answers) => answers,
        Err(failure) => {
            undeleted(outcome, &failure.words);
            return Ok(complete);
        }
    };
    let mut refused = None;
    for (number, answer) in answers {
        match (answer, ids.get(&number)) {
            (Ok(()), Some(id)) => {
                outcome.deleted += 1;
                known.marks.delete(*id, sorted.digests.get(id).copied());
            }
            (Err(words), _) => drop(refused.get_or_insert(words)),
            (Ok(()), None) => {}
        }
    }
    if let Some(words) = refused {
        undeleted(outcome, &words);
    }
    Ok(complete)
}

/// What came is here, and stays known: a wish that was not granted is no failed run, and is tried again.
fn undeleted(outcome: &mut Outcome, words: &str) {
    outcome.unfinished = true;
    outcome.notes.push(format!("not everything was deleted at the source: {words}"));
}

/// Marks messages as deleted, and says goodbye.
async fn delete(
    mut session: Session,
    messages: &[Wanted],
) -> Result<BTreeMap<u32, Result<(), String>>, Failure> {
    let answers = session.delete(messages).await?;
    session.quit().await?;
    Ok(answers)
}

/// What may be deleted: recorded in the journal, which has nothing that is not durable, and neither deleted before nor kept. What the
/// server deleted before and lists still is not deleted again: it could be another message by now.
fn deletable(at: &At<'_>, sorted: &Sorted, known: &Known) -> Result<Vec<(Wanted, u128)>, Failure> {
    if at.work.keep_original {
        return Ok(Vec::new());
    }
    let may_go = |id: &u128| !known.marks.kept.contains(id) && !known.marks.deleted.contains(id);
    let mut wanted: Vec<_> = sorted.here.iter().filter(|(_, id)| may_go(id)).cloned().collect();
    if !wanted.is_empty() {
        let (recorded, _) = at.means.journal.identities(&at.account.name)?;
        wanted.retain(|(_, id)| recorded.contains(id));
    }
    Ok(wanted)
}
