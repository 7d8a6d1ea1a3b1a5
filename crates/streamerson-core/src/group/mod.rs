//! Membership of a consumer group: who holds which delivery, for how long, and how it ends.
//!
//! [`Member`] is the whole of it for a user: a stream of [`Held`] deliveries, each ended with an [`Outcome`].
//! [`ShardedMember`] is the same for a topic [in shards](crate::shards::Shards), where each shard has one owner.

mod catch_up;
mod delivery;
mod dispatch;
mod held;
mod keeper;
mod member;
mod mover;
mod neighbours;
mod order;
mod ownership;
mod settler;
mod sharded;
mod taker;
mod tidier;

pub use self::{
    delivery::{Delivery, Outcome, Remember, Settled},
    held::{Held, Lease},
    member::{Member, MemberConfig, Stopper},
    order::{LaneKey, OrderedBy},
    sharded::ShardedMember,
};
