//! `reload`: the daemon reads the definitions again; its complaints go to standard error as they are.

use crate::control::api::Manager;

use super::Outcome;
use super::connection::{Connection, answer};
use super::moments::count;
use super::screen::Screen;
use super::trouble::Trouble;

pub(super) async fn run(connection: &mut Connection, screen: &mut Screen) -> Outcome {
    let reloaded = answer(connection.reload().await)?;
    if screen.json {
        screen.json(&reloaded)?;
    } else {
        let good = count(reloaded.accounts, "good definition");
        let invalid = reloaded.invalid;
        if reloaded.refused {
            let stays = "the settings cannot be used, everything stays as it was";
            screen.line(&format!("{stays}: {good}, {invalid} invalid"));
        } else {
            screen.line(&format!("{good}, {invalid} invalid"));
        }
    }
    for error in &reloaded.errors {
        screen.trouble(&Trouble::failed(error.as_str(), ""));
    }
    Ok(reloaded.errors.is_empty() && reloaded.invalid == 0)
}
