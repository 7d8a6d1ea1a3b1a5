//! A broker under load, and the account of what was sent, answered, failed and handled.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use streamerson_core::{
    Client, EntryId, EventType, Message, MessageId, Name, Reply, SharedBroker, Topic, Wire,
    broker::{GroupStart, Range},
    client::{CallError, Request},
    group::{Member, MemberConfig, Outcome, Stopper},
};
use streamerson_redis::{RedisBroker, RedisConfig};
use streamerson_test::{Proxy, eventually};
use tokio::{sync::watch, task::JoinHandle};

pub(super) const LEASE: Duration = Duration::from_secs(2);
/// How long after its deadline a call may end: it asks whether anybody is there, and the machine may be busy.
const LATE_MAX: Duration = Duration::from_secs(4);
/// How long it may take until everything goes on.
const GOES_ON_WITHIN: Duration = Duration::from_secs(15);

pub(super) async fn broker(url: &str) -> SharedBroker {
    let config = RedisConfig::new(url.parse().unwrap())
        .response_timeout(Duration::from_secs(2))
        .reconnect_delay_max(Duration::from_millis(50));
    Arc::new(RedisBroker::connect_with(config).await.unwrap())
}

pub(super) fn request(timeout: Duration) -> Request {
    Request::new(EventType::for_user("asked").unwrap(), "?").with_timeout(timeout)
}

pub(super) fn event() -> Message {
    Message::new(EventType::for_user("happened").unwrap(), "!")
}

/// Cuts what is held back for good: nothing goes through before the connections of now are gone.
pub(super) async fn cut_off(proxy: &Proxy) {
    let accepted = proxy.accepted();
    proxy.cut();
    proxy.wait_accepted(accepted + 1).await;
    proxy.restore();
}

/// For what a test does not wait for any longer than this.
pub(super) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(5), future).await.unwrap_or_else(|_| panic!("{what}"))
}

/// A topic, workers on it, and what they have handled.
pub(super) struct Load {
    pub(super) topic: Topic,
    pub(super) group: Name,
    /// How often each message was handled.
    pub(super) handled: Arc<Mutex<HashMap<MessageId, usize>>>,
    /// How many requests and events have come to an end, one way or the other.
    pub(super) ended: watch::Sender<usize>,
    /// How many of them were answered, or confirmed.
    pub(super) good: watch::Sender<usize>,
    /// What was sent besides the load, to see whether it fails.
    probed: Mutex<Vec<Sent>>,
    workers: Vec<(Stopper, JoinHandle<Member>)>,
}

/// What became of requests and events, by id.
#[derive(Default)]
pub(super) struct Sent {
    pub(super) answered: Vec<MessageId>,
    pub(super) emitted: Vec<MessageId>,
    pub(super) failed: Vec<(MessageId, CallError)>,
}

impl Sent {
    fn all(parts: Vec<Self>) -> Self {
        parts.into_iter().fold(Self::default(), |mut all, part| {
            all.answered.extend(part.answered);
            all.emitted.extend(part.emitted);
            all.failed.extend(part.failed);
            all
        })
    }

    /// Nothing failed but for what passes by itself, as the error says; and no deadline passed, unless that was to be.
    pub(super) fn failed_as_it_should(&self, deadlines_pass: bool) {
        for (id, error) in &self.failed {
            let known = match error {
                CallError::Broker(error) => error.is_transient(),
                CallError::TimedOut(_) | CallError::NoConsumers => deadlines_pass,
                _ => false,
            };
            assert!(known, "{id} failed for no good reason: {error}");
        }
    }
}

impl Load {
    pub(super) async fn new(broker: &SharedBroker) -> Self {
        let load = Self {
            topic: Topic::new("faults").unwrap(),
            group: Name::new("workers").unwrap(),
            handled: Arc::default(),
            ended: watch::Sender::new(0),
            good: watch::Sender::new(0),
            probed: Mutex::default(),
            workers: Vec::new(),
        };
        load.audit(broker).await;
        load
    }

    /// The auditor's group reads nothing, so that nothing is trimmed and every entry can be counted at the end.
    pub(super) async fn audit(&self, broker: &SharedBroker) {
        let auditor = Name::new("auditor").unwrap();
        broker.create_group(&self.topic.inbound(), &auditor, GroupStart::After(EntryId::ZERO)).await.unwrap();
    }

    pub(super) async fn member(&self, broker: &SharedBroker) -> Member {
        let mut config = MemberConfig::default();
        (config.lease, config.concurrency) = (LEASE, 16);
        // Cuts are no crashes, but what they strand may have to wait for a lease all the same.
        (config.block, config.deliveries_max) = (Duration::from_millis(500), 100);
        Member::join(broker.clone(), self.topic.clone(), self.group.clone(), config).await.unwrap()
    }

    /// A member that answers each request with its id, when the gate is open.
    pub(super) async fn work(&mut self, broker: &SharedBroker, gate: &watch::Sender<bool>) {
        let mut member = self.member(broker).await;
        let (stopper, handled, gate) = (member.stopper(), self.handled.clone(), gate.subscribe());
        let task = tokio::spawn(async move {
            while let Some(held) = member.next().await {
                let id = held.delivery.message.id.clone();
                let mut gate = gate.clone();
                *handled.lock().unwrap().entry(id.clone()).or_default() += 1;
                tokio::spawn(async move {
                    _ = gate.wait_for(|open| *open).await;
                    held.settle(Outcome::Replied(Reply::new(id.to_string()))).await;
                });
            }
            member
        });
        self.workers.push((stopper, task));
    }

    /// Sends from so many tasks at once, each its share, one after the other.
    pub(super) async fn send(&self, client: &Client, tasks: usize, each: usize, timeout: Duration) -> Sent {
        let client = client.with_timeout(timeout);
        let sends = (0..tasks).map(|task| {
            let client = client.clone();
            async move {
                let mut sent = Sent::default();
                for number in 0..each {
                    self.send_one(&client, task + number, &mut sent).await;
                }
                sent
            }
        });
        Sent::all(join_all(sends).await)
    }

    /// Sends from so many tasks at once until it is to stop. Who fails takes a breath.
    pub(super) async fn send_until(
        &self,
        client: &Client,
        tasks: usize,
        timeout: Duration,
        stop: &watch::Sender<bool>,
    ) -> Sent {
        let client = client.with_timeout(timeout);
        let sends = (0..tasks).map(|task| {
            let (client, stop) = (client.clone(), stop.subscribe());
            async move {
                let (mut sent, mut number) = (Sent::default(), task);
                while !*stop.borrow() {
                    let failed = sent.failed.len();
                    self.send_one(&client, number, &mut sent).await;
                    number += 1;
                    let pause = if sent.failed.len() > failed { 20 } else { 2 };
                    tokio::time::sleep(Duration::from_millis(pause)).await;
                }
                sent
            }
        });
        let mut sent = join_all(sends).await;
        sent.append(&mut self.probed.lock().unwrap());
        Sent::all(sent)
    }

    async fn send_one(&self, client: &Client, number: usize, sent: &mut Sent) {
        let (started, failed) = (Instant::now(), sent.failed.len());
        // Two requests for each event.
        if number % 3 < 2 {
            self.ask(client, sent).await;
        } else {
            self.emit(client, sent).await;
        }
        let took = started.elapsed();
        assert!(took < client.timeout() + LATE_MAX, "{took:?} is long after the deadline");
        self.ended.send_modify(|ended| *ended += 1);
        if sent.failed.len() == failed {
            self.good.send_modify(|good| *good += 1);
        }
    }

    async fn ask(&self, client: &Client, sent: &mut Sent) {
        let request = request(client.timeout());
        let id = request.id.clone();
        match client.request(&self.topic, request).await {
            Ok(reply) => {
                assert_eq!(reply.payload, id.as_str(), "each gets its own reply");
                sent.answered.push(id);
            }
            Err(error) => sent.failed.push((id, error)),
        }
    }

    async fn emit(&self, client: &Client, sent: &mut Sent) {
        let event = event();
        let id = event.id.clone();
        match client.emit(&self.topic, event).await {
            Ok(_) => sent.emitted.push(id),
            Err(error) => sent.failed.push((id, error)),
        }
    }

    /// Waits until so many more are answered or confirmed.
    pub(super) async fn goes_on(&self, more: usize) {
        let wanted = *self.good.borrow() + more;
        let good = async { self.good.subscribe().wait_for(|good| *good >= wanted).await.is_ok() };
        let goes_on = tokio::time::timeout(GOES_ON_WITHIN, good).await;
        assert!(goes_on.is_ok(), "it does not go on: {} of {wanted}", *self.good.borrow());
    }

    /// Emits until so many have failed: what the load does may all be under way, and wait.
    pub(super) async fn fails(&self, client: &Client, count: usize) {
        let client = client.with_timeout(Duration::from_secs(1));
        let mut sent = Sent::default();
        let failed = async {
            while sent.failed.len() < count {
                self.send_one(&client, 2, &mut sent).await;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let failed = tokio::time::timeout(GOES_ON_WITHIN, failed).await;
        assert!(failed.is_ok(), "calls do not fail");
        self.probed.lock().unwrap().push(sent);
    }

    /// Waits until so many have come to an end.
    pub(super) async fn progress(&self, count: usize) {
        self.ended.subscribe().wait_for(|ended| *ended >= count).await.unwrap();
    }

    /// Waits until the group has nothing left to do, stops the workers and says how often each message was appended.
    pub(super) async fn finish(self, broker: &SharedBroker) -> (HashMap<MessageId, usize>, HashMap<MessageId, usize>) {
        let key = self.topic.inbound();
        eventually("the group is done", async || {
            let groups = broker.groups(&key).await.ok()?;
            let group = groups.into_iter().find(|group| group.name == self.group)?;
            (group.pending == 0 && group.lag == Some(0)).then_some(())
        })
        .await;
        for (stopper, task) in self.workers {
            stopper.stop();
            let member = soon("the worker stops", task).await.unwrap();
            soon("the member leaves", member.leave(Duration::from_secs(2))).await;
        }
        assert!(broker.members(&key, &self.group).await.unwrap().is_empty(), "no member is left behind");
        let range = Range { key, from: EntryId::ZERO, to: EntryId::MAX, count: 1_000_000, newest_first: false };
        let mut appended = HashMap::new();
        for entry in broker.range(range).await.unwrap() {
            let message = Wire::default().decode(&entry.fields).unwrap();
            // What takes a request back has the request's id.
            if message.event != EventType::CANCEL {
                *appended.entry(message.id).or_default() += 1;
            }
        }
        assert!(broker.stream_info(&self.topic.dead()).await.unwrap().is_none(), "nothing is dead");
        let handled = std::mem::take(&mut *self.handled.lock().unwrap());
        (appended, handled)
    }
}

/// What must hold whatever failed: nothing is in the stream twice, all that is there was handled, unless its caller was
/// told that it came too late, and what was confirmed is there.
pub(super) fn balance(sent: &Sent, appended: &HashMap<MessageId, usize>, handled: &HashMap<MessageId, usize>) {
    let is_late = |error: &CallError| matches!(error, CallError::TimedOut(_) | CallError::NoConsumers);
    let late: HashSet<_> = sent.failed.iter().filter(|(_, error)| is_late(error)).map(|(id, _)| id).collect();
    for (id, times) in appended {
        assert_eq!(*times, 1, "{id} was appended more than once");
        assert!(handled.contains_key(id) || late.contains(id), "{id} was never handled");
    }
    for id in sent.answered.iter().chain(&sent.emitted) {
        assert!(appended.contains_key(id), "{id} was confirmed and is not there");
    }
    let twice = handled.values().filter(|times| **times > 1).count();
    println!(
        "{} answered, {} emitted, {} failed; {} appended, {twice} of them handled more than once",
        sent.answered.len(),
        sent.emitted.len(),
        sent.failed.len(),
        appended.len(),
    );
}
