//! Whether it is still worth the work.

use std::convert::Infallible;

use super::{Deadline, FromMessage};
use crate::Incoming;

/// Tells a handler that nobody will see what it comes to: the caller went away or its deadline has passed, the lease was
/// lost, or the consumer's time to shut down is over.
///
/// Handlers that take long look at it between steps, or stop at an await:
///
/// ```
/// use streamerson_consumer::extract::Cancelled;
/// # async fn render() {}
///
/// async fn report(cancelled: Cancelled) {
///     tokio::select! {
///         () = render() => {}
///         () = cancelled.cancelled() => {}
///     }
/// }
/// ```
#[derive(Debug, Clone)]
pub struct Cancelled {
    incoming: Incoming,
    deadline: Deadline,
}

impl Cancelled {
    /// Whether it is so.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.incoming.run().cancelled.is_cancelled()
            || self.incoming.lease().is_lost()
            || self.incoming.lease().is_cancelled()
            || self.deadline.remaining().is_some_and(|remaining| remaining.is_zero())
    }

    /// Waits until it is so.
    pub async fn cancelled(&self) {
        let deadline = async {
            match self.deadline.instant() {
                Some(instant) => tokio::time::sleep_until(instant).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.incoming.run().cancelled.cancelled() => {}
            () = self.incoming.lease().lost() => {}
            () = self.incoming.lease().cancelled() => {}
            () = deadline => {}
        }
    }
}

impl<S: Sync> FromMessage<S> for Cancelled {
    type Rejection = Infallible;

    async fn from_message(incoming: &Incoming, _: &S) -> Result<Self, Infallible> {
        Ok(Self { incoming: incoming.clone(), deadline: Deadline::of(incoming) })
    }
}
