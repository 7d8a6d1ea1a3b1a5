//! A consumer under test, and all that is to be seen of it.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::{Serialize, de::DeserializeOwned};
use streamerson_consumer::{Consumer, RunError};
use streamerson_core::{
    Call, Client, EntryId, EventType, Message, MessageId, Name, Reply, SharedBroker, StreamKey, Topic,
    broker::{ScheduledRange, StreamInfo, memory::Memory},
    client::{CallError, Request},
    dead_letter::{Dead, DeadLetters, Filter},
    group::Outcome,
};
use tokio::{sync::watch, task::JoinHandle, time::sleep};

use super::{Faults, link::Link, record::Record};

/// How long a call waits for its reply, in the test's own time.
const TIMEOUT: Duration = Duration::from_secs(60 * 60);
/// How long it may take until everything has come to its end, in the test's own time.
const SETTLED_WITHIN: Duration = Duration::from_secs(370 * 24 * 60 * 60);
/// The pause before a member that the broker did not let in tries again.
const START_AGAIN_AFTER: Duration = Duration::from_millis(100);
/// The pause between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How a message ended, in one group.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Ended {
    /// The message.
    pub id: MessageId,
    /// Its event type.
    pub event: EventType,
    /// The group.
    pub group: Name,
    /// What became of it. A request that was answered with nothing has an empty reply; an attempt that the schedule brings
    /// back has [`Outcome::Retried`], and another end later. Attempts that the member itself waits for are no ends.
    pub outcome: Outcome,
}

/// One member of those that were started, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberNumber(usize);

/// A consumer that runs over an embedded broker, as one member of its group or several.
///
/// It has to be made in a runtime with one thread, best with a paused clock: see the [module](super).
pub struct TestBed {
    broker: SharedBroker,
    topics: Vec<Topic>,
    client: Client,
    faults: Faults,
    record: Arc<Record>,
    consumer: Arc<Make>,
    // Locked to start or to end one, never across an await.
    members: Mutex<Vec<Option<Running>>>,
}

type Make = dyn Fn() -> Consumer + Send + Sync;

struct Running {
    link: Arc<Link>,
    stop: watch::Sender<bool>,
    run: JoinHandle<Result<(), RunError>>,
}

impl TestBed {
    /// One member of what `consumer` makes, on a way to the broker on which everything arrives at once.
    pub fn new(consumer: impl Fn() -> Consumer + Send + Sync + 'static) -> Self {
        Self::with_faults(Faults::none(), consumer)
    }

    /// The same, on a way with these faults. That of the test itself to the broker has none.
    pub fn with_faults(faults: Faults, consumer: impl Fn() -> Consumer + Send + Sync + 'static) -> Self {
        let broker: SharedBroker = Memory::new().into();
        let bed = Self {
            topics: consumer().topics(),
            client: Client::new(broker.clone()).with_timeout(TIMEOUT),
            broker,
            faults,
            record: Arc::default(),
            consumer: Arc::new(consumer),
            members: Mutex::default(),
        };
        bed.start();
        bed
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Option<Running>>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts another member.
    pub fn start(&self) -> MemberNumber {
        let mut members = self.lock();
        let number = members.len();
        let link = Link::new(self.broker.clone(), self.faults.clone(), number as u64, Arc::clone(&self.record));
        let link = Arc::new(link);
        let stop = watch::Sender::new(false);
        let run = tokio::spawn(run(Arc::clone(&self.consumer), Arc::clone(&link) as SharedBroker, stop.subscribe()));
        members.push(Some(Running { link, stop, run }));
        MemberNumber(number)
    }

    /// Tells a member to stop, and waits until it has. The first one has the number of [`TestBed::first`].
    ///
    /// # Panics
    ///
    /// When the consumer did not run: it was put together wrongly, or the broker did not let it in.
    pub async fn stop(&self, member: MemberNumber) {
        let Some(Running { stop, run, link }) = self.take(member) else { return };
        stop.send_replace(true);
        match run.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => panic!("the consumer did not run: {error:?}"),
            Err(error) => panic!("the consumer broke: {error}"),
        }
        link.die();
    }

    /// Ends a member as when its process is killed: nothing of it is done any more, and what it holds waits for the end of
    /// its lease.
    pub fn crash(&self, member: MemberNumber) {
        if let Some(Running { link, run, .. }) = self.take(member) {
            link.die();
            run.abort();
        }
    }

    /// The member that the bed was made with.
    #[must_use]
    pub fn first(&self) -> MemberNumber {
        MemberNumber(0)
    }

    /// The members that run.
    #[must_use]
    pub fn running(&self) -> Vec<MemberNumber> {
        let members = self.lock();
        members
            .iter()
            .enumerate()
            .filter(|(_, member)| member.is_some())
            .map(|(number, _)| MemberNumber(number))
            .collect()
    }

    fn take(&self, MemberNumber(number): MemberNumber) -> Option<Running> {
        self.lock().get_mut(number)?.take()
    }

    fn links(&self) -> Vec<Arc<Link>> {
        self.lock().iter().flatten().map(|member| Arc::clone(&member.link)).collect()
    }

    /// Takes the broker away from all members for a while: what is under way is cut, and what comes fails at once. It loses
    /// nothing meanwhile, and the test itself reaches it.
    pub async fn outage(&self, duration: Duration) {
        let links = self.links();
        links.iter().for_each(|link| link.down());
        sleep(duration).await;
        links.iter().for_each(|link| link.up());
    }

    /// Cuts the connections of all members: what is under way may be done or not.
    pub fn cut(&self) {
        self.links().iter().for_each(|link| link.cut());
    }

    /// The broker, for what is not here. The way to it has no faults.
    #[must_use]
    pub fn broker(&self) -> &SharedBroker {
        &self.broker
    }

    /// A client on the same way, whose calls wait for an hour.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Sends `value` as JSON in a request to the consumer's topic, and waits for the reply, whatever its status.
    ///
    /// # Panics
    ///
    /// When there is no reply within an hour, or the request cannot be sent; [`TestBed::client`] says so with an error.
    pub async fn request<T: Serialize + ?Sized>(&self, event: &str, value: &T) -> Reply {
        let request = request(event, value);
        self.client
            .request(self.topic(), request)
            .await
            .unwrap_or_else(|error| panic!("{event:?} has no reply: {error}"))
    }

    /// Sends a request of a contract, and waits for the reply that it names.
    ///
    /// # Errors
    ///
    /// [`CallError`] says why there is none.
    pub async fn call<C>(&self, call: C) -> Result<C::Reply, CallError>
    where
        C: Call + Serialize,
        C::Reply: DeserializeOwned,
    {
        self.client.call(call).await
    }

    /// Sends `value` as JSON in an event to the consumer's topic.
    ///
    /// # Panics
    ///
    /// When it cannot be sent.
    pub async fn emit<T: Serialize + ?Sized>(&self, event: &str, value: &T) -> MessageId {
        let Request { event, id, headers, payload, .. } = request(event, value);
        self.send(self.topic(), Message { event, id, inbox: None, deadline: None, headers, payload }).await
    }

    /// Sends an event to any topic, one of the consumer's [shards](streamerson_core::shards::Shards) for example.
    ///
    /// # Panics
    ///
    /// When it cannot be sent.
    pub async fn send(&self, topic: &Topic, message: Message) -> MessageId {
        let event = message.event.clone();
        match self.client.emit(topic, message).await {
            Ok(emitted) => emitted.id,
            Err(error) => panic!("{event:?} cannot be sent: {error}"),
        }
    }

    fn topic(&self) -> &Topic {
        // A consumer has a topic, or a topic in one part at least.
        &self.topics[0]
    }

    /// Waits until everything that was sent to the consumer's topic has come to its end: nothing is unread or pending in
    /// any group, and nothing waits for its time. Under a paused clock that takes no time, whatever it waits for.
    ///
    /// # Panics
    ///
    /// After a year, in the test's own time, with what is left.
    pub async fn settled(&self) {
        let look = async {
            while self.unsettled().await.is_some() {
                sleep(LOOK_EVERY).await;
            }
        };
        if tokio::time::timeout(SETTLED_WITHIN, look).await.is_err() {
            panic!("it does not come to an end: {}", self.unsettled().await.unwrap_or_default());
        }
    }

    /// What has not come to its end, if anything.
    async fn unsettled(&self) -> Option<String> {
        // The embedded broker is always there.
        for topic in &self.topics {
            let schedule = ScheduledRange { schedule: topic.schedule(), after: None, count: 1 };
            if self.broker.scheduled(schedule).await.is_ok_and(|page| !page.entries.is_empty()) {
                return Some(format!("something waits for its time in {topic}"));
            }
            let key = topic.inbound();
            let info = self.broker.stream_info(&key).await.ok().flatten();
            let last = info.map_or(EntryId::ZERO, |StreamInfo { last, .. }| last);
            let groups = self.broker.groups(&key).await.unwrap_or_default();
            let is_busy = |group: &&_| {
                let streamerson_core::broker::GroupInfo { pending, last_delivered, .. } = group;
                *pending > 0 || *last_delivered < last
            };
            if let Some(group) = groups.iter().find(is_busy) {
                return Some(format!("{key}, up to {last}: {group:?}"));
            }
            if groups.is_empty() && info.is_some_and(|info| info.len > 0) {
                return Some(format!("{key} has entries and no group"));
            }
        }
        None
    }

    /// How messages ended, in the order of it. A message that several groups handle ends once in each.
    #[must_use]
    pub fn outcomes(&self) -> Vec<Ended> {
        self.record.ended()
    }

    /// How one message ended: once, unless attempts at it went through the schedule, several groups handle it, or it came
    /// twice.
    #[must_use]
    pub fn outcomes_of(&self, id: &MessageId) -> Vec<Outcome> {
        self.outcomes().into_iter().filter(|ended| ended.id == *id).map(|ended| ended.outcome).collect()
    }

    /// What the consumer's members sent out, in the order of it, and where.
    #[must_use]
    pub fn emitted(&self) -> Vec<(StreamKey, Message)> {
        self.record.emitted()
    }

    /// The same, to the consumers of one topic.
    #[must_use]
    pub fn emitted_to(&self, topic: &Topic) -> Vec<Message> {
        let key = topic.inbound();
        self.emitted().into_iter().filter(|(to, _)| *to == key).map(|(_, message)| message).collect()
    }

    /// The dead letters of the consumer's topic, oldest first.
    pub async fn dead_letters(&self) -> Vec<Dead> {
        let mut all = Vec::new();
        for topic in &self.topics {
            let store = DeadLetters::new(self.broker.clone(), topic.clone());
            let mut page = store.first_page(&Filter::default()).await.ok();
            while let Some(found) = page.take() {
                all.extend(found.letters);
                if let Some(next) = found.next {
                    page = store.page(&Filter::default(), next).await.ok();
                }
            }
        }
        all
    }
}

impl Drop for TestBed {
    fn drop(&mut self) {
        for member in self.lock().drain(..).flatten() {
            member.link.die();
            member.run.abort();
        }
    }
}

impl fmt::Debug for TestBed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestBed").field("topics", &self.topics).field("faults", &self.faults).finish_non_exhaustive()
    }
}

/// Runs a consumer, again and again while the broker does not let it in for something that passes.
async fn run(consumer: Arc<Make>, broker: SharedBroker, mut stopped: watch::Receiver<bool>) -> Result<(), RunError> {
    loop {
        let consumer = consumer();
        let stop = async { _ = stopped.wait_for(|stopped| *stopped).await };
        match consumer.run(broker.clone(), stop).await {
            Err(RunError::Broker(error)) if error.is_transient() => {
                tokio::select! {
                    biased;
                    stopped = stopped.wait_for(|stopped| *stopped) => return stopped.map(|_| ()).or(Ok(())),
                    () = sleep(START_AGAIN_AFTER) => {}
                }
            }
            ended => return ended,
        }
    }
}

fn request<T: Serialize + ?Sized>(event: &str, value: &T) -> Request {
    let message = Message::json(event, value).unwrap_or_else(|error| panic!("{event:?} cannot be sent: {error}"));
    Request::new(message.event, message.payload)
}
