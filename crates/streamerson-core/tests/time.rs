//! What takes minutes, on a clock that stands still until everybody waits.

// Setting the scene is part of a test, whatever function does it.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use futures_util::{FutureExt, future::join};
use streamerson_core::{
    Client, EntryId, EventType, Message, Name, Reply, SharedBroker, StreamKey, Topic, Wire,
    broker::{Append, GroupStart, Membership, Pending, PendingEntry, ReclaimFrom, memory::Memory},
    client::{CallError, Request},
    group::{Held, Member, MemberConfig, Outcome, Settled, ShardedMember},
    shards::Shards,
};
use tokio::time::{Instant, sleep, timeout};

const LEASE: Duration = Duration::from_secs(30);

struct Scene {
    broker: SharedBroker,
    topic: Topic,
    group: Name,
}

impl Scene {
    fn new() -> Self {
        Self::over(Memory::new())
    }

    fn over(broker: Memory) -> Self {
        Self { broker: broker.into(), topic: Topic::new("time").unwrap(), group: Name::new("g").unwrap() }
    }

    async fn member(&self, change: impl FnOnce(&mut MemberConfig)) -> Member {
        let mut config = MemberConfig::default();
        change(&mut config);
        Member::join(self.broker.clone(), self.topic.clone(), self.group.clone(), config).await.unwrap()
    }

    async fn emit(&self, count: usize) {
        let fields = (0..count).map(|_| Wire::default().encode(&message()).unwrap());
        let batch = fields.map(|fields| Append::new(self.topic.inbound(), fields)).collect();
        self.broker.append(batch).await.into_iter().for_each(|appended| _ = appended.unwrap());
    }

    async fn pending(&self) -> Vec<PendingEntry> {
        let (key, group) = (self.topic.inbound(), self.group.clone());
        self.broker.pending(Pending { key, group, member: None, from: EntryId::ZERO, count: 1000 }).await.unwrap()
    }

    async fn exists(&self, key: &StreamKey) -> bool {
        self.broker.stream_info(key).await.unwrap().is_some()
    }

    fn inbox(&self, held: &Held) -> StreamKey {
        self.topic.inbox(held.delivery.message.inbox.as_ref().unwrap())
    }
}

fn message() -> Message {
    Message::new(EventType::for_user("happened").unwrap(), "!")
}

fn request() -> Request {
    Request::new(EventType::for_user("asked").unwrap(), "?")
}

/// Asks, and has the member reply after a while; answers where the reply went.
async fn ask(scene: &Scene, client: &Client, member: &mut Member, after: Duration, timeout: Duration) -> StreamKey {
    let answer = async {
        let held = member.next().await.unwrap();
        let inbox = scene.inbox(&held);
        sleep(after).await;
        held.settle(Outcome::Replied(Reply::new("!"))).await;
        inbox
    };
    let (reply, inbox) = join(client.request(&scene.topic, request().with_timeout(timeout)), answer).await;
    assert_eq!(reply.unwrap().payload, "!");
    inbox
}

#[tokio::test(start_paused = true)]
async fn an_idle_inbox_goes_after_a_minute() {
    let scene = Scene::new();
    let (client, mut member) = (Client::new(scene.broker.clone()), scene.member(|_| {}).await);
    let inbox = ask(&scene, &client, &mut member, Duration::ZERO, LEASE).await;
    sleep(Duration::from_secs(59)).await;
    assert!(scene.exists(&inbox).await);
    sleep(Duration::from_secs(3)).await;
    assert!(!scene.exists(&inbox).await);
    let other = ask(&scene, &client, &mut member, Duration::ZERO, LEASE).await;
    assert_ne!(other, inbox, "the name of an inbox is never used again");
}

#[tokio::test(start_paused = true)]
async fn an_inbox_outlives_whoever_waits_longest() {
    let scene = Scene::new();
    let (client, mut member) = (Client::new(scene.broker.clone()), scene.member(|_| {}).await);
    let hour = Duration::from_secs(3600);
    ask(&scene, &client, &mut member, hour - LEASE, hour).await;
}

#[tokio::test(start_paused = true)]
async fn what_a_dead_member_held_is_taken_over_when_the_lease_is_over() {
    let scene = Scene::new();
    scene.emit(1).await;
    let mut crashing = scene.member(|_| {}).await;
    drop(crashing.next().await.unwrap());
    let died = Instant::now();
    drop(crashing);
    let mut other = scene.member(|_| {}).await;
    let held = other.next().await.unwrap();
    assert_eq!(held.delivery.count, 2);
    let waited = died.elapsed();
    assert!(waited >= LEASE && waited <= LEASE + Duration::from_secs(2), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_handler_may_take_as_long_as_it_wants() {
    let scene = Scene::new();
    scene.emit(1).await;
    let mut slow = scene.member(|_| {}).await;
    let held = slow.next().await.unwrap();
    let mut idle = scene.member(|_| {}).await;
    assert!(timeout(Duration::from_secs(3600), idle.next()).await.is_err(), "nobody else gets it");
    assert!(!held.is_lost());
    held.settle(Outcome::Done).await;
    slow.leave(LEASE).await;
    assert!(scene.pending().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn events_for_everyone_go_after_ten_minutes() {
    let scene = Scene::new();
    let mut member = scene.member(|_| {}).await;
    let out = scene.topic.outbound();
    let len = async || scene.broker.stream_info(&out).await.unwrap().map(|info| info.len);
    for _ in 0..2 {
        scene.emit(1).await;
        let emitted = vec![(out.clone(), message())];
        let held = member.next().await.unwrap();
        held.settle(Settled { emitted, ..Settled::from(Outcome::Done) }).await;
        sleep(Duration::from_secs(6 * 60)).await;
    }
    assert_eq!(len().await, Some(1), "the first is twelve minutes old, the second six");
    sleep(Duration::from_secs(5 * 60)).await;
    assert_eq!(len().await, Some(0));
}

#[tokio::test(start_paused = true)]
async fn events_for_everyone_are_bounded_in_number() {
    let scene = Scene::new();
    let mut member = scene.member(|config| config.out_entries_max = 3).await;
    let out = scene.topic.outbound();
    for _ in 0..10 {
        scene.emit(1).await;
        let held = member.next().await.unwrap();
        held.settle(Settled { emitted: vec![(out.clone(), message())], ..Settled::from(Outcome::Done) }).await;
    }
    member.leave(LEASE).await;
    let info = scene.broker.stream_info(&out).await.unwrap().unwrap();
    assert!(info.len <= 3, "{info:?}");
}

#[tokio::test(start_paused = true)]
async fn a_member_is_seen_for_as_long_as_it_lives() {
    let scene = Scene::new();
    let client = Client::new(scene.broker.clone());
    // Reads that last for hours are no sign of life.
    let idle = scene.member(|config| config.block = Duration::from_secs(7200)).await;
    sleep(Duration::from_secs(3600)).await;
    let mut urgent = request().with_timeout(Duration::from_secs(1));
    urgent.fail_fast = true;
    let answer = client.request(&scene.topic, urgent.clone()).await;
    assert!(matches!(answer, Err(CallError::TimedOut(_))), "it is there, and does nothing: {answer:?}");

    drop(idle);
    sleep(Duration::from_secs(10)).await;
    let answer = client.request(&scene.topic, request().with_timeout(Duration::from_secs(1))).await;
    assert!(matches!(answer, Err(CallError::TimedOut(_))), "who was seen lately may be alive: {answer:?}");
    sleep(Duration::from_secs(10)).await;
    let answer = client.request(&scene.topic, urgent).await;
    assert!(matches!(answer, Err(CallError::NoConsumers)), "{answer:?}");
}

/// A member whose outcomes can't be settled: what its handlers emit does not fit into the broker.
async fn stuck(scene: &Scene, events: usize) -> Member {
    scene.emit(events).await;
    scene.member(|config| (config.concurrency, config.held_max) = (2, 3)).await
}

fn too_much() -> Settled {
    let elsewhere = Topic::new("elsewhere").unwrap().inbound();
    let message = Message { payload: vec![b'x'; 100_000].into(), ..message() };
    Settled { emitted: vec![(elsewhere, message)], ..Settled::from(Outcome::Done) }
}

#[tokio::test(start_paused = true)]
async fn outcomes_that_cannot_be_settled_are_bounded() {
    let scene = Scene::over(Memory::with_bytes_max(50_000));
    let mut member = stuck(&scene, 20).await;
    let work = async {
        while let Some(held) = member.next().await {
            tokio::spawn(held.settle(too_much()));
        }
    };
    assert!(timeout(Duration::from_secs(600), work).await.is_err());
    let pending = scene.pending().await;
    assert_eq!(pending.len(), 5, "two that are handled and three that wait");
    assert!(pending.iter().all(|entry| entry.count == 1 && entry.idle < LEASE), "all are kept: {pending:?}");
    // A member that can't settle still leaves in time.
    let started = Instant::now();
    member.leave(LEASE).await;
    assert!(started.elapsed() < 2 * LEASE);
}

#[tokio::test(start_paused = true)]
async fn a_settle_that_is_dropped_lets_the_delivery_go() {
    let scene = Scene::over(Memory::with_bytes_max(50_000));
    scene.emit(20).await;
    let mut member = scene.member(|config| (config.concurrency, config.held_max) = (10, 1)).await;
    let dropped = loop {
        let held = member.next().await.unwrap();
        let entry = held.delivery.entry;
        if timeout(Duration::from_secs(1), held.settle(too_much())).await.is_err() {
            break entry;
        }
    };
    sleep(LEASE).await;
    for entry in scene.pending().await {
        assert_eq!(entry.idle >= LEASE, entry.id == dropped, "this one alone is not renewed: {entry:?}");
    }
}

/// A process that stood still for longer than it owns its shards hands out nothing of them until it has asked.
#[tokio::test]
async fn a_frozen_owner_hands_out_nothing() {
    let (broker, ttl) = (SharedBroker::from(Memory::new()), Duration::from_millis(400));
    let shards = Shards::new(Topic::new("time").unwrap(), 1).unwrap();
    let mut config = MemberConfig::default();
    (config.shard_lease, config.block) = (ttl, Duration::from_millis(50));
    let mut member =
        ShardedMember::join(broker.clone(), shards.clone(), Name::new("g").unwrap(), config).await.unwrap();
    let fields = (0..3).map(|_| Wire::default().encode(&message()).unwrap());
    let key = shards.of("any").inbound();
    broker.append(fields.map(|fields| Append::new(key.clone(), fields)).collect()).await;
    member.next().await.unwrap().settle(Outcome::Done).await;
    sleep(ttl / 2).await;
    // All tasks of this process stand still, those that renew included.
    std::thread::sleep(2 * ttl);
    assert!(member.next().now_or_never().is_none(), "by now somebody else may be at work on it");
    for _ in 0..2 {
        let held = timeout(Duration::from_secs(10), member.next()).await.unwrap().unwrap();
        held.settle(Outcome::Done).await;
    }
    member.leave(Duration::from_secs(10)).await;
}

/// What has to be alone is alone to its end, also when its shard is to go to another member meanwhile.
#[tokio::test]
async fn a_shard_that_moves_lets_nothing_beside_what_is_alone() {
    let (broker, group) = (SharedBroker::from(Memory::new()), Name::new("g").unwrap());
    let shards = Shards::new(Topic::new("time").unwrap(), 2).unwrap();
    let [stays, goes] = [0, 1].map(|shard| shards.topic().with_shard(shard).inbound());
    let emit = async |key: &StreamKey| {
        let fields = Wire::default().encode(&message()).unwrap();
        broker.append(vec![Append::new(key.clone(), fields)]).await;
    };
    emit(&goes).await;
    broker.create_group(&goes, &group, GroupStart::After(EntryId::ZERO)).await.unwrap();
    let membership = Membership::new(goes.clone(), group.clone());
    assert_eq!(broker.group_reader(&membership).read(1, Duration::ZERO).await.unwrap().len(), 1);
    // Two more die of it, and it is alone with the next one.
    for _ in 0..2 {
        let membership = Membership::new(goes.clone(), group.clone());
        let (lease, cursor, dead) = (Duration::ZERO, EntryId::ZERO, shards.topic().dead());
        let from =
            ReclaimFrom { membership, lease, cursor, count: 1, handed_back_first: false, dead, dead_entries_max: 1 };
        assert_eq!(broker.reclaim(from).await.unwrap().deliveries.len(), 1);
    }
    let join = async || {
        let mut config = MemberConfig::default();
        (config.shard_lease, config.block) = (Duration::from_secs(1), Duration::from_millis(50));
        ShardedMember::join(broker.clone(), shards.clone(), group.clone(), config).await.unwrap()
    };
    let mut first = join().await;
    let alone = first.next().await.unwrap();
    assert_eq!(alone.delivery.count, 4);
    let second = join().await;
    sleep(Duration::from_secs(1)).await;
    emit(&stays).await;
    assert!(timeout(Duration::from_secs(1), first.next()).await.is_err(), "it is still at work");
    alone.settle(Outcome::Done).await;
    let held = timeout(Duration::from_secs(5), first.next()).await.unwrap().unwrap();
    held.settle(Outcome::Done).await;
    assert_eq!(first.leave(Duration::from_secs(10)).await, 0);
    second.leave(Duration::from_secs(10)).await;
}
