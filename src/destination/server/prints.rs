//! The octets of messages in the open folder, as fingerprints: they pass through and are not kept.

use std::collections::BTreeMap;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::super::fingerprint::{Fingerprint, Print};
use crate::failure::{Failure, Kind};
use crate::imap::{Care, Event, Fetch, Session, Software};
use crate::message::Parcel;

/// Parcels on their way to the fingerprints: 64 of at most 64 KiB.
const PARCELS: usize = 64;

/// Takes the print of every message that passes, by the number of its piece; `fresh` begins one.
pub fn printer(fresh: fn() -> Fingerprint) -> (mpsc::Sender<Parcel>, JoinHandle<BTreeMap<u64, Print>>) {
    let (sender, mut inbox) = mpsc::channel(PARCELS);
    let prints = tokio::task::spawn_blocking(move || {
        let mut prints = BTreeMap::new();
        let mut current: Option<(u64, Fingerprint)> = None;
        while let Some(parcel) = inbox.blocking_recv() {
            match parcel {
                Parcel::Begin(piece) => current = Some((piece, fresh())),
                Parcel::Data(data) => {
                    if let Some((_, print)) = &mut current {
                        print.push(&data);
                    }
                }
                Parcel::End => prints.extend(current.take().map(|(piece, print)| (piece, print.finish()))),
                Parcel::Abandon => current = None,
            }
        }
        prints
    });
    (sender, prints)
}

/// What begins a print that does not mind what the server changes.
pub(super) fn forgiving(session: &Session<Parcel>) -> fn() -> Fingerprint {
    match session.software() {
        Software::Courier => Fingerprint::of_lines,
        Software::Cyrus | Software::Other => Fingerprint::lenient,
    }
}

/// By UID; what the server does not give is missing. `messages` are UIDs and sizes, ascending; `fresh` begins a
/// print.
///
/// # Errors
/// The connection failed.
pub(super) async fn prints(
    session: &mut Session<Parcel>,
    messages: &[(u32, u32)],
    fresh: fn() -> Fingerprint,
) -> Result<BTreeMap<u64, Print>, Failure> {
    let (prints, ended) = some(session, messages, fresh, &mut Care::default()).await?;
    ended.map(|()| prints)
}

/// The same over as many connections as it takes: a message that breaks them is missing, and the others are not.
/// `again` opens the folder anew.
///
/// # Errors
/// The connection failed for another reason, or too often.
pub async fn all_prints(
    session: &mut Session<Parcel>,
    messages: &[(u32, u32)],
    fresh: fn() -> Fingerprint,
    mut again: impl AsyncFnMut() -> Result<Session<Parcel>, Failure>,
) -> Result<BTreeMap<u64, Print>, Failure> {
    let (mut prints, mut care, mut left) = (BTreeMap::new(), Care::default(), messages.to_vec());
    loop {
        let (came, ended) = some(session, &left, fresh, &mut care).await?;
        left.retain(|(uid, _)| !came.contains_key(&u64::from(*uid)));
        let brought = came.len();
        prints.extend(came);
        let Err(failure) = ended else { return Ok(prints) };
        care.again(brought, failure)?;
        *session = again().await?;
    }
}

/// What one connection brings, and how it ended.
async fn some(
    session: &mut Session<Parcel>,
    messages: &[(u32, u32)],
    fresh: fn() -> Fingerprint,
    care: &mut Care,
) -> Result<(BTreeMap<u64, Print>, Result<(), Failure>), Failure> {
    let (sink, prints) = printer(fresh);
    let mut pieces = Vec::with_capacity(messages.len());
    let mut fetch = Fetch::start(session, messages, sink.clone(), care);
    let ended = loop {
        match fetch.next().await {
            Ok(Some(Event::Message(message))) => pieces.push((u64::from(message.uid), message.piece)),
            Ok(Some(Event::Stray(_))) => {}
            Ok(None) => break Ok(()),
            Err(failure) => break Err(failure),
        }
    };
    let _ = fetch.left();
    drop(sink);
    let mut prints = prints
        .await
        .map_err(|_| Failure::new(Kind::Protocol, "the comparison ended unexpectedly", "try again"))?;
    Ok((pieces.into_iter().filter_map(|(uid, piece)| Some((uid, prints.remove(&piece)?))).collect(), ended))
}
