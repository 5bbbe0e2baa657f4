//! Mail handed over by LMTP: the server files it by the member's own rules, and nobody can ask afterwards
//! whether it is there. So each message is written down before its end is sent, and its answer before the end
//! of the next one: whoever stops us, at most one message of a run is in doubt, and it is sent once more rather
//! than lost. It refuses to know folders, flags and dates: the language has none.

mod carrier;
mod trail;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use std::sync::Arc;

pub use carrier::land;
pub use trail::all_recorded;

use crate::account::Member;
use crate::failure::{Failure, Kind};
use crate::lmtp::{Session, recipient};
use crate::net::Connector;
use crate::settings::Listener;

/// The way to one member's mailbox.
#[derive(Debug)]
pub struct Delivery {
    connector: Connector,
    at: Listener,
    recipient: String,
    /// Connections to the server that all accounts share.
    slots: Arc<Semaphore>,
}

/// A connection, and its place among those that may be open.
struct Connection {
    session: Session,
    _slot: OwnedSemaphorePermit,
}

impl Delivery {
    /// To `member` by the server `at`.
    ///
    /// # Errors
    /// Mail cannot be addressed to that member.
    pub fn new(
        connector: Connector,
        at: Listener,
        member: &Member,
        slots: Arc<Semaphore>,
    ) -> Result<Delivery, Failure> {
        Ok(Delivery { connector, at, recipient: recipient(member)?, slots })
    }

    /// Asks whether the server has the mailbox.
    ///
    /// # Errors
    /// It has not, or does not answer.
    pub async fn ask(&self) -> Result<(), Failure> {
        let asked = async {
            let mut connection = self.connect().await?;
            connection.session.ask(&self.recipient).await?;
            connection.session.close().await;
            Ok(())
        };
        asked.await.map_err(at_home)
    }

    async fn connect(&self) -> Result<Connection, Failure> {
        let slot = Arc::clone(&self.slots).acquire_owned().await;
        let slot = slot.map_err(|_| Failure::new(Kind::Stopped, "it was stopped", ""))?;
        Ok(Connection { session: Session::open(&self.connector, &self.at).await?, _slot: slot })
    }
}

/// The destination's faults are our own affair; a mailbox that is not there is the account's.
fn at_home(failure: Failure) -> Failure {
    let kind = match failure.kind {
        Kind::Full | Kind::Recipient | Kind::Destination | Kind::Journal | Kind::Stopped => return failure,
        _ => Kind::Destination,
    };
    let mend = if failure.mend.is_empty() { "it is tried again".to_owned() } else { failure.mend };
    Failure::new(kind, format!("at the destination, {}", failure.words), mend).waiting(failure.wait)
}
