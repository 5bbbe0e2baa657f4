//! The thread that carries messages into a Maildir: it stages parcels in `tmp`, names what is placed, and
//! commits a batch: everything durable, then renamed into `cur` or `new`, then the directories durable. It
//! refuses to go on after a failure: the batch is dropped, nothing of it is visible.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{OFlag, RenameFlags, openat, renameat, renameat2};
use nix::sys::stat::{Mode, UtimensatFlags, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{UnlinkatFlags, fsync, syncfs, unlinkat};
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use super::folder::{Folder, entries};
use super::keywords::{Keywords, taken};
use super::links::{Linked, Links};
use super::mailbox::Mailbox;
use super::name::FileName;
use super::quota;
use super::subscriptions::subscribe;
use super::twins::{Orphans, Staged as Candidate, Twins, held_by_folder};
use crate::destination::fingerprint::Head;
use crate::destination::landing::{Landing, Opened, Opening, Order, Placement, Receipt};
use crate::destination::lines::{Lines, expand};
use crate::destination::received::{LONGEST_HEAD, arrival};
use crate::destination::sorting::Sorting;
use crate::failure::{Failure, Kind};
use crate::message::{MessageRef, Parcel};

/// A message is written when it is complete or has grown to this; octets.
const WRITE_AT: usize = 128 * 1024;
/// Up to so many messages in a batch are synced one by one, more with the file system at once.
const SYNC_EACH: usize = 16;

/// Starts a landing in `mailbox`; `account` marks its temporary files. Whoever must know that nothing is
/// being written any more waits for `landings`.
pub fn land(mailbox: Arc<Mailbox>, account: u64, landings: &TaskTracker) -> Landing {
    let (landing, inbox, fate) = Landing::prepare();
    landings.spawn_blocking(move || {
        let mut ground = Ground::new(mailbox, account);
        if let Err(failure) = ground.work(inbox) {
            fate.is(failure);
        }
    });
    landing
}

/// Removes what earlier runs of the account left in `tmp`. None of them may still be at work there.
///
/// # Errors
/// A file cannot be removed. The others are removed all the same.
pub fn clear_tmp(mailbox: &Mailbox, account: u64) -> Result<(), Failure> {
    let mark = format!("mailhaul-{account:016x}-");
    let mut result = Ok(());
    for name in entries(mailbox.tmp()).map_err(|e| mailbox.trouble("tmp", e))? {
        if !name.starts_with(mark.as_bytes()) {
            continue;
        }
        match unlinkat(mailbox.tmp(), name.as_slice(), UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(e) => result = result.and(Err(mailbox.trouble("tmp", e))),
        }
    }
    result
}

/// A message that is being written or waits for its place.
struct Staged {
    name: String,
    file: Option<File>,
    buffer: Vec<u8>,
    written: u64,
    lines: Lines,
    /// Its size on the wire, if it never came over one.
    wire: Option<u64>,
    arrival: Option<i64>,
    head: Head,
}

/// A message that has its place and waits for the commit.
struct Ready {
    tmp: String,
    file: Option<File>,
    folder: Arc<Folder>,
    into_new: bool,
    name: String,
    /// Octets of its file.
    size: u64,
    receipt: Receipt,
}

struct Ground {
    mailbox: Arc<Mailbox>,
    mark: String,
    counter: u64,
    folder: Option<(Arc<Folder>, Keywords)>,
    /// What the member's rules say, and the folders that they filed into.
    sorting: Option<Arc<Sorting>>,
    elsewhere: BTreeMap<String, (Arc<Folder>, Keywords)>,
    /// What was in the folder before and may be what comes now, if somebody doubts it.
    twins: Twins,
    /// What the account has anywhere in the mailbox, by the hash of the folder at the source, if somebody doubts it.
    held: Option<BTreeMap<u64, BTreeSet<MessageRef>>>,
    orphans: Option<Arc<Orphans>>,
    adopted: Vec<Receipt>,
    /// The folder that copies were made from last.
    links: Option<Links>,
    current: Option<(u64, Staged)>,
    complete: BTreeMap<u64, Staged>,
    ready: Vec<Ready>,
    /// The memory of the message before. Many may wait for their place: each would keep its own.
    spare: Vec<u8>,
}

impl Ground {
    fn new(mailbox: Arc<Mailbox>, account: u64) -> Self {
        use std::sync::atomic::{AtomicU64, Ordering};
        static LANDINGS: AtomicU64 = AtomicU64::new(0);
        let number = LANDINGS.fetch_add(1, Ordering::Relaxed);
        let mark = format!("mailhaul-{account:016x}-{}-{number}", std::process::id());
        Ground {
            mailbox,
            mark,
            counter: 0,
            folder: None,
            sorting: None,
            elsewhere: BTreeMap::new(),
            twins: Twins::default(),
            held: None,
            orphans: None,
            adopted: Vec::new(),
            links: None,
            current: None,
            complete: BTreeMap::new(),
            ready: Vec::new(),
            spare: Vec::new(),
        }
    }

    fn work(&mut self, mut inbox: mpsc::Receiver<Order>) -> Result<(), Failure> {
        while let Some(order) = inbox.blocking_recv() {
            match order {
                Order::Parcel(parcel) => self.take(parcel)?,
                Order::Open(opening, reply) => {
                    let opened = self.open(*opening)?;
                    let _ = reply.send(Ok(opened));
                }
                Order::Copy { piece, directory, from, reply } => {
                    let there = self.copy(piece, &directory, from)?;
                    let _ = reply.send(there);
                }
                Order::Place(placement) => self.place(*placement)?,
                Order::Drop(piece) => {
                    if let Some(staged) = self.complete.remove(&piece) {
                        self.remove(&staged.name, staged.file.is_some() || staged.written > 0);
                    }
                }
                Order::Commit(reply) => {
                    let receipts = self.commit()?;
                    let _ = reply.send(receipts);
                }
            }
        }
        Ok(())
    }

    fn open(&mut self, opening: Opening) -> Result<Opened, Failure> {
        let Opening { directory, origin, look, only_here, unsettled, orphans, sorting, subscribe, .. } =
            opening;
        (self.orphans, self.sorting) = (orphans, sorting);
        if subscribe {
            subscribe_new(&self.mailbox, &directory)?;
        }
        let folder = Folder::open(&self.mailbox, &directory)?;
        let made = folder.made();
        let mut holds = BTreeSet::new();
        self.twins = Twins::default();
        if look.is_some() && !only_here {
            // Rules may have filed it elsewhere, and the member may have moved it.
            let held = match &mut self.held {
                Some(held) => held,
                none => none.insert(held_by_folder(&self.mailbox, origin.account)?),
            };
            holds.extend(held.get(&origin.folder).into_iter().flatten());
        }
        if let Some(recorded) = look.as_deref().filter(|_| !made) {
            holds.extend(folder.holds(&self.mailbox, origin)?);
            // What is recorded and not here under its own name may have been adopted.
            let adopted = recorded.iter().filter(|(m, _)| !holds.contains(m)).map(|(_, size)| *size);
            self.twins = Twins::of(&self.mailbox, &folder, (origin, &unsettled), adopted)?;
        }
        let letters = taken(&self.mailbox, &folder)?;
        self.folder = Some((Arc::new(folder), Keywords::default()));
        Ok(Opened { letters, holds, there: None })
    }

    fn take(&mut self, parcel: Parcel) -> Result<(), Failure> {
        match parcel {
            Parcel::Begin(piece) => {
                self.abandon();
                self.counter += 1;
                let name = format!("{}-{}", self.mark, self.counter);
                let staged = Staged {
                    name,
                    file: None,
                    buffer: std::mem::take(&mut self.spare),
                    written: 0,
                    lines: Lines::default(),
                    wire: None,
                    arrival: None,
                    head: Head::default(),
                };
                self.current = Some((piece, staged));
            }
            Parcel::Data(data) => {
                let Some((_, staged)) = &mut self.current else { return Ok(()) };
                staged.head.push(&data);
                if let Err(rest) = staged.lines.push(&data, &mut staged.buffer) {
                    let rest = rest.to_vec();
                    unconvert(&self.mailbox, staged)?;
                    let _ = staged.lines.push(&rest, &mut staged.buffer);
                }
                if staged.buffer.len() >= WRITE_AT {
                    write(&self.mailbox, staged)?;
                }
            }
            Parcel::End => {
                let Some((piece, mut staged)) = self.current.take() else { return Ok(()) };
                staged.lines.finish(&mut staged.buffer);
                write(&self.mailbox, &mut staged)?;
                self.spare = std::mem::take(&mut staged.buffer);
                self.complete.insert(piece, staged);
            }
            Parcel::Abandon => self.abandon(),
        }
        Ok(())
    }

    fn copy(&mut self, piece: u64, directory: &str, from: FileName) -> Result<bool, Failure> {
        self.counter += 1;
        let name = format!("{}-{}", self.mark, self.counter);
        let links = match self.links.take().filter(|links| links.is_of(directory)) {
            Some(links) => links,
            None => Links::of(&self.mailbox, directory)?,
        };
        let linked = links.link(&self.mailbox, &from, &name)?;
        self.links = Some(links);
        let Some(Linked { file, written, wire }) = linked else { return Ok(false) };
        let staged = Staged {
            name,
            file: Some(file),
            buffer: Vec::new(),
            written,
            lines: Lines::default(),
            wire: Some(wire),
            arrival: None,
            head: Head::default(),
        };
        self.complete.insert(piece, staged);
        Ok(true)
    }

    fn abandon(&mut self) {
        if let Some((_, staged)) = self.current.take() {
            self.remove(&staged.name, staged.file.is_some());
        }
    }

    fn remove(&self, name: &str, there: bool) {
        if there {
            let _ = unlinkat(self.mailbox.tmp(), name, UnlinkatFlags::NoRemoveDir);
        }
    }

    fn place(&mut self, placement: Placement) -> Result<(), Failure> {
        let Placement { piece, origin, message, mut flags, received, .. } = placement;
        let Some(staged) = self.complete.remove(&piece) else {
            return Err(Failure::new(Kind::Protocol, "a message was named that never came", ""));
        };
        let Some((folder, keywords)) = &mut self.folder else {
            return Err(Failure::new(Kind::Destination, "no folder is open", ""));
        };
        let octets = staged.wire.unwrap_or_else(|| staged.lines.wire_size(staged.written));
        if let Some(file) = &staged.file
            && {
                let staged = Candidate { file, stored: staged.written, wire: octets };
                self.twins.take(folder, staged)
                    || self.orphans.as_ref().is_some_and(|orphans| orphans.take(&self.mailbox, staged))
            }
        {
            self.adopted.push(Receipt { adopted: true, ..Receipt::landed(message, octets) });
            self.remove(&staged.name, true);
            return Ok(());
        }
        let (mut folder, mut keywords) = (folder, keywords);
        if let Some(sorting) = &self.sorting {
            let (directory, actions) = sorting.decide(&head(&self.mailbox, &staged)?, octets);
            flags.add(&actions.marks, actions.keywords);
            if let Some(directory) = directory {
                (folder, keywords) = elsewhere(&self.mailbox, &mut self.elsewhere, directory)?;
            }
        }
        let (letters, keywords_left) = keywords.letters(&self.mailbox, folder, &flags.keywords)?;
        let time = received.or(staged.arrival).unwrap_or_else(now);
        // A file time before 1970 is more than some tools bear; the name must sort as well.
        let time = time.max(0);
        let stamp = TimeSpec::new(time, 0);
        utimensat(self.mailbox.tmp(), staged.name.as_str(), &stamp, &stamp, UtimensatFlags::NoFollowSymlink)
            .map_err(|e| self.mailbox.trouble("tmp", e))?;
        let head = staged.wire.is_none().then(|| staged.head.finish());
        let name = FileName { origin, message }.full(time, staged.written, octets, &flags, &letters);
        let into_new = !name.contains(':');
        // Few messages are synced by their own descriptors, many with the whole file system.
        let file = if self.ready.len() < SYNC_EACH { staged.file } else { None };
        self.ready.push(Ready {
            tmp: staged.name,
            file,
            folder: Arc::clone(folder),
            into_new,
            name,
            size: staged.written,
            receipt: Receipt { keywords_left, head, ..Receipt::landed(message, octets) },
        });
        Ok(())
    }

    fn commit(&mut self) -> Result<Vec<Receipt>, Failure> {
        let ready = std::mem::take(&mut self.ready);
        if !ready.is_empty() {
            quota::counts(&self.mailbox, ready.iter().map(|message| message.size).sum(), ready.len());
        }
        let result = self.publish(&ready);
        if let Err(failure) = result {
            quota::forget(&self.mailbox);
            for message in &ready {
                self.remove(&message.tmp, true);
            }
            return Err(failure);
        }
        let adopted = std::mem::take(&mut self.adopted);
        Ok(ready.into_iter().map(|message| message.receipt).chain(adopted).collect())
    }

    /// Under its name, or, where another message has that, under one of a later second: a source may use a UIDL again.
    fn publish_one(&self, message: &Ready, directory: BorrowedFd<'_>) -> Result<(), Errno> {
        let (tmp, old) = (self.mailbox.tmp(), message.tmp.as_str());
        let mut name = message.name.clone();
        loop {
            match renameat2(tmp, old, directory, name.as_str(), RenameFlags::RENAME_NOREPLACE) {
                Ok(()) => return Ok(()),
                Err(Errno::EEXIST) => {}
                // Not every file system knows it.
                Err(Errno::EINVAL | Errno::ENOSYS) => return renameat(tmp, old, directory, name.as_str()),
                Err(e) => return Err(e),
            }
            if same_octets((tmp, old), (directory, &name)).unwrap_or(false) {
                // A run before this one was stopped behind that.
                return renameat(tmp, old, directory, name.as_str());
            }
            let (time, rest) = name.split_once('.').ok_or(Errno::EEXIST)?;
            let later = time.parse::<i64>().ok().and_then(|time| time.checked_add(1)).ok_or(Errno::EEXIST)?;
            name = format!("{later}.{rest}");
        }
    }

    fn publish(&self, ready: &[Ready]) -> Result<(), Failure> {
        let trouble = |e: Errno| self.mailbox.trouble("tmp", e);
        if ready.len() <= SYNC_EACH {
            for message in ready {
                if let Some(file) = &message.file {
                    fsync(file).map_err(trouble)?;
                }
            }
        } else {
            syncfs(self.mailbox.tmp()).map_err(trouble)?;
        }
        let mut touched: BTreeMap<(usize, bool), (&Arc<Folder>, bool)> = BTreeMap::new();
        for message in ready {
            let directory = if message.into_new { &message.folder.new } else { &message.folder.cur };
            self.publish_one(message, directory.as_fd())
                .map_err(|e| self.mailbox.trouble(&message.folder.name, e))?;
            let key = (Arc::as_ptr(&message.folder).addr(), message.into_new);
            touched.insert(key, (&message.folder, message.into_new));
        }
        for (folder, into_new) in touched.into_values() {
            let directory = if into_new { &folder.new } else { &folder.cur };
            fsync(directory).map_err(|e| self.mailbox.trouble(&folder.name, e))?;
        }
        Ok(())
    }
}

impl Drop for Ground {
    /// What was staged and not published was never promised to anybody.
    fn drop(&mut self) {
        self.abandon();
        for staged in std::mem::take(&mut self.complete).into_values() {
            self.remove(&staged.name, true);
        }
        for message in std::mem::take(&mut self.ready) {
            self.remove(&message.tmp, true);
        }
    }
}

/// Whether two files hold the same.
fn same_octets(one: (BorrowedFd<'_>, &str), other: (BorrowedFd<'_>, &str)) -> std::io::Result<bool> {
    let open = |(directory, name): (BorrowedFd<'_>, &str)| {
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
        let file = openat(directory, name, flags, Mode::empty())?;
        std::io::Result::Ok(BufReader::with_capacity(64 * 1024, File::from(file)).bytes())
    };
    let (mut one, mut other) = (open(one)?, open(other)?);
    loop {
        match (one.next().transpose()?, other.next().transpose()?) {
            (None, None) => return Ok(true),
            (a, b) if a == b => {}
            _ => return Ok(false),
        }
    }
}

fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

fn io(mailbox: &Mailbox, error: &std::io::Error) -> Failure {
    mailbox.trouble("tmp", error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))
}

fn write(mailbox: &Mailbox, staged: &mut Staged) -> Result<(), Failure> {
    if staged.file.is_none() {
        staged.file = Some(mailbox.create(mailbox.tmp(), &staged.name)?);
        let head = staged.buffer.get(..staged.buffer.len().min(LONGEST_HEAD)).unwrap_or_default();
        staged.arrival = arrival(head, now());
    }
    if let Some(file) = &mut staged.file {
        file.write_all(&staged.buffer).map_err(|e| io(mailbox, &e))?;
    }
    staged.written += u64::try_from(staged.buffer.len()).unwrap_or(u64::MAX);
    staged.buffer.clear();
    Ok(())
}

/// The octets that a message begins with, as far as rules look.
fn head(mailbox: &Mailbox, staged: &Staged) -> Result<Vec<u8>, Failure> {
    let Some(file) = &staged.file else { return Ok(Vec::new()) };
    let mut head = Vec::with_capacity(8 << 10);
    let mut file = file.try_clone().map_err(|e| io(mailbox, &e))?;
    file.seek(SeekFrom::Start(0)).map_err(|e| io(mailbox, &e))?;
    file.take(LONGEST_HEAD as u64).read_to_end(&mut head).map_err(|e| io(mailbox, &e))?;
    Ok(head)
}

/// A folder that rules file into, made and subscribed if it is missing.
fn elsewhere<'g>(
    mailbox: &Mailbox,
    open: &'g mut BTreeMap<String, (Arc<Folder>, Keywords)>,
    directory: &str,
) -> Result<(&'g mut Arc<Folder>, &'g mut Keywords), Failure> {
    if !open.contains_key(directory) {
        subscribe_new(mailbox, directory)?;
        let folder = Folder::open(mailbox, directory)?;
        open.insert(directory.to_owned(), (Arc::new(folder), Keywords::default()));
    }
    match open.get_mut(directory) {
        Some((folder, keywords)) => Ok((folder, keywords)),
        None => Err(Failure::new(Kind::Destination, "a folder is open and cannot be found", "")),
    }
}

/// Subscribes a folder that is missing, before it is made: whoever is stopped in between does both once more.
fn subscribe_new(mailbox: &Mailbox, directory: &str) -> Result<(), Failure> {
    if !directory.is_empty() && !Folder::exists(mailbox, directory) {
        subscribe(mailbox, &[directory.to_owned()])?;
    }
    Ok(())
}

/// Writes the message anew with CRLF: its line ends are not those of mail, so it is kept as it came.
fn unconvert(mailbox: &Mailbox, staged: &mut Staged) -> Result<(), Failure> {
    staged.buffer = expand(&staged.buffer);
    let Some(mut old) = staged.file.take() else { return Ok(()) };
    let new_name = format!("{}r", staged.name);
    let old_name = std::mem::replace(&mut staged.name, new_name);
    old.seek(SeekFrom::Start(0)).map_err(|e| io(mailbox, &e))?;
    let mut new = mailbox.create(mailbox.tmp(), &staged.name)?;
    let mut chunk = vec![0; WRITE_AT];
    staged.written = 0;
    loop {
        let count = old.read(&mut chunk).map_err(|e| io(mailbox, &e))?;
        if count == 0 {
            break;
        }
        let wide = expand(chunk.get(..count).unwrap_or_default());
        new.write_all(&wide).map_err(|e| io(mailbox, &e))?;
        staged.written += u64::try_from(wide.len()).unwrap_or(u64::MAX);
    }
    staged.file = Some(new);
    unlinkat(mailbox.tmp(), old_name.as_str(), UnlinkatFlags::NoRemoveDir)
        .map_err(|e| mailbox.trouble("tmp", e))
}

#[cfg(test)]
#[path = "ground_tests.rs"]
mod tests;
