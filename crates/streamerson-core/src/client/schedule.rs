//! Events for later.

use std::time::Duration;

use serde::Serialize;

use super::{CallError, Client, TopicClient, interrupted, to_json};
use crate::{
    broker::{BrokerError, ScheduleCursor, Scheduled, ScheduledRange},
    message::{Message, UnixMillis},
    name::{EventType, MessageId, ScheduleId},
    topic::Topic,
};

/// Events that wait for their time.
#[derive(Debug, Clone, PartialEq)]
pub struct Waiting {
    /// They, by time and then by id.
    pub events: Vec<WaitingEvent>,
    /// Where the next page starts; `None` after the last one.
    pub next: Option<ScheduleCursor>,
}

/// One event that waits for its time.
#[derive(Debug, Clone, PartialEq)]
pub struct WaitingEvent {
    /// Its id in the schedule: that of the message, or of a group's next attempt at one.
    pub id: ScheduleId,
    /// When it is due, in the broker's clock.
    pub at: UnixMillis,
    /// The message; `None` for what is no message.
    pub message: Option<Message>,
}

impl Client {
    /// Sends an event at a time of the broker's clock, or at once when that has passed.
    ///
    /// It waits in the topic's schedule, which lives in the broker, and enters the stream once, within about a second of
    /// its time, by whichever member of any of the topic's groups is first. While there is no member it goes on waiting.
    /// An event with the same id that waits already is replaced, its time included.
    ///
    /// # Errors
    ///
    /// [`CallError`] when the broker did not take it; [`CallError::Name`] for an id that begins with `retry/`, which would
    /// replace a group's next attempt at a message; [`CallError::Overloaded`] when the schedule is full. After
    /// [`BrokerError::Interrupted`] it may have, and the same call may be made again.
    pub async fn emit_at(&self, topic: &Topic, message: Message, at: UnixMillis) -> Result<MessageId, CallError> {
        let fields = self.encode(topic, &message)?;
        let id = ScheduleId::of_event(&message.id)?;
        let entries = vec![Scheduled { id, at, fields }];
        let schedule = topic.schedule();
        let scheduled = self.broker().schedule(&schedule, entries);
        let Ok(mut results) = tokio::time::timeout(self.timeout, scheduled).await else {
            return Err(interrupted(self.timeout).into());
        };
        match results.pop() {
            Some(Ok(())) => Ok(message.id),
            Some(Err(BrokerError::Full { .. })) => Err(CallError::Overloaded("the topic's schedule is full")),
            Some(Err(error)) => Err(error.into()),
            None => Err(BrokerError::Protocol("a schedule without an answer".into()).into()),
        }
    }

    /// Sends an event after a while; as [`Client::emit_at`] otherwise.
    ///
    /// # Errors
    ///
    /// As for [`Client::emit_at`].
    pub async fn emit_after(&self, topic: &Topic, message: Message, after: Duration) -> Result<MessageId, CallError> {
        let at = self.broker().now().plus(after);
        self.emit_at(topic, message, at).await
    }

    /// The events of a topic that wait for their time, a page at a time: `after` is where the last page said to go on.
    ///
    /// # Errors
    ///
    /// [`BrokerError`] when the broker cannot be asked.
    pub async fn scheduled(
        &self,
        topic: &Topic,
        after: Option<ScheduleCursor>,
        count: usize,
    ) -> Result<Waiting, BrokerError> {
        let page = self.broker().scheduled(ScheduledRange { schedule: topic.schedule(), after, count }).await?;
        let event = |Scheduled { id, at, fields }| WaitingEvent { id, at, message: self.decode(topic, &fields) };
        Ok(Waiting { events: page.entries.into_iter().map(event).collect(), next: page.next })
    }

    /// Takes events out of a topic's schedule. Answers which of them still waited there.
    ///
    /// # Errors
    ///
    /// [`BrokerError`] when the broker cannot be asked; after [`BrokerError::Interrupted`] they may be gone.
    pub async fn cancel_scheduled(&self, topic: &Topic, ids: Vec<ScheduleId>) -> Result<Vec<ScheduleId>, BrokerError> {
        self.broker().cancel_scheduled(&topic.schedule(), ids).await
    }
}

impl TopicClient {
    /// Sends `value` as JSON in an event, after a while; see [`Client::emit_at`].
    ///
    /// # Errors
    ///
    /// [`CallError`] when the broker did not take it.
    pub async fn emit_after<T: Serialize + ?Sized>(
        &self,
        event: &str,
        value: &T,
        after: Duration,
    ) -> Result<MessageId, CallError> {
        let event = EventType::for_user(event.to_owned())?;
        self.client.emit_after(&self.topic, Message::new(event, to_json(value)?), after).await
    }
}
