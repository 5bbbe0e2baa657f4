//! The servers of an address: shown, and taken into a definition only by somebody who has seen them.

use std::io::{self, IsTerminal, Write};
use std::pin::pin;

use futures_util::StreamExt;

use crate::control::api::{Looked, Manager};

use super::Outcome;
use super::connection::{Connection, answer};
use super::screen::{Meaning, Screen};
use super::trouble::Trouble;

/// `check ADDRESS`.
pub(super) async fn run(connection: &mut Connection, screen: &mut Screen, address: &str) -> Outcome {
    let found = find(connection, screen, address, None).await?;
    if found.is_empty() {
        screen.failed(address, Some("no server was found; ask its provider for host and port"));
    }
    Ok(!found.is_empty())
}

/// The keys of the server that an address has, once somebody agreed to it. `protocol`: the one that is wanted.
pub(super) async fn keys(
    connection: &mut Connection,
    screen: &mut Screen,
    address: &str,
    (protocol, first): (Option<&str>, &str),
    agreed: bool,
) -> Result<Vec<String>, Trouble> {
    let found = find(connection, screen, address, protocol).await?;
    let Some(best) = found.iter().find(|one| one.protocol == first).or(found.first()) else {
        return Err(Trouble::failed(
            format!("no server was found for {address}"),
            "write server=HOST, or the name of a server template",
        ));
    };
    let keys = written(best);
    if agreed || (io::stdin().is_terminal() && yes(best)?) {
        return Ok(keys);
    }
    let words = keys.join(" ");
    Err(Trouble::failed("nothing was added: the server was not written", format!("add {words}, or --found")))
}

/// Looks, and shows what is found and what is not.
async fn find(
    connection: &mut Connection,
    screen: &mut Screen,
    address: &str,
    protocol: Option<&str>,
) -> Result<Vec<Looked>, Trouble> {
    let mut found = Vec::new();
    let mut replies = pin!(answer(connection.find(address, protocol).await.map(Ok))?);
    while let Some(reply) = replies.next().await {
        let looked = answer(reply)?;
        let Some(host) = looked.host.clone() else { break };
        if screen.json {
            screen.json(&looked)?;
        } else {
            let place = format!("{} {host}:{} ({})", looked.protocol, looked.port, looked.security);
            match &looked.error {
                None => {
                    let template =
                        looked.template.as_ref().map_or(String::new(), |name| format!(", server={name}"));
                    let line = format!("{place}, by {}{template}: its certificate is good", looked.origin);
                    screen.painted(Meaning::Good, &line);
                }
                Some(error) => {
                    screen.painted(Meaning::Quiet, &format!("{place}, by {}: {error}", looked.origin));
                }
            }
        }
        if looked.ok {
            found.push(looked);
        }
    }
    Ok(found)
}

fn written(looked: &Looked) -> Vec<String> {
    let mut keys = vec![format!("protocol={}", looked.protocol)];
    match &looked.template {
        Some(template) => keys.push(format!("server={template}")),
        None => {
            let host = looked.host.as_deref().unwrap_or_default();
            keys.push(format!("server={host}:{}", looked.port));
            keys.push(format!("server.security={}", looked.security));
        }
    }
    keys
}

fn yes(looked: &Looked) -> Result<bool, Trouble> {
    let trouble = |e: io::Error| Trouble::failed(format!("nobody could be asked: {e}"), "add --found");
    let host = looked.host.as_deref().unwrap_or_default();
    let mut terminal = std::fs::File::options().read(true).write(true).open("/dev/tty").map_err(trouble)?;
    write!(terminal, "Use {} at {host}? [y/N] ", looked.protocol).map_err(trouble)?;
    let mut line = String::new();
    io::BufRead::read_line(&mut io::BufReader::new(&terminal), &mut line).map_err(trouble)?;
    Ok(matches!(line.trim(), "y" | "Y" | "yes"))
}
