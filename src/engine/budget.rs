//! What a provider lets one account fetch in a day, so that it is not locked: counted by the hour, kept in the
//! journal, and stopped short of. It refuses to guess what other programs of the owner fetch.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{Means, now};
use crate::account::Account;
use crate::failure::{Failure, Kind};
use crate::journal::Changes;

const HOUR: i64 = 3600 * 1000;
/// A budget is for so many hours.
const DAY: i64 = 24;
/// What may be on its way when we are killed, and what commands and headers cost.
const MARGIN: u64 = 20;

/// The budget of one account; shared by its connections.
#[derive(Debug, Clone)]
pub(super) struct Budget {
    account: String,
    host: String,
    limit: u64,
    used: Arc<Mutex<Used>>,
}

#[derive(Debug, Default)]
struct Used {
    /// Octets by the hour, counted from 1970.
    hours: BTreeMap<i64, u64>,
    /// Asked for and not here yet.
    asked: u64,
}

impl Used {
    fn since(&self, hour: i64) -> u64 {
        self.hours.range(hour..).map(|(_, octets)| octets).sum()
    }
}

impl Budget {
    /// The budget of an account's source, if it has one.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub(super) fn of(means: &Means, account: &Account) -> Result<Option<Budget>, Failure> {
        let Some(limit) = account.source.daily else { return Ok(None) };
        let hours = means.journal.fetched(&account.name)?;
        Ok(Some(Budget {
            account: account.name.clone(),
            host: account.source.host.clone(),
            limit: limit - limit / MARGIN,
            used: Arc::new(Mutex::new(Used { hours, asked: 0 })),
        }))
    }

    fn used(&self) -> MutexGuard<'_, Used> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many of the first of so many octets may be asked for. One that is larger than a whole day's is
    /// asked for alone.
    pub(super) fn take(&self, sizes: impl Iterator<Item = u64>) -> usize {
        let mut used = self.used();
        let mut sum = used.since(now() / HOUR - DAY + 1) + used.asked;
        let mut count = 0;
        for size in sizes {
            if sum + size > self.limit && !(sum == 0 && count == 0) {
                break;
            }
            sum += size;
            used.asked += size;
            count += 1;
        }
        count
    }

    /// So many octets are here, of so many that were asked for.
    pub(super) fn spend(&self, octets: u64, asked: u64, changes: &mut Changes) {
        if octets + asked == 0 {
            return;
        }
        let mut used = self.used();
        let hour = now() / HOUR;
        used.asked = used.asked.saturating_sub(asked);
        *used.hours.entry(hour).or_default() += octets;
        used.hours.retain(|at, _| *at > hour - DAY);
        changes.fetched(&self.account, &used.hours);
    }

    /// Why it stops, and for how long: until a quarter of the budget is free again.
    pub(super) fn enough(&self) -> Failure {
        let (used, now) = (self.used(), now());
        let hour = now / HOUR;
        let free = |at: &i64| used.since(*at - DAY + 1) <= self.limit / 4 * 3;
        let next = (hour + 1..=hour + DAY).find(free).unwrap_or(hour + DAY);
        let wait = Duration::from_millis(u64::try_from(next * HOUR - now).unwrap_or(0));
        let words = format!(
            "{} lets an account fetch {} MB in 24 hours, and they are used up",
            self.host,
            (self.limit + self.limit / (MARGIN - 1)) / (1024 * 1024)
        );
        Failure::new(Kind::Enough, words, "it goes on by itself").waiting(Some(wait))
    }
}
