//! The embedded store under the rules that make it safe: `fdatasync` after every flush (its own flush does
//! not survive a power cut), one commit for everybody who waits, a sentinel with the number of records, a
//! lock against a second daemon. It refuses large values.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::database::{Database, guarded};
use super::export;
use super::records::Changes;
use crate::failure::{Failure, Kind};

/// How often the export follows the store.
const EXPORT_EVERY: Duration = Duration::from_secs(300);
const SENTINEL: &str = "meta/sentinel";

#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
struct Sentinel {
    generation: u64,
    sequence: u64,
    records: u64,
}

/// The journal; clones share one store.
#[derive(Debug, Clone)]
pub struct Journal {
    db: Database,
    commits: mpsc::Sender<Commit>,
    /// The committer has gone: nothing is recorded any more.
    gone: Arc<AtomicBool>,
    _lock: Arc<Flock<File>>,
}

/// What [`Journal::open`] found.
#[derive(Debug)]
pub struct Opened {
    /// The journal.
    pub journal: Journal,
    /// The store was damaged and rebuilt: in words. What had been recorded since the export is in doubt, so
    /// every destination is asked again before anything is brought.
    pub rebuilt: Option<String>,
}

enum Commit {
    Changes(Changes, oneshot::Sender<Result<(), Failure>>),
    Close(mpsc::Sender<Result<(), Failure>>),
}

impl std::fmt::Debug for Commit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Commit")
    }
}

impl Journal {
    /// Opens the store in `directory` (made if missing, mode 0700).
    ///
    /// # Errors
    /// [`Kind::Journal`]: the directory cannot be written, or another daemon has it.
    pub fn open(directory: &Path) -> Result<Opened, Failure> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(|e| trouble(directory, &e))?;
        let lock = lock(directory)?;
        let expected = export::generation(directory).map_err(|e| trouble(directory, &e))?;
        let known = export::read(directory);
        let damage = match Database::open(directory)? {
            Ok(db) => match examine(&db, expected, known.as_ref().ok()) {
                Ok(sentinel) => return Self::start(directory, db, sentinel, lock, None),
                Err(what) => {
                    drop(db);
                    what
                }
            },
            Err(what) => what,
        };
        let aside = set_aside(directory)?;
        let mut said = format!("the store was damaged ({damage}) and is kept in {}", aside.display());
        let records = match known {
            Ok(export) => {
                said.push_str(
                    "; it was rebuilt from its export, and every destination is asked what it holds",
                );
                export.records
            }
            Err(what) => {
                said.push_str(&format!("; there is no export to rebuild it from ({what}), so progress is found again at the destinations"));
                BTreeMap::new()
            }
        };
        let db = Database::open(directory)?.map_err(|what| {
            Failure::new(Kind::Journal, format!("cannot make a new store: {what}"), "look at the disk")
        })?;
        let mut sentinel = fresh(directory, &db)?;
        let doubted = export::doubt(records);
        apply(&db, directory, &mut sentinel, &doubted)?;
        Self::start(directory, db, sentinel, lock, Some(said))
    }

    fn start(
        directory: &Path,
        db: Database,
        sentinel: Option<Sentinel>,
        lock: Flock<File>,
        rebuilt: Option<String>,
    ) -> Result<Opened, Failure> {
        let sentinel = match sentinel {
            Some(sentinel) => sentinel,
            None => fresh(directory, &db)?.ok_or_else(|| {
                Failure::new(Kind::Journal, "the new store has no sentinel", "look at the disk")
            })?,
        };
        let (commits, inbox) = mpsc::channel();
        let gone = Arc::new(AtomicBool::new(false));
        let journal = Journal { db: db.clone(), commits, gone: Arc::clone(&gone), _lock: Arc::new(lock) };
        let directory = directory.to_owned();
        std::thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || {
                Committer { db, directory, sentinel: Some(sentinel), exported: 0 }.work(&inbox);
                gone.store(true, Ordering::Release);
            })
            .map_err(|e| Failure::new(Kind::Journal, format!("cannot start a thread: {e}"), ""))?;
        Ok(Opened { journal, rebuilt })
    }

    /// The value of a key.
    ///
    /// # Errors
    /// [`Kind::Journal`]: the store cannot be read.
    pub fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Failure> {
        Ok(self.db.get(key).map_err(|e| sled_trouble(&e))?.map(|value| value.to_vec()))
    }

    /// Every key that begins with `prefix`, in order, with its value.
    ///
    /// # Errors
    /// [`Kind::Journal`]: the store cannot be read.
    pub fn scan(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, Failure> {
        let mut found = Vec::new();
        for item in self.db.scan_prefix(prefix) {
            let (key, value) = item.map_err(|e| sled_trouble(&e))?;
            found.push((String::from_utf8_lossy(&key).into_owned(), value.to_vec()));
        }
        Ok(found)
    }

    /// Makes changes durable, all of them or none; returns when they are. Commits of many callers share one
    /// durable step.
    ///
    /// # Errors
    /// [`Kind::Journal`]: nothing may be taken for recorded. The store takes no more commits then: the
    /// daemon has to be started again.
    pub async fn commit(&self, changes: Changes) -> Result<(), Failure> {
        if changes.is_empty() {
            return Ok(());
        }
        self.enqueue(changes).await
    }

    /// As [`Journal::commit`], in the order of the calls and not of the waiting: what decides under a lock
    /// calls this there and waits outside.
    ///
    /// # Errors
    /// As [`Journal::commit`].
    pub fn enqueue(&self, changes: Changes) -> impl Future<Output = Result<(), Failure>> + Send + 'static {
        let (reply, answer) = oneshot::channel();
        let sent = self.commits.send(Commit::Changes(changes, reply)).is_ok();
        async move { if sent { answer.await.map_err(|_| closed())? } else { Err(closed()) } }
    }

    /// Whether the store has failed and nothing is recorded any more: the daemon has to be started again.
    pub fn has_failed(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    /// The last export and the end; blocks for as long as the disk takes.
    ///
    /// # Errors
    /// [`Kind::Journal`]: the export could not be written. What was committed is safe all the same.
    pub fn close(&self) -> Result<(), Failure> {
        let (reply, answer) = mpsc::channel();
        self.commits.send(Commit::Close(reply)).map_err(|_| closed())?;
        answer.recv().map_err(|_| closed())?
    }
}

struct Committer {
    db: Database,
    directory: PathBuf,
    sentinel: Option<Sentinel>,
    exported: u64,
}

impl Committer {
    fn work(mut self, inbox: &mpsc::Receiver<Commit>) {
        let mut exported_at = Instant::now();
        loop {
            let first = match inbox.recv_timeout(EXPORT_EVERY) {
                Ok(commit) => Some(commit),
                Err(mpsc::RecvTimeoutError::Timeout) => None,
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
            };
            let mut waiting = Vec::new();
            let mut changes = Changes::default();
            for commit in first.into_iter().chain(std::iter::from_fn(|| inbox.try_recv().ok())) {
                match commit {
                    Commit::Changes(more, reply) => {
                        changes.merge(more);
                        waiting.push(reply);
                    }
                    Commit::Close(reply) => {
                        let result = self.commit(&changes).and_then(|()| self.export());
                        for waiter in waiting {
                            let _ = waiter.send(result.clone());
                        }
                        let _ = reply.send(result);
                        return;
                    }
                }
            }
            let result = self.commit(&changes);
            let failed = result.is_err();
            for waiter in waiting {
                let _ = waiter.send(result.clone());
            }
            if failed {
                // After a failed write the store answers, but must not be believed: stop taking commits.
                return;
            }
            if exported_at.elapsed() >= EXPORT_EVERY {
                if let Err(failure) = self.export() {
                    tracing::warn!("the export of the journal failed: {failure}");
                }
                exported_at = Instant::now();
            }
        }
    }

    fn commit(&mut self, changes: &Changes) -> Result<(), Failure> {
        if changes.is_empty() {
            return Ok(());
        }
        apply(&self.db, &self.directory, &mut self.sentinel, changes)
    }

    fn export(&mut self) -> Result<(), Failure> {
        let Some(sentinel) = &self.sentinel else { return Ok(()) };
        if sentinel.sequence == self.exported {
            return Ok(());
        }
        let records =
            self.db.iter().filter_map(Result::ok).filter(|(key, _)| key.as_ref() != SENTINEL.as_bytes());
        export::write(&self.directory, sentinel.generation, sentinel.sequence, records)
            .map_err(|e| trouble(&self.directory, &e))?;
        self.exported = sentinel.sequence;
        Ok(())
    }
}

/// One batch: the changes and the sentinel that counts them, flushed and synced.
fn apply(
    db: &Database,
    directory: &Path,
    sentinel: &mut Option<Sentinel>,
    changes: &Changes,
) -> Result<(), Failure> {
    let Some(before) = sentinel.as_ref() else { return Err(closed()) };
    let mut next = Sentinel { sequence: before.sequence + 1, ..before.clone() };
    let mut batch = sled::Batch::default();
    for (key, value) in changes.iter() {
        let there = db.contains_key(key).map_err(|e| sled_trouble(&e))?;
        match value {
            Some(value) => {
                next.records += u64::from(!there);
                batch.insert(key.as_str(), value.as_slice());
            }
            None => {
                next.records -= u64::from(there);
                batch.remove(key.as_str());
            }
        }
    }
    let text = serde_json::to_vec(&next).map_err(|e| trouble(directory, &e.into()))?;
    batch.insert(SENTINEL, text);
    let written = guarded(|| {
        db.apply_batch(batch)?;
        db.flush()
    });
    match written {
        Ok(Ok(())) => {}
        Ok(Err(e)) => return Err(sled_trouble(&e)),
        Err(what) => {
            return Err(Failure::new(
                Kind::Journal,
                format!("the store failed: {what}"),
                "start mailhauld again",
            ));
        }
    }
    sync(directory).map_err(|e| trouble(directory, &e))?;
    *sentinel = Some(next);
    Ok(())
}

/// sled's flush hands its pages to the kernel without the file's metadata and without the drive's cache.
fn sync(directory: &Path) -> std::io::Result<()> {
    File::open(directory.join("db").join("db"))?.sync_data()
}

fn fresh(directory: &Path, db: &Database) -> Result<Option<Sentinel>, Failure> {
    let generation = u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or(1);
    let sentinel = Sentinel { generation, sequence: 1, records: 0 };
    let text = serde_json::to_vec(&sentinel).map_err(|e| trouble(directory, &e.into()))?;
    db.insert(SENTINEL, text).map_err(|e| sled_trouble(&e))?;
    db.flush().map_err(|e| sled_trouble(&e))?;
    sync(directory)
        .and_then(|()| sync_directory(&directory.join("db")))
        .and_then(|()| sync_directory(directory))
        .and_then(|()| export::set_generation(directory, generation))
        .map_err(|e| trouble(directory, &e))?;
    Ok(Some(sentinel))
}

pub(super) fn sync_directory(directory: &Path) -> std::io::Result<()> {
    File::open(directory)?.sync_all()
}

/// A database that opened may still be empty or cut short. `Ok(None)`: it is new.
fn examine(
    db: &Database,
    expected: Option<u64>,
    export: Option<&export::Export>,
) -> Result<Option<Sentinel>, String> {
    let stored = guarded(|| db.get(SENTINEL)).and_then(|r| r.map_err(|e| e.to_string()))?;
    let Some(stored) = stored else {
        return if db.is_empty() && expected.is_none() {
            Ok(None)
        } else {
            Err("it is empty, and was not before".to_owned())
        };
    };
    let sentinel: Sentinel =
        serde_json::from_slice(&stored).map_err(|_| "its sentinel cannot be read".to_owned())?;
    // Made, and killed before the generation was written beside it: there was nothing in it yet.
    if expected.is_none() && sentinel.records == 0 && db.len() == 1 {
        return Ok(None);
    }
    if expected != Some(sentinel.generation) {
        return Err("its generation is not the one written beside it".to_owned());
    }
    let counted = guarded(|| db.len())?;
    if counted as u64 != sentinel.records + 1 {
        return Err(format!(
            "it holds {} records and should hold {}",
            counted.saturating_sub(1),
            sentinel.records
        ));
    }
    match export {
        Some(export) if export.generation == sentinel.generation && export.sequence > sentinel.sequence => {
            Err("it is older than its export".to_owned())
        }
        _ => Ok(Some(sentinel)),
    }
}

fn set_aside(directory: &Path) -> Result<PathBuf, Failure> {
    let stamp = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%S%3fZ").to_string();
    let aside = directory.join(format!("db.damaged-{stamp}"));
    let path = directory.join("db");
    if path.exists() {
        fs::rename(&path, &aside).map_err(|e| trouble(&path, &e))?;
    }
    sync_directory(directory).map_err(|e| trouble(directory, &e))?;
    Ok(aside)
}

fn lock(directory: &Path) -> Result<Flock<File>, Failure> {
    let path = directory.join("lock");
    let file = fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(&path)
        .map_err(|e| trouble(&path, &e))?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(mut lock) => {
            let _ = lock.set_len(0).and_then(|()| writeln!(lock, "{}", std::process::id()));
            Ok(lock)
        }
        Err((_, nix::errno::Errno::EAGAIN)) => {
            let holder = fs::read_to_string(&path).unwrap_or_default();
            Err(Failure::new(
                Kind::Journal,
                format!("another mailhauld (process {}) uses {}", holder.trim(), directory.display()),
                "stop it first, or give this one a state_directory of its own",
            ))
        }
        Err((_, e)) => Err(trouble(&path, &e.into())),
    }
}

pub(super) fn trouble(path: &Path, error: &std::io::Error) -> Failure {
    let kind = if error.kind() == std::io::ErrorKind::StorageFull { Kind::Full } else { Kind::Journal };
    Failure::new(
        kind,
        format!("the journal in {} cannot be used: {error}", path.display()),
        "check that the directory can be written, and that the disk has space",
    )
}

fn sled_trouble(error: &sled::Error) -> Failure {
    Failure::new(
        Kind::Journal,
        format!("the store failed: {error}"),
        "check the disk and its space, then start mailhauld again",
    )
}

fn closed() -> Failure {
    Failure::new(
        Kind::Journal,
        "the journal takes no more records",
        "check the disk and its space, then start mailhauld again",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(pairs: &[(&str, Option<&str>)]) -> Changes {
        let mut changes = Changes::default();
        for (key, value) in pairs {
            match value {
                Some(value) => changes.set((*key).to_owned(), value.as_bytes().to_vec()),
                None => changes.remove((*key).to_owned()),
            }
        }
        changes
    }

    async fn filled(directory: &Path, records: usize) {
        let journal = Journal::open(directory).unwrap().journal;
        for i in 0..records {
            journal.commit(changes(&[(&format!("p/{i:05}"), Some("{}"))])).await.unwrap();
        }
        journal.commit(changes(&[("p/00000", None)])).await.unwrap();
        journal.close().unwrap();
    }

    #[tokio::test]
    async fn what_was_committed_is_there_again() {
        let dir = tempfile::tempdir().unwrap();
        filled(dir.path(), 20).await;
        let opened = Journal::open(dir.path()).unwrap();
        assert_eq!(opened.rebuilt, None);
        assert_eq!(opened.journal.scan("p/").unwrap().len(), 19);
        assert_eq!(opened.journal.get("p/00003").unwrap().as_deref(), Some(&b"{}"[..]));
    }

    #[tokio::test]
    async fn a_second_daemon_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let _first = Journal::open(dir.path()).unwrap();
        let failure = Journal::open(dir.path()).unwrap_err();
        assert!(failure.words.contains("another mailhauld"), "{failure}");
    }

    #[tokio::test]
    async fn a_holder_that_is_just_going_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        filled(dir.path(), 20).await;
        // The opener's own thread of the journal above may still hold it, as a killed daemon's files may.
        let held = {
            let file = File::open(dir.path().join("db/db")).unwrap();
            let mut file = Some(file);
            loop {
                match Flock::lock(file.take().unwrap(), FlockArg::LockExclusiveNonblock) {
                    Ok(held) => break held,
                    Err((back, _)) => file = Some(back),
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        };
        let path = dir.path().to_owned();
        let opening = std::thread::spawn(move || Journal::open(&path));
        std::thread::sleep(Duration::from_millis(100));
        assert!(!opening.is_finished(), "a held store was opened, or taken for damaged");
        drop(held);
        assert_eq!(opening.join().unwrap().unwrap().rebuilt, None);
    }

    #[tokio::test]
    async fn a_snapshot_that_was_not_finished_is_no_damage() {
        let dir = tempfile::tempdir().unwrap();
        filled(dir.path(), 20).await;
        let half = dir.path().join("db/snap.00000000FFFFFFFF.generating");
        fs::write(&half, b"half of it").unwrap();
        let opened = Journal::open(dir.path()).unwrap();
        assert_eq!(opened.rebuilt, None);
        assert_eq!(opened.journal.scan("p/").unwrap().len(), 19);
        assert!(!half.exists());
    }

    #[tokio::test]
    async fn a_damaged_store_is_set_aside_and_rebuilt() {
        for damage in ["gone", "empty", "half", "garbage"] {
            let dir = tempfile::tempdir().unwrap();
            filled(dir.path(), 300).await;
            let file = dir.path().join("db/db");
            let bytes = fs::read(&file).unwrap();
            match damage {
                "gone" => fs::remove_dir_all(dir.path().join("db")).unwrap(),
                "empty" => fs::write(&file, b"").unwrap(),
                "half" => fs::write(&file, &bytes[..bytes.len() / 2]).unwrap(),
                _ => fs::write(&file, bytes.iter().map(|b| b ^ 0x5a).collect::<Vec<_>>()).unwrap(),
            }
            if damage != "gone" {
                // Snapshots would hide the damage of the log for as long as they last.
                for entry in fs::read_dir(dir.path().join("db")).unwrap().flatten() {
                    if entry.file_name().to_string_lossy().starts_with("snap") {
                        fs::remove_file(entry.path()).unwrap();
                    }
                }
            }
            let opened = Journal::open(dir.path()).unwrap();
            assert!(opened.rebuilt.is_some(), "{damage} went unnoticed");
            assert_eq!(opened.journal.scan("p/").unwrap().len(), 299, "{damage}");
            opened.journal.commit(changes(&[("p/new", Some("{}"))])).await.unwrap();
        }
    }
}
