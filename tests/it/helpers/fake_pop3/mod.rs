//! A POP3 server with a small maildrop in memory that answers truthfully, until a test's hook changes the
//! answer. One thread a connection; no TLS. It refuses nothing but wrong passwords.
//!
//! A hook sees each command with the answer that is about to go out, and may change, shorten or replace it,
//! close the connection after it, never stop talking, or say nothing any more.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "each test uses its part of the helper")]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// A message in the maildrop; line ends are CRLF.
#[derive(Debug, Clone)]
pub struct Mail {
    pub uidl: Vec<u8>,
    pub body: Vec<u8>,
}

/// So many messages, which differ from each other.
pub fn mails(count: usize) -> Vec<Mail> {
    (1..=count)
        .map(|n| Mail {
            uidl: format!("uidl-{n:04}").into_bytes(),
            body: format!(
                "From: a@example.com\r\nSubject: number {n}\r\n\r\n.\r\n..\r\n{}",
                "A line of some length that is repeated.\r\n".repeat(n % 20)
            )
            .into_bytes(),
        })
        .collect()
}

/// What came from the client.
#[derive(Debug, Clone)]
pub struct Command {
    /// In upper case; `GREETING` before the first.
    pub name: String,
    /// What follows it; empty for PASS.
    pub rest: String,
    /// Connections before this one.
    pub connection: usize,
    /// More commands came with it.
    pub more: bool,
}

impl Command {
    /// `RETR 3` and the like.
    pub fn is(&self, line: &str) -> bool {
        format!("{} {}", self.name, self.rest).trim_end() == line
    }
}

/// What happens after the answer.
pub enum Then {
    GoOn,
    Close,
    /// Says nothing any more, until the client goes.
    Hang,
    /// Says this, for 0, 1, 2 and so on, until the client goes.
    Endless(Box<dyn Fn(u64) -> Vec<u8>>),
}

/// An answer on its way out.
pub struct Reply {
    /// The first line, without its end.
    pub line: Vec<u8>,
    /// What follows; it is ended with a dot, and dots in it are doubled.
    pub body: Option<Vec<u8>>,
    /// What follows even that, as it stands.
    pub more: Vec<u8>,
    pub then: Then,
}

impl Reply {
    fn line(line: &str) -> Reply {
        Reply { line: line.into(), body: None, more: Vec::new(), then: Then::GoOn }
    }

    fn body(line: &str, body: Vec<u8>) -> Reply {
        Reply { body: Some(body), ..Reply::line(line) }
    }

    /// This line and nothing else.
    pub fn only(&mut self, line: impl AsRef<[u8]>) {
        self.line = line.as_ref().to_vec();
        self.body = None;
    }

    /// Only so many octets, and the end of the connection.
    pub fn cut(&mut self, octets: usize) {
        let mut all = self.octets();
        all.truncate(octets);
        self.as_it_stands(all);
        self.then = Then::Close;
    }

    /// All but the dot at the end.
    pub fn unfinished(&mut self) {
        let mut all = self.octets();
        all.truncate(all.len() - 3);
        self.as_it_stands(all);
    }

    /// Exactly these octets.
    pub fn as_it_stands(&mut self, octets: impl AsRef<[u8]>) {
        (self.line, self.body, self.more) = (Vec::new(), None, octets.as_ref().to_vec());
    }

    fn octets(&self) -> Vec<u8> {
        let mut all = Vec::new();
        if !self.line.is_empty() {
            all.extend_from_slice(&self.line);
            all.extend_from_slice(b"\r\n");
        }
        if let Some(body) = &self.body {
            let mut start = true;
            for &octet in body {
                if start && octet == b'.' {
                    all.push(b'.');
                }
                all.push(octet);
                start = all.ends_with(b"\r\n");
            }
            all.extend_from_slice(b".\r\n");
        }
        all.extend_from_slice(&self.more);
        all
    }
}

type Hook = dyn Fn(&Command, &mut Reply) + Send + Sync;

struct Shared {
    mails: Mutex<Vec<Mail>>,
    hook: Box<Hook>,
    capabilities: String,
    said: Mutex<Vec<String>>,
    tokens: Mutex<Option<Arc<Mutex<BTreeSet<String>>>>>,
    connections: AtomicUsize,
    stopped: AtomicBool,
    open: Mutex<Vec<TcpStream>>,
}

/// The server; `alice` with any password but `wrong`.
pub struct FakePop3 {
    pub port: u16,
    shared: Arc<Shared>,
}

impl FakePop3 {
    /// A server with these messages, these capabilities (none: it does not know CAPA) and this bad habit.
    pub fn start(
        capabilities: &str,
        mails: Vec<Mail>,
        hook: impl Fn(&Command, &mut Reply) + Send + Sync + 'static,
    ) -> FakePop3 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            mails: Mutex::new(mails),
            hook: Box::new(hook),
            capabilities: capabilities.replace(' ', "\r\n").replace('_', " "),
            said: Mutex::default(),
            tokens: Mutex::default(),
            connections: AtomicUsize::new(0),
            stopped: AtomicBool::new(false),
            open: Mutex::default(),
        });
        let server = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if server.stopped.load(Ordering::SeqCst) {
                    return;
                }
                let number = server.connections.fetch_add(1, Ordering::SeqCst);
                server.open.lock().unwrap().push(stream.try_clone().unwrap());
                let server = Arc::clone(&server);
                thread::spawn(move || serve(&server, stream, number));
            }
        });
        FakePop3 { port, shared }
    }

    /// From now on `alice` logs in with one of these access tokens, in two steps as at Microsoft.
    pub fn take_tokens(&self, tokens: &Arc<Mutex<BTreeSet<String>>>) {
        *self.shared.tokens.lock().unwrap() = Some(Arc::clone(tokens));
    }

    /// Every command so far, without passwords.
    pub fn said(&self) -> Vec<String> {
        self.shared.said.lock().unwrap().clone()
    }

    /// Forgets what was said.
    pub fn forget(&self) {
        self.shared.said.lock().unwrap().clear();
    }

    /// How often this was said.
    pub fn count(&self, what: &str) -> usize {
        self.said().iter().filter(|line| line.as_str() == what).count()
    }

    /// The maildrop as it is now.
    pub fn mails(&self) -> Vec<Mail> {
        self.shared.mails.lock().unwrap().clone()
    }

    /// Changes the maildrop.
    pub fn change(&self, change: impl FnOnce(&mut Vec<Mail>)) {
        change(&mut self.shared.mails.lock().unwrap());
    }
}

impl Drop for FakePop3 {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        // Wakes the one that waits in accept.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
        for stream in self.shared.open.lock().unwrap().iter() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn serve(shared: &Shared, stream: TcpStream, connection: usize) {
    stream.set_nodelay(true).unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mails = shared.mails.lock().unwrap().clone();
    let mut deleted = Vec::new();
    let greeting = Command { name: "GREETING".to_owned(), rest: String::new(), connection, more: false };
    if !send(shared, &stream, &mut reader, &greeting, Reply::line("+OK the fake one")) {
        return;
    }
    loop {
        let mut line = Vec::new();
        if reader.read_until(b'\n', &mut line).unwrap_or(0) == 0 {
            return;
        }
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        let (name, rest) = line.split_once(' ').unwrap_or((&line, ""));
        let name = name.to_ascii_uppercase();
        let secret = name == "PASS";
        let shown = if secret { "" } else { rest };
        let command = Command { name, rest: shown.to_owned(), connection, more: !reader.buffer().is_empty() };
        shared.said.lock().unwrap().push(format!("{} {shown}", command.name).trim_end().to_owned());
        let reply = match command.name.as_str() {
            "AUTH" => show_token(shared, &stream, &mut reader, rest),
            "PASS" if rest == "wrong" => Reply::line("-ERR [AUTH] wrong password"),
            name => answer(name, rest, &mails, &mut deleted, &shared.capabilities),
        };
        if command.name == "QUIT" && reply.line.starts_with(b"+OK") {
            let gone: Vec<&Vec<u8>> =
                deleted.iter().filter_map(|at| mails.get(*at).map(|m| &m.uidl)).collect();
            shared.mails.lock().unwrap().retain(|mail| !gone.contains(&&mail.uidl));
        }
        if !send(shared, &stream, &mut reader, &command, reply) || command.name == "QUIT" {
            return;
        }
    }
}

fn show_token(
    shared: &Shared,
    mut stream: &TcpStream,
    reader: &mut BufReader<TcpStream>,
    rest: &str,
) -> Reply {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    if rest != "XOAUTH2" {
        return Reply::line("-ERR Protocol error. Connection is closed. 10");
    }
    let mut say = |words: &str| {
        stream.write_all(words.as_bytes()).unwrap();
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    };
    let shown = String::from_utf8(STANDARD.decode(say("+ \r\n")).unwrap()).unwrap();
    let tokens = shared.tokens.lock().unwrap().clone();
    let whole = |token: &String| shown == format!("user=alice\u{1}auth=Bearer {token}\u{1}\u{1}");
    if tokens.is_some_and(|tokens| tokens.lock().unwrap().iter().any(whole)) {
        return Reply::line("+OK User successfully authenticated.");
    }
    let why = STANDARD.encode("{\"status\":\"401\",\"schemes\":\"bearer\"}");
    assert_eq!(say(&format!("+ {why}\r\n")), "", "an empty line is due");
    Reply::line("-ERR Authentication failure: unknown user name or bad password.")
}

fn answer(name: &str, rest: &str, mails: &[Mail], deleted: &mut Vec<usize>, capabilities: &str) -> Reply {
    let at = rest.split(' ').next().and_then(|n| n.parse::<usize>().ok()).and_then(|n| n.checked_sub(1));
    let mail = at.and_then(|at| mails.get(at));
    match (name, mail) {
        ("CAPA", _) if capabilities.is_empty() => Reply::line("-ERR unknown command"),
        ("CAPA", _) => Reply::body("+OK", format!("{capabilities}\r\n").into_bytes()),
        ("USER" | "PASS" | "NOOP" | "QUIT" | "RSET", _) => Reply::line("+OK"),
        ("STAT", _) => {
            Reply::line(&format!("+OK {} {}", mails.len(), mails.iter().map(|m| m.body.len()).sum::<usize>()))
        }
        ("LIST", Some(mail)) => Reply::line(&format!("+OK {rest} {}", mail.body.len())),
        ("UIDL", Some(mail)) => {
            let line = [format!("+OK {rest} ").as_bytes(), &mail.uidl].concat();
            Reply { line, ..Reply::line("") }
        }
        ("LIST" | "UIDL", None) if !rest.is_empty() => Reply::line("-ERR no such message"),
        ("LIST", _) => {
            let lines = mails.iter().enumerate();
            Reply::body(
                "+OK",
                lines.map(|(n, m)| format!("{} {}\r\n", n + 1, m.body.len())).collect::<String>().into(),
            )
        }
        ("UIDL", _) => {
            let line = |(n, m): (usize, &Mail)| [format!("{} ", n + 1).as_bytes(), &m.uidl, b"\r\n"].concat();
            Reply::body("+OK", mails.iter().enumerate().flat_map(line).collect())
        }
        ("RETR", Some(mail)) => Reply::body(&format!("+OK {} octets", mail.body.len()), mail.body.clone()),
        ("TOP", Some(mail)) => {
            let end = mail
                .body
                .windows(4)
                .position(|four| four == b"\r\n\r\n")
                .map_or(mail.body.len(), |at| at + 4);
            Reply::body("+OK", mail.body.get(..end).unwrap_or_default().to_vec())
        }
        ("DELE", Some(_)) => {
            deleted.extend(at);
            Reply::line("+OK")
        }
        ("RETR" | "TOP" | "DELE", None) => Reply::line("-ERR no such message"),
        _ => Reply::line("-ERR unknown command"),
    }
}

/// Sends an answer; a client that has gone is its own affair. Returns whether the session goes on.
fn send(
    shared: &Shared,
    mut stream: &TcpStream,
    reader: &mut BufReader<TcpStream>,
    command: &Command,
    mut reply: Reply,
) -> bool {
    (shared.hook)(command, &mut reply);
    let sent = stream.write_all(&reply.octets()).is_ok();
    match reply.then {
        Then::GoOn => return sent,
        Then::Close => {
            let _ = stream.shutdown(Shutdown::Write);
            // Without reading to the end, the kernel would answer with a reset and eat what was sent.
            let _ = stream.set_read_timeout(Some(Duration::from_secs(2)));
        }
        Then::Hang => {}
        Then::Endless(more) => {
            // Many pieces at once: a write for each would take minutes to reach a limit.
            let mut from = 0;
            while stream.write_all(&(from..from + 1000).flat_map(&more).collect::<Vec<u8>>()).is_ok() {
                from += 1000;
            }
        }
    }
    let _ = std::io::copy(reader, &mut std::io::sink());
    false
}
