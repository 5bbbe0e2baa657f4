//! `report`: what became of every message, as text, as JSON or as a page, to be kept or handed on. It
//! refuses to trust a name from a server: in a page every text is escaped.

use std::fmt::Write;

use crate::control::api::{Folder, Manager, Shown, Skipped};

use super::Outcome;
use super::args::Format;
use super::connection::{Connection, answer};
use super::moments::size;
use super::screen::{Screen, harmless};
use super::show::{arrived, brought, ledger};

pub(super) async fn run(
    connection: &mut Connection,
    screen: &mut Screen,
    name: &str,
    format: Format,
) -> Outcome {
    let shown = answer(connection.show_account(name).await)?;
    match format {
        _ if screen.json => screen.json(&shown)?,
        Format::Json => screen.json(&shown)?,
        Format::Text => screen.raw(text(&shown).as_bytes()),
        Format::Html => screen.raw(page(&shown).as_bytes()),
    }
    Ok(true)
}

/// Title and value, in the order of reading.
fn facts(shown: &Shown) -> Vec<(&'static str, String)> {
    let account = &shown.account;
    let mut facts = vec![("account", account.name.clone())];
    let mut add =
        |title, value: Option<String>| facts.extend(value.filter(|v| !v.is_empty()).map(|v| (title, v)));
    add("member", account.member.clone());
    add("source", account.source.clone());
    add("destination", account.destination.clone());
    if let Some(migration) = &shown.migration {
        add("state", Some(migration.state.clone()));
        add("started", migration.started_at.clone());
        add("finished", migration.finished_at.clone());
        let folders = migration.folders_total.map(|total| format!("{} of {total}", migration.folders_done));
        add("folders", folders);
        add("messages", Some(ledger(&migration.ledger)));
        let total = migration.bytes_total.map(|total| format!(" of {}", size(total))).unwrap_or_default();
        add("octets", Some(format!("{}{total}", size(migration.bytes_done))));
        add("arrived", migration.arrived.as_ref().map(arrived));
        add("outcome", migration.outcome.clone());
        add("error", migration.error.clone());
    } else {
        add("state", Some(account.state.clone()));
        add("reason", account.reason.clone());
        if let Some(run) = &account.last_run {
            add("started", run.started_at.clone());
            add("finished", run.finished_at.clone());
            add("last run", Some(format!("{}: {}", run.result, brought(run))));
            add("messages", Some(ledger(&run.ledger)));
            add("error", run.error.clone());
        }
    }
    facts
}

const FOLDER: [&str; 9] =
    ["FOLDER", "DESTINATION", "STATE", "SEEN", "IMPORTED", "THERE", "SKIPPED", "FAILED", "VANISHED"];
const SKIPPED: [&str; 4] = ["EXCEPTION IN", "ID", "SIZE", "REASON"];

fn folder(folder: &Folder) -> [String; 9] {
    let ledger = &folder.ledger;
    [
        folder.name.clone(),
        folder.destination.clone(),
        folder.state.clone(),
        ledger.seen.to_string(),
        ledger.imported.to_string(),
        ledger.already_there.to_string(),
        ledger.skipped.to_string(),
        ledger.failed.to_string(),
        ledger.vanished.to_string(),
    ]
}

fn skipped(message: &Skipped) -> [String; 4] {
    let octets = message.size.map(size).unwrap_or_default();
    [message.folder.clone(), message.id.clone(), octets, message.reason.clone()]
}

fn text(shown: &Shown) -> String {
    let mut out = String::new();
    for (title, value) in facts(shown) {
        // Writing into a String does not fail.
        let _ = writeln!(out, "{title:<13}{}", harmless(&value));
    }
    columns(&mut out, &FOLDER, shown.folders.iter().map(folder));
    for folder in &shown.folders {
        if let Some(note) = &folder.note {
            let _ = writeln!(out, "{}: {}", harmless(&folder.name), harmless(note));
        }
    }
    columns(&mut out, &SKIPPED, shown.skipped.iter().map(skipped));
    out
}

fn columns<const N: usize>(out: &mut String, titles: &[&str; N], rows: impl Iterator<Item = [String; N]>) {
    let rows: Vec<[String; N]> = rows.map(|row| row.map(|cell| harmless(&cell))).collect();
    if rows.is_empty() {
        return;
    }
    let mut widths = titles.map(str::len);
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    out.push('\n');
    let mut line = |cells: Vec<&str>| {
        let mut text = String::new();
        for (cell, width) in cells.iter().zip(widths) {
            let pad = width.saturating_sub(cell.chars().count()) + 2;
            text.push_str(cell);
            text.extend(std::iter::repeat_n(' ', pad));
        }
        let _ = writeln!(out, "{}", text.trim_end());
    };
    line(titles.to_vec());
    for row in &rows {
        line(row.iter().map(String::as_str).collect());
    }
}

fn page(shown: &Shown) -> String {
    let name = escape(&shown.account.name);
    let mut out = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <title>Mailhaul: {name}</title>\n<style>body{{font:16px sans-serif;margin:2em}}\
         table{{border-collapse:collapse;margin:1em 0}}td,th{{border:1px solid #999;padding:.2em .6em;\
         text-align:left}}</style>\n</head>\n<body>\n<h1>{name}</h1>\n<table>\n"
    );
    for (title, value) in facts(shown) {
        let _ = writeln!(out, "<tr><th>{}</th><td>{}</td></tr>", escape(title), escape(&value));
    }
    out.push_str("</table>\n");
    table(&mut out, &FOLDER, shown.folders.iter().map(folder));
    let notes: Vec<[String; 2]> =
        shown.folders.iter().filter_map(|f| Some([f.name.clone(), f.note.clone()?])).collect();
    table(&mut out, &["FOLDER", "NOTE"], notes.into_iter());
    table(&mut out, &SKIPPED, shown.skipped.iter().map(skipped));
    out.push_str("</body>\n</html>\n");
    out
}

fn table<const N: usize>(out: &mut String, titles: &[&str; N], rows: impl Iterator<Item = [String; N]>) {
    let mut rows = rows.peekable();
    if rows.peek().is_none() {
        return;
    }
    let row = |kind: &str, cells: &[String]| {
        let cells: String = cells.iter().map(|cell| format!("<{kind}>{}</{kind}>", escape(cell))).collect();
        format!("<tr>{cells}</tr>\n")
    };
    out.push_str("<table>\n");
    out.push_str(&row("th", &titles.map(str::to_owned)));
    for cells in rows {
        out.push_str(&row("td", &cells));
    }
    out.push_str("</table>\n");
}

fn escape(text: &str) -> String {
    harmless(text)
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::api::{Account, Ledger, Migration};

    fn shown() -> Shown {
        let ledger = Ledger { seen: 3, imported: 2, failed: 1, adds_up: true, ..Ledger::default() };
        Shown {
            account: Account { name: "a".to_owned(), ..Account::default() },
            migration: Some(Migration {
                state: "completed".to_owned(),
                ledger: ledger.clone(),
                ..Migration::default()
            }),
            folders: vec![Folder {
                name: "<script>\u{1b}[2J".to_owned(),
                ledger,
                note: Some("a & b".to_owned()),
                ..Folder::default()
            }],
            skipped: vec![Skipped {
                folder: "x".to_owned(),
                id: "7".to_owned(),
                size: None,
                reason: "the server says \"<no>\"".to_owned(),
            }],
        }
    }

    #[test]
    fn every_message_has_its_place() {
        let text = text(&shown());
        assert!(
            text.contains("3 seen = 2 imported + 0 already there + 0 skipped + 1 failed + 0 vanished"),
            "{text}"
        );
        assert!(text.contains("the server says \"<no>\"") && !text.contains('\u{1b}'), "{text}");
    }

    #[test]
    fn a_page_runs_nothing() {
        let page = page(&shown());
        assert!(page.contains("&lt;script&gt;") && !page.contains("<script") && !page.contains('\u{1b}'));
        assert!(page.contains("&quot;&lt;no&gt;&quot;") && page.contains("a &amp; b"));
        assert_eq!(page.matches("<table>").count(), page.matches("</table>").count());
    }
}
