//! Messages that are in a folder already under names that say nothing of the source: brought by another
//! tool, or by us before the source changed its UIDVALIDITY. What comes and is the same, octet for octet,
//! is not brought again. It refuses to compare what has another size, and counts every file once.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::os::fd::AsFd;

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;

use super::folder::{Folder, entries};
use super::mailbox::Mailbox;
use super::name::{FileName, Origin};
use crate::failure::Failure;
use crate::message::MessageRef;

/// A file that may be a twin.
#[derive(Debug)]
struct Twin {
    in_new: bool,
    file: Vec<u8>,
    /// What its name says of its source, if it is one of ours from the same source folder.
    message: Option<MessageRef>,
}

/// Possible twins by their size on the wire.
#[derive(Debug, Default)]
pub(crate) struct Twins {
    files: BTreeMap<u64, Vec<Twin>>,
    /// How many of each size an earlier try may have used up; which, nobody wrote down.
    used: BTreeMap<u64, usize>,
}

impl Twins {
    /// What is in `folder`; only files whose name tells their size count. `adopted` are the sizes of those
    /// messages that earlier tries may have found here.
    pub(crate) fn of(
        mailbox: &Mailbox,
        folder: &Folder,
        origin: Origin,
        adopted: impl Iterator<Item = u64>,
    ) -> Result<Twins, Failure> {
        let mut twins: BTreeMap<u64, Vec<Twin>> = BTreeMap::new();
        for (directory, in_new) in [(&folder.cur, false), (&folder.new, true)] {
            for file in entries(directory.as_fd()).map_err(|e| mailbox.trouble(&folder.name, e))? {
                let name = FileName::parse(&file);
                let message = name.filter(|n| n.origin == origin).map(|n| n.message);
                if let Some(size) = wire_size(&file) {
                    twins.entry(size).or_default().push(Twin { in_new, file, message });
                }
            }
        }
        let mut used = BTreeMap::new();
        for size in adopted {
            *used.entry(size).or_default() += 1;
        }
        Ok(Twins { files: twins, used })
    }

    /// Whether `staged` is here already; its twin is used up by that. If an earlier try may have used it up,
    /// it is not: two messages alike at the source are two here.
    pub(crate) fn take(&mut self, folder: &Folder, message: MessageRef, size: u64, staged: &File) -> bool {
        let Some(candidates) = self.files.get_mut(&size) else { return false };
        // A message of the same numbering is another message, however alike.
        let other = |twin: &Twin| twin.message.is_none_or(|m| numbering(m) != numbering(message));
        let (mut alike, mut unlike) = (Vec::new(), 0);
        for (at, twin) in candidates.iter().enumerate().filter(|(_, twin)| other(twin)) {
            if is_same(folder, twin, staged).unwrap_or(false) {
                alike.push(at);
            } else {
                unlike += 1;
            }
        }
        let used = self.used.get(&size).copied().unwrap_or(0);
        let Some(at) = alike.get(used.saturating_sub(unlike)) else { return false };
        candidates.swap_remove(*at);
        true
    }
}

/// Within one numbering, different references are different messages.
fn numbering(message: MessageRef) -> Option<u32> {
    match message {
        MessageRef::Imap { uidvalidity, .. } => Some(uidvalidity),
        MessageRef::Pop3(_) => None,
    }
}

/// `,W=` of a Maildir name: the size with CRLF line ends.
fn wire_size(name: &[u8]) -> Option<u64> {
    let name = std::str::from_utf8(name).ok()?;
    let value = name.split(":2,").next()?.split(",W=").nth(1)?;
    value.split(',').next()?.parse().ok()
}

fn is_same(folder: &Folder, twin: &Twin, staged: &File) -> std::io::Result<bool> {
    let directory = if twin.in_new { &folder.new } else { &folder.cur };
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let file = File::from(openat(directory.as_fd(), twin.file.as_slice(), flags, Mode::empty())?);
    let mut staged = staged.try_clone()?;
    staged.seek(SeekFrom::Start(0))?;
    let (mut one, mut other) = (Octets::new(file), Octets::new(staged));
    loop {
        match (one.next()?, other.next()?) {
            (None, None) => return Ok(true),
            (a, b) if a == b => {}
            _ => return Ok(false),
        }
    }
}

/// The octets of a stored message with every line end reduced to a line feed, as two stores may differ there.
struct Octets {
    bytes: std::io::Bytes<BufReader<File>>,
    held: Option<u8>,
}

impl Octets {
    fn new(file: File) -> Self {
        Octets { bytes: BufReader::with_capacity(64 * 1024, file).bytes(), held: None }
    }

    fn next(&mut self) -> std::io::Result<Option<u8>> {
        let byte = match self.held.take() {
            Some(byte) => Some(byte),
            None => self.bytes.next().transpose()?,
        };
        if byte == Some(b'\r') {
            self.held = self.bytes.next().transpose()?;
            if self.held == Some(b'\n') {
                self.held = None;
                return Ok(Some(b'\n'));
            }
        }
        Ok(byte)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_from_names() {
        assert_eq!(wire_size(b"1.M2P3.host,S=10,W=12:2,S"), Some(12));
        assert_eq!(wire_size(b"1.M2P3.host,W=7"), Some(7));
        assert_eq!(wire_size(b"1.M2P3.host:2,,W=7"), None);
    }

    #[test]
    fn a_twin_is_found_once_whatever_its_line_ends() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("m");
        let mailbox = Mailbox::open(&root).unwrap();
        let folder = Folder::open(&mailbox, "").unwrap();
        std::fs::write(root.join("cur/1.x.host,S=5,W=7:2,"), "a\nb\rc\n").unwrap();
        let staged = root.join("tmp/s");
        std::fs::write(&staged, "a\r\nb\rc\r\n").unwrap();
        let file = File::open(&staged).unwrap();
        let origin = Origin::imap("a", b"f");
        let message = MessageRef::Imap { uidvalidity: 1, uid: 1 };
        let of = |adopted: &[u64]| Twins::of(&mailbox, &folder, origin, adopted.iter().copied()).unwrap();
        let mut twins = of(&[5]);
        assert!(!twins.take(&folder, message, 8, &file), "another size");
        assert!(twins.take(&folder, message, 7, &file));
        assert!(!twins.take(&folder, message, 7, &file), "used up");
        assert!(!of(&[7]).take(&folder, message, 7, &file), "used up by an earlier try");
        std::fs::write(root.join("cur/2.x.host,S=7,W=7:2,"), "another").unwrap();
        assert!(of(&[7]).take(&folder, message, 7, &file), "the other one was");
        assert!(!of(&[7, 7]).take(&folder, message, 7, &file), "both were");
    }
}
