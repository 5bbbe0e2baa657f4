//! The log as lines: `TIME LEVEL message FIELD=value ...`, the fields of the spans around an event
//! before its own; of two with the same name the inner one counts. It refuses to fail: a standard error
//! that nobody reads any more is no reason to stop working.

use std::fmt::{self, Write as _};
use std::io::Write;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use super::escape;

pub(super) struct Lines<W> {
    out: Mutex<W>,
    colours: bool,
}

impl<W: Write> Lines<W> {
    pub(super) fn new(out: W, colours: bool) -> Self {
        Lines { out: Mutex::new(out), colours }
    }

    fn line(&self, level: Level, fields: &Fields) -> String {
        let mut line = format!("{:.3} ", Timestamp::now());
        let (on, off) = if self.colours { (colour(level), "\x1b[0m") } else { ("", "") };
        // Writing to a String does not fail.
        let _ = write!(line, "{on}{:<5}{off} ", level.as_str());
        escape::message(&mut line, &fields.message);
        for (name, value) in &fields.named {
            line.push(' ');
            line.push_str(name);
            line.push('=');
            escape::value(&mut line, value);
        }
        line.push('\n');
        line
    }
}

fn colour(level: Level) -> &'static str {
    match level {
        Level::ERROR => "\x1b[1;31m",
        Level::WARN => "\x1b[33m",
        Level::INFO => "\x1b[32m",
        _ => "\x1b[2m",
    }
}

impl<S, W> Layer<S> for Lines<W>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: Write + 'static,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        span.extensions_mut().insert(fields);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(fields) = span.extensions_mut().get_mut::<Fields>() {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut all = Fields::default();
        for span in context.event_scope(event).into_iter().flat_map(|scope| scope.from_root()) {
            if let Some(fields) = span.extensions().get::<Fields>() {
                for (name, value) in &fields.named {
                    all.set(name, value.clone());
                }
            }
        }
        event.record(&mut all);
        let line = self.line(*event.metadata().level(), &all);
        // One write a line, so that lines of several processes do not mix.
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = out.write_all(line.as_bytes());
    }
}

#[derive(Default)]
struct Fields {
    message: String,
    named: Vec<(&'static str, String)>,
}

impl Fields {
    fn set(&mut self, name: &'static str, value: String) {
        if name == "message" {
            self.message = value;
            return;
        }
        match self.named.iter_mut().find(|(other, _)| *other == name) {
            Some((_, old)) => *old = value,
            None => self.named.push((name, value)),
        }
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field.name(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.set(field.name(), format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::levels::Levels;
    use std::ffi::OsStr;
    use std::io;
    use std::sync::Arc;

    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);

    impl Write for Paper {
        fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(octets)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What is written while `work` logs, without the times.
    fn written(word: &str, colours: bool, work: impl FnOnce()) -> Vec<String> {
        let paper = Paper::default();
        let (levels, _) = Levels::from_word(Some(OsStr::new(word)));
        let subscriber = crate::telemetry::subscriber(levels, Lines::new(paper.clone(), colours));
        tracing::subscriber::with_default(subscriber, work);
        let text = String::from_utf8(paper.0.lock().unwrap().clone()).unwrap();
        text.lines()
            .map(|line| {
                let (time, rest) = line.split_once(' ').unwrap();
                time.parse::<Timestamp>().unwrap();
                assert!(time.ends_with('Z') && time.len() == "2026-01-01T00:00:00.000Z".len(), "{time}");
                rest.to_owned()
            })
            .collect()
    }

    #[test]
    fn fields_of_the_spans_reach_the_events_inside() {
        let lines = written("info", false, || {
            let migration =
                tracing::info_span!("migration", MIGRATION = "move-1", FOLDER = tracing::field::Empty);
            let _in_migration = migration.enter();
            tracing::info!("begun");
            migration.record("FOLDER", "Sent Items");
            let connection = tracing::debug_span!("connection", ACCOUNT = %"alice", FOLDER = "INBOX");
            let _in_connection = connection.enter();
            tracing::warn!(messages = 3, "throttled: {}", "slow\ndown");
        });
        assert_eq!(
            lines,
            [
                "INFO  begun MIGRATION=move-1",
                "WARN  throttled: slow\\ndown MIGRATION=move-1 FOLDER=INBOX ACCOUNT=alice messages=3",
            ]
        );
    }

    #[test]
    fn a_warning_keeps_its_account_when_only_warnings_are_wanted() {
        let lines = written("warn", false, || {
            let _poll = tracing::info_span!("poll", ACCOUNT = "alice").entered();
            tracing::info!("not wanted");
            tracing::error!("wanted");
        });
        assert_eq!(lines, ["ERROR wanted ACCOUNT=alice"]);
    }

    #[test]
    fn colours_surround_the_level_and_nothing_else() {
        let lines = written("info", true, || tracing::error!(ACCOUNT = "a\x1b[0m", "gone"));
        assert_eq!(lines, ["\x1b[1;31mERROR\x1b[0m gone ACCOUNT=\"a\\u{1b}[0m\""]);
    }

    #[test]
    fn foreign_crates_stay_below_their_ceiling() {
        let lines = written("trace", false, || {
            tracing::trace!(target: "async_imap::imap_stream", "LOGIN alice hunter2");
            tracing::info!(target: "zlink_core::connection", "a call with hunter2");
            tracing::warn!(target: "zlink_core::connection", "a caller is gone");
            tracing::trace!("ours");
        });
        assert_eq!(lines, ["WARN  a caller is gone", "TRACE ours"]);
    }

    #[test]
    fn a_closed_standard_error_is_survived() {
        struct Gone;
        impl Write for Gone {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
        }
        let (levels, _) = Levels::from_word(None);
        let subscriber = crate::telemetry::subscriber(levels, Lines::new(Gone, false));
        tracing::subscriber::with_default(subscriber, || tracing::error!("nobody reads this"));
    }
}
