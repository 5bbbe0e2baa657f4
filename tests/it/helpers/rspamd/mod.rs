//! Two rspamds for one test: a real one, as whoever the mail belongs to and with everything it keeps below a
//! temporary directory, and one that plays bad habits. It refuses to use the machine's own configuration.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "each test uses its part of the helper")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// What the real one always calls spam.
pub const GTUBE: &str = "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X";

/// It refuses to work as root.
const NOBODY: u32 = 5123;

/// A running rspamd; stopped when dropped.
pub struct Rspamd {
    pub port: u16,
    directory: tempfile::TempDir,
    child: Child,
}

impl Rspamd {
    pub fn start() -> Rspamd {
        let directory = tempfile::Builder::new().prefix("rspamd").tempdir().unwrap();
        let root = directory.path();
        fs::set_permissions(root, fs::Permissions::from_mode(0o777)).unwrap();
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        fs::write(root.join("tld"), "com\norg\n").unwrap();
        let shown = root.display();
        // No name service, no maps, no module: only what is built in.
        let text = format!(
            "options {{
  pidfile = \"{shown}/pid\";
  filters = \"\";
  tempdir = \"{shown}\";
  hs_cache_dir = \"{shown}\";
  url_tld = \"{shown}/tld\";
  dns {{ timeout = 1s; nameserver = [\"127.0.0.1:1\"]; }}
  control_socket = \"{shown}/control mode=0600\";
}}
logging {{ type = \"file\"; filename = \"{shown}/log\"; level = \"info\"; }}
actions {{ reject = 15; add_header = 6; greylist = 4; }}
worker \"normal\" {{ bind_socket = \"127.0.0.1:{port}\"; count = 1; }}
"
        );
        fs::write(root.join("rspamd.conf"), text).unwrap();
        let mut command = Command::new("rspamd");
        command.arg("-f").arg("-c").arg(root.join("rspamd.conf")).current_dir(root).stdin(Stdio::null());
        command.stdout(fs::File::create(root.join("out")).unwrap());
        command.stderr(fs::File::create(root.join("err")).unwrap());
        if nix::unistd::getuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        let child = command.spawn().expect("this test needs rspamd: install the package of that name");
        let mut rspamd = Rspamd { port, directory, child };
        rspamd.wait();
        rspamd
    }

    fn wait(&mut self) {
        let until = Instant::now() + Duration::from_secs(120);
        while TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_err() {
            let ended = self.child.try_wait().unwrap();
            let said =
                || ["out", "err", "log"].map(|name| fs::read_to_string(self.directory.path().join(name)));
            assert!(
                ended.is_none() && Instant::now() < until,
                "rspamd does not listen ({ended:?}): {:?}",
                said()
            );
            thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Rspamd {
    fn drop(&mut self) {
        // TERM, so that it takes its own children with it.
        Command::new("kill").arg(self.child.id().to_string()).status().ok();
        self.child.wait().ok();
    }
}

/// What a client asked.
#[derive(Debug, Clone)]
pub struct Asked {
    pub head: String,
    pub body: Vec<u8>,
    /// Questions before this one.
    pub number: usize,
}

/// What it is told, as octets; `None`: nothing, until it goes.
pub type Say = Option<Vec<u8>>;

/// What it does instead of judging, or not.
pub type Hook = dyn Fn(&Asked) -> Say + Send + Sync;

/// An answer with this action.
pub fn action(action: &str) -> Say {
    json(&format!("{{\"is_skipped\":false,\"score\":7.5,\"required_score\":15.0,\"action\":\"{action}\"}}"))
}

/// An answer with this body.
pub fn json(body: &str) -> Say {
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    Some((head + body).into_bytes())
}

/// A server of bad habits.
pub struct FakeRspamd {
    pub port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    /// Questions that one connection may ask; the server then closes it without a word.
    each: AtomicUsize,
    connections: AtomicUsize,
    hook: Mutex<Arc<Hook>>,
    asked: Mutex<Vec<Asked>>,
    count: AtomicUsize,
    stopped: AtomicBool,
}

impl FakeRspamd {
    pub fn start(hook: impl Fn(&Asked) -> Say + Send + Sync + 'static) -> FakeRspamd {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            each: AtomicUsize::new(1),
            connections: AtomicUsize::new(0),
            hook: Mutex::new(Arc::new(hook)),
            asked: Mutex::default(),
            count: AtomicUsize::new(0),
            stopped: AtomicBool::new(false),
        });
        let server = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if server.stopped.load(Ordering::SeqCst) {
                    return;
                }
                let server = Arc::clone(&server);
                thread::spawn(move || connection(&server, stream));
            }
        });
        FakeRspamd { port, shared }
    }

    /// Another habit from now on.
    pub fn habit(&self, hook: impl Fn(&Asked) -> Say + Send + Sync + 'static) {
        *self.shared.hook.lock().unwrap() = Arc::new(hook);
    }

    /// Connections are kept for so many questions.
    pub fn keeps(&self, each: usize) {
        self.shared.each.store(each, Ordering::SeqCst);
    }

    /// Connections that asked something.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Every question so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.shared.asked.lock().unwrap().clone()
    }
}

impl Drop for FakeRspamd {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

/// `None`: the client has gone.
fn connection(shared: &Shared, stream: TcpStream) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    for number in 0..shared.each.load(Ordering::SeqCst) {
        serve(shared, &stream, &mut reader, number)?;
    }
    Some(())
}

fn serve(
    shared: &Shared,
    mut stream: &TcpStream,
    reader: &mut BufReader<TcpStream>,
    number: usize,
) -> Option<()> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    if number == 0 {
        shared.connections.fetch_add(1, Ordering::SeqCst);
    }
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "))?.parse().ok()?;
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let asked = Asked { head, body, number: shared.count.fetch_add(1, Ordering::SeqCst) };
    shared.asked.lock().unwrap().push(asked.clone());
    let hook = Arc::clone(&shared.hook.lock().unwrap());
    match hook(&asked) {
        Some(octets) => stream.write_all(&octets).ok(),
        None => {
            let _ = reader.read(&mut [0]);
            None
        }
    }
}
