//! How long silence is borne: the first one in full, as the server's entry says; a further look at what it fell silent over,
//! shorter, but never shorter than this server needed lately for an ordinary answer. It refuses to take a server that is
//! slow for one that hangs.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// A further look waits this part of the full time. One full wait and four further looks are less than two of them.
const PART: u32 = 5;
/// A further look waits so often as long as an ordinary answer took.
const TIMES: u32 = 2;
/// Answers that came sooner say nothing.
const SOON: Duration = Duration::from_millis(50);
/// For so long an ordinary answer counts.
const LATELY: Duration = Duration::from_secs(1800);

/// The longest that a server was silent lately before an ordinary answer, and when that was.
#[derive(Debug, Default)]
pub(super) struct Slowest(Mutex<Option<(Duration, Instant)>>);

impl Slowest {
    /// An answer came after so much silence.
    pub(super) fn answered_after(&self, silence: Duration) {
        if silence < SOON {
            return;
        }
        let now = Instant::now();
        let mut slowest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if slowest.is_none_or(|(longest, at)| silence >= longest || now.duration_since(at) > LATELY) {
            *slowest = Some((silence, now));
        }
    }

    /// How long a further look waits, where a first one waits `full`.
    pub(super) fn further(&self, full: Duration) -> Duration {
        let slowest = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let lately = slowest.filter(|(_, at)| at.elapsed() <= LATELY).map(|(longest, _)| longest);
        (full / PART).max(lately.unwrap_or_default().saturating_mul(TIMES)).min(full)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_first_look_and_three_more_stay_below_two_minutes() {
        let full = super::super::STALL;
        let further = Slowest::default().further(full);
        assert_eq!(further, Duration::from_secs(12));
        // Between the connections there are some seconds more.
        assert!(full + 3 * further + Duration::from_secs(20) <= Duration::from_secs(120));
        assert_eq!(Slowest::default().further(Duration::from_secs(600)), Duration::from_secs(120));
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_server_needed_lately_it_gets() {
        let (slowest, full) = (Slowest::default(), Duration::from_secs(60));
        slowest.answered_after(Duration::from_millis(20));
        assert_eq!(slowest.further(full), Duration::from_secs(12));
        slowest.answered_after(Duration::from_secs(10));
        slowest.answered_after(Duration::from_secs(3));
        assert_eq!(slowest.further(full), Duration::from_secs(20));
        slowest.answered_after(Duration::from_secs(80));
        assert_eq!(slowest.further(full), full, "never longer than the first");
        tokio::time::sleep(LATELY + Duration::from_secs(1)).await;
        assert_eq!(slowest.further(full), Duration::from_secs(12));
        slowest.answered_after(Duration::from_secs(7));
        assert_eq!(slowest.further(full), Duration::from_secs(14));
    }
}
