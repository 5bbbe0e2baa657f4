//! The records and their keys. Times are milliseconds since 1970. It refuses nothing of its own: a record
//! that cannot be read is absent, and then the destination is asked.
//!
//! | key | record |
//! | --- | --- |
//! | `c/ACCOUNT/FOLDER/UID` | [`super::StrikeRecord`] |
//! | `b/ACCOUNT` | octets fetched, by the hour, of the last day |
//! | `p/ACCOUNT` | [`PollRecord`], the manager's |
//! | `s/ACCOUNT` | [`SourceRecord`], the poll's own |
//! | `u/ACCOUNT/CHUNK` | POP3 identities, 16 octets each in hexadecimal |
//! | `e` `v` `y` `k` `j` `g` `l/ACCOUNT/CHUNK` | marks of identities, see [`IdMark`] |
//! | `m/ACCOUNT` | [`MigrationRecord`] |
//! | `o/ACCOUNT` | the member and the destination that the progress belongs to |
//! | `q/ACCOUNT` | a few messages by which the source is known again |
//! | `w/MEMBER/MARK` | an account that began a run for that member |
//! | `f/ACCOUNT/FOLDER` | [`FolderRecord`] |
//! | `r/ACCOUNT/FOLDER/SIDE/CHUNK` | a set of UIDs: `d` what landed, `b` what had landed before this run, `a` what was here under other names, `l` whose flags are known, `D` `F` `R` `S` `T` who had which at the source, a digit who got or lost which here; UIDs at a server: `p` of what landed, `q` before this run, `t` of what was there, `g` of what had other UIDs at the source, `U` to `Y` and `u` to `y` who got or lost which flag there; `k:` `n:` `o:` `N:` `O:` and a keyword: the same for keywords |
//! | `x/ACCOUNT/FOLDER/ID` | [`SkippedRecord`] |
//! | `h/TIME/ACCOUNT` | a [`MigrationRecord`] that ended |

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::identities::{IdMark, Uidls};
use super::store::Journal;
use crate::failure::Failure;
use crate::migration::{Ledger, State};

/// Changes that belong together.
#[derive(Debug, Default)]
pub struct Changes(BTreeMap<String, Option<Vec<u8>>>);

impl Changes {
    /// A key gets a value.
    pub fn set(&mut self, key: String, value: Vec<u8>) {
        self.0.insert(key, Some(value));
    }

    /// A key gets a record.
    pub fn set_json(&mut self, key: String, record: &impl Serialize) {
        if let Ok(text) = serde_json::to_vec(record) {
            self.set(key, text);
        }
    }

    /// A key goes.
    pub fn remove(&mut self, key: String) {
        self.0.insert(key, None);
    }

    /// Later changes win.
    pub fn merge(&mut self, later: Changes) {
        self.0.extend(later.0);
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&String, &Option<Vec<u8>>)> {
        self.0.iter()
    }

    /// A poll's record.
    pub fn poll(&mut self, account: &str, record: &PollRecord) {
        self.set_json(format!("p/{account}"), record);
    }

    /// What a poll knows of its source.
    pub fn source(&mut self, account: &str, record: &SourceRecord) {
        self.set_json(format!("s/{account}"), record);
    }

    /// A migration's record.
    pub fn migration(&mut self, account: &str, record: &MigrationRecord) {
        self.set_json(format!("m/{account}"), record);
    }

    /// What an account fetched, in octets by the hour, counted from 1970.
    pub fn fetched(&mut self, account: &str, hours: &BTreeMap<i64, u64>) {
        self.set_json(format!("b/{account}"), hours);
    }

    /// A migration that ended goes into the history.
    pub fn history(&mut self, at: i64, account: &str, record: &MigrationRecord) {
        self.set_json(format!("h/{at:016}/{account}"), record);
    }

    /// A folder's record; `folder` is the hash of its name.
    pub fn folder(&mut self, account: &str, folder: u64, record: &FolderRecord) {
        self.set_json(format!("f/{account}/{folder:016x}"), record);
    }

    /// A message that was not brought.
    pub fn skipped(&mut self, account: &str, folder: u64, id: &str, record: &SkippedRecord) {
        self.set_json(format!("x/{account}/{folder:016x}/{id}"), record);
    }

    /// A message that is no longer an exception.
    pub fn not_skipped(&mut self, account: &str, folder: u64, id: &str) {
        self.remove(format!("x/{account}/{folder:016x}/{id}"));
    }
}

/// What is known of a polled account.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PollRecord {
    /// A person or too many failures switched it off.
    pub disabled: bool,
    /// Why.
    pub reason: Option<String>,
    /// A person switched it on, whatever the definition says.
    pub enabled: bool,
    /// Failed runs since the last good one.
    pub failures: u32,
    /// The last run that ended.
    pub last_run: Option<RunRecord>,
    /// Its owner was told that consent is needed, and has not given it.
    pub asked: bool,
}

/// What a poll knows of its source.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SourceRecord {
    /// Something may have landed that was not recorded: ask the destination.
    pub open: bool,
    /// When the source was another one, or nothing was known of it: what is here may not be known for some time.
    pub anew_at: Option<i64>,
    /// Since when identities have been missing in the listing, or since when those that were then are overdue.
    pub missing_since: Option<i64>,
    /// Messages over which sessions broke, and how many.
    pub odd: BTreeMap<String, u8>,
    /// What was said at the last one of them.
    pub odd_words: BTreeMap<String, String>,
    /// At a server: the UIDVALIDITY of the folder that mail goes to.
    pub there: u32,
    /// At a server: from this UID on there may be what was not recorded.
    pub floor: u32,
    /// In a migration: so many chunks of identities are from before the run.
    pub before: usize,
    /// In a migration: so many messages of the run were here under other names.
    pub adopted: u64,
    /// What the server's UIDLs are.
    pub uidls: Uidls,
}

/// A run that ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunRecord {
    /// Began.
    pub started_at: i64,
    /// Ended.
    pub finished_at: i64,
    /// What went wrong and what to do; `None`: nothing.
    pub error: Option<String>,
    /// Messages.
    pub ledger: Ledger,
    /// Messages deleted at the source.
    pub deleted: u64,
    /// Octets brought.
    pub bytes: u64,
    /// What else is to be known.
    pub note: Option<String>,
    /// Part of the work was not done, and the run is no failed one: the note says why.
    pub unfinished: bool,
}

/// What is known of a migration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MigrationRecord {
    /// Its state.
    pub state: State,
    /// Its place among all that were ever queued; the queue is sorted by it.
    pub place: u64,
    /// The run began.
    pub started_at: Option<i64>,
    /// It ended.
    pub finished_at: Option<i64>,
    /// The last time that something landed.
    pub progress_at: Option<i64>,
    /// Milliseconds without progress, as far as a daemon was there to try.
    pub waited: i64,
    /// The next try.
    pub next_try_at: Option<i64>,
    /// Tries in vain since the last progress.
    pub tries: u32,
    /// What went wrong, and what to do.
    pub error: Option<String>,
    /// What became of what had come, in words.
    pub outcome: Option<String>,
    /// Where a rollback ends: cancelled by a person, or rolled back after a failure.
    pub cancelled: bool,
    /// A person gave the rollback up: what is still there stays.
    pub left: bool,
    /// Folders at the source.
    pub folders_total: Option<u64>,
    /// Folders done.
    pub folders_done: u64,
    /// Messages at the source.
    pub messages_total: Option<u64>,
    /// Octets at the source.
    pub bytes_total: Option<u64>,
    /// Octets done.
    pub bytes_done: u64,
    /// The run's messages.
    pub ledger: Ledger,
    /// The last run ended as completed at that time.
    pub completed_at: Option<i64>,
    /// The topmost directory that a run had to make for the mailbox.
    pub made: Option<String>,
    /// A run made the mailbox's login: the digest of its line in the passwd-file.
    pub provisioned: Option<String>,
    /// What a look at the destination said at the end of the run.
    pub arrived: Option<Arrived>,
    /// Whether it is repeated by itself.
    pub finish: Finish,
    /// The run began by itself.
    pub automatic: bool,
    /// What its member was told of this run.
    pub told: Told,
}

impl MigrationRecord {
    /// It ended and will not begin again by itself: it completed for good, or was cancelled.
    pub fn is_over(&self) -> bool {
        matches!((self.state, self.next_try_at), (State::Completed, None) | (State::Cancelled, _))
    }
}

/// What a member was told of a run, on the way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Told {
    /// That it began.
    pub began: bool,
    /// How far it had come.
    pub progress: bool,
    /// That consent is needed, which is not there yet.
    pub asked: bool,
}

/// The end of a migration that repeats itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Finish {
    /// Nobody asked for it.
    #[default]
    No,
    /// One more run is to be the last.
    Asked,
    /// This run is the last.
    Last,
    /// The last run has been.
    Over,
}

/// What a look at the destination said at the end of a run, by names and sizes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Arrived {
    /// Messages of this run that are there.
    pub here: u64,
    /// Messages that this run brought and that are not there any more.
    pub lost: u64,
    /// Messages that are there more than once.
    pub duplicated: u64,
    /// Messages whose file has another size than when it came.
    pub altered: u64,
}

impl Default for MigrationRecord {
    fn default() -> Self {
        MigrationRecord {
            state: State::Ready,
            place: 0,
            started_at: None,
            finished_at: None,
            progress_at: None,
            waited: 0,
            next_try_at: None,
            tries: 0,
            error: None,
            outcome: None,
            cancelled: false,
            left: false,
            folders_total: None,
            folders_done: 0,
            messages_total: None,
            bytes_total: None,
            bytes_done: 0,
            ledger: Ledger::default(),
            completed_at: None,
            made: None,
            provisioned: None,
            arrived: None,
            finish: Finish::No,
            automatic: false,
            told: Told::default(),
        }
    }
}

/// The state of a folder in a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FolderState {
    /// Its turn has not come.
    #[default]
    Waiting,
    /// It is being read.
    Running,
    /// Everything that can be brought has been.
    Done,
    /// It could not be read.
    Failed,
}

/// What is known of a folder.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FolderRecord {
    /// Its name at the source, for people.
    pub name: String,
    /// Its directory at the destination.
    pub directory: String,
    /// The same for people.
    pub destination: String,
    /// The UIDVALIDITY that the sets belong to.
    pub uidvalidity: u32,
    /// The UIDVALIDITY that the set from before this run belongs to.
    pub before: u32,
    /// A run of this migration made the folder.
    pub made: bool,
    /// At a server: so many levels above it were made with it.
    pub above: u32,
    /// A run of this migration subscribed it.
    pub subscribed: bool,
    /// The keyword letters that were taken before the run, bit by bit; `None`: not looked at yet.
    pub letters: Option<u32>,
    /// Something may have landed that was not recorded: ask the destination.
    pub open: bool,
    /// The run that the numbers belong to: its beginning.
    pub run: i64,
    /// Its state in that run.
    pub state: FolderState,
    /// Messages of that run.
    pub ledger: Ledger,
    /// Octets, as the source reports them.
    pub bytes_total: u64,
    /// What changed on the way, and what went wrong.
    pub note: Option<String>,
    /// At a server: the UIDVALIDITY that the UIDs there belong to.
    pub there: u32,
    /// At a server: from this UID on there may be what was not recorded.
    pub floor: u32,
    /// Polled: the next UID, when it was listed last.
    pub uidnext: u32,
    /// Polled: messages at the source then.
    pub exists: u64,
    /// Polled: nothing is left to be deleted at the source.
    pub settled: bool,
    /// RFC 7162, HIGHESTMODSEQ, when its flags were compared last; 0: the source does not tell.
    pub modseq: u64,
}

/// A message that was not brought.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SkippedRecord {
    /// The folder, for people.
    pub folder: String,
    /// UID or UIDL, printable.
    pub id: String,
    /// Octets.
    pub size: Option<u64>,
    /// In words.
    pub reason: String,
    /// The destination refused it: it is not asked for again by itself.
    pub for_good: bool,
}

impl Journal {
    pub(super) fn record<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, Failure> {
        Ok(self.get(key)?.and_then(|value| serde_json::from_slice(&value).ok()))
    }

    /// What takes everything away that is known of an account, but for the history.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn forget(&self, account: &str) -> Result<Changes, Failure> {
        let mut changes = self.forget_progress(account)?;
        for kind in ["m", "o", "p"] {
            self.forget_record(kind, account, &mut changes)?;
        }
        Ok(changes)
    }

    /// What takes away which messages of an account have come.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn forget_progress(&self, account: &str) -> Result<Changes, Failure> {
        let mut changes = Changes::default();
        for kind in ["q", "s"] {
            self.forget_record(kind, account, &mut changes)?;
        }
        let marks = IdMark::ALL.map(IdMark::letter);
        for kind in ['c', 'f', 'r', 'u', 'x', 'z'].into_iter().chain(marks) {
            for (key, _) in self.scan(&format!("{kind}/{account}/"))? {
                changes.remove(key);
            }
        }
        Ok(changes)
    }

    fn forget_record(&self, kind: &str, account: &str, changes: &mut Changes) -> Result<(), Failure> {
        let key = format!("{kind}/{account}");
        if self.get(&key)?.is_some() {
            changes.remove(key);
        }
        Ok(())
    }

    /// A poll's record.
    ///
    /// # Errors
    /// The store cannot be read; so for all below.
    pub fn poll(&self, account: &str) -> Result<Option<PollRecord>, Failure> {
        self.record(&format!("p/{account}"))
    }

    /// What a poll knows of its source.
    pub fn source(&self, account: &str) -> Result<Option<SourceRecord>, Failure> {
        self.record(&format!("s/{account}"))
    }

    /// What an account fetched, in octets by the hour, counted from 1970.
    pub fn fetched(&self, account: &str) -> Result<BTreeMap<i64, u64>, Failure> {
        Ok(self.record(&format!("b/{account}"))?.unwrap_or_default())
    }

    /// A migration's record.
    pub fn migration(&self, account: &str) -> Result<Option<MigrationRecord>, Failure> {
        self.record(&format!("m/{account}"))
    }

    /// The history, newest first.
    pub fn history(&self, most: usize) -> Result<Vec<(String, MigrationRecord)>, Failure> {
        let mut found: Vec<_> = self
            .scan("h/")?
            .into_iter()
            .filter_map(|(key, value)| {
                let name = key.splitn(3, '/').nth(2)?.to_owned();
                Some((name, serde_json::from_slice(&value).ok()?))
            })
            .collect();
        found.reverse();
        found.truncate(most);
        Ok(found)
    }

    /// One folder; `folder` is the hash of its name.
    pub fn folder(&self, account: &str, folder: u64) -> Result<Option<FolderRecord>, Failure> {
        self.record(&format!("f/{account}/{folder:016x}"))
    }

    /// The folders of a migration, by the hashes of their names.
    pub fn folders(&self, account: &str) -> Result<BTreeMap<u64, FolderRecord>, Failure> {
        Ok(self
            .scan(&format!("f/{account}/"))?
            .into_iter()
            .filter_map(|(key, value)| {
                let folder = u64::from_str_radix(key.rsplit('/').next()?, 16).ok()?;
                Some((folder, serde_json::from_slice(&value).ok()?))
            })
            .collect())
    }

    /// The exceptions of an account: folder hash, id as in the key, record.
    pub fn skipped(&self, account: &str) -> Result<Vec<(u64, String, SkippedRecord)>, Failure> {
        Ok(self
            .scan(&format!("x/{account}/"))?
            .into_iter()
            .filter_map(|(key, value)| {
                let mut parts = key.splitn(4, '/').skip(2);
                let folder = u64::from_str_radix(parts.next()?, 16).ok()?;
                Some((folder, parts.next()?.to_owned(), serde_json::from_slice(&value).ok()?))
            })
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::journal::Side;
    use crate::message::UidSet;

    #[tokio::test]
    async fn sets_grow_and_shrink_over_chunks() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::open(dir.path()).unwrap().journal;
        for count in [0u32, 1, 3_000, 10] {
            let set: UidSet = (0..count).map(|i| i * 3 + 1).collect();
            let ids: BTreeSet<u128> = (0..count).map(|i| u128::from(i) << 64 | 7).collect();
            let mut changes = Changes::default();
            changes.uids("a", 5, Side::Done, &set);
            changes.identities("a", &ids, journal.identities("a").unwrap().1);
            assert!(changes.iter().all(|(_, v)| v.as_ref().is_none_or(|v| v.len() < 1024)));
            journal.commit(changes).await.unwrap();
            assert_eq!(journal.uids("a", 5, Side::Done).unwrap(), set, "{count}");
            assert_eq!(journal.identities("a").unwrap().0, ids, "{count}");
            assert!(journal.uids("a", 5, Side::Before).unwrap().is_empty());
        }
    }
}
