//! What is held against messages of a source, so that one which breaks connections is given up even if the daemon is
//! started again in between. It refuses to outlive the run.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::records::Changes;
use super::store::Journal;
use crate::failure::Failure;

/// What is held against a message: connections broke over it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StrikeRecord {
    /// How many, while it alone was asked for.
    pub count: u8,
    /// What was said last.
    pub words: String,
}

impl Changes {
    /// What is held against messages of a folder, by UID; `before`: what the journal has of that.
    pub fn strikes(
        &mut self,
        account: &str,
        folder: u64,
        before: &BTreeMap<u32, StrikeRecord>,
        strikes: &BTreeMap<u32, StrikeRecord>,
    ) {
        let key = |uid: &u32| format!("c/{account}/{folder:016x}/{uid}");
        before.keys().filter(|uid| !strikes.contains_key(uid)).for_each(|uid| self.remove(key(uid)));
        for (uid, record) in strikes.iter().filter(|(uid, record)| before.get(uid) != Some(record)) {
            self.set_json(key(uid), record);
        }
    }
}

impl Journal {
    /// What is held against messages of a folder, by UID.
    pub fn strikes(&self, account: &str, folder: u64) -> Result<BTreeMap<u32, StrikeRecord>, Failure> {
        let found = self.scan(&format!("c/{account}/{folder:016x}/"))?.into_iter();
        let record = |(key, value): (String, Vec<u8>)| {
            Some((key.rsplit('/').next()?.parse().ok()?, serde_json::from_slice(&value).ok()?))
        };
        Ok(found.filter_map(record).collect())
    }

    /// What takes away what is held against the messages of an account: a new run begins.
    pub fn forgive(&self, account: &str, changes: &mut Changes) -> Result<(), Failure> {
        for (key, _) in self.scan(&format!("c/{account}/"))? {
            changes.remove(key);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_held_against_messages_outlives_the_daemon() {
        let dir = tempfile::tempdir().unwrap();
        let record = |count, words: &str| StrikeRecord { count, words: words.to_owned() };
        let (none, two) =
            (BTreeMap::new(), BTreeMap::from([(7, record(1, "it closed")), (9, record(0, ""))]));
        {
            let journal = Journal::open(dir.path()).unwrap().journal;
            let mut changes = Changes::default();
            changes.strikes("a", 5, &none, &two);
            changes.strikes("b", 5, &none, &two);
            journal.commit(changes).await.unwrap();
            journal.close().unwrap();
        }
        let journal = Journal::open(dir.path()).unwrap().journal;
        assert_eq!(journal.strikes("a", 5).unwrap(), two);
        assert_eq!(journal.strikes("a", 6).unwrap(), none);
        let mut changes = Changes::default();
        changes.strikes("a", 5, &two, &BTreeMap::from([(9, record(2, "again"))]));
        journal.forgive("b", &mut changes).unwrap();
        journal.commit(changes).await.unwrap();
        assert_eq!(journal.strikes("a", 5).unwrap(), BTreeMap::from([(9, record(2, "again"))]));
        assert_eq!(journal.strikes("b", 5).unwrap(), none);
    }
}
