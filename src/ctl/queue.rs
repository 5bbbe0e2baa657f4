//! `queue` and `history`: migrations that wait and run, and those that ended.

use crate::control::api::{Manager, Migrations};

use super::Outcome;
use super::connection::{Connection, answer};
use super::moments::{moment, size};
use super::screen::Screen;
use super::table::Table;

pub(super) async fn queue(connection: &mut Connection, screen: &mut Screen) -> Outcome {
    let answer = answer(connection.queue().await)?;
    tell(screen, answer, "the queue is empty", "STARTED")
}

pub(super) async fn history(connection: &mut Connection, screen: &mut Screen) -> Outcome {
    let answer = answer(connection.history().await)?;
    tell(screen, answer, "no migration has ended yet", "FINISHED")
}

fn tell(screen: &mut Screen, answer: Migrations, otherwise: &str, time: &'static str) -> Outcome {
    if screen.json {
        screen.json(&answer)?;
        return Ok(true);
    }
    let of = |done: u64, total: Option<u64>| match total {
        Some(total) => format!("{done}/{total}"),
        None => done.to_string(),
    };
    let mut table = Table::new(&[
        "PLACE", "NAME", "STATE", "FOLDERS", "MESSAGES", "SKIPPED", "FAILED", "SIZE", time, "NEXT TRY",
        "ERROR",
    ]);
    for migration in answer.migrations {
        let when = if time == "STARTED" { &migration.started_at } else { &migration.finished_at };
        table.row(vec![
            migration.position.map(|place| place.to_string()).unwrap_or_default(),
            migration.name.clone(),
            migration.state.clone(),
            of(migration.folders_done, migration.folders_total),
            of(migration.messages_done, migration.messages_total),
            migration.messages_skipped.to_string(),
            migration.messages_failed.to_string(),
            size(migration.bytes_done),
            moment(screen, when.as_deref()),
            moment(screen, migration.next_try_at.as_deref()),
            migration.error.clone().unwrap_or_default(),
        ]);
    }
    table.print(screen, otherwise);
    Ok(true)
}
