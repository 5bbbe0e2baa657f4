//! The way into a folder at a server: opened, made if it is not there, and asked for again where the server refuses
//! in words that may pass. It refuses to blame the folder before another one has been opened.

use std::time::Duration;

use super::carrier::{Carrier, lost};
use crate::failure::{Failure, Kind};
use crate::imap::{Selected, Session};
use crate::message::Parcel;

/// Before each further look at a folder that does not open.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(3)];

impl Carrier {
    /// Opens the folder of that name, made for a special use if it is not there.
    ///
    /// # Errors
    /// [`Kind::Folder`] if this folder does not open and others do.
    pub(super) async fn enter(&mut self, name: &[u8], special: Option<&str>) -> Result<Selected, Failure> {
        let (mut pauses, mut silent) = (PAUSES.into_iter(), false);
        loop {
            let session = self.connected().await?;
            session.hurry(silent);
            let entered = open_or_make(session, name, special).await;
            session.hurry(false);
            let failure = match entered {
                Err(failure) if may_be_the_folder(&failure) => failure,
                entered => return entered,
            };
            silent |= failure.kind == Kind::Stalled;
            if failure.broke() {
                self.session = None;
            }
            match pauses.next() {
                Some(pause) => tokio::time::sleep(pause).await,
                None => return Err(self.whose_fault(name, failure).await?),
            }
        }
    }

    async fn connected(&mut self) -> Result<&mut Session<Parcel>, Failure> {
        if self.session.is_none() {
            self.session = Some(self.server.connect().await?);
        }
        self.session.as_mut().ok_or_else(lost)
    }

    /// The failure is the folder's where the inbox opens.
    async fn whose_fault(&mut self, name: &[u8], failure: Failure) -> Result<Failure, Failure> {
        if name.eq_ignore_ascii_case(b"INBOX") {
            return Ok(failure);
        }
        let opens = self.connected().await?.select(b"INBOX").await;
        if opens.as_ref().is_err_and(Failure::broke) {
            self.session = None;
        }
        Ok(match opens {
            Ok(Some(_)) => Failure { kind: Kind::Folder, ..failure },
            Ok(None) | Err(_) => failure,
        })
    }
}

async fn open_or_make(
    session: &mut Session<Parcel>,
    name: &[u8],
    special: Option<&str>,
) -> Result<Selected, Failure> {
    if let Some(selected) = session.select(name).await? {
        return Ok(selected);
    }
    session.create(name, special).await?;
    let selected = session.select(name).await?;
    selected.ok_or_else(|| Failure::new(Kind::Folder, "the folder was made and cannot be opened", ""))
}

/// Whether another look may say more: words that are known to be about the folder need none.
fn may_be_the_folder(failure: &Failure) -> bool {
    use Kind::{
        Credentials, Disconnected, Expired, InUse, Protocol, Stalled, Throttled, Unavailable, Unsupported,
    };
    matches!(
        failure.kind,
        Credentials
            | Disconnected
            | Expired
            | InUse
            | Protocol
            | Stalled
            | Throttled
            | Unavailable
            | Unsupported
    )
}
