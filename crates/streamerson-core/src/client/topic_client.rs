//! A client for one topic.

use serde::{Serialize, de::DeserializeOwned};

use super::{Call, CallError, Client, Emitted, Request, to_json};
use crate::{message::Message, name::EventType, reply::Reply, topic::Topic};

/// A client for one topic.
#[derive(Debug, Clone)]
#[must_use = "a client does nothing unless it is asked to"]
pub struct TopicClient {
    pub(super) client: Client,
    pub(super) topic: Topic,
}

impl TopicClient {
    /// Sends a request of a contract to this topic, and not to the one that the contract names; otherwise as
    /// [`Client::call`]. For a contract that several topics speak: one in the original's format beside one in ours, say.
    ///
    /// ```no_run
    /// # use streamerson_core::{Topic, client::{Call, CallError, Client}, wire::WireFormat};
    /// # #[derive(serde::Serialize)]
    /// # struct Greet {}
    /// # impl Call for Greet {
    /// #     const TOPIC: &'static str = "greetings";
    /// #     const EVENT: &'static str = "greet";
    /// #     type Reply = String;
    /// # }
    /// # async fn ask(client: Client) -> Result<String, CallError> {
    /// let theirs = Topic::new(Greet::TOPIC)?.with_wire(WireFormat::Js);
    /// client.topic(&theirs).call(Greet {}).await
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`CallError`] says why there is no reply of that type.
    pub async fn call<C>(&self, call: C) -> Result<C::Reply, CallError>
    where
        C: Call + Serialize,
        C::Reply: DeserializeOwned,
    {
        self.client.call_on(&self.topic, call).await
    }

    /// Sends `value` as JSON in a request and waits for the reply, whatever its status.
    ///
    /// # Errors
    ///
    /// [`CallError`] says why there is no reply.
    pub async fn request<T: Serialize + ?Sized>(&self, event: &str, value: &T) -> Result<Reply, CallError> {
        let event = EventType::for_user(event.to_owned())?;
        let request = Request::new(event, to_json(value)?).with_id(self.topic.new_message_id());
        self.client.request(&self.topic, request).await
    }

    /// Sends `value` as JSON in an event.
    ///
    /// # Errors
    ///
    /// [`CallError`] when the broker did not take it.
    pub async fn emit<T: Serialize + ?Sized>(&self, event: &str, value: &T) -> Result<Emitted, CallError> {
        let event = EventType::for_user(event.to_owned())?;
        let message = Message::new(event, to_json(value)?).with_id(self.topic.new_message_id());
        self.client.emit(&self.topic, message).await
    }
}
