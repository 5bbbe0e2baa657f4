//! What the open folder holds: UIDs, sizes, flags, dates. A size is a hint: a server that fails over one message's size
//! gives the others, and the folder is listed without it. It refuses to take a listing that ended in NO, or that
//! cannot be read to its end, for a complete one.

use std::collections::{BTreeMap, VecDeque};

use super::care::Care;
use super::command::{halves, pieces};
use super::patience::Task;
use super::refusal::{quote, refusal};
use super::response::{Item, Response};
use super::session::{Detail, Done, Examined, Listed, MOST_RESPONSES, Session};
use crate::failure::{Failure, Kind};
use crate::message::{Flags, Parcel, UidSet};

/// Commands that look for the messages over which a listing fails; what is not found then stays without that item.
const SEARCHES: u32 = 64;

/// Flags of messages, as far as the server gives them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListedFlags {
    /// UID and flags.
    pub found: Vec<(u32, Flags)>,
    /// Messages whose flags are not to be had: why.
    pub failed: BTreeMap<u32, String>,
}

/// What a listing told.
#[derive(Default)]
struct Told {
    sizes: BTreeMap<u32, Option<u32>>,
    expunged: u32,
    /// An answer that is not believed.
    odd: bool,
}

impl Told {
    fn hear(&mut self, response: Response) {
        match response {
            Response::Fetch(item) if item.marks.twice => self.odd = true,
            Response::Fetch(item) if (self.sizes.len() as u64) < MOST_RESPONSES / 2 => {
                let Some(uid) = item.uid else { return };
                let size = self.sizes.entry(uid).or_insert(item.size);
                // Two sizes are none.
                *size = if size.is_some() && item.size.is_some() && *size != item.size {
                    None
                } else {
                    size.or(item.size)
                };
            }
            Response::Expunge => self.expunged = self.expunged.saturating_add(1),
            _ => {}
        }
    }
}

impl<T: From<Parcel> + Send + 'static> Session<T> {
    /// The UIDs and sizes of the open folder. Messages over whose size the server fails are in `care` afterwards.
    ///
    /// # Errors
    /// [`Kind::Folder`] if the server does not list them to the end; else the connection failed.
    pub async fn list_messages(&mut self, examined: Examined, care: &mut Care) -> Result<Listed, Failure> {
        care.lists();
        if examined.exists == 0 {
            return Ok(Listed::default());
        }
        let mut told = self.list_some("1:*", Some(examined.exists), care).await?;
        let mut unread = self.unread_listing(&told);
        if unread.is_some() && care.wants_another_connection() {
            return Err(self.broken("lists messages in words that cannot be read"));
        }
        let lacks = |told: &Told| {
            u64::from(examined.exists.saturating_sub(told.expunged)).saturating_sub(told.sizes.len() as u64)
        };
        if lacks(&told) > 0 {
            // One answer may have been lost in another one: what two looks agree on is true.
            let mut second = self.list_some("1:*", Some(examined.exists), care).await?;
            second.expunged = second.expunged.saturating_add(told.expunged);
            unread = unread.or(self.unread_listing(&second));
            if lacks(&second) > 0 {
                for (uid, size) in told.sizes {
                    let other = second.sizes.entry(uid).or_insert(None);
                    *other = other.filter(|other| Some(*other) == size);
                }
            }
            self.size(&mut second, care).await?;
            told = second;
        }
        let messages = settled(&told, care);
        let listed = u32::try_from(messages.len()).unwrap_or(u32::MAX);
        let unlisted = examined.exists.saturating_sub(told.expunged).saturating_sub(listed);
        Ok(Listed { messages, unlisted, unread })
    }

    /// The same of those from `uidnext` on, and of those in `again`. What cannot be read counts as one message that is
    /// not listed.
    ///
    /// # Errors
    /// As [`Session::list_messages`].
    pub async fn list_since(
        &mut self,
        uidnext: u32,
        again: &UidSet,
        care: &mut Care,
    ) -> Result<Listed, Failure> {
        care.lists();
        let mut listed = Listed::default();
        for set in pieces(again) {
            let told = self.list_some(&set.to_string(), u32::try_from(set.len()).ok(), care).await?;
            listed.messages.extend(settled(&told, care));
        }
        let told = self.list_some(&format!("{uidnext}:*"), None, care).await?;
        // What is not listed now has to be listed whole by the next run: this one must not hide it.
        listed.unread = self.unread_listing(&told);
        listed.unlisted = u32::from(listed.unread.is_some());
        if listed.unread.is_some() && care.wants_another_connection() {
            return Err(self.broken("lists messages in words that cannot be read"));
        }
        // The last message is in the range `N:*` whatever N is (RFC 3501, 6.4.8).
        listed.messages.extend(settled(&told, care).into_iter().filter(|(uid, _)| *uid >= uidnext));
        listed.messages.sort_unstable();
        listed.messages.dedup_by_key(|(uid, _)| *uid);
        Ok(listed)
    }

    /// The first answer to a listing that is not believed, fit to be shown.
    fn unread_listing(&mut self, told: &Told) -> Option<String> {
        let anything = self.take_unread() || told.odd;
        let line = self.unread();
        anything.then(|| line.unwrap_or_else(|| "(no FETCH response)".to_owned()))
    }

    /// `most`: so many messages are listed at most, as far as that is known.
    async fn list_some(&mut self, set: &str, most: Option<u32>, care: &mut Care) -> Result<Told, Failure> {
        let usual = self.be_patient(Task::List, most.map(u64::from));
        let listed = self.list_patiently(set, care).await;
        self.transport().stream().set_stall(usual);
        listed
    }

    async fn list_patiently(&mut self, set: &str, care: &mut Care) -> Result<Told, Failure> {
        self.take_unread();
        let mut told = Told::default();
        if !care.has_trouble_with_sizes() {
            let tag = self.send(format!("UID FETCH {set} (UID RFC822.SIZE)").as_bytes()).await?;
            let done = match self.finish(&tag, |response| told.hear(response)).await {
                Err(failure) if failure.broke() => {
                    care.broke_over_sizes(None, &failure.words);
                    if failure.kind == Kind::Stalled && told.sizes.is_empty() {
                        // Silence over all of them does not tell which one it is: a size is a hint.
                        care.gives_sizes_up();
                    }
                    return Err(failure);
                }
                done => done?,
            };
            if done.ok {
                // An answer without the size may be one that lost it.
                self.size(&mut told, care).await?;
                return Ok(told);
            }
            passes(&done)?;
        }
        // Without sizes, and then the sizes of those that have one.
        let tag = self.send(format!("UID FETCH {set} (UID)").as_bytes()).await?;
        let done = self.finish(&tag, |response| told.hear(response)).await?;
        if !done.ok {
            // Whether its words are about this folder or the account shows when another one is opened.
            self.opened = None;
            return Err(refusal("the server does not list its messages", &done.text, Kind::Folder, ""));
        }
        if !care.asks_no_sizes() {
            self.size(&mut told, care).await?;
        }
        Ok(told)
    }

    /// Asks for the sizes that are not known.
    async fn size(&mut self, told: &mut Told, care: &mut Care) -> Result<(), Failure> {
        let unknown = told.sizes.iter().filter(|(_, size)| size.is_none()).map(|(uid, _)| *uid);
        let wanted: UidSet = unknown.filter(|uid| !care.without_sizes().contains(*uid)).collect();
        let found = self.in_halves(&wanted, "(UID RFC822.SIZE)", |item| {
            if let Some(uid) = item.uid.filter(|uid| !item.marks.twice && wanted.contains(*uid)) {
                told.sizes.insert(uid, item.size);
            }
        });
        match found.await {
            Ok(failed) => failed.into_keys().for_each(|uid| care.has_no_size(uid)),
            Err(failure) if failure.broke() => {
                let known = |uid: &u32| told.sizes.get(uid).copied().flatten().is_some();
                care.broke_over_sizes(wanted.iter().find(|uid| !known(uid)), &failure.words);
                return Err(failure);
            }
            Err(failure) => return Err(failure),
        }
        Ok(())
    }

    /// Asks for items of messages. A command that is refused is asked for again in halves; returns the messages over
    /// which it is, with the server's words.
    async fn in_halves(
        &mut self,
        uids: &UidSet,
        items: &str,
        mut each: impl FnMut(Item),
    ) -> Result<BTreeMap<u32, String>, Failure> {
        let (mut todo, mut failed): (VecDeque<UidSet>, _) = (pieces(uids).into(), BTreeMap::new());
        let mut searches = 0;
        while let Some(set) = todo.pop_front() {
            let tag = self.send(format!("UID FETCH {set} {items}").as_bytes()).await?;
            let mut missing = set.clone();
            let done = self
                .finish(&tag, |response| {
                    if let Response::Fetch(item) = response {
                        item.uid.iter().for_each(|uid| missing.remove(*uid));
                        each(*item);
                    }
                })
                .await?;
            if done.ok {
                continue;
            }
            passes(&done)?;
            if set.len() == 1 || searches >= SEARCHES {
                failed.extend(missing.iter().map(|uid| (uid, quote(&done.text))));
                continue;
            }
            searches += 1;
            // What came before it was refused need not come again.
            let left = if missing.is_empty() { set } else { missing };
            halves(&left).into_iter().rev().for_each(|half| todo.push_front(half));
        }
        Ok(failed)
    }

    /// The same with flags and dates, for a comparison.
    ///
    /// # Errors
    /// As [`Session::list_messages`].
    pub async fn list_details(&mut self, examined: Examined) -> Result<Vec<Detail>, Failure> {
        match examined.exists {
            0 => Ok(Vec::new()),
            _ => self.details("1:*").await,
        }
    }

    /// The same of messages of the open folder.
    ///
    /// # Errors
    /// As [`Session::list_messages`].
    pub async fn look_at(&mut self, uids: &UidSet) -> Result<Vec<Detail>, Failure> {
        let mut found = Vec::new();
        for set in pieces(uids) {
            found.extend(self.details(&set.to_string()).await?);
        }
        found.retain(|detail| uids.contains(detail.uid));
        Ok(found)
    }

    async fn details(&mut self, set: &str) -> Result<Vec<Detail>, Failure> {
        const ITEMS: &str = "(UID RFC822.SIZE FLAGS INTERNALDATE)";
        self.take_unread();
        let tag = self.send(format!("UID FETCH {set} {ITEMS}").as_bytes()).await?;
        let mut details: BTreeMap<u32, Detail> = BTreeMap::new();
        let done = self
            .finish(&tag, |response| {
                if let Response::Fetch(item) = response {
                    detail(&mut details, *item);
                }
            })
            .await?;
        if !done.ok {
            passes(&done)?;
            // Which they are, and what of them is to be had.
            let mut uids = UidSet::new();
            let tag = self.send(format!("UID FETCH {set} (UID)").as_bytes()).await?;
            let each = |response| {
                if let Response::Fetch(item) = response {
                    uids.extend(&item.uid.into_iter().collect());
                }
            };
            let done = self.finish(&tag, each).await?;
            if !done.ok {
                return Err(refusal("the server does not list its messages", &done.text, Kind::Folder, ""));
            }
            let failed = self.in_halves(&uids, ITEMS, |item| detail(&mut details, item)).await?;
            for uid in failed.into_keys() {
                details.entry(uid).or_insert_with(|| Detail { uid, ..Detail::default() });
            }
        }
        self.all_read()?;
        Ok(details.into_values().collect())
    }

    /// The UIDs of the open folder with X-GM-MSGID, ascending: the same number for each of a message's labels.
    ///
    /// # Errors
    /// As [`Session::list_messages`].
    pub async fn list_gmail(&mut self, examined: Examined) -> Result<BTreeMap<u32, u64>, Failure> {
        let mut ids = BTreeMap::new();
        if examined.exists == 0 {
            return Ok(ids);
        }
        let tag = self.send(b"UID FETCH 1:* (UID X-GM-MSGID)").await?;
        let done = self
            .finish(&tag, |response| {
                if let Response::Fetch(item) = response {
                    ids.extend(item.uid.zip(item.gmail));
                }
            })
            .await?;
        if !done.ok {
            return Err(refusal("the server does not list its messages", &done.text, Kind::Folder, ""));
        }
        Ok(ids)
    }

    /// The flags of messages of the open folder, by UID: of `set`, or of those that changed `since`
    /// (CHANGEDSINCE, RFC 7162, 3.1.4.1). A message whose flags are not to be had costs its own flags only.
    ///
    /// # Errors
    /// As [`Session::list_messages`]; the message over which the connection broke is in `care` then.
    pub async fn list_flags(
        &mut self,
        set: &UidSet,
        since: Option<u64>,
        care: &mut Care,
    ) -> Result<ListedFlags, Failure> {
        self.hurry(care.was_silent() && care.has_trouble_with_flags());
        let mut listed = ListedFlags::default();
        let Some(without) = care.without_flags() else {
            let words = "the connection broke several times when the flags of this folder were asked for";
            listed.failed.extend(set.iter().map(|uid| (uid, words.to_owned())));
            return Ok(listed);
        };
        let mut wanted = set.clone();
        for (uid, words) in without.iter().filter(|(uid, _)| set.contains(**uid)) {
            wanted.remove(*uid);
            listed.failed.insert(*uid, words.clone());
        }
        // Of those that changed nobody knows which one it was that the connection broke over.
        let since = since.filter(|_| !care.has_trouble_with_flags());
        let items = match since {
            Some(modseq) => format!("(UID FLAGS) (CHANGEDSINCE {modseq})"),
            None => "(UID FLAGS)".to_owned(),
        };
        let (mut found, mut came) = (Vec::new(), UidSet::new());
        let asked = self.in_halves(&wanted, &items, |item| {
            if let Some((uid, flags)) = item.uid.zip(item.flags).filter(|(uid, _)| wanted.contains(*uid))
                && !item.marks.twice
            {
                came.insert(uid);
                found.push((uid, flags));
            }
        });
        match asked.await {
            Ok(failed) => listed.failed.extend(failed),
            Err(failure) if failure.broke() => {
                let first = wanted.iter().find(|uid| !came.contains(*uid)).filter(|_| since.is_none());
                care.broke_over_flags(first, &failure.words);
                return Err(failure);
            }
            Err(failure) => return Err(failure),
        }
        listed.found = found;
        Ok(listed)
    }
}

fn detail(details: &mut BTreeMap<u32, Detail>, item: Item) {
    let Some(uid) = item.uid.filter(|_| (details.len() as u64) < MOST_RESPONSES / 2) else { return };
    let detail = details.entry(uid).or_insert_with(|| Detail { uid, ..Detail::default() });
    detail.size = item.size.or(detail.size);
    detail.flags = item.flags.or(detail.flags.take());
    detail.received = item.received.or(detail.received);
}

/// A refusal that has nothing to do with single messages.
fn passes(done: &Done) -> Result<(), Failure> {
    let failure = refusal("the server does not list its messages", &done.text, Kind::Folder, "");
    // A simpler question shows whether words about the account are meant.
    let doubtful = Kind::Throttled == failure.kind
        || matches!(failure.kind, Kind::InUse | Kind::Credentials | Kind::Unsupported)
        || matches!(failure.kind, Kind::Folder | Kind::Unavailable);
    if doubtful && failure.wait.is_none() { Ok(()) } else { Err(failure) }
}

/// The messages with their sizes; 0 stands for one that is not known, which `care` knows.
fn settled(told: &Told, care: &mut Care) -> Vec<(u32, u32)> {
    let mut messages = Vec::with_capacity(told.sizes.len());
    for (uid, size) in &told.sizes {
        if size.is_none() {
            care.unsized_is(*uid);
        }
        messages.push((*uid, size.unwrap_or(0)));
    }
    messages
}

/// An answer to a listing cannot be read.
pub(super) fn unreadable(line: &str) -> Failure {
    let words = format!("the server lists a message in words that cannot be read: {}", quote(line));
    Failure::new(Kind::Folder, words, "tell the server's administrator")
}
