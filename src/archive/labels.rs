//! Labels of Gmail as Takeout writes them (X-Gmail-Labels): in the language of the account, encoded (RFC 2047), folded,
//! with quotes around a comma. What is a state becomes a flag; Inbox, Sent and the like and the owner's own labels
//! become folders, and what has none of them is in Archive, as when Gmail is moved by IMAP. It refuses to make a folder
//! of what only shows messages: Starred, Important, the categories.

mod encoded;
mod names;

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::message::FolderPath;
use names::{CATEGORIES, ENGLISH_CATEGORIES, NAMES, Role};

/// Labels of one message that are believed.
const MOST: usize = 200;
/// Labels that Takeout writes for keywords which another program set by IMAP.
const KEYWORD: &str = "IMAP_";

/// What the labels of one message say.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Labels {
    /// Its folders; none: it is in Archive.
    pub(super) folders: Vec<FolderPath>,
    pub(super) unread: bool,
    pub(super) starred: bool,
    pub(super) draft: bool,
    /// It is a chat, which is no mail.
    pub(super) chat: bool,
    pub(super) keywords: Vec<String>,
}

impl Labels {
    /// Reads the values of the header's lines.
    pub(super) fn read(value: &[u8]) -> Labels {
        let text = encoded::decode(value);
        let mut labels = Labels::default();
        for label in divided(&text).into_iter().take(MOST) {
            labels.add(label.trim());
        }
        labels
    }

    /// Where the message is.
    pub(super) fn places(&self) -> Vec<FolderPath> {
        if self.folders.is_empty() { vec![folder("Archive")] } else { self.folders.clone() }
    }

    fn add(&mut self, label: &str) {
        if label.is_empty() {
            return;
        }
        if let Some(word) = label.strip_prefix(KEYWORD).filter(|word| !word.is_empty()) {
            self.keywords.push(word.to_owned());
            return;
        }
        let place = match role(label) {
            Some(Role::Inbox) => FolderPath::inbox(),
            Some(Role::Sent) => folder("Sent"),
            Some(Role::Trash) => folder("Trash"),
            Some(Role::Spam) => folder("Spam"),
            Some(Role::Drafts) => {
                self.draft = true;
                folder("Drafts")
            }
            Some(Role::Unread) => {
                self.unread = true;
                return;
            }
            Some(Role::Starred) => {
                self.starred = true;
                return;
            }
            Some(Role::Chat) => {
                self.chat = true;
                return;
            }
            Some(Role::Opened | Role::Important | Role::Archived) => return,
            None if is_category(label) => return,
            None => {
                let levels: Vec<String> =
                    label.split('/').filter(|l| !l.is_empty()).map(str::to_owned).collect();
                FolderPath(levels)
            }
        };
        if !place.0.is_empty() && !self.folders.contains(&place) {
            self.folders.push(place);
        }
    }
}

fn folder(name: &str) -> FolderPath {
    FolderPath(vec![name.to_owned()])
}

/// What a label means in one of the languages.
fn role(label: &str) -> Option<Role> {
    // Every label of every message is looked up: the names are made plain once. The first role that has a name keeps it.
    static ROLES: LazyLock<HashMap<String, Role>> = LazyLock::new(|| {
        let mut roles = HashMap::new();
        for (role, names) in NAMES {
            for name in names {
                roles.entry(plain(name)).or_insert(role);
            }
        }
        roles
    });
    ROLES.get(&plain(label)).copied()
}

/// Without the difference of letters' sizes, of spaces, and of dots over an i.
fn plain(label: &str) -> String {
    let spaced = label.split_whitespace().collect::<Vec<_>>().join(" ");
    spaced.to_lowercase().replace('\u{307}', "")
}

/// `Category Updates`, `Kategorie: "Werbung"`, `Catégorie : Réseaux sociaux`.
fn is_category(label: &str) -> bool {
    let small = plain(label);
    if let Some(rest) = small.strip_prefix("category ") {
        return ENGLISH_CATEGORIES.contains(&rest);
    }
    CATEGORIES.iter().any(|word| {
        small.strip_prefix(word).is_some_and(|rest| {
            let rest = rest.trim_start();
            // A colon or a quote: the owner's own labels hardly go on like that.
            rest.starts_with([':', '：', '"', '„', '“', '«', '「'])
        })
    })
}

/// The labels, divided at commas that no quotes are around.
fn divided(text: &str) -> Vec<String> {
    let (mut found, mut current, mut quoted) = (Vec::new(), String::new(), false);
    // Quotes count where a label begins with one: in the middle they are part of it.
    for c in text.chars() {
        match c {
            '"' if !quoted && current.trim().is_empty() => {
                quoted = true;
                current.clear();
            }
            '"' if quoted => quoted = false,
            ',' if !quoted => found.push(std::mem::take(&mut current)),
            '\r' | '\n' => {}
            c => current.push(c),
        }
    }
    found.push(current);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folders(value: &str) -> Vec<String> {
        Labels::read(value.as_bytes()).places().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn states_are_flags_and_the_rest_are_folders() {
        let labels = Labels::read(b" Inbox,Starred,Opened,Category Updates,Work/2014,IMAP_$Forwarded");
        assert!(labels.starred && !labels.unread && !labels.draft && !labels.chat);
        assert_eq!(labels.keywords, ["$Forwarded"]);
        assert_eq!(folders("Inbox,Starred,Opened,Category Updates,Work/2014"), ["INBOX", "Work/2014"]);
        assert_eq!(folders("Important,Unread"), ["Archive"]);
        assert_eq!(folders("Sent, Opened"), ["Sent"]);
        assert_eq!(folders("\"Culture, arts\",Trash"), ["Culture, arts", "Trash"]);
        assert_eq!(folders("Category Cooking"), ["Category Cooking"], "a label of the owner's own");
        assert!(
            Labels::read(b"Chat").chat && Labels::read(b"Unread").unread && Labels::read(b"Drafts").draft
        );
    }

    #[test]
    fn other_languages_and_encodings() {
        for (value, expected, unread, starred) in [
            (
                "=?UTF-8?Q?Posteingang,Wichtig,Ungelesen,Kategorie:_=22Neuigkeiten=22?=",
                &["INBOX"][..],
                true,
                false,
            ),
            ("=?UTF-8?Q?Archiviert,Ge=C3=B6ffnet,Markiert?=", &["Archive"], false, true),
            (
                "=?UTF-8?Q?Messages_archiv=C3=A9s,Ouvert,Cat=C3=A9gorie=C2=A0:_E-mails_?=\r\n =?UTF-8?Q?personnels,\"Arts,_soci=C3=A9t=C3=A9\"?=",
                &["Arts, société"],
                false,
                false,
            ),
            ("=?UTF-8?Q?Bo=C3=AEte_de_r=C3=A9ception,Non_lus?=", &["INBOX"], true, false),
            ("=?UTF-8?B?5Y+X5L+h44OI44Os44KkLOacquiqrQ==?=", &["INBOX"], true, false),
            ("=?utf-8?b?67Cb7J2A7Y647KeA7ZWoLOuzhO2RnO2OuOyngO2VqA==?=", &["INBOX"], false, true),
            ("Recibidos,Abierto", &["INBOX"], false, false),
        ] {
            let labels = Labels::read(value.as_bytes());
            assert_eq!(folders(value), expected, "{value}");
            assert_eq!((labels.unread, labels.starred), (unread, starred), "{value}");
        }
    }
}
