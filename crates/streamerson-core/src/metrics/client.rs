//! What is counted of the clients of one topic.

use std::sync::Arc;

use tokio::time::Instant;

use super::{
    by_word::ByWord,
    number::{Buckets, Counter, Gauge, Histogram},
    page::{Metric, Page},
};
use crate::{broker::BrokerError, client::CallError, reply::Reply};

const CALLS: Metric = Metric::counter("streamerson_client_calls_total", "What became of requests.");
const DURATION: Metric = Metric::histogram(
    "streamerson_client_call_duration_seconds",
    "Time from a request to its reply, or to why there is none.",
);
const IN_FLIGHT: Metric =
    Metric::gauge("streamerson_client_calls_in_flight", "Requests that are being sent or wait for their reply.");
const INBOXES: Metric = Metric::gauge("streamerson_client_inboxes", "Inboxes that replies are read from.");
const APPENDED: Metric =
    Metric::counter("streamerson_client_appended_total", "Messages that the broker has confirmed, by what they are.");
const EVENTS: Metric = Metric::counter("streamerson_client_events_total", "What became of events.");

/// What became of a request or an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sent {
    /// The broker has the event.
    Appended,
    /// A reply came.
    Replied,
    /// A reply came that says that it failed.
    Failed,
    TimedOut,
    NoConsumers,
    Overloaded,
    Unavailable,
    Interrupted,
    /// It cannot be sent as it is.
    Refused,
    /// A reply came that cannot be used.
    InvalidReply,
    Closed,
    /// Whoever asked did not wait for the end.
    Dropped,
}

impl Sent {
    const CALLS: [&'static str; 11] = [
        "replied",
        "failed",
        "timed-out",
        "no-consumers",
        "overloaded",
        "unavailable",
        "interrupted",
        "refused",
        "invalid-reply",
        "closed",
        "dropped",
    ];
    const EVENTS: [&'static str; 7] =
        ["appended", "overloaded", "unavailable", "interrupted", "refused", "closed", "dropped"];

    pub(crate) fn of_call(result: &Result<Reply, CallError>) -> Self {
        match result {
            Ok(reply) if reply.is_error || reply.status_or_ok().is_server_error() => Self::Failed,
            Ok(_) => Self::Replied,
            Err(error) => Self::of_error(error),
        }
    }

    pub(crate) fn of_error(error: &CallError) -> Self {
        match error {
            CallError::TimedOut(_) => Self::TimedOut,
            CallError::NoConsumers => Self::NoConsumers,
            CallError::Failed(_) => Self::Failed,
            CallError::Overloaded(_) | CallError::Broker(BrokerError::Saturated { .. }) => Self::Overloaded,
            CallError::Broker(BrokerError::Interrupted { .. }) => Self::Interrupted,
            CallError::Broker(error) if error.is_transient() => Self::Unavailable,
            CallError::InvalidReply(_) | CallError::Decode(_) => Self::InvalidReply,
            CallError::Closed => Self::Closed,
            CallError::Broker(_)
            | CallError::DuplicateId(_)
            | CallError::Name(_)
            | CallError::TooLarge(_)
            | CallError::Encode(_) => Self::Refused,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Appended => "appended",
            Self::Replied => "replied",
            Self::Failed => "failed",
            Self::TimedOut => "timed-out",
            Self::NoConsumers => "no-consumers",
            Self::Overloaded => "overloaded",
            Self::Unavailable => "unavailable",
            Self::Interrupted => "interrupted",
            Self::Refused => "refused",
            Self::InvalidReply => "invalid-reply",
            Self::Closed => "closed",
            Self::Dropped => "dropped",
        }
    }
}

/// What is counted of the clients of one topic.
#[derive(Debug)]
pub(crate) struct ClientMetrics {
    topic: Arc<str>,
    calls: ByWord<{ Sent::CALLS.len() }>,
    duration: Histogram,
    started: Counter,
    pub(crate) inboxes: Gauge,
    /// Requests that the broker has; of events, their outcome says so.
    pub(crate) requests: Counter,
    /// What publishers were given, and the broker has.
    pub(crate) published: Counter,
    events: ByWord<{ Sent::EVENTS.len() }>,
}

impl ClientMetrics {
    pub(super) fn new(topic: Arc<str>) -> Self {
        Self {
            topic,
            calls: ByWord::new("outcome", Sent::CALLS),
            duration: Histogram::new(Buckets::LATENCIES),
            started: Counter::new(),
            inboxes: Gauge::new(),
            requests: Counter::new(),
            published: Counter::new(),
            events: ByWord::new("outcome", Sent::EVENTS),
        }
    }

    /// A request begins; it is counted when the guard goes, also when nothing comes of it.
    pub(crate) fn call(&self, asked: Instant) -> Sending<'_> {
        self.started.add_one();
        let asked = Some(asked);
        Sending { metrics: self, asked, outcome: Sent::Dropped }
    }

    /// The same for an event.
    pub(crate) fn event(&self) -> Sending<'_> {
        Sending { metrics: self, asked: None, outcome: Sent::Dropped }
    }

    pub(super) fn write(&self, page: &mut Page) {
        let labels = [("topic", &*self.topic)];
        self.calls.write(page, &CALLS, &labels);
        page.histogram(&DURATION, &labels, &self.duration);
        // Looked at in this order, a call that ends meanwhile is not missing.
        let ended = self.calls.sum();
        page.sample(&IN_FLIGHT, &labels, self.started.get().saturating_sub(ended));
        page.gauge(&INBOXES, &labels, &self.inboxes);
        // The first word: an event that has ended well is one that the broker has.
        let events = self.events.at(0);
        for (kind, messages) in [("request", &self.requests), ("event", events), ("published", &self.published)] {
            page.counter(&APPENDED, &[labels[0], ("kind", kind)], messages);
        }
        self.events.write(page, &EVENTS, &labels);
    }
}

/// A request or an event on its way.
pub(crate) struct Sending<'a> {
    metrics: &'a ClientMetrics,
    /// Of a request, since when.
    asked: Option<Instant>,
    outcome: Sent,
}

impl Sending<'_> {
    pub(crate) fn ends(mut self, outcome: Sent) {
        self.outcome = outcome;
    }
}

impl Drop for Sending<'_> {
    fn drop(&mut self) {
        match &self.asked {
            Some(asked) => {
                self.metrics.calls.count(self.outcome.as_str());
                // How long somebody would have waited who did not says nothing.
                if self.outcome != Sent::Dropped {
                    self.metrics.duration.observe_time(asked.elapsed());
                }
            }
            None => self.metrics.events.count(self.outcome.as_str()),
        }
    }
}
