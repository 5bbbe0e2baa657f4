//! What is known of messages by their UIDs: the size that the source listed when they came, and a checksum of what came.
//! Another size under the same UID is another message. It refuses to mix the UIDs of two UIDVALIDITYs.

use std::collections::BTreeMap;

use super::records::Changes;
use super::store::Journal;
use crate::failure::Failure;
use crate::message::UidSet;

/// UIDs of one chunk; each takes at most 26 bytes.
const CHUNK: u32 = 32;

/// One message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Measure {
    /// RFC822.SIZE as it was listed, bytes; 0: it was not.
    pub size: u32,
    /// CRC-32 of what came; `None`: not known.
    pub sum: Option<u32>,
    /// What came has another size than was listed.
    pub odd: bool,
}

fn prefix(account: &str, folder: u64, uidvalidity: u32) -> String {
    format!("z/{account}/{folder:016x}/{uidvalidity:08x}/")
}

fn text(chunk: &BTreeMap<u32, Measure>) -> Vec<u8> {
    let one = |(uid, measure): (&u32, &Measure)| {
        let sum = measure.sum.map(|sum| format!(".{sum:x}")).unwrap_or_default();
        format!("{}={}{sum}{}", uid % CHUNK, measure.size, if measure.odd { "!" } else { "" })
    };
    chunk.iter().map(one).collect::<Vec<_>>().join(",").into_bytes()
}

fn read(chunk: u32, value: &[u8]) -> BTreeMap<u32, Measure> {
    let one = |entry: &str| {
        let (at, rest) = entry.split_once('=')?;
        let (rest, odd) = rest.strip_suffix('!').map_or((rest, false), |rest| (rest, true));
        let (size, sum) = rest.split_once('.').map_or((rest, None), |(size, sum)| (size, Some(sum)));
        let sum = sum.and_then(|sum| u32::from_str_radix(sum, 16).ok());
        let at: u32 = at.parse().ok().filter(|at| *at < CHUNK)?;
        let uid = chunk.checked_mul(CHUNK)?.checked_add(at)?;
        Some((uid, Measure { size: size.parse().ok()?, sum, odd }))
    };
    std::str::from_utf8(value).unwrap_or_default().split(',').filter_map(one).collect()
}

impl Changes {
    /// Adds measures of a folder's messages to those that the journal has, and takes away those of `gone`.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn measures(
        &mut self,
        journal: &Journal,
        (account, folder, uidvalidity): (&str, u64, u32),
        new: &BTreeMap<u32, Measure>,
        gone: &UidSet,
    ) -> Result<(), Failure> {
        let prefix = prefix(account, folder, uidvalidity);
        let mut chunks: BTreeMap<u32, BTreeMap<u32, Measure>> = BTreeMap::new();
        for uid in new.keys().copied().chain(gone.iter()) {
            if let std::collections::btree_map::Entry::Vacant(chunk) = chunks.entry(uid / CHUNK) {
                let value = journal.get(&format!("{prefix}{:07x}", uid / CHUNK))?.unwrap_or_default();
                chunk.insert(read(uid / CHUNK, &value));
            }
        }
        for (number, mut chunk) in chunks {
            chunk.retain(|uid, _| !gone.contains(*uid));
            let first = number.saturating_mul(CHUNK);
            chunk.extend(new.range(first..=first.saturating_add(CHUNK - 1)).map(|(uid, new)| (*uid, *new)));
            let key = format!("{prefix}{number:07x}");
            match chunk.is_empty() {
                true => self.remove(key),
                false => self.set(key, text(&chunk)),
            }
        }
        Ok(())
    }
}

impl Journal {
    /// The measures of a folder's messages, by UID.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn measures(
        &self,
        account: &str,
        folder: u64,
        uidvalidity: u32,
    ) -> Result<BTreeMap<u32, Measure>, Failure> {
        let mut found = BTreeMap::new();
        for (key, value) in self.scan(&prefix(account, folder, uidvalidity))? {
            let number = key.rsplit('/').next().and_then(|number| u32::from_str_radix(number, 16).ok());
            found.extend(number.map(|number| read(number, &value)).unwrap_or_default());
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn measures_are_kept_in_small_chunks() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::open(dir.path()).unwrap().journal;
        let largest = Measure { size: u32::MAX, sum: Some(u32::MAX), odd: true };
        let mut all: BTreeMap<u32, Measure> = (1..200).map(|uid| (uid, largest)).collect();
        all.insert(u32::MAX, Measure { size: 7, sum: None, odd: false });
        let at = ("a", 5, 77);
        let mut changes = Changes::default();
        changes.measures(&journal, at, &all, &UidSet::new()).unwrap();
        assert!(changes.iter().all(|(_, value)| value.as_ref().unwrap().len() < 1024));
        journal.commit(changes).await.unwrap();
        assert_eq!(journal.measures("a", 5, 77).unwrap(), all);
        assert!(journal.measures("a", 5, 78).unwrap().is_empty());
        let other = BTreeMap::from([(9, Measure { size: 1, sum: Some(2), odd: false })]);
        let gone: UidSet = (64..96).chain([10]).collect();
        let mut changes = Changes::default();
        changes.measures(&journal, at, &other, &gone).unwrap();
        journal.commit(changes).await.unwrap();
        all.extend(&other);
        all.retain(|uid, _| !gone.contains(*uid));
        assert_eq!(journal.measures("a", 5, 77).unwrap(), all);
    }
}
