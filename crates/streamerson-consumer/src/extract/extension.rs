//! What layers left.

use super::{FromMessage, OptionalFromMessage};
use crate::{Incoming, rejection::MissingExtension};

/// What a layer put into the [extensions](Incoming::extensions_mut): the authenticated user, say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Extension<T>(pub T);

impl<S: Sync, T: Clone + Send + Sync + 'static> FromMessage<S> for Extension<T> {
    type Rejection = MissingExtension;

    async fn from_message(incoming: &Incoming, _: &S) -> Result<Self, MissingExtension> {
        incoming.extensions().get().cloned().map(Self).ok_or_else(MissingExtension::of::<T>)
    }
}

impl<S: Sync, T: Clone + Send + Sync + 'static> OptionalFromMessage<S> for Extension<T> {
    type Rejection = std::convert::Infallible;

    async fn from_message(incoming: &Incoming, _: &S) -> Result<Option<Self>, Self::Rejection> {
        Ok(incoming.extensions().get().cloned().map(Self))
    }
}
