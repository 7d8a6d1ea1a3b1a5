//! The builder: handlers and layers, state, settings.

use std::{
    collections::{HashMap, hash_map::Entry},
    fmt,
    sync::Arc,
    time::Duration,
};

use streamerson_core::{
    Call, EventType, Message, Metrics, Name, Reply, SharedBroker, Topic,
    group::{LaneKey, MemberConfig, OrderedBy},
    shards::Shards,
};
use tower::{BoxError, Layer, Service};

use crate::{
    answer::Answer,
    batch::{Batch, batch},
    error::{ConfigError, RunError},
    handler::{Around, Handler},
    incoming::Incoming,
    membership::Grouped,
    retry::Retry,
    route::Route,
    router::{Retries, Router},
    worker::{Source, Worker},
};

/// Binds handlers to the event types of one topic, and runs them as a member of a group.
///
/// `S` is the state that its handlers still want; it runs once that is `()`.
///
/// ```
/// use std::time::Duration;
/// use serde::{Deserialize, Serialize};
/// use streamerson_consumer::{Call, Consumer, Json, RunError, State, Topic};
/// use streamerson_core::broker::memory::Memory;
/// use tower::timeout::TimeoutLayer;
///
/// #[derive(Serialize, Deserialize)]
/// struct Greet {
///     name: String,
/// }
///
/// impl Call for Greet {
///     const TOPIC: &'static str = "greetings";
///     const EVENT: &'static str = "greet";
///     type Reply = String;
/// }
///
/// async fn greet(State(word): State<&'static str>, Json(greet): Json<Greet>) -> Json<String> {
///     Json(format!("{word}, {}!", greet.name))
/// }
///
/// async fn greeted(name: String) {}
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let shutdown = async {};
/// Consumer::new(Topic::new("greetings")?)
///     .answer(greet)
///     .on("greeted", greeted)
///     .layer(TimeoutLayer::new(Duration::from_secs(5)))
///     .with_state("Hello")
///     .concurrency(64)
///     .run(Memory::new(), shutdown)
///     .await?;
/// # Ok(())
/// # }
/// ```
#[must_use = "a consumer does nothing until it runs"]
pub struct Consumer<S = ()> {
    topic: Topic,
    shards: Option<u32>,
    broadcast: bool,
    group: Name,
    member: MemberConfig,
    drain: Duration,
    handlers: HashMap<EventType, Bound<S>>,
    fallback: Option<Bound<S>>,
    retry: Retry,
    retry_events: HashMap<EventType, Retry>,
    /// What was wrong first; `run` says so.
    error: Option<ConfigError>,
}

impl<S: Send + Sync + 'static> Consumer<S> {
    /// A consumer of this topic, in the group that has the topic's name.
    pub fn new(topic: Topic) -> Self {
        Self {
            group: topic.name().clone(),
            topic,
            shards: None,
            broadcast: false,
            member: MemberConfig::default(),
            drain: Duration::from_secs(25),
            handlers: HashMap::new(),
            fallback: None,
            retry: Retry::never(),
            retry_events: HashMap::new(),
            error: None,
        }
    }

    /// The topics whose messages it handles: one, or all shards of one that is in shards.
    pub fn topics(&self) -> Vec<Topic> {
        match self.shards.map(|count| Shards::new(self.topic.clone(), count)) {
            Some(Ok(shards)) => shards.iter().collect(),
            // What cannot be in shards is an error when it runs.
            Some(Err(_)) | None => vec![self.topic.clone()],
        }
    }

    /// Answers the call that the handler's last argument names.
    ///
    /// A call of another topic is an error when the consumer runs. Of which shard the consumer's topic is, and what format it
    /// speaks, is no matter of the contract.
    pub fn answer<C: Call, Args>(mut self, handler: impl Answer<C, Args, S>) -> Self {
        match Topic::new(C::TOPIC) {
            // A contract names the whole of a sharded topic, and a consumer has one part of it.
            Ok(of) if of.namespace() == self.topic.namespace() && of.name() == self.topic.name() => {}
            Ok(_) => {
                let (event, contract) = (C::EVENT, C::TOPIC.to_owned());
                let consumer = self.topic.clone();
                self.refuse(ConfigError::OtherTopic { event, contract, consumer });
            }
            Err(invalid) => self.refuse(invalid),
        }
        self.on(C::EVENT, handler)
    }

    /// Handles messages of an event type.
    ///
    /// An event type that is none, or that another handler takes, is an error when the consumer runs.
    pub fn on<Args>(mut self, event: &str, handler: impl Handler<Args, S>) -> Self {
        match EventType::for_user(event) {
            Ok(event) => match self.handlers.entry(event) {
                Entry::Vacant(free) => _ = free.insert(Bound::new(handler)),
                Entry::Occupied(taken) => {
                    let duplicate = ConfigError::DuplicateEvent(taken.key().clone());
                    self.refuse(duplicate);
                }
            },
            Err(invalid) => self.refuse(invalid),
        }
        self
    }

    /// Handles messages of an event type in batches, as [`batch`] says.
    pub fn on_batch<F, Args>(self, event: &str, handler: F) -> Self
    where
        Batch<F>: Handler<Around<Args>, S>,
    {
        self.on(event, batch(handler))
    }

    /// Handles messages of all other event types, which otherwise are dead-lettered as `no-handler` and answered with
    /// 501.
    pub fn fallback<Args>(mut self, handler: impl Handler<Args, S>) -> Self {
        if self.fallback.replace(Bound::new(handler)).is_some() {
            self.refuse(ConfigError::DuplicateFallback);
        }
        self
    }

    /// Puts a tower layer around each handler so far, the fallback included; [`Handler::layer`] around one.
    ///
    /// The layer is applied once for each handler, so each has a limit of its own; what all share is a
    /// [`GlobalConcurrencyLimitLayer`](tower::limit::GlobalConcurrencyLimitLayer). A layer's error fails the message:
    /// with 504 when a timeout [elapsed](tower::timeout::error::Elapsed), 503 when load was
    /// [shed](tower::load_shed::error::Overloaded), 502 otherwise. One that is a [`Problem`](crate::Problem) refuses it
    /// with that.
    pub fn layer<L>(mut self, layer: L) -> Self
    where
        L: Layer<Route> + Clone + Send + 'static,
        L::Service:
            Service<Incoming, Response = Reply, Error: Into<BoxError>, Future: Send> + Clone + Send + Sync + 'static,
    {
        let around = move |handler: Bound<S>| handler.layered(layer.clone());
        self.handlers = self.handlers.into_iter().map(|(event, handler)| (event, around(handler))).collect();
        self.fallback = self.fallback.map(around);
        self
    }

    /// Gives the handlers so far their state. [`State`](crate::State) extracts it, or a part of it.
    pub fn with_state(self, state: S) -> Consumer<()> {
        let state = Arc::new(state);
        let with_state = |handler: Bound<S>| Bound::Ready(handler.into_route(&state));
        Consumer {
            handlers: self.handlers.into_iter().map(|(event, handler)| (event, with_state(handler))).collect(),
            fallback: self.fallback.map(with_state),
            topic: self.topic,
            shards: self.shards,
            broadcast: self.broadcast,
            group: self.group,
            member: self.member,
            drain: self.drain,
            retry: self.retry,
            retry_events: self.retry_events,
            error: self.error,
        }
    }

    /// The group whose members share the topic's messages; that of the topic's name unless told otherwise.
    ///
    /// What is no name is an error when the consumer runs.
    pub fn group(mut self, name: &str) -> Self {
        match Name::new(name) {
            Ok(name) => self.group = name,
            Err(invalid) => self.refuse(invalid),
        }
        self
    }

    /// Handles a topic in so many [shards](Shards), each of which has one owner in the group. Together with
    /// [`Consumer::ordered_by`] messages with equal keys are in order then, whichever member handles them.
    ///
    /// All producers and consumers of the topic have to mean the same number; one that does not is an error when the
    /// consumer runs. Shards move within seconds when members come and go, and only when nothing is at work in them.
    ///
    /// ```
    /// use streamerson_consumer::{Consumer, Topic};
    /// use streamerson_core::shards::Shards;
    ///
    /// let orders = Topic::new("orders")?;
    /// let consumer: Consumer = Consumer::new(orders.clone())
    ///     .shards(16)
    ///     .ordered_by(|message| message.headers.get("customer").map(str::to_owned));
    ///
    /// // And whoever sends: `client.emit(&topic, message)` with the shard of the same key as the topic.
    /// let topic = Shards::new(orders, 16)?.of("customer-7");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn shards(mut self, count: u32) -> Self {
        self.shards = Some(count);
        self
    }

    /// Handles the topic's events for everyone, which handlers send with
    /// [`Emitter::broadcast`](crate::extract::Emitter::broadcast), instead of what is sent to its consumers: every process
    /// that runs this sees each of them. For caches, sockets, and whatever else each process has a copy of.
    ///
    /// There is no group, so nothing is acked and nothing comes twice. Events are handled from when the consumer starts;
    /// after an outage it goes on where it was, and what the broker has dropped meanwhile (they are kept for ten minutes) is
    /// warned of. A handler that fails is warned of too: there is no further attempt, no dead letter and nobody to reply
    /// to. What it emits is sent once it has succeeded.
    ///
    /// ```
    /// use streamerson_consumer::{Consumer, Json, Topic};
    ///
    /// async fn forget(Json(order): Json<u64>) {
    ///     // Drop it from this process's cache.
    /// }
    ///
    /// let caches: Consumer = Consumer::new(Topic::new("orders")?).broadcast().on("order.changed", forget);
    /// # Ok::<(), streamerson_core::InvalidName>(())
    /// ```
    pub fn broadcast(mut self) -> Self {
        self.broadcast = true;
        self
    }

    /// How long a shard stays with its owner without a sign of life; 10 s, and never longer than the lease. It is renewed
    /// as long as its process lives, so it only says how long the shards of a member that died wait for another.
    pub fn shard_lease(mut self, lease: Duration) -> Self {
        self.member.shard_lease = lease;
        self
    }

    /// What becomes of messages whose handler fails; [`Retry::never`].
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// The same for one event type.
    ///
    /// An event type that is none is an error when the consumer runs.
    pub fn retry_event(mut self, event: &str, retry: Retry) -> Self {
        match EventType::for_user(event) {
            Ok(event) => _ = self.retry_events.insert(event, retry),
            Err(invalid) => self.refuse(invalid),
        }
        self
    }

    /// Handles messages for which `key` gives the same one after the other, in the order of the stream, further attempts
    /// included. Those for which it gives `None` are in no order.
    ///
    /// That holds within this member. Where others of its group take messages with the same key at the same time, only
    /// [`Consumer::shards`] keep them in order.
    ///
    /// ```
    /// use streamerson_consumer::{Consumer, Topic};
    ///
    /// let consumer: Consumer = Consumer::new(Topic::new("orders")?)
    ///     .ordered_by(|message| message.headers.get("customer").map(str::to_owned));
    /// # Ok::<(), streamerson_core::InvalidName>(())
    /// ```
    pub fn ordered_by<K: Into<LaneKey>>(mut self, key: impl Fn(&Message) -> Option<K> + Send + Sync + 'static) -> Self {
        self.member.ordered_by = Some(OrderedBy::new(move |message| key(message).map(Into::into)));
        self
    }

    /// How many messages are handled at the same time, at most; 256. No more are taken from the group.
    pub fn concurrency(mut self, messages_max: usize) -> Self {
        self.member.concurrency = messages_max;
        self
    }

    /// How long a message stays with this member without a sign of life; 30 s. It is renewed for as long as the handler
    /// runs, so it only says how long the messages of a member that died wait for another.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.member.lease = lease;
        self
    }

    /// How long one read for new messages waits; 2 s. It costs no latency, but stopping may take so long.
    pub fn block(mut self, block: Duration) -> Self {
        self.member.block = block;
        self
    }

    /// How long handlers may go on once the consumer is told to stop; 25 s.
    ///
    /// Then [`Cancelled`](crate::extract::Cancelled) tells them that their time is over, and a second later those that
    /// still run are dropped and their messages handed back to the group.
    pub fn drain(mut self, drain: Duration) -> Self {
        self.drain = drain;
        self
    }

    /// Who shows what is counted of this consumer: its deliveries and what becomes of them, how long its handlers take,
    /// how much waits for its group. Nobody by default.
    ///
    /// Event types that a handler is bound to are told apart; those that the [`fallback`](Consumer::fallback) takes count
    /// as `(other)`, since whoever sends messages chooses them.
    pub fn metrics(mut self, metrics: &Metrics) -> Self {
        self.member.metrics = metrics.clone();
        self
    }

    /// All bounds of the group's member at once, and where its group starts: those set before are replaced.
    pub fn member_config(mut self, config: MemberConfig) -> Self {
        self.member = config;
        self
    }

    fn refuse(&mut self, error: impl Into<ConfigError>) {
        self.error.get_or_insert(error.into());
    }
}

impl Consumer {
    /// Joins the group and handles its messages until `shutdown` is ready. Then no more messages are taken, what runs may
    /// end within the [`drain`](Consumer::drain), and what never began goes back to the group for others to take at
    /// once.
    ///
    /// Dropping the future drops the handlers too, without all that: their messages wait for the end of their lease.
    ///
    /// # Errors
    ///
    /// [`RunError`] when the consumer is put together wrongly, or the broker does not let it in. Outages that come later
    /// are waited out.
    pub async fn run(
        self,
        broker: impl Into<SharedBroker>,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), RunError> {
        let broker = broker.into();
        self.into_worker()?.run(broker, shutdown).await
    }

    fn into_worker(self) -> Result<Worker, ConfigError> {
        let Self { topic, shards, broadcast, group, mut member, drain, handlers, fallback, retry, retry_events, error } =
            self;
        if let Some(error) = error {
            return Err(error);
        }
        if handlers.is_empty() && fallback.is_none() {
            return Err(ConfigError::NoHandlers);
        }
        let zeros = [
            (member.concurrency == 0, "concurrency"),
            (member.lease.is_zero(), "lease"),
            (member.block.is_zero(), "block"),
            (member.shard_lease.is_zero(), "shard_lease"),
        ];
        if let Some((_, setting)) = zeros.into_iter().find(|(zero, _)| *zero) {
            return Err(ConfigError::Zero(setting));
        }
        let state = Arc::new(());
        let routes = handlers.into_iter().map(|(event, handler)| (event, handler.into_route(&state))).collect();
        let fallback = fallback.map(|handler| handler.into_route(&state));
        let retries = Retries { by_event: retry_events, others: retry };
        let source = match (shards, broadcast) {
            (Some(_), true) => return Err(ConfigError::BroadcastShards),
            (Some(count), false) => Source::Grouped(Grouped::Shards(Shards::new(topic, count)?)),
            (None, true) => Source::Broadcast(topic),
            (None, false) => Source::Grouped(Grouped::Topic(topic)),
        };
        let router = Router { routes, fallback, retries };
        member.named_events.extend(router.routes.keys().cloned());
        Ok(Worker { source, group, member, drain, router })
    }
}

impl<S> fmt::Debug for Consumer<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer")
            .field("topic", &self.topic)
            .field("group", &self.group)
            .field("events", &self.handlers.keys())
            .finish_non_exhaustive()
    }
}

/// A handler with its layers, before or after it got its state.
enum Bound<S> {
    Waiting(Box<dyn FnOnce(Arc<S>) -> Route + Send>),
    Ready(Route),
}

impl<S: Send + Sync + 'static> Bound<S> {
    fn new<Args>(handler: impl Handler<Args, S>) -> Self {
        Self::Waiting(Box::new(|state| handler.into_route(state)))
    }

    fn layered<L>(self, layer: L) -> Self
    where
        L: Layer<Route> + Send + 'static,
        L::Service:
            Service<Incoming, Response = Reply, Error: Into<BoxError>, Future: Send> + Clone + Send + Sync + 'static,
    {
        match self {
            Self::Waiting(bind) => Self::Waiting(Box::new(move |state| Route::layered(layer.layer(bind(state))))),
            Self::Ready(route) => Self::Ready(Route::layered(layer.layer(route))),
        }
    }

    fn into_route(self, state: &Arc<S>) -> Route {
        match self {
            Self::Waiting(bind) => bind(Arc::clone(state)),
            Self::Ready(route) => route,
        }
    }
}
