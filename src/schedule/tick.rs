//! The one job on the scheduler: it wakes the loop that does the work, once a second. It refuses to do
//! anything that takes time, since the scheduler starts the next firing all the same.

use std::sync::Arc;

use tokio::sync::Notify;
use tokio_cron_scheduler::{Job, JobScheduler, JobSchedulerError};

/// A running tick.
pub struct Tick(JobScheduler);

impl Tick {
    /// Wakes `who` every second.
    ///
    /// # Errors
    /// The scheduler does not start.
    pub async fn start(who: Arc<Notify>) -> Result<Tick, JobSchedulerError> {
        let scheduler = JobScheduler::new().await?;
        scheduler.add(Job::new("* * * * * *", move |_, _| who.notify_one())?).await?;
        scheduler.start().await?;
        Ok(Tick(scheduler))
    }

    /// No more ticks.
    pub async fn stop(mut self) {
        let _ = self.0.shutdown().await;
    }
}
