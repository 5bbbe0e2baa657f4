//! The connection to an IMAP server: TLS and STARTTLS against a real Dovecot, certificates that nobody vouches
//! for, and a server that slips an answer in before the handshake.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "this is a test")]

use crate::helpers::corpus::Corpus;
use crate::helpers::daemon::Daemon;
use crate::helpers::dovecot::Dovecot;
use crate::helpers::maildir::{Tree, same};
use crate::helpers::scripted::{Scripted, Step, expect, send};

fn account(name: &str, port: u16, security: &str, more: &str) -> String {
    format!(
        "[[account]]\nname = \"{name}\"\nmember = \"bob@example.com\"\nagreed = true\n\
         [account.source]\nprotocol = \"imap\"\n\
         server = {{ host = \"localhost\", port = {port}, security = \"{security}\"{more} }}\n\
         username = \"bob\"\npassword = {{ value = \"secret\" }}\n[account.migrate]\n"
    )
}

#[test]
fn tls_and_starttls_bring_the_same_and_a_stranger_is_refused() {
    let dovecot = Dovecot::start(&[("bob", "secret")]);
    let mut source = Corpus::at(&dovecot.maildir("bob"));
    source.fill(40);
    for (port, security) in [(dovecot.imaps, "tls"), (dovecot.imap, "starttls")] {
        let mut daemon = Daemon::new("");
        let authority = format!(", ca_file = \"{}\"", dovecot.authority().display());
        daemon.define("bob", &account("bob-old", port, security, &authority));
        daemon.define("eve", &account("stranger", port, security, ""));
        daemon.start();
        daemon.migrate("bob-old");
        same(security, &source.put, &Tree::read(&daemon.maildir("bob")).contents());
        let checked = daemon.ctl(&["check", "stranger"]).code(1);
        assert!(checked.out.contains("ca_file") || checked.err.contains("ca_file"), "{checked:?}");
        daemon.stop();
    }
}

#[test]
fn what_comes_before_the_handshake_is_not_believed() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let script = || -> Vec<Step> {
        vec![
            send("* OK ready\r\n"),
            expect("A1 CAPABILITY"),
            send("* CAPABILITY IMAP4rev1 STARTTLS\r\nA1 OK done\r\n"),
            expect("A2 STARTTLS"),
            // Somebody in the middle puts an answer of his own behind the server's.
            send("A2 OK begin\r\n* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\n"),
            Step::Hang,
        ]
    };
    let server = runtime.block_on(Scripted::play(vec![script()]));
    let mut daemon = Daemon::new("");
    daemon.define("bob", &account("bob-old", server.port, "starttls", ""));
    daemon.start();
    let checked = daemon.ctl(&["check", "bob-old"]).code(1);
    let said = format!("{}{}", checked.out, checked.err);
    assert!(said.contains("between its answer to STARTTLS and the handshake"), "{said}");
    drop(server);
}

#[test]
fn no_password_goes_out_where_starttls_is_missing() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let script = vec![send("* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] ready\r\n"), Step::Hang];
    let server = runtime.block_on(Scripted::play(vec![script]));
    let mut daemon = Daemon::new("");
    daemon.define("bob", &account("bob-old", server.port, "starttls", ""));
    daemon.start();
    let checked = daemon.ctl(&["check", "bob-old"]).code(1);
    let said = format!("{}{}", checked.out, checked.err);
    assert!(said.contains("offers no STARTTLS"), "{said}");
    drop(server);
}
