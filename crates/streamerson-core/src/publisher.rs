//! Publishing: a sink of messages into one stream.

use std::{
    collections::HashSet,
    fmt,
    pin::Pin,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_sink::Sink;
use futures_util::task::AtomicWaker;
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::PollSender;
use tracing::{debug, warn};

use crate::{
    broker::{Append, Broker, BrokerError, SharedBroker},
    group::{Held, Outcome},
    message::Message,
    metrics::{ClientMetrics, Metrics},
    name::MessageId,
    produce,
    topic::StreamKey,
    wire::Wire,
};

/// Messages that may wait to be appended by one publisher, at most.
const QUEUE_MAX: usize = 1024;
/// How long a publisher keeps trying through an outage unless told otherwise.
const PATIENCE: Duration = Duration::from_secs(60);

/// A message for a [`Publisher`], and the delivery that it came of, if any, which ends once the message is appended.
#[derive(Debug)]
pub struct Outbound {
    pub(crate) message: Message,
    pub(crate) origin: Option<Held>,
}

impl From<Message> for Outbound {
    fn from(message: Message) -> Self {
        Self { message, origin: None }
    }
}

/// Appends messages to one stream, in order; a [`Sink`].
///
/// It is ready while it has room, so a stream forwarded into it runs no faster than the broker takes messages. Flushing
/// waits until all that was sent is confirmed. Outages are waited out, for a minute unless
/// [`with_patience`](Publisher::with_patience) says otherwise, without a message lost or appended twice; only then, or
/// when the broker refuses, does it fail, and then for good. A message that is too large is refused by itself.
///
/// Dropping it leaves what was sent to be appended; flush first to know that it is.
#[must_use = "a sink does nothing unless messages are sent into it"]
pub struct Publisher {
    key: StreamKey,
    wire: Wire,
    queue: PollSender<Queued>,
    progress: Arc<Progress>,
    sent: u64,
}

/// A message that waits to be appended, ready for the wire.
#[derive(Debug)]
struct Queued {
    id: MessageId,
    append: Append,
    origin: Option<Held>,
}

/// What the task tells the sink.
#[derive(Debug, Default)]
struct Progress {
    appended: AtomicU64,
    failed: Mutex<Option<BrokerError>>,
    waker: AtomicWaker,
    patience_ms: AtomicU64,
    metrics: OnceLock<Arc<ClientMetrics>>,
}

impl Publisher {
    pub(crate) fn new(broker: SharedBroker, key: StreamKey) -> Self {
        let (queue, queued) = mpsc::channel(QUEUE_MAX);
        let progress = Arc::new(Progress::default());
        progress.patience_ms.store(millis(PATIENCE), Ordering::Relaxed);
        tokio::spawn(append_all(broker, key.clone(), queued, Arc::clone(&progress)));
        Self { key, wire: Wire::default(), queue: PollSender::new(queue), progress, sent: 0 }
    }

    /// The same publisher, which gives up after an outage of this length.
    pub fn with_patience(self, patience: Duration) -> Self {
        self.progress.patience_ms.store(millis(patience), Ordering::Relaxed);
        self
    }

    /// The same publisher, for payloads of up to so many bytes instead of 1 MiB. Whoever handles the messages must allow
    /// as much.
    pub fn with_payload_bytes_max(mut self, bytes: usize) -> Self {
        self.wire.payload_bytes_max = bytes;
        self
    }

    /// The same publisher, which counts what is appended among the messages of the topic whose stream it is.
    pub fn with_metrics(self, metrics: &Metrics) -> Self {
        if let Some(topic) = self.key.topic() {
            // Only the first one counts.
            _ = self.progress.metrics.set(metrics.client(&topic));
        }
        self
    }

    /// Waits until all that was sent is appended.
    ///
    /// # Errors
    ///
    /// [`BrokerError`] when the publisher has failed.
    pub async fn flush(&mut self) -> Result<(), BrokerError> {
        std::future::poll_fn(|cx| self.poll_flushed(cx)).await
    }

    fn failure(&self) -> Option<BrokerError> {
        // Set once and only read after.
        self.progress.failed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn gone(&self) -> BrokerError {
        self.failure().unwrap_or_else(|| BrokerError::Interrupted {
            broker: self.key.as_str().into(),
            cause: "the publisher's task is gone".into(),
        })
    }

    fn poll_flushed(&self, cx: &mut Context<'_>) -> Poll<Result<(), BrokerError>> {
        self.progress.waker.register(cx.waker());
        if let Some(error) = self.failure() {
            return Poll::Ready(Err(error));
        }
        if self.progress.appended.load(Ordering::Acquire) == self.sent {
            return Poll::Ready(Ok(()));
        }
        if self.queue.is_closed() { Poll::Ready(Err(self.gone())) } else { Poll::Pending }
    }
}

impl<M: Into<Outbound>> Sink<M> for Publisher {
    type Error = BrokerError;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), BrokerError>> {
        if let Some(error) = self.failure() {
            return Poll::Ready(Err(error));
        }
        let reserved = ready!(self.queue.poll_reserve(cx));
        Poll::Ready(reserved.map_err(|_| self.gone()))
    }

    fn start_send(mut self: Pin<&mut Self>, message: M) -> Result<(), BrokerError> {
        let Outbound { message, origin } = message.into();
        let append = produce::append_of(self.wire, self.key.clone(), &message)?;
        self.queue.send_item(Queued { id: message.id, append, origin }).map_err(|_| self.gone())?;
        self.sent += 1;
        Ok(())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), BrokerError>> {
        self.poll_flushed(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), BrokerError>> {
        self.poll_flushed(cx)
    }
}

impl fmt::Debug for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher").field("key", &self.key).field("sent", &self.sent).finish_non_exhaustive()
    }
}

/// What queues while a batch is under way goes next, as one batch.
async fn append_all(broker: SharedBroker, key: StreamKey, mut queued: mpsc::Receiver<Queued>, progress: Arc<Progress>) {
    let mut batch = Vec::with_capacity(QUEUE_MAX);
    while queued.recv_many(&mut batch, QUEUE_MAX).await > 0 {
        let count = batch.len() as u64;
        let patience = Duration::from_millis(progress.patience_ms.load(Ordering::Relaxed));
        if let Err(error) = append_batch(&*broker, &key, &mut batch, patience).await {
            // What was not appended is not ended either: its origins stay pending and are delivered again.
            warn!(%key, messages = batch.len() + queued.len(), %error, "publishing failed; these are not appended");
            *progress.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            progress.waker.wake();
            return;
        }
        progress.appended.fetch_add(count, Ordering::Release);
        if let Some(metrics) = progress.metrics.get() {
            metrics.published.add(count);
        }
        progress.waker.wake();
    }
}

/// Appends messages in order, each once, through outages up to `patience`, and ends what they came of. What is left in
/// the batch was not appended, as far as is known.
async fn append_batch(
    broker: &dyn Broker,
    key: &StreamKey,
    batch: &mut Vec<Queued>,
    patience: Duration,
) -> Result<(), BrokerError> {
    let since = broker.now();
    let mut trouble: Option<Instant> = None;
    loop {
        let appends = batch.iter().map(|queued| queued.append.clone()).collect();
        let mut unknown = HashSet::new();
        let (mut left, mut transient, mut refused) = (Vec::new(), None, None);
        for (queued, result) in batch.drain(..).zip(broker.append(appends).await) {
            let Err(error) = result else {
                end(queued).await;
                continue;
            };
            if matches!(error, BrokerError::Interrupted { .. }) {
                unknown.insert(queued.id.clone());
            }
            left.push(queued);
            let kind = if error.is_transient() { &mut transient } else { &mut refused };
            *kind = Some(error);
        }
        *batch = left;
        if let Some(refused) = refused {
            return Err(refused);
        }
        let Some(cause) = transient else { return Ok(()) };
        debug!(%key, messages = batch.len(), error = %cause, "publishing must wait");
        let deadline = *trouble.get_or_insert_with(Instant::now) + patience;
        let find = async {
            // What the server has received and not carried out yet gets a moment to show.
            produce::pause().await;
            produce::wait_until_up(broker).await;
            produce::find_when_back(broker, key, since, unknown).await
        };
        let found = tokio::time::timeout_at(deadline, find).await.map_err(|_| cause)??;
        let found: HashSet<MessageId> = found.into_iter().map(|(id, _)| id).collect();
        let (appended, left) = std::mem::take(batch).into_iter().partition(|queued| found.contains(&queued.id));
        *batch = left;
        for queued in appended {
            end(queued).await;
        }
        if batch.is_empty() {
            return Ok(());
        }
    }
}

/// Ends the delivery that an appended message came of.
async fn end(queued: Queued) {
    if let Some(origin) = queued.origin {
        origin.settle(Outcome::Done).await;
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
