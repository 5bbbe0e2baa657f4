//! Notices to members: what became of their mail, in their language, as a message in their inbox. The texts are in
//! one file a language, compiled in. It refuses to send anything, and to name a subject or a password.

use mail_builder::MessageBuilder;
use mail_builder::headers::address::Address;
use mail_builder::headers::message_id::MessageId;
use mail_builder::headers::raw::Raw;

use crate::account::Member;
use crate::settings::Language;

/// Whose name notices have in a Maildir; no account has it.
pub const NAME: &str = "notice/";

/// The keyword of notices in a mailbox at a server, where a file cannot have a name of ours.
pub const KEYWORD: &str = "mailhaul-notice";
/// Messages left out that a notice lists.
const LISTED: usize = 100;

const TEXTS: [(Language, &str); 3] = [
    (Language::English, include_str!("texts/en.txt")),
    (Language::Korean, include_str!("texts/ko.txt")),
    (Language::Japanese, include_str!("texts/ja.txt")),
];

/// What a notice is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// A migration completed.
    Completed,
    /// A migration failed; what came was put back, or left.
    Failed,
    /// An account was switched off after failures.
    Disabled,
}

impl About {
    fn section(self) -> &'static str {
        match self {
            About::Completed => "completed",
            About::Failed => "failed",
            About::Disabled => "disabled",
        }
    }
}

/// What is to be told.
#[derive(Debug, Clone)]
pub struct Notice {
    /// What it is about.
    pub about: About,
    /// The account.
    pub name: String,
    /// Whose.
    pub member: Member,
    /// The source's host.
    pub source: String,
    /// The run that it is about, milliseconds since 1970: all notices of a run are one thread.
    pub run: i64,
    /// Messages brought, there before, and left out.
    pub numbers: (u64, u64, u64),
    /// Each that was left out: folder, number, size, reason.
    pub left_out: Vec<(String, String, Option<u64>, String)>,
    /// What went wrong.
    pub error: String,
    /// What became of what had come.
    pub outcome: String,
}

impl Notice {
    /// The message, with CRLF line ends. `now` in seconds since 1970.
    ///
    /// # Errors
    /// It cannot be written, which memory never refuses.
    pub fn message(&self, language: Language, now: i64) -> std::io::Result<Vec<u8>> {
        let (subject, body) = self.words(language);
        let domain = &self.member.domain;
        let thread = format!("mailhaul.{}.{}@{domain}", self.name, self.run);
        let id = format!("mailhaul.{}.{}.{}@{domain}", self.name, self.run, self.about.section());
        MessageBuilder::new()
            .from(Address::new_address(Some("Mailhaul"), format!("mailhaul@{domain}")))
            .to(Address::new_address(None::<&str>, self.member.to_string()))
            .subject(subject)
            .date(now)
            .message_id(MessageId::new(id))
            .in_reply_to(MessageId::new(thread.clone()))
            .references(MessageId::new(thread))
            // RFC 3834: nothing answers it.
            .header("Auto-Submitted", Raw::new("auto-generated"))
            .text_body(body)
            .write_to_vec()
    }

    fn words(&self, language: Language) -> (String, String) {
        let text = section(language, self.about.section());
        let (subject, body) = text.split_once("\n\n").unwrap_or((text, ""));
        let mut list = String::new();
        if !self.left_out.is_empty() {
            list = format!("\n{}\n", section(language, "list"));
            for (folder, id, size, reason) in self.left_out.iter().take(LISTED) {
                let size = size.map_or_else(|| "-".to_owned(), |size| size.to_string());
                let line = format!("    {folder}  {id}  {size}  {reason}");
                list.extend(line.chars().filter(|c| !c.is_control()));
                list.push('\n');
            }
            let more = self.left_out.len().saturating_sub(LISTED);
            if more > 0 {
                list.push_str(&section(language, "more").replace("{more}", &more.to_string()));
            }
        }
        let (imported, already, skipped) = self.numbers;
        let values = [
            ("{name}", self.name.clone()),
            ("{member}", self.member.to_string()),
            ("{source}", self.source.clone()),
            ("{imported}", imported.to_string()),
            ("{already}", already.to_string()),
            ("{skipped}", skipped.to_string()),
            ("{error}", self.error.clone()),
            ("{outcome}", self.outcome.clone()),
            ("{list}", list),
        ];
        (filled(subject, &values), filled(body, &values))
    }
}

/// Fills placeholders in, each once: what a server said is never read as a placeholder.
fn filled(text: &str, values: &[(&str, String)]) -> String {
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
fn section(language: Language, name: &str) -> &'static str {
    let text = TEXTS.iter().find(|(of, _)| *of == language).map_or("", |(_, text)| *text);
    let from = text.split_once(&format!("[{name}]\n")).map_or("", |(_, from)| from);
    from.split("\n[").next().unwrap_or("").trim_end()
}

#[cfg(test)]
mod tests {
    use super::*;
    use mail_parser::MessageParser;

    fn notice(about: About) -> Notice {
        Notice {
            about,
            name: "alice-old".to_owned(),
            member: Member { local: "alice".to_owned(), domain: "example.com".to_owned() },
            source: "mail.old.example".to_owned(),
            run: 7,
            numbers: (12, 3, 1),
            left_out: vec![("Entwürfe".to_owned(), "17".to_owned(), Some(99), "it is too large".to_owned())],
            error: "the server said {member}\r\n.".to_owned(),
            outcome: "nothing had come".to_owned(),
        }
    }

    #[test]
    fn every_language_has_every_word() {
        let placeholders = |text: &str| {
            let mut found: Vec<String> =
                text.split('{').skip(1).filter_map(|part| Some(part.split_once('}')?.0.to_owned())).collect();
            found.sort();
            found.dedup();
            found
        };
        for (language, _) in TEXTS {
            for name in ["completed", "failed", "disabled", "list", "more"] {
                let (own, english) = (section(language, name), section(Language::English, name));
                assert!(!own.is_empty(), "{language:?} {name}");
                assert_eq!(placeholders(own), placeholders(english), "{language:?} {name}");
            }
        }
    }

    #[test]
    fn a_notice_is_a_message_that_is_read_as_it_was_meant() {
        for (language, word) in [
            (Language::English, "is here"),
            (Language::Korean, "가져왔습니다"),
            (Language::Japanese, "取り込みました"),
        ] {
            let octets = notice(About::Completed).message(language, 1_700_000_000).unwrap();
            assert!(octets.is_ascii(), "{language:?}: every server takes it");
            let bare = octets.windows(2).filter(|two| two[1] == b'\n' && two[0] != b'\r').count();
            assert_eq!(bare, 0);
            assert!(octets.split(|octet| *octet == b'\n').all(|line| line.len() <= 79));
            let read = MessageParser::new().parse(&octets).unwrap();
            assert!(read.subject().unwrap().contains(word), "{:?}", read.subject());
            let body = read.body_text(0).unwrap();
            assert!(body.contains("12") && body.contains("Entwürfe  17  99  it is too large"), "{body}");
            assert!(!body.contains('{'), "{body}");
            assert_eq!(read.message_id(), Some("mailhaul.alice-old.7.completed@example.com"));
            assert_eq!(read.in_reply_to().as_text(), Some("mailhaul.alice-old.7@example.com"));
        }
        let (_, body) = notice(About::Failed).words(Language::English);
        assert!(body.contains("the server said {member}."), "{body}");
    }
}
