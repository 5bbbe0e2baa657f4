//! Mailboxes in one file, of any bytes: every byte of a message is a byte of the file, however lengths and From lines
//! lie, and what is read twice is the same twice.

use super::archive::taken;

/// Labels of one message that are believed.
const LABELS: u64 = 200;

/// The first byte chooses the From line that the file begins with.
pub fn run(data: &[u8]) {
    const FROM: [&[u8]; 4] =
        [b"From a@b Thu Jan  1 00:00:07 2015\n", b"From \nSubject: x\n", b"From - \r\nDate: y\r\n", b""];
    let Some((first, rest)) = data.split_first() else { return };
    let content = [FROM[usize::from(*first) % FROM.len()], rest].concat();
    let (one, done) = taken(&content, "Sent.mbox");
    let (other, _) = taken(&content, "Sent.mbox");
    assert_eq!((one.messages, one.octets, one.told), (other.messages, other.octets, other.told));
    // Each line end may get its carriage return, and labels put a message into a few folders; commas may be encoded (RFC 2047).
    let encoded = if content.windows(2).any(|two| two == b"=?") { LABELS } else { 0 };
    let folders = 1
        + encoded
        + content.iter().filter(|octet| **octet == b',').count() as u64
        + content.windows(6).filter(|six| six.eq_ignore_ascii_case(b"labels")).count() as u64;
    assert!(
        one.octets <= 2 * folders * content.len() as u64,
        "{} bytes came of {}",
        one.octets,
        content.len()
    );
    if first % 4 < 3 {
        assert!(done.is_ok(), "{done:?}");
        assert!(one.messages + one.told > 0, "it was a mailbox, and nothing is said of it");
    }
}
