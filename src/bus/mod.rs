//! The event bus. [`Bus::put`] puts an event on it and proves that it is there.
//!
//! An entry is sent to the [`dispatcher`], the task that makes all calls. A result comes back, and `put` repeats what can
//! be repeated, until the time is over.
//!
//! | file | contents |
//! |---|---|
//! | `dispatcher.rs` | which entries share a call, and when it begins |
//! | `call.rs` | one call, and what its response proves |
//! | `breaker.rs`, `pace.rs` | what calls that fail change: deliveries are parked at once, parked events are forwarded more slowly |
//! | `check.rs` | whether the bus exists |

mod breaker;
mod call;
mod check;
mod dispatcher;
mod pace;

use std::{sync::Arc, time::SystemTime};

use aws_sdk_eventbridge::Client;
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until, timeout_at},
};
use tracing::instrument::WithSubscriber;

use self::dispatcher::{Dispatcher, Failure, Next, Waiting};
pub use self::{
    call::EventId,
    check::{BusStatus, CHECK_TIME, check_exists},
};
use crate::{
    aws::{
        AwsError, ErrorClass,
        retry::{Attempts, jitter},
    },
    entry::Entry,
};

/// Where an entry comes from, which decides how it is treated while the bus is failing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// A delivery whose event can be parked instead. While the bus is failing, it fails without a call.
    Delivery,
    /// A delivery whose event can't be parked. It is put even while the bus is failing.
    LastResort,
    /// A parked message. It waits behind the deliveries, and while the bus is failing.
    Parked,
}

/// The event bus. Dropping it ends its task.
#[derive(Debug)]
pub struct Bus {
    name: Arc<str>,
    entries: mpsc::UnboundedSender<Waiting>,
}

impl Bus {
    /// A bus by its name or ARN, which was checked at this time with this result. Starts the task that makes the calls.
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    #[must_use]
    pub fn new(client: Client, name: &str, checked_at: SystemTime, status: &BusStatus) -> Self {
        let name = Arc::from(name);
        let (sender, receiver) = mpsc::unbounded_channel();
        let dispatcher = Dispatcher::new(client, Arc::clone(&name), checked_at, status);
        tokio::spawn(dispatcher.run(receiver).with_current_subscriber());
        Self { name, entries: sender }
    }

    /// The name or ARN.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Puts an entry on the bus. An attempt that fails with a temporary error is repeated up to four times. For a parked
    /// message, attempts that are throttled don't count.
    ///
    /// `now` is the system's time.
    ///
    /// # Errors
    /// [`AwsError`] if the bus hasn't confirmed the entry by `until`.
    pub async fn put(
        &self,
        entry: &Entry<'_>,
        lane: Lane,
        now: SystemTime,
        until: Instant,
    ) -> Result<EventId, AwsError> {
        let began = Instant::now();
        let mut attempts = if lane == Lane::Parked { Attempts::five_besides_throttled() } else { Attempts::five() };
        let mut alone = false;
        loop {
            let (result, receiver) = oneshot::channel();
            let waiting = Waiting {
                entry: entry.to_request_entry(&self.name),
                bytes: entry.bytes(),
                lane,
                alone,
                sent_at: now + began.elapsed(),
                until,
                result,
            };
            // If the task has ended, so has the channel for the result.
            let _ = self.entries.send(waiting);
            let no_answer = |_| AwsError::transient("PutEvents: no answer in time");
            let Failure { error, next } = match timeout_at(until, receiver).await.map_err(no_answer)? {
                Ok(Ok(id)) => return Ok(id),
                Ok(Err(failure)) => failure,
                Err(_) => Failure::new(AwsError::transient("PutEvents: the call panicked"), Instant::now(), jitter()),
            };
            match next {
                Next::GiveUp => return Err(error),
                Next::RepeatAlone => {}
                Next::Retry { from, jitter } => match attempts.pause_after(&error, until, jitter) {
                    Some(pause) => sleep_until(from + pause).await,
                    None => return Err(error),
                },
            }
            // A call that was throttled is no reason to suspect one of its entries.
            alone = error.class != ErrorClass::Throttled;
        }
    }
}
