//! The mailbox on the destination's side, a Maildir or one at a server: what it holds, and the octets of what is
//! in doubt. It refuses to change anything.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::at_server::AtServer;
use super::compare::There;
use super::here::{self, Copy, Here};
use crate::account::Account;
use crate::destination::Home;
use crate::destination::fingerprint::Print;
use crate::destination::maildir::{Origin, last_keywords};
use crate::destination::server::at_home;
use crate::engine::{Means, Place, blocking};
use crate::failure::{Failure, Kind};
use crate::journal::FolderRecord;

/// A mailbox that is compared.
pub(super) enum Mail {
    /// Its root.
    Maildir(PathBuf),
    /// At a server.
    Server(Box<AtServer>),
}

impl Mail {
    /// The account's mailbox, and what is in it. `directories`: the account's folders there.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) async fn look(
        means: &Means,
        account: &Account,
        records: &BTreeMap<u64, FolderRecord>,
        directories: BTreeSet<String>,
    ) -> Result<(Mail, Here), Failure> {
        match means.place(account)? {
            Place::Maildir(path) => {
                let (root, mark) = (path.clone(), Origin::pop3(&account.name).account);
                let here = blocking(move || Here::look(&path, mark, &directories)).await?;
                Ok((Mail::Maildir(root), here))
            }
            Place::Server(_) => {
                let Home::Server(server, _) = means.open_home(account).await? else {
                    return Ok((Mail::Maildir(PathBuf::new()), Here::default()));
                };
                let found = AtServer::look(means, account, server, records).await.map_err(at_home)?;
                Ok((Mail::Server(Box::new(found)), Here::default()))
            }
            Place::Delivery(_) => Err(Failure::new(
                Kind::Unsupported,
                "what was delivered by LMTP cannot be read again",
                "'show' tells what the server took",
            )),
        }
    }

    /// Why a folder here cannot be read; `None`: it can, or is not there.
    pub(super) fn unread(&self, directory: &str) -> Option<&str> {
        match self {
            Mail::Maildir(_) => None,
            Mail::Server(server) => server.unread(directory),
        }
    }

    /// A folder of the source cannot be compared: nobody knows whether what is here of it is there still.
    pub(super) fn leaves_out(&mut self, here: &mut Here, key: u64) {
        here.ours.retain(|(folder, _), _| *folder != key);
        if let Mail::Server(server) = self {
            server.leaves_out(key);
        }
    }

    /// Before a folder of the source is compared: which message there is which. A Maildir's names tell it.
    pub(super) fn fill(
        &mut self,
        here: &mut Here,
        (key, directory): (u64, Option<&str>),
        messages: &[There],
        mirror: bool,
    ) {
        if let (Mail::Server(server), Some(directory)) = (self, directory) {
            server.fill(here, (key, directory), messages, mirror);
        }
    }

    /// When every folder of the source has been compared: what is of none of them.
    pub(super) fn rest(&mut self, here: &mut Here) {
        if let Mail::Server(server) = self {
            server.rest(here);
        }
    }

    /// The keywords that a folder is known to keep, in lower case; `None`: those that a Maildir can carry.
    ///
    /// # Errors
    /// The mailbox cannot be read.
    pub(super) async fn keeps(&self, directory: Option<&str>) -> Result<Option<BTreeSet<String>>, Failure> {
        let directory = directory.unwrap_or_default().to_owned();
        match self {
            Mail::Maildir(path) => {
                let path = path.clone();
                blocking(move || last_keywords(&path, &directory)).await
            }
            Mail::Server(server) => Ok(Some(server.keeps(&directory))),
        }
    }

    /// What copies are made of; `None`: it is gone or cannot be read.
    ///
    /// # Errors
    /// The mailbox cannot be read.
    pub(super) async fn prints(&mut self, copies: Vec<Copy>) -> Result<Vec<Option<Print>>, Failure> {
        match self {
            Mail::Maildir(path) => {
                let path = path.clone();
                blocking(move || here::prints(&path, &copies)).await
            }
            Mail::Server(server) => server.prints(&copies).await.map_err(at_home),
        }
    }

    /// How often the folder holds the octets of each of `copies`, which are in it: 1 if it is alone.
    ///
    /// # Errors
    /// The mailbox cannot be read.
    pub(super) async fn alike(&mut self, directory: &str, copies: Vec<Copy>) -> Result<Vec<u64>, Failure> {
        match self {
            Mail::Maildir(path) => {
                let (path, directory) = (path.clone(), directory.to_owned());
                blocking(move || here::alike(&path, &directory, &copies)).await
            }
            Mail::Server(server) => server.alike(directory, &copies).await.map_err(at_home),
        }
    }

    /// The comparison is over.
    pub(super) async fn close(self) {
        if let Mail::Server(server) = self {
            server.close().await;
        }
    }
}
