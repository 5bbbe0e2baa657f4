//! The life of a migration as a state machine, and the ledger that has to add up.
//! It refuses I/O and time: the engine says what happened, this says what it means.

use serde::{Deserialize, Serialize};

/// The state of a migration.
///
/// ```text
///            start            its turn         logged in
///  ready ──────────► queued ──────────► checking ──────► running ──► completed
///    ▲                 ▲ ▲                 │  ▲             │
///    │           resume│ └───────┐         ▼  │ its time    ▼
///    │               paused ◄─── │ ── retrying ◄────────────┤  again later
///    │                           │                          │
///    │  start again: completed, failed, rolled-back, cancelled ──► queued
///    └── never started           └ restart of the daemon    ├─► rolling-back ─► rolled-back
///                                                           │        └────────► cancelled
///                                                           └─► failed (nothing came, or kept)
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Defined, never started.
    Ready,
    /// Waits for its turn.
    Queued,
    /// Connects, logs in, counts.
    Checking,
    /// Moves mail.
    Running,
    /// Waits for the time of the next try.
    Retrying,
    /// Stopped by a person, to be resumed.
    Paused,
    /// Everything that can be brought has been.
    Completed,
    /// Failed for good; what came stays, or nothing had come.
    Failed,
    /// The destination is being put back.
    RollingBack,
    /// Failed for good and the destination is as it was.
    RolledBack,
    /// Cancelled by a person.
    Cancelled,
}

impl State {
    /// As the control protocol writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Ready => "ready",
            State::Queued => "queued",
            State::Checking => "checking",
            State::Running => "running",
            State::Retrying => "retrying",
            State::Paused => "paused",
            State::Completed => "completed",
            State::Failed => "failed",
            State::RollingBack => "rolling-back",
            State::RolledBack => "rolled-back",
            State::Cancelled => "cancelled",
        }
    }

    /// In the queue: it waits for something or does something.
    pub fn is_open(self) -> bool {
        matches!(
            self,
            State::Queued
                | State::Checking
                | State::Running
                | State::Retrying
                | State::Paused
                | State::RollingBack
        )
    }

    /// Over, until it is started again.
    pub fn has_ended(self) -> bool {
        matches!(self, State::Completed | State::Failed | State::RolledBack | State::Cancelled)
    }

    /// The state after a person asked for `wish`, or why that cannot be.
    pub fn wish(self, wish: Wish) -> Result<State, &'static str> {
        match (wish, self) {
            (Wish::Start, state) if state == State::Ready || state.has_ended() => Ok(State::Queued),
            (Wish::Start, State::Paused) => Err("it is paused: resume it"),
            (Wish::Start, State::RollingBack) => Err("its destination is being put back: wait for that"),
            (Wish::Start, _) => Err("it is in the queue already"),
            (Wish::Pause, State::Queued | State::Checking | State::Running | State::Retrying) => {
                Ok(State::Paused)
            }
            (Wish::Pause, State::Paused) => Err("it is paused already"),
            (Wish::Pause, State::RollingBack) => Err("its destination is being put back: wait for that"),
            (Wish::Pause, _) => Err("it is not in the queue"),
            (Wish::Resume, State::Paused) => Ok(State::Queued),
            (Wish::Resume, _) => Err("it is not paused"),
            // Where it cannot be put back, somebody has to be able to end that.
            (Wish::Cancel { keep: false }, State::RollingBack) => {
                Err("its destination is being put back already; --keep ends that, and leaves what is there")
            }
            (Wish::Cancel { keep: true }, state) if state.is_open() => Ok(State::Cancelled),
            (Wish::Cancel { keep: false }, state) if state.is_open() => Ok(State::RollingBack),
            (Wish::Cancel { .. }, _) => Err("it is not in the queue"),
        }
    }
}

/// What a person may ask of a migration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// Into the queue.
    Start,
    /// Stop where it is.
    Pause,
    /// Go on.
    Resume,
    /// End it; put the destination back, or leave what came.
    Cancel {
        /// Leave what came.
        keep: bool,
    },
}

/// What a run saw and what became of it, in messages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ledger {
    /// Listed by the source.
    pub seen: u64,
    /// Brought by this run.
    pub imported: u64,
    /// At the destination before this run, recorded or adopted.
    pub already_there: u64,
    /// Left out on purpose, each with a reason.
    pub skipped: u64,
    /// Tried in vain, each with a reason.
    pub failed: u64,
    /// Listed, and gone when they were asked for.
    pub vanished: u64,
}

impl Ledger {
    /// `seen = imported + already there + skipped + failed + vanished`.
    pub fn adds_up(&self) -> bool {
        self.seen == self.decided()
    }

    /// Messages of which it is known what became of them.
    pub fn decided(&self) -> u64 {
        self.imported + self.already_there + self.skipped + self.failed + self.vanished
    }

    /// Adds another folder's or run's numbers.
    pub fn add(&mut self, other: &Ledger) {
        self.seen += other.seen;
        self.imported += other.imported;
        self.already_there += other.already_there;
        self.skipped += other.skipped;
        self.failed += other.failed;
        self.vanished += other.vanished;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wishes_are_granted_or_explained() {
        assert_eq!(State::Ready.wish(Wish::Start), Ok(State::Queued));
        assert_eq!(State::Completed.wish(Wish::Start), Ok(State::Queued));
        assert!(State::Running.wish(Wish::Start).is_err());
        assert_eq!(State::Running.wish(Wish::Pause), Ok(State::Paused));
        assert_eq!(State::Paused.wish(Wish::Resume), Ok(State::Queued));
        assert_eq!(State::Running.wish(Wish::Cancel { keep: false }), Ok(State::RollingBack));
        assert_eq!(State::Retrying.wish(Wish::Cancel { keep: true }), Ok(State::Cancelled));
        assert_eq!(State::RollingBack.wish(Wish::Cancel { keep: true }), Ok(State::Cancelled));
        assert!(State::RollingBack.wish(Wish::Cancel { keep: false }).is_err());
        assert!(State::Completed.wish(Wish::Cancel { keep: false }).is_err());
    }

    #[test]
    fn the_ledger_notices_a_missing_message() {
        let mut ledger = Ledger { seen: 3, imported: 1, skipped: 1, vanished: 1, ..Ledger::default() };
        assert!(ledger.adds_up());
        ledger.seen += 1;
        assert!(!ledger.adds_up());
    }
}
