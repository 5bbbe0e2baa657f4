//! A real IMAP server behind a wire with moods: each command may be refused or cost the connection before the server
//! hears of it. Connections are counted, and what was appended is told. It refuses to change anything else.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "each test uses its part of the helper"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What becomes of a command.
pub enum Mood {
    /// The server hears it.
    Good,
    /// These words instead of an answer, behind the tag.
    Says(String),
    /// The connection ends without an answer.
    Reset,
    /// Nothing is said any more, until the client goes.
    Hangs,
    /// The server hears it, and these words come instead of its answer, behind the tag.
    Instead(String),
    /// The server hears it, and the connection ends before its answer.
    Forgets,
    /// The server hears it, and each line of its answer is changed.
    Tells(fn(String) -> String),
}

/// A command without its tag, with its literals in place.
pub struct Heard<'h> {
    pub words: &'h str,
    pub literals: &'h [Vec<u8>],
}

impl Heard<'_> {
    pub fn is(&self, verb: &str) -> bool {
        self.words.get(..verb.len()).is_some_and(|start| start.eq_ignore_ascii_case(verb))
    }

    /// Whether one of its messages has this in it.
    pub fn holds(&self, mark: &[u8]) -> bool {
        self.literals.iter().any(|text| text.windows(mark.len()).any(|part| part == mark))
    }
}

/// The wire.
pub struct Moody {
    pub port: u16,
    connections: Arc<AtomicUsize>,
}

type Moods = dyn Fn(&Heard<'_>) -> Mood + Send + Sync;

impl Moody {
    /// To the server at `port`. A literal longer than `longest` costs the connection while it comes.
    pub fn before(
        port: u16,
        longest: usize,
        moods: impl Fn(&Heard<'_>) -> Mood + Send + Sync + 'static,
    ) -> Moody {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let own = listener.local_addr().unwrap().port();
        let connections = Arc::new(AtomicUsize::new(0));
        let (count, moods): (_, Arc<Moods>) = (Arc::clone(&connections), Arc::new(moods));
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                count.fetch_add(1, Ordering::SeqCst);
                let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else { continue };
                let moods = Arc::clone(&moods);
                std::thread::spawn(move || {
                    carry(&client, &server, longest, moods.as_ref());
                    let _ = client.shutdown(Shutdown::Both);
                });
            }
        });
        Moody { port: own, connections }
    }

    /// Connections so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// One command after the other. `None`: one of the two has gone, or is made to.
fn carry(client: &TcpStream, server: &TcpStream, longest: usize, moods: &Moods) -> Option<()> {
    client.set_nodelay(true).and_then(|()| server.set_nodelay(true)).ok()?;
    let (mut from, mut answers) = (BufReader::new(client), BufReader::new(server));
    let (mut back, mut to) = (client, server);
    back.write_all(&line(&mut answers)?).ok()?;
    loop {
        let mut command = line(&mut from)?;
        let first = String::from_utf8_lossy(&command[..command.len().min(300)]).into_owned();
        let mut literals = Vec::new();
        while let Some((length, waits)) = literal(&command) {
            if waits {
                back.write_all(b"+ go on\r\n").ok()?;
                // The server need not be waited for: it takes LITERAL+.
                command.truncate(command.len() - 3);
                command.extend_from_slice(b"+}\r\n");
            }
            let mut octets = vec![0; length.min(longest)];
            from.read_exact(&mut octets).ok()?;
            if length > longest {
                return None;
            }
            command.extend_from_slice(&octets);
            literals.push(octets);
            command.extend_from_slice(&line(&mut from)?);
        }
        let (tag, rest) = first.split_once(' ').unwrap_or((first.trim_end(), ""));
        let mood = moods(&Heard { words: rest.trim_end(), literals: &literals });
        match &mood {
            Mood::Good | Mood::Forgets | Mood::Instead(_) | Mood::Tells(_) => {}
            Mood::Says(words) => {
                back.write_all(format!("{tag} {words}\r\n").as_bytes()).ok()?;
                continue;
            }
            Mood::Reset => return None,
            Mood::Hangs => {
                let _ = std::io::copy(&mut from, &mut std::io::sink());
                return None;
            }
        }
        to.write_all(&command).ok()?;
        loop {
            let mut answer = line(&mut answers)?;
            let last = answer.starts_with(format!("{tag} ").as_bytes());
            if last && matches!(mood, Mood::Forgets) {
                return None;
            }
            while let Some((length, _)) = literal(&answer) {
                let mut octets = vec![0; length];
                answers.read_exact(&mut octets).ok()?;
                back.write_all(&answer).and_then(|()| back.write_all(&octets)).ok()?;
                answer = line(&mut answers)?;
            }
            if let (true, Mood::Instead(words)) = (last, &mood) {
                answer = format!("{tag} {words}\r\n").into_bytes();
            }
            if let Mood::Tells(change) = &mood {
                answer = change(String::from_utf8_lossy(&answer).into_owned()).into_bytes();
            }
            back.write_all(&answer).ok()?;
            if last {
                break;
            }
        }
    }
}

fn line(reader: &mut impl BufRead) -> Option<Vec<u8>> {
    let mut line = Vec::new();
    reader.read_until(b'\n', &mut line).ok().filter(|count| *count > 0)?;
    Some(line)
}

/// The length of the literal that comes, and whether it is waited for.
fn literal(line: &[u8]) -> Option<(usize, bool)> {
    let inside = line.strip_suffix(b"}\r\n")?;
    let at = inside.iter().rposition(|octet| *octet == b'{')?;
    let digits = std::str::from_utf8(&inside[at + 1..]).ok()?;
    Some((digits.trim_end_matches('+').parse().ok()?, !digits.ends_with('+')))
}
