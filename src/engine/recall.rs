//! What a maildrop's record keeps from one session to the next: identities, and messages that were not brought.
//! It refuses to write what is there already.

use std::collections::{BTreeMap, BTreeSet};

use crate::destination::landing::Receipt;
use crate::failure::{Failure, Kind};
use crate::journal::{Changes, Journal, SkippedRecord};

/// Exceptions that are listed for one account.
const MOST_SKIPPED: usize = 20_000;

/// Writes the identities, if they are not what the journal has.
pub(super) fn remember(
    journal: &Journal,
    name: &str,
    known: &BTreeSet<u128>,
    chunks: usize,
    changes: &mut Changes,
) -> Result<(), Failure> {
    let (stored, _) = journal.identities(name)?;
    if stored != *known || Changes::is_scattered(known.len(), chunks) {
        changes.identities(name, known, chunks);
    }
    Ok(())
}

/// Why a message is not at the destination, which said so.
pub(super) fn not_taken(account: &str, receipt: &Receipt) -> String {
    let words = receipt.refused.as_deref().unwrap_or_default();
    if receipt.for_good {
        format!(
            "it did not come, and is left alone: {words}; 'mailhaulctl enable {account}' has it tried once more"
        )
    } else if receipt.later {
        format!("it did not come: {words}; the next run tries again")
    } else {
        format!("the destination does not take it: {words}")
    }
}

/// The same, where it stands for all that was to come.
pub(super) fn hindrance(receipt: &Receipt) -> Failure {
    let words = receipt.refused.as_deref().unwrap_or_default();
    Failure::new(Kind::Destination, format!("the destination takes nothing: {words}"), "it is tried again")
}

/// Writes the exceptions, if they are not what the journal has.
pub(super) fn list_skipped(
    journal: &Journal,
    name: &str,
    skipped: &BTreeMap<String, SkippedRecord>,
    changes: &mut Changes,
) -> Result<(), Failure> {
    let mut before: BTreeMap<String, SkippedRecord> =
        journal.skipped(name)?.into_iter().map(|(_, key, record)| (key, record)).collect();
    for (key, record) in skipped.iter().take(MOST_SKIPPED) {
        if before.remove(key).as_ref() != Some(record) {
            changes.skipped(name, 0, key, record);
        }
    }
    for key in before.keys() {
        changes.not_skipped(name, 0, key);
    }
    Ok(())
}
