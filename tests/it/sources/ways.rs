//! What a server entry can say about its server: how long it may be silent, which certificate it has. It refuses to
//! wait for the real limits: what is written in a file is checked there, and sessions get short ones.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "this is a test")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use crate::helpers::scripted::{Scripted, Step, expect, send};
use mailhaul::account::{Auth, Patience, Protocol, Security, Source};
use mailhaul::config::{Environment, load};
use mailhaul::failure::Kind;
use mailhaul::message::Parcel;
use mailhaul::net::Connector;
use mailhaul::secret::{Secret, SecretPlace};
use mailhaul::{imap, pop3};

/// The source of the one account that these two files define, or what is wrong with them.
fn defined(server: &str, source: &str) -> Result<Source, String> {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    fs::create_dir(root.join("accounts.d")).unwrap();
    fs::create_dir(root.join("servers.d")).unwrap();
    let account = format!(
        "[[account]]\nname = \"a\"\nmember = \"a@example.com\"\nagreed = true\n[account.source]\n\
         username = \"a\"\npassword = {{ value = \"correct horse\" }}\n{source}\n[account.poll]\n"
    );
    for (name, text) in [("mailhaul.toml", ""), ("accounts.d/a.toml", &account), ("servers.d/s.toml", server)]
    {
        fs::write(root.join(name), text).unwrap();
        fs::set_permissions(root.join(name), fs::Permissions::from_mode(0o600)).unwrap();
    }
    let env = Environment { state_directory: Some(root.join("state")), ..Default::default() };
    let said = |complaints: &[mailhaul::config::Complaint]| {
        complaints.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    let loaded = load(&root.join("mailhaul.toml"), &env).map_err(|complaints| said(&complaints))?;
    match loaded.accounts.into_iter().next() {
        Some(account) if loaded.complaints.is_empty() => Ok(account.source),
        _ => Err(said(&loaded.complaints)),
    }
}

fn seconds(patience: Patience) -> [u64; 3] {
    [patience.work, patience.greeting, patience.login].map(|limit| limit.as_secs())
}

#[test]
fn a_server_entry_says_how_long_silence_is_borne() {
    let old = "[server.old]\npop3 = { host = \"pop.example\" }\n";
    let named = "protocol = \"pop3\"\nserver = \"old\"";
    for (entry, limits) in [
        ("", [60, 60, 180]),
        ("timeout = \"20s\"", [20, 20, 180]),
        ("timeout = \"5min\"", [300, 300, 300]),
        ("login_timeout = \"90s\"", [60, 90, 90]),
        ("timeout = \"2min\"\nlogin_timeout = \"10min\"", [120, 600, 600]),
    ] {
        let source = defined(&format!("{old}{entry}\n"), named).unwrap();
        assert_eq!(seconds(source.patience), limits, "{entry}");
        let comma = if entry.is_empty() { "" } else { ", " };
        let written = entry.replace('\n', ", ");
        let inline = format!("protocol = \"imap\"\nserver = {{ host = \"imap.example\"{comma}{written} }}");
        assert_eq!(seconds(defined("", &inline).unwrap().patience), limits, "{entry}");
    }
    for bad in ["timeout = \"61min\"", "login_timeout = 3", "timeout = \"0s\""] {
        let said = defined(&format!("{old}{bad}\n"), named).unwrap_err();
        assert!(said.contains("s.toml:3:"), "{bad}: {said}");
        assert!(said.contains("timeout: "), "{bad}: {said}");
    }
}

#[test]
fn a_server_entry_pins_a_certificate() {
    let digits = "00112233445566778899AABBCCDDEEFF00112233445566778899aabbccddeeff";
    let pairs: Vec<&str> = (0..32).map(|at| &digits[2 * at..2 * at + 2]).collect();
    for written in [format!("sha256:{digits}"), format!("sha256:{}", pairs.join(":"))] {
        let entry =
            format!("[server.old]\nimap = {{ host = \"imap.example\" }}\nfingerprint = \"{written}\"\n");
        let named = defined(&entry, "protocol = \"imap\"\nserver = \"old\"").unwrap();
        let inline =
            format!("protocol = \"pop3\"\nserver = {{ host = \"h.example\", fingerprint = \"{written}\" }}");
        for source in [named, defined("", &inline).unwrap()] {
            let pin = source.fingerprint.unwrap().to_string();
            assert_eq!(pin, format!("sha256:{}", digits.to_lowercase()));
        }
    }
    for bad in ["sha256:00", "00112233", "sha1:00112233445566778899aabbccddeeff00112233", "sha256:+1"] {
        let entry = format!("[server.old]\nimap = {{ host = \"imap.example\" }}\nfingerprint = \"{bad}\"\n");
        let said = defined(&entry, "protocol = \"imap\"\nserver = \"old\"").unwrap_err();
        assert!(said.contains("s.toml:3:") && said.contains("fingerprint: "), "{said}");
    }
}

#[test]
fn a_definition_says_how_a_login_is_proved() {
    let written = |protocol: &str, auth: &str| {
        let server = "server = { host = \"h.example\" }";
        defined("", &format!("protocol = \"{protocol}\"\n{server}\nauth = \"{auth}\""))
    };
    for (word, auth) in [
        ("auto", Auth::Auto),
        ("password", Auth::Password),
        ("plain", Auth::Plain),
        ("login", Auth::Login),
        ("cram-md5", Auth::CramMd5),
        ("scram", Auth::Scram),
        ("apop", Auth::Apop),
    ] {
        assert_eq!(written("pop3", word).unwrap().auth, auth);
    }
    for (protocol, word) in [("imap", "apop"), ("pop3", "digest-md5"), ("imap", "PLAIN"), ("imap", "oauth2")]
    {
        let said = written(protocol, word).unwrap_err();
        assert!(said.contains("a.toml:10:8: "), "{said}");
        assert!(said.contains("auth: "), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}

fn source(protocol: Protocol, port: u16, patience: Patience) -> Source {
    Source {
        protocol,
        host: "localhost".to_owned(),
        port,
        security: Security::None,
        ca_file: None,
        fingerprint: None,
        patience,
        username: "alice".to_owned(),
        authorize_as: None,
        password: SecretPlace::Credential("unused".to_owned()),
        auth: Auth::Auto,
        max_connections: None,
        min_interval: None,
        daily: None,
        rounds: false,
        login_hint: String::new(),
    }
}

const SHORT: Duration = Duration::from_millis(300);
const LATE: Duration = Duration::from_millis(900);
const LONG: Duration = Duration::from_secs(60);

fn secret() -> Secret {
    Secret::new(b"correct horse".to_vec())
}

#[tokio::test]
async fn pop3_waits_longer_for_a_login_than_for_the_rest() {
    let script = vec![
        send("+OK\r\n"),
        expect("CAPA"),
        send("-ERR\r\n"),
        expect("USER"),
        Step::Wait(LATE),
        send("+OK\r\n"),
        expect("PASS"),
        Step::Wait(LATE),
        send("+OK\r\n"),
        expect("STAT"),
        Step::Hang,
    ];
    let server = Scripted::play(vec![script]).await;
    let patience = Patience { work: SHORT, greeting: SHORT, login: LONG };
    let source = source(Protocol::Pop3, server.port, patience);
    let connector = Connector::new(true).unwrap();
    let mut session = pop3::Session::open(&connector, &source, &secret()).await.unwrap();
    let before = Instant::now();
    let failure = session.count().await.unwrap_err();
    assert_eq!(failure.kind, Kind::Stalled, "{failure}");
    assert!(before.elapsed() < LONG / 2);
}

#[tokio::test]
async fn imap_waits_longer_for_a_login_than_for_the_rest() {
    let script = vec![
        send("* OK [CAPABILITY IMAP4rev1] ready\r\n"),
        expect("{tag} LOGIN"),
        Step::Wait(LATE),
        send("{tag} OK [CAPABILITY IMAP4rev1] in\r\n"),
        expect("{tag} NOOP"),
        Step::Hang,
    ];
    let server = Scripted::play(vec![script]).await;
    let patience = Patience { work: SHORT, greeting: SHORT, login: LONG };
    let source = source(Protocol::Imap, server.port, patience);
    let connector = Connector::new(true).unwrap();
    let mut session = imap::Session::<Parcel>::open(&connector, &source, &secret()).await.unwrap();
    let before = Instant::now();
    let failure = session.refresh().await.unwrap_err();
    assert_eq!(failure.kind, Kind::Stalled, "{failure}");
    assert!(before.elapsed() < LONG / 2);
}

#[tokio::test]
async fn a_late_greeting_is_borne_if_that_is_written() {
    let late = || vec![Step::Wait(LATE), send("* PREAUTH [CAPABILITY IMAP4rev1] in\r\n"), Step::Hang];
    let server = Scripted::play(vec![late(), late()]).await;
    let connector = Connector::new(true).unwrap();
    let open = async |greeting| {
        let patience = Patience { work: SHORT, greeting, login: LONG };
        let source = source(Protocol::Imap, server.port, patience);
        imap::Session::<Parcel>::open(&connector, &source, &secret()).await.map(drop)
    };
    assert_eq!(open(SHORT).await.unwrap_err().kind, Kind::Stalled);
    open(LONG).await.unwrap();
}
