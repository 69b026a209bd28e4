//! Whether the bus is failing. While it is, deliveries are parked without a call to it.

use std::time::{Duration, SystemTime};

use crate::aws::{AwsError, retry::MAX_ATTEMPTS};

/// The failed calls in a row that open the breaker: as many as one delivery's attempts.
const MAX_FAILURES: u32 = MAX_ATTEMPTS;

/// The time from a failure to the next delivery that tries the bus.
const OPEN_TIME: Duration = Duration::from_secs(5);

/// How much earlier than the last failure an entry can have been sent that arrives after it. The times of deliveries at once
/// can differ from the order in which their entries arrive.
const MAX_LAG: Duration = Duration::from_secs(10);

/// A circuit breaker. It opens after five failed calls in a row, and the first call that succeeds closes it.
#[derive(Debug)]
pub struct Breaker {
    /// The failed calls since the last one that succeeded.
    failures: u32,
    last_failure: Option<AwsError>,
    /// When the last call failed, or the last delivery tried the bus while the breaker was open.
    tried_at: SystemTime,
}

impl Default for Breaker {
    fn default() -> Self {
        Self { failures: 0, last_failure: None, tried_at: SystemTime::UNIX_EPOCH }
    }
}

impl Breaker {
    /// Whether the bus is failing.
    pub fn is_open(&self) -> bool {
        self.failures >= MAX_FAILURES
    }

    /// Decides whether a delivery that can be parked tries the bus. While the breaker is open, one does every five seconds.
    ///
    /// # Errors
    /// If the delivery shouldn't try the bus: an error of the same class as the last failure, with that failure in its text.
    pub fn admit(&mut self, now: SystemTime) -> Result<(), AwsError> {
        let Some(failure) = self.last_failure.as_ref().filter(|_| self.is_open()) else { return Ok(()) };
        let is_recent = match now.duration_since(self.tried_at) {
            Ok(since) => since < OPEN_TIME,
            // A delivery that began earlier. If the difference is larger, the clock was set back.
            Err(earlier) => earlier.duration() < MAX_LAG,
        };
        if is_recent {
            let message = format!("PutEvents was not called, because the last calls failed: {failure}");
            return Err(AwsError::new(failure.class, message));
        }
        self.tried_at = now;
        Ok(())
    }

    /// Counts a call that failed at this time.
    pub fn record_failure(&mut self, failure: AwsError, now: SystemTime) {
        self.failures = self.failures.saturating_add(1);
        self.last_failure = Some(failure);
        self.tried_at = now;
    }

    /// Closes the breaker after a call that succeeded. If it was open, returns the last failure.
    pub fn close(&mut self) -> Option<AwsError> {
        let failure = self.last_failure.take().filter(|_| self.is_open());
        self.failures = 0;
        failure
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::ErrorClass;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_760_434_167 + seconds)
    }

    fn unavailable() -> AwsError {
        AwsError::transient("PutEvents: Unavailable")
    }

    /// A breaker that opened at this second.
    fn opened_at(seconds: u64) -> Breaker {
        let mut breaker = Breaker::default();
        (0..5).for_each(|_| breaker.record_failure(unavailable(), at(seconds)));
        breaker
    }

    #[test]
    fn five_failures_in_a_row_open_it_and_a_success_closes_it() {
        let mut breaker = Breaker::default();
        for _ in 0..2 {
            for _ in 0..4 {
                breaker.record_failure(unavailable(), at(0));
                assert!(!breaker.is_open());
                assert_eq!(breaker.admit(at(0)), Ok(()));
            }
            assert_eq!(breaker.close(), None, "it was not open");
        }
        (0..4).for_each(|_| breaker.record_failure(unavailable(), at(0)));
        breaker.record_failure(AwsError::new(ErrorClass::Throttled, "PutEvents: Throttled"), at(0));
        assert!(breaker.is_open());
        let message = "PutEvents was not called, because the last calls failed: PutEvents: Throttled";
        assert_eq!(breaker.admit(at(0)), Err(AwsError::new(ErrorClass::Throttled, message)));
        assert_eq!(breaker.close(), Some(AwsError::new(ErrorClass::Throttled, "PutEvents: Throttled")));
        assert!(!breaker.is_open());
    }

    #[test]
    fn while_it_is_open_one_delivery_in_five_seconds_tries_the_bus() {
        let mut breaker = opened_at(0);
        for (seconds, expected) in [(0, false), (4, false), (5, true), (5, false), (9, false), (10, true)] {
            assert_eq!(breaker.admit(at(seconds)).is_ok(), expected, "at {seconds} s");
        }
        // The time begins anew when the call of such a delivery has failed.
        breaker.record_failure(unavailable(), at(12));
        assert_eq!((breaker.admit(at(16)).is_ok(), breaker.admit(at(17)).is_ok()), (false, true));
    }

    #[test]
    fn a_clock_that_is_set_back_does_not_keep_it_open() {
        assert_eq!(opened_at(3_600).admit(at(0)), Ok(()));
        for (seconds, expected) in [(19, false), (15, false), (11, false), (10, true)] {
            assert_eq!(opened_at(20).admit(at(seconds)).is_ok(), expected, "at {seconds} s");
        }
    }
}
