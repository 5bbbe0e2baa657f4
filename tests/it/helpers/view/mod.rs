//! What a mailbox at an IMAP server holds, read through the server without the code under test: the same
//! facts as of a Maildir++ tree, so that the two can be compared.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "each test uses its part of the helper"
)]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::helpers::maildir::{Message, Tree, sha};

/// One connection.
pub struct View {
    stream: BufReader<TcpStream>,
    tags: usize,
    prefix: String,
    delimiter: char,
}

/// One response: its text without literals, and the literals.
pub struct Line {
    pub text: String,
    pub literals: Vec<Vec<u8>>,
}

impl View {
    /// Logs in as `user`, on behalf of `whom` if that is somebody.
    pub fn open(port: u16, whom: &str, (user, password): (&str, &str)) -> View {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut view =
            View { stream: BufReader::new(stream), tags: 0, prefix: String::new(), delimiter: '/' };
        view.response();
        match whom {
            "" => view.ask(&format!("LOGIN \"{user}\" \"{password}\"")),
            whom => {
                let plain = STANDARD.encode(format!("{whom}\0{user}\0{password}"));
                view.ask(&format!("AUTHENTICATE PLAIN {plain}"))
            }
        };
        for line in view.ask("NAMESPACE") {
            if let Some(rest) = line.text.strip_prefix("* NAMESPACE ((\"") {
                let mut words = rest.split('"');
                view.prefix = words.next().unwrap().to_owned();
                view.delimiter = words.nth(1).unwrap().chars().next().unwrap();
            }
        }
        view
    }

    /// Sends a command, demands OK, and returns the untagged responses.
    #[track_caller]
    pub fn ask(&mut self, command: &str) -> Vec<Line> {
        match self.try_ask(command) {
            Ok(lines) => lines,
            Err(said) => panic!("{command}: {said}"),
        }
    }

    /// The same; `Err`: what the server said instead.
    pub fn try_ask(&mut self, command: &str) -> Result<Vec<Line>, String> {
        self.tags += 1;
        let tag = format!("V{} ", self.tags);
        self.stream.get_mut().write_all(format!("{tag}{command}\r\n").as_bytes()).unwrap();
        let mut lines = Vec::new();
        loop {
            let line = self.response();
            match line.text.strip_prefix(&tag) {
                Some(said) if said.starts_with("OK") => return Ok(lines),
                Some(said) => return Err(said.to_owned()),
                None => lines.push(line),
            }
        }
    }

    /// Stores a message.
    pub fn append(&mut self, folder: &str, flags: &str, message: &[u8]) {
        let text = String::from_utf8(message.to_vec()).unwrap();
        self.ask(&format!("APPEND \"{folder}\" ({flags}) {{{}+}}\r\n{text}", message.len()));
    }

    fn response(&mut self) -> Line {
        let mut line = Line { text: String::new(), literals: Vec::new() };
        loop {
            let mut piece = Vec::new();
            self.stream.read_until(b'\n', &mut piece).unwrap();
            assert!(piece.ends_with(b"\r\n"), "the server hung up: {}", line.text);
            piece.truncate(piece.len() - 2);
            let piece = String::from_utf8(piece).unwrap();
            let literal = piece.strip_suffix('}').and_then(|p| p.rsplit_once('{'));
            let Some((before, length)) = literal.filter(|(_, n)| n.parse::<usize>().is_ok()) else {
                line.text += &piece;
                return line;
            };
            line.text += before;
            let mut literal = vec![0; length.parse().unwrap()];
            self.stream.read_exact(&mut literal).unwrap();
            line.literals.push(literal);
        }
    }

    /// The server's names of the folders that can be opened.
    pub fn folders(&mut self, verb: &str) -> Vec<String> {
        let lines = self.ask(&format!("{verb} \"\" \"*\""));
        let lines = lines.iter().filter(|l| l.text.starts_with(&format!("* {verb}")));
        lines.filter(|l| !l.text.to_lowercase().contains("\\no")).map(name).collect()
    }

    /// The directory that a Maildir++ would have for a folder.
    fn directory(&self, name: &str) -> String {
        if name.eq_ignore_ascii_case("INBOX") {
            return String::new();
        }
        let own = name.strip_prefix(&self.prefix).unwrap_or(name);
        own.split(self.delimiter).fold(String::new(), |sum, level| sum + "." + level)
    }

    /// Everything. A message's name says its UIDVALIDITY and UID.
    pub fn tree(&mut self) -> Tree {
        let mut tree = Tree::default();
        for folder in self.folders("LIST") {
            let opened = self.ask(&format!("EXAMINE \"{}\"", escaped(&folder)));
            let validity = opened.iter().find_map(|l| after(&l.text, "[UIDVALIDITY ")).unwrap();
            let fetched = match opened.iter().any(|l| l.text == "* 0 EXISTS") {
                true => Vec::new(),
                false => self.ask("UID FETCH 1:* (UID FLAGS INTERNALDATE BODY.PEEK[])"),
            };
            let messages =
                fetched.iter().filter(|l| l.text.contains(" FETCH (")).map(|l| message(l, &validity));
            tree.folders.insert(self.directory(&folder), messages.collect());
        }
        let subscribed = self.folders("LSUB");
        tree.subscriptions = subscribed.iter().map(|name| self.directory(name)).collect();
        tree
    }
}

/// Folder, UIDVALIDITY, UID and octets of every message.
pub fn places(tree: &Tree) -> Vec<String> {
    tree.messages().map(|(folder, m)| format!("{folder} {} {}", m.name, m.sha)).collect()
}

fn escaped(name: &str) -> String {
    name.replace('\\', "\\\\").replace('"', "\\\"")
}

/// The name at the end of a LIST line.
fn name(line: &Line) -> String {
    if let Some(literal) = line.literals.first() {
        return String::from_utf8(literal.clone()).unwrap();
    }
    // `* LIST (\A \B) "/" NAME`
    let rest = line.text.split_once(") ").unwrap().1.split_once(' ').unwrap().1;
    match rest.strip_prefix('"') {
        Some(quoted) => quoted.strip_suffix('"').unwrap().replace("\\\"", "\"").replace("\\\\", "\\"),
        None => rest.to_owned(),
    }
}

/// The word behind `before`.
fn after(text: &str, before: &str) -> Option<String> {
    let rest = &text[text.find(before)? + before.len()..];
    Some(rest.chars().take_while(char::is_ascii_alphanumeric).collect())
}

fn message(line: &Line, validity: &str) -> Message {
    let text = &line.text;
    let words = &text[text.find("FLAGS (").unwrap() + 7..];
    let words = words[..words.find(')').unwrap()].split(' ').filter(|word| !word.is_empty());
    let (mut flags, mut keywords) = (Vec::new(), BTreeSet::new());
    for word in words {
        match word {
            "\\Draft" => flags.push('D'),
            "\\Flagged" => flags.push('F'),
            "\\Answered" => flags.push('R'),
            "\\Seen" => flags.push('S'),
            "\\Deleted" => flags.push('T'),
            "\\Recent" => {}
            word => {
                keywords.insert(word.to_owned());
            }
        }
    }
    flags.sort_unstable();
    let date = text[text.find("INTERNALDATE \"").unwrap() + 14..].split('"').next().unwrap().trim_start();
    let date = jiff::fmt::strtime::parse("%d-%b-%Y %H:%M:%S %z", date).unwrap().to_timestamp().unwrap();
    Message {
        sha: sha(line.literals.first().map_or(&[][..], Vec::as_slice)),
        flags: flags.into_iter().collect(),
        keywords,
        mtime: date.as_second(),
        name: format!("{validity}.{}", after(&text.replace('(', " "), " UID ").unwrap()),
        new: false,
        path: PathBuf::new(),
    }
}
