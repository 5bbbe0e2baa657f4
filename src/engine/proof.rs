//! A few messages of the source, by their numbers and names there, with their size and how they begin: whether a mailbox
//! behind another login or at another server is still the same one. It refuses to take one that differs for the same.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;

use tokio::sync::mpsc;

use super::{Means, identity, maildrop};
use crate::account::{Account, Protocol};
use crate::destination::fingerprint::Head;
use crate::destination::landing::Receipt;
use crate::destination::maildir::Origin;
use crate::failure::Failure;
use crate::imap::{Care, Event, Fetch};
use crate::journal::{Changes, Proof};
use crate::message::{MessageRef, Parcel};

/// So many are remembered; a record is small.
const MOST: usize = 6;
/// A longer one is not fetched again for that; octets.
const LONGEST: u64 = 1024 * 1024;
/// Parcels that wait; of at most 64 KiB.
const PARCELS: usize = 16;

/// What came in a run, newest last.
#[derive(Debug, Default)]
pub(super) struct Proofs(Mutex<VecDeque<Proof>>);

impl Proofs {
    /// Messages of a folder landed; 0: of a maildrop.
    pub(super) fn add(&self, folder: u64, receipts: &[Receipt]) {
        let Ok(mut proofs) = self.0.lock() else { return };
        for receipt in
            receipts.iter().filter(|receipt| receipt.refused.is_none() && receipt.octets <= LONGEST)
        {
            let Some(head) = receipt.head else { continue };
            let message = match receipt.message {
                MessageRef::Imap { uid, .. } => uid.into(),
                MessageRef::Pop3(id) => id,
            };
            if proofs.len() == MOST {
                proofs.pop_front();
            }
            proofs.push_back(Proof { folder, message, octets: receipt.octets, head });
        }
    }

    /// What came takes the place of what was remembered.
    pub(super) fn tell(&self, account: &str, changes: &mut Changes) {
        let Ok(proofs) = self.0.lock() else { return };
        if !proofs.is_empty() {
            changes.proofs(account, &proofs.iter().cloned().collect::<Vec<_>>());
        }
    }
}

/// Whether the source has any of what is remembered, and all of that is as it was.
///
/// # Errors
/// The source cannot be asked, or the journal be read.
pub(super) async fn holds(means: &Means, account: &Account) -> Result<bool, Failure> {
    let proofs = means.journal.proofs(&account.name)?;
    if proofs.is_empty() {
        return Ok(false);
    }
    let found = match account.source.protocol {
        Protocol::Pop3 => in_maildrop(means, account, &proofs).await?,
        Protocol::Imap => in_folders(means, account, &proofs).await?,
    };
    let mut there =
        proofs.iter().filter_map(|proof| Some((proof, found.get(&(proof.folder, proof.message))?)));
    Ok(!found.is_empty() && there.all(|(proof, found)| *found == (proof.octets, proof.head)))
}

/// Size and beginning, by folder and message.
type Found = BTreeMap<(u64, u128), (u64, u64)>;

/// Sizes and beginnings of the messages that pass, by the numbers of their pieces.
async fn heads(mut inbox: mpsc::Receiver<Parcel>) -> BTreeMap<u64, (u64, u64)> {
    let (mut found, mut current) = (BTreeMap::new(), None);
    while let Some(parcel) = inbox.recv().await {
        match parcel {
            Parcel::Begin(piece) => current = Some((piece, 0, Head::default())),
            Parcel::Data(data) => {
                if let Some((_, octets, head)) = &mut current {
                    *octets += data.len() as u64;
                    head.push(&data);
                }
            }
            Parcel::End => {
                found.extend(current.take().map(|(piece, octets, head)| (piece, (octets, head.finish()))));
            }
            Parcel::Abandon => current = None,
        }
    }
    found
}

async fn in_maildrop(means: &Means, account: &Account, proofs: &[Proof]) -> Result<Found, Failure> {
    let (mut session, listed) = maildrop::identified(means, account).await?;
    let known = listed.into_iter().filter_map(|(message, id)| Some((message, id?)));
    let known: Vec<_> = known.filter(|(_, id)| proofs.iter().any(|p| p.message == *id)).collect();
    let asked: Vec<_> = known.iter().map(|(message, _)| identity::wanted(message)).collect();
    let (sink, inbox) = mpsc::channel(PARCELS);
    let fetching = async {
        let retrieval = session.retrieve(&asked, Some(LONGEST), &sink).await;
        drop(sink);
        retrieval.broken
    };
    let (broken, mut heads) = tokio::join!(fetching, heads(inbox));
    if let Some(ended) = broken {
        return Err(ended.failure);
    }
    let _ = session.quit().await;
    let found =
        known.into_iter().filter_map(|(message, id)| Some(((0, id), heads.remove(&message.number.into())?)));
    Ok(found.collect())
}

async fn in_folders(means: &Means, account: &Account, proofs: &[Proof]) -> Result<Found, Failure> {
    let (mut session, folders) = means.imap_folders::<Parcel>(account).await?;
    let records = means.journal.folders(&account.name)?;
    let mut found = Found::new();
    for folder in folders {
        let key = Origin::imap(&account.name, &folder.wire, account.era).folder;
        let uid =
            |proof: &Proof| Some((u32::try_from(proof.message).ok()?, u32::try_from(proof.octets).ok()?));
        let mut wanted: Vec<(u32, u32)> =
            proofs.iter().filter(|proof| proof.folder == key).filter_map(uid).collect();
        wanted.sort_unstable();
        if wanted.is_empty() {
            continue;
        }
        // Numbered anew, its numbers say nothing.
        let Ok(examined) = session.examine(&folder.wire).await else { continue };
        if records.get(&key).is_none_or(|record| record.uidvalidity != examined.uidvalidity) {
            continue;
        }
        let (sink, inbox) = mpsc::channel(PARCELS);
        let fetching = async {
            let mut pieces = Vec::new();
            let mut care = Care::default();
            let mut fetch = Fetch::start(&mut session, &wanted, sink, &mut care);
            while let Some(event) = fetch.next().await? {
                if let Event::Message(message) = event {
                    pieces.push((message.piece, message.uid));
                }
            }
            let _ = fetch.left();
            Ok::<_, Failure>(pieces)
        };
        let (pieces, mut heads) = tokio::join!(fetching, heads(inbox));
        let known =
            pieces?.into_iter().filter_map(|(piece, uid)| Some(((key, uid.into()), heads.remove(&piece)?)));
        found.extend(known);
    }
    session.close().await;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_remembered() {
        let proofs = Proofs::default();
        let receipt = |uid: u32, octets, head| Receipt {
            head,
            ..Receipt::landed(MessageRef::Imap { uidvalidity: 1, uid }, octets)
        };
        (1..20).for_each(|uid| proofs.add(7, &[receipt(uid, 9, Some(1))]));
        proofs.add(7, &[receipt(98, LONGEST + 1, Some(1)), receipt(99, 9, None)]);
        let kept = proofs.0.into_inner().unwrap();
        assert_eq!(kept.iter().map(|proof| proof.message).collect::<Vec<_>>(), [14, 15, 16, 17, 18, 19]);
    }
}
