//! Which owner of its shard this is.

use std::convert::Infallible;

use super::FromMessage;
use crate::Incoming;

/// The epoch of this member's ownership of the message's shard; `None` on a topic without shards.
///
/// It rises with each change of owner and never falls. An owner that froze may go on for a moment without knowing that it
/// is none any more; a database that remembers the highest epoch for what it guards, and refuses writes with a lower one,
/// is safe from that:
///
/// ```
/// use streamerson_consumer::{Failure, extract::Epoch};
/// # struct Database;
/// # impl Database {
/// #     async fn put(&self, _: &str, _: u64) -> Result<bool, std::io::Error> { Ok(true) }
/// # }
///
/// /// `UPDATE accounts SET …, epoch = $2 WHERE name = $1 AND epoch <= $2`
/// async fn book(database: &Database, account: &str, Epoch(epoch): Epoch) -> Result<(), Failure> {
///     let is_owner = database.put(account, epoch.unwrap_or_default()).await?;
///     if is_owner { Ok(()) } else { Err(Failure::new("another member owns this shard")) }
/// }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Epoch(pub Option<u64>);

impl<S: Sync> FromMessage<S> for Epoch {
    type Rejection = Infallible;

    async fn from_message(incoming: &Incoming, _: &S) -> Result<Self, Infallible> {
        Ok(Self(incoming.delivery().epoch))
    }
}
