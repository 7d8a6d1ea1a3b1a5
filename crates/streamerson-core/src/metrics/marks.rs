//! The numbers of one kind of marks of one topic.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    lock,
    number::Counter,
    page::{Metric, Page},
};

const BYTES: Metric = Metric::gauge(
    "streamerson_marks_bytes",
    "Bytes that the marks of a topic take or have reserved in the broker, as this process heard within the last minute.",
);
const BYTES_MAX: Metric = Metric::gauge("streamerson_marks_bytes_max", "Bytes that the marks of a topic may take.");
const REFUSED: Metric = Metric::counter(
    "streamerson_marks_refused_total",
    "Marks that were not set, since their topic had no room for them.",
);

/// How long a sum is told after the broker has answered it: marks go meanwhile.
const TOLD_FOR: Duration = Duration::from_secs(60);

/// The numbers of one kind of marks of one topic.
#[derive(Debug)]
pub(crate) struct MarkMetrics {
    topic: Arc<str>,
    kind: &'static str,
    // Locked to set or copy it.
    heard: Mutex<Heard>,
    pub(crate) refused: Counter,
}

#[derive(Debug, Clone, Copy, Default)]
struct Heard {
    bytes: Option<(Instant, u64)>,
    bytes_max: u64,
}

impl MarkMetrics {
    pub(super) fn new(topic: Arc<str>, kind: &'static str) -> Self {
        Self { topic, kind, heard: Mutex::default(), refused: Counter::new() }
    }

    /// Takes over the sum that the broker has just answered.
    pub(crate) fn on_bytes(&self, bytes: u64) {
        lock(&self.heard).bytes = Some((Instant::now(), bytes));
    }

    /// Takes over the bound.
    pub(crate) fn on_bytes_max(&self, bytes_max: u64) {
        lock(&self.heard).bytes_max = bytes_max;
    }

    pub(super) fn write(&self, page: &mut Page) {
        let labels = [("topic", &*self.topic), ("kind", self.kind)];
        let Heard { bytes, bytes_max } = *lock(&self.heard);
        if let Some((heard, bytes)) = bytes
            && heard.elapsed() < TOLD_FOR
        {
            page.sample(&BYTES, &labels, bytes);
        }
        page.sample(&BYTES_MAX, &labels, bytes_max);
        page.counter(&REFUSED, &labels, &self.refused);
    }
}
