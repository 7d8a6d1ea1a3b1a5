//! A client for one topic.

use serde::Serialize;

use super::{CallError, Client, Emitted, Request, to_json};
use crate::{message::Message, name::EventType, reply::Reply, topic::Topic};

/// A client for one topic.
#[derive(Debug, Clone)]
#[must_use = "a client does nothing unless it is asked to"]
pub struct TopicClient {
    pub(super) client: Client,
    pub(super) topic: Topic,
}

impl TopicClient {
    /// Sends `value` as JSON in a request and waits for the reply, whatever its status.
    ///
    /// # Errors
    ///
    /// [`CallError`] says why there is no reply.
    pub async fn request<T: Serialize + ?Sized>(&self, event: &str, value: &T) -> Result<Reply, CallError> {
        let event = EventType::for_user(event.to_owned())?;
        self.client.request(&self.topic, Request::new(event, to_json(value)?)).await
    }

    /// Sends `value` as JSON in an event.
    ///
    /// # Errors
    ///
    /// [`CallError`] when the broker did not take it.
    pub async fn emit<T: Serialize + ?Sized>(&self, event: &str, value: &T) -> Result<Emitted, CallError> {
        let event = EventType::for_user(event.to_owned())?;
        self.client.emit(&self.topic, Message::new(event, to_json(value)?)).await
    }
}
