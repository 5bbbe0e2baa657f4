//! The work itself: a poll, a migration, putting a mailbox back; and the manager that knows what waits and
//! what runs. The spine is always the same: look what is there, stage, commit, record that it landed, and
//! only then settle with the source. It refuses to speak a protocol or to write a file itself.

mod arrival;
mod backoff;
mod board;
mod budget;
mod carry;
mod copies;
mod drain;
mod folder;
mod gmail;
mod identity;
mod maildrop;
mod manager;
mod meter;
mod migrate;
mod newmail;
mod odd;
mod poll;
mod rollback;
mod settle;
mod tally;
mod verify;

use std::sync::Arc;

use crate::account::Account;
use crate::config::Environment;
use crate::destination::landing::clear_tmp;
use crate::destination::maildir::{Mailbox, Origin, path_for};
use crate::failure::Failure;
use crate::journal::Journal;
use crate::net::Connector;
use crate::secret::Secret;
use crate::settings::{Destination, Settings};

pub use manager::{
    Asked, Checked, Details, Manager, MigrationView, Overview, PollView, Refusal, Summary, View,
};
pub use verify::{Finding, Verified, What};

/// What every piece of work needs; it changes as a whole when the settings are read again.
#[derive(Debug, Clone)]
pub struct Means {
    /// The settings.
    pub settings: Settings,
    /// Where credentials lie.
    pub environment: Environment,
    /// The way out.
    pub connector: Connector,
    /// What has landed.
    pub journal: Journal,
}

impl Means {
    async fn secret(&self, account: &Account) -> Result<Secret, Failure> {
        let (place, environment) = (account.source.password.clone(), self.environment.clone());
        blocking(move || crate::config::read_secret(&place, &environment)).await
    }

    /// Opens the account's mailbox, made if missing, without what a killed run left half-written in it.
    async fn open_mailbox(&self, account: &Account) -> Result<Arc<Mailbox>, Failure> {
        let (path, mark) = (self.mailbox_path(account)?, Origin::pop3(&account.name).account);
        blocking(move || {
            let mailbox = Mailbox::open(&path)?;
            clear_tmp(&mailbox, mark)?;
            Ok(Arc::new(mailbox))
        })
        .await
    }

    fn mailbox_path(&self, account: &Account) -> Result<std::path::PathBuf, Failure> {
        match self.settings.destinations.get(&account.destination) {
            Some(Destination::Maildir { path }) => Ok(path_for(path, &account.member)),
            None => Err(Failure::new(
                crate::failure::Kind::Destination,
                format!("there is no destination {}", account.destination),
                "define it in mailhaul.toml",
            )),
        }
    }
}

/// Runs what may wait for the disk on a thread of its own.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(e) => Err(Failure::new(
            crate::failure::Kind::Destination,
            format!("a step ended unexpectedly: {e}"),
            "it is tried again",
        )),
    }
}

/// Milliseconds since 1970.
fn now() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// Words for a record: a value of the store is less than a kilobyte.
fn cut(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(300).collect()
}
