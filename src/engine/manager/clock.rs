//! The clock of the machine may be set, forwards or backwards: what is due in five minutes is due in five
//! minutes all the same. It refuses to call a slow tick a jump.

use std::time::{Duration, Instant};

use super::state::{State, Work};

/// A difference up to this is drift, and a clock that is set in small steps; milliseconds.
const DRIFT: i64 = 30_000;

/// When both clocks were looked at last.
#[derive(Debug, Default)]
pub(super) struct Clock(Option<(i64, Instant)>);

impl Clock {
    /// By how many milliseconds the clock was set since the last look; 0 if it was not.
    pub(super) fn jump(&mut self, wall: i64, steady: Instant) -> i64 {
        let Some((wall_before, steady_before)) = self.0.replace((wall, steady)) else { return 0 };
        let passed = steady.saturating_duration_since(steady_before);
        let jump = wall - wall_before - millis(passed);
        if jump.abs() > DRIFT { jump } else { 0 }
    }
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX / 4)
}

impl State {
    /// The clock was set by so many milliseconds.
    pub(super) fn shift(&mut self, by: i64) {
        self.timetable.shift(by);
        self.hosts.shift(by);
        self.repeats.shift(by);
        for entry in self.entries.values_mut() {
            if let Work::Migration(migration) = &mut entry.work
                && let Some(at) = &mut migration.record.next_try_at
            {
                *at = at.saturating_add(by);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_jump_is_a_jump() {
        let (mut clock, start) = (Clock::default(), Instant::now());
        let later = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(clock.jump(1_000_000, start), 0);
        assert_eq!(clock.jump(1_600_000, later(600)), 0, "time passed");
        assert_eq!(clock.jump(1_620_000, later(605)), 0, "a small step");
        assert_eq!(clock.jump(1_625_000 - 86_400_000, later(610)), -86_400_000);
        assert_eq!(clock.jump(1_630_000, later(615)), 86_400_000);
        assert_eq!(clock.jump(1_635_000, later(620)), 0);
    }
}
