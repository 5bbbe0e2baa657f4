//! Flags of messages at a server, read and changed by UID. It refuses a folder that has been numbered anew.

use std::collections::BTreeMap;

use super::flags::store;
use super::home::{Server, at_home};
use crate::failure::{Failure, Kind};
use crate::imap::{Detail, Session};
use crate::message::{Flag, Parcel, UidSet};

/// Flags that are set (`true`) or taken away, and from which messages.
pub type Reflags = BTreeMap<(Flag, bool), UidSet>;

impl Server {
    /// What is in a folder. `None`: it is not there, or another one has its name. `again`: the server failed over it before,
    /// and has less time.
    ///
    /// # Errors
    /// The server does not open or list it.
    pub async fn details(
        &self,
        name: &str,
        uidvalidity: u32,
        again: bool,
    ) -> Result<Option<Vec<Detail>>, Failure> {
        let mut session: Session<Parcel> = self.connect().await?;
        session.hurry(again);
        let details = match session.examine(name.as_bytes()).await {
            Ok(examined) if examined.uidvalidity == uidvalidity => {
                Some(session.list_details(examined).await.map_err(at_home)?)
            }
            Ok(_) => None,
            Err(failure) if failure.kind == Kind::Folder => {
                if session.exists(name.as_bytes()).await.map_err(at_home)? {
                    return Err(at_home(failure));
                }
                None
            }
            Err(failure) => return Err(at_home(failure)),
        };
        session.close().await;
        Ok(details)
    }

    /// Changes flags; what is not there any more is no trouble. Returns how many messages were to get a
    /// flag or keyword that the server does not take.
    ///
    /// # Errors
    /// The server refuses.
    pub async fn reflag(
        &self,
        name: &str,
        uidvalidity: u32,
        reflags: &Reflags,
        again: bool,
    ) -> Result<u64, Failure> {
        let mut session: Session<Parcel> = self.connect().await?;
        session.hurry(again);
        let without = change(&mut session, name, uidvalidity, reflags).await.map_err(at_home)?;
        session.close().await;
        Ok(without)
    }
}

/// See [`Server::reflag`].
///
/// # Errors
/// The server refuses.
pub(super) async fn change(
    session: &mut Session<Parcel>,
    name: &str,
    uidvalidity: u32,
    reflags: &Reflags,
) -> Result<u64, Failure> {
    let Some(selected) = session.select(name.as_bytes()).await? else { return Ok(0) };
    if selected.uidvalidity != uidvalidity || selected.exists == 0 {
        return Ok(0);
    }
    let mut without = UidSet::new();
    for ((flag, on), uids) in reflags {
        let unknown = matches!(flag, Flag::Keyword(word) if !selected.keywords.keeps(word.as_str()));
        // Some keep fewer than they say, and some refuse them for one message.
        let refused = if unknown { uids.clone() } else { store(session, uids, flag, *on).await?.uids };
        if *on {
            without.extend(&refused);
        }
    }
    Ok(without.len())
}
