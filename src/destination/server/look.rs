//! A look at what was just stored: servers that leave out flags of an APPEND get them by STORE, and dates that are not
//! kept are told. What a server was seen to keep is believed from then on. It refuses to judge a message that is not
//! there any more: whoever filters there may have moved it.

use std::collections::{BTreeMap, BTreeSet};

use super::flags::{Refused, store};
use crate::destination::landing::Receipt;
use crate::destination::spool::Waiting;
use crate::failure::Failure;
use crate::imap::{Detail, Permitted, Session, flag_name};
use crate::message::{Flag, MessageRef, Parcel, UidSet};

/// What the server was seen to do with what an APPEND says.
#[derive(Debug, Default)]
pub(super) struct Habits {
    flags: BTreeMap<Flag, bool>,
    /// Flags that some message there has.
    taken: BTreeSet<Flag>,
    /// It keeps dates.
    dates: bool,
}

/// How messages are to be.
pub(super) type Wanted = BTreeMap<MessageRef, (Vec<Flag>, Option<i64>)>;

/// How the messages of a batch are to be in a folder that keeps these keywords.
pub(super) fn wanted(batch: &[Waiting], keeps: &Permitted) -> Wanted {
    let is_kept = |flag: &Flag| match flag {
        Flag::System(_) => true,
        Flag::Keyword(word) => keeps.keeps(word.as_str()),
    };
    let of = |waiting: &Waiting| {
        let flags = waiting.placement.flags.each().filter(is_kept).collect();
        let received = waiting.placement.received.or(waiting.body.arrival);
        (waiting.placement.message, (flags, received))
    };
    batch.iter().map(of).collect()
}

impl Habits {
    /// Looks at what is not known of the server yet, and sets the flags that it is known to leave out, and those of
    /// messages that came `bare`. Flags that it refuses for all of them are sent to this folder no more. Where the
    /// connection `broke` over that before, nothing is stored: what is not there is told.
    ///
    /// # Errors
    /// The connection failed.
    pub(super) async fn look(
        &mut self,
        session: &mut Session<Parcel>,
        wanted: &Wanted,
        bare: &BTreeSet<MessageRef>,
        keeps: &mut Permitted,
        receipts: &mut [Receipt],
        broke: Option<&Failure>,
    ) -> Result<(), Failure> {
        let mut at: BTreeMap<u32, &mut Receipt> = BTreeMap::new();
        for receipt in receipts.iter_mut().filter(|receipt| wanted.contains_key(&receipt.message)) {
            if let Some(uid) = receipt.uid.filter(|_| !receipt.adopted) {
                at.insert(uid, receipt);
            }
        }
        let mut asked: BTreeMap<Flag, UidSet> = BTreeMap::new();
        let mut dated = UidSet::new();
        for (uid, receipt) in &at {
            let Some((flags, received)) = wanted.get(&receipt.message) else { continue };
            let bare = bare.contains(&receipt.message);
            for flag in flags.iter().filter(|flag| bare || self.flags.get(flag) != Some(&true)) {
                asked.entry(flag.clone()).or_default().insert(*uid);
            }
            if received.is_some() && !self.dates {
                dated.insert(*uid);
            }
        }
        if asked.is_empty() && dated.is_empty() {
            return Ok(());
        }
        let mut uids = dated.clone();
        asked.values().for_each(|set| uids.extend(set));
        // A folder that is open need not tell what came since.
        session.refresh().await?;
        let there = look_at(session, &uids).await?;
        let is_bare = |uid: u32| at.get(&uid).is_some_and(|receipt| bare.contains(&receipt.message));
        let came_bare: UidSet = at.keys().copied().filter(|uid| is_bare(*uid)).collect();
        for (flag, uids) in &asked {
            let mut lacking = without(&there, uids, flag);
            let mut plain = lacking.clone();
            plain.subtract(&came_bare);
            self.flags.insert(flag.clone(), plain.is_empty());
            if lacking.len() < uids.len() {
                self.taken.insert(flag.clone());
            }
            if lacking.is_empty() {
                continue;
            }
            let refused = self.give(session, flag, &mut lacking, broke).await?;
            let alone = !refused.uids.is_empty() && !refused.for_all && self.taken.contains(flag);
            if refused.for_all || (!refused.uids.is_empty() && !alone && matches!(flag, Flag::Keyword(_))) {
                keeps.refuses(flag_name(flag));
            }
            for uid in lacking.iter().chain(refused.uids.iter()) {
                let Some(receipt) = at.get_mut(&uid) else { continue };
                receipt.keywords_left.push(flag_name(flag).to_owned());
                // Others have that flag: it is this message that does not get it.
                if alone && refused.uids.contains(uid) {
                    receipt.flags_refused.get_or_insert_with(|| refused.words.clone());
                }
            }
        }
        let mut alike = 0;
        for detail in there.values().filter(|detail| dated.contains(detail.uid)) {
            let Some(receipt) = at.get_mut(&detail.uid) else { continue };
            let date = wanted.get(&receipt.message).and_then(|(_, received)| *received);
            receipt.redated = detail.received.is_some() && detail.received != date;
            alike += u64::from(!receipt.redated);
        }
        self.dates |= alike > 0 && alike == dated.len();
        Ok(())
    }
}

impl Habits {
    /// Stores a flag of messages that lack it, and leaves those that lack it still and were not refused.
    async fn give(
        &mut self,
        session: &mut Session<Parcel>,
        flag: &Flag,
        lacking: &mut UidSet,
        broke: Option<&Failure>,
    ) -> Result<Refused, Failure> {
        let refused = match broke {
            None => store(session, lacking, flag, true).await?,
            Some(failure) => Refused { uids: lacking.clone(), for_all: false, words: failure.words.clone() },
        };
        lacking.subtract(&refused.uids);
        if !lacking.is_empty() {
            let kept = lacking.len();
            *lacking = without(&look_at(session, lacking).await?, lacking, flag);
            if lacking.len() < kept {
                self.taken.insert(flag.clone());
            }
        }
        Ok(refused)
    }
}

/// By UID, what is there of these.
async fn look_at(session: &mut Session<Parcel>, uids: &UidSet) -> Result<BTreeMap<u32, Detail>, Failure> {
    let details = session.look_at(uids).await?;
    Ok(details.into_iter().map(|detail| (detail.uid, detail)).collect())
}

/// Those of `uids` that are there and do not have the flag.
fn without(there: &BTreeMap<u32, Detail>, uids: &UidSet, flag: &Flag) -> UidSet {
    let lacks = |uid: &u32| {
        let flags = there.get(uid).and_then(|detail| detail.flags.as_ref());
        flags.is_some_and(|flags| !flags.carries(flag))
    };
    uids.iter().filter(lacks).collect()
}
