//! What the service manager is told, and what it hands over. Without systemd every function here does
//! nothing. It refuses to fail: a manager that does not listen must not take the daemon down.

use std::os::unix::net::UnixListener;
use std::time::Duration;
use std::{env, process};

use listenfd::ListenFd;
use nix::sys::socket::{getsockopt, sockopt::AcceptConn};
use sd_notify::NotifyState;

/// systemd ignores datagrams above 4096 octets, and a status is read in one line.
const LONGEST_STATUS: usize = 1024;

/// The store is open, the definitions are read, the socket listens. Also ends [`reloading`].
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// The definitions are being read again; [`ready`] ends it.
pub fn reloading() {
    // `Type=notify-reload` needs the time, to tell this answer from one to an earlier request.
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(_) => tell(&[NotifyState::Reloading]),
    }
}

/// No new work is begun any more.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// What runs, for `systemctl status`.
pub fn status(words: &str) {
    tell(&[NotifyState::Status(&one_line(words))]);
}

/// A sign of life from the loop that does the work, to be given every [`watchdog_interval`].
pub fn watchdog() {
    tell(&[NotifyState::Watchdog]);
}

/// How often [`watchdog`] is due: twice in the time after which systemd gives us up. `None` where
/// nobody waits for it.
pub fn watchdog_interval() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|limit| limit / 2).filter(|interval| !interval.is_zero())
}

/// The control socket that systemd listens on for us, set not to block. `None` if it does not, or if
/// what it handed over was meant for another process or is nothing that accepts connections.
///
/// It gives the socket once, and it forgets the variables that told of it. That is why it has to be
/// called first of all, while there is one thread.
pub fn control_listener() -> Option<UnixListener> {
    // The crate also takes descriptors that are addressed to nobody.
    if env::var("LISTEN_PID").ok()?.parse::<u32>() != Ok(process::id()) {
        return None;
    }
    let mut handed = ListenFd::from_env();
    (0..handed.len())
        .filter_map(|place| handed.take_unix_listener(place).ok().flatten())
        .find(|socket| getsockopt(socket, AcceptConn) == Ok(true) && socket.set_nonblocking(true).is_ok())
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "the service manager cannot be told");
    }
}

/// A line end in a status would begin a word of its own to the service manager.
fn one_line(words: &str) -> String {
    let end = words.floor_char_boundary(LONGEST_STATUS);
    words.get(..end).unwrap_or_default().replace(char::is_control, " ")
}

#[cfg(test)]
mod tests;
