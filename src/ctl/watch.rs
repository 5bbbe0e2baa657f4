//! `watch`: live progress until the caller has seen enough.

use std::collections::BTreeSet;
use std::pin::pin;

use futures_util::StreamExt;

use crate::control::api::Manager;

use super::Outcome;
use super::connection::{Connection, answer};
use super::live::{Live, ended, numbers};
use super::screen::{Meaning, Screen};

pub(super) async fn run(connection: &mut Connection, screen: &mut Screen, name: Option<&str>) -> Outcome {
    let mut live = Live::new(screen);
    let mut running = BTreeSet::new();
    let mut replies = pin!(answer(connection.watch(name).await.map(Ok))?);
    while let Some(reply) = replies.next().await {
        let progress = answer(reply)?;
        if screen.json {
            screen.json(&progress)?;
        } else {
            for migration in &progress.migrations {
                let over = ended(&migration.state);
                let ran = if over { running.remove(&migration.name) } else { true };
                if !over {
                    running.insert(migration.name.clone());
                }
                if ran || !screen.terminal {
                    live.migration(screen, migration);
                }
                if over && ran && screen.terminal {
                    // Its bar has gone; in a pipe the change itself was a line.
                    let words = format!("{}: {}, {}", migration.name, migration.state, numbers(migration));
                    let meaning = Meaning::of(&migration.state).unwrap_or(Meaning::Quiet);
                    live.apart(|| screen.painted(meaning, &words));
                }
            }
            let polls: Vec<&str> = progress.polls.iter().map(|poll| poll.name.as_str()).collect();
            live.only_polls(&polls);
            for poll in &progress.polls {
                live.poll(screen, &poll.name, poll.messages_done, poll.messages_total);
            }
        }
        if screen.closed() {
            break;
        }
    }
    Ok(true)
}
