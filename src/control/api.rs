//! What the daemon and its clients agree on: the types, errors and calls of `io.mailhaul.Manager`.
//! Fields may be added, none may change its meaning. Times are RFC 3339 in UTC; what is not known is null.

use std::os::fd::OwnedFd;

use futures_util::Stream;
use serde::{Deserialize, Serialize};
use zlink::introspect::{CustomType, Type};

mod consent;
mod looks;
mod transfers;

pub use super::plan::{Planned, PlannedFolder};
pub use consent::Authorized;
pub use looks::{Checked, Looked};
pub use transfers::{BackedUp, LeftOut, PassedOver, Uploaded};

/// The name of the interface.
pub const INTERFACE: &str = "io.mailhaul.Manager";

/// An account, as `list` shows it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, CustomType)]
pub struct Account {
    /// Its name; for an invalid definition without one, `FILE:LINE`.
    pub name: String,
    /// The member whose mail it is.
    pub member: Option<String>,
    /// `pop3` or `imap`.
    pub protocol: Option<String>,
    /// `poll` or `migrate`.
    pub mode: Option<String>,
    /// `enabled`, `disabled`, `invalid` or `denied`.
    pub state: String,
    /// Why it is in that state, in words.
    pub reason: Option<String>,
    /// Failed runs since the last good one.
    pub consecutive_failures: u64,
    /// The last run that ended.
    pub last_run: Option<Run>,
    /// When it is polled next.
    pub next_run_at: Option<String>,
    /// Whether a poll runs now.
    pub running: bool,
    /// `HOST:PORT` of the source.
    pub source: Option<String>,
    /// The folder that a poll delivers into.
    pub mailbox: Option<String>,
    /// Where the mail goes, for people.
    pub destination: Option<String>,
    /// The keyword on each message, without `icon-`.
    pub icon: Option<String>,
    /// Where the definition stands: `FILE:LINE`.
    pub defined_in: Option<String>,
}

/// One run of a poll.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, CustomType)]
pub struct Run {
    /// When it began.
    pub started_at: Option<String>,
    /// When it ended.
    pub finished_at: Option<String>,
    /// `ok` or `failed`.
    pub result: String,
    /// Messages brought.
    pub imported: u64,
    /// Messages left out, each with a reason that `show` lists.
    pub skipped: u64,
    /// Messages that were here before.
    pub already_there: u64,
    /// Messages deleted at the source.
    pub deleted: u64,
    /// Octets brought.
    pub bytes: u64,
    /// What went wrong, and what to do.
    pub error: Option<String>,
    /// What else is to be known: what waits for the destination, what may be there twice.
    pub note: Option<String>,
    /// Part of the work was not done, and the run is no failed one: the note says why.
    pub unfinished: bool,
    /// What became of the messages, one by one.
    pub ledger: Ledger,
}

/// A migration, as `queue` and `history` show it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, CustomType)]
pub struct Migration {
    /// The account's name.
    pub name: String,
    /// `ready`, `queued`, `checking`, `running`, `retrying`, `paused`, `completed`, `failed`,
    /// `rolling-back`, `rolled-back` or `cancelled`.
    pub state: String,
    /// Its place in the queue, from 1; null if it is not there.
    pub position: Option<u64>,
    /// Folders at the source.
    pub folders_total: Option<u64>,
    /// Folders that are done.
    pub folders_done: u64,
    /// Messages at the source.
    pub messages_total: Option<u64>,
    /// Messages that are at the destination: brought by this run or there before.
    pub messages_done: u64,
    /// Messages left out on purpose, or vanished from the source meanwhile.
    pub messages_skipped: u64,
    /// Messages tried in vain.
    pub messages_failed: u64,
    /// Octets at the source, as it reports them.
    pub bytes_total: Option<u64>,
    /// Octets done, of those.
    pub bytes_done: u64,
    /// Messages that this run brought.
    pub messages_imported: u64,
    /// Messages that were there before.
    pub messages_already_there: u64,
    /// Messages that vanished from the source meanwhile.
    pub messages_vanished: u64,
    /// When the run began.
    pub started_at: Option<String>,
    /// When it ended.
    pub finished_at: Option<String>,
    /// What went wrong, in the server's own words where it spoke.
    pub error: Option<String>,
    /// The time of the next try, while `retrying`; of the next run, of one that repeats itself.
    pub next_try_at: Option<String>,
    /// Whether what came is still there, in words, for one that failed or was cancelled.
    pub outcome: Option<String>,
    /// What it waits for, in words; null where mail moves, and where it has ended.
    pub waits_for: Option<String>,
    /// What became of the messages of all folders, one by one.
    pub ledger: Ledger,
    /// What a look at the destination said at the end of a completed run.
    pub arrived: Option<Arrived>,
}

/// What became of messages: seen = imported + already_there + skipped + failed + vanished.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, CustomType)]
pub struct Ledger {
    /// Listed by the source.
    pub seen: u64,
    /// Brought by this run.
    pub imported: u64,
    /// At the destination before this run.
    pub already_there: u64,
    /// Left out on purpose.
    pub skipped: u64,
    /// Tried in vain.
    pub failed: u64,
    /// Gone from the source when they were asked for.
    pub vanished: u64,
    /// Whether the sum is right so far. A run cannot end as `completed` or `ok` while it is not.
    pub adds_up: bool,
}

/// A look at the destination by names and sizes, in messages.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, CustomType)]
pub struct Arrived {
    /// Brought by this run and there.
    pub here: u64,
    /// Brought by this run and not there any more.
    pub lost: u64,
    /// There more than once.
    pub duplicated: u64,
    /// With another size than when they came.
    pub altered: u64,
}

/// One folder of a migration.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, CustomType)]
pub struct Folder {
    /// Its name at the source.
    pub name: String,
    /// Its name at the destination.
    pub destination: String,
    /// `waiting`, `running`, `done` or `failed`.
    pub state: String,
    /// Messages at the source.
    pub messages_total: Option<u64>,
    /// Messages at the destination.
    pub messages_done: u64,
    /// Messages left out or vanished.
    pub messages_skipped: u64,
    /// Messages tried in vain.
    pub messages_failed: u64,
    /// What became of the messages, one by one.
    pub ledger: Ledger,
    /// What had to change on the way: a name, a keyword that does not fit.
    pub note: Option<String>,
}

/// A message that was not brought.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, CustomType)]
pub struct Skipped {
    /// The folder at the source.
    pub folder: String,
    /// Its UID or UIDL.
    pub id: String,
    /// Octets, where known.
    pub size: Option<u64>,
    /// Why.
    pub reason: String,
}

/// `GetStatus`
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Type)]
pub struct Status {
    /// The daemon's version.
    pub version: String,
    /// Up since.
    pub started_at: String,
    /// The daemon's process id.
    pub pid: u64,
    /// The user that it runs as.
    pub user: String,
    /// Accounts with automatic import, or migrations that may be started.
    pub enabled: u64,
    /// Accounts switched off.
    pub disabled: u64,
    /// Definitions that cannot be used.
    pub invalid: u64,
    /// Accounts that policy denies.
    pub denied: u64,
    /// Polls that run now.
    pub polls_running: u64,
    /// Migrations that run now.
    pub migrations_running: u64,
    /// Migrations that wait.
    pub migrations_waiting: u64,
    /// Uploads that run now.
    #[serde(default)]
    pub uploads_running: u64,
    /// Backups that run now.
    #[serde(default)]
    pub backups_running: u64,
    /// Messages brought since the start.
    pub messages_imported: u64,
    /// Octets brought since the start.
    pub bytes_imported: u64,
    /// Messages a second over the last minute.
    pub messages_per_second: f64,
    /// Octets a second over the last minute.
    pub bytes_per_second: f64,
    /// What a person should know: a journal rebuilt, a group missing.
    pub warnings: Vec<String>,
}

/// `ListAccounts`
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Type)]
pub struct Accounts {
    /// In the order of their names.
    #[serde(serialize_with = "super::aside::list")]
    pub accounts: Vec<Account>,
}

/// `ShowAccount`
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Type)]
pub struct Shown {
    /// The account.
    pub account: Account,
    /// For a migration.
    pub migration: Option<Migration>,
    /// For a migration, its folders.
    #[serde(serialize_with = "super::aside::list")]
    pub folders: Vec<Folder>,
    /// What was not brought, and why.
    #[serde(serialize_with = "super::aside::list")]
    pub skipped: Vec<Skipped>,
}

/// `Queue` and `History`
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Type)]
pub struct Migrations {
    /// The queue in its order; the history newest first.
    #[serde(serialize_with = "super::aside::list")]
    pub migrations: Vec<Migration>,
}

/// One reply of `Poll`: a run began or ended.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Type)]
pub struct Polled {
    /// The account.
    pub name: String,
    /// Null while it waits or runs.
    pub run: Option<Run>,
    /// Messages so far.
    pub messages_done: u64,
    /// Messages that this run has to bring, once known.
    pub messages_total: Option<u64>,
}

/// One reply of `Start` or `Watch`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Type)]
pub struct Progress {
    /// Migrations whose numbers changed, or all of them in the first reply.
    #[serde(serialize_with = "super::aside::list")]
    pub migrations: Vec<Migration>,
    /// Polls that run.
    #[serde(serialize_with = "super::aside::list")]
    pub polls: Vec<PollProgress>,
}

/// A poll that runs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, CustomType)]
pub struct PollProgress {
    /// The account.
    pub name: String,
    /// Messages so far.
    pub messages_done: u64,
    /// Messages that this run has to bring, once known.
    pub messages_total: Option<u64>,
    /// Octets so far.
    pub bytes_done: u64,
}

/// One reply of `Verify`: the numbers so far; the last one has the findings. In messages.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Type)]
pub struct Verified {
    /// The account.
    pub name: String,
    /// Whether both sides are alike; null until the end.
    pub ok: Option<bool>,
    /// Why they could not be compared.
    pub error: Option<String>,
    /// Folders compared so far.
    pub folders: u64,
    /// At the source.
    pub source: u64,
    /// The same on both sides.
    pub alike: u64,
    /// Those whose octets were read on both sides.
    pub read: u64,
    /// Brought, and not here any more.
    pub lost: u64,
    /// Here more than once.
    pub duplicated: u64,
    /// With other octets, size, flags, date or folder.
    pub altered: u64,
    /// Here in one of the migration's folders, and not at the source.
    pub foreign: u64,
    /// New at the source since the last run.
    pub not_brought: u64,
    /// Not given by the source, and so not compared.
    pub unread: u64,
    /// Left out by the last run, with reasons that `show` lists.
    pub left_out: u64,
    /// Here, and deleted at the source since.
    pub gone: u64,
    /// What was found; at most 10,000 are listed.
    #[serde(serialize_with = "super::aside::list")]
    pub findings: Vec<Finding>,
}

/// A message that is not as it should be.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, CustomType)]
pub struct Finding {
    /// The folder at the source.
    pub folder: String,
    /// UID or UIDL; for a foreign message its file name.
    pub id: String,
    /// `lost`, `duplicated`, `altered`, `foreign`, `not-brought` or `unread`.
    pub what: String,
    /// Octets, where known.
    pub size: Option<u64>,
    /// In words.
    pub reason: String,
}

/// `Enable`, `Disable`, `Pause`, `Resume`, `Cancel`: what is so now.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Type)]
pub struct Done {
    /// The account.
    pub name: String,
    /// Its state now.
    pub state: String,
}

/// `Reload`
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Type)]
pub struct Reloaded {
    /// The settings cannot be used: everything stays as it was.
    #[serde(default)]
    pub refused: bool,
    /// Good definitions that there are now.
    pub accounts: u64,
    /// Bad ones.
    pub invalid: u64,
    /// Every complaint, `FILE:LINE:COLUMN: KEY: what; what would be right`.
    #[serde(serialize_with = "super::aside::list")]
    pub errors: Vec<String>,
}

/// `Add`, `Set`, `Remove` and `BulkAdd`: what is there now, or what is wrong. Nothing is taken if anything is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Type)]
pub struct Defined {
    /// The accounts.
    #[serde(serialize_with = "super::aside::list")]
    pub names: Vec<String>,
    /// Everything that is wrong.
    #[serde(serialize_with = "super::aside::list")]
    pub errors: Vec<Wrong>,
}

/// Something that is wrong with a wish.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, CustomType)]
pub struct Wrong {
    /// An account's name, or `FILE:LINE:COLUMN`.
    pub place: String,
    /// What is wrong.
    pub what: String,
    /// What would be right.
    pub mend: String,
}

/// Why a call was refused.
#[derive(Debug, Clone, PartialEq, zlink::ReplyError, zlink::introspect::ReplyError)]
#[zlink(interface = "io.mailhaul.Manager")]
pub enum Error {
    /// No account has that name.
    NoSuchAccount {
        /// The name.
        name: String,
    },
    /// The caller is neither root, nor the daemon's user, nor in the control group; or is in that group alone and
    /// names a command, a file or a credential.
    NotPermitted {
        /// What was refused.
        what: String,
        /// What to do.
        mend: String,
    },
    /// The account is not in a state, or not of a kind, for that.
    Refused {
        /// The account.
        name: String,
        /// Why.
        what: String,
        /// What to do.
        mend: String,
    },
    /// The daemon could not do it.
    Failed {
        /// What happened.
        what: String,
        /// What to do.
        mend: String,
    },
}

/// The calls, for a client: `#[zlink(more)]` calls answer with a stream.
#[zlink::proxy("io.mailhaul.Manager")]
pub trait Manager {
    /// The daemon.
    async fn get_status(&mut self) -> zlink::Result<Result<Status, Error>>;
    /// Every account, or those in a state or of a member.
    async fn list_accounts(
        &mut self,
        state: Option<&str>,
        member: Option<&str>,
    ) -> zlink::Result<Result<Accounts, Error>>;
    /// One account whole.
    async fn show_account(&mut self, name: &str) -> zlink::Result<Result<Shown, Error>>;
    /// Connects, logs in, counts: a reply an account. No names: all.
    #[zlink(more)]
    async fn check(
        &mut self,
        names: &[&str],
    ) -> zlink::Result<impl Stream<Item = zlink::Result<Result<Checked, Error>>>>;
    /// The servers of an address, by what is known of its domain: a reply each that was looked at. `protocol`:
    /// that one alone.
    #[zlink(more)]
    async fn find(
        &mut self,
        address: &str,
        protocol: Option<&str>,
    ) -> zlink::Result<impl Stream<Item = zlink::Result<Result<Looked, Error>>>>;
    /// What migrations would do, without doing it: a reply a migration. `all`: every one that could be started.
    #[zlink(more)]
    async fn plan(
        &mut self,
        names: &[&str],
        all: bool,
    ) -> zlink::Result<impl Stream<Item = zlink::Result<Result<Planned, Error>>>>;
    /// Polls now; a reply when a run moves and when it ends. With `wait = false` one reply an account, at once.
    #[zlink(more)]
    async fn poll(
        &mut self,
        names: &[&str],
        all: bool,
        wait: bool,
    ) -> zlink::Result<impl Stream<Item = zlink::Result<Result<Polled, Error>>>>;
    /// Compares source and destination, message by message; with `bodies` octet by octet.
    #[zlink(more)]
    async fn verify(
        &mut self,
        name: &str,
        bodies: bool,
    ) -> zlink::Result<impl Stream<Item = zlink::Result<Result<Verified, Error>>>>;
    /// Asks the account's owner for consent (OAuth2), by a code or with a browser on the daemon's machine: a
    /// reply with what to open, and one at the end.
    #[zlink(more)]
    async fn authorize(
        &mut self,
        name: &str,
        browser: bool,
    ) -> zlink::Result<impl Stream<Item = zlink::Result<Result<Authorized, Error>>>>;
    /// Automatic import on; failures are forgotten.
    async fn enable(&mut self, name: &str) -> zlink::Result<Result<Done, Error>>;
    /// Automatic import off.
    async fn disable(&mut self, name: &str) -> zlink::Result<Result<Done, Error>>;
    /// Migrations into the queue; with `wait` replies until all of them have ended.
    #[zlink(more)]
    async fn start(
        &mut self,
        names: &[&str],
        all: bool,
        wait: bool,
    ) -> zlink::Result<impl Stream<Item = zlink::Result<Result<Progress, Error>>>>;
    /// One last run of migrations that repeat themselves; with `wait` replies until all of them have ended.
    #[zlink(more)]
    async fn finish(
        &mut self,
        names: &[&str],
        wait: bool,
    ) -> zlink::Result<impl Stream<Item = zlink::Result<Result<Progress, Error>>>>;
    /// Stops a migration where it is.
    async fn pause(&mut self, name: &str) -> zlink::Result<Result<Done, Error>>;
    /// Lets it go on.
    async fn resume(&mut self, name: &str) -> zlink::Result<Result<Done, Error>>;
    /// Ends it and puts the destination back, unless `keep`.
    async fn cancel(&mut self, name: &str, keep: bool) -> zlink::Result<Result<Done, Error>>;
    /// What waits and runs, in order.
    async fn queue(&mut self) -> zlink::Result<Result<Migrations, Error>>;
    /// What ended, newest first.
    async fn history(&mut self) -> zlink::Result<Result<Migrations, Error>>;
    /// Progress, a reply whenever something moved, until the caller hangs up.
    #[zlink(more)]
    async fn watch(
        &mut self,
        name: Option<&str>,
    ) -> zlink::Result<impl Stream<Item = zlink::Result<Result<Progress, Error>>>>;
    /// A new account: `KEY=VALUE`, or `poll` or `migrate`. `secrets` are the keys of passwords; each is the
    /// content of the descriptor at the same place.
    async fn add(
        &mut self,
        name: &str,
        keys: &[&str],
        secrets: &[&str],
        #[zlink(fds)] files: Vec<OwnedFd>,
    ) -> zlink::Result<Result<Defined, Error>>;
    /// Other values for some keys of an account that was added here; likewise.
    async fn set(
        &mut self,
        name: &str,
        keys: &[&str],
        secrets: &[&str],
        #[zlink(fds)] files: Vec<OwnedFd>,
    ) -> zlink::Result<Result<Defined, Error>>;
    /// An account that was added here goes, with its secrets and its progress.
    async fn remove(&mut self, name: &str) -> zlink::Result<Result<Defined, Error>>;
    /// The list in the one descriptor: all rows or none. `file` is its name for complaints; `format` is
    /// `konsoleh`, `yandex` or `mailhaul`; `keys` hold for every row, and `poll` among them says that they are
    /// polled.
    async fn bulk_add(
        &mut self,
        file: &str,
        format: &str,
        server: Option<&str>,
        domain: Option<&str>,
        keys: &[&str],
        #[zlink(fds)] files: Vec<OwnedFd>,
    ) -> zlink::Result<Result<Defined, Error>>;
    /// Messages, mailboxes and archives into a member's mailbox; `names` are the names of `files` for people.
    /// Without a `mailbox` folders are as the files have them. It ends when the caller hangs up.
    #[zlink(more)]
    async fn upload(
        &mut self,
        member: &str,
        mailbox: Option<&str>,
        destination: Option<&str>,
        names: &[&str],
        #[zlink(fds)] files: Vec<OwnedFd>,
    ) -> zlink::Result<impl Stream<Item = zlink::Result<Result<Uploaded, Error>>>>;
    /// A member's mailbox, or one folder, into the one file; `format` is `zip`, `mbox` or `maildir`. It ends
    /// when the caller hangs up.
    #[zlink(more)]
    async fn backup(
        &mut self,
        member: &str,
        mailbox: Option<&str>,
        destination: Option<&str>,
        format: &str,
        #[zlink(fds)] files: Vec<OwnedFd>,
    ) -> zlink::Result<impl Stream<Item = zlink::Result<Result<BackedUp, Error>>>>;
    /// Reads the definitions again.
    async fn reload(&mut self) -> zlink::Result<Result<Reloaded, Error>>;
}
