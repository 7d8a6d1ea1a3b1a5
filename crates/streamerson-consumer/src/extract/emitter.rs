//! Messages that a handler sends out.

use std::convert::Infallible;

use serde::Serialize;
use streamerson_core::{EventType, Headers, Message, MessageError, StreamKey, Topic, wire::PAYLOAD_BYTES_MAX};

use super::FromMessage;
use crate::Incoming;

/// Most messages that one handling may send out.
const EMITTED_MAX: usize = 1000;

/// Sends messages that take effect together with the ack: all of them if the handler succeeds, none if its answer has a
/// status of 400 or above, and none if it never comes to an end.
///
/// Their ids are derived from the handled message's, so one that is emitted again after a crash is the same message.
/// They carry the trace context of the handled message.
///
/// ```
/// use streamerson_consumer::{Failure, Json, Topic, extract::Emitter};
///
/// async fn place(emitter: Emitter, Json(order): Json<u64>) -> Result<(), Failure> {
///     emitter.emit(&Topic::new("invoices")?, "invoice.due", &order)?;
///     emitter.broadcast(&Topic::new("orders")?, "order.placed", &order)?;
///     Ok(())
/// }
/// ```
#[derive(Debug, Clone)]
pub struct Emitter(Incoming);

/// Why a message was not sent out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EmitError {
    /// The event type is not one, or the value has no JSON form.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// The payload is larger than a message may be.
    #[error("the payload takes {len} bytes, more than the {PAYLOAD_BYTES_MAX} allowed")]
    TooLarge {
        /// Its size, in bytes.
        len: usize,
    },
    /// The handler sent too many already.
    #[error("a handler emits at most {EMITTED_MAX} messages")]
    TooMany,
    /// The handler has ended, so the message could not take effect with it.
    #[error("the handler that this emitter belongs to has ended")]
    Ended,
}

impl Emitter {
    /// Sends `value`, as JSON, to the consumers of a topic.
    ///
    /// # Errors
    ///
    /// [`EmitError`] when there can be no such message.
    pub fn emit<T: Serialize + ?Sized>(&self, topic: &Topic, event: &str, value: &T) -> Result<(), EmitError> {
        self.push(topic.inbound(), Message::json(event, value)?)
    }

    /// Sends `value`, as JSON, to everyone who listens to a topic.
    ///
    /// # Errors
    ///
    /// [`EmitError`] when there can be no such message.
    pub fn broadcast<T: Serialize + ?Sized>(&self, topic: &Topic, event: &str, value: &T) -> Result<(), EmitError> {
        self.push(topic.outbound(), Message::json(event, value)?)
    }

    /// Sends a message to the consumers of a topic, under another id.
    ///
    /// # Errors
    ///
    /// [`EmitError`] when it is too large or reserved.
    pub fn emit_message(&self, topic: &Topic, message: Message) -> Result<(), EmitError> {
        self.push(topic.inbound(), for_user(message)?)
    }

    /// Sends a message to everyone who listens to a topic, under another id.
    ///
    /// # Errors
    ///
    /// [`EmitError`] when it is too large or reserved.
    pub fn broadcast_message(&self, topic: &Topic, message: Message) -> Result<(), EmitError> {
        self.push(topic.outbound(), for_user(message)?)
    }

    fn push(&self, key: StreamKey, mut message: Message) -> Result<(), EmitError> {
        let len = message.payload.len();
        if len > PAYLOAD_BYTES_MAX {
            return Err(EmitError::TooLarge { len });
        }
        let handled = self.0.message();
        for name in [Headers::TRACEPARENT, Headers::TRACESTATE] {
            if let (Some(value), None) = (handled.headers.get(name), message.headers.get(name)) {
                message.headers.set(name, value);
            }
        }
        let push = |emitted: &mut Vec<_>| {
            if emitted.len() >= EMITTED_MAX {
                return Err(EmitError::TooMany);
            }
            message.id = handled.id.derive(emitted.len());
            emitted.push((key, message));
            Ok(())
        };
        self.0.with_emitted(push).unwrap_or(Err(EmitError::Ended))
    }
}

fn for_user(message: Message) -> Result<Message, EmitError> {
    if message.event.is_reserved() {
        EventType::for_user(message.event.as_str()).map_err(MessageError::from)?;
    }
    Ok(message)
}

impl<S: Sync> FromMessage<S> for Emitter {
    type Rejection = Infallible;

    async fn from_message(incoming: &Incoming, _: &S) -> Result<Self, Infallible> {
        Ok(Self(incoming.clone()))
    }
}
