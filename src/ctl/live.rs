//! How running work goes: bars on a terminal, in a pipe a line for each change. It refuses to draw more bars
//! than a screen has room for; what has no bar is still told when it ends.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::control::api::Migration;

use super::moments::{moment, size};
use super::screen::{Screen, harmless};

const MOST_BARS: usize = 20;
const KNOWN: &str = "{prefix:<24!} {wide_bar:.cyan} {pos}/{len} {percent:>3}% {per_sec} ETA {eta} {msg}";
const UNKNOWN: &str = "{prefix:<24!} {spinner} {pos} messages {msg}";

/// Whether a migration in this state moves no more by itself.
pub(super) fn ended(state: &str) -> bool {
    matches!(state, "completed" | "failed" | "rolled-back" | "cancelled")
}

/// A migration's numbers in words.
pub(super) fn numbers(migration: &Migration) -> String {
    let mut words = match migration.messages_total {
        Some(total) => format!("{}/{total} messages", migration.messages_done),
        None => format!("{} messages", migration.messages_done),
    };
    for (number, what) in [
        (migration.messages_already_there, "of them already there"),
        (migration.messages_skipped, "skipped"),
        (migration.messages_vanished, "of these vanished meanwhile"),
        (migration.messages_failed, "failed"),
    ] {
        if number > 0 {
            // Writing into a String does not fail.
            let _ = write!(words, ", {number} {what}");
        }
    }
    let _ = write!(words, ", {}", size(migration.bytes_done));
    words
}

/// What is shown of running work.
pub(super) struct Live {
    bars: Option<MultiProgress>,
    shown: BTreeMap<String, Shown>,
}

struct Shown {
    bar: Option<ProgressBar>,
    line: String,
    poll: bool,
}

impl Live {
    /// Nothing yet.
    pub(super) fn new(screen: &Screen) -> Self {
        // indicatif draws on standard error, and nothing if that is no terminal.
        let bars = (screen.terminal && !screen.json).then(MultiProgress::new);
        Live { bars, shown: BTreeMap::new() }
    }

    /// A migration moved.
    pub(super) fn migration(&mut self, screen: &mut Screen, migration: &Migration) {
        let mut message = migration.state.clone();
        if let Some(place) = migration.position.filter(|_| migration.state == "queued") {
            let _ = write!(message, ", place {place}");
        }
        if migration.next_try_at.is_some() {
            let _ = write!(message, ", next try {}", moment(screen, migration.next_try_at.as_deref()));
        }
        if let Some(error) = migration.error.as_ref().filter(|_| migration.state != "running") {
            let _ = write!(message, ": {error}");
        }
        let handled = migration.messages_done + migration.messages_skipped + migration.messages_failed;
        let line = format!("{} {message}, {}", migration.name, numbers(migration));
        self.moved(screen, &migration.name, handled, migration.messages_total, &message, line, false);
        if ended(&migration.state) {
            // Its last line is remembered, so that it is not told again.
            self.end(&migration.name);
        }
    }

    /// A poll moved.
    pub(super) fn poll(&mut self, screen: &mut Screen, name: &str, done: u64, total: Option<u64>) {
        let of = total.map(|total| format!("/{total}")).unwrap_or_default();
        let line = format!("{name} polls, {done}{of} messages");
        self.moved(screen, name, done, total, "polls", line, true);
    }

    /// Polls that are not among `running` have ended.
    pub(super) fn only_polls(&mut self, running: &[&str]) {
        let over = |(name, shown): &(&String, &Shown)| shown.poll && !running.contains(&name.as_str());
        let over: Vec<String> = self.shown.iter().filter(over).map(|(name, _)| name.clone()).collect();
        for name in over {
            self.end(&name);
            self.shown.remove(&name);
        }
    }

    /// The bar of `name` goes away.
    pub(super) fn end(&mut self, name: &str) {
        if let Some(bar) = self.shown.get_mut(name).and_then(|shown| shown.bar.take()) {
            bar.finish_and_clear();
            if let Some(bars) = &self.bars {
                bars.remove(&bar);
            }
        }
    }

    /// Writes something while the bars stand aside.
    pub(super) fn apart(&self, write: impl FnOnce()) {
        match &self.bars {
            Some(bars) => bars.suspend(write),
            None => write(),
        }
    }

    #[expect(clippy::too_many_arguments, reason = "one row of a display, told once by each of two callers")]
    fn moved(
        &mut self,
        screen: &mut Screen,
        name: &str,
        done: u64,
        total: Option<u64>,
        message: &str,
        line: String,
        poll: bool,
    ) {
        let busy = self.shown.values().filter(|shown| shown.bar.is_some()).count();
        let shown = self.shown.entry(name.to_owned()).or_insert_with(|| {
            let bars = self.bars.as_ref().filter(|_| busy < MOST_BARS);
            Shown {
                bar: bars.map(|bars| bars.add(new_bar(name, done, screen.colour))),
                line: String::new(),
                poll,
            }
        });
        if shown.line == line {
            return;
        }
        match &shown.bar {
            Some(bar) => {
                style(bar, total, screen.colour);
                bar.set_position(done);
                bar.set_message(harmless(message));
            }
            None if self.bars.is_some() => {}
            None => {
                let now = jiff::Timestamp::now();
                screen.line(&format!("{now:.0} {line}"));
            }
        }
        shown.line = line;
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        if let Some(bars) = &self.bars {
            // A terminal that went away needs no clearing.
            let _ = bars.clear();
        }
    }
}

fn new_bar(name: &str, done: u64, colour: bool) -> ProgressBar {
    let bar = ProgressBar::no_length().with_prefix(harmless(name)).with_position(done);
    style(&bar, None, colour);
    // What was done before must not count as speed.
    bar.reset_eta();
    bar.enable_steady_tick(Duration::from_millis(250));
    bar
}

fn style(bar: &ProgressBar, total: Option<u64>, colour: bool) {
    if bar.length() == total && total.is_some() {
        return;
    }
    let template = if total.is_some() { KNOWN } else { UNKNOWN };
    let template = if colour { template.to_owned() } else { template.replace(":.cyan", "") };
    if let Ok(style) = ProgressStyle::with_template(&template) {
        bar.set_style(style);
    }
    if let Some(total) = total {
        bar.set_length(total);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_templates_are_good() {
        for template in [KNOWN, UNKNOWN] {
            assert!(ProgressStyle::with_template(template).is_ok());
        }
    }

    #[test]
    fn numbers_in_words() {
        let migration = Migration {
            messages_total: Some(10),
            messages_done: 8,
            messages_skipped: 2,
            messages_already_there: 1,
            bytes_done: 2048,
            ..Migration::default()
        };
        assert_eq!(numbers(&migration), "8/10 messages, 1 of them already there, 2 skipped, 2.0 KB");
    }
}
