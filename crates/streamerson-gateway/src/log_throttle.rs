//! Warnings that would come with every request, logged once in a while.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Admits one log line in each interval, and counts the others.
#[derive(Debug)]
pub(crate) struct LogThrottle {
    interval: Duration,
    // A std lock: it is held for a few instructions, and only where something is wrong.
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    last: Option<Instant>,
    suppressed: u64,
}

impl LogThrottle {
    pub(crate) const fn new(interval: Duration) -> Self {
        Self { interval, state: Mutex::new(State { last: None, suppressed: 0 }) }
    }

    /// Returns how many lines were suppressed since the last one if another may be logged now; it must be logged then.
    pub(crate) fn admit(&self) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.last.is_some_and(|last| last.elapsed() < self.interval) {
            state.suppressed += 1;
            return None;
        }
        state.last = Some(Instant::now());
        Some(std::mem::take(&mut state.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_in_each_interval_with_a_count_of_the_others() {
        let throttle = LogThrottle::new(Duration::from_secs(3600));
        assert_eq!([throttle.admit(), throttle.admit(), throttle.admit()], [Some(0), None, None]);
        throttle.state.lock().unwrap().last = None;
        assert_eq!([throttle.admit(), throttle.admit()], [Some(2), None]);
        let always = LogThrottle::new(Duration::ZERO);
        assert_eq!([always.admit(), always.admit()], [Some(0), Some(0)]);
    }
}
