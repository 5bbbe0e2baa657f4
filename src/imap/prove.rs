//! One more look at the source before anything is deleted there: whether its messages are still those that came. It
//! refuses to take silence for a yes.

use std::collections::BTreeMap;

use tokio::sync::mpsc;

use super::belief::Look;
use super::care::Care;
use super::command::pieces;
use super::fetch::{Event, Fetch};
use super::refusal::refusal;
use super::response::Response;
use super::session::Session;
use crate::failure::{Failure, Kind};
use crate::message::{Parcel, UidSet};

/// Parcels that wait; of at most 64 KiB.
const PARCELS: usize = 4;

impl<T: From<Parcel> + Send + 'static> Session<T> {
    /// Of messages that came with these sizes (RFC822.SIZE, ascending by UID), those that are not the same any more:
    /// their size is another one, or, of `samples`, what comes when they are asked for once more. What is not there any
    /// more is none of them.
    ///
    /// # Errors
    /// [`Kind::Folder`] if the server does not say, or has numbered the folder anew; else the connection failed.
    pub async fn differing(
        &mut self,
        name: &[u8],
        uidvalidity: u32,
        sizes: &[(u32, u32)],
        samples: &BTreeMap<u32, Look>,
    ) -> Result<UidSet, Failure> {
        let examined = self.examine(name).await?;
        if examined.uidvalidity != uidvalidity {
            let words = "the server numbered its messages anew while they were brought";
            return Err(Failure::new(Kind::Folder, words, "the next run goes on"));
        }
        self.take_unread();
        let mut differing = UidSet::new();
        let size_of = |uid: u32| {
            let at = sizes.binary_search_by_key(&uid, |(uid, _)| *uid).ok()?;
            sizes.get(at).map(|(_, size)| *size)
        };
        for set in pieces(&sizes.iter().map(|(uid, _)| *uid).collect()) {
            let tag = self.send(format!("UID FETCH {set} (UID RFC822.SIZE)").as_bytes()).await?;
            let each = |response| {
                if let Response::Fetch(item) = response
                    && let Some((uid, size)) = item.uid.zip(item.size)
                    && (item.marks.twice || size_of(uid).is_some_and(|known| known != size))
                {
                    differing.insert(uid);
                }
            };
            let done = self.finish(&tag, each).await?;
            while self.side_line().is_some() {}
            if !done.ok {
                let words = "the server does not say whether its messages are those that came";
                return Err(refusal(words, &done.text, Kind::Folder, ""));
            }
            if self.take_unread() {
                return Err(self.broken("gives answers that cannot be read"));
            }
        }
        let wanted: Vec<(u32, u32)> = samples.keys().filter_map(|uid| Some((*uid, size_of(*uid)?))).collect();
        let (sink, mut inbox) = mpsc::channel::<T>(PARCELS);
        let looking = async {
            let mut care = Care::default();
            let mut fetch = Fetch::start(self, &wanted, sink, &mut care);
            let mut other = UidSet::new();
            while let Some(event) = fetch.next().await? {
                if let Event::Message(message) = event
                    && message.look.is_some_and(|look| samples.get(&message.uid) != Some(&look))
                {
                    other.insert(message.uid);
                }
            }
            let _ = fetch.left();
            Ok::<_, Failure>(other)
        };
        let draining = async { while inbox.recv().await.is_some() {} };
        let (other, ()) = tokio::join!(looking, draining);
        differing.extend(&other?);
        Ok(differing)
    }
}
