//! Parts of the message, as they are.

use std::convert::Infallible;

use bytes::Bytes;
use streamerson_core::{EventType, Headers, MessageId, Topic};

use super::FromMessage;
use crate::{Incoming, rejection::NotText};

/// Implements the extractor of something that every message has.
macro_rules! always {
    ($type:ty, $incoming:ident => $value:expr) => {
        impl<S: Sync> FromMessage<S> for $type {
            type Rejection = Infallible;

            async fn from_message($incoming: &Incoming, _: &S) -> Result<Self, Infallible> {
                Ok($value)
            }
        }
    };
}

always!(Bytes, incoming => incoming.message().payload.clone());
always!(Headers, incoming => incoming.message().headers.clone());
always!(EventType, incoming => incoming.message().event.clone());
always!(MessageId, incoming => incoming.message().id.clone());
always!(Topic, incoming => incoming.delivery().topic.clone());

impl<S: Sync> FromMessage<S> for String {
    type Rejection = NotText;

    async fn from_message(incoming: &Incoming, _: &S) -> Result<Self, NotText> {
        let text = std::str::from_utf8(&incoming.message().payload)?;
        Ok(text.to_owned())
    }
}
