//! Times, durations and sizes for people; in a pipe, times stay RFC 3339. It refuses to guess: what cannot be
//! read as a time is shown as it came.

use jiff::Timestamp;

use super::screen::Screen;

/// A moment: relative on a terminal, as it came in a pipe, `-` if there is none.
pub(super) fn moment(screen: &Screen, written: Option<&str>) -> String {
    let Some(written) = written else { return "-".to_owned() };
    match written.parse::<Timestamp>() {
        Ok(time) if screen.terminal => relative(screen.now, time),
        _ => written.to_owned(),
    }
}

fn relative(now: Timestamp, time: Timestamp) -> String {
    let seconds = time.as_second() - now.as_second();
    match seconds {
        -1..=1 => "now".to_owned(),
        2.. => format!("in {}", duration(seconds.unsigned_abs())),
        _ => format!("{} ago", duration(seconds.unsigned_abs())),
    }
}

/// A duration in its two largest units at most.
pub(super) fn duration(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

/// Octets with the unit that suits them.
pub(super) fn size(octets: u64) -> String {
    const UNITS: [&str; 4] = ["KB", "MB", "GB", "TB"];
    let mut left = octets;
    let mut unit = "B";
    let mut tenths = 0;
    for larger in UNITS {
        if left < 1024 {
            break;
        }
        tenths = left % 1024 * 10 / 1024;
        left /= 1024;
        unit = larger;
    }
    if unit == "B" || left >= 100 { format!("{left} {unit}") } else { format!("{left}.{tenths} {unit}") }
}

/// A count of things.
pub(super) fn count(number: u64, one: &str) -> String {
    if number == 1 { format!("1 {one}") } else { format!("{number} {one}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_durations() {
        for (octets, shown) in
            [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KB"), (52_428_800, "50.0 MB"), (150 << 20, "150 MB")]
        {
            assert_eq!(size(octets), shown);
        }
        for (seconds, shown) in [(59, "59 s"), (61, "1 min"), (3660, "1 h 1 min"), (90_000, "1 d 1 h")] {
            assert_eq!(duration(seconds), shown);
        }
    }

    #[test]
    fn moments_are_relative_on_a_terminal_only() {
        let screen = |terminal| Screen::onto(Box::new(Vec::new()), Box::new(Vec::new()), terminal, false);
        for (written, shown) in [
            ("2026-11-22T09:50:00Z", "10 min ago"),
            ("2026-11-22T12:00:00Z", "in 2 h 0 min"),
            ("2026-11-22T10:00:00.5Z", "now"),
            ("yesterday", "yesterday"),
        ] {
            assert_eq!(moment(&screen(true), Some(written)), shown);
            assert_eq!(moment(&screen(false), Some(written)), written);
        }
        assert_eq!(moment(&screen(true), None), "-");
    }
}
