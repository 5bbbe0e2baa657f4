//! Durations and sizes as people write them: `"10min"`, `"50MB"`. Nothing without a unit, no fractions.

use std::time::Duration;

/// What is right for a duration.
pub(super) const DURATION: &str = "write a whole number with s, min, h or d, such as \"10min\"";
/// What is right for a size.
pub(super) const SIZE: &str = "write a whole number with KB, MB or GB, such as \"50MB\", or \"none\"";

/// Ten years: longer than anything that can be waited for, short enough to add to any time.
const LONGEST: u64 = 10 * 366 * 24 * 60 * 60;

/// Reads a duration of at least one second.
pub(super) fn duration(written: &str) -> Option<Duration> {
    let (number, unit) = split(written)?;
    let seconds = number.checked_mul(match unit {
        "s" => 1,
        "min" => 60,
        "h" => 60 * 60,
        "d" => 24 * 60 * 60,
        _ => return None,
    })?;
    (1..=LONGEST).contains(&seconds).then(|| Duration::from_secs(seconds))
}

/// Reads a size of at least one octet; the inner `None` is `"none"`.
pub(super) fn size(written: &str) -> Option<Option<u64>> {
    if written == "none" {
        return Some(None);
    }
    let (number, unit) = split(written)?;
    let octets = number.checked_mul(match unit {
        "KB" => 1 << 10,
        "MB" => 1 << 20,
        "GB" => 1 << 30,
        _ => return None,
    })?;
    (octets > 0).then_some(Some(octets))
}

fn split(written: &str) -> Option<(u64, &str)> {
    let end = written.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = written.split_at_checked(end)?;
    Some((number.parse().ok()?, unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (written, seconds) in
            [("1s", 1), ("90s", 90), ("10min", 600), ("2h", 7200), ("24h", 86400), ("7d", 604_800)]
        {
            assert_eq!(duration(written), Some(Duration::from_secs(seconds)), "{written}");
        }
        for bad in [
            "",
            "10",
            "min",
            "0s",
            "1.5h",
            "-1s",
            "10 min",
            "10m",
            "5ms",
            "99999999999999999999s",
            "9999999d",
        ] {
            assert_eq!(duration(bad), None, "{bad}");
        }
    }

    #[test]
    fn sizes() {
        for (written, octets) in [("50MB", 52_428_800), ("2GB", 2_147_483_648), ("100KB", 102_400)] {
            assert_eq!(size(written), Some(Some(octets)), "{written}");
        }
        assert_eq!(size("none"), Some(None));
        for bad in ["", "50", "MB", "0MB", "50M", "50mb", "99999999999999GB"] {
            assert_eq!(size(bad), None, "{bad}");
        }
    }
}
