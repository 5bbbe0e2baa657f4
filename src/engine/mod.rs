//! The work itself: a poll, a migration, putting a mailbox back; and the manager that knows what waits and
//! what runs. The spine is always the same: look what is there, stage, commit, record that it landed, and
//! only then settle with the source. It refuses to speak a protocol or to write a file itself.

mod arrival;
mod backoff;
mod board;
mod folder;
mod identity;
mod manager;
mod meter;
mod migrate;
mod odd;
mod poll;
mod provide;
mod rollback;
mod tally;
mod verify;

use crate::account::Account;
use crate::audit::Audit;
use crate::config::Environment;
use crate::destination::maildir::path_for;
use crate::failure::Failure;
use crate::journal::Journal;
use crate::net::Connector;
use crate::sealed::{Item, Vault};
use crate::secret::{Secret, SecretPlace};
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
    /// The secrets that are kept here.
    pub vault: Vault,
    /// Who did what.
    pub audit: Audit,
}

impl Means {
    async fn secret(&self, account: &Account) -> Result<Secret, Failure> {
        self.secret_at(account, &account.source.password, Item::Password).await
    }

    async fn secret_at(&self, account: &Account, place: &SecretPlace, item: Item) -> Result<Secret, Failure> {
        if *place == SecretPlace::Sealed {
            let (vault, name) = (self.vault.clone(), account.name.clone());
            let kept = blocking(move || vault.get(&name, item)).await?;
            let key = if item == Item::MailboxPassword { "new_mailbox.password" } else { "source.password" };
            return kept.ok_or_else(|| {
                Failure::new(
                    crate::failure::Kind::Secret,
                    "its password is not kept any more: that ends with the migration",
                    format!("give it again: mailhaulctl set {} {key}=-", account.name),
                )
            });
        }
        let (place, environment) = (place.clone(), self.environment.clone());
        blocking(move || crate::config::read_secret(&place, &environment)).await
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
