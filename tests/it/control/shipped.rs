//! What is shipped besides the binaries is true: the units are accepted and fenced in, the pages name
//! what the programs have and nothing else, every documented key is taken, `make install` puts every file
//! where it belongs. It refuses to touch anything outside a temporary directory.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test stops at what it did not expect")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;

use mailhaul::config::{Environment, load};

const DAEMON: &str = env!("CARGO_BIN_EXE_mailhauld");
const CLIENT: &str = env!("CARGO_BIN_EXE_mailhaulctl");

/// What `ca_file` names.
static CERTIFICATE: LazyLock<String> = LazyLock::new(|| {
    let certificate = rcgen::generate_simple_self_signed(Vec::from(["ca.example".to_owned()]));
    certificate.unwrap().cert.pem()
});

/// Worse than this, `systemd-analyze security` may not judge the service.
const EXPOSURE: f64 = 2.0;

fn here(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn text(name: &str) -> String {
    fs::read_to_string(here(name)).unwrap()
}

/// Runs a program that is not ours; where it is missing, says which package has it.
fn run(command: &mut Command, package: &str) -> Output {
    // Debian keeps some of them where only root looks.
    command.env("PATH", format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default()));
    match command.output() {
        Ok(output) => output,
        Err(error) if error.kind() == ErrorKind::NotFound => panic!(
            "{} is missing; install it: apt-get install --no-install-recommends {package}",
            command.get_program().display()
        ),
        Err(error) => panic!("{}: {error}", command.get_program().display()),
    }
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn help(program: &str, words: &[&str]) -> String {
    let output = Command::new(program).args(words).arg("--help").output().unwrap();
    assert!(output.status.success(), "{words:?} --help: {}", said(&output));
    String::from_utf8(output.stdout).unwrap()
}

// ---- systemd

/// The units in a directory of their own, with a program that exists.
fn units() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let service = text("systemd/mailhauld.service");
    assert!(service.contains("\nExecStart=/usr/bin/mailhauld "), "ExecStart= is another one");
    let service = service.replace("ExecStart=/usr/bin/mailhauld", &format!("ExecStart={DAEMON}"));
    fs::write(directory.path().join("mailhauld.service"), service).unwrap();
    fs::write(directory.path().join("mailhauld.socket"), text("systemd/mailhauld.socket")).unwrap();
    directory
}

fn accepted(units: &Path) {
    for unit in ["mailhauld.service", "mailhauld.socket"] {
        let output = run(
            Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(units.join(unit)),
            "systemd",
        );
        let said = said(&output);
        // Units of the host that it meets on the way may have faults of their own.
        let ours: Vec<&str> = said.lines().filter(|line| line.contains("mailhaul")).collect();
        assert!(output.status.success() && ours.is_empty(), "{unit}:\n{said}");
    }
}

fn exposure(units: &Path) -> f64 {
    let mut command = Command::new("systemd-analyze");
    command.args(["security", "--offline=true", "--no-pager"]).arg(units.join("mailhauld.service"));
    let said = said(&run(&mut command, "systemd"));
    let line = said.lines().find(|line| line.contains("Overall exposure level"));
    let number = line.and_then(|line| line.split_once(": ")?.1.split(' ').next()?.parse().ok());
    number.unwrap_or_else(|| panic!("no number was found in\n{said}"))
}

#[test]
fn the_units_are_accepted_and_fenced_in() {
    let units = units();
    accepted(units.path());
    assert!(exposure(units.path()) <= EXPOSURE, "{}", exposure(units.path()));

    let drop_in = units.path().join("mailhauld.service.d");
    fs::create_dir(&drop_in).unwrap();
    fs::write(drop_in.join("vmail.conf"), text("systemd/vmail.conf")).unwrap();
    accepted(units.path());
    assert!(exposure(units.path()) <= EXPOSURE, "with vmail.conf: {}", exposure(units.path()));

    // And a fence with a gap in it is noticed.
    fs::write(drop_in.join("gap.conf"), "[Service]\nUser=root\nProtectSystem=no\nSystemCallFilter=\n")
        .unwrap();
    assert!(exposure(units.path()) > EXPOSURE);
}

#[test]
fn the_user_and_the_directories_are_made() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("root");
    fs::create_dir_all(root.join("etc")).unwrap();

    let mut command = Command::new("systemd-sysusers");
    command.arg(format!("--root={}", root.display())).arg("--dry-run").arg(here("systemd/mailhaul.sysusers"));
    let output = run(&mut command, "systemd");
    let words = said(&output);
    assert!(output.status.success(), "{words}");
    assert!(words.contains("user 'mailhaul'") && words.contains("group 'mailhaul'"), "{words}");

    // Without root nothing can be given away: the same lines, for whoever runs this.
    let tmpfiles = text("systemd/mailhaul.tmpfiles");
    assert!(tmpfiles.contains("0750 root mailhaul\n"), "accounts.d is for the daemon's group");
    let mine = tmpfiles.replace(" root mailhaul\n", " - -\n").replace(" root root\n", " - -\n");
    let file = directory.path().join("mailhaul.conf");
    fs::write(&file, mine).unwrap();
    let mut command = Command::new("systemd-tmpfiles");
    command.arg("--create").arg(format!("--root={}", root.display())).arg(&file);
    let output = run(&mut command, "systemd");
    assert!(output.status.success() && said(&output).is_empty(), "{}", said(&output));
    assert_eq!(mode(&root.join("etc/mailhaul")), 0o755);
    assert_eq!(mode(&root.join("etc/mailhaul/accounts.d")), 0o750);
    assert_eq!(mode(&root.join("etc/mailhaul/servers.d")), 0o755);
}

fn mode(path: &Path) -> u32 {
    let metadata = fs::metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    metadata.permissions().mode() & 0o7777
}

#[test]
fn the_audit_log_can_be_rotated() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    fs::write(root.join("audit.log"), "{}\n").unwrap();
    // Without root it cannot become somebody else.
    let rules = text("config/mailhaul.logrotate").replace("/var/lib/mailhaul", &root.display().to_string());
    assert!(rules.contains("    su mailhaul mailhaul\n"));
    let rules = rules.replace("    su mailhaul mailhaul\n", "");
    fs::write(root.join("rules"), rules).unwrap();
    fs::set_permissions(root, fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(root.join("rules"), fs::Permissions::from_mode(0o644)).unwrap();
    let mut command = Command::new("logrotate");
    command.arg("--force").arg("--state").arg(root.join("state")).arg(root.join("rules"));
    let output = run(&mut command, "logrotate");
    assert!(output.status.success(), "{}", said(&output));
    assert!(root.join("audit.log.1.gz").exists() && !root.join("audit.log").exists());
}

// ---- the pages

/// A page's text as a reader sees it, with its macros left in.
fn page(name: &str) -> String {
    text(name).replace("\\(dq", "\"").replace("\\e", "\\").replace("\\(en", "-")
}

/// The names of the verbs in `--help`.
fn verbs(help: &str) -> BTreeSet<String> {
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    lines
        .take_while(|line| !line.is_empty())
        // What stands further in is the rest of a description.
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|verb| *verb != "help")
        .map(str::to_owned)
        .collect()
}

/// The long options in `--help`, those aside that every program has.
fn options(help: &str) -> BTreeSet<String> {
    help.lines()
        .map(str::trim_start)
        .filter(|line| line.starts_with('-'))
        .flat_map(|line| line.split([' ', ',', '=']))
        .filter_map(|word| word.strip_prefix("--"))
        .filter(|option| !matches!(*option, "help" | "version"))
        .map(str::to_owned)
        .collect()
}

/// The long options that one line of a page names: `Fl -wait`.
fn options_in(line: &str) -> BTreeSet<String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let pairs = words.windows(2).filter(|pair| pair[0] == "Fl");
    pairs.filter_map(|pair| pair[1].strip_prefix('-')).map(str::to_owned).collect()
}

/// What the client's page says: each verb with its options, and the options of all under no verb.
fn documented(page: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix(".It Ic ") {
            let verb = rest.split_whitespace().next().unwrap().to_owned();
            found.entry(verb).or_default().extend(options_in(rest));
        } else if line.starts_with(".It Fl ") {
            found.entry(String::new()).or_default().extend(options_in(line));
        }
    }
    found
}

#[test]
fn the_client_s_page_names_every_verb_and_option() {
    let top = help(CLIENT, &[]);
    let everywhere = options(&top);
    let mut real = BTreeMap::from([(String::new(), everywhere.clone())]);
    for verb in verbs(&top) {
        let page = help(CLIENT, &[&verb]);
        let mut own = options(&page);
        for below in verbs(&page) {
            own.extend(options(&help(CLIENT, &[&verb, &below])));
        }
        let own = own.difference(&everywhere).cloned().collect();
        real.insert(verb, own);
    }
    assert!(real.len() > 10, "the verbs were not found in\n{top}");
    assert_eq!(documented(&page("man/mailhaulctl.1")), real, "left: the page; right: the program");
}

#[test]
fn the_daemon_s_page_names_every_option() {
    let all: BTreeSet<String> = page("man/mailhauld.8")
        .lines()
        .filter(|line| line.starts_with(".It Fl "))
        .flat_map(options_in)
        .filter(|option| option != "version")
        .collect();
    assert_eq!(all, options(&help(DAEMON, &[])), "left: the page; right: the program");
}

#[test]
fn completions_know_every_verb() {
    let verbs = verbs(&help(CLIENT, &[]));
    for shell in ["bash", "zsh", "fish"] {
        let output = Command::new(CLIENT).args(["completions", shell]).output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
        let script = String::from_utf8(output.stdout).unwrap();
        for verb in &verbs {
            assert!(script.contains(verb.as_str()), "{shell} does not know {verb}");
        }
    }
}

// ---- the keys

/// A key of mailhaul.toml(5).
#[derive(Debug)]
struct Key {
    /// The heading that it stands under, such as `[daemon]`.
    table: String,
    name: String,
    /// As it was written; a key without a default has none.
    default: Option<String>,
}

fn keys(page: &str) -> Vec<Key> {
    let (mut table, mut found, mut nested) = (String::new(), Vec::new(), 0);
    for line in page.lines() {
        if let Some(heading) = line.strip_prefix(".Sh ") {
            // Servers have no heading of their own.
            table = if heading == "SERVERS" { "[server.old-mail]".to_owned() } else { String::new() };
        } else if let Some(heading) = line.strip_prefix(".Ss ") {
            table = heading.replace("NAME", "default");
        } else if line.starts_with(".Bl ") {
            nested += 1;
        } else if line.starts_with(".El") {
            nested -= 1;
        } else if let Some(item) = line.strip_prefix(".It Li ")
            && table.starts_with('[')
            && nested == 1
        {
            match item.split_once(" = ") {
                Some((name, value)) => found.push(Key {
                    table: table.clone(),
                    name: name.to_owned(),
                    default: Some(value.to_owned()),
                }),
                None => found.extend(item.split(" , ").map(|name| Key {
                    table: table.clone(),
                    name: name.to_owned(),
                    default: None,
                })),
            }
        }
    }
    found
}

/// The literal texts of a page: its examples.
fn examples(page: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut open: Option<String> = None;
    for line in page.lines() {
        if line.starts_with(".Bd -literal") {
            open = Some(String::new());
        } else if line.starts_with(".Ed") {
            found.extend(open.take());
        } else if let Some(example) = &mut open {
            example.push_str(line);
            example.push('\n');
        }
    }
    found
}

/// `example` with a key at a value, in the table with that heading; one that is there gives way.
fn with(example: &str, key: &Key, value: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    let (mut inside, mut done) = (false, false);
    for line in example.lines() {
        if line.starts_with('[') {
            inside = line == key.table;
        }
        if inside && line.starts_with(&format!("{} = ", key.name)) {
            continue;
        }
        lines.push(line.to_owned());
        if inside && !done {
            lines.push(format!("{} = {value}", key.name));
            done = true;
        }
    }
    if !done {
        lines.push(key.table.clone());
        lines.push(format!("{} = {value}", key.name));
    }
    lines.join("\n") + "\n"
}

/// What is said about these three files.
fn complaints(settings: &str, accounts: &str, servers: &str) -> Vec<String> {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let write = |name: &str, content: &str| {
        fs::write(root.join(name), content).unwrap();
        fs::set_permissions(root.join(name), fs::Permissions::from_mode(0o600)).unwrap();
    };
    fs::create_dir(root.join("accounts.d")).unwrap();
    fs::create_dir(root.join("servers.d")).unwrap();
    write("mailhaul.toml", settings);
    write("accounts.d/a.toml", accounts);
    write("master.secret", "correct horse\n");
    write("accounts.d/alice.secret", "correct horse\n");
    write("servers.d/a.toml", servers);
    fs::write(root.join("servers.d/ca.pem"), &*CERTIFICATE).unwrap();
    let env = Environment {
        state_directory: Some(root.join("state")),
        runtime_directory: Some(root.join("run")),
        credentials_directory: Some(root.to_path_buf()),
    };
    match load(&root.join("mailhaul.toml"), &env) {
        Ok(loaded) => loaded.complaints.iter().map(ToString::to_string).collect(),
        Err(complaints) => complaints.iter().map(ToString::to_string).collect(),
    }
}

/// A value for a key that has no default and is not in an example.
fn invented(key: &Key) -> &'static str {
    match key.name.as_str() {
        "icon" => "\"gmail\"",
        "delta" => "\"1h\"",
        "fingerprint" => "\"sha256:00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\"",
        "timeout" => "\"60s\"",
        "login_timeout" => "\"3min\"",
        "imap_daily" | "pop3_daily" => "\"2500MB\"",
        "first_name" | "last_name" => "\"Alice\"",
        "passwd_file" => "{ path = \"/etc/dovecot/users\" }",
        "command" => "[\"/usr/local/sbin/make-mailbox\"]",
        "max_connections" => "8",
        "min_interval" => "\"5min\"",
        "ca_file" => "\"ca.pem\"",
        "oauth2" => "\"google\"",
        "domains" => "[\"old.example\"]",
        "provider" => "\"microsoft\"",
        "client_secret" => "{ file = \"../accounts.d/alice.secret\" }",
        "tenant" => "\"example.com\"",
        "key_file" => "\"../accounts.d/alice.secret\"",
        "token_url" | "device_url" | "auth_url" => "\"https://login.example.com/token\"",
        "scopes" => "[\"https://mail.example.com/\"]",
        other => panic!("{other} has no default and no example: invent a value for it here"),
    }
}

/// The keys of such a destination stand together.
const SERVER: &str = "[destination.default.imap]\nserver = { host = \"localhost\" }\nlogin = \"{member}\"\n\
    password = { command = [\"/bin/true\"] }\n";

/// So do those of a rule.
const RULE: &str =
    "[[filter]]\nmember = \"a@example.com\"\nwhen = [{ size_over = \"1MB\" }]\nthen = { trash = true }\n";
/// Likewise.
const HANDED_OVER: &str = "[destination.default.lmtp]\nsocket = \"/run/dovecot/lmtp\"\n";

/// What is said with one documented key at its default.
fn judged(key: &Key, account: &str, server: &str, office: &str) -> Vec<String> {
    let known = |example: &str| {
        let line = example.lines().find(|line| line.starts_with(&format!("{} = ", key.name)))?;
        Some(line.split_once(" = ")?.1.to_owned())
    };
    let value = |example: &str| {
        key.default.clone().or_else(|| known(example)).unwrap_or_else(|| invented(key).to_owned())
    };
    if key.table == "[account.migrate]" {
        let poll = account.find("[account.poll]").unwrap();
        let moving = account[..poll].replace("\"pop3\"", "\"imap\"") + "[account.migrate]\n";
        complaints("", &with(&moving, key, &value(&moving)), "")
    } else if key.table.starts_with("[account") || key.table.starts_with("[[account") {
        complaints("", &with(account, key, &value(account)), "")
    } else if key.table.starts_with("[server.office") {
        complaints("", "", &with(office, key, &value(office)))
    } else if key.table.starts_with("[server") {
        complaints("", "", &with(server, key, &value(server)))
    } else if key.table == "[[filter]]" {
        complaints("", &with(RULE, key, &value(RULE)), "")
    } else if key.table.ends_with(".imap]") {
        complaints(&with(SERVER, key, &value(SERVER)), "", "")
    } else if key.table.ends_with(".lmtp]") {
        complaints(&with(HANDED_OVER, key, &value(HANDED_OVER)), "", "")
    } else {
        complaints(&with("", key, &value("")), "", "")
    }
}

#[test]
fn every_documented_key_is_taken_at_its_default() {
    let page = page("man/mailhaul.toml.5");
    let [account, server, office] = examples(&page).try_into().unwrap();
    assert_eq!(complaints("", &account, &(server.clone() + &office)), Vec::<String>::new());
    let keys = keys(&page);
    assert!(keys.len() > 30, "only {} keys were found in the page", keys.len());
    for key in &keys {
        assert_eq!(judged(key, &account, &server, &office), Vec::<String>::new(), "{key:?}");
    }
    // And one that does not exist is refused, wherever it stands.
    let tables: BTreeSet<&str> = keys.iter().map(|key| key.table.as_str()).collect();
    assert!(tables.len() >= 8, "{tables:?}");
    for table in tables {
        let key = Key { table: table.to_owned(), name: "colour".to_owned(), default: Some("1".to_owned()) };
        let said = judged(&key, &account, &server, &office);
        assert!(said.iter().any(|line| line.contains("colour")), "{table}: {said:?}");
    }
}

#[test]
fn the_settings_that_are_installed_show_the_defaults() {
    // Each line that is switched off, switched on, is what the page says.
    let page = page("man/mailhaul.toml.5");
    let keys = keys(&page);
    let mut table = String::new();
    let mut compared = 0;
    for line in text("config/mailhaul.toml").lines() {
        if line.trim_start_matches('#').starts_with('[') {
            table = line.to_owned();
        }
        let Some((name, rest)) = line.trim_start_matches('#').split_once(" = ") else { continue };
        let Some(key) = keys.iter().find(|key| key.table == table && key.name == name) else { continue };
        let value = rest.split(" #").next().unwrap().trim();
        assert_eq!(Some(value), key.default.as_deref(), "{table} {name}: left: config/, right: the page");
        compared += 1;
    }
    assert!(compared > 12, "only {compared} keys were compared");
}

// ---- make install

fn make(words: &[&str], destination: &Path, prefix: &str) -> Output {
    let built = Path::new(DAEMON).parent().unwrap();
    let mut command = Command::new("make");
    command
        .current_dir(here(""))
        .args(words)
        .arg(format!("DESTDIR={}", destination.display()))
        .arg(format!("PREFIX={prefix}"))
        .arg(format!("BUILT={}", built.display()));
    run(&mut command, "make")
}

fn tree(root: &Path, folder: &str, found: &mut BTreeMap<String, u32>) {
    for entry in fs::read_dir(root.join(folder)).unwrap() {
        let entry = entry.unwrap();
        let name = format!("{folder}/{}", entry.file_name().into_string().unwrap());
        let name = name.trim_start_matches('/').to_owned();
        if entry.file_type().unwrap().is_dir() {
            tree(root, &name, found);
        } else {
            found.insert(name.clone(), mode(&root.join(&name)));
        }
    }
}

#[test]
fn make_install_puts_every_file_where_it_belongs() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let output = make(&["install"], root, "/usr");
    assert!(output.status.success(), "{}", said(&output));
    let mut found = BTreeMap::new();
    tree(root, "", &mut found);
    let expected = [
        ("etc/mailhaul/accounts.d/migrate.toml.example", 0o644),
        ("etc/mailhaul/accounts.d/poll.toml.example", 0o644),
        ("etc/mailhaul/mailhaul.toml", 0o644),
        ("etc/mailhaul/servers.d/old-mail.toml.example", 0o644),
        ("usr/bin/mailhaulctl", 0o755),
        ("usr/bin/mailhauld", 0o755),
        ("usr/lib/systemd/system/mailhauld.service", 0o644),
        ("usr/lib/systemd/system/mailhauld.socket", 0o644),
        ("usr/lib/sysusers.d/mailhaul.conf", 0o644),
        ("usr/lib/tmpfiles.d/mailhaul.conf", 0o644),
        ("usr/share/bash-completion/completions/mailhaulctl", 0o644),
        ("usr/share/doc/mailhaul/LICENSE-APACHE", 0o644),
        ("usr/share/doc/mailhaul/LICENSE-MIT", 0o644),
        ("usr/share/doc/mailhaul/README.md", 0o644),
        ("usr/share/fish/vendor_completions.d/mailhaulctl.fish", 0o644),
        ("usr/share/mailhaul/mailhaul.logrotate", 0o644),
        ("usr/share/mailhaul/vmail.conf", 0o644),
        ("usr/share/man/man1/mailhaulctl.1", 0o644),
        ("usr/share/man/man5/mailhaul.toml.5", 0o644),
        ("usr/share/man/man8/mailhauld.8", 0o644),
        ("usr/share/zsh/site-functions/_mailhaulctl", 0o644),
    ];
    let expected: BTreeMap<String, u32> =
        expected.into_iter().map(|(name, mode)| (name.to_owned(), mode)).collect();
    assert_eq!(found, expected, "left: installed; right: expected");
    assert_eq!(mode(&root.join("etc/mailhaul/accounts.d")), 0o750);
    let unit = root.join("usr/lib/systemd/system/mailhauld.service");
    assert!(fs::read_to_string(unit).unwrap().contains("\nExecStart=/usr/bin/mailhauld "));

    // What the administrator changed stays, through an update and through the end.
    fs::write(root.join("etc/mailhaul/mailhaul.toml"), "# mine\n").unwrap();
    assert!(make(&["install"], root, "/usr").status.success());
    assert!(make(&["uninstall"], root, "/usr").status.success());
    assert_eq!(fs::read_to_string(root.join("etc/mailhaul/mailhaul.toml")).unwrap(), "# mine\n");
    let mut left = BTreeMap::new();
    tree(root, "", &mut left);
    let left: Vec<&String> = left.keys().filter(|name| !name.starts_with("etc/mailhaul/")).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn the_unit_starts_what_was_installed() {
    let directory = tempfile::tempdir().unwrap();
    let output = make(&["install"], directory.path(), "/opt/mailhaul");
    assert!(output.status.success(), "{}", said(&output));
    let unit = directory.path().join("opt/mailhaul/lib/systemd/system/mailhauld.service");
    assert!(fs::read_to_string(unit).unwrap().contains("\nExecStart=/opt/mailhaul/bin/mailhauld "));
    assert!(directory.path().join("opt/mailhaul/bin/mailhauld").is_file());
}
