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
    Name, SharedBroker, Topic,
    group::{Held, Member, MemberConfig, ShardedMember},
    shards::Shards,
};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::task::TaskTracker;
use tracing::info;

use crate::{
    error::RunError,
    handler_error::HandlerError,
    incoming::{Incoming, Run},
    outcome,
    router::Router,
};

/// How long handlers have to end once they are told that their time is over.
const LAST_MOMENT: Duration = Duration::from_secs(1);
/// The least time that outcomes get to be settled, even if the handlers took all of the drain.
const SETTLE_MIN: Duration = Duration::from_secs(2);

/// Where messages come from.
pub(crate) enum Source {
    Topic(Topic),
    Shards(Shards),
}

/// The member of the group, as it takes deliveries from one topic or from shards.
enum Membership {
    One(Member),
    Shards(ShardedMember),
}

impl Membership {
    async fn join(broker: SharedBroker, source: Source, group: Name, config: MemberConfig) -> Result<Self, RunError> {
        Ok(match source {
            Source::Topic(topic) => Self::One(Member::join(broker, topic, group, config).await?),
            Source::Shards(shards) => Self::Shards(ShardedMember::join(broker, shards, group, config).await?),
        })
    }

    fn name(&self) -> &Name {
        match self {
            Self::One(member) => &member.membership().member,
            Self::Shards(member) => member.name(),
        }
    }

    async fn next(&mut self) -> Option<Held> {
        match self {
            Self::One(member) => member.next().await,
            Self::Shards(member) => member.next().await,
        }
    }

    async fn leave(self, patience: Duration) -> usize {
        match self {
            Self::One(member) => member.leave(patience).await,
            Self::Shards(member) => member.leave(patience).await,
        }
    }
}

/// What runs a consumer.
pub(crate) struct Worker {
    pub(crate) source: Source,
    pub(crate) group: Name,
    pub(crate) member: MemberConfig,
    pub(crate) drain: Duration,
    pub(crate) router: Router,
}

impl Worker {
    /// Handles deliveries until told to stop, and then as far as the drain allows.
    pub(crate) async fn run(self, broker: SharedBroker, shutdown: impl Future<Output = ()>) -> Result<(), RunError> {
        let Self { source, group, member, drain, router } = self;
        let (concurrency, handlers) = (member.concurrency, router.routes.len());
        let payload_bytes_max = member.payload_bytes_max;
        let topic = match &source {
            Source::Topic(topic) => topic.clone(),
            Source::Shards(shards) => shards.topic().clone(),
        };
        let mut member = Membership::join(Arc::clone(&broker), source, group.clone(), member).await?;
        let name = member.name().clone();
        info!(%topic, %group, member = %name, concurrency, handlers, "consumer started");

        let handling = Arc::new(Handling {
            router,
            run: Arc::new(Run::new(broker, payload_bytes_max)),
            handled: AtomicU64::new(0),
        });
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
    async fn end(&self, tasks: &TaskTracker, deadline: Instant) {
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
struct Handling {
    router: Router,
    run: Arc<Run>,
    handled: AtomicU64,
}

impl Handling {
    /// One delivery, from its handler's first step to its outcome.
    async fn handle(self: Arc<Self>, held: Held) {
        let incoming = Incoming::new(&held, Arc::clone(&self.run));
        // After a panic nothing of the handler is looked at again but what it emitted, and that is discarded.
        let handler = AssertUnwindSafe(self.router.handle(incoming.clone())).catch_unwind();
        let mut handler = pin!(handler);
        let result = tokio::select! {
            biased;
            result = &mut handler => result,
            () = self.run.stopping.cancelled() => {
                if incoming.give_up() {
                    return held.hand_back();
                }
                tokio::select! {
                    biased;
                    result = &mut handler => result,
                    () = self.run.over.cancelled() => return held.hand_back(),
                }
            }
        };
        let result = result.unwrap_or_else(|panic| Err(HandlerError::panicked(&*panic)));
        match outcome::settled(&incoming, result, &self.router.retries) {
            Some(settled) => {
                self.handled.fetch_add(1, Ordering::Relaxed);
                held.settle(settled).await;
            }
            None => held.hand_back(),
        }
    }
}
