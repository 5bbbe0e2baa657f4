//! Messages that go to several folders: sent once, and copied by the server for the others (RFC 9051, 6.4.7). It
//! refuses to copy where the server does not tell the new UIDs, where something may be in the folder already, and
//! a message whose flags or date are not as they were when it was sent.

use std::collections::BTreeMap;
use std::sync::Mutex;

use super::carrier::{Open, lost};
use super::whose::can_be_new;
use crate::destination::landing::{Placement, Receipt};
use crate::destination::maildir::FileName;
use crate::destination::spool::Sent;
use crate::failure::Failure;
use crate::imap::{Session, written_flags};
use crate::message::{MessageRef, Parcel};

/// So many are remembered, which are about 10 MiB. The others are sent once more.
const MOST: usize = 50_000;

/// Where messages are that were sent in this run and that other folders get, too; by the hash of their folder's
/// name at the source, and by themselves.
#[derive(Debug, Default)]
pub(super) struct Sends(Mutex<BTreeMap<(u64, MessageRef), Sent>>);

impl Sends {
    pub(super) fn remember(&self, folder: u64, message: MessageRef, sent: Sent) {
        if let Ok(mut sends) = self.0.lock()
            && sends.len() < MOST
        {
            sends.insert((folder, message), sent);
        }
    }

    pub(super) fn of(&self, from: &FileName) -> Option<Sent> {
        self.0.lock().ok()?.get(&(from.origin.folder, from.message)).cloned()
    }
}

/// Messages that are to be in this folder, too, and where they are.
type Copies = Vec<(Placement, Sent)>;

impl Open {
    /// Copies what can be copied. Of the others there is no receipt.
    pub(super) async fn copy(
        &mut self,
        session: &mut Session<Parcel>,
        copies: Copies,
    ) -> Result<Vec<Receipt>, Failure> {
        let mut by_folder: BTreeMap<(Vec<u8>, u32), Copies> = BTreeMap::new();
        for (placement, sent) in copies {
            let as_sent = placement.flags == sent.flags && placement.received == sent.received;
            if as_sent && !self.likes.may_hold(sent.print.octets) {
                let folder = (sent.folder.clone(), sent.uidvalidity);
                by_folder.entry(folder).or_default().push((placement, sent));
            }
        }
        let mut receipts = Vec::new();
        if !session.can("UIDPLUS") || by_folder.is_empty() {
            return Ok(receipts);
        }
        for ((folder, uidvalidity), copies) in by_folder {
            let examined = session.examine(&folder).await;
            if examined.is_ok_and(|there| there.uidvalidity == uidvalidity) {
                receipts.extend(self.copy_from(session, copies).await?);
            }
        }
        match session.select(&self.name).await? {
            Some(now) if now.uidvalidity == self.selected.uidvalidity => {
                let last = receipts.iter().filter_map(|receipt| receipt.uid).max().unwrap_or(0);
                self.next = self.next.max(last.saturating_add(1));
                self.came.extend(&receipts.iter().filter_map(|receipt| receipt.uid).collect());
                Ok(receipts)
            }
            _ => Err(lost()),
        }
    }

    async fn copy_from(
        &self,
        session: &mut Session<Parcel>,
        copies: Copies,
    ) -> Result<Vec<Receipt>, Failure> {
        self.intend(copies.iter().map(|(_, sent)| sent.print).collect()).await?;
        let uids = copies.iter().map(|(_, sent)| sent.uid).collect();
        let copied = session.copy(&uids, &self.name).await?;
        self.answered().await?;
        let Some((uidvalidity, new)) = copied else { return Ok(Vec::new()) };
        if uidvalidity != self.selected.uidvalidity {
            return Err(lost());
        }
        // UIDs that do not add up are none.
        let told = new.values().map(|uid| (uidvalidity, *uid));
        let honest = can_be_new(told, (uidvalidity, self.next), &self.came);
        let receipt = |(placement, sent): (Placement, Sent)| Receipt {
            uid: new.get(&sent.uid).copied().filter(|_| honest),
            keywords_left: written_flags(&placement.flags, &self.selected.keywords).1,
            ..Receipt::landed(placement.message, sent.print.octets)
        };
        Ok(copies.into_iter().map(receipt).collect())
    }
}
