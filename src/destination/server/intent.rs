//! What is about to be appended to a folder, as fingerprints in a file that grows batch by batch: whoever stops us
//! before the answer is recorded, a rollback and the next run know which messages there are ours. Where nothing
//! will be undone, in a poll, it refuses to hold more than the last batches: what came before them is recorded.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::before::Before;
use super::late::Late;
use crate::destination::fingerprint::Print;
use crate::destination::maildir::Origin;

/// Batches that may be on their way, or answered and not recorded yet.
const BATCHES: usize = 8;
/// A poll's file is cut when it is longer; octets.
const LONGEST: u64 = 512 * 1024;
const ANSWERED: &str = "-";

/// The intent for one folder: a fingerprint a line, an empty line before each batch, and a dash behind one that was
/// answered.
#[derive(Debug, Clone, Default)]
pub(super) struct Intent {
    path: PathBuf,
    /// All of it may be asked for.
    whole: bool,
}

impl Intent {
    /// That for a folder of an account.
    pub(super) fn of(spool: &Path, origin: Origin) -> Intent {
        let path = spool.join(format!("{:016x}-{:016x}.intent", origin.account, origin.folder));
        Intent { path, whole: Before::is_there(spool, origin.account) }
    }

    /// A batch is about to be appended: durable when this returns.
    pub(super) fn add(&self, batch: &[Print]) -> io::Result<()> {
        let length = match std::fs::metadata(&self.path) {
            Ok(file) => Some(file.len()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            Err(e) => return Err(e),
        };
        if length.is_some_and(|length| length > LONGEST) && !self.whole {
            self.cut()?;
        }
        let mut file = File::options().append(true).create(true).mode(0o600).open(&self.path)?;
        file.write_all(text(batch).as_bytes())?;
        file.sync_all()?;
        match self.path.parent().filter(|_| length.is_none()) {
            Some(directory) => File::open(directory)?.sync_all(),
            None => Ok(()),
        }
    }

    /// The last batch was answered. If that is lost with the machine, only time is.
    pub(super) fn answered(&self) -> io::Result<()> {
        File::options().append(true).open(&self.path)?.write_all(format!("{ANSWERED}\n").as_bytes())
    }

    /// What of the last batch may still be on its way: all of it, if it was not answered.
    pub(super) fn late(&self) -> io::Result<Late> {
        let mut sizes = Vec::new();
        self.each(|line| match line {
            Line::Begin | Line::Answered => sizes.clear(),
            Line::Print(print) => sizes.push(print.octets),
        })?;
        if sizes.is_empty() {
            return Ok(Late::default());
        }
        Ok(Late::since(sizes, std::fs::metadata(&self.path)?.modified()?))
    }

    fn cut(&self) -> io::Result<()> {
        let kept: String = self.last_batches()?.iter().map(|batch| text(batch)).collect();
        let new = self.path.with_extension("new");
        let mut options = File::options();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(kept.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&new, &self.path)
    }

    /// How often each fingerprint of the last batches was intended.
    pub(super) fn last(&self) -> io::Result<BTreeMap<Print, usize>> {
        let mut prints = BTreeMap::new();
        for print in self.last_batches()?.into_iter().flatten() {
            *prints.entry(print).or_default() += 1;
        }
        Ok(prints)
    }

    fn last_batches(&self) -> io::Result<VecDeque<Vec<Print>>> {
        let mut batches: VecDeque<Vec<Print>> = VecDeque::new();
        self.each(|line| match line {
            Line::Begin if batches.back().is_some_and(Vec::is_empty) => {}
            Line::Begin => {
                batches.push_back(Vec::new());
                if batches.len() > BATCHES {
                    batches.pop_front();
                }
            }
            Line::Print(print) => {
                if let Some(batch) = batches.back_mut() {
                    batch.push(print);
                }
            }
            Line::Answered => {}
        })?;
        Ok(batches)
    }

    /// The same of everything that was intended, for messages of these sizes.
    pub(super) fn of_sizes(&self, sizes: &BTreeSet<u64>) -> io::Result<BTreeMap<Print, usize>> {
        let mut prints = BTreeMap::new();
        self.each(|line| match line {
            Line::Print(print) if sizes.contains(&print.octets) => *prints.entry(print).or_default() += 1,
            _ => {}
        })?;
        Ok(prints)
    }

    /// A line that a crash cut off is left out.
    fn each(&self, mut told: impl FnMut(Line)) -> io::Result<()> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(e),
        };
        for line in BufReader::new(file).lines() {
            let line = line?;
            match line.as_str() {
                "" => told(Line::Begin),
                ANSWERED => told(Line::Answered),
                line => {
                    if let Some(print) = Print::parse(line) {
                        told(Line::Print(print));
                    }
                }
            }
        }
        Ok(())
    }
}

/// A line of the file.
enum Line {
    Begin,
    Print(Print),
    Answered,
}

fn text(batch: &[Print]) -> String {
    let lines: String = batch.iter().map(|print| format!("{print}\n")).collect();
    // The first line end ends what a crash may have cut off.
    format!("\n\n{lines}")
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
    let before = Before::path(spool, account);
    for entry in entries {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(&mark) && entry.path() != before {
            std::fs::remove_file(entry.path())?;
        }
    }
    // The last one: what it says of the mailbox is believed with the others only.
    match std::fs::remove_file(before) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::destination::fingerprint::Fingerprint;

    #[test]
    fn it_outlives_us() {
        let spool = tempfile::tempdir().unwrap();
        let origin = Origin::imap("a", b"F", 0);
        let print = |text: &str| Fingerprint::of(text.as_bytes()).unwrap();
        let intent = Intent::of(spool.path(), origin);
        assert!(intent.last().unwrap().is_empty());
        intent.add(&[print("a"), print("b")]).unwrap();
        // What a crash left.
        let mut file = File::options().append(true).open(&intent.path).unwrap();
        file.write_all(b"12 3456").unwrap();
        intent.add(&[print("a")]).unwrap();
        let again = Intent::of(spool.path(), origin);
        assert_eq!(again.last().unwrap(), BTreeMap::from([(print("a"), 2), (print("b"), 1)]));
        assert_eq!(again.late().unwrap().sizes, [1]);
        intent.answered().unwrap();
        assert!(again.late().unwrap().sizes.is_empty());
        for number in 0..20 {
            intent.add(&[print(&format!("{number}"))]).unwrap();
        }
        let last = Intent::of(spool.path(), origin).last().unwrap();
        assert!(last.contains_key(&print("19")) && last.len() == BATCHES, "{}", last.len());
        assert_eq!(again.of_sizes(&[1].into()).unwrap().len(), 12);
        for _ in 0..9000 {
            intent.add(&[print("x")]).unwrap();
        }
        assert!(std::fs::metadata(&intent.path).unwrap().len() < LONGEST + 100, "a poll's is cut");
        forget(spool.path(), origin.account ^ 1).unwrap();
        assert_eq!(std::fs::read_dir(spool.path()).unwrap().count(), 1);
        forget(spool.path(), origin.account).unwrap();
        assert_eq!(std::fs::read_dir(spool.path()).unwrap().count(), 0);
    }
}
