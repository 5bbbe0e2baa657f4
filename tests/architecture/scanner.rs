//! Reads Rust source as far as paths go: `a::b::c` anywhere, `use a::{b, c::{d, e}}` taken apart, each
//! with its line. Comments and strings are skipped. It refuses to understand anything else.

#![allow(unreachable_pub, clippy::indexing_slicing, reason = "a helper of tests")]

/// A path as it was written, groups taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Its parts: names, `*` for a glob, `as` where it is given another name.
    pub parts: Vec<String>,
    /// Where its last part stands, from 1.
    pub line: usize,
    /// How many inline modules it stands in.
    pub depth: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Token {
    text: String,
    line: usize,
}

/// Every path in `source`; a name that stands alone is one only after `use` or `extern crate`.
pub fn paths(source: &str) -> Vec<Written> {
    let tokens = tokens(source);
    let mut found = Vec::new();
    // One entry for each open brace: whether a module began with it.
    let mut braces: Vec<bool> = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let text = |at: usize| tokens.get(at).map_or("", |token: &Token| token.text.as_str());
        match text(at) {
            "{" => braces.push(at >= 2 && text(at - 2) == "mod"),
            "}" => {
                braces.pop();
            }
            "use" | "crate" | "super" | "self" | "::" => {}
            word if is_name(word) => {}
            _ => {
                at += 1;
                continue;
            }
        }
        let depth = braces.iter().filter(|is_module| **is_module).count();
        let after_use = text(at) == "use" || (text(at) == "extern" && text(at + 1) == "crate");
        let start = match text(at) {
            "use" => at + 1,
            "extern" if after_use => at + 2,
            _ => at,
        };
        let mut tree = Vec::new();
        let end = read_tree(&tokens, start, &[], depth, &mut tree);
        if after_use {
            found.extend(tree);
        } else {
            found.extend(tree.into_iter().filter(|written| written.parts.len() > 1));
        }
        at = end.max(at + 1);
    }
    found
}

/// Reads a path or a tree of them from `at`; returns where it ends.
fn read_tree(
    tokens: &[Token],
    mut at: usize,
    before: &[String],
    depth: usize,
    found: &mut Vec<Written>,
) -> usize {
    let text = |at: usize| tokens.get(at).map_or("", |token: &Token| token.text.as_str());
    let mut parts = before.to_vec();
    let mut line = tokens.get(at).map_or(0, |token| token.line);
    if text(at) == "::" {
        at += 1;
    }
    loop {
        if text(at) == "{" && (!parts.is_empty() || at > 0 && text(at - 1) == "use") {
            at += 1;
            while at < tokens.len() && text(at) != "}" {
                let end = read_tree(tokens, at, &parts, depth, found);
                at = end.max(at + 1);
                if text(at) == "," {
                    at += 1;
                }
            }
            return at + 1;
        }
        if !is_name(text(at)) && text(at) != "*" {
            break;
        }
        line = tokens[at].line;
        parts.push(tokens[at].text.clone());
        at += 1;
        // `Vec::<T>::new` goes on inside the brackets, as another path.
        if text(at) != "::" || text(at + 1) == "<" {
            break;
        }
        at += 1;
    }
    if text(at) == "as" && !parts.is_empty() && before.is_empty() && parts.len() == 1 {
        parts.push("as".to_owned());
    }
    if text(at) == "as" && is_name(text(at + 1)) {
        at += 2;
    }
    if !parts.is_empty() {
        found.push(Written { parts, line, depth });
    }
    at
}

fn is_name(text: &str) -> bool {
    text.chars().next().is_some_and(|c| c.is_alphabetic() || c == '_')
}

fn tokens(source: &str) -> Vec<Token> {
    let chars: Vec<char> = source.chars().collect();
    let get = |at: usize| chars.get(at).copied().unwrap_or('\0');
    let mut found = Vec::new();
    let (mut at, mut line) = (0, 1);
    while at < chars.len() {
        let start = at;
        let c = get(at);
        if c.is_whitespace() {
            at += 1;
        } else if c == '/' && get(at + 1) == '/' {
            while at < chars.len() && get(at) != '\n' {
                at += 1;
            }
        } else if c == '/' && get(at + 1) == '*' {
            let mut open = 0;
            loop {
                match (get(at), get(at + 1)) {
                    ('/', '*') => (open, at) = (open + 1, at + 2),
                    ('*', '/') => (open, at) = (open - 1, at + 2),
                    _ => at += 1,
                }
                if open == 0 || at >= chars.len() {
                    break;
                }
            }
        } else if let Some(end) = string_end(&chars, at) {
            at = end;
        } else if c == '\'' {
            at = after_quote(&chars, at);
        } else if c.is_alphanumeric() || c == '_' {
            while get(at).is_alphanumeric() || get(at) == '_' {
                at += 1;
            }
            // `r#type` is a name like others.
            if at == start + 1 && c == 'r' && get(at) == '#' {
                at += 1;
            } else {
                found.push(Token { text: chars[start..at].iter().collect(), line });
            }
        } else if c == ':' && get(at + 1) == ':' {
            at += 2;
            found.push(Token { text: "::".to_owned(), line });
        } else {
            at += 1;
            found.push(Token { text: c.to_string(), line });
        }
        line += chars[start..at.min(chars.len())].iter().filter(|c| **c == '\n').count();
    }
    found
}

/// Where the string ends that begins at `at`, if one does: plain, raw, of octets or for C.
fn string_end(chars: &[char], at: usize) -> Option<usize> {
    let get = |at: usize| chars.get(at).copied().unwrap_or('\0');
    let mut i = at;
    if matches!(get(i), 'b' | 'c') {
        i += 1;
    }
    if get(i) == 'r' && matches!(get(i + 1), '"' | '#') {
        let hashes = (i + 1..).take_while(|at| get(*at) == '#').count();
        if get(i + 1 + hashes) != '"' {
            return None;
        }
        i += 2 + hashes;
        while i < chars.len() {
            if get(i) == '"' && (1..=hashes).all(|n| get(i + n) == '#') {
                return Some(i + 1 + hashes);
            }
            i += 1;
        }
        return Some(i);
    }
    if get(i) == '\'' && i > at {
        return Some(after_quote(chars, i));
    }
    if get(i) != '"' {
        return None;
    }
    i += 1;
    while i < chars.len() && get(i) != '"' {
        i += if get(i) == '\\' { 2 } else { 1 };
    }
    Some(i + 1)
}

/// After a character or a lifetime.
fn after_quote(chars: &[char], at: usize) -> usize {
    let get = |at: usize| chars.get(at).copied().unwrap_or('\0');
    if get(at + 1) == '\\' {
        let mut i = at + 3;
        while i < chars.len() && get(i) != '\'' {
            i += 1;
        }
        return i + 1;
    }
    if get(at + 2) == '\'' { at + 3 } else { at + 1 }
}
