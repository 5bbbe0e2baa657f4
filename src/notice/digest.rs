//! What administrators are told: one message for whatever came together, a line each. It refuses to list more than
//! a person reads; the rest is counted.

use mail_builder::MessageBuilder;
use mail_builder::headers::address::Address;
use mail_builder::headers::message_id::MessageId;
use mail_builder::headers::raw::Raw;

use super::words::{filled, section};
use super::{About, Notice};
use crate::settings::Language;

/// Lines of a digest.
const LINES: usize = 500;

/// The message, with CRLF line ends: `notices`, and the number of those that are not kept any more. `now` in
/// seconds since 1970.
///
/// # Errors
/// It cannot be written, which memory never refuses.
pub fn digest(
    notices: &[Notice],
    lost: u64,
    (from, to): (&str, &[String]),
    language: Language,
    now: i64,
) -> std::io::Result<Vec<u8>> {
    let (subject, body) = words(notices, lost, language);
    let domain = from.rsplit_once('@').map_or("localhost", |(_, domain)| domain);
    let id = format!("mailhaul.{now}.{:016x}@{domain}", rand::random::<u64>());
    let to: Vec<Address<'_>> = to.iter().map(|to| Address::new_address(None::<&str>, to.as_str())).collect();
    MessageBuilder::new()
        .from(Address::new_address(Some("Mailhaul"), from))
        .to(to)
        .subject(subject)
        .date(now)
        .message_id(MessageId::new(id))
        // RFC 3834: nothing answers it.
        .header("Auto-Submitted", Raw::new("auto-generated"))
        .text_body(body)
        .write_to_vec()
}

fn words(notices: &[Notice], lost: u64, language: Language) -> (String, String) {
    let count = notices.len() as u64 + lost;
    let what = |about: About| {
        let text = section(language, about.section());
        text.split_once("\n\n").map_or(text, |(subject, _)| subject)
    };
    let mut body = String::new();
    for notice in notices.iter().take(LINES) {
        let (imported, already, left_out) = notice.numbers;
        let values = [
            ("{name}", notice.name.clone()),
            ("{member}", notice.member.to_string()),
            ("{source}", notice.source.clone()),
            ("{percent}", notice.percent().to_string()),
            ("{imported}", imported.to_string()),
            ("{already}", already.to_string()),
            ("{skipped}", left_out.to_string()),
        ];
        let head = format!("{{name}} ({{member}}): {}", what(notice.about));
        body.push_str(&filled(&head, &values));
        body.push('\n');
        if matches!(notice.about, About::Progress | About::Completed) {
            body.push_str(&format!("    {}\n", filled(section(language, "admin-numbers"), &values)));
        }
        let outcome = notice.outcome.map_or("", |became| became.words(language));
        for words in [&notice.error, outcome].into_iter().filter(|words| !words.is_empty()) {
            let plain: String = words.chars().filter(|c| !c.is_control()).collect();
            body.push_str(&format!("    {plain}\n"));
        }
    }
    let more = count.saturating_sub(notices.len().min(LINES) as u64);
    if more > 0 {
        body.push_str(&filled(section(language, "admin-more"), &[("{more}", more.to_string())]));
        body.push('\n');
    }
    let subject = match notices {
        [one] if lost == 0 => {
            let values = [
                ("{name}", one.name.clone()),
                ("{source}", one.source.clone()),
                ("{percent}", one.percent().to_string()),
            ];
            let subject = section(language, "admin-one").replace("{what}", what(one.about));
            filled(&subject, &values)
        }
        _ => filled(section(language, "admin-many"), &[("{count}", count.to_string())]),
    };
    (subject, body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::Member;
    use mail_parser::MessageParser;

    fn notice(name: usize, about: About) -> Notice {
        Notice {
            about,
            name: format!("account-{name}"),
            member: Member { local: "alice".to_owned(), domain: "example.com".to_owned() },
            source: "mail.old.example".to_owned(),
            run: 7,
            numbers: (12, 3, 1),
            total: Some(32),
            left_out: Vec::new(),
            error: "the server said {name}\r\n.".to_owned(),
            outcome: None,
        }
    }

    #[test]
    fn one_is_named_and_many_are_counted() {
        let to = ["root@example.com".to_owned(), "ops@example.com".to_owned()];
        let read = |notices: &[Notice], lost| {
            let octets =
                digest(notices, lost, ("mailhaul@mx.example", &to), Language::English, 1_700_000_000)
                    .unwrap();
            let message = MessageParser::new().parse(&octets).unwrap();
            assert_eq!(message.to().unwrap().as_list().unwrap().len(), 2);
            (message.subject().unwrap().to_owned(), message.body_text(0).unwrap().into_owned())
        };
        let (subject, body) = read(&[notice(1, About::Failed)], 0);
        assert!(subject.contains("account-1") && subject.contains("mail.old.example"), "{subject}");
        assert!(body.contains("the server said {name}."), "{body}");
        let many: Vec<Notice> = (0..LINES + 7).map(|at| notice(at, About::Completed)).collect();
        let (subject, body) = read(&many, 3);
        assert!(subject.contains("510"), "{subject}");
        assert!(body.contains("account-499 ") && !body.contains("account-500 "), "{body}");
        assert!(body.contains("10"), "the rest is counted: {body}");
    }
}
