//! `add`, `set`, `remove` and `bulk add`: definitions that the daemon keeps. Passwords are typed without being
//! shown, or come on standard input or another descriptor, and go to the daemon in a descriptor: never in an
//! argument, never in a request.

use std::fs::File;
use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

use nix::sys::termios::{LocalFlags, SetArg, tcgetattr, tcsetattr};
use rustix::fs::{MemfdFlags, memfd_create};
use zeroize::Zeroizing;

use crate::control::api::{Defined, Manager};

use super::Outcome;
use super::args::{BulkArgs, Passwords};
use super::connection::{Connection, answer};
use super::moments::count;
use super::screen::Screen;
use super::trouble::Trouble;

const PASSWORD: &str = "source.password";
const NEW_PASSWORD: &str = "new_mailbox.password";

pub(super) async fn add(
    connection: &mut Connection,
    screen: &mut Screen,
    name: &str,
    mut keys: Vec<String>,
    found: bool,
    passwords: &Passwords,
) -> Outcome {
    keys.extend(server(connection, screen, &keys, found).await?);
    let (keys, secrets) = divided(&keys, passwords, true)?;
    let (places, files) = typed(name, secrets, passwords)?;
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let places: Vec<&str> = places.iter().map(String::as_str).collect();
    let defined = answer(connection.add(name, &keys, &places, files).await)?;
    tell(screen, &defined, "added")
}

/// The keys of a server that was not written, by the address that logs in there.
async fn server(
    connection: &mut Connection,
    screen: &mut Screen,
    keys: &[String],
    agreed: bool,
) -> Result<Vec<String>, Trouble> {
    let key = |key: &str| key.strip_prefix("source.").unwrap_or(key).to_owned();
    let pairs: Vec<(String, &str)> =
        keys.iter().filter_map(|pair| pair.split_once('=')).map(|(name, value)| (key(name), value)).collect();
    let value = |name: &str| pairs.iter().find(|(key, _)| key == name).map(|(_, value)| *value);
    let written = pairs.iter().any(|(key, _)| key == "server" || key.starts_with("server."));
    let Some(address) = value("username").filter(|login| !written && login.contains('@')) else {
        return Ok(Vec::new());
    };
    let polled = keys.iter().any(|key| key == "poll" || key.starts_with("poll."));
    let wanted = (value("protocol"), if polled { "pop3" } else { "imap" });
    let mut found = super::find::keys(connection, screen, address, wanted, agreed).await?;
    found.retain(|pair| value("protocol").is_none() || !pair.starts_with("protocol="));
    Ok(found)
}

pub(super) async fn set(
    connection: &mut Connection,
    screen: &mut Screen,
    name: &str,
    keys: &[String],
    passwords: &Passwords,
) -> Outcome {
    let (keys, secrets) = divided(keys, passwords, false)?;
    let (places, files) = typed(name, secrets, passwords)?;
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let places: Vec<&str> = places.iter().map(String::as_str).collect();
    let defined = answer(connection.set(name, &keys, &places, files).await)?;
    tell(screen, &defined, "set")
}

pub(super) async fn remove(connection: &mut Connection, screen: &mut Screen, name: &str) -> Outcome {
    let defined = answer(connection.remove(name).await)?;
    tell(screen, &defined, "removed")
}

pub(super) async fn bulk(connection: &mut Connection, screen: &mut Screen, args: &BulkArgs) -> Outcome {
    let (shown, file) = list(&args.file)?;
    let mut keys = args.set.clone();
    keys.extend(args.protocol.as_ref().map(|protocol| format!("source.protocol={protocol}")));
    keys.extend(args.security.as_ref().map(|security| format!("source.server.security={security}")));
    let table = if args.poll { "poll.mailbox" } else { "migrate.into" };
    keys.extend(args.into.as_ref().map(|into| format!("{table}={into}")));
    keys.extend(args.poll.then(|| "poll".to_owned()));
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let (server, domain) = (args.server.as_deref(), args.domain.as_deref());
    let called = connection.bulk_add(&shown, args.format.name(), server, domain, &keys, vec![file]);
    let defined = answer(called.await)?;
    if !tell_all(screen, &defined, &shown)? || !args.start {
        return Ok(defined.errors.is_empty());
    }
    let ready = super::precheck::ready(connection, screen, &defined.names).await?;
    let failed = defined.names.len() - ready.len();
    let mut good = failed == 0;
    if args.poll {
        return Ok(good);
    }
    good &= super::start::run(connection, screen, &ready, args.wait).await?;
    Ok(good)
}

/// Keys to send, and the keys of passwords: those with `-` for a value.
fn divided(
    keys: &[String],
    passwords: &Passwords,
    new: bool,
) -> Result<(Vec<String>, Vec<&'static str>), Trouble> {
    let mut secrets = Vec::new();
    let mut plain = Vec::new();
    for key in keys {
        match key.split_once('=') {
            Some(("password" | "source.password", "-")) => secrets.push(PASSWORD),
            Some(("new_mailbox.password", "-")) => secrets.push(NEW_PASSWORD),
            Some((key, value)) if !value.is_empty() && holds_one(key) => {
                return Err(Trouble::usage(
                    "a password in the arguments can be read by every user of this machine",
                    "write password=- and type it",
                ));
            }
            _ => plain.push(key.clone()),
        }
    }
    if passwords.new_password_stdin {
        secrets.push(NEW_PASSWORD);
    }
    let elsewhere = plain.iter().any(|key| {
        key.trim_start_matches("source.").starts_with("password.") || key.ends_with("auth=oauth2")
    });
    let given = passwords.password_stdin || passwords.password_fd.is_some();
    // A new account needs one; whoever says nothing is asked, if there is somebody to ask.
    if given || (new && !elsewhere && io::stdin().is_terminal()) {
        secrets.push(PASSWORD);
    }
    // In this order they are asked for and read.
    secrets.sort_by_key(|key| *key != PASSWORD);
    secrets.dedup();
    Ok((plain, secrets))
}

/// Whether the value of a key would be a password.
fn holds_one(key: &str) -> bool {
    matches!(key.trim_end_matches(".value"), "password" | "source.password" | "new_mailbox.password")
}

/// Asks for the passwords, or reads them, a line each.
fn typed(
    name: &str,
    secrets: Vec<&'static str>,
    passwords: &Passwords,
) -> Result<(Vec<String>, Vec<OwnedFd>), Trouble> {
    let mut lines: Option<Box<dyn BufRead>> = match passwords.password_fd {
        Some(number) => {
            let path = format!("/proc/self/fd/{number}");
            let file = File::open(&path).map_err(|e| unreadable(&format!("descriptor {number}"), &e))?;
            Some(Box::new(io::BufReader::with_capacity(64 << 10, file)))
        }
        None if io::stdin().is_terminal() => None,
        None => Some(Box::new(io::stdin().lock())),
    };
    let mut files = Vec::new();
    for key in &secrets {
        let password = match &mut lines {
            Some(lines) => {
                let mut line = Zeroizing::new(String::with_capacity(64 << 10));
                (&mut **lines)
                    .take(64 << 10)
                    .read_line(&mut line)
                    .map_err(|e| unreadable("standard input", &e))?;
                line
            }
            None => ask(&format!("{name}: {key}: "))?,
        };
        let password = password.trim_end_matches(['\r', '\n']);
        if password.is_empty() {
            return Err(Trouble::usage(format!("{key}: no password came"), "write it on a line of its own"));
        }
        files.push(in_memory(password.as_bytes())?);
    }
    Ok((secrets.into_iter().map(str::to_owned).collect(), files))
}

/// Asks on the terminal, without showing what is typed.
fn ask(prompt: &str) -> Result<Zeroizing<String>, Trouble> {
    let trouble = |e: io::Error| unreadable("the terminal", &e);
    let mut terminal = File::options().read(true).write(true).open("/dev/tty").map_err(trouble)?;
    let before = tcgetattr(&terminal).map_err(|e| trouble(e.into()))?;
    let mut silent = before.clone();
    silent.local_flags.remove(LocalFlags::ECHO);
    silent.local_flags.insert(LocalFlags::ECHONL);
    tcsetattr(&terminal, SetArg::TCSAFLUSH, &silent).map_err(|e| trouble(e.into()))?;
    let mut line = Zeroizing::new(String::with_capacity(4096));
    let written = terminal.write_all(prompt.as_bytes());
    let read = written.and_then(|()| io::BufReader::new(&terminal).read_line(&mut line));
    tcsetattr(&terminal, SetArg::TCSAFLUSH, &before).map_err(|e| trouble(e.into()))?;
    read.map_err(trouble)?;
    Ok(line)
}

/// The list as a descriptor, and its name; what is no regular file is read to its end first.
fn list(file: &Path) -> Result<(String, OwnedFd), Trouble> {
    let (shown, mut source): (String, Box<dyn Read>) = if file == Path::new("-") {
        ("standard input".to_owned(), Box::new(io::stdin().lock()))
    } else {
        let shown = file.display().to_string();
        let opened = File::open(file).map_err(|e| unreadable(&shown, &e))?;
        if opened.metadata().is_ok_and(|metadata| metadata.is_file()) {
            return Ok((shown, opened.into()));
        }
        (shown, Box::new(opened))
    };
    let mut octets = Zeroizing::new(Vec::new());
    source.read_to_end(&mut octets).map_err(|e| unreadable(&shown, &e))?;
    Ok((shown, in_memory(&octets)?))
}

fn in_memory(octets: &[u8]) -> Result<OwnedFd, Trouble> {
    let made = memfd_create("mailhaulctl", MemfdFlags::CLOEXEC).map_err(io::Error::from);
    let written = made.and_then(|descriptor| {
        let mut file = File::from(descriptor);
        file.write_all(octets)?;
        Ok(file.into())
    });
    written.map_err(|e| Trouble::failed(format!("no memory for what is passed: {e}"), "try again"))
}

fn unreadable(what: &str, error: &io::Error) -> Trouble {
    Trouble::usage(format!("{what} cannot be read: {error}"), "look at its name and its mode")
}

fn tell(screen: &mut Screen, defined: &Defined, done: &str) -> Outcome {
    if screen.json {
        screen.json(defined)?;
    } else {
        defined.names.iter().for_each(|name| screen.line(&format!("{name}: {done}")));
    }
    complain(screen, defined);
    Ok(defined.errors.is_empty())
}

fn tell_all(screen: &mut Screen, defined: &Defined, shown: &str) -> Outcome {
    if screen.json {
        screen.json(defined)?;
    } else if defined.errors.is_empty() {
        screen.line(&format!("{shown}: {} added", count(defined.names.len() as u64, "account")));
    } else {
        let mistakes = count(defined.errors.len() as u64, "mistake");
        screen.line(&format!("{shown}: {mistakes}, nothing was taken"));
    }
    complain(screen, defined);
    Ok(defined.errors.is_empty())
}

fn complain(screen: &mut Screen, defined: &Defined) {
    for wrong in &defined.errors {
        screen.trouble(&Trouble::failed(&*wrong.what, &*wrong.mend).about(&*wrong.place));
    }
}
