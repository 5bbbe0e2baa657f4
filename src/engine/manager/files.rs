//! Uploads and backups, which belong to a member and to no account. It refuses what the policy of the member's
//! domain denies, and two uploads into one mailbox at once: neither would see what the other one brings.

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::super::{backup, upload};
use super::{Manager, Refusal};
use crate::account::Member;
use crate::failure::Failure;

/// So often, with so long a pause, a mailbox is looked at that somebody uploads into.
const LOOKS: u32 = 30;
const PAUSE: Duration = Duration::from_millis(100);

const MEND: &str = "see [policy] in mailhaul.toml";

/// Whose mailbox, and which.
#[derive(Debug, Clone)]
pub struct Files {
    member: Member,
    destination: String,
    mailbox: Option<Vec<String>>,
    cancel: CancellationToken,
}

impl Files {
    /// What ends the work early.
    pub fn cancel(&self) -> &CancellationToken {
        &self.cancel
    }
}

impl Manager {
    /// Whether somebody may upload into a member's mailbox.
    ///
    /// # Errors
    /// What is wrong with the names, or that policy denies it.
    pub fn to_upload(
        &self,
        member: &str,
        mailbox: Option<&str>,
        destination: Option<&str>,
    ) -> Result<Files, Refusal> {
        let files = self.files(member, mailbox, destination)?;
        if !self.means().settings.policy.of(&files.member.domain).upload {
            return Err(denied(&files.member, "uploads are"));
        }
        Ok(files)
    }

    /// Whether somebody may back up a member's mailbox.
    ///
    /// # Errors
    /// What is wrong with the names, or that policy denies it.
    pub fn to_back_up(
        &self,
        member: &str,
        mailbox: Option<&str>,
        destination: Option<&str>,
    ) -> Result<Files, Refusal> {
        let files = self.files(member, mailbox, destination)?;
        if !self.means().settings.policy.of(&files.member.domain).backup {
            return Err(denied(&files.member, "backups are"));
        }
        Ok(files)
    }

    fn files(
        &self,
        member: &str,
        mailbox: Option<&str>,
        destination: Option<&str>,
    ) -> Result<Files, Refusal> {
        let refused = |(what, mend)| Refusal::Refused(member.to_owned(), what, mend);
        let mailbox = mailbox.map(crate::config::folder).transpose().map_err(refused)?;
        let found = crate::config::member(member).map_err(refused)?;
        let means = self.means();
        let known = &means.settings.destinations;
        let destination = match destination {
            Some(name) if known.contains_key(name) => name.to_owned(),
            Some(name) => {
                let what = format!("there is no destination {name}");
                return Err(refused((what, "see [destination] in mailhaul.toml".to_owned())));
            }
            None => self.usual(&found).unwrap_or_else(|| match known.keys().next() {
                Some(only) if known.len() == 1 => only.clone(),
                _ => "default".to_owned(),
            }),
        };
        Ok(Files { member: found, destination, mailbox, cancel: self.stop.child_token() })
    }

    /// Where the accounts of a member bring their mail, if they agree.
    fn usual(&self, member: &Member) -> Option<String> {
        let state = self.lock();
        let mut places = state
            .entries
            .values()
            .filter(|entry| entry.account.member == *member)
            .map(|entry| entry.account.destination.clone());
        let first = places.next()?;
        places.all(|other| other == first).then_some(first)
    }

    /// Uploads files, each with its name for people; `told` is called after each batch.
    ///
    /// # Errors
    /// Another upload into this mailbox runs, or the destination takes no more.
    pub async fn upload(
        self: &Arc<Self>,
        to: Files,
        files: Vec<(String, File)>,
        told: impl FnMut(&upload::Uploaded) + Send + 'static,
    ) -> Result<upload::Uploaded, Failure> {
        let mailbox = (to.member.clone(), to.destination.clone());
        let mut place = Uploading::begin(self, mailbox.clone());
        // One whose caller has gone is about to end.
        for _ in 0..LOOKS {
            if place.is_some() || to.cancel.is_cancelled() {
                break;
            }
            tokio::time::sleep(PAUSE).await;
            place = Uploading::begin(self, mailbox.clone());
        }
        let Some(_place) = place else {
            return Err(Failure::new(
                crate::failure::Kind::InUse,
                "another upload into this mailbox runs",
                "wait for its end",
            ));
        };
        let Files { member, destination, mailbox, cancel } = to;
        let errand = upload::Errand { member, destination, mailbox, files, cancel };
        upload::run(&self.means(), errand, &self.tasks, told).await
    }

    /// Backs a mailbox up into `file`; `told` is called again and again.
    ///
    /// # Errors
    /// The mailbox cannot be read, or the file not written.
    pub async fn back_up(
        &self,
        from: Files,
        format: backup::Format,
        file: File,
        told: impl FnMut(&backup::BackedUp) + Send + 'static,
    ) -> Result<backup::BackedUp, Failure> {
        self.backups.fetch_add(1, Relaxed);
        let _running = BackingUp(&self.backups);
        let Files { member, destination, mailbox, cancel } = from;
        let errand = backup::Errand { member, destination, mailbox, format, file, cancel };
        backup::run(&self.means(), errand, &self.tasks, told).await
    }
}

fn denied(member: &Member, what: &str) -> Refusal {
    let words = format!("{what} denied for {} by policy", member.domain);
    Refusal::Refused(member.to_string(), words, MEND.to_owned())
}

/// A backup that runs, until dropped.
struct BackingUp<'m>(&'m AtomicU64);

impl Drop for BackingUp<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// A mailbox that is uploaded into, until dropped.
struct Uploading {
    manager: Arc<Manager>,
    mailbox: (Member, String),
}

impl Uploading {
    fn begin(manager: &Arc<Manager>, mailbox: (Member, String)) -> Option<Uploading> {
        let mut uploads = manager.uploads.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        uploads.insert(mailbox.clone()).then(|| Uploading { manager: Arc::clone(manager), mailbox })
    }
}

impl Manager {
    /// Uploads and backups that run.
    pub(super) fn transfers(&self) -> (u64, u64) {
        let uploads = self.uploads.lock().unwrap_or_else(std::sync::PoisonError::into_inner).len();
        (uploads as u64, self.backups.load(Relaxed))
    }
}

impl Drop for Uploading {
    fn drop(&mut self) {
        let uploads = &self.manager.uploads;
        uploads.lock().unwrap_or_else(std::sync::PoisonError::into_inner).remove(&self.mailbox);
    }
}
