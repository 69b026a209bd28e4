//! Whether the event bus exists.
//!
//! `PutEvents` succeeds for a bus that doesn't exist, and drops the events. Only `DescribeEventBus` tells the difference,
//! so the function calls it at start and then every five minutes: a bus can be deleted later.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use aws_sdk_eventbridge::{Client, operation::describe_event_bus::DescribeEventBusError};
use tokio::time::Instant;

use crate::{
    aws_error::{AwsError, ErrorClass},
    retry::retry,
};

/// The longest time that a check takes.
pub const CHECK_TIME: Duration = Duration::from_secs(1);

/// The time from one check to the next.
const CHECK_INTERVAL: Duration = Duration::from_mins(5);

/// The time from a check that failed with a temporary error to the next.
const CHECK_INTERVAL_AFTER_ERROR: Duration = Duration::from_secs(10);

/// The outcome of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BusStatus {
    /// The bus exists.
    Exists,
    /// There is no such bus.
    Missing,
    /// The check itself failed.
    Unknown(AwsError),
}

/// The outcome of the last check, and the time of the next.
#[derive(Debug)]
pub struct BusCheck {
    /// Whether the last check with a clear outcome found no bus.
    missing: AtomicBool,
    /// Whether the warning about checks that always fail has been logged.
    warned: AtomicBool,
    due: Mutex<SystemTime>,
}

impl Default for BusCheck {
    fn default() -> Self {
        Self {
            missing: AtomicBool::new(false),
            warned: AtomicBool::new(false),
            due: Mutex::new(SystemTime::UNIX_EPOCH),
        }
    }
}

impl BusCheck {
    /// Checks whether the bus exists, and remembers the outcome.
    pub async fn run(&self, client: &Client, bus: &str, now: SystemTime, until: Instant) -> BusStatus {
        // For a check that is due, `take_due` has set this. Other checks also postpone the next one.
        self.set_due(now + CHECK_INTERVAL);
        let until = until.min(Instant::now() + CHECK_TIME);
        let status = retry("DescribeEventBus", until, || describe(client, bus)).await;
        let status = status.unwrap_or_else(BusStatus::Unknown);
        match &status {
            BusStatus::Exists => self.missing.store(false, Ordering::Relaxed),
            BusStatus::Missing => self.missing.store(true, Ordering::Relaxed),
            BusStatus::Unknown(error) if error.class.is_temporary() => {
                tracing::warn!(%error, "could not check whether the event bus exists");
                self.set_due(now + CHECK_INTERVAL_AFTER_ERROR);
            }
            BusStatus::Unknown(error) => {
                if !self.warned.swap(true, Ordering::Relaxed) {
                    tracing::warn!(
                        %error,
                        "could not check whether the event bus exists: if it is missing, EventBridge drops the events"
                    );
                }
            }
        }
        status
    }

    /// Whether the bus is known to be missing.
    pub fn is_missing(&self) -> bool {
        self.missing.load(Ordering::Relaxed)
    }

    /// Whether a check is due. Of several deliveries at once, only one gets `true`.
    pub fn take_due(&self, now: SystemTime) -> bool {
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        // A time further away than the interval means that the clock was set back.
        let is_due = now >= *due || *due > now + CHECK_INTERVAL;
        if is_due {
            *due = now + CHECK_INTERVAL;
        }
        is_due
    }

    fn set_due(&self, due: SystemTime) {
        *self.due.lock().unwrap_or_else(PoisonError::into_inner) = due;
    }
}

async fn describe(client: &Client, bus: &str) -> Result<BusStatus, AwsError> {
    let Err(error) = client.describe_event_bus().name(bus).send().await else {
        return Ok(BusStatus::Exists);
    };
    if error.as_service_error().is_some_and(DescribeEventBusError::is_resource_not_found_exception) {
        return Ok(BusStatus::Missing);
    }
    let error = AwsError::from_sdk("DescribeEventBus", &error);
    // If EventBridge rejects the name, no bus can have it.
    if error.class == ErrorClass::Rejected { Ok(BusStatus::Missing) } else { Err(error) }
}
