//! Marks, named leases and registries: what these calls take and answer.

use std::time::Duration;

use bytes::Bytes;

use crate::{
    keys::{MarkKey, MeterKey, OwnerKey},
    message::UnixMillis,
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

/// Bytes that are added to a meter for a while: those of a mark, for as long as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charge {
    /// The key of the meter.
    pub key: MeterKey,
    /// How many bytes.
    pub bytes: u64,
    /// When they are taken off again, from now.
    pub ttl: Duration,
    /// Bytes that the caller may add soon; `None` leaves the meter's reservations as they are.
    pub reserved: Option<Reserved>,
}

/// Bytes that one caller of a meter has reserved for marks which it has not set yet. They take the place of those that it
/// reserved before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reserved {
    /// A name that no other caller has.
    pub holder: Name,
    /// How many bytes; none ends the reservation.
    pub bytes: u64,
    /// When the reservation ends unless it is renewed, from now.
    pub ttl: Duration,
}

/// The outcome of [`Broker::extend_mark`](super::Broker::extend_mark).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extension {
    /// The mark is not there.
    Absent,
    /// The mark stays long enough as it is.
    Unneeded,
    /// The mark stays longer now.
    Extended,
}

impl Charge {
    /// How long a broker keeps a meter that nothing is added to, at least: longer than any mark in use.
    pub const METER_KEPT: Duration = Duration::from_secs(62 * 24 * 60 * 60);

    /// When the bytes are taken off, in Unix milliseconds.
    ///
    /// Brokers add up the bytes that go at the same time, so that a meter holds few numbers however many marks there are:
    /// ends are rounded up to a multiple of a sixteenth of the time, which is a power of two.
    #[must_use]
    pub fn ends(&self, now: UnixMillis) -> u64 {
        let ttl_ms = u64::try_from(self.ttl.as_millis()).unwrap_or(u64::MAX).min(UnixMillis::MAX.0);
        let width = (ttl_ms / 16).max(1).next_power_of_two();
        now.0.saturating_add(ttl_ms).div_ceil(width).saturating_mul(width)
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Topic;

    #[test]
    fn bytes_end_soon_after_their_time_and_at_few_different_ones() {
        let key = Topic::new("orders").unwrap().idempotency_meter();
        for ttl_ms in [0, 1, 15, 1000, 3_600_000, 86_400_000] {
            let charge = Charge { key: key.clone(), bytes: 1, ttl: Duration::from_millis(ttl_ms), reserved: None };
            let mut ends = std::collections::BTreeSet::new();
            for passed in 0..100 {
                let now = 1_700_000_000_000 + passed * ttl_ms / 100;
                let end = charge.ends(UnixMillis(now));
                assert!((now + ttl_ms..=now + ttl_ms + (ttl_ms / 8).max(1)).contains(&end), "{ttl_ms}: {now} {end}");
                ends.insert(end);
            }
            assert!(ends.len() <= 18, "{ttl_ms}: {}", ends.len());
        }
        let for_ever = Charge { key, bytes: 1, ttl: Duration::MAX, reserved: None };
        assert!(for_ever.ends(UnixMillis(1_700_000_000_000)) > UnixMillis::MAX.0 / 2);
    }
}
