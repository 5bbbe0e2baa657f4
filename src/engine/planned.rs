//! What a migration would do, without doing it: every folder with its place, what is there already and what
//! would come, what this source and this destination cannot carry. It changes nothing at either side (a folder that
//! is made for a look is gone before it ends), and refuses to guess a speed: only a provider's known limits are
//! counted.

use std::collections::{BTreeMap, BTreeSet};

use super::migrate::{arranged, below, folders_of};
use super::{Means, Place, belonging, blocking, gmail};
use crate::account::{Account, Job, Migrate, Protocol};
use crate::destination::landing::Order;
use crate::destination::maildir::{Folder, Mailbox, Origin};
use crate::destination::place::Naming;
use crate::failure::{Failure, Kind};
use crate::imap::{Care, Session, Software, SourceFolder};
use crate::journal::Side;
use crate::message::{FolderPath, UidSet};
use crate::settings::OnFailure;

/// So many folders of others are named.
const MOST_FOREIGN: usize = 20;

/// What would be done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Planned {
    /// As whom and where the login succeeded.
    pub login: String,
    /// What the source says that it can do, as far as it matters here.
    pub capabilities: Vec<String>,
    /// Folder by folder.
    pub folders: Vec<PlannedFolder>,
    /// Messages at the source.
    pub messages: u64,
    /// Octets, as the source tells them.
    pub bytes: u64,
    /// Of those messages, what would be brought now.
    pub new_messages: u64,
    /// Octets of those.
    pub new_bytes: u64,
    /// What the source cannot tell and the destination cannot carry, and what else should be known.
    pub notes: Vec<String>,
    /// Days that the source's daily limit makes of it, at least; `None`: no limit is known.
    pub days: Option<u64>,
    /// Octets that the destination has room for; `None`: no limit is known.
    pub room: Option<u64>,
}

/// One folder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PlannedFolder {
    /// Its name at the source.
    pub source: String,
    /// Its place at the destination.
    pub destination: String,
    /// It would be made.
    pub made: bool,
    /// Messages at the source.
    pub messages: u64,
    /// Octets.
    pub bytes: u64,
    /// Messages that would be brought now.
    pub new_messages: u64,
    /// What must change on the way.
    pub note: Option<String>,
}

/// Looks at both sides.
///
/// # Errors
/// Either side cannot be looked at.
pub(super) async fn planned(means: &Means, account: &Account) -> Result<Planned, Failure> {
    let Job::Migrate(work) = &account.job else {
        let mend = format!("run 'mailhaulctl check {}'", account.name);
        return Err(Failure::new(Kind::Unsupported, "it is polled and is not a migration", mend));
    };
    means.wanted(account).await?;
    let account = &belonging::in_its_era(means, account).await?;
    let naming = means.naming(account).await?;
    let mut planned = match account.source.protocol {
        Protocol::Pop3 => maildrop(means, account, work).await?,
        Protocol::Imap => mailbox(means, account, work, &naming).await?,
    };
    planned.login = account.source.login();
    for folder in &planned.folders {
        planned.messages += folder.messages;
        planned.bytes += folder.bytes;
        planned.new_messages += folder.new_messages;
    }
    if let Some(daily) = account.source.daily.filter(|daily| *daily > 0) {
        planned.days = Some(planned.new_bytes.div_ceil(daily).max(1));
    }
    if matches!(&naming, Naming::Server(layout) if layout.software == Software::Cyrus) {
        planned.notes.push(
            "the destination is Cyrus: unless munge8bit is off there, 8-bit characters in headers become X"
                .to_owned(),
        );
    }
    let room = means.room(account).await?;
    planned.room = room.octets;
    planned.notes.extend(room.lacks(planned.new_messages, planned.new_bytes));
    match means.place(account)? {
        Place::Maildir(_) => {}
        Place::Delivery(_) => planned.notes.extend(lost_by_lmtp(means.settings.migrations.on_failure)),
        Place::Server(_) => planned.notes.push(
            "the destination is a server: keywords that it does not keep, and octets that it changes, are \
             counted and reported"
                .to_owned(),
        ),
    }
    Ok(planned)
}

/// What LMTP cannot carry.
fn lost_by_lmtp(on_failure: OnFailure) -> Vec<String> {
    let mut notes = vec![
        "the destination is LMTP: dates, flags, keywords and folders are lost. Each message arrives as new, and \
         is filed by the member's own filter"
            .to_owned(),
        "LMTP cannot take anything back: there is no rollback, 'cancel' needs --keep, and 'verify' cannot look"
            .to_owned(),
    ];
    if on_failure != OnFailure::Keep {
        notes.push(
            "so it will not start: write on_failure = \"keep\" in [migrations] if that is meant".to_owned(),
        );
    }
    notes
}

async fn mailbox(
    means: &Means,
    account: &Account,
    work: &Migrate,
    naming: &Naming,
) -> Result<Planned, Failure> {
    let secret = means.secret(account).await?;
    let mut session: Session<Order> = Session::open(&means.connector, &account.source, &secret).await?;
    drop(secret);
    let is_gmail = session.can(gmail::CAPABILITY);
    let folders = arranged(session.folders().await?, is_gmail, account);
    let foreign = not_ours(session.foreign());
    let views = views(&folders);
    let paths = folders.iter().map(|folder| below(work, &folder.path)).collect();
    let (naming, there) = match naming {
        Naming::Server(_) => {
            let home = means.open_home(account).await?;
            (home.naming_of(&paths).await?, home.special_uses().await?)
        }
        Naming::Maildir => (Naming::Maildir, BTreeMap::new()),
    };
    let parts = folders_of(means, account, (&naming, there), folders, work, 0)?;
    let wanted: BTreeSet<String> = parts.iter().map(|part| part.record.directory.clone()).collect();
    let missing = missing(means, account, wanted).await?;
    let mut planned = Planned { capabilities: offered(session.capabilities()), ..Planned::default() };
    let mut unread = 0u64;
    if matches!(&naming, Naming::Server(layout) if layout.flat) {
        planned.notes.push(
            "a folder at the destination holds either messages or folders: the levels of names become one"
                .to_owned(),
        );
    }
    for part in parts {
        let mut folder = PlannedFolder {
            source: part.folder.path.to_string(),
            made: missing.contains(&part.record.directory),
            destination: part.record.destination,
            note: part.record.note.or_else(|| part.folder.broken.clone()),
            ..PlannedFolder::default()
        };
        if part.folder.broken.is_none() {
            match count(means, account, &mut session, &part.folder, &mut folder).await {
                Ok(new) => planned.new_bytes += new,
                Err(failure) if failure.kind == Kind::Folder => {
                    unread += 1;
                    folder.note = Some(format!("it cannot be read: {}", failure.words));
                }
                Err(failure) => return Err(failure),
            }
        }
        planned.folders.push(folder);
    }
    session.close().await;
    planned.notes.extend(foreign);
    planned.notes.extend(views.filter(|_| !is_gmail));
    if unread > 0 {
        planned.notes.push(format!("{unread} folders cannot be read: the rest would be brought"));
    }
    if is_gmail {
        planned.notes.push(
            "Gmail: a message with several labels is fetched once and is in each of their folders; All Mail \
             adds what no other folder has"
                .to_owned(),
        );
    }
    Ok(planned)
}

/// Folders of other people and shared ones, each with why it stays where it is.
pub(super) fn not_ours(foreign: &[FolderPath]) -> Vec<String> {
    let told = foreign.iter().take(MOST_FOREIGN);
    let mut notes: Vec<String> =
        told.map(|path| format!("{path}: not moved: it is another user's, or shared")).collect();
    if foreign.len() > MOST_FOREIGN {
        notes.push(format!(
            "and {} folders more of others, which are not moved",
            foreign.len() - MOST_FOREIGN
        ));
    }
    notes
}

/// Folders that show what is in other folders (RFC 6154, 2): everything comes twice with them.
pub(super) fn views(folders: &[SourceFolder]) -> Option<String> {
    let special = ["all", "flagged", "important"];
    let shows = |folder: &&SourceFolder| special.iter().any(|special| folder.uses.contains(*special));
    let views: Vec<&SourceFolder> = folders.iter().filter(shows).collect();
    if views.is_empty() || views.len() == folders.len() {
        return None;
    }
    let names: Vec<String> = views.iter().map(|folder| folder.path.to_string()).collect();
    let patterns: Vec<String> = special.iter().map(|special| format!("\"\\\\{special}\"")).collect();
    Some(format!(
        "{} may only show messages of the other folders, and then they come twice: exclude = [{}] leaves such folders out",
        names.join(", "),
        patterns.join(", ")
    ))
}

/// What matters here of what an IMAP server says of itself.
pub(super) fn offered(capabilities: &BTreeSet<String>) -> Vec<String> {
    const MATTER: [&str; 12] = [
        "CONDSTORE",
        "ID",
        "LIST-EXTENDED",
        "LITERAL+",
        "LITERAL-",
        "MULTIAPPEND",
        "NAMESPACE",
        "QRESYNC",
        "QUOTA",
        "SPECIAL-USE",
        "UIDPLUS",
        "X-GM-EXT-1",
    ];
    MATTER.into_iter().filter(|name| capabilities.contains(*name)).map(str::to_owned).collect()
}

/// Lists a folder; returns the octets of what would be brought.
async fn count(
    means: &Means,
    account: &Account,
    session: &mut Session<Order>,
    folder: &SourceFolder,
    planned: &mut PlannedFolder,
) -> Result<u64, Failure> {
    let key = Origin::imap(&account.name, &folder.wire, account.era).folder;
    let examined = session.examine(&folder.wire).await?;
    let listed = session.list_messages(examined, &mut Care::default()).await?;
    let same = means.journal.folders(&account.name)?.get(&key).map(|record| record.uidvalidity);
    let is_here = belonging::elsewhere(means, account)?.is_none();
    let done = match same {
        Some(uidvalidity) if uidvalidity == examined.uidvalidity && is_here => {
            means.journal.uids(&account.name, key, Side::Done)?
        }
        _ => UidSet::new(),
    };
    let mut new_bytes = 0;
    for (uid, size) in &listed.messages {
        planned.messages += 1;
        planned.bytes += u64::from(*size);
        if !done.contains(*uid) {
            planned.new_messages += 1;
            new_bytes += u64::from(*size);
        }
    }
    Ok(new_bytes)
}

async fn maildrop(means: &Means, account: &Account, work: &Migrate) -> Result<Planned, Failure> {
    let (session, listed) = super::maildrop::identified(means, account).await?;
    let capabilities = session.capabilities().names();
    let _ = session.quit().await;
    let known = match belonging::elsewhere(means, account)? {
        Some(_) => BTreeSet::new(),
        None => means.journal.identities(&account.name)?.0,
    };
    let levels = if work.into.is_empty() { FolderPath::inbox().0 } else { work.into.clone() };
    let naming = means.naming(account).await?;
    let place = super::maildrop::placed(&naming, &levels);
    let mut folder = PlannedFolder {
        source: "INBOX".to_owned(),
        destination: place.path.to_string(),
        made: !missing(means, account, [place.directory].into()).await?.is_empty(),
        note: place.note,
        ..PlannedFolder::default()
    };
    let mut new_bytes = 0;
    for (message, id) in listed {
        let size = message.size.unwrap_or(0);
        folder.messages += 1;
        folder.bytes += size;
        if id.is_none_or(|id| !known.contains(&id)) {
            folder.new_messages += 1;
            new_bytes += size;
        }
    }
    let notes = vec![
        "POP3 tells no folders, flags and dates: everything comes into one folder, unread, with the date of its \
         topmost Received line"
            .to_owned(),
    ];
    Ok(Planned { folders: vec![folder], capabilities, new_bytes, notes, ..Planned::default() })
}

/// Those of `names` that are not at the destination; nothing is made to find out.
async fn missing(
    means: &Means,
    account: &Account,
    names: BTreeSet<String>,
) -> Result<BTreeSet<String>, Failure> {
    match means.place(account)? {
        Place::Maildir(path) => {
            blocking(move || match Mailbox::open_existing(&path)? {
                Some(mailbox) => Ok(names.into_iter().filter(|n| !Folder::exists(&mailbox, n)).collect()),
                None => Ok(names),
            })
            .await
        }
        Place::Server(_) | Place::Delivery(_) => means.open_home(account).await?.missing(names).await,
    }
}
