//! The embedded broker's clock.

use std::time::Duration;

use tokio::time::Instant;

use crate::message::UnixMillis;

/// This machine's time when the broker was made, and from then on tokio's: under paused time, ids, leases and expiries
/// move with the test, and only with it.
#[derive(Debug)]
pub(super) struct Clock {
    made_at: Duration,
    since: Instant,
}

impl Clock {
    pub(super) fn new() -> Self {
        Self { made_at: Duration::from_millis(UnixMillis::of_this_machine().0), since: Instant::now() }
    }

    /// The time since 1970. Never goes back.
    pub(super) fn now(&self) -> Duration {
        self.made_at + self.since.elapsed()
    }
}

/// A time since 1970 in the unit of ids and deadlines.
pub(super) fn unix_millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
