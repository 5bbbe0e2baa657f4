//! Flags that changed at the source, carried over to the copies at a server. Which copy is whose is known by size
//! and date among the messages that were brought. It refuses to guess between two that have both alike, and to
//! change a flag before the journal knows how to change it back.

use std::collections::BTreeMap;

use super::at_server::AtServer;
use super::carry::{Carried, remember};
use super::folder::Progress;
use crate::destination::landing::Order;
use crate::destination::maildir::Reflag;
use crate::destination::server::{Reflags, Server};
use crate::failure::{Failure, Kind};
use crate::imap::{Detail, Examined, Session};
use crate::journal::{Changes, Journal, Turn};
use crate::message::{Flag, Flags};

/// Changes the flags of a folder's copies, so that it can be undone. The other way: the destination fails over this folder, twice,
/// and does not over its inbox; in its words.
///
/// # Errors
/// The server or the source cannot be asked, or the journal cannot be written.
pub(super) async fn carry(
    of: (&Journal, &str),
    server: &Server,
    (session, examined): (&mut Session<Order>, Examined),
    progress: &Progress,
    wanted: BTreeMap<u32, Reflag>,
) -> Result<Result<Carried, String>, Failure> {
    let own = |failure: &Failure| matches!(failure.kind, Kind::Folder | Kind::Destination);
    match try_to(of, server, (&mut *session, examined), progress, (wanted.clone(), false)).await {
        Err(failure) if own(&failure) => {}
        carried => return carried.map(Ok),
    }
    match try_to(of, server, (session, examined), progress, (wanted, true)).await {
        Err(failure) if own(&failure) && server.is_well().await => Ok(Err(failure.words)),
        carried => carried.map(Ok),
    }
}

async fn try_to(
    (journal, account): (&Journal, &str),
    server: &Server,
    source: (&mut Session<Order>, Examined),
    progress: &Progress,
    (wanted, again): (BTreeMap<u32, Reflag>, bool),
) -> Result<Carried, Failure> {
    let mut carried = Carried::default();
    if wanted.is_empty() {
        return Ok(carried);
    }
    let recorded = AtServer::read(journal, account, progress.key)?;
    let directory = &progress.record.directory;
    let Some(here) = server.details(directory, progress.record.there, again).await? else {
        return Ok(carried);
    };
    let mut known = recorded.placed;
    known.extend(&recorded.taken);
    let here: Vec<&Detail> = here.iter().filter(|detail| known.contains(detail.uid)).collect();
    let mut pairs = Pairs::by_size(progress, &here);
    if wanted.keys().any(|uid| pairs.is_doubtful(*uid)) {
        let (session, examined) = source;
        pairs = Pairs::by_date(&session.list_details(examined).await?, progress, &here);
    }
    // By UID at the source, and at the server.
    let (mut from, mut to) = (Reflags::new(), Reflags::new());
    for (uid, change) in wanted {
        let Some(copy) = pairs.copy_of(uid) else {
            carried.doubtful += u64::from(pairs.is_doubtful(uid));
            continue;
        };
        let default = Flags::default();
        let flags = copy.flags.as_ref().unwrap_or(&default);
        let on = change.on.into_iter().filter(|flag| !flags.carries(flag)).map(|flag| (flag, true));
        let off = change.off.into_iter().filter(|flag| flags.carries(flag)).map(|flag| (flag, false));
        let left: Vec<(Flag, bool)> = on.chain(off).collect();
        carried.done += u64::from(!left.is_empty());
        for what in left {
            from.entry(what.clone()).or_default().insert(uid);
            to.entry(what).or_default().insert(copy.uid);
        }
    }
    if to.is_empty() {
        return Ok(carried);
    }
    let mut changes = Changes::default();
    let folder = (account, progress.key);
    remember(journal, folder, (Turn::On, Turn::Off), &from, &mut changes)?;
    remember(journal, folder, (Turn::OnThere, Turn::OffThere), &to, &mut changes)?;
    journal.commit(changes).await?;
    carried.without = server.reflag(directory, progress.record.there, &to, again).await?;
    Ok(carried)
}

/// What a run that is rolled back has to change back at the server.
///
/// # Errors
/// The journal cannot be read.
pub(super) fn to_put_back(journal: &Journal, account: &str, folder: u64) -> Result<Reflags, Failure> {
    let mut back = Reflags::new();
    for (turn, on) in [(Turn::OnThere, false), (Turn::OffThere, true)] {
        for (flag, uids) in journal.flags(account, folder, turn)? {
            back.insert((flag, on), uids);
        }
    }
    Ok(back)
}

/// What two messages have alike: size, and date if that is needed.
type Alike = (u64, Option<i64>);

/// Which copy is whose.
struct Pairs<'h> {
    kinds: BTreeMap<u32, Alike>,
    at_source: BTreeMap<Alike, usize>,
    here: BTreeMap<Alike, Vec<&'h Detail>>,
}

impl<'h> Pairs<'h> {
    fn by_size(progress: &Progress, here: &[&'h Detail]) -> Pairs<'h> {
        let kinds = progress.sizes.iter().filter(|(uid, _)| progress.done.contains(**uid));
        let kinds = kinds.map(|(uid, size)| (*uid, (u64::from(*size), None))).collect();
        Pairs::of(kinds, here, |detail| (detail.size.unwrap_or(0).into(), None))
    }

    fn by_date(source: &[Detail], progress: &Progress, here: &[&'h Detail]) -> Pairs<'h> {
        let kind = |detail: &Detail| (detail.size.unwrap_or(0).into(), detail.received);
        let source = source.iter().filter(|detail| progress.done.contains(detail.uid));
        Pairs::of(source.map(|detail| (detail.uid, kind(detail))).collect(), here, kind)
    }

    fn of(kinds: BTreeMap<u32, Alike>, here: &[&'h Detail], kind: impl Fn(&Detail) -> Alike) -> Pairs<'h> {
        let (mut at_source, mut by_kind) = (BTreeMap::new(), BTreeMap::<Alike, Vec<&Detail>>::new());
        for kind in kinds.values() {
            *at_source.entry(*kind).or_default() += 1;
        }
        for detail in here {
            by_kind.entry(kind(detail)).or_default().push(detail);
        }
        Pairs { kinds, at_source, here: by_kind }
    }

    /// Several may be it: there, or at the source.
    fn is_doubtful(&self, uid: u32) -> bool {
        let Some(kind) = self.kinds.get(&uid) else { return false };
        let copies = self.here.get(kind).map_or(0, Vec::len);
        copies > 0 && (copies > 1 || self.at_source.get(kind).is_some_and(|count| *count > 1))
    }

    fn copy_of(&self, uid: u32) -> Option<&'h Detail> {
        let copies = self.here.get(self.kinds.get(&uid)?)?;
        if self.is_doubtful(uid) { None } else { copies.first().copied() }
    }
}
