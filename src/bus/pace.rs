//! How many calls run at once, and how long parked messages wait between calls. A failing call lowers the pace, and calls
//! that succeed raise it.

use std::time::Duration;

use crate::aws::retry::{Backoff, jitter};

/// The most calls at once. With ten entries each and 50 ms a call, they put 2,000 events a second on the bus.
const MAX_CALLS: usize = 10;

/// The pace of one environment. Like TCP's congestion window, the number of calls at once is halved after each call that was
/// throttled or failed, and rises by one after as many calls in a row succeeded. It is never less than one.
///
/// Lambda runs several environments, and each has its own pace. Together they approach the rate that the bus accepts.
#[derive(Debug)]
pub struct Pace {
    calls: usize,
    /// The calls that succeeded since the last change.
    successes: usize,
    backoff: Backoff,
}

impl Default for Pace {
    fn default() -> Self {
        Self { calls: MAX_CALLS, successes: 0, backoff: Backoff::default() }
    }
}

impl Pace {
    /// How many calls may run at once.
    pub fn calls_at_once(&self) -> usize {
        self.calls
    }

    /// Counts a call that succeeded.
    pub fn speed_up(&mut self) {
        self.backoff = Backoff::default();
        self.successes += 1;
        if self.successes >= self.calls {
            *self = Self { calls: MAX_CALLS.min(self.calls + 1), ..Self::default() };
        }
    }

    /// Lowers the number of calls after one that was throttled or failed. Returns how long parked messages must wait.
    pub fn slow_down(&mut self) -> Duration {
        self.calls = 1.max(self.calls / 2);
        self.successes = 0;
        self.backoff.next_pause(jitter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_halves_the_number_and_a_round_of_successes_raises_it_by_one() {
        let mut pace = Pace::default();
        assert_eq!(pace.calls_at_once(), 10);
        for expected in [5, 2, 1, 1] {
            pace.slow_down();
            assert_eq!(pace.calls_at_once(), expected);
        }
        for expected in [2, 3, 4, 5, 6, 7, 8, 9, 10, 10] {
            (0..pace.calls_at_once()).for_each(|_| pace.speed_up());
            assert_eq!(pace.calls_at_once(), expected);
        }
        pace.slow_down();
        (0..4).for_each(|_| pace.speed_up());
        pace.slow_down();
        (0..1).for_each(|_| pace.speed_up());
        assert_eq!(pace.calls_at_once(), 2, "the successes before a failure don't count");
    }

    #[test]
    fn pauses_grow_with_each_failure_and_are_short_again_after_a_success() {
        let longest = |failures: usize, succeeds: bool| {
            let pause = |_| {
                let mut pace = Pace::default();
                for _ in 0..failures {
                    pace.slow_down();
                }
                if succeeds {
                    pace.speed_up();
                }
                pace.slow_down()
            };
            (0..200).map(pause).max().unwrap().as_millis()
        };
        assert!((80..=100).contains(&longest(0, false)));
        assert!((1_300..=1_600).contains(&longest(8, false)));
        assert!((80..=100).contains(&longest(8, true)));
    }
}
