//! Signals as messages. It refuses to do anything inside a signal handler.

use std::io;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tokio::sync::mpsc;

/// What the signals ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    /// SIGTERM and SIGINT.
    Stop,
    /// SIGHUP.
    Reload,
}

/// The wishes, as they come.
pub(super) fn listen() -> io::Result<mpsc::UnboundedReceiver<Wish>> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    let (tell, wishes) = mpsc::unbounded_channel();
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for signal in signals.forever() {
            let wish = if signal == SIGHUP { Wish::Reload } else { Wish::Stop };
            if tell.send(wish).is_err() {
                return;
            }
        }
    })?;
    Ok(wishes)
}
