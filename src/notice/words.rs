//! The texts, one file a language, compiled in: a section a notice, its first line the subject. It refuses to read
//! a placeholder out of what a server said.

use crate::settings::Language;

pub(super) const TEXTS: [(Language, &str); 3] = [
    (Language::English, include_str!("texts/en.txt")),
    (Language::Korean, include_str!("texts/ko.txt")),
    (Language::Japanese, include_str!("texts/ja.txt")),
];

/// Fills placeholders in, each once: what a server said is never read as a placeholder.
pub(super) fn filled(text: &str, values: &[(&str, String)]) -> String {
    let mut out = String::with_capacity(text.len() + 256);
    let mut rest = text;
    while let Some(at) = rest.find('{') {
        let (before, tail) = rest.split_at(at);
        out.push_str(before);
        match values.iter().find(|(key, _)| tail.starts_with(key)) {
            Some((key, value)) => {
                // Only a list has lines, and those are ours.
                out.extend(value.chars().filter(|c| !c.is_control() || (*key == "{list}" && *c == '\n')));
                rest = tail.get(key.len()..).unwrap_or_default();
            }
            None => {
                out.push('{');
                rest = tail.get(1..).unwrap_or_default();
            }
        }
    }
    out.push_str(rest);
    out
}

/// A section of a language's text.
pub(super) fn section(language: Language, name: &str) -> &'static str {
    let text = TEXTS.iter().find(|(of, _)| *of == language).map_or("", |(_, text)| *text);
    let from = text.split_once(&format!("[{name}]\n")).map_or("", |(_, from)| from);
    from.split("\n[").next().unwrap_or("").trim_end()
}
