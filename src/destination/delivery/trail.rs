//! What became of the messages of one source folder on their way, as lines of a small file: what is about to be
//! ended, what was answered and how. A restart reads from it what was taken without being recorded, and what
//! is in doubt. It refuses to grow with the mailbox: what is recorded elsewhere goes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::destination::maildir::Origin;
use crate::destination::marks::{parse, written};
use crate::message::MessageRef;

/// Batches whose answers may not be recorded yet.
const BATCHES: usize = 8;

/// How often a connection broke over a message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Strikes {
    /// Before its end was sent: it cannot be there.
    pub(super) broken: u32,
    /// After that, without an answer: it may be there.
    pub(super) doubted: u32,
    /// The server fell silent over it, and took others: it may be there.
    pub(super) silent: bool,
}

impl Strikes {
    pub(super) fn sum(self) -> u32 {
        self.broken + self.doubted
    }
}

/// The trail of one folder.
#[derive(Debug, Default)]
pub(super) struct Trail {
    path: PathBuf,
    /// Open for more lines.
    file: Option<File>,
    /// Taken, batch by batch; the last one is the current one.
    taken: VecDeque<Vec<MessageRef>>,
    strikes: BTreeMap<MessageRef, Strikes>,
}

impl Trail {
    /// What is in the file for that folder of that account. If everything that was taken is `recorded`, only
    /// strikes are kept.
    pub(super) fn read(spool: &Path, origin: Origin, recorded: bool) -> io::Result<Trail> {
        let path = spool.join(format!("{:016x}-{:016x}.lmtp", origin.account, origin.folder));
        Trail::at(path, recorded)
    }

    fn at(path: PathBuf, recorded: bool) -> io::Result<Trail> {
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Trail { path, ..Trail::default() }),
            Err(e) => return Err(e),
        };
        let mut trail = Trail { path, ..Trail::default() };
        let mut taken = BTreeSet::new();
        for line in text.split(|octet| *octet == b'\n') {
            let Some((mark, message)) = std::str::from_utf8(line).ok().and_then(parse) else { continue };
            match mark {
                "?" => trail.strikes.entry(message).or_default().doubted += 1,
                "!" => {
                    trail.strikes.entry(message).or_default().broken += 1;
                }
                "~" => trail.strikes.entry(message).or_default().silent = true,
                "+" => {
                    trail.strikes.remove(&message);
                    taken.insert(message);
                }
                _ => {
                    trail.strikes.remove(&message);
                }
            }
        }
        if !recorded && !taken.is_empty() {
            trail.taken.push_back(taken.into_iter().collect());
        }
        trail.write_anew()?;
        Ok(trail)
    }

    /// What was taken and may not be recorded.
    pub(super) fn taken(&self) -> BTreeSet<MessageRef> {
        self.taken.iter().flatten().copied().collect()
    }

    /// What went wrong with a message so far.
    pub(super) fn strikes(&self, message: MessageRef) -> Strikes {
        self.strikes.get(&message).copied().unwrap_or_default()
    }

    /// A batch begins.
    pub(super) fn batch(&mut self) -> io::Result<()> {
        self.taken.push_back(Vec::new());
        if self.taken.len() > 2 * BATCHES {
            self.taken.drain(..BATCHES);
            self.write_anew()?;
        }
        Ok(())
    }

    /// The end of a message is about to be sent. That, and everything before it, is durable when this returns.
    pub(super) fn ending(&mut self, message: MessageRef) -> io::Result<()> {
        self.strikes.entry(message).or_default().doubted += 1;
        self.line("?", message)?.sync_data()
    }

    /// The connection broke before its end was sent.
    pub(super) fn broke(&mut self, message: MessageRef) -> io::Result<()> {
        self.strikes.entry(message).or_default().broken += 1;
        self.line("!", message).map(drop)
    }

    /// The server fell silent over it, and takes others.
    pub(super) fn fell_silent(&mut self, message: MessageRef) -> io::Result<()> {
        self.strikes.entry(message).or_default().silent = true;
        self.line("~", message)?.sync_data()
    }

    /// The server took it, or said that it did not.
    pub(super) fn answered(&mut self, message: MessageRef, taken: bool) -> io::Result<()> {
        self.strikes.remove(&message);
        if taken && let Some(batch) = self.taken.back_mut() {
            batch.push(message);
        }
        self.line(if taken { "+" } else { "-" }, message).map(drop)
    }

    fn line(&mut self, mark: &str, message: MessageRef) -> io::Result<&File> {
        let file = match self.file.take() {
            Some(file) => file,
            None => {
                let file = File::options().append(true).create(true).mode(0o600).open(&self.path)?;
                if let Some(directory) = self.path.parent() {
                    File::open(directory)?.sync_all()?;
                }
                file
            }
        };
        (&file).write_all(written(mark, message).as_bytes())?;
        Ok(self.file.insert(file))
    }

    fn write_anew(&mut self) -> io::Result<()> {
        self.file = None;
        let mut text: String = self.taken.iter().flatten().map(|message| written("+", *message)).collect();
        for (message, strikes) in &self.strikes {
            for (mark, count) in [("!", strikes.broken), ("?", strikes.doubted)] {
                text.extend((0..count).map(|_| written(mark, *message)));
            }
            text.extend(strikes.silent.then(|| written("~", *message)));
        }
        if text.is_empty() {
            return match std::fs::remove_file(&self.path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
                _ => Ok(()),
            };
        }
        let new = self.path.with_extension("new");
        let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&new, &self.path)?;
        match self.path.parent() {
            Some(directory) => File::open(directory)?.sync_all(),
            None => Ok(()),
        }
    }
}

/// A run of this account is over and recorded: only strikes are kept, for what may be there already is not sent again
/// and again by runs that follow.
///
/// # Errors
/// The directory cannot be read or written.
pub fn all_recorded(spool: &Path, account: u64) -> io::Result<()> {
    let mark = format!("{account:016x}-");
    let entries = match std::fs::read_dir(spool) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e),
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(&mark) && name.ends_with(".lmtp") {
            Trail::at(entry.path(), true)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORIGIN: Origin = Origin { account: 7, folder: 9 };

    fn message(uid: u32) -> MessageRef {
        MessageRef::Imap { uidvalidity: 3, uid }
    }

    #[test]
    fn it_outlives_us() {
        let spool = tempfile::tempdir().unwrap();
        let read = |recorded| Trail::read(spool.path(), ORIGIN, recorded).unwrap();
        let mut trail = read(false);
        assert_eq!(std::fs::read_dir(spool.path()).unwrap().count(), 0, "nothing is written for nothing");
        trail.batch().unwrap();
        for (uid, taken) in [(1, true), (2, false), (3, true)] {
            trail.ending(message(uid)).unwrap();
            trail.answered(message(uid), taken).unwrap();
        }
        trail.broke(message(4)).unwrap();
        trail.ending(message(4)).unwrap();
        trail.ending(message(5)).unwrap();
        trail.ending(MessageRef::Pop3(u128::MAX)).unwrap();
        let again = read(false);
        assert_eq!(again.taken(), [message(1), message(3)].into());
        assert_eq!(again.strikes(message(4)), Strikes { broken: 1, doubted: 1, silent: false });
        assert_eq!(again.strikes(message(5)), Strikes { broken: 0, doubted: 1, silent: false });
        assert_eq!(again.strikes(MessageRef::Pop3(u128::MAX)).doubted, 1);
        assert_eq!(again.strikes(message(2)), Strikes::default());
        let mut recorded = read(true);
        assert_eq!(recorded.taken(), BTreeSet::new());
        assert_eq!(recorded.strikes(message(5)).doubted, 1, "doubts stay until they are settled");
        for uid in [4, 5] {
            recorded.answered(message(uid), true).unwrap();
        }
        recorded.answered(MessageRef::Pop3(u128::MAX), false).unwrap();
        read(true);
        assert_eq!(std::fs::read_dir(spool.path()).unwrap().count(), 0, "nothing is left to know");
    }

    #[test]
    fn a_doubt_outlives_a_run() {
        let spool = tempfile::tempdir().unwrap();
        let mut trail = Trail::read(spool.path(), ORIGIN, false).unwrap();
        trail.batch().unwrap();
        trail.ending(message(1)).unwrap();
        trail.answered(message(1), true).unwrap();
        (0..3).for_each(|_| trail.ending(message(2)).unwrap());
        trail.ending(message(3)).unwrap();
        trail.fell_silent(message(3)).unwrap();
        all_recorded(spool.path(), ORIGIN.account).unwrap();
        let trail = Trail::read(spool.path(), ORIGIN, false).unwrap();
        assert_eq!((trail.taken().len(), trail.strikes(message(2)).doubted), (0, 3));
        assert!(trail.strikes(message(3)).silent && !trail.strikes(message(2)).silent);
    }

    #[test]
    fn it_stays_small() {
        let spool = tempfile::tempdir().unwrap();
        let mut trail = Trail::read(spool.path(), ORIGIN, false).unwrap();
        for uid in 0..200 {
            trail.batch().unwrap();
            trail.ending(message(uid)).unwrap();
            trail.answered(message(uid), true).unwrap();
        }
        assert!(trail.taken().len() <= 2 * BATCHES && trail.taken().contains(&message(199)));
        assert!(std::fs::read_to_string(&trail.path).unwrap().lines().count() <= 4 * BATCHES);
        assert_eq!(Trail::read(spool.path(), ORIGIN, false).unwrap().taken(), trail.taken());
    }
}
