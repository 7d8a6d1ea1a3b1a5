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
use tokio::runtime::Handle;

use crate::{
    append::millis,
    connection::Connection,
    error::{connect_error, interrupted},
    reply::{is_denial, stream_error, streams},
    resp::Reply,
    shared::{Batch, Shared},
};

/// The command that reads.
const VERB: &str = "XREADGROUP";
/// About how long the command is that ends a wait, in bytes.
const UNBLOCK_BYTES: usize = 64;

/// Reads new deliveries. See [`GroupReader`].
pub(crate) struct RedisGroupReader {
    shared: Arc<Shared>,
    membership: Membership,
    /// None before the first read and after a loss.
    connection: Option<Connection>,
    wake: Arc<Wake>,
}

/// How the wait of a group read is ended: the server is asked to unblock its connection. Not every server can do that, nor
/// may every user, since the right reaches all connections of the server; and an answer that comes too early does nothing.
/// Then the read lasts for its `BLOCK`.
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
            if blocked > 0 && shared.may_unblock() {
                unblock(&shared, blocked);
            }
        })
    }
}

/// Ends the wait of a connection of this process, where its user may do that. A denial is remembered, so that the server's
/// log of denials has one entry for each process and not one for each stop.
fn unblock(shared: &Arc<Shared>, connection: u64) {
    let encode = move |batch: &mut Batch<'_>| {
        batch.command(3).arg("CLIENT").arg("UNBLOCK").int(connection);
    };
    let Ok(runtime) = Handle::try_current() else {
        shared.send(UNBLOCK_BYTES, encode);
        return;
    };
    let shared = Arc::clone(shared);
    runtime.spawn(async move {
        if let Ok(Reply::Error(message)) = shared.call_one(UNBLOCK_BYTES, encode).await
            && is_denial(&message)
        {
            shared.on_unblock_denied();
        }
    });
}

impl fmt::Debug for RedisGroupReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisGroupReader")
            .field("broker", self.shared.address())
            .field("membership", &self.membership)
            .finish_non_exhaustive()
    }
}
