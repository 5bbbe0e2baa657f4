//! `show`: one account whole, folder by folder, with what was not brought and why.

use crate::control::api::{Account, Arrived, Ledger, Manager, Migration, Run, Shown};

use super::Outcome;
use super::connection::{Connection, answer};
use super::moments::{count, moment, size};
use super::screen::Screen;
use super::table::Table;

pub(super) async fn run(connection: &mut Connection, screen: &mut Screen, name: &str) -> Outcome {
    let shown = answer(connection.show_account(name).await)?;
    if screen.json {
        screen.json(&shown)?;
        return Ok(true);
    }
    let Shown { account, migration, folders, skipped } = shown;
    tell_account(screen, &account);
    if let Some(migration) = &migration {
        tell_migration(screen, migration);
    }
    if !folders.is_empty() {
        screen.line("");
        let mut table =
            Table::new(&["FOLDER", "DESTINATION", "STATE", "TOTAL", "DONE", "SKIPPED", "FAILED", "NOTE"]);
        for folder in folders {
            table.row(vec![
                folder.name,
                folder.destination,
                folder.state,
                folder.messages_total.map(|total| total.to_string()).unwrap_or_default(),
                folder.messages_done.to_string(),
                folder.messages_skipped.to_string(),
                folder.messages_failed.to_string(),
                folder.note.unwrap_or_default(),
            ]);
        }
        table.print(screen, "");
    }
    if !skipped.is_empty() {
        screen.line("");
        let mut table = Table::new(&["EXCEPTION IN", "ID", "SIZE", "REASON"]);
        for message in skipped {
            let octets = message.size.map(size).unwrap_or_default();
            table.row(vec![message.folder, message.id, octets, message.reason]);
        }
        table.print(screen, "");
    }
    Ok(true)
}

fn field(screen: &mut Screen, title: &str, text: Option<&str>) {
    if let Some(text) = text.filter(|text| !text.is_empty()) {
        screen.line(&format!("{title:<13}{text}"));
    }
}

fn tell_account(screen: &mut Screen, account: &Account) {
    field(screen, "name", Some(&account.name));
    field(screen, "member", account.member.as_deref());
    field(screen, "state", Some(&account.state));
    field(screen, "reason", account.reason.as_deref());
    field(screen, "protocol", account.protocol.as_deref());
    field(screen, "mode", account.mode.as_deref());
    field(screen, "source", account.source.as_deref());
    field(screen, "mailbox", account.mailbox.as_deref());
    field(screen, "destination", account.destination.as_deref());
    field(screen, "icon", account.icon.as_deref());
    field(screen, "defined in", account.defined_in.as_deref());
    if account.consecutive_failures > 0 {
        field(screen, "failures", Some(&format!("{} in a row", account.consecutive_failures)));
    }
    if account.running {
        field(screen, "now", Some("running"));
    }
    if let Some(run) = &account.last_run {
        tell_run(screen, run);
    }
    if account.next_run_at.is_some() {
        let next = moment(screen, account.next_run_at.as_deref());
        field(screen, "next run", Some(&next));
    }
}

/// The sum that has to come out.
pub(super) fn ledger(ledger: &Ledger) -> String {
    format!(
        "{} seen = {} imported + {} already there + {} skipped + {} failed + {} vanished{}",
        ledger.seen,
        ledger.imported,
        ledger.already_there,
        ledger.skipped,
        ledger.failed,
        ledger.vanished,
        if ledger.adds_up { "" } else { ", not complete yet" }
    )
}

/// What the look at the end said.
pub(super) fn arrived(arrived: &Arrived) -> String {
    let mut words = format!("{} of this run are in place", count(arrived.here, "message"));
    for (number, what) in [
        (arrived.lost, "not there any more"),
        (arrived.duplicated, "there more than once"),
        (arrived.altered, "with another size than when they came"),
    ] {
        if number > 0 {
            words.push_str(&format!(", {number} {what}"));
        }
    }
    words
}

fn tell_run(screen: &mut Screen, run: &Run) {
    let when = moment(screen, run.finished_at.as_deref());
    field(screen, "last run", Some(&format!("{}, {when}: {}", run.result, brought(run))));
    field(screen, "ledger", Some(&ledger(&run.ledger)).filter(|_| run.ledger.seen > 0).map(String::as_str));
    field(screen, "note", run.note.as_deref());
    field(screen, "error", run.error.as_deref());
}

/// What a run of a poll did, in words.
pub(super) fn brought(run: &Run) -> String {
    let mut words = format!("{} imported ({})", count(run.imported, "message"), size(run.bytes));
    for (number, what) in [
        (run.skipped.saturating_sub(run.ledger.failed), "skipped"),
        (run.ledger.failed, "failed"),
        (run.already_there, "already there"),
        (run.deleted, "deleted at the source"),
    ] {
        if number > 0 {
            words.push_str(&format!(", {number} {what}"));
        }
    }
    words
}

fn tell_migration(screen: &mut Screen, migration: &Migration) {
    let place = migration.position.map(|place| format!(", place {place}")).unwrap_or_default();
    field(screen, "migration", Some(&format!("{}{place}", migration.state)));
    field(screen, "messages", Some(&super::live::numbers(migration)));
    let folders = migration.folders_total.map(|total| format!("/{total}")).unwrap_or_default();
    field(screen, "folders", Some(&format!("{}{folders}", migration.folders_done)));
    for (title, time) in [
        ("started", &migration.started_at),
        ("finished", &migration.finished_at),
        ("next try", &migration.next_try_at),
    ] {
        if time.is_some() {
            let shown = moment(screen, time.as_deref());
            field(screen, title, Some(&shown));
        }
    }
    field(
        screen,
        "ledger",
        Some(&ledger(&migration.ledger)).filter(|_| migration.ledger.seen > 0).map(String::as_str),
    );
    field(screen, "arrived", migration.arrived.as_ref().map(arrived).as_deref());
    field(screen, "waits for", migration.waits_for.as_deref());
    field(screen, "outcome", migration.outcome.as_deref());
    field(screen, "error", migration.error.as_deref());
}
