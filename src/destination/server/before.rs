//! How a mailbox at a server stood before a run: each folder's UIDVALIDITY and next UID, in a small file. What is
//! below those was there, and is the member's. It refuses to be taken twice for one run.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::carrier::on_disk;
use super::home::{Server, at_home};
use super::intent::forget;
use crate::failure::{Failure, Kind};
use crate::imap::{Session, SourceFolder, Standing};
use crate::message::Parcel;

/// Folders that break the connection when they are asked how they stand; after so many none is asked any more.
const BREAKS: u32 = 4;

/// By the server's names of folders: UIDVALIDITY, and the UID that came next.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Before(BTreeMap<String, (u32, u32)>);

impl Before {
    pub(super) fn path(spool: &Path, account: u64) -> PathBuf {
        spool.join(format!("{account:016x}-before"))
    }

    /// Whether a run of the account is going on that may be undone.
    pub(super) fn is_there(spool: &Path, account: u64) -> bool {
        Before::path(spool, account).exists()
    }

    /// As it was written; with its run.
    pub(super) fn read(spool: &Path, account: u64) -> io::Result<Option<(i64, Before)>> {
        let text = match std::fs::read_to_string(Before::path(spool, account)) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e),
        };
        let mut lines = text.lines();
        let Some(run) = lines.next().and_then(|run| run.parse().ok()) else { return Ok(None) };
        let folder = |line: &str| {
            let mut words = line.splitn(3, ' ');
            let numbers = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
            Some((words.next()?.to_owned(), numbers))
        };
        Ok(Some((run, Before(lines.filter_map(folder).collect()))))
    }

    /// The first UID of a folder that was not there before. `None`: it has been numbered anew, and nobody knows.
    pub(super) fn first_new(&self, name: &str, uidvalidity: u32) -> Option<u32> {
        match self.0.get(name) {
            Some((validity, next)) => (*validity == uidvalidity).then_some(*next),
            None => Some(1),
        }
    }
}

impl Server {
    /// A run begins, or goes on: how the mailbox stands is written down once.
    ///
    /// # Errors
    /// The server does not say, or the spool cannot be written.
    pub async fn remember(&self, spool: &Path, account: u64, run: i64) -> Result<(), Failure> {
        let place = spool.to_owned();
        let known = on_disk(move || Before::read(&place, account)).await?;
        if known.is_some_and(|(known, _)| known == run) {
            return Ok(());
        }
        let mut session: Session<Parcel> = self.connect().await?;
        let mut folders = session.folders().await.map_err(at_home)?;
        folders.retain(|folder| folder.broken.is_none());
        let standings = self.standings(&mut session, &folders).await?;
        session.close().await;
        let mut text = format!("{run}\n");
        for (folder, standing) in folders.iter().zip(standings) {
            // A folder that does not tell is the member's as a whole. Each message has used up a UID.
            let told = standing.filter(|s| u64::from(s.uidnext) > s.messages);
            let (validity, next) = told.map_or((0, 0), |s| (s.uidvalidity, s.uidnext));
            text.push_str(&format!("{validity} {next} {}\n", String::from_utf8_lossy(&folder.wire)));
        }
        let spool = spool.to_owned();
        on_disk(move || {
            // What an earlier run left is no affair of this one.
            forget(&spool, account)?;
            let path = Before::path(&spool, account);
            let new = path.with_extension("new");
            let mut options = File::options();
            let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&new)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&new, &path)?;
            File::open(&spool)?.sync_all()
        })
        .await
    }

    /// How the folders stand. One that breaks the connection is not told, and the others are.
    async fn standings(
        &self,
        session: &mut Session<Parcel>,
        folders: &[SourceFolder],
    ) -> Result<Vec<Option<Standing>>, Failure> {
        let mut standings = Vec::with_capacity(folders.len());
        for _ in 0..BREAKS {
            let rest = folders.get(standings.len()..).unwrap_or_default();
            let failure = match session.standings_into(rest, &mut standings).await {
                Ok(()) => break,
                Err(failure) if failure.broke() => failure,
                Err(failure) => return Err(at_home(failure)),
            };
            tracing::debug!("the destination does not say how a folder stands: {failure}");
            // Servers answer in the order of asking: this one was not answered.
            if standings.len() < folders.len() {
                standings.push(None);
            }
            *session = self.connect().await?;
            session.hurry(failure.kind == Kind::Stalled);
        }
        session.hurry(false);
        standings.resize(folders.len(), None);
        Ok(standings)
    }
}
