//! How often it was tried.

use std::convert::Infallible;

use super::FromMessage;
use crate::Incoming;

/// The how manyeth attempt of a handler at this message this is, from 1.
///
/// It counts handlers that failed. A member that died while it held the message raises the
/// [delivery's count](streamerson_core::group::Delivery::count) instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Attempt(pub u32);

impl<S: Sync> FromMessage<S> for Attempt {
    type Rejection = Infallible;

    async fn from_message(incoming: &Incoming, _: &S) -> Result<Self, Infallible> {
        Ok(Self(incoming.delivery().failures.saturating_add(1)))
    }
}
