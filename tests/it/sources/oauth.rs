//! OAuth2 as a person meets it: consent by a device code, tokens that are renewed without anybody knowing,
//! consents that end, and servers that refuse a good token.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "this is a test")]

use crate::helpers::fake_imap;
use crate::helpers::fake_oauth;
use crate::helpers::fake_pop3;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::helpers::daemon::{Daemon, adds_up, eventually, imap_migrate, pop3_poll};
use crate::helpers::fake_imap::{Command, FakeImap, Folder, Then, at_first, honest};
use crate::helpers::fake_oauth::FakeOauth;
use crate::helpers::fake_pop3::FakePop3;
use crate::helpers::maildir::{Tree, same, sha};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::json;

const LONG: Duration = Duration::from_secs(90);
const MICROSOFT: &str = "IMAP4 IMAP4rev1 AUTH=PLAIN AUTH=XOAUTH2 SASL-IR UIDPLUS ID NAMESPACE";

fn boxes() -> Vec<Folder> {
    vec![Folder::new("INBOX", 40), Folder::new("Work", 300)]
}

/// The definition with tokens instead of a password.
fn by_token(definition: &str, oauth: &FakeOauth, more: &str) -> String {
    let password = "password = { value = \"secret\" }";
    assert!(definition.contains(password));
    let oauth2 = oauth.written(more);
    definition
        .replace(password, "auth = \"oauth2\"")
        .replace("security = \"none\" }", &format!("security = \"none\", {oauth2} }}"))
}

fn migration(oauth: &FakeOauth, server: &FakeImap, more: &str) -> Daemon {
    server.take_tokens(&oauth.good);
    let mut daemon = Daemon::new("[migrations]\nconnections = 4\n");
    let definition = imap_migrate("alice-old", "alice", server.port, ("alice", "secret"), "");
    daemon.define("alice", &by_token(&definition, oauth, more));
    daemon.start();
    daemon
}

fn microsoft(hook: impl Fn(&Command, &mut fake_imap::Reply) + Send + Sync + 'static) -> FakeImap {
    FakeImap::with_capability(MICROSOFT, boxes(), hook)
}

#[track_caller]
fn all_is_here(daemon: &Daemon, server: &FakeImap) {
    let bodies: Vec<String> =
        server.boxes().iter().flat_map(|folder| folder.mails.iter().map(|mail| sha(&mail.body))).collect();
    same("what arrived", &bodies, &Tree::read(&daemon.maildir("alice")).contents());
}

#[test]
fn a_code_is_shown_and_consent_is_kept() {
    let (oauth, server) = (FakeOauth::start(), microsoft(honest));
    oauth.consent(&["authorization_pending", "slow_down"]);
    let mut daemon =
        migration(&oauth, &server, ", scopes = [\"https://outlook.office.com/IMAP.AccessAsUser.All\"]");
    daemon.ctl(&["check", "alice-old"]).code(1).says("consent needed: mailhaulctl authorize alice-old");

    let replies = daemon.ctl(&["--json", "authorize", "alice-old"]).code(0).replies();
    assert_eq!(replies.len(), 2, "{replies:?}");
    assert_eq!(
        (&replies[0]["address"], &replies[0]["code"]),
        (&"https://microsoft.com/devicelogin".into(), &"WDJB-MJHT".into())
    );
    assert!(replies[0]["expires_at"].is_string() && replies[1]["ok"] == true, "{replies:?}");
    let asked = oauth.asked("device_code");
    assert_eq!(asked.len(), 3, "pending, slow down, yes");
    assert_eq!(asked[0]["client_id"], "mailhaul-1");

    // It survives a restart, and nothing more is asked for.
    daemon.stop();
    daemon.start();
    let ready = daemon.ctl(&["check", "alice-old"]).code(0);
    assert!(ready.out.contains("ready, 2 folders, 340 messages"), "{ready:?}");
    daemon.migrate("alice-old");
    all_is_here(&daemon, &server);
    assert_eq!(oauth.asked("refresh_token").len(), 0);
    let shown = daemon.ctl(&["authorize", "alice-old"]).code(0);
    assert!(shown.out.contains("WDJB-MJHT") && shown.out.contains("consent was given"), "{shown:?}");
    daemon.stop();
}

#[test]
fn consent_that_is_refused_or_needless_says_so() {
    let (oauth, server) = (FakeOauth::start(), microsoft(honest));
    let mut daemon = migration(&oauth, &server, "");
    oauth.consent(&["access_denied"]);
    daemon.ctl(&["authorize", "alice-old"]).code(1).says("consent was refused");
    oauth.consent(&["expired_token"]);
    daemon.ctl(&["authorize", "alice-old"]).code(1).says("ran out before it was used");
    daemon.ctl(&["authorize", "nobody"]).code(5);
    daemon.define("bob", &imap_migrate("bob-old", "bob", server.port, ("alice", "secret"), ""));
    daemon.hang_up();
    eventually("bob is known", LONG, || (daemon.ctl(&["show", "bob-old"]).code == 0).then_some(()));
    daemon.ctl(&["authorize", "bob-old"]).code(1).says("logs in with a password");
    // An owner who leaves a box unticked.
    oauth.more(json!({ "scope": "openid" }));
    let definition = imap_migrate("alice-old", "alice", server.port, ("alice", "secret"), "");
    daemon.define("alice", &by_token(&definition, &oauth, ", scopes = [\"https://mail.google.com/\"]"));
    daemon.ctl(&["reload"]).code(0);
    daemon.ctl(&["authorize", "alice-old"]).code(1).says("scope https://mail.google.com/ was not granted");
    // One that says nothing of it has granted what was asked for (RFC 6749, 5.1).
    oauth.more(json!({ "scope": "" }));
    daemon.ctl(&["authorize", "alice-old"]).code(0);
    daemon.stop();
}

/// What a browser does: it is sent back with a code. Others find the port, too.
#[test]
fn a_browser_brings_the_consent_back() {
    use std::io::{BufRead, BufReader, Read, Write};
    let (oauth, server) = (FakeOauth::start(), microsoft(honest));
    let mut daemon = migration(&oauth, &server, "");
    for (error, words) in [(true, "consent was refused"), (false, "")] {
        let mut client = std::process::Command::new(env!("CARGO_BIN_EXE_mailhaulctl"))
            .arg("--socket")
            .arg(daemon.path().join("control"))
            .args(["--json", "authorize", "alice-old", "--browser"])
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut out = BufReader::new(client.stdout.take().unwrap());
        out.read_line(&mut line).unwrap();
        let shown: serde_json::Value = serde_json::from_str(&line).unwrap();
        let address = shown["address"].as_str().unwrap().to_owned();
        assert!(address.starts_with(&format!("http://127.0.0.1:{}/auth?response_type=code&", oauth.port)));
        let field = |name: &str| {
            let (_, rest) = address.split_once(&format!("&{name}=")).unwrap();
            rest.split('&').next().unwrap().replace("%3A", ":").replace("%2F", "/")
        };
        assert_eq!((field("client_id").as_str(), field("login_hint").as_str()), ("mailhaul-1", "alice"));
        let (redirect, state, challenge) = (field("redirect_uri"), field("state"), field("code_challenge"));
        let port = redirect.strip_prefix("http://localhost:").unwrap().trim_end_matches('/').to_owned();
        let get = |target: &str| {
            let mut stream = std::net::TcpStream::connect(format!("127.0.0.1:{port}")).unwrap();
            write!(stream, "GET {target} HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n").unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            answer
        };
        // Somebody else on this machine does not know the state.
        assert!(get("/?code=evil&state=guess").starts_with("HTTP/1.1 404"));
        assert!(get("/favicon.ico").starts_with("HTTP/1.1 404"));
        if error {
            assert!(get(&format!("/?error=access_denied&state={state}")).contains("was not given"));
        } else {
            assert!(get(&format!("/?state={state}&code=4%2F0A-the-code&scope=x")).contains("Thank you"));
        }
        let mut err = String::new();
        client.stderr.take().unwrap().read_to_string(&mut err).unwrap();
        assert_eq!(client.wait().unwrap().success(), !error, "{err}");
        assert!(err.contains(words), "{err}");
        if !error {
            let asked = oauth.asked("authorization_code");
            assert_eq!(asked.len(), 1);
            assert_eq!(asked[0]["redirect_uri"], redirect);
            let digest = ring::digest::digest(&ring::digest::SHA256, asked[0]["code_verifier"].as_bytes());
            assert_eq!(URL_SAFE_NO_PAD.encode(digest), challenge);
        }
    }
    daemon.ctl(&["check", "alice-old"]).code(0);
    daemon.stop();
}

/// Microsoft ends a session when its hour is over. Nobody sees more than progress.
#[test]
fn a_token_that_ends_in_the_middle_is_replaced_in_silence() {
    let oauth = FakeOauth::start();
    let good = Arc::clone(&oauth.good);
    let when = |command: &Command| command.is_in("Work") && command.wants_bodies();
    let server = microsoft(at_first(4, when, move |_, reply| {
        good.lock().unwrap().clear();
        reply.untagged.truncate(30);
        reply.untagged.push(b"* BYE Connection is closed. 13 AccessTokenExpired\r\n".to_vec());
        reply.tagged.clear();
        reply.then = Then::Close;
    }));
    let mut daemon = migration(&oauth, &server, "");
    daemon.ctl(&["authorize", "alice-old"]).code(0);
    let replies = daemon.ctl(&["--json", "start", "alice-old", "--wait"]).code(0).replies();
    for reply in &replies {
        for migration in reply["migrations"].as_array().unwrap() {
            assert_ne!(migration["state"], "retrying", "{migration:#}");
            assert!(migration["error"].is_null() && migration["next_try_at"].is_null(), "{migration:#}");
        }
    }
    let migration = daemon.migration("alice-old");
    assert_eq!(migration["state"], "completed", "{migration:#}");
    adds_up(&migration);
    all_is_here(&daemon, &server);
    // Two sessions may end with the same token.
    let renewed = oauth.asked("refresh_token").len();
    assert!((2..=4).contains(&renewed), "{renewed}");
    assert!(!daemon.log().contains("interrupted"), "{}", daemon.log());
    daemon.stop();
}

/// The login is good with it, for as long as was said, and every session ends: somebody took it back.
#[test]
fn a_token_that_is_over_before_its_time_is_replaced() {
    let oauth = Arc::new(FakeOauth::start());
    let asked = Arc::clone(&oauth);
    let server = microsoft(move |command, reply| {
        if command.is_in("Work") && command.wants_bodies() && asked.asked("refresh_token").is_empty() {
            reply.cut(0, "* BYE Session invalidated - AccessTokenExpired\r\n");
        }
    });
    let mut daemon = migration(&oauth, &server, "");
    daemon.ctl(&["authorize", "alice-old"]).code(0);
    daemon.ctl(&["start", "alice-old", "--wait"]).code(0);
    let tokens = oauth.asked("refresh_token").len();
    assert!((1..=4).contains(&tokens), "{tokens}");
    all_is_here(&daemon, &server);
    daemon.stop();
}

/// Others hang up, or say something else, when a token has run out.
#[test]
fn a_server_that_hangs_up_when_a_token_runs_out() {
    let oauth = FakeOauth::start();
    oauth.tokens(60, 2);
    let when = |command: &Command| command.is_in("Work") && command.wants_bodies();
    let (good, began) = (Arc::clone(&oauth.good), std::time::Instant::now());
    let server = microsoft(at_first(1, when, move |_, reply| {
        // It is one that keeps the time.
        while began.elapsed() < Duration::from_secs(3) {
            std::thread::sleep(Duration::from_millis(20));
        }
        good.lock().unwrap().clear();
        reply.untagged.truncate(30);
        reply.tagged.clear();
        reply.then = Then::Close;
    }));
    server.take_tokens(&oauth.good);
    let mut daemon = Daemon::new("[migrations]\nconnections = 1\n");
    let definition = imap_migrate("alice-old", "alice", server.port, ("alice", "secret"), "");
    daemon.define("alice", &by_token(&definition, &oauth, ""));
    daemon.start();
    daemon.ctl(&["authorize", "alice-old"]).code(0);
    let replies = daemon.ctl(&["--json", "start", "alice-old", "--wait"]).code(0).replies();
    for reply in &replies {
        for migration in reply["migrations"].as_array().unwrap() {
            assert_ne!(migration["state"], "retrying", "{migration:#}");
        }
    }
    assert!(!oauth.asked("refresh_token").is_empty());
    all_is_here(&daemon, &server);
    daemon.stop();
}

#[test]
fn a_token_is_renewed_ahead_of_its_end() {
    let (oauth, server) = (FakeOauth::start(), microsoft(honest));
    oauth.tokens(60, 2);
    let mut daemon = migration(&oauth, &server, "");
    daemon.ctl(&["authorize", "alice-old"]).code(0);
    eventually("a second token", LONG, || {
        daemon.ctl(&["check", "alice-old"]).code(0);
        (oauth.asked("refresh_token").len() >= 2).then_some(())
    });
    // At half its time the authorization server is away: the token is good for the other half.
    oauth.tokens(60, 20);
    let asked = oauth.asked("refresh_token").len();
    eventually("a longer one", LONG, || {
        daemon.ctl(&["check", "alice-old"]).code(0);
        (oauth.asked("refresh_token").len() > asked).then_some(())
    });
    oauth.fail(&[(503, json!({ "error": "temporarily_unavailable" }))]);
    eventually("it was asked, and was away", LONG, || {
        daemon.ctl(&["check", "alice-old"]).code(0);
        daemon.log().contains("no new access token yet").then_some(())
    });
    daemon.stop();
}

#[test]
fn tokens_above_a_line_go_in_two_steps() {
    let (oauth, server) = (FakeOauth::start(), microsoft(honest));
    oauth.tokens(9000, 3600);
    let mut daemon = migration(&oauth, &server, "");
    daemon.ctl(&["authorize", "alice-old"]).code(0);
    daemon.migrate("alice-old");
    all_is_here(&daemon, &server);
    daemon.stop();
}

#[test]
fn a_consent_that_ends_makes_the_account_wait() {
    let (oauth, server) = (FakeOauth::start(), microsoft(honest));
    let mut daemon = migration(&oauth, &server, "");
    daemon.ctl(&["authorize", "alice-old"]).code(0);
    oauth.withdraw();
    daemon.ctl(&["start", "alice-old"]).code(0);
    let migration = daemon.migration_in("alice-old", &["retrying", "failed"], LONG);
    assert_eq!(migration["state"], "retrying", "{migration:#}");
    let error = migration["error"].as_str().unwrap();
    assert!(error.contains("AADSTS700082") && error.contains("invalid_grant"), "{error}");
    assert!(error.contains("consent needed: mailhaulctl authorize alice-old"), "{error}");
    assert!(!error.contains("Trace"), "one line is enough: {error}");
    // As soon as there is consent again it goes on.
    daemon.ctl(&["authorize", "alice-old"]).code(0);
    daemon.migration_in("alice-old", &["completed"], Duration::from_secs(30));
    all_is_here(&daemon, &server);
    daemon.stop();
}

#[test]
fn a_poll_without_consent_is_no_failure_and_pop3_takes_tokens_in_two_steps() {
    let oauth = FakeOauth::start();
    let server = FakePop3::start("UIDL TOP SASL_PLAIN_XOAUTH2", fake_pop3::mails(7), |_, _| {});
    server.take_tokens(&oauth.good);
    let mut daemon = Daemon::new("[polling]\ninterval = \"24h\"\nmax_failures = 1\n");
    let definition = pop3_poll("alice-old", "alice", server.port, ("alice", "secret"), "");
    daemon.define("alice", &by_token(&definition, &oauth, ""));
    daemon.start();
    for _ in 0..3 {
        daemon.ctl(&["poll", "alice-old"]).code(1).says("consent needed");
    }
    let account = daemon.account("alice-old");
    assert_eq!(
        (&account["consecutive_failures"], &account["state"]),
        (&0.into(), &"enabled".into()),
        "{account:#}"
    );
    daemon.ctl(&["authorize", "alice-old"]).code(0);
    eventually("it is polled by itself", LONG, || {
        (daemon.account("alice-old")["last_run"]["imported"] == 7).then_some(())
    });
    assert_eq!(server.count("AUTH XOAUTH2"), 1);
    // Refused although it should be good: replaced once, in silence.
    oauth.good.lock().unwrap().clear();
    assert_eq!(daemon.poll("alice-old")["already_there"], 7);
    // Refused although it is fresh.
    server.take_tokens(&fake_oauth::Good::default());
    daemon.ctl(&["check", "alice-old"]).code(1).says("switch POP on for the mailbox").says("status 401");
    daemon.stop();
}

#[test]
fn what_is_missing_is_told_from_the_servers_words() {
    let (oauth, server) = (FakeOauth::start(), microsoft(honest));
    let mut daemon = migration(&oauth, &server, "");
    daemon.ctl(&["authorize", "alice-old"]).code(0);
    server.take_tokens(&fake_oauth::Good::default());
    daemon
        .ctl(&["check", "alice-old"])
        .code(1)
        .says("AUTHENTICATE failed")
        .says("licence")
        .says("status 400");
    oauth.fail(&[(
        401,
        json!({ "error": "invalid_client", "error_description": "AADSTS7000222: keys expired" }),
    )]);
    daemon.ctl(&["check", "alice-old"]).code(1).says("AADSTS7000222").says("client_secret");
    oauth.fail(&[(503, json!({}))]);
    daemon.ctl(&["check", "alice-old"]).code(1).says("status 503").says("tried again");
    daemon.stop();
}

/// A migration that comes again needs its consent until it is finished.
#[test]
fn consent_stays_while_a_migration_repeats_itself() {
    let (oauth, server) = (FakeOauth::start(), microsoft(honest));
    server.take_tokens(&oauth.good);
    let mut daemon = Daemon::new("");
    let definition = imap_migrate("alice-old", "alice", server.port, ("alice", "secret"), "delta = \"1h\"");
    daemon.define("alice", &by_token(&definition, &oauth, ""));
    daemon.start();
    daemon.ctl(&["authorize", "alice-old"]).code(0);
    daemon.migrate("alice-old");
    daemon.ctl(&["check", "alice-old"]).code(0);
    daemon.ctl(&["finish", "alice-old", "--wait"]).code(0);
    eventually("its tokens are gone", LONG, || {
        (!daemon.path().join("state/sealed/alice-old=tokens").exists()).then_some(())
    });
    daemon.ctl(&["check", "alice-old"]).code(1).says("has not consented");
    daemon.stop();
}

#[test]
fn another_mechanism_and_no_mechanism() {
    let oauth = FakeOauth::start();
    let bearer = FakeImap::with_capability("IMAP4rev1 AUTH=OAUTHBEARER SASL-IR", boxes(), honest);
    let mut daemon = migration(&oauth, &bearer, "");
    daemon.ctl(&["authorize", "alice-old"]).code(0);
    daemon.ctl(&["check", "alice-old"]).code(0);
    daemon.stop();
    let none = FakeImap::with_capability("IMAP4rev1 AUTH=PLAIN SASL-IR", boxes(), honest);
    let mut daemon = migration(&oauth, &none, "");
    daemon.ctl(&["authorize", "alice-old"]).code(0);
    daemon.ctl(&["check", "alice-old"]).code(1).says("takes no access tokens");
    daemon.stop();
}

#[test]
fn a_tenant_needs_no_owner() {
    let (oauth, server) = (FakeOauth::start(), microsoft(honest));
    let grant = ", grant = \"client-credentials\", client_secret = { value = \"Zq7-Kirsch_Lampe.91\" }, \
                 scopes = [\"https://outlook.office365.com/.default\"]";
    let mut daemon = migration(&oauth, &server, grant);
    daemon.ctl(&["authorize", "alice-old"]).code(1).says("administrator");
    daemon.migrate("alice-old");
    all_is_here(&daemon, &server);
    let asked = oauth.asked("client_credentials");
    assert_eq!(asked.len(), 1, "four sessions share a token");
    assert_eq!(asked[0]["client_secret"], "Zq7-Kirsch_Lampe.91");
    assert_eq!(asked[0]["scope"], "https://outlook.office365.com/.default");
    oauth.good.lock().unwrap().clear();
    daemon.ctl(&["check", "alice-old"]).code(0);
    assert_eq!(oauth.asked("client_credentials").len(), 2);
    daemon.stop();
}

/// Google's way for a whole domain: the assertion is signed with the key in the file, for the member.
#[test]
fn a_service_account_acts_for_its_members() {
    let (oauth, server) = (FakeOauth::start(), microsoft(honest));
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).into_os_string().into_string().unwrap();
    let openssl = |arguments: &[&str]| {
        let done = std::process::Command::new("openssl").args(arguments).output().unwrap();
        assert!(done.status.success(), "{done:?}");
    };
    openssl(&["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", &path("pem")]);
    openssl(&["pkey", "-in", &path("pem"), "-pubout", "-out", &path("pub")]);
    let pem = std::fs::read_to_string(path("pem")).unwrap();
    let email = "robot@project.iam.gserviceaccount.example";
    let key = json!({ "client_email": email, "private_key": pem, "private_key_id": "k1" });
    std::fs::write(path("key.json"), key.to_string()).unwrap();
    std::fs::set_permissions(path("key.json"), std::fs::Permissions::from_mode(0o600)).unwrap();
    let grant =
        format!(", provider = \"google\", grant = \"service-account\", key_file = {:?}", path("key.json"));
    let mut daemon = migration(&oauth, &server, &grant);
    daemon.migrate("alice-old");
    all_is_here(&daemon, &server);

    let asked = oauth.asked("jwt-bearer");
    assert_eq!(asked.len(), 1);
    let parts: Vec<&str> = asked[0]["assertion"].split('.').collect();
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).unwrap();
    let read = |part: &str| serde_json::from_slice::<serde_json::Value>(&decode(part)).unwrap();
    let (header, claims) = (read(parts[0]), read(parts[1]));
    assert_eq!(header, json!({ "alg": "RS256", "typ": "JWT", "kid": "k1" }));
    assert_eq!((&claims["iss"], &claims["sub"]), (&email.into(), &"alice".into()));
    assert_eq!(claims["scope"], "https://mail.google.com/");
    assert_eq!(claims["aud"], format!("http://127.0.0.1:{}/token", oauth.port));
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 3600);
    // Without a token_url the key's own address counts.
    let bare = |definition: String| {
        definition.replace(&format!("token_url = \"http://127.0.0.1:{}/token\", ", oauth.port), "")
    };
    let definition = imap_migrate("alice-old", "alice", server.port, ("alice", "secret"), "");
    daemon.define("alice", &bare(by_token(&definition, &oauth, &grant)));
    let mut with_address = key.clone();
    with_address["token_uri"] = json!(format!("http://127.0.0.1:{}/token?of=key", oauth.port));
    std::fs::write(path("key.json"), with_address.to_string()).unwrap();
    daemon.ctl(&["reload"]).code(0);
    oauth.good.lock().unwrap().clear();
    daemon.ctl(&["check", "alice-old"]).code(0);
    let again = oauth.asked("jwt-bearer");
    let claims = read(again[1]["assertion"].split('.').nth(1).unwrap());
    assert_eq!(claims["aud"], with_address["token_uri"]);
    with_address["token_uri"] = json!("http://login.example.com/token");
    std::fs::write(path("key.json"), with_address.to_string()).unwrap();
    oauth.good.lock().unwrap().clear();
    daemon.ctl(&["check", "alice-old"]).code(1).says("its token_uri is no https:// address");
    std::fs::write(path("key.json"), key.to_string()).unwrap();
    daemon.define("alice", &by_token(&definition, &oauth, &grant));
    daemon.ctl(&["reload"]).code(0);

    std::fs::write(path("signed"), format!("{}.{}", parts[0], parts[1])).unwrap();
    std::fs::write(path("signature"), decode(parts[2])).unwrap();
    openssl(&["dgst", "-sha256", "-verify", &path("pub"), "-signature", &path("signature"), &path("signed")]);

    oauth.good.lock().unwrap().clear();
    oauth.fail(&[(
        400,
        json!({ "error": "unauthorized_client", "error_description": "Client is unauthorized" }),
    )]);
    daemon.ctl(&["check", "alice-old"]).code(1).says("Client is unauthorized").says("administrator");
    std::fs::set_permissions(path("key.json"), std::fs::Permissions::from_mode(0o640)).unwrap();
    daemon.ctl(&["check", "alice-old"]).code(1).says("open to others");
    daemon.stop();
}

#[test]
fn tokens_are_found_nowhere() {
    let (oauth, server) = (FakeOauth::start(), microsoft(honest));
    let mut daemon = migration(&oauth, &server, "");
    daemon.ctl(&["authorize", "alice-old"]).code(0);
    daemon.ctl(&["check", "alice-old"]).code(0);
    oauth.good.lock().unwrap().clear();
    daemon.ctl(&["check", "alice-old"]).code(0);
    // This one says again what it heard.
    server.take_tokens(&fake_oauth::Good::default());
    let answer = daemon.ctl(&["check", "alice-old"]).code(1).says("AUTHENTICATE failed");
    daemon.ctl(&["start", "alice-old"]).code(0);
    daemon.migration_in("alice-old", &["retrying"], LONG);
    let shown = daemon.ctl(&["--json", "show", "alice-old"]);
    let tokens = oauth.all();
    assert!(tokens.len() >= 6, "{tokens:?}");
    let forms: Vec<Vec<u8>> = tokens
        .iter()
        .flat_map(|token| {
            let whole = format!("user=alice\u{1}auth=Bearer {token}\u{1}\u{1}");
            [token.clone(), STANDARD.encode(token), STANDARD.encode(whole)]
        })
        .map(String::into_bytes)
        .collect();
    let silent = |place: &str, octets: &[u8]| {
        for form in &forms {
            let found = octets.windows(form.len()).any(|window| window == form.as_slice());
            assert!(!found, "{place} has {}", String::from_utf8_lossy(form));
        }
    };
    silent("check", (answer.out + &answer.err).as_bytes());
    silent("show", shown.out.as_bytes());
    silent("the log", daemon.log().as_bytes());
    daemon.stop();
    let seen = below(&daemon.path().join("state"), &silent);
    assert!(seen > 1, "{seen}");
    assert!(daemon.path().join("state/sealed/alice-old=tokens").is_file());
}

fn below(path: &Path, look: &dyn Fn(&str, &[u8])) -> usize {
    if path.is_dir() {
        return std::fs::read_dir(path).unwrap().map(|entry| below(&entry.unwrap().path(), look)).sum();
    }
    look(&path.display().to_string(), &std::fs::read(path).unwrap());
    1
}
