//! Files that are cut off, have something before or behind them, or are older than their readers: every message of them
//! comes as it is, or the file says why not. gzip, bzip2, xz, zstd and GNU tar write them.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use super::blocks::{Sum, checksum};
use super::roundtrip::read;

const FROM: &str = "From a@b Thu Jan  1 00:00:07 2015\n";

fn eml(n: usize) -> String {
    format!(
        "Subject: number {n}\nMessage-ID: <{n}@damage.example>\n\nthe text of {n} {}\n",
        n * 2_654_435_761
    )
}

fn mails(count: usize) -> Vec<String> {
    let mut mails: Vec<String> = (0..count).map(eml).collect();
    mails.sort();
    mails
}

fn mbox(count: usize) -> String {
    (0..count).map(|n| format!("{FROM}{}\n", eml(n))).collect()
}

/// What a real program makes of it.
fn through(program: &str, octets: &[u8]) -> Vec<u8> {
    let mut child =
        Command::new(program).arg("-cq").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut to, octets) = (child.stdin.take().unwrap(), octets.to_vec());
    let feeding = std::thread::spawn(move || to.write_all(&octets).unwrap());
    let done = child.wait_with_output().unwrap();
    feeding.join().unwrap();
    assert!(done.status.success());
    done.stdout
}

fn tar(root: &Path, words: &[&str]) -> Vec<u8> {
    let file = root.join("made.tar");
    let mut command = Command::new("tar");
    command.current_dir(root).args(words.iter().filter(|word| word.starts_with('-')));
    command.arg("-cf").arg(&file).args(words.iter().filter(|word| !word.starts_with('-')));
    assert!(command.status().unwrap().success(), "{words:?}");
    fs::read(&file).unwrap()
}

#[test]
fn a_mailbox_begins_at_its_first_from_line() {
    let long: String = (0..40).map(|n| format!("the rest of something, line {n}\n")).collect();
    for (front, told) in [
        ("", false),
        ("\n\r\n", false),
        ("\u{feff}\n", false),
        ("one line\n", true),
        ("# exported\n\n", true),
        ("# one\n# two\n", true),
        (&long, true),
        ("\0\0\0\0\0\0\0", true),
        ("\0\0\0\n\n", true),
    ] {
        for name in ["Sent", "Sent.mbox"] {
            let (came, done) = read(format!("{front}{}", mbox(3)).as_bytes(), name);
            done.unwrap();
            assert_eq!(came.all(), mails(3), "{front:?}");
            assert_eq!(came.left.len(), usize::from(told), "{front:?}: {:?}", came.left);
        }
    }
    // What would be glued together is refused.
    let mtx: String = (0..3)
        .map(|n| format!(" 7-Jan-2015 00:00:0{n} +0000,{};000000000001\r\n{}", eml(n).len(), eml(n)))
        .collect();
    let mmdf: String = (0..3).map(|n| format!("\x01\x01\x01\x01\n{}\x01\x01\x01\x01\n", eml(n))).collect();
    let news: String = (0..3).map(|n| format!("#! rnews {}\n{}", eml(n).len(), eml(n))).collect();
    let unknown: String = (0..3).map(|n| format!("== {n} ==\n{}", eml(n))).collect();
    let ar: String = (0..3).map(|n| format!("{n}.eml/ 7 0 0 644 {} `\n{}", eml(n).len(), eml(n))).collect();
    let cpio = format!("070701{}1.eml\0\0\0{}", "0".repeat(104), eml(1));
    for (content, name) in [
        (mtx, "Sent"),
        (mmdf, "Sent"),
        (news, "batch"),
        (unknown, "Sent.mbox"),
        (format!("!<arch>\n{ar}"), "mail.a"),
        (cpio, "mail.cpio"),
        (format!("\0\0\0\n{}", eml(1)), "1.eml"),
    ] {
        let (came, done) = read(content.as_bytes(), name);
        assert_eq!(
            (came.all(), came.left.len(), done.is_ok()),
            (Vec::new(), 1, true),
            "{name}: {:?}",
            came.left
        );
    }
}

#[test]
fn of_a_mailbox_that_is_cut_off_the_whole_messages_come() {
    let text = mbox(3000);
    for program in ["gzip", "bzip2", "xz", "zstd"] {
        let whole = through(program, text.as_bytes());
        for cut in [whole.len() - 1, whole.len() - 9, whole.len() / 2] {
            let (came, done) = read(&whole[..cut], "Sent");
            assert!(done.is_err(), "{program} {cut}");
            let all = came.all();
            assert!(
                all.iter().all(|mail| mails(3000).binary_search(mail).is_ok()),
                "{program} {cut}: one is no message"
            );
            // bzip2 has blocks of 900 kB, zstd of 128 kB, and a piece of xz is read as a whole.
            let least = if matches!(program, "bzip2" | "xz") { 0 } else { 500 };
            assert!(all.len() >= least && all.len() < 3000, "{program} {cut}: {} of 3000", all.len());
        }
    }
}

#[test]
fn behind_what_is_compressed() {
    for program in ["gzip", "bzip2", "xz", "zstd"] {
        let whole = through(program, mbox(20).as_bytes());
        for (behind, told) in [
            (vec![0; 1], false),
            (vec![0; 70_000], false),
            (b"garbage".to_vec(), true),
            (b"\0\0x".to_vec(), true),
        ] {
            let (came, done) = read(&[&whole[..], &behind].concat(), "Sent");
            assert_eq!(came.all(), mails(20), "{program}");
            assert_eq!(done.is_err(), told, "{program} {}: {done:?}", behind.len());
            if let Err(e) = done {
                assert!(e.to_string().contains("stands behind it"), "{e}");
            }
            // A single message comes, too, and another member behind padding is one.
            let one = through(program, eml(0).as_bytes());
            assert_eq!(read(&[&one[..], &behind].concat(), "0.eml").0.all(), mails(1), "{program}");
            if !told {
                let second: String = (20..40).map(|n| format!("{FROM}{}\n", eml(n))).collect();
                let (came, done) =
                    read(&[&whole[..], &behind, &through(program, second.as_bytes())].concat(), "Sent");
                done.unwrap();
                assert_eq!(came.all(), mails(40), "{program}");
            }
        }
    }
}

#[test]
fn tar_with_holes_labels_and_ends() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("a")).unwrap();
    for n in 0..3 {
        fs::write(root.path().join(format!("a/{n}.eml")), eml(n)).unwrap();
    }
    // A label without a size, in two formats.
    for format in ["--format=gnu", "--format=posix"] {
        let (came, done) = read(&tar(root.path(), &[format, "--label=old mail", "a"]), "a.tar");
        done.unwrap();
        assert_eq!((came.all(), came.left.len()), (mails(3), 0), "{format}");
    }
    // Holes, in four formats.
    let mut holed = eml(1).into_bytes();
    holed.resize(150_000, 0);
    holed.extend(b"middle\n");
    holed.resize(400_000, 0);
    let directory = root.path().join("s");
    fs::create_dir(&directory).unwrap();
    let file = fs::File::create(directory.join("1.eml")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, eml(1).as_bytes(), 0).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"middle\n", 150_000).unwrap();
    file.set_len(400_000).unwrap();
    fs::hard_link(directory.join("1.eml"), directory.join("2.eml")).unwrap();
    for words in [
        &["--format=posix", "--sparse-version=0.0"][..],
        &["--format=posix", "--sparse-version=0.1"],
        &["--format=posix", "--sparse-version=1.0"],
        &["--format=gnu"],
    ] {
        let packed = tar(root.path(), &[words, &["-S", "s"]].concat());
        assert!(packed.len() < 100_000, "{words:?}: it has its holes");
        let (came, done) = read(&packed, "s.tar");
        done.unwrap();
        let wanted = String::from_utf8(holed.clone()).unwrap();
        assert_eq!(came.left, Vec::<String>::new(), "{words:?}");
        let folders: Vec<&str> = came.messages.keys().map(String::as_str).collect();
        assert_eq!(folders, ["s"], "{words:?}");
        assert!(came.messages["s"] == [wanted.clone(), wanted], "{words:?}");
    }
    // Archives one behind the other, lone zero blocks, and what is no entry.
    let (one, two) = (tar(root.path(), &["a/0.eml"]), tar(root.path(), &["a/1.eml", "a/2.eml"]));
    for between in [0, 512, 5 * 512] {
        for first in [&one[..], &one[..1024]] {
            let whole = [first, &vec![0; between], &two].concat();
            for whole in [through("gzip", &whole), whole] {
                let (came, done) = read(&whole, "a.tar");
                done.unwrap();
                assert_eq!(came.all(), mails(3), "{between}");
            }
        }
    }
    for behind in [&b"x"[..], &[7; 512], &[7; 5000]] {
        let (came, done) = read(&[&one[..], behind].concat(), "a.tar");
        assert_eq!(came.all(), mails(1));
        assert!(done.unwrap_err().to_string().contains("behind the end"));
    }
    assert!(read(&one[..1024], "a.tar").1.unwrap_err().to_string().contains("its end is missing"));
}

#[test]
fn a_checksum_of_signed_bytes() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("Größe")).unwrap();
    fs::write(root.path().join("Größe/0.eml"), eml(0)).unwrap();
    let mut packed = tar(root.path(), &["--format=gnu", "Größe/0.eml"]);
    let sum: i64 = (0..512)
        .map(|at| if (148..156).contains(&at) { 32 } else { i64::from(packed[at].cast_signed()) })
        .sum();
    packed[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    assert_eq!(checksum(&packed), Some(Sum::Signed));
    let file = root.path().join("signed.tar");
    fs::write(&file, &packed).unwrap();
    assert!(Command::new("tar").arg("-tf").arg(&file).output().unwrap().status.success(), "GNU tar reads it");
    let (came, done) = read(&packed, "signed.tar");
    done.unwrap();
    assert_eq!(came.messages["Größe"], [eml(0)]);
    // One wrong bit in the first header.
    packed[3] ^= 1;
    let (came, _) = read(&packed, "signed.tar");
    assert!(came.all().is_empty() && came.left[0].contains("first header is damaged"), "{:?}", came.left);
}

#[test]
fn a_length_that_was_counted_before_the_line_ends_changed() {
    let bodies = ["one\n", "one\ntwo\n", "\n", "\n\n", "one\n\n", "a\nb\nc\n", ""];
    let headers = |n: usize, body: &str| format!("Subject: {n}\nContent-Length: {}\n\n", body.len());
    let plain: String =
        bodies.iter().enumerate().map(|(n, body)| format!("{FROM}{}{body}\n", headers(n, body))).collect();
    let mut wanted: Vec<String> =
        bodies.iter().enumerate().map(|(n, body)| format!("{}{body}", headers(n, body))).collect();
    wanted.sort();
    for text in [plain.clone(), plain.replace('\n', "\r\n")] {
        let (came, done) = read(text.as_bytes(), "Sent");
        done.unwrap();
        assert_eq!(came.all(), wanted);
    }
    // The same of Apple Mail's, and one that is too small.
    let list = "<?xml version=\"1.0\"?>\n<plist><dict></dict></plist>\n";
    let good = format!("{}\n{}{list}", eml(1).len(), eml(1));
    assert_eq!(read(good.as_bytes(), "1.emlx").0.all(), [eml(1)]);
    for bad in [good.replace('\n', "\r\n"), format!("{}\n{}{list}", eml(1).len() - 5, eml(1))] {
        let (came, done) = read(bad.as_bytes(), "1.emlx");
        done.unwrap();
        assert!(came.all().is_empty() && came.left[0].contains("does not end where"), "{:?}", came.left);
    }
}
