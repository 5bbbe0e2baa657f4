//! INTERNALDATE (RFC 3501, `date-time`): `"17-Jul-1996 02:44:25 -0700"`. It refuses dates that no calendar has.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];

/// Seconds since 1970. `None`: it is not a date.
pub fn parse(text: &str) -> Option<i64> {
    let mut parts = text.trim().split_ascii_whitespace();
    let (date, time) = (parts.next()?, parts.next()?);
    let zone = parts.next().unwrap_or("+0000");
    let mut date = date.splitn(3, '-');
    let day: i8 = date.next()?.parse().ok()?;
    let month = date.next()?.to_ascii_lowercase();
    let month = i8::try_from(MONTHS.iter().position(|m| *m == month)? + 1).ok()?;
    let year = year(date.next()?)?;
    let mut time = time.splitn(3, ':');
    let mut number = || time.next()?.parse::<i8>().ok();
    let (hour, minute, second) = (number()?, number()?, number()?);
    let time = DateTime::new(year, month, day, hour, minute, second.min(59), 0).ok()?;
    let digits = zone.get(1..).filter(|d| d.len() == 4 && d.bytes().all(|b| b.is_ascii_digit()))?;
    let (hours, minutes): (i32, i32) = (digits.get(..2)?.parse().ok()?, digits.get(2..)?.parse().ok()?);
    let offset = hours * 3600 + minutes * 60;
    let offset = if zone.starts_with('-') { -offset } else { offset };
    Some(Offset::from_seconds(offset).ok()?.to_timestamp(time).ok()?.as_second())
}

/// A year of two or three digits is one of the last century or this one (RFC 5322, 4.3).
fn year(digits: &str) -> Option<i16> {
    let year: i16 = digits.parse().ok().filter(|_| digits.bytes().all(|b| b.is_ascii_digit()))?;
    Some(match (digits.len(), year) {
        (2, 0..50) => 2000 + year,
        (2 | 3, _) => 1900 + year,
        _ => year,
    })
}

/// The date for APPEND (RFC 3501, `date-time`) of seconds since 1970, in UTC. What no calendar of four digits
/// has becomes the first day of 1970.
pub(super) fn write(seconds: i64) -> String {
    let at = Timestamp::from_second(seconds).unwrap_or_default().to_zoned(TimeZone::UTC);
    let at = if (1..=9999).contains(&at.year()) { at } else { Timestamp::UNIX_EPOCH.to_zoned(TimeZone::UTC) };
    let month = MONTHS.get(usize::try_from(at.month() - 1).unwrap_or(0)).copied().unwrap_or("jan");
    let (first, rest) = month.split_at(1);
    format!(
        "{:2}-{}{rest}-{:04} {:02}:{:02}:{:02} +0000",
        at.day(),
        first.to_ascii_uppercase(),
        at.year(),
        at.hour(),
        at.minute(),
        at.second()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn dates() {
        assert_eq!(parse("17-Jul-1996 02:44:25 -0700"), Some(837_596_665));
        assert_eq!(parse(" 1-Jan-1970 00:00:00 +0000"), Some(0));
        assert_eq!(parse(" 1-JAN-1970 00:30:00 +0030"), Some(0));
        assert_eq!(parse("17-Jul-96 02:44:25 -0700"), Some(837_596_665));
        assert_eq!(parse("17-Jul-096 02:44:25 -0700"), Some(837_596_665));
        assert_eq!(parse("01-Jan-49 00:00:00 +0000"), parse("01-Jan-2049 00:00:00 +0000"));
        assert_eq!(parse("31-Dec-1969 23:59:59 +0000"), Some(-1));
        for bad in [
            "",
            "1-Jan--70 00:00:00 +0000",
            "31-Feb-2000 00:00:00 +0000",
            "1-Jan-1970 24:00:00 +0000",
            "1-Jan-99999 00:00:00 +0000",
            "x",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn as_append_has_it() {
        assert_eq!(write(837_596_665), "17-Jul-1996 09:44:25 +0000");
        assert_eq!(write(0), " 1-Jan-1970 00:00:00 +0000");
        assert_eq!(write(i64::MIN), write(0));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(seconds in -62_135_596_800i64..253_402_200_000) {
            prop_assert_eq!(parse(&write(seconds)), Some(seconds));
        }

        #[test]
        fn no_text_panics(text in "\\PC*|[0-9]{0,3}-[a-zA-Z]{3}-[0-9]{0,5} [0-9:]{0,9} [+-][0-9é]{0,5}") {
            let _ = parse(&text);
        }
    }
}
