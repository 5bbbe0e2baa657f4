//! Where a member's rules put a message, read from its header section. It refuses to read a body, and to go by a
//! field beyond the first 64 KiB.

use std::collections::BTreeMap;
use std::sync::Arc;

use mail_parser::{Address, HeaderValue, Message, MessageParser};

use super::charsets::readable;
use crate::filter::{Actions, Letter, Rule, decide};

/// A member's rules, and where their folders are.
#[derive(Debug)]
pub struct Sorting {
    rules: Arc<[Rule]>,
    places: BTreeMap<Vec<String>, String>,
}

impl Sorting {
    /// The rules with the directory of each folder, if there are any.
    pub fn new(rules: &Arc<[Rule]>, directory: impl Fn(&[String]) -> String) -> Option<Arc<Sorting>> {
        let folders = rules.iter().filter_map(|rule| rule.actions.folder.as_ref());
        let places = folders.map(|folder| (folder.clone(), directory(folder))).collect();
        (!rules.is_empty()).then(|| Arc::new(Sorting { rules: Arc::clone(rules), places }))
    }

    /// Every directory that a rule may file into.
    pub fn directories(&self) -> impl Iterator<Item = &str> {
        self.places.values().map(String::as_str)
    }

    /// What becomes of a message that begins with `head` and has so many octets; the directory, if it is another
    /// than the usual one.
    pub fn decide(&self, head: &[u8], octets: u64) -> (Option<&str>, Actions) {
        // What cannot be read as a message has no fields; the parser's own empty message cannot be asked for any.
        let head = readable(head);
        let message = MessageParser::new().parse_headers(head.as_ref());
        let actions = decide(&self.rules, &Envelope { message, octets });
        let directory = actions.folder.as_ref().and_then(|folder| self.places.get(folder));
        (directory.map(String::as_str), actions)
    }
}

struct Envelope<'m> {
    message: Option<Message<'m>>,
    octets: u64,
}

impl Envelope<'_> {
    fn values(&self, field: &str) -> impl Iterator<Item = &HeaderValue<'_>> {
        let headers = self.message.as_ref().map(Message::headers).unwrap_or_default();
        headers
            .iter()
            .filter(move |header| header.name.as_str().eq_ignore_ascii_case(field))
            .map(|header| &header.value)
    }
}

impl Letter for Envelope<'_> {
    fn texts(&self, field: &str) -> Vec<String> {
        self.values(field)
            .map(|value| match value {
                HeaderValue::Text(text) => text.to_string(),
                HeaderValue::TextList(list) => list.join(", "),
                HeaderValue::Address(address) => shown(address).join(", "),
                HeaderValue::ContentType(kind) => match &kind.c_subtype {
                    Some(subtype) => format!("{}/{subtype}", kind.c_type),
                    None => kind.c_type.to_string(),
                },
                HeaderValue::DateTime(date) => date.to_rfc822(),
                HeaderValue::Received(_) | HeaderValue::Empty => String::new(),
            })
            .collect()
    }

    fn addresses(&self, field: &str) -> Vec<String> {
        let mut found = Vec::new();
        for value in self.values(field) {
            match value {
                HeaderValue::Address(address) => {
                    found.extend(address.iter().filter_map(|one| one.address().map(str::to_owned)));
                }
                // A field that is not known to hold addresses.
                HeaderValue::Text(text) => found.extend(bare(text)),
                HeaderValue::TextList(list) => found.extend(list.iter().flat_map(|text| bare(text))),
                _ => {}
            }
        }
        found
    }

    fn size(&self) -> u64 {
        self.octets
    }
}

fn shown(address: &Address<'_>) -> Vec<String> {
    let one = |(name, address): (Option<&str>, Option<&str>)| match (name, address) {
        (Some(name), Some(address)) => format!("{name} <{address}>"),
        (one, other) => one.or(other).unwrap_or_default().to_owned(),
    };
    address.iter().map(|addr| one((addr.name(), addr.address()))).collect()
}

/// The addresses in a text, with or without angle brackets.
fn bare(text: &str) -> Vec<String> {
    let words = text.split(|c: char| c.is_whitespace() || ",;<>\"".contains(c));
    words.filter(|word| word.contains('@')).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::{Condition, Pattern, Test};

    fn sorted(test: Test, head: &[u8]) -> bool {
        let actions = Actions { folder: Some(vec!["F".to_owned()]), ..Actions::default() };
        let conditions = vec![Condition { not: false, test }];
        let rules: Arc<[Rule]> = Arc::from(vec![Rule { every: true, conditions, actions, last: true }]);
        let sorting = Sorting::new(&rules, |folder| format!(".{}", folder.join("."))).unwrap();
        match sorting.decide(head, 7).0 {
            Some(".F") => true,
            None => false,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn fields_are_read_as_people_see_them() {
        let head = b"From: =?utf-8?q?Gr=C3=BC=C3=9Fe?= <Shop@Example.com>, b@c.d\n\
            Subject: =?utf-8?b?UmVjaG51bmc=?=\n 17\nList-Id: Rust news <news.rust.example>\n\
            Delivered-To: alias@example.org\nX-Odd: a@b.c; <d@e.f>\n\nSubject: body\n";
        let header = |name: &str, pattern| Test::Header(name.to_owned(), pattern);
        let address = |name: &str, pattern| Test::Address(name.to_owned(), pattern);
        let contains = |text: &str| Pattern::Contains(text.to_owned());
        for (test, holds) in [
            (header("subject", contains("rechnung 17")), true),
            (header("subject", contains("body")), false),
            (header("from", contains("grüße")), true),
            (header("list-id", contains("news.rust")), true),
            (header("LIST-ID", Pattern::Exists), true),
            (header("reply-to", Pattern::Exists), false),
            (address("from", Pattern::Is("shop@example.com".to_owned())), true),
            (address("from", Pattern::Domain("c.d".to_owned())), true),
            (address("from", contains("grüße")), false),
            (address("delivered-to", Pattern::Is("alias@example.org".to_owned())), true),
            (address("x-odd", Pattern::Domain("e.f".to_owned())), true),
            (Test::Over(6), true),
        ] {
            assert_eq!(sorted(test.clone(), head), holds, "{test:?}");
        }
        for odd in [&b""[..], b"\0\xff", b"no colon", b": \n\n", b"Subject"] {
            assert!(!sorted(header("subject", contains("x")), odd));
        }
    }

    #[test]
    fn east_asian_charsets_are_decoded() {
        for (word, text) in [
            ("=?euc-kr?B?wNSx3SC+yLO7?=", "입금 안내"),
            ("=?ks_c_5601-1987?B?wNSx3SC+yLO7?=", "입금 안내"),
            ("=?cp949?B?wNSx3SC+yLO7?=", "입금 안내"),
            ("=?iso-2022-kr?B?GyQpQw5AVDFdDyAOPkgzOw8=?=", "입금 안내"),
            ("=?iso-2022-jp?B?GyRCQEE1YT1xGyhC?=", "請求書"),
            ("=?iso-2022-jp-2?B?GyRCQEE1YT1xGyhC?=", "請求書"),
            ("=?Shift_JIS?B?kL+LgY+R?=", "請求書"),
            ("=?euc-jp?B?wMG14b3x?=", "請求書"),
            ("=?windows-31j?B?kL+LgY+R?=", "請求書"),
            ("=?cp932?B?kL+LgY+R?=", "請求書"),
            ("=?gb2312?B?t6LGsQ==?=", "发票"),
            ("=?gbk?B?t6LGsQ==?=", "发票"),
            ("=?gb18030?B?t6LGsQ==?=", "发票"),
            ("=?big5?B?tW+yvA==?=", "發票"),
        ] {
            let head = format!("From: {word} <a@b.c>\r\nSubject: {word}\r\n\r\n");
            let subject = Test::Header("subject".to_owned(), Pattern::Is(text.to_owned()));
            assert!(sorted(subject, head.as_bytes()), "{word}");
            let from = Test::Header("from".to_owned(), Pattern::Contains(text.to_owned()));
            assert!(sorted(from, head.as_bytes()), "{word}");
        }
    }
}
