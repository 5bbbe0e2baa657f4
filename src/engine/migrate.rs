//! One try of a migration: check, list, bring every folder over several connections, subscribe. A try that
//! breaks off leaves everything resumable. It refuses to end well while a folder is missing from the sum.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio_util::task::TaskTracker;

use super::arrival::arrived;
use super::at_server::{special_places, special_use};
use super::board::{Board, Part};
use super::budget::Budget;
use super::cares::Cares;
use super::counts::Counts;
use super::folder::{Brought, FolderWork, Listing};
use super::found::Found;
use super::gmail::{self, Map};
use super::meter::Meter;
use super::proof::Proofs;
use super::settle::Arrivals;
use super::strays::Search;
use super::tally::{FolderNumbers, RESIGNED, Tally};
use super::{Means, carry, cut, drain};
use crate::account::{Account, Job, Migrate, Poll, Protocol};
use crate::destination::Home;
use crate::destination::landing::Order;
use crate::destination::maildir::Origin;
use crate::destination::place::{Naming, place};
use crate::failure::{Failure, Kind, Reach};
use crate::imap::{Session, SourceFolder, matches, sum};
use crate::journal::{Changes, FolderRecord, FolderState, Side, SkippedRecord};
use crate::message::FolderPath;
use crate::migration::Ledger;

/// A folder that cannot be read is tried so often in one try of the migration.
const FOLDER_TRIES: u32 = 3;
/// One over which connections break is given up after so many of them.
const FOLDER_BREAKS: u32 = 3;
/// Before a folder is tried again and nothing else is left to do: so long for each try before.
const SPACE: Duration = Duration::from_secs(2);

/// Everything the workers of one try share.
pub(super) struct Shared {
    pub(super) means: Arc<Means>,
    pub(super) account: Arc<Account>,
    pub(super) home: Home,
    pub(super) meter: Arc<Meter>,
    pub(super) tally: Arc<Tally>,
    pub(super) landings: TaskTracker,
    pub(super) run: i64,
    pub(super) board: Arc<Board>,
    pub(super) cares: Arc<Cares>,
    /// It is a poll's, and not a migration's.
    pub(super) poll: Option<Poll>,
    /// The source is Gmail: which of its messages are the same.
    pub(super) gmail: Option<Map>,
    /// What may still be fetched today.
    pub(super) budget: Option<Budget>,
    /// Messages deleted at the source.
    pub(super) deleted: AtomicU64,
    /// The folder that was opened last.
    pub(super) opened: Mutex<Option<Vec<u8>>>,
    /// By which messages the source is known again.
    pub(super) proofs: Proofs,
}

/// What one try is given besides its account.
#[derive(Debug, Clone)]
pub(super) struct Try {
    /// The beginning of the run that it belongs to.
    pub(super) run: i64,
    /// Connections that it may have.
    pub(super) connections: usize,
    pub(super) meter: Arc<Meter>,
    pub(super) tally: Arc<Tally>,
    pub(super) landings: TaskTracker,
    pub(super) cares: Arc<Cares>,
    /// Tries in vain before this one, since something came last.
    pub(super) in_vain: u32,
}

/// One try.
///
/// # Errors
/// What ended it; what landed before is recorded.
pub(super) async fn migrate(
    means: Arc<Means>,
    account: Arc<Account>,
    work: &Migrate,
    this: Try,
) -> Result<(), Failure> {
    if account.source.protocol == Protocol::Pop3 {
        return drain::drain(&means, &account, work, this).await;
    }
    let Try { run, connections, meter, tally, landings, cares, in_vain } = this;
    tally.waits_for("the source: its login, and the list of its folders");
    let (mut session, folders) = means.imap_folders::<Order>(&account).await?;
    let at_source =
        folders.iter().map(|f| Origin::imap(&account.name, &f.wire, account.era).folder).collect();
    let gmail = session.can(gmail::CAPABILITY);
    let all = folders.len();
    let folders = arranged(folders, gmail, &account);
    if folders.is_empty() {
        return Err(none_fits(all, &account.job));
    }
    tally.checked(folders.len() as u64);
    let counts = Counts::of(&means, &account, &mut session, &folders).await?;
    tally.counted(sum(counts.each(), &folders));
    tally.waits_for("the destination: its login, and the list of its folders");
    let home = means.open_home(&account).await?;
    if in_vain >= RESIGNED {
        home.resign();
    }
    let mark = Origin::pop3(&account.name).account;
    home.remember(mark, run).await?;
    let naming = home.naming_of(&folders.iter().map(|folder| below(work, &folder.path)).collect()).await?;
    let parts = folders_of(&means, &account, (&naming, home.special_uses().await?), folders, work, run)?;
    let mut parts = intend(&means, &account, &home, parts).await?;
    counts.tell(&mut parts);
    let map = if gmail {
        let keys = parts
            .iter()
            .map(|part| (Origin::imap(&account.name, &part.folder.wire, account.era).folder, &part.folder));
        Some(Map::of(&mut session, keys).await?)
    } else {
        None
    };
    // Whoever subscribes nothing has readers that show everything; here not all of them do.
    let subscribes = parts.iter().any(|part| part.folder.subscribed && !part.folder.path.is_inbox());
    let subscribed: Vec<(u64, String)> = parts
        .iter()
        .filter(|part| part.folder.subscribed || (!subscribes && part.record.made))
        .map(|part| {
            (
                Origin::imap(&account.name, &part.folder.wire, account.era).folder,
                part.record.directory.clone(),
            )
        })
        .collect();
    let most = connections.min(account.source.max_connections.unwrap_or(usize::MAX)).min(parts.len()).max(1);
    let known = parts.iter().any(|part| part.record.uidvalidity != 0);
    let search = Search { means: Arc::clone(&means), account: account.name.clone(), home: home.clone() };
    let survey = known || search.any().await?;
    let board = Board::new(parts, survey, gmail, at_source, search);
    let shared = Arc::new(Shared {
        means: Arc::clone(&means),
        account: Arc::clone(&account),
        home: home.clone(),
        meter,
        tally: Arc::clone(&tally),
        landings,
        run,
        board,
        cares,
        poll: None,
        gmail: map,
        budget: Budget::of(&means, &account)?,
        deleted: AtomicU64::new(0),
        opened: Mutex::default(),
        proofs: Proofs::default(),
    });
    let worked = work_all(&shared, session, most).await;
    let mut changes = Changes::default();
    shared.proofs.tell(&account.name, &mut changes);
    means.journal.commit(changes).await?;
    worked?;
    tally.not_all_refused(in_vain)?;
    tally.waits_for("the destination: a last look at what came");
    if tally.sums().ledger.imported > 0 {
        look_again(&means, &account, &home, &tally).await?;
    }
    subscribe_all(&means, &account, &home, subscribed).await?;
    home.done(mark).await
}

/// The look at the destination at the end. What is not there any more was durable when it was recorded:
/// somebody took it away since. That is told, and is not undone against the member's will.
pub(super) async fn look_again(
    means: &Means,
    account: &Account,
    home: &Home,
    tally: &Tally,
) -> Result<(), Failure> {
    if let Home::Delivery(..) = home {
        // Nobody can look.
        return Ok(());
    }
    let arrived = arrived(means, account, home).await?;
    if arrived.lost + arrived.duplicated + arrived.altered > 0 {
        tracing::warn!(
            MIGRATION = account.name,
            MEMBER = account.member.to_string(),
            "of what this run brought, {} messages are not here any more, {} are here more than once, and {} \
             have another size: 'mailhaulctl verify {}' tells which",
            arrived.lost,
            arrived.duplicated,
            arrived.altered,
            account.name
        );
    }
    tally.arrived(arrived);
    Ok(())
}

/// The folders that the definition asks for.
pub(super) fn chosen(folders: Vec<SourceFolder>, job: &Job) -> Vec<SourceFolder> {
    let (include, exclude) = match job {
        Job::Poll(work) => (&work.folders, [].as_slice()),
        Job::Migrate(work) => (&work.include, work.exclude.as_slice()),
    };
    folders
        .into_iter()
        .filter(|folder| {
            include.iter().any(|p| matches(p, folder)) && !exclude.iter().any(|p| matches(p, folder))
        })
        .collect()
}

/// None of so many folders was chosen.
pub(super) fn none_fits(all: usize, job: &Job) -> Failure {
    let (keys, mend) = match job {
        Job::Poll(_) => ("folders", "change it"),
        Job::Migrate(_) => ("include and exclude", "change them"),
    };
    let words = format!("none of the {all} folders of the source fits {keys}");
    Failure::new(Kind::Unsupported, words, format!("{mend}; 'mailhaulctl check' shows the folders"))
}

/// What is chosen, as a Gmail account needs it.
pub(super) fn arranged(folders: Vec<SourceFolder>, gmail: bool, account: &Account) -> Vec<SourceFolder> {
    if !gmail {
        return chosen(folders, &account.job);
    }
    let (folders, aside) = gmail::arrange(&folders, chosen(folders.clone(), &account.job));
    for (path, why) in aside {
        tracing::info!(MIGRATION = account.name, FOLDER = path.to_string(), "not moved: {why}");
    }
    folders
}

/// Gives every folder its place; a place that an earlier run gave is kept. `there`: see [`Home::special_uses`].
pub(super) fn folders_of(
    means: &Means,
    account: &Account,
    (naming, there): (&Naming, BTreeMap<String, Vec<FolderPath>>),
    folders: Vec<SourceFolder>,
    work: &Migrate,
    run: i64,
) -> Result<VecDeque<Part>, Failure> {
    let mut records = means.journal.folders(&account.name)?;
    let key = |folder: &SourceFolder| Origin::imap(&account.name, &folder.wire, account.era).folder;
    let special = if work.into.is_empty() { special_places(&folders, &there) } else { BTreeMap::new() };
    let paths: Vec<(u64, FolderPath)> = folders
        .iter()
        .map(|folder| {
            if let Some(path) = special.get(&folder.wire) {
                return (key(folder), path.clone());
            }
            (key(folder), below(work, &folder.path))
        })
        .collect();
    let taken = taken(&records, &folders.iter().map(|f| (shorten(&f.path.to_string()), key(f))).collect());
    let mut places = place(naming, &paths, &taken);
    let mut parts = VecDeque::new();
    for folder in folders {
        let Some(placed) = places.remove(&key(&folder)) else { continue };
        let moved = special.get(&folder.wire).zip(special_use(&folder));
        let moved = moved.map(|(path, special)| format!("\\{special} is {path} at the destination"));
        let note = match (&folder.note, placed.note.or(moved)) {
            (Some(a), Some(b)) => Some(format!("{a}; {b}")),
            (a, b) => b.or_else(|| a.clone()),
        };
        let old = records.remove(&key(&folder)).unwrap_or_default();
        let record = FolderRecord {
            name: shorten(&folder.path.to_string()),
            directory: placed.directory,
            destination: cut(&placed.path.to_string()),
            note: note.map(|n| cut(&n)),
            run,
            state: FolderState::Waiting,
            ledger: Ledger::default(),
            ..old
        };
        parts.push_back(Part {
            folder,
            record,
            tries: 0,
            listing: Listing::Whole,
            counted: None,
            silent: false,
            again: false,
        });
    }
    Ok(parts)
}

/// Where a folder of the source is to go: the inbox is what stands above the others.
pub(super) fn below(work: &Migrate, path: &FolderPath) -> FolderPath {
    let mut levels = work.into.clone();
    if levels.is_empty() || !path.is_inbox() {
        levels.extend(path.0.iter().cloned());
    }
    FolderPath(levels)
}

/// The places that earlier runs gave. What was brought from another mailbox gives its place to the folder that has its
/// name now; `now`: the folders' keys by name.
fn taken(records: &BTreeMap<u64, FolderRecord>, now: &BTreeMap<String, u64>) -> BTreeMap<u64, String> {
    let mut known: Vec<(&u64, &FolderRecord)> =
        records.iter().filter(|(_, record)| record.uidvalidity != 0).collect();
    known.sort_by_key(|(_, record)| record.run);
    let keys: BTreeSet<u64> = now.values().copied().collect();
    let (here, gone): (Vec<_>, Vec<_>) = known.into_iter().partition(|(key, _)| keys.contains(key));
    let inherited = gone.into_iter().map(|(key, record)| (now.get(&record.name).unwrap_or(key), record));
    inherited.chain(here).map(|(key, record)| (*key, record.directory.clone())).collect()
}

/// Folders that are missing are recorded as made before they are: whoever stops us in between, a rollback
/// knows of them.
async fn intend(
    means: &Means,
    account: &Account,
    home: &Home,
    mut parts: VecDeque<Part>,
) -> Result<VecDeque<Part>, Failure> {
    let unmade = parts.iter().filter(|part| !part.record.made);
    let missing = home.missing(unmade.map(|part| part.record.directory.clone()).collect()).await?;
    let above = home.missing_above(&missing).await?;
    let mut changes = Changes::default();
    for part in parts.iter_mut().filter(|part| missing.contains(&part.record.directory)) {
        part.record.made = true;
        part.record.above = above.get(&part.record.directory).copied().unwrap_or(0);
        changes.folder(
            &account.name,
            Origin::imap(&account.name, &part.folder.wire, account.era).folder,
            &part.record,
        );
    }
    means.journal.commit(changes).await?;
    Ok(parts)
}

/// A name as it is, as far as a record has room; whoever prints it makes its control characters visible.
fn shorten(name: &str) -> String {
    name.chars().take(200).collect()
}

/// Runs the workers. The first session is one worker's; the others open their own, and one that cannot,
/// because the server allows no more, is only one worker less.
pub(super) async fn work_all(
    shared: &Arc<Shared>,
    session: Session<Order>,
    most: usize,
) -> Result<(), Failure> {
    let mut workers = tokio::task::JoinSet::new();
    workers.spawn(worker(Arc::clone(shared), session));
    for _ in 1..most {
        let shared = Arc::clone(shared);
        workers.spawn(async move {
            match shared.means.imap(&shared.account).await {
                Ok(session) => worker(shared, session).await,
                Err(failure) => {
                    tracing::debug!(ACCOUNT = shared.account.name, "one connection less: {failure}");
                    shared.tally.refused();
                    Ok(())
                }
            }
        });
    }
    let mut failed: Option<Failure> = None;
    while let Some(ended) = workers.join_next().await {
        let result = ended.unwrap_or_else(|e| {
            Err(Failure::new(
                Kind::Protocol,
                format!("a transfer ended unexpectedly: {e}"),
                "it is tried again",
            ))
        });
        if let Err(failure) = result {
            if failure.reach() == Reach::Us {
                // Our own side fails for all alike.
                workers.abort_all();
            }
            failed.get_or_insert(failure);
        }
    }
    let left = shared.board.left();
    match failed {
        // The other workers may have brought what the broken one left.
        Some(failure) if left > 0 || failure.reach() == Reach::Us => Err(failure),
        Some(_) | None if left == 0 => Ok(()),
        _ => Err(Failure::new(Kind::Protocol, "folders are left over", "it is tried again")),
    }
}

async fn worker(shared: Arc<Shared>, mut session: Session<Order>) -> Result<(), Failure> {
    let landing = shared.means.land(&shared.account, &shared.home, &shared.landings).await?;
    let came = Arrivals::default();
    let work = FolderWork {
        journal: &shared.means.journal,
        account: &shared.account.name,
        era: shared.account.era,
        member: &shared.account.member,
        landing: &landing,
        home: &shared.home,
        meter: &shared.meter,
        tally: &shared.tally,
        run: shared.run,
        board: &shared.board,
        cares: &shared.cares,
        poll: shared.poll.as_ref(),
        gmail: shared.gmail.as_ref(),
        budget: shared.budget.as_ref(),
        proofs: &shared.proofs,
        came: &came,
        limit: shared.poll.as_ref().and(shared.means.settings.polling.max_message_size),
    };
    while let Some(mut claim) = shared.board.next().await? {
        let Some(part) = claim.part() else { continue };
        if let Some(why) = &part.folder.broken {
            give_up(&shared, part, (Kind::Folder, &not_read(why)), part.unread()).await?;
            claim.finish();
            continue;
        }
        shared.tally.waits_for(format!("folder {}", shorten(&part.folder.path.to_string())));
        let brought = work.bring(&mut session, part).await;
        if matches!(brought, Ok(Brought::Done | Brought::Later)) {
            shared.opens(&part.folder.wire);
        }
        match brought {
            Ok(Brought::Done) => {
                session = shared.settle(&work, session, part).await?;
                claim.finish();
            }
            Ok(Brought::Later) => claim.put_off(),
            Ok(Brought::Again) => part.again = true,
            Ok(Brought::NoPlace(words, ledger)) => {
                part.tries += 1;
                if part.tries >= FOLDER_TRIES {
                    let why = format!("at the destination {words}");
                    give_up(&shared, part, (Kind::Destination, &why), ledger).await?;
                    claim.finish();
                }
            }
            Ok(Brought::Broke(failure, true)) => session = shared.again(&part.folder, &failure).await?,
            Ok(Brought::Broke(failure, false)) => {
                let reason = not_read(&failure.words);
                // A silence was waited for.
                let weight = 1 + u32::from(failure.kind == Kind::Stalled);
                session = shared.another(&part.folder.wire, failure).await?;
                part.tries += weight;
                if part.tries >= FOLDER_BREAKS {
                    give_up(&shared, part, (Kind::Unavailable, &reason), part.unread()).await?;
                    claim.finish();
                }
            }
            Err(failure)
                if failure.reach() == Reach::Folder
                    || shared.is_its_own(&mut session, &part.folder.wire, &failure).await =>
            {
                part.tries += 1;
                if part.tries >= FOLDER_TRIES {
                    give_up(&shared, part, (Kind::Folder, &not_read(&failure.words)), part.unread()).await?;
                    claim.finish();
                } else if shared.board.other_than(&part.folder.wire).is_none() {
                    // Whoever is busy has longer.
                    let space = if failure.asks_for_less() { 3 * SPACE } else { SPACE };
                    tokio::time::sleep(space * part.tries).await;
                }
            }
            Err(failure) => return Err(failure),
        }
    }
    session.close().await;
    Ok(())
}

fn not_read(words: &str) -> String {
    format!("the folder cannot be read: {words}")
}

/// A folder that nothing comes from: told, and counted.
async fn give_up(
    shared: &Shared,
    part: &Part,
    (kind, reason): (Kind, &str),
    ledger: Ledger,
) -> Result<(), Failure> {
    let key = Origin::imap(&shared.account.name, &part.folder.wire, shared.account.era).folder;
    tracing::warn!(
        MIGRATION = shared.account.name,
        MEMBER = shared.account.member.to_string(),
        FOLDER = part.folder.path.to_string(),
        "{reason}"
    );
    let record =
        FolderRecord { state: FolderState::Failed, ledger, note: Some(cut(reason)), ..part.record.clone() };
    let mut changes = Changes::default();
    let skipped = SkippedRecord {
        folder: shorten(&part.folder.path.to_string()),
        id: "(folder)".to_owned(),
        size: None,
        reason: cut(reason),
        for_good: false,
    };
    changes.skipped(&shared.account.name, key, "folder", &skipped);
    changes.folder(&shared.account.name, key, &record);
    shared.means.journal.commit(changes).await?;
    let numbers = FolderNumbers { ledger, done: true, ..FolderNumbers::default() };
    shared.tally.set(key, numbers);
    if ledger.seen == 0 {
        shared.tally.unread(&format!("{}: {reason}", part.folder.path));
    }
    shared.tally.hindered(ledger.failed, Failure::new(kind, reason, "it is tried again"));
    Ok(())
}

/// As with folders, the journal knows first.
pub(super) async fn subscribe_all(
    means: &Means,
    account: &Account,
    home: &Home,
    wanted: Vec<(u64, String)>,
) -> Result<(), Failure> {
    let directories: Vec<String> = wanted.iter().map(|(_, directory)| directory.clone()).collect();
    let missing = home.unsubscribed(directories).await?;
    if missing.is_empty() {
        return Ok(());
    }
    // Recorded before it is done: a rollback after a crash must know.
    let mut records = means.journal.folders(&account.name)?;
    let mut changes = Changes::default();
    for (key, directory) in wanted {
        if let Some(record) = records.get_mut(&key).filter(|_| missing.contains(&directory)) {
            record.subscribed = true;
            changes.folder(&account.name, key, record);
        }
    }
    means.journal.commit(changes).await?;
    home.subscribe(missing).await
}

/// A new run begins: what is here now is what a rollback goes back to.
///
/// # Errors
/// The journal cannot be written.
pub(super) fn begin(
    means: &Means,
    account: &Account,
    found: &Found,
    changes: &mut Changes,
) -> Result<(), Failure> {
    let protocol = account.source.protocol;
    let mark = Origin::pop3(&account.name).account;
    changes.run_for(&account.member.to_string(), mark, &account.name);
    let account = account.name.as_str();
    if protocol == Protocol::Pop3 {
        drain::begin(means, account, &found.ids, changes)?;
    }
    let mut records = BTreeMap::new();
    for (key, mut record) in means.journal.folders(account)? {
        let done = means.journal.uids(account, key, Side::Done)?;
        changes.uids(account, key, Side::Before, &done);
        changes.uids(account, key, Side::PlacedBefore, &means.journal.uids(account, key, Side::Placed)?);
        carry::forget(means, account, key, changes)?;
        record.before = record.uidvalidity;
        record.made = false;
        record.above = 0;
        record.subscribed = false;
        record.letters = None;
        record.state = FolderState::Waiting;
        record.ledger = Ledger::default();
        changes.folder(account, key, &record);
        records.insert(key, (record, done));
    }
    found.tell(account, &records, changes);
    for (key, id, _) in means.journal.skipped(account)? {
        changes.not_skipped(account, key, &id);
    }
    means.journal.forgive(account, changes)
}
