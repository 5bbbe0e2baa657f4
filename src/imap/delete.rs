//! Deleting messages at the source, by UID. It refuses to expunge anything but what it was given: another
//! program may have marked messages as deleted and changed its mind since, so without UIDPLUS (RFC 4315) it
//! marks only.

use super::command::pieces;
use super::refusal::refusal;
use super::response::Response;
use super::session::Session;
use crate::failure::{Failure, Kind};
use crate::message::{Parcel, UidSet};

/// What became of messages that were to be deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deleted {
    /// They are gone; so many were still there.
    Gone(u64),
    /// They are marked `\Deleted`, and the server cannot expunge them alone.
    Marked,
}

impl<T: From<Parcel> + Send + 'static> Session<T> {
    /// Deletes `uids` of a folder that has this UIDVALIDITY. UIDs that are not there any more are no trouble.
    ///
    /// # Errors
    /// [`Kind::Folder`] if the server refuses, or has numbered the folder anew meanwhile.
    pub async fn delete(&mut self, name: &[u8], uidvalidity: u32, uids: &UidSet) -> Result<Deleted, Failure> {
        let opened = self.open_folder(name, (true, None)).await?;
        if opened.uidvalidity != uidvalidity {
            let words = "the server numbered its messages anew while they were brought";
            return Err(Failure::new(Kind::Folder, words, "the next run goes on"));
        }
        let expunges = self.expunges_alone();
        let mut gone = 0;
        for set in pieces(uids) {
            let done = self.run(&format!("UID STORE {set} +FLAGS.SILENT (\\Deleted)")).await?;
            if !done.ok {
                return Err(refusal(
                    "the server does not mark messages as deleted",
                    &done.text,
                    Kind::Folder,
                    "",
                ));
            }
            if !expunges {
                continue;
            }
            let tag = self.send(format!("UID EXPUNGE {set}").as_bytes()).await?;
            let mut expunged = 0;
            let done = self
                .finish(&tag, |response| expunged += u64::from(matches!(response, Response::Expunge)))
                .await?;
            if !done.ok {
                return Err(refusal("the server does not delete messages", &done.text, Kind::Folder, ""));
            }
            gone += expunged.min(set.len());
            while self.side_line().is_some() {}
        }
        Ok(if expunges { Deleted::Gone(gone) } else { Deleted::Marked })
    }
}
