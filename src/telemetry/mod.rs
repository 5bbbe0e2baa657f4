//! Where the log goes: to the journal with the fields ACCOUNT=, MEMBER=, MIGRATION= and FOLDER=, or to
//! standard error, one line an event. Those who log write these names as they are (`ACCOUNT = name`), in
//! an event or in the span around it. How much is said comes from `$MAILHAUL_LOG`.
//!
//! It refuses records of the `log` crate (the IMAP parser writes whole commands there, with their
//! passwords), and to raise a foreign crate above what `levels` allows it.

mod escape;
mod levels;
mod lines;

use std::env;
use std::ffi::OsStr;
use std::io::{self, IsTerminal};
use std::str::FromStr;

use nix::sys::stat::fstat;
use tracing::Subscriber;
use tracing_journald::{Priority, PriorityMappings};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::{LookupSpan, Registry};

use levels::Levels;
use lines::Lines;

/// The name under which the journal knows us, whatever the binary was called.
const IDENTIFIER: &str = "mailhauld";

/// Where the log goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Log {
    /// To journald, with fields.
    Journal,
    /// To standard error.
    Stderr,
    /// To journald if standard error would end there anyway.
    #[default]
    Auto,
}

impl FromStr for Log {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        match word {
            "journal" => Ok(Log::Journal),
            "stderr" => Ok(Log::Stderr),
            "auto" => Ok(Log::Auto),
            _ => Err(format!("the log cannot go to '{word}'; it goes to journal, stderr or auto")),
        }
    }
}

/// Installs the log for the whole process. A journal that cannot be reached is no reason to stay silent:
/// the log then goes to standard error, and says so.
///
/// # Errors
///
/// When a log was installed before.
pub fn start(log: Log) -> Result<(), String> {
    let (levels, complaint) = Levels::from_word(env::var_os("MAILHAUL_LOG").as_deref());
    let wants_journal = match log {
        Log::Journal => true,
        Log::Stderr => false,
        Log::Auto => stderr_is_journal(env::var_os("JOURNAL_STREAM").as_deref()),
    };
    match wants_journal.then(tracing_journald::layer) {
        Some(Ok(journal)) => install(subscriber(levels, fields_as_written(journal)))?,
        other => {
            install(subscriber(levels, Lines::new(io::stderr(), wants_colours())))?;
            if let Some(Err(error)) = other {
                tracing::warn!("the journal cannot be reached, the log goes to standard error: {error}");
            }
        }
    }
    if let Some(complaint) = complaint {
        tracing::warn!("MAILHAUL_LOG is not understood, 'info' is used: {complaint}");
    }
    Ok(())
}

fn install(subscriber: impl Subscriber + Send + Sync) -> Result<(), String> {
    // Not `init()`, which would also take in the records of the `log` crate.
    tracing::subscriber::set_global_default(subscriber).map_err(|error| error.to_string())
}

fn subscriber<L>(levels: Levels, output: L) -> impl Subscriber + Send + Sync + for<'a> LookupSpan<'a>
where
    L: Layer<Registry> + Send + Sync,
{
    tracing_subscriber::registry().with(output).with(levels.into_filter())
}

/// The crate would write `F_ACCOUNT`, and INFO as "notice".
fn fields_as_written(journal: tracing_journald::Layer) -> tracing_journald::Layer {
    journal.with_field_prefix(None).with_syslog_identifier(IDENTIFIER.to_owned()).with_priority_mappings(
        PriorityMappings {
            error: Priority::Error,
            warn: Priority::Warning,
            info: Priority::Informational,
            debug: Priority::Debug,
            trace: Priority::Debug,
        },
    )
}

/// Whether standard error is the stream that systemd connected to the journal. The variable alone does
/// not tell: it is inherited by whoever is started with standard error turned elsewhere.
fn stderr_is_journal(journal_stream: Option<&OsStr>) -> bool {
    let Ok(stderr) = fstat(io::stderr()) else { return false };
    device_and_inode(journal_stream) == Some((stderr.st_dev, stderr.st_ino))
}

fn device_and_inode(journal_stream: Option<&OsStr>) -> Option<(u64, u64)> {
    let (device, inode) = journal_stream?.to_str()?.split_once(':')?;
    Some((device.parse().ok()?, inode.parse().ok()?))
}

/// <https://no-color.org>: set and not empty.
fn wants_colours() -> bool {
    io::stderr().is_terminal()
        && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && env::var_os("TERM").is_some_and(|term| term != "dumb")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_words_and_no_other() {
        assert_eq!("journal".parse(), Ok(Log::Journal));
        assert_eq!("stderr".parse(), Ok(Log::Stderr));
        assert_eq!("auto".parse(), Ok(Log::Auto));
        assert!("Journal".parse::<Log>().unwrap_err().contains("journal, stderr or auto"));
    }

    #[test]
    fn the_stream_is_recognized_by_device_and_inode() {
        let ours = fstat(io::stderr()).unwrap();
        let word = format!("{}:{}", ours.st_dev, ours.st_ino);
        assert!(stderr_is_journal(Some(OsStr::new(&word))));
        let other = format!("{}:{}", ours.st_dev, ours.st_ino.wrapping_add(1));
        assert!(!stderr_is_journal(Some(OsStr::new(&other))));
        assert!(!stderr_is_journal(None));
        for nonsense in ["", ":", "8", "8:", "8:x", "-8:1"] {
            assert_eq!(device_and_inode(Some(OsStr::new(nonsense))), None, "{nonsense}");
        }
    }
}
