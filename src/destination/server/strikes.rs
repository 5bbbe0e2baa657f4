//! How often a message did not get through, in a small file for each source folder: whoever stops us, what was found
//! out about a message is not lost. It refuses to grow with the mailbox: only what did not get through is in it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::destination::maildir::Origin;
use crate::destination::marks::{parse, written};
use crate::message::MessageRef;

/// Messages that are remembered at most.
const MOST: usize = 10_000;
/// The first line of the file.
const VERSION: &str = "strikes 1";

/// The strikes of one folder.
#[derive(Debug, Clone, Default)]
pub(super) struct Strikes {
    path: PathBuf,
    counts: BTreeMap<MessageRef, u32>,
}

impl Strikes {
    /// What is in the file for that folder of that account. A file of another version says nothing.
    pub(super) fn read(spool: &Path, origin: Origin) -> io::Result<Strikes> {
        let path = spool.join(format!("{:016x}-{:016x}.strikes", origin.account, origin.folder));
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => String::new(),
            Err(e) => return Err(e),
        };
        let mut lines = text.lines();
        let known = lines.next() == Some(VERSION);
        let counts =
            lines.filter_map(parse).filter_map(|(count, message)| Some((message, count.parse().ok()?)));
        let counts = if known { counts.take(MOST).collect() } else { BTreeMap::new() };
        Ok(Strikes { path, counts })
    }

    /// So often a message did not get through.
    pub(super) fn of(&self, message: MessageRef) -> u32 {
        self.counts.get(&message).copied().unwrap_or(0)
    }

    /// Messages did not get through, so often more each. Durable when this returns.
    pub(super) fn add(&mut self, messages: &[(MessageRef, u32)]) -> io::Result<()> {
        for (message, more) in messages {
            if self.counts.len() < MOST || self.counts.contains_key(message) {
                let count = self.counts.entry(*message).or_default();
                *count = count.saturating_add(*more);
            }
        }
        if messages.is_empty() { Ok(()) } else { self.write() }
    }

    /// These are there, or refused.
    pub(super) fn settle(&mut self, messages: impl Iterator<Item = MessageRef>) -> io::Result<()> {
        let before = self.counts.len();
        messages.for_each(|message| {
            self.counts.remove(&message);
        });
        if self.counts.len() == before { Ok(()) } else { self.write() }
    }

    fn write(&self) -> io::Result<()> {
        if self.counts.is_empty() {
            return match std::fs::remove_file(&self.path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
                _ => Ok(()),
            };
        }
        let mut text = format!("{VERSION}\n");
        text.extend(self.counts.iter().map(|(message, count)| written(&count.to_string(), *message)));
        let new = self.path.with_extension("strikes-new");
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_outlive_us_and_go_when_nothing_is_left() {
        let spool = tempfile::tempdir().unwrap();
        let read = || Strikes::read(spool.path(), Origin { account: 7, folder: 9 }).unwrap();
        let message = |uid| MessageRef::Imap { uidvalidity: 3, uid };
        let mut strikes = read();
        strikes.settle([message(1)].into_iter()).unwrap();
        strikes.add(&[]).unwrap();
        assert_eq!(std::fs::read_dir(spool.path()).unwrap().count(), 0, "nothing is written for nothing");
        strikes.add(&[(message(1), 1), (message(2), 3)]).unwrap();
        strikes.add(&[(message(1), 1)]).unwrap();
        let mut again = read();
        assert_eq!([again.of(message(1)), again.of(message(2)), again.of(message(3))], [2, 3, 0]);
        again.settle([message(1), message(2)].into_iter()).unwrap();
        assert_eq!(read().of(message(2)), 0);
        assert_eq!(std::fs::read_dir(spool.path()).unwrap().count(), 0);
        std::fs::write(&again.path, "strikes 2\n5 i 3 1\n").unwrap();
        assert_eq!(read().of(message(1)), 0, "of a later version");
    }
}
