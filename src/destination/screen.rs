//! What stands before a landing: each message waits in a file until it was judged, several at once, and goes
//! on to the landing that was meant, or as spam to one of its own, the folder for that. It takes the same orders
//! as any landing. It refuses to let a message pass whose judgement is due, unless it was told to.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_util::task::TaskTracker;

use super::Home;
use super::landing::{Fate, Landing, Opened, Opening, Order, Placement, Receipt, Unsettled};
use super::maildir::{Origin, Orphans};
use super::spool::{Body, Spool, trouble};
use crate::failure::{Failure, Kind};
use crate::message::Parcel;
use crate::settings::WhenAway;
use crate::spam::{Judge, Judgement, Letter};

/// Judgements that may be waited for at once.
const AT_ONCE: usize = 8;
/// After so many failures in a row nobody is asked any more.
const IN_A_ROW: u32 = 3;
/// A message goes on in pieces of this size.
const PIECE: usize = 64 << 10;
/// As IANA's registry of keywords has it (RFC 5788).
const KEYWORD: &str = "$Junk";

/// Where spam goes.
#[derive(Debug)]
pub struct Junk {
    /// The mailbox.
    pub home: Home,
    /// Whose messages are brought.
    pub account: u64,
    /// Its folder, where none has that special use.
    pub folder: Vec<String>,
}

/// Puts a judge before `main`. Messages wait in `spool`, a directory. Whoever must know that nothing is being
/// written any more waits for `landings`.
pub fn screen(main: Landing, judge: Judge, junk: Junk, spool: PathBuf, landings: &TaskTracker) -> Landing {
    let (landing, inbox, fate) = Landing::prepare();
    let tracker = landings.clone();
    landings.spawn(async move {
        let mut screen = Screen {
            main: Arc::new(main),
            judge: Arc::new(judge),
            place: junk,
            landings: tracker,
            junk: None,
            open: None,
            spool: Spool::new(spool),
            bodies: BTreeMap::new(),
            asking: JoinSet::new(),
            seen: BTreeMap::new(),
            placed: BTreeMap::new(),
            told: Told::default(),
            away: (0, String::new()),
            over: false,
            fate: Arc::new(fate),
        };
        if let Err(failure) = screen.work(inbox).await {
            screen.fate.is(failure);
        }
    });
    landing
}

/// What was found out of a message.
type Seen = Result<Judgement, String>;

/// What the receipts of the next commit have to say.
#[derive(Default)]
struct Told {
    /// Messages that were not let through.
    held: Vec<Receipt>,
    /// Those that passed without a judgement, and why.
    unjudged: BTreeMap<crate::message::MessageRef, String>,
}

/// What is open.
#[derive(Clone)]
struct Current {
    origin: Origin,
    orphans: Option<Arc<Orphans>>,
    unsettled: Unsettled,
    /// The folder for spam is open for it, too.
    with_junk: bool,
}

struct Screen {
    main: Arc<Landing>,
    judge: Arc<Judge>,
    place: Junk,
    landings: TaskTracker,
    /// Made when it is needed; the name of its folder.
    junk: Option<(Arc<Landing>, String)>,
    open: Option<Current>,
    spool: Spool,
    bodies: BTreeMap<u64, Body>,
    asking: JoinSet<(u64, Result<Judgement, Failure>)>,
    seen: BTreeMap<u64, Seen>,
    /// Named, and not judged yet.
    placed: BTreeMap<u64, Placement>,
    told: Told,
    /// So many judgements in a row failed, and why.
    away: (u32, String),
    /// A batch ended like that, and nothing shall pass.
    over: bool,
    fate: Arc<Fate>,
}

impl Screen {
    async fn work(&mut self, mut inbox: mpsc::Receiver<Order>) -> Result<(), Failure> {
        loop {
            tokio::select! {
                order = inbox.recv(), if self.asking.len() < AT_ONCE => match order {
                    Some(order) => self.obey(order).await?,
                    None => return Ok(()),
                },
                Some(judged) = self.asking.join_next(), if !self.asking.is_empty() => self.hear(judged).await?,
            }
        }
    }

    async fn obey(&mut self, order: Order) -> Result<(), Failure> {
        match order {
            Order::Parcel(Parcel::Begin(_)) if self.over => {
                // The source need not give more of what nobody judges.
                Err(Failure::new(Kind::Destination, self.away.1.clone(), "it is tried again"))
            }
            Order::Parcel(parcel) => self.take(parcel).await,
            Order::Place(placement) => {
                self.placed.insert(placement.piece, *placement);
                self.pass_on().await
            }
            Order::Drop(piece) => {
                self.bodies.remove(&piece);
                self.seen.remove(&piece);
                Ok(())
            }
            // It is among those that were judged when they came.
            Order::Copy { reply, .. } => {
                let _ = reply.send(false);
                Ok(())
            }
            Order::Open(opening, reply) => {
                self.wait_for_all().await?;
                let opened = match self.open(*opening).await {
                    Err(failure) if failure.kind != Kind::Folder => return Err(failure),
                    opened => opened,
                };
                let _ = reply.send(opened);
                Ok(())
            }
            Order::Commit(reply) => {
                self.wait_for_all().await?;
                self.commit(reply).await
            }
        }
    }

    async fn take(&mut self, parcel: Parcel) -> Result<(), Failure> {
        let mut spool = std::mem::take(&mut self.spool);
        let directory = spool.directory().to_owned();
        let taken = on_disk(move || spool.take(parcel).map(|()| spool)).await;
        self.spool = taken.map_err(|error| trouble(&directory, &error))?;
        let Some((piece, body)) = self.spool.whole() else { return Ok(()) };
        let letter = Letter { file: Arc::clone(&body.file), offset: body.offset, octets: body.octets };
        self.bodies.insert(piece, body);
        if self.away.0 >= IN_A_ROW {
            self.seen.insert(piece, Err(self.away.1.clone()));
            return Ok(());
        }
        let judge = Arc::clone(&self.judge);
        self.asking.spawn(async move { (piece, judge.judge(letter).await) });
        Ok(())
    }

    async fn hear(
        &mut self,
        judged: Result<(u64, Result<Judgement, Failure>), tokio::task::JoinError>,
    ) -> Result<(), Failure> {
        let (piece, judged) = judged.map_err(|e| {
            Failure::new(
                Kind::Destination,
                format!("a judgement ended unexpectedly: {e}"),
                "it is tried again",
            )
        })?;
        let seen = match judged {
            Ok(judgement) => {
                self.away = (0, String::new());
                Ok(judgement)
            }
            Err(failure) => {
                self.away = (self.away.0 + 1, failure.words.clone());
                Err(failure.words)
            }
        };
        if self.bodies.contains_key(&piece) {
            self.seen.insert(piece, seen);
        }
        self.pass_on().await
    }

    async fn wait_for_all(&mut self) -> Result<(), Failure> {
        while let Some(judged) = self.asking.join_next().await {
            self.hear(judged).await?;
        }
        self.pass_on().await
    }

    /// Whatever is named and judged goes on.
    async fn pass_on(&mut self) -> Result<(), Failure> {
        let ready: Vec<u64> =
            self.placed.keys().copied().filter(|piece| self.seen.contains_key(piece)).collect();
        for piece in ready {
            let (Some(placement), Some(seen), Some(body)) =
                (self.placed.remove(&piece), self.seen.remove(&piece), self.bodies.remove(&piece))
            else {
                return Err(Failure::new(Kind::Protocol, "a message was named that never came", ""));
            };
            match (seen, self.judge.settings().when_away) {
                (Ok(Judgement::Ham), _) => pass(&self.main, placement, &body).await?,
                (Ok(Judgement::Spam), _) => self.set_aside(placement, &body).await?,
                (Ok(Judgement::Unknown(words)), _) | (Err(words), WhenAway::Pass) => {
                    self.told.unjudged.insert(placement.message, words);
                    pass(&self.main, placement, &body).await?;
                }
                (Err(words), WhenAway::Delay) => self.told.held.push(Receipt {
                    refused: Some(words),
                    later: true,
                    ..Receipt::landed(placement.message, body.octets)
                }),
            }
        }
        Ok(())
    }

    async fn set_aside(&mut self, mut placement: Placement, body: &Body) -> Result<(), Failure> {
        self.open_junk(None).await?;
        placement.flags.keywords.push(KEYWORD.to_owned());
        placement.origin = self.origin_there(placement.origin);
        match &self.junk {
            Some((landing, _)) => pass(landing, placement, body).await,
            None => Err(Failure::new(Kind::Destination, "the folder for spam is not open", "")),
        }
    }

    async fn open(&mut self, opening: Opening) -> Result<Opened, Failure> {
        let (origin, look, orphans) = (opening.origin, opening.look.clone(), opening.orphans.clone());
        let unsettled = opening.unsettled.clone();
        let mut opened = self.main.open(opening).await?;
        self.open = Some(Current { origin, orphans, unsettled, with_junk: false });
        if let Some(look) = look {
            // What a run brought that was killed may be in either place.
            let there = self.open_junk(Some(look)).await?;
            opened.holds.extend(there);
        }
        Ok(opened)
    }

    /// Opens the folder for spam, if it is not open for this origin; with a `look` only if it is there. Says what
    /// it holds.
    async fn open_junk(
        &mut self,
        look: Option<Vec<(crate::message::MessageRef, u64)>>,
    ) -> Result<BTreeSet<crate::message::MessageRef>, Failure> {
        let Some(Current { origin, orphans, unsettled, with_junk: false }) = self.open.clone() else {
            return Ok(BTreeSet::new());
        };
        let name = match &self.junk {
            Some((_, name)) => name.clone(),
            None => self.place.home.junk(&self.place.folder).await?,
        };
        if look.is_some() && !self.place.home.missing([name.clone()].into()).await?.is_empty() {
            return Ok(BTreeSet::new());
        }
        let landing = match &self.junk {
            Some((landing, _)) => Arc::clone(landing),
            None => Arc::new(self.place.home.land(self.place.account, &self.landings)),
        };
        self.junk = Some((Arc::clone(&landing), name.clone()));
        let origin = self.origin_there(origin);
        let opening = Opening {
            look,
            orphans,
            unsettled,
            special: Some("Junk".to_owned()),
            subscribe: true,
            ..Opening::new(&name, origin)
        };
        let opened = landing.open(opening).await?;
        if let Some(current) = &mut self.open {
            current.with_junk = true;
        }
        Ok(opened.holds)
    }

    /// At a server, what is on its way is written down by origin: spam is another one there.
    fn origin_there(&self, origin: Origin) -> Origin {
        match self.place.home {
            Home::Server(..) => Origin { folder: !origin.folder, ..origin },
            _ => origin,
        }
    }

    async fn commit(&mut self, mut reply: oneshot::Sender<Vec<Receipt>>) -> Result<(), Failure> {
        self.spool.batch();
        self.over = self.away.0 >= IN_A_ROW && self.judge.settings().when_away == WhenAway::Delay;
        let main = (Arc::clone(&self.main), self.main.commit().await?);
        let junk = match &self.junk {
            Some((landing, _)) => Some((Arc::clone(landing), landing.commit().await?)),
            None => None,
        };
        let (told, fate) = (std::mem::take(&mut self.told), Arc::clone(&self.fate));
        self.landings.spawn(async move {
            let both = async {
                let mut receipts = main.0.settled(main.1).await?;
                for receipt in &mut receipts {
                    receipt.unjudged = told.unjudged.get(&receipt.message).cloned();
                }
                if let Some((landing, answer)) = junk {
                    let there = landing.settled(answer).await?;
                    // Its UIDs are those of another folder than the one that the caller knows.
                    receipts.extend(there.into_iter().map(|r| Receipt { uid: None, junk: !r.adopted, ..r }));
                }
                Ok(receipts)
            };
            let both = tokio::select! {
                both = both => both,
                // Nobody waits any more: whoever delivers shall know.
                () = reply.closed() => return,
            };
            match both {
                Ok(receipts) => {
                    let _ = reply.send(receipts.into_iter().chain(told.held).collect());
                }
                Err(failure) => fate.is(failure),
            }
        });
        Ok(())
    }
}

/// A message goes on.
async fn pass(landing: &Landing, placement: Placement, body: &Body) -> Result<(), Failure> {
    let piece = placement.piece;
    send(landing, Parcel::Begin(piece)).await?;
    let mut done = 0;
    while done < body.octets {
        let most = usize::try_from(body.octets - done).unwrap_or(PIECE).min(PIECE);
        let (file, at) = (Arc::clone(&body.file), body.offset + done);
        let read = on_disk(move || {
            let mut data = vec![0; most];
            file.read_exact_at(&mut data, at).map(|()| data)
        });
        let data = read.await.map_err(|e| {
            Failure::new(Kind::Destination, format!("the spool cannot be read: {e}"), "it is tried again")
        })?;
        done += data.len() as u64;
        send(landing, Parcel::Data(data)).await?;
    }
    send(landing, Parcel::End).await?;
    landing.place(placement).await
}

async fn send(landing: &Landing, parcel: Parcel) -> Result<(), Failure> {
    match landing.orders().send(Order::Parcel(parcel)).await {
        Ok(()) => Ok(()),
        Err(_) => Err(landing.failure().await),
    }
}

async fn on_disk<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}
