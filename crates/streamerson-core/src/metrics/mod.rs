//! What is counted, and how it is told.
//!
//! Clients, members, brokers and gateways count in plain atomics of their own, always. Whoever wants to see the numbers
//! makes one [`Metrics`], gives it to all of them, and serves [`Metrics::scrape`]:
//!
//! | give it to | by |
//! |---|---|
//! | a client | [`ClientConfig::metrics`](crate::client::ClientConfig::metrics) |
//! | a member | [`MemberConfig::metrics`](crate::group::MemberConfig::metrics), or the consumer's `metrics` |
//! | a publisher | [`Publisher::with_metrics`](crate::Publisher::with_metrics) |
//! | a broker over a network | its configuration |
//! | a broker in this process | [`BrokerMetrics::watch`] tells whether it is there |
//!
//! Topics that a client or a member has to do with are asked about when the page is made: how much waits, and for how
//! long. Nothing else waits for the broker, and that not for more than a second.
//!
//! Labels are what the program names: topics, groups, event types that have a handler, brokers. Nothing that comes over
//! the network becomes one. Numbers of equal labels add up, so a member that takes the place of another goes on where
//! that one ended. What has the same topic at two brokers gives each a `Metrics` of its own.
//!
//! The page is text, so it may follow or be followed by that of any other library; a [`Source`] adds to it.

mod backlog;
mod broker;
mod by_word;
mod client;
mod marks;
mod member;
mod number;
mod page;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use self::backlog::Backlogs;
pub use self::{
    broker::{BrokerCall, BrokerMetrics},
    member::{EventMetrics, Handling, MemberMetrics},
    number::{Buckets, Counter, Gauge, Histogram, InGauge},
    page::{Kind, Labels, Metric, Page},
};
pub(crate) use self::{
    client::{ClientMetrics, Sent},
    marks::MarkMetrics,
    member::{End, GroupMetrics},
};
use crate::{
    broker::SharedBroker,
    mark_budget::MarkKind,
    name::{EventType, Name},
    topic::Topic,
};

/// Topics, groups and brokers that are told apart, at most: more of them share the label `(other)`.
const SERIES_MAX: usize = 1000;
/// What stands for them.
const OTHER: &str = "(other)";
/// What stands for the group of those who handle events for everyone: they are in none.
const EVERYONE: &str = "(everyone)";

const BUILD: Metric = Metric::gauge("streamerson_build_info", "Always 1; the label says which version this is.");

/// Numbers of whatever was given this handle. Cheap to clone; all clones have the same numbers.
///
/// ```
/// use streamerson_core::{broker::memory::Memory, client::{Client, ClientConfig}, metrics::Metrics};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let metrics = Metrics::new();
/// let mut config = ClientConfig::default();
/// config.metrics = metrics.clone();
/// let client = Client::with_config(Memory::new(), config);
///
/// // What answers `GET /metrics`, as `text/plain; version=0.0.4`.
/// let page: String = metrics.scrape().await;
/// # assert!(page.contains("streamerson_build_info{version="));
/// # }
/// ```
#[derive(Clone, Default)]
pub struct Metrics(Arc<Inner>);

#[derive(Default)]
struct Inner {
    clients: Kept<Arc<str>, ClientMetrics>,
    groups: Kept<(Arc<str>, Arc<str>), GroupMetrics>,
    brokers: Kept<Arc<str>, BrokerMetrics>,
    marks: Kept<(Arc<str>, MarkKind), MarkMetrics>,
    // Locked to add one, and to write a page.
    sources: Mutex<Vec<Arc<dyn Source>>>,
    backlogs: Backlogs,
}

/// Adds samples of its own to a page. Must not block.
pub trait Source: fmt::Debug + Send + Sync + 'static {
    /// Adds them.
    fn write(&self, page: &mut Page);
}

impl Metrics {
    /// The media type of a page.
    pub const MEDIA_TYPE: &'static str = "text/plain; version=0.0.4; charset=utf-8";

    /// A handle without numbers.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// All numbers as a page in the text format of Prometheus, after a look at the brokers: how much waits in topics. That
    /// takes a second at most; what is not known then is left out. Must be called within a Tokio runtime.
    pub async fn scrape(&self) -> String {
        self.0.backlogs.ask().await;
        self.render()
    }

    /// The same without a look at the brokers: what waits in topics is left out, unless it was asked for within the last
    /// seconds.
    #[must_use]
    pub fn render(&self) -> String {
        let mut page = Page::default();
        page.sample(&BUILD, &[("version", env!("CARGO_PKG_VERSION"))], 1);
        self.0.clients.all().iter().for_each(|client| client.write(&mut page));
        self.0.groups.all().iter().for_each(|group| group.write(&mut page));
        self.0.brokers.all().iter().for_each(|broker| broker.write(&mut page));
        self.0.marks.all().iter().for_each(|marks| marks.write(&mut page));
        self.0.backlogs.write(&mut page);
        let sources = lock(&self.0.sources).clone();
        sources.iter().for_each(|source| source.write(&mut page));
        page.to_string()
    }

    /// Has a source of one's own write on the page as well.
    pub fn add(&self, source: Arc<dyn Source>) {
        lock(&self.0.sources).push(source);
    }

    /// The numbers of the broker with this address, which must not hold a password. For whoever implements the port.
    #[must_use]
    pub fn broker(&self, address: &str) -> Arc<BrokerMetrics> {
        self.0.brokers.keep(address.into(), OTHER.into(), |broker| BrokerMetrics::new(Arc::clone(broker)))
    }

    /// Tells how much waits in this topic, for as long as this broker is there.
    pub fn watch_backlog(&self, broker: &SharedBroker, topic: &Topic) {
        self.0.backlogs.watch(broker, topic);
    }

    pub(crate) fn client(&self, topic: &Topic) -> Arc<ClientMetrics> {
        self.0.clients.keep(label(topic), OTHER.into(), |topic| ClientMetrics::new(Arc::clone(topic)))
    }

    pub(crate) fn marks(&self, topic: &Topic, kind: MarkKind) -> Arc<MarkMetrics> {
        let make = |(topic, kind): &(Arc<str>, MarkKind)| MarkMetrics::new(Arc::clone(topic), kind.as_str());
        self.0.marks.keep((label(topic), kind), (OTHER.into(), kind), make)
    }

    /// The numbers of the members of a group in this process, with one set for each of these event types and one for all
    /// others. For whoever runs handlers: a member counts the rest itself.
    #[must_use]
    pub fn member(&self, topic: &Topic, group: &Name, events: &[EventType]) -> Arc<MemberMetrics> {
        self.handling(label(topic), group.as_str().into(), events)
    }

    /// The same for those who handle a topic's events for everyone, without a group.
    #[must_use]
    pub fn listener(&self, topic: &Topic, events: &[EventType]) -> Arc<MemberMetrics> {
        self.handling(label(topic), EVERYONE.into(), events)
    }

    fn handling(&self, topic: Arc<str>, group: Arc<str>, events: &[EventType]) -> Arc<MemberMetrics> {
        let (key, other) = ((topic, group), (OTHER.into(), OTHER.into()));
        let make = |(topic, group): &(Arc<str>, Arc<str>)| GroupMetrics::new(Arc::clone(topic), Arc::clone(group));
        Arc::new(MemberMetrics::new(self.0.groups.keep(key, other, make), events))
    }
}

/// How a topic is called that is counted for. All shards of one count together: there may be a thousand of them.
fn label(topic: &Topic) -> Arc<str> {
    format!("{}:{}", topic.namespace(), topic.name()).into()
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

/// Sets of numbers by their labels, each made once. They are never let go: what they count only rises.
#[derive(Debug)]
struct Kept<K, V>(Mutex<BTreeMap<K, Arc<V>>>);

impl<K, V> Default for Kept<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Ord, V> Kept<K, V> {
    fn keep(&self, key: K, other: K, make: impl FnOnce(&K) -> V) -> Arc<V> {
        let mut kept = lock(&self.0);
        let key = if kept.len() < SERIES_MAX || kept.contains_key(&key) { key } else { other };
        if let Some(known) = kept.get(&key) {
            return Arc::clone(known);
        }
        let made = Arc::new(make(&key));
        kept.insert(key, Arc::clone(&made));
        made
    }

    fn all(&self) -> Vec<Arc<V>> {
        lock(&self.0).values().cloned().collect()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Maps and lists are whole after each operation, so a panic elsewhere can't leave them half-made.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_bounded() {
        let metrics = Metrics::new();
        let client = |number: usize| metrics.client(&Topic::new(&format!("topic-{number}")).unwrap());
        let first = client(0);
        let all: Vec<_> = (0..SERIES_MAX).map(client).collect();
        assert!(Arc::ptr_eq(&first, &all[0]), "equal labels have the same numbers");
        assert!(Arc::ptr_eq(&client(SERIES_MAX), &client(SERIES_MAX + 1)), "those past the bound share theirs");
        assert!(Arc::ptr_eq(&first, &client(0)), "those before it keep theirs");
        let page = metrics.render();
        assert_eq!(page.matches("streamerson_client_inboxes{").count(), SERIES_MAX + 1);
        assert!(page.contains("streamerson_client_inboxes{topic=\"(other)\"} 0\n"), "{page}");
    }
}
