//! Requests and what can become of them.

use std::time::Duration;

use bytes::Bytes;

use crate::{
    broker::BrokerError,
    entry::EntryId,
    headers::Headers,
    name::{EventType, InvalidName, MessageId},
    problem::Problem,
    reply::InvalidReply,
    wire::TooLarge,
};

/// A request that no contract describes: an event type and bytes.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Request {
    /// Picks the handler.
    pub event: EventType,
    /// Unique for ever; the reply carries it too.
    pub id: MessageId,
    /// Names in lower case and texts.
    pub headers: Headers,
    /// Any bytes; JSON unless the `content-type` header says otherwise.
    pub payload: Bytes,
    /// How long to wait for the reply; the client's own timeout when not given.
    pub timeout: Option<Duration>,
    /// Fail at once when no member of any group is alive, instead of waiting for one. Not on topics in the
    /// [original's format](crate::wire::WireFormat::Js), where others read without a group.
    pub fail_fast: bool,
}

impl Request {
    /// A request of this type with a new id.
    #[must_use]
    pub fn new(event: EventType, payload: impl Into<Bytes>) -> Self {
        Self {
            event,
            id: MessageId::unique(),
            headers: Headers::new(),
            payload: payload.into(),
            timeout: None,
            fail_fast: false,
        }
    }

    /// The same request with this id.
    #[must_use]
    pub fn with_id(mut self, id: MessageId) -> Self {
        self.id = id;
        self
    }

    /// The same request with this timeout.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// The same request with this header.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: impl Into<Box<str>>) -> Self {
        self.headers.set(name, value);
        self
    }
}

/// Where an event went.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Emitted {
    /// The message.
    pub id: MessageId,
    /// Its entry in the topic's stream.
    pub entry: EntryId,
}

/// Why a request has no reply.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// No reply came in time. The request may still be handled.
    #[error("no reply within {0:?}; the request may still be handled")]
    TimedOut(Duration),
    /// No member of any group is alive to handle it.
    #[error("no consumer is running for this topic")]
    NoConsumers,
    /// Whoever handled it failed or refused it.
    #[error("the request failed: {0}")]
    Failed(Box<Problem>),
    /// A bound of this client or of the topic's backlog is reached.
    #[error("overloaded: {0}")]
    Overloaded(&'static str),
    /// A request with this id is waiting for its reply already.
    #[error("a request with the id {0} is waiting for its reply already")]
    DuplicateId(MessageId),
    /// The event type cannot be sent, or a contract's topic is not one.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// The request is larger than allowed.
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
    /// The request has no JSON form.
    #[error("the request cannot be written as JSON: {0}")]
    Encode(String),
    /// The reply breaks the protocol.
    #[error("the reply cannot be used")]
    InvalidReply(#[from] InvalidReply),
    /// The reply is not of the type that the contract names.
    #[error("the reply is not what the contract says: {0}")]
    Decode(String),
    /// The broker did not take the request.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// The client was closed.
    #[error("the client is closed")]
    Closed,
}
