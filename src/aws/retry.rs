//! Retries of a call to an AWS service.
//!
//! The SDK's own retries are switched off: they ignore the time that is left for the response, and they ignore entries
//! that failed in a call that succeeded.

use std::{pin::pin, time::Duration};

use tokio::time::{Instant, sleep, timeout_at};

use super::error::AwsError;

/// The most attempts of one call.
pub const MAX_ATTEMPTS: u32 = 5;

/// The limit of the first pause.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The largest limit of a pause.
const LONGEST_PAUSE: Duration = Duration::from_millis(1_600);

/// Counts failed attempts, and says how long to pause after each. Pauses are random up to a limit ("full jitter"), so that
/// functions that failed together don't retry together. The limit doubles with each pause.
#[derive(Debug, Default)]
pub struct Backoff {
    /// The number of failed attempts.
    pub failures: u32,
}

impl Backoff {
    /// Counts a failed attempt. Returns the pause after it.
    pub fn next_pause(&mut self) -> Duration {
        let limit = LONGEST_PAUSE.min(FIRST_PAUSE * 2_u32.saturating_pow(self.failures));
        self.failures = self.failures.saturating_add(1);
        limit.mul_f64(fastrand::f64())
    }
}

/// Makes attempts until one succeeds, fails for good, is the fifth, or `until` has come.
///
/// # Errors
/// The error of the last attempt, or that it was not answered in time.
pub async fn retry<T, F>(operation: &'static str, until: Instant, mut attempt: impl FnMut() -> F) -> Result<T, AwsError>
where
    F: Future<Output = Result<T, AwsError>>,
{
    let mut backoff = Backoff::default();
    loop {
        let result = {
            // Pinned in place: the SDK's futures are large, and moving them costs more than the rest of this function.
            let attempt = pin!(attempt());
            timeout_at(until, attempt).await
        };
        let error = match result {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => error,
            Err(_) => AwsError::transient(format!("{operation}: no answer in time")),
        };
        let pause = backoff.next_pause();
        let is_last = backoff.failures == MAX_ATTEMPTS || Instant::now() + pause >= until;
        if is_last || !error.class.is_temporary() {
            return Err(error);
        }
        sleep(pause).await;
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, future::pending};

    use super::*;
    use crate::aws::ErrorClass;

    fn error(class: ErrorClass) -> AwsError {
        AwsError::new(class, "it failed")
    }

    fn transient() -> AwsError {
        error(ErrorClass::Transient)
    }

    fn after(seconds: u64) -> Instant {
        Instant::now() + Duration::from_secs(seconds)
    }

    /// Retries a call that gets the number of the attempt, from 1. Returns the number of attempts and the result.
    async fn attempts(
        until: Instant,
        call: impl AsyncFn(u32) -> Result<u32, AwsError>,
    ) -> (u32, Result<u32, AwsError>) {
        let count = Cell::new(0);
        let result = retry("PutEvents", until, || {
            assert!(Instant::now() <= until, "an attempt begins before the time is over");
            count.set(count.get() + 1);
            call(count.get())
        })
        .await;
        (count.get(), result)
    }

    #[tokio::test(start_paused = true)]
    async fn only_temporary_errors_are_retried_at_most_five_times() {
        assert_eq!(attempts(after(60), async |_| Err(transient())).await, (5, Err(transient())));
        for succeeds_at in 1..=5 {
            let call = async |attempt| if attempt == succeeds_at { Ok(attempt) } else { Err(transient()) };
            assert_eq!(attempts(after(60), call).await, (succeeds_at, Ok(succeeds_at)));
        }
        for class in [ErrorClass::Rejected, ErrorClass::Misconfigured] {
            assert_eq!(attempts(after(60), async |_| Err(error(class))).await, (1, Err(error(class))));
            let call = async |attempt| Err(if attempt == 2 { error(class) } else { transient() });
            assert_eq!(attempts(after(60), call).await, (2, Err(error(class))));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_are_random_and_their_limit_doubles() {
        let mut longest = [Duration::ZERO; 4];
        for _ in 0..200 {
            let times = std::sync::Mutex::new(Vec::new());
            let call = async |_| {
                times.lock().unwrap().push(Instant::now());
                Err(transient())
            };
            attempts(after(60), call).await.1.unwrap_err();
            for (longest, pair) in longest.iter_mut().zip(times.into_inner().unwrap().windows(2)) {
                *longest = (pair[1] - pair[0]).max(*longest);
            }
        }
        for (longest, limit) in longest.into_iter().zip([100, 200, 400, 800]) {
            // The timer counts whole milliseconds, and rounds up.
            let range = Duration::from_millis(limit * 9 / 10)..=Duration::from_millis(limit + 1);
            assert!(range.contains(&longest), "{longest:?} of {limit} ms");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_lasts_longer_than_the_time_that_is_left() {
        let is_in_time = |seconds, began: Instant| began.elapsed() <= Duration::from_millis(seconds * 1_000 + 1);
        for seconds in [0, 1, 3, 60] {
            let began = Instant::now();
            let no_answer = AwsError::transient("PutEvents: no answer in time");
            assert_eq!(attempts(after(seconds), async |_| pending().await).await, (1, Err(no_answer)), "{seconds} s");
            assert!(is_in_time(seconds, began), "{seconds} s: {:?}", began.elapsed());

            // Each attempt lasts a second: the last one is cut off.
            let began = Instant::now();
            let call = async |_| {
                sleep(Duration::from_secs(1)).await;
                Err(transient())
            };
            attempts(after(seconds), call).await.1.unwrap_err();
            assert!(is_in_time(seconds, began), "{seconds} s: {:?}", began.elapsed());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn there_is_no_pause_that_would_end_too_late() {
        let began = Instant::now();
        assert_eq!(attempts(began, async |_| Err(transient())).await, (1, Err(transient())));
        assert_eq!(began.elapsed(), Duration::ZERO);
    }
}
