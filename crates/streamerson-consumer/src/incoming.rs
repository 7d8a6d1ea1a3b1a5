//! What travels through layers to a handler.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
};

use http::Extensions;
use streamerson_core::{
    Message, Metrics, SharedBroker, StreamKey, UnixMillis,
    group::{Delivery, Held, Lease, Remember},
};
use tokio_util::sync::CancellationToken;

use crate::handler_error::HandlerError;

/// A delivery on its way to its handler, with what extractors need: the request type of the tower services that
/// handlers and layers are. Cheap to clone.
#[derive(Clone)]
pub struct Incoming {
    inner: Arc<Inner>,
    extensions: Extensions,
}

struct Inner {
    delivery: Arc<Delivery>,
    lease: Lease,
    run: Arc<Run>,
    /// [`WAITING`], [`BEGUN`] or [`GIVEN_UP`].
    progress: AtomicU8,
    /// Whether it is remembered that the message was handled.
    // Locked to set or copy it, never across an await.
    remember: Mutex<Option<Remember>>,
    /// What the handler sent out; `None` once that is settled.
    // Locked to push one message or to take all, never across an await.
    emitted: Mutex<Option<Vec<(StreamKey, Message)>>>,
}

/// No handler has had it yet.
const WAITING: u8 = 0;
/// A handler has had it.
const BEGUN: u8 = 1;
/// It goes to another member, so no handler of this one may have it any more.
const GIVEN_UP: u8 = 2;

/// What all deliveries of one running consumer share.
pub(crate) struct Run {
    pub(crate) broker: SharedBroker,
    pub(crate) metrics: Metrics,
    /// Longest payload, in bytes.
    #[cfg_attr(not(feature = "http"), expect(dead_code, reason = "only responses are made piece by piece"))]
    pub(crate) payload_bytes_max: usize,
    /// No handler begins any more.
    pub(crate) stopping: CancellationToken,
    /// Handlers that still run have a last moment to end.
    pub(crate) cancelled: CancellationToken,
    /// Handlers that still run are dropped.
    pub(crate) over: CancellationToken,
}

impl Run {
    pub(crate) fn new(broker: SharedBroker, metrics: Metrics, payload_bytes_max: usize) -> Self {
        // The end of one stage is the end of those before it.
        let over = CancellationToken::new();
        let cancelled = over.child_token();
        Self { broker, metrics, payload_bytes_max, stopping: cancelled.child_token(), cancelled, over }
    }
}

impl Incoming {
    pub(crate) fn new(held: &Held, run: Arc<Run>) -> Self {
        Self::of(Arc::clone(&held.delivery), held.lease(), run)
    }

    /// One that no group has, and so no lease.
    pub(crate) fn of_event(delivery: Delivery, run: Arc<Run>) -> Self {
        Self::of(Arc::new(delivery), Lease::default(), run)
    }

    fn of(delivery: Arc<Delivery>, lease: Lease, run: Arc<Run>) -> Self {
        let inner = Inner {
            delivery,
            lease,
            run,
            progress: AtomicU8::new(WAITING),
            remember: Mutex::new(None),
            emitted: Mutex::new(Some(Vec::new())),
        };
        Self { inner: Arc::new(inner), extensions: Extensions::new() }
    }

    /// The message.
    #[must_use]
    pub fn message(&self) -> &Message {
        &self.inner.delivery.message
    }

    /// The message with its topic, its entry and how often it was delivered.
    #[must_use]
    pub fn delivery(&self) -> &Delivery {
        &self.inner.delivery
    }

    /// What layers left for layers and handlers further in; [`Extension`](crate::extract::Extension) extracts it.
    #[must_use]
    pub fn extensions(&self) -> &Extensions {
        &self.extensions
    }

    /// The same, to be changed. Clones made before don't see it.
    pub fn extensions_mut(&mut self) -> &mut Extensions {
        &mut self.extensions
    }

    /// The broker's clock.
    pub(crate) fn now(&self) -> UnixMillis {
        self.inner.run.broker.now()
    }

    pub(crate) fn run(&self) -> &Run {
        &self.inner.run
    }

    pub(crate) fn lease(&self) -> &Lease {
        &self.inner.lease
    }

    /// Marks the point from which a handler has the message, unless it is too late for that.
    ///
    /// Layers may have queued the message, so its deadline may have passed and the consumer may have given it up.
    pub(crate) fn begin(&self) -> Result<(), HandlerError> {
        let deadline = self.message().deadline;
        if deadline.is_some() && self.inner.delivery.is_expired(self.now()) {
            return Err(HandlerError::expired());
        }
        if self.inner.lease.is_cancelled() {
            return Err(HandlerError::cancelled());
        }
        // A layer that tries again finds it begun already, which is as good.
        match self.inner.progress.compare_exchange(WAITING, BEGUN, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) | Err(BEGUN) => Ok(()),
            Err(_) => Err(HandlerError::unstarted()),
        }
    }

    /// Makes sure that no handler gets the message from here on; `false` when one has had it.
    pub(crate) fn give_up(&self) -> bool {
        let given_up = self.inner.progress.compare_exchange(WAITING, GIVEN_UP, Ordering::AcqRel, Ordering::Acquire);
        given_up.is_ok()
    }

    /// Runs `push` on what was emitted so far, if that is not settled yet.
    pub(crate) fn with_emitted<T>(&self, push: impl FnOnce(&mut Vec<(StreamKey, Message)>) -> T) -> Option<T> {
        self.lock_emitted().as_mut().map(push)
    }

    /// Has the message remembered as handled once it is settled; the layer that is furthest out decides, as the last one.
    pub(crate) fn set_remember(&self, remember: Remember) {
        *self.inner.remember.lock().unwrap_or_else(PoisonError::into_inner) = Some(remember);
    }

    pub(crate) fn remember(&self) -> Option<Remember> {
        *self.inner.remember.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what was emitted; nothing can be added from here on.
    pub(crate) fn take_emitted(&self) -> Vec<(StreamKey, Message)> {
        self.lock_emitted().take().unwrap_or_default()
    }

    fn lock_emitted(&self) -> std::sync::MutexGuard<'_, Option<Vec<(StreamKey, Message)>>> {
        // A vector is whole after each push, so a panic elsewhere can't leave it half-made.
        self.inner.emitted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let delivery = &self.inner.delivery;
        f.debug_struct("Incoming")
            .field("event", &delivery.message.event)
            .field("id", &delivery.message.id)
            .field("entry", &delivery.entry)
            .finish_non_exhaustive()
    }
}
