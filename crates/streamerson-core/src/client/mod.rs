//! Request and reply over streams, and events one way.
//!
//! A request is appended to its topic's stream with the name of an inbox, a stream of this process alone. The reply is
//! appended there, and one task for each client reads all its inboxes and wakes whoever waits.

mod call;
mod channel;
mod gone;
mod inbox;
mod pending;
mod replies;
mod request;
mod schedule;
mod topic_client;

use std::{
    convert::Infallible,
    fmt,
    future::pending,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    sync::Notify,
    task::JoinHandle,
    time::{Instant, sleep_until},
};
use tokio_util::sync::{CancellationToken, DropGuard};

pub use self::{
    call::Call,
    request::{CallError, Emitted, Request},
    schedule::{Waiting, WaitingEvent},
    topic_client::TopicClient,
};
use self::{
    channel::{Channels, InUse},
    gone::{Gone, Watch},
    pending::PendingCalls,
    replies::Inboxes,
};
use crate::{
    broker::{Append, BrokerError, ReadWaker, SharedBroker},
    entry::Fields,
    message::Message,
    metrics::{Metrics, Sent},
    name::InvalidName,
    produce,
    reply::Reply,
    topic::Topic,
    wire::{self, Wire},
};

/// How long before its deadline it is found out for a request whether anybody is there at all.
const LOOK_BEFORE_THE_END: Duration = Duration::from_millis(250);
/// Where a timeout ends that is longer than the clock goes.
const FOR_EVER: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);

/// Bounds of a client. Each has a default.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ClientConfig {
    /// How long a call waits for its reply, and an event for the broker; 5 s. What is given with a request comes first.
    pub timeout: Duration,
    /// Calls that may wait for their replies at the same time; 100,000. More are refused as overloaded.
    pub calls_max: usize,
    /// Entries of a topic that may wait to be handled; 1,000,000. At more, requests and events are refused as
    /// overloaded.
    pub backlog_max: u64,
    /// Longest payload, in bytes; 1 MiB. Whoever handles the messages must allow as much.
    pub payload_bytes_max: usize,
    /// How long one read for replies waits; 2 s. It costs no latency, only that often a command.
    pub block: Duration,
    /// Who shows what this client counts; nobody by default.
    pub metrics: Metrics,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(5),
            calls_max: 100_000,
            backlog_max: 1_000_000,
            payload_bytes_max: crate::wire::PAYLOAD_BYTES_MAX,
            block: Duration::from_secs(2),
            metrics: Metrics::default(),
        }
    }
}

/// Sends requests and events to any topic. Cheap to clone; all clones share one reader for replies.
///
/// The tasks behind it start with the first request and end when the last clone is dropped.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
    timeout: Duration,
}

struct Shared {
    config: ClientConfig,
    wire: Wire,
    inboxes: Arc<Inboxes>,
    tasks: Mutex<Option<Tasks>>,
    /// Ends the tasks when the last client goes.
    _closed: DropGuard,
}

struct Tasks {
    waker: ReadWaker,
    running: [JoinHandle<()>; 3],
}

impl Client {
    /// A client with the default bounds.
    #[must_use]
    pub fn new(broker: impl Into<SharedBroker>) -> Self {
        Self::with_config(broker, ClientConfig::default())
    }

    /// A client with these bounds.
    #[must_use]
    pub fn with_config(broker: impl Into<SharedBroker>, config: ClientConfig) -> Self {
        let closed = CancellationToken::new();
        let wire = Wire { payload_bytes_max: config.payload_bytes_max };
        let broker = broker.into();
        let inboxes = Arc::new(Inboxes {
            channels: Channels::new(config.metrics.clone(), &broker),
            broker,
            wire,
            block: config.block,
            pending: Arc::new(PendingCalls::new(config.calls_max)),
            closed: closed.clone(),
            trim_soon: Notify::new(),
            gone: Gone::default(),
        });
        let timeout = config.timeout;
        let shared = Shared { config, wire, inboxes, tasks: Mutex::new(None), _closed: closed.drop_guard() };
        Self { shared: Arc::new(shared), timeout }
    }

    /// The same client with another timeout for what is called through it.
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        Self { timeout, ..self.clone() }
    }

    /// How long a call waits for its reply.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The broker.
    #[must_use]
    pub fn broker(&self) -> &SharedBroker {
        &self.shared.inboxes.broker
    }

    /// The numbers that this client adds to.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.shared.config.metrics
    }

    /// How many calls wait for their replies.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.shared.inboxes.pending.len()
    }

    /// This client, for one topic and event types by name.
    pub fn topic(&self, topic: &Topic) -> TopicClient {
        TopicClient { client: self.clone(), topic: topic.clone() }
    }

    /// Sends a request of a contract and waits for the reply that the contract names.
    ///
    /// Dropping the future forgets the call and takes the request back: whoever has it is told, as far as that is possible,
    /// and need not begin. It may still be handled.
    ///
    /// # Errors
    ///
    /// [`CallError`] says why there is no reply of that type; [`CallError::Failed`] holds what the other side said.
    pub async fn call<C>(&self, call: C) -> Result<C::Reply, CallError>
    where
        C: Call + Serialize,
        C::Reply: DeserializeOwned,
    {
        self.call_on(&Topic::new(C::TOPIC)?, call).await
    }

    async fn call_on<C>(&self, topic: &Topic, call: C) -> Result<C::Reply, CallError>
    where
        C: Call + Serialize,
        C::Reply: DeserializeOwned,
    {
        let payload = to_json(&call)?;
        drop(call);
        let event = crate::name::EventType::for_user(C::EVENT)?;
        let request = Request::new(event, payload).with_id(topic.new_message_id());
        let reply = self.request(topic, request).await?;
        let failed = reply.is_error || reply.status_or_ok().as_u16() >= 400;
        if failed {
            return Err(CallError::Failed(Box::new(reply.problem())));
        }
        // A reply without a payload is how a handler says nothing: that is `null` for a contract whose reply is `()`.
        let payload = if reply.payload.is_empty() { b"null" } else { &reply.payload[..] };
        serde_json::from_slice(payload).map_err(|error| CallError::Decode(error.to_string()))
    }

    /// Sends a request and waits for its reply, whatever its status: errors of the other side are replies too.
    ///
    /// Dropping the future forgets the call and takes the request back: whoever has it is told, as far as that is possible,
    /// and need not begin. It may still be handled.
    ///
    /// # Errors
    ///
    /// [`CallError`] says why there is no reply.
    pub async fn request(&self, topic: &Topic, request: Request) -> Result<Reply, CallError> {
        let timeout = request.timeout.unwrap_or(self.timeout);
        let channel = self.shared.inboxes.channels.enter(topic);
        let now = Instant::now();
        let sending = channel.metrics.call(now);
        let deadline = now.checked_add(timeout).unwrap_or(now + FOR_EVER);
        let result = {
            let mut asking = pin!(self.request_on(&channel, request, timeout, deadline));
            let before_the_end = deadline - LOOK_BEFORE_THE_END.min(timeout / 2);
            match tokio::time::timeout_at(before_the_end, &mut asking).await {
                Ok(result) => result,
                Err(_) => self.end_of_request(&channel, asking, timeout, deadline).await,
            }
        };
        sending.ends(Sent::of_call(&result));
        result
    }

    /// Sends an event.
    ///
    /// # Errors
    ///
    /// [`CallError`] when the broker did not take it. After [`BrokerError::Interrupted`] it may have.
    pub async fn emit(&self, topic: &Topic, message: Message) -> Result<Emitted, CallError> {
        let channel = self.shared.inboxes.channels.enter(topic);
        let sending = channel.metrics.event();
        let result = self.emit_on(&channel, message).await;
        sending.ends(result.as_ref().map_or_else(Sent::of_error, |_| Sent::Appended));
        result
    }

    async fn emit_on(&self, channel: &InUse, message: Message) -> Result<Emitted, CallError> {
        let (inboxes, topic) = (&self.shared.inboxes, &channel.topic);
        if inboxes.closed.is_cancelled() {
            return Err(CallError::Closed);
        }
        let fields = self.encode(topic, &message)?;
        let append = async {
            self.check_backlog(channel).await?;
            let entries_max = topic.entries_max();
            let append = Append { entries_max, ..Append::new(channel.inbound.clone(), fields) };
            Ok::<_, CallError>(produce::append_once(&*inboxes.broker, &message.id, append).await?)
        };
        match tokio::time::timeout(self.timeout, append).await {
            Ok(placed) => Ok(Emitted { entry: placed?.entry, id: message.id }),
            Err(_) => Err(interrupted(self.timeout).into()),
        }
    }

    fn encode(&self, topic: &Topic, message: &Message) -> Result<Fields, CallError> {
        refuse_reserved(topic, message)?;
        Ok(self.shared.wire.encode_for(topic, message)?)
    }

    fn decode(&self, topic: &Topic, fields: &Fields) -> Option<Message> {
        self.shared.wire.decode_for(topic, fields).ok()
    }

    /// Ends the tasks, removes the inboxes and fails what still waits. Dropping the last client does the same, without
    /// waiting for it.
    pub async fn close(&self) {
        self.shared.inboxes.closed.cancel();
        self.shared.inboxes.pending.close();
        let tasks = self.lock_tasks().take();
        for task in tasks.into_iter().flat_map(|tasks| tasks.running) {
            // A task that panicked has said so already, and has nothing to clean up.
            _ = task.await;
        }
    }

    async fn request_on(
        &self,
        channel: &InUse,
        request: Request,
        timeout: Duration,
        deadline: Instant,
    ) -> Result<Reply, CallError> {
        let broker = &*self.shared.inboxes.broker;
        self.check_backlog(channel).await?;
        // Who reads without a group is not known of.
        if request.fail_fast && !channel.is_shared() && !channel.has_consumers(broker).await? {
            return Err(CallError::NoConsumers);
        }
        let message = Message {
            event: request.event,
            id: request.id,
            inbox: Some(channel.inbox_name.clone()),
            deadline: Some(broker.now().plus(timeout)),
            headers: request.headers,
            payload: request.payload,
        };
        let fields = self.encode(&channel.topic, &message)?;
        if channel.is_shared() {
            channel.pin(broker).await?;
        }
        let mut call = self.shared.inboxes.pending.enter(channel.number, message.id.clone())?;
        if self.shared.inboxes.channels.open(channel) {
            self.wake_reader();
        }
        let keep = (!channel.is_shared()).then(|| channel.keep_for(timeout));
        let asked = keep.as_ref().and_then(|keep| keep.unless_epoch);
        let (is_kept, entries_max) = (keep.is_some(), channel.topic.entries_max());
        let append = Append { keep, entries_max, ..Append::new(channel.inbound.clone(), fields) };
        // From here on it may be in the stream. The original has no word that takes a request back.
        let gone = &self.shared.inboxes.gone;
        let watch = is_kept.then(|| gone.watch(&channel.inbound, message.id.clone(), deadline));
        let end = |watch: Option<Watch<'_>>| watch.into_iter().for_each(Watch::end);
        let placed = match produce::append_once(broker, &message.id, append).await {
            Ok(placed) => placed,
            Err(error) => {
                end(watch);
                return Err(error.into());
            }
        };
        channel.metrics.requests.add_one();
        // On the connection that it was confirmed on, the inbox was not touched.
        if let Some(epoch) = placed.epoch
            && is_kept
            && asked != Some(epoch)
            && channel.inbox.confirm(epoch)
        {
            self.wake_reader();
        }
        let answer = call.answer().await;
        end(watch);
        answer
    }

    async fn check_backlog(&self, channel: &InUse) -> Result<(), CallError> {
        if channel.has_room(&self.shared.inboxes.broker, self.shared.config.backlog_max).await? {
            Ok(())
        } else {
            Err(CallError::Overloaded("the topic's backlog is full"))
        }
    }

    /// The last moments of a request, in which it is found out whether there is nobody or they are slow: after its deadline
    /// nobody should wait for that.
    async fn end_of_request(
        &self,
        channel: &InUse,
        asking: impl Future<Output = Result<Reply, CallError>>,
        timeout: Duration,
        deadline: Instant,
    ) -> Result<Reply, CallError> {
        let mut why = CallError::TimedOut(timeout);
        let look = async {
            let nobody =
                !channel.is_shared() && matches!(channel.has_consumers(&*self.shared.inboxes.broker).await, Ok(false));
            if nobody {
                why = CallError::NoConsumers;
            }
            pending::<Infallible>().await
        };
        tokio::select! {
            biased;
            result = asking => return result,
            never = look => match never {},
            () = sleep_until(deadline) => {}
        }
        if matches!(why, CallError::TimedOut(_)) && !channel.is_shared() {
            channel.inbox.doubt();
        }
        Err(why)
    }

    /// Starts the tasks with the first request; later, tells the reader to look at its inboxes again.
    fn wake_reader(&self) {
        let inboxes = &self.shared.inboxes;
        if inboxes.closed.is_cancelled() {
            return;
        }
        let mut tasks = self.lock_tasks();
        if let Some(tasks) = &*tasks {
            return tasks.waker.wake();
        }
        let reader = inboxes.broker.reader();
        let waker = reader.waker();
        let take_back = Arc::clone(inboxes);
        let running = [
            tokio::spawn(Arc::clone(inboxes).read(reader)),
            tokio::spawn(Arc::clone(inboxes).keep(waker.clone())),
            tokio::spawn(async move { take_back.take_back().await }),
        ];
        *tasks = Some(Tasks { waker, running });
    }

    fn lock_tasks(&self) -> std::sync::MutexGuard<'_, Option<Tasks>> {
        // Held while two tasks are spawned, never across an await.
        self.shared.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("broker", self.broker()).field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

fn to_json<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, CallError> {
    serde_json::to_vec(value).map_err(|error| CallError::Encode(error.to_string()))
}

/// Types that the protocol keeps for itself are not for users; nor is, in the original's format, what would be taken for
/// something else.
fn refuse_reserved(topic: &Topic, message: &Message) -> Result<(), InvalidName> {
    if message.event.is_reserved() {
        crate::name::EventType::for_user(message.event.clone().into_text())?;
    }
    if topic.is_js() && &*message.event == wire::JS_REPLY {
        let rule = "\"resp\" is what the original calls a reply";
        return Err(InvalidName::new("event type", rule, &message.event));
    }
    if topic.is_js() && &*message.id == "m" {
        let rule = "an entry with a field \"m\" is one of version 1";
        return Err(InvalidName::new("message id", rule, &message.id));
    }
    Ok(())
}

fn interrupted(timeout: Duration) -> BrokerError {
    BrokerError::Interrupted { broker: "the topic".into(), cause: format!("no answer within {timeout:?}").into() }
}
