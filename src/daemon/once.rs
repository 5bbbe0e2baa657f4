//! `--once`: everything once, a summary, the end. It refuses to run beside a daemon on the same state.

use std::io::Write;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::config::{Environment, Loaded};
use crate::engine::{Manager, Refusal, Summary};
use crate::failure::{Failure, Kind};
use crate::schedule::Tick;

use super::serve::{STOP_WITHIN, own};
use super::{Kept, log_complaints, signals};

/// `false`: something failed.
pub(super) async fn once(loaded: Loaded, environment: Environment) -> Result<bool, Failure> {
    log_complaints(&loaded.complaints, &loaded.warnings);
    let began = Instant::now();
    let mut signals = signals::listen().map_err(|e| own("cannot listen for signals", &e))?;
    let (kept, _) = Kept::open(&loaded.settings, environment)?;
    if let Err(failure) = kept.settle(&loaded).await {
        tracing::error!("{failure}");
    }
    let means = kept.means(loaded.settings, loaded.providers)?;
    let journal = kept.journal;
    let manager = Manager::new(means.clone(), true);
    let bad = loaded.broken.len();
    manager.set_accounts(means, loaded.accounts, loaded.broken)?;
    let tick = Tick::start(manager.wake()).await.ok();
    let stop = CancellationToken::new();
    let ended = stop.clone();
    // No person waits for a reload: each signal ends it.
    let minder = tokio::spawn(async move {
        if signals.recv().await.is_some() {
            tracing::info!("stopping");
            ended.cancel();
        }
    });
    let summary = manager.run_once(&stop, STOP_WITHIN).await;
    minder.abort();
    if let Some(tick) = tick {
        tick.stop().await;
    }
    manager.shut_down(STOP_WITHIN).await;
    let closed = tokio::task::spawn_blocking(move || journal.close()).await;
    let summary = match summary {
        Ok(summary) => summary,
        Err(Refusal::Failed(failure)) => return Err(failure),
        Err(other) => return Err(Failure::new(Kind::Unsupported, format!("{other:?}"), "")),
    };
    print(&summary, bad, began.elapsed());
    match closed {
        Ok(result) => result?,
        Err(e) => tracing::error!("the journal was not closed: {e}"),
    }
    Ok(summary.failed.is_empty() && bad == 0 && !summary.stopped)
}

fn print(summary: &Summary, bad: usize, took: Duration) {
    let mut out = std::io::stdout().lock();
    for (name, why) in &summary.failed {
        let _ = writeln!(out, "{name}: {why}");
    }
    for (name, why) in &summary.left_out {
        let _ = writeln!(out, "{name}: left out: {why}");
    }
    if bad > 0 {
        let words = if bad == 1 { "definition is" } else { "definitions are" };
        let _ = writeln!(out, "{bad} {words} invalid: see 'mailhauld --check'");
    }
    if summary.stopped {
        let _ = writeln!(out, "stopped before all was done; the next run goes on with the rest");
    }
    let left_out = match summary.left_out.len() {
        0 => String::new(),
        number => format!(", {number} left out"),
    };
    let _ = writeln!(
        out,
        "{} polled, {} completed, {} with failures{left_out}; {} imported ({}), {} already here, {} skipped; {:.1} s",
        count(summary.polled, "account"),
        count(summary.migrated, "migration"),
        summary.failed.len(),
        count(summary.imported, "message"),
        count(summary.bytes, "octet"),
        summary.already_there,
        summary.skipped,
        took.as_secs_f64()
    );
}

fn count(number: u64, one: &str) -> String {
    format!("{number} {one}{}", if number == 1 { "" } else { "s" })
}
