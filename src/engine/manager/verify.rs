//! Comparing source and destination when somebody asks. It refuses while the account's mail is being moved:
//! the two sides would be looked at in the middle of a change.

use std::sync::Arc;

use super::super::verify::{Verified, verify};
use super::state::{Entry, Work};
use super::{Manager, Refusal};
use crate::account::Account;
use crate::failure::Failure;

impl Manager {
    /// The account to compare.
    ///
    /// # Errors
    /// No account has that name, policy denies it, or its mail is being moved.
    pub fn to_verify(&self, name: &str) -> Result<Arc<Account>, Refusal> {
        let state = self.lock();
        if let Some(refusal) = state.denied(name) {
            return Err(refusal);
        }
        let Some(Entry { account, work, .. }) = state.entries.get(name) else {
            return Err(state.unknown(name));
        };
        let busy = match work {
            Work::Poll(poll) => poll.running.is_some(),
            Work::Migration(migration) => migration.job.is_some(),
        };
        if busy {
            let what = "its mail is being moved".to_owned();
            return Err(Refusal::Refused(name.to_owned(), what, "wait until that has ended".to_owned()));
        }
        Ok(Arc::clone(account))
    }

    /// Compares source and destination, message by message; with `bodies` octet by octet. `told` is called
    /// folder by folder.
    ///
    /// # Errors
    /// The source or the destination cannot be read.
    pub async fn verify(
        &self,
        account: &Account,
        bodies: bool,
        mut told: impl FnMut(&Verified) + Send,
    ) -> Result<Verified, Failure> {
        let means = self.means();
        verify(&means, account, bodies, &mut told).await
    }
}
