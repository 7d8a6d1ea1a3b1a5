//! Messages that come twice are handled once.

use std::{
    task::{Context, Poll},
    time::Duration,
};

use futures_util::future::BoxFuture;
use streamerson_core::Reply;
use tower::{BoxError, Layer, Service};
use tracing::{debug, warn};

use crate::{handler_error::HandlerError, incoming::Incoming};

/// Answers a message whose id was handled within the window with the reply that it had then, instead of handling it again.
///
/// A message comes twice when a member dies between what its handler did and the ack, when a producer sends it again, or
/// when somebody replays it. That it was handled is remembered in the broker, in the same step as the ack: what is settled
/// once is not handled again, by any member of the group. What failed is not remembered, so it may be tried again and
/// replayed.
///
/// Two deliveries that are handled at the same moment both run, since neither is settled yet; and a handler that died
/// before its ack had been settled runs again, whatever it did. Its effects have to be idempotent as before, or to be
/// committed with the message's id.
///
/// It costs one question to the broker for each message, asked together with those of others, and one small key for each
/// message of the window.
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
pub struct DeduplicateLayer {
    window: Duration,
}

impl DeduplicateLayer {
    /// Remembers what was handled for so long.
    #[must_use]
    pub fn within(window: Duration) -> Self {
        Self { window }
    }
}

impl<Inner> Layer<Inner> for DeduplicateLayer {
    type Service = Deduplicate<Inner>;

    fn layer(&self, inner: Inner) -> Deduplicate<Inner> {
        Deduplicate { inner, window: self.window }
    }
}

/// What [`DeduplicateLayer`] makes of a handler.
#[derive(Debug, Clone)]
pub struct Deduplicate<Inner> {
    inner: Inner,
    window: Duration,
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
        let window = self.window;
        Box::pin(async move {
            if let Some(reply) = remembered(&incoming).await? {
                return Ok(reply);
            }
            incoming.remember_for(window);
            inner.call(incoming).await.map_err(Into::into)
        })
    }
}

/// What the message was answered with when it was handled before.
async fn remembered(incoming: &Incoming) -> Result<Option<Reply>, HandlerError> {
    let delivery = incoming.delivery();
    let (event, id) = (&delivery.message.event, &delivery.message.id);
    let mark = delivery.topic.done_mark(&delivery.membership.group, id);
    match incoming.run().broker.recall(vec![mark.clone()]).await {
        Ok(values) => match values.into_iter().next().flatten() {
            Some(stored) => {
                debug!(%event, %id, "handled before");
                // Something else wrote there; that it was handled is all that is known.
                Ok(Some(Reply::from_stored(&stored).unwrap_or_else(|| Reply::new(""))))
            }
            None => Ok(None),
        },
        Err(error) => {
            warn!(%event, %id, %mark, %error, "not known whether it was handled before; it goes back to its group");
            Err(HandlerError::unknown(&error))
        }
    }
}
