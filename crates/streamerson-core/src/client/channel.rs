//! What a client keeps for each topic that it talks to: the inbox and its life, the backlog, who is alive.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError, RwLock, Weak,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{sync::OnceCell, time::Instant};

use super::{inbox::Inbox, pending::ChannelNumber};
use crate::{
    broker::{Broker, BrokerError, Keep, Membership, SharedBroker},
    entry::EntryId,
    metrics::{ClientMetrics, Metrics},
    name::Name,
    topic::{StreamKey, Topic},
};

/// How long an inbox lives without being refreshed, at least.
const INBOX_TTL: Duration = Duration::from_secs(120);
/// An inbox that nothing used for so long is removed.
const INBOX_IDLE: Duration = Duration::from_secs(60);
/// A member that asked its broker for nothing for so long is not alive.
const MEMBER_IDLE: Duration = Duration::from_secs(15);
/// How long what was learned of backlog and members is good for.
const LEARNED: Duration = Duration::from_millis(250);

/// One topic, as a client sees it.
#[derive(Debug)]
pub(super) struct Channel {
    /// Never used again by this client, so that a reply that came to an earlier inbox of the topic completes no call here.
    pub(super) number: ChannelNumber,
    pub(super) topic: Topic,
    pub(super) inbound: StreamKey,
    pub(super) inbox_name: Name,
    pub(super) inbox_key: StreamKey,
    pub(super) inbox: Inbox,
    pub(super) metrics: Arc<ClientMetrics>,
    /// Set once the end of a shared inbox was found, from where it is read.
    pinned: OnceCell<()>,
    /// Calls that are under way here.
    waiting: AtomicUsize,
    used: Mutex<Instant>,
    ttl_ms: AtomicU64,
    backlog: Mutex<Backlog>,
    // Held across the question, so that of many callers who time out together one asks and the others wait for it.
    alive: tokio::sync::Mutex<Option<(Instant, bool)>>,
}

/// How many entries wait to be handled, when that was last asked, plus what this client added since.
#[derive(Debug, Default)]
struct Backlog {
    asked: Option<Instant>,
    entries: u64,
}

impl Channel {
    fn new(number: ChannelNumber, topic: &Topic, metrics: Arc<ClientMetrics>) -> Self {
        let inbox_name = if topic.is_js() { Name::SHARED_INBOX } else { Name::unique() };
        Self {
            number,
            topic: topic.clone(),
            inbound: topic.inbound(),
            inbox_key: topic.inbox(&inbox_name),
            inbox_name,
            inbox: Inbox::default(),
            metrics,
            pinned: OnceCell::new(),
            waiting: AtomicUsize::new(0),
            used: Mutex::new(Instant::now()),
            ttl_ms: AtomicU64::new(millis(INBOX_TTL)),
            backlog: Mutex::default(),
            alive: tokio::sync::Mutex::default(),
        }
    }

    /// Whether its inbox is the stream that all clients of a topic in the original's format share: nobody makes, keeps,
    /// trims or removes it, and it is read from its end.
    pub(super) fn is_shared(&self) -> bool {
        self.topic.is_js()
    }

    /// Finds the end of a shared inbox before the first request, so that its reply lies behind.
    pub(super) async fn pin(&self, broker: &dyn Broker) -> Result<(), BrokerError> {
        let find = async || {
            let info = broker.stream_info(&self.inbox_key).await?;
            self.inbox.read_from(info.map_or(EntryId::ZERO, |info| info.last));
            Ok(())
        };
        self.pinned.get_or_try_init(find).await.copied()
    }

    /// After a loss of the connection: a server that lost the shared inbox counts its entries anew, maybe from lower on.
    pub(super) async fn pin_again(&self, broker: &dyn Broker) -> Result<bool, BrokerError> {
        let last = broker.stream_info(&self.inbox_key).await?.map_or(EntryId::ZERO, |info| info.last);
        let is_behind = last < self.inbox.read_to();
        if is_behind {
            self.inbox.read_from(EntryId::ZERO);
        }
        Ok(is_behind)
    }

    /// What a request asks of the broker for its inbox: that it exists, unless that is known for this connection.
    pub(super) fn keep_for(&self, timeout: Duration) -> Keep {
        // The inbox must outlive whoever waits longest, with room for a refresh that comes late.
        let needed = millis(timeout.saturating_mul(2));
        let raised = self.ttl_ms.fetch_max(needed, Ordering::Relaxed) < needed;
        let unless_epoch = if raised { None } else { self.inbox.confirmed_on() };
        Keep { unless_epoch, ..self.keep() }
    }

    pub(super) fn keep(&self) -> Keep {
        let ttl = Duration::from_millis(self.ttl_ms.load(Ordering::Relaxed));
        Keep { key: self.inbox_key.clone(), ttl, unless_epoch: None }
    }

    /// Whether the topic's stream holds less than `max` entries that are still to be handled, this one not counted.
    ///
    /// The broker is asked four times a second at most. A call waits for the answer only near the bound, or when nothing
    /// is known yet, so the bound may be passed by what many producers send within one such question.
    pub(super) async fn has_room(self: &Arc<Self>, broker: &SharedBroker, max: u64) -> Result<bool, BrokerError> {
        let max = max.min(self.topic.entries_max().unwrap_or(u64::MAX));
        let must_wait = {
            let mut backlog = lock(&self.backlog);
            if backlog.asked.is_some_and(|asked| asked.elapsed() < LEARNED) {
                return Ok(backlog.admit(max));
            }
            // Of many callers one asks; the rest go by what is known meanwhile.
            let is_known = backlog.asked.replace(Instant::now()).is_some();
            !is_known || backlog.entries >= max / 2
        };
        if must_wait {
            Box::pin(self.ask_backlog(&**broker, max)).await?;
        } else {
            let (channel, broker) = (Arc::clone(self), Arc::clone(broker));
            // What fails here fails for the append as well, which says so.
            tokio::spawn(async move { channel.ask_backlog(&*broker, max).await.ok() });
        }
        Ok(lock(&self.backlog).admit(max))
    }

    async fn ask_backlog(&self, broker: &dyn Broker, max: u64) -> Result<(), BrokerError> {
        let entries = backlog_of(broker, &self.inbound, max, self.is_shared()).await?;
        *lock(&self.backlog) = Backlog { asked: Some(Instant::now()), entries };
        Ok(())
    }

    /// Whether any member of any group lives, as far as is known.
    pub(super) async fn has_consumers(&self, broker: &dyn Broker) -> Result<bool, BrokerError> {
        let mut known = self.alive.lock().await;
        if let Some((asked, alive)) = *known
            && asked.elapsed() < LEARNED
        {
            return Ok(alive);
        }
        let alive = Box::pin(any_member_lives(broker, &self.inbound)).await?;
        *known = Some((Instant::now(), alive));
        Ok(alive)
    }

    /// Whether calls wait and no reply came since this was asked last. For one who asks at intervals.
    pub(super) fn is_silent(&self) -> bool {
        !self.is_shared() && !self.inbox.take_heard() && self.waiting.load(Ordering::Acquire) > 0
    }

    fn is_idle(&self) -> bool {
        self.waiting.load(Ordering::Acquire) == 0 && lock(&self.used).elapsed() >= INBOX_IDLE
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        if self.inbox.is_open() {
            self.metrics.inboxes.fall();
        }
    }
}

impl Backlog {
    fn admit(&mut self, max: u64) -> bool {
        let has_room = self.entries < max;
        self.entries += u64::from(has_room);
        has_room
    }
}

/// A stream also holds what is finished and not trimmed yet, so near the bound the groups are asked. Where it holds that
/// for good, and others read without a group, what no group tells of is not waiting; but all of it waits for a group that
/// was left behind its first entry.
async fn backlog_of(
    broker: &dyn Broker,
    inbound: &StreamKey,
    max: u64,
    keeps_finished: bool,
) -> Result<u64, BrokerError> {
    let info = broker.stream_info(inbound).await?;
    let (len, first) = info.map_or((0, None), |info| (info.len, info.first));
    if len < max {
        return Ok(len);
    }
    let groups = broker.groups(inbound).await?;
    let unknown = |reached: Option<EntryId>| if keeps_finished && reached >= first { 0 } else { len };
    let behind = groups.iter().map(|group| match group.lag {
        Some(lag) => lag.saturating_add(group.pending),
        None => unknown(Some(group.last_delivered)),
    });
    Ok(behind.max().unwrap_or_else(|| unknown(first)).min(len))
}

async fn any_member_lives(broker: &dyn Broker, inbound: &StreamKey) -> Result<bool, BrokerError> {
    for group in broker.groups(inbound).await? {
        let members = match broker.members(inbound, &group.name).await {
            // It went in this moment, and its members with it.
            Err(BrokerError::NoGroup { .. }) => continue,
            members => members?,
        };
        if members.iter().any(|member| member.name != Membership::NOBODY && member.idle <= MEMBER_IDLE) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A call that is under way on a channel, which keeps the channel from being removed as idle.
#[derive(Debug)]
pub(super) struct InUse(Arc<Channel>);

impl std::ops::Deref for InUse {
    type Target = Arc<Channel>;

    fn deref(&self) -> &Arc<Channel> {
        &self.0
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        *lock(&self.0.used) = Instant::now();
        self.0.waiting.fetch_sub(1, Ordering::Release);
    }
}

/// The channels of one client.
#[derive(Debug)]
pub(super) struct Channels {
    by_topic: RwLock<HashMap<Topic, Arc<Channel>>>,
    /// Rises when an inbox comes or goes.
    generation: AtomicU64,
    /// The number of the next channel.
    next_number: AtomicU64,
    metrics: Metrics,
    broker: Weak<dyn Broker>,
}

impl Channels {
    pub(super) fn new(metrics: Metrics, broker: &SharedBroker) -> Self {
        Self {
            by_topic: RwLock::default(),
            generation: AtomicU64::new(0),
            next_number: AtomicU64::new(0),
            metrics,
            broker: Arc::downgrade(broker),
        }
    }

    /// The channel of a topic.
    pub(super) fn enter(&self, topic: &Topic) -> InUse {
        {
            let channels = self.by_topic.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(channel) = channels.get(topic) {
                // Counted under the lock, so that `sweep` can't remove the channel in between.
                channel.waiting.fetch_add(1, Ordering::Acquire);
                return InUse(Arc::clone(channel));
            }
        }
        let mut channels = self.by_topic.write().unwrap_or_else(PoisonError::into_inner);
        let channel = channels.entry(topic.clone()).or_insert_with(|| Arc::new(self.make(topic)));
        channel.waiting.fetch_add(1, Ordering::Acquire);
        InUse(Arc::clone(channel))
    }

    fn make(&self, topic: &Topic) -> Channel {
        if let Some(broker) = self.broker.upgrade() {
            self.metrics.watch_backlog(&broker, topic);
        }
        let number = ChannelNumber(self.next_number.fetch_add(1, Ordering::Relaxed));
        Channel::new(number, topic, self.metrics.client(topic))
    }

    /// Makes the channel one that replies come to; answers whether it was none before, so that the reader must be told.
    pub(super) fn open(&self, channel: &Channel) -> bool {
        let new = channel.inbox.open();
        if new {
            channel.metrics.inboxes.rise();
            self.generation.fetch_add(1, Ordering::Release);
        }
        new
    }

    /// Rises when an inbox comes or goes.
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// The channels that replies come to.
    pub(super) fn open_ones(&self) -> Vec<Arc<Channel>> {
        let channels = self.by_topic.read().unwrap_or_else(PoisonError::into_inner);
        let mut open: Vec<_> = channels.values().filter(|channel| channel.inbox.is_open()).cloned().collect();
        // In no order that a hash has made, so that a simulation comes to the same each time.
        open.sort_unstable_by(|one, other| one.inbound.cmp(&other.inbound));
        open
    }

    /// Takes out the channels that nothing used for a while; answers those that replies came to.
    pub(super) fn sweep(&self) -> Vec<Arc<Channel>> {
        self.take_out(Channel::is_idle)
    }

    /// Takes out the channel of this inbox; the next request to its topic makes another.
    pub(super) fn give_up(&self, inbox: &StreamKey) {
        self.take_out(|channel| channel.inbox_key == *inbox);
    }

    fn take_out(&self, is_over: impl Fn(&Channel) -> bool) -> Vec<Arc<Channel>> {
        let mut taken = Vec::new();
        let mut channels = self.by_topic.write().unwrap_or_else(PoisonError::into_inner);
        channels.retain(|_, channel| {
            let is_over = is_over(channel);
            if is_over && channel.inbox.is_open() {
                taken.push(Arc::clone(channel));
            }
            !is_over
        });
        if !taken.is_empty() {
            self.generation.fetch_add(1, Ordering::Release);
        }
        taken
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // Each of these holds plain values, so a panic elsewhere can't leave it half-made.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
