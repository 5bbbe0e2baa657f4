//! An owner's consent, asked for when somebody says so. It refuses accounts that need none; the code is shown
//! to whoever asked and kept nowhere.

use std::sync::Arc;

use super::super::Question;
use super::state::{Entry, State, Work};
use super::{Manager, Refusal, now};
use crate::account::Account;
use crate::failure::{Failure, Kind};
use crate::journal::Changes;
use crate::migration::State as Stage;
use crate::secret::Grant;

impl Manager {
    /// The account whose owner is to consent.
    ///
    /// # Errors
    /// No account has that name, policy denies it, or it needs no consent.
    pub fn to_authorize(&self, name: &str) -> Result<Arc<Account>, Refusal> {
        let state = self.lock();
        if let Some(refusal) = state.denied(name) {
            return Err(refusal);
        }
        let Some(Entry { account, .. }) = state.entries.get(name) else { return Err(state.unknown(name)) };
        let what = match account.source.password.oauth2().map(|oauth2| &oauth2.grant) {
            Some(Grant::Owner) => return Ok(Arc::clone(account)),
            Some(_) => "its tokens come on an administrator's word",
            None => "it logs in with a password",
        };
        let mend = "mailhaulctl check tells whether it is ready";
        Err(Refusal::Refused(name.to_owned(), what.to_owned(), mend.to_owned()))
    }

    /// Waits for the owner's consent, given for a code or in a browser on this machine; `told` gets what is
    /// shown. What waited for it goes on.
    ///
    /// # Errors
    /// It was refused, or not given in time.
    pub async fn authorize(
        &self,
        account: &Account,
        browser: bool,
        told: impl FnOnce(Question),
    ) -> Result<(), Failure> {
        let means = self.means();
        let Some(oauth2) = account.source.password.oauth2() else {
            return Err(Failure::new(Kind::Unsupported, "it logs in with a password", ""));
        };
        means.authorize(account, oauth2, browser, told).await?;
        let written = {
            let mut state = self.lock();
            let mut changes = Changes::default();
            match state.entries.get_mut(&account.name).map(|entry| &mut entry.work) {
                Some(Work::Migration(entry)) if entry.record.state == Stage::Retrying => {
                    entry.record.next_try_at = Some(now());
                    entry.record.tries = 0;
                    changes.migration(&account.name, &entry.record);
                }
                Some(Work::Poll(entry)) if State::is_enabled(account, &entry.record) && !self.once => {
                    state.timetable.set(&account.name, now());
                }
                _ => {}
            }
            means.journal.enqueue(changes)
        };
        written.await?;
        tracing::info!(
            ACCOUNT = account.name,
            MEMBER = account.member.to_string(),
            "its owner has consented"
        );
        self.told();
        Ok(())
    }
}
