//! Messages that come twice are handled once.

use std::{
    sync::{Arc, OnceLock},
    task::{Context, Poll},
    time::Duration,
};

use futures_util::future::BoxFuture;
use http::StatusCode;
use streamerson_core::{
    Problem, Reply, StoredReply,
    group::Remember,
    mark_budget::{MarkBudget, MarkKind},
};
use tower::{BoxError, Layer, Service};
use tracing::{debug, warn};

use crate::{
    handler_error::HandlerError,
    incoming::{Incoming, Run},
    outcome,
};

/// Largest reply that is kept unless a layer says otherwise, in bytes.
const REPLY_BYTES_MAX: usize = 16 * 1024;
/// About how long the line is that a mark has before the reply: status, kind and fingerprint.
const HEAD_BYTES: usize = 140;

/// Answers a message whose id was handled within the window with the reply that it had then, instead of handling it again.
///
/// A message comes twice when a member dies between what its handler did and the ack, when a producer sends it again, or
/// when it is replayed from the dead letters. That it was handled is remembered in the broker, in the same step as the ack:
/// a message that was settled is not handled again, by any member of the group. A failed message is not remembered, so it may
/// be tried again and replayed.
///
/// Two deliveries that are handled at the same moment both run, since neither is settled yet; and a handler that died
/// before its ack had been settled runs again, whatever it did. Its effects have to be idempotent as before, or to be
/// committed with the message's id.
///
/// # Two messages with one id
///
/// A mark includes the message's [fingerprint](streamerson_core::Message::fingerprint): its event type, HTTP
/// request and payload. A message with the id of another one is not answered with that one's reply: it is refused with 422,
/// and an event becomes a dead letter, `rejected`.
///
/// # Bounds
///
/// A mark takes about 350 bytes and the reply, for the time of the window. A reply larger than
/// [`reply_bytes_max`](Self::reply_bytes_max) is not kept: that the message was handled is, and a request that comes again
/// is answered with 409. All marks of a group take [`bytes_max`](Self::bytes_max) at most: past that, messages are handled
/// and not remembered, which is logged and counted as `streamerson_marks_refused_total`.
///
/// The layer costs one question to the broker for each message, asked together with those of others.
///
/// ```
/// use std::time::Duration;
/// use streamerson_consumer::{Consumer, DeduplicateLayer, Topic};
///
/// let consumer: Consumer = Consumer::new(Topic::new("payments")?)
///     .on("payment.due", async || ())
///     .layer(DeduplicateLayer::within(Duration::from_secs(3600)));
/// # Ok::<(), streamerson_core::InvalidName>(())
/// ```
#[derive(Debug, Clone, Copy)]
#[must_use = "a layer does nothing until a consumer has it"]
pub struct DeduplicateLayer {
    window: Duration,
    reply_bytes_max: usize,
    bytes_max: u64,
}

impl DeduplicateLayer {
    /// Remembers what was handled for so long.
    pub fn within(window: Duration) -> Self {
        Self { window, reply_bytes_max: REPLY_BYTES_MAX, bytes_max: MarkBudget::BYTES_MAX_DEFAULT }
    }

    /// Largest reply that is kept, headers included, in bytes; 16,384 by default.
    pub fn reply_bytes_max(self, bytes: usize) -> Self {
        Self { reply_bytes_max: bytes, ..self }
    }

    /// How many bytes all marks of the topic's group may take in the broker, whichever process set them; 256 MiB by
    /// default. The members of a group should agree on it.
    pub fn bytes_max(self, bytes: u64) -> Self {
        Self { bytes_max: bytes, ..self }
    }
}

impl<Inner> Layer<Inner> for DeduplicateLayer {
    type Service = Deduplicate<Inner>;

    fn layer(&self, inner: Inner) -> Deduplicate<Inner> {
        Deduplicate { inner, layer: *self, budget: Arc::default() }
    }
}

/// A handler whose repeated messages are answered as before; made by [`DeduplicateLayer`].
#[derive(Debug, Clone)]
pub struct Deduplicate<Inner> {
    inner: Inner,
    layer: DeduplicateLayer,
    /// The bound of the group's marks, which is known with the first message.
    budget: Arc<OnceLock<MarkBudget>>,
}

impl<Inner> Service<Incoming> for Deduplicate<Inner>
where
    Inner: Service<Incoming, Response = Reply, Error: Into<BoxError>, Future: Send> + Clone + Send + 'static,
{
    type Response = Reply;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Reply, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, incoming: Incoming) -> Self::Future {
        // The clone that is ready is the one that is called.
        let next = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, next);
        let (layer, budget) = (self.layer, Arc::clone(&self.budget));
        Box::pin(async move {
            if let Some(reply) = remembered(&incoming).await? {
                return Ok(reply);
            }
            let reply = inner.call(incoming.clone()).await.map_err(Into::into)?;
            layer.remember(&incoming, &reply, &budget).await;
            Ok(reply)
        })
    }
}

impl DeduplicateLayer {
    /// Has a message remembered with its reply, within the bounds.
    async fn remember(self, incoming: &Incoming, reply: &Reply, budget: &OnceLock<MarkBudget>) {
        if outcome::status(reply).is_server_error() {
            // A failed message is not remembered.
            return;
        }
        let (delivery, Run { broker, metrics, .. }) = (incoming.delivery(), incoming.run());
        let (topic, group) = (&delivery.topic, &delivery.membership.group);
        let budget = budget.get_or_init(|| {
            let meter = topic.done_meter(group);
            let kind = MarkKind::Deduplication;
            MarkBudget::new(broker.clone(), topic, kind, meter, self.window, self.bytes_max, metrics)
        });
        // Events are not replied to, so nothing of their replies is kept.
        let value_len = delivery.message.inbox.as_ref().map_or(0, |_| bytes_of(reply));
        let keeps_reply = value_len <= self.reply_bytes_max;
        let mark = topic.done_mark(group, &delivery.message.id);
        let bytes = MarkBudget::bytes_of(&mark, HEAD_BYTES + if keeps_reply { value_len } else { 0 });
        match budget.reserve(bytes).await {
            Ok(Some(mut room)) => room.commit(bytes),
            Ok(None) => return budget.on_refused(),
            // While the broker cannot be asked, a mark too many is better than a message that is handled twice.
            Err(error) => {
                debug!(%mark, %error, "remembered without a look at the bytes of all marks");
                budget.add(bytes);
            }
        }
        incoming.set_remember(Remember { ttl: self.window, reply: keeps_reply });
    }
}

/// About how long a reply is in a mark, in bytes.
fn bytes_of(reply: &Reply) -> usize {
    let headers = reply.headers.iter().map(|(name, value)| name.len() + value.len() + 6);
    reply.payload.len() + headers.sum::<usize>()
}

/// The reply to a message that was handled before.
async fn remembered(incoming: &Incoming) -> Result<Option<Reply>, HandlerError> {
    let delivery = incoming.delivery();
    let (event, id) = (&delivery.message.event, &delivery.message.id);
    let mark = delivery.topic.done_mark(&delivery.membership.group, id);
    let stored = match incoming.run().broker.recall(vec![mark.clone()]).await {
        Ok(values) => values.into_iter().next().flatten(),
        Err(error) => {
            warn!(%event, %id, %mark, %error, "not known whether it was handled before; it goes back to its group");
            return Err(HandlerError::unknown(&error));
        }
    };
    let Some(stored) = stored else { return Ok(None) };
    // Of a value that something else wrote, that the message was handled is all that is known.
    let StoredReply { reply, fingerprint, .. } =
        StoredReply::decode(&stored).unwrap_or_else(|| StoredReply::new(Some(Reply::new("")), None));
    if fingerprint.is_some_and(|fingerprint| fingerprint != delivery.message.fingerprint()) {
        warn!(%event, %id, "refused a message with the id of another one, which was handled before");
        let problem = Problem::new(StatusCode::UNPROCESSABLE_ENTITY);
        return Err(HandlerError::rejected(problem.with_detail("another message with this id was handled before")));
    }
    debug!(%event, %id, "handled before");
    Ok(Some(reply.unwrap_or_else(|| {
        if delivery.message.inbox.is_none() {
            return Reply::new("");
        }
        let detail = "this request was handled before, and its reply was too large to be kept";
        Problem::new(StatusCode::CONFLICT).with_detail(detail).into()
    })))
}
