//! The member of the group, as it takes deliveries from one topic or from shards.

use std::time::Duration;

use streamerson_core::{
    Name, SharedBroker, Topic,
    group::{Held, Member, MemberConfig, ShardedMember},
    shards::Shards,
};

use crate::error::RunError;

/// Where deliveries come from.
pub(crate) enum Grouped {
    Topic(Topic),
    Shards(Shards),
}

impl Grouped {
    /// The topic as a whole.
    pub(crate) fn topic(&self) -> &Topic {
        match self {
            Self::Topic(topic) => topic,
            Self::Shards(shards) => shards.topic(),
        }
    }

    /// Joins a group there.
    pub(crate) async fn join(
        self,
        broker: SharedBroker,
        group: Name,
        config: MemberConfig,
    ) -> Result<Membership, RunError> {
        Ok(match self {
            Self::Topic(topic) => Membership::One(Member::join(broker, topic, group, config).await?),
            Self::Shards(shards) => Membership::Shards(ShardedMember::join(broker, shards, group, config).await?),
        })
    }
}

/// A member of one kind or the other.
pub(crate) enum Membership {
    One(Member),
    Shards(ShardedMember),
}

impl Membership {
    pub(crate) fn name(&self) -> &Name {
        match self {
            Self::One(member) => &member.membership().member,
            Self::Shards(member) => member.name(),
        }
    }

    pub(crate) async fn next(&mut self) -> Option<Held> {
        match self {
            Self::One(member) => member.next().await,
            Self::Shards(member) => member.next().await,
        }
    }

    pub(crate) async fn leave(self, patience: Duration) -> usize {
        match self {
            Self::One(member) => member.leave(patience).await,
            Self::Shards(member) => member.leave(patience).await,
        }
    }
}
