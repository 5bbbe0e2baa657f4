//! How a server writes the names of a member's own folders. It refuses a name that the server would.

use std::collections::BTreeSet;

use super::answers;
use super::session::Session;
use super::shelf::written;
use crate::failure::Failure;
use crate::message::{FolderPath, Parcel};
use crate::mutf7;

/// A name of more octets is not made: servers with a folder a directory stop at 255.
const LONGEST: usize = 230;

/// What Cyrus 3.6 calls an invalid mailbox name, found by trying every character.
const NOT_AT_CYRUS: &str = "!\"%;<>\\^`{|}";

/// A server that calls itself so, and what it takes otherwise than others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Software {
    /// One of the others.
    #[default]
    Other,
    /// Cyrus.
    Cyrus,
    /// Courier: 5.0 reads no surrogates in modified UTF-7. Where UTF8=ACCEPT made such a folder all the same, it
    /// hangs up on everybody else who lists his folders.
    Courier,
}

impl Software {
    /// Whether no folder's name may have this character there.
    fn refuses(self, c: char) -> bool {
        match self {
            Software::Other => false,
            Software::Cyrus => NOT_AT_CYRUS.contains(c),
            Software::Courier => c > '\u{FFFF}',
        }
    }
}

/// How a server writes the names of a member's own folders.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Layout {
    /// Between levels; `None`: the server knows no levels.
    pub delimiter: Option<u8>,
    /// Before every name but the inbox's.
    pub prefix: Vec<u8>,
    /// What the server is.
    pub software: Software,
    /// Characters that it refuses, besides those that are known of its software.
    pub refused: BTreeSet<char>,
    /// Levels that it keeps for itself.
    pub reserved: BTreeSet<String>,
    /// A folder has either messages or folders: levels are joined to one.
    pub flat: bool,
    /// Names of one level that hold folders there, where it is flat.
    pub only_folders: BTreeSet<String>,
}

impl Layout {
    /// A level as the server can carry it: without its delimiter, slashes, control characters and what it
    /// refuses.
    pub fn level(&self, level: &str) -> String {
        let delimiter = self.delimiter.map(char::from);
        let plain = |c: char| {
            let bad = Some(c) == delimiter || c == '/' || c.is_control() || self.refuses(c);
            if bad { '_' } else { c }
        };
        let mut out: String = level.chars().map(plain).collect();
        // Names that begin so mean something else to servers that keep mail in files.
        let odd = out.starts_with(['~', '#']) || matches!(out.as_str(), "." | ".." | "");
        if odd || self.reserved.contains(&out) {
            out.insert(0, '_');
        }
        out
    }

    /// Whether no name may have this character there.
    pub(super) fn refuses(&self, c: char) -> bool {
        self.software.refuses(c) || self.refused.contains(&c)
    }

    /// Levels that the server can carry, as it can hold them.
    pub fn joined(&self, levels: Vec<String>) -> Vec<String> {
        if !self.flat {
            return levels;
        }
        if let [only] = levels.as_slice() {
            let taken = self.only_folders.contains(only);
            return if taken { vec![format!("_{only}")] } else { levels };
        }
        let dot = self.delimiter != Some(b'.') && !self.refuses('.');
        vec![levels.join(if dot { "." } else { "_" })]
    }

    /// The longest name that is made, octets.
    pub fn longest(&self) -> usize {
        LONGEST.saturating_sub(self.prefix.len())
    }

    /// The name of a folder whose levels the server can carry.
    pub fn name(&self, levels: &[String]) -> Vec<u8> {
        if FolderPath(levels.to_vec()).is_inbox() {
            return b"INBOX".to_vec();
        }
        let delimiter = self.delimiter.unwrap_or(b'_');
        // Where everything is below the inbox, a folder below the inbox is one of them.
        let below = match (levels.split_first(), self.prefix.split_last()) {
            (Some((first, rest)), Some((_, prefix)))
                if first.eq_ignore_ascii_case("INBOX") && prefix.eq_ignore_ascii_case(b"INBOX") =>
            {
                rest
            }
            _ => levels,
        };
        let coded: Vec<String> = below.iter().map(|level| mutf7::encode(level)).collect();
        let mut name = match levels.first() {
            Some(first) if first.eq_ignore_ascii_case("INBOX") && below.len() == levels.len() => Vec::new(),
            _ => self.prefix.clone(),
        };
        for (at, level) in coded.iter().enumerate() {
            if at > 0 {
                name.push(delimiter);
            }
            name.extend_from_slice(level.as_bytes());
        }
        name
    }

    /// The folders above a folder, the nearest first.
    pub fn above<'n>(&self, name: &'n str) -> Vec<&'n str> {
        let own = std::str::from_utf8(&self.prefix)
            .map_or(0, |prefix| if name.starts_with(prefix) { prefix.len() } else { 0 });
        let Some(delimiter) = self.delimiter.map(char::from) else { return Vec::new() };
        let ends = name.match_indices(delimiter).map(|(at, _)| at).filter(|at| *at > own);
        let mut above: Vec<&str> = ends.filter_map(|at| name.get(..at)).collect();
        above.retain(|name| !name.eq_ignore_ascii_case("INBOX"));
        above.reverse();
        above
    }
}

impl<T: From<Parcel> + Send + 'static> Session<T> {
    /// Whether there are folders below a folder.
    ///
    /// # Errors
    /// The connection failed.
    pub async fn has_children(&mut self, name: &str, layout: &Layout) -> Result<bool, Failure> {
        let Some(delimiter) = layout.delimiter.map(char::from) else { return Ok(false) };
        let pattern = written(format!("{name}{delimiter}%").as_bytes())?;
        let tag = self.send(&[b"LIST \"\" ", pattern.as_slice()].concat()).await?;
        let done = self.finish(&tag, |_| {}).await?;
        // Wildcards in the name may find more than was meant, and who cannot be asked has some: then it stays.
        let mut any = !done.ok;
        while let Some(line) = self.side_line() {
            any |= answers::list(&line).is_some();
        }
        Ok(any)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(layout: &Layout, path: &[&str]) -> String {
        let levels: Vec<String> = path.iter().map(|level| layout.level(level)).collect();
        String::from_utf8(layout.name(&levels)).unwrap()
    }

    #[test]
    fn names_as_servers_have_them() {
        let plain = Layout { delimiter: Some(b'/'), ..Layout::default() };
        assert_eq!(name(&plain, &["INBOX"]), "INBOX");
        assert_eq!(name(&plain, &["Archive", "20/24"]), "Archive/20_24");
        assert_eq!(name(&plain, &["inbox", "Gmail"]), "inbox/Gmail");
        let courier = Layout {
            delimiter: Some(b'.'),
            prefix: b"INBOX.".to_vec(),
            software: Software::Courier,
            ..Layout::default()
        };
        assert_eq!(name(&courier, &["v1.2"]), "INBOX.v1_2");
        assert_eq!(name(&courier, &["INBOX", "Gmail"]), "INBOX.Gmail");
        assert_eq!(name(&courier, &["Entwürfe*"]), "INBOX.Entw&APw-rfe*");
        assert_eq!(name(&courier, &["📬 받은"]), "INBOX._ &vBvHQA-");
        assert_eq!(name(&Layout::default(), &["a", "b"]), "a_b");
        assert_eq!(name(&plain, &["..", ""]), "_../_");
        let refused =
            Layout { refused: ['.', '~'].into(), reserved: ["cur".to_owned()].into(), ..plain.clone() };
        assert_eq!(name(&refused, &["v1.0", "~x", "cur", "cur.", ".."]), "v1_0/_x/_cur/cur_/__");
        let cyrus = Layout { software: Software::Cyrus, ..plain };
        assert_eq!(name(&cyrus, &["50% {net}", "a*b (c)"]), "50_ _net_/a*b (c)");
    }

    #[test]
    fn what_is_above() {
        let layout = |delimiter, prefix: &[u8]| Layout {
            delimiter: Some(delimiter),
            prefix: prefix.to_vec(),
            ..Layout::default()
        };
        assert_eq!(layout(b'/', b"").above("a/b/c"), ["a/b", "a"]);
        assert_eq!(layout(b'.', b"INBOX.").above("INBOX.a.b"), ["INBOX.a"]);
        assert_eq!(layout(b'/', b"").above("INBOX/x"), [""; 0]);
        assert_eq!(layout(b'/', b"").above("x"), [""; 0]);
    }
}
