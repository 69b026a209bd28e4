//! Whether the event bus exists.
//!
//! `PutEvents` succeeds for a bus that doesn't exist, and drops the events. Only `DescribeEventBus` tells the difference,
//! so the function calls it at start, and with a call of `PutEvents` every five minutes: a bus can be deleted later.

use std::time::{Duration, SystemTime};

use aws_sdk_eventbridge::{Client, operation::describe_event_bus::DescribeEventBusError};
use tokio::time::Instant;

use crate::aws::{AwsError, ErrorClass, retry::retry};

/// The longest time that a check takes.
pub const CHECK_TIME: Duration = Duration::from_secs(1);

/// The time from one check to the next.
const INTERVAL: Duration = Duration::from_mins(5);

/// The time from one check to the next while the bus is missing, or after a check that failed with a temporary error.
const SHORT_INTERVAL: Duration = Duration::from_secs(10);

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

/// Checks whether the bus with this name or ARN exists. Failed calls are repeated until `until`.
pub async fn check_exists(client: &Client, bus: &str, until: Instant) -> BusStatus {
    retry("DescribeEventBus", until, || describe(client, bus)).await.unwrap_or_else(BusStatus::Unknown)
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

/// The outcome of the last check, and the time of the next.
#[derive(Debug)]
pub struct Check {
    /// Whether the last check with a clear outcome found no bus.
    missing: bool,
    /// Whether the warning about checks that always fail has been logged.
    warned: bool,
    /// When the last check began.
    began: SystemTime,
    /// The time from then to the next check.
    interval: Duration,
}

impl Check {
    /// The state after the check at start, which began at this time and had this outcome.
    pub fn new(began: SystemTime, status: &BusStatus) -> Self {
        let mut check = Self { missing: false, warned: false, began, interval: INTERVAL };
        check.record(status);
        check
    }

    /// Whether the bus is known to be missing.
    pub fn is_missing(&self) -> bool {
        self.missing
    }

    /// Whether a check should begin.
    pub fn is_due(&self, now: SystemTime) -> bool {
        match now.duration_since(self.began) {
            Ok(age) => age >= self.interval,
            // The entries of deliveries at the same time can arrive in another order than that of their times. If the
            // difference is larger, the clock was set back.
            Err(earlier) => earlier.duration() >= SHORT_INTERVAL,
        }
    }

    /// Records that a check begins.
    pub fn begin(&mut self, now: SystemTime) {
        self.began = now;
        self.interval = SHORT_INTERVAL;
    }

    /// Records that a check was cancelled, so that the next one is due.
    pub fn cancel(&mut self) {
        self.interval = Duration::ZERO;
    }

    /// Records the outcome of the check that began last.
    pub fn record(&mut self, status: &BusStatus) {
        let mut is_temporary = false;
        match status {
            BusStatus::Exists => self.missing = false,
            BusStatus::Missing => self.missing = true,
            BusStatus::Unknown(error) if error.class.is_temporary() => {
                tracing::warn!(%error, "could not check whether the event bus exists");
                is_temporary = true;
            }
            BusStatus::Unknown(error) => {
                if !self.warned {
                    tracing::warn!(
                        %error,
                        "could not check whether the event bus exists: if it is missing, EventBridge drops the events"
                    );
                }
                self.warned = true;
            }
        }
        self.interval = if self.missing || is_temporary { SHORT_INTERVAL } else { INTERVAL };
    }
}
