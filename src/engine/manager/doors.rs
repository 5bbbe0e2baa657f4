//! Whether each folder opens that a run would open. A folder over which the connection breaks is tried once more, alone; then it
//! is named, and the others follow over another connection. It refuses to make connections without end.

use crate::account::Account;
use crate::destination::landing::Order;
use crate::engine::Means;
use crate::engine::counts::Counts;
use crate::failure::{Failure, Kind};
use crate::imap::{Session, SourceFolder};

/// Connections that may break; a check has at most twenty with the others.
const BREAKS: u32 = 15;
/// So many folders are named.
const MOST: usize = 20;

/// Folders that do not open, and why.
///
/// # Errors
/// None of them does; or no connection is to be had.
pub(super) async fn shut(
    means: &Means,
    account: &Account,
    session: &mut Session<Order>,
    folders: &[SourceFolder],
    counts: &Counts,
) -> Result<Vec<String>, Failure> {
    let (silent, usual): (Vec<&SourceFolder>, Vec<&SourceFolder>) = folders
        .iter()
        .filter(|folder| folder.broken.is_none())
        .partition(|folder| counts.was_silent(&folder.wire));
    let wanted: Vec<(&[u8], Option<u64>)> =
        usual.iter().map(|folder| (folder.wire.as_slice(), counts.count_of(&folder.wire))).collect();
    let mut found = Vec::with_capacity(folders.len());
    let (mut breaks, mut alone) = (0, false);
    while found.len() < wanted.len() && breaks < BREAKS {
        let rest = wanted.get(found.len()..).unwrap_or_default();
        let asked = if alone { rest.get(..1).unwrap_or_default() } else { rest };
        session.hurry(alone);
        let failure = match session.examine_each(asked, &mut found).await {
            Ok(()) => {
                alone = false;
                continue;
            }
            Err(failure) => failure,
        };
        breaks += 1;
        // Behind others it may have been the connection's turn; a silence was waited for.
        let known = alone || failure.kind == Kind::Stalled;
        alone = !known;
        if known {
            found.push(Err(failure));
        }
        *session = means.imap(account).await?;
    }
    session.hurry(false);
    let mut shut: Vec<(&SourceFolder, Failure)> = folders
        .iter()
        .filter_map(|folder| Some((folder, Failure::new(Kind::Folder, folder.broken.clone()?, ""))))
        .collect();
    let tried = found.len();
    shut.extend(
        usual.iter().copied().zip(found).filter_map(|(folder, opened)| Some((folder, opened.err()?))),
    );
    for folder in silent {
        if let Err(failure) = session.examine_after_silence(&folder.wire).await {
            if failure.broke() {
                *session = means.imap(account).await?;
            }
            shut.push((folder, failure));
        }
    }
    told(shut, folders.len(), usual.len() - tried)
}

/// Each in words; of `all` folders, so many were not tried.
fn told(shut: Vec<(&SourceFolder, Failure)>, all: usize, untried: usize) -> Result<Vec<String>, Failure> {
    if let Some((folder, failure)) = shut.first().filter(|_| shut.len() + untried == all) {
        // A server may log somebody in who has no mailbox there.
        let words = format!("{} cannot be read: {}", folder.path, failure.words);
        return Err(Failure { words, ..failure.clone() });
    }
    let more = shut.len().saturating_sub(MOST);
    let mut words: Vec<String> = shut
        .into_iter()
        .take(MOST)
        .map(|(folder, failure)| {
            format!("the folder {} does not open: {}; a run leaves it out", folder.path, failure.words)
        })
        .collect();
    if more > 0 {
        words.push(format!("{more} more folders do not open; a run leaves them out"));
    }
    if untried > 0 {
        words.push(format!("{untried} folders were not tried, for too many connections broke; check again"));
    }
    Ok(words)
}
