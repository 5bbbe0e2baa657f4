//! How a login is proved: which way is gone where a server fails at one, and that each way that can be written is taken by
//! a real Dovecot. It refuses to know a password that counts anywhere else.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "this is a test")]

use crate::helpers::dovecot::Dovecot;
use crate::helpers::scripted::{Scripted, Step, expect, send};
use mailhaul::account::{Auth, Patience, Protocol, Security, Source};
use mailhaul::failure::{Failure, Kind};
use mailhaul::message::Parcel;
use mailhaul::net::Connector;
use mailhaul::secret::{Secret, SecretPlace};
use mailhaul::{imap, pop3};

const PASSWORD: &[u8] = b"correct horse";

fn source(protocol: Protocol, port: u16, auth: Auth) -> Source {
    Source {
        protocol,
        host: "localhost".to_owned(),
        port,
        security: Security::None,
        ca_file: None,
        fingerprint: None,
        patience: Patience::default(),
        username: "alice".to_owned(),
        authorize_as: None,
        password: SecretPlace::Credential("unused".to_owned()),
        auth,
        max_connections: None,
        min_interval: None,
        daily: None,
        rounds: false,
        login_hint: String::new(),
    }
}

async fn open(connector: &Connector, source: &Source, password: &[u8]) -> Result<(), Failure> {
    let secret = Secret::new(password.to_vec());
    match source.protocol {
        Protocol::Imap => imap::Session::<Parcel>::open(connector, source, &secret).await.map(drop),
        Protocol::Pop3 => pop3::Session::open(connector, source, &secret).await.map(drop),
    }
}

/// A login at servers that play these scripts, one after the other.
async fn played(protocol: Protocol, auth: Auth, scripts: Vec<Vec<Step>>) -> Vec<Result<(), Failure>> {
    let count = scripts.len();
    let server = Scripted::play(scripts).await;
    let connector = Connector::new(true).unwrap();
    let source = source(protocol, server.port, auth);
    let mut ends = Vec::new();
    for _ in 0..count {
        ends.push(open(&connector, &source, PASSWORD).await);
    }
    server.finish().await;
    ends
}

fn greeting(names: &str) -> Step {
    send(format!("* OK [CAPABILITY IMAP4rev1 {names}] ready\r\n"))
}

fn in_by_command() -> Vec<Step> {
    vec![
        expect("{tag} LOGIN \"alice\" \"correct horse\"\r\n"),
        send("{tag} OK [CAPABILITY IMAP4rev1] in\r\n"),
    ]
}

#[tokio::test]
async fn imap_goes_another_way_where_a_mechanism_fails() {
    for refusal in ["BAD what", "NO Unsupported authentication mechanism", "BAD [CANNOT] no such thing"] {
        let mut first = vec![
            greeting("AUTH=PLAIN AUTH=LOGIN"),
            expect("{tag} AUTHENTICATE PLAIN\r\n"),
            send(format!("{{tag}} {refusal}\r\n")),
            expect("{tag} AUTHENTICATE LOGIN\r\n"),
            send(format!("{{tag}} {refusal}\r\n")),
        ];
        first.extend(in_by_command());
        // It is remembered.
        let mut second = vec![greeting("AUTH=PLAIN SASL-IR")];
        second.extend(in_by_command());
        for end in played(Protocol::Imap, Auth::Auto, vec![first, second]).await {
            end.unwrap();
        }
    }
}

#[tokio::test]
async fn imap_tries_wrong_credentials_once() {
    for refusal in ["NO [AUTHENTICATIONFAILED] bad mechanism", "BAD Invalid credentials"] {
        let script = vec![
            greeting("AUTH=PLAIN AUTH=LOGIN SASL-IR"),
            expect("{tag} AUTHENTICATE PLAIN "),
            send(format!("{{tag}} {refusal}\r\n")),
        ];
        let failure = played(Protocol::Imap, Auth::Auto, vec![script]).await.remove(0).unwrap_err();
        assert_eq!(failure.kind, Kind::Credentials, "{refusal}: {failure}");
    }
}

#[tokio::test]
async fn where_every_way_is_closed_nothing_is_said_of_the_password() {
    let script = vec![
        greeting("AUTH=PLAIN LOGINDISABLED"),
        expect("{tag} AUTHENTICATE PLAIN\r\n"),
        send("{tag} BAD what\r\n"),
    ];
    let failure = played(Protocol::Imap, Auth::Auto, vec![script]).await.remove(0).unwrap_err();
    assert_eq!(failure.kind, Kind::Unsupported, "{failure}");
}

#[tokio::test]
async fn pop3_goes_another_way_where_a_mechanism_fails() {
    let capa = || [send("+OK\r\n"), expect("CAPA\r\n"), send("+OK\r\nSASL PLAIN LOGIN\r\n.\r\n")];
    let by_user =
        || [expect("USER alice\r\n"), send("+OK\r\n"), expect("PASS correct horse\r\n"), send("+OK\r\n")];
    let mut first: Vec<Step> = capa().into();
    for way in ["AUTH PLAIN\r\n", "AUTH LOGIN\r\n"] {
        first.extend([expect(way), send("-ERR unsupported mechanism\r\n")]);
    }
    first.extend(by_user());
    let mut second: Vec<Step> = capa().into();
    // LOGIN was not the one that was learned about.
    second.extend([expect("AUTH LOGIN\r\n"), send("-ERR unsupported mechanism\r\n")]);
    second.extend(by_user());
    for end in played(Protocol::Pop3, Auth::Auto, vec![first, second]).await {
        end.unwrap();
    }
}

#[tokio::test]
async fn one_way_that_is_written_is_the_only_one() {
    let script = vec![
        greeting("AUTH=PLAIN AUTH=CRAM-MD5"),
        expect("{tag} AUTHENTICATE CRAM-MD5\r\n"),
        send("{tag} BAD what\r\n"),
    ];
    let failure = played(Protocol::Imap, Auth::CramMd5, vec![script]).await.remove(0).unwrap_err();
    assert_eq!(failure.kind, Kind::Unsupported, "{failure}");
    let mut script = vec![greeting("AUTH=PLAIN")];
    script.extend(in_by_command());
    played(Protocol::Imap, Auth::Login, vec![script]).await.remove(0).unwrap();
}

/// An OK that nothing proves is no login, and neither is a wrong proof.
#[tokio::test]
async fn a_server_that_does_not_know_the_password_is_not_believed() {
    let first = vec![
        greeting("AUTH=SCRAM-SHA-256 SASL-IR"),
        expect("{tag} AUTHENTICATE SCRAM-SHA-256 "),
        send("{tag} OK in\r\n"),
    ];
    let second = vec![
        send("+OK\r\n"),
        expect("CAPA\r\n"),
        send("+OK\r\nSASL SCRAM-SHA-256\r\n.\r\n"),
        expect("AUTH SCRAM-SHA-256\r\n"),
        send("+ \r\n"),
        expect(""),
        send("+OK in\r\n"),
    ];
    for (protocol, script) in [(Protocol::Imap, first), (Protocol::Pop3, second)] {
        let failure = played(protocol, Auth::Auto, vec![script]).await.remove(0).unwrap_err();
        assert_eq!(failure.kind, Kind::Protocol, "{failure}");
        assert!(failure.words.contains("does not prove"), "{failure}");
    }
}

#[tokio::test]
async fn dovecot_takes_every_way() {
    let users = [("alice", "correct horse")];
    let more = "auth_mechanisms = plain login cram-md5 scram-sha-256 apop";
    let dovecot = Dovecot::start_with(&users, more);
    let connector = Connector::new(true).unwrap();
    let both = [Auth::Auto, Auth::Password, Auth::Plain, Auth::Login, Auth::CramMd5, Auth::Scram];
    for auth in both {
        for (protocol, port) in [(Protocol::Imap, dovecot.imap), (Protocol::Pop3, dovecot.pop3)] {
            let source = source(protocol, port, auth);
            open(&connector, &source, PASSWORD).await.unwrap_or_else(|failure| panic!("{auth:?}: {failure}"));
            let failure = open(&connector, &source, b"wrong").await.unwrap_err();
            assert_eq!(failure.kind, Kind::Credentials, "{auth:?}: {failure}");
        }
    }
    let apop = source(Protocol::Pop3, dovecot.pop3, Auth::Apop);
    open(&connector, &apop, PASSWORD).await.unwrap();
    assert_eq!(open(&connector, &apop, b"wrong").await.unwrap_err().kind, Kind::Credentials);
}

/// It has nothing that SCRAM could be checked with.
#[tokio::test]
async fn a_server_that_has_only_a_hash_is_told_the_password() {
    let dovecot = Dovecot::start_with(&[("alice", "correct horse")], "auth_mechanisms = plain scram-sha-256");
    let hashed = ring::digest::digest(&ring::digest::SHA256, PASSWORD);
    let digits: String = hashed.as_ref().iter().map(|octet| format!("{octet:02x}")).collect();
    std::fs::write(dovecot.users(), format!("alice:{{SHA256.HEX}}{digits}\n")).unwrap();
    let connector = Connector::new(true).unwrap();
    for (protocol, port) in [(Protocol::Imap, dovecot.imap), (Protocol::Pop3, dovecot.pop3)] {
        open(&connector, &source(protocol, port, Auth::Auto), PASSWORD).await.unwrap();
    }
}
