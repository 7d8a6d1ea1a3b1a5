//! What waits in topics: asked of the broker when somebody wants to know, within a bound.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::{StreamExt, future::join_all, stream};
use tokio::time::{Instant, timeout};
use tracing::debug;

use super::{
    SERIES_MAX,
    page::{Metric, Page},
};
use crate::{
    broker::{Broker, BrokerError, GroupInfo, Pending, SharedBroker},
    entry::EntryId,
    topic::{StreamKey, Topic},
};

/// How long all questions together may take. Prometheus waits for 10 s unless it is told otherwise.
const ASK_MAX: Duration = Duration::from_secs(1);
/// Nothing is asked again within so long, however many ask.
const FRESH_FOR: Duration = Duration::from_secs(1);
/// What is older is not known any more.
const KNOWN_FOR: Duration = Duration::from_secs(5);
/// Topics that are asked about at the same time, at most.
const TOPICS_AT_ONCE: usize = 16;
/// Groups of one topic that are told of, at most.
const GROUPS_MAX: usize = 100;

const ENTRIES: Metric = Metric::gauge(
    "streamerson_topic_entries",
    "Entries in a topic's stream; those that are finished and not trimmed yet are among them.",
);
const DEAD: Metric = Metric::gauge("streamerson_topic_dead_letters", "Dead letters that a topic keeps.");
const LAG: Metric = Metric::gauge("streamerson_group_lag", "Messages that no member of a group has had yet.");
const PENDING: Metric = Metric::gauge("streamerson_group_pending", "Deliveries that are not settled.");
const OLDEST: Metric = Metric::gauge(
    "streamerson_group_oldest_pending_seconds",
    "Time since the oldest message that is delivered and not settled was appended; 0 without one.",
);
const MEMBERS: Metric = Metric::gauge(
    "streamerson_group_members",
    "Members on a group's list; those that died are on it for a minute or two.",
);

/// The topics that are asked about.
#[derive(Debug, Default)]
pub(super) struct Backlogs {
    // Locked for a look or an insertion, never across an await.
    topics: Mutex<BTreeMap<String, Arc<Asked>>>,
    /// Held by the one who asks, so that others find its answers: when it was done.
    turn: tokio::sync::Mutex<Option<Instant>>,
}

#[derive(Debug)]
struct Asked {
    topic: Topic,
    /// Weak, since the broker may hold these metrics itself.
    broker: Weak<dyn Broker>,
    questions: [Question; 4],
    known: Mutex<Option<(Instant, Backlog)>>,
}

/// Something that is asked about a topic. The user of a process need not be allowed to ask it, and then it is asked once.
#[derive(Debug, Default)]
struct Question {
    is_refused: AtomicBool,
}

/// What is known of one topic; of the rest nothing is said.
#[derive(Debug)]
struct Backlog {
    entries: Option<u64>,
    dead_letters: Option<u64>,
    groups: Vec<(GroupInfo, Option<Duration>)>,
}

impl Backlogs {
    /// Tells of this topic from now on, for as long as its broker is there.
    pub(super) fn watch(&self, broker: &SharedBroker, topic: &Topic) {
        let mut topics = lock(&self.topics);
        topics.retain(|_, asked| asked.broker.strong_count() > 0);
        if topics.len() < SERIES_MAX {
            topics.entry(topic.to_string()).or_insert_with(|| Arc::new(Asked::new(broker, topic)));
        }
    }

    /// Asks the brokers, unless somebody just did. What has no answer in time is not known.
    pub(super) async fn ask(&self) {
        let ask = async {
            let mut done = self.turn.lock().await;
            if done.is_some_and(|done| done.elapsed() < FRESH_FOR) {
                return;
            }
            let topics: Vec<_> = lock(&self.topics).values().cloned().collect();
            let ask = async |asked: Arc<Asked>| asked.ask().await;
            stream::iter(topics).for_each_concurrent(TOPICS_AT_ONCE, ask).await;
            *done = Some(Instant::now());
        };
        if timeout(ASK_MAX, ask).await.is_err() {
            debug!("the backlog is not known: the broker takes too long");
        }
    }

    pub(super) fn write(&self, page: &mut Page) {
        for asked in lock(&self.topics).values() {
            let known = lock(&asked.known);
            if let Some((at, backlog)) = &*known
                && at.elapsed() < KNOWN_FOR
                && asked.broker.upgrade().is_some_and(|broker| broker.health().borrow().is_up())
            {
                backlog.write(page, &asked.topic);
            }
        }
    }
}

impl Asked {
    fn new(broker: &SharedBroker, topic: &Topic) -> Self {
        let (topic, broker) = (topic.clone(), Arc::downgrade(broker));
        Self { topic, broker, questions: Default::default(), known: Mutex::default() }
    }

    async fn ask(&self) {
        let broker = self.broker.upgrade().filter(|broker| broker.health().borrow().is_up());
        // While it is known to be away there is nothing to wait for.
        let Some(broker) = broker else { return *lock(&self.known) = None };
        let [entries, dead, groups, oldest] = &self.questions;
        let (inbound, dead_key) = (self.topic.inbound(), self.topic.dead());
        let len = async |question: &Question, key: &StreamKey| {
            let info = question.ask(key, || broker.stream_info(key)).await?;
            Some(info.map_or(0, |info| info.len))
        };
        let of_groups = async {
            let groups = groups.ask(&inbound, || broker.groups(&inbound)).await.unwrap_or_default();
            let groups = groups.into_iter().take(GROUPS_MAX).map(async |group| {
                let oldest = oldest.ask(&inbound, || oldest_pending(&*broker, &inbound, &group)).await;
                (group, oldest)
            });
            join_all(groups).await
        };
        let (entries, dead_letters, groups) = tokio::join!(len(entries, &inbound), len(dead, &dead_key), of_groups);
        *lock(&self.known) = Some((Instant::now(), Backlog { entries, dead_letters, groups }));
    }
}

impl Question {
    async fn ask<T>(&self, key: &StreamKey, ask: impl AsyncFnOnce() -> Result<T, BrokerError>) -> Option<T> {
        if self.is_refused.load(Ordering::Relaxed) {
            return None;
        }
        let answer = ask().await;
        if let Err(error) = &answer {
            debug!(%key, %error, "a part of the backlog is not known");
            let is_refused = matches!(error, BrokerError::Refused { .. }) && !error.is_transient();
            self.is_refused.fetch_or(is_refused, Ordering::Relaxed);
        }
        answer.ok()
    }
}

impl Backlog {
    fn write(&self, page: &mut Page, topic: &Topic) {
        let name = super::label(topic);
        let shard = topic.shard().map(|shard| shard.to_string());
        let shard = shard.as_deref().map(|shard| ("shard", shard));
        let of_topic: Vec<_> = [("topic", &*name)].into_iter().chain(shard).collect();
        let mut known = |metric, labels: &[(&str, &str)], value: Option<f64>| {
            if let Some(value) = value {
                page.sample(metric, labels, value);
            }
        };
        known(&ENTRIES, &of_topic, self.entries.map(|entries| entries as f64));
        known(&DEAD, &of_topic, self.dead_letters.map(|letters| letters as f64));
        for (group, oldest) in &self.groups {
            let labels: Vec<_> = of_topic.iter().copied().chain([("group", group.name.as_str())]).collect();
            known(&LAG, &labels, group.lag.map(|lag| lag as f64));
            known(&PENDING, &labels, Some(group.pending as f64));
            known(&OLDEST, &labels, oldest.map(|oldest| oldest.as_secs_f64()));
            known(&MEMBERS, &labels, Some(group.members as f64));
        }
    }
}

/// How long ago the oldest pending entry was appended. Its idle time says less: each renewal ends it.
async fn oldest_pending(broker: &dyn Broker, key: &StreamKey, group: &GroupInfo) -> Result<Duration, BrokerError> {
    if group.pending == 0 {
        return Ok(Duration::ZERO);
    }
    let oldest = Pending { key: key.clone(), group: group.name.clone(), member: None, from: EntryId::ZERO, count: 1 };
    let oldest = broker.pending(oldest).await?;
    let age = |id: EntryId| Duration::from_millis(broker.now().0.saturating_sub(id.ms));
    Ok(oldest.first().map_or(Duration::ZERO, |oldest| age(oldest.id)))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Maps and values are whole after each operation, so a panic elsewhere can't leave them half-made.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
