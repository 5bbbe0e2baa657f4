//! Carries batches from the spool to the LMTP server, one message after the other over one connection, which
//! is made anew when it breaks. A message over which three connections broke is given up; a server that takes
//! nothing now is left alone until the next run. It refuses to keep a message in memory.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::trail::{Strikes, Trail};
use super::{Connection, Delivery, at_home};
use crate::destination::landing::{Landing, Opened, Opening, Receipt};
use crate::destination::maildir::FileName;
use crate::destination::received::LONGEST_HEAD;
use crate::destination::spool::{self, Body, Errand, Waiting};
use crate::failure::{Failure, Kind};
use crate::lmtp::{Begun, DELIVERY, Envelope, Session, Verdict};
use crate::message::MessageRef;

/// Connections in a row that bring nothing.
const TRIES: u32 = 5;
/// Before the first of them; each waits twice as long.
const PAUSE: Duration = Duration::from_millis(100);
/// A message is given up after so many broken connections.
const STRIKES: u32 = 3;
/// After so many messages in a row that are not taken now, the rest of the batch is not tried.
const IN_A_ROW: u32 = 3;
/// Before each further look at messages that were not taken, where the server takes others.
const LOOKS: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(3), Duration::from_secs(8)];
/// So many messages of a batch may be to blame themselves; where it is more, the server is.
const FEW: usize = 3;
/// A batch is begun at so many places before a server that takes nothing of it is believed.
const ENDS: u32 = 2;
/// Whoever stops waits so long for the answer to the message that is on its way.
const GRACE: Duration = Duration::from_secs(4);
/// The answer to a message is waited for so long where the server answered others sooner; three times as long as those took,
/// if that is longer.
const QUICK: Duration = Duration::from_secs(60);
/// The same where it has answered none yet.
const FIRST: Duration = Duration::from_secs(90);
/// A message is read in pieces of this size.
const PIECE: usize = 32 * 1024;

/// Starts a landing; messages wait in `spool`, a directory. Whoever must know that nothing is being sent any
/// more waits for `landings`.
pub fn land(to: Arc<Delivery>, spool: PathBuf, landings: &TaskTracker) -> Landing {
    let mut carrier = Carrier {
        to,
        spool: spool.clone(),
        connection: None,
        trail: Trail::default(),
        later: 0,
        put_off: None,
        unwritten: None,
        spoilt: false,
        taken: 0,
        polled: false,
        put_aside: Vec::new(),
        leaving: Arc::default(),
        slowest: None,
        silent: BTreeMap::new(),
        silences: 0,
    };
    let sent = |_: &FileName| None;
    spool::land(spool, landings, sent, |work, fate| async move {
        let carried = carrier.carry(work).await;
        match (carried, carrier.connection.take()) {
            (Ok(()), Some(connection)) => connection.session.close().await,
            (Ok(()), None) => {}
            // In the middle of something nobody says goodbye.
            (Err(failure), _) => fate.is(failure),
        }
    })
}

/// Of a message whose answer did not come in time.
const SILENT: &str =
    "the LMTP server did not answer after its end was sent, and answers to others: it may be there";

struct Carrier {
    to: Arc<Delivery>,
    spool: PathBuf,
    connection: Option<Connection>,
    trail: Trail,
    /// So many messages in a row were not taken now.
    later: u32,
    /// Why.
    put_off: Option<String>,
    /// An answer could not be written down.
    unwritten: Option<Failure>,
    /// Nor may anything be sent any more.
    spoilt: bool,
    /// Messages that the server took.
    taken: u64,
    /// It is a poll's: what was refused is not asked for again by itself.
    polled: bool,
    /// Messages of the batch that were not taken now.
    put_aside: Vec<Next>,
    /// Nobody waits for the rest of the batch any more.
    leaving: Arc<AtomicBool>,
    /// The longest that the server needed for an answer to a message.
    slowest: Option<Duration>,
    /// Messages over which it fell silent, and how many it had taken then.
    silent: BTreeMap<MessageRef, u64>,
    /// So often in a row it did.
    silences: u32,
}

/// A message that is next, and what it is like.
struct Next {
    waiting: Waiting,
    envelope: Envelope,
    /// Why it was not taken, the last time.
    words: String,
    /// How many messages the server had taken when it did not take this one first; `None`: it was not asked.
    since: Option<u64>,
}

impl Carrier {
    async fn carry(&mut self, mut work: mpsc::Receiver<Errand>) -> Result<(), Failure> {
        loop {
            let errand = match work.try_recv() {
                Ok(errand) => errand,
                Err(_) => {
                    // Others may want the connection while the source is slow.
                    if let Some(connection) = self.connection.take() {
                        connection.session.close().await;
                    }
                    let Some(errand) = work.recv().await else { return Ok(()) };
                    errand
                }
            };
            match errand {
                Errand::Open(opening, reply) => {
                    let opened = self.open(*opening).await?;
                    let _ = reply.send(Ok(opened));
                }
                Errand::Batch(batch, mut reply) => {
                    if let Some(words) = self.put_off.take().filter(|_| self.later >= IN_A_ROW) {
                        // The source need not give more of what nobody takes.
                        let words = format!("the destination takes nothing now: {words}");
                        return Err(Failure::new(Kind::Destination, words, "it is tried again"));
                    }
                    let leaving = Arc::clone(&self.leaving);
                    let left = async {
                        reply.closed().await;
                        leaving.store(true, Relaxed);
                        tokio::time::sleep(GRACE).await;
                    };
                    let receipts = tokio::select! {
                        receipts = self.batch(batch.waiting) => receipts.map_err(at_home)?,
                        () = left => return Err(stopped()),
                    };
                    let _ = reply.send(receipts);
                }
            }
        }
    }

    /// What the server took, and nobody recorded, counts as being there.
    async fn open(&mut self, opening: Opening) -> Result<Opened, Failure> {
        let (spool, origin, recorded) = (self.spool.clone(), opening.origin, opening.look.is_none());
        // Only a poll's folders are subscribed as they come.
        self.polled = opening.subscribe;
        self.trail = on_disk(move || Trail::read(&spool, origin, recorded)).await?;
        Ok(Opened { holds: self.trail.taken(), ..Opened::default() })
    }

    async fn batch(&mut self, batch: Vec<Waiting>) -> Result<Vec<Receipt>, Failure> {
        let mut queue = VecDeque::with_capacity(batch.len());
        for waiting in batch {
            let body = waiting.body.clone();
            let utf8 = on_disk(move || has_utf8_header(&body)).await?;
            let (recipient, octets) = (self.to.recipient.clone(), waiting.body.octets);
            let envelope = Envelope { recipient, octets, utf8 };
            queue.push_back(Next { waiting, envelope, words: String::new(), since: None });
        }
        self.trailed(Trail::batch).await?;
        // What broke a connection before is tried when all else is there.
        let order = queue.make_contiguous();
        order.sort_by_key(|next| self.trail.strikes(next.waiting.placement.message).sum());
        let (mut receipts, before) = (Vec::with_capacity(queue.len()), self.taken);
        self.deliver_all(&mut queue, &mut receipts).await?;
        if !self.polled {
            self.look_again(&mut queue, &mut receipts, before).await?;
        }
        let few = self.put_aside.len() <= FEW && self.taken > before;
        for next in std::mem::take(&mut self.put_aside) {
            let strikes = self.trail.strikes(next.waiting.placement.message);
            let proven = next.since.is_some_and(|since| self.taken > since || few);
            let receipt = self.receipt(&next.waiting, Verdict::Later(next.words), strikes);
            // Of a migration: it is the message where others are taken around it. A poll has its next run.
            receipts.push(Receipt { later: self.polled || !proven, ..receipt });
        }
        Ok(receipts)
    }

    /// What was not taken is asked for again: what comes behind a row of them, and then the few alone, some seconds
    /// apart.
    async fn look_again(
        &mut self,
        queue: &mut VecDeque<Next>,
        receipts: &mut Vec<Receipt>,
        before: u64,
    ) -> Result<(), Failure> {
        let mut in_vain = 0;
        while !self.spoilt && in_vain < ENDS && self.put_aside.iter().any(|next| next.since.is_none()) {
            let taken = self.taken;
            let (mut unasked, asked): (Vec<_>, Vec<_>) =
                self.put_aside.drain(..).partition(|next| next.since.is_none());
            self.put_aside = asked;
            self.later = 0;
            let half = unasked.len() / 2;
            // A row that is not taken does not speak for the other end, nor for the middle.
            match in_vain {
                0 => unasked.reverse(),
                _ => unasked.rotate_left(half),
            }
            queue.extend(unasked);
            self.deliver_all(queue, receipts).await?;
            in_vain = if self.taken == taken { in_vain + 1 } else { 0 };
        }
        for pause in LOOKS {
            let some = (1..=FEW).contains(&self.put_aside.len());
            if self.spoilt || !some || self.taken == before || self.leaves_within(pause).await {
                break;
            }
            self.later = 0;
            queue.extend(self.put_aside.drain(..));
            self.deliver_all(queue, receipts).await?;
        }
        let few = self.put_aside.len() <= FEW && self.taken > before;
        let proven = |next: &Next| next.since.is_some_and(|since| self.taken > since);
        if !self.spoilt && (few || self.put_aside.iter().all(proven)) {
            // It takes others: what comes next is sent.
            (self.later, self.put_off) = (0, None);
        }
        Ok(())
    }

    /// Waits; `true`: nobody waits for the rest of the batch any more.
    async fn leaves_within(&self, pause: Duration) -> bool {
        const STEP: Duration = Duration::from_millis(100);
        let mut left = pause;
        while !left.is_zero() && !self.leaving.load(Relaxed) {
            tokio::time::sleep(STEP.min(left)).await;
            left = left.saturating_sub(STEP);
        }
        self.leaving.load(Relaxed)
    }

    /// Delivers the queue over as many connections as it takes.
    async fn deliver_all(
        &mut self,
        queue: &mut VecDeque<Next>,
        receipts: &mut Vec<Receipt>,
    ) -> Result<(), Failure> {
        let mut tries = 0;
        while !queue.is_empty() {
            let before = queue.len();
            // A server that has taken nothing yet may be to blame for every break.
            let most = if self.taken > 0 { TRIES } else { TRIES.min(u32::try_from(before).unwrap_or(TRIES)) };
            let failure = match self.deliver(queue, receipts).await {
                Ok(()) => break,
                Err(failure) if may_pass(&failure) && tries < most => failure,
                // The others first, over another connection; twice in a row, and it is the server.
                Err(failure) if failure.kind == Kind::Stalled && self.silences == 1 => failure,
                Err(failure) => return Err(failure),
            };
            tries = if queue.len() < before { 0 } else { tries + 1 };
            tracing::debug!("the connection to the LMTP server is made anew: {failure}");
            tokio::time::sleep(PAUSE * (1 << tries)).await;
        }
        Ok(())
    }

    /// Delivers from the front of the queue until it is empty or the connection breaks.
    async fn deliver(
        &mut self,
        queue: &mut VecDeque<Next>,
        receipts: &mut Vec<Receipt>,
    ) -> Result<(), Failure> {
        while let Some(next) = queue.front() {
            if self.leaving.load(Relaxed) {
                return Err(stopped());
            }
            let message = next.waiting.placement.message;
            let strikes = self.trail.strikes(message);
            let verdict = if self.later >= IN_A_ROW {
                let why = self.put_off.as_deref().unwrap_or_default();
                Verdict::Later(format!("it was not tried after those before it: {why}"))
            } else if self.gives_up(strikes) {
                // What may be there so often is left alone by each further start; a poll has it on record.
                if self.polled || (strikes.doubted < STRIKES && !strikes.silent) {
                    self.trailed(move |trail| trail.answered(message, false)).await?;
                }
                Verdict::Refused(given_up(strikes))
            } else if let Some(taken) = self.silent.get(&message).copied() {
                self.prove_life(taken).await?;
                self.trailed(move |trail| trail.fell_silent(message)).await?;
                Verdict::Refused(SILENT.to_owned())
            } else {
                match self.hand_over(queue).await {
                    Ok(verdict) => verdict,
                    Err(failure) => {
                        if self.trail.strikes(message) != strikes {
                            queue.rotate_left(1);
                        }
                        return Err(failure);
                    }
                }
            };
            match &verdict {
                Verdict::Later(words) if self.put_off.is_none() => self.put_off = Some(words.clone()),
                Verdict::Later(_) => {}
                _ => self.put_off = None,
            }
            let since = self.taken;
            self.taken += u64::from(verdict == Verdict::Taken);
            let asked = self.later < IN_A_ROW;
            self.later = if matches!(verdict, Verdict::Later(_)) { self.later + 1 } else { 0 };
            if let Some(failure) = self.unwritten.take() {
                // What was taken is told, so that it is recorded; nothing more is sent.
                (self.later, self.put_off) = (IN_A_ROW, Some(failure.words));
                self.spoilt = true;
            }
            match (queue.pop_front(), verdict) {
                (Some(next), Verdict::Later(words)) => {
                    let since = next.since.or(asked.then_some(since));
                    self.put_aside.push(Next { words, since, ..next });
                }
                (Some(next), verdict) => receipts.push(self.receipt(&next.waiting, verdict, strikes)),
                (None, _) => {}
            }
        }
        Ok(())
    }

    /// A message over which connections broke, while the server took others, is to blame; and one that may be
    /// there so often already is not sent again.
    fn gives_up(&self, strikes: Strikes) -> bool {
        strikes.silent
            || strikes.doubted >= STRIKES
            || (strikes.sum() >= STRIKES && self.taken > 0)
            || strikes.sum() >= 3 * STRIKES
    }

    /// Hands the message at the front over. The one behind it may be announced along with its end.
    async fn hand_over(&mut self, queue: &VecDeque<Next>) -> Result<Verdict, Failure> {
        if self.connection.as_ref().is_none_or(|connection| connection.session.is_over()) {
            self.connection = None;
            self.connection = Some(self.to.connect().await?);
        }
        let Some(Connection { session, .. }) = &mut self.connection else { return Err(lost()) };
        let Some(Next { waiting, envelope, .. }) = queue.front() else { return Err(lost()) };
        let message = waiting.placement.message;
        match session.begin(envelope).await? {
            Begun::No(verdict) => return Ok(verdict),
            Begun::Go => {}
        }
        if let Err(failure) = send(session, &waiting.body).await {
            if may_pass(&failure) || failure.kind == Kind::Stalled {
                self.trailed(move |trail| trail.broke(message)).await?;
            }
            return Err(failure);
        }
        self.trailed(move |trail| trail.ending(message)).await?;
        let behind = queue.get(1).filter(|next| {
            let strikes = self.trail.strikes(next.waiting.placement.message);
            !self.leaving.load(Relaxed) && self.later + 1 < IN_A_ROW && strikes.sum() == 0
        });
        let (began, patience) = (Instant::now(), self.patience());
        let Some(Connection { session, .. }) = &mut self.connection else { return Err(lost()) };
        let verdict = match session.end(behind.map(|next| &next.envelope), patience).await {
            Err(failure) if failure.kind == Kind::Stalled => {
                self.silences += 1;
                self.silent.insert(message, self.taken);
                return Err(failure);
            }
            verdict => verdict?,
        };
        self.silences = 0;
        self.slowest = self.slowest.max(Some(began.elapsed()));
        let taken = verdict == Verdict::Taken;
        self.unwritten = self.trailed(move |trail| trail.answered(message, taken)).await.err();
        Ok(verdict)
    }

    /// How long the answer to a message is waited for.
    fn patience(&self) -> Duration {
        match self.slowest {
            Some(slowest) => QUICK.max(3 * slowest).min(DELIVERY),
            None if self.silences == 0 => FIRST,
            None => DELIVERY,
        }
    }

    /// It fell silent when it had `taken` so many messages: it took others since, or took some before and lets us in again.
    async fn prove_life(&mut self, taken: u64) -> Result<(), Failure> {
        if self.taken > taken {
            return Ok(());
        }
        if taken == 0 {
            self.silences += 1;
            return Err(Failure::new(Kind::Stalled, "the LMTP server does not answer", "it is tried again"));
        }
        self.connection = None;
        self.connection = Some(self.to.connect().await?);
        Ok(())
    }

    fn receipt(&self, waiting: &Waiting, verdict: Verdict, strikes: Strikes) -> Receipt {
        let landed = Receipt::landed(waiting.placement.message, waiting.body.octets);
        let mut receipt = Receipt { head: Some(waiting.body.head), ..landed };
        match verdict {
            Verdict::Taken => receipt.twice = strikes.doubted > 0,
            Verdict::Later(words) => {
                receipt.refused = Some(words);
                receipt.later = true;
            }
            Verdict::Refused(words) => {
                receipt.refused = Some(words);
                // What a migration lacks has failed, and whoever starts it again asks for it again.
                receipt.for_good = self.polled;
            }
            Verdict::TooMuch(words) => {
                receipt.refused = Some(words);
                receipt.over_limit = true;
                receipt.for_good = self.polled;
            }
        }
        receipt
    }

    /// Something is written down.
    async fn trailed(
        &mut self,
        write: impl FnOnce(&mut Trail) -> io::Result<()> + Send + 'static,
    ) -> Result<(), Failure> {
        let mut trail = std::mem::take(&mut self.trail);
        let (trail, written) = on_disk(move || {
            let written = write(&mut trail);
            Ok((trail, written))
        })
        .await?;
        self.trail = trail;
        written.map_err(|e| spoiled(&e))
    }
}

async fn send(session: &mut Session, body: &Body) -> Result<(), Failure> {
    let mut done = 0;
    while done < body.octets {
        let (body, at) = (body.clone(), done);
        let piece = on_disk(move || read(&body, at, PIECE)).await?;
        done += piece.len() as u64;
        session.body(&piece).await?;
    }
    Ok(())
}

/// At most so many octets of a message, from `at` on.
fn read(body: &Body, at: u64, most: usize) -> io::Result<Vec<u8>> {
    let left = usize::try_from(body.octets.saturating_sub(at)).unwrap_or(usize::MAX);
    let mut piece = vec![0; left.min(most)];
    body.file.read_exact_at(&mut piece, body.offset + at)?;
    Ok(piece)
}

fn has_utf8_header(body: &Body) -> io::Result<bool> {
    let start = read(body, 0, LONGEST_HEAD)?;
    let mut end = start.len();
    for mark in [&b"\n\r\n"[..], b"\n\n"] {
        end = end.min(memchr::memmem::find(&start, mark).unwrap_or(end));
    }
    Ok(!start.get(..end).unwrap_or_default().is_ascii())
}

fn given_up(strikes: Strikes) -> String {
    if strikes.silent {
        return SILENT.to_owned();
    }
    let count = strikes.sum();
    let words = format!("the connection to the LMTP server broke {count} times over it");
    match strikes.doubted {
        0 => words,
        1 => format!("{words}, once after its end was sent: it may be there"),
        times => {
            format!("{words}, {times} times after its end was sent: it may be there, even {times} times")
        }
    }
}

/// Whether another connection may do better.
fn may_pass(failure: &Failure) -> bool {
    use Kind::{Disconnected, Protocol, Unavailable, Unreachable};
    matches!(failure.kind, Disconnected | Protocol | Unavailable | Unreachable)
}

/// Runs what may wait for the disk on a thread of its own.
async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, Failure> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(io::Error::other).and_then(|done| done).map_err(|e| spoiled(&e))
}

fn spoiled(error: &io::Error) -> Failure {
    Failure::new(Kind::Destination, format!("the spool cannot be used: {error}"), "it is tried again")
}

fn stopped() -> Failure {
    Failure::new(Kind::Stopped, "it was stopped", "")
}

fn lost() -> Failure {
    Failure::new(Kind::Destination, "an answer is missing", "it is tried again")
}
