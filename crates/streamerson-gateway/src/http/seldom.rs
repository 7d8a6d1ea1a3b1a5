//! Warnings that would come with every request, said now and then.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Lets one of many through in each interval.
#[derive(Debug)]
pub(super) struct Seldom {
    interval: Duration,
    last: Mutex<Option<Instant>>,
}

impl Seldom {
    pub(super) const fn new(interval: Duration) -> Self {
        Self { interval, last: Mutex::new(None) }
    }

    /// Whether it is time; the interval then starts again.
    pub(super) fn is_due(&self) -> bool {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = last.is_none_or(|last| last.elapsed() >= self.interval);
        if is_due {
            *last = Some(Instant::now());
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_in_each_interval() {
        let seldom = Seldom::new(Duration::from_secs(3600));
        assert_eq!([seldom.is_due(), seldom.is_due(), seldom.is_due()], [true, false, false]);
        let often = Seldom::new(Duration::ZERO);
        assert_eq!([often.is_due(), often.is_due()], [true, true]);
    }
}
