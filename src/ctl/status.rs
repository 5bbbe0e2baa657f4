//! `status`: the daemon in a few lines.

use crate::control::api::Manager;

use super::Outcome;
use super::connection::{Connection, answer};
use super::moments::{count, moment, size};
use super::screen::{Meaning, Screen};

pub(super) async fn run(connection: &mut Connection, screen: &mut Screen) -> Outcome {
    let status = answer(connection.get_status().await)?;
    if screen.json {
        screen.json(&status)?;
        return Ok(true);
    }
    screen.line(&format!("mailhauld {}, process {}, user {}", status.version, status.pid, status.user));
    let since = moment(screen, Some(&status.started_at));
    screen.line(&format!("up since    {since}"));
    screen.line(&format!(
        "accounts    {} enabled, {} disabled, {} invalid, {} denied",
        status.enabled, status.disabled, status.invalid, status.denied
    ));
    let mut running =
        vec![count(status.polls_running, "poll"), count(status.migrations_running, "migration")];
    let others = [(status.uploads_running, "upload"), (status.backups_running, "backup")];
    running.extend(
        others.into_iter().filter(|(number, _)| *number > 0).map(|(number, what)| count(number, what)),
    );
    screen.line(&format!("running     {}", running.join(", ")));
    screen.line(&format!("queue       {} waiting", count(status.migrations_waiting, "migration")));
    screen.line(&format!(
        "imported    {}, {} since the start",
        count(status.messages_imported, "message"),
        size(status.bytes_imported)
    ));
    screen.line(&format!(
        "rate        {:.1} messages/s, {}/s",
        status.messages_per_second,
        size(whole(status.bytes_per_second))
    ));
    for warning in &status.warnings {
        screen.painted(Meaning::Bad, &format!("warning     {warning}"));
    }
    Ok(true)
}

/// A rate without its fraction; what is no number is nothing.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast saturates, as it should"
)]
fn whole(rate: f64) -> u64 {
    rate as u64
}
