//! What is about to be appended to a folder, as fingerprints in a small file: whoever stops us before the answer
//! is recorded, a rollback and the next run know which messages there are ours. It refuses to hold more than
//! the last batches: what came before them is recorded.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::destination::fingerprint::Print;
use crate::destination::maildir::Origin;

/// Batches that may be on their way, or answered and not recorded yet.
const BATCHES: usize = 8;

/// The intent for one folder.
#[derive(Debug, Default)]
pub(super) struct Intent {
    path: PathBuf,
    batches: VecDeque<Vec<Print>>,
}

impl Intent {
    /// What is in the file for that folder of that account; nothing if there is none.
    pub(super) fn read(spool: &Path, origin: Origin) -> io::Result<Intent> {
        let path = spool.join(format!("{:016x}-{:016x}.intent", origin.account, origin.folder));
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => String::new(),
            Err(e) => return Err(e),
        };
        let batch: Vec<Print> = text.lines().filter_map(Print::parse).collect();
        let batches = if batch.is_empty() { VecDeque::new() } else { VecDeque::from([batch]) };
        Ok(Intent { path, batches })
    }

    /// A batch is about to be appended: durable when this returns.
    pub(super) fn add(&mut self, batch: Vec<Print>) -> io::Result<()> {
        self.batches.push_back(batch);
        while self.batches.len() > BATCHES {
            self.batches.pop_front();
        }
        let text: String = self.batches.iter().flatten().map(|print| format!("{print}\n")).collect();
        let new = self.path.with_extension("new");
        let mut options = File::options();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&new, &self.path)?;
        match self.path.parent() {
            Some(directory) => File::open(directory)?.sync_all(),
            None => Ok(()),
        }
    }

    /// How often each fingerprint was intended.
    pub(super) fn prints(&self) -> BTreeMap<Print, usize> {
        let mut prints = BTreeMap::new();
        for print in self.batches.iter().flatten() {
            *prints.entry(*print).or_default() += 1;
        }
        prints
    }
}

/// Nothing of this account is on its way any more, and what arrived is recorded.
///
/// # Errors
/// The directory cannot be read or written.
pub fn forget(spool: &Path, account: u64) -> io::Result<()> {
    let mark = format!("{account:016x}-");
    let entries = match std::fs::read_dir(spool) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e),
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(&mark) {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::destination::fingerprint::Fingerprint;

    #[test]
    fn it_outlives_us() {
        let spool = tempfile::tempdir().unwrap();
        let origin = Origin::imap("a", b"F");
        let print = |text: &str| Fingerprint::of(text.as_bytes()).unwrap();
        let mut intent = Intent::read(spool.path(), origin).unwrap();
        assert!(intent.prints().is_empty());
        intent.add(vec![print("a"), print("b")]).unwrap();
        intent.add(vec![print("a")]).unwrap();
        let again = Intent::read(spool.path(), origin).unwrap();
        assert_eq!(again.prints(), BTreeMap::from([(print("a"), 2), (print("b"), 1)]));
        for number in 0..20 {
            intent.add(vec![print(&format!("{number}"))]).unwrap();
        }
        assert_eq!(Intent::read(spool.path(), origin).unwrap().prints().len(), BATCHES);
        forget(spool.path(), origin.account ^ 1).unwrap();
        assert_eq!(std::fs::read_dir(spool.path()).unwrap().count(), 1);
        forget(spool.path(), origin.account).unwrap();
        assert_eq!(std::fs::read_dir(spool.path()).unwrap().count(), 0);
    }
}
