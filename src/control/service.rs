//! The daemon's end of the interface: each call checks who is calling, asks the manager, and answers.
//! What takes time is a stream. It refuses every call of somebody who may not.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::Mutex;

use futures_util::Stream;
use tokio::sync::{mpsc, oneshot};
use zlink::Reply;

use super::api::{
    Account, Accounts, Arrived, Authorized, BackedUp, Checked, Defined, Done, Error, Finding, Folder, Ledger,
    LeftOut, Looked, Migration, Migrations, PassedOver, Planned, PollProgress, Polled, Progress, Reloaded,
    Run, Shown, Skipped, Status, Uploaded, Verified, Wrong,
};
use super::gate::Standing;
use super::{convert, ends, files, passed, streams};
use crate::audit::{Act, Audit, Who};
use crate::bulk::{self, Format};
use crate::config::Draft;
use crate::definitions::{self, Bulk, Single, Wish};
use crate::engine::{Manager, View};
use crate::migration;

/// Why definitions were not read again.
pub const UNUSABLE: &str = "the settings cannot be used";

/// What changes the definitions, and where the answer goes.
#[derive(Debug)]
pub enum Order {
    /// They are read again.
    Reload(oneshot::Sender<Reloaded>),
    /// One of ours is to be another one.
    Change(Box<Wish>, oneshot::Sender<Result<Vec<String>, Vec<definitions::Wrong>>>),
}

/// What the service needs of the daemon.
#[derive(Debug)]
pub struct Desk {
    /// The manager.
    pub manager: Arc<Manager>,
    /// Who reads the definitions again, and changes them.
    pub orders: mpsc::Sender<Order>,
    /// Who did what.
    pub audit: Audit,
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
    pub(super) standing: Standing,
    pub(super) who: Who,
}

impl Service {
    fn admit(&self) -> Result<&Arc<Manager>, Error> {
        if self.standing > Standing::Stranger {
            return Ok(&self.desk.manager);
        }
        Err(Error::NotPermitted {
            what: "you may not control mailhauld".to_owned(),
            mend: "ask as root, or as a member of the control group".to_owned(),
        })
    }

    /// Commands are run and files are read with the rights of the daemon's user: only who has these may name
    /// them. A key may have a value behind `=`; an empty one names nothing.
    fn reach(&self, act: &'static str, account: Option<&String>, keys: &[String]) -> Result<(), Error> {
        let names = |key: &String| match key.split_once('=') {
            Some((key, value)) => !value.is_empty() && Draft::reaches_out(key),
            None => Draft::reaches_out(key),
        };
        if self.standing == Standing::Own || !keys.iter().any(names) {
            return Ok(());
        }
        let refused = Err(Error::NotPermitted {
            what: "only root and the daemon's user may name a command, a file or a credential".to_owned(),
            mend: "give the password itself (password=- reads it from standard input)".to_owned(),
        });
        self.note(act, account.map_or(&[], std::slice::from_ref), &refused, None);
        refused
    }

    /// A password that is kept goes to no other server because somebody who does not know it wants that.
    fn elsewhere(&self, account: &String, keys: &[String], secrets: &[String]) -> Result<(), Error> {
        let leads = |key: &String| key.split_once('=').is_some_and(|(k, v)| !v.is_empty() && Draft::leads(k));
        let given = secrets.iter().any(|key| Draft::key(key) == "source.password");
        if self.standing == Standing::Own || given || !keys.iter().any(leads) {
            return Ok(());
        }
        let what = "another server gets the password only from who knows it".to_owned();
        let mend = "give it as well: password=- reads it from standard input".to_owned();
        let refused = Err(Error::NotPermitted { what, mend });
        self.note("set", std::slice::from_ref(account), &refused, None);
        refused
    }

    /// Takes note of what was done, or why it was not. What a stranger asked for is refused before, and is
    /// no act.
    fn note<T>(
        &self,
        act: &'static str,
        accounts: &[String],
        result: &Result<T, Error>,
        detail: Option<&str>,
    ) {
        let error = result.as_ref().err().map(in_words);
        let one = |account: Option<String>| Act {
            act,
            account,
            error: error.clone(),
            begun: false,
            agreed: false,
            detail: detail.map(str::to_owned),
        };
        let acts: Vec<Act> = match accounts {
            [] => vec![one(None)],
            names => names.iter().map(|name| one(Some(name.clone()))).collect(),
        };
        if self.standing > Standing::Stranger {
            self.desk.audit.record(&self.who, &acts);
        }
    }

    /// Likewise.
    fn entries(&self, act: &'static str, detail: Option<&'static str>) -> ends::Entries {
        ends::Entries { audit: self.desk.audit.clone(), who: self.who.clone(), act, detail }
    }

    /// What takes time is noted when it ends.
    fn logbook(&self, act: &'static str, member: String) -> files::Logbook {
        files::Logbook { desk: Arc::clone(&self.desk), who: self.who.clone(), act, member }
    }

    async fn wish(&self, act: &'static str, name: String, wish: migration::Wish) -> Result<Done, Error> {
        let result = self.admit()?.wish(&name, wish).await.map_err(Error::from);
        let detail = (wish == migration::Wish::Cancel { keep: true }).then_some("keep");
        self.note(act, std::slice::from_ref(&name), &result, detail);
        Ok(Done { state: result?.as_str().to_owned(), name })
    }

    /// Has the definitions changed.
    async fn change(&self, wish: Wish) -> Result<Defined, Error> {
        let (act, account, agreed) = match &wish {
            Wish::Add(single) => ("add", Some(single.name.clone()), agrees(&single.keys)),
            Wish::Set(single) => ("set", Some(single.name.clone()), agrees(&single.keys)),
            Wish::Remove(name) => ("remove", Some(name.clone()), false),
            Wish::Bulk(_) => ("bulk-add", None, true),
        };
        let detail = match &wish {
            // Without their values: nobody knows what somebody types by mistake.
            Wish::Add(single) | Wish::Set(single) => {
                let keys = single.keys.iter().filter_map(|key| key.split('=').next());
                Some(
                    keys.chain(single.secrets.iter().map(|(key, _)| key.as_str()))
                        .collect::<Vec<_>>()
                        .join(" "),
                )
            }
            Wish::Remove(_) => None,
            Wish::Bulk(bulk) => Some(bulk.file.clone()),
        };
        let (reply, answer) = oneshot::channel();
        self.desk.orders.send(Order::Change(Box::new(wish), reply)).await.map_err(|_| stopping())?;
        let result = answer.await.map_err(|_| stopping())?;
        let note = |account, error, agreed| Act {
            act,
            account,
            error,
            begun: false,
            agreed,
            detail: detail.clone(),
        };
        let (acts, defined) = match result {
            Ok(names) => {
                let acts = names.iter().map(|name| note(Some(name.clone()), None, agreed)).collect();
                (acts, Defined { names, errors: Vec::new() })
            }
            Err(wrong) => {
                let first = wrong.first().map(|wrong| format!("{}: {}", wrong.place, wrong.what));
                let errors = wrong
                    .into_iter()
                    .map(|definitions::Wrong { place, what, mend }| Wrong { place, what, mend })
                    .collect();
                (
                    vec![note(account, Some(first.unwrap_or_default()), false)],
                    Defined { names: Vec::new(), errors },
                )
            }
        };
        self.desk.audit.record(&self.who, &acts);
        Ok(defined)
    }
}

/// The interface as it is described to callers.
pub(super) fn interface() -> &'static zlink::idl::Interface<'static> {
    __Service_INTERFACE_0
}

fn agrees(keys: &[String]) -> bool {
    keys.iter().any(|key| key == "agreed=true")
}

fn stopping() -> Error {
    Error::Failed { what: "the daemon is stopping".to_owned(), mend: String::new() }
}

fn in_words(error: &Error) -> String {
    match error {
        Error::NoSuchAccount { .. } => "no such account".to_owned(),
        Error::NotPermitted { what, .. } | Error::Refused { what, .. } | Error::Failed { what, .. } => {
            what.clone()
        }
    }
}

#[zlink::service(
    interface = "io.mailhaul.Manager",
    types = [Account, Run, Ledger, Migration, Arrived, Folder, Skipped, PollProgress, Finding, Wrong, LeftOut, PassedOver],
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
            denied: overview.denied,
            polls_running: overview.polls_running,
            migrations_running: overview.migrations_running,
            migrations_waiting: overview.migrations_waiting,
            uploads_running: overview.uploads_running,
            backups_running: overview.backups_running,
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
    async fn find(
        &self,
        _more: bool,
        address: String,
        protocol: Option<String>,
    ) -> impl Stream<Item = Result<Reply<Looked>, Error>> + Unpin + use<> {
        match self.admit().and_then(|manager| Ok((manager, manager.to_find(&address)?))) {
            Ok((manager, domain)) => streams::find(manager, domain, protocol.as_deref()),
            Err(error) => streams::refused(error),
        }
    }

    #[zlink(more)]
    async fn plan(
        &self,
        _more: bool,
        names: Vec<String>,
        all: bool,
    ) -> impl Stream<Item = Result<Reply<Planned>, Error>> + Unpin + use<> {
        match self.admit().and_then(|manager| Ok((manager, manager.to_plan(&names, all)?))) {
            Ok((manager, accounts)) => streams::plan(manager, accounts),
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
        let asked = self.admit().and_then(|manager| Ok((manager, manager.ask_polls(&names, all)?)));
        let detail = all.then_some("all");
        match asked {
            Ok((manager, asked)) => {
                ends::note_polls(manager, &asked, self.entries("poll", detail));
                streams::poll(manager, asked, wait)
            }
            Err(error) => {
                self.note("poll", &names, &Err::<(), _>(error.clone()), detail);
                streams::refused(error)
            }
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

    #[zlink(more)]
    async fn authorize(
        &self,
        _more: bool,
        name: String,
        browser: bool,
    ) -> impl Stream<Item = Result<Reply<Authorized>, Error>> + Unpin + use<> {
        let asked = self.admit().and_then(|manager| Ok((manager, manager.to_authorize(&name)?)));
        match asked {
            Ok((manager, account)) => {
                let entry = ends::Consent::asked(&name, self.entries("authorize", None));
                streams::authorize(manager, account, browser, entry)
            }
            Err(error) => {
                self.note("authorize", &[name], &Err::<(), _>(error.clone()), None);
                streams::refused(error)
            }
        }
    }

    async fn enable(&self, name: String) -> Result<Done, Error> {
        let result = self.admit()?.enable(&name).await.map_err(Error::from);
        self.note("enable", std::slice::from_ref(&name), &result, None);
        Ok(Done { state: result?.to_owned(), name })
    }

    async fn disable(&self, name: String) -> Result<Done, Error> {
        let result = self.admit()?.disable(&name).await.map_err(Error::from);
        self.note("disable", std::slice::from_ref(&name), &result, None);
        Ok(Done { state: result?.to_owned(), name })
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
        let started = manager.start(&names, all).await.map_err(Error::from);
        self.note("start", started.as_ref().unwrap_or(&names), &started, all.then_some("all"));
        match started {
            Ok(names) => streams::migrations(manager, names, wait),
            Err(error) => streams::refused(error),
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
        self.wish("pause", name, migration::Wish::Pause).await
    }

    async fn resume(&self, name: String) -> Result<Done, Error> {
        self.wish("resume", name, migration::Wish::Resume).await
    }

    async fn cancel(&self, name: String, keep: bool) -> Result<Done, Error> {
        self.wish("cancel", name, migration::Wish::Cancel { keep }).await
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

    async fn add(
        &self,
        name: String,
        keys: Vec<String>,
        secrets: Vec<String>,
        #[zlink(fds)] files: Vec<OwnedFd>,
    ) -> Result<Defined, Error> {
        self.admit()?;
        self.reach("add", Some(&name), &keys)?;
        self.change(Wish::Add(Single { name, keys, secrets: passed::secrets(secrets, files).await? })).await
    }

    async fn set(
        &self,
        name: String,
        keys: Vec<String>,
        secrets: Vec<String>,
        #[zlink(fds)] files: Vec<OwnedFd>,
    ) -> Result<Defined, Error> {
        self.admit()?.view(&name)?;
        self.reach("set", Some(&name), &keys)?;
        self.elsewhere(&name, &keys, &secrets)?;
        self.change(Wish::Set(Single { name, keys, secrets: passed::secrets(secrets, files).await? })).await
    }

    async fn remove(&self, name: String) -> Result<Defined, Error> {
        self.admit()?.view(&name)?;
        self.change(Wish::Remove(name)).await
    }

    async fn bulk_add(
        &self,
        file: String,
        format: String,
        server: Option<String>,
        domain: Option<String>,
        mut keys: Vec<String>,
        #[zlink(fds)] files: Vec<OwnedFd>,
    ) -> Result<Defined, Error> {
        self.admit()?;
        let Some(format) = Format::named(&format) else {
            let mend = "one of konsoleh, yandex and mailhaul".to_owned();
            return Err(Error::Failed { what: "there is no such format".to_owned(), mend });
        };
        let asked = keys.len();
        keys.retain(|key| key != "poll");
        let poll = keys.len() < asked;
        self.reach("bulk-add", None, &keys)?;
        let octets = passed::list(files).await?;
        self.reach("bulk-add", None, &bulk::columns(octets.expose(), format))?;
        self.change(Wish::Bulk(Bulk { file, octets, format, server, domain, poll, keys })).await
    }

    #[zlink(more)]
    async fn upload(
        &self,
        _more: bool,
        member: String,
        mailbox: Option<String>,
        destination: Option<String>,
        names: Vec<String>,
        #[zlink(fds)] files: Vec<OwnedFd>,
    ) -> impl Stream<Item = Result<Reply<Uploaded>, Error>> + Unpin + use<> {
        let manager = match self.admit() {
            Ok(manager) => manager,
            Err(error) => return streams::refused(error),
        };
        let to = manager.to_upload(&member, mailbox.as_deref(), destination.as_deref()).map_err(Error::from);
        let asked = to.and_then(|to| Ok((to, passed::named(names, files)?)));
        match asked {
            Ok((to, files)) => files::upload(manager, self.logbook("upload", member), to, files),
            Err(error) => {
                self.note("upload", &[], &Err::<(), _>(error.clone()), Some(&member));
                streams::refused(error)
            }
        }
    }

    #[zlink(more)]
    async fn backup(
        &self,
        _more: bool,
        member: String,
        mailbox: Option<String>,
        destination: Option<String>,
        format: String,
        #[zlink(fds)] files: Vec<OwnedFd>,
    ) -> impl Stream<Item = Result<Reply<BackedUp>, Error>> + Unpin + use<> {
        let manager = match self.admit() {
            Ok(manager) => manager,
            Err(error) => return streams::refused(error),
        };
        let from =
            manager.to_back_up(&member, mailbox.as_deref(), destination.as_deref()).map_err(Error::from);
        let asked = from.and_then(|from| Ok((from, files::format(&format)?, passed::one(files)?)));
        match asked {
            Ok((from, format, file)) => {
                files::backup(manager, self.logbook("backup", member), from, format, file)
            }
            Err(error) => {
                self.note("backup", &[], &Err::<(), _>(error.clone()), Some(&member));
                streams::refused(error)
            }
        }
    }

    async fn reload(&self) -> Result<Reloaded, Error> {
        self.admit()?;
        let (reply, answer) = oneshot::channel();
        self.desk.orders.send(Order::Reload(reply)).await.map_err(|_| stopping())?;
        let result = answer.await.map_err(|_| stopping());
        let error = match &result {
            Ok(reloaded) => reloaded.refused.then(|| UNUSABLE.to_owned()),
            Err(error) => Some(in_words(error)),
        };
        self.desk.audit.record(&self.who, &[Act { act: "reload", error, ..Act::default() }]);
        result
    }
}
