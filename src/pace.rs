//! The number of calls that are made at once. It falls after a call that is throttled or fails temporarily, and rises after
//! other calls.

use std::sync::{Mutex, PoisonError};

/// The most calls at once. With ten entries each and 50 ms a call, they put 2,000 events a second on the bus.
const MOST_CALLS: usize = 10;

/// The number of calls at once. Like TCP's congestion window, it rises by one after this many calls in a row were neither
/// throttled nor failed temporarily, and it is halved after each call that was. It is never less than one.
///
/// Lambda runs several environments, and each has its own pace. Together they approach the rate that the bus accepts. New
/// deliveries share that rate.
#[derive(Debug)]
pub struct Pace(Mutex<State>);

#[derive(Debug)]
struct State {
    calls: usize,
    /// The calls since the last change that were neither throttled nor failed temporarily.
    successes: usize,
}

impl Default for Pace {
    fn default() -> Self {
        Self(Mutex::new(State { calls: MOST_CALLS, successes: 0 }))
    }
}

impl Pace {
    /// How many calls may run at once.
    pub fn calls_at_once(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).calls
    }

    /// Counts a call that was neither throttled nor failed temporarily.
    pub fn speed_up(&self) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.successes += 1;
        if state.successes >= state.calls {
            *state = State { calls: MOST_CALLS.min(state.calls + 1), successes: 0 };
        }
    }

    /// Lowers the number after a call that was throttled or failed temporarily.
    pub fn slow_down(&self) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *state = State { calls: 1.max(state.calls / 2), successes: 0 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_halves_the_number_and_a_round_of_successes_raises_it_by_one() {
        let pace = Pace::default();
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
        assert_eq!(pace.calls_at_once(), 5, "four of five calls have succeeded");
    }
}
