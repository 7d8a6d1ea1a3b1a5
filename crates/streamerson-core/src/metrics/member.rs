//! What is counted of the members of one group.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use super::{
    EVERYONE, OTHER,
    by_word::ByWord,
    number::{Buckets, Counter, Histogram},
    page::{Metric, Page},
};
use crate::{broker::Delivered, dead_letter::Reason, group::Outcome, name::EventType};

/// 0.5 ms to 1 min.
const HANDLING: Buckets = Buckets::of_nanos(&[
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
    30_000_000_000,
    60_000_000_000,
]);
/// Up to the largest batch that a member settles.
const BATCHES: Buckets = Buckets::of_numbers(&[1, 2, 4, 8, 16, 32, 64, 128, 256]);

const DELIVERIES: Metric = Metric::counter(
    "streamerson_member_deliveries_total",
    "Deliveries taken: first ones, and those of messages that somebody had before.",
);
const OUTCOMES: Metric = Metric::counter("streamerson_member_outcomes_total", "What became of deliveries.");
const DEAD: Metric =
    Metric::counter("streamerson_member_dead_letters_total", "Messages that became dead letters, by the reason.");
const DEAD_DROPPED: Metric = Metric::counter(
    "streamerson_member_dead_letters_dropped_total",
    "Dead letters that gave way to newer ones, past the bound of their stream.",
);
const LOST: Metric = Metric::counter(
    "streamerson_member_leases_lost_total",
    "Deliveries that others took while this process worked on them.",
);
const TAKEN_OVER: Metric =
    Metric::counter("streamerson_member_taken_over_total", "Deliveries taken over that nobody held any more.");
const HANDED_BACK: Metric = Metric::counter(
    "streamerson_member_handed_back_total",
    "Deliveries handed back: not begun, or not ended when the member stopped.",
);
const BATCH: Metric =
    Metric::histogram("streamerson_member_settled_batch_deliveries", "Deliveries settled in one step.");
const MOVED: Metric = Metric::counter(
    "streamerson_member_scheduled_moved_total",
    "Scheduled messages moved into the stream when they were due.",
);
const DURATION: Metric =
    Metric::histogram("streamerson_handler_duration_seconds", "Time that handlers and the layers around them took.");
const IN_FLIGHT: Metric =
    Metric::gauge("streamerson_handler_in_flight", "Messages that handlers, or the layers around them, have.");

/// The words for outcomes, in the order of [`index`].
const OUTCOME_WORDS: [&str; 5] = ["replied", "done", "retried", "expired", "dead-lettered"];
const REASONS: [Reason; 7] = [
    Reason::Malformed,
    Reason::NoHandler,
    Reason::Failed,
    Reason::Panicked,
    Reason::Rejected,
    Reason::Abandoned,
    Reason::Trimmed,
];

/// What is counted of the members of one group in this process.
#[derive(Debug)]
pub(crate) struct GroupMetrics {
    topic: Arc<str>,
    group: Arc<str>,
    deliveries: ByWord<2>,
    pub(crate) dead_dropped: Counter,
    pub(crate) leases_lost: Counter,
    pub(crate) taken_over: Counter,
    pub(crate) handed_back: Counter,
    pub(crate) moved: Counter,
    pub(crate) batches: Histogram,
    // Locked when a member joins, and to write a page.
    events: Mutex<BTreeMap<EventType, Arc<EventMetrics>>>,
    other: Arc<EventMetrics>,
}

impl GroupMetrics {
    pub(super) fn new(topic: Arc<str>, group: Arc<str>) -> Self {
        Self {
            topic,
            group,
            deliveries: ByWord::new("delivery", ["first", "again"]),
            dead_dropped: Counter::new(),
            leases_lost: Counter::new(),
            taken_over: Counter::new(),
            handed_back: Counter::new(),
            moved: Counter::new(),
            batches: Histogram::new(BATCHES),
            events: Mutex::default(),
            other: Arc::default(),
        }
    }

    pub(crate) fn delivered(&self, deliveries: &[Delivered]) {
        let again = deliveries.iter().filter(|delivered| delivered.count > 1).count();
        self.deliveries.at(0).add((deliveries.len() - again) as u64);
        self.deliveries.at(1).add(again as u64);
    }

    /// Dead letters that were made without a look at the message.
    pub(crate) fn trimmed(&self, messages: u64) {
        self.other.dead(Reason::Trimmed, messages);
    }

    fn event(&self, event: &EventType) -> Arc<EventMetrics> {
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(events.entry(event.clone()).or_default())
    }

    pub(super) fn write(&self, page: &mut Page) {
        let labels = [("topic", &*self.topic), ("group", &*self.group)];
        if &*self.group == EVERYONE {
            return self
                .each_event(|event, metrics| metrics.write_handlers(page, &[labels[0], labels[1], ("event", event)]));
        }
        self.deliveries.write(page, &DELIVERIES, &labels);
        for (metric, counter) in [
            (&DEAD_DROPPED, &self.dead_dropped),
            (&LOST, &self.leases_lost),
            (&TAKEN_OVER, &self.taken_over),
            (&HANDED_BACK, &self.handed_back),
            (&MOVED, &self.moved),
        ] {
            page.counter(metric, &labels, counter);
        }
        page.histogram(&BATCH, &labels, &self.batches);
        self.each_event(|event, metrics| metrics.write(page, &[labels[0], labels[1], ("event", event)]));
    }

    fn each_event(&self, mut each: impl FnMut(&str, &EventMetrics)) {
        let events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        events.iter().for_each(|(event, metrics)| each(event, metrics));
        each(OTHER, &self.other);
    }
}

/// What one member counts: its group's numbers, and those of the event types that it names. Which those are does not
/// change while it lives, so a look takes no lock.
#[derive(Debug)]
pub struct MemberMetrics {
    pub(crate) group: Arc<GroupMetrics>,
    /// In order, so that a look is a few comparisons.
    events: Vec<(EventType, Arc<EventMetrics>)>,
}

impl MemberMetrics {
    pub(super) fn new<'a>(group: Arc<GroupMetrics>, events: impl IntoIterator<Item = &'a EventType>) -> Self {
        let mut events: Vec<_> = events.into_iter().map(|event| (event.clone(), group.event(event))).collect();
        events.sort_by(|(one, _), (other, _)| one.cmp(other));
        Self { group, events }
    }

    /// What is counted of this event type; of one without a name here, what is counted of all those.
    #[must_use]
    pub fn of(&self, event: &EventType) -> &EventMetrics {
        match self.events.binary_search_by(|(named, _)| named.cmp(event)) {
            Ok(index) => &self.events[index].1,
            Err(_) => &self.group.other,
        }
    }

    /// The same for what may be no message at all.
    pub(crate) fn of_any(&self, event: Option<&EventType>) -> &EventMetrics {
        event.map_or(&self.group.other, |event| self.of(event))
    }
}

/// What is counted of one event type.
#[derive(Debug)]
pub struct EventMetrics {
    begun: Counter,
    /// Those that came to no end of their own, and so are not among the durations.
    given_up: Counter,
    duration: Histogram,
    outcomes: ByWord<{ OUTCOME_WORDS.len() }>,
    dead: ByWord<{ REASONS.len() }>,
}

impl Default for EventMetrics {
    fn default() -> Self {
        Self {
            begun: Counter::new(),
            given_up: Counter::new(),
            duration: Histogram::new(HANDLING),
            outcomes: ByWord::new("outcome", OUTCOME_WORDS),
            dead: ByWord::new("reason", REASONS.map(Reason::as_str)),
        }
    }
}

impl EventMetrics {
    /// A handler begins.
    pub fn begin(&self) -> Handling<'_> {
        self.begun.add_one();
        Handling { metrics: self, since: Some(Instant::now()) }
    }

    pub(crate) fn ended(&self, end: End, deliveries: u64) {
        match end {
            End::Dead(reason) => self.dead(reason, deliveries),
            End::Replied | End::Done | End::Retried | End::Expired => self.outcomes.at(end.index()).add(deliveries),
        }
    }

    fn dead(&self, reason: Reason, messages: u64) {
        self.outcomes.at(End::Dead(reason).index()).add(messages);
        if let Some(index) = REASONS.iter().position(|it| *it == reason) {
            self.dead.at(index).add(messages);
        }
    }

    fn write_handlers(&self, page: &mut Page, labels: &[(&str, &str)]) {
        // Looked at in this order, one that ends meanwhile is not missing.
        let ended = self.duration.count() + self.given_up.get();
        page.sample(&IN_FLIGHT, labels, self.begun.get().saturating_sub(ended));
        page.histogram(&DURATION, labels, &self.duration);
    }

    fn write(&self, page: &mut Page, labels: &[(&str, &str)]) {
        self.write_handlers(page, labels);
        self.outcomes.write(page, &OUTCOMES, labels);
        self.dead.write(page, &DEAD, labels);
    }
}

/// How a delivery ended, as it is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Replied,
    Done,
    Retried,
    Expired,
    Dead(Reason),
}

impl End {
    /// With `asked`, somebody waits for a reply.
    pub(crate) fn of(outcome: &Outcome, asked: bool) -> Self {
        match outcome {
            Outcome::Replied(_) if asked => Self::Replied,
            Outcome::Replied(_) | Outcome::Done => Self::Done,
            Outcome::Retried { .. } => Self::Retried,
            Outcome::Expired => Self::Expired,
            Outcome::Dead { reason, .. } => Self::Dead(*reason),
        }
    }

    fn index(self) -> usize {
        match self {
            Self::Replied => 0,
            Self::Done => 1,
            Self::Retried => 2,
            Self::Expired => 3,
            Self::Dead(_) => 4,
        }
    }
}

/// A message that a handler has, until this is dropped.
#[derive(Debug)]
#[must_use = "a handler has the message for as long as this lives"]
pub struct Handling<'a> {
    metrics: &'a EventMetrics,
    /// Until it has ended.
    since: Option<Instant>,
}

impl Handling<'_> {
    /// The handler has come to an end by itself, so that the time which it took says something.
    pub fn end(mut self) {
        if let Some(since) = self.since.take() {
            self.metrics.duration.observe_time(since.elapsed());
        }
    }
}

impl Drop for Handling<'_> {
    fn drop(&mut self) {
        self.metrics.given_up.add(u64::from(self.since.is_some()));
    }
}
