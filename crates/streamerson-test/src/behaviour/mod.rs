//! What the client, the members of groups, subscriptions and publishers do, over any broker.
//!
//! [`behaviour!`](crate::behaviour!) makes a test of each case, as [`conformance!`](crate::conformance!) does for
//! brokers. What needs paused time is tested over the embedded broker alone, in `streamerson-core`; what needs a server
//! that fails, in `streamerson-redis`.

pub mod calls;
pub mod clients;
pub mod dead;
pub mod gaps;
pub mod inboxes;
pub mod later;
pub mod leases;
pub mod leaving;
pub mod lost_groups;
pub mod members;
pub mod originals;
pub mod outcomes;
pub mod publishers;
pub mod shards;
pub mod subscriptions;
pub mod turns;

mod cases;
mod scene;
