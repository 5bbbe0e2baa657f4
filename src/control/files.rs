//! Uploads and backups: the stream of their numbers, and the entry in the audit log at their end. The work ends
//! when the caller hangs up. It refuses to read or write a file itself.

use std::fs::File;
use std::sync::{Arc, Mutex};

use tokio_util::sync::CancellationToken;

use super::api::{self, BackedUp, Error, LeftOut};
use super::service::Desk;
use super::streams::{Feed, Replies, fed};
use crate::audit::{Act, Who};
use crate::engine::{self, Files, Format, Manager};
use crate::failure::{Failure, Kind};

/// Who asked for what.
pub(super) struct Logbook {
    pub(super) desk: Arc<Desk>,
    pub(super) who: Who,
    pub(super) act: &'static str,
    pub(super) member: String,
}

impl Logbook {
    fn note(&self, failure: Option<&Failure>, numbers: &str) {
        let detail = format!("{} {numbers}", self.member);
        let act = Act {
            act: self.act,
            error: failure.map(ToString::to_string),
            begun: true,
            detail: Some(detail.trim_end().to_owned()),
            ..Act::default()
        };
        self.desk.audit.record(&self.who, &[act]);
    }
}

/// Reads a format's name.
pub(super) fn format(name: &str) -> Result<Format, Error> {
    match name {
        "zip" => Ok(Format::Zip),
        "mbox" => Ok(Format::Mbox),
        "maildir" => Ok(Format::Maildir),
        _ => Err(Error::Failed {
            what: "there is no such format".to_owned(),
            mend: "one of zip, mbox and maildir".to_owned(),
        }),
    }
}

/// The work, and its end when the caller goes.
async fn until_gone<T, R>(feed: &Feed<T>, cancel: CancellationToken, work: impl Future<Output = R>) -> R {
    let mut work = std::pin::pin!(work);
    tokio::select! {
        done = &mut work => done,
        () = feed.closed() => {
            cancel.cancel();
            work.await
        }
    }
}

pub(super) fn upload(
    manager: &Arc<Manager>,
    log: Logbook,
    to: Files,
    files: Vec<(String, File)>,
) -> Replies<api::Uploaded> {
    let manager = Arc::clone(manager);
    fed(move |feed| async move {
        let cancel = to.cancel().clone();
        let (told, member) = (feed.clone(), log.member.clone());
        let so_far = Arc::new(Mutex::new(engine::Uploaded::default()));
        let last = Arc::clone(&so_far);
        let work = manager.upload(to, files, move |sum| {
            if let Ok(mut last) = last.lock() {
                last.clone_from(sum);
            }
            // Whoever reads slowly misses numbers, never the end.
            let _ = told.try_send((uploaded(&member, sum), true));
        });
        let last = match until_gone(&feed, cancel, work).await {
            Ok(sum) => {
                log.note(None, &in_words(&sum));
                api::Uploaded { ok: Some(sum.broken == 0 && sum.skipped == 0), ..whole(&log.member, &sum) }
            }
            Err(failure) => {
                let sum = so_far.lock().map(|sum| sum.clone()).unwrap_or_default();
                log.note(Some(&failure), &in_words(&sum));
                let error = Some(told_once(failure).to_string());
                api::Uploaded { ok: Some(false), error, ..whole(&log.member, &sum) }
            }
        };
        let _ = feed.send((last, false)).await;
    })
}

fn in_words(sum: &engine::Uploaded) -> String {
    format!("{} imported, {} already there, {} left out", sum.imported, sum.already_there, sum.skipped)
}

/// Nobody tries an upload again but whoever sends the files.
fn told_once(failure: Failure) -> Failure {
    let own = matches!(
        failure.kind,
        Kind::Full | Kind::Unsupported | Kind::InUse | Kind::Stopped | Kind::Credentials | Kind::Recipient
    );
    match own && !failure.mend.is_empty() {
        true => failure,
        false => Failure { mend: "upload again: what came is not brought twice".to_owned(), ..failure },
    }
}

/// With what was left out, one by one.
fn whole(member: &str, sum: &engine::Uploaded) -> api::Uploaded {
    let left_out = |out: &engine::LeftOut| LeftOut {
        what: out.what.clone(),
        size: out.size,
        reason: out.reason.clone(),
    };
    api::Uploaded { left_out: sum.list.iter().map(left_out).collect(), ..uploaded(member, sum) }
}

fn uploaded(member: &str, sum: &engine::Uploaded) -> api::Uploaded {
    api::Uploaded {
        member: member.to_owned(),
        imported: sum.imported,
        already_there: sum.already_there,
        skipped: sum.skipped,
        bytes: sum.bytes,
        folders: sum.folders,
        passed_over: sum
            .passed
            .iter()
            .map(|(kind, count)| api::PassedOver { kind: kind.words().to_owned(), count: *count })
            .collect(),
        ..api::Uploaded::default()
    }
}

pub(super) fn backup(
    manager: &Arc<Manager>,
    log: Logbook,
    from: Files,
    format: Format,
    file: File,
) -> Replies<BackedUp> {
    let manager = Arc::clone(manager);
    fed(move |feed| async move {
        let cancel = from.cancel().clone();
        let (told, member) = (feed.clone(), log.member.clone());
        let work = manager.back_up(from, format, file, move |sum| {
            if sum.messages % 256 == 0 {
                let _ = told.try_send((backed_up(&member, sum), true));
            }
        });
        let last = match until_gone(&feed, cancel, work).await {
            Ok(sum) => {
                log.note(None, &format!("{} messages in {} folders", sum.messages, sum.folders));
                let left_out = sum.list.iter().map(|(what, why)| LeftOut {
                    what: what.clone(),
                    size: None,
                    reason: why.clone(),
                });
                let left_out = left_out.collect();
                BackedUp { ok: Some(sum.unread == 0), left_out, ..backed_up(&log.member, &sum) }
            }
            Err(failure) => {
                log.note(Some(&failure), "");
                BackedUp {
                    member: log.member.clone(),
                    ok: Some(false),
                    error: Some(failure.to_string()),
                    ..BackedUp::default()
                }
            }
        };
        let _ = feed.send((last, false)).await;
    })
}

fn backed_up(member: &str, sum: &engine::BackedUp) -> BackedUp {
    BackedUp {
        member: member.to_owned(),
        folders: sum.folders,
        messages: sum.messages,
        bytes: sum.bytes,
        vanished: sum.vanished,
        unread: sum.unread,
        ..BackedUp::default()
    }
}
