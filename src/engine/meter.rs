//! Live numbers of a run, for everybody who looks. It refuses to be the truth: that is the journal.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::destination::landing::Receipt;

/// The numbers of one run, or of the daemon as a whole.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    /// Messages done.
    pub(crate) messages: AtomicU64,
    /// Messages to do, plus one; 0: not known.
    total: AtomicU64,
    /// Octets done.
    pub(crate) bytes: AtomicU64,
    /// Messages that the destination did not take now, and its last words.
    later: AtomicU64,
    words: Mutex<Option<String>>,
    /// Messages that may be there twice.
    twice: AtomicU64,
    /// Messages that are spam.
    junk: AtomicU64,
    /// Messages that nobody judged, and why.
    unjudged: Mutex<Option<(u64, String)>>,
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

    /// What the destination said of a message, if it is to be told at the end.
    pub(super) fn hear(&self, receipt: &Receipt) {
        self.twice.fetch_add(u64::from(receipt.twice), Relaxed);
        self.junk.fetch_add(u64::from(receipt.junk), Relaxed);
        if let (Some(why), Ok(mut unjudged)) = (&receipt.unjudged, self.unjudged.lock()) {
            unjudged.get_or_insert_with(|| (0, why.clone())).0 += 1;
        }
        if receipt.later {
            self.later.fetch_add(1, Relaxed);
            if let Ok(mut words) = self.words.lock() {
                words.get_or_insert_with(|| receipt.refused.clone().unwrap_or_default());
            }
        }
    }

    /// The first words of a destination that did not take something now.
    pub(super) fn put_off(&self) -> Option<String> {
        self.words.lock().ok()?.clone()
    }

    /// What is to be told of the run besides its numbers.
    pub(super) fn note(&self) -> Option<String> {
        let (later, twice) = (self.later.load(Relaxed), self.twice.load(Relaxed));
        let messages = |count: u64| format!("{count} {}", if count == 1 { "message" } else { "messages" });
        let waits = self
            .put_off()
            .filter(|_| later > 0)
            .map(|words| format!("{} did not come, the next run tries again: {words}", messages(later)));
        let doubled = (twice > 0).then(|| {
            format!("{} may be here twice: an answer was lost, and nobody can ask again", messages(twice))
        });
        let junk = self.junk.load(Relaxed);
        let junk = (junk > 0).then(|| format!("{junk} of them went to the folder for spam"));
        let unjudged = self.unjudged.lock().ok().and_then(|unjudged| unjudged.clone());
        let unjudged =
            unjudged.map(|(count, why)| format!("{} came without being judged: {why}", messages(count)));
        let notes: Vec<String> = waits.into_iter().chain(doubled).chain(junk).chain(unjudged).collect();
        (!notes.is_empty()).then(|| notes.join("; "))
    }

    pub(super) fn add(&self, messages: u64, bytes: u64) {
        self.messages.fetch_add(messages, Relaxed);
        self.bytes.fetch_add(bytes, Relaxed);
    }
}
