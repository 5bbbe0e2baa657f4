//! One caller at the socket, and all of them: what each may send, how long it may take, and who goes when
//! there are too many. It refuses to wait for a caller that sends half a request or does not take its
//! answer; one that waits for a poll, a migration or the next change waits as long as it likes.
//!
//! ```text
//!             first octet          NUL               answer        taken, and no more to come
//!   waiting ───────────► sending ───────► served ───────────► taking ──────────► waiting
//!                                            ▲                   │
//!                                            └───────────────────┘ another one follows
//! ```

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::Notify;
use tokio::time::Instant;
use zlink::connection::PassedCredentials;
use zlink::connection::socket::{self, ReadResult, Socket, UnixSocket};

use super::aside;
use super::inbox::{Inbox, Next};

/// Octets that are taken from the socket at once.
const AT_ONCE: usize = 16 << 10;
/// Octets of one request; ten thousand names of accounts fit.
const REQUEST: usize = 1 << 20;
/// Descriptors of one request.
const DESCRIPTORS: usize = 16;
/// Octets for a caller who may not control the daemon: enough to ask who we are.
const REQUEST_OF_OTHERS: usize = 16 << 10;
/// Octets of requests that all callers together may have us hold.
const REQUESTS: usize = 32 << 20;
/// Connections of one user.
const EACH: usize = 64;
/// Connections of all users but root, so that root always finds a place.
const ALL: usize = 192;
/// A request has to be complete this long after its first octet.
const SENDING: Duration = Duration::from_secs(10);
/// An answer has to be taken within this.
const TAKING: Duration = Duration::from_secs(30);
/// A caller that only waits may do so for this long, unless its place is needed.
const WAITING: Duration = Duration::from_secs(600);
/// An answer that waits for this long makes its caller give way.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often a caller is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// One user's callers are complained of at most so often for the same reason.
const TOLD: Duration = Duration::from_secs(10);

/// What a caller is doing; see the drawing above.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doing {
    Waiting,
    Sending,
    Served,
    Taking,
}

/// Why a caller is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Why {
    TooLong,
    TooMuch,
    TooManyFiles,
    SendsHalf,
    DoesNotTake,
    Silent,
    MakesRoom,
    NoRoom,
    HungUp,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Why::TooLong => "its request is too long",
            Why::TooMuch => "all requests together are too long",
            Why::TooManyFiles => "it passed too many descriptors",
            Why::SendsHalf => "it sent half a request and no more for ten seconds",
            Why::DoesNotTake => "it did not take its answer for thirty seconds",
            Why::Silent => "it said nothing for ten minutes",
            Why::MakesRoom => "it had nothing to do, and another one needed its place",
            Why::NoRoom => "too many are connected already",
            Why::HungUp => "it has gone",
        })
    }
}

/// One caller.
#[derive(Debug)]
pub(super) struct Caller {
    uid: u32,
    pid: i32,
    most: usize,
    admitted: bool,
    /// Descriptors of a request that is not complete.
    descriptors: Cell<usize>,
    doing: Cell<Doing>,
    since: Cell<Instant>,
    /// Octets of a request that is not complete.
    begun: Cell<usize>,
    /// What its longest request made us hold; the memory is not given back before it goes.
    held: Cell<usize>,
    all: Rc<Callers>,
    end: Cell<Option<Why>>,
    ended: Notify,
}

impl Caller {
    fn now(&self, doing: Doing) {
        if self.doing.replace(doing) != doing {
            self.since.set(Instant::now());
        }
    }

    fn drop_for(&self, why: Why) {
        self.end.set(Some(self.end.get().unwrap_or(why)));
        self.ended.notify_one();
    }

    /// User and process.
    pub(super) fn who(&self) -> (u32, i32) {
        (self.uid, self.pid)
    }

    /// Takes note of descriptors that came; `Err` if they are too many for one request.
    fn passed(&self, count: usize) -> Result<(), Why> {
        let all = self.descriptors.get() + count;
        self.descriptors.set(all);
        if all > DESCRIPTORS { Err(Why::TooManyFiles) } else { Ok(()) }
    }

    /// Takes note of octets that came; `Err` if they are too many.
    fn took(&self, octets: &[u8]) -> Result<(), Why> {
        let after = octets.iter().rposition(|octet| *octet == 0).map(|nul| octets.len() - nul - 1);
        let begun = after.unwrap_or(self.begun.get() + octets.len());
        let most = self.begun.replace(begun) + octets.len();
        if begun > self.most {
            return Err(Why::TooLong);
        }
        if most > self.held.get() {
            let total = self.all.held.get() + most - self.held.replace(most);
            self.all.held.set(total);
            if total > REQUESTS {
                return Err(Why::TooMuch);
            }
        }
        if after.is_some() {
            self.descriptors.set(0);
            self.now(Doing::Served);
        } else {
            self.now(Doing::Sending);
        }
        Ok(())
    }

    /// Whether another caller may have its place.
    fn gives_way(&self) -> bool {
        match self.doing.get() {
            Doing::Waiting | Doing::Sending => true,
            Doing::Served => false,
            Doing::Taking => self.since.get().elapsed() > PATIENCE,
        }
    }

    fn overdue(&self) -> Option<Why> {
        let (limit, why) = match self.doing.get() {
            Doing::Waiting => (WAITING, Why::Silent),
            Doing::Sending => (SENDING, Why::SendsHalf),
            Doing::Taking => (TAKING, Why::DoesNotTake),
            Doing::Served => return None,
        };
        (self.since.get().elapsed() > limit).then_some(why)
    }

    /// It went by itself, or was refused: that is told.
    pub(super) fn leave(&self) {
        if let Some(why) = self.end.get() {
            self.all.tell(self.uid, self.pid, why);
        }
    }

    /// Returns when the caller is to be dropped, and has said so in the log.
    pub(super) async fn watch(&self, line: &Line) {
        loop {
            tokio::select! {
                () = self.ended.notified() => {}
                () = tokio::time::sleep(LOOK) => {}
            }
            let gone = || (self.doing.get() == Doing::Served && line.is_gone()).then_some(Why::HungUp);
            if let Some(why) = self.end.get().or_else(|| self.overdue()).or_else(gone) {
                if why != Why::HungUp {
                    self.all.tell(self.uid, self.pid, why);
                }
                return;
            }
        }
    }
}

/// All callers.
#[derive(Debug, Default)]
pub(super) struct Callers {
    there: RefCell<BTreeMap<u64, Rc<Caller>>>,
    counter: Cell<u64>,
    held: Cell<usize>,
    /// When a reason was told for a user, and how often it came up since.
    told: RefCell<BTreeMap<(u32, Why), (Instant, u64)>>,
}

/// A caller's place, given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    number: u64,
    pub(super) caller: Rc<Caller>,
}

impl Callers {
    /// A place for a caller, if need be that of another one who has nothing to do. `None`: too many are busy.
    pub(super) fn admit(self: &Rc<Self>, uid: u32, pid: i32, admitted: bool) -> Option<Place> {
        let own = |caller: &Caller| caller.uid == uid;
        let others = |caller: &Caller| caller.uid != 0;
        if !self.room(EACH, own) || (uid != 0 && !self.room(ALL, others)) {
            self.tell(uid, pid, Why::NoRoom);
            return None;
        }
        let number = self.counter.get();
        self.counter.set(number + 1);
        let caller = Rc::new(Caller {
            uid,
            pid,
            most: if admitted { REQUEST } else { REQUEST_OF_OTHERS },
            admitted,
            descriptors: Cell::new(0),
            doing: Cell::new(Doing::Waiting),
            since: Cell::new(Instant::now()),
            begun: Cell::new(0),
            held: Cell::new(0),
            all: Rc::clone(self),
            end: Cell::new(None),
            ended: Notify::new(),
        });
        self.there.borrow_mut().insert(number, Rc::clone(&caller));
        Some(Place { number, caller })
    }

    /// Whether there is room for one more of a kind of which `most` are allowed.
    fn room(&self, most: usize, kind: impl Fn(&Caller) -> bool) -> bool {
        let mut there = self.there.borrow_mut();
        let of_kind = || there.iter().filter(|(_, caller)| kind(caller));
        if of_kind().count() < most {
            return true;
        }
        let longest = of_kind().filter(|(_, caller)| caller.gives_way()).min_by_key(|(_, c)| c.since.get());
        let Some(number) = longest.map(|(number, _)| *number) else { return false };
        if let Some(caller) = there.remove(&number) {
            caller.drop_for(Why::MakesRoom);
        }
        true
    }

    fn tell(&self, uid: u32, pid: i32, why: Why) {
        let mut told = self.told.borrow_mut();
        told.retain(|_, (at, more)| *more > 0 || at.elapsed() < TOLD);
        let (at, more) = told.entry((uid, why)).or_insert((Instant::now() - 2 * TOLD, 0));
        if at.elapsed() < TOLD {
            *more += 1;
            return;
        }
        let before = if *more > 0 { format!(" ({more} like it before)") } else { String::new() };
        (*at, *more) = (Instant::now(), 0);
        tracing::warn!("a caller at the control socket was dropped: {why}; uid {uid}, process {pid}{before}");
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let all = &self.caller.all;
        all.held.set(all.held.get().saturating_sub(self.caller.held.get()));
        all.there.borrow_mut().remove(&self.number);
    }
}

/// The line to a caller: a stream whose every octet and every descriptor is counted. What somebody passes who
/// may not control the daemon is never received, so it does not stay open.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub(super) stream: Rc<UnixStream>,
    pub(super) caller: Rc<Caller>,
    pub(super) inbox: Rc<RefCell<Inbox>>,
}

impl Line {
    /// The caller has closed both directions; one that only has nothing more to say has not.
    fn is_gone(&self) -> bool {
        let mut asked = [PollFd::new(self.stream.as_fd(), PollFlags::empty())];
        let gone = PollFlags::POLLHUP | PollFlags::POLLERR;
        poll(&mut asked, PollTimeout::ZERO).is_ok()
            && asked.iter().any(|fd| fd.revents().is_some_and(|events| events.intersects(gone)))
    }

    /// How many octets came, with the descriptors that came along.
    fn receive(&self, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
        let mut passed = Vec::new();
        if !self.caller.admitted {
            return Ok((self.stream.try_read(buffer)?, passed));
        }
        let count = self.stream.try_io(Interest::READABLE, || {
            let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
            let mut along = RecvAncillaryBuffer::new(&mut room);
            let mut into = [IoSliceMut::new(buffer)];
            let received = recvmsg(&self.stream, &mut into, &mut along, RecvFlags::CMSG_CLOEXEC)?;
            for message in along.drain() {
                if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                    passed.extend(descriptors);
                }
            }
            Ok(received.bytes)
        })?;
        Ok((count, passed))
    }

    /// How the wire's crate is told that a caller goes.
    fn refuse(&self, why: Why) -> zlink::Error {
        self.caller.drop_for(why);
        zlink::Error::BufferOverflow
    }
}

impl Socket for Line {
    const CAN_TRANSFER_FDS: bool = true;
    type ReadHalf = Line;
    type WriteHalf = Line;

    fn split(self) -> (Line, Line) {
        (self.clone(), self)
    }
}

impl AsFd for Line {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

impl UnixSocket for Line {}

impl socket::ReadHalf for Line {
    async fn read(&mut self, buffer: &mut [u8]) -> zlink::Result<ReadResult> {
        let mut came = Vec::new();
        loop {
            let next = self.inbox.borrow_mut().next(buffer);
            match next {
                Next::Octets(count, files) => {
                    self.caller.now(Doing::Served);
                    return Ok(ReadResult::new(count).set_fds(files));
                }
                Next::Refused(answer) => {
                    socket::WriteHalf::write(self, &answer, &[] as &[OwnedFd], None).await?;
                    continue;
                }
                Next::Nothing => {}
            }
            // Whoever reads has answered everything that was complete.
            self.caller.now(if self.caller.begun.get() > 0 { Doing::Sending } else { Doing::Waiting });
            self.stream.readable().await?;
            came.resize(AT_ONCE, 0);
            match self.receive(&mut came) {
                Ok((0, _)) => return Ok(ReadResult::new(0)),
                Ok((count, files)) => {
                    let octets = came.get(..count).unwrap_or_default();
                    self.caller.passed(files.len()).map_err(|why| self.refuse(why))?;
                    self.caller.took(octets).map_err(|why| self.refuse(why))?;
                    self.inbox.borrow_mut().take(octets, files);
                }
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(e) => return Err(e.into()),
            }
        }
    }
}

impl socket::WriteHalf for Line {
    async fn write(
        &mut self,
        octets: &[u8],
        _descriptors: &[impl AsFd],
        _credentials: Option<&PassedCredentials>,
    ) -> zlink::Result<()> {
        self.caller.now(Doing::Taking);
        let whole = aside::whole(octets);
        let mut rest = whole.as_deref().unwrap_or(octets);
        while !rest.is_empty() {
            self.stream.writable().await?;
            match self.stream.try_write(rest) {
                Ok(count) => rest = rest.get(count..).unwrap_or_default(),
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(e) => return Err(e.into()),
            }
        }
        self.caller.now(Doing::Served);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn doing(place: &Place) -> (Doing, usize) {
        (place.caller.doing.get(), place.caller.begun.get())
    }

    #[tokio::test]
    async fn a_request_is_counted_until_its_end() {
        let all = Rc::new(Callers::default());
        let place = all.admit(7, 1, true).unwrap();
        assert_eq!(doing(&place), (Doing::Waiting, 0));
        place.caller.took(b"{\"method").unwrap();
        assert_eq!(doing(&place), (Doing::Sending, 8));
        place.caller.took(b"\"}\0{").unwrap();
        assert_eq!(doing(&place), (Doing::Served, 1));
        place.caller.took(&vec![b'x'; REQUEST - 1]).unwrap();
        assert_eq!(place.caller.took(b"x"), Err(Why::TooLong));
        let other = all.admit(8, 1, false).unwrap();
        assert_eq!(other.caller.took(&vec![b'x'; REQUEST_OF_OTHERS + 1]), Err(Why::TooLong));
        drop((place, other));
        assert_eq!(all.held.get(), 0);
    }

    #[tokio::test]
    async fn all_requests_together_have_a_limit() {
        let all = Rc::new(Callers::default());
        let places: Vec<Place> = (0..33).map(|_| all.admit(7, 1, true).unwrap()).collect();
        let results = places.iter().map(|place| place.caller.took(&vec![b'x'; REQUEST]));
        assert_eq!(results.filter(|result| *result == Err(Why::TooMuch)).count(), 1);
    }

    #[tokio::test]
    async fn who_has_nothing_to_do_gives_way_and_who_is_served_does_not() {
        let all = Rc::new(Callers::default());
        let first = all.admit(7, 1, true).unwrap();
        let more: Vec<Place> = (1..EACH).map(|_| all.admit(7, 1, true).unwrap()).collect();
        let last = all.admit(7, 1, true).unwrap();
        assert_eq!(first.caller.end.get(), Some(Why::MakesRoom));
        assert!(more.iter().all(|place| place.caller.end.get().is_none()));
        more.iter().chain([&last]).for_each(|place| place.caller.now(Doing::Served));
        assert!(all.admit(7, 1, true).is_none(), "all are busy");
        let others: Vec<Option<Place>> = (0..ALL).map(|n| all.admit(8 + n as u32 % 4, 1, true)).collect();
        assert!(others.iter().all(Option::is_some), "the oldest of those give way");
        assert!(all.admit(0, 1, true).is_some(), "root finds a place");
        assert!(all.there.borrow().len() <= ALL + 1);
    }
}
