//! A circuit breaker. It decides whether a delivery tries the bus, or is parked at once because the bus has just failed.
//! Each execution environment has its own.
//!
//! A delivery that the bus doesn't accept spends up to five seconds on retries before it is parked. If every delivery
//! during an outage did that, 1,000 deliveries a second would occupy 5,000 environments.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use tokio::time::Instant;

use crate::aws_error::AwsError;

/// The time from a failure to the next delivery that tries the bus.
const OPEN_TIME: Duration = Duration::from_secs(5);

/// The longest time for which the one delivery that an open breaker admits tries the bus.
const PROBE_TIME: Duration = Duration::from_secs(2);

/// The breaker is open after a temporary error, and closed at first and after any other result.
#[derive(Debug, Default)]
pub struct Breaker(Mutex<Option<Failure>>);

#[derive(Debug)]
struct Failure {
    error: AwsError,
    /// When the next delivery tries the bus.
    probe_at: SystemTime,
}

impl Breaker {
    /// Returns the time until which a delivery may try the bus. While the breaker is open, it admits one delivery every five
    /// seconds, for at most two seconds.
    ///
    /// # Errors
    /// If the delivery shouldn't try the bus: an error of the same class as the last failure, with that failure in its text.
    pub fn admit(&self, now: SystemTime, until: Instant) -> Result<Instant, AwsError> {
        let mut failure = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(failure) = &mut *failure else { return Ok(until) };
        // If the time is further in the future than that, the clock was set back, so it is ignored.
        if now < failure.probe_at && failure.probe_at <= now + OPEN_TIME {
            let message = format!("PutEvents was not called, because the last call failed: {}", failure.error);
            return Err(AwsError::new(failure.error.class, message));
        }
        // Of several deliveries at once, only one tries the bus.
        failure.probe_at = now + OPEN_TIME;
        Ok(until.min(Instant::now() + PROBE_TIME))
    }

    /// Records the result of a delivery whose try ended at `now`. Only a temporary error opens the breaker: other errors are
    /// not retried, so they take little time.
    pub fn record(&self, now: SystemTime, error: Option<&AwsError>) {
        let failure = error
            .filter(|error| error.class.is_temporary())
            .map(|error| Failure { error: error.clone(), probe_at: now + OPEN_TIME });
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = failure;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws_error::ErrorClass;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_760_434_167 + seconds)
    }

    /// Whether a delivery at this second tries the bus: not at all, for a short time, or for as long as it may.
    #[track_caller]
    fn tries(breaker: &Breaker, seconds: u64) -> &'static str {
        let until = Instant::now() + Duration::from_mins(1);
        match breaker.admit(at(seconds), until) {
            Ok(limit) if limit == until => "yes",
            Ok(limit) => {
                let now = Instant::now();
                assert!(now < limit && limit <= now + PROBE_TIME);
                "for a short time"
            }
            Err(error) => {
                let message = "PutEvents was not called, because the last call failed: PutEvents: Unavailable";
                assert_eq!(error, AwsError::transient(message));
                "no"
            }
        }
    }

    #[test]
    fn after_a_failure_one_delivery_in_five_seconds_tries_the_bus() {
        let breaker = Breaker::default();
        assert_eq!(tries(&breaker, 0), "yes");
        breaker.record(at(0), Some(&AwsError::transient("PutEvents: Unavailable")));
        for (seconds, expected) in
            [(0, "no"), (4, "no"), (5, "for a short time"), (5, "no"), (9, "no"), (10, "for a short time")]
        {
            assert_eq!(tries(&breaker, seconds), expected, "at {seconds} s");
        }
        breaker.record(at(12), Some(&AwsError::transient("PutEvents: Unavailable")));
        assert_eq!((tries(&breaker, 16), tries(&breaker, 17)), ("no", "for a short time"));
        breaker.record(at(17), None);
        assert_eq!(tries(&breaker, 17), "yes");
    }

    #[test]
    fn only_temporary_errors_open_it() {
        for (class, expected) in [
            (ErrorClass::Throttled, true),
            (ErrorClass::Transient, true),
            (ErrorClass::Misconfigured, false),
            (ErrorClass::Rejected, false),
        ] {
            let breaker = Breaker::default();
            breaker.record(at(0), Some(&AwsError::new(class, "it failed")));
            let opened = breaker.admit(at(0), Instant::now()).err().map(|error| error.class);
            assert_eq!(opened, expected.then_some(class));
        }
    }

    #[test]
    fn a_clock_that_is_set_back_does_not_keep_it_open() {
        let breaker = Breaker::default();
        breaker.record(at(3_600), Some(&AwsError::transient("PutEvents: Unavailable")));
        assert_eq!(tries(&breaker, 0), "for a short time");
    }
}
