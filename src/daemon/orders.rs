//! What changes the definitions while the daemon runs: reading them again, and the wishes that come through
//! the control socket. One at a time, from the daemon's own loop. It refuses to let anything run that was not
//! read back whole.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::task::spawn_blocking;

use super::{Kept, log_complaints};
use crate::audit::{Act, Who};
use crate::config::{Complaint, Loaded};
use crate::control::api::Reloaded;
use crate::control::{Order, UNUSABLE};
use crate::definitions::{Definitions, Known, Wish, Wrong, settle};
use crate::engine::{Manager, Refusal, View};
use crate::failure::Failure;
use crate::systemd;

/// Who carries it out.
pub(super) struct Clerk {
    definitions: Definitions,
    kept: Kept,
    manager: Arc<Manager>,
}

impl Clerk {
    pub(super) fn new(config: PathBuf, kept: Kept, manager: Arc<Manager>) -> Clerk {
        let Kept { environment, vault, definitions: directory, .. } = kept.clone();
        Clerk { definitions: Definitions { config, environment, vault, directory }, kept, manager }
    }

    /// SIGHUP.
    pub(super) async fn hang_up(&self) {
        let reloaded = self.read_again().await;
        let error = reloaded.refused.then(|| UNUSABLE.to_owned());
        self.kept.audit.record(&Who::what("SIGHUP"), &[Act { act: "reload", error, ..Act::default() }]);
    }

    pub(super) async fn carry_out(&self, order: Order) {
        match order {
            Order::Reload(reply) => {
                let _ = reply.send(self.read_again().await);
            }
            Order::Change(wish, reply) => {
                let _ = reply.send(self.change(*wish).await);
            }
        }
    }

    /// Reads settings and definitions again. Settings that cannot be used leave everything as it is.
    async fn read_again(&self) -> Reloaded {
        systemd::reloading();
        let (path, env) = (self.definitions.config.clone(), self.kept.environment.clone());
        let loaded = spawn_blocking(move || crate::config::load(&path, &env)).await;
        let reloaded = match loaded {
            Ok(Ok(loaded)) => {
                let reloaded = Reloaded {
                    refused: false,
                    accounts: loaded.accounts.len() as u64,
                    invalid: loaded.broken.len() as u64,
                    errors: loaded.complaints.iter().map(ToString::to_string).collect(),
                };
                match self.take_over(loaded) {
                    Ok(()) => reloaded,
                    Err(words) => self.refused(vec![words]),
                }
            }
            Ok(Err(complaints)) => {
                log_complaints(&complaints, &[]);
                self.refused(complaints.iter().map(Complaint::to_string).collect())
            }
            Err(e) => self.refused(vec![format!("reading the definitions ended unexpectedly: {e}")]),
        };
        systemd::ready();
        reloaded
    }

    fn refused(&self, errors: Vec<String>) -> Reloaded {
        tracing::error!("{UNUSABLE}: everything stays as it was");
        let views = self.manager.views();
        let invalid = views.iter().filter(|view| matches!(view, View::Broken(_))).count() as u64;
        Reloaded { refused: true, accounts: views.len() as u64 - invalid, invalid, errors }
    }

    fn take_over(&self, loaded: Loaded) -> Result<(), String> {
        log_complaints(&loaded.complaints, &loaded.warnings);
        let (good, invalid) = (loaded.accounts.len(), loaded.broken.len());
        let means = self.kept.means(loaded.settings, loaded.providers);
        means
            .and_then(|means| self.manager.set_accounts(means, loaded.accounts, loaded.broken))
            .map_err(|failure| failure.to_string())?;
        tracing::info!("definitions read again: {good} good, {invalid} invalid");
        Ok(())
    }

    /// What is there afterwards, or everything that is wrong.
    async fn change(&self, wish: Wish) -> Result<Vec<String>, Vec<Wrong>> {
        let removed = match &wish {
            Wish::Remove(name) => Some(name.clone()),
            _ => None,
        };
        let unexpected = |e: String| {
            vec![Wrong { place: "mailhauld".to_owned(), what: e, mend: "look at the log".to_owned() }]
        };
        self.settle().await.map_err(in_the_way)?;
        let (definitions, known) = (self.definitions.clone(), self.known());
        let change = spawn_blocking(move || definitions.prepare(wish, &known)).await;
        let change = change.unwrap_or_else(|e| Err(unexpected(e.to_string())))?;
        if let Some(name) = &removed {
            self.manager.halt(name).map_err(|refusal| vec![in_words(name, refusal)])?;
        }
        let definitions = self.definitions.clone();
        let written = spawn_blocking(move || definitions.commit(&change).map(|()| change)).await;
        let change = match written {
            Ok(Ok(change)) => change,
            Ok(Err(failure)) => {
                // What is there counts: it may have been written all the same. What was halted goes on.
                self.read_again().await;
                self.end().await;
                return Err(in_the_way(failure));
            }
            Err(e) => return Err(unexpected(e.to_string())),
        };
        let retired = match &removed {
            Some(name) => self.manager.retire(name).await.map_err(|refusal| vec![in_words(name, refusal)]),
            None => Ok(()),
        };
        self.take_over(change.loaded).map_err(unexpected)?;
        self.end().await;
        retired.map(|()| change.names)
    }

    /// What is left of a change goes, now or later.
    async fn end(&self) {
        if let Err(failure) = self.settle().await {
            tracing::error!("{failure}");
        }
    }

    async fn settle(&self) -> Result<(), Failure> {
        let defined = self.known().into_iter().map(|known| known.name).collect();
        settle(&self.kept.definitions, &self.kept.vault, &self.kept.journal, &defined).await
    }

    /// Every definition that is there, the invalid ones too.
    fn known(&self) -> Vec<Known> {
        let views = self.manager.views();
        let of = |view: &View| {
            let (name, origin) = match view {
                View::Broken(broken) => (broken.name.clone()?, &broken.origin),
                View::Poll(view) => (view.account.name.clone(), &view.account.origin),
                View::Migration(view) => (view.account.name.clone(), &view.account.origin),
            };
            Some(Known { name, file: origin.file.clone(), line: origin.line })
        };
        views.iter().filter_map(of).collect()
    }
}

fn in_the_way(failure: Failure) -> Vec<Wrong> {
    vec![Wrong { place: "mailhauld".to_owned(), what: failure.words, mend: failure.mend }]
}

fn in_words(name: &str, refusal: Refusal) -> Wrong {
    let (what, mend) = match refusal {
        Refusal::NoSuchAccount(_) => ("no such account".to_owned(), "see mailhaulctl list".to_owned()),
        Refusal::Refused(_, what, mend) => (what, mend),
        Refusal::Failed(failure) => (failure.words, failure.mend),
    };
    Wrong { place: name.to_owned(), what, mend }
}
