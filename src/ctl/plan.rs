//! `start --dry-run`: what each migration would do, folder by folder.

use std::collections::BTreeSet;
use std::pin::pin;

use futures_util::StreamExt;

use crate::control::api::{Manager, Planned};

use super::Outcome;
use super::connection::{Connection, answer};
use super::moments::{count, size};
use super::screen::{Meaning, Screen};
use super::table::Table;

pub(super) async fn run(
    connection: &mut Connection,
    screen: &mut Screen,
    names: &[String],
    all: bool,
) -> Outcome {
    let asked: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut unanswered: BTreeSet<&str> = asked.iter().copied().collect();
    let mut good = true;
    let mut replies = pin!(answer(connection.plan(&asked, all).await.map(Ok))?);
    while let Some(reply) = replies.next().await {
        let plan = answer(reply)?;
        if plan.name.is_empty() {
            // There was nothing to plan.
            continue;
        }
        unanswered.remove(plan.name.as_str());
        good &= plan.ok;
        if screen.json {
            screen.json(&plan)?;
        } else if plan.ok {
            tell(screen, &plan);
        }
        if !plan.ok {
            screen.failed(&plan.name, plan.error.as_deref());
        }
    }
    for name in &unanswered {
        screen.failed(name, Some("was not looked at; try again"));
    }
    Ok(good && unanswered.is_empty())
}

fn tell(screen: &mut Screen, plan: &Planned) {
    let mut words = format!(
        "{}: {}, {} ({}); {} ({}) would be brought now",
        plan.name,
        count(plan.folders.len() as u64, "folder"),
        count(plan.messages, "message"),
        size(plan.bytes),
        count(plan.new_messages, "message"),
        size(plan.new_bytes)
    );
    if let Some(days) = plan.days {
        words.push_str(&format!(", in {} at least: the source has a daily limit", count(days, "day")));
    }
    if let Some(room) = plan.room {
        words.push_str(&format!("; the destination has room for {}", size(room)));
    }
    screen.painted(Meaning::Good, &words);
    if let Some(login) = &plan.login {
        screen.line(&super::check::logged_in(login, &plan.capabilities));
    }
    let mut table =
        Table::new(&["SOURCE FOLDER", "DESTINATION", "FOLDER", "MESSAGES", "NEW", "SIZE", "NOTE"]);
    for folder in &plan.folders {
        table.row(vec![
            folder.source.clone(),
            folder.destination.clone(),
            if folder.made { "made" } else { "there" }.to_owned(),
            folder.messages.to_string(),
            folder.new_messages.to_string(),
            size(folder.bytes),
            folder.note.clone().unwrap_or_default(),
        ]);
    }
    table.print(screen, "");
    for note in &plan.notes {
        screen.line(&format!("  {note}"));
    }
}
