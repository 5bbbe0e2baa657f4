//! Messages on their way to a server: they wait in a file without a name until their batch is complete, for a
//! server wants to know how long a message is before it comes. A thread writes them, so that a batch is on its
//! way while the next one comes in. Octets stay as they came. It refuses to keep more than two batches.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::libc;
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::TaskTracker;

use super::fingerprint::{Fingerprint, Head, Print};
use super::landing::{Fate, Landing, Opened, Opening, Order, Placement, Receipt};
use super::maildir::FileName;
use super::received::{LONGEST_HEAD, arrival};
use crate::failure::{Failure, Kind};
use crate::message::{Flags, Parcel};

/// Octets of a message are written to the file in pieces of this size.
const WRITE_AT: usize = 256 * 1024;

/// What whoever carries the messages on is told, in order.
pub(super) enum Errand {
    /// The folder that messages go to from now on.
    Open(Box<Opening>, oneshot::Sender<Result<Opened, Failure>>),
    /// A batch, and who waits for what becomes of it.
    Batch(Batch, oneshot::Sender<Vec<Receipt>>),
}

/// What was placed before a commit.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// Messages in the spool.
    pub(super) waiting: Vec<Waiting>,
    /// Messages that the server has in another folder.
    pub(super) copies: Vec<(Placement, Sent)>,
}

/// A message that was sent to a server.
#[derive(Debug, Clone)]
pub(super) struct Sent {
    /// The folder's name there.
    pub(super) folder: Vec<u8>,
    pub(super) uidvalidity: u32,
    pub(super) uid: u32,
    pub(super) print: Print,
    /// As it was sent.
    pub(super) flags: Flags,
    pub(super) received: Option<i64>,
}

/// A message in the spool.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) placement: Placement,
    pub(super) body: Body,
}

/// A message's octets in the spool.
#[derive(Debug, Clone)]
pub(super) struct Body {
    pub(super) file: Arc<File>,
    pub(super) offset: u64,
    pub(super) octets: u64,
    /// When it arrived, by its own headers; seconds since 1970.
    pub(super) arrival: Option<i64>,
    /// Its header has octets above 127, which there are servers that do not keep.
    pub(super) eight_bit: bool,
    /// How long it will be at the destination.
    pub(super) kept: u64,
    /// How it begins.
    pub(super) head: u64,
}

impl Body {
    /// What it has in common with its copies.
    pub(super) fn print(&self, fresh: Fingerprint) -> io::Result<Print> {
        let mut print = fresh;
        let mut chunk = vec![0; 64 * 1024];
        let mut done = 0;
        while done < self.octets {
            let most = usize::try_from(self.octets - done).unwrap_or(usize::MAX).min(chunk.len());
            let piece = chunk.get_mut(..most).unwrap_or_default();
            let count = self.file.read_at(piece, self.offset + done)?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            print.push(piece.get(..count).unwrap_or_default());
            done += count as u64;
        }
        Ok(print.finish())
    }
}

/// A message that is coming in.
struct Staged {
    file: Arc<File>,
    start: u64,
    written: u64,
    buffer: Vec<u8>,
    arrival: Option<i64>,
    eight_bit: bool,
    head: Head,
}

/// Starts a landing whose messages wait in `directory`; `carry` brings them on, and leaves a failure as soon as it has
/// one. `sent` tells where the server has a message already. Whoever must know that nothing is being sent any more
/// waits for `landings`.
pub(super) fn land<C: Future<Output = ()> + Send + 'static>(
    directory: PathBuf,
    landings: &TaskTracker,
    sent: impl Fn(&FileName) -> Option<Sent> + Send + 'static,
    carry: impl FnOnce(mpsc::Receiver<Errand>, Fate) -> C,
) -> Landing {
    let (landing, inbox, fate) = Landing::prepare();
    // One batch may wait while another one is being sent.
    let (errands, work) = mpsc::channel(1);
    let carried = carry(work, fate.clone());
    let taking = landings.spawn_blocking(move || take_in(&directory, inbox, &errands, sent));
    landings.spawn(async move {
        carried.await;
        // The spool ends by itself: nobody takes its errands any more.
        let taken = taking.await.unwrap_or_else(|e| {
            Err(Failure::new(Kind::Destination, format!("the delivery ended unexpectedly: {e}"), ""))
        });
        if let Err(failure) = taken {
            fate.is(failure);
        }
    });
    landing
}

/// Takes orders until there are no more, or nobody carries the messages on.
fn take_in(
    directory: &Path,
    mut inbox: mpsc::Receiver<Order>,
    errands: &mpsc::Sender<Errand>,
    sent: impl Fn(&FileName) -> Option<Sent>,
) -> Result<(), Failure> {
    let mut spool = Spool::new(directory.to_owned());
    while let Some(order) = inbox.blocking_recv() {
        let errand = match order {
            Order::Parcel(parcel) => {
                spool.take(parcel).map_err(|e| trouble(directory, &e))?;
                continue;
            }
            Order::Place(placement) => {
                spool.place(*placement)?;
                continue;
            }
            Order::Drop(piece) => {
                spool.complete.remove(&piece);
                spool.copied.remove(&piece);
                continue;
            }
            Order::Copy { piece, from, reply, .. } => {
                let sent = sent(&from);
                let _ = reply.send(sent.is_some());
                spool.copied.extend(sent.map(|sent| (piece, sent)));
                continue;
            }
            Order::Open(opening, reply) => Errand::Open(opening, reply),
            Order::Commit(reply) => Errand::Batch(spool.batch(), reply),
        };
        if errands.blocking_send(errand).is_err() {
            break;
        }
    }
    Ok(())
}

pub(super) fn trouble(directory: &Path, error: &io::Error) -> Failure {
    let kind = match error.raw_os_error() {
        Some(libc::ENOSPC | libc::EDQUOT) => Kind::Full,
        _ => Kind::Destination,
    };
    Failure::new(
        kind,
        format!("messages cannot wait in {}: {error}", directory.display()),
        "mend that; it goes on by itself",
    )
}

/// Messages as they come in.
#[derive(Default)]
pub(super) struct Spool {
    directory: PathBuf,
    /// The batch's file and its length.
    file: Option<(Arc<File>, u64)>,
    current: Option<(u64, Staged)>,
    complete: BTreeMap<u64, Body>,
    copied: BTreeMap<u64, Sent>,
    ready: Batch,
}

impl Spool {
    /// In this directory.
    pub(super) fn new(directory: PathBuf) -> Spool {
        Spool { directory, ..Spool::default() }
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// A message that is complete: it is the caller's.
    pub(super) fn whole(&mut self) -> Option<(u64, Body)> {
        self.complete.pop_first()
    }

    pub(super) fn take(&mut self, parcel: Parcel) -> io::Result<()> {
        match parcel {
            Parcel::Begin(piece) => {
                let (file, start) = match &self.file {
                    Some((file, length)) => (Arc::clone(file), *length),
                    None => (Arc::new(nameless(&self.directory)?), 0),
                };
                self.file = Some((Arc::clone(&file), start));
                let staged = Staged {
                    file,
                    start,
                    written: 0,
                    buffer: Vec::new(),
                    arrival: None,
                    eight_bit: false,
                    head: Head::default(),
                };
                self.current = Some((piece, staged));
            }
            Parcel::Data(data) => {
                let Some((_, staged)) = &mut self.current else { return Ok(()) };
                staged.buffer.extend_from_slice(&data);
                staged.head.push(&data);
                if staged.buffer.len() >= WRITE_AT {
                    staged.write()?;
                }
            }
            Parcel::End => {
                let Some((piece, mut staged)) = self.current.take() else { return Ok(()) };
                staged.write()?;
                if let Some((file, length)) = &mut self.file
                    && Arc::ptr_eq(file, &staged.file)
                {
                    *length = staged.start + staged.written;
                }
                let head = staged.head.finish();
                let Staged { file, start: offset, written: octets, arrival, eight_bit, .. } = staged;
                let body = Body { file, offset, octets, arrival, eight_bit, kept: octets, head };
                self.complete.insert(piece, body);
            }
            Parcel::Abandon => self.current = None,
        }
        Ok(())
    }

    fn place(&mut self, placement: Placement) -> Result<(), Failure> {
        if let Some(sent) = self.copied.remove(&placement.piece) {
            self.ready.copies.push((placement, sent));
            return Ok(());
        }
        match self.complete.remove(&placement.piece) {
            Some(body) => {
                self.ready.waiting.push(Waiting { placement, body });
                Ok(())
            }
            None => Err(Failure::new(Kind::Protocol, "a message was named that never came", "")),
        }
    }

    /// What was placed; what comes next goes into another file, so that this one can end with its batch.
    pub(super) fn batch(&mut self) -> Batch {
        self.file = None;
        std::mem::take(&mut self.ready)
    }
}

impl Staged {
    fn write(&mut self) -> io::Result<()> {
        if self.written == 0 {
            let head = self.buffer.get(..self.buffer.len().min(LONGEST_HEAD)).unwrap_or_default();
            self.arrival = arrival(head, jiff::Timestamp::now().as_second());
            let end = memchr::memmem::find(head, b"\r\n\r\n").unwrap_or(head.len());
            self.eight_bit = !head.get(..end).unwrap_or_default().is_ascii();
        }
        self.file.write_all_at(&self.buffer, self.start + self.written)?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}

/// A file that is gone when nobody has it open any more, whatever ends us.
pub(crate) fn nameless(directory: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.read(true).write(true).mode(0o600);
    match options.clone().custom_flags(libc::O_TMPFILE).open(directory) {
        // File systems without it.
        Err(e) if matches!(e.raw_os_error(), Some(libc::EOPNOTSUPP | libc::EISDIR | libc::ENOENT)) => {
            let path = directory.join(format!("spool-{}-{:016x}", std::process::id(), rand::random::<u64>()));
            let file = options.create_new(true).open(&path)?;
            std::fs::remove_file(&path)?;
            Ok(file)
        }
        opened => opened,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::destination::maildir::Origin;
    use crate::message::MessageRef;

    fn placement(piece: u64) -> Placement {
        Placement {
            piece,
            origin: Origin::imap("a", b"F", 0),
            message: MessageRef::Imap { uidvalidity: 1, uid: 1 },
            announced: None,
            flags: Flags::default(),
            received: None,
        }
    }

    fn octets(body: &Body) -> Vec<u8> {
        let mut all = vec![0; usize::try_from(body.octets).unwrap()];
        body.file.read_exact_at(&mut all, body.offset).unwrap();
        all
    }

    #[test]
    fn batches_end_where_they_are_ordered_to() {
        let directory = tempfile::tempdir().unwrap();
        let mut spool = Spool { directory: directory.path().to_owned(), ..Spool::default() };
        let send = |spool: &mut Spool, piece, text: &[u8]| {
            spool.take(Parcel::Begin(piece)).unwrap();
            spool.take(Parcel::Data(text.to_vec())).unwrap();
        };
        send(&mut spool, 1, b"Date: Thu, 1 Jan 1970 00:00:09 +0000\r\n\r\none\nbare");
        spool.take(Parcel::End).unwrap();
        send(&mut spool, 2, b"forgotten");
        spool.take(Parcel::Abandon).unwrap();
        spool.place(placement(1)).unwrap();
        // The third is not complete when the batch ends.
        send(&mut spool, 3, b"th");
        let first = spool.batch().waiting;
        spool.take(Parcel::Data(b"ree".to_vec())).unwrap();
        spool.take(Parcel::End).unwrap();
        send(&mut spool, 4, b"four");
        spool.take(Parcel::End).unwrap();
        spool.place(placement(3)).unwrap();
        spool.place(placement(4)).unwrap();
        assert!(spool.place(placement(2)).is_err());
        let second = spool.batch().waiting;
        assert_eq!(first.len(), 1);
        assert!(octets(&first[0].body).ends_with(b"one\nbare"));
        assert_eq!(first[0].body.arrival, Some(9));
        assert_eq!(octets(&second[0].body), b"three");
        assert_eq!(octets(&second[1].body), b"four");
        assert_eq!(
            second[1].body.print(Fingerprint::default()).unwrap(),
            Fingerprint::of(&b"four"[..]).unwrap()
        );
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "no name is left");
    }
}
