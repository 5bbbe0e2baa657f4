//! Names that may have gone over to other messages: what is known of a message when it came is held against what is listed now. A
//! UIDL names a message for ever (RFC 1939, 7); those of some servers follow the numbers, and others are given out again. It refuses
//! to decide: what is doubted is fetched, and its header tells.

use std::collections::BTreeSet;

use super::triage::{Known, Marks};
use super::{Errand, Run};
use crate::engine::identity::{follow_numbers, wanted};
use crate::failure::Failure;
use crate::pop3::{HEADER, Listed, Maildrop, Session, Wanted, head_of};

/// So many from either end show whether names have moved.
const SAMPLE: usize = 3;

/// Known messages that may be others by now.
///
/// # Errors
/// The session broke.
pub(super) async fn doubted(
    session: &mut Session,
    work: &Errand,
    maildrop: &Maildrop,
    ids: &[Option<u128>],
    known: &Known,
    this: &mut Run,
) -> Result<BTreeSet<u128>, Failure> {
    let listed = maildrop.messages.iter().zip(ids).filter_map(|(message, id)| Some((message, (*id)?)));
    let candidates: Vec<(&Listed, u128)> = listed.filter(|(_, id)| is_candidate(known, *id)).collect();
    let mut doubted: BTreeSet<u128> = candidates
        .iter()
        .filter(|(message, id)| has_another_size(&known.marks, message, *id))
        .map(|(_, id)| *id)
        .collect();
    // A name that was missing and is back may have been given out again.
    let back = candidates.iter().filter(|(_, id)| known.marks.missing.contains(id) && !doubted.contains(id));
    let back = back.copied().collect();
    doubted.extend(others(session, back, known, true, this).await?);
    // What came in an earlier run and goes now is looked at once more.
    let goes = !work.keep_original && candidates.iter().any(|(_, id)| !known.marks.kept.contains(id));
    let changed = maildrop.messages.len() != known.ids.len() || candidates.len() != known.ids.len();
    if doubted.is_empty() && !goes && changed && follow_numbers(&maildrop.messages) {
        let ends = candidates.iter().take(SAMPLE).chain(candidates.iter().rev().take(SAMPLE)).copied();
        doubted = others(session, ends.collect(), known, false, this).await?;
    }
    if !doubted.is_empty() || goes {
        let rest = candidates.into_iter().filter(|(_, id)| !doubted.contains(id)).collect();
        doubted.extend(others(session, rest, known, goes, this).await?);
    }
    Ok(doubted)
}

/// Whether it is here, and it is known what it was. What the server deleted, and lists still, is another matter.
fn is_candidate(known: &Known, id: u128) -> bool {
    known.ids.contains(&id) && !known.marks.deleted.contains(&id) && known.marks.fact(id).is_some()
}

fn has_another_size(marks: &Marks, message: &Listed, id: u128) -> bool {
    let known = marks.fact(id).map_or(0, |fact| u64::from(fact.size));
    known > 0 && message.size.is_some_and(|size| size.min(u64::from(u32::MAX)) != known)
}

/// Those whose header is another one now, by TOP; `unsure`: so is what TOP does not give.
async fn others(
    session: &mut Session,
    messages: Vec<(&Listed, u128)>,
    known: &Known,
    unsure: bool,
    this: &mut Run,
) -> Result<BTreeSet<u128>, Failure> {
    if this.no_headers {
        return Ok(messages.into_iter().filter(|_| unsure).map(|(_, id)| id).collect());
    }
    let asked: Vec<Wanted> = messages.iter().map(|(message, _)| wanted(message)).collect();
    let (headers, broken) = session.top(&asked, HEADER).await;
    if let Some((_, failure)) = broken {
        (this.no_headers, this.learned) = (true, true);
        return Err(failure);
    }
    let is_another =
        |(message, id): &(&Listed, u128)| match headers.get(&message.number).and_then(Option::as_ref) {
            Some(header) => known.marks.fact(*id).is_some_and(|fact| fact.head != head_of(header)),
            None => unsure,
        };
    Ok(messages.into_iter().filter(is_another).map(|(_, id)| id).collect())
}
