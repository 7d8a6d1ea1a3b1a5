//! What is counted of a broker: whoever implements the port does it, since nobody else sees connections.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::watch;

use super::{
    by_word::ByWord,
    number::{Buckets, Counter, Histogram},
    page::{Metric, Page},
};
use crate::broker::{BrokerError, Health};

/// 0.1 ms to 5 s: a broker in the same house answers within one millisecond.
const LATENCIES: Buckets = Buckets::of_nanos(&[
    100_000,
    250_000,
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
]);

const UP: Metric = Metric::gauge("streamerson_broker_up", "Whether the broker can be reached: 1 or 0.");
const RECONNECTS: Metric = Metric::counter(
    "streamerson_broker_reconnects_total",
    "Connections for writes that were made in place of a lost one.",
);
const COMMANDS: Metric = Metric::counter("streamerson_broker_commands_total", "Commands sent.");
const BATCHES: Metric =
    Metric::counter("streamerson_broker_batches_total", "Batches that commands were sent in, each one round trip.");
const SENT: Metric = Metric::counter("streamerson_broker_sent_bytes_total", "Bytes sent.");
const RECEIVED: Metric = Metric::counter("streamerson_broker_received_bytes_total", "Bytes received.");
const CALLS: Metric = Metric::histogram(
    "streamerson_broker_call_duration_seconds",
    "Time from asking the broker to its answer, by what is asked; reads that wait are not among it.",
);
const FAILURES: Metric = Metric::counter(
    "streamerson_broker_failures_total",
    "Calls that the broker did not answer as asked, by the error.",
);

/// What a broker is asked, in the words of the port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum BrokerCall {
    /// Entries are appended.
    Append,
    /// Deliveries are settled.
    Settle,
    /// Leases are renewed, taken over and handed back.
    Lease,
    /// Inboxes are kept and removed.
    Inbox,
    /// Streams are trimmed.
    Trim,
    /// Entries are scheduled, moved and taken back.
    Schedule,
    /// Something is looked up.
    Look,
    /// All that is seldom.
    Other,
}

impl BrokerCall {
    const ALL: [Self; 8] =
        [Self::Append, Self::Settle, Self::Lease, Self::Inbox, Self::Trim, Self::Schedule, Self::Look, Self::Other];

    fn as_str(self) -> &'static str {
        match self {
            Self::Append => "append",
            Self::Settle => "settle",
            Self::Lease => "lease",
            Self::Inbox => "inbox",
            Self::Trim => "trim",
            Self::Schedule => "schedule",
            Self::Look => "look",
            Self::Other => "other",
        }
    }
}

/// What is counted of one broker.
#[derive(Debug)]
pub struct BrokerMetrics {
    broker: Arc<str>,
    // Locked to replace it and to look at it once for each page.
    health: Mutex<Option<watch::Receiver<Health>>>,
    /// Connections for writes that were made in place of a lost one.
    pub reconnects: Counter,
    /// Commands sent, those of logins not counted.
    pub commands: Counter,
    /// Batches that commands were sent in.
    pub batches: Counter,
    /// Bytes sent.
    pub sent_bytes: Counter,
    /// Bytes received.
    pub received_bytes: Counter,
    calls: [Histogram; BrokerCall::ALL.len()],
    failures: ByWord<9>,
}

impl BrokerMetrics {
    pub(super) fn new(broker: Arc<str>) -> Self {
        Self {
            broker,
            health: Mutex::default(),
            reconnects: Counter::new(),
            commands: Counter::new(),
            batches: Counter::new(),
            sent_bytes: Counter::new(),
            received_bytes: Counter::new(),
            calls: BrokerCall::ALL.map(|_| Histogram::new(LATENCIES)),
            failures: ByWord::new(
                "error",
                [
                    "unavailable",
                    "interrupted",
                    "saturated",
                    "refused",
                    "no-group",
                    "wrong-type",
                    "full",
                    "protocol",
                    "other",
                ],
            ),
        }
    }

    /// Says from now on what this says of the broker, until whoever knows is gone.
    pub fn watch(&self, health: watch::Receiver<Health>) {
        *self.health.lock().unwrap_or_else(PoisonError::into_inner) = Some(health);
    }

    /// Waits for the answer to a call, and counts it.
    pub async fn observe<T>(
        &self,
        call: BrokerCall,
        answer: impl Future<Output = Result<T, BrokerError>>,
    ) -> Result<T, BrokerError> {
        self.time(call, answer).await.inspect_err(|error| self.failed(error))
    }

    /// The same for an answer that tells of failures in a way of its own.
    pub async fn time<A>(&self, call: BrokerCall, answer: impl Future<Output = A>) -> A {
        let asked = Instant::now();
        let answer = answer.await;
        self.answered(call, asked.elapsed(), 1);
        answer
    }

    /// Counts calls of one kind that took the same time.
    pub fn answered(&self, call: BrokerCall, took: Duration, calls: u64) {
        self.calls[call as usize].observe_times(took, calls);
    }

    /// Counts a failure.
    pub fn failed(&self, error: &BrokerError) {
        let index = match error {
            BrokerError::Unavailable { .. } => 0,
            BrokerError::Interrupted { .. } => 1,
            BrokerError::Saturated { .. } => 2,
            BrokerError::Refused { .. } => 3,
            BrokerError::NoGroup { .. } => 4,
            BrokerError::WrongType { .. } => 5,
            BrokerError::Full { .. } => 6,
            BrokerError::Protocol(_) => 7,
            BrokerError::Config { .. } | BrokerError::Gap { .. } => 8,
        };
        self.failures.at(index).add_one();
    }

    pub(super) fn write(&self, page: &mut Page) {
        let labels = [("broker", &*self.broker)];
        // What nobody knows any more is left out.
        let health = self.health.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(health) = health.filter(|health| health.has_changed().is_ok()) {
            page.sample(&UP, &labels, u8::from(health.borrow().is_up()));
        }
        for (metric, counter) in [
            (&RECONNECTS, &self.reconnects),
            (&COMMANDS, &self.commands),
            (&BATCHES, &self.batches),
            (&SENT, &self.sent_bytes),
            (&RECEIVED, &self.received_bytes),
        ] {
            page.counter(metric, &labels, counter);
        }
        for (call, histogram) in BrokerCall::ALL.iter().zip(&self.calls) {
            page.histogram(&CALLS, &[labels[0], ("call", call.as_str())], histogram);
        }
        self.failures.write(page, &FAILURES, &labels);
    }
}
