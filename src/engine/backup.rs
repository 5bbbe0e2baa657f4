//! A member's mailbox, or one folder of it, into a file of the caller's, message by message. It refuses to change
//! anything in the mailbox, and to make one that is missing.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::Path;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::maildrop::directory_of;
use super::{Means, Place, backup_there, make_private};
use crate::account::Member;
use crate::archive::{Letter, MboxWriter, Output, Pack, TarWriter, ZipWriter};
use crate::compressed::Message;
use crate::destination::Home;
use crate::destination::maildir::{Folder, Mailbox, directories, inventory};
use crate::destination::nameless;
use crate::destination::place::Naming;
use crate::failure::{Failure, Kind};
use crate::message::{Flags, FolderPath};
use crate::mutf7;

/// How a backup is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A zip archive of .eml files.
    Zip,
    /// One mbox.
    Mbox,
    /// A tar archive of a Maildir++.
    Maildir,
}

/// What a backup came to, or has so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BackedUp {
    /// Folders.
    pub folders: u64,
    /// Messages.
    pub messages: u64,
    /// Their octets as they are stored.
    pub bytes: u64,
    /// Messages that went while the backup ran.
    pub vanished: u64,
    /// Messages that the server has and does not give.
    pub unread: u64,
    /// The first 1,000 of those: folder and UID, and why.
    pub list: Vec<(String, String)>,
}

/// What is to be backed up.
#[derive(Debug)]
pub(super) struct Errand {
    pub(super) member: Member,
    pub(super) destination: String,
    /// One folder; `None`: all of them.
    pub(super) mailbox: Option<Vec<String>>,
    pub(super) format: Format,
    pub(super) file: File,
    pub(super) cancel: CancellationToken,
}

/// Backs up; `told` is called again and again.
pub(super) async fn run(
    means: &Means,
    errand: Errand,
    tasks: &TaskTracker,
    told: impl FnMut(&BackedUp) + Send + 'static,
) -> Result<BackedUp, Failure> {
    let spool = means.settings.daemon.state_directory.join("spool");
    let path = match means.place_of(&errand.member, &errand.destination)? {
        Place::Maildir(path) => path,
        Place::Delivery(_) => {
            return Err(Failure::new(
                Kind::Unsupported,
                "a mailbox behind LMTP cannot be read",
                "set [destination.NAME.maildir] beside it, or back it up at the server",
            ));
        }
        Place::Server(_) => {
            let home = means.open_home_of(&errand.member, &errand.destination, 0).await?;
            let Home::Server(server, _) = home else { return Ok(BackedUp::default()) };
            return backup_there::run(&server, errand, spool, tasks, told).await;
        }
    };
    let work = move || all(&path, errand, &spool, told);
    let done = tasks.spawn_blocking(work).await;
    done.unwrap_or_else(|e| Err(Failure::new(Kind::Destination, format!("it ended unexpectedly: {e}"), "")))
}

fn all(
    path: &Path,
    errand: Errand,
    spool: &Path,
    mut told: impl FnMut(&BackedUp),
) -> Result<BackedUp, Failure> {
    let Some(mailbox) = Mailbox::open_existing(path)? else {
        let words = format!("{} has no mailbox", errand.member);
        return Err(Failure::new(Kind::Folder, words, "look at the address, and at --destination"));
    };
    let wanted = match &errand.mailbox {
        None => directories(&mailbox)?,
        Some(levels) => {
            let directory = directory_of(&Naming::Maildir, levels);
            if !Folder::exists(&mailbox, &directory) {
                let words = format!("there is no folder {}", FolderPath(levels.clone()));
                return Err(Failure::new(Kind::Folder, words, "write it with / between its levels"));
            }
            vec![directory]
        }
    };
    let cancel = errand.cancel.clone();
    let failed = |e: &io::Error| failed(&cancel, e);
    let mut pack = pack(errand, spool)?;
    let mut sum = BackedUp::default();
    for name in wanted {
        let Some(folder) = Folder::open_existing(&mailbox, &name)? else { continue };
        let mut held = inventory(&mailbox, &folder)?;
        held.sort_by(|a, b| (a.modified, &a.file).cmp(&(b.modified, &b.file)));
        let keywords: BTreeSet<String> = held.iter().flat_map(|h| h.flags.keywords.iter().cloned()).collect();
        let keywords: Vec<String> = keywords.into_iter().collect();
        pack.folder(&folder_path(&name), &keywords).map_err(|e| failed(&e))?;
        for held in held {
            let mut body = match held.open(&folder) {
                Ok(body) => body,
                Err(e) if e.kind() == io::ErrorKind::NotFound => match moved(&mailbox, &folder, &held.file) {
                    Some(body) => body,
                    None => {
                        sum.vanished += 1;
                        continue;
                    }
                },
                Err(e) => return Err(failed(&e)),
            };
            let flags = Flags { recent: held.in_new, ..held.flags };
            let letter = Letter { folder: None, flags, received: Some(held.modified) };
            pack.message(&letter, &mut body).map_err(|e| failed(&e))?;
            sum.messages += 1;
            sum.bytes += held.size;
            told(&sum);
        }
        sum.folders += 1;
    }
    pack.finish().map_err(|e| failed(&e))?;
    Ok(sum)
}

/// Begins the file.
///
/// # Errors
/// It cannot be written.
pub(super) fn pack(errand: Errand, spool: &Path) -> Result<Box<dyn Pack>, Failure> {
    let out = Output::new(errand.file, errand.cancel).map_err(|e| unwritten(&e))?;
    let out = io::BufWriter::with_capacity(256 * 1024, out);
    Ok(match errand.format {
        Format::Zip => {
            make_private(spool)?;
            Box::new(ZipWriter::new(out, nameless(spool).map_err(|e| unwritten(&e))?))
        }
        Format::Mbox => Box::new(MboxWriter::new(out)),
        Format::Maildir => Box::new(TarWriter::new(out)),
    })
}

/// Why the file is not complete.
pub(super) fn failed(cancel: &CancellationToken, e: &io::Error) -> Failure {
    match cancel.is_cancelled() {
        true => Failure::new(Kind::Stopped, "the backup was broken off", "the file is not complete"),
        false => unwritten(e),
    }
}

/// A message that a reader gave other flags, and so another name, since it was listed.
fn moved(mailbox: &Mailbox, folder: &Folder, file: &[u8]) -> Option<Message> {
    let base = |name: &[u8]| memchr::memmem::find(name, b":2,").unwrap_or(name.len());
    let wanted = file.get(..base(file))?;
    let now = inventory(mailbox, folder).ok()?;
    now.iter().find(|held| held.file.get(..base(&held.file)) == Some(wanted))?.open(folder).ok()
}

/// A directory of a Maildir++ as a path.
pub(super) fn folder_path(directory: &str) -> FolderPath {
    match directory.strip_prefix('.') {
        Some(levels) => FolderPath(
            levels
                .split('.')
                .map(|level| mutf7::decode(level.as_bytes()).unwrap_or_else(|| level.to_owned()))
                .collect(),
        ),
        None => FolderPath::inbox(),
    }
}

fn unwritten(e: &io::Error) -> Failure {
    Failure::new(Kind::Destination, format!("the backup cannot be written: {e}"), "the file is not complete")
}
