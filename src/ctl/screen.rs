//! Where output goes: a terminal, a pipe, or JSON. It refuses to let control characters through. A reader that
//! went away ends the output quietly; anything else that ends it, such as a full disk, is told.

use std::io::{IsTerminal, Write};

use jiff::Timestamp;
use serde::Serialize;

use super::moments::count;
use super::trouble::Trouble;

/// Standard output and standard error, and how to write to them.
pub(super) struct Screen {
    out: Box<dyn Write>,
    err: Box<dyn Write>,
    closed: bool,
    /// Why the output ended, if its reader did not go away.
    lost: Option<Trouble>,
    /// Whether a person is looking.
    pub(super) terminal: bool,
    /// Whether colours are wanted.
    pub(super) colour: bool,
    /// Whether the protocol's answer is wanted as it is.
    pub(super) json: bool,
    /// When this is.
    pub(super) now: Timestamp,
}

impl Screen {
    /// The process's own; colours follow NO_COLOR (no-color.org).
    pub(super) fn new(json: bool) -> Self {
        let terminal = std::io::stdout().is_terminal();
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Screen {
            out: Box::new(std::io::stdout()),
            err: Box::new(std::io::stderr()),
            closed: false,
            lost: None,
            terminal,
            colour: terminal && !plain,
            json,
            now: Timestamp::now(),
        }
    }

    /// One that writes elsewhere.
    #[cfg(test)]
    pub(super) fn onto(out: Box<dyn Write>, err: Box<dyn Write>, terminal: bool, json: bool) -> Self {
        let now = "2026-11-22T10:00:00Z".parse().unwrap();
        Screen { out, err, closed: false, lost: None, terminal, colour: false, json, now }
    }

    /// Whether nothing can be written any more.
    pub(super) fn closed(&self) -> bool {
        self.closed
    }

    /// Why not everything was written, unless the reader went away.
    pub(super) fn lost(&mut self) -> Option<Trouble> {
        self.lost.take()
    }

    /// Writes octets as they are.
    pub(super) fn raw(&mut self, octets: &[u8]) {
        if self.closed {
            return;
        }
        if let Err(error) = self.out.write_all(octets).and_then(|()| self.out.flush()) {
            self.closed = true;
            self.lost = unwritten(&error);
        }
    }

    /// One line, made harmless.
    pub(super) fn line(&mut self, text: &str) {
        self.raw(format!("{}\n", harmless(text)).as_bytes());
    }

    /// One line in the colour of its meaning.
    pub(super) fn painted(&mut self, meaning: Meaning, text: &str) {
        let text = harmless(text);
        let text = if self.colour { format!("\x1b[{}m{text}\x1b[0m\n", meaning.sgr()) } else { text + "\n" };
        self.raw(text.as_bytes());
    }

    /// An answer as one line of JSON.
    pub(super) fn json(&mut self, answer: &impl Serialize) -> Result<(), Trouble> {
        let mut octets = serde_json::to_vec(answer).map_err(|error| {
            Trouble::failed(format!("the answer is not JSON: {error}"), "leave --json out")
        })?;
        octets.push(b'\n');
        self.raw(&octets);
        Ok(())
    }

    /// Says on standard error what went wrong.
    pub(super) fn trouble(&mut self, trouble: &Trouble) {
        // Nobody is left to be told that this failed.
        let _ = writeln!(self.err, "{}", harmless(&trouble.to_string()));
    }

    /// Says on standard error that the work for one account failed, in the daemon's words.
    pub(super) fn failed(&mut self, name: &str, words: Option<&str>) {
        let words = words.filter(|words| !words.is_empty()).unwrap_or("failed");
        let mend = if words.contains("; ") { String::new() } else { format!("see mailhaulctl show {name}") };
        self.trouble(&Trouble::failed(words, mend).about(name));
    }

    /// The same of what nobody keeps.
    pub(super) fn failed_now(&mut self, name: &str, words: Option<&str>) {
        let words = words.filter(|words| !words.is_empty()).unwrap_or("failed");
        let mend = if words.contains("; ") { "" } else { "try again later" };
        self.trouble(&Trouble::failed(words, mend).about(name));
    }

    /// Says on standard error that so many messages of a run did not come; `again`: what tries them again.
    pub(super) fn part_failed(&mut self, name: &str, messages: u64, again: &str) {
        let mend = format!("'mailhaulctl show {name}' lists them, {again}");
        self.trouble(&Trouble::failed(format!("{} failed", count(messages, "message")), mend).about(name));
    }
}

/// What a colour stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    Good,
    Bad,
    Busy,
    Quiet,
}

impl Meaning {
    fn sgr(self) -> &'static str {
        match self {
            Meaning::Good => "32",
            Meaning::Bad => "31",
            Meaning::Busy => "36",
            Meaning::Quiet => "2",
        }
    }

    /// Of a state or a result.
    pub(super) fn of(word: &str) -> Option<Self> {
        match word {
            "ok" | "completed" | "done" => Some(Meaning::Good),
            "failed" | "invalid" | "denied" | "rolled-back" => Some(Meaning::Bad),
            "running" | "checking" | "retrying" | "rolling-back" => Some(Meaning::Busy),
            "disabled" | "cancelled" | "paused" => Some(Meaning::Quiet),
            _ => None,
        }
    }
}

/// What a failed write to standard output means; a reader that went away has what it wanted.
pub(super) fn unwritten(error: &std::io::Error) -> Option<Trouble> {
    let gone = error.kind() == std::io::ErrorKind::BrokenPipe;
    let trouble =
        || Trouble::failed(format!("standard output cannot be written: {error}"), "make space there");
    (!gone).then(trouble)
}

/// One line on the process's standard error, before there is a screen.
pub(super) fn complain(text: &str) {
    let _ = writeln!(std::io::stderr(), "{}", harmless(text));
}

/// The text with every character made visible that a terminal would obey: controls, and those that turn
/// the direction of writing.
pub(super) fn harmless(text: &str) -> String {
    let obeyed = |c: char| {
        c.is_control()
            || matches!(c, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{61c}')
            || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if !text.contains(obeyed) {
        return text.to_owned();
    }
    text.chars().fold(String::with_capacity(text.len() + 8), |mut shown, c| {
        if obeyed(c) {
            shown.extend(c.escape_default())
        } else {
            shown.push(c)
        }
        shown
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_obeys_is_shown() {
        assert_eq!(harmless("a\x1b[2Jb\r\n\u{9b}c\u{202e}"), "a\\u{1b}[2Jb\\r\\n\\u{9b}c\\u{202e}");
        assert_eq!(harmless("편지 é \\ \""), "편지 é \\ \"");
    }
}
