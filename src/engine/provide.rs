//! A missing mailbox is made before the first message. It refuses to touch one that is there, and to use a
//! password that the rules do not allow.

use std::path::{Path, PathBuf};

use super::{Means, Place, blocking};
use crate::account::{Account, Protocol};
use crate::destination::Home;
use crate::destination::server::at_home;
use crate::failure::{Failure, Kind};
use crate::imap;
use crate::message::Parcel;
use crate::pop3;
use crate::provision::{Inventory, Plan, Wanted, broken_rules, unmake};
use crate::sealed::Item;
use crate::secret::Secret;
use crate::settings::Way;

impl Means {
    /// Makes the account's mailbox if it is missing and the settings say how. `intend` records what a rollback
    /// needs, before anything is done.
    ///
    /// # Errors
    /// Why it cannot be made.
    pub(super) async fn provide<F>(
        &self,
        account: &Account,
        intend: impl FnOnce(Option<String>) -> F,
    ) -> Result<(), Failure>
    where
        F: Future<Output = Result<(), Failure>>,
    {
        let Some((way, wanted, password)) = self.wanted(account).await? else { return Ok(()) };
        // Nothing is made for an account whose source lets nobody in.
        self.knock(account).await?;
        let (plan, password) = blocking(move || Ok((Plan::new(way, wanted, &password)?, password))).await?;
        intend(plan.digest()).await?;
        blocking(move || plan.make(&password)).await?;
        tracing::info!(ACCOUNT = account.name, MEMBER = account.member.to_string(), "the mailbox was made");
        Ok(())
    }

    /// The mailbox that has to be made, and the password that it gets; `None`: it is there, or is none of ours
    /// to make. Makes nothing.
    ///
    /// # Errors
    /// There is no password for it, or which rules it breaks.
    pub(super) async fn wanted(&self, account: &Account) -> Result<Option<(Way, Wanted, Secret)>, Failure> {
        let Some(way) = self.settings.provisioning.way.clone() else { return Ok(None) };
        let wanted = self.mailbox_of(account)?;
        let (looked, for_whom) = (way.clone(), wanted.clone());
        if blocking(move || Ok(Inventory::of(&looked)?.has(&looked, &for_whom))).await? {
            return Ok(None);
        }
        let own = account.new_mailbox.password.is_some();
        let password = match &account.new_mailbox.password {
            Some(place) => self.secret_at(account, place, Item::MailboxPassword).await?,
            None if account.source.password.oauth2().is_some() => {
                return Err(Failure::new(
                    Kind::Unsupported,
                    format!(
                        "the mailbox {} is missing, and the source has no password for it",
                        account.member
                    ),
                    format!("give it one: mailhaulctl set {} new_mailbox.password=-", account.name),
                ));
            }
            None => self.secret(account).await?,
        };
        let broken = broken_rules(&self.settings.provisioning.password_rules, &password);
        if !broken.is_empty() {
            let whose = if own { "its password" } else { "the source's password" };
            return Err(Failure::new(
                Kind::Unsupported,
                format!(
                    "the mailbox {} is missing, and {whose} cannot be used for it: {}",
                    account.member,
                    broken.join(", ")
                ),
                format!("give it another one: mailhaulctl set {} new_mailbox.password=-", account.name),
            ));
        }
        Ok(Some((way, wanted, password)))
    }

    /// Logs in at the source, and out again.
    async fn knock(&self, account: &Account) -> Result<(), Failure> {
        let secret = self.secret(account).await?;
        match account.source.protocol {
            Protocol::Imap => {
                let opened = imap::Session::<Parcel>::open(&self.connector, &account.source, &secret).await;
                opened?.close().await;
            }
            Protocol::Pop3 => {
                let _ = pop3::Session::open(&self.connector, &account.source, &secret).await?.quit().await;
            }
        }
        Ok(())
    }

    fn maildir_path(&self, account: &Account) -> Result<Option<PathBuf>, Failure> {
        match self.place_of(&account.member, &account.destination)? {
            Place::Maildir(path) => Ok(Some(path)),
            Place::Server(_) | Place::Delivery(_) => Ok(None),
        }
    }

    /// Takes back what [`Means::provide`] made, if the mailbox is gone again; at a server, if it is empty again.
    ///
    /// # Errors
    /// The passwd-file cannot be written, or the server does not say what is there.
    pub(super) async fn take_back(&self, account: &Account, digest: String) -> Result<(), Failure> {
        let Some(way) = self.settings.provisioning.way.clone() else { return Ok(()) };
        let gone = match self.place_of(&account.member, &account.destination)? {
            Place::Maildir(path) => blocking(move || Ok(is_gone(&path))).await?,
            Place::Server(_) => self.is_empty_there(account).await?,
            Place::Delivery(_) => false,
        };
        if gone { blocking(move || unmake(&way, &digest)).await } else { Ok(()) }
    }

    /// Whether no message is in any folder of the mailbox at the server; what cannot be counted is not empty.
    async fn is_empty_there(&self, account: &Account) -> Result<bool, Failure> {
        let Home::Server(server, _) = self.open_home(account).await? else { return Ok(false) };
        let mut session: imap::Session<Parcel> = server.connect().await?;
        let folders = session.folders().await.map_err(at_home)?;
        let counted = folders.iter().all(|folder| folder.broken.is_none());
        let counts = session.count(&folders).await.map_err(at_home)?;
        session.close().await;
        Ok(counted && imap::sum(&counts, &folders) == Some(0))
    }

    /// Whether the login of a mailbox at a server that was to be made here is not there, or not any more: then nothing
    /// is in it that could be taken back.
    ///
    /// # Errors
    /// The passwd-file cannot be read.
    pub(super) async fn is_taken_back(&self, account: &Account) -> Result<bool, Failure> {
        let Some(way @ Way::PasswdFile(_)) = self.settings.provisioning.way.clone() else { return Ok(false) };
        let Place::Server(_) = self.place_of(&account.member, &account.destination)? else {
            return Ok(false);
        };
        let wanted = self.mailbox_of(account)?;
        blocking(move || Ok(!Inventory::of(&way)?.has(&way, &wanted))).await
    }

    fn mailbox_of(&self, account: &Account) -> Result<Wanted, Failure> {
        Ok(Wanted {
            member: account.member.clone(),
            first_name: account.new_mailbox.first_name.clone(),
            last_name: account.new_mailbox.last_name.clone(),
            path: self.maildir_path(account)?,
        })
    }
}

fn is_gone(path: &Path) -> bool {
    !path.join("cur").exists()
}
