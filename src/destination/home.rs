//! One member's mailbox, wherever it is. It refuses to hide what only a Maildir can do: who needs it asks for
//! the [`Mailbox`] itself.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_util::task::TaskTracker;

use super::delivery::{self, Delivery};
use super::landing::Landing;
use super::maildir::{self, Mailbox};
use super::place::{Naming, place};
use super::server::{self, Server};
use crate::failure::{Failure, Kind};
use crate::message::FolderPath;

/// One member's mailbox.
#[derive(Debug, Clone)]
pub enum Home {
    /// On a file system of ours.
    Maildir(Arc<Mailbox>),
    /// At a server; messages on their way wait in the directory.
    Server(Arc<Server>, PathBuf),
    /// Where a server files it, by LMTP; messages on their way wait in the directory.
    Delivery(Arc<Delivery>, PathBuf),
}

impl Home {
    /// How folders are named there.
    ///
    /// # Errors
    /// The server does not say.
    pub async fn naming(&self) -> Result<Naming, Failure> {
        match self {
            // By LMTP there are no folders: names are for people only.
            Home::Maildir(_) | Home::Delivery(..) => Ok(Naming::Maildir),
            Home::Server(server, _) => Ok(Naming::Server(server.layout().await?.clone())),
        }
    }

    /// The same for folders of these paths, where a folder there may not be able to hold both messages and folders.
    ///
    /// # Errors
    /// The server does not say.
    pub async fn naming_of(&self, paths: &BTreeSet<FolderPath>) -> Result<Naming, Failure> {
        match self {
            Home::Server(server, _) => Ok(Naming::Server(server.layout_of(paths).await?)),
            Home::Maildir(_) | Home::Delivery(..) => self.naming().await,
        }
    }

    /// Its folder for spam: the one with that special use, else one of this name, level by level.
    ///
    /// # Errors
    /// The server does not list its folders.
    pub async fn junk(&self, otherwise: &[String]) -> Result<String, Failure> {
        if let Home::Server(server, _) = self {
            let folders = server.folders().await?;
            if let Some(junk) = folders.into_iter().find(|folder| folder.uses.contains("junk")) {
                return Ok(String::from_utf8_lossy(&junk.wire).into_owned());
            }
        }
        let folder = [((), FolderPath(otherwise.to_vec()))];
        let placed = place(&self.naming().await?, &folder, &BTreeMap::new()).remove(&());
        Ok(placed.map(|placed| placed.directory).unwrap_or_default())
    }

    /// The folders that are there for a special use (RFC 6154), by its name in lower case. A Maildir does not tell.
    ///
    /// # Errors
    /// The server does not list its folders.
    pub async fn special_uses(&self) -> Result<BTreeMap<String, Vec<FolderPath>>, Failure> {
        let mut uses: BTreeMap<String, Vec<FolderPath>> = BTreeMap::new();
        if let Home::Server(server, _) = self {
            for folder in server.folders().await? {
                for name in folder.uses {
                    uses.entry(name).or_default().push(folder.path.clone());
                }
            }
        }
        Ok(uses)
    }

    /// Starts a landing; `account` marks what it makes. Whoever must know that nothing is being written any
    /// more waits for `landings`.
    pub fn land(&self, account: u64, landings: &TaskTracker) -> Landing {
        match self {
            Home::Maildir(mailbox) => maildir::land(Arc::clone(mailbox), account, landings),
            Home::Server(server, spool) => server::land(Arc::clone(server), spool.clone(), landings),
            Home::Delivery(to, spool) => delivery::land(Arc::clone(to), spool.clone(), landings),
        }
    }

    /// Those of `folders`, by their names there, that are missing.
    ///
    /// # Errors
    /// The destination cannot be read.
    pub async fn missing(&self, folders: BTreeSet<String>) -> Result<BTreeSet<String>, Failure> {
        match self {
            // A few calls without waiting for a disk that is not our own anyway.
            Home::Maildir(mailbox) => {
                Ok(folders.into_iter().filter(|name| !maildir::Folder::exists(mailbox, name)).collect())
            }
            Home::Server(server, _) => server.missing(&folders).await,
            Home::Delivery(..) => Ok(BTreeSet::new()),
        }
    }

    /// How many levels above each of `folders`, which are missing, will be made with them. In a Maildir++ none.
    ///
    /// # Errors
    /// The destination cannot be read.
    pub async fn missing_above(&self, folders: &BTreeSet<String>) -> Result<BTreeMap<String, u32>, Failure> {
        let Home::Server(server, _) = self else { return Ok(BTreeMap::new()) };
        let layout = server.layout().await?;
        let above = folders.iter().flat_map(|name| layout.above(name)).map(str::to_owned).collect();
        let missing = server.missing(&above).await?;
        let count = |name: &String| {
            let levels = layout.above(name);
            levels.iter().take_while(|level| missing.contains(**level)).count() as u32
        };
        Ok(folders.iter().map(|name| (name.clone(), count(name))).collect())
    }

    /// Those of `folders` that are not subscribed.
    ///
    /// # Errors
    /// The destination cannot be read.
    pub async fn unsubscribed(&self, folders: Vec<String>) -> Result<Vec<String>, Failure> {
        match self {
            Home::Maildir(mailbox) => {
                let mailbox = Arc::clone(mailbox);
                on_disk(move || maildir::unsubscribed(&mailbox, &folders)).await
            }
            Home::Server(server, _) => server.unsubscribed(&folders).await,
            Home::Delivery(..) => Ok(Vec::new()),
        }
    }

    /// Subscribes folders.
    ///
    /// # Errors
    /// The destination cannot be written.
    pub async fn subscribe(&self, folders: Vec<String>) -> Result<(), Failure> {
        match self {
            Home::Maildir(mailbox) => {
                let mailbox = Arc::clone(mailbox);
                on_disk(move || maildir::subscribe(&mailbox, &folders)).await.map(drop)
            }
            Home::Server(server, _) => server.subscribe(&folders).await,
            Home::Delivery(..) => Ok(()),
        }
    }

    /// A run of `account` begins, or goes on. In a Maildir everything says itself whose it is, and what was handed
    /// over does not come back.
    ///
    /// # Errors
    /// The server does not say how the mailbox stands.
    pub async fn remember(&self, account: u64, run: i64) -> Result<(), Failure> {
        match self {
            Home::Maildir(_) | Home::Delivery(..) => Ok(()),
            Home::Server(server, spool) => server.remember(spool, account, run).await,
        }
    }

    /// A run of `account` is over and recorded.
    ///
    /// # Errors
    /// The spool or `tmp` cannot be written.
    pub async fn done(&self, account: u64) -> Result<(), Failure> {
        let spool = match self {
            // What a landing could not remove from `tmp` is nobody's any more.
            Home::Maildir(mailbox) => {
                let mailbox = Arc::clone(mailbox);
                return on_disk(move || maildir::clear_tmp(&mailbox, account)).await;
            }
            Home::Delivery(_, spool) => {
                let spool = spool.clone();
                return on_disk(move || {
                    delivery::all_recorded(&spool, account).map_err(|e| unwritten(&spool, &e))
                })
                .await;
            }
            Home::Server(_, spool) => spool.clone(),
        };
        on_disk(move || server::forget(&spool, account).map_err(|e| unwritten(&spool, &e))).await
    }

    /// Several tries were in vain: messages that a server refuses do not end the work on the others any more.
    pub fn resign(&self) {
        if let Home::Server(server, _) = self {
            server.resign();
        }
    }

    /// The Maildir, if it is one.
    pub fn maildir(&self) -> Option<&Arc<Mailbox>> {
        match self {
            Home::Maildir(mailbox) => Some(mailbox),
            Home::Server(..) | Home::Delivery(..) => None,
        }
    }
}

async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|e| {
        Err(Failure::new(Kind::Destination, format!("a step ended unexpectedly: {e}"), "it is tried again"))
    })
}

fn unwritten(spool: &Path, error: &io::Error) -> Failure {
    let words = format!("{} cannot be written: {error}", spool.display());
    Failure::new(Kind::Destination, words, "it is tried again")
}
