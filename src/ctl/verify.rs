//! `verify`: source and destination, message by message.

use std::pin::pin;

use futures_util::StreamExt;

use crate::control::api::{Manager, Verified};

use super::Outcome;
use super::connection::{Connection, answer};
use super::moments::{count, size};
use super::screen::{Meaning, Screen};
use super::table::Table;

pub(super) async fn run(
    connection: &mut Connection,
    screen: &mut Screen,
    name: &str,
    bodies: bool,
) -> Outcome {
    let mut last = None;
    let mut replies = pin!(answer(connection.verify(name, bodies).await.map(Ok))?);
    while let Some(reply) = replies.next().await {
        last = Some(answer(reply)?);
    }
    let verified = last.unwrap_or_default();
    let good = verified.ok == Some(true);
    if screen.json {
        screen.json(&verified)?;
    } else if verified.error.is_none() && verified.ok.is_some() {
        tell(screen, &verified, good);
    }
    if !good {
        let words = match (&verified.error, verified.ok) {
            (Some(error), _) => error.clone(),
            (None, Some(_)) => {
                format!("the two sides differ: {}; {}", differences(&verified), mend(&verified))
            }
            (None, None) => "was not compared; try again".to_owned(),
        };
        screen.failed(name, Some(&words));
    }
    Ok(good)
}

fn tell(screen: &mut Screen, verified: &Verified, good: bool) {
    if !verified.findings.is_empty() {
        let mut table = Table::new(&["FOLDER", "ID", "WHAT", "SIZE", "REASON"]);
        for finding in &verified.findings {
            let octets = finding.size.map(size).unwrap_or_default();
            table.row(vec![
                finding.folder.clone(),
                finding.id.clone(),
                finding.what.clone(),
                octets,
                finding.reason.clone(),
            ]);
        }
        table.print(screen, "");
        screen.line("");
    }
    let meaning = if good { Meaning::Good } else { Meaning::Bad };
    screen.painted(meaning, &words(verified));
}

/// The numbers in words.
fn words(verified: &Verified) -> String {
    let mut words = format!(
        "{}: {} in {} at the source, {} alike here",
        verified.name,
        count(verified.source, "message"),
        count(verified.folders, "folder"),
        verified.alike
    );
    if verified.read > 0 {
        words.push_str(&format!(", {} compared octet by octet", verified.read));
    }
    let differences = differences(verified);
    if !differences.is_empty() {
        words.push_str(&format!(", {differences}"));
    }
    if verified.gone > 0 {
        words.push_str(&format!(", {} deleted at the source since", verified.gone));
    }
    words
}

fn differences(verified: &Verified) -> String {
    let numbers = [
        (verified.lost, "lost"),
        (verified.duplicated, "duplicated"),
        (verified.altered, "altered"),
        (verified.foreign, "foreign"),
        (verified.not_brought, "not brought yet"),
        (verified.unread, "not given by the source"),
        (verified.left_out, "left out with a reason (show lists them)"),
    ];
    let words: Vec<String> = numbers
        .iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, what)| format!("{number} {what}"))
        .collect();
    words.join(", ")
}

fn mend(verified: &Verified) -> String {
    if verified.not_brought > 0 {
        format!("the next run brings what is new; 'mailhaulctl show {}' tells when", verified.name)
    } else if verified.findings.is_empty() {
        format!("'mailhaulctl show {}' says why", verified.name)
    } else {
        "the list says which messages and how".to_owned()
    }
}
