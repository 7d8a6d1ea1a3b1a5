//! The numbers of one kind of marks of one topic.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use super::{
    number::Counter,
    page::{Metric, Page},
};

const BYTES: Metric = Metric::gauge(
    "streamerson_marks_bytes",
    "Bytes that the marks of a topic take in the broker, as this process last heard.",
);
const BYTES_MAX: Metric = Metric::gauge("streamerson_marks_bytes_max", "Bytes that the marks of a topic may take.");
const REFUSED: Metric = Metric::counter(
    "streamerson_marks_refused_total",
    "Marks that were not set, since their topic had no room for them.",
);

/// The numbers of one kind of marks of one topic.
#[derive(Debug)]
pub(crate) struct MarkMetrics {
    topic: Arc<str>,
    kind: &'static str,
    pub(crate) bytes: Value,
    pub(crate) bytes_max: Value,
    pub(crate) refused: Counter,
}

/// A number that is set.
#[derive(Debug, Default)]
pub(crate) struct Value(AtomicU64);

impl Value {
    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl MarkMetrics {
    pub(super) fn new(topic: Arc<str>, kind: &'static str) -> Self {
        Self { topic, kind, bytes: Value::default(), bytes_max: Value::default(), refused: Counter::new() }
    }

    pub(super) fn write(&self, page: &mut Page) {
        let labels = [("topic", &*self.topic), ("kind", self.kind)];
        page.sample(&BYTES, &labels, self.bytes.get());
        page.sample(&BYTES_MAX, &labels, self.bytes_max.get());
        page.counter(&REFUSED, &labels, &self.refused);
    }
}
