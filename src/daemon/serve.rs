//! The daemon that stays: opens the store, reads the definitions, listens, says READY, and then does what
//! the tick, the socket and the signals ask for. The sign of life for the watchdog comes from this loop, so
//! it stops when the loop does. It refuses to leave while something is half written.

use std::collections::VecDeque;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::orders::Clerk;
use super::signals::{self, Wish};
use super::{Kept, absolute, log_complaints};
use crate::config::{Environment, Loaded};
use crate::control::{Desk, Gate, Order, bind, serve as serve_control};
use crate::engine::Manager;
use crate::failure::{Failure, Kind};
use crate::schedule::Tick;
use crate::systemd;

/// What is due is looked for at least so often.
const STEADY: Duration = Duration::from_secs(2);
/// The work is broken off within this when the daemon stops; the rest of ten seconds is for the store.
pub(super) const STOP_WITHIN: Duration = Duration::from_secs(8);
/// The span of the rates.
const RATE_SPAN: Duration = Duration::from_secs(60);

/// Runs until a signal says stop.
pub(super) async fn serve(
    config: &Path,
    loaded: Loaded,
    environment: Environment,
    listener: Option<UnixListener>,
) -> Result<bool, Failure> {
    let config = absolute(config);
    log_complaints(&loaded.complaints, &loaded.warnings);
    let mut signals = signals::listen().map_err(|e| own("cannot listen for signals", &e))?;
    let (kept, rebuilt) = Kept::open(&loaded.settings, environment)?;
    if let Err(failure) = kept.settle(&loaded).await {
        tracing::error!("{failure}");
    }
    let journal = kept.journal.clone();
    let daemon = loaded.settings.daemon.clone();
    let means = kept.means(loaded.settings, loaded.providers)?;
    let manager = Manager::new(means.clone(), false);
    manager.set_accounts(means, loaded.accounts, loaded.broken)?;
    manager.unseal_ended().await;

    let (gate, no_group) = Gate::new(&daemon.control_group);
    if let Some(words) = &no_group {
        tracing::warn!("{words}");
    }
    let handed = listener.is_some();
    let listener = match listener {
        Some(listener) => listener,
        None => bind(&daemon.control_socket, &gate)
            .map_err(|e| own(&format!("cannot listen on {}", daemon.control_socket.display()), &e))?,
    };
    let (orders, mut ordered) = mpsc::channel::<Order>(4);
    let rates = Arc::new(Mutex::new((0.0, 0.0)));
    let warnings = Arc::new(Mutex::new([rebuilt, no_group].into_iter().flatten().collect::<Vec<_>>()));
    let desk = Desk {
        manager: Arc::clone(&manager),
        orders,
        audit: kept.audit.clone(),
        started_at: jiff::Timestamp::now().as_millisecond(),
        warnings,
        rates: Arc::clone(&rates),
    };
    let stop = CancellationToken::new();
    serve_control(listener, gate, desk, stop.clone())
        .map_err(|e| own("cannot serve the control socket", &e))?;
    let wake = manager.wake();
    let tick = Tick::start(Arc::clone(&wake))
        .await
        .map_err(|e| Failure::new(Kind::Journal, format!("the scheduler does not start: {e}"), ""))?;
    systemd::ready();
    tracing::info!("mailhauld {} is ready", env!("CARGO_PKG_VERSION"));

    let clerk = Clerk::new(config, kept, Arc::clone(&manager));
    let mut life = Life::new(rates);
    loop {
        tokio::select! {
            // The scheduler goes by the clock on the wall, and stands still for as long as that was set back.
            _ = tokio::time::timeout(STEADY, wake.notified()) => {
                if journal.has_failed() {
                    // sled must not be used after a failed write: a new process opens it afresh.
                    manager.shut_down(STOP_WITHIN).await;
                    return Err(Failure::new(
                        Kind::Journal,
                        "the journal cannot be written any more",
                        "check the disk of the state directory and its space; start mailhauld again",
                    ));
                }
                manager.step();
                life.sign(&manager);
            }
            wish = signals.recv() => match wish {
                Some(Wish::Reload) => {
                    clerk.hang_up().await;
                }
                Some(Wish::Stop) | None => break,
            },
            Some(order) = ordered.recv() => clerk.carry_out(order).await,
        }
    }

    systemd::stopping();
    tracing::info!("stopping");
    tick.stop().await;
    manager.shut_down(STOP_WITHIN).await;
    stop.cancel();
    if !handed {
        let _ = std::fs::remove_file(&daemon.control_socket);
    }
    let closed = tokio::task::spawn_blocking(move || journal.close()).await;
    closed.map_err(|e| Failure::new(Kind::Journal, format!("the journal was not closed: {e}"), ""))??;
    tracing::info!("stopped");
    Ok(true)
}

pub(super) fn own(what: &str, error: &std::io::Error) -> Failure {
    Failure::new(
        Kind::Journal,
        format!("{what}: {error}"),
        "look at the path and its owner, then start mailhauld again",
    )
}

/// Signs of life: the watchdog, the status line, the rates.
struct Life {
    every: Option<Duration>,
    signed: Instant,
    told: String,
    samples: VecDeque<(Instant, u64, u64)>,
    rates: Arc<Mutex<(f64, f64)>>,
}

impl Life {
    fn new(rates: Arc<Mutex<(f64, f64)>>) -> Self {
        let now = Instant::now();
        Life {
            every: systemd::watchdog_interval(),
            signed: now,
            told: String::new(),
            samples: VecDeque::from([(now, 0, 0)]),
            rates,
        }
    }

    fn sign(&mut self, manager: &Manager) {
        let now = Instant::now();
        if self.every.is_some_and(|every| now - self.signed >= every / 2) {
            systemd::watchdog();
            self.signed = now;
        }
        let Some((last, ..)) = self.samples.back() else { return };
        if now - *last < Duration::from_secs(1) {
            return;
        }
        let overview = manager.overview();
        self.samples.push_back((now, overview.messages, overview.bytes));
        while self.samples.len() > 2 && self.samples.front().is_some_and(|(at, ..)| now - *at > RATE_SPAN) {
            self.samples.pop_front();
        }
        if let Some((since, messages, bytes)) = self.samples.front()
            && let Ok(mut rates) = self.rates.lock()
        {
            let seconds = (now - *since).as_secs_f64().max(1.0);
            let a_second = |count: u64| f64::from(u32::try_from(count).unwrap_or(u32::MAX)) / seconds;
            *rates = (a_second(overview.messages - messages), a_second(overview.bytes - bytes));
        }
        let told = format!(
            "{} accounts on, {} off, {} invalid; {} polls and {} migrations running, {} waiting",
            overview.enabled,
            overview.disabled,
            overview.invalid,
            overview.polls_running,
            overview.migrations_running,
            overview.migrations_waiting
        );
        if told != self.told {
            systemd::status(&told);
            self.told = told;
        }
    }
}
