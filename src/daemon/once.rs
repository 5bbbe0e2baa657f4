//! `--once`: everything once, a summary, the end. It refuses to run beside a daemon on the same state.

use std::io::Write;
use std::time::{Duration, Instant};

use crate::config::{Environment, Loaded};
use crate::engine::{Manager, Refusal, Summary};
use crate::failure::{Failure, Kind};
use crate::schedule::Tick;

use super::{Kept, log_complaints};

/// `false`: something failed.
pub(super) async fn once(loaded: Loaded, environment: Environment) -> Result<bool, Failure> {
    log_complaints(&loaded.complaints, &loaded.warnings);
    let began = Instant::now();
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
    let summary = manager.run_once().await;
    if let Some(tick) = tick {
        tick.stop().await;
    }
    manager.shut_down(Duration::from_secs(8)).await;
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
    Ok(summary.failed.is_empty() && bad == 0)
}

fn print(summary: &Summary, bad: usize, took: Duration) {
    let mut out = std::io::stdout().lock();
    for (name, why) in &summary.failed {
        let _ = writeln!(out, "{name}: {why}");
    }
    if bad > 0 {
        let _ = writeln!(out, "{bad} definitions are invalid: see 'mailhauld --check'");
    }
    let _ = writeln!(
        out,
        "{} accounts polled, {} migrations completed, {} with failures; {} messages imported ({} octets), {} already here, {} skipped; {:.1} s",
        summary.polled,
        summary.migrated,
        summary.failed.len(),
        summary.imported,
        summary.bytes,
        summary.already_there,
        summary.skipped,
        took.as_secs_f64()
    );
}
