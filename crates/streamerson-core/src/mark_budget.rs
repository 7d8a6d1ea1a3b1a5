//! The bound of the marks that one topic may have, in bytes.
//!
//! Marks are kept for hours, and callers decide how many there are: without a bound they could fill the broker. The sum is
//! kept in the broker by a [meter](crate::Broker::charge), so it holds over all processes and is there after restarts.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    runtime::Handle,
    sync::Notify,
    time::{Instant, sleep},
};

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
/// The longest pause before the broker is told again after an error.
const TOLD_AGAIN: Duration = Duration::from_secs(10);
/// How old a sum may be by which a mark is set: the next one is on its way then.
const HEARD_FOR: Duration = Duration::from_secs(5);
/// How old a sum may be by which a mark is refused: room may have been given back since.
const REFUSED_FOR: Duration = Duration::from_millis(20);
/// How long a reservation outlives the budget that made it, as where its process was killed.
const RESERVED_FOR: Duration = Duration::from_secs(5);
/// The longest pause between two renewals of a reservation, also while the broker refuses them.
const RENEWED_WITHIN: Duration = Duration::from_secs(1);
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
/// a mark is set. While an eighth of the bound is free and a hundred marks of the size have room, as far as is known, no
/// caller waits for that: the broker is told afterwards, within a quarter of a second and in one number for all marks. So a
/// burst at several processes at once can go beyond the bound, by the bytes that it adds within half a second; while the
/// broker cannot be told, within five.
///
/// A process that is killed has not told the bytes of its last quarter of a second; [`flush`](Self::flush) tells them.
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
    /// Has the task that tells the broker do so at once.
    hurry: Notify,
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
    /// The number of the last one that failed, with all before it, and the error.
    failed: Option<(u64, BrokerError)>,
    /// The reserved bytes that the broker may know.
    told_reserved: u64,
    /// Whether a task tells it.
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
        let (known, asking, hurry) = (Mutex::default(), tokio::sync::Mutex::default(), Notify::new());
        Self(Arc::new(Inner { broker, topic, kind, meter, holder, ttl, bytes_max, metrics, known, asking, hurry }))
    }

    /// About how many bytes a mark with this key and a value of this length takes.
    #[must_use]
    pub fn bytes_of(key: &MarkKey, value_len: usize) -> u64 {
        MARK_BYTES + (key.as_str().len() + value_len) as u64
    }

    /// Reserves bytes for marks that are about to be set; `None` when there is no room for them. Must be called within a
    /// Tokio runtime.
    ///
    /// Of two budgets that reserve the last room at once, both may be refused.
    ///
    /// # Errors
    ///
    /// [`BrokerError`] when the broker has to be asked, as nothing is known yet or the bound is near, and cannot be.
    pub async fn reserve(&self, bytes: u64) -> Result<Option<Reservation>, BrokerError> {
        let Some((reservation, is_far)) = self.reserve_here(bytes).await? else { return Ok(None) };
        if !is_far {
            // Each budget hears of the reservations of the others, or they of its own.
            self.ask().await?;
            if self.lock().sum() > self.0.bytes_max {
                return Ok(None);
            }
        }
        Ok(Some(reservation))
    }

    /// Reserves bytes without a word to the broker, if they fit by a sum that is young enough. Answers also whether that is
    /// far from the bound.
    async fn reserve_here(&self, bytes: u64) -> Result<Option<(Reservation, bool)>, BrokerError> {
        let mut was_asked = false;
        loop {
            let reserved = {
                let mut known = self.lock();
                let sum = known.sum().saturating_add(bytes);
                let age = known.heard.map(|heard| heard.elapsed());
                match age {
                    Some(age) if sum <= self.0.bytes_max && (was_asked || age < HEARD_FOR) => {
                        let is_far = self.is_far_from_bound(&known, bytes);
                        known.reserved = known.reserved.saturating_add(bytes);
                        let is_old = age >= TOLD_EVERY && known.wanted == known.answered;
                        Some((is_far, is_old, self.take_warning_near(&mut known)))
                    }
                    Some(age) if age < REFUSED_FOR => return Ok(None),
                    // Asked and not answered, where the runtime is shutting down.
                    _ if was_asked => return Ok(None),
                    _ => None,
                }
            };
            if let Some((is_far, is_old, warning)) = reserved {
                let reservation = Reservation { budget: self.clone(), left: bytes, at_risk: 0 };
                self.tell_soon(is_old);
                if let Some(bytes) = warning {
                    self.warn_near_bound(bytes);
                }
                return Ok(Some((reservation, is_far)));
            }
            // Time makes room, as do reservations that end.
            self.ask().await?;
            was_asked = true;
        }
    }

    /// Returns whether so many bytes can be reserved without a question to the broker.
    fn is_far_from_bound(&self, known: &Known, bytes: u64) -> bool {
        let bytes_max = self.0.bytes_max;
        let margin = bytes.saturating_mul(MARGIN_MARKS).max(bytes_max / MARGIN_PART);
        known.sum().saturating_add(margin) <= bytes_max
    }

    /// Counts bytes of a mark that is set in any case, whether or not there is room.
    pub fn add(&self, bytes: u64) {
        {
            let mut known = self.lock();
            known.untold = known.untold.saturating_add(bytes);
        }
        self.tell_soon(false);
    }

    /// Returns whether there are other clones of this one.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    /// Tells the broker at once; to be awaited before a process ends.
    ///
    /// # Errors
    ///
    /// [`BrokerError`] when the broker cannot be told.
    pub async fn flush(&self) -> Result<(), BrokerError> {
        if self.lock().is_told() { Ok(()) } else { self.ask().await }
    }

    /// Counts and logs that a mark was not set for want of room.
    pub fn on_refused(&self) {
        self.0.metrics.refused.add_one();
        let is_warned = take_warning(&mut self.lock().warned_refused);
        if is_warned {
            let Inner { topic, kind, bytes_max, .. } = &*self.0;
            tracing::warn!(
                %topic,
                kind = kind.as_str(),
                bytes_max,
                "no room for further marks of this topic; raise their bound, or keep fewer or smaller replies for a shorter time"
            );
        }
    }

    /// Has the broker told, at once or within a quarter of a second. Outside a runtime, the next mark that is set does so.
    fn tell_soon(&self, at_once: bool) {
        if at_once {
            self.0.hurry.notify_one();
        }
        let Ok(runtime) = Handle::try_current() else { return };
        if !std::mem::replace(&mut self.lock().is_telling, true) {
            // Without the lock: where the runtime is shutting down, the task is dropped at once.
            runtime.spawn(Telling { budget: self.clone(), is_over: false }.run());
        }
    }

    /// Tells the broker, in a task of its own: a caller that gives up in the middle would leave the question open whether its
    /// bytes were counted.
    async fn ask(&self) -> Result<(), BrokerError> {
        let question = self.lock().next_question();
        let budget = self.clone();
        // The task ends early where the runtime is shutting down, and its caller with it.
        tokio::spawn(async move { budget.tell(question).await }).await.unwrap_or(Ok(()))
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
            if let Some((failed, error)) = &known.failed
                && *failed >= question
            {
                return Err(error.clone());
            }
            // Also where the answer is lost.
            known.told_reserved = known.told_reserved.max(known.reserved);
            (known.untold, known.reserved, known.wanted)
        };
        let own = Reserved { holder: holder.clone(), bytes: reserved, ttl: RESERVED_FOR };
        let charged = broker.charge(Charge { key: meter.clone(), bytes, ttl: *ttl, reserved: Some(own) }).await;
        let mut known = self.lock();
        let total = charged.inspect_err(|error| known.failed = Some((question, error.clone())))?;
        known.untold = known.untold.saturating_sub(bytes);
        (known.heard, known.total) = (Some(Instant::now()), total);
        (known.answered, known.told_reserved) = (question, reserved);
        metrics.on_bytes(known.sum());
        Ok(())
    }

    /// The bytes, where four fifths of the bound are reached and that is to be logged.
    fn take_warning_near(&self, known: &mut Known) -> Option<u64> {
        let bytes = known.sum();
        (bytes > self.0.bytes_max / 5 * 4 && take_warning(&mut known.warned_near)).then_some(bytes)
    }

    fn warn_near_bound(&self, bytes: u64) {
        let Inner { topic, kind, bytes_max, .. } = &*self.0;
        tracing::warn!(
            %topic,
            kind = kind.as_str(),
            bytes,
            bytes_max,
            "the marks of this topic take four fifths of their bound; past it no further ones are set"
        );
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
        let from_room = bytes.min(self.left);
        self.left -= from_room;
        {
            let mut known = self.budget.lock();
            known.reserved = known.reserved.saturating_sub(from_room);
            known.untold = known.untold.saturating_add(bytes);
        }
        self.budget.tell_soon(false);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.at_risk > 0 {
            self.commit(self.at_risk);
        }
        let (is_told, is_near) = {
            let mut known = self.budget.lock();
            known.reserved = known.reserved.saturating_sub(self.left);
            (known.told_reserved <= known.reserved, !self.budget.is_far_from_bound(&known, self.left))
        };
        if !is_told {
            // Near the bound, others wait for the room.
            self.budget.tell_soon(is_near);
        }
    }
}

/// The task that tells the broker, which may end anywhere: with its runtime.
struct Telling {
    budget: MarkBudget,
    is_over: bool,
}

impl Telling {
    /// Tells the broker again and again until it knows everything. A reservation ends in the broker unless it is renewed.
    async fn run(mut self) {
        let mut pause = TOLD_EVERY;
        loop {
            tokio::select! {
                () = sleep(pause) => {}
                () = self.budget.0.hurry.notified() => {}
            }
            let question = self.budget.lock().next_question();
            match self.budget.tell(question).await {
                Ok(()) => pause = TOLD_EVERY,
                Err(error) => {
                    let topic = &self.budget.0.topic;
                    tracing::debug!(%topic, %error, "the bytes of marks were not counted; they will be later");
                    // Without another user of the budget there may be no broker any more.
                    if !self.budget.is_shared() {
                        return;
                    }
                    pause = pause.saturating_mul(2).min(TOLD_AGAIN);
                }
            }
            let mut known = self.budget.lock();
            if known.is_told() {
                known.is_telling = false;
                self.is_over = true;
                return;
            }
            if known.reserved > 0 {
                pause = pause.min(RENEWED_WITHIN);
            }
        }
    }
}

impl Drop for Telling {
    fn drop(&mut self) {
        if !self.is_over {
            self.budget.lock().is_telling = false;
        }
    }
}

impl Known {
    /// Returns whether the broker knows everything, and nothing is reserved.
    fn is_told(&self) -> bool {
        self.untold == 0 && self.reserved == 0 && self.told_reserved == 0
    }

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
        sleep(2 * TOLD_EVERY).await;
        assert!(!set(&other, 600).await);
        assert!(set(&other, 400).await);
        sleep(2 * TOLD_EVERY).await;
        // By what it knows there is room.
        assert!(set(&one, 1).await);
        sleep(TOLD_EVERY).await;
        assert!(!set(&one, 1).await);
        // A process that starts now knows it too.
        assert!(!set(&budget(&broker, 1000), 1).await);
        sleep(TTL + TTL / 8).await;
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
        sleep(4 * RESERVED_FOR).await;
        for budget in &budgets {
            assert!(budget.reserve(100).await.unwrap().is_none());
        }
        reserved.truncate(9);
        sleep(2 * TOLD_EVERY).await;
        reserved.push(budgets[5].reserve(100).await.unwrap().expect("room that was given back"));
        for mut reserved in reserved {
            reserved.commit(100);
        }
        sleep(2 * TOLD_EVERY).await;
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
        sleep(RESERVED_FOR).await;
        assert!(set(&budget, 1000).await);
    }

    /// A request that never fits reserves nothing, so that it keeps out no smaller ones at other budgets.
    #[tokio::test(start_paused = true)]
    async fn requests_that_do_not_fit_take_no_room_of_others() {
        let broker: SharedBroker = Memory::new().into();
        let small = budget(&broker, 1_000_000);
        assert!(set(&small, 500_000).await);
        sleep(2 * TOLD_EVERY).await;
        let mut large = tokio::task::JoinSet::new();
        for number in 0..4 {
            let budget = budget(&broker, 1_000_000);
            large.spawn(async move {
                sleep(Duration::from_millis(190 * number)).await;
                loop {
                    assert!(budget.reserve(600_000).await.unwrap().is_none());
                    sleep(Duration::from_millis(50)).await;
                }
            });
        }
        for _ in 0..500 {
            assert!(small.reserve(1000).await.unwrap().is_some());
            sleep(Duration::from_millis(17)).await;
        }
    }

    /// Room that was given back is there for other budgets at once, near the bound too.
    #[tokio::test(start_paused = true)]
    async fn bursts_near_the_bound_leave_room_for_each_other() {
        let broker: SharedBroker = Memory::new().into();
        assert!(set(&budget(&broker, 1_000_000), 900_000).await);
        sleep(2 * TOLD_EVERY).await;
        let mut bursts = tokio::task::JoinSet::new();
        for number in 0..4 {
            let budget = budget(&broker, 1_000_000);
            bursts.spawn(async move {
                sleep(Duration::from_millis(170 * number)).await;
                for _ in 0..20 {
                    let all = futures_util::future::join_all((0..200).map(|_| budget.reserve(1000))).await;
                    assert_eq!(all.into_iter().filter_map(Result::unwrap).count(), 100);
                    sleep(Duration::from_millis(800)).await;
                }
            });
        }
        bursts.join_all().await;
    }

    /// Far from the bound a mark waits for no answer, also after a silence, and the broker hears of it soon.
    #[tokio::test(start_paused = true)]
    async fn far_from_the_bound_no_caller_waits() {
        let broker: SharedBroker = Memory::new().into();
        let budget = budget(&broker, 1 << 30);
        assert!(set(&budget, 100).await);
        for number in 2..5 {
            sleep(Duration::from_secs(1)).await;
            let answered = budget.lock().answered;
            assert!(set(&budget, 100).await);
            assert_eq!(budget.lock().answered, answered);
            sleep(TOLD_EVERY).await;
            assert_eq!((told(&broker).await, budget.lock().answered - answered), (number * 100, 1));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_flush_tells_everything_at_once() {
        let broker: SharedBroker = Memory::new().into();
        let budget = budget(&broker, 1 << 30);
        assert!(set(&budget, 100).await);
        budget.flush().await.unwrap();
        assert_eq!(told(&broker).await, 100);
    }

    /// A task that ended with its runtime is not waited for.
    #[test]
    fn another_runtime_tells_the_broker_as_well() {
        let runtime = || tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let broker: SharedBroker = Memory::new().into();
        let budget = budget(&broker, 1 << 30);
        runtime().block_on(async { assert!(set(&budget, 100).await) });
        runtime().block_on(async {
            budget.add(1000);
            sleep(2 * TOLD_EVERY).await;
            assert_eq!(told(&broker).await, 1100);
        });
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
            sleep(2 * TOLD_EVERY).await;
            assert_eq!(told(&broker).await, counted);
        }
        let mut reserved = budget.reserve(200).await.unwrap().unwrap();
        reserved.risk(100);
        reserved.commit(30);
        drop(reserved);
        sleep(2 * TOLD_EVERY).await;
        assert_eq!(told(&broker).await, 150);
    }

    /// The sum in the broker, reservations included.
    async fn told(broker: &SharedBroker) -> u64 {
        let key = Topic::new("orders").unwrap().idempotency_meter();
        broker.charge(Charge { key, bytes: 0, ttl: TTL, reserved: None }).await.unwrap()
    }

    /// A reservation may be dropped while its runtime shuts down, where no task begins any more.
    #[test]
    fn a_reservation_may_end_with_its_runtime() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let budget = budget(&Memory::new().into(), 1000);
        let mut reserved = runtime.block_on(budget.reserve(100)).unwrap().unwrap();
        reserved.risk(10);
        runtime.spawn(async move {
            let _reserved = reserved;
            std::future::pending::<()>().await;
        });
        runtime.block_on(tokio::task::yield_now());
        drop(runtime);
        let known = budget.lock();
        assert_eq!((known.untold, known.is_telling), (10, false));
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
