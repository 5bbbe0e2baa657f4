//! A backup of a mailbox at a server: fetched as a source is, and packed as it comes. A message waits in memory, or
//! in a file without a name if it is long, until it is complete. It refuses to set a flag there, and to
//! leave out a message that the server has without naming it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Cursor, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use super::backup::{BackedUp, Errand, Format, failed, folder_path, pack};
use crate::archive::{Letter, Pack};
use crate::destination::nameless;
use crate::destination::place::{Naming, place};
use crate::destination::server::Server;
use crate::failure::{Failure, Kind};
use crate::imap::{Care, Detail, Event, Examined, Fetch, Left, Session, SourceFolder};
use crate::message::{FolderPath, Parcel};

/// Items on their way to the file: at most 64 KiB each.
const ITEMS: usize = 64;
/// A longer message waits in a file.
const IN_MEMORY: usize = 1024 * 1024;

/// Messages that are listed as not given.
const MOST_LISTED: usize = 1000;

/// What the file is made of, in order.
enum Item {
    Parcel(Parcel),
    /// A folder begins; its keywords.
    Folder(FolderPath, Vec<String>),
    /// A complete message, by its number.
    Message(u64, Box<Letter>),
    /// One that nobody asked for.
    Stray(u64),
    /// A message went meanwhile.
    Vanished,
    /// The server does not give it: folder and UID, and why.
    Unread(String, String),
    /// The connection broke: what was coming does not come, and what has come unnamed comes again.
    Broken,
    /// There is no more.
    End,
}

impl From<Parcel> for Item {
    fn from(parcel: Parcel) -> Self {
        Item::Parcel(parcel)
    }
}

/// Backs up; `told` is called again and again.
pub(super) async fn run(
    server: &Server,
    errand: Errand,
    spool: PathBuf,
    tasks: &TaskTracker,
    told: impl FnMut(&BackedUp) + Send + 'static,
) -> Result<BackedUp, Failure> {
    let (items, inbox) = mpsc::channel(ITEMS);
    let (mailbox, format, cancel) = (errand.mailbox.clone(), errand.format, errand.cancel.clone());
    let packing = tasks.spawn_blocking(move || packed(errand, &spool, inbox, told));
    let fetched = tokio::select! {
        fetched = fetch(server, mailbox.as_deref(), format, items) => fetched.map_err(unfinished),
        () = cancel.cancelled() => Ok(()),
    };
    let packed = packing
        .await
        .unwrap_or_else(|e| Err(Failure::new(Kind::Destination, format!("it ended unexpectedly: {e}"), "")));
    match (fetched, packed) {
        // The file could not be written: that is why nobody took the messages any more.
        (_, Err(failure)) if failure.kind != Kind::Disconnected => Err(failure),
        (Err(failure), _) | (Ok(()), Err(failure)) => Err(failure),
        (Ok(()), Ok(sum)) => Ok(sum),
    }
}

/// Whoever asked for it is told, and nobody tries again.
fn unfinished(failure: Failure) -> Failure {
    match failure.mend.contains("tried again") {
        true => Failure { mend: "the file is not complete; run it again".to_owned(), ..failure },
        false => failure,
    }
}

async fn fetch(
    server: &Server,
    mailbox: Option<&[String]>,
    format: Format,
    items: mpsc::Sender<Item>,
) -> Result<(), Failure> {
    let mut session: Session<Item> = server.connect().await?;
    let layout = server.layout().await?.clone();
    let mut folders = session.folders().await?;
    folders.retain(|folder| folder.broken.is_none());
    if let Some(levels) = mailbox {
        // A level may have a `/` in it, where something else divides them.
        let (wire, shown) = (layout.name(levels), FolderPath(levels.to_vec()).to_string());
        let is_wanted = |folder: &SourceFolder| folder.wire == wire || folder.path.0 == levels;
        let exact = folders.iter().any(is_wanted);
        folders.retain(|folder| is_wanted(folder) || (!exact && folder.path.to_string() == shown));
        if folders.is_empty() {
            let words = format!("there is no folder {}", FolderPath(levels.to_vec()));
            return Err(Failure::new(Kind::Folder, words, "write it with / between its levels"));
        }
    }
    let places = match format {
        Format::Maildir => in_a_maildir(&folders),
        Format::Zip | Format::Mbox => BTreeMap::new(),
    };
    folders.sort_by_key(|folder| (!folder.path.is_inbox(), folder.path.clone()));
    let gone = |_| Failure::new(Kind::Disconnected, "the file is not written any more", "");
    for folder in folders {
        let Contents { examined, details, lacks } = match contents(server, &mut session, &folder.wire).await {
            Ok(contents) => contents,
            Err(failure) if mailbox.is_some() => return Err(failure),
            Err(failure) => {
                // Another folder may be had all the same.
                session = server.connect().await?;
                if session.is_listed(&folder.wire).await? {
                    items.send(unread(&folder, failure.words)).await.map_err(gone)?;
                }
                continue;
            }
        };
        if let Some(words) = lacks {
            items.send(unread(&folder, words)).await.map_err(gone)?;
        }
        let keywords: BTreeSet<String> =
            details.iter().filter_map(|d| d.flags.as_ref()).flat_map(|f| f.keywords.clone()).collect();
        let path = places.get(&folder.wire).unwrap_or(&folder.path).clone();
        let begins = Item::Folder(path, keywords.into_iter().collect());
        items.send(begins).await.map_err(gone)?;
        let mut wanted: Vec<(u32, u32)> = details.iter().map(|d| (d.uid, d.size.unwrap_or(0))).collect();
        let mut care = Care::default();
        // A message may break each connection that asks for it: the others come over the next one.
        let left = loop {
            let (mut came, mut ended) = (BTreeSet::new(), Ok(()));
            let mut fetch = Fetch::start(&mut session, &wanted, items.clone(), &mut care);
            loop {
                let item = match fetch.next().await {
                    Ok(Some(Event::Message(message))) => {
                        let (flags, received) = (message.flags, message.received);
                        came.insert(message.uid);
                        Item::Message(message.piece, Box::new(Letter { folder: None, flags, received }))
                    }
                    Ok(Some(Event::Stray(piece))) => Item::Stray(piece),
                    Ok(None) => break,
                    Err(failure) => {
                        ended = Err(failure);
                        break;
                    }
                };
                items.send(item).await.map_err(gone)?;
            }
            let left = fetch.left();
            let Err(failure) = ended else { break left };
            care.again(came.len(), failure)?;
            wanted.retain(|(uid, _)| !came.contains(uid));
            items.send(Item::Broken).await.map_err(gone)?;
            session = server.connect().await?;
            if session.examine(&folder.wire).await?.uidvalidity != examined.uidvalidity {
                let words = format!("the server has just numbered the messages of {} anew", folder.path);
                return Err(Failure::new(Kind::Unavailable, words, "try again"));
            }
        };
        for (uid, left) in left {
            let item = match left {
                Left::Vanished => Item::Vanished,
                Left::Refused(words) => Item::Unread(format!("{} {uid}", folder.path), words),
            };
            items.send(item).await.map_err(gone)?;
        }
    }
    session.close().await;
    items.send(Item::End).await.map_err(gone)
}

/// A folder as the server lists it.
struct Contents {
    examined: Examined,
    details: Vec<Detail>,
    /// Messages are missing in the list: in words.
    lacks: Option<String>,
}

/// Opens a folder and lists it; over another connection, if one breaks. A list is complete if it has as many messages
/// as the server counts. One that is not is asked for once more, and what either has is listed.
async fn contents(server: &Server, session: &mut Session<Item>, name: &[u8]) -> Result<Contents, Failure> {
    let (examined, details) = match listed(session, name).await {
        Err(failure) if failure.broke() => {
            *session = server.connect().await?;
            listed(session, name).await?
        }
        listed => listed?,
    };
    let count = |examined: &Examined| usize::try_from(examined.exists).unwrap_or(usize::MAX);
    if details.len() >= count(&examined) {
        return Ok(Contents { examined, details, lacks: None });
    }
    let (again, second) = listed(session, name).await?;
    let mut both: BTreeMap<u32, Detail> = BTreeMap::new();
    if again.uidvalidity == examined.uidvalidity && second.len() < count(&again) {
        both.extend(details.into_iter().map(|detail| (detail.uid, detail)));
    }
    both.extend(second.into_iter().map(|detail| (detail.uid, detail)));
    let lacks = (both.len() < count(&again))
        .then(|| format!("the server counts {} messages in it, and lists {}", again.exists, both.len()));
    Ok(Contents { examined: again, details: both.into_values().collect(), lacks })
}

async fn listed(session: &mut Session<Item>, name: &[u8]) -> Result<(Examined, Vec<Detail>), Failure> {
    let examined = session.examine(name).await?;
    Ok((examined, session.list_details(examined).await?))
}

fn unread(folder: &SourceFolder, words: String) -> Item {
    Item::Unread(format!("{} (folder)", folder.path), words)
}

/// What folders are called where `.` divides levels and `/` directories; no two alike.
fn in_a_maildir(folders: &[SourceFolder]) -> BTreeMap<Vec<u8>, FolderPath> {
    let named: Vec<_> = folders.iter().map(|folder| (folder.wire.clone(), folder.path.clone())).collect();
    let placed = place(&Naming::Maildir, &named, &BTreeMap::new());
    placed.into_iter().map(|(wire, placed)| (wire, folder_path(&placed.directory))).collect()
}

/// Octets of a message that is coming, or has come.
enum Body {
    Short(Vec<u8>),
    Long(File, u64),
}

impl Body {
    fn push(&mut self, data: &[u8], spool: &Path) -> io::Result<()> {
        if let Body::Short(octets) = self {
            octets.extend_from_slice(data);
            if octets.len() > IN_MEMORY {
                let mut file = nameless(spool)?;
                file.write_all(octets)?;
                *self = Body::Long(file, octets.len() as u64);
            }
        } else if let Body::Long(file, length) = self {
            file.write_all(data)?;
            *length += data.len() as u64;
        }
        Ok(())
    }

    fn pack(self, letter: &Letter, pack: &mut dyn Pack) -> io::Result<u64> {
        match self {
            Body::Short(octets) => {
                pack.message(letter, &mut Cursor::new(&octets))?;
                Ok(octets.len() as u64)
            }
            Body::Long(mut file, length) => {
                file.seek(SeekFrom::Start(0))?;
                pack.message(letter, &mut file)?;
                Ok(length)
            }
        }
    }
}

fn packed(
    errand: Errand,
    spool: &Path,
    mut inbox: mpsc::Receiver<Item>,
    mut told: impl FnMut(&BackedUp),
) -> Result<BackedUp, Failure> {
    let cancel = errand.cancel.clone();
    let failed = |e: &io::Error| failed(&cancel, e);
    let mut pack = pack(errand, spool)?;
    let mut sum = BackedUp::default();
    let mut complete: BTreeMap<u64, Body> = BTreeMap::new();
    let mut current: Option<(u64, Body)> = None;
    while let Some(item) = inbox.blocking_recv() {
        match item {
            Item::Parcel(Parcel::Begin(piece)) => current = Some((piece, Body::Short(Vec::new()))),
            Item::Parcel(Parcel::Data(data)) => {
                if let Some((_, body)) = &mut current {
                    body.push(&data, spool).map_err(|e| failed(&e))?;
                }
            }
            Item::Parcel(Parcel::End) => complete.extend(current.take()),
            Item::Parcel(Parcel::Abandon) => current = None,
            Item::Folder(path, keywords) => {
                pack.folder(&path, &keywords).map_err(|e| failed(&e))?;
                sum.folders += 1;
            }
            Item::Message(piece, letter) => {
                let Some(body) = complete.remove(&piece) else { continue };
                sum.bytes += body.pack(&letter, pack.as_mut()).map_err(|e| failed(&e))?;
                sum.messages += 1;
                told(&sum);
            }
            Item::Stray(piece) => drop(complete.remove(&piece)),
            Item::Broken => {
                complete.clear();
                current = None;
            }
            Item::Vanished => sum.vanished += 1,
            Item::Unread(what, why) => {
                sum.unread += 1;
                if sum.list.len() < MOST_LISTED {
                    sum.list.push((what, why));
                }
            }
            Item::End => {
                pack.finish().map_err(|e| failed(&e))?;
                return Ok(sum);
            }
        }
    }
    if cancel.is_cancelled() {
        return Err(failed(&io::ErrorKind::Interrupted.into()));
    }
    // Whoever fetches knows why.
    Err(Failure::new(Kind::Disconnected, "the messages ended in the middle", "the file is not complete"))
}
