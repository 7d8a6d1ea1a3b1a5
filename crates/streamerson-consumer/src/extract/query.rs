//! Queries of HTTP requests.

use serde::de::DeserializeOwned;
use streamerson_core::Headers;

use super::{FromMessage, OptionalFromMessage};
use crate::{Incoming, rejection::InvalidQuery};

/// The query of the HTTP request that became this message, as a struct; empty when it had none, or when the message
/// did not come over HTTP.
///
/// `Option<Query<T>>` is `None` when there was no query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Query<T>(pub T);

impl<S: Sync, T: DeserializeOwned> FromMessage<S> for Query<T> {
    type Rejection = InvalidQuery;

    async fn from_message(incoming: &Incoming, _: &S) -> Result<Self, InvalidQuery> {
        let query = incoming.message().headers.get(Headers::HTTP_QUERY).unwrap_or_default();
        Ok(Self(serde_urlencoded::from_str(query)?))
    }
}

impl<S: Sync, T: DeserializeOwned> OptionalFromMessage<S> for Query<T> {
    type Rejection = InvalidQuery;

    async fn from_message(incoming: &Incoming, state: &S) -> Result<Option<Self>, InvalidQuery> {
        if incoming.message().headers.get(Headers::HTTP_QUERY).is_none() {
            return Ok(None);
        }
        <Self as FromMessage<S>>::from_message(incoming, state).await.map(Some)
    }
}
