//! How much room a mailbox has (QUOTA, RFC 9208). It refuses to call a mailbox without a limit full or empty:
//! where no limit is told, nothing is known.

use super::answers;
use super::session::Session;
use super::shelf::written;
use crate::failure::Failure;
use crate::message::{Parcel, Room};

impl<T: From<Parcel> + Send + 'static> Session<T> {
    /// The room that a folder's quota roots leave, the tightest of them; default: the server does not tell.
    ///
    /// # Errors
    /// The connection failed.
    pub async fn room(&mut self, folder: &[u8]) -> Result<Room, Failure> {
        let mut room = Room::default();
        if !self.can("QUOTA") {
            return Ok(room);
        }
        let tag = self.send(&[b"GETQUOTAROOT ", written(folder)?.as_slice()].concat()).await?;
        self.finish(&tag, |_| {}).await?;
        while let Some(line) = self.side_line() {
            let found = answers::quota(&line).unwrap_or_default();
            room = Room {
                // Units of 1024 octets (RFC 9208, 5.1).
                octets: least(room.octets, left(found.storage).map(|units| units.saturating_mul(1024))),
                messages: least(room.messages, left(found.messages)),
            };
        }
        Ok(room)
    }
}

/// A limit of 0 is none in practice: servers say it for "not limited".
fn left(used: Option<(u64, u64)>) -> Option<u64> {
    used.filter(|(_, limit)| *limit > 0).map(|(used, limit)| limit.saturating_sub(used))
}

fn least(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}
