//! `watch`: live progress until the caller has seen enough.

use std::pin::pin;

use futures_util::StreamExt;

use crate::control::api::Manager;

use super::Outcome;
use super::connection::{Connection, answer};
use super::live::Live;
use super::screen::Screen;

pub(super) async fn run(connection: &mut Connection, screen: &mut Screen, name: Option<&str>) -> Outcome {
    let mut live = Live::new(screen);
    let mut replies = pin!(answer(connection.watch(name).await.map(Ok))?);
    while let Some(reply) = replies.next().await {
        let progress = answer(reply)?;
        if screen.json {
            screen.json(&progress)?;
        } else {
            for migration in &progress.migrations {
                live.migration(screen, migration);
            }
            let running: Vec<&str> = progress.polls.iter().map(|poll| poll.name.as_str()).collect();
            live.only_polls(&running);
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
