//! Another connection, after one that broke, and what a folder counts for that cannot be read. It refuses to blame a
//! folder for a server that is gone.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Means;
use super::board::Part;
use super::migrate::Shared;
use crate::account::Account;
use crate::destination::landing::Order;
use crate::destination::maildir::Origin;
use crate::failure::{Failure, Kind, Reach};
use crate::imap::{Care, Session, SourceFolder};
use crate::message::Parcel;
use crate::migration::Ledger;

/// Connections that may break over what nobody needs of a list of folders.
const EXTRAS: usize = 3;
/// Whoever ends a connection because it is asked too much is left alone for so long.
const BREATH: Duration = Duration::from_secs(5);

impl Shared {
    pub(super) fn opens(&self, wire: &[u8]) {
        if let Ok(mut opened) = self.opened.lock() {
            *opened = Some(wire.to_vec());
        }
    }

    /// Another connection, after one that broke over a message of this folder. The longer nothing came, the later.
    pub(super) async fn again(
        &self,
        folder: &SourceFolder,
        failure: &Failure,
    ) -> Result<Session<Order>, Failure> {
        let key = Origin::imap(&self.account.name, &folder.wire, self.account.era).folder;
        // Who waited for a silent server has waited.
        let vain = |cares: &BTreeMap<u64, Care>| {
            cares.get(&key).filter(|care| !care.was_silent()).map_or(0, Care::in_vain)
        };
        let vain = self.cares.lock().map_or(0, |cares| vain(&cares));
        tokio::time::sleep(Duration::from_secs(1 << vain.min(3)).max(breath(failure))).await;
        self.means.imap(&self.account).await
    }

    /// Another connection, after one that broke over a folder: only where another folder opens it is this one's fault.
    pub(super) async fn another(&self, wire: &[u8], failure: Failure) -> Result<Session<Order>, Failure> {
        let opened = self.opened.lock().ok().and_then(|opened| opened.clone());
        let other = || self.board.other_than(wire).or_else(|| Some(b"INBOX".to_vec()));
        let Some(proof) = opened.filter(|opened| opened != wire).or_else(other).filter(|proof| proof != wire)
        else {
            return Err(failure);
        };
        tokio::time::sleep(breath(&failure)).await;
        let mut session = self.means.imap(&self.account).await?;
        match session.examine(&proof).await {
            Err(other) if other.broke() => Err(failure),
            Err(other) if other.reach() != Reach::Folder => Err(other),
            _ => Ok(session),
        }
    }
}

impl Shared {
    /// Whether words that sound as if they were about the account are about one folder: the login was good, and the
    /// server opens another folder just now.
    pub(super) async fn is_its_own(
        &self,
        session: &mut Session<Order>,
        wire: &[u8],
        failure: &Failure,
    ) -> bool {
        let doubtful =
            matches!(failure.kind, Kind::Credentials | Kind::Throttled | Kind::InUse | Kind::Unsupported);
        doubtful && !session.has_open(wire) && self.opens_another(session, wire, failure).await
    }

    /// Whether the server opens another folder just now, and asks for no pause.
    pub(super) async fn opens_another(
        &self,
        session: &mut Session<Order>,
        wire: &[u8],
        failure: &Failure,
    ) -> bool {
        if failure.wait.is_some() {
            return false;
        }
        let opened = self.opened.lock().ok().and_then(|opened| opened.clone());
        let other = || self.board.other_than(wire).or_else(|| Some(b"INBOX".to_vec()));
        match opened.filter(|opened| opened != wire).or_else(other).filter(|proof| proof != wire) {
            Some(proof) => session.examine(&proof).await.is_ok(),
            None => false,
        }
    }
}

impl Means {
    /// A session at the account's source, and its folders. Over what nobody needs of a list and that ends connections it is
    /// asked for them without.
    ///
    /// # Errors
    /// As with [`Means::imap`], and [`Session::folders`].
    pub(super) async fn imap_folders<T: From<Parcel> + Send + 'static>(
        &self,
        account: &Account,
    ) -> Result<(Session<T>, Vec<SourceFolder>), Failure> {
        for _ in 0..EXTRAS {
            let mut session: Session<T> = self.imap(account).await?;
            match session.folders().await {
                Err(_) if session.broke_over_extras() => {}
                folders => return Ok((session, folders?)),
            }
        }
        let mut session: Session<T> = self.imap(account).await?;
        let folders = session.folders().await?;
        Ok((session, folders))
    }
}

/// How long the other side is left alone after that.
fn breath(failure: &Failure) -> Duration {
    if failure.asks_for_less() { BREATH } else { Duration::ZERO }
}

/// That the server is unwell over one folder says nothing of the others.
pub(super) fn its_own(failure: Failure) -> Failure {
    match failure.kind {
        Kind::Unavailable => Failure { kind: Kind::Folder, ..failure },
        _ => failure,
    }
}

/// Whether a failure over one folder leaves the others: it is the folder's own, or cost no more than the connection.
pub(super) fn leaves_others(failure: &Failure) -> bool {
    failure.broke() || failure.reach() == Reach::Folder
}

impl Part {
    /// The numbers of a folder that cannot be read: its messages, if they are counted. Numbers are in messages: a folder
    /// of which nobody knows how many it has is told as a folder.
    pub(super) fn unread(&self) -> Ledger {
        let counted = self.counted.unwrap_or(0);
        Ledger { seen: counted, failed: counted, ..Ledger::default() }
    }
}
