//! File names in a Maildir: computed from account, folder and [`MessageRef`], so that the same message always
//! gets the same name, and readable again, so that a mailbox can be asked what it holds. The first part
//! is the time of arrival, as readers of Maildirs expect.
//!
//! `TIME.A<account>F<folder>V<uidvalidity>U<uid>.mailhaul,S=<size>,W=<wire size>:2,<flags>` for IMAP, and
//! `…A<account>P<id>.mailhaul…` for POP3; account and folder are hashes in 16 hexadecimal digits.

use std::fmt;

use ring::digest::{Context, SHA256};

use crate::message::{Flags, Mark, MessageRef};

/// Which account, and which folder of it, a copy came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    /// Hash of the account's name.
    pub account: u64,
    /// Hash of the source folder's name on the wire; 0 for POP3.
    pub folder: u64,
}

impl Origin {
    /// A POP3 account.
    pub fn pop3(account: &str) -> Self {
        Origin { account: hash(b"account", account.as_bytes()), folder: 0 }
    }

    /// A folder of an IMAP account, by its name as the server wrote it; in another era of the account's it is another.
    pub fn imap(account: &str, folder: &[u8], era: u64) -> Self {
        let folder = match era {
            0 => hash(b"folder", folder),
            era => hash(format!("folder in {era:016x}").as_bytes(), folder),
        };
        Origin { account: hash(b"account", account.as_bytes()), folder }
    }
}

fn hash(what: &[u8], data: &[u8]) -> u64 {
    let mut context = Context::new(&SHA256);
    context.update(what);
    context.update(&[0]);
    context.update(data);
    let digest = context.finish();
    digest.as_ref().iter().take(8).fold(0, |sum, byte| (sum << 8) | u64::from(*byte))
}

/// What a file name of ours says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileName {
    /// Which account and folder.
    pub origin: Origin,
    /// Which message there.
    pub message: MessageRef,
}

impl FileName {
    /// Reads a name; `None` if it is not one of ours. A reader may have changed flags, sizes or time.
    pub fn parse(name: &[u8]) -> Option<FileName> {
        let name = std::str::from_utf8(name).ok()?;
        let mut parts = name.splitn(3, '.');
        let (_time, key, host) = (parts.next()?, parts.next()?, parts.next()?);
        let host = host.split([',', ':']).next()?;
        if host != "mailhaul" {
            return None;
        }
        let key = key.strip_prefix('A')?;
        let account = u64::from_str_radix(key.get(..16)?, 16).ok()?;
        let key = key.get(16..)?;
        if let Some(id) = key.strip_prefix('P') {
            let message = MessageRef::Pop3(u128::from_str_radix(id, 16).ok()?);
            return Some(FileName { origin: Origin { account, folder: 0 }, message });
        }
        let key = key.strip_prefix('F')?;
        let folder = u64::from_str_radix(key.get(..16)?, 16).ok()?;
        let (uidvalidity, uid) = key.get(16..)?.strip_prefix('V')?.split_once('U')?;
        let message = MessageRef::Imap { uidvalidity: uidvalidity.parse().ok()?, uid: uid.parse().ok()? };
        Some(FileName { origin: Origin { account, folder }, message })
    }

    /// The whole name. `time` is in seconds since 1970, `letters` are keyword letters (`a` to `z`).
    pub(crate) fn full(&self, time: i64, size: u64, wire_size: u64, flags: &Flags, letters: &str) -> String {
        let mut name = format!("{time}.{self},S={size},W={wire_size}");
        let info = info(flags, letters);
        if !info.is_empty() || !flags.recent {
            name.push_str(":2,");
            name.push_str(&info);
        }
        name
    }
}

impl fmt::Display for FileName {
    /// Without time, sizes and flags.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "A{:016x}", self.origin.account)?;
        match self.message {
            MessageRef::Imap { uidvalidity, uid } => {
                write!(f, "F{:016x}V{uidvalidity}U{uid}", self.origin.folder)?;
            }
            MessageRef::Pop3(id) => write!(f, "P{id:032x}")?,
        }
        f.write_str(".mailhaul")
    }
}

/// The letters after `:2,`, in ASCII order as the Maildir specification wants them.
fn info(flags: &Flags, letters: &str) -> String {
    let mut info = String::new();
    info.extend(Mark::ALL.into_iter().filter(|mark| flags.has(*mark)).map(Mark::letter));
    info.push_str(letters);
    info
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_name_says_what_it_was_made_from(account in "[a-z0-9._-]{1,64}", folder: Vec<u8>, v: u32, u: u32, id: u128, time: i64) {
            for (origin, message) in [
                (Origin::imap(&account, &folder, 0), MessageRef::Imap { uidvalidity: v, uid: u }),
                (Origin::pop3(&account), MessageRef::Pop3(id)),
            ] {
                let name = FileName { origin, message };
                let flags = Flags { seen: true, ..Flags::default() };
                let full = name.full(time, 7, 9, &flags, "ab");
                prop_assert!(full.ends_with(",S=7,W=9:2,Sab"));
                prop_assert_eq!(FileName::parse(full.as_bytes()), Some(name));
            }
        }

        #[test]
        fn foreign_names_are_foreign(name in prop::collection::vec(any::<u8>(), 0..80)) {
            prop_assert_eq!(FileName::parse(&name), None);
        }
    }

    #[test]
    fn only_a_recent_message_without_flags_has_no_info() {
        let name = FileName { origin: Origin::pop3("a"), message: MessageRef::Pop3(1) };
        let recent = Flags { recent: true, ..Flags::default() };
        assert!(!name.full(1, 2, 3, &recent, "").contains(':'));
        assert!(name.full(1, 2, 3, &Flags::default(), "").ends_with(":2,"));
    }
}
