//! How late is this machine itself? Tests that limit an answer's time don't count what a busy machine adds to it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{task::JoinHandle, time::sleep};

/// Measures by how much a short sleep on this runtime lasts too long, until it is dropped.
#[derive(Debug)]
pub struct Lag {
    worst_ms: Arc<AtomicU64>,
    ticks: JoinHandle<()>,
}

impl Lag {
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

    /// This much time, and what the machine was late so far: at worst, at the beginning and at the end of it.
    pub fn and(&self, time: Duration) -> Duration {
        time + 2 * Duration::from_millis(self.worst_ms.load(Ordering::Relaxed))
    }
}

impl Drop for Lag {
    fn drop(&mut self) {
        self.ticks.abort();
    }
}
