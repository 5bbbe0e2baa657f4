//! Which accounts bring mail to which member. Those that may still take it away again: what they brought in a run that
//! can be undone is not there for anybody else. And whose mailbox an account's progress belongs to. It refuses to know
//! of runs that have ended.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::records::Changes;
use super::store::Journal;
use crate::account::Member;
use crate::failure::Failure;
use crate::migration::State;

/// Whose mailbox the progress of an account belongs to, and which source it counts the messages of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Belonging {
    /// The member.
    pub member: Member,
    /// The name of the destination.
    pub destination: String,
    /// Where it came from: the server's name and port, and whose login or mailbox it is there; `None`: nobody wrote it
    /// down.
    pub source: Option<(String, String)>,
    /// Which mailbox that is: it outlives another name of the server.
    pub era: u64,
}

/// A message of the source, by which the mailbox is known again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// The hash of its folder's name; 0: of a maildrop.
    pub folder: u64,
    /// Its UID, or the hash of its UIDL.
    pub message: u128,
    /// Octets on the wire.
    pub octets: u64,
    /// The hash of its beginning.
    pub head: u64,
}

#[derive(Serialize, Deserialize)]
struct Written {
    member: String,
    destination: String,
    #[serde(default)]
    source: Option<(String, String)>,
    #[serde(default)]
    era: u64,
}

impl Changes {
    /// From now on the progress of an account belongs there.
    pub fn belongs(&mut self, account: &str, to: &Belonging) {
        let written = Written {
            member: to.member.to_string(),
            destination: to.destination.clone(),
            source: to.source.clone(),
            era: to.era,
        };
        self.set_json(format!("o/{account}"), &written);
    }

    /// By which messages the source is known again; a few.
    pub fn proofs(&mut self, account: &str, proofs: &[Proof]) {
        self.set_json(format!("q/{account}"), &proofs);
    }

    /// The run for this member is another's now.
    pub fn no_run_for(&mut self, member: &Member, mark: u64) {
        self.remove(format!("w/{member}/{mark:016x}"));
    }

    /// A run for this member begins; `mark` is the hash of the account's name.
    pub fn run_for(&mut self, member: &str, mark: u64, account: &str) {
        self.set(format!("w/{member}/{mark:016x}"), account.as_bytes().to_vec());
    }
}

impl Journal {
    /// By which messages the source is known again.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn proofs(&self, account: &str) -> Result<Vec<Proof>, Failure> {
        Ok(self.record(&format!("q/{account}"))?.unwrap_or_default())
    }

    /// Whose mailbox the progress of an account belongs to; `None`: nothing has begun.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn belonging(&self, account: &str) -> Result<Option<Belonging>, Failure> {
        let Some(written) = self.record(&format!("o/{account}"))? else { return Ok(None) };
        let Written { member, destination, source, era } = written;
        let member = member
            .rsplit_once('@')
            .map(|(local, domain)| Member { local: local.to_owned(), domain: domain.to_owned() });
        Ok(member.map(|member| Belonging { member, destination, source, era }))
    }

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
