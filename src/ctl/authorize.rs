//! `authorize`: where an owner types which code, and whether it was done. It refuses to show a code twice.

use std::pin::pin;

use futures_util::StreamExt;

use crate::control::api::Manager;

use super::Outcome;
use super::connection::{Connection, answer};
use super::screen::{Meaning, Screen};

pub(super) async fn run(
    connection: &mut Connection,
    screen: &mut Screen,
    name: &str,
    browser: bool,
) -> Outcome {
    let mut last = None;
    let mut replies = pin!(answer(connection.authorize(name, browser).await.map(Ok))?);
    while let Some(reply) = replies.next().await {
        let authorized = answer(reply)?;
        if screen.json {
            screen.json(&authorized)?;
        } else if let (Some(address), Some(code)) = (&authorized.address, &authorized.code) {
            screen.line(&format!("{name}: its owner opens {address} and types the code"));
            screen.line("");
            screen.painted(Meaning::Good, &format!("    {code}"));
            screen.line("");
            screen.line("waiting; Ctrl-C gives up");
        } else if let Some(address) = &authorized.address {
            screen.line(&format!("{name}: its owner opens, with a browser on this machine"));
            screen.line("");
            screen.painted(Meaning::Good, address);
            screen.line("");
            screen.line("waiting; Ctrl-C gives up");
        }
        last = Some(authorized);
    }
    let last = last.unwrap_or_default();
    let good = last.ok == Some(true);
    if !good {
        screen.failed(name, Some(last.error.as_deref().unwrap_or("was not asked; try again")));
    } else if !screen.json {
        screen.painted(Meaning::Good, &format!("{name}: consent was given and is kept"));
    }
    Ok(good)
}
