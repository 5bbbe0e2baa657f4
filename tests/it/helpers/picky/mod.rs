//! A real IMAP server with whims: a wire that hears every command to its end and may say NO to it itself, before the
//! server hears of it. It refuses to change anything else.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "this is a test"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;

/// What is said instead of OK to a command without its tag, with these literals, if anything.
pub type Whim = dyn Fn(&str, &[Vec<u8>]) -> Option<String> + Send + Sync;
/// Changes a command, with its literals, before the server hears it.
pub type Mishearing = dyn Fn(&mut Vec<u8>) + Send + Sync;

/// A wire to `port` with whims about the messages of an APPEND, and its own port.
pub fn picky(port: u16, whim: impl Fn(&[Vec<u8>]) -> Option<String> + Send + Sync + 'static) -> u16 {
    whimsical(port, move |command, literals| {
        command.get(..7).filter(|name| name.eq_ignore_ascii_case("APPEND ")).and_then(|_| whim(literals))
    })
}

/// A wire to `port`, and its own port.
pub fn whimsical(
    port: u16,
    whim: impl Fn(&str, &[Vec<u8>]) -> Option<String> + Send + Sync + 'static,
) -> u16 {
    wire(port, Arc::new(whim), Arc::new(|_| {}))
}

/// A wire to `port` that does not hear everything of the APPENDs of one message; and its own port.
pub fn forgetful(port: u16, forgets: impl Fn(String) -> String + Send + Sync + 'static) -> u16 {
    let mishears = move |command: &mut Vec<u8>| {
        let line = command.iter().position(|octet| *octet == b'\n').unwrap_or(0);
        let head = command[..line].iter().rposition(|octet| *octet == b'{').unwrap_or(0);
        let text = String::from_utf8(command[..head].to_vec()).unwrap();
        if text.contains(" APPEND ") {
            command.splice(..head, forgets(text).into_bytes());
        }
    };
    wire(port, Arc::new(|_, _| None), Arc::new(mishears))
}

fn wire(port: u16, whim: Arc<Whim>, mishears: Arc<Mishearing>) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let own = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else { continue };
            let (whim, mishears) = (Arc::clone(&whim), Arc::clone(&mishears));
            std::thread::spawn(move || carry(&client, &server, whim.as_ref(), mishears.as_ref()));
        }
    });
    own
}

/// One command after the other, whatever is in flight. `None`: one of the two has gone.
fn carry(client: &TcpStream, server: &TcpStream, whim: &Whim, mishears: &Mishearing) -> Option<()> {
    client.set_nodelay(true).and_then(|()| server.set_nodelay(true)).ok()?;
    let (mut from, mut answers) = (BufReader::new(client), BufReader::new(server));
    let (mut back, mut to) = (client, server);
    back.write_all(&line(&mut answers)?).ok()?;
    loop {
        let mut command = line(&mut from)?;
        let mut literals = Vec::new();
        while let Some((length, waits)) = literal(&command) {
            if waits {
                back.write_all(b"+ go on\r\n").ok()?;
                // The server need not be waited for: it takes LITERAL+.
                command.truncate(command.len() - 3);
                command.extend_from_slice(b"+}\r\n");
            }
            let mut octets = vec![0; length];
            from.read_exact(&mut octets).ok()?;
            command.extend_from_slice(&octets);
            literals.push(octets);
            command.extend_from_slice(&line(&mut from)?);
        }
        let words = String::from_utf8_lossy(&command[..command.len().min(200)]).into_owned();
        let (tag, rest) = words.split_once(' ').unwrap_or((words.trim_end(), ""));
        if let Some(no) = whim(rest.trim_end(), &literals) {
            back.write_all(format!("{tag} NO {no}\r\n").as_bytes()).ok()?;
            continue;
        }
        let tag = tag.to_owned();
        mishears(&mut command);
        to.write_all(&command).ok()?;
        loop {
            let mut answer = line(&mut answers)?;
            let last = answer.starts_with(format!("{tag} ").as_bytes());
            while let Some((length, _)) = literal(&answer) {
                let mut octets = vec![0; length];
                answers.read_exact(&mut octets).ok()?;
                back.write_all(&answer).and_then(|()| back.write_all(&octets)).ok()?;
                answer = line(&mut answers)?;
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
