//! Whether a folder at a server can hold messages and folders (RFC 3501, 7.2.2, `\Noinferiors`): Dovecot with a file for
//! each mailbox has either. What is there already tells; where nothing is, a folder is made for a moment. It refuses to
//! leave that folder behind, and to judge by folders for special uses, which servers protect.

use super::answers::{self, ListLine};
use super::layout::Layout;
use super::refusal::refusal;
use super::session::Session;
use super::shelf::written;
use crate::failure::{Failure, Kind};
use crate::message::Parcel;
use crate::mutf7;

/// Folders for special uses (RFC 6154).
const USES: [&str; 7] = ["\\All", "\\Archive", "\\Drafts", "\\Flagged", "\\Junk", "\\Sent", "\\Trash"];

/// What the folders of a server say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Holding {
    /// A folder has either messages or folders. `None`: nothing there tells.
    pub either: Option<bool>,
    /// First levels that hold folders and no messages.
    pub only_folders: Vec<String>,
}

impl<T: From<Parcel> + Send + 'static> Session<T> {
    /// What the folders that are there say.
    ///
    /// # Errors
    /// The connection failed, or the server does not list its folders.
    pub async fn holding(&mut self) -> Result<Holding, Failure> {
        let lines = self.lines(b"*").await?;
        Ok(told(&lines))
    }

    /// The same by a folder that is made and removed again. `None`: the server does not let it be made.
    ///
    /// # Errors
    /// The connection failed, or the folder stays.
    pub async fn try_holding(&mut self, layout: &Layout) -> Result<Option<bool>, Failure> {
        let level = format!("mailhaul-{:016x}", rand::random::<u64>());
        let name = layout.name(std::slice::from_ref(&level));
        match self.create(&name, None).await {
            Ok(true) => {}
            Ok(false) => return Ok(None),
            Err(failure) if failure.kind == Kind::Folder || failure.asks_for_less() => return Ok(None),
            Err(failure) => return Err(failure),
        }
        let lines = self.lines(&name).await;
        if let Some(words) = self.delete_folder(&name).await? {
            let shown = String::from_utf8_lossy(&name).into_owned();
            let words = format!("a folder that was made for a look cannot be removed: {shown}: {words}");
            return Err(Failure::new(Kind::Destination, words, "remove it"));
        }
        Ok(told(&lines?).either)
    }

    async fn lines(&mut self, pattern: &[u8]) -> Result<Vec<ListLine>, Failure> {
        let tag = self.send(&[b"LIST \"\" ", written(pattern)?.as_slice()].concat()).await?;
        let done = self.finish(&tag, |_| {}).await?;
        let mut lines = Vec::new();
        while let Some(line) = self.side_line() {
            lines.extend(answers::list(&line).filter(|line| !line.subscribed));
        }
        match done.ok {
            true => Ok(lines),
            false => Err(refusal("the server does not list its folders", &done.text, Kind::Unavailable, "")),
        }
    }
}

fn has(line: &ListLine, name: &str) -> bool {
    line.attributes.iter().any(|attribute| attribute.eq_ignore_ascii_case(name))
}

fn told(lines: &[ListLine]) -> Holding {
    let no_folder = |line: &&ListLine| has(line, "\\Noselect") || has(line, "\\NonExistent");
    let is_inbox = |line: &&ListLine| line.name.eq_ignore_ascii_case(b"INBOX");
    let own = |line: &&ListLine| !USES.iter().any(|name| has(line, name));
    let mut folders = lines.iter().filter(|line| !no_folder(line) && !is_inbox(line) && own(line)).peekable();
    let either = folders.peek().is_some().then(|| folders.all(|line| has(line, "\\Noinferiors")));
    let top = |line: &ListLine| {
        let decoded = mutf7::decode(&line.name)?;
        let delimiter = line.delimiter.map(char::from);
        Some(decoded).filter(|name| !delimiter.is_some_and(|delimiter| name.contains(delimiter)))
    };
    Holding { either, only_folders: lines.iter().filter(no_folder).filter_map(top).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_tell_what_they_can_hold() {
        let told = |text: &str| {
            let lines: Vec<ListLine> =
                text.lines().filter_map(|line| answers::list(line.as_bytes())).collect();
            told(&lines)
        };
        let inbox = "* LIST (\\HasNoChildren) \"/\" INBOX\r\n";
        assert_eq!(told(inbox), Holding::default());
        let special = "* LIST (\\NoInferiors \\Trash) \"/\" Trash\r\n";
        assert_eq!(told(&[inbox, special].concat()).either, None);
        let file = "* LIST (\\NoInferiors) \"/\" a\r\n* LIST (\\Noselect \\HasChildren) \"/\" c\r\n";
        let files = told(&[inbox, file].concat());
        assert_eq!((files.either, files.only_folders), (Some(true), vec!["c".to_owned()]));
        let both = "* LIST (\\HasNoChildren) \"/\" b\r\n";
        assert_eq!(told(&[inbox, file, both].concat()).either, Some(false));
    }
}
