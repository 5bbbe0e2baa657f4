//! `enable`, `disable`, `pause`, `resume`, `cancel`: one small call for each name. A name that is refused does
//! not keep the others from being switched.

use crate::control::api::Manager;

use super::Outcome;
use super::connection::{Connection, answer};
use super::screen::{Meaning, Screen};
use super::trouble::Trouble;

/// What is to be so.
#[derive(Debug, Clone, Copy)]
pub(super) enum To {
    Enabled,
    Disabled,
    Paused,
    Resumed,
    Cancelled { keep: bool },
}

pub(super) async fn run(
    connection: &mut Connection,
    screen: &mut Screen,
    to: To,
    names: &[String],
) -> Outcome {
    let mut trouble: Option<Trouble> = None;
    for name in names {
        let returned = match to {
            To::Enabled => connection.enable(name).await,
            To::Disabled => connection.disable(name).await,
            To::Paused => connection.pause(name).await,
            To::Resumed => connection.resume(name).await,
            To::Cancelled { keep } => connection.cancel(name, keep).await,
        };
        match answer(returned) {
            Ok(done) if screen.json => screen.json(&done)?,
            Ok(done) => {
                let meaning = Meaning::of(&done.state).unwrap_or(Meaning::Good);
                screen.painted(meaning, &format!("{}: {}", done.name, done.state));
            }
            Err(other) => {
                // The first one decides the exit status and is told last, by the caller.
                let over = other.ends_everything();
                match &trouble {
                    None => trouble = Some(other),
                    Some(_) => screen.trouble(&other),
                }
                if over {
                    break;
                }
            }
        }
    }
    trouble.map_or(Ok(true), Err)
}
