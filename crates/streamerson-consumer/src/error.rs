//! Why a consumer does not run.

use streamerson_core::{
    BrokerError, EventType, InvalidName, Topic,
    shards::{InvalidShards, ShardsError},
};

/// Why a consumer did not start, or stopped without being told to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// It was put together wrongly.
    #[error("the consumer cannot run as it is configured")]
    Config(#[from] ConfigError),
    /// The broker refused it.
    #[error("the broker does not let the consumer in")]
    Broker(#[source] BrokerError),
    /// Others mean another number of shards.
    #[error("the consumer and others of its topic do not agree")]
    Shards(#[source] ShardsError),
}

impl From<BrokerError> for RunError {
    fn from(error: BrokerError) -> Self {
        Self::Broker(error)
    }
}

impl From<ShardsError> for RunError {
    fn from(error: ShardsError) -> Self {
        match error {
            ShardsError::Broker(error) => Self::Broker(error),
            error => Self::Shards(error),
        }
    }
}

/// What is wrong with how a consumer was put together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A handler's contract belongs to another topic.
    #[error("the handler of {event:?} answers calls of the topic {contract}, and this consumer is one of {consumer}")]
    OtherTopic {
        /// The event type of the call.
        event: &'static str,
        /// The call's topic, as its contract names it.
        contract: String,
        /// The consumer's topic.
        consumer: Topic,
    },
    /// Two handlers take the same event type.
    #[error("two handlers take {0:?}")]
    DuplicateEvent(EventType),
    /// Two handlers take all other event types.
    #[error("there are two fallbacks")]
    DuplicateFallback,
    /// Something is named by no name.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// The topic cannot be in so many shards.
    #[error(transparent)]
    Shards(#[from] InvalidShards),
    /// Events for everyone are not shared out.
    #[error("a consumer of events for everyone cannot be in shards, since each process sees all of them")]
    BroadcastShards,
    /// There is nothing that could take a message.
    #[error("the consumer has no handlers, so every message would become a dead letter")]
    NoHandlers,
    /// A setting is zero that can't be.
    #[error("the setting `{0}` is zero")]
    Zero(&'static str),
}
