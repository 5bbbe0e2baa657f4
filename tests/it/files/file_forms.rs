//! Mail in the forms that programs leave it in: mbox with From lines of many kinds, Gmail's Takeout, Maildirs in both
//! layouts, folders of Thunderbird and Apple Mail, single messages with something before them. What is no mail is passed
//! over; what may be mail and does not come is told, and the exit status is 1.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "this is a test")]

use crate::helpers::archives;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::helpers::archives::{eml, expected, numbers, passed, places, put, reasons, run, upload};
use crate::helpers::daemon::Daemon;
use crate::helpers::maildir::{Tree, same, sha};

fn contents(texts: &[String]) -> Vec<String> {
    let mut sums: Vec<String> = texts.iter().map(|text| sha(text.as_bytes())).collect();
    sums.sort();
    sums
}

#[test]
fn from_lines_of_every_kind() {
    let mut daemon = Daemon::new("");
    daemon.start();
    let date = "Thu Jan  1 00:00:07 2015";
    let three = [eml(1), eml(2), eml(3)];
    for (n, (lines, empty)) in [
        (["From ", "From ", "From "], true),
        (["From ", "From ", "From "], false),
        (["From - ", "From -", "From - "], true),
        (["From user@host", "From other@host", "From user@host"], true),
        (["From user@host", "From other@host", "From user@host"], false),
        (["From -8301", "From -2", "From 77"], true),
        (["From a@b Thu Jan 1 2015", "From c@d Fri Jan 2 2015", "From e 3 Mar 2015"], true),
        (["From a@b DATE", "From c@d DATE", "From e@f DATE"], false),
        (["From - DATE", "From a b c DATE +0100", "From 12@xxx Thu Jan 01 00:00:07 +0000 2015"], true),
        // One program began the file, another one went on.
        (["From a@b DATE", "From ", "From - "], true),
        (["From a@b DATE", "From c@d", "From e@f DATE"], true),
        (["From ", "From a@b DATE", "From -"], false),
    ]
    .into_iter()
    .enumerate()
    {
        for end in ["\n", "\r\n"] {
            let mut text = String::new();
            for (line, message) in lines.iter().zip(&three) {
                text.push_str(&format!("{}\n{message}", line.replace("DATE", date)));
                if empty {
                    text.push('\n');
                }
            }
            let local = format!("f{n}{}", end.len());
            let file = put(daemon.path(), &local, text.replace('\n', end));
            let came = upload(&daemon, &local, &[&file]).code(0);
            assert_eq!(numbers(&came), (3, 0, 0), "{lines:?} {empty} {end:?}: {}", reasons(&came));
            same(&local, &contents(&three), &Tree::read(&daemon.maildir(&local)).contents());
        }
    }
    // What may be two messages is told.
    let text = "Subject: x\n\nfirst\nFrom all of us\nSubject: y\n\nsecond\n";
    let file = put(daemon.path(), "doubt", format!("From a@b {date}\n{text}\n"));
    let came = upload(&daemon, "doubt", &[&file]).code(1);
    assert_eq!(numbers(&came), (1, 0, 1));
    assert!(reasons(&came).contains("message 1\": \"it is taken as one message"), "{}", reasons(&came));
    // Sentences are none.
    let text = "Subject: x\n\nfirst\n\nFrom here on\nall is well: yes\n\nFrom 10:30 to 11:30\nwe meet\n\nFrom home\nTel: 5\n";
    let file = put(daemon.path(), "talk", format!("From a@b {date}\n{text}\nFrom c@d {date}\n{}\n", eml(2)));
    let came = upload(&daemon, "talk", &[&file]).code(0);
    assert_eq!(numbers(&came), (2, 0, 0));
    same("talk", &contents(&[text.to_owned(), eml(2)]), &Tree::read(&daemon.maildir("talk")).contents());
}

#[test]
fn takeout() {
    let mut daemon = Daemon::new("");
    daemon.start();
    let labelled = |n: usize, labels: &str| format!("X-GM-THRID: {n}\nX-Gmail-Labels: {labels}\n{}", eml(n));
    let mails = [
        labelled(1, "Inbox,Opened,Starred"),
        labelled(2, "Inbox,Unread,Category Promotions"),
        labelled(3, "Sent,Opened"),
        labelled(4, "Work/2014,Inbox,Opened,Important"),
        labelled(5, "Archived,Opened"),
        labelled(6, "Trash,Unread"),
        labelled(7, "Spam,Unread"),
        labelled(8, "Drafts"),
        labelled(9, "Chat,Opened"),
        labelled(10, "=?UTF-8?Q?Posteingang,Ge=C3=B6ffnet,Kategorie:_=22Werbung=22,Entw=C3=BCrfe?="),
        labelled(
            11,
            "=?UTF-8?Q?Bo=C3=AEte_de_r=C3=A9ception,Non_lus,\"Arts,?=\n =?UTF-8?Q?_=C3=A9t=C3=A9\"?=",
        ),
        labelled(12, "=?UTF-8?B?5Y+X5L+h44OI44Os44KkLOacquiqrSzjgrnjgr/jg7zku5jjgY0=?="),
    ];
    let mbox: String = mails
        .iter()
        .enumerate()
        .map(|(n, mail)| format!("From {n}@xxx Thu Jan 01 00:00:07 +0000 2015\n{mail}\n"))
        .collect();
    let file = put(daemon.path(), "All mail Including Spam and Trash.mbox", &mbox);
    let came = upload(&daemon, "takeout", &[&file]).code(0);
    // Two are in two folders, one is a chat.
    assert_eq!((numbers(&came), passed(&came)), ((14, 0, 0), "1 chats".to_owned()), "{}", reasons(&came));
    let tree = Tree::read(&daemon.maildir("takeout"));
    let of = |n: usize| mails[n - 1].clone();
    let wanted = expected([
        ("", of(1)),
        ("", of(2)),
        (".Sent", of(3)),
        (".Work.2014", of(4)),
        ("", of(4)),
        (".Archive", of(5)),
        (".Trash", of(6)),
        (".Spam", of(7)),
        (".Drafts", of(8)),
        ("", of(10)),
        (".Drafts", of(10)),
        ("", of(11)),
        (".Arts, &AOk-t&AOk-", of(11)),
        ("", of(12)),
    ]);
    assert_eq!(places(&tree), wanted, "{:?}", tree.names());
    let flags = |n: usize| {
        let sum = sha(mails[n - 1].as_bytes());
        let flags: BTreeSet<&str> =
            tree.messages().filter(|(_, m)| m.sha == sum).map(|(_, m)| m.flags.as_str()).collect();
        flags.into_iter().map(str::to_owned).collect::<Vec<_>>().join("|")
    };
    let all: Vec<String> = (1..=12).map(flags).collect();
    assert_eq!(all, ["FS", "", "S", "S", "S", "", "", "DS", "", "DS", "", "F"]);
    // Once more, nothing; and in one folder each message once.
    assert_eq!(numbers(&upload(&daemon, "takeout", &[&file]).code(0)), (0, 14, 0));
    let words =
        ["--json", "upload", "--member", "one@example.com", "--mailbox", "Old", file.to_str().unwrap()];
    assert_eq!(numbers(&daemon.ctl(&words).code(0)), (11, 0, 0));
    // As Takeout packs it.
    let directory = daemon.path().join("pack");
    put(&directory, "Takeout/Mail/All mail.mbox", &mbox);
    put(&directory, "Takeout/Mail/User Settings/Filters.json", "{\"a\": 1}");
    put(&directory, "Takeout/archive_browser.html", "<!DOCTYPE html><html></html>");
    run(&directory, "zip", &["-qr", "takeout.zip", "Takeout"]);
    let came = upload(&daemon, "packed", &[&directory.join("takeout.zip")]).code(0);
    assert_eq!(numbers(&came), (14, 0, 0), "{}", reasons(&came));
    assert_eq!(passed(&came), "1 settings, 1 web pages, 1 chats");
    assert_eq!(places(&Tree::read(&daemon.maildir("packed"))), wanted);
}

#[test]
fn maildirs_in_both_layouts() {
    let mut daemon = Daemon::new("");
    daemon.start();
    let root = daemon.path().join("in");
    let wanted = expected([
        ("", eml(1)),
        (".Sent", eml(2)),
        (".Work", eml(3)),
        (".Work.2014", eml(4)),
        (".Sent", eml(5)),
    ]);
    for (layout, folders) in [
        ("directories", ["Maildir", "Maildir/Sent", "Maildir/Work", "Maildir/Work/2014"]),
        ("dots", ["Maildir", "Maildir/.Sent", "Maildir/.Work", "Maildir/.Work.2014"]),
    ] {
        let base = root.join(layout);
        for (n, folder) in folders.iter().enumerate() {
            put(&base, &format!("{folder}/cur/142007040{n}.x:2,FSa"), eml(n + 1));
            put(&base, &format!("{folder}/dovecot-keywords"), "0 important\n");
            fs::create_dir_all(base.join(folder).join("tmp")).unwrap();
        }
        put(&base, &format!("{}/new/1420070409.x", folders[1]), eml(5));
        put(&base, "Maildir/dovecot.index.log", "no mail");
        put(&base, "Maildir/subscriptions", "Sent\n");
        put(&base, "Maildir/tmp/1420070410.x", "half a mess");
        // The layout is known only when all of it is: keywords and folders come behind messages here.
        run(&base, "tar", &["--sort=name", "-cf", "parent.tar", "Maildir"]);
        run(&base, "tar", &["-cf", "inside.tar", "-C", "Maildir", "."]);
        run(&base, "tar", &["-czf", "packed.tar.gz", "Maildir"]);
        run(&base, "tar", &["-cJf", "packed.tar.xz", "Maildir"]);
        run(&base, "zip", &["-qr", "maildir.zip", "Maildir"]);
        for what in ["Maildir", "parent.tar", "inside.tar", "packed.tar.gz", "packed.tar.xz", "maildir.zip"] {
            let local = format!("{layout}-{}", what.replace('.', "-").to_lowercase());
            let came = upload(&daemon, &local, &[&base.join(what)]).code(0);
            assert_eq!(numbers(&came), (5, 0, 0), "{local}: {}", reasons(&came));
            assert!(passed(&came).contains("1 unfinished deliveries"), "{local}: {}", passed(&came));
            let tree = Tree::read(&daemon.maildir(&local));
            assert_eq!(places(&tree), wanted, "{local}: {:?}", tree.names());
            for (_, message) in tree.messages().filter(|(_, m)| m.sha != sha(eml(5).as_bytes())) {
                assert_eq!(
                    (message.flags.as_str(), message.keywords.len()),
                    ("FS", 1),
                    "{local}: {message:?}"
                );
            }
        }
        // Through a pipe.
        let shell = format!(
            "{} --socket {} --json upload --member {layout}-pipe@example.com - < {}",
            env!("CARGO_BIN_EXE_mailhaulctl"),
            daemon.path().join("control").display(),
            base.join("parent.tar").display()
        );
        run(
            daemon.path(),
            "sh",
            &[
                "-c",
                &format!(
                    "cat {} | {}",
                    base.join("packed.tar.gz").display(),
                    shell.split(" < ").next().unwrap()
                ),
            ],
        );
        assert_eq!(places(&Tree::read(&daemon.maildir(&format!("{layout}-pipe")))), wanted);
    }
}

#[test]
fn folders_of_thunderbird_and_apple_mail() {
    let mut daemon = Daemon::new("");
    daemon.start();
    let from = "From - Thu Jan 01 00:00:07 2015\n";
    let tagged = |n: usize, status: &str, keys: &str| {
        format!(
            "X-Mozilla-Status: {status}\nX-Mozilla-Status2: 00000000\nX-Mozilla-Keys: {keys:<40}\n{}",
            eml(n)
        )
    };
    let root = daemon.path().join("Local Folders");
    let mails = [
        tagged(1, "0005", "$label1 todo"),
        tagged(2, "0000", ""),
        tagged(3, "1001", ""),
        tagged(4, "0002", ""),
    ];
    put(&root, "Inbox", format!("{from}{}\n", mails[0]));
    put(&root, "Inbox.msf", "// <!-- <mdb:mork:z v=\"1.4\"/> -->");
    put(&root, "Archives", "");
    put(&root, "Archives.sbd/2019", format!("{from}{}\n{from}{}\n", mails[1], mails[2]));
    put(&root, "Archives.sbd/Old.sbd/2014", format!("{from}{}\n", mails[3]));
    put(&root, "msgFilterRules.dat", "version=\"9\"\n");
    put(&root, ".parentlock", "");
    let came = upload(&daemon, "bird", &[&root]).code(0);
    assert_eq!(numbers(&came), (4, 0, 0), "{}", reasons(&came));
    assert_eq!(passed(&came), "1 settings, 1 hidden files, 1 indexes, 1 empty files");
    let tree = Tree::read(&daemon.maildir("bird"));
    let [one, two, three, four] = mails.clone();
    let wanted =
        [("", one), (".Archives.2019", two), (".Archives.2019", three), (".Archives.Old.2014", four)];
    assert_eq!(places(&tree), expected(wanted), "{:?}", tree.names());
    let facts: BTreeSet<String> =
        tree.messages().map(|(_, m)| format!("{} {:?}", m.flags, m.keywords)).collect();
    let of = |facts: &[&str]| facts.iter().map(|fact| (*fact).to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(facts, of(&["FS {\"$label1\", \"todo\"}", " {}", "S {\"$Forwarded\"}", "R {}"]));

    let root = daemon.path().join("V10");
    let emlx = |n: usize, flags: u64| {
        let text = eml(n);
        format!(
            "{:<10}\n{text}<?xml version=\"1.0\"?>\n<plist><dict>\n\t<key>date-received</key>\n\t<integer>14200704{n:02}</integer>\n\
             \t<key>flags</key>\n\t<integer>{flags}</integer>\n</dict></plist>\n",
            text.len()
        )
    };
    let data = "4A1DE67C-1234-4CDE-9F00-AABBCCDDEEFF/Data";
    put(&root, &format!("INBOX.mbox/{data}/Messages/1.emlx"), emlx(1, 8_590_195_713));
    put(&root, &format!("INBOX.mbox/{data}/2/Messages/2.emlx"), emlx(2, 16));
    put(&root, &format!("Work.mbox/2014.mbox/{data}/Messages/3.emlx"), emlx(3, 4));
    put(&root, "Work.mbox/Info.plist", "<?xml version=\"1.0\"?><plist/>");
    put(&root, "Exported.mbox/mbox", format!("{from}{}\n", eml(4)));
    put(&root, "Exported.mbox/table_of_contents", [1, 2, 3]);
    let came = upload(&daemon, "apple", &[&root]).code(0);
    assert_eq!(numbers(&came), (4, 0, 0), "{}", reasons(&came));
    let tree = Tree::read(&daemon.maildir("apple"));
    let wanted = [("", eml(1)), ("", eml(2)), (".Work.2014", eml(3)), (".Exported", eml(4))];
    assert_eq!(places(&tree), expected(wanted), "{:?}", tree.names());
    let dated = tree.messages().find(|(_, m)| m.sha == sha(eml(2).as_bytes())).unwrap().1;
    assert_eq!((dated.flags.as_str(), dated.mtime), ("F", 1_420_070_402));
    // What has parts elsewhere, and what is cut off.
    let partial = put(daemon.path(), "9.partial.emlx", emlx(9, 1));
    let cut = put(daemon.path(), "8.emlx", &emlx(8, 1).as_bytes()[..60]);
    let came = upload(&daemon, "apple", &[&partial, &cut]).code(1);
    assert_eq!(numbers(&came), (0, 0, 2));
    assert!(
        reasons(&came).contains("other files") && reasons(&came).contains("shorter"),
        "{}",
        reasons(&came)
    );
}

#[test]
fn single_messages_with_something_before_them() {
    let mut daemon = Daemon::new("");
    daemon.start();
    for (n, before) in ["", "\u{feff}", "\n", "\r\n\r\n", "\u{feff}\n", "*** saved from the old system ***\n"]
        .into_iter()
        .enumerate()
    {
        let file = put(daemon.path(), &format!("{n}.eml"), format!("{before}{}", eml(n)));
        let came = upload(&daemon, "taken", &[&file]).code(0);
        assert_eq!(numbers(&came), (1, 0, 0), "{before:?}: {}", reasons(&came));
    }
    let all: Vec<String> = (0..6).map(eml).collect();
    same("taken", &contents(&all), &Tree::read(&daemon.maildir("taken")).contents());
    let wide = |order: fn(u16) -> [u8; 2]| -> Vec<u8> {
        format!("\u{feff}{}", eml(7)).encode_utf16().flat_map(order).collect()
    };
    for (name, content, reason) in [
        ("le.eml", wide(u16::to_le_bytes), "it is in UTF-16"),
        ("be.eml", wide(u16::to_be_bytes), "it is in UTF-16"),
        ("bare.eml", wide(u16::to_le_bytes)[2..].to_vec(), "it is in UTF-16"),
        ("text.eml", b"nothing of a message\n".to_vec(), "it is neither"),
        ("mail.pst", b"!BDN0000".to_vec(), "Outlook"),
        ("empty.eml", Vec::new(), "it is empty"),
        ("headless.mbox", format!("{}\n{}", eml(8), eml(9)).into_bytes(), "does not begin with a From line"),
        ("mail.rar", b"Rar!\x1a\x07\x01\x00".to_vec(), "RAR"),
        ("unknown", vec![1, 2, 3, 4], "it is neither"),
    ] {
        let file = put(daemon.path(), name, content);
        let good = put(daemon.path(), "good.eml", eml(30));
        // A good one beside it changes nothing.
        let came = upload(&daemon, "refused", &[&file, &good]).code(1).says("may be mail");
        assert!(reasons(&came).contains(reason), "{name}: {}", reasons(&came));
        assert_eq!(numbers(&came).2, 1, "{name}");
    }
    // What is no mail is passed over; but something has to come.
    let card = put(daemon.path(), "a.vcf", "BEGIN:VCARD\nVERSION:3.0\nEND:VCARD\n");
    let good = put(daemon.path(), "good.eml", eml(31));
    let came = upload(&daemon, "cards", &[&card, &good]).code(0);
    assert_eq!((numbers(&came), passed(&came).as_str()), ((1, 0, 0), "1 contacts"));
    let came = upload(&daemon, "cards", &[&card]).code(1).says("there is no mail in what was named");
    assert_eq!(numbers(&came), (0, 0, 0));
}

#[test]
fn directories_and_what_is_no_mail_in_them() {
    let mut daemon = Daemon::new("");
    daemon.start();
    let root = daemon.path().join("saved");
    put(&root, "1.eml", eml(1));
    put(&root, "Trip/2.eml", eml(2));
    put(&root, "Trip/more/3.txt", eml(3));
    for (name, content) in [
        ("people.vcf", &b"BEGIN:VCARD\n"[..]),
        ("all", b"BEGIN:VCALENDAR\n"),
        ("settings.json", b"{\"Subject: x\": 1}"),
        ("page.html", b"<html>"),
        ("._1.eml", &[0, 5, 0x16, 7, 0]),
        ("__MACOSX/2.eml", b"x"),
        (".DS_Store", &[0, 0, 0, 1]),
        ("photo.jpg", &[0xff, 0xd8, 0xff, 0xe0]),
        ("notes.txt", b"Remember: milk\n"),
        ("Trip/2.eml.msf", b"// <!-- <mdb:mork:z -->"),
    ] {
        put(&root, name, content);
    }
    let came = upload(&daemon, "saved", &[&root]).code(0);
    assert_eq!(numbers(&came), (3, 0, 0), "{}", reasons(&came));
    let told = passed(&came);
    for kind in [
        "1 contacts",
        "1 calendars",
        "1 settings",
        "1 web pages",
        "1 documents",
        "1 texts",
        "2 resource forks",
        "1 hidden files",
        "1 indexes",
    ] {
        assert!(told.contains(kind), "{kind} in {told}");
    }
    let wanted = expected([("", eml(1)), (".Trip", eml(2)), (".Trip.more", eml(3))]);
    assert_eq!(places(&Tree::read(&daemon.maildir("saved"))), wanted);
    // The words for people have it, too.
    let again = daemon.ctl(&["upload", "--member", "saved@example.com", root.to_str().unwrap()]).code(0);
    assert!(again.out.contains("passed over: contacts (1)"), "{}", again.out);
    // One that may be mail.
    put(&root, "Trip/archive.7z", b"7z\xbc\xaf\x27\x1c");
    let came = upload(&daemon, "saved", &[&root]).code(1);
    assert_eq!(numbers(&came), (0, 3, 1));
    assert!(reasons(&came).contains("7-Zip"), "{}", reasons(&came));
    // What programs keep in the form of a message.
    let note = "Date: Thu, 1 Jan 2015 00:00:00 +0000\nFrom: Mail System Internal Data <MAILER-DAEMON@host>\n\
                Subject: DON'T DELETE THIS MESSAGE -- FOLDER INTERNAL DATA\nX-IMAP: 1420070400 0000000002\nStatus: RO\n\nThis text is\n";
    let from = "From a@b Thu Jan  1 00:00:07 2015\n";
    let file = put(daemon.path(), "Kept.mbox", format!("{from}{note}\n{from}{}\n", eml(4)));
    let came = upload(&daemon, "notes", &[&file]).code(0);
    assert_eq!((numbers(&came), passed(&came).as_str()), ((1, 0, 0), "1 pseudo-messages"));
    assert_eq!(places(&Tree::read(&daemon.maildir("notes"))), expected([(".Kept", eml(4))]));
}

#[test]
fn another_folder_is_another_message() {
    let mut daemon = Daemon::new("");
    daemon.start();
    let file = put(daemon.path(), "a.eml", eml(1));
    let shown = file.to_str().unwrap();
    for (folder, came) in [("A", (1, 0, 0)), ("B", (1, 0, 0)), ("A", (0, 1, 0)), ("B", (0, 1, 0))] {
        let words = ["--json", "upload", "--member", "alice@example.com", "--mailbox", folder, shown];
        assert_eq!(numbers(&daemon.ctl(&words).code(0)), came, "{folder}");
    }
    assert_eq!(numbers(&upload(&daemon, "alice", &[&file]).code(0)), (1, 0, 0), "and in the inbox");
    // Two names that a Maildir++ writes alike, and the same file many times in one upload.
    let zip = archives::zip(&[
        archives::Entry::new("x.y/1.eml", eml(1)),
        archives::Entry::new("x_y/1.eml", eml(2)),
        archives::Entry::new("x.y/2.eml", eml(1)),
        archives::Entry::new("x_y/2.eml", eml(3)),
    ]);
    let zip = put(daemon.path(), "names.zip", zip);
    assert_eq!(numbers(&upload(&daemon, "names", &[&zip]).code(0)), (4, 0, 0));
    let tree = Tree::read(&daemon.maildir("names"));
    assert_eq!(tree.names().len(), 3, "{:?}", tree.names());
    assert_eq!(numbers(&upload(&daemon, "names", &[&zip]).code(0)), (0, 4, 0));
}

#[test]
fn single_files_in_number() {
    let mut daemon = Daemon::new("");
    daemon.start();
    let root = daemon.path().join("many");
    let files: Vec<_> = (0..300).map(|n| put(&root, &format!("{n:04}.eml"), eml(n))).collect();
    let mut files: Vec<&Path> = files.iter().map(AsRef::as_ref).collect();
    let (card, twice) = (put(&root, "x.vcf", "BEGIN:VCARD\n"), put(&root, "twice.eml", eml(7)));
    let mbox = put(&root, "Sent.mbox", format!("From - Thu Jan 01 00:00:07 2015\n{}\n", eml(500)));
    files.extend([card.as_path(), twice.as_path(), mbox.as_path()]);
    let came = upload(&daemon, "alice", &files).code(0);
    assert_eq!((numbers(&came), passed(&came).as_str()), ((301, 1, 0), "1 contacts"), "{}", reasons(&came));
    let tree = Tree::read(&daemon.maildir("alice"));
    assert_eq!(tree.folders[""].len(), 300);
    assert_eq!(tree.folders[".Sent"].len(), 1);
    assert_eq!(numbers(&upload(&daemon, "alice", &files).code(0)), (0, 302, 0));
    let bad = put(&root, "bad.eml", "no message\n");
    files.push(&bad);
    let came = upload(&daemon, "alice", &files).code(1);
    assert_eq!(numbers(&came), (0, 302, 1));
    assert!(reasons(&came).starts_with(&format!("\"{}\"", bad.display())), "{}", reasons(&came));
}

#[test]
fn what_stands_before_a_mailbox_is_told() {
    let mut daemon = Daemon::new("");
    daemon.start();
    let from = "From a@b Thu Jan  1 00:00:07 2015\n";
    let text: String = (1..4).map(|n| format!("{from}{}\n", eml(n))).collect();
    let all = contents(&[eml(1), eml(2), eml(3)]);
    for (n, front) in ["garbage\n", "# exported\n# by a tool\n", "\0\0\0\0"].into_iter().enumerate() {
        let local = format!("front{n}");
        let file = put(daemon.path(), &format!("{local}.mbox"), format!("{front}{text}"));
        let came = upload(&daemon, &local, &[&file]).code(1);
        assert_eq!(numbers(&came), (3, 0, 1), "{front:?}: {}", reasons(&came));
        assert!(reasons(&came).contains("its beginning"), "{}", reasons(&came));
        same(&local, &all, &Tree::read(&daemon.maildir(&local)).contents());
    }
    // Mailboxes of other kinds have a text before a header, too.
    let mtx: String = (1..4)
        .map(|n| format!(" 7-Jan-2015 00:00:0{n} +0000,{};000000000001\r\n{}", eml(n).len(), eml(n)))
        .collect();
    let file = put(daemon.path(), "Sent", mtx);
    let came = upload(&daemon, "mtx", &[&file]).code(1);
    assert_eq!(numbers(&came), (0, 0, 1));
    assert!(reasons(&came).contains("MTX"), "{}", reasons(&came));
}
