//! Whose mailbox the progress of an account belongs to, and of which mailbox at which source it is. Its definition may
//! get another member or another destination: what came to the old one has not come to the new one. It may get another
//! source: then numbers and names of messages prove nothing any more. It refuses to count either, and to take anything
//! back anywhere but where it came.

use super::{Means, Place, blocking, now, proof};
use crate::account::{Account, Job};
use crate::destination::maildir::Origin;
use crate::destination::server;
use crate::failure::{Failure, Kind};
use crate::journal::{Belonging, Changes};

fn of(account: &Account) -> Belonging {
    Belonging {
        member: account.member.clone(),
        destination: account.destination.clone(),
        source: Some(source(account)),
        era: account.era,
    }
}

fn source(account: &Account) -> (String, String) {
    let whose = account.source.authorize_as.as_ref().unwrap_or(&account.source.username);
    let server = format!("{}:{}", account.source.host.to_ascii_lowercase(), account.source.port);
    (server, whose.to_ascii_lowercase())
}

fn mark(account: &Account) -> u64 {
    Origin::pop3(&account.name).account
}

fn is_same_place(one: &Belonging, other: &Belonging) -> bool {
    (&one.member, &one.destination) == (&other.member, &other.destination)
}

/// Which mailbox a source is, by its name and login.
fn era_of((host, login): &(String, String)) -> u64 {
    Origin::pop3(&format!("{login} at {host}")).account
}

/// The account in the era that it is in. With another server or another login it may be another mailbox, where the same
/// numbers and names are other messages. If nothing proves that it is the same one, what comes is compared by its octets
/// with what is here. Nobody can look at what went by LMTP, so there another server for the same login is taken for the
/// same mailbox.
///
/// # Errors
/// The source cannot be asked, or the journal be read.
pub(super) async fn in_its_era(means: &Means, account: &Account) -> Result<Account, Failure> {
    let mut account = account.clone();
    let now = source(&account);
    let Some(known) = means.journal.belonging(&account.name)? else {
        // Whoever began before that was written down goes on with the names that it gave.
        account.era = if has_begun(means, &account)? { 0 } else { era_of(&now) };
        return Ok(account);
    };
    account.era = known.era;
    let same = match known.source {
        Some(old) => {
            old == now || is_alike(means, &account, &old, &now) || proof::holds(means, &account).await?
        }
        None => true,
    };
    if !same {
        account.era = era_of(&now);
        let words = "its source may be another mailbox: what comes is compared with what is here";
        tracing::info!(ACCOUNT = account.name, MEMBER = account.member.to_string(), "{words}");
    }
    Ok(account)
}

fn has_begun(means: &Means, account: &Account) -> Result<bool, Failure> {
    let journal = &means.journal;
    Ok(journal.source(&account.name)?.is_some() || !journal.folders(&account.name)?.is_empty())
}

/// By LMTP the same login, with its domain or without, is enough.
fn is_alike(
    means: &Means,
    account: &Account,
    (_, old): &(String, String),
    (_, new): &(String, String),
) -> bool {
    let local = |login: &str| login.rsplit_once('@').map_or(login, |(local, _)| local).to_owned();
    let alike = old == new || (local(old) == local(new) && !(old.contains('@') && new.contains('@')));
    alike && matches!(means.place(account), Ok(Place::Delivery(_)))
}

/// Where the progress of an account belongs, if that is not where its mail comes home to now.
///
/// # Errors
/// The journal cannot be read.
pub(super) fn elsewhere(means: &Means, account: &Account) -> Result<Option<Belonging>, Failure> {
    Ok(means.journal.belonging(&account.name)?.filter(|known| !is_same_place(known, &of(account))))
}

/// The account as it was when its run began.
///
/// # Errors
/// The journal cannot be read.
pub(super) fn as_it_began(means: &Means, account: &Account) -> Result<Account, Failure> {
    let mut account = account.clone();
    if let Some(old) = elsewhere(means, &account)? {
        (account.member, account.destination) = (old.member, old.destination);
    }
    Ok(account)
}

/// What waited on its way to the old mailbox is of no use any more. It goes before the progress does.
///
/// # Errors
/// The journal cannot be read, or the spool not be written.
async fn clear(means: &Means, account: &Account) -> Result<(), Failure> {
    if elsewhere(means, account)?.is_none() {
        return Ok(());
    }
    let (spool, mark) = (means.spool(), mark(account));
    blocking(move || {
        server::forget(&spool, mark).map_err(|e| {
            let words = format!("{} cannot be written: {e}", spool.display());
            Failure::new(Kind::Destination, words, "it is tried again")
        })
    })
    .await
}

/// A run begins: progress that belongs to another mailbox is forgotten. In words, what became of that.
///
/// # Errors
/// The journal or the spool cannot be read or written.
pub(super) async fn settle(means: &Means, account: &Account) -> Result<Option<String>, Failure> {
    let (known, wanted) = (means.journal.belonging(&account.name)?, of(account));
    if known.as_ref() == Some(&wanted) {
        return Ok(None);
    }
    clear(means, account).await?;
    let mut changes = Changes::default();
    let words = match known.filter(|known| !is_same_place(known, &wanted)) {
        Some(old) => {
            changes.merge(means.journal.forget_progress(&account.name)?);
            changes.no_run_for(&old.member, mark(account));
            let words = format!(
                "what came before went to {old} and is left there; everything is brought to {wanted}"
            );
            tracing::warn!(ACCOUNT = account.name, MEMBER = account.member.to_string(), "{words}");
            Some(words)
        }
        None => None,
    };
    // At another source there may be what was here long ago, and is not known any more.
    if let Some(mut record) = means.journal.source(&account.name)?.filter(|_| words.is_none()) {
        record.anew_at = Some(now());
        changes.source(&account.name, &record);
    }
    changes.belongs(&account.name, &wanted);
    means.journal.commit(changes).await?;
    Ok(words)
}

/// Whoever compares asks before: nothing has come to another mailbox yet.
///
/// # Errors
/// [`Kind::Unsupported`] if the progress belongs to another mailbox.
pub(super) fn is_here(means: &Means, account: &Account) -> Result<(), Failure> {
    let Some(old) = elsewhere(means, account)? else { return Ok(()) };
    let verb = match account.job {
        Job::Poll(_) => "poll",
        Job::Migrate(_) => "start",
    };
    Err(Failure::new(
        Kind::Unsupported,
        format!("what it brought went to {old}, and nothing has come to {} yet", of(account)),
        format!("run 'mailhaulctl {verb} {}' first", account.name),
    ))
}

/// Members differ by their addresses; the name of the destination tells only where it is not the same.
impl std::fmt::Display for Belonging {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.destination.as_str() {
            "default" => write!(f, "{}", self.member),
            other => write!(f, "{} at {other}", self.member),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::Member;

    #[test]
    fn it_is_told_with_its_destination() {
        let member = Member { local: "a@b".to_owned(), domain: "c".to_owned() };
        let mut belonging = Belonging { member, destination: "default".to_owned(), source: None, era: 0 };
        assert_eq!(belonging.to_string(), "a@b@c");
        belonging.destination = "far".to_owned();
        assert_eq!(belonging.to_string(), "a@b@c at far");
    }
}
