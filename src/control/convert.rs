//! From what the manager sees to what the protocol says. It refuses to add or leave out anything.

use super::api;
use crate::account::{Account, Job, Security};
use crate::config::Broken;
use crate::discover::Looked;
use crate::engine::{
    Checked, Details, Finding, MigrationView, Planned, PlannedFolder, PollView, Refusal, Verified, View,
};
use crate::failure::{Again, Failure};
use crate::journal::{FolderRecord, FolderState, MigrationRecord, RunRecord, SkippedRecord};
use crate::message::FolderPath;
use crate::migration::Ledger;

/// RFC 3339 in UTC with milliseconds, from milliseconds since 1970.
pub(super) fn time(millis: i64) -> String {
    match jiff::Timestamp::from_millisecond(millis) {
        Ok(time) => time.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string(),
        Err(_) => "1970-01-01T00:00:00.000Z".to_owned(),
    }
}

pub(super) fn account(view: &View) -> api::Account {
    match view {
        View::Broken(broken) => invalid(broken),
        View::Poll(view) => poll(view),
        View::Migration(view) => {
            let mut account = common(&view.account);
            account.state = "enabled".to_owned();
            account.last_run =
                view.record.started_at.filter(|_| view.record.state.has_ended()).map(|started| {
                    let ledger = &view.record.ledger;
                    let completed = view.record.state == crate::migration::State::Completed;
                    api::Run {
                        started_at: Some(time(started)),
                        finished_at: view.record.finished_at.map(time),
                        result: if completed { "ok" } else { "failed" }.to_owned(),
                        imported: ledger.imported,
                        skipped: ledger.skipped + ledger.vanished + ledger.failed,
                        already_there: ledger.already_there,
                        deleted: 0,
                        bytes: view.record.bytes_done,
                        error: view.record.error.clone(),
                        note: None,
                        unfinished: false,
                        ledger: self::ledger(ledger),
                    }
                });
            account.next_run_at = view.record.next_try_at.map(time);
            account.reason = view.record.error.clone();
            denied(account, view.denied.as_ref())
        }
    }
}

fn invalid(broken: &Broken) -> api::Account {
    let origin = format!("{}:{}", broken.origin.file.display(), broken.origin.line);
    let reasons: Vec<String> = broken.complaints.iter().map(ToString::to_string).collect();
    api::Account {
        name: broken.name.clone().unwrap_or_else(|| origin.clone()),
        member: broken.member.clone(),
        protocol: broken.protocol.map(|p| p.as_str().to_owned()),
        mode: broken.mode.map(str::to_owned),
        state: "invalid".to_owned(),
        reason: Some(reasons.join("\n")),
        defined_in: Some(origin),
        ..api::Account::default()
    }
}

fn common(account: &Account) -> api::Account {
    let (mailbox, icon) = match &account.job {
        Job::Poll(poll) => (Some(FolderPath(poll.mailbox.clone()).to_string()), poll.icon.clone()),
        Job::Migrate(work) => {
            ((!work.into.is_empty()).then(|| FolderPath(work.into.clone()).to_string()), None)
        }
    };
    api::Account {
        name: account.name.clone(),
        member: Some(account.member.to_string()),
        protocol: Some(account.source.protocol.as_str().to_owned()),
        mode: Some(account.job.mode().to_owned()),
        source: Some(format!("{}:{}", account.source.host, account.source.port)),
        mailbox,
        destination: Some(account.destination.clone()),
        icon,
        defined_in: Some(format!("{}:{}", account.origin.file.display(), account.origin.line)),
        ..api::Account::default()
    }
}

fn denied(account: api::Account, reason: Option<&String>) -> api::Account {
    match reason {
        Some(reason) => {
            let (state, reason) = ("denied".to_owned(), Some(reason.clone()));
            api::Account { state, reason, next_run_at: None, ..account }
        }
        None => account,
    }
}

fn poll(view: &PollView) -> api::Account {
    let account = api::Account {
        state: if view.enabled { "enabled" } else { "disabled" }.to_owned(),
        reason: view.record.reason.clone().or_else(|| {
            (!view.enabled && !view.record.disabled).then(|| "the definition says enabled = false".to_owned())
        }),
        consecutive_failures: u64::from(view.record.failures),
        last_run: view.record.last_run.as_ref().map(run),
        next_run_at: view.due_at.map(time),
        running: view.running.is_some(),
        ..common(&view.account)
    };
    denied(account, view.denied.as_ref())
}

pub(super) fn run(record: &RunRecord) -> api::Run {
    api::Run {
        started_at: Some(time(record.started_at)),
        finished_at: Some(time(record.finished_at)),
        result: if record.error.is_none() { "ok" } else { "failed" }.to_owned(),
        imported: record.ledger.imported,
        skipped: record.ledger.skipped + record.ledger.failed,
        already_there: record.ledger.already_there,
        deleted: record.deleted,
        bytes: record.bytes,
        error: record.error.clone(),
        note: record.note.clone(),
        unfinished: record.unfinished,
        ledger: ledger(&record.ledger),
    }
}

pub(super) fn migration(view: &MigrationView) -> api::Migration {
    let migration = record(&view.account.name, &view.record, view.position);
    api::Migration { waits_for: view.waits_for.clone(), ..migration }
}

pub(super) fn record(name: &str, record: &MigrationRecord, position: Option<u64>) -> api::Migration {
    let ledger = &record.ledger;
    let ended = record.state == crate::migration::State::Completed;
    api::Migration {
        name: name.to_owned(),
        state: record.state.as_str().to_owned(),
        position,
        folders_total: record.folders_total,
        folders_done: record.folders_done,
        messages_total: if ended { Some(ledger.seen) } else { record.messages_total },
        messages_done: ledger.imported + ledger.already_there,
        messages_skipped: ledger.skipped + ledger.vanished,
        messages_failed: ledger.failed,
        bytes_total: record.bytes_total,
        bytes_done: record.bytes_done,
        messages_imported: ledger.imported,
        messages_already_there: ledger.already_there,
        messages_vanished: ledger.vanished,
        started_at: record.started_at.map(time),
        finished_at: record.finished_at.map(time),
        error: record.error.clone(),
        next_try_at: record.next_try_at.map(time),
        outcome: record.outcome.clone(),
        waits_for: None,
        ledger: self::ledger(ledger),
        arrived: record.arrived.map(|arrived| api::Arrived {
            here: arrived.here,
            lost: arrived.lost,
            duplicated: arrived.duplicated,
            altered: arrived.altered,
        }),
    }
}

pub(super) fn ledger(ledger: &Ledger) -> api::Ledger {
    api::Ledger {
        seen: ledger.seen,
        imported: ledger.imported,
        already_there: ledger.already_there,
        skipped: ledger.skipped,
        failed: ledger.failed,
        vanished: ledger.vanished,
        adds_up: ledger.adds_up(),
    }
}

pub(super) fn verified(name: &str, sum: &Verified) -> api::Verified {
    api::Verified {
        name: name.to_owned(),
        ok: None,
        error: None,
        folders: sum.folders,
        source: sum.source,
        alike: sum.alike,
        read: sum.read,
        lost: sum.lost,
        duplicated: sum.duplicated,
        altered: sum.altered,
        foreign: sum.foreign,
        not_brought: sum.not_brought,
        unread: sum.unread,
        left_out: sum.left_out,
        gone: sum.gone,
        findings: Vec::new(),
    }
}

pub(super) fn finding(finding: &Finding) -> api::Finding {
    api::Finding {
        folder: finding.folder.clone(),
        id: finding.id.clone(),
        what: finding.what.as_str().to_owned(),
        size: finding.size,
        reason: finding.reason.clone(),
    }
}

pub(super) fn folders(details: &Details) -> Vec<api::Folder> {
    details.folders.iter().map(folder).collect()
}

fn folder(record: &FolderRecord) -> api::Folder {
    let ledger = &record.ledger;
    api::Folder {
        name: record.name.clone(),
        destination: record.destination.clone(),
        state: match record.state {
            FolderState::Waiting => "waiting",
            FolderState::Running => "running",
            FolderState::Done => "done",
            FolderState::Failed => "failed",
        }
        .to_owned(),
        messages_total: (record.state != FolderState::Waiting).then_some(ledger.seen),
        messages_done: ledger.imported + ledger.already_there,
        messages_skipped: ledger.skipped + ledger.vanished,
        messages_failed: ledger.failed,
        ledger: self::ledger(ledger),
        note: record.note.clone(),
    }
}

pub(super) fn skipped(record: &SkippedRecord) -> api::Skipped {
    api::Skipped {
        folder: record.folder.clone(),
        id: record.id.clone(),
        size: record.size,
        reason: record.reason.clone(),
    }
}

pub(super) fn checked(name: &str, result: Result<Checked, Failure>) -> api::Checked {
    match result {
        Ok(found) => api::Checked {
            name: name.to_owned(),
            ok: true,
            error: None,
            passing: false,
            login: Some(found.login),
            capabilities: found.capabilities,
            folders: found.folders,
            messages: found.messages,
            bytes: found.bytes,
            room: found.room,
            notes: found.notes,
            not_opened: found.shut,
        },
        Err(failure) => api::Checked {
            name: name.to_owned(),
            error: Some(failure.to_string()),
            passing: failure.again() != Again::Never,
            ..api::Checked::default()
        },
    }
}

pub(super) fn looked(looked: Looked) -> api::Looked {
    api::Looked {
        protocol: looked.place.protocol.as_str().to_owned(),
        host: Some(looked.place.host),
        port: looked.place.port.into(),
        security: if looked.place.security == Security::Tls { "tls" } else { "starttls" }.to_owned(),
        template: looked.template,
        origin: looked.origin,
        ok: looked.failure.is_none(),
        error: looked.failure.map(|failure| failure.to_string()),
    }
}

pub(super) fn planned(name: &str, result: Result<Planned, Failure>) -> api::Planned {
    let plan = match result {
        Ok(plan) => plan,
        Err(failure) => {
            let (name, error) = (name.to_owned(), Some(failure.to_string()));
            return api::Planned { name, error, ..api::Planned::default() };
        }
    };
    let folder = |folder: PlannedFolder| api::PlannedFolder {
        source: folder.source,
        destination: folder.destination,
        made: folder.made,
        messages: folder.messages,
        bytes: folder.bytes,
        new_messages: folder.new_messages,
        note: folder.note,
    };
    api::Planned {
        name: name.to_owned(),
        ok: true,
        error: None,
        login: Some(plan.login),
        capabilities: plan.capabilities,
        folders: plan.folders.into_iter().map(folder).collect(),
        messages: plan.messages,
        bytes: plan.bytes,
        new_messages: plan.new_messages,
        new_bytes: plan.new_bytes,
        notes: plan.notes,
        days: plan.days,
        room: plan.room,
    }
}

impl From<Refusal> for api::Error {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NoSuchAccount(name) => api::Error::NoSuchAccount { name },
            Refusal::Refused(name, what, mend) => api::Error::Refused { name, what, mend },
            Refusal::Failed(failure) => failure.into(),
        }
    }
}

impl From<Failure> for api::Error {
    fn from(failure: Failure) -> Self {
        api::Error::Failed { what: failure.words, mend: failure.mend }
    }
}
