//! A member: takes deliveries from its group, keeps their leases, and ends them.

use std::{
    fmt,
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use futures_core::Stream;
use tokio::{
    sync::{Mutex, Notify, Semaphore, mpsc},
    task::JoinHandle,
    time::Instant,
};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{debug, info, warn};

use super::{
    dispatch::{self, Caution, Dispatch, Taken},
    held::{Ended, Held, HeldState, Holdings},
    keeper, mover,
    neighbours::Neighbours,
    order::OrderedBy,
    ownership::Ownership,
    settler, taker, tidier,
};
use crate::{
    broker::{BrokerError, Delivered, GroupStart, Membership, ReadWaker, SharedBroker},
    entry::EntryId,
    metrics::{MemberMetrics, Metrics},
    name::{EventType, Name},
    topic::{OUT_ENTRIES_MAX, StreamKey, Topic},
    wire::Wire,
};

/// Bounds of a member. Each has a default.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct MemberConfig {
    /// How long a delivery stays with this member without a sign of life; 30 s. Renewed every third of it.
    pub lease: Duration,
    /// How long one read for deliveries waits; 2 s. It costs no latency, but stopping may take so long.
    pub block: Duration,
    /// Deliveries handed out at the same time; 256. No more are taken than can be handed out.
    pub concurrency: usize,
    /// Deliveries held beyond those that are being handled, at most; 4,096: they wait to be settled, for another attempt,
    /// or for an earlier one with their key. At more, no more are taken, and ending one waits.
    pub held_max: usize,
    /// Longest payload, in bytes; 1 MiB. A longer one is malformed.
    pub payload_bytes_max: usize,
    /// How often a message is delivered, at most; 5. A member that dies, not a handler that fails, makes it more than
    /// one; past it the message is dead-lettered as abandoned.
    ///
    /// From the third such delivery on (or the last but one, where fewer are allowed) a message is handled with
    /// precautions: first beside no other that members died of, then alone, so that none is given up for what another
    /// did to its member.
    pub deliveries_max: u32,
    /// The longest pause before another attempt that this member waits out itself, and so keeps the delivery; 30 s. Longer
    /// ones, and those for which there is no room, wait in the topic's schedule.
    pub retry_held_max: Duration,
    /// What orders deliveries, if anything: those with equal keys are handled one after the other, in the order of the
    /// stream, further attempts included. At most as many as [`concurrency`](MemberConfig::concurrency) wait for that, so
    /// that one key with more than that in a row holds up the others behind it.
    pub ordered_by: Option<OrderedBy>,
    /// How long a shard stays with its owner without a sign of life; 10 s, and never longer than the lease. For
    /// [`ShardedMember`](super::ShardedMember) alone: what a member that dies had goes to others after that time.
    pub shard_lease: Duration,
    /// How long events for everyone are kept in the topic's outbound stream, about; 10 minutes. All members of all groups of
    /// the topic should agree on it.
    pub out_kept: Duration,
    /// How many of them are kept, about; 100,000.
    pub out_entries_max: u64,
    /// Where the group starts if it does not exist: with everything that the stream holds.
    pub start: GroupStart,
    /// Who shows what this member counts; nobody by default.
    pub metrics: Metrics,
    /// Event types that are counted by name, as those that have a handler; others count as `(other)`. None by default.
    pub named_events: Vec<EventType>,
}

impl Default for MemberConfig {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(30),
            block: Duration::from_secs(2),
            concurrency: 256,
            held_max: 4096,
            payload_bytes_max: crate::wire::PAYLOAD_BYTES_MAX,
            deliveries_max: 5,
            retry_held_max: Duration::from_secs(30),
            ordered_by: None,
            shard_lease: Duration::from_secs(10),
            out_kept: Duration::from_secs(10 * 60),
            out_entries_max: OUT_ENTRIES_MAX,
            start: GroupStart::After(EntryId::ZERO),
            metrics: Metrics::default(),
            named_events: Vec::new(),
        }
    }
}

/// One member of a group: a stream of deliveries, each to be [settled](Held::settle).
///
/// Tasks work behind it: one takes new deliveries, one renews leases, one takes over what others abandoned and trims what
/// is finished, one settles. They outlive outages of the broker. Entries that are no messages become
/// dead letters, and messages whose deadline has passed are acked, without being handed out.
///
/// Dropping a member is a crash: what it holds waits for the end of its lease. [`Member::leave`] is the clean end.
pub struct Member {
    shared: Arc<Shared>,
    taken: mpsc::UnboundedReceiver<Taken>,
    settle: mpsc::Sender<Ended>,
    permits: tokio_util::sync::PollSemaphore,
    /// A permit for the delivery that comes next.
    permit: Option<tokio::sync::OwnedSemaphorePermit>,
    taker: JoinHandle<()>,
    reclaimer: JoinHandle<()>,
    renewer: JoinHandle<()>,
    settler: JoinHandle<()>,
    dispatcher: JoinHandle<()>,
    mover: JoinHandle<()>,
    tidier: JoinHandle<()>,
    _gone: DropGuard,
}

/// What the tasks of a member share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) broker: SharedBroker,
    pub(super) topic: Topic,
    pub(super) membership: Arc<Membership>,
    pub(super) dead: StreamKey,
    pub(super) wire: Wire,
    pub(super) config: MemberConfig,
    pub(super) metrics: Arc<MemberMetrics>,
    pub(super) dispatch: Arc<Dispatch>,
    /// Those that die with this member.
    pub(super) neighbours: Arc<Neighbours>,
    /// The right to be the only one, where the member has it.
    pub(super) sole: Option<Arc<Ownership>>,
    /// Entries may be pending that this member does not hold, and that come before whatever it reads next.
    behind: AtomicBool,
    /// Some of those are pending on this member itself, which knows nothing of them any more.
    strays: AtomicBool,
    /// Up to where the group's list was looked through for what others abandoned. Held while that is taken over.
    pub(super) reclaim_cursor: Mutex<EntryId>,
    /// There was no room when that was to be done.
    reclaim_is_due: AtomicBool,
    /// Held while something is handed back.
    pub(super) handing_back: Mutex<()>,
    /// Ends the read that waits for deliveries.
    pub(super) reader: OnceLock<ReadWaker>,
    /// Deliveries settled, ever.
    pub(super) settled_count: AtomicU64,
    /// Deliveries handed back, ever.
    pub(super) handed_back_count: AtomicUsize,
    /// Deliveries settled since the stream was last trimmed.
    pub(super) untrimmed: AtomicUsize,
    pub(super) trim_soon: Notify,
    /// No more is to be taken.
    pub(super) stopped: CancellationToken,
    /// The member is gone and its tasks end.
    pub(super) gone: CancellationToken,
}

impl Shared {
    pub(super) fn holdings(&self) -> &Holdings {
        &self.dispatch.holdings
    }

    /// Notes that these are settled, except for the lost ones.
    pub(super) fn settled(&self, held: &[(EntryId, Arc<HeldState>)], lost: &[EntryId]) {
        self.dispatch.settled(held, lost);
        let settled = held.len() - lost.len().min(held.len());
        self.settled_count.fetch_add(settled as u64, Ordering::Relaxed);
        if self.untrimmed.fetch_add(settled, Ordering::Relaxed) + settled >= keeper::UNTRIMMED_MAX {
            self.trim_soon.notify_one();
        }
    }

    /// Whether messages with equal keys are in order across members: then none goes to the schedule, from where it would
    /// come behind others.
    pub(super) fn keeps_order(&self) -> bool {
        self.sole.is_some() && self.config.ordered_by.is_some()
    }

    /// Whether a delivery has killed so many that nothing else may be held with it.
    pub(super) fn is_to_be_alone(&self, delivered: &Delivered) -> bool {
        let deliveries_max = self.config.deliveries_max;
        delivered.count <= deliveries_max
            && Caution::after(delivered.count.saturating_sub(1), deliveries_max) == Caution::Alone
    }

    /// What others or this member itself left pending comes before anything new. Without order nobody has to care.
    pub(super) fn is_behind(&self) {
        self.behind.store(self.sole.is_some(), Ordering::Release);
    }

    /// Whether it is so.
    pub(super) fn is_behind_now(&self) -> bool {
        self.behind.load(Ordering::Acquire)
    }

    /// Whether it is so; from now on it is not.
    pub(super) fn take_behind(&self) -> bool {
        self.behind.swap(false, Ordering::AcqRel)
    }

    /// What others abandoned comes before anything new, as soon as there is room: a member that always has enough to do
    /// would else never get to it.
    pub(super) fn reclaim_is_due(&self) {
        self.reclaim_is_due.store(true, Ordering::Release);
    }

    /// Whether it is so; from now on it is not.
    pub(super) fn take_reclaim_is_due(&self) -> bool {
        self.reclaim_is_due.swap(false, Ordering::AcqRel)
    }

    /// Something may be pending on this member that it does not hold. Without order its lease takes care of it.
    pub(super) fn leave_strays(&self) {
        self.strays.store(self.sole.is_some(), Ordering::Release);
    }

    /// Whether it is so; from now on it is not.
    pub(super) fn take_strays(&self) -> bool {
        self.strays.swap(false, Ordering::AcqRel)
    }

    /// Whether what was read just now is this member's to handle.
    pub(super) fn may_handle(&self) -> bool {
        self.sole.as_ref().is_none_or(|sole| sole.lasts(Duration::ZERO))
    }

    /// How many more deliveries this member can take.
    pub(super) fn room(&self) -> usize {
        let MemberConfig { concurrency, held_max, ordered_by, .. } = &self.config;
        let room = self.holdings().room(*concurrency, *held_max);
        if ordered_by.is_none() {
            return room;
        }
        // What waits behind its key is held all the while, and suspected whenever its member dies: so it is no more than
        // what is handled.
        let held_max = concurrency.saturating_mul(2).saturating_add(self.dispatch.retries());
        room.min(held_max.saturating_sub(self.holdings().unsettled()))
    }

    /// Makes the group again after it went: by a flush, an eviction, a failover or somebody's hand.
    pub(super) async fn make_group(&self) {
        let Membership { key, group, .. } = &*self.membership;
        let made = async {
            let last = self.broker.stream_info(key).await?.map_or(EntryId::ZERO, |info| info.last);
            let after = self.holdings().restart_after();
            // A stream that has not come so far is a new one, and all that it holds is new.
            let after = if after > last { EntryId::ZERO } else { after };
            let is_new = self.broker.create_group(key, group, GroupStart::After(after)).await?;
            Ok::<_, BrokerError>(is_new.then_some(after))
        };
        match made.await {
            Ok(Some(after)) => {
                warn!(%key, %group, %after, "the group was gone and is made again; entries after this id are delivered");
            }
            Ok(None) => {}
            Err(error) => debug!(%key, %group, %error, "the group is gone and could not be made again yet"),
        }
    }
}

/// How a member stands to others.
#[derive(Debug, Default)]
pub(super) struct Place {
    /// Those that die with it.
    pub(super) neighbours: Arc<Neighbours>,
    /// The right to be the only one of its group, if it has that.
    pub(super) sole: Option<Arc<Ownership>>,
}

/// Stops a [`Member`] from taking more.
#[derive(Debug, Clone)]
pub struct Stopper(CancellationToken);

impl Stopper {
    pub(super) fn of(stopped: CancellationToken) -> Self {
        Self(stopped)
    }

    /// No more is taken after the read that is under way, which lasts up to the member's `block`.
    pub fn stop(&self) {
        self.0.cancel();
    }

    /// Waits until somebody stops the member.
    pub async fn stopped(&self) {
        self.0.cancelled().await;
    }
}

impl Member {
    /// Joins a group as a new member, and makes the group if it does not exist.
    ///
    /// # Errors
    ///
    /// [`BrokerError`] when the broker cannot be reached or refuses.
    pub async fn join(
        broker: impl Into<SharedBroker>,
        topic: Topic,
        group: Name,
        config: MemberConfig,
    ) -> Result<Self, BrokerError> {
        Self::join_beside(broker.into(), topic, group, config, Place::default()).await
    }

    /// The same, beside others of this process or in place of all others.
    pub(super) async fn join_beside(
        broker: SharedBroker,
        topic: Topic,
        group: Name,
        config: MemberConfig,
        place: Place,
    ) -> Result<Self, BrokerError> {
        let Place { neighbours, sole } = place;
        let concurrency = config.concurrency.clamp(1, Semaphore::MAX_PERMITS);
        let config = MemberConfig { concurrency, held_max: config.held_max.max(1), ..config };
        let membership = Arc::new(Membership::new(topic.inbound(), group));
        if broker.create_group(&membership.key, &membership.group, config.start).await? {
            debug!(%topic, group = %membership.group, "group made");
        }
        config.metrics.watch_backlog(&broker, &topic);
        let gone = CancellationToken::new();
        let stopped = gone.child_token();
        let shared = Arc::new(Shared {
            dead: topic.dead(),
            metrics: config.metrics.member(&topic, &membership.group, &config.named_events),
            wire: Wire { payload_bytes_max: config.payload_bytes_max },
            dispatch: Arc::new(Dispatch::new(sole.is_some().then(|| stopped.clone()))),
            neighbours,
            behind: AtomicBool::new(sole.is_some()),
            strays: AtomicBool::new(false),
            sole,
            reclaim_cursor: Mutex::new(EntryId::ZERO),
            reclaim_is_due: AtomicBool::new(false),
            handing_back: Mutex::new(()),
            reader: OnceLock::new(),
            settled_count: AtomicU64::new(0),
            handed_back_count: AtomicUsize::new(0),
            untrimmed: AtomicUsize::new(0),
            trim_soon: Notify::new(),
            stopped,
            gone: gone.clone(),
            broker,
            topic,
            membership,
            config,
        });
        shared.neighbours.add(&shared);
        // Before the first read: from then on this member may be the one that has to make the group again.
        keeper::learn_finished(&shared, 0).await;
        // Bounded by what the member may hold, so it needs no bound of its own. A read that waits has asked for as many
        // as there was room for; what is taken over meanwhile comes on top, so that is up to twice the concurrency.
        let (hand_over, taken) = mpsc::unbounded_channel();
        let (settle, ended) = mpsc::channel(shared.config.held_max);
        shared.dispatch.connect(hand_over.downgrade());
        let take = taker::Take { shared: Arc::clone(&shared), _hand_over: hand_over, settle: settle.clone() };
        Ok(Self {
            taker: tokio::spawn(taker::take_new(take.clone())),
            reclaimer: tokio::spawn(keeper::reclaim_and_trim(take)),
            renewer: tokio::spawn(keeper::renew(Arc::clone(&shared))),
            settler: tokio::spawn(settler::settle_all(Arc::clone(&shared), ended)),
            dispatcher: tokio::spawn(dispatch::keep(Arc::clone(&shared))),
            mover: tokio::spawn(mover::move_due(Arc::clone(&shared))),
            tidier: tokio::spawn(tidier::tidy(Arc::clone(&shared))),
            permits: tokio_util::sync::PollSemaphore::new(Arc::new(Semaphore::new(concurrency))),
            permit: None,
            shared,
            taken,
            settle,
            _gone: gone.drop_guard(),
        })
    }

    /// The stream, the group and the member's name.
    #[must_use]
    pub fn membership(&self) -> &Membership {
        &self.shared.membership
    }

    /// A handle that stops this member from taking more.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        Stopper::of(self.shared.stopped.clone())
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// How many deliveries were settled so far.
    #[must_use]
    pub fn settled(&self) -> u64 {
        self.shared.settled_count.load(Ordering::Relaxed)
    }

    /// The next delivery, once fewer are being handled than may be; `None` after [`Stopper::stop`], when all that was
    /// taken is handed out. Cancel-safe.
    pub async fn next(&mut self) -> Option<Held> {
        std::future::poll_fn(|cx| self.poll_delivery(cx)).await
    }

    fn poll_delivery(&mut self, cx: &mut Context<'_>) -> Poll<Option<Held>> {
        loop {
            if self.permit.is_none() {
                match self.permits.poll_acquire(cx) {
                    Poll::Ready(permit) => self.permit = permit,
                    Poll::Pending => return Poll::Pending,
                }
            }
            let taken = match self.taken.poll_recv(cx) {
                Poll::Ready(Some(taken)) => taken,
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => return Poll::Pending,
            };
            let held = Held {
                delivery: taken.delivery,
                state: taken.state,
                settle: self.settle.clone(),
                dispatch: Arc::clone(&self.shared.dispatch),
                permit: self.permit.take(),
                active: true,
                open: true,
            };
            if !held.is_lost() {
                return Poll::Ready(Some(held));
            }
            // Lost while it waited to be handed out: it is somebody else's now.
        }
    }

    /// Leaves the group: stops taking, hands back at once what was not handed out, waits until every [`Held`] has ended
    /// and is settled, and takes itself off the group's list. Answers how many deliveries were handed back, ever.
    ///
    /// What is still held, or not settled, at the end of `patience` stays pending until its lease ends.
    pub async fn leave(mut self, patience: Duration) -> usize {
        let deadline = Instant::now() + patience;
        self.shared.stopped.cancel();
        // Never cut short: a read that is dropped may strand what it was about to bring. Both end by themselves.
        _ = (&mut self.taker).await;
        _ = (&mut self.reclaimer).await;
        _ = (&mut self.dispatcher).await;
        _ = tokio::join!(&mut self.mover, &mut self.tidier);
        self.taken.close();
        self.shared.dispatch.give_back_unstarted(0);
        for taken in std::iter::from_fn(|| self.taken.try_recv().ok()) {
            self.shared.dispatch.hand_back(taken.delivery.entry, &taken.state);
        }
        for (at, taken) in self.shared.dispatch.take_retries() {
            // One that never failed was only kept because nobody else could have taken it.
            if self.shared.keeps_order() || taken.delivery.failures == 0 {
                self.shared.dispatch.hand_back(taken.delivery.entry, &taken.state);
                continue;
            }
            let put_off = Ended::put_off(&taken, at.saturating_duration_since(Instant::now()));
            // As after a crash when the patience ends before there is room.
            _ = tokio::time::timeout_at(deadline, self.settle.send(put_off)).await;
        }
        let Self { shared, settle, mut settler, renewer, _gone: gone, .. } = self;
        // The settler ends when nobody can send it anything more. Until then leases are renewed.
        drop(settle);
        if tokio::time::timeout_at(deadline, &mut settler).await.is_err() {
            settler.abort();
            warn!(member = ?shared.membership, unsettled = shared.holdings().unsettled(), "left before all was settled");
        }
        // The renewer may be handing something back just now, so it is waited for. Its calls are bounded.
        drop(gone);
        _ = renewer.await;
        keeper::trim(&shared).await;
        keeper::hand_back(&shared).await;
        match shared.broker.leave(&shared.membership).await {
            Ok(true) => debug!(member = ?shared.membership, "left"),
            Ok(false) => info!(member = ?shared.membership, "left with deliveries pending; others get them in time"),
            Err(error) => warn!(member = ?shared.membership, %error, "could not leave; others take over in time"),
        }
        shared.handed_back_count.load(Ordering::Relaxed)
    }
}

impl Stream for Member {
    type Item = Held;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Held>> {
        self.poll_delivery(cx)
    }
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Member({:?})", self.shared.membership)
    }
}
