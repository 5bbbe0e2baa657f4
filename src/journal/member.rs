//! Which accounts bring mail to one member, and may still take it away again: what they brought in a run that can be
//! undone is not there for anybody else. It refuses to know of runs that have ended.

use std::collections::BTreeMap;

use super::records::Changes;
use super::store::Journal;
use crate::failure::Failure;
use crate::migration::State;

impl Changes {
    /// A run for this member begins; `mark` is the hash of the account's name.
    pub fn run_for(&mut self, member: &str, mark: u64, account: &str) {
        self.set(format!("w/{member}/{mark:016x}"), account.as_bytes().to_vec());
    }
}

impl Journal {
    /// The accounts of a member whose runs may be undone, by the hash of their names.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn unsettled(&self, member: &str) -> Result<BTreeMap<u64, String>, Failure> {
        let prefix = format!("w/{member}/");
        let mut found = BTreeMap::new();
        for (key, value) in self.scan(&prefix)? {
            let mark = key.strip_prefix(&prefix).and_then(|mark| u64::from_str_radix(mark, 16).ok());
            let (Some(mark), Ok(account)) = (mark, String::from_utf8(value)) else { continue };
            let Some(record) = self.migration(&account)? else { continue };
            let may_be_undone = match record.state {
                State::Checking | State::Running | State::Retrying | State::Paused | State::RollingBack => {
                    true
                }
                State::Queued => record.started_at.is_some(),
                State::Ready | State::Completed | State::Failed | State::RolledBack | State::Cancelled => {
                    false
                }
            };
            if may_be_undone {
                found.insert(mark, account);
            }
        }
        Ok(found)
    }
}
