//! What real programs compress, whole, damaged and cut off.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom, Write};
use std::process::{Command, Stdio};

use super::*;

const PROGRAMS: [(&str, Method); 4] =
    [("gzip", Method::Gzip), ("bzip2", Method::Bzip2), ("xz", Method::Xz), ("zstd", Method::Zstd)];

/// What the real program makes of it.
fn packed(program: &str, octets: &[u8]) -> Vec<u8> {
    let mut child =
        Command::new(program).arg("-cq").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut to = child.stdin.take().unwrap();
    let octets = octets.to_vec();
    let feeding = std::thread::spawn(move || to.write_all(&octets).unwrap());
    let done = child.wait_with_output().unwrap();
    feeding.join().unwrap();
    assert!(done.status.success());
    done.stdout
}

fn text() -> Vec<u8> {
    (0..40_000u32)
        .flat_map(|n| format!("line {n} {}\n", n.wrapping_mul(2_654_435_761)).into_bytes())
        .collect()
}

#[test]
fn what_four_programs_compress_comes_back() {
    for (program, how) in PROGRAMS {
        for octets in [text(), b"x".to_vec(), Vec::new()] {
            let once = packed(program, &octets);
            assert_eq!(method(&once), Some(how), "{program}");
            let twice = [&once[..], &once].concat();
            let mut read = Vec::new();
            decoder(how, BufReader::new(&twice[..])).read_to_end(&mut read).unwrap();
            assert!(read == [&octets[..], &octets].concat(), "{program}: {} octets", octets.len());
        }
    }
}

#[test]
fn what_is_cut_off_or_damaged_is_no_end() {
    for (program, how) in PROGRAMS {
        let whole = packed(program, &text());
        for at in [4, 12, whole.len() / 2, whole.len() - 1] {
            let mut read = Vec::new();
            let end = decoder(how, BufReader::new(&whole[..at])).read_to_end(&mut read);
            assert!(end.is_err(), "{program} cut at {at} of {}", whole.len());
        }
        let mut other = whole.clone();
        let middle = other.len() / 2;
        other[middle] ^= 0x55;
        let mut read = Vec::new();
        assert!(decoder(how, BufReader::new(&other[..])).read_to_end(&mut read).is_err(), "{program}");
    }
}

#[test]
fn a_window_without_measure_is_refused() {
    let large = Command::new("sh")
        .args([
            "-c",
            "head -c 200000000 /dev/zero | zstd -q -c -1 --long=31 --no-check --stream-size=200000000",
        ])
        .output();
    let large = large.unwrap().stdout;
    let mut read = [0; 16];
    let refused = decoder(Method::Zstd, BufReader::new(&large[..])).read(&mut read).unwrap_err();
    assert!(refused.to_string().contains("window"), "{refused}");
}

#[test]
fn a_message_is_read_again_and_measured() {
    let plain = text();
    for stored in [plain.clone(), packed("gzip", &plain), packed("zstd", &plain)] {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&stored).unwrap();
        let mut message = Message::open(File::try_clone(&file).unwrap()).unwrap();
        assert_eq!(message.is_compressed(), stored.len() != plain.len());
        for _ in 0..2 {
            let mut read = Vec::new();
            message.read_to_end(&mut read).unwrap();
            assert!(read == plain);
            assert_eq!(message.seek(SeekFrom::End(0)).unwrap(), plain.len() as u64);
            message.seek(SeekFrom::Start(0)).unwrap();
        }
    }
}

#[test]
fn letters_alone_do_not_compress() {
    for text in [&b"BZh9: a header\r\n"[..], b"", b"BZ", b"Subject: x", &[0x1f, 0x8b], b"BZh91AY"] {
        assert_eq!(method(text), None, "{text:?}");
    }
}
