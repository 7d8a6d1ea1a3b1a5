//! Sharded topics: one topic in parts, so that order by key holds across the members of a group.

use std::time::Duration;

use crate::{
    broker::{Broker, BrokerError, Mark},
    keys::MarkKey,
    topic::Topic,
};

/// How long it is remembered in how many parts a topic is, after anybody last said so.
const REMEMBERED: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// A topic in parts: messages with equal keys are in the same part, and a part is a topic like any other.
///
/// Which part a key has is its CRC-32 (that of zlib, gzip and Ethernet) modulo the number of parts, so that programs in any
/// language find the same.
///
/// ```
/// use streamerson_core::{Topic, shards::Shards};
///
/// let orders = Shards::new(Topic::new("shop:orders")?, 16)?;
/// assert_eq!(orders.of("customer-7"), orders.of("customer-7"));
/// assert_eq!(orders.of("customer-7").to_string(), "shop:orders#8");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Shards {
    topic: Topic,
    count: u32,
}

/// Why a topic is not in so many parts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidShards {
    /// There are too few or too many.
    #[error("a topic is in 1 to {max} shards, not {0}", max = Shards::COUNT_MAX)]
    Count(u32),
    /// It is a part itself.
    #[error("{0} is one shard of a topic; leave out what follows the #")]
    Shard(Topic),
}

/// Why nobody knows that all mean the same parts.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ShardsError {
    /// Others have another number of parts, so that messages would go where nobody reads, and out of order.
    #[error(
        "{topic} is in {found} shards for others, and in {count} here; give all its producers and consumers the same \
         number, or let it run empty, stop them all, delete the key {key} and start with the new one"
    )]
    Disagree {
        /// The topic.
        topic: Topic,
        /// The number here.
        count: u32,
        /// The number that others have, as the broker has it.
        found: String,
        /// Where the broker has it.
        key: MarkKey,
    },
    /// The broker cannot be asked.
    #[error(transparent)]
    Broker(#[from] BrokerError),
}

impl Shards {
    /// The most parts that a topic may be in. Each takes a connection of the member that has it.
    pub const COUNT_MAX: u32 = 1024;

    /// A topic in so many parts, numbered from 0.
    ///
    /// Choose some more than there will ever be members, since each part is with one of them; changing the number later
    /// needs a moment in which the topic is empty.
    ///
    /// # Errors
    ///
    /// [`InvalidShards`] when there are none or more than [`Shards::COUNT_MAX`], or the topic is a part itself.
    pub fn new(topic: Topic, count: u32) -> Result<Self, InvalidShards> {
        if topic.shard().is_some() {
            return Err(InvalidShards::Shard(topic));
        }
        if !(1..=Self::COUNT_MAX).contains(&count) {
            return Err(InvalidShards::Count(count));
        }
        Ok(Self { topic, count })
    }

    /// The topic as a whole, which has no messages of its own.
    #[must_use]
    pub fn topic(&self) -> &Topic {
        &self.topic
    }

    /// How many parts there are.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.count
    }

    /// The part in which messages with this key are.
    #[must_use]
    pub fn of(&self, key: impl AsRef<[u8]>) -> Topic {
        self.topic.with_shard(crc32fast::hash(key.as_ref()) % self.count)
    }

    /// All parts, in order.
    pub fn iter(&self) -> impl Iterator<Item = Topic> {
        (0..self.count).map(|shard| self.topic.with_shard(shard))
    }

    /// Makes sure that all who ask mean the same number of parts: the first one is remembered, for 30 days after it was
    /// last asked about. Consumers ask when they start and once an hour; a producer that sends by key should ask once.
    ///
    /// # Errors
    ///
    /// [`ShardsError::Disagree`] when others have another number.
    pub async fn agree(&self, broker: &dyn Broker) -> Result<(), ShardsError> {
        let mark = Mark { key: self.topic.shards_mark(), value: self.count.to_string().into(), ttl: REMEMBERED };
        let found = broker.mark_if_absent(vec![mark.clone()]).await?;
        let Some(found) = found.into_iter().next().flatten() else { return Ok(()) };
        if found == mark.value {
            // Once more, so that it is remembered from now on.
            return Ok(broker.mark(vec![mark]).await?);
        }
        let found = String::from_utf8_lossy(&found).chars().take(20).collect();
        Err(ShardsError::Disagree { topic: self.topic.clone(), count: self.count, found, key: mark.key })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn shards(count: u32) -> Shards {
        Shards::new(Topic::new("orders").unwrap(), count).unwrap()
    }

    #[test]
    fn a_key_has_one_part_for_ever() {
        // What zlib says of the same bytes; a change here would take messages out of order while programs are updated.
        for (key, shard) in [("", 0), ("a", 3), ("customer-7", 8), ("é", 14)] {
            assert_eq!(shards(16).of(key).shard(), Some(shard), "{key}");
        }
        assert_eq!(shards(1).of("anything"), Topic::new("orders#0").unwrap());
    }

    #[test]
    fn keys_are_spread_over_all_parts() {
        let mut counts = [0; 16];
        for number in 0..16_000 {
            counts[shards(16).of(format!("customer-{number}")).shard().unwrap() as usize] += 1;
        }
        assert!(counts.iter().all(|count| (800..1200).contains(count)), "{counts:?}");
    }

    #[test]
    fn only_whole_topics_are_in_parts() {
        assert_eq!(shards(3).iter().collect::<HashSet<_>>().len(), 3);
        let topic = Topic::new("orders").unwrap();
        for count in [0, Shards::COUNT_MAX + 1] {
            assert_eq!(Shards::new(topic.clone(), count), Err(InvalidShards::Count(count)));
        }
        let part = topic.with_shard(1);
        assert_eq!(Shards::new(part.clone(), 2), Err(InvalidShards::Shard(part)));
    }
}
