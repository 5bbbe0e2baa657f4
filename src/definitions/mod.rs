//! Definitions that come in through the control socket: `add`, `set`, `remove` and whole lists. What is
//! wanted is checked by the very code that checks files, together with everything that is there, and only
//! then are secrets sealed and a file written. It refuses a definition that stands in a file of the
//! administrator's, and writes nothing unless all of it is good.

mod files;
mod lists;
mod single;
mod unfinished;

pub use unfinished::settle;

use std::path::PathBuf;

use crate::account::{Account, Member};
use crate::bulk::Format;
use crate::config::{self, Environment, Loaded, Proposed};
use crate::failure::Failure;
use crate::provision::{self, Inventory, Wanted};
use crate::sealed::{Item, Vault};
use crate::secret::Secret;
use crate::settings::{Destination, Settings};

use unfinished::Aim;

/// What is wanted.
#[derive(Debug)]
pub enum Wish {
    /// A new account.
    Add(Single),
    /// Another value for some keys.
    Set(Single),
    /// It goes, with everything that is known of it.
    Remove(String),
    /// Many accounts, or none of them.
    Bulk(Bulk),
}

/// One account.
#[derive(Debug)]
pub struct Single {
    /// Its name.
    pub name: String,
    /// `KEY=VALUE`, or `poll` or `migrate`.
    pub keys: Vec<String>,
    /// The keys of passwords, and the passwords.
    pub secrets: Vec<(String, Secret)>,
}

/// A list.
#[derive(Debug)]
pub struct Bulk {
    /// Its name, for complaints.
    pub file: String,
    /// What is in it.
    pub octets: Secret,
    /// How it is written.
    pub format: Format,
    /// The server of all rows; otherwise each row names its own.
    pub server: Option<String>,
    /// The domain of logins that are no addresses.
    pub domain: Option<String>,
    /// To be polled, not migrated.
    pub poll: bool,
    /// `KEY=VALUE` for all rows.
    pub keys: Vec<String>,
}

/// What is wrong: an account's name or a place in a list, what, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    /// `NAME` or `FILE:LINE:COLUMN`.
    pub place: String,
    /// What is wrong.
    pub what: String,
    /// What would be right.
    pub mend: String,
}

impl Wrong {
    fn new(place: impl Into<String>, what: impl Into<String>, mend: impl Into<String>) -> Wrong {
        Wrong { place: place.into(), what: what.into(), mend: mend.into() }
    }
}

/// An account that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Its name.
    pub name: String,
    /// Where its definition stands.
    pub file: PathBuf,
    /// And in which line.
    pub line: usize,
}

/// A change that was found good.
#[derive(Debug)]
pub struct Change {
    /// The accounts that it is about.
    pub names: Vec<String>,
    /// Everything there will be.
    pub loaded: Loaded,
    file: Proposed,
    secrets: Vec<(String, Item, Secret)>,
    forgotten: Vec<(String, Item)>,
    aim: Aim,
}

/// What it takes to check and to write.
#[derive(Debug, Clone)]
pub struct Definitions {
    /// The settings file.
    pub config: PathBuf,
    /// What the service manager says about directories.
    pub environment: Environment,
    /// Where secrets are kept.
    pub vault: Vault,
    /// Where definitions that come in are kept.
    pub directory: PathBuf,
}

impl Definitions {
    /// Checks a wish. Waits for the disk.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn prepare(&self, wish: Wish, known: &[Known]) -> Result<Change, Vec<Wrong>> {
        match wish {
            Wish::Add(single) => self.add(single, known),
            Wish::Set(single) => self.set(single, known),
            Wish::Remove(name) => self.remove(&name, known),
            Wish::Bulk(bulk) => self.list(bulk, known),
        }
    }

    /// Writes it: secrets first, so that no definition is without its own. Whatever becomes of it, [`settle`]
    /// ends it.
    ///
    /// # Errors
    /// The state directory cannot be written.
    pub fn commit(&self, change: &Change) -> Result<(), Failure> {
        unfinished::begin(&self.directory, change.aim, &change.names)
            .map_err(|e| files::trouble(&self.directory, &e))?;
        self.vault
            .put_all(change.secrets.iter().map(|(name, item, secret)| (name.as_str(), *item, secret)))?;
        files::write(&change.file)?;
        change.forgotten.iter().try_for_each(|(name, item)| self.vault.remove(name, *item))
    }

    /// Reads everything as it would be.
    fn load(
        &self,
        propose: impl FnOnce(&config::Surroundings<'_>) -> Result<Proposed, Vec<Wrong>>,
    ) -> Result<(Loaded, Proposed), Vec<Wrong>> {
        let mut refused = Vec::new();
        let mut file = None;
        let loaded =
            config::load_with(&self.config, &self.environment, |surroundings| match propose(surroundings) {
                Ok(proposed) => {
                    file = Some(proposed.clone());
                    Ok(Some(proposed))
                }
                Err(wrong) => {
                    refused = wrong;
                    Err(Vec::new())
                }
            });
        match (loaded, file) {
            (Ok(loaded), Some(file)) => Ok((loaded, file)),
            (Err(complaints), _) if refused.is_empty() => Err(complaints
                .iter()
                .map(|c| {
                    Wrong::new(
                        format!("{}:{}:{}", c.file.display(), c.line, c.column),
                        format!("{}: {}", c.key, c.what),
                        &*c.mend,
                    )
                })
                .collect()),
            _ => Err(refused),
        }
    }
}

/// A file of ours for what is added now. Files are read in the order of their names: what was added first comes first.
fn new_file(settings: &Settings, what: &str) -> PathBuf {
    let stamp = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%S%3fZ");
    config::own_definitions(settings).join(format!("{stamp}-{what}.toml"))
}

/// Where a secret of that key is kept.
fn item(key: &str) -> Option<Item> {
    match key {
        "source.password" => Some(Item::Password),
        "new_mailbox.password" => Some(Item::MailboxPassword),
        _ => None,
    }
}

/// A mailbox that has to be there.
struct NewMailbox<'n> {
    /// Whose; `None`: that cannot be told, and a password that was given for it is judged all the same.
    member: Option<&'n Member>,
    destination: &'n str,
    /// The definition names a password for it that is not given now.
    password_elsewhere: bool,
}

impl<'n> NewMailbox<'n> {
    fn of(account: &'n Account) -> Self {
        NewMailbox {
            member: Some(&account.member),
            destination: &account.destination,
            password_elsewhere: account.new_mailbox.password.is_some(),
        }
    }
}

/// Why nothing new may be defined for a member, if policy says so.
fn denied(loaded: &Loaded, member: &Member) -> Option<String> {
    let allowed = loaded.settings.policy.of(&member.domain).external_import;
    (!allowed).then(|| format!("external import is denied for {} by policy", member.domain))
}

/// What passwords of missing mailboxes have to be like.
struct Makers<'s> {
    settings: &'s Settings,
    inventory: Option<Inventory>,
}

impl<'s> Makers<'s> {
    fn new(settings: &'s Settings) -> Result<Self, Failure> {
        let inventory = settings.provisioning.way.as_ref().map(Inventory::of).transpose()?;
        Ok(Makers { settings, inventory })
    }

    /// What is wrong with the password that a missing mailbox would be made with, and whose it is.
    fn wrong(
        &self,
        new: &NewMailbox<'_>,
        password: Option<&Secret>,
        mailbox: Option<&Secret>,
    ) -> Option<(&'static str, String)> {
        let way = self.settings.provisioning.way.as_ref()?;
        if let Some(member) = new.member {
            let path = match self.settings.destinations.get(new.destination)?.mailbox() {
                Some(Destination::Maildir { path }) => Some(PathBuf::from(member.fill(path))),
                _ => None,
            };
            let (first_name, last_name) = (String::new(), String::new());
            let wanted = Wanted { member: member.clone(), first_name, last_name, path };
            if self.inventory.as_ref()?.has(way, &wanted) {
                return None;
            }
        }
        let (key, secret, whose) = match (mailbox, password) {
            (Some(secret), _) => ("new_mailbox.password", secret, "its password"),
            (None, Some(secret)) if !new.password_elsewhere && new.member.is_some() => {
                ("source.password", secret, "no password was given for it, and that of the source")
            }
            _ => return None,
        };
        let broken = provision::broken_rules(&self.settings.provisioning.password_rules, secret);
        let words =
            || format!("the mailbox is to be made, and {whose} cannot be used: {}", broken.join(", "));
        (!broken.is_empty()).then(|| (key, words()))
    }
}
