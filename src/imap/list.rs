//! What the open folder holds: UIDs, sizes, flags, dates. It refuses to take a listing that ended in NO for a
//! complete one.

use std::collections::BTreeMap;

use super::command::pieces;
use super::refusal::refusal;
use super::response::Response;
use super::session::{Detail, Examined, Listed, MOST_RESPONSES, Session};
use crate::failure::{Failure, Kind};
use crate::message::{Flags, Parcel, UidSet};

impl<T: From<Parcel> + Send + 'static> Session<T> {
    /// The UIDs and sizes of the open folder.
    ///
    /// # Errors
    /// [`Kind::Folder`] if the server does not list them to the end.
    pub async fn list_messages(&mut self, examined: Examined) -> Result<Listed, Failure> {
        if examined.exists == 0 {
            return Ok(Listed::default());
        }
        let listed = self.list_some("1:*", examined.exists).await?;
        Ok(Listed { unread: self.unread(), ..listed })
    }

    /// The same of those from `uidnext` on, and of those in `again`.
    ///
    /// # Errors
    /// As [`Session::list_messages`].
    pub async fn list_since(&mut self, uidnext: u32, again: &UidSet) -> Result<Listed, Failure> {
        let mut listed = Listed::default();
        for set in pieces(again) {
            listed.messages.extend(self.list_some(&set.to_string(), 0).await?.messages);
        }
        let rest = self.list_some(&format!("{uidnext}:*"), 0).await?;
        // What is not listed now would never be: the next run begins behind it.
        self.all_read()?;
        // The last message is in the range `N:*` whatever N is (RFC 3501, 6.4.8).
        listed.messages.extend(rest.messages.into_iter().filter(|(uid, _)| *uid >= uidnext));
        listed.messages.sort_unstable();
        listed.messages.dedup_by_key(|(uid, _)| *uid);
        Ok(listed)
    }

    async fn list_some(&mut self, set: &str, exists: u32) -> Result<Listed, Failure> {
        let tag = self.send(format!("UID FETCH {set} (UID RFC822.SIZE)").as_bytes()).await?;
        let mut messages: Vec<(u32, u32)> = Vec::new();
        let mut exists = exists;
        let most = MOST_RESPONSES / 2;
        let done = self
            .finish(&tag, |response| match response {
                Response::Fetch(item) if (messages.len() as u64) < most => {
                    messages.extend(item.uid.map(|uid| (uid, item.size.unwrap_or(0))));
                }
                Response::Expunge => exists = exists.saturating_sub(1),
                _ => {}
            })
            .await?;
        if !done.ok {
            return Err(refusal("the server does not list its messages", &done.text, Kind::Folder, ""));
        }
        messages.sort_unstable();
        messages.dedup_by_key(|(uid, _)| *uid);
        let listed = u32::try_from(messages.len()).unwrap_or(u32::MAX);
        Ok(Listed { messages, unlisted: exists.saturating_sub(listed), unread: None })
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
        let tag =
            self.send(format!("UID FETCH {set} (UID RFC822.SIZE FLAGS INTERNALDATE)").as_bytes()).await?;
        let mut details: BTreeMap<u32, Detail> = BTreeMap::new();
        let most = MOST_RESPONSES / 2;
        let done = self
            .finish(&tag, |response| {
                if let Response::Fetch(item) = response
                    && let Some(uid) = item.uid
                    && (details.len() as u64) < most
                {
                    let detail = details.entry(uid).or_insert_with(|| Detail { uid, ..Detail::default() });
                    detail.size = item.size.or(detail.size);
                    detail.flags = item.flags.or(detail.flags.take());
                    detail.received = item.received.or(detail.received);
                }
            })
            .await?;
        if !done.ok {
            return Err(refusal("the server does not list its messages", &done.text, Kind::Folder, ""));
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
    /// (CHANGEDSINCE, RFC 7162, 3.1.4.1).
    ///
    /// # Errors
    /// As [`Session::list_messages`].
    pub async fn list_flags(
        &mut self,
        set: &UidSet,
        since: Option<u64>,
    ) -> Result<Vec<(u32, Flags)>, Failure> {
        let mut found = Vec::new();
        for set in pieces(set) {
            let since = since.map_or_else(String::new, |modseq| format!(" (CHANGEDSINCE {modseq})"));
            let tag = self.send(format!("UID FETCH {set} (UID FLAGS){since}").as_bytes()).await?;
            let done = self
                .finish(&tag, |response| {
                    if let Response::Fetch(item) = response
                        && let Some((uid, flags)) = item.uid.zip(item.flags)
                        && set.contains(uid)
                    {
                        found.push((uid, flags));
                    }
                })
                .await?;
            if !done.ok {
                return Err(refusal("the server does not list the flags", &done.text, Kind::Folder, ""));
            }
        }
        Ok(found)
    }
}
