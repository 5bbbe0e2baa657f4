//! One poll of an account, whatever its protocol, and what it came to. It refuses to fail without saying how
//! far it came.

use std::sync::Arc;

use tokio_util::task::TaskTracker;

use super::cares::Cares;
use super::maildrop::{self, Errand, directory_of, placed};
use super::meter::Meter;
use super::{Means, belonging, newmail};
use crate::account::{Account, Poll, Protocol};
use crate::destination::place::Naming;
use crate::destination::sorting::Sorting;
use crate::failure::{Failure, Kind};
use crate::journal::SourceRecord;
use crate::migration::Ledger;

/// What a run did.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) ledger: Ledger,
    pub(super) deleted: u64,
    pub(super) bytes: u64,
    pub(super) failure: Option<Failure>,
    /// Part of the work was not done: the notes say why.
    pub(super) unfinished: bool,
    /// The server wants so much time between two logins.
    pub(super) login_delay: Option<std::time::Duration>,
    pub(super) record: SourceRecord,
    /// What else is to be told.
    pub(super) note: Option<String>,
    /// The same, as it is found out.
    pub(super) notes: Vec<String>,
}

/// Polls once. Whatever happens, the outcome says how far it came.
pub(super) async fn poll(
    means: &Means,
    account: &Account,
    work: &Poll,
    meter: &Arc<Meter>,
    landings: &TaskTracker,
    cares: &Arc<Cares>,
) -> Outcome {
    let mut outcome = Outcome::default();
    let begun = async {
        let account = belonging::in_its_era(means, account).await?;
        let moved = belonging::settle(means, &account).await?;
        Ok((account, moved))
    };
    let (account, moved) = match begun.await {
        Ok(begun) => begun,
        Err(failure) => return Outcome { failure: Some(failure), ..outcome },
    };
    let account = &account;
    let result = match account.source.protocol {
        Protocol::Pop3 => match means.naming(account).await {
            Ok(naming) => {
                let place = placed(&naming, &work.mailbox);
                outcome.note = place.note;
                let errand = Errand {
                    mailbox: work.mailbox.clone(),
                    directory: place.directory,
                    limit: means.settings.polling.max_message_size,
                    icon: work.icon.clone(),
                    keep_original: work.keep_original,
                    sorting: sorting(work),
                };
                maildrop::run(means, account, &errand, meter, landings, &mut outcome, None).await
            }
            Err(failure) => Err(failure),
        },
        Protocol::Imap => newmail::run(means, account, work, meter, landings, cares, &mut outcome).await,
    };
    outcome.failure = result.err();
    let found = std::mem::take(&mut outcome.notes);
    let notes: Vec<String> =
        moved.into_iter().chain(outcome.note.take()).chain(found).chain(meter.note()).collect();
    outcome.note = (!notes.is_empty()).then(|| notes.join("; "));
    if let Some(words) = meter.put_off().filter(|_| outcome.ledger.imported == 0) {
        let words = format!("nothing came: {words}");
        outcome.failure.get_or_insert(Failure::new(Kind::Destination, words, "it is tried again"));
    }
    outcome
}

/// The member's rules, with the directories that they file into; only a Maildir has any.
pub(super) fn sorting(work: &Poll) -> Option<Arc<Sorting>> {
    Sorting::new(&work.rules, |folder| directory_of(&Naming::Maildir, folder))
}
