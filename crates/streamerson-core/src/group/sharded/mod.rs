//! Membership on a sharded topic: each shard has one owner in the group, and moves when members come and go.
//!
//! Who lives is in a registry, and who owns a shard is settled by a named lease, both in the broker. Each member looks at
//! the registry once a second, works out how many shards are its part, gives up what is more, and asks for what is less. A
//! shard moves when nothing is at work in it any more; that of a member which died, when its lease has ended.

mod balance;
mod owner;

use std::{
    collections::BTreeMap,
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_core::Stream;
use futures_util::future::join_all;
use tokio::{
    sync::{Semaphore, mpsc},
    task::{Id, JoinError, JoinHandle, JoinSet},
    time::{Instant, MissedTickBehavior},
};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{debug, info, warn};

use self::{
    balance::{in_turn, quota},
    owner::{Common, End, Handed, own},
};
use super::{
    held::Held,
    member::{MemberConfig, Stopper},
    ownership::Ownership,
};
use crate::{
    broker::{LeaseRequest, LeaseState, SharedBroker},
    name::Name,
    shards::{Shards, ShardsError},
};

/// How often it is looked after who has what, at the least.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Looks within the time of a lease, so that one that is late or lost takes no shard away.
const LOOKS_PER_LEASE: u32 = 5;
/// Shards that a member asks for at one look, at most.
const ASKED_MAX: usize = 64;
/// How often it is made sure that all mean the same shards.
const AGREE_EVERY: Duration = Duration::from_secs(60 * 60);
/// Deliveries that may wait between the shards and whoever handles them; each has its permit.
const HANDED_OVER_MAX: usize = 64;

/// One member of a group on a sharded topic: a stream of the deliveries of those shards that it owns.
///
/// A shard has one owner in each group, so with [`ordered_by`](MemberConfig::ordered_by) messages with equal keys are in
/// order, whichever member handles them, further attempts and takeovers included. Each delivery carries the
/// [epoch](super::Delivery::epoch) of its owner.
///
/// An owner that cannot say in time that it lives stops by its own clock; what its handlers come to after that is
/// discarded. `concurrency` is for all shards together. Beside what is handled, each shard may hold as much again, waiting.
///
/// Dropping it is a crash: its shards go to others when their leases end. [`ShardedMember::leave`] is the clean end.
pub struct ShardedMember {
    name: Name,
    deliveries: mpsc::Receiver<Handed>,
    keeper: JoinHandle<usize>,
    stopped: CancellationToken,
    _gone: DropGuard,
}

impl ShardedMember {
    /// Joins a group as a new member, and makes the group on each shard where it does not exist.
    ///
    /// # Errors
    ///
    /// [`ShardsError`] when others mean another number of shards, or the broker cannot be reached or refuses.
    pub async fn join(
        broker: impl Into<SharedBroker>,
        shards: Shards,
        group: Name,
        config: MemberConfig,
    ) -> Result<Self, ShardsError> {
        let broker = broker.into();
        shards.agree(&*broker).await?;
        // All of them before the first message: a group that starts at the end would miss those of a shard that nobody has
        // yet.
        for topic in shards.iter() {
            broker.create_group(&topic.inbound(), &group, config.start).await?;
        }
        let ttl = config.shard_lease.min(config.lease).max(Duration::from_millis(1));
        let concurrency = config.concurrency.clamp(1, Semaphore::MAX_PERMITS);
        // A read that begins within a lease ends within it.
        let config = MemberConfig { concurrency, block: config.block.min(ttl / 4), ..config };
        let (hand_over, deliveries) = mpsc::channel(HANDED_OVER_MAX);
        let permits = Arc::new(Semaphore::new(concurrency));
        let name = Name::unique();
        let gone = CancellationToken::new();
        let stopped = gone.child_token();
        let keeper = Keeper {
            name: name.clone(),
            shards,
            ttl,
            owned: BTreeMap::new(),
            owners: JoinSet::new(),
            start: name.bytes().fold(0, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte))),
            handed_back: 0,
            agreed: Instant::now(),
            common: Arc::new(Common { broker, group, config, neighbours: Arc::default(), permits, hand_over }),
            stopped: stopped.clone(),
        };
        let left = gone.clone();
        let keeper = tokio::spawn(async move {
            tokio::select! {
                biased;
                // Dropped, and the owners of all shards with it.
                () = left.cancelled() => 0,
                handed_back = keeper.keep() => handed_back,
            }
        });
        Ok(Self { name, deliveries, keeper, stopped, _gone: gone.drop_guard() })
    }

    /// The name by which it owns shards. On each of them it is a member under another one.
    #[must_use]
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// A handle that stops this member from taking more. Its shards go to others once nothing is at work in them.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        Stopper::of(self.stopped.clone())
    }

    /// The next delivery of any shard, once fewer are being handled than may be; `None` after [`Stopper::stop`], when all
    /// that was taken is handed out or handed back. Cancel-safe.
    pub async fn next(&mut self) -> Option<Held> {
        std::future::poll_fn(|cx| self.poll_delivery(cx)).await
    }

    fn poll_delivery(&mut self, cx: &mut Context<'_>) -> Poll<Option<Held>> {
        loop {
            let (held, ownership) = match self.deliveries.poll_recv(cx) {
                Poll::Ready(Some(handed)) => handed,
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => return Poll::Pending,
            };
            if held.is_lost() {
                // Its shard was lost while it waited to be handed out.
                continue;
            }
            if ownership.lasts(Duration::ZERO) {
                return Poll::Ready(Some(held));
            }
            // In doubt while it waited. It comes again, in its place, once the shard is known to be this member's.
            held.hand_back();
        }
    }

    /// Leaves the group: stops taking, hands back at once what was not handed out, waits until every [`Held`] has ended
    /// and is settled, and frees its shards for others. Answers how many deliveries were handed back, ever.
    ///
    /// What is still held, or not settled, at the end of `patience` goes to others when the leases end.
    pub async fn leave(self, patience: Duration) -> usize {
        let Self { name, mut deliveries, mut keeper, stopped, _gone: gone } = self;
        stopped.cancel();
        deliveries.close();
        while let Some((held, _)) = deliveries.recv().await {
            held.hand_back();
        }
        if let Ok(handed_back) = tokio::time::timeout(patience, &mut keeper).await {
            // A task that panicked has said so already.
            return handed_back.unwrap_or(0);
        }
        warn!(member = %name, "left before all was settled; others get its shards when their leases end");
        drop(gone);
        _ = keeper.await;
        0
    }
}

impl Stream for ShardedMember {
    type Item = Held;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Held>> {
        self.poll_delivery(cx)
    }
}

impl fmt::Debug for ShardedMember {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ShardedMember({})", self.name)
    }
}

/// Keeps this member's part of the shards.
struct Keeper {
    name: Name,
    shards: Shards,
    ttl: Duration,
    owned: BTreeMap<u32, Owned>,
    /// Those that handle them.
    owners: JoinSet<End>,
    /// Where it begins to ask for shards.
    start: u32,
    handed_back: usize,
    agreed: Instant,
    common: Arc<Common>,
    stopped: CancellationToken,
}

/// The task of a shard, and how it ended.
type Ended = Result<(Id, End), JoinError>;

/// A shard that this member owns.
struct Owned {
    ownership: Arc<Ownership>,
    /// It is to go to another.
    released: CancellationToken,
    owner: Id,
}

impl Keeper {
    /// Looks after its shards until it is stopped and rid of them; answers how many deliveries were handed back.
    async fn keep(mut self) -> usize {
        let mut looks = tokio::time::interval(LOOK_EVERY.min(self.ttl / LOOKS_PER_LEASE).max(Duration::from_millis(1)));
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let stopped = self.stopped.clone();
        while !stopped.is_cancelled() {
            tokio::select! {
                biased;
                () = stopped.cancelled() => break,
                _ = looks.tick() => self.look().await,
                Some(ended) = self.owners.join_next_with_id() => self.end(ended).await,
            }
        }
        self.resign().await;
        while !self.owners.is_empty() {
            tokio::select! {
                biased;
                _ = looks.tick() => self.renew().await,
                Some(ended) = self.owners.join_next_with_id() => self.end(ended).await,
            }
        }
        self.handed_back
    }

    /// Says that it is no member any more, so that others ask for its shards.
    async fn resign(&self) {
        self.owned.values().for_each(|owned| owned.released.cancel());
        let registry = self.shards.topic().registry(&self.common.group);
        if let Err(error) = self.common.broker.unregister(&registry, &self.name).await {
            debug!(member = %self.name, %error, "could not say that it goes; others find out in time");
        }
    }

    /// Frees the shards that nothing is at work in any more: this one, and all others of which that is known by now.
    async fn end(&mut self, first: Ended) {
        let mut freed = Vec::new();
        let ended = std::iter::once(first).chain(std::iter::from_fn(|| self.owners.try_join_next_with_id()));
        for ended in ended {
            let id = ended.as_ref().map_or_else(JoinError::id, |(id, _)| *id);
            // Taken out before it is freed: whatever is in there is renewed, which would be to ask for it again.
            let Some(shard) = self.owned.iter().find(|(_, owned)| owned.owner == id).map(|(&shard, _)| shard) else {
                continue;
            };
            self.owned.remove(&shard);
            match ended {
                Ok((_, End::Left(handed_back))) => {
                    self.handed_back += handed_back;
                    freed.push(shard);
                }
                Ok((_, End::Lost)) => {}
                Err(error) => {
                    warn!(topic = %self.shards.topic(), shard, %error, "a shard's task failed; it begins again");
                }
            }
        }
        join_all(freed.into_iter().map(|shard| self.free(shard))).await;
    }

    async fn free(&self, shard: u32) {
        let topic = self.shards.topic().with_shard(shard);
        match self.common.broker.release_lease(&topic.owner(&self.common.group), &self.name).await {
            Ok(_) => info!(%topic, member = %self.name, "gave up a shard"),
            Err(error) => debug!(%topic, %error, "a shard is not free yet; its lease will end"),
        }
    }

    /// Renews the leases of all shards, and comes nearer to its part.
    async fn look(&mut self) {
        // At the same time: where answers take long, a renewal must not wait for another question's.
        let ((), living) = tokio::join!(self.renew(), self.register());
        if let Some(living) = living {
            self.balance(&living).await;
        }
        if self.agreed.elapsed() >= AGREE_EVERY {
            self.agreed = Instant::now();
            if let Err(error) = self.shards.agree(&*self.common.broker).await {
                warn!(%error, "it cannot be made sure that all mean the same shards");
            }
        }
    }

    /// Renews the leases of all shards, those that are about to go included: handlers are at work in them.
    async fn renew(&self) {
        let since = Instant::now();
        let leases = join_all(self.owned.keys().map(|&shard| self.lease(shard))).await;
        for (owned, (shard, state)) in self.owned.values().zip(leases) {
            let Some(state) = state else { continue };
            if state.held && state.epoch == owned.ownership.epoch {
                owned.ownership.renew(since);
            } else if !owned.ownership.is_lost() {
                let topic = self.shards.topic().with_shard(shard);
                warn!(%topic, member = %self.name, owner = %state.holder, "lost a shard: it was not renewed in time");
                owned.ownership.lose();
            }
        }
    }

    /// Asks for a shard, or renews it; nothing when there is no answer.
    async fn lease(&self, shard: u32) -> (u32, Option<LeaseState>) {
        let topic = self.shards.topic().with_shard(shard);
        let (key, holder) = (topic.owner(&self.common.group), self.name.clone());
        match self.common.broker.lease(LeaseRequest { key, holder, ttl: self.ttl }).await {
            Ok(state) => (shard, Some(state)),
            Err(error) => {
                debug!(%topic, %error, "the shard's lease could not be asked for");
                (shard, None)
            }
        }
    }

    /// Says that it lives; answers who else does.
    async fn register(&self) -> Option<Vec<Name>> {
        let registry = self.shards.topic().registry(&self.common.group);
        match self.common.broker.register(&registry, &self.name, self.ttl).await {
            Ok(living) => Some(living),
            Err(error) => {
                debug!(member = %self.name, %error, "it is not known who lives");
                None
            }
        }
    }

    /// Comes nearer to its part: gives up what is more, asks for what is less.
    async fn balance(&mut self, living: &[Name]) {
        let quota = quota(self.shards.count(), living, &self.name);
        for (shard, owned) in self.owned.iter().filter(|(_, owned)| !owned.released.is_cancelled()).skip(quota) {
            debug!(topic = %self.shards.topic(), shard, quota, "the shard is to go to another member");
            owned.released.cancel();
        }
        // One that is about to go still counts: it may never come to that.
        let room = quota.saturating_sub(self.owned.len());
        if room > 0 {
            self.ask_for(room).await;
        }
    }

    /// Asks for shards until it has so many more, or has to look after those that it has.
    async fn ask_for(&mut self, mut room: usize) {
        let wanted: Vec<_> = in_turn(self.shards.count(), self.start)
            .filter(|shard| !self.owned.contains_key(shard))
            .take(ASKED_MAX)
            .collect();
        let mut wanted = &wanted[..];
        let until = Instant::now() + self.ttl / LOOKS_PER_LEASE;
        while room > 0 && !wanted.is_empty() && Instant::now() < until {
            let (now, later) = wanted.split_at(room.min(wanted.len()));
            let since = Instant::now();
            for (shard, state) in join_all(now.iter().map(|&shard| self.lease(shard))).await {
                // Elsewhere the next time, where this was in vain.
                self.start = shard.wrapping_add(1);
                if let Some(state) = state.filter(|state| state.held) {
                    room -= 1;
                    self.begin(shard, state.epoch, since);
                }
            }
            wanted = later;
        }
    }

    fn begin(&mut self, shard: u32, epoch: u64, since: Instant) {
        let topic = self.shards.topic().with_shard(shard);
        info!(%topic, member = %self.name, epoch, "owns a shard");
        let ownership = Arc::new(Ownership::new(epoch, self.ttl, since));
        let released = CancellationToken::new();
        let owner = own(Arc::clone(&self.common), topic, Arc::clone(&ownership), released.clone());
        let owner = self.owners.spawn(owner).id();
        self.owned.insert(shard, Owned { ownership, released, owner });
    }
}
