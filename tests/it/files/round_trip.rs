//! Files into mailboxes and mailboxes into files, through the real daemon and the real client: what `backup` writes
//! `upload` takes, octet for octet, with flags, keywords, dates and folders; every dialect of mbox; archives that
//! were made to do harm.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stderr, reason = "this is a test")]

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::helpers::corpus::Corpus;
use crate::helpers::daemon::{Answer, Daemon, eventually};
use crate::helpers::maildir::{Tree, same, sha};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const ALICE: &str = "alice@example.com";

fn upload(daemon: &Daemon, member: &str, files: &[&Path]) -> Answer {
    let mut words = vec!["--json", "upload", "--member", member];
    words.extend(files.iter().map(|file| file.to_str().unwrap()));
    daemon.ctl(&words)
}

/// Imported, already there, left out.
fn numbers(answer: &Answer) -> (u64, u64, u64) {
    let sum = answer.json();
    let number = |key: &str| sum[key].as_u64().unwrap_or_else(|| panic!("no {key}: {sum:#}"));
    (number("imported"), number("already_there"), number("skipped"))
}

fn reasons(answer: &Answer) -> String {
    answer.json()["left_out"]
        .as_array()
        .unwrap()
        .iter()
        .map(|out| format!("{}: {}\n", out["what"], out["reason"]))
        .collect()
}

fn put(daemon: &Daemon, name: &str, content: &[u8]) -> PathBuf {
    let file = daemon.path().join(name);
    fs::write(&file, content).unwrap();
    file
}

fn eml(n: usize) -> Vec<u8> {
    format!("Date: Thu, 1 Jan 2015 00:00:{n:02} +0000\nSubject: {n}\n\nbody {n}\n").into_bytes()
}

#[test]
fn what_backup_writes_upload_takes() {
    let mut daemon = Daemon::new("");
    let mut source = Corpus::at(&daemon.maildir("alice"));
    source.fill(700);
    // What is hard to keep: quoted lines, no end of the last line, no body, line ends of both kinds.
    for (n, content) in [
        &b"Subject: a\n\nFrom here\n>From there\n\n>>From afar\n\nFrom a b 10:10:10\nno end"[..],
        b"Subject: b\nStatus: RO\nContent-Length: 3\n\n\n\n",
        b"Subject: c\n",
        b"Subject: d\r\n\r\none\r\nbare\nFrom x\r\n",
        b">From old times\nSubject: e\n\nx\n\n\n\n",
    ]
    .iter()
    .enumerate()
    {
        let file = daemon.maildir("alice").join(format!("cur/14{n}0000000.odd:2,FS"));
        fs::write(&file, content).unwrap();
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_400_000_000 + n as u64);
        fs::File::options().write(true).open(&file).unwrap().set_modified(time).unwrap();
    }
    let before = Tree::files(&daemon.maildir("alice"));
    daemon.start();
    let facts = Tree::read(&daemon.maildir("alice")).facts();
    for format in ["zip", "mbox", "maildir"] {
        let file = daemon.path().join(format);
        let written = daemon.ctl(&[
            "--json",
            "backup",
            "--member",
            ALICE,
            "--format",
            format,
            "-o",
            file.to_str().unwrap(),
        ]);
        assert_eq!(written.code(0).json()["messages"], facts.len());
        let member = format!("{format}@example.com");
        let came = upload(&daemon, &member, &[&file]).code(0);
        assert_eq!(numbers(&came), (facts.len() as u64, 0, 0), "{format}: {}", reasons(&came));
        same(format, &facts, &Tree::read(&daemon.maildir(format)).facts());
        let again = upload(&daemon, &member, &[&file]).code(0);
        assert_eq!(numbers(&again), (0, facts.len() as u64, 0), "{format}: a second time");
        // By way of another format the messages are still the same.
        let other = upload(&daemon, &member, &[&daemon.path().join("zip")]).code(0);
        assert_eq!(numbers(&other), (0, facts.len() as u64, 0), "{format}: as a zip");
    }
    // The Maildir itself, and into the mailbox that it came from.
    let came = upload(&daemon, "folder@example.com", &[&daemon.maildir("alice")]).code(0);
    assert_eq!(numbers(&came), (facts.len() as u64, 0, 0), "{}", reasons(&came));
    same("a Maildir", &facts, &Tree::read(&daemon.maildir("folder")).facts());
    let own = upload(&daemon, ALICE, &[&daemon.path().join("mbox")]).code(0);
    assert_eq!(numbers(&own), (0, facts.len() as u64, 0), "everything is there");
    assert_eq!(Tree::files(&daemon.maildir("alice")), before, "and was not touched");
    let log = fs::read_to_string(daemon.path().join("state/audit.log")).unwrap();
    assert!(log.lines().any(|line| line.contains("\"act\":\"backup\"") && line.contains(ALICE)), "{log}");
    assert!(
        log.lines().any(|line| line.contains("\"act\":\"upload\"") && line.contains("zip@example.com")),
        "{log}"
    );
}

/// Folders and messages that are easily taken for something else.
#[test]
fn odd_folders_and_messages_come_back() {
    const LATE: u64 = 5_000_000_000;
    let mut daemon = Daemon::new("");
    daemon.start();
    let alice = daemon.maildir("alice");
    let put = |folder: &str, n: usize, flags: &str, content: &[u8]| {
        for part in ["cur", "new", "tmp"] {
            fs::create_dir_all(alice.join(folder).join(part)).unwrap();
        }
        let file = alice.join(folder).join(format!("cur/150000000{n}.odd:2,{flags}"));
        fs::write(&file, content).unwrap();
        let time = std::time::UNIX_EPOCH + Duration::from_secs(LATE + n as u64);
        fs::File::options().write(true).open(&file).unwrap().set_modified(time).unwrap();
    };
    // At the edges: spaces, one of them as wide as a letter.
    let folders = ["", ".cur", ".new", ".a\\b", ". x ", ".a. y", ".&MAA-z&MAA-", ".tmp.cur"];
    for (n, folder) in folders.into_iter().enumerate() {
        put(folder, n, "FS", &eml(n));
    }
    for (n, content) in [
        &b"no header, no end"[..],
        b"no header",
        b"no header\n",
        b"From the beginning\n>From the end",
        b"no header\r\nFrom 10:10:10\r\n>",
        b"Subject: no body, no end",
        b"\nno header",
    ]
    .into_iter()
    .enumerate()
    {
        put(".Odd", n, "S", content);
    }
    for folder in [".Empty", ".Empty.Too"] {
        for part in ["cur", "new"] {
            fs::create_dir_all(alice.join(folder).join(part)).unwrap();
        }
    }
    let tree = Tree::read(&alice);
    let facts = tree.facts();
    assert_eq!(facts.len(), folders.len() + 7);
    for format in ["zip", "mbox", "maildir"] {
        let file = daemon.path().join(format);
        let shown = file.to_str().unwrap();
        daemon.ctl(&["backup", "--member", ALICE, "--format", format, "-o", shown]).code(0);
        let came = upload(&daemon, &format!("{format}@example.com"), &[&file]).code(0);
        assert_eq!(numbers(&came), (facts.len() as u64, 0, 0), "{format}: {}", reasons(&came));
        let tree = Tree::read(&daemon.maildir(format));
        same(format, &facts, &tree.facts());
        assert_eq!(tree.subscriptions.contains(".Empty.Too"), format != "mbox", "{format}: subscribed");
        let there = |folder: &str| daemon.maildir(format).join(folder).join("cur").is_dir();
        assert_eq!(there(".Empty") && there(".Empty.Too"), format != "mbox", "{format}: empty folders");
        // With a folder of its own nothing else is made.
        let one = ["upload", "--member", "one@example.com", "--mailbox", format, shown];
        daemon.ctl(&one).code(0);
        assert!(!daemon.maildir("one").join(".Empty").exists(), "{format}");
    }
    // The Maildir itself has empty folders, too.
    upload(&daemon, "folder@example.com", &[&alice]).code(0);
    assert!(daemon.maildir("folder").join(".Empty.Too/cur").is_dir());
    // Whoever unpacks the tar archive has a Maildir, also of one folder.
    let one = daemon.path().join("one.tar");
    let words = ["backup", "--member", ALICE, "--mailbox", "new", "--format", "maildir", "-o"];
    daemon.ctl(&[&words[..], &[one.to_str().unwrap()]].concat()).code(0);
    for (file, folders) in
        [("maildir", &["", ".new", ".Empty", ".Empty.Too"][..]), ("one.tar", &["", ".new"])]
    {
        let to = daemon.path().join(format!("{file}-unpacked"));
        fs::create_dir(&to).unwrap();
        let mut tar = Command::new("tar");
        tar.arg("--warning=no-timestamp").arg("-xf").arg(daemon.path().join(file)).arg("-C").arg(&to);
        assert!(tar.status().unwrap().success());
        for part in ["cur", "new", "tmp"] {
            assert!(folders.iter().all(|folder| to.join(folder).join(part).is_dir()), "{file}: {part}");
        }
        upload(&daemon, &format!("{file}2@example.com"), &[&to]).code(0);
    }
    same("unpacked", &facts, &Tree::read(&daemon.maildir("maildir2")).facts());
    daemon.stop();
}

#[test]
fn one_folder_and_standard_output() {
    let mut daemon = Daemon::new("");
    Corpus::at(&daemon.maildir("alice")).fill(100);
    daemon.start();
    let folder = Tree::read(&daemon.maildir("alice")).only(&[".Archive.2023"]).contents();
    assert!(!folder.is_empty());
    let file = daemon.path().join("one.tar");
    let shell = format!(
        "{} --socket {} backup --member {ALICE} --mailbox Archive/2023 --format maildir -o - > {}",
        env!("CARGO_BIN_EXE_mailhaulctl"),
        daemon.path().join("control").display(),
        file.display()
    );
    assert!(Command::new("sh").arg("-c").arg(shell).status().unwrap().success());
    let into = ["upload", "--member", "bob@example.com", "--mailbox", "Old/Post", file.to_str().unwrap()];
    daemon.ctl(&into).code(0);
    let bob = Tree::read(&daemon.maildir("bob"));
    same("one folder", &folder, &bob.clone().only(&[".Old.Post"]).contents());
    assert_eq!(bob.count(), folder.len());
    assert!(bob.subscriptions.contains(".Old.Post"));
    let out = daemon.path().join("x");
    let out = out.to_str().unwrap();
    daemon
        .ctl(&["backup", "--member", ALICE, "--mailbox", "Nothing", "--format", "zip", "-o", out])
        .code(1)
        .says("there is no folder Nothing");
    daemon
        .ctl(&["backup", "--member", "nobody@example.com", "--format", "zip", "-o", out])
        .code(1)
        .says("has no mailbox");
    assert!(!Path::new(out).exists() && !daemon.maildir("nobody").exists());
}

#[test]
fn every_dialect_of_mbox() {
    let mut daemon = Daemon::new("");
    daemon.start();
    let from = "From a@b Thu Jan  1 00:00:07 2015\n";
    let zoned = "From a@b Thu Jan  1 01:00:07 2015 +0100\n";
    let quoted = "Subject: q\n\n>From here\n\nend\n";
    let bare = "Subject: q\n\nFrom here\n\nFrom x@y Thu Jan  1 00:00:07 2015\nend\n";
    let headed = |text: &str, more: usize| {
        let (head, body) = text.split_once("\n\n").unwrap();
        format!("{head}\nStatus: RO\nX-Status: AF\nContent-Length: {}\n\n{body}", body.len() + more)
    };
    let plain = String::from_utf8(eml(1)).unwrap();
    for (name, content, expected) in [
        (
            "mboxrd",
            format!("{from}{quoted}\n{from}{plain}\n"),
            vec!["Subject: q\n\nFrom here\n\nend\n".to_owned(), plain.clone()],
        ),
        (
            "mboxcl",
            format!("{from}{}\n{from}{plain}\n", headed(quoted, 0)),
            vec![headed(quoted, 0).replace(">From", "From"), plain.clone()],
        ),
        (
            "mboxcl2",
            // The same moment, with a zone.
            format!("{from}{}\n{zoned}{}\n", headed(bare, 0), headed(quoted, 0)),
            vec![headed(bare, 0), headed(quoted, 0)],
        ),
        (
            "liar",
            format!("{from}{}\n{from}{plain}\n", headed(quoted, 5)),
            vec![headed(quoted, 5).replace(">From", "From"), plain.clone()],
        ),
        (
            "liar2",
            format!("{from}{}\n{from}{plain}", headed(quoted, 5_000_000)),
            vec![headed(quoted, 5_000_000).replace(">From", "From"), plain.clone()],
        ),
    ] {
        let file = put(&daemon, name, content.as_bytes());
        let came = upload(&daemon, &format!("{name}@example.com"), &[&file]).code(0);
        let tree = Tree::read(&daemon.maildir(name));
        let expected: Vec<String> = expected.iter().map(|text| sha(text.as_bytes())).collect();
        same(name, &expected, &tree.contents());
        assert_eq!(numbers(&came), (2, 0, 0), "{name}");
        if name == "mboxcl2" {
            assert!(tree.messages().all(|(_, m)| m.flags == "FRS" && m.mtime == 1_420_070_407), "{tree:?}");
        }
    }
}

#[test]
fn single_messages_and_what_is_none() {
    let mut daemon = Daemon::new("[polling]\nmax_message_size = \"100KB\"\n");
    daemon.start();
    let good = put(&daemon, "a.eml", &eml(7));
    let twice = put(&daemon, "b.eml", &String::from_utf8(eml(7)).unwrap().replace('\n', "\r\n").into_bytes());
    let empty = put(&daemon, "empty.eml", b"");
    let picture = put(&daemon, "picture.eml", b"\x89PNG\r\n\x1a\n0000");
    let large = put(&daemon, "large.eml", &[eml(1), vec![b'x'; 200_000]].concat());
    // Who deletes these files afterwards has to know that three of them did not come.
    let came = upload(&daemon, ALICE, &[&good, &twice, &empty, &picture, &large]).code(1);
    assert_eq!(numbers(&came), (1, 1, 3));
    for reason in
        ["empty.eml\": \"it is empty", "picture.eml\": \"it is neither", "large.eml\": \"it is larger than"]
    {
        assert!(reasons(&came).contains(reason), "{reason} in {}", reasons(&came));
    }
    let tree = Tree::read(&daemon.maildir("alice"));
    let (folder, message) = tree.messages().next().unwrap();
    assert!(folder.is_empty() && message.new && message.mtime == 1_420_070_407, "{message:?}");
    // More files than one call has descriptors for.
    let many: Vec<PathBuf> = (10..50).map(|n| put(&daemon, &format!("{n}.eml"), &eml(n))).collect();
    let many: Vec<&Path> = many.iter().map(PathBuf::as_path).collect();
    assert_eq!(numbers(&upload(&daemon, ALICE, &many).code(0)), (40, 0, 0));
    daemon.ctl(&["upload", "--member", ALICE, "/nowhere.eml"]).code(2).says("/nowhere.eml cannot be read");
    daemon.ctl(&["upload", "--member", "../alice", good.to_str().unwrap()]).code(1).says("is not an address");
    daemon
        .ctl(&["upload", "--member", ALICE, "--mailbox", "../x", good.to_str().unwrap()])
        .code(1)
        .says("a level is");
}

/// A zip archive, each entry with its name, its octets and whether it is deflated.
fn zip(entries: &[(&str, &[u8], bool)]) -> Vec<u8> {
    let (mut out, mut table) = (Vec::new(), Vec::new());
    for (name, content, deflated) in entries {
        let mut crc = flate2::Crc::new();
        crc.update(content);
        let packed = if *deflated {
            let mut packer = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
            packer.write_all(content).unwrap();
            packer.finish().unwrap()
        } else {
            content.to_vec()
        };
        let offset = u32::try_from(out.len()).unwrap();
        let mut common = vec![20, 0, 0, 0, if *deflated { 8 } else { 0 }, 0, 0, 0, 0, 0];
        common.extend(crc.sum().to_le_bytes());
        common.extend(u32::try_from(packed.len()).unwrap().to_le_bytes());
        common.extend(u32::try_from(content.len()).unwrap().to_le_bytes());
        common.extend([u8::try_from(name.len()).unwrap(), 0, 0, 0]);
        out.extend(b"PK\x03\x04");
        out.extend(&common);
        out.extend(name.as_bytes());
        out.extend(packed);
        table.extend(b"PK\x01\x02\x14\x00");
        table.extend(&common);
        table.extend([0; 10]);
        table.extend(offset.to_le_bytes());
        table.extend(name.as_bytes());
    }
    let (at, count) = (u32::try_from(out.len()).unwrap(), u8::try_from(entries.len()).unwrap());
    let length = u32::try_from(table.len()).unwrap();
    out.extend(&table);
    out.extend(b"PK\x05\x06\0\0\0\0");
    out.extend([count, 0, count, 0]);
    out.extend(length.to_le_bytes());
    out.extend(at.to_le_bytes());
    out.extend([0, 0]);
    out
}

#[test]
fn archives_that_mean_harm() {
    let mut daemon = Daemon::new("");
    daemon.start();
    let (one, two) = (eml(1), eml(2));
    let inner = zip(&[("x.eml", &one, true)]);
    let mail = zip(&[
        ("../../../tmp/evil.eml", &one, true),
        ("/etc/two.eml", &two, false),
        ("inner.zip", &inner, false),
        ("notes.txt", b"no message at all", false),
    ]);
    let came = upload(&daemon, "zip@example.com", &[&put(&daemon, "paths.zip", &mail)]).code(1);
    assert_eq!(numbers(&came), (2, 0, 1), "{}", reasons(&came));
    assert_eq!(came.json()["passed_over"][0]["kind"], "texts");
    assert!(reasons(&came).contains("an archive within an archive"), "{}", reasons(&came));
    let folders = Tree::read(&daemon.maildir("zip"));
    assert_eq!(folders.names().into_iter().collect::<Vec<_>>(), ["", ".etc", ".tmp"]);

    // One damaged entry does not cost the others; a table that is cut off is told.
    let mut broken = zip(&[("a.eml", &one, false), ("b.eml", &two, false)]);
    let at = broken.windows(6).position(|six| six == b"body 1").unwrap();
    broken[at] = b'B';
    let came = upload(&daemon, "damaged@example.com", &[&put(&daemon, "damaged.zip", &broken)]).code(1);
    assert_eq!(numbers(&came), (1, 0, 1));
    assert!(reasons(&came).contains("checksum"), "{}", reasons(&came));
    let came =
        upload(&daemon, "damaged@example.com", &[&put(&daemon, "cut.zip", &mail[..mail.len() / 2])]).code(1);
    assert!(reasons(&came).contains("is missing"), "{}", reasons(&came));

    // A gigabyte of nothing in a megabyte, as one message and as many.
    let bomb = [&b"Subject: x\n\n"[..], &vec![0; 40 << 20]].concat();
    let mut tar = daemon.path().join("bombs");
    fs::create_dir(&tar).unwrap();
    for n in 0..3 {
        fs::write(tar.join(format!("{n}.eml")), [&bomb[..], &[n]].concat()).unwrap();
    }
    tar.set_extension("tar.gz");
    let made =
        Command::new("tar").args(["-czf"]).arg(&tar).arg("-C").arg(daemon.path()).arg("bombs").status();
    assert!(made.unwrap().success());
    let came = upload(&daemon, "bomb@example.com", &[&tar]).code(1);
    assert!(reasons(&came).contains("unpacks to more than 200 times"), "{}", reasons(&came));
    assert!(numbers(&came).0 < 3);

    // Links and devices in a tar; then the same archive, cut off.
    let folder = daemon.path().join("linked");
    fs::create_dir_all(folder.join("cur")).unwrap();
    fs::write(folder.join("cur/1420070401.x:2,S"), &one).unwrap();
    fs::write(folder.join("cur/1420070402.y:2,FS"), &two).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", folder.join("cur/1420070403.z:2,S")).unwrap();
    let tar = daemon.path().join("links.tar");
    let made =
        Command::new("tar").args(["--sort=name", "-cf"]).arg(&tar).arg("-C").arg(&folder).arg("cur").status();
    assert!(made.unwrap().success());
    let came = upload(&daemon, "links@example.com", &[&tar]).code(1);
    assert_eq!(numbers(&came), (2, 0, 1), "{}", reasons(&came));
    assert!(reasons(&came).contains("it is a link"), "{}", reasons(&came));
    // The same as a Maildir, and more that is no message.
    let fifo = folder.join("cur/1420070404.f:2,S");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let long = format!("cur/1420070405.{}:2,S", "l".repeat(120));
    std::os::unix::fs::symlink("/etc/passwd", folder.join(&long)).unwrap();
    std::os::unix::fs::symlink("/etc", folder.join(".Elsewhere")).unwrap();
    let came = upload(&daemon, "links@example.com", &[&folder]).code(1);
    assert_eq!(numbers(&came), (0, 2, 4), "{}", reasons(&came));
    let told = reasons(&came);
    assert!(told.contains("1420070404.f:2,S\": \"it is no file"), "{told}");
    assert!(told.contains(".Elsewhere\": \"it is a link") && told.contains(&long), "{told}");
    upload(&daemon, "links@example.com", &[&fifo]).code(2).says("is neither a file nor a Maildir");
    let whole = fs::read(&tar).unwrap();
    let came = upload(&daemon, "cut@example.com", &[&put(&daemon, "cut.tar", &whole[..2060])]).code(1);
    assert_eq!(numbers(&came).0, 1, "what came before the cut: {}", reasons(&came));
    assert!(reasons(&came).contains("ends in the middle"), "{}", reasons(&came));
}

#[test]
fn policy_and_a_caller_that_hangs_up() {
    let mut daemon = Daemon::new(
        "[policy]\nupload = \"deny\"\n[policy.domain.\"other.example\"]\nupload = \"allow\"\nbackup = \"deny\"\n",
    );
    daemon.start();
    let file = put(&daemon, "a.eml", &eml(1));
    daemon
        .ctl(&["upload", "--member", ALICE, file.to_str().unwrap()])
        .code(1)
        .says("uploads are denied for example.com by policy");
    let out = daemon.path().join("out.zip");
    let words = ["backup", "--member", "a@other.example", "--format", "zip", "-o", out.to_str().unwrap()];
    daemon.ctl(&words).code(1).says("backups are denied for other.example by policy");
    assert!(!out.exists() && !daemon.maildir("alice").exists());
    let log = fs::read_to_string(daemon.path().join("state/audit.log")).unwrap();
    assert_eq!(log.lines().filter(|line| line.contains("by policy")).count(), 2, "{log}");

    // A backup that nobody reads, and its caller killed.
    Corpus::at(&daemon.maildir("alice")).fill(300);
    let mut child = Command::new(env!("CARGO_BIN_EXE_mailhaulctl"))
        .arg("--socket")
        .arg(daemon.path().join("control"))
        .args(["backup", "--member", ALICE, "--format", "mbox", "-o", "-"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let pipe = child.stdout.take().unwrap();
    let mut ready = [nix::poll::PollFd::new(std::os::fd::AsFd::as_fd(&pipe), nix::poll::PollFlags::POLLIN)];
    nix::poll::poll(&mut ready, 30_000u16).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    eventually("the audit log has the end", std::time::Duration::from_secs(30), || {
        let log = fs::read_to_string(daemon.path().join("state/audit.log")).unwrap();
        log.contains("the backup was broken off").then_some(())
    });
    drop(pipe);
    assert!(daemon.stop().success());
}

#[test]
fn half_a_backup_is_not_kept() {
    let mut daemon = Daemon::new("");
    let mut corpus = Corpus::at(&daemon.maildir("alice"));
    corpus.add("", 20);
    daemon.start();
    let out = daemon.path().join("out.zip");
    let part = daemon.path().join("out.zip.part");
    let words = ["backup", "--member", ALICE, "--format", "zip", "-o", out.to_str().unwrap()];
    for end in [Some(Signal::SIGINT), Some(Signal::SIGTERM), Some(Signal::SIGHUP), None] {
        let server = daemon.pid().unwrap();
        // Nothing is answered until the client has ended.
        kill(server, Signal::SIGSTOP).unwrap();
        let mut client = daemon.client(&words).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        eventually("it has begun", Duration::from_secs(30), || part.exists().then_some(()));
        let (code, said) = match end {
            Some(signal) => {
                let pid = Pid::from_raw(i32::try_from(client.id()).unwrap());
                kill(pid, signal).unwrap();
                let status = eventually("it ends", Duration::from_secs(30), || client.try_wait().unwrap());
                kill(server, Signal::SIGCONT).unwrap();
                (status.code(), "broken off")
            }
            None => {
                daemon.kill();
                (client.wait().unwrap().code(), "closed the connection")
            }
        };
        let mut told = String::new();
        client.stderr.take().unwrap().read_to_string(&mut told).unwrap();
        assert!(
            told.contains(said) && code == Some(if end.is_some() { 1 } else { 3 }),
            "{end:?}: {code:?} {told}"
        );
        assert!(!part.exists() && !out.exists(), "{end:?}");
    }
    daemon.start();
    daemon.ctl(&words).code(0);
    assert!(out.exists() && !part.exists());
    daemon.stop();
}

#[test]
fn output_that_has_no_room() {
    let mut daemon = Daemon::new("");
    daemon.start();
    for words in [&["list", "--json"][..], &["status"], &["--help"], &["completions", "bash"]] {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let done = daemon.client(words).stdout(full).output().unwrap();
        let told = String::from_utf8(done.stderr).unwrap();
        assert_eq!(done.status.code(), Some(1), "{words:?}: {told}");
        assert!(told.contains("mailhaulctl: standard output cannot be written: No space left"), "{told}");
        assert_eq!(told.lines().count(), 1, "{told}");
        // Whoever has read enough is no error.
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let done = daemon.client(words).stdout(writer).output().unwrap();
        assert_eq!((done.status.code(), done.stderr.len()), (Some(0), 0), "{words:?}");
    }
    daemon.stop();
}
