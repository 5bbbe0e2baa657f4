//! The work itself: a poll, a migration, putting a mailbox back; and the manager that knows what waits and
//! what runs. The spine is always the same: look what is there, stage, commit, record that it landed, and
//! only then settle with the source. It refuses to speak a protocol or to write a file itself.

mod arrival;
mod at_server;
mod backoff;
mod backup;
mod backup_there;
mod belonging;
mod board;
mod budget;
mod cares;
mod carry;
mod carry_there;
mod closing;
mod copies;
mod counts;
mod drain;
mod exceptions;
mod folder;
mod found;
mod gmail;
mod identity;
mod listed;
mod maildrop;
mod manager;
mod measured;
mod meter;
mod migrate;
mod newmail;
mod odd;
mod planned;
mod poll;
mod proof;
mod provide;
mod recall;
mod reconnect;
mod rollback;
mod settle;
mod strays;
mod tally;
mod tokens;
mod unsettled;
mod upload;
mod verify;

use std::collections::BTreeMap;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use crate::account::{Account, Job, Member, Source};
use crate::audit::Audit;
use crate::config::{Environment, Provider};
use crate::destination::Home;
use crate::destination::delivery::Delivery;
use crate::destination::landing::Landing;
use crate::destination::maildir::{self, Mailbox, Origin, clear_tmp, path_for};
use crate::destination::place::Naming;
use crate::destination::screen::{Junk, screen};
use crate::destination::server::Server;
use crate::failure::{Failure, Kind};
use crate::journal::Journal;
use crate::message::Room;
use crate::migration::State as Stage;
use crate::net::Connector;
use crate::sealed::{Item, Vault};
use crate::secret::{Secret, SecretPlace};
use crate::settings::{Destination, LmtpDestination, Settings};
use crate::spam::Judge;

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
    /// Providers by the domains of their addresses.
    pub providers: Arc<BTreeMap<String, Provider>>,
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
    /// Connections to LMTP servers.
    pub slots: Slots,
}

/// How many connections may be open to the LMTP server of each destination, over all accounts.
#[derive(Debug, Clone, Default)]
pub struct Slots(BTreeMap<String, Arc<Semaphore>>);

impl Slots {
    /// As the settings have it.
    pub fn of(settings: &Settings) -> Slots {
        let lmtp = settings.destinations.iter().filter_map(|(name, to)| Some((name.clone(), to.lmtp()?)));
        Slots(lmtp.map(|(name, lmtp)| (name, Arc::new(Semaphore::new(lmtp.max_connections)))).collect())
    }

    fn to(&self, destination: &str) -> Arc<Semaphore> {
        self.0.get(destination).map_or_else(|| Arc::new(Semaphore::new(1)), Arc::clone)
    }
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
            let Some(kept) = kept else {
                let words = if self.was_denied(account)? {
                    "its password was forgotten when policy denied external import"
                } else {
                    "its password is not kept any more: that ends with the migration"
                };
                let mend = format!("give it again: mailhaulctl set {} {key}=-", account.name);
                return Err(Failure::new(Kind::Secret, words, mend));
            };
            return Ok(kept);
        }
        let (place, environment) = (place.clone(), self.environment.clone());
        blocking(move || crate::config::read_secret(&place, &environment)).await
    }

    /// Whether it was policy that had the secrets of an account wiped: a run's beginning goes with them, and nothing
    /// else takes those of an account that never ran.
    fn was_denied(&self, account: &Account) -> Result<bool, Failure> {
        if let Job::Poll(_) = account.job {
            return Ok(true);
        }
        let record = self.journal.migration(&account.name)?.unwrap_or_default();
        let never = record.started_at.is_none() && record.completed_at.is_none();
        // One that a person cancelled before it began has no error.
        Ok(never && (record.state != Stage::Cancelled || record.error.is_some()))
    }

    /// Opens the account's mailbox, a Maildir made if missing, without what a killed run left half-written in it.
    async fn open_home(&self, account: &Account) -> Result<Home, Failure> {
        let mark = Origin::pop3(&account.name).account;
        self.open_place(self.place(account)?, mark).await
    }

    /// The same for a member; `mark` is whose half-written messages go.
    async fn open_home_of(&self, member: &Member, destination: &str, mark: u64) -> Result<Home, Failure> {
        self.open_place(self.place_of(member, destination)?, mark).await
    }

    async fn open_place(&self, place: Place, mark: u64) -> Result<Home, Failure> {
        match place {
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
                let spool = self.spool();
                let directory = spool.clone();
                let secret = blocking(move || {
                    make_private(&directory)?;
                    crate::config::read_secret(&place, &environment)
                });
                let secret = secret.await.map_err(ours)?;
                let server = Server::new(self.connector.anywhere(), *login, secret);
                Ok(Home::Server(Arc::new(server), spool))
            }
            Place::Delivery(to) => {
                let (spool, directory) = (self.spool(), self.spool());
                blocking(move || make_private(&directory)).await?;
                Ok(Home::Delivery(to, spool))
            }
        }
    }

    /// Starts a landing at `home`, behind a judge if the account is polled and wants one.
    async fn land(&self, account: &Account, home: &Home, landings: &TaskTracker) -> Result<Landing, Failure> {
        let mark = Origin::pop3(&account.name).account;
        let main = home.land(mark, landings);
        if !matches!(&account.job, Job::Poll(poll) if poll.apply_spam) {
            return Ok(main);
        }
        Box::pin(self.screened(account, home, main, landings)).await
    }

    async fn screened(
        &self,
        account: &Account,
        home: &Home,
        main: Landing,
        landings: &TaskTracker,
    ) -> Result<Landing, Failure> {
        let (mark, spool) = (Origin::pop3(&account.name).account, self.spool());
        let folder = self.settings.spam.folder.clone();
        let judge = self.judge(account).await?;
        let home = match home {
            // By LMTP nothing gets into a folder: the mailbox is beside it.
            Home::Delivery(..) => self.open_home_of(&account.member, &account.destination, mark).await?,
            home => home.clone(),
        };
        Ok(screen(main, judge, Junk { home, account: mark, folder }, spool, landings))
    }

    /// Who says what is spam. The spool is there afterwards.
    async fn judge(&self, account: &Account) -> Result<Judge, Failure> {
        let (spam, environment, directory) =
            (self.settings.spam.clone(), self.environment.clone(), self.spool());
        let place = spam.password.clone();
        let password = blocking(move || {
            make_private(&directory)?;
            place.map(|place| crate::config::read_secret(&place, &environment)).transpose()
        });
        let password = password.await.map_err(ours)?;
        Ok(Judge::new(self.connector.anywhere(), spam, password, account.member.clone()))
    }

    /// Where messages wait on their way to a server.
    fn spool(&self) -> PathBuf {
        self.settings.daemon.state_directory.join("spool")
    }

    /// How folders are named in the account's mailbox; nothing is made.
    async fn naming(&self, account: &Account) -> Result<Naming, Failure> {
        match self.place(account)? {
            Place::Maildir(_) | Place::Delivery(_) => Ok(Naming::Maildir),
            Place::Server(_) => self.open_home(account).await?.naming().await,
        }
    }

    /// The room that the account's mailbox has; nothing is made to find out.
    async fn room(&self, account: &Account) -> Result<Room, Failure> {
        match self.place(account)? {
            Place::Maildir(path) => blocking(move || Ok(maildir::room(&path))).await,
            Place::Server(_) => match self.open_home(account).await? {
                Home::Server(server, _) => server.room().await,
                Home::Maildir(_) | Home::Delivery(..) => Ok(Room::default()),
            },
            // Nobody can ask there.
            Place::Delivery(_) => Ok(Room::default()),
        }
    }

    /// Where the account's mail comes home to.
    fn place(&self, account: &Account) -> Result<Place, Failure> {
        let filtered = matches!(&account.job, Job::Poll(poll) if poll.apply_filter);
        let lmtp = self.settings.destinations.get(&account.destination).and_then(Destination::lmtp);
        match lmtp.filter(|_| filtered) {
            Some(lmtp) => self.delivery(&account.member, &account.destination, lmtp),
            None => self.place_of(&account.member, &account.destination),
        }
    }

    /// A member's mailbox, past the member's filter where there is a way.
    fn place_of(&self, member: &Member, destination: &str) -> Result<Place, Failure> {
        let known = self.settings.destinations.get(destination);
        match known.map(|known| known.mailbox().unwrap_or(known)) {
            Some(Destination::Maildir { path }) => Ok(Place::Maildir(path_for(path, member))),
            Some(Destination::Imap(imap)) => Ok(Place::Server(Box::new(imap.source(member)))),
            Some(Destination::Lmtp(lmtp)) => self.delivery(member, destination, lmtp),
            None => Err(Failure::new(
                Kind::Destination,
                format!("there is no destination {destination}"),
                "define it in mailhaul.toml",
            )),
        }
    }

    fn delivery(&self, member: &Member, name: &str, lmtp: &LmtpDestination) -> Result<Place, Failure> {
        let (connector, at, slots) = (self.connector.anywhere(), lmtp.address.clone(), self.slots.to(name));
        Ok(Place::Delivery(Arc::new(Delivery::new(connector, at, member, slots)?)))
    }
}

/// Where an account's mailbox is.
enum Place {
    /// The root of a Maildir.
    Maildir(PathBuf),
    /// The member's login at a server.
    Server(Box<Source>),
    /// Where a server files the member's mail.
    Delivery(Arc<Delivery>),
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
