//! A wire between the daemon and a server that loses every so many-th answer to APPEND or COPY: the server has the
//! messages, and nobody hears of it. It refuses to lose anything else.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "this is a test"
)]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

pub struct Leaky {
    pub port: u16,
    answers: Arc<AtomicUsize>,
    lost: Arc<AtomicUsize>,
}

impl Leaky {
    /// In front of `port`; every `every`-th answer is lost, with its connection.
    pub fn start(port: u16, every: usize) -> Leaky {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let leaky = Leaky {
            port: listener.local_addr().unwrap().port(),
            answers: Arc::default(),
            lost: Arc::default(),
        };
        let (answers, lost) = (Arc::clone(&leaky.answers), Arc::clone(&leaky.lost));
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let Ok(client) = client else { return };
                let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else { continue };
                let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut from, &mut to);
                    let _ = to.shutdown(Shutdown::Write);
                });
                let (answers, lost) = (Arc::clone(&answers), Arc::clone(&lost));
                std::thread::spawn(move || answer(server, client, every, &answers, &lost));
            }
        });
        leaky
    }

    pub fn lost(&self) -> usize {
        self.lost.load(Ordering::Relaxed)
    }
}

fn answer(
    mut server: TcpStream,
    mut client: TcpStream,
    every: usize,
    answers: &AtomicUsize,
    lost: &AtomicUsize,
) {
    let mut chunk = [0; 16 * 1024];
    while let Ok(count @ 1..) = server.read(&mut chunk) {
        let text = &chunk[..count];
        // Dovecot's words, and those of any server with UIDPLUS.
        let says = |words: &[u8]| text.windows(words.len()).any(|said| said.eq_ignore_ascii_case(words));
        let appended = says(b"Append completed") || says(b"[APPENDUID ") || says(b"[COPYUID ");
        if appended && (answers.fetch_add(1, Ordering::Relaxed) + 1).is_multiple_of(every) {
            lost.fetch_add(1, Ordering::Relaxed);
            break;
        }
        if client.write_all(text).is_err() {
            break;
        }
    }
    let _ = client.shutdown(Shutdown::Both);
    let _ = server.shutdown(Shutdown::Both);
}
