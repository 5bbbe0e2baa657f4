//! A private Exim for one test: takes every message over SMTP on a free loopback port and puts it into a Maildir
//! below a temporary directory; a login over TLS is `mailhaul` with `secret`. It refuses to use the machine's own
//! configuration, and to be skipped: without Exim a test fails and says what to install.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "each test uses its part of the helper")]

use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::unistd::{User, getgid, getuid};
use tempfile::TempDir;

use crate::helpers::certificate::Certificate;

/// A running server; stopped when dropped.
pub struct Exim {
    pub port: u16,
    pub certificate: Certificate,
    directory: TempDir,
    child: Option<Child>,
}

impl Exim {
    /// Starts a server that takes mail from everybody, or only over TLS from those who log in.
    pub fn start(login: bool) -> Exim {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let mut exim = Exim::stopped(port, login);
        exim.run();
        exim
    }

    /// The same at that port, not running yet.
    pub fn stopped(port: u16, login: bool) -> Exim {
        let directory = tempfile::Builder::new().prefix("exim").tempdir().unwrap();
        let root = directory.path();
        fs::set_permissions(root, fs::Permissions::from_mode(0o755)).unwrap();
        // Started by root it writes as its own user.
        let (uid, gid) = match User::from_name("Debian-exim").unwrap() {
            Some(user) if getuid().is_root() => (user.uid, user.gid),
            _ => (getuid(), getgid()),
        };
        let certificate = Certificate::new();
        let who = User::from_uid(uid).unwrap().unwrap().name;
        for (from, to) in [(certificate.chain(), "chain.pem"), (certificate.key(), "key.pem")] {
            fs::copy(from, root.join(to)).unwrap();
            chown(root.join(to), Some(uid.as_raw()), Some(gid.as_raw())).unwrap();
        }
        fs::write(root.join("conf"), configuration(root, port, &who, login)).unwrap();
        fs::set_permissions(root.join("conf"), fs::Permissions::from_mode(0o644)).unwrap();
        chown(root, Some(uid.as_raw()), Some(gid.as_raw())).unwrap();
        Exim { port, certificate, directory, child: None }
    }

    /// Starts it and waits until it listens.
    pub fn run(&mut self) {
        let root = self.directory.path();
        let child = Command::new("/usr/sbin/exim4")
            .arg("-C")
            .arg(root.join("conf"))
            .arg("-bdf")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("Exim does not start: {error}; install exim4-daemon-light"));
        self.child = Some(child);
        let until = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_err() {
            let log = fs::read_to_string(root.join("paniclog")).unwrap_or_default();
            assert!(Instant::now() < until, "Exim does not listen: {log}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Every message that came, a copy for each recipient.
    pub fn messages(&self) -> Vec<Vec<u8>> {
        let Ok(list) = fs::read_dir(self.directory.path().join("Maildir/new")) else { return Vec::new() };
        let mut paths: Vec<_> = list.map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths.iter().map(|path| fs::read(path).unwrap()).collect()
    }

    /// What it logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("mainlog")).unwrap_or_default()
    }
}

impl Drop for Exim {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn configuration(root: &Path, port: u16, user: &str, login: bool) -> String {
    let root = root.display();
    let access = if login { "deny !authenticated = *\n  accept" } else { "accept" };
    format!(
        "exim_path = /usr/sbin/exim4
primary_hostname = mx.example
spool_directory = {root}/spool
log_file_path = {root}/%slog
pid_file_path = {root}/pid
local_interfaces = 127.0.0.1
daemon_smtp_ports = {port}
keep_environment =
add_environment = PATH=/usr/bin
deliver_drop_privilege
tls_advertise_hosts = *
tls_certificate = {root}/chain.pem
tls_privatekey = {root}/key.pem
acl_smtp_rcpt = acl_rcpt
begin acl
acl_rcpt:
  {access}
begin routers
all:
  driver = accept
  transport = box
begin transports
box:
  driver = appendfile
  directory = {root}/Maildir
  maildir_format
  create_directory
  user = {user}
begin authenticators
plain:
  driver = plaintext
  public_name = PLAIN
  server_prompts = :
  server_condition = ${{if and{{{{eq{{$auth2}}{{mailhaul}}}}{{eq{{$auth3}}{{secret}}}}}}}}
  server_advertise_condition = ${{if def:tls_in_cipher}}
"
    )
}
