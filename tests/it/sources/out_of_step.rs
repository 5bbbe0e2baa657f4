//! Polls from an IMAP server whose answers get out of step in random ways, with deletion on and off: what is here was
//! there, under its own identity and once; what was deleted there is here; and what did not come is still there.
//! `MAILHAUL_SEED` plays one schedule alone, a failure names its own.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "this is a test")]

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::Duration;

use crate::helpers::daemon::{Daemon, imap_migrate};
use crate::helpers::fake_imap::{Command, FakeImap, Folder, Reply, Then};
use crate::helpers::maildir::{Tree, sha};

/// Slips that a server may make in one schedule; afterwards it is honest.
const SLIPS: usize = 6;
const LIMIT: Duration = Duration::from_secs(300);

/// SplitMix64, and the slips that are left.
struct Dice(u64, usize);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % limit.max(1) as u64).unwrap()
    }

    /// One answer to a FETCH.
    fn misbehave(&mut self, command: &Command, reply: &mut Reply) {
        if self.1 == 0 || !command.name.ends_with("FETCH") || reply.untagged.is_empty() || self.below(3) == 0
        {
            return;
        }
        self.1 -= 1;
        let at = self.below(reply.untagged.len());
        match self.below(9) {
            0 => drop(reply.untagged.remove(at)),
            1 => reply.untagged.insert(at, reply.untagged[at].clone()),
            2 => reply.untagged.insert(at, b"* 7 FETCH (X {5}\r\n".to_vec()),
            3 => reply.untagged.insert(at, b"of a mail {300}\r\n".to_vec()),
            4 => reply.tagged(command, "NO [SERVERBUG] not now"),
            5 => reply.cut(at, "* BYE enough\r\n"),
            6 => {
                reply.cut(at + 1, "");
                let half = reply.untagged[at].len() / 2;
                reply.untagged[at].truncate(half);
                reply.then = Then::Close;
            }
            more => {
                let by = [1, 2, 50, 74, 77][self.below(5)];
                let line = &mut reply.untagged[at];
                let Some(start) = line.windows(3).position(|part| part == b"] {") else { return };
                let digits = line[start + 3..].iter().take_while(|byte| byte.is_ascii_digit()).count();
                let length: usize =
                    std::str::from_utf8(&line[start + 3..start + 3 + digits]).unwrap().parse().unwrap();
                let length = if more == 7 { length + by } else { length.saturating_sub(by) };
                line.splice(start + 3..start + 3 + digits, length.to_string().into_bytes());
            }
        }
    }
}

fn schedule(seed: u64) {
    let dice = Mutex::new(Dice(seed, SLIPS));
    let folder = || Folder::new("INBOX", 30);
    let server =
        FakeImap::with_capability("IMAP4rev1 UIDPLUS AUTH=PLAIN", vec![folder()], move |command, reply| {
            dice.lock().unwrap().misbehave(command, reply);
        });
    let deletes = seed.is_multiple_of(2);
    let mut daemon = Daemon::new("[polling]\ninterval = \"24h\"\n");
    let poll = imap_migrate(
        "old",
        "alice",
        server.port,
        ("alice", "secret"),
        &format!("keep_original = {}", !deletes),
    );
    daemon.define("alice", &poll.replace("[account.migrate]", "[account.poll]"));
    daemon.start();
    let there: BTreeSet<String> = folder().mails.iter().map(|mail| sha(&mail.body)).collect();
    // Each poll goes on where the one before it ended, until the server has had all its slips.
    for _ in 0..SLIPS + 2 {
        daemon.ctl_within(LIMIT, &["poll", "old"]);
        let here = Tree::read(&daemon.maildir("alice")).contents();
        let known: BTreeSet<String> = here.iter().cloned().collect();
        assert_eq!(known.len(), here.len(), "seed {seed}: something came twice");
        assert!(known.is_subset(&there), "seed {seed}: something was never there");
        let left: BTreeSet<String> = server.boxes()[0].mails.iter().map(|mail| sha(&mail.body)).collect();
        let deleted: BTreeSet<String> = there.difference(&left).cloned().collect();
        assert!(deleted.is_subset(&known), "seed {seed}: deleted, and not here");
    }
    let here: BTreeSet<String> = Tree::read(&daemon.maildir("alice")).contents().into_iter().collect();
    assert_eq!(here, there, "seed {seed}: {:#}\n{}", daemon.show("old"), daemon.log_tail(30));
    assert_eq!(server.boxes()[0].mails.is_empty(), deletes, "seed {seed}");
    daemon.stop();
}

#[test]
fn whatever_the_server_says_each_message_is_its_own() {
    let seed = std::env::var("MAILHAUL_SEED").ok().and_then(|seed| seed.parse().ok());
    let seeds: Vec<u64> = seed.map_or_else(|| (1..=8).collect(), |seed| vec![seed]);
    std::thread::scope(|scope| {
        for part in seeds.chunks(2) {
            scope.spawn(move || part.iter().copied().for_each(schedule));
        }
    });
}
