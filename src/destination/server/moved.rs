//! What the member moved to another folder since it was brought, taken out as well when the run is undone: found by
//! its content among what came to the mailbox after the run began. It refuses to touch what was there before,
//! and to take more than is missing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::before::Before;
use super::carrier::on_disk;
use super::home::{Leave, recorded_in};
use super::intent::Intent;
use super::prints::{forgiving, prints};
use crate::destination::fingerprint::Print;
use crate::failure::{Failure, Kind};
use crate::imap::Session;
use crate::message::{Parcel, UidSet};

/// A folder where messages of the run are missing.
pub(super) struct Gap<'w> {
    pub(super) folder: &'w Leave,
    /// So many.
    pub(super) missing: u64,
    /// The folder has been numbered anew: they may be in it all the same.
    pub(super) renumbered: bool,
    /// Under so many of their UIDs there are messages that are not proven to be those.
    pub(super) unproven: u64,
}

/// Looks through every folder; says how many were found and removed, and how many are there unproven and stay.
pub(super) async fn take_back(
    session: &mut Session<Parcel>,
    (spool, before): (&Path, &Before),
    work: &[Leave],
    mut gaps: Vec<Gap<'_>>,
) -> Result<(u64, u64), Failure> {
    let mut found = 0;
    for folder in session.folders().await? {
        if folder.broken.is_some() || gaps.iter().all(|gap| gap.missing == 0) {
            continue;
        }
        let name = String::from_utf8_lossy(&folder.wire).into_owned();
        let selected = match session.select(&folder.wire).await {
            Ok(Some(selected)) => selected,
            Ok(None) => continue,
            Err(failure) if failure.kind == Kind::Folder => continue,
            Err(failure) => return Err(failure),
        };
        let own = gaps.iter().any(|gap| gap.renumbered && gap.folder.name == name);
        let first = if own { Some(1) } else { before.first_new(&name, selected.uidvalidity) };
        let Some(first) = first.filter(|_| selected.exists > 0) else { continue };
        let recorded = recorded_in(work, &name, selected.uidvalidity);
        let mut listed = session.sizes_from(first).await?;
        listed.retain(|(uid, _)| !recorded.contains(*uid));
        let gone = ours(session, spool, &mut gaps, listed).await?;
        if !gone.is_empty() {
            session.remove(&gone).await?;
            found += gone.len();
        }
    }
    for gap in gaps.iter().filter(|gap| gap.renumbered && gap.missing > 0) {
        tracing::warn!(
            FOLDER = gap.folder.name,
            "the destination has numbered this folder anew: of what was brought, {} messages are not found in it; \
             they are gone, or stay",
            gap.missing
        );
    }
    Ok((found, gaps.iter().map(|gap| gap.unproven.min(gap.missing)).sum()))
}

/// Which of the messages listed, UIDs and sizes of the open folder, were brought and are missing.
async fn ours(
    session: &mut Session<Parcel>,
    spool: &Path,
    gaps: &mut [Gap<'_>],
    mut listed: Vec<(u32, u32)>,
) -> Result<UidSet, Failure> {
    let mut gone = UidSet::new();
    let sizes: BTreeSet<u64> = listed.iter().map(|(_, size)| u64::from(*size)).collect();
    let mut brought: Vec<BTreeMap<Print, usize>> = Vec::new();
    for gap in gaps.iter() {
        let (place, origin, sizes) = (spool.to_owned(), gap.folder.origin, sizes.clone());
        brought.push(match gap.missing {
            0 => BTreeMap::new(),
            _ => on_disk(move || Intent::of(&place, origin).of_sizes(&sizes)).await?,
        });
    }
    let wanted: BTreeSet<u64> = brought.iter().flat_map(BTreeMap::keys).map(|print| print.octets).collect();
    listed.retain(|(_, size)| wanted.contains(&u64::from(*size)));
    if listed.is_empty() {
        return Ok(gone);
    }
    for (uid, print) in prints(session, &listed, forgiving(session)).await? {
        let same = gaps.iter_mut().zip(&mut brought).find_map(|(gap, brought)| {
            let count = brought.get_mut(&print).filter(|count| **count > 0 && gap.missing > 0)?;
            Some((gap, count))
        });
        if let (Some((gap, count)), Ok(uid)) = (same, u32::try_from(uid)) {
            *count -= 1;
            gap.missing -= 1;
            gone.insert(uid);
        }
    }
    Ok(gone)
}
