//! An authorization server that answers as Microsoft and Google do, over HTTP at this machine. It hands out
//! tokens that name themselves, and takes each refresh token once.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "each test uses its part of the helper"
)]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::{Value, json};

/// What was asked: the path as `""`, and every field of the form.
pub type Form = BTreeMap<String, String>;

/// Access tokens that a mail server takes.
pub type Good = Arc<Mutex<BTreeSet<String>>>;

#[derive(Default)]
struct State {
    asked: Vec<Form>,
    /// Errors that come before the consent, in order.
    consent: VecDeque<&'static str>,
    /// Errors that come instead of tokens, in order.
    errors: VecDeque<(u16, Value)>,
    refresh: String,
    length: usize,
    expires_in: u64,
    count: u64,
    more: Value,
    all: Vec<String>,
}

/// The server.
pub struct FakeOauth {
    pub port: u16,
    pub good: Good,
    state: Arc<Mutex<State>>,
}

impl FakeOauth {
    pub fn start() -> FakeOauth {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let good = Good::default();
        let state = State { length: 60, expires_in: 3600, more: json!({}), ..State::default() };
        let state = Arc::new(Mutex::new(state));
        let (shared, tokens) = (Arc::clone(&state), Arc::clone(&good));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                serve(stream, &shared, &tokens);
            }
        });
        FakeOauth { port, good, state }
    }

    /// `oauth2 = { ... }` of a server; `more` goes into it.
    pub fn written(&self, more: &str) -> String {
        let at = format!("http://127.0.0.1:{}", self.port);
        format!(
            "oauth2 = {{ token_url = \"{at}/token\", auth_url = \"{at}/auth\", device_url = \"{at}/device\", client_id = \"mailhaul-1\"{more} }}"
        )
    }

    /// What the owner does when asked for consent; in the end there is one.
    pub fn consent(&self, errors: &[&'static str]) {
        self.state.lock().unwrap().consent = errors.iter().copied().collect();
    }

    /// The next answers to whoever asks for tokens.
    pub fn fail(&self, errors: &[(u16, Value)]) {
        self.state.lock().unwrap().errors = errors.iter().cloned().collect();
    }

    /// How long access tokens are, and how many seconds they last by what is said of them.
    pub fn tokens(&self, length: usize, expires_in: u64) {
        let mut state = self.state.lock().unwrap();
        (state.length, state.expires_in) = (length, expires_in);
    }

    /// More fields of the next answers.
    pub fn more(&self, more: Value) {
        self.state.lock().unwrap().more = more;
    }

    /// The consent is gone, at the server.
    pub fn withdraw(&self) {
        self.state.lock().unwrap().refresh.clear();
        self.good.lock().unwrap().clear();
    }

    /// What was asked so far with this `grant_type`.
    pub fn asked(&self, grant: &str) -> Vec<Form> {
        let asked = self.state.lock().unwrap().asked.clone();
        asked.into_iter().filter(|form| form.get("grant_type").is_some_and(|g| g.ends_with(grant))).collect()
    }

    /// Every token that was ever handed out.
    pub fn all(&self) -> Vec<String> {
        self.state.lock().unwrap().all.clone()
    }
}

fn serve(mut stream: TcpStream, state: &Mutex<State>, good: &Good) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let (mut path, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        let line = line.trim_end();
        if let Some(rest) = line.strip_prefix("POST ") {
            path = rest.split(' ').next().unwrap().to_owned();
        } else if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length: ") {
            length = value.parse().unwrap();
        } else if line.is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let mut form: Form = String::from_utf8(body)
        .unwrap()
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (name.to_owned(), decoded(value)))
        .collect();
    form.insert(String::new(), path);
    let (status, answer) = answer(&mut state.lock().unwrap(), good, form);
    let text = answer.to_string();
    // As Google sends it: in chunks.
    let (first, second) = text.split_at(text.len() / 2);
    let sent = write!(
        stream,
        // What comes first is no answer yet (RFC 9110, 15.2).
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 {status} Whatever\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n\
         {:x}\r\n{first}\r\n{:x}\r\n{second}\r\n0\r\n\r\n",
        first.len(),
        second.len()
    );
    // A client that has gone is its own affair.
    let _ = sent;
}

fn answer(state: &mut State, good: &Good, form: Form) -> (u16, Value) {
    state.asked.push(form.clone());
    let field = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
    let error = |code: &str, words: &str| (400, json!({ "error": code, "error_description": words }));
    if field("") == "/device" {
        let answer = json!({
            "device_code": "the-device-code", "user_code": "WDJB-MJHT", "interval": 1, "expires_in": 900,
            "verification_uri": "https://microsoft.com/devicelogin",
        });
        return (200, answer);
    }
    if field("grant_type").ends_with("device_code") {
        if field("device_code") != "the-device-code" {
            return error("bad_verification_code", "AADSTS70018");
        }
        if let Some(code) = state.consent.pop_front() {
            return error(code, "AADSTS70016: the owner has not answered\r\nTrace ID: 1");
        }
    }
    if field("grant_type") == "authorization_code" && field("code") != "4/0A-the-code" {
        return error("invalid_grant", "Malformed auth code.");
    }
    if let Some(answer) = state.errors.pop_front() {
        return answer;
    }
    if field("grant_type") == "refresh_token"
        && (state.refresh.is_empty() || field("refresh_token") != state.refresh)
    {
        return error(
            "invalid_grant",
            "AADSTS700082: The refresh token has expired due to inactivity.\r\nTrace ID: 2",
        );
    }
    state.count += 1;
    let access = format!("access-{}-{}", state.count, "x7".repeat(state.length / 2));
    state.refresh = format!("refresh-{}-Kirsch_Lampe", state.count);
    good.lock().unwrap().insert(access.clone());
    state.all.extend([access.clone(), state.refresh.clone()]);
    let mut answer = json!({
        "token_type": "Bearer", "access_token": access, "refresh_token": state.refresh,
        "expires_in": state.expires_in,
    });
    answer.as_object_mut().unwrap().extend(state.more.as_object().unwrap().clone());
    (200, answer)
}

fn decoded(text: &str) -> String {
    let mut out = Vec::new();
    let mut octets = text.bytes();
    while let Some(octet) = octets.next() {
        if octet == b'%' {
            let digits = [octets.next().unwrap(), octets.next().unwrap()];
            out.push(u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap());
        } else {
            out.push(octet);
        }
    }
    String::from_utf8(out).unwrap()
}
