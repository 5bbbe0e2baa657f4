//! What is here of a migration that does not run, by what the journal has of its folders; and what it waits for, in
//! words. It refuses to take the numbers of a try that saw only some of the folders for the whole.

use super::super::tally::{Sums, Tally};
use super::super::{Means, now};
use crate::failure::Failure;
use crate::journal::{Changes, FolderState, Journal, MigrationRecord};
use crate::migration::{Ledger, State as Stage};

/// A step of a run is told as waiting after so many milliseconds without a message.
const SILENT: i64 = 5000;

/// Counts what this run brought and found so far. Nothing is changed where the journal knows no folder of the run.
///
/// # Errors
/// The journal cannot be read.
pub(super) fn recount(journal: &Journal, name: &str, record: &mut MigrationRecord) -> Result<(), Failure> {
    let Some(run) = record.started_at else { return Ok(()) };
    let (mut ledger, mut done, mut known) = (Ledger::default(), 0, false);
    for folder in journal.folders(name)?.values().filter(|folder| folder.run == run) {
        ledger.add(&folder.ledger);
        done += u64::from(matches!(folder.state, FolderState::Done | FolderState::Failed));
        known = true;
    }
    if known {
        (record.ledger, record.folders_done) = (ledger, done);
    }
    Ok(())
}

/// The numbers of a try that ended, or `broke_off`: such a one may not have seen all that earlier ones brought.
pub(super) fn keep(means: &Means, name: &str, record: &mut MigrationRecord, sums: Sums, broke_off: bool) {
    let bytes = record.bytes_done;
    sums.keep(record);
    if broke_off {
        record.bytes_done = record.bytes_done.max(bytes);
        recount_or_tell(means, name, record);
    }
}

/// The numbers of a run that a person stopped.
pub(super) fn paused(means: &Means, name: &str, record: &mut MigrationRecord) {
    recount_or_tell(means, name, record);
    let mut changes = Changes::default();
    changes.migration(name, record);
    // Nobody waits for it: what is lost with the machine is counted again.
    drop(means.journal.enqueue(changes));
}

fn recount_or_tell(means: &Means, name: &str, record: &mut MigrationRecord) {
    if let Err(failure) = recount(&means.journal, name, record) {
        tracing::error!(MIGRATION = name, "what came cannot be counted: {failure}");
    }
}

/// What a migration waits for, in words for a person. `None`: for nothing, or mail moves.
pub(super) fn waits_for(
    name: &str,
    record: &MigrationRecord,
    position: Option<u64>,
    tally: Option<&Tally>,
    busy: bool,
) -> Option<String> {
    match record.state {
        Stage::Queued if !busy => Some(match position {
            Some(place) if place > 1 => format!("its turn: it is number {place} in the queue"),
            _ => "its turn".to_owned(),
        }),
        Stage::Retrying if !busy => Some("the time of the next try".to_owned()),
        Stage::Paused => Some(format!("'mailhaulctl resume {name}'")),
        Stage::RollingBack => Some("the destination: it is being put back as it was".to_owned()),
        Stage::Queued | Stage::Retrying | Stage::Checking | Stage::Running => {
            let (step, since) = tally?.step()?;
            let silent = now() - since;
            (silent >= SILENT).then(|| format!("{step}, for {} s", silent / 1000))
        }
        _ => None,
    }
}
