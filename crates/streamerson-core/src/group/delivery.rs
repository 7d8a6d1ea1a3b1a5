//! Deliveries and their outcomes.

use std::{sync::Arc, time::Duration};

use crate::{
    broker::Membership,
    dead_letter::Reason,
    entry::EntryId,
    headers::Headers,
    message::{Message, UnixMillis},
    reply::Reply,
    topic::{StreamKey, Topic},
};

/// A message handed to a group member.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Delivery {
    /// The message.
    pub message: Message,
    /// Where it came from.
    pub topic: Topic,
    /// The group, the member and the stream.
    pub membership: Arc<Membership>,
    /// The id of its entry.
    pub entry: EntryId,
    /// How often it was delivered, this time included: above 1 after a member died while it held it.
    pub count: u32,
    /// How many attempts of handlers at it have failed so far.
    pub failures: u32,
    /// Which owner of its shard this member is, on a topic in shards: it rises with each change of owner and never falls.
    /// A database that refuses what carries a lower number than it has seen is safe from an owner of old that does not
    /// know yet.
    pub epoch: Option<u64>,
}

impl Delivery {
    /// A message that came another way than through a group: an event for everyone, say.
    #[must_use]
    pub fn ungrouped(message: Message, topic: Topic, membership: Arc<Membership>, entry: EntryId) -> Self {
        Self { message, topic, membership, entry, count: 1, failures: 0, epoch: None }
    }

    /// The failures that a message from the schedule says it had.
    pub(super) fn failures_of(message: &Message) -> u32 {
        message.headers.get(Headers::ATTEMPT).and_then(|attempts| attempts.parse().ok()).unwrap_or(0)
    }

    /// Whether the message's deadline has passed at this time of the broker's clock.
    ///
    /// Clocks that are kept by asking the broker differ a little, so 100 ms are allowed.
    #[must_use]
    pub fn is_expired(&self, now: UnixMillis) -> bool {
        self.message.deadline.is_some_and(|deadline| deadline.0.saturating_add(100) < now.0)
    }

    /// Whether the message is meant for one other group only.
    pub(super) fn is_for_others(&self) -> bool {
        self.message.headers.get(Headers::ONLY_GROUP).is_some_and(|group| group != &*self.membership.group)
    }
}

/// What became of a delivery.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Outcome {
    /// Handled, and this is the answer. Without an inbox there is nobody to tell, which is the same as done.
    Replied(Reply),
    /// Handled; nothing to say.
    Done,
    /// Failed, and to be delivered once more after a while: to this member, which holds it until then, or by the
    /// schedule. What was emitted is dropped.
    Retried {
        /// How long until then.
        after: Duration,
        /// What went wrong.
        error: String,
    },
    /// Its deadline passed before a handler began.
    Expired,
    /// Failed for good.
    Dead {
        /// Why.
        reason: Reason,
        /// What went wrong, for whoever reads dead letters; never sent to the caller.
        error: String,
        /// What the caller is told, if there is one.
        reply: Option<Reply>,
    },
}

/// An outcome, and what the handler sent out: all of it takes effect together, with the ack.
#[derive(Debug, Clone, PartialEq)]
pub struct Settled {
    /// What became of the delivery.
    pub outcome: Outcome,
    /// Messages for other streams, in order.
    pub emitted: Vec<(StreamKey, Message)>,
    /// Whether the group remembers that it has handled the message: as the [mark](Topic::done_mark) of the message, set in
    /// the step of the ack. Failed messages are not remembered.
    pub remember: Option<Remember>,
}

/// How a group remembers a message that it has handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remember {
    /// For how long.
    pub ttl: Duration,
    /// Whether the mark keeps the reply, for a request that comes again.
    pub reply: bool,
}

impl From<Outcome> for Settled {
    fn from(outcome: Outcome) -> Self {
        Self { outcome, emitted: Vec::new(), remember: None }
    }
}
