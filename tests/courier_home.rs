//! A real Courier: everything below `INBOX.` with dots between levels, a name of its own for each message over POP3,
//! no literals without waiting, and a quota in the Maildir. As a source over IMAP and POP3, and as the destination.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "this is a test")]

mod certificate;
mod corpus;
mod courier;
mod daemon;
mod dovecot;
mod maildir;
mod view;

use corpus::Corpus;
use courier::Courier;
use daemon::{Daemon, imap_migrate, there};
use dovecot::Dovecot;
use maildir::{Tree, same};
use view::{View, places};

const LOGIN: (&str, &str) = ("alice", "secret");
const HOME: (&str, &str) = ("home-alice", "home secret");
const NAME: &str = "alice-old";
const OWN: &str = "login = \"home-{local}\"";

/// Facts with the one name of the corpus that Courier cannot read as it is there.
fn at_courier(facts: &[String]) -> Vec<String> {
    facts.iter().map(|fact| fact.replace(".&2D3c7A-", "._")).collect()
}

#[test]
fn there_and_back() {
    let courier = Courier::start(&[HOME]);
    let dovecot = Dovecot::start(&[LOGIN]);
    let mut source = Corpus::at(&dovecot.maildir("alice"));
    source.fill(600);
    let mut daemon = Daemon::homing(courier.imap, OWN, HOME.1);
    daemon.define("there", &there(&imap_migrate(NAME, "alice", dovecot.imap, LOGIN, "")));
    daemon.define("back", &imap_migrate("back", "alice", courier.imap, HOME, ""));
    daemon.start();
    let done = daemon.migrate(NAME);
    let from = Tree::read(source.root());
    assert_eq!(done["messages_done"], source.put.len(), "{done:#}\n{:#}", daemon.show(NAME)["skipped"]);
    let mut view = View::open(courier.imap, "", HOME);
    let to = view.tree();
    same("folders, octets, flags, keywords and dates", &at_courier(&from.facts()), &to.facts());
    let names = |tree: &Tree| tree.subscriptions.iter().cloned().collect::<Vec<_>>();
    same("subscriptions", &at_courier(&names(&from)), &names(&to));
    daemon.migrate(NAME);
    same("after a further run", &places(&to), &places(&view.tree()));

    let done = daemon.migrate("back");
    assert_eq!(done["messages_done"], source.put.len(), "{done:#}");
    let back = Tree::read(&daemon.maildir("alice"));
    same("there and back", &at_courier(&from.facts()), &back.facts());
    daemon.stop();
}
