//! Which POP3 messages are at the destination: their identities, in chunks, and what else is known of some of them. It refuses a key
//! for each message: memory and disk would grow far beyond the data.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::records::Changes;
use super::store::Journal;
use crate::failure::Failure;

/// Identities in a chunk: 28 of 32 digits stay below 900 bytes.
const IDENTITIES: usize = 28;

/// What else is known of some of a POP3 account's identities.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdMark {
    /// The server said that it deleted them; a listing may show them still.
    Deleted,
    /// Of those, hashes over identity and body: another message may get the name.
    Bodies,
    /// Of those, the ones that are listed still and are the same.
    Lingering,
    /// They are never deleted at the source: the copy may lack something.
    Kept,
    /// What they were when they came: 64 bits of the identity, 32 of the size by LIST, 32 of a hash over the header.
    Facts,
    /// They were not in the last listing.
    Missing,
    /// Of those, the ones that were not in one of a day ago either.
    Overdue,
}

impl IdMark {
    /// All there are.
    pub const ALL: [IdMark; 7] = [
        IdMark::Deleted,
        IdMark::Bodies,
        IdMark::Lingering,
        IdMark::Kept,
        IdMark::Facts,
        IdMark::Missing,
        IdMark::Overdue,
    ];

    pub(super) fn letter(self) -> char {
        match self {
            IdMark::Deleted => 'e',
            IdMark::Bodies => 'v',
            IdMark::Lingering => 'y',
            IdMark::Kept => 'k',
            IdMark::Facts => 'j',
            IdMark::Missing => 'g',
            IdMark::Overdue => 'l',
        }
    }
}

/// Whether a server's UIDLs name messages (RFC 1939, 7).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Uidls {
    /// It never had any, or it is not known.
    #[default]
    Unknown,
    /// So far each was its message's number, or its size.
    Numbers,
    /// They do: they were something else at least once.
    Names,
}

impl Changes {
    /// The identities of a POP3 account, as a whole; returns in how many chunks they lie.
    pub fn identities(&mut self, account: &str, set: &BTreeSet<u128>, chunks_before: usize) -> usize {
        self.id_set('u', account, set, chunks_before)
    }

    /// A subset of the identities, as a whole; it lay in `chunks_before` chunks.
    pub fn marked(&mut self, account: &str, mark: IdMark, set: &BTreeSet<u128>, chunks_before: usize) {
        self.id_set(mark.letter(), account, set, chunks_before);
    }

    fn id_set(&mut self, kind: char, account: &str, set: &BTreeSet<u128>, chunks_before: usize) -> usize {
        let all: Vec<&u128> = set.iter().collect();
        let chunks: Vec<_> = all.chunks(IDENTITIES).collect();
        for (at, chunk) in chunks.iter().enumerate() {
            let text: String = chunk.iter().map(|id| format!("{id:032x}")).collect();
            self.set(format!("{kind}/{account}/{at:08}"), text.into_bytes());
        }
        for at in chunks.len()..chunks_before {
            self.remove(format!("{kind}/{account}/{at:08}"));
        }
        chunks.len()
    }

    /// Of the identities, only the first `chunks` stay.
    pub fn fewer_identities(&mut self, account: &str, chunks: usize, chunks_before: usize) {
        for at in chunks..chunks_before {
            self.remove(format!("u/{account}/{at:08}"));
        }
    }

    /// More identities, behind the `chunks` that are there; returns how many there are then.
    pub fn more_identities(&mut self, account: &str, ids: &[u128], chunks: usize) -> usize {
        self.more('u', account, ids, chunks)
    }

    /// More of a mark, likewise.
    pub fn more_marked(&mut self, account: &str, mark: IdMark, more: &[u128], chunks: usize) -> usize {
        self.more(mark.letter(), account, more, chunks)
    }

    fn more(&mut self, kind: char, account: &str, ids: &[u128], chunks: usize) -> usize {
        let mut chunks = chunks;
        for chunk in ids.chunks(IDENTITIES) {
            let text: String = chunk.iter().map(|id| format!("{id:032x}")).collect();
            self.set(format!("{kind}/{account}/{chunks:08}"), text.into_bytes());
            chunks += 1;
        }
        chunks
    }

    /// Whether so many identities lie in so many chunks that it pays to write them anew.
    pub fn is_scattered(identities: usize, chunks: usize) -> bool {
        chunks > 2 * identities.div_ceil(IDENTITIES) + 8
    }
}

impl Journal {
    /// The identities of a POP3 account, and in how many chunks they lie.
    pub fn identities(&self, account: &str) -> Result<(BTreeSet<u128>, usize), Failure> {
        let chunks = self.scan(&format!("u/{account}/"))?;
        let set = identities(&chunks);
        Ok((set, chunks.len()))
    }

    /// The identities with a mark, and in how many chunks they lie.
    pub fn marked(&self, account: &str, mark: IdMark) -> Result<(BTreeSet<u128>, usize), Failure> {
        let chunks = self.scan(&format!("{}/{account}/", mark.letter()))?;
        Ok((identities(&chunks), chunks.len()))
    }

    /// The identities in the first `chunks`.
    pub fn first_identities(&self, account: &str, chunks: usize) -> Result<BTreeSet<u128>, Failure> {
        let found = self.scan(&format!("u/{account}/"))?;
        Ok(identities(found.get(..chunks).unwrap_or(&found)))
    }
}

fn identities(chunks: &[(String, Vec<u8>)]) -> BTreeSet<u128> {
    let texts = chunks.iter().flat_map(|(_, value)| value.chunks(32));
    texts.filter_map(|id| u128::from_str_radix(std::str::from_utf8(id).ok()?, 16).ok()).collect()
}
