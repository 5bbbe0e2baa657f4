//! Before a queue of many starts: every connection is looked at, side by side. What cannot work as it is defined
//! waits to be mended or removed; the rest goes, also what fails for the moment: the daemon tries that again.

use std::pin::pin;

use futures_util::StreamExt;

use crate::control::api::Manager;

use super::connection::{Connection, answer};
use super::moments::count;
use super::screen::Screen;
use super::trouble::Trouble;

/// Names that one call may have: well below the daemon's limit for a request.
pub(super) const NAMES: usize = 10_000;

/// Every migration that can be started, in the order of the definitions: not in the queue, and allowed.
pub(super) async fn startable(connection: &mut Connection) -> Result<Vec<String>, Trouble> {
    let accounts = answer(connection.list_accounts(Some("enabled"), None).await)?.accounts;
    let queued = answer(connection.queue().await)?.migrations;
    let queued: std::collections::BTreeSet<String> = queued.into_iter().map(|one| one.name).collect();
    let migrations = accounts.into_iter().filter(|account| account.mode.as_deref() == Some("migrate"));
    Ok(migrations.map(|account| account.name).filter(|name| !queued.contains(name)).collect())
}

/// Checks the accounts and says what is wrong with which; the names of the others, in their order.
pub(super) async fn ready(
    connection: &mut Connection,
    screen: &mut Screen,
    names: &[String],
) -> Result<Vec<String>, Trouble> {
    let mut held_back = std::collections::BTreeSet::new();
    for some in names.chunks(NAMES) {
        let asked: Vec<&str> = some.iter().map(String::as_str).collect();
        let mut replies = pin!(answer(connection.check(&asked).await.map(Ok))?);
        while let Some(reply) = replies.next().await {
            let checked = answer(reply)?;
            if !checked.ok && !checked.passing {
                screen.failed(&checked.name, checked.error.as_deref());
                held_back.insert(checked.name);
            }
        }
    }
    let ready: Vec<String> = names.iter().filter(|name| !held_back.contains(*name)).cloned().collect();
    if !screen.json {
        let waiting = match held_back.len() {
            0 => String::new(),
            number => format!("; {number} wait for set or remove"),
        };
        screen.line(&format!("{} to start{waiting}", count(ready.len() as u64, "account")));
    }
    Ok(ready)
}
