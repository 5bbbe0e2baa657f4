//! Files into a mailbox: nothing of it is recorded, and what came is recognised.

use std::path::PathBuf;

use serde_json::Value;

use crate::bench::{Bench, LIMIT, To, Work};
use crate::helpers::corpus::Corpus;
use crate::helpers::daemon::Answer;
use crate::play::{ALL, Scenario, play};

const MEMBER: &str = "alice@example.com";

fn file(bench: &Bench) -> PathBuf {
    bench.daemon.path().join("mail.zip")
}

/// An archive of folders, flags and dates; some of it is in the mailbox already.
fn before(bench: &mut Bench) {
    let file = file(bench);
    let file = file.to_str().unwrap();
    let mut from = Corpus::at(&bench.daemon.maildir("from"));
    for (folder, count) in [("", 4), (".Sent", 3), (".1.2.3", 2)] {
        from.add(folder, count);
    }
    bench.daemon.start();
    let backup = ["backup", "--member", "from@example.com", "--format", "zip", "-o", file];
    bench.daemon.ctl(&backup).code(0);
    bench.daemon.stop();
    std::fs::remove_dir_all(bench.daemon.maildir("from").parent().unwrap()).unwrap();
    bench.foreign();
    Corpus::at(&bench.home()).add("", 2);
    bench.again_by(|bench| {
        let came = upload(bench).code(0).json();
        assert_eq!((&came["imported"], &came["skipped"]), (&0.into(), &0.into()), "{came:#}");
        came
    });
}

fn upload(bench: &Bench) -> Answer {
    let file = file(bench);
    let mut words = vec!["--json", "upload", "--member", MEMBER];
    if bench.to == To::Imap {
        words.extend(["--destination", "there"]);
    }
    words.push(file.to_str().unwrap());
    bench.daemon.ctl_within(LIMIT, &words)
}

fn act(bench: &mut Bench) -> bool {
    let well = bench.spawn() && {
        let answer = upload(bench);
        answer.code == 0 && answer.json()["skipped"] == 0
    };
    bench.stop() && well
}

/// The same once more, with as many daemons as it takes.
fn resume(bench: &mut Bench) -> bool {
    bench.daemon.start();
    let came: Value = upload(bench).code(0).json();
    assert_eq!(came["skipped"], 0, "{came:#}");
    assert!(bench.stop());
    true
}

#[test]
fn an_upload() {
    let (work, to) = (Work::Other, To::Maildir);
    play(&Scenario { name: "upload", work, to, before, act, resume, hows: ALL });
}

#[test]
fn an_upload_to_a_server() {
    let (work, to) = (Work::Other, To::Imap);
    play(&Scenario { name: "upload to a server", work, to, before, act, resume, hows: ALL });
}
