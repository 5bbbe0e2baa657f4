//! Notices: what became of members' mail, in their language, as a message for their inbox and as one for their
//! administrators. It refuses to name a subject or a password.

mod digest;
mod smtp;
mod words;

pub use digest::digest;
pub use smtp::{Outbox, send};

use mail_builder::MessageBuilder;
use mail_builder::headers::address::Address;
use mail_builder::headers::message_id::MessageId;
use mail_builder::headers::raw::Raw;

use crate::account::Member;
use crate::settings::Language;

use self::words::{filled, section};

/// Whose name notices have in a Maildir; no account has it.
pub const NAME: &str = "notice/";

/// The keyword of notices in a mailbox at a server, where a file cannot have a name of ours.
pub const KEYWORD: &str = "mailhaul-notice";
/// Messages left out that a notice lists.
const LISTED: usize = 100;

/// What a notice is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// A migration began to move mail.
    Began,
    /// A migration has come that far.
    Progress,
    /// Nothing moves before the mailbox's owner consents at the provider.
    Consent,
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
            About::Began => "began",
            About::Progress => "progress",
            About::Consent => "consent",
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
    /// Messages at the source, if that is known.
    pub total: Option<u64>,
    /// Each that was left out: folder, number, size, reason.
    pub left_out: Vec<(String, String, Option<u64>, String)>,
    /// What went wrong.
    pub error: String,
    /// What became of what had come, of one that failed.
    pub outcome: Option<Became>,
}

/// What became of what a migration that failed had brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Became {
    /// It was taken back.
    PutBack,
    /// It stays.
    Left,
    /// There was nothing.
    Nothing,
}

impl Became {
    /// In words for people.
    fn words(self, language: Language) -> &'static str {
        section(
            language,
            match self {
                Became::PutBack => "put-back",
                Became::Left => "left",
                Became::Nothing => "nothing",
            },
        )
    }
}

impl Notice {
    /// The message, with CRLF line ends. `now` in seconds since 1970.
    ///
    /// # Errors
    /// It cannot be written, which memory never refuses.
    pub fn message(&self, language: Language, now: i64) -> std::io::Result<Vec<u8>> {
        let (subject, body) = self.words(language);
        let domain = &self.member.domain;
        // The notice of the beginning is the thread's first; the thread holds together without it, too.
        let thread = format!("mailhaul.{}.{}@{domain}", self.name, self.run);
        let message = MessageBuilder::new()
            .from(Address::new_address(Some("Mailhaul"), format!("mailhaul@{domain}")))
            .to(Address::new_address(None::<&str>, self.member.to_string()))
            .subject(subject)
            .date(now)
            // RFC 3834: nothing answers it.
            .header("Auto-Submitted", Raw::new("auto-generated"))
            .text_body(body);
        let message = if self.about == About::Began {
            message.message_id(MessageId::new(thread))
        } else {
            let id = format!("mailhaul.{}.{}.{}@{domain}", self.name, self.run, self.about.section());
            message
                .message_id(MessageId::new(id))
                .in_reply_to(MessageId::new(thread.clone()))
                .references(MessageId::new(thread))
        };
        message.write_to_vec()
    }

    /// How many of a hundred messages are there or were left out.
    pub fn percent(&self) -> u64 {
        let (imported, already, left_out) = self.numbers;
        percent(imported + already + left_out, self.total)
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
            ("{total}", self.total.map_or_else(|| "-".to_owned(), |total| total.to_string())),
            ("{percent}", self.percent().to_string()),
            ("{error}", self.error.clone()),
            ("{outcome}", self.outcome.map_or("", |became| became.words(language)).to_owned()),
            ("{list}", list),
        ];
        (filled(subject, &values), filled(body, &values))
    }
}

/// So many of a hundred; 0 where nothing is known, or there is nothing.
pub fn percent(done: u64, total: Option<u64>) -> u64 {
    match total {
        Some(total) if total > 0 => done.min(total).saturating_mul(100) / total,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::words::TEXTS;
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
            total: Some(32),
            left_out: vec![("Entwürfe".to_owned(), "17".to_owned(), Some(99), "it is too large".to_owned())],
            error: "the server said {member}\r\n.".to_owned(),
            outcome: Some(Became::PutBack),
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
            for name in [
                "began",
                "progress",
                "consent",
                "completed",
                "failed",
                "disabled",
                "put-back",
                "left",
                "nothing",
                "list",
                "more",
                "admin-one",
                "admin-many",
                "admin-numbers",
                "admin-more",
            ] {
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
        let began = notice(About::Began).message(Language::English, 1_700_000_000).unwrap();
        let read = MessageParser::new().parse(&began).unwrap();
        assert_eq!(read.message_id(), Some("mailhaul.alice-old.7@example.com"));
        let (subject, _) = notice(About::Progress).words(Language::English);
        assert!(subject.contains("50"), "{subject}");
        let (_, body) = notice(About::Failed).words(Language::English);
        assert!(body.contains("the server said {member}.") && body.contains("as it was before"), "{body}");
    }

    #[test]
    fn what_became_of_it_is_told_in_the_same_language() {
        let failed = Notice { error: String::new(), ..notice(About::Failed) };
        for (language, word) in
            [(Language::Korean, "상태로 되돌렸습니다"), (Language::Japanese, "戻しました")]
        {
            let (_, body) = failed.words(language);
            assert!(body.contains(word) && !body.contains("removed"), "{body}");
        }
    }
}
