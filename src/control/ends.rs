//! Entries in the audit log for what is known only at the end: how a poll went, whether an owner consented. It
//! refuses to call anything done before it is.

use std::sync::Arc;

use super::streams::{PACE, polled};
use crate::audit::{Act, Audit, Who};
use crate::engine::{Asked, Manager};

/// Who asked for what.
pub(super) struct Entries {
    pub(super) audit: Audit,
    pub(super) who: Who,
    pub(super) act: &'static str,
    pub(super) detail: Option<&'static str>,
}

impl Entries {
    fn note(&self, account: &str, error: Option<String>) {
        let (act, account) = (self.act, Some(account.to_owned()));
        let detail = self.detail.map(str::to_owned);
        self.audit.record(&self.who, &[Act { act, account, error, detail, begun: true, agreed: false }]);
    }
}

/// Notes each poll when it has ended, also if whoever asked does not wait for it.
pub(super) fn note_polls(manager: &Arc<Manager>, asked: &[Asked], entries: Entries) {
    let (manager, mut left) = (Arc::clone(manager), asked.to_vec());
    tokio::task::spawn_local(async move {
        let mut changes = manager.changes();
        while !left.is_empty() {
            changes.mark_unchanged();
            left.retain(|asked| match polled(&manager, asked).run {
                Some(run) => {
                    let failed = || "it failed".to_owned();
                    let error = (run.result != "ok").then(|| run.error.unwrap_or_else(failed));
                    entries.note(&asked.name, error);
                    false
                }
                None => true,
            });
            if left.is_empty() || changes.changed().await.is_err() {
                return;
            }
            tokio::time::sleep(PACE / 4).await;
        }
    });
}

/// An owner who is asked: the entry is made whatever becomes of it.
pub(super) struct Consent {
    name: String,
    entries: Entries,
    over: bool,
}

impl Consent {
    pub(super) fn asked(name: &str, entries: Entries) -> Consent {
        Consent { name: name.to_owned(), entries, over: false }
    }

    /// The owner has consented, or why not.
    pub(super) fn over(mut self, error: Option<String>) {
        self.over = true;
        self.entries.note(&self.name, error);
    }
}

impl Drop for Consent {
    fn drop(&mut self) {
        if !self.over {
            let gone = "whoever asked has gone before the owner consented";
            self.entries.note(&self.name, Some(gone.to_owned()));
        }
    }
}
