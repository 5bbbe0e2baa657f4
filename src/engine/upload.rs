//! Files into a member's mailbox. Each message is known by its octets: what is in its folder already, brought by an
//! upload or by anything else, is not brought again; in another folder it is another message, and two alike in one file
//! are two. It refuses to record progress: whoever uploads again after a break is asked to, and what came is recognised.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::path::PathBuf;

use ring::digest::{Context, SHA256};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::identity::Copies;
use super::unsettled::unsettled;
use super::{Means, blocking, make_private};
use crate::account::Member;
use crate::archive::{Bounds, Input, Letter, NoMail, Take, unpack};
use crate::destination::landing::{Landing, Opening, Order, Placement, Receipt};
use crate::destination::maildir::Origin;
use crate::destination::place::{Naming, place};
use crate::destination::{Home, nameless};
use crate::failure::{Failure, Kind};
use crate::journal::Journal;
use crate::message::{FolderPath, MessageRef, Parcel};

/// Messages of one batch, and their octets.
const BATCH: u64 = 400;
const BATCH_OCTETS: u64 = 32 << 20;
/// Folders that one upload may make or open.
const FOLDERS: usize = 5000;
/// Exceptions that are listed; all are counted.
const LISTED: usize = 1000;
/// Messages of one file that are remembered where the next file may go on in the same folder; if there are more, the
/// folder is looked at again.
const REMEMBERED: usize = 20_000;
/// Octets of a parcel.
const PIECE: usize = 64 * 1024;

/// What an upload came to, or has so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Uploaded {
    /// Messages brought.
    pub imported: u64,
    /// Messages that were there.
    pub already_there: u64,
    /// What may be mail and was left out.
    pub skipped: u64,
    /// Folders that something came into, or that a file says are there.
    pub folders: u64,
    /// What is no mail and was passed over, by kind.
    pub passed: BTreeMap<NoMail, u64>,
    /// Octets of the messages brought.
    pub bytes: u64,
    /// Files that could not be read to their end.
    pub broken: u64,
    /// What was left out, one by one, as far as it is listed.
    pub list: Vec<LeftOut>,
}

/// Something that was left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// The file, and where in it.
    pub what: String,
    /// Octets, where known.
    pub size: Option<u64>,
    /// In words.
    pub reason: String,
}

impl Uploaded {
    fn leave(&mut self, what: &str, size: Option<u64>, reason: &str) {
        self.skipped += 1;
        if self.list.len() < LISTED {
            let what = what.chars().take(200).collect();
            self.list.push(LeftOut { what, size, reason: reason.to_owned() });
        }
    }
}

/// What is to be uploaded, and where to.
#[derive(Debug)]
pub(super) struct Errand {
    pub(super) member: Member,
    pub(super) destination: String,
    /// The folder for everything; `None`: as the files say, else the inbox.
    pub(super) mailbox: Option<Vec<String>>,
    /// With their names for people.
    pub(super) files: Vec<(String, File)>,
    pub(super) cancel: CancellationToken,
}

/// Uploads; `told` is called whenever a batch is durable.
pub(super) async fn run(
    means: &Means,
    errand: Errand,
    tasks: &TaskTracker,
    told: impl FnMut(&Uploaded) + Send + 'static,
) -> Result<Uploaded, Failure> {
    // What waits on its way to a server is the mailbox's own: another upload may go on beside this one.
    let origin = Origin::pop3(&format!("upload/{}/{}", errand.destination, errand.member));
    let home = means.open_home_of(&errand.member, &errand.destination, origin.account).await?;
    if let Home::Delivery(..) = home {
        return Err(Failure::new(
            Kind::Unsupported,
            "the destination is LMTP, which has no folders, flags and dates to upload into",
            "set .maildir or .imap beside .lmtp in the destination",
        ));
    }
    let naming = home.naming().await?;
    let spool = means.settings.daemon.state_directory.join("spool");
    let directory = spool.clone();
    blocking(move || make_private(&directory)).await?;
    // Whoever comes next may look at what is there only when nothing is being written any more.
    let landings = TaskTracker::new();
    let landing = home.land(origin.account, &landings);
    landings.close();
    let written = landings.clone();
    tasks.spawn(async move { written.wait().await });
    let limit = means.settings.polling.max_message_size;
    let carrier = Carrier {
        landing,
        handle: Handle::current(),
        journal: means.journal.clone(),
        member: errand.member.to_string(),
        naming,
        origin,
        mailbox: errand.mailbox,
        places: BTreeMap::new(),
        open: None,
        stale: false,
        shut: BTreeMap::new(),
        seen: BTreeSet::new(),
        holds: BTreeSet::new(),
        placed: Vec::new(),
        found: BTreeMap::new(),
        copies: BTreeMap::new(),
        piece: 0,
        digest: Context::new(&SHA256),
        octets: 0,
        waiting: (0, 0),
        names: BTreeMap::new(),
        sum: Uploaded::default(),
        failure: None,
        cancel: errand.cancel,
        told: Box::new(told),
    };
    let files = errand.files;
    let bounds = Bounds { message: limit, one_folder: carrier.mailbox.is_some() };
    let sum = tasks
        .spawn_blocking(move || carrier.all(files, bounds, spool))
        .await
        .unwrap_or_else(|e| Err(Failure::new(Kind::Destination, format!("it ended unexpectedly: {e}"), "")));
    landings.wait().await;
    let sum = sum?;
    home.done(origin.account).await?;
    Ok(sum)
}

struct Carrier {
    landing: Landing,
    handle: Handle,
    journal: Journal,
    member: String,
    naming: Naming,
    origin: Origin,
    mailbox: Option<Vec<String>>,
    /// The directories that folders were given.
    places: BTreeMap<FolderPath, String>,
    /// The folder that is open.
    open: Option<String>,
    /// It has to be looked at again.
    stale: bool,
    /// Folders that the destination does not open or make, and why.
    shut: BTreeMap<String, String>,
    /// Folders so far.
    seen: BTreeSet<String>,
    /// What the open folder holds of earlier files and uploads.
    holds: BTreeSet<MessageRef>,
    /// What this file brought into the open folder since it was opened.
    placed: Vec<MessageRef>,
    /// What was found in a folder under another name, with its size on the wire.
    found: BTreeMap<String, Vec<(MessageRef, u64)>>,
    /// The messages of this file, by folders.
    copies: BTreeMap<String, Copies>,
    piece: u64,
    digest: Context,
    octets: u64,
    /// Messages and octets since the last commit.
    waiting: (u64, u64),
    /// Their names for people.
    names: BTreeMap<MessageRef, String>,
    sum: Uploaded,
    /// Why the destination takes no more.
    failure: Option<Failure>,
    cancel: CancellationToken,
    told: Box<dyn FnMut(&Uploaded) + Send>,
}

impl Carrier {
    fn all(
        mut self,
        files: Vec<(String, File)>,
        bounds: Bounds,
        spool: PathBuf,
    ) -> Result<Uploaded, Failure> {
        let nameless = || nameless(&spool);
        for (shown, file) in files {
            let read = Input::new(file, self.cancel.clone());
            let read = read.and_then(|input| unpack(input, &shown, bounds, &nameless, &mut self));
            if let Some(failure) = self.failure.take() {
                return Err(failure);
            }
            self.go_on()?;
            if let Err(e) = read {
                self.sum.broken += 1;
                let rest = "it cannot be read to its end, what came before was taken";
                self.sum.leave(&shown, None, &format!("{rest}: {e}"));
            }
            self.commit()?;
            self.file_ends();
        }
        self.sum.folders = self.seen.len() as u64;
        Ok(self.sum)
    }

    /// Unless somebody broke it off.
    fn go_on(&self) -> Result<(), Failure> {
        match self.cancel.is_cancelled() {
            true => Err(Failure::new(
                Kind::Stopped,
                "the upload was broken off",
                "upload again: what came is not brought twice",
            )),
            false => Ok(()),
        }
    }

    /// A file is over: what comes next may have the same messages again, and those are there then.
    fn file_ends(&mut self) {
        self.stale |= self.placed.len() > REMEMBERED;
        self.holds.extend(self.placed.drain(..));
        self.copies.clear();
    }

    fn commit(&mut self) -> Result<(), Failure> {
        if self.waiting.0 == 0 {
            return Ok(());
        }
        self.waiting = (0, 0);
        let landing = &self.landing;
        let receipts = self.handle.block_on(async { landing.settled(landing.commit().await?).await })?;
        let (receipts, full) = Receipt::until_full(receipts);
        let names = std::mem::take(&mut self.names);
        for receipt in receipts {
            if let Some(words) = &receipt.refused {
                let reason = format!("the destination does not take it: {words}");
                let shown = names.get(&receipt.message).map_or("a message", String::as_str);
                self.sum.leave(shown, Some(receipt.octets), &reason);
                self.holds.remove(&receipt.message);
            } else if receipt.adopted {
                self.sum.already_there += 1;
                let folder = self.open.clone().unwrap_or_default();
                self.found.entry(folder).or_default().push((receipt.message, receipt.octets));
            } else {
                self.sum.imported += 1;
                self.sum.bytes += receipt.octets;
            }
        }
        (self.told)(&self.sum);
        full.map_or(Ok(()), Err)
    }

    /// Opens a folder. `Some`: why not, and it costs only what is in it.
    fn enter(&mut self, folder: Option<&FolderPath>) -> Result<Option<String>, Failure> {
        let path = match (&self.mailbox, folder) {
            (Some(levels), _) => FolderPath(levels.clone()),
            (None, Some(folder)) => folder.clone(),
            (None, None) => FolderPath::inbox(),
        };
        let told = path.to_string();
        let directory = self.directory(path);
        if self.open.as_ref() == Some(&directory) && !self.stale {
            return Ok(None);
        }
        if let Some(reason) = self.shut.get(&directory) {
            return Ok(Some(reason.clone()));
        }
        if self.seen.len() >= FOLDERS && !self.seen.contains(&directory) {
            return Ok(Some(too_many()));
        }
        self.commit()?;
        let unsettled = unsettled(&self.journal, &self.member, self.origin.account, &directory)?;
        let opening = Opening {
            unsettled,
            look: Some(self.found.get(&directory).cloned().unwrap_or_default()),
            only_here: true,
            subscribe: true,
            ..Opening::new(&directory, self.origin)
        };
        let opened = match self.handle.block_on(self.landing.open(opening)) {
            Err(failure) if failure.kind == Kind::Folder => {
                let reason = format!("the destination does not take the folder {told}: {}", failure.words);
                self.open = None;
                self.shut.insert(directory, reason.clone());
                return Ok(Some(reason));
            }
            opened => opened?,
        };
        self.seen.insert(directory.clone());
        self.holds = opened.holds;
        self.holds.extend(self.found.get(&directory).into_iter().flatten().map(|(message, _)| *message));
        self.placed.clear();
        (self.open, self.stale) = (Some(directory), false);
        Ok(None)
    }

    /// Where a folder goes: no two of one upload to the same place.
    fn directory(&mut self, path: FolderPath) -> String {
        let path = if path.is_inbox() { FolderPath::inbox() } else { path };
        if let Some(directory) = self.places.get(&path) {
            return directory.clone();
        }
        let placed = place(&self.naming, &[(path.clone(), path.clone())], &self.places).remove(&path);
        let directory = placed.map(|placed| placed.directory).unwrap_or_default();
        if self.places.len() <= FOLDERS {
            self.places.insert(path, directory.clone());
        }
        directory
    }

    fn land(&mut self, letter: Letter, shown: &str) -> Result<(), Failure> {
        let digest = std::mem::replace(&mut self.digest, Context::new(&SHA256)).finish();
        let digest = digest.as_ref().iter().take(16).fold(0, |sum, octet| (sum << 8) | u128::from(*octet));
        let piece = self.piece;
        if let Some(reason) = self.enter(letter.folder.as_ref())? {
            self.sum.leave(shown, Some(self.octets), &reason);
            return self.handle.block_on(self.landing.discard(piece));
        }
        let folder = self.open.clone().unwrap_or_default();
        let message = MessageRef::Pop3(self.copies.entry(folder).or_default().identity(digest));
        if self.holds.contains(&message) {
            self.sum.already_there += 1;
            return self.handle.block_on(self.landing.discard(piece));
        }
        self.handle.block_on(self.landing.place(Placement {
            piece,
            origin: self.origin,
            message,
            announced: None,
            flags: letter.flags,
            received: letter.received,
        }))?;
        self.names.insert(message, shown.to_owned());
        if self.placed.len() <= REMEMBERED {
            self.placed.push(message);
        }
        self.waiting = (self.waiting.0 + 1, self.waiting.1 + self.octets);
        if self.waiting.0 >= BATCH || self.waiting.1 >= BATCH_OCTETS {
            self.commit()?;
        }
        Ok(())
    }

    fn send(&mut self, parcel: Parcel) -> io::Result<()> {
        if self.landing.orders().blocking_send(Order::Parcel(parcel)).is_ok() {
            return Ok(());
        }
        let failure = self.handle.block_on(self.landing.failure());
        Err(self.fail(failure))
    }

    fn fail(&mut self, failure: Failure) -> io::Error {
        self.failure.get_or_insert(failure);
        io::Error::other("the destination takes no more")
    }
}

fn too_many() -> String {
    format!("there are more than {FOLDERS} folders")
}

impl Take for Carrier {
    fn folder(&mut self, folder: FolderPath, shown: &str) -> io::Result<()> {
        self.go_on().map_err(|failure| self.fail(failure))?;
        if self.mailbox.is_some() {
            return Ok(());
        }
        match self.enter(Some(&folder)) {
            Ok(None) => Ok(()),
            Ok(Some(reason)) => {
                self.sum.leave(shown, None, &reason);
                Ok(())
            }
            Err(failure) => Err(self.fail(failure)),
        }
    }

    fn begin(&mut self) -> io::Result<()> {
        // A file on a disk is read to its end, whoever has gone.
        self.go_on().map_err(|failure| self.fail(failure))?;
        self.piece += 1;
        self.octets = 0;
        self.digest = Context::new(&SHA256);
        self.send(Parcel::Begin(self.piece))
    }

    fn data(&mut self, octets: &[u8]) -> io::Result<()> {
        self.octets += octets.len() as u64;
        self.digest.update(octets);
        self.go_on().map_err(|failure| self.fail(failure))?;
        for piece in octets.chunks(PIECE) {
            self.send(Parcel::Data(piece.to_vec()))?;
        }
        Ok(())
    }

    fn end(&mut self, letter: Letter, shown: &str) -> io::Result<()> {
        self.send(Parcel::End)?;
        self.land(letter, shown).map_err(|failure| self.fail(failure))
    }

    fn abandon(&mut self) -> io::Result<()> {
        self.send(Parcel::Abandon)
    }

    fn skip(&mut self, shown: &str, size: Option<u64>, reason: &str) {
        self.sum.leave(shown, size, reason);
    }

    fn pass(&mut self, kind: NoMail) {
        *self.sum.passed.entry(kind).or_default() += 1;
    }

    fn next_file(&mut self) {
        self.file_ends();
    }
}
