//! What is known of messages that a connection did not survive: asked for alone, after all others, and given
//! up when the connection breaks each time. It refuses to blame a message for one broken connection.

use std::collections::BTreeMap;

/// A message is given up when so many connections broke while it alone was asked for.
pub(super) const STRIKES: u8 = 3;

/// The care that one folder needs. Kept from connection to connection, as long as the migration runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Care {
    /// Halvings of the number of messages that one command asks for.
    pub(super) halvings: u32,
    /// Messages to be asked for alone, and how many connections broke meanwhile.
    pub(super) alone: BTreeMap<u32, u8>,
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

    /// Whether nothing is known.
    pub fn is_needed(&self) -> bool {
        *self != Care::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
