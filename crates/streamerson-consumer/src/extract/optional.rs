//! Arguments that may be absent, or refused without an end to the handling.

use std::convert::Infallible;

use super::FromMessage;
use crate::{Incoming, problem::IntoProblem};

/// What a handler can take as an `Option`: `None` is a message that has none, not one that is refused.
#[diagnostic::on_unimplemented(
    message = "`Option<{Self}>` cannot be extracted from a message",
    label = "never absent",
    note = "to see why an extractor refused a message, take a `Result` of it and its `Rejection`"
)]
pub trait OptionalFromMessage<S>: Sized {
    /// Why there is one that cannot be had.
    type Rejection: IntoProblem;

    /// Extracts it if it is there.
    fn from_message(
        incoming: &Incoming,
        state: &S,
    ) -> impl Future<Output = Result<Option<Self>, Self::Rejection>> + Send;
}

impl<S: Sync, T: OptionalFromMessage<S>> FromMessage<S> for Option<T> {
    type Rejection = T::Rejection;

    fn from_message(incoming: &Incoming, state: &S) -> impl Future<Output = Result<Self, Self::Rejection>> + Send {
        T::from_message(incoming, state)
    }
}

impl<S: Sync, T: FromMessage<S>> FromMessage<S> for Result<T, T::Rejection> {
    type Rejection = Infallible;

    async fn from_message(incoming: &Incoming, state: &S) -> Result<Self, Infallible> {
        Ok(T::from_message(incoming, state).await)
    }
}
