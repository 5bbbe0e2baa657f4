//! An LMTP server that keeps what it takes in memory and answers truthfully, until a test's hook changes the
//! answer. One thread a connection; no TLS. It refuses line ends that are none, and whoever sends ahead without
//! being allowed to: both are written down as what was said.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "each test uses its part of the helper")]

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// Everything that a server may offer.
pub const ALL: &str = "PIPELINING SIZE_50000000 8BITMIME SMTPUTF8 ENHANCEDSTATUSCODES";

/// What came from the client.
#[derive(Debug, Clone, Default)]
pub struct Command {
    /// In upper case; `GREETING` before the first, `MESSAGE` after a message's end.
    pub name: String,
    /// What follows it.
    pub rest: String,
    /// The message.
    pub body: Vec<u8>,
    /// Connections before this one.
    pub connection: usize,
    /// Messages that came before this one, over all connections.
    pub message: usize,
}

/// What happens after the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    GoOn,
    Close,
    /// Says nothing any more, until the client goes.
    Hang,
    /// Repeats the answer until the client goes.
    Endless,
}

/// An answer on its way out.
#[derive(Debug)]
pub struct Answer {
    pub octets: Vec<u8>,
    /// Of a message: it is taken, whatever the answer says.
    pub taken: bool,
    pub then: Then,
}

impl Answer {
    /// This line; a message is taken if it says so.
    pub fn only(&mut self, line: &str) {
        self.octets = format!("{line}\r\n").into_bytes();
        self.taken = line.starts_with('2');
    }

    /// No answer, and the end.
    pub fn lose(&mut self) {
        self.octets.clear();
        self.then = Then::Close;
    }
}

/// A message that was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// `MAIL` and what follows.
    pub mail: String,
    pub recipient: String,
    pub body: Vec<u8>,
}

type Hook = dyn Fn(&Command, &mut Answer) + Send + Sync;

struct Shared {
    offers: Vec<String>,
    hook: Mutex<Arc<Hook>>,
    taken: Mutex<Vec<Taken>>,
    said: Mutex<Vec<String>>,
    connections: AtomicUsize,
    serving: AtomicUsize,
    messages: AtomicUsize,
    stopped: AtomicBool,
    open: Mutex<Vec<TcpStream>>,
}

/// The server.
pub struct FakeLmtp {
    pub port: u16,
    shared: Arc<Shared>,
}

impl FakeLmtp {
    /// A server with these offers, `_` for a space in one, and this bad habit.
    pub fn start(offers: &str, hook: impl Fn(&Command, &mut Answer) + Send + Sync + 'static) -> FakeLmtp {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            offers: offers.split_whitespace().map(|word| word.replace('_', " ")).collect(),
            hook: Mutex::new(Arc::new(hook)),
            taken: Mutex::default(),
            said: Mutex::default(),
            connections: AtomicUsize::new(0),
            serving: AtomicUsize::new(0),
            messages: AtomicUsize::new(0),
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
                server.serving.fetch_add(1, Ordering::SeqCst);
                let server = Arc::clone(&server);
                // Whoever goes away in the middle ends this thread.
                thread::spawn(move || {
                    serve(&server, &stream, number);
                    server.serving.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        FakeLmtp { port, shared }
    }

    /// Another habit from now on.
    pub fn habit(&self, hook: impl Fn(&Command, &mut Answer) + Send + Sync + 'static) {
        *self.shared.hook.lock().unwrap() = Arc::new(hook);
    }

    /// What was taken so far.
    pub fn taken(&self) -> Vec<Taken> {
        self.shared.taken.lock().unwrap().clone()
    }

    /// Forgets that.
    pub fn forget(&self) {
        self.shared.taken.lock().unwrap().clear();
    }

    /// The same, messages only.
    pub fn bodies(&self) -> Vec<Vec<u8>> {
        self.taken().into_iter().map(|taken| taken.body).collect()
    }

    /// Every command so far.
    pub fn said(&self) -> Vec<String> {
        self.shared.said.lock().unwrap().clone()
    }

    /// Connections that are served now.
    pub fn open(&self) -> usize {
        self.shared.serving.load(Ordering::SeqCst)
    }

    /// Connections so far.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }
}

impl Drop for FakeLmtp {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
        for stream in self.shared.open.lock().unwrap().iter() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// `None`: the client has gone.
fn serve(shared: &Shared, stream: &TcpStream, connection: usize) -> Option<()> {
    stream.set_nodelay(true).unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let ahead = shared.offers.iter().any(|offer| offer == "PIPELINING");
    let (mut mail, mut recipient) = (String::new(), String::new());
    let command = |name: &str, rest: &str| Command {
        name: name.to_owned(),
        rest: rest.to_owned(),
        connection,
        ..Command::default()
    };
    say(shared, stream, &command("GREETING", ""), "220 fake ready")?;
    loop {
        let line = String::from_utf8_lossy(&line(shared, &mut reader)?).into_owned();
        if !ahead && !reader.buffer().is_empty() {
            shared.said.lock().unwrap().push("AHEAD".to_owned());
        }
        shared.said.lock().unwrap().push(line.clone());
        let (name, rest) = line.split_once(' ').unwrap_or((&line, ""));
        let command = command(&name.to_ascii_uppercase(), rest);
        let answer = match command.name.as_str() {
            "LHLO" => {
                let lines: Vec<&str> =
                    ["fake"].into_iter().chain(shared.offers.iter().map(String::as_str)).collect();
                let last = lines.len() - 1;
                let code = |at: usize| if at == last { "250 " } else { "250-" };
                let lines: Vec<String> =
                    lines.iter().enumerate().map(|(at, line)| format!("{}{line}", code(at))).collect();
                lines.join("\r\n")
            }
            "MAIL" if !mail.is_empty() => "503 5.5.1 nested".to_owned(),
            "RCPT" if mail.is_empty() => "503 5.5.1 no sender".to_owned(),
            "DATA" if recipient.is_empty() => "503 5.5.1 nobody".to_owned(),
            "DATA" => "354 go".to_owned(),
            "QUIT" => "221 2.0.0 bye".to_owned(),
            "MAIL" | "RCPT" | "RSET" => "250 2.0.0 ok".to_owned(),
            _ => "500 5.5.1 what?".to_owned(),
        };
        let said = say(shared, stream, &command, &answer)?;
        match command.name.as_str() {
            "MAIL" if said == b'2' => mail = line.clone(),
            "RCPT" if said == b'2' => recipient = rest.to_owned(),
            "RSET" => (mail, recipient) = (String::new(), String::new()),
            "DATA" if said == b'3' && !recipient.is_empty() => {
                let body = message(shared, &mut reader)?;
                let number = shared.messages.fetch_add(1, Ordering::SeqCst);
                let command = Command { name: "MESSAGE".to_owned(), body, message: number, ..command };
                let mail = std::mem::take(&mut mail);
                let taken =
                    Taken { mail, recipient: std::mem::take(&mut recipient), body: command.body.clone() };
                deliver(shared, stream, &command, taken)?;
            }
            "QUIT" => return None,
            _ => {}
        }
    }
}

fn line(shared: &Shared, reader: &mut BufReader<TcpStream>) -> Option<Vec<u8>> {
    let mut line = Vec::new();
    if reader.read_until(b'\n', &mut line).ok()? == 0 {
        return None;
    }
    let Some(text) = line.strip_suffix(b"\r\n") else {
        shared.said.lock().unwrap().push("BARE LINE FEED".to_owned());
        return None;
    };
    Some(text.to_vec())
}

fn message(shared: &Shared, reader: &mut BufReader<TcpStream>) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = line(shared, reader)?;
        if line == b"." {
            return Some(body);
        }
        body.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
        body.extend_from_slice(b"\r\n");
    }
}

/// Answers; the first octet of what was said.
fn say(shared: &Shared, stream: &TcpStream, command: &Command, line: &str) -> Option<u8> {
    let mut answer = Answer { octets: format!("{line}\r\n").into_bytes(), taken: false, then: Then::GoOn };
    let hook = Arc::clone(&shared.hook.lock().unwrap());
    hook(command, &mut answer);
    send(stream, &answer)?;
    Some(answer.octets.first().copied().unwrap_or(b'?'))
}

fn deliver(shared: &Shared, stream: &TcpStream, command: &Command, message: Taken) -> Option<()> {
    let mut answer = Answer { octets: b"250 2.0.0 taken\r\n".to_vec(), taken: true, then: Then::GoOn };
    let hook = Arc::clone(&shared.hook.lock().unwrap());
    hook(command, &mut answer);
    if answer.taken {
        shared.taken.lock().unwrap().push(message);
    }
    send(stream, &answer)
}

fn send(mut stream: &TcpStream, answer: &Answer) -> Option<()> {
    stream.write_all(&answer.octets).ok()?;
    match answer.then {
        Then::GoOn => Some(()),
        Then::Close => {
            let _ = stream.shutdown(Shutdown::Both);
            None
        }
        Then::Hang => {
            // Until the client goes, or the test.
            let mut end = [0; 1];
            stream.set_read_timeout(Some(Duration::from_secs(1200))).ok()?;
            while std::io::Read::read(&mut stream, &mut end).ok()? > 0 {}
            None
        }
        Then::Endless => loop {
            stream.write_all(&answer.octets).ok()?;
        },
    }
}
