//! The way of one process to the broker, on which things take time, get lost, or end.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use streamerson_core::{
    Broker, BrokerError, Entry, EntryId, MarkKey, Name, OwnerKey, RegistryKey, Schedule, ScheduleId, SharedBroker,
    StreamKey, UnixMillis,
    broker::{
        Append, Appended, Charge, Delivered, Due, Extension, Fence, GroupInfo, GroupReader, GroupStart, Health, Keep,
        LeaseRequest, LeaseState, Mark, MemberInfo, Membership, Pending, PendingEntry, Range, ReadWaker, Reader,
        ReclaimFrom, Reclaimed, Replay, Scheduled, ScheduledPage, ScheduledRange, SettledBatch, Settlement, StreamInfo,
        StreamPage, StreamRead, TrimTo,
    },
};
use tokio::{
    sync::{Notify, watch},
    time::sleep,
};

use super::{
    faults::{Dice, Fate, Faults},
    record::Record,
};

/// What is said to be the address of the broker.
const ADDRESS: &str = "test://";

/// How a way is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct State {
    /// The process has died, so nothing of it is done any more, and nothing hears an answer.
    dead: bool,
    /// The broker is away.
    down: bool,
    /// How often connections were cut.
    cuts: u64,
}

/// A broker that is reached by a way of its own.
#[derive(Debug)]
pub(super) struct Link {
    broker: SharedBroker,
    way: Arc<Way>,
}

#[derive(Debug)]
struct Way {
    // Both locked to look at it or to change it. No `watch`, which wakes those that wait in an order of its own each time.
    state: Mutex<State>,
    changed: Notify,
    health: Mutex<Healths>,
    /// Rises with each connection.
    epoch: AtomicU64,
    dice: Dice,
    record: Arc<Record>,
}

impl Link {
    pub(super) fn new(broker: SharedBroker, faults: Faults, number: u64, record: Arc<Record>) -> Self {
        let way = Way {
            state: Mutex::new(State { dead: false, down: false, cuts: 0 }),
            changed: Notify::new(),
            health: Mutex::new(Healths { now: Health::Up, told: Vec::new() }),
            epoch: AtomicU64::new(1),
            dice: Dice::new(faults, number),
            record,
        };
        Self { broker, way: Arc::new(way) }
    }

    /// The process is no more.
    pub(super) fn die(&self) {
        self.way.change(|state| state.dead = true);
    }

    /// Cuts what is under way, and refuses what comes, until it is up again.
    pub(super) fn down(&self) {
        let now = self.broker.now();
        self.way.change(|state| (state.down, state.cuts) = (true, state.cuts + 1));
        self.way.healths(|healths| healths.turn(Health::Down { since: now }));
    }

    pub(super) fn up(&self) {
        self.way.epoch.fetch_add(1, Ordering::Relaxed);
        self.way.change(|state| state.down = false);
        self.way.healths(|healths| healths.turn(Health::Up));
    }

    /// Cuts what is under way; what comes finds a new connection.
    pub(super) fn cut(&self) {
        self.way.epoch.fetch_add(1, Ordering::Relaxed);
        self.way.change(|state| state.cuts += 1);
    }
}

/// Who is told whether the broker is up: each by a channel of its own, since one for all would wake them in another order
/// each time.
#[derive(Debug)]
struct Healths {
    now: Health,
    told: Vec<watch::Sender<Health>>,
}

impl Healths {
    fn watch(&mut self) -> watch::Receiver<Health> {
        self.told.retain(|sender| !sender.is_closed());
        let (sender, receiver) = watch::channel(self.now);
        self.told.push(sender);
        receiver
    }

    fn turn(&mut self, health: Health) {
        self.now = health;
        self.told.iter().for_each(|sender| _ = sender.send_replace(health));
    }
}

impl Way {
    fn healths<T>(&self, ask: impl FnOnce(&mut Healths) -> T) -> T {
        ask(&mut self.health.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn state(&self) -> State {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_waiters();
    }

    /// Does something on the other side, if the way there and back is good.
    async fn pass<T>(
        &self,
        question: &'static str,
        key: &str,
        done: impl Future<Output = Result<T, BrokerError>>,
    ) -> Result<T, BrokerError> {
        let begun = self.state();
        if begun.dead {
            return std::future::pending().await;
        }
        if begun.down {
            return Err(BrokerError::Unavailable { broker: ADDRESS.into(), cause: "an outage of the test".into() });
        }
        let fate = self.dice.throw(question, key);
        let story = async {
            if let Some(Fate { there, question_lost, .. }) = fate {
                sleep(there).await;
                if question_lost {
                    return Err(self.interrupted("the question was lost"));
                }
            }
            let answer = done.await;
            if let Some(Fate { back, answer_lost, .. }) = fate {
                sleep(back).await;
                if answer_lost {
                    return Err(self.interrupted("the answer was lost"));
                }
            }
            answer
        };
        tokio::select! {
            biased;
            cut = self.until_cut(begun) => cut,
            answer = story => answer,
        }
    }

    /// What is lost is only noticed since its connection is.
    fn interrupted(&self, cause: &str) -> BrokerError {
        self.epoch.fetch_add(1, Ordering::Relaxed);
        BrokerError::Interrupted { broker: ADDRESS.into(), cause: cause.into() }
    }

    async fn until_cut<T>(&self, begun: State) -> Result<T, BrokerError> {
        loop {
            let changed = self.changed.notified();
            let mut changed = std::pin::pin!(changed);
            // Registered before the look, so that a change in between is not missed.
            changed.as_mut().enable();
            match self.state() {
                // The dead hear nothing.
                State { dead: true, .. } => return std::future::pending().await,
                now if now.cuts != begun.cuts => return Err(self.interrupted("the connection was cut")),
                _ => changed.await,
            }
        }
    }
}

/// Passes calls on whose answer is a result.
macro_rules! pass {
    ($($call:ident($($arg:ident: $type:ty),*) about $key:expr => $answer:ty;)*) => {
        $(fn $call(&self, $($arg: $type),*) -> BoxFuture<'_, Result<$answer, BrokerError>> {
            let key = $key.to_string();
            let done = self.broker.$call($($arg),*);
            Box::pin(async move { self.way.pass(stringify!($call), &key, done).await })
        })*
    };
}

impl Broker for Link {
    fn append(&self, batch: Vec<Append>) -> BoxFuture<'_, Vec<Result<Appended, BrokerError>>> {
        Box::pin(async move {
            let (count, key) = (batch.len(), batch.first().map(|append| append.key.to_string()).unwrap_or_default());
            let epoch = self.way.epoch.load(Ordering::Relaxed);
            let done = async {
                let results = self.broker.append(batch.clone()).await;
                let appended =
                    batch.iter().zip(&results).filter(|(_, result)| result.is_ok()).map(|(append, _)| append);
                self.way.record.appended(appended);
                let on_this = |appended| Appended { epoch, ..appended };
                Ok(results.into_iter().map(|result| result.map(on_this)).collect::<Vec<_>>())
            };
            let passed = self.way.pass("append", &key, done).await;
            passed.unwrap_or_else(|error| (0..count).map(|_| Err(error.clone())).collect())
        })
    }

    fn reader(&self) -> Box<dyn Reader> {
        Box::new(LinkReader { reader: self.broker.reader(), way: Arc::clone(&self.way) })
    }

    fn group_reader(&self, membership: &Membership) -> Box<dyn GroupReader> {
        let (broker, way, membership) = (self.broker.clone(), Arc::clone(&self.way), membership.clone());
        let waker = Arc::new(Mutex::new(None));
        Box::new(LinkGroupReader { broker, way, membership, reader: None, waker })
    }

    fn settle<'a>(
        &'a self,
        membership: &'a Membership,
        batch: &'a [Settlement],
        fence: Fence,
    ) -> BoxFuture<'a, Result<SettledBatch, BrokerError>> {
        Box::pin(async move {
            let done = async {
                let settled = self.broker.settle(membership, batch, fence).await?;
                self.way.record.settled(membership, batch, &settled.lost);
                Ok(settled)
            };
            self.way.pass("settle", membership.key.as_str(), done).await
        })
    }

    fn reclaim(&self, from: ReclaimFrom) -> BoxFuture<'_, Result<Reclaimed, BrokerError>> {
        Box::pin(async move {
            let key = from.membership.key.clone();
            let done = async {
                let reclaimed = self.broker.reclaim(from).await?;
                self.way.record.delivered(&key, &reclaimed.deliveries);
                Ok(reclaimed)
            };
            self.way.pass("reclaim", key.as_str(), done).await
        })
    }

    fn schedule(&self, schedule: &Schedule, entries: Vec<Scheduled>) -> BoxFuture<'_, Vec<Result<(), BrokerError>>> {
        let (count, schedule) = (entries.len(), schedule.clone());
        Box::pin(async move {
            let done = async { Ok(self.broker.schedule(&schedule, entries).await) };
            let passed = self.way.pass("schedule", schedule.key(), done).await;
            passed.unwrap_or_else(|error| (0..count).map(|_| Err(error.clone())).collect())
        })
    }

    pass! {
        range(range: Range) about range.key => Vec<Entry>;
        trim(key: &StreamKey, to: TrimTo) about key => u64;
        keep(streams: Vec<Keep>) about streams.len() => ();
        remove(keys: Vec<StreamKey>) about keys.len() => ();
        stream_info(key: &StreamKey) about key => Option<StreamInfo>;
        streams(page: u64) about page => StreamPage;
        create_group(key: &StreamKey, group: &Name, start: GroupStart) about key => bool;
        drop_group(key: &StreamKey, group: &Name) about key => bool;
        groups(key: &StreamKey) about key => Vec<GroupInfo>;
        members(key: &StreamKey, group: &Name) about key => Vec<MemberInfo>;
        pending(pending: Pending) about pending.key => Vec<PendingEntry>;
        renew(membership: &Membership, ids: Vec<EntryId>) about membership.key => Vec<EntryId>;
        hand_back(membership: &Membership, ids: Vec<EntryId>) about membership.key => ();
        leave(membership: &Membership) about membership.key => bool;
        move_due(schedule: &Schedule, count: usize) about schedule.key() => Due;
        scheduled(range: ScheduledRange) about range.schedule.key() => ScheduledPage;
        cancel_scheduled(schedule: &Schedule, ids: Vec<ScheduleId>) about schedule.key() => Vec<ScheduleId>;
        replay(replay: Replay) about replay.dead => Option<EntryId>;
        drop_entries(key: &StreamKey, ids: Vec<EntryId>) about key => u64;
        mark(marks: Vec<Mark>) about marks.len() => ();
        mark_if_absent(marks: Vec<Mark>) about marks.len() => Vec<Option<Bytes>>;
        extend_mark(key: &MarkKey, least: Duration, ttl: Duration) about key => Extension;
        charge(charge: Charge) about charge.key => u64;
        recall(keys: Vec<MarkKey>) about keys.len() => Vec<Option<Bytes>>;
        lease(request: LeaseRequest) about request.key => LeaseState;
        release_lease(key: &OwnerKey, holder: &Name) about key => bool;
        register(key: &RegistryKey, name: &Name, ttl: Duration) about key => Vec<Name>;
        unregister(key: &RegistryKey, name: &Name) about key => ();
    }

    fn now(&self) -> UnixMillis {
        self.broker.now()
    }

    fn epoch(&self) -> u64 {
        self.way.epoch.load(Ordering::Relaxed)
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.way.healths(Healths::watch)
    }
}

#[derive(Debug)]
struct LinkReader {
    reader: Box<dyn Reader>,
    way: Arc<Way>,
}

impl Reader for LinkReader {
    fn read<'a>(
        &'a mut self,
        cursors: &'a [(StreamKey, EntryId)],
        count: usize,
        block: Duration,
    ) -> BoxFuture<'a, Result<Vec<StreamRead>, BrokerError>> {
        let Self { reader, way } = self;
        Box::pin(async move { way.pass("read", "", reader.read(cursors, count, block)).await })
    }

    fn waker(&self) -> ReadWaker {
        self.reader.waker()
    }
}

struct LinkGroupReader {
    broker: SharedBroker,
    way: Arc<Way>,
    membership: Membership,
    reader: Option<Box<dyn GroupReader>>,
    /// Of the read that is under way.
    // Locked to look at it or to change it.
    waker: Arc<Mutex<Option<ReadWaker>>>,
}

impl GroupReader for LinkGroupReader {
    fn read(&mut self, count: usize, block: Duration) -> BoxFuture<'_, Result<Vec<Delivered>, BrokerError>> {
        let Self { broker, way, membership, reader, waker } = self;
        let key = membership.key.clone();
        Box::pin(async move {
            let done = async {
                let mut taken = reader.take().unwrap_or_else(|| broker.group_reader(membership));
                *waker.lock().unwrap_or_else(PoisonError::into_inner) = Some(taken.waker());
                // A task of its own: the broker does not know at once that a connection is cut, and goes on waiting, and
                // delivering, for whoever is no longer there.
                let read = tokio::spawn(async move {
                    let delivered = taken.read(count, block).await;
                    (taken, delivered)
                });
                let Ok((taken, delivered)) = read.await else { return std::future::pending().await };
                *reader = Some(taken);
                let delivered = delivered?;
                way.record.delivered(&key, &delivered);
                Ok(delivered)
            };
            way.pass("group read", key.as_str(), done).await
        })
    }

    fn waker(&self) -> ReadWaker {
        let waker = Arc::clone(&self.waker);
        ReadWaker::new(move || {
            if let Some(waker) = &*waker.lock().unwrap_or_else(PoisonError::into_inner) {
                waker.wake();
            }
        })
    }
}

impl std::fmt::Debug for LinkGroupReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Debug::fmt(&self.membership, f)
    }
}
