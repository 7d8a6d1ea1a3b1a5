//! Marks, named leases and registries: what these calls take and answer.

use std::time::Duration;

use bytes::Bytes;

use crate::{
    keys::{MarkKey, OwnerKey},
    name::Name,
};

/// A small value that goes by itself: that a message was handled, or what a request was answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// Its key.
    pub key: MarkKey,
    /// Any bytes.
    pub value: Bytes,
    /// When it goes, from now.
    pub ttl: Duration,
}

/// Who wants to be the holder of a named lease, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseRequest {
    /// The key of the lease.
    pub key: OwnerKey,
    /// Who asks; a name that is never used again, as a member's.
    pub holder: Name,
    /// When the lease ends unless it is renewed, from now.
    pub ttl: Duration,
}

impl LeaseRequest {
    /// How long a broker remembers the epoch of a lease that has ended: 30 days.
    pub const EPOCH_KEPT: Duration = Duration::from_secs(30 * 24 * 60 * 60);
}

/// Where a named lease stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseState {
    /// Who has it.
    pub holder: Name,
    /// Rises with each change of holder and never falls. What the holder writes elsewhere carries it, so that who reads
    /// it can refuse a holder of old. No count: it begins with the time in milliseconds, so that it does not fall even
    /// when a server has lost its data.
    pub epoch: u64,
    /// Whether the one who asked is the holder.
    pub held: bool,
    /// When it ends, from when the broker looked.
    pub left: Duration,
}

/// How many names a registry holds at most.
pub const REGISTRY_NAMES_MAX: u64 = 10_000;
