//! The broker port, spoken to a Redis server.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use streamerson_core::{
    Entry, EntryId, MarkKey, Name, OwnerKey, RegistryKey, Schedule, ScheduleId, SharedBroker, StreamKey, UnixMillis,
    broker::{
        Append, Appended, Broker, BrokerError, Charge, Due, Extension, Fence, GroupInfo, GroupReader, GroupStart,
        Health, Keep, LeaseRequest, LeaseState, Mark, MemberInfo, Membership, Pending, PendingEntry, Range, Reader,
        ReclaimFrom, Reclaimed, Replay, Scheduled, ScheduledPage, ScheduledRange, SettledBatch, Settlement, StreamInfo,
        StreamPage, TrimTo,
    },
    metrics::BrokerCall,
};
use tokio::sync::watch;

use crate::{
    append, claim, config::RedisConfig, dead, group::RedisGroupReader, inspect, marks, owners, read::RedisReader, scan,
    schedule, settle, shared::Shared, stream, url::RedisUrl,
};

/// A Redis server, or one that speaks like it: Valkey, Dragonfly, Kvrocks.
///
/// Appends, settlements and everything else short go through one pipelined connection, which reconnects by itself; each
/// reader has a connection of its own. Cheap to clone; when the last clone and the last reader are dropped, the
/// connections end.
///
/// ```no_run
/// use streamerson_redis::RedisBroker;
///
/// # async fn example() -> Result<(), streamerson_core::BrokerError> {
/// let broker = RedisBroker::connect("redis://localhost:6379").await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct RedisBroker {
    shared: Arc<Shared>,
}

impl RedisBroker {
    /// Connects to the server at a URL, with the default settings. [`RedisUrl`] says what it may look like.
    ///
    /// # Errors
    ///
    /// [`BrokerError::Config`] when the URL or the login cannot work, [`BrokerError::Unavailable`] when the server
    /// cannot be reached now.
    pub async fn connect(url: &str) -> Result<Self, BrokerError> {
        Self::connect_with(RedisConfig::new(url.parse::<RedisUrl>()?)).await
    }

    /// Connects with settings of one's own.
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect).
    pub async fn connect_with(config: RedisConfig) -> Result<Self, BrokerError> {
        Ok(Self { shared: Arc::new(Shared::connect(config).await?) })
    }

    /// Begins to connect and does not wait for it: for programs that start whether or not their broker is there.
    /// [`health`](Broker::health) tells when it is. A login that is refused is tried again like any other failure, as
    /// it may be put right at the server. Needs a tokio runtime.
    #[must_use]
    pub fn connect_lazily(config: RedisConfig) -> Self {
        Self { shared: Arc::new(Shared::connect_lazily(config)) }
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Counts and times a call. Here, so that what one call of the port takes is counted as one, however many commands it is.
    fn observe<T>(
        &self,
        call: BrokerCall,
        answer: impl Future<Output = Result<T, BrokerError>>,
    ) -> impl Future<Output = Result<T, BrokerError>> {
        self.shared.metrics().observe(call, answer)
    }
}

impl From<RedisBroker> for SharedBroker {
    fn from(broker: RedisBroker) -> Self {
        Arc::new(broker)
    }
}

impl Broker for RedisBroker {
    fn append(&self, batch: Vec<Append>) -> BoxFuture<'_, Vec<Result<Appended, BrokerError>>> {
        // Counted where the answers come in.
        Box::pin(append::append(&self.shared, batch))
    }

    fn reader(&self) -> Box<dyn Reader> {
        Box::new(RedisReader::new(self.shared.clone()))
    }

    fn range(&self, range: Range) -> BoxFuture<'_, Result<Vec<Entry>, BrokerError>> {
        Box::pin(async move { self.observe(BrokerCall::Look, stream::range(&self.shared, &range)).await })
    }

    fn trim(&self, key: &StreamKey, to: TrimTo) -> BoxFuture<'_, Result<u64, BrokerError>> {
        let key = key.clone();
        Box::pin(async move { self.observe(BrokerCall::Trim, stream::trim(&self.shared, &key, to)).await })
    }

    fn keep(&self, streams: Vec<Keep>) -> BoxFuture<'_, Result<(), BrokerError>> {
        Box::pin(self.observe(BrokerCall::Inbox, append::keep(&self.shared, streams)))
    }

    fn remove(&self, keys: Vec<StreamKey>) -> BoxFuture<'_, Result<(), BrokerError>> {
        Box::pin(async move { self.observe(BrokerCall::Inbox, stream::remove(&self.shared, &keys)).await })
    }

    fn stream_info(&self, key: &StreamKey) -> BoxFuture<'_, Result<Option<StreamInfo>, BrokerError>> {
        let key = key.clone();
        Box::pin(async move { self.observe(BrokerCall::Look, inspect::stream_info(&self.shared, &key)).await })
    }

    fn streams(&self, page: u64) -> BoxFuture<'_, Result<StreamPage, BrokerError>> {
        Box::pin(self.observe(BrokerCall::Look, scan::streams(&self.shared, page)))
    }

    fn create_group(
        &self,
        key: &StreamKey,
        group: &Name,
        start: GroupStart,
    ) -> BoxFuture<'_, Result<bool, BrokerError>> {
        let (key, group) = (key.clone(), group.clone());
        Box::pin(async move {
            self.observe(BrokerCall::Other, stream::create_group(&self.shared, &key, &group, start)).await
        })
    }

    fn drop_group(&self, key: &StreamKey, group: &Name) -> BoxFuture<'_, Result<bool, BrokerError>> {
        let (key, group) = (key.clone(), group.clone());
        Box::pin(async move { self.observe(BrokerCall::Other, stream::drop_group(&self.shared, &key, &group)).await })
    }

    fn groups(&self, key: &StreamKey) -> BoxFuture<'_, Result<Vec<GroupInfo>, BrokerError>> {
        let key = key.clone();
        Box::pin(async move { self.observe(BrokerCall::Look, inspect::groups(&self.shared, &key)).await })
    }

    fn members(&self, key: &StreamKey, group: &Name) -> BoxFuture<'_, Result<Vec<MemberInfo>, BrokerError>> {
        let (key, group) = (key.clone(), group.clone());
        Box::pin(async move { self.observe(BrokerCall::Look, inspect::members(&self.shared, &key, &group)).await })
    }

    fn pending(&self, pending: Pending) -> BoxFuture<'_, Result<Vec<PendingEntry>, BrokerError>> {
        Box::pin(async move { self.observe(BrokerCall::Look, inspect::pending(&self.shared, &pending)).await })
    }

    fn group_reader(&self, membership: &Membership) -> Box<dyn GroupReader> {
        Box::new(RedisGroupReader::new(self.shared.clone(), membership.clone()))
    }

    fn settle<'a>(
        &'a self,
        membership: &'a Membership,
        batch: &'a [Settlement],
        fence: Fence,
    ) -> BoxFuture<'a, Result<SettledBatch, BrokerError>> {
        Box::pin(self.observe(BrokerCall::Settle, settle::settle(&self.shared, membership, batch, fence)))
    }

    fn renew(&self, membership: &Membership, ids: Vec<EntryId>) -> BoxFuture<'_, Result<Vec<EntryId>, BrokerError>> {
        let membership = membership.clone();
        Box::pin(async move { self.observe(BrokerCall::Lease, claim::renew(&self.shared, &membership, &ids)).await })
    }

    fn reclaim(&self, from: ReclaimFrom) -> BoxFuture<'_, Result<Reclaimed, BrokerError>> {
        Box::pin(async move { self.observe(BrokerCall::Lease, claim::reclaim(&self.shared, &from)).await })
    }

    fn hand_back(&self, membership: &Membership, ids: Vec<EntryId>) -> BoxFuture<'_, Result<(), BrokerError>> {
        let membership = membership.clone();
        Box::pin(
            async move { self.observe(BrokerCall::Lease, claim::hand_back(&self.shared, &membership, &ids)).await },
        )
    }

    fn leave(&self, membership: &Membership) -> BoxFuture<'_, Result<bool, BrokerError>> {
        let membership = membership.clone();
        Box::pin(async move { self.observe(BrokerCall::Lease, claim::leave(&self.shared, &membership)).await })
    }

    fn schedule(&self, schedule: &Schedule, entries: Vec<Scheduled>) -> BoxFuture<'_, Vec<Result<(), BrokerError>>> {
        let schedule = schedule.clone();
        Box::pin(async move {
            let metrics = self.shared.metrics();
            let scheduled = schedule::schedule(&self.shared, &schedule, entries);
            let scheduled = metrics.time(BrokerCall::Schedule, scheduled).await;
            scheduled.iter().filter_map(|result| result.as_ref().err()).for_each(|error| metrics.failed(error));
            scheduled
        })
    }

    fn move_due(&self, schedule: &Schedule, count: usize) -> BoxFuture<'_, Result<Due, BrokerError>> {
        let schedule = schedule.clone();
        Box::pin(
            async move { self.observe(BrokerCall::Schedule, schedule::move_due(&self.shared, &schedule, count)).await },
        )
    }

    fn scheduled(&self, range: ScheduledRange) -> BoxFuture<'_, Result<ScheduledPage, BrokerError>> {
        Box::pin(async move { self.observe(BrokerCall::Look, schedule::scheduled(&self.shared, &range)).await })
    }

    fn cancel_scheduled(
        &self,
        schedule: &Schedule,
        ids: Vec<ScheduleId>,
    ) -> BoxFuture<'_, Result<Vec<ScheduleId>, BrokerError>> {
        let schedule = schedule.clone();
        Box::pin(
            async move { self.observe(BrokerCall::Schedule, schedule::cancel(&self.shared, &schedule, &ids)).await },
        )
    }

    fn replay(&self, replay: Replay) -> BoxFuture<'_, Result<Option<EntryId>, BrokerError>> {
        Box::pin(async move { self.observe(BrokerCall::Other, dead::replay(&self.shared, &replay)).await })
    }

    fn drop_entries(&self, key: &StreamKey, ids: Vec<EntryId>) -> BoxFuture<'_, Result<u64, BrokerError>> {
        let key = key.clone();
        Box::pin(async move { self.observe(BrokerCall::Other, dead::drop_entries(&self.shared, &key, &ids)).await })
    }

    fn mark(&self, marks: Vec<Mark>) -> BoxFuture<'_, Result<(), BrokerError>> {
        Box::pin(async move { self.observe(BrokerCall::Other, marks::mark(&self.shared, &marks)).await })
    }

    fn mark_if_absent(&self, marks: Vec<Mark>) -> BoxFuture<'_, Result<Vec<Option<Bytes>>, BrokerError>> {
        Box::pin(async move { self.observe(BrokerCall::Other, marks::mark_if_absent(&self.shared, &marks)).await })
    }

    fn extend_mark(
        &self,
        key: &MarkKey,
        least: Duration,
        ttl: Duration,
    ) -> BoxFuture<'_, Result<Extension, BrokerError>> {
        let key = key.clone();
        Box::pin(
            async move { self.observe(BrokerCall::Other, marks::extend_mark(&self.shared, &key, least, ttl)).await },
        )
    }

    fn charge(&self, charge: Charge) -> BoxFuture<'_, Result<u64, BrokerError>> {
        Box::pin(async move { self.observe(BrokerCall::Other, marks::charge(&self.shared, &charge)).await })
    }

    fn recall(&self, keys: Vec<MarkKey>) -> BoxFuture<'_, Result<Vec<Option<Bytes>>, BrokerError>> {
        Box::pin(async move { self.observe(BrokerCall::Look, marks::recall(&self.shared, &keys)).await })
    }

    fn lease(&self, request: LeaseRequest) -> BoxFuture<'_, Result<LeaseState, BrokerError>> {
        Box::pin(async move { self.observe(BrokerCall::Other, owners::lease(&self.shared, &request)).await })
    }

    fn release_lease(&self, key: &OwnerKey, holder: &Name) -> BoxFuture<'_, Result<bool, BrokerError>> {
        let (key, holder) = (key.clone(), holder.clone());
        Box::pin(async move { self.observe(BrokerCall::Other, owners::release(&self.shared, &key, &holder)).await })
    }

    fn register(&self, key: &RegistryKey, name: &Name, ttl: Duration) -> BoxFuture<'_, Result<Vec<Name>, BrokerError>> {
        let (key, name) = (key.clone(), name.clone());
        Box::pin(async move { self.observe(BrokerCall::Other, owners::register(&self.shared, &key, &name, ttl)).await })
    }

    fn unregister(&self, key: &RegistryKey, name: &Name) -> BoxFuture<'_, Result<(), BrokerError>> {
        let (key, name) = (key.clone(), name.clone());
        Box::pin(async move { self.observe(BrokerCall::Other, owners::unregister(&self.shared, &key, &name)).await })
    }

    fn now(&self) -> UnixMillis {
        self.shared.now()
    }

    fn epoch(&self) -> u64 {
        self.shared.epoch()
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.shared.health()
    }
}
