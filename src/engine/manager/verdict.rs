//! What the end of a try means for its migration, and what is said about it. It refuses to touch the queue.

use std::time::Duration;

use super::super::backoff::{CREDENTIAL_TRIES, pause};
use super::super::exceptions::without_flags;
use super::super::rollback::has_brought;
use super::super::{Means, Place, cut, now};
use crate::account::Account;
use crate::failure::{Again, Failure, Kind};
use crate::journal::MigrationRecord;
use crate::migration::State as Stage;
use crate::settings::OnFailure;

/// The outcome of a migration that failed before anything came.
pub(super) const NOTHING: &str = "nothing had come";

/// What a failed try means. `true`: it ended for good, without anything to put back.
pub(super) fn failed(name: &str, record: &mut MigrationRecord, failure: &Failure, means: &Means) -> bool {
    record.tries = record.tries.saturating_add(1);
    // Counted by a clock that nobody sets, and only while we were there to try.
    let given_up = record.waited >= millis(means.settings.migrations.give_up_after);
    let for_good = match failure.again() {
        Again::Never if failure.kind == Kind::Credentials => record.tries >= CREDENTIAL_TRIES,
        Again::Never => true,
        Again::Now | Again::Later => false,
    };
    if !for_good && !given_up {
        retry(record, failure);
        return false;
    }
    let mut words = failure.last_words();
    if !for_good {
        words.push_str("; it is given up: nothing came within give_up_after");
    }
    record.error = Some(cut(&words));
    record.next_try_at = None;
    // In doubt it looks: putting back what is as it was changes nothing.
    let mailbox_made = record.made.as_ref().is_some_and(|path| std::path::Path::new(path).exists());
    let made = mailbox_made || record.provisioned.is_some();
    let brought = record.started_at.is_some() && (made || has_brought(means, name).unwrap_or(true));
    // Where everything goes well but single messages, what came is worth keeping.
    let refuses = failure.kind == Kind::Refuses && record.ledger.imported + record.ledger.already_there > 0;
    if brought && !refuses && means.settings.migrations.on_failure == OnFailure::Rollback {
        record.state = Stage::RollingBack;
        record.tries = 0;
        return false;
    }
    record.state = Stage::Failed;
    record.finished_at = Some(now());
    record.outcome =
        Some(if brought { "what came was left; start it again to go on" } else { NOTHING }.to_owned());
    true
}

/// When a migration with a daily budget will be done, in words.
pub(super) fn done_about(account: &Account, record: &MigrationRecord) -> Option<String> {
    let (daily, next) = (account.source.daily.filter(|daily| *daily > 0)?, record.next_try_at?);
    let left = record.bytes_total?.saturating_sub(record.bytes_done);
    let days = i64::try_from(left / daily).ok()?;
    let at = jiff::Timestamp::from_millisecond(next.checked_add(days.checked_mul(86_400_000)?)?).ok()?;
    let (next, day) = (jiff::Timestamp::from_millisecond(next).ok()?, at.strftime("%Y-%m-%d %H:%M UTC"));
    Some(format!("the next part begins at {}, and all will be here about {day}", next.strftime("%H:%M UTC")))
}

pub(super) fn retry(record: &mut MigrationRecord, failure: &Failure) {
    record.state = Stage::Retrying;
    record.error = Some(cut(&failure.to_string()));
    record.next_try_at = Some(now() + millis(pause(failure, record.tries, rand::random())));
}

pub(super) fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX / 4)
}

pub(super) fn log(account: &Account, record: &MigrationRecord, failure: Option<&Failure>) {
    let (name, member) = (account.name.as_str(), account.member.to_string());
    let ledger = &record.ledger;
    match (record.state, failure) {
        (Stage::Completed, _) => tracing::info!(
            MIGRATION = name,
            MEMBER = member,
            "migration completed: {} folders, {} messages seen, {} imported, {} already here, {} skipped, {} failed, {} vanished",
            record.folders_done,
            ledger.seen,
            ledger.imported,
            ledger.already_there,
            ledger.skipped,
            ledger.failed,
            ledger.vanished
        ),
        (Stage::Retrying, Some(failure)) => tracing::warn!(
            MIGRATION = name,
            MEMBER = member,
            "migration interrupted after {} messages, tried again: {failure}",
            ledger.imported
        ),
        (_, Some(failure)) => {
            tracing::error!(MIGRATION = name, MEMBER = member, "migration failed: {}", failure.last_words())
        }
        _ => {}
    }
}

/// What is to be known of a migration that completed: messages that are not there any more, and flags that did not
/// come.
pub(super) fn amiss(means: &Means, account: &Account, record: &MigrationRecord) -> Option<String> {
    let flags = without_flags(&means.journal, &account.name).ok().filter(|count| *count > 0).map(|count| {
        let messages = if count == 1 { "1 message".to_owned() } else { format!("{count} messages") };
        format!(
            "{messages} came without flags that the destination refused; 'mailhaulctl show {}' names them",
            account.name
        )
    });
    let all: Vec<String> = gone_since(means, account, record).into_iter().chain(flags).collect();
    (!all.is_empty()).then(|| all.join("; "))
}

/// What a server said that it had stored, and what it does not have at the end: nobody else knows of it.
fn gone_since(means: &Means, account: &Account, record: &MigrationRecord) -> Option<String> {
    let lost = record.arrived.map_or(0, |arrived| arrived.lost);
    let at_server = matches!(means.place(account), Ok(Place::Server(_)));
    (lost > 0 && at_server).then(|| {
        format!(
            "{lost} of the messages that this run brought are not at the destination any more; 'mailhaulctl verify {}' \
             tells which",
            account.name
        )
    })
}
