//! The number of calls that are made at once: fewer after calls that were throttled or failed temporarily, otherwise more.

use std::sync::{Mutex, PoisonError};

/// The most calls at once. With ten entries each and 50 ms a call, they put 2,000 events a second on the bus.
const MOST_CALLS: usize = 10;

/// The number of calls at once. It adapts similarly to TCP's congestion window: one call more after as many as run at once
/// have ended, half of them after each that was throttled or failed temporarily, and never fewer than one.
///
/// Lambda runs several environments, and each has its own pace. Together they come close to the rate that the bus accepts,
/// and leave room for new deliveries.
#[derive(Debug)]
pub struct Pace(Mutex<State>);

#[derive(Debug)]
struct State {
    calls: usize,
    /// The calls that ended otherwise since the number changed.
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
