//! From an address to its servers, through the real daemon: SRV records of a real name server, a template's domains,
//! certificates that verify or do not; shown first, and taken only when somebody says so.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "this is a test")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::helpers::certificate::Certificate;
use crate::helpers::corpus::Corpus;
use crate::helpers::daemon::Daemon;
use crate::helpers::dovecot::Dovecot;
use tokio_rustls::rustls::{ServerConfig, ServerConnection, StreamOwned};

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

/// What a web server does with the next who ask.
#[derive(Clone)]
struct Script {
    identity: Arc<ServerConfig>,
    /// `None`: nothing, until the client goes.
    answer: Option<Vec<u8>>,
}

/// The web server of `localhost`. Its port is the one that https has: there can be only one, and only for root.
struct Web {
    script: Arc<Mutex<Script>>,
    /// What was asked for, and whether all of the answer could be sent.
    asked: Arc<Mutex<Vec<(String, bool)>>>,
}

impl Web {
    fn start(script: Script) -> Web {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 443))
            .unwrap_or_else(|error| panic!("this test needs port 443 of 127.0.0.1: {error}"));
        let web = Web { script: Arc::new(Mutex::new(script)), asked: Arc::default() };
        let (script, asked) = (Arc::clone(&web.script), Arc::clone(&web.asked));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let script = script.lock().unwrap().clone();
                let asked = Arc::clone(&asked);
                std::thread::spawn(move || serve(stream, script, &asked));
            }
        });
        web
    }

    /// Everybody from now on gets this.
    fn answers(&self, answer: Option<Vec<u8>>) {
        self.script.lock().unwrap().answer = answer;
        self.asked.lock().unwrap().clear();
    }
}

fn serve(stream: TcpStream, script: Script, asked: &Mutex<Vec<(String, bool)>>) {
    let mut stream = StreamOwned::new(ServerConnection::new(script.identity).unwrap(), stream);
    let mut request = String::new();
    let mut reader = BufReader::new(&mut stream);
    // Up to the empty line; a client that does not believe us says nothing.
    while !request.ends_with("\r\n\r\n") {
        if reader.read_line(&mut request).is_ok_and(|count| count > 0) {
            continue;
        }
        asked.lock().unwrap().push((String::new(), false));
        return;
    }
    let path = request.split(' ').nth(1).unwrap().to_owned();
    assert!(!request.to_lowercase().contains("alice"), "the address is not sent: {request}");
    let Some(answer) = script.answer else {
        asked.lock().unwrap().push((path, false));
        let _ = stream.read(&mut [0]);
        return;
    };
    let sent = stream.write_all(&answer).and_then(|()| stream.flush()).is_ok();
    asked.lock().unwrap().push((path, sent));
    stream.conn.send_close_notify();
    let _ = stream.flush();
}

/// A document with more before what it says.
fn document(before: &str, host: &str, port: u16) -> String {
    format!(
        "<?xml version=\"1.0\"?>{before}<clientConfig version=\"1.1\"><emailProvider id=\"localhost\">\
         <incomingServer type=\"imap\"><hostname>{host}</hostname><port>{port}</port>\
         <socketType>SSL</socketType></incomingServer></emailProvider></clientConfig>"
    )
}

fn found(body: &str) -> Option<Vec<u8>> {
    Some(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes())
}

#[test]
fn what_a_provider_publishes_is_fetched_and_bounded() {
    if !nix::unistd::geteuid().is_root() {
        // The port of https is root's.
        return;
    }
    let dovecot = Dovecot::start(&[LOGIN]);
    let (good, stranger) = (Certificate::new(), Certificate::new());
    let names = Names::start(&[]);
    let mut daemon = Daemon::new(&names.settings());
    let believed = daemon.path().join("authorities.pem");
    let authorities = [dovecot.authority(), good.authority()].map(|file| fs::read(file).unwrap());
    fs::write(&believed, authorities.concat()).unwrap();
    daemon.environment(vec![("SSL_CERT_FILE".to_owned(), believed.to_str().unwrap().to_owned())]);
    daemon.start();
    let plain = document("", "%EMAILDOMAIN%", dovecot.imaps);
    let web = Web::start(Script { identity: good.server(), answer: found(&plain) });

    let check = || daemon.ctl(&["check", "alice@localhost"]);
    let path = "/.well-known/autoconfig/mail/config-v1.1.xml";
    let line = format!("imap localhost:{} (tls), by https://localhost{path}", dovecot.imaps);
    let answer = check();
    assert!(answer.code == 0 && answer.out.contains(&line), "{answer:?}\n{}", daemon.log());
    assert_eq!(web.asked.lock().unwrap().last(), Some(&(path.to_owned(), true)));

    let long = format!("{plain}<!--{}-->", "x".repeat(20 << 20));
    let bomb: String = (1..9).fold("<!DOCTYPE x [<!ENTITY e0 \"localhost\">".to_owned(), |sum, n| {
        sum + &format!("<!ENTITY e{n} \"{}\">", format!("&e{};", n - 1).repeat(10))
    }) + "]>";
    let redirect = format!("HTTP/1.1 302 Found\r\nLocation: https://localhost{path}\r\nContent-Length: ");
    let redirect = format!("{redirect}{}\r\n\r\n{plain}", plain.len()).into_bytes();
    for (what, answer, why) in [
        ("a redirect", Some(redirect), "the answer is 302"),
        ("too much", found(&long), "the answer is none, or too long"),
        (
            "too much, as long as it comes",
            Some(format!("HTTP/1.1 200 OK\r\n\r\n{long}").into_bytes()),
            "the answer is none, or too long",
        ),
        ("entities", found(&document(&bomb, "&e8;", dovecot.imaps)), "names no server"),
        ("another page", found("<html><body>Welcome</body></html>"), "names no server"),
        ("half of it", found(&plain[..plain.len() / 2]), "names no server"),
        ("no HTTP", Some(b"220 ready\r\n".to_vec()), "the answer is none"),
        ("silence", None, "did not come in time"),
    ] {
        web.answers(answer);
        let logged = daemon.log().len();
        let answer = check().code(1).says("no server was found");
        assert!(!answer.out.contains("config-v1.1.xml"), "{what}: {answer:?}");
        assert!(answer.out.contains("by a usual name"), "{what}: the next way is tried: {answer:?}");
        let log = daemon.log().split_off(logged);
        let told = log.lines().find(|line| line.contains(&format!("https://localhost{path} is of no use")));
        assert!(told.is_some_and(|line| line.contains(why)), "{what}: {why}: {log}");
        let asked = web.asked.lock().unwrap().clone();
        assert!(asked.iter().any(|(asked, _)| asked == path), "{what}: {asked:?}");
        assert!(!what.starts_with("too much") || asked.iter().all(|(_, sent)| !sent), "{what}: it was read");
    }
    web.script.lock().unwrap().identity = stranger.server();
    web.answers(found(&plain));
    let logged = daemon.log().len();
    check().code(1).says("no server was found");
    let log = daemon.log().split_off(logged);
    assert!(log.contains("is of no use") && log.contains("certificate"), "{log}");
    assert!(web.asked.lock().unwrap().iter().all(|(path, _)| path.is_empty()), "it was told nothing");
    daemon.stop();
}
