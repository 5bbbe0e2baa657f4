//! The work itself: a poll, a migration, putting a mailbox back; and the manager that knows what waits and
//! what runs. The spine is always the same: look what is there, stage, commit, record that it landed, and
//! only then settle with the source. It refuses to speak a protocol or to write a file itself.

mod arrival;
mod at_server;
mod backoff;
mod backup;
mod backup_there;
mod board;
mod budget;
mod carry;
mod carry_there;
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
mod planned;
mod poll;
mod provide;
mod recall;
mod rollback;
mod settle;
mod tally;
mod tokens;
mod upload;
mod verify;

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::account::{Account, Member, Source};
use crate::audit::Audit;
use crate::config::Environment;
use crate::destination::Home;
use crate::destination::maildir::{self, Mailbox, Origin, clear_tmp, path_for};
use crate::destination::place::Naming;
use crate::destination::server::Server;
use crate::failure::{Failure, Kind};
use crate::journal::Journal;
use crate::message::Room;
use crate::net::Connector;
use crate::sealed::{Item, Vault};
use crate::secret::{Secret, SecretPlace};
use crate::settings::{Destination, Settings};

pub use backup::{BackedUp, Format};
pub use manager::{
    Asked, Checked, Details, Files, Manager, MigrationView, Overview, PollView, Refusal, Summary, View,
};
pub use planned::{Planned, PlannedFolder};
pub use tokens::{Question, Tokens};
pub use upload::{LeftOut, Uploaded};
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
    /// Access tokens.
    pub tokens: Arc<Tokens>,
    /// Who did what.
    pub audit: Audit,
}

impl Means {
    async fn secret(&self, account: &Account) -> Result<Secret, Failure> {
        if let Some(oauth2) = account.source.password.oauth2() {
            return self.token(account, oauth2).await;
        }
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

    /// Opens the account's mailbox, a Maildir made if missing, without what a killed run left half-written in it.
    async fn open_home(&self, account: &Account) -> Result<Home, Failure> {
        let mark = Origin::pop3(&account.name).account;
        self.open_home_of(&account.member, &account.destination, mark).await
    }

    /// The same for a member; `mark` is whose half-written messages go.
    async fn open_home_of(&self, member: &Member, destination: &str, mark: u64) -> Result<Home, Failure> {
        match self.place_of(member, destination)? {
            Place::Maildir(path) => {
                let opened = blocking(move || {
                    let mailbox = Mailbox::open(&path)?;
                    clear_tmp(&mailbox, mark)?;
                    Ok(Arc::new(mailbox))
                });
                opened.await.map(Home::Maildir)
            }
            Place::Server(login) => {
                let (place, environment) = (login.password.clone(), self.environment.clone());
                let spool = self.settings.daemon.state_directory.join("spool");
                let directory = spool.clone();
                let secret = blocking(move || {
                    make_private(&directory)?;
                    crate::config::read_secret(&place, &environment)
                });
                let secret = secret.await.map_err(ours)?;
                let server = Server::new(self.connector.anywhere(), *login, secret);
                Ok(Home::Server(Arc::new(server), spool))
            }
        }
    }

    /// How folders are named in the account's mailbox; nothing is made.
    async fn naming(&self, account: &Account) -> Result<Naming, Failure> {
        match self.place(account)? {
            Place::Maildir(_) => Ok(Naming::Maildir),
            Place::Server(_) => self.open_home(account).await?.naming().await,
        }
    }

    /// The room that the account's mailbox has; nothing is made to find out.
    async fn room(&self, account: &Account) -> Result<Room, Failure> {
        match self.place(account)? {
            Place::Maildir(path) => blocking(move || Ok(maildir::room(&path))).await,
            Place::Server(_) => match self.open_home(account).await? {
                Home::Server(server, _) => server.room().await,
                Home::Maildir(_) => Ok(Room::default()),
            },
        }
    }

    /// Where the account's mail comes home to.
    fn place(&self, account: &Account) -> Result<Place, Failure> {
        self.place_of(&account.member, &account.destination)
    }

    fn place_of(&self, member: &Member, destination: &str) -> Result<Place, Failure> {
        match self.settings.destinations.get(destination) {
            Some(Destination::Maildir { path }) => Ok(Place::Maildir(path_for(path, member))),
            Some(Destination::Imap(imap)) => Ok(Place::Server(Box::new(imap.source(member)))),
            None => Err(Failure::new(
                Kind::Destination,
                format!("there is no destination {destination}"),
                "define it in mailhaul.toml",
            )),
        }
    }
}

/// Where an account's mailbox is.
enum Place {
    /// The root of a Maildir.
    Maildir(PathBuf),
    /// The member's login at a server.
    Server(Box<Source>),
}

/// A directory for us alone.
fn make_private(directory: &Path) -> Result<(), Failure> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
    made.map_err(|e| {
        let words = format!("{} cannot be made: {e}", directory.display());
        Failure::new(Kind::Destination, words, "give the daemon a state directory that it can write")
    })
}

/// A secret of the destination's is our own affair.
fn ours(failure: Failure) -> Failure {
    Failure { kind: Kind::Destination, ..failure }
}

/// Runs what may wait for the disk on a thread of its own.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(e) => Err(Failure::new(
            Kind::Destination,
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
