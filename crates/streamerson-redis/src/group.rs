//! Reads of new deliveries for one member of a group, on a connection of its own.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::future::BoxFuture;
use streamerson_core::broker::{BrokerError, Delivered, GroupReader, Membership, ReadWaker};

use crate::{
    append::millis,
    connection::Connection,
    error::{connect_error, interrupted},
    reply::{stream_error, streams},
    resp::Reply,
    shared::Shared,
};

/// The command that reads.
const VERB: &str = "XREADGROUP";

/// Reads new deliveries. See [`GroupReader`].
pub(crate) struct RedisGroupReader {
    shared: Arc<Shared>,
    membership: Membership,
    /// None before the first read and after a loss.
    connection: Option<Connection>,
    wake: Arc<Wake>,
}

/// How the wait of a group read is ended: the server is asked to unblock its connection. Not every server, nor every
/// user, may do that, and an answer that comes too early does nothing; then the read lasts for its `BLOCK`.
#[derive(Debug, Default)]
struct Wake {
    /// The next read is not to wait.
    wanted: AtomicBool,
    /// The connection of the read that waits; 0 for none.
    blocked: AtomicU64,
}

impl RedisGroupReader {
    pub(crate) fn new(shared: Arc<Shared>, membership: Membership) -> Self {
        Self { shared, membership, connection: None, wake: Arc::default() }
    }

    async fn read(&mut self, count: usize, block: Duration) -> Result<Vec<Delivered>, BrokerError> {
        if count == 0 {
            // To the server, 0 would mean all.
            return Ok(Vec::new());
        }
        let Membership { key, group, member } = &self.membership;
        let config = self.shared.config();
        let address = self.shared.address();
        // Taken out while in use: when this future is dropped, so is a connection that still owes a reply.
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                Connection::open(config, self.shared.metrics()).await.map_err(|error| connect_error(address, &error))?
            }
        };
        self.wake.blocked.store(connection.id.unwrap_or(0), Ordering::SeqCst);
        let block = if self.wake.wanted.swap(false, Ordering::SeqCst) { Duration::ZERO } else { block };
        let reply = connection.call(block.saturating_add(config.block_margin), |commands| {
            let options = if block.is_zero() { 0 } else { 2 };
            let mut command = commands.command(9 + options);
            command.arg(VERB).arg("GROUP").arg(group.as_str()).arg(member.as_str());
            command.arg("COUNT").int(count as u64);
            if !block.is_zero() {
                command.arg("BLOCK").int(millis(block));
            }
            command.arg("STREAMS").arg(key.as_str()).arg(">");
        });
        let reply = reply.await;
        self.wake.blocked.store(0, Ordering::SeqCst);
        let reply = match reply.map_err(|broken| interrupted(address, broken.0))? {
            // Only a new connection can find the primary again.
            Reply::Error(message) if message.starts_with(b"READONLY") => {
                return Err(stream_error(VERB, &message, key, None));
            }
            Reply::Error(message) => {
                self.connection = Some(connection);
                return Err(stream_error(VERB, &message, key, Some(group)));
            }
            reply => reply,
        };
        self.connection = Some(connection);
        let entries = streams(VERB, reply)?.into_iter().flat_map(|(_, entries)| entries);
        Ok(entries.map(|entry| Delivered { entry, count: 1 }).collect())
    }
}

impl GroupReader for RedisGroupReader {
    fn read(&mut self, count: usize, block: Duration) -> BoxFuture<'_, Result<Vec<Delivered>, BrokerError>> {
        Box::pin(async move {
            let metrics = Arc::clone(self.shared.metrics());
            self.read(count, block).await.inspect_err(|error| metrics.failed(error))
        })
    }

    fn waker(&self) -> ReadWaker {
        let (wake, shared) = (Arc::clone(&self.wake), Arc::clone(&self.shared));
        ReadWaker::new(move || {
            wake.wanted.store(true, Ordering::SeqCst);
            let blocked = wake.blocked.load(Ordering::SeqCst);
            if blocked > 0 {
                shared.send(64, |batch| {
                    batch.command(3).arg("CLIENT").arg("UNBLOCK").int(blocked);
                });
            }
        })
    }
}

impl fmt::Debug for RedisGroupReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisGroupReader")
            .field("broker", self.shared.address())
            .field("membership", &self.membership)
            .finish_non_exhaustive()
    }
}
