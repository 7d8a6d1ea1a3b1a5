//! Until when the caller waits.

use std::{convert::Infallible, time::Duration};

use streamerson_core::UnixMillis;
use tokio::time::Instant;

use super::FromMessage;
use crate::Incoming;

/// Until when the caller waits for the reply; events have none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline {
    at: Option<UnixMillis>,
    instant: Option<Instant>,
}

impl Deadline {
    /// The deadline, in the broker's clock.
    #[must_use]
    pub fn at(&self) -> Option<UnixMillis> {
        self.at
    }

    /// The deadline in the clock of this process, for [`tokio::time::timeout_at`].
    #[must_use]
    pub fn instant(&self) -> Option<Instant> {
        self.instant
    }

    /// How long it still is until then, zero when it has passed; `None` without a deadline.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        self.instant.map(|instant| instant.saturating_duration_since(Instant::now()))
    }

    pub(super) fn of(incoming: &Incoming) -> Self {
        let at = incoming.message().deadline;
        // A deadline so far ahead that no instant can name it is as good as none.
        let instant = at.and_then(|at| Instant::now().checked_add(at.since(incoming.run().broker.now())));
        Self { at, instant }
    }
}

impl<S: Sync> FromMessage<S> for Deadline {
    type Rejection = Infallible;

    async fn from_message(incoming: &Incoming, _: &S) -> Result<Self, Infallible> {
        Ok(Self::of(incoming))
    }
}
