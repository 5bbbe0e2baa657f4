//! A member's mailbox at a server as a whole: the way in, the names of folders, what is there, and putting it
//! back. It refuses to remove a message whose UID it did not write down, and a folder that is not empty.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use tokio::sync::OnceCell;

use super::before::Before;
use super::carrier::on_disk;
use super::copies::Sends;
use super::intent::Intent;
use super::moved::{Gap, take_back};
use super::prints::{forgiving, prints};
use super::reflag::{Reflags, change};
use super::whose::Ground;
use crate::account::Source;
use crate::destination::landing::There;
use crate::destination::maildir::{Origin, Undone};
use crate::failure::{Failure, Kind};
use crate::imap::{Care, Holding, Layout, Manner, Session, SourceFolder};
use crate::message::{FolderPath, Parcel, Room, UidSet};
use crate::net::{Connector, Quirk};
use crate::secret::Secret;

/// One member's mailbox.
#[derive(Debug)]
pub struct Server {
    connector: Connector,
    login: Source,
    secret: Arc<Secret>,
    layout: OnceCell<Layout>,
    /// What was sent since it was opened.
    pub(super) sends: Sends,
    /// How many messages it stored since then, and their bytes.
    stored: AtomicU64,
    volume: AtomicU64,
    resigned: AtomicBool,
}

/// What is to be undone in one folder.
#[derive(Debug, Clone)]
pub struct Leave {
    /// The server's name for it.
    pub name: String,
    /// Whose messages.
    pub origin: Origin,
    /// What is known of it. With a floor, what was intended and not recorded goes too.
    pub there: There,
    /// The messages that go.
    pub uids: UidSet,
    /// Flags that change back.
    pub flags: Reflags,
    /// It was made: it goes too, if nothing else is in it.
    pub made: bool,
    /// So many levels above it were made with it.
    pub above: usize,
    /// It was subscribed.
    pub subscribed: bool,
}

/// What a look at a folder said of messages that were brought.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Arrivals {
    /// They are there.
    pub here: u64,
    /// They are not there any more.
    pub lost: u64,
}

impl Server {
    /// The mailbox behind `login`.
    pub fn new(connector: Connector, login: Source, secret: Secret) -> Server {
        Server {
            connector,
            login,
            secret: Arc::new(secret),
            layout: OnceCell::new(),
            sends: Sends::default(),
            stored: AtomicU64::new(0),
            volume: AtomicU64::new(0),
            resigned: AtomicBool::new(false),
        }
    }

    /// How many messages the server stored since the mailbox was opened.
    pub(super) fn stored(&self) -> u64 {
        self.stored.load(Relaxed)
    }

    /// Several tries were in vain: messages that are refused do not end the work on the others any more.
    pub fn resign(&self) {
        self.resigned.store(true, Relaxed);
    }

    pub(super) fn has_resigned(&self) -> bool {
        self.resigned.load(Relaxed)
    }

    /// The bytes of those.
    pub(super) fn volume(&self) -> u64 {
        self.volume.load(Relaxed)
    }

    /// It stored one more message, of so many bytes.
    pub(super) fn stores(&self, octets: u64) {
        self.stored.fetch_add(1, Relaxed);
        self.volume.fetch_add(octets, Relaxed);
    }

    /// How messages go there: in the next simpler way where the server fails at what it announces.
    pub(super) fn manner(&self) -> Manner {
        let fails = |quirk| self.connector.quirks().has(&self.login.host, self.login.port, quirk);
        let (groups, ahead) = (!fails(Quirk::NoMultiAppend), !fails(Quirk::NoLiteralPlus));
        Manner { groups, ahead, ..Manner::FAST }
    }

    pub(super) fn learn(&self, quirk: Quirk) {
        self.connector.quirks().learn(&self.login.host, self.login.port, quirk);
    }

    /// A connection that is logged in as the member.
    ///
    /// # Errors
    /// Each with its cause and what to do.
    pub async fn connect<T: From<Parcel> + Send + 'static>(&self) -> Result<Session<T>, Failure> {
        Session::open(&self.connector, &self.login, &self.secret).await.map_err(at_home)
    }

    /// How the server names folders.
    ///
    /// # Errors
    /// The server does not say.
    pub async fn layout(&self) -> Result<&Layout, Failure> {
        self.layout
            .get_or_try_init(|| async {
                let mut session: Session<Parcel> = self.connect().await?;
                let layout = session.layout().await.map_err(at_home)?;
                session.close().await;
                Ok(layout)
            })
            .await
    }

    /// The same for folders of these paths: where one is to hold messages and another folder, and no folder that is
    /// there tells whether it can, one is made for a moment.
    ///
    /// # Errors
    /// The server does not say.
    pub async fn layout_of(&self, paths: &BTreeSet<FolderPath>) -> Result<Layout, Failure> {
        let mut layout = self.layout().await?.clone();
        if layout.delimiter.is_none() || paths.iter().all(|path| path.0.len() < 2) {
            return Ok(layout);
        }
        let holds = |levels: &[String]| {
            let path = FolderPath(levels.to_vec());
            !path.is_inbox() && paths.contains(&path)
        };
        let both =
            paths.iter().any(|path| (1..path.0.len()).any(|count| path.0.get(..count).is_some_and(holds)));
        let mut session: Session<Parcel> = self.connect().await?;
        let Holding { mut either, only_folders } = session.holding().await.map_err(at_home)?;
        if either.is_none() && both {
            either = session.try_holding(&layout).await.map_err(at_home)?;
        }
        session.close().await;
        if either == Some(true) {
            layout.flat = true;
            layout.only_folders.extend(only_folders);
        }
        Ok(layout)
    }

    /// The room that the mailbox has.
    ///
    /// # Errors
    /// The connection failed.
    pub async fn room(&self) -> Result<Room, Failure> {
        let mut session: Session<Parcel> = self.connect().await?;
        let room = session.room(b"INBOX").await.map_err(at_home)?;
        session.close().await;
        Ok(room)
    }

    /// The folders that are there.
    ///
    /// # Errors
    /// The server does not list them.
    pub async fn folders(&self) -> Result<Vec<SourceFolder>, Failure> {
        let mut session: Session<Parcel> = self.connect().await?;
        let folders = session.folders().await.map_err(at_home)?;
        session.close().await;
        Ok(folders)
    }

    /// Those of `names` that are not there.
    ///
    /// # Errors
    /// The server does not list its folders.
    pub async fn missing(&self, names: &BTreeSet<String>) -> Result<BTreeSet<String>, Failure> {
        let there: BTreeSet<Vec<u8>> = self.folders().await?.into_iter().map(|folder| folder.wire).collect();
        let is_there = |name: &String| name == "INBOX" || there.contains(name.as_bytes());
        Ok(names.iter().filter(|name| !is_there(name)).cloned().collect())
    }

    /// Those of `names` that are not subscribed.
    ///
    /// # Errors
    /// The server does not list its folders.
    pub async fn unsubscribed(&self, names: &[String]) -> Result<Vec<String>, Failure> {
        let folders = self.folders().await?;
        let subscribed: BTreeSet<Vec<u8>> =
            folders.into_iter().filter(|folder| folder.subscribed).map(|folder| folder.wire).collect();
        Ok(names.iter().filter(|name| !subscribed.contains(name.as_bytes())).cloned().collect())
    }

    /// Subscribes folders. A server that does not let one be subscribed is told in the log only.
    ///
    /// # Errors
    /// The connection failed.
    pub async fn subscribe(&self, names: &[String]) -> Result<(), Failure> {
        if names.is_empty() {
            return Ok(());
        }
        let mut session: Session<Parcel> = self.connect().await?;
        for name in names {
            subscribe(&mut session, name).await.map_err(at_home)?;
        }
        session.close().await;
        Ok(())
    }

    /// Looks which of the messages that were brought are still where they were put. `folders`: by the server's
    /// name, UIDVALIDITY and UIDs.
    ///
    /// # Errors
    /// The server does not list them.
    pub async fn look(&self, folders: &BTreeMap<String, (u32, UidSet)>) -> Result<Arrivals, Failure> {
        let mut arrivals = Arrivals::default();
        let mut session: Session<Parcel> = self.connect().await?;
        for (name, (uidvalidity, uids)) in folders.iter().filter(|(_, (_, uids))| !uids.is_empty()) {
            let examined = session.examine(name.as_bytes()).await;
            let mut there = UidSet::new();
            match examined {
                Ok(examined) if examined.uidvalidity == *uidvalidity => {
                    let listed =
                        session.list_messages(examined, &mut Care::default()).await.map_err(at_home)?;
                    listed.messages.iter().for_each(|(uid, _)| {
                        there.insert(*uid);
                    });
                }
                Ok(_) => {}
                Err(failure) if failure.kind == Kind::Folder => {}
                // It may be there: nobody can say that today.
                Err(failure) if failure.asks_for_less() => continue,
                Err(failure) => return Err(at_home(failure)),
            }
            let mut lost = uids.clone();
            lost.subtract(&there);
            arrivals.lost += lost.len();
            arrivals.here += uids.len() - lost.len();
        }
        session.close().await;
        Ok(arrivals)
    }

    /// Puts the mailbox back. It may be interrupted anywhere and run again.
    ///
    /// # Errors
    /// The server refuses, or the connection failed.
    pub async fn undo(&self, spool: &Path, work: &[Leave]) -> Result<Undone, Failure> {
        let mut undone = Undone::default();
        let mut session: Session<Parcel> = self.connect().await?;
        let before = match work.first() {
            Some(folder) => {
                let (spool, account) = (spool.to_owned(), folder.origin.account);
                on_disk(move || Before::read(&spool, account)).await?
            }
            None => None,
        };
        // Without it the run had ended but for a word, and everything that it brought was recorded and looked for.
        let before = before.map(|(_, before)| before);
        let mut gaps = Vec::new();
        for folder in work.iter().filter(|folder| !folder.uids.is_empty() || folder.there.floor > 0) {
            let recorded = recorded_in(work, &folder.name, folder.there.uidvalidity);
            let ground = (spool, before.as_ref(), &recorded);
            let (gone, gap) = take_out(&mut session, ground, folder).await.map_err(at_home)?;
            undone.messages += gone;
            gaps.extend(Some(gap).filter(|gap| gap.missing > 0));
        }
        if let Some(before) = before.filter(|_| !gaps.is_empty()) {
            let (found, left) =
                take_back(&mut session, (spool, &before), work, gaps).await.map_err(at_home)?;
            undone.messages += found;
            undone.left += left;
        }
        for folder in work.iter().filter(|folder| !folder.flags.is_empty()) {
            let there = folder.there.uidvalidity;
            change(&mut session, &folder.name, there, &folder.flags).await.map_err(at_home)?;
        }
        for folder in work.iter().filter(|folder| folder.subscribed) {
            session.subscribe(folder.name.as_bytes(), false).await.map_err(at_home)?;
        }
        let layout = session.layout().await.map_err(at_home)?;
        let mut made: BTreeSet<&str> = BTreeSet::new();
        for folder in work.iter().filter(|f| f.made && f.name != "INBOX") {
            made.insert(&folder.name);
            made.extend(layout.above(&folder.name).into_iter().take(folder.above));
        }
        // Children before their parents: a parent that still has some is somebody's.
        let mut made: Vec<&str> = made.into_iter().collect();
        made.sort_by_key(|name| std::cmp::Reverse(name.len()));
        for name in made {
            undone.folders += u64::from(take_away(&mut session, name, &layout).await.map_err(at_home)?);
        }
        session.close().await;
        Ok(undone)
    }
}

/// Subscribes a folder, or says in the log why the server does not.
pub(super) async fn subscribe(session: &mut Session<Parcel>, name: &str) -> Result<(), Failure> {
    if let Some(words) = session.subscribe(name.as_bytes(), true).await? {
        tracing::warn!(FOLDER = name, "the destination does not subscribe it: {words}");
    }
    Ok(())
}

/// Removes a folder that was made, if nothing is in it and below it. `false`: it stays.
async fn take_away(session: &mut Session<Parcel>, name: &str, layout: &Layout) -> Result<bool, Failure> {
    let selected = match session.select(name.as_bytes()).await {
        // It was never made: servers refuse many a name in other words than that it is not there.
        Err(failure) if failure.kind == Kind::Folder && !session.is_listed(name.as_bytes()).await? => None,
        selected => selected?,
    };
    let Some(selected) = selected else { return Ok(false) };
    session.unselect().await?;
    if selected.exists > 0 || session.has_children(name, layout).await? {
        return Ok(false);
    }
    let refused = session.delete_folder(name.as_bytes()).await?;
    if let Some(words) = &refused {
        tracing::warn!(FOLDER = name, "the destination does not remove it: {words}");
    }
    Ok(refused.is_none())
}

/// What is recorded of a folder there, by whatever folder of the source it came from.
pub(super) fn recorded_in(work: &[Leave], name: &str, uidvalidity: u32) -> UidSet {
    let here = work.iter().filter(|leave| leave.name == name && leave.there.uidvalidity == uidvalidity);
    let mut recorded = UidSet::new();
    for leave in here {
        recorded.extend(&leave.there.recorded);
        recorded.extend(&leave.uids);
    }
    recorded
}

/// Removes what is there of a folder's messages; says how many those were, and what is missing.
async fn take_out<'w>(
    session: &mut Session<Parcel>,
    (spool, before, recorded): (&Path, Option<&Before>, &UidSet),
    folder: &'w Leave,
) -> Result<(u64, Gap<'w>), Failure> {
    let mut gap = Gap { folder, missing: folder.uids.len(), renumbered: false, unproven: 0 };
    let Some(selected) = session.select(folder.name.as_bytes()).await? else { return Ok((0, gap)) };
    gap.renumbered = selected.uidvalidity != folder.there.uidvalidity;
    let doubtful = folder.there.floor > 0;
    if gap.renumbered || (selected.exists == 0 && !doubtful) {
        return Ok((0, gap));
    }
    let floor = Some(folder.there.floor).filter(|floor| *floor > 0);
    if let Some(floor) = floor {
        let intent = Intent::of(spool, folder.origin);
        let late = on_disk(move || intent.late()).await?;
        late.wait(session, folder.name.as_bytes(), floor, &folder.there.recorded).await?;
    }
    let ground =
        before.map(|before| Ground::of((spool, before), (&folder.name, selected.uidvalidity), recorded));
    let new = ground.as_ref().and_then(|ground| ground.first);
    let first = folder.uids.iter().next().into_iter().chain(floor).chain(new).min().unwrap_or(1);
    let listed = session.sizes_from(first).await?;
    let mut there = UidSet::new();
    if let Some(floor) = floor {
        let (spool, origin) = (spool.to_owned(), folder.origin);
        let mut intended = on_disk(move || Intent::of(&spool, origin).last()).await?;
        let sizes: BTreeSet<u64> = intended.keys().map(|print| print.octets).collect();
        let doubtful: Vec<(u32, u32)> = listed
            .iter()
            .filter(|(uid, size)| *uid >= floor && sizes.contains(&u64::from(*size)))
            .filter(|(uid, _)| !folder.there.recorded.contains(*uid))
            .copied()
            .collect();
        for (uid, print) in prints(session, &doubtful, forgiving(session)).await? {
            if let Some(count) = intended.get_mut(&print).filter(|count| **count > 0) {
                *count -= 1;
                there.extend(&u32::try_from(uid).into_iter().collect());
            }
        }
    }
    let rest: Vec<(u32, u32)> = listed.into_iter().filter(|(uid, _)| !there.contains(*uid)).collect();
    let claimed: UidSet = rest.iter().map(|(uid, _)| *uid).filter(|uid| folder.uids.contains(*uid)).collect();
    let ours = match ground {
        Some(ground) => ground.proven(session, folder, &claimed, &rest).await?,
        None => claimed.clone(),
    };
    gap.missing -= ours.len();
    gap.unproven = claimed.len() - ours.len();
    there.extend(&ours);
    if !there.is_empty() {
        session.remove(&there).await?;
    }
    Ok((there.len(), gap))
}

/// A failure of our own side: whatever is wrong there, the account's source is not to blame.
pub fn at_home(failure: Failure) -> Failure {
    let kind = match failure.kind {
        Kind::Full | Kind::Folder | Kind::Destination | Kind::Journal | Kind::Stopped => return failure,
        Kind::Refuses => Kind::Refuses,
        _ => Kind::Destination,
    };
    let mend = if failure.mend.is_empty() { "it is tried again".to_owned() } else { failure.mend };
    Failure::new(kind, format!("at the destination, {}", failure.words), mend).waiting(failure.wait)
}
