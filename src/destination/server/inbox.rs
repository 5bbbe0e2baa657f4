//! Whether a server lets us in, and its inbox opens. It refuses to change anything.

use super::home::{Server, at_home};
use crate::failure::{Failure, Kind};
use crate::imap::Session;
use crate::message::Parcel;

impl Server {
    /// Opens the inbox as a run does, and changes nothing.
    ///
    /// # Errors
    /// It does not open, or only for reading.
    pub async fn try_inbox(&self) -> Result<(), Failure> {
        let mut session: Session<Parcel> = self.connect().await?;
        let inbox = |failure: Failure| {
            let failure = at_home(failure);
            Failure { words: format!("{} (INBOX at the destination)", failure.words), ..failure }
        };
        let selected = session.select(b"INBOX").await.map_err(inbox)?;
        session.close().await;
        match selected {
            Some(selected) if selected.read_only => {
                let words = "INBOX at the destination opens for reading only";
                Err(Failure::new(
                    Kind::Destination,
                    words,
                    "give the login the right to store messages there",
                ))
            }
            Some(_) => Ok(()),
            None => {
                let words = "the destination has no INBOX for this login";
                Err(Failure::new(Kind::Destination, words, "look at the login, and make the mailbox"))
            }
        }
    }

    /// Whether the server lets somebody in and opens the inbox: then what failed over another folder is that folder's own.
    pub async fn is_well(&self) -> bool {
        match self.connect::<Parcel>().await {
            Ok(mut session) => session.examine(b"INBOX").await.is_ok(),
            Err(_) => false,
        }
    }
}
