//! One run at a POP3 maildrop, for a poll as for a migration: what is new is imported, what was asked for is deleted, and the
//! journal knows. A run has as many sessions as a message that breaks them needs to be found. It refuses to delete anything that is
//! not durable at the destination, to fetch what is too large to find out, and to write anything when there is nothing new.
//!
//! ```text
//! session: list ─► identify ─► triage ─► fetch, deliver, record ─► delete ─► quit
//!    ▲                                          │ the session broke, and something is known that was not
//!    └──────────────────────────────────────────┘
//! ```

mod carrier;
mod doubt;
mod look;
mod missing;
mod session;
mod settle;
mod triage;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(super) use look::{identified, listed};
use tokio_util::task::TaskTracker;

use super::Means;
use super::drain::Moving;
use super::meter::Meter;
use super::poll::Outcome;
use crate::account::Account;
use crate::destination::place::{Naming, Placed, place};
use crate::destination::sorting::Sorting;
use crate::failure::{Failure, Kind};
use crate::message::FolderPath;
use crate::pop3::Seen;

/// Sessions of one run.
const SESSIONS: u32 = 12;
/// Sessions in a row that give no message: it is the server, and not a message.
const BARREN: u32 = 3;
/// A run that imports nothing begins no further session after so long.
const FRUITLESS: Duration = Duration::from_secs(150);
/// Before the second session; each further one waits so much longer.
const PAUSE: Duration = Duration::from_millis(200);
/// A server that wants more time than this between two logins has one session a run (RFC 2449, 6.5).
const LONGEST_DELAY: Duration = Duration::from_secs(10);

/// What a session is to do.
#[derive(Debug, Clone)]
pub(super) struct Errand {
    /// The folder that mail is put into, level by level.
    pub(super) mailbox: Vec<String>,
    /// Its directory.
    pub(super) directory: String,
    /// What is larger is left out; bytes.
    pub(super) limit: Option<u64>,
    /// The keyword on each message.
    pub(super) icon: Option<String>,
    /// Off: what is durable at the destination is deleted at the source.
    pub(super) keep_original: bool,
    /// The member's rules.
    pub(super) sorting: Option<Arc<Sorting>>,
}

/// What the sessions of one run know of each other.
#[derive(Debug, Default)]
struct Run {
    /// Imported by this run.
    imported: BTreeSet<u128>,
    /// Commands are sent one by one: a session ended when only the first of several had been answered.
    one_by_one: bool,
    /// Something is known that was not known before this session.
    learned: bool,
    /// The last session came so far that it knows what lies in the maildrop.
    listed: bool,
    /// The maildrop was listed once more because the first list made no sense.
    listed_again: bool,
    /// What answers looked like.
    seen: Seen,
    /// Messages that it gave.
    given: usize,
    /// A message has a strike although the server gave no other one: once in a run.
    struck: bool,
    /// What earlier runs gave up is asked for once more.
    forgave: bool,
    /// A session broke over headers: they are done without.
    no_headers: bool,
    /// Messages that came with another size than the server lists, though its other sizes are right.
    odd: u64,
}

/// Runs sessions until one comes to its end or the next would be like the last; `outcome` says how far they came, whatever happens.
/// `moving`: it is a migration's.
///
/// # Errors
/// What ended the last session early.
pub(super) async fn run(
    means: &Means,
    account: &Account,
    work: &Errand,
    meter: &Meter,
    landings: &TaskTracker,
    outcome: &mut Outcome,
    moving: Option<&mut Moving>,
) -> Result<(), Failure> {
    let mut this = Run::default();
    let ended =
        sessions(&session::At { means, account, work, meter, landings }, outcome, moving, &mut this).await;
    if this.odd > 0 {
        // Part of each is missing, by all that is known.
        let short = this.odd.min(outcome.ledger.imported);
        outcome.ledger.imported -= short;
        outcome.ledger.failed += short;
        outcome.notes.push(format!(
            "{} with another size than the server lists, each time: mailhaulctl report {} names them; they stay at the source",
            if this.odd == 1 { "1 message came".to_owned() } else { format!("{} messages came", this.odd) },
            account.name
        ));
    }
    ended
}

async fn sessions(
    at: &session::At<'_>,
    outcome: &mut Outcome,
    mut moving: Option<&mut Moving>,
    this: &mut Run,
) -> Result<(), Failure> {
    let begun = Instant::now();
    let (mut broken, mut barren): (Option<Failure>, u32) = (None, 0);
    for session in 1..=SESSIONS {
        let imported = this.imported.len();
        (this.learned, this.listed, this.given) = (false, false, 0);
        let failure = match session::run(at, outcome, moving.as_deref_mut(), this).await {
            Ok(()) => return Ok(()),
            // Whoever cannot come in again says less than what ended the session before.
            Err(failure) if !this.listed => return Err(broken.unwrap_or(failure)),
            Err(failure) => failure,
        };
        let fruitful = this.imported.len() > imported;
        barren = if this.given > 0 { 0 } else { barren + 1 };
        let delay = outcome.login_delay.unwrap_or_default();
        // A refusal that ends a session may be one message's, where others came. Whoever asks for less is not asked again without
        // a gain.
        let one_message =
            failure.asks_for_less() && failure.kind != Kind::Throttled && !this.imported.is_empty();
        let may = failure.broke() || one_message || (failure.kind == Kind::Throttled && fruitful);
        let again = may
            && (this.learned || fruitful)
            && barren < BARREN
            && (fruitful || begun.elapsed() < FRUITLESS)
            && delay <= LONGEST_DELAY;
        if !again {
            return Err(failure);
        }
        tracing::debug!(ACCOUNT = at.account.name, "another session after: {failure}");
        broken = Some(failure);
        tokio::time::sleep(delay.max(PAUSE * session)).await;
    }
    Err(broken.unwrap_or_else(|| Failure::new(Kind::Stopped, "no session was begun", "")))
}

pub(super) fn directory_of(naming: &Naming, mailbox: &[String]) -> String {
    placed(naming, mailbox).directory
}

/// Where a folder goes that is the only one.
pub(super) fn placed(naming: &Naming, mailbox: &[String]) -> Placed {
    let path = FolderPath(mailbox.to_vec());
    let inbox = Placed { directory: String::new(), path: path.clone(), note: None };
    place(naming, &[((), path)], &BTreeMap::new()).remove(&()).unwrap_or(inbox)
}
