//! sled with its edges off: an opening that bears damage (a damaged database panics) and a flush that ends.
//! It refuses to take for damage what is none.

use std::fs;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::store::trouble;
use crate::failure::{Failure, Kind};

/// The store's cache, octets; a hint to sled.
const CACHE: u64 = 16 * 1024 * 1024;
/// How long a process that is just ending may still hold the store.
const LEAVING: Duration = Duration::from_secs(10);
/// How often somebody looks whether a flush waits in vain.
const WATCH: Duration = Duration::from_millis(250);

/// An open database.
#[derive(Debug, Clone)]
pub(super) struct Database {
    db: sled::Db,
    config: sled::Config,
}

impl Deref for Database {
    type Target = sled::Db;

    fn deref(&self) -> &sled::Db {
        &self.db
    }
}

impl Database {
    /// The database, or what is damaged about it. What is no damage (no permission, no descriptors, no space) is
    /// a failure: setting a sound store aside for it would throw its progress into doubt.
    pub(super) fn open(directory: &Path) -> Result<Result<Database, String>, Failure> {
        let path = directory.join("db");
        clear_unfinished(&path).map_err(|e| trouble(&path, &e))?;
        let patience = Instant::now() + LEAVING;
        loop {
            let config = sled::Config::new().path(&path).cache_capacity(CACHE).flush_every_ms(None);
            match guarded(|| config.open()) {
                Ok(Ok(db)) => return Ok(Ok(Database { db, config })),
                // Only a holder that is just going can have it, since we hold the lock beside it: the kernel
                // closes a killed process's files one by one, and sled closes its own from a thread.
                Ok(Err(e)) if is_locked(&e) && Instant::now() < patience => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                Ok(Err(e)) if is_locked(&e) => {
                    return Err(Failure::new(
                        Kind::Journal,
                        format!("another process holds the store in {}", path.display()),
                        "find it with 'fuser' and stop it",
                    ));
                }
                Ok(Err(sled::Error::Io(e))) if e.raw_os_error().is_some() => return Err(trouble(&path, &e)),
                Ok(Err(e)) => return Ok(Err(e.to_string())),
                Err(what) => return Ok(Err(what)),
            }
        }
    }

    /// Hands everything to the kernel. sled writes in a thread of its own, and when that write fails it tells
    /// nobody who waits for it (`exit_reservation` in its `logger.rs`): the wait would never end. A further
    /// flush sees the error at once and wakes them.
    pub(super) fn flush(&self) -> sled::Result<()> {
        std::thread::scope(|scope| {
            let (done, over) = mpsc::channel::<()>();
            scope.spawn(move || {
                while over.recv_timeout(WATCH) == Err(mpsc::RecvTimeoutError::Timeout) {
                    if self.config.global_error().is_err() {
                        let _ = self.db.flush();
                    }
                }
            });
            let flushed = self.db.flush();
            drop(done);
            flushed.map(drop)
        })
    }
}

/// Removes the snapshot that a killed process, or one without space, left unfinished: sled would take it for
/// its newest and the database for damaged. The one before it and the log are whole, and it needs no more.
fn clear_unfinished(path: &Path) -> std::io::Result<()> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e),
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        if name.as_encoded_bytes().starts_with(b"snap.") && name.as_encoded_bytes().ends_with(b".generating")
        {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// sled tells a lock that another holds in words only.
fn is_locked(error: &sled::Error) -> bool {
    matches!(error, sled::Error::Io(e) if e.to_string().contains("could not acquire lock"))
}

/// Runs what a damaged database may panic in. The panic's message goes to the log's hook as well.
pub(super) fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|&s| s.to_owned()))
            .unwrap_or_else(|| "it panicked".to_owned())
    })
}
