//! What a folder of a migration gets besides fetched messages: copies of what another folder fetched, and flags
//! that changed at the source. It refuses to fetch.

use std::collections::BTreeMap;

use super::carry::{Carried, carry};
use super::carry_there;
use super::folder::{BATCH, FolderWork, Progress};
use super::gmail::Home as AtGmail;
use crate::destination::Home;
use crate::destination::landing::{Order, Placement};
use crate::destination::maildir::{FileName, Origin, Reflag};
use crate::failure::Failure;
use crate::imap::{Care, Examined, Session};
use crate::message::{MessageRef, UidSet};

/// Copies made here are numbered from here, apart from what comes over the wire.
const COPIES: u64 = 1 << 62;

impl FolderWork<'_> {
    /// Copies messages here that other folders fetched; returns those that are not there to be copied.
    pub(super) async fn copy(
        &self,
        session: &mut Session<Order>,
        progress: &mut Progress,
        examined: Examined,
        homes: BTreeMap<u32, AtGmail>,
    ) -> Result<UidSet, Failure> {
        let records = self.journal.folders(self.account)?;
        progress.record.open = true;
        progress.copying = true;
        self.save(progress).await?;
        let (mut left, mut count) = (UidSet::new(), 0);
        let mut details = session.list_details(examined).await?;
        // Folder by folder, so that each is looked into once.
        details.sort_by_key(|detail| homes.get(&detail.uid).map(|home| home.folder));
        for detail in details {
            let Some(home) = homes.get(&detail.uid) else { continue };
            let (Some(record), Some(flags)) = (records.get(&home.folder), detail.flags) else {
                left.insert(detail.uid);
                continue;
            };
            let piece = COPIES + u64::from(detail.uid);
            let from = FileName {
                origin: Origin { folder: home.folder, ..progress.origin },
                message: MessageRef::Imap { uidvalidity: home.uidvalidity, uid: home.uid },
            };
            if !self.landing.copy(piece, &record.directory, from).await? {
                left.insert(detail.uid);
                continue;
            }
            progress.looked.look(detail.uid, &flags);
            progress.fresh.insert(detail.uid);
            let message = MessageRef::Imap { uidvalidity: progress.uidvalidity, uid: detail.uid };
            let (origin, received) = (progress.origin, detail.received);
            self.landing
                .place(Placement { piece, origin, message, announced: None, flags, received })
                .await?;
            count += 1;
            if count % BATCH == 0 {
                let answer = self.landing.commit().await?;
                let receipts = self.landing.settled(answer).await?;
                self.receive(progress, receipts).await?;
            }
        }
        let answer = self.landing.commit().await?;
        let receipts = self.landing.settled(answer).await?;
        self.receive(progress, receipts).await?;
        progress.copying = false;
        // What vanished since it was listed is asked for, and told, as ever.
        left.extend(&homes.keys().copied().filter(|uid| !progress.done.contains(*uid)).collect());
        Ok(left)
    }

    /// Carries over the flags that changed at the source since it was looked at last. Nothing is asked of a
    /// source that says that nothing changed.
    pub(super) async fn carry(
        &self,
        session: &mut Session<Order>,
        progress: &mut Progress,
        examined: Examined,
        care: &mut Care,
    ) -> Result<(), Failure> {
        if self.poll.is_some() {
            return Ok(());
        }
        let modseq = examined.modseq.unwrap_or(0);
        let mut here: UidSet =
            progress.sizes.keys().copied().filter(|uid| progress.done.contains(*uid)).collect();
        let mut new = here.clone();
        new.subtract(&progress.looked.at);
        // What came just now came with its flags.
        here.subtract(&progress.fresh);
        here.subtract(&new);
        let before = progress.looked.clone();
        let mut wanted = BTreeMap::new();
        let tells = modseq > 0 && progress.record.modseq > 0;
        let unchanged = tells && modseq == progress.record.modseq;
        if !here.is_empty() && !unchanged {
            let since = tells.then_some(progress.record.modseq);
            let listed = session.list_flags(&here, since, care).await?;
            progress.bare.extend(listed.failed);
            for (uid, flags) in listed.found {
                let change = progress.looked.look(uid, &flags);
                if change != Reflag::default() {
                    wanted.insert(uid, change);
                }
            }
        }
        // What a killed try brought did not come to be written down.
        let listed = session.list_flags(&new, None, care).await?;
        progress.bare.extend(listed.failed);
        for (uid, flags) in listed.found {
            progress.looked.look(uid, &flags);
        }
        let carried = match self.home {
            Home::Maildir(mailbox) => {
                let place = (progress.record.directory.as_str(), progress.origin, progress.uidvalidity);
                carry(self.journal, self.account, mailbox, place, wanted).await?
            }
            Home::Server(server, _) => {
                let journal = (self.journal, self.account);
                let uids: Vec<u32> = wanted.keys().copied().collect();
                match carry_there::carry(journal, server, (session, examined), progress, wanted).await? {
                    Ok(carried) => carried,
                    Err(words) => {
                        // The next run sees once more what changed.
                        progress.looked = before.clone();
                        progress.bare.extend(uids.into_iter().map(|uid| (uid, words.clone())));
                        Carried::default()
                    }
                }
            }
            // What was handed over cannot be asked for.
            Home::Delivery(..) => Carried::default(),
        };
        if carried.done > 0 {
            tracing::info!(
                MIGRATION = self.account,
                FOLDER = progress.record.name,
                "{} messages got the flags that they have at the source now",
                carried.done
            );
        }
        progress.lost_keywords += carried.without;
        if progress.looked.beyond {
            tracing::warn!(
                MIGRATION = self.account,
                FOLDER = progress.record.name,
                "this folder has too many keywords: those that change at the source are not all carried over"
            );
        }
        if carried.doubtful > 0 {
            tracing::warn!(
                MIGRATION = self.account,
                FOLDER = progress.record.name,
                "the flags of {} messages changed at the source and not here: they have size and date in common \
                 with others",
                carried.doubtful
            );
        }
        if before != progress.looked || !progress.fresh.is_empty() {
            progress.looked.write(self.account, progress.key, &mut progress.changes);
        }
        // What was not to be had is asked for again by the next run.
        progress.record.modseq = if progress.bare.is_empty() { modseq } else { 0 };
        Ok(())
    }
}
