//! A connection that broke may have left a server with a complete command: what it stores, it may store after we
//! have looked. Whoever is in doubt waits for that here. It refuses to wait for long, and where everything that
//! was sent has come.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::failure::Failure;
use crate::imap::Session;
use crate::message::{Parcel, UidSet};

/// So long after it was sent a message may still come.
const LATE: Duration = Duration::from_secs(10);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(250);

/// Messages whose answer was lost.
#[derive(Debug, Default)]
pub(super) struct Late {
    /// Their sizes.
    pub(super) sizes: Vec<u64>,
    until: Option<Instant>,
}

impl Late {
    /// Sent by a connection that broke just now.
    pub(super) fn now(sizes: Vec<u64>) -> Late {
        Late { sizes, until: Some(Instant::now() + LATE) }
    }

    /// Sent at that time, by whoever we were.
    pub(super) fn since(sizes: Vec<u64>, sent: SystemTime) -> Late {
        let passed = SystemTime::now().duration_since(sent).unwrap_or_default();
        Late { sizes, until: LATE.checked_sub(passed).map(|left| Instant::now() + left) }
    }

    /// Waits until messages of these sizes are in the folder, with UIDs from `first` on that are not `known`; or
    /// until they cannot come any more. The folder is open then.
    pub(super) async fn wait(
        &self,
        session: &mut Session<Parcel>,
        name: &[u8],
        first: u32,
        known: &UidSet,
    ) -> Result<(), Failure> {
        let Some(until) = self.until.filter(|_| !self.sizes.is_empty()) else { return Ok(()) };
        loop {
            // A folder that is open need not tell what came since.
            if session.select(name).await?.is_none() {
                return Ok(());
            }
            let mut missing: BTreeMap<u64, usize> = BTreeMap::new();
            for size in &self.sizes {
                *missing.entry(*size).or_default() += 1;
            }
            for (_, size) in session.sizes_from(first).await?.iter().filter(|(uid, _)| !known.contains(*uid))
            {
                if let Some(count) = missing.get_mut(&u64::from(*size)) {
                    *count = count.saturating_sub(1);
                }
            }
            if missing.values().all(|count| *count == 0) || Instant::now() >= until {
                return Ok(());
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}
