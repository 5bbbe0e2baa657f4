//! `start` and `finish`: migrations into the queue, and with `--wait` until each has ended.

use std::collections::BTreeMap;
use std::pin::pin;

use futures_util::{Stream, StreamExt};

use crate::control::api::{Manager, Migration, Progress};

use super::Outcome;
use super::connection::{Connection, answer};
use super::live::{Live, ended, numbers};
use super::screen::{Meaning, Screen};
use super::trouble::Trouble;

pub(super) async fn run(
    connection: &mut Connection,
    screen: &mut Screen,
    names: &[String],
    all: bool,
    wait: bool,
) -> Outcome {
    let asked: Vec<&str> = names.iter().map(String::as_str).collect();
    let replies = answer(connection.start(&asked, all, wait).await.map(Ok))?.map(answer);
    follow(screen, names, all, wait, replies).await
}

pub(super) async fn finish(
    connection: &mut Connection,
    screen: &mut Screen,
    names: &[String],
    wait: bool,
) -> Outcome {
    let asked: Vec<&str> = names.iter().map(String::as_str).collect();
    let replies = answer(connection.finish(&asked, wait).await.map(Ok))?.map(answer);
    follow(screen, names, false, wait, replies).await
}

async fn follow(
    screen: &mut Screen,
    names: &[String],
    all: bool,
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
                if !all && !last.contains_key(&migration.name) {
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
    for (name, migration) in &last {
        good &= tell(screen, name, migration.as_ref(), wait);
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
