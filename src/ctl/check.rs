//! `check`: each account connects, logs in and counts; each failure with its cause.

use std::collections::BTreeSet;
use std::pin::pin;

use futures_util::StreamExt;

use crate::control::api::{Checked, Manager};

use super::Outcome;
use super::connection::{Connection, answer};
use super::moments::{count, size};
use super::screen::{Meaning, Screen};

pub(super) async fn run(connection: &mut Connection, screen: &mut Screen, names: Vec<String>) -> Outcome {
    // No account's name has the sign of an address.
    let (addresses, names): (Vec<String>, Vec<String>) =
        names.into_iter().partition(|name| name.contains('@'));
    let mut all = true;
    for address in &addresses {
        all &= super::find::run(connection, screen, address).await?;
    }
    if names.is_empty() && !addresses.is_empty() {
        return Ok(all);
    }
    Ok(accounts(connection, screen, &names).await? && all)
}

async fn accounts(connection: &mut Connection, screen: &mut Screen, names: &[String]) -> Outcome {
    let asked: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut unanswered: BTreeSet<&str> = asked.iter().copied().collect();
    let mut good = true;
    let mut replies = pin!(answer(connection.check(&asked).await.map(Ok))?);
    while let Some(reply) = replies.next().await {
        let checked = answer(reply)?;
        unanswered.remove(checked.name.as_str());
        good &= checked.ok;
        if screen.json {
            screen.json(&checked)?;
        } else if checked.ok {
            screen.painted(Meaning::Good, &ready(&checked));
            if let Some(login) = &checked.login {
                screen.line(&format!("{}: {}", checked.name, logged_in(login, &checked.capabilities)));
            }
        }
        if !checked.ok {
            screen.failed_now(&checked.name, checked.error.as_deref());
        }
        good &= checked.not_opened.is_empty();
        for words in &checked.not_opened {
            screen.failed_now(&checked.name, Some(words));
        }
    }
    for name in &unanswered {
        screen.failed_now(name, Some("was not checked; try again"));
    }
    Ok(good && unanswered.is_empty())
}

/// As whom, and what the server offers.
pub(super) fn logged_in(login: &str, capabilities: &[String]) -> String {
    match capabilities {
        [] => format!("login as {login}"),
        some => format!("login as {login}; {}", some.join(" ")),
    }
}

fn ready(checked: &Checked) -> String {
    let mut words = format!("{}: ready", checked.name);
    let known = [
        checked.folders.map(|number| count(number, "folder")),
        checked.messages.map(|number| count(number, "message")),
        checked.bytes.map(size),
        checked.room.map(|room| format!("room for {}", size(room))),
    ];
    for word in known.into_iter().flatten() {
        words.push_str(", ");
        words.push_str(&word);
    }
    for note in &checked.notes {
        words.push_str("; ");
        words.push_str(note);
    }
    words
}
