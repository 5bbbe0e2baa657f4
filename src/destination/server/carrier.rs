//! Carries batches from the spool to the server, one connection a landing. What may be there already is
//! compared first; the rest is appended; what the server gave no UID for is looked up. An answer that was lost
//! with its connection costs another connection and a look. It refuses to send again what has come.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use super::copies::Sends;
use super::home::{Server, at_home, subscribe};
use super::intent::Intent;
use super::likeness::{Likenesses, deleted};
use super::look::{Habits, wanted};
use super::prints::{forgiving, prints};
use super::sending::Sending;
use super::strays::Strays;
use super::strikes::Strikes;
use crate::destination::fingerprint::{Fingerprint, Print};
use crate::destination::landing::{Landing, Opened, Opening, Placement, Receipt};
use crate::destination::maildir::FileName;
use crate::destination::spool::{self, Batch, Body, Errand, Sent, Waiting};
use crate::failure::{Failure, Kind};
use crate::imap::{Selected, Session, Software};
use crate::message::{MessageRef, Parcel, UidSet};

/// Flags are looked at once more, over a new connection, when one breaks.
const FLAG_TRIES: u32 = 2;

/// Starts a landing at `server`; messages wait in `spool`, a directory. Whoever must know that nothing is
/// being sent any more waits for `landings`.
pub fn land(server: Arc<Server>, spool: PathBuf, landings: &TaskTracker) -> Landing {
    let sends = Arc::clone(&server);
    let sent = move |from: &FileName| sends.sends.of(from);
    let mut carrier = Carrier {
        server,
        spool: spool.clone(),
        session: None,
        open: None,
        habits: Habits::default(),
        weary: false,
        put_off: None,
        broken_groups: 0,
    };
    spool::land(spool, landings, sent, |work, fate| async move {
        // Before the goodbye, which may take its time: somebody waits to hear why.
        if let Err(failure) = carrier.carry(work).await {
            fate.is(failure);
        }
        if let Some(session) = carrier.session.take() {
            session.close().await;
        }
    })
}

pub(super) struct Carrier {
    pub(super) server: Arc<Server>,
    spool: PathBuf,
    pub(super) session: Option<Session<Parcel>>,
    pub(super) open: Option<Open>,
    habits: Habits,
    /// The folder took nothing of a whole batch: what comes is looked at less often.
    pub(super) weary: bool,
    /// Nothing was taken of much that came last, and why.
    pub(super) put_off: Option<Failure>,
    /// Groups that broke the connection, one after the other.
    pub(super) broken_groups: u32,
}

/// The folder that messages go to.
pub(super) struct Open {
    pub(super) name: Vec<u8>,
    pub(super) selected: Selected,
    /// The UID that the next message gets, as far as is known.
    pub(super) next: u32,
    /// Nothing was above that when the folder was opened, whatever UIDNEXT says.
    pub(super) highest: u32,
    /// UIDs of what came since then.
    pub(super) came: UidSet,
    pub(super) likes: Likenesses,
    /// Copies elsewhere of messages that may be among those that come.
    pub(super) strays: Option<Arc<Strays>>,
    intent: Intent,
    /// Messages that did not get through before.
    pub(super) strikes: Strikes,
    /// Messages that other folders get, too; by UID at the source.
    shared: UidSet,
}

impl Carrier {
    async fn carry(&mut self, mut work: mpsc::Receiver<Errand>) -> Result<(), Failure> {
        while let Some(errand) = work.recv().await {
            match errand {
                Errand::Open(opening, reply) => {
                    let opened = match self.open(*opening).await.map_err(at_home) {
                        Err(failure) if failure.kind != Kind::Folder => return Err(failure),
                        opened => opened,
                    };
                    let _ = reply.send(opened);
                }
                Errand::Batch(batch, reply) => {
                    if let Some(failure) = &self.put_off {
                        if self.server.has_resigned() && failure.kind != Kind::Full {
                            let _ = reply.send(not_tried(&batch, failure));
                            continue;
                        }
                        // The source need not give more of what nobody takes.
                        return Err(at_home(failure.clone()));
                    }
                    let receipts = self.batch(batch).await.map_err(at_home)?;
                    let _ = reply.send(receipts);
                }
            }
        }
        Ok(())
    }

    async fn open(&mut self, opening: Opening) -> Result<Opened, Failure> {
        let name = opening.directory.clone().into_bytes();
        let mut selected = self.enter(&name, opening.special.as_deref()).await?;
        let Some(session) = &mut self.session else { return Err(lost()) };
        // Nothing was ever in it.
        if opening.subscribe && selected.exists == 0 && selected.uidnext <= 1 && name != b"INBOX" {
            subscribe(session, &opening.directory).await?;
        }
        let mut there = opening.there;
        if there.uidvalidity != selected.uidvalidity {
            // Another folder of this name: what is recorded is of the old one.
            there = Default::default();
        }
        let intent = Intent::of(&self.spool, opening.origin);
        if there.floor > 0 {
            let asked = intent.clone();
            let late = on_disk(move || asked.late()).await?;
            late.wait(session, &name, there.floor, &there.recorded).await?;
            selected = session.select(&name).await?.ok_or_else(lost)?;
        }
        let highest = session.highest(selected.exists).await?;
        let next = selected.uidnext.max(highest.saturating_add(1));
        let likes = if opening.look.is_some() && selected.exists > 0 {
            let mut listed = session.sizes_from(1).await?;
            // What is our own is known by that, and what came last is asked for by its content.
            let is_own = |uid: u32| there.recorded.contains(uid) || (there.floor > 0 && uid >= there.floor);
            let may_go = |uid: u32| opening.unsettled.may_hold(selected.uidvalidity, uid);
            listed.retain(|(uid, _)| is_own(*uid) || !may_go(*uid));
            if opening.unsettled.deleted {
                let others = listed.iter().map(|(uid, _)| *uid).filter(|uid| !is_own(*uid)).collect();
                let deleted = deleted(session, &others).await?;
                listed.retain(|(uid, _)| !deleted.contains(*uid));
            }
            Likenesses::of(listed, &there)
        } else if there.floor > 0 && there.floor < next {
            Likenesses::of(session.sizes_from(there.floor).await?, &there)
        } else {
            Likenesses::default()
        };
        // What is not above everything that is there cannot be ours.
        let place = Some((selected.uidvalidity, highest.saturating_add(1)));
        let (spool, origin) = (self.spool.clone(), opening.origin);
        let strikes = on_disk(move || Strikes::read(&spool, origin)).await?;
        let Opening { shared, strays, .. } = opening;
        self.put_off = None;
        let came = UidSet::new();
        self.open =
            Some(Open { name, next, highest, came, selected, likes, strays, intent, strikes, shared });
        Ok(Opened { there: place, ..Opened::default() })
    }

    /// Everything of the batch is there, or refused, when this returns. An answer that is lost with its
    /// connection costs another connection, and a look at what has come.
    async fn batch(&mut self, batch: Batch) -> Result<Vec<Receipt>, Failure> {
        let Batch { waiting: batch, copies } = batch;
        if batch.is_empty() && copies.is_empty() {
            return Ok(Vec::new());
        }
        let (Some(session), Some(open)) = (&mut self.session, &mut self.open) else { return Err(lost()) };
        let copied = open.copy(session, copies).await?;
        let batch = sized(session, batch).await?;
        let (batch, mut receipts) = open.recognise(session, batch).await?;
        let (batch, elsewhere) = open.stray(session, batch).await?;
        receipts.extend(elsewhere);
        receipts.extend(copied);
        let prints = prints_of(&batch, forgiving(session)).await?;
        let shared = open.shared(&batch, &prints);
        if !prints.is_empty() {
            open.intend(prints).await?;
        }
        let intended = !batch.is_empty();
        let odd = |waiting: &&Waiting| waiting.body.eight_bit || waiting.body.kept != waiting.body.octets;
        let odd = batch.iter().filter(odd);
        let odd: BTreeMap<MessageRef, Body> =
            odd.map(|waiting| (waiting.placement.message, waiting.body.clone())).collect();
        let wanted = wanted(&batch, &open.selected.keywords);
        let mut sending = Sending::new(open, batch, receipts);
        match self.deliver(&mut sending).await {
            Err(failure) if failure.kind == Kind::Full && sending.landed > 0 => {
                sending.ends_full(&failure);
                self.put_off = Some(failure);
            }
            delivered => delivered?,
        }
        let (Some(session), Some(open)) = (&mut self.session, &mut self.open) else { return Err(lost()) };
        if intended {
            open.answered().await?;
        }
        look_back(session, &odd, &mut sending.receipts).await?;
        let Sending { bare, receipts, .. } = &mut sending;
        let mut broke: Option<Failure> = None;
        for _ in 0..FLAG_TRIES {
            let keeps = &mut open.selected.keywords;
            match self.habits.look(session, &wanted, bare, keeps, receipts, broke.as_ref()).await {
                Ok(()) => break,
                Err(failure) if failure.broke() && broke.is_none() => {
                    *session = self.server.connect().await?;
                    session.select(&open.name).await?.ok_or_else(lost)?;
                    session.hurry(failure.kind == Kind::Stalled);
                    broke = Some(failure);
                }
                Err(failure) => return Err(failure),
            }
        }
        session.hurry(false);
        open.came.extend(&sending.receipts.iter().filter_map(|receipt| receipt.uid).collect());
        open.remember(&self.server.sends, shared, &sending.receipts);
        Ok(sending.receipts)
    }
}

/// Of a folder that took nothing of what came before.
fn not_tried(batch: &Batch, failure: &Failure) -> Vec<Receipt> {
    let words = format!("it was not tried after those before it: {}", failure.words);
    let sent = batch.waiting.iter().map(|waiting| (waiting.placement.message, waiting.body.octets));
    let copied =
        batch.copies.iter().map(|(placement, _)| (placement.message, placement.announced.unwrap_or(0)));
    let refused = |(message, octets)| {
        let landed = Receipt::landed(message, octets);
        Receipt { refused: Some(words.clone()), later: true, ..landed }
    };
    sent.chain(copied).map(refused).collect()
}

/// How long each will be at the server: not as long as it is, where the server is known to change that.
async fn sized(session: &Session<Parcel>, mut batch: Vec<Waiting>) -> Result<Vec<Waiting>, Failure> {
    if session.software() != Software::Courier {
        return Ok(batch);
    }
    on_disk(move || {
        for Waiting { body, .. } in &mut batch {
            body.kept = body.print(Fingerprint::of_lines())?.octets;
        }
        Ok(batch)
    })
    .await
}

/// Reads what servers may have changed: Cyrus puts an X for each octet above 127 in a header, Courier ends the last
/// line and drops carriage returns that stand alone.
async fn look_back(
    session: &mut Session<Parcel>,
    sent: &BTreeMap<MessageRef, Body>,
    receipts: &mut [Receipt],
) -> Result<(), Failure> {
    let mut wanted = BTreeMap::new();
    for (at, receipt) in receipts.iter().enumerate() {
        if let (Some(uid), Some(body)) = (receipt.uid, sent.get(&receipt.message)) {
            wanted.insert(uid, (at, body.clone()));
        }
    }
    let asked: Vec<(u32, u32)> =
        wanted.iter().map(|(uid, (_, body))| (*uid, u32::try_from(body.kept).unwrap_or(u32::MAX))).collect();
    if asked.is_empty() {
        return Ok(());
    }
    session.refresh().await?;
    let there = prints(session, &asked, Fingerprint::default).await?;
    for (uid, (at, body)) in wanted {
        let Some(theirs) = there.get(&u64::from(uid)) else { continue };
        let ours = on_disk(move || body.print(Fingerprint::default())).await?;
        if let Some(receipt) = receipts.get_mut(at) {
            receipt.altered = *theirs != ours;
        }
    }
    Ok(())
}

impl Open {
    /// Durable before anything of it is sent.
    pub(super) async fn intend(&self, batch: Vec<Print>) -> Result<(), Failure> {
        let intent = self.intent.clone();
        on_disk(move || intent.add(&batch)).await
    }

    /// What was intended last is there, or refused.
    pub(super) async fn answered(&self) -> Result<(), Failure> {
        let intent = self.intent.clone();
        on_disk(move || intent.answered()).await
    }

    /// What other folders get, too; its UID is not known yet.
    fn shared(&self, batch: &[Waiting], prints: &[Print]) -> BTreeMap<MessageRef, (u64, Sent)> {
        let sent = |(waiting, print): (&Waiting, &Print)| {
            let Placement { message, origin, flags, received, .. } = &waiting.placement;
            let MessageRef::Imap { uid, .. } = message else { return None };
            let sent = Sent {
                folder: self.name.clone(),
                uidvalidity: self.selected.uidvalidity,
                uid: 0,
                print: *print,
                flags: flags.clone(),
                received: *received,
            };
            self.shared.contains(*uid).then_some((*message, (origin.folder, sent)))
        };
        batch.iter().zip(prints).filter_map(sent).collect()
    }

    /// Of those, what is there as it was sent can be copied.
    fn remember(&self, sends: &Sends, mut shared: BTreeMap<MessageRef, (u64, Sent)>, receipts: &[Receipt]) {
        for receipt in receipts.iter().filter(|receipt| !receipt.adopted && !receipt.altered) {
            if let (Some((folder, sent)), Some(uid)) = (shared.remove(&receipt.message), receipt.uid) {
                sends.remember(folder, receipt.message, Sent { uid, ..sent });
            }
        }
    }

    /// What is there already needs not be sent.
    async fn recognise(
        &mut self,
        session: &mut Session<Parcel>,
        batch: Vec<Waiting>,
    ) -> Result<(Vec<Waiting>, Vec<Receipt>), Failure> {
        let sizes: Vec<u64> =
            batch.iter().map(|w| w.body.kept).filter(|octets| self.likes.may_hold(*octets)).collect();
        if sizes.is_empty() {
            return Ok((batch, Vec::new()));
        }
        self.likes.read(session, sizes.into_iter()).await?;
        let (mut rest, mut receipts) = (Vec::new(), Vec::new());
        for waiting in batch {
            let octets = waiting.body.kept;
            let found = match self.likes.may_hold(octets) {
                true => self.likes.take(octets, print(&waiting, forgiving(session)).await?),
                false => None,
            };
            match found {
                Some(found) => receipts.push(Receipt {
                    adopted: found.before,
                    uid: Some(found.uid),
                    ..Receipt::landed(waiting.placement.message, waiting.body.octets)
                }),
                None => rest.push(waiting),
            }
        }
        Ok((rest, receipts))
    }
}

async fn prints_of(batch: &[Waiting], fresh: fn() -> Fingerprint) -> Result<Vec<Print>, Failure> {
    let bodies: Vec<Body> = batch.iter().map(|waiting| waiting.body.clone()).collect();
    on_disk(move || bodies.iter().map(|body| body.print(fresh())).collect()).await
}

pub(super) async fn print(waiting: &Waiting, fresh: fn() -> Fingerprint) -> Result<Print, Failure> {
    let body = waiting.body.clone();
    on_disk(move || body.print(fresh())).await
}

/// Runs what may wait for the disk on a thread of its own.
pub(super) async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, Failure> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(io::Error::other).and_then(|done| done).map_err(|e| {
        Failure::new(Kind::Destination, format!("the spool cannot be used: {e}"), "it is tried again")
    })
}

pub(super) fn lost() -> Failure {
    Failure::new(Kind::Destination, "an answer is missing", "it is tried again")
}
