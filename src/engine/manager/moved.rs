//! A migration whose member or destination was changed in the middle: what has come is put back where it came, and the
//! run begins anew for the other mailbox. It refuses to begin before that is done.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::super::belonging::elsewhere;
use super::super::{Means, Place};
use super::Manager;
use crate::account::Account;
use crate::failure::Failure;
use crate::journal::{Belonging, Changes, MigrationRecord};
use crate::settings::OnFailure;

impl Manager {
    /// Before every try.
    ///
    /// # Errors
    /// The old mailbox cannot be put back yet.
    pub(super) async fn come_over(
        &self,
        account: &Account,
        cancel: &CancellationToken,
    ) -> Result<(), Failure> {
        let means = self.means();
        let Some(old) = elsewhere(&means, account)? else { return Ok(()) };
        let begun = {
            let mut state = self.lock();
            state.migration(&account.name).is_some_and(|(_, entry)| entry.record.started_at.is_some())
        };
        if begun {
            let outcome = match is_undone(&means, &old) {
                true => self.put_back(account, cancel).await?,
                false => "what had come is left there".to_owned(),
            };
            tracing::warn!(
                MIGRATION = account.name,
                MEMBER = account.member.to_string(),
                "it brought mail to {old} when its definition was changed: {outcome}; it begins anew"
            );
            self.begin_anew(&account.name).await?;
        }
        Ok(())
    }

    /// It keeps its place in the queue.
    async fn begin_anew(&self, name: &str) -> Result<(), Failure> {
        let written = {
            let mut state = self.lock();
            let Some((_, entry)) = state.migration(name) else { return Ok(()) };
            (entry.tally, entry.since, entry.cares) = (None, None, Arc::default());
            let old = std::mem::take(&mut entry.record);
            entry.record = MigrationRecord {
                state: old.state,
                place: old.place,
                completed_at: old.completed_at,
                finish: old.finish,
                automatic: old.automatic,
                ..MigrationRecord::default()
            };
            let mut changes = Changes::default();
            changes.migration(name, &entry.record);
            self.means().journal.enqueue(changes)
        };
        written.await
    }
}

/// What was delivered by LMTP stays.
fn is_undone(means: &Means, old: &Belonging) -> bool {
    let delivered = matches!(means.place_of(&old.member, &old.destination), Ok(Place::Delivery(_)));
    means.settings.migrations.on_failure == OnFailure::Rollback && !delivered
}
