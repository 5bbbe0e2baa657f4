//! Whose mailbox the progress of an account belongs to, and of which mailbox at which source it is. Its definition may
//! get another member or another destination: what came to the old one has not come to the new one. It may get another
//! source: then numbers and names of messages prove nothing any more. It refuses to count either, and to take anything
//! back anywhere but where it came.

use super::{Means, Place, blocking};
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
    (account.source.host.to_ascii_lowercase(), whose.to_ascii_lowercase())
}

fn is_same_place(one: &Belonging, other: &Belonging) -> bool {
    (&one.member, &one.destination) == (&other.member, &other.destination)
}

/// The era that an account is in. With another server or another login it may be another mailbox, where the same
/// numbers and names are other messages: what comes is compared by its octets with what is here. Nobody can look at
/// what went by LMTP, so there another server for the same login is taken for the same mailbox.
///
/// # Errors
/// The journal cannot be read.
pub(super) fn era(means: &Means, account: &Account) -> Result<u32, Failure> {
    let Some(known) = means.journal.belonging(&account.name)? else { return Ok(0) };
    let Some((old_host, old_login)) = known.source else { return Ok(known.era) };
    let (host, login) = source(account);
    let local = |login: &str| login.rsplit_once('@').map_or(login, |(local, _)| local).to_owned();
    let alike = old_login == login
        || (local(&old_login) == local(&login) && !(old_login.contains('@') && login.contains('@')));
    let same = match means.place(account) {
        Ok(Place::Delivery(_)) => alike,
        _ => (old_host, old_login) == (host, login),
    };
    Ok(if same { known.era } else { known.era.saturating_add(1) })
}

fn mark(account: &Account) -> u64 {
    Origin::pop3(&account.name).account
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
pub(super) async fn clear(means: &Means, account: &Account) -> Result<(), Failure> {
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
/// The journal cannot be read.
pub(super) fn settle(
    means: &Means,
    account: &Account,
    changes: &mut Changes,
) -> Result<Option<String>, Failure> {
    let (known, now) = (means.journal.belonging(&account.name)?, of(account));
    if known.as_ref() == Some(&now) {
        return Ok(None);
    }
    let Some(old) = known.filter(|known| !is_same_place(known, &now)) else {
        changes.belongs(&account.name, &now);
        return Ok(None);
    };
    changes.merge(means.journal.forget_progress(&account.name)?);
    changes.no_run_for(&old.member, mark(account));
    changes.belongs(&account.name, &now);
    let words = format!("what came before went to {old} and is left there; everything is brought to {now}");
    tracing::warn!(ACCOUNT = account.name, MEMBER = account.member.to_string(), "{words}");
    Ok(Some(words))
}

/// The same for a poll, at once.
///
/// # Errors
/// The journal or the spool cannot be read or written.
pub(super) async fn settle_poll(means: &Means, account: &Account) -> Result<Option<String>, Failure> {
    clear(means, account).await?;
    let mut changes = Changes::default();
    let words = settle(means, account, &mut changes)?;
    if !changes.is_empty() {
        means.journal.commit(changes).await?;
    }
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
