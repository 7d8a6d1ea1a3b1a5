//! JSON payloads.

use serde::de::DeserializeOwned;
use streamerson_core::Headers;

use super::{FromMessage, OptionalFromMessage};
use crate::{Incoming, rejection::JsonRejection};

/// A value as JSON: an argument is read from the payload, a result is written to the reply.
///
/// Refused are payloads whose content type is something else (415), that are no JSON (400), and JSON that is no `T`
/// (422). `Option<Json<T>>` is `None` when there is no payload at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Json<T>(pub T);

impl<S: Sync, T: DeserializeOwned> FromMessage<S> for Json<T> {
    type Rejection = JsonRejection;

    async fn from_message(incoming: &Incoming, _: &S) -> Result<Self, JsonRejection> {
        let message = incoming.message();
        if !message.is_json() {
            let content_type = message.headers.get(Headers::CONTENT_TYPE).unwrap_or_default();
            return Err(JsonRejection::content_type(content_type));
        }
        serde_json::from_slice(&message.payload).map(Self).map_err(JsonRejection::from)
    }
}

impl<S: Sync, T: DeserializeOwned> OptionalFromMessage<S> for Json<T> {
    type Rejection = JsonRejection;

    async fn from_message(incoming: &Incoming, state: &S) -> Result<Option<Self>, JsonRejection> {
        if incoming.message().payload.is_empty() {
            return Ok(None);
        }
        <Self as FromMessage<S>>::from_message(incoming, state).await.map(Some)
    }
}
