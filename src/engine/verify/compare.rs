//! One folder of the source against the mailbox: which messages are missing, there more than once, changed,
//! or unknown to the source. It refuses to read octets: what cannot be decided without is a [`Doubt`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::here::{Copy, Here};
use super::unnamed::Unnamed;
use super::{Finding, Verified, What};
use crate::message::{Flags, Keyword, MessageRef};
use crate::mutf7;

/// What the journal says of a message at the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    /// It was brought, or was here by its name.
    Done,
    /// It was here under another name.
    Adopted,
    /// It was left out, with a reason that `show` tells.
    LeftOut,
    /// It is new since the last run.
    New,
}

/// A message at the source.
#[derive(Debug, Clone)]
pub(super) struct There {
    pub(super) message: MessageRef,
    /// UID or UIDL, for people.
    pub(super) id: String,
    pub(super) size: Option<u64>,
    pub(super) flags: Option<Flags>,
    pub(super) received: Option<i64>,
    pub(super) known: Known,
}

/// A folder of the source.
#[derive(Debug)]
pub(super) struct Side<'s> {
    /// Its name, for people.
    pub(super) name: &'s str,
    /// The hash of its name.
    pub(super) key: u64,
    /// Its directory at the destination, if it has one.
    pub(super) directory: Option<&'s str>,
    pub(super) messages: &'s [There],
    /// The destination's folder is to hold nothing else.
    pub(super) mirror: bool,
    /// The keywords that the destination's folder keeps; `None`: those that a Maildir can carry.
    pub(super) keeps: Option<BTreeSet<String>>,
    /// What was brought is marked `\Deleted` at the source by us, and stays there so.
    pub(super) marks: bool,
    /// All its messages are listed: what is not is gone.
    pub(super) complete: bool,
}

/// A message whose octets have to be read.
#[derive(Debug)]
pub(super) struct Doubt {
    /// Its place in [`Side::messages`].
    pub(super) at: usize,
    pub(super) copy: Copy,
    /// It counts as alike until its octets say otherwise.
    pub(super) counted: bool,
}

/// What names and sizes tell, and what they leave open.
#[derive(Debug)]
pub(super) struct Compared {
    /// Pairs: all of them, or those whose sizes differ.
    pub(super) doubts: Vec<Doubt>,
    pub(super) unnamed: Unnamed,
    /// What is here and belongs to nothing.
    pub(super) strangers: Vec<Copy>,
}

/// Compares; `all`: octets are to be read of every message.
pub(super) fn compare(side: &Side<'_>, here: &mut Here, all: bool, sum: &mut Verified) -> Compared {
    let mut doubts = Vec::new();
    let mut others = side.directory.and_then(|d| here.others.remove(d)).unwrap_or_default();
    let mut strangers: BTreeMap<u64, Vec<Copy>> = BTreeMap::new();
    for copy in others.drain(..) {
        strangers.entry(copy.held.wire.unwrap_or(copy.held.size)).or_default().push(copy);
    }
    let listed: BTreeSet<MessageRef> = side.messages.iter().map(|m| m.message).collect();
    // Ours, of a message that the source has no more: gone since, or of another UIDVALIDITY.
    let orphans: Vec<(u64, MessageRef)> = here
        .ours
        .range(
            (side.key, MessageRef::Imap { uidvalidity: 0, uid: 0 })..=(side.key, MessageRef::Pop3(u128::MAX)),
        )
        .map(|(key, _)| *key)
        .filter(|(_, message)| !listed.contains(message))
        .collect();
    let mut gone: BTreeMap<u64, Vec<Copy>> = BTreeMap::new();
    for key in orphans {
        for copy in here.ours.remove(&key).unwrap_or_default() {
            gone.entry(copy.held.wire.unwrap_or(copy.held.size)).or_default().push(copy);
        }
    }
    let mut unnamed = Vec::new();
    for (at, message) in side.messages.iter().enumerate() {
        sum.source += 1;
        match here.ours.remove(&(side.key, message.message)) {
            Some(copies) => {
                let before = sum.alike;
                let copy = pair(side, message, copies, sum);
                let announced = message.size.is_none_or(|size| copy.held.wire.is_none_or(|w| w == size));
                if all || !announced {
                    doubts.push(Doubt { at, copy, counted: sum.alike > before });
                }
            }
            None => match message.known {
                Known::LeftOut => sum.left_out += 1,
                // Another one of its size is not it: octets decide.
                Known::Done => unnamed.push(at),
                _ if all => unnamed.push(at),
                Known::Adopted | Known::New => {
                    let size = message.size.unwrap_or(0);
                    let same_time =
                        |copy: &Copy| message.received.is_none_or(|at| at.max(0) == copy.held.modified);
                    // What was here under another name, or under another UIDVALIDITY, is told by its size and date.
                    let found = take(&mut gone, size, same_time).or_else(|| match message.known {
                        Known::New => None,
                        _ => take(&mut strangers, size, |_| true),
                    });
                    match found {
                        Some(_) => sum.alike += 1,
                        None => missing(here, sum, side, message),
                    }
                }
            },
        }
    }
    let size = |at: &usize| side.messages.get(*at).and_then(|message| message.size).unwrap_or(0);
    let (unnamed, alone): (Vec<usize>, Vec<usize>) =
        unnamed.into_iter().partition(|at| gone.contains_key(&size(at)) || strangers.contains_key(&size(at)));
    for message in alone.iter().filter_map(|at| side.messages.get(*at)) {
        missing(here, sum, side, message);
    }
    let sizes: BTreeSet<u64> = unnamed.iter().map(size).collect();
    let take_out = |pool: &mut BTreeMap<u64, Vec<Copy>>| -> Vec<Copy> {
        sizes.iter().filter_map(|size| pool.remove(size)).flatten().collect()
    };
    let unnamed =
        Unnamed { messages: unnamed, gone: take_out(&mut gone), strangers: take_out(&mut strangers) };
    for copies in gone.into_values() {
        here.belong_to_none(copies, side.complete);
    }
    let strangers = if side.mirror { strangers.into_values().flatten().collect() } else { Vec::new() };
    Compared { doubts, unnamed, strangers }
}

/// When every folder has been compared: what was recognised in another folder than its own is there, or lost.
pub(super) fn finish(mut here: Here, sum: &mut Verified) {
    // Of folders that the source has no more.
    for copy in here.ours.into_values().flatten() {
        here.orphans.entry(copy.held.wire.unwrap_or(copy.held.size)).or_default().push(copy);
    }
    for (folder, message) in here.elsewhere {
        if take(&mut here.orphans, message.size.unwrap_or(0), |_| true).is_some() {
            sum.alike += 1;
            continue;
        }
        sum.find(Finding {
            folder,
            id: message.id,
            what: What::Lost,
            size: message.size,
            reason: "it was here before it came, and is not here any more".to_owned(),
        });
    }
    sum.gone = here.orphans.into_values().map(|copies| copies.len() as u64).sum();
}

/// A message of the source is not in its folder here.
pub(super) fn missing(here: &mut Here, sum: &mut Verified, side: &Side<'_>, message: &There) {
    let (what, words) = match message.known {
        // The source may have moved it here from another folder.
        Known::Adopted => return here.elsewhere.push((side.name.to_owned(), message.clone())),
        Known::New => (What::NotBrought, "no run has brought it yet"),
        _ => (What::Lost, "it was brought and is not here any more"),
    };
    tell(sum, side, message, what, words.to_owned());
}

/// A message of the source whose octets are not to be had.
pub(super) fn not_given(sum: &mut Verified, side: &Side<'_>, message: &There) {
    let words = "the source does not give it, so its octets were not compared";
    tell(sum, side, message, What::Unread, words.to_owned());
}

fn take(pool: &mut BTreeMap<u64, Vec<Copy>>, size: u64, fits: impl Fn(&Copy) -> bool) -> Option<Copy> {
    let copies = pool.get_mut(&size)?;
    let at = copies.iter().position(fits)?;
    Some(copies.swap_remove(at))
}

/// A message that is here under its own name: the copy in its folder, if there is one there.
fn pair(side: &Side<'_>, message: &There, mut copies: Vec<Copy>, sum: &mut Verified) -> Copy {
    let home = side.directory.unwrap_or_default();
    let at = copies.iter().position(|copy| *copy.directory == *home).unwrap_or(0);
    let copy = copies.swap_remove(at);
    for other in &copies {
        let place = shown(&other.directory);
        tell(sum, side, message, What::Duplicated, format!("it is here once more, in {place}"));
    }
    let mut changes = Vec::new();
    if *copy.directory != *home {
        changes.push(format!("it is in {} here", shown(&copy.directory)));
    }
    if copy.held.told.is_some_and(|told| told != copy.held.size) {
        let told = copy.held.told.unwrap_or_default();
        changes.push(format!("it has {} octets here and had {told} when it came", copy.held.size));
    }
    if let Some(flags) = &message.flags {
        let deleted = flags.deleted && (!side.marks || copy.held.flags.deleted);
        let flags = Flags { deleted, ..flags.clone() };
        changes.extend(differ(&flags, &copy.held.flags, side.keeps.as_ref()));
    }
    if let Some(received) = message.received
        && received.max(0) != copy.held.modified
    {
        changes.push(format!(
            "its date is {} here and {} at the source",
            date(copy.held.modified),
            date(received)
        ));
    }
    if changes.is_empty() {
        sum.alike += 1;
    } else {
        tell(sum, side, message, What::Altered, changes.join("; "));
    }
    copy
}

pub(super) fn tell(sum: &mut Verified, side: &Side<'_>, message: &There, what: What, reason: String) {
    sum.find(Finding {
        folder: side.name.to_owned(),
        id: message.id.clone(),
        what,
        size: message.size,
        reason,
    });
}

/// A directory for people.
pub(super) fn shown(directory: &Arc<str>) -> String {
    match directory.strip_prefix('.') {
        Some(levels) => levels.replace('.', "/"),
        None if directory.is_empty() => "INBOX".to_owned(),
        // A server's own name.
        None => mutf7::decode(directory.as_bytes()).unwrap_or_else(|| directory.to_string()),
    }
}

fn date(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |time| time.to_string())
}

/// How flags differ, in words. `\Recent` is nobody's, and a keyword that a Maildir cannot carry is told by `show`.
fn differ(there: &Flags, here: &Flags, keeps: Option<&BTreeSet<String>>) -> Option<String> {
    let system = [
        ("\\Seen", there.seen, here.seen),
        ("\\Answered", there.answered, here.answered),
        ("\\Flagged", there.flagged, here.flagged),
        ("\\Deleted", there.deleted, here.deleted),
        ("\\Draft", there.draft, here.draft),
    ];
    let (mut missing, mut more): (Vec<&str>, Vec<&str>) = (Vec::new(), Vec::new());
    for (name, there, here) in system {
        match (there, here) {
            (true, false) => missing.push(name),
            (false, true) => more.push(name),
            _ => {}
        }
    }
    let kept = |word: &&str| {
        keeps.map_or_else(|| Keyword::new(word).is_some(), |keeps| keeps.contains(&word.to_ascii_lowercase()))
    };
    let has = |list: &[String], word: &str| list.iter().any(|w| w.eq_ignore_ascii_case(word));
    missing.extend(there.keywords.iter().map(String::as_str).filter(|w| kept(w) && !has(&here.keywords, w)));
    more.extend(
        here.keywords
            .iter()
            .map(String::as_str)
            .filter(|w| !has(&there.keywords, w) && !w.starts_with("icon-")),
    );
    let mut words = Vec::new();
    if !missing.is_empty() {
        words.push(format!("{} is set at the source only", missing.join(" ")));
    }
    if !more.is_empty() {
        words.push(format!("{} is set here only", more.join(" ")));
    }
    (!words.is_empty()).then(|| words.join(", "))
}
