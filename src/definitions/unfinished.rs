//! What a change is about, written down before it begins and until it has ended: whoever is stopped in the
//! middle finds there which secrets, and whose progress, may belong to nobody. It refuses to take anything from
//! an account that is defined.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use tokio::task::spawn_blocking;

use super::files;
use crate::failure::{Failure, Kind};
use crate::journal::{Changes, Journal};
use crate::sealed::Vault;

/// Neither its beginning nor its end is one that is read.
const FILE: &str = ".unfinished";

/// What becomes of the accounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Aim {
    /// They are there, with their secrets.
    Stay,
    /// They are gone, with secrets and progress.
    Go,
}

/// A change begins; that is durable on return.
pub(super) fn begin(directory: &Path, aim: Aim, names: &[String]) -> io::Result<()> {
    let mark = if aim == Aim::Go { '-' } else { '+' };
    let text: String = names.iter().map(|name| format!("{mark}{name}\n")).collect();
    files::replace(directory, &directory.join(FILE), &text)
}

/// Ends the change that was begun last, wherever it was stopped: what is kept of accounts that are not `defined`
/// goes. Nothing happens where none was begun. `directory` holds the definitions that are ours.
///
/// # Errors
/// Something is kept still; it is tried again at the next change and at the next start.
pub async fn settle(
    directory: &Path,
    vault: &Vault,
    journal: &Journal,
    defined: &BTreeSet<String>,
) -> Result<(), Failure> {
    let trouble = |e: io::Error| {
        let words = format!("a change of definitions cannot be ended in {}: {e}", directory.display());
        Failure::new(Kind::Journal, words, "look at the state directory, its owner and its disk")
    };
    let (place, vault, defined) = (directory.to_owned(), vault.clone(), defined.clone());
    let wiped = spawn_blocking(move || wipe(&place, &vault, &defined));
    let Some(gone) = wiped.await.map_err(|e| trouble(io::Error::other(e)))?? else { return Ok(()) };
    let mut changes = Changes::default();
    for name in &gone {
        changes.merge(journal.forget(name)?);
    }
    journal.commit(changes).await?;
    files::remove(directory, &directory.join(FILE)).map_err(trouble)
}

/// Whose progress goes; `None`: no change was begun.
fn wipe(directory: &Path, vault: &Vault, defined: &BTreeSet<String>) -> Result<Option<Vec<String>>, Failure> {
    files::clear(directory)?;
    let Some(text) = files::read(&directory.join(FILE))? else { return Ok(None) };
    let of = |mark| text.lines().filter_map(move |line| line.strip_prefix(mark));
    let is_gone = |name: &&str| !defined.contains(*name);
    vault.remove_all(of('+').chain(of('-')).filter(is_gone))?;
    Ok(Some(of('-').filter(is_gone).map(str::to_owned).collect()))
}
