//! Where messages land: a source sends parcels, the engine names what is complete and orders the commit of a
//! batch, and hears of each message what became of it. Who carries it out, a thread with a Maildir or a
//! connection to a server, is the destination's affair. Orders come over a bounded channel, so a slow
//! destination slows the source and memory stays small. It refuses to go on after a failure: the batch is
//! dropped.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use tokio::sync::{mpsc, oneshot};

use super::maildir::{FileName, Origin, Orphans};
use super::server::Strays;
use super::sorting::Sorting;
use crate::failure::{Failure, Kind};
use crate::message::{Flags, MessageRef, Parcel, UidSet};

/// Orders that wait; with parcels of at most 64 KiB this bounds the memory of one landing to 4 MiB.
const ORDERS: usize = 64;

/// What a landing is told.
#[derive(Debug)]
pub enum Order {
    /// More of a message.
    Parcel(Parcel),
    /// Opens the folder that placements go to from now on.
    Open(Box<Opening>, oneshot::Sender<Result<Opened, Failure>>),
    /// Takes a message that is in the mailbox for a complete one: by a second name of its file, or as one that
    /// the server copies by itself.
    Copy {
        /// Its number from now on.
        piece: u64,
        /// The directory that it is in.
        directory: String,
        /// What the name of its file says.
        from: FileName,
        /// Whether it is there.
        reply: oneshot::Sender<bool>,
    },
    /// Names a complete message.
    Place(Box<Placement>),
    /// Drops a complete message.
    Drop(u64),
    /// Publishes everything placed since the last commit.
    Commit(oneshot::Sender<Vec<Receipt>>),
}

impl From<Parcel> for Order {
    fn from(parcel: Parcel) -> Self {
        Order::Parcel(parcel)
    }
}

/// A folder that is to be opened.
#[derive(Debug)]
pub struct Opening {
    /// Its name at the destination: a directory (empty for the inbox), or a server's own name.
    pub directory: String,
    /// Whose messages are looked for.
    pub origin: Origin,
    /// Whether to look which of them are here already: then what is recorded as found under other names, with
    /// its size on the wire.
    pub look: Option<Vec<(MessageRef, u64)>>,
    /// Only this folder is looked at: the same message in another folder of the mailbox is another one.
    pub only_here: bool,
    /// What may go again.
    pub unsettled: Unsettled,
    /// Copies whose message the source has elsewhere now.
    pub orphans: Option<Arc<Orphans>>,
    /// The same at a server.
    pub strays: Option<Arc<Strays>>,
    /// What is known of the folder at a server.
    pub there: There,
    /// The special use that it is made for, without the backslash.
    pub special: Option<String>,
    /// It is subscribed if it is new: whoever is stopped before its first message finds it new again.
    pub subscribe: bool,
    /// The member's rules, which may put a message into another folder.
    pub sorting: Option<Arc<Sorting>>,
    /// UIDs at the source of messages that other folders get, too.
    pub shared: UidSet,
}

impl Opening {
    /// The folder `directory` for the messages of `origin`, with nothing known.
    pub fn new(directory: &str, origin: Origin) -> Opening {
        Opening {
            directory: directory.to_owned(),
            origin,
            look: None,
            only_here: false,
            unsettled: Unsettled::default(),
            orphans: None,
            strays: None,
            there: There::default(),
            special: None,
            sorting: None,
            shared: UidSet::new(),
            subscribe: false,
        }
    }
}

/// What other accounts of the member brought in runs that may still be undone: nobody takes it for what comes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unsettled {
    /// The hashes of their names, as they are in names of files.
    pub accounts: BTreeSet<u64>,
    /// The same in a folder of a server.
    pub there: Vec<Theirs>,
    /// A copy that is marked as deleted counts as such, too: the original is to be deleted.
    pub deleted: bool,
}

/// What one of them brought to a folder of a server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Theirs {
    /// The UIDVALIDITY that this belongs to.
    pub uidvalidity: u32,
    /// What is recorded.
    pub uids: UidSet,
    /// From this UID on there may be what is not recorded; 0: there is none.
    pub floor: u32,
}

impl Unsettled {
    /// Whether a message of a folder at a server may be one of those.
    pub fn may_hold(&self, uidvalidity: u32, uid: u32) -> bool {
        self.there
            .iter()
            .filter(|theirs| theirs.uidvalidity == uidvalidity)
            .any(|theirs| theirs.uids.contains(uid) || (theirs.floor > 0 && uid >= theirs.floor))
    }
}

/// What is known of our messages in a folder of a server, which knows them by UIDs alone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct There {
    /// Its UIDVALIDITY; 0: nothing is known.
    pub uidvalidity: u32,
    /// From this UID on, what is ours may be there without being recorded.
    pub floor: u32,
    /// What is recorded: brought, or found there.
    pub recorded: UidSet,
    /// What is recorded may be found once more, for the source may have other names for it now: of messages of
    /// each size all but so many.
    pub kept: Option<BTreeMap<u64, usize>>,
}

/// The answer to [`Order::Open`].
#[derive(Debug, Default)]
pub struct Opened {
    /// The keyword letters that are taken, bit by bit.
    pub letters: u32,
    /// Messages of the origin that are here already.
    pub holds: BTreeSet<MessageRef>,
    /// At a server: UIDVALIDITY, and the UID that comes next.
    pub there: Option<(u32, u32)>,
}

/// What becomes of one complete message.
#[derive(Debug)]
pub struct Placement {
    /// The number that its [`Parcel::Begin`] had.
    pub piece: u64,
    /// The account and folder that it came from.
    pub origin: Origin,
    /// Which message there.
    pub message: MessageRef,
    /// Its size as the source announced it, octets; `None`: it did not.
    pub announced: Option<u64>,
    /// Its flags.
    pub flags: Flags,
    /// Its arrival in seconds since 1970; `None`: read it from the headers, else it is now.
    pub received: Option<i64>,
}

/// A message is durable at the destination, or will never be.
#[derive(Debug)]
pub struct Receipt {
    /// Which message.
    pub message: MessageRef,
    /// Its size on the wire, octets.
    pub octets: u64,
    /// Flags and keywords that the folder cannot carry.
    pub keywords_left: Vec<String>,
    /// Some of those others have: it came without, and the destination said why.
    pub flags_refused: Option<String>,
    /// The same octets were here before, under another name: nothing was added.
    pub adopted: bool,
    /// The destination does not take this message: why, in words.
    pub refused: Option<String>,
    /// That is so for now: the next run tries again.
    pub later: bool,
    /// That stays so: no run tries again by itself.
    pub for_good: bool,
    /// It is above a limit of the destination.
    pub over_limit: bool,
    /// The mailbox takes nothing more: the run ends here, and this message is not to blame.
    pub full: bool,
    /// It was sent before, and that answer was lost: it may be there twice.
    pub twice: bool,
    /// It came without a judgement on spam: why.
    pub unjudged: Option<String>,
    /// It is spam, and in the folder for that.
    pub junk: bool,
    /// Its UID at a server.
    pub uid: Option<u32>,
    /// The server stored other octets than it was given.
    pub altered: bool,
    /// It has another date there than it was given.
    pub redated: bool,
    /// How it begins; `None`: it did not come over the wire.
    pub head: Option<u64>,
}

impl Receipt {
    /// Of one that the destination does not take: whether it is left out, and no part of the work has failed.
    pub fn is_left_out(&self) -> bool {
        self.over_limit
    }

    /// What became of messages before the mailbox was full, and what was said then.
    pub fn until_full(receipts: Vec<Receipt>) -> (Vec<Receipt>, Option<Failure>) {
        let (full, receipts): (Vec<_>, Vec<_>) = receipts.into_iter().partition(|receipt| receipt.full);
        let words = full.into_iter().next().map(|receipt| receipt.refused.unwrap_or_default());
        (receipts, words.map(|words| Failure::new(Kind::Full, words, "make space, or raise its quota")))
    }

    /// It is there.
    pub fn landed(message: MessageRef, octets: u64) -> Receipt {
        Receipt {
            message,
            octets,
            keywords_left: Vec::new(),
            flags_refused: None,
            adopted: false,
            refused: None,
            later: false,
            for_good: false,
            over_limit: false,
            full: false,
            twice: false,
            unjudged: None,
            junk: false,
            uid: None,
            altered: false,
            redated: false,
            head: None,
        }
    }
}

/// The handle of a landing. Dropping it ends the thread; what was not committed is forgotten.
#[derive(Debug)]
pub struct Landing {
    orders: mpsc::Sender<Order>,
    fate: Fate,
}

/// Why a landing stopped.
#[derive(Debug, Clone, Default)]
pub(super) struct Fate(Arc<Mutex<Option<Failure>>>);

impl Fate {
    /// The work ended with that.
    pub(super) fn is(&self, failure: Failure) {
        if let Ok(mut fate) = self.0.lock() {
            fate.get_or_insert(failure);
        }
    }
}

impl Landing {
    /// The handle; whoever carries orders out takes them from the receiver, and leaves the failure that ended
    /// the work before it drops the receiver.
    pub(super) fn prepare() -> (Landing, mpsc::Receiver<Order>, Fate) {
        let (orders, inbox) = mpsc::channel(ORDERS);
        let fate = Fate::default();
        (Landing { orders, fate: fate.clone() }, inbox, fate)
    }

    /// Where a source sends its parcels.
    pub fn orders(&self) -> &mpsc::Sender<Order> {
        &self.orders
    }

    /// Opens a folder; see [`Order::Open`].
    ///
    /// # Errors
    /// [`Kind::Folder`] if this folder cannot be opened, else what stopped the landing.
    pub async fn open(&self, opening: Opening) -> Result<Opened, Failure> {
        let (reply, answer) = oneshot::channel();
        self.send(Order::Open(Box::new(opening), reply)).await?;
        match answer.await {
            Ok(opened) => opened,
            Err(_) => Err(self.failure().await),
        }
    }

    /// Takes a message that is in the mailbox for a complete one; `false`: it is not there.
    ///
    /// # Errors
    /// What stopped the landing.
    pub async fn copy(&self, piece: u64, directory: &str, from: FileName) -> Result<bool, Failure> {
        let (reply, answer) = oneshot::channel();
        self.send(Order::Copy { piece, directory: directory.to_owned(), from, reply }).await?;
        match answer.await {
            Ok(there) => Ok(there),
            Err(_) => Err(self.failure().await),
        }
    }

    /// Names a complete message.
    ///
    /// # Errors
    /// What stopped the landing.
    pub async fn place(&self, placement: Placement) -> Result<(), Failure> {
        self.send(Order::Place(Box::new(placement))).await
    }

    /// Drops a complete message.
    ///
    /// # Errors
    /// What stopped the landing.
    pub async fn discard(&self, piece: u64) -> Result<(), Failure> {
        self.send(Order::Drop(piece)).await
    }

    /// Orders a commit; the answer may be awaited later, with [`Landing::settled`].
    ///
    /// # Errors
    /// What stopped the landing.
    pub async fn commit(&self) -> Result<oneshot::Receiver<Vec<Receipt>>, Failure> {
        let (reply, answer) = oneshot::channel();
        self.send(Order::Commit(reply)).await?;
        Ok(answer)
    }

    /// Waits for a commit.
    ///
    /// # Errors
    /// What stopped the landing: nothing of the batch may be taken for durable.
    pub async fn settled(&self, answer: oneshot::Receiver<Vec<Receipt>>) -> Result<Vec<Receipt>, Failure> {
        match answer.await {
            Ok(receipts) => Ok(receipts),
            Err(_) => Err(self.failure().await),
        }
    }

    async fn send(&self, order: Order) -> Result<(), Failure> {
        match self.orders.send(order).await {
            Ok(()) => Ok(()),
            Err(_) => Err(self.failure().await),
        }
    }

    /// Why the landing stopped.
    pub async fn failure(&self) -> Failure {
        // The end of the channel may be dropped just before the fate is told.
        for _ in 0..500 {
            if let Ok(fate) = self.fate.0.lock()
                && let Some(failure) = fate.clone()
            {
                return failure;
            }
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
        Failure::new(
            Kind::Destination,
            "the delivery stopped without a word",
            "look at the log; it is tried again",
        )
    }
}
