//! A private Courier for one test: IMAP and POP3 on free loopback ports. Its paths are compiled in, so it runs in a
//! root directory of its own, below a temporary one, with copies of its programs and libraries. It refuses to use
//! the machine's own configuration, and to be skipped: without Courier a test fails and says what to install.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "each test uses its part of the helper")]

use std::fs;
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{SHA256, digest};
use tempfile::TempDir;

use crate::helpers::daemon::install;

/// Whom the mail belongs to.
const MAIL_ID: u32 = 5123;

const PROGRAMS: [&str; 7] = [
    "lib/courier/courier-authlib/authdaemond",
    "lib/courier/courier/courierpop3d",
    "lib/courier/courier/courierpop3login",
    "lib/courier/courier/imaplogin",
    "lib/courier/courier/makedatprog",
    "bin/imapd",
    "sbin/couriertcpd",
];

/// What Debian's installation sets.
const SETTINGS: [(&str, &str); 9] = [
    ("AUTHMODULES", "authdaemon"),
    ("IMAP_ACL", "1"),
    (
        "IMAP_CAPABILITY",
        "IMAP4rev1 UIDPLUS CHILDREN NAMESPACE THREAD=ORDEREDSUBJECT THREAD=REFERENCES SORT QUOTA IDLE",
    ),
    ("IMAP_CHECK_ALL_FOLDERS", "0"),
    ("IMAP_EMPTYTRASH", "Trash:7"),
    ("IMAP_KEYWORDS", "1"),
    ("IMAP_MAILBOX_SANITY_CHECK", "1"),
    ("IMAP_TRASHFOLDERNAME", "Trash"),
    ("IMAP_USELOCKS", "1"),
];

/// A running server; stopped when dropped.
pub struct Courier {
    pub imap: u16,
    pub pop3: u16,
    directory: TempDir,
    children: Vec<Child>,
}

impl Courier {
    /// Starts a server with these users and passwords.
    pub fn start(users: &[(&str, &str)]) -> Courier {
        Courier::start_with(users, &[])
    }

    /// The same, with other settings.
    pub fn start_with(users: &[(&str, &str)], more: &[(&str, &str)]) -> Courier {
        let directory = tempfile::Builder::new().prefix("courier").tempdir().unwrap();
        let root = directory.path();
        fs::set_permissions(root, fs::Permissions::from_mode(0o755)).unwrap();
        furnish(root);
        accounts(root, users);
        let mut courier = Courier { imap: free_port(), pop3: free_port(), directory, children: Vec::new() };
        // What it watches folders with; the name of its socket is the machine's, not the root directory's.
        let watcher = format!("GAM_CLIENT_ID=courier-{}-{}", std::process::id(), courier.imap);
        let name = watcher.split('=').nth(1).unwrap();
        courier.child("watcher", &[&watcher], &["/usr/bin/gam_server", "--notimeout", name], true);
        courier.child("authdaemond", &[], &["/usr/bin/authdaemond"], false);
        let mut settings: Vec<String> =
            SETTINGS.iter().chain(more).map(|(name, value)| format!("{name}={value}")).collect();
        settings.push(watcher.clone());
        let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
        for (port, login, server) in
            [(courier.imap, "imaplogin", "imapd"), (courier.pop3, "courierpop3login", "courierpop3d")]
        {
            let (port, login, server) =
                (port.to_string(), format!("/usr/bin/{login}"), format!("/usr/bin/{server}"));
            let listen = ["/usr/bin/couriertcpd", "-address=127.0.0.1", "-maxprocs=40", "-maxperip=20"];
            let serve = ["-nodnslookup", "-noidentlookup", &port, &login, &server, "Maildir"];
            courier.child(
                &server.replace("/usr/bin/", ""),
                &settings,
                &[&listen[..], &serve].concat(),
                false,
            );
        }
        courier.wait();
        courier
    }

    /// A user's Maildir; folders are directories whose names are UTF-8.
    pub fn maildir(&self, user: &str) -> PathBuf {
        self.directory.path().join("home").join(user).join("Maildir")
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        let read = |name| fs::read_to_string(self.directory.path().join(name)).unwrap_or_default();
        ["watcher.log", "authdaemond.log", "imapd.log", "courierpop3d.log"].map(read).concat()
    }

    fn child(&mut self, log: &str, environment: &[&str], words: &[&str], as_the_owner: bool) {
        let root = self.directory.path();
        let mut command = in_root(root, as_the_owner);
        let settings = environment.iter().map(|setting| setting.split_once('=').unwrap());
        command.args(words).env_clear().envs(settings);
        let log = fs::File::create(root.join(format!("{log}.log"))).unwrap();
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        // Each with its own children.
        command.process_group(0);
        self.children.push(command.spawn().unwrap_or_else(|error| panic!("Courier does not start: {error}")));
    }

    fn wait(&mut self) {
        let until = Instant::now() + Duration::from_secs(30);
        let socket = self.directory.path().join("run/courier/authdaemon/socket");
        let is_up = |port: u16| TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok();
        while !socket.exists() || !is_up(self.imap) || !is_up(self.pop3) {
            let ended = self.children.iter_mut().any(|child| child.try_wait().unwrap().is_some());
            assert!(!ended && Instant::now() < until, "Courier does not listen: {}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Courier {
    fn drop(&mut self) {
        for child in &mut self.children {
            Command::new("kill").args(["--", &format!("-{}", child.id())]).status().ok();
            child.wait().ok();
        }
    }
}

/// What starts a program with `root` for its root directory: as root, or as root in a name space of its own.
fn in_root(root: &Path, as_the_owner: bool) -> Command {
    let chroot = if Path::new("/usr/sbin/chroot").exists() { "/usr/sbin/chroot" } else { "chroot" };
    let mut command;
    if nix::unistd::getuid().is_root() {
        command = Command::new(chroot);
        if as_the_owner {
            command.arg(format!("--userspec={MAIL_ID}:{MAIL_ID}"));
        }
    } else {
        command = Command::new("unshare");
        command.arg("--map-root-user").arg(chroot);
    }
    command.arg(root);
    command
}

/// Programs, libraries and directories. Debian's, if they are installed, or what `need-packages.sh` unpacked.
fn furnish(root: &Path) {
    let installed = PathBuf::from("/");
    let unpacked = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("courier");
    let from = [installed, unpacked].into_iter().find(|place| place.join("usr").join(PROGRAMS[1]).exists());
    let from =
        from.expect("this test needs Courier: run tests/tools/need-packages.sh courier-imap").join("usr");
    for directory in
        ["dev", "etc/courier", "home", "run/courier/authdaemon", "tmp", "usr/bin", "usr/lib/courier-authlib"]
    {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    symlink("usr/lib", root.join("lib")).unwrap();
    fs::set_permissions(root.join("tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
    // It is only opened, and a device is not for everybody to make.
    fs::write(root.join("dev/null"), "").unwrap();
    fs::set_permissions(root.join("dev/null"), fs::Permissions::from_mode(0o666)).unwrap();
    let mut copied: Vec<PathBuf> = PROGRAMS.iter().map(|name| from.join(name)).collect();
    copied.push(PathBuf::from("/usr/libexec/gam_server"));
    for program in &copied {
        install(program, &root.join("usr/bin").join(program.file_name().unwrap()));
    }
    let module = from.join("lib/courier-authlib/libauthuserdb.so");
    for name in ["libauthuserdb.so", "libauthuserdb.so.0"] {
        fs::copy(&module, root.join("usr/lib/courier-authlib").join(name)).unwrap();
    }
    copied.push(module);
    let said = Command::new("ldd").args(&copied).env("LD_LIBRARY_PATH", from.join("lib")).output().unwrap();
    for line in String::from_utf8(said.stdout).unwrap().lines() {
        // `libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x...)`; what loads the others has its place and no arrow.
        let line = line.trim().rsplit_once(" (").map_or("", |(words, _)| words);
        let (library, place) = match line.split_once(" => ") {
            Some((name, library)) => (library, root.join("usr/lib").join(name)),
            None if line.starts_with('/') => (line, root.join(line.trim_start_matches('/'))),
            None => continue,
        };
        if !place.exists() {
            fs::create_dir_all(place.parent().unwrap()).unwrap();
            fs::copy(library, &place).unwrap_or_else(|error| panic!("{library}: {error}"));
        }
    }
}

/// The data base of users, and what says to use it.
fn accounts(root: &Path, users: &[(&str, &str)]) {
    let id = if nix::unistd::getuid().is_root() { MAIL_ID } else { 0 };
    fs::write(root.join("etc/passwd"), format!("mail:x:{id}:{id}::/:/bin/sh\n")).unwrap();
    fs::write(root.join("etc/group"), format!("mail:x:{id}:\n")).unwrap();
    fs::write(
        root.join("etc/courier/authdaemonrc"),
        "authmodulelist=\"authuserdb\"\nauthmodulelistorig=\"authuserdb\"\ndaemons=3\n\
         authdaemonvar=/run/courier/authdaemon\n",
    )
    .unwrap();
    let (mut homes, mut words) = (String::new(), String::new());
    for (name, password) in users {
        let home = format!("/home/{name}");
        homes += &format!("{name}\thome={home}|maildir={home}/Maildir|uid={id}|gid={id}|_=\n");
        let hash = STANDARD.encode(digest(&SHA256, password.as_bytes()));
        words += &format!("{name}\tsystempw={{SHA256}}{hash}\n");
        for part in ["", "Maildir", "Maildir/cur", "Maildir/new", "Maildir/tmp"] {
            let place = root.join("home").join(name).join(part);
            fs::create_dir(&place).unwrap();
            if nix::unistd::getuid().is_root() {
                chown(&place, Some(id), Some(id)).unwrap();
            }
        }
    }
    for (name, lines) in [("userdb", homes), ("userdbshadow", words)] {
        let place = format!("/etc/courier/{name}");
        let mut command = in_root(root, false);
        command.args(["/usr/bin/makedatprog", "-", &format!("{place}.tmp"), &format!("{place}.dat")]);
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        // A dot ends it.
        child.stdin.take().unwrap().write_all((lines + ".\n").as_bytes()).unwrap();
        assert!(child.wait().unwrap().success(), "makedatprog does not take {name}");
    }
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}
