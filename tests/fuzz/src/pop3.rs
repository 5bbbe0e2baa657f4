//! POP3 as a server may speak it: the machine with a greeting, capabilities, lists and messages. It demands
//! that it does not matter where octets are split, that nothing is larger than promised, and that a message
//! comes out as it went in.

use mailhaul::pop3::{Broken, Capabilities, Event, Expect, LINE_LIMIT, Listing, Machine};

/// Octet 1: how many answers are expected; 2: which of them have a body; 3: the size of pieces; then what
/// the server sends.
pub fn run(data: &[u8]) {
    let [count, kinds, piece, wire @ ..] = data else { return };
    let expected: Vec<Expect> = (0..count % 12)
        .map(|at| if kinds >> (at % 8) & 1 == 1 { Expect::Lines } else { Expect::Line })
        .collect();
    let whole = hear(&expected, wire, usize::MAX);
    assert_eq!(hear(&expected, wire, usize::from(*piece) + 1), whole, "it matters where octets are split");
    for event in &whole.0 {
        if let Event::Data(body) = event {
            read(body);
        }
    }
    comes_back(wire, usize::from(*piece) + 1);
}

/// All events, the data of one body put together.
fn hear(expected: &[Expect], wire: &[u8], piece: usize) -> (Vec<Event>, Option<Broken>) {
    let mut machine = Machine::new();
    expected.iter().for_each(|expect| machine.expect(*expect));
    let (mut events, mut held, mut passed): (Vec<Event>, Vec<u8>, usize) = (Vec::new(), Vec::new(), 0);
    for part in wire.chunks(piece.min(wire.len().max(1))) {
        held.extend_from_slice(part);
        let mut at = 0;
        loop {
            let (used, event) = match machine.step(&held[at..]) {
                Ok(step) => step,
                Err(broken) => return (events, Some(broken)),
            };
            at += used;
            match event {
                Some(Event::Data(data)) => {
                    assert!(!data.is_empty() && data.len() <= 64 << 10);
                    passed += data.len();
                    assert!(passed <= wire.len(), "more came out than went in");
                    match events.last_mut() {
                        Some(Event::Data(sum)) => sum.extend(data),
                        _ => events.push(Event::Data(data)),
                    }
                }
                Some(Event::Reply(reply)) => {
                    assert!(reply.text.len() < LINE_LIMIT && !reply.text.contains(&b'\n'));
                    let code = reply.code.as_deref().unwrap_or("X");
                    assert!(!code.is_empty() && code.bytes().all(|octet| octet.is_ascii_graphic()));
                    events.push(Event::Reply(reply));
                }
                Some(Event::End) => events.push(Event::End),
                None => break,
            }
        }
        held.drain(..at);
    }
    let asked = events.iter().filter(|event| matches!(event, Event::Reply(_))).count();
    assert!(asked <= expected.len(), "an answer that nobody asked for");
    (events, None)
}

/// A body read as each list that it may be.
fn read(body: &[u8]) {
    let mut capabilities = Capabilities::default();
    let (mut sizes, mut names) = (Listing::default(), Listing::default());
    for line in body.split(|octet| *octet == b'\n') {
        capabilities.line(line);
        // After a contradiction nothing more is read, but nothing breaks either.
        let _ = (sizes.size_line(line), names.uidl_line(line));
    }
    let name = capabilities.implementation.unwrap_or_default();
    assert!(name.chars().count() <= 100 && !name.chars().any(char::is_control));
    let sizes = sizes.into_messages();
    assert!(sizes.is_sorted_by(|a, b| a.number < b.number) && sizes.iter().all(|m| m.number > 0));
    let mut again = Listing::default();
    for message in &sizes {
        let size = message.size.map_or_else(String::new, |size| size.to_string());
        again.size_line(format!("{} {size}\r\n", message.number).as_bytes()).unwrap();
    }
    assert_eq!(again.into_messages(), sizes, "a list is read as it was written");
    let names = names.into_messages();
    let mut again = Listing::default();
    for message in &names {
        let uidl = message.uidl.clone().unwrap_or_default();
        assert_eq!(uidl, uidl.trim_ascii());
        again.uidl_line(&[message.number.to_string().as_bytes(), b" ", &uidl].concat()).unwrap();
    }
    assert_eq!(again.into_messages(), names, "a list is read as it was written");
}

/// A message, sent as RFC 1939, 3 wants it, comes out as it went in.
fn comes_back(message: &[u8], piece: usize) {
    let mut wire = b"+OK\r\n".to_vec();
    let (mut start, mut before) = (true, 0);
    for &octet in message {
        if start && octet == b'.' {
            wire.push(b'.');
        }
        wire.push(octet);
        start = before == b'\r' && octet == b'\n';
        before = octet;
    }
    let mut want = message.to_vec();
    if !start {
        wire.extend_from_slice(b"\r\n");
        want.extend_from_slice(b"\r\n");
    }
    wire.extend_from_slice(b".\r\n");
    let (events, broken) = hear(&[Expect::Lines], &wire, piece);
    assert_eq!(broken, None);
    let data = events.iter().find_map(|event| match event {
        Event::Data(data) => Some(data.as_slice()),
        _ => None,
    });
    assert_eq!(data.unwrap_or_default(), want, "a message came out otherwise");
    assert_eq!(events.last(), Some(&Event::End));
}
