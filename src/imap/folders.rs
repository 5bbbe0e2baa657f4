//! The folders of a source: names, levels, special uses (RFC 6154), subscriptions; and the patterns of a
//! definition on them. Names stay the server's octets for asking; what is shown and matched is decoded. It
//! refuses folders of other people: only the personal namespace is moved.

use std::collections::{BTreeMap, BTreeSet};

use super::answers::{self, ListLine};
use super::command::quoted;
use super::layout::Software;
use super::refusal::refusal;
use super::response;
use super::session::Session;
use crate::failure::{Failure, Kind};
use crate::message::{FolderPath, Parcel};
use crate::mutf7;

/// Folders of one mailbox that are taken at most.
const MOST_FOLDERS: usize = 50_000;
/// STATUS commands in flight.
const STATUS_WINDOW: usize = 64;
/// Octets of a name that a command can carry; servers take lines of 64 KiB.
const LONGEST_NAME: usize = 60_000;
/// Levels of a name that are taken at most; deeper ones are joined.
const MOST_LEVELS: usize = 100;

/// A folder at the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFolder {
    /// Its name as the server wrote it.
    pub wire: Vec<u8>,
    /// Its levels, decoded, without the namespace's prefix.
    pub path: FolderPath,
    /// Its special uses, in lower case, without the backslash.
    pub uses: BTreeSet<String>,
    /// The member has subscribed it.
    pub subscribed: bool,
    /// What had to change to read the name, in words.
    pub note: Option<String>,
    /// Why it cannot be opened, if that is clear from the list.
    pub broken: Option<String>,
}

/// How a folder stands, by STATUS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Messages in it.
    pub messages: u64,
    /// The UID that the next message will have, or a later one.
    pub uidnext: u32,
    /// RFC 3501, 2.3.1.1.
    pub uidvalidity: u32,
}

/// Special uses by well-known names, for servers that tell none.
const BY_NAME: [(&str, &[&str]); 5] = [
    ("trash", &["trash", "deleted items", "deleted messages", "papierkorb", "휴지통", "ゴミ箱", "корзина"]),
    ("junk", &["junk", "spam", "junk e-mail", "junk email", "bulk mail", "스팸메일함", "迷惑メール", "спам"]),
    ("sent", &["sent", "sent items", "sent messages", "gesendet", "보낸메일함", "送信済み", "отправленные"]),
    ("drafts", &["drafts", "draft", "entwürfe", "임시보관함", "下書き", "черновики"]),
    ("archive", &["archive", "archives", "archiv", "보관함", "アーカイブ", "архив"]),
];

/// The messages in all folders, where those of each are known. A folder that cannot even be asked for has none.
pub fn sum(counts: &[Option<u64>], folders: &[SourceFolder]) -> Option<u64> {
    let asked = counts.iter().zip(folders).filter(|(_, folder)| folder.broken.is_none());
    asked.map(|(count, _)| *count).try_fold(0u64, |sum, count| Some(sum.saturating_add(count?)))
}

impl<T: From<Parcel> + Send + 'static> Session<T> {
    /// Every folder that can hold messages, in the order of the server.
    ///
    /// # Errors
    /// A list that is refused, ends early or is empty is an error and never an empty mailbox.
    pub async fn folders(&mut self) -> Result<Vec<SourceFolder>, Failure> {
        let done = match self.list_with_uses().await? {
            Some(done) => done,
            None => {
                while self.side_line().is_some() {}
                let listed = self.run("LIST \"\" \"*\"").await;
                listed.map_err(|failure| unlisted(self.software(), failure))?
            }
        };
        if !done.ok {
            return Err(refusal("the server does not list its folders", &done.text, Kind::Unavailable, ""));
        }
        let (mut lines, mut unreadable) = (Vec::new(), Vec::new());
        while let Some(line) = self.side_line() {
            match answers::list(&line) {
                Some(line) if line.subscribed => {}
                Some(line) => lines.push(line),
                None if is_list(&line) => unreadable.push(line),
                None => {}
            }
        }
        if lines.is_empty() {
            return Err(Failure::new(
                Kind::Unavailable,
                "the server lists no folder at all",
                "it is tried again later",
            ));
        }
        if lines.len() > MOST_FOLDERS {
            return Err(self.broken(&format!("lists more than {MOST_FOLDERS} folders")));
        }
        let is_inbox = |line: &ListLine| line.name.eq_ignore_ascii_case(b"INBOX") && !is_no_folder(line);
        if !lines.iter().any(is_inbox) {
            lines.extend(self.unlisted_inbox(lines.first()).await?);
        }
        let mut subscribed = BTreeSet::new();
        // A server without LSUB loses nothing but the subscriptions.
        if self.lists_subscriptions().await? {
            while let Some(line) = self.side_line() {
                subscribed.extend(answers::list(&line).filter(is_subscription).map(|l| l.name));
            }
        }
        while self.side_line().is_some() {}
        let (mut folders, foreign) = self.sort_out(lines, &subscribed);
        self.foreign = foreign;
        folders.extend(unreadable.into_iter().take(MOST_FOLDERS).map(unread));
        Ok(folders)
    }

    /// There is always an INBOX (RFC 3501, 5.1), whether it is listed or not; unless the server says otherwise.
    async fn unlisted_inbox(&mut self, other: Option<&ListLine>) -> Result<Option<ListLine>, Failure> {
        let there = self.run("STATUS INBOX (MESSAGES)").await?.ok;
        while self.side_line().is_some() {}
        let delimiter = other.and_then(|line| line.delimiter);
        let inbox =
            ListLine { attributes: Vec::new(), delimiter, name: b"INBOX".to_vec(), subscribed: false };
        Ok(there.then_some(inbox))
    }

    /// How each of `folders` stands, asked for in a few round trips. `None`: the server does not tell.
    ///
    /// # Errors
    /// The connection failed.
    pub async fn standings(&mut self, folders: &[SourceFolder]) -> Result<Vec<Option<Standing>>, Failure> {
        let mut standings = Vec::with_capacity(folders.len());
        self.standings_into(folders, &mut standings).await?;
        Ok(standings)
    }

    /// The same, put behind `standings` one by one.
    ///
    /// # Errors
    /// The connection failed; what was answered before is in `standings`, and the folder behind that may be to blame.
    pub async fn standings_into(
        &mut self,
        folders: &[SourceFolder],
        standings: &mut Vec<Option<Standing>>,
    ) -> Result<(), Failure> {
        for window in folders.chunks(STATUS_WINDOW) {
            let mut tags = Vec::new();
            for folder in window {
                let name = quoted(&folder.wire).filter(|_| folder.broken.is_none());
                tags.push(match name {
                    Some(name) => {
                        let items = b" (MESSAGES UIDNEXT UIDVALIDITY)".as_slice();
                        Some(self.send(&[b"STATUS ", name.as_slice(), items].concat()).await?)
                    }
                    None => None,
                });
            }
            for tag in tags {
                let Some(tag) = tag else {
                    standings.push(None);
                    continue;
                };
                let done = self.finish(&tag, |_| {}).await?;
                let mut standing = None;
                while let Some(line) = self.side_line() {
                    let number = |item| answers::status_item(&line, item);
                    let found = number(b"MESSAGES").zip(number(b"UIDNEXT")).zip(number(b"UIDVALIDITY"));
                    standing = found
                        .and_then(|((messages, uidnext), uidvalidity)| {
                            Some(Standing {
                                messages,
                                uidnext: uidnext.try_into().ok()?,
                                uidvalidity: response::uidvalidity(uidvalidity),
                            })
                        })
                        .or(standing);
                }
                standings.push(standing.filter(|_| done.ok));
            }
        }
        Ok(())
    }

    /// The messages in each of `folders`, asked for in a few round trips. `None`: the server does not tell.
    ///
    /// # Errors
    /// The connection failed.
    pub async fn count(&mut self, folders: &[SourceFolder]) -> Result<Vec<Option<u64>>, Failure> {
        let mut counts = Vec::with_capacity(folders.len());
        self.count_into(folders, &mut counts).await?;
        Ok(counts)
    }

    /// The same, put behind `counts` one by one.
    ///
    /// # Errors
    /// The connection failed; what was answered before is in `counts`, and the folder behind that may be to blame.
    pub async fn count_into(
        &mut self,
        folders: &[SourceFolder],
        counts: &mut Vec<Option<u64>>,
    ) -> Result<(), Failure> {
        for window in folders.chunks(STATUS_WINDOW) {
            let mut tags = Vec::new();
            for folder in window {
                let name = quoted(&folder.wire).filter(|_| folder.broken.is_none());
                tags.push(match name {
                    Some(name) => {
                        Some(self.send(&[b"STATUS ", name.as_slice(), b" (MESSAGES)"].concat()).await?)
                    }
                    None => None,
                });
            }
            for tag in tags {
                let Some(tag) = tag else {
                    counts.push(None);
                    continue;
                };
                let done = self.finish(&tag, |_| {}).await?;
                let mut count = None;
                while let Some(line) = self.side_line() {
                    count = answers::status_messages(&line).or(count);
                }
                counts.push(count.filter(|_| done.ok));
            }
        }
        Ok(())
    }

    /// The folders of other people, and shared ones, that [`Session::folders`] found last. They are not moved.
    pub fn foreign(&self) -> &[FolderPath] {
        &self.foreign
    }

    /// The member's own folders, and those of others.
    fn sort_out(
        &self,
        lines: Vec<ListLine>,
        subscribed: &BTreeSet<Vec<u8>>,
    ) -> (Vec<SourceFolder>, Vec<FolderPath>) {
        let (spaces, mut foreign) = (&self.namespaces, Vec::new());
        let mut found: BTreeMap<Vec<u8>, ()> = BTreeMap::new();
        let mut folders = Vec::new();
        for line in lines {
            let has = |name: &str| line.attributes.iter().any(|a| a.eq_ignore_ascii_case(name));
            // A name without a letter names nothing; and the inbox is one, however it is written (RFC 3501, 5.1).
            let nameless = line.name.iter().all(|b| Some(*b) == line.delimiter);
            let name =
                if line.name.eq_ignore_ascii_case(b"INBOX") { b"INBOX".to_vec() } else { line.name.clone() };
            if nameless || is_no_folder(&line) || found.insert(name, ()).is_some() {
                continue;
            }
            if spaces.is_foreign(&line.name, line.delimiter) {
                foreign.push(decode(&line.name, line.delimiter, b"").0);
                continue;
            }
            let (path, note) = decode(&line.name, line.delimiter, spaces.prefix_of(&line.name));
            let uses = line
                .attributes
                .iter()
                .filter_map(|a| a.strip_prefix('\\'))
                .map(str::to_ascii_lowercase)
                .filter(|a| {
                    ["all", "archive", "drafts", "flagged", "important", "junk", "sent", "trash"]
                        .contains(&a.as_str())
                })
                .collect();
            let subscribed = subscribed.contains(&line.name) || has("\\Subscribed");
            let broken = (line.name.len() > LONGEST_NAME)
                .then(|| format!("its name has {} octets, more than a command can carry", line.name.len()));
            folders.push(SourceFolder { wire: line.name, path, uses, subscribed, note, broken });
        }
        if folders.iter().all(|f| f.uses.is_empty()) {
            for folder in &mut folders {
                let name = folder.path.to_string().to_lowercase();
                folder.uses.extend(
                    BY_NAME
                        .iter()
                        .filter(|(_, names)| names.contains(&name.as_str()))
                        .map(|(u, _)| (*u).to_owned()),
                );
            }
        }
        (folders, foreign)
    }
}

/// It only stands above others.
fn is_no_folder(line: &ListLine) -> bool {
    let has = |name: &str| line.attributes.iter().any(|a| a.eq_ignore_ascii_case(name));
    has("\\NoSelect") || has("\\NonExistent")
}

fn is_list(line: &[u8]) -> bool {
    line.get(..7).is_some_and(|start| start.eq_ignore_ascii_case(b"* LIST "))
}

/// A line of the folder list that cannot be read: there is a folder, and nobody knows its name.
fn unread(line: Vec<u8>) -> SourceFolder {
    let shown: String = String::from_utf8_lossy(line.get(..line.len().min(100)).unwrap_or_default())
        .chars()
        .filter(|c| !c.is_control())
        .collect();
    SourceFolder {
        path: FolderPath(vec![shown.trim().replace('/', "_")]),
        uses: BTreeSet::new(),
        subscribed: false,
        note: None,
        broken: Some("the line of the folder list cannot be read, so its name is not known".to_owned()),
        wire: line,
    }
}

/// A parent that is not subscribed itself comes with `\NoSelect` (RFC 3501, 6.3.9).
fn is_subscription(line: &ListLine) -> bool {
    line.subscribed && !line.attributes.iter().any(|a| a.eq_ignore_ascii_case("\\NoSelect"))
}

pub(super) fn decode(name: &[u8], delimiter: Option<u8>, prefix: &[u8]) -> (FolderPath, Option<String>) {
    if name.eq_ignore_ascii_case(b"INBOX") {
        return (FolderPath::inbox(), None);
    }
    // `INBOX.` before everything is the server's habit, not a part of the member's folders.
    let own = name.strip_prefix(prefix).filter(|rest| !rest.is_empty()).unwrap_or(name);
    let mut note = None;
    let mut levels: Vec<String> = match delimiter {
        Some(delimiter) => own.split(|b| *b == delimiter).map(|level| text(level, &mut note)).collect(),
        None => vec![text(own, &mut note)],
    };
    if let [only] = levels.as_slice()
        && only.eq_ignore_ascii_case("INBOX")
    {
        // Below the prefix, and not the inbox itself: it keeps the prefix as its parent.
        levels.insert(0, "INBOX".to_owned());
        note = Some("a folder of this name below the inbox is not the inbox: it keeps its parent".to_owned());
    }
    if levels.len() > 1 && levels.last().is_some_and(String::is_empty) {
        levels.pop();
    }
    if levels.len() > MOST_LEVELS {
        let deep = levels.split_off(MOST_LEVELS - 1).join("_");
        levels.push(deep);
        note = Some(format!("it has more than {MOST_LEVELS} levels: the deepest are joined"));
    }
    (FolderPath(levels), note)
}

fn text(level: &[u8], note: &mut Option<String>) -> String {
    if let Some(text) = mutf7::decode(level) {
        return text;
    }
    *note = Some("the name is not valid modified UTF-7: it is taken as it stands".to_owned());
    String::from_utf8_lossy(level).into_owned()
}

/// Courier 5.0 hangs up on the list if it cannot write a name in modified UTF-7.
fn unlisted(software: Software, failure: Failure) -> Failure {
    if software != Software::Courier || failure.kind != Kind::Disconnected {
        return failure;
    }
    let words = format!("{}, when it was asked for its folders", failure.words);
    let mend = "look at the names of folders there: Courier hangs up if one has a character above U+FFFF, such as \
                an emoji; rename that, then it goes on by itself";
    Failure { words, mend: mend.to_owned(), ..failure }
}

/// Whether a pattern of a definition fits a folder: `*` is any text, `?` one character, `\Trash` a special use. The
/// inbox has no case (RFC 3501 section 5.1), alone and as the first level.
pub fn matches(pattern: &str, folder: &SourceFolder) -> bool {
    if let Some(wanted) = pattern.strip_prefix('\\') {
        return folder.uses.contains(&wanted.to_ascii_lowercase());
    }
    let name: Vec<char> = folder.path.to_string().chars().collect();
    let pattern: Vec<char> = pattern.chars().collect();
    let first = folder.path.0.first();
    let caseless = first.filter(|first| first.eq_ignore_ascii_case("INBOX")).map_or(0, String::len);
    // Greedy with one place to come back to: linear in practice, quadratic at worst, no recursion.
    let (mut p, mut n, mut star) = (0, 0, None);
    while n < name.len() {
        match (pattern.get(p), name.get(n)) {
            (Some('*'), _) => {
                star = Some((p, n));
                p += 1;
            }
            (Some(want), Some(have))
                if *want == '?' || want == have || (n < caseless && want.eq_ignore_ascii_case(have)) =>
            {
                p += 1;
                n += 1;
            }
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    p = at + 1;
                    n = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern.get(p..).is_some_and(|rest| rest.iter().all(|c| *c == '*'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str, uses: &[&str]) -> SourceFolder {
        SourceFolder {
            wire: name.as_bytes().to_vec(),
            path: FolderPath(name.split('/').map(str::to_owned).collect()),
            uses: uses.iter().map(|&u| u.to_owned()).collect(),
            subscribed: false,
            note: None,
            broken: None,
        }
    }

    #[test]
    fn patterns() {
        let archive = folder("Archive/2024", &["archive"]);
        for (pattern, fits) in [
            ("*", true),
            ("Archive", false),
            ("Archive/*", true),
            ("*/20?4", true),
            ("*/20?", false),
            ("\\Archive", true),
            ("\\ARCHIVE", true),
            ("\\Trash", false),
            ("", false),
            ("*2*2*", true),
        ] {
            assert_eq!(matches(pattern, &archive), fits, "{pattern}");
        }
        for (pattern, name, fits) in [
            ("INBOX", "INBOX", true),
            ("inbox", "INBOX", true),
            ("INBOX", "Inbox", true),
            ("inbox/*", "INBOX/Work", true),
            ("in*/W?rk", "INBOX/Work", true),
            ("inbox/work", "INBOX/Work", false),
            ("x/inbox", "x/INBOX", false),
            ("inboxes", "INBOXES", false),
        ] {
            assert_eq!(matches(pattern, &folder(name, &[])), fits, "{pattern} {name}");
        }
    }

    #[test]
    fn names_are_decoded_level_by_level() {
        let (path, note) = decode(b"INBOX.Entw&APw-rfe.x", Some(b'.'), b"INBOX.");
        assert_eq!((path.0, note), (vec!["Entwürfe".to_owned(), "x".to_owned()], None));
        let (path, note) = decode(b"INBOX.INBOX", Some(b'.'), b"INBOX.");
        assert_eq!(path.0, ["INBOX", "INBOX"]);
        assert!(note.is_some() && !path.is_inbox());
        let (path, _) = decode(b"inbox", Some(b'.'), b"INBOX.");
        assert!(path.is_inbox());
        let (path, note) = decode(b"a/b", None, b"");
        assert_eq!((path.0, note), (vec!["a/b".to_owned()], None));
        let (path, note) = decode(b"&bad/x\xff", Some(b'/'), b"");
        assert_eq!(path.0, vec!["&bad".to_owned(), "x\u{fffd}".to_owned()]);
        assert!(note.is_some());
        let deep =
            vec![b'a'; 1].into_iter().cycle().take(500).map(|c| vec![c]).collect::<Vec<_>>().join(&b'/');
        assert_eq!(decode(&deep, Some(b'/'), b"").0.0.len(), MOST_LEVELS);
    }
}
