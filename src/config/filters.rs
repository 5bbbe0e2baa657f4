//! `[[filter]]`: a member's rules for collected mail, beside `[[account]]`. It refuses a rule that can do nothing.

use std::collections::BTreeSet;

use crate::account::Member;
use crate::filter::{Actions, Condition, Pattern, Rule, Test};
use crate::message::Mark;

use super::accounts::good;
use super::names;
use super::walk::Value;

/// Conditions of a rule, and its keywords.
const MOST: usize = 100;
/// Where a Maildir++ keeps what was thrown away.
const TRASH: &str = "Trash";

/// Reads one rule.
pub(super) fn read(value: &Value<'_>) -> Option<(Member, Rule)> {
    let table = value.table()?;
    table.only(&["member", "name", "match", "when", "then", "stop"]);
    let member = table.require("member", "write member = \"alice@example.com\", whose mail it is");
    let member = member.and_then(|value| good(&value, names::member(value.string()?)));
    if let Some(value) = table.get("name") {
        value.string()?;
    }
    let every = match table.get("match") {
        Some(value) => value.choice(&["all", "any"])? == "all",
        None => true,
    };
    let last = match table.get("stop") {
        Some(value) => value.boolean()?,
        None => true,
    };
    let when = table.require("when", "write when = [{ header = \"Subject\", contains = \"...\" }]");
    let when = when.and_then(|value| {
        let list = value.list()?;
        if list.is_empty() || list.len() > MOST {
            value.complain(
                format!("has {} conditions", list.len()),
                format!("write 1 to {MOST} of them; {{ header = \"From\", exists = true }} holds for nearly every message"),
            );
            return None;
        }
        list.iter().map(condition).collect::<Option<Vec<_>>>()
    });
    let then = table.require("then", "write then = { folder = \"...\" }").and_then(|value| actions(&value));
    Some((member?, Rule { every, conditions: when?, actions: then?, last }))
}

fn condition(value: &Value<'_>) -> Option<Condition> {
    const TESTS: [&str; 4] = ["header", "address", "size_over", "size_under"];
    const PATTERNS: [&str; 5] = ["is", "contains", "matches", "domain", "exists"];
    let table = value.table()?;
    let known: Vec<&str> = TESTS.into_iter().chain(PATTERNS).chain(["not"]).collect();
    table.only(&known);
    let one = |keys: &[&'static str]| {
        let mut there = keys.iter().copied().filter(|key| table.get(key).is_some());
        (there.next(), there.next().is_some())
    };
    let not = match table.get("not") {
        Some(value) => value.boolean()?,
        None => false,
    };
    let (Some(kind), false) = one(&TESTS) else {
        table.complain("must look at one thing", "write one of header, address, size_over, size_under");
        return None;
    };
    let looked_at = table.get(kind)?;
    let (how, more) = one(&PATTERNS);
    if kind.starts_with("size") {
        if let Some(value) = how.and_then(|how| table.get(how)) {
            value.complain("does not go with a size", "remove it");
            return None;
        }
        let octets = looked_at.size()?;
        let Some(octets) = octets else {
            looked_at.complain("is no size", "write \"1MB\"");
            return None;
        };
        let test = if kind == "size_over" { Test::Over(octets) } else { Test::Under(octets) };
        return Some(Condition { not, test });
    }
    let field = good(&looked_at, names::field(looked_at.string()?))?;
    let (Some(how), false) = (how, more) else {
        table.complain(
            "must say what the field is like",
            "write one of is, contains, matches, domain, exists = true",
        );
        return None;
    };
    let pattern = pattern(&table.get(how)?, how, kind)?;
    let test = if kind == "header" { Test::Header(field, pattern) } else { Test::Address(field, pattern) };
    Some(Condition { not, test })
}

fn pattern(value: &Value<'_>, how: &str, kind: &str) -> Option<Pattern> {
    if how == "exists" {
        if !value.boolean()? {
            value.complain("false says nothing", "write exists = true, not = true");
            return None;
        }
        return Some(Pattern::Exists);
    }
    let text = value.string()?.trim().to_lowercase();
    if text.is_empty() || text.len() > 1000 {
        value.complain("is empty or too long", "write up to 1000 octets");
        return None;
    }
    match how {
        "is" => Some(Pattern::Is(text)),
        "contains" => Some(Pattern::Contains(text)),
        "matches" => Some(Pattern::Matches(text)),
        _ if kind == "address" => Some(Pattern::Domain(text.trim_start_matches('@').to_owned())),
        _ => {
            value.complain("goes with address alone", "write address = instead of header =");
            None
        }
    }
}

fn actions(value: &Value<'_>) -> Option<Actions> {
    let table = value.table()?;
    table.only(&["folder", "trash", "flags", "keywords"]);
    let mut folder = match table.get("folder") {
        Some(value) => Some(good(&value, names::folder(value.string()?))?),
        None => None,
    };
    if let Some(value) = table.get("trash")
        && value.boolean()?
    {
        if folder.is_some() {
            value.complain("goes into another folder already", "write trash or folder, not both");
            return None;
        }
        folder = Some(vec![TRASH.to_owned()]);
    }
    let mut marks = BTreeSet::new();
    if let Some(value) = table.get("flags") {
        for (word, value) in value.strings()? {
            marks.insert(mark(word, &value)?);
        }
    }
    let mut keywords = Vec::new();
    if let Some(value) = table.get("keywords") {
        for (word, value) in value.strings()? {
            good(&value, names::keyword(word))?;
            keywords.push(word.to_owned());
        }
        if keywords.len() > MOST {
            value.complain("are too many", format!("write up to {MOST}"));
            return None;
        }
    }
    if folder.is_none() && marks.is_empty() && keywords.is_empty() {
        table.complain("does nothing", "write folder, trash = true, flags or keywords");
        return None;
    }
    Some(Actions { folder, marks, keywords })
}

fn mark(word: &str, value: &Value<'_>) -> Option<Mark> {
    let found = match word.to_lowercase().as_str() {
        "\\seen" => Mark::Seen,
        "\\flagged" => Mark::Flagged,
        "\\answered" => Mark::Answered,
        "\\draft" => Mark::Draft,
        _ => {
            value.complain(
                format!("{word} is no flag that a rule sets"),
                "write \\\\Seen, \\\\Flagged, \\\\Answered or \\\\Draft, or put it into keywords",
            );
            return None;
        }
    };
    Some(found)
}
