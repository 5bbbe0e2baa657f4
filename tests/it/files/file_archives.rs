//! Archives and compressed files as real programs write them: GNU tar, zip, gzip, bzip2, xz, zstd; names in code pages of
//! old; headers in an order that few write; a Maildir that is compressed message by message, as Dovecot does it, in
//! uploads, backups, recognition and verification. mutt and Python's mailbox module write mailboxes that are read here,
//! and read what a backup wrote.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "this is a test")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::helpers::archives::{
    Entry, eml, expected, numbers, passed, places, put, reasons, run, unicode_path, upload, zip,
};
use crate::helpers::daemon::{Daemon, imap_migrate};
use crate::helpers::fake_imap::{FakeImap, Folder, honest};
use crate::helpers::maildir::{Tree, same, sha};

const PROGRAMS: [&str; 4] = ["gzip", "bzip2", "xz", "zstd"];

/// Compresses a file in its place, under its own name, with its own time.
fn compress(program: &str, file: &Path) {
    let metadata = fs::metadata(file).unwrap();
    let packed = run(Path::new("/"), program, &["-cq", file.to_str().unwrap()]);
    fs::write(file, packed).unwrap();
    fs::File::options().write(true).open(file).unwrap().set_modified(metadata.modified().unwrap()).unwrap();
}

/// The files of a Maildir, each compressed by the next program.
fn compress_all(root: &Path) -> usize {
    let mut files: Vec<PathBuf> = Vec::new();
    for folder in fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).chain([root.to_owned()]) {
        for part in ["cur", "new"] {
            let entries = fs::read_dir(folder.join(part)).into_iter().flatten();
            files.extend(entries.map(|entry| entry.unwrap().path()));
        }
    }
    files.sort();
    for (file, program) in files.iter().zip(PROGRAMS.iter().cycle()) {
        compress(program, file);
    }
    files.len()
}

#[test]
fn names_in_code_pages() {
    let mut daemon = Daemon::new("");
    daemon.start();
    let raw = |octets: &[u8], n: usize| [octets, format!("/{n}.eml").as_bytes()].concat();
    for (local, names, wanted) in [
        (
            "cp437",
            vec![&b"Entw\x81rfe"[..], b"Gel\x94scht", b"Bo\x8cte"],
            vec!["Entwürfe", "Gelöscht", "Boîte"],
        ),
        ("cp850", vec![b"S\x9bppel", b"N\xc6o lidos", b"\xd3rg"], vec!["Søppel", "Não lidos", "Ërg"]),
        (
            "cp949",
            vec![b"\xb9\xde\xc0\xba\xc6\xed\xc1\xf6\xc7\xd4", b"\xbe\xf7\xb9\xab"],
            vec!["받은편지함", "업무"],
        ),
        ("sjis", vec![b"\x91\x97\x90M\x8d\xcf\x82\xdd", b"\x83S\x83~\x94\xa0"], vec!["送信済み", "ゴミ箱"]),
        ("utf8", vec!["Entwürfe".as_bytes(), "送信済み".as_bytes()], vec!["Entwürfe", "送信済み"]),
    ] {
        let entries: Vec<Entry> =
            names.iter().enumerate().map(|(n, name)| Entry::new(raw(name, n), eml(n))).collect();
        let file = put(daemon.path(), &format!("{local}.zip"), zip(&entries));
        let came = upload(&daemon, local, &[&file]).code(0);
        assert_eq!(numbers(&came), (names.len() as u64, 0, 0), "{local}: {}", reasons(&came));
        let tree = Tree::read(&daemon.maildir(local));
        let wanted: BTreeSet<String> =
            wanted.iter().map(|name| format!(".{}", mutf7(name))).chain([String::new()]).collect();
        let found: BTreeSet<String> = tree.names().into_iter().map(str::to_owned).collect();
        assert_eq!(found, wanted, "{local}");
    }
    // The bit, the field with its checksum, and a field that was made for another name.
    let mut flagged = Entry::new("Größe/1.eml", eml(1));
    flagged.flags = 0x0800;
    let mut field = Entry::new(&b"Gr\x94\xe1e2/2.eml"[..], eml(2));
    field.extra = unicode_path(&field.name, "ประวัติ/2.eml");
    let mut stale = Entry::new(&b"plain/3.eml"[..], eml(3));
    stale.extra = unicode_path(b"other/3.eml", "wrong/3.eml");
    let file = put(daemon.path(), "told.zip", zip(&[flagged, field, stale]));
    assert_eq!(numbers(&upload(&daemon, "told", &[&file]).code(0)), (3, 0, 0));
    let wanted = expected([
        (format!(".{}", mutf7("Größe")).as_str(), eml(1)),
        (format!(".{}", mutf7("ประวัติ")).as_str(), eml(2)),
        (".plain", eml(3)),
    ]);
    assert_eq!(places(&Tree::read(&daemon.maildir("told"))), wanted);
    // Folders that differ in bytes differ, whatever becomes of their names.
    let entries: Vec<Entry> =
        (128..=255u8).map(|n| Entry::new(raw(&[b'x', n], usize::from(n)), eml(usize::from(n)))).collect();
    let file = put(daemon.path(), "all.zip", zip(&entries));
    assert_eq!(numbers(&upload(&daemon, "all", &[&file]).code(0)), (128, 0, 0));
    assert_eq!(Tree::read(&daemon.maildir("all")).names().len(), 129);
}

/// A folder's name as a Maildir++ has it (RFC 3501, 5.1.3).
fn mutf7(name: &str) -> String {
    let script = "import sys,base64\nout=''\nrun=''\ndef flush():\n    global out,run\n    if run:\n        out+='&'+base64.b64encode(run.encode('utf-16-be')).decode().rstrip('=').replace('/',',')+'-'\n        run=''\nfor c in sys.argv[1]:\n    if ' '<=c<='~':\n        flush(); out+='&-' if c=='&' else c\n    else:\n        run+=c\nflush()\nprint(out,end='')";
    String::from_utf8(run(Path::new("/"), "/usr/bin/python3", &["-c", script, name])).unwrap()
}

#[test]
fn archives_of_real_programs() {
    let mut daemon = Daemon::new("");
    daemon.start();
    let root = daemon.path().join("in");
    let long = "l".repeat(130);
    let deep = format!("mail/{long}/{long}");
    put(&root, "mail/a/1.eml", eml(1));
    put(&root, &format!("{deep}/2.eml"), eml(2));
    put(&root, "mail/Ünï/3.eml", eml(3));
    put(&root, "mail/Sent.mbox", format!("From a@b Thu Jan  1 00:00:07 2015\n{}\n", eml(4)));
    for format in ["v7", "ustar", "gnu", "pax", "oldgnu"] {
        // The oldest two cannot carry the long name.
        let what = if matches!(format, "v7" | "ustar") { "mail/a" } else { "mail" };
        run(&root, "tar", &[&format!("--format={format}"), "-cf", &format!("{format}.tar"), what]);
        let came = upload(&daemon, format, &[&root.join(format!("{format}.tar"))]).code(0);
        assert_eq!(
            numbers(&came),
            (if what == "mail" { 4 } else { 1 }, 0, 0),
            "{format}: {}",
            reasons(&came)
        );
    }
    let wanted = places(&Tree::read(&daemon.maildir("pax")));
    assert_eq!(places(&Tree::read(&daemon.maildir("gnu"))), wanted);
    for (name, program) in
        [("z.tar.gz", "-z"), ("b.tar.bz2", "-j"), ("x.tar.xz", "-J"), ("s.tar.zst", "--zstd")]
    {
        run(&root, "tar", &[program, "-cf", name, "mail"]);
        let local = name.replace('.', "");
        let came = upload(&daemon, &local, &[&root.join(name)]).code(0);
        assert_eq!(numbers(&came), (4, 0, 0), "{name}: {}", reasons(&came));
        assert_eq!(places(&Tree::read(&daemon.maildir(&local))), wanted, "{name}");
        let whole = fs::read(root.join(name)).unwrap();
        let cut = put(&root, &format!("cut-{name}"), &whole[..whole.len() - whole.len() / 4]);
        upload(&daemon, "cut", &[&cut]).code(1);
    }
    run(&root, "zip", &["-qr", "i.zip", "mail"]);
    run(&root, "/usr/bin/python3", &["-m", "zipfile", "-c", "p.zip", "mail"]);
    for name in ["i.zip", "p.zip"] {
        let local = name.replace('.', "");
        assert_eq!(numbers(&upload(&daemon, &local, &[&root.join(name)]).code(0)), (4, 0, 0), "{name}");
        assert_eq!(places(&Tree::read(&daemon.maildir(&local))), wanted, "{name}");
        // Something in front: a program that unpacks itself, a text, and offsets that count it or do not.
        let whole = fs::read(root.join(name)).unwrap();
        for (n, front) in
            [&b"#!/bin/sh\nexec unzip $0\n"[..], b"MZ\x90\0\x03\0\0\0", b"Note: this is an archive\n\n"]
                .iter()
                .enumerate()
        {
            let file = put(&root, &format!("front{n}-{name}"), [front, &whole[..]].concat());
            let came = upload(&daemon, &local, &[&file]).code(0);
            assert_eq!(numbers(&came), (0, 4, 0), "{name} {n}: {}", reasons(&came));
            if n == 0 {
                run(&root, "zip", &["-qA", file.to_str().unwrap()]);
                run(&root, "unzip", &["-tq", file.to_str().unwrap()]);
                assert_eq!(
                    numbers(&upload(&daemon, &local, &[&file]).code(0)),
                    (0, 4, 0),
                    "{name}: adjusted"
                );
            }
        }
    }
    // Single files that are compressed, by themselves and within an archive.
    put(&root, "5.eml", eml(5));
    put(&root, "Work.mbox", format!("From - Thu Jan 01 00:00:07 2015\n{}\n", eml(6)));
    for program in PROGRAMS {
        for file in ["5.eml", "Work.mbox"] {
            fs::write(root.join(format!("{file}.{program}")), run(&root, program, &["-cq", file])).unwrap();
        }
        let files = [root.join(format!("5.eml.{program}")), root.join(format!("Work.mbox.{program}"))];
        let files: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
        assert_eq!(numbers(&upload(&daemon, program, &files).code(0)), (2, 0, 0), "{program}");
        let tree = Tree::read(&daemon.maildir(program));
        assert!(tree.folders[""].iter().any(|m| m.sha == sha(eml(5).as_bytes())), "{program}");
    }
    // zip has other ways, too.
    run(&root, "zip", &["-qZ", "bzip2", "packed.zip", "5.eml"]);
    assert_eq!(numbers(&upload(&daemon, "packed", &[&root.join("packed.zip")]).code(0)), (1, 0, 0));
    run(&root, "tar", &["-cf", "nested.tar", "5.eml.gzip", "5.eml.xz", "Work.mbox.zstd"]);
    assert_eq!(numbers(&upload(&daemon, "nested", &[&root.join("nested.tar")]).code(0)), (3, 0, 0));
}

/// A ustar header.
fn header(name: &str, sort: u8, size: usize) -> Vec<u8> {
    let mut block = vec![0; 512];
    block[..name.len().min(100)].copy_from_slice(&name.as_bytes()[..name.len().min(100)]);
    block[100..107].copy_from_slice(b"0000644");
    block[124..135].copy_from_slice(format!("{size:011o}").as_bytes());
    block[136..147].copy_from_slice(b"12451026407");
    block[148..156].copy_from_slice(b"        ");
    block[156] = sort;
    block[257..265].copy_from_slice(b"ustar  \0");
    let sum: u32 = block.iter().map(|octet| u32::from(*octet)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

fn entry(name: &str, sort: u8, content: &[u8]) -> Vec<u8> {
    let padding = vec![0; content.len().next_multiple_of(512) - content.len()];
    [header(name, sort, content.len()), content.to_vec(), padding].concat()
}

fn record(key: &str, value: &str) -> String {
    let rest = format!(" {key}={value}\n");
    let mut length = rest.len() + 2;
    if length > 99 {
        length += 1;
    }
    format!("{length}{rest}")
}

#[test]
fn headers_of_tar_in_any_order() {
    let mut daemon = Daemon::new("");
    daemon.start();
    let long = format!("box/{}/1.eml", "n".repeat(150));
    let end = vec![0; 1024];
    let (pax, gnu) = (record("mtime", "1420070407.5"), format!("{long}\0"));
    let text = eml(1).into_bytes();
    for (local, parts) in [
        ("xl", vec![entry("x", b'x', pax.as_bytes()), entry("././@LongLink", b'L', gnu.as_bytes())]),
        ("lx", vec![entry("././@LongLink", b'L', gnu.as_bytes()), entry("x", b'x', pax.as_bytes())]),
        (
            "xlk",
            vec![
                entry("x", b'x', pax.as_bytes()),
                entry("././@LongLink", b'K', b"nowhere\0"),
                entry("././@LongLink", b'L', gnu.as_bytes()),
            ],
        ),
        (
            "size",
            vec![
                entry("x", b'x', record("size", &text.len().to_string()).as_bytes()),
                entry("././@LongLink", b'L', gnu.as_bytes()),
            ],
        ),
        (
            "g",
            vec![
                entry("g", b'g', record("comment", "any").as_bytes()),
                entry("././@LongLink", b'L', gnu.as_bytes()),
            ],
        ),
    ] {
        let whole = [parts.concat(), entry("short", b'0', &text), end.clone()].concat();
        let file = put(daemon.path(), &format!("{local}.tar"), &whole);
        let came = upload(&daemon, local, &[&file]).code(0);
        assert_eq!(numbers(&came), (1, 0, 0), "{local}: {}", reasons(&came));
        let tree = Tree::read(&daemon.maildir(local));
        assert!(
            tree.names().contains(format!(".box.{}", "n".repeat(150)).as_str()),
            "{local}: {:?}",
            tree.names()
        );
        // As the real one reads it.
        let listed = run(daemon.path(), "tar", &["-tf", file.to_str().unwrap()]);
        assert_eq!(String::from_utf8(listed).unwrap().trim(), long, "{local}");
    }
    // Names without measure, and a header that repeats itself.
    let huge = [entry("x", b'x', &vec![b'9'; 5 << 20]), entry("short", b'0', &text), end.clone()].concat();
    let came = upload(&daemon, "huge", &[&put(daemon.path(), "huge.tar", huge)]).code(1);
    assert!(reasons(&came).contains("too long"), "{}", reasons(&came));
    let twice =
        [entry("one", b'L', b"a\0"), entry("one", b'L', b"b\0"), entry("short", b'0', &text), end].concat();
    upload(&daemon, "twice", &[&put(daemon.path(), "twice.tar", twice)]).code(1);
    // Cut off between two entries, where nothing is broken.
    let half = [entry("1.eml", b'0', &text), entry("2.eml", b'0', eml(2).as_bytes())].concat();
    let came = upload(&daemon, "half", &[&put(daemon.path(), "half.tar", half)]).code(1);
    assert_eq!(numbers(&came), (2, 0, 1));
    assert!(reasons(&came).contains("its end is missing"), "{}", reasons(&came));
}

#[test]
fn a_link_within_a_tar_is_the_file_that_it_names() {
    let mut daemon = Daemon::new("");
    daemon.start();
    let root = daemon.path().join("Maildir");
    put(&root, "cur/1420070401.a:2,S", eml(1));
    put(&root, "cur/1420070402.b:2,S", eml(2));
    for folder in [".Copies", ".Work"] {
        fs::create_dir_all(root.join(folder).join("cur")).unwrap();
        // As Dovecot copies a message.
        fs::hard_link(root.join("cur/1420070401.a:2,S"), root.join(folder).join("cur/1420070401.a:2,FS"))
            .unwrap();
    }
    run(daemon.path(), "tar", &["--sort=name", "-cf", "links.tar", "Maildir"]);
    run(daemon.path(), "tar", &["-czf", "links.tar.gz", "Maildir"]);
    let wanted = expected([("", eml(1)), ("", eml(2)), (".Copies", eml(1)), (".Work", eml(1))]);
    for what in ["links.tar", "links.tar.gz", "Maildir"] {
        let local = what.replace('.', "").to_lowercase();
        let came = upload(&daemon, &local, &[&daemon.path().join(what)]).code(0);
        assert_eq!(numbers(&came), (4, 0, 0), "{what}: {}", reasons(&came));
        assert_eq!(places(&Tree::read(&daemon.maildir(&local))), wanted, "{what}");
    }
    // A link to what is not there, and to itself.
    let tar = [header("a.eml", b'1', 0), vec![0; 1024]].concat();
    let came = upload(&daemon, "nowhere", &[&put(daemon.path(), "nowhere.tar", tar)]).code(1);
    assert!(reasons(&came).contains("a.eml"), "{}", reasons(&came));
}

#[test]
fn a_maildir_that_dovecot_compresses() {
    let source = FakeImap::start(vec![Folder::new("INBOX", 9), Folder::new("Sent", 4)], honest);
    let mut daemon = Daemon::new("");
    daemon.define("moved", &imap_migrate("moved", "alice", source.port, ("alice", "secret"), ""));
    daemon.start();
    daemon.migrate("moved");
    let home = daemon.maildir("alice");
    let facts = Tree::read(&home).facts();
    assert_eq!(facts.len(), 13);
    daemon.ctl(&["verify", "moved"]).code(0);
    assert_eq!(compress_all(&home), 13);
    daemon.ctl(&["verify", "moved"]).code(0);
    // A run brings nothing again, nor does an upload of the same messages.
    let again = daemon.migrate("moved");
    assert_eq!((&again["messages_imported"], &again["messages_done"]), (&0.into(), &13.into()), "{again:#}");
    assert_eq!(Tree::read(&home).count(), 13);
    for format in ["zip", "mbox", "maildir"] {
        let file = daemon.path().join(format);
        let shown = file.to_str().unwrap();
        daemon.ctl(&["backup", "--member", "alice@example.com", "--format", format, "-o", shown]).code(0);
        assert_eq!(numbers(&upload(&daemon, format, &[&file]).code(0)), (13, 0, 0), "{format}");
        same(format, &facts, &Tree::read(&daemon.maildir(format)).facts());
        assert_eq!(numbers(&upload(&daemon, "alice", &[&file]).code(0)), (0, 13, 0), "{format}: recognised");
    }
    // The Maildir itself, and in a tar.
    assert_eq!(numbers(&upload(&daemon, "folder", &[&home]).code(0)), (13, 0, 0));
    same("a directory", &facts, &Tree::read(&daemon.maildir("folder")).facts());
    run(home.parent().unwrap(), "tar", &["-cf", "packed.tar", "Maildir"]);
    assert_eq!(
        numbers(&upload(&daemon, "tar", &[&home.parent().unwrap().join("packed.tar")]).code(0)),
        (13, 0, 0)
    );
    same("a tar", &facts, &Tree::read(&daemon.maildir("tar")).facts());
    // Names that do not tell a size; one file that is damaged costs itself alone.
    let bare = daemon.maildir("bare");
    for (n, program) in PROGRAMS.iter().enumerate() {
        let file = put(&bare, &format!("cur/142007040{n}.host:2,S"), eml(n));
        fs::create_dir_all(bare.join("new")).unwrap();
        compress(program, &file);
    }
    let files: Vec<PathBuf> = (0..4).map(|n| put(daemon.path(), &format!("{n}.eml"), eml(n))).collect();
    let files: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
    assert_eq!(numbers(&upload(&daemon, "bare", &files).code(0)), (0, 4, 0));
    let packed = fs::read(bare.join("cur/1420070400.host:2,S")).unwrap();
    put(&bare, "cur/1420070409.host:2,S", &packed[..packed.len() - 9]);
    let came = upload(&daemon, "one-bad", &[&bare]).code(1);
    assert_eq!(numbers(&came), (4, 0, 1), "{}", reasons(&came));
    assert!(reasons(&came).contains("1420070409.host:2,S\": \"it is damaged"), "{}", reasons(&came));
}

#[test]
fn mutt_and_python_are_the_judges() {
    let mut daemon = Daemon::new("");
    daemon.start();
    let root = daemon.path().join("judges");
    // Lines that have to be quoted, and a message of no lines.
    let odd =
        format!("{}From the beginning\n>From there\n\nFrom a@b Thu Jan  1 00:00:07 2015\nend\n", eml(4));
    let mails = [eml(1), eml(2), format!("{}\n\n", eml(3)), odd, "Subject: no body\n\n".to_owned()];
    for (n, mail) in mails.iter().enumerate() {
        put(&root, &format!("{n}.eml"), mail);
    }
    let script = "import mailbox,sys\nbox=mailbox.mbox(sys.argv[1])\nfor name in sys.argv[2:]:\n    m=mailbox.mboxMessage(open(name,'rb').read())\n    m.set_flags('RF')\n    box.add(m)\nbox.flush()\n";
    run(&root, "/usr/bin/python3", &["-c", script, "Python.mbox", "0.eml", "1.eml", "2.eml", "4.eml"]);
    let came = upload(&daemon, "python", &[&root.join("Python.mbox")]).code(0);
    assert_eq!(numbers(&came), (4, 0, 0), "{}", reasons(&came));
    let tree = Tree::read(&daemon.maildir("python"));
    assert!(tree.messages().all(|(folder, m)| folder == ".Python" && m.flags == "FS"), "{tree:?}");
    // A Maildir of Python's own, with a folder.
    let script = "import mailbox,sys\nbox=mailbox.Maildir('PyMaildir')\nbox.add(open('0.eml','rb'))\nsub=box.add_folder('Work.2014')\nm=mailbox.MaildirMessage(open('1.eml','rb').read())\nm.set_subdir('cur')\nm.set_flags('FS')\nsub.add(m)\n";
    run(&root, "/usr/bin/python3", &["-c", script]);
    assert_eq!(numbers(&upload(&daemon, "pymaildir", &[&root.join("PyMaildir")]).code(0)), (2, 0, 0));
    let wanted = expected([("", eml(1)), (".Work.2014", eml(2))]);
    assert_eq!(places(&Tree::read(&daemon.maildir("pymaildir"))), wanted);
    // mutt copies a Maildir into an mbox.
    for (n, mail) in mails.iter().enumerate() {
        put(&root, &format!("In/cur/14200704{n:02}.x:2,{}", if n == 1 { "FS" } else { "S" }), mail);
    }
    fs::create_dir_all(root.join("In/new")).unwrap();
    fs::create_dir_all(root.join("In/tmp")).unwrap();
    let mutt = |from: &str, to: &str, sort: &str| {
        let set = format!(
            "set confirmappend=no confirmcreate=no mbox_type={sort} quit=yes copy=no delete=no move=no mark_old=no folder={}",
            root.display()
        );
        let keys = format!("push '<tag-pattern>.<enter><tag-prefix><copy-message>={to}<enter><exit>'");
        // It wants a terminal.
        let line = format!("mutt -n -F /dev/null -e '{set}' -e \"{keys}\" -f {from}");
        let mut script = Command::new("timeout");
        script.args(["60", "script", "-qec", &line, "/dev/null"]).env("TERM", "xterm").env("HOME", &root);
        script.current_dir(&root).stdin(std::process::Stdio::null());
        let done = script.output().unwrap();
        assert!(done.status.success() && root.join(to).exists(), "{done:?}");
    };
    mutt("In", "Mutt", "mbox");
    let came = upload(&daemon, "mutt", &[&root.join("Mutt")]).code(0);
    assert_eq!(numbers(&came), (5, 0, 0), "{}", reasons(&came));
    let home = daemon.maildir("mutt");
    let tree = Tree::read(&home);
    assert_eq!(tree.messages().filter(|(_, m)| m.flags == "FS").count(), 1, "{tree:?}");
    // Its own lines in the header apart, it is the same text.
    let bodies = |directory: &Path| -> BTreeSet<String> {
        let own = ["Status:", "X-Status:", "Content-Length:", "Lines:", "X-Keywords:", "X-Mailhaul-Folder:"];
        let is_own = |line: &&str| own.iter().any(|name| line.starts_with(name));
        let read = |file: PathBuf| fs::read_to_string(file).unwrap().replace('\r', "");
        let entries = fs::read_dir(directory).unwrap().map(|entry| read(entry.unwrap().path()));
        entries
            .map(|text| {
                text.lines().filter(|line| !is_own(line)).collect::<Vec<_>>().join("\n").trim_end().to_owned()
            })
            .collect()
    };
    assert_eq!(bodies(&home.join(".Mutt/cur")), bodies(&root.join("In/cur")));
    // What a backup wrote is read by both: the same number of messages, with their subjects.
    let out = root.join("out.mbox");
    let words = ["backup", "--member", "mutt@example.com", "--format", "mbox", "-o", out.to_str().unwrap()];
    daemon.ctl(&words).code(0);
    let script = "import mailbox,sys\nprint(len(mailbox.mbox('out.mbox')))";
    assert_eq!(run(&root, "/usr/bin/python3", &["-c", script]), b"5\n");
    mutt("out.mbox", "Back", "Maildir");
    let back = ["cur", "new"].iter().flat_map(|part| bodies(&root.join("Back").join(part)));
    // It takes no marks off quoted lines.
    let back: BTreeSet<String> =
        back.map(|text| text.replace("\n>From", "\nFrom").replace("\n>>From", "\n>From")).collect();
    assert_eq!(back, bodies(&root.join("In/cur")));
    assert_eq!(passed(&came), "");
}

#[test]
fn what_is_cut_off_or_has_something_behind_it() {
    let mut daemon = Daemon::new("");
    daemon.start();
    let root = daemon.path().join("ends");
    let text: String =
        (0..2000).map(|n| format!("From a@b Thu Jan  1 00:00:07 2015\n{}\n", eml(n))).collect();
    put(&root, "Sent", text);
    let whole = run(&root, "gzip", &["-cq", "Sent"]);
    let cut = put(&root, "Cut.mbox.gz", &whole[..whole.len() - 3]);
    let came = upload(&daemon, "cut", &[&cut]).code(1);
    assert_eq!(numbers(&came), (1999, 0, 1), "{}", reasons(&came));
    assert!(reasons(&came).contains("cut off"), "{}", reasons(&came));
    let padded = put(&root, "Padded.mbox.gz", [&whole[..], &[0; 512]].concat());
    assert_eq!(numbers(&upload(&daemon, "padded", &[&padded]).code(0)), (2000, 0, 0));
    let behind = put(&root, "Behind.mbox.gz", [&whole[..], b"more"].concat());
    let came = upload(&daemon, "behind", &[&behind]).code(1);
    assert_eq!(numbers(&came), (2000, 0, 1), "{}", reasons(&came));
    // Two archives one behind the other, and a text.
    put(&root, "a/1.eml", eml(1));
    put(&root, "a/2.eml", eml(2));
    run(&root, "tar", &["-cf", "one.tar", "a/1.eml"]);
    run(&root, "tar", &["--label=old", "-cf", "two.tar", "a/2.eml"]);
    let [one, two] = ["one.tar", "two.tar"].map(|name| fs::read(root.join(name)).unwrap());
    let both = put(&root, "both.tar", [&one[..], &two].concat());
    assert_eq!(numbers(&upload(&daemon, "both", &[&both]).code(0)), (2, 0, 0));
    let text = put(&root, "text.tar", [&one[..], b"more"].concat());
    let came = upload(&daemon, "text", &[&text]).code(1);
    assert_eq!(numbers(&came), (1, 0, 1), "{}", reasons(&came));
    assert!(reasons(&came).contains("behind the end"), "{}", reasons(&came));
}
