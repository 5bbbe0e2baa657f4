//! Folders that are opened: one, to work in it, or one after the other, to see which of them open. It refuses to take a folder
//! whose messages nobody counted for an empty one.

use super::command::quoted;
use super::patience::Task;
use super::refusal::refusal;
use super::response::Response;
use super::session::{Examined, Session};
use crate::failure::{Failure, Kind};
use crate::message::Parcel;
use crate::net::Quirk;

/// So many EXAMINE may wait for their answers.
const WINDOW: usize = 16;

impl<T: From<Parcel> + Send + 'static> Session<T> {
    /// Opens a folder for reading only. `name` is the server's own.
    ///
    /// # Errors
    /// [`Kind::Folder`] if it cannot be opened.
    pub async fn examine(&mut self, name: &[u8]) -> Result<Examined, Failure> {
        self.open_folder(name, (false, None)).await
    }

    /// The same of a folder that is known to have so many messages: for few of them the server has less time.
    ///
    /// # Errors
    /// As [`Session::examine`].
    pub async fn examine_counted(&mut self, name: &[u8], messages: Option<u64>) -> Result<Examined, Failure> {
        self.open_folder(name, (false, messages)).await
    }

    /// Opens one folder after the other, with so many messages as far as that is known, in a few round trips; what came of
    /// each goes behind `found` one by one.
    ///
    /// # Errors
    /// The connection failed; what was answered before is in `found`, and the folder behind that may be to blame.
    pub async fn examine_each(
        &mut self,
        folders: &[(&[u8], Option<u64>)],
        found: &mut Vec<Result<Examined, Failure>>,
    ) -> Result<(), Failure> {
        for window in folders.chunks(WINDOW) {
            let mut tags = Vec::new();
            for (name, _) in window {
                tags.push(self.ask_to_open(name, false).await?);
            }
            for (tag, (name, messages)) in tags.into_iter().zip(window) {
                let opened = match tag {
                    Ok(tag) => self.opened(&tag, name, (false, *messages)).await,
                    Err(unspeakable) => Err(unspeakable),
                };
                match opened {
                    Err(failure) if failure.broke() => return Err(failure),
                    opened => found.push(opened),
                }
            }
        }
        Ok(())
    }

    /// Whether this folder is open.
    pub fn has_open(&self, name: &[u8]) -> bool {
        self.opened.as_ref().is_some_and(|(opened, ..)| opened == name)
    }

    /// For writing or not, with so many messages as far as that is known.
    pub(super) async fn open_folder(
        &mut self,
        name: &[u8],
        (writing, messages): (bool, Option<u64>),
    ) -> Result<Examined, Failure> {
        let tag = self.ask_to_open(name, writing).await??;
        self.opened(&tag, name, (writing, messages)).await
    }

    /// The tag of the command; or why there is none for a folder of this name.
    async fn ask_to_open(&mut self, name: &[u8], writing: bool) -> Result<Result<String, Failure>, Failure> {
        let Some(quoted) = quoted(name) else {
            let words = "its name holds a line end or a NUL, so it cannot be asked for";
            return Ok(Err(Failure::new(Kind::Folder, words, "")));
        };
        let command = if writing { b"SELECT ".as_slice() } else { b"EXAMINE " };
        self.send(&[command, quoted.as_slice()].concat()).await.map(Ok)
    }

    /// What the server says to it.
    async fn opened(
        &mut self,
        tag: &str,
        name: &[u8],
        (writing, messages): (bool, Option<u64>),
    ) -> Result<Examined, Failure> {
        let folder_failure = |words: &str| Failure::new(Kind::Folder, words, "");
        // Servers read a whole folder first, which takes minutes (gromox#244).
        let usual = self.be_patient(Task::Open, messages);
        let (mut uidvalidity, mut exists, mut uidnext, mut modseq) = (None, None, None, None);
        let done = self
            .finish(tag, |response| match response {
                Response::Status { said, .. } => {
                    uidvalidity = said.uidvalidity.or(uidvalidity);
                    uidnext = said.uidnext.or(uidnext);
                    modseq = said.modseq.or(modseq);
                }
                Response::Exists(count) => exists = Some(count),
                _ => {}
            })
            .await?;
        self.transport().stream().set_stall(usual);
        if !done.ok {
            // Nothing is open then (RFC 3501, 6.3.1).
            self.opened = None;
            return Err(refusal("the server does not open it", &done.text, Kind::Folder, ""));
        }
        // A folder whose messages nobody counted must not pass for an empty one (RFC 3501, 6.3.1).
        let Some(exists) = exists else {
            return Err(folder_failure("the server does not say how many messages it holds"));
        };
        let uidvalidity = match uidvalidity.filter(|uidvalidity| *uidvalidity > 0) {
            Some(uidvalidity) => uidvalidity,
            None => {
                self.quirks.learn(&self.host, self.port, Quirk::NoUidValidity);
                self.unnumbered
            }
        };
        self.opened = Some((name.to_vec(), writing, uidvalidity));
        Ok(Examined { uidvalidity, exists, uidnext, modseq })
    }
}
