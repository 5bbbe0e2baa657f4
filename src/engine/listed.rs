//! What becomes of a listed message, by what is known of it. It refuses to have fetched what is here, what is
//! too large, and what the destination refused for good.

use std::collections::{BTreeMap, BTreeSet};

use crate::destination::maildir::Origin;
use crate::journal::SkippedRecord;
use crate::pop3::{Listed, Wanted};

/// A message that may have to be fetched.
pub(super) struct Message {
    pub(super) number: u32,
    pub(super) size: Option<u64>,
    /// `None`: only its octets tell.
    pub(super) id: Option<u128>,
    pub(super) shown: String,
    pub(super) uidl: Option<Vec<u8>>,
}

impl Message {
    /// How the session is asked for it.
    pub(super) fn wanted(&self) -> Wanted {
        Wanted { number: self.number, size: self.size, uidl: self.uidl.clone() }
    }
}

/// What is done about it.
pub(super) enum Verdict {
    Known(u128),
    New(Message),
    /// The destination refused it.
    LeftOut(String, SkippedRecord),
    TooLarge {
        size: u64,
        limit: u64,
    },
}

/// Judges one message.
pub(super) fn judge(
    message: &Listed,
    id: Option<u128>,
    known: &BTreeSet<u128>,
    earlier: &BTreeMap<String, SkippedRecord>,
    limit: Option<u64>,
) -> Verdict {
    if let Some(id) = id.filter(|id| known.contains(id)) {
        return Verdict::Known(id);
    }
    // What an earlier run found out counts more than what the list says.
    let key = key_of(id, "", message.number);
    let before = id.and_then(|_| earlier.get(&key));
    if let Some(record) = before.filter(|record| record.for_good) {
        return Verdict::LeftOut(key, record.clone());
    }
    let found = before.and_then(|record| record.size);
    let size = found.max(message.size);
    if let (Some(limit), Some(size)) = (limit, size)
        && size > limit
    {
        return Verdict::TooLarge { size, limit };
    }
    let (number, shown, uidl) = (message.number, shown(message), message.uidl.clone());
    Verdict::New(Message { number, size: message.size, id, shown, uidl })
}

pub(super) fn shown(message: &Listed) -> String {
    match &message.uidl {
        Some(uidl) => {
            let text: String = uidl
                .iter()
                .take(100)
                .map(|b| if b.is_ascii_graphic() { char::from(*b) } else { '?' })
                .collect();
            text
        }
        None => format!("message {}", message.number),
    }
}

/// The key of an exception in the journal: the message's identity where it has one.
pub(super) fn key_of(id: Option<u128>, shown: &str, number: u32) -> String {
    match id {
        Some(id) => format!("{id:032x}"),
        None => format!("{:016x}-{number}", Origin::pop3(shown).account),
    }
}
