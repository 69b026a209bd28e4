//! Whether the bus is failing, as its calls show. This decides whether deliveries try it, and how many calls run at once.

use std::time::{Duration, SystemTime};

use super::Lane;
use crate::aws::retry::{Backoff, MAX_ATTEMPTS};
use crate::aws::{AwsError, ErrorClass};

/// The most calls at once for parked messages. With ten entries each and 50 ms a call, they put 2,000 events a second on the
/// bus.
const MAX_CALLS: usize = 10;

/// While the breaker is open: the time from a failure to the next delivery that tries the bus.
const OPEN_TIME: Duration = Duration::from_secs(5);

/// Deliveries at once can arrive in another order than that in which they began. If the times differ by more than this, the
/// clock was set back.
const MAX_LAG: Duration = Duration::from_secs(10);

/// If the bus has not answered for longer than this, Lambda may have frozen the process in the meantime.
const IDLE_TIME: Duration = Duration::from_secs(1);

/// A circuit breaker for deliveries, and the pace of parked messages.
///
/// The breaker opens after five calls in a row in which the bus failed, as many as one delivery's attempts, and the first call
/// in which it didn't fail closes it. The pace is the number of calls at once for parked messages. Like TCP's congestion
/// window, it is halved after each call in which the bus failed, and rises by one after as many calls in a row without a
/// failure. Lambda runs several environments, and each has its own pace. Together they approach the rate that the bus accepts.
#[derive(Debug, Default)]
pub struct Health {
    /// Counts the calls in a row in which the bus failed.
    backoff: Backoff,
    last_failure: Option<AwsError>,
    /// When a call last failed, or a delivery last tried the bus while the breaker was open.
    tried_at: Option<SystemTime>,
    /// When a call last ended.
    answered_at: Option<SystemTime>,
    /// How much lower the pace is than the highest.
    fewer_calls: usize,
    /// The calls in a row without a failure since the pace last changed.
    successes: usize,
}

impl Health {
    /// How many calls may run at once, if the next one is for this lane. Deliveries don't wait for the pace: the breaker limits
    /// their calls, and twice as many may run, so that they don't wait for those of parked messages. While the breaker is open,
    /// parked messages make a call only if no other is running, because the failures that opened it lowered the pace to one.
    pub fn calls_at_once(&self, lane: Lane) -> usize {
        match lane {
            Lane::Delivery | Lane::LastResort => 2 * MAX_CALLS,
            Lane::Parked => MAX_CALLS - self.fewer_calls,
        }
    }

    /// Whether the breaker is open.
    pub fn is_open(&self) -> bool {
        self.backoff.failures >= MAX_ATTEMPTS
    }

    /// Decides whether a delivery that can be parked tries the bus. While the breaker is open, one does every five seconds.
    ///
    /// # Errors
    /// If the delivery shouldn't try the bus: an error of the same class as the last failure, with that failure in its text.
    pub fn admit(&mut self, now: SystemTime) -> Result<(), AwsError> {
        let Some(failure) = self.last_failure.as_ref().filter(|_| self.is_open()) else { return Ok(()) };
        if self.tried_at.is_some_and(|tried_at| elapsed(tried_at, now) < OPEN_TIME) {
            let message = format!("PutEvents was not called, because the last calls failed: {failure}");
            return Err(AwsError::new(failure.class, message));
        }
        self.tried_at = Some(now);
        Ok(())
    }

    /// Whether Lambda may have frozen the process since the last call, or since the start if there has been none.
    pub fn is_idle(&self, now: SystemTime) -> bool {
        self.answered_at.is_none_or(|last| elapsed(last, now) > IDLE_TIME)
    }

    /// Records that a call has ended at this time, and why the bus seems to be failing. Returns how long to pause.
    pub fn record(&mut self, failure: Option<AwsError>, was_idle: bool, now: SystemTime) -> Duration {
        self.answered_at = Some(now);
        match failure {
            // The connection died, or the signature expired, while the process was frozen. The next attempt tells more.
            Some(AwsError { class: ErrorClass::Interrupted, .. }) if was_idle => {
                self.tried_at = None;
                Duration::ZERO
            }
            Some(failure) => {
                (self.last_failure, self.tried_at) = (Some(failure), Some(now));
                let calls = 1.max((MAX_CALLS - self.fewer_calls) / 2);
                (self.fewer_calls, self.successes) = (MAX_CALLS - calls, 0);
                self.backoff.next_pause()
            }
            None => {
                // After an outage, the bus takes as much as before it. A bus that throttles doesn't.
                let was_down =
                    self.is_open() && self.last_failure.take().is_some_and(|last| last.class != ErrorClass::Throttled);
                (self.backoff, self.successes) = (Backoff::default(), self.successes + 1);
                if was_down {
                    self.fewer_calls = 0;
                } else if self.successes + self.fewer_calls >= MAX_CALLS {
                    (self.fewer_calls, self.successes) = (self.fewer_calls.saturating_sub(1), 0);
                }
                Duration::ZERO
            }
        }
    }
}

/// The time from one moment to another, by the system's clock. If the clock was set back in the meantime, it is zero up to ten
/// seconds, and very long beyond.
pub fn elapsed(from: SystemTime, to: SystemTime) -> Duration {
    match to.duration_since(from) {
        Ok(elapsed) => elapsed,
        Err(ahead) if ahead.duration() < MAX_LAG => Duration::ZERO,
        Err(_) => Duration::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_760_434_167 + seconds)
    }

    fn error(class: ErrorClass) -> AwsError {
        AwsError::new(class, "PutEvents: it failed")
    }

    fn pace(health: &Health) -> usize {
        MAX_CALLS - health.fewer_calls
    }

    impl Health {
        /// Records this many failed calls at this second.
        fn fail(&mut self, count: usize, class: ErrorClass, seconds: u64) {
            for _ in 0..count {
                self.record(Some(error(class)), false, at(seconds));
            }
        }

        fn succeed(&mut self, count: usize) {
            for _ in 0..count {
                self.record(None, false, at(0));
            }
        }
    }

    /// A bus that was failing at this second.
    fn failing_at(seconds: u64) -> Health {
        let mut health = Health::default();
        health.fail(5, ErrorClass::Transient, seconds);
        health
    }

    #[test]
    fn five_failures_in_a_row_open_the_breaker_and_a_success_closes_it() {
        let mut health = Health::default();
        for _ in 0..2 {
            health.fail(4, ErrorClass::Transient, 0);
            assert!(!health.is_open());
            assert_eq!(health.admit(at(0)), Ok(()));
            health.succeed(1);
        }
        health.fail(4, ErrorClass::Transient, 0);
        health.fail(1, ErrorClass::Throttled, 0);
        assert!(health.is_open());
        let message = "PutEvents was not called, because the last calls failed: PutEvents: it failed";
        assert_eq!(health.admit(at(0)), Err(AwsError::new(ErrorClass::Throttled, message)));
        health.succeed(1);
        assert!(!health.is_open());
        assert_eq!(health.admit(at(0)), Ok(()));
    }

    #[test]
    fn while_the_breaker_is_open_one_delivery_in_five_seconds_tries_the_bus() {
        let mut health = failing_at(0);
        for (seconds, expected) in [(0, false), (4, false), (5, true), (5, false), (9, false), (10, true)] {
            assert_eq!(health.admit(at(seconds)).is_ok(), expected, "at {seconds} s");
        }
        // The time begins anew when the call of such a delivery has failed.
        health.fail(1, ErrorClass::Transient, 12);
        assert_eq!((health.admit(at(16)).is_ok(), health.admit(at(17)).is_ok()), (false, true));
    }

    #[test]
    fn a_clock_that_is_set_back_does_not_keep_the_breaker_open() {
        assert_eq!(failing_at(3_600).admit(at(0)), Ok(()));
        for (seconds, expected) in [(19, false), (15, false), (11, false), (10, true)] {
            assert_eq!(failing_at(20).admit(at(seconds)).is_ok(), expected, "at {seconds} s");
        }
    }

    #[test]
    fn an_interrupted_call_does_not_use_up_the_turn_of_a_delivery() {
        let mut health = failing_at(0);
        assert_eq!((health.admit(at(5)).is_ok(), health.admit(at(5)).is_ok()), (true, false));
        health.record(Some(error(ErrorClass::Interrupted)), true, at(5));
        assert_eq!((health.admit(at(5)).is_ok(), health.admit(at(5)).is_ok()), (true, false));
    }

    #[test]
    fn only_a_process_that_was_idle_ignores_an_interrupted_call() {
        for (class, was_idle, expected) in [
            (ErrorClass::Interrupted, true, false),
            (ErrorClass::Interrupted, false, true),
            (ErrorClass::Transient, true, true),
        ] {
            let mut health = Health::default();
            for _ in 0..5 {
                health.record(Some(error(class)), was_idle, at(0));
            }
            assert_eq!(health.is_open(), expected, "{class:?}, idle: {was_idle}");
        }
        let mut health = Health::default();
        assert!(health.is_idle(at(0)), "there has been no call yet");
        health.succeed(1);
        assert_eq!((health.is_idle(at(1)), health.is_idle(at(2))), (false, true));
    }

    #[test]
    fn a_failure_halves_the_number_of_calls_and_a_round_of_successes_raises_it_by_one() {
        let mut health = Health::default();
        assert_eq!(pace(&health), 10);
        for expected in [5, 2, 1, 1] {
            health.fail(1, ErrorClass::Throttled, 0);
            assert_eq!(pace(&health), expected);
        }
        for expected in [2, 3, 4, 5, 6, 7, 8, 9, 10, 10] {
            health.succeed(pace(&health));
            assert_eq!(pace(&health), expected);
        }
        health.fail(1, ErrorClass::Throttled, 0);
        health.succeed(4);
        health.fail(1, ErrorClass::Throttled, 0);
        health.succeed(1);
        assert_eq!(pace(&health), 2, "the successes before a failure don't count");
    }

    #[test]
    fn deliveries_do_not_wait_for_the_pace_and_parked_messages_make_one_call_while_the_breaker_is_open() {
        let mut health = Health::default();
        let calls =
            |health: &Health| [Lane::Delivery, Lane::LastResort, Lane::Parked].map(|lane| health.calls_at_once(lane));
        assert_eq!(calls(&health), [20, 20, 10]);
        health.fail(1, ErrorClass::Throttled, 0);
        assert_eq!(calls(&health), [20, 20, 5]);
        health.succeed(5);
        health.fail(5, ErrorClass::Transient, 0);
        assert_eq!(calls(&health), [20, 20, 1]);
    }

    #[test]
    fn after_an_outage_but_not_after_throttling_the_first_success_restores_the_pace() {
        for (class, failures, expected) in
            [(ErrorClass::Transient, 5, 10), (ErrorClass::Throttled, 5, 2), (ErrorClass::Transient, 4, 2)]
        {
            let mut health = Health::default();
            health.fail(failures, class, 0);
            health.succeed(1);
            assert_eq!(pace(&health), expected, "{failures} × {class:?}");
        }
    }

    #[test]
    fn pauses_grow_with_each_failure_and_are_short_again_after_a_success() {
        let longest = |failures: usize, successes: usize| {
            let pause = |_| {
                let mut health = Health::default();
                health.fail(failures, ErrorClass::Transient, 0);
                health.succeed(successes);
                health.record(Some(error(ErrorClass::Transient)), false, at(0))
            };
            (0..200).map(pause).max().unwrap().as_millis()
        };
        assert!((80..=100).contains(&longest(0, 0)));
        assert!((1_300..=1_600).contains(&longest(8, 0)));
        assert!((80..=100).contains(&longest(8, 1)));
    }
}
