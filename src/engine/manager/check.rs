//! Looking before anything starts: connect, log in, count, and see that the destination can be written. It
//! refuses to change anything at the source, and makes nothing at the destination.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;

use super::super::counts::Counts;
use super::super::gmail;
use super::super::maildrop::{self, placed};
use super::super::migrate::{below, chosen, folders_of};
use super::super::planned::{Planned, not_ours, offered, planned, views};
use super::super::{Means, Place, blocking};
use super::doors::shut;
use super::state::Entry;
use super::{Manager, Refusal};
use crate::account::{Account, Job, Protocol};
use crate::destination::landing::Order;
use crate::destination::maildir::Mailbox;
use crate::destination::place::Naming;
use crate::destination::{Home, nameless};
use crate::failure::{Failure, Kind};
use crate::imap::{self, SourceFolder};
use crate::message::FolderPath;
use crate::settings::WhenAway;
use crate::spam::Letter;

/// A message that a judge of spam is asked about.
const QUESTION: &[u8] =
    b"From: mailhaul@localhost\r\nTo: mailhaul@localhost\r\nSubject: check\r\n\r\nA check.\r\n";
/// So many names that must change are told; the plan tells them all.
const MOST_NOTES: usize = 20;

/// What a check found.
#[derive(Debug, Clone, Default)]
pub struct Checked {
    /// As whom and where the login succeeded.
    pub login: String,
    /// What the source says that it can do, as far as it matters here.
    pub capabilities: Vec<String>,
    /// Folders at the source.
    pub folders: Option<u64>,
    /// Messages at the source.
    pub messages: Option<u64>,
    /// Octets at the source.
    pub bytes: Option<u64>,
    /// Octets that the destination has room for; `None`: no limit is known.
    pub room: Option<u64>,
    /// What should be known before a start.
    pub notes: Vec<String>,
    /// Folders at the source that do not open, in words.
    pub shut: Vec<String>,
}

impl Manager {
    /// The accounts to check; no names: all of them.
    ///
    /// # Errors
    /// Which name it was.
    pub fn to_check(&self, names: &[String]) -> Result<Vec<Arc<Account>>, Refusal> {
        let state = self.lock();
        if names.is_empty() {
            return Ok(state.entries.values().map(|entry| Arc::clone(&entry.account)).collect());
        }
        names
            .iter()
            .map(|name| match state.entries.get(name) {
                Some(Entry { account, .. }) => Ok(Arc::clone(account)),
                None => Err(state.unknown(name)),
            })
            .collect()
    }

    /// The migrations to plan; `all`: every one that could be started.
    ///
    /// # Errors
    /// Which name it was.
    pub fn to_plan(&self, names: &[String], all: bool) -> Result<Vec<Arc<Account>>, Refusal> {
        let mut state = self.lock();
        let names: Vec<String> = if all { state.startable() } else { names.to_vec() };
        let mut accounts = Vec::new();
        for name in &names {
            if let Some(refusal) = state.denied(name) {
                return Err(refusal);
            }
            match state.migration(name) {
                Some((account, _)) => accounts.push(Arc::clone(account)),
                None => return Err(state.not_migrated(name)),
            }
        }
        Ok(accounts)
    }

    /// What a migration would do.
    ///
    /// # Errors
    /// The cause, and what to do.
    pub async fn plan(&self, account: &Account) -> Result<Planned, Failure> {
        planned(&self.means(), account).await
    }

    /// Checks one account.
    ///
    /// # Errors
    /// The cause, and what to do.
    pub async fn check(&self, account: &Account) -> Result<Checked, Failure> {
        let means = self.means();
        if let Some(Refusal::Refused(_, what, mend)) = self.lock().denied(&account.name) {
            return Err(Failure::new(Kind::Unsupported, what, mend));
        }
        let (mut found, folders) = match account.source.protocol {
            Protocol::Pop3 => (check_pop3(&means, account).await?, Vec::new()),
            Protocol::Imap => check_imap(&means, account).await?,
        };
        means.wanted(account).await?;
        match means.place(account)? {
            // Opening an existing mailbox also says whether it can be written.
            Place::Maildir(path) => blocking(move || Mailbox::open_existing(&path).map(drop)).await?,
            Place::Delivery(to) => to.ask().await?,
            Place::Server(_) => {
                if let Home::Server(server, _) = means.open_home(account).await? {
                    server.try_inbox().await?;
                }
            }
        }
        found.notes.extend(ask_judge(&means, account).await?);
        let naming = match (means.place(account)?, &account.job) {
            (Place::Server(_), Job::Migrate(work)) if !folders.is_empty() => {
                let paths = folders.iter().map(|folder| below(work, &folder.path)).collect();
                means.open_home(account).await?.naming_of(&paths).await?
            }
            _ => means.naming(account).await?,
        };
        found.notes.extend(renamed(&means, account, folders, &naming)?);
        let room = means.room(account).await?;
        found.room = room.octets;
        // What an account has brought already needs no room any more: a start or a poll tells.
        if means.journal.folders(&account.name)?.is_empty() {
            found.notes.extend(room.lacks(found.messages.unwrap_or(0), found.bytes.unwrap_or(0)));
        }
        Ok(found)
    }
}

/// Asks about a message of our own, if what is spam is to be found out. A note: it cannot be, and messages come all the same.
async fn ask_judge(means: &Means, account: &Account) -> Result<Option<String>, Failure> {
    if !matches!(&account.job, Job::Poll(poll) if poll.apply_spam) {
        return Ok(None);
    }
    let judge = means.judge(account).await?;
    let spool = means.spool();
    let written = blocking(move || {
        let file = nameless(&spool).and_then(|mut file| file.write_all(QUESTION).map(|()| file));
        file.map_err(|e| Failure::new(Kind::Destination, format!("the spool cannot be used: {e}"), ""))
    });
    let letter = Letter { file: Arc::new(written.await?), offset: 0, octets: QUESTION.len() as u64 };
    match judge.judge(letter).await {
        Ok(_) => Ok(None),
        Err(failure) if judge.settings().when_away == WhenAway::Pass => Ok(Some(failure.words)),
        Err(failure) => Err(failure),
    }
}

async fn check_pop3(means: &Means, account: &Account) -> Result<Checked, Failure> {
    let (session, listed) = maildrop::listed(means, account).await?;
    let limit = match account.job {
        Job::Poll(_) => means.settings.polling.max_message_size.unwrap_or(u64::MAX),
        Job::Migrate(_) => u64::MAX,
    };
    let large = listed.iter().filter(|m| m.size.is_some_and(|size| size > limit)).count();
    let unnamed = listed.iter().filter(|m| m.uidl.is_none()).count();
    let capabilities = session.capabilities().names();
    let _ = session.quit().await;
    let mut notes = Vec::new();
    if large > 0 {
        notes.push(format!("{large} messages are larger than max_message_size and will be skipped"));
    }
    if unnamed > 0 {
        notes.push(format!("{unnamed} messages have no UIDL and are told apart by their headers"));
    }
    Ok(Checked {
        login: account.source.login(),
        capabilities,
        folders: None,
        messages: Some(listed.len() as u64),
        bytes: Some(listed.iter().filter_map(|m| m.size).sum()),
        room: None,
        notes,
        shut: Vec::new(),
    })
}

async fn check_imap(means: &Means, account: &Account) -> Result<(Checked, Vec<SourceFolder>), Failure> {
    let (mut session, folders) = means.imap_folders::<Order>(account).await?;
    let chosen = chosen(folders.clone(), &account.job);
    let is_gmail = matches!(account.job, Job::Migrate(_)) && session.can(gmail::CAPABILITY);
    let (folders, aside) = if is_gmail { gmail::arrange(&folders, chosen) } else { (chosen, Vec::new()) };
    let counts = Counts::of(means, account, &mut session, &folders).await?;
    let messages = imap::sum(counts.each(), &folders);
    let shut = shut(means, account, &mut session, &folders, &counts).await?;
    let capabilities = offered(session.capabilities());
    let foreign = not_ours(session.foreign());
    session.close().await;
    let mut notes: Vec<String> =
        folders.iter().filter_map(|f| f.note.as_ref().map(|note| format!("{}: {note}", f.path))).collect();
    notes.extend(aside.into_iter().map(|(path, why)| format!("{path}: not moved: {why}")));
    notes.extend(foreign);
    notes.extend(views(&folders).filter(|_| !is_gmail));
    let found = Checked {
        login: account.source.login(),
        capabilities,
        folders: Some(folders.len() as u64),
        messages,
        bytes: None,
        room: None,
        notes,
        shut,
    };
    Ok((found, folders))
}

/// The names that must change at the destination.
fn renamed(
    means: &Means,
    account: &Account,
    folders: Vec<SourceFolder>,
    naming: &Naming,
) -> Result<Vec<String>, Failure> {
    let into = match &account.job {
        Job::Migrate(work) if account.source.protocol == Protocol::Imap => {
            let parts = folders_of(means, account, (naming, BTreeMap::new()), folders, work, 0)?;
            let mut notes: Vec<String> = parts
                .into_iter()
                .filter(|part| part.record.note != part.folder.note)
                .filter_map(|part| Some(format!("{}: {}", part.folder.path, part.record.note?)))
                .collect();
            if notes.len() > MOST_NOTES {
                let more = notes.split_off(MOST_NOTES).len();
                notes.push(format!("and {more} folders more, which 'mailhaulctl start --dry-run' shows"));
            }
            return Ok(notes);
        }
        Job::Migrate(work) => &work.into,
        Job::Poll(work) => &work.mailbox,
    };
    if into.is_empty() {
        return Ok(Vec::new());
    }
    let note = placed(naming, into).note;
    Ok(note.map(|note| format!("{}: {note}", FolderPath(into.clone()))).into_iter().collect())
}
