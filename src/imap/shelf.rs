//! Folders from the side that writes: where they are named, made, subscribed and opened, and messages that
//! are taken out again. It refuses to expunge a message that somebody else has marked as deleted.

use std::collections::{BTreeMap, BTreeSet};

use super::answers;
use super::command::{pieces, quoted};
use super::refusal::{quote, refusal};
use super::response::{Response, every};
use super::session::{Done, Session};
use crate::failure::{Failure, Kind};
use crate::message::{Flag, Mark, Parcel, UidSet};

/// A folder that is open for writing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selected {
    /// RFC 3501, 2.3.1.1; never 0.
    pub uidvalidity: u32,
    /// The UID that the next message gets, or a lower one; never 0.
    pub uidnext: u32,
    /// Messages that the server counts.
    pub exists: u32,
    /// The keywords that it keeps.
    pub keywords: Permitted,
    /// It opened, and not for writing (RFC 3501, 6.3.1).
    pub read_only: bool,
}

/// The keywords that a folder keeps (PERMANENTFLAGS).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Permitted {
    /// New ones too.
    any: bool,
    /// In lower case.
    these: BTreeSet<String>,
    /// Likewise: said to be kept, and refused.
    not: BTreeSet<String>,
}

impl Permitted {
    /// Every keyword.
    pub fn any() -> Permitted {
        Permitted { any: true, ..Permitted::default() }
    }

    fn read(flags: &[String]) -> Permitted {
        Permitted {
            any: flags.iter().any(|flag| flag == "\\*"),
            these: flags.iter().map(|flag| flag.to_ascii_lowercase()).collect(),
            not: BTreeSet::new(),
        }
    }

    /// The server refused this keyword or system flag.
    pub fn refuses(&mut self, flag: &str) {
        self.not.insert(flag.to_ascii_lowercase());
    }

    /// Whether it did.
    pub fn was_refused(&self, flag: &str) -> bool {
        self.not.contains(&flag.to_ascii_lowercase())
    }

    /// Whether the folder keeps this keyword or system flag.
    pub fn keeps(&self, flag: &str) -> bool {
        let flag = flag.to_ascii_lowercase();
        !self.not.contains(&flag) && ((self.any && !flag.starts_with('\\')) || self.these.contains(&flag))
    }
}

/// A flag as it is written.
pub fn flag_name(flag: &Flag) -> &str {
    match flag {
        Flag::System(Mark::Draft) => "\\Draft",
        Flag::System(Mark::Flagged) => "\\Flagged",
        Flag::System(Mark::Answered) => "\\Answered",
        Flag::System(Mark::Seen) => "\\Seen",
        Flag::System(Mark::Deleted) => "\\Deleted",
        Flag::Keyword(word) => word.as_str(),
    }
}

impl<T: From<Parcel> + Send + 'static> Session<T> {
    /// Opens a folder for writing. `None`: there is none of this name.
    ///
    /// # Errors
    /// [`Kind::Folder`] if it is there and cannot be opened.
    pub async fn select(&mut self, name: &[u8]) -> Result<Option<Selected>, Failure> {
        let tag = self.send(&[b"SELECT ", written(name)?.as_slice()].concat()).await?;
        let (mut uidvalidity, mut uidnext, mut exists, mut permanent) = (None, None, None, None);
        let done = self
            .finish(&tag, |response| match response {
                Response::Status { said, .. } => {
                    uidvalidity = said.uidvalidity.or(uidvalidity);
                    uidnext = said.uidnext.or(uidnext);
                    permanent = said.permanent.or(permanent.take());
                }
                Response::Exists(count) => exists = Some(count),
                _ => {}
            })
            .await?;
        if !done.ok {
            if is_missing(&done) {
                return Ok(None);
            }
            return Err(refusal("the folder cannot be opened", &done.text, Kind::Folder, ""));
        }
        let Some(uidvalidity) = uidvalidity.filter(|value| *value > 0) else {
            return Err(Failure::new(Kind::Folder, "the folder has no UIDVALIDITY", ""));
        };
        let Some(exists) = exists else {
            let words = "the server does not say how many messages the folder holds";
            return Err(Failure::new(Kind::Folder, words, ""));
        };
        // Without PERMANENTFLAGS all flags are kept (RFC 3501, 7.1).
        let keywords = permanent.map_or_else(Permitted::any, |flags| Permitted::read(&flags));
        let uidnext = match uidnext.filter(|value| *value > 0) {
            Some(uidnext) => uidnext,
            None => self.highest(exists).await?.saturating_add(1),
        };
        let read_only = done.said.read_only;
        Ok(Some(Selected { uidvalidity, uidnext, exists, keywords, read_only }))
    }

    /// The highest UID of the open folder, which holds so many messages; 0: it is empty. Servers that are old tell no
    /// UIDNEXT, and others tell one that is not true.
    ///
    /// # Errors
    /// [`Kind::Folder`] if the server does not say.
    pub async fn highest(&mut self, exists: u32) -> Result<u32, Failure> {
        if exists == 0 {
            return Ok(0);
        }
        let mut highest = 0;
        let tag = self.send(b"UID FETCH * (UID)").await?;
        let done = self
            .finish(&tag, |response| {
                if let Response::Fetch(item) = response {
                    highest = item.uid.unwrap_or(0).max(highest);
                }
            })
            .await?;
        if !done.ok || highest == 0 {
            return Err(refusal("the server does not list its messages", &done.text, Kind::Folder, ""));
        }
        Ok(highest)
    }

    /// UIDs from `first` on and their sizes, ascending.
    ///
    /// # Errors
    /// [`Kind::Folder`] if the server does not list them to the end.
    pub async fn sizes_from(&mut self, first: u32) -> Result<Vec<(u32, u32)>, Failure> {
        let tag = self.send(format!("UID FETCH {}:* (UID RFC822.SIZE)", first.max(1)).as_bytes()).await?;
        let mut found: Vec<(u32, u32)> = Vec::new();
        let done = self
            .finish(&tag, |response| {
                // `N:*` has the last message always, even if its UID is lower (RFC 3501, 6.4.8).
                if let Response::Fetch(item) = response
                    && let Some(uid) = item.uid.filter(|uid| *uid >= first)
                {
                    found.push((uid, item.size.unwrap_or(0)));
                }
            })
            .await?;
        if !done.ok {
            return Err(refusal("the server does not list its messages", &done.text, Kind::Folder, ""));
        }
        self.all_read()?;
        found.sort_unstable();
        found.dedup_by_key(|(uid, _)| *uid);
        Ok(found)
    }

    /// Makes a folder, for a special use (RFC 6154, without the backslash) where the server knows them.
    /// `false`: it was there.
    ///
    /// # Errors
    /// [`Kind::Folder`] if the server refuses.
    pub async fn create(&mut self, name: &[u8], special: Option<&str>) -> Result<bool, Failure> {
        let plain = [b"CREATE ", written(name)?.as_slice()].concat();
        if let Some(special) = special.filter(|_| self.can("CREATE-SPECIAL-USE")) {
            let with = [plain.as_slice(), format!(" (USE (\\{special}))").as_bytes()].concat();
            let tag = self.send(&with).await?;
            let done = self.finish(&tag, |_| {}).await?;
            if done.ok {
                return Ok(true);
            }
            if says(&done, "[ALREADYEXISTS]") {
                return Ok(false);
            }
            // Another folder may have this use: it is made without.
        }
        let tag = self.send(&plain).await?;
        let done = self.finish(&tag, |_| {}).await?;
        if done.ok || says(&done, "[ALREADYEXISTS]") {
            return Ok(done.ok);
        }
        // Older servers say it in words only: then it can be opened.
        if self.exists(name).await? {
            return Ok(false);
        }
        Err(refusal("the folder cannot be created", &done.text, Kind::Folder, ""))
    }

    /// Whether there is a folder of this name.
    ///
    /// # Errors
    /// The connection failed.
    pub async fn exists(&mut self, name: &[u8]) -> Result<bool, Failure> {
        let tag = self.send(&[b"STATUS ", written(name)?.as_slice(), b" (UIDVALIDITY)"].concat()).await?;
        let done = self.finish(&tag, |_| {}).await?;
        while self.side_line().is_some() {}
        Ok(done.ok)
    }

    /// Whether the server lists a folder of this name, whether or not it can be opened.
    ///
    /// # Errors
    /// The connection failed, or the server does not list its folders.
    pub async fn is_listed(&mut self, name: &[u8]) -> Result<bool, Failure> {
        let tag = self.send(&[b"LIST \"\" ", written(name)?.as_slice()].concat()).await?;
        let done = self.finish(&tag, |_| {}).await?;
        let mut listed = false;
        while let Some(line) = self.side_line() {
            // Wildcards in the name find others, too; what cannot be entered is no folder with messages.
            listed |= answers::list(&line).is_some_and(|line| {
                let gone = line.attributes.iter().any(|name| name.eq_ignore_ascii_case("\\NonExistent"));
                line.name == name && !gone
            });
        }
        match done.ok {
            true => Ok(listed),
            false => Err(refusal("the server does not list its folders", &done.text, Kind::Folder, "")),
        }
    }

    /// Subscribes or unsubscribes a folder. `Some`: why not, in words.
    ///
    /// # Errors
    /// The connection failed.
    pub async fn subscribe(&mut self, name: &[u8], on: bool) -> Result<Option<String>, Failure> {
        let verb: &[u8] = if on { b"SUBSCRIBE " } else { b"UNSUBSCRIBE " };
        let tag = self.send(&[verb, written(name)?.as_slice()].concat()).await?;
        let done = self.finish(&tag, |_| {}).await?;
        Ok((!done.ok).then(|| quote(&done.text)))
    }

    /// Removes a folder. `Some`: why not, in words.
    ///
    /// # Errors
    /// The connection failed.
    pub async fn delete_folder(&mut self, name: &[u8]) -> Result<Option<String>, Failure> {
        let name = written(name)?;
        let delete = [b"DELETE ", name.as_slice()].concat();
        let tag = self.send(&delete).await?;
        let mut done = self.finish(&tag, |_| {}).await?;
        if !done.ok && says(&done, "special-use") && self.can("METADATA") {
            // Cyrus removes no folder that has a special use.
            let forget = [b"SETMETADATA ", name.as_slice(), b" (/private/specialuse NIL)"].concat();
            let tag = self.send(&forget).await?;
            self.finish(&tag, |_| {}).await?;
            let tag = self.send(&delete).await?;
            done = self.finish(&tag, |_| {}).await?;
        }
        Ok((!done.ok && !is_missing(&done)).then(|| quote(&done.text)))
    }

    /// Leaves the open folder without expunging it.
    ///
    /// # Errors
    /// The connection failed.
    pub async fn unselect(&mut self) -> Result<(), Failure> {
        if self.can("UNSELECT") {
            self.run("UNSELECT").await?;
        } else {
            // A folder that is not there: nothing is open then (RFC 3501, 6.3.1).
            self.run("EXAMINE \"mailhaul.no-such-folder\"").await?;
        }
        Ok(())
    }

    /// Takes messages out of the open folder for good; messages that others have marked as deleted stay.
    ///
    /// # Errors
    /// [`Kind::Folder`] if the server refuses.
    pub async fn remove(&mut self, uids: &UidSet) -> Result<(), Failure> {
        let refused = |done: &Done| refusal("messages cannot be removed", &done.text, Kind::Folder, "");
        let safe = self.expunges_alone();
        for uids in pieces(uids) {
            let others = if safe { UidSet::new() } else { self.deleted_besides(&uids).await? };
            if !others.is_empty() {
                self.mark(&others, "-FLAGS.SILENT (\\Deleted)").await?;
            }
            let marked = self.run(&format!("UID STORE {uids} +FLAGS.SILENT (\\Deleted)")).await?;
            let gone = if !marked.ok {
                marked
            } else if safe {
                self.run(&format!("UID EXPUNGE {uids}")).await?
            } else {
                self.run("EXPUNGE").await?
            };
            if !others.is_empty() {
                self.mark(&others, "+FLAGS.SILENT (\\Deleted)").await?;
            }
            if !gone.ok {
                return Err(refused(&gone));
            }
        }
        Ok(())
    }

    /// Copies messages of the open folder to another one (RFC 9051, 6.4.7), with flags and dates. Returns the
    /// UIDVALIDITY there and the new UIDs by the old ones. `None`: the server refuses, and has copied nothing.
    ///
    /// # Errors
    /// [`Kind::Folder`] if it does not say of each message what its new UID is (RFC 4315, COPYUID): it may have
    /// been copied, and another try has to look.
    pub async fn copy(
        &mut self,
        uids: &UidSet,
        to: &[u8],
    ) -> Result<Option<(u32, BTreeMap<u32, u32>)>, Failure> {
        let command = [format!("UID COPY {uids} ").as_bytes(), written(to)?.as_slice()].concat();
        let tag = self.send(&command).await?;
        let done = self.finish(&tag, |_| {}).await?;
        if !done.ok {
            return Ok(None);
        }
        let told = done.said.copied.and_then(|(validity, here, there)| {
            let (here, there) = (every(&here, uids.len())?, every(&there, uids.len())?);
            let new: BTreeMap<u32, u32> = here.into_iter().zip(there).collect();
            uids.iter().all(|uid| new.contains_key(&uid)).then_some((validity, new))
        });
        match told {
            Some(told) => Ok(Some(told)),
            None => Err(refusal("the server does not say what it copied", &done.text, Kind::Folder, "")),
        }
    }

    /// Sets a flag of messages of the open folder, or takes it away.
    ///
    /// # Errors
    /// [`Kind::Folder`] if the server refuses.
    pub async fn flag(&mut self, uids: &UidSet, flag: &Flag, on: bool) -> Result<(), Failure> {
        let name = flag_name(flag);
        let sign = if on { '+' } else { '-' };
        self.mark(uids, &format!("{sign}FLAGS.SILENT ({name})")).await
    }

    async fn mark(&mut self, uids: &UidSet, how: &str) -> Result<(), Failure> {
        for uids in pieces(uids) {
            let done = self.run(&format!("UID STORE {uids} {how}")).await?;
            if !done.ok {
                let refused = refusal("flags cannot be changed", &done.text, Kind::Folder, "");
                // As many keywords as the folder keeps: that does not speak of connections.
                let limit = says(&done, "[LIMIT]");
                return Err(if limit { Failure { kind: Kind::Folder, ..refused } } else { refused });
            }
        }
        Ok(())
    }

    /// Messages that are marked as deleted already, and are none of `uids`.
    async fn deleted_besides(&mut self, uids: &UidSet) -> Result<UidSet, Failure> {
        let tag = self.send(b"UID FETCH 1:* (UID FLAGS)").await?;
        let mut others = UidSet::new();
        let done = self
            .finish(&tag, |response| {
                if let Response::Fetch(item) = response
                    && let Some(uid) = item.uid.filter(|uid| !uids.contains(*uid))
                    && item.flags.is_some_and(|flags| flags.deleted)
                {
                    others.insert(uid);
                }
            })
            .await?;
        if !done.ok {
            return Err(refusal("the server does not list its messages", &done.text, Kind::Folder, ""));
        }
        Ok(others)
    }
}

pub(super) fn written(name: &[u8]) -> Result<Vec<u8>, Failure> {
    quoted(name).ok_or_else(|| {
        Failure::new(Kind::Folder, "its name holds a line end or a NUL, so it cannot be asked for", "")
    })
}

/// RFC 5530; and TRYCREATE, which servers say for other commands than APPEND too.
pub(super) fn is_missing(done: &Done) -> bool {
    done.said.try_create
        || ["[NONEXISTENT]", "doesn't exist", "does not exist", "no such mailbox", "unknown mailbox"]
            .iter()
            .any(|words| says(done, words))
}

pub(super) fn says(done: &Done, words: &str) -> bool {
    done.text.to_ascii_lowercase().contains(&words.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keywords_that_are_kept() {
        let flags =
            |list: &[&str]| Permitted::read(&list.iter().map(|f| (*f).to_owned()).collect::<Vec<_>>());
        let some = flags(&["\\Seen", "$Junk"]);
        assert!(
            some.keeps("$junk") && some.keeps("\\seen") && !some.keeps("other") && !some.keeps("\\Flagged")
        );
        assert!(flags(&["\\Seen", "\\*"]).keeps("other"));
    }
}
