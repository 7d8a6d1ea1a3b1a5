//! The run loop: deliveries in, outcomes out, and a clean end.

use std::{
    panic::AssertUnwindSafe,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::FutureExt;
use streamerson_core::{
    Name, Reply, SharedBroker, Topic,
    group::{Held, MemberConfig},
    metrics::MemberMetrics,
};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::task::TaskTracker;
use tracing::info;

use crate::{
    error::RunError,
    handler_error::HandlerError,
    incoming::{Incoming, Run},
    membership::Grouped,
    outcome,
    router::Router,
};

/// How long handlers have to end once they are told that their time is over.
const LAST_MOMENT: Duration = Duration::from_secs(1);
/// The least time that outcomes get to be settled, even if the handlers took all of the drain.
const SETTLE_MIN: Duration = Duration::from_secs(2);

/// What runs a consumer.
pub(crate) struct Worker {
    pub(crate) source: Source,
    pub(crate) group: Name,
    pub(crate) member: MemberConfig,
    pub(crate) drain: Duration,
    pub(crate) router: Router,
}

/// Where messages come from.
pub(crate) enum Source {
    /// A group, which has each of them once.
    Grouped(Grouped),
    /// The topic's events for everyone.
    Broadcast(Topic),
}

impl Worker {
    /// Handles messages until told to stop, and then as far as the drain allows.
    pub(crate) async fn run(self, broker: SharedBroker, shutdown: impl Future<Output = ()>) -> Result<(), RunError> {
        let Self { source, group, member, drain, router } = self;
        let (metrics, events) = (&member.metrics, &member.named_events);
        let metrics = match &source {
            Source::Grouped(grouped) => metrics.member(grouped.topic(), &group, events),
            Source::Broadcast(topic) => metrics.listener(topic, events),
        };
        let handling = Handling {
            metrics,
            router,
            run: Arc::new(Run::new(Arc::clone(&broker), member.metrics.clone(), member.payload_bytes_max)),
            handled: AtomicU64::new(0),
        };
        let running = Running { broker, group, member, drain, handling: Arc::new(handling) };
        match source {
            Source::Grouped(grouped) => running.grouped(grouped, shutdown).await,
            Source::Broadcast(topic) => running.broadcast(topic, shutdown).await,
        }
    }
}

/// A consumer that runs, wherever its messages come from.
pub(crate) struct Running {
    pub(crate) broker: SharedBroker,
    pub(crate) group: Name,
    pub(crate) member: MemberConfig,
    pub(crate) drain: Duration,
    pub(crate) handling: Arc<Handling>,
}

impl Running {
    async fn grouped(self, grouped: Grouped, shutdown: impl Future<Output = ()>) -> Result<(), RunError> {
        let Self { broker, group, member, drain, handling } = self;
        let (concurrency, handlers) = (member.concurrency, handling.router.routes.len());
        let topic = grouped.topic().clone();
        let mut member = grouped.join(broker, group.clone(), member).await?;
        let name = member.name().clone();
        info!(%topic, %group, member = %name, concurrency, handlers, "consumer started");

        // Whoever drops this future instead of ending it does not leave handlers behind.
        let _ended = handling.run.over.clone().drop_guard();
        let tasks = TaskTracker::new();
        let mut shutdown = pin!(shutdown);
        loop {
            tokio::select! {
                biased;
                () = &mut shutdown => break,
                held = member.next() => match held {
                    // Boxed, as the runtime copies a new task several times before it runs.
                    Some(held) => _ = tasks.spawn(Box::pin(Arc::clone(&handling).handle(held))),
                    None => break,
                },
            }
        }

        let deadline = Instant::now() + drain;
        // At the same time: what was not handed out goes to others at once, and what ends is settled meanwhile.
        let patience = drain + 2 * LAST_MOMENT + SETTLE_MIN;
        let ((), handed_back) = tokio::join!(handling.run.end(&tasks, deadline), member.leave(patience));
        let unfinished = tasks.len();
        let handled = handling.handled.load(Ordering::Relaxed);
        info!(%topic, %group, member = %name, handled, handed_back, unfinished, "consumer stopped");
        Ok(())
    }
}

impl Run {
    /// Lets handlers end until the deadline, then tells them that their time is over, then drops them.
    pub(crate) async fn end(&self, tasks: &TaskTracker, deadline: Instant) {
        tasks.close();
        self.stopping.cancel();
        if timeout_at(deadline, tasks.wait()).await.is_ok() {
            return;
        }
        self.cancelled.cancel();
        if timeout(LAST_MOMENT, tasks.wait()).await.is_ok() {
            return;
        }
        self.over.cancel();
        // A handler that blocks its thread cannot be dropped, and is not waited for.
        _ = timeout(LAST_MOMENT, tasks.wait()).await;
    }
}

/// What the tasks of all messages share.
pub(crate) struct Handling {
    pub(crate) router: Router,
    pub(crate) run: Arc<Run>,
    metrics: Arc<MemberMetrics>,
    pub(crate) handled: AtomicU64,
}

impl Handling {
    /// One delivery, from its handler's first step to its outcome.
    async fn handle(self: Arc<Self>, held: Held) {
        let incoming = Incoming::new(&held, Arc::clone(&self.run));
        let settled =
            self.come_to(&incoming).await.and_then(|result| outcome::settled(&incoming, result, &self.router.retries));
        match settled {
            Some(settled) => {
                self.handled.fetch_add(1, Ordering::Relaxed);
                held.settle(settled).await;
            }
            None => held.hand_back(),
        }
    }

    /// What the handler comes to; nothing when the consumer stops before it begins, or before it ends and its time is over.
    pub(crate) async fn come_to(&self, incoming: &Incoming) -> Option<Result<Reply, HandlerError>> {
        let handling = self.metrics.of(&incoming.message().event).begin();
        // After a panic nothing of the handler is looked at again but what it emitted, and that is discarded.
        let handler = AssertUnwindSafe(self.router.handle(incoming.clone())).catch_unwind();
        let mut handler = pin!(handler);
        let result = tokio::select! {
            biased;
            result = &mut handler => result,
            () = self.run.stopping.cancelled() => {
                if incoming.give_up() {
                    return None;
                }
                tokio::select! {
                    biased;
                    result = &mut handler => result,
                    () = self.run.over.cancelled() => return None,
                }
            }
        };
        let result = result.unwrap_or_else(|panic| Err(HandlerError::panicked(&*panic)));
        if result.as_ref().err().is_none_or(HandlerError::is_of_handler) {
            handling.end();
        }
        Some(result)
    }
}
