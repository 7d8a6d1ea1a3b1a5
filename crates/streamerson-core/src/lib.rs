//! Topics, messages, the broker port, the embedded broker and the client of streamerson.
//!
//! This crate names neither Redis nor an HTTP server. Users add the `streamerson` crate, which re-exports what they
//! need of it.

pub mod broker;
pub mod client;
pub mod dead_letter;
mod entry;
mod fingerprint;
pub mod group;
mod headers;
pub mod http_header;
mod keys;
pub mod mark_budget;
mod message;
pub mod metrics;
mod name;
mod problem;
mod produce;
pub mod publisher;
mod reply;
pub mod shards;
pub mod subscription;
pub mod text;
mod topic;
pub mod wire;

#[cfg(feature = "test")]
pub use self::name::numbered;
pub use self::{
    broker::{Broker, BrokerError, SharedBroker},
    client::{Call, Client},
    entry::{Entry, EntryId, Fields, InvalidEntryId},
    fingerprint::Fingerprint,
    headers::Headers,
    keys::{MarkKey, MeterKey, OwnerKey, RegistryKey, Schedule},
    message::{Message, MessageError, UnixMillis, is_json_type},
    metrics::Metrics,
    name::{EventType, InvalidName, MessageId, Name, ScheduleId},
    problem::Problem,
    publisher::Publisher,
    reply::{InvalidReply, Reply, StoredReply},
    subscription::{Cursor, Subscription},
    topic::{StreamKey, Topic},
    wire::{Wire, WireFormat},
};
