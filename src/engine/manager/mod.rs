//! The manager: which accounts there are, what is due, what waits and what runs. Everything it decides is in
//! one place under one lock, can be listed, and is in the journal before anybody is told. It refuses to
//! hold the lock over anything that waits.

mod accounts;
mod authorize;
mod check;
mod clock;
mod denial;
mod doors;
mod files;
mod find;
mod hosts;
mod migrations;
mod moved;
mod notices;
mod once;
mod polls;
mod post;
mod recount;
mod repeat;
mod state;
mod verdict;
mod verify;
mod view;
mod wishes;

use std::collections::BTreeSet;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, RwLock};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::clock::Clock;
use self::state::State;
use super::meter::Meter;
use super::{Means, now};
use crate::account::Member;
use crate::failure::Failure;

pub use check::Checked;
pub use files::Files;
pub use once::Summary;
pub use polls::Asked;
pub use view::{Details, MigrationView, Overview, PollView, View};

/// Why a wish is not granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// No account has that name.
    NoSuchAccount(String),
    /// The account is not in a state, or not of a kind, for that: name, why, what to do.
    Refused(String, String, String),
    /// Our own side failed.
    Failed(Failure),
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Refusal::Failed(failure)
    }
}

/// The manager; one for the life of the daemon.
#[derive(Debug)]
pub struct Manager {
    state: Mutex<State>,
    means: RwLock<Arc<Means>>,
    wake: Arc<Notify>,
    changed: watch::Sender<u64>,
    tasks: TaskTracker,
    stop: CancellationToken,
    total: Arc<Meter>,
    once: bool,
    clock: Mutex<Clock>,
    /// Mailboxes that somebody uploads into.
    uploads: Mutex<BTreeSet<(Member, String)>>,
    /// Backups that run.
    backups: AtomicU64,
    /// For the administrators.
    post: Mutex<post::Post>,
    /// For the members.
    turns: Mutex<notices::Turns>,
}

impl Manager {
    /// A manager without accounts. `once`: nothing is due by itself.
    pub fn new(means: Means, once: bool) -> Arc<Manager> {
        Arc::new(Manager {
            state: Mutex::new(State::default()),
            means: RwLock::new(Arc::new(means)),
            wake: Arc::new(Notify::new()),
            changed: watch::Sender::new(0),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            total: Arc::new(Meter::default()),
            once,
            clock: Mutex::default(),
            uploads: Mutex::default(),
            backups: AtomicU64::default(),
            post: Mutex::default(),
            turns: Mutex::default(),
        })
    }

    /// What wakes the loop in [`Manager::step`].
    pub fn wake(&self) -> Arc<Notify> {
        Arc::clone(&self.wake)
    }

    /// Changes whenever something that can be seen did.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Starts what is due and may run. To be called whenever [`Manager::wake`] says so.
    pub fn step(self: &Arc<Self>) {
        if self.stop.is_cancelled() {
            return;
        }
        let jump = self.clock.lock().map_or(0, |mut clock| clock.jump(now(), Instant::now()));
        if jump != 0 {
            tracing::warn!("the clock was set by {} s; every pause stays as long as it was", jump / 1000);
            self.lock().shift(jump);
        }
        self.wipe();
        self.start_polls();
        self.start_migrations();
    }

    /// No new work; what runs is broken off where it is safe. Returns when nothing runs any more, or after
    /// `limit`.
    pub async fn shut_down(&self, limit: Duration) {
        self.stop.cancel();
        self.lock().cancel_all();
        self.tasks.close();
        let _ = tokio::time::timeout(limit, self.tasks.wait()).await;
        // Idle polls write nothing; the times of their last runs are kept now.
        let changes = self.lock().last_runs();
        if let Err(failure) = self.means().journal.commit(changes).await {
            tracing::warn!("{failure}");
        }
    }

    pub(super) fn means(&self) -> Arc<Means> {
        match self.means.read() {
            Ok(means) => Arc::clone(&means),
            Err(poisoned) => Arc::clone(&poisoned.into_inner()),
        }
    }

    fn set_means(&self, means: Means) {
        match self.means.write() {
            Ok(mut place) => *place = Arc::new(means),
            Err(poisoned) => *poisoned.into_inner() = Arc::new(means),
        }
    }

    /// A task that panicked while it held the lock left plain data behind: it is still good.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn told(&self) {
        self.changed.send_modify(|count| *count += 1);
        self.wake.notify_one();
    }
}
