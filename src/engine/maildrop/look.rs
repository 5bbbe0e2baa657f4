//! A look at a maildrop that changes nothing, for a check, a plan and a comparison.

use crate::account::Account;
use crate::engine::identity::{identify, slot};
use crate::engine::{Means, odd};
use crate::failure::Failure;
use crate::pop3::{Listed, Session};

/// Opens a session and lists. A server that answers only the first of several commands is asked once more, one by one.
///
/// # Errors
/// The session cannot be had, or broke.
pub(in crate::engine) async fn listed(
    means: &Means,
    account: &Account,
) -> Result<(Session, Vec<Listed>), Failure> {
    let mut session = means.pop3(account).await?;
    match session.list().await {
        Ok(maildrop) => Ok((session, maildrop.messages)),
        Err(_) if session.answered_one_of_many() => {
            drop(session);
            let mut session = means.pop3(account).await?;
            session.go_one_by_one();
            let maildrop = session.list().await?;
            Ok((session, maildrop.messages))
        }
        Err(failure) => Err(failure),
    }
}

/// The same with the identity of each message, where it is known without fetching the message.
///
/// # Errors
/// Likewise.
pub(in crate::engine) async fn identified(
    means: &Means,
    account: &Account,
) -> Result<(Session, Vec<(Listed, Option<u128>)>), Failure> {
    let (mut session, messages) = listed(means, account).await?;
    let record = means.journal.source(&account.name)?.unwrap_or_default();
    let is_odd = |message: &Listed| odd::is_last(&record.odd, slot(None, message.number, message.size));
    let found = identify(&mut session, &messages, account.era, record.uidls, is_odd).await;
    let ids = found.map_err(|(_, failure)| failure)?.ids;
    Ok((session, messages.into_iter().zip(ids).collect()))
}
