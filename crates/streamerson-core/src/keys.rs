//! The keys of a topic that hold something other than a stream.

use std::fmt;

use bytestring::ByteString;

use crate::{
    name::{MessageId, Name},
    topic::{StreamKey, Topic},
};

/// What stands after the hash tag.
const LATER: &str = "later";
const LATER_ENTRIES: &str = "later:entries";
const DONE: &str = "done:";
const IDEMPOTENCY: &str = "idem:";
/// Behind the id of a request, which is 48 hexadecimal digits.
const ATTEMPT: &str = ":try";
const BYTES: &str = "bytes";
const OWNER: &str = "owner:";
const MEMBERS: &str = "members:";
const SHARDS: &str = "shards";

/// Declares the key of one kind of thing. It has the text of a [`StreamKey`], and is none: no call takes both.
macro_rules! key_type {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $type(StreamKey);

        impl $type {
            /// The key with exactly this text.
            #[must_use]
            pub fn raw(text: impl Into<ByteString>) -> Self {
                Self(StreamKey::raw(text))
            }

            /// The text of the key.
            #[must_use]
            pub fn as_str(&self) -> &str {
                self.0.as_str()
            }

            /// Where brokers place the key: by the same rule as streams.
            pub(crate) fn place(&self) -> &StreamKey {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

key_type!(
    /// The key of a [mark](crate::broker::Mark).
    MarkKey
);

key_type!(
    /// The key of a [meter](crate::broker::Charge): how many bytes of marks a topic has.
    MeterKey
);

key_type!(
    /// The key of a [named lease](crate::broker::LeaseRequest).
    OwnerKey
);

key_type!(
    /// The key of a [registry](crate::Broker::register).
    RegistryKey
);

/// Entries of a topic that wait for their time to go into its inbound stream.
///
/// ```
/// use streamerson_core::Topic;
///
/// let schedule = Topic::new("shop:orders")?.schedule().with_entries_max(1000);
/// assert_eq!(schedule.key(), "{shop:orders}:later");
/// assert_eq!(schedule.into_stream().as_str(), "{shop:orders}:in");
/// # Ok::<(), streamerson_core::InvalidName>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    key: StreamKey,
    entries_key: StreamKey,
    into: StreamKey,
    entries_max: u64,
}

impl Schedule {
    /// How many entries a schedule holds at most, unless it is told otherwise.
    pub const ENTRIES_MAX_DEFAULT: u64 = 1_000_000;

    /// The same schedule, which refuses entries while it holds so many. The bound is this process's: those that share a
    /// schedule should agree on it.
    #[must_use]
    pub fn with_entries_max(mut self, entries_max: u64) -> Self {
        self.entries_max = entries_max;
        self
    }

    /// The key of the times: `{ns:topic}:later`.
    #[must_use]
    pub fn key(&self) -> &str {
        self.key.as_str()
    }

    /// The key of the entries: `{ns:topic}:later:entries`.
    #[must_use]
    pub fn entries_key(&self) -> &str {
        self.entries_key.as_str()
    }

    /// The stream that due entries go into.
    #[must_use]
    pub fn into_stream(&self) -> &StreamKey {
        &self.into
    }

    /// How many entries it holds at most.
    #[must_use]
    pub fn entries_max(&self) -> u64 {
        self.entries_max
    }

    /// Where brokers place it.
    pub(crate) fn place(&self) -> &StreamKey {
        &self.key
    }
}

impl Topic {
    /// What waits for its time on this topic: `{ns:topic}:later` and `{ns:topic}:later:entries`, on its way to
    /// [`Topic::inbound`].
    #[must_use]
    pub fn schedule(&self) -> Schedule {
        Schedule {
            key: self.key(LATER, ""),
            entries_key: self.key(LATER_ENTRIES, ""),
            into: self.inbound(),
            entries_max: Schedule::ENTRIES_MAX_DEFAULT,
        }
    }

    /// The mark that a group has handled a message: `{ns:topic}:done:<group>:<id>`.
    #[must_use]
    pub fn done_mark(&self, group: &Name, id: &MessageId) -> MarkKey {
        // A group has no colon in its name, so no two pairs share a key.
        MarkKey(self.key(DONE, &[group, ":", id].concat()))
    }

    /// The mark that remembers a request with an idempotency key, and its reply: `{ns:topic}:idem:<id>`.
    #[must_use]
    pub fn idempotency_mark(&self, id: &MessageId) -> MarkKey {
        MarkKey(self.key(IDEMPOTENCY, id))
    }

    /// The mark of the attempt that handles such a request now: `{ns:topic}:idem:<id>:try`.
    #[must_use]
    pub fn idempotency_attempt(&self, id: &MessageId) -> MarkKey {
        MarkKey(self.key(IDEMPOTENCY, &[id, ATTEMPT].concat()))
    }

    /// The meter of a topic's idempotency marks, those of all its shards included: `{ns:topic}:idem:bytes`.
    #[must_use]
    pub fn idempotency_meter(&self) -> MeterKey {
        MeterKey(self.whole().key(IDEMPOTENCY, BYTES))
    }

    /// The meter of a group's deduplication marks, those of all shards included: `{ns:topic}:done:<group>`.
    #[must_use]
    pub fn done_meter(&self, group: &Name) -> MeterKey {
        // A mark of the group has a colon behind the group's name, so it is another key.
        MeterKey(self.whole().key(DONE, group))
    }

    /// The lease of whoever handles this topic, or this shard of it, for a group: `{ns:topic#3}:owner:<group>`.
    #[must_use]
    pub fn owner(&self, group: &Name) -> OwnerKey {
        OwnerKey(self.key(OWNER, group))
    }

    /// In how many parts the topic is: `{ns:topic}:shards`.
    pub(crate) fn shards_mark(&self) -> MarkKey {
        MarkKey(self.key(SHARDS, ""))
    }

    /// Who lives of a group: `{ns:topic}:members:<group>`.
    #[must_use]
    pub fn registry(&self, group: &Name) -> RegistryKey {
        RegistryKey(self.key(MEMBERS, group))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_keys_of_a_topic_share_its_tag_and_are_no_streams() {
        let topic = Topic::new("shop:orders#3").unwrap();
        let (group, id) = (Name::new("billing").unwrap(), MessageId::new("a:b{c}").unwrap());
        let schedule = topic.schedule();
        let keys = [
            StreamKey::raw(schedule.key().to_owned()),
            StreamKey::raw(schedule.entries_key().to_owned()),
            topic.done_mark(&group, &id).place().clone(),
            topic.idempotency_mark(&id).place().clone(),
            topic.idempotency_attempt(&id).place().clone(),
            topic.owner(&group).place().clone(),
            topic.registry(&group).place().clone(),
        ];
        let texts: Vec<_> = keys.iter().map(StreamKey::as_str).collect();
        assert_eq!(
            texts,
            [
                "{shop:orders#3}:later",
                "{shop:orders#3}:later:entries",
                "{shop:orders#3}:done:billing:a:b{c}",
                "{shop:orders#3}:idem:a:b{c}",
                "{shop:orders#3}:idem:a:b{c}:try",
                "{shop:orders#3}:owner:billing",
                "{shop:orders#3}:members:billing",
            ]
        );
        for key in keys {
            assert_eq!((key.tag(), key.topic(), key.is_inbox()), ("shop:orders#3", None, false), "{key}");
        }
        assert_eq!(schedule.into_stream(), &topic.inbound());
        // Meters count the marks of all shards.
        assert_eq!(topic.idempotency_meter().as_str(), "{shop:orders}:idem:bytes");
        assert_eq!(topic.done_meter(&group).as_str(), "{shop:orders}:done:billing");
    }
}
