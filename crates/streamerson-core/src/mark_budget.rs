//! The bound of the marks that one topic may have, in bytes.
//!
//! Marks are kept for hours, and callers decide how many there are: without a bound they could fill the broker. The sum is
//! kept in the broker by a [meter](crate::Broker::charge), so it holds over all processes and restarts.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{runtime::Handle, time::Instant};

use crate::{
    broker::{BrokerError, Charge, Reserved, SharedBroker},
    keys::{MarkKey, MeterKey},
    metrics::{MarkMetrics, Metrics},
    name::Name,
    topic::Topic,
};

/// About how many bytes a mark takes in a broker besides its key and its value: its places in two tables, and the rounding
/// of an allocator. Measured on Redis 7.0 with values of 100 bytes to 64 KiB.
const MARK_BYTES: u64 = 200;
/// How often a budget tells the broker its bytes, and hears the sum of all budgets, while it has any to tell.
const TOLD_EVERY: Duration = Duration::from_millis(250);
/// How long a sum stays of use after the broker answered it: a little longer than the pause between two.
const HEARD_FOR: Duration = TOLD_EVERY.saturating_mul(2);
/// How long a reservation outlives the budget that made it, as where its process was killed.
const RESERVED_FOR: Duration = Duration::from_secs(5);
/// How many marks of the size of one must have room for that one to be set without a question to the broker.
const MARGIN_MARKS: u64 = 100;
/// The part of the bound that must be free for the same: an eighth.
const MARGIN_PART: u64 = 8;
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
/// The bound holds over all budgets of the topic, in this process and others: room is reserved in the broker's meter before
/// a mark is set. While an eighth of the bound is free and a hundred marks of the size have room, the broker is told
/// afterwards, a quarter of a second later at most and in one number for all marks. So a burst within that time, at many
/// processes at once, can go beyond the bound by the bytes that it adds.
#[derive(Debug, Clone)]
pub struct MarkBudget(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    broker: SharedBroker,
    topic: Topic,
    kind: MarkKind,
    meter: MeterKey,
    /// The name of this budget among all that use the meter.
    holder: Name,
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
    /// The sum that it answered: all bytes that were added, and those that other budgets have reserved.
    total: u64,
    /// Bytes of marks that were set since, and not told the broker yet.
    untold: u64,
    /// Bytes that are reserved for marks which are not set yet.
    reserved: u64,
    /// The number of the last question to the broker that a caller wants to be asked.
    wanted: u64,
    /// The number of the last one that was answered, with all before it.
    answered: u64,
    /// The reserved bytes that the broker may know.
    told_reserved: u64,
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
        let (topic, holder) = (topic.whole(), Name::unique());
        let (known, asking) = (Mutex::default(), tokio::sync::Mutex::default());
        Self(Arc::new(Inner { broker, topic, kind, meter, holder, ttl, bytes_max, metrics, known, asking }))
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
        // Callers that reserve at once can leave no room for each other; the second time they come one after another.
        for _ in 0..2 {
            let (reservation, question) = {
                let mut known = self.lock();
                let is_fresh = known.heard.is_some_and(|heard| heard.elapsed() < HEARD_FOR);
                if is_fresh && known.sum().saturating_add(bytes) > self.0.bytes_max {
                    return Ok(None);
                }
                let is_far = is_fresh && self.is_far_from_bound(&known, bytes);
                known.reserved = known.reserved.saturating_add(bytes);
                let reservation = Reservation { budget: self.clone(), left: bytes, at_risk: 0 };
                self.warn_near_bound(&mut known);
                self.tell_soon(&mut known);
                if is_far {
                    return Ok(Some(reservation));
                }
                (reservation, known.next_question())
            };
            // Of two budgets that take the last room at once, both see the reservation of the other. In a task of its own,
            // since a caller that gives up in the middle would leave the question open whether its bytes were counted.
            let budget = self.clone();
            match tokio::spawn(async move { budget.tell(question).await }).await {
                Ok(told) => told?,
                // The runtime is shutting down.
                Err(_) => return Ok(None),
            }
            if self.lock().sum() <= self.0.bytes_max {
                return Ok(Some(reservation));
            }
        }
        Ok(None)
    }

    /// Returns whether so many bytes can be reserved without a question to the broker.
    fn is_far_from_bound(&self, known: &Known, bytes: u64) -> bool {
        let bytes_max = self.0.bytes_max;
        let margin = bytes.saturating_mul(MARGIN_MARKS).max(bytes_max / MARGIN_PART);
        known.sum().saturating_add(margin) <= bytes_max
    }

    /// Counts bytes of a mark that is set in any case, whether or not there is room.
    pub fn add(&self, bytes: u64) {
        self.count(&mut self.lock(), bytes);
    }

    fn count(&self, known: &mut Known, bytes: u64) {
        known.untold = known.untold.saturating_add(bytes);
        self.tell_soon(known);
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

    /// Has the broker told within a quarter of a second. Outside a runtime, the next mark that is set does so.
    fn tell_soon(&self, known: &mut Known) {
        if known.is_telling {
            return;
        }
        let Ok(runtime) = Handle::try_current() else { return };
        known.is_telling = true;
        let budget = self.clone();
        runtime.spawn(async move {
            tokio::time::sleep(TOLD_EVERY).await;
            let question = {
                let mut known = budget.lock();
                known.is_telling = false;
                known.next_question()
            };
            let told = budget.tell(question).await;
            let mut known = budget.lock();
            // A reservation ends in the broker unless it is renewed.
            let is_wanted = match told {
                Ok(()) => known.reserved > 0 || known.told_reserved > 0 || known.untold > 0,
                Err(error) => {
                    let topic = &budget.0.topic;
                    tracing::debug!(%topic, %error, "the bytes of marks were not counted; they will be later");
                    known.reserved > 0
                }
            };
            if is_wanted {
                budget.tell_soon(&mut known);
            }
        });
    }

    /// Tells the broker the added and the reserved bytes, and hears the sum, unless that was done since the question was
    /// wanted.
    async fn tell(&self, question: u64) -> Result<(), BrokerError> {
        let _one_asks = self.0.asking.lock().await;
        let Inner { broker, meter, holder, ttl, metrics, .. } = &*self.0;
        let (bytes, reserved, question) = {
            let mut known = self.lock();
            if known.answered >= question {
                return Ok(());
            }
            // Also where the answer is lost.
            known.told_reserved = known.told_reserved.max(known.reserved);
            (known.untold, known.reserved, known.wanted)
        };
        let own = Reserved { holder: holder.clone(), bytes: reserved, ttl: RESERVED_FOR };
        let total = broker.charge(Charge { key: meter.clone(), bytes, ttl: *ttl, reserved: Some(own) }).await?;
        let mut known = self.lock();
        known.untold = known.untold.saturating_sub(bytes);
        (known.heard, known.total) = (Some(Instant::now()), total);
        (known.answered, known.told_reserved) = (question, reserved);
        metrics.on_bytes(known.sum());
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
    at_risk: u64,
}

impl Reservation {
    /// Says how many bytes of a mark may have been set without a word from the broker. They are counted when the
    /// reservation is dropped, unless [`commit`](Self::commit) or another number comes before: so a caller that is cut off
    /// while it waits for the broker counts too much, and not too little.
    pub fn risk(&mut self, bytes: u64) {
        self.at_risk = bytes;
    }

    /// Counts bytes of a mark that was set, for as long as marks are kept. Nothing is at risk then.
    pub fn commit(&mut self, bytes: u64) {
        self.at_risk = 0;
        let mut known = self.budget.lock();
        let from_room = bytes.min(self.left);
        self.left -= from_room;
        known.reserved = known.reserved.saturating_sub(from_room);
        self.budget.count(&mut known, bytes);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.at_risk > 0 {
            self.commit(self.at_risk);
        }
        let mut known = self.budget.lock();
        known.reserved = known.reserved.saturating_sub(self.left);
        if known.told_reserved > known.reserved {
            self.budget.tell_soon(&mut known);
        }
    }
}

impl Known {
    /// The number of a question that is asked from now on.
    fn next_question(&mut self) -> u64 {
        self.wanted += 1;
        self.wanted
    }

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

    /// Reservations of calls that last count at other budgets, as long as they last.
    #[tokio::test(start_paused = true)]
    async fn what_is_reserved_at_one_budget_is_no_room_at_others() {
        let broker: SharedBroker = Memory::new().into();
        let budgets: Vec<_> = (0..6).map(|_| budget(&broker, 1000)).collect();
        let mut reserved = Vec::new();
        for round in 0..8 {
            for budget in &budgets {
                reserved.extend(budget.reserve(100).await.unwrap());
            }
            assert_eq!(reserved.len(), 6 + 4 * usize::from(round > 0), "round {round}");
        }
        // It is renewed while the calls last.
        tokio::time::sleep(4 * RESERVED_FOR).await;
        for budget in &budgets {
            assert!(budget.reserve(100).await.unwrap().is_none());
        }
        reserved.truncate(9);
        tokio::time::sleep(2 * TOLD_EVERY).await;
        reserved.push(budgets[5].reserve(100).await.unwrap().expect("room that was given back"));
        for mut reserved in reserved {
            reserved.commit(100);
        }
        tokio::time::sleep(2 * TOLD_EVERY).await;
        assert_eq!(told(&broker).await, 1000);
        assert!(budgets[0].reserve(1).await.unwrap().is_none());
    }

    /// A budget whose process was killed holds no room for long.
    #[tokio::test(start_paused = true)]
    async fn reservations_of_a_process_that_is_gone_end() {
        let broker: SharedBroker = Memory::new().into();
        let key = Topic::new("orders").unwrap().idempotency_meter();
        let gone = Reserved { holder: Name::unique(), bytes: 1000, ttl: RESERVED_FOR };
        broker.charge(Charge { key, bytes: 0, ttl: TTL, reserved: Some(gone) }).await.unwrap();
        let budget = budget(&broker, 1000);
        assert!(!set(&budget, 1).await);
        tokio::time::sleep(RESERVED_FOR).await;
        assert!(set(&budget, 1000).await);
    }

    /// Of a burst that finds nothing known, as many as fit get room.
    #[tokio::test(start_paused = true)]
    async fn callers_that_reserve_at_once_get_what_there_is() {
        let budget = budget(&Memory::new().into(), 1000);
        let all = futures_util::future::join_all((0..10).map(|_| budget.reserve(900))).await;
        assert_eq!(all.into_iter().filter_map(Result::unwrap).count(), 1);
    }

    /// A caller that is cut off while it waits for the broker may have set its mark.
    #[tokio::test(start_paused = true)]
    async fn bytes_at_risk_are_counted_unless_told_otherwise() {
        let broker: SharedBroker = Memory::new().into();
        let budget = budget(&broker, 1000);
        for (risks, counted) in [(&[100][..], 100), (&[100, 0], 100), (&[50, 20], 120)] {
            let mut reserved = budget.reserve(200).await.unwrap().unwrap();
            risks.iter().for_each(|bytes| reserved.risk(*bytes));
            drop(reserved);
            tokio::time::sleep(2 * TOLD_EVERY).await;
            assert_eq!(told(&broker).await, counted);
        }
        let mut reserved = budget.reserve(200).await.unwrap().unwrap();
        reserved.risk(100);
        reserved.commit(30);
        drop(reserved);
        tokio::time::sleep(2 * TOLD_EVERY).await;
        assert_eq!(told(&broker).await, 150);
    }

    /// The sum in the broker, reservations included.
    async fn told(broker: &SharedBroker) -> u64 {
        let key = Topic::new("orders").unwrap().idempotency_meter();
        broker.charge(Charge { key, bytes: 0, ttl: TTL, reserved: None }).await.unwrap()
    }

    /// A reservation may be dropped where there is no runtime.
    #[test]
    fn a_reservation_may_outlive_its_runtime() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let budget = budget(&Memory::new().into(), 1000);
        let mut reserved = runtime.block_on(budget.reserve(100)).unwrap().unwrap();
        drop(runtime);
        reserved.risk(10);
        drop(reserved);
        assert_eq!(budget.lock().untold, 10);
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
