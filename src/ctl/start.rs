//! `start` and `finish`: migrations into the queue, and with `--wait` until each has ended.

use std::collections::BTreeMap;
use std::pin::pin;

use futures_util::{Stream, StreamExt};

use crate::control::api::{Manager, Migration, Progress};

use super::Outcome;
use super::connection::{Connection, answer};
use super::idle;
use super::live::{Live, ended, numbers};
use super::precheck;
use super::screen::{Meaning, Screen};
use super::trouble::Trouble;

/// Each name is asked to start once: one that has ended by the next call would begin again.
pub(super) async fn run(
    connection: &mut Connection,
    screen: &mut Screen,
    names: &[String],
    wait: bool,
) -> Outcome {
    let mut good = true;
    for names in names.chunks(precheck::NAMES) {
        let asked: Vec<&str> = names.iter().map(String::as_str).collect();
        let replies = answer(connection.start(&asked, false, wait).await.map(Ok))?.map(answer);
        good &= follow(screen, names, wait, replies).await?;
    }
    Ok(good)
}

/// The same for a queue of many; see [`precheck`].
pub(super) async fn many(
    connection: &mut Connection,
    screen: &mut Screen,
    names: &[String],
    all: bool,
    wait: bool,
) -> Outcome {
    let names = if all { precheck::startable(connection).await? } else { names.to_vec() };
    if names.is_empty() {
        return idle::tell(connection, screen, "migrate", "nothing to start").await;
    }
    if names.len() == 1 {
        return run(connection, screen, &names, wait).await;
    }
    let ready = precheck::ready(connection, screen, &names).await?;
    Ok(run(connection, screen, &ready, wait).await? && ready.len() == names.len())
}

pub(super) async fn finish(
    connection: &mut Connection,
    screen: &mut Screen,
    names: &[String],
    wait: bool,
) -> Outcome {
    let asked: Vec<&str> = names.iter().map(String::as_str).collect();
    let replies = answer(connection.finish(&asked, wait).await.map(Ok))?.map(answer);
    follow(screen, names, wait, replies).await
}

async fn follow(
    screen: &mut Screen,
    names: &[String],
    wait: bool,
    replies: impl Stream<Item = Result<Progress, Trouble>>,
) -> Outcome {
    let mut last: BTreeMap<String, Option<Migration>> =
        names.iter().map(|name| (name.clone(), None)).collect();
    let mut live = Live::new(screen);
    {
        let mut replies = pin!(replies);
        while let Some(reply) = replies.next().await {
            let progress = reply?;
            if screen.json {
                screen.json(&progress)?;
            }
            for migration in progress.migrations {
                if !last.contains_key(&migration.name) {
                    continue;
                }
                if wait && !screen.json {
                    live.migration(screen, &migration);
                }
                last.insert(migration.name.clone(), Some(migration));
            }
        }
    }
    drop(live);
    let mut good = true;
    for name in names {
        if let Some(migration) = last.remove(name) {
            good &= tell(screen, name, migration.as_ref(), wait);
        }
    }
    Ok(good)
}

/// Returns whether it went well.
fn tell(screen: &mut Screen, name: &str, migration: Option<&Migration>, wait: bool) -> bool {
    let Some(migration) = migration else {
        if wait {
            screen.failed(name, Some("no result came; see mailhaulctl queue"));
        } else if !screen.json {
            screen.line(&format!("{name}: queued"));
        }
        return !wait;
    };
    if wait && migration.state != "completed" {
        screen.failed(name, Some(&why(migration)));
        return false;
    }
    if !screen.json {
        let words = match migration.position.filter(|_| !wait) {
            Some(place) => format!("{name}: {}, place {place}", migration.state),
            None if wait => format!("{name}: completed, {}", numbers(migration)),
            None => format!("{name}: {}", migration.state),
        };
        screen.painted(Meaning::of(&migration.state).unwrap_or(Meaning::Quiet), &words);
        if migration.messages_skipped > 0 && wait {
            screen.line(&format!("{name}: what was skipped and why: mailhaulctl show {name}"));
        }
    }
    if let Some(error) = migration.error.as_deref().filter(|_| wait) {
        screen.failed(name, Some(error));
        return false;
    }
    if wait && migration.messages_failed > 0 {
        screen.part_failed(
            name,
            migration.messages_failed,
            &format!("'mailhaulctl start {name}' tries again"),
        );
        return false;
    }
    true
}

fn why(migration: &Migration) -> String {
    let mut words = migration.state.clone();
    if !ended(&migration.state) {
        words = format!("did not end, it is {words}");
    }
    for more in [&migration.outcome, &migration.error].into_iter().flatten() {
        words.push_str(": ");
        words.push_str(more);
    }
    words
}
