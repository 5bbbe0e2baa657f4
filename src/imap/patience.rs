//! How long one command may leave the server silent: minutes where it has to read a folder first, the longer the more messages
//! are in it; less where it fell silent over the same thing before. It refuses to give a small folder as long as a large one.

use std::io;
use std::time::Duration;

use super::session::{Examined, Session};
use crate::failure::Failure;
use crate::message::Parcel;

/// A command that may make the server read a whole folder has so long, if the folder is large or nobody knows.
const LONG: Duration = Duration::from_secs(300);
/// To open a small one it has so long at least: some read it whole first, which took one 80 s (gromox#244).
const OPENING: Duration = Duration::from_secs(90);
/// And so much more for each message that is known to be in it.
const EACH: Duration = Duration::from_millis(20);
/// A test has no minutes.
const MOST: Duration = if cfg!(test) { Duration::from_millis(25) } else { LONG };

/// What may make the server read a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Task {
    /// EXAMINE and SELECT.
    Open,
    /// What asks for items of all its messages.
    List,
}

impl Task {
    /// How long it may take with so many messages.
    fn patience(self, messages: Option<u64>) -> Duration {
        let least = match self {
            Task::Open => OPENING,
            Task::List => Duration::ZERO,
        };
        let each = |messages: u64| EACH.saturating_mul(u32::try_from(messages).unwrap_or(u32::MAX));
        messages.map_or(LONG, |messages| least.saturating_add(each(messages)).min(LONG))
    }
}

impl<T: From<Parcel> + Send + 'static> Session<T> {
    /// From now on silence is borne for minutes, if the folder has many messages; returns how long it was borne before.
    /// What is looked at once more has no longer than that.
    pub(super) fn be_patient(&mut self, task: Task, messages: Option<u64>) -> Duration {
        let hurried = self.hurried;
        let stream = self.transport().stream();
        let usual = stream.stall();
        if !hurried {
            stream.set_stall(usual.max(task.patience(messages).min(MOST)));
        }
        usual
    }

    /// As [`Session::examine`], of a folder over whose STATUS the server fell silent: it has had its time, and gets two thirds
    /// of it once more.
    ///
    /// # Errors
    /// As [`Session::examine`].
    pub async fn examine_after_silence(&mut self, name: &[u8]) -> Result<Examined, Failure> {
        let full = self.transport().stream().stall();
        let hurried = std::mem::replace(&mut self.hurried, true);
        if !hurried {
            self.transport().stream().set_stall(full * 2 / 3);
        }
        let examined = self.examine(name).await;
        self.transport().stream().set_stall(full);
        self.hurried = hurried;
        examined
    }

    /// Whether what is asked for from now on made the server fall silent before; see [`crate::net::Stream::hurry`].
    pub fn hurry(&mut self, hurry: bool) {
        if std::mem::replace(&mut self.hurried, hurry) != hurry {
            self.transport().stream().hurry(hurry);
        }
    }

    /// The server fell silent.
    pub(super) fn fell_silent(&mut self) -> Failure {
        self.io(&io::ErrorKind::TimedOut.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_folder_has_longer() {
        let seconds = |task: Task, messages| task.patience(messages).as_secs();
        assert_eq!([None, Some(u64::MAX), Some(1_000_000)].map(|n| seconds(Task::Open, n)), [300; 3]);
        assert_eq!([Some(0), Some(20), Some(5_000)].map(|n| seconds(Task::Open, n)), [90, 90, 190]);
        assert_eq!([Some(20), Some(5_000), None].map(|n| seconds(Task::List, n)), [0, 100, 300]);
        // A small folder that does not open: one look in full and a further one, and some seconds besides.
        assert!(seconds(Task::Open, Some(20)) + 12 + 10 < 120);
    }
}
