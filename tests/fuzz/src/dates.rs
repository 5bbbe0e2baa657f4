//! Dates as servers and messages write them. It demands that a date of IMAP comes back, that an arrival
//! lies between 1970 and tomorrow, and that nothing below the headers counts.

use mailhaul::destination::received::arrival;
use mailhaul::imap::internal_date;

const NOW: i64 = 1_795_000_000;

/// An INTERNALDATE, and the head of a message.
pub fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Some(seconds) = internal_date(&text) {
        let time = jiff::Timestamp::from_second(seconds).unwrap().to_zoned(jiff::tz::TimeZone::UTC);
        // Before the year 0 there is no date in four digits.
        if time.year() >= 0 {
            let written = time.strftime("%d-%b-%Y %H:%M:%S +0000").to_string();
            assert_eq!(internal_date(&written), Some(seconds), "{written}");
        }
    }
    let date = arrival(data, NOW);
    assert!(date.is_none_or(|seconds| (0..=NOW + 86_400).contains(&seconds)), "{date:?}");
    let end = [data, b"\r\n\r\n"].concat();
    let more = [&end, b"Received: x; Tue, 22 Jan 2008 10:20:30 +0000\r\n".as_slice()].concat();
    assert_eq!(arrival(&more, NOW), arrival(&end, NOW), "the body counts");
}
