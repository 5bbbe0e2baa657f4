//! The look at the destination at the end of a run, by names and sizes: is everything there that this run
//! brought, and once? It refuses to read a message.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::AsFd;
use std::sync::Arc;

use nix::fcntl::AtFlags;
use nix::sys::stat::fstatat;

use super::{Means, blocking};
use crate::account::{Account, Protocol};
use crate::destination::Home;
use crate::destination::maildir::{FileName, Folder, Mailbox, Origin, directories, entries, told_size};
use crate::destination::server::Server;
use crate::failure::Failure;
use crate::journal::{Arrived, Side};
use crate::message::{MessageRef, UidSet};

/// What a folder should hold of this run.
#[derive(Debug, Default)]
struct Expected {
    uidvalidity: u32,
    uids: UidSet,
    found: UidSet,
}

/// Looks for everything that the run brought, wherever in the mailbox it is by now.
///
/// # Errors
/// The journal or the mailbox cannot be read.
pub(super) async fn arrived(means: &Means, account: &Account, home: &Home) -> Result<Arrived, Failure> {
    let name = account.name.as_str();
    let mailbox = match home {
        Home::Maildir(mailbox) => Arc::clone(mailbox),
        Home::Server(server, _) => return at_server(means, account, server).await,
        // Nobody can look.
        Home::Delivery(..) => return Ok(Arrived::default()),
    };
    let drop = match account.source.protocol {
        Protocol::Pop3 => Drop::of(means, name)?,
        Protocol::Imap => Drop::default(),
    };
    let mut expected: BTreeMap<u64, Expected> = BTreeMap::new();
    for (key, record) in means.journal.folders(name)? {
        let mut uids = means.journal.uids(name, key, Side::Done)?;
        let mut without = means.journal.uids(name, key, Side::Adopted)?;
        if record.before == record.uidvalidity {
            without.extend(&means.journal.uids(name, key, Side::Before)?);
        }
        uids.subtract(&without);
        expected.insert(key, Expected { uidvalidity: record.uidvalidity, uids, found: UidSet::new() });
    }
    let mark = Origin::pop3(name).account;
    blocking(move || look(&mailbox, mark, expected, drop)).await
}

/// At a server: whether the UIDs are still there.
async fn at_server(means: &Means, account: &Account, server: &Server) -> Result<Arrived, Failure> {
    let name = account.name.as_str();
    let mut folders = BTreeMap::new();
    for (key, record) in means.journal.folders(name)? {
        let mut uids = means.journal.uids(name, key, Side::Placed)?;
        uids.subtract(&means.journal.uids(name, key, Side::PlacedBefore)?);
        let there = match account.source.protocol {
            Protocol::Pop3 => means.journal.source(name)?.unwrap_or_default().there,
            Protocol::Imap => record.there,
        };
        folders.insert(record.directory, (there, uids));
    }
    let look = server.look(&folders).await?;
    Ok(Arrived { here: look.here, lost: look.lost, ..Arrived::default() })
}

/// What a maildrop should have brought.
#[derive(Debug, Default)]
struct Drop {
    ids: BTreeSet<u128>,
    found: BTreeSet<u128>,
    /// So many of them were here under other names; which, nobody wrote down.
    adopted: u64,
}

impl Drop {
    fn of(means: &Means, account: &str) -> Result<Drop, Failure> {
        let source = means.journal.source(account)?.unwrap_or_default();
        let before = means.journal.first_identities(account, source.before)?;
        let (known, _) = means.journal.identities(account)?;
        let ids = known.difference(&before).copied().collect();
        Ok(Drop { ids, found: BTreeSet::new(), adopted: source.adopted })
    }
}

fn look(
    mailbox: &Mailbox,
    account: u64,
    mut expected: BTreeMap<u64, Expected>,
    mut drop: Drop,
) -> Result<Arrived, Failure> {
    let mut arrived = Arrived::default();
    for directory in directories(mailbox)? {
        let Some(folder) = Folder::open_existing(mailbox, &directory)? else { continue };
        for place in [&folder.cur, &folder.new] {
            for file in entries(place.as_fd()).map_err(|e| mailbox.trouble(&directory, e))? {
                let Some(FileName { origin, message }) =
                    FileName::parse(&file).filter(|name| name.origin.account == account)
                else {
                    continue;
                };
                let new = match message {
                    MessageRef::Imap { uidvalidity, uid } => {
                        let Some(folder) = expected.get_mut(&origin.folder) else { continue };
                        if uidvalidity != folder.uidvalidity || !folder.uids.contains(uid) {
                            continue;
                        }
                        folder.found.insert(uid)
                    }
                    MessageRef::Pop3(id) if drop.ids.contains(&id) => drop.found.insert(id),
                    MessageRef::Pop3(_) => continue,
                };
                if !new {
                    arrived.duplicated += 1;
                    continue;
                }
                arrived.here += 1;
                let size =
                    fstatat(place.as_fd(), file.as_slice(), AtFlags::AT_SYMLINK_NOFOLLOW).map(|s| s.st_size);
                if let (Ok(size), Some(told)) = (size, told_size(&file)) {
                    arrived.altered += u64::from(u64::try_from(size) != Ok(told));
                }
            }
        }
    }
    arrived.lost = expected.values().map(|folder| folder.uids.len() - folder.found.len()).sum();
    let missing = (drop.ids.len() - drop.found.len()) as u64;
    arrived.lost += missing.saturating_sub(drop.adopted);
    Ok(arrived)
}
