//! What is known of messages that a connection did not survive: asked for alone, after all others, and given
//! up when the connection breaks each time. It refuses to blame a message for one broken connection.

use std::collections::BTreeMap;

use crate::failure::Failure;

/// A message is given up when so many connections broke while it alone was asked for.
pub(super) const STRIKES: u8 = 3;

/// Connections in a row that may bring nothing: several messages may each be asked for in vain.
const IN_VAIN: u8 = 12;

/// The care that one folder needs. Kept from connection to connection, as long as the migration runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Care {
    /// Halvings of the number of messages that one command asks for.
    pub(super) halvings: u32,
    /// Messages to be asked for alone, and how many connections broke meanwhile.
    pub(super) alone: BTreeMap<u32, u8>,
    /// Connections in a row that broke and brought nothing.
    vain: u8,
}

impl Care {
    /// The connection broke while these were asked for by the oldest command that was not answered to its end.
    /// A server answers in the order of asking, so it is probably the first of them.
    pub(super) fn broke(&mut self, first: Option<u32>, asked_alone: bool) {
        let Some(uid) = first else { return };
        if asked_alone {
            let strikes = self.alone.entry(uid).or_default();
            *strikes = strikes.saturating_add(1);
        } else {
            // It may have been another one: fewer are asked for at once from now on.
            self.halvings += 1;
            self.alone.entry(uid).or_default();
        }
    }

    /// After a connection that brought so many messages: another one may bring more.
    ///
    /// # Errors
    /// The failure, if it is of another kind, or came too often.
    pub fn again(&mut self, brought: usize, failure: Failure) -> Result<(), Failure> {
        self.vain = if brought > 0 { 0 } else { self.vain.saturating_add(1) };
        if failure.broke() && self.vain < IN_VAIN { Ok(()) } else { Err(failure) }
    }

    /// Whether nothing is known.
    pub fn is_needed(&self) -> bool {
        *self != Care::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Kind;

    #[test]
    fn one_break_is_no_proof() {
        let mut care = Care::default();
        care.broke(Some(7), false);
        assert_eq!((care.halvings, care.alone.get(&7)), (1, Some(&0)));
        care.broke(Some(7), true);
        care.broke(None, true);
        assert_eq!(care.alone.get(&7), Some(&1));
        assert!(care.is_needed() && !Care::default().is_needed());
    }

    #[test]
    fn connections_that_bring_nothing_end() {
        let failed = |kind| Failure::new(kind, "x", "");
        let mut care = Care::default();
        assert!((1..IN_VAIN).all(|_| care.again(0, failed(Kind::Disconnected)).is_ok()));
        assert!(care.again(1, failed(Kind::Protocol)).is_ok());
        assert!((1..IN_VAIN).all(|_| care.again(0, failed(Kind::Stalled)).is_ok()));
        assert!(care.again(0, failed(Kind::Disconnected)).is_err());
        assert!(Care::default().again(5, failed(Kind::Unreachable)).is_err());
    }
}
