//! The bound of the marks that one topic may have, in bytes.
//!
//! Marks are kept for hours, and callers decide how many there are: without a bound they could fill the broker. The sum is
//! kept in the broker by a [meter](crate::Broker::charge), so it holds over all processes and restarts.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    broker::{BrokerError, Charge, SharedBroker},
    keys::{MarkKey, MeterKey},
    metrics::{MarkMetrics, Metrics},
    topic::Topic,
};

/// About how many bytes a mark takes in a broker besides its key and its value: its places in two tables, and the rounding
/// of an allocator. Measured on Redis 7.0 with values of 100 bytes to 64 KiB.
const MARK_BYTES: u64 = 200;
/// How often a process tells the broker how many bytes it added, and hears the sum of all processes.
const TOLD_EVERY: Duration = Duration::from_millis(250);
/// How often it is logged that marks are refused, or will be soon.
const WARNED_EVERY: Duration = Duration::from_secs(60);

/// The purpose of a kind of marks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum MarkKind {
    /// Requests with an idempotency key, and their replies.
    Idempotency,
    /// Messages that a group has handled, and their replies.
    Deduplication,
}

impl MarkKind {
    /// The word that stands for it in metrics and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Idempotency => "idempotency",
            Self::Deduplication => "deduplication",
        }
    }
}

/// The bound of one kind of marks of one topic. Cheap to clone; all clones share one state.
///
/// The bound holds over all processes that use it, except for the marks that they set within a quarter of a second: so often
/// each process tells the broker the bytes that it added, in one number, and hears the sum.
#[derive(Debug, Clone)]
pub struct MarkBudget(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    broker: SharedBroker,
    topic: Topic,
    kind: MarkKind,
    meter: MeterKey,
    ttl: Duration,
    bytes_max: u64,
    metrics: Arc<MarkMetrics>,
    // Locked to add some numbers, never across an await.
    known: Mutex<Known>,
    /// Held while the broker is asked, so that of many callers one asks and the others wait for its answer.
    asking: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Known {
    /// When the broker last answered.
    heard: Option<Instant>,
    /// The sum that it answered.
    total: u64,
    /// Bytes of marks that this process has set since, and not told the broker yet.
    untold: u64,
    /// Bytes that are reserved for marks which this process has not set yet.
    reserved: u64,
    /// Whether a task waits to tell it.
    is_telling: bool,
    /// When it was last logged that the bound is near.
    warned_near: Option<Instant>,
    /// When it was last logged that a mark was refused.
    warned_refused: Option<Instant>,
}

impl MarkBudget {
    /// How many bytes the marks of a topic may take unless a program says otherwise: 256 MiB.
    pub const BYTES_MAX_DEFAULT: u64 = 256 * 1024 * 1024;

    /// The bound of a topic's marks of this kind, which are counted under `meter` and kept for `ttl`.
    #[must_use]
    pub fn new(
        broker: SharedBroker,
        topic: &Topic,
        kind: MarkKind,
        meter: MeterKey,
        ttl: Duration,
        bytes_max: u64,
        metrics: &Metrics,
    ) -> Self {
        let metrics = metrics.marks(topic, kind);
        metrics.on_bytes_max(bytes_max);
        let topic = topic.whole();
        let (known, asking) = (Mutex::default(), tokio::sync::Mutex::default());
        Self(Arc::new(Inner { broker, topic, kind, meter, ttl, bytes_max, metrics, known, asking }))
    }

    /// About how many bytes a mark with this key and a value of this length takes.
    #[must_use]
    pub fn bytes_of(key: &MarkKey, value_len: usize) -> u64 {
        MARK_BYTES + (key.as_str().len() + value_len) as u64
    }

    /// Reserves bytes for marks that are about to be set; `None` when there is no room for them. Must be called within a
    /// Tokio runtime.
    ///
    /// # Errors
    ///
    /// [`BrokerError`] when the broker has to be asked, as nothing is known yet or the bound is near, and cannot be.
    pub async fn reserve(&self, bytes: u64) -> Result<Option<Reservation>, BrokerError> {
        loop {
            let is_stale = {
                let mut known = self.lock();
                let sum = known.sum().saturating_add(bytes);
                let is_stale = known.heard.is_none_or(|heard| heard.elapsed() >= TOLD_EVERY);
                // Far from the bound no caller waits: the bytes that other processes have added are heard soon enough.
                let must_ask = is_stale && (known.heard.is_none() || sum > self.0.bytes_max / 2);
                if !must_ask && sum <= self.0.bytes_max {
                    known.reserved = known.reserved.saturating_add(bytes);
                    self.warn_near_bound(&mut known);
                    return Ok(Some(Reservation { budget: self.clone(), left: bytes }));
                }
                is_stale
            };
            if !is_stale {
                return Ok(None);
            }
            // Time makes room: expired marks are taken off. In a task of its own, since a caller that gives up in the middle
            // would leave the question open whether its bytes were counted.
            let budget = self.clone();
            match tokio::spawn(async move { budget.ask().await }).await {
                Ok(asked) => asked?,
                // The runtime is shutting down.
                Err(_) => return Ok(None),
            }
        }
    }

    /// Counts bytes of a mark that is set in any case, whether or not there is room.
    pub fn add(&self, bytes: u64) {
        self.count(&mut self.lock(), bytes);
    }

    fn count(&self, known: &mut Known, bytes: u64) {
        known.untold = known.untold.saturating_add(bytes);
        if !std::mem::replace(&mut known.is_telling, true) {
            tokio::spawn(self.clone().tell_soon());
        }
    }

    /// Counts and logs that a mark was not set for want of room.
    pub fn on_refused(&self) {
        self.0.metrics.refused.add_one();
        if take_warning(&mut self.lock().warned_refused) {
            let Inner { topic, kind, bytes_max, .. } = &*self.0;
            tracing::warn!(
                %topic,
                kind = kind.as_str(),
                bytes_max,
                "no room for further marks of this topic; raise their bound, or keep fewer or smaller replies for a shorter time"
            );
        }
    }

    async fn tell_soon(self) {
        tokio::time::sleep(TOLD_EVERY).await;
        self.lock().is_telling = false;
        if let Err(error) = self.ask().await {
            tracing::debug!(topic = %self.0.topic, %error, "the bytes of marks were not counted; they will be later");
        }
    }

    /// Tells the broker the added bytes, and hears the sum.
    async fn ask(&self) -> Result<(), BrokerError> {
        let begun = Instant::now();
        let _one_asks = self.0.asking.lock().await;
        if self.lock().heard.is_some_and(|heard| heard > begun) {
            return Ok(());
        }
        let Inner { broker, meter, ttl, metrics, .. } = &*self.0;
        let bytes = self.lock().untold;
        let total = broker.charge(Charge { key: meter.clone(), bytes, ttl: *ttl }).await?;
        let mut known = self.lock();
        known.untold = known.untold.saturating_sub(bytes);
        (known.heard, known.total) = (Some(Instant::now()), total);
        metrics.on_bytes(total);
        Ok(())
    }

    /// Logs that four fifths of the bound are reached.
    fn warn_near_bound(&self, known: &mut Known) {
        let Inner { topic, kind, bytes_max, .. } = &*self.0;
        let bytes = known.sum();
        if bytes > bytes_max / 5 * 4 && take_warning(&mut known.warned_near) {
            tracing::warn!(
                %topic,
                kind = kind.as_str(),
                bytes,
                bytes_max,
                "the marks of this topic take four fifths of their bound; past it no further ones are set"
            );
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        // Plain numbers: a panic elsewhere can't leave them half-made.
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Room for marks that are about to be set; unused room is given back when the reservation is dropped.
#[derive(Debug)]
#[must_use = "the room is given back when it is dropped"]
pub struct Reservation {
    budget: MarkBudget,
    left: u64,
}

impl Reservation {
    /// Counts bytes of a mark that was set, for as long as marks are kept.
    pub fn commit(&mut self, bytes: u64) {
        let mut known = self.budget.lock();
        let from_room = bytes.min(self.left);
        self.left -= from_room;
        known.reserved = known.reserved.saturating_sub(from_room);
        self.budget.count(&mut known, bytes);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut known = self.budget.lock();
        known.reserved = known.reserved.saturating_sub(self.left);
    }
}

impl Known {
    fn sum(&self) -> u64 {
        self.total.saturating_add(self.untold).saturating_add(self.reserved)
    }
}

/// Takes the warning of an interval; answers whether there was one to take.
fn take_warning(warned: &mut Option<Instant>) -> bool {
    let is_due = warned.is_none_or(|warned| warned.elapsed() >= WARNED_EVERY);
    if is_due {
        *warned = Some(Instant::now());
    }
    is_due
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::memory::Memory;

    const TTL: Duration = Duration::from_secs(3600);

    fn budget(broker: &SharedBroker, bytes_max: u64) -> MarkBudget {
        let topic = Topic::new("orders").unwrap();
        let meter = topic.idempotency_meter();
        MarkBudget::new(broker.clone(), &topic, MarkKind::Idempotency, meter, TTL, bytes_max, &Metrics::new())
    }

    /// Sets a mark of so many bytes, if there is room for it.
    async fn set(budget: &MarkBudget, bytes: u64) -> bool {
        let reserved = budget.reserve(bytes).await.unwrap();
        reserved.map(|mut reserved| reserved.commit(bytes)).is_some()
    }

    #[tokio::test(start_paused = true)]
    async fn two_processes_share_one_bound_and_time_makes_room() {
        let broker = Memory::new().into();
        let (one, other) = (budget(&broker, 1000), budget(&broker, 1000));
        assert!(set(&one, 600).await);
        assert!(!set(&one, 600).await);
        tokio::time::sleep(2 * TOLD_EVERY).await;
        assert!(!set(&other, 600).await);
        assert!(set(&other, 400).await);
        tokio::time::sleep(2 * TOLD_EVERY).await;
        assert!(!set(&one, 1).await);
        // A process that starts now knows it too.
        assert!(!set(&budget(&broker, 1000), 1).await);
        tokio::time::sleep(TTL + TTL / 8).await;
        assert!(set(&one, 1000).await);
    }

    #[tokio::test(start_paused = true)]
    async fn room_that_is_not_used_is_given_back() {
        let broker = Memory::new().into();
        let budget = budget(&broker, 1000);
        for _ in 0..10 {
            let mut reserved = budget.reserve(900).await.unwrap().unwrap();
            assert!(budget.reserve(200).await.unwrap().is_none());
            reserved.commit(5);
        }
        assert!(set(&budget, 950).await && !set(&budget, 1).await);
    }
}
