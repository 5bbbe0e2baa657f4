//! How long to wait before the next try: one pure function, the only place with jitter. It refuses to hurry:
//! at most ten connections go to a failing account in its first ten minutes.

use std::time::Duration;

use crate::failure::{Again, Failure, Kind, Reach};

const FIRST: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_secs(600);
/// Our own side is asked more often: nobody is bothered, and a person may have made space.
const LONGEST_OURS: Duration = Duration::from_secs(30);
/// A person has to act: who does it by `authorize` waits for nothing.
const CONSENT: Duration = Duration::from_secs(60);
const LONGEST_CONSENT: Duration = Duration::from_secs(3600);
/// Refused credentials are tried so often before a migration fails for good.
pub(super) const CREDENTIAL_TRIES: u32 = 3;

/// The pause before try number `tries + 1`; `tries` in vain since the last progress, `roll` in `0.0..1.0`.
pub(super) fn pause(failure: &Failure, tries: u32, roll: f64) -> Duration {
    if failure.again() == Again::Now && tries <= 1 {
        return Duration::from_secs(1);
    }
    let (first, longest) = match (failure.kind, failure.reach()) {
        (Kind::Credentials, _) => (Duration::from_secs(2), LONGEST),
        (Kind::Consent, _) => (CONSENT, LONGEST_CONSENT),
        (_, Reach::Us) => (Duration::from_secs(2), LONGEST_OURS),
        _ => (FIRST, LONGEST),
    };
    let doubled = first.saturating_mul(1u32.checked_shl(tries.saturating_sub(1).min(20)).unwrap_or(u32::MAX));
    let jittered = doubled.min(longest).mul_f64(0.8 + 0.4 * roll.clamp(0.0, 1.0));
    failure.wait.map_or(jittered, |asked| asked.max(jittered))
}

/// The time from one poll to the next: the interval, a tenth more or less, so that servers are not hit at once.
pub(super) fn spread(interval: Duration, roll: f64) -> Duration {
    interval.mul_f64(0.9 + 0.2 * roll.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_connects_in_ten_minutes_at_most() {
        for kind in [Kind::Unavailable, Kind::Disconnected, Kind::Unreachable, Kind::Protocol, Kind::Tls] {
            let failure = Failure::new(kind, "x", "");
            let (mut at, mut connects) = (Duration::ZERO, 0);
            while at <= Duration::from_secs(600) {
                connects += 1;
                at += pause(&failure, connects, 0.0);
            }
            assert!(connects <= 10, "{kind:?}: {connects}");
        }
    }

    #[test]
    fn what_the_server_asks_for_is_obeyed() {
        let failure = Failure::new(Kind::Throttled, "x", "").waiting(Some(Duration::from_secs(3000)));
        assert_eq!(pause(&failure, 1, 0.5), Duration::from_secs(3000));
    }
}
