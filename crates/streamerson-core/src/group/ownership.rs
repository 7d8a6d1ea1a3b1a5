//! Being the only one: the right of one member to a stream, for its group, while it renews a named lease.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;

/// The right to be the only one who handles a stream for a group.
///
/// It ends when the lease does, whatever this process believes: who cannot renew stops by its own clock, before anybody
/// else can begin.
#[derive(Debug)]
pub(super) struct Ownership {
    /// Rises with each change of owner.
    pub(super) epoch: u64,
    /// How long the lease lasts.
    ttl: Duration,
    /// Since when it lasts: from before the last renewal that was answered.
    // Locked for a look at one value, or to replace it.
    since: Mutex<Instant>,
    renewed: Notify,
    lost: CancellationToken,
}

impl Ownership {
    /// Begun, at the earliest, at `since`.
    pub(super) fn new(epoch: u64, ttl: Duration, since: Instant) -> Self {
        let lost = CancellationToken::new();
        Self { epoch, ttl, since: Mutex::new(since), renewed: Notify::new(), lost }
    }

    fn lock(&self) -> MutexGuard<'_, Instant> {
        self.since.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn ttl(&self) -> Duration {
        self.ttl
    }

    /// A renewal that was sent at `since` has been answered.
    pub(super) fn renew(&self, since: Instant) {
        {
            let mut now = self.lock();
            *now = since.max(*now);
        }
        self.renewed.notify_waiters();
    }

    /// Somebody else is the owner, or was.
    pub(super) fn lose(&self) {
        self.lost.cancel();
    }

    pub(super) fn is_lost(&self) -> bool {
        self.lost.is_cancelled()
    }

    /// Waits until it is lost, for ever if it is not.
    pub(super) async fn lost(&self) {
        self.lost.cancelled().await;
    }

    /// Whether it lasts for so much longer.
    pub(super) fn lasts(&self, time: Duration) -> bool {
        !self.is_lost() && self.lock().elapsed() + time < self.ttl
    }

    /// Waits until it lasts for so much longer; `false` when it is lost.
    pub(super) async fn until_it_lasts(&self, time: Duration) -> bool {
        loop {
            let renewed = self.renewed.notified();
            let mut renewed = std::pin::pin!(renewed);
            // Registered before the look, so that a renewal in between is not missed.
            renewed.as_mut().enable();
            if self.lasts(time) {
                return true;
            }
            tokio::select! {
                biased;
                () = self.lost() => return false,
                () = renewed => {}
            }
        }
    }
}
