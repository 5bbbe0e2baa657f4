//! The daemon's end of the interface: each call checks who is calling, asks the manager, and answers.
//! What takes time is a stream. It refuses every call of somebody who may not.

use std::sync::Arc;
use std::sync::Mutex;

use futures_util::Stream;
use tokio::sync::{mpsc, oneshot};
use zlink::Reply;

use super::api::{
    Account, Accounts, Arrived, Checked, Done, Error, Finding, Folder, Ledger, Migration, Migrations,
    PollProgress, Polled, Progress, Reloaded, Run, Shown, Skipped, Status, Verified,
};
use super::{convert, streams};
use crate::engine::{Manager, View};
use crate::migration::Wish;

/// A wish that the definitions are read again, and where the answer goes.
pub type Reload = oneshot::Sender<Reloaded>;

/// What the service needs of the daemon.
#[derive(Debug)]
pub struct Desk {
    /// The manager.
    pub manager: Arc<Manager>,
    /// Who reads the definitions again.
    pub reload: mpsc::Sender<Reload>,
    /// Milliseconds since 1970.
    pub started_at: i64,
    /// What a person should know.
    pub warnings: Arc<Mutex<Vec<String>>>,
    /// Messages and octets a second over the last minute.
    pub rates: Arc<Mutex<(f64, f64)>>,
}

/// One caller's service.
pub(super) struct Service {
    pub(super) desk: Arc<Desk>,
    pub(super) admitted: bool,
}

impl Service {
    fn admit(&self) -> Result<&Arc<Manager>, Error> {
        if self.admitted {
            return Ok(&self.desk.manager);
        }
        Err(Error::NotPermitted {
            what: "you may not control mailhauld".to_owned(),
            mend: "ask as root, or as a member of the control group".to_owned(),
        })
    }
}

#[zlink::service(
    interface = "io.mailhaul.Manager",
    types = [Account, Run, Ledger, Migration, Arrived, Folder, Skipped, PollProgress, Finding],
    vendor = "Mailhaul",
    product = "mailhauld",
    version = env!("CARGO_PKG_VERSION"),
    url = ""
)]
impl Service {
    async fn get_status(&self) -> Result<Status, Error> {
        let overview = self.admit()?.overview();
        let user = nix::unistd::User::from_uid(nix::unistd::geteuid()).ok().flatten();
        let (messages, bytes) = self.desk.rates.lock().map(|rates| *rates).unwrap_or_default();
        Ok(Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at: convert::time(self.desk.started_at),
            pid: u64::from(std::process::id()),
            user: user.map_or_else(|| nix::unistd::geteuid().to_string(), |user| user.name),
            enabled: overview.enabled,
            disabled: overview.disabled,
            invalid: overview.invalid,
            denied: 0,
            polls_running: overview.polls_running,
            migrations_running: overview.migrations_running,
            migrations_waiting: overview.migrations_waiting,
            messages_imported: overview.messages,
            bytes_imported: overview.bytes,
            messages_per_second: messages,
            bytes_per_second: bytes,
            warnings: self.desk.warnings.lock().map(|w| w.clone()).unwrap_or_default(),
        })
    }

    async fn list_accounts(&self, state: Option<String>, member: Option<String>) -> Result<Accounts, Error> {
        let views = self.admit()?.views();
        let accounts = views
            .iter()
            .map(convert::account)
            .filter(|account| state.as_ref().is_none_or(|state| account.state == *state))
            .filter(|account| {
                member
                    .as_ref()
                    .is_none_or(|m| account.member.as_ref().is_some_and(|a| a.eq_ignore_ascii_case(m)))
            })
            .collect();
        Ok(Accounts { accounts })
    }

    async fn show_account(&self, name: String) -> Result<Shown, Error> {
        let manager = self.admit()?;
        let view = manager.view(&name)?;
        let details = match &view {
            View::Broken(_) => crate::engine::Details::default(),
            _ => manager.details(&name)?,
        };
        Ok(Shown {
            account: convert::account(&view),
            migration: match &view {
                View::Migration(view) => Some(convert::migration(view)),
                _ => None,
            },
            folders: convert::folders(&details),
            skipped: details.skipped.iter().map(convert::skipped).collect(),
        })
    }

    #[zlink(more)]
    async fn check(
        &self,
        _more: bool,
        names: Vec<String>,
    ) -> impl Stream<Item = Result<Reply<Checked>, Error>> + Unpin + use<> {
        match self.admit().and_then(|manager| Ok((manager, manager.to_check(&names)?))) {
            Ok((manager, accounts)) => streams::check(manager, accounts),
            Err(error) => streams::refused(error),
        }
    }

    #[zlink(more)]
    async fn poll(
        &self,
        _more: bool,
        names: Vec<String>,
        all: bool,
        wait: bool,
    ) -> impl Stream<Item = Result<Reply<Polled>, Error>> + Unpin + use<> {
        match self.admit().and_then(|manager| Ok((manager, manager.ask_polls(&names, all)?))) {
            Ok((manager, asked)) => streams::poll(manager, asked, wait),
            Err(error) => streams::refused(error),
        }
    }

    #[zlink(more)]
    async fn verify(
        &self,
        _more: bool,
        name: String,
        bodies: bool,
    ) -> impl Stream<Item = Result<Reply<Verified>, Error>> + Unpin + use<> {
        match self.admit().and_then(|manager| Ok((manager, manager.to_verify(&name)?))) {
            Ok((manager, account)) => streams::verify(manager, account, bodies),
            Err(error) => streams::refused(error),
        }
    }

    async fn enable(&self, name: String) -> Result<Done, Error> {
        let state = self.admit()?.enable(&name).await?.to_owned();
        Ok(Done { name, state })
    }

    async fn disable(&self, name: String) -> Result<Done, Error> {
        let state = self.admit()?.disable(&name).await?.to_owned();
        Ok(Done { name, state })
    }

    #[zlink(more)]
    async fn start(
        &self,
        _more: bool,
        names: Vec<String>,
        all: bool,
        wait: bool,
    ) -> impl Stream<Item = Result<Reply<Progress>, Error>> + Unpin + use<> {
        let manager = match self.admit() {
            Ok(manager) => manager,
            Err(error) => return streams::refused(error),
        };
        match manager.start(&names, all).await {
            Ok(names) => streams::migrations(manager, names, wait),
            Err(refusal) => streams::refused(refusal.into()),
        }
    }

    #[zlink(more)]
    async fn finish(
        &self,
        _more: bool,
        names: Vec<String>,
        wait: bool,
    ) -> impl Stream<Item = Result<Reply<Progress>, Error>> + Unpin + use<> {
        let manager = match self.admit() {
            Ok(manager) => manager,
            Err(error) => return streams::refused(error),
        };
        match manager.finish(&names).await {
            Ok(()) => streams::migrations(manager, names, wait),
            Err(refusal) => streams::refused(refusal.into()),
        }
    }

    async fn pause(&self, name: String) -> Result<Done, Error> {
        let state = self.admit()?.wish(&name, Wish::Pause).await?.as_str().to_owned();
        Ok(Done { name, state })
    }

    async fn resume(&self, name: String) -> Result<Done, Error> {
        let state = self.admit()?.wish(&name, Wish::Resume).await?.as_str().to_owned();
        Ok(Done { name, state })
    }

    async fn cancel(&self, name: String, keep: bool) -> Result<Done, Error> {
        let state = self.admit()?.wish(&name, Wish::Cancel { keep }).await?.as_str().to_owned();
        Ok(Done { name, state })
    }

    async fn queue(&self) -> Result<Migrations, Error> {
        let migrations = self.admit()?.queue().iter().map(convert::migration).collect();
        Ok(Migrations { migrations })
    }

    async fn history(&self) -> Result<Migrations, Error> {
        let history = self.admit()?.history(streams::HISTORY)?;
        let migrations = history.iter().map(|(name, record)| convert::record(name, record, None)).collect();
        Ok(Migrations { migrations })
    }

    #[zlink(more)]
    async fn watch(
        &self,
        _more: bool,
        name: Option<String>,
    ) -> impl Stream<Item = Result<Reply<Progress>, Error>> + Unpin + use<> {
        let looked = self.admit().and_then(|manager| {
            if let Some(name) = &name {
                manager.view(name)?;
            }
            Ok(manager)
        });
        match looked {
            Ok(manager) => streams::watch(manager, name),
            Err(error) => streams::refused(error),
        }
    }

    async fn reload(&self) -> Result<Reloaded, Error> {
        self.admit()?;
        let (reply, answer) = oneshot::channel();
        let failed = || Error::Failed { what: "the daemon is stopping".to_owned(), mend: String::new() };
        self.desk.reload.send(reply).await.map_err(|_| failed())?;
        answer.await.map_err(|_| failed())
    }
}
