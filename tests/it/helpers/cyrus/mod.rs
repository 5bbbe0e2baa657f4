//! A private Cyrus for one test: IMAP on a free loopback port, with everything that it keeps below a temporary
//! directory. It refuses to use the machine's own configuration, and to be skipped: without Cyrus a test
//! fails and says what to install.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "each test uses its part of the helper")]

use std::fs;
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::unistd::{Gid, Uid, User};
use tempfile::TempDir;

use crate::helpers::daemon::install;

/// The way that most installations are: everything below INBOX, dots between levels.
pub const NETNEWS: &str = "altnamespace: no\nunixhierarchysep: no\n";
/// The way that new ones are.
pub const UNIX: &str = "altnamespace: yes\nunixhierarchysep: yes\n";

/// Who may act for others.
pub const MIGRATOR: (&str, &str) = ("migrator", "of all");
/// Who may set quotas.
pub const ADMIN: (&str, &str) = ("admin", "admin secret");

/// A running server; stopped when dropped.
pub struct Cyrus {
    pub port: u16,
    directory: TempDir,
    child: Child,
}

impl Cyrus {
    /// Starts a server with these users and passwords, and lines for its `imapd.conf`.
    pub fn start(users: &[(&str, &str)], more: &str) -> Cyrus {
        let directory = tempfile::Builder::new().prefix("cyrus").tempdir().unwrap();
        let root = directory.path();
        fs::set_permissions(root, fs::Permissions::from_mode(0o755)).unwrap();
        for part in ["config", "spool", "sieve", "run/proc", "run/lock", "run/socket"] {
            fs::create_dir_all(root.join(part)).unwrap();
        }
        // Root lets Cyrus drop to somebody else; anybody else runs all of it as himself.
        let user = match nix::unistd::getuid() {
            uid if uid.is_root() => User::from_name("mail").unwrap().expect("a user mail"),
            uid => User::from_uid(uid).unwrap().expect("a user with a name"),
        };
        let programs = programs(root);
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        fs::write(root.join("imapd.conf"), settings(root, &user.name, more)).unwrap();
        fs::write(root.join("cyrus.conf"), services(root, &programs, port)).unwrap();
        for (name, password) in users.iter().chain([&MIGRATOR, &ADMIN]) {
            let mut command = program(&programs, "saslpasswd2")
                .args(["-c", "-p", "-u", "localhost", "-f"])
                .arg(root.join("sasldb"))
                .arg(name)
                .stdin(Stdio::piped())
                .spawn()
                .unwrap();
            command.stdin.take().unwrap().write_all(password.as_bytes()).unwrap();
            assert!(command.wait().unwrap().success(), "saslpasswd2 does not take {name}");
        }
        own(root, user.uid, user.gid);
        let child = program(&programs, "master")
            .arg("-C")
            .arg(root.join("imapd.conf"))
            .arg("-M")
            .arg(root.join("cyrus.conf"))
            .arg("-p")
            .arg(root.join("run/pid"))
            .arg("-D")
            // When it ends, it ends its process group.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(root.join("stderr")).unwrap())
            .spawn()
            .unwrap_or_else(|error| panic!("Cyrus does not start: {error}"));
        let mut cyrus = Cyrus { port, directory, child };
        cyrus.wait();
        cyrus
    }

    fn wait(&mut self) {
        let until = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_err() {
            let ended = self.child.try_wait().unwrap();
            if ended.is_some() || Instant::now() > until {
                let said = fs::read_to_string(self.directory.path().join("stderr")).unwrap_or_default();
                panic!("Cyrus does not listen ({ended:?}): {said}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Cyrus {
    fn drop(&mut self) {
        // TERM, so that it takes its own children with it.
        Command::new("kill").arg(self.child.id().to_string()).status().ok();
        self.child.wait().ok();
    }
}

/// Where the programs are: Debian's, or copies of what `need-packages.sh` unpacked, which whoever Cyrus runs as
/// may not be able to reach.
fn programs(root: &Path) -> PathBuf {
    let installed = PathBuf::from("/usr/lib/cyrus/bin");
    if installed.join("imapd").is_file() {
        return installed;
    }
    let unpacked = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("cyrus/usr");
    assert!(unpacked.exists(), "this test needs Cyrus 3: run tests/tools/need-packages.sh cyrus-imapd");
    let place = root.join("programs");
    fs::create_dir(&place).unwrap();
    for name in
        ["lib/cyrus/bin/master", "lib/cyrus/bin/imapd", "lib/cyrus/bin/ctl_cyrusdb", "sbin/saslpasswd2"]
    {
        install(&unpacked.join(name), &place.join(Path::new(name).file_name().unwrap()));
    }
    for architecture in fs::read_dir(unpacked.join("lib")).unwrap() {
        let Ok(files) = fs::read_dir(architecture.unwrap().path()) else { continue };
        for file in files {
            let file = file.unwrap();
            if file.file_name().to_string_lossy().starts_with("libcyrus") {
                fs::copy(file.path(), place.join(file.file_name())).unwrap();
            }
        }
    }
    place
}

/// One of them, which finds its libraries beside it.
fn program(programs: &Path, name: &str) -> Command {
    let there = programs.join(name);
    let mut command = Command::new(if there.exists() { there } else { PathBuf::from(name) });
    command.env("LD_LIBRARY_PATH", programs);
    command
}

fn settings(root: &Path, user: &str, more: &str) -> String {
    let root = root.display();
    format!(
        "configdirectory: {root}/config
proc_path: {root}/run/proc
mboxname_lockpath: {root}/run/lock
defaultpartition: default
partition-default: {root}/spool
sievedir: {root}/sieve
lmtpsocket: {root}/run/socket/lmtp
idlesocket: {root}/run/socket/idle
notifysocket: {root}/run/socket/notify
servername: localhost
cyrus_user: {user}
admins: {}
proxyservers: {}
allowplaintext: yes
sasl_pwcheck_method: auxprop
sasl_auxprop_plugin: sasldb
sasl_sasldb_path: {root}/sasldb
sasl_mech_list: PLAIN LOGIN
autocreate_quota: 0
autocreate_users: anyone
expunge_mode: immediate
delete_mode: immediate
{more}
",
        ADMIN.0, MIGRATOR.0
    )
}

fn services(root: &Path, programs: &Path, port: u16) -> String {
    let (root, bin) = (root.display(), programs.display());
    format!(
        "START {{
  recover cmd=\"{bin}/ctl_cyrusdb -C {root}/imapd.conf -r\"
}}
SERVICES {{
  imap cmd=\"{bin}/imapd -C {root}/imapd.conf -U 30\" listen=\"127.0.0.1:{port}\" prefork=2 maxchild=50
}}
EVENTS {{
}}
"
    )
}

fn own(path: &Path, uid: Uid, gid: Gid) {
    chown(path, Some(uid.as_raw()), Some(gid.as_raw())).unwrap();
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            own(&entry.unwrap().path(), uid, gid);
        }
    }
}
