//! Who may say how much. `$MAILHAUL_LOG` is a level (`debug`) or a list (`info,mailhaul::pop3=trace`).
//! It refuses to go above a ceiling for foreign crates: some of them write what passes through them.

use std::ffi::OsStr;

use tracing::level_filters::LevelFilter;
use tracing::{Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{FilterFn, Targets};

/// What a crate may say at most, by the beginning of its name. `async_imap` and `imap_proto` trace
/// octets, `zlink` traces the calls on the control socket: passwords go through all three.
const CEILINGS: [(&str, LevelFilter); 7] = [
    ("async_imap", LevelFilter::INFO),
    ("imap_proto", LevelFilter::INFO),
    ("rustls", LevelFilter::INFO),
    ("tokio_rustls", LevelFilter::INFO),
    ("sled", LevelFilter::INFO),
    ("tokio_cron_scheduler", LevelFilter::WARN),
    ("zlink", LevelFilter::WARN),
];

pub(super) struct Levels(Targets);

impl Levels {
    /// What the variable asks for, `info` where it is absent; with it a complaint if it was nonsense.
    pub(super) fn from_word(word: Option<&OsStr>) -> (Levels, Option<String>) {
        let default = Levels(Targets::new().with_default(LevelFilter::INFO));
        let Some(word) = word.filter(|word| !word.is_empty()) else { return (default, None) };
        match word.to_str().map(str::parse::<Targets>) {
            Some(Ok(targets)) => (Levels(targets), None),
            Some(Err(error)) => (default, Some(error.to_string())),
            None => (default, Some("it is not UTF-8".to_owned())),
        }
    }

    fn allow(&self, metadata: &Metadata<'_>) -> bool {
        let target = metadata.target();
        if metadata.is_span() && is_ours(target) {
            // A span says nothing by itself, but the warnings inside it take their account from it.
            return true;
        }
        *metadata.level() <= ceiling(target) && self.0.would_enable(target, metadata.level())
    }

    /// As a layer that decides for those around it.
    pub(super) fn into_filter<S: Subscriber>(self) -> impl Layer<S> {
        // Everything here is known when a callsite is first met, so the answer is asked for only once.
        FilterFn::new(move |metadata: &Metadata<'_>| self.allow(metadata))
    }
}

fn is_ours(target: &str) -> bool {
    target.starts_with("mailhaul")
}

fn ceiling(target: &str) -> LevelFilter {
    CEILINGS
        .iter()
        .find(|(name, _)| target.starts_with(name))
        .map_or(LevelFilter::TRACE, |(_, ceiling)| *ceiling)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing::Level;

    fn levels(word: &str) -> Levels {
        let (levels, complaint) = Levels::from_word(Some(OsStr::new(word)));
        assert_eq!(complaint, None);
        levels
    }

    fn allows(levels: &Levels, target: &str, level: Level) -> bool {
        level <= ceiling(target) && levels.0.would_enable(target, &level)
    }

    #[test]
    fn info_where_nothing_is_said() {
        for word in [None, Some(OsStr::new(""))] {
            let (levels, complaint) = Levels::from_word(word);
            assert_eq!(complaint, None);
            assert!(allows(&levels, "mailhaul::engine", Level::INFO));
            assert!(!allows(&levels, "mailhaul::engine", Level::DEBUG));
        }
    }

    #[test]
    fn one_room_may_say_more() {
        let levels = levels("warn,mailhaul::pop3=trace");
        assert!(allows(&levels, "mailhaul::pop3::wire", Level::TRACE));
        assert!(!allows(&levels, "mailhaul::imap", Level::INFO));
    }

    #[test]
    fn nobody_can_ask_for_passwords() {
        for word in ["trace", "async_imap=trace,zlink=trace,zlink_core::connection=trace,rustls=trace"] {
            let levels = levels(word);
            assert!(!allows(&levels, "async_imap::imap_stream", Level::DEBUG));
            assert!(allows(&levels, "async_imap::imap_stream", Level::INFO));
            assert!(!allows(&levels, "zlink_core::connection", Level::INFO));
            assert!(allows(&levels, "zlink_core::connection", Level::WARN));
            assert!(!allows(&levels, "rustls::client", Level::DEBUG));
        }
    }

    #[test]
    fn nonsense_is_complained_about_and_info_it_is() {
        let (levels, complaint) = Levels::from_word(Some(OsStr::new("mailhaul=loud")));
        assert!(complaint.is_some());
        assert!(allows(&levels, "mailhaul", Level::INFO));
        assert!(!allows(&levels, "mailhaul", Level::DEBUG));
    }
}
