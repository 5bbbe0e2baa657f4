//! A complaint: what is wrong in a file, exactly where, and what would be right.
//! It refuses to exist without an address.

use std::fmt;
use std::path::PathBuf;

/// One thing that is wrong in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    /// The file.
    pub file: PathBuf,
    /// Counted from 1.
    pub line: usize,
    /// In characters, counted from 1.
    pub column: usize,
    /// The key with its tables, `account.source.port`.
    pub key: String,
    /// What is wrong.
    pub what: String,
    /// What would be right.
    pub mend: String,
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Complaint { file, line, column, key, what, mend } = self;
        write!(f, "{}:{line}:{column}: {key}: {what}; {mend}", file.display())
    }
}

/// The one of `known` that was most likely meant by `typed`.
pub(super) fn nearest<'k>(typed: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let typed = typed.to_lowercase();
    known
        .into_iter()
        .map(|word| (distance(&typed, &word.to_lowercase()), word))
        .filter(|(away, word)| *away <= 1 + word.chars().count() / 4)
        .min_by_key(|(away, _)| *away)
        .map(|(_, word)| word)
}

/// Insertions, deletions and replacements between two words; long words are not worth the time.
fn distance(from: &str, to: &str) -> usize {
    if from.len() > 64 {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=to.chars().count()).collect();
    for (i, a) in from.chars().enumerate() {
        let mut left = i + 1;
        let mut diagonal = i;
        for (b, cell) in to.chars().zip(row.iter_mut().skip(1)) {
            let above = *cell;
            let replaced = diagonal + usize::from(a != b);
            left = replaced.min(above + 1).min(left + 1);
            diagonal = above;
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(usize::MAX)
}

/// `a, b or c`, each in quotes.
pub(super) fn one_of(words: &[&str]) -> String {
    match words.split_last() {
        None => String::new(),
        Some((last, [])) => format!("\"{last}\""),
        Some((last, rest)) => {
            let rest: Vec<String> = rest.iter().map(|word| format!("\"{word}\"")).collect();
            format!("{} or \"{last}\"", rest.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (from, to, away) in [("", "abc", 3), ("port", "prot", 2), ("prt", "port", 1), ("same", "same", 0)]
        {
            assert_eq!(distance(from, to), away, "{from} {to}");
        }
    }

    #[test]
    fn the_nearest_word_is_found_and_a_far_one_is_not() {
        assert_eq!(nearest("intervall", ["interval", "concurrency"]), Some("interval"));
        assert_eq!(nearest("colour", ["interval", "concurrency"]), None);
    }
}
