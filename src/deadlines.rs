//! The times by which the stages of an invocation must end.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

/// The longest time until the response is due. The sender waits about 10 s, of which a cold start may take 2 s.
const RESPONSE_TIME: Duration = Duration::from_millis(7_500);

/// The longest time that copying a refused delivery may delay its response. A copy can be made at the next try instead.
const COPY_TIME: Duration = Duration::from_secs(3);

/// The least time between the response and the end of the invocation, which Lambda sets.
const DEADLINE_MARGIN: Duration = Duration::from_millis(300);

/// The time after which an overdue stage is cancelled. Every stage ends in time by itself, and its own error is more
/// specific than a cancellation.
const GRACE_PERIOD: Duration = Duration::from_millis(100);

/// An event that the bus hasn't accepted is parked after this fraction of the time for the response.
const PARK_AFTER: f64 = 2.0 / 3.0;

/// Parked events are forwarded during this fraction of the time for the response. The rest is for the log lines of a large
/// batch.
const DRAIN_FOR: f64 = 0.9;

// The sender must get the response before it stops waiting, and Lambda must get it before it ends the process.
const _: () = assert!(RESPONSE_TIME.as_millis() + GRACE_PERIOD.as_millis() < 9_000);
const _: () = assert!(GRACE_PERIOD.as_millis() < DEADLINE_MARGIN.as_millis());

/// The deadlines of one invocation.
#[derive(Debug, Clone, Copy)]
pub struct Deadlines {
    /// When the invocation began, by the system's clock.
    pub began: SystemTime,
    started: Instant,
    /// When the response is due.
    pub response: Instant,
}

impl Deadlines {
    /// The deadlines of an invocation that begins now, at the time `now`, and that Lambda ends at `deadline_ms`
    /// milliseconds after the Unix epoch.
    #[must_use]
    pub fn new(now: SystemTime, deadline_ms: u64) -> Self {
        let started = Instant::now();
        let deadline = SystemTime::UNIX_EPOCH + Duration::from_millis(deadline_ms);
        // `cargo lambda watch` sends a duration instead of a time, so ignore a deadline that has already passed.
        let left = deadline.duration_since(now).map_or(RESPONSE_TIME, |left| left.saturating_sub(DEADLINE_MARGIN));
        Self { began: now, started, response: started + left.min(RESPONSE_TIME) }
    }

    /// When an event that the bus hasn't accepted is parked.
    #[must_use]
    pub fn park_at(&self) -> Instant {
        self.started + (self.response - self.started).mul_f64(PARK_AFTER)
    }

    /// Until when parked events are forwarded. Those that the bus hasn't accepted by then stay in the queue.
    #[must_use]
    pub fn drain_until(&self) -> Instant {
        self.started + (self.response - self.started).mul_f64(DRAIN_FOR)
    }

    /// When a copy of a refused delivery must be in the queue, if copying begins now.
    #[must_use]
    pub fn copy_until(&self) -> Instant {
        self.response.min(Instant::now() + COPY_TIME)
    }

    /// When an overdue stage is cancelled.
    #[must_use]
    pub fn cancel_at(&self) -> Instant {
        self.response + GRACE_PERIOD
    }

    /// The present time, by the system's clock.
    #[must_use]
    pub fn now(&self) -> SystemTime {
        self.began + self.elapsed()
    }

    /// The time since the invocation began.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[test]
    fn deadlines_follow_from_the_time_that_lambda_leaves() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_760_434_167);
        let now_ms = 1_760_434_167_000;
        for (description, deadline_ms, response, park) in [
            ("a duration, as `cargo lambda watch` sends it", 600_000, 7_500, 5_000),
            ("a deadline that has passed", now_ms - 1, 7_500, 5_000),
            ("a deadline now", now_ms, 0, 0),
            ("the margin before the deadline", now_ms + 300, 0, 0),
            ("a millisecond more than the margin", now_ms + 301, 1, 0),
            ("three seconds", now_ms + 3_000, 2_700, 1_800),
            ("the longest response time and the margin", now_ms + 7_800, 7_500, 5_000),
            ("ten seconds", now_ms + 10_000, 7_500, 5_000),
            ("a quarter of an hour", now_ms + 900_000, 7_500, 5_000),
            ("the largest number", u64::MAX, 7_500, 5_000),
        ] {
            let deadlines = Deadlines::new(now, deadline_ms);
            assert_eq!(deadlines.began, now, "{description}");
            assert_eq!((deadlines.response - deadlines.started).as_millis(), response, "{description}");
            assert_eq!((deadlines.park_at() - deadlines.started).as_millis(), park, "{description}");
            assert_eq!((deadlines.drain_until() - deadlines.started).as_millis(), response * 9 / 10, "{description}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_copy_ends_with_the_response_at_the_latest() {
        let now = SystemTime::UNIX_EPOCH;
        let deadlines = Deadlines::new(now, 10_000);
        let passed = async |seconds| {
            advance(Duration::from_secs(seconds)).await;
            (deadlines.elapsed().as_secs(), (deadlines.copy_until() - deadlines.started).as_millis())
        };
        assert_eq!(passed(1).await, (1, 4_000));
        assert_eq!(passed(5).await, (6, 7_500));
        assert_eq!((deadlines.cancel_at() - deadlines.started).as_millis(), 7_600);
    }
}
