//! What can go wrong between a process and its broker.

use std::{sync::Arc, time::Duration};

use crate::{entry::EntryId, name::Name, topic::StreamKey};

/// Why a broker did not do what it was asked.
///
/// Brokers are named by an address that never holds a password.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum BrokerError {
    /// The address, the login or a setting cannot work; trying again will not help.
    #[error("{broker}: {message}")]
    Config {
        /// The broker's address.
        broker: Arc<str>,
        /// What is wrong and what to do about it.
        message: Arc<str>,
    },
    /// The broker cannot be reached. Nothing was done, so the call can be made again.
    #[error("the broker at {broker} cannot be reached: {cause}")]
    Unavailable {
        /// The broker's address.
        broker: Arc<str>,
        /// What stood in the way.
        cause: Arc<str>,
    },
    /// The connection was lost, or the answer did not come in time, after the command was sent: it may have been
    /// carried out.
    #[error("the broker at {broker} may or may not have done it: {cause}")]
    Interrupted {
        /// The broker's address.
        broker: Arc<str>,
        /// What cut the answer off.
        cause: Arc<str>,
    },
    /// More waits to be sent than this process may hold.
    #[error("too much waits to be sent to the broker at {broker}: no room within {waited:?}")]
    Saturated {
        /// The broker's address.
        broker: Arc<str>,
        /// How long the call waited for room.
        waited: Duration,
    },
    /// The group, or its stream, does not exist.
    #[error("the group {group} does not exist on {key}")]
    NoGroup {
        /// The stream.
        key: StreamKey,
        /// The group.
        group: Name,
    },
    /// Entries of a stream may be missing, from after an id up to this place: they were gone before they were read. Reading
    /// goes on.
    #[error("entries of {key} after {after} may be missing: {}", now_starts(*first))]
    Gap {
        /// The stream.
        key: StreamKey,
        /// The last entry up to which none is missing.
        after: EntryId,
        /// The oldest entry that the stream still holds.
        first: Option<EntryId>,
    },
    /// The key holds something other than a stream, or than what is asked for: something else wrote it.
    #[error("the key {key} does not hold a stream, or what else belongs there; remove it or use another topic")]
    WrongType {
        /// The key.
        key: StreamKey,
    },
    /// What the key holds is full: it is bounded, and takes no more until some of it is gone.
    #[error("{key} is full: it holds {max} already, as many as it may")]
    Full {
        /// The key: a schedule's, or a registry's.
        key: Arc<str>,
        /// How many it may hold.
        max: u64,
    },
    /// The broker answered with an error of its own. Nothing was done.
    #[error("the broker refused: {code} {message}")]
    Refused {
        /// The first word of the answer: `OOM`, `READONLY`, `NOPERM`, `ERR`, …
        code: Arc<str>,
        /// The rest of it.
        message: Arc<str>,
    },
    /// The broker's answer is not one that the command can have.
    #[error("the broker's answer makes no sense: {0}")]
    Protocol(Arc<str>),
}

impl BrokerError {
    /// Whether the same call may succeed later without anybody's doing: the broker is away, busy, loading or full.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unavailable { .. } | Self::Interrupted { .. } | Self::Saturated { .. } => true,
            Self::Refused { code, .. } => {
                matches!(
                    &**code,
                    "OOM"
                        | "READONLY"
                        | "LOADING"
                        | "BUSY"
                        | "TRYAGAIN"
                        | "CLUSTERDOWN"
                        | "MASTERDOWN"
                        | "MISCONF"
                        | "NOREPLICAS"
                        | "UNBLOCKED"
                )
            }
            _ => false,
        }
    }
}

/// What a stream starts with.
fn now_starts(first: Option<EntryId>) -> String {
    first.map_or_else(|| "the stream is empty now".to_owned(), |first| format!("the stream now starts with {first}"))
}
