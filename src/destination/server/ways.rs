//! What servers announce and cannot do, by host: found out once, and done in the next simpler way as long as the
//! daemon runs. It refuses to be written down: a server may be mended.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use crate::imap::Manner;

/// Hosts that are remembered at most.
const MOST: usize = 10_000;

/// How messages go to servers that cannot do what they announce.
#[derive(Debug, Clone, Default)]
pub struct Ways(Arc<Mutex<BTreeMap<String, Way>>>);

#[derive(Debug, Clone, Copy, Default)]
struct Way {
    no_groups: bool,
    no_ahead: bool,
}

impl Ways {
    /// How messages go to the server at `place`, its host and port.
    pub(super) fn manner(&self, place: &str) -> Manner {
        let way = self.0.lock().ok().and_then(|ways| ways.get(place).copied()).unwrap_or_default();
        Manner { groups: !way.no_groups, ahead: !way.no_ahead, ..Manner::FAST }
    }

    /// Messages go there in commands of their own.
    pub(super) fn no_groups(&self, place: &str) {
        let change = |way: &mut Way| !std::mem::replace(&mut way.no_groups, true);
        if self.change(place, change) {
            tracing::info!("{place} announces MULTIAPPEND and fails at it: each message goes alone");
        }
    }

    /// Literals wait for the server there.
    pub(super) fn no_ahead(&self, place: &str) {
        let change = |way: &mut Way| !std::mem::replace(&mut way.no_ahead, true);
        if self.change(place, change) {
            tracing::info!("{place} announces LITERAL+ and fails at it: each message waits for its answer");
        }
    }

    fn change(&self, place: &str, change: impl FnOnce(&mut Way) -> bool) -> bool {
        let Ok(mut ways) = self.0.lock() else { return false };
        if ways.len() >= MOST && !ways.contains_key(place) {
            return false;
        }
        change(ways.entry(place.to_owned()).or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_once_is_left_out_at_that_host() {
        let ways = Ways::default();
        assert_eq!(ways.manner("a:143"), Manner::FAST);
        ways.no_groups("a:143");
        ways.clone().no_ahead("a:143");
        let simple = ways.manner("a:143");
        assert!(!simple.groups && !simple.ahead && !simple.alone);
        assert_eq!(ways.manner("b:143"), Manner::FAST);
    }
}
