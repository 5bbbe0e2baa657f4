//! What goes to administrators by SMTP: collected for a while, so that many runs which end together make one
//! message, and tried again while no server takes it. Whom alone the server refuses it for the moment gets it once
//! more, with the next one. It refuses to keep more than fits into a message that somebody reads; the rest is counted.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::super::{Means, blocking, now};
use super::Manager;
use crate::failure::{Failure, Kind};
use crate::notice::{Notice, Outbox, digest, send};

/// Notices that wait at most.
const WAITING: usize = 2000;
/// From the first notice to its message, while nothing was sent for a while.
const FIRST: Duration = Duration::from_secs(5);
/// While more keep coming, from message to message at most.
const LAST: Duration = Duration::from_secs(10 * 60);

/// Notices that wait.
#[derive(Debug, Default)]
pub(super) struct Post {
    waiting: VecDeque<Notice>,
    /// What single recipients were refused for the moment, while others got it.
    owed: BTreeMap<String, Vec<Notice>>,
    /// Told, and not kept for want of room.
    lost: u64,
    /// Somebody is at it.
    busy: bool,
}

impl Manager {
    /// Takes a notice for the administrators.
    pub(super) fn post(self: &Arc<Self>, notice: Notice) {
        let begin = {
            let mut post = self.post_box();
            if post.waiting.len() >= WAITING {
                post.waiting.pop_front();
                post.lost += 1;
            }
            post.waiting.push_back(notice);
            !std::mem::replace(&mut post.busy, true)
        };
        if begin {
            let manager = Arc::clone(self);
            self.tasks.spawn(async move { manager.carry_post().await });
        }
    }

    fn post_box(&self) -> std::sync::MutexGuard<'_, Post> {
        self.post.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    async fn carry_post(&self) {
        let mut pause = FIRST;
        loop {
            let stopping = tokio::select! {
                () = tokio::time::sleep(pause) => false,
                () = self.stop.cancelled() => true,
            };
            let (notices, owed, lost) = {
                let mut post = self.post_box();
                if post.waiting.is_empty() && post.owed.is_empty() {
                    post.busy = false;
                    return;
                }
                let Post { waiting, owed, lost, .. } = &mut *post;
                (Vec::from(std::mem::take(waiting)), std::mem::take(owed), std::mem::take(lost))
            };
            self.send_all(notices, owed, lost).await;
            if stopping {
                self.post_box().busy = false;
                return;
            }
            pause = (pause * 2).min(LAST);
        }
    }

    /// One message to all, and another to each that is owed something.
    async fn send_all(&self, notices: Vec<Notice>, owed: BTreeMap<String, Vec<Notice>>, lost: u64) {
        let means = self.means();
        let mut to = means.settings.notices.to_admin.clone();
        to.retain(|recipient| !owed.contains_key(recipient));
        let later = match hand_over(&means, &notices, lost, &to).await {
            Ok(later) => later,
            Err(failure) => {
                let count = notices.len();
                tracing::warn!("{count} notices to administrators could not be sent: {failure}");
                return self.keep(notices, owed, lost);
            }
        };
        let mut again: BTreeMap<String, Vec<Notice>> =
            later.into_iter().map(|recipient| (recipient, notices.clone())).collect();
        for (recipient, earlier) in owed {
            let all = [earlier.as_slice(), notices.as_slice()].concat();
            if let Err(failure) = hand_over(&means, &all, lost, std::slice::from_ref(&recipient)).await {
                tracing::warn!("{} notices to {recipient} are given up: {failure}", earlier.len());
                if !notices.is_empty() {
                    again.insert(recipient, notices.clone());
                }
            }
        }
        self.post_box().owed = again;
    }

    fn keep(&self, notices: Vec<Notice>, owed: BTreeMap<String, Vec<Notice>>, lost: u64) {
        let mut post = self.post_box();
        post.owed = owed;
        post.lost += lost;
        for notice in notices.into_iter().rev() {
            if post.waiting.len() >= WAITING {
                post.lost += 1;
            } else {
                post.waiting.push_front(notice);
            }
        }
    }
}

/// Returns for whom it is refused for the moment.
async fn hand_over(
    means: &Means,
    notices: &[Notice],
    lost: u64,
    to: &[String],
) -> Result<Vec<String>, Failure> {
    let settings = &means.settings.notices;
    if to.is_empty() || notices.is_empty() {
        return Ok(Vec::new());
    }
    let smtp = &settings.smtp;
    let secret = match &smtp.login {
        Some((_, place)) => {
            let (place, environment) = (place.clone(), means.environment.clone());
            Some(blocking(move || crate::config::read_secret(&place, &environment)).await?)
        }
        None => None,
    };
    let from = smtp.from.clone().unwrap_or_else(|| format!("mailhaul@{}", this_machine()));
    let octets = digest(notices, lost, (&from, to), means.settings.daemon.language, now() / 1000)
        .map_err(|e| Failure::new(Kind::Destination, format!("the message cannot be written: {e}"), ""))?;
    send(smtp, secret.as_ref(), &Outbox { from: &from, to, octets: &octets }).await
}

/// This machine's name, if it can stand in an address.
fn this_machine() -> String {
    let name = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok()).unwrap_or_default();
    let good = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    if name.is_empty() || !name.chars().all(good) { "localhost".to_owned() } else { name }
}
