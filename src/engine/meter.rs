//! Live numbers of a run, for everybody who looks. It refuses to be the truth: that is the journal.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The numbers of one run, or of the daemon as a whole.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    /// Messages done.
    pub(crate) messages: AtomicU64,
    /// Messages to do, plus one; 0: not known.
    total: AtomicU64,
    /// Octets done.
    pub(crate) bytes: AtomicU64,
}

impl Meter {
    pub(super) fn set_total(&self, messages: u64) {
        self.total.store(messages.saturating_add(1), Relaxed);
    }

    /// So many more messages are to do.
    pub(super) fn expect(&self, messages: u64) {
        let _ = self.total.compare_exchange(0, 1, Relaxed, Relaxed);
        self.total.fetch_add(messages, Relaxed);
    }

    /// Messages to do, once known.
    pub(crate) fn total(&self) -> Option<u64> {
        self.total.load(Relaxed).checked_sub(1)
    }

    pub(super) fn add(&self, messages: u64, bytes: u64) {
        self.messages.fetch_add(messages, Relaxed);
        self.bytes.fetch_add(bytes, Relaxed);
    }
}
