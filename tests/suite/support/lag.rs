//! Measures how much a busy machine delays the tests, so that tests with a time limit can allow for the delay.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{task::JoinHandle, time::sleep};

/// Measures the delay of short sleeps on this runtime until it is dropped.
#[derive(Debug)]
pub struct Lag {
    worst_ms: Arc<AtomicU64>,
    ticks: JoinHandle<()>,
}

impl Lag {
    /// Starts to measure.
    pub fn measure() -> Self {
        let worst_ms = Arc::new(AtomicU64::new(0));
        let worst = Arc::clone(&worst_ms);
        let ticks = tokio::spawn(async move {
            loop {
                let begun = Instant::now();
                sleep(Duration::from_millis(10)).await;
                let late = begun.elapsed().saturating_sub(Duration::from_millis(10));
                worst.fetch_max(u64::try_from(late.as_millis()).unwrap(), Ordering::Relaxed);
            }
        });
        Self { worst_ms, ticks }
    }

    /// This time plus twice the longest delay so far, because both its start and its end may be delayed.
    pub fn and(&self, time: Duration) -> Duration {
        time + 2 * Duration::from_millis(self.worst_ms.load(Ordering::Relaxed))
    }
}

impl Drop for Lag {
    fn drop(&mut self) {
        self.ticks.abort();
    }
}
