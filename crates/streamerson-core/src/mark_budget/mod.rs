//! The bound of the marks that one topic may have, in bytes.
//!
//! Marks are kept for hours, and callers decide how many there are: without a bound they could fill the broker. The sum is
//! kept in the broker by a [meter](crate::Broker::charge), so it holds over all processes and is there after restarts.

#[cfg(test)]
mod tests;

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
