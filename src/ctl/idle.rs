//! `--all` when there is nothing to do: that, and why. It refuses to call it a failure: a timer that polls everything
//! has done what it should.

use std::collections::BTreeMap;

use crate::control::api::{Manager, Progress};

use super::Outcome;
use super::connection::{Connection, answer};
use super::moments::count;
use super::screen::Screen;

/// Tells `words`, and which accounts of that mode are denied or switched off.
pub(super) async fn tell(
    connection: &mut Connection,
    screen: &mut Screen,
    mode: &str,
    words: &str,
) -> Outcome {
    if screen.json {
        screen.json(&Progress::default())?;
        return Ok(true);
    }
    let mut causes: BTreeMap<String, u64> = BTreeMap::new();
    for account in answer(connection.list_accounts(None, None).await)?.accounts {
        let cause = match (account.state.as_str(), account.reason) {
            _ if account.mode.as_deref() != Some(mode) => continue,
            ("denied", Some(reason)) => reason,
            ("disabled", _) => "switched off, see 'mailhaulctl list'".to_owned(),
            _ => continue,
        };
        *causes.entry(cause).or_default() += 1;
    }
    screen.line(words);
    for (cause, number) in causes {
        screen.line(&format!("{}: {cause}", count(number, "account")));
    }
    Ok(true)
}
