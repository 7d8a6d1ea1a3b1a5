//! The shared connection: all appends, settlements and short commands of a process go through it, pipelined.
//!
//! A caller encodes its commands straight into the common write buffer, in its own task, and awaits the replies; the
//! [driver](driver) writes and reads. Whatever queues while a write is in flight goes out as the next write, so batches
//! form by themselves under load and no timer holds anything back.

mod driver;
mod queue;

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use streamerson_core::{
    UnixMillis,
    broker::{BrokerError, Health},
    metrics::BrokerMetrics,
};
use tokio::{
    sync::{Notify, Semaphore, SemaphorePermit, oneshot, watch},
    time::timeout,
};

use crate::{clock::Clock, config::RedisConfig, connection::Connection, error, resp::Reply};

use driver::Driven;
pub(crate) use queue::Batch;
use queue::{Fate, Outcome, Pushed, Queue};

/// What each call counts in flight beyond its bytes: its place in the queues and the reply to come.
const CALL_OVERHEAD_BYTES: usize = 256;

/// The number of the first connection.
const FIRST_EPOCH: u64 = 1;

/// How often a call is queued: again only after a loss that surely kept it from being sent.
const SENDS_MAX: usize = 4;

/// A handle on the shared connection, which reconnects by itself. When it is dropped, what was queued is still sent and
/// the connection ends.
#[derive(Debug)]
pub(crate) struct Shared {
    link: Arc<Link>,
}

/// The replies to one call, one for each command, and the connection that carried it.
#[derive(Debug)]
pub(crate) struct Replies {
    pub(crate) replies: Vec<Reply>,
    pub(crate) epoch: u64,
}

impl Shared {
    /// Connects once, and fails if that does; after that, losses are made good.
    pub(crate) async fn connect(config: RedisConfig) -> Result<Self, BrokerError> {
        let link = Link::new(config);
        match driver::open(&link).await {
            Ok(connection) => Ok(Self::start(link, Some(connection))),
            Err(error) => Err(error::connect_error(&link.address, &error)),
        }
    }

    /// Begins to connect, and goes on until it succeeds.
    pub(crate) fn connect_lazily(config: RedisConfig) -> Self {
        Self::start(Link::new(config), None)
    }

    fn start(link: Link, first: Option<Connection>) -> Self {
        let link = Arc::new(link);
        if first.is_some() {
            // Here and not in the driver, so that whatever comes next finds the connection.
            link.up(FIRST_EPOCH);
        }
        tokio::spawn(driver::run(Driven(link.clone()), first));
        Self { link }
    }

    /// Sends the commands that `encode` encodes, next to each other, and awaits their replies. `bytes` is about how
    /// large they will be. The encoder may run more than once; only the last run counts.
    ///
    /// While a first attempt to reconnect is under way this waits for its outcome. The wait for the replies needs no
    /// deadline of its own: a server that owes replies and is silent for the response timeout loses the connection.
    pub(crate) async fn call(
        &self,
        bytes: usize,
        mut encode: impl FnMut(&mut Batch<'_>) + Send,
    ) -> Result<Replies, BrokerError> {
        for _ in 0..SENDS_MAX {
            let room = self.link.room(bytes).await?;
            let (tell, outcome) = oneshot::channel();
            let Ok(pushed) = self.link.push(room.num_permits(), Some(tell), &mut encode) else {
                self.link.connected().await?;
                continue;
            };
            if pushed.commands == 0 {
                return Ok(Replies { replies: Vec::new(), epoch: pushed.epoch });
            }
            // From here on the driver gives the room back.
            room.forget();
            match outcome.await {
                Ok(Ok(replies)) => return Ok(Replies { replies, epoch: pushed.epoch }),
                Ok(Err(Fate::NotSent)) => self.link.connected().await?,
                Ok(Err(Fate::Unknown)) => return Err(self.link.interrupted()),
                Err(_) => return Err(error::interrupted(&self.link.address, "the runtime is shutting down")),
            }
        }
        Err(self.link.unavailable())
    }

    /// [`call`](Self::call) for one command.
    pub(crate) async fn call_one(
        &self,
        bytes: usize,
        encode: impl FnMut(&mut Batch<'_>) + Send,
    ) -> Result<Reply, BrokerError> {
        let answer = self.call(bytes, encode).await?;
        answer.replies.into_iter().next().ok_or_else(|| BrokerError::Protocol("a command has no reply".into()))
    }

    /// Whether the user may end the waits of connections, as far as is known.
    pub(crate) fn may_unblock(&self) -> bool {
        !self.link.unblock_denied.load(Ordering::Relaxed)
    }

    /// Remembers that the user may not end the waits of connections.
    pub(crate) fn on_unblock_denied(&self) {
        self.link.unblock_denied.store(true, Ordering::Relaxed);
    }

    /// Queues commands and awaits nothing. Answers false, and drops them, without a connection or without room.
    pub(crate) fn send(&self, bytes: usize, mut encode: impl FnMut(&mut Batch<'_>)) -> bool {
        let Ok(room) = self.link.room.try_acquire_many(self.link.weight(bytes)) else { return false };
        match self.link.push(room.num_permits(), None, &mut encode) {
            Ok(pushed) => {
                if pushed.commands > 0 {
                    room.forget();
                }
                true
            }
            Err(queue::Closed) => false,
        }
    }

    /// The server's address, without a password.
    pub(crate) fn address(&self) -> &Arc<str> {
        &self.link.address
    }

    /// What is counted of this broker.
    pub(crate) fn metrics(&self) -> &Arc<BrokerMetrics> {
        &self.link.metrics
    }

    pub(crate) fn config(&self) -> &RedisConfig {
        &self.link.config
    }

    /// The number of the connection now, or of the last one: it rises with each.
    pub(crate) fn epoch(&self) -> u64 {
        self.link.queue().epoch()
    }

    /// The server's time.
    pub(crate) fn now(&self) -> UnixMillis {
        self.link.clock.now()
    }

    pub(crate) fn health(&self) -> watch::Receiver<Health> {
        self.link.health.subscribe()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.link.closing.store(true, Ordering::Release);
        // The driver waits on one of the two.
        self.link.closed.notify_one();
        self.link.unwritten.notify_one();
    }
}

/// What the handle and the driver share.
#[derive(Debug)]
struct Link {
    config: RedisConfig,
    address: Arc<str>,
    queue: Mutex<Queue>,
    /// Told when the write buffer is no longer empty.
    unwritten: Notify,
    /// Bytes that may still go in flight.
    room: Semaphore,
    phase: watch::Sender<Phase>,
    health: watch::Sender<Health>,
    clock: Clock,
    /// Whether `CLIENT UNBLOCK` was denied.
    unblock_denied: AtomicBool,
    metrics: Arc<BrokerMetrics>,
    /// Set when the log says that the server drops streams.
    warned_of_eviction: AtomicBool,
    /// Set when the handle is gone.
    closing: AtomicBool,
    closed: Notify,
}

/// Where the connection stands.
#[derive(Debug, Clone)]
enum Phase {
    /// The first attempt since the start or the last loss is under way. The cause is that of the loss.
    Connecting(Arc<str>),
    Up,
    /// An attempt failed, for this cause; others follow.
    Down(Arc<str>),
}

impl Link {
    fn new(config: RedisConfig) -> Self {
        let (address, health) = (config.url.to_string(), watch::Sender::new(Health::Up));
        let metrics = config.metrics.broker(&address);
        metrics.watch(health.subscribe());
        Self {
            address: address.into(),
            metrics,
            health,
            queue: Mutex::default(),
            unwritten: Notify::new(),
            room: Semaphore::new(config.in_flight_bytes_max),
            phase: watch::Sender::new(Phase::Connecting("not connected yet".into())),
            clock: Clock::new(),
            unblock_denied: AtomicBool::new(false),
            warned_of_eviction: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            closed: Notify::new(),
            config,
        }
    }

    /// There is a connection: calls can be queued from now on.
    fn up(&self, epoch: u64) {
        self.queue().open(epoch);
        self.phase.send_replace(Phase::Up);
        self.health.send_replace(Health::Up);
    }

    /// There is none any more: what was queued learns of it.
    fn lost(&self, phase: Phase) {
        // The phase first, as whoever learns of the loss may ask for the cause at once.
        self.phase.send_replace(phase);
        let answered = self.queue().close();
        self.room.add_permits(answered.iter().map(|answered| answered.weight).sum());
        answered.into_iter().for_each(|answered| answered.tell());
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Nothing in this crate panics while it holds the lock, and the queue is sound between any two operations.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(
        &self,
        weight: usize,
        tell: Option<oneshot::Sender<Outcome>>,
        encode: &mut dyn FnMut(&mut Batch<'_>),
    ) -> Result<Pushed, queue::Closed> {
        let pushed = self.queue().push(weight, tell, encode)?;
        self.metrics.commands.add(pushed.commands as u64);
        if pushed.first {
            self.unwritten.notify_one();
        }
        Ok(pushed)
    }

    /// How much of the room a call takes. One that is larger than all of it takes all.
    fn weight(&self, bytes: usize) -> u32 {
        let weight = bytes.saturating_add(CALL_OVERHEAD_BYTES).min(self.config.in_flight_bytes_max);
        u32::try_from(weight).unwrap_or(u32::MAX)
    }

    async fn room(&self, bytes: usize) -> Result<SemaphorePermit<'_>, BrokerError> {
        let weight = self.weight(bytes);
        if let Ok(room) = self.room.try_acquire_many(weight) {
            return Ok(room);
        }
        match timeout(self.config.room_timeout, self.room.acquire_many(weight)).await {
            Ok(Ok(room)) => Ok(room),
            Ok(Err(_)) => Err(self.unavailable()),
            Err(_) => Err(BrokerError::Saturated { broker: self.address.clone(), waited: self.config.room_timeout }),
        }
    }

    /// Waits while a first attempt to connect is under way. The connect timeout bounds it.
    async fn connected(&self) -> Result<(), BrokerError> {
        let mut phase = self.phase.subscribe();
        let settled = phase.wait_for(|phase| !matches!(phase, Phase::Connecting(_))).await;
        match settled.as_deref() {
            Ok(Phase::Up) => Ok(()),
            Ok(_) | Err(_) => Err(self.unavailable()),
        }
    }

    fn unavailable(&self) -> BrokerError {
        error::unavailable(&self.address, self.cause())
    }

    fn interrupted(&self) -> BrokerError {
        error::interrupted(&self.address, self.cause())
    }

    /// Why there is no connection.
    fn cause(&self) -> Arc<str> {
        match &*self.phase.borrow() {
            Phase::Connecting(cause) | Phase::Down(cause) => cause.clone(),
            Phase::Up => "the connection was lost".into(),
        }
    }

    fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// Wait of the response timeout between two looks for a silent server.
    fn silence_interval(&self) -> Duration {
        (self.config.response_timeout / 4).max(Duration::from_millis(1))
    }
}

#[cfg(test)]
mod tests;
