//! streamerson, used as its guide says, with the settings that it comes with.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::SinkExt;
use streamerson_consumer::{Consumer, Reply};
use streamerson_core::{
    BrokerError, Client, EventType, Message, Name, SharedBroker, Topic,
    broker::memory::Memory,
    client::Request,
    group::{Member, MemberConfig, Outcome},
};
use streamerson_redis::RedisBroker;
use streamerson_test::RedisServer;
use tokio::task::JoinSet;

use crate::{
    Failure,
    load::keep_in_flight,
    measure::{Meter, Sample, ServerProcess},
    message::{EVENT, GROUP, PAYLOAD, TOPIC},
    workload::Workload,
};

/// Both sides of a topic, connected apart, as if they were two processes.
pub(crate) struct Ours {
    callers: SharedBroker,
    workers: SharedBroker,
    server: Option<ServerProcess>,
    topic: Topic,
    group: Name,
}

/// What answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Echo {
    /// A member of the group, whose deliveries are settled as they come.
    Member,
    /// A consumer with a handler.
    Consumer,
}

impl Ours {
    pub(crate) async fn over(server: &RedisServer) -> Result<Self, Failure> {
        let callers = RedisBroker::connect(&server.url()).await?;
        let workers = RedisBroker::connect(&server.url()).await?;
        Ok(Self { server: Some(ServerProcess::of(server).await?), ..Self::new(Arc::new(callers), Arc::new(workers)) })
    }

    pub(crate) fn in_memory() -> Self {
        let broker = SharedBroker::from(Memory::new());
        Self::new(Arc::clone(&broker), broker)
    }

    fn new(callers: SharedBroker, workers: SharedBroker) -> Self {
        let topic = Topic::new(TOPIC).expect("a topic");
        Self { callers, workers, server: None, topic, group: Name::new(GROUP).expect("a name") }
    }

    pub(crate) async fn run(self, workload: Workload, ops: usize, echo: Echo) -> Result<Sample, Failure> {
        let warm_up = ops / 20;
        match workload {
            Workload::Publish => {
                self.publish(warm_up).await?;
                let meter = Meter::start(self.server)?;
                self.publish(ops).await?;
                Ok(meter.stop(ops, Vec::new())?)
            }
            Workload::Emit512 => {
                let client = Client::new(Arc::clone(&self.callers));
                self.emit(&client, workload.in_flight(), warm_up).await;
                let meter = Meter::start(self.server)?;
                let latencies = self.emit(&client, workload.in_flight(), ops).await;
                Ok(meter.stop(ops, latencies)?)
            }
            Workload::Consume => {
                self.publish(ops).await?;
                let seen = Arc::new(Seen::default());
                let meter = Meter::start(self.server)?;
                let _worker = self.work(echo, &seen);
                self.finished(&seen, ops).await?;
                Ok(meter.stop(ops, Vec::new())?)
            }
            Workload::Call1 | Workload::Call64 | Workload::Call512 => {
                let _worker = self.work(echo, &Arc::default());
                let client = Client::new(Arc::clone(&self.callers));
                self.call(&client, workload.in_flight(), warm_up).await;
                let meter = Meter::start(self.server)?;
                let latencies = self.call(&client, workload.in_flight(), ops).await;
                Ok(meter.stop(ops, latencies)?)
            }
        }
    }

    async fn publish(&self, ops: usize) -> Result<(), Failure> {
        let mut publisher = self.callers.publisher(self.topic.inbound());
        let task = tokio::spawn(async move {
            let (event, payload) = (event(), payload());
            for _ in 0..ops {
                publisher.feed(Message::new(event.clone(), payload.clone())).await?;
            }
            SinkExt::<Message>::flush(&mut publisher).await
        });
        Ok(task.await??)
    }

    async fn emit(&self, client: &Client, in_flight: usize, ops: usize) -> Vec<Duration> {
        let (client, topic) = (client.clone(), self.topic.clone());
        let (event, payload) = (event(), payload());
        keep_in_flight(in_flight, ops, move |_| {
            let (client, topic) = (client.clone(), topic.clone());
            let message = Message::new(event.clone(), payload.clone());
            async move { _ = client.emit(&topic, message).await.expect("an event that is taken") }
        })
        .await
    }

    async fn call(&self, client: &Client, in_flight: usize, ops: usize) -> Vec<Duration> {
        let (client, topic) = (client.clone(), self.topic.clone());
        let (event, payload) = (event(), payload());
        keep_in_flight(in_flight, ops, move |_| {
            let (client, topic) = (client.clone(), topic.clone());
            let request = Request::new(event.clone(), payload.clone());
            async move {
                let reply = client.request(&topic, request).await.expect("a request that is answered");
                assert_eq!(reply.payload.len(), PAYLOAD.len(), "a reply has the payload of its request");
            }
        })
        .await
    }

    /// Starts a worker, which ends with the returned set.
    fn work(&self, echo: Echo, seen: &Arc<Seen>) -> JoinSet<()> {
        let (broker, topic, group) = (Arc::clone(&self.workers), self.topic.clone(), self.group.clone());
        let seen = Arc::clone(seen);
        let mut tasks = JoinSet::new();
        match echo {
            Echo::Member => tasks.spawn(echo_of_member(broker, topic, group, seen)),
            Echo::Consumer => tasks.spawn(echo_of_consumer(broker, topic, group, seen)),
        };
        tasks
    }

    /// Waits until so many messages were handled and all are acked.
    async fn finished(&self, seen: &Seen, ops: usize) -> Result<(), BrokerError> {
        loop {
            tokio::time::sleep(Duration::from_millis(2)).await;
            if seen.0.load(Ordering::Relaxed) < ops {
                continue;
            }
            let groups = self.callers.groups(&self.topic.inbound()).await?;
            if groups.iter().all(|group| group.pending == 0) {
                return Ok(());
            }
        }
    }
}

/// How many messages were handled.
#[derive(Debug, Default)]
struct Seen(AtomicUsize);

async fn echo_of_member(broker: SharedBroker, topic: Topic, group: Name, seen: Arc<Seen>) {
    let mut member =
        Member::join(broker, topic, group, MemberConfig::default()).await.expect("a group that can be joined");
    while let Some(held) = member.next().await {
        seen.0.fetch_add(1, Ordering::Relaxed);
        let reply = Reply::new(held.delivery.message.payload.clone());
        held.settle(Outcome::Replied(reply)).await;
    }
}

async fn echo_of_consumer(broker: SharedBroker, topic: Topic, group: Name, seen: Arc<Seen>) {
    let handler = async move |payload: Bytes| {
        seen.0.fetch_add(1, Ordering::Relaxed);
        Reply::new(payload)
    };
    let consumer = Consumer::new(topic).on(EVENT, handler).group(group.as_str());
    consumer.run(broker, std::future::pending()).await.expect("a consumer that runs");
}

fn event() -> EventType {
    EventType::new(EVENT).expect("an event type")
}

fn payload() -> Bytes {
    Bytes::from_static(PAYLOAD.as_bytes())
}
