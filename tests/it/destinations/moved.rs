//! A rollback at a server after the member has been at work: messages that went to other folders, a folder that was
//! numbered anew; and what is the member's own stays, also where it is the same octet for octet.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "this is a test")]

use crate::helpers::maildir;
use crate::helpers::view;
use std::time::Duration;

use crate::helpers::daemon::{Daemon, imap_migrate, there};
use crate::helpers::dovecot::Dovecot;
use crate::helpers::fake_imap::{FakeImap, Folder};
use crate::helpers::maildir::same;
use crate::helpers::view::View;

const LOGIN: (&str, &str) = ("alice", "secret");
const HOME: (&str, &str) = ("home-alice", "home secret");
const LIMIT: Duration = Duration::from_secs(120);

fn body(folder: &str, n: usize) -> String {
    format!("Subject: {folder} {n}\r\n\r\nthe text of {folder} {n}\r\n")
}

#[test]
fn what_the_member_moved_is_found() {
    // INBOX and Sent come, and Z never does.
    let server = FakeImap::start(
        vec![Folder::new("INBOX", 12), Folder::new("Sent", 12), Folder::new("Z", 3)],
        |command, reply| {
            if command.is_in("Z") && command.wants_bodies() {
                // A message over which connections break would be left out; this is obeyed.
                reply.cut(0, "* BYE Too many requests, not now\r\n");
            }
        },
    );
    server.change(|boxes| {
        for folder in boxes.iter_mut() {
            let name = String::from_utf8(folder.name.clone()).unwrap();
            for (n, mail) in folder.mails.iter_mut().enumerate() {
                mail.body = body(&name, n).into_bytes();
            }
        }
    });
    let home = Dovecot::start(&[HOME]);
    let mut view = View::open(home.imap, "", HOME);
    view.ask("CREATE Own");
    view.ask("CREATE Sent");
    // The same as one that will come, another of its kind, and one that has nothing to do with it.
    for (folder, text) in [
        ("Own", body("INBOX", 3)),
        ("Own", body("INBOX", 4)),
        ("Sent", "Subject: mine\r\n\r\nsent long ago\r\n".to_owned()),
    ] {
        view.append(folder, "\\Seen", text.as_bytes());
    }
    let before = view.tree();
    let mut daemon = Daemon::homing(home.imap, "login = \"home-{local}\"", HOME.1);
    daemon.more_settings("[migrations]\nconnections = 1\n");
    daemon.define("alice", &there(&imap_migrate("old", "alice", server.port, LOGIN, "")));
    daemon.start();
    daemon.ctl(&["start", "old"]).code(0);
    daemon.migration_in("old", &["retrying"], LIMIT);
    assert_eq!(view.tree().count(), 3 + 24);

    // To a folder of the member's own, to a new one, and away.
    view.ask("CREATE Kept/New");
    view.ask("SELECT INBOX");
    view.ask("UID MOVE 4,5 Own");
    view.ask("UID MOVE 6:8 Kept/New");
    view.ask("UID STORE 9 +FLAGS (\\Deleted)");
    view.ask("UID EXPUNGE 9");
    // A folder that is numbered anew.
    view.ask("RENAME Sent Sent-then");
    view.ask("CREATE Sent");
    view.ask("SELECT Sent-then");
    view.ask("UID MOVE 1:* Sent");
    view.ask("SELECT INBOX");
    view.ask("DELETE Sent-then");
    view.append("Kept/New", "", b"Subject: mine\r\n\r\nnew since\r\n");

    daemon.ctl(&["cancel", "old"]).code(0);
    daemon.migration_in("old", &["cancelled"], LIMIT);
    let after = view.tree();
    let own = |tree: &maildir::Tree| tree.clone().only(&["", ".Own", ".Z"]);
    same("in place", &view::places(&own(&before)), &view::places(&own(&after)));
    same(
        "in the folder numbered anew",
        &before.clone().only(&[".Sent"]).places(),
        &after.clone().only(&[".Sent"]).places(),
    );
    let kept = &after.folders[".Kept.New"];
    assert_eq!(kept.len(), 1, "the member's own, new one: {kept:#?}");
    assert!(!after.folders.contains_key(".Z"), "the folder that was made");
    daemon.stop();
}
