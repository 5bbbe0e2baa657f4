//! The numbers of one try of a migration, folder by folder, for everybody who looks. It refuses to be the
//! truth: that is the journal.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use super::now;
use crate::failure::{Failure, Kind};
use crate::journal::{Arrived, MigrationRecord};
use crate::migration::Ledger;

/// The numbers of a try, for everybody who looks.
#[derive(Debug, Default)]
pub(super) struct Tally(Mutex<Numbers>);

#[derive(Debug, Default)]
struct Numbers {
    checked: bool,
    folders_total: Option<u64>,
    /// What the source counts in all folders, until they are listed.
    counted: Option<u64>,
    folders: BTreeMap<u64, FolderNumbers>,
    progress_at: Option<i64>,
    arrived: Option<Arrived>,
    refused: bool,
    /// Messages that were refused for now, and what was said first.
    hindered: u64,
    hindrance: Option<Failure>,
    /// Folders that cannot be read and whose messages nobody counted, and what was said of the first.
    unread: u64,
    unread_first: Option<String>,
    /// Messages that the destination stored.
    landed: u64,
    /// What was refused although nothing says that it is its fault.
    unproven: Option<Unproven>,
    /// What is waited for, and when that began or a message came last.
    step: Option<(String, i64)>,
}

/// Messages that were refused although nothing says that it is their fault.
#[derive(Debug)]
struct Unproven {
    messages: u64,
    /// The folders that they are in.
    folders: BTreeSet<u64>,
    /// What was said first.
    first: Failure,
    /// How many messages had been stored then.
    landed: u64,
}

/// So many messages may be to blame where nothing came after them.
const FEW: u64 = 3;
/// After so many tries in vain a folder may be to blame where everything else is here.
pub(super) const RESIGNED: u32 = 3;

/// The numbers of one folder.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct FolderNumbers {
    pub(super) ledger: Ledger,
    pub(super) bytes_total: u64,
    pub(super) bytes_done: u64,
    pub(super) done: bool,
}

/// The numbers of all folders.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sums {
    /// The checks are over, mail moves.
    pub checked: bool,
    /// Folders at the source.
    pub folders_total: Option<u64>,
    /// Folders that are done.
    pub folders_done: u64,
    /// Messages at the source.
    pub messages_total: Option<u64>,
    /// Octets at the source, once every folder is listed.
    pub bytes_total: Option<u64>,
    /// Octets done.
    pub bytes_done: u64,
    /// What became of the messages so far.
    pub ledger: Ledger,
    /// The last time that something landed.
    pub progress_at: Option<i64>,
    /// What the look at the end said.
    pub arrived: Option<Arrived>,
    /// Every folder has been listed.
    pub whole: bool,
}

impl Sums {
    /// Puts the numbers into a record; what is not known yet stays as it was.
    pub(super) fn keep(self, record: &mut MigrationRecord) {
        record.folders_total = self.folders_total.or(record.folders_total);
        if self.folders_done == 0 && self.ledger.seen == 0 {
            // A try that has seen no folder yet says nothing of what earlier tries did.
            return;
        }
        let here = |ledger: &Ledger| ledger.imported + ledger.already_there;
        if !self.whole && here(&self.ledger) < here(&record.ledger) {
            // Nor does one that has seen some of them.
            return;
        }
        record.folders_done = self.folders_done;
        record.messages_total = self.messages_total.or(record.messages_total);
        record.bytes_total = self.bytes_total.or(record.bytes_total);
        record.bytes_done = self.bytes_done;
        record.ledger = self.ledger;
        record.arrived = self.arrived;
    }
}

impl Tally {
    pub(super) fn sums(&self) -> Sums {
        let Ok(numbers) = self.0.lock() else { return Sums::default() };
        let mut sums = Sums {
            checked: numbers.checked,
            folders_total: numbers.folders_total,
            progress_at: numbers.progress_at,
            arrived: numbers.arrived,
            ..Sums::default()
        };
        let mut bytes = 0;
        for folder in numbers.folders.values() {
            sums.ledger.add(&folder.ledger);
            sums.folders_done += u64::from(folder.done);
            sums.bytes_done += folder.bytes_done;
            bytes += folder.bytes_total;
        }
        sums.whole = sums.folders_total == Some(numbers.folders.len() as u64);
        if sums.whole {
            sums.bytes_total = Some(bytes);
            sums.messages_total = Some(sums.ledger.seen);
        } else {
            sums.messages_total = numbers.counted;
        }
        sums
    }

    fn with(&self, change: impl FnOnce(&mut Numbers)) {
        if let Ok(mut numbers) = self.0.lock() {
            change(&mut numbers);
        }
    }

    /// The login is done and the folders are known.
    pub(super) fn checked(&self, folders: u64) {
        self.with(|numbers| {
            numbers.checked = true;
            numbers.folders_total = Some(folders);
        });
    }

    /// What the source counts in all folders, if it tells.
    pub(super) fn counted(&self, messages: Option<u64>) {
        self.with(|numbers| numbers.counted = messages);
    }

    /// What the look at the end said.
    pub(super) fn arrived(&self, arrived: Arrived) {
        self.with(|numbers| numbers.arrived = Some(arrived));
    }

    /// The source allowed fewer connections than were wanted.
    pub(super) fn refused(&self) {
        self.with(|numbers| numbers.refused = true);
    }

    /// So many messages were refused for now, by that.
    pub(super) fn hindered(&self, messages: u64, by: Failure) {
        self.with(|numbers| {
            numbers.hindered += messages;
            numbers.hindrance.get_or_insert(by);
        });
    }

    /// A folder cannot be read, and nobody knows how many messages it has.
    pub(super) fn unread(&self, words: &str) {
        self.with(|numbers| {
            numbers.unread += 1;
            numbers.unread_first.get_or_insert_with(|| words.to_owned());
        });
    }

    /// What is to be said of such folders.
    pub(super) fn unread_folders(&self) -> Option<String> {
        let numbers = self.0.lock().ok()?;
        let first = numbers.unread_first.as_ref()?;
        Some(match numbers.unread {
            1 => format!("1 folder failed: {first}"),
            many => format!("{many} folders failed, the first one is {first}"),
        })
    }

    /// The destination stored so many more.
    pub(super) fn landed(&self, messages: u64) {
        self.with(|numbers| numbers.landed += messages);
    }

    /// What is waited for from now on, in words for a person.
    pub(super) fn waits_for(&self, step: impl Into<String>) {
        self.with(|numbers| numbers.step = Some((step.into(), now())));
    }

    /// What is waited for, and since when nothing came.
    pub(super) fn step(&self) -> Option<(String, i64)> {
        self.0.lock().ok()?.step.clone()
    }

    /// A message of a folder was refused by that, and nothing says yet that it is to blame.
    pub(super) fn unproven(&self, folder: u64, by: Failure) {
        self.with(|numbers| {
            let landed = numbers.landed;
            let unproven = numbers.unproven.get_or_insert_with(|| Unproven {
                messages: 0,
                folders: BTreeSet::new(),
                first: Failure { kind: Kind::Refuses, ..by },
                landed,
            });
            unproven.messages += 1;
            unproven.folders.insert(folder);
        });
    }

    /// Where nothing came and all of it was refused, or much was refused and nothing came after that, one cause stands
    /// behind it, which has to be told as that. After several tries `in_vain` that may be a folder.
    ///
    /// # Errors
    /// What was said first.
    pub(super) fn not_all_refused(&self, in_vain: u32) -> Result<(), Failure> {
        let ledger = self.sums().ledger;
        let nothing = ledger.imported + ledger.already_there == 0;
        let Ok(numbers) = self.0.lock() else { return Ok(()) };
        // One message may be to blame itself.
        let many = ledger.failed > 1 || (numbers.unread > 0 && ledger.seen == ledger.failed);
        let all = many && numbers.hindered >= ledger.failed;
        if let Some(Unproven { messages, folders, first, landed }) = &numbers.unproven
            && *messages > FEW
            && numbers.landed <= *landed
            && (nothing || folders.len() > 1 || in_vain < RESIGNED)
        {
            return Err(first.clone());
        }
        match &numbers.hindrance {
            Some(failure) if nothing && all => Err(failure.clone()),
            _ => Ok(()),
        }
    }

    /// Whether the source allowed fewer connections than were wanted.
    pub(super) fn was_refused(&self) -> bool {
        self.0.lock().is_ok_and(|numbers| numbers.refused)
    }

    /// A folder's numbers changed.
    pub(super) fn set(&self, folder: u64, numbers: FolderNumbers) {
        self.with(|all| {
            // What earlier tries had brought is no progress of this one, however often it is listed again.
            let here = |numbers: &FolderNumbers| numbers.ledger.imported + numbers.ledger.already_there;
            let before = all.folders.insert(folder, numbers);
            if let Some((_, since)) = &mut all.step {
                *since = now();
            }
            if before.is_some_and(|before| here(&before) < here(&numbers)) {
                all.progress_at = Some(now());
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_to_blame_where_others_come_after_them() {
        let by = |words: &str| Failure::new(Kind::Destination, words, "");
        for (before, refused, after, in_vain, whole) in [
            (9, 1, 0, 0, false),
            (9, 4, 0, 0, true),
            (9, 4, 1, 0, false),
            (0, 9, 0, 0, true),
            (9, 4, 0, RESIGNED, false),
            (0, 9, 0, RESIGNED, true),
        ] {
            let tally = Tally::default();
            let ledger = Ledger { seen: 20, imported: before + after, failed: refused, ..Ledger::default() };
            tally.set(1, FolderNumbers { ledger, ..FolderNumbers::default() });
            tally.landed(before);
            for _ in 0..refused {
                tally.unproven(1, by("first"));
            }
            tally.landed(after);
            assert_eq!(tally.not_all_refused(in_vain).is_err(), whole, "{before} {refused} {after}");
        }
    }

    #[test]
    fn only_what_lands_is_progress() {
        let tally = Tally::default();
        let numbers = |imported, done| FolderNumbers {
            ledger: Ledger { seen: 9, imported, ..Ledger::default() },
            done,
            ..FolderNumbers::default()
        };
        tally.set(1, numbers(5, false));
        tally.set(1, numbers(5, true));
        assert_eq!(tally.sums().progress_at, None, "an earlier try had brought these");
        tally.set(2, numbers(5, false));
        tally.set(2, numbers(6, false));
        assert!(tally.sums().progress_at.is_some());
    }
}
