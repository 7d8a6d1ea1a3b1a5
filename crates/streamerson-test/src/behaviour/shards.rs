//! Topics in shards: one owner for each, order by key whoever that is, and moves when members come and go.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::FutureExt;
use streamerson_core::{
    Message, Name, SharedBroker, Topic,
    broker::{GroupStart, LeaseRequest},
    group::{Held, LaneKey, MemberConfig, OrderedBy, Outcome, ShardedMember},
    shards::{Shards, ShardsError},
};
use tokio::task::JoinHandle;

use super::scene::{append, event, payload, text};
use crate::eventually;

const COUNT: u32 = 6;
/// Short, so that the shards of a member that is dropped move soon.
const SHARD_LEASE: Duration = Duration::from_millis(500);
/// What nobody waits for.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is in front of the dash is the key.
fn key_of(message: &Message) -> LaneKey {
    let text = text(message);
    text.split('-').next().unwrap_or_default().to_owned().into()
}

#[derive(Clone)]
struct Scene {
    broker: SharedBroker,
    shards: Shards,
    group: Name,
    log: Log,
}

/// What began and ended, in the order of it.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<Handling>>>);

#[derive(Debug, Clone)]
struct Handling {
    payload: String,
    shard: Topic,
    epoch: u64,
    member: usize,
    ended: bool,
}

impl Log {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Handling>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, member: usize, held: &Held) -> usize {
        let mut log = self.lock();
        let (shard, epoch) = (held.delivery.topic.clone(), held.delivery.epoch.expect("an epoch"));
        log.push(Handling { payload: payload(held), shard, epoch, member, ended: false });
        log.len() - 1
    }

    fn end(&self, index: usize) {
        self.lock()[index].ended = true;
    }

    fn all(&self) -> Vec<Handling> {
        self.lock().clone()
    }

    async fn until(&self, what: &str, is_so: impl Fn(&[Handling]) -> bool) {
        eventually(what, async || is_so(&self.lock()).then_some(())).await;
    }
}

impl Scene {
    fn new(broker: SharedBroker) -> Self {
        let topic = Topic::new(&Name::unique()).expect("a unique name is a topic");
        let shards = Shards::new(topic, COUNT).expect("so many shards");
        Self { broker, shards, group: Name::unique(), log: Log::default() }
    }

    async fn member(&self) -> ShardedMember {
        self.member_with(|_| {}).await
    }

    async fn member_with(&self, change: impl FnOnce(&mut MemberConfig)) -> ShardedMember {
        let mut config = MemberConfig::default();
        config.block = Duration::from_millis(100);
        config.shard_lease = SHARD_LEASE;
        config.ordered_by = Some(OrderedBy::new(|message| Some(key_of(message))));
        change(&mut config);
        let (broker, shards, group) = (self.broker.clone(), self.shards.clone(), self.group.clone());
        ShardedMember::join(broker, shards, group, config).await.expect("joined")
    }

    /// A member at work, which notes what it does, and ends each delivery after `work`.
    async fn worker<W>(&self, number: usize, work: impl Fn(String) -> W + Clone + Send + 'static) -> Worker
    where
        W: Future<Output = ()> + Send,
    {
        let mut member = self.member().await;
        let (stopper, log) = (member.stopper(), self.log.clone());
        let task = tokio::spawn(async move {
            let mut handlers = tokio::task::JoinSet::new();
            while let Some(held) = member.next().await {
                let (log, work) = (log.clone(), work.clone());
                let index = log.begin(number, &held);
                handlers.spawn(async move {
                    work(payload(&held)).await;
                    log.end(index);
                    held.settle(Outcome::Done).await;
                });
            }
            member.leave(PATIENCE).await;
        });
        Worker { stopper, task }
    }

    /// Sends events, each to the shard of its key.
    async fn emit<'a>(&self, payloads: impl IntoIterator<Item = &'a str>) {
        let mut by_shard: BTreeMap<Topic, Vec<Message>> = BTreeMap::new();
        for payload in payloads {
            let message = event(payload);
            by_shard.entry(self.shards.of(key_of(&message))).or_default().push(message);
        }
        for (shard, messages) in by_shard {
            append(&self.broker, &shard.inbound(), messages).await;
        }
    }

    /// A key for each shard.
    fn keys(&self) -> Vec<String> {
        let mut found: HashMap<Topic, String> = HashMap::new();
        for number in 0.. {
            let key = format!("k{number}");
            found.entry(self.shards.of(&key)).or_insert(key);
            if found.len() == COUNT as usize {
                break;
            }
        }
        self.shards.iter().map(|shard| found.remove(&shard).expect("a key for each")).collect()
    }

    async fn emit_to_all(&self, suffix: &str) {
        let payloads: Vec<_> = self.keys().iter().map(|key| format!("{key}-{suffix}")).collect();
        self.emit(payloads.iter().map(String::as_str)).await;
    }

    /// Sends to all shards, again and again, until what was handled last by which member is as wanted.
    async fn until_owned(&self, what: &str, is_so: impl Fn(&BTreeMap<usize, usize>) -> bool) {
        let mut round = 0;
        eventually(what, async || {
            round += 1;
            let suffix = format!("{what}-{round}").replace(' ', "_");
            self.emit_to_all(&suffix).await;
            let mine = |handling: &&Handling| handling.payload.ends_with(&suffix);
            self.log.until("a round is handled", |log| log.iter().filter(mine).count() >= COUNT as usize).await;
            let mut owners = BTreeMap::new();
            for handling in self.log.all().iter().filter(mine) {
                *owners.entry(handling.member).or_insert(0) += 1;
            }
            is_so(&owners).then_some(())
        })
        .await;
    }
}

struct Worker {
    stopper: streamerson_core::group::Stopper,
    task: JoinHandle<()>,
}

impl Worker {
    async fn stop(self) {
        self.stopper.stop();
        self.task.await.expect("no panic");
    }

    /// As when its process dies.
    async fn crash(self) {
        self.task.abort();
        _ = self.task.await;
    }
}

async fn nothing(_: String) {}

/// For each key, payloads come for the first time in the order in which they were sent, and never two at once.
fn assert_in_order(log: &[Handling], sent: &BTreeMap<String, Vec<String>>) {
    for (key, payloads) in sent {
        let mut seen = BTreeSet::new();
        let of_key = log.iter().filter(|handling| handling.payload.split('-').next() == Some(key));
        let first: Vec<_> = of_key.filter(|handling| seen.insert(&handling.payload)).map(|h| &h.payload).collect();
        assert_eq!(first, payloads.iter().collect::<Vec<_>>(), "{key}");
    }
}

/// Two members have half of the shards each, and each message is handled once.
pub async fn are_shared_fairly(broker: SharedBroker) {
    let scene = Scene::new(broker);
    let workers = [scene.worker(0, nothing).await, scene.worker(1, nothing).await];
    scene.until_owned("three each", |owners| owners.values().eq(&[3, 3])).await;
    let log = scene.log.all();
    let once: BTreeSet<_> = log.iter().map(|handling| &handling.payload).collect();
    assert_eq!(once.len(), log.len(), "each once");
    for worker in workers {
        worker.stop().await;
    }
}

/// A member that goes leaves its shards to the others at once; what comes later finds a higher epoch.
pub async fn move_when_a_member_goes(broker: SharedBroker) {
    let scene = Scene::new(broker);
    let first = scene.worker(0, nothing).await;
    scene.until_owned("all with the first", |owners| owners.get(&0) == Some(&(COUNT as usize))).await;
    let second = scene.worker(1, nothing).await;
    scene.until_owned("both have some", |owners| owners.len() == 2).await;
    first.stop().await;
    scene.until_owned("all with the second", |owners| owners.get(&1) == Some(&(COUNT as usize))).await;
    let mut epochs: BTreeMap<Topic, u64> = BTreeMap::new();
    for handling in scene.log.all() {
        let epoch = epochs.entry(handling.shard).or_insert(handling.epoch);
        assert!(*epoch <= handling.epoch, "epochs never fall");
        *epoch = handling.epoch;
    }
    second.stop().await;
    // All leases are free, so that whoever comes next need not wait.
    let request = |shard: Topic| LeaseRequest {
        key: shard.owner(&scene.group),
        holder: Name::unique(),
        ttl: Duration::from_millis(1),
    };
    for shard in scene.shards.iter() {
        assert!(scene.broker.lease(request(shard)).await.expect("an answer").held);
    }
}

/// A shard moves only when nothing is at work in it.
pub async fn wait_for_what_is_at_work(broker: SharedBroker) {
    let scene = Scene::new(broker);
    let mut first = scene.member().await;
    scene.emit_to_all("0").await;
    let mut held = Vec::new();
    for _ in 0..COUNT {
        held.push(first.next().await.expect("a delivery"));
    }
    let second = scene.worker(1, nothing).await;
    scene.emit_to_all("1").await;
    // It has its part, and nothing of it to do, as the first is at work in all of them. Its own waits, too, as it is
    // behind the same keys.
    tokio::time::sleep(3 * SHARD_LEASE).await;
    assert!(scene.log.all().is_empty(), "{:?}", scene.log.all());
    assert!(first.next().now_or_never().is_none());
    for held in held {
        assert!(!held.is_lost(), "renewed all the while");
        held.settle(Outcome::Done).await;
    }
    scene.log.until("the second has some", |log| log.iter().any(|handling| handling.payload.ends_with("-1"))).await;
    first.leave(PATIENCE).await;
    scene.log.until("the second has all", |log| !log.is_empty() && log.iter().all(|handling| handling.ended)).await;
    second.stop().await;
}

/// What a member that died had goes to another, before anything new.
pub async fn are_inherited_in_order(broker: SharedBroker) {
    let scene = Scene::new(broker);
    let mut first = scene.member().await;
    let key = &scene.keys()[0];
    let payloads: Vec<_> = (0..50).map(|number| format!("{key}-{number}")).collect();
    scene.emit(payloads[..30].iter().map(String::as_str)).await;
    let done = first.next().await.expect("a delivery");
    done.settle(Outcome::Done).await;
    // At work on one, and the rest is taken and waits behind it.
    let held = first.next().await.expect("a delivery");
    assert_eq!(payload(&held), payloads[1]);
    scene.emit(payloads[30..].iter().map(String::as_str)).await;
    drop(first);
    let second = scene.worker(1, nothing).await;
    scene.log.until("all is handled", |log| log.len() >= 49).await;
    let log: Vec<_> = scene.log.all().into_iter().map(|handling| handling.payload).collect();
    assert_eq!(log, payloads[1..]);
    // It is somebody else's now, whatever became of it.
    drop(held);
    second.stop().await;
}

/// Members come, go and die; each key is handled in order and never twice at once, and nothing is left out.
pub async fn keep_order_whoever_comes_and_goes(broker: SharedBroker) {
    let scene = Scene::new(broker);
    let mut sent: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let at_work: Arc<Mutex<BTreeSet<String>>> = Arc::default();
    let work = {
        let at_work = Arc::clone(&at_work);
        move |payload: String| {
            let at_work = Arc::clone(&at_work);
            let key = payload.split('-').next().unwrap_or_default().to_owned();
            async move {
                let lock = || at_work.lock().unwrap_or_else(PoisonError::into_inner);
                assert!(lock().insert(key.clone()), "{key} is handled twice at once");
                let _over = Over(Arc::clone(&at_work), key);
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
        }
    };
    let mut workers: Vec<Option<Worker>> = Vec::new();
    for round in 0..8 {
        workers.push(Some(scene.worker(round, work.clone()).await));
        let mut payloads = Vec::new();
        for number in 0..10 {
            for key in 0..20 {
                let payload = format!("key{key}-{round}.{number}");
                sent.entry(format!("key{key}")).or_default().push(payload.clone());
                payloads.push(payload);
            }
        }
        scene.emit(payloads.iter().map(String::as_str)).await;
        let begun = scene.log.all().len();
        scene.log.until("it goes on", |log| log.len() > begun + 20).await;
        // One of three goes, one dies.
        if let Some(worker) = (round % 3 == 1).then(|| workers[round - 1].take()).flatten() {
            worker.stop().await;
        }
        if let Some(worker) = (round % 3 == 2).then(|| workers[round - 1].take()).flatten() {
            worker.crash().await;
        }
    }
    let all: usize = sent.values().map(Vec::len).sum();
    scene
        .log
        .until("all is handled", |log| {
            log.iter()
                .filter(|handling| handling.ended)
                .map(|handling| &handling.payload)
                .collect::<BTreeSet<_>>()
                .len()
                == all
        })
        .await;
    assert_in_order(&scene.log.all(), &sent);
    for worker in workers.into_iter().flatten() {
        worker.stop().await;
    }
}

/// Takes a key out of those that are being handled, also when its handler is dropped.
struct Over(Arc<Mutex<BTreeSet<String>>>, String);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.1);
    }
}

/// What is given back has nobody else to go to, and comes again in its place.
pub async fn keep_what_is_given_back(broker: SharedBroker) {
    let scene = Scene::new(broker);
    let mut member = scene.member().await;
    let key = &scene.keys()[0];
    let [one, two] = ["1", "2"].map(|number| format!("{key}-{number}"));
    scene.emit([&*one, &*two]).await;
    member.next().await.expect("a delivery").hand_back();
    for expected in [one, two] {
        let held = member.next().await.expect("a delivery");
        assert_eq!((payload(&held), held.delivery.count), (expected, 1));
        held.settle(Outcome::Done).await;
    }
    member.leave(PATIENCE).await;
}

/// An attempt that waits goes with its shard, still in front of its key.
pub async fn take_further_attempts_along(broker: SharedBroker) {
    let scene = Scene::new(broker);
    let mut member = scene.member().await;
    let key = &scene.keys()[0];
    let [one, two] = ["1", "2"].map(|number| format!("{key}-{number}"));
    scene.emit([&*one, &*two]).await;
    let held = member.next().await.expect("a delivery");
    held.settle(Outcome::Retried { after: Duration::from_secs(3600), error: "not now".into() }).await;
    member.leave(PATIENCE).await;
    let mut next = scene.member().await;
    for expected in [one, two] {
        let held = next.next().await.expect("a delivery");
        assert_eq!(payload(&held), expected);
        held.settle(Outcome::Done).await;
    }
    next.leave(PATIENCE).await;
}

/// No more are handled at the same time than was said, over all shards.
pub async fn share_their_permits(broker: SharedBroker) {
    let scene = Scene::new(broker);
    let mut member = scene.member_with(|config| config.concurrency = 2).await;
    scene.emit_to_all("0").await;
    let mut held = vec![member.next().await.expect("a delivery"), member.next().await.expect("a delivery")];
    tokio::time::sleep(SHARD_LEASE).await;
    assert!(member.next().now_or_never().is_none(), "two are handled");
    for _ in 0..4 {
        held.pop().expect("one of two").settle(Outcome::Done).await;
        held.push(member.next().await.expect("a delivery"));
    }
    for held in held {
        held.settle(Outcome::Done).await;
    }
    member.leave(PATIENCE).await;
}

/// Whoever means another number is refused, and told where to look.
pub async fn refuse_another_number(broker: SharedBroker) {
    let scene = Scene::new(broker);
    let member = scene.member().await;
    let other = Shards::new(scene.shards.topic().clone(), COUNT + 1).expect("so many shards");
    let refused = other.agree(&*scene.broker).await;
    let Err(ShardsError::Disagree { found, .. }) = &refused else { panic!("{refused:?}") };
    assert_eq!(*found, COUNT.to_string());
    let joined = ShardedMember::join(scene.broker.clone(), other, scene.group.clone(), MemberConfig::default()).await;
    assert!(matches!(joined, Err(ShardsError::Disagree { .. })), "{joined:?}");
    scene.shards.agree(&*scene.broker).await.expect("the same number");
    member.leave(PATIENCE).await;
}

/// A group that starts at the end misses nothing of what comes after, on whichever shard.
pub async fn start_all_at_once(broker: SharedBroker) {
    let scene = Scene::new(broker);
    scene.emit_to_all("before").await;
    let mut member = scene.member_with(|config| config.start = GroupStart::End).await;
    scene.emit_to_all("after").await;
    for _ in 0..COUNT {
        let held = member.next().await.expect("a delivery");
        assert!(payload(&held).ends_with("-after"));
        held.settle(Outcome::Done).await;
    }
    member.leave(PATIENCE).await;
}
