//! Both sides of what is measured: clients that send, and the one member that handles.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use streamerson::consumer::{Consumer, Incoming, RunError, State};
use streamerson::core::{
    BrokerError, Client, EventType, Message, Reply, SharedBroker, Topic,
    client::{ClientConfig, Request},
};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::timeout,
};

use super::load::{self, Measured};
use crate::failure::Failure;

/// The event type of all messages, and the group that handles them.
const EVENT: &str = "bench";
const GROUP: &str = "bench";

/// How long one read of the worker waits, and so how long its end may take.
const BLOCK: Duration = Duration::from_millis(500);

/// How long a message may take: far longer than any that does not fail.
const TIMEOUT: Duration = Duration::from_secs(10);

/// How long a worker that is cut off has for what it has begun.
const DRAIN: Duration = Duration::from_secs(2);

/// How long all workers have to end.
const END_MAX: Duration = Duration::from_secs(5);

/// How often is looked whether all is consumed.
const LOOK_INTERVAL: Duration = Duration::from_millis(2);

pub(super) struct Work {
    broker: SharedBroker,
    client: Client,
    event: EventType,
    payload: Bytes,
    limit: Duration,
    /// Each worker holds a sender, so that the receiver knows when all have ended.
    lives: (mpsc::Sender<()>, mpsc::Receiver<()>),
}

/// A worker that answers until it is told to end, or this is dropped.
pub(super) struct Answering {
    stop: oneshot::Sender<()>,
    running: JoinHandle<Result<(), RunError>>,
    handled: Arc<AtomicUsize>,
}

impl Work {
    pub(super) fn new(broker: &SharedBroker, payload_bytes: usize, limit: Duration) -> Self {
        let mut config = ClientConfig::default();
        config.timeout = TIMEOUT;
        // How much is appended is bounded by the number of messages.
        config.backlog_max = u64::MAX;
        // A JSON string, as far as there is room for one.
        let payload = match payload_bytes {
            0 | 1 => "7".repeat(payload_bytes),
            more => format!("\"{}\"", "x".repeat(more - 2)),
        };
        Self {
            broker: broker.clone(),
            client: Client::with_config(broker.clone(), config),
            event: EventType::new(EVENT).expect("a word is an event type"),
            payload: payload.into(),
            limit,
            lives: mpsc::channel(1),
        }
    }

    /// Events, each confirmed.
    pub(super) async fn append(&self, topic: &Topic, in_flight: usize, count: usize) -> Result<Measured, Failure> {
        let (client, topic) = (self.client.clone(), topic.clone());
        let (event, payload) = (self.event.clone(), self.payload.clone());
        let emit = move || {
            let (client, topic) = (client.clone(), topic.clone());
            let message = Message::new(event.clone(), payload.clone());
            async move { client.emit(&topic, message).await.map(drop) }
        };
        let measured = load::run(in_flight, count, self.limit, emit).await;
        measured.map_err(|error| Failure::failed("an event could not be appended").because(error))
    }

    /// All that was appended, from the first read to the last ack; what is left when time is up is left.
    pub(super) async fn consume(&self, topic: &Topic, count: usize) -> Result<Measured, Failure> {
        let failed = |error: BrokerError| Failure::failed("the events could not be consumed").because(error);
        let begun = Instant::now();
        let worker = self.answer(topic);
        loop {
            tokio::time::sleep(LOOK_INTERVAL).await;
            let handled = worker.handled.load(Ordering::Relaxed);
            let is_late = begun.elapsed() >= self.limit;
            if handled < count && !is_late && !worker.running.is_finished() {
                continue;
            }
            let groups = self.broker.groups(&topic.inbound()).await.map_err(failed)?;
            let pending: u64 = groups.iter().map(|group| group.pending).sum();
            if pending == 0 || is_late || worker.running.is_finished() {
                let measured = Measured::new(handled.min(count), begun.elapsed(), Vec::new());
                worker.end().await?;
                return Ok(measured);
            }
        }
    }

    /// Requests, each answered.
    pub(super) async fn request(&self, topic: &Topic, in_flight: usize, count: usize) -> Result<Measured, Failure> {
        let (client, topic) = (self.client.clone(), topic.clone());
        let (event, payload) = (self.event.clone(), self.payload.clone());
        let request = move || {
            let (client, topic) = (client.clone(), topic.clone());
            let request = Request::new(event.clone(), payload.clone());
            async move { client.request(&topic, request).await.map(drop) }
        };
        let measured = load::run(in_flight, count, self.limit, request).await;
        measured.map_err(|error| Failure::failed("a request was not answered").because(error))
    }

    /// Starts a worker.
    pub(super) fn answer(&self, topic: &Topic) -> Answering {
        let handled = Arc::new(AtomicUsize::new(0));
        let (stop, stopped) = oneshot::channel::<()>();
        let consumer = Consumer::new(topic.clone())
            .fallback(handle)
            .with_state(Arc::clone(&handled))
            .group(GROUP)
            .block(BLOCK)
            .drain(DRAIN);
        let (broker, lives) = (self.broker.clone(), self.lives.0.clone());
        let running = tokio::spawn(async move {
            let ended = consumer.run(broker, async { _ = stopped.await }).await;
            drop(lives);
            ended
        });
        Answering { stop, running, handled }
    }

    /// Removes the inboxes, and waits until no worker is left that could make a group again that is removed.
    pub(super) async fn end(self) {
        let Self { client, lives: (life, mut lives), .. } = self;
        drop(life);
        _ = timeout(END_MAX, async {
            client.close().await;
            lives.recv().await;
        })
        .await;
    }
}

impl Answering {
    pub(super) async fn end(self) -> Result<(), Failure> {
        _ = self.stop.send(());
        match self.running.await {
            Ok(ended) => ended.map_err(|error| Failure::failed("the worker failed").because(error)),
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }
}

async fn handle(State(handled): State<Arc<AtomicUsize>>, incoming: Incoming) -> Reply {
    handled.fetch_add(1, Ordering::Relaxed);
    Reply::new(incoming.message().payload.clone())
}
