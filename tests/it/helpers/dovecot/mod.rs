//! A private Dovecot for one test: IMAP and POP3, plain and TLS, on free loopback ports, with everything
//! it keeps below a temporary directory. It refuses to use the machine's own configuration, and to be
//! skipped: without Dovecot a test fails and says what to install.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "each test uses its part of the helper")]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::helpers::certificate::Certificate;

/// Whom the mail belongs to when Dovecot was started by root; it refuses to serve root's.
const MAIL_ID: u32 = 5123;

/// A running server; stopped when dropped.
pub struct Dovecot {
    pub imap: u16,
    pub imaps: u16,
    pub pop3: u16,
    pub pop3s: u16,
    directory: TempDir,
    certificate: Certificate,
    child: Child,
    owner: (u32, u32),
    delivered: AtomicU64,
}

impl Dovecot {
    /// Starts a server with these users and passwords.
    pub fn start(users: &[(&str, &str)]) -> Dovecot {
        Dovecot::start_with(users, "")
    }

    /// The same, with lines added to the end of its configuration.
    pub fn start_with(users: &[(&str, &str)], more: &str) -> Dovecot {
        let directory = tempfile::Builder::new().prefix("dovecot").tempdir().unwrap();
        let root = directory.path();
        std::fs::set_permissions(root, std::fs::Permissions::from_mode(0o755)).unwrap();
        let (uid, gid) = (nix::unistd::getuid().as_raw(), nix::unistd::getgid().as_raw());
        let owner = if uid == 0 { (MAIL_ID, MAIL_ID) } else { (uid, gid) };
        for part in ["run", "state", "home"] {
            std::fs::create_dir(root.join(part)).unwrap();
        }
        chown(root.join("home"), Some(owner.0), Some(owner.1)).unwrap();
        let lines: String = users.iter().map(|(name, word)| format!("{name}:{{PLAIN}}{word}\n")).collect();
        std::fs::write(root.join("users"), lines).unwrap();
        let certificate = Certificate::new();
        let [imap, imaps, pop3, pop3s] = free_ports();
        let config = configuration(root, &certificate, owner, [imap, imaps, pop3, pop3s], more);
        std::fs::write(root.join("dovecot.conf"), config).unwrap();
        let child = Command::new(program())
            .arg("-F")
            .arg("-c")
            .arg(root.join("dovecot.conf"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(root.join("stderr")).unwrap())
            .spawn()
            .unwrap_or_else(|error| panic!("Dovecot does not start: {error}"));
        let delivered = AtomicU64::new(0);
        let mut dovecot =
            Dovecot { imap, imaps, pop3, pop3s, directory, certificate, child, owner, delivered };
        dovecot.wait();
        dovecot
    }

    /// For `ca_file`; the certificate is for `localhost` and `127.0.0.1`.
    pub fn authority(&self) -> PathBuf {
        self.certificate.authority()
    }

    /// The certificate itself, whoever signed it.
    pub fn chain(&self) -> PathBuf {
        self.certificate.chain()
    }

    /// A user's Maildir++ root.
    pub fn maildir(&self, user: &str) -> PathBuf {
        self.directory.path().join("home").join(user).join("Maildir")
    }

    /// A user's home.
    pub fn home(&self, user: &str) -> PathBuf {
        self.directory.path().join("home").join(user)
    }

    /// One of its sockets.
    pub fn socket(&self, name: &str) -> PathBuf {
        self.directory.path().join("run").join(name)
    }

    /// The passwd-file.
    pub fn users(&self) -> PathBuf {
        self.directory.path().join("users")
    }

    /// Whom the mailboxes belong to.
    pub fn owner(&self) -> (u32, u32) {
        self.owner
    }

    /// Whether a login succeeds, over POP3.
    pub fn can_log_in(&self, user: &str, password: &str) -> bool {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.pop3)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(format!("USER {user}\r\nPASS {password}\r\nQUIT\r\n").as_bytes()).unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).unwrap();
        said.lines().nth(2).is_some_and(|line| line.starts_with("+OK"))
    }

    /// Puts a message into a user's inbox, as an agent on this machine would.
    pub fn deliver(&self, user: &str, message: &[u8]) {
        let number = self.delivered.fetch_add(1, Ordering::Relaxed);
        let maildir = self.maildir(user);
        for part in ["cur", "new", "tmp"] {
            std::fs::create_dir_all(maildir.join(part)).unwrap();
            chown(maildir.join(part), Some(self.owner.0), Some(self.owner.1)).unwrap();
        }
        for path in [maildir.as_path(), maildir.parent().unwrap()] {
            chown(path, Some(self.owner.0), Some(self.owner.1)).unwrap();
        }
        let file = maildir.join("new").join(format!("{}.M{number:06}.test", 1_700_000_000 + number));
        std::fs::write(&file, message).unwrap();
        chown(&file, Some(self.owner.0), Some(self.owner.1)).unwrap();
    }

    /// What Dovecot logged so far.
    pub fn log(&self) -> String {
        let read = |name| std::fs::read_to_string(self.directory.path().join(name)).unwrap_or_default();
        read("stderr") + &read("log")
    }

    /// Waits until no session is open any more: what a client that is gone began may still be done.
    pub fn settle(&self) {
        let until = Instant::now() + Duration::from_secs(60);
        while self.sessions() > 0 {
            assert!(Instant::now() < until, "a session does not end: {}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Each has a process of its own (proc_pid_stat(5)).
    fn sessions(&self) -> usize {
        let parent = self.child.id().to_string();
        let is_one = |entry: std::fs::DirEntry| {
            let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
            let (name, rest) = stat.split_once('(')?.1.rsplit_once(") ")?;
            let is_ours = rest.split(' ').nth(1) == Some(&parent);
            (is_ours && matches!(name, "imap" | "pop3")).then_some(())
        };
        std::fs::read_dir("/proc").unwrap().filter_map(|entry| is_one(entry.ok()?)).count()
    }

    fn wait(&mut self) {
        let until = Instant::now() + Duration::from_secs(20);
        for port in [self.imap, self.imaps, self.pop3, self.pop3s] {
            while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
                let ended = self.child.try_wait().unwrap();
                if ended.is_some() || Instant::now() > until {
                    panic!("Dovecot does not listen ({ended:?}): {}", self.log());
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
}

impl Drop for Dovecot {
    fn drop(&mut self) {
        // TERM, so that it takes its own children with it.
        Command::new("kill").arg(self.child.id().to_string()).status().ok();
        self.child.wait().ok();
    }
}

fn program() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from))
        .map(|directory| directory.join("dovecot"))
        .find(|file| file.is_file())
        .expect("this test needs Dovecot 2.3: install dovecot-imapd and dovecot-pop3d")
}

/// Held together before any is let go, so that they differ.
fn free_ports() -> [u16; 4] {
    [(); 4]
        .map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap())
        .map(|listener| listener.local_addr().unwrap().port())
}

fn configuration(
    root: &Path,
    certificate: &Certificate,
    (uid, gid): (u32, u32),
    [imap, imaps, pop3, pop3s]: [u16; 4],
    more: &str,
) -> String {
    let (root, chain, key) = (root.display(), certificate.chain(), certificate.key());
    let (chain, key) = (chain.display(), key.display());
    format!(
        "base_dir = {root}/run
state_dir = {root}/state
log_path = {root}/log
instance_name = test
protocols = imap pop3
listen = 127.0.0.1
{as_whom}
ssl = yes
ssl_cert = <{chain}
ssl_key = <{key}
disable_plaintext_auth = no
auth_mechanisms = plain login
auth_username_format = %u
auth_failure_delay = 0
mail_max_userip_connections = 0
# Without this, a wrong password makes the next logins wait.
service anvil {{
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
passdb {{
  driver = passwd-file
  args = scheme=PLAIN username_format=%u {root}/users
}}
userdb {{
  driver = static
  args = uid={uid} gid={gid} home={root}/home/%u allow_all_users=yes
}}
mail_location = maildir:~/Maildir
first_valid_uid = 1
mail_fsync = never
namespace inbox {{
  inbox = yes
  separator = /
}}
service imap-login {{
  inet_listener imap {{
    port = {imap}
  }}
  inet_listener imaps {{
    port = {imaps}
    ssl = yes
  }}
}}
service pop3-login {{
  inet_listener pop3 {{
    port = {pop3}
  }}
  inet_listener pop3s {{
    port = {pop3s}
    ssl = yes
  }}
}}
protocol pop3 {{
  pop3_uidl_format = %08Xu%08Xv
}}
{more}
",
        as_whom = as_whom()
    )
}

/// Root lets Dovecot drop to its own users; anybody else runs all of it as himself, without chroot.
fn as_whom() -> String {
    if nix::unistd::getuid().is_root() {
        return "default_internal_user = dovecot\ndefault_login_user = dovenull".to_owned();
    }
    let user = nix::unistd::User::from_uid(nix::unistd::getuid()).unwrap().expect("a user with a name").name;
    let group =
        nix::unistd::Group::from_gid(nix::unistd::getgid()).unwrap().expect("a group with a name").name;
    let services = ["anvil", "stats", "imap-login", "pop3-login"];
    let chroot: String = services.iter().map(|name| format!("service {name} {{\n  chroot =\n}}\n")).collect();
    format!(
        "default_internal_user = {user}\ndefault_internal_group = {group}\ndefault_login_user = {user}\n{chroot}"
    )
}
