//! Names in archives. A folder's path is written level by level with what no file system likes in percent, and a
//! message in a Maildir is known by the directory that it is in. Only `/` divides a path: a folder's name may have a
//! `\` in it. It refuses `..` and every other step.

use crate::message::{Flags, FolderPath};
use crate::mutf7;

/// Levels of a folder in an archive that are believed.
const DEEPEST: usize = 64;

/// A folder's path as directories.
pub(super) fn written(folder: &FolderPath) -> String {
    let levels: Vec<String> = folder.0.iter().map(|level| escaped(level)).collect();
    if folder.is_inbox() { "INBOX".to_owned() } else { levels.join("/") }
}

fn escaped(level: &str) -> String {
    let dots = level.chars().all(|c| c == '.');
    let last = level.chars().count().saturating_sub(1);
    level.chars().enumerate().fold(String::with_capacity(level.len()), |mut out, (at, c)| {
        // Spaces at the ends are lost easily.
        let edge = c.is_whitespace() && (at == 0 || at == last);
        if edge || c.is_control() || "%/\\:*?\"<>|".contains(c) || (dots && c == '.') {
            let mut octets = [0; 4];
            c.encode_utf8(&mut octets).bytes().for_each(|octet| out.push_str(&format!("%{octet:02X}")));
        } else {
            out.push(c);
        }
        out
    })
}

/// The folder that directories name; `None`: they name none.
pub(super) fn read(path: &str) -> Option<FolderPath> {
    let levels: Vec<String> = path
        .split('/')
        .filter(|level| !level.is_empty() && *level != "." && *level != "..")
        .take(DEEPEST)
        .map(unescaped)
        .collect();
    (!levels.is_empty()).then_some(FolderPath(levels))
}

fn unescaped(level: &str) -> String {
    let mut octets = Vec::with_capacity(level.len());
    let mut rest = level.as_bytes();
    while let [first, tail @ ..] = rest {
        let code = tail.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        match code.filter(|_| *first == b'%').and_then(|two| u8::from_str_radix(two, 16).ok()) {
            Some(octet) => {
                octets.push(octet);
                rest = tail.get(2..).unwrap_or_default();
            }
            None => {
                octets.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&octets).into_owned()
}

/// A path in an archive, divided: the directories, and the last part.
pub(super) fn divided(path: &str) -> (&str, &str) {
    let path = path.trim_end_matches('/');
    path.rsplit_once('/').unwrap_or(("", path))
}

/// The levels of a path, without those that are steps.
pub(super) fn levels(path: &str) -> Vec<&str> {
    let is_name = |level: &&str| !level.is_empty() && *level != "." && *level != "..";
    path.split('/').filter(is_name).take(DEEPEST).collect()
}

/// A level of an archive that need not be one of our backups: what a backup never writes is no escape.
pub(super) fn foreign(level: &str) -> String {
    let plain = unescaped(level);
    if escaped(&plain) == level { plain } else { level.to_owned() }
}

/// Where a path says that a message is in a Maildir.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct InMaildir<'p> {
    /// The directory of its folder.
    pub(super) directory: &'p str,
    /// In `new`.
    pub(super) is_new: bool,
    /// After `:2,`.
    pub(super) info: &'p str,
    /// The time that its name begins with, seconds since 1970.
    pub(super) time: Option<i64>,
}

/// Reads a path as a Maildir has them; `None`: it is no message of one.
pub(super) fn in_maildir(path: &str) -> Option<InMaildir<'_>> {
    let (above, name) = divided(path);
    let (directory, part) = divided(above);
    let is_new = match part {
        "new" => true,
        "cur" => false,
        _ => return None,
    };
    // Where a colon cannot be in a name, programs write one of the others.
    let info = [":2,", ";2,", "!2,", "_2,", "-2,"].iter().find_map(|mark| name.rsplit_once(mark));
    let info = info.map_or("", |(_, info)| info);
    let time = name.split('.').next().and_then(|time| time.parse().ok());
    Some(InMaildir { directory, is_new, info, time })
}

/// The levels of a directory of a Maildir++: `.Sent.2024`; `None`: it is none. No level is empty: `.a..b` is a name like any other.
pub(super) fn dotted(name: &str) -> Option<Vec<String>> {
    let rest = name.strip_prefix('.').filter(|rest| !rest.split('.').any(str::is_empty))?;
    Some(rest.split('.').take(DEEPEST).map(decoded).collect())
}

/// A level in modified UTF-7, if it is that.
pub(super) fn decoded(level: &str) -> String {
    mutf7::decode(level.as_bytes()).unwrap_or_else(|| level.to_owned())
}

/// A folder's directory in a Maildir++.
pub(super) fn directory(folder: &FolderPath) -> String {
    if folder.is_inbox() {
        return String::new();
    }
    folder.0.iter().fold(String::new(), |sum, level| sum + "." + &mutf7::encode(level))
}

/// The flags of a Maildir's file; letters are looked up in `keywords`.
pub(super) fn flags(info: &str, keywords: &[String]) -> Flags {
    let mut flags = Flags::default();
    for letter in info.chars() {
        match letter {
            'D' => flags.draft = true,
            'F' => flags.flagged = true,
            'R' => flags.answered = true,
            'S' => flags.seen = true,
            'T' => flags.deleted = true,
            'a'..='z' => {
                let at = u32::from(letter) - u32::from('a');
                let word = usize::try_from(at).ok().and_then(|at| keywords.get(at));
                flags.keywords.extend(word.filter(|word| !word.is_empty()).cloned());
            }
            _ => {}
        }
    }
    flags
}

/// Flags as IMAP writes them, one after the other.
pub(super) fn in_words(flags: &Flags) -> String {
    let known = [
        (flags.seen, "\\Seen"),
        (flags.answered, "\\Answered"),
        (flags.flagged, "\\Flagged"),
        (flags.deleted, "\\Deleted"),
        (flags.draft, "\\Draft"),
        (flags.recent, "\\Recent"),
    ];
    let known = known.iter().filter(|(set, _)| *set).map(|(_, word)| *word);
    known.chain(flags.keywords.iter().map(String::as_str)).collect::<Vec<_>>().join(" ")
}

/// Reads what [`in_words`] wrote; `None`: it is something else.
pub(super) fn from_words(text: &str) -> Option<Flags> {
    let mut flags = Flags::default();
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        match word {
            "\\Seen" => flags.seen = true,
            "\\Answered" => flags.answered = true,
            "\\Flagged" => flags.flagged = true,
            "\\Deleted" => flags.deleted = true,
            "\\Draft" => flags.draft = true,
            "\\Recent" => flags.recent = true,
            word if word.starts_with('\\') => return None,
            word => flags.keywords.push(word.to_owned()),
        }
    }
    Some(flags)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn steps_are_no_folders() {
        assert_eq!(read("../../etc/./x").unwrap().0, ["etc", "x"]);
        assert_eq!(read("/../."), None);
        assert_eq!(levels("../../etc/./x"), ["etc", "x"]);
        let found = in_maildir("../.Sent.2024/cur/5.x:2,FS").unwrap();
        assert_eq!((found.directory, found.info, found.time), ("../.Sent.2024", "FS", Some(5)));
        assert_eq!(in_maildir("cur/5.x:2,FSb").unwrap().directory, "");
        assert_eq!(in_maildir("a.eml"), None);
        assert_eq!(dotted(".a\\b.c").unwrap(), ["a\\b", "c"]);
        for other in ["a", ".", "..a", ".a..b", ".a."] {
            assert_eq!(dotted(other), None, "{other}");
        }
        assert_eq!(
            (foreign("50%25"), foreign("a%41"), foreign("50%")),
            ("50%".into(), "a%41".into(), "50%".into())
        );
    }

    proptest! {
        #[test]
        fn a_folder_is_read_as_it_was_written(levels in prop::collection::vec("\\PC{1,9}|[ .%/\\\\\\x00]{1,3}", 1..5)) {
            let folder = FolderPath(levels);
            let written = written(&folder);
            prop_assert_eq!(written.trim(), &written);
            let read = read(&written).unwrap();
            prop_assert!(read == folder || folder.is_inbox());
        }
    }
}
