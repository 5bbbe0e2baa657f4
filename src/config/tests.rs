//! Every kind of mistake with its exact place.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::account::Job;

/// A directory with a settings file, a secret and account files.
struct Bench(tempfile::TempDir);

impl Bench {
    fn new() -> Self {
        let bench = Bench(tempfile::tempdir().unwrap());
        fs::create_dir_all(bench.0.path().join("accounts.d")).unwrap();
        fs::create_dir_all(bench.0.path().join("servers.d")).unwrap();
        bench.file("mailhaul.toml", "");
        bench.file("accounts.d/ok.secret", "hunter2\n");
        bench.file("accounts.d/open.secret", "hunter2\n");
        bench.mode("accounts.d/open.secret", 0o644);
        bench
    }

    fn file(&self, name: &str, content: &str) {
        fs::write(self.0.path().join(name), content).unwrap();
        self.mode(name, 0o600);
    }

    fn mode(&self, name: &str, mode: u32) {
        fs::set_permissions(self.0.path().join(name), fs::Permissions::from_mode(mode)).unwrap();
    }

    fn load(&self) -> Result<Loaded, Vec<Complaint>> {
        let env = Environment { state_directory: Some(self.0.path().join("state")), ..Default::default() };
        load(&self.0.path().join("mailhaul.toml"), &env)
    }

    fn shown(&self, complaints: &[Complaint]) -> Vec<String> {
        let root = format!("{}/", self.0.path().display());
        complaints.iter().map(|complaint| complaint.to_string().replace(&root, "")).collect()
    }
}

/// The 15 lines of a good definition; `mode` is `poll` or `migrate`.
fn account(name: &str, protocol: &str, mode: &str) -> String {
    format!(
        "[[account]]\nname = \"{name}\"\nmember = \"alice@example.com\"\nagreed = true\n\
         destination = \"default\"\n\n[account.source]\nprotocol = \"{protocol}\"\nserver = \"gmail\"\n\
         username = \"alice@gmail.com\"\npassword = {{ file = \"ok.secret\" }}\nauth = \"auto\"\n\n\
         [account.{mode}]\n"
    )
}

const BLOCK: &str = r#"
[daemon]
state_directory = "/var/lib/mailhaul"
control_socket = "/run/mailhaul/control"
control_group = "mailhaul"
language = "en"
allow_private_hosts = false
[polling]
interval = "10min"
concurrency = 256
per_host = 16
max_accounts_per_member = 10
max_message_size = "50MB"
max_failures = 10
[migrations]
concurrency = 2
connections = 4
on_failure = "rollback"
give_up_after = "24h"
progress_notice = 50
[destination.default.maildir]
path = "/var/vmail/{domain}/{local}/Maildir"
[provisioning]
password_rules = { min_length = 12, lower = true, upper = true, digit_or_special = true }
[notices]
to_member = true
to_admin = []
[policy]
external_import = "allow"
network_access = "any"
upload = "allow"
backup = "allow"
"#;

#[test]
fn the_documented_block_is_the_default() {
    let bench = Bench::new();
    bench.file("mailhaul.toml", BLOCK);
    let loaded = load(&bench.0.path().join("mailhaul.toml"), &Environment::default()).unwrap();
    assert_eq!(loaded.settings, settings_file::defaults(&Environment::default()));
    assert_eq!(loaded.complaints, []);
}

#[test]
fn mail_goes_by_the_members_filter_or_past_it() {
    let bench = Bench::new();
    let lmtp = "lmtp]\nsocket = \"run/lmtp\"\n";
    bench.file(
        "mailhaul.toml",
        &format!(
            "[destination.default.{lmtp}[destination.both.{lmtp}[destination.both.maildir]\npath = \"/m\"\n"
        ),
    );
    let poll = |name: &str, to: &str, more: &str| {
        account(name, "pop3", "poll").replace("\"default\"", &format!("{to:?}")) + more
    };
    for (number, (to, more, expected)) in [
        ("default", "", Ok(true)),
        ("default", "apply_filter = true\nmailbox = \"INBOX\"", Ok(true)),
        (
            "default",
            "apply_filter = false",
            Err("15:16: account.poll.apply_filter: the destination has LMTP alone"),
        ),
        ("default", "mailbox = \"Old\"", Err("15:11: account.poll.mailbox: LMTP has no mailbox")),
        (
            "default",
            "apply_spam = true",
            Err("15:14: account.poll.apply_spam: the destination has LMTP alone"),
        ),
        ("both", "apply_spam = true", Ok(false)),
        ("default", "icon = \"old\"", Err("15:8: account.poll.icon: LMTP has no icon")),
        ("both", "", Ok(false)),
        ("both", "apply_filter = false\nmailbox = \"Old\"\nicon = \"old\"", Ok(false)),
        ("both", "apply_filter = true", Ok(true)),
        ("both", "apply_filter = true\nicon = \"old\"", Err("16:8: account.poll.icon: LMTP has no icon")),
    ]
    .into_iter()
    .enumerate()
    {
        bench.file("accounts.d/a.toml", &poll(&format!("a{number}"), to, more));
        let loaded = bench.load().unwrap();
        let shown = bench.shown(&loaded.complaints);
        match expected {
            Ok(filtered) => {
                assert_eq!(shown, [""; 0], "{to} {more}");
                let Job::Poll(poll) = &loaded.accounts[0].job else { panic!("it is polled") };
                assert_eq!(poll.apply_filter, filtered, "{to} {more}");
            }
            Err(words) => {
                let [one] = shown.as_slice() else { panic!("{shown:?}") };
                assert!(one.contains(words), "{one}");
            }
        }
    }
    let loaded = bench.load().unwrap();
    let both = &loaded.settings.destinations["both"];
    assert!(both.lmtp().is_some() && both.mailbox().is_some());
    assert!(loaded.settings.destinations["default"].mailbox().is_none());
}

#[test]
fn policy_is_filled_up_key_by_key() {
    let bench = Bench::new();
    let text = "[policy]\nupload = \"deny\"\n[policy.domain.\"Example.com\"]\nexternal_import = \"deny\"\n";
    bench.file("mailhaul.toml", text);
    let loaded = load(&bench.0.path().join("mailhaul.toml"), &Environment::default()).unwrap();
    let rules = loaded.settings.policy.of("example.COM");
    assert!(!rules.external_import && !rules.upload && rules.backup);
    assert!(loaded.settings.policy.of("other.example").external_import);
}

/// What stands in the settings, and the complaints about it.
const SETTINGS: &[(&str, &[&str])] = &[
    ("[pollin]\n", &["1:2: pollin: unknown key; did you mean polling?"]),
    ("[polling]\nintervall = \"10min\"", &["2:1: polling.intervall: unknown key; did you mean interval?"]),
    ("[polling]\ninterval = 10", &["2:12: polling.interval: is a number, not a duration in quotes;"]),
    ("[polling]\ninterval = \"10m\"", &["2:12: polling.interval: \"10m\" is not a duration"]),
    ("[polling]\ninterval = \"0s\"", &["2:12: polling.interval: \"0s\" is not a duration"]),
    (
        "[polling]\nconcurrency = 0",
        &["2:15: polling.concurrency: 0 is not possible; write a whole number from 1"],
    ),
    ("[polling]\nconcurrency = -1", &["2:15: polling.concurrency: -1 is not possible;"]),
    ("[polling]\nper_host = \"é\"", &["2:12: polling.per_host: is text, not a whole number;"]),
    ("[polling]\nmax_message_size = \"50M\"", &["2:20: polling.max_message_size: \"50M\" is not a size;"]),
    ("daemon = 1", &["1:10: daemon: is a number, not a table; write [daemon]"]),
    (
        "[daemon]\nlanguage = \"de\"",
        &["2:12: daemon.language: \"de\" is not possible; write \"en\", \"ko\" or \"ja\""],
    ),
    (
        "[daemon]\nallow_private_hosts = \"no\"",
        &["2:23: daemon.allow_private_hosts: is text, not true or false;"],
    ),
    ("[migrations]\non_failure = \"stop\"", &["2:14: migrations.on_failure: \"stop\" is not possible;"]),
    ("[migrations]\nprogress_notice = 101", &["2:19: migrations.progress_notice: 101 is not possible;"]),
    (
        "[destination.x.lmtp]\n",
        &[
            "1:1: destination.x.lmtp: does not say where the server listens; write socket = \"/run/dovecot/lmtp\"",
        ],
    ),
    (
        "[destination.x.lmtp]\nsocket = \"/run/lmtp\"\nport = 24\nsize = 1",
        &[
            "3:8: destination.x.lmtp.port: is for a host, and a socket has none;",
            "4:1: destination.x.lmtp.size: unknown key; known here: socket,",
        ],
    ),
    (
        "[destination.x.lmtp]\nsocket = \"/run/lmtp\"\nhost = \"a\"",
        &["1:1: destination.x.lmtp: has both socket and host;"],
    ),
    (
        "[destination.x.lmtp]\nhost = \"a b\"\nsecurity = \"ssl\"\nmax_connections = 0",
        &[
            "2:8: destination.x.lmtp.host: \"a b\" is not a host;",
            "3:12: destination.x.lmtp.security: \"ssl\" is not possible;",
            "4:19: destination.x.lmtp.max_connections: 0 is not possible;",
        ],
    ),
    (
        "[destination.x.maildir]\npath = \"/m\"\n[destination.x.imap]\nserver = { host = \"a\" }\nlogin = \"b\"\npassword = { value = \"c\" }",
        &["1:14: destination.x: has more than one kind of mailbox; write [destination.x.maildir] or"],
    ),
    (
        "[destination.x.lmtp]\nsocket = \"/run/lmtp\"\n[destination.x.maildir]\n",
        &["3:1: destination.x.maildir.path: is missing;"],
    ),
    (
        "[destination.x.imap]\nserver = { host = \"a\" }\nlogin = \"{user}\"\npassword = { file = \"/{member}\", value = \"x\" }",
        &[
            "3:9: destination.x.imap.login: {user} is not a placeholder; use {member}, {local} and {domain} only",
            "4:12: destination.x.imap.password: must say exactly one place;",
        ],
    ),
    ("[destination.x]\n", &["1:1: destination.x: has no kind;"]),
    ("[destination.x.maildir]\n", &["1:1: destination.x.maildir.path: is missing;"]),
    (
        "[destination.x.maildir]\npath = \"/m/{user}\"",
        &[
            "2:8: destination.x.maildir.path: {user} is not a placeholder; use {member}, {local} and {domain} only",
        ],
    ),
    (
        "[provisioning]\ncommand = [\"x\"]",
        &["2:11: provisioning.command: is not a command; write the program with its whole path"],
    ),
    (
        "[provisioning]\npasswd_file = { scheme = \"MD5\", uid = \"nobody here\" }",
        &["passwd_file.path: is missing", "\"MD5\" is not possible", "there is no user \"nobody here\""],
    ),
    ("[notices]\nto_admin = [\"nobody\"]", &["2:13: notices.to_admin: \"nobody\""]),
    (
        "[notices]\nsmtp = { host = \"x\", username = \"u\", password = { command = [\"/bin/echo\"] } }",
        &["2:33: notices.smtp.username: the password would go to x unencrypted;"],
    ),
    (
        "[notices]\nsmtp = { username = \"u\" }",
        &["2:21: notices.smtp.username: username and password belong"],
    ),
    (
        "[policy]\nexternal_import = \"forbid\"",
        &["2:19: policy.external_import: \"forbid\" is not possible; write \"allow\" or \"deny\""],
    ),
    (
        "[policy.domain.\"example.com\"]\nuploads = \"deny\"",
        &["2:1: policy.domain.\"example.com\".uploads: unknown key; did you mean upload?"],
    ),
    (
        "[polling]\nconcurrency = \nper_host = 0\n[daemon]\nlanguage = \"xx\"\n",
        &[
            "2:15: polling.concurrency: ",
            "3:12: polling.per_host: 0 is not possible;",
            "5:12: daemon.language: ",
        ],
    ),
];

#[test]
fn mistakes_in_the_settings() {
    let bench = Bench::new();
    for (content, expected) in SETTINGS {
        bench.file("mailhaul.toml", content);
        let complaints = bench.shown(&bench.load().expect_err(content));
        for words in *expected {
            assert!(
                complaints.iter().any(|shown| shown.contains(words)),
                "{content}\n{words}\n{complaints:#?}"
            );
        }
        if expected.len() == 1 {
            assert_eq!(complaints.len(), 1, "{complaints:#?}");
            assert!(complaints[0].starts_with(&format!("mailhaul.toml:{}", expected[0])), "{complaints:#?}");
        }
    }
}

/// A line of the good definition, what replaces it, and the complaint.
const LINES: &[(&str, &str, &str)] = &[
    ("name = \"good\"", "", "1:1: account.name: is missing;"),
    ("name = \"good\"", "name = \"Bad Name\"", "2:8: account.name: \"Bad Name\" is not a name;"),
    ("name = \"good\"", "nmae = \"good\"", "2:1: account.nmae: unknown key; did you mean name?"),
    (
        "member = \"alice@example.com\"",
        "member = \"alice\"",
        "3:10: account.member: \"alice\" is not an address;",
    ),
    ("member = \"alice@example.com\"", "member = \"../x@example.com\"", "3:10: account.member: "),
    ("member = \"alice@example.com\"", "member = 5", "3:10: account.member: is a number, not text;"),
    ("agreed = true\n", "", "1:1: account.agreed: is missing; ask the owner"),
    (
        "agreed = true",
        "agreed = false",
        "4:10: account.agreed: without the owner's consent nothing is imported;",
    ),
    ("agreed = true", "agreed = \"yes\"", "4:10: account.agreed: is text, not true or false;"),
    (
        "\"default\"",
        "\"defautl\"",
        "5:15: account.destination: no destination is named \"defautl\"; did you mean \"default\"?",
    ),
    (
        "\"pop3\"",
        "\"pop\"",
        "8:12: account.source.protocol: \"pop\" is not possible; write \"pop3\" or \"imap\"",
    ),
    (
        "\"gmail\"",
        "\"gmial\"",
        "9:10: account.source.server: no server template is named \"gmial\"; did you mean \"gmail\"?",
    ),
    (
        "\"gmail\"",
        "\"icloud\"",
        "9:10: account.source.server: the server \"icloud\" has imap only, not pop3;",
    ),
    ("\"gmail\"", "5", "9:10: account.source.server: is neither a template's name nor a table;"),
    (
        "\"gmail\"",
        "{ host = \"h\", port = 70000 }",
        "9:31: account.source.server.port: 70000 is not possible;",
    ),
    ("\"gmail\"", "{ port = 995 }", "9:10: account.source.server.host: is missing;"),
    ("\"gmail\"", "{ host = \"pop://h/\" }", "9:19: account.source.server.host: \"pop://h/\" is not a host;"),
    (
        "\"gmail\"",
        "{ host = \"h\", security = \"ssl\" }",
        "9:35: account.source.server.security: \"ssl\" is not possible;",
    ),
    ("\"gmail\"", "{ host = \"h\", ca_file = \"no.pem\" }", "9:34: account.source.server.ca_file: "),
    ("\"alice@gmail.com\"", "\"\"", "10:12: account.source.username: is empty or too long;"),
    ("\"alice@gmail.com\"", "\"a\\nb\"", "10:12: account.source.username: holds a control character;"),
    ("{ file = \"ok.secret\" }", "{ file = \"no.secret\" }", "11:21: account.source.password.file: "),
    ("{ file = \"ok.secret\" }", "{ file = \"open.secret\" }", "11:21: account.source.password.file: "),
    ("{ file = \"ok.secret\" }", "{}", "11:12: account.source.password: must say exactly one place;"),
    ("{ file = \"ok.secret\" }", "\"hunter2\"", "11:12: account.source.password: is text, not a table;"),
    ("{ file = \"ok.secret\" }", "{ credential = \"../x\" }", "11:27: account.source.password.credential: "),
    (
        "{ file = \"ok.secret\" }",
        "{ command = [] }",
        "11:24: account.source.password.command: is not a command;",
    ),
    (
        "auth = \"auto\"",
        "auth = \"oauth2\"",
        "12:8: account.source.auth: the server's oauth2 has no client_id: a provider knows programs by the one that it gave;",
    ),
    (
        "[account.poll]",
        "",
        "1:1: account: does not say what to do; write either [account.poll] or [account.migrate]",
    ),
    ("[account.poll]", "[account.poll]\nmailbox = \"a//b\"", "15:11: account.poll.mailbox: a level is \"\";"),
    ("[account.poll]", "[account.poll]\napply_spam = 1", "15:14: account.poll.apply_spam: is a number,"),
    ("[account.poll]", "[account.poll]\nicon = \"G\"", "15:8: account.poll.icon: \"G\" cannot be a keyword;"),
    ("[account.poll]", "[account.pol]", "account.pol: unknown key; did you mean poll?"),
    (
        "[account.poll]",
        "[account.poll]\n[account.migrate]",
        "1:1: account: has both [account.poll] and [account.migrate];",
    ),
    (
        "[account.poll]",
        "[account.poll]\nfolders = [\"Work\"]",
        "15:11: account.poll.folders: POP3 has one folder only;",
    ),
];

#[test]
fn mistakes_in_a_definition() {
    let bench = Bench::new();
    let good = account("good", "pop3", "poll");
    bench.file("accounts.d/z.toml", &account("other", "imap", "migrate"));
    for (line, instead, expected) in LINES {
        assert!(good.contains(line), "{line}");
        bench.file("accounts.d/a.toml", &good.replacen(line, instead, 1));
        let loaded = bench.load().unwrap();
        let complaints = bench.shown(&loaded.complaints);
        assert!(complaints.iter().any(|shown| shown.contains(expected)), "{instead}: {complaints:#?}");
        assert!(complaints.iter().all(|shown| shown.starts_with("accounts.d/a.toml:")), "{complaints:#?}");
        assert!(!complaints.iter().any(|shown| shown.contains("hunter2")), "{complaints:#?}");
        assert_eq!(loaded.accounts.len(), 1, "the other one runs");
        assert_eq!(loaded.broken.len(), 1);
        assert_eq!(loaded.broken[0].complaints, loaded.complaints);
    }
}

#[test]
fn all_mistakes_of_all_files_at_once_even_with_bad_settings() {
    let bench = Bench::new();
    bench.file("mailhaul.toml", "[polling]\nper_host = 0\nx = 1\n");
    let bad = account("good", "pop3", "poll").replace("\"pop3\"", "\"pop\"").replace("true", "false");
    bench.file("accounts.d/a.toml", &bad);
    bench.file("accounts.d/b.toml", "[[account]\n");
    let complaints = bench.shown(&bench.load().unwrap_err());
    let places: Vec<&str> = complaints.iter().map(|shown| shown.split(": ").next().unwrap()).collect();
    assert_eq!(places[..2], ["mailhaul.toml:2:12", "mailhaul.toml:3:1"]);
    assert_eq!(places[2..4], ["accounts.d/a.toml:4:10", "accounts.d/a.toml:8:12"]);
    assert!(places[4].starts_with("accounts.d/b.toml:1:"), "{complaints:#?}");
}

#[test]
fn names_are_unique_and_members_have_a_limit() {
    let bench = Bench::new();
    bench.file("accounts.d/a.toml", &(account("one", "pop3", "poll") + &account("one", "pop3", "poll")));
    let many: String = (2..=11).map(|n| account(&format!("n{n}"), "imap", "migrate")).collect();
    bench.file("accounts.d/b.toml", &many.replace("alice@example.com", "alice@Example.COM"));
    let loaded = bench.load().unwrap();
    assert_eq!(loaded.accounts.len(), 10);
    let complaints = bench.shown(&loaded.complaints);
    assert!(
        complaints[0].starts_with("accounts.d/a.toml:16:8: account.name: \"one\" is taken by "),
        "{complaints:#?}"
    );
    assert!(complaints[0].contains("accounts.d/a.toml:1;"), "{complaints:#?}");
    assert!(complaints[1].starts_with("accounts.d/b.toml:129:10: account.member: "), "{complaints:#?}");
    assert_eq!(complaints.len(), 2);
    assert_eq!(loaded.broken[1].name.as_deref(), Some("n11"));
    assert_eq!(loaded.broken[1].mode, Some("migrate"));
}

#[test]
fn good_definitions_of_a_file_that_is_not_toml_run_on() {
    let bench = Bench::new();
    let broken = account("broken", "pop3", "poll").replace("agreed = true", "agreed = ");
    let all = [account("first", "pop3", "poll"), broken, account("last", "imap", "migrate")].concat();
    bench.file("accounts.d/a.toml", &all);
    let loaded = bench.load().unwrap();
    let names: Vec<&str> = loaded.accounts.iter().map(|account| account.name.as_str()).collect();
    assert_eq!(names, ["first", "last"]);
    assert_eq!(loaded.accounts[1].origin.line, 29);
    assert_eq!(loaded.broken.len(), 1);
    assert_eq!(loaded.broken[0].name.as_deref(), Some("broken"));
    assert_eq!(loaded.broken[0].origin.line, 15);
    let shown = bench.shown(&loaded.complaints);
    assert!(shown[0].starts_with("accounts.d/a.toml:18:10: account.agreed: "), "{shown:#?}");

    bench.file("accounts.d/a.toml", &all.replace("agreed = \n", "agreed = [true,\n"));
    let loaded = bench.load().unwrap();
    assert_eq!(loaded.accounts.len(), 2, "what is left open ends with its definition");
    assert_eq!(loaded.broken.len(), 1);

    bench.file("accounts.d/a.toml", &format!("[account]\n{all}").replace("agreed = \n", "agreed = true\n"));
    assert_eq!(bench.load().unwrap().accounts, [], "it is the whole that is wrong");

    bench.file("accounts.d/a.toml", &format!("x = \"\"\"\n{all}"));
    let loaded = bench.load().unwrap();
    assert_eq!(loaded.accounts, []);
    assert_eq!(loaded.broken[0].name, None);
}

#[test]
fn a_value_needs_a_file_of_its_owner() {
    let bench = Bench::new();
    let written = account("v", "pop3", "poll").replace("{ file = \"ok.secret\" }", "{ value = \"hunter2\" }");
    bench.file("accounts.d/a.toml", &written);
    assert_eq!(bench.load().unwrap().accounts.len(), 1);
    bench.mode("accounts.d/a.toml", 0o640);
    let loaded = bench.load().unwrap();
    let shown = bench.shown(&loaded.complaints);
    assert!(shown[0].contains("11:22: account.source.password.value: stands in a file"), "{shown:#?}");
    assert!(shown[0].contains("chmod 600 accounts.d/a.toml"), "{shown:#?}");
    assert!(!format!("{loaded:?}").contains("hunter2"));
}

#[test]
fn templates_replace_and_a_wrong_one_takes_only_its_accounts_down() {
    let bench = Bench::new();
    bench.file(
        "servers.d/a.toml",
        "[server.gmail]\npop3 = { host = \"127.0.0.1\", security = \"none\" }\nlogin = \"local-part\"\n\
         [server.bad]\nimap = { hots = \"x\" }\n[server.own]\nimap = { host = \"x\" }\noauth2 = { provider = \"google\", client_id = \"x\" }\n",
    );
    let bad = account("bad", "imap", "migrate").replace("\"gmail\"", "\"bad\"");
    bench.file("accounts.d/a.toml", &(account("good", "pop3", "poll") + &bad));
    let loaded = bench.load().unwrap();
    let source = &loaded.accounts[0].source;
    assert_eq!((source.host.as_str(), source.port, source.username.as_str()), ("127.0.0.1", 110, "alice"));
    assert_eq!(loaded.accounts.len(), 1);
    assert_eq!(loaded.warnings.len(), 1);
    let shown = bench.shown(&loaded.complaints);
    assert!(
        shown
            .iter()
            .any(|s| s
                .starts_with("servers.d/a.toml:5:10: server.bad.imap.hots: unknown key; did you mean host?")),
        "{shown:#?}"
    );
    assert!(
        shown.iter().any(|s| s.contains(
            "account.source.server: the server template \"bad\" is wrong; mend it at servers.d/a.toml:5"
        )),
        "{shown:#?}"
    );
    bench.file("servers.d/b.toml", "[server.x\n");
    assert!(bench.load().is_err());
}

#[test]
fn paths_and_environment() {
    let bench = Bench::new();
    let file = bench.0.path().join("mailhaul.toml");
    let env = Environment {
        state_directory: Some("/s".into()),
        runtime_directory: Some("/r".into()),
        credentials_directory: None,
    };
    let daemon = load(&file, &env).unwrap().settings.daemon;
    assert_eq!(daemon.state_directory, Path::new("/s"));
    assert_eq!(daemon.control_socket, Path::new("/r/control"));
    bench.file(
        "mailhaul.toml",
        "[daemon]\nstate_directory = \"here\"\n[destination.d.maildir]\npath = \"m/{local}\"\n",
    );
    fs::create_dir_all(bench.0.path().join("here/accounts.d")).unwrap();
    bench.file("here/accounts.d/ok.secret", "x\n");
    bench.file("here/accounts.d/x.toml", &account("own", "pop3", "poll"));
    let loaded = load(&file, &env).unwrap();
    assert_eq!(loaded.settings.daemon.state_directory, bench.0.path().join("here"));
    assert_eq!(loaded.accounts.len(), 1);
    let expected = bench.0.path().join("m/{local}").display().to_string();
    assert_eq!(loaded.settings.destinations["d"], crate::settings::Destination::Maildir { path: expected });
    assert_eq!(first(Some("/a:/b".into())), Some("/a".into()));
    fs::remove_file(&file).unwrap();
    let complaints = load(&file, &env).unwrap_err();
    assert!(
        complaints[0].to_string().contains("mailhaul.toml:1:1: (file): cannot be read: No such file"),
        "{complaints:?}"
    );
}

#[test]
fn defaults_of_a_definition() {
    let bench = Bench::new();
    bench.file("accounts.d/a.toml", &(account("p", "pop3", "poll") + &account("m", "imap", "migrate")));
    let loaded = bench.load().unwrap();
    let Job::Poll(poll) = &loaded.accounts[0].job else { panic!() };
    assert_eq!(poll.mailbox, ["INBOX"]);
    assert!(poll.enabled && poll.keep_original && poll.icon.is_none());
    let Job::Migrate(migrate) = &loaded.accounts[1].job else { panic!() };
    assert_eq!(
        (migrate.into.len(), migrate.include.as_slice(), migrate.exclude.len()),
        (0, ["*".to_owned()].as_slice(), 0)
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn mutated_files_never_panic(at in 0..3000_usize, cut in 0..40_usize, put in "[\\[\\]{}=\"'\\\\ \na-zé0-9.#\u{0}]{0,6}", which in 0..3_usize) {
        let bench = Bench::new();
        let accounts = account("one", "pop3", "poll") + &account("two", "imap", "migrate");
        let server = "[server.x]\npop3 = { host = \"127.0.0.1\" }\n".to_owned();
        let mut files = [("mailhaul.toml", BLOCK.to_owned()), ("accounts.d/a.toml", accounts), ("servers.d/a.toml", server)];
        let content = &mut files[which].1;
        let mut octets = content.as_bytes().to_vec();
        let at = at % octets.len();
        let end = (at + cut).min(octets.len());
        octets.splice(at..end, put.bytes());
        *content = String::from_utf8_lossy(&octets).into_owned();
        for (name, content) in &files {
            bench.file(name, content);
        }
        match bench.load() {
            Ok(loaded) => {
                prop_assert!(loaded.broken.iter().all(|broken| !broken.complaints.is_empty()));
                prop_assert_eq!(loaded.complaints.is_empty(), loaded.broken.is_empty() && loaded.complaints.is_empty());
            }
            Err(complaints) => prop_assert!(!complaints.is_empty()),
        }
    }
}
