//! Makes foreign words harmless on a terminal and keeps one event on one line. What servers, file names
//! and members bring along may hold line ends, escape sequences, and marks that turn the direction of
//! writing. It refuses to lose anything: what is not shown is spelled out.

use std::fmt::Write;

/// Appends `words` to `line`, with everything that would move a cursor spelled out.
pub(super) fn message(line: &mut String, words: &str) {
    for c in words.chars() {
        one(line, c);
    }
}

/// Appends the value of a field, in quotation marks where its end could not be seen without them.
pub(super) fn value(line: &mut String, value: &str) {
    let plain = |c: char| !c.is_whitespace() && !matches!(c, '"' | '\\' | '=') && !is_dangerous(c);
    if !value.is_empty() && value.chars().all(plain) {
        line.push_str(value);
        return;
    }
    line.push('"');
    for c in value.chars() {
        if matches!(c, '"' | '\\') {
            line.push('\\');
        }
        one(line, c);
    }
    line.push('"');
}

fn one(line: &mut String, c: char) {
    match c {
        '\n' => line.push_str("\\n"),
        '\r' => line.push_str("\\r"),
        '\t' => line.push_str("\\t"),
        c if is_dangerous(c) => {
            // Writing to a String does not fail.
            let _ = write!(line, "\\u{{{:x}}}", u32::from(c));
        }
        c => line.push(c),
    }
}

fn is_dangerous(c: char) -> bool {
    // Line and paragraph separator; then the marks that turn the direction of writing.
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}')
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escaped(words: &str) -> String {
        let mut line = String::new();
        message(&mut line, words);
        line
    }

    fn quoted(words: &str) -> String {
        let mut line = String::new();
        value(&mut line, words);
        line
    }

    #[test]
    fn one_line_and_no_escape_sequences() {
        assert_eq!(escaped("a\r\nb\x1b[2J\x07\u{9b}"), "a\\r\\nb\\u{1b}[2J\\u{7}\\u{9b}");
        assert_eq!(escaped("txt\u{202e}exe"), "txt\\u{202e}exe");
        assert_eq!(escaped("받은편지함 \"é\" \\"), "받은편지함 \"é\" \\");
    }

    #[test]
    fn a_value_ends_where_it_seems_to_end() {
        assert_eq!(quoted("alice@example.com"), "alice@example.com");
        assert_eq!(quoted("보낸편지함"), "보낸편지함");
        assert_eq!(quoted(""), "\"\"");
        assert_eq!(quoted("Sent Items"), "\"Sent Items\"");
        assert_eq!(quoted("a\" ACCOUNT=b\\"), "\"a\\\" ACCOUNT=b\\\\\"");
        assert_eq!(quoted("a\nb"), "\"a\\nb\"");
        assert_eq!(quoted("ACCOUNT=b"), "\"ACCOUNT=b\"");
    }
}
