//! Membership of a consumer group: who holds which delivery, for how long, and how it ends.
//!
//! [`Member`] is the whole of it for a user: a stream of [`Held`] deliveries, each ended with an [`Outcome`].

mod delivery;
mod dispatch;
mod held;
mod keeper;
mod member;
mod mover;
mod order;
mod settler;
mod taker;
mod tidier;

pub use self::{
    delivery::{Delivery, Outcome, Settled},
    held::{Held, Lease},
    member::{Member, MemberConfig, Stopper},
    order::{LaneKey, OrderedBy},
};
