//! The calls that answer more than once. Each is fed by a task of its own that ends when the caller hangs
//! up. It refuses to answer faster than a person can look.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::Stream;
use tokio::sync::{Semaphore, mpsc};
use zlink::Reply;

use super::api::{
    Authorized, Checked, Error, Looked, Migration, Planned, PollProgress, Polled, Progress, Verified,
};
use super::convert;
use super::ends::Consent;
use crate::account::{Account, Protocol};
use crate::engine::{Asked, Manager, View};

/// Ended migrations that `history` tells.
pub(super) const HISTORY: usize = 1000;
/// Accounts that are checked side by side.
const CHECKS: usize = 16;
/// The pause between two replies about the same thing.
pub(super) const PACE: Duration = Duration::from_millis(200);
/// Without a change, a look at the live numbers is taken so often.
const LOOK: Duration = Duration::from_millis(500);

pub(super) type Replies<T> = Pin<Box<dyn Stream<Item = Result<Reply<T>, Error>>>>;
pub(super) type Feed<T> = mpsc::Sender<(T, bool)>;

pub(super) fn refused<T: 'static>(error: Error) -> Replies<T> {
    Box::pin(futures_util::stream::once(std::future::ready(Err(error))))
}

/// A stream fed by `task` with values and whether another one follows.
pub(super) fn fed<T: 'static, F>(task: impl FnOnce(Feed<T>) -> F) -> Replies<T>
where
    F: Future<Output = ()> + 'static,
{
    let (feed, replies) = mpsc::channel(16);
    tokio::task::spawn_local(task(feed));
    Box::pin(futures_util::stream::unfold(replies, |mut replies| async move {
        let (value, more): (T, bool) = replies.recv().await?;
        Some((Ok(Reply::new(Some(value)).set_continues(Some(more))), replies))
    }))
}

pub(super) fn check(manager: &Arc<Manager>, accounts: Vec<Arc<Account>>) -> Replies<Checked> {
    let manager = Arc::clone(manager);
    beside(accounts, move |account| {
        let manager = Arc::clone(&manager);
        async move { convert::checked(&account.name, manager.check(&account).await) }
    })
}

/// An empty reply is the last: before it nobody knows which one is.
pub(super) fn find(manager: &Arc<Manager>, domain: String, protocol: Option<&str>) -> Replies<Looked> {
    let manager = Arc::clone(manager);
    let both = [Protocol::Imap, Protocol::Pop3];
    let wanted: Vec<Protocol> =
        both.into_iter().filter(|one| protocol.is_none_or(|asked| asked == one.as_str())).collect();
    fed(move |feed| async move {
        manager
            .find(&domain, &wanted, async |looked| {
                let _ = feed.send((convert::looked(looked), true)).await;
            })
            .await;
        let _ = feed.send((Looked::default(), false)).await;
    })
}

pub(super) fn plan(manager: &Arc<Manager>, accounts: Vec<Arc<Account>>) -> Replies<Planned> {
    let manager = Arc::clone(manager);
    beside(accounts, move |account| {
        let manager = Arc::clone(&manager);
        async move { convert::planned(&account.name, manager.plan(&account).await) }
    })
}

/// A reply for each account, several side by side.
fn beside<T, F>(accounts: Vec<Arc<Account>>, look: impl Fn(Arc<Account>) -> F + 'static) -> Replies<T>
where
    T: Default + 'static,
    F: Future<Output = T> + 'static,
{
    fed(move |feed| async move {
        let places = Arc::new(Semaphore::new(CHECKS));
        let mut checks = tokio::task::JoinSet::new();
        for account in accounts {
            let (places, looked) = (Arc::clone(&places), look(account));
            checks.spawn_local(async move {
                let _place = places.acquire().await;
                looked.await
            });
        }
        if checks.is_empty() {
            let _ = feed.send((T::default(), false)).await;
        }
        while let Some(done) = checks.join_next().await {
            let Ok(checked) = done else { continue };
            if feed.send((checked, !checks.is_empty())).await.is_err() {
                return;
            }
        }
    })
}

pub(super) fn verify(manager: &Arc<Manager>, account: Arc<Account>, bodies: bool) -> Replies<Verified> {
    let manager = Arc::clone(manager);
    fed(move |feed| async move {
        let name = account.name.as_str();
        let compared = manager.verify(&account, bodies, |sum| {
            // Whoever reads slowly misses numbers, never the end.
            let _ = feed.try_send((convert::verified(name, sum), true));
        });
        let result = tokio::select! {
            result = compared => result,
            () = feed.closed() => return,
        };
        let last = match result {
            Ok(sum) => Verified {
                ok: Some(sum.is_good()),
                findings: sum.findings.iter().map(convert::finding).collect(),
                ..convert::verified(name, &sum)
            },
            Err(failure) => Verified {
                name: name.to_owned(),
                ok: Some(false),
                error: Some(failure.to_string()),
                ..Verified::default()
            },
        };
        let _ = feed.send((last, false)).await;
    })
}

pub(super) fn authorize(
    manager: &Arc<Manager>,
    account: Arc<Account>,
    browser: bool,
    entry: Consent,
) -> Replies<Authorized> {
    let manager = Arc::clone(manager);
    fed(move |feed| async move {
        let name = account.name.clone();
        let asked = manager.authorize(&account, browser, |question| {
            let good_for = jiff::SignedDuration::try_from(question.good_for).unwrap_or_default();
            let expires_at = jiff::Timestamp::now().checked_add(good_for).ok();
            let code = Authorized {
                name: name.clone(),
                address: Some(question.address),
                code: question.code,
                expires_at: expires_at.map(|at| convert::time(at.as_millisecond())),
                ..Authorized::default()
            };
            let _ = feed.try_send((code, true));
        });
        let result = tokio::select! {
            result = asked => result,
            () = feed.closed() => return,
        };
        let error = result.err().map(|failure| failure.to_string());
        entry.over(error.clone());
        let last =
            Authorized { name: name.clone(), ok: Some(error.is_none()), error, ..Authorized::default() };
        let _ = feed.send((last, false)).await;
    })
}

pub(super) fn poll(manager: &Arc<Manager>, asked: Vec<Asked>, wait: bool) -> Replies<Polled> {
    let manager = Arc::clone(manager);
    fed(move |feed| async move {
        let mut left: BTreeMap<String, (Asked, Option<Polled>)> =
            asked.into_iter().map(|asked| (asked.name.clone(), (asked, None))).collect();
        if left.is_empty() {
            let _ = feed.send((Polled::default(), false)).await;
        }
        if !wait {
            let mut names = left.into_keys().peekable();
            while let Some(name) = names.next() {
                let polled = Polled { name, ..Polled::default() };
                if feed.send((polled, names.peek().is_some())).await.is_err() {
                    return;
                }
            }
            return;
        }
        let mut changes = manager.changes();
        while !left.is_empty() {
            changes.mark_unchanged();
            let names: Vec<String> = left.keys().cloned().collect();
            for name in names {
                let Some((asked, last)) = left.get_mut(&name) else { continue };
                let polled = polled(&manager, asked);
                let over = polled.run.is_some();
                if last.as_ref() == Some(&polled) {
                    continue;
                }
                *last = Some(polled.clone());
                if over {
                    left.remove(&name);
                }
                if feed.send((polled, !left.is_empty())).await.is_err() {
                    return;
                }
            }
            if left.is_empty() || !look_again(&feed, &mut changes).await {
                return;
            }
        }
    })
}

/// Waits until it is worth looking again; `false`: the caller has hung up.
async fn look_again<T>(feed: &Feed<T>, changes: &mut tokio::sync::watch::Receiver<u64>) -> bool {
    tokio::select! {
        () = feed.closed() => return false,
        changed = changes.changed() => if changed.is_err() { return false },
        () = tokio::time::sleep(LOOK) => {}
    }
    true
}

pub(super) fn polled(manager: &Manager, asked: &Asked) -> Polled {
    let name = asked.name.clone();
    match manager.view(&name) {
        Ok(View::Poll(view)) if manager.is_answered(asked) => {
            let run = view
                .record
                .last_run
                .as_ref()
                .map(convert::run)
                .unwrap_or_else(|| stopped("the run was stopped"));
            Polled { name, messages_done: run.imported, run: Some(run), messages_total: None }
        }
        Ok(View::Poll(view)) => {
            let numbers = view.running.unwrap_or_default();
            Polled { name, run: None, messages_done: numbers.messages, messages_total: numbers.total }
        }
        _ => Polled { name, run: Some(stopped("its definition is gone")), ..Polled::default() },
    }
}

fn stopped(why: &str) -> super::api::Run {
    super::api::Run { result: "failed".to_owned(), error: Some(why.to_owned()), ..super::api::Run::default() }
}

pub(super) fn migrations(manager: &Arc<Manager>, names: Vec<String>, wait: bool) -> Replies<Progress> {
    let manager = Arc::clone(manager);
    fed(move |feed| async move {
        let mut changes = manager.changes();
        let mut last: BTreeMap<String, Migration> = BTreeMap::new();
        loop {
            changes.mark_unchanged();
            let now: Vec<Migration> = names.iter().filter_map(|name| migration(&manager, name)).collect();
            let over = now.len() < names.len() || now.iter().all(|m| is_over(&m.state));
            let moved: Vec<Migration> = now.into_iter().filter(|m| last.get(&m.name) != Some(m)).collect();
            last.extend(moved.iter().map(|m| (m.name.clone(), m.clone())));
            let ends = over || !wait;
            if (!moved.is_empty() || ends)
                && feed.send((Progress { migrations: moved, polls: Vec::new() }, !ends)).await.is_err()
            {
                return;
            }
            if ends || !look_again(&feed, &mut changes).await {
                return;
            }
            tokio::time::sleep(PACE / 4).await;
        }
    })
}

fn is_over(state: &str) -> bool {
    matches!(state, "completed" | "failed" | "rolled-back" | "cancelled" | "paused")
}

fn migration(manager: &Manager, name: &str) -> Option<Migration> {
    match manager.view(name) {
        Ok(View::Migration(view)) => Some(convert::migration(&view)),
        _ => None,
    }
}

pub(super) fn watch(manager: &Arc<Manager>, name: Option<String>) -> Replies<Progress> {
    let manager = Arc::clone(manager);
    fed(move |feed| async move {
        let mut changes = manager.changes();
        let mut last: BTreeMap<String, Migration> = BTreeMap::new();
        let mut last_polls: Option<Vec<PollProgress>> = None;
        loop {
            changes.mark_unchanged();
            let (mut migrations, mut polls) = (Vec::new(), Vec::new());
            let views = match &name {
                Some(name) => manager.view(name).into_iter().collect(),
                None => manager.views(),
            };
            for view in views {
                match view {
                    View::Migration(view)
                        if name.is_some()
                            || view.record.state.is_open()
                            || last.contains_key(&view.account.name) =>
                    {
                        let migration = convert::migration(&view);
                        if last.get(&migration.name) != Some(&migration) {
                            last.insert(migration.name.clone(), migration.clone());
                            migrations.push(migration);
                        }
                    }
                    View::Poll(view) => polls.extend(view.running.map(|numbers| PollProgress {
                        name: view.account.name.clone(),
                        messages_done: numbers.messages,
                        messages_total: numbers.total,
                        bytes_done: numbers.bytes,
                    })),
                    _ => {}
                }
            }
            // Every reply names all polls that run: one that is missing has ended.
            let moved = !migrations.is_empty() || last_polls.as_ref() != Some(&polls);
            last_polls = Some(polls.clone());
            if moved && feed.send((Progress { migrations, polls }, true)).await.is_err() {
                return;
            }
            if !look_again(&feed, &mut changes).await {
                return;
            }
            tokio::time::sleep(PACE).await;
        }
    })
}
