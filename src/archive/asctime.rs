//! The moment in a From line: as asctime(3) writes it, and as programs have varied that: with a zone before or after
//! the year, in digits or by name, without seconds, with the day before the month, with two digits of the year. It
//! refuses to guess a day: a line without one has no moment.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
/// Names of zones that are one zone alone, with their hours east of Greenwich (RFC 5322, 4.3, and Europe's and East
/// Asia's). Any other name counts as UTC.
const ZONES: [(&str, i64); 16] = [
    ("EST", -5),
    ("EDT", -4),
    ("CST", -6),
    ("CDT", -5),
    ("MST", -7),
    ("MDT", -6),
    ("PST", -8),
    ("PDT", -7),
    ("WEST", 1),
    ("CET", 1),
    ("MET", 1),
    ("CEST", 2),
    ("MEST", 2),
    ("EET", 2),
    ("JST", 9),
    ("KST", 9),
];

/// Seconds since 1970; in UTC if no zone is named.
pub(super) fn moment(from_line: &[u8]) -> Option<i64> {
    let text = String::from_utf8_lossy(from_line.get(..from_line.len().min(1000))?);
    let words: Vec<&str> = text.split_whitespace().skip(1).collect();
    // A sender may be called Sun: what follows the day tells.
    (0..words.len()).find_map(|at| {
        let (day, rest) = words.get(at..)?.split_first()?;
        let day = day.trim_end_matches(',').to_ascii_lowercase();
        DAYS.contains(&day.as_str()).then(|| behind(rest)).flatten()
    })
}

/// Whether words name a day of a month, without a time: `Thu Jan 1`, `1 Jan 2015`.
pub(super) fn has_day(words: &[&str]) -> bool {
    let is_day = |word: &str| word.parse().is_ok_and(|day: u8| (1..=31).contains(&day));
    words.windows(2).any(|two| match two {
        [one, other] => (month(one).is_some() && is_day(other)) || (is_day(one) && month(other).is_some()),
        _ => false,
    })
}

/// What stands behind the day of the week.
fn behind(words: &[&str]) -> Option<i64> {
    let (first, rest) = words.split_first()?;
    let (second, rest) = rest.split_first()?;
    let (month, day) =
        month(first).map(|month| (month, second)).or(month(second).map(|month| (month, first)))?;
    let (mut time, mut year, mut east) = (None, None, 0);
    for word in rest {
        let digits = word.bytes().all(|b| b.is_ascii_digit());
        if word.contains(':') && time.is_none() {
            time = Some(clock(word)?);
        } else if digits && matches!(word.len(), 2 | 4) && year.is_none() {
            let number: i16 = word.parse().ok()?;
            year = Some(match (word.len(), number) {
                (2, 0..70) => number + 2000,
                (2, _) => number + 1900,
                _ => number,
            });
        } else if let Some(seconds) = zone(word) {
            east = seconds;
        } else {
            // `remote from HOST`, and whatever else there is.
            break;
        }
    }
    let (hour, minute, second) = time?;
    let there = DateTime::new(year?, month, day.parse().ok()?, hour, minute, second, 0).ok()?;
    Some(there.to_zoned(TimeZone::UTC).ok()?.timestamp().as_second() - east)
}

fn month(word: &str) -> Option<i8> {
    let at = MONTHS.iter().position(|month| word.eq_ignore_ascii_case(month))?;
    i8::try_from(at + 1).ok()
}

/// `15:04:05` or `15:04`.
fn clock(word: &str) -> Option<(i8, i8, i8)> {
    let mut parts = word.split(':').map(|part| part.parse::<i8>().ok());
    let (hour, minute) = (parts.next()??, parts.next()??);
    // A leap second is the one before it.
    let second = parts.next().map_or(Some(0), |second| second)?.min(59);
    parts.next().is_none().then_some((hour, minute, second))
}

/// Seconds east of Greenwich.
fn zone(word: &str) -> Option<i64> {
    let sign = match word.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => {
            let named = ZONES.iter().find(|(name, _)| word.eq_ignore_ascii_case(name));
            let plain = word.len() <= 5 && word.bytes().all(|b| b.is_ascii_uppercase());
            return named.map(|(_, hours)| hours * 3600).or(plain.then_some(0));
        }
    };
    let digits: String = word.chars().skip(1).filter(|c| *c != ':').collect();
    let number: i64 = digits.parse().ok().filter(|_| digits.len() == 4)?;
    Some(sign * (number / 100 * 3600 + number % 100 * 60))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn from_lines_of_many_programs() {
        for line in [
            "From a@b Thu Jan  1 00:00:07 2015",
            "From - Thu Jan 01 00:00:07 2015\r\n",
            // Google Takeout
            "From 1234@xxx Thu Jan 01 00:00:07 +0000 2015\n",
            "From a@b Thu Jan  1 01:00:07 2015 +0100\n",
            "From a@b Wed Dec 31 19:00:07 2014 -0500",
            "From a@b Wed Dec 31 19:00:07 EST 2014",
            "From a@b Thu Jan  1 01:00:07 2015 CET",
            "From a@b Thu Jan  1 01:00:07 MET 2015",
            "From a@b Thu Jan  1 00:00:07 GMT 2015",
            "From a@b Thu Jan  1 00:00:07 2015 remote from uucp 1999",
            "From Sun Thu Jan  1 00:00:07 15",
            "From a b Thu, 1 Jan 2015 00:00:07 +0000",
            "From a@b thu jan  1 00:00:07 2015",
        ] {
            assert_eq!(moment(line.as_bytes()), Some(1_420_070_407), "{line}");
        }
        assert_eq!(moment(b"From a@b Thu Jan  1 00:00 2015"), Some(1_420_070_400));
        assert_eq!(moment(b"From a@b Thu Jan  1 00:00 2015 +0530"), Some(1_420_070_400 - 19_800));
    }

    #[test]
    fn what_is_no_moment() {
        for line in [
            "From a@b",
            "",
            "From a@b Thu",
            "From a@b Thu Jan 32 00:00:07 2015",
            "From a@b Thu Foo 1 00:00:07 2015",
            "From a@b Thu Jan 1 2015",
            "From a@b Thu Jan 1 00:00:07",
            "From a@b Thu Jan 1 25:00:07 2015",
            "From a@b Thu Jan 1 1:2:3:4 2015",
            "From a@b Thu Jan 1 00:00:07 99999999999999",
            "From \u{fffd} Thu \u{661} Jan 00:00:00 2015",
        ] {
            assert_eq!(moment(line.as_bytes()), None, "{line}");
        }
    }
}
