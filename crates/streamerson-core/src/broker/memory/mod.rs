//! The embedded broker: streams in the memory of this process, for tests, demos and programs that need no server.
//!
//! It means what Redis Streams mean, and one conformance suite proves that of both. Entries are never serialised, and
//! payloads never copied: a reader's [`Bytes`] are the writer's. When the process ends, all is gone.
//!
//! Every time in it, from the ids of entries to leases and expiries, is tokio's. A test that pauses tokio's clock
//! (<https://docs.rs/tokio/latest/tokio/time/fn.pause.html>) holds all of it in its hands; the broker has to be made
//! inside that test.

mod bell;
mod budget;
mod clock;
mod group;
mod group_reader;
mod marks;
mod owners;
mod reader;
mod schedule;
mod settle;
mod shard;
mod store;
mod stream;
#[cfg(test)]
mod tests;

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::{sync::watch, task::coop::consume_budget};

use self::{
    clock::unix_millis,
    group_reader::MemoryGroupReader,
    reader::MemoryReader,
    store::{Store, check},
};
use super::{
    Append, Appended, Broker, BrokerError, Charge, Due, Extension, Fence, GroupInfo, GroupReader, GroupStart, Health,
    Keep, LeaseRequest, LeaseState, Mark, MemberInfo, Membership, Pending, PendingEntry, Range, Reader, ReclaimFrom,
    Reclaimed, Replay, Scheduled, ScheduledPage, ScheduledRange, SettledBatch, Settlement, SharedBroker, StreamInfo,
    StreamPage, TrimTo,
};
use crate::{
    entry::{Entry, EntryId},
    keys::{MarkKey, OwnerKey, RegistryKey, Schedule},
    message::UnixMillis,
    name::{Name, ScheduleId},
    topic::StreamKey,
};

/// The one connection that there ever is.
const EPOCH: u64 = 1;

/// The embedded broker. Clones share their streams.
///
/// ```
/// use streamerson_core::broker::{SharedBroker, memory::Memory};
///
/// let broker: SharedBroker = Memory::new().into();
/// ```
#[derive(Clone)]
pub struct Memory {
    store: Arc<Store>,
    health: Arc<watch::Sender<Health>>,
}

impl Memory {
    /// What the entries of a broker may take unless it is told otherwise: 1 GiB.
    pub const BYTES_MAX_DEFAULT: u64 = 1 << 30;

    /// A broker without streams, which holds at most [`Memory::BYTES_MAX_DEFAULT`].
    #[must_use]
    pub fn new() -> Self {
        Self::with_bytes_max(Self::BYTES_MAX_DEFAULT)
    }

    /// A broker without streams, whose entries take at most so many bytes: names and values, and 40 bytes for each entry
    /// and 64 for each of its fields. Above that, appends are refused with the code `OOM`.
    ///
    /// What waits for its time counts the same, and marks with 200 bytes each besides their keys and values. Groups,
    /// pending deliveries, leases and the keys of streams are not counted. What ends a delivery is counted and never
    /// refused, as it ends what the broker holds already; what is emitted with it is new.
    #[must_use]
    pub fn with_bytes_max(bytes_max: u64) -> Self {
        Self { store: Arc::new(Store::new(bytes_max)), health: Arc::new(watch::Sender::new(Health::Up)) }
    }

    /// What all entries take now, in the unit of [`Memory::with_bytes_max`].
    #[must_use]
    pub fn bytes_used(&self) -> u64 {
        self.store.budget().used()
    }

    /// An answer that is there at once. It takes part in tokio's scheduling all the same, so that a task that finds
    /// something to do each time does not starve its neighbours (<https://docs.rs/tokio/latest/tokio/task/coop/>).
    fn answer<'a, T>(&'a self, call: impl FnOnce(&'a Store) -> T + Send + 'a) -> BoxFuture<'a, T> {
        Box::pin(async move {
            consume_budget().await;
            call(&self.store)
        })
    }
}

impl Broker for Memory {
    fn append(&self, batch: Vec<Append>) -> BoxFuture<'_, Vec<Result<Appended, BrokerError>>> {
        self.answer(|store| {
            let append = |append: Append| {
                check(&append.fields)?;
                let kept = append.keep.as_ref().map(|keep| &keep.key);
                let mut step = store.step([&append.key].into_iter().chain(kept));
                step.admit(std::slice::from_ref(&append))?;
                Ok(Appended { id: step.append(append), epoch: EPOCH })
            };
            batch.into_iter().map(append).collect()
        })
    }

    fn reader(&self) -> Box<dyn Reader> {
        Box::new(MemoryReader::new(Arc::clone(&self.store)))
    }

    fn range(&self, range: Range) -> BoxFuture<'_, Result<Vec<Entry>, BrokerError>> {
        self.answer(move |store| {
            let mut step = store.step([&range.key]);
            Ok(step.stream(&range.key).map_or(Vec::new(), |stream| stream.range(&range)))
        })
    }

    fn trim(&self, key: &StreamKey, to: TrimTo) -> BoxFuture<'_, Result<u64, BrokerError>> {
        let key = key.clone();
        self.answer(move |store| Ok(store.step([&key]).stream(&key).map_or(0, |stream| stream.trim(to))))
    }

    fn keep(&self, streams: Vec<Keep>) -> BoxFuture<'_, Result<(), BrokerError>> {
        self.answer(move |store| {
            for keep in streams {
                store.step([&keep.key]).keep(&keep);
                store.sweep_next();
            }
            Ok(())
        })
    }

    fn remove(&self, keys: Vec<StreamKey>) -> BoxFuture<'_, Result<(), BrokerError>> {
        self.answer(move |store| {
            for key in keys {
                store.step([&key]).shard(&key).remove(&key);
            }
            Ok(())
        })
    }

    fn stream_info(&self, key: &StreamKey) -> BoxFuture<'_, Result<Option<StreamInfo>, BrokerError>> {
        let key = key.clone();
        self.answer(move |store| Ok(store.step([&key]).stream(&key).map(|stream| stream.info())))
    }

    fn streams(&self, page: u64) -> BoxFuture<'_, Result<StreamPage, BrokerError>> {
        self.answer(move |store| Ok(store.streams(page)))
    }

    fn create_group(
        &self,
        key: &StreamKey,
        group: &Name,
        start: GroupStart,
    ) -> BoxFuture<'_, Result<bool, BrokerError>> {
        let (key, group) = (key.clone(), group.clone());
        self.answer(move |store| Ok(store.step([&key]).stream_or_new(&key).create_group(&group, start)))
    }

    fn drop_group(&self, key: &StreamKey, group: &Name) -> BoxFuture<'_, Result<bool, BrokerError>> {
        let (key, group) = (key.clone(), group.clone());
        self.answer(move |store| Ok(store.step([&key]).stream(&key).is_some_and(|stream| stream.drop_group(&group))))
    }

    fn groups(&self, key: &StreamKey) -> BoxFuture<'_, Result<Vec<GroupInfo>, BrokerError>> {
        let key = key.clone();
        self.answer(move |store| Ok(store.step([&key]).stream(&key).map_or(Vec::new(), |stream| stream.groups())))
    }

    fn members(&self, key: &StreamKey, group: &Name) -> BoxFuture<'_, Result<Vec<MemberInfo>, BrokerError>> {
        let (key, group) = (key.clone(), group.clone());
        self.answer(move |store| {
            let mut step = store.step([&key]);
            let now = step.now();
            Ok(step.group(&key, &group)?.members(now))
        })
    }

    fn pending(&self, pending: Pending) -> BoxFuture<'_, Result<Vec<PendingEntry>, BrokerError>> {
        self.answer(move |store| {
            let mut step = store.step([&pending.key]);
            let now = step.now();
            Ok(step.group(&pending.key, &pending.group)?.pending(&pending, now))
        })
    }

    fn group_reader(&self, membership: &Membership) -> Box<dyn GroupReader> {
        Box::new(MemoryGroupReader::new(Arc::clone(&self.store), membership.clone()))
    }

    /// The look at the owner costs nothing here, so it is never skipped, whatever the fence.
    fn settle<'a>(
        &'a self,
        membership: &'a Membership,
        batch: &'a [Settlement],
        _fence: Fence,
    ) -> BoxFuture<'a, Result<SettledBatch, BrokerError>> {
        self.answer(move |store| store.settle(membership, batch))
    }

    fn renew(&self, membership: &Membership, ids: Vec<EntryId>) -> BoxFuture<'_, Result<Vec<EntryId>, BrokerError>> {
        let Membership { key, group, member } = membership.clone();
        self.answer(move |store| {
            let mut step = store.step([&key]);
            let now = step.now();
            Ok(step.group(&key, &group)?.renew(&member, ids, now))
        })
    }

    fn reclaim(&self, from: ReclaimFrom) -> BoxFuture<'_, Result<Reclaimed, BrokerError>> {
        self.answer(move |store| store.reclaim(&from))
    }

    fn hand_back(&self, membership: &Membership, ids: Vec<EntryId>) -> BoxFuture<'_, Result<(), BrokerError>> {
        let Membership { key, group, member } = membership.clone();
        self.answer(move |store| {
            let mut step = store.step([&key]);
            let now = step.now();
            step.group(&key, &group)?.hand_back(&member, &ids, now);
            Ok(())
        })
    }

    fn leave(&self, membership: &Membership) -> BoxFuture<'_, Result<bool, BrokerError>> {
        let Membership { key, group, member } = membership.clone();
        self.answer(move |store| Ok(store.step([&key]).group(&key, &group)?.leave(&member)))
    }

    fn schedule(&self, schedule: &Schedule, entries: Vec<Scheduled>) -> BoxFuture<'_, Vec<Result<(), BrokerError>>> {
        let schedule = schedule.clone();
        self.answer(move |store| entries.into_iter().map(|entry| store.schedule(&schedule, entry)).collect())
    }

    fn move_due(&self, schedule: &Schedule, count: usize) -> BoxFuture<'_, Result<Due, BrokerError>> {
        let schedule = schedule.clone();
        self.answer(move |store| Ok(store.move_due(&schedule, count)))
    }

    fn scheduled(&self, range: ScheduledRange) -> BoxFuture<'_, Result<ScheduledPage, BrokerError>> {
        self.answer(move |store| Ok(store.scheduled(&range)))
    }

    fn cancel_scheduled(
        &self,
        schedule: &Schedule,
        ids: Vec<ScheduleId>,
    ) -> BoxFuture<'_, Result<Vec<ScheduleId>, BrokerError>> {
        let schedule = schedule.clone();
        self.answer(move |store| Ok(store.cancel_scheduled(&schedule, ids)))
    }

    fn replay(&self, replay: Replay) -> BoxFuture<'_, Result<Option<EntryId>, BrokerError>> {
        self.answer(move |store| store.replay(replay))
    }

    fn drop_entries(&self, key: &StreamKey, ids: Vec<EntryId>) -> BoxFuture<'_, Result<u64, BrokerError>> {
        let key = key.clone();
        self.answer(move |store| Ok(store.step([&key]).stream(&key).map_or(0, |stream| stream.drop_entries(&ids))))
    }

    fn mark(&self, marks: Vec<Mark>) -> BoxFuture<'_, Result<(), BrokerError>> {
        self.answer(move |store| store.mark(&marks))
    }

    fn mark_if_absent(&self, marks: Vec<Mark>) -> BoxFuture<'_, Result<Vec<Option<Bytes>>, BrokerError>> {
        self.answer(move |store| store.mark_if_absent(&marks))
    }

    fn extend_mark(
        &self,
        key: &MarkKey,
        least: Duration,
        ttl: Duration,
    ) -> BoxFuture<'_, Result<Extension, BrokerError>> {
        let key = key.clone();
        self.answer(move |store| Ok(store.extend_mark(&key, least, ttl)))
    }

    fn charge(&self, charge: Charge) -> BoxFuture<'_, Result<u64, BrokerError>> {
        self.answer(move |store| Ok(store.charge(&charge)))
    }

    fn recall(&self, keys: Vec<MarkKey>) -> BoxFuture<'_, Result<Vec<Option<Bytes>>, BrokerError>> {
        self.answer(move |store| Ok(store.recall(&keys)))
    }

    fn lease(&self, request: LeaseRequest) -> BoxFuture<'_, Result<LeaseState, BrokerError>> {
        self.answer(move |store| Ok(store.lease(request)))
    }

    fn release_lease(&self, key: &OwnerKey, holder: &Name) -> BoxFuture<'_, Result<bool, BrokerError>> {
        let (key, holder) = (key.clone(), holder.clone());
        self.answer(move |store| Ok(store.release_lease(&key, &holder)))
    }

    fn register(&self, key: &RegistryKey, name: &Name, ttl: Duration) -> BoxFuture<'_, Result<Vec<Name>, BrokerError>> {
        let (key, name) = (key.clone(), name.clone());
        self.answer(move |store| store.register(&key, &name, ttl))
    }

    fn unregister(&self, key: &RegistryKey, name: &Name) -> BoxFuture<'_, Result<(), BrokerError>> {
        let (key, name) = (key.clone(), name.clone());
        self.answer(move |store| {
            store.unregister(&key, &name);
            Ok(())
        })
    }

    fn now(&self) -> UnixMillis {
        UnixMillis(unix_millis(self.store.clock().now()))
    }

    fn epoch(&self) -> u64 {
        EPOCH
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

impl From<Memory> for SharedBroker {
    fn from(memory: Memory) -> Self {
        Arc::new(memory)
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").field("bytes_used", &self.bytes_used()).finish_non_exhaustive()
    }
}
