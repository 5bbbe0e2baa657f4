//! A second name for the file of a message that is here already, as Dovecot copies between folders. It refuses
//! to look for a message anywhere but in the folder that it is expected in.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, linkat, unlinkat};

use super::folder::{Folder, entries};
use super::inventory::{told_size, wire_size};
use super::mailbox::Mailbox;
use super::name::{FileName, Origin};
use crate::failure::Failure;
use crate::message::MessageRef;

/// The messages of one folder by what their names say; it may be older than the folder.
#[derive(Debug)]
pub(crate) struct Links {
    directory: String,
    folder: Option<Folder>,
    names: BTreeMap<(Origin, MessageRef), (bool, Vec<u8>)>,
}

/// A message with a second name.
#[derive(Debug)]
pub(crate) struct Linked {
    /// Open for reading.
    pub(crate) file: File,
    /// Its octets as they are stored.
    pub(crate) written: u64,
    /// How many it had on the wire.
    pub(crate) wire: u64,
}

impl Links {
    /// Looks into a folder.
    pub(crate) fn of(mailbox: &Mailbox, directory: &str) -> Result<Links, Failure> {
        let folder = Folder::open_existing(mailbox, directory)?;
        let mut names = BTreeMap::new();
        if let Some(folder) = &folder {
            for (place, in_new) in [(&folder.cur, false), (&folder.new, true)] {
                for file in entries(place.as_fd()).map_err(|e| mailbox.trouble(directory, e))? {
                    if let Some(name) = FileName::parse(&file) {
                        names.insert((name.origin, name.message), (in_new, file));
                    }
                }
            }
        }
        Ok(Links { directory: directory.to_owned(), folder, names })
    }

    /// Whether this is that folder.
    pub(crate) fn is_of(&self, directory: &str) -> bool {
        self.directory == directory
    }

    /// Gives a message the name `to` in `tmp`; `None`: it is not there, or its file cannot have another name.
    pub(crate) fn link(
        &self,
        mailbox: &Mailbox,
        from: &FileName,
        to: &str,
    ) -> Result<Option<Linked>, Failure> {
        let Some(folder) = &self.folder else { return Ok(None) };
        let Some((in_new, name)) = self.names.get(&(from.origin, from.message)) else { return Ok(None) };
        let Some(wire) = wire_size(name) else { return Ok(None) };
        let place = if *in_new { &folder.new } else { &folder.cur };
        match linkat(place.as_fd(), name.as_slice(), mailbox.tmp(), to, AtFlags::empty()) {
            Ok(()) => {}
            // A reader renamed it, or the file system knows no second names: it is fetched instead.
            Err(Errno::ENOENT | Errno::EPERM | Errno::EMLINK | Errno::EOPNOTSUPP | Errno::EACCES) => {
                return Ok(None);
            }
            Err(e) => return Err(mailbox.trouble(&self.directory, e)),
        }
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
        let file = File::from(
            openat(mailbox.tmp(), to, flags, Mode::empty()).map_err(|e| mailbox.trouble("tmp", e))?,
        );
        match file.metadata() {
            // If Dovecot compressed it, its name tells how long it is, as Dovecot wants it.
            Ok(metadata) if metadata.is_file() => {
                let written = told_size(name).unwrap_or(metadata.len());
                Ok(Some(Linked { file, written, wire }))
            }
            _ => {
                let _ = unlinkat(mailbox.tmp(), to, UnlinkatFlags::NoRemoveDir);
                Ok(None)
            }
        }
    }
}
