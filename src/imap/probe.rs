//! Which names a server refuses, found by asking for the status of folders that are not there: whoever has none of
//! that name says so, and whoever can never have one says that. It makes nothing, and refuses to take a server for
//! one that refuses names which answers all alike.

use super::answers;
use super::layout::Layout;
use super::refusal::refusal;
use super::session::{Done, Session};
use super::shelf::{is_missing, says, written};
use crate::failure::{Failure, Kind};
use crate::message::Parcel;

/// A folder that nobody has.
const NOWHERE: &str = "mailhaul-nowhere";

/// What names have besides letters and digits. A hyphen is in [`NOWHERE`], an underscore stands for what is refused.
const ASKED: &str = " !\"#$%&'()*+,.:;<=>?@[\\]^`{|}~";

/// Levels that servers keep for themselves: Dovecot with a directory for each folder, Maildir or dbox.
const RESERVED: [&str; 4] = ["cur", "new", "tmp", "dbox-Mails"];

impl<T: From<Parcel> + Send + 'static> Session<T> {
    /// How this server names folders.
    ///
    /// # Errors
    /// The connection failed, or the server does not say.
    pub async fn layout(&mut self) -> Result<Layout, Failure> {
        let done = self.run("LIST \"\" \"\"").await?;
        let mut delimiter = None;
        while let Some(line) = self.side_line() {
            if let Some(line) = answers::list(&line) {
                delimiter = line.delimiter;
            }
        }
        if !done.ok {
            return Err(refusal("the server does not list its folders", &done.text, Kind::Unavailable, ""));
        }
        let prefix = self.namespaces.personal.first().cloned().unwrap_or_default();
        let mut layout = Layout { delimiter, prefix, software: self.software(), ..Layout::default() };
        self.probe(&mut layout).await?;
        Ok(layout)
    }

    /// Asks what it refuses: one round trip, and one more if it refuses anything.
    async fn probe(&mut self, layout: &mut Layout) -> Result<(), Failure> {
        let delimiter = layout.delimiter.map(char::from);
        let asked: Vec<char> =
            ASKED.chars().filter(|c| Some(*c) != delimiter && !layout.refuses(*c)).collect();
        let with = |what: &str| format!("{NOWHERE}{what}x");
        let mut names = vec![NOWHERE.to_owned(), with(&asked.iter().collect::<String>())];
        names.extend(RESERVED.map(str::to_owned));
        let answers = self.refused(layout, &names).await?;
        let [plain, special, reserved @ ..] = answers.as_slice() else { return Ok(()) };
        if *plain {
            // It says so of every name.
            return Ok(());
        }
        let kept = RESERVED.iter().zip(reserved).filter(|(_, refused)| **refused);
        layout.reserved = kept.map(|(level, _)| (*level).to_owned()).collect();
        if *special {
            let names: Vec<String> = asked.iter().map(|c| with(&c.to_string())).collect();
            let answers = self.refused(layout, &names).await?;
            let kept = asked.into_iter().zip(answers).filter(|(_, refused)| *refused);
            layout.refused = kept.map(|(c, _)| c).collect();
        }
        Ok(())
    }

    /// Which of these names it can never have. All are asked for before the first answer.
    async fn refused(&mut self, layout: &Layout, names: &[String]) -> Result<Vec<bool>, Failure> {
        let mut tags = Vec::new();
        for name in names {
            let name = layout.name(std::slice::from_ref(name));
            tags.push(
                self.send(&[b"STATUS ", written(&name)?.as_slice(), b" (UIDVALIDITY)"].concat()).await?,
            );
        }
        let mut refused = Vec::new();
        for tag in tags {
            let done = self.finish(&tag, |_| {}).await?;
            refused.push(never(&done));
        }
        while self.side_line().is_some() {}
        Ok(refused)
    }
}

/// RFC 5530, 3: what violates an invariant of the server and can never succeed; or words for that.
fn never(done: &Done) -> bool {
    !done.ok
        && !is_missing(done)
        && ["[CANNOT]", "not allowed in", "invalid mailbox name", "illegal mailbox name", "bad mailbox name"]
            .iter()
            .any(|words| says(done, words))
}
