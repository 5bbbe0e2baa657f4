//! Sets of UIDs in the store, in chunks, so that a change writes little. It refuses to believe what stands behind
//! a chunk that cannot be read.

use std::collections::BTreeMap;

use super::records::Changes;
use super::side::{self, Side, Turn};
use super::store::Journal;
use crate::failure::Failure;
use crate::message::{Flag, Mark, UidSet};

/// Longest text of a chunk of a set; octets.
const CHUNK: usize = 900;
impl Changes {
    /// A folder's set. Chunks beyond the new end are removed.
    pub fn uids(&mut self, account: &str, folder: u64, side: Side, set: &UidSet) {
        let side = side.name();
        let mut chunk = 0u32;
        let mut text = String::new();
        for (start, end) in set.ranges() {
            let range = if start == end { start.to_string() } else { format!("{start}:{end}") };
            if text.len() + 1 + range.len() > CHUNK {
                self.set(range_key(account, folder, &side, chunk), std::mem::take(&mut text).into_bytes());
                chunk += 1;
            }
            if !text.is_empty() {
                text.push(',');
            }
            text.push_str(&range);
        }
        self.set(range_key(account, folder, &side, chunk), text.into_bytes());
        // An empty chunk ends the set: what an earlier, longer set left behind it is not read.
        self.set(range_key(account, folder, &side, chunk + 1), Vec::new());
    }
}

fn range_key(account: &str, folder: u64, side: &str, chunk: u32) -> String {
    format!("r/{account}/{folder:016x}/{side}/{chunk:08}")
}

impl Journal {
    /// A folder's set. A chunk that cannot be read ends it: less known costs a question, more would cost mail.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn uids(&self, account: &str, folder: u64, side: Side) -> Result<UidSet, Failure> {
        let chunks = self.scan(&format!("r/{account}/{folder:016x}/{}/", side.name()))?;
        Ok(uids(chunks.iter().map(|(_, value)| value.as_slice())))
    }

    /// The sets of a folder that are not empty, flag by flag.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn flags(&self, account: &str, folder: u64, turn: Turn) -> Result<BTreeMap<Flag, UidSet>, Failure> {
        let mut found = BTreeMap::new();
        for flag in Mark::ALL.map(Flag::System) {
            found.insert(flag.clone(), self.uids(account, folder, Side::Flag(turn, flag))?);
        }
        let before = format!("r/{account}/{folder:016x}/{}", turn.keywords());
        let chunks = self.scan(&before)?;
        let name = |key: &str| key.strip_prefix(&before)?.split('/').next().and_then(side::keyword);
        for of_one in chunks.chunk_by(|(a, _), (b, _)| name(a) == name(b)) {
            let Some(word) = of_one.first().and_then(|(key, _)| name(key)) else { continue };
            found.insert(Flag::Keyword(word), uids(of_one.iter().map(|(_, value)| value.as_slice())));
        }
        found.retain(|_, set| !set.is_empty());
        Ok(found)
    }
}

fn uids<'c>(chunks: impl Iterator<Item = &'c [u8]>) -> UidSet {
    let mut set = UidSet::new();
    for chunk in chunks {
        match std::str::from_utf8(chunk).ok().and_then(UidSet::parse) {
            Some(chunk) if !chunk.is_empty() => set.extend(&chunk),
            _ => break,
        }
    }
    set
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Keyword;

    #[tokio::test]
    async fn keywords_have_sets_of_their_own() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::open(dir.path()).unwrap().journal;
        let many: UidSet = (0..900).map(|i| i * 3 + 1).collect();
        let few: UidSet = [7].into_iter().collect();
        let word = |word| Flag::Keyword(Keyword::new(word).unwrap());
        let mut changes = Changes::default();
        for (flag, set) in [
            (word("$Forwarded"), &many),
            (word("a/b"), &few),
            (word("a"), &many),
            (word("none"), &UidSet::new()),
            (Flag::System(Mark::Seen), &few),
        ] {
            changes.uids("a", 5, Side::Flag(Turn::Was, flag), set);
        }
        changes.uids("a", 5, Side::Flag(Turn::On, word("other")), &few);
        journal.commit(changes).await.unwrap();
        let found = journal.flags("a", 5, Turn::Was).unwrap();
        let wanted = [
            (Flag::System(Mark::Seen), few.clone()),
            (word("$forwarded"), many.clone()),
            (word("A"), many),
            (word("A/B"), few.clone()),
        ];
        assert_eq!(found, BTreeMap::from(wanted));
        assert_eq!(journal.flags("a", 5, Turn::On).unwrap(), BTreeMap::from([(word("other"), few)]));
        assert!(journal.flags("a", 6, Turn::Was).unwrap().is_empty());
    }
}
