//! Where a message went when a reader copied it: Dovecot gives a copy a new file name and keeps the old one
//! beside it in the folder's `dovecot-uidlist` (`G<old name>`). It refuses to write that file.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;

use super::folder::Folder;
use super::mailbox::Mailbox;
use super::name::FileName;
use crate::failure::Failure;

const FILE: &str = "dovecot-uidlist";
/// Octets of the file that are read; ten million messages have less.
const LARGEST: u64 = 2 * 1024 * 1024 * 1024;
/// Octets of a line that are looked at.
const LONGEST: u64 = 4096;

/// The copies in a folder of messages that we brought: file name without flags, and whose copy it is.
///
/// # Errors
/// The file is there and cannot be read.
pub(super) fn copies(mailbox: &Mailbox, folder: &Folder) -> Result<BTreeMap<Vec<u8>, FileName>, Failure> {
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let file = match openat(folder.dir.as_fd(), FILE, flags, Mode::empty()) {
        Ok(file) => std::fs::File::from(file),
        Err(Errno::ENOENT | Errno::ELOOP) => return Ok(BTreeMap::new()),
        Err(e) => return Err(mailbox.trouble(&folder.name, e)),
    };
    let mut found = BTreeMap::new();
    let mut reader = BufReader::new(file.take(LARGEST));
    let mut line = Vec::new();
    loop {
        line.clear();
        let count = reader.by_ref().take(LONGEST).read_until(b'\n', &mut line);
        match count {
            Ok(0) => return Ok(found),
            Ok(_) => found.extend(copy(line.trim_ascii_end())),
            Err(e) => {
                return Err(
                    mailbox.trouble(&folder.name, e.raw_os_error().map_or(Errno::EIO, Errno::from_raw))
                );
            }
        }
    }
}

/// `UID [extensions] :NAME` with the extension `G<name it had before>`.
fn copy(line: &[u8]) -> Option<(Vec<u8>, FileName)> {
    let colon = memchr::memmem::find(line, b" :")?;
    let (head, name) = line.split_at(colon);
    let old = head.split(|b| *b == b' ').skip(1).find_map(|word| word.strip_prefix(b"G"))?;
    Some((name.get(2..)?.to_vec(), FileName::parse(old)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_known_by_the_name_before() {
        let dir = tempfile::tempdir().unwrap();
        let mailbox = Mailbox::open(&dir.path().join("m")).unwrap();
        let folder = Folder::open(&mailbox, "").unwrap();
        assert!(copies(&mailbox, &folder).unwrap().is_empty());
        let ours = "1700000000.A0123456789abcdefF0123456789abcdefV1U5.mailhaul";
        let text = format!(
            "3 V1795343677 N1 Gb22415013cc5026b7f5a000083ecc375\n1 :{ours},S=18,W=21\n\
             2 G{ours},S=18,W=21 :1795343676.M92726P23173.vm,S=18,W=21\n\
             3 W7 Gother :1795343676.M9.vm\nnonsense\n4"
        );
        std::fs::write(dir.path().join("m").join(FILE), text).unwrap();
        let found = copies(&mailbox, &folder).unwrap();
        assert_eq!(found.len(), 1, "{found:?}");
        let (name, whose) = found.first_key_value().unwrap();
        assert_eq!(name, b"1795343676.M92726P23173.vm,S=18,W=21");
        assert_eq!(Some(whose), FileName::parse(ours.as_bytes()).as_ref());
    }
}
