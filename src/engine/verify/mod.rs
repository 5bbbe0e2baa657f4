//! Source and destination side by side, message by message: what is missing here, here twice, changed, or
//! unknown to the source. It refuses to change either side, and to call alike what it could not look at.

mod at_server;
mod bodies;
mod compare;
mod here;
mod mail;
mod unnamed;

use std::collections::{BTreeMap, BTreeSet};

use self::compare::{Compared, Doubt, Known, Side, There, compare, finish, not_given, shown, tell};
use self::here::Copy;
use self::mail::Mail;
use self::unnamed::Unnamed;
use super::reconnect::{its_own, leaves_others};
use super::{Means, belonging, gmail, identity, listed, maildrop, migrate};
use crate::account::{Account, Job, Protocol};
use crate::destination::fingerprint::{Fingerprint, Print};
use crate::destination::maildir::Origin;
use crate::failure::{Failure, Kind};
use crate::imap::{Session, SourceFolder};
use crate::journal::Side as Set;
use crate::message::{FolderPath, MessageRef, Parcel};

/// So many findings are listed; the numbers count all of them.
pub(super) const MOST_FINDINGS: usize = 10_000;

/// What is wrong with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// It was brought and is not here.
    Lost,
    /// It is here more than once.
    Duplicated,
    /// Octets, size, flags, date or folder are not those of the source.
    Altered,
    /// It is here and the source does not have it.
    Foreign,
    /// It is new at the source since the last run.
    NotBrought,
    /// The source or the destination does not give it, so it could not be compared.
    Unread,
}

impl What {
    /// As the control protocol writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            What::Lost => "lost",
            What::Duplicated => "duplicated",
            What::Altered => "altered",
            What::Foreign => "foreign",
            What::NotBrought => "not-brought",
            What::Unread => "unread",
        }
    }
}

/// One message that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The folder at the source, for people.
    pub folder: String,
    /// UID or UIDL; for a foreign message its file name, or its UID at the destination.
    pub id: String,
    /// What is wrong.
    pub what: What,
    /// Octets, where known.
    pub size: Option<u64>,
    /// In words.
    pub reason: String,
}

/// The outcome of a comparison, in messages.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verified {
    /// At the source.
    pub source: u64,
    /// The same here, as far as was asked.
    pub alike: u64,
    /// Octets were read on both sides for so many.
    pub read: u64,
    /// See [`What`]; so for the next five.
    pub lost: u64,
    /// See [`What::Duplicated`].
    pub duplicated: u64,
    /// See [`What::Altered`].
    pub altered: u64,
    /// See [`What::Foreign`].
    pub foreign: u64,
    /// See [`What::NotBrought`].
    pub not_brought: u64,
    /// See [`What::Unread`].
    pub unread: u64,
    /// Left out by the last run, with reasons that `show` tells: not here all the same.
    pub left_out: u64,
    /// Here, and deleted at the source since: nothing is wrong with that.
    pub gone: u64,
    /// Folders compared.
    pub folders: u64,
    /// What was found, 10,000 at most.
    pub findings: Vec<Finding>,
}

impl Verified {
    /// Whether both sides are alike: everything of the source is here, and nothing else.
    pub fn is_good(&self) -> bool {
        let wrong = self.lost + self.duplicated + self.altered + self.foreign + self.not_brought;
        wrong + self.unread + self.left_out == 0
    }

    fn find(&mut self, finding: Finding) {
        let number = match finding.what {
            What::Lost => &mut self.lost,
            What::Duplicated => &mut self.duplicated,
            What::Altered => &mut self.altered,
            What::Foreign => &mut self.foreign,
            What::NotBrought => &mut self.not_brought,
            What::Unread => &mut self.unread,
        };
        *number += 1;
        if self.findings.len() < MOST_FINDINGS {
            self.findings.push(finding);
        }
    }
}

/// Compares one account. `bodies`: reads every message on both sides. `told` is called folder by folder.
///
/// # Errors
/// The source or the destination cannot be read.
pub(super) async fn verify(
    means: &Means,
    account: &Account,
    bodies: bool,
    told: &mut (impl FnMut(&Verified) + Send),
) -> Result<Verified, Failure> {
    belonging::is_here(means, account)?;
    let account = &belonging::in_its_era(means, account).await?;
    match account.source.protocol {
        Protocol::Imap => imap(means, account, bodies, told).await,
        Protocol::Pop3 => pop3(means, account, bodies).await,
    }
}

async fn imap(
    means: &Means,
    account: &Account,
    bodies: bool,
    told: &mut (impl FnMut(&Verified) + Send),
) -> Result<Verified, Failure> {
    let (mut session, folders) = means.imap_folders::<Parcel>(account).await?;
    let map = gmail_map(&mut session, account, &folders).await?;
    let folders = migrate::arranged(folders, map.is_some(), account);
    let marks = matches!(&account.job, Job::Poll(work) if !work.keep_original) && !session.expunges_alone();
    let records = means.journal.folders(&account.name)?;
    let mut left_out: BTreeMap<u64, BTreeSet<String>> = BTreeMap::new();
    for (key, id, _) in means.journal.skipped(&account.name)? {
        left_out.entry(key).or_default().insert(id);
    }
    let directories: BTreeSet<String> = records.values().map(|r| r.directory.clone()).collect();
    let (mut mail, mut here) = Mail::look(means, account, &records, directories).await?;
    let mut sum = Verified::default();
    for folder in &folders {
        let key = Origin::imap(&account.name, &folder.wire, account.era).folder;
        let record = records.get(&key).filter(|r| r.uidvalidity != 0);
        let skipped = left_out.remove(&key).unwrap_or_default();
        let name = folder.path.to_string();
        let found = look(means, account, &mut session, folder, key, record, &skipped).await?;
        let (validity, messages, missing) = match found {
            Ok(found) => found,
            Err(words) => {
                sum.find(unread(name, words));
                mail.leaves_out(&mut here, key);
                continue;
            }
        };
        let shown = |there: &There| match (&map, there.message) {
            (Some(map), MessageRef::Imap { uid, .. }) => map.shows(key, uid),
            _ => true,
        };
        let messages: Vec<There> = messages.into_iter().filter(shown).collect();
        if let Some(words) = record.and_then(|record| mail.unread(&record.directory)) {
            sum.find(unread(name, words.to_owned()));
            mail.leaves_out(&mut here, key);
            continue;
        }
        let directory = record.map(|r| r.directory.as_str());
        let mirror = matches!(account.job, Job::Migrate(_));
        mail.fill(&mut here, (key, directory), &messages, mirror);
        let keeps = mail.keeps(directory).await?;
        let complete = missing.is_none();
        let side = Side { name: &name, key, directory, messages: &messages, mirror, keeps, marks, complete };
        let Compared { doubts, unnamed, mut strangers } = compare(&side, &mut here, bodies, &mut sum);
        let asked = asked(&doubts, &unnamed);
        if let Some(words) = missing {
            sum.find(unread(name.clone(), words));
            strangers.clear();
        }
        if !asked.is_empty() {
            let mut wanted: Vec<(u32, u32)> =
                asked.iter().filter_map(|at| wanted(messages.get(*at)?)).collect();
            wanted.sort_unstable();
            let theirs = prints(means, account, &mut session, (folder, validity), &wanted).await?;
            let id = |message: MessageRef| match message {
                MessageRef::Imap { uidvalidity, uid } if uidvalidity == validity => u64::from(uid),
                _ => 0,
            };
            settle(&mut mail, &side, doubts, &theirs, id, &mut sum).await?;
            let others = unnamed.settle(&mut mail, &mut here, &side, (&theirs, id), &mut sum).await?;
            strangers.extend(others.into_iter().filter(|_| mirror && complete));
        }
        tell_strangers(&mut mail, &side, strangers, &mut sum).await?;
        sum.folders += 1;
        told(&sum);
    }
    session.close().await;
    mail.rest(&mut here);
    mail.close().await;
    finish(here, &mut sum);
    Ok(sum)
}

/// Which messages are the same ones, at Gmail; `None`: it is another server, or new mail alone is collected.
async fn gmail_map(
    session: &mut Session<Parcel>,
    account: &Account,
    folders: &[SourceFolder],
) -> Result<Option<gmail::Map>, Failure> {
    if !matches!(account.job, Job::Migrate(_)) || !session.can(gmail::CAPABILITY) {
        return Ok(None);
    }
    let folders = migrate::arranged(folders.to_vec(), true, account);
    let keys = folders.iter().map(|f| (Origin::imap(&account.name, &f.wire, account.era).folder, f));
    Ok(Some(gmail::Map::of(session, keys).await?))
}

/// What messages of the open folder are made of, by UID; nothing, if reading them costs the connection: then they are not compared.
async fn prints(
    means: &Means,
    account: &Account,
    session: &mut Session<Parcel>,
    (folder, uidvalidity): (&SourceFolder, u32),
    wanted: &[(u32, u32)],
) -> Result<BTreeMap<u64, Print>, Failure> {
    let again = async || reopened(means.imap(account).await?, &folder.wire, uidvalidity).await;
    match bodies::imap(session, wanted, Fingerprint::default, again).await {
        Err(failure) if leaves_others(&failure) => {
            *session = means.imap(account).await?;
            Ok(BTreeMap::new())
        }
        theirs => theirs,
    }
}

/// A folder that could not be compared.
fn unread(folder: String, reason: String) -> Finding {
    Finding { folder, id: "(folder)".to_owned(), what: What::Unread, size: None, reason }
}

/// A connection with a folder open that was read over another one.
async fn reopened(
    mut session: Session<Parcel>,
    wire: &[u8],
    uidvalidity: u32,
) -> Result<Session<Parcel>, Failure> {
    if session.examine(wire).await?.uidvalidity != uidvalidity {
        let what = "the server has just numbered the messages of a folder anew";
        return Err(Failure::new(Kind::Unavailable, what, "try again"));
    }
    Ok(session)
}

fn wanted(message: &There) -> Option<(u32, u32)> {
    match message.message {
        MessageRef::Imap { uid, .. } => {
            Some((uid, message.size.and_then(|s| u32::try_from(s).ok()).unwrap_or(0)))
        }
        MessageRef::Pop3(_) => None,
    }
}

/// UIDVALIDITY of a folder, its messages, and why they are not all of them, if they are not.
type Details = (u32, Vec<There>, Option<String>);

/// See [`details`]. `Err` inside: why this folder cannot be compared, and others can; the session is of use again.
async fn look(
    means: &Means,
    account: &Account,
    session: &mut Session<Parcel>,
    folder: &SourceFolder,
    key: u64,
    record: Option<&crate::journal::FolderRecord>,
    skipped: &BTreeSet<String>,
) -> Result<Result<Details, String>, Failure> {
    let found = match details(means, account, session, folder, key, record, skipped).await {
        // Whether it is the folder's fault shows when it is asked for once more.
        Err(failure) if failure.broke() => {
            *session = means.imap(account).await?;
            session.hurry(failure.kind == Kind::Stalled);
            details(means, account, session, folder, key, record, skipped).await
        }
        found => found,
    };
    session.hurry(false);
    match found {
        Err(failure) if leaves_others(&failure) => {
            if failure.broke() {
                *session = means.imap(account).await?;
            }
            Ok(Err(failure.words))
        }
        found => found.map(Ok),
    }
}

/// The messages of a folder, with what the journal says of each; and why they are not all of them, if they are not.
async fn details(
    means: &Means,
    account: &Account,
    session: &mut Session<Parcel>,
    folder: &SourceFolder,
    key: u64,
    record: Option<&crate::journal::FolderRecord>,
    skipped: &BTreeSet<String>,
) -> Result<Details, Failure> {
    if let Some(why) = &folder.broken {
        return Err(Failure::new(Kind::Folder, why.clone(), ""));
    }
    let counted = record.map(|record| record.ledger.seen.max(record.exists));
    let mut examined = session.examine_counted(&folder.wire, counted).await.map_err(its_own)?;
    let mut listed = session.list_details(examined).await.map_err(its_own)?;
    if listed.len() < examined.exists as usize {
        // One may have gone meanwhile, or an answer may be lost.
        examined = session.examine_counted(&folder.wire, counted).await.map_err(its_own)?;
        let second = session.list_details(examined).await.map_err(its_own)?;
        listed = if second.len() < listed.len() { listed } else { second };
    }
    let missing = (examined.exists as usize).saturating_sub(listed.len());
    let missing = (missing > 0)
        .then(|| format!("the server counts {missing} messages more in this folder than it lists"));
    let same = record.is_some_and(|r| r.uidvalidity == examined.uidvalidity);
    let (mut done, mut adopted) = Default::default();
    if same {
        done = means.journal.uids(&account.name, key, Set::Done)?;
        adopted = means.journal.uids(&account.name, key, Set::Adopted)?;
    }
    let messages = listed
        .into_iter()
        .map(|detail| There {
            message: MessageRef::Imap { uidvalidity: examined.uidvalidity, uid: detail.uid },
            known: if adopted.contains(detail.uid) {
                Known::Adopted
            } else if done.contains(detail.uid) {
                Known::Done
            } else if skipped.contains("folder") || (same && skipped.contains(&detail.uid.to_string())) {
                Known::LeftOut
            } else {
                Known::New
            },
            id: detail.uid.to_string(),
            size: detail.size.map(u64::from),
            flags: detail.flags,
            received: detail.received,
        })
        .collect();
    Ok((examined.uidvalidity, messages, missing))
}

/// The places of messages whose octets are asked for.
fn asked(doubts: &[Doubt], unnamed: &Unnamed) -> Vec<usize> {
    doubts.iter().map(|doubt| doubt.at).chain(unnamed.messages.iter().copied()).collect()
}

/// Compares octets.
async fn settle(
    mail: &mut Mail,
    side: &Side<'_>,
    doubts: Vec<Doubt>,
    theirs: &BTreeMap<u64, Print>,
    id: impl Fn(MessageRef) -> u64,
    sum: &mut Verified,
) -> Result<(), Failure> {
    let copies: Vec<Copy> = doubts.iter().map(|doubt| doubt.copy.clone()).collect();
    let ours = mail.prints(copies).await?;
    for (doubt, ours) in doubts.iter().zip(ours) {
        let Some(message) = side.messages.get(doubt.at) else { continue };
        let altered_already = doubt.copy.held.told.is_some_and(|told| told != doubt.copy.held.size);
        match (theirs.get(&id(message.message)), ours) {
            (Some(theirs), Some(ours)) => {
                sum.read += 1;
                if *theirs != ours && !altered_already {
                    sum.alike -= u64::from(doubt.counted);
                    let words = format!(
                        "its octets are not those of the source ({} here, {} there)",
                        ours.octets, theirs.octets
                    );
                    tell(sum, side, message, What::Altered, words);
                }
            }
            (None, _) => {
                sum.alike -= u64::from(doubt.counted);
                not_given(sum, side, message);
            }
            (_, None) => {
                sum.alike -= u64::from(doubt.counted);
                let (what, words) = match mail {
                    Mail::Maildir(_) => (What::Lost, "its file cannot be read"),
                    Mail::Server(_) => {
                        (What::Unread, "the destination does not give it, so its octets were not compared")
                    }
                };
                tell(sum, side, message, what, words.to_owned());
            }
        }
    }
    Ok(())
}

/// What is in the folder and belongs to no message of the source: a second copy, or foreign.
async fn tell_strangers(
    mail: &mut Mail,
    side: &Side<'_>,
    strangers: Vec<Copy>,
    sum: &mut Verified,
) -> Result<(), Failure> {
    if strangers.is_empty() {
        return Ok(());
    }
    let counts = mail.alike(side.directory.unwrap_or_default(), strangers.clone()).await?;
    for (copy, alike) in strangers.into_iter().zip(counts) {
        let place = shown(&copy.directory);
        let (what, reason) = if alike > 1 {
            (What::Duplicated, format!("{place} has the same octets {alike} times"))
        } else {
            (What::Foreign, format!("it is in {place} here and the source does not have it"))
        };
        let id = String::from_utf8_lossy(&copy.held.file).chars().take(200).collect();
        sum.find(Finding { folder: side.name.to_owned(), id, what, size: Some(copy.held.size), reason });
    }
    Ok(())
}

async fn pop3(means: &Means, account: &Account, bodies: bool) -> Result<Verified, Failure> {
    let mailbox = match &account.job {
        Job::Poll(work) => work.mailbox.clone(),
        Job::Migrate(work) if work.into.is_empty() => FolderPath::inbox().0,
        Job::Migrate(work) => work.into.clone(),
    };
    let (mut session, listed) = maildrop::identified(means, account).await?;
    let (known, _) = means.journal.identities(&account.name)?;
    let skipped: BTreeSet<String> =
        means.journal.skipped(&account.name)?.into_iter().map(|(_, _, record)| record.id).collect();
    let mut numbers = BTreeMap::new();
    let messages: Vec<There> = listed
        .into_iter()
        .map(|(message, identity)| {
            let id = listed::shown(&message);
            // What has no identity was left out for that.
            let reference = MessageRef::Pop3(identity.unwrap_or_default());
            let size = message.size;
            numbers.insert(reference, message);
            let known = match identity {
                Some(identity) if known.contains(&identity) => Known::Done,
                _ if skipped.contains(&id) => Known::LeftOut,
                _ => Known::New,
            };
            There { message: reference, id, size, flags: None, received: None, known }
        })
        .collect();
    let directory = maildrop::directory_of(&means.naming(account).await?, &mailbox);
    let mut records = means.journal.folders(&account.name)?;
    // A poll has one folder and no record of it.
    records.entry(0).or_default().directory.clone_from(&directory);
    let (mut mail, mut here) =
        Mail::look(means, account, &records, BTreeSet::from([directory.clone()])).await?;
    let name = FolderPath(mailbox).to_string();
    let mut sum = Verified::default();
    if let Some(words) = mail.unread(&directory) {
        sum.find(unread(name, words.to_owned()));
        return Ok(sum);
    }
    mail.fill(&mut here, (0, Some(&directory)), &messages, false);
    let side = Side {
        name: &name,
        key: 0,
        directory: Some(&directory),
        messages: &messages,
        mirror: false,
        keeps: None,
        marks: false,
        complete: true,
    };
    let Compared { doubts, unnamed, .. } = compare(&side, &mut here, bodies, &mut sum);
    let asked = asked(&doubts, &unnamed);
    if !asked.is_empty() {
        let asked = asked.iter().filter_map(|at| numbers.get(&messages.get(*at)?.message));
        let asked: Vec<_> = asked.map(identity::wanted).collect();
        let theirs = bodies::pop3(&mut session, &asked).await?;
        let id = |message: MessageRef| numbers.get(&message).map_or(0, |listed| listed.number).into();
        settle(&mut mail, &side, doubts, &theirs, id, &mut sum).await?;
        unnamed.settle(&mut mail, &mut here, &side, (&theirs, id), &mut sum).await?;
    }
    let _ = session.quit().await;
    mail.rest(&mut here);
    mail.close().await;
    finish(here, &mut sum);
    sum.folders = 1;
    Ok(sum)
}
