//! Whether the event bus exists.
//!
//! `PutEvents` succeeds for a bus that doesn't exist, and drops the events. Only `DescribeEventBus` tells the difference,
//! so it is called at start, and then together with the first call of `PutEvents` after five minutes: a bus can be deleted.

use std::time::{Duration, SystemTime};

use aws_sdk_eventbridge::{Client, error::ProvideErrorMetadata};
use tokio::time::Instant;

use super::health::elapsed;
use crate::aws::{AwsError, ErrorClass, retry::retry};

/// The longest time that a check may take.
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
pub async fn check_exists(client: Client, bus: String, until: Instant) -> BusStatus {
    let describe = async || {
        let Err(error) = client.describe_event_bus().name(&bus).send().await else { return Ok(BusStatus::Exists) };
        let is_not_found = error.code() == Some("ResourceNotFoundException");
        let error = AwsError::from_sdk("DescribeEventBus", &error);
        // If EventBridge rejects the name, no bus can have it.
        if is_not_found || error.class == ErrorClass::Rejected { Ok(BusStatus::Missing) } else { Err(error) }
    };
    retry("DescribeEventBus", until, describe).await.unwrap_or_else(BusStatus::Unknown)
}

/// The outcome of the last check, and the time of the next.
#[derive(Debug)]
pub struct Check {
    /// Whether the bus is known to be missing: the last check with a clear outcome found none.
    pub is_missing: bool,
    /// Whether the warning about checks that are not permitted has been logged.
    has_warned: bool,
    /// When the last check began.
    began: SystemTime,
    /// The time from then to the next check.
    interval: Duration,
}

impl Check {
    /// The state after the check at start, which began at this time and had this outcome.
    pub fn new(began: SystemTime, status: &BusStatus) -> Self {
        let mut check = Self { is_missing: false, has_warned: false, began, interval: INTERVAL };
        check.record(status);
        check
    }

    /// Whether a check should begin.
    pub fn is_due(&self, now: SystemTime) -> bool {
        elapsed(self.began, now) >= self.interval
    }

    /// Records that a check begins. If it is cancelled, the next one follows soon.
    pub fn begin(&mut self, now: SystemTime) {
        (self.began, self.interval) = (now, SHORT_INTERVAL);
    }

    /// Records the outcome of the check that began last.
    pub fn record(&mut self, status: &BusStatus) {
        let is_temporary = matches!(status, BusStatus::Unknown(error) if error.class.is_temporary());
        match status {
            BusStatus::Exists | BusStatus::Missing => self.is_missing = *status == BusStatus::Missing,
            BusStatus::Unknown(error) => {
                let hint = if is_temporary { "" } else { ": if it is missing, EventBridge drops the events" };
                if is_temporary || !self.has_warned {
                    tracing::warn!(%error, "could not check whether the event bus exists{hint}");
                }
                self.has_warned |= !is_temporary;
            }
        }
        self.interval = if self.is_missing || is_temporary { SHORT_INTERVAL } else { INTERVAL };
    }
}
