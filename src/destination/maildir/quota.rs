//! The `maildirsize` of a Maildir++ that has one: the line that says how much mail came (Maildir++, "Maintaining the
//! maildirsize file"). It refuses to make the file, and to keep one that got long or cannot be written: servers count
//! anew where there is none.

use std::fs::File;
use std::io::Write;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::mailbox::Mailbox;

const NAME: &str = "maildirsize";

/// Whoever finds a longer file has to count anew; octets.
const LONGEST: u64 = 5120;

/// So many octets in so many messages are about to come: what is counted and does not come is found out when the
/// server counts anew, and it does that before it calls a mailbox full.
pub(super) fn counts(mailbox: &Mailbox, octets: u64, messages: usize) {
    let flags = OFlag::O_WRONLY | OFlag::O_APPEND | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
    let mut file: File = match openat(mailbox.root(), NAME, flags, Mode::empty()) {
        Ok(file) => file.into(),
        Err(Errno::ENOENT) => return,
        Err(_) => return forget(mailbox),
    };
    let line = format!("{octets} {messages}\n");
    let fits = |file: &File| {
        file.metadata().is_ok_and(|about| about.is_file() && about.len() + line.len() as u64 <= LONGEST)
    };
    if !fits(&file) || file.write_all(line.as_bytes()).is_err() {
        forget(mailbox);
    }
}

/// What the file says is not so any more.
pub(super) fn forget(mailbox: &Mailbox) {
    match unlinkat(mailbox.root(), NAME, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => {}
        Err(e) => tracing::warn!("{}/{NAME} is wrong now: {}", mailbox.path().display(), e.desc()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_kept_if_it_is_there_and_never_gets_long() {
        let directory = tempfile::tempdir().unwrap();
        let mailbox = Mailbox::open(&directory.path().join("m")).unwrap();
        let file = mailbox.path().join(NAME);
        counts(&mailbox, 5, 1);
        assert!(!file.exists(), "it is not ours to make");
        std::fs::write(&file, "1000S\n").unwrap();
        counts(&mailbox, 50, 2);
        counts(&mailbox, 7, 1);
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "1000S\n50 2\n7 1\n");
        std::fs::write(&file, "1000S\n".repeat(853)).unwrap();
        counts(&mailbox, 50, 2);
        assert!(!file.exists());
        std::os::unix::fs::symlink("/dev/full", &file).unwrap();
        counts(&mailbox, 50, 2);
        assert!(file.symlink_metadata().is_err(), "a link is not followed");
    }
}
