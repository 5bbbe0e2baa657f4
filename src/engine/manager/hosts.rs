//! Connections to each host: how many there are and how many may be. A host that throttles gets half as many
//! for a while, down to an eighth of what the settings allow. It refuses to know what a connection is for.

use std::collections::BTreeMap;

/// A halving is taken back after so long without another; milliseconds.
const LESS_FOR: i64 = 600_000;
/// Connections are halved so often at most.
const HALVINGS: u32 = 3;

/// All hosts. Times are milliseconds since 1970.
#[derive(Debug, Default)]
pub(super) struct Hosts(BTreeMap<String, Host>);

#[derive(Debug, Default)]
struct Host {
    used: usize,
    halvings: u32,
    halved_at: i64,
}

impl Host {
    fn halvings(&self, now: i64) -> u32 {
        let back = u32::try_from((now - self.halved_at).max(0) / LESS_FOR).unwrap_or(u32::MAX);
        self.halvings.saturating_sub(back)
    }
}

impl Hosts {
    /// How many connections a host may have where the settings say `most`.
    pub(super) fn allowed(&self, host: &str, most: usize, now: i64) -> usize {
        (most >> self.0.get(host).map_or(0, |host| host.halvings(now))).max(1)
    }

    /// Takes a place for one more connection, if there is one.
    pub(super) fn take(&mut self, host: &str, most: usize, now: i64) -> bool {
        let allowed = self.allowed(host, most, now);
        let host = self.0.entry(host.to_owned()).or_default();
        let free = host.used < allowed;
        host.used += usize::from(free);
        free
    }

    /// Gives a place back.
    pub(super) fn release(&mut self, host: &str, now: i64) {
        if let Some(known) = self.0.get_mut(host) {
            known.used = known.used.saturating_sub(1);
            if known.used == 0 && known.halvings(now) == 0 {
                self.0.remove(host);
            }
        }
    }

    /// The host asks for less: half as many connections from now on.
    pub(super) fn halve(&mut self, host: &str, now: i64) {
        let known = self.0.entry(host.to_owned()).or_default();
        let halvings = (known.halvings(now) + 1).min(HALVINGS);
        if halvings > known.halvings(now) {
            tracing::info!("{host} asks for less: it gets 1/{} of its connections for now", 1u32 << halvings);
        }
        (known.halvings, known.halved_at) = (halvings, now);
    }

    /// The clock was set by so many milliseconds.
    pub(super) fn shift(&mut self, by: i64) {
        for host in self.0.values_mut() {
            host.halved_at += by;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn throttling_halves_and_time_heals() {
        let mut hosts = Hosts::default();
        for _ in 0..16 {
            assert!(hosts.take("a", 16, 0));
        }
        assert!(!hosts.take("a", 16, 0) && hosts.take("b", 16, 0));
        hosts.halve("a", 0);
        assert_eq!((hosts.allowed("a", 16, 0), hosts.allowed("b", 16, 0)), (8, 16));
        for _ in 0..9 {
            hosts.release("a", 0);
        }
        assert!(hosts.take("a", 16, 0) && !hosts.take("a", 16, 0));
        for _ in 0..9 {
            hosts.halve("a", 0);
        }
        assert_eq!((hosts.allowed("a", 16, 1), hosts.allowed("a", 4, 1)), (2, 1));
        hosts.shift(-5_000_000);
        assert_eq!(hosts.allowed("a", 16, -5_000_000 + LESS_FOR), 4, "whatever the clock does");
        assert_eq!(hosts.allowed("a", 16, LESS_FOR), 16);
    }
}
