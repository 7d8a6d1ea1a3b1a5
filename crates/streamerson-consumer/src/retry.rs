//! Whether a failed message is tried again, and when.

use std::{fmt, sync::Arc, time::Duration};

use streamerson_core::dead_letter::Reason;

use crate::handler_error::HandlerError;

/// How often a message is tried whose handler fails, and how long the pauses in between are.
///
/// The pause before attempt *n* + 1 is drawn between zero and `first` · 2ⁿ⁻¹, and no more than `longest` ("full jitter"),
/// so that what failed together does not come back together. A request is not tried again past its deadline: the caller
/// gets the error at once instead.
///
/// Short pauses are waited out by the member that has the message, longer ones by the topic's schedule: see
/// [`MemberConfig::retry_held_max`](streamerson_core::group::MemberConfig::retry_held_max).
///
/// ```
/// use std::time::Duration;
/// use streamerson_consumer::{Consumer, Failure, Retry, Topic};
///
/// async fn charge() -> Result<(), Failure> {
///     Ok(())
/// }
///
/// let consumer: Consumer = Consumer::new(Topic::new("payments")?)
///     .on("payment.due", charge)
///     .retry(Retry::attempts(5).first(Duration::from_secs(1)).longest(Duration::from_secs(600)))
///     .retry_event("payment.refund", Retry::never());
/// # Ok::<(), streamerson_core::InvalidName>(())
/// ```
#[derive(Clone)]
#[must_use = "a policy does nothing until a consumer has it"]
pub struct Retry {
    attempts_max: u32,
    first: Duration,
    longest: Duration,
    when: Option<Arc<When>>,
}

type When = dyn Fn(&HandlerError) -> bool + Send + Sync;

impl Retry {
    /// One attempt: what fails has failed for good. What consumers do unless told otherwise.
    pub fn never() -> Self {
        Self::attempts(1)
    }

    /// So many attempts, the first included, with pauses of up to 100 ms at first and up to 30 s in the end.
    pub fn attempts(attempts_max: u32) -> Self {
        let (first, longest) = (Duration::from_millis(100), Duration::from_secs(30));
        Self { attempts_max, first, longest, when: None }
    }

    /// The longest that the first pause may be; 100 ms. Each later one may be twice as long as the one before.
    pub fn first(mut self, pause: Duration) -> Self {
        self.first = pause;
        self
    }

    /// The longest that any pause may be; 30 s.
    pub fn longest(mut self, pause: Duration) -> Self {
        self.longest = pause;
        self
    }

    /// Which errors are worth another attempt; all unless told otherwise. Refusals of extractors and event types without
    /// a handler never are.
    pub fn when(mut self, is_worth_it: impl Fn(&HandlerError) -> bool + Send + Sync + 'static) -> Self {
        self.when = Some(Arc::new(is_worth_it));
        self
    }

    /// The pause until the next attempt, after so many have failed; `None` when there is none.
    pub(crate) fn pause(&self, failures: u32, error: &HandlerError) -> Option<Duration> {
        let retriable = matches!(error.reason(), Some(Reason::Failed | Reason::Panicked));
        if !retriable || failures >= self.attempts_max || !self.when.as_ref().is_none_or(|when| when(error)) {
            return None;
        }
        let doublings = failures.saturating_sub(1).min(31);
        let longest = self.first.saturating_mul(1 << doublings).min(self.longest);
        Some(longest.mul_f64(fastrand::f64()))
    }
}

impl fmt::Debug for Retry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { attempts_max, first, longest, when } = self;
        f.debug_struct("Retry")
            .field("attempts_max", attempts_max)
            .field("first", first)
            .field("longest", longest)
            .field("when", &when.as_ref().map(|_| ".."))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed() -> HandlerError {
        HandlerError::panicked(&"broken")
    }

    #[test]
    fn pauses_grow_up_to_the_longest() {
        let retry = Retry::attempts(60).first(Duration::from_secs(1)).longest(Duration::from_secs(5));
        for (failures, longest) in [(1, 1), (2, 2), (3, 4), (4, 5), (59, 5)] {
            let pauses: Vec<_> =
                (0..1000).map(|_| retry.pause(failures, &failed()).expect("another attempt")).collect();
            let longest = Duration::from_secs(longest);
            assert!(pauses.iter().all(|pause| *pause <= longest), "{failures}");
            assert!(pauses.iter().any(|pause| *pause > longest / 2), "they reach up to it: {failures}");
            assert!(pauses.iter().any(|pause| *pause < longest / 2), "and are spread: {failures}");
        }
    }

    #[test]
    fn attempts_end() {
        let retry = Retry::attempts(3);
        assert!(retry.pause(1, &failed()).is_some());
        assert!(retry.pause(2, &failed()).is_some());
        assert!(retry.pause(3, &failed()).is_none());
        assert!(Retry::never().pause(1, &failed()).is_none());
        assert!(Retry::attempts(0).pause(1, &failed()).is_none());
    }

    #[test]
    fn only_what_failed_is_tried_again() {
        let retry = Retry::attempts(3);
        assert!(retry.pause(1, &HandlerError::no_handler()).is_none());
        assert!(retry.pause(1, &HandlerError::expired()).is_none());
        assert!(retry.pause(1, &HandlerError::unstarted()).is_none());
        let picky = retry.when(|error| error.reason() != Some(Reason::Panicked));
        assert!(picky.pause(1, &failed()).is_none());
    }
}
