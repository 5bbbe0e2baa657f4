//! A look at a maildrop that changes nothing, for a check, a plan and a comparison.

use crate::account::Account;
use crate::engine::identity::{identify, slot};
use crate::engine::{Means, odd};
use crate::failure::{Failure, Kind};
use crate::pop3::{Listed, Seen, Session};

/// Sessions of one look.
const SESSIONS: u32 = 4;

/// Opens a session and lists. A server that fails at it in one way is asked in another one.
///
/// # Errors
/// The session cannot be had, or broke.
pub(in crate::engine) async fn listed(
    means: &Means,
    account: &Account,
) -> Result<(Session, Vec<Listed>), Failure> {
    let (mut seen, mut one_by_one) = (Seen::default(), false);
    for left in (0..SESSIONS).rev() {
        let mut session = means.pop3(account).await?;
        if one_by_one {
            session.go_one_by_one();
        }
        session.recall(seen);
        let failure = match session.list().await {
            Ok(maildrop) => return Ok((session, maildrop.messages)),
            Err(failure) => failure,
        };
        let first_of_many = session.answered_one_of_many() && !one_by_one;
        one_by_one |= first_of_many;
        seen = session.seen();
        if left == 0 || !(seen.has_news() || first_of_many) {
            return Err(failure);
        }
    }
    Err(Failure::new(Kind::Stopped, "no session was begun", ""))
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
