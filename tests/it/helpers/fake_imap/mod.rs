//! An IMAP server with a small mailbox in memory that answers truthfully, until a test's hook changes the
//! answer. One thread a connection; no TLS. It refuses nothing but wrong passwords.
//!
//! A hook sees each command with the answer that is about to go out, and may change, shorten or replace it,
//! close the connection after it, or say nothing any more.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "each test uses its part of the helper"
)]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// A message at the server; line ends are CRLF.
#[derive(Debug, Clone)]
pub struct Mail {
    pub uid: u32,
    pub body: Vec<u8>,
    pub flags: String,
    pub date: String,
}

/// A folder, by its name on the wire.
#[derive(Debug, Clone)]
pub struct Folder {
    pub name: Vec<u8>,
    pub attributes: String,
    pub uidvalidity: u32,
    pub mails: Vec<Mail>,
    pub subscribed: bool,
}

impl Folder {
    /// A folder with so many messages, which differ from all others.
    pub fn new(name: impl AsRef<[u8]>, count: u32) -> Folder {
        let shown = String::from_utf8_lossy(name.as_ref()).into_owned();
        let mails = (1..=count)
            .map(|uid| Mail {
                uid,
                body: format!(
                    "From: a@example.com\r\nSubject: {uid} in {}\r\n\r\n{}",
                    shown.escape_default(),
                    "A line of some length that is repeated.\r\n".repeat(uid as usize % 50)
                )
                .into_bytes(),
                flags: ["", "\\Seen", "\\Seen \\Answered", "\\Flagged $Forwarded"][uid as usize % 4]
                    .to_owned(),
                date: format!("{:2}-Jan-2020 10:00:{:02} +0000", uid % 28 + 1, uid % 60),
            })
            .collect();
        let name = name.as_ref().to_vec();
        Folder { name, attributes: String::new(), uidvalidity: 77, mails, subscribed: true }
    }
}

/// What came from the client.
#[derive(Debug, Clone)]
pub struct Command {
    pub tag: String,
    /// In upper case; `UID FETCH` is one word.
    pub name: String,
    /// The rest of the line, literals in their place.
    pub rest: Vec<u8>,
    /// The folder that is open, as it is called on the wire.
    pub folder: Option<Vec<u8>>,
    /// Connections before this one.
    pub connection: usize,
}

impl Command {
    /// A FETCH that asks for bodies.
    pub fn wants_bodies(&self) -> bool {
        self.name.ends_with("FETCH") && upper(&self.rest).contains("BODY")
    }

    /// The folder that is open has this name.
    pub fn is_in(&self, folder: &str) -> bool {
        self.folder.as_deref() == Some(folder.as_bytes())
    }
}

/// What happens after the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    GoOn,
    Close,
    /// Says nothing any more, until the client goes.
    Hang,
}

/// An answer on its way out: whole responses, each with its CRLF.
#[derive(Debug, Clone)]
pub struct Reply {
    pub untagged: Vec<Vec<u8>>,
    pub tagged: Vec<u8>,
    pub then: Then,
}

impl Reply {
    /// `TAG NO words` or the like instead of the tagged OK.
    pub fn tagged(&mut self, command: &Command, words: &str) {
        self.tagged = format!("{} {words}\r\n", command.tag).into_bytes();
    }

    /// The FETCH response for a message.
    pub fn of(&mut self, uid: u32) -> Option<&mut Vec<u8>> {
        let start = format!("FETCH (UID {uid}");
        self.untagged.iter_mut().find(|line| {
            let head = &line[..line.len().min(80)];
            let text = String::from_utf8_lossy(head);
            text.split_once(&start).is_some_and(|(_, rest)| rest.starts_with([' ', ')']))
        })
    }

    /// Only the first `keep` responses, then this and the end of the connection.
    pub fn cut(&mut self, keep: usize, last: &str) {
        self.untagged.truncate(keep);
        self.untagged.push(last.as_bytes().to_vec());
        self.tagged.clear();
        self.then = Then::Close;
    }
}

type Hook = dyn Fn(&Command, &mut Reply) + Send + Sync;

struct Shared {
    boxes: Mutex<Vec<Folder>>,
    hook: Box<Hook>,
    capability: String,
    said: Mutex<Vec<String>>,
    tokens: Mutex<Option<Arc<Mutex<BTreeSet<String>>>>>,
    connections: AtomicUsize,
    stopped: AtomicBool,
    open: Mutex<Vec<TcpStream>>,
}

/// The server; `alice` with the password `secret`.
pub struct FakeImap {
    pub port: u16,
    shared: Arc<Shared>,
}

impl FakeImap {
    /// A server with these folders and this bad habit.
    pub fn start(
        boxes: Vec<Folder>,
        hook: impl Fn(&Command, &mut Reply) + Send + Sync + 'static,
    ) -> FakeImap {
        FakeImap::with_capability("IMAP4rev1 ID NAMESPACE SPECIAL-USE SASL-IR AUTH=PLAIN", boxes, hook)
    }

    /// The same, with other capabilities.
    pub fn with_capability(
        capability: &str,
        boxes: Vec<Folder>,
        hook: impl Fn(&Command, &mut Reply) + Send + Sync + 'static,
    ) -> FakeImap {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            boxes: Mutex::new(boxes),
            hook: Box::new(hook),
            capability: capability.to_owned(),
            said: Mutex::new(Vec::new()),
            tokens: Mutex::default(),
            connections: AtomicUsize::new(0),
            stopped: AtomicBool::new(false),
            open: Mutex::new(Vec::new()),
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
                thread::spawn(move || Session::new(server, stream, number).serve());
            }
        });
        FakeImap { port, shared }
    }

    /// From now on `alice` logs in with one of these access tokens.
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

    /// The commands so far that asked for bodies.
    pub fn body_fetches(&self) -> usize {
        self.said()
            .iter()
            .filter(|line| line.contains("FETCH") && line.to_uppercase().contains("BODY"))
            .count()
    }

    /// How many connections there were.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Changes the mailbox.
    pub fn change(&self, change: impl FnOnce(&mut Vec<Folder>)) {
        change(&mut self.shared.boxes.lock().unwrap());
    }

    /// The mailbox as it is now.
    pub fn boxes(&self) -> Vec<Folder> {
        self.shared.boxes.lock().unwrap().clone()
    }

    /// Waits until a command for which `which` holds has come.
    pub fn heard(&self, what: &str, limit: Duration, which: impl Fn(&str) -> bool) {
        let until = Instant::now() + limit;
        while !self.said().iter().any(|line| which(line)) {
            assert!(Instant::now() < until, "the client did not say {what}: {:?}", self.said());
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for FakeImap {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        // Wakes the one that waits in accept.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
        for stream in self.shared.open.lock().unwrap().iter() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// A hook that does nothing.
pub fn honest(_: &Command, _: &mut Reply) {}

/// A hook that misbehaves the first `times` times that `when` holds.
pub fn at_first(
    times: usize,
    when: impl Fn(&Command) -> bool + Send + Sync + 'static,
    what: impl Fn(&Command, &mut Reply) + Send + Sync + 'static,
) -> impl Fn(&Command, &mut Reply) + Send + Sync + 'static {
    let done = AtomicUsize::new(0);
    move |command, reply| {
        if when(command) && done.fetch_add(1, Ordering::SeqCst) < times {
            what(command, reply);
        }
    }
}

struct Session {
    shared: Arc<Shared>,
    reader: BufReader<TcpStream>,
    writer: TcpStream,
    number: usize,
    folder: Option<Vec<u8>>,
    in_: bool,
}

impl Session {
    fn new(shared: Arc<Shared>, stream: TcpStream, number: usize) -> Session {
        stream.set_nodelay(true).unwrap();
        let reader = BufReader::new(stream.try_clone().unwrap());
        Session { shared, reader, writer: stream, number, folder: None, in_: false }
    }

    fn serve(mut self) {
        let greeting = Command {
            tag: "*".to_owned(),
            name: "GREETING".to_owned(),
            rest: Vec::new(),
            folder: None,
            connection: self.number,
        };
        let mut reply =
            Reply { untagged: Vec::new(), tagged: b"* OK the fake one\r\n".to_vec(), then: Then::GoOn };
        (self.shared.hook)(&greeting, &mut reply);
        if self.send(&reply) != Then::GoOn {
            return;
        }
        while let Some(line) = self.line() {
            let Some(command) = self.command(&line) else { continue };
            let shown = String::from_utf8_lossy(&command.rest).into_owned();
            let secret = matches!(command.name.as_str(), "LOGIN" | "AUTHENTICATE");
            let said = if secret { command.name.clone() } else { format!("{} {shown}", command.name) };
            let open = command.folder.as_ref().map(|name| String::from_utf8_lossy(name).into_owned());
            self.shared.said.lock().unwrap().push(match open {
                Some(folder) => format!("[{folder}] {said}"),
                None => said,
            });
            let mut reply = self.answer(&command);
            (self.shared.hook)(&command, &mut reply);
            if self.send(&reply) != Then::GoOn || command.name == "LOGOUT" {
                return;
            }
        }
    }

    /// Sends an answer; a client that has gone is its own affair.
    fn send(&mut self, reply: &Reply) -> Then {
        let mut all: Vec<u8> = reply.untagged.concat();
        all.extend_from_slice(&reply.tagged);
        let sent = self.writer.write_all(&all);
        match reply.then {
            Then::GoOn if sent.is_err() => Then::Close,
            Then::Close => {
                let _ = self.writer.shutdown(Shutdown::Write);
                // Without reading to the end, the kernel would answer with a reset and eat what was sent.
                let _ = self.writer.set_read_timeout(Some(Duration::from_secs(2)));
                let _ = std::io::copy(&mut self.reader, &mut std::io::sink());
                Then::Close
            }
            Then::Hang => {
                let _ = std::io::copy(&mut self.reader, &mut std::io::sink());
                Then::Close
            }
            Then::GoOn => Then::GoOn,
        }
    }

    /// A line with its literals, without the last CRLF.
    fn line(&mut self) -> Option<Vec<u8>> {
        let mut all = Vec::new();
        loop {
            let mut line = Vec::new();
            if self.reader.read_until(b'\n', &mut line).ok()? == 0 {
                return None;
            }
            while matches!(line.last(), Some(b'\r' | b'\n')) {
                line.pop();
            }
            let literal = line.strip_suffix(b"}").and_then(|start| {
                let open = start.iter().rposition(|&b| b == b'{')?;
                let digits = std::str::from_utf8(&start[open + 1..]).ok()?;
                let waits = !digits.ends_with('+');
                Some((digits.trim_end_matches('+').parse::<usize>().ok()?, waits))
            });
            all.extend_from_slice(&line);
            let Some((length, waits)) = literal else { return Some(all) };
            if waits {
                self.writer.write_all(b"+ go on\r\n").ok()?;
            }
            all.extend_from_slice(b"\r\n");
            let mut octets = vec![0; length];
            self.reader.read_exact(&mut octets).ok()?;
            all.extend_from_slice(&octets);
        }
    }

    fn command(&self, line: &[u8]) -> Option<Command> {
        let (tag, rest) = word(line);
        let (name, rest) = word(rest);
        let mut name = upper(name);
        let mut rest = rest;
        if name == "UID" {
            let (second, after) = word(rest);
            name = format!("UID {}", upper(second));
            rest = after;
        }
        (!name.is_empty()).then(|| Command {
            tag: String::from_utf8_lossy(tag).into_owned(),
            name,
            rest: rest.to_vec(),
            folder: self.folder.clone(),
            connection: self.number,
        })
    }

    fn answer(&mut self, command: &Command) -> Reply {
        let mut untagged = Vec::new();
        let result = if self.in_ || before_login(&command.name) {
            self.act(command, &mut untagged)
        } else {
            Err("BAD log in first".to_owned())
        };
        let words = match result {
            Ok(words) => format!("OK {words}"),
            Err(words) => words,
        };
        let tagged = format!("{} {words}\r\n", command.tag).into_bytes();
        Reply { untagged, tagged, then: Then::GoOn }
    }

    fn act(&mut self, command: &Command, out: &mut Vec<Vec<u8>>) -> Result<String, String> {
        let rest = command.rest.as_slice();
        match command.name.as_str() {
            "CAPABILITY" => {
                out.push(format!("* CAPABILITY {}\r\n", self.shared.capability).into_bytes());
            }
            "ID" => out.push(b"* ID (\"name\" \"fake\")\r\n".to_vec()),
            "NAMESPACE" => out.push(b"* NAMESPACE ((\"\" \"/\")) NIL NIL\r\n".to_vec()),
            "LOGIN" => {
                let (user, rest) = string(rest);
                let (password, _) = string(rest);
                return self.log_in(&user, &password);
            }
            "AUTHENTICATE" => {
                let (mechanism, initial) = word(rest);
                let mut initial = initial.to_vec();
                if initial.len() > 4096 {
                    return Err("BAD Protocol error. Connection is closed. 10".to_owned());
                }
                if initial.is_empty() {
                    self.writer.write_all(b"+ \r\n").map_err(|e| e.to_string())?;
                    initial = self.line().unwrap_or_default();
                }
                let plain = STANDARD.decode(initial).map_err(|_| "BAD base64".to_owned())?;
                if mechanism != b"PLAIN" {
                    return self.show_token(mechanism, &plain);
                }
                let mut parts = plain.split(|&b| b == 0).skip(1);
                let (user, password) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
                return self.log_in(user, password);
            }
            "LIST" | "LSUB" => self.list(command, out),
            "EXAMINE" | "SELECT" => return self.open(command, out),
            "STATUS" => {
                let (name, _) = string(rest);
                let boxes = self.shared.boxes.lock().unwrap();
                let found = boxes.iter().find(|b| b.name == name).ok_or("NO no such folder")?;
                let next = found.mails.iter().map(|m| m.uid).max().unwrap_or(0) + 1;
                let mut line = b"* STATUS ".to_vec();
                line.extend_from_slice(&quoted(&name));
                let octets: usize = found.mails.iter().map(|m| m.body.len()).sum();
                line.extend_from_slice(
                    format!(
                        " (MESSAGES {} UIDNEXT {next} UIDVALIDITY {} SIZE {octets})\r\n",
                        found.mails.len(),
                        found.uidvalidity
                    )
                    .as_bytes(),
                );
                out.push(line);
            }
            "UID FETCH" | "FETCH" => self.fetch(command, out)?,
            "UID SEARCH" | "SEARCH" => {
                let mails = self.mails()?;
                let uids = mails.iter().enumerate().fold(String::new(), |sum, (at, mail)| {
                    let number = if command.name == "SEARCH" { at as u32 + 1 } else { mail.uid };
                    format!("{sum} {number}")
                });
                out.push(format!("* SEARCH{uids}\r\n").into_bytes());
            }
            "UID STORE" => self.store(command)?,
            "UID EXPUNGE" | "EXPUNGE" => self.expunge(command, out)?,
            "CLOSE" | "UNSELECT" => self.folder = None,
            "LOGOUT" => out.push(b"* BYE until then\r\n".to_vec()),
            "NOOP" | "CHECK" => {}
            other => return Err(format!("BAD {other} is unknown here")),
        }
        Ok("done".to_owned())
    }

    /// XOAUTH2 and OAUTHBEARER; a refusal is a challenge first, which wants an answer.
    fn show_token(&mut self, mechanism: &[u8], shown: &[u8]) -> Result<String, String> {
        let shown = String::from_utf8_lossy(shown).into_owned();
        let tokens = self.shared.tokens.lock().unwrap().clone();
        let whole = |token: &String| match mechanism {
            b"XOAUTH2" => shown == format!("user=alice\u{1}auth=Bearer {token}\u{1}\u{1}"),
            _ => {
                shown.starts_with("n,a=alice,\u{1}")
                    && shown.ends_with(&format!("\u{1}auth=Bearer {token}\u{1}\u{1}"))
            }
        };
        if tokens.is_some_and(|tokens| tokens.lock().unwrap().iter().any(whole)) {
            self.in_ = true;
            return Ok("AUTHENTICATE completed.".to_owned());
        }
        let why = STANDARD
            .encode("{\"status\":\"400\",\"schemes\":\"Bearer\",\"scope\":\"https://mail.google.com/\"}");
        self.writer.write_all(format!("+ {why}\r\n").as_bytes()).map_err(|e| e.to_string())?;
        let answer = self.line().unwrap_or_default();
        if !answer.is_empty() {
            return Err("BAD an empty line was due".to_owned());
        }
        // A server may say again what it heard.
        Err(format!("NO AUTHENTICATE failed. {shown}"))
    }

    fn log_in(&mut self, user: &[u8], password: &[u8]) -> Result<String, String> {
        if (user, password) != (b"alice".as_slice(), b"secret".as_slice()) {
            return Err("NO [AUTHENTICATIONFAILED] wrong user or password".to_owned());
        }
        self.in_ = true;
        Ok("logged in".to_owned())
    }

    fn list(&self, command: &Command, out: &mut Vec<Vec<u8>>) {
        let (_, rest) = string(&command.rest);
        let (pattern, _) = string(rest);
        if command.name == "LIST" && pattern.is_empty() {
            out.push(b"* LIST (\\Noselect) \"/\" \"\"\r\n".to_vec());
            return;
        }
        for found in self.shared.boxes.lock().unwrap().iter() {
            let matches = matches!(pattern.as_slice(), b"*" | b"%")
                || pattern.eq_ignore_ascii_case(&found.name)
                || pattern.strip_suffix(b"*").is_some_and(|start| found.name.starts_with(start));
            if !matches || (command.name == "LSUB" && !found.subscribed) {
                continue;
            }
            let mut line = format!("* {} ({}) \"/\" ", command.name, found.attributes).into_bytes();
            line.extend_from_slice(&quoted(&found.name));
            line.extend_from_slice(b"\r\n");
            out.push(line);
        }
    }

    fn open(&mut self, command: &Command, out: &mut Vec<Vec<u8>>) -> Result<String, String> {
        let (name, _) = string(&command.rest);
        let boxes = self.shared.boxes.lock().unwrap();
        // INBOX alone has no case (RFC 3501, 5.1).
        let is_inbox = |name: &[u8]| name.eq_ignore_ascii_case(b"INBOX");
        let found = boxes.iter().find(|b| b.name == name || (is_inbox(&b.name) && is_inbox(&name)));
        let Some(found) = found else {
            self.folder = None;
            return Err("NO [NONEXISTENT] no such folder".to_owned());
        };
        let next = found.mails.iter().map(|m| m.uid).max().unwrap_or(0) + 1;
        for line in [
            "FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft $Forwarded)".to_owned(),
            "OK [PERMANENTFLAGS ()] read-only".to_owned(),
            format!("{} EXISTS", found.mails.len()),
            "0 RECENT".to_owned(),
            format!("OK [UIDVALIDITY {}] as ever", found.uidvalidity),
            format!("OK [UIDNEXT {next}] the next one"),
        ] {
            out.push(format!("* {line}\r\n").into_bytes());
        }
        self.folder = Some(found.name.clone());
        let mode = if command.name == "SELECT" { "READ-WRITE" } else { "READ-ONLY" };
        Ok(format!("[{mode}] open"))
    }

    fn mails(&self) -> Result<Vec<Mail>, String> {
        let name = self.folder.as_ref().ok_or("BAD no folder is open")?;
        let boxes = self.shared.boxes.lock().unwrap();
        let found = boxes.iter().find(|b| b.name == *name).ok_or("NO the folder has gone")?;
        Ok(found.mails.clone())
    }

    /// `+FLAGS.SILENT (\\Deleted)` and the like: flags are added.
    fn store(&self, command: &Command) -> Result<(), String> {
        let name = self.folder.as_ref().ok_or("BAD no folder is open")?;
        let mut boxes = self.shared.boxes.lock().unwrap();
        let found = boxes.iter_mut().find(|b| b.name == *name).ok_or("NO the folder has gone")?;
        let (set, rest) = word(&command.rest);
        let wanted = numbers(&String::from_utf8_lossy(set), u32::MAX).ok_or("BAD what set is that?")?;
        let rest = String::from_utf8_lossy(rest).into_owned();
        let flags = rest.split_once('(').and_then(|(_, f)| f.split_once(')')).map_or("", |f| f.0);
        for mail in &mut found.mails {
            if wanted.iter().any(|(low, high)| (*low..=*high).contains(&mail.uid)) {
                mail.flags = format!("{} {flags}", mail.flags).trim().to_owned();
            }
        }
        Ok(())
    }

    fn expunge(&self, command: &Command, out: &mut Vec<Vec<u8>>) -> Result<(), String> {
        let name = self.folder.as_ref().ok_or("BAD no folder is open")?;
        let mut boxes = self.shared.boxes.lock().unwrap();
        let found = boxes.iter_mut().find(|b| b.name == *name).ok_or("NO the folder has gone")?;
        let set = String::from_utf8_lossy(&command.rest).into_owned();
        let set = if command.name == "EXPUNGE" { "1:*".to_owned() } else { set };
        let wanted = numbers(&set, u32::MAX).ok_or("BAD what set is that?")?;
        let mut at = 0;
        while let Some(mail) = found.mails.get(at) {
            let asked = wanted.iter().any(|(low, high)| (*low..=*high).contains(&mail.uid));
            if asked && mail.flags.contains("\\Deleted") {
                found.mails.remove(at);
                out.push(format!("* {} EXPUNGE\r\n", at + 1).into_bytes());
            } else {
                at += 1;
            }
        }
        Ok(())
    }

    fn fetch(&self, command: &Command, out: &mut Vec<Vec<u8>>) -> Result<(), String> {
        let mails = self.mails()?;
        let (set, items) = word(&command.rest);
        let by_uid = command.name == "UID FETCH";
        let last = if by_uid { mails.last().map_or(0, |m| m.uid) } else { mails.len() as u32 };
        let wanted = numbers(&String::from_utf8_lossy(set), last).ok_or("BAD what set is that?")?;
        let items = upper(items);
        for (at, mail) in mails.iter().enumerate() {
            let number = at as u32 + 1;
            if wanted
                .iter()
                .any(|(low, high)| (*low..=*high).contains(if by_uid { &mail.uid } else { &number }))
            {
                out.push(response(number, mail, &items));
            }
        }
        Ok(())
    }
}

/// A FETCH response with these items.
pub fn response(number: u32, mail: &Mail, items: &str) -> Vec<u8> {
    let mut parts: Vec<Vec<u8>> = vec![format!("UID {}", mail.uid).into_bytes()];
    if items.contains("RFC822.SIZE") {
        parts.push(format!("RFC822.SIZE {}", mail.body.len()).into_bytes());
    }
    if items.contains("FLAGS") {
        parts.push(format!("FLAGS ({})", mail.flags).into_bytes());
    }
    if items.contains("X-GM-MSGID") {
        // The same for the same message, whatever its label.
        let id =
            mail.body.iter().fold(7u64, |sum, octet| (sum << 5 ^ sum >> 3).wrapping_add((*octet).into()));
        parts.push(format!("X-GM-MSGID {}", id >> 1).into_bytes());
    }
    if items.contains("INTERNALDATE") {
        parts.push(format!("INTERNALDATE \"{}\"", mail.date).into_bytes());
    }
    let body = |label: String, octets: &[u8]| {
        let mut part = format!("{label} {{{}}}\r\n", octets.len()).into_bytes();
        part.extend_from_slice(octets);
        part
    };
    let head = mail.body.windows(4).position(|four| four == b"\r\n\r\n").map_or(mail.body.len(), |at| at + 4);
    if items.contains("BODY.PEEK[]<") || items.contains("BODY[]<") {
        let range = items.split_once("]<").and_then(|(_, rest)| rest.split_once('>')).map_or("0.0", |r| r.0);
        let (from, count) = range.split_once('.').unwrap_or((range, "0"));
        let (from, count): (usize, usize) = (from.parse().unwrap_or(0), count.parse().unwrap_or(0));
        let octets = &mail.body[from.min(mail.body.len())..(from + count).min(mail.body.len())];
        parts.push(body(format!("BODY[]<{from}>"), octets));
    } else if items.contains("BODY.PEEK[]") || items.contains("BODY[]") {
        parts.push(body("BODY[]".to_owned(), &mail.body));
    } else if items.contains("[HEADER]") {
        parts.push(body("BODY[HEADER]".to_owned(), &mail.body[..head]));
    }
    let mut line = format!("* {number} FETCH (").into_bytes();
    line.extend_from_slice(&parts.join(&b' '));
    line.extend_from_slice(b")\r\n");
    line
}

fn before_login(name: &str) -> bool {
    matches!(name, "CAPABILITY" | "ID" | "LOGIN" | "AUTHENTICATE" | "LOGOUT" | "NOOP")
}

fn upper(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).to_uppercase()
}

fn word(line: &[u8]) -> (&[u8], &[u8]) {
    match line.iter().position(|&b| b == b' ') {
        Some(at) => (&line[..at], &line[at + 1..]),
        None => (line, &[]),
    }
}

/// An atom, a quoted string or a literal, and what comes after it.
fn string(line: &[u8]) -> (Vec<u8>, &[u8]) {
    match line.first() {
        Some(b'"') => {
            let mut value = Vec::new();
            let mut at = 1;
            while at < line.len() && line[at] != b'"' {
                if line[at] == b'\\' {
                    at += 1;
                }
                value.extend(line.get(at));
                at += 1;
            }
            (value, line.get(at + 2..).unwrap_or_default())
        }
        Some(b'{') => {
            let close = line.iter().position(|&b| b == b'}').unwrap_or(0);
            let digits = String::from_utf8_lossy(&line[1..close]);
            let length: usize = digits.trim_end_matches('+').parse().unwrap_or(0);
            let start = (close + 3).min(line.len());
            let end = (start + length).min(line.len());
            (line[start..end].to_vec(), line.get(end + 1..).unwrap_or_default())
        }
        _ => {
            let (first, rest) = word(line);
            (first.to_vec(), rest)
        }
    }
}

/// As a quoted string, or as a literal if it has octets that a quoted string cannot carry.
pub fn quoted(name: &[u8]) -> Vec<u8> {
    if name.iter().any(|b| matches!(b, b'\r' | b'\n' | 0) || *b >= 0x80) {
        let mut literal = format!("{{{}}}\r\n", name.len()).into_bytes();
        literal.extend_from_slice(name);
        return literal;
    }
    let mut out = vec![b'"'];
    for &octet in name {
        if matches!(octet, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(octet);
    }
    out.push(b'"');
    out
}

fn numbers(set: &str, last: u32) -> Option<BTreeSet<(u32, u32)>> {
    let one = |text: &str| if text == "*" { Some(last) } else { text.parse::<u32>().ok() };
    set.split(',')
        .map(|part| match part.split_once(':') {
            Some((from, to)) => {
                let (from, to) = (one(from)?, one(to)?);
                Some((from.min(to), from.max(to)))
            }
            None => one(part).map(|number| (number, number)),
        })
        .collect()
}
