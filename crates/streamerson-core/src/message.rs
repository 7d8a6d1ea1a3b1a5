//! Messages: what streams carry once an entry's fields are understood.

use std::{
    fmt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use serde::Serialize;

use crate::{
    headers::Headers,
    name::{EventType, InvalidName, MessageId, Name},
};

/// A point in time, in Unix milliseconds of the broker's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize)]
#[serde(transparent)]
pub struct UnixMillis(pub u64);

impl UnixMillis {
    /// The last time that fits the wire's 16 digits, some 317,000 years from now.
    pub const MAX: Self = Self(9_999_999_999_999_999);

    /// The time of this machine's clock.
    #[must_use]
    pub fn of_this_machine() -> Self {
        // A clock before 1970 is no clock; zero makes every deadline lie ahead.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    /// This time and `later`, at most [`UnixMillis::MAX`].
    #[must_use]
    pub fn plus(self, later: Duration) -> Self {
        let later = u64::try_from(later.as_millis()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(later)).min(Self::MAX)
    }

    /// How long after `earlier` this time is; zero when it is not after.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl fmt::Display for UnixMillis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Event type, id, headers, payload and, for a request, an inbox and a deadline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Picks the handler.
    pub event: EventType,
    /// Unique for ever; what deduplicates and correlates.
    pub id: MessageId,
    /// Where a reply is wanted; none for an event.
    pub inbox: Option<Name>,
    /// After this time the message is expired and no handler runs.
    pub deadline: Option<UnixMillis>,
    /// Names in lower case and texts; at most 16 KiB as JSON.
    pub headers: Headers,
    /// Any bytes; JSON unless the `content-type` header says otherwise.
    pub payload: Bytes,
}

impl Message {
    /// A message of this type with a new id, without inbox, deadline or headers.
    #[must_use]
    pub fn new(event: EventType, payload: impl Into<Bytes>) -> Self {
        Self {
            event,
            id: MessageId::unique(),
            inbox: None,
            deadline: None,
            headers: Headers::new(),
            payload: payload.into(),
        }
    }

    /// A message whose payload is `value` as JSON.
    ///
    /// # Errors
    ///
    /// [`MessageError`] when `event` is no event type for users, or `value` has no JSON form.
    pub fn json<T: Serialize + ?Sized>(event: &str, value: &T) -> Result<Self, MessageError> {
        Ok(Self::new(EventType::for_user(event)?, serde_json::to_vec(value)?))
    }

    /// The same message with this header set.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: impl Into<Box<str>>) -> Self {
        self.headers.set(name, value);
        self
    }

    /// The same message with this id.
    #[must_use]
    pub fn with_id(mut self, id: MessageId) -> Self {
        self.id = id;
        self
    }

    /// Whether the payload is JSON: no content type, `application/json` or `*+json`.
    #[must_use]
    pub fn is_json(&self) -> bool {
        self.headers.get(Headers::CONTENT_TYPE).is_none_or(is_json_type)
    }
}

/// Whether a media type is JSON: `application/json` or `*+json`, whatever its parameters.
#[must_use]
pub fn is_json_type(media_type: &str) -> bool {
    let essence = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || essence.ends_with("+json")
}

/// Why a message could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// The event type is not one, or is reserved.
    #[error(transparent)]
    Event(#[from] InvalidName),
    /// The value has no JSON form: a map whose keys are not texts, say.
    #[error("the payload cannot be written as JSON")]
    Json(#[from] serde_json::Error),
}
