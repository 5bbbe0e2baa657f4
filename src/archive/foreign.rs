//! Files that may have mail in them in a form that is not read here. Their first bytes tell, and each has its cause: what
//! to do with it. It refuses to let one of them pass for a single message: they have many.

use super::asctime::has_day;
use super::tar;

const FORMS: [(&[u8], &str); 16] = [
    (b"!BDN", "it is a data file of Outlook: export it from there"),
    (b"\xcf\xad\x12\xfe", "it is a folder of Outlook Express: export it from there"),
    (b"7z\xbc\xaf\x27\x1c", "it is a 7-Zip archive: unpack it first"),
    (b"Rar!\x1a\x07", "it is a RAR archive: unpack it first"),
    (b"MSCF\0\0\0\0", "it is a cabinet file: unpack it first"),
    (b"Dovecot-LZ4\x0d\x2a\x9b\xc5", "it is compressed with LZ4, which is not read"),
    (b"\x04\x22\x4d\x18", "it is compressed with LZ4, which is not read"),
    (b"\x1f\x9d", "it is compressed with compress, which is not read: unpack it first"),
    (b"LZIP\x01", "it is compressed with lzip, which is not read: unpack it first"),
    (b"\xc7\x71", CPIO),
    (b"\x71\xc7", CPIO),
    (b"!<arch>\n", "it is an ar archive: unpack it first"),
    (b"\x01\x01\x01\x01", "it is a mailbox in the form MMDF, which is not read: convert it to mbox"),
    (b"*mbx*\r\n", "it is a mailbox in the form MBX, which is not read: convert it to mbox"),
    (b"BABYL OPTIONS:", "it is a mailbox in the form Babyl, which is not read: convert it to mbox"),
    (b"#! rnews ", "it is a batch of news, which is not read"),
];
const CPIO: &str = "it is a cpio archive: unpack it first";

/// What the first bytes say; `None`: they are of no such file.
pub(super) fn form(head: &[u8]) -> Option<&'static str> {
    if let Some((_, why)) = FORMS.iter().find(|(magic, _)| head.starts_with(magic)) {
        return Some(why);
    }
    if is_cpio(head) {
        return Some(CPIO);
    }
    if is_mtx(head) {
        return Some("it is a mailbox in the form MTX, which is not read: convert it to mbox");
    }
    tar::resembles(head).then_some("it is a tar archive, and its first header is damaged")
}

/// A header of cpio in letters: its magic number, then hexadecimal digits alone.
fn is_cpio(head: &[u8]) -> bool {
    let magic: [&[u8]; 3] = [b"070701", b"070702", b"070707"];
    magic.iter().any(|magic| head.starts_with(magic))
        && head.get(..76).is_some_and(|header| header.iter().all(u8::is_ascii_hexdigit))
}

/// `DATE,LENGTH;FLAGS` before each message, as TENEX and c-client write it.
fn is_mtx(head: &[u8]) -> bool {
    let line = head.get(..head.len().min(80)).unwrap_or_default().split(|octet| *octet == b'\n').next();
    let Some((date, rest)) = line.and_then(|line| std::str::from_utf8(line).ok()?.split_once(',')) else {
        return false;
    };
    let Some((length, flags)) = rest.trim_end().split_once(';') else { return false };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_digit());
    let words: Vec<&str> = date.split([' ', '-']).filter(|word| !word.is_empty()).collect();
    digits(length) && digits(flags) && words.len() > 3 && has_day(&words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mtx_is_told_from_a_sentence() {
        for (line, expected) in [
            (&b" 7-Jan-2015 00:00:07 +0000,52;000000000001\r\nSubject: a\r\n"[..], true),
            (b"17-Jan-2015 00:00:07 +0100,52;000000000000\n", true),
            (b"On 7-Jan-2015, we met; that is all\n", false),
            (b"Subject: a 7-Jan-2015 00:00:07 +0000,5;x\n", false),
            (b"1,2;3\n", false),
        ] {
            assert_eq!(is_mtx(line), expected, "{}", String::from_utf8_lossy(line));
        }
    }
}
