//! From an address to its servers, through the real daemon: SRV records of a real name server, a template's domains,
//! certificates that verify or do not; shown first, and taken only when somebody says so.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "this is a test")]

mod certificate;
mod corpus;
mod daemon;
mod dovecot;
mod maildir;

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use corpus::Corpus;
use daemon::Daemon;
use dovecot::Dovecot;

const LOGIN: (&str, &str) = ("alice@old.example", "secret");

/// A name server with these SRV records: service and port at `localhost`.
struct Names {
    port: u16,
    child: Child,
}

impl Names {
    fn start(services: &[(&str, u16)]) -> Names {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let records = services
            .iter()
            .map(|(service, port)| format!("--srv-host={service}._tcp.old.example,localhost,{port},1,1"));
        let child = Command::new("/usr/sbin/dnsmasq")
            .args(["-k", "-C", "/dev/null", "--no-hosts", "--no-resolv", "--bind-interfaces", "--user="])
            .arg(format!("--port={port}"))
            .args(["--listen-address=127.0.0.1", "--local=/example/", "--pid-file="])
            .args(records)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("dnsmasq does not start: {error}; install dnsmasq-base"));
        let names = Names { port, child };
        let until = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            assert!(Instant::now() < until, "dnsmasq does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        names
    }

    fn settings(&self) -> String {
        format!("[discovery]\nname_servers = [\"127.0.0.1:{}\"]\n", self.port)
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A daemon that believes the server's authority.
fn believing(settings: &str, dovecot: &Dovecot) -> Daemon {
    let mut daemon = Daemon::new(settings);
    let authority = dovecot.authority().to_str().unwrap().to_owned();
    daemon.environment(vec![("SSL_CERT_FILE".to_owned(), authority)]);
    daemon
}

#[test]
fn srv_records_are_followed_shown_and_taken_when_somebody_says_so() {
    let dovecot = Dovecot::start(&[LOGIN]);
    Corpus::at(&dovecot.maildir(LOGIN.0)).add("", 3);
    // What needs STARTTLS is named as well, and TLS from the first octet comes first.
    let names = Names::start(&[("_imap", dovecot.imap), ("_imaps", dovecot.imaps), ("_pop3", dovecot.pop3)]);
    let mut daemon = believing(&names.settings(), &dovecot);
    daemon.start();
    let answer = daemon.ctl(&["check", LOGIN.0]).code(0);
    let imap = format!("imap localhost:{} (tls), by the SRV records of old.example", dovecot.imaps);
    let pop3 = format!("pop3 localhost:{} (starttls), by the SRV records of old.example", dovecot.pop3);
    assert!(answer.out.contains(&imap) && answer.out.contains(&pop3), "{answer:?}");
    assert!(!answer.out.contains(&format!("localhost:{} ", dovecot.imap)), "one is enough: {answer:?}");

    let secret = daemon.path().join("secret");
    std::fs::write(&secret, "secret\n").unwrap();
    std::fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let file = format!("password.file={}", secret.display());
    let add =
        ["add", "alice-old", "member=alice@example.com", "agreed=true", "username=alice@old.example", &file];
    let refused = daemon.ctl(&[&add[..], &["migrate"]].concat()).code(1).says("--found");
    let keys = format!("protocol=imap server=localhost:{} server.security=tls", dovecot.imaps);
    assert!(refused.err.contains(&keys) && refused.out.contains(&imap), "{refused:?}");
    assert_eq!(daemon.ctl(&["--json", "list"]).json()["accounts"].as_array().unwrap().len(), 0);

    daemon.ctl(&[&add[..], &["migrate", "--found"]].concat()).code(0);
    assert_eq!(daemon.migrate("alice-old")["messages_done"], 3);
    // A poll asks for POP3 first.
    let polled: Vec<&str> =
        add.iter().map(|word| if *word == "alice-old" { "alice-poll" } else { word }).collect();
    daemon.ctl(&[&polled[..], &["poll", "--found"]].concat()).code(0);
    assert_eq!(daemon.account("alice-poll")["protocol"], "pop3");
    daemon.stop();
}

#[test]
fn a_template_that_claims_the_domain_comes_first() {
    let dovecot = Dovecot::start(&[LOGIN]);
    let names = Names::start(&[("_imaps", 1)]);
    let mut daemon = believing(&names.settings(), &dovecot);
    daemon.define_server(
        "old",
        &format!(
            "[server.old]\ntitle = \"The old one\"\ndomains = [\"OLD.example\"]\nimap = {{ host = \"localhost\", port = {} }}\n",
            dovecot.imaps
        ),
    );
    daemon.start();
    let answer = daemon.ctl(&["check", LOGIN.0]).code(0);
    assert!(
        answer.out.contains("by the profile of The old one, server=old: its certificate is good"),
        "{answer:?}"
    );
    daemon.stop();
}

#[test]
fn what_does_not_verify_is_shown_and_not_taken() {
    let dovecot = Dovecot::start(&[LOGIN]);
    let names = Names::start(&[("_imaps", dovecot.imaps), ("_pop3s", dovecot.imaps)]);
    // This one does not know the authority.
    let mut daemon = Daemon::new(&names.settings());
    daemon.environment(vec![("SSL_CERT_FILE".to_owned(), dovecot.chain().to_str().unwrap().to_owned())]);
    daemon.start();
    let answer = daemon.ctl(&["check", LOGIN.0]).code(1).says("no server was found");
    let line =
        answer.out.lines().find(|line| line.contains(&format!("imap localhost:{}", dovecot.imaps))).unwrap();
    assert!(line.contains("certificate"), "{line}");
    assert!(answer.out.contains("by a usual name"), "and then the usual names: {answer:?}");
    daemon.ctl(&["check", "nobody@"]).code(1).says("no address");
    daemon.stop();
    // And a server that speaks something else.
    let mut daemon = believing(&names.settings(), &dovecot);
    daemon.start();
    let answer = daemon.ctl(&["check", LOGIN.0]).code(0);
    assert!(
        answer.out.contains(&format!(
            "pop3 localhost:{} (tls), by the SRV records of old.example: localhost:{} does not speak POP3",
            dovecot.imaps, dovecot.imaps
        )),
        "{answer:?}"
    );
    daemon.stop();
}
