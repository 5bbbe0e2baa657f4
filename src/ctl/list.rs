//! `list`: every account in a line.

use crate::control::api::{Account, Manager};

use super::Outcome;
use super::connection::{Connection, answer};
use super::moments::moment;
use super::screen::Screen;
use super::table::Table;

pub(super) async fn run(
    connection: &mut Connection,
    screen: &mut Screen,
    state: Option<&str>,
    member: Option<&str>,
) -> Outcome {
    let mut answer = answer(connection.list_accounts(state, member).await)?;
    // They come in the order of their definitions, which is that of a queue.
    let is_invalid = |account: &Account| account.state == "invalid";
    answer.accounts.sort_by(|a, b| (is_invalid(a), &a.name).cmp(&(is_invalid(b), &b.name)));
    if screen.json {
        screen.json(&answer)?;
        return Ok(true);
    }
    let mut table = Table::new(&[
        "NAME", "MEMBER", "MODE", "STATE", "RESULT", "LAST RUN", "NEXT RUN", "IMPORTED", "REASON",
    ]);
    for account in &answer.accounts {
        table.row(row(screen, account));
    }
    table.print(screen, "no accounts");
    Ok(true)
}

fn row(screen: &Screen, account: &Account) -> Vec<String> {
    let run = account.last_run.as_ref();
    let written = |text: &Option<String>| text.clone().unwrap_or_default();
    let mode = match (&account.protocol, &account.mode) {
        (Some(protocol), Some(mode)) => format!("{protocol}/{mode}"),
        (protocol, mode) => written(if mode.is_some() { mode } else { protocol }),
    };
    let last = run.and_then(|run| run.finished_at.as_deref().or(run.started_at.as_deref()));
    let next =
        if account.running { "running".to_owned() } else { moment(screen, account.next_run_at.as_deref()) };
    vec![
        account.name.clone(),
        written(&account.member),
        mode,
        account.state.clone(),
        run.map(|run| run.result.clone()).unwrap_or_default(),
        moment(screen, last),
        next,
        run.map(|run| run.imported.to_string()).unwrap_or_default(),
        account.reason.clone().or_else(|| run.and_then(|run| run.error.clone())).unwrap_or_default(),
    ]
}
