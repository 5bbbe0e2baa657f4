//! `poll`: polls now, shows how it goes, and tells how each run ended.

use std::collections::BTreeSet;
use std::pin::pin;

use futures_util::StreamExt;

use crate::control::api::Manager;

use super::Outcome;
use super::connection::{Connection, answer};
use super::idle;
use super::live::Live;
use super::screen::{Meaning, Screen};
use super::show::brought;

pub(super) async fn run(
    connection: &mut Connection,
    screen: &mut Screen,
    names: &[String],
    all: bool,
    wait: bool,
) -> Outcome {
    let asked: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut unfinished: BTreeSet<String> = names.iter().cloned().collect();
    let mut live = Live::new(screen);
    let (mut good, mut idle) = (true, false);
    {
        let mut replies = pin!(answer(connection.poll(&asked, all, wait).await.map(Ok))?);
        while let Some(reply) = replies.next().await {
            let polled = answer(reply)?;
            if polled.name.is_empty() && polled.run.is_none() {
                idle = true;
                continue;
            }
            if screen.json {
                screen.json(&polled)?;
            }
            let Some(run) = &polled.run else {
                unfinished.insert(polled.name.clone());
                match (wait, screen.json) {
                    (_, true) => {}
                    (true, _) => live.poll(screen, &polled.name, polled.messages_done, polled.messages_total),
                    (false, _) => screen.line(&format!("{}: polls now", polled.name)),
                }
                continue;
            };
            unfinished.remove(&polled.name);
            live.end(&polled.name);
            if run.result == "ok" {
                if !screen.json {
                    let words = format!("{}: {}", polled.name, brought(run));
                    live.apart(|| {
                        screen.painted(Meaning::Good, &words);
                        if let Some(note) = run.note.as_ref().filter(|_| !run.unfinished) {
                            screen.line(&format!("{}: {note}", polled.name));
                        }
                    });
                }
                if run.unfinished {
                    good = false;
                    live.apart(|| screen.failed(&polled.name, run.note.as_deref()));
                }
                if run.ledger.failed > 0 {
                    good = false;
                    live.apart(|| {
                        screen.part_failed(&polled.name, run.ledger.failed, "the next poll tries again")
                    });
                }
            } else {
                good = false;
                live.apart(|| screen.failed(&polled.name, run.error.as_deref()));
            }
        }
    }
    drop(live);
    if idle {
        return idle::tell(connection, screen, "poll", "nothing to poll").await;
    }
    if wait {
        for name in &unfinished {
            screen.failed(name, Some("no result came; see mailhaulctl list"));
        }
        good &= unfinished.is_empty();
    }
    Ok(good)
}
